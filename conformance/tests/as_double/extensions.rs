//! What an authorization request may ask for beyond a login, and what else there is to ask of a token.

use fapi_bff_conformance::{
    as_double::{AsConfig, Conduct, Encryption, Endpoint, Tamper, Target, edits},
    jwe::{self, DecryptionKey, Enc, Flaw, JweFault},
    jws::{self, Alg, JwsFault, Object, random_token},
};
use serde_json::{Value, json};

use crate::{
    anybody::Anybody,
    client::{CLIENT, OTHER, START, form, send},
};

fn payments(config: &mut AsConfig) {
    config.authorization_details_types = vec!["payment".to_owned(), "account".to_owned()];
}

fn asking(name: &'static str, value: Value) -> impl Fn(&mut Object) {
    edits::set(name, value)
}

#[tokio::test]
async fn authorization_details_are_of_known_types_and_come_back_as_granted() {
    for conduct in [Conduct::security_profile(), Conduct::message_signing()] {
        let client = Anybody::start_with(conduct, payments).await;
        let wanted = json!([{"type": "payment", "amount": "12.50"}, {"type": "account"}]);
        let kind = "request_object.authorization_details_type";
        for (reason, error, details) in [
            (kind, "invalid_authorization_details", json!([{"type": "unknown"}])),
            (kind, "invalid_authorization_details", json!([{"type": "payment"}, {}])),
            (kind, "invalid_authorization_details", json!([{"type": ["payment"]}])),
            (kind, "invalid_authorization_details", json!(["payment"])),
            (
                "request_object.authorization_details",
                "invalid_request_object",
                json!({"type": "payment"}),
            ),
        ] {
            let returned = client.returned_with(asking("authorization_details", details)).await;
            assert_eq!(returned.answer.json()["error"], error);
            assert_eq!(client.world.refused(Endpoint::Par), reason);
        }
        let tokens = client.login_with(asking("authorization_details", wanted.clone())).await;
        assert_eq!(tokens["authorization_details"], wanted);
        assert!(client.login().await.get("authorization_details").is_none());
        // More than was asked for.
        let more = json!({"type": "payment", "amount": "999.00"});
        client.world.double.behave(|b| b.further_details = vec![more.clone()]);
        let tokens = client.login_with(asking("authorization_details", wanted.clone())).await;
        assert_eq!(tokens["authorization_details"], json!([wanted[0], wanted[1], more]));
        let metadata = client.world.double.url(Endpoint::Metadata);
        let types = send(client.world.http.get(metadata)).await.json();
        let types = &types["authorization_details_types_supported"];
        assert_eq!(*types, json!(["payment", "account"]));
    }
}

#[tokio::test]
async fn a_token_for_one_resource_is_not_taken_by_another() {
    let client = Anybody::start(Conduct::security_profile()).await;
    let api = client.world.api.base_url();
    let (elsewhere, accounts) = ("https://elsewhere.example/", format!("{api}accounts"));
    for target in ["not-a-url", "/path", "https://elsewhere.example/#part", "urn:x"] {
        let returned = client.returned_with(asking("resource", json!([target]))).await;
        assert_eq!(returned.answer.json()["error"], "invalid_target", "{target}");
        assert_eq!(client.world.refused(Endpoint::Par), "request_object.resource");
    }
    let both = json!([elsewhere, api]);
    let returned = client.returned_with(asking("resource", both.clone())).await;
    let narrowed = client.redeem(&returned, &[("resource", "https://third.example/")]).await;
    assert_eq!(narrowed.json()["error"], "invalid_target");
    assert_eq!(client.world.refused(Endpoint::Token), "token.resource");
    let tokens = client.redeem(&returned, &[("resource", elsewhere)]).await.json();
    let text = |tokens: &Value, name: &str| tokens[name].as_str().unwrap().to_owned();
    let refused = client.get(&accounts, &text(&tokens, "access_token")).await;
    assert_eq!(refused.status, 401);
    let event = client.world.api.last("/accounts").unwrap();
    assert_eq!(event.reason.as_deref(), Some("api.audience"));
    // Each refresh may name another of those that were granted, and no other.
    let refresh = text(&tokens, "refresh_token");
    let again = |target: &'static str| [("grant_type", "refresh_token"), ("resource", target)];
    let mut request = form(&again("https://third.example/"));
    request.push(("refresh_token".to_owned(), refresh.clone()));
    assert_eq!(client.post_form(Endpoint::Token, request).await.status, 400);
    assert_eq!(client.world.refused(Endpoint::Token), "token.resource");
    let request =
        [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("resource", &api)];
    let again = client.post(Endpoint::Token, &request).await.json();
    let access = text(&again, "access_token");
    assert_eq!(client.get(&accounts, &access).await.status, 200);
    let told = client.post(Endpoint::Introspection, &[("token", &access)]).await.json();
    assert_eq!(told["aud"], json!([api]));

    // A server that knows its resources knows no others.
    let known = vec![api.clone()];
    let client = Anybody::start_with(Conduct::message_signing(), |c| c.resources = known).await;
    let returned = client.returned_with(asking("resource", both)).await;
    assert_eq!(returned.answer.status, 400);
    assert_eq!(client.world.refused(Endpoint::Par), "request_object.resource");
}

