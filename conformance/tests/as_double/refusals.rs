//! Each rule broken alone, refused for that rule's reason.

use fapi_bff_conformance::{
    as_double::{Endpoint, edits},
    jws::{self, Alg, Object, SigningKey, random_token},
    pki::Pki,
};
use serde_json::{Value, json};

use crate::client::{CLIENT, Form, LOGGED_OUT, OTHER, START, World, form, send};

type Change = Box<dyn Fn(&mut Object)>;

fn set(name: &'static str, value: Value) -> Change {
    Box::new(edits::set(name, value))
}

fn remove(name: &'static str) -> Change {
    Box::new(edits::remove(name))
}

fn wrong(name: &'static str) -> Change {
    Box::new(edits::wrong(name))
}

#[tokio::test]
async fn request_object_claims_are_judged_one_by_one() {
    let world = World::start().await;
    let issuer = world.double.issuer().to_owned();
    let cases: Vec<(&str, Change)> = vec![
        ("accepted", Box::new(|_| {})),
        ("accepted", set("aud", json!([issuer, "https://other"]))),
        ("iss", wrong("iss")),
        ("iss", remove("iss")),
        ("sub", set("sub", json!(CLIENT))),
        ("aud", wrong("aud")),
        ("aud", remove("aud")),
        ("aud", set("aud", json!(world.double.mtls_url(Endpoint::Par)))),
        ("nbf_missing", remove("nbf")),
        ("nbf_missing", set("nbf", json!("1800000000"))),
        (
            "accepted",
            Box::new(|c| {
                c.insert("nbf".into(), json!(START - 3599));
                c.insert("exp".into(), json!(START + 1));
            }),
        ),
        ("nbf_old", set("nbf", json!(START - 3601))),
        ("accepted", set("nbf", json!(START + 10))),
        ("nbf_future", set("nbf", json!(START + 11))),
        ("exp_missing", remove("exp")),
        ("expired", set("exp", json!(START))),
        ("accepted", set("exp", json!(START + 3600))),
        ("lifetime", set("exp", json!(START + 3601))),
        ("iat_future", set("iat", json!(START + 11))),
        ("jti", set("jti", json!(5))),
        ("nested_request", set("request", json!("x"))),
        ("nested_request", set("request_uri", json!("x"))),
        ("client_id", remove("client_id")),
        ("client_id", set("client_id", json!(OTHER))),
        ("response_type", set("response_type", json!("code id_token"))),
        ("response_mode", remove("response_mode")),
        ("response_mode", set("response_mode", json!("query"))),
        ("redirect_uri", remove("redirect_uri")),
        ("redirect_uri", Box::new(edits::append("redirect_uri", "/"))),
        ("scope", remove("scope")),
        ("scope", set("scope", json!("openid admin"))),
        ("scope", set("scope", json!("profile"))),
        ("scope", set("scope", json!("openid openid"))),
        ("code_challenge", remove("code_challenge")),
        ("code_challenge", wrong("code_challenge")),
        ("code_challenge_method", remove("code_challenge_method")),
        ("code_challenge_method", set("code_challenge_method", json!("plain"))),
        ("state", set("state", json!(1))),
        ("nonce", set("nonce", json!(null))),
        ("max_age", set("max_age", json!("60"))),
        ("claims", set("claims", json!({"id_token": []}))),
        ("authorization_details", set("authorization_details", json!("[]"))),
    ];
    for (reason, change) in cases {
        let mut claims = world.request_claims(CLIENT, &random_token());
        change(&mut claims);
        let answer = world.post_par(&world.par_form(CLIENT, &claims)).await;
        let expected = match reason {
            "accepted" => reason.to_owned(),
            _ => format!("request_object.{reason}"),
        };
        assert_eq!(world.refused(Endpoint::Par), expected, "{claims:?}");
        assert_eq!(answer.status, if reason == "accepted" { 201 } else { 400 });
    }
}

