//! The server's keys: the signing key, the keys it replaced, and the trap key of another algorithm that
//! a client checking only "signed by a published key" falls for.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use super::behaviour::{Behaviour, Tamper};
use crate::jws::{Alg, JwsFault, Object, SigningKey, flip_signature, unsecured};

/// The RS256 trap key's name in the conformance suite.
pub(super) const TRAP_KID: &str = "rsa-none-alt-arg";

type Made = Result<SigningKey, JwsFault>;

/// The trap beside a signing key: RS256, or where that is what the server signs with, ES256. RSA keys
/// are slow to make, and nothing depends on this one being fresh.
fn trap(alg: Alg) -> Result<&'static SigningKey, JwsFault> {
    static RSA: OnceLock<Made> = OnceLock::new();
    static EC: OnceLock<Made> = OnceLock::new();
    let named = |alg, kid| SigningKey::generate(alg).map(|key| key.with_kid(kid));
    let made = match alg {
        Alg::Rs256 => EC.get_or_init(|| named(Alg::Es256, "ec-alt-alg")),
        _ => RSA.get_or_init(|| named(Alg::Rs256, TRAP_KID)),
    };
    made.as_ref().map_err(|fault| *fault)
}

/// How the JWK set is to look.
pub(super) struct Publication {
    decoys: bool,
    named: bool,
    pub(super) extra: Vec<Value>,
}

impl Publication {
    pub(super) fn of(behaviour: &Behaviour) -> Self {
        Self {
            decoys: behaviour.decoy_keys,
            named: !behaviour.omit_kid,
            extra: behaviour.extra_keys.clone(),
        }
    }
}

pub(super) struct Keys {
    pub(super) signing: Arc<SigningKey>,
    /// Published still, for verification.
    old: Vec<Value>,
    /// No longer published, but an `id_token_hint` signed by one is still ours.
    withdrawn: Vec<Value>,
}

impl Keys {
    pub(super) fn new(alg: Alg, first: Option<Arc<SigningKey>>) -> Result<Self, JwsFault> {
        let signing = match first {
            Some(key) if key.alg() == alg => key,
            Some(_) => return Err(JwsFault::KeyUnusable),
            None => Arc::new(SigningKey::generate(alg)?),
        };
        Ok(Self { signing, old: Vec::new(), withdrawn: Vec::new() })
    }

    pub(super) fn rotate(&mut self, alg: Alg, keep_old: bool) -> Result<(), JwsFault> {
        let replaced = std::mem::replace(&mut self.signing, Arc::new(SigningKey::generate(alg)?));
        if keep_old {
            self.old.push(replaced.public_jwk());
        } else {
            self.withdrawn.append(&mut self.old);
            self.withdrawn.push(replaced.public_jwk());
        }
        Ok(())
    }

    /// The published set.
    pub(super) fn jwks(&self, publication: Publication) -> Result<Object, JwsFault> {
        let mut keys = Vec::new();
        let mut trap = trap(self.signing.alg())?.public_jwk();
        if publication.decoys {
            keys.extend(self.decoys()?);
        }
        keys.extend(publication.extra);
        let mut signing = self.signing.public_jwk();
        if !publication.named
            && let Some(members) = signing.as_object_mut()
        {
            members.remove("kid");
        }
        keys.push(signing);
        keys.extend(self.old.iter().cloned());
        if let Some(members) = trap.as_object_mut() {
            members.remove("alg");
        }
        keys.push(trap);
        let mut set = Object::new();
        set.insert("keys".into(), keys.into());
        Ok(set)
    }

    /// Keys that bear the signing key's name and must not be used: for encryption, of another type,
    /// of an unknown type, malformed.
    fn decoys(&self) -> Result<Vec<Value>, JwsFault> {
        let rsa = trap(Alg::Es256)?.public_jwk();
        let kid = self.signing.kid();
        let named = |mut jwk: Value, usage: &str, alg: &str| {
            if let Some(members) = jwk.as_object_mut() {
                members.insert("kid".into(), json!(kid));
                members.insert("use".into(), json!(usage));
                members.insert("alg".into(), json!(alg));
            }
            jwk
        };
        let other = match self.signing.alg() {
            Alg::Es256 => SigningKey::generate(Alg::EdDsa)?,
            _ => SigningKey::generate(Alg::Es256)?,
        };
        let ec = SigningKey::generate(Alg::Es256)?.public_jwk();
        Ok(vec![
            named(rsa, "enc", "RSA-OAEP-256"),
            named(ec, "enc", "ECDH-ES"),
            named(other.public_jwk(), "sig", other.alg().name()),
            json!({"kty": "AKP", "kid": kid, "pub": "AAAA"}),
            json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": kid, "use": "sig"}),
        ])
    }

    /// Every key the server ever signed with.
    pub(super) fn ever(&self) -> Value {
        let mut keys = vec![self.signing.public_jwk()];
        keys.extend(self.old.iter().chain(&self.withdrawn).cloned());
        json!({ "keys": keys })
    }

    pub(super) fn sign(
        &self,
        typ: Option<&str>,
        claims: &Object,
        tamper: Option<&Tamper>,
        named: bool,
    ) -> Result<String, JwsFault> {
        let mut header = self.signing.header(typ);
        if !named {
            header.remove("kid");
        }
        match tamper {
            None => self.signing.sign_jws(&header, claims),
            Some(Tamper::Flip) => Ok(flip_signature(&self.signing.sign_jws(&header, claims)?)),
            Some(Tamper::AlgNone) => {
                header.remove("kid");
                Ok(unsecured(&header, claims))
            }
            Some(Tamper::AlternateAlg) => {
                let trap = trap(self.signing.alg())?;
                trap.sign_jws(&trap.header(typ), claims)
            }
            Some(Tamper::WrongKey) => {
                SigningKey::generate(self.signing.alg())?.sign_jws(&header, claims)
            }
            Some(Tamper::Header(members)) => {
                for (name, value) in members {
                    if value.is_null() {
                        header.remove(name);
                    } else {
                        header.insert(name.clone(), value.clone());
                    }
                }
                self.signing.sign_jws(&header, claims)
            }
            Some(Tamper::Sign { header, key }) => key.sign_jws(header, claims),
            Some(Tamper::Rewrite(rewrite)) => Ok(rewrite(self.signing.sign_jws(&header, claims)?)),
        }
    }
}
