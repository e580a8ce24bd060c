//! Owns the server keys in use at one time: the active one, and further ones that still open what they
//! sealed or will be active soon. Must not know what is made from them.

use std::fmt;

use zeroize::Zeroizing;

use super::{HashKey, SealFailed, SealingKey, ServerKey, Unsealable};

/// Public name of a server key: instances and operators compare it. It tells nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KeyId::LEN]);

impl KeyId {
    /// Octets of an id.
    pub const LEN: usize = 4;

    /// The id with these bytes.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    /// Eight hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Something made from each server key in use. What is new is made with the active one; what is there is
/// looked up under all.
#[derive(Clone, Debug)]
pub struct Ring<T> {
    active: (KeyId, T),
    /// By id.
    further: Vec<(KeyId, T)>,
}

/// The server keys in use.
pub type KeyRing = Ring<ServerKey>;

/// Two keys of a ring go by one name: they are the same, or one of them has to be made anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("two server keys have the id {0}")]
pub struct SameKeyTwice(pub KeyId);

impl<T> Ring<T> {
    /// The id of the active key.
    pub const fn active_id(&self) -> KeyId {
        self.active.0
    }

    /// What was made from the active key.
    pub const fn active(&self) -> &T {
        &self.active.1
    }

    /// The ids of the further keys.
    pub fn further_ids(&self) -> impl Iterator<Item = KeyId> {
        self.further.iter().map(|(id, _)| *id)
    }

    /// What was made from the key with this id, if it is in the ring.
    pub fn get(&self, id: KeyId) -> Option<&T> {
        self.by_id().find_map(|(found, made)| (found == id).then_some(made))
    }

    /// Everything in the order of the ids: all instances go through their rings in this order, whichever
    /// key is active where.
    pub fn by_id(&self) -> impl Iterator<Item = (KeyId, &T)> {
        let place = self.further.partition_point(|(id, _)| *id < self.active.0);
        let (before, after) = self.further.split_at_checked(place).unwrap_or_default();
        before.iter().chain([&self.active]).chain(after).map(|(id, made)| (*id, made))
    }

    /// The same ring of something else.
    pub fn map<U>(&self, make: impl Fn(&T) -> U) -> Ring<U> {
        let (id, active) = &self.active;
        Ring {
            active: (*id, make(active)),
            further: self.further.iter().map(|(id, further)| (*id, make(further))).collect(),
        }
    }
}

impl Ring<ServerKey> {
    /// A ring that makes with `active` and also looks up what `further` keys made.
    pub fn new(
        active: ServerKey,
        further: impl IntoIterator<Item = ServerKey>,
    ) -> Result<Self, SameKeyTwice> {
        let active = (active.id(), active);
        let mut further: Vec<_> = further.into_iter().map(|key| (key.id(), key)).collect();
        further.sort_by_key(|(id, _)| *id);
        let ring = Self { active, further };
        let ids: Vec<_> = ring.by_id().map(|(id, _)| id).collect();
        match ids.windows(2).find_map(|pair| pair.first().filter(|id| pair.last() == Some(id))) {
            Some(id) => Err(SameKeyTwice(*id)),
            None => Ok(ring),
        }
    }

    /// The ids for operators to compare between instances, such as `active 1f00ab3c, further 77c0de01`.
    pub fn fingerprints(&self) -> String {
        let further = self.further_ids().map(|id| format!(", further {id}"));
        format!("active {}{}", self.active_id(), further.collect::<String>())
    }

    /// The sealing keys for `purpose`.
    pub fn derive(&self, purpose: &str) -> Ring<SealingKey> {
        self.map(|key| key.derive(purpose))
    }

    /// The hash keys for `purpose`.
    pub fn hash_keys(&self, purpose: &str) -> Ring<HashKey> {
        self.map(|key| key.hash_key(purpose))
    }
}

impl From<ServerKey> for Ring<ServerKey> {
    fn from(only: ServerKey) -> Self {
        Self { active: (only.id(), only), further: Vec::new() }
    }
}

impl Ring<SealingKey> {
    /// Seals under the active key.
    pub fn seal(&self, associated: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealFailed> {
        self.active().seal(associated, plaintext)
    }

    /// The plaintext and the server key it was sealed under, whichever of the ring that was.
    pub fn open(
        &self,
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<(KeyId, Zeroizing<Vec<u8>>), Unsealable> {
        // A key tries what names it, and nothing else.
        self.by_id()
            .find_map(|(id, key)| key.open(associated, sealed).ok().map(|text| (id, text)))
            .ok_or(Unsealable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ServerKey {
        ServerKey::from_bytes([byte; 32])
    }

    #[test]
    fn ids_are_public_names_that_differ() {
        assert_eq!(key(1).id(), key(1).id());
        assert_ne!(key(1).id(), key(2).id());
        // Nor are they the name of any key made from it.
        assert_ne!(key(1).id().as_bytes(), &key(1).derive("server").id());
        assert_eq!(KeyId::new([0, 0xab, 1, 2]).to_string(), "00ab0102");
    }

    #[test]
    fn every_instance_goes_through_the_keys_in_one_order() {
        let ids = |active, further: [u8; 2]| {
            let ring = KeyRing::new(key(active), further.map(key)).unwrap();
            assert_eq!(ring.active_id(), key(active).id());
            ring.by_id().map(|(id, _)| id).collect::<Vec<_>>()
        };
        let order = ids(1, [2, 3]);
        assert!(order.is_sorted() && order.len() == 3);
        for other in [ids(1, [3, 2]), ids(2, [1, 3]), ids(2, [3, 1]), ids(3, [1, 2])] {
            assert_eq!(other, order);
        }
    }

    #[test]
    fn a_key_is_in_a_ring_once() {
        for further in [vec![1], vec![2, 2], vec![2, 1, 3], vec![2, 3, 2]] {
            let twice = KeyRing::new(key(1), further.iter().copied().map(key));
            assert!(twice.is_err(), "{further:?}");
        }
        assert!(KeyRing::new(key(1), []).is_ok());
    }

    #[test]
    fn what_any_key_of_the_ring_sealed_opens_and_says_which_it_was() {
        let ring = KeyRing::new(key(1), [key(2), key(3)]).unwrap().derive("cookie");
        for byte in [1, 2, 3] {
            let sealed = key(byte).derive("cookie").seal(b"name", b"text").unwrap();
            let (id, text) = ring.open(b"name", &sealed).unwrap();
            assert_eq!((id, text.as_slice()), (key(byte).id(), b"text".as_slice()));
            assert_eq!(ring.open(b"other", &sealed), Err(Unsealable));
        }
        let foreign = key(4).derive("cookie").seal(b"name", b"text").unwrap();
        assert_eq!(ring.open(b"name", &foreign), Err(Unsealable));
        let sealed = ring.seal(b"name", b"text").unwrap();
        assert!(key(1).derive("cookie").open(b"name", &sealed).is_ok());
        assert_eq!(SealingKey::id_of(&sealed), Some(ring.active().id()));
    }

    #[test]
    fn debug_shows_ids_and_no_key() {
        let shown = format!("{:?}", KeyRing::new(key(0x41), [key(0x42)]).unwrap());
        assert!(shown.contains("ServerKey(redacted)") && !shown.contains("65, 65"), "{shown}");
        assert!(shown.contains(&format!("KeyId({})", key(0x42).id())), "{shown}");
    }
}