#[tokio::test]
async fn request_object_headers_and_signatures_are_judged() {
    let world = World::start().await;
    let key = &world.pki.request_object;
    let claims = world.request_claims(CLIENT, &random_token());
    let header = key.header(Some("oauth-authz-req+jwt"));
    let signed = |change: Change| {
        let mut header = header.clone();
        change(&mut header);
        key.sign_jws(&header, &claims).unwrap()
    };
    let good = signed(Box::new(|_| {}));
    let trap = SigningKey::generate(Alg::Rs256).unwrap();
    let cases = [
        ("typ", signed(remove("typ"))),
        ("typ", signed(set("typ", json!("JWT")))),
        ("kid_missing", signed(remove("kid"))),
        ("key_unknown", signed(set("kid", json!("other")))),
        ("header_not_allowed", signed(set("crit", json!(["exp"])))),
        ("alg_not_allowed", jws::unsecured(&header, &claims)),
        ("alg_not_allowed", trap.sign_jws(&trap.header(None), &claims).unwrap()),
        ("signature_invalid", jws::flip_signature(&good)),
        ("malformed", "not-a-jwt".to_owned()),
    ];
    for (reason, token) in cases {
        let mut request = World::authentication(&world.assertion(CLIENT));
        request.push(("request".to_owned(), token));
        assert_eq!(world.post_par(&request).await.status, 400);
        assert_eq!(world.refused(Endpoint::Par), format!("request_object.{reason}"));
    }
}

/// FAPI 2.0 Message Signing §5.3.2(1): outside the request object nothing but client authentication and `client_id`.
#[tokio::test]
async fn nothing_stands_outside_the_request_object() {
    let world = World::start().await;
    let claims = world.request_claims(CLIENT, &random_token());
    let cases: [(&str, Form); 6] = [
        ("accepted", form(&[("client_id", CLIENT)])),
        ("par.parameter_outside", form(&[("scope", "openid")])),
        ("par.parameter_outside", form(&[("response_type", "code")])),
        ("par.request_uri_forbidden", form(&[("request_uri", "urn:x")])),
        ("par.duplicate_parameter", form(&[("request", "again")])),
        ("client_auth.client_id_mismatch", form(&[("client_id", OTHER)])),
    ];
    for (reason, extra) in cases {
        let mut request = world.par_form(CLIENT, &claims);
        request.extend(extra);
        world.post_par(&request).await;
        assert_eq!(world.refused(Endpoint::Par), reason);
    }
    let bare = World::authentication(&world.assertion(CLIENT));
    world.post_par(&bare).await;
    assert_eq!(world.refused(Endpoint::Par), "par.request_missing");
    let json = world.http.post(world.double.mtls_url(Endpoint::Par)).body("{}");
    send(json.header("content-type", "application/json")).await;
    assert_eq!(world.refused(Endpoint::Par), "par.content_type");
}

#[tokio::test]
async fn client_assertions_are_judged_one_by_one() {
    let world = World::start().await;
    let issuer = world.double.issuer().to_owned();
    let token_url = world.double.mtls_url(Endpoint::Token);
    let cases: Vec<(&str, Change)> = vec![
        ("accepted", Box::new(|_| {})),
        ("iss", wrong("iss")),
        ("iss", remove("iss")),
        ("sub", wrong("sub")),
        ("sub", remove("sub")),
        ("aud", wrong("aud")),
        ("aud", set("aud", json!(token_url))),
        ("aud", set("aud", json!(issuer.trim_end_matches('/')))),
        ("aud_type", set("aud", json!([issuer]))),
        ("aud_missing", remove("aud")),
        ("jti_missing", remove("jti")),
        ("exp_missing", remove("exp")),
        ("exp_missing", set("exp", json!(1_800_000_060.5))),
        ("accepted", set("exp", json!(START + 1))),
        ("expired", set("exp", json!(START))),
        ("exp_too_far", set("exp", json!(START + 3601))),
        ("iat_missing", remove("iat")),
        ("accepted", set("iat", json!(START + 10))),
        ("iat_future", set("iat", json!(START + 11))),
        ("nbf_future", set("nbf", json!(START + 11))),
    ];
    for (reason, change) in cases {
        let mut claims = world.assertion_claims(CLIENT);
        change(&mut claims);
        let assertion = World::sign(&world.pki.client_assertion, None, &claims);
        let expected = match reason {
            "accepted" => reason.to_owned(),
            _ => format!("client_auth.{reason}"),
        };
        let request = with_assertion(&world, &assertion);
        let answer = world.post_par(&request).await;
        assert_eq!(world.refused(Endpoint::Par), expected, "{claims:?}");
        if reason != "accepted" {
            assert_eq!((answer.status, &answer.json()["error"]), (401, &json!("invalid_client")));
        }
    }
}

