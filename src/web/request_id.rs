//! Owns the id by which a browser's error, a log line and an audit record find each other.
//! Must not know: what the request was about.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;

use crate::clock::{Ambient, EntropyUnavailable};

/// Names one request; made here, never taken from the network, so it cannot carry an injection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(String);

impl RequestId {
    /// A fresh id of 128 random bits.
    pub fn new(ambient: &Ambient) -> Result<Self, EntropyUnavailable> {
        Ok(Self(format!("req-{}", URL_SAFE_NO_PAD.encode(ambient.random::<16>()?))))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a header value.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
