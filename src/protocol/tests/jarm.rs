//! The signed authorization response, against JARM §2.4 and what a browser can do to it
//! (FAPI1-ADV-5.2.3.2-1: one verification for every profile).

use serde_json::{Value, json};

use super::*;
use crate::protocol::{
    AuthorizationResponse, Expected, JarmRejected, ResponseParameters, ResponseRejected,
    unverified_issuer, unverified_state, verify_jarm,
};

pub(super) fn good() -> Value {
    json!({"iss": ISSUER, "aud": CLIENT, "exp": NOW + 300, "iat": NOW, "state": STATE, "code": "SplxlOBeZQQYbYS6WxSbIA"})
}

pub(super) fn expected() -> Expected<'static> {
    Expected {
        issuer: ISSUER,
        client_id: CLIENT,
        state: STATE,
        algs: FAPI,
        now: now(),
        exp_leeway: LEEWAY,
        future_tolerance: TOLERANCE,
    }
}

fn verify_form(form: &str) -> Result<AuthorizationResponse, ResponseRejected> {
    let parameters = ResponseParameters::parse_form(form.as_bytes())?;
    let response = parameters.response().ok_or(JarmRejected::Missing)?;
    Ok(verify_jarm(&parameters, response, &KEYS, &expected())?)
}

/// The reason for refusing this token.
pub(super) fn refused(token: &str) -> &'static str {
    verify_form(&format!("response={token}")).expect_err(token).reason()
}

fn accepted(claims: &Value) -> AuthorizationResponse {
    verify_form(&format!("response={}", token(claims))).unwrap()
}

fn code(response: &AuthorizationResponse) -> &str {
    match response {
        AuthorizationResponse::Code(code) => code.expose(),
        AuthorizationResponse::Error { error } => panic!("{error:?}"),
    }
}

#[test]
fn a_good_response_yields_its_code() {
    assert_eq!(code(&accepted(&good())), "SplxlOBeZQQYbYS6WxSbIA");
    for (key, alg) in [
        (&ES256, JwsAlg::Es256),
        (&PS256, JwsAlg::Ps256),
        (&EDDSA, JwsAlg::EdDsa),
        (&EDDSA, JwsAlg::Ed25519),
    ] {
        for typ in [None, Some("JWT"), Some("jwt"), Some("application/jwt")] {
            let form = format!("response={}", token_by(key, alg, typ, &good()));
            assert!(verify_form(&form).is_ok(), "{alg:?} {typ:?}");
        }
    }
    assert!(verify_form(&format!("session_state=x&response={}", token(&good()))).is_ok());
    accepted(&with(good(), "session_state", "x"));
    accepted(&without(good(), "iat"));
    accepted(&with(good(), "aud", json!([CLIENT])));
}

/// JARM-2.4-5, JARM-3, FAPI2-MS-6.1.
#[test]
fn broken_protection_is_refused() {
    for (token, reason) in badly_protected(&good()) {
        assert_eq!(refused(&token), format!("jarm.{reason}"), "{token}");
    }
}

/// JARM-3: a pinned algorithm admits no other, though the profile would.
#[test]
fn a_pinned_algorithm_admits_no_other() {
    let parameters =
        |token| ResponseParameters::parse_form(format!("response={token}").as_bytes()).unwrap();
    let pinned = Expected { algs: &[JwsAlg::Ps256], ..expected() };
    let response = token(&good());
    let parameters = parameters(response.clone());
    let refused = verify_jarm(&parameters, &response, &KEYS, &pinned).unwrap_err();
    assert_eq!(refused, JarmRejected::AlgNotAllowed);
}

#[test]
fn every_required_claim_must_be_there() {
    for (name, reason) in [
        ("iss", "jarm.issuer_missing"),
        ("aud", "jarm.audience_missing"),
        ("exp", "jarm.expiry_missing"),
        ("state", "jarm.state_missing"),
        ("code", "jarm.code_missing"),
    ] {
        assert_eq!(refused(&token(&without(good(), name))), reason);
    }
}

#[test]
fn every_claim_must_have_its_type() {
    let refused = |claims: &Value| verify_form(&format!("response={}", token(claims))).unwrap_err();
    for name in ["iss", "state", "code", "error"] {
        for value in not_strings() {
            assert_eq!(
                refused(&with(good(), name, value.clone())),
                JarmRejected::ClaimType(name).into(),
                "{name} {value}"
            );
        }
    }
    for name in ["exp", "iat", "nbf"] {
        for value in not_times() {
            assert_eq!(
                refused(&with(good(), name, value.clone())),
                JarmRejected::ClaimType(name).into(),
                "{name} {value}"
            );
        }
    }
    for value in [json!(null), json!(1), json!({}), json!([]), json!([1]), json!([CLIENT, null])] {
        assert_eq!(
            refused(&with(good(), "aud", value.clone())),
            JarmRejected::ClaimType("aud").into(),
            "{value}"
        );
    }
}

#[test]
fn a_claim_occurs_once() {
    for name in ["iss", "aud", "exp", "state", "code"] {
        for value in [&good()[name], &json!("other")] {
            let token = token_over(&with_duplicate(&good(), name, value));
            assert_eq!(refused(&token), "jarm.duplicate_member", "{name}");
        }
    }
}

