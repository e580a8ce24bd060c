//! What we encrypt is opened by its recipient, by nobody else, and says what it is; and a peer's
//! key is found or nothing is encrypted.

use fapi_bff_conformance::jwe as independent;

use super::*;

fn header_of(token: &str) -> Value {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice(&header).unwrap()
}

fn target(policy: JwePolicy) -> EncryptionTarget {
    EncryptionTarget::new(&recipient(policy.alg), policy.alg, policy.enc).unwrap()
}

#[test]
fn every_pair_of_algorithms_round_trips() {
    for policy in policies() {
        let inner = good_token();
        let token = encrypt(&inner, None, &target(policy)).unwrap();
        assert_eq!(*decrypt(&token, &RING, policy).unwrap(), inner, "{policy:?}");
        let again = encrypt(&inner, None, &target(policy)).unwrap();
        for (one, other) in token.split('.').zip(again.split('.')).skip(2) {
            assert_ne!(one, other, "{policy:?}: something is not random");
        }
    }
}

#[test]
fn an_independent_implementation_opens_what_we_encrypt() {
    for policy in policies() {
        let alg = independent::Alg::from_name(policy.alg.name()).unwrap();
        let enc = independent::Enc::from_name(policy.enc.name()).unwrap();
        let key = independent::DecryptionKey::generate(alg).unwrap();
        let keys = published(std::slice::from_ref(key.public_jwk()));
        let target = EncryptionTarget::in_set(&keys, policy.alg, policy.enc, None).unwrap();
        let inner = good_token();
        let token = encrypt(&inner, Some("oauth-authz-req+jwt"), &target).unwrap();
        assert_eq!(key.decrypt(&token, enc), Ok(inner), "{policy:?}");
    }
}

/// josekit's own content encryption is OpenSSL's, ours is not.
#[test]
#[expect(clippy::disallowed_methods, reason = "josekit as a second opinion")]
fn josekit_opens_what_we_encrypt_and_we_open_what_it_does() {
    use josekit::jwe::{self, ECDH_ES, ECDH_ES_A128KW, ECDH_ES_A256KW, RSA_OAEP, RSA_OAEP_256};
    for policy in policies() {
        let JwePolicy { alg, enc } = policy;
        let (key, public) = match alg {
            JweAlg::RsaOaep | JweAlg::RsaOaep256 => (&*RSA, recipient(alg)),
            _ => (&*ES256, recipient(alg)),
        };
        let public = with(&public.to_json(), json!({ "alg": null }));
        let public = josekit::jwk::Jwk::from_map(object(public)).unwrap();
        let pem = &key.pkcs8_pem;
        let (encrypter, decrypter): (Box<dyn jwe::JweEncrypter>, Box<dyn jwe::JweDecrypter>) =
            match alg {
                JweAlg::RsaOaep => (
                    Box::new(RSA_OAEP.encrypter_from_jwk(&public).unwrap()),
                    Box::new(RSA_OAEP.decrypter_from_pem(pem.as_bytes()).unwrap()),
                ),
                JweAlg::RsaOaep256 => (
                    Box::new(RSA_OAEP_256.encrypter_from_jwk(&public).unwrap()),
                    Box::new(RSA_OAEP_256.decrypter_from_pem(pem.as_bytes()).unwrap()),
                ),
                JweAlg::EcdhEs => (
                    Box::new(ECDH_ES.encrypter_from_jwk(&public).unwrap()),
                    Box::new(ECDH_ES.decrypter_from_pem(pem.as_bytes()).unwrap()),
                ),
                JweAlg::EcdhEsA128Kw => (
                    Box::new(ECDH_ES_A128KW.encrypter_from_jwk(&public).unwrap()),
                    Box::new(ECDH_ES_A128KW.decrypter_from_pem(pem.as_bytes()).unwrap()),
                ),
                JweAlg::EcdhEsA256Kw => (
                    Box::new(ECDH_ES_A256KW.encrypter_from_jwk(&public).unwrap()),
                    Box::new(ECDH_ES_A256KW.decrypter_from_pem(pem.as_bytes()).unwrap()),
                ),
            };
        let inner = good_token();
        let token = encrypt(&inner, None, &target(policy)).unwrap();
        let (content, _) = jwe::deserialize_compact(&token, &*decrypter).unwrap();
        assert_eq!(content, inner.as_bytes(), "{policy:?}");

        let mut header = jwe::JweHeader::new();
        header.set_content_encryption(enc.name());
        header.set_content_type("JWT");
        let token = jwe::serialize_compact(inner.as_bytes(), &header, &*encrypter).unwrap();
        assert_eq!(*decrypt(&token, &RING, policy).unwrap(), inner, "{policy:?}");
    }
}

