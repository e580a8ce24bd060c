//! Tokens that must be refused, each with its reason.

use aws_lc_rs::hmac;

use super::*;

#[test]
fn the_token_the_refusals_are_made_from_is_accepted() {
    assert_eq!(
        verify(&good_token(), &all_keys(), &POLICY).unwrap().claims().string("iss"),
        Ok("https://as.example")
    );
    assert!(verify(&es256_token(r#"{"alg":"ES256"}"#, "{}"), &all_keys(), &POLICY).is_ok());
}

/// FAPI2-SP-5.4.1-1.3.
#[test]
fn alg_none_in_every_spelling_is_refused_with_and_without_a_signature() {
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({ "alg": alg }).to_string();
        let unsigned = format!("{}.{}.", encode(&header), encode("{}"));
        assert_eq!(refused(&unsigned), JwsRejected::AlgNotAllowed, "{alg}");
        assert_eq!(refused(&es256_token(&header, "{}")), JwsRejected::AlgNotAllowed, "{alg}");
    }
}

#[test]
fn an_empty_signature_is_refused() {
    let token = good_token();
    let (input, _) = token.rsplit_once('.').unwrap();
    assert_eq!(refused(&format!("{input}.")), JwsRejected::SignatureInvalid);
}

/// JWT-3.1: a public key must never serve as a MAC key.
#[test]
fn hs256_with_the_public_key_as_secret_is_refused() {
    let jwk = ES256.public_jwk.to_json();
    let secrets = [jwk.to_string(), jwk["x"].as_str().unwrap().to_owned()];
    for secret in secrets {
        let header = json!({ "alg": "HS256", "kid": ES256.public_jwk.kid() }).to_string();
        let input = format!("{}.{}", encode(header), encode("{}"));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let token = format!("{input}.{}", encode(hmac::sign(&key, input.as_bytes())));
        assert_eq!(refused(&token), JwsRejected::AlgNotAllowed);
    }
}

/// JWK-SEL, JWT-3.1: a key published without `alg` does not widen the allow-list.
#[test]
fn rs256_by_a_key_without_alg_is_refused_unless_the_policy_names_rs256() {
    let bare = published(&[with(&RSA.public_jwk.to_json(), json!({ "alg": null }))]);
    let token = sign(&signer(JwsAlg::Rs256), None, &Map::new()).unwrap();
    assert_eq!(verify(&token, &bare, &POLICY).unwrap_err(), JwsRejected::AlgNotAllowed);
    let oidc = JwsPolicy { algs: &[JwsAlg::Rs256], ..POLICY };
    assert_eq!(verify(&token, &bare, &oidc).unwrap().alg(), JwsAlg::Rs256);
}

/// JWT-3.1: one key, one algorithm.
#[test]
fn a_key_published_for_ps256_does_not_verify_rs256_even_where_the_policy_allows_it() {
    let token = sign(&signer(JwsAlg::Rs256), None, &Map::new()).unwrap();
    let policy = JwsPolicy { algs: &[JwsAlg::Rs256, JwsAlg::Ps256], ..POLICY };
    assert_eq!(verify(&token, &all_keys(), &policy).unwrap_err(), JwsRejected::KeyUnknown);
}

/// JWT-3.1.
#[test]
fn an_algorithm_outside_the_policy_is_refused_before_any_key_is_looked_up() {
    let only_ps256 = JwsPolicy { algs: &[JwsAlg::Ps256], ..POLICY };
    let no_keys = KeySet::default();
    let rejected = verify(&good_token(), &no_keys, &only_ps256).unwrap_err();
    assert_eq!(rejected, JwsRejected::AlgNotAllowed);
    let nothing = JwsPolicy { algs: &[], ..POLICY };
    let rejected = verify(&good_token(), &all_keys(), &nothing).unwrap_err();
    assert_eq!(rejected, JwsRejected::AlgNotAllowed);
}

/// JWT-3.1.
#[test]
fn algorithm_names_are_case_sensitive_and_exact() {
    for alg in ["ps256", "es256", "Es256", "eddsa", "EDDSA", "ed25519", "ES256 ", "ES256K", "RS512"]
    {
        let header = json!({ "alg": alg }).to_string();
        assert_eq!(refused(&es256_token(header, "{}")), JwsRejected::AlgNotAllowed, "{alg}");
    }
}

/// JWT-3.4: the "psychic" signature and its relatives.
#[test]
fn es256_signatures_with_r_or_s_outside_the_group_are_refused() {
    // The order of P-256.
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let token = good_token();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let good = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (r, s) = good.split_at(32);
    let zero = [0; 32];
    for (r, s) in [(&zero[..], &zero[..]), (r, &zero[..]), (&zero[..], s), (&N, &N), (r, &N)] {
        let forged = format!("{input}.{}", encode([r, s].concat()));
        assert_eq!(refused(&forged), JwsRejected::SignatureInvalid);
    }
}

/// JWT-3.4.
#[test]
fn an_es256_signature_in_der_or_of_any_other_length_is_refused() {
    let token = good_token();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let der = p256::ecdsa::Signature::from_slice(&raw).unwrap().to_der();
    for bytes in
        [der.as_bytes(), &raw[..63], &[&raw[..], &[0]].concat(), &[&[0], &raw[..]].concat()]
    {
        let forged = format!("{input}.{}", encode(bytes));
        assert_eq!(refused(&forged), JwsRejected::SignatureInvalid);
    }
}

/// JWT-3.3.
#[test]
fn a_flipped_bit_in_any_part_is_refused() {
    let header = json!({ "alg": "ES256", "x": "aaaa" }).to_string();
    let token = es256_token(header, r#"{"sub":"aaaa"}"#);
    assert!(verify(&token, &all_keys(), &POLICY).is_ok());
    let parts: Vec<Vec<u8>> =
        token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    for part in 0..3 {
        let mut forged = parts.clone();
        // The last letter of `aaaa`, or the last bits of the signature.
        let at = if part == 2 { 63 } else { forged[part].len() - 3 };
        forged[part][at] ^= 1;
        let forged: Vec<String> = forged.iter().map(encode).collect();
        assert_eq!(refused(&forged.join(".")), JwsRejected::SignatureInvalid, "part {part}");
    }
}

/// JWT-BIS-3.13/3.14: only the strict compact form exists.
#[test]
fn anything_but_three_parts_of_unpadded_canonical_base64url_is_refused() {
    let token = good_token();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    // 64 bytes end in a character of which four bits are unused; setting one must not pass.
    let last = signature.chars().last().unwrap();
    let next = char::from(u8::try_from(last).unwrap() + 1);
    let uncanonical = format!("{input}.{}{next}", &signature[..signature.len() - 1]);
    let cases = [
        (String::new(), "nothing"),
        (header.to_owned(), "one part"),
        (input.to_owned(), "two parts"),
        (format!("{token}."), "four parts"),
        (format!("{token}...."), "seven parts"),
        (format!(" {token}"), "leading space"),
        (format!("{token}\n"), "trailing newline"),
        (format!("{header}. {payload}.{signature}"), "inner space"),
        (format!("{input}.{signature}=="), "padding"),
        (format!("{header}=.{payload}.{signature}"), "padding in the header"),
        (format!("{input}.+{}", &signature[1..]), "standard alphabet"),
        (format!("{input}./{}", &signature[1..]), "standard alphabet"),
        (format!("{input}.é{}", &signature[2..]), "not ASCII"),
        (uncanonical, "trailing bits"),
        (format!(".{payload}.{signature}"), "empty header"),
    ];
    for (forged, what) in cases {
        assert_eq!(refused(&forged), JwsRejected::Malformed, "{what}");
    }
    assert_eq!(refused(&format!("{header}..{signature}")), JwsRejected::ClaimsMalformed);
}

/// JWT-3.3: a signed token is expected here, so an encrypted one is named as such.
#[test]
fn five_parts_are_refused_as_encrypted() {
    let header = encode(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#);
    for jwe in [format!("{header}.AAAA.AAAA.AAAA.AAAA"), format!("{header}...."), "....".into()] {
        assert_eq!(refused(&jwe), JwsRejected::Encrypted);
    }
}

/// JWT-BIS-3.13/3.14.
#[test]
fn the_json_serialisations_are_refused() {
    let token = good_token();
    let parts: Vec<&str> = token.split('.').collect();
    let flattened = json!({
        "payload": parts[1], "protected": parts[0], "signature": parts[2],
    });
    let general = json!({
        "payload": parts[1],
        "signatures": [{ "protected": parts[0], "signature": parts[2] }],
    });
    assert_eq!(refused(&flattened.to_string()), JwsRejected::Malformed);
    assert_eq!(refused(&general.to_string()), JwsRejected::Malformed);
}

/// JWT-PARSE.
#[test]
fn a_header_that_is_not_a_sound_object_is_refused() {
    let nested = format!(r#"{{"alg":"ES256","x":{}1{}}}"#, "[".repeat(16), "]".repeat(16));
    let abyss = format!(r#"{{"alg":"ES256","x":{}"#, "[".repeat(6000));
    let long_kid = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(257));
    let headers: [&[u8]; 17] = [
        b"",
        b"null",
        b"[]",
        b"\"ES256\"",
        b"{}",
        b"{\"alg\":null}",
        b"{\"alg\":[\"ES256\"]}",
        b"{\"alg\":256}",
        b"{\"alg\":\"ES256\",\"kid\":null}",
        b"{\"alg\":\"ES256\",\"kid\":7}",
        b"{\"alg\":\"ES256\",\"typ\":null}",
        b"{\"alg\":\"ES256\"}{}",
        b"{\"alg\":\"ES256\",}",
        b"{\"alg\":\"ES256\",\"x\":\"\xff\"}",
        nested.as_bytes(),
        abyss.as_bytes(),
        long_kid.as_bytes(),
    ];
    for header in headers {
        let token = es256_token(header, "{}");
        let shown = String::from_utf8_lossy(&header[..header.len().min(60)]);
        assert_eq!(refused(&token), JwsRejected::Malformed, "{shown}");
    }
}

/// JWT-3.10.
#[test]
fn the_bounds_of_kid_and_nesting_themselves_pass() {
    let nested = format!(r#"{{"alg":"ES256","x":{}1{}}}"#, "[".repeat(15), "]".repeat(15));
    assert!(verify(&es256_token(nested, "{}"), &all_keys(), &POLICY).is_ok());
    let kid = "k".repeat(256);
    let keys = published(&[with(&ES256.public_jwk.to_json(), json!({ "kid": kid }))]);
    let token = es256_token(json!({ "alg": "ES256", "kid": kid }).to_string(), "{}");
    assert_eq!(verify(&token, &keys, &POLICY).unwrap().kid(), Some(kid.as_str()));
}

/// FAPI1-ADV-8.9/8.11, JWT-3.10, JWT-3.6: headers that bring their own key, ask for processing or
/// inflate.
#[test]
fn forbidden_header_members_are_refused_whatever_their_value() {
    for name in ["jku", "x5u", "x5c", "x5t", "x5t#S256", "jwk", "crit", "b64", "zip", "enc"] {
        for value in [json!(null), json!([]), json!("DEF"), json!(false), json!(["exp"])] {
            let header = json!({ "alg": "ES256", name: value }).to_string();
            assert_eq!(
                refused(&es256_token(header, "{}")),
                JwsRejected::HeaderNotAllowed,
                "{name}"
            );
        }
    }
    let header = json!({ "alg": "ES256", "cty": "x", "unheard_of": [1] }).to_string();
    assert!(verify(&es256_token(header, "{}"), &all_keys(), &POLICY).is_ok());
}

/// JWT-PARSE.
#[test]
fn claims_that_are_not_a_sound_object_are_refused() {
    let nested = format!(r#"{{"x":{}1{}}}"#, "[".repeat(16), "]".repeat(16));
    let abyss = r#"{"a":"#.repeat(2000);
    let payloads: [&[u8]; 12] = [
        b"",
        b"null",
        b"[]",
        b"\"x\"",
        b"{",
        b"{} {}",
        b"{\"exp\":NaN}",
        b"{\"exp\":01}",
        b"{\"sub\":\"\xc3\x28\"}",
        b"\xef\xbb\xbf{}",
        nested.as_bytes(),
        abyss.as_bytes(),
    ];
    for payload in payloads {
        let token = es256_token(r#"{"alg":"ES256"}"#, payload);
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(60)]);
        assert_eq!(refused(&token), JwsRejected::ClaimsMalformed, "{shown}");
    }
}

/// JWT-PARSE.
#[test]
fn duplicate_claims_are_refused_at_every_depth_and_in_every_spelling() {
    for payload in [
        r#"{"sub":"a","sub":"b"}"#,
        r#"{"sub":"a","sub":"a"}"#,
        r#"{"sub":"a","\u0073ub":"b"}"#,
        r#"{"cnf":{"jkt":"a","jkt":"b"}}"#,
        r#"{"a":[{"b":{"c":1,"c":1}}]}"#,
    ] {
        let token = es256_token(r#"{"alg":"ES256"}"#, payload);
        assert_eq!(refused(&token), JwsRejected::DuplicateMember, "{payload}");
    }
    let same_name_in_two_objects = r#"{"a":{"b":1},"b":{"a":1}}"#;
    let token = es256_token(r#"{"alg":"ES256"}"#, same_name_in_two_objects);
    assert!(verify(&token, &all_keys(), &POLICY).is_ok());
}

/// JWT-PARSE.
#[test]
fn a_token_of_16_kib_passes_and_one_byte_more_does_not() {
    let of_length = |length: usize| {
        // Base64 grows in steps of four thirds; the header makes up the remainder.
        (0..8).find_map(|extra| {
            let header = format!(r#"{{"alg":"ES256","x":"{}"}}"#, "x".repeat(extra));
            let rest = length - encode(&header).len() - 2 - 86;
            let bytes = rest * 3 / 4;
            let payload = format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes - 8));
            let token = es256_token(header, payload);
            (token.len() == length).then_some(token)
        })
    };
    let largest = of_length(16 * 1024).unwrap();
    assert!(verify(&largest, &all_keys(), &POLICY).is_ok());
    let larger = of_length(16 * 1024 + 1).unwrap();
    assert_eq!(refused(&larger), JwsRejected::TooLarge);
}

/// JWT-3.11.
#[test]
fn typ_is_compared_without_case_and_prefix_and_nothing_else() {
    let required = JwsPolicy { typ: TypRule::Required("logout+jwt"), ..POLICY };
    let any_of = JwsPolicy { typ: TypRule::IfPresent(&["JWT", "jarm+jwt"]), ..POLICY };
    let none_of = JwsPolicy { typ: TypRule::IfPresent(&[]), ..POLICY };
    let cases = [
        (required, Some("logout+jwt"), true),
        (required, Some("application/logout+jwt"), true),
        (required, Some("APPLICATION/Logout+JWT"), true),
        (required, None, false),
        (required, Some(""), false),
        (required, Some("JWT"), false),
        (required, Some("logout+jwt "), false),
        (required, Some("text/logout+jwt"), false),
        (required, Some("application.logout+jwt"), false),
        (required, Some("attestation/logout+jwt"), false),
        (required, Some("application/application/logout+jwt"), false),
        (any_of, None, true),
        (any_of, Some("jwt"), true),
        (any_of, Some("application/jarm+jwt"), true),
        (any_of, Some("at+jwt"), false),
        (any_of, Some("é+jwt"), false),
        (any_of, Some(""), false),
        (none_of, None, true),
        (none_of, Some("JWT"), false),
    ];
    for (policy, typ, accepted) in cases {
        let token = sign(&signer(JwsAlg::Es256), typ, &Map::new()).unwrap();
        match verify(&token, &all_keys(), &policy) {
            Ok(_) => assert!(accepted, "{typ:?} {policy:?}"),
            Err(rejected) => {
                assert_eq!((rejected, accepted), (JwsRejected::TypNotAllowed, false), "{typ:?}");
            }
        }
    }
}

/// JWT-3.3.
#[test]
fn a_signature_by_another_key_of_the_same_name_is_refused() {
    let stranger = generate(JwsAlg::Es256).unwrap();
    let stranger = SoftwareSigner::from_pem(stranger.pkcs8_pem.as_bytes(), None).unwrap();
    let header = json!({ "alg": "ES256", "kid": ES256.public_jwk.kid() }).to_string();
    assert_eq!(refused(&raw_token(&stranger, header, "{}")), JwsRejected::SignatureInvalid);
    let honest = sign(&stranger, None, &Map::new()).unwrap();
    assert_eq!(refused(&honest), JwsRejected::KeyUnknown);
}

#[test]
fn every_refusal_has_its_own_stable_reason() {
    let reasons = [
        (JwsRejected::Malformed, "malformed"),
        (JwsRejected::TooLarge, "too_large"),
        (JwsRejected::DuplicateMember, "duplicate_member"),
        (JwsRejected::HeaderNotAllowed, "header_not_allowed"),
        (JwsRejected::AlgNotAllowed, "alg_not_allowed"),
        (JwsRejected::TypNotAllowed, "typ_not_allowed"),
        (JwsRejected::KeyUnknown, "key_unknown"),
        (JwsRejected::KeyAmbiguous, "key_ambiguous"),
        (JwsRejected::SignatureInvalid, "signature_invalid"),
        (JwsRejected::ClaimsMalformed, "claims_malformed"),
        (JwsRejected::Encrypted, "encrypted"),
    ];
    for (rejected, reason) in reasons {
        assert_eq!(rejected.reason(), reason);
    }
    let reasons = [
        (ClaimsRejected::TooLarge, "too_large"),
        (ClaimsRejected::Malformed, "claims_malformed"),
        (ClaimsRejected::DuplicateMember, "duplicate_member"),
        (ClaimsRejected::TooDeep, "too_deep"),
    ];
    for (rejected, reason) in reasons {
        assert_eq!(rejected.reason(), reason);
    }
}

#[test]
fn every_refusal_of_a_key_has_its_own_stable_reason() {
    let reasons = [
        (KeyRejected::UnknownFormat, "unknown_format"),
        (KeyRejected::Malformed, "malformed"),
        (KeyRejected::DuplicateMember, "duplicate_member"),
        (KeyRejected::UnsupportedType, "unsupported_type"),
        (KeyRejected::NotForSignatures, "not_for_signatures"),
        (KeyRejected::NotForEncryption, "not_for_encryption"),
        (KeyRejected::UnsupportedAlg, "unsupported_alg"),
        (KeyRejected::AlgMismatch, "alg_mismatch"),
        (KeyRejected::RsaSize, "rsa_size"),
        (KeyRejected::RsaExponent, "rsa_exponent"),
        (KeyRejected::Degenerate, "degenerate"),
        (KeyRejected::NotOnCurve, "not_on_curve"),
        (KeyRejected::PrivateMembers, "private_members"),
        (KeyRejected::CertificateMismatch, "certificate_mismatch"),
        (KeyRejected::PairMismatch, "pair_mismatch"),
        (KeyRejected::DuplicateKid, "duplicate_kid"),
        (KeyRejected::TwoUses, "two_uses"),
        (KeyRejected::CertificateKey, "certificate_key"),
        (KeyRejected::Unusable, "unusable"),
    ];
    for (rejected, reason) in reasons {
        assert_eq!(rejected.reason(), reason);
    }
    let reasons = [
        (KeySetRejected::TooLarge, "too_large"),
        (KeySetRejected::Malformed, "malformed"),
        (KeySetRejected::NotAKeySet, "not_a_key_set"),
        (KeySetRejected::TooManyKeys, "too_many_keys"),
    ];
    for (rejected, reason) in reasons {
        assert_eq!(rejected.reason(), reason);
    }
    assert_eq!(SignFailed::Backend.reason(), "sign_backend");
    assert_eq!(SignFailed::Encoding.reason(), "sign_encoding");
}

#[test]
fn debug_shows_no_claim_value() {
    let token = es256_token(r#"{"alg":"ES256"}"#, r#"{"sub":"secret-value"}"#);
    let unverified = UnverifiedJws::parse(&token).unwrap();
    let shown = format!("{unverified:?} {:?}", unverified.unverified_claims());
    assert!(!shown.contains("secret-value"));
    let verified = unverified.verify(&all_keys(), &POLICY).unwrap();
    assert!(!format!("{verified:?}").contains("secret-value"));
}
