//! Any text as a token: it must not panic the parser, and must never verify under a key of which
//! nobody has the private half in a corpus.
#![no_main]

use std::sync::LazyLock;

use fapi_bff::jose::{JwsAlg, JwsPolicy, KeySet, TypRule, UnverifiedJws, generate, jwks_document};
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let keys = [JwsAlg::Es256, JwsAlg::EdDsa, JwsAlg::Ps256].map(|alg| {
        let jwk = generate(alg).expect("a key").public_jwk;
        // Without `alg` and under one `kid`, so that the choice of key is exercised as well.
        let mut jwk = jwks_document([&jwk])["keys"][0].clone();
        let members = jwk.as_object_mut().expect("a JWK");
        members.remove("alg");
        members.insert("kid".into(), "k".into());
        jwk
    });
    let document = serde_json::json!({ "keys": keys }).to_string();
    KeySet::parse(document.as_bytes()).expect("a key set")
});

fuzz_target!(|text: &str| {
    let policy = JwsPolicy {
        algs: &[JwsAlg::Es256, JwsAlg::Ps256, JwsAlg::EdDsa, JwsAlg::Ed25519, JwsAlg::Rs256],
        typ: TypRule::IfPresent(&["JWT"]),
    };
    if let Ok(token) = UnverifiedJws::parse(text) {
        let _ = token.unverified_claims().audience();
        assert!(token.verify(&KEYS, &policy).is_err());
    }
});
