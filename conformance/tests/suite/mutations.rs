//! Every mutation of the official suite, seen from the client's side: it is what it says, and nothing
//! else is.

use std::sync::{Arc, Mutex, OnceLock};

use fapi_bff_conformance::{
    as_double::{Endpoint, Event, Target},
    jws::{Object, peek},
    pki::Pki,
    suite::{
        module::Module,
        mutation::Mutation,
        runner::{self, Options},
        world::CLIENT_ID,
    },
};
use serde_json::{Value, json};

/// What the authorization server sent in one login.
#[derive(Clone, Default)]
struct Sent {
    response: Option<(Object, Object, String)>,
    token_response: Object,
    id_token: Option<(Object, Object, String)>,
    metadata: Object,
    issuer: String,
}

fn pki() -> Arc<Pki> {
    static PKI: OnceLock<Arc<Pki>> = OnceLock::new();
    Arc::clone(PKI.get_or_init(|| Arc::new(Pki::generate(CLIENT_ID).unwrap())))
}

fn apart(token: &str) -> Option<(Object, Object, String)> {
    let (header, claims) = peek(token).ok()?;
    Some((header, claims, token.rsplit('.').next()?.to_owned()))
}

fn body(events: &[Event], endpoint: Endpoint) -> Object {
    let last = events.iter().rev().find(|event| event.endpoint == endpoint);
    let body = last.and_then(|event| serde_json::from_str(&event.answer.body).ok());
    body.unwrap_or_default()
}

/// Logs in as far as the client goes.
async fn sent(mutation: Mutation) -> Sent {
    let result = Arc::new(Mutex::new(Sent::default()));
    let told = Arc::clone(&result);
    let module = Module::new("m", "Something.", "do it", &["OA-5.1"], move |stage| {
        let told = Arc::clone(&told);
        Box::pin(async move {
            let mut sent =
                Sent { issuer: stage.world.double.issuer().to_owned(), ..Sent::default() };
            if let Ok(response) = stage.response().await {
                sent.response = apart(&response.token()?);
                stage.deliver(&response).await?;
            }
            let events = stage.world.double.events();
            sent.metadata = body(&events, Endpoint::Metadata);
            sent.token_response = body(&events, Endpoint::Token);
            let id_token = sent.token_response.get("id_token").and_then(Value::as_str);
            sent.id_token = id_token.and_then(apart);
            *told.lock().unwrap() = sent;
            Ok(())
        })
    })
    .prepared(move |double| double.behave(|behaviour| mutation.apply(behaviour)));
    runner::play(pki(), &module, "mutations", &Options::default()).await;
    drop(module);
    Arc::into_inner(result).unwrap().into_inner().unwrap()
}

fn claims(of: Option<(Object, Object, String)>) -> Object {
    of.expect("the token came").1
}

#[tokio::test]
async fn nothing_is_wrong_without_a_mutation() {
    let sent = sent(Mutation::Nothing).await;
    let (header, claims, _) = sent.id_token.unwrap();
    assert_eq!(header["alg"], "ES256");
    assert_eq!(claims["iss"], sent.issuer);
    assert_eq!(claims["aud"], CLIENT_ID);
    assert_eq!(sent.metadata["issuer"], sent.issuer);
    assert_eq!(sent.token_response["token_type"], "Bearer");
}

#[tokio::test]
async fn a_wrong_claim_has_a_one_appended() {
    let sent = sent(Mutation::Wrong(Target::IdToken, "aud")).await;
    assert_eq!(claims(sent.id_token)["aud"], format!("{CLIENT_ID}1"));
    assert_eq!(claims(sent.response)["aud"], CLIENT_ID, "the response is as it should be");
}

#[tokio::test]
async fn an_absent_claim_is_absent() {
    let sent = sent(Mutation::Absent(Target::Jarm, "exp")).await;
    let claims = claims(sent.response);
    assert!(!claims.contains_key("exp") && claims.contains_key("aud"));
}

#[tokio::test]
async fn expired_is_six_minutes_ago_and_last_week_is_last_week() {
    let expired = claims(sent(Mutation::Expired(Target::IdToken)).await.id_token);
    let of = |claims: &Object, name: &str| claims[name].as_i64().unwrap();
    assert_eq!(of(&expired, "iat") - of(&expired, "exp"), 360);
    // By `exp`, made in the same moment: the user may have logged in a second earlier.
    let life = |claims: &Object| of(claims, "exp") - of(claims, "iat");
    let good = claims(sent(Mutation::Nothing).await.id_token);
    let old = claims(sent(Mutation::WeekOld(Target::IdToken)).await.id_token);
    assert_eq!(life(&old) - life(&good), 7 * 24 * 3600);
    assert!(of(&old, "exp") > of(&old, "auth_time"), "not expired");
}

#[tokio::test]
async fn audiences_become_arrays() {
    let one = claims(sent(Mutation::AudienceAsArray(Target::IdToken)).await.id_token);
    assert_eq!(one["aud"], json!([CLIENT_ID]));
    let two = claims(sent(Mutation::SecondAudience(Target::IdToken)).await.id_token);
    assert_eq!(two["aud"], json!([CLIENT_ID, format!("{CLIENT_ID}1")]));
    assert!(!two.contains_key("azp"));
}

#[tokio::test]
async fn signatures_are_spoiled_each_in_its_way() {
    let good = sent(Mutation::Nothing).await.id_token.unwrap();
    let (header, _, signature) =
        sent(Mutation::BadSignature(Target::IdToken)).await.id_token.unwrap();
    assert_eq!((&header["alg"], signature.len()), (&good.0["alg"], good.2.len()));
    let (header, _, signature) = sent(Mutation::AlgNone(Target::Jarm)).await.response.unwrap();
    assert_eq!((header["alg"].as_str(), signature.as_str()), (Some("none"), ""));
    let (header, ..) = sent(Mutation::AlternateAlg(Target::IdToken)).await.id_token.unwrap();
    assert_eq!(
        (header["alg"].as_str(), header["kid"].as_str()),
        (Some("RS256"), Some("rsa-none-alt-arg"))
    );
}

#[tokio::test]
async fn metadata_and_token_responses_change_where_they_are_told_to() {
    let mismatch = sent(Mutation::IssuerInMetadata).await;
    assert_eq!(mismatch.metadata["issuer"], format!("{}INVALID", mismatch.issuer));
    assert!(mismatch.response.is_none(), "the client went no further");
    let without = sent(Mutation::TokenResponseWithout(&["scope", "expires_in"])).await;
    assert!(!without.token_response.contains_key("scope"));
    assert!(!without.token_response.contains_key("expires_in"));
    assert!(without.token_response.contains_key("token_type"));
    let flipped = sent(Mutation::TokenTypeCase).await;
    assert_eq!(flipped.token_response["token_type"], "bEARER");
}
