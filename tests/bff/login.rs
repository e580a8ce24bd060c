//! A login from the first click to a session, and every way it must not end in one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use fapi_bff_conformance::{
    as_double::{Endpoint, Event, Outcome, Target, edits},
    demo::{
        browser::{Answer, Browser, Call, From},
        cookies::SetCookie,
    },
    pki::APP_HOST,
    suite::verdict::Severity,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::support::{Bed, CLIENT_ID, soon};

/// The session cookie, and what the names of transaction cookies start with.
pub(crate) const SESSION: &str = "__Host-Http-web";
pub(crate) const TRANSACTION: &str = "__Host-Http-web.tx-";

/// A request with exactly these headers, as no browser would send it.
pub(crate) async fn raw(
    bed: &Bed,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    form: &str,
) -> Answer {
    let here = (APP_HOST.to_owned(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let client = bed.pki.http_client(None, &[here]).unwrap();
    let mut request = client.request(method.parse().unwrap(), format!("{}{path}", bed.origin));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !form.is_empty() {
        request = request.header("content-type", "application/x-www-form-urlencoded");
    }
    let response = request.body(form.to_owned()).send().await.unwrap();
    Answer {
        request: format!("{method} {path}"),
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap(),
    }
}

/// A script's call with this `Cookie` header.
pub(crate) async fn call(bed: &Bed, method: &str, path: &str, cookies: &str, form: &str) -> Answer {
    let headers = [
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-dest", "empty"),
        ("origin", &bed.origin),
        ("x-bff-csrf", "1"),
        ("cookie", cookies),
    ];
    raw(bed, method, path, &headers, form).await
}

/// The transactions a browser holds, oldest first.
pub(crate) fn transactions(browser: &Browser) -> Vec<(String, String)> {
    let cookies = browser.cookies().into_iter();
    cookies
        .filter(|(name, _)| name.starts_with(TRANSACTION))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn session_cookie(browser: &Browser) -> Option<String> {
    let mut cookies = browser.cookies().into_iter();
    cookies.find(|(name, _)| *name == SESSION).map(|(_, value)| value.to_owned())
}

/// Both halves of a refusal: what the browser got, and what was recorded.
pub(crate) fn refused(bed: &Bed, answer: Answer, code: &str, reason: &str) {
    let answer = answer.expect_refusal(400, code).unwrap();
    let sets = answer.cookies();
    assert!(sets.iter().all(|cookie| cookie.name != SESSION), "a session cookie: {reason}");
    assert!(sets.iter().all(|cookie| cookie.max_age() == Some(0)), "a cookie set: {reason}");
    assert_eq!(bed.last_audit("login.end"), ("rejected".to_owned(), reason.to_owned()));
}

/// Attribute by attribute: these and no others, each once.
pub(crate) fn assert_attributes(cookie: &SetCookie, same_site: &str, max_age: &str) {
    let found: BTreeMap<_, _> = cookie.attributes.iter().cloned().collect();
    assert_eq!(found.len(), cookie.attributes.len(), "an attribute twice: {:?}", cookie.name);
    let expected = [
        ("path", Some("/")),
        ("secure", None),
        ("httponly", None),
        ("samesite", Some(same_site)),
        ("max-age", Some(max_age)),
    ];
    let expected: BTreeMap<_, _> =
        expected.map(|(n, v)| (n.to_owned(), v.map(str::to_owned))).into_iter().collect();
    assert_eq!(found, expected, "{}", cookie.name);
}

fn tokens(bed: &Bed) -> usize {
    bed.double.count(Endpoint::Token)
}

fn note<'a>(event: &'a Event, name: &str) -> &'a Value {
    event.notes.get(name).unwrap_or_else(|| panic!("no {name} in {event:?}"))
}

/// BFF-6.1.2.4: the golden flow: one PAR, one token request, a session with the claims the page may
/// see.
#[tokio::test]
async fn a_login_ends_in_a_session_with_the_claims_a_page_may_see() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let session = bed.login(&mut browser).await;
    assert_eq!(session["is_logged_in"], true);
    assert_eq!(session["id_token_claims"]["sub"], "alice");
    assert!(session["id_token_claims"].get("nonce").is_none(), "not for pages");
    assert!(bed.is_logged_in(&mut browser).await);
    assert_eq!((bed.double.count(Endpoint::Par), tokens(&bed)), (1, 1));
    assert_eq!(bed.last_audit("login.end"), ("success".to_owned(), "none".to_owned()));
}

