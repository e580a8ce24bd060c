//! The ways by which the AS ends sessions: logout tokens it posts, frames it shows.

use std::{sync::Arc, time::Duration};

use fapi_bff::{
    clock::{Ambient, Clock as _, SystemEntropy},
    config,
    server::{Options, Server},
    session::Store,
    telemetry::Audit,
};
use fapi_bff_conformance::{
    as_double::{Endpoint, Fault, Tamper},
    demo::browser::{Answer, Browser, Call},
    faults::Gate,
    jws::Object,
    suite::world::free_port,
};
use http::Method;
use serde_json::{Value, json};

use crate::{
    house::{BANK, House, SHOP, TILL},
    outage::store::FlakyStore,
    support::{Bed, CLIENT_ID, Wish, soon, until},
};

const BACK: &str = "/bff/backchannel-logout";
const FRONT: &str = "/bff/frontchannel-logout";
const TYP: Option<&str> = Some("logout+jwt");
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const FORM: &str = "application/x-www-form-urlencoded";

/// A change of a token's claims.
type Change = Box<dyn Fn(&mut Object)>;

/// A request by nobody's browser.
async fn ask(
    http: &reqwest::Client,
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Answer {
    let request = format!("{method} {url}");
    let mut call = http.request(method, url).body(body);
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    let response = call.send().await.unwrap();
    Answer {
        request,
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap(),
    }
}

async fn post(bed: &Bed, kind: &str, body: String) -> Answer {
    let http = Browser::client(&bed.pki).unwrap();
    let url = format!("{}{BACK}", bed.origin);
    ask(&http, Method::POST, &url, &[("content-type", kind)], body).await
}

/// Posts a logout token as an AS does.
pub(crate) async fn hand_in(bed: &Bed, token: &str) -> Answer {
    post(bed, FORM, format!("logout_token={token}")).await
}

/// A good logout token.
pub(crate) fn logout_token(bed: &Bed, sub: Option<&str>, sid: Option<&str>) -> String {
    let claims = bed.double.logout_token_claims(CLIENT_ID, sub, sid);
    bed.double.sign_as_server(TYP, &claims, None).unwrap()
}

fn audit(outcome: &str, reason: &str) -> (String, String) {
    (outcome.to_owned(), reason.to_owned())
}

fn sid_is_shown() -> (&'static str, String) {
    ("absolute = \"8h\"", "absolute = \"8h\"\nclaims = [\"sub\", \"sid\"]".to_owned())
}

async fn bed_with(lines: &str) -> Bed {
    let app = format!("[apps.web]\n{lines}");
    let edit = vec![sid_is_shown(), ("[apps.web]", app)];
    Bed::with(Wish { edit, ..Wish::default() }).await
}

async fn bed() -> Bed {
    bed_with("").await
}

/// A browser with a session, and the name the AS has for it.
async fn logged_in(bed: &Bed) -> (Browser, String) {
    let mut browser = bed.browser();
    let session = bed.login(&mut browser).await;
    let sid = session["id_token_claims"]["sid"].as_str().unwrap().to_owned();
    assert_eq!(session["id_token_claims"]["sub"], "alice");
    (browser, sid)
}

/// An answer to a logout token, in every respect that holds for all of them.
#[track_caller]
fn judged(answer: &Answer, status: u16) {
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.cookies().is_empty(), "no browser is involved");
    if status == 200 {
        assert_eq!(body, "");
    } else {
        let body: Value = serde_json::from_str(&body).unwrap();
        let error = if status == 400 { "invalid_request" } else { "temporarily_unavailable" };
        assert_eq!(body["error"], error);
        assert_eq!(body["request_id"], answer.header("x-request-id"));
        assert_eq!(body.as_object().unwrap().len(), 2, "the reason stays with us: {body}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("retry-after"), if status == 503 { "2" } else { "" });
    }
}

/// BCL-2.2, BCL-2.5, BCL-2.7, BCL-2.8: one session of several ends, for every holder of its cookie, before
/// the AS has its answer.
#[tokio::test]
async fn a_logout_token_ends_the_session_of_its_sid() {
    let bed = bed().await;
    let (mut one, sid) = logged_in(&bed).await;
    let (mut other, other_sid) = logged_in(&bed).await;
    assert_ne!(sid, other_sid);
    let mut tab = one.clone();
    // Parameters that we do not know are ignored, as in the official suite.
    let token = logout_token(&bed, None, Some(&sid));
    judged(&post(&bed, FORM, format!("unknown=1&logout_token={token}&x=")).await, 200);
    let api = one.fetch(Call::get("/api/accounts")).await.unwrap();
    api.expect_refusal(401, "session_missing").unwrap();
    assert!(!bed.is_logged_in(&mut tab).await);
    let refresh = tab.fetch(Call::post("/bff/refresh")).await.unwrap();
    refresh.expect_refusal(401, "session_missing").unwrap();
    assert!(bed.is_logged_in(&mut other).await);
    assert_eq!(bed.last_audit("logout.backchannel"), audit("success", "none"));
    assert_eq!(bed.last_audit("session.end"), audit("success", "backchannel_logout"));
    let accepted =
        "fapi_bff_backchannel_logouts_total{app=\"web\",outcome=\"accepted\",reason=\"none\"} 1";
    assert!(bed.metrics().contains(accepted), "{}", bed.metrics());
    let ended = "fapi_bff_sessions_ended_total{app=\"web\",reason=\"backchannel_logout\"} 1";
    assert!(bed.metrics().contains(ended), "{}", bed.metrics());
    // Who it was, by pseudonym only; the line names the session that ended.
    let events = bed.audit.events();
    let line = |action| events.iter().rev().find(|event| event["action"] == action).unwrap();
    assert_eq!(line("logout.backchannel")["session"], line("session.end")["session"]);
    let text = events.iter().map(ToString::to_string).collect::<String>();
    assert!(!text.contains(&sid) && !text.contains("alice") && !text.contains(&token));
}

/// BCL-2.7: without a `sid` all devices of the person.
#[tokio::test]
async fn a_logout_token_without_a_sid_ends_all_sessions_of_its_subject() {
    let bed = bed().await;
    let (mut one, _) = logged_in(&bed).await;
    let (mut other, _) = logged_in(&bed).await;
    judged(&hand_in(&bed, &logout_token(&bed, Some("bob"), None)).await, 200);
    assert_eq!(bed.last_audit("logout.backchannel"), audit("success", "session.unknown"));
    for browser in [&mut one, &mut other] {
        assert!(bed.is_logged_in(browser).await);
    }
    judged(&hand_in(&bed, &logout_token(&bed, Some("alice"), None)).await, 200);
    for browser in [&mut one, &mut other] {
        assert!(!bed.is_logged_in(browser).await);
    }
    let ended =
        bed.metric("fapi_bff_sessions_ended_total{app=\"web\",reason=\"backchannel_logout\"}");
    assert!((ended - 2.0).abs() < 0.5);
    let events = bed.audit.events();
    let line = events.iter().rev().find(|e| e["action"] == "logout.backchannel").unwrap();
    assert!(line["subject"].is_string(), "{line}");
}

/// BCL-2.7: with both, both must match; the sid of another's session is nobody's.
#[tokio::test]
async fn a_sid_and_a_subject_must_both_match() {
    let bed = bed().await;
    let (mut browser, sid) = logged_in(&bed).await;
    for (sub, sid) in [("bob", sid.as_str()), ("alice", "another"), (sid.as_str(), "alice")] {
        judged(&hand_in(&bed, &logout_token(&bed, Some(sub), Some(sid))).await, 200);
        assert_eq!(bed.last_audit("logout.backchannel"), audit("success", "session.unknown"));
        assert!(bed.is_logged_in(&mut browser).await);
    }
    judged(&hand_in(&bed, &logout_token(&bed, Some("alice"), Some(&sid))).await, 200);
    assert!(!bed.is_logged_in(&mut browser).await);
}

/// BCL-2.7, BCL-2.8: already logged out is logged out, as after an RP-initiated logout.
#[tokio::test]
async fn a_session_that_has_ended_before_is_no_failure() {
    let bed = bed().await;
    let (mut browser, sid) = logged_in(&bed).await;
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    judged(&hand_in(&bed, &logout_token(&bed, Some("alice"), Some(&sid))).await, 200);
    assert_eq!(bed.last_audit("logout.backchannel"), audit("success", "session.unknown"));
    assert_eq!(bed.last_audit("session.end"), audit("success", "logout"));
}

/// BCL-2.6-7: once, whatever happens to the process in between; and a replay ends no session that began
/// since.
#[tokio::test]
async fn a_logout_token_works_once() {
    let mut bed = bed().await;
    let (_, _) = logged_in(&bed).await;
    let token = logout_token(&bed, Some("alice"), None);
    judged(&hand_in(&bed, &token).await, 200);
    let (mut browser, _) = logged_in(&bed).await;
    bed.clock.advance(60);
    for restarted in [false, true] {
        if restarted {
            bed.restart().await;
        }
        judged(&hand_in(&bed, &token).await, 400);
        let replayed = audit("rejected", "logout_token.replayed");
        assert_eq!(bed.last_audit("logout.backchannel"), replayed);
        assert!(bed.is_logged_in(&mut browser).await);
    }
    // At its last second it is remembered still; from then on it is dead by itself.
    bed.clock.advance(69);
    judged(&hand_in(&bed, &token).await, 400);
    assert_eq!(bed.last_audit("logout.backchannel"), audit("rejected", "logout_token.replayed"));
    bed.clock.advance(1);
    judged(&hand_in(&bed, &token).await, 400);
    assert_eq!(bed.last_audit("logout.backchannel"), audit("rejected", "logout_token.expired"));
    assert!(bed.is_logged_in(&mut browser).await);
}

/// BCL-2.6-1/2, BCL-2.6-3, BCL-2.6-4/5/6, BCL-2.8, BCL-4.1: 400, never 200 or 500, each for its reason, and
/// the session lives.
#[tokio::test]
async fn a_logout_token_that_breaks_a_rule_ends_nothing() {
    let bed = bed().await;
    let (mut browser, sid) = logged_in(&bed).await;
    let now = bed.clock.now().as_i64();
    let set = |name: &'static str, value: Value| {
        move |claims: &mut Object| {
            claims.insert(name.to_owned(), value.clone());
        }
    };
    let without = |names: &'static [&'static str]| -> Change {
        Box::new(move |claims| names.iter().for_each(|name| drop(claims.remove(*name))))
    };
    let as_is = || -> Change { Box::new(|_| {}) };
    let cases: Vec<(Change, Option<&str>, Option<Tamper>, &str)> = vec![
        (as_is(), TYP, Some(Tamper::AlgNone), "alg_not_allowed"),
        (as_is(), TYP, Some(Tamper::AlternateAlg), "alg_not_allowed"),
        (as_is(), TYP, Some(Tamper::WrongKey), "signature_invalid"),
        (as_is(), TYP, Some(Tamper::Flip), "signature_invalid"),
        (as_is(), None, None, "typ_not_allowed"),
        (as_is(), Some("JWT"), None, "typ_not_allowed"),
        (
            Box::new(set("iss", json!(format!("{}x", bed.double.issuer())))),
            TYP,
            None,
            "issuer_mismatch",
        ),
        (without(&["iss"]), TYP, None, "issuer_missing"),
        (Box::new(set("aud", json!(format!("{CLIENT_ID}x")))), TYP, None, "audience_mismatch"),
        (Box::new(set("aud", json!([CLIENT_ID, "other"]))), TYP, None, "audience_untrusted"),
        (without(&["aud"]), TYP, None, "audience_missing"),
        (without(&["exp"]), TYP, None, "expiry_missing"),
        (Box::new(set("exp", json!(now - 10))), TYP, None, "expired"),
        (without(&["iat"]), TYP, None, "issued_at_missing"),
        (Box::new(set("iat", json!(now + 31))), TYP, None, "issued_in_future"),
        (Box::new(set("exp", json!(now + 601))), TYP, None, "lifetime_too_long"),
        (without(&["jti"]), TYP, None, "jti_missing"),
        (without(&["events"]), TYP, None, "events_missing"),
        (Box::new(set("events", json!({ format!("{EVENT}x"): {} }))), TYP, None, "event_missing"),
        (Box::new(set("events", json!({ EVENT: "{}" }))), TYP, None, "event_invalid"),
        (Box::new(set("nonce", json!("n"))), TYP, None, "nonce_present"),
        (without(&["sub", "sid"]), TYP, None, "nobody_named"),
    ];
    for (change, typ, tamper, reason) in cases {
        let mut claims = bed.double.logout_token_claims(CLIENT_ID, Some("alice"), Some(&sid));
        change(&mut claims);
        let token = bed.double.sign_as_server(typ, &claims, tamper.as_ref()).unwrap();
        judged(&hand_in(&bed, &token).await, 400);
        let reason = format!("logout_token.{reason}");
        assert_eq!(bed.last_audit("logout.backchannel"), audit("rejected", &reason));
        let line = format!("outcome=\"rejected\",reason=\"{reason}\"}}");
        assert!(bed.metrics().contains(&line), "{line}");
        assert!(bed.is_logged_in(&mut browser).await, "{reason}");
    }
    // Nor does an ID token of this very session.
    let id_tokens = bed.double.issued_secrets();
    let id_tokens = id_tokens.iter().filter(|secret| secret.split('.').count() == 3);
    for token in id_tokens {
        judged(&hand_in(&bed, token).await, 400);
    }
    // What was refused was not used up, and what is good still works.
    judged(&hand_in(&bed, &logout_token(&bed, Some("alice"), Some(&sid))).await, 200);
    assert!(!bed.is_logged_in(&mut browser).await);
}

