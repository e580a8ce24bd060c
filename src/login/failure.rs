//! Owns the ways a login or logout fails, with who is at fault.
//! Must not know: HTTP status codes.

use crate::{
    protocol::OAuthError,
    provider::{AsFailure, RedeemFailure, ResponseFailure, TokenFailure},
    telemetry::Outcome,
};

/// Where the thing came from that a rule refused, hence whose fault it is taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channel {
    /// The browser brought it, and may have made it up.
    Front,
    /// The AS answered it to us directly.
    Back,
}

/// A login that did not end in a session.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginFailure {
    /// A parameter from the app's page is not allowed or malformed.
    #[error("an authorization parameter is refused: {reason}")]
    Parameter {
        /// The stable reason, `parameter.*`.
        reason: &'static str,
    },
    /// A server of ours did not tell what the login is to ask for; `intent.*`, `details.*`.
    #[error("the details to ask for could not be had: {reason}")]
    Intent {
        /// The stable reason.
        reason: &'static str,
    },
    /// The browser has no login under way that this answer belongs to; `transaction.*`.
    #[error("no login under way fits the answer: {reason}")]
    Transaction {
        /// The stable reason.
        reason: &'static str,
    },
    /// The answer was refused; no session.
    #[error("the login was refused: {reason}")]
    Rejected {
        /// The stable reason.
        reason: &'static str,
        /// Where the refused thing came from.
        channel: Channel,
    },
    /// The AS said no, in a response that held: `access_denied`, `login_required`, …
    #[error("the AS refused: {}", error.as_str())]
    Denied {
        /// Its code.
        error: OAuthError,
    },
    /// The AS could not do its part.
    #[error(transparent)]
    As(#[from] AsFailure),
    /// The user has as many sessions as they may have (SES-7.1.2).
    #[error("there is no room for another session: {reason}")]
    SessionLimit {
        /// The stable reason, `session.*`.
        reason: &'static str,
    },
    /// The session store is unavailable.
    #[error("the session store is unavailable")]
    StoreUnavailable,
    /// The session does not fit the cookies that would have to carry it (CK-CHUNK).
    #[error("the session does not fit its cookies")]
    SessionTooLarge,
    /// A fault of ours: no randomness, a key that does not seal, a cookie that outgrew its limit.
    #[error("internal fault: {reason}")]
    Internal {
        /// The stable reason.
        reason: &'static str,
    },
}

impl LoginFailure {
    /// The stable reason for metrics and audit.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Parameter { reason }
            | Self::Intent { reason }
            | Self::Transaction { reason }
            | Self::Rejected { reason, .. }
            | Self::SessionLimit { reason }
            | Self::Internal { reason } => reason,
            Self::Denied { .. } => "as.denied",
            Self::As(failure) => failure.reason(),
            Self::StoreUnavailable => "store.unavailable",
            Self::SessionTooLarge => "session.too_large",
        }
    }
}

impl LoginFailure {
    /// Whether something did not work or a rule said no, for audit.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::As(_)
            | Self::Intent { .. }
            | Self::StoreUnavailable
            | Self::SessionTooLarge
            | Self::Internal { .. } => Outcome::Failed,
            _ => Outcome::Rejected,
        }
    }
}

impl From<ResponseFailure> for LoginFailure {
    fn from(failure: ResponseFailure) -> Self {
        match failure {
            ResponseFailure::Keys(failure) => Self::As(failure),
            ResponseFailure::Rejected(rejected) => {
                Self::Rejected { reason: rejected.reason(), channel: Channel::Front }
            }
        }
    }
}

impl From<RedeemFailure> for LoginFailure {
    fn from(failure: RedeemFailure) -> Self {
        match failure {
            RedeemFailure::Call(failure) | RedeemFailure::IdToken(TokenFailure::Keys(failure)) => {
                Self::As(failure)
            }
            other => Self::Rejected { reason: other.reason(), channel: Channel::Back },
        }
    }
}
