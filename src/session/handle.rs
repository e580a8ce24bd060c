//! Owns the session handle, the only thing of a session the browser ever holds, and the keys made from it.
//! Must not know cookies nor what a session contains.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{Whose, carried::Carried, store::StoreKey};
use crate::{
    clock::{Ambient, EntropyUnavailable},
    seal::{HashKey, KeyId, KeyRing, Ring, SealingKey, ServerKey},
    telemetry::{Pseudonym, Pseudonymiser},
};

/// Octets of a handle: a server key's id, and 256 random bits. In base64url no bit is left over.
const LEN: usize = KeyId::LEN + 32;
/// Characters of its spelling.
const SPELLING: usize = 48;

/// 256 random bits that name a session and help to open it (SES-7.2.1-3), and the id of the server key
/// that does the rest: so one look under one key finds the session, or there is none.
#[derive(Clone)]
pub struct Handle {
    key: KeyId,
    secret: Zeroizing<[u8; 32]>,
    /// The session itself, if its browser carries it.
    carried: Option<Arc<Carried>>,
}

impl Handle {
    pub(super) fn generate(ambient: &Ambient, key: KeyId) -> Result<Self, EntropyUnavailable> {
        Ok(Self { key, secret: Zeroizing::new(ambient.random()?), carried: None })
    }

    /// The handle in a cookie's value, which must be exactly what [`Handle::to_cookie_value`] wrote.
    pub fn parse(value: &str) -> Option<Self> {
        // 48 characters of base64url are 36 octets to the bit: each handle has one spelling.
        let mut bytes = Zeroizing::new([0; LEN]);
        let length = URL_SAFE_NO_PAD.decode_slice(value, bytes.as_mut_slice()).ok()?;
        if value.len() != SPELLING || length != LEN {
            return None;
        }
        Some(Self::from_bytes(&bytes))
    }

    /// 48 base64url characters.
    pub fn to_cookie_value(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.to_bytes().as_slice())
    }

    pub(super) fn from_bytes(bytes: &[u8; LEN]) -> Self {
        let (mut key, mut secret) = ([0; KeyId::LEN], Zeroizing::new([0; 32]));
        let places = key.iter_mut().chain(secret.iter_mut());
        places.zip(bytes).for_each(|(to, from)| *to = *from);
        Self { key: KeyId::new(key), secret, carried: None }
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<[u8; LEN]> {
        let mut bytes = Zeroizing::new([0; LEN]);
        let parts = self.key.as_bytes().iter().chain(self.secret.iter());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        bytes
    }

    pub(super) fn with(self, carried: Arc<Carried>) -> Self {
        Self { carried: Some(carried), ..self }
    }

    pub(super) fn carried(&self) -> Option<&Carried> {
        self.carried.as_deref()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(redacted)")
    }
}

/// What the server adds to a handle: neither alone finds or opens a record. One set for each server key.
#[derive(Debug)]
pub(super) struct Keys(Ring<KeySet>, Ring<SealingKey>);

/// What is made from one server key.
#[derive(Debug)]
pub(super) struct KeySet {
    server: ServerKey,
    records: HashKey,
    indexes: HashKey,
    consumed: HashKey,
    done: HashKey,
    sides: HashKey,
    pseudonyms: Pseudonymiser,
}

impl Keys {
    pub(super) fn new(ring: &KeyRing) -> Self {
        let sets = ring.map(|server| KeySet {
            sides: server.hash_key("session-side v1"),
            records: server.hash_key("session-key v1"),
            indexes: server.hash_key("session-index v1"),
            consumed: server.hash_key("session-consumed v1"),
            done: server.hash_key("session-done v1"),
            pseudonyms: Pseudonymiser::new(&server.hash_key("pseudonym v1").hash(&[])),
            server: server.clone(),
        });
        Self(sets, ring.derive("session-carried v1"))
    }

    /// A handle for a new session, which is kept under the active key.
    pub(super) fn new_handle(&self, ambient: &Ambient) -> Result<Handle, EntropyUnavailable> {
        Handle::generate(ambient, self.0.active_id())
    }

    /// What new records are made with.
    pub(super) const fn active(&self) -> &KeySet {
        self.0.active()
    }

    /// What sealed sessions are carried under.
    pub(super) const fn carrying(&self) -> &Ring<SealingKey> {
        &self.1
    }

