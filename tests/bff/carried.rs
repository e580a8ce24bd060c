//! Sessions that browsers carry themselves: the same logins, calls, refreshes and logouts, over cookies that
//! hold the session.

use std::sync::Arc;

use bytes::Bytes;
use fapi_bff::session::{EmbeddedStore, Store};
use fapi_bff_conformance::{
    as_double::{Endpoint, Event, Target, edits},
    demo::browser::{Answer, Browser, Call, From},
};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::json;

use crate::{
    logout_channels::{hand_in, logout_token},
    outage::store::FlakyStore,
    support::{Bed, Wish, until},
};

const NAME: &str = "__Host-Http-web";
const SESSION: &str = "[apps.web.session]";
/// Claims of this length make a session of two cookies.
const LONG: usize = 1600;

fn edit() -> Vec<(&'static str, String)> {
    vec![
        (SESSION, format!("{SESSION}\ncarrier = \"cookie\"")),
        ("request_timeout = \"2s\"", "request_timeout = \"20s\"".to_owned()),
    ]
}

async fn bed() -> Bed {
    let bed = Bed::with(Wish { edit: edit(), ..Wish::default() }).await;
    bed.double.behave(|behaviour| {
        behaviour.access_token_lifetime = 60;
        behaviour.rotate_refresh_tokens = true;
        behaviour.edit(Target::IdToken, edits::set("picture", json!("x".repeat(LONG))));
    });
    bed
}

fn parts(browser: &Browser) -> Vec<(String, String)> {
    let cookies = browser.cookies().into_iter();
    cookies
        .filter(|(name, _)| *name == NAME || name.starts_with("__Host-Http-web."))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

async fn accounts(browser: &mut Browser) -> Answer {
    browser.fetch(Call::get("/api/accounts")).await.unwrap()
}

fn refreshes(bed: &Bed) -> Vec<Event> {
    let events = bed.double.events().into_iter();
    events.filter(|event| event.form("grant_type") == Some("refresh_token")).collect()
}

/// A call with exactly these cookies.
async fn with_cookies(
    bed: &Bed,
    method: Method,
    path: &str,
    cookies: &[(String, String)],
) -> Answer {
    let pairs: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers = HeaderMap::new();
    headers.insert(header::COOKIE, pairs.join("; ").parse().unwrap());
    headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
    headers.insert("x-bff-csrf", HeaderValue::from_static("1"));
    if method == Method::POST {
        headers.insert(header::ORIGIN, bed.origin.parse().unwrap());
    }
    bed.browser().raw(method, path, headers, Bytes::new()).await.unwrap()
}

/// BFF-6.1.2.3, CK-5.6, CK-CHUNK, BFF-6.1.3.2-1..5: a life in cookies, over a restart.
#[tokio::test]
async fn a_session_lives_in_its_cookies_from_login_to_logout() {
    let mut bed = bed().await;
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    let answer = bed.end(&mut browser, &query).await.expect(200).unwrap();
    let set: Vec<_> = answer.cookies().into_iter().filter(|c| c.max_age() != Some(0)).collect();
    assert_eq!(set.len(), 2, "{:?}", set.iter().map(|c| c.value.len()).collect::<Vec<_>>());
    for cookie in &set {
        assert!(cookie.name.len() + cookie.value.len() <= 4096);
        assert!(cookie.has("secure") && cookie.has("httponly") && !cookie.has("domain"));
        assert_eq!(cookie.attribute("path"), Some("/"));
        assert_eq!(cookie.attribute("samesite"), Some("Strict"));
        assert_eq!(cookie.max_age(), Some(8 * 3600));
    }
    let header: usize = set.iter().map(|c| c.name.len() + c.value.len() + 3).sum();
    assert!(header < 8192);
    assert!(accounts(&mut browser).await.expect(200).unwrap().cookies().is_empty());
    bed.restart().await;
    assert!(accounts(&mut browser).await.expect(200).unwrap().cookies().is_empty());
    // The refresh brings new cookies with the answer of the API.
    let before = parts(&browser);
    bed.clock.advance(61);
    let answer = accounts(&mut browser).await.expect(200).unwrap();
    assert_eq!(answer.header("cache-control"), "no-store");
    let after = parts(&browser);
    assert_eq!((after.len(), refreshes(&bed).len()), (2, 1));
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
    assert!(accounts(&mut browser).await.expect(200).unwrap().cookies().is_empty());
    bed.restart().await;
    // So does the page's own wish, and the question for the user's claims.
    for call in [Call::post("/bff/refresh"), Call::get("/bff/userinfo")] {
        let browser_before = parts(&browser);
        bed.clock.advance(61);
        browser.fetch(call).await.unwrap().expect(200).unwrap();
        assert_ne!(parts(&browser), browser_before);
    }
    let thief = browser.clone();
    let answer = browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    assert!(answer.json().unwrap()["logout_url"].is_string());
    assert!(parts(&browser).iter().all(|(name, _)| name.ends_with(".logout")));
    for cookies in [before, after, parts(&thief)] {
        let answer = with_cookies(&bed, Method::GET, "/api/accounts", &cookies).await;
        answer.expect_refusal(401, "session_missing").unwrap();
    }
    assert_eq!(refreshes(&bed).len(), 3);
}

/// CK-RACE: fifty parallel calls at the moment of expiry are one refresh, and whichever answer comes last leaves
/// the browser with a session that works.
#[tokio::test]
async fn tabs_refresh_once_and_a_lost_answer_costs_nothing() {
    let bed = bed().await;
    let browser = bed.logged_in().await;
    bed.clock.advance(61);
    let mut tabs = vec![browser.clone(); 20];
    for answer in join_all(tabs.iter_mut().map(accounts)).await {
        answer.expect(200).unwrap();
    }
    assert_eq!(refreshes(&bed).len(), 1);
    for tab in &mut tabs {
        accounts(tab).await.expect(200).unwrap();
    }
    // All those answers were lost: the browser has what it had, and gets the successor now.
    bed.clock.advance(20);
    let mut late = browser.clone();
    let answer = late.fetch(Call::get("/bff/session")).await.unwrap().expect(200).unwrap();
    assert_eq!(answer.json().unwrap()["is_logged_in"], true);
    assert_eq!(answer.cookies().iter().filter(|c| c.max_age() != Some(0)).count(), 2);
    bed.clock.advance(61);
    accounts(&mut late).await.expect(200).unwrap();
    let sent: Vec<_> =
        refreshes(&bed).iter().map(|e| e.form("refresh_token").unwrap().to_owned()).collect();
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0], sent[1], "a refresh token is used once");
}

