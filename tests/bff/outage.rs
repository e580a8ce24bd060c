//! The AS, the API or the store down, slow, lying or broken at each step: typed refusals, nothing lost.

pub(crate) mod store;

use std::time::Duration;

use fapi_bff::{
    clock::Ambient,
    config,
    server::{Options, Server},
};
use fapi_bff_conformance::{
    as_double::{Endpoint, Fault, FaultRule},
    demo::browser::{Answer, Browser, Call},
    suite::world::free_port,
};
use serde_json::json;

use crate::support::{Bed, Wish, private, soon, until};

const UNAVAILABLE: &str = "authorization_server_unavailable";
const WRONG: &str = "authorization_server_error";

/// A fault of the AS, and what must come of it.
struct Trouble {
    name: &'static str,
    rule: FaultRule,
    status: u16,
    code: &'static str,
    reason: &'static str,
    retry_after: &'static str,
}

fn answer(status: u16, kind: &str, body: &str) -> Fault {
    Fault::Respond {
        status,
        content_type: kind.to_owned(),
        body: body.as_bytes().to_vec(),
        headers: Vec::new(),
    }
}

fn wait(status: u16, seconds: &str) -> Fault {
    Fault::Respond {
        status,
        content_type: "text/plain".to_owned(),
        body: Vec::new(),
        headers: vec![("retry-after".to_owned(), seconds.to_owned())],
    }
}

/// Everything that can go wrong at an endpoint whose success has this status.
fn troubles(success: u16) -> Vec<Trouble> {
    let redirect =
        Fault::Redirect { status: 302, location: "https://elsewhere.example/".to_owned() };
    let drip = Fault::Drip { chunk: 1, every: Duration::from_millis(300) };
    let json = |body| answer(success, "application/json", body);
    let outage = |name, rule: FaultRule, reason, retry_after| Trouble {
        name,
        rule,
        status: 503,
        code: UNAVAILABLE,
        reason,
        retry_after,
    };
    let wrong = |name, fault: Fault, reason| Trouble {
        name,
        rule: fault.into(),
        status: 502,
        code: WRONG,
        reason,
        retry_after: "",
    };
    vec![
        outage("dropped", Fault::Drop.into(), "as.broken", "2"),
        outage(
            "dropped after handling",
            FaultRule::from(Fault::Drop).after_handling(),
            "as.broken",
            "2",
        ),
        outage("silent", Fault::Hang.into(), "as.timed_out", "2"),
        outage("dripping", drip.into(), "as.timed_out", "2"),
        outage("500", Fault::status(500).into(), "as.unavailable", "2"),
        outage(
            "502 page",
            answer(502, "text/html", "<h1>Bad gateway</h1>").into(),
            "as.unavailable",
            "2",
        ),
        outage("503 and when", wait(503, "7").into(), "as.unavailable", "7"),
        outage("503 and much later", wait(503, "86400").into(), "as.unavailable", "120"),
        outage("429 and when", wait(429, "11").into(), "as.unavailable", "11"),
        wrong("redirect", redirect, "as_answer.redirect"),
        wrong("oversized", Fault::Oversized(2_000_000), "as_answer.too_large"),
        wrong("truncated", Fault::Truncate(20), "as_answer.not_json"),
        wrong("empty", json(""), "as_answer.not_json"),
        wrong("not JSON", json("access_token=x"), "as_answer.not_json"),
        wrong("a JSON array", json("[{}]"), "as_answer.not_json"),
        wrong(
            "not JSON by type",
            Fault::ContentType("text/html".to_owned()),
            "as_answer.content_type",
        ),
        wrong("400", Fault::oauth_error(400, "invalid_request"), "as.rejected"),
        wrong("401", Fault::oauth_error(401, "invalid_client"), "as.rejected"),
    ]
}

/// What the browser is told, in every respect the contract names.
#[track_caller]
fn told(answer: Answer, trouble: &Trouble) {
    let Trouble { name, status, code, retry_after, .. } = trouble;
    let answer = answer.expect_refusal(*status, code).unwrap_or_else(|why| panic!("{name}: {why}"));
    assert_eq!(answer.header("content-type"), "application/json", "{name}");
    assert_eq!(answer.header("retry-after"), *retry_after, "{name}");
    assert!(answer.cookies().is_empty(), "{name}: a fault behind us touches no cookie");
}

