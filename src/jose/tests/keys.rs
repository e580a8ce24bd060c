//! Which keys are usable, which one a token means, and which private keys are accepted.

use josekit::jwk::{KeyPair as _, alg::rsa::RsaKeyPair};

use super::*;

fn es256_jwk() -> Value {
    ES256.public_jwk.to_json()
}

fn token_with_kid(kid: &Value) -> String {
    es256_token(with(&json!({ "alg": "ES256" }), json!({ "kid": kid })).to_string(), "{}")
}

fn judge(token: &str, keys: &[Value]) -> Result<(), JwsRejected> {
    verify(token, &published(keys), &POLICY).map(|_| ())
}

fn another_es256() -> Value {
    generate(JwsAlg::Es256).unwrap().public_jwk.to_json()
}

/// FAPI2-SP-5.4.3, JWK-SEL.
#[test]
fn decoys_under_the_same_kid_but_of_another_type_do_not_distract() {
    let kid = json!({ "kid": "k" });
    let ours = with(&es256_jwk(), kid.clone());
    let decoys = [
        with(&RSA.public_jwk.to_json(), kid.clone()),
        with(&EDDSA.public_jwk.to_json(), kid.clone()),
        with(&another_es256(), json!({ "kid": "k", "use": "enc", "alg": null })),
        with(&another_es256(), json!({ "kid": "k", "key_ops": ["sign"] })),
        with(&another_es256(), json!({ "kid": "k", "alg": "ECDH-ES" })),
        with(&another_es256(), json!({ "kid": "k", "crv": "secp256k1" })),
        with(&another_es256(), json!({ "kid": "other" })),
    ];
    let mut keys = decoys.to_vec();
    assert_eq!(judge(&token_with_kid(&json!("k")), &keys), Err(JwsRejected::KeyUnknown));
    keys.push(ours.clone());
    assert_eq!(judge(&token_with_kid(&json!("k")), &keys), Ok(()));
    keys.rotate_right(1);
    assert_eq!(judge(&token_with_kid(&json!("k")), &keys), Ok(()));
}

/// FAPI2-SP-5.4.3, JWK-SEL.
#[test]
fn rsa_keys_of_one_kid_are_told_apart_by_alg() {
    let other = generate(JwsAlg::Ps256).unwrap().public_jwk.to_json();
    let keys = [
        with(&other, json!({ "kid": "k", "alg": "RS256" })),
        with(&RSA.public_jwk.to_json(), json!({ "kid": "k", "alg": "PS256" })),
    ];
    let header = json!({ "alg": "PS256", "kid": "k" }).to_string();
    let token = raw_token(&signer(JwsAlg::Ps256), header, "{}");
    assert_eq!(judge(&token, &keys), Ok(()));
}

/// FAPI2-SP-5.4.3, JWK-SEL.
#[test]
fn two_keys_of_one_kid_and_type_are_refused_and_none_is_tried() {
    let ours = with(&es256_jwk(), json!({ "kid": "k" }));
    let other = with(&another_es256(), json!({ "kid": "k", "alg": null }));
    let token = token_with_kid(&json!("k"));
    for keys in [[ours.clone(), other.clone()], [other, ours]] {
        assert_eq!(judge(&token, &keys), Err(JwsRejected::KeyAmbiguous));
    }
}

/// JWK-SEL.
#[test]
fn without_a_kid_exactly_one_fitting_key_is_needed() {
    let token = token_with_kid(&Value::Null);
    let (rsa, ed) = (RSA.public_jwk.to_json(), EDDSA.public_jwk.to_json());
    assert_eq!(judge(&token, &[rsa.clone(), es256_jwk(), ed.clone()]), Ok(()));
    assert_eq!(judge(&token, &[es256_jwk(), another_es256()]), Err(JwsRejected::KeyAmbiguous));
    assert_eq!(judge(&token, &[rsa, ed]), Err(JwsRejected::KeyUnknown));
    assert_eq!(judge(&token, &[]), Err(JwsRejected::KeyUnknown));
}

