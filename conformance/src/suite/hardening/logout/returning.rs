//! On to the authorization server and back: what is handed over, once, and what is believed of what
//! comes back.

use serde_json::json;
use url::Url;

use super::{CALLBACK, CONTINUE, TICKET, home, is_ticket_kept, on, parameter};
use crate::{
    as_double::Outcome,
    demo::browser::From as Coming,
    ledger::Endpoint,
    suite::{
        module::{Halt, Module, Step},
        stage::Stage,
        world::CLIENT_ID,
    },
};

/// What a wrong return is recorded as.
const MISMATCH: &str = "logout.state_mismatch";

/// Leaves here and goes on to the server; gives the address it sends the browser back to.
async fn up_to_the_return(stage: &mut Stage) -> Step<Url> {
    stage.login().await?;
    stage.log_out().await?;
    let there = on(stage, Coming::SameOrigin, CONTINUE).await?;
    let back = on(stage, Coming::CrossSite, there.as_str()).await?;
    let here = format!("{}{CALLBACK}", stage.world.origin);
    let held = back.as_str().starts_with(&here);
    stage.check(
        "registered_return",
        &["RPL-2/2.1"],
        held,
        "the server sends it back as registered",
    );
    Ok(back)
}

fn state_of(url: &Url) -> Step<String> {
    parameter(url, "state")?.ok_or_else(|| Halt::Trouble("there is no state".to_owned()))
}

async fn hint(stage: &mut Stage) -> Step {
    stage.login().await?;
    let answer = stage.log_out().await?;
    let url = format!("{}{CONTINUE}", stage.world.origin);
    let held = answer.json()? == json!({ "logout_url": url });
    stage.check("page_is_told_nothing", &["RPL-2/2.1"], held, "the page gets an address of ours");
    let there = on(stage, Coming::SameOrigin, &url).await?;
    let held = there.as_str().starts_with(&stage.world.double.url(Endpoint::EndSession));
    stage.check("endpoint", &["RPL-2/2.1", "HDR-6"], held, "the endpoint is the metadata's");
    let hint = parameter(&there, "id_token_hint")?.unwrap_or_default();
    let known = stage.world.secrets().contains(&hint);
    stage.check("hint", &["RPL-2/2.1"], known, "the hint is the ID token of this session");
    let seen = stage.browser.seen().iter().any(|sight| sight.text.contains(&hint));
    stage.check("not_by_script", &["RPL-2/2.1", "BFF-6.1-tok"], !seen, "no script ever saw it");
    let own = state_of(&there)?;
    stage.check("state", &["RPL-2b"], own.len() >= 43, "the state has 256 bits");
    let registered = format!("{}{CALLBACK}", stage.world.origin);
    for (name, expected) in
        [("client_id", CLIENT_ID), ("post_logout_redirect_uri", registered.as_str())]
    {
        let found = parameter(&there, name)?;
        let message = format!("{name} is {found:?}; {expected} expected");
        stage.check("parameters", &["RPL-2/2.1"], found.as_deref() == Some(expected), message);
    }
    let said = there.query_pairs().count();
    stage.check("nothing_else", &["RPL-2/2.1"], said == 4, format!("{said} parameters are sent"));
    let back = on(stage, Coming::CrossSite, there.as_str()).await?;
    let taken = stage.world.double.last(Endpoint::EndSession);
    let taken = taken.is_some_and(|event| event.outcome == Outcome::Accepted);
    stage.check("accepted", &["RPL-2/2.1"], taken, "the server took the request");
    home(stage, Coming::CrossSite, back.as_str()).await?;
    stage.expect_record("logout.return", "success", "none");
    let left = stage.browser.cookies().len();
    stage.check("jar_empty", &["CK-CLR"], left == 0, format!("{left} cookies are left behind"));
    Ok(())
}

async fn given_once(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.log_out().await?;
    let first = on(stage, Coming::SameOrigin, CONTINUE).await?;
    let second = on(stage, Coming::SameOrigin, CONTINUE).await?;
    let held = parameter(&first, "id_token_hint")?.is_some()
        && parameter(&second, "id_token_hint")?.is_none();
    stage.check("once", &["RPL-2/2.1"], held, "the ticket on its way back holds no ID token");
    let held = state_of(&first)? == state_of(&second)?;
    stage.check("same_way", &["RPL-2b"], held, "it is the same logout still");
    Ok(())
}

async fn wrong_state(stage: &mut Stage) -> Step {
    for wrong in ["absent", "empty", "other", "longer", "twice", "beside"] {
        stage.another_browser();
        let back = up_to_the_return(stage).await?;
        let right = state_of(&back)?;
        let query = match wrong {
            "absent" => String::new(),
            "empty" => "?state=".to_owned(),
            "other" => format!("?state={}", "A".repeat(right.len())),
            "longer" => format!("?state={right}A"),
            "twice" => format!("?state={right}&state={right}"),
            _ => format!("?State={right}"),
        };
        home(stage, Coming::CrossSite, &format!("{CALLBACK}{query}")).await?;
        stage.expect_record("logout.return", "rejected", MISMATCH);
        let message = format!("state {wrong}: the ticket is used up");
        stage.check("used_up", &["RPL-2b"], !is_ticket_kept(stage), message);
        stage.expect_no_session().await?;
        // The right one afterwards is too late, and goes nowhere else.
        home(stage, Coming::CrossSite, back.as_str()).await?;
        stage.expect_record("logout.return", "rejected", MISMATCH);
    }
    Ok(())
}

