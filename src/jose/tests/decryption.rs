//! Encrypted tokens that must be refused, each with its reason, and those that must not.

use fapi_bff_conformance::jwe as independent;

use super::*;
use crate::jose::engine::Secret;

const RSA256: JwePolicy = JwePolicy { alg: JweAlg::RsaOaep256, enc: JweEnc::A256Gcm };
const AGREED: JwePolicy = JwePolicy { alg: JweAlg::EcdhEs, enc: JweEnc::A128Gcm };
const WRAPPED: JwePolicy = JwePolicy { alg: JweAlg::EcdhEsA256Kw, enc: JweEnc::A128CbcHs256 };

fn opened(token: &str, policy: JwePolicy) -> Result<String, JweRejected> {
    decrypt(token, &RING, policy).map(|inner| inner.to_string())
}

fn rejected(token: &str, policy: JwePolicy) -> JweRejected {
    opened(token, policy).unwrap_err()
}

/// `token` with one of its five parts replaced by what `change` makes of its bytes.
fn with_part(token: &str, index: usize, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let mut bytes = URL_SAFE_NO_PAD.decode(&parts[index]).unwrap();
    change(&mut bytes);
    parts[index] = encode(bytes);
    parts.join(".")
}

const KEY: usize = 1;
const IV: usize = 2;
const TEXT: usize = 3;
const TAG: usize = 4;

#[test]
fn the_tokens_the_refusals_are_made_from_are_accepted() {
    for policy in policies() {
        let inner = good_token();
        let token = raw_jwe(policy, &inner, |header| header.to_string());
        assert_eq!(opened(&token, policy), Ok(inner), "{policy:?}");
    }
}

/// OIDC-3.1.3.7-1: what another implementation encrypts, on another library's key management.
#[test]
fn tokens_of_an_independent_implementation_are_opened() {
    for policy in policies() {
        let alg = independent::Alg::from_name(policy.alg.name()).unwrap();
        let enc = independent::Enc::from_name(policy.enc.name()).unwrap();
        let jwk = recipient(policy.alg).to_json();
        let inner = good_token();
        let token = independent::encrypt(&jwk, alg, enc, &inner, None).unwrap();
        assert_eq!(opened(&token, policy), Ok(inner), "{policy:?}");
    }
}

/// FAPI1-ADV-8.6.1-1, JWT-3.6, OIDC-3.1.3.7-1: every bad token, properly made by another
/// implementation, so that it is the flaw that is noticed.
#[test]
fn every_flaw_of_an_independent_implementation_is_refused() {
    use independent::Flaw;
    for policy in policies() {
        let alg = independent::Alg::from_name(policy.alg.name()).unwrap();
        let enc = independent::Enc::from_name(policy.enc.name()).unwrap();
        let jwk = recipient(policy.alg).to_json();
        for flaw in Flaw::ALL.into_iter().filter(|flaw| flaw.fits(alg)) {
            let token = independent::encrypt(&jwk, alg, enc, &good_token(), Some(flaw)).unwrap();
            let expected = match flaw {
                Flaw::Rsa15 | Flaw::Dir | Flaw::Pbes2 => JweRejected::AlgNotAllowed,
                Flaw::Zip => JweRejected::HeaderNotAllowed,
                Flaw::HalfTag | Flaw::LongTag | Flaw::EpkOffCurve => JweRejected::Malformed,
                Flaw::FlippedBit => JweRejected::DecryptionFailed,
                Flaw::PlainJson | Flaw::NoContentType => JweRejected::NotNested,
                Flaw::WrongKid => JweRejected::KeyUnknown,
            };
            assert_eq!(rejected(&token, policy), expected, "{policy:?} {flaw:?}");
        }
    }
}

/// JWT-PARSE.
#[test]
fn tokens_are_bounded() {
    assert_eq!(rejected(&"A".repeat(32 * 1024 + 1), RSA256), JweRejected::TooLarge);
    assert_eq!(rejected(&"A".repeat(32 * 1024), RSA256), JweRejected::Malformed);
    // The longest signed token that its verifier takes finds room.
    let inner = format!("{}.AA.AA", "A".repeat(16 * 1024 - 6));
    assert_eq!(opened(&raw_jwe(RSA256, &inner, |h| h.to_string()), RSA256), Ok(inner));
}