/// JWK-SEL.
#[test]
fn a_kid_must_match_exactly_and_a_nameless_key_has_none() {
    let nameless = with(&es256_jwk(), json!({ "kid": null }));
    let named = with(&es256_jwk(), json!({ "kid": "k" }));
    assert_eq!(judge(&token_with_kid(&json!("k")), &[nameless]), Err(JwsRejected::KeyUnknown));
    for kid in ["K", "k ", "", "../k", "k\u{0}"] {
        let rejected = judge(&token_with_kid(&json!(kid)), std::slice::from_ref(&named));
        assert_eq!(rejected, Err(JwsRejected::KeyUnknown), "{kid:?}");
    }
}

#[test]
fn key_sets_know_their_usable_kids() {
    let keys = [
        with(&es256_jwk(), json!({ "kid": "good" })),
        with(&es256_jwk(), json!({ "kid": "bad", "use": "enc" })),
        with(&EDDSA.public_jwk.to_json(), json!({ "kid": "other" })),
    ];
    let set = published(&keys);
    assert!(set.has_kid("good") && set.has_kid("other"));
    assert!(!set.has_kid("bad") && !set.has_kid("none"));
    assert_eq!((set.len(), set.is_empty()), (2, false));
    assert_eq!(set.skipped(), [KeyRejected::NotForSignatures]);
}

