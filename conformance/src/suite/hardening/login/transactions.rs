//! Login transactions: one answer, one browser, one use, ten minutes.

use serde_json::json;

use super::{end, refused};
use crate::{
    as_double::{Endpoint, Target, edits},
    demo::browser::{Call, From as Coming},
    suite::{
        hardening::acts::{at_once, session_cookie},
        module::{Halt, Module, Step},
        stage::{LoginMode, Response, SESSION_COOKIE, Stage, TRANSACTION_COOKIE},
    },
};

const MISSING: &str = "transaction.missing";
const UNREADABLE: &str = "transaction.unreadable";
const USED: &str = "transaction.already_used";

async fn replayed(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let response = stage.response().await?;
    let as_before = stage.browser.clone();
    let answer = stage.deliver(&response).await?;
    stage.expect("login_ended", &answer, 200)?;
    let again = stage.deliver(&response).await?;
    refused(stage, &again, MISSING);
    stage.expect_session("a replay ends no session").await?;
    stage.browser = as_before;
    let again = stage.deliver(&response).await?;
    refused(stage, &again, USED);
    stage.expect_asked(Endpoint::Token, 1);
    stage.expect_no_session().await
}

async fn in_another_browser(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let response = stage.response().await?;
    let victim = stage.another_browser();
    let answer = stage.deliver(&response).await?;
    refused(stage, &answer, MISSING);
    // A browser with a login of its own under way is no better.
    stage.response().await?;
    let answer = stage.deliver(&response).await?;
    refused(stage, &answer, MISSING);
    stage.expect_no_session().await?;
    stage.expect_asked(Endpoint::Token, 0);
    stage.browser = victim;
    let answer = stage.deliver(&response).await?;
    stage.expect("its_own_browser_can_finish", &answer, 200)?;
    stage.expect_asked(Endpoint::Token, 1);
    stage.expect_session("the first browser has a session").await
}

async fn in_three_tabs(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let first = stage.response().await?;
    let second = stage.response().await?;
    let third = stage.response().await?;
    for (response, left) in [(second, 2), (third, 1), (first, 0)] {
        let answer = stage.deliver(&response).await?;
        stage.expect("tab_ended", &answer, 200)?;
        let found = stage.transactions().len();
        let message = format!("{found} logins left under way; {left} expected");
        stage.check("own_transaction_only", &["CK-SS-2"], found == left, message);
        stage.expect_session("logged in").await?;
    }
    stage.expect_asked(Endpoint::Token, 3);
    stage.given_up(4).await
}

async fn sixth(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let mut responses = Vec::new();
    let mut oldest = None;
    for count in 1..=6 {
        responses.push(stage.response().await?);
        let found = stage.transactions().len();
        let message = format!("{found} logins under way after {count}");
        stage.check("five_at_most", &["CK-6.1"], found == count.min(5), message);
        oldest = oldest.or(stage.transactions().into_iter().next());
        stage.world.advance(1)?;
    }
    let evicted = oldest.is_some_and(|oldest| !stage.transactions().contains(&oldest));
    stage.check("oldest_evicted", &["CK-6.1"], evicted, "the first login made room");
    let mut responses = responses.into_iter();
    if let Some(first) = responses.next() {
        let answer = stage.deliver(&first).await?;
        refused(stage, &answer, MISSING);
    }
    stage.expect_asked(Endpoint::Token, 0);
    for response in responses {
        let answer = stage.deliver(&response).await?;
        stage.expect("the_others_end", &answer, 200)?;
    }
    stage.expect_asked(Endpoint::Token, 5);
    stage.given_up(8).await
}

async fn ten_at_once(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let response = stage.response().await?;
    let call = Call::post("/bff/login/end").form(&response.query);
    let answers = at_once(&stage.browser, &call, 10).await?;
    let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    let message = format!("{} of ten were taken; one expected", good.len());
    stage.check("one_session", &["FAPI2-SP-6.4"], good.len() == 1, message);
    for answer in bad {
        stage.expect_refusal("others_refused", answer, 400, "transaction_missing");
    }
    stage.expect_asked(Endpoint::Token, 1);
    let (used, message) = (stage.recorded(USED), "nine are recorded as used already");
    stage.check("audit", &["FAPI2-SP-6.4"], used.is_none_or(|used| used == 9), message);
    Ok(())
}

