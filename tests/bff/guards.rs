//! The door: who is let in, by which headers, to which paths.

use fapi_bff_conformance::{
    demo::browser::{Answer, Browser, From},
    pki::APP_HOST,
};
use http::{HeaderMap, HeaderName, Method};
use serde_json::Value;

use crate::support::Bed;

const FORM: &str = "application/x-www-form-urlencoded";
const SESSION: &str = "__Host-Http-web";

/// Every call by script, and one API call.
const CALLS: [(&str, &str); 7] = [
    ("POST", "/bff/login/start"),
    ("POST", "/bff/login/end"),
    ("POST", "/bff/refresh"),
    ("GET", "/bff/session"),
    ("GET", "/bff/userinfo"),
    ("GET", "/api/accounts"),
    // Last, so that the session would be there for all the others.
    ("POST", "/bff/logout"),
];

type Pairs<'a> = Vec<(&'a str, String)>;

/// Sends requests exactly as told, with nothing a browser would add.
struct Raw {
    http: reqwest::Client,
    origin: String,
}

impl Raw {
    fn new(bed: &Bed) -> Self {
        let here = (APP_HOST.to_owned(), bed.bff.as_ref().unwrap().public_addr());
        let http = bed.pki.http_client(None, &[here]).unwrap();
        Self { http, origin: bed.origin.clone() }
    }

    async fn send(&self, method: &str, path: &str, sent: &Pairs<'_>, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let method: Method = method.parse().unwrap();
        let request = format!("{method} {path} {:?}", sent.iter().skip(1).collect::<Vec<_>>());
        let url = format!("{}{path}", self.origin);
        let sending = self.http.request(method, url).headers(headers).body(body.to_owned());
        let response = sending.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        Answer { request, status, headers, body }
    }
}

fn cookies(browser: &Browser) -> (&'static str, String) {
    let all: Vec<_> = browser.cookies().iter().map(|(n, v)| format!("{n}={v}")).collect();
    ("cookie", all.join("; "))
}

/// The session cookie's value.
fn handle(browser: &Browser) -> String {
    let cookies = browser.cookies();
    let found = cookies.iter().find(|(name, _)| *name == SESSION);
    found.unwrap_or_else(|| panic!("no session cookie")).1.to_owned()
}

fn pairs<'a>(pairs: &[(&'a str, &str)]) -> Pairs<'a> {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// What the app's own page sends, besides cookies.
fn own() -> Pairs<'static> {
    pairs(&[("x-bff-csrf", "1"), ("sec-fetch-site", "same-origin")])
}

#[track_caller]
fn no_cors(answer: &Answer) {
    for name in answer.headers.keys() {
        assert!(!name.as_str().starts_with("access-control-"), "{}: {name}", answer.request);
    }
}

