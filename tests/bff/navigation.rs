//! Logins by plain navigation, and what a browser must not be made to do.

use fapi_bff_conformance::{
    as_double::Endpoint,
    demo::browser::{Answer, Browser, Call, From},
};
use url::{Url, form_urlencoded};

use crate::{
    login::{
        SESSION, TRANSACTION, assert_attributes, navigation_response, raw, session_cookie,
        transactions,
    },
    support::Bed,
};

/// A page of our own: locked down, never kept, sets no cookie but to delete one.
fn assert_error_page(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    let policy = answer.header("content-security-policy");
    let mut rules: Vec<_> = policy.split("; ").collect();
    let style = rules.iter().position(|rule| rule.starts_with("style-src 'sha256-")).unwrap();
    rules.remove(style);
    let locked =
        ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"];
    assert_eq!(rules, locked);
    assert!(answer.cookies().iter().all(|cookie| cookie.max_age() == Some(0)));
    assert!(answer.header("location").is_empty());
}

async fn login(bed: &Bed, browser: &mut Browser, path: &str) -> Url {
    let started = browser.navigate(From::SameOrigin, path).await.unwrap();
    let there = started.expect(303).unwrap().location().unwrap();
    let back = browser.navigate(From::SameOrigin, there.as_str()).await.unwrap();
    let callback = back.expect(303).unwrap().location().unwrap();
    assert_eq!(callback.path(), "/bff/callback");
    let ended = browser.navigate(From::CrossSite, callback.as_str()).await.unwrap();
    let ended = ended.expect(303).unwrap();
    assert!(bed.is_logged_in(browser).await);
    ended.location().unwrap()
}

/// BFF-6.1.2.1-login, BFF-6.1.2.1-cb/out, FAPI2-SP-6.5, CK-SS-2, BCP-4.12: from a link to a page of
/// the app, and the code never stays in the address bar.
#[tokio::test]
async fn a_login_by_navigation_ends_where_it_was_meant_to() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let start = "/bff/login?return_to=%2Faccounts%3Fview%3Dall%23top";
    let started = browser.navigate(From::SameOrigin, start).await.unwrap().expect(303).unwrap();
    let [transaction] = started.cookies().try_into().unwrap();
    assert!(transaction.name.starts_with(TRANSACTION));
    assert_attributes(&transaction, "Lax", "600");
    let there = started.location().unwrap();
    let back = browser.navigate(From::SameOrigin, there.as_str()).await.unwrap();
    let callback = back.expect(303).unwrap().location().unwrap();
    let ended = browser.navigate(From::CrossSite, callback.as_str()).await.unwrap();
    let ended = ended.expect(303).unwrap();
    assert_eq!(ended.header("location"), format!("{}/accounts?view=all#top", bed.origin));
    let [session, done] = ended.cookies().try_into().unwrap();
    assert_eq!(session.name, SESSION);
    assert_attributes(&session, "Strict", "28800");
    assert_eq!((&done.name, done.value.as_str()), (&transaction.name, ""));
    assert_attributes(&done, "Lax", "0");
    for answer in [&started, &ended] {
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
    }
    assert!(bed.is_logged_in(&mut browser).await);
    browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
    assert_eq!((bed.double.count(Endpoint::Par), bed.double.count(Endpoint::Token)), (1, 1));
    assert_eq!(bed.last_audit("login.end"), ("success".to_owned(), "none".to_owned()));

    let again = browser.navigate(From::CrossSite, callback.as_str()).await.unwrap();
    assert_error_page(&again.expect(400).unwrap());
    let missing = ("rejected".to_owned(), "transaction.missing".to_owned());
    assert_eq!(bed.last_audit("login.end"), missing);
    assert_eq!(bed.double.count(Endpoint::Token), 1);
    assert!(bed.is_logged_in(&mut browser).await, "a replay ends nothing");
}

/// FAPI2-SP-5.3.3.1-4, HDR-6: no wish leads away from the app.
#[tokio::test]
async fn hostile_return_paths_end_at_the_start_of_the_app() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let overlong = format!("/{}", "a".repeat(2_048));
    for wish in [
        "https://evil.example",
        "https://evil.example/",
        "http:evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\\/evil.example",
        "/%2fevil.example",
        "/%5cevil.example",
        "/%252fevil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/\t/evil.example",
        "/\r\nLocation: https://evil.example",
        "/%0d%0aSet-Cookie:x=y",
        "/\u{0}/evil.example",
        " //evil.example",
        "https://app.localhost@evil.example",
        "//app.localhost:1@evil.example",
        "@evil.example",
        ".evil.example",
        ":443@evil.example",
        "/..//evil.example",
        "/.//evil.example",
        "/／evil.example",
        "\u{feff}//evil.example",
        "accounts",
        "",
        &overlong,
    ] {
        let query: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("return_to", wish).finish();
        let end = login(&bed, &mut browser, &format!("/bff/login?{query}")).await;
        assert_eq!(end.as_str(), format!("{}/", bed.origin), "{wish:?}");
    }
}

