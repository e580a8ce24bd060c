//! Access tokens renewed unseen: many calls, many tabs, one request.

use fapi_bff_conformance::{
    as_double::{Behaviour, Endpoint, Event, Fault, FaultRule, Gate, Outcome, Target, edits},
    demo::browser::{Answer, Browser, Call},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Bed, Wish, soon, until};

/// Seconds an access token lives here; it is renewed in the last thirty.
const LIFE: u32 = 60;
const DUE: u32 = LIFE - 30;
/// Seconds after which every session refreshes: some wait a quarter of the time ahead.
const OVERDUE: u32 = DUE + 8;

async fn bed(change: impl FnOnce(&mut Behaviour)) -> Bed {
    patient(&[], change).await
}

/// With an AS that is given time, so that a slow machine does not look like an outage.
async fn patient(edit: &[(&'static str, &str)], change: impl FnOnce(&mut Behaviour)) -> Bed {
    let mut edit: Vec<_> = edit.iter().map(|(from, to)| (*from, (*to).to_owned())).collect();
    edit.push(("request_timeout = \"2s\"", "request_timeout = \"20s\"".to_owned()));
    let bed = Bed::with(Wish { edit, ..Wish::default() }).await;
    bed.double.behave(|behaviour| {
        behaviour.access_token_lifetime = i64::from(LIFE);
        change(behaviour);
    });
    bed
}

async fn accounts(browser: &mut Browser) -> Answer {
    browser.fetch(Call::get("/api/accounts")).await.unwrap()
}

/// The token requests that were refreshes.
fn refreshes(bed: &Bed) -> Vec<Event> {
    let events = bed.double.events().into_iter();
    events.filter(|event| event.form("grant_type") == Some("refresh_token")).collect()
}

fn session_cookie(browser: &Browser) -> Option<String> {
    let mut cookies = browser.cookies().into_iter();
    cookies.find(|(name, _)| name.contains("session")).map(|(_, value)| value.to_owned())
}

async fn session(browser: &mut Browser) -> Value {
    browser.fetch(Call::get("/bff/session")).await.unwrap().expect(200).unwrap().json().unwrap()
}

/// BFF-6.1.2.2-PRJ: fifty calls at the moment of expiry are one token request.
#[tokio::test]
async fn fifty_calls_at_expiry_make_one_token_request_and_all_succeed() {
    for wait in [OVERDUE, LIFE] {
        let bed = bed(|as_| as_.rotate_refresh_tokens = true).await;
        let browser = bed.logged_in().await;
        bed.clock.advance(wait);
        let mut tabs = vec![browser; 50];
        let answers = join_all(tabs.iter_mut().map(accounts)).await;
        for answer in answers {
            answer.expect(200).unwrap();
        }
        assert_eq!(refreshes(&bed).len(), 1);
        assert_eq!(bed.api.count("/accounts"), 50);
        assert!(bed.api.events().iter().all(|event| event.outcome == Outcome::Accepted));
        assert_eq!(bed.last_audit("session.refresh"), ("success".to_owned(), "none".to_owned()));
    }
}

/// BFF-6.1.2.2-1: nothing is renewed a second too early.
#[tokio::test]
async fn a_token_is_renewed_in_its_last_thirty_seconds_and_not_before() {
    let bed = bed(|_| {}).await;
    let mut browser = bed.logged_in().await;
    bed.clock.advance(DUE - 1);
    accounts(&mut browser).await.expect(200).unwrap();
    assert_eq!(refreshes(&bed).len(), 0);
    bed.clock.advance(OVERDUE - DUE + 1);
    accounts(&mut browser).await.expect(200).unwrap();
    assert_eq!(refreshes(&bed).len(), 1);
    assert_eq!(session(&mut browser).await["access_token_expires_in"], LIFE);
}

/// Five tabs that refresh at once share one request, and its answer.
#[tokio::test]
async fn five_tabs_that_demand_a_refresh_at_once_share_one() {
    let bed = bed(|as_| as_.rotate_refresh_tokens = true).await;
    let browser = bed.logged_in().await;
    let gate = Gate::new();
    bed.double.behave(|as_| as_.fault(Endpoint::Token, Fault::Gate(gate.clone())));
    let loads = || {
        bed.metric("fapi_bff_store_operations_total{operation=\"load\"")
            + bed.metric("fapi_bff_session_cache_hits_total")
    };
    let before = loads();
    let tabs: Vec<_> = (0..5)
        .map(|_| {
            let mut tab = browser.clone();
            tokio::spawn(async move { tab.fetch(Call::post("/bff/refresh")).await.unwrap() })
        })
        .collect();
    soon("the token request", gate.reached(1)).await;
    // Each tab reads the record once before it joins, the refresh itself once more.
    until("all five calls", || loads() - before >= 6.0).await;
    gate.open();
    for tab in tabs {
        let answer = tab.await.unwrap().expect(200).unwrap();
        assert_eq!(answer.json().unwrap(), json!({"access_token_expires_in": LIFE}));
    }
    assert_eq!(refreshes(&bed).len(), 1);
}

/// FAPI2-SP-5.3.2.1-9, FAPI2-SP-5.3.3.1-6: a successor replaces its predecessor, which is never
/// sent again.
#[tokio::test]
async fn under_rotation_no_refresh_token_is_sent_twice() {
    let bed = bed(|as_| as_.rotate_refresh_tokens = true).await;
    let mut browser = bed.logged_in().await;
    for _ in 0..5 {
        bed.clock.advance(LIFE);
        let mut other = browser.clone();
        let (one, two) = tokio::join!(accounts(&mut browser), accounts(&mut other));
        one.expect(200).unwrap();
        two.expect(200).unwrap();
    }
    let sent: Vec<_> = refreshes(&bed)
        .iter()
        .map(|event| event.form("refresh_token").unwrap().to_owned())
        .collect();
    assert_eq!(sent.len(), 5);
    assert_eq!(sent.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    assert!(refreshes(&bed).iter().all(|event| event.outcome == Outcome::Accepted));
}

/// The browser hangs up in the middle: the successor is stored all the same.
#[tokio::test]
async fn a_client_that_hangs_up_does_not_lose_the_successor() {
    let bed = bed(|as_| as_.rotate_refresh_tokens = true).await;
    let mut browser = bed.logged_in().await;
    let gate = Gate::new();
    bed.double.behave(|as_| {
        as_.fault(Endpoint::Token, FaultRule::from(Fault::Gate(gate.clone())).after_handling());
    });
    bed.clock.advance(LIFE);
    let mut tab = browser.clone();
    let call = tokio::spawn(async move { tab.fetch(Call::get("/api/accounts")).await });
    soon("the token request", gate.reached(1)).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    gate.open();
    until("the end of the refresh", || {
        bed.audit.events().iter().any(|event| event["action"] == "session.refresh")
    })
    .await;
    assert_eq!(bed.last_audit("session.refresh"), ("success".to_owned(), "none".to_owned()));
    accounts(&mut browser).await.expect(200).unwrap();
    assert_eq!(refreshes(&bed).len(), 1);
}

/// A logout between a refresh's question and its answer wins; what comes late is given up (REV-2.1).
#[tokio::test]
async fn a_logout_wins_over_a_refresh_under_way() {
    let bed = bed(|as_| as_.rotate_refresh_tokens = true).await;
    let mut browser = bed.logged_in().await;
    let gate = Gate::new();
    bed.double.behave(|as_| as_.fault(Endpoint::Token, Fault::Gate(gate.clone())));
    bed.clock.advance(LIFE);
    let mut tab = browser.clone();
    let mut late = browser.clone();
    let call = tokio::spawn(async move { accounts(&mut tab).await });
    soon("the token request", gate.reached(1)).await;
    // The AS answers first and hears of the logout later: hold back what would end the grant.
    let hold = Gate::new();
    bed.double.behave(|as_| as_.fault(Endpoint::Revocation, Fault::Gate(hold.clone())));
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    gate.open();
    let answer = soon("the held call", call).await.unwrap();
    answer.expect_refusal(401, "session_missing").unwrap();
    hold.open();
    // Two tokens of the session, two that came too late.
    soon("revocations", bed.double.wait_for(Endpoint::Revocation, 4)).await;
    assert_eq!(bed.double.accepted(Endpoint::Revocation), 4);
    let given_up: std::collections::BTreeSet<_> = bed
        .double
        .events()
        .iter()
        .filter(|event| event.endpoint == Endpoint::Revocation)
        .map(|event| event.form("token").unwrap().to_owned())
        .collect();
    assert_eq!(given_up.len(), 4, "four different tokens");
    accounts(&mut late).await.expect_refusal(401, "session_missing").unwrap();
    assert!(!bed.is_logged_in(&mut late).await);
    assert_eq!(bed.api.count("/accounts"), 0, "no call went out with the late token");
    assert_eq!(bed.last_audit("session.end"), ("success".to_owned(), "logout".to_owned()));
}

/// Trouble at the AS: the session lives as long as its access token and after; nothing is cleared.
#[tokio::test]
async fn trouble_at_the_as_costs_nothing_while_the_token_lives_and_no_session_after() {
    let html = Fault::Respond {
        status: 200,
        content_type: "text/html".to_owned(),
        body: b"<html>maintenance</html>".to_vec(),
        headers: Vec::new(),
    };
    for (fault, code, reason) in [
        (Fault::status(503), "authorization_server_unavailable", "as.unavailable"),
        (Fault::status(500), "authorization_server_unavailable", "as.unavailable"),
        (Fault::status(429), "authorization_server_unavailable", "as.unavailable"),
        (
            Fault::oauth_error(401, "invalid_client"),
            "authorization_server_unavailable",
            "as.rejected",
        ),
        (
            Fault::oauth_error(400, "temporarily_unavailable"),
            "authorization_server_unavailable",
            "as.rejected",
        ),
        (Fault::Drop, "token_unavailable", "as.broken"),
        (html, "token_unavailable", "as_answer.content_type"),
        (Fault::Truncate(20), "token_unavailable", "as_answer.not_json"),
    ] {
        let bed = bed(|_| {}).await;
        let mut browser = bed.logged_in().await;
        let cookie = session_cookie(&browser);
        bed.double.behave(|as_| as_.fault(Endpoint::Token, fault));
        bed.clock.advance(LIFE - 1);
        accounts(&mut browser).await.expect(200).unwrap();
        assert_eq!(bed.last_audit("session.refresh"), ("failed".to_owned(), reason.to_owned()));
        bed.clock.advance(1);
        let answer = accounts(&mut browser).await.expect_refusal(503, code).unwrap();
        assert!(answer.cookies().is_empty(), "{reason}");
        assert!(!answer.header("retry-after").is_empty(), "{reason}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(bed.api.count("/accounts"), 1, "no call with a token that has ended");
        assert!(bed.is_logged_in(&mut browser).await, "{reason}");
        assert_eq!(session_cookie(&browser), cookie);
        bed.double.behave(|as_| as_.heal(Endpoint::Token));
        bed.clock.advance(2);
        accounts(&mut browser).await.expect(200).unwrap();
    }
}

/// Fifty calls to an AS in trouble are not fifty requests to it.
#[tokio::test]
async fn an_as_in_trouble_is_asked_once_a_second() {
    let bed = bed(|_| {}).await;
    let mut browser = bed.logged_in().await;
    bed.double.behave(|as_| as_.fault(Endpoint::Token, Fault::status(503)));
    bed.clock.advance(LIFE);
    for _ in 0..20 {
        let answer = accounts(&mut browser).await;
        answer.expect_refusal(503, "authorization_server_unavailable").unwrap();
    }
    assert_eq!(refreshes(&bed).len(), 1);
}

/// BFF-6.1.2.2-2, BCP-4.14: a dead grant ends the session everywhere at once: no zombie that is
/// logged in but useless.
#[tokio::test]
async fn a_dead_grant_ends_the_session_everywhere() {
    let bed = bed(|_| {}).await;
    let mut browser = bed.logged_in().await;
    let mut tab = browser.clone();
    bed.double.revoke_all();
    bed.clock.advance(OVERDUE);
    let answer = accounts(&mut browser).await;
    let answer = answer.expect_refusal(401, "reauthentication_required").unwrap();
    assert_eq!(answer.cookies().len(), 1);
    assert_eq!(session_cookie(&browser), None, "the cookie is deleted");
    assert!(!bed.is_logged_in(&mut tab).await);
    accounts(&mut tab).await.expect_refusal(401, "session_missing").unwrap();
    assert_eq!(bed.last_audit("session.end"), ("success".to_owned(), "grant_dead".to_owned()));
    assert_eq!(
        bed.last_audit("session.refresh"),
        ("rejected".to_owned(), "refresh.grant_dead".to_owned())
    );
    bed.login(&mut browser).await;
    accounts(&mut browser).await.expect(200).unwrap();
}

/// The answer is lost on its way: unknown, so the old refresh token is tried once more.
#[tokio::test]
async fn a_lost_answer_without_rotation_is_made_good_by_the_next_refresh() {
    let bed = bed(|_| {}).await;
    let mut browser = bed.logged_in().await;
    bed.double.behave(|as_| as_.fault(Endpoint::Token, Fault::Drop.once().after_handling()));
    bed.clock.advance(LIFE);
    accounts(&mut browser).await.expect_refusal(503, "token_unavailable").unwrap();
    bed.clock.advance(1);
    accounts(&mut browser).await.expect(200).unwrap();
    assert_eq!(refreshes(&bed).len(), 2);
}

/// With rotation the AS takes the second try for theft; that ends in one clean re-login, not in a loop.
#[tokio::test]
async fn a_lost_answer_under_rotation_ends_in_one_clean_login() {
    let bed = bed(|as_| as_.rotate_refresh_tokens = true).await;
    let mut browser = bed.logged_in().await;
    bed.double.behave(|as_| as_.fault(Endpoint::Token, Fault::Drop.once().after_handling()));
    bed.clock.advance(LIFE);
    accounts(&mut browser).await.expect_refusal(503, "token_unavailable").unwrap();
    bed.clock.advance(1);
    let answer = accounts(&mut browser).await;
    answer.expect_refusal(401, "reauthentication_required").unwrap();
    assert_eq!(session_cookie(&browser), None);
    bed.login(&mut browser).await;
    accounts(&mut browser).await.expect(200).unwrap();
}

/// OIDC-12.2: an ID token about somebody else makes the whole answer unbelievable.
#[tokio::test]
async fn a_refresh_about_somebody_else_is_refused_and_its_tokens_given_up() {
    let bed = bed(|as_| as_.id_token_on_refresh = true).await;
    let mut browser = bed.logged_in().await;
    bed.double.behave(|as_| as_.edit_once(Target::IdToken, edits::set("sub", json!("mallory"))));
    bed.clock.advance(OVERDUE);
    accounts(&mut browser).await.expect(200).unwrap();
    let (outcome, reason) = bed.last_audit("session.refresh");
    assert_eq!((outcome.as_str(), reason.as_str()), ("rejected", "id_token.subject_changed"));
    soon("the revocation", bed.double.wait_for(Endpoint::Revocation, 1)).await;
    assert_eq!(session(&mut browser).await["id_token_claims"]["sub"], "alice");
    bed.clock.advance(1);
    accounts(&mut browser).await.expect(200).unwrap();
    assert_eq!(bed.last_audit("session.refresh").0, "success");
}

/// REV-2.1: more scope than the session has is refused, and the tokens that bring it are given up; what
/// the session holds stays.
#[tokio::test]
async fn a_refresh_with_more_scope_is_refused_and_its_tokens_given_up() {
    let bed = bed(|_| {}).await;
    let mut browser = bed.logged_in().await;
    bed.double.behave(|as_| {
        as_.edit_once(Target::TokenResponse, edits::append("scope", " admin"));
    });
    bed.clock.advance(OVERDUE);
    accounts(&mut browser).await.expect(200).unwrap();
    let refused = ("rejected".to_owned(), "token.scope_beyond_request".to_owned());
    assert_eq!(bed.last_audit("session.refresh"), refused);
    soon("the revocation", bed.double.wait_for(Endpoint::Revocation, 1)).await;
    let revoked = bed.double.last(Endpoint::Revocation).unwrap();
    assert_eq!(revoked.form("token_type_hint"), Some("access_token"));
    bed.clock.advance(1);
    accounts(&mut browser).await.expect(200).unwrap();
    assert_eq!(bed.last_audit("session.refresh").0, "success");
    assert_eq!(bed.double.count(Endpoint::Revocation), 1);
}

/// Without a refresh token the session is useful exactly as long as its access token.
#[tokio::test]
async fn without_a_refresh_token_the_access_token_is_all_there_is() {
    let bed = bed(|as_| as_.issue_refresh_token = false).await;
    let mut browser = bed.logged_in().await;
    let answer = browser.fetch(Call::post("/bff/refresh")).await.unwrap();
    let answer = answer.expect_refusal(400, "invalid_request").unwrap();
    assert_eq!(answer.json().unwrap()["detailed_error"], "no_refresh_token");
    bed.clock.advance(LIFE - 1);
    accounts(&mut browser).await.expect(200).unwrap();
    bed.clock.advance(1);
    let answer = accounts(&mut browser).await;
    answer.expect_refusal(401, "reauthentication_required").unwrap();
    assert!(!bed.is_logged_in(&mut browser).await, "no zombie");
    assert_eq!(refreshes(&bed).len(), 0);
}

/// OA-5.1: `expires_in` is only recommended. The upstream then says when the token has ended.
#[tokio::test]
async fn a_token_of_unknown_life_is_used_until_the_api_refuses_it() {
    let bed = bed(|as_| as_.edit(Target::TokenResponse, edits::remove("expires_in"))).await;
    let mut browser = bed.logged_in().await;
    assert_eq!(session(&mut browser).await["access_token_expires_in"], Value::Null);
    accounts(&mut browser).await.expect(200).unwrap();
    assert_eq!(refreshes(&bed).len(), 0);
    bed.double.expire_access_tokens();
    accounts(&mut browser).await.expect(200).unwrap();
    assert_eq!((refreshes(&bed).len(), bed.api.count("/accounts")), (1, 3));
}

/// SES-7.3: the idle limit, to the second; looking is not using.
#[tokio::test]
async fn idle_time_ends_a_session_to_the_second_and_polling_does_not_extend_it() {
    let bed = patient(&[], |as_| as_.access_token_lifetime = 3600).await;
    let (mut polled, mut used, mut called) =
        (bed.logged_in().await, bed.logged_in().await, bed.logged_in().await);
    bed.clock.advance(899);
    let state = session(&mut polled).await;
    assert_eq!((&state["is_logged_in"], &state["idle_expires_in"]), (&json!(true), &json!(1)));
    accounts(&mut used).await.expect(200).unwrap();
    polled.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
    bed.clock.advance(1);
    let answer = polled.fetch(Call::get("/bff/session")).await.unwrap().expect(200).unwrap();
    assert_eq!(answer.json().unwrap()["is_logged_in"], false);
    assert_eq!(answer.cookies().len(), 1, "the cookie is deleted");
    let answer = accounts(&mut called).await.expect_refusal(401, "session_expired").unwrap();
    assert_eq!(answer.cookies().len(), 1);
    assert_eq!(bed.last_audit("session.end"), ("success".to_owned(), "idle_expired".to_owned()));
    // The call that counted has moved the limit.
    bed.clock.advance(898);
    assert!(bed.is_logged_in(&mut used).await);
    bed.clock.advance(1);
    accounts(&mut used).await.expect_refusal(401, "session_expired").unwrap();
}

/// SES-7.3, CK-5.5: the absolute limit, to the second, however busy the session.
#[tokio::test]
async fn absolute_time_ends_a_busy_session_to_the_second() {
    let bed = patient(&[("absolute = \"8h\"", "absolute = \"1h\"")], |_| {}).await;
    let mut browser = bed.logged_in().await;
    for _ in 0..5 {
        bed.clock.advance(600);
        accounts(&mut browser).await.expect(200).unwrap();
    }
    bed.clock.advance(599);
    let state = session(&mut browser).await;
    assert_eq!((&state["session_expires_in"], &state["idle_expires_in"]), (&json!(1), &json!(1)));
    accounts(&mut browser).await.expect(200).unwrap();
    bed.clock.advance(1);
    accounts(&mut browser).await.expect_refusal(401, "session_expired").unwrap();
    assert_eq!(
        bed.last_audit("session.end"),
        ("success".to_owned(), "absolute_expired".to_owned())
    );
}

/// BRR-3.1: an API that calls a token invalid: one refresh, one retry, where nothing is sent twice
/// that acts.
#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_call_repeated_once() {
    let bed = bed(|_| {}).await;
    let mut browser = bed.logged_in().await;
    bed.api.fault("/accounts", Fault::invalid_token().once());
    accounts(&mut browser).await.expect(200).unwrap();
    assert_eq!((refreshes(&bed).len(), bed.api.count("/accounts")), (1, 2));

    // The API did not act on what it refused, so a short body is sent again.
    bed.api.fault("/payments", Fault::invalid_token().once());
    let payment = json!({"amount": 1});
    let answer = browser.fetch(Call::post("/api/payments").json(&payment)).await.unwrap();
    assert_eq!(answer.expect(201).unwrap().json().unwrap(), payment);
    assert_eq!((refreshes(&bed).len(), bed.api.count("/payments")), (2, 2));
    assert_eq!(bed.api.last("/payments").unwrap().notes["body"], payment);
}

/// DPOP-9-PRJ, PXY-7: what is too long to be kept is the page's to send again.
#[tokio::test]
async fn a_long_payment_is_not_sent_twice_unasked() {
    let bed = bed(|_| {}).await;
    let mut browser = bed.logged_in().await;
    bed.api.fault("/payments", Fault::invalid_token().once());
    let payment =
        Call::post("/api/payments").json(&json!({"amount": 1, "purpose": "x".repeat(64 << 10)}));
    let answer = browser.fetch(payment.clone()).await.unwrap();
    let answer = answer.expect_refusal(503, "upstream_token_renewed").unwrap();
    assert_eq!(answer.header("retry-after"), "0");
    assert_eq!((refreshes(&bed).len(), bed.api.count("/payments")), (1, 1));
    browser.fetch(payment).await.unwrap().expect(201).unwrap();
    assert_eq!((refreshes(&bed).len(), bed.api.count("/payments")), (1, 2));
}

/// An API that never likes a token gets two tries, not a loop; and the session is not to blame.
#[tokio::test]
async fn an_api_that_refuses_every_token_makes_no_loop_and_ends_no_session() {
    let bed = bed(|_| {}).await;
    let mut browser = bed.logged_in().await;
    bed.api.fault("/accounts", Fault::invalid_token());
    let answer = accounts(&mut browser).await;
    let answer = answer.expect_refusal(502, "upstream_rejected_token").unwrap();
    assert!(answer.cookies().is_empty());
    assert_eq!((refreshes(&bed).len(), bed.api.count("/accounts")), (1, 2));
    assert!(bed.is_logged_in(&mut browser).await);
    bed.api.heal();
    accounts(&mut browser).await.expect(200).unwrap();
}

/// OIDC-5.3.1: the AS's own resource needs a living token, too, in the header.
#[tokio::test]
async fn userinfo_after_expiry_is_asked_with_a_new_token() {
    let bed = bed(|_| {}).await;
    let mut browser = bed.logged_in().await;
    bed.clock.advance(LIFE);
    let answer = browser.fetch(Call::get("/bff/userinfo")).await.unwrap().expect(200).unwrap();
    assert_eq!(answer.json().unwrap()["sub"], "alice");
    assert_eq!((refreshes(&bed).len(), bed.double.accepted(Endpoint::Userinfo)), (1, 1));
    let asked = bed.double.last(Endpoint::Userinfo).unwrap();
    assert_eq!((asked.method.as_str(), asked.query.len(), asked.form.len()), ("GET", 0, 0));
    assert!(asked.header("authorization").unwrap().starts_with("Bearer "));
}

/// A token that userinfo refuses is renewed once and the call repeated, as at any API.
#[tokio::test]
async fn a_token_that_userinfo_refuses_is_renewed_once() {
    let bed = bed(|_| {}).await;
    let mut browser = bed.logged_in().await;
    bed.double.behave(|as_| as_.fault(Endpoint::Userinfo, Fault::invalid_token().once()));
    let claims = browser.fetch(Call::get("/bff/userinfo")).await.unwrap().expect(200).unwrap();
    assert_eq!(claims.json().unwrap()["sub"], "alice");
    assert_eq!(refreshes(&bed).len(), 1);
}
