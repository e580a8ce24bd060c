//! What every answer is like: framed by nobody, kept by nobody, JSON where a script asked, and no key
//! in it that is not public.

use serde_json::Value;

use crate::{
    demo::browser::{Answer, Call},
    suite::{
        hardening::acts::{FORM, has_cors},
        module::{Module, Step},
        stage::{Raw, Stage},
    },
};

/// One request: method, path, who sends it, body; then the answer's status and type.
type Row = (&'static str, &'static str, Who, &'static str, u16, &'static str);

/// As whom a request is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The app's page in a session.
    App,
    /// The same with a form.
    Form,
    /// The app's page without a session.
    Guest,
    /// A navigation from the app.
    Navigation,
    /// Nobody known.
    Nobody,
    /// The app's page, at another host's name.
    Elsewhere,
}

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Every kind of answer there is.
const ROWS: [Row; 30] = [
    ("GET", "/bff/session", Who::App, "", 200, JSON),
    ("GET", "/bff/session", Who::Guest, "", 200, JSON),
    ("GET", "/bff/userinfo", Who::App, "", 200, JSON),
    ("GET", "/bff/userinfo", Who::Guest, "", 401, JSON),
    ("POST", "/bff/login/start", Who::App, "", 200, JSON),
    ("POST", "/bff/login/end", Who::Form, "response=x", 400, JSON),
    ("POST", "/bff/login/start", Who::Form, "colour=red", 400, JSON),
    ("POST", "/bff/refresh", Who::App, "", 200, JSON),
    ("POST", "/bff/refresh", Who::Guest, "", 401, JSON),
    ("GET", "/bff/session", Who::Nobody, "", 403, JSON),
    ("DELETE", "/bff/session", Who::App, "", 405, JSON),
    ("POST", "/bff/openapi.json", Who::App, "", 405, JSON),
    ("POST", "/bff/jwks", Who::App, "", 405, JSON),
    ("HEAD", "/bff/session", Who::App, "", 405, JSON),
    ("GET", "/bff/none", Who::App, "", 404, JSON),
    ("GET", "/bff", Who::App, "", 404, JSON),
    ("GET", "/none", Who::App, "", 404, JSON),
    ("GET", "/lab/accounts", Who::App, "", 200, JSON),
    ("GET", "/lab/accounts", Who::Guest, "", 401, JSON),
    ("GET", "/lab/accounts", Who::Nobody, "", 403, JSON),
    ("GET", "/lab/redirect", Who::App, "", 502, JSON),
    ("PATCH", "/lab/accounts", Who::App, "", 405, JSON),
    ("GET", "/bff/session", Who::Elsewhere, "", 421, JSON),
    ("GET", "/bff/openapi.json", Who::Nobody, "", 200, JSON),
    ("GET", "/bff/jwks", Who::Nobody, "", 200, "application/jwk-set+json"),
    ("GET", "/bff/login", Who::Navigation, "", 303, ""),
    ("GET", "/bff/login", Who::Nobody, "", 403, HTML),
    ("GET", "/bff/callback", Who::Navigation, "", 400, HTML),
    ("GET", "/bff/logout/continue", Who::Navigation, "", 303, ""),
    ("GET", "/bff/logout/callback", Who::Navigation, "", 303, ""),
];

/// What a call by script is let through by.
pub(super) const CALL: [&str; 2] = ["origin", "sec-fetch-site"];
/// What a navigation is let through by.
const NAVIGATION: [&str; 4] = ["origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"];

/// Whether a cache is told that the answer depends on these headers of the request.
pub(super) fn varies(answer: &Answer, by: &[&str]) -> bool {
    let lines = answer.headers.get_all("vary").iter().filter_map(|line| line.to_str().ok());
    let names: Vec<_> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    by.iter().all(|wanted| names.iter().any(|name| name.eq_ignore_ascii_case(wanted)))
}

async fn ask(stage: &mut Stage, (method, path, who, body, ..): Row) -> Step<Answer> {
    let mut headers = match who {
        Who::App | Who::Form | Who::Elsewhere | Who::Guest => stage.own_headers(),
        Who::Navigation => vec![
            ("sec-fetch-site", "same-origin".to_owned()),
            ("sec-fetch-mode", "navigate".to_owned()),
            ("sec-fetch-dest", "document".to_owned()),
        ],
        Who::Nobody => Vec::new(),
    };
    match who {
        Who::App => headers.push(stage.cookie_header()),
        Who::Form => {
            headers.extend([stage.cookie_header(), ("content-type", FORM.to_owned())]);
        }
        Who::Elsewhere => headers.push(("host", "evil.example".to_owned())),
        Who::Guest | Who::Navigation | Who::Nobody => {}
    }
    stage.send(Raw { method, path, headers, body: body.to_owned() }).await
}

