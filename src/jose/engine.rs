//! Owns the calls into josekit for signatures: builds its signers and verifiers once per key, and
//! checks the shape of every signature before it. Must not know: tokens, headers, claims.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use josekit::{
    JoseError,
    jwk::Jwk,
    jws::{ES256, EdDSA, JwsSigner, JwsVerifier, PS256, RS256},
};
use serde_json::{Map, Value};
use zeroize::{Zeroize as _, Zeroizing};

use super::{JwsAlg, KeyRejected, jwk::Material};

/// Bytes of a private number, wiped when dropped.
pub(super) type Secret = Zeroizing<Vec<u8>>;

/// The private members that belong to a [`Material`].
pub(super) enum PrivateMembers {
    /// `d` of an EC or Ed25519 key.
    Single(Secret),
    /// `d`, `p`, `q`, `dp`, `dq`, `qi` of an RSA key.
    Rsa([Secret; 6]),
}

/// Names of the private members of an RSA key, in the order of [`PrivateMembers::Rsa`].
pub(super) const RSA_PRIVATE_NAMES: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];

/// Verifies with one key and one algorithm.
#[derive(Clone)]
pub(super) struct Verifier {
    alg: JwsAlg,
    signature_bytes: usize,
    inner: Box<dyn JwsVerifier>,
}

impl Verifier {
    pub(super) fn new(key: &Material, alg: JwsAlg) -> Result<Self, KeyRejected> {
        let signature_bytes = match key {
            Material::P256 { .. } | Material::Ed25519 { .. } => 64,
            Material::Rsa { n } => n.len(),
        };
        let alg = alg.canonical();
        let inner = build_verifier(key, alg).map_err(|_| KeyRejected::Unusable)?;
        Ok(Self { alg, signature_bytes, inner })
    }

    /// Whether this verifier computes `alg`.
    pub(super) fn computes(&self, alg: JwsAlg) -> bool {
        self.alg.same_computation(alg)
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        if signature.len() != self.signature_bytes {
            return false;
        }
        // Refuses r or s outside 1..n, the "psychic signature" among them (JWT-3.4).
        if self.alg == JwsAlg::Es256 && p256::ecdsa::Signature::from_slice(signature).is_err() {
            return false;
        }
        self.inner.verify(message, signature).is_ok()
    }
}

/// Signs with one private key and one algorithm.
pub(super) struct PrivateSigner(Box<dyn JwsSigner>);

impl PrivateSigner {
    pub(super) fn new(
        key: &Material,
        private: &PrivateMembers,
        alg: JwsAlg,
    ) -> Result<Self, KeyRejected> {
        let alg = alg.canonical();
        let signer = Self(build_signer(key, private, alg).map_err(|_| KeyRejected::Unusable)?);
        // A private key that does not belong to the public one would only show at the peer.
        let probe = b"fapi-bff key pair probe";
        let signature = signer.sign(probe).ok_or(KeyRejected::PairMismatch)?;
        if Verifier::new(key, alg)?.verify(probe, &signature) {
            Ok(signer)
        } else {
            Err(KeyRejected::PairMismatch)
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.0.sign(message).ok()
    }
}

fn build_verifier(key: &Material, alg: JwsAlg) -> Result<Box<dyn JwsVerifier>, JoseError> {
    let jwk = Jwk::from_map(key.to_map())?;
    Ok(match alg {
        JwsAlg::Es256 => Box::new(ES256.verifier_from_jwk(&jwk)?),
        JwsAlg::Ps256 => Box::new(PS256.verifier_from_jwk(&jwk)?),
        JwsAlg::Rs256 => Box::new(RS256.verifier_from_jwk(&jwk)?),
        JwsAlg::EdDsa | JwsAlg::Ed25519 => Box::new(EdDSA.verifier_from_jwk(&jwk)?),
    })
}

fn build_signer(
    key: &Material,
    private: &PrivateMembers,
    alg: JwsAlg,
) -> Result<Box<dyn JwsSigner>, JoseError> {
    let jwk = Jwk::from_map(private_jwk(key, private))?;
    // josekit takes PKCS#8 RSA keys for PS256 only under the rare id-RSASSA-PSS; the JWK form
    // works for ordinary keys and fixes the salt at 32 bytes.
    let signer: Result<Box<dyn JwsSigner>, JoseError> = match alg {
        JwsAlg::Es256 => ES256.signer_from_jwk(&jwk).map(|signer| Box::new(signer) as _),
        JwsAlg::Ps256 => PS256.signer_from_jwk(&jwk).map(|signer| Box::new(signer) as _),
        JwsAlg::Rs256 => RS256.signer_from_jwk(&jwk).map(|signer| Box::new(signer) as _),
        JwsAlg::EdDsa | JwsAlg::Ed25519 => {
            EdDSA.signer_from_jwk(&jwk).map(|signer| Box::new(signer) as _)
        }
    };
    wipe(&mut jwk.into());
    signer
}

/// Public and private members as a JWK; the caller wipes them.
pub(super) fn private_jwk(key: &Material, private: &PrivateMembers) -> Map<String, Value> {
    let mut members = key.to_map();
    let mut insert = |name: &str, secret: &Secret| {
        members.insert(name.into(), URL_SAFE_NO_PAD.encode(secret.as_slice()).into());
    };
    match private {
        PrivateMembers::Single(d) => insert("d", d),
        PrivateMembers::Rsa(secrets) => {
            RSA_PRIVATE_NAMES.iter().zip(secrets).for_each(|(name, secret)| insert(name, secret));
        }
    }
    members
}

/// josekit does not zeroise; this wipes the texts it was lent.
pub(super) fn wipe(members: &mut Map<String, Value>) {
    for value in members.values_mut() {
        if let Value::String(text) = value {
            text.zeroize();
        }
    }
}
