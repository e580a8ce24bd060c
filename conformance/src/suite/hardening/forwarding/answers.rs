//! What of an API's answer reaches the browser: the content, never a say over the app's origin.

use serde_json::json;

use crate::{
    as_double::Fault,
    demo::wire,
    suite::{
        hardening::acts::leaves_cookies_alone,
        module::{Module, Step},
        stage::{SESSION_COOKIE, Stage},
    },
};

/// What an API must have no say in, and how it tries.
const RULING: [(&str, &str); 24] = [
    ("set-cookie", "__Host-Http-web=stolen; Path=/; Secure; HttpOnly"),
    ("access-control-allow-origin", "https://evil.example"),
    ("access-control-allow-credentials", "true"),
    ("access-control-expose-headers", "*"),
    ("strict-transport-security", "max-age=0"),
    ("content-security-policy", "default-src *"),
    ("content-security-policy-report-only", "default-src *"),
    ("x-frame-options", "ALLOWALL"),
    ("referrer-policy", "unsafe-url"),
    ("clear-site-data", "\"*\""),
    ("public-key-pins", "pin"),
    ("service-worker-allowed", "/"),
    ("sourcemap", "/evil.map"),
    ("www-authenticate", "Bearer realm=\"evil\""),
    ("proxy-authenticate", "Basic"),
    ("authentication-info", "nextnonce=\"x\""),
    ("dpop-nonce", "evil-nonce"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-powered-by", "evil"),
    ("server", "evil/1.0"),
    ("alt-svc", "h3=\":443\""),
    ("refresh", "0; url=https://evil.example/"),
    ("nel", "{}"),
    ("report-to", "{}"),
];
/// Those of them that the BFF says itself.
const OWN: [&str; 4] =
    ["strict-transport-security", "content-security-policy", "x-frame-options", "referrer-policy"];
/// What rules nothing.
const HARMLESS: (&str, &str) = ("x-harmless", "kept");

/// An answer that tries to rule the app's origin and to hand tokens to the page.
fn ruling() -> Fault {
    let headers = RULING.into_iter().chain([HARMLESS]);
    Fault::Respond {
        status: 200,
        content_type: "application/json".to_owned(),
        body: b"{\"said\":true}".to_vec(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

async fn rules_nothing(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.api.fault("/accounts", ruling());
    let answer = stage.get("/lab/accounts").await?;
    stage.expect("content_comes_through", &answer, 200)?;
    let said = answer.json()? == json!({"said": true});
    stage.check("content_comes_through", &["PXY-3"], said, "the body is the API's");
    let held = leaves_cookies_alone(&answer);
    stage.check("sets_no_cookie", &["PXY-3"], held, "an API sets no cookie on the app's origin");
    for (name, tried) in RULING {
        let found: Vec<_> = answer.headers.get_all(name).iter().collect();
        let held = match found.as_slice() {
            [] => !OWN.contains(&name),
            [own] => OWN.contains(&name) && *own != tried,
            _ => false,
        };
        let clauses = match name {
            "strict-transport-security" => &["HDR-1"][..],
            "content-security-policy" | "x-frame-options" | "referrer-policy" => &["HDR-3/4"],
            _ => &["PXY-3", "CORS-1"],
        };
        let message = format!("{name}: {found:?}; the API's {tried:?} is not passed on");
        stage.check("not_passed", clauses, held, message);
    }
    let held = answer.header("cache-control") == "no-store";
    stage.check("no_store", &["PXY-4"], held, "kept by nobody");
    let held = answer.header(HARMLESS.0) == HARMLESS.1;
    stage.check("harmless_passes", &[], held, "what rules nothing passes");
    stage.world.api.heal();
    let answer = stage.get("/lab/mischief").await?;
    stage.expect("mischief", &answer, 200)?;
    let held = leaves_cookies_alone(&answer) && !answer.headers.contains_key("clear-site-data");
    stage.check("mischief_managed", &["PXY-3"], held, "nor in the API's other corner");
    stage.expect_session("the session is as it was").await
}

async fn challenge(stage: &mut Stage) -> Step {
    stage.login().await?;
    let answer = stage.get("/lab/challenge").await?;
    let silent = !answer.headers.contains_key("www-authenticate");
    let message = "the challenge's header is not for browsers, which would ask for a password";
    stage.check("no_browser_dialog", &["PXY-3", "STEP-9"], silent, message);
    let held = answer.header("location").is_empty() && answer.status != 303;
    stage.check("no_automatic_login", &["STEP-9", "BFF-6.1.2.1-chk"], held, "no redirect");
    stage.expect_api_asked("/challenge", 1);
    stage.expect_refreshes(0);
    stage.expect_session("the session is as it was").await
}

async fn challenge_without_end(stage: &mut Stage) -> Step {
    stage.login().await?;
    let hint = json!({"acr_values": ["urn:example:loa:3"], "max_age": 60});
    for _ in 0..2 {
        let answer = stage.get("/lab/challenge").await?;
        stage.expect_plain_refusal(&answer, 401, "step_up_required");
        let held = answer.json()?.get("step_up") == Some(&hint);
        stage.check("hint", &["STEP-3", "STEP-4"], held, "the page is told what the API wants");
    }
    stage.world.advance(5)?;
    stage.login().await?;
    let answer = stage.get("/lab/challenge").await?;
    stage.expect_plain_refusal(&answer, 403, "insufficient_authentication");
    let silent = answer.json()?.get("step_up").is_none();
    stage.check("one_attempt", &["STEP-5", "STEP-9"], silent, "no login is asked for again");
    stage.expect_api_asked("/challenge", 3);
    stage.expect_refreshes(0);
    stage.reach_api().await
}

async fn redirects(stage: &mut Stage) -> Step {
    stage.login().await?;
    let answer = stage.get("/lab/redirect").await?;
    stage.expect_plain_refusal(&answer, 502, "upstream_redirect");
    stage.expect_api_asked("/redirect", 1);
    for (status, location) in [
        (301, "https://evil.example/"),
        (302, "//evil.example/"),
        (303, "https://api.localhost:1/accounts"),
        (307, "https://evil.example/"),
        (308, "http://api.localhost/accounts"),
        (302, "/\\evil.example"),
        (302, "javascript:alert(1)"),
    ] {
        let location = location.to_owned();
        stage.world.api.fault("/accounts", Fault::Redirect { status, location }.once());
        let answer = stage.get("/lab/accounts").await?;
        stage.expect_plain_refusal(&answer, 502, "upstream_redirect");
    }
    // Each was asked once: none was followed with the token.
    stage.expect_api_asked("/accounts", 7);
    stage.expect_session("the session is not to blame").await
}

async fn stream(stage: &mut Stage) -> Step {
    stage.login().await?;
    let mut line = stage.world.line().await?;
    // An endless stream: whatever arrives has arrived before its end.
    let target = "/lab/sse?count=0&ms=10";
    let lines = ["Accept: text/event-stream"];
    let request = wire::head(&stage.world.origin, &stage.browser, "GET", target, &lines);
    line.send(request.as_bytes()).await;
    let seen = line.until("data: 3\n\n").await?;
    let held = seen.starts_with("HTTP/1.1 200")
        && seen.contains("content-type: text/event-stream")
        && seen.contains("data: 0\n\n");
    stage.check("as_it_comes", &["PXY-6"], held, "events come while the stream is open");
    Ok(())
}

async fn api_in_trouble(stage: &mut Stage) -> Step {
    stage.login().await?;
    let cookie = stage.session_cookie()?;
    for (fault, status, code) in
        [(Fault::Drop, 502, "upstream_unavailable"), (Fault::Hang, 504, "upstream_timeout")]
    {
        stage.world.api.fault("/accounts", fault);
        let answer = stage.get("/lab/accounts").await?;
        stage.expect_plain_refusal(&answer, status, code);
        stage.world.api.heal();
    }
    // The API's own verdicts are its own to give.
    for status in [400, 403, 404, 418, 429, 500, 503] {
        let answer = stage.get(&format!("/lab/status/{status}")).await?;
        stage.expect("its_own_verdict", &answer, status)?;
        let held = leaves_cookies_alone(&answer) && answer.json()? == json!({"status": status});
        stage.check("as_it_was_said", &["PXY-3"], held, format!("{status} and its body"));
    }
    stage.reach_api().await?;
    let same = stage.session_cookie()? == cookie;
    let message = format!("{SESSION_COOKIE} is as it was");
    stage.check("session_is_not_to_blame", &[], same, message);
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "forward-answer-rules-nothing",
            "The API sets the session's cookie, CORS, HSTS, policies, challenges and nonces.",
            "pass the content on, and none of that",
            &["PXY-3", "PXY-4", "HDR-1", "CORS-1"],
            |stage| Box::pin(rules_nothing(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-challenge-starts-no-login",
            "The API asks for a stronger authentication in a call by script.",
            "start no login by itself, refresh nothing, and keep the header back",
            &["STEP-9", "PXY-3"],
            |stage| Box::pin(challenge(stage)),
        ),
        Module::new(
            "step-up-challenges-without-end",
            "An API asks for a stronger authentication again and again.",
            "tell the page of one login for it, then stop",
            &["STEP-3", "STEP-4", "STEP-5", "STEP-9"],
            |stage| Box::pin(challenge_without_end(stage)),
        )
        .configured("path = \"/lab\"", "path = \"/lab\"\nstep_up = true")
        .timed(),
        Module::new(
            "forward-redirects-are-not-followed",
            "The API sends the call elsewhere in eight ways.",
            "neither follow with the token nor pass it on",
            &["PXY-5", "HDR-6"],
            |stage| Box::pin(redirects(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-stream-as-it-comes",
            "The API sends events without end.",
            "pass each on when it comes",
            &["PXY-6"],
            |stage| Box::pin(stream(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forward-api-in-trouble",
            "The API hangs up, is silent, or says no in its own words.",
            "tell a gateway's trouble from the API's verdict, and end no session",
            &["PXY-7", "BFF-6.1.2.2-2"],
            |stage| Box::pin(api_in_trouble(stage)),
        )
        .configured("path = \"/lab\"", "path = \"/lab\"\nfirst_byte_timeout = \"3s\"")
        .reasons(&[]),
    ]
}