/// The page for a login that cannot go on repeats nothing, whatever was sent.
#[tokio::test]
async fn a_callback_out_of_nowhere_gets_a_page_that_reflects_nothing() {
    let bed = Bed::start().await;
    for query in [
        "",
        "?response=zebra",
        "?response=zebra&response=zebra",
        "?response=a.b.c&zebra=%3Cscript%3Ezebra%3C/script%3E",
        "?error=zebra&error_description=%3Cimg%20src=zebra%3E&state=zebra",
        "?code=zebra&state=zebra&iss=zebra",
        "?response=%22%3E%3Csvg/onload=zebra%3E",
        "?response=%ff%fe",
    ] {
        let mut browser = bed.browser();
        let path = format!("/bff/callback{query}");
        let answer = browser.navigate(From::CrossSite, &path).await.unwrap().expect(400).unwrap();
        assert_error_page(&answer);
        assert!(answer.cookies().is_empty());
        let told = format!("{:?}{}", answer.headers, String::from_utf8_lossy(&answer.body));
        for part in ["zebra", "<script", "<img", "<svg"] {
            assert!(!told.contains(part), "{part} of {query}");
        }
        assert_eq!(bed.last_audit("login.end").0, "rejected");
    }
    assert_eq!(bed.double.events().iter().filter(|e| e.endpoint == Endpoint::Token).count(), 0);
}

/// A refusal by the AS is told without the AS's words.
#[tokio::test]
async fn a_refusal_of_the_as_is_a_page_and_no_session() {
    let bed = Bed::start().await;
    bed.double.behave(|as_| as_.deny = Some("access_denied".to_owned()));
    let mut browser = bed.browser();
    let callback = navigation_response(&bed, &mut browser).await;
    let answer = browser.navigate(From::CrossSite, callback.as_str()).await.unwrap();
    assert_error_page(&answer.expect(400).unwrap());
    assert_eq!(bed.last_audit("login.end"), ("rejected".to_owned(), "access_denied".to_owned()));
    assert_eq!((session_cookie(&browser), transactions(&browser).len()), (None, 0));
    assert_eq!(bed.double.count(Endpoint::Token), 0);
}

/// FM-2, FAPI2-SP-5.3.3.1-12, FAPI2-SP-5.2.3-3, SES-7.6: nobody but the user and the app starts a
/// login.
#[tokio::test]
async fn a_login_in_a_frame_an_image_or_from_another_site_makes_no_request() {
    let bed = Bed::start().await;
    let evil = "https://evil.example";
    let site = "sec-fetch-site";
    let (mode, dest) = ("sec-fetch-mode", "sec-fetch-dest");
    let cases: [(&[(&str, &str)], &str); 11] = [
        (&[(site, "same-origin"), (mode, "navigate"), (dest, "iframe")], "not_a_navigation"),
        (&[(site, "same-origin"), (mode, "navigate"), (dest, "frame")], "not_a_navigation"),
        (&[(site, "same-origin"), (mode, "navigate"), (dest, "object")], "not_a_navigation"),
        (&[(site, "same-origin"), (mode, "no-cors"), (dest, "image")], "not_a_navigation"),
        (&[(site, "same-origin"), (mode, "cors"), (dest, "empty")], "not_a_navigation"),
        (&[(site, "cross-site"), (mode, "navigate"), (dest, "document")], "site_mismatch"),
        (&[(site, "cross-site"), (mode, "navigate"), (dest, "iframe")], "site_mismatch"),
        (&[(site, "same-site"), (mode, "navigate"), (dest, "document")], "site_mismatch"),
        (&[("origin", evil)], "origin_mismatch"),
        (&[("referer", evil)], "origin_mismatch"),
        (&[], "no_proof_of_origin"),
    ];
    for (headers, reason) in cases {
        let answer = raw(&bed, "GET", "/bff/login", headers, "").await.expect(403).unwrap();
        assert_error_page(&answer);
        assert!(answer.cookies().is_empty(), "{headers:?}");
        let reason = format!("guard.{reason}");
        assert_eq!(bed.last_audit("guard.reject"), ("rejected".to_owned(), reason));
    }
    assert_eq!(bed.double.count(Endpoint::Par), 0);
}

