//! What a token is for: details that were asked for, one API each, exchanged tokens, the authorization
//! server's word on one. More than was asked for, or something else, is used for nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    change::{change, edit, header, tamper},
    refusal::{Refusal, Wrong, expect_given_up, token_given_up},
};
use crate::{
    as_double::{Endpoint, Fault, FaultRule, Tamper, Target, edits},
    demo::browser::Call,
    jws::Object,
    suite::{
        client::Client,
        module::{Module, Step},
        stage::Stage,
        world::CLIENT_ID,
    },
};

const API: &str = "path = \"/api\"";
const LAB: &str = "path = \"/lab\"";
const LOGIN: &str = "[apps.web.login]\n";
/// Another of the app's APIs, which nobody calls here.
const ELSEWHERE: &str = "https://elsewhere.example";
/// A page may have a payment authorized, by the words of the API that holds it.
const PAYMENT: &str = "[apps.web.authorization.pay]\ndetails_from = \"{lab}/intents/{intent}\"\n\
    types = [\"payment\"]\ntrust_roots = [\"ca.pem\"]\nnetworks = [\"loopback\"]\n\
    present_client_certificate = true\ntoken = \"client_credentials\"\nscopes = [\"payments\"]\n\n";

/// A second route to the same API, with this; and this for the first.
fn routed(module: Module, first: &str, second: &str) -> Module {
    let common = "upstream = \"{lab}\"\ntrust_roots = [\"ca.pem\"]\nnetworks = [\"loopback\"]\n";
    let routes =
        format!("{LAB}\n{first}\n{common}\n[[apps.web.routes]]\npath = \"/other\"\n{second}");
    module.configured(LAB, &routes)
}

fn answers(status: u16, body: &Value) -> FaultRule {
    FaultRule::from(Fault::Respond {
        status,
        content_type: "application/json".to_owned(),
        body: body.to_string().into_bytes(),
        headers: Vec::new(),
    })
}

/// The other route must refuse for the server's fault, and the API hear nothing of it.
async fn expect_unsent(stage: &mut Stage, path: &str) -> Step {
    let before = stage.world.api.events().len();
    let answer = stage.get(&format!("/other{path}")).await?;
    stage.expect_refusal("refused", &answer, 502, "authorization_server_error");
    let heard = stage.world.api.events().len() - before;
    stage.check("api_unheard", &[], heard == 0, format!("{heard} requests reached the API"));
    stage.expect_session("the session is not to blame").await?;
    // The failure answers for what comes within the next second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    Ok(())
}

async fn word_as_json(stage: &mut Stage) -> Step {
    stage.login().await?;
    let plain = answers(200, &json!({"active": true, "sub": "alice"}));
    stage.world.double.behave(|behaviour| behaviour.fault(Endpoint::Introspection, plain));
    expect_unsent(stage, "/echo-headers").await?;
    stage.world.double.reset_behaviour();
    let answer = stage.get("/other/echo-headers").await?;
    stage.expect("signed_word", &answer, 200)?;
    let asked = stage.world.double.last(Endpoint::Introspection);
    let accept = asked.and_then(|event| event.header("accept").map(str::to_owned));
    let accept = accept.unwrap_or_default();
    let held = accept == "application/token-introspection+jwt";
    stage.check("signed_word_asked_for", &["INT-9701-4"], held, format!("Accept: {accept}"));
    Ok(())
}

async fn word_for_another(stage: &mut Stage) -> Step {
    const W: Target = Target::Introspection;
    stage.login().await?;
    let cases = [
        edit(W, edits::wrong("aud")),
        edit(W, edits::wrong("iss")),
        edit(W, edits::remove("token_introspection")),
        edit(W, edits::set("token_introspection", json!({"active": "true"}))),
        header(W, &json!({"typ": "JWT"})),
        tamper(W, Tamper::Flip),
        tamper(W, Tamper::AlgNone),
    ];
    for case in cases {
        stage.world.double.behave(|behaviour| case.apply(behaviour));
        expect_unsent(stage, "/echo-headers").await?;
        stage.world.double.reset_behaviour();
    }
    let answer = stage.get("/other/echo-headers").await?;
    stage.expect("signed_word", &answer, 200)
}

async fn not_a_token(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.double.behave(|behaviour| behaviour.token_type = Some("N_A".to_owned()));
    expect_unsent(stage, "/accounts").await?;
    stage.world.double.reset_behaviour();
    let answer = stage.get("/other/accounts").await?;
    stage.expect("exchanged", &answer, 200)
}

