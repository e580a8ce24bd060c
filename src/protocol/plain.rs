//! Owns the verification of authorization responses that are not signed as a whole: a bare code with
//! its issuer beside it (RFC 9207), and a code with an ID token that signs it (OpenID Connect Core
//! §3.3.2). Must not know: transactions, or how keys were fetched.

use crate::jose::KeySet;

use super::{
    answer::OAuthError,
    claims::equal_secrets,
    id_token::{Detached, IdTokenExpected, verify_front_id_token},
    response::{
        AuthorizationResponse, ParametersRejected, ResponseParameters, ResponseRejected,
        VerifiedCode,
    },
};

/// Parameters that would bring a token through the browser.
const TOKENS: [&str; 3] = ["access_token", "expires_in", "token_type"];

/// What a plain response must be measured against: the transaction it continues.
#[derive(Clone, Copy, Debug)]
pub struct PlainExpected<'a> {
    /// The transaction's issuer.
    pub issuer: &'a str,
    /// The transaction's state.
    pub state: &'a str,
    /// Whether `iss` must be there: the profile says so or the server announces it (ISS-2.4-2). One
    /// that is there must be the issuer's in any case.
    pub iss_required: bool,
}

/// Verifies a response that is a bare code or an error: the issuer before anything else
/// (FAPI2-SP-5.3.3.2-5), then the state, and only then is the rest read.
pub fn verify_plain(
    parameters: &ResponseParameters,
    expected: &PlainExpected<'_>,
) -> Result<AuthorizationResponse, ParametersRejected> {
    check_origin(parameters, expected)?;
    if parameters.get("id_token").is_some() {
        return Err(ParametersRejected::TokenInResponse);
    }
    match outcome(parameters)? {
        Outcome::Error(error) => Ok(AuthorizationResponse::Error { error }),
        Outcome::Code(code, _) => Ok(AuthorizationResponse::Code(code)),
    }
}

/// Verifies a response that is a code and an ID token (FAPI1-ADV-5.2.3.1-3/4): the ID token is judged
/// in full before the code counts, and vouches for code and state by their hashes. An error comes
/// without one; it ends the login whoever sent it, for its state is this browser's.
pub fn verify_hybrid(
    parameters: &ResponseParameters,
    keys: &KeySet,
    nonce: &str,
    expected: &PlainExpected<'_>,
    id_token: &IdTokenExpected<'_>,
) -> Result<AuthorizationResponse, ResponseRejected> {
    check_origin(parameters, expected)?;
    let (code, text) = match outcome(parameters)? {
        Outcome::Error(error) => return Ok(AuthorizationResponse::Error { error }),
        Outcome::Code(code, text) => (code, text),
    };
    let detached = Detached { code: text, state: expected.state };
    let token = parameters.get("id_token");
    let verified = verify_front_id_token(token, keys, nonce, detached, id_token)?;
    Ok(AuthorizationResponse::Code(code.about(verified.subject())))
}

fn check_origin(
    parameters: &ResponseParameters,
    expected: &PlainExpected<'_>,
) -> Result<(), ParametersRejected> {
    match parameters.get("iss") {
        Some(iss) if iss != expected.issuer => return Err(ParametersRejected::IssuerMismatch),
        None if expected.iss_required => return Err(ParametersRejected::IssuerMissing),
        _ => {}
    }
    if parameters.response().is_some() {
        return Err(ParametersRejected::SignedUnasked);
    }
    let state = parameters.get("state").ok_or(ParametersRejected::StateMissing)?;
    if equal_secrets(state, expected.state) {
        Ok(())
    } else {
        Err(ParametersRejected::StateMismatch)
    }
}

enum Outcome<'p> {
    Code(VerifiedCode, &'p str),
    Error(OAuthError),
}

fn outcome(parameters: &ResponseParameters) -> Result<Outcome<'_>, ParametersRejected> {
    if TOKENS.iter().any(|name| parameters.get(name).is_some()) {
        return Err(ParametersRejected::TokenInResponse);
    }
    match (parameters.get("code"), parameters.get("error")) {
        (Some(_), Some(_)) => Err(ParametersRejected::CodeAndError),
        (None, None) => Err(ParametersRejected::CodeMissing),
        (None, Some(error)) => Ok(Outcome::Error(OAuthError::from_code(error))),
        (Some(text), None) => {
            let code = VerifiedCode::read(text).ok_or(ParametersRejected::CodeMalformed)?;
            Ok(Outcome::Code(code, text))
        }
    }
}
