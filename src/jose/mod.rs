//! Owns JSON Web Signatures and keys: strict parsing, algorithm and key choice, signing, verifying.
//! Must not know: what a claim means, where keys come from, time. Nothing above this module names
//! josekit or p256.
//!
//! josekit is handed only input that was parsed, bounded and judged here, because by itself it
//! accepts duplicate header members, any `typ`, an empty `crit` and weak RSA keys. Only the
//! compact serialisation exists here (RFC 8725bis §3.14).

mod alg;
mod claims;
mod engine;
mod jwk;
mod jws;
mod key_set;
mod private_key;
mod signer;
mod strict;

#[cfg(test)]
mod tests;

pub use alg::JwsAlg;
pub use claims::{ClaimFault, Claims, ClaimsRejected};
pub use jwk::{KeyRejected, PublicJwk, jwks_document};
pub use jws::{JwsPolicy, JwsRejected, TypRule, UnverifiedJws, VerifiedJws, verify};
pub use key_set::{KeySet, KeySetRejected};
pub use private_key::{GeneratedKey, KeySeed, generate};
pub use signer::{SignFailed, Signer, SoftwareSigner, sign, sign_embedding_key};
