//! Owns the way from a string to verified claims: strict parsing, then policy, then key choice,
//! then the signature. Must not know: what the claims mean, or the time.

use std::fmt;

use serde_json::Value;

use super::{
    Claims, ClaimsRejected, JwsAlg, KeySet,
    jwk::MAX_KID_CHARS,
    key_set::NoKey,
    strict::{self, JsonFault},
};

/// Longest token accepted, in bytes (JWT-PARSE).
const MAX_BYTES: usize = 16 * 1024;
/// Header members that name a key, ask for special processing, or belong to encryption
/// (JWT-3.10, JWT-3.6, RFC 7515 §4.1.11, RFC 7797).
const FORBIDDEN_MEMBERS: [&str; 10] =
    ["jku", "x5u", "x5c", "x5t", "x5t#S256", "jwk", "crit", "b64", "zip", "enc"];

/// What `typ` must be (JWT-3.11). Values compare without regard to letter case or to the prefix
/// `application/` (RFC 7515 §4.1.9).
#[derive(Clone, Copy, Debug)]
pub enum TypRule {
    /// It must be there and be this.
    Required(&'static str),
    /// It may be absent; if there, it must be one of these.
    IfPresent(&'static [&'static str]),
}

impl TypRule {
    fn admits(self, typ: Option<&str>) -> bool {
        match (self, typ) {
            (Self::Required(_), None) => false,
            (Self::Required(wanted), Some(typ)) => same_media_type(wanted, typ),
            (Self::IfPresent(_), None) => true,
            (Self::IfPresent(list), Some(typ)) => {
                list.iter().any(|wanted| same_media_type(wanted, typ))
            }
        }
    }
}

/// What one kind of token from one issuer must satisfy before its claims are read.
#[derive(Clone, Copy, Debug)]
pub struct JwsPolicy<'a> {
    /// Allowed algorithms by exact header name; list both Ed25519 names to allow both (JWT-3.1).
    pub algs: &'a [JwsAlg],
    /// Required or admitted `typ`.
    pub typ: TypRule,
}

/// Why a token was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum JwsRejected {
    /// Not three base64url parts, or the header is not an object with sound `alg`, `kid`, `typ`.
    #[error("the token is malformed")]
    Malformed,
    /// More than 16 KiB.
    #[error("the token is too large")]
    TooLarge,
    /// A member occurs twice in the header or the claims.
    #[error("a member of the token occurs twice")]
    DuplicateMember,
    /// The header has a member we never honour.
    #[error("the token's header has a forbidden member")]
    HeaderNotAllowed,
    /// `alg` is not on the allow-list.
    #[error("the token's algorithm is not allowed")]
    AlgNotAllowed,
    /// `typ` is not the kind of token expected here.
    #[error("the token's type is not allowed")]
    TypNotAllowed,
    /// No key fits.
    #[error("no known key fits the token")]
    KeyUnknown,
    /// Several keys fit; none is tried.
    #[error("several keys fit the token")]
    KeyAmbiguous,
    /// The signature is not the key's.
    #[error("the token's signature is invalid")]
    SignatureInvalid,
    /// The payload is not an acceptable JSON object.
    #[error("the token's claims are malformed")]
    ClaimsMalformed,
    /// Five parts: an encrypted token where a signed one is expected (JWT-3.3).
    #[error("the token is encrypted")]
    Encrypted,
}

impl JwsRejected {
    /// Stable machine reason, to be prefixed with the kind of token.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::DuplicateMember => "duplicate_member",
            Self::HeaderNotAllowed => "header_not_allowed",
            Self::AlgNotAllowed => "alg_not_allowed",
            Self::TypNotAllowed => "typ_not_allowed",
            Self::KeyUnknown => "key_unknown",
            Self::KeyAmbiguous => "key_ambiguous",
            Self::SignatureInvalid => "signature_invalid",
            Self::ClaimsMalformed => "claims_malformed",
            Self::Encrypted => "encrypted",
        }
    }
}

/// A token that parses; nothing in it is believed yet. `Debug` shows no value of it.
pub struct UnverifiedJws<'a> {
    header: Header,
    claims: Claims,
    signing_input: &'a str,
    signature: Vec<u8>,
}

struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
}

