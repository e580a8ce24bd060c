//! Authorization responses without a signature over them all, against RFC 9207 and OpenID Connect Core
//! §3.3.2.

use serde_json::{Value, json};

use super::{
    id_token::{expected as id_token_expected, good as id_token},
    *,
};
use crate::protocol::{
    AuthorizationResponse, ConsentClaim, IdTokenExpected, PlainExpected, ResponseParameters,
    verify_hybrid, verify_plain,
};

const CODE: &str = "SplxlOBeZQQYbYS6WxSbIA";

fn expected(iss_required: bool) -> PlainExpected<'static> {
    PlainExpected { issuer: ISSUER, state: STATE, iss_required }
}

fn form(pairs: &[(&str, &str)]) -> ResponseParameters {
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    ResponseParameters::parse_form(form.as_bytes()).unwrap()
}

/// The code or error of a plain response, or why it is refused.
fn plain(pairs: &[(&str, &str)], iss_required: bool) -> Result<String, &'static str> {
    verify_plain(&form(pairs), &expected(iss_required))
        .map(said)
        .map_err(|rejected| rejected.reason())
}

fn said(response: AuthorizationResponse) -> String {
    match response {
        AuthorizationResponse::Code(code) => code.expose().to_owned(),
        AuthorizationResponse::Error { error } => format!("error {}", error.as_str()),
    }
}

const GOOD: [(&str, &str); 3] = [("code", CODE), ("state", STATE), ("iss", ISSUER)];

/// `GOOD` with one parameter replaced, removed or added.
fn good_with<'a>(name: &'a str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut pairs: Vec<_> = GOOD.into_iter().filter(|(known, _)| *known != name).collect();
    pairs.extend(value.map(|value| (name, value)));
    pairs
}

/// ISS-2.4-3.
#[test]
fn a_good_response_yields_its_code() {
    assert_eq!(plain(&GOOD, true).unwrap(), CODE);
    assert_eq!(plain(&good_with("session_state", Some("x")), true).unwrap(), CODE);
    assert_eq!(plain(&good_with("iss", None), false).unwrap(), CODE);
}

/// FAPI2-SP-5.3.3.2-5, ISS-2.4-1, ISS-2.4-2: of a wrong response, the issuer is what is told.
#[test]
fn the_issuer_is_looked_at_before_anything_else() {
    assert_eq!(plain(&good_with("iss", None), true), Err("response.issuer_missing"));
    for wrong in near_misses(ISSUER) {
        for required in [true, false] {
            let refused = plain(&good_with("iss", Some(&wrong)), required);
            assert_eq!(refused, Err("response.issuer_mismatch"), "{wrong}");
        }
        let everything = [("iss", wrong.as_str()), ("response", "x"), ("access_token", "x")];
        assert_eq!(plain(&everything, true), Err("response.issuer_mismatch"));
    }
}

/// OA-10.12.
#[test]
fn the_state_must_be_the_one_sent() {
    assert_eq!(plain(&good_with("state", None), true), Err("response.state_missing"));
    for wrong in near_misses(STATE) {
        let refused = plain(&good_with("state", Some(&wrong)), true);
        assert_eq!(refused, Err("response.state_mismatch"), "{wrong}");
    }
}

/// OIDC-3.1.2.7: an error is believed only from this issuer for this login.
#[test]
fn an_error_is_one_only_if_issuer_and_state_hold() {
    let error = [("error", "access_denied"), ("state", STATE), ("iss", ISSUER)];
    assert_eq!(plain(&error, true).unwrap(), "error access_denied");
    let with = |change: &[(&'static str, &'static str)]| {
        let mut pairs = error.to_vec();
        for (name, value) in change {
            pairs.retain(|(known, _)| known != name);
            pairs.push((name, value));
        }
        plain(&pairs, true)
    };
    assert_eq!(with(&[("state", "other")]), Err("response.state_mismatch"));
    assert_eq!(with(&[("iss", "https://evil.example/")]), Err("response.issuer_mismatch"));
    assert_eq!(with(&[("code", CODE)]), Err("response.code_and_error"));
    assert_eq!(with(&[("error", "<script>")]).unwrap(), "error other");
}

/// FAPI2-SP-5.3.3.2-1, BCP-2.1.2.
#[test]
fn tokens_and_signed_responses_are_refused_where_none_were_asked_for() {
    for name in ["access_token", "id_token", "token_type", "expires_in"] {
        let refused = plain(&good_with(name, Some("x")), true);
        assert_eq!(refused, Err("response.token_in_response"), "{name}");
    }
    let refused = plain(&good_with("response", Some("a.b.c")), true);
    assert_eq!(refused, Err("response.signed_unasked"));
}

