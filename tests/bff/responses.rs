//! Authorization responses and ID tokens that must not be believed, on the wire and by reason.
//!
//! Each case is judged on both halves: where the client stopped on the wire, and why it says it did.

use std::sync::Arc;

use fapi_bff_conformance::{
    as_double::{Behaviour, Endpoint, Fault, Tamper, Target, edits},
    demo::browser::{Answer, Call},
    jws::{Object, peek},
};
use serde_json::{Value, json};

use crate::support::{Bed, Wish};

pub(crate) type Change = Box<dyn Fn(&mut Behaviour)>;

pub(crate) fn edit(target: Target, change: impl Fn(&mut Object) + Send + Sync + 'static) -> Change {
    let change = Arc::new(change);
    Box::new(move |as_| {
        let change = Arc::clone(&change);
        as_.edit_once(target, move |object| change(object));
    })
}

pub(crate) fn tamper(target: Target, tamper: Tamper) -> Change {
    Box::new(move |as_| as_.tamper_once(target, tamper.clone()))
}

fn header(target: Target, members: Value) -> Change {
    let Value::Object(members) = members else { unreachable!() };
    tamper(target, Tamper::Header(members))
}

/// Moves a time claim by so many seconds.
fn shifted(name: &'static str, by: i64) -> impl Fn(&mut Object) + Send + Sync {
    move |object| {
        let time = object.get(name).and_then(Value::as_i64).unwrap_or_default();
        object.insert(name.to_owned(), (time + by).into());
    }
}

/// Puts a time claim so many seconds from `now`.
fn placed(name: &'static str, time: i64) -> impl Fn(&mut Object) + Send + Sync {
    move |object| drop(object.insert(name.to_owned(), time.into()))
}

fn refusal(answer: &Answer) -> (u16, String) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        body.as_object().unwrap().keys().filter(|name| *name != "detailed_error").count(),
        2
    );
    (answer.status, body["error_code"].as_str().unwrap().to_owned())
}

/// One login under `change` that must be refused: how, why, and after how many token requests.
async fn refused(bed: &Bed, change: &Change, expected: (u16, &str, &str), tokens: usize) {
    let (status, code, reason) = expected;
    bed.double.clear_events();
    bed.double.behave(|as_| change(as_));
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    let answer = bed.end(&mut browser, &query).await;
    assert_eq!(refusal(&answer), (status, code.to_owned()), "{reason}");
    assert_eq!(bed.last_audit("login.end").1, reason);
    assert_eq!(bed.double.count(Endpoint::Token), tokens, "{reason}");
    assert_eq!(bed.double.count(Endpoint::Userinfo), 0, "{reason}");
    assert!(!bed.is_logged_in(&mut browser).await, "{reason}");
    let text = String::from_utf8_lossy(&answer.body);
    assert!(!text.contains(reason.split('.').nth(1).unwrap()), "no detail for browsers: {text}");
}

async fn accepted(bed: &Bed, what: &str, change: &Change) {
    bed.double.behave(|as_| change(as_));
    let mut browser = bed.browser();
    let session = bed.login(&mut browser).await;
    assert_eq!(session["is_logged_in"], true, "{what}");
    let answer = browser.fetch(Call::get("/api/accounts")).await.unwrap();
    assert_eq!(answer.status, 200, "{what}");
}

