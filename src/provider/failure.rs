//! Owns the ways a call to the AS can fail, told apart because what follows differs.
//! Must not know: what a browser is told about it.

use crate::{
    net::{CallFailed, Refusal},
    protocol::{AsAnswer, Endpoint, OAuthError},
};

/// A call to the AS that did not bring what it was made for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {}", endpoint.name(), kind)]
pub struct AsFailure {
    /// The endpoint that was called, or would have been.
    pub endpoint: Endpoint,
    /// What happened.
    pub kind: AsFailureKind,
}

/// What happened to a call.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AsFailureKind {
    /// We could not make the request: no key, no randomness, no such endpoint.
    #[error("the request could not be made: {why}")]
    NotMade {
        /// What was missing.
        why: &'static str,
    },
    /// The AS, or what its metadata names, lives where we may not go; nothing was sent (META-PRJ).
    #[error(
        "the address is in no network that this provider may use: if it is the AS's, add `loopback`, \
         `private` or `public` to the provider's `networks`; link-local and special addresses are \
         never used"
    )]
    AddressNotAllowed,
    /// Nothing reached the AS: name, connection or TLS.
    #[error("the AS could not be reached: {why}")]
    Unreachable {
        /// Which of them.
        why: String,
    },
    /// No complete answer in time. `sent` tells whether the request may have arrived.
    #[error("the AS did not answer in time")]
    TimedOut {
        /// The request may have been acted upon.
        sent: bool,
    },
    /// The connection broke before a complete answer. `sent` as above.
    #[error("the connection to the AS broke")]
    Broken {
        /// The request may have been acted upon.
        sent: bool,
    },
    /// The AS understood and said no.
    #[error("the AS answered {status} {}", error.as_str())]
    Rejected {
        /// HTTP status.
        status: u16,
        /// Its OAuth error code, from the registered ones.
        error: OAuthError,
    },
    /// The AS is there but cannot serve: 5xx or 429.
    #[error("the AS answered {status}")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// Seconds it asked us to wait.
        retry_after: Option<u64>,
    },
    /// The answer broke a rule of its format, size or transport.
    #[error("the AS's answer is not acceptable: {why}")]
    Malformed {
        /// The stable reason, `as_answer.*`.
        why: &'static str,
    },
    /// The AS does not offer what the request needs, so it was not made.
    #[error("the AS does not offer what the request needs: {reason}")]
    Unsupported {
        /// The stable reason.
        reason: &'static str,
    },
    /// The AS's metadata document was refused, so no endpoint of it may be used.
    #[error("the AS's metadata was refused: {reason}")]
    MetadataRejected {
        /// The stable reason, `metadata.*`.
        reason: &'static str,
    },
}

impl AsFailure {
    pub(crate) const fn new(endpoint: Endpoint, kind: AsFailureKind) -> Self {
        Self { endpoint, kind }
    }

    pub(crate) const fn not_made(endpoint: Endpoint, why: &'static str) -> Self {
        Self::new(endpoint, AsFailureKind::NotMade { why })
    }

    pub(crate) fn from_answer(endpoint: Endpoint, answer: AsAnswer) -> Self {
        let kind = match answer {
            AsAnswer::Rejected { status, error } => AsFailureKind::Rejected { status, error },
            AsAnswer::Unavailable { status, retry_after } => {
                AsFailureKind::Unavailable { status, retry_after }
            }
            AsAnswer::Malformed { why } => AsFailureKind::Malformed { why: why.reason() },
        };
        Self::new(endpoint, kind)
    }

    pub(crate) fn from_call(endpoint: Endpoint, failed: CallFailed) -> Self {
        let kind = match failed {
            CallFailed::Refused(Refusal::AddressNotAllowed) => AsFailureKind::AddressNotAllowed,
            CallFailed::Refused(refusal) => AsFailureKind::Unreachable { why: refusal.to_string() },
            CallFailed::TimedOut { sent } => AsFailureKind::TimedOut { sent },
            CallFailed::Broken { sent } => AsFailureKind::Broken { sent },
            CallFailed::TooLarge => AsFailureKind::Malformed { why: "as_answer.too_large" },
            CallFailed::Redirect(_) => AsFailureKind::Malformed { why: "as_answer.redirect" },
        };
        Self::new(endpoint, kind)
    }

    /// The stable reason for metrics and audit.
    pub const fn reason(&self) -> &'static str {
        match self.kind {
            AsFailureKind::NotMade { .. } => "as.not_made",
            AsFailureKind::AddressNotAllowed => "as.address_not_allowed",
            AsFailureKind::Unreachable { .. } => "as.unreachable",
            AsFailureKind::TimedOut { .. } => "as.timed_out",
            AsFailureKind::Broken { .. } => "as.broken",
            AsFailureKind::Rejected { .. } => "as.rejected",
            AsFailureKind::Unavailable { .. } => "as.unavailable",
            AsFailureKind::Malformed { why: reason }
            | AsFailureKind::Unsupported { reason }
            | AsFailureKind::MetadataRejected { reason } => reason,
        }
    }

    /// Whether the AS understood and said no with this OAuth error.
    pub fn is(&self, code: &str) -> bool {
        matches!(&self.kind, AsFailureKind::Rejected { error, .. } if error.as_str() == code)
    }

    /// Whether waiting may help: the AS, or the way to it, is down. A name may lead somewhere else in
    /// a moment, so an address that is not allowed counts.
    pub const fn is_outage(&self) -> bool {
        matches!(
            self.kind,
            AsFailureKind::AddressNotAllowed
                | AsFailureKind::Unreachable { .. }
                | AsFailureKind::TimedOut { .. }
                | AsFailureKind::Broken { .. }
                | AsFailureKind::Unavailable { .. }
        )
    }

    /// Seconds the AS asked us to wait, if it did.
    pub const fn retry_after(&self) -> Option<u64> {
        match self.kind {
            AsFailureKind::Unavailable { retry_after, .. } => retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// META-PRJ: an operator must be able to tell a policy from a broken network, and a browser need
    /// not: to it both are an outage.
    #[test]
    fn an_address_that_is_not_allowed_has_a_reason_and_a_remedy_of_its_own() {
        let failure = |refusal| AsFailure::from_call(Endpoint::Jwks, CallFailed::Refused(refusal));
        let forbidden = failure(Refusal::AddressNotAllowed);
        assert_eq!(forbidden.reason(), "as.address_not_allowed");
        assert!(forbidden.is_outage());
        assert!(forbidden.to_string().contains("`networks`"), "{forbidden}");
        for refusal in [
            Refusal::Connect("refused".to_owned()),
            Refusal::Name("none".to_owned()),
            Refusal::Tls("unknown issuer".to_owned()),
            Refusal::ClientCertificate("UnknownCA".to_owned()),
            Refusal::Url,
        ] {
            assert_eq!(failure(refusal).reason(), "as.unreachable");
        }
    }
}
