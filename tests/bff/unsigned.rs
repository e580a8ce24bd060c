//! Answers that are not signed as a whole, and requests that the browser carries: what is believed of
//! the first, and what stands in the second.

use fapi_bff_conformance::{
    as_double::{
        AsDouble, ClientAuth, ClientRegistration, Conduct, Endpoint, RequestMethod, ResponseForm,
        Tamper, Target, edits,
    },
    demo::browser::{Answer, Browser, Call},
    jws::{Object, peek},
    pki::Pki,
};
use serde_json::{Value, json};
use url::Url;

use crate::{
    profiles::{SECRET, answered, bed, found, login, registered, settings},
    responses::{Change, edit, tamper},
    support::{Bed, Wish},
};

/// The address a login by script begins with.
async fn started(browser: &mut Browser) -> Url {
    let started = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
    let started = started.expect(200).unwrap().json().unwrap();
    Url::parse(started["authorization_url"].as_str().unwrap()).unwrap()
}

/// What the page finds in its address after the AS has answered.
async fn response(browser: &mut Browser) -> String {
    let url = started(browser).await;
    found(&answered(browser, url.as_str()).await)
}

/// That an answer is refused for this reason, after so many token requests, and nobody is logged in.
async fn refused(
    bed: &Bed,
    browser: &mut Browser,
    answer: Answer,
    told: (u16, &str, &str),
    tokens: usize,
) {
    let (status, code, reason) = told;
    answer.expect_refusal(status, code).unwrap_or_else(|why| {
        panic!("{reason}: {why}, {:?}", bed.last_audit("login.end"));
    });
    assert_eq!(bed.last_audit("login.end").1, reason);
    assert_eq!(bed.double.count(Endpoint::Token), tokens, "{reason}");
    assert!(!bed.is_logged_in(browser).await, "{reason}");
}

/// One login under each change, each refused for its reason before any token request.
async fn each_refused(bed: &Bed, cases: Vec<(&str, Change)>) {
    for (reason, change) in cases {
        bed.double.clear_events();
        bed.double.behave(|as_| change(as_));
        let mut browser = bed.browser();
        let query = response(&mut browser).await;
        let answer = bed.end(&mut browser, &query).await;
        refused(bed, &mut browser, answer, (400, "login_rejected", reason), 0).await;
    }
    let mut browser = bed.browser();
    assert_eq!(login(bed, &mut browser).await["is_logged_in"], true, "nothing of it lasts");
}

/// FAPI2-SP-5.3.3.2-5, ISS-2.4-1, ISS-2.4-2, FAPI2-SP-5.3.3.2-1: the issuer first, then all else.
#[tokio::test]
async fn a_plain_answer_that_breaks_a_rule_is_never_redeemed() {
    const A: Target = Target::Jarm;
    let bed = bed(Conduct::security_profile(), None).await;
    let error_elsewhere = |object: &mut Object| {
        object.remove("code");
        object.insert("error".to_owned(), json!("access_denied"));
        object.insert("iss".to_owned(), json!("https://evil.example/"));
    };
    let cases: Vec<(&str, Change)> = vec![
        ("response.issuer_missing", edit(A, edits::remove("iss"))),
        ("response.issuer_mismatch", edit(A, edits::wrong("iss"))),
        ("response.issuer_mismatch", edit(A, edits::append("iss", "/"))),
        ("response.issuer_mismatch", edit(A, error_elsewhere)),
        ("response.signed_unasked", edit(A, edits::set("response", json!("x.y.z")))),
        ("response.token_in_response", edit(A, edits::set("id_token", json!("x.y.z")))),
        ("response.token_in_response", edit(A, edits::set("access_token", json!("x")))),
        ("response.code_missing", edit(A, edits::remove("code"))),
        ("response.code_and_error", edit(A, edits::set("error", json!("access_denied")))),
        ("response.code_malformed", edit(A, edits::set("code", json!("a\tb")))),
    ];
    each_refused(&bed, cases).await;
}

