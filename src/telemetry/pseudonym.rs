//! Owns the keyed hashes by which audit lines name people and sessions.
//! Must not know where the key comes from, nor keep what it hashed.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

/// 128 bits of a keyed hash as 22 base64url characters: the same person or session always gets the
/// same one, and without the key nobody can tell whose it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct Pseudonym(String);

impl Pseudonym {
    /// The 22 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes [`Pseudonym`]s with HMAC-SHA256 under a key derived from the server key.
#[derive(Clone)]
pub struct Pseudonymiser {
    key: hmac::Key,
}

impl Pseudonymiser {
    /// A pseudonymiser under `key`, which must serve no other purpose.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// The pseudonym of a person: `sub` is unique only within its issuer.
    pub fn subject(&self, issuer: &str, subject: &str) -> Pseudonym {
        self.hash(&[b"subject", issuer.as_bytes(), subject.as_bytes()])
    }

    /// The pseudonym of a session, from its key in the store (never from the cookie's handle).
    pub fn session(&self, store_key: &[u8]) -> Pseudonym {
        self.hash(&[b"session", store_key])
    }

    /// Parts are length-prefixed, so no two lists of parts hash alike.
    fn hash(&self, parts: &[&[u8]]) -> Pseudonym {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let half = tag.as_ref().get(..16).unwrap_or_default();
        Pseudonym(URL_SAFE_NO_PAD.encode(half))
    }
}

impl fmt::Debug for Pseudonymiser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonymiser(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_are_22_characters_stable_and_tied_to_the_key() {
        let (a, b) = (Pseudonymiser::new(&[1; 32]), Pseudonymiser::new(&[2; 32]));
        let alice = a.subject("https://as.example", "alice");
        assert_eq!(alice.as_str().len(), 22);
        assert_eq!(alice, a.subject("https://as.example", "alice"));
        assert_ne!(alice, b.subject("https://as.example", "alice"));
    }

    #[test]
    fn moving_the_border_between_issuer_and_subject_changes_the_pseudonym() {
        let p = Pseudonymiser::new(&[1; 32]);
        assert_ne!(
            p.subject("https://as.example", "alice"),
            p.subject("https://as.examplea", "lice")
        );
        assert_ne!(p.subject("", "x"), p.session(b"x"));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Pseudonymiser::new(&[7; 32])), "Pseudonymiser(redacted)");
    }
}
