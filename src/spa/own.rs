//! Owns the calls by which users see their sessions and end them, as HTTP (SES-7.4).
//! Must not know: how a session is found; whose it may be is decided below.

use axum::response::Response;
use http::HeaderMap;

use super::{
    Spa,
    answers::{self, OwnSession, OwnSessions, SessionsEnded},
    pairs,
};
use crate::{
    admission::Carrier,
    protocol::{Authentication, StepUp},
    session::{Activity, Session},
    web::{Body, ErrorAnswer, ErrorCode, Refusal, RequestId, with_cookies},
};

/// So many are shown; a user with more has other worries.
const MOST_SHOWN: usize = 100;

/// The user's sessions in this app, newest first. Asking extends none of them.
#[utoipa::path(get, path = "/sessions", tag = "session", operation_id = "sessions",
    responses(
        (status = 200, description = "The user's living sessions in this app, the 100 newest at most", body = OwnSessions),
        (status = 400, description = "`invalid_request`, `no_subject`: without an ID token nobody knows whose session it is", body = crate::web::ErrorBody),
        (status = 401, description = "`session_missing` or `session_expired`", body = crate::web::ErrorBody),
        (status = 403, description = "`csrf_rejected`", body = crate::web::ErrorBody),
        (status = 503, description = "`store_unavailable`; retry", body = crate::web::ErrorBody)))]
pub(super) async fn sessions(spa: &Spa, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
    spa.listable()?;
    let (_, session) = spa.admission.session(headers, Activity::Polls).await?;
    let own = spa.login.own_sessions(&session).await;
    let own = own.map_err(|failure| answers::login_failure(&failure))?;
    let now = spa.ambient.now();
    let sessions = own.iter().take(MOST_SHOWN);
    let sessions = sessions.map(|entry| OwnSession::of(entry, session.pseudonym(), now)).collect();
    answers::json(&OwnSessions { sessions })
}

/// Ends one of the user's sessions in this app. Its tokens cannot be revoked without its cookie, unless
/// it is the caller's own; to log out here, `logout` is the better way.
#[utoipa::path(post, path = "/sessions/end", tag = "session", operation_id = "endSession",
    request_body(content_type = "application/x-www-form-urlencoded", content = String,
        description = "`id`: of one of `sessions`"),
    responses(
        (status = 200, description = "How many ended: 1, or 0 if the user has no such session (any more)", body = SessionsEnded),
        (status = 400, description = "`invalid_request`: `id` is missing or malformed, or `no_subject`", body = crate::web::ErrorBody),
        (status = 401, description = "`session_missing`, `session_expired`, or `step_up_required` where users must have authenticated lately", body = crate::web::ErrorBody),
        (status = 403, description = "`csrf_rejected`", body = crate::web::ErrorBody),
        (status = 503, description = "`store_unavailable`; retry", body = crate::web::ErrorBody)))]
pub(super) async fn end_session(
    spa: &Spa,
    headers: &HeaderMap,
    form: &[u8],
    id: &RequestId,
) -> Result<Response<Body>, Refusal> {
    spa.listable()?;
    let (handle, session) = spa.admission.session(headers, Activity::Polls).await?;
    spa.lately_authenticated(&session)?;
    let fields = pairs(form);
    let named = match fields.as_slice() {
        [(name, value)] if name == "id" && is_id(value) => value,
        _ => return Err(ErrorAnswer::new(ErrorCode::InvalidRequest).with_detail("id").into()),
    };
    if named == session.pseudonym().as_str() {
        let left = spa.login.leave(&handle, id.as_str()).await;
        let left = left.map_err(|failure| answers::login_failure(&failure))?;
        let answer = answers::json(&SessionsEnded { sessions_ended: left.ended.into() })?;
        return Ok(with_cookies(answer, spa.admission.parting()));
    }
    let ended = spa.login.end_named(&session, named, id.as_str()).await;
    let sessions_ended = ended.map_err(|failure| answers::login_failure(&failure))?;
    answers::json(&SessionsEnded { sessions_ended })
}

/// What the user's wish to leave everywhere ended elsewhere; none if it was not wished. The others go
/// first: should the store fail between, this session is still there to ask once more.
pub(super) async fn leave_elsewhere(
    spa: &Spa,
    headers: &HeaderMap,
    form: &[u8],
    id: &RequestId,
) -> Result<Option<u64>, Refusal> {
    let fields = pairs(form);
    let wishes: Vec<_> = fields.iter().filter(|(name, _)| name == "everywhere").collect();
    match wishes.as_slice() {
        [] => return Ok(None),
        [(_, wish)] if wish == "false" => return Ok(None),
        [(_, wish)] if wish == "true" => {}
        _ => {
            return Err(ErrorAnswer::new(ErrorCode::InvalidRequest)
                .with_detail("everywhere")
                .into());
        }
    }
    let (_, session) = spa.admission.session(headers, Activity::Polls).await?;
    spa.lately_authenticated(&session)?;
    let ended = spa.login.end_others(&session, id.as_str()).await;
    Ok(Some(ended.map_err(|failure| answers::login_failure(&failure))?))
}

/// The form of a pseudonym.
fn is_id(text: &str) -> bool {
    text.len() == 22 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

impl Spa {
    /// Where browsers carry their sessions nobody can list them. An empty list would say that there are none.
    fn listable(&self) -> Result<(), ErrorAnswer> {
        match self.admission.carrier {
            Carrier::Server => Ok(()),
            Carrier::Cookie => {
                Err(ErrorAnswer::new(ErrorCode::InvalidRequest).with_detail("not_listed"))
            }
        }
    }

    /// Who ends sessions elsewhere must have authenticated lately, where the configuration says so: a
    /// stolen cookie shall not throw its owner out (SES-7.4).
    fn lately_authenticated(&self, session: &Session) -> Result<(), ErrorAnswer> {
        let Some(max_age) = self.manage_max_age else { return Ok(()) };
        let demand = StepUp { acr_values: Vec::new(), max_age: Some(max_age), scope: None };
        let identity = session.identity();
        let authentication =
            Authentication { acr: identity.acr.as_deref(), auth_time: identity.auth_time };
        if demand.met_by(&authentication, self.ambient.now()) {
            Ok(())
        } else {
            Err(ErrorAnswer::new(ErrorCode::StepUpRequired).with_step_up(demand))
        }
    }
}
