//! Owns the inbound side: listeners and what is wired behind them.
//! Must not know OAuth details.

pub mod listener;
