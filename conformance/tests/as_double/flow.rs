//! A correct client from discovery to logout, and what the server remembers of it.

use std::time::Duration;

use fapi_bff_conformance::{
    as_double::{
        AsConfig, AsDouble, ClientRegistration, Conduct, Endpoint, Fault, Interaction,
        ListenerKind, Tamper, Target, edits,
    },
    jws::{self, Alg, random_token},
};
use serde_json::{Value, json};
use tokio::time::timeout;
use url::Url;

use crate::client::{CLIENT, LOGGED_OUT, REDIRECT_URI, START, World, form, send};

#[tokio::test]
async fn both_metadata_forms_agree_and_name_every_endpoint() {
    let world = World::start().await;
    let openid = send(world.http.get(world.double.url(Endpoint::Metadata))).await.json();
    let oauth_url = world.double.rfc8414_metadata_url();
    assert!(oauth_url.ends_with("/.well-known/oauth-authorization-server/as"));
    for url in [oauth_url.clone(), format!("{oauth_url}/")] {
        assert_eq!(send(world.http.get(url)).await.json(), openid);
    }
    assert_eq!(openid["issuer"], world.double.issuer());
    assert!(world.double.issuer().ends_with("/as/"));
    let aliases = &openid["mtls_endpoint_aliases"];
    assert_eq!(aliases["token_endpoint"], world.double.mtls_url(Endpoint::Token));
    for flag in [
        "authorization_response_iss_parameter_supported",
        "require_pushed_authorization_requests",
        "tls_client_certificate_bound_access_tokens",
    ] {
        assert_eq!(openid[flag], true, "{flag}");
    }
}

#[tokio::test]
async fn the_trap_key_is_published_without_alg() {
    let world = World::start().await;
    let jwks = world.jwks().await;
    let keys = jwks["keys"].as_array().unwrap();
    let trap = keys.iter().find(|key| key["kid"] == "rsa-none-alt-arg").unwrap();
    assert_eq!((&trap["kty"], trap.get("alg")), (&json!("RSA"), None));
    world.double.behave(|b| b.decoy_keys = true);
    let kid = world.double.signing_kid();
    let with_decoys = world.jwks().await;
    let same = |key: &&Value| key["kid"] == kid;
    assert!(with_decoys["keys"].as_array().unwrap().iter().filter(same).count() > 3);
}

#[tokio::test]
async fn a_correct_client_logs_in_calls_the_api_refreshes_and_logs_out() {
    let world = World::start().await;
    let tokens = world.login().await;
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 900);
    let id_token = tokens["id_token"].as_str().unwrap();
    let claims = jws::verify(id_token, &world.jwks().await, &[Alg::Es256]).unwrap().claims;
    assert_eq!(claims["iss"], world.double.issuer());
    assert_eq!(claims["aud"], CLIENT);
    assert_eq!(claims["nonce"], "the-nonce");
    assert_eq!(claims["iat"], START);
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(claims["at_hash"], json!(Alg::Es256.half_hash(access)));

    let userinfo_url = world.double.mtls_url(Endpoint::Userinfo);
    let userinfo = world.get_with(&world.http, &userinfo_url, access).await.json();
    assert_eq!(userinfo["sub"], "alice");
    assert_eq!(userinfo["email"], "alice@example.com");
    let accounts = world.get_api("accounts", access).await;
    assert_eq!((accounts.status, accounts.json()["owner"].as_str()), (200, Some("alice")));

    let refreshed = world.refresh(tokens["refresh_token"].as_str().unwrap()).await.json();
    assert!(refreshed.get("refresh_token").is_none());
    let newer = refreshed["access_token"].as_str().unwrap();
    assert_eq!(world.get_api("accounts/a-1", newer).await.status, 200);

    let logout = Url::parse_with_params(
        &world.double.url(Endpoint::EndSession),
        [("id_token_hint", id_token), ("post_logout_redirect_uri", LOGGED_OUT), ("state", "s 1")],
    );
    let answer = send(world.http.get(logout.unwrap())).await;
    assert_eq!(answer.location().as_str(), format!("{LOGGED_OUT}?state=s+1"));
    assert_eq!(world.get_api("accounts", newer).await.status, 401);
    assert!(world.double.sessions().is_empty());

    assert!(world.double.last_refusal().is_none());
    let par = world.double.last(Endpoint::Par).unwrap();
    assert_eq!(par.listener, ListenerKind::Mtls);
    assert_eq!(par.peer_thumbprint, Some(world.pki.client_tls.thumbprint().unwrap()));
    assert_eq!(par.notes["request_object_claims"]["state"], "the-state");
    let secrets = world.double.issued_secrets();
    for secret in [access, newer, id_token] {
        assert!(secrets.iter().any(|listed| listed == secret));
    }
    let printed = format!("{:?}", world.double.events());
    assert!(secrets.iter().all(|secret| !printed.contains(secret)));
}