#[test]
fn a_code_is_printable_and_bounded() {
    assert_eq!(plain(&good_with("code", None), true), Err("response.code_missing"));
    let longest = "c".repeat(4096);
    assert_eq!(plain(&good_with("code", Some(&longest)), true).unwrap(), longest);
    let longer = "c".repeat(4097);
    for wrong in ["", "a\nb", "a\u{0}", "c\u{f6}de", longer.as_str()] {
        let refused = plain(&good_with("code", Some(wrong)), true);
        assert_eq!(refused, Err("response.code_malformed"), "{wrong:?}");
    }
}

fn hashes(alg: JwsAlg) -> [(&'static str, String); 2] {
    [("c_hash", alg.half_hash(CODE)), ("s_hash", alg.half_hash(STATE))]
}

/// Claims of a good ID token in an authorization response.
fn front() -> Value {
    hashes(JwsAlg::Es256)
        .into_iter()
        .fold(id_token(), |claims, (name, hash)| with(claims, name, hash))
}

fn hybrid_form(id_token: Option<&str>) -> ResponseParameters {
    let mut pairs = vec![("code", CODE), ("state", STATE)];
    pairs.extend(id_token.map(|token| ("id_token", token)));
    form(&pairs)
}

fn hybrid_with(
    parameters: &ResponseParameters,
    id_token: &IdTokenExpected<'_>,
) -> Result<(String, Option<String>), &'static str> {
    match verify_hybrid(parameters, &KEYS, NONCE, &expected(false), id_token) {
        Ok(AuthorizationResponse::Code(code)) => {
            Ok((code.expose().to_owned(), code.subject().map(str::to_owned)))
        }
        Ok(AuthorizationResponse::Error { error }) => Ok((error.as_str().to_owned(), None)),
        Err(rejected) => Err(rejected.reason()),
    }
}

fn hybrid(claims: &Value) -> Result<(String, Option<String>), &'static str> {
    hybrid_with(&hybrid_form(Some(&token(claims))), &id_token_expected())
}

/// FAPI1-ADV-5.2.3.1-3/4, OIDC-HASH: the hashes are those of the algorithm that signed.
#[test]
fn a_code_with_its_id_token_is_accepted_and_tells_whom_it_is_about() {
    assert_eq!(hybrid(&front()).unwrap(), (CODE.to_owned(), Some("alice".to_owned())));
    for (key, alg) in [(&PS256, JwsAlg::Ps256), (&EDDSA, JwsAlg::EdDsa)] {
        let claims = hashes(alg)
            .into_iter()
            .fold(id_token(), |claims, (name, hash)| with(claims, name, hash));
        let parameters = hybrid_form(Some(&token_by(key, alg, None, &claims)));
        assert!(hybrid_with(&parameters, &id_token_expected()).is_ok(), "{alg:?}");
        // SHA-512 where SHA-256 is right, and the other way round.
        let swapped = if alg == JwsAlg::EdDsa { JwsAlg::Es256 } else { JwsAlg::EdDsa };
        let wrong = with(claims, "c_hash", swapped.half_hash(CODE));
        let parameters = hybrid_form(Some(&token_by(key, alg, None, &wrong)));
        let refused = hybrid_with(&parameters, &id_token_expected());
        assert_eq!(refused, Err("id_token.c_hash_mismatch"), "{alg:?}");
    }
}

#[test]
fn the_id_token_must_be_there_and_sign_code_and_state() {
    let absent = hybrid_with(&hybrid_form(None), &id_token_expected());
    assert_eq!(absent, Err("id_token.missing"));
    assert_eq!(hybrid(&without(front(), "c_hash")), Err("id_token.c_hash_missing"));
    assert_eq!(hybrid(&without(front(), "s_hash")), Err("id_token.s_hash_missing"));
    for wrong in near_misses(&JwsAlg::Es256.half_hash(CODE)) {
        let refused = hybrid(&with(front(), "c_hash", wrong.as_str()));
        assert_eq!(refused, Err("id_token.c_hash_mismatch"), "{wrong}");
    }
    for wrong in near_misses(&JwsAlg::Es256.half_hash(STATE)) {
        let refused = hybrid(&with(front(), "s_hash", wrong.as_str()));
        assert_eq!(refused, Err("id_token.s_hash_mismatch"), "{wrong}");
    }
    for name in ["c_hash", "s_hash"] {
        for value in not_strings() {
            assert_eq!(hybrid(&with(front(), name, value)), Err("id_token.claim_type"), "{name}");
        }
    }
}