/// Nothing the servers look at is amiss, not even what they would only warn of.
#[tokio::test]
async fn a_login_and_a_call_break_no_rule_of_the_servers() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    bed.login(&mut browser).await;
    browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
    let events: Vec<Event> = bed.double.events().into_iter().chain(bed.api.events()).collect();
    assert!(events.iter().any(|event| event.check("token.code_verifier").is_some()));
    for check in events.iter().flat_map(|event| &event.checks) {
        assert!(check.held || check.severity == Severity::Info, "{check:?}");
    }
}

/// A person's name arrives as it is written.
#[tokio::test]
async fn claims_in_any_script_arrive_intact() {
    let bed = Bed::start().await;
    bed.double.behave(|as_| as_.user = Some("bjork".to_owned()));
    let mut browser = bed.browser();
    for claims in [
        bed.login(&mut browser).await["id_token_claims"].clone(),
        browser.fetch(Call::get("/bff/session")).await.unwrap().json().unwrap()["id_token_claims"]
            .clone(),
    ] {
        assert_eq!(claims["sub"], "bjork");
        assert_eq!(claims["name"], "Björk Guðmundsdóttir 愛");
    }
}

/// FAPI2-SP-6.4: the same response again, with the browser's cookies as they are and as they were.
#[tokio::test]
async fn a_replayed_response_makes_no_second_token_request() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    let mut as_before = browser.clone();
    bed.end(&mut browser, &query).await.expect(200).unwrap();
    refused(
        &bed,
        bed.end(&mut browser, &query).await,
        "transaction_missing",
        "transaction.missing",
    );
    let again = bed.end(&mut as_before, &query).await;
    refused(&bed, again, "transaction_missing", "transaction.already_used");
    assert_eq!(tokens(&bed), 1);
    assert!(bed.is_logged_in(&mut browser).await, "a replay ends nothing");
    assert!(!bed.is_logged_in(&mut as_before).await);
}

/// FAPI2-AM-5.4, BCP-2.1-2, FAPI2-SP-5.3.3.2-4: a response is worth nothing outside the browser that asked for it.
#[tokio::test]
async fn a_response_in_another_browser_is_refused_and_stays_good_in_its_own() {
    let bed = Bed::start().await;
    let mut victim = bed.browser();
    let query = bed.response(&mut victim).await;
    let mut empty = bed.browser();
    let mut busy = bed.browser();
    bed.response(&mut busy).await;
    for other in [&mut empty, &mut busy] {
        let answer = bed.end(other, &query).await;
        refused(&bed, answer, "transaction_missing", "transaction.missing");
        assert_eq!(session_cookie(other), None);
    }
    assert_eq!(tokens(&bed), 0);
    bed.end(&mut victim, &query).await.expect(200).unwrap();
    assert_eq!(tokens(&bed), 1);
}

/// CK-SS-2: tabs do not disturb each other.
#[tokio::test]
async fn three_tabs_of_one_browser_each_complete() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let mut queries = Vec::new();
    for _ in 0..3 {
        queries.push(bed.response(&mut browser).await);
    }
    assert_eq!(transactions(&browser).len(), 3);
    for (place, left) in [(1, 2), (2, 1), (0, 0)] {
        bed.end(&mut browser, &queries[place]).await.expect(200).unwrap();
        assert_eq!(transactions(&browser).len(), left, "only its own transaction is done with");
        assert!(bed.is_logged_in(&mut browser).await);
    }
    assert_eq!((tokens(&bed), bed.double.accepted(Endpoint::Token)), (3, 3));
}

