//! Owns encrypting a signed token to a peer's key. Must not know: what is encrypted, or how the
//! peer's keys were fetched.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{
    EncryptionJwk, JweAlg, JweEnc, KeyRejected, KeySet, content, jwe::is_compact_jws,
    key_management::Wrapper,
};

/// Why nothing was encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncryptFailed {
    /// The peer publishes no key for encryption that fits.
    #[error("the peer has no key that fits")]
    KeyUnknown,
    /// The peer publishes several that no `kid` tells apart; none is guessed.
    #[error("several of the peer's keys fit, and no kid tells them apart")]
    KeyAmbiguous,
    /// What is to be encrypted is not a compact JWS (JAR-4a).
    #[error("only a signed token is encrypted")]
    NotNested,
    /// The cryptographic library failed.
    #[error("the encryption failed")]
    Backend,
}

impl EncryptFailed {
    /// Stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::KeyUnknown => "encrypt_key_unknown",
            Self::KeyAmbiguous => "encrypt_key_ambiguous",
            Self::NotNested => "encrypt_not_nested",
            Self::Backend => "encrypt_backend",
        }
    }
}

/// A peer's key and how to encrypt to it.
pub struct EncryptionTarget {
    alg: JweAlg,
    enc: JweEnc,
    kid: Option<String>,
    wrapper: Wrapper,
}

impl EncryptionTarget {
    /// To `key`, which must admit `alg`.
    pub fn new(key: &EncryptionJwk, alg: JweAlg, enc: JweEnc) -> Result<Self, KeyRejected> {
        if !key.fits(alg) {
            return Err(KeyRejected::AlgMismatch);
        }
        let wrapper = Wrapper::new(key.material(), alg)?;
        Ok(Self { alg, enc, kid: key.kid().map(str::to_owned), wrapper })
    }

    /// To the key that `keys` offers for `alg` under `kid`, or under any name without one.
    pub fn in_set(
        keys: &KeySet,
        alg: JweAlg,
        enc: JweEnc,
        kid: Option<&str>,
    ) -> Result<Self, EncryptFailed> {
        let key = keys.encryption_key(alg, kid)?;
        Self::new(key, alg, enc).map_err(|_| EncryptFailed::Backend)
    }

    /// The `kid` the token will name.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

impl fmt::Debug for EncryptionTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EncryptionTarget")
            .field("alg", &self.alg)
            .field("enc", &self.enc)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// A compact JWE over the compact JWS `inner`, with the header members `alg`, `enc`, `cty`, and
/// `kid`, `typ` and `epk` where there are any. `cty` says that a JWT is inside (RFC 7519 §5.2);
/// `typ`, if given, repeats the type of the signed token for the whole (JWT-3.11). Nothing is ever
/// compressed (JWT-3.6). Keys and initialization vectors come from the operating system and cannot
/// be injected.
pub fn encrypt(
    inner: &str,
    typ: Option<&str>,
    target: &EncryptionTarget,
) -> Result<String, EncryptFailed> {
    if !is_compact_jws(inner.as_bytes()) {
        return Err(EncryptFailed::NotNested);
    }
    let wrapped = target.wrapper.wrap(target.enc).ok_or(EncryptFailed::Backend)?;
    let mut header = wrapped.header;
    header.insert("alg".into(), target.alg.name().into());
    header.insert("enc".into(), target.enc.name().into());
    header.insert("cty".into(), "JWT".into());
    let optional = [("kid", target.kid.as_deref()), ("typ", typ)];
    let given = optional.into_iter().filter_map(|(name, value)| Some((name.into(), value?.into())));
    header.extend::<Map<String, Value>>(given.collect());

    let mut token = URL_SAFE_NO_PAD.encode(Value::Object(header).to_string());
    let mut text = inner.as_bytes().to_vec();
    let sealed = content::seal(target.enc, &wrapped.key, token.as_bytes(), &mut text)
        .map_err(|_| EncryptFailed::Backend)?;
    for part in [&wrapped.encrypted_key, &sealed.iv, &text, &sealed.tag] {
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(part, &mut token);
    }
    Ok(token)
}
