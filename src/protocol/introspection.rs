//! Owns the judgement of a signed introspection answer (RFC 9701): the authorization server's word on
//! an access token, in a form that can be handed on. Must not know: to whom.

use serde_json::{Map, Value};

use crate::{
    clock::UnixTime,
    jose::{ClaimFault, JwsAlg, JwsPolicy, KeySet, TypRule},
};

use super::{
    answer::{Answer, AsAnswer, Malformation},
    claims::{Audience, Window, audience},
    reason::{rejection, signed_token},
    token::{BoundTo, Token},
};

/// Media type asked for, and demanded of the answer (INT-9701-4).
pub const INTROSPECTION_MEDIA_TYPE: &str = "application/token-introspection+jwt";
/// Most seconds an answer may be old: when it comes, for it was asked for just now, and when it is
/// handed on, for it vouches for a token that may have been revoked since (INT-2, SES-7.4).
const MAX_AGE: i64 = 60;

/// Why an introspection answer is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IntrospectionError {
    /// The server said no, or nothing usable.
    #[error(transparent)]
    Answer(#[from] AsAnswer),
    /// The answer must not be used.
    #[error(transparent)]
    Introspection(#[from] IntrospectionRejected),
}

impl IntrospectionError {
    /// Stable machine reason for audit and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Answer(answer) => answer.reason(),
            Self::Introspection(rejected) => rejected.reason(),
        }
    }
}

rejection! {
    /// Why an introspection answer is refused.
    pub enum IntrospectionRejected {
        ContentType => "introspection.content_type", "the answer is not the signed one that was asked for (FAPI2-MS-5.5.2, INT-9701-4)";
        TooLarge => "introspection.too_large", "the answer is too large";
        Malformed => "introspection.malformed", "the answer is malformed";
        DuplicateMember => "introspection.duplicate_member", "a member of the answer occurs twice";
        HeaderNotAllowed => "introspection.header_not_allowed", "the answer's header has a forbidden member";
        AlgNotAllowed => "introspection.alg_not_allowed", "the answer's algorithm is not allowed";
        TypNotAllowed => "introspection.typ_not_allowed", "the token is of another kind (INT-9701-5)";
        KeyUnknown => "introspection.key_unknown", "no known key fits the answer";
        KeyAmbiguous => "introspection.key_ambiguous", "several keys fit the answer";
        SignatureInvalid => "introspection.signature_invalid", "the answer's signature is invalid (FAPI2-MS-5.5.2)";
        ClaimsMalformed => "introspection.claims_malformed", "the answer's claims are malformed";
        Encrypted => "introspection.encrypted", "the answer is encrypted";
        ClaimType(&'static str) => "introspection.claim_type", "claim {0} has the wrong type";
        IssuerMissing => "introspection.issuer_missing", "iss is missing (INT-9701-5)";
        IssuerMismatch => "introspection.issuer_mismatch", "iss is another issuer (INT-9701-5)";
        AudienceMissing => "introspection.audience_missing", "aud is missing (INT-9701-5)";
        AudienceMismatch => "introspection.audience_mismatch", "aud does not name this client alone (INT-9701-5)";
        IssuedAtMissing => "introspection.issued_at_missing", "iat is missing (INT-9701-5)";
        IssuedInFuture => "introspection.issued_in_future", "iat lies ahead of the clock";
        Stale => "introspection.stale", "iat is not of just now";
        StateOutside => "introspection.state_outside", "the token's state stands outside `token_introspection` (INT-9701-5)";
        StateMissing => "introspection.state_missing", "`token_introspection` is missing (INT-9701-5)";
        Inactive => "introspection.inactive", "the access token is not active (INT-2)";
        ClientMismatch => "introspection.client_mismatch", "the access token is another client's";
        BindingMismatch => "introspection.binding_mismatch", "the access token is bound to something else (MTLS-3, DPOP-5)";
        Expired => "introspection.expired", "the access token has ended";
    }
}

impl IntrospectionRejected {
    /// Whether fetching the issuer's keys once more may help (JWK-ROT).
    pub const fn may_be_new_key(&self) -> bool {
        matches!(self, Self::KeyUnknown)
    }
}

signed_token!(IntrospectionRejected);

/// What a signed introspection answer must be measured against.
#[derive(Clone, Copy, Debug)]
pub struct IntrospectionExpected<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// The client, who asked.
    pub client_id: &'a str,
    /// Allowed algorithms.
    pub algs: &'a [JwsAlg],
    /// What the access token is bound to.
    pub bound_to: BoundTo<'a>,
    /// The time.
    pub now: UnixTime,
    /// Seconds `exp` may have passed (CLK-1).
    pub exp_leeway: i64,
    /// Seconds `iat` may lie ahead (CLK-1).
    pub future_tolerance: i64,
}

