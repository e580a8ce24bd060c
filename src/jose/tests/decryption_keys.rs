//! Keys that tokens are encrypted to: which are refused, under which names and algorithms the rest
//! serve, and what of them is published.

use super::*;

fn load(jwk: &Value, alg: Option<JweAlg>) -> Result<DecryptionKey, KeyRejected> {
    DecryptionKey::from_jwk(jwk.to_string().as_bytes(), alg)
}

fn private(alg: JweAlg) -> Value {
    serde_json::from_str(&generate_decryption_key(alg).unwrap().private_jwk).unwrap()
}

/// A private key of the type `alg` takes, without `use`, `alg` and `kid`.
fn bare(alg: JweAlg) -> Value {
    with(&private(alg), json!({ "use": null, "alg": null, "kid": null }))
}

fn admitted(key: &DecryptionKey) -> Vec<JweAlg> {
    JweAlg::ALL.into_iter().filter(|alg| key.admits(*alg)).collect()
}

const RSA_ALGS: [JweAlg; 2] = [JweAlg::RsaOaep, JweAlg::RsaOaep256];
const EC_ALGS: [JweAlg; 3] = [JweAlg::EcdhEs, JweAlg::EcdhEsA128Kw, JweAlg::EcdhEsA256Kw];

#[test]
fn names_are_those_of_the_registries_and_exact() {
    for (alg, name) in JweAlg::ALL.into_iter().zip([
        "RSA-OAEP",
        "RSA-OAEP-256",
        "ECDH-ES",
        "ECDH-ES+A128KW",
        "ECDH-ES+A256KW",
    ]) {
        assert_eq!((alg.name(), JweAlg::from_name(name)), (name, Some(alg)));
    }
    for (enc, name) in JweEnc::ALL.into_iter().zip(["A128GCM", "A256GCM", "A128CBC-HS256"]) {
        assert_eq!((enc.name(), JweEnc::from_name(name)), (name, Some(enc)));
    }
    for name in ["RSA1_5", "dir", "A128KW", "PBES2-HS256+A128KW", "ecdh-es", "ECDH-ES ", ""] {
        assert_eq!(JweAlg::from_name(name), None);
    }
    for name in ["A192GCM", "A256CBC-HS512", "a128gcm", "none", ""] {
        assert_eq!(JweEnc::from_name(name), None);
    }
}

#[test]
fn a_key_serves_what_its_type_admits_or_one_algorithm() {
    for (pem, algs) in [(&RSA.pkcs8_pem, &RSA_ALGS[..]), (&ES256.pkcs8_pem, &EC_ALGS)] {
        let key = DecryptionKey::from_file_bytes(pem.as_bytes(), None).unwrap();
        assert_eq!((admitted(&key), key.public_jwk().alg()), (algs.to_vec(), None));
        for alg in JweAlg::ALL {
            let key = DecryptionKey::from_file_bytes(pem.as_bytes(), Some(alg));
            if algs.contains(&alg) {
                let key = key.unwrap();
                assert_eq!((admitted(&key), key.public_jwk().alg()), (vec![alg], Some(alg)));
            } else {
                assert_eq!(key.unwrap_err(), KeyRejected::AlgMismatch, "{alg:?}");
            }
        }
    }
    for alg in JweAlg::ALL {
        let jwk = private(alg);
        assert_eq!(admitted(&load(&jwk, None).unwrap()), [alg]);
        assert_eq!(admitted(&load(&jwk, Some(alg)).unwrap()), [alg]);
        for other in JweAlg::ALL.into_iter().filter(|other| *other != alg) {
            assert_eq!(load(&jwk, Some(other)).unwrap_err(), KeyRejected::AlgMismatch);
        }
    }
}

