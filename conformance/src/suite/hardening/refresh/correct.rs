//! Renewal when everybody means well: once, in time, and with nothing lost.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{DUE, LIFE, OVERDUE, module, rotating, short};
use crate::{
    as_double::{AsDouble, Fault, FaultRule, Gate, Outcome, Target, edits},
    demo::browser::Call,
    ledger::Endpoint,
    suite::{
        hardening::acts::at_once,
        module::{Halt, Module, Step},
        stage::{Stage, is_logged_in},
    },
};

async fn fifty(stage: &mut Stage) -> Step {
    for (wait, refreshes) in [(OVERDUE, 1), (LIFE, 2)] {
        stage.another_browser();
        stage.login().await?;
        stage.world.advance(wait)?;
        let answers = at_once(&stage.browser, &Call::get("/lab/accounts"), 50).await?;
        for answer in answers {
            stage.expect("each_succeeds", &answer, 200)?;
        }
        stage.expect_refreshes(refreshes);
        stage.expect_api_asked("/accounts", 50 * refreshes);
        stage.expect_record("session.refresh", "success", "none");
    }
    let refused =
        stage.world.api.events().iter().filter(|e| e.outcome != Outcome::Accepted).count();
    stage.check("no_dead_token", &["BFF-6.1.2.2-1"], refused == 0, "the API took every token");
    Ok(())
}

async fn in_time(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.advance(DUE - 1)?;
    stage.reach_api().await?;
    stage.expect_refreshes(0);
    stage.world.advance(OVERDUE - DUE + 1)?;
    stage.reach_api().await?;
    stage.expect_refreshes(1);
    let session = stage.session().await?;
    let left = session.get("access_token_expires_in");
    let held = left == Some(&json!(LIFE));
    stage.check("new_life", &["BFF-6.1.2.2-1"], held, format!("{left:?} seconds of a new token"));
    Ok(())
}

async fn never_twice(stage: &mut Stage) -> Step {
    stage.login().await?;
    for _ in 0..5 {
        stage.world.advance(LIFE)?;
        for answer in at_once(&stage.browser, &Call::get("/lab/accounts"), 2).await? {
            stage.expect("each_succeeds", &answer, 200)?;
        }
    }
    let sent: Vec<_> = stage.refreshes();
    let all: BTreeSet<_> = sent.iter().filter_map(|event| event.form("refresh_token")).collect();
    let held = sent.len() == 5 && all.len() == 5;
    let message =
        format!("{} refreshes with {} different tokens; 5 expected", sent.len(), all.len());
    stage.check("each_token_once", &["FAPI2-SP-5.3.3.1-6"], held, message);
    let accepted = sent.iter().all(|event| event.outcome == Outcome::Accepted);
    stage.check("none_refused", &["FAPI2-SP-5.3.3.1-6"], accepted, "the server took each");
    Ok(())
}

async fn hang_up(stage: &mut Stage) -> Step {
    stage.login().await?;
    let gate = Gate::new();
    let rule = FaultRule::from(Fault::Gate(gate.clone())).after_handling();
    stage.world.double.behave(|behaviour| behaviour.fault(Endpoint::Token, rule));
    stage.world.advance(LIFE)?;
    let mut tab = stage.browser.clone();
    let call = tokio::spawn(async move { tab.fetch(Call::get("/lab/accounts")).await });
    stage.soon("token_request", gate.reached(1)).await?;
    call.abort();
    let gone = call.await.is_err_and(|error| error.is_cancelled());
    stage.check("hung_up", &[], gone, "the browser hung up in the middle");
    gate.open();
    let ended = stage.until(|stage| {
        stage.audited().is_none_or(|lines| lines.iter().any(|(a, ..)| a == "session.refresh"))
    });
    stage.soon("refresh_ends", ended).await?;
    stage.expect_record("session.refresh", "success", "none");
    stage.reach_api().await?;
    stage.expect_refreshes(1);
    Ok(())
}

async fn loses_to_logout(stage: &mut Stage) -> Step {
    stage.login().await?;
    let (gate, hold) = (Gate::new(), Gate::new());
    stage.world.double.behave(|behaviour| {
        behaviour.fault(Endpoint::Token, Fault::Gate(gate.clone()));
        // The server answers the refresh first and hears of the logout later.
        behaviour.fault(Endpoint::Revocation, Fault::Gate(hold.clone()));
    });
    stage.world.advance(LIFE)?;
    let (mut tab, late) = (stage.browser.clone(), stage.browser.clone());
    let call = tokio::spawn(async move { tab.fetch(Call::get("/lab/accounts")).await });
    stage.soon("token_request", gate.reached(1)).await?;
    let left = stage.fetch(Call::post("/bff/logout")).await?;
    stage.expect("logged_out", &left, 200)?;
    gate.open();
    let answer = stage.soon("held_call", call).await?;
    let answer = answer.map_err(|error| Halt::Trouble(error.to_string()))??;
    stage.expect_refusal("logout_wins", &answer, 401, "session_missing");
    hold.open();
    // Two tokens of the session, two that came too late.
    stage.given_up(4).await?;
    let events = stage.world.double.events();
    let revoked = events.iter().filter(|event| event.endpoint == Endpoint::Revocation);
    let tokens: BTreeSet<_> = revoked.filter_map(|event| event.form("token")).collect();
    let message = format!("{} different tokens were given up; 4 expected", tokens.len());
    stage.check("late_tokens_given_up", &["REV-2.1"], tokens.len() == 4, message);
    stage.expect_api_asked("/accounts", 0);
    stage.expect_record("session.end", "success", "logout");
    stage.browser = late;
    stage.expect_no_session().await
}

