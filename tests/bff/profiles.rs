//! Every profile with every choice it leaves, from the login to the API and back: the server of each
//! kind refuses whatever is not by its rules, so a login that ends is a client that was right.

use fapi_bff::jose::PublicJwk;
use fapi_bff_conformance::{
    as_double::Target,
    as_double::{
        ClientAuth, ClientRegistration, Conduct, Constraint, DpopNonces, Endpoint, Family,
        RequestMethod, ResponseForm, edits,
    },
    demo::browser::{Answer, Browser, Call, From, PageForm},
    pki::Pki,
};
use serde_json::json;
use url::Url;

use crate::support::{Bed, Wish};

pub(crate) const SECRET: &str = "a secret: & 100 % +";

/// The settings of the client whose server conducts itself like this, in place of the usual ones.
pub(crate) fn settings(conduct: Conduct, mode: Option<&str>) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let profile = match conduct.family {
        Family::Fapi2 if conduct.signed_requests && conduct.response == ResponseForm::Jarm => {
            "fapi2-message-signing"
        }
        Family::Fapi2 => "fapi2-security",
        Family::Fapi1 => "fapi1-advanced",
        Family::Oidc => "oidc",
    };
    lines.push(format!("profile = \"{profile}\""));
    lines.push(format!("token_endpoint_auth_method = \"{}\"", conduct.client_auth.name()));
    let constraint = match conduct.constraint {
        Constraint::Mtls => "mtls",
        Constraint::Dpop => "dpop",
        Constraint::None => "none",
    };
    lines.push(format!("sender_constraint = \"{constraint}\""));
    match conduct.response {
        ResponseForm::Hybrid => lines.push("response_type = \"code id_token\"".to_owned()),
        ResponseForm::Jarm if mode.is_none() => lines.push("response_mode = \"jwt\"".to_owned()),
        _ => {}
    }
    if let Some(mode) = mode {
        lines.push(format!("response_mode = \"{mode}\""));
    }
    if conduct.signed_requests {
        lines.push("signed_request_object = true".to_owned());
        lines.push("request_object_key = \"request-object.key\"".to_owned());
    }
    match conduct.client_auth {
        ClientAuth::PrivateKeyJwt => {
            lines.push("client_assertion_key = \"client-assertion.key\"".to_owned());
        }
        ClientAuth::SecretBasic | ClientAuth::SecretPost => {
            lines.push("client_secret_file = \"client-secret\"".to_owned());
        }
        ClientAuth::TlsClientAuth | ClientAuth::SelfSignedTls => {}
    }
    if conduct.family == Family::Oidc {
        lines.push("id_token_signed_response_alg = \"RS256\"".to_owned());
    }
    let scopes = if conduct.openid {
        "[\"openid\", \"profile\", \"email\", \"accounts\", \"payments\"]"
    } else {
        "[\"accounts\", \"payments\"]"
    };
    lines.push(format!("scopes = {scopes}"));
    let usual = [
        "scopes = [\"openid\", \"profile\", \"email\", \"accounts\", \"payments\"]\n",
        "client_assertion_key = \"client-assertion.key\"\n",
    ];
    let mut edits = vec![
        (usual[0], String::new()),
        (usual[1], String::new()),
        ("request_object_key = \"request-object.key\"\n", lines.join("\n") + "\n"),
    ];
    if !conduct.openid {
        // Nobody says how the user authenticated (OIDC-3.1.3.7-12/13).
        edits.push((r#""acr_values", "login_hint", "max_age""#, "\"login_hint\"".to_owned()));
    }
    edits
}

pub(crate) fn registered(registration: &mut ClientRegistration, _: &Pki) {
    registration.client_secret = Some(SECRET.to_owned());
}

pub(crate) async fn bed(conduct: Conduct, mode: Option<&str>) -> Bed {
    Bed::with(Wish {
        edit: settings(conduct, mode),
        conduct: Some(conduct),
        registered: Some(registered),
        files: vec![("client-secret", SECRET)],
        ..Wish::default()
    })
    .await
}

/// Lets the AS answer a login that has this address.
pub(crate) async fn answered(browser: &mut Browser, url: &str) -> Answer {
    let answer = browser.navigate(From::SameOrigin, url).await.unwrap();
    assert!(matches!(answer.status, 200 | 303), "{}: {:?}", answer.status, answer.body);
    answer
}

/// What the app's page finds in its address: a query, or a fragment.
pub(crate) fn found(answer: &Answer) -> String {
    let location = answer.location().unwrap();
    location.fragment().or(location.query()).unwrap_or_default().to_owned()
}

/// The address and fields of the form that the AS's page posts by itself.
fn posted(answer: &Answer) -> (String, String) {
    let html = String::from_utf8(answer.body.to_vec()).unwrap();
    let between = |text: &str, from: &str| {
        let rest = text.split_once(from).unwrap().1;
        rest.split_once('"').unwrap().0.replace("&amp;", "&").replace("&#39;", "'")
    };
    let action = between(&html, "action=\"");
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for field in html.split("<input").skip(1) {
        form.append_pair(&between(field, "name=\""), &between(field, "value=\""));
    }
    (action, form.finish())
}

/// A login by script: the session as the page sees it.
pub(crate) async fn login(bed: &Bed, browser: &mut Browser) -> serde_json::Value {
    let started = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
    let started = started.expect(200).unwrap_or_else(|why| {
        panic!("{why}\n{:?}\n{:?}", bed.last_audit("login.start"), bed.double.last_refusal())
    });
    let started = started.json().unwrap();
    let answer = answered(browser, started["authorization_url"].as_str().unwrap()).await;
    if answer.status == 303 {
        bed.end(browser, &found(&answer)).await.expect(200).unwrap();
    } else {
        // The form reaches the BFF, which sends the browser on to the page.
        let (action, form) = posted(&answer);
        let issuer = Url::parse(bed.double.issuer()).unwrap().origin().ascii_serialization();
        let home = browser.submit(&issuer, &action, &form).await.unwrap().expect(303).unwrap();
        assert_eq!(home.location().unwrap().as_str(), format!("{}/", bed.origin));
    }
    let session = browser.fetch(Call::get("/bff/session")).await.unwrap();
    session.expect(200).unwrap().json().unwrap()
}

/// From the login to the logout, refreshes included.
async fn walk(conduct: Conduct, mode: Option<&str>) {
    let what = format!("{conduct:?} {mode:?}");
    let mut bed = bed(conduct, mode).await;
    let mut browser = bed.browser();
    let session = login(&bed, &mut browser).await;
    assert_eq!(session["is_logged_in"], true, "{what}");
    assert_eq!(session["id_token_claims"]["sub"].as_str().is_some(), conduct.openid, "{what}");
    // The double, as the official suite, names an alias for FAPI 1.0's userinfo that it does not serve.
    if conduct.family != Family::Fapi1 {
        let userinfo = browser.fetch(Call::get("/bff/userinfo")).await.unwrap();
        assert_eq!(userinfo.status == 200, conduct.openid, "{what}: {userinfo:?}");
    }
    let call = |browser: &mut Browser, call: Call| {
        let mut browser = browser.clone();
        async move { browser.fetch(call).await.unwrap() }
    };
    for _ in 0..2 {
        call(&mut browser, Call::get("/api/accounts")).await.expect(200).unwrap();
        let payment = json!({"amount": "10.00", "to": "bjork"});
        call(&mut browser, Call::post("/api/payments").json(&payment)).await.expect(201).unwrap();
        let refreshed = browser.fetch(Call::post("/bff/refresh")).await.unwrap();
        refreshed.expect(200).unwrap();
    }
    bed.restart().await;
    call(&mut browser, Call::get("/api/accounts")).await.expect(200).unwrap();
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    assert_eq!(
        bed.double.last_refusal().and_then(|event| event.reason).filter(|reason| {
            // The server's own demand for a nonce is how DPoP goes.
            !reason.contains("nonce")
        }),
        None,
        "{what}"
    );
    bed.stop().await;
}

/// FAPI2-SP-5.3.3.1-1, FAPI2-SP-5.3.3.1-2: every way to authenticate with every way to bind tokens,
/// with and without OpenID Connect, both sides signed, one of them, or none.
#[tokio::test]
async fn every_variant_of_fapi2_goes_all_the_way() {
    for client_auth in
        [ClientAuth::PrivateKeyJwt, ClientAuth::TlsClientAuth, ClientAuth::SelfSignedTls]
    {
        for constraint in [Constraint::Mtls, Constraint::Dpop] {
            for (openid, signed_requests, response) in [
                (true, true, ResponseForm::Jarm),
                (true, false, ResponseForm::Plain),
                (true, true, ResponseForm::Plain),
                (true, false, ResponseForm::Jarm),
                (false, true, ResponseForm::Jarm),
                (false, false, ResponseForm::Plain),
            ] {
                let conduct = Conduct {
                    client_auth,
                    constraint,
                    openid,
                    signed_requests,
                    response,
                    ..Conduct::message_signing()
                };
                walk(conduct, None).await;
            }
        }
    }
}

/// FAPI1-ADV-5.2.2-2, FAPI1-ADV-5.2.3-2, FAPI1-ADV-5.2.3-9, FAPI1-ADV-5.2.3-15/16.
#[tokio::test]
async fn every_variant_of_fapi1_goes_all_the_way() {
    for client_auth in [ClientAuth::PrivateKeyJwt, ClientAuth::TlsClientAuth] {
        for request_method in [RequestMethod::ByValue, RequestMethod::Pushed] {
            for (openid, response) in [
                (true, ResponseForm::Hybrid),
                (true, ResponseForm::Jarm),
                (false, ResponseForm::Jarm),
            ] {
                let conduct = Conduct {
                    client_auth,
                    request_method,
                    openid,
                    response,
                    ..Conduct::fapi1_advanced()
                };
                walk(conduct, None).await;
            }
        }
    }
}

/// ALG-MAT, PKJ-2.2: a plain OpenID Connect server, by secret and by key, pushed and not.
#[tokio::test]
async fn every_variant_of_openid_connect_goes_all_the_way() {
    for client_auth in [
        ClientAuth::SecretBasic,
        ClientAuth::SecretPost,
        ClientAuth::PrivateKeyJwt,
        ClientAuth::TlsClientAuth,
    ] {
        for (request_method, signed_requests) in [
            (RequestMethod::ByValue, false),
            (RequestMethod::ByValue, true),
            (RequestMethod::Pushed, false),
        ] {
            let conduct = Conduct {
                client_auth,
                request_method,
                signed_requests,
                ..Conduct::openid_connect()
            };
            walk(conduct, None).await;
        }
    }
    for constraint in [Constraint::Mtls, Constraint::Dpop] {
        walk(Conduct { constraint, ..Conduct::openid_connect() }, None).await;
    }
}

/// OIDC-FRAG, CK-SS-2: answers that the AS posts from its own site.
#[tokio::test]
async fn posted_answers_go_all_the_way() {
    walk(Conduct::message_signing(), Some("form_post.jwt")).await;
    walk(Conduct::security_profile(), Some("form_post")).await;
    walk(Conduct::fapi1_advanced(), Some("form_post")).await;
    walk(Conduct::openid_connect(), Some("form_post")).await;
}

/// OIDC-FRAG: in navigation mode one page of ours reads the fragment and posts it, and nobody else may.
#[tokio::test]
async fn a_fragment_comes_by_our_own_page() {
    let bed = bed(Conduct::fapi1_advanced(), None).await;
    let mut browser = bed.browser();
    let start = browser.navigate(From::SameOrigin, "/bff/login?return_to=/a").await.unwrap();
    let url = start.expect(303).unwrap().location().unwrap();
    let answer = answered(&mut browser, url.as_str()).await;
    let location = answer.location().unwrap();
    let fragment = location.fragment().unwrap().to_owned();
    assert_eq!((location.path(), location.query()), ("/bff/callback", None));

    let page = browser.navigate(From::CrossSite, location.as_str()).await.unwrap();
    let page = page.expect(200).unwrap();
    let policy = page.header("content-security-policy").to_owned();
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("form-action 'self'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "same-origin", "or it could not say who posts");
    assert_eq!(html.matches("<script").count(), 1);
    assert_eq!(page.cookies().len(), 0);
    let relayed = PageForm { action: "/bff/callback".to_owned(), body: fragment.clone() };

    // Another site's form with the very same answer is turned away and spends nothing.
    let foreign = "https://evil.example";
    let foreign = browser.submit(foreign, "/bff/callback", &fragment).await.unwrap();
    foreign.expect(403).unwrap();
    let home = browser.submit_from((&page, &bed.origin), &relayed).await.unwrap();
    assert_eq!(home.expect(303).unwrap().location().unwrap().path(), "/a");
    let again = browser.submit_from((&page, &bed.origin), &relayed).await.unwrap();
    again.expect(400).unwrap();
}

/// JARM-2.3: an answer comes the way it was asked for, and no other way.
#[tokio::test]
async fn a_callback_has_one_method() {
    for (conduct, mode, wrong) in [
        (Conduct::message_signing(), None, "POST"),
        (Conduct::security_profile(), Some("form_post"), "GET"),
    ] {
        let bed = bed(conduct, mode).await;
        let mut browser = bed.browser();
        let answer = if wrong == "GET" {
            browser.navigate(From::CrossSite, "/bff/callback?code=x&state=y").await.unwrap()
        } else {
            browser.submit("https://as.example", "/bff/callback", "response=x").await.unwrap()
        };
        answer.expect_refusal(405, "method_not_allowed").unwrap();
    }
}

/// FAPI2-SP-5.3.3.1-8, DPOP-8: one more try, with everything fresh, and then no more.
#[tokio::test]
async fn a_nonce_without_end_is_given_up_after_one_more_try() {
    let conduct = Conduct { constraint: Constraint::Dpop, ..Conduct::security_profile() };
    let bed = bed(conduct, None).await;
    bed.double.behave(|behaviour| behaviour.dpop_nonces = DpopNonces::Endless);
    let mut browser = bed.browser();
    let refused = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
    refused.expect_refusal(502, "authorization_server_error").unwrap();
    assert_eq!(bed.double.count(Endpoint::Par), 2);
    let events = bed.double.events();
    let proofs: Vec<_> = events
        .iter()
        .filter(|event| event.endpoint == Endpoint::Par)
        .map(|event| {
            let header = event.headers.iter().find(|(name, _)| name == "dpop").unwrap().1.clone();
            let assertion = event.form.iter().find(|(name, _)| name == "client_assertion").unwrap();
            (header, assertion.1.clone())
        })
        .collect();
    assert!(proofs[0].0 != proofs[1].0 && proofs[0].1 != proofs[1].1, "PKJ-9-jti, DPOP-7.3");
}

/// DPOP-5, DPOP-7.2: a token that came as Bearer is given up, and nobody is logged in with it.
#[tokio::test]
async fn a_bearer_token_is_no_substitute_for_one_bound_to_our_key() {
    let conduct = Conduct { constraint: Constraint::Dpop, ..Conduct::security_profile() };
    let bed = bed(conduct, None).await;
    bed.double.behave(|b| b.edit(Target::TokenResponse, edits::set("token_type", json!("Bearer"))));
    let mut browser = bed.browser();
    let started = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
    let started = started.expect(200).unwrap().json().unwrap();
    let answer = answered(&mut browser, started["authorization_url"].as_str().unwrap()).await;
    let refused = bed.end(&mut browser, &found(&answer)).await;
    refused.expect_refusal(502, "authorization_server_error").unwrap();
    assert_eq!(bed.last_audit("login.end").1, "token.type_mismatch");
    bed.double.wait_for(Endpoint::Revocation, 2).await;
    assert!(!bed.is_logged_in(&mut browser).await);
}

/// FAPI2-AM-5.2, DPOP-10.1, DPOP-11: each session has a key of its own, and it is in no cookie and no
/// answer; the code is bound to it from the first request on.
#[tokio::test]
async fn each_session_has_its_own_key() {
    let conduct = Conduct { constraint: Constraint::Dpop, ..Conduct::security_profile() };
    let bed = bed(conduct, None).await;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut browser = bed.browser();
        login(&bed, &mut browser).await;
        browser.fetch(Call::get("/bff/userinfo")).await.unwrap().expect(200).unwrap();
        let events = bed.double.events();
        let of_login = |endpoint| {
            let event = events.iter().rev().find(|event| event.endpoint == endpoint).unwrap();
            let proof = &event.headers.iter().find(|(name, _)| name == "dpop").unwrap().1;
            let (header, _) = fapi_bff_conformance::jws::peek(proof).unwrap();
            header["jwk"].clone()
        };
        let par = of_login(Endpoint::Par);
        assert_eq!(par, of_login(Endpoint::Token));
        assert_eq!(par, of_login(Endpoint::Userinfo));
        assert!(par.get("d").is_none());
        let pushed = events.iter().rev().find(|event| event.endpoint == Endpoint::Par).unwrap();
        let key = PublicJwk::from_json(&par).unwrap();
        assert_eq!(pushed.form("dpop_jkt"), Some(key.thumbprint().as_str()));
        keys.push(par);
    }
    assert_ne!(keys[0], keys[1]);
}

/// MTLS-2.2.2: a self-signed certificate is known by the client's key set.
#[tokio::test]
async fn a_self_signed_certificate_stands_in_the_key_set() {
    let conduct = Conduct { client_auth: ClientAuth::SelfSignedTls, ..Conduct::message_signing() };
    let bed = bed(conduct, None).await;
    let mut browser = bed.browser();
    let keys = browser.navigate(From::Typed, "/bff/jwks").await.unwrap().json().unwrap();
    let certificates: Vec<_> =
        keys["keys"].as_array().unwrap().iter().filter(|key| key.get("x5c").is_some()).collect();
    assert_eq!(certificates.len(), 1, "{keys}");
    let all = keys.to_string();
    for private in ["\"d\"", "\"p\"", "\"k\""] {
        assert!(!all.contains(private), "{private}");
    }
}