/// JARM-2.1, JARM-2.4-2..6, JARM-3, FAPI2-SP-5.4.1-1.2, FAPI2-MS-5.4.2-2, JWT-3.10, JWT-3.11,
/// FAPI2-SP-5.4.1-1.3, JWT-3.8: no token request follows.
#[tokio::test]
async fn a_response_that_breaks_a_rule_is_never_redeemed() {
    const J: Target = Target::Jarm;
    let bed = Bed::start().await;
    let now = fapi_bff::clock::Clock::now(&*bed.clock).as_i64();
    let cases: Vec<(&str, Change)> = vec![
        ("jarm.issuer_missing", edit(J, edits::remove("iss"))),
        ("jarm.issuer_mismatch", edit(J, edits::wrong("iss"))),
        ("jarm.issuer_mismatch", edit(J, edits::append("iss", "/"))),
        ("jarm.audience_missing", edit(J, edits::remove("aud"))),
        ("jarm.audience_mismatch", edit(J, edits::wrong("aud"))),
        (
            "jarm.audience_mismatch",
            edit(J, edits::set("aud", json!(["bed-client", "bed-client1"]))),
        ),
        ("jarm.claim_type", edit(J, edits::set("aud", json!([])))),
        ("jarm.expiry_missing", edit(J, edits::remove("exp"))),
        ("jarm.claim_type", edit(J, edits::set("exp", json!("soon")))),
        ("jarm.claim_type", edit(J, edits::set("exp", json!(1e300)))),
        ("jarm.expired", edit(J, placed("exp", now - 360))),
        ("jarm.expired", edit(J, placed("exp", now - 10))),
        ("jarm.lifetime_too_long", edit(J, placed("exp", now + 3601))),
        ("jarm.issued_in_future", edit(J, placed("iat", now + 31))),
        ("jarm.not_yet_valid", edit(J, placed("nbf", now + 31))),
        ("jarm.code_missing", edit(J, edits::remove("code"))),
        ("jarm.code_and_error", edit(J, edits::set("error", json!("access_denied")))),
        ("jarm.token_in_response", edit(J, edits::set("id_token", json!("x.y.z")))),
        ("jarm.signature_invalid", tamper(J, Tamper::Flip)),
        ("jarm.signature_invalid", tamper(J, Tamper::WrongKey)),
        ("jarm.alg_not_allowed", tamper(J, Tamper::AlgNone)),
        ("jarm.alg_not_allowed", tamper(J, Tamper::AlternateAlg)),
        ("jarm.alg_not_allowed", header(J, json!({"alg": "HS256"}))),
        ("jarm.alg_not_allowed", header(J, json!({"alg": "es256"}))),
        ("jarm.typ_not_allowed", header(J, json!({"typ": "at+jwt"}))),
        ("jarm.typ_not_allowed", header(J, json!({"typ": "logout+jwt"}))),
        ("jarm.header_not_allowed", header(J, json!({"jku": "https://evil.example/jwks"}))),
        ("jarm.header_not_allowed", header(J, json!({"crit": []}))),
        ("jarm.header_not_allowed", header(J, json!({"zip": "DEF"}))),
    ];
    for (reason, change) in cases {
        refused(&bed, &change, (400, "login_rejected", reason), 0).await;
    }
    let nothing: Change = Box::new(|_| {});
    accepted(&bed, "nothing of it lasts", &nothing).await;
}

/// CLK-1, FAPI2-SP-5.3.2.1-13: the last second that is still good, at the response.
#[tokio::test]
async fn the_last_good_second_of_a_response_is_good() {
    const J: Target = Target::Jarm;
    let bed = Bed::start().await;
    let now = fapi_bff::clock::Clock::now(&*bed.clock).as_i64();
    for (what, change) in [
        ("exp nine seconds ago", edit(J, placed("exp", now - 9))),
        ("exp in an hour", edit(J, placed("exp", now + 3600))),
        ("iat thirty seconds ahead", edit(J, placed("iat", now + 30))),
        ("aud as an array of one", edit(J, edits::set("aud", json!(["bed-client"])))),
        ("an unknown claim", edit(J, edits::set("session_state", json!("x")))),
        ("typ JWT", header(J, json!({"typ": "application/jwt"}))),
        ("no typ", header(J, json!({"typ": null}))),
    ] {
        accepted(&bed, what, &change).await;
    }
}

/// The state: without it, or with another, no login under way is found, and the one there was can
/// still be ended (OIDC-3.1.2.7, OA-10.12).
#[tokio::test]
async fn a_response_with_another_state_leaves_the_login_alive() {
    let bed = Bed::start().await;
    for (name, reason, code) in [
        ("wrong", "transaction.missing", "transaction_missing"),
        ("absent", "jarm.state_missing", "login_rejected"),
    ] {
        let mut browser = bed.browser();
        let good = bed.response(&mut browser).await;
        let (head, mut claims) = peek(good.strip_prefix("response=").unwrap()).unwrap();
        match name {
            "wrong" => edits::wrong("state")(&mut claims),
            _ => edits::remove("state")(&mut claims),
        }
        claims.remove("code");
        claims.insert("error".to_owned(), "access_denied".into());
        let typ = head.get("typ").and_then(Value::as_str);
        let forged = bed.double.sign_as_server(typ, &claims, None).unwrap();
        let answer = bed.end(&mut browser, &format!("response={forged}")).await;
        assert_eq!(refusal(&answer), (400, code.to_owned()), "{name}");
        assert_eq!(bed.last_audit("login.end").1, reason);
        bed.end(&mut browser, &good).await.expect(200).unwrap();
    }
}

