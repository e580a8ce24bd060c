//! Properties over generated input: nothing panics, what is signed verifies, what is changed does
//! not.

use proptest::{collection::vec, prelude::*};

use super::*;

/// Text that looks like a token: parts of base64url text or of encoded JSON-like text.
fn token_like() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[A-Za-z0-9_=+/ -]{0,60}",
        vec(any::<u8>(), 0..60).prop_map(encode),
        json_like().prop_map(encode),
    ];
    vec(part, 0..7).prop_map(|parts| parts.join("."))
}

/// Text out of the pieces of JSON, mostly broken.
fn json_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just(",".to_owned()),
        Just(":".to_owned()),
        "\"(alg|kid|typ|keys|kty|crv|x|y|n|e|d|use|key_ops|x5c|EC|RSA|OKP|AQAB|AAAA)\"",
        "-?[0-9]{1,20}(\\.[0-9]{1,3})?(e[0-9]{1,3})?",
        "(null|true|false)",
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Any JSON value, valid, with the names and texts of keys among its own.
fn json_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "(EC|RSA|OKP|P-256|Ed25519|sig|enc|sign|verify|PS256|ES256|EdDSA|AQAB)",
        vec(any::<u8>(), 0..40).prop_map(encode),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            jwk_members(inner).prop_map(Value::Object),
        ]
    })
}

fn jwk_members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = "(kty|crv|x|y|n|e|d|p|q|dp|dq|qi|use|alg|kid|key_ops|x5c|keys|[a-z]{1,4})";
    vec((name, value), 0..8).prop_map(|members| members.into_iter().collect())
}

