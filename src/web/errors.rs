//! Owns what a browser is told when something is refused: a status, a stable code, a request id.
//! Must not know: the detailed reason; that is for logs, metrics and audit.

use axum::response::Response;
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Body, RequestId};
use crate::protocol::StepUp;

/// What went wrong, in terms a single-page app can act on. The text never changes its meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The AS refused the login or the user cancelled; `detailed_error` is its OAuth error code.
    AuthorizationError,
    /// The call wants something authorized in detail that this session's login did not: log in with
    /// `authorization` as `authorization` holds it, and an `intent`, as parameters of `login/start`,
    /// then repeat the call. The session stays as it is until then.
    AuthorizationRequired,
    /// The AS answered something that must not be believed. Starting again may help.
    AuthorizationServerError,
    /// The AS cannot be reached or is overloaded. Retry after `Retry-After` seconds.
    AuthorizationServerUnavailable,
    /// The call did not prove that it comes from the app's own pages.
    CsrfRejected,
    /// The user has logged in as `step_up_required` said and the call is still refused, or the API
    /// makes one demand after the other. Another login would not help now; ten minutes later it may.
    InsufficientAuthentication,
    /// The user has logged in as `authorization_required` said and the authorization is still not
    /// there. Another login would not help now; ten minutes later it may.
    InsufficientAuthorization,
    /// The request is malformed; `detailed_error` names what.
    InvalidRequest,
    /// The login's answer did not hold; no session was made. Start again.
    LoginRejected,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// There is nothing at this path.
    NotFound,
    /// The request body is larger than this call allows.
    PayloadTooLarge,
    /// The session's authorization ended at the AS; the user must log in again.
    ReauthenticationRequired,
    /// A fault of the BFF itself; the operator finds it by the request id.
    ServerError,
    /// The request body stopped arriving.
    RequestTimeout,
    /// The session ended by idle or absolute time-out.
    SessionExpired,
    /// There is no session: never logged in, logged out, or ended elsewhere.
    SessionMissing,
    /// The user has as many sessions as one person may have in this app; no session was made. End one,
    /// or wait until one ends.
    SessionLimit,
    /// The login held, but its session does not fit the cookies that are to carry it. Another attempt
    /// changes nothing: the operator has to make tokens shorter, or keep sessions on the server.
    SessionTooLarge,
    /// The call wants the user to authenticate otherwise or anew: log in with what `step_up` holds as
    /// parameters of `login/start`, then repeat the call. The session stays as it is until then.
    StepUpRequired,
    /// Sessions cannot be read just now; the session itself is untouched. Retry.
    StoreUnavailable,
    /// The access token cannot be renewed just now; the session itself is untouched. Retry.
    TokenUnavailable,
    /// No login is under way in this browser for this answer: finished, expired or started elsewhere.
    TransactionMissing,
    /// WebSocket and other protocol upgrades are not offered here.
    UpgradeNotSupported,
    /// The API behind the BFF redirects to where its route does not lead.
    UpstreamRedirect,
    /// The API behind the BFF refused the access token it was given. A new login changes nothing.
    UpstreamRejectedToken,
    /// The API behind the BFF did not answer in time.
    UpstreamTimeout,
    /// The API refused an access token that had ended, or a proof without its nonce, and did not act;
    /// a fresh one is there now. Repeat the call.
    UpstreamTokenRenewed,
    /// The API behind the BFF cannot be reached, or answered something that cannot be passed on.
    UpstreamUnavailable,
}

impl ErrorCode {
    /// The HTTP status that goes with it: 4xx for the browser's fault, 5xx for others'.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::AuthorizationError
            | Self::InvalidRequest
            | Self::LoginRejected
            | Self::TransactionMissing
            | Self::UpgradeNotSupported => StatusCode::BAD_REQUEST,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::AuthorizationRequired
            | Self::ReauthenticationRequired
            | Self::SessionExpired
            | Self::SessionMissing
            | Self::StepUpRequired => StatusCode::UNAUTHORIZED,
            Self::CsrfRejected
            | Self::InsufficientAuthentication
            | Self::InsufficientAuthorization => StatusCode::FORBIDDEN,
            Self::SessionLimit => StatusCode::CONFLICT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ServerError | Self::SessionTooLarge => StatusCode::INTERNAL_SERVER_ERROR,
            Self::AuthorizationServerError
            | Self::UpstreamRedirect
            | Self::UpstreamRejectedToken
            | Self::UpstreamUnavailable => StatusCode::BAD_GATEWAY,
            Self::AuthorizationServerUnavailable
            | Self::StoreUnavailable
            | Self::TokenUnavailable
            | Self::UpstreamTokenRenewed => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The code as it stands in the JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationError => "authorization_error",
            Self::AuthorizationRequired => "authorization_required",
            Self::AuthorizationServerError => "authorization_server_error",
            Self::AuthorizationServerUnavailable => "authorization_server_unavailable",
            Self::CsrfRejected => "csrf_rejected",
            Self::InsufficientAuthentication => "insufficient_authentication",
            Self::InsufficientAuthorization => "insufficient_authorization",
            Self::InvalidRequest => "invalid_request",
            Self::LoginRejected => "login_rejected",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotFound => "not_found",
            Self::PayloadTooLarge => "payload_too_large",
            Self::ReauthenticationRequired => "reauthentication_required",
            Self::RequestTimeout => "request_timeout",
            Self::ServerError => "server_error",
            Self::SessionExpired => "session_expired",
            Self::SessionLimit => "session_limit",
            Self::SessionMissing => "session_missing",
            Self::SessionTooLarge => "session_too_large",
            Self::StepUpRequired => "step_up_required",
            Self::StoreUnavailable => "store_unavailable",
            Self::TokenUnavailable => "token_unavailable",
            Self::TransactionMissing => "transaction_missing",
            Self::UpgradeNotSupported => "upgrade_not_supported",
            Self::UpstreamRedirect => "upstream_redirect",
            Self::UpstreamRejectedToken => "upstream_rejected_token",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamTokenRenewed => "upstream_token_renewed",
            Self::UpstreamUnavailable => "upstream_unavailable",
        }
    }
}

