//! The way to the OpenID Foundation's own conformance suite: its plan configuration made from the BFF's
//! settings, and a driver that plays a plan against a running BFF without anybody at a screen. Knows
//! the suite by its REST API and the BFF as a browser does; it must not know what a module tests.

pub mod api;
mod audit;
pub mod cli;
pub mod drive;
pub mod generate;
pub mod hook;
pub mod http;
mod login;
mod record;
mod server_key;

#[cfg(test)]
mod tests;