/// FM-1, FM-4, CORS-1, BFF-6.1.3.3.2-1, CORS-2, BFF-6.1.2.1-chk: whatever does not prove that the
/// app's own page sent it is turned away before it costs anything, with nothing that lets another
/// origin read the answer.
#[tokio::test]
async fn a_call_that_is_not_from_the_apps_own_page_is_turned_away() {
    const CSRF: (&str, &str) = ("x-bff-csrf", "1");
    const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let raw = Raw::new(&bed);
    let origin = ("origin", bed.origin.as_str());
    let site = |value| [CSRF, ("sec-fetch-site", value)];
    let from = |value| [CSRF, ("origin", value)];
    let (cross, sibling, none, capitals) =
        (site("cross-site"), site("same-site"), site("none"), site("Same-Origin"));
    let (null, evil, plain) =
        (from("null"), from("https://evil.example"), bed.origin.replace("https", "http"));
    let prefix = format!("{}.evil.example", bed.origin);
    let cases: [(&str, &[(&str, &str)]); 19] = [
        ("custom_header_missing", &[SAME, origin]),
        ("custom_header_missing", &[SAME, ("x-bff-csrf", "0")]),
        ("custom_header_missing", &[SAME, ("x-bff-csrf", "")]),
        ("custom_header_missing", &[SAME, ("token-handler-version", "2")]),
        ("header_ambiguous", &[SAME, CSRF, CSRF]),
        ("site_mismatch", &cross),
        ("site_mismatch", &sibling),
        ("site_mismatch", &none),
        ("site_mismatch", &capitals),
        ("header_ambiguous", &[CSRF, SAME, SAME]),
        ("origin_mismatch", &null),
        ("origin_mismatch", &evil),
        ("origin_mismatch", &[CSRF, SAME, ("origin", "https://evil.example")]),
        ("origin_mismatch", &[CSRF, ("origin", &plain)]),
        ("origin_mismatch", &[CSRF, ("origin", &prefix)]),
        ("header_ambiguous", &[CSRF, origin, origin]),
        ("header_ambiguous", &[CSRF, SAME, origin, ("origin", "https://evil.example")]),
        ("origin_mismatch", &[CSRF, ("referer", "https://evil.example/")]),
        ("no_proof_of_origin", &[CSRF]),
    ];
    let before = bed.double.events().len();
    for (method, path) in CALLS {
        for (reason, case) in cases {
            let sent = [vec![cookies(&browser)], pairs(case)].concat();
            let answer = raw.send(method, path, &sent, "").await;
            // What is forwarded must be unambiguous before anything else is asked of it.
            let malformed = path.starts_with("/api") && reason == "header_ambiguous";
            let (status, code) =
                if malformed { (400, "invalid_request") } else { (403, "csrf_rejected") };
            let answer = answer.expect_refusal(status, code).unwrap();
            let request = &answer.request;
            assert_eq!(answer.header("content-type"), "application/json", "{request}");
            assert!(answer.cookies().is_empty(), "{request}");
            no_cors(&answer);
            if malformed {
                continue;
            }
            let events = bed.audit.events();
            let event = events.last().unwrap();
            assert_eq!(event["action"], "guard.reject", "{request}");
            assert_eq!(event["outcome"], "rejected", "{request}");
            assert_eq!(event["reason"], format!("guard.{reason}"), "{request}");
            assert_eq!(event["request_id"], answer.header("x-request-id"), "{request}");
            assert_eq!(answer.json().unwrap()["request_id"], event["request_id"], "{request}");
        }
    }
    assert_eq!(bed.double.events().len(), before, "the AS heard of it");
    assert!(bed.api.events().is_empty(), "the API heard of it");
    assert!(bed.is_logged_in(&mut browser).await, "the session is as it was");
}

/// FM-4, FM-5/6: either custom header and any one header that tells the origin are enough.
#[tokio::test]
async fn one_custom_header_and_one_word_of_the_origin_let_in() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    let raw = Raw::new(&bed);
    let page = format!("{}/page?x=1", bed.origin);
    for (method, path) in [
        ("GET", "/bff/session"),
        ("GET", "/bff/userinfo"),
        ("GET", "/api/accounts"),
        ("POST", "/bff/refresh"),
    ] {
        for custom in ["x-bff-csrf", "token-handler-version"] {
            for (name, value) in
                [("sec-fetch-site", "same-origin"), ("origin", &bed.origin), ("referer", &page)]
            {
                let sent =
                    [vec![cookies(&browser)], pairs(&[(custom, "1"), (name, value)])].concat();
                raw.send(method, path, &sent, "").await.expect(200).unwrap();
            }
        }
    }
}

