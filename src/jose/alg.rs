//! Owns the names of the signature algorithms we speak and the digest that belongs to each.
//! Must not know: which of them a profile allows.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// A JWS signature algorithm (ALG-MAT). There is no variant for `none` or for any MAC, so neither
/// can be allowed by mistake (JWT-3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JwsAlg {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PSS with SHA-256 and a 32-byte salt.
    Ps256,
    /// Ed25519 under its older name, `EdDSA` (RFC 8037).
    EdDsa,
    /// Ed25519 under its fully specified name, `Ed25519` (RFC 9864).
    Ed25519,
    /// RSASSA-PKCS1-v1_5 with SHA-256; for the plain OpenID Connect profile only.
    Rs256,
}

impl JwsAlg {
    /// Every one there is.
    pub const ALL: [Self; 5] = [Self::Es256, Self::Ps256, Self::EdDsa, Self::Ed25519, Self::Rs256];

    /// The `alg` header value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm with exactly this name; letter case counts (JWT-3.1).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// `at_hash`, `c_hash` or `s_hash` of `ascii`: base64url of the left half of the algorithm's
    /// digest (OpenID Connect Core §3.1.3.6). Ed25519 hashes with SHA-512.
    pub fn half_hash(self, ascii: &str) -> String {
        let digest_algorithm = match self {
            Self::Es256 | Self::Ps256 | Self::Rs256 => &digest::SHA256,
            Self::EdDsa | Self::Ed25519 => &digest::SHA512,
        };
        let digest = digest::digest(digest_algorithm, ascii.as_bytes());
        let (left, _) = digest.as_ref().split_at(digest_algorithm.output_len() / 2);
        URL_SAFE_NO_PAD.encode(left)
    }

    /// Whether both names mean the same computation with the same key.
    pub(super) fn same_computation(self, other: Self) -> bool {
        self.canonical() == other.canonical()
    }

    /// The one name under which a computation is built and looked up.
    pub(super) const fn canonical(self) -> Self {
        match self {
            Self::Ed25519 => Self::EdDsa,
            other => other,
        }
    }
}
