//! Owns public keys: what a JWK must look like before anything is verified with it, its RFC 7638
//! thumbprint, and the JWK set we publish. Must not know: which peer a key belongs to.

use std::fmt;

use aws_lc_rs::digest;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, public_key::PublicKey};

use super::{JwsAlg, strict};

/// Longest `kid` accepted, in characters.
pub(super) const MAX_KID_CHARS: usize = 256;
/// Members that exist only in private or symmetric keys (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// Why a key cannot be used for what it was given for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum KeyRejected {
    /// Not a JSON object, or text that is neither a JWK nor a PKCS#8 PEM.
    #[error("not a key in a known format")]
    UnknownFormat,
    /// A required member is missing, has the wrong type or is badly encoded.
    #[error("a member of the key is missing or malformed")]
    Malformed,
    /// A member occurs twice.
    #[error("a member of the key occurs twice")]
    DuplicateMember,
    /// A key type or curve other than RSA, P-256 and Ed25519.
    #[error("the key type or curve is not supported")]
    UnsupportedType,
    /// `use` or `key_ops` says the key serves something else.
    #[error("the key is not meant for signatures")]
    NotForSignatures,
    /// `use`, `key_ops` or the key's type says that nothing is to be encrypted to it.
    #[error("the key is not meant for encryption")]
    NotForEncryption,
    /// `alg` names an algorithm we do not speak.
    #[error("the key's algorithm is not supported")]
    UnsupportedAlg,
    /// `alg` does not belong to this type of key, or differs from the one asked for.
    #[error("the key's algorithm does not fit the key")]
    AlgMismatch,
    /// An RSA modulus below 2048 or above 8192 bits (FAPI2-SP-5.4.1-2/3).
    #[error("the RSA modulus has the wrong size")]
    RsaSize,
    /// An RSA exponent other than 65537.
    #[error("the RSA exponent is not 65537")]
    RsaExponent,
    /// A value with which anybody could sign: an even modulus, a point of small order.
    #[error("the key is degenerate")]
    Degenerate,
    /// The EC point is not on the curve (JWT-3.4).
    #[error("the point is not on the curve")]
    NotOnCurve,
    /// A public key was expected and the private one was given (JWK-FETCH).
    #[error("the key has private members")]
    PrivateMembers,
    /// The first certificate in `x5c` certifies another key.
    #[error("the certificate belongs to another key")]
    CertificateMismatch,
    /// The private half does not belong to the public one.
    #[error("the private key does not match the public key")]
    PairMismatch,
    /// Another key of the set has the same `kid`: a token could mean either.
    #[error("two keys have the same kid (FAPI2-SP-5.4.2)")]
    DuplicateKid,
    /// One key signs and is encrypted to.
    #[error("a decryption key is a key for signing or for TLS as well (FAPI2-SP-6.8)")]
    TwoUses,
    /// One key is the client certificate's and signs assertions.
    #[error("the key of `tls_identity` also signs client assertions (TLS-PRJ-CERT)")]
    CertificateKey,
    /// The cryptographic library refused the key.
    #[error("the key is unusable")]
    Unusable,
}

impl KeyRejected {
    /// Stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownFormat => "unknown_format",
            Self::Malformed => "malformed",
            Self::DuplicateMember => "duplicate_member",
            Self::UnsupportedType => "unsupported_type",
            Self::NotForSignatures => "not_for_signatures",
            Self::NotForEncryption => "not_for_encryption",
            Self::UnsupportedAlg => "unsupported_alg",
            Self::AlgMismatch => "alg_mismatch",
            Self::RsaSize => "rsa_size",
            Self::RsaExponent => "rsa_exponent",
            Self::Degenerate => "degenerate",
            Self::NotOnCurve => "not_on_curve",
            Self::PrivateMembers => "private_members",
            Self::CertificateMismatch => "certificate_mismatch",
            Self::PairMismatch => "pair_mismatch",
            Self::DuplicateKid => "duplicate_kid",
            Self::TwoUses => "two_uses",
            Self::CertificateKey => "certificate_key",
            Self::Unusable => "unusable",
        }
    }
}

/// The numbers of a public key, each checked.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Material {
    /// Affine coordinates of a point on P-256.
    P256 { x: [u8; 32], y: [u8; 32] },
    /// Modulus without leading zeros; the exponent is always 65537.
    Rsa { n: Vec<u8> },
    /// RFC 8032 public key.
    Ed25519 { x: [u8; 32] },
}