/// CK-CHUNK, CK-6.1, CK-DUP: anything but all cookies of one writing is no session: a clean 401, no cookie
/// touched, nobody logged out.
#[tokio::test]
async fn missing_mixed_doubled_and_altered_cookies_are_no_session() {
    let bed = bed().await;
    let mut browser = bed.logged_in().await;
    let old = parts(&browser);
    bed.clock.advance(61);
    accounts(&mut browser).await.expect(200).unwrap();
    let new = parts(&browser);
    let other = parts(&bed.logged_in().await);
    let named = |at: usize, value: &str| (new[at].0.clone(), value.to_owned());
    let flipped = |value: &str| {
        let last = if value.ends_with('A') { 'B' } else { 'A' };
        format!("{}{last}", &value[..value.len() - 1])
    };
    let attacks = [
        vec![new[0].clone()],
        vec![new[1].clone()],
        vec![new[0].clone(), old[1].clone()],
        vec![old[0].clone(), new[1].clone()],
        vec![new[0].clone(), other[1].clone()],
        vec![other[0].clone(), old[1].clone()],
        vec![named(0, &new[1].1), named(1, &new[0].1)],
        vec![new[0].clone(), new[0].clone(), new[1].clone()],
        vec![new[0].clone(), new[1].clone(), old[1].clone()],
        vec![named(0, &flipped(&new[0].1)), new[1].clone()],
        vec![named(0, &format!("1{}", &new[0].1[1..])), new[1].clone()],
        vec![named(0, &format!("1{}{}", &new[0].1[1..], &new[1].1[17..]))],
        vec![named(0, &"A".repeat(48)), new[1].clone()],
        vec![named(0, ""), named(1, "")],
    ];
    for (number, cookies) in attacks.iter().enumerate() {
        for (method, path) in [
            (Method::GET, "/api/accounts"),
            (Method::GET, "/bff/userinfo"),
            (Method::POST, "/bff/refresh"),
        ] {
            let answer = with_cookies(&bed, method, path, cookies).await;
            let answer = answer.expect_refusal(401, "session_missing").unwrap();
            assert!(answer.cookies().is_empty(), "{number} {path}");
        }
    }
    accounts(&mut browser).await.expect(200).unwrap();
    // One that was tossed in beside it lets nobody in, and does not survive a logout.
    let mut both = new.clone();
    both.extend(other.clone());
    with_cookies(&bed, Method::POST, "/bff/logout", &both).await.expect(200).unwrap();
    for cookies in [new, other] {
        let answer = with_cookies(&bed, Method::GET, "/api/accounts", &cookies).await;
        answer.expect_refusal(401, "session_missing").unwrap();
    }
}