/// ISS-2.4-2, ISS-2.4-3: a server that does not announce its issuer may leave it out or say it; one
/// that does may not leave it out.
#[tokio::test]
async fn what_a_server_announces_it_must_keep_to() {
    const A: Target = Target::Jarm;
    let conduct = Conduct::openid_connect();
    let silent = bed(conduct, None).await;
    let issuer = json!(silent.double.issuer());
    silent.double.behave(|as_| as_.edit_once(A, edits::set("iss", issuer.clone())));
    let mut browser = silent.browser();
    assert_eq!(login(&silent, &mut browser).await["is_logged_in"], true);
    let wrong: Vec<(&str, Change)> = vec![
        ("response.issuer_mismatch", edit(A, edits::set("iss", json!("https://evil.example/")))),
        ("response.issuer_mismatch", edit(A, edits::set("iss", json!("")))),
    ];
    each_refused(&silent, wrong).await;

    let announce = |double: &AsDouble| {
        let announced = "authorization_response_iss_parameter_supported";
        double.behave(|as_| as_.edit(Target::Metadata, edits::set(announced, json!(true))));
    };
    let announced = Bed::with(Wish {
        edit: settings(conduct, None),
        conduct: Some(conduct),
        registered: Some(registered),
        files: vec![("client-secret", SECRET)],
        before: Some(announce),
        ..Wish::default()
    })
    .await;
    let mut browser = announced.browser();
    let query = response(&mut browser).await;
    let answer = announced.end(&mut browser, &query).await;
    let told = (400, "login_rejected", "response.issuer_missing");
    refused(&announced, &mut browser, answer, told, 0).await;
}

/// FAPI1-ADV-5.2.3.1-1/2, FAPI1-ADV-5.2.3.1-3/4, OIDC-3.3.2.8, ISS-2.4-4: the ID token beside the code
/// is judged whole, and vouches for code and state, before the code is redeemed.
#[tokio::test]
async fn a_hybrid_answer_is_worth_what_its_id_token_vouches_for() {
    const A: Target = Target::Jarm;
    const T: Target = Target::FrontIdToken;
    let bed = bed(Conduct::fapi1_advanced(), None).await;
    let cases: Vec<(&str, Change)> = vec![
        ("id_token.c_hash_missing", edit(T, edits::remove("c_hash"))),
        ("id_token.c_hash_mismatch", edit(T, edits::wrong("c_hash"))),
        ("id_token.s_hash_missing", edit(T, edits::remove("s_hash"))),
        ("id_token.s_hash_mismatch", edit(T, edits::wrong("s_hash"))),
        ("id_token.nonce_missing", edit(T, edits::remove("nonce"))),
        ("id_token.nonce_mismatch", edit(T, edits::wrong("nonce"))),
        ("id_token.issuer_mismatch", edit(T, edits::append("iss", "/"))),
        ("id_token.audience_mismatch", edit(T, edits::wrong("aud"))),
        ("id_token.signature_invalid", tamper(T, Tamper::Flip)),
        ("id_token.alg_not_allowed", tamper(T, Tamper::AlgNone)),
        ("id_token.alg_not_allowed", tamper(T, Tamper::AlternateAlg)),
        ("id_token.missing", edit(A, edits::remove("id_token"))),
        ("id_token.c_hash_mismatch", edit(A, edits::append("code", "x"))),
        ("response.token_in_response", edit(A, edits::set("access_token", json!("x")))),
        ("response.issuer_mismatch", edit(A, edits::set("iss", json!("https://evil.example/")))),
        ("response.code_missing", edit(A, edits::remove("code"))),
    ];
    each_refused(&bed, cases).await;
}

