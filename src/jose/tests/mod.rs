//! Tests of `jose`: what must be refused, what must be accepted, and the properties behind both.

mod decryption;
mod decryption_keys;
mod encryption;
mod josekit_faults;
mod keys;
mod properties;
mod refusals;
mod round_trips;
mod vectors;

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::*;

/// Every algorithm a FAPI profile allows.
const FAPI: &[JwsAlg] = &[JwsAlg::Ps256, JwsAlg::Es256, JwsAlg::EdDsa, JwsAlg::Ed25519];
const POLICY: JwsPolicy<'static> = JwsPolicy { algs: FAPI, typ: TypRule::IfPresent(&["JWT"]) };

static ES256: LazyLock<GeneratedKey> = LazyLock::new(|| generate(JwsAlg::Es256).unwrap());
static EDDSA: LazyLock<GeneratedKey> = LazyLock::new(|| generate(JwsAlg::EdDsa).unwrap());
static RSA: LazyLock<GeneratedKey> = LazyLock::new(|| generate(JwsAlg::Ps256).unwrap());

/// The shared key of the type `alg` needs, as a signer for `alg`.
fn signer(alg: JwsAlg) -> SoftwareSigner {
    let key = match alg {
        JwsAlg::Es256 => &ES256,
        JwsAlg::Ps256 | JwsAlg::Rs256 => &RSA,
        JwsAlg::EdDsa | JwsAlg::Ed25519 => &EDDSA,
    };
    SoftwareSigner::from_pem(key.pkcs8_pem.as_bytes(), Some(alg)).unwrap()
}

/// A set as its owner publishes it.
fn published(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// The set with all three shared keys, each naming its `kid` and `alg`.
fn all_keys() -> KeySet {
    let keys = [&ES256.public_jwk, &EDDSA.public_jwk, &RSA.public_jwk];
    KeySet::parse(jwks_document(keys).to_string().as_bytes()).unwrap()
}

/// `jwk` with members replaced, or removed where the new value is null.
fn with(jwk: &Value, changes: Value) -> Value {
    let mut jwk = jwk.clone();
    let members = jwk.as_object_mut().unwrap();
    for (name, value) in object(changes) {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    jwk
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("not an object") };
    map
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token over exactly this header and payload text, signed with `signer` whatever they say.
fn raw_token(signer: &dyn Signer, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let input = format!("{}.{}", encode(header), encode(payload));
    let signature = signer.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", encode(signature))
}

/// An otherwise good ES256 token over this header and payload text.
fn es256_token(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    raw_token(&signer(JwsAlg::Es256), header, payload)
}

/// A good ES256 token.
fn good_token() -> String {
    let claims = object(json!({ "iss": "https://as.example", "exp": 1_700_000_000_i64 }));
    sign(&signer(JwsAlg::Es256), Some("JWT"), &claims).unwrap()
}

/// The shared keys for decryption, each serving every algorithm of its type.
static RING: LazyLock<DecryptionKeys> = LazyLock::new(|| {
    let key = |key: &GeneratedKey| DecryptionKey::from_pem(key.pkcs8_pem.as_bytes(), None).unwrap();
    DecryptionKeys::new(vec![key(&RSA), key(&ES256)]).unwrap()
});

/// Every pair of algorithms a client may register.
fn policies() -> impl Iterator<Item = JwePolicy> {
    let encs = |alg| JweEnc::ALL.map(|enc| JwePolicy { alg, enc });
    JweAlg::ALL.into_iter().flat_map(encs)
}

/// The public half of the shared key that serves `alg`.
fn recipient(alg: JweAlg) -> EncryptionJwk {
    RING.published().find(|key| key.fits(alg)).unwrap().clone()
}

/// The header of a good token but for `epk`, with changes as in [`with`].
fn jwe_header(policy: JwePolicy, changes: Value) -> Value {
    let kid = recipient(policy.alg).kid().map(str::to_owned);
    let header = json!({
        "alg": policy.alg.name(), "enc": policy.enc.name(), "kid": kid, "cty": "JWT",
    });
    with(&header, changes)
}

/// A token to the shared key over any content. `header` turns the header, `epk` included, into the
/// text that is sent; the rest is right for it and for `policy`.
fn raw_jwe(
    policy: JwePolicy,
    content: impl AsRef<[u8]>,
    header: impl FnOnce(Value) -> String,
) -> String {
    let JwePolicy { alg, enc } = policy;
    let made = key_management::Wrapper::new(recipient(alg).material(), alg).unwrap();
    let wrapped = made.wrap(enc).unwrap();
    let protected = encode(header(jwe_header(policy, Value::Object(wrapped.header))));
    let mut text = content.as_ref().to_vec();
    let sealed = content::seal(enc, &wrapped.key, protected.as_bytes(), &mut text).unwrap();
    let parts = [wrapped.encrypted_key, sealed.iv, text, sealed.tag].map(encode);
    format!("{protected}.{}", parts.join("."))
}

/// A token over a good signed one, with changes to its header as in [`with`].
fn jwe_with(policy: JwePolicy, changes: Value) -> String {
    raw_jwe(policy, good_token(), |header| with(&header, changes).to_string())
}

fn refused(token: &str) -> JwsRejected {
    verify(token, &all_keys(), &POLICY).unwrap_err()
}