#[test]
fn use_and_key_ops_decide_whether_a_key_decrypts() {
    for alg in [JweAlg::RsaOaep256, JweAlg::EcdhEs] {
        let jwk = bare(alg);
        let verdict = |change: Value| load(&with(&jwk, change), None).map(|_| ());
        let [wanted, other] = if alg == JweAlg::EcdhEs {
            [["deriveKey", "deriveBits"], ["decrypt", "unwrapKey"]]
        } else {
            [["decrypt", "unwrapKey"], ["deriveKey", "deriveBits"]]
        };
        for change in [
            json!({}),
            json!({ "use": "enc" }),
            json!({ "key_ops": [wanted[0]] }),
            json!({ "use": "enc", "key_ops": ["sign", wanted[1]] }),
        ] {
            assert_eq!(verdict(change.clone()), Ok(()), "{change}");
        }
        for change in [
            json!({ "use": "sig" }),
            json!({ "use": "ENC" }),
            json!({ "use": "" }),
            json!({ "key_ops": [] }),
            json!({ "key_ops": ["sign", "verify"] }),
            json!({ "key_ops": ["encrypt", "wrapKey"] }),
            json!({ "key_ops": other }),
            json!({ "use": "sig", "key_ops": wanted }),
            json!({ "use": "enc", "key_ops": [wanted[0].to_uppercase()] }),
        ] {
            assert_eq!(verdict(change.clone()), Err(KeyRejected::NotForEncryption), "{change}");
        }
        for change in [
            json!({ "use": 1 }),
            json!({ "key_ops": "decrypt" }),
            json!({ "key_ops": ["decrypt", 1] }),
        ] {
            assert_eq!(verdict(change.clone()), Err(KeyRejected::Malformed), "{change}");
        }
    }
}