/// OIDC-3.3.3.6, FAPI1-ADV-5.2.3.1-4: both ID tokens are about one user; the second need not have the
/// hashes.
#[tokio::test]
async fn two_id_tokens_of_a_login_are_about_one_user() {
    const T: Target = Target::TokenIdToken;
    let bed = bed(Conduct::fapi1_advanced(), None).await;
    for (reason, change) in [
        ("id_token.subject_differs", edit(T, edits::set("sub", json!("mallory")))),
        ("id_token.issuer_mismatch", edit(T, edits::append("iss", "/"))),
        ("id_token.missing", edit(Target::TokenResponse, edits::remove("id_token"))),
    ] {
        bed.double.clear_events();
        bed.double.behave(|as_| change(as_));
        let mut browser = bed.browser();
        let query = response(&mut browser).await;
        let answer = bed.end(&mut browser, &query).await;
        let told = (502, "authorization_server_error", reason);
        refused(&bed, &mut browser, answer, told, 1).await;
        bed.double.wait_for(Endpoint::Revocation, 2).await;
    }
    for hash in ["c_hash", "s_hash", "at_hash"] {
        bed.double.behave(|as_| as_.edit_once(T, edits::remove(hash)));
    }
    let mut browser = bed.browser();
    assert_eq!(login(&bed, &mut browser).await["is_logged_in"], true);
}

/// FAPI1-BASE-5.2.3-6, FAPI1-BASE-5.2.3-9, FAPI2-AM-5.4, FAPI2-SP-5.3.3.2-4, OA-10.12: an answer counts
/// only in the browser that asked, and only for the login it was asked in.
#[tokio::test]
async fn an_answer_counts_only_where_it_was_asked_for() {
    let without_user = Conduct { openid: false, ..Conduct::fapi1_advanced() };
    for conduct in [
        Conduct::fapi1_advanced(),
        Conduct { response: ResponseForm::Jarm, ..without_user },
        Conduct::security_profile(),
        Conduct::openid_connect(),
    ] {
        let bed = bed(conduct, None).await;
        let (mut attacker, mut victim) = (bed.browser(), bed.browser());
        let stolen = response(&mut attacker).await;
        let told = (400, "transaction_missing", "transaction.missing");
        // Nothing under way, then a login of its own.
        let answer = bed.end(&mut victim, &stolen).await;
        refused(&bed, &mut victim, answer, told, 0).await;
        let own = response(&mut victim).await;
        let answer = bed.end(&mut victim, &stolen).await;
        refused(&bed, &mut victim, answer, told, 0).await;
        // Neither spends what is the victim's.
        bed.end(&mut victim, &own).await.expect(200).unwrap();
        if conduct.response == ResponseForm::Jarm {
            continue;
        }
        let without = own.split('&').filter(|pair| !pair.starts_with("state=")).collect::<Vec<_>>();
        response(&mut attacker).await;
        let answer = bed.end(&mut attacker, &without.join("&")).await;
        let told = (400, "login_rejected", "response.state_missing");
        refused(&bed, &mut attacker, answer, told, 1).await;
    }
}

/// FAPI1-BASE-5.2.3-1/2, FAPI1-BASE-5.2.3-7/8, FAPI1-ADV-5.2.3-2, FAPI1-ADV-5.2.3-8, FAPI1-ADV-5.2.3-9,
/// FAPI1-ADV-5.2.3-10/11/14: everything inside the signed object, three of it beside it, no less, no
/// more.
#[tokio::test]
async fn a_request_by_value_says_everything_in_its_signed_object() {
    for openid in [true, false] {
        let response = if openid { ResponseForm::Hybrid } else { ResponseForm::Jarm };
        let bed = bed(Conduct { openid, response, ..Conduct::fapi1_advanced() }, None).await;
        let url = started(&mut bed.browser()).await;
        let query: Vec<_> = url.query_pairs().into_owned().collect();
        let names: Vec<_> = query.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["client_id", "response_type", "scope", "request"]);
        let (header, claims) = peek(&query[3].1).unwrap();
        assert_eq!(header["typ"], "oauth-authz-req+jwt");
        for (name, value) in &query[..3] {
            assert_eq!(claims[name], json!(value));
        }
        let seconds = |name: &str| claims[name].as_i64().unwrap();
        let now = fapi_bff::clock::Clock::now(&*bed.clock).as_i64();
        assert_eq!(claims["aud"], json!(bed.double.issuer()));
        assert_eq!(seconds("nbf"), now);
        assert!((1..=3600).contains(&(seconds("exp") - seconds("nbf"))));
        assert_eq!(claims["code_challenge_method"], "S256");
        assert_eq!(claims["code_challenge"].as_str().unwrap().len(), 43);
        assert_eq!(claims["state"].as_str().unwrap().len(), 43);
        assert_eq!(claims.get("nonce").is_some(), openid);
        let scopes = claims["scope"].as_str().unwrap().split(' ');
        assert_eq!(scopes.filter(|scope| *scope == "openid").count(), usize::from(openid));
    }
}

