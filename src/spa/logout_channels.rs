//! Owns the two ways by which the AS ends sessions, as HTTP: a POST of its own, and a frame on its page.
//! Must not know: what makes a logout token good, or how sessions end.

use axum::response::Response;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;
use url::Url;
use utoipa::ToSchema;

use super::{Spa, pairs};
use crate::{
    login::RemoteLogoutFailure,
    web::{Body, ErrorCode, RequestId},
};

/// What the AS is told of a logout that was not done (OAuth 2.0 §5.2). The reason stays with us: anybody
/// may ask.
#[derive(Serialize, ToSchema)]
pub(super) struct LogoutError<'a> {
    /// `invalid_request`, or `temporarily_unavailable`: then the same token may be sent again.
    error: &'static str,
    /// Quote this to the operator.
    request_id: &'a str,
}

/// Ends what the logout token names. No cookie and no header is needed, and none is looked at (BCL-2.5,
/// BCL-2.8).
#[utoipa::path(post, path = "/backchannel-logout", tag = "authorization server", operation_id = "backchannelLogout",
    request_body(content_type = "application/x-www-form-urlencoded", description = "`logout_token`, once; other parameters are ignored"),
    responses(
        (status = 200, description = "Nothing that the token names is alive any more"),
        (status = 400, description = "`invalid_request`: the token is refused, or was used before", body = LogoutError),
        (status = 404, description = "Not offered by this app", body = crate::web::ErrorBody),
        (status = 503, description = "`temporarily_unavailable`: send the same token again after `Retry-After` seconds", body = LogoutError)))]
pub(super) async fn backchannel(
    spa: &Spa,
    headers: &HeaderMap,
    body: Body,
    id: &RequestId,
) -> Response<Body> {
    // What is too large, too slow or no form holds no token.
    let form = spa.form(headers, body).await.ok();
    match spa.remote_logout.by_form(form.as_deref(), id.as_str()).await {
        Ok(()) => Response::new(Body::empty()),
        Err(failure) => {
            let (code, error) = refusal(&failure);
            let answer = LogoutError { error, request_id: id.as_str() };
            let body = serde_json::to_vec(&answer).unwrap_or_default();
            let mut response = refused(&failure, code, Body::from(body));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
    }
}

/// Ends the session that the AS's logout page names. The page is empty: a frame learns nothing, not even
/// whether there was such a session (FCL-2, FCL-PRJ).
#[utoipa::path(get, path = "/frontchannel-logout", tag = "authorization server", operation_id = "frontchannelLogout",
    params(
        ("iss" = String, Query, description = "The issuer, exactly"),
        ("sid" = String, Query, description = "Its session")),
    responses(
        (status = 200, description = "An empty page, which only the AS's pages may show in a frame; no such session is alive any more", content_type = "text/html"),
        (status = 400, description = "The same, and nothing ended: `iss` or `sid` is missing, twice there, or another's", content_type = "text/html"),
        (status = 403, description = "The same: not asked for by a frame", content_type = "text/html"),
        (status = 404, description = "Not offered by this app", body = crate::web::ErrorBody),
        (status = 503, description = "The same: the store does not answer", content_type = "text/html")))]
pub(super) async fn frontchannel(spa: &Spa, query: &str, id: &RequestId) -> Response<Body> {
    let parameters = pairs(query.as_bytes());
    let one = |name: &str| {
        let mut found = parameters.iter().filter(|(known, _)| known == name);
        found.next().filter(|_| found.next().is_none()).map(|(_, value)| value.as_str())
    };
    match spa.remote_logout.by_frame(one("iss"), one("sid"), id.as_str()).await {
        Ok(()) => empty_page(StatusCode::OK),
        Err(failure) => {
            let (code, _) = refusal(&failure);
            let mut response = refused(&failure, code, Body::empty());
            response.headers_mut().insert(CONTENT_TYPE, HTML);
            response
        }
    }
}

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// A page without anything on it.
pub(super) fn empty_page(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HTML);
    response
}

/// The code for our log, and OAuth's word for it.
const fn refusal(failure: &RemoteLogoutFailure) -> (ErrorCode, &'static str) {
    match failure {
        RemoteLogoutFailure::Keys(_) => {
            (ErrorCode::AuthorizationServerUnavailable, "temporarily_unavailable")
        }
        RemoteLogoutFailure::StoreUnavailable | RemoteLogoutFailure::Busy => {
            (ErrorCode::StoreUnavailable, "temporarily_unavailable")
        }
        RemoteLogoutFailure::Token(_) | RemoteLogoutFailure::Frame { .. } => {
            (ErrorCode::InvalidRequest, "invalid_request")
        }
    }
}

fn refused(failure: &RemoteLogoutFailure, code: ErrorCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code.status();
    if !failure.is_refusal() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response.extensions_mut().insert(code);
    response
}

impl Spa {
    /// Whose pages may show the logout frame: those of the AS's issuer, and of the endpoint that ends
    /// sessions there, where that lies elsewhere (FCL-PRJ).
    pub(super) fn framing_origins(&self) -> Vec<String> {
        let issuer = Url::parse(&self.provider.registration().issuer).ok();
        let metadata = self.provider.known_metadata();
        let end_session = metadata.and_then(|metadata| metadata.end_session_endpoint().cloned());
        let mut origins: Vec<_> = [issuer, end_session]
            .into_iter()
            .flatten()
            .filter(|url| url.scheme() == "https")
            .map(|url| url.origin().ascii_serialization())
            .collect();
        origins.dedup();
        origins
    }
}
