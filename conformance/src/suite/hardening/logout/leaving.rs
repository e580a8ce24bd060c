//! Leaving: by the app's own page only, at once, for good, and whatever the server does.

use serde_json::json;

use super::{CONTINUE, is_ticket_kept, on};
use crate::{
    as_double::{Fault, Gate, Target, edits},
    demo::browser::{Call, From as Coming},
    ledger::Endpoint,
    suite::{
        hardening::acts::leaves_cookies_alone,
        module::{Module, Step},
        stage::{SESSION_COOKIE, Stage},
    },
};

async fn foreign(stage: &mut Stage) -> Step {
    stage.login().await?;
    let form = || Call::post("/bff/logout").form("a=b").without_custom_header();
    for call in [
        form().by_origin("https://evil.example"),
        form().by_origin("null"),
        form(),
        Call::post("/bff/logout").by_origin("https://evil.example"),
    ] {
        let answer = stage.fetch(call).await?;
        stage.expect_plain_refusal(&answer, 403, "csrf_rejected");
    }
    // As a navigation it is no POST, and the way on is closed from there.
    for (path, status) in [("/bff/logout", 405), (CONTINUE, 403)] {
        let answer = stage.go(Coming::CrossSite, path).await?;
        stage.expect("closed", &answer, status)?;
        let held = leaves_cookies_alone(&answer);
        stage.check("no_cookie_taken", &["RPL-PRJ-2"], held, "a refusal takes no cookie along");
    }
    let lines = stage.audited().unwrap_or_default();
    let out = lines.iter().any(|(action, ..)| action == "logout");
    stage.check("no_logout_recorded", &["RPL-PRJ-2"], !out, "nobody was logged out");
    stage.expect_asked(Endpoint::Revocation, 0);
    stage.expect_session("the session is as it was").await
}

async fn for_good(stage: &mut Stage) -> Step {
    stage.login().await?;
    let thief = stage.browser.clone();
    let other = stage.another_browser();
    stage.login().await?;
    let bystander = std::mem::replace(&mut stage.browser, other);
    stage.reach_api().await?;
    let event = stage.world.api.last("/accounts");
    let token = event.and_then(|event| event.header("authorization").map(str::to_owned));
    let token = token.unwrap_or_default().replace("Bearer ", "");
    stage.log_out().await?;
    let revoked = stage.world.double.events();
    let revoked: Vec<_> = revoked
        .iter()
        .filter(|event| event.endpoint == Endpoint::Revocation)
        .filter_map(|event| event.form("token"))
        .collect();
    let held = revoked.contains(&token.as_str()) && revoked.len() == 2;
    stage.check("both_tokens", &["REV-2.1"], held, "access and refresh token were given up");
    stage.world.api.clear_events();
    // The API first: an answer about the session would take the dead cookie away.
    for holder in [thief, stage.browser.clone()] {
        stage.browser = holder;
        let answer = stage.get("/lab/accounts").await?;
        stage.expect_refusal("dead_at_the_api", &answer, 401, "session_missing");
        let answer = stage.fetch(Call::post("/bff/refresh")).await?;
        stage.expect_refusal("dead_at_refresh", &answer, 401, "session_missing");
        let answer = stage.get("/bff/userinfo").await?;
        stage.expect_refusal("dead_at_userinfo", &answer, 401, "session_missing");
        stage.expect_no_session().await?;
    }
    stage.expect_api_asked("/accounts", 0);
    stage.expect_record("logout", "success", "none");
    stage.expect_record("session.end", "success", "logout");
    stage.browser = bystander;
    stage.expect_session("the same person's other browser stays").await
}

