//! What of a request reaches the API: headers that say who calls are the BFF's own, and a request that
//! could be cut in two ways is passed on in none.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{expect_one, on_the_wire, received, status};
use crate::{
    as_double::Outcome,
    demo::{browser::Call, wire},
    suite::{
        hardening::acts::at_once,
        module::{Halt, Module, Step},
        stage::{Raw, Stage},
    },
};

/// Claims about the caller, made by the caller; all but two of them must not arrive.
const FORGED: [&str; 24] = [
    "Authorization: Bearer forged",
    "DPoP: forged",
    "Forwarded: for=6.6.6.6",
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Client-Cert: forged",
    "X-Real-IP: 6.6.6.6",
    "True-Client-IP: 6.6.6.6",
    "Client-Cert: :forged:",
    "Client-Cert-Chain: :forged:",
    "X-SSL-Client-Cert: forged",
    "X-FAPI-Interaction-ID: forged",
    "X-FAPI-Auth-Date: forged",
    "X-FAPI-Customer-IP-Address: 6.6.6.6",
    "Proxy-Authorization: Basic forged",
    "Traceparent: forged",
    "Via: 1.1 forged",
    "Accept-Language: kept",
    "X-Harmless: kept",
    "X-Named: forged",
    "TE: trailers",
    "Keep-Alive: forged",
    "Connection: close, X-Named",
];

/// What must not be there at all.
const ABSENT: [&str; 17] = [
    "cookie",
    "dpop",
    "forwarded",
    "client-cert",
    "client-cert-chain",
    "x-ssl-client-cert",
    "x-forwarded-client-cert",
    "x-real-ip",
    "origin",
    "referer",
    "x-bff-csrf",
    "x-named",
    "te",
    "keep-alive",
    "connection",
    "sec-fetch-site",
    "proxy-authorization",
];

async fn who_calls(stage: &mut Stage) -> Step {
    stage.login().await?;
    let target = "/lab/echo-headers?x=1&y=%C3%A9";
    let answer = on_the_wire(stage, "GET", target, &FORGED, "").await?;
    expect_one(stage, "forged headers", &answer, &[200]);
    let event = stage.world.api.last("/echo-headers");
    let event = event.ok_or_else(|| Halt::Trouble("the API heard nothing".to_owned()))?;
    let all = format!("{:?}", event.headers);
    for evil in ["forged", "6.6.6.6", "evil.example"] {
        let message = format!("{evil} does not reach the API");
        stage.check("nothing_forged", &["BCP-4.13"], !all.contains(evil), message);
    }
    for (name, value) in stage.browser.cookies() {
        let message = format!("{name} does not reach the API");
        stage.check("no_cookie", &["BFF-6.1.1-K"], !all.contains(value), message);
    }
    for name in ABSENT {
        let found = received(&event, name);
        let message = format!("{name}: {found:?}; nothing expected");
        stage.check("absent", &["BCP-4.13", "PXY-1(?)"], found.is_empty(), message);
    }
    let host = stage.world.origin.strip_prefix("https://").unwrap_or_default();
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-fapi-customer-ip-address", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", host),
        ("via", "1.1 fapi-bff"),
        ("x-harmless", "kept"),
        ("accept-language", "kept"),
    ] {
        let found = received(&event, name);
        let message = format!("{name}: {found:?}; {value:?} expected");
        stage.check("our_own", &["BFF-6.1.3.5", "BCP-4.13"], found == [value], message);
    }
    for name in ["authorization", "x-fapi-interaction-id", "x-fapi-auth-date", "traceparent"] {
        let found = received(&event, name).len();
        let message = format!("{name} is there {found} times; once expected");
        stage.check("once", &["BFF-6.1.1-K"], found == 1, message);
    }
    Ok(())
}

async fn connection(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    for named in [
        "Cookie",
        "Authorization",
        "X-FAPI-Interaction-ID",
        "X-FAPI-Customer-IP-Address",
        "X-Forwarded-For",
        "Content-Type",
        "X-BFF-CSRF",
        "Origin",
    ] {
        let line = format!("Connection: close, {named}");
        let answer = on_the_wire(stage, "GET", "/lab/echo-headers", &[&line], "").await?;
        expect_one(stage, &line, &answer, &[400]);
        let told = answer.contains("invalid_request");
        stage.check("says_why", &["PXY-1(?)"], told, format!("{line}: invalid_request"));
    }
    stage.expect_unheard(before);
    Ok(())
}