    /// What the record under `key` was made with.
    pub(super) fn of_record(&self, key: &StoreKey) -> &KeySet {
        let id = key.as_bytes().last_chunk().map(|id| KeyId::new(*id));
        id.and_then(|id| self.0.get(id)).unwrap_or(self.active())
    }

    /// What there is to look under, in an order that all instances agree on.
    pub(super) fn all(&self) -> impl Iterator<Item = &KeySet> {
        self.0.by_id().map(|(_, keys)| keys)
    }

    /// Whether the server key of `handle` is in the ring. Under any other there is no session.
    pub(super) fn know(&self, handle: &Handle) -> bool {
        self.0.get(handle.key).is_some()
    }

    /// Where the session of `handle` is stored. It ends with the server key's id: whoever comes upon a
    /// record knows what it was made with.
    pub(super) fn record(&self, handle: &Handle) -> StoreKey {
        let keys = self.0.get(handle.key).unwrap_or(self.active());
        let hash = keys.records.hash(&[handle.secret.as_slice()]);
        let mut bytes = [0; 32];
        let parts = hash.iter().take(32 - KeyId::LEN).chain(handle.key.as_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        StoreKey::new(bytes)
    }

    /// Opens the session of `handle`; takes its server key and the handle to make.
    pub(super) fn sealing(&self, handle: &Handle) -> SealingKey {
        let keys = self.0.get(handle.key).unwrap_or(self.active());
        keys.server.derive_with("session-record v1", handle.secret.as_slice())
    }

    /// What names the session under `record` and its user: always the same key, so that the names stay
    /// while the session does, whichever key is active.
    pub(super) fn pseudonyms(&self, record: &StoreKey) -> &Pseudonymiser {
        &self.of_record(record).pseudonyms
    }

    /// Names the session under `record`.
    pub(super) fn pseudonym(&self, record: &StoreKey) -> Pseudonym {
        self.pseudonyms(record).session(record.as_bytes())
    }
}

impl KeySet {
    /// Names a person.
    pub(super) fn person(&self, issuer: &str, subject: &str) -> Pseudonym {
        self.pseudonyms.subject(issuer, subject)
    }

    /// Marked when the session under `record` has ended.
    pub(super) fn ended(&self, record: &StoreKey) -> StoreKey {
        StoreKey::new(self.sides.hash(&[b"ended", record.as_bytes()]))
    }

    /// Marked with the lowest version of it that is good.
    pub(super) fn floor(&self, record: &StoreKey) -> StoreKey {
        StoreKey::new(self.sides.hash(&[b"floor", record.as_bytes()]))
    }

    /// Marked with the time of its last use.
    pub(super) fn seen(&self, record: &StoreKey) -> StoreKey {
        StoreKey::new(self.sides.hash(&[b"seen", record.as_bytes()]))
    }

    /// Marked with the time up to which an app's sessions began that have ended.
    pub(super) fn ended_every(&self, app: &str) -> StoreKey {
        StoreKey::new(self.sides.hash(&[b"every", app.as_bytes()]))
    }

    /// Marked with the time up to which sessions began that have ended.
    pub(super) fn ended_whose(&self, app: &str, whose: Whose<'_>) -> StoreKey {
        let app = app.as_bytes();
        StoreKey::new(match whose {
            Whose::Sid { issuer, sid, subject: None } => {
                self.sides.hash(&[b"sid", app, issuer.as_bytes(), sid.as_bytes()])
            }
            Whose::Sid { issuer, sid, subject: Some(subject) } => {
                let (sid, subject) = (sid.as_bytes(), subject.as_bytes());
                self.sides.hash(&[b"sid+sub", app, issuer.as_bytes(), sid, subject])
            }
            Whose::Subject { issuer, subject } => {
                self.sides.hash(&[b"sub", app, issuer.as_bytes(), subject.as_bytes()])
            }
        })
    }

    pub(super) fn sid(&self, issuer: &str, sid: &str) -> StoreKey {
        StoreKey::new(self.indexes.hash(&[b"sid", issuer.as_bytes(), sid.as_bytes()]))
    }

    pub(super) fn subject(&self, issuer: &str, subject: &str) -> StoreKey {
        StoreKey::new(self.indexes.hash(&[b"sub", issuer.as_bytes(), subject.as_bytes()]))
    }

