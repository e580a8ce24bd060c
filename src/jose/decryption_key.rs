//! Owns the private keys that tokens are encrypted to: reading and making them, and the ring in
//! which old ones outlive their publication. Must not know: tokens, files.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    EncryptionJwk, JweAlg, KeyRejected, SignFailed,
    encryption_jwk::Half,
    engine::{PrivateMembers, private_jwk, wipe},
    jwk::Material,
    key_management::Unwrapper,
    key_set::NoKey,
    private_key::{self, KeyType, PrivateJwk},
};

/// Enough for the text of an RSA key of 8192 bits, so that it is written without being moved.
const JWK_TEXT_BYTES: usize = 16 * 1024;

/// A private key in this process's memory, for decryption alone. `Debug` shows its public half.
pub struct DecryptionKey {
    kid: String,
    public: EncryptionJwk,
    /// One for each algorithm the key admits.
    unwrappers: Vec<Unwrapper>,
}

impl DecryptionKey {
    /// A key from PKCS#8 PEM: RSA or P-256. It serves `alg` alone, or without one all its type
    /// admits. The `kid` is the RFC 7638 thumbprint (JWK-OWN).
    pub fn from_pem(pem: &[u8], alg: Option<JweAlg>) -> Result<Self, KeyRejected> {
        let (material, private) = private_key::pair_from_pem(pem)?;
        Self::new(EncryptionJwk::new(material, None, None)?, &private, alg)
    }

    /// A key from a private JWK; an RSA one must carry its CRT members. `use`, if present, must be
    /// `enc`, and `key_ops` must permit decrypting. Its `alg` restricts it; the `kid` is the JWK's,
    /// or else its thumbprint.
    pub fn from_jwk(json: &[u8], alg: Option<JweAlg>) -> Result<Self, KeyRejected> {
        let members = PrivateJwk::parse(json)?;
        let public = EncryptionJwk::from_members(members.as_map(), Half::Private)?;
        let private = members.private(public.material())?;
        Self::new(public, &private, alg)
    }

    /// A key from a file that holds either form. An `alg` that contradicts the JWK's is refused.
    pub fn from_file_bytes(file: &[u8], alg: Option<JweAlg>) -> Result<Self, KeyRejected> {
        if private_key::is_jwk(file) {
            Self::from_jwk(file, alg)
        } else {
            Self::from_pem(file, alg)
        }
    }

    fn new(
        public: EncryptionJwk,
        private: &PrivateMembers,
        alg: Option<JweAlg>,
    ) -> Result<Self, KeyRejected> {
        let public = public.pinned(alg)?;
        let kid = public.kid().unwrap_or_default().to_owned();
        let unwrappers = JweAlg::of(public.material())
            .iter()
            .filter(|alg| public.fits(**alg))
            .map(|alg| Unwrapper::new(public.material(), private, *alg))
            .collect::<Result<_, _>>()?;
        Ok(Self { kid, public, unwrappers })
    }

    /// The `kid` under which the public half is published.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half.
    pub const fn public_jwk(&self) -> &EncryptionJwk {
        &self.public
    }

    /// Whether the key serves `alg`.
    pub fn admits(&self, alg: JweAlg) -> bool {
        self.public.fits(alg)
    }

    pub(super) const fn material(&self) -> &Material {
        self.public.material()
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DecryptionKey")
            .field("public_jwk", &self.public)
            .finish_non_exhaustive()
    }
}

/// The keys a client's tokens may be encrypted to, in the order in which they replaced one another:
/// for each algorithm the first one that serves it is active, the rest are old (OIDC-10.2.1).
#[derive(Debug)]
pub struct DecryptionKeys(Vec<DecryptionKey>);

