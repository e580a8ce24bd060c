//! Logout tokens, against OpenID Connect Back-Channel Logout §2.4 and §2.6.

use serde_json::{Value, json};

use super::*;
use crate::protocol::{
    LogoutTokenExpected, LogoutTokenRejected, VerifiedLogoutToken, logout_token_in,
    verify_logout_token,
};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const TYP: Option<&str> = Some("logout+jwt");

pub(super) fn good() -> Value {
    json!({
        "iss": ISSUER, "aud": CLIENT, "iat": NOW, "exp": NOW + 120, "jti": "jti-1",
        "sub": "alice", "sid": "session-1", "events": {EVENT: {}}
    })
}

pub(super) fn expected() -> LogoutTokenExpected<'static> {
    LogoutTokenExpected {
        issuer: ISSUER,
        client_id: CLIENT,
        algs: FAPI,
        encryption: None,
        typ_required: true,
        now: now(),
        exp_leeway: LEEWAY,
        future_tolerance: TOLERANCE,
    }
}

fn typed(claims: &Value) -> String {
    token_by(&ES256, JwsAlg::Es256, TYP, claims)
}

fn verify(token: &str) -> Result<VerifiedLogoutToken, LogoutTokenRejected> {
    verify_logout_token(token, &KEYS, &expected())
}

/// The reason for refusing these claims under the right type.
fn refused(claims: &Value) -> &'static str {
    verify(&typed(claims)).expect_err(&claims.to_string()).reason()
}

fn verdict(token: &str, typ_required: bool) -> Result<(), &'static str> {
    let expected = LogoutTokenExpected { typ_required, ..expected() };
    verify_logout_token(token, &KEYS, &expected).map(drop).map_err(|rejected| rejected.reason())
}

/// BCL-2.6-1/2, BCL-2.6-4.
#[test]
fn a_good_token_is_accepted_and_tells_whom_it_ends() {
    let verified = verify(&typed(&good())).unwrap();
    assert_eq!((verified.subject(), verified.sid()), (Some("alice"), Some("session-1")));
    assert_eq!((verified.jti(), verified.expires()), ("jti-1", UnixTime::new(NOW + 120)));
    let shown = format!("{verified:?}");
    assert!(!shown.contains("alice") && !shown.contains("session-1") && !shown.contains("jti-1"));
    for (key, alg) in [(&PS256, JwsAlg::Ps256), (&EDDSA, JwsAlg::EdDsa), (&EDDSA, JwsAlg::Ed25519)]
    {
        assert!(verify(&token_by(key, alg, TYP, &good())).is_ok(), "{alg:?}");
    }
    let only_subject = verify(&typed(&without(good(), "sid"))).unwrap();
    assert_eq!((only_subject.subject(), only_subject.sid()), (Some("alice"), None));
    let only_sid = verify(&typed(&without(good(), "sub"))).unwrap();
    assert_eq!((only_sid.subject(), only_sid.sid()), (None, Some("session-1")));
    assert_eq!(refused(&without(without(good(), "sub"), "sid")), "logout_token.nobody_named");
    // What is not known is ignored (the suite adds such a claim).
    assert!(verify(&typed(&with(good(), "unknown", json!({"a": 1})))).is_ok());
    assert!(verify(&typed(&with(good(), "aud", json!([CLIENT])))).is_ok());
}

/// BCL-2.6-1/2: the suite's alg-none and wrong-alg, and all else that breaks an ID token's protection.
#[test]
fn broken_protection_is_refused() {
    for (token, reason) in badly_protected(&good()) {
        assert_eq!(verdict(&token, false), Err(&*format!("logout_token.{reason}")), "{token}");
        assert!(verdict(&token, true).is_err(), "{token}");
    }
    let pinned = LogoutTokenExpected { algs: &[JwsAlg::Ps256], ..expected() };
    let refused = verify_logout_token(&typed(&good()), &KEYS, &pinned).unwrap_err();
    assert_eq!(refused, LogoutTokenRejected::AlgNotAllowed);
    let by_trap = token_by(&TRAP, JwsAlg::Rs256, TYP, &good());
    assert_eq!(verdict(&by_trap, true), Err("logout_token.alg_not_allowed"));
    let by_stranger = token_by(&STRANGER, JwsAlg::Es256, TYP, &good());
    let refused = verify(&by_stranger).unwrap_err();
    assert!(refused.may_be_new_key(), "{refused}");
}