async fn security_headers(stage: &mut Stage) -> Step {
    stage.login().await?;
    for row in ROWS {
        let (_, path, _, _, status, kind) = row;
        let answer = ask(stage, row).await?;
        stage.expect("kind_of_answer", &answer, status)?;
        let hsts = answer.header("strict-transport-security");
        let mut directives = hsts.split(';').map(str::trim);
        let seconds = directives.next().and_then(|first| first.strip_prefix("max-age="));
        let seconds: u64 = seconds.and_then(|text| text.parse().ok()).unwrap_or_default();
        let subdomains = directives.any(|rule| rule.eq_ignore_ascii_case("includeSubDomains"));
        let is_document = kind == HTML || status == 303;
        let policy = answer.header("content-security-policy");
        let public = path == "/bff/jwks" && status == 200;
        let cache = if public { "public, max-age=300" } else { "no-store" };
        for (name, held) in [
            ("strict-transport-security", seconds >= 31_536_000 && subdomains),
            (
                "cross-origin-opener-policy",
                !is_document || answer.header("cross-origin-opener-policy") == "same-origin",
            ),
            (
                "cross-origin-resource-policy",
                answer.header("cross-origin-resource-policy") == "same-origin",
            ),
            ("vary", public || varies(&answer, if is_document { &NAVIGATION } else { &CALL })),
            ("x-content-type-options", answer.header("x-content-type-options") == "nosniff"),
            (
                "content-security-policy",
                policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"),
            ),
            ("referrer-policy", answer.header("referrer-policy") == "no-referrer"),
            ("cache-control", answer.header("cache-control") == cache),
            ("content-type", answer.header("content-type") == kind),
            ("x-request-id", !answer.header("x-request-id").is_empty()),
            ("server", answer.header("server").is_empty()),
            ("access-control-*", !has_cors(&answer)),
        ] {
            let message =
                format!("{} -> {status}: {name}: {:?}", answer.request, answer.header(name));
            let clauses = match name {
                "strict-transport-security" => &["HDR-1"][..],
                "vary" => &["FM-5/6"],
                "cross-origin-resource-policy" | "content-type" => &["HDR-5"],
                _ => &["HDR-3/4", "HDR-5"],
            };
            stage.check("headers", clauses, held, message);
        }
    }
    Ok(())
}

async fn json_for_scripts(stage: &mut Stage) -> Step {
    stage.settled(1).await?;
    let before = stage.heard();
    // As a link or a form would ask, and as a script that prefers pages.
    let accept = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8".to_owned());
    for (method, path) in
        [("GET", "/bff/userinfo"), ("POST", "/bff/refresh"), ("GET", "/lab/accounts")]
    {
        let mut headers = stage.own_headers();
        headers.push(accept.clone());
        let answer = stage.send(Raw { method, path, headers, body: String::new() }).await?;
        stage.expect_plain_refusal(&answer, 401, "session_missing");
        let headers = vec![
            accept.clone(),
            ("sec-fetch-site", "none".to_owned()),
            ("sec-fetch-mode", "navigate".to_owned()),
            ("sec-fetch-dest", "document".to_owned()),
        ];
        let answer = stage.send(Raw { method, path, headers, body: String::new() }).await?;
        stage.expect_plain_refusal(&answer, 403, "csrf_rejected");
    }
    let session = stage.fetch(Call::get("/bff/session")).await?;
    stage.expect("no_login_by_itself", &session, 200)?;
    stage.expect_unheard(before);
    Ok(())
}

async fn public_keys(stage: &mut Stage) -> Step {
    stage.settled(1).await?;
    let raw = Raw { method: "GET", path: "/bff/jwks", ..Raw::default() };
    let answer = stage.send(raw).await?;
    stage.expect("jwks", &answer, 200)?;
    let jwks = answer.json()?;
    let keys = jwks.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    let kid = |key: &Value| key.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut kids: Vec<_> = keys.iter().map(kid).collect();
    let pki = &stage.world.pki;
    let mut expected =
        vec![pki.client_assertion.kid().to_owned(), pki.request_object.kid().to_owned()];
    kids.sort_unstable();
    expected.sort_unstable();
    stage.check("own_keys", &["FAPI2-SP-6.8"], kids == expected, "the two signing keys, no other");
    for key in &keys {
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
            let absent = key.get(private).is_none();
            let message = format!("{private} is not published");
            stage.check("public_only", &["FAPI2-SP-6.8"], absent, message);
        }
    }
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "answers-carry-the-security-headers",
            "Every kind of answer is asked for: good ones, refusals, pages, redirects.",
            "let none be framed, sniffed, kept, referred to, shared or sent in clear",
            &["HDR-1", "HDR-3/4", "HDR-5", "FM-5/6", "FAPI2-SP-5.2.3-1/2", "PXY-4"],
            |stage| Box::pin(security_headers(stage)),
        ),
        Module::new(
            "answers-to-scripts-are-json",
            "Calls without a session come with a browser's wish for pages.",
            "answer 401 or 403 in JSON, never a page or a redirect to a login",
            &["BFF-6.1.2.1-chk", "FAPI2-SP-5.2.3-3", "HDR-5"],
            |stage| Box::pin(json_for_scripts(stage)),
        )
        .reasons(&["guard.site_mismatch"]),
        Module::new(
            "published-keys-are-public",
            "Anybody reads the client's published keys.",
            "publish the client's keys with public members only",
            &["FAPI2-SP-6.8"],
            |stage| Box::pin(public_keys(stage)),
        )
        .reasons(&[]),
    ]
}