#[tokio::test]
async fn rotation_replaces_the_refresh_token_and_reuse_ends_the_grant() {
    let world = World::start().await;
    world.double.behave(|b| b.rotate_refresh_tokens = true);
    let first = world.login().await["refresh_token"].as_str().unwrap().to_owned();
    let second = world.refresh(&first).await.json()["refresh_token"].clone();
    let second = second.as_str().unwrap();
    assert_eq!(world.refresh(second).await.status, 200);
    assert_eq!(world.refresh(&first).await.json()["error"], "invalid_grant");
    assert_eq!(world.refused(Endpoint::Token), "token.refresh_reused");
    assert_eq!(world.refresh(second).await.status, 400);
    assert_eq!(world.refused(Endpoint::Token), "token.refresh_revoked");
}

#[tokio::test]
async fn revocation_of_the_refresh_token_ends_the_grant() {
    let world = World::start().await;
    let tokens = world.login().await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let mut request = World::authentication(&world.assertion(CLIENT));
    request.extend(form(&[("token", refresh_token)]));
    let url = world.double.mtls_url(Endpoint::Revocation);
    assert_eq!(world.post(&url, &request).await.status, 200);
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(world.get_api("accounts", access).await.status, 401);
    assert_eq!(world.refresh(refresh_token).await.status, 400);
}

#[tokio::test]
async fn introspection_tells_the_binding_and_client_credentials_have_no_subject() {
    let world = World::start().await;
    let mut request = World::authentication(&world.assertion(CLIENT));
    request.extend(form(&[("grant_type", "client_credentials"), ("scope", "accounts")]));
    let tokens = world.post_token(&request).await.json();
    assert!(tokens.get("id_token").is_none() && tokens.get("refresh_token").is_none());
    let mut request = World::authentication(&world.assertion(CLIENT));
    request.extend(form(&[("token", tokens["access_token"].as_str().unwrap())]));
    let url = world.double.mtls_url(Endpoint::Introspection);
    let told = world.post(&url, &request).await.json();
    let thumbprint = world.pki.client_tls.thumbprint().unwrap();
    assert_eq!((&told["active"], &told["sub"]), (&json!(true), &Value::Null));
    assert_eq!(told["cnf"]["x5t#S256"], thumbprint);
}

