//! Owns the way from an encrypted token to the signed one inside it: strict parsing, then policy,
//! then key choice, then decryption. Must not know: what the signed token means, or who signed it.

use std::fmt;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    DecryptionKeys, JweAlg, JweEnc, content,
    jwe_alg::TAG_BYTES,
    jwk::MAX_KID_CHARS,
    jws::same_media_type,
    key_management::{Agreement, random_key},
    key_set::NoKey,
    strict::{self, JsonFault},
};

/// Longest token accepted, in bytes: room for the longest signed token inside it (JWT-PARSE).
const MAX_BYTES: usize = 32 * 1024;
/// Header members that name a key by other means than `kid`, ask for special processing, or belong
/// to algorithms we do not speak. `zip` is among them because nothing we accept needs compressing,
/// and what is not inflated cannot be a bomb (JWT-3.10, JWT-3.6, RFC 7516 §4.1.13, RFC 7518 §4.7,
/// §4.8).
const FORBIDDEN_MEMBERS: [&str; 13] = [
    "zip", "crit", "b64", "jku", "x5u", "x5c", "x5t", "x5t#S256", "jwk", "p2s", "p2c", "iv", "tag",
];
/// Header members of key agreement only (RFC 7518 §4.6.1).
const AGREEMENT_MEMBERS: [&str; 3] = ["epk", "apu", "apv"];

/// What a client registered for one kind of token: exactly these, not at least these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JwePolicy {
    /// The registered `…_encrypted_response_alg`.
    pub alg: JweAlg,
    /// The registered `…_encrypted_response_enc`.
    pub enc: JweEnc,
}

/// Why an encrypted token was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum JweRejected {
    /// Not five base64url parts, the header is not an object with sound members, or a part has a
    /// length or the ephemeral key a form that the algorithms do not know.
    #[error("the encrypted token is malformed")]
    Malformed,
    /// More than 32 KiB.
    #[error("the encrypted token is too large")]
    TooLarge,
    /// A member occurs twice in the header.
    #[error("a member of the encrypted token's header occurs twice")]
    DuplicateMember,
    /// The header has a member we never honour, or one that does not belong to its `alg`.
    #[error("the encrypted token's header has a forbidden member")]
    HeaderNotAllowed,
    /// `alg` is not the registered one.
    #[error("the encrypted token's key management algorithm is not allowed")]
    AlgNotAllowed,
    /// `enc` is not the registered one.
    #[error("the encrypted token's content encryption algorithm is not allowed")]
    EncNotAllowed,
    /// None of our keys has this `kid` and serves `alg`.
    #[error("none of our keys fits the encrypted token")]
    KeyUnknown,
    /// Without a `kid`, several of our keys fit; none is tried.
    #[error("several of our keys fit the encrypted token")]
    KeyAmbiguous,
    /// `cty` does not announce a JWT, or what was encrypted is not a compact JWS.
    #[error("the encrypted token holds no signed token")]
    NotNested,
    /// The token was not made with our public key, or not left as it was made. Nothing tells which:
    /// there is one reason for every cryptographic failure (RFC 7516 §11.5).
    #[error("the encrypted token cannot be decrypted")]
    DecryptionFailed,
}

impl JweRejected {
    /// Stable machine reason, to be prefixed with the kind of token.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::DuplicateMember => "duplicate_member",
            Self::HeaderNotAllowed => "header_not_allowed",
            Self::AlgNotAllowed => "alg_not_allowed",
            Self::EncNotAllowed => "enc_not_allowed",
            Self::KeyUnknown => "key_unknown",
            Self::KeyAmbiguous => "key_ambiguous",
            Self::NotNested => "not_nested",
            Self::DecryptionFailed => "decryption_failed",
        }
    }
}

/// The compact JWS inside `token`. Nothing in it is believed yet: anybody can encrypt to a public
/// key, so its signature is as necessary as ever (OIDC-3.1.3.7-1, JWT-3.3).
pub fn decrypt(
    token: &str,
    keys: &DecryptionKeys,
    policy: JwePolicy,
) -> Result<Zeroizing<String>, JweRejected> {
    let mut content = Jwe::parse(token, policy)?.open(keys)?;
    if !is_compact_jws(&content) {
        return Err(JweRejected::NotNested);
    }
    String::from_utf8(std::mem::take(&mut *content))
        .map(Zeroizing::new)
        .map_err(|_| JweRejected::NotNested)
}

/// An encrypted token whose header and lengths satisfy the policy.
pub(super) struct Jwe<'t> {
    policy: JwePolicy,
    header: Header,
    /// The header as it was encoded, which the tag authenticates.
    associated: &'t str,
    encrypted_key: Vec<u8>,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

struct Header {
    kid: Option<String>,
    agreement: Option<Agreement>,
}

