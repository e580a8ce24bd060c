//! The way out: here, at the AS, and back.

use fapi_bff::clock::Clock as _;
use fapi_bff_conformance::{
    as_double::{Endpoint, Event, Fault, Target, edits},
    demo::browser::{Answer, Browser, Call, From},
};
use serde_json::json;
use url::Url;

use crate::support::{Bed, CLIENT_ID, Wish, soon, until};

const SESSION: &str = "__Host-Http-web";
const TICKET: &str = "__Host-Http-web.logout";
const CONTINUE: &str = "/bff/logout/continue";

async fn log_out(browser: &mut Browser) -> Answer {
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap()
}

async fn go(browser: &mut Browser, from: From, url: &str) -> Url {
    let answer = browser.navigate(from, url).await.unwrap().expect(303).unwrap();
    answer.location().unwrap()
}

fn home(bed: &Bed) -> String {
    format!("{}/", bed.origin)
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut found = url.query_pairs().filter(|(n, _)| n == name).map(|(_, v)| v.into_owned());
    let value = found.next();
    assert_eq!(found.next(), None, "{name} twice");
    value
}

/// Tokens that were given up at the AS.
fn revoked(bed: &Bed) -> Vec<String> {
    let of = |event: &Event| event.form("token").map(str::to_owned);
    let events = bed.double.events();
    events.iter().filter(|e| e.endpoint == Endpoint::Revocation).filter_map(of).collect()
}

fn is_ticket_kept(browser: &Browser) -> bool {
    browser.cookies().iter().any(|(name, _)| *name == TICKET)
}

/// Leaves here and goes on to the AS; answers where the browser is sent from there.
async fn up_to_the_return(bed: &Bed, browser: &mut Browser) -> Url {
    log_out(browser).await;
    let there = go(browser, From::SameOrigin, CONTINUE).await;
    let back = go(browser, From::CrossSite, there.as_str()).await;
    assert_eq!(back.origin().ascii_serialization(), bed.origin);
    assert_eq!(back.path(), "/bff/logout/callback");
    back
}

/// RPL-PRJ-1, CK-CLR: the session is gone for every holder of its cookie, and the cookie with it.
#[tokio::test]
async fn a_logout_ends_the_session_and_deletes_its_cookie() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let mut thief = browser.clone();
    let answer = log_out(&mut browser).await;
    let all = answer.cookies();
    let deleted: Vec<_> = all.iter().filter(|cookie| cookie.name == SESSION).collect();
    assert_eq!(deleted.len(), 1);
    let cookie = deleted[0];
    assert_eq!((cookie.value.as_str(), cookie.max_age()), ("", Some(0)));
    assert!(cookie.has("secure") && cookie.has("httponly") && !cookie.has("domain"), "{cookie:?}");
    assert_eq!(cookie.attribute("path"), Some("/"));
    assert_eq!(cookie.attribute("samesite"), Some("Strict"));
    assert!(browser.cookies().iter().all(|(name, _)| *name != SESSION));
    for browser in [&mut thief, &mut browser] {
        // The API first: an answer about the session would take the dead cookie away.
        let api = browser.fetch(Call::get("/api/accounts")).await.unwrap();
        api.expect_refusal(401, "session_missing").unwrap();
        assert!(!bed.is_logged_in(browser).await);
        let refresh = browser.fetch(Call::post("/bff/refresh")).await.unwrap();
        refresh.expect_refusal(401, "session_missing").unwrap();
    }
    assert!(bed.api.events().is_empty());
    assert_eq!(bed.last_audit("logout"), ("success".to_owned(), "none".to_owned()));
}

/// Only this session ends; the same person's other browser stays.
#[tokio::test]
async fn a_logout_ends_no_other_session() {
    let bed = Bed::start().await;
    let (mut one, mut other) = (bed.logged_in().await, bed.logged_in().await);
    log_out(&mut one).await;
    assert!(!bed.is_logged_in(&mut one).await);
    assert!(bed.is_logged_in(&mut other).await);
}

