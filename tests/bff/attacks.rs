//! Attacks that once worked, or nearly did.

use std::net::SocketAddr;

use fapi_bff_conformance::{
    as_double::{Endpoint, Target, edits},
    demo::browser::{Browser, Call, From},
    pki::APP_HOST,
};
use http::{HeaderMap, HeaderValue, header::COOKIE};
use serde_json::json;

use crate::support::{Bed, Wish, soon};

/// Sends what no browser of ours would: any headers, any body.
async fn raw(
    bed: &Bed,
    method: http::Method,
    path: &str,
    headers: &[(&'static str, &[u8])],
    body: &'static str,
) -> (u16, HeaderMap, String) {
    let address = bed.bff.as_ref().unwrap().public_addr();
    let resolve: [(String, SocketAddr); 1] = [(APP_HOST.to_owned(), address)];
    let http = bed.pki.http_client(None, &resolve).unwrap();
    let mut map = HeaderMap::new();
    map.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
    map.insert("x-bff-csrf", HeaderValue::from_static("1"));
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let url = format!("{}{path}", bed.origin);
    let answer = http.request(method, url).headers(map).body(body).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.text().await.unwrap())
}

fn session_cookie(browser: &Browser) -> String {
    let cookies = browser.cookies();
    let (name, value) = cookies.iter().find(|(name, _)| *name == "__Host-Http-web").unwrap();
    format!("{name}={value}")
}

/// SES-7.4, CK-6.1: what a sibling domain puts beside our cookie neither hides the session nor keeps
/// it from ending.
#[tokio::test]
async fn a_foreign_cookie_neither_hides_a_session_nor_keeps_it_alive() {
    let bed = Bed::start().await;
    let cookie = session_cookie(&bed.logged_in().await);
    let beside = format!("x=\u{e9}; {cookie}; y=\u{1f600}");
    let get = |cookies: String| {
        let bed = &bed;
        async move {
            let cookies: &[u8] = cookies.as_bytes();
            raw(bed, http::Method::GET, "/api/accounts", &[(COOKIE.as_str(), cookies)], "").await
        }
    };
    assert_eq!(get(beside.clone()).await.0, 200);
    let sent = [(COOKIE.as_str(), beside.as_bytes())];
    assert_eq!(raw(&bed, http::Method::POST, "/bff/logout", &sent, "").await.0, 200);
    assert_eq!(get(cookie).await.0, 401);
}

/// CK-DUP, SES-7.4: two cookies of our name let nobody in and delete nothing, but a logout ends both.
#[tokio::test]
async fn a_doubled_session_cookie_lets_nobody_in_and_does_not_survive_a_logout() {
    let bed = Bed::start().await;
    let cookie = session_cookie(&bed.logged_in().await);
    let tossed = format!("{cookie}; __Host-Http-web={}", "A".repeat(48));
    let sent = [(COOKIE.as_str(), tossed.as_bytes())];
    let (status, headers, _) = raw(&bed, http::Method::GET, "/api/accounts", &sent, "").await;
    assert_eq!(status, 401);
    assert!(!headers.contains_key("set-cookie"), "the real one may be good");
    let alone = [(COOKIE.as_str(), cookie.as_bytes())];
    assert_eq!(raw(&bed, http::Method::GET, "/api/accounts", &alone, "").await.0, 200);
    assert_eq!(raw(&bed, http::Method::POST, "/bff/logout", &sent, "").await.0, 200);
    assert_eq!(raw(&bed, http::Method::GET, "/api/accounts", &alone, "").await.0, 401);
    soon("revocation", bed.double.wait_for(Endpoint::Revocation, 2)).await;
}

/// PXY-2: a body that an upstream does not read would be the next request on its connection.
#[tokio::test]
async fn a_get_with_a_body_is_not_forwarded() {
    let bed = Bed::start().await;
    let cookie = session_cookie(&bed.logged_in().await);
    let sent = [(COOKIE.as_str(), cookie.as_bytes())];
    let smuggled = "GET /accounts/a-2 HTTP/1.1\r\nX: ";
    let (status, _, body) = raw(&bed, http::Method::GET, "/api/accounts", &sent, smuggled).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(bed.api.count("/accounts"), 0);
}

/// OIDC-3.1.3.7-12: a page may not ask for less than the operator demands.
#[tokio::test]
async fn a_page_cannot_lower_the_acr_that_is_demanded() {
    let all = r#"allowed_parameters = ["acr_values", "login_hint", "max_age", "prompt", "scope", "ui_locales"]"#;
    let demand =
        "acr_values = [\"urn:high\"]\nrequire_acr = true\nallowed_parameters = [\"acr_values\"]";
    let edit = vec![(all, demand.to_owned())];
    let bed = Bed::with(Wish { edit, ..Wish::default() }).await;
    let mut browser = bed.browser();
    let start = |form: &'static str| Call::post("/bff/login/start").form(form);
    let answer = browser.fetch(start("acr_values=urn:low")).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(bed.last_audit("login.start").1, "parameter.acr_not_configured");
    assert_eq!(bed.double.count(Endpoint::Par), 0);
    bed.double.behave(|as_| as_.edit(Target::IdToken, edits::set("acr", json!("urn:high"))));
    browser.fetch(start("acr_values=urn:high")).await.unwrap().expect(200).unwrap();
}

/// FAPI2-SP-6.5: whoever serves the app's page does not get the answer of a login.
#[tokio::test]
async fn the_page_a_login_returns_to_is_fetched_without_the_answer() {
    let elsewhere = Bed::start().await;
    let route = format!(
        r#"[[apps.web.routes]]
path = "/"
access = "public"
upstream = "{}echo-headers"
trust_roots = ["{}"]
networks = ["loopback"]

[[apps.web.routes]]
path = "/api""#,
        elsewhere.api.base_url(),
        elsewhere.dir.path().join("ca.pem").display(),
    );
    let edit = vec![("[[apps.web.routes]]\npath = \"/api\"", route)];
    let bed = Bed::with(Wish { edit, ..Wish::default() }).await;
    let mut browser = bed.browser();
    for (address, seen) in
        [("/?response=a.b.c", json!([])), ("/?view=all", json!([["view", "all"]]))]
    {
        let answer = browser.navigate(From::CrossSite, address).await.unwrap().expect(200).unwrap();
        assert_eq!(answer.json().unwrap()["query"], seen);
        let is_answer = seen == json!([]);
        assert_eq!(answer.header("referrer-policy") == "no-referrer", is_answer);
        assert!(!is_answer || answer.header("cache-control") == "no-store");
    }
}

/// FAPI2-SP-5.3.3.1-12: a browser that looks ahead starts no login.
#[tokio::test]
async fn a_prerender_starts_no_login() {
    let bed = Bed::start().await;
    let ahead: [(&'static str, &[u8]); 1] = [("sec-purpose", b"prefetch;prerender")];
    assert_eq!(raw(&bed, http::Method::GET, "/bff/login", &ahead, "").await.0, 403);
    assert_eq!(bed.double.count(Endpoint::Par), 0);
}
