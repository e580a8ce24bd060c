//! Owns the judgement of a userinfo answer (OpenID Connect Core §5.3).
//! Must not know: what the claims mean or who sees them.

use serde_json::{Map, Value};

use crate::jose::ClaimFault;

use super::{
    answer::{Answer, AsAnswer},
    reason::rejection,
};

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
        SubjectMissing => "userinfo.subject_missing", "sub is missing";
        SubjectType => "userinfo.subject_type", "sub is not a string";
        SubjectMismatch => "userinfo.subject_mismatch", "sub is not that of the ID token (OIDC-5.3.2)";
    }
}

/// Judges the answer of the userinfo endpoint: exactly 200, plain JSON, and the `subject` of the
/// verified ID token; otherwise everything in it is discarded (OIDC-5.3.2).
pub fn userinfo(answer: &Answer<'_>, subject: &str) -> Result<Map<String, Value>, UserinfoError> {
    // The challenge stands in a header; the body is often empty (RFC 6750 §3).
    if answer.status == 401 {
        return Err(UserinfoRejected::TokenRefused.into());
    }
    let claims = answer.object(200)?;
    match claims.string("sub") {
        Ok(sub) if sub == subject => Ok(claims.into_map()),
        Ok(_) => Err(UserinfoRejected::SubjectMismatch.into()),
        Err(ClaimFault::Missing) => Err(UserinfoRejected::SubjectMissing.into()),
        Err(_) => Err(UserinfoRejected::SubjectType.into()),
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
