//! Told to misbehave, the double does so, as often as told and no longer.

use std::time::Duration;

use fapi_bff_conformance::{
    as_double::{Endpoint, Fault, Gate, Outcome, Tamper, Target, edits},
    jws::{self, Alg, JwsFault, Object, random_token},
};
use serde_json::json;
use tokio::time::timeout;

use crate::client::{CLIENT, World, send};

#[tokio::test]
async fn claims_are_edited_once_or_for_ever() {
    let world = World::start().await;
    world.double.behave(|b| {
        b.edit_once(Target::IdToken, edits::wrong("iss"));
        b.edit(Target::IdToken, edits::remove("nonce"));
        b.edit_once(Target::TokenResponse, edits::remove("expires_in"));
        b.token_type = Some("bEARER".to_owned());
    });
    let first = world.login().await;
    let second = world.login().await;
    let claims =
        |tokens: &serde_json::Value| jws::peek(tokens["id_token"].as_str().unwrap()).unwrap().1;
    assert_eq!(claims(&first)["iss"], format!("{}1", world.double.issuer()));
    assert_eq!(claims(&second)["iss"], world.double.issuer());
    assert!(!claims(&first).contains_key("nonce") && !claims(&second).contains_key("nonce"));
    assert!(first.get("expires_in").is_none() && second.get("expires_in").is_some());
    assert_eq!(second["token_type"], "bEARER");
    world.double.reset_behaviour();
    assert!(claims(&world.login().await).contains_key("nonce"));
}

#[tokio::test]
async fn signatures_are_spoiled_in_every_way() {
    let world = World::start().await;
    let mut nameless = Object::new();
    nameless.insert("kid".into(), json!(null));
    let rewrite = Tamper::Rewrite(std::sync::Arc::new(|token| format!("{token}.x.y")));
    let cases = [
        (Tamper::Flip, JwsFault::SignatureInvalid),
        (Tamper::WrongKey, JwsFault::SignatureInvalid),
        (Tamper::AlgNone, JwsFault::AlgNotAllowed),
        (Tamper::AlternateAlg, JwsFault::AlgNotAllowed),
        (Tamper::Header(nameless), JwsFault::KidMissing),
        (rewrite, JwsFault::Malformed),
    ];
    let jwks = world.jwks().await;
    for (tamper, fault) in cases {
        world.double.behave(|b| b.tamper_once(Target::IdToken, tamper.clone()));
        let token = world.login().await["id_token"].as_str().unwrap().to_owned();
        let verdict = jws::verify(&token, &jwks, &[Alg::Es256]);
        assert_eq!(verdict.unwrap_err(), fault, "{tamper:?}");
        // The trap is a real one: its key is published and its signature is true.
        if matches!(tamper, Tamper::AlternateAlg) {
            assert!(jws::verify(&token, &jwks, &[Alg::Rs256]).is_ok());
        }
    }
}

#[tokio::test]
async fn authorization_responses_are_denied_unsigned_or_padded() {
    let world = World::start().await;
    let authorize = async || {
        let request_uri = world.push(CLIENT, &random_token()).await;
        let query = [("client_id", CLIENT), ("request_uri", request_uri.as_str())];
        world.get_authorize(&query).await
    };
    world.double.behave(|b| b.deny = Some("access_denied".to_owned()));
    let claims = world.jarm(&authorize().await).await;
    assert_eq!((&claims["error"], claims.get("code")), (&json!("access_denied"), None));
    world.double.reset_behaviour();
    world.double.behave(|b| b.unsigned_error = Some("server_error".to_owned()));
    let location = authorize().await.location();
    let query = location.query().unwrap();
    assert!(query.starts_with("error=server_error&state=the-state&iss="), "{query}");
    world.double.reset_behaviour();
    world.double.behave(|b| {
        b.redirect_params_once(|params| {
            let response = params[0].clone();
            params.push(response);
            params.push(("code".to_owned(), "plain".to_owned()));
        });
    });
    assert_eq!(authorize().await.location().query_pairs().count(), 3);
    assert_eq!(authorize().await.location().query_pairs().count(), 1);
}

