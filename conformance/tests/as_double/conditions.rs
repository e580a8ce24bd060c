//! Every check is written down, held or not; what is only observed stops nobody.

use std::{collections::BTreeSet, sync::Arc};

use fapi_bff_conformance::{
    as_double::{
        AsConfig, ClientAuth, Conduct, Constraint, Endpoint, Event, Interaction, Outcome,
        RequestMethod, ResponseForm, edits, rules,
    },
    jws::{self, Object, random_token, sha256_b64},
    suite::verdict::Severity,
};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, version::TLS12};
use rustls::{crypto::aws_lc_rs, pki_types::pem::PemObject as _};
use serde_json::{Value, json};
use url::Url;

use crate::anybody::Anybody;
use crate::client::{CLIENT, LOGGED_OUT, START, World, form, object, send};

const ALL_SCOPES: &str = "openid profile email accounts payments";

/// Everything that can be asked of the authorization server and the API, asked correctly.
async fn tour(adjust: impl FnOnce(&mut AsConfig)) -> Vec<Event> {
    let world = World::start_with(adjust).await;
    let double = &world.double;
    for url in [double.url(Endpoint::Metadata), double.url(Endpoint::Jwks)] {
        assert_eq!(send(world.http.get(url)).await.status, 200);
    }
    let verifier = random_token();
    let mut claims = world.request_claims(CLIENT, &verifier);
    claims.insert("scope".into(), json!(ALL_SCOPES));
    let pushed = world.post_par(&world.par_form(CLIENT, &claims)).await.json();
    let request_uri = pushed["request_uri"].as_str().unwrap();
    let query = [("client_id", CLIENT), ("request_uri", request_uri)];
    let mut answer = world.get_authorize(&query).await;
    if answer.status == 200 {
        let decision = form(&[query[0], query[1], ("user", "bjork")]);
        answer = world.post(&double.url(Endpoint::Decision), &decision).await;
    }
    let code = world.jarm(&answer).await["code"].as_str().unwrap().to_owned();
    let tokens = world.post_token(&world.token_form(&code, &verifier)).await.json();
    let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
    let (access, refresh, id_token) =
        (text("access_token"), text("refresh_token"), text("id_token"));
    for url in [double.mtls_url(Endpoint::Userinfo), double.accounts_url()] {
        assert_eq!(world.get_with(&world.http, &url, &access).await.status, 200);
    }
    assert_eq!(world.get_api("accounts", &access).await.status, 200);
    let payment = world.http.post(format!("{}payments", world.api.base_url()));
    let payment = payment.header("authorization", format!("Bearer {access}")).body("{}");
    assert_eq!(send(payment).await.status, 201);
    assert_eq!(world.refresh(&refresh).await.status, 200);
    let authenticated = |more: &[(&str, &str)]| {
        let mut request = World::authentication(&world.assertion(CLIENT));
        request.extend(form(more));
        request
    };
    let own = authenticated(&[("grant_type", "client_credentials"), ("scope", "accounts")]);
    assert_eq!(world.post_token(&own).await.status, 200);
    for endpoint in [Endpoint::Introspection, Endpoint::Revocation] {
        let request = authenticated(&[("token", &refresh)]);
        assert_eq!(world.post(&double.mtls_url(endpoint), &request).await.status, 200);
    }
    let hint = [("id_token_hint", id_token.as_str()), ("post_logout_redirect_uri", LOGGED_OUT)];
    // By form and by query.
    let url = double.url(Endpoint::EndSession);
    assert!(world.post(&url, &form(&hint)).await.status < 400);
    send(world.http.get(Url::parse_with_params(&url, hint).unwrap())).await;
    if double.count(Endpoint::Decision) == 1 {
        let confirm = double.url(Endpoint::EndSessionDecision);
        assert_eq!(world.post(&confirm, &form(&hint)).await.status, 303);
    }
    let mut events = double.events();
    events.extend(world.api.events());
    events
}

async fn plain_push() -> Vec<Event> {
    let world = World::start_with(|config| config.conduct = Conduct::security_profile()).await;
    let mut request = World::authentication(&world.assertion(CLIENT));
    request.extend(form(&[
        ("client_id", CLIENT),
        ("response_type", "code"),
        ("redirect_uri", crate::client::REDIRECT_URI),
        ("scope", ALL_SCOPES),
        ("code_challenge", &sha256_b64(random_token().as_bytes())),
        ("code_challenge_method", "S256"),
    ]));
    assert_eq!(world.post_par(&request).await.status, 201);
    world.double.events()
}

