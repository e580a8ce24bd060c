//! The few pages a browser is shown: who logs in, goodbye, what was wrong, and the form that posts
//! itself. Everything escaped, a content security policy that allows the style sheet, and that form's
//! script, by their hashes and nothing else.

use std::fmt::Write as _;

use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};

use super::exchange::respond;

const STYLE: &str = "
:root { color-scheme: light dark; font: 17px/1.5 system-ui, sans-serif }
body { display: grid; place-items: center; min-height: 100vh; margin: 0;
  background: light-dark(#eef2f7, #10151d); color: light-dark(#1a2433, #e6ecf4) }
main { width: min(24rem, 90vw); padding: 2rem; border-radius: 16px;
  background: light-dark(#fff, #1a222e); box-shadow: 0 12px 40px #0003 }
h1 { font-size: 1.3rem; margin: 0 0 .3rem } p { margin: .3rem 0 1.2rem; opacity: .8 }
button { display: block; width: 100%; margin: .5rem 0; padding: .8rem 1rem; font: inherit;
  text-align: left; border: 1px solid #8885; border-radius: 10px; cursor: pointer;
  background: transparent; color: inherit }
button:hover, button:focus-visible { border-color: #2a6df4; outline: 2px solid #2a6df455 }
button small { display: block; opacity: .7 }
button.quiet { text-align: center; border: 0; opacity: .8 }
code { font-size: .9em; word-break: break-all }
";

pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// What makes a form post itself.
const SUBMIT: &str = "document.forms[0].submit()";

/// What goes on as soon as every frame is there.
const FRAMES: &str = "
const on = document.querySelector('a'), frames = [...document.querySelectorAll('iframe')];
const loaded = frames.map(f => new Promise(done => f.addEventListener('load', done)));
if (on) Promise.all(loaded).then(() => on.click());
";

fn hash(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(digest))
}

/// `form_targets` are further origins a submitted form may be redirected to: browsers hold the
/// redirect after a form post to `form-action` too.
fn page(status: StatusCode, title: &str, body: &str, form_targets: &str) -> Response {
    let more = format!("script-src {}; form-action 'self' {form_targets}", hash(SUBMIT));
    under(status, title, body, &more)
}

/// A page under these rules beside the usual ones.
fn under(status: StatusCode, title: &str, body: &str, more: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title>\
         <style>{STYLE}</style></head><body><main><h1>{0}</h1>{body}</main></body></html>",
        escape(title)
    );
    let policy = format!(
        "default-src 'none'; style-src {}; {more}; base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE)
    );
    let mut response = respond(status, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn form(action: &str, hidden: &[(&str, &str)], buttons: &str) -> String {
    let mut out = format!("<form method=\"post\" action=\"{}\">", escape(action));
    for (name, value) in hidden {
        let _ = write!(
            out,
            "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
            escape(name),
            escape(value)
        );
    }
    out + buttons + "</form>"
}

/// Who logs in? `users` are `(sub, name, email)`.
pub(super) fn login(
    action: &str,
    hidden: &[(&str, &str)],
    client_id: &str,
    scope: &str,
    users: &[(String, String, String)],
    form_targets: &str,
) -> Response {
    let mut buttons = String::new();
    for (sub, name, email) in users {
        let _ = write!(
            buttons,
            "<button name=\"user\" value=\"{}\">{}<small>{}</small></button>",
            escape(sub),
            escape(name),
            escape(email)
        );
    }
    buttons.push_str("<button class=\"quiet\" name=\"cancel\" value=\"1\">Cancel</button>");
    let intro = format!(
        "<p><code>{}</code> asks for <code>{}</code>. Continue as</p>",
        escape(client_id),
        escape(scope)
    );
    let body = intro + &form(action, hidden, &buttons);
    page(StatusCode::OK, "Sign in", &body, form_targets)
}

/// The parameters of a response, posted to the client as soon as the page is there (OAuth 2.0 Form
/// Post Response Mode).
pub(super) fn form_post(action: &str, parameters: &[(String, String)], origin: &str) -> Response {
    let hidden: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = form(action, &hidden, "<button>Continue</button>");
    let body = format!("{body}<script>{SUBMIT}</script>");
    let mut response = page(StatusCode::OK, "One moment", &body, origin);
    // Under `no-referrer` a browser would not tell the client which origin posts.
    let policy = HeaderValue::from_static("strict-origin");
    response.headers_mut().insert(header::REFERRER_POLICY, policy);
    response
}

/// Really log out?
pub(super) fn logout(action: &str, hidden: &[(&str, &str)], form_targets: &str) -> Response {
    let body = form(action, hidden, "<button>Sign out</button>");
    page(StatusCode::OK, "Sign out?", &body, form_targets)
}

/// The end, when nobody asked to be sent anywhere.
pub(super) fn goodbye() -> Response {
    page(StatusCode::OK, "Signed out", "<p>You may close this window.</p>", "")
}

/// Clients learn in frames that the session has ended; then the browser goes on, if it is to go
/// anywhere (OIDC Front-Channel Logout §3).
pub(super) fn frames(urls: &[String], destination: Option<&str>) -> Response {
    let mut body = String::from("<p>You are being signed out everywhere.</p>");
    let mut sources = String::new();
    for url in urls {
        let _ = write!(body, "<iframe hidden src=\"{}\"></iframe>", escape(url));
        let _ = write!(sources, " {}", super::authorize::origin(url));
    }
    if let Some(destination) = destination {
        let _ = write!(body, "<p><a href=\"{}\">Continue</a></p>", escape(destination));
    }
    let _ = write!(body, "<script>{FRAMES}</script>");
    let frames = if sources.is_empty() { " 'none'" } else { sources.as_str() };
    let more = format!("script-src {}; form-action 'none'; frame-src{frames}", hash(FRAMES));
    under(StatusCode::OK, "Signed out", &body, &more)
}

/// What was wrong, for the person at the browser.
pub(super) fn refusal(status: StatusCode, reason: &str, detail: &str) -> Response {
    let body = format!(
        "<p>The authorization server refused this request.</p><p><code>{}</code><br>{}</p>",
        escape(reason),
        escape(detail)
    );
    page(status, "That did not work", &body, "")
}
