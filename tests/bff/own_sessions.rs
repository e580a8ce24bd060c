//! What users may do about their sessions, and how many they may have.

use fapi_bff_conformance::{
    as_double::{Conduct, Endpoint},
    demo::browser::{Answer, Browser, Call, From},
};
use serde_json::{Value, json};

use crate::{
    login::{call, session_cookie},
    outage::store::FlakyStore,
    profiles::settings,
    support::{Bed, Wish, until},
};

const END: &str = "/bff/sessions/end";

async fn listed(browser: &mut Browser) -> Vec<Value> {
    let answer = browser.fetch(Call::get("/bff/sessions")).await.unwrap().expect(200).unwrap();
    answer.json().unwrap()["sessions"].as_array().unwrap().clone()
}

fn id(session: &Value) -> String {
    session["id"].as_str().unwrap().to_owned()
}

/// The id of the browser's own session.
async fn own_id(browser: &mut Browser) -> String {
    let sessions = listed(browser).await;
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1, "{sessions:?}");
    id(current[0])
}

async fn post(browser: &mut Browser, path: &'static str, form: &str) -> Answer {
    browser.fetch(Call::post(path).form(form)).await.unwrap()
}

/// A session of the person the AS calls so.
async fn logged_in_as(bed: &Bed, user: &str) -> Browser {
    let user = user.to_owned();
    bed.double.behave(|b| b.user = Some(user));
    let browser = bed.logged_in().await;
    bed.double.reset_behaviour();
    browser
}

async fn with_session_settings(lines: &str) -> Bed {
    let edit = vec![("[apps.web.session]", format!("[apps.web.session]\n{lines}"))];
    Bed::with(Wish { edit, ..Wish::default() }).await
}

/// SES-7.4: one's own, newest first, the asking one marked; nothing of anybody else's, and nothing that
/// opens a session or names a person.
#[tokio::test]
async fn users_see_their_own_sessions() {
    let bed = Bed::start().await;
    let mut first = bed.logged_in().await;
    bed.clock.advance(100);
    let mut second = bed.logged_in().await;
    let mut stranger = logged_in_as(&bed, "bjork").await;
    bed.clock.advance(20);
    let sessions = listed(&mut first).await;
    assert_eq!(sessions.len(), 2);
    assert_eq!((&sessions[0]["current"], &sessions[1]["current"]), (&json!(false), &json!(true)));
    assert_eq!((&sessions[0]["began_ago"], &sessions[1]["began_ago"]), (&json!(20), &json!(120)));
    assert_eq!(sessions[1]["used_ago"], 120);
    assert_eq!(sessions[1]["idle_expires_in"], 15 * 60 - 120);
    assert_eq!(sessions[1]["session_expires_in"], 8 * 3600 - 120);
    assert_eq!(sessions[1].as_object().unwrap().len(), 6);
    assert_eq!(id(&sessions[0]), own_id(&mut second).await);
    let theirs = listed(&mut stranger).await;
    assert_eq!(theirs.len(), 1);
    assert!(sessions.iter().all(|session| id(session) != id(&theirs[0])));
    let text = json!(sessions).to_string();
    let cookie = session_cookie(&first).unwrap();
    assert!(!text.contains("alice") && !text.contains(&cookie), "{text}");
}

/// SES-7.3: to look is not to use.
#[tokio::test]
async fn a_look_at_the_sessions_extends_none() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    for _ in 0..14 {
        bed.clock.advance(60);
        listed(&mut browser).await;
        post(&mut browser, END, "id=AAAAAAAAAAAAAAAAAAAAAA").await.expect(200).unwrap();
    }
    bed.clock.advance(60);
    let answer = browser.fetch(Call::get("/bff/sessions")).await.unwrap();
    answer.expect_refusal(401, "session_expired").unwrap();
}