/// BFF-6.1.3.3.1, CORS-2: types a cross-site form or beacon can send, and all others, are no form.
#[tokio::test]
async fn only_forms_are_read() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let raw = Raw::new(&bed);
    let before = bed.double.events().len();
    for path in ["/bff/login/start", "/bff/login/end", "/bff/refresh", "/bff/logout"] {
        for kind in ["text/plain", "application/json", "multipart/form-data; boundary=x", "x", ""] {
            let mut sent = [vec![cookies(&browser)], own()].concat();
            if !kind.is_empty() {
                sent.push(("content-type", kind.to_owned()));
            }
            let answer = raw.send("POST", path, &sent, "{\"scope\":\"openid\"}").await;
            let answer = answer.expect_refusal(400, "invalid_request").unwrap();
            assert_eq!(answer.json().unwrap()["detailed_error"], "content_type", "{path} {kind}");
        }
    }
    assert_eq!(bed.double.events().len(), before, "the AS heard of it");
    assert!(bed.is_logged_in(&mut browser).await, "a body of another type logs nobody out");
}

#[tokio::test]
async fn an_oversized_form_is_refused() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let raw = Raw::new(&bed);
    let sent = [vec![cookies(&browser), ("content-type", FORM.to_owned())], own()].concat();
    let body = format!("x={}", "y".repeat(70 * 1024));
    for path in ["/bff/login/start", "/bff/login/end", "/bff/refresh", "/bff/logout"] {
        let answer = raw.send("POST", path, &sent, &body).await;
        answer.expect_refusal(413, "payload_too_large").unwrap();
    }
    assert!(bed.is_logged_in(&mut browser).await);
}

/// RFC 9110 §15.5.6, CORS-4: the answer says which methods there are. HEAD and OPTIONS do nothing
/// either.
#[tokio::test]
async fn a_wrong_method_is_refused_and_told_the_right_one() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let raw = Raw::new(&bed);
    let sent = [vec![cookies(&browser)], own()].concat();
    let others = [
        ("GET", "/bff/login"),
        ("GET", "/bff/callback"),
        ("GET", "/bff/logout/continue"),
        ("GET", "/bff/logout/callback"),
    ];
    let before = bed.double.events().len();
    for (right, path) in CALLS.into_iter().chain(others) {
        if path.starts_with("/api") {
            continue;
        }
        for wrong in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            if wrong == right {
                continue;
            }
            let answer = raw.send(wrong, path, &sent, "").await.expect(405).unwrap();
            assert_eq!(answer.header("allow"), right, "{}", answer.request);
            no_cors(&answer);
            assert!(answer.cookies().is_empty(), "{}", answer.request);
            if wrong != "HEAD" {
                answer.expect_refusal(405, "method_not_allowed").unwrap();
            }
        }
    }
    assert_eq!(bed.double.events().len(), before, "the AS heard of it");
    assert!(bed.is_logged_in(&mut browser).await);
}

/// CORS-1, BFF-6.1.3.3.2-2: there is no cross-origin reading of anything, so no preflight is ever
/// answered with yes.
#[tokio::test]
async fn no_preflight_is_answered_with_yes() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    let raw = Raw::new(&bed);
    let paths = CALLS.map(|(_, path)| path).into_iter();
    for path in paths.chain(["/", "/bff", "/bff/jwks", "/bff/openapi.json", "/bff/none", "/none"]) {
        for origin in ["https://evil.example", "null", &bed.origin] {
            let sent = [
                vec![cookies(&browser)],
                pairs(&[
                    ("origin", origin),
                    ("access-control-request-method", "POST"),
                    ("access-control-request-headers", "x-bff-csrf"),
                ]),
            ]
            .concat();
            let answer = raw.send("OPTIONS", path, &sent, "").await;
            no_cors(&answer);
            assert!(answer.cookies().is_empty(), "{}", answer.request);
        }
    }
    assert!(bed.api.events().is_empty(), "the API heard of it");
}