async fn silent_server(stage: &mut Stage) -> Step {
    stage.login().await?;
    let gate = Gate::new();
    stage.world.double.behave(|behaviour| {
        for endpoint in [Endpoint::Revocation, Endpoint::Metadata, Endpoint::Jwks] {
            behaviour.fault(endpoint, Fault::Gate(gate.clone()));
        }
    });
    let mut browser = stage.browser.clone();
    // Ten seconds at most, and the server would be waited for thirty.
    let leaving = browser.fetch(Call::post("/bff/logout"));
    let answer = stage.soon("does_not_wait", leaving).await??;
    stage.browser = browser;
    stage.expect("logged_out", &answer, 200)?;
    stage.expect_no_session().await?;
    let there = on(stage, Coming::SameOrigin, CONTINUE).await?;
    let held = there.as_str().starts_with(&stage.world.double.url(Endpoint::EndSession));
    stage.check("way_on", &["RPL-PRJ-1"], held, "the way to the server is open all the same");
    let given_up = stage.world.double.accepted(Endpoint::Revocation);
    stage.check("still_silent", &[], given_up == 0, "the server has answered nothing yet");
    gate.open();
    stage.given_up(2).await
}

async fn revocation_refused(stage: &mut Stage) -> Step {
    for (round, fault) in [Fault::status(500), Fault::oauth_error(400, "unsupported_token_type")]
        .into_iter()
        .enumerate()
    {
        stage.another_browser();
        stage.login().await?;
        let tab = stage.browser.clone();
        let before = stage.world.double.count(Endpoint::Revocation);
        stage
            .world
            .double
            .behave(|behaviour| behaviour.fault(Endpoint::Revocation, fault.times(2)));
        let answer = stage.fetch(Call::post("/bff/logout")).await?;
        stage.expect("logged_out", &answer, 200)?;
        stage.browser = tab;
        stage.expect_no_session().await?;
        // An outage is tried again; a refusal is final, and each token is still tried.
        let expected = before + if round == 0 { 4 } else { 2 };
        let tried = stage.world.double.wait_for(Endpoint::Revocation, expected);
        stage.soon("tried", tried).await?;
        stage.world.double.behave(|behaviour| behaviour.heal(Endpoint::Revocation));
    }
    Ok(())
}

async fn revocation_retried(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.double.behave(|behaviour| {
        behaviour.fault(Endpoint::Revocation, Fault::status(503).once());
    });
    let answer = stage.fetch(Call::post("/bff/logout")).await?;
    stage.expect("logged_out", &answer, 200)?;
    stage.given_up(2).await?;
    let events = stage.world.double.events();
    let hints: Vec<_> = events.iter().filter_map(|event| event.form("token_type_hint")).collect();
    let held = hints == ["refresh_token", "refresh_token", "access_token"];
    let message = format!("tokens were given up in the order {hints:?}");
    stage.check("refresh_token_first", &["REV-2.2.1", "REV-2.1"], held, message);
    Ok(())
}

async fn doubled(stage: &mut Stage) -> Step {
    stage.login().await?;
    let cookie = format!("{SESSION_COOKIE}={}", stage.session_cookie()?);
    let tossed = [format!("{cookie}; {SESSION_COOKIE}={}", "A".repeat(48))];
    let answer = stage.call("POST", "/bff/logout", &tossed, "").await?;
    stage.expect("logged_out", &answer, 200)?;
    stage.given_up(2).await?;
    let answer = stage.call("GET", "/lab/accounts", &[cookie], "").await?;
    stage.expect_refusal("ended", &answer, 401, "session_missing");
    stage.expect_api_asked("/accounts", 0);
    Ok(())
}

