//! Owns a peer's JWK set: reads it key by key and picks the one key a token means.
//! Must not know: how the set was fetched or how long it stays fresh.

use std::{cell::Cell, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

use super::{
    EncryptFailed, EncryptionJwk, JweAlg, JwsAlg, KeyRejected, PublicJwk,
    engine::Verifier,
    strict::{JsonFault, Strict},
};

/// Largest set accepted, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Most keys accepted in a set.
const MAX_KEYS: usize = 100;

/// Why a whole JWK set was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeySetRejected {
    /// More than 256 KiB.
    #[error("the JWK set is too large")]
    TooLarge,
    /// Not JSON text.
    #[error("the JWK set is not JSON")]
    Malformed,
    /// Not an object with exactly one `keys` member that is an array.
    #[error("the document is not a JWK set")]
    NotAKeySet,
    /// More than 100 keys.
    #[error("the JWK set has too many keys")]
    TooManyKeys,
}

impl KeySetRejected {
    /// Stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::NotAKeySet => "not_a_key_set",
            Self::TooManyKeys => "too_many_keys",
        }
    }
}

/// The usable keys of a peer, each with its verifiers built. A key that cannot be used is skipped
/// and counted; it never spoils the others (JWK-FETCH).
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<UsableKey>,
    skipped: Vec<KeyRejected>,
    /// Keys for encryption, which as such are among the skipped.
    encryption: Vec<EncryptionJwk>,
}

#[derive(Clone)]
struct UsableKey {
    jwk: PublicJwk,
    /// One for each computation that key type, curve and the owner's `alg` all admit.
    verifiers: Vec<Verifier>,
}

/// How looking for the key of a token can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoKey {
    Unknown,
    Ambiguous,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5) of at most 256 KiB and 100 keys.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetRejected> {
        if json.len() > MAX_BYTES {
            return Err(KeySetRejected::TooLarge);
        }
        let text = std::str::from_utf8(json).map_err(|_| KeySetRejected::Malformed)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let elements = deserializer
            .deserialize_any(SetVisitor)
            .and_then(|elements| deserializer.end().map(|()| elements))
            .map_err(|error| match error.classify() {
                serde_json::error::Category::Data => KeySetRejected::NotAKeySet,
                _ => KeySetRejected::Malformed,
            })?;
        if elements.len() > MAX_KEYS {
            return Err(KeySetRejected::TooManyKeys);
        }
        let mut set = Self::default();
        for element in elements {
            if let Ok(jwk) = &element {
                set.encryption.extend(encryption_key(jwk));
            }
            match element.and_then(|jwk| UsableKey::new(&jwk)) {
                Ok(key) => set.keys.push(key),
                Err(rejected) => set.skipped.push(rejected),
            }
        }
        Ok(set)
    }

    /// Number of usable keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is usable.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Why each unusable key was skipped, in the order of the document.
    pub fn skipped(&self) -> &[KeyRejected] {
        &self.skipped
    }

    /// Whether a usable key has this name; if not, the set may be out of date (JWK-ROT).
    pub fn has_kid(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.jwk.kid() == Some(kid))
    }

    /// The key to encrypt to with `alg`, under this `kid` if one is given. Only a key whose `use` says
    /// `enc` counts: where a peer has keys of both uses, each must say which (OpenID Connect Discovery
    /// §3, `jwks_uri`), and nothing is encrypted to a key that might be for signing. Of several the
    /// first that a `kid` of its own tells apart is taken, which the token then names (OIDC-10.2.1).
    pub fn encryption_key(
        &self,
        alg: JweAlg,
        kid: Option<&str>,
    ) -> Result<&EncryptionJwk, EncryptFailed> {
        let fits = |key: &&EncryptionJwk| key.fits(alg) && (kid.is_none() || key.kid() == kid);
        let fitting: Vec<_> = self.encryption.iter().filter(fits).collect();
        let named = |key: &&EncryptionJwk| {
            key.kid().is_some()
                && fitting.iter().filter(|other| other.kid() == key.kid()).count() == 1
        };
        match fitting.as_slice() {
            [] => Err(EncryptFailed::KeyUnknown),
            [key] => Ok(key),
            several => several.iter().copied().find(named).ok_or(EncryptFailed::KeyAmbiguous),
        }
    }

    /// The one verifier for a token with this `alg` and `kid`. Keys of the wrong type, curve or
    /// `alg` do not count; if more than one remains nothing is tried (FAPI2-SP-5.4.3, JWK-SEL).
    pub(super) fn select(&self, alg: JwsAlg, kid: Option<&str>) -> Result<&Verifier, NoKey> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| kid.is_none() || key.jwk.kid() == kid)
            .filter_map(|key| key.verifiers.iter().find(|verifier| verifier.computes(alg)));
        let verifier = fitting.next().ok_or(NoKey::Unknown)?;
        if fitting.next().is_some() { Err(NoKey::Ambiguous) } else { Ok(verifier) }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&PublicJwk> = self.keys.iter().map(|key| &key.jwk).collect();
        formatter
            .debug_struct("KeySet")
            .field("keys", &keys)
            .field("skipped", &self.skipped)
            .field("encryption", &self.encryption)
            .finish()
    }
}

impl UsableKey {
    fn new(jwk: &Value) -> Result<Self, KeyRejected> {
        let jwk = PublicJwk::from_json(jwk)?;
        let mut verifiers: Vec<Verifier> = Vec::new();
        for alg in jwk.material().algs().iter().copied().filter(|alg| jwk.fits(*alg)) {
            if !verifiers.iter().any(|verifier| verifier.computes(alg)) {
                verifiers.push(Verifier::new(jwk.material(), alg)?);
            }
        }
        Ok(Self { jwk, verifiers })
    }
}

/// The key, if it says that it is for encryption and can be used for it.
fn encryption_key(jwk: &Value) -> Option<EncryptionJwk> {
    let declared = jwk.get("use").and_then(Value::as_str) == Some("enc");
    declared.then(|| EncryptionJwk::from_json(jwk).ok()).flatten()
}

/// One element of `keys`, or why it could not even be read.
type Element = Result<Value, KeyRejected>;

struct SetVisitor;

impl<'de> Visitor<'de> for SetVisitor {
    type Value = Vec<Element>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JWK set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut keys = None;
        while let Some(name) = access.next_key::<String>()? {
            if name != "keys" {
                access.next_value::<IgnoredAny>()?;
            } else if keys.replace(access.next_value_seed(KeysSeed)?).is_some() {
                return Err(A::Error::custom("two `keys` members"));
            }
        }
        keys.ok_or_else(|| A::Error::custom("no `keys` member"))
    }
}

struct KeysSeed;

impl<'de> DeserializeSeed<'de> for KeysSeed {
    type Value = Vec<Element>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeysSeed {
    type Value = Vec<Element>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of JWKs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        loop {
            let fault = Cell::new(None);
            let Some(value) = access.next_element_seed(Strict::new(&fault))? else { break };
            // One more than allowed is enough to tell that there are too many.
            if elements.len() <= MAX_KEYS {
                elements.push(match fault.get() {
                    None => Ok(value),
                    Some(JsonFault::DuplicateMember) => Err(KeyRejected::DuplicateMember),
                    Some(_) => Err(KeyRejected::Malformed),
                });
            }
        }
        Ok(elements)
    }
}
