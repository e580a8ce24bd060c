//! Encryption around signed tokens: to a client that registered for it, with any flaw a test asks for,
//! and out of request objects that come encrypted. Knows neither claims nor endpoints.

use serde_json::Value;

use super::{ClientRegistration, Encryption};
use crate::jwe::{self, Alg, DecryptionKey, Enc, Flaw, JweFault};

impl Encryption {
    fn names(&self) -> Result<(Alg, Enc), JweFault> {
        let alg = Alg::from_name(&self.alg).ok_or(JweFault::AlgNotAllowed)?;
        let enc = Enc::from_name(&self.enc).ok_or(JweFault::EncNotAllowed)?;
        Ok((alg, enc))
    }
}

/// The signed token for this client's eyes only.
pub(super) fn seal(
    token: &str,
    client: &ClientRegistration,
    wanted: &Encryption,
    flaw: Option<Flaw>,
) -> Result<String, JweFault> {
    let (alg, enc) = wanted.names()?;
    let mut keys = client.jwks.get("keys").and_then(Value::as_array).into_iter().flatten();
    let key = keys.find(|key| {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let kind = if alg.is_rsa() { "RSA" } else { "EC" };
        // As in the conformance suite: by use and type, whatever `alg` says.
        text("use") == Some("enc") && text("kty") == Some(kind)
    });
    jwe::encrypt(key.ok_or(JweFault::KeyUnknown)?, alg, enc, token, flaw)
}

/// The server's key for request objects.
#[derive(Debug)]
pub(super) struct Opener {
    key: DecryptionKey,
    enc: Enc,
}

impl Opener {
    pub(super) fn new(wanted: &Encryption) -> Result<Self, JweFault> {
        let (alg, enc) = wanted.names()?;
        Ok(Self { key: DecryptionKey::generate(alg)?, enc })
    }

    pub(super) fn public_jwk(&self) -> Value {
        self.key.public_jwk().clone()
    }

    pub(super) fn open(&self, token: &str) -> Result<String, JweFault> {
        self.key.decrypt(token, self.enc)
    }
}