impl Material {
    pub(super) fn from_members(jwk: &Map<String, Value>, kty: &str) -> Result<Self, KeyRejected> {
        match (kty, jwk.get("crv").map(Value::as_str)) {
            ("EC", Some(Some("P-256"))) => Self::p256(fixed(jwk, "x")?, fixed(jwk, "y")?),
            ("OKP", Some(Some("Ed25519"))) => Self::ed25519(fixed(jwk, "x")?),
            ("RSA", _) => Self::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?),
            ("EC" | "OKP", None | Some(None)) => Err(KeyRejected::Malformed),
            _ => Err(KeyRejected::UnsupportedType),
        }
    }

    pub(super) fn p256(x: [u8; 32], y: [u8; 32]) -> Result<Self, KeyRejected> {
        let point = [&[4][..], &x, &y].concat();
        p256::PublicKey::from_sec1_bytes(&point).map_err(|_| KeyRejected::NotOnCurve)?;
        Ok(Self::P256 { x, y })
    }

    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyRejected> {
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let leading = n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !RSA_BITS.contains(&(n.len() * 8 - leading)) {
            return Err(KeyRejected::RsaSize);
        }
        if e != RSA_EXPONENT {
            return Err(KeyRejected::RsaExponent);
        }
        if n.last().is_none_or(|last| last % 2 == 0) {
            return Err(KeyRejected::Degenerate);
        }
        Ok(Self::Rsa { n: n.to_vec() })
    }

    pub(super) fn ed25519(x: [u8; 32]) -> Result<Self, KeyRejected> {
        if is_small_order(&x) {
            return Err(KeyRejected::Degenerate);
        }
        Ok(Self::Ed25519 { x })
    }

    /// The algorithms such a key can serve, the preferred one first.
    pub(super) const fn algs(&self) -> &'static [JwsAlg] {
        match self {
            Self::P256 { .. } => &[JwsAlg::Es256],
            Self::Rsa { .. } => &[JwsAlg::Ps256, JwsAlg::Rs256],
            Self::Ed25519 { .. } => &[JwsAlg::EdDsa, JwsAlg::Ed25519],
        }
    }

    /// The members RFC 7638 §3.2 hashes, in its order, and nothing else.
    pub(super) fn members(&self) -> Vec<(&'static str, String)> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::P256 { x, y } => {
                vec![("crv", "P-256".into()), ("kty", "EC".into()), ("x", text(x)), ("y", text(y))]
            }
            Self::Rsa { n } => {
                vec![("e", text(&RSA_EXPONENT)), ("kty", "RSA".into()), ("n", text(n))]
            }
            Self::Ed25519 { x } => {
                vec![("crv", "Ed25519".into()), ("kty", "OKP".into()), ("x", text(x))]
            }
        }
    }

    pub(super) fn to_map(&self) -> Map<String, Value> {
        self.members().into_iter().map(|(name, text)| (name.into(), text.into())).collect()
    }

    pub(super) fn thumbprint(&self) -> String {
        // Base64url and fixed names need no escaping, so the canonical form is plain concatenation.
        let members: Vec<String> =
            self.members().iter().map(|(name, text)| format!("\"{name}\":\"{text}\"")).collect();
        let canonical = format!("{{{}}}", members.join(","));
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    fn is_certified_by(&self, der: &[u8]) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
        let key = certificate.public_key();
        match (self, key.parsed()) {
            (Self::P256 { x, y }, Ok(PublicKey::EC(point))) => {
                point.data() == [&[4][..], x, y].concat()
            }
            (Self::Rsa { n }, Ok(PublicKey::RSA(rsa))) => {
                without_leading_zeros(rsa.modulus) == n
                    && without_leading_zeros(rsa.exponent) == RSA_EXPONENT
            }
            (Self::Ed25519 { x }, _) => key.subject_public_key.data.as_ref() == x,
            _ => false,
        }
    }
}

/// A public key fit for verifying signatures. Only public members survive the parser (JWK-FETCH).
#[derive(Clone, PartialEq, Eq)]
pub struct PublicJwk {
    material: Material,
    kid: Option<String>,
    alg: Option<JwsAlg>,
    thumbprint: String,
}

impl PublicJwk {
    /// Reads and judges one JWK: RSA of 2048 to 8192 bits with exponent 65537, a point on P-256,
    /// or Ed25519; `use` and `key_ops`, if present, must permit verifying; `alg`, if present, must
    /// fit the key (FAPI2-SP-5.4.1-2/3, JWK-FETCH, JWT-3.4).
    pub fn from_json(jwk: &Value) -> Result<Self, KeyRejected> {
        let jwk = jwk.as_object().ok_or(KeyRejected::UnknownFormat)?;
        let key = Self::from_members(jwk, "verify")?;
        if has_private_members(jwk) {
            return Err(KeyRejected::PrivateMembers);
        }
        Ok(key)
    }