async fn cut_in_two(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    let (origin, browser) = (stage.world.origin.clone(), stage.browser.clone());
    let smuggled = wire::head(&origin, &browser, "GET", "/lab/echo-headers/smuggled", &[]);
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
        ("an encoding twice", vec!["Transfer-Encoding: chunked, chunked"]),
        ("a space before the colon", vec!["Transfer-Encoding : chunked"]),
        ("a folded line", vec!["X-Folded: a\r\n b"]),
        ("a bare line feed", vec!["X-Bare: a\nTransfer-Encoding: chunked"]),
        ("a bare carriage return", vec!["X-Bare: a\rb"]),
        ("a NUL", vec!["X-Nul: a\0b"]),
        ("two hosts", vec!["Host: evil.example"]),
    ] {
        let body = format!("0\r\n\r\n{smuggled}");
        let answer = on_the_wire(stage, "POST", "/lab/echo-headers", &lines, &body).await?;
        expect_one(stage, name, &answer, &[400]);
    }
    stage.expect_unheard(before);
    let answer = on_the_wire(stage, "GET", "/lab/echo-headers", &["Connection: close"], "").await?;
    expect_one(stage, "a sound request afterwards", &answer, &[200]);
    Ok(())
}

async fn bad_chunks(stage: &mut Stage) -> Step {
    stage.login().await?;
    let lines = ["Transfer-Encoding: chunked", "Connection: close"];
    for (name, body) in [
        ("a size that is no number", "x\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a size too large to count", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("more than the chunk has", "5\r\nhello-and-more\r\n0\r\n\r\n"),
    ] {
        let answer = on_the_wire(stage, "POST", "/lab/upload", &lines, body).await?;
        stage.perhaps_reached("/upload").await;
        let found = status(&answer);
        let message = format!("{name} -> {found}; a refusal or the end of the connection expected");
        let held = answer.is_empty() || (400..600).contains(&found);
        stage.check("cut_off", &["PXY-2(?)"], held, message);
    }
    let taken = |event: &crate::as_double::Event| event.outcome == Outcome::Accepted;
    let taken = stage.world.api.events().iter().filter(|event| taken(event)).count();
    let message = "the API took no body that did not come whole";
    stage.check("nothing_taken", &["PXY-2(?)"], taken == 0, message);
    Ok(())
}

async fn get_with_a_body(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    for method in ["GET", "HEAD"] {
        let mut headers = stage.own_headers();
        headers.push(stage.cookie_header());
        let body = "GET /accounts/a-2 HTTP/1.1\r\nX: ".to_owned();
        let answer = stage.send(Raw { method, path: "/lab/accounts", headers, body }).await?;
        stage.expect("refused", &answer, 400)?;
    }
    stage.expect_unheard(before);
    // Where a body belongs, it stays one.
    let body = "GET /echo-headers/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = stage.fetch(Call::post("/lab/upload").bytes("text/plain", body)).await?;
    stage.expect("uploaded", &answer, 200)?;
    let whole = answer.json()?.get("bytes") == Some(&json!(body.len()));
    let once = stage.world.api.events().len() == 1;
    stage.check("a_body_stays_a_body", &["PXY-2(?)"], whole && once, "one request, whole");
    Ok(())
}

async fn body_limit(stage: &mut Stage) -> Step {
    stage.login().await?;
    let upload = |size: usize| Call::post("/lab/upload").bytes("text/plain", vec![b'x'; size]);
    let answer = stage.fetch(upload(1024)).await?;
    stage.expect("at_the_limit", &answer, 200)?;
    let answer = stage.fetch(upload(1025)).await?;
    stage.expect_plain_refusal(&answer, 413, "payload_too_large");
    stage.expect_api_asked("/upload", 1);
    let lines = ["Transfer-Encoding: chunked", "Connection: close"];
    let body = format!("400\r\n{}\r\n1\r\nx\r\n0\r\n\r\n", "x".repeat(1024));
    let answer = on_the_wire(stage, "POST", "/lab/upload", &lines, &body).await?;
    stage.perhaps_reached("/upload").await;
    expect_one(stage, "undeclared and too large", &answer, &[413]);
    let events = stage.world.api.events();
    let taken = events.iter().filter(|event| event.outcome == Outcome::Accepted).count();
    stage.check("one_taken", &["PXY-7"], taken == 1, "the API took the first one only");
    Ok(())
}

async fn whole_bodies(stage: &mut Stage) -> Step {
    stage.login().await?;
    let body: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
    let sum = crate::jws::sha256_b64(&body);
    let call = Call::post("/lab/upload").bytes("application/octet-stream", body);
    let answer = stage.fetch(call).await?;
    stage.expect("uploaded", &answer, 200)?;
    let whole = answer.json()? == json!({"bytes": 2_000_000, "sha256": sum});
    stage.check("whole_up", &["PXY-2(?)"], whole, "two megabytes arrive at the API whole");
    let answer = stage.get("/lab/download?bytes=2000000").await?;
    stage.expect("downloaded", &answer, 200)?;
    let whole = answer.body.len() == 2_000_000 && answer.body.iter().all(|byte| *byte == b'd');
    stage.check("whole_down", &["PXY-2(?)"], whole, "and at the browser");
    let lines = ["Transfer-Encoding: chunked", "Connection: close"];
    let body = "5\r\nhello\r\n".repeat(4) + "0\r\n\r\n";
    let answer = on_the_wire(stage, "POST", "/lab/upload", &lines, &body).await?;
    let whole = status(&answer) == 200 && answer.contains("\"bytes\":20");
    stage.check("chunked", &["PXY-2(?)"], whole, "chunks without a length arrive whole");
    Ok(())
}

/// The token travels in one place only: one Authorization header, over the right certificate.
async fn token_in_one_place(stage: &mut Stage) -> Step {
    stage.login().await?;
    let answer = stage.get("/lab/echo-headers").await?;
    stage.expect("echo", &answer, 200)?;
    let echo = answer.json()?;
    let held = echo.get("authorization") == Some(&json!({"scheme": "Bearer", "valid": true}));
    let message = "the token is taken with this certificate";
    stage.check("bound_token", &["MTLS-3", "FAPI2-SP-5.3.3.1-1"], held, message);
    let expected =
        stage.world.pki.client_tls.thumbprint().map_err(|e| Halt::Trouble(e.to_string()))?;
    let held = echo.get("peer_thumbprint") == Some(&Value::String(expected));
    let message = "the connection is made with the client's certificate";
    stage.check("certificate", &["MTLS-3"], held, message);
    let event = stage.world.api.last("/echo-headers");
    let event = event.ok_or_else(|| Halt::Trouble("the API heard nothing".to_owned()))?;
    let token = received(&event, "authorization").join("");
    let token = token.strip_prefix("Bearer ").unwrap_or("?").to_owned();
    let elsewhere = event
        .headers
        .iter()
        .filter(|(name, _)| name != "authorization")
        .chain(&event.query)
        .chain(&event.form)
        .any(|(_, value)| value.contains(&token))
        || event.path.contains(&token);
    let message = "the token is in the Authorization header only";
    stage.check("header_only", &["FAPI2-SP-5.3.3.1-3", "BRR-5.3(?)"], !elsewhere, message);
    let answer = String::from_utf8_lossy(&answer.body).contains(&token);
    stage.check("not_told", &["BFF-6.1-tok"], !answer, "the browser does not see it");
    Ok(())
}

async fn sessions_apart(stage: &mut Stage) -> Step {
    let mut people = Vec::new();
    for person in ["alice", "bjork", "carol"] {
        stage.another_browser();
        stage.world.double.behave(|behaviour| behaviour.user = Some(person.to_owned()));
        stage.login().await?;
        people.push((person, stage.browser.clone()));
    }
    let call = Call::get("/lab/accounts");
    let [(_, first), (_, second), (_, third)] = people.as_slice() else {
        return Err(Halt::Trouble("three people were to log in".to_owned()));
    };
    let (one, two, three) = tokio::join!(
        at_once(first, &call, 20),
        at_once(second, &call, 20),
        at_once(third, &call, 20)
    );
    for ((person, _), answers) in people.iter().zip([one?, two?, three?]) {
        for answer in answers {
            stage.expect("api", &answer, 200)?;
            let owner = answer.json()?.get("owner").cloned();
            let held = owner == Some(json!(person));
            let message = format!("{person} sees the accounts of {owner:?}");
            stage.check("own_accounts", &["BFF-6.1.1-K", "BFF-6.1.2.2-1"], held, message);
        }
    }
    let events = stage.world.api.events();
    let tokens: BTreeSet<_> = events.iter().filter_map(|e| e.header("authorization")).collect();
    let message = format!("{} different tokens reached the API; 3 expected", tokens.len());
    stage.check("three_tokens", &["BFF-6.1.1-K"], tokens.len() == 3, message);
    Ok(())
}

async fn no_token_route(stage: &mut Stage) -> Step {
    stage.login().await?;
    let answer = stage.get("/lab/echo-headers").await?;
    stage.expect("echo", &answer, 200)?;
    let event = stage.world.api.last("/echo-headers");
    let event = event.ok_or_else(|| Halt::Trouble("the API heard nothing".to_owned()))?;
    for name in ["authorization", "cookie"] {
        let absent = received(&event, name).is_empty();
        stage.check("none_sent", &["BCP-2.2-2.3"], absent, format!("no {name} is sent there"));
    }
    stage.another_browser();
    let answer = stage.get("/lab/echo-headers").await?;
    stage.expect_plain_refusal(&answer, 401, "session_missing");
    stage.expect_api_asked("/echo-headers", 1);
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "forward-headers-that-say-who-calls",
            "A caller claims addresses, certificates, tokens and identities in two dozen headers.",
            "drop or replace each, and send no cookie on",
            &["BCP-4.13", "BFF-6.1.1-K", "BFF-6.1.3.5", "MTLS-6.5(?)", "PXY-1(?)"],
            |stage| Box::pin(who_calls(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-connection-names-what-protects",
            "Connection names the headers that carry the token, the cookie or the proof of origin.",
            "refuse the request",
            &["PXY-1(?)"],
            |stage| Box::pin(connection(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-requests-cut-in-two-ways",
            "Seventeen requests can be cut in two places, with a second request in what is left.",
            "answer 400 once and hang up; the API hears nothing",
            &["PXY-2(?)"],
            |stage| Box::pin(cut_in_two(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-broken-chunks",
            "Chunks come with sizes that are no sizes.",
            "break the request off; the API takes no such body",
            &["PXY-2(?)"],
            |stage| Box::pin(bad_chunks(stage)),
        )
        .provoking(&["api.body"])
        .reasons(&[]),
        Module::new(
            "forward-get-with-a-body",
            "A GET has a body that an API which does not read it takes for the next request.",
            "refuse it, and pass on whole what may have a body",
            &["PXY-2(?)"],
            |stage| Box::pin(get_with_a_body(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-body-over-the-limit",
            "Bodies are one byte over the route's limit, declared and undeclared.",
            "answer 413; what is too large by its own word is not begun",
            &["PXY-7"],
            |stage| Box::pin(body_limit(stage)),
        )
        .provoking(&["api.body"])
        .configured("path = \"/lab\"", "path = \"/lab\"\nrequest_body_limit = \"1KiB\"")
        .reasons(&[]),
        Module::new(
            "forward-bodies-arrive-whole",
            "Megabytes go up and down, with a length and in chunks.",
            "pass every byte on",
            &["PXY-2(?)"],
            |stage| Box::pin(whole_bodies(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-token-in-one-place",
            "The API looks where the token comes, and over which certificate.",
            "send it in one Authorization header over the certificate it is bound to",
            &["FAPI2-SP-5.3.3.1-3", "MTLS-3", "BRR-5.3(?)"],
            |stage| Box::pin(token_in_one_place(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-sessions-kept-apart",
            "Three people make twenty calls each at the same time.",
            "serve each with the token of their own session",
            &["BFF-6.1.1-K", "BFF-6.1.2.2-1"],
            |stage| Box::pin(sessions_apart(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-route-without-a-token",
            "A route leads to somebody who is to have no token.",
            "send none, and still demand a session",
            &["BCP-2.2-2.3", "BFF-6.1.1-K"],
            |stage| Box::pin(no_token_route(stage)),
        )
        .configured("path = \"/lab\"", "path = \"/lab\"\ntoken = \"none\"")
        .reasons(&[]),
    ]
}
