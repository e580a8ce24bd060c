//! What the userinfo endpoint can get wrong. The session is not to blame, and nothing of a wrong answer
//! is passed on.

use serde_json::{Value, json};

use super::super::{
    change::{Change, edit, fault},
    refusal::reach_the_api,
};
use crate::{
    as_double::{Endpoint, Fault, Target, edits},
    demo::browser::{Answer, Call},
    suite::{
        module::{Module, Step},
        stage::Stage,
    },
};

const U: Target = Target::Userinfo;

pub(super) fn modules() -> Vec<Module> {
    let mut all = wrong_answers();
    all.push(
        Module::new(
            "userinfo-token-refused-once",
            "The access token is refused once, as after a revocation.",
            "renew the token once, ask once more, by GET and with the token in the header",
            &["BFF-6.1.2.2-1", "OIDC-5.3.1"],
            |stage| Box::pin(refused_once(stage)),
        )
        .reasons(&[]),
    );
    all.push(
        Module::new(
            "userinfo-token-refused-for-ever",
            "Every access token is refused.",
            "renew the token once, ask once more, and then say so; no loop, the session lives",
            &["BFF-6.1.2.2-1"],
            |stage| Box::pin(refused_for_ever(stage)),
        )
        .reasons(&[]),
    );
    all
}

fn wrong_answers() -> Vec<Module> {
    const SUBJECT: &[&str] = &["OIDC-5.3.2"];
    let row = |id, does, clauses, change: Change| {
        let must = "discard the answer whole; the session lives";
        Module::new(id, does, must, clauses, move |stage| {
            let change = change.clone();
            Box::pin(async move { discard(stage, &change).await })
        })
        .reasons(&[])
    };
    let subject = |id, does, sub: Value| row(id, does, SUBJECT, edit(U, edits::set("sub", sub)));
    let broken = |id, does, rule: Fault| row(id, does, SUBJECT, fault(Endpoint::Userinfo, rule));
    vec![
        subject("userinfo-about-somebody-else", "The claims are about bjork.", json!("bjork")),
        subject("userinfo-about-null", "The claims' sub is null.", json!(null)),
        subject("userinfo-about-several", "The claims' sub is an array.", json!(["alice"])),
        row(
            "userinfo-about-nobody",
            "The claims have no sub.",
            SUBJECT,
            edit(U, edits::remove("sub")),
        ),
        broken(
            "userinfo-as-html",
            "The right claims come as text/html.",
            Fault::ContentType("text/html".to_owned()),
        ),
        broken(
            "userinfo-as-jwt",
            "Plain claims come as application/jwt, which was not registered.",
            Fault::ContentType("application/jwt".to_owned()),
        ),
        broken(
            "userinfo-redirects",
            "The endpoint sends the BFF and its token elsewhere.",
            Fault::Redirect { status: 302, location: "https://127.0.0.1:1/".to_owned() },
        ),
        row(
            "userinfo-oversized",
            "Beside the right claims stand two megabytes of something else.",
            SUBJECT,
            edit(U, edits::set("padding", json!("x".repeat(2_000_000)))),
        ),
        broken("userinfo-cut-short", "The claims are cut short.", Fault::Truncate(5)),
    ]
}

async fn ask(stage: &mut Stage) -> Step<Answer> {
    Ok(stage.browser.fetch(Call::get("/bff/userinfo")).await?)
}

async fn discard(stage: &mut Stage, change: &Change) -> Step {
    stage.login().await?;
    stage.world.double.behave(|behaviour| change.apply(behaviour));
    let answer = ask(stage).await?;
    stage.expect_refusal("userinfo_refused", &answer, 502, "authorization_server_error");
    stage.expect_no_detail(&answer, "authorization_server_error", "userinfo.subject");
    let asked = stage.world.double.count(Endpoint::Userinfo);
    stage.check("asked_once", &[], asked == 1, format!("{asked} userinfo requests"));
    stage.world.double.reset_behaviour();
    let answer = ask(stage).await?;
    stage.expect("userinfo", &answer, 200)?;
    let body = answer.json()?;
    let about = body.get("sub").and_then(Value::as_str);
    stage.check("userinfo", &["OIDC-5.3.2"], about == Some("alice"), "the claims are alice's");
    reach_the_api(stage).await
}

fn expect_counts(stage: &Stage, userinfo: usize, refreshes: usize) {
    let events = stage.world.double.events();
    let asked = events.iter().filter(|event| event.endpoint == Endpoint::Userinfo);
    let proper = asked.clone().all(|event| {
        let bearer = event.header("authorization").is_some_and(|v| v.starts_with("Bearer "));
        event.method == "GET" && bearer && event.query.is_empty() && event.form.is_empty()
    });
    stage.check("userinfo_request", &["OIDC-5.3.1"], proper, "GET, the token in the header only");
    let asked = asked.count();
    let renewed =
        events.iter().filter(|event| event.form("grant_type") == Some("refresh_token")).count();
    let message = format!("{asked} userinfo requests and {renewed} refreshes");
    stage.check("no_loop", &[], (asked, renewed) == (userinfo, refreshes), message);
}

async fn refused_once(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.double.behave(|behaviour| {
        behaviour.fault(Endpoint::Userinfo, Fault::invalid_token().once());
    });
    let answer = ask(stage).await?;
    stage.expect("userinfo", &answer, 200)?;
    expect_counts(stage, 2, 1);
    reach_the_api(stage).await
}

async fn refused_for_ever(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.double.behave(|behaviour| {
        behaviour.fault(Endpoint::Userinfo, Fault::invalid_token());
    });
    let answer = ask(stage).await?;
    stage.expect_refusal("userinfo_refused", &answer, 502, "authorization_server_error");
    expect_counts(stage, 2, 1);
    reach_the_api(stage).await
}