impl<'t> Jwe<'t> {
    /// Parses a compact JWE: at most 32 KiB, five parts of unpadded canonical base64url, the header
    /// a JSON object without duplicate names, `alg` and `enc` the registered ones, and every part as
    /// long as they demand. No key is touched (JWT-PARSE, JWT-3.1).
    pub(super) fn parse(token: &'t str, policy: JwePolicy) -> Result<Self, JweRejected> {
        if token.len() > MAX_BYTES {
            return Err(JweRejected::TooLarge);
        }
        let mut parts = token.split('.');
        let mut next = || parts.next().ok_or(JweRejected::Malformed);
        let [associated, encrypted_key, iv, ciphertext, tag] =
            [next()?, next()?, next()?, next()?, next()?];
        if parts.next().is_some() {
            return Err(JweRejected::Malformed);
        }
        let decode = |part| strict::base64url(part).ok_or(JweRejected::Malformed);
        let header = Header::parse(&decode(associated)?, policy)?;
        let jwe = Self {
            policy,
            header,
            associated,
            encrypted_key: decode(encrypted_key)?,
            iv: decode(iv)?,
            ciphertext: decode(ciphertext)?,
            tag: decode(tag)?,
        };
        let sound = jwe.iv.len() == policy.enc.iv_bytes()
            && policy.enc.can_have_bytes(jwe.ciphertext.len())
            && jwe.tag.len() == TAG_BYTES;
        if sound { Ok(jwe) } else { Err(JweRejected::Malformed) }
    }

    /// Chooses one key by `kid` and `alg`, and decrypts with it.
    pub(super) fn open(self, keys: &DecryptionKeys) -> Result<Zeroizing<Vec<u8>>, JweRejected> {
        let JwePolicy { alg, enc } = self.policy;
        let (key, unwrapper) =
            keys.select(alg, self.header.kid.as_deref()).map_err(|none| match none {
                NoKey::Unknown => JweRejected::KeyUnknown,
                NoKey::Ambiguous => JweRejected::KeyAmbiguous,
            })?;
        if self.encrypted_key.len() != alg.encrypted_key_bytes(enc, key.material()) {
            return Err(JweRejected::Malformed);
        }
        // Where no key comes out, a random one takes its place, and the token fails where every
        // forged one does: at its tag (RFC 7516 §11.5). What a stopwatch may still tell is whether
        // the OAEP check as a whole passed, which OpenSSL makes in constant time; knowing that much
        // is what OAEP withstands.
        let random = random_key(enc).ok_or(JweRejected::DecryptionFailed)?;
        let content_key = unwrapper
            .unwrap(enc, &self.encrypted_key, self.header.agreement.as_ref())
            .unwrap_or(random);
        let mut text = Zeroizing::new(self.ciphertext);
        let associated = self.associated.as_bytes();
        content::open(enc, &content_key, associated, &self.iv, &self.tag, &mut text)
            .map_err(|_| JweRejected::DecryptionFailed)?;
        Ok(text)
    }
}

impl fmt::Debug for Jwe<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Jwe").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Header {
    fn parse(json: &[u8], policy: JwePolicy) -> Result<Self, JweRejected> {
        let members = strict::object(json).map_err(|fault| match fault {
            JsonFault::DuplicateMember => JweRejected::DuplicateMember,
            _ => JweRejected::Malformed,
        })?;
        if text(&members, "alg")?.ok_or(JweRejected::Malformed)? != policy.alg.name() {
            return Err(JweRejected::AlgNotAllowed);
        }
        if text(&members, "enc")?.ok_or(JweRejected::Malformed)? != policy.enc.name() {
            return Err(JweRejected::EncNotAllowed);
        }
        let has = |name: &&str| members.contains_key(*name);
        if FORBIDDEN_MEMBERS.iter().any(has)
            || !policy.alg.agrees() && AGREEMENT_MEMBERS.iter().any(has)
        {
            return Err(JweRejected::HeaderNotAllowed);
        }
        let kid = text(&members, "kid")?;
        if kid.is_some_and(|kid| kid.chars().count() > MAX_KID_CHARS) {
            return Err(JweRejected::Malformed);
        }
        // "this Header Parameter MUST be present; in this case, the value MUST be `JWT`" (RFC 7519
        // §5.2): without it the header does not promise that a signature is to be found inside.
        if !text(&members, "cty")?.is_some_and(|cty| same_media_type(cty, "JWT")) {
            return Err(JweRejected::NotNested);
        }
        let agreement = policy.alg.agrees().then(|| Agreement::from_header(&members)).transpose();
        Ok(Self {
            kid: kid.map(str::to_owned),
            agreement: agreement.map_err(|_| JweRejected::Malformed)?,
        })
    }
}

/// A string member that may be absent.
fn text<'h>(header: &'h Map<String, Value>, name: &str) -> Result<Option<&'h str>, JweRejected> {
    header.get(name).map(|value| value.as_str().ok_or(JweRejected::Malformed)).transpose()
}

/// Whether this has the form of a compact JWS: three base64url parts, of which only the signature
/// may be empty. Whether it is a good one, its verifier says.
pub(super) fn is_compact_jws(content: &[u8]) -> bool {
    let part = |part: &[u8]| part.iter().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(c));
    let mut parts = content.split(|byte| *byte == b'.');
    matches!(
        (parts.next(), parts.next(), parts.next(), parts.next()),
        (Some(header), Some(payload), Some(signature), None)
            if !header.is_empty()
                && !payload.is_empty()
                && part(header)
                && part(payload)
                && part(signature)
    )
}