/// The server logs somebody out of its own accord.
async fn logout_by_server() -> Vec<Event> {
    let world = World::start().await;
    world.login().await;
    let (sid, _) = world.double.sessions().pop().unwrap();
    let url = world.double.url(Endpoint::FrontChannelLogout);
    let url = Url::parse_with_params(&url, [("sid", sid)]).unwrap();
    assert_eq!(send(world.http.get(url)).await.status, 200);
    // The login before it is not as exact as the others here.
    let mut events = world.double.events();
    events.retain(|event| event.endpoint == Endpoint::FrontChannelLogout);
    events
}

/// From the request to a second token, by a server of this conduct and a correct client.
async fn journey(conduct: Conduct) -> Vec<Event> {
    let client = Anybody::start_with(conduct, |config| {
        config.authorization_details_types = vec!["payment".to_owned()];
    })
    .await;
    let double = &client.world.double;
    let api = client.world.api.base_url();
    let tokens = client
        .login_with(|claims| {
            claims.insert("resource".into(), json!([api]));
            claims.insert("authorization_details".into(), json!([{"type": "payment"}]));
        })
        .await;
    let text = |name: &str| tokens[name].as_str().unwrap_or_default().to_owned();
    let (access, refresh) = (text("access_token"), text("refresh_token"));
    assert_eq!(tokens["token_type"], conduct.constraint.token_type());
    assert_eq!(tokens.get("id_token").is_some(), conduct.openid);
    if conduct.openid {
        let userinfo = client.get(&client.url(Endpoint::Userinfo), &access).await;
        assert_eq!(userinfo.json()["sub"], "alice");
    }
    for url in [double.accounts_url(), format!("{api}accounts")] {
        assert_eq!(client.get(&url, &access).await.status, 200, "{url}");
    }
    let again = [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("resource", &api)];
    assert_eq!(client.post(Endpoint::Token, &again).await.status, 200);
    let other = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &access),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    assert_eq!(client.post(Endpoint::Token, &other).await.status, 200);
    for endpoint in [Endpoint::Introspection, Endpoint::Revocation] {
        assert_eq!(client.post(endpoint, &[("token", &refresh)]).await.status, 200);
    }
    assert_eq!(client.get(&double.accounts_url(), &access).await.status, 401);
    let mut events = double.events();
    assert_eq!(events.pop().unwrap().reason.as_deref(), Some("bearer.token_revoked"));
    events.extend(client.world.api.events());
    events
}

/// Every family, every way to ask, to answer, to authenticate and to bind.
fn conducts() -> Vec<Conduct> {
    let (sp, ms) = (Conduct::security_profile(), Conduct::message_signing());
    let (fapi1, oidc) = (Conduct::fapi1_advanced(), Conduct::openid_connect());
    let (jarm, pushed) = (ResponseForm::Jarm, RequestMethod::Pushed);
    let (dpop, certificate) = (Constraint::Dpop, ClientAuth::TlsClientAuth);
    vec![
        Conduct { constraint: dpop, ..ms },
        Conduct { client_auth: certificate, ..ms },
        Conduct { client_auth: certificate, constraint: dpop, openid: false, ..sp },
        Conduct { openid: false, ..sp },
        Conduct { response: jarm, ..sp },
        Conduct { signed_requests: true, ..sp },
        fapi1,
        Conduct { request_method: pushed, client_auth: certificate, ..fapi1 },
        Conduct { response: jarm, ..fapi1 },
        Conduct { response: jarm, openid: false, request_method: pushed, ..fapi1 },
        oidc,
        Conduct { client_auth: ClientAuth::SecretPost, request_method: pushed, ..oidc },
        Conduct { client_auth: ClientAuth::PrivateKeyJwt, signed_requests: true, ..oidc },
    ]
}

