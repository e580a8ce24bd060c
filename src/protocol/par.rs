//! Owns the judgement of a pushed authorization response (RFC 9126 §2.2).
//! Must not know: how the request was sent, or what to do about a refusal.

use super::answer::{Answer, AsAnswer, Malformation, optional_seconds, string};

/// Longest `request_uri` accepted, in characters (RFC 9101 §5.2).
const MAX_REQUEST_URI: usize = 512;

/// An authorization request that the server has accepted and keeps for us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PushedRequest {
    /// The reference to send the browser with; to be used once (PAR-4).
    pub request_uri: String,
    /// Seconds the reference lives, at least one. FAPI 2.0 servers give less than 600
    /// (FAPI2-SP-5.3.2.2-12).
    pub expires_in: u64,
}

/// Judges the answer of the pushed authorization request endpoint: exactly 201, `request_uri` a
/// URN or an https URL, `expires_in` a positive integer (PAR-2.2).
pub fn par_response(answer: &Answer<'_>) -> Result<PushedRequest, AsAnswer> {
    let body = answer.object(201)?;
    let request_uri = string(&body, "request_uri")?;
    let absolute = ["urn:", "https://"]
        .into_iter()
        .any(|scheme| request_uri.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if !absolute
        || request_uri.len() > MAX_REQUEST_URI
        || !request_uri.bytes().all(|c| c.is_ascii_graphic())
    {
        return Err(Malformation::MemberValue("request_uri").into());
    }
    let expires_in =
        optional_seconds(&body, "expires_in")?.ok_or(Malformation::MemberMissing("expires_in"))?;
    Ok(PushedRequest { request_uri: request_uri.to_owned(), expires_in })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::answer::OAuthError;

    fn judge(status: u16, body: &str) -> Result<PushedRequest, AsAnswer> {
        let content_type = Some("application/json");
        par_response(&Answer {
            status,
            content_type,
            retry_after: Some("7"),
            body: body.as_bytes(),
        })
    }

    fn good() -> Value {
        json!({"request_uri": "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c", "expires_in": 60})
    }

    fn with(name: &str, value: Value) -> String {
        let mut body = good();
        body[name] = value;
        body.to_string()
    }

    fn without(name: &str) -> String {
        let mut body = good();
        body.as_object_mut().unwrap().remove(name);
        body.to_string()
    }

    #[test]
    fn a_201_with_both_members_is_accepted() {
        let pushed = judge(201, &good().to_string()).unwrap();
        assert_eq!(
            pushed.request_uri,
            "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"
        );
        assert_eq!(pushed.expires_in, 60);
        assert!(judge(201, &with("request_uri", json!("https://as.example/par/1"))).is_ok());
        assert!(judge(201, &with("unknown", json!(null))).is_ok());
        for seconds in [1, 4_294_967_295] {
            let pushed = judge(201, &with("expires_in", json!(seconds))).unwrap();
            assert_eq!(pushed.expires_in, seconds);
        }
    }

    /// PAR-2.2: 200 is not 201.
    #[test]
    fn any_other_success_status_is_refused() {
        for status in [200, 202, 204] {
            assert_eq!(
                judge(status, &good().to_string()),
                Err(Malformation::StatusUnexpected.into())
            );
        }
    }

    #[test]
    fn expires_in_must_be_a_positive_integer() {
        assert_eq!(
            judge(201, &without("expires_in")),
            Err(Malformation::MemberMissing("expires_in").into())
        );
        for value in [json!(0), json!(-1), json!(4_294_967_296_u64)] {
            let refused = judge(201, &with("expires_in", value.clone()));
            assert_eq!(refused, Err(Malformation::MemberValue("expires_in").into()), "{value}");
        }
        for value in [json!("60"), json!(60.0), json!(null), json!(true), json!([60])] {
            let refused = judge(201, &with("expires_in", value.clone()));
            assert_eq!(refused, Err(Malformation::MemberType("expires_in").into()), "{value}");
        }
    }

    #[test]
    fn request_uri_must_be_a_short_printable_urn_or_https_url() {
        assert_eq!(
            judge(201, &without("request_uri")),
            Err(Malformation::MemberMissing("request_uri").into())
        );
        for value in [json!(null), json!(1), json!(["urn:a"]), json!({})] {
            let refused = judge(201, &with("request_uri", value.clone()));
            assert_eq!(refused, Err(Malformation::MemberType("request_uri").into()), "{value}");
        }
        let too_long = format!("urn:{}", "a".repeat(509));
        for value in [
            "",
            "urn:",
            "https://",
            "urn",
            "http://as.example/1",
            "javascript:alert(1)",
            "data:,x",
            "/par/1",
            "as.example/1",
            " urn:a",
            "urn:a b",
            "urn:a\nb",
            "urn:a\tb",
            "urn:a\u{0}",
            "urn:a\u{7f}",
            "urn:é",
            "URN:a",
            &too_long,
        ] {
            let refused = judge(201, &with("request_uri", json!(value)));
            assert_eq!(refused, Err(Malformation::MemberValue("request_uri").into()), "{value:?}");
        }
        assert!(
            judge(201, &with("request_uri", json!(format!("urn:{}", "a".repeat(508))))).is_ok()
        );
    }

    #[test]
    fn duplicates_html_and_redirects_are_refused() {
        let twice = r#"{"request_uri":"urn:a","request_uri":"urn:b","expires_in":60}"#;
        assert_eq!(judge(201, twice), Err(Malformation::DuplicateMember.into()));
        assert_eq!(judge(201, "<html>"), Err(Malformation::NotJson.into()));
        assert_eq!(judge(302, ""), Err(Malformation::Redirect.into()));
        let body = good().to_string();
        let html = Answer {
            status: 201,
            content_type: Some("text/html"),
            retry_after: None,
            body: body.as_bytes(),
        };
        assert_eq!(par_response(&html), Err(Malformation::ContentType.into()));
    }

    /// PAR-2.3: every no is a no, and says how long to wait.
    #[test]
    fn refusals_and_outages_are_told_apart() {
        let error = OAuthError::from_code("invalid_request_object");
        let refused = judge(400, r#"{"error":"invalid_request_object"}"#);
        assert_eq!(refused, Err(AsAnswer::Rejected { status: 400, error }));
        for status in [429, 500, 503] {
            assert_eq!(
                judge(status, ""),
                Err(AsAnswer::Unavailable { status, retry_after: Some(7) })
            );
        }
    }
}
