//! Owns the verification of a signed authorization response (JARM).
//! Must not know: transactions, or how keys were fetched.

use crate::{
    clock::UnixTime,
    jose::{ClaimFault, Claims, JwsAlg, JwsPolicy, KeySet, TypRule, UnverifiedJws},
};

use super::{
    answer::OAuthError,
    claims::{Audience, Window, audience, equal_secrets},
    reason::{rejection, signed_token},
    response::{AuthorizationResponse, ResponseParameters, VerifiedCode},
};

/// Most seconds `exp` may lie ahead. JARM §2.1 recommends ten minutes at most; nobody needs an hour.
const MAX_LIFETIME: i64 = 3600;
/// Parameters that belong inside the signed response.
const INSIDE_ONLY: [&str; 9] = [
    "access_token",
    "code",
    "error",
    "error_description",
    "error_uri",
    "expires_in",
    "id_token",
    "state",
    "token_type",
];

/// What a response must be measured against: the transaction it continues, and the clock.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The transaction's issuer.
    pub issuer: &'a str,
    /// The transaction's client.
    pub client_id: &'a str,
    /// The transaction's state.
    pub state: &'a str,
    /// Allowed algorithms: the pinned one, or the profile's.
    pub algs: &'a [JwsAlg],
    /// The time.
    pub now: UnixTime,
    /// Seconds `exp` may have passed (CLK-1).
    pub exp_leeway: i64,
    /// Seconds `iat` and `nbf` may lie ahead (CLK-1).
    pub future_tolerance: i64,
}