#[test]
fn only_five_parts_of_canonical_base64url_are_a_token() {
    let token = jwe_with(RSA256, json!({}));
    let parts: Vec<&str> = token.split('.').collect();
    let four = parts[..4].join(".");
    for wrong in [
        String::new(),
        ".".into(),
        "....".into(),
        ".....".into(),
        good_token(),
        four,
        format!("{token}."),
        format!("{token}.AAAA"),
        format!(".{token}"),
        format!(" {token}"),
        format!("{token}\n"),
    ] {
        assert_eq!(rejected(&wrong, RSA256), JweRejected::Malformed, "{wrong}");
    }
    for index in 0..5 {
        let changed = |part: String| {
            let mut parts = parts.clone();
            parts[index] = &part;
            parts.join(".")
        };
        for part in [
            String::new(),
            format!("{}=", parts[index]),
            format!("{}==", parts[index]),
            format!("{}A*", parts[index]),
            format!("+/{}", &parts[index][2..]),
            format!("{}é", parts[index]),
        ] {
            assert_eq!(rejected(&changed(part), RSA256), JweRejected::Malformed, "{index}");
        }
    }
    // Two texts must not mean the same bytes: 22 characters have four bits to spare.
    let tag = parts[TAG];
    assert_eq!(tag.len(), 22);
    let last = tag.as_bytes()[21];
    let next = if last == b'A' { 'B' } else { char::from(last + 1) };
    let spare = format!("{}.{}{next}", parts[..4].join("."), &tag[..21]);
    assert_eq!(rejected(&spare, RSA256), JweRejected::Malformed);
}

#[test]
fn the_json_serialisations_are_refused() {
    let token = jwe_with(RSA256, json!({}));
    let parts: Vec<&str> = token.split('.').collect();
    let flat = json!({
        "protected": parts[0], "encrypted_key": parts[1], "iv": parts[2], "ciphertext": parts[3],
        "tag": parts[4],
    });
    let general = json!({
        "protected": parts[0], "recipients": [{ "encrypted_key": parts[1] }], "iv": parts[2],
        "ciphertext": parts[3], "tag": parts[4],
    });
    for json in [flat, general] {
        assert_eq!(rejected(&json.to_string(), RSA256), JweRejected::Malformed);
    }
}