/// A browser holds five logins; the sixth displaces the first and no other.
#[tokio::test]
async fn the_sixth_login_evicts_the_oldest() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let mut queries = Vec::new();
    let mut first = Vec::new();
    for count in 1..=6 {
        queries.push(bed.response(&mut browser).await);
        assert_eq!(transactions(&browser).len(), count.min(5));
        if count == 1 {
            first = transactions(&browser);
        }
        bed.clock.advance(1);
    }
    assert!(!transactions(&browser).contains(&first[0]));
    let answer = bed.end(&mut browser, &queries[0]).await;
    refused(&bed, answer, "transaction_missing", "transaction.missing");
    assert_eq!(tokens(&bed), 0);
    for query in &queries[1..] {
        bed.end(&mut browser, query).await.expect(200).unwrap();
    }
    assert_eq!(tokens(&bed), 5);
}

/// Ten minutes, to the second; everything else is kept good for longer.
#[tokio::test]
async fn a_login_may_take_ten_minutes_and_not_a_second_more() {
    for (seconds, reason) in [(599, "none"), (600, "transaction.expired")] {
        let bed = Bed::start().await;
        let exp = json!(fapi_bff::clock::Clock::now(&*bed.clock).as_i64() + 3_000);
        bed.double.behave(|as_| {
            as_.code_lifetime = 3_000;
            as_.edit(Target::Jarm, edits::set("exp", exp.clone()));
        });
        let mut browser = bed.browser();
        let query = bed.response(&mut browser).await;
        bed.clock.advance(seconds);
        let answer = bed.end(&mut browser, &query).await;
        if reason == "none" {
            answer.expect(200).unwrap();
            assert_eq!(tokens(&bed), 1);
        } else {
            refused(&bed, answer, "transaction_missing", reason);
            assert_eq!(tokens(&bed), 0);
            assert_eq!(session_cookie(&browser), None);
        }
    }
}

/// FAPI2-SP-6.4, BCP-4.2.4: at the same instant, too, a response counts once.
#[tokio::test]
async fn ten_parallel_ends_with_one_response_make_one_session_and_one_token_request() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    let mut tabs = vec![browser; 10];
    let answers = join_all(tabs.iter_mut().map(|tab| bed.end(tab, &query))).await;
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|one| one.status == 200);
    assert_eq!((good.len(), bad.len()), (1, 9));
    for answer in bad {
        let answer = answer.expect_refusal(400, "transaction_missing").unwrap();
        assert!(answer.cookies().iter().all(|cookie| cookie.name != SESSION));
    }
    assert_eq!((tokens(&bed), bed.double.accepted(Endpoint::Token)), (1, 1));
    let events = bed.audit.events();
    let ends = events.iter().filter(|event| event["action"] == "login.end");
    let used = ends.filter(|event| event["reason"] == "transaction.already_used").count();
    assert_eq!(used, 9);
}

/// Sealed text opens under the name it was sealed for and no other.
#[tokio::test]
async fn a_transaction_moved_to_another_name_does_not_open() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    bed.response(&mut browser).await;
    let [(name, value), (other_name, other_value)] = transactions(&browser).try_into().unwrap();
    let swapped = format!("{name}={other_value}; {other_name}={value}");
    let answer = call(&bed, "POST", "/bff/login/end", &swapped, &query).await;
    refused(&bed, answer, "transaction_missing", "transaction.unreadable");
    let only = format!("{other_name}={value}");
    let answer = call(&bed, "POST", "/bff/login/end", &only, &query).await;
    refused(&bed, answer, "transaction_missing", "transaction.missing");
    assert_eq!(tokens(&bed), 0);
    let right = format!("{name}={value}");
    call(&bed, "POST", "/bff/login/end", &right, &query).await.expect(200).unwrap();
}