/// JAR-4a, RFC 7519 §5.2, JWT-3.11, JWT-3.6.
#[test]
fn the_header_says_what_is_inside_and_nothing_else() {
    for policy in policies() {
        let JwePolicy { alg, enc } = policy;
        let mut expected = jwe_header(policy, json!({}));
        let token = encrypt(&good_token(), None, &target(policy)).unwrap();
        let mut header = header_of(&token);
        let epk = header.as_object_mut().unwrap().remove("epk");
        assert_eq!(header, expected);
        let agrees = !matches!(alg, JweAlg::RsaOaep | JweAlg::RsaOaep256);
        assert_eq!(epk.is_some(), agrees);
        if let Some(epk) = epk {
            let names: Vec<&String> = epk.as_object().unwrap().keys().collect();
            assert_eq!(names, ["crv", "kty", "x", "y"]);
        }

        let token = encrypt(&good_token(), Some("oauth-authz-req+jwt"), &target(policy)).unwrap();
        expected["typ"] = json!("oauth-authz-req+jwt");
        let mut header = header_of(&token);
        header.as_object_mut().unwrap().remove("epk");
        assert_eq!(header, expected);

        let nameless = with(&recipient(alg).to_json(), json!({ "kid": null }));
        let nameless = EncryptionJwk::from_json(&nameless).unwrap();
        let target = EncryptionTarget::new(&nameless, alg, enc).unwrap();
        assert_eq!(target.kid(), None);
        let token = encrypt(&good_token(), None, &target).unwrap();
        assert!(header_of(&token).get("kid").is_none());
        assert!(decrypt(&token, &RING, policy).is_ok());
    }
}

#[test]
fn only_a_signed_token_is_encrypted() {
    let target = target(JwePolicy { alg: JweAlg::EcdhEs, enc: JweEnc::A256Gcm });
    let outer = encrypt(&good_token(), None, &target).unwrap();
    for content in ["", "{}", "a.b", "..", "a.b.c.d", "a.b.c ", &outer] {
        let failed = encrypt(content, None, &target).unwrap_err();
        assert_eq!(failed, EncryptFailed::NotNested, "{content}");
    }
}

#[test]
fn a_key_is_encrypted_to_with_its_own_algorithms_only() {
    for policy in policies() {
        for key in [recipient(JweAlg::RsaOaep), recipient(JweAlg::EcdhEs)] {
            let made = EncryptionTarget::new(&key, policy.alg, policy.enc).map(|_| ());
            let fits = key.fits(policy.alg);
            assert_eq!(made, if fits { Ok(()) } else { Err(KeyRejected::AlgMismatch) });
        }
    }
    let pinned = with(&recipient(JweAlg::EcdhEs).to_json(), json!({ "alg": "ECDH-ES+A128KW" }));
    let pinned = EncryptionJwk::from_json(&pinned).unwrap();
    let made = EncryptionTarget::new(&pinned, JweAlg::EcdhEs, JweEnc::A256Gcm);
    assert_eq!(made.unwrap_err(), KeyRejected::AlgMismatch);
}

