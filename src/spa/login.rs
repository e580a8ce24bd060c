//! Owns the two ways to log in, by script and by navigation, as HTTP.
//! Must not know: what makes an answer acceptable.

use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    Spa,
    answers::{self, LoginStarted, SessionState},
    page, pairs, see_other,
};
use crate::{
    login::{Answer, Ended, LoginFailure, Start, Started},
    protocol::Mode,
    web::{
        Body, ErrorAnswer, ErrorCode, Refusal, RequestId, SameSite, clear_cookie, set_cookie,
        with_cookies,
    },
};

/// Transaction cookies of script-driven logins come back by same-origin `fetch`, those of
/// navigation logins with the AS's cross-site redirect (CK-SS-1, CK-SS-2).
const fn same_site(mode: Mode) -> SameSite {
    match mode {
        Mode::Spa => SameSite::Strict,
        Mode::Navigation => SameSite::Lax,
    }
}

/// Starts a login that the page itself drives.
#[utoipa::path(post, path = "/login/start", tag = "login", operation_id = "loginStart",
    request_body(content_type = "application/x-www-form-urlencoded", content = String,
        description = "Extra authorization parameters, as far as the configuration allows them; after `step_up_required` those of its `step_up`, `acr_values` and `max_age`"),
    responses(
        (status = 200, description = "Navigate to `authorization_url`; a transaction cookie is set", body = LoginStarted),
        (status = 400, description = "`invalid_request`", body = crate::web::ErrorBody),
        (status = 403, description = "`csrf_rejected`", body = crate::web::ErrorBody),
        (status = 502, description = "`authorization_server_error`", body = crate::web::ErrorBody),
        (status = 503, description = "`authorization_server_unavailable`; retry", body = crate::web::ErrorBody)))]
pub(super) async fn login_start(
    spa: &Spa,
    headers: &HeaderMap,
    form: &[u8],
    id: &RequestId,
) -> Result<Response<Body>, Refusal> {
    let started = spa
        .login
        .start(Start {
            mode: Mode::Spa,
            parameters: pairs(form),
            return_to: None,
            existing: spa.transactions(headers),
            current: spa.admission.handle(headers),
            request_id: id.as_str(),
        })
        .await
        .map_err(|failure| answers::login_failure(&failure))?;
    let cookies = spa.transaction_cookies(&started, Mode::Spa)?;
    let url = started.authorization_url.as_str();
    Ok(with_cookies(answers::json(&LoginStarted { authorization_url: url })?, cookies))
}

/// Ends a login that the page itself drives.
#[utoipa::path(post, path = "/login/end", tag = "login", operation_id = "loginEnd",
    request_body(content_type = "application/x-www-form-urlencoded", content = String,
        description = "The query string the AS returned to the page: `response`"),
    responses(
        (status = 200, description = "Logged in; the session cookie is set", body = SessionState),
        (status = 400, description = "`authorization_error`, `login_rejected`, `transaction_missing` or `invalid_request`", body = crate::web::ErrorBody),
        (status = 403, description = "`csrf_rejected`", body = crate::web::ErrorBody),
        (status = 502, description = "`authorization_server_error`", body = crate::web::ErrorBody),
        (status = 503, description = "`authorization_server_unavailable` or `store_unavailable`; retry", body = crate::web::ErrorBody)))]
pub(super) async fn login_end(
    spa: &Spa,
    headers: &HeaderMap,
    form: &[u8],
    id: &RequestId,
) -> Result<Response<Body>, Refusal> {
    let ended = spa
        .end(headers, form, Mode::Spa, id)
        .await
        .map_err(|(failure, used)| spa.login_refusal(&failure, used, Mode::Spa))?;
    let cookies = spa.session_cookies(&ended, Mode::Spa)?;
    let state = answers::json(&SessionState::of(&ended.session, spa.ambient.now()))?;
    Ok(with_cookies(state, cookies))
}

/// Starts a login by navigation.
#[utoipa::path(get, path = "/login", tag = "navigation", operation_id = "login",
    params(("return_to" = Option<String>, Query, description = "A path on the app's own origin")),
    responses((status = 303, description = "To the AS"), (status = 403, description = "Not a navigation from the app")))]
