//! What we sign verifies, claims read back with their types, and the right key is found.

use super::*;
use crate::clock::UnixTime;

#[test]
fn every_algorithm_round_trips_under_its_own_name() {
    for alg in FAPI {
        let signer = signer(*alg);
        let claims = object(json!({ "aud": ["a", "b"], "n": { "deep": [1, 2.5, null, true] } }));
        let token = sign(&signer, Some("JWT"), &claims).unwrap();
        let unverified = UnverifiedJws::parse(&token).unwrap();
        assert_eq!((unverified.alg(), unverified.kid()), (alg.name(), Some(signer.kid())));
        let verified = unverified.verify(&all_keys(), &POLICY).unwrap();
        assert_eq!(verified.alg(), *alg);
        assert_eq!(verified.into_claims().into_map(), claims);
    }
}

/// JWT-3.2: both names of Ed25519 verify with one key, under whichever name it is published, but
/// only names on the allow-list.
#[test]
fn both_names_of_ed25519_verify_with_a_key_published_under_either() {
    for published_as in [json!("EdDSA"), json!("Ed25519"), json!(null)] {
        let keys = published(&[with(&EDDSA.public_jwk.to_json(), json!({ "alg": published_as }))]);
        for (alg, other) in [(JwsAlg::EdDsa, JwsAlg::Ed25519), (JwsAlg::Ed25519, JwsAlg::EdDsa)] {
            let token = sign(&signer(alg), None, &Map::new()).unwrap();
            assert!(verify(&token, &keys, &JwsPolicy { algs: &[alg], ..POLICY }).is_ok());
            let rejected = verify(&token, &keys, &JwsPolicy { algs: &[other], ..POLICY });
            assert_eq!(rejected.unwrap_err(), JwsRejected::AlgNotAllowed);
        }
    }
}