/// The access token says for whom it is: for one API, or for two.
async fn two_audiences(stage: &mut Stage) -> Step {
    let here = stage.world.double.accounts_url();
    let here = here.trim_end_matches("/accounts");
    let thumbprint = stage.world.pki.client_tls.thumbprint();
    let thumbprint = thumbprint.map_err(|fault| fault.to_string())?;
    let token = |stage: &Stage, audience: Value| -> Step<String> {
        let now = stage.world.now();
        let claims = json!({
            "iss": stage.world.double.issuer(), "sub": "alice", "aud": audience, "iat": now,
            "exp": now + 300, "client_id": CLIENT_ID, "cnf": {"x5t#S256": thumbprint},
        });
        let claims: Object = claims.as_object().cloned().unwrap_or_default();
        Ok(stage.world.double.sign_as_server(Some("at+jwt"), &claims, None)?)
    };
    for (place, audience) in [json!([here, ELSEWHERE]), json!(ELSEWHERE)].into_iter().enumerate() {
        stage.browser = stage.world.browser();
        let response = stage.response().await?;
        let token = token(stage, audience)?;
        stage.world.double.behave(|behaviour| {
            behaviour.edit_once(Target::TokenResponse, edits::set("access_token", json!(token)));
            behaviour.edit_once(Target::IdToken, edits::remove("at_hash"));
        });
        let answer = stage.deliver(&response).await?;
        stage.check("login_refused", &["RES-2.1/2.2"], answer.status == 502, answer.status);
        stage.expect_audit("login.end", "resource.audience_too_broad");
        expect_given_up(stage, 2 * (place + 1)).await?;
        stage.expect_no_session().await?;
    }
    Ok(())
}

async fn details_by_a_page(stage: &mut Stage) -> Step {
    stage.settled(1).await?;
    let types = json!([{"type": "accounts"}]);
    stage.world.api.fault("/intents/other", answers(200, &types));
    let own = "authorization_details=%5B%7B%22type%22%3A%22payment%22%7D%5D";
    for (wish, status, reason) in [
        (own, 400, "parameter.not_allowed"),
        ("authorization=gift&intent=7", 400, "parameter.authorization_unknown"),
        ("authorization=pay", 400, "parameter.intent_missing"),
        ("authorization=pay&intent=7%2F..%2F8", 400, "parameter.intent_malformed"),
        ("authorization=pay&intent=other", 502, "intent.type_not_allowed"),
    ] {
        let answer = stage.fetch(Call::post("/bff/login/start").form(wish)).await?;
        let message = format!("{reason}: {}", answer.status);
        stage.check("login_not_started", &["RAR-5", "RAR-12"], answer.status == status, message);
        stage.expect_audit("login.start", reason);
    }
    stage.expect_asked(Endpoint::Par, 0);
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    let broader = json!({"type": "account_information", "actions": ["initiate"]});
    let word = |module| routed(module, "", "token = \"introspection_jwt\"");
    vec![
        word(Module::new(
            "introspection-json-instead-of-jwt",
            "The introspection endpoint answers with plain JSON.",
            "refuse the answer",
            &["FAPI2-MS-5.5.2", "INT-9701-4"],
            |stage| Box::pin(word_as_json(stage)),
        )),
        word(Module::new(
            "introspection-answer-for-somebody-else",
            "The introspection answer is signed for another audience, by another key, or as another kind.",
            "refuse the answer",
            &["INT-9701-5", "INT-2"],
            |stage| Box::pin(word_for_another(stage)),
        )),
        token_given_up(
            &Wrong(
                "rar-broader-grant",
                "The server grants more than the authorization details that were asked for.",
                &["RAR-7"],
            ),
            Refusal::wrong("token.details_beyond_request"),
            change(move |behaviour| behaviour.further_details = vec![broader.clone()]),
        )
        .with_client(Client { details: true, ..Client::default() }),
        Module::new(
            "rar-details-by-a-page",
            "A page gives authorization details of its own, or names an intent of another type.",
            "refuse them before a pushed request",
            &["RAR-2", "RAR-5", "RAR-12"],
            |stage| Box::pin(details_by_a_page(stage)),
        )
        .configured(LOGIN, &format!("{PAYMENT}{LOGIN}")),
        routed(
            Module::new(
                "token-exchange-not-a-bearer-token",
                "The server exchanges a token for one of type N_A.",
                "not send it as a bearer token",
                &["TX-2.2"],
                |stage| Box::pin(not_a_token(stage)),
            ),
            "",
            "token = \"exchange\"\nexchange = { scopes = [\"accounts\"] }",
        ),
        routed(
            Module::new(
                "token-for-two-audiences",
                "The server gives one token for two APIs, and one for the wrong one.",
                "not send it to one of them for the other",
                &["RES-2.1/2.2", "BCP-2.2-2.3"],
                |stage| Box::pin(two_audiences(stage)),
            ),
            "resource = \"{lab}\"",
            &format!("resource = \"{ELSEWHERE}\""),
        )
        .configured(API, &format!("{API}\nresource = \"{{accounts}}\"")),
    ]
}