#[tokio::test]
async fn strength_and_age_of_a_login_are_what_was_asked_for_unless_told_otherwise() {
    let client = Anybody::start(Conduct::message_signing()).await;
    let double = &client.world.double;
    let login = async |change: &dyn Fn(&mut Object)| {
        let tokens = client.login_with(change).await;
        let claims = client.id_token(&tokens).await;
        (claims.get("acr").cloned().unwrap_or_default(), claims["auth_time"].as_i64().unwrap())
    };
    let essential = |values: Value| {
        move |claims: &mut Object| {
            let acr = json!({"essential": true, "values": values});
            claims.insert("claims".into(), json!({"id_token": {"acr": acr}}));
        }
    };
    let none = Value::Null;
    double.behave(|b| b.login_age = 100);
    assert_eq!(login(&|_| {}).await, (none.clone(), START - 100));
    let wished = asking("acr_values", json!("urn:x:high urn:x:low"));
    assert_eq!(login(&wished).await, (json!("urn:x:high"), START - 100));
    let loa = json!(["urn:none", "urn:example:loa:3"]);
    assert_eq!(login(&essential(loa)).await.0, json!("urn:example:loa:3"));
    assert_eq!(login(&asking("max_age", json!(100))).await.1, START - 100);
    assert_eq!(login(&asking("max_age", json!(99))).await.1, START);
    assert_eq!(login(&asking("prompt", json!("login"))).await.1, START);
    // What cannot be reached is an error, not a weaker login.
    let unmet = client.returned_with(essential(json!(["urn:none"]))).await;
    let (_, claims) = jws::peek(&unmet.get("response").unwrap()).unwrap();
    assert_eq!(claims["error"], "unmet_authentication_requirements");
    assert!(!claims.contains_key("code"));

    double.behave(|b| (b.ignore_acr, b.ignore_max_age) = (true, true));
    assert_eq!(login(&wished).await.0, none);
    assert_eq!(login(&essential(json!(["urn:none"]))).await.0, none);
    assert_eq!(login(&asking("max_age", json!(0))).await.1, START - 100);
}

/// RFC 9470: until the login is strong and recent enough, the API says what it wants.
#[tokio::test]
async fn the_api_asks_for_a_stronger_login_until_it_has_one() {
    let client = Anybody::start(Conduct::security_profile()).await;
    let url = format!("{}step-up", client.world.api.base_url());
    let call = async |change: &dyn Fn(&mut Object)| {
        let tokens = client.login_with(change).await;
        client.get(&url, tokens["access_token"].as_str().unwrap()).await
    };
    let strong = asking("acr_values", json!("urn:example:loa:3"));
    let weak = call(&|_| {}).await;
    assert_eq!(weak.status, 401);
    let challenge = weak.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
    assert_eq!(call(&strong).await.status, 200);
    client.world.double.behave(|b| b.login_age = 61);
    assert_eq!(call(&strong).await.status, 401);
    client.world.double.behave(|b| b.login_age = 60);
    assert_eq!(call(&strong).await.status, 200);
}

