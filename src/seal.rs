//! Owns authenticated encryption and keyed hashes under the server keys, on aws-lc-rs.
//! Must not know what it seals or hashes: sessions, cookies and transactions bring their own purposes.

mod ring;

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac, rand,
};
use zeroize::Zeroizing;

pub use ring::{KeyId, KeyRing, Ring, SameKeyTwice};

/// First byte of everything sealed here; a new layout gets a new number.
const LAYOUT: u8 = 1;
const KEY_ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + KEY_ID_LEN;
const TAG_LEN: usize = 16;

/// HKDF salt: sets our derivations apart from any other use of the same key material.
const SALT: &[u8] = b"fapi-bff/1";

/// The root secret of one installation. It seals nothing itself: every use derives its own key.
#[derive(Clone)]
pub struct ServerKey(Zeroizing<[u8; 32]>);

/// AES-256-GCM under a key made for one purpose.
///
/// Nonces are random 96-bit values, so one key may seal up to 2^32 messages (SP 800-38D §8.3).
#[derive(Clone)]
pub struct SealingKey {
    key: Zeroizing<[u8; 32]>,
    id: [u8; KEY_ID_LEN],
}

/// HMAC-SHA256 under a key made for one purpose.
#[derive(Clone)]
pub struct HashKey(hmac::Key);

/// Nothing was sealed: no randomness, or the plaintext is too long for one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("sealing failed")]
pub struct SealFailed;

/// The sealed bytes do not open: wrong key, wrong associated data, altered or cut. One error for all
/// of them, so that it tells an attacker nothing (BFF-6.1.3.2-7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("sealed data does not open")]
pub struct Unsealable;

impl ServerKey {
    /// The key from 32 unpredictable bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key's public name.
    pub fn id(&self) -> KeyId {
        let named = expand(&self.extract(&[]), "key-id", "server");
        let mut id = [0; KeyId::LEN];
        id.iter_mut().zip(named.iter()).for_each(|(to, from)| *to = *from);
        KeyId::new(id)
    }

    /// A sealing key that only this server key and `purpose` can make.
    pub fn derive(&self, purpose: &str) -> SealingKey {
        SealingKey::from_pseudorandom(&self.extract(&[]), "seal", purpose)
    }

    /// A sealing key that takes this server key, `purpose` **and** `secret` to make.
    pub fn derive_with(&self, purpose: &str, secret: &[u8]) -> SealingKey {
        SealingKey::from_pseudorandom(&self.extract(secret), "seal-with", purpose)
    }

    /// A hash key that only this server key and `purpose` can make.
    pub fn hash_key(&self, purpose: &str) -> HashKey {
        let key = expand(&self.extract(&[]), "hash", purpose);
        HashKey(hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()))
    }

    fn extract(&self, secret: &[u8]) -> hmac::Key {
        hkdf_extract(SALT, &[self.0.as_slice(), secret])
    }
}

impl SealingKey {
    fn from_pseudorandom(pseudorandom: &hmac::Key, kind: &str, purpose: &str) -> Self {
        let named = expand(pseudorandom, "key-id", &format!("{kind}/{purpose}"));
        let mut id = [0; KEY_ID_LEN];
        id.iter_mut().zip(named.iter()).for_each(|(to, from)| *to = *from);
        Self { key: expand(pseudorandom, kind, purpose), id }
    }

    /// Octets that a plaintext of this length takes when it is sealed.
    pub const fn sealed_len(plaintext: usize) -> usize {
        HEADER_LEN + NONCE_LEN + plaintext + TAG_LEN
    }

    /// Public name of the key, carried in front of everything it seals: lets a key ring pick the key.
    pub const fn id(&self) -> [u8; KEY_ID_LEN] {
        self.id
    }

    /// The name of the key that sealed `sealed`, as far as its unauthenticated header says.
    pub fn id_of(sealed: &[u8]) -> Option<[u8; KEY_ID_LEN]> {
        let (header, _) = sealed.split_first_chunk::<HEADER_LEN>()?;
        let [LAYOUT, id @ ..] = *header else { return None };
        Some(id)
    }