/// MTLS-2, PKJ-2.2: by certificate, `client_id` names the client in every request, and nothing else
/// authenticates beside it.
#[tokio::test]
async fn a_client_known_by_its_certificate_names_itself_and_brings_nothing_else() {
    for client_auth in [ClientAuth::TlsClientAuth, ClientAuth::SelfSignedTls] {
        let bed = bed(Conduct { client_auth, ..Conduct::security_profile() }, None).await;
        let mut browser = bed.browser();
        login(&bed, &mut browser).await;
        browser.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
        browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
        bed.double.wait_for(Endpoint::Revocation, 2).await;
        let certificate = bed.pki.client_tls.thumbprint().unwrap();
        let calls = [Endpoint::Par, Endpoint::Token, Endpoint::Revocation];
        let events = bed.double.events();
        let events: Vec<_> = events.iter().filter(|e| calls.contains(&e.endpoint)).collect();
        assert_eq!(events.len(), 5);
        for event in events {
            assert_eq!(event.form("client_id"), Some("bed-client"), "{event:?}");
            assert_eq!(event.peer_thumbprint.as_deref(), Some(certificate.as_str()));
            let others = ["client_assertion", "client_assertion_type", "client_secret"];
            assert!(others.iter().all(|name| event.form(name).is_none()), "{event:?}");
            assert_eq!(event.header("authorization"), None);
        }
    }
}

/// PAR-2.3, PAR-3: an AS that has the endpoint gets nothing through the browser instead.
#[tokio::test]
async fn where_requests_are_pushed_the_browser_carries_a_reference_only() {
    let conduct = Conduct { request_method: RequestMethod::Pushed, ..Conduct::openid_connect() };
    let bed = bed(conduct, None).await;
    let url = started(&mut bed.browser()).await;
    let names: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["client_id", "request_uri"]);
}

fn signed_userinfo(registration: &mut ClientRegistration, _: &Pki) {
    registration.userinfo_signed_response = true;
}

/// OIDC-5.3.2-sig, OIDC-5.3.2: what was registered to be signed is believed only signed, by the server,
/// for us, about the user.
#[tokio::test]
async fn signed_userinfo_is_believed_by_its_signature_alone() {
    const U: Target = Target::Userinfo;
    let conduct = Conduct::security_profile();
    let mut edit_ = settings(conduct, None);
    edit_[2].1.push_str("userinfo_signed_response_alg = \"ES256\"\n");
    let bed = Bed::with(Wish {
        edit: edit_,
        conduct: Some(conduct),
        registered: Some(signed_userinfo),
        ..Wish::default()
    })
    .await;
    let mut browser = bed.browser();
    login(&bed, &mut browser).await;
    let json_instead = |token: String| {
        let (_, claims) = peek(&token).unwrap();
        Value::Object(claims).to_string()
    };
    let changes: Vec<Change> = vec![
        edit(U, edits::append("iss", "/")),
        edit(U, edits::remove("iss")),
        edit(U, edits::wrong("aud")),
        edit(U, edits::remove("aud")),
        edit(U, edits::set("sub", json!("mallory"))),
        tamper(U, Tamper::Flip),
        tamper(U, Tamper::AlgNone),
        tamper(U, Tamper::AlternateAlg),
        tamper(U, Tamper::WrongKey),
        tamper(U, Tamper::Rewrite(std::sync::Arc::new(json_instead))),
    ];
    for (place, change) in changes.iter().enumerate() {
        bed.double.behave(|as_| change(as_));
        let answer = browser.fetch(Call::get("/bff/userinfo")).await.unwrap();
        answer
            .expect_refusal(502, "authorization_server_error")
            .unwrap_or_else(|why| panic!("{place}: {why}"));
        let answer = browser.fetch(Call::get("/bff/userinfo")).await.unwrap();
        assert!(answer.expect(200).unwrap().json().unwrap()["sub"].is_string(), "{place}");
    }
}
