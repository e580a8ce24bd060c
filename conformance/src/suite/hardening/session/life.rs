//! How long a session lives: to the second, over a restart, and never longer by being looked at.

use serde_json::{Value, json};

use crate::{
    as_double::{AsDouble, Endpoint},
    demo::browser::Call,
    suite::{
        hardening::acts::session_cookie,
        module::{Module, Step},
        stage::{LoginMode, SESSION_COOKIE, Stage, is_logged_in},
    },
};

/// Tokens outlive what is tested here.
fn long_tokens(double: &AsDouble) {
    double.behave(|behaviour| behaviour.access_token_lifetime = 40_000);
}

/// A call that finds the session over must say so and take the cookie away.
async fn expired(stage: &mut Stage, why: &str) -> Step {
    let answer = stage.get("/lab/accounts").await?;
    stage.expect_refusal("expired", &answer, 401, "session_expired");
    let cookies = answer.cookies();
    let deleted = cookies.iter().any(|cookie| {
        cookie.name == SESSION_COOKIE
            && cookie.max_age() == Some(0)
            && cookie.has("secure")
            && cookie.has("httponly")
            && cookie.attribute("path") == Some("/")
    });
    stage.check("cookie_deleted", &["CK-CLR"], deleted, "the dead cookie is taken away");
    stage.expect_record("session.end", "success", why);
    stage.expect_no_session().await
}

async fn idle(stage: &mut Stage) -> Step {
    stage.login().await?;
    let mut polled = stage.another_browser();
    stage.login().await?;
    stage.world.advance(899)?;
    // Looking is not using; nor is renewing a token that no user asked for.
    let answer = polled.fetch(Call::get("/bff/session")).await?;
    let shown = answer.json()?;
    let left = shown.get("idle_expires_in").and_then(Value::as_i64);
    let held = is_logged_in(&shown) && left == Some(1);
    stage.check("one_second_left", &["SES-7.3"], held, format!("{left:?} seconds are left"));
    polled.fetch(Call::post("/bff/refresh")).await?;
    stage.reach_api().await?;
    stage.world.advance(1)?;
    let used = std::mem::replace(&mut stage.browser, polled);
    expired(stage, "idle_expired").await?;
    // The call that counted has moved the limit.
    stage.browser = used;
    stage.world.advance(898)?;
    stage.expect_session("a call moved the limit").await?;
    stage.world.advance(1)?;
    expired(stage, "idle_expired").await?;
    stage.expect_api_asked("/accounts", 1);
    Ok(())
}

async fn absolute(stage: &mut Stage) -> Step {
    stage.login().await?;
    for _ in 0..5 {
        stage.world.advance(600)?;
        stage.reach_api().await?;
    }
    stage.world.advance(599)?;
    let shown = stage.session().await?;
    let left = shown.get("session_expires_in");
    let held = left == Some(&json!(1));
    stage.check("one_second_left", &["SES-7.3"], held, format!("{left:?} seconds are left"));
    stage.reach_api().await?;
    stage.world.advance(1)?;
    expired(stage, "absolute_expired").await?;
    stage.expect_api_asked("/accounts", 6);
    Ok(())
}

async fn restart(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    stage.login().await?;
    let handle = session_cookie(&stage.browser);
    let user = stage.another_browser();
    let response = stage.response().await?;
    stage.world.restart().await?;
    let as_before = stage.browser.clone();
    let answer = stage.deliver(&response).await?;
    stage.expect("login_under_way_survives", &answer, 200)?;
    stage.browser = user;
    stage.expect_session("the session survives").await?;
    stage.reach_api().await?;
    let same = session_cookie(&stage.browser) == handle;
    stage.check("same_handle", &["CK-RACE"], same, "under the same handle");
    // What is used up stays used up.
    stage.world.restart().await?;
    stage.browser = as_before;
    let answer = stage.deliver(&response).await?;
    stage.expect_refusal("used_stays_used", &answer, 400, "transaction_missing");
    stage.expect_record("login.end", "rejected", "transaction.already_used");
    stage.expect_asked(Endpoint::Token, 2);
    stage.settled(3).await
}

async fn ended_stays_ended(stage: &mut Stage) -> Step {
    stage.login().await?;
    let thief = stage.browser.clone();
    stage.log_out().await?;
    stage.world.restart().await?;
    stage.browser = thief;
    let answer = stage.get("/lab/accounts").await?;
    stage.expect_refusal("ended", &answer, 401, "session_missing");
    stage.expect_api_asked("/accounts", 0);
    stage.expect_no_session().await?;
    stage.settled(2).await
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "session-idle-limit-to-the-second",
            "One browser polls and refreshes for fifteen minutes, another one makes a call.",
            "end the first to the second, and the second fifteen minutes after its call",
            &["SES-7.3", "CK-5.5"],
            |stage| Box::pin(idle(stage)),
        )
        .prepared(long_tokens)
        .timed(),
        Module::new(
            "session-absolute-limit-to-the-second",
            "A session is used all the time until its absolute limit.",
            "end it to the second, however busy",
            &["SES-7.3", "CK-5.5"],
            |stage| Box::pin(absolute(stage)),
        )
        .configured("absolute = \"8h\"", "absolute = \"1h\"")
        .prepared(long_tokens)
        .timed(),
        Module::new(
            "session-survives-a-restart",
            "The BFF is restarted while one browser has a session and another one is logging in.",
            "keep the session, let the login end, and keep used up what was used up",
            &["SES-7.2.1-3", "FAPI2-SP-6.4"],
            |stage| Box::pin(restart(stage)),
        )
        .reasons(&["transaction.already_used"]),
        Module::new(
            "session-ended-stays-ended-over-a-restart",
            "A stolen cookie is used after its session's logout and a restart of the BFF.",
            "know no session",
            &["SES-7.4", "RPL-PRJ-1"],
            |stage| Box::pin(ended_stays_ended(stage)),
        )
        .reasons(&[]),
    ]
}