#[tokio::test]
async fn a_token_is_exchanged_for_less_by_its_own_client_only() {
    let client = Anybody::start(Conduct::security_profile()).await;
    let tokens = client.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
    let kind = ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token");
    let subject = ("subject_token", access);
    let api = client.world.api.base_url();
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("token.subject_token_missing", &[grant, kind]),
        ("token.subject_token_type", &[grant, subject]),
        (
            "token.subject_token_type",
            &[grant, subject, ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")],
        ),
        (
            "token.subject_token_type",
            &[
                grant,
                subject,
                kind,
                ("requested_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ],
        ),
        ("token.subject_token", &[grant, kind, ("subject_token", "x")]),
        ("token.scope", &[grant, kind, subject, ("scope", "admin")]),
    ];
    for (reason, request) in cases {
        assert_eq!(client.post(Endpoint::Token, request).await.status, 400, "{reason}");
        assert_eq!(client.world.refused(Endpoint::Token), reason);
    }
    let request = [grant, kind, subject, ("scope", "accounts"), ("resource", &api)];
    let exchanged = client.post(Endpoint::Token, &request).await.json();
    assert_eq!(exchanged["issued_token_type"], kind.1);
    assert_eq!(exchanged["scope"], "accounts");
    assert!(exchanged.get("refresh_token").is_none() && exchanged.get("id_token").is_none());
    let narrow = exchanged["access_token"].as_str().unwrap();
    assert_eq!(client.get(&format!("{api}accounts"), narrow).await.status, 200);
    assert_eq!(client.get(&client.url(Endpoint::Userinfo), narrow).await.status, 403);
    // Somebody else's token is none, and what was exchanged ends with the first.
    let mut request = form(&[grant, kind, subject]);
    request.extend(crate::client::World::authentication(&client.world.assertion(OTHER)));
    client.world.post(&client.url(Endpoint::Token), &request).await;
    assert_eq!(client.world.refused(Endpoint::Token), "token.subject_token");
    client.world.double.revoke_all();
    assert_eq!(client.get(&format!("{api}accounts"), narrow).await.status, 401);
}

#[tokio::test]
async fn introspection_is_signed_for_whoever_asks_for_that() {
    let client = Anybody::start(Conduct::message_signing()).await;
    let tokens = client.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    let ask = async |accept: &str| {
        let (request, mut headers) = client.authenticated(form(&[("token", access)]));
        headers.push(("accept".to_owned(), accept.to_owned()));
        client.world.post_with(&client.url(Endpoint::Introspection), &request, &headers).await
    };
    let plain = ask("application/json").await;
    assert_eq!(plain.headers["content-type"], "application/json");
    let signed = ask("application/token-introspection+jwt").await;
    assert_eq!(signed.headers["content-type"], "application/token-introspection+jwt");
    let verified = jws::verify(&signed.text(), &client.world.jwks().await, &[Alg::Es256]).unwrap();
    assert_eq!(verified.header["typ"], "token-introspection+jwt");
    assert_eq!(verified.claims["aud"], CLIENT);
    assert_eq!(verified.claims["token_introspection"], plain.json());
    assert!(!verified.claims.contains_key("sub") && !verified.claims.contains_key("exp"));
    client.world.double.behave(|b| b.tamper(Target::Introspection, Tamper::Flip));
    let spoiled = ask("application/token-introspection+jwt").await.text();
    let fault = jws::verify(&spoiled, &client.world.jwks().await, &[Alg::Es256]).unwrap_err();
    assert_eq!(fault, JwsFault::SignatureInvalid);
}

#[tokio::test]
async fn userinfo_is_signed_for_a_client_that_registered_for_it() {
    let signed = |config: &mut AsConfig| config.clients[0].userinfo_signed_response = true;
    let client = Anybody::start_with(Conduct::security_profile(), signed).await;
    let tokens = client.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    let url = client.url(Endpoint::Userinfo);
    let answer = client.get(&url, access).await;
    assert_eq!(answer.headers["content-type"], "application/jwt");
    let jwks = client.world.jwks().await;
    let claims = jws::verify(&answer.text(), &jwks, &[Alg::Es256]).unwrap().claims;
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("alice"), &json!(CLIENT)));
    assert_eq!(claims["iss"], client.world.double.issuer());
    client.world.double.behave(|b| b.edit(Target::Userinfo, edits::wrong("sub")));
    let (_, claims) = jws::peek(&client.get(&url, access).await.text()).unwrap();
    assert_eq!(claims["sub"], "alice1");
}