/// SES-7.4: the named one ends at once, this one stays, and it is on record.
#[tokio::test]
async fn users_end_another_session_of_theirs() {
    let bed = Bed::start().await;
    let (mut here, mut there) = (bed.logged_in().await, bed.logged_in().await);
    let name = own_id(&mut there).await;
    let answer = post(&mut here, END, &format!("id={name}")).await.expect(200).unwrap();
    assert_eq!(answer.json().unwrap(), json!({ "sessions_ended": 1 }));
    assert!(answer.cookies().is_empty());
    let refused = there.fetch(Call::get("/api/accounts")).await.unwrap();
    refused.expect_refusal(401, "session_missing").unwrap();
    assert!(bed.is_logged_in(&mut here).await);
    assert_eq!(listed(&mut here).await.len(), 1);
    let reason = "logout.elsewhere".to_owned();
    assert_eq!(bed.last_audit("logout"), ("success".to_owned(), reason));
    let logout = bed.audit.events().into_iter().rfind(|event| event["action"] == "logout").unwrap();
    assert_eq!(logout["session"], name.as_str());
    assert_eq!(bed.last_audit("session.end").1, "logout_elsewhere");
    assert_eq!(bed.double.count(Endpoint::Revocation), 0, "nobody can open its tokens");
    // Once more: nobody is there any more.
    let answer = post(&mut here, END, &format!("id={name}")).await.expect(200).unwrap();
    assert_eq!(answer.json().unwrap(), json!({ "sessions_ended": 0 }));
}

/// SES-7.4: another person's id is worth nothing, and does not tell whether there is one.
#[tokio::test]
async fn nobody_ends_anothers_session() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let mut stranger = logged_in_as(&bed, "bjork").await;
    let theirs = own_id(&mut stranger).await;
    let answers = [
        post(&mut browser, END, &format!("id={theirs}")).await,
        post(&mut browser, END, "id=AAAAAAAAAAAAAAAAAAAAAA").await,
    ];
    for answer in answers {
        let answer = answer.expect(200).unwrap();
        assert_eq!(answer.json().unwrap(), json!({ "sessions_ended": 0 }));
    }
    assert!(bed.is_logged_in(&mut stranger).await);
}

/// BFF-6.1.3.3-1: guarded like every call; a form of another site ends nothing.
#[tokio::test]
async fn malformed_and_foreign_calls_end_nothing() {
    let bed = Bed::start().await;
    let (mut browser, mut other) = (bed.logged_in().await, bed.logged_in().await);
    let name = own_id(&mut other).await;
    let cut = &name[1..];
    for form in [
        String::new(),
        "id=".to_owned(),
        format!("id={cut}"),
        format!("id={name}A"),
        format!("id={cut}%20"),
        format!("id={name}&id={name}"),
        format!("id={name}&x=y"),
        format!("ID={name}"),
    ] {
        let answer = post(&mut browser, END, &form).await;
        let answer = answer.expect_refusal(400, "invalid_request").unwrap();
        assert_eq!(answer.json().unwrap()["detailed_error"], "id", "{form}");
    }
    let form = format!("id={name}");
    for path in [END, "/bff/logout"] {
        let form = if path == END { &form } else { "everywhere=true" };
        for call in [
            Call::post(path).form(form).without_custom_header(),
            Call::post(path).form(form).by_origin("https://evil.example"),
        ] {
            browser.fetch(call).await.unwrap().expect_refusal(403, "csrf_rejected").unwrap();
        }
    }
    let call = Call::get("/bff/sessions").without_custom_header();
    browser.fetch(call).await.unwrap().expect_refusal(403, "csrf_rejected").unwrap();
    browser.fetch(Call::get(END)).await.unwrap().expect(405).unwrap();
    browser.fetch(Call::post("/bff/sessions")).await.unwrap().expect(405).unwrap();
    for (path, form) in [(END, form.as_str()), ("/bff/logout", "everywhere=true")] {
        let answer = post(&mut bed.browser(), path, form).await;
        answer.expect_refusal(401, "session_missing").unwrap();
    }
    for everywhere in ["everywhere=", "everywhere=yes", "everywhere=true&everywhere=true"] {
        let answer = post(&mut browser, "/bff/logout", everywhere).await;
        let answer = answer.expect_refusal(400, "invalid_request").unwrap();
        assert_eq!(answer.json().unwrap()["detailed_error"], "everywhere");
    }
    assert!(bed.is_logged_in(&mut browser).await && bed.is_logged_in(&mut other).await);
}