/// FM-3: an answer that comes in a frame or as an image is not taken, and is not used up either.
#[tokio::test]
async fn a_callback_in_a_frame_or_an_image_is_refused_and_uses_nothing_up() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let callback = navigation_response(&bed, &mut browser).await;
    let path = format!("{}?{}", callback.path(), callback.query().unwrap());
    let (name, value) = transactions(&browser).remove(0);
    let cookie = format!("{name}={value}");
    for (site, mode, dest) in [
        ("cross-site", "navigate", "iframe"),
        ("same-origin", "navigate", "iframe"),
        ("cross-site", "navigate", "embed"),
        ("cross-site", "no-cors", "image"),
        ("same-origin", "cors", "empty"),
        ("cross-site", "no-cors", "script"),
    ] {
        let headers = [
            ("sec-fetch-site", site),
            ("sec-fetch-mode", mode),
            ("sec-fetch-dest", dest),
            ("cookie", &cookie),
        ];
        let answer = raw(&bed, "GET", &path, &headers, "").await.expect(403).unwrap();
        assert_error_page(&answer);
        assert!(answer.cookies().is_empty(), "{site} {mode} {dest}");
        let reason = "guard.not_a_navigation".to_owned();
        assert_eq!(bed.last_audit("guard.reject"), ("rejected".to_owned(), reason));
    }
    assert_eq!(bed.double.count(Endpoint::Token), 0);
    let answer = browser.navigate(From::CrossSite, callback.as_str()).await.unwrap();
    answer.expect(303).unwrap();
    assert_eq!(bed.double.count(Endpoint::Token), 1);
}

/// CORS-4: HEAD and every other method do nothing; a login under way is not used up by them.
#[tokio::test]
async fn only_get_navigates() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let callback = navigation_response(&bed, &mut browser).await;
    let path = format!("{}?{}", callback.path(), callback.query().unwrap());
    let (name, value) = transactions(&browser).remove(0);
    let cookie = format!("{name}={value}");
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
        for path in ["/bff/login", &path] {
            let headers = [
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
                ("cookie", &cookie),
            ];
            let answer = raw(&bed, method, path, &headers, "").await.expect(405).unwrap();
            assert!(answer.cookies().is_empty(), "{method}");
            assert!(answer.header("location").is_empty(), "{method}");
        }
    }
    assert_eq!((bed.double.count(Endpoint::Par), bed.double.count(Endpoint::Token)), (1, 0));
    let answer = browser.navigate(From::CrossSite, callback.as_str()).await.unwrap();
    answer.expect(303).unwrap();
}

/// Parameters that are not allowed are refused in this mode too.
#[tokio::test]
async fn refused_parameters_are_a_page_and_make_no_request() {
    let bed = Bed::start().await;
    for (query, reason) in [
        ("colour=zebra", "parameter.not_allowed"),
        ("redirect_uri=https%3A%2F%2Fzebra.example", "parameter.not_allowed"),
        ("max_age=1&max_age=1", "parameter.duplicate"),
        ("scope=openid+zebra", "parameter.scope_not_registered"),
        ("prompt=none+login", "parameter.malformed"),
    ] {
        let mut browser = bed.browser();
        let path = format!("/bff/login?{query}");
        let answer = browser.navigate(From::Typed, &path).await.unwrap().expect(400).unwrap();
        assert_error_page(&answer);
        assert!(answer.cookies().is_empty());
        assert!(!String::from_utf8_lossy(&answer.body).contains("zebra"));
        assert_eq!(bed.last_audit("login.start"), ("rejected".to_owned(), reason.to_owned()));
    }
    assert_eq!(bed.double.count(Endpoint::Par), 0);
}

/// An AS that is away is a page that says when to come back.
#[tokio::test]
async fn an_as_that_is_down_is_a_503_page_with_retry_after() {
    let mut bed = Bed::start().await;
    let mut browser = bed.browser();
    let ports = bed.as_down().await;
    let answer = browser.navigate(From::Typed, "/bff/login").await.unwrap().expect(503).unwrap();
    assert_error_page(&answer);
    assert!(answer.cookies().is_empty());
    let seconds: u32 = answer.header("retry-after").parse().unwrap();
    assert!((1..=120).contains(&seconds));
    assert_eq!(bed.last_audit("login.start").0, "failed");
    bed.as_up(ports).await;
    bed.clock.advance(120);
    login(&bed, &mut browser, "/bff/login").await;
}

/// FAPI2-SP-5.3.3.1-12: a link in a message opens as if it were typed; what a user is to authorize is
/// the app's own pages' to say. Nor does a login end in the start of another.
#[tokio::test]
async fn only_the_apps_own_pages_say_what_is_authorized() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    for query in ["authorization=payment&intent=7", "intent=7"] {
        let path = format!("/bff/login?return_to=%2Fpay&{query}");
        browser.navigate(From::Typed, &path).await.unwrap().expect(400).unwrap();
    }
    assert_eq!(bed.double.count(Endpoint::Par), 0);
    let own = "/bff/login?return_to=%2Fbff%2Flogin%3Fintent%3D7";
    let home = login(&bed, &mut browser, own).await;
    assert_eq!(home.path(), "/");
}
