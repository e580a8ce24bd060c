//! What the ledger keeps of an exchange: the answer as it was decided, the fault that disturbed it,
//! and when.

use std::time::{Duration, Instant};

use fapi_bff_conformance::as_double::{Endpoint, Event, Fault, FaultRule, Outcome};
use serde_json::{Value, json};

use crate::client::{CLIENT, World, send};

fn json_body(event: &Event) -> Value {
    serde_json::from_str(&event.answer.body).unwrap()
}

#[tokio::test]
async fn answers_are_kept_as_sent_and_stay_out_of_debug() {
    let world = World::start().await;
    let tokens = world.login().await;
    let token = world.double.last(Endpoint::Token).unwrap();
    assert_eq!(json_body(&token), tokens);
    let header = |event: &Event, name: &str| {
        let mut headers = event.answer.headers.iter();
        headers.find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    assert_eq!(header(&token, "content-type").as_deref(), Some("application/json"));
    assert_eq!(header(&token, "cache-control").as_deref(), Some("no-store"));
    let authorize = world.double.last(Endpoint::Authorize).unwrap();
    assert_eq!(header(&authorize, "location"), world.double.last_authorization_redirect());
    assert_eq!(authorize.answer.body, "");
    let printed = format!("{token:?} {authorize:?}");
    assert!(world.double.issued_secrets().iter().all(|secret| !printed.contains(secret)));

    let refused = world.get_authorize(&[("client_id", CLIENT)]).await;
    let event = world.double.last(Endpoint::Authorize).unwrap();
    assert_eq!(event.answer.body, refused.text());
    assert!(event.answer.body.contains("authorize.request_uri_missing"));
    let refused = send(world.http.get(world.double.accounts_url())).await;
    let event = world.double.last(Endpoint::Accounts).unwrap();
    let sent = refused.headers["x-fapi-interaction-id"].to_str().unwrap();
    assert_eq!(header(&event, "x-fapi-interaction-id").as_deref(), Some(sent));
}

#[tokio::test]
async fn of_a_long_answer_64_kib_are_kept_and_all_is_sent() {
    let world = World::start().await;
    let long = json!({"kty": "AKP", "pub": "a".repeat(100_000)});
    world.double.behave(|b| b.extra_keys = vec![long]);
    let sent = send(world.http.get(world.double.url(Endpoint::Jwks))).await.text();
    let event = world.double.last(Endpoint::Jwks).unwrap();
    assert_eq!(event.answer.body.len(), 64 * 1024);
    assert!(sent.len() > 100_000 && sent.starts_with(&event.answer.body));
}

#[tokio::test]
async fn of_the_api_only_headers_are_kept() {
    let world = World::start().await;
    let tokens = world.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    world.get_api("download?bytes=10", access).await;
    let event = world.api.last("/download").unwrap();
    assert_eq!((event.status, event.answer.body.as_str()), (200, ""));
    assert!(event.answer.headers.iter().any(|(name, _)| name == "x-fapi-interaction-id"));
    world.api.fault("/accounts", Fault::invalid_token().once());
    world.get_api("accounts", access).await;
    let event = world.api.last("/accounts").unwrap();
    assert_eq!((event.outcome, &event.notes["fault"]), (Outcome::Faulted, &json!("respond")));
    assert!(event.answer.headers.is_empty() && event.checks.is_empty());
}

#[tokio::test]
async fn a_fault_is_named_and_the_answer_it_replaces_is_not_kept() {
    let world = World::start().await;
    let cases: Vec<(FaultRule, &str, Outcome, bool)> = vec![
        (Fault::status(503).once(), "respond", Outcome::Faulted, false),
        (Fault::status(503).once().after_handling(), "respond", Outcome::Accepted, false),
        (Fault::Oversized(100).once().after_handling(), "oversized", Outcome::Accepted, false),
        (Fault::Truncate(5).once(), "truncate", Outcome::Accepted, true),
        (Fault::ContentType("text/html".into()).once(), "content_type", Outcome::Accepted, true),
        (Fault::Delay(Duration::ZERO).once(), "delay", Outcome::Accepted, true),
    ];
    for (rule, name, outcome, kept) in cases {
        world.double.behave(|b| b.fault(Endpoint::Jwks, rule));
        send(world.http.get(world.double.url(Endpoint::Jwks))).await;
        let event = world.double.last(Endpoint::Jwks).unwrap();
        assert_eq!((event.outcome, &event.notes["fault"]), (outcome, &json!(name)));
        assert_eq!(!event.answer.body.is_empty(), kept, "{name}");
        assert_eq!(!event.answer.headers.is_empty(), kept, "{name}");
        assert_eq!(event.checks.is_empty(), outcome == Outcome::Faulted, "{name}");
    }
    send(world.http.get(world.double.url(Endpoint::Jwks))).await;
    assert!(!world.double.last(Endpoint::Jwks).unwrap().notes.contains_key("fault"));
}

#[tokio::test]
async fn events_are_numbered_and_dated_by_a_clock_that_only_goes_forward() {
    let before = Instant::now();
    let world = World::start().await;
    world.login().await;
    let first = world.double.events();
    world.double.clear_events();
    world.advance(-1000);
    world.jwks().await;
    let passed = u64::try_from(before.elapsed().as_millis()).unwrap();
    let events: Vec<Event> = first.into_iter().chain(world.double.events()).collect();
    assert_eq!(events.len(), 5);
    for (index, pair) in events.windows(2).enumerate() {
        assert_eq!((pair[0].seq, pair[1].seq), (index, index + 1));
        assert!(pair[0].at_ms <= pair[1].at_ms);
    }
    assert!(events[4].at_ms <= passed);
    assert!(events[4].at < events[0].at);
}