/// BCL-2.5, BCL-2.8: a form by POST with one token, and nothing else.
#[tokio::test]
async fn only_a_form_with_one_token_is_a_logout() {
    let bed = bed().await;
    let (mut browser, sid) = logged_in(&bed).await;
    let token = logout_token(&bed, None, Some(&sid));
    let json = json!({ "logout_token": token }).to_string();
    let large = format!("logout_token={token}&x={}", "a".repeat(64 * 1024));
    for (kind, body, reason) in [
        ("application/json", json, "missing"),
        ("text/plain", format!("logout_token={token}"), "missing"),
        ("application/jwt", token.clone(), "missing"),
        (FORM, String::new(), "missing"),
        (FORM, format!("token={token}"), "missing"),
        (FORM, large, "missing"),
        (FORM, format!("logout_token={token}&logout_token={token}"), "repeated"),
        (FORM, "logout_token=".to_owned(), "malformed"),
        (FORM, format!("logout_token={}", "a".repeat(20_000)), "too_large"),
    ] {
        judged(&post(&bed, kind, body).await, 400);
        let reason = format!("logout_token.{reason}");
        assert_eq!(bed.last_audit("logout.backchannel"), audit("rejected", &reason), "{kind}");
    }
    let http = Browser::client(&bed.pki).unwrap();
    let url = format!("{}{BACK}?logout_token={token}", bed.origin);
    judged(&ask(&http, Method::POST, &url, &[], String::new()).await, 400);
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        let answer = ask(&http, method, &url, &[], String::new()).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert!(bed.is_logged_in(&mut browser).await);
    // Whoever brings a good one: no header and no cookie matters, and none is set.
    let foreign = Call::post(BACK).form(&format!("logout_token={token}"));
    let foreign = foreign.without_custom_header().by_origin("https://evil.example");
    judged(&bed.browser().fetch(foreign).await.unwrap(), 200);
    assert!(!bed.is_logged_in(&mut browser).await);
}