/// RFC 7009: both tokens are given up, without the browser waiting for it.
#[tokio::test]
async fn a_logout_revokes_the_tokens_at_the_as() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
    let access_token = bed.api.last("/accounts").unwrap();
    let access_token = access_token.header("authorization").unwrap();
    let access_token = access_token.strip_prefix("Bearer ").unwrap().to_owned();
    let thumbprint = bed.pki.client_tls.thumbprint().unwrap();
    let alive = || bed.double.token_state().check(&access_token, Some(&thumbprint)).is_ok();
    assert!(alive());
    log_out(&mut browser).await;
    until("the revocations", || bed.double.accepted(Endpoint::Revocation) == 2).await;
    assert!(!alive());
    let revoked = revoked(&bed);
    assert!(revoked.contains(&access_token));
    assert_ne!(revoked[0], revoked[1]);
}

/// RPL-2/2.1: `logout_url` tells the page nothing; the AS is told everything it needs.
#[tokio::test]
async fn a_logout_goes_on_to_the_as_with_hint_client_and_state() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let answer = log_out(&mut browser).await;
    let url = format!("{}{CONTINUE}", bed.origin);
    assert_eq!(answer.json().unwrap(), json!({ "logout_url": url }));
    let ticket = answer.cookies().into_iter().find(|cookie| cookie.name == TICKET).unwrap();
    assert_eq!(ticket.max_age(), Some(300));
    assert!(ticket.has("secure") && ticket.has("httponly") && !ticket.has("domain"));
    assert_eq!(ticket.attribute("path"), Some("/"));
    assert_eq!(ticket.attribute("samesite"), Some("Lax"));

    let there = go(&mut browser, From::SameOrigin, &url).await;
    assert!(there.as_str().starts_with(&bed.double.url(Endpoint::EndSession)), "{there}");
    let hint = parameter(&there, "id_token_hint").unwrap();
    assert!(bed.double.issued_secrets().contains(&hint), "the hint is no ID token of the AS");
    let (header, claims) = fapi_bff_conformance::jws::peek(&hint).unwrap();
    assert_eq!((&claims["aud"], header.get("kid").is_some()), (&json!(CLIENT_ID), true));
    assert!(claims.contains_key("nonce"), "an ID token, not a response");
    assert_eq!(parameter(&there, "client_id").unwrap(), CLIENT_ID);
    let registered = format!("{}/bff/logout/callback", bed.origin);
    assert_eq!(parameter(&there, "post_logout_redirect_uri").unwrap(), registered);
    let state = parameter(&there, "state").unwrap();
    assert!(state.len() >= 43, "{state}");
    assert_eq!(there.query_pairs().count(), 4, "nothing else is said");

    let back = go(&mut browser, From::CrossSite, there.as_str()).await;
    assert_eq!(back.as_str(), format!("{registered}?state={state}"));
    assert_eq!(bed.double.accepted(Endpoint::EndSession), 1);
    assert_eq!(go(&mut browser, From::CrossSite, back.as_str()).await.as_str(), home(&bed));
    assert_eq!(bed.last_audit("logout.return"), ("success".to_owned(), "none".to_owned()));
    assert_eq!(browser.cookies(), [], "nothing is left behind");
}

/// RPL-2/2.1: the hint has long expired, which is no fault of it.
#[tokio::test]
async fn an_expired_id_token_is_a_good_hint() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    bed.clock.advance(600);
    let back = up_to_the_return(&bed, &mut browser).await;
    let hint = bed.double.last(Endpoint::EndSession).unwrap();
    let (_, claims) =
        fapi_bff_conformance::jws::peek(hint.query("id_token_hint").unwrap()).unwrap();
    assert!(claims["exp"].as_i64().unwrap() < bed.clock.now().as_i64());
    assert_eq!(bed.double.accepted(Endpoint::EndSession), 1);
    assert_eq!(go(&mut browser, From::CrossSite, back.as_str()).await.as_str(), home(&bed));
    assert_eq!(bed.last_audit("logout.return"), ("success".to_owned(), "none".to_owned()));
}

