//! Logins that raise a session: they end in the session and for the person they were started for, or
//! not at all.

use fapi_bff_conformance::{
    as_double::{Behaviour, Conduct, Endpoint, Target, edits},
    demo::browser::{Browser, Call, From},
};
use serde_json::json;

use crate::{
    login::{refused, session_cookie},
    profiles::settings,
    support::{Bed, Wish},
};

const HIGH: &str = "acr_values=urn%3Ax%3Ahigh&max_age=60";

/// Starts a login for more and lets the AS answer; gives what the page would find in its address.
async fn response(browser: &mut Browser, wish: &str) -> String {
    let started = browser.fetch(Call::post("/bff/login/start").form(wish)).await.unwrap();
    let started = started.expect(200).unwrap().json().unwrap();
    let url = started["authorization_url"].as_str().unwrap().to_owned();
    let answer = browser.navigate(From::SameOrigin, &url).await.unwrap().expect(303).unwrap();
    answer.location().unwrap().query().unwrap_or_default().to_owned()
}

async fn works(bed: &Bed, browser: &mut Browser, cookie: &str) {
    assert_eq!(session_cookie(browser).as_deref(), Some(cookie), "the old session's cookie");
    assert!(bed.is_logged_in(browser).await);
    browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
}

/// From here on the AS says this of everybody.
fn id_tokens(
    bed: &Bed,
    edit: impl Fn(&mut serde_json::Map<String, serde_json::Value>) + Send + Sync + 'static,
) {
    bed.double.behave(|as_: &mut Behaviour| as_.edit(Target::IdToken, edit));
}

/// STEP-4, STEP-5, SES-7.2.4: a new handle, and the session before it has ended.
#[tokio::test]
async fn a_session_is_raised_and_replaced() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let before = session_cookie(&browser).unwrap();
    let mut old = browser.clone();
    let query = response(&mut browser, HIGH).await;
    let state = bed.end(&mut browser, &query).await.expect(200).unwrap().json().unwrap();
    assert_eq!(state["id_token_claims"]["acr"], "urn:x:high");
    assert_ne!(session_cookie(&browser).unwrap(), before);
    assert_eq!(bed.last_audit("session.end"), ("success".to_owned(), "replaced".to_owned()));
    assert!(!bed.is_logged_in(&mut old).await);
}

/// STEP-5: one attempt; what was there before stays.
#[tokio::test]
async fn an_authentication_that_falls_short_raises_nothing_and_ends_nothing() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let before = session_cookie(&browser).unwrap();
    let now = fapi_bff::clock::Clock::now(&*bed.clock).as_i64();
    for (claim, value, reason) in [
        ("acr", json!("urn:x:low"), "id_token.acr_mismatch"),
        ("acr", json!(null), "id_token.claim_type"),
        ("auth_time", json!(now - 71), "id_token.auth_too_old"),
    ] {
        id_tokens(&bed, edits::set(claim, value));
        let query = response(&mut browser, HIGH).await;
        bed.end(&mut browser, &query).await.expect(502).unwrap();
        assert_eq!(bed.last_audit("login.end"), ("rejected".to_owned(), reason.to_owned()));
        bed.double.reset_behaviour();
        works(&bed, &mut browser, &before).await;
    }
}

/// DRAFT-9700U-2: the browser is right, the person is not.
#[tokio::test]
async fn another_persons_authentication_does_not_raise_a_session() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let before = session_cookie(&browser).unwrap();
    id_tokens(&bed, edits::set("sub", json!("mallory")));
    let query = response(&mut browser, HIGH).await;
    let revoked = bed.double.count(Endpoint::Revocation);
    let answer = bed.end(&mut browser, &query).await;
    refused(&bed, answer, "transaction_missing", "transaction.wrong_session");
    works(&bed, &mut browser, &before).await;
    crate::support::until("revocation", || bed.double.count(Endpoint::Revocation) > revoked).await;

    // Who asks for nothing in particular may hand the browser on.
    let query = bed.response(&mut browser).await;
    bed.end(&mut browser, &query).await.expect(200).unwrap();
    assert_ne!(session_cookie(&browser).unwrap(), before);
}