    /// Encrypts `plaintext` and binds it to `associated`, which is not stored.
    ///
    /// The nonce comes from the operating system and cannot be injected: a repeated one would give
    /// the key away.
    pub fn seal(&self, associated: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealFailed> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealFailed)?;
        self.seal_with(nonce, associated, plaintext)
    }

    /// The same, to the same bytes each time, so that what is said twice cannot be mixed up. It shows that
    /// two plaintexts are the same, and nothing else of them.
    ///
    /// The nonce is a keyed hash of all that is sealed: it comes again with the same message only.
    pub fn seal_repeatably(
        &self,
        associated: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealFailed> {
        let pseudonym = hmac::Key::new(hmac::HMAC_SHA256, self.key.as_slice());
        let hash = HashKey(hmac::Key::new(
            hmac::HMAC_SHA256,
            expand(&pseudonym, "nonce", "synthetic").as_slice(),
        ));
        let hash = hash.hash(&[associated, plaintext]);
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        self.seal_with(nonce, associated, plaintext)
    }

    fn seal_with(
        &self,
        nonce: [u8; NONCE_LEN],
        associated: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealFailed> {
        // The copy is encrypted in place, so no plaintext is left behind in it.
        let mut text = plaintext.to_vec();
        let tag = self
            .cipher()
            .ok_or(SealFailed)?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound(self.id, associated)),
                &mut text,
            )
            .map_err(|_| SealFailed)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + NONCE_LEN + text.len() + TAG_LEN);
        sealed.push(LAYOUT);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// The plaintext, if this key sealed exactly these bytes with exactly this `associated` data.
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        if Self::id_of(sealed) != Some(self.id) {
            return Err(Unsealable);
        }
        let body = sealed.get(HEADER_LEN..).ok_or(Unsealable)?;
        let (nonce, text) = body.split_first_chunk::<NONCE_LEN>().ok_or(Unsealable)?;
        if text.len() < TAG_LEN {
            return Err(Unsealable);
        }
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .cipher()
            .ok_or(Unsealable)?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(bound(self.id, associated)),
                &mut text,
            )
            .map_err(|_| Unsealable)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, self.key.as_slice()).ok().map(LessSafeKey::new)
    }
}

impl HashKey {
    /// A keyed hash of `parts`; each is prefixed with its length, so no two lists of parts collide.
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        to_array(context.sign())
    }
}

/// The header is fixed in length and comes first, so it cannot be confused with `associated`.
fn bound(id: [u8; KEY_ID_LEN], associated: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(HEADER_LEN + associated.len());
    data.push(LAYOUT);
    data.extend_from_slice(&id);
    data.extend_from_slice(associated);
    data
}

/// HKDF-Extract (RFC 5869 §2.2) over the concatenated `material`.
fn hkdf_extract(salt: &[u8], material: &[&[u8]]) -> hmac::Key {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, salt));
    for part in material {
        context.update(part);
    }
    hmac::Key::new(hmac::HMAC_SHA256, Zeroizing::new(to_array(context.sign())).as_slice())
}

/// HKDF-Expand (RFC 5869 §2.3) to one block, which is all a 256-bit key needs: so it cannot fail.
fn hkdf_expand(pseudorandom: &hmac::Key, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut context = hmac::Context::with_key(pseudorandom);
    for part in info {
        context.update(part);
    }
    context.update(&[1]);
    Zeroizing::new(to_array(context.sign()))
}

/// `kind` never contains a zero byte, so kind and purpose cannot run into each other.
fn expand(pseudorandom: &hmac::Key, kind: &str, purpose: &str) -> Zeroizing<[u8; 32]> {
    hkdf_expand(pseudorandom, &[kind.as_bytes(), &[0], purpose.as_bytes()])
}