/// BCL-PRJ, BCL-2.6-7: what the store does not confirm has not happened; the same token may come again.
#[tokio::test]
async fn while_the_store_is_down_a_logout_is_not_done_and_can_be_repeated() {
    let store = FlakyStore::new();
    let wish = Wish {
        edit: vec![sid_is_shown()],
        store: Some(Arc::clone(&store) as Arc<dyn Store>),
        ..Wish::default()
    };
    let bed = Bed::with(wish).await;
    // Before the token is used up, in between, and at the end.
    for operation in ["consume_once", "find", "load", "remove", "mark"] {
        let (mut browser, sid) = logged_in(&bed).await;
        let (mut other, _) = logged_in(&bed).await;
        let token = logout_token(&bed, Some("alice"), Some(&sid));
        store.fail(&[operation]);
        for _ in 0..2 {
            judged(&hand_in(&bed, &token).await, 503);
            let failed = audit("failed", "store.unavailable");
            assert_eq!(bed.last_audit("logout.backchannel"), failed, "{operation}");
        }
        store.heal();
        // Only that all is done could not be noted at the end.
        assert_eq!(bed.is_logged_in(&mut browser).await, operation != "mark", "{operation}");
        judged(&hand_in(&bed, &token).await, 200);
        assert!(!bed.is_logged_in(&mut browser).await, "{operation}");
        assert!(bed.is_logged_in(&mut other).await, "{operation}");
        judged(&hand_in(&bed, &token).await, 400);
        let replayed = audit("rejected", "logout_token.replayed");
        assert_eq!(bed.last_audit("logout.backchannel"), replayed, "{operation}");
    }
}

