//! What a client is told of the end of a session, by the back channel and in frames, and that it is what
//! the specifications say until a test wants it otherwise (OIDC Back-Channel Logout §2, Front-Channel
//! Logout §2, §3).

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, routing::any};
use fapi_bff_conformance::{
    as_double::{AsConfig, Encryption, Endpoint, LogoutAnswer, Tamper, Target},
    demo::browser::{Browser, From as Coming},
    jws::{self, Alg, SigningKey},
    suite::mutation::Mutation,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::{Url, form_urlencoded};

use crate::client::{CLIENT, LOGGED_OUT, OTHER, World, form, send};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

type Received = Arc<Mutex<Vec<(HeaderMap, Vec<(String, String)>)>>>;

/// A client that answers every logout token with this status.
async fn client(status: StatusCode) -> (String, Received) {
    let received = Received::default();
    let heard = Arc::clone(&received);
    let router = Router::new().fallback(any(move |headers: HeaderMap, body: Bytes| {
        let pairs = form_urlencoded::parse(&body).into_owned().collect();
        heard.lock().unwrap().push((headers, pairs));
        async move { (status, [("cache-control", "no-store")]) }
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/logout", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (uri, received)
}

/// The client under test listens without TLS, which nothing else here speaks to.
#[expect(clippy::disallowed_methods, reason = "a harness client for a loopback listener")]
fn plain_http() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::new()
}

fn tells(uri: &str) -> impl FnOnce(&mut AsConfig) {
    let uri = uri.to_owned();
    move |config| {
        config.back_channel = Some(plain_http());
        config.clients[0].backchannel_logout_uri = Some(uri);
    }
}

/// The end-session address with the hint of this login.
fn end_session(world: &World, tokens: &Value) -> Url {
    let hint = [
        ("id_token_hint", tokens["id_token"].as_str().unwrap()),
        ("post_logout_redirect_uri", LOGGED_OUT),
    ];
    Url::parse_with_params(&world.double.url(Endpoint::EndSession), hint).unwrap()
}

fn received(received: &Received) -> Vec<(HeaderMap, Vec<(String, String)>)> {
    received.lock().unwrap().clone()
}

/// BCL-2.5, BCL-2.6-3, BCL-2.6-4/5/6, BCL-4.1
#[tokio::test]
async fn a_client_is_told_of_a_logout_by_a_token_while_the_browser_waits() {
    let (uri, heard) = client(StatusCode::OK).await;
    let world = World::start_with(tells(&uri)).await;
    let tokens = world.login().await;
    let (sid, sub) = world.double.sessions().pop().unwrap();
    let answer = send(world.http.get(end_session(&world, &tokens))).await;
    assert_eq!(answer.location().as_str(), LOGGED_OUT);
    let (headers, pairs) = received(&heard).pop().unwrap();
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert!(!headers.contains_key("cookie") && !headers.contains_key("authorization"));
    let names: Vec<_> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["logout_token", "unknown"], "a client must not mind the second");
    let token = jws::verify(&pairs[0].1, &world.jwks().await, &[Alg::Es256]).unwrap();
    assert_eq!(token.header["typ"], "logout+jwt");
    let claims = Value::Object(token.claims);
    assert_eq!(claims["iss"], world.double.issuer());
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!(CLIENT), &json!(sub)));
    assert_eq!((&claims["sid"], &claims["events"]), (&json!(sid), &json!({ EVENT: {} })));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 120);
    assert!(claims["jti"].as_str().is_some_and(|jti| jti.len() >= 43));
    assert!(claims.get("nonce").is_none());
    let event = world.double.last(Endpoint::EndSession).unwrap();
    let answered = json!({"status": 200, "cache_control": "no-store"});
    assert_eq!(event.notes["backchannel_logout"], answered);
    assert!(world.double.issued_secrets().contains(&pairs[0].1), "reports must not show it");
}

/// BCL-2.2
#[tokio::test]
async fn a_client_that_did_not_register_for_it_is_told_nothing() {
    let (uri, heard) = client(StatusCode::OK).await;
    let world = World::start_with(tells(&uri)).await;
    assert_eq!(world.double.log_out_by_back_channel(OTHER, Some("alice"), None).await, None);
    assert_eq!(world.double.front_channel_url(CLIENT, "s"), None);
    assert!(received(&heard).is_empty());
    let world = World::start().await;
    let tokens = world.login().await;
    let answer = send(world.http.get(end_session(&world, &tokens))).await;
    assert_eq!(answer.location().as_str(), LOGGED_OUT);
    let event = world.double.last(Endpoint::EndSession).unwrap();
    assert!(!event.notes.contains_key("backchannel_logout"));
}

/// BCL-2.8
#[tokio::test]
async fn what_the_client_answers_is_noted_and_so_is_that_it_does_not() {
    let (uri, _) = client(StatusCode::BAD_REQUEST).await;
    let world = World::start_with(tells(&uri)).await;
    let told = world.double.log_out_by_back_channel(CLIENT, Some("alice"), None).await;
    let expected = LogoutAnswer { status: 400, cache_control: "no-store".to_owned() };
    assert_eq!(told, Some(expected));
    let world = World::start_with(tells("http://127.0.0.1:1/logout")).await;
    let told = world.double.log_out_by_back_channel(CLIENT, Some("alice"), None).await;
    assert_eq!(told.map(|answer| answer.status), Some(0));
}