/// Nothing a browser can put into a cookie is a fault of ours.
#[tokio::test]
async fn mangled_transaction_cookies_are_refused_without_a_token_request() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    let (name, value) = transactions(&browser).remove(0);
    let flipped = |place: usize| {
        let mut bytes = value.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let unreadable = "transaction.unreadable";
    let cases = [
        (format!("{name}="), unreadable),
        (format!("{name}={}", &value[..value.len() - 1]), unreadable),
        (format!("{name}={}", &value[..value.len() / 2]), unreadable),
        (format!("{name}={}", &value[..4]), unreadable),
        (format!("{name}={value}A"), unreadable),
        (format!("{name}={value}="), unreadable),
        (format!("{name}={}", flipped(0)), unreadable),
        (format!("{name}={}", flipped(value.len() / 2)), unreadable),
        (format!("{name}={}", flipped(value.len() - 3)), unreadable),
        (format!("{name}=!!!not*base64!!!"), unreadable),
        (format!("{name}=\"{value}\""), unreadable),
        (format!("{name}={}", "A".repeat(4_000)), unreadable),
        (format!("{name}={}", "%".repeat(4_000)), unreadable),
        (format!("{name}={value}; {name}={value}"), "transaction.missing"),
        (format!("{name}={value}; {name}=x"), "transaction.missing"),
        (format!("{TRANSACTION}={value}"), "transaction.missing"),
        (format!("{}={value}", name.to_lowercase()), "transaction.missing"),
        (format!("{SESSION}={value}"), "transaction.missing"),
    ];
    for (cookies, reason) in cases {
        let answer = call(&bed, "POST", "/bff/login/end", &cookies, &query).await;
        refused(&bed, answer, "transaction_missing", reason);
    }
    assert_eq!(tokens(&bed), 0);
    bed.end(&mut browser, &query).await.expect(200).unwrap();
}

/// A login returns the way it was started.
#[tokio::test]
async fn a_response_that_comes_the_other_way_is_refused() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let callback = navigation_response(&bed, &mut browser).await;
    let answer = bed.end(&mut browser, callback.query().unwrap()).await;
    refused(&bed, answer, "transaction_missing", "transaction.wrong_mode");

    let query = bed.response(&mut browser).await;
    let path = format!("/bff/callback?{query}");
    let answer = browser.navigate(From::SameOrigin, &path).await.unwrap().expect(400).unwrap();
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let reason = "transaction.wrong_mode".to_owned();
    assert_eq!(bed.last_audit("login.end"), ("rejected".to_owned(), reason));
    assert_eq!((tokens(&bed), session_cookie(&browser)), (0, None));
}

/// Starts a login by navigation; gives the address the AS sends the browser back to.
pub(crate) async fn navigation_response(bed: &Bed, browser: &mut Browser) -> Url {
    let started = browser.navigate(From::SameOrigin, "/bff/login").await.unwrap();
    let there = started.expect(303).unwrap().location().unwrap();
    assert!(there.as_str().starts_with(&bed.double.url(Endpoint::Authorize)));
    let back = browser.navigate(From::SameOrigin, there.as_str()).await.unwrap();
    back.expect(303).unwrap().location().unwrap()
}

/// SES-7.2.4: a browser has one session; the one before is dead, and its tokens with it.
#[tokio::test]
async fn a_second_login_ends_the_first_session_whichever_way_it_comes() {
    for navigation in [false, true] {
        let bed = Bed::start().await;
        let mut browser = bed.logged_in().await;
        let mut copy = browser.clone();
        let old = session_cookie(&browser).unwrap();
        if navigation {
            let callback = navigation_response(&bed, &mut browser).await;
            let answer = browser.navigate(From::CrossSite, callback.as_str()).await.unwrap();
            answer.expect(303).unwrap();
        } else {
            bed.login(&mut browser).await;
        }
        assert_ne!(session_cookie(&browser).unwrap(), old, "navigation: {navigation}");
        let dead = call(&bed, "GET", "/api/accounts", &format!("{SESSION}={old}"), "").await;
        dead.expect_refusal(401, "session_missing").unwrap();
        assert!(!bed.is_logged_in(&mut copy).await);
        assert_eq!(bed.api.count("/accounts"), 0);
        soon("both revocations", bed.double.wait_for(Endpoint::Revocation, 2)).await;
        assert_eq!(bed.double.accepted(Endpoint::Revocation), 2);
        let events = bed.double.events();
        let revoked: BTreeSet<_> = events
            .iter()
            .filter(|event| event.endpoint == Endpoint::Revocation)
            .map(|event| event.form("token").unwrap())
            .collect();
        assert_eq!(revoked.len(), 2, "access and refresh token");
        let accounts = browser.fetch(Call::get("/api/accounts")).await.unwrap();
        accounts.expect(200).unwrap();
        assert_eq!(bed.api.last("/accounts").unwrap().outcome, Outcome::Accepted);
        assert_eq!(bed.last_audit("session.end"), ("success".to_owned(), "replaced".to_owned()));
    }
}

