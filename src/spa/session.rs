//! Owns what a page may learn of its session, and its wish to refresh.
//! Must not know: tokens; they pass by unseen.

use axum::response::Response;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::{
    Spa,
    answers::{self, Refreshed, SessionState},
};
use crate::{
    clock::UnixTime,
    provider::UserinfoFailure,
    session::{Activity, Cause, FindError, Session},
    web::{Body, ErrorAnswer, ErrorCode, Refusal, RequestId, with_cookies},
};

/// Whether somebody is logged in. Never extends the session, never starts a login.
#[utoipa::path(get, path = "/session", tag = "session", operation_id = "session",
    responses(
        (status = 200, description = "The session, or `is_logged_in: false`", body = SessionState),
        (status = 403, description = "`csrf_rejected`", body = crate::web::ErrorBody),
        (status = 503, description = "`store_unavailable`; retry, the session is untouched", body = crate::web::ErrorBody)))]
pub(super) async fn session(spa: &Spa, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
    let Some(handle) = spa.admission.handle(headers) else {
        return answers::json(&SessionState::LOGGED_OUT);
    };
    match spa.admission.find(&handle, Activity::Polls).await {
        // The same verdict an API call would get: no zombie that is logged in but useless.
        Ok(session) if session.is_exhausted(spa.ambient.now()) => {
            answers::json(&SessionState::LOGGED_OUT)
        }
        Ok(session) => {
            let state = answers::json(&SessionState::of(&session, spa.ambient.now()))?;
            Ok(with_cookies(state, spa.admission.renewed_cookies(&handle, &session)))
        }
        Err(FindError::NoSession(gone)) => {
            let state = answers::json(&SessionState::LOGGED_OUT)?;
            Ok(with_cookies(state, spa.admission.parting_of(gone)))
        }
        Err(FindError::StoreUnavailable) => {
            Err(ErrorAnswer::new(ErrorCode::StoreUnavailable).into())
        }
    }
}

/// The AS's claims about the user.
#[utoipa::path(get, path = "/userinfo", tag = "session", operation_id = "userinfo",
    responses(
        (status = 200, description = "The AS's userinfo claims", body = Object),
        (status = 401, description = "`session_missing`, `session_expired` or `reauthentication_required`", body = crate::web::ErrorBody),
        (status = 403, description = "`csrf_rejected`", body = crate::web::ErrorBody),
        (status = 502, description = "`authorization_server_error`", body = crate::web::ErrorBody),
        (status = 503, description = "Something behind the BFF is unavailable; retry", body = crate::web::ErrorBody)))]
pub(super) async fn userinfo(spa: &Spa, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
    let (handle, session) = spa.admission.session(headers, Activity::Counts).await?;
    let mut session = spa.admission.with_token(&handle, session, None).await?;
    let mut answer = ask_userinfo(spa, &session).await;
    if matches!(answer, Err(UserinfoFailure::TokenRejected)) {
        // As at any upstream: one renewal, one more try.
        let cause = Cause::UpstreamRejected { used_version: session.version() };
        let outcome = spa.admission.renew(&handle, cause, None).await;
        session = outcome.into_result().map_err(|trouble| spa.admission.trouble(trouble))?;
        answer = ask_userinfo(spa, &session).await;
    }
    match answer {
        Ok(claims) => {
            let claims = answers::json(&claims)?;
            Ok(with_cookies(claims, spa.admission.renewed_cookies(&handle, &session)))
        }
        Err(UserinfoFailure::Call(failure)) => Err(answers::as_failure(&failure).into()),
        Err(UserinfoFailure::TokenRejected) => {
            tracing::warn!(app = %spa.app, reason = "userinfo.token_rejected", "the AS refused the access token");
            Err(ErrorAnswer::new(ErrorCode::AuthorizationServerError).into())
        }
        Err(UserinfoFailure::Refused { reason }) => {
            tracing::warn!(app = %spa.app, reason, "userinfo refused");
            Err(ErrorAnswer::new(ErrorCode::AuthorizationServerError).into())
        }
    }
}

async fn ask_userinfo(spa: &Spa, session: &Session) -> Result<Map<String, Value>, UserinfoFailure> {
    let subject = session.identity().subject.as_deref();
    let prover = session.key_seed().map(|seed| spa.provider.prover(seed)).transpose();
    let prover = prover.map_err(|_| UserinfoFailure::Refused { reason: "userinfo.no_key" })?;
    spa.provider.userinfo(session.access_token(), subject, prover.as_ref()).await
}

/// Renews the access token now. Pages need not: API calls renew it when it is due.
#[utoipa::path(post, path = "/refresh", tag = "session", operation_id = "refresh",
    responses(
        (status = 200, description = "Renewed", body = Refreshed),
        (status = 400, description = "`invalid_request`: parameters are not allowed, or the AS issued no refresh token", body = crate::web::ErrorBody),
        (status = 401, description = "`session_missing`, `session_expired` or `reauthentication_required`", body = crate::web::ErrorBody),
        (status = 403, description = "`csrf_rejected`", body = crate::web::ErrorBody),
        (status = 503, description = "`authorization_server_unavailable`, `token_unavailable` or `store_unavailable`; retry", body = crate::web::ErrorBody)))]
pub(super) async fn refresh(
    spa: &Spa,
    headers: &HeaderMap,
    form: &[u8],
) -> Result<Response<Body>, Refusal> {
    if !form.is_empty() {
        return Err(ErrorAnswer::new(ErrorCode::InvalidRequest).with_detail("unknown").into());
    }
    let (handle, _) = spa.admission.session(headers, Activity::Polls).await?;
    let outcome = spa.admission.renew(&handle, Cause::Demanded, None).await;
    let session = outcome.into_result().map_err(|trouble| spa.admission.trouble(trouble))?;
    let access_token_expires_in = left(&session, spa.ambient.now());
    let refreshed = answers::json(&Refreshed { access_token_expires_in })?;
    Ok(with_cookies(refreshed, spa.admission.renewed_cookies(&handle, &session)))
}

/// The client's public keys, for the AS.
#[utoipa::path(get, path = "/jwks", tag = "client", operation_id = "jwks",
    responses((status = 200, description = "A JWK set with public members only", body = Object)))]
pub(super) fn jwks(spa: &Spa, id: &RequestId) -> Response<Body> {
    // Assembling the server has shown that it can be made.
    let Ok(document) = spa.provider.jwks_document() else {
        return ErrorAnswer::new(ErrorCode::ServerError).into_response(id);
    };
    let mut response = Response::new(Body::from(document.to_string()));
    let value = HeaderValue::from_static("application/jwk-set+json");
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}

fn left(session: &Session, now: UnixTime) -> Option<i64> {
    session.access_expires().map(|until| until.since(now).max(0))
}