fn jar(browser: &Browser) -> Vec<(String, String)> {
    let cookies = browser.cookies().into_iter();
    cookies.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// PAR-2.3, FAPI2-MS-5.3.2-1: without a pushed request there is no request; nothing falls back to the
/// front channel.
#[tokio::test]
async fn trouble_at_par_starts_no_login_and_falls_back_to_nothing() {
    let bed = Bed::start().await;
    for trouble in troubles(201) {
        let name = trouble.name;
        let mut browser = bed.browser();
        bed.double.clear_events();
        bed.double.behave(|as_| as_.fault(Endpoint::Par, trouble.rule.clone()));
        let answer = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
        assert!(!String::from_utf8_lossy(&answer.body).contains("http"), "{name}: no address");
        told(answer, &trouble);
        assert!(jar(&browser).is_empty(), "{name}");
        assert_eq!(bed.double.count(Endpoint::Par), 1, "{name}: one try");
        assert_eq!(bed.double.events().len() - bed.double.count(Endpoint::Metadata), 1, "{name}");
        let audit = bed.last_audit("login.start");
        assert_eq!(audit, ("failed".to_owned(), trouble.reason.to_owned()), "{name}");
        bed.double.behave(|as_| as_.heal(Endpoint::Par));
        bed.login(&mut browser).await;
    }
    assert!(bed.metric("fapi_bff_as_calls_total{endpoint=\"par\",outcome=\"as.timed_out\"") > 0.0);
}

/// OA-5.2: whatever the token endpoint does, there is no session, and the next login works.
#[tokio::test]
async fn trouble_at_the_token_endpoint_makes_no_session() {
    let bed = Bed::start().await;
    for trouble in troubles(200) {
        let name = trouble.name;
        let mut browser = bed.browser();
        let query = bed.response(&mut browser).await;
        bed.double.clear_events();
        bed.double.behave(|as_| as_.fault(Endpoint::Token, trouble.rule.clone()));
        let before = jar(&browser);
        told(bed.end(&mut browser, &query).await, &trouble);
        assert_eq!(jar(&browser), before, "{name}");
        assert_eq!(bed.double.count(Endpoint::Token), 1, "{name}: a code is sent once");
        let audit = bed.last_audit("login.end");
        assert_eq!(audit, ("failed".to_owned(), trouble.reason.to_owned()), "{name}");
        assert!(!bed.is_logged_in(&mut browser).await, "{name}");
        bed.double.behave(|as_| as_.heal(Endpoint::Token));
        // The answer is spent: its code may be, too.
        let again = bed.end(&mut browser, &query).await;
        again.expect_refusal(400, "transaction_missing").unwrap();
        bed.login(&mut browser).await;
    }
}

/// OA-5.2, FAPI2-SP-5.3.2.1-11: a code that came too late is the end of this login, and nobody's
/// outage.
#[tokio::test]
async fn a_code_refused_as_invalid_grant_is_a_login_to_start_again() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    bed.double.behave(|as_| {
        as_.fault(Endpoint::Token, Fault::oauth_error(400, "invalid_grant").once());
    });
    let answer = bed.end(&mut browser, &query).await;
    let answer = answer.expect_refusal(400, "login_rejected").unwrap();
    assert_eq!(answer.cookies().len(), 1, "the spent transaction goes");
    assert!(jar(&browser).is_empty());
    assert_eq!(bed.last_audit("login.end").1, "as.rejected");
    bed.login(&mut browser).await;
}

/// JWK-FETCH: an answer that cannot be verified is not believed; its code is not redeemed.
#[tokio::test]
async fn trouble_at_the_jwks_verifies_nothing_and_redeems_nothing() {
    let bed = Bed::start().await;
    for mut trouble in troubles(200) {
        let name = trouble.name;
        match name {
            // `application/jwk-set+json` is registered and `application/json` is common: the type
            // says nothing.
            "not JSON by type" => continue,
            "400" | "401" => trouble.reason = "as_answer.status_unexpected",
            _ => {}
        }
        let mut browser = bed.browser();
        let query = bed.response(&mut browser).await;
        bed.double.behave(|as_| as_.fault(Endpoint::Jwks, trouble.rule.clone()));
        let tokens = bed.double.count(Endpoint::Token);
        told(bed.end(&mut browser, &query).await, &trouble);
        assert_eq!(bed.double.count(Endpoint::Token), tokens, "{name}: no code is redeemed");
        assert_eq!(bed.last_audit("login.end").1, trouble.reason, "{name}");
        assert!(!bed.is_logged_in(&mut browser).await, "{name}");
        bed.double.behave(|as_| as_.heal(Endpoint::Jwks));
        bed.clock.advance(1);
    }
    bed.logged_in().await;
    // JWK-STALE: keys once good bridge an outage.
    bed.clock.advance(600);
    bed.double.behave(|as_| as_.fault(Endpoint::Jwks, Fault::status(500)));
    bed.logged_in().await;
}

