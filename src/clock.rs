//! Owns time and randomness as values, so that every rule above can be tested at its exact second.
//! Must not know: anything else; nothing but this file reads the operating system's clock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Seconds since 1970-01-01T00:00:00Z, the unit of every JWT time claim (RFC 7519 §2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(i64);

impl UnixTime {
    /// The instant `seconds` after the epoch.
    pub const fn new(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    pub const fn as_i64(self) -> i64 {
        self.0
    }

    /// This instant moved by `seconds`, which may be negative. Saturates instead of overflowing.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds from `earlier` to this instant; negative if `earlier` is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 in UTC, or the bare number for years RFC 3339 cannot express.
    pub fn rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp(self.0)
            .ok()
            .and_then(|t| t.format(&Rfc3339).ok())
            .unwrap_or_else(|| self.0.to_string())
    }
}

/// Wall clock for claims and expiry, monotonic clock for ages of caches (CLK-2).
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall-clock time.
    fn now(&self) -> UnixTime;
    /// Milliseconds from an arbitrary start that never run backwards.
    fn monotonic_millis(&self) -> u64;
    /// Wall-clock time for log and audit lines, RFC 3339.
    fn timestamp(&self) -> String {
        self.now().rfc3339()
    }
}

/// Source of unpredictable bytes.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `buffer` with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyUnavailable>;
}

/// The operating system gave no randomness; nothing secret may be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the operating system's random source failed")]
pub struct EntropyUnavailable;

/// Time and randomness, handed to everything that needs either.
#[derive(Clone, Debug)]
pub struct Ambient {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Ambient {
    /// The real clock and the operating system's randomness.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock::new()), entropy: Arc::new(SystemEntropy::new()) }
    }

    /// Wall-clock time.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// `N` unpredictable bytes.
    pub fn random<const N: usize>(&self) -> Result<[u8; N], EntropyUnavailable> {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// 256 unpredictable bits as 43 base64url characters: the shape of our `state`, `nonce`,
    /// `jti`, `code_verifier` and session handles (FAPI2-SP-5.4.1-4, PKCE-4.1).
    pub fn token(&self) -> Result<String, EntropyUnavailable> {
        Ok(URL_SAFE_NO_PAD.encode(self.random::<32>()?))
    }
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic side starts now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> UnixTime {
        UnixTime(OffsetDateTime::now_utc().unix_timestamp())
    }

    fn monotonic_millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn timestamp(&self) -> String {
        let now = OffsetDateTime::now_utc();
        let whole = now.replace_nanosecond(u32::from(now.millisecond()) * 1_000_000).unwrap_or(now);
        whole.format(&Rfc3339).unwrap_or_else(|_| now.unix_timestamp().to_string())
    }
}

/// The operating system's random source.
#[derive(Debug, Default)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// The operating system's random source.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyUnavailable> {
        self.0.fill(buffer).map_err(|_| EntropyUnavailable)
    }
}

/// A clock that stands still until told to move; for tests and the conformance harness.
#[derive(Debug)]
pub struct ManualClock {
    seconds: AtomicI64,
    millis: AtomicU64,
}

impl ManualClock {
    /// A clock standing at `start`.
    pub fn at(start: UnixTime) -> Arc<Self> {
        Arc::new(Self { seconds: AtomicI64::new(start.as_i64()), millis: AtomicU64::new(0) })
    }

    /// Moves both clocks forward.
    pub fn advance(&self, seconds: u32) {
        self.seconds.fetch_add(i64::from(seconds), Ordering::SeqCst);
        self.millis.fetch_add(u64::from(seconds) * 1000, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an administrator or NTP might, backwards included.
    pub fn set_wall(&self, now: UnixTime) {
        self.seconds.store(now.as_i64(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.seconds.load(Ordering::SeqCst))
    }

    fn monotonic_millis(&self) -> u64 {
        self.millis.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FAPI2-SP-5.4.1-4.
    #[test]
    fn tokens_are_256_bits_in_43_url_safe_characters_and_differ() {
        let ambient = Ambient::system();
        let (a, b) = (ambient.token().unwrap(), ambient.token().unwrap());
        assert_eq!(a.len(), 43);
        assert!(a.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
        assert_ne!(a, b);
    }

    #[test]
    fn time_saturates_instead_of_overflowing() {
        assert_eq!(UnixTime::new(i64::MAX).plus(1), UnixTime::new(i64::MAX));
        assert_eq!(UnixTime::new(i64::MIN).since(UnixTime::new(1)), i64::MIN);
    }

    #[test]
    fn rfc3339_falls_back_to_the_number() {
        assert_eq!(UnixTime::new(0).rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(UnixTime::new(i64::MAX).rfc3339(), i64::MAX.to_string());
    }
}
