//! Tests of the rules about signed tokens and metadata: every claim missing, wrong, of the wrong
//! type, duplicated, and at the seconds around its boundary.

mod cross_kind;
mod endpoints;
mod id_token;
mod introspection;
mod jarm;
mod logout_token;
mod metadata;
mod nested;
mod plain;
mod userinfo;

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::{
    clock::UnixTime,
    jose::{GeneratedKey, JwsAlg, KeySet, Signer as _, SoftwareSigner, generate},
};

const ISSUER: &str = "https://as.example/t/";
const CLIENT: &str = "bff";
const STATE: &str = "state-0123456789-0123456789-0123456789-01234";
const NONCE: &str = "nonce-0123456789-0123456789-0123456789-0123";
const NOW: i64 = 1_800_000_000;
const LEEWAY: i64 = 10;
const TOLERANCE: i64 = 30;
const FAPI: &[JwsAlg] = &[JwsAlg::Ps256, JwsAlg::Es256, JwsAlg::EdDsa, JwsAlg::Ed25519];

static ES256: LazyLock<GeneratedKey> = LazyLock::new(|| generate(JwsAlg::Es256).unwrap());
static EDDSA: LazyLock<GeneratedKey> = LazyLock::new(|| generate(JwsAlg::EdDsa).unwrap());
static PS256: LazyLock<GeneratedKey> = LazyLock::new(|| generate(JwsAlg::Ps256).unwrap());
static TRAP: LazyLock<GeneratedKey> = LazyLock::new(|| generate(JwsAlg::Ps256).unwrap());
static STRANGER: LazyLock<GeneratedKey> = LazyLock::new(|| generate(JwsAlg::Es256).unwrap());

/// The server's published keys. The last is a trap: an RSA key without `alg`, really published,
/// that signs with RS256.
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let mut trap = TRAP.public_jwk.to_json();
    trap.as_object_mut().unwrap().remove("alg");
    let keys =
        [ES256.public_jwk.to_json(), EDDSA.public_jwk.to_json(), PS256.public_jwk.to_json(), trap];
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
});

fn now() -> UnixTime {
    UnixTime::new(NOW)
}

fn signer(key: &GeneratedKey, alg: JwsAlg) -> SoftwareSigner {
    SoftwareSigner::from_pem(key.pkcs8_pem.as_bytes(), Some(alg)).unwrap()
}

/// A good token over these claims.
fn token(claims: &Value) -> String {
    token_by(&ES256, JwsAlg::Es256, None, claims)
}

fn token_by(key: &GeneratedKey, alg: JwsAlg, typ: Option<&str>, claims: &Value) -> String {
    crate::jose::sign(&signer(key, alg), typ, claims.as_object().unwrap()).unwrap()
}

/// A well-signed token over exactly this payload text, for what a JSON value cannot express.
fn token_over(payload: &str) -> String {
    let signer = signer(&ES256, JwsAlg::Es256);
    let header = json!({"alg": "ES256", "kid": signer.kid()}).to_string();
    let input = format!("{}.{}", encode(header), encode(payload));
    let signature = signer.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", encode(signature))
}

/// Tokens over good claims whose protection is broken, with the reason each must give.
fn badly_protected(claims: &Value) -> Vec<(String, &'static str)> {
    let good = token(claims);
    let (input, signature) = good.rsplit_once('.').unwrap();
    let payload = input.split_once('.').unwrap().1;
    let kid = signer(&ES256, JwsAlg::Es256).kid().to_owned();
    let header = |value: Value| encode(value.to_string());
    let flipped: Vec<u8> =
        URL_SAFE_NO_PAD.decode(signature).unwrap().iter().map(|byte| byte ^ 0x5a).collect();
    let mut edited = claims.clone();
    edited["extra"] = true.into();
    let with_alg =
        |alg: &str| format!("{}.{payload}.{signature}", header(json!({"alg": alg, "kid": kid})));
    let hmac = {
        use aws_lc_rs::hmac;
        let input = format!("{}.{payload}", header(json!({"alg": "HS256", "kid": kid})));
        let secret = ES256.public_jwk.to_json().to_string();
        let tag =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), input.as_bytes());
        format!("{input}.{}", encode(tag))
    };
    vec![
        (format!("{}.{payload}.", header(json!({"alg": "none"}))), "alg_not_allowed"),
        (format!("{}.{payload}.", header(json!({"alg": "none", "kid": kid}))), "alg_not_allowed"),
        (with_alg("none"), "alg_not_allowed"),
        (with_alg("None"), "alg_not_allowed"),
        (with_alg("nOnE"), "alg_not_allowed"),
        (with_alg("es256"), "alg_not_allowed"),
        (with_alg("ES384"), "alg_not_allowed"),
        (hmac, "alg_not_allowed"),
        (token_by(&TRAP, JwsAlg::Rs256, None, claims), "alg_not_allowed"),
        (format!("{input}.{}", encode(flipped)), "signature_invalid"),
        (format!("{input}."), "signature_invalid"),
        (
            format!(
                "{}.{}.{signature}",
                input.split_once('.').unwrap().0,
                encode(edited.to_string())
            ),
            "signature_invalid",
        ),
        (token_by(&STRANGER, JwsAlg::Es256, None, claims), "key_unknown"),
        (
            format!(
                "{}.{payload}.{signature}",
                header(json!({"alg": "ES256", "kid": kid, "jku": "https://evil.example"}))
            ),
            "header_not_allowed",
        ),
        (
            format!(
                "{}.{payload}.{signature}",
                header(json!({"alg": "ES256", "kid": kid, "crit": []}))
            ),
            "header_not_allowed",
        ),
        (format!("{good}.AA.AA"), "encrypted"),
        (format!("{good}.AA"), "malformed"),
        (format!("{good}="), "malformed"),
        (format!(" {good}"), "malformed"),
        (String::new(), "malformed"),
        ("..".to_owned(), "malformed"),
    ]
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `claims` with one member replaced.
fn with(claims: Value, name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims;
    claims[name] = value.into();
    claims
}

/// `claims` with one member removed.
fn without(claims: Value, name: &str) -> Value {
    let mut claims = claims;
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

/// The JSON text of `claims` with `name` a second time, in front, as `value`.
fn with_duplicate(claims: &Value, name: &str, value: &Value) -> String {
    let text = claims.to_string();
    format!("{{\"{name}\":{value},{}", text.strip_prefix('{').unwrap())
}

/// Values close to `text` that are not it.
fn near_misses(text: &str) -> Vec<String> {
    let mut misses = vec![
        format!("{text}1"),
        format!("{text}/"),
        format!(" {text}"),
        format!("{text} "),
        text.to_uppercase(),
        text.get(..text.len() - 1).unwrap().to_owned(),
        String::new(),
    ];
    misses.retain(|miss| miss != text);
    misses
}

/// JSON values that are not strings.
fn not_strings() -> Vec<Value> {
    vec![json!(null), json!(1), json!(true), json!([]), json!(["x"]), json!({})]
}

/// JSON values that are not whole seconds.
fn not_times() -> Vec<Value> {
    vec![
        json!(null),
        json!(NOW.to_string()),
        json!(1_800_000_100.5),
        json!(1.8e9),
        json!(-1),
        json!(253_402_300_800_i64),
        json!(u64::MAX),
        json!(true),
        json!([NOW]),
        json!({}),
    ]
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}