    /// Reads the public part of a JWK that must permit `operation`.
    pub(super) fn from_members(
        jwk: &Map<String, Value>,
        operation: &str,
    ) -> Result<Self, KeyRejected> {
        let kty = text(jwk, "kty")?.ok_or(KeyRejected::Malformed)?;
        if text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(KeyRejected::NotForSignatures);
        }
        if !permits(jwk.get("key_ops"), &[operation])? {
            return Err(KeyRejected::NotForSignatures);
        }
        let kid = kid(jwk)?;
        let material = Material::from_members(jwk, kty)?;
        let alg = text(jwk, "alg")?
            .map(|name| JwsAlg::from_name(name).ok_or(KeyRejected::UnsupportedAlg))
            .transpose()?;
        check_certificate(jwk.get("x5c"), &material)?;
        Self::new(material, kid.map(str::to_owned), alg)
    }

    /// A key from checked numbers.
    pub(super) fn new(
        material: Material,
        kid: Option<String>,
        alg: Option<JwsAlg>,
    ) -> Result<Self, KeyRejected> {
        if alg.is_some_and(|alg| !material.algs().contains(&alg)) {
            return Err(KeyRejected::AlgMismatch);
        }
        let thumbprint = material.thumbprint();
        Ok(Self { material, kid, alg, thumbprint })
    }

    /// This key under a fixed name and algorithm, as one of ours is published.
    pub(super) fn pinned(self, alg: JwsAlg) -> Result<Self, KeyRejected> {
        let kid = self.kid.unwrap_or_else(|| self.thumbprint.clone());
        Self::new(self.material, Some(kid), Some(alg))
    }

    /// The key's name within its set; lookup text, not to be trusted (JWT-3.10).
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The only algorithm this key may serve, if its owner said so.
    pub const fn alg(&self) -> Option<JwsAlg> {
        self.alg
    }

    /// RFC 7638 thumbprint with SHA-256, base64url; also the `jkt` that binds a token to a key
    /// (RFC 9449 §6.1).
    pub fn thumbprint(&self) -> String {
        self.thumbprint.clone()
    }

    /// The key's public members, with `kid` and `alg` if it has them.
    pub fn to_json(&self) -> Value {
        let mut jwk = self.material.to_map();
        if let Some(kid) = &self.kid {
            jwk.insert("kid".into(), kid.as_str().into());
        }
        if let Some(alg) = self.alg {
            jwk.insert("alg".into(), alg.name().into());
        }
        Value::Object(jwk)
    }

    pub(super) const fn material(&self) -> &Material {
        &self.material
    }

    /// Whether key type, curve and the owner's `alg` all admit `alg` (FAPI2-SP-5.4.3, JWK-SEL).
    pub(super) fn fits(&self, alg: JwsAlg) -> bool {
        self.material.algs().contains(&alg)
            && self.alg.is_none_or(|owned| owned.same_computation(alg))
    }
}

impl fmt::Debug for PublicJwk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PublicJwk")
            .field("kid", &self.kid)
            .field("alg", &self.alg)
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

/// The JWK set to publish for `keys` (JWK-OWN): each with `use`, `alg` and `kid`; where a key
/// names none, its type's preferred algorithm and its thumbprint stand in.
pub fn jwks_document<'k>(keys: impl IntoIterator<Item = &'k PublicJwk>) -> Value {
    let keys: Vec<Value> = keys
        .into_iter()
        .map(|key| {
            let mut jwk = key.material.to_map();
            let alg = key.alg.or_else(|| key.material.algs().first().copied());
            jwk.insert("use".into(), "sig".into());
            jwk.insert("alg".into(), alg.map(JwsAlg::name).into());
            jwk.insert("kid".into(), key.kid.as_deref().unwrap_or(&key.thumbprint).into());
            Value::Object(jwk)
        })
        .collect();
    json!({ "keys": keys })
}

/// A self-signed client certificate as a member of the client's JWK set, where its key and the
/// certificate are what the server knows the client by (RFC 8705 §2.2.2): `x5c` holds `der`. Fails for
/// keys other than P-256, RSA and Ed25519.
pub fn certificate_jwk(der: &[u8]) -> Result<Value, KeyRejected> {
    let material = certified_material(der)?;
    let mut jwk = material.to_map();
    jwk.insert("use".into(), "sig".into());
    jwk.insert("kid".into(), material.thumbprint().into());
    jwk.insert("x5c".into(), json!([STANDARD.encode(der)]));
    Ok(Value::Object(jwk))
}