/// JWT-PARSE.
#[test]
fn a_header_member_that_occurs_twice_is_refused() {
    for extra in [
        r#"{"alg":"RSA-OAEP-256","#,
        r#"{"alg":"RSA1_5","#,
        r#"{"\u0061lg":"dir","#,
        r#"{"enc":"A256GCM","#,
        r#"{"kid":"other","#,
        r#"{"cty":"JWT","#,
        r#"{"x":{"y":1,"y":1},"#,
    ] {
        let token =
            raw_jwe(RSA256, good_token(), |header| header.to_string().replacen('{', extra, 1));
        assert_eq!(rejected(&token, RSA256), JweRejected::DuplicateMember, "{extra}");
    }
    let token = raw_jwe(AGREED, good_token(), |header| {
        header.to_string().replacen(r#""epk":{"#, r#""epk":{"kty":"EC","#, 1)
    });
    assert_eq!(rejected(&token, AGREED), JweRejected::DuplicateMember);
}

#[test]
fn a_header_that_is_no_object_of_sound_members_is_refused() {
    for header in ["", "null", "[]", "\"\"", "{", "{}", "{\"alg\":\"RSA-OAEP-256\",}", "\u{feff}{}"]
    {
        let token = raw_jwe(RSA256, good_token(), |_| header.to_owned());
        assert_eq!(rejected(&token, RSA256), JweRejected::Malformed, "{header}");
    }
    for name in ["alg", "enc"] {
        for value in [json!(null), json!(1), json!(["RSA-OAEP-256"]), json!({})] {
            let token = raw_jwe(RSA256, good_token(), |mut header| {
                header[name] = value.clone();
                header.to_string()
            });
            assert_eq!(rejected(&token, RSA256), JweRejected::Malformed, "{name} {value}");
        }
        let token = jwe_with(RSA256, json!({ name: null }));
        assert_eq!(rejected(&token, RSA256), JweRejected::Malformed, "{name} missing");
    }
    for change in
        [json!({ "kid": 1 }), json!({ "kid": "k".repeat(257) }), json!({ "cty": ["JWT"] })]
    {
        assert_eq!(rejected(&jwe_with(RSA256, change), RSA256), JweRejected::Malformed);
    }
    let longest = jwe_with(RSA256, json!({ "kid": "é".repeat(256) }));
    assert_eq!(rejected(&longest, RSA256), JweRejected::KeyUnknown);
    let deep = format!("{}1{}", "[".repeat(16), "]".repeat(16));
    let token = raw_jwe(RSA256, good_token(), |header| {
        header.to_string().replacen('{', &format!(r#"{{"x":{deep},"#), 1)
    });
    assert_eq!(rejected(&token, RSA256), JweRejected::Malformed);
}

/// JWT-3.1, FAPI1-ADV-8.6.1-1: exactly the registered algorithm, and before any key is looked at.
#[test]
fn another_alg_than_the_registered_one_is_refused_before_any_key_is_touched() {
    let no_keys = DecryptionKeys::new(Vec::new()).unwrap();
    for name in [
        "RSA1_5",
        "RSA-OAEP",
        "RSA-OAEP-384",
        "RSA-OAEP-512",
        "dir",
        "A128KW",
        "A256KW",
        "A256GCMKW",
        "PBES2-HS256+A128KW",
        "ECDH-ES",
        "ECDH-ES+A192KW",
        "ECDH-1PU",
        "none",
        "",
        "rsa-oaep-256",
        "RSA-OAEP-256 ",
    ] {
        let token = jwe_with(RSA256, json!({ "alg": name, "p2s": "AAAA", "p2c": 1 }));
        for keys in [&RING, &no_keys] {
            let rejected = decrypt(&token, keys, RSA256).unwrap_err();
            assert_eq!(rejected, JweRejected::AlgNotAllowed, "{name}");
        }
    }
    for (made, asked) in policies().flat_map(|made| policies().map(move |asked| (made, asked))) {
        let expected = match (made.alg == asked.alg, made.enc == asked.enc) {
            (true, true) => continue,
            (false, _) => JweRejected::AlgNotAllowed,
            (true, false) => JweRejected::EncNotAllowed,
        };
        let header = encode(jwe_header(made, json!({})).to_string());
        let token = format!("{header}.AAAA.AAAA.AAAA.AAAA");
        let rejected = decrypt(&token, &no_keys, asked).unwrap_err();
        assert_eq!(rejected, expected, "{made:?} {asked:?}");
    }
}

#[test]
fn another_enc_than_the_registered_one_is_refused_before_any_key_is_touched() {
    let no_keys = DecryptionKeys::new(Vec::new()).unwrap();
    for name in
        ["A128GCM", "A192GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512", "a256gcm", ""]
    {
        let token = jwe_with(RSA256, json!({ "enc": name }));
        for keys in [&RING, &no_keys] {
            let rejected = decrypt(&token, keys, RSA256).unwrap_err();
            assert_eq!(rejected, JweRejected::EncNotAllowed, "{name}");
        }
    }
}

/// JWT-3.6, JWT-3.10.
#[test]
fn header_members_that_are_never_honoured_are_refused_whatever_their_value() {
    for name in [
        "zip", "crit", "b64", "jku", "x5u", "x5c", "x5t", "x5t#S256", "jwk", "p2s", "p2c", "iv",
        "tag",
    ] {
        for value in [json!("DEF"), json!([]), json!(null), json!(1)] {
            for policy in [RSA256, AGREED] {
                let token = raw_jwe(policy, good_token(), |mut header| {
                    header[name] = value.clone();
                    header.to_string()
                });
                assert_eq!(rejected(&token, policy), JweRejected::HeaderNotAllowed, "{name}");
            }
        }
    }
    for name in ["epk", "apu", "apv"] {
        let token = jwe_with(RSA256, json!({ name: "AAAA" }));
        assert_eq!(rejected(&token, RSA256), JweRejected::HeaderNotAllowed, "{name}");
    }
    // What the header says about the token as a whole does no harm.
    let harmless = json!({ "typ": "JWT", "iss": "https://as.example", "aud": "client", "x": {} });
    assert!(opened(&jwe_with(RSA256, harmless), RSA256).is_ok());
}

/// RFC 7519 §5.2.
#[test]
fn the_header_must_promise_a_jwt_inside() {
    for cty in ["JWT", "jwt", "application/jwt", "APPLICATION/JWT"] {
        assert!(opened(&jwe_with(RSA256, json!({ "cty": cty })), RSA256).is_ok(), "{cty}");
    }
    for cty in ["", "JWS", "JWE", "jwt+json", "JWT ", "text/jwt", "application/", "json"] {
        let token = jwe_with(RSA256, json!({ "cty": cty }));
        assert_eq!(rejected(&token, RSA256), JweRejected::NotNested, "{cty}");
    }
    assert_eq!(rejected(&jwe_with(RSA256, json!({ "cty": null })), RSA256), JweRejected::NotNested);
}

/// FAPI1-ADV-5.2.3.1-5, JARM-2.2, JWT-3.3.
#[test]
fn what_is_inside_must_be_a_signed_token() {
    let outer = jwe_with(RSA256, json!({}));
    for content in [
        r#"{"iss":"https://as.example"}"#,
        "{}",
        "a",
        "a.b",
        "a.b.c.d",
        ".b.c",
        "a..c",
        "..",
        "a.b.c\n",
        " a.b.c",
        "a.b.c=",
        "a.b.é",
        "a.b\0.c",
        &outer,
    ] {
        let token = raw_jwe(RSA256, content, |header| header.to_string());
        assert_eq!(rejected(&token, RSA256), JweRejected::NotNested, "{content}");
    }
    let token = raw_jwe(RSA256, b"a.b.\xff", |header| header.to_string());
    assert_eq!(rejected(&token, RSA256), JweRejected::NotNested);
    // An unsecured token has the form; the verifier of signatures refuses it.
    let unsecured = raw_jwe(RSA256, "a.b.", |header| header.to_string());
    assert_eq!(opened(&unsecured, RSA256), Ok("a.b.".into()));
    let empty = raw_jwe(WRAPPED, "", |header| header.to_string());
    assert_eq!(rejected(&empty, WRAPPED), JweRejected::NotNested);
}

#[test]
fn iv_and_tag_have_the_length_of_the_algorithm_to_the_byte() {
    for policy in policies() {
        let token = jwe_with(policy, json!({}));
        let right = if policy.enc == JweEnc::A128CbcHs256 { 16 } else { 12 };
        for wrong in [0, 1, 8, 11, 13, 15, 17, 32] {
            let token = with_part(&token, IV, |iv| iv.resize(wrong, 0));
            assert_eq!(rejected(&token, policy), JweRejected::Malformed, "{policy:?} {wrong}");
        }
        let zeros = with_part(&token, IV, |iv| *iv = vec![0; right]);
        assert_eq!(rejected(&zeros, policy), JweRejected::DecryptionFailed, "{policy:?}");
        for wrong in (0..16).chain([17, 32]) {
            let token = with_part(&token, TAG, |tag| tag.resize(wrong, 0));
            assert_eq!(rejected(&token, policy), JweRejected::Malformed, "{policy:?} {wrong}");
        }
    }
}

#[test]
fn an_encrypted_key_has_the_length_of_algorithm_and_key_to_the_byte() {
    for policy in policies() {
        let token = jwe_with(policy, json!({}));
        let mut right = 0;
        with_part(&token, KEY, |key| right = key.len());
        let expected = match (policy.alg, policy.enc) {
            (JweAlg::RsaOaep | JweAlg::RsaOaep256, _) => 384,
            (JweAlg::EcdhEs, _) => 0,
            (_, JweEnc::A128Gcm) => 24,
            (_, _) => 40,
        };
        assert_eq!(right, expected, "{policy:?}");
        for wrong in [0, 1, 7, 8, 9, 16, right.saturating_sub(1), right + 1, right + 8, 256, 512] {
            if wrong == right {
                continue;
            }
            let token = with_part(&token, KEY, |key| key.resize(wrong, 0));
            assert_eq!(rejected(&token, policy), JweRejected::Malformed, "{policy:?} {wrong}");
        }
    }
}

#[test]
fn a_ciphertext_is_never_empty_and_in_cbc_mode_whole_blocks() {
    for policy in policies() {
        let token = jwe_with(policy, json!({}));
        let without = with_part(&token, TEXT, Vec::clear);
        assert_eq!(rejected(&without, policy), JweRejected::Malformed, "{policy:?}");
        for (change, blocks) in [(1, false), (15, false), (16, true), (17, false)] {
            let token = with_part(&token, TEXT, |text| text.truncate(text.len() - change));
            let expected = if blocks || policy.enc != JweEnc::A128CbcHs256 {
                JweRejected::DecryptionFailed
            } else {
                JweRejected::Malformed
            };
            assert_eq!(rejected(&token, policy), expected, "{policy:?} {change}");
        }
    }
}

/// RFC 7516 §11.5: whatever was changed, there is one refusal.
#[test]
fn every_change_under_the_right_lengths_fails_alike() {
    for policy in policies() {
        let token = jwe_with(policy, json!({}));
        for part in [KEY, IV, TEXT, TAG] {
            if part == KEY && policy.alg == JweAlg::EcdhEs {
                continue;
            }
            for bit in [0x01, 0x80] {
                let first = with_part(&token, part, |bytes| bytes[0] ^= bit);
                let last = with_part(&token, part, |bytes| *bytes.last_mut().unwrap() ^= bit);
                for changed in [first, last] {
                    let rejected = rejected(&changed, policy);
                    assert_eq!(rejected, JweRejected::DecryptionFailed, "{policy:?} {part}");
                }
            }
        }
        // The header is authenticated as it was written.
        let spaced = with_part(&token, 0, |header| header.insert(1, b' '));
        assert_eq!(rejected(&spaced, policy), JweRejected::DecryptionFailed, "{policy:?}");
        let other = jwe_with(policy, json!({}));
        for part in [KEY, IV, TEXT, TAG] {
            if part == KEY && policy.alg == JweAlg::EcdhEs {
                continue;
            }
            let foreign = URL_SAFE_NO_PAD.decode(other.split('.').nth(part).unwrap()).unwrap();
            let mixed = with_part(&token, part, |bytes| *bytes = foreign);
            assert_eq!(
                rejected(&mixed, policy),
                JweRejected::DecryptionFailed,
                "{policy:?} {part}"
            );
        }
    }
}

/// RFC 7516 §11.5: a key that does not unwrap, or unwraps to another length, is told from no other
/// failure.
#[test]
fn an_encrypted_key_that_is_none_fails_like_a_wrong_tag() {
    for policy in policies().filter(|policy| policy.alg != JweAlg::EcdhEs) {
        let token = jwe_with(policy, json!({}));
        for filling in [0, 1, 0x7f, 0xff] {
            let token = with_part(&token, KEY, |key| key.fill(filling));
            assert_eq!(rejected(&token, policy), JweRejected::DecryptionFailed, "{policy:?}");
        }
    }
    for alg in [JweAlg::RsaOaep, JweAlg::RsaOaep256] {
        let wrapper = key_management::Wrapper::new(recipient(alg).material(), alg).unwrap();
        let shorter = wrapper.wrap(JweEnc::A128Gcm).unwrap();
        let longer = wrapper.wrap(JweEnc::A256Gcm).unwrap();
        for (enc, encrypted) in
            [(JweEnc::A256Gcm, shorter.encrypted_key), (JweEnc::A128Gcm, longer.encrypted_key)]
        {
            let policy = JwePolicy { alg, enc };
            let token = with_part(&jwe_with(policy, json!({})), KEY, |key| *key = encrypted);
            assert_eq!(rejected(&token, policy), JweRejected::DecryptionFailed, "{policy:?}");
        }
    }
    // The other hash: a good key under one OAEP is none under the other.
    let made = JwePolicy { alg: JweAlg::RsaOaep, ..RSA256 };
    let token = jwe_with(made, json!({ "alg": "RSA-OAEP-256" }));
    assert_eq!(rejected(&token, RSA256), JweRejected::DecryptionFailed);
}

/// josekit decrypts CBC before it looks at the MAC, and answers bad padding differently.
#[test]
fn in_cbc_mode_nothing_is_decrypted_before_the_mac_is_right() {
    const ENC: JweEnc = JweEnc::A128CbcHs256;
    let key = [7; 32];
    let mut text = b"a.b.c".to_vec();
    let sealed = content::seal(ENC, &key, b"header", &mut text).unwrap();
    let attempt = |text: &[u8], tag: &[u8]| {
        let mut text: Secret = zeroize::Zeroizing::new(text.to_vec());
        let result = content::open(ENC, &key, b"header", &sealed.iv, tag, &mut text);
        (result, text)
    };
    assert_eq!(*attempt(&text, &sealed.tag).1, b"a.b.c");

    let mut tag = sealed.tag.clone();
    tag[15] ^= 1;
    let (result, left) = attempt(&text, &tag);
    assert_eq!(result, Err(content::ContentFailed));
    assert_eq!(*left, text, "the ciphertext was touched");

    // Bad padding under a bad MAC, and under a right one made by whoever knows the key.
    let mut unpadded = text.clone();
    unpadded[15] ^= 1;
    let (result, left) = attempt(&unpadded, &sealed.tag);
    assert_eq!(result, Err(content::ContentFailed));
    assert_eq!(*left, unpadded, "the ciphertext was touched");
    let bits = (b"header".len() as u64 * 8).to_be_bytes();
    let mac_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key[..16]);
    let input = [b"header", &sealed.iv[..], &unpadded, &bits].concat();
    let mac = aws_lc_rs::hmac::sign(&mac_key, &input);
    let (result, _) = attempt(&unpadded, &mac.as_ref()[..16]);
    assert_eq!(result, Err(content::ContentFailed));
    for length in [0, 8, 15] {
        assert_eq!(attempt(&text, &sealed.tag[..length]).0, Err(content::ContentFailed));
    }
}

/// JWT-3.4: an ephemeral key is judged like any public key.
#[test]
fn an_ephemeral_key_is_a_public_key_on_p_256() {
    let stranger = ES256.public_jwk.to_json();
    let point = |x: [u8; 32], y: [u8; 32]| json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) });
    let x = URL_SAFE_NO_PAD.decode(stranger["x"].as_str().unwrap()).unwrap();
    for policy in [AGREED, WRAPPED] {
        for epk in [
            with(&stranger, json!({ "y": stranger["x"] })),
            point([0; 32], [0; 32]),
            point([0xff; 32], [0xff; 32]),
            with(&stranger, json!({ "crv": "P-384" })),
            with(&stranger, json!({ "crv": "secp256k1" })),
            with(&stranger, json!({ "crv": null })),
            with(&stranger, json!({ "kty": "OKP" })),
            with(&stranger, json!({ "kty": null })),
            with(&stranger, json!({ "kty": 1 })),
            with(&stranger, json!({ "x": encode(&x[1..]) })),
            with(&stranger, json!({ "x": encode([&[0], &x[..]].concat()) })),
            with(&stranger, json!({ "x": null })),
            with(&stranger, json!({ "y": null })),
            with(&stranger, json!({ "y": 1 })),
            with(&stranger, json!({ "d": encode([1; 32]) })),
            json!({ "kty": "OKP", "crv": "X25519", "x": encode([9; 32]) }),
            EDDSA.public_jwk.to_json(),
            RSA.public_jwk.to_json(),
            json!({}),
            json!([]),
            json!("AAAA"),
            json!(null),
        ] {
            let token = raw_jwe(policy, good_token(), |mut header| {
                header["epk"] = epk.clone();
                header.to_string()
            });
            assert_eq!(rejected(&token, policy), JweRejected::Malformed, "{epk}");
        }
        let token = jwe_with(policy, json!({ "epk": null }));
        assert_eq!(rejected(&token, policy), JweRejected::Malformed);
        // Another sound key agrees on another secret; what else it says of itself does not count.
        let token = jwe_with(policy, json!({ "epk": stranger }));
        assert_eq!(rejected(&token, policy), JweRejected::DecryptionFailed);
    }
    let token = raw_jwe(AGREED, good_token(), |mut header| {
        header["epk"]["use"] = json!("sig");
        header.to_string()
    });
    assert!(opened(&token, AGREED).is_ok());
}