/// BCL-4.1: a missing type is a setting's to permit, another one nobody's.
#[test]
fn the_type_is_logout_jwt_or_by_permission_absent() {
    let not_allowed = Err("logout_token.typ_not_allowed");
    for (typ, required, lax) in [
        (TYP, Ok(()), Ok(())),
        (Some("application/logout+jwt"), Ok(()), Ok(())),
        (Some("Logout+JWT"), Ok(()), Ok(())),
        (None, not_allowed, Ok(())),
        (Some("JWT"), not_allowed, not_allowed),
        (Some("secevent+jwt"), not_allowed, not_allowed),
        (Some("at+jwt"), not_allowed, not_allowed),
        (Some("logout"), not_allowed, not_allowed),
        (Some(""), not_allowed, not_allowed),
    ] {
        let token = token_by(&ES256, JwsAlg::Es256, typ, &good());
        assert_eq!(verdict(&token, true), required, "{typ:?}");
        assert_eq!(verdict(&token, false), lax, "{typ:?}");
    }
}

/// BCL-2.6-3, BCL-2.6-5, BCL-2.6-7.
#[test]
fn every_required_claim_must_be_there() {
    for (name, reason) in [
        ("iss", "logout_token.issuer_missing"),
        ("aud", "logout_token.audience_missing"),
        ("exp", "logout_token.expiry_missing"),
        ("iat", "logout_token.issued_at_missing"),
        ("jti", "logout_token.jti_missing"),
        ("events", "logout_token.events_missing"),
    ] {
        assert_eq!(refused(&without(good(), name)), reason);
    }
}

#[test]
fn every_claim_must_have_its_type() {
    let refused = |claims: &Value| verify(&typed(claims)).unwrap_err();
    for name in ["iss", "jti", "sub", "sid"] {
        for value in not_strings() {
            let found = refused(&with(good(), name, value.clone()));
            assert_eq!(found, LogoutTokenRejected::ClaimType(name), "{name} {value}");
        }
    }
    for name in ["exp", "iat", "nbf"] {
        for value in not_times() {
            let found = refused(&with(good(), name, value.clone()));
            assert_eq!(found, LogoutTokenRejected::ClaimType(name), "{name} {value}");
        }
    }
    for value in [json!(null), json!(1), json!({}), json!([]), json!([1]), json!([CLIENT, null])] {
        let found = refused(&with(good(), "aud", value.clone()));
        assert_eq!(found, LogoutTokenRejected::ClaimType("aud"), "{value}");
    }
    for value in [json!(null), json!(1), json!(EVENT), json!([]), json!([EVENT]), json!([{}])] {
        let found = refused(&with(good(), "events", value.clone()));
        assert_eq!(found, LogoutTokenRejected::ClaimType("events"), "{value}");
    }
}

/// BCL-2.6-5: the suite's no-event and wrong-event; a string is no event.
#[test]
fn the_event_is_a_back_channel_logout_and_an_object() {
    for wrong in near_misses(EVENT) {
        let claims = with(good(), "events", json!({ wrong.clone(): {} }));
        assert_eq!(refused(&claims), "logout_token.event_missing", "{wrong}");
    }
    assert_eq!(refused(&with(good(), "events", json!({}))), "logout_token.event_missing");
    for value in [json!(null), json!(true), json!(1), json!(""), json!("{}"), json!([])] {
        let claims = with(good(), "events", json!({ EVENT: value.clone() }));
        assert_eq!(refused(&claims), "logout_token.event_invalid", "{value}");
    }
    let beside = json!({ EVENT: {"any": "thing"}, "https://as.example/other": 1 });
    assert!(verify(&typed(&with(good(), "events", beside))).is_ok());
}

/// BCL-2.6-6: the suite's with-nonce; `null` is one, too.
#[test]
fn a_nonce_is_forbidden_whatever_it_is() {
    for nonce in [json!(NONCE), json!(""), json!(null), json!(0)] {
        let claims = with(good(), "nonce", nonce);
        assert_eq!(refused(&claims), "logout_token.nonce_present");
    }
}

#[test]
fn a_claim_occurs_once() {
    for name in ["iss", "sub", "sid", "aud", "exp", "iat", "jti", "events"] {
        for value in [&good()[name], &json!("other")] {
            let token = token_over(&with_duplicate(&good(), name, value));
            assert_eq!(verdict(&token, false), Err("logout_token.duplicate_member"), "{name}");
        }
    }
    let twice = good().to_string().replace("{}", &format!("{{}},\"{EVENT}\":{{}}"));
    let refused = verdict(&token_over(&twice), false);
    assert_eq!(refused, Err("logout_token.duplicate_member"), "{twice}");
}

