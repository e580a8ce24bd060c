//! Black-box tests of the product over real sockets: the server from a configuration file, the
//! authorization-server double, the sample API, and a browser without a screen.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing"
)]

mod administration;
mod attacks;
mod carried;
mod ecosystems;
mod encrypted;
mod forwarding;
mod grants;
mod guards;
mod house;
mod initiated;
mod isolation;
mod login;
mod logout;
mod logout_channels;
mod mixups;
mod navigation;
mod outage;
mod own_sessions;
mod process;
mod profiles;
mod raising;
mod refresh;
mod responses;
mod rotation;
mod secrets;
mod step_up;
mod stores;
mod support;
mod unsigned;
mod valkey;
#[path = "../launch/valkey.rs"]
#[expect(dead_code, reason = "the store's own tests need more of it")]
mod valkey_server;