/// FAPI2-SP-5.3.3.1-10, FAPI2-SP-5.3.3.1-13: what a page may not choose never reaches the AS.
#[tokio::test]
async fn refused_authorization_parameters_make_no_request() {
    let bed = Bed::start().await;
    for (form, reason) in [
        ("colour=red", "parameter.not_allowed"),
        ("display=page", "parameter.not_allowed"),
        ("state=x", "parameter.not_allowed"),
        ("nonce=x", "parameter.not_allowed"),
        ("redirect_uri=https%3A%2F%2Fevil.example%2F", "parameter.not_allowed"),
        ("response_mode=query", "parameter.not_allowed"),
        ("client_id=other", "parameter.not_allowed"),
        ("iss=https%3A%2F%2Fevil.example%2F", "parameter.not_allowed"),
        ("issuer=https%3A%2F%2Fevil.example%2F", "parameter.not_allowed"),
        ("provider=other", "parameter.not_allowed"),
        ("request_uri=urn%3Ax", "parameter.not_allowed"),
        ("claims=%7B%7D", "parameter.not_allowed"),
        ("return_to=%2F", "parameter.not_allowed"),
        ("=x", "parameter.not_allowed"),
        ("max_age=1&max_age=1", "parameter.duplicate"),
        ("login_hint=a&prompt=login&login_hint=b", "parameter.duplicate"),
        ("scope=openid+admin", "parameter.scope_not_registered"),
        ("scope=accounts", "parameter.openid_missing"),
        ("prompt=none+login", "parameter.malformed"),
        ("max_age=-1", "parameter.malformed"),
        ("login_hint=a%0D%0Ab", "parameter.malformed"),
        (&format!("login_hint={}", "a".repeat(513)), "parameter.too_long"),
    ] {
        let mut browser = bed.browser();
        let answer = browser.fetch(Call::post("/bff/login/start").form(form)).await.unwrap();
        let answer = answer.expect_refusal(400, "invalid_request").unwrap();
        assert!(answer.cookies().is_empty(), "{form}");
        assert_eq!(bed.last_audit("login.start"), ("rejected".to_owned(), reason.to_owned()));
    }
    assert_eq!(bed.double.count(Endpoint::Par), 0);
    let mut browser = bed.browser();
    browser.fetch(Call::post("/bff/login/start")).await.unwrap().expect(200).unwrap();
    assert_eq!(bed.double.count(Endpoint::Par), 1);
}