async fn ten_minutes(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    // Everything else is kept good for longer.
    let exp = json!(stage.world.now() + 3_000);
    stage.world.double.behave(|behaviour| {
        behaviour.code_lifetime = 3_000;
        behaviour.edit(Target::Jarm, edits::set("exp", exp.clone()));
    });
    let in_time = stage.response().await?;
    let early = stage.another_browser();
    let late = stage.response().await?;
    stage.world.advance(599)?;
    let slow = std::mem::replace(&mut stage.browser, early);
    let answer = stage.deliver(&in_time).await?;
    stage.expect("at_599_seconds", &answer, 200)?;
    stage.browser = slow;
    stage.world.advance(1)?;
    let answer = stage.deliver(&late).await?;
    refused(stage, &answer, "transaction.expired");
    stage.expect_asked(Endpoint::Token, 1);
    stage.expect_no_session().await
}

/// The two logins under way, as names and values.
fn both(stage: &Stage) -> Step<[(String, String); 2]> {
    let found: Result<[_; 2], _> = stage.transactions().try_into();
    found.map_err(|_| Halt::Trouble("there are not two logins under way".to_owned()))
}

async fn end_with(stage: &mut Stage, cookies: String, response: &Response) -> Step<u16> {
    let answer = stage.call("POST", "/bff/login/end", &[cookies], &response.query).await?;
    if answer.status != 200 {
        stage.expect_refusal("login_refused", &answer, 400, "transaction_missing");
    }
    Ok(answer.status)
}

async fn moved(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let response = stage.response().await?;
    stage.response().await?;
    let [(name, value), (other_name, other_value)] = both(stage)?;
    let swapped = format!("{name}={other_value}; {other_name}={value}");
    for (cookies, reason) in [(swapped, UNREADABLE), (format!("{other_name}={value}"), MISSING)] {
        end_with(stage, cookies, &response).await?;
        stage.expect_record("login.end", "rejected", reason);
    }
    stage.expect_asked(Endpoint::Token, 0);
    let status = end_with(stage, format!("{name}={value}"), &response).await?;
    stage.check("its_own_name_opens_it", &[], status == 200, "the right name works");
    Ok(())
}

/// A value with one character changed.
fn flipped(value: &str, place: usize) -> String {
    let flip = |(at, c): (usize, char)| match c {
        'A' if at == place => 'B',
        _ if at == place => 'A',
        c => c,
    };
    value.chars().enumerate().map(flip).collect()
}

async fn mangled(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let response = stage.response().await?;
    let (name, value) = stage.transaction()?;
    let first = |count: usize| value.get(..count).unwrap_or_default();
    let cases = [
        (format!("{name}="), UNREADABLE),
        (format!("{name}={}", first(value.len() - 1)), UNREADABLE),
        (format!("{name}={}", first(value.len() / 2)), UNREADABLE),
        (format!("{name}={}", first(4)), UNREADABLE),
        (format!("{name}={value}A"), UNREADABLE),
        (format!("{name}={value}="), UNREADABLE),
        (format!("{name}={}", flipped(&value, 0)), UNREADABLE),
        (format!("{name}={}", flipped(&value, value.len() / 2)), UNREADABLE),
        (format!("{name}={}", flipped(&value, value.len() - 3)), UNREADABLE),
        (format!("{name}=!!!not*base64!!!"), UNREADABLE),
        (format!("{name}=\"{value}\""), UNREADABLE),
        (format!("{name}={}", "A".repeat(4_000)), UNREADABLE),
        (format!("{name}={}", "%".repeat(4_000)), UNREADABLE),
        (format!("{name}={value}; {name}={value}"), MISSING),
        (format!("{name}={value}; {name}=x"), MISSING),
        (format!("{TRANSACTION_COOKIE}={value}"), MISSING),
        (format!("{}={value}", name.to_lowercase()), MISSING),
        (format!("{SESSION_COOKIE}={value}"), MISSING),
    ];
    for (cookies, reason) in cases {
        end_with(stage, cookies, &response).await?;
        stage.expect_record("login.end", "rejected", reason);
    }
    stage.expect_asked(Endpoint::Token, 0);
    let answer = stage.deliver(&response).await?;
    stage.expect("the_untouched_cookie_works", &answer, 200)
}

async fn the_other_way(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Navigation;
    let by_navigation = stage.response().await?;
    let answer = end(&mut stage.browser, &by_navigation).await?;
    refused(stage, &answer, "transaction.wrong_mode");
    stage.mode = LoginMode::Script;
    let by_script = stage.response().await?;
    let path = format!("/bff/callback?{}", by_script.query);
    let answer = stage.go(Coming::CrossSite, &path).await?;
    // From another site the Strict cookie of this login is not even sent.
    stage.expect_page(&answer, 400);
    stage.expect_record("login.end", "rejected", MISSING);
    let answer = stage.go(Coming::SameOrigin, &path).await?;
    stage.expect_page(&answer, 400);
    stage.expect_record("login.end", "rejected", "transaction.wrong_mode");
    stage.expect_asked(Endpoint::Token, 0);
    stage.expect_no_session().await
}