/// JWK-FETCH.
#[test]
fn documents_that_are_not_a_bounded_jwk_set_are_refused() {
    let duplicate = r#"{"keys":[],"keys":[]}"#;
    let cases: [(&[u8], KeySetRejected); 11] = [
        (b"", KeySetRejected::Malformed),
        (b"{", KeySetRejected::Malformed),
        (b"{\"keys\":[]} x", KeySetRejected::Malformed),
        (b"{\"keys\":[\"\xff\"]}", KeySetRejected::Malformed),
        (b"<html></html>", KeySetRejected::Malformed),
        (b"[]", KeySetRejected::NotAKeySet),
        (b"7", KeySetRejected::NotAKeySet),
        (b"{}", KeySetRejected::NotAKeySet),
        (b"{\"keys\":{}}", KeySetRejected::NotAKeySet),
        (b"{\"keys\":null}", KeySetRejected::NotAKeySet),
        (duplicate.as_bytes(), KeySetRejected::NotAKeySet),
    ];
    for (json, rejected) in cases {
        let shown = String::from_utf8_lossy(json);
        assert_eq!(KeySet::parse(json).unwrap_err(), rejected, "{shown}");
    }
    assert!(KeySet::parse(br#"{"keys":[],"extra":{"a":[1]}}"#).unwrap().is_empty());
}

/// JWK-FETCH.
#[test]
fn key_sets_of_100_keys_and_256_kib_pass_and_one_more_does_not() {
    let of_keys = |count| json!({ "keys": vec![json!({}); count] }).to_string();
    assert_eq!(KeySet::parse(of_keys(100).as_bytes()).unwrap().skipped().len(), 100);
    let rejected = KeySet::parse(of_keys(101).as_bytes()).unwrap_err();
    assert_eq!(rejected, KeySetRejected::TooManyKeys);
    let of_size = |bytes: usize| {
        let frame = r#"{"keys":[],"x":""}"#.len();
        format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(bytes - frame))
    };
    assert!(KeySet::parse(of_size(256 * 1024).as_bytes()).is_ok());
    let rejected = KeySet::parse(of_size(256 * 1024 + 1).as_bytes()).unwrap_err();
    assert_eq!(rejected, KeySetRejected::TooLarge);
}

/// JWT-3.4, JWK-FETCH.
#[test]
fn ec_points_off_the_curve_or_of_the_wrong_length_are_refused() {
    let jwk = es256_jwk();
    let x = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    let mut off = x.clone();
    off[31] ^= 1;
    // A neighbouring x may be on the curve, but not with this y.
    let cases = [
        (json!({ "x": encode(&off) }), KeyRejected::NotOnCurve),
        (json!({ "x": encode([0; 32]), "y": encode([0; 32]) }), KeyRejected::NotOnCurve),
        (json!({ "x": encode([0xff; 32]) }), KeyRejected::NotOnCurve),
        (json!({ "x": encode(&x[1..]) }), KeyRejected::Malformed),
        (json!({ "x": encode([&[0], &x[..]].concat()) }), KeyRejected::Malformed),
        (json!({ "x": "" }), KeyRejected::Malformed),
        (json!({ "x": format!("{}=", encode(&x)) }), KeyRejected::Malformed),
        (json!({ "x": 7 }), KeyRejected::Malformed),
        (json!({ "y": null }), KeyRejected::Malformed),
    ];
    for (change, rejected) in cases {
        let changed = PublicJwk::from_json(&with(&jwk, change.clone()));
        assert_eq!(changed, Err(rejected), "{change}");
    }
}

/// FAPI1-BASE-5.2.4-2/3, FAPI2-SP-5.4.1-2/3.
#[test]
fn other_key_types_and_curves_are_refused() {
    let jwk = es256_jwk();
    for crv in ["P-384", "P-521", "secp256k1", "p-256", "Ed25519", ""] {
        let rejected = PublicJwk::from_json(&with(&jwk, json!({ "crv": crv })));
        assert_eq!(rejected, Err(KeyRejected::UnsupportedType), "{crv}");
    }
    for crv in ["X25519", "Ed448", "ed25519"] {
        let jwk = with(&EDDSA.public_jwk.to_json(), json!({ "crv": crv }));
        assert_eq!(PublicJwk::from_json(&jwk), Err(KeyRejected::UnsupportedType), "{crv}");
    }
    for kty in ["oct", "AKP", "ec", "rsa", ""] {
        let jwk = json!({ "kty": kty, "crv": "P-256", "k": "AAAA" });
        assert_eq!(PublicJwk::from_json(&jwk), Err(KeyRejected::UnsupportedType), "{kty}");
    }
    for (kty, crv) in [("EC", json!(1)), ("OKP", json!(1)), ("EC", json!(null))] {
        let jwk = json!({ "kty": kty, "crv": crv, "x": "AA", "y": "AA" });
        assert_eq!(PublicJwk::from_json(&jwk), Err(KeyRejected::Malformed));
    }
    for kty in ["EC", "OKP"] {
        let jwk = json!({ "kty": kty, "x": "AA", "y": "AA" });
        assert_eq!(PublicJwk::from_json(&jwk), Err(KeyRejected::Malformed));
    }
}

/// JWK-FETCH.
#[test]
fn private_members_in_a_public_key_are_refused() {
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        for jwk in [es256_jwk(), RSA.public_jwk.to_json(), EDDSA.public_jwk.to_json()] {
            let jwk = with(&jwk, json!({ name: "AA" }));
            assert_eq!(PublicJwk::from_json(&jwk), Err(KeyRejected::PrivateMembers), "{name}");
        }
    }
}

#[test]
fn only_public_members_survive() {
    let jwk = with(&es256_jwk(), json!({ "nbf": 1, "x5u": "https://x.example", "use": "sig" }));
    let key = PublicJwk::from_json(&jwk).unwrap();
    assert_eq!(key.to_json(), es256_jwk());
}

/// JWK-SEL.
#[test]
fn use_and_key_ops_decide_whether_a_key_verifies() {
    let verdict = |change: Value| PublicJwk::from_json(&with(&es256_jwk(), change)).map(|_| ());
    assert_eq!(verdict(json!({ "use": "sig", "key_ops": ["sign", "verify"] })), Ok(()));
    for change in [
        json!({ "use": "enc" }),
        json!({ "use": "SIG" }),
        json!({ "use": "" }),
        json!({ "key_ops": [] }),
        json!({ "key_ops": ["sign"] }),
        json!({ "key_ops": ["Verify"] }),
        json!({ "use": "sig", "key_ops": ["encrypt"] }),
    ] {
        assert_eq!(verdict(change.clone()), Err(KeyRejected::NotForSignatures), "{change}");
    }
    for change in [json!({ "key_ops": "verify" }), json!({ "key_ops": ["verify", 1] })] {
        assert_eq!(verdict(change.clone()), Err(KeyRejected::Malformed), "{change}");
    }
}