#[test]
fn party_infos_are_short_base64url_and_part_of_the_agreement() {
    for name in ["apu", "apv"] {
        for value in [
            json!(1),
            json!(null),
            json!([]),
            json!("*"),
            json!("AA=="),
            json!("AB"),
            json!(encode([0; 257])),
        ] {
            let token = raw_jwe(AGREED, good_token(), |mut header| {
                header[name] = value.clone();
                header.to_string()
            });
            assert_eq!(rejected(&token, AGREED), JweRejected::Malformed, "{name} {value}");
        }
        // Sound, but not what the key was derived with.
        for value in [encode("Alice"), encode([0; 256])] {
            let token = jwe_with(AGREED, json!({ name: value }));
            assert_eq!(rejected(&token, AGREED), JweRejected::DecryptionFailed);
        }
        // Nothing is the same as an empty one (RFC 7518 §4.6.2).
        assert!(opened(&jwe_with(AGREED, json!({ name: "" })), AGREED).is_ok());
    }
}

/// JWK-SEL: by `kid`, or the only one; never one after the other.
#[test]
fn a_key_is_chosen_by_its_kid_or_refused() {
    let key = |alg| generate_decryption_key(alg).unwrap();
    let load = |key: &GeneratedDecryptionKey| {
        DecryptionKey::from_jwk(key.private_jwk.as_bytes(), None).unwrap()
    };
    let (new, old) = (key(JweAlg::EcdhEs), key(JweAlg::EcdhEs));
    let ring = DecryptionKeys::new(vec![load(&new), load(&old)]).unwrap();
    let token_to = |recipient: &GeneratedDecryptionKey, kid: Value| {
        let alg = independent::Alg::EcdhEs;
        let jwk = with(&recipient.public_jwk.to_json(), json!({ "kid": kid }));
        independent::encrypt(&jwk, alg, independent::Enc::A128Gcm, &good_token(), None).unwrap()
    };
    let kid = |key: &GeneratedDecryptionKey| json!(key.public_jwk.kid());
    let judge = |token: &str, ring: &DecryptionKeys| decrypt(token, ring, AGREED).map(|_| ());
    // OIDC-10.2.1: an old key decrypts for as long as it is kept.
    for recipient in [&new, &old] {
        assert_eq!(judge(&token_to(recipient, kid(recipient)), &ring), Ok(()));
        let nameless = token_to(recipient, json!(null));
        assert_eq!(judge(&nameless, &ring), Err(JweRejected::KeyAmbiguous));
        let alone = DecryptionKeys::new(vec![load(recipient)]).unwrap();
        assert_eq!(judge(&nameless, &alone), Ok(()));
    }
    let misnamed = token_to(&new, kid(&old));
    assert_eq!(judge(&misnamed, &ring), Err(JweRejected::DecryptionFailed));
    for unknown in [json!("stranger"), json!(""), json!("../../etc/passwd")] {
        assert_eq!(judge(&token_to(&new, unknown), &ring), Err(JweRejected::KeyUnknown));
    }
    let none = DecryptionKeys::new(Vec::new()).unwrap();
    assert_eq!(judge(&token_to(&new, kid(&new)), &none), Err(JweRejected::KeyUnknown));
    assert_eq!(judge(&token_to(&new, json!(null)), &none), Err(JweRejected::KeyUnknown));

    // A key serves its own algorithm only, even under its name.
    let wrapping = key(JweAlg::EcdhEsA128Kw);
    let ring = DecryptionKeys::new(vec![load(&wrapping)]).unwrap();
    let token = token_to(&wrapping, kid(&wrapping));
    assert_eq!(judge(&token, &ring), Err(JweRejected::KeyUnknown));
    // The name of a key of another type does not make it fit.
    let rsa_kid = recipient(JweAlg::RsaOaep).kid().unwrap().to_owned();
    let token = jwe_with(AGREED, json!({ "kid": rsa_kid }));
    assert_eq!(rejected(&token, AGREED), JweRejected::KeyUnknown);
    // Without a name, the only key that fits is the one of the right type.
    assert!(opened(&jwe_with(AGREED, json!({ "kid": null })), AGREED).is_ok());
}

#[test]
fn every_refusal_has_its_own_stable_reason() {
    for (rejected, reason) in [
        (JweRejected::Malformed, "malformed"),
        (JweRejected::TooLarge, "too_large"),
        (JweRejected::DuplicateMember, "duplicate_member"),
        (JweRejected::HeaderNotAllowed, "header_not_allowed"),
        (JweRejected::AlgNotAllowed, "alg_not_allowed"),
        (JweRejected::EncNotAllowed, "enc_not_allowed"),
        (JweRejected::KeyUnknown, "key_unknown"),
        (JweRejected::KeyAmbiguous, "key_ambiguous"),
        (JweRejected::NotNested, "not_nested"),
        (JweRejected::DecryptionFailed, "decryption_failed"),
    ] {
        assert_eq!(rejected.reason(), reason);
    }
}

#[test]
fn debug_shows_nothing_of_a_token() {
    let token = jwe_with(RSA256, json!({ "typ": "secret-value" }));
    let shown = format!("{:?}", jwe::Jwe::parse(&token, RSA256).unwrap());
    assert!(!shown.contains("secret-value") && !shown.contains(&token[..20]), "{shown}");
}
