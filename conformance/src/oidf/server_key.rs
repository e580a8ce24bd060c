//! A private key for the suite's mock authorization server, which it takes as a JWK. Made anew for each
//! configuration and good for nothing else; it must not know where the configuration goes.

use aws_lc_rs::{
    encoding::{AsBigEndian as _, Curve25519SeedBin, EcPrivateKeyBin},
    error::Unspecified,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};

use crate::jws::sha256_b64;

/// What the mock server signs with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ServerAlg {
    Es256,
    EdDsa,
}

/// A JWK set of one fresh private key with `alg`, `kid` and `use`.
pub(super) fn generate(alg: ServerAlg) -> Result<Value, Unspecified> {
    let jwk = match alg {
        ServerAlg::Es256 => p256()?,
        ServerAlg::EdDsa => ed25519()?,
    };
    Ok(json!({ "keys": [jwk] }))
}

fn p256() -> Result<Value, Unspecified> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let d: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes()?;
    // SEC 1: 0x04, x, y.
    let point = pair.public_key().as_ref();
    let (x, y) = (point.get(1..33).ok_or(Unspecified)?, point.get(33..65).ok_or(Unspecified)?);
    Ok(json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": sha256_b64(point),
        "x": B64.encode(x), "y": B64.encode(y), "d": B64.encode(d.as_ref()),
    }))
}

fn ed25519() -> Result<Value, Unspecified> {
    let pair = Ed25519KeyPair::generate()?;
    let seed = pair.seed()?;
    let d: Curve25519SeedBin<'_> = seed.as_be_bytes()?;
    let x = pair.public_key().as_ref();
    Ok(json!({
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": sha256_b64(x),
        "x": B64.encode(x), "d": B64.encode(d.as_ref()),
    }))
}

#[cfg(test)]
mod tests {
    use fapi_bff::jose::SoftwareSigner;

    use super::*;

    /// The product reads private JWKs and compares the private with the public half.
    #[test]
    fn each_key_is_whole_new_and_named() {
        for (alg, name) in [(ServerAlg::Es256, "ES256"), (ServerAlg::EdDsa, "EdDSA")] {
            let (one, two) = (generate(alg).unwrap(), generate(alg).unwrap());
            let key = &one["keys"][0];
            let signer = SoftwareSigner::from_jwk(key.to_string().as_bytes()).unwrap();
            assert_eq!(fapi_bff::jose::Signer::alg(&signer).name(), name);
            assert_eq!((&key["use"], &key["alg"]), (&json!("sig"), &json!(name)));
            assert_ne!(key["d"], two["keys"][0]["d"]);
            assert_ne!(key["kid"], two["keys"][0]["kid"]);
        }
    }
}