fn any_policy() -> impl Strategy<Value = JwePolicy> {
    proptest::sample::select(policies().collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics_a_parser(
        text in any::<String>(),
        bytes in vec(any::<u8>(), 0..200),
    ) {
        let _ = UnverifiedJws::parse(&text);
        let _ = Claims::parse(text.as_bytes());
        let _ = Claims::parse(&bytes);
        let _ = KeySet::parse(text.as_bytes());
        let _ = KeySet::parse(&bytes);
        let _ = SoftwareSigner::from_file_bytes(&bytes, None);
        let _ = DecryptionKey::from_file_bytes(&bytes, None);
    }

    #[test]
    fn token_like_text_never_panics_and_never_verifies(text in token_like()) {
        prop_assert!(verify(&text, &all_keys(), &POLICY).is_err());
    }

    #[test]
    fn token_like_text_never_panics_and_never_decrypts(
        text in token_like(),
        parts in vec(vec(any::<u8>(), 0..40).prop_map(encode), 4),
        policy in any_policy(),
        header in json_value(),
    ) {
        prop_assert!(decrypt(&text, &RING, policy).is_err());
        // A good header, and one with any member more, before parts of any length.
        for changes in [json!({}), json!({ "epk": header, "apu": "AAAA" })] {
            let header = encode(jwe_header(policy, changes).to_string());
            let token = [&[header], &parts[..]].concat().join(".");
            prop_assert!(decrypt(&token, &RING, policy).is_err());
        }
    }

    #[test]
    fn what_is_encrypted_comes_back_unchanged(
        claims in jwk_members(json_value()),
        policy in any_policy(),
    ) {
        let inner = sign(&signer(JwsAlg::EdDsa), None, &claims).unwrap();
        let target =
            EncryptionTarget::new(&recipient(policy.alg), policy.alg, policy.enc).unwrap();
        let token = encrypt(&inner, None, &target).unwrap();
        prop_assert_eq!(&*decrypt(&token, &RING, policy).unwrap(), &inner);
    }

    #[test]
    fn any_single_byte_mutation_of_an_encrypted_token_is_refused(
        policy in any_policy(),
        position in any::<proptest::sample::Index>(),
        replacement in prop_oneof![
            0_u8..128,
            proptest::sample::select(&b"ABCabc019-_"[..]),
        ],
    ) {
        let token = jwe_with(policy, json!({}));
        let mut bytes = token.clone().into_bytes();
        let at = position.index(bytes.len());
        prop_assume!(bytes[at] != replacement);
        bytes[at] = replacement;
        let mutated = String::from_utf8(bytes).unwrap();
        prop_assert!(decrypt(&mutated, &RING, policy).is_err());
    }

    #[test]
    fn json_like_text_never_panics_a_parser(text in json_like()) {
        let _ = Claims::parse(text.as_bytes());
        let _ = KeySet::parse(text.as_bytes());
        let _ = KeySet::parse(format!("{{\"keys\":[{text}]}}").as_bytes());
        let _ = SoftwareSigner::from_jwk(text.as_bytes());
    }

    #[test]
    fn arbitrary_keys_never_panic(jwk in json_value()) {
        let _ = PublicJwk::from_json(&jwk);
        let _ = SoftwareSigner::from_jwk(jwk.to_string().as_bytes());
        let _ = DecryptionKey::from_jwk(jwk.to_string().as_bytes(), None);
        let _ = EncryptionJwk::from_json(&jwk);
        let set = published(std::slice::from_ref(&jwk));
        prop_assert_eq!(set.len() + set.skipped().len(), 1);
    }

    #[test]
    fn strict_parsing_agrees_with_serde_json_on_what_it_accepts(value in json_value()) {
        let text = json!({ "x": value }).to_string();
        if let Ok(claims) = Claims::parse(text.as_bytes()) {
            let lenient: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Value::Object(claims.into_map()), lenient);
        }
    }

    #[test]
    fn what_is_signed_verifies_and_reads_back_unchanged(
        claims in jwk_members(json_value()),
        alg in proptest::sample::select(FAPI),
    ) {
        // Floats may change in their last digit on the way through text; no claim we sign is one.
        let mut claims = claims;
        claims.retain(|_, value| !value.to_string().contains(['.', 'e']));
        let token = sign(&signer(alg), None, &claims).unwrap();
        let verified = verify(&token, &all_keys(), &POLICY).unwrap();
        prop_assert_eq!(verified.claims().as_map(), &claims);
    }

    #[test]
    fn any_single_byte_mutation_is_refused(
        alg in proptest::sample::select(FAPI),
        position in any::<proptest::sample::Index>(),
        replacement in prop_oneof![
            0_u8..128,
            proptest::sample::select(&b"ABCabc019-_"[..]),
        ],
    ) {
        let claims = object(json!({ "iss": "https://as.example", "aud": "client" }));
        let token = sign(&signer(alg), Some("JWT"), &claims).unwrap();
        let mut bytes = token.clone().into_bytes();
        let at = position.index(bytes.len());
        bytes[at] = replacement;
        let mutated = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(verify(&mutated, &all_keys(), &POLICY).is_ok(), mutated == token);
    }

    #[test]
    fn any_truncation_or_extension_is_refused(cut in 1_usize..300, tail in "[A-Za-z0-9_.-]{1,8}") {
        let token = good_token();
        let cut = token.len().saturating_sub(cut);
        prop_assert!(verify(&token[..cut], &all_keys(), &POLICY).is_err());
        let extended = format!("{token}{tail}");
        prop_assert!(verify(&extended, &all_keys(), &POLICY).is_err());
    }
}

/// The mutation property again, exhaustively over one token: every byte, every base64url letter.
#[test]
fn every_single_letter_change_of_one_token_is_refused() {
    let token = good_token();
    let keys = all_keys();
    for at in 0..token.len() {
        for letter in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_." {
            let mut bytes = token.clone().into_bytes();
            if bytes[at] == *letter {
                continue;
            }
            bytes[at] = *letter;
            let mutated = String::from_utf8(bytes).unwrap();
            assert!(verify(&mutated, &keys, &POLICY).is_err(), "{at} {letter}");
        }
    }
}