/// RFC 7638 thumbprint of the key that the certificate `der` is for; none if no JWK of ours could hold
/// that key.
pub fn certified_thumbprint(der: &[u8]) -> Option<String> {
    certified_material(der).ok().map(|material| material.thumbprint())
}

fn certified_material(der: &[u8]) -> Result<Material, KeyRejected> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| KeyRejected::UnknownFormat)?;
    let key = certificate.public_key();
    let material = match key.parsed() {
        Ok(PublicKey::EC(point)) => match point.data() {
            [4, coordinates @ ..] if coordinates.len() == 64 => {
                let (x, y) = coordinates.split_at(32);
                let fixed = |half: &[u8]| half.try_into().map_err(|_| KeyRejected::Malformed);
                Material::p256(fixed(x)?, fixed(y)?)?
            }
            _ => return Err(KeyRejected::UnsupportedType),
        },
        Ok(PublicKey::RSA(rsa)) => Material::rsa(rsa.modulus, rsa.exponent)?,
        _ => {
            let x = key.subject_public_key.data.as_ref();
            Material::ed25519(x.try_into().map_err(|_| KeyRejected::UnsupportedType)?)?
        }
    };
    if material.is_certified_by(der) { Ok(material) } else { Err(KeyRejected::CertificateMismatch) }
}

/// A string member that may be absent.
pub(super) fn text<'j>(
    jwk: &'j Map<String, Value>,
    name: &str,
) -> Result<Option<&'j str>, KeyRejected> {
    jwk.get(name).map(|value| value.as_str().ok_or(KeyRejected::Malformed)).transpose()
}

/// A base64url member that must be there.
pub(super) fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, KeyRejected> {
    text(jwk, name)?.and_then(strict::base64url).ok_or(KeyRejected::Malformed)
}

/// A base64url member of exactly 32 bytes (RFC 7518 §6.2.1.2).
pub(super) fn fixed(jwk: &Map<String, Value>, name: &str) -> Result<[u8; 32], KeyRejected> {
    bytes(jwk, name)?.try_into().map_err(|_| KeyRejected::Malformed)
}

/// `kid`, if it is there.
pub(super) fn kid(jwk: &Map<String, Value>) -> Result<Option<&str>, KeyRejected> {
    let kid = text(jwk, "kid")?;
    if kid.is_some_and(|kid| kid.chars().count() > MAX_KID_CHARS) {
        return Err(KeyRejected::Malformed);
    }
    Ok(kid)
}

pub(super) fn has_private_members(jwk: &Map<String, Value>) -> bool {
    PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name))
}

/// Whether `key_ops`, if it is there, names one of `operations`.
pub(super) fn permits(key_ops: Option<&Value>, operations: &[&str]) -> Result<bool, KeyRejected> {
    let Some(key_ops) = key_ops else { return Ok(true) };
    let named: Vec<&str> = key_ops
        .as_array()
        .and_then(|items| items.iter().map(Value::as_str).collect())
        .ok_or(KeyRejected::Malformed)?;
    Ok(operations.iter().any(|operation| named.contains(operation)))
}

pub(super) fn check_certificate(
    x5c: Option<&Value>,
    material: &Material,
) -> Result<(), KeyRejected> {
    let Some(x5c) = x5c else { return Ok(()) };
    let der = x5c
        .as_array()
        .and_then(|chain| chain.first()?.as_str())
        .and_then(|text| STANDARD.decode(text).ok())
        .ok_or(KeyRejected::Malformed)?;
    if material.is_certified_by(&der) { Ok(()) } else { Err(KeyRejected::CertificateMismatch) }
}

/// Some libraries prefix a zero octet to the modulus (RFC 7518 §6.3.1.1 warns of them).
pub(super) fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// Whether `x` encodes, canonically or not, one of the eight points whose order divides 8: under
/// such a public key, signatures can be made without a private one.
fn is_small_order(x: &[u8; 32]) -> bool {
    const ORDER_8_A: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    const ORDER_8_B: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    // The sign bit of the other coordinate does not matter here.
    let mut y = *x;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    if y == ORDER_8_A || y == ORDER_8_B {
        return true;
    }
    // What remains, little-endian: 0, 1, and p-1, p, p+1 with p = 2^255 - 19.
    match y {
        [0 | 1, rest @ ..] if rest.iter().all(|byte| *byte == 0) => true,
        [0xec..=0xee, middle @ .., 0x7f] => middle.iter().all(|byte| *byte == 0xff),
        _ => false,
    }
}
