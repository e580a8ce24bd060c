//! Owns the calls into josekit for encryption: how a content encryption key is agreed, wrapped and
//! unwrapped. Must not know: tokens, policies, which key a token means.
//!
//! josekit's compact parser is not used at all: it inflates `zip` without bound and panics on an
//! empty initialization vector. Its key management is sound once it is handed what was checked
//! here: an encrypted key of exactly the right length (it panics on a short one), an ephemeral key
//! on the curve, and header members of our own making. It wipes nothing it computes in between.

use aws_lc_rs::rand;
use josekit::{
    JoseError, JoseHeader as _,
    jwe::{
        ECDH_ES, ECDH_ES_A128KW, ECDH_ES_A256KW, JweContentEncryption, JweDecrypter, JweEncrypter,
        JweHeader, RSA_OAEP, RSA_OAEP_256, enc,
    },
    jwk::Jwk,
};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    KeyRejected,
    engine::{PrivateMembers, Secret, private_jwk, wipe},
    jwe_alg::{JweAlg, JweEnc},
    jwk::{self, Material},
    strict,
};

/// Most bytes of `apu` and of `apv`, which only feed a hash.
const MAX_PARTY_BYTES: usize = 256;

/// The checked header members of a key agreement (RFC 7518 §4.6.1).
pub(super) struct Agreement(JweHeader);

impl Agreement {
    /// Reads `epk`, `apu` and `apv`. The ephemeral key must be a public key on P-256, in every
    /// respect: a point off the curve would betray the private key bit by bit (JWT-3.4).
    pub(super) fn from_header(header: &Map<String, Value>) -> Result<Self, KeyRejected> {
        let epk = header.get("epk").and_then(Value::as_object).ok_or(KeyRejected::Malformed)?;
        let mut agreement = JweHeader::new();
        let mut set = |name: &str, value: Value| {
            agreement.set_claim(name, Some(value)).map_err(|_| KeyRejected::Malformed)
        };
        set("epk", Value::Object(ephemeral(epk)?.to_map()))?;
        for name in ["apu", "apv"] {
            let Some(party) = jwk::text(header, name)? else { continue };
            if strict::base64url(party).is_none_or(|bytes| bytes.len() > MAX_PARTY_BYTES) {
                return Err(KeyRejected::Malformed);
            }
            set(name, party.into())?;
        }
        Ok(Self(agreement))
    }
}

/// A public key on P-256; whatever else the JWK says does not count.
fn ephemeral(epk: &Map<String, Value>) -> Result<Material, KeyRejected> {
    if jwk::has_private_members(epk) {
        return Err(KeyRejected::PrivateMembers);
    }
    let kty = jwk::text(epk, "kty")?.ok_or(KeyRejected::Malformed)?;
    match Material::from_members(epk, kty)? {
        key @ Material::P256 { .. } => Ok(key),
        _ => Err(KeyRejected::UnsupportedType),
    }
}

/// A content encryption key from the operating system's randomness.
pub(super) fn random_key(enc: JweEnc) -> Option<Secret> {
    let mut key = Zeroizing::new(vec![0; enc.key_bytes()]);
    rand::fill(&mut key).ok()?;
    Some(key)
}

/// Recovers content encryption keys with one private key and one algorithm.
pub(super) struct Unwrapper {
    alg: JweAlg,
    inner: Box<dyn JweDecrypter>,
}

impl Unwrapper {
    /// Checks that both halves belong together by sending a key through them.
    pub(super) fn new(
        key: &Material,
        private: &PrivateMembers,
        alg: JweAlg,
    ) -> Result<Self, KeyRejected> {
        let inner = build_decrypter(key, private, alg).map_err(|_| KeyRejected::Unusable)?;
        let unwrapper = Self { alg, inner };
        let probe = JweEnc::A256Gcm;
        let wrapped = Wrapper::new(key, alg)?.wrap(probe).ok_or(KeyRejected::Unusable)?;
        let agreement =
            alg.agrees().then(|| Agreement::from_header(&wrapped.header)).transpose()?;
        match unwrapper.unwrap(probe, &wrapped.encrypted_key, agreement.as_ref()) {
            Some(key) if key == wrapped.key => Ok(unwrapper),
            _ => Err(KeyRejected::PairMismatch),
        }
    }

    pub(super) const fn alg(&self) -> JweAlg {
        self.alg
    }