/// One refusal, ready to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorAnswer {
    code: ErrorCode,
    detail: Option<&'static str>,
    retry_after: Option<u32>,
    wanted: Option<Box<Wanted>>,
}

/// The login that would help.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Wanted {
    Authentication(StepUp),
    Authorization { kind: String, template: Option<String> },
}

/// The login that a call wants (RFC 9470): each member is the parameter of `login/start` of the same
/// name, an absent one is not wanted.
#[derive(Serialize, ToSchema)]
pub struct StepUpHint<'a> {
    /// Authentication context classes, most wanted first; to be joined by spaces.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    acr_values: &'a [String],
    /// Seconds since the user authenticated, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u32>,
}

/// The authorization that a call wants (RFC 9396).
#[derive(Serialize, ToSchema)]
pub struct AuthorizationHint<'a> {
    /// The `type` of authorization details that must be granted.
    #[serde(rename = "type")]
    kind: &'a str,
    /// The parameter of `login/start` of the same name; absent if every login asks for this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<&'a str>,
}

/// The JSON body of every refusal.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody<'a> {
    /// What went wrong, in terms to act on.
    #[schema(value_type = ErrorCode)]
    error_code: &'a str,
    /// More about it, from a closed list: an OAuth error code, or what is wrong with the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    detailed_error: Option<&'a str>,
    /// Quote this to the operator.
    request_id: &'a str,
    /// With `step_up_required`: the login that the call wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    step_up: Option<StepUpHint<'a>>,
    /// With `authorization_required`: what the user must authorize.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<AuthorizationHint<'a>>,
}

impl ErrorAnswer {
    /// A refusal; those with status 503 ask to be retried soon.
    pub const fn new(code: ErrorCode) -> Self {
        let retry_after = match code {
            ErrorCode::UpstreamTokenRenewed => Some(0),
            _ if code.status().as_u16() == 503 => Some(2),
            _ => None,
        };
        Self { code, detail: None, retry_after, wanted: None }
    }

    /// Adds a detail from a closed list; nothing from the network may stand here.
    #[must_use]
    pub const fn with_detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Asks to be retried after `seconds`.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Says which login the call wants (STEP-4).
    #[must_use]
    pub fn with_step_up(mut self, demand: StepUp) -> Self {
        self.wanted = Some(Box::new(Wanted::Authentication(demand)));
        self
    }

    /// Says which type of authorization the call wants, and by which name a login asks for it.
    #[must_use]
    pub fn with_authorization(mut self, kind: String, template: Option<String>) -> Self {
        self.wanted = Some(Box::new(Wanted::Authorization { kind, template }));
        self
    }

    /// The code it carries.
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The answer. Its `Content-Type` is exactly `application/json`: client libraries of the
    /// token-handler contract compare it as a whole.
    pub fn into_response(self, request_id: &RequestId) -> Response<Body> {
        let (mut step_up, mut authorization) = (None, None);
        match self.wanted.as_deref() {
            Some(Wanted::Authentication(demand)) => {
                step_up =
                    Some(StepUpHint { acr_values: &demand.acr_values, max_age: demand.max_age });
            }
            Some(Wanted::Authorization { kind, template }) => {
                authorization =
                    Some(AuthorizationHint { kind, authorization: template.as_deref() });
            }
            None => {}
        }
        let body = serde_json::to_vec(&ErrorBody {
            error_code: self.code.as_str(),
            detailed_error: self.detail,
            request_id: request_id.as_str(),
            step_up,
            authorization,
        })
        .unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self.code);
        response
    }
}

/// A refusal together with the cookies it takes along.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What is said.
    pub answer: ErrorAnswer,
    /// `Set-Cookie` values.
    pub cookies: Vec<HeaderValue>,
}

impl From<ErrorAnswer> for Refusal {
    fn from(answer: ErrorAnswer) -> Self {
        Self { answer, cookies: Vec::new() }
    }
}

impl Refusal {
    /// The answer with its cookies.
    pub fn into_response(self, request_id: &RequestId) -> Response<Body> {
        with_cookies(self.answer.into_response(request_id), self.cookies)
    }
}

/// Adds `Set-Cookie` headers to an answer.
pub fn with_cookies(mut response: Response<Body>, cookies: Vec<HeaderValue>) -> Response<Body> {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_in_the_json_is_the_code_in_the_schema() {
        for code in [
            ErrorCode::AuthorizationRequired,
            ErrorCode::AuthorizationServerUnavailable,
            ErrorCode::CsrfRejected,
            ErrorCode::InsufficientAuthentication,
            ErrorCode::InsufficientAuthorization,
            ErrorCode::SessionLimit,
            ErrorCode::StepUpRequired,
            ErrorCode::UpstreamRejectedToken,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn unavailability_always_says_when_to_retry() {
        let id = RequestId::new(&crate::clock::Ambient::system()).unwrap();
        let answer = ErrorAnswer::new(ErrorCode::StoreUnavailable).into_response(&id);
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()[RETRY_AFTER], "2");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        let answer = ErrorAnswer::new(ErrorCode::CsrfRejected).into_response(&id);
        assert!(!answer.headers().contains_key(RETRY_AFTER));
    }
}
