//! Owns signing: the trait a hardware key can stand behind, the software key, and the compact
//! token around a signature. Must not know: what is signed, or which key a purpose takes.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    JwsAlg, KeyRejected, PublicJwk,
    engine::PrivateSigner,
    private_key::{self, KeySeed, PrivateKey},
};

/// No signature could be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignFailed {
    /// The key's holder, software or hardware, failed.
    #[error("the signing key failed")]
    Backend,
    /// The header, claims or key could not be written down.
    #[error("the content cannot be encoded")]
    Encoding,
}

impl SignFailed {
    /// Stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Backend => "sign_backend",
            Self::Encoding => "sign_encoding",
        }
    }
}

/// A private key that signs with one algorithm under one name; it may live in hardware.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The only algorithm this key is used with (JWT-3.1).
    fn alg(&self) -> JwsAlg;
    /// The `kid` under which the public half is published.
    fn kid(&self) -> &str;
    /// The public half, with `kid` and `alg`.
    fn public_jwk(&self) -> &PublicJwk;
    /// The JWS signature of `message`: raw `r || s` for ES256 (RFC 7518 §3.4), a 32-byte salt for
    /// PS256.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailed>;
}

/// A private key in this process's memory. `Debug` shows its public half only.
pub struct SoftwareSigner {
    alg: JwsAlg,
    kid: String,
    public_jwk: PublicJwk,
    key: PrivateSigner,
}

impl SoftwareSigner {
    /// A key from PKCS#8 PEM. Without `alg` the key's type decides: P-256 ES256, RSA PS256, Ed25519
    /// `EdDSA`. The `kid` is the RFC 7638 thumbprint (JWK-OWN).
    pub fn from_pem(pem: &[u8], alg: Option<JwsAlg>) -> Result<Self, KeyRejected> {
        Self::new(private_key::from_pem(pem)?, alg)
    }

    /// A key from a private JWK. Its `alg` decides, or else its type as in [`Self::from_pem`]; the
    /// `kid` is the JWK's, or else its thumbprint.
    pub fn from_jwk(json: &[u8]) -> Result<Self, KeyRejected> {
        Self::new(private_key::from_jwk(json)?, None)
    }

    /// A key from a file that holds either form. An `alg` that contradicts the JWK's is refused.
    pub fn from_file_bytes(file: &[u8], alg: Option<JwsAlg>) -> Result<Self, KeyRejected> {
        if private_key::is_jwk(file) {
            Self::new(private_key::from_jwk(file)?, alg)
        } else {
            Self::from_pem(file, alg)
        }
    }

    /// The ES256 key of a seed; its `kid` is the thumbprint.
    pub fn from_seed(seed: &KeySeed) -> Result<Self, KeyRejected> {
        Self::new(private_key::from_seed(seed)?, Some(JwsAlg::Es256))
    }

    fn new(key: PrivateKey, wanted: Option<JwsAlg>) -> Result<Self, KeyRejected> {
        let PrivateKey { public, private } = key;
        let alg = match (wanted, public.alg()) {
            (Some(wanted), _) if !public.fits(wanted) => return Err(KeyRejected::AlgMismatch),
            (Some(wanted), _) => wanted,
            (None, Some(named)) => named,
            (None, None) => {
                public.material().algs().first().copied().ok_or(KeyRejected::UnsupportedType)?
            }
        };
        let public_jwk = public.pinned(alg)?;
        let kid = public_jwk.kid().unwrap_or_default().to_owned();
        let key = PrivateSigner::new(public_jwk.material(), &private, alg)?;
        Ok(Self { alg, kid, public_jwk, key })
    }
}

impl Signer for SoftwareSigner {
    fn alg(&self) -> JwsAlg {
        self.alg
    }

    fn kid(&self) -> &str {
        &self.kid
    }

    fn public_jwk(&self) -> &PublicJwk {
        &self.public_jwk
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailed> {
        self.key.sign(message).ok_or(SignFailed::Backend)
    }
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SoftwareSigner")
            .field("public_jwk", &self.public_jwk)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    typ: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<Map<String, Value>>,
}

/// A compact JWS over `claims` with the header members `alg`, `kid` and, if given, `typ`.
pub fn sign(
    signer: &dyn Signer,
    typ: Option<&str>,
    claims: &Map<String, Value>,
) -> Result<String, SignFailed> {
    let header = Header { alg: signer.alg().name(), kid: Some(signer.kid()), typ, jwk: None };
    sign_with_header(signer, &header, claims)
}

/// A compact JWS that carries its public key as the header member `jwk` instead of a `kid`, as a
/// `DPoP` proof does (RFC 9449 §4.2).
pub fn sign_embedding_key(
    signer: &dyn Signer,
    typ: &str,
    claims: &Map<String, Value>,
) -> Result<String, SignFailed> {
    let jwk = Some(signer.public_jwk().material().to_map());
    let header = Header { alg: signer.alg().name(), kid: None, typ: Some(typ), jwk };
    sign_with_header(signer, &header, claims)
}

fn sign_with_header(
    signer: &dyn Signer,
    header: &Header<'_>,
    claims: &Map<String, Value>,
) -> Result<String, SignFailed> {
    let header = serde_json::to_vec(header).map_err(|_| SignFailed::Encoding)?;
    let claims = serde_json::to_vec(claims).map_err(|_| SignFailed::Encoding)?;
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}
