//! API calls through the server to the sample API.

use bytes::Bytes;
use fapi_bff_conformance::{
    as_double::{Event, Fault, Outcome},
    demo::{
        browser::{Answer, Browser, Call},
        wire::{self, Line},
    },
};
use serde_json::{Value, json};

use crate::support::{Bed, Wish, soon};

fn wish(edit: &[(&'static str, &str)]) -> Wish {
    let edit = edit.iter().map(|(from, to)| (*from, (*to).to_owned())).collect();
    Wish { edit, ..Wish::default() }
}

async fn get(browser: &mut Browser, path: &str) -> Answer {
    browser.fetch(Call::get(path)).await.unwrap()
}

async fn line(bed: &Bed) -> Line {
    Line::open(&bed.pki, &bed.origin).await.unwrap()
}

/// One request, and all that comes back until the server hangs up.
async fn one(bed: &Bed, request: &str) -> String {
    line(bed).await.exchange(request).await.unwrap()
}

fn api_head(bed: &Bed, browser: &Browser, method: &str, target: &str, lines: &[&str]) -> String {
    wire::head(&bed.origin, browser, method, target, lines)
}

/// Values of a header as the API received it.
fn received<'a>(event: &'a Event, name: &str) -> Vec<&'a str> {
    let headers = event.headers.iter();
    headers.filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
}

/// Every refusal to forward is JSON with a code, never a redirect, and leaves the cookies alone.
#[track_caller]
fn refused(answer: Answer, status: u16, code: &str) -> Answer {
    let answer = answer.expect_refusal(status, code).unwrap();
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("location"), "");
    assert!(answer.cookies().is_empty());
    answer
}

/// Bodies go through whole, both ways.
#[tokio::test]
async fn large_bodies_arrive_whole_both_ways() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
    let sum = fapi_bff_conformance::jws::sha256_b64(&body);
    let call = Call::post("/api/upload").bytes("application/octet-stream", body);
    let answer = browser.fetch(call).await.unwrap().expect(200).unwrap();
    assert_eq!(answer.json().unwrap(), json!({"bytes": 5_000_000, "sha256": sum}));
    let answer = get(&mut browser, "/api/download?bytes=5000000").await.expect(200).unwrap();
    assert_eq!(answer.body.len(), 5_000_000);
    assert!(answer.body.iter().all(|byte| *byte == b'd'));
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// A body without a declared length is streamed chunk by chunk.
#[tokio::test]
async fn a_chunked_body_is_streamed_to_the_api() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    let mut line = line(&bed).await;
    let head = api_head(
        &bed,
        &browser,
        "POST",
        "/api/upload",
        &[
            "Content-Type: application/octet-stream",
            "Transfer-Encoding: chunked",
            "Connection: close",
        ],
    );
    line.send(head.as_bytes()).await;
    for _ in 0..4 {
        line.send(b"5\r\nhello\r\n").await;
    }
    line.send(b"0\r\n\r\n").await;
    let answer = line.rest().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"bytes\":20"), "{answer}");
}

