//! A small JWS layer on aws-lc-rs: strict when it verifies, obedient when it signs (any header, any
//! claims, broken signatures on request). It must not know the product's `jose`.

use std::fmt;

use aws_lc_rs::{
    digest,
    encoding::AsDer as _,
    rand::{self, SystemRandom},
    rsa::KeySize,
    signature::{
        self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

/// A JSON object, as claims and headers are.
pub type Object = Map<String, Value>;

/// Why a token or key was refused. Each has a stable reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsFault {
    /// Not three base64url parts holding a JSON object each (the third: bytes).
    #[error("malformed")]
    Malformed,
    /// A member name occurs twice.
    #[error("duplicate_member")]
    DuplicateMember,
    /// `crit`, `b64`, or a header that brings its own key.
    #[error("header_not_allowed")]
    HeaderNotAllowed,
    /// The algorithm is not in the allow-list.
    #[error("alg_not_allowed")]
    AlgNotAllowed,
    /// No `kid` in the header.
    #[error("kid_missing")]
    KidMissing,
    /// No usable key with this `kid`.
    #[error("key_unknown")]
    KeyUnknown,
    /// The signature does not verify.
    #[error("signature_invalid")]
    SignatureInvalid,
    /// A private key could not be made, read or used.
    #[error("key_unusable")]
    KeyUnusable,
}

impl JwsFault {
    /// The stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::DuplicateMember => "duplicate_member",
            Self::HeaderNotAllowed => "header_not_allowed",
            Self::AlgNotAllowed => "alg_not_allowed",
            Self::KidMissing => "kid_missing",
            Self::KeyUnknown => "key_unknown",
            Self::SignatureInvalid => "signature_invalid",
            Self::KeyUnusable => "key_unusable",
        }
    }
}

/// Signature algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alg {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256, which no FAPI profile allows: OpenID Connect's usual one, and
    /// elsewhere a trap.
    Rs256,
}

impl Alg {
    /// The name in the `alg` header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "PS256" => Some(Self::Ps256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }

    /// `at_hash` and its kin: base64url of the left half of the algorithm's digest.
    pub fn half_hash(self, ascii: &str) -> String {
        let algorithm = match self {
            Self::EdDsa => &digest::SHA512,
            _ => &digest::SHA256,
        };
        let full = digest::digest(algorithm, ascii.as_bytes());
        let (half, _) = full.as_ref().split_at(full.as_ref().len() / 2);
        B64.encode(half)
    }
}

enum KeyKind {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A private signing key with its `kid` (the RFC 7638 thumbprint unless named otherwise).
pub struct SigningKey {
    alg: Alg,
    kid: String,
    kind: KeyKind,
    pkcs8: Vec<u8>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("alg", &self.alg)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a fresh key (RSA: 2048 bits).
    pub fn generate(alg: Alg) -> Result<Self, JwsFault> {
        let unusable = |_| JwsFault::KeyUnusable;
        let pkcs8 = match alg {
            Alg::Es256 => EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)
                .and_then(|key| key.to_pkcs8v1())
                .map_err(unusable)?
                .as_ref()
                .to_vec(),
            Alg::EdDsa => Ed25519KeyPair::generate()
                .and_then(|key| key.to_pkcs8v1())
                .map_err(unusable)?
                .as_ref()
                .to_vec(),
            Alg::Ps256 | Alg::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048)
                .and_then(|key| key.as_der())
                .map_err(unusable)?
                .as_ref()
                .to_vec(),
        };
        Self::from_pkcs8(pkcs8, alg)
    }

    /// Reads a PKCS#8 PEM private key.
    pub fn from_pem(pem: &str, alg: Alg) -> Result<Self, JwsFault> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| JwsFault::KeyUnusable)?;
        Self::from_pkcs8(der.secret_pkcs8_der().to_vec(), alg)
    }

    fn from_pkcs8(pkcs8: Vec<u8>, alg: Alg) -> Result<Self, JwsFault> {
        let kind = match alg {
            Alg::Es256 => {
                EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
                    .map(KeyKind::Ec)
            }
            Alg::EdDsa => Ed25519KeyPair::from_pkcs8(&pkcs8).map(KeyKind::Ed),
            Alg::Ps256 | Alg::Rs256 => {
                RsaKeyPair::from_pkcs8(&pkcs8).map(|key| KeyKind::Rsa(Box::new(key)))
            }
        }
        .map_err(|_| JwsFault::KeyUnusable)?;
        let mut key = Self { alg, kid: String::new(), kind, pkcs8 };
        key.kid = thumbprint(&key.public_jwk()).ok_or(JwsFault::KeyUnusable)?;
        Ok(key)
    }

    /// The key as PKCS#8 PEM.
    pub fn to_pem(&self) -> String {
        let body = STANDARD.encode(&self.pkcs8);
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        for line in body.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        pem
    }

    /// The same key under another name.
    #[must_use]
    pub fn with_kid(mut self, kid: &str) -> Self {
        kid.clone_into(&mut self.kid);
        self
    }

    /// The key's name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm it signs with.
    pub const fn alg(&self) -> Alg {
        self.alg
    }

    /// The public half as a JWK with `kid`, `use` and `alg`.
    pub fn public_jwk(&self) -> Value {
        let mut jwk = match &self.kind {
            KeyKind::Ec(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = point.get(1..65).unwrap_or_default().split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": B64.encode(x), "y": B64.encode(y)})
            }
            KeyKind::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode(key.public_key().as_ref())})
            }
            KeyKind::Rsa(key) => {
                let public = key.public_key();
                json!({"kty": "RSA",
                    "n": B64.encode(public.modulus().big_endian_without_leading_zero()),
                    "e": B64.encode(public.exponent().big_endian_without_leading_zero())})
            }
        };
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".into(), json!(self.kid));
            members.insert("use".into(), json!("sig"));
            members.insert("alg".into(), json!(self.alg.name()));
        }
        jwk
    }

    /// A header naming this key: `alg`, `kid` and, if given, `typ`.
    pub fn header(&self, typ: Option<&str>) -> Object {
        let mut header = Object::new();
        header.insert("alg".into(), json!(self.alg.name()));
        header.insert("kid".into(), json!(self.kid));
        if let Some(typ) = typ {
            header.insert("typ".into(), json!(typ));
        }
        header
    }

    /// Signs these bytes with the key's own algorithm, whatever a header may claim.
    pub fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, JwsFault> {
        let rng = SystemRandom::new();
        match &self.kind {
            KeyKind::Ec(key) => key
                .sign(&rng, message)
                .map(|s| s.as_ref().to_vec())
                .map_err(|_| JwsFault::KeyUnusable),
            KeyKind::Ed(key) => Ok(key.sign(message).as_ref().to_vec()),
            KeyKind::Rsa(key) => {
                let padding = match self.alg {
                    Alg::Rs256 => &signature::RSA_PKCS1_SHA256,
                    _ => &signature::RSA_PSS_SHA256,
                };
                let mut out = vec![0; key.public_modulus_len()];
                key.sign(padding, &rng, message, &mut out).map_err(|_| JwsFault::KeyUnusable)?;
                Ok(out)
            }
        }
    }

    /// A compact JWS with exactly this header and these claims.
    pub fn sign_jws(&self, header: &Object, claims: &Object) -> Result<String, JwsFault> {
        let input = signing_input(header, claims);
        let signature = self.sign_bytes(input.as_bytes())?;
        Ok(format!("{input}.{}", B64.encode(signature)))
    }
}

