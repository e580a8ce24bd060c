//! `fapi-bff`: a Backend for Frontend that holds every token on the server.
//!
//! The house, lowest floor first; a module uses only modules of lower floors.
//!
//! | floor | modules | own |
//! |---|---|---|
//! | 6 | [`cli`] | commands |
//! | 5 | [`server`] | listeners, wiring, start and drain |
//! | 4 | [`spa`], [`proxy`], [`admin`] | the HTTP faces |
//! | 3½ | [`web`], [`admission`] | HTTP vocabulary; from a cookie to a session |
//! | 3 | [`login`], [`session`] | the two life cycles |
//! | 2 | [`provider`] | one authorization server as seen by one client |
//! | 1 | [`protocol`] | the standards' rules, pure |
//! | 0 | [`jose`], [`tls`], [`net`], [`seal`], [`profile`], [`ecosystem`], [`config`], [`telemetry`], [`clock`], [`paths`] | the ground |
#![forbid(unsafe_code)]

pub mod admin;
pub mod admission;
pub mod cli;
pub mod clock;
pub mod config;
pub mod ecosystem;
pub mod jose;
pub mod login;
pub mod net;
pub mod paths;
pub mod profile;
pub mod protocol;
pub mod provider;
pub mod proxy;
pub mod seal;
pub mod server;
pub mod session;
pub mod spa;
pub mod telemetry;
pub mod tls;
pub mod web;
