//! Owns how an authorization server's HTTP answer is read: the JSON object of a success, or the
//! way it said no. Must not know: which endpoint answered, or what happens next.

use crate::jose::{Claims, ClaimsRejected};

use super::reason::rejection;

/// Largest body believed, in bytes.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// An HTTP answer as far as the rules look at it.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// Status code.
    pub status: u16,
    /// `Content-Type`, if it was sent exactly once.
    pub content_type: Option<&'a str>,
    /// `Retry-After`, if it was sent exactly once.
    pub retry_after: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
}

/// How a server said no, or failed to say anything usable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AsAnswer {
    /// A well-formed OAuth error (OA-5.2).
    #[error("the authorization server answered {status} with error {}", .error.as_str())]
    Rejected {
        /// Status code, 4xx.
        status: u16,
        /// What it gave as the reason.
        error: OAuthError,
    },
    /// 5xx or 429: the server cannot answer now. Says nothing about the request.
    #[error("the authorization server is unavailable ({status})")]
    Unavailable {
        /// Status code.
        status: u16,
        /// Seconds it asked to wait, at most a day.
        retry_after: Option<u64>,
    },
    /// An answer that breaks the rules of the endpoint.
    #[error("the authorization server's answer is unusable: {why}")]
    Malformed {
        /// Which rule.
        why: Malformation,
    },
}

impl AsAnswer {
    /// Every reason of the first two kinds; the third has those of [`Malformation`].
    pub const REASONS: &'static [&'static str] = &["as.rejected", "as.unavailable"];

    /// Stable machine reason for audit and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "as.rejected",
            Self::Unavailable { .. } => "as.unavailable",
            Self::Malformed { why } => why.reason(),
        }
    }

    /// Whether this is the given OAuth error.
    pub fn is(&self, code: &str) -> bool {
        matches!(self, Self::Rejected { error, .. } if error.as_str() == code)
    }
}

impl From<Malformation> for AsAnswer {
    fn from(why: Malformation) -> Self {
        Self::Malformed { why }
    }
}

rejection! {
    /// Which rule of the endpoint an answer breaks.
    pub enum Malformation {
        Redirect => "as_answer.redirect", "a redirect, which is never followed";
        StatusUnexpected => "as_answer.status_unexpected", "a status this endpoint does not have";
        ContentType => "as_answer.content_type", "the content type is not application/json";
        TooLarge => "as_answer.too_large", "the body is too large";
        NotJson => "as_answer.not_json", "the body is not a JSON object";
        DuplicateMember => "as_answer.duplicate_member", "a JSON member occurs twice (OA-3.1)";
        MemberMissing(&'static str) => "as_answer.member_missing", "member {0} is missing";
        MemberType(&'static str) => "as_answer.member_type", "member {0} has the wrong type";
        MemberValue(&'static str) => "as_answer.member_value", "member {0} has a value that is not allowed";
    }
}

/// An error code of the OAuth registry, or `other`. Descriptions are dropped: they are text from
/// elsewhere that belongs into no page, log or metric (OA-5.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OAuthError(&'static str);

impl OAuthError {
    const OTHER: Self = Self("other");
    const REGISTERED: &'static [&'static str] = &[
        "access_denied",
        "account_selection_required",
        "consent_required",
        "insufficient_user_authentication",
        "interaction_required",
        "invalid_authorization_details",
        "invalid_client",
        "invalid_dpop_proof",
        "invalid_grant",
        "invalid_request",
        "invalid_request_object",
        "invalid_request_uri",
        "invalid_scope",
        "invalid_target",
        "invalid_token",
        "login_required",
        "registration_not_supported",
        "request_not_supported",
        "request_uri_not_supported",
        "server_error",
        "slow_down",
        "temporarily_unavailable",
        "unauthorized_client",
        "unmet_authentication_requirements",
        "unsupported_grant_type",
        "unsupported_response_type",
        "unsupported_token_type",
        "use_dpop_nonce",
    ];

    /// The registered code with exactly this name, otherwise `other`.
    pub fn from_code(code: &str) -> Self {
        Self::REGISTERED
            .iter()
            .find(|known| **known == code)
            .map_or(Self::OTHER, |known| Self(known))
    }

    /// A registered code or `other`: bounded, so it may label a metric.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl<'a> Answer<'a> {
    /// The body of a document that is simply there, with status 200; its format is the caller's to
    /// judge.
    pub fn document(&self) -> Result<&'a [u8], AsAnswer> {
        match self.status {
            200 => Ok(self.body),
            status @ (429 | 500..=599) => {
                Err(AsAnswer::Unavailable { status, retry_after: self.retry_after.and_then(delay) })
            }
            300..=399 => Err(Malformation::Redirect.into()),
            _ => Err(Malformation::StatusUnexpected.into()),
        }
    }
}

impl Answer<'_> {
    /// An answer of which the status says all: done, whatever stands in the body (REV-2.2).
    pub fn done(&self) -> Result<(), AsAnswer> {
        if self.status == 200 { Ok(()) } else { self.object(200).map(drop) }
    }

    /// The JSON object of an answer with exactly the `success` status; anything else is a no.
    pub(super) fn object(&self, success: u16) -> Result<Claims, AsAnswer> {
        match self.status {
            status if status == success => Ok(self.json()?),
            status @ (429 | 500..=599) => {
                Err(AsAnswer::Unavailable { status, retry_after: self.retry_after.and_then(delay) })
            }
            status @ 400..=499 => Err(self.error(status)),
            300..=399 => Err(Malformation::Redirect.into()),
            _ => Err(Malformation::StatusUnexpected.into()),
        }
    }

    /// The OAuth error in a 4xx answer. 405 and 413 come from in front of the endpoint and carry
    /// no OAuth body (PAR-2.3).
    fn error(&self, status: u16) -> AsAnswer {
        let code = self.json().and_then(|body| match body.get("error") {
            None => Err(Malformation::MemberMissing("error")),
            Some(value) => match value.as_str() {
                None => Err(Malformation::MemberType("error")),
                Some(code) => Ok(OAuthError::from_code(code)),
            },
        });
        match code {
            Ok(error) => AsAnswer::Rejected { status, error },
            Err(_) if matches!(status, 405 | 413) => {
                AsAnswer::Rejected { status, error: OAuthError::OTHER }
            }
            Err(why) => why.into(),
        }
    }

    pub(super) fn json(&self) -> Result<Claims, Malformation> {
        if !self.content_type.is_some_and(is_json) {
            return Err(Malformation::ContentType);
        }
        Claims::parse_within(self.body, MAX_ANSWER_BYTES).map_err(|rejected| match rejected {
            ClaimsRejected::TooLarge => Malformation::TooLarge,
            ClaimsRejected::DuplicateMember => Malformation::DuplicateMember,
            ClaimsRejected::Malformed | ClaimsRejected::TooDeep => Malformation::NotJson,
        })
    }
}

