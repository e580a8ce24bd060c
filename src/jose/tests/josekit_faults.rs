//! What josekit 0.10.3 lets through, loses or panics on by itself, each fault pinned shut here.

use super::*;

#[test]
fn fault_duplicate_header_members_last_one_wins() {
    for header in [
        r#"{"alg":"none","alg":"ES256"}"#,
        r#"{"alg":"ES256","alg":"ES256"}"#,
        r#"{"alg":"ES256","typ":"a","typ":"JWT"}"#,
        r#"{"alg":"ES256","\u0061lg":"ES256"}"#,
        r#"{"alg":"ES256","x":{"y":1,"y":2}}"#,
    ] {
        assert_eq!(refused(&es256_token(header, "{}")), JwsRejected::DuplicateMember, "{header}");
    }
}

#[test]
fn fault_an_empty_or_unknown_crit_is_accepted() {
    for crit in [json!([]), json!(["b64"]), json!(["http://example.com/unknown"])] {
        let header = json!({ "alg": "ES256", "crit": crit }).to_string();
        assert_eq!(refused(&es256_token(header, "{}")), JwsRejected::HeaderNotAllowed);
    }
}

#[test]
fn fault_typ_is_never_checked() {
    let policy = JwsPolicy { typ: TypRule::Required("oauth-authz-req+jwt"), ..POLICY };
    for header in [json!({ "alg": "ES256" }), json!({ "alg": "ES256", "typ": "at+jwt" })] {
        let token = es256_token(header.to_string(), "{}");
        let rejected = verify(&token, &all_keys(), &policy).unwrap_err();
        assert_eq!(rejected, JwsRejected::TypNotAllowed);
    }
}

#[test]
fn fault_a_huge_exp_panics() {
    for exp in
        ["1e300", "18446744073709551615", "18446744073709551616", "-1", "1e2", "253402300800"]
    {
        let token = es256_token(r#"{"alg":"ES256"}"#, format!(r#"{{"exp":{exp}}}"#));
        let verified = verify(&token, &all_keys(), &POLICY).unwrap();
        assert!(verified.claims().time("exp").is_err(), "{exp}");
        assert!(verified.claims().optional_time("exp").is_err(), "{exp}");
    }
}

#[test]
fn fault_iat_and_nbf_are_written_as_floats() {
    let claims = object(json!({
        "iat": 1_700_000_000_i64, "nbf": 1_700_000_000_i64, "exp": 1_700_000_060_i64,
    }));
    let token = sign(&signer(JwsAlg::Es256), None, &claims).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let text = String::from_utf8(payload).unwrap();
    assert_eq!(text, r#"{"iat":1700000000,"nbf":1700000000,"exp":1700000060}"#);
}

#[test]
fn fault_a_jwk_without_kty_panics() {
    let jwk = with(&ES256.public_jwk.to_json(), json!({ "kty": null }));
    assert_eq!(PublicJwk::from_json(&jwk), Err(KeyRejected::Malformed));
    assert_eq!(PublicJwk::from_json(&json!({})), Err(KeyRejected::Malformed));
}

#[test]
fn fault_a_jwk_whose_use_is_not_a_string_panics() {
    for value in [json!(1), json!(["sig"]), json!({}), json!(false)] {
        let jwk = with(&ES256.public_jwk.to_json(), json!({ "use": value }));
        assert_eq!(PublicJwk::from_json(&jwk), Err(KeyRejected::Malformed));
    }
}

#[test]
fn fault_one_malformed_key_spoils_the_whole_set() {
    let good = ES256.public_jwk.to_json();
    let twice = good.to_string().replacen('{', r#"{"kid":"first","#, 1);
    let deep = format!(r#"{{"kty":{}1,2{}}}"#, "[".repeat(16), "]".repeat(16));
    let set = format!(
        r#"{{"keys":[{{}},7,null,{{"kty":"AKP"}},{{"kty":"EC","use":1}},{twice},{deep},{good}]}}"#
    );
    let set = KeySet::parse(set.as_bytes()).unwrap();
    assert_eq!(
        set.skipped(),
        [
            KeyRejected::Malformed,
            KeyRejected::UnknownFormat,
            KeyRejected::UnknownFormat,
            KeyRejected::UnsupportedType,
            KeyRejected::Malformed,
            KeyRejected::DuplicateMember,
            KeyRejected::Malformed,
        ]
    );
    assert_eq!(set.len(), 1);
    assert!(verify(&good_token(), &set, &POLICY).is_ok());
}

#[test]
fn fault_a_private_jwk_prints_in_debug() {
    let d = vectors::RFC8037_D;
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": vectors::RFC8037_X, "d": d });
    let signer = SoftwareSigner::from_jwk(jwk.to_string().as_bytes()).unwrap();
    let shown = format!("{signer:?} {:?} {:?}", signer.public_jwk(), &*EDDSA);
    assert!(shown.contains(signer.kid()));
    assert!(!shown.contains(d));
    assert!(!shown.contains("PRIVATE KEY"));
}

#[test]
fn fault_the_public_half_of_a_key_loses_kid_and_alg() {
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "x": vectors::RFC8037_X, "d": vectors::RFC8037_D,
        "kid": "my-key", "alg": "Ed25519",
    });
    let signer = SoftwareSigner::from_jwk(jwk.to_string().as_bytes()).unwrap();
    assert_eq!((signer.kid(), signer.alg()), ("my-key", JwsAlg::Ed25519));
    let document = jwks_document([signer.public_jwk()]);
    assert_eq!(
        document,
        json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "x": vectors::RFC8037_X,
            "use": "sig", "alg": "Ed25519", "kid": "my-key",
        }] })
    );
}