fn to_array(tag: hmac::Tag) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(redacted)")
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(redacted)")
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(byte: u8) -> ServerKey {
        ServerKey::from_bytes([byte; 32])
    }

    /// RFC 5869 appendix A.1, the first block of the output.
    #[test]
    fn derivation_is_hkdf_sha256() {
        let salt: Vec<u8> = (0x00..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let pseudorandom = hkdf_extract(&salt, &[&[0x0b; 10], &[0x0b; 12]]);
        let expected = [
            0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a, 0x90, 0x43, 0x4f, 0x64, 0xd0, 0x36,
            0x2f, 0x2a, 0x2d, 0x2d, 0x0a, 0x90, 0xcf, 0x1a, 0x5a, 0x4c, 0x5d, 0xb0, 0x2d, 0x56,
            0xec, 0xc4, 0xc5, 0xbf,
        ];
        assert_eq!(*hkdf_expand(&pseudorandom, &[&info]), expected);
    }

    #[test]
    fn opens_what_it_sealed_and_hides_it() {
        let key = server(1).derive("cookie");
        let sealed = key.seal(b"name", b"a secret text").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(key.open(b"name", &sealed).unwrap().as_slice(), b"a secret text");
        assert_eq!(key.open(b"", &key.seal(b"", b"").unwrap()).unwrap().as_slice(), b"");
        assert_eq!(sealed.len(), SealingKey::sealed_len(13));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let key = server(1).derive("cookie");
        let sealed = key.seal(b"name", b"text").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(b"name", &altered), Err(Unsealable), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_and_extension_is_noticed() {
        let key = server(1).derive("cookie");
        let mut sealed = key.seal(b"name", b"text").unwrap();
        for length in 0..sealed.len() {
            assert_eq!(key.open(b"name", &sealed[..length]), Err(Unsealable), "length {length}");
        }
        sealed.push(0);
        assert_eq!(key.open(b"name", &sealed), Err(Unsealable));
    }

    #[test]
    fn opens_only_with_the_same_key_purpose_secret_and_associated_data() {
        let key = server(1).derive_with("record", b"handle");
        let sealed = key.seal(b"app", b"text").unwrap();
        assert!(server(1).derive_with("record", b"handle").open(b"app", &sealed).is_ok());
        for other in [
            server(2).derive_with("record", b"handle"),
            server(1).derive_with("record", b"handlf"),
            server(1).derive_with("other", b"handle"),
            server(1).derive_with("record", b""),
            server(1).derive("record"),
        ] {
            assert_eq!(other.open(b"app", &sealed), Err(Unsealable));
        }
        assert_eq!(key.open(b"apq", &sealed), Err(Unsealable));
        assert_eq!(key.open(b"", &sealed), Err(Unsealable));
    }

    #[test]
    fn sealing_twice_gives_different_bytes() {
        let key = server(1).derive("cookie");
        assert_ne!(key.seal(b"", b"text").unwrap(), key.seal(b"", b"text").unwrap());
    }

    #[test]
    fn sealing_repeatably_repeats_a_nonce_with_the_same_message_only() {
        let key = server(1).derive("cookie");
        let sealed = key.seal_repeatably(b"name", b"text").unwrap();
        assert_eq!(sealed, key.seal_repeatably(b"name", b"text").unwrap());
        assert_eq!(key.open(b"name", &sealed).unwrap().as_slice(), b"text");
        let nonce = |sealed: &[u8]| sealed[HEADER_LEN..HEADER_LEN + NONCE_LEN].to_vec();
        for other in [
            key.seal_repeatably(b"name", b"texu"),
            key.seal_repeatably(b"namf", b"text"),
            key.seal_repeatably(b"namet", b"ext"),
            server(1).derive("other").seal_repeatably(b"name", b"text"),
            server(2).derive("cookie").seal_repeatably(b"name", b"text"),
        ] {
            assert_ne!(nonce(&other.unwrap()), nonce(&sealed));
        }
    }

    #[test]
    fn the_header_names_the_key() {
        let (a, b) = (server(1).derive("a"), server(1).derive("b"));
        assert_ne!(a.id(), b.id());
        assert_eq!(SealingKey::id_of(&a.seal(b"", b"").unwrap()), Some(a.id()));
        assert_eq!(SealingKey::id_of(&[2, 0, 0, 0, 0]), None);
        assert_eq!(SealingKey::id_of(&[1, 0]), None);
    }

    #[test]
    fn hashes_depend_on_key_purpose_and_part_boundaries() {
        let key = server(1).hash_key("index");
        assert_eq!(key.hash(&[b"a", b"b"]), server(1).hash_key("index").hash(&[b"a", b"b"]));
        let others: [[u8; 32]; 5] = [
            server(2).hash_key("index").hash(&[b"a", b"b"]),
            server(1).hash_key("other").hash(&[b"a", b"b"]),
            key.hash(&[b"ab"]),
            key.hash(&[b"ab", b""]),
            key.hash(&[b"b", b"a"]),
        ];
        assert!(others.iter().all(|other| *other != key.hash(&[b"a", b"b"])));
    }

    #[test]
    fn debug_shows_no_key() {
        let key = server(0x41);
        let shown = format!("{key:?} {:?} {:?}", key.derive("a"), key.hash_key("b"));
        assert_eq!(shown, "ServerKey(redacted) SealingKey(redacted) HashKey(redacted)");
    }
}