/// DRAFT-9700U-2: of whom nobody knows who they are, nobody knows that they are the same.
#[tokio::test]
async fn a_session_of_nobody_in_particular_is_not_raised() {
    let conduct = Conduct { openid: false, ..Conduct::security_profile() };
    let template = "[apps.web.authorization.pay]\n\
        authorization_details = [{ type = \"payment\" }]\n\n[apps.web.login]";
    let mut edit = settings(conduct, None);
    edit.push(("[apps.web.login]", template.to_owned()));
    let bed = Bed::with(Wish { edit, conduct: Some(conduct), ..Wish::default() }).await;
    let mut browser = bed.logged_in().await;
    let before = session_cookie(&browser).unwrap();
    let query = response(&mut browser, "authorization=pay").await;
    let answer = bed.end(&mut browser, &query).await;
    refused(&bed, answer, "transaction_missing", "transaction.wrong_session");
    works(&bed, &mut browser, &before).await;
    // Outside of a session it is anybody's to be given.
    let mut browser = bed.browser();
    let query = response(&mut browser, "authorization=pay").await;
    bed.end(&mut browser, &query).await.expect(200).unwrap();
}

/// CK-SS-3: the same browser in another session is not the one that asked.
#[tokio::test]
async fn a_login_started_in_one_session_does_not_end_in_another() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let first = response(&mut browser, HIGH).await;
    let other = bed.response(&mut browser).await;
    bed.end(&mut browser, &other).await.expect(200).unwrap();
    let now = session_cookie(&browser).unwrap();
    let answer = bed.end(&mut browser, &first).await;
    refused(&bed, answer, "transaction_missing", "transaction.wrong_session");
    works(&bed, &mut browser, &now).await;

    // Nor in none, after a logout.
    let query = response(&mut browser, HIGH).await;
    let tokens = bed.double.count(Endpoint::Token);
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    let answer = bed.end(&mut browser, &query).await;
    refused(&bed, answer, "transaction_missing", "transaction.wrong_session");
    assert_eq!(bed.double.count(Endpoint::Token), tokens, "the code is not redeemed");
    assert!(session_cookie(&browser).is_none());
}

/// A link that reaches somebody else's browser finds no transaction there.
#[tokio::test]
async fn an_answer_in_another_browser_is_nobodys() {
    let bed = Bed::start().await;
    let mut attacker = bed.logged_in().await;
    let mut victim = bed.logged_in().await;
    let before = session_cookie(&victim).unwrap();
    let query = response(&mut attacker, HIGH).await;
    let answer = bed.end(&mut victim, &query).await;
    refused(&bed, answer, "transaction_missing", "transaction.missing");
    works(&bed, &mut victim, &before).await;
}

async fn navigated(bed: &Bed, browser: &mut Browser) -> String {
    let path = format!("/bff/login?return_to=%2Fpay&{HIGH}");
    let started = browser.navigate(From::SameOrigin, &path).await.unwrap();
    let there = started.expect(303).unwrap().location().unwrap();
    let back = browser.navigate(From::SameOrigin, there.as_str()).await.unwrap();
    let callback = back.expect(303).unwrap().location().unwrap();
    assert!(callback.as_str().starts_with(&format!("{}/bff/callback", bed.origin)));
    callback.to_string()
}

/// CK-SS-1, CK-SS-3: the Strict cookie is not there when the AS sends the browser back.
#[tokio::test]
async fn a_navigation_raises_the_session_it_was_started_in() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let before = session_cookie(&browser).unwrap();
    let callback = navigated(&bed, &mut browser).await;
    let ended = browser.navigate(From::CrossSite, &callback).await.unwrap().expect(303).unwrap();
    assert_eq!(ended.header("location"), format!("{}/pay", bed.origin));
    assert_ne!(session_cookie(&browser).unwrap(), before);
    assert!(bed.is_logged_in(&mut browser).await);
    assert_eq!(bed.last_audit("session.end"), ("success".to_owned(), "replaced".to_owned()));
}

#[tokio::test]
async fn a_navigation_raises_no_session_that_has_ended_and_none_of_another_person() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let callback = navigated(&bed, &mut browser).await;
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    let answer = browser.navigate(From::CrossSite, &callback).await.unwrap();
    answer.expect(400).unwrap();
    let wrong = ("rejected".to_owned(), "transaction.wrong_session".to_owned());
    assert_eq!(bed.last_audit("login.end"), wrong);
    assert!(session_cookie(&browser).is_none());

    bed.login(&mut browser).await;
    let before = session_cookie(&browser).unwrap();
    id_tokens(&bed, edits::set("sub", json!("mallory")));
    let callback = navigated(&bed, &mut browser).await;
    browser.navigate(From::CrossSite, &callback).await.unwrap().expect(400).unwrap();
    assert_eq!(bed.last_audit("login.end"), wrong);
    bed.double.reset_behaviour();
    works(&bed, &mut browser, &before).await;
}
