//! ID tokens, against OpenID Connect Core §3.1.3.7 and §12.2.

use serde_json::{Value, json};

use super::*;
use crate::protocol::{
    ConsentClaim, IdTokenExpected, IdTokenRejected, VerifiedIdToken, verify_id_token,
    verify_refreshed_id_token,
};

/// The access token of OpenID Connect Core appendix A.3, and its hash under SHA-256.
const ACCESS_TOKEN: &str = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
const AT_HASH: &str = "77QmUPtjPfzWtF2AnpK9RQ";

pub(super) fn good() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "aud": CLIENT, "exp": NOW + 300, "iat": NOW, "nonce": NONCE})
}

pub(super) fn expected() -> IdTokenExpected<'static> {
    IdTokenExpected {
        issuer: ISSUER,
        client_id: CLIENT,
        algs: FAPI,
        encryption: None,
        now: now(),
        exp_leeway: LEEWAY,
        future_tolerance: TOLERANCE,
        access_token: Some(ACCESS_TOKEN),
        subject: None,
        max_age: None,
        required_acr: &[],
        consent: None,
    }
}

fn verify(token: &str) -> Result<VerifiedIdToken, IdTokenRejected> {
    verify_id_token(Some(token), &KEYS, NONCE, &expected())
}

/// The reason for refusing this token.
pub(super) fn refused(token: &str) -> &'static str {
    verify(token).expect_err(token).reason()
}