async fn again(stage: &mut Stage) -> Step {
    let answer = stage.fetch(Call::post("/bff/logout")).await?;
    stage.expect("without_a_session", &answer, 200)?;
    stage.check(
        "done_at_once",
        &["BCL-2.7"],
        answer.json()? == json!({}),
        "there is nothing to do",
    );
    stage.login().await?;
    let kept = stage.browser.clone();
    stage.log_out().await?;
    let before = stage.heard();
    // Again, with the cookie gone and with the cookie kept.
    let gone = std::mem::replace(&mut stage.browser, kept);
    for _ in 0..2 {
        let answer = stage.fetch(Call::post("/bff/logout")).await?;
        stage.expect("again", &answer, 200)?;
        let held = answer.json()? == json!({});
        stage.check("done_at_once", &["BCL-2.7"], held, "there is nothing left to do");
        stage.expect_no_session().await?;
    }
    stage.expect_record("logout", "success", "session.unknown");
    stage.expect_unheard(before);
    // The first one's way to the server stays open, for the browser that left.
    stage.browser = gone;
    stage.fetch(Call::post("/bff/logout")).await?;
    let there = on(stage, Coming::SameOrigin, CONTINUE).await?;
    let held = there.as_str().starts_with(&stage.world.double.url(Endpoint::EndSession));
    stage.check("way_stays_open", &["RPL-2/2.1"], held, "the first logout's way stays open");
    Ok(())
}

async fn nowhere_to_go(stage: &mut Stage) -> Step {
    stage.login().await?;
    let answer = stage.log_out().await?;
    let held = answer.json()? == json!({}) && !is_ticket_kept(stage);
    stage.check("done_here", &["RPL-2/2.1"], held, "there is no server to go on to");
    super::home(stage, Coming::SameOrigin, CONTINUE).await?;
    stage.expect_no_session().await
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "logout-by-another-site",
            "Forms, scripts and links of another site ask for a logout.",
            "log nobody out",
            &["RPL-PRJ-2", "BFF-6.1.3.3-1", "CORS-4"],
            |stage| Box::pin(foreign(stage)),
        )
        .reasons(&["guard.site_mismatch"]),
        Module::new(
            "logout-is-for-good",
            "A thief keeps the cookie of a session that its user ends.",
            "let nobody in by it, give up both tokens, and leave other sessions alone",
            &["RPL-PRJ-1", "SES-7.4", "REV-2.1", "CK-CLR"],
            |stage| Box::pin(for_good(stage)),
        )
        .reasons(&[]),
        Module::new(
            "logout-while-the-server-is-silent",
            "The authorization server answers nothing any more.",
            "end the session at once all the same",
            &["RPL-PRJ-1", "REV-2.2.1"],
            |stage| Box::pin(silent_server(stage)),
        )
        .configured("request_timeout = \"10s\"", "request_timeout = \"30s\""),
        Module::new(
            "logout-revocation-repeated",
            "The revocation endpoint answers 503 once.",
            "log out at once, and give up the tokens a little later, the refresh token first",
            &["REV-2.2.1", "REV-2.1"],
            |stage| Box::pin(revocation_retried(stage)),
        ),
        Module::new(
            "logout-revocation-refused",
            "The revocation endpoint fails, then says that it knows no such tokens.",
            "log out whatever it says",
            &["REV-2.2.1", "RPL-PRJ-1"],
            |stage| Box::pin(revocation_refused(stage)),
        ),
        Module::new(
            "logout-with-doubled-cookies",
            "The session's cookie comes twice with a logout, one of them tossed.",
            "end the real session",
            &["CK-DUP", "SES-7.4"],
            |stage| Box::pin(doubled(stage)),
        )
        .reasons(&[]),
        Module::new(
            "logout-again",
            "A logout is asked for without a session, twice, and with a stale cookie.",
            "say yes each time, and trouble the server once",
            &["BCL-2.7", "RPL-2/2.1"],
            |stage| Box::pin(again(stage)),
        )
        .reasons(&[]),
        Module::new(
            "logout-without-an-end-session-endpoint",
            "The server has nowhere to send a browser that has left.",
            "end the session here and stay here",
            &["RPL-2/2.1", "RPL-PRJ-1"],
            |stage| Box::pin(nowhere_to_go(stage)),
        )
        .prepared(|double| {
            double.behave(|b| b.edit(Target::Metadata, edits::remove("end_session_endpoint")));
        })
        .reasons(&[]),
    ]
}