/// JARM-2.3, OA-3.1, FAPI2-MS-5.4.1-N, JARM-2.2, ISS-2.4-1, ISS-2.4-4, SM-2/3: what stands beside,
/// instead of, or twice for the response.
#[tokio::test]
async fn parameters_beside_instead_of_or_twice_for_the_response_are_refused() {
    let bed = Bed::start().await;
    let iss = bed.double.issuer().to_owned();
    let long = format!("response={}", "a".repeat(40_000));
    for (reason, code, change) in [
        ("jarm.extra_parameters", "login_rejected", "{response}&code=x"),
        ("jarm.extra_parameters", "login_rejected", "{response}&state=x"),
        ("jarm.extra_parameters", "login_rejected", "{response}&error=access_denied"),
        ("jarm.issuer_mismatch", "login_rejected", "{response}&iss=https%3A%2F%2Fevil.example%2F"),
        ("response.duplicate_parameter", "login_rejected", "{response}&{response}"),
        ("jarm.missing", "login_rejected", "code=x&state=y&iss={iss}"),
        ("jarm.missing", "login_rejected", "error=access_denied&state=y&iss={iss}"),
        ("jarm.missing", "login_rejected", ""),
        ("jarm.malformed", "login_rejected", "response="),
        ("jarm.malformed", "login_rejected", "response=AAA"),
        ("jarm.malformed", "login_rejected", "response=a.b.c.d"),
        ("jarm.encrypted", "login_rejected", "response=a.b.c.d.e"),
        ("response.form_malformed", "login_rejected", "response=%FF"),
        ("response.too_large", "login_rejected", long.as_str()),
    ] {
        bed.double.clear_events();
        let mut browser = bed.browser();
        let response = bed.response(&mut browser).await;
        let form = change.replace("{response}", &response).replace("{iss}", &iss);
        let answer = bed.end(&mut browser, &form).await;
        assert_eq!(refusal(&answer), (400, code.to_owned()), "{change:.80}");
        assert_eq!(bed.last_audit("login.end").1, reason, "{change:.80}");
        assert_eq!(bed.double.count(Endpoint::Token), 0);
    }
    // An equal outer `iss` and an unknown parameter do no harm.
    let mut browser = bed.browser();
    let response = bed.response(&mut browser).await;
    let form = format!("{response}&iss={}&session_state=x", urlencoded(&iss));
    bed.end(&mut browser, &form).await.expect(200).unwrap();
}

fn urlencoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// An unsigned error is anybody's word, also when the AS itself sends it (downgrade).
#[tokio::test]
async fn an_unsigned_error_is_nobodys_word() {
    let bed = Bed::start().await;
    let change: Change = Box::new(|as_| as_.unsigned_error = Some("access_denied".to_owned()));
    refused(&bed, &change, (400, "login_rejected", "jarm.missing"), 0).await;
}

/// A signed error is the AS's: its code reaches the page, from the registered ones only.
#[tokio::test]
async fn a_signed_error_reaches_the_page_by_its_registered_code() {
    let bed = Bed::start().await;
    for (sent, told) in [
        ("access_denied", "access_denied"),
        ("login_required", "login_required"),
        ("<script>", "other"),
    ] {
        bed.double.behave(|as_| as_.deny = Some(sent.to_owned()));
        let mut browser = bed.browser();
        let query = bed.response(&mut browser).await;
        let answer = bed.end(&mut browser, &query).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(
            (&body["error_code"], &body["detailed_error"]),
            (&json!("authorization_error"), &json!(told))
        );
        assert_eq!(bed.last_audit("login.end"), ("rejected".to_owned(), told.to_owned()));
    }
    assert_eq!(bed.double.count(Endpoint::Token), 0);
}

