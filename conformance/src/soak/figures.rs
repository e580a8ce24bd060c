//! What the users of a soak met with, counted. It must not know what a good figure is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

/// Counts and times of all users.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    answers: BTreeMap<String, u64>,
    /// Milliseconds of the answers that were not refusals.
    millis: Vec<u32>,
    lost: Vec<String>,
}

impl Figures {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One answer, by what it was.
    pub(super) fn answered(&self, what: &str) {
        *self.lock().answers.entry(what.to_owned()).or_default() += 1;
    }

    /// How long a good answer took.
    pub(super) fn took(&self, time: Duration) {
        self.lock().millis.push(u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
    }

    /// A user was told to log in again.
    pub(super) fn logged_out(&self, how: String) {
        self.lock().lost.push(how);
    }

    pub(super) fn lost(&self) -> Vec<String> {
        self.lock().lost.clone()
    }

    pub(super) fn report(&self) -> Value {
        let mut inner = self.lock();
        inner.millis.sort_unstable();
        let at = |part: usize| {
            inner.millis.get(inner.millis.len().saturating_sub(1) * part / 1000).copied()
        };
        let millis = json!({ "p50": at(500), "p90": at(900), "p99": at(990), "max": at(1000) });
        json!({ "answers": inner.answers, "milliseconds": millis })
    }
}
