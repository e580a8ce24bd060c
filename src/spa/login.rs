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
    protocol::{Mode, initiated_login},
    web::{
        Body, ErrorAnswer, ErrorCode, Refusal, RequestId, SameSite, clear_cookie, set_cookie,
        with_cookies,
    },
};

/// Starts a login that the page itself drives.
#[utoipa::path(post, path = "/login/start", tag = "login", operation_id = "loginStart",
    request_body(content_type = "application/x-www-form-urlencoded", content = String,
        description = "Extra authorization parameters, as far as the configuration allows them; after `step_up_required` those of its `step_up`, `acr_values` and `max_age`; to have something authorized in detail `authorization`, a name from the configuration, and `intent`, whose details the BFF fetches. With `acr_values`, `max_age` or `authorization` a login during a session is for that session's user: for anybody else it fails, and the session stays"),
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
    // A form that the AS posts reaches no script. The BFF takes it instead and sends the browser on to
    // the page, which finds itself logged in.
    let (mode, return_to) = if spa.response_mode().is_posted() {
        (Mode::Navigation, Some(spa.redirect_path.as_str()))
    } else {
        (Mode::Spa, None)
    };
    let started = spa
        .login
        .start(Start {
            mode,
            by_app: true,
            parameters: pairs(form),
            return_to,
            existing: spa.transactions(headers),
            current: spa.admission.handle(headers),
            request_id: id.as_str(),
        })
        .await
        .map_err(|failure| answers::login_failure(&failure))?;
    let cookies = spa.transaction_cookies(&started, mode)?;
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
        (status = 409, description = "`session_limit`: the user has as many sessions as are allowed", body = crate::web::ErrorBody),
        (status = 500, description = "`session_too_large`: retrying changes nothing", body = crate::web::ErrorBody),
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
            by_app: spa.guard.asked_by_app(headers),
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
    parameters: &[u8],
    id: &RequestId,
) -> Response<Body> {
    let ended = match spa.end(headers, parameters, Mode::Navigation, id).await {
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

/// The same for an answer that the AS's page posts, or that our own page read out of the fragment.
#[utoipa::path(post, path = "/callback", tag = "navigation", operation_id = "postedCallback",
    request_body(content_type = "application/x-www-form-urlencoded", content = String,
        description = "The authorization response's parameters; only where the client's `response_mode` is one that posts"),
    responses((status = 303, description = "To the path given at the start"), (status = 400, description = "The login did not hold"), (status = 405, description = "Answers of this client come by GET")))]
pub(super) async fn posted_callback(
    spa: &Spa,
    headers: &HeaderMap,
    form: &[u8],
    id: &RequestId,
) -> Response<Body> {
    callback(spa, headers, form, id).await
}

/// A login that another site would like to start (OpenID Connect Core §4). It starts none: it shows a
/// page on which the user may (FAPI2-SP-5.3.3.1-12). The parameters come in the query, or in a form.
#[utoipa::path(method(get, post), path = "/login/initiate", tag = "navigation", operation_id = "initiateLogin",
    params(("iss" = String, Query, description = "The issuer, exactly the client's"),
        ("target_link_uri" = Option<String>, Query, description = "Where to go afterwards; only the app's own origin counts"),
        ("login_hint" = Option<String>, Query, description = "Passed on if the app allows it")),
    responses((status = 200, description = "A page with one button"), (status = 400, description = "Another issuer, or a target elsewhere"), (status = 404, description = "Not switched on")))]
pub(super) fn initiate(spa: &Spa, parameters: &[u8], id: &RequestId) -> Response<Body> {
    let wish = pairs(parameters);
    let issuer = &spa.provider.registration().issuer;
    match initiated_login(&wish, issuer, &spa.origin) {
        Ok(initiated) => page::invitation(spa, &initiated),
        Err(rejected) => {
            tracing::info!(app = %spa.app, request_id = %id, reason = rejected.reason(), "a login by another site is refused");
            page::error(spa, &ErrorAnswer::new(ErrorCode::InvalidRequest), id)
        }
    }
}

impl Spa {
    /// Transaction cookies of script-driven logins come back by same-origin `fetch`, those of
    /// navigation logins with the AS's cross-site redirect, or with a form that it posts (CK-SS-1,
    /// CK-SS-2).
    fn same_site(&self, mode: Mode) -> SameSite {
        match mode {
            Mode::Spa => SameSite::Strict,
            Mode::Navigation if self.response_mode().is_posted() => SameSite::None,
            Mode::Navigation => SameSite::Lax,
        }
    }

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
        let set = set_cookie(&name, &started.sealed, Some(started.max_age), self.same_site(mode))
            .ok_or_else(|| self.cookie_too_large(&name))?;
        let evicted = started.evict.iter().filter_map(|id| {
            // Which mode it was started in is not known; a deletion works with either attribute.
            clear_cookie(&self.admission.cookies.transaction(id), self.same_site(mode))
        });
        Ok(std::iter::once(set).chain(evicted).collect())
    }

    fn session_cookies(&self, ended: &Ended, mode: Mode) -> Result<Vec<HeaderValue>, ErrorAnswer> {
        let session = self
            .admission
            .cookies(&ended.handle, &ended.session)
            .ok_or_else(|| self.cookie_too_large(&self.admission.cookies.session))?;
        let done = clear_cookie(
            &self.admission.cookies.transaction(&ended.transaction_id),
            self.same_site(mode),
        );
        Ok(session.into_iter().chain(done).collect())
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
            .and_then(|id| {
                clear_cookie(&self.admission.cookies.transaction(&id), self.same_site(mode))
            })
            .into_iter()
            .collect();
        Refusal { answer, cookies }
    }
}
