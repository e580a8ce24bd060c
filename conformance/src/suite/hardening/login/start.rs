//! Who may start a login: the user and the app, nobody else; and where it may lead in the end.

use url::form_urlencoded;

use crate::{
    as_double::Endpoint,
    demo::browser::From as Coming,
    suite::{
        hardening::acts::{FORM, Pairs, filled, has_cors, leaves_cookies_alone},
        module::{Module, Step},
        stage::{LoginMode, Raw, Stage},
    },
};

const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");
const SIBLING: (&str, &str) = ("sec-fetch-site", "same-site");
const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
const TYPED: (&str, &str) = ("sec-fetch-site", "none");
const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
const NO_CORS: (&str, &str) = ("sec-fetch-mode", "no-cors");
const DOCUMENT: (&str, &str) = ("sec-fetch-dest", "document");

/// Ways to knock at the start of a login that must be turned away for this reason.
fn turned_away(id: &str, does: &str, reason: &'static str, cases: &'static [Pairs]) -> Module {
    let must = "turn it away: no pushed request, no cookie";
    let clauses = ["FAPI2-SP-5.3.3.1-12", "FM-2", "CORS-4"];
    Module::new(id, does, must, &clauses, move |stage| Box::pin(turn_away(stage, reason, cases)))
        .reasons(&[reason])
}

async fn turn_away(stage: &mut Stage, reason: &str, cases: &[Pairs]) -> Step {
    stage.settled(1).await?;
    for case in cases {
        let headers = filled(case, &stage.world.origin);
        let raw = Raw { method: "GET", path: "/bff/login", headers, body: String::new() };
        let answer = stage.send(raw).await?;
        stage.expect_page(&answer, 403);
        let silent = leaves_cookies_alone(&answer) && !has_cors(&answer);
        stage.check("no_cookie", &[], silent, "no login is under way");
        stage.expect_record("guard.reject", "rejected", reason);
    }
    stage.expect_asked(Endpoint::Par, 0);
    Ok(())
}

async fn by_form(stage: &mut Stage) -> Step {
    stage.settled(1).await?;
    for (site, origin) in [
        ("cross-site", "https://evil.example"),
        ("cross-site", "null"),
        ("same-origin", "{origin}"),
    ] {
        let origin = origin.replace("{origin}", &stage.world.origin);
        let headers = || {
            vec![
                ("sec-fetch-site", site.to_owned()),
                ("sec-fetch-mode", "navigate".to_owned()),
                ("sec-fetch-dest", "document".to_owned()),
                ("origin", origin.clone()),
                ("content-type", FORM.to_owned()),
            ]
        };
        let body = || "login_hint=mallory".to_owned();
        let raw = Raw { method: "POST", path: "/bff/login", headers: headers(), body: body() };
        let answer = stage.send(raw).await?;
        stage.expect("no_such_method", &answer, 405)?;
        let told = answer.header("allow") == "GET" && leaves_cookies_alone(&answer);
        stage.check("only_get", &["CORS-4"], told, "Allow says GET, and no cookie is set");
        let path = "/bff/login/start";
        let raw = Raw { method: "POST", path, headers: headers(), body: body() };
        let answer = stage.send(raw).await?;
        stage.expect_plain_refusal(&answer, 403, "csrf_rejected");
    }
    stage.expect_asked(Endpoint::Par, 0);
    Ok(())
}

/// Wishes that would lead a browser away, or that two readers could read in two ways.
const ELSEWHERE: &[&str] = &[
    "https://evil.example",
    "https://evil.example/",
    "http:evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "/%2fevil.example",
    "/%5cevil.example",
    "/%252fevil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "/\t/evil.example",
    "/\r\nLocation: https://evil.example",
    "/%0d%0aSet-Cookie:x=y",
    "/\0/evil.example",
    " //evil.example",
    "https://app.localhost@evil.example",
    "//app.localhost:1@evil.example",
    "@evil.example",
    ".evil.example",
    ":443@evil.example",
    "/..//evil.example",
    "/.//evil.example",
    "/／evil.example",
    "\u{feff}//evil.example",
    "accounts",
    "",
];

async fn return_paths(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Navigation;
    let overlong = format!("/{}", "a".repeat(2_048));
    for wish in ELSEWHERE.iter().copied().chain([overlong.as_str()]) {
        stage.another_browser();
        let query: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("return_to", wish).finish();
        let end = return_path(stage, &query).await?;
        let held = end == format!("{}/", stage.world.origin);
        let message = format!("{wish:?} leads to {end}");
        stage.check("start_of_the_app", &["FAPI2-SP-5.3.3.1-4"], held, message);
    }
    stage.another_browser();
    let end = return_path(stage, "return_to=%2Faccounts%3Fview%3Dall%23top").await?;
    let held = end == format!("{}/accounts?view=all#top", stage.world.origin);
    stage.check("good_wish", &["BFF-6.1.2.1-cb/out"], held, format!("a good wish leads to {end}"));
    Ok(())
}