/// OIDC-3.3.2.8: nothing that a token of the token endpoint must be is left out.
#[test]
fn the_id_token_is_judged_in_full() {
    for (name, reason) in [
        ("iss", "id_token.issuer_missing"),
        ("sub", "id_token.subject_missing"),
        ("aud", "id_token.audience_missing"),
        ("exp", "id_token.expiry_missing"),
        ("iat", "id_token.issued_at_missing"),
        ("nonce", "id_token.nonce_missing"),
    ] {
        assert_eq!(hybrid(&without(front(), name)), Err(reason));
    }
    for (name, value, reason) in [
        ("iss", json!(format!("{ISSUER}1")), "id_token.issuer_mismatch"),
        ("aud", json!([CLIENT, "other"]), "id_token.audience_untrusted"),
        ("nonce", json!(format!("{NONCE}1")), "id_token.nonce_mismatch"),
        ("exp", json!(NOW - 360), "id_token.expired"),
        ("iat", json!(NOW - 7 * 24 * 3600), "id_token.issued_at_too_old"),
    ] {
        assert_eq!(hybrid(&with(front(), name, value)), Err(reason));
    }
    for (token, reason) in badly_protected(&front()) {
        let refused = hybrid_with(&hybrid_form(Some(&token)), &id_token_expected());
        assert_eq!(refused.unwrap_err(), format!("id_token.{reason}"), "{token}");
    }
}

/// What the login demands of the authentication is asked of the token endpoint's ID token, of which
/// the front channel's may tell less.
#[test]
fn acr_and_age_are_not_asked_of_the_detached_signature() {
    let demanding = ["gold".to_owned()];
    let expected =
        IdTokenExpected { max_age: Some(0), required_acr: &demanding, ..id_token_expected() };
    assert!(hybrid_with(&hybrid_form(Some(&token(&front()))), &expected).is_ok());
}

/// OpenID Connect Core §5.5.1: the consent is asked of every ID token; one that names another ends the login before
/// the code counts.
#[test]
fn the_detached_signature_names_the_consent() {
    let consent = ConsentClaim { name: "openbanking_intent_id".into(), value: "aac-1".into() };
    let expected = IdTokenExpected { consent: Some(&consent), ..id_token_expected() };
    let verdict =
        |claims: &Value| hybrid_with(&hybrid_form(Some(&token(claims))), &expected).map(drop).err();
    assert_eq!(verdict(&with(front(), "openbanking_intent_id", "aac-1")), None);
    assert_eq!(verdict(&front()), Some("id_token.intent_missing"));
    let other = verdict(&with(front(), "openbanking_intent_id", "aac-2"));
    assert_eq!(other, Some("id_token.intent_mismatch"));
}

#[test]
fn parameters_are_judged_as_without_an_id_token() {
    let signed = token(&front());
    let refused = |change: (&'static str, Option<&str>)| {
        let mut pairs = vec![("code", CODE), ("state", STATE), ("id_token", signed.as_str())];
        pairs.retain(|(name, _)| *name != change.0);
        pairs.extend(change.1.map(|value| (change.0, value)));
        hybrid_with(&form(&pairs), &id_token_expected()).unwrap_err()
    };
    assert_eq!(refused(("iss", Some("https://evil.example"))), "response.issuer_mismatch");
    assert_eq!(refused(("state", Some("x"))), "response.state_mismatch");
    assert_eq!(refused(("state", None)), "response.state_missing");
    assert_eq!(refused(("code", Some("other"))), "id_token.c_hash_mismatch");
    assert_eq!(refused(("code", None)), "response.code_missing");
    assert_eq!(refused(("error", Some("access_denied"))), "response.code_and_error");
    assert_eq!(refused(("access_token", Some("x"))), "response.token_in_response");
    assert_eq!(refused(("response", Some("a.b.c"))), "response.signed_unasked");
    let denied = form(&[("error", "access_denied"), ("state", STATE)]);
    assert_eq!(hybrid_with(&denied, &id_token_expected()).unwrap().0, "access_denied");
}

/// OIDC-3.3.3.6.
#[test]
fn both_id_tokens_of_a_login_are_about_the_same_user() {
    let verdict = |subject: &str| {
        let expected = IdTokenExpected { subject: Some(subject), ..id_token_expected() };
        let token = token(&id_token());
        crate::protocol::verify_id_token(Some(&token), &KEYS, NONCE, &expected)
            .map(drop)
            .map_err(|rejected| rejected.reason())
    };
    assert_eq!(verdict("alice"), Ok(()));
    for other in near_misses("alice") {
        assert_eq!(verdict(&other), Err("id_token.subject_differs"), "{other}");
    }
}

proptest::proptest! {
    #[test]
    fn no_response_panics(code: String, state: String, token: String) {
        let pairs = [("code", code.as_str()), ("state", &state), ("id_token", &token)];
        let _ = hybrid_with(&form(&pairs), &id_token_expected());
        let _ = plain(&pairs, false);
    }
}
