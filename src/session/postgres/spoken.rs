//! Owns how often a trouble that goes on is logged. Must not know: which troubles there are.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::fault::PostgresFault;

/// A trouble that goes on is told again after so long.
const AGAIN: Duration = Duration::from_secs(30);

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Spoken(Mutex<Option<(&'static str, Instant)>>);

impl Spoken {
    /// Logs a trouble if it is another one than last time, or that was a while ago.
    pub(super) fn warn(&self, what: &'static str, fault: &PostgresFault) {
        let said = fault.unavailable().0;
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = last.is_none_or(|(last, at)| last != said || now.duration_since(at) >= AGAIN);
        if stale {
            *last = Some((said, now));
            drop(last);
            tracing::warn!(reason = fault.reason(), error = %fault, "{what}");
        }
    }
}