#[tokio::test]
async fn a_correct_client_breaks_no_rule_and_every_rule_is_seen_to_hold() {
    let mut events = tour(|_| {}).await;
    events.extend(tour(|config| config.interaction = Interaction::Page).await);
    events.extend(plain_push().await);
    events.extend(logout_by_server().await);
    for conduct in conducts() {
        events.extend(journey(conduct).await);
    }
    let mut held = BTreeSet::new();
    for event in &events {
        let challenged = event.outcome == Outcome::Challenged;
        assert!(challenged || event.outcome == Outcome::Accepted, "{event:?}");
        for check in &event.checks {
            let nonce = challenged && check.name == "dpop.nonce";
            assert_eq!(check.held, !nonce, "{:?} {check:?}", event.endpoint);
            if check.held {
                held.insert(check.name);
            }
        }
    }
    // Whatever lives nowhere can only be refused.
    let nowhere = ["api.not_found", "unknown.endpoint"];
    let expected: BTreeSet<&str> =
        rules().iter().map(|rule| rule.name).filter(|name| !nowhere.contains(name)).collect();
    assert_eq!(held.difference(&expected).collect::<Vec<_>>(), Vec::<&&str>::new());
    assert_eq!(expected.difference(&held).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[tokio::test]
async fn a_check_says_which_rule_of_whom_and_tells_no_secret() {
    let world = World::start().await;
    let mut claims = world.assertion_claims(CLIENT);
    edits::wrong("aud")(&mut claims);
    let assertion = World::sign(&world.pki.client_assertion, None, &claims);
    world.post_par(&World::authentication(&assertion)).await;
    let event = world.double.last(Endpoint::Par).unwrap();
    let check = event.check("client_auth.aud").unwrap();
    assert_eq!((check.held, check.severity), (false, Severity::Failure));
    assert!(check.clauses.contains(&"FAPI2-SP-5.3.3.1-5"));
    assert!(check.message.contains("aud is the issuer"), "{}", check.message);
    let before = event.check("client_auth.signature_invalid").unwrap();
    assert!(before.held);
    assert!(event.check("client_auth.jti_missing").is_none());
    let printed = format!("{:?}", event.checks);
    assert!(world.double.issued_secrets().iter().all(|secret| !printed.contains(secret)));
}

/// Names and severities of what did not hold, leaving out what is only said.
fn broken(event: &Event) -> Vec<(&'static str, Severity)> {
    let judged = |severity| severity != Severity::Info;
    let broken = event.checks.iter().filter(|check| !check.held && judged(check.severity));
    broken.map(|check| (check.name, check.severity)).collect()
}

type Change = Box<dyn Fn(&mut Object)>;

fn set(name: &'static str, value: Value) -> Change {
    Box::new(edits::set(name, value))
}

#[tokio::test]
async fn odd_request_objects_are_taken_and_noted() {
    let world = World::start().await;
    let day = 86_400;
    let fine = ("", Severity::Info);
    let nonce = ("request_object.nonce_form", Severity::Warning);
    let state = ("request_object.state_form", Severity::Warning);
    let old = ("request_object.iat_old", Severity::Failure);
    let unknown = ("request_object.unknown_claims", Severity::Warning);
    let cases: Vec<((&str, Severity), Change)> = vec![
        (fine, set("nonce", json!("n".repeat(43)))),
        (nonce, set("nonce", json!("n".repeat(44)))),
        (nonce, set("nonce", json!("a+b"))),
        (fine, Box::new(edits::remove("nonce"))),
        (fine, set("state", json!("s".repeat(128)))),
        (state, set("state", json!("s".repeat(129)))),
        (state, set("state", json!("a b"))),
        (fine, set("iat", json!(START - day))),
        (old, set("iat", json!(START - day - 1))),
        (fine, set("resource", json!("https://api.example/"))),
        (unknown, set("vendor", json!(true))),
    ];
    for (expected, change) in cases {
        let mut claims = world.request_claims(CLIENT, &random_token());
        change(&mut claims);
        assert_eq!(world.post_par(&world.par_form(CLIENT, &claims)).await.status, 201);
        let event = world.double.last(Endpoint::Par).unwrap();
        let expected = if expected == fine { vec![] } else { vec![expected] };
        assert_eq!(broken(&event), expected, "{claims:?}");
    }
}

#[tokio::test]
async fn scope_out_of_order_is_said_and_where_the_string_is_exact_refused() {
    for exact in [false, true] {
        let world = World::start_with(|config| config.clients[0].exact_scope = exact).await;
        for (scope, holds) in [(ALL_SCOPES, true), ("openid accounts profile email", false)] {
            let mut claims = world.request_claims(CLIENT, &random_token());
            claims.insert("scope".into(), json!(scope));
            world.post_par(&world.par_form(CLIENT, &claims)).await;
            let event = world.double.last(Endpoint::Par).unwrap();
            let said = event.check("request_object.scope_exact");
            if exact && !holds {
                assert_eq!(event.reason.as_deref(), Some("request_object.scope"));
            } else {
                let said = said.unwrap();
                assert_eq!((said.held, said.severity), (holds, Severity::Info));
                assert_eq!(event.reason, None);
            }
        }
    }
}

#[tokio::test]
async fn a_challenge_used_again_is_noted_even_at_another_server() {
    let verifier = random_token();
    let reused = vec![("request_object.code_challenge_reused", Severity::Failure)];
    for round in 0..2 {
        let world = World::start().await;
        for (time, expected) in [(0, vec![]), (1, reused.clone())] {
            world.push(CLIENT, &verifier).await;
            let event = world.double.last(Endpoint::Par).unwrap();
            let expected = if round == 0 { expected } else { reused.clone() };
            assert_eq!(broken(&event), expected, "server {round}, time {time}");
        }
    }
}

#[tokio::test]
async fn a_verifier_of_little_entropy_is_taken_and_noted() {
    let world = World::start().await;
    let weak = vec![("token.code_verifier_entropy", Severity::Warning)];
    for (verifier, expected) in [(random_token(), vec![]), ("ab".repeat(40), weak)] {
        let request_uri = world.push(CLIENT, &verifier).await;
        let query = [("client_id", CLIENT), ("request_uri", request_uri.as_str())];
        let code = world.jarm(&world.get_authorize(&query).await).await["code"].clone();
        let form = world.token_form(code.as_str().unwrap(), &verifier);
        assert_eq!(world.post_token(&form).await.status, 200);
        let event = world.double.last(Endpoint::Token).unwrap();
        assert_eq!(broken(&event), expected);
        assert!(!format!("{:?}", event.checks).contains(&verifier));
    }
}

#[tokio::test]
async fn a_dpop_proof_beside_certificate_bound_tokens_is_noted() {
    let world = World::start().await;
    let tokens = world.login().await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let noted = vec![("dpop.unexpected", Severity::Warning)];
    for (proof, expected) in [(None, vec![]), (Some("x.y.z"), noted)] {
        let mut request =
            world.http.get(world.double.accounts_url()).header("authorization", &bearer);
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        assert_eq!(send(request).await.status, 200);
        assert_eq!(broken(&world.double.last(Endpoint::Accounts).unwrap()), expected);
    }
}

#[tokio::test]
async fn tls_1_2_is_taken_and_noted() {
    let world = World::start().await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(world.pki.ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    #[expect(clippy::disallowed_methods, reason = "a client that speaks TLS 1.2 only")]
    let mut builder = reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy();
    for (host, addr) in world.double.resolve() {
        builder = builder.resolve(&host, addr);
    }
    let old = builder.build().unwrap();
    let noted = vec![("tls.version", Severity::Warning)];
    for (http, expected) in [(&world.http, vec![]), (&old, noted)] {
        assert_eq!(send(http.get(world.double.url(Endpoint::Jwks))).await.status, 200);
        let event = world.double.last(Endpoint::Jwks).unwrap();
        assert_eq!(broken(&event), expected);
        assert!(event.check("tls.cipher").unwrap().held);
    }
    let event = world.double.last(Endpoint::Jwks).unwrap();
    let message = &event.check("tls.version").unwrap().message;
    assert!(message.contains("TLSv1_2") && message.contains("ECDHE"), "{message}");
}

#[tokio::test]
async fn an_open_resource_of_the_api_finds_nothing_in_a_missing_token() {
    let world = World::start().await;
    let url = format!("{}echo-headers", world.api.base_url());
    let echo = send(world.http.get(&url)).await.json();
    assert_eq!(echo["authorization"]["valid"], false);
    let event = world.api.last("/echo-headers").unwrap();
    assert_eq!((event.outcome, broken(&event)), (Outcome::Accepted, vec![]));
    let accounts = format!("{}accounts", world.api.base_url());
    assert_eq!(send(world.http.get(&accounts)).await.status, 401);
    let event = world.api.last("/accounts").unwrap();
    assert_eq!(broken(&event), [("bearer.missing", Severity::Failure)]);
}

#[tokio::test]
async fn a_token_the_wrong_way_round_breaks_one_rule_and_holds_those_before_it() {
    let world = World::start().await;
    let claims = object(&json!({"iss": CLIENT}));
    let good = world.request_object(&claims);
    let mut request = World::authentication(&world.assertion(CLIENT));
    request.push(("request".to_owned(), jws::flip_signature(&good)));
    world.post_par(&request).await;
    assert_eq!(world.refused(Endpoint::Par), "request_object.signature_invalid");
    let event = world.double.last(Endpoint::Par).unwrap();
    for before in ["malformed", "header_not_allowed", "alg_not_allowed", "key_unknown"] {
        assert!(event.check(&format!("request_object.{before}")).unwrap().held, "{before}");
    }
    assert!(event.check("request_object.typ").is_none());
}