fn encrypted() -> Encryption {
    Encryption { alg: "ECDH-ES".to_owned(), enc: "A256GCM".to_owned() }
}

#[tokio::test]
async fn what_a_client_registered_to_have_encrypted_is_encrypted_and_nothing_else() {
    let key = DecryptionKey::generate(jwe::Alg::EcdhEs).unwrap();
    let jwk = key.public_jwk().clone();
    let client = Anybody::start_with(Conduct::message_signing(), |config| {
        let client = &mut config.clients[0];
        client.jwks["keys"].as_array_mut().unwrap().push(jwk);
        client.authorization_encrypted_response = Some(encrypted());
    })
    .await;
    let double = &client.world.double;
    let response = client.returned().await.get("response").unwrap();
    let inner = key.decrypt(&response, Enc::A256Gcm).unwrap();
    let jwks = client.world.jwks().await;
    assert!(jws::verify(&inner, &jwks, &[Alg::Es256]).is_ok());
    for secret in [&inner, &response] {
        assert!(double.issued_secrets().contains(secret));
    }
    let metadata = send(client.world.http.get(double.url(Endpoint::Metadata))).await.json();
    assert_eq!(metadata["authorization_encryption_alg_values_supported"], json!(["ECDH-ES"]));
    assert!(metadata.get("id_token_encryption_alg_values_supported").is_none());

    double.behave(|b| b.flaw = Some(Flaw::HalfTag));
    let spoiled = client.returned().await.get("response").unwrap();
    assert_eq!(key.decrypt(&spoiled, Enc::A256Gcm).unwrap_err(), JweFault::Malformed);
}

#[tokio::test]
async fn registered_and_without_a_key_there_is_no_token_in_clear() {
    let client = Anybody::start_with(Conduct::fapi1_advanced(), |config| {
        config.clients[0].id_token_encrypted_response = Some(encrypted());
    })
    .await;
    assert_eq!(client.returned().await.answer.status, 400);
    assert_eq!(client.world.refused(Endpoint::Authorize), "server.key");
}

#[tokio::test]
async fn where_request_objects_come_encrypted_a_bare_one_is_refused() {
    let client = Anybody::start_with(Conduct::message_signing(), |config| {
        config.request_object_encryption = Some(encrypted());
    })
    .await;
    let claims = client.world.request_claims(CLIENT, &random_token());
    let bare = client.world.request_object(&claims);
    let jwks = client.world.jwks().await;
    let key = jwks["keys"].as_array().unwrap().iter().find(|key| key["use"] == "enc").unwrap();
    let sealed = |flaw| jwe::encrypt(key, jwe::Alg::EcdhEs, Enc::A256Gcm, &bare, flaw).unwrap();
    let other = DecryptionKey::generate(jwe::Alg::EcdhEs).unwrap();
    let foreign = jwe::encrypt(other.public_jwk(), jwe::Alg::EcdhEs, Enc::A256Gcm, &bare, None);
    let refused = "request_object.encryption";
    for (reason, object) in [
        (refused, bare.clone()),
        (refused, foreign.unwrap()),
        (refused, sealed(Some(Flaw::FlippedBit))),
        (refused, sealed(Some(Flaw::Zip))),
        ("accepted", sealed(None)),
    ] {
        client.post(Endpoint::Par, &[("request", &object)]).await;
        assert_eq!(client.world.refused(Endpoint::Par), reason);
    }
    assert!(client.world.double.issued_secrets().contains(&bare));
}