rejection! {
    /// Why a signed authorization response is refused.
    pub enum JarmRejected {
        TooLarge => "jarm.too_large", "the signed response is too large";
        Missing => "jarm.missing", "an unsigned response came where a signed one was asked for (JARM-2.3)";
        ExtraParameters => "jarm.extra_parameters", "response parameters stand beside the signed response (JARM-2.3)";
        Malformed => "jarm.malformed", "the signed response is malformed";
        DuplicateMember => "jarm.duplicate_member", "a member of the signed response occurs twice";
        HeaderNotAllowed => "jarm.header_not_allowed", "the signed response's header has a forbidden member";
        AlgNotAllowed => "jarm.alg_not_allowed", "the signed response's algorithm is not allowed (JARM-3)";
        TypNotAllowed => "jarm.typ_not_allowed", "the token is of another kind (JWT-3.11)";
        KeyUnknown => "jarm.key_unknown", "no known key fits the signed response";
        KeyAmbiguous => "jarm.key_ambiguous", "several keys fit the signed response";
        SignatureInvalid => "jarm.signature_invalid", "the signed response's signature is invalid (JARM-2.4-5)";
        ClaimsMalformed => "jarm.claims_malformed", "the signed response's claims are malformed";
        Encrypted => "jarm.encrypted", "the signed response is encrypted (FAPI2-MS-6.1)";
        IssuerMissing => "jarm.issuer_missing", "iss is missing (JARM-2.1)";
        IssuerMismatch => "jarm.issuer_mismatch", "iss is another issuer (JARM-2.4-2, FAPI2-SP-5.3.3.2-5)";
        AudienceMissing => "jarm.audience_missing", "aud is missing (JARM-2.1)";
        AudienceMismatch => "jarm.audience_mismatch", "aud is not exactly this client (JARM-2.4-3)";
        ExpiryMissing => "jarm.expiry_missing", "exp is missing (JARM-2.1)";
        Expired => "jarm.expired", "exp has passed (JARM-2.4-4)";
        LifetimeTooLong => "jarm.lifetime_too_long", "exp is more than an hour ahead (JARM-2.1)";
        IssuedInFuture => "jarm.issued_in_future", "iat lies ahead of the clock (FAPI2-SP-5.3.2.1-13)";
        NotYetValid => "jarm.not_yet_valid", "nbf lies ahead of the clock (FAPI2-SP-5.3.2.1-13)";
        ClaimType(&'static str) => "jarm.claim_type", "claim {0} has the wrong type";
        StateMissing => "jarm.state_missing", "state is missing (OA-10.12)";
        StateMismatch => "jarm.state_mismatch", "state is not the one sent (OA-10.12)";
        TokenInResponse => "jarm.token_in_response", "a token stands in the response (FAPI2-SP-5.3.3.2-1)";
        CodeAndError => "jarm.code_and_error", "the response has both code and error";
        CodeMissing => "jarm.code_missing", "the response has neither code nor error";
        CodeMalformed => "jarm.code_malformed", "code is empty, too long or not printable";
    } with nested "jarm"
}

signed_token!(JarmRejected);

/// The issuer a response claims to be from. Only to be compared with the expected one before any
/// key is fetched (JARM-5.1); proves nothing.
pub fn unverified_issuer(response: &str) -> Result<String, JarmRejected> {
    let jws = UnverifiedJws::parse(response)?;
    issuer(jws.unverified_claims()).map(str::to_owned)
}

/// The `state` a response carries. Only to find the transaction it may belong to; it is compared
/// with that transaction's after the signature has been verified.
pub fn unverified_state(response: &str) -> Result<String, JarmRejected> {
    let jws = UnverifiedJws::parse(response)?;
    required(jws.unverified_claims(), "state", JarmRejected::StateMissing).map(str::to_owned)
}

/// Verifies a response against what was asked (JARM §2.4): the signature first, then `iss`, `aud`
/// and the times, then `state`, and only then is the code or error read. An unsigned response is
/// refused even if it is an error: it may be anybody's.
///
/// `response` is the signed token of `parameters`, out of the encrypted one if it came in one.
pub fn verify_jarm(
    parameters: &ResponseParameters,
    response: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
) -> Result<AuthorizationResponse, JarmRejected> {
    if INSIDE_ONLY.iter().any(|name| parameters.get(name).is_some()) {
        return Err(JarmRejected::ExtraParameters);
    }
    // FAPI2-MS-5.4.1-N: an outer `iss` is not needed, but must not contradict.
    if parameters.get("iss").is_some_and(|outer| outer != expected.issuer) {
        return Err(JarmRejected::IssuerMismatch);
    }
    let policy = JwsPolicy { algs: expected.algs, typ: TypRule::IfPresent(&["JWT"]) };
    let verified = crate::jose::verify(response, keys, &policy)?;
    let claims = verified.claims();
    check_origin(claims, expected)?;
    check_times(claims, expected)?;
    let state = required(claims, "state", JarmRejected::StateMissing)?;
    if !equal_secrets(state, expected.state) {
        return Err(JarmRejected::StateMismatch);
    }
    outcome(claims)
}

fn check_origin(claims: &Claims, expected: &Expected<'_>) -> Result<(), JarmRejected> {
    if issuer(claims)? != expected.issuer {
        return Err(JarmRejected::IssuerMismatch);
    }
    match audience(claims, expected.client_id) {
        Ok(Audience::Us) => Ok(()),
        Ok(Audience::Others | Audience::UsAndOthers) => Err(JarmRejected::AudienceMismatch),
        Err(ClaimFault::Missing) => Err(JarmRejected::AudienceMissing),
        Err(_) => Err(JarmRejected::ClaimType("aud")),
    }
}

fn check_times(claims: &Claims, expected: &Expected<'_>) -> Result<(), JarmRejected> {
    let window = Window {
        now: expected.now,
        exp_leeway: expected.exp_leeway,
        future_tolerance: expected.future_tolerance,
    };
    let exp = claims.time("exp").map_err(|fault| match fault {
        ClaimFault::Missing => JarmRejected::ExpiryMissing,
        _ => JarmRejected::ClaimType("exp"),
    })?;
    if window.expired(exp) {
        return Err(JarmRejected::Expired);
    }
    if exp > expected.now.plus(MAX_LIFETIME) {
        return Err(JarmRejected::LifetimeTooLong);
    }
    for (name, ahead) in [("iat", JarmRejected::IssuedInFuture), ("nbf", JarmRejected::NotYetValid)]
    {
        let time = claims.optional_time(name).map_err(|_| JarmRejected::ClaimType(name))?;
        if time.is_some_and(|time| window.ahead(time)) {
            return Err(ahead);
        }
    }
    Ok(())
}

/// Reads the answer itself. Claims are believed from here on.
fn outcome(claims: &Claims) -> Result<AuthorizationResponse, JarmRejected> {
    if claims.contains("access_token") || claims.contains("id_token") {
        return Err(JarmRejected::TokenInResponse);
    }
    match (optional(claims, "code")?, optional(claims, "error")?) {
        (Some(_), Some(_)) => Err(JarmRejected::CodeAndError),
        (None, None) => Err(JarmRejected::CodeMissing),
        (None, Some(error)) => {
            Ok(AuthorizationResponse::Error { error: OAuthError::from_code(error) })
        }
        (Some(code), None) => {
            let code = VerifiedCode::read(code).ok_or(JarmRejected::CodeMalformed)?;
            Ok(AuthorizationResponse::Code(code))
        }
    }
}

fn issuer(claims: &Claims) -> Result<&str, JarmRejected> {
    required(claims, "iss", JarmRejected::IssuerMissing)
}

fn required<'c>(
    claims: &'c Claims,
    name: &'static str,
    missing: JarmRejected,
) -> Result<&'c str, JarmRejected> {
    optional(claims, name)?.ok_or(missing)
}

fn optional<'c>(claims: &'c Claims, name: &'static str) -> Result<Option<&'c str>, JarmRejected> {
    claims.optional_string(name).map_err(|_| JarmRejected::ClaimType(name))
}