/// Who names the session they are in is logged out like by `logout`, tokens included.
#[tokio::test]
async fn the_own_session_can_be_named_too() {
    let bed = Bed::start().await;
    let (mut browser, mut other) = (bed.logged_in().await, bed.logged_in().await);
    let mut thief = browser.clone();
    let name = own_id(&mut browser).await;
    let answer = post(&mut browser, END, &format!("id={name}")).await.expect(200).unwrap();
    assert_eq!(answer.json().unwrap(), json!({ "sessions_ended": 1 }));
    assert_eq!(session_cookie(&browser), None);
    assert!(!bed.is_logged_in(&mut thief).await && bed.is_logged_in(&mut other).await);
    until("the revocations", || bed.double.accepted(Endpoint::Revocation) == 2).await;
}

/// SES-7.4: all of the person's, this one included; nobody else's. Only this one's tokens can be opened.
#[tokio::test]
async fn a_logout_everywhere_ends_all_sessions_of_the_user() {
    let bed = Bed::start().await;
    let mut here = bed.logged_in().await;
    let mut elsewhere = [bed.logged_in().await, bed.logged_in().await];
    let mut stranger = logged_in_as(&bed, "bjork").await;
    let answer = post(&mut here, "/bff/logout", "everywhere=true").await.expect(200).unwrap();
    let answer = answer.json().unwrap();
    assert_eq!(answer["sessions_ended"], 3);
    assert!(answer["logout_url"].is_string(), "and on to the AS");
    assert_eq!(session_cookie(&here), None);
    for browser in elsewhere.iter_mut().chain([&mut here]) {
        let refused = browser.fetch(Call::get("/api/accounts")).await.unwrap();
        refused.expect_refusal(401, "session_missing").unwrap();
    }
    assert!(bed.is_logged_in(&mut stranger).await);
    until("the revocations", || bed.double.accepted(Endpoint::Revocation) == 2).await;
    let logouts: Vec<_> =
        bed.audit.events().into_iter().filter(|e| e["action"] == "logout").collect();
    let reasons: Vec<_> = logouts.iter().map(|event| event["reason"].clone()).collect();
    assert_eq!(reasons, ["logout.everywhere", "none"]);
    let ended = |reason: &str| {
        bed.metric(&format!("fapi_bff_sessions_ended_total{{app=\"web\",reason=\"{reason}\"}}"))
    };
    assert!((ended("logout_elsewhere") - 2.0).abs() < 0.5 && (ended("logout") - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn a_logout_that_is_not_everywhere_is_as_ever() {
    let bed = Bed::start().await;
    for form in ["everywhere=false", "a=b"] {
        let (mut here, mut there) = (bed.logged_in().await, bed.logged_in().await);
        let answer = post(&mut here, "/bff/logout", form).await.expect(200).unwrap();
        assert!(answer.json().unwrap().get("sessions_ended").is_none());
        assert!(!bed.is_logged_in(&mut here).await && bed.is_logged_in(&mut there).await);
    }
}

/// Half a logout everywhere would go unnoticed: while others may live on, so does the way to end them.
#[tokio::test]
async fn a_logout_everywhere_that_fails_can_be_repeated() {
    let store = FlakyStore::new();
    let bed = Bed::with(Wish { store: Some(store.clone()), ..Wish::default() }).await;
    let (mut here, mut there) = (bed.logged_in().await, bed.logged_in().await);
    for failing in ["find", "remove"] {
        store.fail(&[failing]);
        let answer = post(&mut here, "/bff/logout", "everywhere=true").await;
        let answer = answer.expect_refusal(503, "store_unavailable").unwrap();
        assert!(answer.cookies().is_empty());
        assert_eq!(bed.last_audit("logout"), ("failed".to_owned(), "store.unavailable".to_owned()));
        store.heal();
        assert!(bed.is_logged_in(&mut here).await && bed.is_logged_in(&mut there).await);
    }
    store.fail(&["find"]);
    let answer = here.fetch(Call::get("/bff/sessions")).await.unwrap();
    answer.expect_refusal(503, "store_unavailable").unwrap();
    store.heal();
    post(&mut here, "/bff/logout", "everywhere=true").await.expect(200).unwrap();
    assert!(!bed.is_logged_in(&mut there).await);
}

/// Of tokens without an ID token nobody knows whose they are.
#[tokio::test]
async fn a_session_of_nobody_in_particular_has_no_others() {
    let conduct = Conduct { openid: false, ..Conduct::security_profile() };
    let edit = settings(conduct, None);
    let bed = Bed::with(Wish { edit, conduct: Some(conduct), ..Wish::default() }).await;
    let mut browser = bed.logged_in().await;
    let answers = [
        browser.fetch(Call::get("/bff/sessions")).await.unwrap(),
        post(&mut browser, END, "id=AAAAAAAAAAAAAAAAAAAAAA").await,
        post(&mut browser, "/bff/logout", "everywhere=true").await,
    ];
    for answer in answers {
        let answer = answer.expect_refusal(400, "invalid_request").unwrap();
        assert_eq!(answer.json().unwrap()["detailed_error"], "no_subject");
    }
    assert!(bed.is_logged_in(&mut browser).await);
    post(&mut browser, "/bff/logout", "").await.expect(200).unwrap();
    assert!(!bed.is_logged_in(&mut browser).await);
}

/// SES-7.4, SES-7.5: where the configuration says so, whoever holds an old session ends no other one.
#[tokio::test]
async fn to_end_sessions_elsewhere_may_take_a_recent_login() {
    let bed = with_session_settings("manage_max_age = \"10m\"").await;
    let mut there = bed.logged_in().await;
    let name = own_id(&mut there).await;
    let mut here = bed.logged_in().await;
    bed.clock.advance(601);
    for (path, form) in [(END, format!("id={name}")), ("/bff/logout", "everywhere=true".to_owned())]
    {
        let answer = post(&mut here, path, &form).await;
        let answer = answer.expect_refusal(401, "step_up_required").unwrap();
        assert_eq!(answer.json().unwrap()["step_up"], json!({ "max_age": 600 }));
        assert!(answer.cookies().is_empty());
    }
    assert!(bed.is_logged_in(&mut here).await && bed.is_logged_in(&mut there).await);
    // As the page is told to.
    let started = post(&mut here, "/bff/login/start", "max_age=600").await.expect(200).unwrap();
    let url = started.json().unwrap()["authorization_url"].as_str().unwrap().to_owned();
    let answer = here.navigate(From::SameOrigin, &url).await.unwrap().expect(303).unwrap();
    let query = answer.location().unwrap().query().unwrap_or_default().to_owned();
    bed.end(&mut here, &query).await.expect(200).unwrap();
    let answer = post(&mut here, END, &format!("id={name}")).await.expect(200).unwrap();
    assert_eq!(answer.json().unwrap()["sessions_ended"], 1);
    assert!(!bed.is_logged_in(&mut there).await);
    // A plain logout never takes that.
    bed.clock.advance(601);
    post(&mut here, "/bff/logout", "").await.expect(200).unwrap();
    assert!(!bed.is_logged_in(&mut here).await);
}

/// SES-7.1.2: the oldest gives way; its browser is told, the others notice nothing.
#[tokio::test]
async fn one_login_too_many_ends_the_oldest_session() {
    let bed = with_session_settings("max_per_subject = 2").await;
    let mut browsers = Vec::new();
    let mut stranger = logged_in_as(&bed, "bjork").await;
    for _ in 0..3 {
        bed.clock.advance(1);
        browsers.push(bed.logged_in().await);
    }
    let refused = browsers[0].fetch(Call::get("/api/accounts")).await.unwrap();
    refused.expect_refusal(401, "session_missing").unwrap();
    assert!(bed.is_logged_in(&mut browsers[1]).await && bed.is_logged_in(&mut browsers[2]).await);
    assert!(bed.is_logged_in(&mut stranger).await, "another person's do not count");
    assert_eq!(bed.last_audit("session.end"), ("success".to_owned(), "superseded".to_owned()));
    let ended = "fapi_bff_sessions_ended_total{app=\"web\",reason=\"superseded\"}";
    assert!((bed.metric(ended) - 1.0).abs() < 0.5);
    // A new login in the same browser takes its own session's place, not another's.
    bed.clock.advance(1);
    bed.login(&mut browsers[1]).await;
    assert!(bed.is_logged_in(&mut browsers[1]).await && bed.is_logged_in(&mut browsers[2]).await);
    assert_eq!(bed.last_audit("session.end").1, "replaced");
}

/// SES-7.1.2: no session, no cookie, no tokens; the ones before are untouched, and there is room again
/// when one has ended.
#[tokio::test]
async fn one_login_too_many_is_refused_where_that_is_the_rule() {
    let bed = with_session_settings("max_per_subject = 1\nover_limit = \"refuse\"").await;
    let mut first = bed.logged_in().await;
    let mut second = bed.browser();
    let query = bed.response(&mut second).await;
    let answer = bed.end(&mut second, &query).await.expect_refusal(409, "session_limit").unwrap();
    assert!(answer.cookies().iter().all(|cookie| cookie.max_age() == Some(0)));
    assert_eq!(session_cookie(&second), None);
    let reason = "session.limit_reached".to_owned();
    assert_eq!(bed.last_audit("login.end"), ("rejected".to_owned(), reason));
    assert_eq!(bed.last_audit("session.end"), ("success".to_owned(), "over_limit".to_owned()));
    until("the revocations", || bed.double.accepted(Endpoint::Revocation) == 2).await;
    assert!((bed.metric("fapi_bff_sessions_refused_total{app=\"web\"}") - 1.0).abs() < 0.5);
    // The first one's own browser is let in again, in its own place.
    bed.login(&mut first).await;
    assert_eq!(listed(&mut first).await.len(), 1);
    // By navigation it is a page that says so.
    let start = second.navigate(From::SameOrigin, "/bff/login").await.unwrap().expect(303).unwrap();
    let there = start.location().unwrap();
    let back = second.navigate(From::SameOrigin, there.as_str()).await.unwrap();
    let back = back.expect(303).unwrap().location().unwrap();
    let page = second.navigate(From::CrossSite, back.as_str()).await.unwrap().expect(409).unwrap();
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(String::from_utf8_lossy(&page.body).contains("You are logged in elsewhere already"));
    post(&mut first, "/bff/logout", "").await.expect(200).unwrap();
    bed.login(&mut second).await;
}

/// SES-7.1.2: a store that cannot say how many there are lets nobody in.
#[tokio::test]
async fn a_limit_that_cannot_be_judged_lets_nobody_in() {
    let store = FlakyStore::new();
    let edit = vec![("[apps.web.session]", "[apps.web.session]\nmax_per_subject = 1".to_owned())];
    let bed = Bed::with(Wish { edit, store: Some(store.clone()), ..Wish::default() }).await;
    let mut first = bed.logged_in().await;
    let mut second = bed.browser();
    let query = bed.response(&mut second).await;
    store.fail(&["find"]);
    bed.end(&mut second, &query).await.expect_refusal(503, "store_unavailable").unwrap();
    store.heal();
    assert_eq!(session_cookie(&second), None);
    until("the revocations", || bed.double.accepted(Endpoint::Revocation) == 2).await;
    assert_eq!(listed(&mut first).await.len(), 1, "and leaves nothing behind");
}

/// SES-7.2.4: whoever logs in next in a browser has a session of their own: nothing of the one before is
/// in it, and that one has ended.
#[tokio::test]
async fn another_persons_login_inherits_nothing() {
    let bed = Bed::start().await;
    let mut elsewhere = bed.logged_in().await;
    let mut browser = bed.logged_in().await;
    let before = session_cookie(&browser).unwrap();
    let name = own_id(&mut browser).await;
    bed.double.behave(|b| b.user = Some("bjork".to_owned()));
    let state = bed.login(&mut browser).await;
    assert_eq!(state["id_token_claims"]["sub"], "bjork");
    assert_ne!(session_cookie(&browser).unwrap(), before);
    let theirs = listed(&mut browser).await;
    assert_eq!(theirs.len(), 1);
    assert_ne!(id(&theirs[0]), name);
    let cookie = format!("__Host-Http-web={before}");
    let old = call(&bed, "GET", "/bff/session", &cookie, "").await.expect(200).unwrap();
    assert_eq!(old.json().unwrap()["is_logged_in"], false);
    // Nor can the newcomer end what is the other's.
    let others = own_id(&mut elsewhere).await;
    post(&mut browser, END, &format!("id={others}")).await.expect(200).unwrap();
    let answer = post(&mut browser, "/bff/logout", "everywhere=true").await.expect(200).unwrap();
    assert_eq!(answer.json().unwrap()["sessions_ended"], 1);
    assert!(bed.is_logged_in(&mut elsewhere).await);
}