#[test]
fn the_header_holds_alg_kid_and_typ_and_nothing_else() {
    let signer = signer(JwsAlg::Ps256);
    let header = |token: String| {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let with_typ = header(sign(&signer, Some("client-authentication+jwt"), &Map::new()).unwrap());
    let expected = json!({
        "alg": "PS256", "kid": signer.kid(), "typ": "client-authentication+jwt",
    });
    assert_eq!(with_typ, expected);
    let without = header(sign(&signer, None, &Map::new()).unwrap());
    assert_eq!(without, json!({ "alg": "PS256", "kid": signer.kid() }));
}

/// RFC 9449 §4.2.
#[test]
fn a_token_can_carry_its_bare_public_key_instead_of_a_kid() {
    let signer = signer(JwsAlg::Es256);
    let token = sign_embedding_key(&signer, "dpop+jwt", &Map::new()).unwrap();
    let mut parts = token.split('.');
    let header = URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let bare = with(&ES256.public_jwk.to_json(), json!({ "kid": null, "alg": null }));
    assert_eq!(header, json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": bare }));
    assert_eq!(PublicJwk::from_json(&header["jwk"]).unwrap().thumbprint(), signer.kid());
    let signature = URL_SAFE_NO_PAD.decode(parts.nth(1).unwrap()).unwrap();
    assert_eq!(signature.len(), 64);
}

#[test]
fn a_hardware_signer_behind_the_trait_signs_tokens_like_any_other() {
    #[derive(Debug)]
    struct Token(SoftwareSigner);
    impl Signer for Token {
        fn alg(&self) -> JwsAlg {
            self.0.alg()
        }
        fn kid(&self) -> &'static str {
            "slot-7"
        }
        fn public_jwk(&self) -> &PublicJwk {
            self.0.public_jwk()
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailed> {
            if message.is_empty() { Err(SignFailed::Backend) } else { self.0.sign(message) }
        }
    }
    let boxed: Box<dyn Signer> = Box::new(Token(signer(JwsAlg::EdDsa)));
    let keys = published(&[with(&EDDSA.public_jwk.to_json(), json!({ "kid": "slot-7" }))]);
    let token = sign(boxed.as_ref(), None, &Map::new()).unwrap();
    assert_eq!(verify(&token, &keys, &POLICY).unwrap().kid(), Some("slot-7"));
}

/// The signer must not be deterministic without hedging in a way that repeats nonces: equal `r`
/// over different messages reveals an ECDSA key (JWT-3.2).
#[test]
fn es256_never_repeats_a_nonce() {
    let signer = signer(JwsAlg::Es256);
    let mut seen = std::collections::HashSet::new();
    for message in 0..64_u8 {
        let signature = signer.sign(&[message]).unwrap();
        assert!(seen.insert(signature[..32].to_vec()));
    }
}

fn claims(json: &str) -> Claims {
    Claims::parse(json.as_bytes()).unwrap()
}

#[test]
fn strings_are_strings() {
    let claims = claims(r#"{"s":"x","e":"","n":null,"i":1,"a":["x"]}"#);
    assert_eq!(claims.string("s"), Ok("x"));
    assert_eq!(claims.string("e"), Ok(""));
    assert_eq!(claims.string("missing"), Err(ClaimFault::Missing));
    assert_eq!(claims.optional_string("missing"), Ok(None));
    for name in ["n", "i", "a"] {
        assert_eq!(claims.string(name), Err(ClaimFault::WrongType));
        assert_eq!(claims.optional_string(name), Err(ClaimFault::WrongType));
    }
    assert!(claims.contains("n") && !claims.contains("missing"));
    assert_eq!(claims.get("n"), Some(&Value::Null));
    assert_eq!(claims.get("i"), Some(&json!(1)));
    assert_eq!(claims.get("missing"), None);
}

#[test]
fn times_are_integers_from_1970_to_9999() {
    let cases = [
        ("0", Ok(0)),
        ("1", Ok(1)),
        ("253402300799", Ok(253_402_300_799)),
        ("253402300800", Err(ClaimFault::OutOfRange)),
        ("-1", Err(ClaimFault::OutOfRange)),
        ("9223372036854775807", Err(ClaimFault::OutOfRange)),
        ("-9223372036854775808", Err(ClaimFault::OutOfRange)),
        ("18446744073709551615", Err(ClaimFault::OutOfRange)),
        ("18446744073709551616", Err(ClaimFault::WrongType)),
        ("1700000000.0", Err(ClaimFault::WrongType)),
        ("1.7e9", Err(ClaimFault::WrongType)),
        ("1e300", Err(ClaimFault::WrongType)),
        ("-0", Err(ClaimFault::WrongType)),
        ("\"1700000000\"", Err(ClaimFault::WrongType)),
        ("null", Err(ClaimFault::WrongType)),
        ("true", Err(ClaimFault::WrongType)),
        ("[1700000000]", Err(ClaimFault::WrongType)),
    ];
    for (text, expected) in cases {
        let claims = claims(&format!(r#"{{"exp":{text}}}"#));
        let expected = expected.map(UnixTime::new);
        assert_eq!(claims.time("exp"), expected, "{text}");
        assert_eq!(claims.optional_time("exp"), expected.map(Some), "{text}");
    }
    assert_eq!(claims("{}").time("exp"), Err(ClaimFault::Missing));
    assert_eq!(claims("{}").optional_time("exp"), Ok(None));
}

/// JWT-3.9.
#[test]
fn an_audience_is_one_string_or_at_least_one() {
    assert_eq!(claims(r#"{"aud":"a"}"#).audience(), Ok(vec!["a"]));
    assert_eq!(claims(r#"{"aud":["a","b"]}"#).audience(), Ok(vec!["a", "b"]));
    assert_eq!(claims("{}").audience(), Err(ClaimFault::Missing));
    for aud in ["[]", "null", "1", "{}", r#"["a",1]"#, r#"[["a"]]"#] {
        let claims = claims(&format!(r#"{{"aud":{aud}}}"#));
        assert_eq!(claims.audience(), Err(ClaimFault::WrongType), "{aud}");
    }
}

#[test]
fn claims_are_bounded_in_size_and_depth() {
    let of_size = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes - 8));
    assert!(Claims::parse(of_size(16 * 1024).as_bytes()).is_ok());
    let rejected = Claims::parse(of_size(16 * 1024 + 1).as_bytes());
    assert_eq!(rejected, Err(ClaimsRejected::TooLarge));
    let of_depth =
        |depth: usize| format!("{}{}", r#"{"x":"#.repeat(depth - 1), "{}") + &"}".repeat(depth - 1);
    assert!(Claims::parse(of_depth(16).as_bytes()).is_ok());
    assert_eq!(Claims::parse(of_depth(17).as_bytes()), Err(ClaimsRejected::TooDeep));
    let of_arrays =
        |depth: usize| format!(r#"{{"x":{}1,2{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(Claims::parse(of_arrays(16).as_bytes()).is_ok());
    assert_eq!(Claims::parse(of_arrays(17).as_bytes()), Err(ClaimsRejected::TooDeep));
    assert_eq!(Claims::parse(b"[]"), Err(ClaimsRejected::Malformed));
    assert_eq!(Claims::parse(br#"{"a":1,"a":1}"#), Err(ClaimsRejected::DuplicateMember));
}