/// PXY-7: a body over the limit is refused, whether it says so beforehand or not.
#[tokio::test]
async fn a_body_over_the_limit_is_refused_declared_or_not() {
    let bed =
        Bed::with(wish(&[("path = \"/api\"", "path = \"/api\"\nrequest_body_limit = \"1KiB\"")]))
            .await;
    let mut browser = bed.logged_in().await;
    let upload = |size: usize| Call::post("/api/upload").bytes("text/plain", vec![b'x'; size]);
    browser.fetch(upload(1024)).await.unwrap().expect(200).unwrap();
    refused(browser.fetch(upload(1025)).await.unwrap(), 413, "payload_too_large");
    assert_eq!(bed.api.count("/upload"), 1, "what is too large by its own word is not begun");
    let head = api_head(
        &bed,
        &browser,
        "POST",
        "/api/upload",
        &["Transfer-Encoding: chunked", "Connection: close"],
    );
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let answer = one(&bed, &format!("{head}{chunk}1\r\nx\r\n0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(bed.api.events().iter().filter(|e| e.outcome == Outcome::Accepted).count() <= 1);
}

/// PXY-1, BCP-4.13, BFF-6.1.1-K: what a caller says of itself reaches no API; what we say does.
#[tokio::test]
async fn request_headers_are_ours_where_they_say_who_calls() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    let forged = [
        "Authorization: Bearer forged",
        "DPoP: forged",
        "Forwarded: for=6.6.6.6",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: http",
        "X-Real-IP: 6.6.6.6",
        "Client-Cert: :forged:",
        "Client-Cert-Chain: :forged:",
        "X-SSL-Client-Cert: forged",
        "X-FAPI-Interaction-ID: forged",
        "X-FAPI-Auth-Date: forged",
        "X-FAPI-Customer-IP-Address: 6.6.6.6",
        "Proxy-Authorization: Basic forged",
        "Traceparent: forged",
        "Via: 1.1 forged",
        "Origin-Trial: kept",
        "X-Harmless: kept",
        "X-Named: forged",
        "TE: trailers",
        "Connection: close, X-Named",
    ];
    let head = api_head(&bed, &browser, "GET", "/api/echo-headers?x=1&y=%C3%A9", &forged);
    let answer = one(&bed, &head).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let echo: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(echo["authorization"], json!({"scheme": "Bearer", "valid": true}));
    assert_eq!(echo["peer_thumbprint"], json!(bed.pki.client_tls.thumbprint().unwrap()));
    assert_eq!(
        (&echo["path"], &echo["query"]),
        (&json!("/echo-headers"), &json!([["x", "1"], ["y", "é"]]))
    );
    let event = bed.api.last("/echo-headers").unwrap();
    let all = format!("{:?}", event.headers);
    for evil in ["forged", "6.6.6.6", "evil.example"] {
        assert!(!all.contains(evil), "{evil} in {all}");
    }
    for (_, value) in browser.cookies() {
        assert!(!all.contains(value), "a cookie of ours reached the API");
    }
    for name in [
        "cookie",
        "dpop",
        "forwarded",
        "client-cert",
        "client-cert-chain",
        "x-real-ip",
        "origin",
        "referer",
        "x-bff-csrf",
        "x-named",
        "te",
        "connection",
        "sec-fetch-site",
        "proxy-authorization",
    ] {
        assert_eq!(received(&event, name), [""; 0], "{name}");
    }
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-fapi-customer-ip-address", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", bed.origin.strip_prefix("https://").unwrap()),
        ("via", "1.1 fapi-bff"),
        ("x-harmless", "kept"),
        ("origin-trial", "kept"),
    ] {
        assert_eq!(received(&event, name), [value], "{name}");
    }
    let interaction = received(&event, "x-fapi-interaction-id");
    assert_eq!(interaction.len(), 1);
    assert_eq!((interaction[0].len(), interaction[0].matches('-').count()), (36, 4));
    assert!(answer.contains(&format!("x-fapi-interaction-id: {}", interaction[0])));
    assert_eq!(received(&event, "x-fapi-auth-date").len(), 1);
    assert_eq!(received(&event, "traceparent").len(), 1);
    assert_eq!(received(&event, "authorization").len(), 1);
}

/// PXY-2: `Connection` must not be a way to take away what protects.
#[tokio::test]
async fn connection_cannot_strip_what_protects() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    for named in ["Cookie", "Authorization", "X-FAPI-Interaction-ID", "Content-Type", "X-BFF-CSRF"]
    {
        let line = format!("Connection: close, {named}");
        let head = api_head(&bed, &browser, "GET", "/api/echo-headers", &[&line]);
        let answer = one(&bed, &head).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{named}: {answer}");
        assert!(answer.contains("invalid_request"), "{named}: {answer}");
    }
    assert_eq!(bed.api.events().len(), 0);
}

/// PXY-3, PXY-4: an API sets no cookie and no policy on the app's origin.
#[tokio::test]
async fn response_headers_of_an_api_set_no_cookie_and_no_policy() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let answer = get(&mut browser, "/api/mischief").await.expect(200).unwrap();
    assert_eq!(answer.json().unwrap(), json!({"mischief": "managed"}));
    assert!(answer.cookies().is_empty());
    for name in [
        "set-cookie",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "clear-site-data",
        "server",
        "www-authenticate",
    ] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    assert_ne!(answer.header("strict-transport-security"), "max-age=0");
    assert!(bed.is_logged_in(&mut browser).await);
}

/// PXY-5, HDR-6: a redirect to elsewhere is neither followed nor passed on.
#[tokio::test]
async fn a_foreign_redirect_is_neither_followed_nor_passed_on() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    refused(get(&mut browser, "/api/redirect").await, 502, "upstream_redirect");
    assert_eq!(bed.api.count("/redirect"), 1);
}