fn with_assertion(world: &World, assertion: &str) -> Form {
    let claims = world.request_claims(CLIENT, &random_token());
    let mut request = World::authentication(assertion);
    request.push(("request".to_owned(), world.request_object(&claims)));
    request
}

#[tokio::test]
async fn client_assertion_signatures_types_and_replays_are_judged() {
    let world = World::start().await;
    let key = &world.pki.client_assertion;
    let claims = world.assertion_claims(CLIENT);
    let mut nameless = key.header(None);
    nameless.remove("kid");
    let cases = [
        ("kid_missing", key.sign_jws(&nameless, &claims).unwrap()),
        ("alg_not_allowed", jws::unsecured(&key.header(None), &claims)),
        ("signature_invalid", jws::flip_signature(&world.assertion(CLIENT))),
        ("typ", World::sign(key, Some("oauth-authz-req+jwt"), &claims)),
        ("malformed", "x.y".to_owned()),
    ];
    for (reason, assertion) in cases {
        world.post_par(&with_assertion(&world, &assertion)).await;
        assert_eq!(world.refused(Endpoint::Par), format!("client_auth.{reason}"));
    }
    // RFC 9101 §10.8: a request object is no client assertion.
    let request_object = world.request_object(&world.request_claims(CLIENT, &random_token()));
    world.post_par(&with_assertion(&world, &request_object)).await;
    assert_eq!(world.refused(Endpoint::Par), "client_auth.typ");

    let assertion = world.assertion(CLIENT);
    world.post_par(&with_assertion(&world, &assertion)).await;
    assert_eq!(world.refused(Endpoint::Par), "accepted");
    world.post_par(&with_assertion(&world, &assertion)).await;
    assert_eq!(world.refused(Endpoint::Par), "client_auth.jti_replayed");

    let mut request = with_assertion(&world, &world.assertion(CLIENT));
    request.push(("client_secret".to_owned(), "s".to_owned()));
    world.post_par(&request).await;
    assert_eq!(world.refused(Endpoint::Par), "client_auth.other_method");
}

#[tokio::test]
async fn the_mutual_tls_listener_demands_a_registered_certificate() {
    let world = World::start().await;
    let url = world.double.mtls_url(Endpoint::Par);
    let stranger = world.pki.issue_client(CLIENT).unwrap();
    for (identity, reason) in [
        (None, "client_auth.certificate_missing"),
        (Some(&stranger), "client_auth.certificate_unknown"),
    ] {
        let http = world.http_as(identity);
        let request = with_assertion(&world, &world.assertion(CLIENT));
        assert_eq!(World::post_by(&http, &url, &request).await.status, 401);
        assert_eq!(world.refused(Endpoint::Par), reason);
    }
    // A certificate of another authority does not even get through the handshake.
    let foreign = Pki::generate(CLIENT).unwrap().client_tls;
    let before = world.double.count(Endpoint::Par);
    let refused = world.http_as(Some(&foreign)).post(&url).send().await;
    assert!(refused.is_err());
    assert_eq!(world.double.count(Endpoint::Par), before);
}