/// META-3.3: without metadata that holds, nothing is sent anywhere; once it comes, logins work.
#[tokio::test]
async fn trouble_at_the_metadata_sends_nothing_anywhere_and_heals_without_a_restart() {
    let before = |double: &fapi_bff_conformance::as_double::AsDouble| {
        double.behave(|as_| as_.fault(Endpoint::Metadata, Fault::status(500)));
    };
    let bed = Bed::with(Wish { before: Some(before), ..Wish::default() }).await;
    until("the first failure", || {
        bed.metric("fapi_bff_as_calls_total{endpoint=\"metadata\",outcome=\"unavailable\"") > 0.0
    })
    .await;
    let (status, body) = bed.admin("/readyz").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains(r#"{"name":"metadata as","ok":false"#), "{body}");
    assert_eq!(bed.admin("/healthz").await.0, 200);
    for mut trouble in troubles(200) {
        let name = trouble.name;
        match name {
            "400" | "401" => trouble.reason = "as_answer.status_unexpected",
            "truncated" | "empty" | "not JSON" | "a JSON array" => {
                trouble.reason = "metadata.not_json";
            }
            _ => {}
        }
        let mut browser = bed.browser();
        bed.double.behave(|as_| {
            as_.heal(Endpoint::Metadata);
            as_.fault(Endpoint::Metadata, trouble.rule.clone());
        });
        bed.clock.advance(1);
        let answer = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
        told(answer, &trouble);
        assert_eq!(bed.last_audit("login.start").1, trouble.reason, "{name}");
        assert_eq!(bed.double.count(Endpoint::Par), 0, "{name}");
    }
    bed.double.behave(|as_| as_.heal(Endpoint::Metadata));
    bed.clock.advance(1);
    bed.logged_in().await;
    assert_eq!(bed.admin("/readyz").await.0, 200);
}

/// The AS is not there at all when the server starts: it waits, says so, and gets ready by itself.
#[tokio::test]
async fn a_server_started_before_its_as_gets_ready_when_the_as_comes() {
    let before = |double: &fapi_bff_conformance::as_double::AsDouble| {
        double.behave(|as_| as_.fault(Endpoint::Metadata, Fault::Drop));
    };
    let bed = Bed::with(Wish { before: Some(before), ..Wish::default() }).await;
    until("the first failure", || {
        bed.metric("fapi_bff_as_calls_total{endpoint=\"metadata\",outcome=\"as.broken\"") > 0.0
    })
    .await;
    assert_eq!(bed.admin("/readyz").await.0, 503);
    bed.double.behave(|as_| as_.heal(Endpoint::Metadata));
    // Its own next try, a second later, without anybody asking.
    bed.clock.advance(1);
    until("readiness", || {
        bed.metric("fapi_bff_as_calls_total{endpoint=\"metadata\",outcome=\"ok\"") > 0.0
    })
    .await;
    let (status, body) = bed.admin("/readyz").await;
    assert_eq!(status, 200, "{body}");
    bed.logged_in().await;
}

/// Nobody listens where the AS was: the three steps of a login, then the AS is back, with new keys.
#[tokio::test]
async fn an_as_that_is_gone_refuses_logins_until_it_is_back() {
    let mut bed = Bed::start().await;
    let (mut early, mut late) = (bed.browser(), bed.browser());
    let mut user = bed.logged_in().await;
    let query = bed.response(&mut late).await;
    let ports = bed.as_down().await;
    let gone = |answer: Answer| {
        let answer = answer.expect_refusal(503, UNAVAILABLE).unwrap();
        assert_eq!(answer.header("retry-after"), "2");
        assert!(answer.cookies().is_empty());
    };
    gone(early.fetch(Call::post("/bff/login/start")).await.unwrap());
    assert!(["as.unreachable", "as.broken"].contains(&bed.last_audit("login.start").1.as_str()));
    gone(bed.end(&mut late, &query).await);
    assert!(["as.unreachable", "as.broken"].contains(&bed.last_audit("login.end").1.as_str()));
    gone(user.fetch(Call::get("/bff/userinfo")).await.unwrap());
    // Who is logged in works on, and may leave.
    assert!(bed.is_logged_in(&mut user).await);
    user.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
    user.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    assert!(!bed.is_logged_in(&mut user).await);
    bed.as_up(ports).await;
    bed.clock.advance(10);
    bed.logged_in().await;
}

/// The session is not to blame for trouble at userinfo.
#[tokio::test]
async fn trouble_at_userinfo_leaves_the_session_alone() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let before = jar(&browser);
    for trouble in troubles(200) {
        let name = trouble.name;
        bed.double.clear_events();
        bed.double.behave(|as_| as_.fault(Endpoint::Userinfo, trouble.rule.clone()));
        told(browser.fetch(Call::get("/bff/userinfo")).await.unwrap(), &trouble);
        // Only a refused token is worth another one, and one more try.
        let renewed = usize::from(name.starts_with("401"));
        assert_eq!(bed.double.count(Endpoint::Userinfo), 1 + renewed, "{name}");
        assert_eq!(bed.double.count(Endpoint::Token), renewed, "{name}");
        bed.double.behave(|as_| as_.heal(Endpoint::Userinfo));
        assert_eq!(jar(&browser), before, "{name}");
        let claims = browser.fetch(Call::get("/bff/userinfo")).await.unwrap().expect(200).unwrap();
        assert_eq!(claims.json().unwrap()["sub"], "alice", "{name}");
    }
}