/// OIDC-3.1.3.3, OIDC-3.1.3.7-2..11, FAPI2-MS-5.6.2-1, BCP-2.1.1, OIDC-16.11: one token request, no
/// session, and the tokens that came along are given up.
#[tokio::test]
async fn an_id_token_that_breaks_a_rule_makes_no_session_and_its_tokens_are_given_up() {
    const T: Target = Target::IdToken;
    let bed = Bed::start().await;
    let now = fapi_bff::clock::Clock::now(&*bed.clock).as_i64();
    let cases: Vec<(&str, Change)> = vec![
        ("id_token.missing", edit(Target::TokenResponse, edits::remove("id_token"))),
        ("id_token.issuer_missing", edit(T, edits::remove("iss"))),
        ("id_token.issuer_mismatch", edit(T, edits::wrong("iss"))),
        ("id_token.audience_missing", edit(T, edits::remove("aud"))),
        ("id_token.audience_mismatch", edit(T, edits::wrong("aud"))),
        (
            "id_token.audience_untrusted",
            edit(T, edits::set("aud", json!(["bed-client", "bed-client1"]))),
        ),
        ("id_token.azp_mismatch", edit(T, edits::set("azp", json!("other")))),
        ("id_token.subject_missing", edit(T, edits::remove("sub"))),
        ("id_token.subject_invalid", edit(T, edits::set("sub", json!("")))),
        ("id_token.subject_invalid", edit(T, edits::set("sub", json!("a".repeat(256))))),
        ("id_token.claim_type", edit(T, edits::set("sub", json!(7)))),
        ("id_token.expiry_missing", edit(T, edits::remove("exp"))),
        ("id_token.expired", edit(T, placed("exp", now - 360))),
        ("id_token.expired", edit(T, placed("exp", now - 10))),
        ("id_token.issued_at_missing", edit(T, edits::remove("iat"))),
        ("id_token.issued_at_too_old", edit(T, placed("iat", now - 7 * 24 * 3600))),
        ("id_token.issued_at_too_old", edit(T, placed("iat", now - 601))),
        ("id_token.issued_in_future", edit(T, placed("iat", now + 31))),
        ("id_token.nonce_missing", edit(T, edits::remove("nonce"))),
        ("id_token.nonce_mismatch", edit(T, edits::wrong("nonce"))),
        ("id_token.at_hash_mismatch", edit(T, edits::wrong("at_hash"))),
        ("id_token.signature_invalid", tamper(T, Tamper::Flip)),
        ("id_token.signature_invalid", tamper(T, Tamper::WrongKey)),
        ("id_token.alg_not_allowed", tamper(T, Tamper::AlgNone)),
        ("id_token.alg_not_allowed", tamper(T, Tamper::AlternateAlg)),
        ("id_token.alg_not_allowed", header(T, json!({"alg": "HS256"}))),
        ("id_token.typ_not_allowed", header(T, json!({"typ": "logout+jwt"}))),
        ("id_token.typ_not_allowed", header(T, json!({"typ": "oauth-authz-req+jwt"}))),
        ("id_token.kind_mismatch", edit(T, edits::set("events", json!({})))),
        ("id_token.encrypted", tamper(T, Tamper::Rewrite(Arc::new(|_| "a.b.c.d.e".to_owned())))),
        (
            "token.scope_beyond_request",
            edit(Target::TokenResponse, edits::append("scope", " admin")),
        ),
    ];
    for (reason, change) in cases {
        refused(&bed, &change, (502, "authorization_server_error", reason), 1).await;
        crate::support::soon(reason, bed.double.wait_for(Endpoint::Revocation, 2)).await;
    }
}

/// What a careful client must not stumble over.
#[tokio::test]
async fn token_responses_a_client_must_take_are_taken() {
    const R: Target = Target::TokenResponse;
    let bed = Bed::start().await;
    for (what, change) in [
        ("aud as an array of one", edit(Target::IdToken, edits::set("aud", json!(["bed-client"])))),
        ("no at_hash", edit(Target::IdToken, edits::remove("at_hash"))),
        ("exp nine seconds ago", edit(Target::IdToken, shifted("exp", -309))),
        ("no expires_in", edit(R, edits::remove("expires_in"))),
        ("no scope", edit(R, edits::remove("scope"))),
        ("an unknown member", edit(R, edits::set("session_state", json!("x")))),
        ("token_type in other letters", edit(R, edits::set("token_type", json!("bEARER")))),
    ] {
        accepted(&bed, what, &change).await;
    }
}

/// OA-5.1, DPOP-5: a token of another kind is not used.
#[tokio::test]
async fn a_token_of_another_type_is_not_used() {
    let bed = Bed::start().await;
    for kind in ["DPoP", "mac", "", "Bearer "] {
        let change = edit(Target::TokenResponse, edits::set("token_type", json!(kind)));
        let expected = (502, "authorization_server_error", "token.type_mismatch");
        refused(&bed, &change, expected, 1).await;
    }
}