fn verdict(claims: &Value, expected: &IdTokenExpected<'_>) -> Result<(), &'static str> {
    verify_id_token(Some(&token(claims)), &KEYS, NONCE, expected)
        .map(drop)
        .map_err(|rejected| rejected.reason())
}

#[test]
fn a_good_token_is_accepted_and_tells_who_it_is_about() {
    let full = [
        ("sid", json!("s1")),
        ("acr", json!("high")),
        ("auth_time", json!(NOW - 5)),
        ("azp", json!(CLIENT)),
    ];
    let claims = full.into_iter().fold(good(), |claims, (name, value)| with(claims, name, value));
    let verified = verify(&token(&claims)).unwrap();
    assert_eq!((verified.issuer(), verified.subject()), (ISSUER, "alice"));
    assert_eq!((verified.sid(), verified.acr()), (Some("s1"), Some("high")));
    assert_eq!(verified.auth_time(), Some(UnixTime::new(NOW - 5)));
    assert_eq!((verified.expires(), verified.issued_at()), (UnixTime::new(NOW + 300), now()));
    assert_eq!(verified.claims().as_map(), object(&claims));
    for (key, alg) in [
        (&ES256, JwsAlg::Es256),
        (&PS256, JwsAlg::Ps256),
        (&EDDSA, JwsAlg::EdDsa),
        (&EDDSA, JwsAlg::Ed25519),
    ] {
        for typ in [None, Some("JWT"), Some("application/JWT")] {
            assert!(verify(&token_by(key, alg, typ, &good())).is_ok(), "{alg:?} {typ:?}");
        }
    }
    // The suite's valid-aud-as-array.
    assert!(verify(&token(&with(good(), "aud", json!([CLIENT])))).is_ok());
}

/// OIDC-3.1.3.3: no ID token, no login.
#[test]
fn an_absent_token_is_refused() {
    let refused = verify_id_token(None, &KEYS, NONCE, &expected()).unwrap_err();
    assert_eq!(refused, IdTokenRejected::Missing);
}

/// FAPI2-MS-5.6.2-1, OIDC-3.1.3.7-6/7/8.
#[test]
fn broken_protection_is_refused() {
    for (token, reason) in badly_protected(&good()) {
        assert_eq!(refused(&token), format!("id_token.{reason}"), "{token}");
    }
    let pinned = IdTokenExpected { algs: &[JwsAlg::Ps256], ..expected() };
    assert_eq!(verdict(&good(), &pinned), Err("id_token.alg_not_allowed"));
}

#[test]
fn every_required_claim_must_be_there() {
    for (name, reason) in [
        ("iss", "id_token.issuer_missing"),
        ("sub", "id_token.subject_missing"),
        ("aud", "id_token.audience_missing"),
        ("exp", "id_token.expiry_missing"),
        ("iat", "id_token.issued_at_missing"),
        ("nonce", "id_token.nonce_missing"),
    ] {
        assert_eq!(refused(&token(&without(good(), name))), reason);
    }
}

#[test]
fn every_claim_must_have_its_type() {
    let refused = |claims: &Value| verify(&token(claims)).unwrap_err();
    for name in ["iss", "sub", "nonce", "azp", "at_hash", "acr", "sid"] {
        for value in not_strings() {
            assert_eq!(
                refused(&with(good(), name, value.clone())),
                IdTokenRejected::ClaimType(name),
                "{name} {value}"
            );
        }
    }
    for name in ["exp", "iat", "nbf", "auth_time"] {
        for value in not_times() {
            assert_eq!(
                refused(&with(good(), name, value.clone())),
                IdTokenRejected::ClaimType(name),
                "{name} {value}"
            );
        }
    }
    for value in [json!(null), json!(1), json!({}), json!([]), json!([1]), json!([CLIENT, null])] {
        assert_eq!(
            refused(&with(good(), "aud", value.clone())),
            IdTokenRejected::ClaimType("aud"),
            "{value}"
        );
    }
}

#[test]
fn a_claim_occurs_once() {
    for name in ["iss", "sub", "aud", "exp", "iat", "nonce"] {
        for value in [&good()[name], &json!("other")] {
            let token = token_over(&with_duplicate(&good(), name, value));
            assert_eq!(refused(&token), "id_token.duplicate_member", "{name}");
        }
    }
}

/// OIDC-3.1.3.7-2..5, OIDC-3.1.3.7-11.
#[test]
fn identifiers_are_exactly_those_expected() {
    for (name, right, reason) in [
        ("iss", ISSUER, "id_token.issuer_mismatch"),
        ("aud", CLIENT, "id_token.audience_mismatch"),
        ("azp", CLIENT, "id_token.azp_mismatch"),
        ("nonce", NONCE, "id_token.nonce_mismatch"),
    ] {
        for wrong in near_misses(right) {
            assert_eq!(
                refused(&token(&with(good(), name, wrong.as_str()))),
                reason,
                "{name} {wrong}"
            );
        }
    }
    assert_eq!(refused(&token(&with(good(), "nonce", "null1"))), "id_token.nonce_mismatch");
}

/// OIDC-3.1.3.7-3; the suite's invalid-secondary-aud.
#[test]
fn an_extra_audience_is_not_trusted_even_with_azp() {
    for wrong in [json!([CLIENT, "bff1"]), json!(["bff1", CLIENT]), json!([CLIENT, CLIENT])] {
        let claims = with(good(), "aud", wrong);
        assert_eq!(refused(&token(&claims)), "id_token.audience_untrusted");
        assert_eq!(refused(&token(&with(claims, "azp", CLIENT))), "id_token.audience_untrusted");
    }
    assert_eq!(
        refused(&token(&with(good(), "aud", json!(["bff1", "bff2"])))),
        "id_token.audience_mismatch"
    );
}

/// OIDC-3.1.3.7-9/10, CLK-1.
#[test]
fn times_at_their_boundaries() {
    for (name, time, reason) in [
        ("exp", NOW + 1, None),
        ("exp", NOW, None),
        ("exp", NOW - LEEWAY + 1, None),
        ("exp", NOW - LEEWAY, Some("id_token.expired")),
        ("exp", NOW - LEEWAY - 1, Some("id_token.expired")),
        ("exp", NOW - 360, Some("id_token.expired")),
        ("exp", 0, Some("id_token.expired")),
        ("iat", NOW - 599, None),
        ("iat", NOW - 600, None),
        ("iat", NOW - 601, Some("id_token.issued_at_too_old")),
        ("iat", NOW - 7 * 86_400, Some("id_token.issued_at_too_old")),
        ("iat", NOW + TOLERANCE - 1, None),
        ("iat", NOW + TOLERANCE, None),
        ("iat", NOW + TOLERANCE + 1, Some("id_token.issued_in_future")),
        ("nbf", NOW + TOLERANCE, None),
        ("nbf", NOW + TOLERANCE + 1, Some("id_token.not_yet_valid")),
        ("auth_time", NOW + TOLERANCE, None),
        ("auth_time", NOW + TOLERANCE + 1, Some("id_token.auth_time_in_future")),
        ("auth_time", 0, None),
    ] {
        let verdict = verdict(&with(good(), name, time), &expected()).err();
        assert_eq!(verdict, reason, "{name} {}", time - NOW);
    }
}

/// OIDC-3.1.3.7-13.
#[test]
fn max_age_demands_a_recent_authentication() {
    for (max_age, age, reason) in [
        (300, 300 + LEEWAY - 1, None),
        (300, 300 + LEEWAY, None),
        (300, 300 + LEEWAY + 1, Some("id_token.auth_too_old")),
        (0, 0, None),
        (0, LEEWAY, None),
        (0, LEEWAY + 1, Some("id_token.auth_too_old")),
        (u32::MAX, NOW, None),
    ] {
        let expected = IdTokenExpected { max_age: Some(max_age), ..expected() };
        let verdict = verdict(&with(good(), "auth_time", NOW - age), &expected).err();
        assert_eq!(verdict, reason, "{max_age} {age}");
    }
    let expected = IdTokenExpected { max_age: Some(300), ..expected() };
    assert_eq!(verdict(&good(), &expected), Err("id_token.auth_time_missing"));
}

/// OIDC-3.1.3.7-12, FAPI1-ADV-5.2.3-3.
#[test]
fn a_demanded_acr_is_met_exactly() {
    let wanted = ["high".to_owned(), "higher".to_owned()];
    let demanding = IdTokenExpected { required_acr: &wanted, ..expected() };
    assert_eq!(verdict(&good(), &demanding), Err("id_token.acr_missing"));
    for right in ["high", "higher"] {
        assert_eq!(verdict(&with(good(), "acr", right), &demanding), Ok(()));
    }
    for wrong in ["low", "High", "high1", "high higher", ""] {
        assert_eq!(
            verdict(&with(good(), "acr", wrong), &demanding),
            Err("id_token.acr_mismatch"),
            "{wrong}"
        );
    }
    assert_eq!(verdict(&with(good(), "acr", "low"), &expected()), Ok(()));
}

/// OpenID Connect Core §5.5.1: what was authorized is what was lodged.
#[test]
fn the_consent_comes_back_as_it_was_named() {
    let consent = ConsentClaim { name: "openbanking_intent_id".into(), value: "aac-1".into() };
    let asked = IdTokenExpected { consent: Some(&consent), ..expected() };
    let bearing = |name: &'static str, value: Value| verdict(&with(good(), name, value), &asked);
    assert_eq!(bearing("openbanking_intent_id", json!("aac-1")), Ok(()));
    assert_eq!(verdict(&good(), &asked), Err("id_token.intent_missing"));
    assert_eq!(bearing("intent", json!("aac-1")), Err("id_token.intent_missing"));
    for other in near_misses("aac-1") {
        let refused = bearing("openbanking_intent_id", json!(other));
        assert_eq!(refused, Err("id_token.intent_mismatch"), "{other}");
    }
    for other in [json!(null), json!(1), json!(["aac-1"]), json!({"value": "aac-1"}), json!("")] {
        let refused = bearing("openbanking_intent_id", other.clone());
        assert_eq!(refused, Err("id_token.intent_mismatch"), "{other}");
    }
    // Nobody asked: then it says nothing.
    assert_eq!(verdict(&with(good(), "openbanking_intent_id", "aac-2"), &expected()), Ok(()));
}

/// OIDC-3.1.3.3.
#[test]
fn sub_is_ascii_of_1_to_255_characters() {
    for right in ["a".to_owned(), "a".repeat(255)] {
        assert_eq!(verdict(&with(good(), "sub", right), &expected()), Ok(()));
    }
    for wrong in [String::new(), "a".repeat(256), "björk".into()] {
        assert_eq!(refused(&token(&with(good(), "sub", wrong))), "id_token.subject_invalid");
    }
}

/// OIDC-3.1.3.8, OIDC-HASH: the digest is the algorithm's own.
#[test]
fn at_hash_is_the_access_tokens_under_every_algorithm() {
    for (key, alg) in [
        (&ES256, JwsAlg::Es256),
        (&PS256, JwsAlg::Ps256),
        (&EDDSA, JwsAlg::EdDsa),
        (&EDDSA, JwsAlg::Ed25519),
    ] {
        let right = alg.half_hash(ACCESS_TOKEN);
        let verdict = |hash: &str| {
            let token = token_by(key, alg, None, &with(good(), "at_hash", hash));
            verify(&token).map(drop).map_err(|rejected| rejected.reason())
        };
        assert_eq!(verdict(&right), Ok(()), "{alg:?}");
        let ed25519 = matches!(alg, JwsAlg::EdDsa | JwsAlg::Ed25519);
        assert_eq!(right == AT_HASH, !ed25519, "{alg:?}");
        let other_digest =
            if ed25519 { JwsAlg::Es256 } else { JwsAlg::EdDsa }.half_hash(ACCESS_TOKEN);
        let other_token = alg.half_hash("another");
        for wrong in near_misses(&right).into_iter().chain([other_digest, other_token]) {
            assert_eq!(verdict(&wrong), Err("id_token.at_hash_mismatch"), "{alg:?} {wrong}");
        }
    }
}

/// JWK-ROT: only an unknown key is a reason to fetch keys again.
#[test]
fn only_an_unknown_key_may_be_a_new_one() {
    let by = |token: &str| verify(token).unwrap_err().may_be_new_key();
    assert!(by(&token_by(&STRANGER, JwsAlg::Es256, None, &good())));
    assert!(!by(&token_by(&TRAP, JwsAlg::Rs256, None, &good())));
    assert!(!by(&token(&without(good(), "nonce"))));
}

fn original() -> VerifiedIdToken {
    verify(&token(&with(good(), "auth_time", NOW - 60))).unwrap()
}

fn refresh(claims: &Value) -> Result<VerifiedIdToken, &'static str> {
    let expected = IdTokenExpected { max_age: Some(1), ..expected() };
    verify_refreshed_id_token(&token(claims), &KEYS, original().continuity(), &expected)
        .map_err(|rejected| rejected.reason())
}

