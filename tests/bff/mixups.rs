//! Answers, codes, tokens and cookies in places they were not made for.

use std::sync::{Arc, Mutex};

use fapi_bff_conformance::{
    as_double::{Endpoint, Tamper, Target, edits},
    demo::browser::{Answer, Browser, Call, From},
    jws::{Object, peek},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    login::{SESSION, call, navigation_response, session_cookie},
    support::{Bed, CLIENT_ID},
};

fn refused(bed: &Bed, answer: Answer, (status, code): (u16, &str), reason: &str) {
    answer.expect_refusal(status, code).unwrap_or_else(|why| panic!("{reason}: {why}"));
    assert_eq!(bed.last_audit("login.end").1, reason);
}

/// The signed response in the app's address.
fn response_in(query: &str) -> &str {
    query.strip_prefix("response=").unwrap()
}

/// The next token of this kind as the AS signed it, once there is one.
fn overheard(bed: &Bed, target: Target) -> Arc<Mutex<String>> {
    let heard = Arc::new(Mutex::new(String::new()));
    let ear = Arc::clone(&heard);
    let listen = Tamper::Rewrite(Arc::new(move |token| {
        ear.lock().unwrap().clone_from(&token);
        token
    }));
    bed.double.behave(|as_| as_.tamper_once(target, listen));
    heard
}

/// FAPI2-AM-5.3, BCP-2.1.1: a stolen code in the thief's own, rightly signed answer is worth
/// nothing: the verifier is not the victim's. The AS refuses it, and there is no session.
#[tokio::test]
async fn a_victims_code_in_an_attackers_login_is_refused_for_its_verifier() {
    let bed = Bed::start().await;
    let mut victim = bed.browser();
    let stolen = bed.response(&mut victim).await;
    let code = peek(response_in(&stolen)).unwrap().1["code"].clone();
    let planted = code.clone();
    bed.double.behave(|as_| as_.edit_once(Target::Jarm, edits::set("code", planted)));
    let mut attacker = bed.browser();
    let query = bed.response(&mut attacker).await;
    let answer = bed.end(&mut attacker, &query).await;
    refused(&bed, answer, (400, "login_rejected"), "as.rejected");
    let refusal = bed.double.last_refusal().unwrap();
    assert_eq!(refusal.reason.as_deref(), Some("token.code_verifier"));
    assert_eq!(refusal.form("code"), code.as_str());
    assert!(attacker.cookies().is_empty());
    assert_eq!(bed.double.count(Endpoint::Token), 1);
}

/// JWT-3.11, JWT-3.12: everything the AS signs for us is signed by one key; nothing of it passes for
/// an authorization response, nor does what we sign ourselves.
#[tokio::test]
async fn no_other_token_passes_for_a_response() {
    let bed = Bed::start().await;
    let heard = overheard(&bed, Target::IdToken);
    bed.logged_in().await;
    let id_token = heard.lock().unwrap().clone();
    bed.double.clear_events();
    let id_claims = peek(&id_token).unwrap().1;
    let logout_claims = bed.double.logout_token_claims(CLIENT_ID, Some("alice"), None);
    let signed = |typ, claims: &Object, state: &Value| {
        let mut claims = claims.clone();
        claims.insert("state".to_owned(), state.clone());
        bed.double.sign_as_server(typ, &claims, None).unwrap()
    };
    for (kind, reason) in [
        ("ID token", "jarm.state_missing"),
        ("ID token with our state", "jarm.code_missing"),
        ("logout token with our state", "jarm.typ_not_allowed"),
        ("untyped logout token with our state", "jarm.code_missing"),
        ("our own request object", "jarm.issuer_mismatch"),
    ] {
        let mut browser = bed.browser();
        let good = bed.response(&mut browser).await;
        let state = peek(response_in(&good)).unwrap().1["state"].clone();
        let token = match kind {
            "ID token" => id_token.clone(),
            "ID token with our state" => signed(Some("JWT"), &id_claims, &state),
            "logout token with our state" => signed(Some("logout+jwt"), &logout_claims, &state),
            "untyped logout token with our state" => signed(None, &logout_claims, &state),
            _ => bed.double.last(Endpoint::Par).unwrap().form("request").unwrap().to_owned(),
        };
        let answer = bed.end(&mut browser, &format!("response={token}")).await;
        refused(&bed, answer, (400, "login_rejected"), reason);
        assert_eq!(session_cookie(&browser), None, "{kind}");
    }
    assert_eq!(bed.double.count(Endpoint::Token), 0);
}