async fn return_path(stage: &mut Stage, query: &str) -> Step<String> {
    let started = stage.go(Coming::SameOrigin, &format!("/bff/login?{query}")).await?;
    stage.expect("login_started", &started, 303)?;
    let response = stage.authorize(started.location()?.as_str()).await?;
    let ended = stage.deliver(&response).await?;
    stage.expect("login_ended", &ended, 303)?;
    Ok(ended.header("location").to_owned())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        turned_away(
            "login-start-by-a-cross-site-link",
            "A page of another site links to the start of a login, or frames it.",
            "guard.site_mismatch",
            &[
                &[CROSS, NAVIGATE, DOCUMENT, ("sec-fetch-user", "?1")],
                &[CROSS, NAVIGATE, ("sec-fetch-dest", "iframe")],
                &[CROSS, NO_CORS, ("sec-fetch-dest", "image")],
                &[("sec-fetch-site", "Same-Origin"), NAVIGATE, DOCUMENT],
            ],
        ),
        turned_away(
            "login-start-from-a-sibling-domain",
            "A page of a sibling domain, which is the same site, links to the start of a login.",
            "guard.site_mismatch",
            &[
                &[SIBLING, NAVIGATE, DOCUMENT],
                &[SIBLING, NAVIGATE, DOCUMENT, ("referer", "{origin}/")],
            ],
        ),
        turned_away(
            "login-start-in-a-frame",
            "A page of the app itself is made to open the start of a login in a frame.",
            "guard.not_a_navigation",
            &[
                &[SAME, NAVIGATE, ("sec-fetch-dest", "iframe")],
                &[SAME, NAVIGATE, ("sec-fetch-dest", "frame")],
                &[SAME, NAVIGATE, ("sec-fetch-dest", "object")],
                &[SAME, NAVIGATE, ("sec-fetch-dest", "embed")],
                &[SAME, NAVIGATE, ("sec-fetch-dest", "fencedframe")],
            ],
        ),
        turned_away(
            "login-start-as-an-image-or-by-script",
            "The start of a login is fetched as an image, a style sheet, a script, or by fetch().",
            "guard.not_a_navigation",
            &[
                &[SAME, NO_CORS, ("sec-fetch-dest", "image")],
                &[SAME, NO_CORS, ("sec-fetch-dest", "style")],
                &[SAME, NO_CORS, ("sec-fetch-dest", "script")],
                &[SAME, ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
                &[SAME, ("sec-fetch-mode", "websocket"), ("sec-fetch-dest", "empty")],
            ],
        ),
        turned_away(
            "login-start-by-a-browser-looking-ahead",
            "A browser prerenders or prefetches the start of a login, which no user asked for.",
            "guard.not_a_navigation",
            &[
                &[SAME, NAVIGATE, DOCUMENT, ("sec-purpose", "prefetch;prerender")],
                &[TYPED, NAVIGATE, DOCUMENT, ("sec-purpose", "prefetch")],
                &[SAME, ("purpose", "prefetch")],
            ],
        ),
        turned_away(
            "login-start-from-another-origin",
            "A browser without fetch metadata comes from a page of another origin.",
            "guard.origin_mismatch",
            &[
                &[("origin", "https://evil.example")],
                &[("origin", "null")],
                &[("origin", "{plain}")],
                &[("referer", "https://evil.example/")],
                &[("referer", "{origin}.evil.example/")],
                &[("referer", "{origin}@evil.example/")],
            ],
        ),
        turned_away(
            "login-start-without-a-word-of-origin",
            "A request to start a login says nothing of where it comes from.",
            "guard.no_proof_of_origin",
            &[&[], &[("accept", "text/html")]],
        ),
        Module::new(
            "login-start-by-a-form",
            "A form posts to the start of a login, from another site and from the app.",
            "start nothing: no pushed request, no cookie",
            &["FAPI2-SP-5.3.3.1-12", "FM-2", "BFF-6.1.3.3-1"],
            |stage| Box::pin(by_form(stage)),
        )
        .reasons(&["guard.site_mismatch"]),
        Module::new(
            "login-return-path-elsewhere",
            "Thirty wishes for a page to return to lead elsewhere, or can be read so.",
            "end each such login at the start of the app",
            &["FAPI2-SP-5.3.3.1-4", "HDR-6", "BFF-6.1.3.6-1"],
            |stage| Box::pin(return_paths(stage)),
        )
        .reasons(&[]),
    ]
}
