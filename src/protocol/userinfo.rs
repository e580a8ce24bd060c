//! Owns the judgement of a userinfo answer (OpenID Connect Core §5.3).
//! Must not know: what the claims mean or who sees them.

use serde_json::{Map, Value};

use crate::{
    clock::UnixTime,
    jose::{ClaimFault, Claims, JwsAlg, JwsPolicy, KeySet, TypRule},
};

use super::{
    answer::{Answer, AsAnswer, Malformation},
    claims::{Audience, Window, audience},
    nested::{Encryption, open_nested},
    reason::{rejection, signed_token},
};

/// Members that belong to other kinds of signed token and to no answer about a user: an ID token
/// has a nonce and hashes, the others as for ID tokens (JWT-3.12).
const FOREIGN_MEMBERS: [&str; 10] = [
    "at_hash",
    "c_hash",
    "code_challenge",
    "events",
    "htm",
    "htu",
    "nonce",
    "response_type",
    "s_hash",
    "token_introspection",
];

/// Why a userinfo answer is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UserinfoError {
    /// The server said no, or nothing usable.
    #[error(transparent)]
    Answer(#[from] AsAnswer),
    /// The claims must not be used.
    #[error(transparent)]
    Userinfo(#[from] UserinfoRejected),
}

impl From<Malformation> for UserinfoError {
    fn from(why: Malformation) -> Self {
        Self::Answer(why.into())
    }
}

impl UserinfoError {
    /// Stable machine reason for audit and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Answer(answer) => answer.reason(),
            Self::Userinfo(rejected) => rejected.reason(),
        }
    }
}

rejection! {
    /// Why userinfo claims are not used.
    pub enum UserinfoRejected {
        TokenRefused => "userinfo.token_refused", "the server does not accept the access token (401)";
        ContentType => "userinfo.content_type", "the answer is not the signed one that was registered (OIDC-5.3.2)";
        TooLarge => "userinfo.too_large", "the signed answer is too large";
        Malformed => "userinfo.malformed", "the signed answer is malformed";
        DuplicateMember => "userinfo.duplicate_member", "a member of the signed answer occurs twice";
        HeaderNotAllowed => "userinfo.header_not_allowed", "the signed answer's header has a forbidden member";
        AlgNotAllowed => "userinfo.alg_not_allowed", "the signed answer's algorithm is not the registered one (OIDC-5.3.2-sig)";
        TypNotAllowed => "userinfo.typ_not_allowed", "the token is of another kind (JWT-3.11)";
        KindMismatch => "userinfo.kind_mismatch", "the token has members of another kind (JWT-3.12)";
        KeyUnknown => "userinfo.key_unknown", "no known key fits the signed answer";
        KeyAmbiguous => "userinfo.key_ambiguous", "several keys fit the signed answer";
        SignatureInvalid => "userinfo.signature_invalid", "the signed answer's signature is invalid (OIDC-5.3.2-sig)";
        ClaimsMalformed => "userinfo.claims_malformed", "the signed answer's claims are malformed";
        Encrypted => "userinfo.encrypted", "the signed answer is encrypted, which was not registered";
        ClaimType(&'static str) => "userinfo.claim_type", "claim {0} has the wrong type";
        IssuerMissing => "userinfo.issuer_missing", "iss is missing (OIDC-5.3.2-sig)";
        IssuerMismatch => "userinfo.issuer_mismatch", "iss is another issuer (OIDC-5.3.2-sig)";
        AudienceMissing => "userinfo.audience_missing", "aud is missing (OIDC-5.3.2-sig)";
        AudienceMismatch => "userinfo.audience_mismatch", "aud does not name this client alone (OIDC-5.3.2-sig)";
        Expired => "userinfo.expired", "exp has passed";
        IssuedInFuture => "userinfo.issued_in_future", "iat lies ahead of the clock (FAPI2-SP-5.3.2.1-13)";
        NotYetValid => "userinfo.not_yet_valid", "nbf lies ahead of the clock (FAPI2-SP-5.3.2.1-13)";
        SubjectMissing => "userinfo.subject_missing", "sub is missing";
        SubjectType => "userinfo.subject_type", "sub is not a string";
        SubjectMismatch => "userinfo.subject_mismatch", "sub is not that of the ID token (OIDC-5.3.2)";
    } with nested "userinfo"
}

signed_token!(UserinfoRejected);

/// Judges the answer of the userinfo endpoint: exactly 200, plain JSON, and the `subject` of the
/// verified ID token; otherwise everything in it is discarded (OIDC-5.3.2).
pub fn userinfo(answer: &Answer<'_>, subject: &str) -> Result<Map<String, Value>, UserinfoError> {
    // The challenge stands in a header; the body is often empty (RFC 6750 §3).
    if answer.status == 401 {
        return Err(UserinfoRejected::TokenRefused.into());
    }
    let claims = answer.object(200)?;
    Ok(about(claims, subject)?)
}

fn about(claims: Claims, subject: &str) -> Result<Map<String, Value>, UserinfoRejected> {
    match claims.string("sub") {
        Ok(sub) if sub == subject => Ok(claims.into_map()),
        Ok(_) => Err(UserinfoRejected::SubjectMismatch),
        Err(ClaimFault::Missing) => Err(UserinfoRejected::SubjectMissing),
        Err(_) => Err(UserinfoRejected::SubjectType),
    }
}

/// What a signed userinfo answer must be measured against.
#[derive(Clone, Copy, Debug)]
pub struct UserinfoExpected<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// The client.
    pub client_id: &'a str,
    /// The registered `userinfo_signed_response_alg`.
    pub alg: JwsAlg,
    /// How it is encrypted, if the client registered that it is.
    pub encryption: Option<Encryption<'a>>,
    /// The time.
    pub now: UnixTime,
    /// Seconds `exp` may have passed (CLK-1).
    pub exp_leeway: i64,
    /// Seconds `iat` and `nbf` may lie ahead (CLK-1).
    pub future_tolerance: i64,
}