/// RPL-2b: a wrong answer changes nothing: the browser ends at the app, once, with a record.
#[tokio::test]
async fn a_return_without_the_right_state_still_ends_at_the_app() {
    let bed = Bed::start().await;
    let callback = "/bff/logout/callback";
    let rejected = ("rejected".to_owned(), "logout.state_mismatch".to_owned());
    for wrong in ["absent", "empty", "other", "longer", "twice"] {
        let mut browser = bed.logged_in().await;
        let back = up_to_the_return(&bed, &mut browser).await;
        let state = parameter(&back, "state").unwrap();
        let query = match wrong {
            "absent" => String::new(),
            "empty" => "?state=".to_owned(),
            "other" => format!("?state={}", "A".repeat(state.len())),
            "longer" => format!("?state={state}A"),
            _ => format!("?state={state}&state={state}"),
        };
        let end = go(&mut browser, From::CrossSite, &format!("{callback}{query}")).await;
        assert_eq!(end.as_str(), home(&bed), "{wrong}");
        assert_eq!(bed.last_audit("logout.return"), rejected, "{wrong}");
        assert!(!is_ticket_kept(&browser), "{wrong}");
        assert!(!bed.is_logged_in(&mut browser).await);
        // The right one afterwards is too late, and goes nowhere else.
        assert_eq!(go(&mut browser, From::CrossSite, back.as_str()).await.as_str(), home(&bed));
        assert_eq!(bed.last_audit("logout.return"), rejected, "{wrong}");
    }
    // Another browser's state is a wrong one; without a ticket there is no right one.
    let (mut one, mut other) = (bed.logged_in().await, bed.logged_in().await);
    let foreign = up_to_the_return(&bed, &mut one).await;
    up_to_the_return(&bed, &mut other).await;
    for browser in [&mut other, &mut bed.browser()] {
        assert_eq!(go(browser, From::CrossSite, foreign.as_str()).await.as_str(), home(&bed));
        assert_eq!(bed.last_audit("logout.return"), rejected);
    }
}

#[tokio::test]
async fn without_a_session_a_logout_is_done_at_once() {
    let bed = Bed::start().await;
    let before = bed.double.events().len();
    let mut browser = bed.browser();
    assert_eq!(log_out(&mut browser).await.json().unwrap(), json!({}));
    let mut browser = bed.logged_in().await;
    let mut stale = browser.clone();
    assert!(bed.double.events().len() > before);
    log_out(&mut browser).await;
    until("the revocations", || bed.double.accepted(Endpoint::Revocation) == 2).await;
    let before = bed.double.events().len();
    // Again, with the cookie gone and with the cookie kept.
    for browser in [&mut browser, &mut stale] {
        assert_eq!(log_out(browser).await.json().unwrap(), json!({}));
        assert!(!bed.is_logged_in(browser).await);
    }
    assert_eq!(bed.last_audit("logout"), ("success".to_owned(), "session.unknown".to_owned()));
    assert_eq!(bed.double.events().len(), before, "the AS heard of it twice");
}

/// A second logout without a session leaves the first one's way to the AS open.
#[tokio::test]
async fn a_logout_pressed_twice_still_leads_to_the_as() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    log_out(&mut browser).await;
    log_out(&mut browser).await;
    let there = go(&mut browser, From::SameOrigin, CONTINUE).await;
    assert!(there.as_str().starts_with(&bed.double.url(Endpoint::EndSession)), "{there}");
}

/// RPL-2b: without a good ticket there is nothing to take to the AS, and no open redirect.
#[tokio::test]
async fn without_a_ticket_the_way_leads_home() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let end = go(&mut browser, From::SameOrigin, CONTINUE).await;
    assert_eq!(end.as_str(), home(&bed));
    assert!(bed.is_logged_in(&mut browser).await, "a GET logs nobody out");
    for query in ["?post_logout_redirect_uri=https://evil.example/", "?state=x&id_token_hint=x"] {
        let end = go(&mut browser, From::Typed, &format!("{CONTINUE}{query}")).await;
        assert_eq!(end.as_str(), home(&bed));
    }
    assert_eq!(bed.double.count(Endpoint::EndSession), 0);
}

