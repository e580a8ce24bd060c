//! Logins that another site would like to start (OpenID Connect Core §4): asked for, never begun.

use fapi_bff_conformance::{
    as_double::Endpoint,
    demo::browser::{Answer, From},
};

use crate::support::{Bed, Wish};

const LOGIN: &str = "[apps.web.login]\n";

async fn bed() -> Bed {
    let on = format!("{LOGIN}third_party_initiated = true\n");
    Bed::with(Wish { edit: vec![(LOGIN, on)], ..Wish::default() }).await
}

async fn sent(bed: &Bed, parameters: &[(&str, &str)]) -> Answer {
    let query =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let mut browser = bed.browser();
    browser.navigate(From::CrossSite, &format!("/bff/login/initiate?{query}")).await.unwrap()
}

fn nothing_began(bed: &Bed, answer: &Answer) {
    assert_eq!(bed.double.count(Endpoint::Par), 0);
    assert!(answer.cookies().is_empty());
    assert_eq!(answer.header("location"), "");
}

/// OIDC-4: unless it is switched on, there is no such address.
#[tokio::test]
async fn nobody_may_start_a_login_unless_that_is_switched_on() {
    let bed = Bed::start().await;
    let answer = sent(&bed, &[("iss", bed.double.issuer())]).await;
    nothing_began(&bed, &answer);
    assert_eq!(answer.status, 404);
}

/// OIDC-4, FAPI2-SP-5.3.3.1-10, FAPI2-SP-5.3.3.1-12: another issuer and a target elsewhere are refused,
/// and what is told repeats neither.
#[tokio::test]
async fn an_unknown_issuer_or_a_target_elsewhere_starts_nothing() {
    let bed = bed().await;
    let issuer = bed.double.issuer().to_owned();
    let near = format!("{issuer}/");
    let (home, lookalike) = (format!("{}/a", bed.origin), format!("{}.evil.example/", bed.origin));
    let cases: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("iss", "https://evil.example/")],
        vec![("iss", &near)],
        vec![("iss", &issuer), ("iss", &issuer)],
        vec![("iss", &issuer), ("target_link_uri", "https://evil.example/")],
        vec![("iss", &issuer), ("target_link_uri", &lookalike)],
        vec![("iss", &issuer), ("target_link_uri", "//evil.example/")],
        vec![("iss", "https://evil.example/"), ("target_link_uri", &home)],
    ];
    for case in cases {
        let answer = sent(&bed, &case).await;
        nothing_began(&bed, &answer);
        assert_eq!(answer.status, 400, "{case:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("evil"), "{case:?}");
    }
}

/// OIDC-4, FAPI2-SP-5.3.3.1-12, BCP-4.16: a good wish gets a page that cannot be framed and that leads
/// on only if the user wants to.
#[tokio::test]
async fn a_good_wish_gets_a_page_on_which_the_user_decides() {
    let bed = bed().await;
    let target = format!("{}/accounts?id=7", bed.origin);
    let answer = sent(&bed, &[("iss", bed.double.issuer()), ("target_link_uri", &target)]).await;
    nothing_began(&bed, &answer);
    let answer = answer.expect(200).unwrap();
    assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
    let html = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(html.contains("<form action=\"/bff/login\">"), "{html}");
    assert!(html.contains("name=return_to value=\"/accounts?id=7\""), "{html}");
    assert!(!html.contains("<script"), "{html}");
    let mut browser = bed.browser();
    let started = browser
        .navigate(From::SameOrigin, "/bff/login?return_to=%2Faccounts%3Fid%3D7")
        .await
        .unwrap();
    started.expect(303).unwrap();
    assert_eq!(bed.double.count(Endpoint::Par), 1);
}