/// BCL-PRJ, BCL-2.6-7: what one instance had to break off another one finishes; what is done is a replay at
/// all of them.
#[tokio::test]
async fn another_instance_finishes_what_one_had_to_break_off() {
    let store = FlakyStore::new();
    let shared = || Some(Arc::clone(&store) as Arc<dyn Store>);
    let edit = vec![sid_is_shown()];
    let bed = Bed::with(Wish { edit, store: shared(), ..Wish::default() }).await;
    let (mut browser, sid) = logged_in(&bed).await;
    let file = bed.dir.path().join("second.toml");
    let port = bed.origin.rsplit(':').next().unwrap();
    let other_port = free_port().to_string();
    std::fs::write(&file, bed.toml.replace(port, &other_port)).unwrap();
    let settings = config::load(&file, []).unwrap_or_else(|faults| panic!("{faults}"));
    let ambient = Ambient { clock: bed.clock.clone(), entropy: Arc::new(SystemEntropy::new()) };
    let (audit, _) = Audit::memory(bed.clock.clone());
    let options = Options { ambient, audit: Some(audit), store: shared() };
    let other = Server::start(settings, options).await.unwrap();

    let token = logout_token(&bed, None, Some(&sid));
    store.fail(&["remove"]);
    judged(&hand_in(&bed, &token).await, 503);
    store.heal();
    let http = Browser::client(&bed.pki).unwrap();
    let url = format!("https://app.localhost:{other_port}{BACK}");
    let headers = [("content-type", FORM)];
    let there = async || {
        let body = format!("logout_token={token}");
        ask(&http, Method::POST, &url, &headers, body).await
    };
    judged(&there().await, 200);
    assert!(!bed.is_logged_in(&mut browser).await);
    judged(&hand_in(&bed, &token).await, 400);
    judged(&there().await, 400);
    other.shutdown().await;
}

