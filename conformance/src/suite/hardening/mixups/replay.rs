//! The same response again, at once, elsewhere, or the other way.

use futures_util::future::join_all;

use super::{super::refusal::succeed, expect_redeemed};
use crate::{
    as_double::{Endpoint, Fault},
    demo::browser::{Answer, Call, From as Coming},
    suite::{
        module::{Module, Step},
        stage::{LoginMode, Response, SESSION_COOKIE, Stage, is_logged_in},
    },
};

/// Browsers or tabs that do it at once.
const TABS: usize = 10;

pub(super) fn modules() -> Vec<Module> {
    const ONCE: &[&str] = &["FAPI2-SP-6.4", "BCP-4.2.4", "OA-10.12"];
    const ELSEWHERE: &[&str] = &["FAPI2-AM-5.4", "FAPI2-SP-5.3.3.2-4", "FAPI1-BASE-5.2.3-6"];
    vec![
        Module::new(
            "replay-response-twice",
            "The same response comes again, from the same browser and from a copy of it before.",
            "redeem the code once; the session that there is lives on",
            ONCE,
            |stage| Box::pin(twice(stage)),
        )
        .reasons(&["transaction.missing", "transaction.already_used"]),
        Module::new(
            "replay-response-ten-times-at-once",
            "The same response comes ten times at the same instant.",
            "redeem the code once; make one session",
            ONCE,
            |stage| Box::pin(at_once(stage)),
        )
        .reasons(&["transaction.already_used"]),
        Module::new(
            "replay-callback-by-the-back-button",
            "The user goes back to the callback after a login by navigation.",
            "show a page; redeem nothing; the session lives on",
            ONCE,
            |stage| Box::pin(back_button(stage)),
        )
        .reasons(&["transaction.missing"]),
        Module::new(
            "replay-response-in-another-browser",
            "A response to the attacker's own login is delivered in a victim's browser.",
            "stop there; the response stays good where it belongs",
            ELSEWHERE,
            |stage| Box::pin(another_browser(stage)),
        )
        .reasons(&["transaction.missing"]),
        Module::new(
            "replay-responses-swapped",
            "Two browsers that log in at the same time get each other's response.",
            "stop in both; each is good in its own browser",
            ELSEWHERE,
            |stage| Box::pin(swapped(stage)),
        )
        .reasons(&["transaction.missing"]),
        Module::new(
            "replay-response-the-other-way",
            "A response to a login by script comes as a navigation.",
            "stop: it was not asked for that way",
            &["FAPI1-BASE-5.2.3-4", "OA-4.1.3"],
            |stage| Box::pin(other_way(stage)),
        )
        .reasons(&["transaction.wrong_mode"]),
        Module::new(
            "replay-after-the-servers-no",
            "A response whose code was refused comes again.",
            "ask the server once; then a new login works",
            &["OA-5.2", "FAPI2-SP-6.4"],
            |stage| Box::pin(after_no(stage)),
        )
        .reasons(&["as.rejected"]),
        Module::new(
            "replay-after-an-outage",
            "The token endpoint breaks off after it has issued tokens; the response comes again.",
            "send the code once: it may be spent; then a new login works",
            &["FAPI2-SP-6.4", "PKJ-9-jti"],
            |stage| Box::pin(after_outage(stage)),
        )
        .reasons(&["as.broken"]),
    ]
}

fn expect_stray(stage: &Stage, answer: &Answer) {
    stage.expect_refusal("replay_refused", answer, 400, "transaction_missing");
}

async fn expect_session(stage: &mut Stage) -> Step {
    let session = stage.session().await?;
    stage.check("session_lives", &[], is_logged_in(&session), "the session lives on");
    Ok(())
}

async fn twice(stage: &mut Stage) -> Step {
    let response = stage.response().await?;
    let before = stage.browser.clone();
    let answer = stage.deliver(&response).await?;
    let status = if stage.mode == LoginMode::Script { 200 } else { 303 };
    stage.expect("login_ended", &answer, status)?;
    let answer = stage.deliver(&response).await?;
    expect_stray(stage, &answer);
    stage.expect_audit("login.end", "transaction.missing");
    expect_session(stage).await?;
    let own = std::mem::replace(&mut stage.browser, before);
    let answer = stage.deliver(&response).await?;
    expect_stray(stage, &answer);
    stage.expect_audit("login.end", "transaction.already_used");
    stage.expect_no_session().await?;
    stage.browser = own;
    expect_session(stage).await?;
    expect_redeemed(stage, 1);
    Ok(())
}