/// REV-2.2.1, RPL-PRJ-1: leaving does not depend on the AS, and does not wait for it.
#[tokio::test]
async fn trouble_at_revocation_keeps_nobody_from_leaving() {
    let bed = Bed::start().await;
    for trouble in troubles(200) {
        let name = trouble.name;
        let mut browser = bed.logged_in().await;
        let mut tab = browser.clone();
        bed.double.clear_events();
        bed.double.behave(|as_| as_.fault(Endpoint::Revocation, trouble.rule.clone()));
        let answer = browser.fetch(Call::post("/bff/logout")).await.unwrap();
        let answer = answer.expect(200).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(answer.json().unwrap()["logout_url"].is_string(), "{name}");
        assert!(!bed.is_logged_in(&mut tab).await, "{name}");
        soon("the revocation", bed.double.wait_for(Endpoint::Revocation, 1)).await;
        bed.double.behave(|as_| as_.heal(Endpoint::Revocation));
    }
}

/// A token that could not be revoked is tried again, refresh token first, without a user waiting.
#[tokio::test]
async fn a_revocation_that_met_an_outage_is_repeated() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    bed.double.behave(|as_| as_.fault(Endpoint::Revocation, Fault::status(503).once()));
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    soon("the revocations", bed.double.wait_for(Endpoint::Revocation, 3)).await;
    assert_eq!(bed.double.accepted(Endpoint::Revocation), 2);
    let events = bed.double.events();
    let hints: Vec<_> = events.iter().filter_map(|event| event.form("token_type_hint")).collect();
    assert_eq!(hints.last(), Some(&"access_token"));
    assert!(hints[..hints.len() - 1].iter().all(|hint| *hint == "refresh_token"));
}

/// SES-*: sessions outlive the process, and with them the login under way.
#[tokio::test]
async fn sessions_and_logins_under_way_survive_a_restart() {
    let mut bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let mut other = bed.browser();
    let query = bed.response(&mut other).await;
    bed.restart().await;
    assert!(bed.is_logged_in(&mut browser).await);
    browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
    bed.end(&mut other, &query).await.expect(200).unwrap();
    // What is used up stays used up.
    let mut thief = other.clone();
    bed.restart().await;
    let answer = bed.end(&mut thief, &query).await;
    answer.expect_refusal(400, "transaction_missing").unwrap();
}

/// One file serves one process; a second one is told so, and harms nothing.
#[tokio::test]
async fn a_second_process_on_the_same_store_is_refused_by_name() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let file = bed.dir.path().join("second.toml");
    let port = bed.origin.rsplit(':').next().unwrap();
    std::fs::write(&file, bed.toml.replace(port, &free_port().to_string())).unwrap();
    let settings = config::load(&file, []).unwrap_or_else(|faults| panic!("{faults}"));
    let options = Options { ambient: Ambient::system(), ..Options::default() };
    let refused = Server::start(settings, options).await.unwrap_err().to_string();
    assert!(refused.contains("sessions.redb"), "{refused}");
    assert!(refused.contains("another process has it open"), "{refused}");
    assert!(bed.is_logged_in(&mut browser).await);
}

/// Another server key opens nothing and destroys nothing.
#[tokio::test]
async fn under_another_server_key_sessions_are_unknown_and_stay() {
    let mut bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let key = bed.dir.path().join("server.key");
    let right = std::fs::read(&key).unwrap();
    bed.stop().await;
    std::fs::write(&key, "1".repeat(64)).unwrap();
    private(&key);
    bed.restart().await;
    let mut guest = browser.clone();
    let answer = guest.fetch(Call::get("/api/accounts")).await.unwrap();
    answer.expect_refusal(401, "session_missing").unwrap();
    assert!(!bed.is_logged_in(&mut browser.clone()).await);
    bed.stop().await;
    std::fs::write(&key, right).unwrap();
    bed.restart().await;
    assert!(bed.is_logged_in(&mut browser).await);
    let state = browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
    assert_eq!(state.json().unwrap()["owner"], json!("alice"));
}