    pub(super) fn done(&self, what: &[&[u8]]) -> StoreKey {
        StoreKey::new(self.done.hash(what))
    }

    pub(super) fn consumed(&self, what: &[&[u8]]) -> StoreKey {
        StoreKey::new(self.consumed.hash(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(active: u8, further: &[u8]) -> Keys {
        let key = |byte| ServerKey::from_bytes([byte; 32]);
        Keys::new(&KeyRing::new(key(active), further.iter().map(|byte| key(*byte))).unwrap())
    }

    #[test]
    fn a_handle_has_exactly_one_spelling() {
        let handle = keys(1, &[]).new_handle(&Ambient::system()).unwrap();
        let value = handle.to_cookie_value();
        let parsed = Handle::parse(&value).unwrap();
        assert_eq!((parsed.key, &parsed.secret), (handle.key, &handle.secret));
        assert_eq!(parsed.to_cookie_value(), value);
        assert_eq!(value.len(), 48);
        for wrong in [
            String::new(),
            value[..47].to_owned(),
            value[..44].to_owned(),
            // The spelling of 256 bits and no key.
            value[..43].to_owned(),
            format!("{value}A"),
            format!("{value}AAAA"),
            format!("{value}="),
            format!("{}=", &value[..47]),
            format!(" {}", &value[1..]),
            format!("+{}", &value[1..]),
            format!("\u{e9}{}", &value[2..]),
        ] {
            assert!(Handle::parse(&wrong).is_none(), "{wrong}");
        }
        // Every bit of it counts: each other spelling is another handle.
        for place in 0..48 {
            for other in ["A", "B"] {
                let mut other_value = value.clone();
                other_value.replace_range(place..=place, other);
                let parsed = Handle::parse(&other_value).unwrap();
                let same = parsed.key == handle.key && parsed.secret == handle.secret;
                assert_eq!(same, other_value == value);
            }
        }
    }

    /// SES-7.2.1-3: one handle finds one record, under its own key only, whichever is active.
    #[test]
    fn a_record_lies_where_its_own_key_says_whichever_is_active() {
        let ambient = Ambient::system();
        let handle = keys(1, &[]).new_handle(&ambient).unwrap();
        let record = keys(1, &[]).record(&handle);
        let sealed = keys(1, &[]).sealing(&handle).seal(b"", b"text").unwrap();
        for (active, further) in [(1, [2, 4]), (2, [1, 4]), (3, [2, 1])] {
            let ring = keys(active, &further);
            assert!(ring.know(&handle));
            assert_eq!(ring.record(&handle), record);
            assert!(ring.sealing(&handle).open(b"", &sealed).is_ok());
            assert_eq!(ring.pseudonym(&record), keys(1, &[]).pseudonym(&record));
        }
        let stranger = keys(2, &[3]);
        assert!(!stranger.know(&handle));
        assert_ne!(stranger.record(&handle), record);
        assert!(stranger.sealing(&handle).open(b"", &sealed).is_err());
        // The same secret under another key's name is another handle.
        let renamed = Handle { key: ServerKey::from_bytes([2; 32]).id(), ..handle.clone() };
        assert_ne!(keys(1, &[2]).record(&renamed), record);
        assert!(keys(1, &[2]).sealing(&renamed).open(b"", &sealed).is_err());
    }

    #[test]
    fn handles_and_keys_print_nothing() {
        let key = KeyId::new([0x41; 4]);
        let handle = Handle { key, secret: Zeroizing::new([0x41; 32]), carried: None };
        let shown = format!("{handle:?} {:?}", keys(0x42, &[0x43]));
        assert!(!shown.contains("65, 65") && !shown.contains("66, 66"), "{shown}");
        assert!(!shown.contains("QUFB") && shown.contains("redacted"), "{shown}");
    }

    /// OIDC-5.7.
    #[test]
    fn a_sid_is_never_mistaken_for_a_subject() {
        let keys = keys(1, &[]);
        let keys = keys.active();
        assert_ne!(keys.sid("https://as", "x"), keys.subject("https://as", "x"));
        assert_ne!(keys.sid("https://as", "x"), keys.sid("https://other", "x"));
        assert_ne!(keys.subject("https://as", "x"), keys.subject("https://other", "x"));
    }
}
