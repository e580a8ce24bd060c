//! Owns the session handle, the only thing of a session the browser ever holds, and the keys made from it.
//! Must not know cookies nor what a session contains.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::store::StoreKey;
use crate::{
    clock::{Ambient, EntropyUnavailable},
    seal::{HashKey, SealingKey, ServerKey},
};

/// 256 random bits that name a session and help to open it (SES-7.2.1-3).
#[derive(Clone)]
pub struct Handle(Zeroizing<[u8; 32]>);

impl Handle {
    pub(super) fn generate(ambient: &Ambient) -> Result<Self, EntropyUnavailable> {
        Ok(Self(Zeroizing::new(ambient.random()?)))
    }

    /// The handle in a cookie's value, which must be exactly what [`Handle::to_cookie_value`] wrote.
    pub fn parse(value: &str) -> Option<Self> {
        // base64 refuses padding and stray trailing bits, so each handle has one spelling.
        let mut bytes = Zeroizing::new([0; 32]);
        let length = URL_SAFE_NO_PAD.decode_slice(value, bytes.as_mut_slice()).ok()?;
        (value.len() == 43 && length == 32).then_some(Self(bytes))
    }

    /// 43 base64url characters.
    pub fn to_cookie_value(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.as_slice())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(redacted)")
    }
}

/// What the server adds to a handle: neither alone finds or opens a record.
#[derive(Debug)]
pub(super) struct Keys {
    server: ServerKey,
    records: HashKey,
    indexes: HashKey,
    consumed: HashKey,
    done: HashKey,
}

impl Keys {
    pub(super) fn new(server: ServerKey) -> Self {
        Self {
            records: server.hash_key("session-key v1"),
            indexes: server.hash_key("session-index v1"),
            consumed: server.hash_key("session-consumed v1"),
            done: server.hash_key("session-done v1"),
            server,
        }
    }

    /// Where the session of `handle` is stored.
    pub(super) fn record(&self, handle: &Handle) -> StoreKey {
        StoreKey::new(self.records.hash(&[handle.0.as_slice()]))
    }

    /// Opens the session of `handle`; takes the server key and the handle to make.
    pub(super) fn sealing(&self, handle: &Handle) -> SealingKey {
        self.server.derive_with("session-record v1", handle.0.as_slice())
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

    #[test]
    fn a_handle_has_exactly_one_spelling() {
        let handle = Handle::generate(&Ambient::system()).unwrap();
        let value = handle.to_cookie_value();
        assert_eq!(Handle::parse(&value).unwrap().0, handle.0);
        assert_eq!(value.len(), 43);
        for wrong in [
            String::new(),
            value[..42].to_owned(),
            format!("{value}A"),
            format!("{value}="),
            format!(" {}", &value[1..]),
            format!("+{}", &value[1..]),
            format!("\u{e9}{}", &value[2..]),
            // 43 characters carry 258 bits; the last two must be zero.
            format!("{}B", "A".repeat(42)),
        ] {
            assert!(Handle::parse(&wrong).is_none(), "{wrong}");
        }
        assert!(Handle::parse(&"A".repeat(43)).is_some());
    }

    #[test]
    fn handles_and_keys_print_nothing() {
        let handle = Handle(Zeroizing::new([0x41; 32]));
        let shown = format!("{handle:?} {:?}", Keys::new(ServerKey::from_bytes([0x42; 32])));
        assert!(
            !shown.contains("65") && !shown.contains("66") && !shown.contains("QUFB"),
            "{shown}"
        );
    }

    /// OIDC-5.7.
    #[test]
    fn a_sid_is_never_mistaken_for_a_subject() {
        let keys = Keys::new(ServerKey::from_bytes([1; 32]));
        assert_ne!(keys.sid("https://as", "x"), keys.subject("https://as", "x"));
        assert_ne!(keys.sid("https://as", "x"), keys.sid("https://other", "x"));
        assert_ne!(keys.subject("https://as", "x"), keys.subject("https://other", "x"));
    }
}