async fn second_login(stage: &mut Stage) -> Step {
    for (mode, given_up) in [(LoginMode::Script, 2), (LoginMode::Navigation, 4)] {
        stage.mode = mode;
        stage.another_browser();
        stage.login().await?;
        let old = stage.session_cookie()?;
        stage.login().await?;
        let new = session_cookie(&stage.browser);
        let changed = new.is_some_and(|new| new != old);
        stage.check("new_handle", &["SES-7.2.4"], changed, "the session's handle is a new one");
        let dead = [format!("{SESSION_COOKIE}={old}")];
        let answer = stage.call("GET", "/lab/accounts", &dead, "").await?;
        stage.expect_refusal("old_handle_is_dead", &answer, 401, "session_missing");
        stage.given_up(given_up).await?;
        stage.expect_api_asked("/accounts", usize::from(mode == LoginMode::Navigation));
        stage.reach_api().await?;
        stage.expect_record("session.end", "success", "replaced");
    }
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "login-response-replayed",
            "The same response is handed in again, with the cookies of now and those of before.",
            "refuse both: one token request, and the session there is stays",
            &["FAPI2-SP-6.4", "OA-10.12", "BCP-4.2.4"],
            |stage| Box::pin(replayed(stage)),
        )
        .reasons(&[USED]),
        Module::new(
            "login-response-in-another-browser",
            "A response is handed in by browsers that did not ask for it.",
            "make no token request for them, and let the first browser finish",
            &["FAPI2-SP-5.3.3.2-4", "OA-10.12", "BCP-2.1-2"],
            |stage| Box::pin(in_another_browser(stage)),
        )
        .reasons(&[MISSING]),
        Module::new(
            "login-in-three-tabs",
            "Three tabs of one browser log in, and end in another order.",
            "complete each, each with its own transaction",
            &["CK-SS-2", "FAPI2-SP-5.3.3.2-4"],
            |stage| Box::pin(in_three_tabs(stage)),
        )
        .reasons(&[]),
        Module::new(
            "login-sixth-evicts-the-oldest",
            "A browser starts six logins and ends none.",
            "give up the oldest, and no other",
            &["CK-6.1"],
            |stage| Box::pin(sixth(stage)),
        )
        .reasons(&[MISSING])
        .timed(),
        Module::new(
            "login-ten-parallel-ends",
            "One response is handed in ten times at the same instant.",
            "make one token request and one session",
            &["FAPI2-SP-6.4", "BCP-4.2.4"],
            |stage| Box::pin(ten_at_once(stage)),
        )
        .reasons(&[USED]),
        Module::new(
            "login-ten-minutes-to-the-second",
            "One response comes back after 599 seconds, another after 600.",
            "take the first and refuse the second",
            &["CK-SS-2", "OA-10.12"],
            |stage| Box::pin(ten_minutes(stage)),
        )
        .reasons(&["transaction.expired"])
        .timed(),
        Module::new(
            "login-cookie-under-another-name",
            "The cookies of two logins under way are exchanged.",
            "open each only under the name it was sealed for",
            &["BFF-6.1.3.2-7", "CK-DUP"],
            |stage| Box::pin(moved(stage)),
        )
        .reasons(&[UNREADABLE]),
        Module::new(
            "login-cookies-mangled",
            "The cookie of a login comes back cut, changed, quoted, doubled or renamed.",
            "refuse without a token request and without an error of one's own",
            &["BFF-6.1.3.2-7", "CK-DUP", "CK-CHUNK"],
            |stage| Box::pin(mangled(stage)),
        )
        .reasons(&[UNREADABLE]),
        Module::new(
            "login-response-by-the-other-way",
            "A login by script returns by navigation, and one by navigation by script.",
            "refuse both without a token request",
            &["BFF-6.1.2.1-cb/out", "CK-SS-1"],
            |stage| Box::pin(the_other_way(stage)),
        )
        .reasons(&["transaction.wrong_mode"]),
        Module::new(
            "login-second-ends-the-first-session",
            "A browser with a session logs in again, by script and by navigation.",
            "give it a new handle, end the first session and give its tokens up",
            &["SES-7.2.4", "REV-2.1"],
            |stage| Box::pin(second_login(stage)),
        )
        .reasons(&[]),
    ]
}