/// Whether this `Content-Type` is `application/json`, parameters aside.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split_once(';').map_or(content_type, |(essence, _)| essence);
    essence.trim_matches([' ', '\t']).eq_ignore_ascii_case("application/json")
}

/// `Retry-After` in seconds. The date form would need a clock and is as good as absent.
fn delay(value: &str) -> Option<u64> {
    let digits =
        !value.is_empty() && value.len() <= 10 && value.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| value.parse().ok()).flatten().map(|seconds: u64| seconds.min(86_400))
}

/// A string member that must be there.
pub(super) fn string<'c>(body: &'c Claims, name: &'static str) -> Result<&'c str, Malformation> {
    optional_string(body, name)?.ok_or(Malformation::MemberMissing(name))
}

/// A string member that may be absent; `null` is not absent.
pub(super) fn optional_string<'c>(
    body: &'c Claims,
    name: &'static str,
) -> Result<Option<&'c str>, Malformation> {
    body.optional_string(name).map_err(|_| Malformation::MemberType(name))
}

/// A positive JSON integer that may be absent.
pub(super) fn optional_seconds(
    body: &Claims,
    name: &'static str,
) -> Result<Option<u64>, Malformation> {
    match body.get(name) {
        None => Ok(None),
        Some(value) if !value.is_number() || value.is_f64() => Err(Malformation::MemberType(name)),
        Some(value) => match value.as_u64() {
            Some(seconds @ 1..=4_294_967_295) => Ok(Some(seconds)),
            _ => Err(Malformation::MemberValue(name)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer<'_> {
        Answer {
            status,
            content_type: Some("application/json"),
            retry_after: None,
            body: body.as_bytes(),
        }
    }

    /// REV-2.2, REV-2.2.1
    #[test]
    fn what_is_done_needs_no_body() {
        for body in ["", "{}", "<p>gone</p>"] {
            assert_eq!(answer(200, body).done(), Ok(()));
        }
        let refused = answer(400, "{\"error\":\"unsupported_token_type\"}").done().unwrap_err();
        assert!(refused.is("unsupported_token_type"));
        let busy = Answer { retry_after: Some("7"), ..answer(503, "") }.done();
        assert_eq!(busy, Err(AsAnswer::Unavailable { status: 503, retry_after: Some(7) }));
        for status in [201, 204, 302, 404] {
            assert!(answer(status, "").done().is_err(), "{status}");
        }
    }

    fn refusal(answer: Answer<'_>) -> AsAnswer {
        answer.object(200).unwrap_err()
    }

    #[test]
    fn only_the_success_status_of_the_endpoint_is_success() {
        assert!(answer(200, "{}").object(200).is_ok());
        for status in [100, 201, 204, 206, 299, 600, 999] {
            assert_eq!(
                refusal(answer(status, "{}")),
                Malformation::StatusUnexpected.into(),
                "{status}"
            );
        }
        for status in [300, 301, 302, 303, 307, 308, 399] {
            assert_eq!(refusal(answer(status, "{}")), Malformation::Redirect.into(), "{status}");
        }
    }

    /// OA-5.2: every 4xx is read for an OAuth error, but for the 429 that says nothing.
    #[test]
    fn an_oauth_error_comes_with_any_other_4xx() {
        let error = OAuthError::from_code("invalid_grant");
        for status in [400, 401, 428, 430, 499] {
            let refused = refusal(answer(status, r#"{"error":"invalid_grant"}"#));
            assert_eq!(refused, AsAnswer::Rejected { status, error });
        }
    }

    #[test]
    fn a_5xx_or_429_says_nothing_about_the_request_even_with_an_oauth_error() {
        for status in [429, 500, 502, 503, 504, 599] {
            let refused = refusal(answer(status, r#"{"error":"invalid_grant"}"#));
            assert_eq!(refused, AsAnswer::Unavailable { status, retry_after: None });
            assert!(!refused.is("invalid_grant"));
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_bounded() {
        let waits = [
            ("0", Some(0)),
            ("120", Some(120)),
            ("9999999999", Some(86_400)),
            ("99999999999", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ];
        for (header, retry_after) in waits {
            let refused = refusal(Answer { retry_after: Some(header), ..answer(503, "") });
            assert_eq!(refused, AsAnswer::Unavailable { status: 503, retry_after }, "{header}");
        }
    }

    #[test]
    fn error_codes_are_registered_or_other() {
        for code in OAuthError::REGISTERED {
            let body = format!(r#"{{"error":"{code}","error_description":"<script>"}}"#);
            assert!(refusal(answer(400, &body)).is(code));
        }
        for code in ["", "INVALID_GRANT", "invalid_grant ", "<script>", "made_up"] {
            let body = serde_json::json!({"error": code}).to_string();
            assert_eq!(
                refusal(answer(401, &body)),
                AsAnswer::Rejected { status: 401, error: OAuthError::OTHER }
            );
        }
    }

    #[test]
    fn an_error_that_is_not_strict_json_is_not_believed() {
        let cases = [
            (r"{}", Malformation::MemberMissing("error")),
            (r#"{"error":null}"#, Malformation::MemberType("error")),
            (r#"{"error":["invalid_grant"]}"#, Malformation::MemberType("error")),
            (
                r#"{"error":"invalid_request","error":"invalid_grant"}"#,
                Malformation::DuplicateMember,
            ),
            (r#"["invalid_grant"]"#, Malformation::NotJson),
            ("error=invalid_grant", Malformation::NotJson),
            ("", Malformation::NotJson),
        ];
        for (body, why) in cases {
            assert_eq!(refusal(answer(400, body)), why.into(), "{body}");
        }
        let html = Answer {
            content_type: Some("text/html"),
            ..answer(400, r#"{"error":"invalid_grant"}"#)
        };
        assert_eq!(refusal(html), Malformation::ContentType.into());
        let untyped = Answer { content_type: None, ..answer(400, r#"{"error":"invalid_grant"}"#) };
        assert_eq!(refusal(untyped), Malformation::ContentType.into());
    }

    /// PAR-2.3.
    #[test]
    fn a_405_or_413_without_an_oauth_body_is_still_a_rejection() {
        for status in [405, 413] {
            let plain = Answer { content_type: Some("text/plain"), ..answer(status, "no") };
            assert_eq!(refusal(plain), AsAnswer::Rejected { status, error: OAuthError::OTHER });
        }
    }

    #[test]
    fn content_type_is_compared_without_case_and_parameters() {
        for json in [
            "application/json",
            "Application/JSON",
            "application/json;charset=UTF-8",
            "application/json ; x=y",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in [
            "",
            "text/json",
            "application/jsonx",
            "application/jwt",
            "application/problem+json",
            "json",
        ] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_read() {
        let padded = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
        assert_eq!(MAX_ANSWER_BYTES, 65_536);
        assert!(answer(200, &padded(MAX_ANSWER_BYTES)).object(200).is_ok());
        assert_eq!(
            refusal(answer(200, &padded(MAX_ANSWER_BYTES + 1))),
            Malformation::TooLarge.into()
        );
    }

    /// META-3.2: a document is the body of a 200, whatever its type; no error in it is read.
    #[test]
    fn a_document_has_one_good_status() {
        let untyped = |status| Answer { content_type: None, ..answer(status, "<any>") };
        assert_eq!(untyped(200).document(), Ok(b"<any>".as_slice()));
        for status in [100, 201, 204, 206, 299, 400, 401, 404, 428, 430, 499, 600] {
            let refused = untyped(status).document();
            assert_eq!(refused, Err(Malformation::StatusUnexpected.into()), "{status}");
        }
        for status in [300, 302, 304, 399] {
            let refused = untyped(status).document();
            assert_eq!(refused, Err(Malformation::Redirect.into()), "{status}");
        }
        for status in [429, 500, 503, 599] {
            let refused = Answer { retry_after: Some("7"), ..untyped(status) }.document();
            assert_eq!(refused, Err(AsAnswer::Unavailable { status, retry_after: Some(7) }));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(status: u16, content_type: Option<String>, retry_after: Option<String>, body: Vec<u8>) {
            let answer = Answer {
                status,
                content_type: content_type.as_deref(),
                retry_after: retry_after.as_deref(),
                body: &body,
            };
            let _ = answer.object(200);
            let _ = Answer { content_type: Some("application/json"), ..answer }.object(status);
        }
    }
}