/// FAPI1-ADV-5.2.3-3, OIDC-3.1.3.7-12/13, PAR-7.5, SES-7.6: a login that demanded more than it got
/// is none.
#[tokio::test]
async fn demands_on_the_login_are_checked_in_the_id_token() {
    let demand = "allowed_parameters = [\"acr_values\", \"login_hint\", \"max_age\", \"prompt\", \"scope\", \"ui_locales\"]";
    let edit_toml =
        vec![(demand, "acr_values = [\"urn:gold\"]\nrequire_acr = true\nmax_age = 60".to_owned())];
    let bed = Bed::with(Wish { edit: edit_toml, ..Wish::default() }).await;
    let now = fapi_bff::clock::Clock::now(&*bed.clock).as_i64();
    let with = move |acr: Option<&'static str>, auth_time: Option<i64>| {
        edit(Target::IdToken, move |claims: &mut Object| {
            claims.remove("acr");
            claims.remove("auth_time");
            acr.map(|acr| claims.insert("acr".to_owned(), acr.into()));
            auth_time.map(|time| claims.insert("auth_time".to_owned(), time.into()));
        })
    };
    for (reason, change) in [
        ("id_token.acr_missing", with(None, Some(now))),
        ("id_token.acr_mismatch", with(Some("urn:silver"), Some(now))),
        ("id_token.auth_time_missing", with(Some("urn:gold"), None)),
        ("id_token.auth_too_old", with(Some("urn:gold"), Some(now - 71))),
    ] {
        refused(&bed, &change, (502, "authorization_server_error", reason), 1).await;
    }
    accepted(&bed, "acr reached in time", &with(Some("urn:gold"), Some(now - 60))).await;
}

/// JWK-ROT: a key published just before signing is asked for once and found; a flood of unknown keys
/// makes no flood of requests.
#[tokio::test]
async fn a_new_key_is_fetched_once_and_unknown_keys_make_no_flood() {
    let bed = Bed::start().await;
    bed.login(&mut bed.browser()).await;
    assert_eq!(bed.double.count(Endpoint::Jwks), 1);
    bed.double.rotate_keys(false).unwrap();
    bed.login(&mut bed.browser()).await;
    assert_eq!(bed.double.count(Endpoint::Jwks), 2);
    for kid in 0..20 {
        let change = header(Target::Jarm, json!({"kid": format!("k{kid}")}));
        bed.double.behave(|as_| change(as_));
        let mut browser = bed.browser();
        let query = bed.response(&mut browser).await;
        bed.end(&mut browser, &query).await.expect(400).unwrap();
        assert_eq!(bed.last_audit("login.end").1, "jarm.key_unknown");
    }
    assert_eq!(bed.double.count(Endpoint::Jwks), 2, "within the cooldown");
    bed.clock.advance(10);
    bed.double.rotate_keys(false).unwrap();
    bed.login(&mut bed.browser()).await;
    assert_eq!(bed.double.count(Endpoint::Jwks), 3);
}

/// FAPI2-SP-5.4.3: other keys under the same `kid` neither disturb nor help.
#[tokio::test]
async fn decoy_keys_under_the_same_kid_do_not_disturb() {
    let bed = Bed::start().await;
    bed.double.behave(|as_| as_.decoy_keys = true);
    bed.login(&mut bed.browser()).await;
}

/// META-3.3, FAPI2-SP-5.3.3.1-11, PKJ-MIX: metadata of another issuer is no metadata, and nothing
/// is sent to the endpoints it names.
#[tokio::test]
async fn metadata_of_another_issuer_sends_nothing_anywhere() {
    for (before, reason) in [
        (
            (|double: &fapi_bff_conformance::as_double::AsDouble| {
                double.behave(|as_| as_.issuer_suffix = "INVALID".to_owned());
            }) as fn(&_),
            "metadata.issuer_mismatch",
        ),
        (
            |double| {
                double.behave(|as_| {
                    as_.edit(Target::Metadata, edits::remove("code_challenge_methods_supported"));
                });
            },
            "metadata.s256_missing",
        ),
    ] {
        let bed = Bed::with(Wish { before: Some(before), ..Wish::default() }).await;
        let answer = bed.browser().fetch(Call::post("/bff/login/start")).await.unwrap();
        assert_eq!(refusal(&answer), (502, "authorization_server_error".to_owned()));
        assert_eq!(bed.last_audit("login.start").1, reason);
        assert_eq!(bed.double.count(Endpoint::Par), 0);
    }
}

/// OIDC-5.3.2: claims about somebody else are discarded whole.
#[tokio::test]
async fn userinfo_about_somebody_else_is_discarded() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    for change in [
        edit(Target::Userinfo, edits::wrong("sub")),
        edit(Target::Userinfo, edits::remove("sub")),
        Box::new(|as_: &mut Behaviour| {
            as_.fault(Endpoint::Userinfo, Fault::ContentType("text/html".to_owned()).once());
        }),
    ] {
        bed.double.behave(|as_| change(as_));
        let answer = browser.fetch(Call::get("/bff/userinfo")).await.unwrap();
        assert_eq!(refusal(&answer), (502, "authorization_server_error".to_owned()));
    }
    let claims = browser.fetch(Call::get("/bff/userinfo")).await.unwrap().expect(200).unwrap();
    assert_eq!(claims.json().unwrap()["sub"], "alice");
}
