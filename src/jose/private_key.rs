//! Owns private keys at rest: reads PKCS#8 PEM and private JWKs into checked numbers, and makes
//! new keys. Must not know: files, key rings, what a key is used for.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::{
    elliptic_curve::sec1::ToSec1Point as _,
    pkcs8::{
        AssociatedOid as _, DecodePrivateKey as _, LineEnding, ObjectIdentifier, PrivateKeyInfoRef,
        SecretDocument,
        der::{
            Decode as _, Reader as _, SliceReader,
            asn1::{OctetStringRef, UintRef},
        },
    },
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    JwsAlg, KeyRejected, PublicJwk, SignFailed, Signer as _, SoftwareSigner,
    engine::{PrivateMembers, RSA_PRIVATE_NAMES, Secret, wipe},
    jwk::{self, Material},
    strict::{self, JsonFault},
};

const ID_EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ID_RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A private key whose numbers were read but not yet tried.
pub(super) struct PrivateKey {
    pub(super) public: PublicJwk,
    pub(super) private: PrivateMembers,
}

/// Reads a PKCS#8 key for signing.
pub(super) fn from_pem(pem: &[u8]) -> Result<PrivateKey, KeyRejected> {
    let (material, private) = pair_from_pem(pem)?;
    Ok(PrivateKey { public: PublicJwk::new(material, None, None)?, private })
}

/// Reads a private JWK for signing; an RSA one must carry its CRT members.
pub(super) fn from_jwk(json: &[u8]) -> Result<PrivateKey, KeyRejected> {
    let members = PrivateJwk::parse(json)?;
    let public = PublicJwk::from_members(members.as_map(), "sign")?;
    let private = members.private(public.material())?;
    Ok(PrivateKey { public, private })
}

/// Whether a key file holds a JWK rather than PEM.
pub(super) fn is_jwk(file: &[u8]) -> bool {
    file.trim_ascii_start().starts_with(b"{")
}

pub(super) type Pair = (Material, PrivateMembers);

/// Reads a PKCS#8 key: EC P-256, Ed25519, or RSA under the ordinary `rsaEncryption` identifier.
pub(super) fn pair_from_pem(pem: &[u8]) -> Result<Pair, KeyRejected> {
    let text = std::str::from_utf8(pem).map_err(|_| KeyRejected::UnknownFormat)?;
    let (label, document) =
        SecretDocument::from_pem(text).map_err(|_| KeyRejected::UnknownFormat)?;
    if label != "PRIVATE KEY" {
        return Err(KeyRejected::UnknownFormat);
    }
    let info =
        PrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| KeyRejected::UnknownFormat)?;
    match info.algorithm.oid {
        ID_EC_PUBLIC_KEY => p256_pair(document.as_bytes(), &info),
        ID_ED25519 => ed25519_pair(info.private_key.as_bytes()),
        ID_RSA_ENCRYPTION => rsa_pair(info.private_key.as_bytes()),
        _ => Err(KeyRejected::UnsupportedType),
    }
}

/// The members of a private JWK; wiped when dropped.
pub(super) struct PrivateJwk(Map<String, Value>);

impl PrivateJwk {
    pub(super) fn parse(json: &[u8]) -> Result<Self, KeyRejected> {
        strict::object(json).map(Self).map_err(|fault| match fault {
            JsonFault::DuplicateMember => KeyRejected::DuplicateMember,
            _ => KeyRejected::UnknownFormat,
        })
    }

    pub(super) fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The private numbers that belong to `public`.
    pub(super) fn private(&self, public: &Material) -> Result<PrivateMembers, KeyRejected> {
        let secret = |name| jwk::bytes(&self.0, name).map(Zeroizing::new);
        match public {
            Material::P256 { .. } | Material::Ed25519 { .. } => {
                let d = secret("d")?;
                if d.len() != 32 {
                    return Err(KeyRejected::Malformed);
                }
                Ok(PrivateMembers::Single(d))
            }
            Material::Rsa { .. } => {
                let [d, p, q, dp, dq, qi] = RSA_PRIVATE_NAMES.map(secret);
                Ok(PrivateMembers::Rsa([d?, p?, q?, dp?, dq?, qi?]))
            }
        }
    }
}

