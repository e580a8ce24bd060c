//! `fapi-bff`: a Backend for Frontend that holds every token on the server.
//!
//! The floors, lowest first; a module uses only modules below its own floor:
//!
//! | floor | modules |
//! |---|---|
//! | 3 | [`session`] |
//! | 0 | [`clock`], [`seal`] |
#![forbid(unsafe_code)]

pub mod clock;
pub mod seal;
pub mod session;
