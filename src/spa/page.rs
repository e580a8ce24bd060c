//! Owns the one page the BFF shows itself: a navigation that cannot go on.
//! Must not know: the detailed reason.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderValue,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
};

use super::Spa;
use crate::web::{Body, ErrorAnswer, ErrorCode, Refusal, RequestId, with_cookies};

const STYLE: &str = ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.5rem}h1{font-size:1.4rem}p.id{font:.85rem ui-monospace,monospace;opacity:.7}a{color:inherit;font-weight:600}";

const fn sentence(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::AuthorizationError => "You were not logged in.",
        ErrorCode::AuthorizationServerUnavailable
        | ErrorCode::StoreUnavailable
        | ErrorCode::TokenUnavailable => {
            "Logging in is not possible just now. Please try again in a moment."
        }
        ErrorCode::CsrfRejected => "This address cannot be opened from another site.",
        ErrorCode::InvalidRequest => "This address is not complete.",
        ErrorCode::LoginRejected | ErrorCode::TransactionMissing => {
            "This login has expired, was already used, or was started in another browser."
        }
        _ => "Something went wrong on our side.",
    }
}

/// The page for a refusal, with the cookies it takes along.
pub(super) fn refused(spa: &Spa, refusal: Refusal, id: &RequestId) -> Response<Body> {
    with_cookies(error(spa, &refusal.answer, id), refusal.cookies)
}

/// The page for an error: a sentence, a way back, and the id to quote. Everything on it is ours or
/// from the configuration; nothing from the request is repeated.
pub(super) fn error(spa: &Spa, answer: &ErrorAnswer, id: &RequestId) -> Response<Body> {
    let mut html = String::with_capacity(1024);
    let home = escape(&spa.default_return_to);
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>Login</title><style>{STYLE}</style><h1>{}</h1><p><a href=\"{home}\">Back to the application</a></p><p class=id>{} · {id}</p></html>",
        sentence(answer.code()),
        answer.code().as_str(),
    );
    let mut response = answer.clone().into_response(id);
    *response.body_mut() = Body::from(html);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