/// JWK-ROT: a new key of the AS is fetched; while that fails nobody knows whether the token is good.
#[tokio::test]
async fn without_the_keys_a_logout_token_is_neither_good_nor_bad() {
    let bed = bed().await;
    let (mut browser, sid) = logged_in(&bed).await;
    bed.double.rotate_keys(true).unwrap();
    let token = logout_token(&bed, None, Some(&sid));
    bed.clock.advance(20);
    bed.double.behave(|as_| as_.fault(Endpoint::Jwks, Fault::status(503)));
    judged(&hand_in(&bed, &token).await, 503);
    assert_eq!(bed.last_audit("logout.backchannel"), audit("failed", "as.unavailable"));
    assert!(bed.is_logged_in(&mut browser).await);
    bed.double.behave(|as_| as_.heal(Endpoint::Jwks));
    bed.clock.advance(20);
    judged(&hand_in(&bed, &token).await, 200);
    assert!(!bed.is_logged_in(&mut browser).await);
}

/// BCL-4.1: a setting lets tokens of older servers in, which have no type, and no others.
#[tokio::test]
async fn a_missing_type_can_be_permitted_and_another_one_cannot() {
    let setting = "client_id = \"bed-client\"\nlogout_token_typ_required = false";
    let edit = vec![sid_is_shown(), ("client_id = \"bed-client\"", setting.to_owned())];
    let bed = Bed::with(Wish { edit, ..Wish::default() }).await;
    for (typ, status) in [(Some("JWT"), 400), (Some("at+jwt"), 400), (None, 200), (TYP, 200)] {
        let (mut browser, sid) = logged_in(&bed).await;
        let claims = bed.double.logout_token_claims(CLIENT_ID, None, Some(&sid));
        let token = bed.double.sign_as_server(typ, &claims, None).unwrap();
        judged(&hand_in(&bed, &token).await, status);
        assert_eq!(bed.is_logged_in(&mut browser).await, status == 400, "{typ:?}");
    }
}