#[tokio::test]
async fn answers_are_replaced_cut_or_mislabelled() {
    let world = World::start().await;
    let jwks = world.double.url(Endpoint::Jwks);
    world.double.behave(|b| {
        b.fault(Endpoint::Jwks, Fault::oauth_error(503, "temporarily_unavailable").once());
        b.fault(Endpoint::Jwks, Fault::Truncate(10).once());
        b.fault(Endpoint::Jwks, Fault::ContentType("text/html".to_owned()).once());
        let location = "https://evil.example/".to_owned();
        b.fault(Endpoint::Jwks, Fault::Redirect { status: 307, location }.once());
        b.fault(Endpoint::Jwks, Fault::Oversized(5000).once());
        let every = Duration::from_millis(1);
        b.fault(Endpoint::Jwks, Fault::Drip { chunk: 100, every }.once());
    });
    let get = async || send(world.http.get(&jwks)).await;
    assert_eq!(get().await.status, 503);
    assert_eq!(world.double.last(Endpoint::Jwks).unwrap().outcome, Outcome::Faulted);
    assert_eq!(get().await.body.len(), 10);
    assert_eq!(get().await.headers["content-type"], "text/html");
    assert_eq!(get().await.status, 307);
    let big = get().await;
    assert_eq!((big.body.len(), big.json().is_object()), (5000, true));
    assert!(get().await.json()["keys"].is_array());
    assert!(get().await.json()["keys"].is_array());
    assert_eq!(world.double.count(Endpoint::Jwks), 7);
}

/// The refresh whose answer is lost: the server has moved on, the client cannot know.
#[tokio::test]
async fn a_dropped_connection_after_handling_leaves_the_state_changed() {
    let world = World::start().await;
    world.double.behave(|b| b.rotate_refresh_tokens = true);
    let refresh_token = world.login().await["refresh_token"].as_str().unwrap().to_owned();
    world.double.behave(|b| b.fault(Endpoint::Token, Fault::Drop.once().after_handling()));
    let mut request = World::authentication(&world.assertion(CLIENT));
    request.push(("grant_type".to_owned(), "refresh_token".to_owned()));
    request.push(("refresh_token".to_owned(), refresh_token.clone()));
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&request).finish();
    let lost = world
        .http
        .post(world.double.mtls_url(Endpoint::Token))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send();
    assert!(timeout(Duration::from_secs(20), lost).await.unwrap().is_err());
    world.refresh(&refresh_token).await;
    assert_eq!(world.refused(Endpoint::Token), "token.refresh_reused");
}

#[tokio::test]
async fn a_gate_holds_requests_until_it_opens() {
    let world = World::start().await;
    let gate = Gate::new();
    world.double.behave(|b| b.fault(Endpoint::Jwks, Fault::Gate(gate.clone())));
    let request = world.http.get(world.double.url(Endpoint::Jwks));
    let waiting = tokio::spawn(send(request));
    timeout(Duration::from_secs(20), gate.reached(1)).await.unwrap();
    assert_eq!(world.double.count(Endpoint::Jwks), 0);
    gate.open();
    assert_eq!(waiting.await.unwrap().status, 200);
    world.double.wait_for(Endpoint::Jwks, 1).await;
}

#[tokio::test]
async fn the_metadata_may_name_another_issuer() {
    let world = World::start().await;
    world.double.behave(|b| b.issuer_suffix = "INVALID".to_owned());
    for url in [world.double.url(Endpoint::Metadata), world.double.rfc8414_metadata_url()] {
        let issuer = send(world.http.get(url)).await.json()["issuer"].clone();
        assert_eq!(issuer, format!("{}INVALID", world.double.issuer()));
    }
}

#[tokio::test]
async fn the_api_streams_echoes_and_makes_mischief() {
    let world = World::start().await;
    let tokens = world.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    let bytes = world.get_api("download?bytes=100000", access).await.body;
    assert_eq!(bytes.len(), 100_000);
    let upload = world
        .http
        .post(format!("{}upload", world.api.base_url()))
        .header("authorization", format!("Bearer {access}"))
        .body(bytes.clone());
    let counted = send(upload).await.json();
    assert_eq!(counted, json!({"bytes": 100_000, "sha256": jws::sha256_b64(&bytes)}));
    let events = world.get_api("sse?count=2&ms=1", access).await;
    assert_eq!(events.text(), "data: 0\n\ndata: 1\n\n");
    let echo = world.get_api("echo-headers", access).await;
    assert!(!echo.text().contains(access));
    assert_eq!(echo.json()["authorization"], json!({"scheme": "Bearer", "valid": true}));
    assert_eq!(echo.headers["x-fapi-interaction-id"].len(), 36);
    let mischief = world.get_api("mischief", access).await;
    assert_eq!(mischief.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(world.get_api("payments", access).await.status, 405);
    let challenge = world.get_api("challenge", access).await;
    assert_eq!(challenge.status, 401);
    world.api.fault("/accounts", Fault::invalid_token().once());
    assert_eq!(world.get_api("accounts", access).await.status, 401);
    assert_eq!(world.get_api("accounts", access).await.status, 200);
    let odd = world
        .http
        .get(format!("{}accounts", world.api.base_url()))
        .header("x-fapi-interaction-id", "not-a-uuid");
    assert_eq!(send(odd).await.status, 400);
}