/// The signed token in an answer of the userinfo endpoint: exactly 200 and `application/jwt`. Plain
/// JSON is refused where a signed answer was registered (OIDC-5.3.2). Nothing in it is believed yet.
pub fn userinfo_token<'a>(answer: &Answer<'a>) -> Result<&'a str, UserinfoError> {
    if answer.status == 401 {
        return Err(UserinfoRejected::TokenRefused.into());
    }
    if answer.status != 200 {
        return Err(match answer.object(200) {
            Err(refusal) => refusal.into(),
            Ok(_) => Malformation::StatusUnexpected.into(),
        });
    }
    let essence = answer.content_type.and_then(|value| value.split(';').next());
    if !essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/jwt")) {
        return Err(UserinfoRejected::ContentType.into());
    }
    std::str::from_utf8(answer.body).map_err(|_| UserinfoRejected::Malformed.into())
}

/// Verifies a signed userinfo answer (OIDC-5.3.2-sig): the signature with the registered algorithm,
/// `iss` and `aud` compulsory, and the `subject` of the verified ID token.
pub fn signed_userinfo(
    token: &str,
    keys: &KeySet,
    subject: &str,
    expected: &UserinfoExpected<'_>,
) -> Result<Map<String, Value>, UserinfoRejected> {
    let token = open_nested(token, expected.encryption.as_ref())?;
    let algs = [expected.alg];
    let policy = JwsPolicy { algs: &algs, typ: TypRule::IfPresent(&["JWT"]) };
    let claims = crate::jose::verify(&token, keys, &policy)?.into_claims();
    if FOREIGN_MEMBERS.iter().any(|name| claims.contains(name)) {
        return Err(UserinfoRejected::KindMismatch);
    }
    let iss = claims.optional_string("iss").map_err(|_| UserinfoRejected::ClaimType("iss"))?;
    if iss.ok_or(UserinfoRejected::IssuerMissing)? != expected.issuer {
        return Err(UserinfoRejected::IssuerMismatch);
    }
    match audience(&claims, expected.client_id) {
        Ok(Audience::Us) => {}
        Ok(Audience::Others | Audience::UsAndOthers) => {
            return Err(UserinfoRejected::AudienceMismatch);
        }
        Err(ClaimFault::Missing) => return Err(UserinfoRejected::AudienceMissing),
        Err(_) => return Err(UserinfoRejected::ClaimType("aud")),
    }
    let window = Window {
        now: expected.now,
        exp_leeway: expected.exp_leeway,
        future_tolerance: expected.future_tolerance,
    };
    let time = |name: &'static str| {
        claims.optional_time(name).map_err(|_| UserinfoRejected::ClaimType(name))
    };
    if time("exp")?.is_some_and(|exp| window.expired(exp)) {
        return Err(UserinfoRejected::Expired);
    }
    if time("iat")?.is_some_and(|iat| window.ahead(iat)) {
        return Err(UserinfoRejected::IssuedInFuture);
    }
    if time("nbf")?.is_some_and(|nbf| window.ahead(nbf)) {
        return Err(UserinfoRejected::NotYetValid);
    }
    about(claims, subject)
}

impl UserinfoRejected {
    /// Whether fetching the issuer's keys once more may help (JWK-ROT).
    pub const fn may_be_new_key(&self) -> bool {
        matches!(self, Self::KeyUnknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Malformation;

    fn judge(
        status: u16,
        content_type: &str,
        body: &str,
    ) -> Result<Map<String, Value>, &'static str> {
        let content_type = Some(content_type);
        let answer = Answer { status, content_type, retry_after: None, body: body.as_bytes() };
        userinfo(&answer, "alice").map_err(|error| error.reason())
    }

    #[test]
    fn claims_of_the_same_subject_are_accepted() {
        let claims = judge(200, "application/json", r#"{"sub":"alice","name":"Älice"}"#).unwrap();
        assert_eq!(claims["name"], "Älice");
    }

    /// OIDC-5.3.2.
    #[test]
    fn claims_of_any_other_subject_are_discarded() {
        let cases = [
            (r#"{"sub":"alice1"}"#, "userinfo.subject_mismatch"),
            (r#"{"sub":"Alice"}"#, "userinfo.subject_mismatch"),
            (r#"{"sub":"alice "}"#, "userinfo.subject_mismatch"),
            (r#"{"sub":""}"#, "userinfo.subject_mismatch"),
            (r#"{"name":"alice"}"#, "userinfo.subject_missing"),
            (r#"{"sub":null}"#, "userinfo.subject_type"),
            (r#"{"sub":["alice"]}"#, "userinfo.subject_type"),
            (r#"{"sub":"alice","sub":"alice"}"#, "as_answer.duplicate_member"),
        ];
        for (body, reason) in cases {
            assert_eq!(judge(200, "application/json", body), Err(reason), "{body}");
        }
    }

    #[test]
    fn a_signed_answer_is_not_taken_for_plain_json() {
        let reason = Malformation::ContentType.reason();
        assert_eq!(judge(200, "application/jwt", r#"{"sub":"alice"}"#), Err(reason));
    }

    #[test]
    fn a_refused_token_is_told_apart_from_an_outage() {
        assert_eq!(judge(401, "text/plain", ""), Err("userinfo.token_refused"));
        assert_eq!(judge(503, "text/plain", ""), Err("as.unavailable"));
        assert_eq!(judge(302, "text/plain", ""), Err("as_answer.redirect"));
    }
}
