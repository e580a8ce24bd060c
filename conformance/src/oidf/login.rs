//! The browser's part of a module: a login by navigation, then one call to the API. It stops where the
//! client stops, which is right or wrong as the suite judges; it must not know which.

use http::header;
use serde_json::Value;
use url::Url;

use super::{generate::Bff, record::Record};
use crate::demo::browser::{Answer, Browser, Call, From};

const AUTHORIZATION_SERVER: &str = "authorization server";

/// Walks as far as the client goes.
pub(super) async fn walk(http: reqwest::Client, bff: &Bff, api_path: &str, record: &mut Record) {
    let browser = Browser::with_client(http, &bff.origin).custom_header(bff.csrf_header.clone());
    if let Err(silent) = steps(browser, bff, api_path, record).await {
        record.saw("browser.no_answer", false, silent);
    }
}

async fn steps(
    mut browser: Browser,
    bff: &Bff,
    api_path: &str,
    record: &mut Record,
) -> Result<(), String> {
    let answer = browser.navigate(From::Typed, &bff.login_path).await?;
    record.exchanged("bff", &answer);
    let Some(authorize) = redirect(&answer) else {
        record.saw("client.login_not_started", false, refusal(&answer));
        return Ok(());
    };

    let answer = browser.navigate(From::SameOrigin, authorize.as_str()).await?;
    record.exchanged(AUTHORIZATION_SERVER, &answer);
    let Some(back) = redirect(&answer) else {
        record.saw("server.no_redirect", false, refusal(&answer));
        return Ok(());
    };
    let mut page = back.clone();
    page.set_query(None);
    page.set_fragment(None);
    if page.as_str() != bff.redirect_uri {
        // Where a condition stops the module, the suite shows its own log page.
        record.saw(
            "server.redirect",
            false,
            format!("{} leads to {page}, not back to {}", answer.request, bff.redirect_uri),
        );
        return Ok(());
    }

    let answer = browser.navigate(From::CrossSite, back.as_str()).await?;
    record.exchanged("bff", &answer);
    if !is_redirect(answer.status) {
        record.saw("client.login_rejected", false, refusal(&answer));
        return Ok(());
    }
    record.saw("client.login", true, "the login was accepted".to_owned());

    let answer = browser.fetch(Call::get(api_path)).await?;
    record.exchanged("bff", &answer);
    let held = answer.status == 200;
    let message = if held { "the API answered 200".to_owned() } else { refusal(&answer) };
    record.saw("client.api", held, message);
    Ok(())
}

const fn is_redirect(status: u16) -> bool {
    matches!(status, 302 | 303)
}

/// Where the answer sends the browser, if it does.
fn redirect(answer: &Answer) -> Option<Url> {
    is_redirect(answer.status).then(|| Url::parse(answer.header(header::LOCATION)).ok()).flatten()
}

/// What was refused, with the request id that leads to the BFF's log.
fn refusal(answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    let code = answer.json().ok().and_then(|json| {
        json.get("error_code")
            .or_else(|| json.get("error"))
            .and_then(Value::as_str)
            .map(str::to_owned)
    });
    let code = code.map(|code| format!(" {code}")).unwrap_or_default();
    let id = request_id(&body).map(|id| format!(", request id {id}")).unwrap_or_default();
    format!("{} was answered with {}{code}{id}", answer.request, answer.status)
}

/// `req-…`, as the BFF shows it on pages and in JSON alike.
fn request_id(body: &str) -> Option<&str> {
    let start = body.find("req-")?;
    let rest = body.get(start..)?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    rest.get(..end.unwrap_or(rest.len())).filter(|id| id.len() > 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_id_is_found_on_pages_and_in_json() {
        assert_eq!(request_id("<p>req-aB_3-x</p>"), Some("req-aB_3-x"));
        assert_eq!(request_id(r#"{"request_id":"req-1"}"#), Some("req-1"));
        assert_eq!(request_id("req-"), None);
        assert_eq!(request_id("nothing"), None);
    }
}