/// What an app does not take is not there; the front channel is not unless somebody wants it (FCL-PRJ).
#[tokio::test]
async fn a_channel_that_is_off_is_not_there() {
    let bed = bed_with("backchannel_logout = false").await;
    let (mut browser, sid) = logged_in(&bed).await;
    let answer = hand_in(&bed, &logout_token(&bed, None, Some(&sid))).await;
    answer.expect_refusal(404, "not_found").unwrap();
    let answer = frame(&bed, &query(bed.double.issuer(), &sid)).await;
    assert_eq!(answer.header("x-frame-options"), "DENY");
    answer.expect_refusal(404, "not_found").unwrap();
    assert!(bed.is_logged_in(&mut browser).await);
    assert!(bed.audit.events().iter().all(|event| event["action"] != "logout.backchannel"));
}

/// BCL-2.5: whoever floods is told to come back, at once and for little; the others get their turn.
#[tokio::test]
async fn a_flood_of_logout_tokens_is_held_back() {
    let bed = bed().await;
    until("the start", || bed.double.accepted(Endpoint::Metadata) > 0).await;
    let gate = Gate::new();
    bed.double.behave(|as_| as_.fault(Endpoint::Jwks, Fault::Gate(Arc::clone(&gate))));
    let http = Browser::client(&bed.pki).unwrap();
    let url = format!("{}{BACK}", bed.origin);
    let token = logout_token(&bed, Some("alice"), None);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..80 {
        let (http, url) = (http.clone(), url.clone());
        let body = format!("logout_token={token}&x={number}");
        calls.spawn(async move {
            ask(&http, Method::POST, &url, &[("content-type", FORM)], body).await
        });
    }
    let busy =
        "fapi_bff_backchannel_logouts_total{app=\"web\",outcome=\"failed\",reason=\"logout.busy\"}";
    until("some are turned away", || bed.metric(busy) >= 16.0).await;
    gate.open();
    let answers = soon("the answers", calls.join_all()).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    for answer in &answers {
        judged(answer, answer.status);
    }
    // One is the first of its kind, the others of those that had their turn are replays.
    assert_eq!((count(200), count(200) + count(400) + count(503)), (1, 80));
    assert!(count(503) >= 16 && count(400) >= 1, "{} {}", count(503), count(400));
    let lines = bed.audit.events();
    assert!(
        lines.iter().all(|line| line["reason"] != "logout.busy"),
        "a flood is not written down"
    );
    assert_eq!(hand_in(&bed, &logout_token(&bed, Some("alice"), None)).await.status, 200);
}

/// BCL-2.7, DESIGN: whom an AS logs out, it logs out of all apps that use it, and of no others.
#[tokio::test]
async fn all_apps_of_the_issuer_and_no_others_are_left() {
    let house = House::start(&[BANK, TILL, SHOP]).await;
    let mut browsers = Vec::new();
    for part in [BANK, TILL, SHOP] {
        browsers.push((part, house.logged_in(&part).await));
    }
    let claims = house.double(&BANK).logout_token_claims(CLIENT_ID, Some("alice"), None);
    let token = house.double(&BANK).sign_as_server(TYP, &claims, None).unwrap();
    let to = async |part, token: &str| {
        let call = Call::post(BACK).form(&format!("logout_token={token}"));
        let mut browser = house.browser(&part);
        browser.fetch(call.without_custom_header()).await.unwrap().status
    };
    // Another client's token, and another issuer's, are nothing at this app.
    assert_eq!(to(TILL, &token).await, 400);
    assert_eq!(house.last_audit("logout.backchannel")["reason"], "logout_token.audience_mismatch");
    assert_eq!(to(SHOP, &token).await, 400);
    for (part, browser) in &mut browsers {
        assert!(house.is_logged_in(part, browser).await, "{}", part.name);
    }
    assert_eq!(to(BANK, &token).await, 200);
    for (part, browser) in &mut browsers {
        let alive = part.provider != BANK.provider;
        assert_eq!(house.is_logged_in(part, browser).await, alive, "{}", part.name);
    }
}

fn query(issuer: &str, sid: &str) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("iss", issuer).append_pair("sid", sid).finish()
}

/// What a browser asks for a frame on a page of another site: without any cookie.
async fn frame(bed: &Bed, query: &str) -> Answer {
    let http = Browser::client(&bed.pki).unwrap();
    let url = format!("{}{FRONT}?{query}", bed.origin);
    let headers = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "iframe"),
    ];
    ask(&http, Method::GET, &url, &headers, String::new()).await
}