#[tokio::test]
async fn token_and_userinfo_live_on_the_mutual_tls_host_only() {
    let world = World::start().await;
    let (code, verifier) = world.code().await;
    let url = world.double.url(Endpoint::Token);
    world.post(&url, &world.token_form(&code, &verifier)).await;
    assert_eq!(world.refused(Endpoint::Token), "token.wrong_listener");
    world.get_with(&world.http, &world.double.url(Endpoint::Userinfo), "x").await;
    assert_eq!(world.refused(Endpoint::Userinfo), "userinfo.wrong_listener");
    send(world.http.get(world.double.mtls_url(Endpoint::Authorize))).await;
    assert_eq!(world.refused(Endpoint::Authorize), "authorize.wrong_listener");
}

#[tokio::test]
async fn authorize_takes_a_pushed_request_once_and_nothing_else() {
    let world = World::start().await;
    let request_uri = world.push(CLIENT, &random_token()).await;
    let uri = ("request_uri", request_uri.as_str());
    let good = [("client_id", CLIENT), uri];
    let cases: [(&str, &[(&str, &str)]); 7] = [
        ("client_id_missing", &[uri]),
        ("request_uri_missing", &[good[0]]),
        ("parameter_outside", &[good[0], uri, ("state", "x")]),
        ("duplicate_parameter", &[good[0], good[0], uri]),
        ("request_uri_unknown", &[good[0], ("request_uri", "urn:x")]),
        ("request_uri_other_client", &[("client_id", OTHER), uri]),
        ("accepted", &good),
    ];
    for (reason, query) in cases {
        let answer = world.get_authorize(query).await;
        let expected = match reason {
            "accepted" => reason.to_owned(),
            _ => format!("authorize.{reason}"),
        };
        assert_eq!(world.refused(Endpoint::Authorize), expected);
        assert_eq!(answer.headers.contains_key("location"), reason == "accepted");
    }
    world.get_authorize(&good).await;
    assert_eq!(world.refused(Endpoint::Authorize), "authorize.request_uri_used");
}

#[tokio::test]
async fn a_request_uri_lives_to_its_last_second() {
    let world = World::start().await;
    for (age, reason) in [(299, "accepted"), (300, "authorize.request_uri_expired")] {
        let request_uri = world.push(CLIENT, &random_token()).await;
        world.advance(age);
        let query = [("client_id", CLIENT), ("request_uri", request_uri.as_str())];
        world.get_authorize(&query).await;
        assert_eq!(world.refused(Endpoint::Authorize), reason);
    }
}

#[tokio::test]
async fn codes_are_judged_one_rule_at_a_time() {
    let world = World::start().await;
    let (code, verifier) = world.code().await;
    let replaced = |name: &str, value: Option<&str>| {
        let mut request = world.token_form(&code, &verifier);
        request.retain(|(key, _)| key != name);
        if let Some(value) = value {
            request.push((name.to_owned(), value.to_owned()));
        }
        request
    };
    let mut foreign = World::authentication(&world.assertion(OTHER));
    let rest = world.token_form(&code, &verifier).into_iter();
    foreign.extend(rest.filter(|(name, _)| !name.starts_with("client_assertion")));
    let cases = [
        ("grant_type", replaced("grant_type", Some("password"))),
        ("code_missing", replaced("code", None)),
        ("code_unknown", replaced("code", Some("x"))),
        ("redirect_uri_missing", replaced("redirect_uri", None)),
        ("redirect_uri", replaced("redirect_uri", Some(LOGGED_OUT))),
        ("code_verifier_missing", replaced("code_verifier", None)),
        ("code_verifier", replaced("code_verifier", Some(&random_token()))),
        ("code_verifier", replaced("code_verifier", Some("short"))),
        ("code_other_client", foreign),
    ];
    for (reason, request) in cases {
        assert_eq!(world.post_token(&request).await.status, 400);
        assert_eq!(world.refused(Endpoint::Token), format!("token.{reason}"));
    }
    // None of that spent the code.
    let tokens = world.post_token(&world.token_form(&code, &verifier)).await;
    assert_eq!(tokens.status, 200);
    // RFC 6749 §4.1.2: the second use is refused and takes back what the first brought.
    world.post_token(&world.token_form(&code, &verifier)).await;
    assert_eq!(world.refused(Endpoint::Token), "token.code_used");
    let access = tokens.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(world.get_api("accounts", &access).await.status, 401);
}