#[tokio::test]
async fn the_login_page_offers_the_users_and_its_form_decides_once() {
    let world = World::start_with(|config| config.interaction = Interaction::Page).await;
    for (choice, expected) in [(("user", "bjork"), "code"), (("cancel", "1"), "error")] {
        let request_uri = world.push(CLIENT, "v".repeat(43).as_str()).await;
        let query = [("client_id", CLIENT), ("request_uri", request_uri.as_str())];
        // A page may be loaded again: only the decision spends the request.
        for _ in 0..2 {
            let page = world.get_authorize(&query).await;
            assert_eq!(page.status, 200);
            assert!(page.text().contains("Björk Guðmundsdóttir 愛"));
            let policy = page.headers["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("default-src 'none'"));
            assert!(policy.contains("form-action 'self' https://app.localhost:8443;"));
        }
        let decision = form(&[query[0], query[1], choice]);
        let url = world.double.url(Endpoint::Decision);
        let answer = world.post(&url, &decision).await;
        assert!(answer.location().as_str().starts_with(REDIRECT_URI));
        let claims = world.jarm(&answer).await;
        assert!(claims.contains_key(expected), "{claims:?}");
        assert_eq!(claims["state"], "the-state");
        assert_eq!(world.post(&url, &decision).await.status, 400);
        assert_eq!(world.refused(Endpoint::Decision), "decision.request_uri_used");
    }
    assert_eq!(world.double.sessions()[0].1, "bjork");
}

#[tokio::test]
async fn keys_rotate_with_and_without_the_old_one() {
    let world = World::start().await;
    let first = world.double.signing_kid();
    world.double.rotate_keys(true).unwrap();
    let second = world.double.signing_kid();
    let published = |jwks: &Value, kid: &str| {
        let keys = jwks["keys"].as_array().unwrap();
        keys.iter().any(|key| key["kid"] == kid)
    };
    let jwks = world.jwks().await;
    assert!(published(&jwks, &first) && published(&jwks, &second));
    world.double.rotate_keys(false).unwrap();
    let jwks = world.jwks().await;
    assert!(!published(&jwks, &first) && !published(&jwks, &second));
    assert!(published(&jwks, &world.double.signing_kid()));
}

#[tokio::test]
async fn a_logout_token_is_what_the_specification_says_until_tampered_with() {
    let world = World::start().await;
    let claims = world.double.logout_token_claims(CLIENT, Some("alice"), None);
    let good = world.double.sign_as_server(Some("logout+jwt"), &claims, None).unwrap();
    let verified = jws::verify(&good, &world.jwks().await, &[Alg::Es256]).unwrap();
    assert_eq!(verified.header["typ"], "logout+jwt");
    assert!(verified.claims["events"].is_object() && !verified.claims.contains_key("nonce"));
    let mut wrong = claims.clone();
    edits::wrong("aud")(&mut wrong);
    assert_eq!(wrong["aud"], "client-11");
    let bad = world.double.sign_as_server(None, &wrong, Some(&Tamper::WrongKey)).unwrap();
    assert!(jws::verify(&bad, &world.jwks().await, &[Alg::Es256]).is_err());
}

#[tokio::test]
async fn the_server_signs_with_any_fapi_algorithm() {
    for alg in [Alg::Ps256, Alg::EdDsa] {
        let world = World::start_with(|config| config.signing_alg = alg).await;
        let request_uri = world.push(CLIENT, "v".repeat(43).as_str()).await;
        let query = [("client_id", CLIENT), ("request_uri", request_uri.as_str())];
        let answer = world.get_authorize(&query).await;
        let response = answer.location().query_pairs().next().unwrap().1.into_owned();
        // Decoys bear the right name and stand first; whoever looks at type and use passes them by.
        for decoys in [false, true] {
            world.double.behave(|b| b.decoy_keys = decoys);
            let verified = jws::verify(&response, &world.jwks().await, &[alg]).unwrap();
            assert!(verified.claims.contains_key("code"));
        }
    }
}

#[tokio::test]
async fn the_logout_page_asks_before_it_ends_the_session() {
    let world = World::start_with(|config| config.interaction = Interaction::Page).await;
    let verifier = "v".repeat(43);
    let request_uri = world.push(CLIENT, &verifier).await;
    let choice = [("client_id", CLIENT), ("request_uri", request_uri.as_str()), ("user", "carol")];
    let url = world.double.url(Endpoint::Decision);
    let answer = world.post(&url, &form(&choice)).await;
    let claims = world.jarm(&answer).await;
    let code = claims["code"].as_str().unwrap();
    let tokens = world.post_token(&world.token_form(code, &verifier)).await.json();
    let hint = [
        ("id_token_hint", tokens["id_token"].as_str().unwrap()),
        ("post_logout_redirect_uri", LOGGED_OUT),
    ];
    let asked = Url::parse_with_params(&world.double.url(Endpoint::EndSession), hint).unwrap();
    let page = send(world.http.get(asked)).await;
    assert_eq!((page.status, world.double.sessions().len()), (200, 1));
    let confirm = world.double.url(Endpoint::EndSessionDecision);
    let done = world.post(&confirm, &form(&hint)).await;
    assert_eq!(done.location().as_str(), LOGGED_OUT);
    assert!(world.double.sessions().is_empty());
}

#[tokio::test]
async fn a_stopped_double_is_gone_even_while_requests_hang_and_its_port_is_free() {
    let mut world = World::start().await;
    let url = world.double.url(Endpoint::Jwks);
    world.double.behave(|b| b.fault(Endpoint::Jwks, Fault::Hang));
    let hanging = tokio::spawn(world.http.get(&url).send());
    timeout(Duration::from_secs(20), world.double.wait_for(Endpoint::Jwks, 1)).await.unwrap();
    let (addr, mtls_addr) = (world.double.addr(), world.double.mtls_addr());
    let registration = ClientRegistration::from_pki(&world.pki, CLIENT, REDIRECT_URI, LOGGED_OUT);
    let mut config = AsConfig::new(&world.pki, vec![registration.unwrap()]);
    (config.port, config.mtls_port) = (addr.port(), mtls_addr.port());
    world.double.shutdown().await;
    assert!(hanging.await.unwrap().is_err());
    assert!(world.http.get(&url).send().await.is_err());
    world.double = AsDouble::start(config).await.unwrap();
    assert_eq!(send(world.http.get(&url)).await.status, 200);
}

/// FAPI 2.0 Security Profile: the same rules on plain parameters, a plain answer with `iss`.
#[tokio::test]
async fn under_the_security_profile_parameters_are_plain_and_so_is_the_answer() {
    let world = World::start_with(|config| config.conduct = Conduct::security_profile()).await;
    let verifier = random_token();
    let plain = |name: &str, value: Option<&str>| {
        let claims = world.request_claims(CLIENT, &verifier);
        let mut request = World::authentication(&world.assertion(CLIENT));
        for (name, claim) in claims {
            let envelope = ["iss", "aud", "nbf", "iat", "exp", "jti", "response_mode"];
            if !envelope.contains(&name.as_str()) {
                request.push((name, claim.as_str().unwrap().to_owned()));
            }
        }
        request.retain(|(key, _)| key != name);
        request.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        request
    };
    let cases = [
        ("par.request_forbidden", plain("request", Some("x.y.z"))),
        ("par.request_uri_forbidden", plain("request_uri", Some("urn:x"))),
        ("request_object.response_mode", plain("response_mode", Some("jwt"))),
        ("request_object.code_challenge", plain("code_challenge", None)),
        ("request_object.max_age", plain("max_age", Some("\"60\""))),
        ("accepted", plain("max_age", Some("60"))),
    ];
    let mut answer = None;
    for (reason, request) in cases {
        answer = Some(world.post_par(&request).await);
        assert_eq!(world.refused(Endpoint::Par), reason);
    }
    let pushed = answer.unwrap().json();
    let request_uri = pushed["request_uri"].as_str().unwrap();
    world.double.behave(|b| b.edit_once(Target::Jarm, edits::wrong("state")));
    let query = [("client_id", CLIENT), ("request_uri", request_uri)];
    let location = world.get_authorize(&query).await.location();
    let returned: std::collections::HashMap<_, _> = location.query_pairs().collect();
    assert_eq!(returned["iss"], world.double.issuer());
    assert_eq!(returned["state"], "the-state1");
    let tokens = world.post_token(&world.token_form(&returned["code"], &verifier)).await;
    assert_eq!(tokens.status, 200);
    let metadata = send(world.http.get(world.double.url(Endpoint::Metadata))).await.json();
    assert_eq!(metadata["response_modes_supported"], json!(["query", "form_post"]));
    assert!(metadata.get("authorization_signing_alg_values_supported").is_none());
}