async fn of_another_browser(stage: &mut Stage) -> Step {
    let foreign = up_to_the_return(stage).await?;
    stage.another_browser();
    up_to_the_return(stage).await?;
    home(stage, Coming::CrossSite, foreign.as_str()).await?;
    stage.expect_record("logout.return", "rejected", MISMATCH);
    stage.another_browser();
    home(stage, Coming::CrossSite, foreign.as_str()).await?;
    stage.expect_record("logout.return", "rejected", MISMATCH);
    // A return out of nowhere ends nobody's session.
    stage.login().await?;
    home(stage, Coming::CrossSite, foreign.as_str()).await?;
    stage.expect_session("the session is as it was").await
}

async fn five_minutes(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.log_out().await?;
    stage.world.advance(299)?;
    let late = stage.browser.clone();
    let there = on(stage, Coming::SameOrigin, CONTINUE).await?;
    let held = there.as_str().starts_with(&stage.world.double.url(Endpoint::EndSession));
    stage.check("at_299_seconds", &["RPL-2b"], held, "the way leads to the server");
    stage.world.advance(1)?;
    let early = std::mem::replace(&mut stage.browser, late);
    home(stage, Coming::SameOrigin, CONTINUE).await?;
    stage.check("ticket_deleted", &["CK-CLR"], !is_ticket_kept(stage), "the ticket is taken away");
    // Nor does a return count any longer.
    stage.browser = early;
    let back = format!("{CALLBACK}?state={}", state_of(&there)?);
    home(stage, Coming::CrossSite, &back).await?;
    stage.expect_record("logout.return", "rejected", MISMATCH);
    Ok(())
}

async fn no_open_redirect(stage: &mut Stage) -> Step {
    stage.login().await?;
    for path in [CONTINUE, CALLBACK] {
        for query in [
            "",
            "?post_logout_redirect_uri=https://evil.example/",
            "?return_to=//evil.example/",
            "?redirect_uri=https://evil.example/&state=x&id_token_hint=x",
            "?state=%0d%0aLocation:%20https://evil.example/",
        ] {
            home(stage, Coming::Typed, &format!("{path}{query}")).await?;
        }
    }
    stage.expect_session("a GET logs nobody out").await?;
    stage.expect_asked(Endpoint::EndSession, 0);
    stage.expect_asked(Endpoint::Revocation, 0);
    Ok(())
}

async fn forged_ticket(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.log_out().await?;
    let cookies = stage.browser.cookies();
    let ticket = cookies.iter().find(|(name, _)| *name == TICKET);
    let ticket = ticket.map(|(_, value)| (*value).to_owned()).unwrap_or_default();
    let half = ticket.get(..ticket.len() / 2).unwrap_or_default().to_owned();
    let before = stage.heard();
    for forged in [
        format!("{TICKET}="),
        format!("{TICKET}={half}"),
        format!("{TICKET}={ticket}A"),
        format!("{TICKET}={ticket}; {TICKET}={ticket}"),
        format!("__Host-Http-web.tx-AAAAAAAAAAAAAAAAAAAAAA={ticket}"),
        format!("__Host-Http-other.logout={ticket}"),
    ] {
        let headers = vec![
            ("sec-fetch-site", "same-origin".to_owned()),
            ("sec-fetch-mode", "navigate".to_owned()),
            ("sec-fetch-dest", "document".to_owned()),
            ("cookie", forged),
        ];
        let raw =
            crate::suite::stage::Raw { method: "GET", path: CONTINUE, headers, ..<_>::default() };
        let answer = stage.send(raw).await?;
        stage.expect("leads_home", &answer, 303)?;
        let end = answer.header("location").to_owned();
        let held = end == format!("{}/", stage.world.origin);
        stage.check("home", &["RPL-2b", "BFF-6.1.3.2-7"], held, format!("it ends at {end}"));
    }
    stage.expect_unheard(before);
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "logout-hint-never-through-script",
            "The user leaves here and at the server, and a script watches.",
            "hand the ID token to the server by navigation only, with own state and return",
            &["RPL-2/2.1", "RPL-2b", "BFF-6.1-tok"],
            |stage| Box::pin(hint(stage)),
        )
        .reasons(&[]),
        Module::new(
            "logout-hint-given-away-once",
            "The way to the server is taken twice.",
            "hand the ID token over the first time only",
            &["RPL-2/2.1"],
            |stage| Box::pin(given_once(stage)),
        )
        .reasons(&[]),
        Module::new(
            "logout-return-with-a-wrong-state",
            "The browser comes back without a state, with another, a longer one, or with two.",
            "end at the app, once, and record it",
            &["RPL-2b"],
            |stage| Box::pin(wrong_state(stage)),
        )
        .reasons(&[MISMATCH]),
        Module::new(
            "logout-return-of-another-browser",
            "One browser's way back is taken by another one.",
            "end at the app, change nothing, and record it",
            &["RPL-2b"],
            |stage| Box::pin(of_another_browser(stage)),
        )
        .reasons(&[MISMATCH]),
        Module::new(
            "logout-ticket-lives-five-minutes",
            "The way to the server is taken after 299 seconds, and after 300.",
            "lead on the first time, and home the second",
            &["RPL-2b", "CK-5.5"],
            |stage| Box::pin(five_minutes(stage)),
        )
        .timed()
        .reasons(&[MISMATCH]),
        Module::new(
            "logout-is-no-open-redirect",
            "The addresses of a logout are typed with wishes for other places.",
            "lead home, and log nobody out",
            &["FAPI2-SP-5.3.3.1-4", "HDR-6", "RPL-PRJ-2"],
            |stage| Box::pin(no_open_redirect(stage)),
        )
        .reasons(&[MISMATCH]),
        Module::new(
            "logout-ticket-forged",
            "The ticket of a logout comes back cut, longer, doubled and under other names.",
            "lead home with nothing in hand",
            &["RPL-2b", "BFF-6.1.3.2-7"],
            |stage| Box::pin(forged_ticket(stage)),
        ),
    ]
}
