//! Owns JSON Web Signatures, Encryption and Keys: strict parsing, algorithm and key choice, signing,
//! verifying, encrypting, decrypting.
//! Must not know: what a claim means, where keys come from, time. Nothing above this module names
//! josekit or p256.
//!
//! josekit is handed only input that was parsed, bounded and judged here, because by itself it
//! accepts duplicate header members, any `typ`, an empty `crit` and weak RSA keys. Only the
//! compact serialisation exists here (RFC 8725bis §3.14).

mod alg;
mod claims;
mod content;
mod decryption_key;
mod encrypter;
mod encryption_jwk;
mod engine;
mod jwe;
mod jwe_alg;
mod jwk;
mod jws;
mod key_management;
mod key_set;
mod private_key;
mod signer;
mod strict;

#[cfg(test)]
mod tests;

pub use alg::JwsAlg;
pub use claims::{ClaimFault, Claims, ClaimsRejected};
pub use decryption_key::{
    DecryptionKey, DecryptionKeys, GeneratedDecryptionKey, generate_decryption_key,
};
pub use encrypter::{EncryptFailed, EncryptionTarget, encrypt};
pub use encryption_jwk::{EncryptionJwk, jwks_document_of_both};
pub use jwe::{JwePolicy, JweRejected, decrypt};
pub use jwe_alg::{JweAlg, JweEnc};
pub use jwk::{KeyRejected, PublicJwk, certificate_jwk, certified_thumbprint, jwks_document};
pub use jws::{JwsPolicy, JwsRejected, TypRule, UnverifiedJws, VerifiedJws, verify};
pub use key_set::{KeySet, KeySetRejected};
pub use private_key::{GeneratedKey, KeySeed, generate};
pub use signer::{SignFailed, Signer, SoftwareSigner, sign, sign_embedding_key};