/// What a page may choose arrives as chosen, in the signed request.
#[tokio::test]
async fn authorization_parameters_arrive_intact() {
    let bed = Bed::start().await;
    for hint in [
        "a&b=c",
        "50% + 50%",
        "%26%3D%2525",
        "\"quoted\" 'twice' \\ back",
        "Åsa Þórðardóttir 愛 🦀",
        "a&state=x&scope=openid admin#f;g",
        "<script>",
        "https://a.example/?b=c&d",
    ] {
        let form: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("login_hint", hint)
            .append_pair("acr_values", "urn:x:high urn:x:low")
            .append_pair("max_age", "300")
            .append_pair("scope", "payments openid")
            .append_pair("ui_locales", "is nb-NO")
            .finish();
        let mut browser = bed.browser();
        let script = Call::post("/bff/login/start").form(&form);
        browser.fetch(script).await.unwrap().expect(200).unwrap();
        let by_script = bed.double.last(Endpoint::Par).unwrap();
        let url = format!("/bff/login?{form}");
        browser.navigate(From::SameOrigin, &url).await.unwrap().expect(303).unwrap();
        let by_navigation = bed.double.last(Endpoint::Par).unwrap();
        for event in [by_script, by_navigation] {
            assert_eq!(event.outcome, Outcome::Accepted);
            let claims = note(&event, "request_object_claims");
            assert_eq!(claims["login_hint"], hint);
            assert_eq!(claims["acr_values"], "urn:x:high urn:x:low");
            assert_eq!(claims["max_age"], 300);
            assert_eq!(claims["scope"], "openid payments");
            assert_eq!(claims["ui_locales"], "is nb-NO");
        }
    }
    assert_eq!(bed.double.count(Endpoint::Par), 16);
}

/// FAPI2-MS-5.3.2-1..5, FAPI2-MS-5.4.2-1, JAR-4a, JAR-6.2, JAR-10.8, FAPI2-SP-5.3.3.2-3,
/// FAPI2-SP-5.3.3.2-7, PAR-2.1, PAR-3, PKJ-2.2, OA-4.1.3: the signed request as
/// the AS saw it.
#[tokio::test]
async fn the_request_object_says_all_it_must_and_nothing_it_must_not() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    bed.end(&mut browser, &query).await.expect(200).unwrap();
    let par = bed.double.last(Endpoint::Par).unwrap();
    let claims = note(&par, "request_object_claims");
    let now = fapi_bff::clock::Clock::now(&*bed.clock).as_i64();
    assert_eq!(claims["iss"], CLIENT_ID);
    assert_eq!(claims["client_id"], CLIENT_ID);
    assert_eq!(claims["aud"], bed.double.issuer(), "one string");
    assert_eq!(claims["nbf"], now);
    let lifetime = claims["exp"].as_i64().unwrap() - now;
    assert!((1..=300).contains(&lifetime), "{lifetime}");
    assert!(claims.get("sub").is_none(), "it must not pass for an assertion");
    assert_eq!(claims["response_type"], "code");
    assert_eq!(claims["response_mode"], "jwt");
    assert_eq!(claims["redirect_uri"], format!("{}/", bed.origin));
    assert_eq!(claims["code_challenge_method"], "S256");
    assert_eq!(claims["scope"], "openid profile email accounts payments");
    assert!(claims["nonce"].as_str().unwrap().len() <= 64);
    let header = note(&par, "request_object_header");
    assert_eq!(header["typ"], "oauth-authz-req+jwt");
    assert_eq!(header["alg"], "ES256");
    assert_eq!(header["kid"], bed.pki.request_object.kid());
    // Beside it stands only who we are, by assertion and nothing else.
    let mut names: Vec<_> = par.form.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["client_assertion", "client_assertion_type", "client_id", "request"]);
    assert_eq!(
        par.form("client_assertion_type"),
        Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
    );
    assert_eq!(par.form("client_id"), Some(CLIENT_ID));
    assert_eq!(par.header("authorization"), None);
    let token = bed.double.last(Endpoint::Token).unwrap();
    assert_eq!(token.form("redirect_uri"), claims["redirect_uri"].as_str());
}

