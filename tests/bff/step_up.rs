//! A call that wants the user to authenticate otherwise: what the page is told, and when no more.

use fapi_bff_conformance::{
    as_double::{Fault, FaultRule, Target, edits},
    demo::browser::{Answer, Browser, Call, From},
};
use serde_json::{Value, json};

use crate::support::{Bed, Wish};

const ROUTE: &str = "path = \"/api\"";

async fn bed(edit: &[(&'static str, &str)]) -> Bed {
    let edit = edit.iter().map(|(from, to)| (*from, (*to).to_owned())).collect();
    Bed::with(Wish { edit, ..Wish::default() }).await
}

async fn demanding() -> Bed {
    let demands = format!("{ROUTE}\nacr_values = [\"urn:example:loa:3\"]\nmax_age = \"5m\"");
    bed(&[(ROUTE, &demands)]).await
}

async fn accounts(browser: &mut Browser) -> Answer {
    browser.fetch(Call::get("/api/accounts")).await.unwrap()
}

/// Logs in as the page would after a hint.
async fn log_in(bed: &Bed, browser: &mut Browser, parameters: &str) {
    let start = Call::post("/bff/login/start").form(parameters);
    let started = browser.fetch(start).await.unwrap().expect(200).unwrap().json().unwrap();
    let url = started["authorization_url"].as_str().unwrap();
    let answer = browser.navigate(From::SameOrigin, url).await.unwrap().expect(303).unwrap();
    let location = answer.location().unwrap();
    bed.end(browser, location.query().unwrap()).await.expect(200).unwrap();
}

/// STEP-9: data for the page, never a redirect, a cookie or a header that opens a dialog.
#[track_caller]
fn told(answer: Answer, hint: &Value) {
    let answer = answer.expect_refusal(401, "step_up_required").unwrap();
    assert_eq!((answer.header("location"), answer.header("www-authenticate")), ("", ""));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.cookies().is_empty());
    let body = answer.json().unwrap();
    assert_eq!(body["step_up"], *hint);
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
    assert!(body["request_id"].as_str().unwrap().starts_with("req-"));
}

#[track_caller]
fn no_more(answer: Answer) {
    let answer = answer.expect_refusal(403, "insufficient_authentication").unwrap();
    assert!(answer.json().unwrap().get("step_up").is_none());
}

fn challenge(parameters: &str) -> FaultRule {
    let challenge = format!("Bearer error=\"insufficient_user_authentication\"{parameters}");
    Fault::Respond {
        status: 401,
        content_type: "text/plain".to_owned(),
        body: b"the API's own".to_vec(),
        headers: vec![("www-authenticate".to_owned(), challenge)],
    }
    .into()
}

/// SES-7.5, STEP-4, STEP-5: the whole way, from the hint through a login to the call.
#[tokio::test]
async fn a_route_gets_the_authentication_it_demands() {
    let bed = demanding().await;
    let mut browser = bed.logged_in().await;
    let hint = json!({"acr_values": ["urn:example:loa:3"], "max_age": 300});
    told(accounts(&mut browser).await, &hint);
    assert_eq!(bed.api.count("/accounts"), 0, "the API was not asked");
    assert!(bed.is_logged_in(&mut browser).await, "the session stays as it is");
    bed.clock.advance(5);
    log_in(&bed, &mut browser, "acr_values=urn%3Aexample%3Aloa%3A3&max_age=300").await;
    accounts(&mut browser).await.expect(200).unwrap();
    bed.clock.advance(300);
    accounts(&mut browser).await.expect(200).unwrap();
    // It was fresh and has aged, so asking anew makes sense.
    bed.clock.advance(1);
    told(accounts(&mut browser).await, &hint);
    let count = |outcome| {
        bed.metric(&format!(
            "fapi_bff_step_ups_total{{app=\"web\",outcome=\"{outcome}\",route=\"/api\"}}"
        ))
    };
    assert!((count("asked") - 2.0).abs() < 0.1 && count("exhausted") < 0.1);
}

/// STEP-5: an authorization server that does not do as asked is asked once.
#[tokio::test]
async fn a_login_that_does_not_reach_what_is_demanded_is_not_asked_for_twice() {
    for acr in [None, Some("urn:example:loa:2")] {
        let bed = demanding().await;
        let mut browser = bed.logged_in().await;
        accounts(&mut browser).await.expect_refusal(401, "step_up_required").unwrap();
        bed.clock.advance(5);
        let reached = edits::set("acr", json!(acr));
        bed.double.behave(|as_| match acr {
            Some(_) => as_.edit(Target::IdToken, reached),
            None => as_.edit(Target::IdToken, edits::remove("acr")),
        });
        // A login that does not say what for, and so is not held to it.
        log_in(&bed, &mut browser, "prompt=login").await;
        no_more(accounts(&mut browser).await);
        bed.clock.advance(500);
        no_more(accounts(&mut browser).await);
        assert_eq!(bed.api.count("/accounts"), 0);
        assert!(bed.is_logged_in(&mut browser).await);
    }
}

/// STEP-3, STEP-5, STEP-9: an upstream that is never content is heard once.
#[tokio::test]
async fn an_upstreams_challenge_becomes_a_hint_once() {
    let bed = bed(&[(ROUTE, &format!("{ROUTE}\nstep_up = true"))]).await;
    let mut browser = bed.logged_in().await;
    let hint = json!({"acr_values": ["urn:example:loa:3"], "max_age": 60});
    for _ in 0..2 {
        told(browser.fetch(Call::get("/api/challenge")).await.unwrap(), &hint);
    }
    assert_eq!(bed.api.count("/challenge"), 2, "no call is repeated");
    bed.clock.advance(5);
    log_in(&bed, &mut browser, "acr_values=urn%3Aexample%3Aloa%3A3&max_age=60").await;
    no_more(browser.fetch(Call::get("/api/challenge")).await.unwrap());
    // Other demands, one after the other: seldom, and a few.
    let mut asked = 0;
    for age in 1..20 {
        bed.api.heal();
        bed.api.fault("/accounts", challenge(&format!(", max_age={age}")));
        let answer = accounts(&mut browser).await;
        match answer.status {
            401 => asked += 1,
            _ => no_more(answer),
        }
        bed.clock.advance(2);
    }
    assert_eq!(asked, 3);
    bed.api.heal();
    accounts(&mut browser).await.expect(200).unwrap();
}

/// STEP-9: what the operator does not allow, or nobody can read, is the API's own answer.
#[tokio::test]
async fn a_challenge_that_is_not_for_the_page_stays_the_apis_401() {
    let login = "[apps.web.login]";
    let listed = format!("{login}\nacr_values = [\"urn:example:loa:2\"]");
    let allowed = format!("{ROUTE}\nstep_up = true");
    for (edit, parameters) in [
        (&[][..], ", acr_values=\"urn:example:loa:3\""),
        (&[(login, listed.as_str())], ", acr_values=\"urn:example:loa:3\""),
        (&[(ROUTE, allowed.as_str())], ", max_age=-1"),
        (&[(ROUTE, allowed.as_str())], ", max_age=1, max_age=2"),
    ] {
        let bed = bed(edit).await;
        let mut browser = bed.logged_in().await;
        bed.api.fault("/accounts", challenge(parameters));
        let answer = accounts(&mut browser).await.expect(401).unwrap();
        assert_eq!(answer.body, b"the API's own".as_slice(), "{parameters}");
        assert_eq!(answer.header("www-authenticate"), "");
        // Values that are listed do get through.
        if edit.first().is_some_and(|(from, _)| *from == login) {
            bed.api.heal();
            let both = ", acr_values=\"urn:example:loa:3 urn:example:loa:2\"";
            bed.api.fault("/accounts", challenge(both));
            told(accounts(&mut browser).await, &json!({"acr_values": ["urn:example:loa:2"]}));
        }
    }
}
