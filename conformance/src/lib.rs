//! The harness beside the product: an authorization-server double as strict as a certified FAPI 2.0
//! server (and as mean as a test asks for), a sample API that checks certificate-bound tokens, and
//! the development PKI for both. Nothing here uses the product's own JOSE or protocol code:
//! independence is what makes it a check.

pub mod api;
pub mod as_double;
pub mod cli;
pub mod demo;
pub mod faults;
pub mod jwe;
pub mod jws;
pub mod ledger;
pub mod oidf;
pub mod pki;
pub mod serve;
pub mod soak;
pub mod suite;
pub mod weaken;

use std::sync::Arc;

/// A clock: seconds since the Unix epoch, injected so that tests own the time.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The machine's clock.
pub fn system_now() -> Now {
    Arc::new(|| wall_clock().unix_timestamp())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the harness has its own clock; this is the one place that reads it"
)]
pub(crate) fn wall_clock() -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc()
}