/// CK-CHUNK, REV-2.1: a session that does not fit fails its login loudly; its tokens are given up.
#[tokio::test]
async fn a_session_that_does_not_fit_is_refused_by_name() {
    let bed = bed().await;
    bed.double.behave(|behaviour| {
        behaviour.edit(Target::IdToken, edits::set("picture", json!("x".repeat(5_000))));
    });
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    let answer = bed.end(&mut browser, &query).await;
    let answer = answer.expect_refusal(500, "session_too_large").unwrap();
    assert!(answer.cookies().is_empty());
    assert_eq!(bed.last_audit("login.end"), ("failed".to_owned(), "session.too_large".to_owned()));
    assert!(bed.metrics().contains("fapi_bff_sessions_not_carried_total{app=\"web\"} 1\n"));
    until("the tokens are given up", || bed.double.count(Endpoint::Revocation) > 0).await;
    assert!(!bed.is_logged_in(&mut browser).await);
}

/// SES-7.2.4: a second login ends the first session, by script and by navigation.
#[tokio::test]
async fn a_new_login_ends_the_session_before_it() {
    let bed = bed().await;
    let mut browser = bed.logged_in().await;
    let first = parts(&browser);
    bed.clock.advance(1);
    bed.login(&mut browser).await;
    let second = parts(&browser);
    let there =
        browser.navigate(From::SameOrigin, "/bff/login").await.unwrap().expect(303).unwrap();
    let there = there.location().unwrap();
    let back =
        browser.navigate(From::CrossSite, there.as_str()).await.unwrap().expect(303).unwrap();
    let back = back.location().unwrap();
    browser.navigate(From::CrossSite, back.as_str()).await.unwrap().expect(303).unwrap();
    assert!(bed.is_logged_in(&mut browser).await);
    for cookies in [first, second] {
        let answer = with_cookies(&bed, Method::GET, "/api/accounts", &cookies).await;
        answer.expect_refusal(401, "session_missing").unwrap();
    }
    accounts(&mut browser).await.expect(200).unwrap();
}

/// SES-7.3: limits hold whatever a browser keeps, and uses put the idle one off.
#[tokio::test]
async fn the_limits_are_the_servers() {
    let bed = bed().await;
    let mut browser = bed.logged_in().await;
    for _ in 0..4 {
        bed.clock.advance(14 * 60);
        accounts(&mut browser).await.expect(200).unwrap();
    }
    let kept = parts(&browser);
    bed.clock.advance(15 * 60);
    accounts(&mut browser).await.expect_refusal(401, "session_expired").unwrap();
    assert!(parts(&browser).is_empty());
    let answer = with_cookies(&bed, Method::GET, "/api/accounts", &kept).await;
    answer.expect_refusal(401, "session_missing").unwrap();
}

/// BFF-6.1.2.3, SES-7.4: two processes that share the side list, each with the other's logouts.
#[tokio::test]
async fn a_process_with_the_same_side_list_knows_every_logout() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&dir.path().join("shared.redb")).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let wish = Wish { edit: edit(), store: Some(Arc::clone(&store)), ..Wish::default() };
    let bed = Bed::with(wish).await;
    let mut browser = bed.logged_in().await;
    assert_eq!(store.count().await.unwrap(), 0, "the store keeps no session");
    let other = parts(&bed.logged_in().await);
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    assert!(!bed.is_logged_in(&mut browser).await);
    with_cookies(&bed, Method::GET, "/api/accounts", &other).await.expect(200).unwrap();
}

/// BCL-2.7, SES-7.4: the AS's word ends sessions that no store lists, by the time they began.
#[tokio::test]
async fn the_word_of_the_as_ends_sessions_that_browsers_carry() {
    let bed = bed().await;
    let mut browser = bed.logged_in().await;
    let mut other = bed.logged_in().await;
    let token = logout_token(&bed, Some("alice"), None);
    assert_eq!(hand_in(&bed, &token).await.status, 200);
    for browser in [&mut browser, &mut other] {
        let kept = parts(browser);
        accounts(browser).await.expect_refusal(401, "session_missing").unwrap();
        assert!(parts(browser).is_empty());
        let answer = with_cookies(&bed, Method::GET, "/api/accounts", &kept).await;
        answer.expect_refusal(401, "session_missing").unwrap();
    }
    bed.clock.advance(1);
    accounts(&mut bed.logged_in().await).await.expect(200).unwrap();
}

