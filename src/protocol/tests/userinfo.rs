//! Signed userinfo answers, against OpenID Connect Core §5.3.2 and §5.3.4.

use serde_json::{Value, json};

use super::*;
use crate::protocol::{Answer, UserinfoExpected, signed_userinfo, userinfo_token};

fn good() -> Value {
    json!({"iss": ISSUER, "aud": CLIENT, "sub": "alice", "name": "Älice"})
}

fn expected() -> UserinfoExpected<'static> {
    UserinfoExpected {
        issuer: ISSUER,
        client_id: CLIENT,
        alg: JwsAlg::Es256,
        encryption: None,
        now: now(),
        exp_leeway: LEEWAY,
        future_tolerance: TOLERANCE,
    }
}

fn judge(token: &str) -> Result<Map<String, Value>, &'static str> {
    signed_userinfo(token, &KEYS, "alice", &expected()).map_err(|rejected| rejected.reason())
}

#[test]
fn a_good_answer_is_accepted() {
    assert_eq!(judge(&token(&good())).unwrap()["name"], "Älice");
    for (name, value) in [
        ("aud", json!([CLIENT])),
        ("exp", json!(NOW + 1 - LEEWAY)),
        ("iat", json!(NOW + TOLERANCE)),
        ("nbf", json!(NOW + TOLERANCE)),
    ] {
        assert!(judge(&token(&with(good(), name, value))).is_ok(), "{name}");
    }
}

/// OIDC-5.3.2-sig: signed with the registered algorithm, by the server.
#[test]
fn broken_protection_is_refused() {
    for (token, reason) in badly_protected(&good()) {
        assert_eq!(judge(&token).unwrap_err(), format!("userinfo.{reason}"), "{token}");
    }
    let other = token_by(&PS256, JwsAlg::Ps256, None, &good());
    assert_eq!(judge(&other), Err("userinfo.alg_not_allowed"));
}

#[test]
fn who_says_it_to_whom_about_whom_must_be_right() {
    for (name, reason) in [
        ("iss", "userinfo.issuer_missing"),
        ("aud", "userinfo.audience_missing"),
        ("sub", "userinfo.subject_missing"),
    ] {
        assert_eq!(judge(&token(&without(good(), name))), Err(reason));
    }
    for wrong in near_misses(ISSUER) {
        let refused = judge(&token(&with(good(), "iss", wrong.as_str())));
        assert_eq!(refused, Err("userinfo.issuer_mismatch"), "{wrong}");
    }
    for wrong in [json!("other"), json!([CLIENT, "other"]), json!(["other"])] {
        let refused = judge(&token(&with(good(), "aud", wrong.clone())));
        assert_eq!(refused, Err("userinfo.audience_mismatch"), "{wrong}");
    }
    for wrong in near_misses("alice") {
        let refused = judge(&token(&with(good(), "sub", wrong.as_str())));
        assert_eq!(refused, Err("userinfo.subject_mismatch"), "{wrong}");
    }
    for (name, reason) in [("iss", "userinfo.claim_type"), ("sub", "userinfo.subject_type")] {
        for value in not_strings() {
            assert_eq!(judge(&token(&with(good(), name, value))), Err(reason), "{name}");
        }
    }
}

#[test]
fn times_are_judged_where_they_are_given() {
    for (name, at, reason) in [
        ("exp", NOW - LEEWAY, "userinfo.expired"),
        ("iat", NOW + TOLERANCE + 1, "userinfo.issued_in_future"),
        ("nbf", NOW + TOLERANCE + 1, "userinfo.not_yet_valid"),
    ] {
        assert_eq!(judge(&token(&with(good(), name, at))), Err(reason));
        for value in not_times() {
            let refused = judge(&token(&with(good(), name, value)));
            assert_eq!(refused, Err("userinfo.claim_type"), "{name}");
        }
    }
}

/// JWT-3.12: an ID token of the same user for the same client is no userinfo answer.
#[test]
fn no_other_kind_is_a_userinfo_answer() {
    assert_eq!(judge(&token(&id_token::good())), Err("userinfo.kind_mismatch"));
    for name in ["nonce", "at_hash", "c_hash", "s_hash", "events", "token_introspection", "htm"] {
        let refused = judge(&token(&with(good(), name, Value::Null)));
        assert_eq!(refused, Err("userinfo.kind_mismatch"), "{name}");
    }
    for typ in ["at+jwt", "logout+jwt", "token-introspection+jwt", "oauth-authz-req+jwt"] {
        let typed = token_by(&ES256, JwsAlg::Es256, Some(typ), &good());
        assert_eq!(judge(&typed), Err("userinfo.typ_not_allowed"), "{typ}");
    }
}

/// OIDC-5.3.2: plain JSON where a signed answer was registered is refused.
#[test]
fn only_a_signed_answer_is_taken_for_one() {
    let read = |status, content_type: Option<&str>, body: &[u8]| {
        userinfo_token(&Answer { status, content_type, retry_after: None, body })
            .map(str::to_owned)
            .map_err(|error| error.reason())
    };
    for content_type in ["application/jwt", "Application/JWT; charset=utf-8"] {
        assert_eq!(read(200, Some(content_type), b"a.b.c").unwrap(), "a.b.c");
    }
    for other in [None, Some("application/json"), Some("text/plain"), Some("application/jwt2")] {
        assert_eq!(read(200, other, b"a.b.c"), Err("userinfo.content_type"), "{other:?}");
    }
    assert_eq!(read(200, Some("application/jwt"), b"\xff"), Err("userinfo.malformed"));
    assert_eq!(read(401, None, b""), Err("userinfo.token_refused"));
    assert_eq!(read(503, None, b""), Err("as.unavailable"));
    assert_eq!(read(302, None, b""), Err("as_answer.redirect"));
    assert_eq!(read(204, None, b""), Err("as_answer.status_unexpected"));
}
