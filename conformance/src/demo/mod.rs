//! The demo: the product in front of the authorization-server double, a sample API and a sample page,
//! and a check that walks through all of it as a browser would. It must not know how the product works
//! inside; it starts it from a configuration file and speaks HTTP.

pub mod browser;
pub mod check;
pub mod cookies;
mod journey;
pub mod leaks;
pub mod page;
pub mod ports;
pub mod recording;
pub mod wire;
pub mod world;
