//! Owns the parameters an authorization response arrives with, what a verified one amounts to, and the
//! reasons for refusing one. Must not know: how each response mode is verified.

use std::{collections::BTreeMap, fmt};

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::{answer::OAuthError, id_token::IdTokenRejected, jarm::JarmRejected, reason::rejection};

/// Largest response accepted, in bytes of its form encoding.
const MAX_BYTES: usize = 32 * 1024;
/// Most parameters accepted.
const MAX_PARAMETERS: usize = 32;
/// Longest authorization code accepted, in characters.
const MAX_CODE: usize = 4096;

/// The parameters of an authorization response, each at most once (OA-3.1). Not verified; `Debug`
/// shows names only.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseParameters(BTreeMap<String, String>);

impl ResponseParameters {
    /// Reads `application/x-www-form-urlencoded` text, a query string included.
    pub fn parse_form(form: &[u8]) -> Result<Self, ParametersRejected> {
        if form.len() > MAX_BYTES {
            return Err(ParametersRejected::TooLarge);
        }
        let form = std::str::from_utf8(form).map_err(|_| ParametersRejected::FormMalformed)?;
        let mut parameters = BTreeMap::new();
        for pair in form.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if parameters.len() == MAX_PARAMETERS {
                return Err(ParametersRejected::TooLarge);
            }
            if parameters.insert(decode(name)?, decode(value)?).is_some() {
                return Err(ParametersRejected::DuplicateParameter);
            }
        }
        Ok(Self(parameters))
    }

    /// One parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The signed response, if there is one.
    pub fn response(&self) -> Option<&str> {
        self.get("response")
    }
}

/// Decodes one name or value. Bytes that are not UTF-8 are refused, not replaced: two different
/// responses must not read the same.
fn decode(text: &str) -> Result<String, ParametersRejected> {
    let spaced = text.replace('+', " ");
    let decoded =
        percent_decode_str(&spaced).decode_utf8().map_err(|_| ParametersRejected::FormMalformed)?;
    Ok(decoded.into_owned())
}

impl fmt::Debug for ResponseParameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
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
pub struct VerifiedCode {
    code: Zeroizing<String>,
    subject: Option<String>,
}

impl VerifiedCode {
    /// Only for the functions that verify a response. `None` unless it is printable and of a bounded
    /// length.
    pub(super) fn read(code: &str) -> Option<Self> {
        let printable = !code.is_empty() && code.bytes().all(|c| c.is_ascii_graphic() || c == b' ');
        (printable && code.len() <= MAX_CODE)
            .then(|| Self { code: Zeroizing::new(code.to_owned()), subject: None })
    }

    /// The same, vouched for by an ID token about this subject.
    pub(super) fn about(self, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..self }
    }

    /// The code, for the one token request it is for.
    pub fn expose(&self) -> &str {
        &self.code
    }

    /// Whom the ID token beside it was about: the token endpoint's must be about the same
    /// (OIDC-3.3.3.6).
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }
}

impl fmt::Debug for VerifiedCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("VerifiedCode(..)")
    }
}

rejection! {
    /// Why the parameters of a response are refused, before or without a signature.
    pub enum ParametersRejected {
        TooLarge => "response.too_large", "the response is too large";
        FormMalformed => "response.form_malformed", "the response's parameters are not UTF-8";
        DuplicateParameter => "response.duplicate_parameter", "a response parameter occurs twice (OA-3.1)";
        SignedUnasked => "response.signed_unasked", "a signed response came where a plain one was asked for";
        IssuerMissing => "response.issuer_missing", "iss is missing (FAPI2-SP-5.3.3.2-5, ISS-2.4-2)";
        IssuerMismatch => "response.issuer_mismatch", "iss is another issuer (ISS-2.4-1)";
        StateMissing => "response.state_missing", "state is missing (OA-10.12)";
        StateMismatch => "response.state_mismatch", "state is not the one sent (OA-10.12)";
        TokenInResponse => "response.token_in_response", "a token stands in the response that was not asked for (FAPI2-SP-5.3.3.2-1)";
        CodeAndError => "response.code_and_error", "the response has both code and error";
        CodeMissing => "response.code_missing", "the response has neither code nor error";
        CodeMalformed => "response.code_malformed", "code is empty, too long or not printable";
    }
}

/// Why an authorization response is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResponseRejected {
    /// Its parameters.
    #[error(transparent)]
    Parameters(#[from] ParametersRejected),
    /// The signed token they should be in.
    #[error(transparent)]
    Signed(#[from] JarmRejected),
    /// The ID token that should vouch for them.
    #[error(transparent)]
    IdToken(#[from] IdTokenRejected),
}

impl ResponseRejected {
    /// Stable machine reason for audit and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Parameters(rejected) => rejected.reason(),
            Self::Signed(rejected) => rejected.reason(),
            Self::IdToken(rejected) => rejected.reason(),
        }
    }

    /// Whether fetching the issuer's keys once more may help (JWK-ROT).
    pub const fn may_be_new_key(&self) -> bool {
        match self {
            Self::Parameters(_) => false,
            Self::Signed(rejected) => matches!(rejected, JarmRejected::KeyUnknown),
            Self::IdToken(rejected) => rejected.may_be_new_key(),
        }
    }
}
