//! Owns public keys that are encrypted to, a peer's and our own, and the key set in which ours are
//! published beside the signing keys. Must not know: which peer a key belongs to.

use std::{collections::BTreeSet, fmt};

use serde_json::{Map, Value};

use super::{
    JweAlg, KeyRejected, PublicJwk,
    jwk::{self, Material},
    jwks_document,
};

/// Which half of a key a JWK holds, and so which operations its `key_ops` must name.
#[derive(Clone, Copy)]
pub(super) enum Half {
    Public,
    Private,
}

impl Half {
    /// One of these is needed (RFC 7517 §4.3). Both halves derive.
    const fn operations(self, key: &Material) -> &'static [&'static str] {
        match (self, key) {
            (Self::Public, Material::Rsa { .. }) => &["encrypt", "wrapKey"],
            (Self::Private, Material::Rsa { .. }) => &["decrypt", "unwrapKey"],
            (_, Material::P256 { .. }) => &["deriveKey", "deriveBits"],
            (_, Material::Ed25519 { .. }) => &[],
        }
    }
}

/// A public key fit for encrypting to: RSA or P-256.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionJwk {
    material: Material,
    kid: Option<String>,
    alg: Option<JweAlg>,
}

impl EncryptionJwk {
    /// Reads and judges one JWK: RSA of 2048 to 8192 bits with exponent 65537, or a point on P-256;
    /// `use` and `key_ops`, if present, must permit encrypting to it; `alg`, if present, must be one
    /// of ours and fit the key (JWK-SEL, JWK-FETCH, JWT-3.4).
    pub fn from_json(jwk: &Value) -> Result<Self, KeyRejected> {
        let jwk = jwk.as_object().ok_or(KeyRejected::UnknownFormat)?;
        let key = Self::from_members(jwk, Half::Public)?;
        if jwk::has_private_members(jwk) {
            return Err(KeyRejected::PrivateMembers);
        }
        Ok(key)
    }

    /// Reads the public part of a JWK that holds this half of a key.
    pub(super) fn from_members(jwk: &Map<String, Value>, half: Half) -> Result<Self, KeyRejected> {
        let kty = jwk::text(jwk, "kty")?.ok_or(KeyRejected::Malformed)?;
        if jwk::text(jwk, "use")?.is_some_and(|purpose| purpose != "enc") {
            return Err(KeyRejected::NotForEncryption);
        }
        let kid = jwk::kid(jwk)?;
        let material = Material::from_members(jwk, kty)?;
        if !jwk::permits(jwk.get("key_ops"), half.operations(&material))? {
            return Err(KeyRejected::NotForEncryption);
        }
        let alg = jwk::text(jwk, "alg")?
            .map(|name| JweAlg::from_name(name).ok_or(KeyRejected::UnsupportedAlg))
            .transpose()?;
        jwk::check_certificate(jwk.get("x5c"), &material)?;
        Self::new(material, kid.map(str::to_owned), alg)
    }

    /// A key from checked numbers.
    pub(super) fn new(
        material: Material,
        kid: Option<String>,
        alg: Option<JweAlg>,
    ) -> Result<Self, KeyRejected> {
        let admitted = JweAlg::of(&material);
        if admitted.is_empty() {
            return Err(KeyRejected::NotForEncryption);
        }
        if alg.is_some_and(|alg| !admitted.contains(&alg)) {
            return Err(KeyRejected::AlgMismatch);
        }
        Ok(Self { material, kid, alg })
    }

    /// This key under a fixed name, and for `alg` alone if that is given, as one of ours is
    /// published.
    pub(super) fn pinned(self, alg: Option<JweAlg>) -> Result<Self, KeyRejected> {
        if alg.is_some_and(|alg| !self.fits(alg)) {
            return Err(KeyRejected::AlgMismatch);
        }
        let kid = self.kid.unwrap_or_else(|| self.material.thumbprint());
        Self::new(self.material, Some(kid), alg.or(self.alg))
    }

    /// The key's name within its set; lookup text, not to be trusted (JWT-3.10).
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The only algorithm this key may serve, if its owner said so.
    pub const fn alg(&self) -> Option<JweAlg> {
        self.alg
    }

    /// RFC 7638 thumbprint with SHA-256, base64url.
    pub fn thumbprint(&self) -> String {
        self.material.thumbprint()
    }

    /// Whether key type, curve and the owner's `alg` all admit `alg` (JWK-SEL).
    pub fn fits(&self, alg: JweAlg) -> bool {
        JweAlg::of(&self.material).contains(&alg) && self.alg.is_none_or(|owned| owned == alg)
    }

    /// The key as it is published (JWK-OWN): its public members, `use`, `kid` (its own or its
    /// thumbprint) and, if it serves one algorithm only, `alg`.
    pub fn to_json(&self) -> Value {
        let mut jwk = self.material.to_map();
        jwk.insert("use".into(), "enc".into());
        jwk.insert("kid".into(), self.name().into());
        if let Some(alg) = self.alg {
            jwk.insert("alg".into(), alg.name().into());
        }
        Value::Object(jwk)
    }

    fn name(&self) -> String {
        self.kid.clone().unwrap_or_else(|| self.thumbprint())
    }

    pub(super) const fn material(&self) -> &Material {
        &self.material
    }
}

impl fmt::Debug for EncryptionJwk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EncryptionJwk")
            .field("kid", &self.kid)
            .field("alg", &self.alg)
            .field("thumbprint", &self.thumbprint())
            .finish_non_exhaustive()
    }
}

/// The JWK set to publish for keys of both uses (JWK-OWN, OIDC-10.2.1). A signing key that comes twice
/// stands in it once; two keys of one `kid` are refused, or the later one would be unknown to the server
/// (FAPI2-SP-5.4.2), and so is one key for both uses, whatever its names (FAPI2-SP-6.8).
pub fn jwks_document_of_both<'k>(
    signing: impl IntoIterator<Item = &'k PublicJwk>,
    encryption: impl IntoIterator<Item = &'k EncryptionJwk>,
) -> Result<Value, KeyRejected> {
    let mut own: Vec<&PublicJwk> = Vec::new();
    for key in signing {
        let same =
            |known: &&PublicJwk| known.kid() == key.kid() && known.thumbprint() == key.thumbprint();
        if !own.iter().any(same) {
            own.push(key);
        }
    }
    let signing: BTreeSet<_> = own.iter().map(|key| key.thumbprint()).collect();
    let mut document = jwks_document(own);
    let keys = document.get_mut("keys").and_then(Value::as_array_mut);
    let keys = keys.ok_or(KeyRejected::UnknownFormat)?;
    for key in encryption {
        if signing.contains(&key.thumbprint()) {
            return Err(KeyRejected::TwoUses);
        }
        keys.push(key.to_json());
    }
    let mut kids = BTreeSet::new();
    if !keys.iter().all(|key| kids.insert(key.get("kid").and_then(Value::as_str))) {
        return Err(KeyRejected::DuplicateKid);
    }
    Ok(document)
}