/// PKJ-3-iss, PKJ-10070-4-aud, PKJ-10070-4-typ, PKJ-3-exp, PKJ-9-jti, FAPI2-SP-5.3.3.1-5, PAR-2,
/// BFF-6.1.3.1: every assertion is made for the AS, for a minute, once.
#[tokio::test]
async fn every_client_assertion_is_fresh_and_made_for_the_issuer() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    bed.login(&mut browser).await;
    soon("both revocations", bed.double.wait_for(Endpoint::Revocation, 2)).await;
    let now = fapi_bff::clock::Clock::now(&*bed.clock).as_i64();
    let mut seen = BTreeSet::new();
    let (mut verdicts, mut objects) = (0, BTreeSet::new());
    for event in bed.double.events() {
        if !matches!(event.endpoint, Endpoint::Par | Endpoint::Token | Endpoint::Revocation) {
            continue;
        }
        verdicts += 1;
        assert_eq!(event.outcome, Outcome::Accepted);
        let claims = note(&event, "assertion_claims");
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!(CLIENT_ID), &json!(CLIENT_ID)));
        assert_eq!(claims["aud"], bed.double.issuer(), "one string, not the endpoint");
        let lifetime = claims["exp"].as_i64().unwrap() - now;
        assert!((1..=300).contains(&lifetime), "{lifetime}");
        assert_eq!(note(&event, "assertion_header")["typ"], "client-authentication+jwt");
        assert!(seen.insert(claims["jti"].as_str().unwrap().to_owned()), "a jti twice");
        if let Some(object) = event.notes.get("request_object_claims") {
            for claim in ["jti", "state", "nonce", "code_challenge"] {
                assert!(objects.insert(object[claim].as_str().unwrap().to_owned()), "{claim}");
            }
        }
    }
    assert_eq!((verdicts, objects.len()), (6, 8));
    assert!(seen.is_disjoint(&objects));
}

/// FAPI2-SP-5.3.3.2-6, FAPI2-AM-7.5/7.7, FAPI2-SP-5.2.3-3, JAR-5, PAR-4: the browser carries a reference
/// and nothing else.
#[tokio::test]
async fn the_authorization_url_holds_exactly_client_id_and_request_uri() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let script = Call::post("/bff/login/start").form("login_hint=secret-hint");
    let started = browser.fetch(script).await.unwrap().expect(200).unwrap();
    let body = started.json().unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1);
    let by_script = Url::parse(body["authorization_url"].as_str().unwrap()).unwrap();
    let navigation = browser.navigate(From::Typed, "/bff/login?login_hint=x").await.unwrap();
    let by_navigation = navigation.expect(303).unwrap().location().unwrap();
    let mut references = BTreeSet::new();
    for url in [by_script, by_navigation] {
        let mut bare = url.clone();
        bare.set_query(None);
        assert_eq!(bare.as_str(), bed.double.url(Endpoint::Authorize));
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let names: Vec<_> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["client_id", "request_uri"]);
        assert_eq!(pairs[0].1, CLIENT_ID);
        assert!(pairs[1].1.starts_with("urn:ietf:params:oauth:request_uri:"));
        assert!(references.insert(pairs[1].1.clone()), "every login has its own");
    }
}

/// BFF-6.1.3.2-1..6, CK-SS-1, CK-SS-4, CK-CLR, CK-4.1.1: every cookie of a login, attribute by
/// attribute.
#[tokio::test]
async fn every_cookie_of_a_login_has_exactly_its_attributes() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let started = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
    let started = started.expect(200).unwrap();
    let [transaction] = started.cookies().try_into().unwrap();
    assert_eq!(transaction.name.strip_prefix(TRANSACTION).unwrap().len(), 22);
    assert_attributes(&transaction, "Strict", "600");
    let url = started.json().unwrap()["authorization_url"].as_str().unwrap().to_owned();
    let back = browser.navigate(From::SameOrigin, &url).await.unwrap().location().unwrap();
    let ended = bed.end(&mut browser, back.query().unwrap()).await.expect(200).unwrap();
    let [session, done] = ended.cookies().try_into().unwrap();
    assert_eq!(session.name, SESSION);
    assert!(session.value.len() >= 43, "256 bits");
    assert_attributes(&session, "Strict", "28800");
    assert_eq!((done.name.as_str(), done.value.as_str()), (transaction.name.as_str(), ""));
    assert_attributes(&done, "Strict", "0");
    for cookie in [&transaction, &session] {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        assert!(cookie.value.bytes().all(plain), "{}", cookie.name);
        assert!(!cookie.value.contains("alice"));
    }
}