/// A ticket lives 300 seconds: at 299 it leads to the AS, at 300 home.
#[tokio::test]
async fn a_ticket_ends_after_five_minutes() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    log_out(&mut browser).await;
    bed.clock.advance(299);
    let mut early = browser.clone();
    let there = go(&mut early, From::SameOrigin, CONTINUE).await;
    assert!(there.as_str().starts_with(&bed.double.url(Endpoint::EndSession)), "{there}");
    bed.clock.advance(1);
    assert_eq!(go(&mut browser, From::SameOrigin, CONTINUE).await.as_str(), home(&bed));
    assert!(!is_ticket_kept(&browser));
    // Nor does a return count any longer.
    let state = parameter(&there, "state").unwrap();
    let back = format!("/bff/logout/callback?state={state}");
    assert_eq!(go(&mut early, From::CrossSite, &back).await.as_str(), home(&bed));
    let rejected = ("rejected".to_owned(), "logout.state_mismatch".to_owned());
    assert_eq!(bed.last_audit("logout.return"), rejected);
}

/// The ticket that is on its way back no longer holds the ID token.
#[tokio::test]
async fn a_ticket_gives_its_id_token_away_once() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    log_out(&mut browser).await;
    let first = go(&mut browser, From::SameOrigin, CONTINUE).await;
    let second = go(&mut browser, From::SameOrigin, CONTINUE).await;
    assert!(parameter(&first, "id_token_hint").is_some());
    assert_eq!(parameter(&second, "id_token_hint"), None);
    assert_eq!(parameter(&first, "state"), parameter(&second, "state"));
}

#[tokio::test]
async fn an_as_without_an_end_session_endpoint_is_not_gone_to() {
    let before = |double: &fapi_bff_conformance::as_double::AsDouble| {
        double.behave(|b| b.edit(Target::Metadata, edits::remove("end_session_endpoint")));
    };
    let bed = Bed::with(Wish { before: Some(before), ..Wish::default() }).await;
    let mut browser = bed.logged_in().await;
    let answer = log_out(&mut browser).await;
    assert_eq!(answer.json().unwrap(), json!({}));
    assert!(!is_ticket_kept(&browser));
    assert!(!bed.is_logged_in(&mut browser).await);
    until("the revocations", || bed.double.accepted(Endpoint::Revocation) == 2).await;
    assert_eq!(go(&mut browser, From::SameOrigin, CONTINUE).await.as_str(), home(&bed));
}

/// RPL-PRJ-1: the user has left, whatever the AS does.
#[tokio::test]
async fn a_silent_as_keeps_nobody_from_leaving() {
    let edit = vec![("request_timeout = \"2s\"", "request_timeout = \"30s\"".to_owned())];
    let bed = Bed::with(Wish { edit, ..Wish::default() }).await;
    let mut browser = bed.logged_in().await;
    bed.double.behave(|b| {
        for endpoint in [Endpoint::Revocation, Endpoint::EndSession, Endpoint::Metadata] {
            b.fault(endpoint, Fault::Hang);
        }
    });
    // Ten seconds at most, and the AS would be waited for thirty.
    let answer = soon("the logout", log_out(&mut browser)).await;
    assert!(answer.json().unwrap()["logout_url"].is_string());
    assert!(!bed.is_logged_in(&mut browser).await);
    let there = soon("the way on", go(&mut browser, From::SameOrigin, CONTINUE)).await;
    assert!(there.as_str().starts_with(&bed.double.url(Endpoint::EndSession)), "{there}");
}

/// BFF-6.1.3.3-1, RPL-PRJ-2: what another site makes a browser send logs nobody out.
#[tokio::test]
async fn a_logout_by_another_sites_form_does_nothing() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let form = || Call::post("/bff/logout").form("a=b").without_custom_header();
    for call in [form().by_origin("https://evil.example"), form().by_origin("null"), form()] {
        let answer = browser.fetch(call).await.unwrap();
        let answer = answer.expect_refusal(403, "csrf_rejected").unwrap();
        assert!(answer.cookies().is_empty(), "a refusal takes no cookie along");
    }
    // As a navigation it is no POST, and the way on is closed from there.
    for (path, status) in [("/bff/logout", 405), (CONTINUE, 403)] {
        let answer = browser.navigate(From::CrossSite, path).await.unwrap();
        answer.expect(status).unwrap();
    }
    assert!(bed.is_logged_in(&mut browser).await);
    assert_eq!(revoked(&bed), [""; 0]);
    assert!(bed.audit.events().iter().all(|event| event["action"] != "logout"));
}
