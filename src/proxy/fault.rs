//! Owns the ways forwarding can fail and what each means to the caller: status, code, reason.
//! Must not know: how an error answer is written.

use http::{HeaderValue, StatusCode};

use super::{headers::HeaderRejection, path::PathRejection};

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
            Self::NoEntropy => "server.entropy",
            Self::Target => "server.target",
        }
    }

    /// The `error_code` shown to the page.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Headers(HeaderRejection::Upgrade) => "upgrade_not_supported",
            Self::Path(_) | Self::Headers(_) | Self::BodyBroken => "invalid_request",
            Self::NoRoute => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::BodyTooLarge => "payload_too_large",
            Self::BodyStalled => "request_timeout",
            Self::Unreachable | Self::Broken | Self::Protocol => "upstream_unavailable",
            Self::Timeout => "upstream_timeout",
            Self::Redirect => "upstream_redirect",
            Self::TokenRejected => "upstream_rejected_token",
            Self::TokenRenewed => "upstream_token_renewed",
            Self::NoEntropy | Self::Target => "server_error",
        }
    }

    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Path(PathRejection::TooLong) => StatusCode::URI_TOO_LONG,
            Self::Path(_) | Self::Headers(_) | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyStalled => StatusCode::REQUEST_TIMEOUT,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::TokenRenewed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable
            | Self::Broken
            | Self::Protocol
            | Self::Redirect
            | Self::TokenRejected => StatusCode::BAD_GATEWAY,
            Self::NoEntropy | Self::Target => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds for `Retry-After`, where waiting helps.
    pub const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::TokenRenewed => Some(0),
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