/// JWT-3.11, JWT-3.12: and nothing passes for an ID token.
#[tokio::test]
async fn no_other_token_passes_for_an_id_token() {
    let bed = Bed::start().await;
    let heard = overheard(&bed, Target::IdToken);
    bed.logged_in().await;
    let earlier = heard.lock().unwrap().clone();
    let logout_token = bed.double.logout_token_claims(CLIENT_ID, Some("alice"), None);
    let logout_token = bed.double.sign_as_server(None, &logout_token, None).unwrap();
    for (token, reason) in [
        (Some(earlier), "id_token.nonce_mismatch"),
        (Some(logout_token), "id_token.kind_mismatch"),
        // The authorization response of this very login.
        (None, "id_token.subject_missing"),
    ] {
        let mut browser = bed.browser();
        let query = bed.response(&mut browser).await;
        let token = token.unwrap_or_else(|| response_in(&query).to_owned());
        let swap = Tamper::Rewrite(Arc::new(move |_| token.clone()));
        bed.double.behave(|as_| as_.tamper_once(Target::IdToken, swap));
        let answer = bed.end(&mut browser, &query).await;
        refused(&bed, answer, (502, "authorization_server_error"), reason);
        assert_eq!(session_cookie(&browser), None);
    }
}

/// RFC 6749 appendix A.11: a code is any printable text; it reaches the token endpoint as it was signed and
/// adds no parameter there.
#[tokio::test]
async fn a_code_arrives_as_it_was_signed() {
    let bed = Bed::start().await;
    for code in ["a+b c", "a&scope=admin&client_id=evil", "50%26=%2525", "\"'<>\\{}~`|^", "=&="] {
        bed.double.behave(|as_| as_.edit_once(Target::Jarm, edits::set("code", json!(code))));
        let mut browser = bed.browser();
        let query = bed.response(&mut browser).await;
        let answer = bed.end(&mut browser, &query).await;
        refused(&bed, answer, (400, "login_rejected"), "as.rejected");
        let sent = bed.double.last(Endpoint::Token).unwrap();
        assert_eq!(sent.reason.as_deref(), Some("token.code_unknown"), "not a broken form");
        assert_eq!(sent.form("code"), Some(code));
        let mut names: Vec<_> = sent.form.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "client_assertion",
                "client_assertion_type",
                "client_id",
                "code",
                "code_verifier",
                "grant_type",
                "redirect_uri"
            ]
        );
    }
    // What is not printable is no code.
    for code in ["", "a\nb", "é", "\u{0}"] {
        bed.double.behave(|as_| as_.edit_once(Target::Jarm, edits::set("code", json!(code))));
        let mut browser = bed.browser();
        let query = bed.response(&mut browser).await;
        let answer = bed.end(&mut browser, &query).await;
        refused(&bed, answer, (400, "login_rejected"), "jarm.code_malformed");
    }
    assert_eq!(bed.double.count(Endpoint::Token), 5);
}

/// Nothing a browser can put into a session cookie is a fault of ours, and it ends nobody's session.
#[tokio::test]
async fn a_mangled_session_cookie_is_no_session_and_no_fault() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    let value = session_cookie(&browser).unwrap();
    let flipped = |place: usize| {
        let mut bytes = value.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let mangled = [
        String::new(),
        value[..42].to_owned(),
        value[..1].to_owned(),
        format!("{value}A"),
        format!("{value}="),
        format!("\"{value}\""),
        value.to_lowercase(),
        flipped(0),
        flipped(21),
        "A".repeat(48),
        "!".repeat(48),
        "%00".to_owned(),
        "../../etc/passwd".to_owned(),
        "A".repeat(8_000),
    ];
    for value in mangled {
        let cookies = format!("{SESSION}={value}");
        for (method, path) in
            [("GET", "/bff/userinfo"), ("POST", "/bff/refresh"), ("GET", "/api/accounts")]
        {
            let answer = call(&bed, method, path, &cookies, "").await;
            answer.expect_refusal(401, "session_missing").unwrap();
        }
        let session = call(&bed, "GET", "/bff/session", &cookies, "").await.expect(200).unwrap();
        assert_eq!(session.json().unwrap()["is_logged_in"], false, "{value}");
        call(&bed, "POST", "/bff/logout", &cookies, "").await.expect(200).unwrap();
        call(&bed, "POST", "/bff/login/start", &cookies, "").await.expect(200).unwrap();
    }
    assert_eq!(bed.api.count("/accounts"), 0);
    assert!(bed.is_logged_in(&mut browser).await);
}