/// JWK-SEL.
#[test]
fn alg_must_be_spoken_and_fit_the_key() {
    let verdict = |jwk: Value, alg: Value| PublicJwk::from_json(&with(&jwk, json!({ "alg": alg })));
    for alg in ["RS512", "ES384", "HS256", "none", "es256", "RSA-OAEP"] {
        let rejected = verdict(es256_jwk(), json!(alg));
        assert_eq!(rejected, Err(KeyRejected::UnsupportedAlg), "{alg}");
    }
    for (jwk, alg) in [
        (es256_jwk(), "PS256"),
        (es256_jwk(), "EdDSA"),
        (RSA.public_jwk.to_json(), "ES256"),
        (EDDSA.public_jwk.to_json(), "RS256"),
    ] {
        assert_eq!(verdict(jwk, json!(alg)), Err(KeyRejected::AlgMismatch), "{alg}");
    }
    assert_eq!(verdict(es256_jwk(), json!(["ES256"])), Err(KeyRejected::Malformed));
}

#[test]
fn kids_are_strings_of_at_most_256_characters() {
    let verdict =
        |kid: Value| PublicJwk::from_json(&with(&es256_jwk(), json!({ "kid": kid }))).map(|_| ());
    assert_eq!(verdict(json!("é".repeat(256))), Ok(()));
    assert_eq!(verdict(json!("k".repeat(257))), Err(KeyRejected::Malformed));
    assert_eq!(verdict(json!(1)), Err(KeyRejected::Malformed));
}

/// JWK-FETCH.
#[test]
fn degenerate_keys_are_refused() {
    let mut even = vec![0xff; 256];
    even[255] = 0xfe;
    let even = json!({ "kty": "RSA", "n": encode(even), "e": "AQAB" });
    assert_eq!(PublicJwk::from_json(&even), Err(KeyRejected::Degenerate));

    let first_then = |first: u8, middle: u8, last: u8| {
        let mut x = [middle; 32];
        (x[0], x[31]) = (first, last);
        x
    };
    let order_8_a = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let order_8_b = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    let from_hex = |hex: &str| {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        std::array::from_fn::<u8, 32, _>(|index| byte(index * 2))
    };
    for mut x in [
        first_then(0, 0, 0),
        first_then(1, 0, 0),
        first_then(0xec, 0xff, 0x7f),
        first_then(0xed, 0xff, 0x7f),
        first_then(0xee, 0xff, 0x7f),
        from_hex(order_8_a),
        from_hex(order_8_b),
    ] {
        for sign_bit in [0, 0x80] {
            x[31] ^= sign_bit;
            let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(x) });
            assert_eq!(PublicJwk::from_json(&jwk), Err(KeyRejected::Degenerate), "{x:02x?}");
        }
    }
    // Neighbours of the degenerate ones; an honest key may begin or end like any of them.
    let mut almost = first_then(0xed, 0xff, 0x7f);
    almost[15] = 0xfe;
    for x in [
        almost,
        first_then(2, 0, 0),
        first_then(0, 0, 1),
        first_then(1, 0, 1),
        first_then(1, 1, 0),
        first_then(0xeb, 0xff, 0x7f),
        first_then(0xef, 0xff, 0x7f),
        first_then(0xed, 0xfe, 0x7f),
        first_then(0xed, 0xff, 0x7e),
    ] {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(x) });
        assert!(PublicJwk::from_json(&jwk).is_ok(), "{x:02x?}");
    }
}

#[test]
fn a_modulus_with_leading_zeros_is_the_same_key() {
    let jwk = RSA.public_jwk.to_json();
    let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let padded = with(&jwk, json!({ "n": encode([&[0, 0], &n[..]].concat()) }));
    assert_eq!(PublicJwk::from_json(&padded).unwrap(), RSA.public_jwk);
    assert!(published(&[padded]).has_kid(RSA.public_jwk.kid().unwrap()));
}

