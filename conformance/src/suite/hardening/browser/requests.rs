//! Requests of the wrong kind: bodies that a foreign form could send, wrong methods, preflights, other
//! hosts, paths that are not there.

use super::CALLS;
use crate::{
    demo::browser::From as Coming,
    pki::APP_HOST,
    suite::{
        hardening::acts::{FORM, has_cors, leaves_cookies_alone},
        module::{Module, Step},
        stage::{Raw, Stage},
    },
};

/// Calls that read a form.
const FORMS: [&str; 4] = ["/bff/login/start", "/bff/login/end", "/bff/refresh", "/bff/logout"];

/// A request of the app's own page with the session's cookie and these headers besides.
async fn own(
    stage: &mut Stage,
    method: &str,
    path: &str,
    more: &[(&'static str, &str)],
    body: &str,
) -> Step<crate::demo::browser::Answer> {
    let mut headers = stage.own_headers();
    headers.push(stage.cookie_header());
    for (name, value) in more {
        headers.retain(|(found, _)| found != name);
        headers.push((name, (*value).to_owned()));
    }
    stage.send(Raw { method, path, headers, body: body.to_owned() }).await
}

async fn types(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    for path in FORMS {
        for kind in ["text/plain", "application/json", "multipart/form-data; boundary=x", "x", ""] {
            let kinds = [("content-type", kind)];
            let more = if kind.is_empty() { &[][..] } else { &kinds[..] };
            let answer = own(stage, "POST", path, more, "{\"scope\":\"openid\"}").await?;
            stage.expect_plain_refusal(&answer, 400, "invalid_request");
        }
    }
    stage.expect_unheard(before);
    stage.expect_session("a body of another type logs nobody out").await
}

async fn oversized(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    let body = format!("x={}", "y".repeat(70 * 1024));
    for path in FORMS {
        let answer = own(stage, "POST", path, &[("content-type", FORM)], &body).await?;
        stage.expect_plain_refusal(&answer, 413, "payload_too_large");
    }
    stage.expect_unheard(before);
    stage.expect_session("a large body logs nobody out").await
}

async fn methods(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    let navigations = [
        ("GET", "/bff/login"),
        ("GET", "/bff/callback"),
        ("GET", "/bff/logout/continue"),
        ("GET", "/bff/logout/callback"),
    ];
    for (right, path) in CALLS.into_iter().chain(navigations) {
        if path.starts_with("/lab") {
            continue;
        }
        for wrong in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            if wrong == right {
                continue;
            }
            let answer = own(stage, wrong, path, &[], "").await?;
            let told = answer.status == 405
                && answer.header("allow") == right
                && leaves_cookies_alone(&answer)
                && !has_cors(&answer);
            let message =
                format!("{} -> {}, Allow: {right} expected", answer.request, answer.status);
            stage.check("allow", &["BFF-6.1.3.6-3", "CORS-4"], told, message);
        }
    }
    stage.expect_unheard(before);
    stage.expect_session("the session is as it was").await
}

async fn preflights(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    let own_origin = stage.world.origin.clone();
    let others = ["/", "/bff", "/bff/jwks", "/bff/openapi.json", "/bff/none", "/none"];
    for path in CALLS.map(|(_, path)| path).into_iter().chain(others) {
        for origin in ["https://evil.example", "null", &own_origin] {
            let headers = vec![
                stage.cookie_header(),
                ("origin", origin.to_owned()),
                ("access-control-request-method", "POST".to_owned()),
                ("access-control-request-headers", "x-bff-csrf".to_owned()),
            ];
            let raw = Raw { method: "OPTIONS", path, headers, body: String::new() };
            let answer = stage.send(raw).await?;
            let held = !has_cors(&answer) && leaves_cookies_alone(&answer);
            let message = format!("{} from {origin}: no approval, no cookie", answer.request);
            stage.check("not_approved", &["CORS-1", "BFF-6.1.3.3.2-2"], held, message);
        }
    }
    stage.expect_unheard(before);
    Ok(())
}

async fn hosts(stage: &mut Stage) -> Step {
    stage.login().await?;
    let before = stage.heard();
    let port = stage.world.origin.rsplit(':').next().unwrap_or_default().to_owned();
    for (method, path) in CALLS {
        for host in ["evil.example", APP_HOST, &format!("evil.example:{port}"), "127.0.0.1"] {
            let answer = own(stage, method, path, &[("host", host)], "").await?;
            stage.expect_plain_refusal(&answer, 421, "not_found");
        }
    }
    stage.expect_unheard(before);
    if let Some(metrics) = stage.world.metrics()? {
        let counted = metrics.lines().any(|line| {
            line.starts_with("fapi_bff_guard_rejections_total")
                && line.contains("guard.unknown_host")
        });
        stage.check("counted", &[], counted, "the metrics say that unknown hosts were asked for");
    }
    stage.expect_session("the session is as it was").await
}

/// Paths that are nobody's must say so in JSON, to scripts and to people alike.
async fn nowhere(stage: &mut Stage, paths: &[&str]) -> Step {
    stage.login().await?;
    let before = stage.heard();
    for path in paths {
        let answer = own(stage, "GET", path, &[], "").await?;
        stage.expect_plain_refusal(&answer, 404, "not_found");
        let answer = stage.go(Coming::Typed, path).await?;
        stage.expect_plain_refusal(&answer, 404, "not_found");
    }
    stage.expect_unheard(before);
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "forms-of-another-type",
            "Bodies come as text, JSON, multipart or nothing, as a foreign form or beacon sends them.",
            "refuse every one that is not a form, and do nothing",
            &["BFF-6.1.3.3.1", "CORS-2"],
            |stage| Box::pin(types(stage)),
        )
        .reasons(&[]),
        Module::new(
            "forms-too-large",
            "Forms of seventy kilobytes are sent to every call that reads one.",
            "refuse them, and do nothing",
            &["PXY-7"],
            |stage| Box::pin(oversized(stage)),
        )
        .reasons(&[]),
        Module::new(
            "methods-that-are-not-there",
            "Every call and every navigation is asked for by every other method.",
            "answer 405 with Allow, and do nothing",
            &["CORS-4", "BFF-6.1.3.6-3"],
            |stage| Box::pin(methods(stage)),
        )
        .reasons(&[]),
        Module::new(
            "preflights-are-never-approved",
            "Preflights come from another site, from null, and from the app itself.",
            "approve none, and tell no API",
            &["CORS-1", "CORS-3", "BFF-6.1.3.3.2-2"],
            |stage| Box::pin(preflights(stage)),
        )
        .reasons(&[]),
        Module::new(
            "hosts-of-somebody-else",
            "Requests come under a name that is no app's, as DNS rebinding brings them.",
            "answer 421 and do nothing",
            &["BFF-6.1.3.6-1", "BCP-4.13"],
            |stage| Box::pin(hosts(stage)),
        )
        .reasons(&[]),
        Module::new(
            "paths-that-are-not-there",
            "Paths are asked for that look like the BFF's own, or like no route's.",
            "answer 404 in JSON without guessing",
            &["BFF-6.1.3.6-1", "BFF-6.1.2.1-chk"],
            |stage| {
                Box::pin(nowhere(
                    stage,
                    &[
                        "/bff",
                        "/bff/",
                        "/bff/none",
                        "/bff/session/",
                        "/bff/login/start/x",
                        "/bff/SESSION",
                        "/BFF/session",
                        "/none",
                        "/labx",
                    ],
                ))
            },
        )
        .reasons(&[]),
        Module::new(
            "admin-paths-on-the-public-listener",
            "Metrics, health and administration are asked for where browsers come in.",
            "answer 404: they are not there",
            &["BFF-6.1-tok", "SES-7.4"],
            |stage| {
                Box::pin(nowhere(
                    stage,
                    &[
                        "/metrics",
                        "/healthz",
                        "/readyz",
                        "/admin",
                        "/admin/sessions",
                        "/bff/metrics",
                        "/bff/healthz",
                        "/bff/admin/sessions",
                        "/bff/debug",
                    ],
                ))
            },
        )
        .reasons(&[]),
    ]
}
