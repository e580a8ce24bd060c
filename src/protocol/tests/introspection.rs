//! RFC 9701: the answer is believed only as a whole and only as what it is.

use super::*;
use crate::protocol::{
    Answer, BoundTo, Introspected, IntrospectionExpected, introspection_token, verify_introspection,
};

const TYP: &str = "token-introspection+jwt";

fn good() -> Value {
    json!({"iss": ISSUER, "aud": CLIENT, "iat": NOW,
        "token_introspection": {"active": true, "client_id": CLIENT, "sub": "alice", "exp": NOW + 60}})
}

fn set(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn state(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims["token_introspection"][name] = value;
    claims
}

fn without(path: &[&str]) -> Value {
    let mut claims = good();
    let (last, parents) = path.split_last().unwrap();
    let mut place = &mut claims;
    for parent in parents {
        place = &mut place[*parent];
    }
    place.as_object_mut().unwrap().remove(*last);
    claims
}

fn judge(token: &str) -> Result<Introspected, &'static str> {
    judge_bound(token, BoundTo::Certificate("bwcK"))
}

fn judge_bound(token: &str, bound_to: BoundTo<'_>) -> Result<Introspected, &'static str> {
    let expected = IntrospectionExpected {
        issuer: ISSUER,
        client_id: CLIENT,
        algs: FAPI,
        bound_to,
        now: now(),
        exp_leeway: LEEWAY,
        future_tolerance: TOLERANCE,
    };
    verify_introspection(token, &KEYS, &expected).map_err(|rejected| rejected.reason())
}

fn signed(claims: &Value) -> String {
    token_by(&ES256, JwsAlg::Es256, Some(TYP), claims)
}

#[track_caller]
fn refused(claims: &Value, reason: &str) {
    assert_eq!(judge(&signed(claims)).unwrap_err(), reason, "{claims}");
}

/// INT-9701-5, INT-2.
#[test]
fn an_active_answer_for_us_is_handed_on_word_for_word() {
    let token = signed(&good());
    let accepted = judge(&token).unwrap();
    assert_eq!(accepted.jwt.expose(), token);
    assert_eq!(accepted.expires, Some(now().plus(60)));
    assert!(judge(&signed(&without(&["token_introspection", "client_id"]))).is_ok());
    let typ = Some("application/token-introspection+jwt");
    assert!(judge(&token_by(&PS256, JwsAlg::Ps256, typ, &good())).is_ok());
}

/// INT-2, SES-7.4: it vouches for a minute, and never for longer than the token lives.
#[test]
fn an_answer_is_handed_on_for_a_minute_at_most() {
    let until = |claims: &Value| judge(&signed(claims)).unwrap().expires.unwrap().since(now());
    for (iat, exp, expected) in [
        (NOW, Some(NOW + 3600), 60),
        (NOW, Some(NOW + 30), 30),
        (NOW, None, 60),
        (NOW - 45, Some(NOW + 3600), 15),
        (NOW - 60, None, 0),
    ] {
        let mut claims = set("iat", json!(iat));
        claims["token_introspection"]["exp"] = json!(exp);
        if exp.is_none() {
            claims["token_introspection"].as_object_mut().unwrap().remove("exp");
        }
        assert_eq!(until(&claims), expected, "{iat} {exp:?}");
    }
}

/// MTLS-3, DPOP-5: a confirmation in the answer is the session's.
#[test]
fn a_token_bound_to_something_else_is_refused() {
    let (certificate, key) = (BoundTo::Certificate("bwcK"), BoundTo::Key("0Zco"));
    let verdict = |cnf: Value, bound_to| judge_bound(&signed(&state("cnf", cnf)), bound_to).err();
    let mismatch = Some("introspection.binding_mismatch");
    for (cnf, bound_to, expected) in [
        (json!({"x5t#S256": "bwcK"}), certificate, None),
        (json!({"x5t#S256": "other"}), certificate, mismatch),
        (json!({"x5t#S256": ["bwcK"]}), certificate, mismatch),
        (json!({"jkt": "0Zco"}), certificate, mismatch),
        (json!({"jkt": "0Zco"}), key, None),
        (json!({"jkt": "0zco"}), key, mismatch),
        (json!({"jkt": null}), key, mismatch),
        (json!({"x5t#S256": "bwcK"}), key, mismatch),
        (json!({}), key, mismatch),
        (json!("0Zco"), key, mismatch),
        (json!(null), certificate, mismatch),
        (json!({"jkt": "0Zco"}), BoundTo::Nothing, None),
    ] {
        assert_eq!(verdict(cnf.clone(), bound_to), expected, "{cnf} {bound_to:?}");
    }
    for bound_to in [certificate, key, BoundTo::Nothing] {
        assert!(judge_bound(&signed(&good()), bound_to).is_ok(), "{bound_to:?}");
    }
}

/// INT-9701-5: every claim missing, wrong, of another type, and at its second.
#[test]
fn every_claim_is_demanded() {
    for (claims, reason) in [
        (without(&["iss"]), "introspection.issuer_missing"),
        (set("iss", json!("https://as.example/t")), "introspection.issuer_mismatch"),
        (set("iss", json!([ISSUER])), "introspection.claim_type"),
        (without(&["aud"]), "introspection.audience_missing"),
        (set("aud", json!("other")), "introspection.audience_mismatch"),
        (set("aud", json!([CLIENT, "other"])), "introspection.audience_mismatch"),
        (set("aud", json!([])), "introspection.claim_type"),
        (set("aud", json!(7)), "introspection.claim_type"),
        (without(&["iat"]), "introspection.issued_at_missing"),
        (set("iat", json!("now")), "introspection.claim_type"),
        (set("iat", json!(NOW + TOLERANCE + 1)), "introspection.issued_in_future"),
        (set("iat", json!(NOW - 61)), "introspection.stale"),
        (set("active", json!(true)), "introspection.state_outside"),
        (without(&["token_introspection"]), "introspection.state_missing"),
        (set("token_introspection", json!("active")), "introspection.claim_type"),
        (set("token_introspection", json!(null)), "introspection.claim_type"),
        (without(&["token_introspection", "active"]), "introspection.inactive"),
        (state("active", json!(false)), "introspection.inactive"),
        (state("active", json!("true")), "introspection.claim_type"),
        (state("active", json!(1)), "introspection.claim_type"),
        (state("active", json!(null)), "introspection.claim_type"),
        (state("client_id", json!("other")), "introspection.client_mismatch"),
        (state("client_id", json!(null)), "introspection.claim_type"),
        (state("exp", json!(NOW - LEEWAY)), "introspection.expired"),
        (state("exp", json!("soon")), "introspection.claim_type"),
    ] {
        refused(&claims, reason);
    }
    for claims in [
        set("iat", json!(NOW + TOLERANCE)),
        set("iat", json!(NOW - 60)),
        set("aud", json!([CLIENT])),
        state("exp", json!(NOW - LEEWAY + 1)),
    ] {
        assert!(judge(&signed(&claims)).is_ok(), "{claims}");
    }
}

/// JWT-3.11: nothing else the server signs passes for it.
#[test]
fn the_type_is_demanded() {
    for typ in [None, Some("JWT"), Some("at+jwt"), Some("token-introspection"), Some("")] {
        let token = token_by(&ES256, JwsAlg::Es256, typ, &good());
        assert_eq!(judge(&token).unwrap_err(), "introspection.typ_not_allowed", "{typ:?}");
    }
    let stranger = token_by(&STRANGER, JwsAlg::Es256, Some(TYP), &good());
    assert_eq!(judge(&stranger).unwrap_err(), "introspection.key_unknown");
    let mut forged = signed(&good());
    forged.replace_range(forged.len() - 4.., "AAAA");
    assert_eq!(judge(&forged).unwrap_err(), "introspection.signature_invalid");
    assert_eq!(judge("a.b.c.d.e").unwrap_err(), "introspection.encrypted");
}

/// FAPI2-MS-5.5.2, INT-9701-4.
#[test]
fn plain_json_is_no_answer() {
    const SIGNED: Option<&str> = Some("application/token-introspection+jwt");
    let judge = |status, content_type, body: &'static str| {
        let answer = Answer { status, content_type, retry_after: None, body: body.as_bytes() };
        introspection_token(&answer).map_err(|error| error.reason())
    };
    assert_eq!(judge(200, SIGNED, "a.b.c"), Ok("a.b.c"));
    let parameters = Some("Application/Token-Introspection+JWT; charset=utf-8");
    assert_eq!(judge(200, parameters, "a.b.c"), Ok("a.b.c"));
    for content_type in [
        Some("application/json"),
        Some("application/jwt"),
        Some("application/token-introspection+jwtx"),
        None,
    ] {
        let refused = judge(200, content_type, r#"{"active":true}"#);
        assert_eq!(refused, Err("introspection.content_type"), "{content_type:?}");
    }
    assert_eq!(judge(204, SIGNED, ""), Err("as_answer.status_unexpected"));
    assert_eq!(judge(503, SIGNED, "a.b.c"), Err("as.unavailable"));
    let error = r#"{"error":"invalid_client"}"#;
    assert_eq!(judge(401, Some("application/json"), error), Err("as.rejected"));
}