impl Drop for PrivateJwk {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn p256_pair(der: &[u8], info: &PrivateKeyInfoRef<'_>) -> Result<Pair, KeyRejected> {
    let curve = info.algorithm.parameters_oid().map_err(|_| KeyRejected::UnsupportedType)?;
    if curve != p256::NistP256::OID {
        return Err(KeyRejected::UnsupportedType);
    }
    p256_of(&p256::SecretKey::from_pkcs8_der(der).map_err(|_| KeyRejected::Malformed)?)
}

fn p256_of(secret: &p256::SecretKey) -> Result<Pair, KeyRejected> {
    let point = secret.public_key().to_sec1_point(false);
    let coordinate = |bytes: Option<&p256::FieldBytes>| {
        bytes.map(|bytes| <[u8; 32]>::from(*bytes)).ok_or(KeyRejected::Malformed)
    };
    let material = Material::p256(coordinate(point.x())?, coordinate(point.y())?)?;
    let d = Zeroizing::new(Zeroizing::new(secret.to_bytes()).to_vec());
    Ok((material, PrivateMembers::Single(d)))
}

fn ed25519_pair(private_key: &[u8]) -> Result<Pair, KeyRejected> {
    // RFC 8410 §7: the seed is an OCTET STRING inside the OCTET STRING.
    let seed = <&OctetStringRef>::from_der(private_key).map_err(|_| KeyRejected::Malformed)?;
    let pair =
        Ed25519KeyPair::from_seed_unchecked(seed.as_bytes()).map_err(|_| KeyRejected::Malformed)?;
    let x = pair.public_key().as_ref().try_into().map_err(|_| KeyRejected::Malformed)?;
    Ok((Material::ed25519(x)?, PrivateMembers::Single(Zeroizing::new(seed.as_bytes().to_vec()))))
}

fn rsa_pair(private_key: &[u8]) -> Result<Pair, KeyRejected> {
    let numbers = rsa_numbers(private_key).map_err(|_| KeyRejected::Malformed)?;
    let [version, n, e, secrets @ ..] = numbers;
    // Version 1 would be a key of more than two primes.
    if !jwk::without_leading_zeros(version.as_bytes()).is_empty() {
        return Err(KeyRejected::UnsupportedType);
    }
    let secrets: [Secret; 6] = secrets.map(|number| Zeroizing::new(number.as_bytes().to_vec()));
    Ok((Material::rsa(n.as_bytes(), e.as_bytes())?, PrivateMembers::Rsa(secrets)))
}

/// The integers of an `RSAPrivateKey` (RFC 8017 appendix A.1.2): version, n, e, d, p, q, dP, dQ,
/// qInv.
fn rsa_numbers(der: &[u8]) -> Result<[UintRef<'_>; 9], p256::pkcs8::der::Error> {
    let mut reader = SliceReader::new(der)?;
    let numbers = reader.sequence(|body| {
        let mut next = || UintRef::decode(body);
        Ok::<_, p256::pkcs8::der::Error>([
            next()?,
            next()?,
            next()?,
            next()?,
            next()?,
            next()?,
            next()?,
            next()?,
            next()?,
        ])
    })?;
    reader.finish()?;
    Ok(numbers)
}

/// Bytes that an ES256 key is made from, the same key each time: for keys that live as long as
/// something else whose secrets are sealed. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySeed(Zeroizing<[u8; 32]>);

impl KeySeed {
    /// A seed of 32 unpredictable bytes.
    pub const fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for KeySeed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("KeySeed(..)")
    }
}

/// For sealing only; whoever serialises a seed elsewhere gives the key away.
impl Serialize for KeySeed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.as_slice())))
    }
}

impl<'de> Deserialize<'de> for KeySeed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = strict::base64url(&text).map(Zeroizing::new);
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        bytes.map(|bytes| Self(Zeroizing::new(bytes))).ok_or_else(|| D::Error::custom("not a seed"))
    }
}

/// The P-256 key of a seed. Of 2^256 seeds some 2^224 are no private key; nobody will meet one.
pub(super) fn from_seed(seed: &KeySeed) -> Result<PrivateKey, KeyRejected> {
    let secret =
        p256::SecretKey::from_slice(seed.0.as_slice()).map_err(|_| KeyRejected::Malformed)?;
    let (material, private) = p256_of(&secret)?;
    Ok(PrivateKey { public: PublicJwk::new(material, None, None)?, private })
}

/// A key just made: the private half as it goes to a file, the public half as it is published.
pub struct GeneratedKey {
    /// PKCS#8 PEM; wiped when dropped.
    pub pkcs8_pem: Zeroizing<String>,
    /// The public half with its `kid` and `alg`.
    pub public_jwk: PublicJwk,
}

impl std::fmt::Debug for GeneratedKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("GeneratedKey")
            .field("public_jwk", &self.public_jwk)
            .finish_non_exhaustive()
    }
}

/// What new keys are of.
#[derive(Clone, Copy)]
pub(super) enum KeyType {
    Ed25519,
    P256,
    /// 3072 bits.
    Rsa,
}

/// Makes a key for `alg` from the operating system's randomness: P-256, RSA of 3072 bits, or
/// Ed25519 (FAPI2-SP-5.4.1-1.2, FAPI2-SP-5.4.1-2/3).
pub fn generate(alg: JwsAlg) -> Result<GeneratedKey, SignFailed> {
    let pem = new_pem(match alg {
        JwsAlg::Es256 => KeyType::P256,
        JwsAlg::EdDsa | JwsAlg::Ed25519 => KeyType::Ed25519,
        JwsAlg::Ps256 | JwsAlg::Rs256 => KeyType::Rsa,
    })?;
    let signer =
        SoftwareSigner::from_pem(pem.as_bytes(), Some(alg)).map_err(|_| SignFailed::Backend)?;
    Ok(GeneratedKey { pkcs8_pem: pem, public_jwk: signer.public_jwk().clone() })
}

/// A new key as PKCS#8 PEM.
pub(super) fn new_pem(kind: KeyType) -> Result<Zeroizing<String>, SignFailed> {
    let random = SystemRandom::new();
    let document = match kind {
        KeyType::P256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map(|der| SecretDocument::try_from(der.as_ref())),
        KeyType::Ed25519 => Ed25519KeyPair::generate_pkcs8v1(&random)
            .map(|der| SecretDocument::try_from(der.as_ref())),
        KeyType::Rsa => {
            let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa3072);
            let der = pair.and_then(|pair| AsDer::<Pkcs8V1Der<'_>>::as_der(&pair));
            der.map(|der| SecretDocument::try_from(der.as_ref()))
        }
    };
    document
        .map_err(|_| SignFailed::Backend)?
        .and_then(|document| document.to_pem("PRIVATE KEY", LineEnding::LF))
        .map_err(|_| SignFailed::Encoding)
}
