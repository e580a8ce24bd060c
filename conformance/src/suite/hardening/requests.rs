//! What the client itself sends, beyond what the authorization server checks in each single request:
//! that nothing secret is ever used twice, and how it says who it is.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    as_double::{ClientAuth, Conduct},
    demo::browser::Call,
    ledger::Endpoint,
    suite::{
        client::Client,
        module::{Module, Step},
        stage::Stage,
    },
};

/// How many logins are begun.
const LOGINS: usize = 5;
/// Characters of base64url that hold 128 bits (FAPI2-SP-5.4.1-4).
const ENOUGH: usize = 22;
/// What must be new in every login: the note of the event, the claim in it, the condition's name.
const SECRETS: [(&str, &str, &str); 5] = [
    ("request_object_claims", "state", "new_state"),
    ("request_object_claims", "nonce", "new_nonce"),
    ("request_object_claims", "code_challenge", "new_code_challenge"),
    ("request_object_claims", "jti", "new_request_object_jti"),
    ("assertion_claims", "jti", "new_assertion_jti"),
];

/// Nothing that must not be guessed is ever used twice, nor for two purposes.
async fn never_repeat(stage: &mut Stage) -> Step {
    for _ in 0..LOGINS {
        stage.start_login().await?;
    }
    let mut all = BTreeSet::new();
    let mut expected = 0;
    for (note, claim, check) in SECRETS {
        let values = pushed(stage, note, claim);
        let different: BTreeSet<_> = values.iter().collect();
        let fine = different.len() == LOGINS && values.len() == LOGINS;
        let message = format!("{} of {LOGINS} logins have a {claim} of their own", different.len());
        stage.check(check, &[], fine, message);
        let long = values.iter().all(|value| value.len() >= ENOUGH);
        let message = format!("every {claim} of {note} has at least {ENOUGH} characters");
        stage.check("enough_entropy", &["FAPI2-SP-5.4.1-4"], long, message);
        expected += different.len();
        all.extend(values);
    }
    let message = format!("{} different values, {expected} expected", all.len());
    stage.check("one_purpose_each", &["FAPI2-SP-5.4.1-4"], all.len() == expected, message);
    Ok(())
}

/// One claim of everything that was pushed.
fn pushed(stage: &Stage, note: &str, claim: &str) -> Vec<String> {
    let events = stage.world.double.events();
    let pushed = events.iter().filter(|event| event.endpoint == Endpoint::Par);
    let claims = pushed.filter_map(|event| event.notes.get(note)?.get(claim));
    claims.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A whole life by certificate: the server refuses a request that lacks `client_id`, or that brings
/// anything else to authenticate with.
async fn by_certificate(stage: &mut Stage) -> Step {
    stage.login().await?;
    let answer = stage.fetch(Call::post("/bff/refresh")).await?;
    stage.expect("refreshed", &answer, 200)?;
    stage.log_out().await?;
    let doors = [Endpoint::Par, Endpoint::Token, Endpoint::Revocation];
    let events = stage.world.double.events();
    let calls: Vec<_> = events.iter().filter(|event| doors.contains(&event.endpoint)).collect();
    let others = ["client_assertion", "client_assertion_type", "client_secret"];
    let alone = calls.iter().all(|event| {
        event.header("authorization").is_none() && others.iter().all(|n| event.form(n).is_none())
    });
    let message = format!("{} requests, by certificate and by nothing else", calls.len());
    stage.check("one_method", &["PKJ-2.2"], alone && calls.len() >= 5, message);
    let named = calls.iter().all(|event| event.form("client_id").is_some());
    stage.check("client_id", &["MTLS-2"], named, "each of them names the client");
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    let by_tls = Conduct { client_auth: ClientAuth::TlsClientAuth, ..Conduct::message_signing() };
    vec![
        Module::new(
            "certificate-client-names-itself",
            "The server knows the client by its certificate.",
            "name itself in every request, and authenticate in no other way",
            &["MTLS-2", "PKJ-2.2"],
            |stage| Box::pin(by_certificate(stage)),
        )
        .reasons(&[])
        .with_client(Client::of(by_tls)),
        Module::new(
            "login-secrets-never-repeat",
            "One browser after the other begins a login, and the server compares.",
            "use a new state, nonce, code verifier and token id each time",
            &["OA-10.12", "FAPI2-SP-5.4.1-4", "PKCE-4.1", "PKJ-9-jti", "OIDC-3.1.3.7-11"],
            |stage| Box::pin(never_repeat(stage)),
        )
        .reasons(&[]),
    ]
}