/// One browser, two people, one after the other: nothing of the first is left for the second, even
/// where the AS gives the second less.
#[tokio::test]
async fn nothing_of_the_first_person_serves_the_second() {
    for logs_out in [true, false] {
        let bed = Bed::start().await;
        let mut browser = bed.logged_in().await;
        if logs_out {
            browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
        }
        bed.double.behave(|as_| {
            as_.user = Some("bjork".to_owned());
            as_.issue_refresh_token = false;
        });
        let session = bed.login(&mut browser).await;
        assert_eq!(session["id_token_claims"]["sub"], "bjork");
        bed.double.clear_events();
        let answer = browser.fetch(Call::post("/bff/refresh")).await.unwrap();
        let answer = answer.expect_refusal(400, "invalid_request").unwrap();
        assert_eq!(answer.json().unwrap()["detailed_error"], "no_refresh_token");
        let claims = browser.fetch(Call::get("/bff/userinfo")).await.unwrap().expect(200).unwrap();
        assert_eq!(claims.json().unwrap()["sub"], "bjork");
        assert_eq!(bed.double.count(Endpoint::Token), 0, "no refresh with anybody's token");
    }
}

/// CK-CLR: a session that ended by its limits leaves no cookie, wherever the browser learns of it.
#[tokio::test]
async fn a_session_that_is_over_leaves_no_cookie() {
    let names = |browser: &Browser| -> Vec<String> {
        browser.cookies().into_iter().map(|(name, _)| name.to_owned()).collect()
    };
    for (seconds, path) in
        [(900, "/bff/session"), (900, "/bff/userinfo"), (900, "/api/accounts"), (28_800, "/api/x")]
    {
        let bed = Bed::start().await;
        let mut browser = bed.logged_in().await;
        assert_eq!(names(&browser), [SESSION]);
        bed.clock.advance(seconds);
        let answer = browser.fetch(Call::get(path)).await.unwrap();
        if path == "/bff/session" {
            assert_eq!(answer.expect(200).unwrap().json().unwrap()["is_logged_in"], false);
        } else {
            answer.expect_refusal(401, "session_expired").unwrap();
        }
        assert!(browser.cookies().is_empty(), "{path}: {:?}", names(&browser));
    }
}

/// JWK-ROT: ten logins that meet a new key at once ask for it once; a second new key within the
/// cooldown is not asked for, and is found after it.
#[tokio::test]
async fn ten_logins_that_meet_a_new_key_ask_for_it_once() {
    let bed = Bed::start().await;
    bed.logged_in().await;
    assert_eq!(bed.double.count(Endpoint::Jwks), 1);
    bed.double.rotate_keys(false).unwrap();
    let mut tabs: Vec<_> = (0..10).map(|_| bed.browser()).collect();
    let queries = join_all(tabs.iter_mut().map(|tab| bed.response(tab))).await;
    let ends = tabs.iter_mut().zip(&queries).map(|(tab, query)| bed.end(tab, query));
    for answer in join_all(ends).await {
        answer.expect(200).unwrap();
    }
    assert_eq!(bed.double.count(Endpoint::Jwks), 2);

    bed.double.rotate_keys(false).unwrap();
    for (wait, reason) in [(0, "jarm.key_unknown"), (9, "jarm.key_unknown"), (1, "none")] {
        bed.clock.advance(wait);
        let mut browser = bed.browser();
        let query = bed.response(&mut browser).await;
        let answer = bed.end(&mut browser, &query).await;
        assert_eq!(answer.status == 200, reason == "none", "{reason}");
        assert_eq!(bed.last_audit("login.end").1, reason);
    }
    assert_eq!(bed.double.count(Endpoint::Jwks), 3);
}

/// FAPI2-SP-6.4: a callback loaded again, with the browser's cookies as they are and as they were,
/// shows a page and disturbs nobody.
#[tokio::test]
async fn a_callback_loaded_again_disturbs_nobody() {
    let bed = Bed::start().await;
    let mut browser = bed.browser();
    let back = navigation_response(&bed, &mut browser).await;
    let mut as_before = browser.clone();
    browser.navigate(From::CrossSite, back.as_str()).await.unwrap().expect(303).unwrap();
    for (tab, reason) in
        [(&mut browser, "transaction.missing"), (&mut as_before, "transaction.already_used")]
    {
        let answer = tab.navigate(From::CrossSite, back.as_str()).await.unwrap();
        let answer = answer.expect(400).unwrap();
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(bed.last_audit("login.end").1, reason);
    }
    assert_eq!(bed.double.count(Endpoint::Token), 1);
    assert!(bed.is_logged_in(&mut browser).await);
    assert!(!bed.is_logged_in(&mut as_before).await);
}
