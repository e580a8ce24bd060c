//! The layer against itself and against the examples of the specifications.

use std::io::Read as _;

use aws_lc_rs::rsa::Pkcs1PrivateDecryptingKey;
use flate2::read::DeflateDecoder;

use super::*;

/// A signed token by its looks.
const INNER: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.c2lnbmF0dXJl";

fn header(token: &str) -> Object {
    parse_object(token.split('.').next().unwrap()).unwrap()
}

fn parts(token: &str) -> Vec<Vec<u8>> {
    token.split('.').map(|part| B64.decode(part).unwrap()).collect()
}

/// What is under `key`, by hand.
fn content(token: &str, enc: Enc, key: &[u8]) -> Vec<u8> {
    let aad = token.split('.').next().unwrap();
    let [_, _, iv, text, tag] = &parts(token)[..] else { panic!("not five parts") };
    enc.open(key, iv, aad.as_bytes(), (text.clone(), tag.clone())).unwrap()
}

#[test]
fn every_algorithm_decrypts_its_own_and_no_other_key_does() {
    for alg in Alg::ALL {
        let key = DecryptionKey::generate(alg).unwrap();
        let other = DecryptionKey::generate(alg).unwrap();
        for enc in Enc::ALL {
            let token = encrypt(key.public_jwk(), alg, enc, INNER, None).unwrap();
            assert_eq!(key.decrypt(&token, enc).as_deref(), Ok(INNER), "{alg:?} {enc:?}");
            assert_eq!(other.decrypt(&token, enc), Err(JweFault::KeyUnknown));
            let mut renamed = key.public_jwk().clone();
            renamed["kid"] = other.public_jwk()["kid"].clone();
            let token = encrypt(&renamed, alg, enc, INNER, None).unwrap();
            assert_eq!(other.decrypt(&token, enc), Err(JweFault::DecryptionFailed), "{alg:?}");
        }
    }
}

#[test]
fn names_are_those_of_the_registries() {
    for alg in Alg::ALL {
        assert_eq!(Alg::from_name(alg.name()), Some(alg));
    }
    for enc in Enc::ALL {
        assert_eq!(Enc::from_name(enc.name()), Some(enc));
    }
    assert_eq!((Alg::from_name("RSA1_5"), Enc::from_name("a128gcm")), (None, None));
}

#[test]
fn every_flaw_is_noticed_and_is_the_one_asked_for() {
    for alg in Alg::ALL {
        let key = DecryptionKey::generate(alg).unwrap();
        for enc in Enc::ALL {
            for flaw in Flaw::ALL.into_iter().filter(|flaw| flaw.fits(alg)) {
                let token = encrypt(key.public_jwk(), alg, enc, INNER, Some(flaw)).unwrap();
                let expected = match flaw {
                    Flaw::Rsa15 | Flaw::Dir | Flaw::Pbes2 => JweFault::AlgNotAllowed,
                    Flaw::Zip => JweFault::HeaderNotAllowed,
                    Flaw::HalfTag | Flaw::LongTag => JweFault::Malformed,
                    Flaw::FlippedBit => JweFault::DecryptionFailed,
                    Flaw::PlainJson | Flaw::NoContentType => JweFault::NotNested,
                    Flaw::WrongKid => JweFault::KeyUnknown,
                    Flaw::EpkOffCurve => JweFault::KeyUnusable,
                };
                assert_eq!(key.decrypt(&token, enc), Err(expected), "{alg:?} {enc:?} {flaw:?}");
            }
        }
    }
}

#[test]
fn flaws_that_a_key_cannot_have_are_not_made_up() {
    let rsa = DecryptionKey::generate(Alg::RsaOaep).unwrap();
    let ec = DecryptionKey::generate(Alg::EcdhEs).unwrap();
    for (jwk, alg, flaw) in [
        (ec.public_jwk(), Alg::EcdhEs, Flaw::Rsa15),
        (rsa.public_jwk(), Alg::RsaOaep, Flaw::EpkOffCurve),
    ] {
        assert!(!flaw.fits(alg));
        let made = encrypt(jwk, alg, Enc::A256Gcm, INNER, Some(flaw));
        assert_eq!(made, Err(JweFault::KeyUnusable));
    }
    let made = encrypt(ec.public_jwk(), Alg::RsaOaep, Enc::A256Gcm, INNER, None);
    assert_eq!(made, Err(JweFault::KeyUnusable));
}

