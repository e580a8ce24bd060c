//! What browsers did, exchange by exchange, kept for whoever must show it. Secrets and all: it is for
//! the process that made them, and prints none.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// One exchange as a browser had it, secrets and all.
#[derive(Clone)]
pub struct Recorded {
    /// When the request went out.
    pub at: Instant,
    /// HTTP method.
    pub method: String,
    /// The address, with query.
    pub url: String,
    /// Request headers in order.
    pub request_headers: Vec<(String, String)>,
    /// The request's body.
    pub request_body: String,
    /// Status of the answer; 0 if none came.
    pub status: u16,
    /// Headers of the answer in order.
    pub response_headers: Vec<(String, String)>,
    /// The answer's body.
    pub response_body: String,
}

/// What all browsers of a module did. Clones share it.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<Recorded>>>);

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recording").field(&self.exchanges().len()).finish()
    }
}

impl Recording {
    /// Adds an exchange.
    pub fn add(&self, exchange: Recorded) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
    }

    /// All of them, in order.
    pub fn exchanges(&self) -> Vec<Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
