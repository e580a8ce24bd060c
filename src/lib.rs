//! `fapi-bff`: a Backend for Frontend that holds every token on the server.
//!
//! The floors, lowest first; a module uses only modules below its own floor:
//!
//! | floor | modules |
//! |---|---|
//! | 5 | [`server`] |
//! | 4 | [`admin`] |
//! | 0 | [`clock`], [`telemetry`], [`tls`], [`net`] |
#![forbid(unsafe_code)]

pub mod admin;
pub mod clock;
pub mod net;
pub mod server;
pub mod telemetry;
pub mod tls;
