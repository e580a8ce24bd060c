//! Renewal because an API does not like the token: one refresh, one retry, nothing done twice.

use serde_json::json;

use super::{LIFE, module};
use crate::{
    as_double::Fault,
    demo::browser::Call,
    ledger::Endpoint,
    suite::{
        module::{Module, Step},
        stage::Stage,
    },
};

async fn once(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.api.fault("/accounts", Fault::invalid_token().once());
    stage.reach_api().await?;
    stage.expect_refreshes(1);
    stage.expect_api_asked("/accounts", 2);
    Ok(())
}

async fn payment(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.api.fault("/payments", Fault::invalid_token().once());
    // More than the 64 KiB that are kept to be sent again.
    let long = json!({"amount": 1, "purpose": "x".repeat(64 << 10)});
    let pay = || Call::post("/lab/payments").json(&long);
    let answer = stage.fetch(pay()).await?;
    stage.expect_plain_refusal(&answer, 503, "upstream_token_renewed");
    let now = answer.header("retry-after") == "0";
    stage.check("retry_after", &["BRR-3.1"], now, "the page may send it again at once");
    stage.expect_refreshes(1);
    stage.expect_api_asked("/payments", 1);
    let answer = stage.fetch(pay()).await?;
    stage.expect("paid_once", &answer, 201)?;
    stage.expect_refreshes(1);
    stage.expect_api_asked("/payments", 2);
    stage.world.api.fault("/payments", Fault::invalid_token().once());
    let short = json!({"amount": 2});
    let answer = stage.fetch(Call::post("/lab/payments").json(&short)).await?;
    stage.expect("paid_again", &answer, 201)?;
    let whole = answer.json().is_ok_and(|paid| paid == short);
    stage.check("sent_again_whole", &["DPOP-9-PRJ"], whole, "the API got all of it");
    stage.expect_refreshes(2);
    stage.expect_api_asked("/payments", 4);
    Ok(())
}

async fn every(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.api.fault("/accounts", Fault::invalid_token());
    let answer = stage.get("/lab/accounts").await?;
    stage.expect_plain_refusal(&answer, 502, "upstream_rejected_token");
    stage.expect_refreshes(1);
    stage.expect_api_asked("/accounts", 2);
    stage.expect_session("the session is not to blame").await?;
    stage.world.api.heal();
    stage.reach_api().await
}

async fn scope(stage: &mut Stage) -> Step {
    stage.login().await?;
    let fault = Fault::Respond {
        status: 403,
        content_type: "application/json".to_owned(),
        body: b"{\"error\":\"insufficient_scope\"}".to_vec(),
        headers: vec![(
            "www-authenticate".to_owned(),
            "Bearer error=\"insufficient_scope\"".to_owned(),
        )],
    };
    stage.world.api.fault("/accounts", fault);
    let answer = stage.get("/lab/accounts").await?;
    stage.expect("forbidden_is_forbidden", &answer, 403)?;
    let silent = !answer.headers.contains_key("www-authenticate");
    stage.check("challenge_kept_back", &["PXY-3"], silent, "the challenge is not for the page");
    stage.expect_refreshes(0);
    stage.expect_api_asked("/accounts", 1);
    Ok(())
}

async fn userinfo(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.double.behave(|b| b.fault(Endpoint::Userinfo, Fault::invalid_token().once()));
    let answer = stage.get("/bff/userinfo").await?;
    stage.expect("userinfo", &answer, 200)?;
    stage.expect_refreshes(1);
    stage.expect_asked(Endpoint::Userinfo, 2);
    stage.world.advance(LIFE)?;
    let answer = stage.get("/bff/userinfo").await?;
    stage.expect("userinfo", &answer, 200)?;
    stage.expect_refreshes(2);
    stage.expect_asked(Endpoint::Userinfo, 3);
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        module(
            "api-refuses-the-token-once",
            "The API calls the token invalid once.",
            "renew it once and repeat the call once",
            &["BRR-3.1"],
            |stage| Box::pin(once(stage)),
        ),
        module(
            "api-refuses-the-token-of-a-payment",
            "The API calls the token of a POST invalid.",
            "renew the token; send a short payment again, leave a long one to the page",
            &["BRR-3.1", "DPOP-9-PRJ", "PXY-7"],
            |stage| Box::pin(payment(stage)),
        ),
        module(
            "api-refuses-every-token",
            "The API calls every token invalid.",
            "try twice, then say so; end no session",
            &["BRR-3.1", "MTLS-6.3(?)"],
            |stage| Box::pin(every(stage)),
        ),
        module(
            "api-wants-another-scope",
            "The API answers 403 insufficient_scope.",
            "hand the refusal to the page without a refresh or a retry",
            &["BRR-3.1", "PXY-3"],
            |stage| Box::pin(scope(stage)),
        )
        .reasons(&[]),
        module(
            "userinfo-refuses-the-token-once",
            "Userinfo calls the token invalid once; later the token has ended.",
            "renew it each time and ask once more",
            &["BRR-3.1", "OIDC-5.3.1"],
            |stage| Box::pin(userinfo(stage)),
        ),
    ]
}
