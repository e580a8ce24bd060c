//! Owns the verification of a signed authorization response (JARM).
//! Must not know: transactions, or how keys were fetched.

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    clock::UnixTime,
    jose::{ClaimFault, Claims, JwsAlg, JwsPolicy, KeySet, TypRule, UnverifiedJws},
};

use super::{
    answer::OAuthError,
    claims::{Audience, Window, audience, equal_secrets},
    response::{ResponseParameters, ResponseRejected},
};

/// Most seconds `exp` may lie ahead. JARM §2.1 recommends ten minutes at most; nobody needs an hour.
const MAX_LIFETIME: i64 = 3600;
/// Longest authorization code accepted, in characters.
const MAX_CODE: usize = 4096;
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

/// A response that is proven to be this issuer's answer to this transaction.
#[derive(Debug)]
pub enum AuthorizationResponse {
    /// The user agreed.
    Code(VerifiedCode),
    /// The server or the user said no.
    Error {
        /// Its reason.
        error: OAuthError,
    },
}

/// An authorization code out of a verified response: the only kind that can be redeemed
/// (JARM-2.4-6). Neither `Clone` nor shown by `Debug`.
pub struct VerifiedCode(Zeroizing<String>);

impl VerifiedCode {
    /// The code, for the one token request it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for VerifiedCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("VerifiedCode(..)")
    }
}

/// The issuer a response claims to be from. Only to be compared with the expected one before any
/// key is fetched (JARM-5.1); proves nothing.
pub fn unverified_issuer(response: &str) -> Result<String, ResponseRejected> {
    let jws = UnverifiedJws::parse(response)?;
    issuer(jws.unverified_claims()).map(str::to_owned)
}

/// The `state` a response carries. Only to find the transaction it may belong to; it is compared
/// with that transaction's after the signature has been verified.
pub fn unverified_state(response: &str) -> Result<String, ResponseRejected> {
    let jws = UnverifiedJws::parse(response)?;
    required(jws.unverified_claims(), "state", ResponseRejected::StateMissing).map(str::to_owned)
}

/// Verifies a response against what was asked (JARM §2.4): the signature first, then `iss`, `aud`
/// and the times, then `state`, and only then is the code or error read. An unsigned response is
/// refused even if it is an error: it may be anybody's.
pub fn verify_jarm(
    parameters: &ResponseParameters,
    keys: &KeySet,
    expected: &Expected<'_>,
) -> Result<AuthorizationResponse, ResponseRejected> {
    let response = parameters.response().ok_or(ResponseRejected::Missing)?;
    if INSIDE_ONLY.iter().any(|name| parameters.get(name).is_some()) {
        return Err(ResponseRejected::ExtraParameters);
    }
    // FAPI2-MS-5.4.1-N: an outer `iss` is not needed, but must not contradict.
    if parameters.get("iss").is_some_and(|outer| outer != expected.issuer) {
        return Err(ResponseRejected::IssuerMismatch);
    }
    let policy = JwsPolicy { algs: expected.algs, typ: TypRule::IfPresent(&["JWT"]) };
    let verified = crate::jose::verify(response, keys, &policy)?;
    let claims = verified.claims();
    check_origin(claims, expected)?;
    check_times(claims, expected)?;
    let state = required(claims, "state", ResponseRejected::StateMissing)?;
    if !equal_secrets(state, expected.state) {
        return Err(ResponseRejected::StateMismatch);
    }
    outcome(claims)
}

fn check_origin(claims: &Claims, expected: &Expected<'_>) -> Result<(), ResponseRejected> {
    if issuer(claims)? != expected.issuer {
        return Err(ResponseRejected::IssuerMismatch);
    }
    match audience(claims, expected.client_id) {
        Ok(Audience::Us) => Ok(()),
        Ok(Audience::Others | Audience::UsAndOthers) => Err(ResponseRejected::AudienceMismatch),
        Err(ClaimFault::Missing) => Err(ResponseRejected::AudienceMissing),
        Err(_) => Err(ResponseRejected::ClaimType("aud")),
    }
}

fn check_times(claims: &Claims, expected: &Expected<'_>) -> Result<(), ResponseRejected> {
    let window = Window {
        now: expected.now,
        exp_leeway: expected.exp_leeway,
        future_tolerance: expected.future_tolerance,
    };
    let exp = claims.time("exp").map_err(|fault| match fault {
        ClaimFault::Missing => ResponseRejected::ExpiryMissing,
        _ => ResponseRejected::ClaimType("exp"),
    })?;
    if window.expired(exp) {
        return Err(ResponseRejected::Expired);
    }
    if exp > expected.now.plus(MAX_LIFETIME) {
        return Err(ResponseRejected::LifetimeTooLong);
    }
    for (name, ahead) in
        [("iat", ResponseRejected::IssuedInFuture), ("nbf", ResponseRejected::NotYetValid)]
    {
        let time = claims.optional_time(name).map_err(|_| ResponseRejected::ClaimType(name))?;
        if time.is_some_and(|time| window.ahead(time)) {
            return Err(ahead);
        }
    }
    Ok(())
}

/// Reads the answer itself. Claims are believed from here on.
fn outcome(claims: &Claims) -> Result<AuthorizationResponse, ResponseRejected> {
    if claims.contains("access_token") || claims.contains("id_token") {
        return Err(ResponseRejected::TokenInResponse);
    }
    match (optional(claims, "code")?, optional(claims, "error")?) {
        (Some(_), Some(_)) => Err(ResponseRejected::CodeAndError),
        (None, None) => Err(ResponseRejected::CodeMissing),
        (None, Some(error)) => {
            Ok(AuthorizationResponse::Error { error: OAuthError::from_code(error) })
        }
        (Some(code), None) => {
            let printable =
                !code.is_empty() && code.bytes().all(|c| c.is_ascii_graphic() || c == b' ');
            if !printable || code.len() > MAX_CODE {
                return Err(ResponseRejected::CodeMalformed);
            }
            Ok(AuthorizationResponse::Code(VerifiedCode(Zeroizing::new(code.to_owned()))))
        }
    }
}

fn issuer(claims: &Claims) -> Result<&str, ResponseRejected> {
    required(claims, "iss", ResponseRejected::IssuerMissing)
}

fn required<'c>(
    claims: &'c Claims,
    name: &'static str,
    missing: ResponseRejected,
) -> Result<&'c str, ResponseRejected> {
    optional(claims, name)?.ok_or(missing)
}

fn optional<'c>(
    claims: &'c Claims,
    name: &'static str,
) -> Result<Option<&'c str>, ResponseRejected> {
    claims.optional_string(name).map_err(|_| ResponseRejected::ClaimType(name))
}
