//! Owns metrics, logs and the audit stream.
//! Must not know HTTP frameworks or OAuth rules: callers hand it names and numbers, never tokens,
//! codes, assertions, cookies or claim values.

pub mod audit;
mod logging;
mod metrics;
mod pseudonym;

use std::sync::Arc;

pub use audit::{Action, Audit, AuditEvent, AuditLog, Outcome};
pub use logging::{LogFormat, LoggingFault, init_logging, log_subscriber};
pub use metrics::Metrics;
pub use pseudonym::{Pseudonym, Pseudonymiser};

/// What every part of the server reports to.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Numbers for Prometheus.
    pub metrics: Arc<Metrics>,
    /// Who did what, with which outcome.
    pub audit: Arc<Audit>,
}

impl Telemetry {
    /// Joins the two; from here on the metrics also tell whether audit lines could be written.
    pub fn new(metrics: Metrics, audit: Audit) -> Self {
        metrics.watch_audit(&audit);
        Self { metrics: Arc::new(metrics), audit: Arc::new(audit) }
    }
}
