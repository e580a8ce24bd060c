//! Where a call may lead: to a route's own upstream by a target that can be read in one way only.

use super::{expect_one, on_the_wire, status};
use crate::{
    demo::browser::Call,
    suite::{
        hardening::acts::has_cors,
        module::{Module, Step},
        stage::{Raw, Stage},
    },
};

const TARGETS: [&str; 33] = [
    "/lab/../bff/session",
    "/lab/./accounts",
    "/lab/accounts/..",
    "/lab/%2e%2e/bff/session",
    "/lab/%2E/accounts",
    "/lab/.%2e/bff/session",
    "/lab/..%2fbff",
    "/lab%2faccounts",
    "/lab/%2faccounts",
    "/lab/%5c..%5cx",
    "/lab/\\..\\x",
    "//lab/accounts",
    "/lab//accounts",
    "/lab///evil.example/accounts",
    "//evil.example/lab/accounts",
    "/lab/..;/accounts",
    "/lab/.;x=1/accounts",
    "/lab/%252e%252e/x",
    "/lab/%25%32%65%25%32%65/x",
    "/lab/%00",
    "/lab/accounts%00.json",
    "/lab/%0d%0aX-Evil:%201",
    "/lab/%c0%ae%c0%ae/x",
    "/lab/%e0%80%ae/x",
    "/lab/%zz",
    "/lab/%2",
    "/%6cab/accounts",
    "/lab/accounts?x=1#y",
    "/lab@evil.example/accounts",
    "https://evil.example/lab/accounts",
    "http://api.localhost/accounts",
    "lab/accounts",
    "*",
];

async fn ambiguous(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    let absolute = format!("{}/lab/accounts", stage.world.origin);
    for target in TARGETS.into_iter().chain([absolute.as_str()]) {
        let answer = on_the_wire(stage, "GET", target, &["Connection: close"], "").await?;
        expect_one(stage, target, &answer, &[400, 404, 421]);
        let told = !answer.contains("is_logged_in") && !answer.contains("authorization_url");
        stage.check(
            "no_other_call",
            &["BFF-6.1.3.6-1"],
            told,
            format!("{target} is no other call"),
        );
    }
    // A prefix ends at a segment's end, in one letter case.
    for target in ["/labx", "/LAB/accounts", "/labaccounts", "/other/accounts"] {
        let answer = on_the_wire(stage, "GET", target, &["Connection: close"], "").await?;
        expect_one(stage, target, &answer, &[404]);
    }
    stage.expect_unheard(before);
    Ok(())
}

async fn methods(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    for method in ["PATCH", "TRACE", "PROPFIND", "get", "PRI"] {
        let answer =
            on_the_wire(stage, method, "/lab/accounts", &["Connection: close"], "").await?;
        let found = status(&answer);
        let told = found == 405
            && answer.contains("allow: GET, HEAD, POST, PUT, DELETE")
            && answer.contains("method_not_allowed");
        let message = format!("{method} -> {found}, 405 with Allow expected");
        // `PRI` is how HTTP/2 begins, and may be refused as such.
        let held = told || (method == "PRI" && (answer.is_empty() || found == 400));
        stage.check("listed_only", &["BFF-6.1.3.6-3"], held, message);
    }
    let connect = "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n";
    let mut line = stage.world.line().await?;
    line.send(connect.as_bytes()).await;
    let answer = line.until("\r\n\r\n").await?;
    expect_one(stage, "CONNECT", &answer, &[400, 404, 405, 421]);
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let line = format!("{name}: DELETE");
        let lines = [line.as_str(), "Connection: close"];
        let answer = on_the_wire(stage, "GET", "/lab/accounts", &lines, "").await?;
        expect_one(stage, name, &answer, &[400]);
    }
    stage.expect_unheard(before);
    Ok(())
}

async fn options(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    for path in ["/lab/accounts", "/lab", "/lab/echo-headers?x=1"] {
        let mut headers = stage.own_headers();
        headers.push(stage.cookie_header());
        let raw = Raw { method: "OPTIONS", path, headers, body: String::new() };
        let answer = stage.send(raw).await?;
        stage.expect("answered_here", &answer, 204)?;
        stage.check("no_cors", &["CORS-3"], !has_cors(&answer), "and approves nothing");
    }
    stage.expect_unheard(before);
    Ok(())
}

async fn upgrade(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    for lines in [
        &[
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ][..],
        &[
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            "Connection: Upgrade, HTTP2-Settings",
        ],
    ] {
        let mut all = lines.to_vec();
        all.push("X-Last: 1");
        let answer = on_the_wire(stage, "GET", "/lab/accounts", &all, "").await?;
        expect_one(stage, lines.first().unwrap_or(&""), &answer, &[400]);
        let told = answer.contains("upgrade_not_supported");
        stage.check("says_why", &["PXY-6"], told, "the answer says that there are no upgrades");
    }
    stage.expect_unheard(before);
    Ok(())
}

async fn no_session(stage: &mut Stage) -> Step {
    for call in [
        Call::get("/lab/accounts"),
        Call::get("/lab/echo-headers"),
        Call::post("/lab/payments").json(&serde_json::json!({"amount": 1})),
    ] {
        let answer = stage.fetch(call.clone()).await?;
        stage.expect_plain_refusal(&answer, 401, "session_missing");
        let answer = stage.fetch(call.without_custom_header()).await?;
        stage.expect_plain_refusal(&answer, 403, "csrf_rejected");
    }
    let heard = stage.world.api.events().len();
    stage.check("api_unheard", &["BFF-6.1.1-K"], heard == 0, "the API hears nothing");
    stage.settled(1).await
}

async fn unknown_route(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    for path in ["/other/accounts", "/", "/accounts", "/payments", "/robots.txt"] {
        let answer = stage.get(path).await?;
        stage.expect_plain_refusal(&answer, 404, "not_found");
    }
    stage.expect_unheard(before);
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "forward-ambiguous-targets",
            "Three dozen targets climb, repeat, encode twice, name another host, or hide a NUL.",
            "refuse each; neither the API nor another call of the BFF is reached",
            &["BFF-6.1.3.6-1", "BFF-6.1.3.6-2"],
            |stage| Box::pin(ambiguous(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-methods-not-listed",
            "TRACE, CONNECT and methods the route does not list are tried, and overrides.",
            "answer 405 with Allow, and pass nothing on",
            &["BFF-6.1.3.6-3"],
            |stage| Box::pin(methods(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-options-ends-here",
            "OPTIONS is asked of a route, with a session.",
            "answer it without the API and without an approval",
            &["CORS-3"],
            |stage| Box::pin(options(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-upgrade-is-refused",
            "A call wants to become a WebSocket, or HTTP/2 in clear.",
            "refuse it: no connection outlives the checks at its beginning",
            &["PXY-6", "PXY-2(?)"],
            |stage| Box::pin(upgrade(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-without-a-session",
            "Calls to an API come without a session, with and without the custom header.",
            "answer 401 or 403 in JSON; the API hears nothing",
            &["BFF-6.1.2.1-chk", "BFF-6.1.1-K"],
            |stage| Box::pin(no_session(stage)),
        )
        .reasons(&["guard.custom_header_missing"]),
        Module::new(
            "forward-unknown-routes",
            "Paths are asked for that belong to no route but exist at the API.",
            "answer 404 without guessing",
            &["BFF-6.1.3.6-1"],
            |stage| Box::pin(unknown_route(stage)),
        )
        .reasons(&[]),
    ]
}