/// OIDC-12.2.
#[test]
fn a_refreshed_token_agrees_with_the_original() {
    assert!(refresh(&with(good(), "auth_time", NOW - 60)).is_ok());
    let without_both = refresh(&without(good(), "nonce")).unwrap();
    assert_eq!(without_both.continuity(), original().continuity());
    for (name, wrong, reason) in [
        ("sub", json!("alice1"), "id_token.subject_changed"),
        ("iss", json!("https://as.example/t/1"), "id_token.issuer_mismatch"),
        ("aud", json!("bff1"), "id_token.audience_mismatch"),
        ("aud", json!([CLIENT, "bff1"]), "id_token.audience_untrusted"),
        ("nonce", json!("other"), "id_token.nonce_mismatch"),
        ("auth_time", json!(NOW - 59), "id_token.auth_time_changed"),
        ("auth_time", json!(NOW - 61), "id_token.auth_time_changed"),
        ("azp", json!(CLIENT), "id_token.azp_mismatch"),
        ("azp", json!("other"), "id_token.azp_mismatch"),
        ("iat", json!(NOW - 601), "id_token.issued_at_too_old"),
        ("exp", json!(NOW - 360), "id_token.expired"),
        ("at_hash", json!("x"), "id_token.at_hash_mismatch"),
    ] {
        assert_eq!(
            refresh(&with(good(), name, wrong.clone())).unwrap_err(),
            reason,
            "{name} {wrong}"
        );
    }
    for (name, reason) in
        [("sub", "id_token.subject_missing"), ("iat", "id_token.issued_at_missing")]
    {
        assert_eq!(refresh(&without(good(), name)).unwrap_err(), reason);
    }
}