fn signing_input(header: &Object, claims: &Object) -> String {
    let part = |object: &Object| B64.encode(Value::Object(object.clone()).to_string());
    format!("{}.{}", part(header), part(claims))
}

/// An unsecured JWT: `alg` none, empty third part.
pub fn unsecured(header: &Object, claims: &Object) -> String {
    let mut header = header.clone();
    header.insert("alg".into(), json!("none"));
    format!("{}.", signing_input(&header, claims))
}

/// The same token with every byte of its signature XOR 0x5A.
pub fn flip_signature(token: &str) -> String {
    let Some((input, signature)) = token.rsplit_once('.') else {
        return token.to_owned();
    };
    let flipped: Vec<u8> =
        B64.decode(signature).unwrap_or_default().iter().map(|byte| byte ^ 0x5A).collect();
    format!("{input}.{}", B64.encode(flipped))
}

/// A token whose signature verified with a key of the set it was checked against.
#[derive(Debug)]
pub struct Verified {
    /// The protected header.
    pub header: Object,
    /// The claims.
    pub claims: Object,
}

/// Header and claims of a token, parsed strictly and believed by nobody.
pub fn peek(token: &str) -> Result<(Object, Object), JwsFault> {
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(JwsFault::Malformed);
    };
    Ok((parse_object(header)?, parse_object(claims)?))
}

/// Header members that bring a key, point to one, or change what a signature means.
const FOREIGN: [&str; 7] = ["crit", "b64", "jku", "x5u", "x5c", "zip", "jwk"];

/// Verifies a compact JWS against a JWK set: `kid` required, algorithm in `algs` and fitting the
/// key, no critical extensions, no keys brought along.
pub fn verify(token: &str, jwks: &Value, algs: &[Alg]) -> Result<Verified, JwsFault> {
    let signed = Signed::read(token, algs, &FOREIGN)?;
    let kid = signed.header.get("kid").and_then(Value::as_str).ok_or(JwsFault::KidMissing)?;
    let mut keys = jwks.get("keys").and_then(Value::as_array).into_iter().flatten();
    let named = |jwk: &&Value| jwk.get("kid").and_then(Value::as_str) == Some(kid);
    let key = keys.find(|jwk| named(jwk) && key_fits(jwk, signed.alg));
    let key = key.ok_or(JwsFault::KeyUnknown)?.clone();
    signed.verify_with(&key)
}

