//! The layer against itself and against the examples of the specifications.

use super::*;

fn claims() -> Object {
    json!({"iss": "a", "exp": 5}).as_object().unwrap().clone()
}

fn set(key: &SigningKey) -> Value {
    json!({"keys": [key.public_jwk()]})
}

const ALL: [Alg; 4] = [Alg::Es256, Alg::Ps256, Alg::EdDsa, Alg::Rs256];

#[test]
fn every_algorithm_verifies_its_own_and_refuses_a_flipped_signature() {
    for alg in ALL {
        let key = SigningKey::generate(alg).unwrap();
        let token = key.sign_jws(&key.header(Some("x")), &claims()).unwrap();
        assert_eq!(verify(&token, &set(&key), &[alg]).unwrap().claims, claims());
        assert_eq!(
            verify(&flip_signature(&token), &set(&key), &[alg]).unwrap_err(),
            JwsFault::SignatureInvalid
        );
    }
}

#[test]
fn none_and_algorithms_not_allowed_are_refused() {
    let key = SigningKey::generate(Alg::Es256).unwrap();
    let token = unsecured(&key.header(None), &claims());
    assert_eq!(verify(&token, &set(&key), &ALL).unwrap_err(), JwsFault::AlgNotAllowed);
    let token = key.sign_jws(&key.header(None), &claims()).unwrap();
    assert_eq!(verify(&token, &set(&key), &[Alg::Ps256]).unwrap_err(), JwsFault::AlgNotAllowed);
}

#[test]
fn a_key_pinned_to_another_algorithm_or_use_is_not_used() {
    let key = SigningKey::generate(Alg::Ps256).unwrap();
    let token = key.sign_jws(&key.header(None), &claims()).unwrap();
    for (name, value) in [("alg", "RS256"), ("use", "enc"), ("kid", "other"), ("kty", "EC")] {
        let mut jwks = set(&key);
        jwks["keys"][0][name] = json!(value);
        assert_eq!(verify(&token, &jwks, &ALL).unwrap_err(), JwsFault::KeyUnknown, "{name}");
    }
}

#[test]
fn headers_that_bring_keys_or_extensions_and_a_missing_kid_are_refused() {
    let key = SigningKey::generate(Alg::Es256).unwrap();
    for name in ["crit", "b64", "jku", "jwk", "x5u", "x5c"] {
        let mut header = key.header(None);
        header.insert(name.into(), json!([]));
        let token = key.sign_jws(&header, &claims()).unwrap();
        assert_eq!(verify(&token, &set(&key), &ALL).unwrap_err(), JwsFault::HeaderNotAllowed);
    }
    let mut header = key.header(None);
    header.remove("kid");
    let token = key.sign_jws(&header, &claims()).unwrap();
    assert_eq!(verify(&token, &set(&key), &ALL).unwrap_err(), JwsFault::KidMissing);
}

#[test]
fn duplicate_members_are_refused_at_any_depth() {
    for text in [r#"{"a":1,"a":2}"#, r#"{"a":[{"b":1,"b":1}]}"#] {
        assert_eq!(parse_object(&B64.encode(text)).unwrap_err(), JwsFault::DuplicateMember);
    }
    assert_eq!(parse_object(&B64.encode("[]")).unwrap_err(), JwsFault::Malformed);
    assert_eq!(parse_object("e30=").unwrap_err(), JwsFault::Malformed);
}

#[test]
fn a_key_survives_its_pem() {
    for alg in ALL {
        let key = SigningKey::generate(alg).unwrap();
        let again = SigningKey::from_pem(&key.to_pem(), alg).unwrap();
        assert_eq!(again.public_jwk(), key.public_jwk());
    }
}

/// The example of RFC 7638 §3.1.
#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let jwk = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
    assert_eq!(thumbprint(&jwk).unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn a_key_brought_along_verifies_its_own_token_and_only_where_that_is_asked_for() {
    for alg in ALL {
        let key = SigningKey::generate(alg).unwrap();
        let mut header = key.header(Some("dpop+jwt"));
        header.remove("kid");
        let with = |jwk: Option<Value>| {
            let mut header = header.clone();
            if let Some(jwk) = jwk {
                header.insert("jwk".into(), jwk);
            }
            key.sign_jws(&header, &claims()).unwrap()
        };
        let own = with(Some(key.public_jwk()));
        assert_eq!(verify_self_contained(&own, &[alg]).unwrap().claims, claims());
        assert_eq!(verify(&own, &set(&key), &[alg]).unwrap_err(), JwsFault::HeaderNotAllowed);
        let mut private = key.public_jwk();
        private["d"] = json!("AA");
        let other = SigningKey::generate(alg).unwrap().public_jwk();
        let kind = if alg == Alg::EdDsa { Alg::Es256 } else { Alg::EdDsa };
        let kind = SigningKey::generate(kind).unwrap().public_jwk();
        for (jwk, fault) in [
            (None, JwsFault::KeyUnknown),
            (Some(private), JwsFault::KeyUnknown),
            (Some(kind), JwsFault::KeyUnknown),
            (Some(json!("a string")), JwsFault::KeyUnknown),
            (Some(other), JwsFault::SignatureInvalid),
        ] {
            assert_eq!(verify_self_contained(&with(jwk), &[alg]).unwrap_err(), fault);
        }
    }
}
