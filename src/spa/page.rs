//! Owns the pages the BFF shows itself: a navigation that cannot go on, and the step that brings an
//! answer out of the address bar's fragment. Must not know: the detailed reason, or what an answer says.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderValue,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
};

use super::Spa;
use crate::{
    protocol::InitiatedLogin,
    web::{Body, ErrorAnswer, ErrorCode, Refusal, RequestId, with_cookies},
};

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
        ErrorCode::SessionLimit => {
            "You are logged in elsewhere already, as often as is allowed. Log out there first."
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

/// The page on which a user who comes from another site may start a login: one button, which is the
/// user's intent (FAPI2-SP-5.3.3.1-12). It names the app's own host and nothing from the request.
pub(super) fn invitation(spa: &Spa, initiated: &InitiatedLogin) -> Response<Body> {
    let mut fields = String::new();
    let hint = initiated.login_hint.as_ref().filter(|_| spa.allows("login_hint"));
    let wishes = [("return_to", initiated.return_to.as_ref()), ("login_hint", hint)];
    for (name, value) in wishes {
        if let Some(value) = value {
            let value = escape(value);
            // Writing to a String cannot fail.
            let _ = write!(fields, "<input type=hidden name={name} value=\"{value}\">");
        }
    }
    let host = escape(spa.origin.strip_prefix("https://").unwrap_or(&spa.origin));
    let action = escape(&spa.prefix);
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>Log in</title><style>{STYLE}</style><h1>Log in to {host}?</h1><p>Another site sent you here.</p><form action=\"{action}/login\">{fields}<button>Log in</button></form></html>"
    );
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    // Not `form-action 'self'`: what the form starts goes on to the AS by a redirect, and browsers
    // hold that against it.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Sends what stands in the fragment to the address it stands at, as a form, and takes it out of the
/// address bar and the history first. Parameters that occur twice stay so, for the rules to refuse.
const RELAY: &str = "\"use strict\";(()=>{const answer=location.hash.slice(1);history.replaceState(null,\"\",location.pathname);const form=document.createElement(\"form\");form.method=\"post\";form.action=location.pathname;for(const[name,value]of new URLSearchParams(answer)){const field=document.createElement(\"input\");field.type=\"hidden\";field.name=name;field.value=value;form.append(field)}document.body.append(form);form.submit()})();";

/// The page for an answer in the fragment, which no server sees (OIDC-FRAG). It is the same for
/// everybody, runs the one script whose hash it names, and can send a form to its own origin only.
pub(super) fn relay() -> Response<Body> {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Login</title><body><noscript>Logging in needs JavaScript.</noscript><script>{RELAY}</script></body></html>"
    );
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    // Under `no-referrer` browsers send `Origin: null` with the form, and it would be turned away.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    let hash = STANDARD.encode(digest(&SHA256, RELAY.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