impl DecryptionKeys {
    /// A ring, the active keys first. Two keys of one `kid` are refused.
    pub fn new(keys: Vec<DecryptionKey>) -> Result<Self, KeyRejected> {
        let mut kids = BTreeSet::new();
        if keys.iter().all(|key| kids.insert(key.kid())) {
            Ok(Self(keys))
        } else {
            Err(KeyRejected::DuplicateKid)
        }
    }

    /// The public halves to publish: those that are active for some algorithm. Old keys still
    /// decrypt, for as long as somebody may hold a copy of the set that named them (OIDC-10.2.1).
    pub fn published(&self) -> impl Iterator<Item = &EncryptionJwk> {
        self.0
            .iter()
            .enumerate()
            .filter(|(index, key)| {
                let earlier = self.0.get(..*index).unwrap_or_default();
                JweAlg::ALL.into_iter().any(|alg| {
                    key.admits(alg) && !earlier.iter().any(|earlier| earlier.admits(alg))
                })
            })
            .map(|(_, key)| &key.public)
    }

    /// Every key, the old ones included.
    pub fn all(&self) -> impl Iterator<Item = &DecryptionKey> {
        self.0.iter()
    }

    /// Whether some key serves `alg`.
    pub fn serve(&self, alg: JweAlg) -> bool {
        self.0.iter().any(|key| key.admits(alg))
    }

    /// The one key for a token with this `alg` and `kid`; if more than one remains none is tried.
    pub(super) fn select(
        &self,
        alg: JweAlg,
        kid: Option<&str>,
    ) -> Result<(&DecryptionKey, &Unwrapper), NoKey> {
        let mut fitting =
            self.0.iter().filter(|key| kid.is_none_or(|kid| key.kid() == kid)).filter_map(|key| {
                let unwrapper = key.unwrappers.iter().find(|unwrapper| unwrapper.alg() == alg)?;
                Some((key, unwrapper))
            });
        let found = fitting.next().ok_or(NoKey::Unknown)?;
        if fitting.next().is_some() { Err(NoKey::Ambiguous) } else { Ok(found) }
    }
}

/// A decryption key just made: the private half as it goes to a file, the public half as it is
/// published.
pub struct GeneratedDecryptionKey {
    /// A private JWK that says `use`, `alg` and `kid`, so that it cannot be taken for a signing
    /// key; wiped when dropped.
    pub private_jwk: Zeroizing<String>,
    /// The public half with its `kid` and `alg`.
    pub public_jwk: EncryptionJwk,
}

impl fmt::Debug for GeneratedDecryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GeneratedDecryptionKey")
            .field("public_jwk", &self.public_jwk)
            .finish_non_exhaustive()
    }
}

/// Makes a key for `alg` from the operating system's randomness: RSA of 3072 bits or P-256.
pub fn generate_decryption_key(alg: JweAlg) -> Result<GeneratedDecryptionKey, SignFailed> {
    let kind = if alg.agrees() { KeyType::P256 } else { KeyType::Rsa };
    let pem = private_key::new_pem(kind)?;
    let (material, private) =
        private_key::pair_from_pem(pem.as_bytes()).map_err(|_| SignFailed::Backend)?;
    let public = EncryptionJwk::new(material, None, None).map_err(|_| SignFailed::Backend)?;
    let key = DecryptionKey::new(public, &private, Some(alg)).map_err(|_| SignFailed::Backend)?;

    let mut members = private_jwk(key.material(), &private);
    if let Value::Object(public) = key.public.to_json() {
        members.extend(public);
    }
    let mut text = Zeroizing::new(Vec::with_capacity(JWK_TEXT_BYTES));
    let written = serde_json::to_writer_pretty(&mut *text, &members);
    wipe(&mut members);
    written.map_err(|_| SignFailed::Encoding)?;
    let private_jwk =
        String::from_utf8(std::mem::take(&mut *text)).map_err(|_| SignFailed::Encoding)?;
    Ok(GeneratedDecryptionKey { private_jwk: Zeroizing::new(private_jwk), public_jwk: key.public })
}