/// BFF-6.1.3.6-1, BFF-6.1.3.6-2: a target that two readers can read in two ways is sent nowhere.
#[tokio::test]
async fn ambiguous_targets_reach_neither_api_nor_login() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    let absolute = format!("{}/api/accounts", bed.origin);
    for target in [
        "/api/../bff/session",
        "/api/./accounts",
        "/api/%2e%2e/bff/session",
        "/api/%2E/accounts",
        "/api/..%2fbff",
        "/api%2faccounts",
        "/api/%5c..%5cx",
        "/api/\\..\\x",
        "//api/accounts",
        "/api//accounts",
        "/api/..;/accounts",
        "/api/.;x=1/accounts",
        "/api/%252e%252e/x",
        "/api/%00",
        "/api/%0d%0aX-Evil:%201",
        "/api/%c0%ae%c0%ae/x",
        "/api/%zz",
        "/%61pi/accounts",
        "/api/accounts?x=1#y",
        absolute.as_str(),
        "https://evil.example/api/accounts",
        "api/accounts",
    ] {
        let head = api_head(&bed, &browser, "GET", target, &["Connection: close"]);
        let answer = one(&bed, &head).await;
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert!([400, 404, 421].contains(&status), "{target}: {answer}");
        assert!(!answer.contains("is_logged_in"), "{target}: {answer}");
    }
    assert_eq!(bed.api.events().len(), 0);
    // A prefix ends at a segment's end, in one letter case.
    for target in ["/apix", "/API/accounts", "/apiaccounts"] {
        let head = api_head(&bed, &browser, "GET", target, &["Connection: close"]);
        assert!(one(&bed, &head).await.starts_with("HTTP/1.1 404"), "{target}");
    }
    assert_eq!(bed.api.events().len(), 0);
}

/// BFF-6.1.3.6-3, RFC 9110 §15.5.6; TRACE and CONNECT are nobody's.
#[tokio::test]
async fn only_listed_methods_are_forwarded() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    for method in ["PATCH", "TRACE", "PROPFIND", "get"] {
        let head = api_head(&bed, &browser, method, "/api/echo-headers", &["Connection: close"]);
        let answer = one(&bed, &head).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
        assert!(answer.contains("allow: GET, HEAD, POST, PUT, DELETE"), "{method}: {answer}");
        assert!(answer.contains("method_not_allowed"), "{method}: {answer}");
    }
    let connect = "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n";
    let mut line = line(&bed).await;
    line.send(connect.as_bytes()).await;
    let answer = line.until("\r\n\r\n").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    // CORS-3: OPTIONS ends here.
    let head = api_head(&bed, &browser, "OPTIONS", "/api/accounts", &["Connection: close"]);
    let answer = one(&bed, &head).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert!(!answer.to_lowercase().contains("access-control-"), "{answer}");
    assert_eq!(bed.api.events().len(), 0);
}

/// Whatever is not there is not guessed.
#[tokio::test]
async fn unknown_routes_are_404_and_upgrades_refused() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    refused(get(&mut browser, "/other/accounts").await, 404, "not_found");
    let head = api_head(
        &bed,
        &browser,
        "GET",
        "/api/accounts",
        &[
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
    );
    let answer = one(&bed, &head).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("upgrade_not_supported"), "{answer}");
    assert_eq!(bed.api.events().len(), 0);
}

/// Without a session or the proof of origin an API call is JSON, and the API hears nothing.
#[tokio::test]
async fn no_session_and_no_proof_of_origin_are_json_and_never_a_redirect() {
    let bed = Bed::start().await;
    let mut stranger = bed.browser();
    let answer = get(&mut stranger, "/api/accounts").await;
    let answer = answer.expect_refusal(401, "session_missing").unwrap();
    assert_eq!(answer.header("location"), "");
    assert_eq!(answer.header("content-type"), "application/json");
    let mut browser = bed.logged_in().await;
    let call = Call::get("/api/accounts").without_custom_header();
    refused(browser.fetch(call).await.unwrap(), 403, "csrf_rejected");
    assert_eq!(bed.last_audit("guard.reject").1, "guard.custom_header_missing");
    let call = Call::post("/api/payments").json(&json!({})).by_origin("https://evil.example");
    refused(browser.fetch(call).await.unwrap(), 403, "csrf_rejected");
    assert_eq!(bed.api.events().len(), 0);
}

/// An API in trouble is a gateway's error; the session is not to blame.
#[tokio::test]
async fn an_api_in_trouble_is_told_as_such_and_costs_no_session() {
    let bed =
        Bed::with(wish(&[("path = \"/api\"", "path = \"/api\"\nfirst_byte_timeout = \"1s\"")]))
            .await;
    let mut browser = bed.logged_in().await;
    bed.api.fault("/accounts", Fault::Drop);
    refused(get(&mut browser, "/api/accounts").await, 502, "upstream_unavailable");
    bed.api.heal();
    bed.api.fault("/accounts", Fault::Hang);
    refused(get(&mut browser, "/api/accounts").await, 504, "upstream_timeout");
    bed.api.heal();
    // The API's own verdicts are its own to give.
    for status in [403, 404, 418, 429, 500, 503] {
        let answer = get(&mut browser, &format!("/api/status/{status}")).await;
        let answer = answer.expect(status).unwrap();
        assert_eq!(answer.json().unwrap(), json!({"status": status}));
        assert!(answer.cookies().is_empty());
    }
    get(&mut browser, "/api/accounts").await.expect(200).unwrap();
    let Bed { api, .. } = bed;
    soon("the API's end", api.shutdown()).await;
}