async fn without(stage: &mut Stage) -> Step {
    stage.login().await?;
    let answer = stage.fetch(Call::post("/bff/refresh")).await?;
    stage.expect_plain_refusal(&answer, 400, "invalid_request");
    let detail = answer.json()?.get("detailed_error").cloned();
    let held = detail == Some(json!("no_refresh_token"));
    stage.check("says_why", &[], held, format!("detailed_error is {detail:?}"));
    stage.world.advance(LIFE - 1)?;
    stage.reach_api().await?;
    stage.world.advance(1)?;
    let answer = stage.get("/lab/accounts").await?;
    stage.expect_plain_refusal(&answer, 401, "reauthentication_required");
    let shown = stage.session().await?;
    let message = "nobody is shown as logged in who can do nothing";
    stage.check("no_zombie", &["BFF-6.1.2.2-2"], !is_logged_in(&shown), message);
    stage.expect_refreshes(0);
    stage.expect_api_asked("/accounts", 1);
    Ok(())
}

async fn unknown_life(stage: &mut Stage) -> Step {
    stage.login().await?;
    let session = stage.session().await?;
    let left = session.get("access_token_expires_in").cloned().unwrap_or(Value::Null);
    let held = left == Value::Null;
    stage.check("not_guessed", &["OA-5.1"], held, format!("a life of {left} is claimed"));
    stage.reach_api().await?;
    stage.expect_refreshes(0);
    stage.world.double.expire_access_tokens();
    stage.reach_api().await?;
    stage.expect_refreshes(1);
    stage.expect_api_asked("/accounts", 3);
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    let unrefreshable = |double: &AsDouble| {
        short(double);
        double.behave(|behaviour| behaviour.issue_refresh_token = false);
    };
    let silent_about_life = |double: &AsDouble| {
        double.behave(|b| b.edit(Target::TokenResponse, edits::remove("expires_in")));
    };
    vec![
        module(
            "refresh-fifty-calls-at-expiry",
            "Fifty calls come at the moment the token is due, and at the moment it has ended.",
            "make one token request for all of them, and answer each",
            &["BFF-6.1.2.2-PRJ", "FAPI2-SP-5.3.3.1-6"],
            |stage| Box::pin(fifty(stage)),
        )
        .prepared(rotating)
        .reasons(&[]),
        module(
            "refresh-in-the-last-thirty-seconds",
            "A call comes thirty-one seconds before the token ends, another a second later.",
            "renew at the second one and not before",
            &["BFF-6.1.2.2-1"],
            |stage| Box::pin(in_time(stage)),
        )
        .reasons(&[]),
        module(
            "refresh-token-never-sent-twice",
            "The server replaces the refresh token each time and takes a second use for theft.",
            "send each refresh token once, with two tabs open",
            &["FAPI2-SP-5.3.3.1-6", "FAPI2-SP-5.3.2.1-9"],
            |stage| Box::pin(never_twice(stage)),
        )
        .prepared(rotating)
        .reasons(&[]),
        module(
            "refresh-client-hangs-up",
            "The browser hangs up while the server is answering with a successor.",
            "store the successor all the same",
            &["BFF-6.1.2.2-PRJ", "FAPI2-SP-5.3.2.1-9"],
            |stage| Box::pin(hang_up(stage)),
        )
        .prepared(rotating)
        .reasons(&[]),
        module(
            "refresh-loses-to-a-logout",
            "The user leaves between a refresh's question and its answer.",
            "end the session, give up what came too late, and call no API with it",
            &["REV-2.1", "SES-7.4", "BFF-6.1.2.2-PRJ"],
            |stage| Box::pin(loses_to_logout(stage)),
        )
        .prepared(rotating),
        module(
            "refresh-without-a-refresh-token",
            "The server issues no refresh token.",
            "use the access token to its last second, then end the session in one piece",
            &["BFF-6.1.2.2-2"],
            |stage| Box::pin(without(stage)),
        )
        .prepared(unrefreshable),
        module(
            "refresh-token-of-unknown-life",
            "The server does not say how long the token lives.",
            "use it until an API refuses it, then renew it once",
            &["OA-5.1", "BRR-3.1"],
            |stage| Box::pin(unknown_life(stage)),
        )
        .provoking(&["bearer.token_expired"])
        .prepared(silent_about_life)
        .reasons(&[]),
    ]
}
