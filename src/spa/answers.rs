//! Owns the JSON bodies of the SPA contract and how failures become error codes.
//! Must not know: how the values came about.

use axum::response::Response;
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    clock::UnixTime,
    login::{Channel, LoginFailure},
    provider::{AsFailure, AsFailureKind},
    session::{Entry, Session},
    telemetry::Pseudonym,
    web::{Body, ErrorAnswer, ErrorCode, Refusal},
};

/// Answer to `POST login/start`.
#[derive(Serialize, ToSchema)]
pub(super) struct LoginStarted<'a> {
    /// Navigate the browser here.
    pub(super) authorization_url: &'a str,
}

/// Answer to `POST login/end` and `GET session`.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionState<'a> {
    /// Whether there is a session with which APIs can be called.
    is_logged_in: bool,
    /// ID-token claims that the configuration shows to pages; `null` when logged out.
    id_token_claims: Option<&'a Map<String, Value>>,
    /// Seconds until the access token ends; `null` if the AS did not say. It is renewed unasked.
    access_token_expires_in: Option<i64>,
    /// Seconds until the session ends whatever happens; `null` when logged out.
    session_expires_in: Option<i64>,
    /// Seconds until the session ends without an API call; asking does not extend it.
    idle_expires_in: Option<i64>,
}

impl<'a> SessionState<'a> {
    pub(super) const LOGGED_OUT: Self = Self {
        is_logged_in: false,
        id_token_claims: None,
        access_token_expires_in: None,
        session_expires_in: None,
        idle_expires_in: None,
    };

    pub(super) fn of(session: &'a Session, now: UnixTime) -> Self {
        let left = |until: UnixTime| until.since(now).max(0);
        Self {
            is_logged_in: true,
            id_token_claims: Some(&session.identity().claims),
            access_token_expires_in: session.access_expires().map(left),
            session_expires_in: Some(left(session.absolute_expires())),
            idle_expires_in: Some(left(session.idle_expires())),
        }
    }
}

/// Answer to `POST refresh`.
#[derive(Serialize, ToSchema)]
pub(super) struct Refreshed {
    /// Seconds until the access token ends; `null` if the AS did not say.
    pub(super) access_token_expires_in: Option<i64>,
}

/// Answer to `POST logout`.
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedOut {
    /// Navigate the browser here to end the session at the AS too; absent if the AS offers none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logout_url: Option<String>,
    /// Only with `everywhere`: how many sessions ended, this one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sessions_ended: Option<u64>,
}

/// Answer to `GET sessions`.
#[derive(Serialize, ToSchema)]
pub(super) struct OwnSessions<'a> {
    /// Newest first.
    pub(super) sessions: Vec<OwnSession<'a>>,
}

/// One of the user's sessions.
#[derive(Serialize, ToSchema)]
pub(super) struct OwnSession<'a> {
    /// For `sessions/end`; good for nothing else, and for no other user.
    id: &'a str,
    /// Whether it is the one that asks.
    current: bool,
    /// Seconds since it began.
    began_ago: i64,
    /// Seconds since it was used; noted every twentieth of the idle limit.
    used_ago: i64,
    /// Seconds until it ends if it is not used.
    idle_expires_in: i64,
    /// Seconds until it ends whatever happens.
    session_expires_in: i64,
}

impl<'a> OwnSession<'a> {
    pub(super) fn of(entry: &'a Entry, current: &Pseudonym, now: UnixTime) -> Self {
        Self {
            id: entry.id.as_str(),
            current: entry.id == *current,
            began_ago: now.since(entry.created).max(0),
            used_ago: now.since(entry.last_seen).max(0),
            idle_expires_in: entry.idle_expires.since(now).max(0),
            session_expires_in: entry.expires.since(now).max(0),
        }
    }
}

/// Answer to `POST sessions/end`.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionsEnded {
    /// How many sessions ended.
    pub(super) sessions_ended: u64,
}

/// A JSON answer; its `Content-Type` is exactly `application/json`.
pub(super) fn json(value: &impl Serialize) -> Result<Response<Body>, Refusal> {
    let bytes = serde_json::to_vec(value).map_err(|_| ErrorAnswer::new(ErrorCode::ServerError))?;
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// What a browser is told of a login that failed: enough to act on, no detail of the checks.
pub(super) fn login_failure(failure: &LoginFailure) -> ErrorAnswer {
    match failure {
        LoginFailure::Parameter { reason } => {
            ErrorAnswer::new(ErrorCode::InvalidRequest).with_detail(reason)
        }
        LoginFailure::Transaction { .. } => ErrorAnswer::new(ErrorCode::TransactionMissing),
        LoginFailure::Rejected { channel: Channel::Front, .. } => {
            ErrorAnswer::new(ErrorCode::LoginRejected)
        }
        LoginFailure::Rejected { channel: Channel::Back, .. } => {
            ErrorAnswer::new(ErrorCode::AuthorizationServerError)
        }
        LoginFailure::Denied { error } => {
            ErrorAnswer::new(ErrorCode::AuthorizationError).with_detail(error.as_str())
        }
        // What was asked for in detail, or for which API, is not this AS's to give: the page's wish
        // cannot be met (RAR-5).
        LoginFailure::As(failure) if failure.is("invalid_authorization_details") => {
            ErrorAnswer::new(ErrorCode::AuthorizationError)
                .with_detail("invalid_authorization_details")
        }
        LoginFailure::As(failure) => as_failure(failure),
        LoginFailure::Intent { .. } => ErrorAnswer::new(ErrorCode::UpstreamUnavailable),
        LoginFailure::SessionLimit { .. } => ErrorAnswer::new(ErrorCode::SessionLimit),
        LoginFailure::StoreUnavailable => ErrorAnswer::new(ErrorCode::StoreUnavailable),
        LoginFailure::SessionTooLarge => ErrorAnswer::new(ErrorCode::SessionTooLarge),
        _ => ErrorAnswer::new(ErrorCode::ServerError),
    }
}

/// What a browser is told of a call to the AS that failed.
pub(super) fn as_failure(failure: &AsFailure) -> ErrorAnswer {
    /// Longer than this nobody waits in front of a page.
    const LONGEST_WAIT: u64 = 120;
    match &failure.kind {
        // A code that came too late or twice: the way out is a new login, not a fault (OA-5.2).
        AsFailureKind::Rejected { error, .. } if error.as_str() == "invalid_grant" => {
            ErrorAnswer::new(ErrorCode::LoginRejected)
        }
        _ if failure.is_outage() => {
            let answer = ErrorAnswer::new(ErrorCode::AuthorizationServerUnavailable);
            match failure.retry_after().map(|seconds| seconds.min(LONGEST_WAIT)) {
                Some(seconds) => answer.retry_after(u32::try_from(seconds).unwrap_or(2)),
                None => answer,
            }
        }
        AsFailureKind::NotMade { .. } => ErrorAnswer::new(ErrorCode::ServerError),
        _ => ErrorAnswer::new(ErrorCode::AuthorizationServerError),
    }
}