/// JARM-2.4-2, FAPI2-SP-5.3.3.2-5: byte for byte.
#[test]
fn iss_is_exactly_the_expected_issuer() {
    let variants = [
        "https://as.example/t",
        "https://as.example:443/t/",
        "https://AS.example/t/",
        "https://as.example/%74/",
    ];
    for wrong in near_misses(ISSUER).into_iter().chain(variants.map(str::to_owned)) {
        assert_eq!(
            refused(&token(&with(good(), "iss", wrong.as_str()))),
            "jarm.issuer_mismatch",
            "{wrong}"
        );
    }
}

/// JARM-2.4-3.
#[test]
fn aud_is_exactly_this_client() {
    for wrong in near_misses(CLIENT) {
        assert_eq!(
            refused(&token(&with(good(), "aud", wrong.as_str()))),
            "jarm.audience_mismatch",
            "{wrong}"
        );
    }
    for wrong in [
        json!([CLIENT, "other"]),
        json!(["other", CLIENT]),
        json!([CLIENT, CLIENT]),
        json!(["other"]),
    ] {
        assert_eq!(
            refused(&token(&with(good(), "aud", wrong.clone()))),
            "jarm.audience_mismatch",
            "{wrong}"
        );
    }
}

/// JARM-2.4-4, JARM-2.1, CLK-1.
#[test]
fn times_at_their_boundaries() {
    for (name, time, reason) in [
        ("exp", NOW + 1, None),
        ("exp", NOW, None),
        ("exp", NOW - LEEWAY + 1, None),
        ("exp", NOW - LEEWAY, Some("jarm.expired")),
        ("exp", NOW - LEEWAY - 1, Some("jarm.expired")),
        ("exp", NOW - 360, Some("jarm.expired")),
        ("exp", 0, Some("jarm.expired")),
        ("exp", NOW + 3599, None),
        ("exp", NOW + 3600, None),
        ("exp", NOW + 3601, Some("jarm.lifetime_too_long")),
        ("iat", NOW + TOLERANCE - 1, None),
        ("iat", NOW + TOLERANCE, None),
        ("iat", NOW + TOLERANCE + 1, Some("jarm.issued_in_future")),
        ("nbf", NOW + TOLERANCE, None),
        ("nbf", NOW + TOLERANCE + 1, Some("jarm.not_yet_valid")),
    ] {
        let form = format!("response={}", token(&with(good(), name, time)));
        let verdict = verify_form(&form).err().map(|rejected| rejected.reason());
        assert_eq!(verdict, reason, "{name} {}", time - NOW);
    }
}

/// OA-10.12; the suite's invalid-state modules.
#[test]
fn state_is_exactly_the_one_sent() {
    for wrong in near_misses(STATE) {
        assert_eq!(
            refused(&token(&with(good(), "state", wrong.as_str()))),
            "jarm.state_mismatch",
            "{wrong}"
        );
    }
}

/// JARM-2.3: what was asked for signed is not believed unsigned, errors included.
#[test]
fn a_plain_response_is_a_downgrade() {
    for form in [
        "",
        "code=abc&state=x&iss=https%3A%2F%2Fas.example%2Ft%2F",
        "error=access_denied&state=x",
        "error=login_required",
        "Response=x",
        "response%00=x",
    ] {
        assert_eq!(verify_form(form).unwrap_err().reason(), "jarm.missing", "{form}");
    }
}

/// JARM-2.3, FAPI2-MS-5.4.1-N, ISS-2.4-1, ISS-2.4-4.
#[test]
fn nothing_stands_beside_the_signed_response() {
    let response = token(&good());
    for extra in [
        "access_token",
        "code",
        "error",
        "error_description",
        "error_uri",
        "expires_in",
        "id_token",
        "state",
        "token_type",
    ] {
        let form = format!("response={response}&{extra}=x");
        assert_eq!(verify_form(&form).unwrap_err().reason(), "jarm.extra_parameters", "{extra}");
    }
    assert!(
        verify_form(&format!("response={response}&iss=https%3A%2F%2Fas.example%2Ft%2F")).is_ok()
    );
    for wrong in ["https%3A%2F%2Fas.example%2Ft", "https%3A%2F%2Fevil.example%2F", ""] {
        let form = format!("response={response}&iss={wrong}");
        assert_eq!(verify_form(&form).unwrap_err().reason(), "jarm.issuer_mismatch", "{wrong}");
    }
}

/// FAPI2-SP-5.3.3.2-1.
#[test]
fn no_token_stands_in_the_response() {
    for name in ["id_token", "access_token"] {
        assert_eq!(refused(&token(&with(good(), name, "x"))), "jarm.token_in_response");
    }
}

