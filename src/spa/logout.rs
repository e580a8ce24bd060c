//! Owns the way out as HTTP: a call by script, a navigation to the AS, a return.
//! Must not know: what the AS is told.

use axum::response::Response;
use http::HeaderMap;

use super::{
    Spa,
    answers::{self, LoggedOut},
    own, pairs, see_other,
};
use crate::{
    telemetry::{Action, AuditEvent, Outcome},
    web::{Body, Refusal, RequestId, SameSite, clear_cookie, cookie, set_cookie, with_cookies},
};

/// Ends the session. Where the AS keeps one too, `logout_url` leads there and back. With
/// `everywhere=true` all the user's sessions in this app end; the tokens of the others cannot be revoked.
#[utoipa::path(post, path = "/logout", tag = "session", operation_id = "logout",
    request_body(content_type = "application/x-www-form-urlencoded", content = String,
        description = "Nothing, or `everywhere`: `true` or `false`"),
    responses(
        (status = 200, description = "Logged out, also if there was no session", body = LoggedOut),
        (status = 400, description = "`invalid_request`: `everywhere` is neither, or `no_subject`; nothing ended", body = crate::web::ErrorBody),
        (status = 401, description = "Only with `everywhere`: `session_missing`, `session_expired`, or `step_up_required` where users must have authenticated lately; nothing ended", body = crate::web::ErrorBody),
        (status = 403, description = "`csrf_rejected`", body = crate::web::ErrorBody),
        (status = 503, description = "`store_unavailable`; retry, the session is untouched", body = crate::web::ErrorBody)))]
pub(super) async fn logout(
    spa: &Spa,
    headers: &HeaderMap,
    form: &[u8],
    id: &RequestId,
) -> Result<Response<Body>, Refusal> {
    let mut sessions_ended = own::leave_elsewhere(spa, headers, form, id).await?;
    let clear = spa.admission.parting();
    // Every session that the browser's cookies name ends, also if somebody tossed one in.
    let mut ticket = None;
    for handle in spa.admission.handles(headers) {
        let left = spa.login.leave(&handle, id.as_str()).await;
        let left = left.map_err(|failure| answers::login_failure(&failure))?;
        sessions_ended = sessions_ended.map(|count| count + u64::from(left.ended));
        ticket = ticket.or(left.ticket.map(|ticket| (ticket, left.max_age)));
    }
    // A ticket that fits no cookie: the user is logged out here, and that is what counts.
    let ticket = ticket.and_then(|(ticket, max_age)| {
        set_cookie(&spa.admission.cookies.logout, &ticket, Some(max_age), SameSite::Lax)
    });
    let logout_url =
        ticket.is_some().then(|| format!("{}{}/logout/continue", spa.origin, spa.prefix));
    let answer = answers::json(&LoggedOut { logout_url, sessions_ended })?;
    Ok(with_cookies(answer, clear.into_iter().chain(ticket).collect()))
}

/// Carries the browser on to the AS's end-session endpoint.
#[utoipa::path(get, path = "/logout/continue", tag = "navigation", operation_id = "logoutContinue",
    responses((status = 303, description = "To the AS, or home if there is nothing to end")))]
pub(super) async fn logout_continue(spa: &Spa, headers: &HeaderMap) -> Response<Body> {
    let Some(ticket) = cookie(headers, &spa.admission.cookies.logout).one() else {
        return spa.home();
    };
    match spa.login.take_leave(ticket).await {
        Ok(leave) => {
            let kept = set_cookie(
                &spa.admission.cookies.logout,
                &leave.ticket,
                Some(leave.max_age),
                SameSite::Lax,
            );
            let response = see_other(leave.end_session_url.as_str());
            with_cookies(response, kept.into_iter().collect())
        }
        Err(failure) => {
            tracing::warn!(app = %spa.app, reason = failure.reason(), "logout does not go on to the AS");
            spa.home()
        }
    }
}

/// The browser's return from the AS. Its `state` is checked for the record; the local session
/// has ended before, so a wrong one changes nothing and loops nowhere.
#[utoipa::path(get, path = "/logout/callback", tag = "navigation", operation_id = "logoutCallback",
    params(("state" = Option<String>, Query, description = "As sent to the AS")),
    responses((status = 303, description = "To the app")))]
pub(super) fn logout_callback(
    spa: &Spa,
    headers: &HeaderMap,
    query: &str,
    id: &RequestId,
) -> Response<Body> {
    let parameters = pairs(query.as_bytes());
    let states: Vec<_> = parameters.iter().filter(|(name, _)| name == "state").collect();
    let state = match states.as_slice() {
        [(_, state)] => Some(state.as_str()),
        _ => None,
    };
    let ticket = cookie(headers, &spa.admission.cookies.logout).one();
    let (outcome, reason) = if spa.login.came_home(ticket, state) {
        (Outcome::Success, "none")
    } else {
        (Outcome::Rejected, "logout.state_mismatch")
    };
    spa.telemetry.audit.record(&AuditEvent {
        action: Action::LogoutReturn,
        outcome,
        reason,
        app: &spa.app,
        client: &spa.client,
        subject: None,
        session: None,
        acr: None,
        request_id: id.as_str(),
        transaction: None,
    });
    spa.home()
}

impl Spa {
    fn home(&self) -> Response<Body> {
        let clear = clear_cookie(&self.admission.cookies.logout, SameSite::Lax);
        let response = see_other(&format!("{}{}", self.origin, self.post_logout_path));
        with_cookies(response, clear.into_iter().collect())
    }
}
