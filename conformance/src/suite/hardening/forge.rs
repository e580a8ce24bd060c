//! Tokens that no signing library would make: a key that the authorization server really publishes,
//! used on exactly the bytes it is given. It must not know what the tokens are for.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64},
};
use serde_json::{Value, json};

use super::change::{Change, change};
use crate::{
    as_double::{Tamper, Target},
    jws::{Alg, Object, SigningKey, peek},
};

/// Start of the DER of every P-256 public key (RFC 5480): what follows is the point.
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// A token to be made again.
pub(super) struct Draft<'a> {
    key: &'a SigningKey,
    /// Its header, naming the key.
    pub(super) header: Object,
    /// Its claims.
    pub(super) claims: Object,
}

impl Draft<'_> {
    /// Header and claims as exactly this text, rightly signed.
    pub(super) fn signed(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let signature = self.key.sign_bytes(input.as_bytes()).unwrap_or_default();
        format!("{input}.{}", B64.encode(signature))
    }

    /// The header as text.
    pub(super) fn header_text(&self) -> String {
        Value::Object(self.header.clone()).to_string()
    }

    /// The claims as text.
    pub(super) fn claims_text(&self) -> String {
        Value::Object(self.claims.clone()).to_string()
    }

    /// The same claims under HS256 with this secret: right, for a verifier that takes a public key
    /// for a secret (RFC 8725 §2.1).
    pub(super) fn maced(&self, secret: &[u8]) -> String {
        let mut header = self.header.clone();
        header.insert("alg".to_owned(), json!("HS256"));
        let header = B64.encode(Value::Object(header).to_string());
        let input = format!("{header}.{}", B64.encode(self.claims_text()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        format!("{input}.{}", B64.encode(tag))
    }

    /// The key as it is published.
    pub(super) fn public_jwk(&self) -> Value {
        self.key.public_jwk()
    }

    /// The same key as PEM.
    pub(super) fn public_pem(&self) -> String {
        let jwk = self.public_jwk();
        let bytes = |name: &str| {
            let text = jwk.get(name).and_then(Value::as_str).unwrap_or_default();
            B64.decode(text).unwrap_or_default()
        };
        let der = [&P256_SPKI[..], &bytes("x"), &bytes("y")].concat();
        let body = STANDARD.encode(der);
        let (first, rest) = body.split_at_checked(64).unwrap_or((&body, ""));
        format!("-----BEGIN PUBLIC KEY-----\n{first}\n{rest}\n-----END PUBLIC KEY-----\n")
    }
}

/// Every token of this kind is made again by a key that the server publishes beside its own.
pub(super) fn signed_anew(
    target: Target,
    make: impl Fn(&Draft<'_>) -> String + Send + Sync + 'static,
) -> Change {
    let make = Arc::new(make);
    let published = change(move |behaviour| {
        let Ok(key) = SigningKey::generate(Alg::Es256) else { return };
        let jwk = key.public_jwk();
        behaviour.edit(Target::Jwks, move |set| {
            if let Some(keys) = set.get_mut("keys").and_then(Value::as_array_mut) {
                keys.push(jwk.clone());
            }
        });
        let make = Arc::clone(&make);
        let again = move |token: String| {
            let Ok((header, claims)) = peek(&token) else { return token };
            let typ = header.get("typ").and_then(Value::as_str);
            make(&Draft { header: key.header(typ), key: &key, claims })
        };
        behaviour.tamper(target, Tamper::Rewrite(Arc::new(again)));
    });
    published.for_a_fresh_bff()
}

/// A header member occurs twice, the right one last.
pub(super) fn duplicate_header(target: Target, member: &'static str) -> Change {
    signed_anew(target, move |draft| {
        draft.signed(&doubled(&draft.header_text(), member), &draft.claims_text())
    })
}

/// A claim occurs twice, the right one last.
pub(super) fn duplicate_claim(target: Target, claim: &'static str) -> Change {
    signed_anew(target, move |draft| {
        draft.signed(&draft.header_text(), &doubled(&draft.claims_text(), claim))
    })
}

fn doubled(object: &str, member: &str) -> String {
    let rest = object.strip_prefix('{').unwrap_or_default();
    format!("{{\"{member}\":\"https://evil.example/\",{rest}")
}

/// The two numbers of an ECDSA signature as DER, as most libraries make it and no JWS has it.
pub(super) fn der_signature(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let body = [integer(r), integer(s)].concat();
    [&[0x30, length(&body)][..], &body].concat()
}

fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    let positive = digits.first().is_some_and(|first| first & 0x80 == 0);
    let body = if positive { digits.to_vec() } else { [&[0], digits].concat() };
    [&[0x02, length(&body)][..], &body].concat()
}

fn length(body: &[u8]) -> u8 {
    u8::try_from(body.len()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    use super::*;

    fn key_and_point() -> (SigningKey, Vec<u8>) {
        let key = SigningKey::generate(Alg::Es256).unwrap();
        let jwk = key.public_jwk();
        let part = |name: &str| B64.decode(jwk[name].as_str().unwrap()).unwrap();
        let point = [vec![4], part("x"), part("y")].concat();
        (key, point)
    }

    #[test]
    fn der_signatures_verify_as_der() {
        let (key, point) = key_and_point();
        for n in 0..200 {
            let message = [n];
            let der = der_signature(&key.sign_bytes(&message).unwrap());
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point).verify(&message, &der).unwrap();
        }
    }

    #[test]
    fn what_is_signed_anew_verifies_with_the_published_key() {
        let (key, _) = key_and_point();
        let claims = json!({"iss": "a"}).as_object().cloned().unwrap();
        let draft = Draft { header: key.header(None), key: &key, claims };
        let token = draft.signed(&draft.header_text(), &draft.claims_text());
        let set = json!({"keys": [draft.public_jwk()]});
        crate::jws::verify(&token, &set, &[Alg::Es256]).unwrap();
        assert_eq!(doubled(r#"{"a":"b"}"#, "a"), r#"{"a":"https://evil.example/","a":"b"}"#);
        assert!(draft.public_pem().lines().all(|line| line.len() <= 64));
        assert_eq!(draft.maced(b"secret"), draft.maced(b"secret"));
        assert_ne!(draft.maced(b"secret"), draft.maced(b"another"));
    }
}