#[test]
fn unsound_private_keys_are_refused() {
    let rsa = bare(JweAlg::RsaOaep256);
    let ec = bare(JweAlg::EcdhEs);
    for name in ["d", "p", "q", "dp", "dq", "qi", "n", "e", "kty"] {
        for value in [json!(null), json!(1), json!("*")] {
            assert!(load(&with(&rsa, json!({ name: value })), None).is_err(), "{name} {value}");
        }
    }
    for (jwk, change, rejected) in [
        (&ec, json!({ "d": null }), KeyRejected::Malformed),
        (&ec, json!({ "d": encode([1; 31]) }), KeyRejected::Malformed),
        (&ec, json!({ "d": encode([1; 33]) }), KeyRejected::Malformed),
        (&ec, json!({ "y": ec["x"] }), KeyRejected::NotOnCurve),
        (&ec, json!({ "crv": "P-384" }), KeyRejected::UnsupportedType),
        (&ec, json!({ "kty": "oct", "k": "AA" }), KeyRejected::UnsupportedType),
        (&ec, json!({ "alg": "RSA-OAEP" }), KeyRejected::AlgMismatch),
        (&ec, json!({ "alg": "ES256" }), KeyRejected::UnsupportedAlg),
        (&ec, json!({ "kid": 1 }), KeyRejected::Malformed),
        (&ec, json!({ "kid": "k".repeat(257) }), KeyRejected::Malformed),
        (&rsa, json!({ "alg": "RSA1_5" }), KeyRejected::UnsupportedAlg),
        (&rsa, json!({ "alg": "ECDH-ES" }), KeyRejected::AlgMismatch),
        (&rsa, json!({ "e": "Aw" }), KeyRejected::RsaExponent),
        (&rsa, json!({ "n": encode([0xff; 255]) }), KeyRejected::RsaSize),
    ] {
        assert_eq!(load(&with(jwk, change.clone()), None).unwrap_err(), rejected, "{change}");
    }
    let twice = ec.to_string().replacen('{', r#"{"d":"AA","#, 1);
    let rejected = DecryptionKey::from_jwk(twice.as_bytes(), None).unwrap_err();
    assert_eq!(rejected, KeyRejected::DuplicateMember);
    for text in ["", "{", "[]", "null", "garbage"] {
        let rejected = DecryptionKey::from_file_bytes(text.as_bytes(), None).unwrap_err();
        assert_eq!(rejected, KeyRejected::UnknownFormat, "{text}");
    }
    let ed25519 = DecryptionKey::from_pem(EDDSA.pkcs8_pem.as_bytes(), None).unwrap_err();
    assert_eq!(ed25519, KeyRejected::NotForEncryption);
    let ed25519 = EncryptionJwk::from_json(&EDDSA.public_jwk.to_json()).unwrap_err();
    assert_eq!(ed25519, KeyRejected::UnsupportedAlg);
}

#[test]
fn a_private_half_of_another_key_is_refused() {
    for alg in JweAlg::ALL {
        let (one, other) = (bare(alg), bare(alg));
        let mixed = if one["kty"] == "EC" {
            with(&one, json!({ "d": other["d"] }))
        } else {
            with(&one, json!({ "n": other["n"] }))
        };
        assert!(load(&mixed, None).is_err(), "{alg:?}");
    }
    for d in [[0; 32], [0xff; 32]] {
        let jwk = with(&bare(JweAlg::EcdhEs), json!({ "d": encode(d) }));
        assert!(load(&jwk, None).is_err());
    }
}

/// JWK-OWN.
#[test]
fn a_key_is_published_for_encryption_under_its_kid() {
    for alg in JweAlg::ALL {
        let key = load(&private(alg), None).unwrap();
        let public = key.public_jwk();
        assert_eq!((key.kid(), public.kid()), (public.thumbprint().as_str(), Some(key.kid())));
        let jwk = public.to_json();
        assert_eq!((&jwk["use"], &jwk["alg"]), (&json!("enc"), &json!(alg.name())));
        assert_eq!(jwk["kid"], key.kid());
        assert!(jwk.get("d").is_none() && jwk.get("p").is_none());
        assert_eq!(EncryptionJwk::from_json(&jwk).as_ref(), Ok(public));

        let named = load(&with(&bare(alg), json!({ "kid": "mine" })), None).unwrap();
        assert_eq!(named.kid(), "mine");
        // One that serves several algorithms pins none.
        let jwk = named.public_jwk().to_json();
        assert_eq!((&jwk["kid"], jwk.get("alg")), (&json!("mine"), None));
    }
    let nameless = with(&ES256.public_jwk.to_json(), json!({ "kid": null, "alg": null }));
    let nameless = EncryptionJwk::from_json(&nameless).unwrap();
    assert_eq!(nameless.kid(), None);
    assert_eq!(nameless.to_json()["kid"], ES256.public_jwk.thumbprint());
}

#[test]
fn a_public_key_with_private_members_is_refused() {
    for alg in JweAlg::ALL {
        let rejected = EncryptionJwk::from_json(&private(alg)).unwrap_err();
        assert_eq!(rejected, KeyRejected::PrivateMembers);
    }
    assert_eq!(EncryptionJwk::from_json(&json!([])), Err(KeyRejected::UnknownFormat));
    assert_eq!(EncryptionJwk::from_json(&json!({})), Err(KeyRejected::Malformed));
}

/// OIDC-10.2.1: new keys are published, old ones still decrypt.
#[test]
fn of_a_ring_the_first_key_for_each_algorithm_is_published() {
    let key = |alg, kid: &str| load(&with(&bare(alg), json!({ "kid": kid })), None).unwrap();
    let pinned = |alg, kid: &str| load(&with(&private(alg), json!({ "kid": kid })), None).unwrap();
    let kids = |keys: Vec<DecryptionKey>| -> Vec<String> {
        let ring = DecryptionKeys::new(keys).unwrap();
        ring.published().filter_map(|key| key.kid().map(str::to_owned)).collect()
    };
    let (rsa, ec) = (JweAlg::RsaOaep256, JweAlg::EcdhEs);
    assert_eq!(kids(vec![]), Vec::<String>::new());
    assert_eq!(kids(vec![key(ec, "new"), key(ec, "old"), key(ec, "older")]), ["new"]);
    assert_eq!(kids(vec![key(ec, "e"), key(rsa, "r"), key(ec, "old")]), ["e", "r"]);
    assert_eq!(kids(vec![pinned(ec, "e"), pinned(JweAlg::EcdhEsA256Kw, "w")]), ["e", "w"]);
    assert_eq!(kids(vec![pinned(ec, "e"), key(ec, "all"), pinned(ec, "old")]), ["e", "all"]);
    assert_eq!(kids(vec![key(ec, "all"), pinned(ec, "old")]), ["all"]);

    let ring = DecryptionKeys::new(vec![pinned(ec, "e")]).unwrap();
    assert!(ring.serve(ec) && !ring.serve(JweAlg::EcdhEsA128Kw) && !ring.serve(rsa));
    let twice = DecryptionKeys::new(vec![key(ec, "same"), key(rsa, "same")]).unwrap_err();
    assert_eq!(twice, KeyRejected::DuplicateKid);
    let again = || DecryptionKey::from_pem(ES256.pkcs8_pem.as_bytes(), None).unwrap();
    let twice = DecryptionKeys::new(vec![again(), again()]).unwrap_err();
    assert_eq!(twice, KeyRejected::DuplicateKid);
}

/// JWK-OWN.
#[test]
fn one_published_set_holds_the_keys_of_both_uses_under_different_kids() {
    let decryption = load(&private(JweAlg::EcdhEs), None).unwrap();
    let signing = [&ES256.public_jwk, &RSA.public_jwk];
    let document = jwks_document_of_both(signing, [decryption.public_jwk()]).unwrap();
    let mut expected = jwks_document(signing);
    expected["keys"].as_array_mut().unwrap().push(decryption.public_jwk().to_json());
    assert_eq!(document, expected);
    let keys = KeySet::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!(keys.len(), 2);
    let found = keys.encryption_key(JweAlg::EcdhEs, None).unwrap();
    assert_eq!(found, decryption.public_jwk());
    assert_eq!(jwks_document_of_both([], []), Ok(json!({ "keys": [] })));

    // FAPI2-SP-6.8: one key for both uses has one thumbprint, whatever it is called.
    let same = DecryptionKey::from_pem(ES256.pkcs8_pem.as_bytes(), None).unwrap();
    let named = with(&same.public_jwk().to_json(), json!({ "kid": "another" }));
    let renamed = EncryptionJwk::from_json(&named).unwrap();
    for key in [same.public_jwk(), &renamed] {
        let refused = jwks_document_of_both(signing, [key]).unwrap_err();
        assert_eq!(refused, KeyRejected::TwoUses);
    }
    let twice = jwks_document_of_both([], [decryption.public_jwk(), decryption.public_jwk()]);
    assert_eq!(twice, Err(KeyRejected::DuplicateKid));
}

/// FAPI2-SP-5.4.2, JWK-OWN: a key that comes twice is published once; of two that share a name neither
/// vanishes unsaid.
#[test]
fn two_signing_keys_of_one_kid_are_refused() {
    let key = |jwk: &PublicJwk, kid: &str| {
        PublicJwk::from_json(&with(&jwk.to_json(), json!({ "kid": kid }))).unwrap()
    };
    let (one, other) = (key(&ES256.public_jwk, "k"), key(&RSA.public_jwk, "k"));
    let published = jwks_document_of_both([&one, &one], []).unwrap();
    assert_eq!(published, jwks_document([&one]));
    let refused = jwks_document_of_both([&one, &other], []);
    assert_eq!(refused, Err(KeyRejected::DuplicateKid));
    let other = key(&RSA.public_jwk, "l");
    assert_eq!(jwks_document_of_both([&one, &other], []).unwrap(), jwks_document([&one, &other]));
}

#[test]
fn generated_keys_are_strong_and_say_what_they_are_for() {
    for alg in JweAlg::ALL {
        let key = generate_decryption_key(alg).unwrap();
        let jwk: Value = serde_json::from_str(&key.private_jwk).unwrap();
        assert_eq!((&jwk["use"], &jwk["alg"]), (&json!("enc"), &json!(alg.name())));
        assert_eq!(jwk["kid"], key.public_jwk.thumbprint());
        assert_eq!(key.public_jwk.alg(), Some(alg));
        if jwk["kty"] == "RSA" {
            let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
            assert_eq!(n.len(), 384);
        }
        // It cannot be taken for a signing key.
        let refused = SoftwareSigner::from_jwk(key.private_jwk.as_bytes()).unwrap_err();
        assert_eq!(refused, KeyRejected::NotForSignatures);
    }
    let refused = DecryptionKey::from_jwk(
        with(&bare(JweAlg::EcdhEs), json!({ "use": "sig", "alg": "ES256" })).to_string().as_bytes(),
        None,
    );
    assert_eq!(refused.unwrap_err(), KeyRejected::NotForEncryption);
}

#[test]
fn debug_shows_public_halves_only() {
    let generated = generate_decryption_key(JweAlg::RsaOaep).unwrap();
    let jwk: Value = serde_json::from_str(&generated.private_jwk).unwrap();
    let key = load(&jwk, None).unwrap();
    let kid = key.kid().to_owned();
    let ring = DecryptionKeys::new(vec![key]).unwrap();
    let shown = format!("{generated:?} {ring:?}");
    assert!(shown.contains(&kid));
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        assert!(!shown.contains(jwk[name].as_str().unwrap()), "{name}");
    }
}