pub(super) async fn navigate_to_login(
    spa: &Spa,
    headers: &HeaderMap,
    query: &str,
    id: &RequestId,
) -> Response<Body> {
    let (return_to, parameters): (Vec<_>, Vec<_>) =
        pairs(query.as_bytes()).into_iter().partition(|(name, _)| name == "return_to");
    let started = spa
        .login
        .start(Start {
            mode: Mode::Navigation,
            parameters,
            return_to: return_to.first().map(|(_, path)| path.as_str()),
            existing: spa.transactions(headers),
            current: spa.admission.handle(headers),
            request_id: id.as_str(),
        })
        .await
        .map_err(|failure| Refusal::from(answers::login_failure(&failure)));
    let cookies = started.and_then(|started| {
        let cookies = spa.transaction_cookies(&started, Mode::Navigation)?;
        Ok((started, cookies))
    });
    match cookies {
        Ok((started, cookies)) => {
            with_cookies(see_other(started.authorization_url.as_str()), cookies)
        }
        Err(refusal) => page::refused(spa, refusal, id),
    }
}

/// Ends a login by navigation: a code never stays in the address bar (BFF-6.1.2.1-cb/out).
#[utoipa::path(get, path = "/callback", tag = "navigation", operation_id = "callback",
    params(("response" = String, Query, description = "The AS's signed response")),
    responses((status = 303, description = "To the path given at the start"), (status = 400, description = "The login did not hold")))]
pub(super) async fn callback(
    spa: &Spa,
    headers: &HeaderMap,
    query: &str,
    id: &RequestId,
) -> Response<Body> {
    let ended = match spa.end(headers, query.as_bytes(), Mode::Navigation, id).await {
        Ok(ended) => ended,
        Err((failure, used)) => {
            return page::refused(spa, spa.login_refusal(&failure, used, Mode::Navigation), id);
        }
    };
    match spa.session_cookies(&ended, Mode::Navigation) {
        Ok(cookies) => {
            let path = ended.return_to.as_deref().unwrap_or(&spa.default_return_to);
            with_cookies(see_other(&format!("{}{path}", spa.origin)), cookies)
        }
        Err(refusal) => page::refused(spa, refusal.into(), id),
    }
}

impl Spa {
    async fn end(
        &self,
        headers: &HeaderMap,
        parameters: &[u8],
        mode: Mode,
        id: &RequestId,
    ) -> Result<Ended, (LoginFailure, Option<String>)> {
        self.login
            .end(Answer {
                mode,
                parameters,
                transactions: self.transactions(headers),
                current: self.admission.handle(headers),
                request_id: id.as_str(),
            })
            .await
    }

    fn transaction_cookies(
        &self,
        started: &Started,
        mode: Mode,
    ) -> Result<Vec<HeaderValue>, ErrorAnswer> {
        let name = self.admission.cookies.transaction(&started.transaction_id);
        let set = set_cookie(&name, &started.sealed, Some(started.max_age), same_site(mode))
            .ok_or_else(|| self.cookie_too_large(&name))?;
        let evicted = started.evict.iter().filter_map(|id| {
            // Which mode it was started in is not known; a deletion works with either attribute.
            clear_cookie(&self.admission.cookies.transaction(id), same_site(mode))
        });
        Ok(std::iter::once(set).chain(evicted).collect())
    }

    fn session_cookies(&self, ended: &Ended, mode: Mode) -> Result<Vec<HeaderValue>, ErrorAnswer> {
        let name = &self.admission.cookies.session;
        let max_age = ended.session.absolute_expires().since(self.ambient.now());
        let value = ended.handle.to_cookie_value();
        let session = set_cookie(name, &value, u64::try_from(max_age).ok(), SameSite::Strict)
            .ok_or_else(|| self.cookie_too_large(name))?;
        let done = clear_cookie(
            &self.admission.cookies.transaction(&ended.transaction_id),
            same_site(mode),
        );
        Ok(std::iter::once(session).chain(done).collect())
    }

    fn cookie_too_large(&self, name: &str) -> ErrorAnswer {
        tracing::error!(app = %self.app, cookie = name, "a cookie outgrew what browsers keep; shorten acr_values, scopes or return paths");
        ErrorAnswer::new(ErrorCode::ServerError)
    }

    /// A refusal takes the spent transaction's cookie along, unless the fault lies behind us: an
    /// answer of 5xx touches no cookie.
    fn login_refusal(&self, failure: &LoginFailure, used: Option<String>, mode: Mode) -> Refusal {
        let answer = answers::login_failure(failure);
        let browsers_fault = answer.code().status() < StatusCode::INTERNAL_SERVER_ERROR;
        let cookies = used
            .filter(|_| browsers_fault)
            .and_then(|id| clear_cookie(&self.admission.cookies.transaction(&id), same_site(mode)))
            .into_iter()
            .collect();
        Refusal { answer, cookies }
    }
}
