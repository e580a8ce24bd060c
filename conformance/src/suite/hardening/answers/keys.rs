//! Key sets that must not verify anything, and those that must.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};

use super::super::{
    change::{Change, all, edit, rewrite},
    refusal::{Refusal, Wrong, response, taken},
};
use crate::{
    as_double::{Target, edits},
    jws::{Alg, Object, SigningKey, peek},
    suite::module::Module,
};

const S: Target = Target::Jwks;
const CLAUSES: &[&str] = &["JWK-FETCH", "FAPI2-SP-5.4.1-2/3"];
/// Bytes of a 2048-bit modulus.
const MODULUS: usize = 256;

pub(super) fn modules() -> Vec<Module> {
    [unfit_keys(), unfit_sets(), taken_sets()].into_iter().flatten().collect()
}

/// The signing key is published with a change, and no other key.
fn only(change: impl Fn(&mut Object) + Send + Sync + 'static) -> Change {
    edit(S, move |set| {
        let keys = set.get("keys").and_then(Value::as_array);
        let signing = keys.and_then(|keys| keys.first()).and_then(Value::as_object).cloned();
        let mut key = signing.unwrap_or_default();
        change(&mut key);
        set.insert("keys".to_owned(), json!([key]));
    })
}

/// Other keys are published beside the server's own.
fn beside(more: impl Fn(&str) -> Vec<Value> + Send + Sync + 'static) -> Change {
    edit(S, move |set| {
        if let Some(keys) = set.get_mut("keys").and_then(Value::as_array_mut) {
            let kid = keys.first().and_then(|key| key.get("kid")).and_then(Value::as_str);
            let more = more(kid.unwrap_or_default());
            keys.splice(0..0, more);
        }
    })
}

fn unfit_keys() -> Vec<Module> {
    let row = |id, does, change: Change| {
        response(&Wrong(id, does, CLAUSES), Refusal::rejected("jarm.key_unknown"), change)
    };
    vec![
        row(
            "jwks-with-private-key",
            "The server publishes its private key: anybody may have signed.",
            only(edits::set("d", json!("AAAA"))),
        ),
        row(
            "jwks-key-off-the-curve",
            "The published point is not on the curve.",
            only(edits::set("y", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))),
        ),
        row(
            "jwks-key-for-encryption",
            "The signing key is published for encryption.",
            only(edits::set("use", json!("enc"))),
        ),
        row(
            "jwks-key-for-signing-only",
            "The published key's key_ops do not admit verifying.",
            only(edits::set("key_ops", json!(["sign"]))),
        ),
        row(
            "jwks-key-for-another-algorithm",
            "The signing key is published for another algorithm.",
            only(edits::set("alg", json!("RS256"))),
        ),
        row(
            "jwks-key-of-unknown-type",
            "The signing key is published under a type that nobody knows.",
            only(edits::set("kty", json!("AKP"))),
        ),
        row(
            "jwks-key-of-exponent-one",
            "An RSA key with exponent 1 is published, under which anybody can sign PS256, and somebody does.",
            exponent_one(),
        ),
    ]
}

fn unfit_sets() -> Vec<Module> {
    let row = |id, does, refusal, change: Change| {
        response(&Wrong(id, does, &["JWK-FETCH", "JWK-SEL"]), refusal, change)
    };
    let not_json = Refusal::wrong("as_answer.not_json");
    vec![
        row(
            "jwks-ambiguous",
            "Two keys of the right kind bear the signing key's name.",
            Refusal::rejected("jarm.key_ambiguous"),
            beside(|kid| {
                let key = SigningKey::generate(Alg::Es256).ok();
                key.map(|key| key.with_kid(kid).public_jwk()).into_iter().collect()
            }),
        ),
        row(
            "jwks-without-keys",
            "The key set is empty.",
            Refusal::rejected("jarm.key_unknown"),
            edit(S, edits::set("keys", json!([]))),
        ),
        row(
            "jwks-keys-as-object",
            "The key set's keys stand in an object.",
            not_json,
            edit(S, edits::set("keys", json!({}))),
        ),
        row(
            "jwks-with-too-many-keys",
            "The key set has more than a hundred keys.",
            not_json,
            beside(|_| vec![json!({"kty": "oct"}); 100]),
        ),
        row(
            "jwks-uri-in-the-neighbourhood",
            "The metadata says that the key set is at a link-local address.",
            Refusal::outage("as.address_not_allowed", "2"),
            // Without a zone nothing can be sent there, even by a client that would.
            edit(Target::Metadata, edits::set("jwks_uri", json!("https://[fe80::1]/jwks"))),
        ),
    ]
}

fn taken_sets() -> Vec<Module> {
    vec![taken(
        &Wrong(
            "jwks-with-unusable-keys",
            "Before the right key stand others: malformed, unknown, weak, private, symmetric.",
            &["JWK-FETCH", "JWK-SEL"],
        ),
        all(vec![
            beside(|kid| {
                vec![
                    json!(null),
                    json!(7),
                    json!({}),
                    json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": kid}),
                    json!({"kty": "RSA", "n": B64.encode([0xff; 128]), "e": "AQAB", "kid": kid}),
                    json!({"kty": "oct", "k": "AAAA", "kid": kid}),
                    json!({"kty": "AKP", "pub": "AAAA", "kid": kid}),
                    json!({"kty": 7, "kid": [kid]}),
                ]
            }),
            edit(S, edits::set("unknown", json!([1]))),
        ]),
    )]
}

/// Publishes an RSA key with exponent 1 and signs every response under it: as m¹ = m, the padded
/// message is its own signature, and nobody needs a private key.
fn exponent_one() -> Change {
    const KID: &str = "exponent-one";
    // Any odd number of 2048 bits will do.
    let modulus = [0xff; MODULUS];
    let key =
        json!({"kty": "RSA", "n": B64.encode(modulus), "e": "AQ", "kid": KID, "alg": "PS256"});
    let header = json!({"alg": "PS256", "kid": KID, "typ": "JWT"});
    all(vec![
        beside(move |_| vec![key.clone()]),
        rewrite(Target::Jarm, move |token| {
            let Ok((_, claims)) = peek(&token) else { return token };
            let part = |value: &Value| B64.encode(value.to_string());
            let input = format!("{}.{}", part(&header), part(&Value::Object(claims)));
            format!("{input}.{}", B64.encode(padded(input.as_bytes())))
        }),
    ])
}

/// EMSA-PSS with SHA-256 and a salt of 32 zeros for a 2048-bit modulus (RFC 8017 §9.1.1).
fn padded(message: &[u8]) -> Vec<u8> {
    let salt = [0; 32];
    let hashed = digest(&SHA256, message);
    let hash = digest(&SHA256, &[&[0; 8][..], hashed.as_ref(), &salt].concat());
    let zeros = [0; MODULUS - 2 * 32 - 2];
    let block = [&zeros[..], &[1], &salt].concat();
    let mask = (0_u32..).flat_map(|counter| {
        let seed = [hash.as_ref(), &counter.to_be_bytes()].concat();
        digest(&SHA256, &seed).as_ref().to_vec()
    });
    let mut masked: Vec<u8> = block.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    if let Some(first) = masked.first_mut() {
        *first &= 0x7f;
    }
    [&masked[..], hash.as_ref(), &[0xbc]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_padding_has_the_form_that_verifiers_expect() {
        let padded = padded(b"message");
        assert_eq!(padded.len(), MODULUS);
        assert_eq!((padded[0] & 0x80, padded[255]), (0, 0xbc));
        assert_eq!(padded, super::padded(b"message"));
        assert_ne!(padded, super::padded(b"another"));
    }
}