    /// The content encryption key, or none. The caller has checked the length of `encrypted_key`.
    pub(super) fn unwrap(
        &self,
        enc: JweEnc,
        encrypted_key: &[u8],
        agreement: Option<&Agreement>,
    ) -> Option<Secret> {
        let nothing = JweHeader::new();
        let header = agreement.map_or(&nothing, |agreement| &agreement.0);
        let encrypted_key = (!encrypted_key.is_empty()).then_some(encrypted_key);
        let key = self.inner.decrypt(encrypted_key, content_encryption(enc), header).ok()?;
        let key = Zeroizing::new(key.into_owned());
        (key.len() == enc.key_bytes()).then_some(key)
    }
}

/// A content encryption key and what its recipient needs to find it.
pub(super) struct Wrapped {
    pub(super) key: Secret,
    pub(super) encrypted_key: Vec<u8>,
    /// `epk`, or nothing.
    pub(super) header: Map<String, Value>,
}

/// Makes content encryption keys for one public key and one algorithm.
pub(super) struct Wrapper(Box<dyn JweEncrypter>);

impl Wrapper {
    pub(super) fn new(key: &Material, alg: JweAlg) -> Result<Self, KeyRejected> {
        if !JweAlg::of(key).contains(&alg) {
            return Err(KeyRejected::AlgMismatch);
        }
        build_encrypter(key, alg).map(Self).map_err(|_| KeyRejected::Unusable)
    }

    pub(super) fn wrap(&self, enc: JweEnc) -> Option<Wrapped> {
        let nothing = JweHeader::new();
        let mut header = JweHeader::new();
        let agreed = self
            .0
            .compute_content_encryption_key(content_encryption(enc), &nothing, &mut header)
            .ok()?
            .map(|key| Zeroizing::new(key.into_owned()));
        let key = match agreed {
            Some(key) => key,
            None => random_key(enc)?,
        };
        let encrypted_key = self.0.encrypt(&key, &nothing, &mut header).ok()?.unwrap_or_default();
        let mut members = Map::new();
        if let Some(epk) = header.claim("epk") {
            let epk = ephemeral(epk.as_object()?).ok()?;
            members.insert("epk".into(), Value::Object(epk.to_map()));
        }
        Some(Wrapped { key, encrypted_key, header: members })
    }
}

/// josekit asks these for no more than their name and the length of their key.
const fn content_encryption(enc: JweEnc) -> &'static dyn JweContentEncryption {
    match enc {
        JweEnc::A128Gcm => &enc::A128GCM,
        JweEnc::A256Gcm => &enc::A256GCM,
        JweEnc::A128CbcHs256 => &enc::A128CBC_HS256,
    }
}

fn build_decrypter(
    key: &Material,
    private: &PrivateMembers,
    alg: JweAlg,
) -> Result<Box<dyn JweDecrypter>, JoseError> {
    let jwk = Jwk::from_map(private_jwk(key, private))?;
    let decrypter: Result<Box<dyn JweDecrypter>, JoseError> = match alg {
        JweAlg::RsaOaep => RSA_OAEP.decrypter_from_jwk(&jwk).map(|made| Box::new(made) as _),
        JweAlg::RsaOaep256 => RSA_OAEP_256.decrypter_from_jwk(&jwk).map(|made| Box::new(made) as _),
        JweAlg::EcdhEs => ECDH_ES.decrypter_from_jwk(&jwk).map(|made| Box::new(made) as _),
        JweAlg::EcdhEsA128Kw => {
            ECDH_ES_A128KW.decrypter_from_jwk(&jwk).map(|made| Box::new(made) as _)
        }
        JweAlg::EcdhEsA256Kw => {
            ECDH_ES_A256KW.decrypter_from_jwk(&jwk).map(|made| Box::new(made) as _)
        }
    };
    wipe(&mut jwk.into());
    decrypter
}

fn build_encrypter(key: &Material, alg: JweAlg) -> Result<Box<dyn JweEncrypter>, JoseError> {
    let jwk = Jwk::from_map(key.to_map())?;
    Ok(match alg {
        JweAlg::RsaOaep => Box::new(RSA_OAEP.encrypter_from_jwk(&jwk)?),
        JweAlg::RsaOaep256 => Box::new(RSA_OAEP_256.encrypter_from_jwk(&jwk)?),
        JweAlg::EcdhEs => Box::new(ECDH_ES.encrypter_from_jwk(&jwk)?),
        JweAlg::EcdhEsA128Kw => Box::new(ECDH_ES_A128KW.encrypter_from_jwk(&jwk)?),
        JweAlg::EcdhEsA256Kw => Box::new(ECDH_ES_A256KW.encrypter_from_jwk(&jwk)?),
    })
}