/// A signed answer that says of an access token that it is active.
#[derive(Clone, Debug)]
pub struct Introspected {
    /// The answer, word for word.
    pub jwt: Token,
    /// Until when it may be handed on: a minute after it was made, or the end of the access token.
    pub expires: Option<UnixTime>,
}

/// The signed token in an answer: exactly 200 and its own media type. Plain JSON is refused under
/// every profile: it is nothing that could be handed on (FAPI2-MS-5.5.2). Nothing in it is believed yet.
pub fn introspection_token<'a>(answer: &Answer<'a>) -> Result<&'a str, IntrospectionError> {
    if answer.status != 200 {
        return Err(match answer.object(200) {
            Err(refusal) => refusal.into(),
            Ok(_) => AsAnswer::from(Malformation::StatusUnexpected).into(),
        });
    }
    let essence = answer.content_type.and_then(|value| value.split(';').next());
    let signed = |essence: &str| essence.trim().eq_ignore_ascii_case(INTROSPECTION_MEDIA_TYPE);
    if !essence.is_some_and(signed) {
        return Err(IntrospectionRejected::ContentType.into());
    }
    std::str::from_utf8(answer.body).map_err(|_| IntrospectionRejected::Malformed.into())
}

/// Verifies a signed introspection answer (INT-9701-5): its type first, for no other token of the
/// server's may pass for it; the signature; `iss`, `aud` and `iat`; then the state of the access token,
/// of which only `active: true` counts (INT-2).
pub fn verify_introspection(
    token: &str,
    keys: &KeySet,
    expected: &IntrospectionExpected<'_>,
) -> Result<Introspected, IntrospectionRejected> {
    use IntrospectionRejected as Why;
    let policy =
        JwsPolicy { algs: expected.algs, typ: TypRule::Required("token-introspection+jwt") };
    let claims = crate::jose::verify(token, keys, &policy)?.into_claims();
    let iss = claims.optional_string("iss").map_err(|_| Why::ClaimType("iss"))?;
    if iss.ok_or(Why::IssuerMissing)? != expected.issuer {
        return Err(Why::IssuerMismatch);
    }
    match audience(&claims, expected.client_id) {
        Ok(Audience::Us) => {}
        Ok(Audience::Others | Audience::UsAndOthers) => return Err(Why::AudienceMismatch),
        Err(ClaimFault::Missing) => return Err(Why::AudienceMissing),
        Err(_) => return Err(Why::ClaimType("aud")),
    }
    let window = Window {
        now: expected.now,
        exp_leeway: expected.exp_leeway,
        future_tolerance: expected.future_tolerance,
    };
    let iat = claims.optional_time("iat").map_err(|_| Why::ClaimType("iat"))?;
    let iat = iat.ok_or(Why::IssuedAtMissing)?;
    if window.ahead(iat) {
        return Err(Why::IssuedInFuture);
    }
    if expected.now.since(iat) > MAX_AGE {
        return Err(Why::Stale);
    }
    if claims.contains("active") {
        return Err(Why::StateOutside);
    }
    let state = match claims.get("token_introspection") {
        None => return Err(Why::StateMissing),
        Some(Value::Object(state)) => state,
        Some(_) => return Err(Why::ClaimType("token_introspection")),
    };
    let ends = active_until(state, expected)?;
    if ends.is_some_and(|ends| window.expired(ends)) {
        return Err(Why::Expired);
    }
    let limit = iat.plus(MAX_AGE);
    let expires = Some(ends.map_or(limit, |ends| ends.min(limit)));
    Ok(Introspected { jwt: Token::new(token.to_owned()), expires })
}

fn active_until(
    state: &Map<String, Value>,
    expected: &IntrospectionExpected<'_>,
) -> Result<Option<UnixTime>, IntrospectionRejected> {
    use IntrospectionRejected as Why;
    match state.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) | None => return Err(Why::Inactive),
        Some(_) => return Err(Why::ClaimType("active")),
    }
    match state.get("client_id") {
        None => {}
        Some(Value::String(client)) if client == expected.client_id => {}
        Some(Value::String(_)) => return Err(Why::ClientMismatch),
        Some(_) => return Err(Why::ClaimType("client_id")),
    }
    // Whoever verifies the answer takes possession to be proved for what stands in it.
    if let Some(cnf) = state.get("cnf") {
        expected.bound_to.confirmed_by(Some(cnf)).map_err(|_| Why::BindingMismatch)?;
    }
    let exp = state.get("exp").map(|exp| exp.as_i64().ok_or(Why::ClaimType("exp"))).transpose()?;
    Ok(exp.map(UnixTime::new))
}