/// OIDC-12.2: azp is stable in both directions.
#[test]
fn a_refreshed_token_keeps_its_azp() {
    let original = verify(&token(&with(good(), "azp", CLIENT))).unwrap();
    let refresh = |claims: &Value| {
        verify_refreshed_id_token(&token(claims), &KEYS, original.continuity(), &expected())
            .map(drop)
    };
    assert_eq!(refresh(&with(good(), "azp", CLIENT)), Ok(()));
    assert_eq!(refresh(&good()), Err(IdTokenRejected::AzpMismatch));
}

/// A session never continues with another issuer's or client's tokens, valid as they may be.
#[test]
fn a_refresh_for_another_registration_is_refused() {
    let original = original();
    let continuity = original.continuity();
    for expected in [
        IdTokenExpected { issuer: "https://as.example/", ..expected() },
        IdTokenExpected { client_id: "bff1", ..expected() },
    ] {
        let claims = with(with(good(), "iss", expected.issuer), "aud", expected.client_id);
        let refused =
            verify_refreshed_id_token(&token(&claims), &KEYS, continuity, &expected).unwrap_err();
        assert_eq!(refused, IdTokenRejected::ContinuityForeign);
    }
}

#[test]
fn continuity_survives_being_stored() {
    let original = original();
    let stored = serde_json::to_string(original.continuity()).unwrap();
    assert_eq!(
        &serde_json::from_str::<crate::protocol::Continuity>(&stored).unwrap(),
        original.continuity()
    );
}

/// What a session keeps in its own fields is worth as much as the record itself.
#[test]
fn restored_continuity_is_the_original() {
    let restored = crate::protocol::Continuity::restore(
        ISSUER.into(),
        "alice".into(),
        CLIENT.into(),
        Some(UnixTime::new(NOW - 60)),
        None,
        NONCE.into(),
    );
    assert_eq!(&restored, original().continuity());
}

#[test]
fn debug_shows_no_claim() {
    let verified = original();
    let shown = format!("{verified:?} {:?}", verified.continuity());
    assert!(!shown.contains("alice") && !shown.contains("nonce-"));
}

proptest::proptest! {
    #[test]
    fn no_token_panics(text: String, payload in "\\PC{0,80}", name in "[a-z_]{2,10}", value: i64) {
        proptest::prop_assert!(verify(&text).is_err());
        proptest::prop_assert!(verify(&token_over(&payload)).is_err());
        let _ = verify(&token(&with(good(), &name, value)));
    }

    /// Whatever second each claim names and whatever time it is, nothing overflows.
    #[test]
    fn no_time_overflows(exp in 0..=253_402_300_799_i64, iat in 0..=253_402_300_799_i64, now: i64, max_age: u32) {
        let claims = with(with(with(good(), "exp", exp), "iat", iat), "auth_time", iat);
        let expected = IdTokenExpected { now: UnixTime::new(now), max_age: Some(max_age), ..expected() };
        let _ = verdict(&claims, &expected);
    }
}