/// SES-7.4: a session whose end cannot be looked up is not served, and its cookies stay.
#[tokio::test]
async fn without_the_side_list_nobody_is_let_in_and_no_cookie_is_touched() {
    let store = FlakyStore::new();
    let wish =
        Wish { edit: edit(), store: Some(Arc::clone(&store) as Arc<dyn Store>), ..Wish::default() };
    let bed = Bed::with(wish).await;
    let mut browser = bed.logged_in().await;
    let before = parts(&browser);
    store.fail(&["marks"]);
    for call in [
        Call::get("/bff/session"),
        Call::get("/bff/userinfo"),
        Call::post("/bff/refresh"),
        Call::get("/api/accounts"),
    ] {
        let answer = browser.fetch(call).await.unwrap();
        let answer = answer.expect_refusal(503, "store_unavailable").unwrap();
        assert!(answer.cookies().is_empty());
    }
    store.heal();
    store.fail(&["mark"]);
    let answer = browser.fetch(Call::post("/bff/logout")).await.unwrap();
    let answer = answer.expect_refusal(503, "store_unavailable").unwrap();
    assert!(answer.cookies().is_empty());
    store.heal();
    assert_eq!(parts(&browser), before);
    accounts(&mut browser).await.expect(200).unwrap();
}

/// CK-SS-1, CK-SS-3, SES-7.2.4: by script a session is raised like any other; by navigation, where the answer
/// comes without it, that is refused before the user has to do anything.
#[tokio::test]
async fn a_session_is_raised_by_script_and_not_by_navigation() {
    let bed = bed().await;
    let mut browser = bed.logged_in().await;
    let before = parts(&browser);
    bed.clock.advance(1);
    let pushed = bed.double.count(Endpoint::Par);
    let refused = browser.navigate(From::SameOrigin, "/bff/login?max_age=300").await.unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(bed.double.count(Endpoint::Par), pushed);
    let reason = "parameter.step_up_by_navigation".to_owned();
    assert_eq!(bed.last_audit("login.start"), ("rejected".to_owned(), reason));
    assert_eq!(parts(&browser), before);
    let started = browser.fetch(Call::post("/bff/login/start").form("max_age=300")).await.unwrap();
    let url = started.expect(200).unwrap().json().unwrap();
    let url = url["authorization_url"].as_str().unwrap().to_owned();
    let back = browser.navigate(From::SameOrigin, &url).await.unwrap().expect(303).unwrap();
    let query = back.location().unwrap().query().unwrap().to_owned();
    bed.end(&mut browser, &query).await.expect(200).unwrap();
    accounts(&mut browser).await.expect(200).unwrap();
    let answer = with_cookies(&bed, Method::GET, "/api/accounts", &before).await;
    answer.expect_refusal(401, "session_missing").unwrap();
    until("the old tokens are given up", || bed.double.count(Endpoint::Revocation) > 0).await;
}

/// SES-7.4: nobody can list these sessions, which is said; leaving everywhere ends them all the same.
#[tokio::test]
async fn leaving_everywhere_ends_what_nobody_can_list() {
    let bed = bed().await;
    let mut browser = bed.logged_in().await;
    let mut other = bed.logged_in().await;
    let listed = browser.fetch(Call::get("/bff/sessions")).await.unwrap();
    let listed = listed.expect_refusal(400, "invalid_request").unwrap();
    assert_eq!(listed.json().unwrap()["detailed_error"], "not_listed");
    let ended = Call::post("/bff/sessions/end").form(&format!("id={}", "A".repeat(22)));
    browser.fetch(ended).await.unwrap().expect_refusal(400, "invalid_request").unwrap();
    let leave = Call::post("/bff/logout").form("everywhere=true");
    browser.fetch(leave).await.unwrap().expect(200).unwrap();
    for browser in [&mut browser, &mut other] {
        accounts(browser).await.expect_refusal(401, "session_missing").unwrap();
    }
    until("the tokens are given up", || bed.double.count(Endpoint::Revocation) > 0).await;
    bed.clock.advance(1);
    accounts(&mut bed.logged_in().await).await.expect(200).unwrap();
}