#[track_caller]
fn framed(bed: &Bed, answer: &Answer, status: u16) {
    assert_eq!(answer.status, status);
    assert!(answer.body.is_empty(), "the page is empty");
    assert!(answer.cookies().is_empty());
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    let origin = url::Url::parse(bed.double.issuer()).unwrap().origin().ascii_serialization();
    let policy = format!(
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors {origin}"
    );
    assert_eq!(answer.header("content-security-policy"), policy);
    assert_eq!(answer.header("x-frame-options"), "");
}

/// FCL-2, FCL-4.1, FCL-PRJ: by issuer and sid alone, in a frame that only this AS may show; it tells nobody
/// whether there was such a session.
#[tokio::test]
async fn a_frame_of_the_as_ends_the_session_of_its_sid() {
    let bed = bed_with("frontchannel_logout = true").await;
    let (mut browser, sid) = logged_in(&bed).await;
    let (mut other, _) = logged_in(&bed).await;
    let issuer = bed.double.issuer().to_owned();
    let nothing = frame(&bed, &query(&issuer, "another")).await;
    framed(&bed, &nothing, 200);
    assert_eq!(bed.last_audit("logout.frontchannel"), audit("success", "session.unknown"));
    let done = frame(&bed, &format!("{}&x=1", query(&issuer, &sid))).await;
    framed(&bed, &done, 200);
    assert_eq!(bed.last_audit("logout.frontchannel"), audit("success", "none"));
    assert_eq!(bed.last_audit("session.end"), audit("success", "frontchannel_logout"));
    let differing = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        for name in ["x-request-id", "date"] {
            headers.remove(name);
        }
        headers
    };
    assert_eq!(differing(&nothing), differing(&done), "a frame is no oracle");
    assert!(!bed.is_logged_in(&mut browser).await);
    assert!(bed.is_logged_in(&mut other).await);
    // Everything else of the app stays out of frames.
    let page = bed.browser().fetch(Call::get("/bff/session")).await.unwrap();
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
}