/// JWK-SEL; OIDC-10.2.1: of several the sender picks one, and names it.
#[test]
fn a_peers_key_is_found_by_use_type_alg_and_kid() {
    let rsa = with(&recipient(JweAlg::RsaOaep).to_json(), json!({ "kid": "r" }));
    let ec = with(&recipient(JweAlg::EcdhEs).to_json(), json!({ "kid": "e" }));
    let find = |keys: &[Value], alg, kid: Option<&str>| {
        let keys = published(keys);
        keys.encryption_key(alg, kid).map(|key| key.kid().map(str::to_owned))
    };
    let found = |kid: &str| Ok(Some(kid.to_owned()));
    let unknown = Err(EncryptFailed::KeyUnknown);
    let ambiguous = Err(EncryptFailed::KeyAmbiguous);

    let both = [rsa.clone(), ec.clone()];
    for alg in JweAlg::ALL {
        let kid = if recipient(alg).kid() == recipient(JweAlg::RsaOaep).kid() { "r" } else { "e" };
        let other = if kid == "r" { "e" } else { "r" };
        assert_eq!(find(&both, alg, None), found(kid), "{alg:?}");
        assert_eq!(find(&both, alg, Some(kid)), found(kid), "{alg:?}");
        for wrong in [other, "", "stranger"] {
            assert_eq!(find(&both, alg, Some(wrong)), unknown, "{alg:?} {wrong}");
        }
        assert_eq!(find(&[], alg, None), unknown);
    }
    let second = with(&rsa, json!({ "kid": "s" }));
    let two = [rsa.clone(), second.clone(), ec.clone()];
    assert_eq!(find(&two, JweAlg::RsaOaep, None), found("r"));
    let nameless = with(&rsa, json!({ "kid": null }));
    let unnamed_first = [nameless.clone(), second.clone()];
    assert_eq!(find(&unnamed_first, JweAlg::RsaOaep, None), found("s"));
    assert_eq!(find(&[nameless.clone(), nameless.clone()], JweAlg::RsaOaep, None), ambiguous);
    assert_eq!(find(&[nameless], JweAlg::RsaOaep, None), Ok(None));
    // A name that two keys have names neither.
    let twins = [rsa.clone(), rsa.clone()];
    assert_eq!(find(&twins, JweAlg::RsaOaep, None), ambiguous);
    let twins_first = [rsa.clone(), rsa.clone(), second.clone()];
    assert_eq!(find(&twins_first, JweAlg::RsaOaep, None), found("s"));
    assert_eq!(find(&two, JweAlg::RsaOaep, Some("s")), found("s"));
    assert_eq!(find(&[rsa.clone(), rsa.clone()], JweAlg::RsaOaep, Some("r")), ambiguous);
    // The owner's `alg` tells two keys apart.
    let pinned = with(&second, json!({ "alg": "RSA-OAEP" }));
    let other = with(&rsa, json!({ "alg": "RSA-OAEP-256" }));
    assert_eq!(find(&[pinned.clone(), other.clone()], JweAlg::RsaOaep, None), found("s"));
    assert_eq!(find(&[pinned, other], JweAlg::RsaOaep256, None), found("r"));
    // Nothing is encrypted to a key that does not say it is for that.
    for change in [
        json!({ "use": null }),
        json!({ "use": "sig" }),
        json!({ "use": "ENC" }),
        json!({ "use": 1 }),
        json!({ "key_ops": ["verify"] }),
        json!({ "key_ops": ["decrypt", "unwrapKey"] }),
        json!({ "key_ops": ["deriveKey"] }),
        json!({ "key_ops": [] }),
        json!({ "alg": "RSA1_5" }),
        json!({ "alg": "PS256" }),
        json!({ "d": "AA" }),
        json!({ "e": "Aw" }),
        json!({ "n": "AQAB" }),
    ] {
        let changed = with(&rsa, change.clone());
        assert_eq!(find(&[changed], JweAlg::RsaOaep256, None), unknown, "{change}");
    }
    assert_eq!(
        find(&[with(&rsa, json!({ "key_ops": ["wrapKey"] }))], JweAlg::RsaOaep, None),
        found("r")
    );
}

/// Keys for encryption change nothing for signatures: each is skipped, and counted.
#[test]
fn the_signature_side_of_a_set_does_not_know_the_keys_for_encryption() {
    let encryption = recipient(JweAlg::EcdhEs).to_json();
    let keys = published(&[encryption.clone(), ES256.public_jwk.to_json()]);
    assert_eq!(keys.len(), 1);
    assert_eq!(keys.skipped(), [KeyRejected::NotForSignatures]);
    assert!(verify(&good_token(), &keys, &POLICY).is_ok());
    let keys = published(&[encryption]);
    assert!(keys.is_empty() && !keys.has_kid(ES256.public_jwk.kid().unwrap()));
    assert_eq!(verify(&good_token(), &keys, &POLICY).unwrap_err(), JwsRejected::KeyUnknown);
    assert!(keys.encryption_key(JweAlg::EcdhEs, None).is_ok());
}

#[test]
fn every_failure_has_its_own_stable_reason() {
    for (failed, reason) in [
        (EncryptFailed::KeyUnknown, "encrypt_key_unknown"),
        (EncryptFailed::KeyAmbiguous, "encrypt_key_ambiguous"),
        (EncryptFailed::NotNested, "encrypt_not_nested"),
        (EncryptFailed::Backend, "encrypt_backend"),
    ] {
        assert_eq!(failed.reason(), reason);
    }
    let shown = format!("{:?}", target(JwePolicy { alg: JweAlg::RsaOaep, enc: JweEnc::A128Gcm }));
    assert!(shown.contains("RsaOaep") && shown.contains("A128Gcm"), "{shown}");
}