/// Verifies a compact JWS by the public key that its own header brings, as a DPoP proof does
/// (RFC 9449 §4.3): who holds that key signed it, and no more is known of them. A key with a
/// private member is [`JwsFault::KeyUnknown`].
pub fn verify_self_contained(token: &str, algs: &[Alg]) -> Result<Verified, JwsFault> {
    let foreign = FOREIGN.iter().copied().filter(|name| *name != "jwk");
    let signed = Signed::read(token, algs, &foreign.collect::<Vec<_>>())?;
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    let public = |key: &&Value| private.iter().all(|name| key.get(*name).is_none());
    let key = signed.header.get("jwk").filter(public).filter(|key| key_fits(key, signed.alg));
    let key = key.ok_or(JwsFault::KeyUnknown)?.clone();
    signed.verify_with(&key)
}

/// A token in its parts, its signature not yet verified.
struct Signed<'a> {
    header: Object,
    claims: Object,
    input: &'a str,
    signature: Vec<u8>,
    alg: Alg,
}

impl<'a> Signed<'a> {
    fn read(token: &'a str, algs: &[Alg], foreign: &[&str]) -> Result<Self, JwsFault> {
        let (header, claims) = peek(token)?;
        let (input, signature) = token.rsplit_once('.').ok_or(JwsFault::Malformed)?;
        let signature = B64.decode(signature).map_err(|_| JwsFault::Malformed)?;
        if foreign.iter().any(|name| header.contains_key(*name)) {
            return Err(JwsFault::HeaderNotAllowed);
        }
        let alg = header.get("alg").and_then(Value::as_str).and_then(Alg::from_name);
        let alg = alg.filter(|alg| algs.contains(alg)).ok_or(JwsFault::AlgNotAllowed)?;
        Ok(Self { header, claims, input, signature, alg })
    }

    fn verify_with(self, key: &Value) -> Result<Verified, JwsFault> {
        verify_with(key, self.alg, self.input.as_bytes(), &self.signature)?;
        Ok(Verified { header: self.header, claims: self.claims })
    }
}

fn key_fits(jwk: &Value, alg: Alg) -> bool {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let kty = match alg {
        Alg::Es256 => "EC",
        Alg::EdDsa => "OKP",
        Alg::Ps256 | Alg::Rs256 => "RSA",
    };
    text("kty") == Some(kty)
        && text("use").is_none_or(|usage| usage == "sig")
        && text("alg").is_none_or(|name| Alg::from_name(name) == Some(alg))
}

fn verify_with(jwk: &Value, alg: Alg, message: &[u8], signature: &[u8]) -> Result<(), JwsFault> {
    let bytes = |name: &str| {
        jwk.get(name)
            .and_then(Value::as_str)
            .and_then(|text| B64.decode(text).ok())
            .ok_or(JwsFault::KeyUnknown)
    };
    match alg {
        Alg::Es256 => {
            let mut point = vec![4];
            point.extend(bytes("x")?);
            point.extend(bytes("y")?);
            UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
        }
        Alg::EdDsa => {
            UnparsedPublicKey::new(&signature::ED25519, bytes("x")?).verify(message, signature)
        }
        Alg::Ps256 | Alg::Rs256 => {
            let parameters = match alg {
                Alg::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                _ => &signature::RSA_PKCS1_2048_8192_SHA256,
            };
            RsaPublicKeyComponents { n: bytes("n")?, e: bytes("e")? }
                .verify(parameters, message, signature)
        }
    }
    .map_err(|_| JwsFault::SignatureInvalid)
}

/// The RFC 7638 thumbprint (SHA-256, base64url) of a JWK.
pub fn thumbprint(jwk: &Value) -> Option<String> {
    let members: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let mut fields = Vec::new();
    for name in members {
        fields.push(format!("{}:{}", json!(name), jwk.get(*name)?));
    }
    Some(sha256_b64(format!("{{{}}}", fields.join(",")).as_bytes()))
}

/// SHA-256, base64url without padding.
pub fn sha256_b64(data: &[u8]) -> String {
    B64.encode(digest::digest(&digest::SHA256, data))
}

/// 256 random bits, base64url.
///
/// # Panics
///
/// When the system's random generator fails.
pub fn random_token() -> String {
    let mut bytes = [0; 32];
    let filled = rand::fill(&mut bytes);
    assert!(filled.is_ok(), "the system's random generator failed");
    B64.encode(bytes)
}

pub(crate) fn parse_object(part: &str) -> Result<Object, JwsFault> {
    let bytes = B64.decode(part).map_err(|_| JwsFault::Malformed)?;
    let strict: Strict = serde_json::from_slice(&bytes).map_err(|error| {
        if error.to_string().starts_with(DUPLICATE) {
            JwsFault::DuplicateMember
        } else {
            JwsFault::Malformed
        }
    })?;
    match strict.0 {
        Value::Object(object) => Ok(object),
        _ => Err(JwsFault::Malformed),
    }
}

const DUPLICATE: &str = "duplicate member";

/// A JSON value in which no object names a member twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some(name) = map.next_key::<String>()? {
            let Strict(value) = map.next_value()?;
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests;