/// HDR-1, HDR-3/4, HDR-5, FAPI2-SP-5.2.3-1, BCP-4.16: no answer can be framed, sniffed, kept or
/// sent in clear.
#[tokio::test]
async fn every_kind_of_answer_carries_the_security_headers() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    let raw = Raw::new(&bed);
    let in_app = [vec![cookies(&browser)], own()].concat();
    let go = pairs(&[
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ]);
    let elsewhere = pairs(&[("host", "evil.example")]);
    let form = [in_app.clone(), pairs(&[("content-type", FORM)])].concat();
    let json = "application/json";
    let large = "x".repeat(70 * 1024);
    for (method, path, sent, body, status, kind) in [
        ("GET", "/bff/session", &in_app, "", 200, json),
        ("GET", "/bff/session", &own(), "", 200, json),
        ("GET", "/bff/userinfo", &in_app, "", 200, json),
        ("GET", "/bff/userinfo", &own(), "", 401, json),
        ("POST", "/bff/login/start", &in_app, "", 200, json),
        ("POST", "/bff/login/end", &form, "response=x", 400, json),
        ("POST", "/bff/login/start", &form, &large, 413, json),
        ("POST", "/bff/refresh", &in_app, "", 200, json),
        ("GET", "/bff/session", &vec![], "", 403, json),
        ("DELETE", "/bff/session", &in_app, "", 405, json),
        ("POST", "/bff/openapi.json", &in_app, "", 405, json),
        ("POST", "/bff/jwks", &in_app, "", 405, json),
        ("HEAD", "/bff/session", &in_app, "", 405, json),
        ("GET", "/bff/none", &in_app, "", 404, json),
        ("GET", "/bff", &in_app, "", 404, json),
        ("GET", "/none", &in_app, "", 404, json),
        ("GET", "/api/accounts", &in_app, "", 200, json),
        ("GET", "/api/accounts", &own(), "", 401, json),
        ("GET", "/api/accounts", &vec![], "", 403, json),
        ("PATCH", "/api/accounts", &in_app, "", 405, json),
        ("GET", "/bff/session", &elsewhere, "", 421, json),
        ("GET", "/bff/openapi.json", &vec![], "", 200, json),
        ("GET", "/bff/jwks", &vec![], "", 200, "application/jwk-set+json"),
        ("GET", "/bff/login", &go, "", 303, ""),
        ("GET", "/bff/login", &vec![], "", 403, "text/html; charset=utf-8"),
        ("GET", "/bff/callback", &go, "", 400, "text/html; charset=utf-8"),
        ("GET", "/bff/logout/continue", &go, "", 303, ""),
        ("GET", "/bff/logout/callback", &go, "", 303, ""),
        ("POST", "/bff/logout", &in_app, "", 200, json),
    ] {
        let answer = raw.send(method, path, sent, body).await.expect(status).unwrap();
        let what = format!("{} -> {status}", answer.request);
        let hsts = answer.header("strict-transport-security");
        let seconds = hsts.strip_prefix("max-age=").and_then(|rest| rest.split(';').next());
        let seconds: u64 = seconds.and_then(|text| text.parse().ok()).unwrap_or_default();
        assert!(seconds >= 31_536_000, "{what}: {hsts:?}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'"), "{what}: {policy:?}");
        assert!(policy.contains("default-src 'none'"), "{what}: {policy:?}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{what}");
        let cache =
            if path == "/bff/jwks" && status == 200 { "public, max-age=300" } else { "no-store" };
        assert_eq!(answer.header("cache-control"), cache, "{what}");
        assert_eq!(answer.header("content-type"), kind, "{what}");
        assert_ne!(answer.header("x-request-id"), "", "{what}");
        assert_eq!(answer.header("server"), "", "{what}");
        no_cors(&answer);
    }
}

/// DNS rebinding and proxies gone wrong: a `Host` that is no app's is nobody's.
#[tokio::test]
async fn an_unknown_host_is_misdirected() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    let raw = Raw::new(&bed);
    let port = bed.origin.rsplit(':').next().unwrap().to_owned();
    let hosts = ["evil.example".to_owned(), APP_HOST.to_owned(), format!("evil.example:{port}")];
    for (method, path) in CALLS {
        for host in &hosts {
            let sent = [vec![cookies(&browser), ("host", host.clone())], own()].concat();
            let answer = raw.send(method, path, &sent, "").await;
            answer.expect_refusal(421, "not_found").unwrap();
        }
    }
    assert!(bed.metric("fapi_bff_guard_rejections_total{") >= 21.0, "{}", bed.metrics());
}