/// The official suite's logout tokens, each wrong in its one way and right in every other.
#[tokio::test]
async fn each_mutation_of_a_logout_token_is_the_suites() {
    let world = World::start().await;
    let token = || world.double.logout_token(CLIENT, Some("alice"), Some("s")).unwrap();
    let claims = |token: &str| Value::Object(jws::peek(token).unwrap().1);
    let right = claims(&token());
    let target = Target::LogoutToken;
    for (mutation, member, wrong) in [
        (Mutation::Absent(target, "events"), "events", Value::Null),
        (Mutation::OtherEvent, "events", json!({ format!("{EVENT}INVALID"): {} })),
        (Mutation::Invalid(target, "aud"), "aud", json!(format!("{CLIENT}INVALID"))),
        (
            Mutation::Invalid(target, "iss"),
            "iss",
            json!(format!("{}INVALID", world.double.issuer())),
        ),
    ] {
        world.double.reset_behaviour();
        world.double.behave(|behaviour| mutation.apply(behaviour));
        let mut found = claims(&token());
        assert_eq!(found[member], wrong, "{mutation:?}");
        let jti = found["jti"].take();
        assert_ne!(jti, right["jti"]);
        let mut right = right.clone();
        right["jti"].take();
        (found[member], right[member]) = (Value::Null, Value::Null);
        assert_eq!(found, right, "{mutation:?}");
    }
    world.double.reset_behaviour();
    world.double.behave(|b| Mutation::Unexpected(target, "nonce").apply(b));
    assert!(claims(&token())["nonce"].is_string());
    world.double.behave(|b| b.tamper(target, Tamper::AlgNone));
    let unsigned = token();
    assert!(unsigned.ends_with('.'));
    assert_eq!(jws::peek(&unsigned).unwrap().0["alg"], "none");
    world.double.reset_behaviour();
    world.double.behave(|b| b.tamper(target, Tamper::AlternateAlg));
    let (header, _) = jws::peek(&token()).unwrap();
    assert_eq!((&header["alg"], &header["typ"]), (&json!("RS256"), &json!("logout+jwt")));
    jws::verify(&token(), &world.jwks().await, &[Alg::Rs256]).unwrap();
    world.double.reset_behaviour();
    world.double.behave(|b| b.logout_token_typ = None);
    assert!(!jws::peek(&token()).unwrap().0.contains_key("typ"));
}

/// OIDC Back-Channel Logout §2.4: who has ID tokens encrypted has logout tokens encrypted.
#[tokio::test]
async fn a_logout_token_is_encrypted_where_id_tokens_are() {
    let key = SigningKey::generate(Alg::Rs256).unwrap();
    let mut public = key.public_jwk();
    public["use"] = json!("enc");
    let encryption = Encryption { alg: "RSA-OAEP-256".into(), enc: "A256GCM".into() };
    let world = World::start_with(|config| {
        let client = &mut config.clients[0];
        client.id_token_encrypted_response = Some(encryption);
        client.jwks["keys"].as_array_mut().unwrap().push(public);
    })
    .await;
    let token = world.double.logout_token(CLIENT, Some("alice"), None).unwrap();
    assert_eq!(token.split('.').count(), 5);
    let token = world.double.logout_token(OTHER, Some("alice"), None).unwrap();
    assert_eq!(token.split('.').count(), 3);
}

fn framed(required: bool) -> impl FnOnce(&mut AsConfig) {
    move |config| {
        let client = &mut config.clients[0];
        client.frontchannel_logout_uri = Some("https://app.localhost:1/out?x=1".to_owned());
        client.frontchannel_logout_session_required = required;
    }
}

/// FCL-2
#[tokio::test]
async fn the_logout_page_has_the_client_in_a_frame_and_goes_on() {
    for required in [true, false] {
        let world = World::start_with(framed(required)).await;
        let tokens = world.login().await;
        let (sid, _) = world.double.sessions().pop().unwrap();
        let mut browser = Browser::new(&world.pki, "https://app.localhost:1").unwrap();
        let url = end_session(&world, &tokens);
        let page = browser.navigate(Coming::CrossSite, url.as_str()).await.unwrap();
        assert_eq!(page.status, 200);
        let frame = Url::parse(&page.frames()[0]).unwrap();
        let query: Vec<_> = frame.query_pairs().into_owned().collect();
        let all = form(&[("x", "1"), ("iss", world.double.issuer()), ("sid", &sid)]);
        assert_eq!(query, if required { all } else { form(&[("x", "1")]) });
        assert_eq!(page.link().as_deref(), Some(LOGGED_OUT));
        let policy = page.header("content-security-policy");
        assert!(policy.contains("frame-src https://app.localhost:1;"), "{policy}");
        assert!(world.double.sessions().is_empty());
    }
}

/// FCL-2
#[tokio::test]
async fn the_server_ends_a_session_of_its_own_accord_and_no_other() {
    let world = World::start_with(framed(true)).await;
    world.login().await;
    let (first, _) = world.double.sessions().pop().unwrap();
    world.login().await;
    let page = |sid: &str| {
        let url = world.double.url(Endpoint::FrontChannelLogout);
        let url = Url::parse_with_params(&url, [("sid", sid)]).unwrap();
        send(world.http.get(url))
    };
    let answer = page(&first).await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.contains(&format!("sid={first}\"")), "{text}");
    assert!(!text.contains("<a "), "there is nowhere to go on to: {text}");
    assert_eq!(world.double.sessions().len(), 1);
    for gone in [first.as_str(), "", "unknown"] {
        assert_eq!(page(gone).await.status, 400);
        assert_eq!(world.refused(Endpoint::FrontChannelLogout), "front_channel_logout.session");
    }
    assert_eq!(world.double.sessions().len(), 1);
}

#[tokio::test]
async fn the_metadata_announce_both_channels() {
    let world = World::start().await;
    let metadata = send(world.http.get(world.double.url(Endpoint::Metadata))).await.json();
    for channel in ["backchannel", "frontchannel"] {
        for what in ["supported", "session_supported"] {
            assert_eq!(metadata[format!("{channel}_logout_{what}")], true);
        }
    }
}