/// FAPI2-SP-5.4.1-2/3: josekit counts whole bytes, so anything from 2041 bits passes for 2048.
#[test]
fn fault_rsa_keys_of_2041_bits_pass_for_2048() {
    let of_bits = |bits: usize| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] >>= (8 - bits % 8) % 8;
        PublicJwk::from_json(&json!({ "kty": "RSA", "n": encode(n), "e": "AQAB" })).map(|_| ())
    };
    for bits in [512, 1024, 2040, 2041, 2047, 8193, 16384] {
        assert_eq!(of_bits(bits), Err(KeyRejected::RsaSize), "{bits}");
    }
    for bits in [2048, 2049, 3072, 8192] {
        assert_eq!(of_bits(bits), Ok(()), "{bits}");
    }
    for nothing in [&[][..], &[0], &[0; 256]] {
        let jwk = json!({ "kty": "RSA", "n": encode(nothing), "e": "AQAB" });
        assert_eq!(PublicJwk::from_json(&jwk), Err(KeyRejected::RsaSize));
    }
}

#[test]
fn fault_rsa_exponents_of_one_pass() {
    let jwk = RSA.public_jwk.to_json();
    for e in [&[][..], &[0], &[1], &[2], &[3], &[1, 0, 0], &[1, 0, 1, 0], &[1, 0, 3]] {
        let jwk = with(&jwk, json!({ "e": encode(e) }));
        assert_eq!(PublicJwk::from_json(&jwk), Err(KeyRejected::RsaExponent), "{e:?}");
    }
}

/// josekit takes PKCS#8 for PS256 only under the identifier id-RSASSA-PSS.
#[test]
fn fault_ps256_refuses_ordinary_rsa_encryption_pkcs8() {
    let signer = SoftwareSigner::from_pem(RSA.pkcs8_pem.as_bytes(), None).unwrap();
    assert_eq!(signer.alg(), JwsAlg::Ps256);
    let token = sign(&signer, None, &Map::new()).unwrap();
    assert!(verify(&token, &all_keys(), &POLICY).is_ok());
}

/// josekit writes EC keys that other libraries refuse; ours are written by one of those.
#[test]
fn fault_ec_pkcs8_is_unreadable_elsewhere() {
    let pem = rcgen::KeyPair::from_pem(&ES256.pkcs8_pem).unwrap();
    assert!(pem.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256));
}

/// The salt of PS256 is exactly 32 bytes (RFC 7518 §3.5), whoever made the signature.
#[test]
fn ps256_takes_a_salt_of_32_bytes_only() {
    let vector: Value = serde_json::from_str(include_str!("pss_salts.json")).unwrap();
    let keys = published(&[vector["jwk"].clone()]);
    let judge = |salt: &str| {
        let token = vector["tokens"][salt].as_str().unwrap();
        verify(token, &keys, &POLICY).map(|_| ())
    };
    assert_eq!(judge("32"), Ok(()));
    for salt in ["0", "20", "64"] {
        assert_eq!(judge(salt), Err(JwsRejected::SignatureInvalid), "{salt}");
    }
}

const JWE: JwePolicy = JwePolicy { alg: JweAlg::EcdhEsA256Kw, enc: JweEnc::A256Gcm };

/// `token` with one of its parts cut or grown to this many bytes.
fn resized(token: &str, part: usize, bytes: usize) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let mut content = URL_SAFE_NO_PAD.decode(&parts[part]).unwrap();
    content.resize(bytes, 0);
    parts[part] = encode(content);
    parts.join(".")
}

/// One byte is enough for josekit, so that one forgery in 256 passes.
#[test]
fn fault_gcm_accepts_a_tag_cut_short() {
    let token = jwe_with(JWE, json!({}));
    assert!(decrypt(&token, &RING, JWE).is_ok());
    for bytes in [0, 1, 4, 8, 12, 15] {
        let cut = resized(&token, 4, bytes);
        assert_eq!(decrypt(&cut, &RING, JWE).unwrap_err(), JweRejected::Malformed, "{bytes}");
    }
}

#[test]
fn fault_an_empty_iv_panics() {
    for enc in JweEnc::ALL {
        let policy = JwePolicy { enc, ..JWE };
        let token = resized(&jwe_with(policy, json!({})), 2, 0);
        assert_eq!(decrypt(&token, &RING, policy).unwrap_err(), JweRejected::Malformed);
    }
}

#[test]
fn fault_an_encrypted_key_below_eight_bytes_panics() {
    let token = jwe_with(JWE, json!({}));
    for bytes in 0..8 {
        let cut = resized(&token, 1, bytes);
        assert_eq!(decrypt(&cut, &RING, JWE).unwrap_err(), JweRejected::Malformed, "{bytes}");
    }
}

#[test]
fn fault_compressed_content_is_inflated_without_bound() {
    for zip in ["DEF", "", "none"] {
        let token = jwe_with(JWE, json!({ "zip": zip }));
        assert_eq!(decrypt(&token, &RING, JWE).unwrap_err(), JweRejected::HeaderNotAllowed);
    }
}

#[test]
fn fault_a_private_jwk_for_decryption_prints_in_debug() {
    let generated = generate_decryption_key(JweAlg::EcdhEs).unwrap();
    let jwk: Value = serde_json::from_str(&generated.private_jwk).unwrap();
    let key = DecryptionKey::from_jwk(generated.private_jwk.as_bytes(), None).unwrap();
    let shown = format!("{generated:?} {key:?}");
    assert!(shown.contains(key.kid()) && !shown.contains(jwk["d"].as_str().unwrap()));
}
