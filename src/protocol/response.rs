//! Owns the parameters an authorization response arrives with, and the reasons for refusing one.
//! Must not know: how each response mode is verified.

use std::{collections::BTreeMap, fmt};

use percent_encoding::percent_decode_str;

use crate::jose::JwsRejected;

use super::reason::rejection;

/// Largest response accepted, in bytes of its form encoding.
const MAX_BYTES: usize = 32 * 1024;
/// Most parameters accepted.
const MAX_PARAMETERS: usize = 32;

/// The parameters of an authorization response, each at most once (OA-3.1). Not verified; `Debug`
/// shows names only.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseParameters(BTreeMap<String, String>);

impl ResponseParameters {
    /// Reads `application/x-www-form-urlencoded` text, a query string included.
    pub fn parse_form(form: &[u8]) -> Result<Self, ResponseRejected> {
        if form.len() > MAX_BYTES {
            return Err(ResponseRejected::TooLarge);
        }
        let form = std::str::from_utf8(form).map_err(|_| ResponseRejected::FormMalformed)?;
        let mut parameters = BTreeMap::new();
        for pair in form.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if parameters.len() == MAX_PARAMETERS {
                return Err(ResponseRejected::TooLarge);
            }
            if parameters.insert(decode(name)?, decode(value)?).is_some() {
                return Err(ResponseRejected::DuplicateParameter);
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
fn decode(text: &str) -> Result<String, ResponseRejected> {
    let spaced = text.replace('+', " ");
    let decoded =
        percent_decode_str(&spaced).decode_utf8().map_err(|_| ResponseRejected::FormMalformed)?;
    Ok(decoded.into_owned())
}

impl fmt::Debug for ResponseParameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

rejection! {
    /// Why an authorization response is refused.
    pub enum ResponseRejected {
        TooLarge => "jarm.too_large", "the response is too large";
        FormMalformed => "jarm.form_malformed", "the response's parameters are not UTF-8";
        DuplicateParameter => "jarm.duplicate_parameter", "a response parameter occurs twice (OA-3.1)";
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
    }
}

impl ResponseRejected {
    /// Whether fetching the issuer's keys once more may help (JWK-ROT).
    pub const fn may_be_new_key(&self) -> bool {
        matches!(self, Self::KeyUnknown)
    }
}

impl From<JwsRejected> for ResponseRejected {
    fn from(rejected: JwsRejected) -> Self {
        match rejected {
            JwsRejected::Malformed => Self::Malformed,
            JwsRejected::TooLarge => Self::TooLarge,
            JwsRejected::DuplicateMember => Self::DuplicateMember,
            JwsRejected::HeaderNotAllowed => Self::HeaderNotAllowed,
            JwsRejected::AlgNotAllowed => Self::AlgNotAllowed,
            JwsRejected::TypNotAllowed => Self::TypNotAllowed,
            JwsRejected::KeyUnknown => Self::KeyUnknown,
            JwsRejected::KeyAmbiguous => Self::KeyAmbiguous,
            JwsRejected::SignatureInvalid => Self::SignatureInvalid,
            JwsRejected::ClaimsMalformed => Self::ClaimsMalformed,
            JwsRejected::Encrypted => Self::Encrypted,
        }
    }
}
