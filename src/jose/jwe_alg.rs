//! Owns the names of the encryption algorithms we speak, and the sizes each fixes.
//! Must not know: which of them a client registered, or how they are computed.

use super::jwk::Material;

/// A JWE key management algorithm (ALG-MAT). There is no variant for `RSA1_5`, `dir`, PBES2 or any
/// purely symmetric key wrapping, so none can be allowed by mistake (FAPI1-ADV-8.6.1-1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JweAlg {
    /// RSAES-OAEP with SHA-1 and MGF1 with SHA-1, its default parameters.
    RsaOaep,
    /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
    RsaOaep256,
    /// Ephemeral-static ECDH on P-256; what is agreed is the content encryption key.
    EcdhEs,
    /// Ephemeral-static ECDH on P-256; what is agreed wraps the key with 128-bit AES.
    EcdhEsA128Kw,
    /// Ephemeral-static ECDH on P-256; what is agreed wraps the key with 256-bit AES.
    EcdhEsA256Kw,
}

impl JweAlg {
    /// Every algorithm.
    pub const ALL: [Self; 5] =
        [Self::RsaOaep, Self::RsaOaep256, Self::EcdhEs, Self::EcdhEsA128Kw, Self::EcdhEsA256Kw];

    /// The `alg` header value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaOaep => "RSA-OAEP",
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::EcdhEs => "ECDH-ES",
            Self::EcdhEsA128Kw => "ECDH-ES+A128KW",
            Self::EcdhEsA256Kw => "ECDH-ES+A256KW",
        }
    }

    /// The algorithm with exactly this name; letter case counts (JWT-3.1).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// The algorithms a key can serve, the preferred one first; none for Ed25519, which only signs.
    pub(super) const fn of(key: &Material) -> &'static [Self] {
        match key {
            Material::Rsa { .. } => &[Self::RsaOaep256, Self::RsaOaep],
            Material::P256 { .. } => &[Self::EcdhEs, Self::EcdhEsA256Kw, Self::EcdhEsA128Kw],
            Material::Ed25519 { .. } => &[],
        }
    }

    /// Whether the header must bring an ephemeral public key.
    pub(super) const fn agrees(self) -> bool {
        matches!(self, Self::EcdhEs | Self::EcdhEsA128Kw | Self::EcdhEsA256Kw)
    }

    /// Bytes of the encrypted key of a token to `key`.
    pub(super) const fn encrypted_key_bytes(self, enc: JweEnc, key: &Material) -> usize {
        match (self, key) {
            (Self::EcdhEs, _) => 0,
            // RFC 3394 §2.2.1: one block of 64 bits more than what is wrapped.
            (Self::EcdhEsA128Kw | Self::EcdhEsA256Kw, _) => enc.key_bytes() + 8,
            (Self::RsaOaep | Self::RsaOaep256, Material::Rsa { n }) => n.len(),
            // No such key is ever built.
            (Self::RsaOaep | Self::RsaOaep256, _) => usize::MAX,
        }
    }
}

/// A JWE content encryption algorithm (ALG-MAT): each encrypts and authenticates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JweEnc {
    /// AES-GCM with a 128-bit key.
    A128Gcm,
    /// AES-GCM with a 256-bit key.
    A256Gcm,
    /// AES-CBC with a 128-bit key, then HMAC-SHA-256 with another; what a client gets that
    /// registers only an `alg` (OpenID Connect Registration §2).
    A128CbcHs256,
}

impl JweEnc {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::A128Gcm, Self::A256Gcm, Self::A128CbcHs256];

    /// The `enc` header value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A128Gcm => "A128GCM",
            Self::A256Gcm => "A256GCM",
            Self::A128CbcHs256 => "A128CBC-HS256",
        }
    }

    /// The algorithm with exactly this name; letter case counts (JWT-3.1).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|enc| enc.name() == name)
    }

    /// Bytes of a content encryption key.
    pub(super) const fn key_bytes(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            // Two keys of 16 bytes (RFC 7518 §5.2.3).
            Self::A256Gcm | Self::A128CbcHs256 => 32,
        }
    }

    /// Bytes of an initialization vector.
    pub(super) const fn iv_bytes(self) -> usize {
        match self {
            Self::A128Gcm | Self::A256Gcm => 12,
            Self::A128CbcHs256 => 16,
        }
    }

    /// Whether a ciphertext can have this length: whole blocks in CBC, and never nothing.
    pub(super) const fn can_have_bytes(self, ciphertext: usize) -> bool {
        match self {
            Self::A128Gcm | Self::A256Gcm => ciphertext != 0,
            Self::A128CbcHs256 => ciphertext != 0 && ciphertext.is_multiple_of(16),
        }
    }
}

/// Bytes of an authentication tag, whichever the algorithm.
pub(super) const TAG_BYTES: usize = 16;