/// An API that is not there at all.
#[tokio::test]
async fn an_api_that_is_gone_is_502() {
    let bed =
        Bed::with(wish(&[("upstream = \"", "upstream = \"https://api.localhost:9/x\" # \"")]))
            .await;
    let mut browser = bed.logged_in().await;
    refused(get(&mut browser, "/api/accounts").await, 502, "upstream_unavailable");
    assert!(bed.is_logged_in(&mut browser).await);
}

/// Events come as they happen, not when the stream ends.
#[tokio::test]
async fn server_sent_events_come_while_the_stream_is_open() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    let mut line = line(&bed).await;
    // An endless stream: whatever arrives has arrived before its end.
    let head =
        api_head(&bed, &browser, "GET", "/api/sse?count=0&ms=10", &["Accept: text/event-stream"]);
    line.send(head.as_bytes()).await;
    let seen = line.until("data: 3\n\n").await.unwrap();
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
    assert!(seen.contains("content-type: text/event-stream"), "{seen}");
    assert!(seen.contains("data: 0\n\n"), "{seen}");
}

/// The token goes where its route leads, with the session's policy, and nowhere else.
#[tokio::test]
async fn a_route_without_a_token_gets_none() {
    let bed = Bed::with(wish(&[("path = \"/api\"", "path = \"/api\"\ntoken = \"none\"")])).await;
    let mut browser = bed.logged_in().await;
    let answer = get(&mut browser, "/api/echo-headers").await.expect(200).unwrap();
    assert_eq!(answer.json().unwrap()["authorization"]["scheme"], Value::Null);
    let event = bed.api.last("/echo-headers").unwrap();
    assert_eq!(received(&event, "authorization"), [""; 0]);
    assert_eq!(received(&event, "cookie"), [""; 0]);
    let mut stranger = bed.browser();
    get(&mut stranger, "/api/echo-headers").await.expect_refusal(401, "session_missing").unwrap();
}

/// PXY-2, RFC 9112 §6: a request that two readers can cut in two places is cut off.
#[tokio::test]
async fn requests_that_could_be_cut_in_two_ways_are_cut_off() {
    let bed = Bed::start().await;
    let browser = bed.logged_in().await;
    let smuggled = api_head(&bed, &browser, "GET", "/api/echo-headers/smuggled", &[]);
    let length = format!("Content-Length: {}", smuggled.len());
    for (name, lines) in [
        ("length and chunks", vec![length.as_str(), "Transfer-Encoding: chunked"]),
        ("chunks and length", vec!["Transfer-Encoding: chunked", length.as_str()]),
        ("two lengths", vec!["Content-Length: 0", length.as_str()]),
        ("two equal lengths", vec!["Content-Length: 0", "Content-Length: 0"]),
        ("a list of lengths", vec!["Content-Length: 0, 0"]),
        ("a signed length", vec!["Content-Length: +0"]),
        ("a hexadecimal length", vec!["Content-Length: 0x0"]),
        ("two encodings", vec!["Transfer-Encoding: chunked", "Transfer-Encoding: identity"]),
        ("an unknown encoding", vec!["Transfer-Encoding: xchunked"]),
        ("a list of encodings", vec!["Transfer-Encoding: gzip, chunked"]),
        ("a space before the colon", vec!["Transfer-Encoding : chunked"]),
        ("a folded line", vec!["X-Folded: a\r\n b"]),
        ("a bare line feed", vec!["X-Bare: a\nTransfer-Encoding: chunked"]),
        ("a bare carriage return", vec!["X-Bare: a\rb"]),
        ("a NUL", vec!["X-Nul: a\0b"]),
        ("two hosts", vec!["Host: evil.example"]),
    ] {
        let head = api_head(&bed, &browser, "POST", "/api/echo-headers", &lines);
        let answer = one(&bed, &format!("{head}0\r\n\r\n{smuggled}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
    }
    assert_eq!(bed.api.events().len(), 0);
    // The listener itself still works.
    let head = api_head(&bed, &browser, "GET", "/api/echo-headers", &["Connection: close"]);
    assert!(one(&bed, &head).await.starts_with("HTTP/1.1 200"));
}

/// A body that came whole is not taken for a second request.
#[tokio::test]
async fn a_body_that_looks_like_a_request_stays_a_body() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let body = Bytes::from_static(b"GET /echo-headers/smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
    let call = Call::post("/api/upload").bytes("text/plain", body.clone());
    let answer = browser.fetch(call).await.unwrap().expect(200).unwrap();
    assert_eq!(answer.json().unwrap()["bytes"], body.len());
    assert_eq!(bed.api.events().len(), 1);
}
