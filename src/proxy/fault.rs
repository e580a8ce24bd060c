//! Owns the ways forwarding can fail and what each means to the caller: status, code, reason.
//! Must not know: how an error answer is written.

use http::HeaderValue;

use super::{
    credential::CredentialFault, headers::HeaderRejection, path::PathRejection,
    step_up::AuthorizationRule,
};
use crate::{protocol::StepUp, web::ErrorCode};

/// Why a request was not forwarded, or its response not passed on.
#[derive(Debug)]
pub enum Failure<R> {
    /// The gate said no; its own refusal tells the rest.
    Refused(R),
    /// Forwarding itself failed.
    Fault(Fault),
}

impl<R> From<Fault> for Failure<R> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A failure of forwarding.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not forwarded: {}", self.reason())]
pub enum Fault {
    /// The request target is ambiguous.
    Path(PathRejection),
    /// The request headers contradict themselves or ask for what is not offered.
    Headers(HeaderRejection),
    /// No route, or an ambiguous one.
    NoRoute,
    /// The route exists, the method is not listed.
    MethodNotAllowed {
        /// Value for the `Allow` header.
        allow: HeaderValue,
    },
    /// A `GET` or `HEAD` with a body: an upstream that does not read it would take it for the next
    /// request on the connection (PXY-2).
    BodyNotAllowed,
    /// The request body exceeds the route's limit.
    BodyTooLarge,
    /// The client stopped sending its body.
    BodyStalled,
    /// The client's body ended before its time.
    BodyBroken,
    /// No connection to the upstream.
    Unreachable,
    /// The connection broke before a response head came.
    Broken,
    /// No response head in time.
    Timeout,
    /// The upstream redirects to where this route does not lead (PXY-5).
    Redirect,
    /// The upstream switched protocols unasked.
    Protocol,
    /// The upstream calls the access token invalid, and no other is to be had. Not 401: the session
    /// is alive, so a new login would change nothing and a page would log in for ever.
    TokenRejected,
    /// The upstream called the access token invalid; there is a new one now, but the body is gone and
    /// cannot be sent again. The caller may repeat the request: the upstream did not act on it.
    TokenRenewed,
    /// The upstream does not accept the proof of possession, or demands one nonce after the other.
    ProofRejected,
    /// The upstream demanded a nonce, which is known now, but the body is gone and cannot be sent
    /// again. The caller may repeat the request: the upstream did not act on it (DPOP-9-PRJ).
    NonceLearned,
    /// The user must authenticate otherwise, and the page is told how (STEP-4).
    StepUp(StepUp),
    /// The user must authenticate otherwise, and being told so again would not help (STEP-5).
    InsufficientAuthentication,
    /// The user must authorize more, and the page is told what (RAR-7).
    Authorization(AuthorizationRule),
    /// The user must authorize more, and being told so again would not help.
    InsufficientAuthorization,
    /// The proof of possession could not be signed; a fault of ours.
    Unsigned,
    /// The operating system gave no randomness.
    NoEntropy,
    /// The upstream's address could not be put together; a fault of ours.
    Target,
}

impl Fault {
    /// Stable machine reason for logs and audit.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Path(rejection) => rejection.reason(),
            Self::Headers(rejection) => rejection.reason(),
            Self::NoRoute => "route.none",
            Self::MethodNotAllowed { .. } => "route.method",
            Self::BodyNotAllowed => "request.body_not_allowed",
            Self::BodyTooLarge => "request.too_large",
            Self::BodyStalled => "request.stalled",
            Self::BodyBroken => "request.broken",
            Self::Unreachable => "upstream.unreachable",
            Self::Broken => "upstream.broken",
            Self::Timeout => "upstream.timeout",
            Self::Redirect => "upstream.redirect",
            Self::Protocol => "upstream.protocol",
            Self::TokenRejected => "upstream.token_rejected",
            Self::TokenRenewed => "upstream.token_renewed",
            Self::ProofRejected => "upstream.proof_rejected",
            Self::NonceLearned => "upstream.nonce_learned",
            Self::StepUp(_) => "step_up.required",
            Self::InsufficientAuthentication => "step_up.insufficient",
            Self::Authorization(_) => "authorization.required",
            Self::InsufficientAuthorization => "authorization.insufficient",
            Self::Unsigned => "server.unsigned",
            Self::NoEntropy => "server.entropy",
            Self::Target => "server.target",
        }
    }

    /// What the page is told; the status goes with it.
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::Headers(HeaderRejection::Upgrade) => ErrorCode::UpgradeNotSupported,
            Self::Path(_) | Self::Headers(_) | Self::BodyBroken | Self::BodyNotAllowed => {
                ErrorCode::InvalidRequest
            }
            Self::NoRoute => ErrorCode::NotFound,
            Self::MethodNotAllowed { .. } => ErrorCode::MethodNotAllowed,
            Self::BodyTooLarge => ErrorCode::PayloadTooLarge,
            Self::BodyStalled => ErrorCode::RequestTimeout,
            Self::Unreachable | Self::Broken | Self::Protocol => ErrorCode::UpstreamUnavailable,
            Self::Timeout => ErrorCode::UpstreamTimeout,
            Self::Redirect => ErrorCode::UpstreamRedirect,
            Self::TokenRejected | Self::ProofRejected => ErrorCode::UpstreamRejectedToken,
            Self::TokenRenewed | Self::NonceLearned => ErrorCode::UpstreamTokenRenewed,
            Self::StepUp(_) => ErrorCode::StepUpRequired,
            Self::InsufficientAuthentication => ErrorCode::InsufficientAuthentication,
            Self::Authorization(_) => ErrorCode::AuthorizationRequired,
            Self::InsufficientAuthorization => ErrorCode::InsufficientAuthorization,
            Self::Unsigned | Self::NoEntropy | Self::Target => ErrorCode::ServerError,
        }
    }

    /// What the page must do before it may repeat the request.
    pub const fn step_up(&self) -> Option<&StepUp> {
        match self {
            Self::StepUp(demand) => Some(demand),
            _ => None,
        }
    }

    /// What the page must have authorized before it may repeat the request.
    pub const fn authorization(&self) -> Option<&AuthorizationRule> {
        match self {
            Self::Authorization(rule) => Some(rule),
            _ => None,
        }
    }

    /// Value of the `Allow` header that a 405 must carry (RFC 9110 §15.5.6).
    pub const fn allow(&self) -> Option<&HeaderValue> {
        match self {
            Self::MethodNotAllowed { allow } => Some(allow),
            _ => None,
        }
    }
}

impl From<CredentialFault> for Fault {
    fn from(fault: CredentialFault) -> Self {
        match fault {
            CredentialFault::Token => Self::TokenRejected,
            CredentialFault::NoEntropy => Self::NoEntropy,
            CredentialFault::Unsigned => Self::Unsigned,
        }
    }
}

impl<R> From<CredentialFault> for Failure<R> {
    fn from(fault: CredentialFault) -> Self {
        Self::Fault(fault.into())
    }
}