/// FCL-2, FCL-PRJ: both names, each once, and the issuer to the letter; a frame, and nothing else.
#[tokio::test]
async fn a_frame_that_names_no_session_of_this_issuer_ends_nothing() {
    let bed = bed_with("frontchannel_logout = true").await;
    let (mut browser, sid) = logged_in(&bed).await;
    let issuer = bed.double.issuer().to_owned();
    let (whole, slashless) = (query(&issuer, &sid), issuer.trim_end_matches('/'));
    let only = |name: &str, value: &str| {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair(name, value).finish()
    };
    for (query, reason) in [
        (String::new(), "issuer_missing"),
        (only("sid", &sid), "issuer_missing"),
        (only("iss", &issuer), "sid_missing"),
        (query(&issuer, ""), "sid_missing"),
        (query(&issuer, &"a".repeat(1025)), "sid_missing"),
        (format!("{whole}&{}", only("iss", &issuer)), "issuer_missing"),
        (format!("{whole}&{}", only("sid", &sid)), "sid_missing"),
        (query("https://evil.example/", &sid), "issuer_mismatch"),
        (query(&format!("{issuer}x"), &sid), "issuer_mismatch"),
        (query(slashless, &sid), "issuer_mismatch"),
    ] {
        if slashless == issuer && query == whole {
            continue;
        }
        framed(&bed, &frame(&bed, &query).await, 400);
        let reason = format!("frontchannel.{reason}");
        assert_eq!(bed.last_audit("logout.frontchannel"), audit("rejected", &reason), "{query}");
    }
    let (http, url) =
        (Browser::client(&bed.pki).unwrap(), format!("{}{FRONT}?{whole}", bed.origin));
    for (mode, dest) in [("navigate", "document"), ("no-cors", "image"), ("cors", "empty")] {
        let headers = [("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
        framed(&bed, &ask(&http, Method::GET, &url, &headers, String::new()).await, 403);
        assert_eq!(bed.last_audit("guard.reject"), audit("rejected", "guard.not_a_frame"));
    }
    for method in [Method::POST, Method::HEAD] {
        assert_eq!(ask(&http, method, &url, &[], String::new()).await.status, 405);
    }
    assert!(bed.is_logged_in(&mut browser).await);
    // An older browser says nothing of frames.
    framed(&bed, &ask(&http, Method::GET, &url, &[], String::new()).await, 200);
    assert!(!bed.is_logged_in(&mut browser).await);
}

/// A store that does not answer is no logout.
#[tokio::test]
async fn a_frame_is_told_when_the_store_is_down() {
    let store = FlakyStore::new();
    let app = ("[apps.web]", "[apps.web]\nfrontchannel_logout = true".to_owned());
    let wish = Wish {
        edit: vec![sid_is_shown(), app],
        store: Some(Arc::clone(&store) as Arc<dyn Store>),
        ..Wish::default()
    };
    let bed = Bed::with(wish).await;
    let (mut browser, sid) = logged_in(&bed).await;
    store.fail(&["find"]);
    let answer = frame(&bed, &query(bed.double.issuer(), &sid)).await;
    framed(&bed, &answer, 503);
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(bed.last_audit("logout.frontchannel"), audit("failed", "store.unavailable"));
    store.heal();
    assert!(bed.is_logged_in(&mut browser).await);
}

fn revocations(bed: &Bed, outcome: &str) -> f64 {
    let start = format!("fapi_bff_revocations_total{{outcome=\"{outcome}\",provider=\"as\"}}");
    bed.metric(&start)
}

/// REV-2.1, REV-2.2, REV-2.2.1: what becomes of tokens that are given up is counted, by the AS's answer.
#[tokio::test]
async fn what_becomes_of_revoked_tokens_is_counted() {
    let bed = bed().await;
    let mut handed_over = 0.0;
    for (fault, outcome) in [
        (None, "revoked"),
        (Some(Fault::oauth_error(400, "unsupported_token_type")), "unsupported"),
        (Some(Fault::oauth_error(401, "invalid_client")), "refused"),
        (Some(Fault::status(404)), "failed"),
    ] {
        let (mut browser, _) = logged_in(&bed).await;
        if let Some(fault) = fault {
            bed.double.behave(|as_| as_.fault(Endpoint::Revocation, fault));
        }
        browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
        until(outcome, || revocations(&bed, outcome) >= 2.0).await;
        handed_over += 2.0;
        assert!((revocations(&bed, "given_up") - handed_over).abs() < 0.5, "{outcome}");
        bed.double.behave(|as_| as_.heal(Endpoint::Revocation));
    }
    assert!(revocations(&bed, "dropped") < 0.5);
}

/// REV-2.2.1: the AS says when.
#[tokio::test]
async fn a_busy_as_is_asked_again_when_it_said() {
    let bed = bed().await;
    let (mut browser, _) = logged_in(&bed).await;
    let wait = Fault::Respond {
        status: 503,
        content_type: "text/plain".to_owned(),
        body: Vec::new(),
        headers: vec![("retry-after".to_owned(), "3".to_owned())],
    };
    bed.double.behave(|as_| as_.fault(Endpoint::Revocation, wait.once()));
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    soon("the refusal", bed.double.wait_for(Endpoint::Revocation, 1)).await;
    let refused = std::time::Instant::now();
    soon("the revocations", bed.double.wait_for(Endpoint::Revocation, 3)).await;
    assert!(refused.elapsed() >= Duration::from_millis(2_900), "{:?}", refused.elapsed());
    until("the counts", || revocations(&bed, "revoked") >= 2.0).await;
}

/// REV-2.2.1: a stop tries once more what waits, and waits for nothing.
#[tokio::test]
async fn a_stop_does_not_wait_for_an_as_that_is_down() {
    let mut bed = bed().await;
    let (mut browser, _) = logged_in(&bed).await;
    let wait = Fault::Respond {
        status: 503,
        content_type: "text/plain".to_owned(),
        body: Vec::new(),
        headers: vec![("retry-after".to_owned(), "600".to_owned())],
    };
    bed.double.behave(|as_| as_.fault(Endpoint::Revocation, wait));
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    soon("the refusal", bed.double.wait_for(Endpoint::Revocation, 1)).await;
    assert!(revocations(&bed, "dropped") < 0.5, "it waits");
    let telemetry = bed.bff.as_ref().unwrap().telemetry().clone();
    soon("the stop", bed.stop()).await;
    // The refresh token twice, the access token once.
    assert_eq!(bed.double.count(Endpoint::Revocation), 3);
    let dropped = "fapi_bff_revocations_total{outcome=\"dropped\",provider=\"as\"} 2";
    assert!(telemetry.metrics.render().contains(dropped));
}