impl<'a> UnverifiedJws<'a> {
    /// Parses a compact JWS: at most 16 KiB, three parts of unpadded canonical base64url, header
    /// and claims JSON objects without duplicate names (JWT-PARSE, JWT-BIS-3.13/3.14).
    pub fn parse(token: &'a str) -> Result<Self, JwsRejected> {
        if token.len() > MAX_BYTES {
            return Err(JwsRejected::TooLarge);
        }
        let mut parts = token.split('.');
        let (header, payload, signature) = match (parts.next(), parts.next(), parts.next()) {
            (Some(header), Some(payload), Some(signature)) => match parts.count() {
                0 => (header, payload, signature),
                2 => return Err(JwsRejected::Encrypted),
                _ => return Err(JwsRejected::Malformed),
            },
            _ => return Err(JwsRejected::Malformed),
        };
        let (signing_input, _) = token.rsplit_once('.').ok_or(JwsRejected::Malformed)?;
        let decode = |part| strict::base64url(part).ok_or(JwsRejected::Malformed);
        let header = Header::parse(&decode(header)?)?;
        let payload = decode(payload)?;
        let signature = decode(signature)?;
        let claims = Claims::parse(&payload).map_err(|rejected| match rejected {
            ClaimsRejected::DuplicateMember => JwsRejected::DuplicateMember,
            _ => JwsRejected::ClaimsMalformed,
        })?;
        Ok(Self { header, claims, signing_input, signature })
    }

    /// The header's `alg` as it stands.
    pub fn alg(&self) -> &str {
        &self.header.alg
    }

    /// The header's `kid`: lookup text from a stranger (JWT-3.10).
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The claims, unverified: only to choose whose keys to ask (JARM-5.1), never to believe.
    pub fn unverified_claims(&self) -> &Claims {
        &self.claims
    }

    /// Verifies the token. The allow-lists come first, so a key that names no `alg` cannot widen
    /// them; then one key is chosen by `kid`, type, curve, `alg`, `use` and `key_ops`; then its
    /// signature is checked (FAPI2-SP-5.4.3, JWT-3.1, JWK-SEL).
    pub fn verify(self, keys: &KeySet, policy: &JwsPolicy<'_>) -> Result<VerifiedJws, JwsRejected> {
        let alg = JwsAlg::from_name(&self.header.alg)
            .filter(|alg| policy.algs.contains(alg))
            .ok_or(JwsRejected::AlgNotAllowed)?;
        if !policy.typ.admits(self.header.typ.as_deref()) {
            return Err(JwsRejected::TypNotAllowed);
        }
        let verifier = keys.select(alg, self.kid()).map_err(|none| match none {
            NoKey::Unknown => JwsRejected::KeyUnknown,
            NoKey::Ambiguous => JwsRejected::KeyAmbiguous,
        })?;
        if !verifier.verify(self.signing_input.as_bytes(), &self.signature) {
            return Err(JwsRejected::SignatureInvalid);
        }
        Ok(VerifiedJws { alg, kid: self.header.kid, claims: self.claims })
    }
}

impl fmt::Debug for UnverifiedJws<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UnverifiedJws").finish_non_exhaustive()
    }
}

impl Header {
    fn parse(json: &[u8]) -> Result<Self, JwsRejected> {
        let members = strict::object(json).map_err(|fault| match fault {
            JsonFault::DuplicateMember => JwsRejected::DuplicateMember,
            _ => JwsRejected::Malformed,
        })?;
        if FORBIDDEN_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err(JwsRejected::HeaderNotAllowed);
        }
        let text = |name| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(JwsRejected::Malformed),
        };
        let alg = text("alg")?.ok_or(JwsRejected::Malformed)?;
        let kid = text("kid")?;
        if kid.as_ref().is_some_and(|kid| kid.chars().count() > MAX_KID_CHARS) {
            return Err(JwsRejected::Malformed);
        }
        Ok(Self { alg, kid, typ: text("typ")? })
    }
}

/// A token whose signature, algorithm and type are accepted. Its claims are still to be judged.
#[derive(Clone, Debug)]
pub struct VerifiedJws {
    alg: JwsAlg,
    kid: Option<String>,
    claims: Claims,
}

impl VerifiedJws {
    /// The claims its signer made.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The claims, by value.
    pub fn into_claims(self) -> Claims {
        self.claims
    }

    /// The algorithm it was verified with; also the one for `at_hash` and its kin.
    pub const fn alg(&self) -> JwsAlg {
        self.alg
    }

    /// The `kid` of its header.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

/// [`UnverifiedJws::parse`] and [`UnverifiedJws::verify`] in one step.
pub fn verify(
    token: &str,
    keys: &KeySet,
    policy: &JwsPolicy<'_>,
) -> Result<VerifiedJws, JwsRejected> {
    UnverifiedJws::parse(token)?.verify(keys, policy)
}

pub(super) fn same_media_type(a: &str, b: &str) -> bool {
    short_media_type(a).eq_ignore_ascii_case(short_media_type(b))
}

/// Without `application/` (RFC 7515 §4.1.9).
fn short_media_type(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
}