/// OIDC-3.1.2.7, JARM-2.1: an error is believed like a code, after every other check.
#[test]
fn a_signed_error_is_an_answer() {
    let error = |value: &str| with(without(good(), "code"), "error", value);
    for (claim, known) in [("access_denied", "access_denied"), ("<b>", "other"), ("", "other")] {
        match accepted(&error(claim)) {
            AuthorizationResponse::Error { error } => assert_eq!(error.as_str(), known),
            AuthorizationResponse::Code(_) => panic!("a code"),
        }
    }
    let other_state = with(error("access_denied"), "state", "x");
    assert_eq!(refused(&token(&other_state)), "jarm.state_mismatch");
    assert_eq!(refused(&token(&with(good(), "error", "access_denied"))), "jarm.code_and_error");
}

/// RFC 6749 appendix A.11: printable ASCII, the space included.
#[test]
fn a_code_is_printable_and_bounded() {
    for wrong in [String::new(), "a\nb".into(), "a\u{0}".into(), "cöde".into(), "a".repeat(4097)] {
        assert_eq!(refused(&token(&with(good(), "code", wrong))), "jarm.code_malformed");
    }
    for right in [" a b~", &"a".repeat(4096)] {
        assert_eq!(code(&accepted(&with(good(), "code", right))), right);
    }
}

/// JARM-5.1: the issuer can be read, and read only, before any key is fetched.
#[test]
fn the_claimed_issuer_is_readable_before_verification() {
    assert_eq!(unverified_issuer(&token(&good())).unwrap(), ISSUER);
    let forged =
        token_by(&STRANGER, JwsAlg::Es256, None, &with(good(), "iss", "https://evil.example/"));
    assert_eq!(unverified_issuer(&forged).unwrap(), "https://evil.example/");
    assert_eq!(unverified_issuer("x").unwrap_err().reason(), "jarm.malformed");
    assert_eq!(
        unverified_issuer(&token(&without(good(), "iss"))).unwrap_err().reason(),
        "jarm.issuer_missing"
    );
}

/// The state finds the transaction; a forged one finds it too, and fails at the signature.
#[test]
fn the_claimed_state_is_readable_before_verification() {
    let forged = token_by(&STRANGER, JwsAlg::Es256, None, &good());
    assert_eq!(unverified_state(&forged).unwrap(), STATE);
    assert_eq!(refused(&forged), "jarm.key_unknown");
    let reason = |token: &str| unverified_state(token).unwrap_err().reason();
    assert_eq!(reason("x"), "jarm.malformed");
    assert_eq!(reason(&token(&without(good(), "state"))), "jarm.state_missing");
    assert_eq!(reason(&token(&with(good(), "state", json!([STATE])))), "jarm.claim_type");
}

/// JWK-ROT: only an unknown key is a reason to fetch keys again.
#[test]
fn only_an_unknown_key_may_be_a_new_one() {
    let by = |token: &str| verify_form(&format!("response={token}")).unwrap_err().may_be_new_key();
    assert!(by(&token_by(&STRANGER, JwsAlg::Es256, None, &good())));
    assert!(!by(&token_by(&TRAP, JwsAlg::Rs256, None, &good())));
    assert!(!by(&token(&without(good(), "iss"))));
}

/// OA-3.1.
#[test]
fn parameters_occur_once_and_are_bounded() {
    let parse = |form: &str| {
        ResponseParameters::parse_form(form.as_bytes()).map_err(|rejected| rejected.reason())
    };
    for form in
        ["response=a&response=b", "response=a&response=a", "x=1&%78=2", "code=a&code=b", "x&x"]
    {
        assert_eq!(parse(form), Err("response.duplicate_parameter"), "{form}");
    }
    let many = |count: usize| (0..count).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
    assert!(parse(&many(32)).is_ok());
    assert_eq!(parse(&many(33)), Err("response.too_large"));
    assert!(parse(&format!("a={}", "x".repeat(32 * 1024 - 2))).is_ok());
    assert_eq!(parse(&format!("a={}", "x".repeat(32 * 1024 - 1))), Err("response.too_large"));
    assert_eq!(parse("a=%ff"), Err("response.form_malformed"));
    assert_eq!(
        ResponseParameters::parse_form(&[0xff]).unwrap_err().reason(),
        "response.form_malformed"
    );
    let decoded = parse("a+b=c%20d+e&&f").unwrap();
    assert_eq!((decoded.get("a b"), decoded.get("f")), (Some("c d e"), Some("")));
}

#[test]
fn debug_shows_neither_code_nor_parameters() {
    assert!(!format!("{:?}", accepted(&good())).contains("Splx"));
    let parameters = ResponseParameters::parse_form(b"response=secret").unwrap();
    assert!(!format!("{parameters:?}").contains("secret"));
}

proptest::proptest! {
    #[test]
    fn no_form_panics(bytes: Vec<u8>, text in "response=\\PC{0,60}(&\\PC{0,10}=\\PC{0,10}){0,3}", payload: String) {
        for form in [bytes.as_slice(), text.as_bytes()] {
            if let Ok(parameters) = ResponseParameters::parse_form(form) {
                let response = parameters.response().unwrap_or_default();
                let verdict = verify_jarm(&parameters, response, &KEYS, &expected());
                proptest::prop_assert!(verdict.is_err());
            }
        }
        let _ = unverified_issuer(&text);
        let _ = refused(&token_over(&payload));
    }
}
