//! Cross-site requests, class by class, against every call there is, GET and forwarded ones included.

use http::Method;

use super::{
    CALLS,
    answers::{CALL, varies},
};
use crate::{
    demo::browser::Call,
    suite::{
        hardening::acts::{Pairs, filled},
        module::{Module, Step},
        stage::{Raw, Stage},
    },
};

const CSRF: (&str, &str) = ("x-bff-csrf", "1");
const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
const ORIGIN: (&str, &str) = ("origin", "{origin}");

/// A class of requests that must be turned away from every call for this reason.
fn turned_away(
    id: &str,
    does: &str,
    clauses: &[&'static str],
    reason: &'static str,
    cases: &'static [Pairs],
) -> Module {
    let must = "answer 403 before anything is asked of a server or done to the session";
    Module::new(id, does, must, clauses, move |stage| Box::pin(turn_away(stage, reason, cases)))
        .reasons(&[reason])
}

async fn turn_away(stage: &mut Stage, reason: &str, cases: &[Pairs]) -> Step {
    stage.login().await?;
    let before = stage.heard();
    for (method, path) in CALLS {
        for case in cases {
            let mut headers = vec![stage.cookie_header()];
            headers.extend(filled(case, &stage.world.origin));
            let answer = stage.send(Raw { method, path, headers, body: String::new() }).await?;
            // What is forwarded must be unambiguous before anything else is asked of it.
            if path.starts_with("/lab") && reason == "guard.header_ambiguous" {
                stage.expect_plain_refusal(&answer, 400, "invalid_request");
                continue;
            }
            stage.expect_plain_refusal(&answer, 403, "csrf_rejected");
            let held = varies(&answer, &CALL);
            let message = format!("{}: no cache keeps it for others", answer.request);
            stage.check("varies", &["FM-5/6"], held, message);
            stage.expect_record("guard.reject", "rejected", reason);
            let known = answer.json()?.get("request_id").cloned();
            if stage.audited().is_none() {
                continue;
            }
            let line = stage.world.audit().into_iter().next_back();
            let recorded = line.and_then(|line| line.get("request_id").cloned());
            let message = "the audit line is found by the answer's request_id";
            stage.check("correlated", &[], known.is_some() && known == recorded, message);
        }
    }
    stage.expect_unheard(before);
    stage.expect_session("the session is as it was").await
}

async fn let_in(stage: &mut Stage) -> Step {
    stage.login().await?;
    let page = format!("{}/page?x=1", stage.world.origin);
    let origin = stage.world.origin.clone();
    for (method, path) in [
        ("GET", "/bff/session"),
        ("GET", "/bff/userinfo"),
        ("GET", "/lab/accounts"),
        ("POST", "/bff/refresh"),
    ] {
        for custom in ["x-bff-csrf", "token-handler-version"] {
            for (name, value) in
                [("sec-fetch-site", "same-origin"), ("origin", &origin), ("referer", &page)]
            {
                let headers =
                    vec![stage.cookie_header(), (custom, "1".to_owned()), (name, value.to_owned())];
                let answer = stage.send(Raw { method, path, headers, body: String::new() }).await?;
                stage.expect("let_in", &answer, 200)?;
            }
        }
    }
    Ok(())
}

async fn foreign_script(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    for (method, path) in CALLS {
        let call = if method == Method::GET { Call::get(path) } else { Call::post(path) };
        for origin in ["https://evil.example", "null"] {
            let answer = stage.fetch(call.clone().by_origin(origin)).await?;
            stage.expect_plain_refusal(&answer, 403, "csrf_rejected");
            let plain = call.clone().without_custom_header().by_origin(origin);
            let answer = stage.fetch(plain).await?;
            stage.expect_plain_refusal(&answer, 403, "csrf_rejected");
        }
    }
    stage.expect_unheard(before);
    stage.expect_session("the session is as it was").await
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "csrf-one-custom-header-and-one-word-of-origin",
            "Older browsers send only one of Sec-Fetch-Site, Origin and Referer.",
            "let the app's own page in by either custom header and any one of them",
            &["FM-4", "FM-5/6", "BFF-6.1.3.3.2-1"],
            |stage| Box::pin(let_in(stage)),
        )
        .reasons(&[]),
        Module::new(
            "csrf-script-of-another-site",
            "A script of another site calls everything with the browser's credentials.",
            "answer 403, with nothing that lets it read the answer",
            &["FM-1", "CORS-1", "CORS-2", "BFF-6.1.3.3.2-2"],
            |stage| Box::pin(foreign_script(stage)),
        )
        .reasons(&["guard.site_mismatch"]),
        turned_away(
            "csrf-without-the-custom-header",
            "Requests with the session's cookie come without the custom header, or with a wrong one.",
            &["BFF-6.1.3.3.2-1", "CORS-2", "BFF-6.1.3.3.1"],
            "guard.custom_header_missing",
            &[
                &[SAME, ORIGIN],
                &[SAME, ("x-bff-csrf", "0")],
                &[SAME, ("x-bff-csrf", "")],
                &[SAME, ("x-bff-csrf", "11")],
                &[SAME, ("x-bff-csrf", "1, 1")],
                &[SAME, ("token-handler-version", "2")],
                &[SAME, ("x-requested-with", "XMLHttpRequest")],
            ],
        ),
        turned_away(
            "csrf-custom-header-twice",
            "Requests carry the custom header twice.",
            &["BFF-6.1.3.3.2-1", "PXY-2(?)"],
            "guard.header_ambiguous",
            &[&[SAME, CSRF, CSRF], &[SAME, CSRF, ("x-bff-csrf", "0")]],
        ),
        turned_away(
            "csrf-fetch-site-elsewhere",
            "Fetch metadata says the request comes from another site, a sibling, or an address bar.",
            &["FM-1", "BFF-6.1.3.3.1"],
            "guard.site_mismatch",
            &[
                &[CSRF, ("sec-fetch-site", "cross-site")],
                &[CSRF, ("sec-fetch-site", "same-site")],
                &[CSRF, ("sec-fetch-site", "none")],
                &[CSRF, ORIGIN, ("sec-fetch-site", "cross-site")],
            ],
        ),
        turned_away(
            "csrf-fetch-site-misspelt",
            "Fetch metadata has a value that no browser sends.",
            &["FM-5/6"],
            "guard.site_mismatch",
            &[
                &[CSRF, ("sec-fetch-site", "Same-Origin")],
                &[CSRF, ("sec-fetch-site", "same-origin, same-origin")],
                &[CSRF, ("sec-fetch-site", "same-origin;x")],
                &[CSRF, ("sec-fetch-site", "")],
            ],
        ),
        turned_away(
            "csrf-fetch-site-twice",
            "Fetch metadata comes twice, agreeing and contradicting itself.",
            &["FM-5/6"],
            "guard.header_ambiguous",
            &[&[CSRF, SAME, SAME], &[CSRF, SAME, ("sec-fetch-site", "cross-site")]],
        ),
        turned_away(
            "csrf-origin-of-somebody-else",
            "Origin is null, another site's, or the app's without TLS or on another port.",
            &["FM-4", "CORS-1"],
            "guard.origin_mismatch",
            &[
                &[CSRF, ("origin", "null")],
                &[CSRF, ("origin", "https://evil.example")],
                &[CSRF, SAME, ("origin", "https://evil.example")],
                &[CSRF, ("origin", "{plain}")],
                &[CSRF, ("origin", "https://app.localhost:1")],
                &[CSRF, ("origin", "")],
            ],
        ),
        turned_away(
            "csrf-origin-nearly-the-apps",
            "Origin begins or ends like the app's, or differs in a letter's case or a slash.",
            &["CORS-1"],
            "guard.origin_mismatch",
            &[
                &[CSRF, ("origin", "{origin}.evil.example")],
                &[CSRF, ("origin", "https://evil.example/{origin}")],
                &[CSRF, ("origin", "{origin}/")],
                &[CSRF, ("origin", "{origin}0")],
                &[CSRF, ("origin", "{origin} https://evil.example")],
                &[CSRF, ("origin", "{origin}@evil.example")],
            ],
        ),
        turned_away(
            "csrf-origin-twice",
            "Requests carry Origin twice.",
            &["FM-4", "PXY-2(?)"],
            "guard.header_ambiguous",
            &[&[CSRF, ORIGIN, ORIGIN], &[CSRF, SAME, ORIGIN, ("origin", "https://evil.example")]],
        ),
        turned_away(
            "csrf-referer-of-somebody-else",
            "Only a Referer says where the request comes from, and it is not the app.",
            &["FM-4"],
            "guard.origin_mismatch",
            &[
                &[CSRF, ("referer", "https://evil.example/")],
                &[CSRF, ("referer", "{origin}.evil.example/")],
                &[CSRF, ("referer", "{origin}@evil.example/")],
                &[CSRF, ("referer", "https://evil.example/?{origin}/")],
            ],
        ),
        turned_away(
            "csrf-without-a-word-of-origin",
            "Requests with the custom header say nothing of where they come from.",
            &["FM-4"],
            "guard.no_proof_of_origin",
            &[&[CSRF], &[CSRF, ("accept", "application/json")]],
        ),
    ]
}