/// JWK-FETCH.
#[test]
fn a_certificate_in_x5c_must_certify_the_key() {
    use base64::engine::general_purpose::STANDARD;
    let certificate_of = |pem: &str| {
        let key = rcgen::KeyPair::from_pem(pem).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        STANDARD.encode(certificate.der())
    };
    let strangers = [JwsAlg::Es256, JwsAlg::EdDsa, JwsAlg::Ps256]
        .map(|alg| certificate_of(&generate(alg).unwrap().pkcs8_pem));
    for key in [&*ES256, &*EDDSA, &*RSA] {
        let jwk = key.public_jwk.to_json();
        let own = certificate_of(&key.pkcs8_pem);
        let verdict =
            |x5c: Value| PublicJwk::from_json(&with(&jwk, json!({ "x5c": x5c }))).map(|_| ());
        assert_eq!(verdict(json!([own])), Ok(()));
        for stranger in &strangers {
            assert_eq!(verdict(json!([stranger, own])), Err(KeyRejected::CertificateMismatch));
        }
        for chain in [json!(["AAAA"]), json!([""])] {
            assert_eq!(verdict(chain), Err(KeyRejected::CertificateMismatch));
        }
        for chain in [json!([]), json!(own), json!([1]), json!(["*"])] {
            assert_eq!(verdict(chain), Err(KeyRejected::Malformed));
        }
    }
}

/// JWK-OWN.
#[test]
fn published_keys_always_carry_use_alg_and_kid() {
    let bare = |key: &GeneratedKey| {
        let jwk = with(&key.public_jwk.to_json(), json!({ "kid": null, "alg": null }));
        PublicJwk::from_json(&jwk).unwrap()
    };
    let keys = [bare(&ES256), bare(&EDDSA), bare(&RSA)];
    let document = jwks_document(&keys);
    for (index, alg) in ["ES256", "EdDSA", "PS256"].into_iter().enumerate() {
        let jwk = &document["keys"][index];
        assert_eq!((&jwk["use"], &jwk["alg"]), (&json!("sig"), &json!(alg)));
        assert_eq!(jwk["kid"], keys[index].thumbprint());
    }
}

/// JWK-OWN, FAPI2-SP-5.4.1-2/3.
#[test]
fn generated_keys_are_named_by_their_thumbprint_and_rsa_has_3072_bits() {
    for (key, alg) in [(&*ES256, "ES256"), (&*EDDSA, "EdDSA"), (&*RSA, "PS256")] {
        assert_eq!(key.public_jwk.kid(), Some(key.public_jwk.thumbprint().as_str()));
        assert_eq!(key.public_jwk.alg().map(JwsAlg::name), Some(alg));
    }
    let n = RSA.public_jwk.to_json()["n"].as_str().map(|n| URL_SAFE_NO_PAD.decode(n).unwrap());
    assert_eq!(n.map(|n| n.len()), Some(384));
}

fn load(jwk: &Value) -> Result<(), KeyRejected> {
    SoftwareSigner::from_jwk(jwk.to_string().as_bytes()).map(|_| ())
}

fn rsa_private_jwk() -> Value {
    let pair = RsaKeyPair::from_pem(RSA.pkcs8_pem.as_bytes()).unwrap();
    Value::Object(pair.to_jwk_private_key().into())
}

/// RFC 7515 appendix A.3.
fn es256_private_jwk() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    })
}

fn eddsa_private_jwk() -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "x": vectors::RFC8037_X, "d": vectors::RFC8037_D,
    })
}

#[test]
fn private_jwks_of_every_type_load() {
    for jwk in [rsa_private_jwk(), es256_private_jwk(), eddsa_private_jwk()] {
        assert_eq!(load(&jwk), Ok(()));
        assert_eq!(load(&with(&jwk, json!({ "key_ops": ["sign"], "use": "sig" }))), Ok(()));
    }
}