async fn at_once(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let response = stage.response().await?;
    let mut tabs = vec![stage.browser.clone(); TABS];
    let calls =
        tabs.iter_mut().map(|tab| tab.fetch(Call::post("/bff/login/end").form(&response.query)));
    let answers: Vec<_> = join_all(calls).await.into_iter().collect::<Result<_, _>>()?;
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    stage.check("one_session", &["FAPI2-SP-6.4"], good == 1, format!("{good} logins worked"));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        expect_stray(stage, answer);
    }
    let holders = tabs
        .iter()
        .filter(|tab| tab.cookies().iter().any(|(name, _)| *name == SESSION_COOKIE))
        .count();
    stage.check("one_cookie", &[], holders == 1, format!("{holders} session cookies"));
    expect_redeemed(stage, 1);
    Ok(())
}

async fn back_button(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Navigation;
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    stage.expect("login_ended", &answer, 303)?;
    let left = answer.location()?;
    let clean = left.query().is_none() && left.fragment().is_none();
    stage.check("address_clean", &["BFF-6.1.2.1-cb/out"], clean, "the response left the address");
    let answer = stage.deliver(&response).await?;
    expect_stray(stage, &answer);
    let page = answer.header("content-type").starts_with("text/html");
    stage.check("page", &[], page, "a person gets a page");
    expect_redeemed(stage, 1);
    expect_session(stage).await
}

async fn another_browser(stage: &mut Stage) -> Step {
    let response = stage.response().await?;
    let attacker = stage.browser.clone();
    // A victim with nothing, and one in the middle of a login.
    for busy in [false, true] {
        stage.browser = stage.world.browser();
        if busy {
            stage.response().await?;
        }
        let answer = stage.deliver(&response).await?;
        expect_stray(stage, &answer);
        stage.expect_no_session().await?;
    }
    expect_redeemed(stage, 0);
    stage.browser = attacker;
    let answer = stage.deliver(&response).await?;
    let status = if stage.mode == LoginMode::Script { 200 } else { 303 };
    stage.expect("login_ended", &answer, status)?;
    expect_redeemed(stage, 1);
    Ok(())
}

async fn swapped(stage: &mut Stage) -> Step {
    let first = stage.response().await?;
    let one = std::mem::replace(&mut stage.browser, stage.world.browser());
    let second = stage.response().await?;
    let other = stage.browser.clone();
    for (browser, response) in [(&one, &second), (&other, &first)] {
        stage.browser = browser.clone();
        let answer = stage.deliver(response).await?;
        expect_stray(stage, &answer);
        stage.expect_no_session().await?;
    }
    expect_redeemed(stage, 0);
    for (browser, response) in [(one, &first), (other, &second)] {
        stage.browser = browser;
        stage.deliver(response).await?;
        expect_session(stage).await?;
    }
    expect_redeemed(stage, 2);
    Ok(())
}

async fn other_way(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let response = stage.response().await?;
    let callback = format!("/bff/callback?{}", response.query);
    // Nothing of it crosses sites: the browser brings its cookie along.
    stage.mode = LoginMode::Navigation;
    let answer = stage.browser.navigate(Coming::SameOrigin, &callback).await?;
    expect_stray(stage, &answer);
    expect_redeemed(stage, 0);
    stage.expect_no_session().await
}

async fn after_no(stage: &mut Stage) -> Step {
    let rule = Fault::oauth_error(400, "invalid_grant").once();
    stage.world.double.behave(|behaviour| behaviour.fault(Endpoint::Token, rule));
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    stage.expect_refusal("login_refused", &answer, 400, "login_rejected");
    again_for_nothing(stage, &response).await
}

async fn after_outage(stage: &mut Stage) -> Step {
    let rule = Fault::Drop.once().after_handling();
    stage.world.double.behave(|behaviour| behaviour.fault(Endpoint::Token, rule));
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    stage.expect_refusal("login_refused", &answer, 503, "authorization_server_unavailable");
    again_for_nothing(stage, &response).await
}

async fn again_for_nothing(stage: &mut Stage, response: &Response) -> Step {
    let answer = stage.deliver(response).await?;
    expect_stray(stage, &answer);
    expect_redeemed(stage, 1);
    stage.expect_no_session().await?;
    succeed(stage).await
}