/// CK-DUP, BFF-6.1.3.2-6, BFF-6.1.2.1-chk: a session cookie counts under its exact name, and only
/// if it is there once.
#[tokio::test]
async fn a_session_cookie_counts_only_by_its_exact_name_and_once() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    let other = bed.logged_in().await;
    let raw = Raw::new(&bed);
    let (mine, theirs) = (handle(&browser), handle(&other));
    let lines: [&[String]; 9] = [
        &[format!("{SESSION}={mine}; {SESSION}={mine}")],
        &[format!("{SESSION}={mine}; {SESSION}={theirs}")],
        &[format!("{SESSION}={mine}"), format!("{SESSION}={theirs}")],
        &[format!("{SESSION}=; {SESSION}={mine}")],
        &[format!("__Host-web={mine}")],
        &[format!("web={mine}")],
        &[format!("__host-http-web={mine}")],
        &[format!("{SESSION}2={mine}")],
        &[format!("{SESSION}={mine}x")],
    ];
    let ask = async |cookies: &[String], path: &str| {
        let mut sent = own();
        sent.extend(cookies.iter().map(|line| ("cookie", line.clone())));
        raw.send("GET", path, &sent, "").await
    };
    for cookies in lines {
        let session: Value =
            ask(cookies, "/bff/session").await.expect(200).unwrap().json().unwrap();
        assert_eq!(session["is_logged_in"], false, "{cookies:?}");
        for path in ["/api/accounts", "/bff/userinfo"] {
            ask(cookies, path).await.expect_refusal(401, "session_missing").unwrap();
        }
    }
    assert!(bed.api.events().is_empty());
    // A tossed-in cookie of another name is no reason to doubt the right one.
    let beside = [format!("__Host-web={theirs}; {SESSION}={mine}; web={theirs}; junk")];
    ask(&beside, "/api/accounts").await.expect(200).unwrap();
}

/// What is not there is not there for anybody, and says so as JSON.
#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let raw = Raw::new(&bed);
    for path in
        ["/bff", "/bff/", "/bff/none", "/bff/session/", "/bff/login/start/x", "/bff/SESSION"]
    {
        for sent in [own(), vec![cookies(&browser)]] {
            let answer = raw.send("GET", path, &sent, "").await;
            let answer = answer.expect_refusal(404, "not_found").unwrap();
            assert_eq!(answer.header("content-type"), "application/json", "{path}");
        }
        let typed = browser.navigate(From::Typed, path).await.unwrap();
        typed.expect_refusal(404, "not_found").unwrap();
    }
}

#[tokio::test]
async fn the_contract_describes_every_call() {
    let bed = Bed::start().await;
    let document = Raw::new(&bed).send("GET", "/bff/openapi.json", &vec![], "").await;
    let document = document.expect(200).unwrap().json().unwrap();
    assert_eq!(document["servers"][0]["url"], "/bff");
    for (method, path) in CALLS {
        if let Some(path) = path.strip_prefix("/bff") {
            let call = &document["paths"][path][method.to_lowercase()];
            assert!(call["responses"]["403"].is_object(), "{method} {path}: {call}");
        }
    }
}

/// RFC 7517 §4, RFC 7518 §6, FAPI2-SP-5.4.2: the published keys are the client's, and nothing
/// private is among them.
#[tokio::test]
async fn published_keys_have_public_members_only() {
    let bed = Bed::start().await;
    let jwks = Raw::new(&bed).send("GET", "/bff/jwks", &vec![], "").await;
    let jwks = jwks.expect(200).unwrap().json().unwrap();
    let keys = jwks["keys"].as_array().unwrap();
    let mut kids: Vec<_> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
    let mut expected = [bed.pki.client_assertion.kid(), bed.pki.request_object.kid()];
    kids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(kids, expected);
    for key in keys {
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
            assert!(key.get(private).is_none(), "{private}");
        }
    }
}