#[tokio::test]
async fn a_code_lives_to_its_last_second() {
    let world = World::start().await;
    for (age, reason) in [(59, "accepted"), (60, "token.code_expired"), (61, "token.code_expired")]
    {
        let (code, verifier) = world.code().await;
        world.advance(age);
        world.post_token(&world.token_form(&code, &verifier)).await;
        assert_eq!(world.refused(Endpoint::Token), reason, "after {age} s");
    }
}

#[tokio::test]
async fn access_tokens_are_good_with_their_own_certificate_only() {
    let world = World::start().await;
    let tokens = world.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    let other = world.pki.issue_client(CLIENT).unwrap();
    let api = format!("{}accounts", world.api.base_url());
    let userinfo = world.double.mtls_url(Endpoint::Userinfo);
    for (identity, reason) in
        [(Some(&other), "bearer.certificate_mismatch"), (None, "bearer.certificate_missing")]
    {
        let http = world.http_as(identity);
        let answer = world.get_with(&http, &api, access).await;
        assert_eq!(answer.status, 401);
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
        assert_eq!(world.api.last("/accounts").unwrap().reason.as_deref(), Some(reason));
        assert_eq!(world.get_with(&http, &userinfo, access).await.status, 401);
        assert_eq!(world.refused(Endpoint::Userinfo), reason);
    }
    let url = format!("{api}?access_token={access}");
    send(world.http.get(url)).await;
    let event = world.api.last("/accounts").unwrap();
    assert_eq!(event.reason.as_deref(), Some("bearer.not_in_header"));
    world.advance(899);
    assert_eq!(world.get_api("accounts", access).await.status, 200);
    world.advance(1);
    assert_eq!(world.get_api("accounts", access).await.status, 401);
    let event = world.api.last("/accounts").unwrap();
    assert_eq!(event.reason.as_deref(), Some("bearer.token_expired"));
}

#[tokio::test]
async fn logout_needs_a_true_hint_and_a_registered_destination() {
    let world = World::start().await;
    let tokens = world.login().await;
    let id_token = tokens["id_token"].as_str().unwrap();
    let flipped = jws::flip_signature(id_token);
    let forged = World::sign(&world.pki.request_object, None, &jws::peek(id_token).unwrap().1);
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("id_token_hint_missing", &[("state", "x")]),
        ("id_token_hint", &[("id_token_hint", &flipped)]),
        ("id_token_hint", &[("id_token_hint", &forged)]),
        ("client_id", &[("id_token_hint", id_token), ("client_id", OTHER)]),
        (
            "post_logout_redirect_uri",
            &[("id_token_hint", id_token), ("post_logout_redirect_uri", "https://evil.example/")],
        ),
        ("duplicate_parameter", &[("state", "x"), ("state", "x")]),
    ];
    for (reason, query) in cases {
        let url = world.double.url(Endpoint::EndSession);
        let url = url::Url::parse_with_params(&url, query).unwrap();
        let answer = send(world.http.get(url)).await;
        assert_eq!(answer.status, 400);
        assert_eq!(world.refused(Endpoint::EndSession), format!("end_session.{reason}"));
    }
    assert_eq!(world.double.sessions().len(), 1);
}