#[test]
fn a_private_half_of_another_key_is_refused() {
    let wrong_d = json!({ "d": encode([7; 32]) });
    assert_eq!(load(&with(&eddsa_private_jwk(), wrong_d.clone())), Err(KeyRejected::PairMismatch));
    assert!(load(&with(&es256_private_jwk(), wrong_d)).is_err());
    let other = generate(JwsAlg::Ps256).unwrap().public_jwk.to_json();
    assert!(load(&with(&rsa_private_jwk(), json!({ "n": other["n"] }))).is_err());
    for d in [[0; 32], [0xff; 32]] {
        assert!(load(&with(&es256_private_jwk(), json!({ "d": encode(d) }))).is_err());
    }
}

/// josekit zeroises nothing: what is lent to it is wiped here.
#[test]
fn the_texts_of_a_private_key_are_wiped() {
    let mut members = object(rsa_private_jwk());
    engine::wipe(&mut members);
    assert!(members.values().all(|value| value.as_str() == Some("")));
}

#[test]
fn unsound_private_jwks_are_refused() {
    for name in ["d", "p", "q", "dp", "dq", "qi", "n", "e", "kty"] {
        for value in [json!(null), json!(1), json!("*")] {
            let jwk = with(&rsa_private_jwk(), json!({ name: value }));
            assert!(load(&jwk).is_err(), "{name} {value}");
        }
    }
    let es256 = es256_private_jwk();
    for (change, rejected) in [
        (json!({ "d": null }), KeyRejected::Malformed),
        (json!({ "d": encode([1; 31]) }), KeyRejected::Malformed),
        (json!({ "d": encode([1; 33]) }), KeyRejected::Malformed),
        (json!({ "y": es256["x"] }), KeyRejected::NotOnCurve),
        (json!({ "crv": "P-384" }), KeyRejected::UnsupportedType),
        (json!({ "use": "enc" }), KeyRejected::NotForSignatures),
        (json!({ "key_ops": ["verify"] }), KeyRejected::NotForSignatures),
        (json!({ "alg": "PS256" }), KeyRejected::AlgMismatch),
        (json!({ "alg": "ES512" }), KeyRejected::UnsupportedAlg),
    ] {
        assert_eq!(load(&with(&es256, change.clone())), Err(rejected), "{change}");
    }
    let twice = es256.to_string().replacen('{', r#"{"d":"AA","#, 1);
    let rejected = SoftwareSigner::from_jwk(twice.as_bytes()).unwrap_err();
    assert_eq!(rejected, KeyRejected::DuplicateMember);
}

#[test]
fn pem_of_another_kind_is_refused() {
    let load = |pem: &str, alg| SoftwareSigner::from_pem(pem.as_bytes(), alg).unwrap_err();
    let relabelled = ES256.pkcs8_pem.replace("PRIVATE KEY", "EC PRIVATE KEY");
    let encrypted = ES256.pkcs8_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let public = ES256.pkcs8_pem.replace("PRIVATE KEY", "PUBLIC KEY");
    for pem in ["", "garbage", &relabelled, &encrypted, &public, &ES256.pkcs8_pem[..80]] {
        assert_eq!(load(pem, None), KeyRejected::UnknownFormat);
    }
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert_eq!(load(&p384.serialize_pem(), None), KeyRejected::UnsupportedType);
    assert_eq!(load(&ES256.pkcs8_pem, Some(JwsAlg::Ps256)), KeyRejected::AlgMismatch);
    assert_eq!(load(&RSA.pkcs8_pem, Some(JwsAlg::EdDsa)), KeyRejected::AlgMismatch);
    assert!(SoftwareSigner::from_pem(b"\xff\xfe", None).is_err());
}

/// RFC 8017 appendix A.1.2: version 1 announces more than two primes.
#[test]
fn an_rsa_key_of_more_than_two_primes_is_refused() {
    use base64::engine::general_purpose::STANDARD;
    const VERSION_AND_MODULUS: [u8; 5] = [2, 1, 0, 2, 0x82];
    let body: String = RSA.pkcs8_pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = STANDARD.decode(body).unwrap();
    let at = der.windows(5).position(|window| window == VERSION_AND_MODULUS).unwrap();
    der[at + 2] = 1;
    let body = STANDARD.encode(der);
    let lines: Vec<_> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let refused = SoftwareSigner::from_pem(pem.as_bytes(), None).unwrap_err();
    assert_eq!(refused, KeyRejected::UnsupportedType);
}

#[test]
fn a_key_file_may_hold_either_form_and_must_not_contradict_the_configuration() {
    let load =
        |file: &[u8], alg| SoftwareSigner::from_file_bytes(file, alg).map(|signer| signer.alg());
    assert_eq!(load(ES256.pkcs8_pem.as_bytes(), None), Ok(JwsAlg::Es256));
    assert_eq!(load(RSA.pkcs8_pem.as_bytes(), Some(JwsAlg::Rs256)), Ok(JwsAlg::Rs256));
    let jwk = format!("\n {}", rsa_private_jwk());
    assert_eq!(load(jwk.as_bytes(), None), Ok(JwsAlg::Ps256));
    assert_eq!(load(jwk.as_bytes(), Some(JwsAlg::Es256)), Err(KeyRejected::AlgMismatch));
    let pinned = with(&rsa_private_jwk(), json!({ "alg": "PS256" })).to_string();
    assert_eq!(load(pinned.as_bytes(), Some(JwsAlg::Ps256)), Ok(JwsAlg::Ps256));
    assert_eq!(load(pinned.as_bytes(), Some(JwsAlg::Rs256)), Err(KeyRejected::AlgMismatch));
    assert_eq!(load(b"", None), Err(KeyRejected::UnknownFormat));
    assert_eq!(load(b"{", None), Err(KeyRejected::UnknownFormat));
}

/// DPOP-4.1/4.2-h: the same seed makes the same key, and nothing shows it.
#[test]
fn a_seed_makes_one_key() {
    use zeroize::Zeroizing;

    use crate::jose::KeySeed;
    let seed = |byte| KeySeed::new(Zeroizing::new([byte; 32]));
    let signer = |byte| SoftwareSigner::from_seed(&seed(byte)).unwrap();
    let (one, again, other) = (signer(1), signer(1), signer(2));
    assert_eq!(one.public_jwk(), again.public_jwk());
    assert_ne!(one.public_jwk(), other.public_jwk());
    assert_eq!((one.alg(), one.kid()), (JwsAlg::Es256, one.public_jwk().thumbprint().as_str()));
    // Zero and numbers beyond the order of the group are no private keys.
    assert!(SoftwareSigner::from_seed(&seed(0)).is_err());
    assert!(SoftwareSigner::from_seed(&seed(0xff)).is_err());
    let sealed = serde_json::to_string(&seed(7)).unwrap();
    assert_eq!(serde_json::from_str::<KeySeed>(&sealed).unwrap(), seed(7));
    for wrong in ["\"\"", "\"AAAA\"", "7", "null"] {
        assert!(serde_json::from_str::<KeySeed>(wrong).is_err(), "{wrong}");
    }
    assert_eq!(format!("{:?}", seed(7)), "KeySeed(..)");
}

/// MTLS-2.2.2: a self-signed certificate stands in the client's key set as a key that it certifies.
#[test]
fn a_certificate_is_published_as_the_key_it_certifies() {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

    use crate::jose::certificate_jwk;
    for alg in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        let key = KeyPair::generate_for(alg).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let jwk = certificate_jwk(certificate.der()).unwrap();
        assert_eq!(jwk["use"], "sig");
        assert_eq!(jwk["x5c"].as_array().unwrap().len(), 1);
        assert!(jwk.get("d").is_none());
        // As a server reads it: `x5c` must certify the key beside it.
        let read = PublicJwk::from_json(&jwk).unwrap();
        assert_eq!(jwk["kid"], read.thumbprint());
    }
    for wrong in [b"".as_slice(), b"no certificate"] {
        assert_eq!(certificate_jwk(wrong), Err(KeyRejected::UnknownFormat));
    }
}
