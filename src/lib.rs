//! `fapi-bff`: a Backend for Frontend that holds every token on the server.
//!
//! The floors, lowest first; a module uses only modules below its own floor:
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`clock`] |
#![forbid(unsafe_code)]

pub mod clock;
pub mod proxy;