/// Whoever speaks `RSA1_5` decrypts it.
#[test]
fn rsa1_5_is_properly_made() {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let n = pair.public_key().modulus().big_endian_without_leading_zero();
    let jwk = json!({"kty": "RSA", "n": B64.encode(n), "e": "AQAB"});
    let token = encrypt(&jwk, Alg::RsaOaep, Enc::A256Gcm, INNER, Some(Flaw::Rsa15)).unwrap();
    let private = PrivateDecryptingKey::from_pkcs8(pair.as_der().unwrap().as_ref()).unwrap();
    let private = Pkcs1PrivateDecryptingKey::new(private).unwrap();
    let mut plain = vec![0; private.min_output_size()];
    let key = private.decrypt(&parts(&token)[1], &mut plain).unwrap();
    assert_eq!(content(&token, Enc::A256Gcm, key), INNER.as_bytes());
    assert_eq!(header(&token)["alg"], "RSA1_5");
}

/// Whoever takes the public key for a secret decrypts these.
#[test]
fn dir_and_pbes2_are_properly_made() {
    let key = DecryptionKey::generate(Alg::EcdhEs).unwrap();
    let name = thumbprint(key.public_jwk()).unwrap();
    let made = |flaw| encrypt(key.public_jwk(), Alg::EcdhEs, Enc::A128Gcm, INNER, Some(flaw));

    let token = made(Flaw::Dir).unwrap();
    let secret = digest::digest(&SHA256, name.as_bytes());
    assert_eq!(content(&token, Enc::A128Gcm, &secret.as_ref()[..16]), INNER.as_bytes());

    let token = made(Flaw::Pbes2).unwrap();
    let header = header(&token);
    let p2s = B64.decode(header["p2s"].as_str().unwrap()).unwrap();
    let salt = [header["alg"].as_str().unwrap().as_bytes(), &[0], &p2s].concat();
    let rounds = u32::try_from(header["p2c"].as_u64().unwrap()).unwrap().try_into().unwrap();
    let mut derived = [0; 16];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, name.as_bytes(), &mut derived);
    let mut plain = [0; 24];
    let kek = AesKek::new(&key_wrap::AES_128, &derived).unwrap();
    let secret = kek.unwrap(&parts(&token)[1], &mut plain).unwrap();
    assert_eq!(content(&token, Enc::A128Gcm, secret), INNER.as_bytes());
}

/// Small enough to be looked at, and large once it is unfolded.
#[test]
fn the_bomb_is_small_and_unfolds() {
    let key = DecryptionKey::generate(Alg::RsaOaep256).unwrap();
    let token =
        encrypt(key.public_jwk(), Alg::RsaOaep256, Enc::A256Gcm, INNER, Some(Flaw::Zip)).unwrap();
    assert!(token.len() < 16 * 1024, "{}", token.len());
    assert_eq!(header(&token)["zip"], "DEF");
    let folded = bomb(INNER.as_bytes()).unwrap();
    let mut unfolded = String::new();
    DeflateDecoder::new(&folded[..]).read_to_string(&mut unfolded).unwrap();
    assert_eq!(unfolded.len(), BOMB_BYTES);
    assert!(unfolded.starts_with(INNER));
}

/// RFC 7518 appendix C.
#[test]
fn both_sides_of_an_agreement_derive_the_published_key() {
    let pair = |x: &str, y: &str, d: &str| {
        let d = B64.decode(d).unwrap();
        let private = agreement::PrivateKey::from_private_key(&ECDH_P256, &d).unwrap();
        (private, json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}))
    };
    let (alice, alice_public) = pair(
        "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
        "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps",
        "0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo",
    );
    let (bob, bob_public) = pair(
        "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
        "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
        "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw",
    );
    let mut header = Object::new();
    header.insert("apu".into(), json!(B64.encode("Alice")));
    header.insert("apv".into(), json!(B64.encode("Bob")));
    for (own, peer) in [(&alice, &bob_public), (&bob, &alice_public)] {
        let derived = agree(own, peer, Alg::EcdhEs, Enc::A128Gcm, &header).unwrap();
        assert_eq!(B64.encode(derived), "VqqN6vgjbSBcIijNcacQGg");
    }
}

/// RFC 7516 appendix A.3, from the content key on.
#[test]
fn cbc_opens_the_published_token() {
    let token = "eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.6KB707dM9YTIgHtLvtgWQ8mKwboJW\
        3of9locizkDTHzBC2IlrT1oOQ.AxY8DCtDaGlsbGljb3RoZQ.KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wO\
        GY.U0m_YmjN04DJvceFICbCVQ";
    let key = [
        4, 211, 31, 197, 84, 157, 252, 254, 11, 100, 157, 250, 63, 170, 106, 206, 107, 124, 212,
        45, 111, 107, 9, 219, 200, 177, 0, 240, 143, 156, 44, 207,
    ];
    assert_eq!(content(token, Enc::A128CbcHs256, &key), b"Live long and prosper.");
}