/// BCL-2.6-3: the suite's wrong-iss and wrong-aud.
#[test]
fn issuer_and_audience_are_exactly_those_of_the_client() {
    for wrong in near_misses(ISSUER) {
        assert_eq!(refused(&with(good(), "iss", wrong)), "logout_token.issuer_mismatch");
    }
    for wrong in near_misses(CLIENT) {
        assert_eq!(refused(&with(good(), "aud", wrong)), "logout_token.audience_mismatch");
    }
    for wrong in [json!([CLIENT, "bff1"]), json!(["bff1", CLIENT]), json!([CLIENT, CLIENT])] {
        assert_eq!(refused(&with(good(), "aud", wrong)), "logout_token.audience_untrusted");
    }
    let others = with(good(), "aud", json!(["bff1", "bff2"]));
    assert_eq!(refused(&others), "logout_token.audience_mismatch");
}

/// BCL-2.6-3, CLK-1, FAPI2-SP-5.3.2.1-13: each time at its second.
#[test]
fn times_at_their_boundaries() {
    const MOST: i64 = 600;
    for (name, time, reason) in [
        ("exp", NOW + 1, None),
        ("exp", NOW - LEEWAY + 1, None),
        ("exp", NOW - LEEWAY, Some("logout_token.expired")),
        ("exp", NOW - LEEWAY - 1, Some("logout_token.expired")),
        ("exp", 0, Some("logout_token.expired")),
        ("exp", NOW + MOST - 1, None),
        ("exp", NOW + MOST, None),
        ("exp", NOW + MOST + 1, Some("logout_token.lifetime_too_long")),
        ("exp", 253_402_300_799, Some("logout_token.lifetime_too_long")),
        ("iat", NOW - MOST + 120, None),
        ("iat", NOW - MOST + 119, Some("logout_token.lifetime_too_long")),
        ("iat", 0, Some("logout_token.lifetime_too_long")),
        ("iat", NOW + TOLERANCE - 1, None),
        ("iat", NOW + TOLERANCE, None),
        ("iat", NOW + TOLERANCE + 1, Some("logout_token.issued_in_future")),
        ("iat", NOW + 61, Some("logout_token.issued_in_future")),
        ("nbf", NOW + TOLERANCE, None),
        ("nbf", NOW + TOLERANCE + 1, Some("logout_token.not_yet_valid")),
        ("nbf", 0, None),
    ] {
        let verdict = verdict(&typed(&with(good(), name, time)), true).err();
        assert_eq!(verdict, reason, "{name} {}", time - NOW);
    }
}

#[test]
fn names_are_sound() {
    let longest = "a".repeat(255);
    assert!(verify(&typed(&with(good(), "sub", longest.as_str()))).is_ok());
    for wrong in [String::new(), format!("{longest}a"), "\u{e9}ve".to_owned()] {
        assert_eq!(refused(&with(good(), "sub", wrong)), "logout_token.subject_invalid");
    }
    assert_eq!(refused(&with(good(), "sid", "")), "logout_token.sid_invalid");
    assert_eq!(refused(&with(good(), "jti", "")), "logout_token.jti_invalid");
}

/// JWT-3.12, BCL-4.1: an ID token ends nobody's session, typed or not.
#[test]
fn an_id_token_is_no_logout_token() {
    let id_token = with(with(id_token::good(), "sid", "session-1"), "jti", "jti-1");
    for typ in [Some("JWT"), None] {
        let token = token_by(&ES256, JwsAlg::Es256, typ, &id_token);
        assert_eq!(verdict(&token, true), Err("logout_token.typ_not_allowed"));
    }
    assert_eq!(verdict(&token(&id_token), false), Err("logout_token.nonce_present"));
    let refreshed = without(id_token, "nonce");
    assert_eq!(verdict(&token(&refreshed), false), Err("logout_token.events_missing"));
}

/// BCL-2.5: exactly one, among whatever else.
#[test]
fn a_form_holds_one_logout_token() {
    let missing = Err(LogoutTokenRejected::Missing);
    let repeated = Err(LogoutTokenRejected::Repeated);
    for (form, expected) in [
        ("logout_token=a.b.c", Ok("a.b.c".to_owned())),
        ("x=1&logout_token=a.b.c&y=logout_token", Ok("a.b.c".to_owned())),
        ("logout%5Ftoken=a.b.c", Ok("a.b.c".to_owned())),
        ("logout_token=", Ok(String::new())),
        ("", missing.clone()),
        ("Logout_Token=a.b.c", missing.clone()),
        ("{\"logout_token\":\"a.b.c\"}", missing),
        ("logout_token=a.b.c&logout_token=a.b.c", repeated.clone()),
        ("logout_token=a.b.c&logout%5Ftoken=", repeated),
    ] {
        assert_eq!(logout_token_in(form.as_bytes()), expected, "{form}");
    }
}
