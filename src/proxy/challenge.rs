//! Owns the reading of `WWW-Authenticate` (RFC 9110 §11.6.1), to tell "this token is invalid" from
//! every other 401. Must not know: what is done about it.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// Whether an upstream says that the access token itself is invalid (RFC 6750 §3.1, RFC 9449 §7.1):
/// a `Bearer` or `DPoP` challenge with `error="invalid_token"`.
pub fn is_invalid_token(headers: &HeaderMap) -> bool {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.filter_map(|value| value.to_str().ok()).any(says_invalid_token)
}

fn says_invalid_token(text: &str) -> bool {
    let mut token_scheme = false;
    for item in items(text) {
        // `Scheme`, `Scheme name=value` or a further `name=value` of the scheme before.
        let (head, value) = match item.split_once('=') {
            Some((head, value)) => (head.trim_end(), Some(value.trim())),
            None => (item, None),
        };
        let name = match head.rsplit_once([' ', '\t']) {
            Some((scheme, name)) => {
                token_scheme = is_token_scheme(scheme);
                name
            }
            None if value.is_none() => {
                token_scheme = is_token_scheme(head);
                continue;
            }
            None => head,
        };
        let invalid = |value: &str| unquote(value) == "invalid_token";
        if token_scheme && name.eq_ignore_ascii_case("error") && value.is_some_and(invalid) {
            return true;
        }
    }
    false
}

fn is_token_scheme(scheme: &str) -> bool {
    let scheme = scheme.trim();
    scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("dpop")
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

/// The comma-separated items of a list, commas inside quoted strings left alone.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character: char| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        character == ',' && !quoted
    })
    .map(str::trim)
    .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_challenge_with_this_error_counts() {
        for yes in [
            r#"Bearer error="invalid_token""#,
            r#"bearer error="invalid_token""#,
            r#"BEARER realm="x", error="invalid_token", error_description="expired""#,
            "Bearer error=invalid_token",
            r#"Bearer realm="a, b=c", Error = "invalid_token""#,
            r#"Basic realm="x", Bearer realm="y", error="invalid_token""#,
            r#"DPoP algs="ES256", error="invalid_token""#,
            r#"Bearer   error="invalid_token""#,
            r#"Negotiate, Bearer error="invalid_token""#,
            r#"Bearer realm="quote \" here", error="invalid_token""#,
        ] {
            assert!(says_invalid_token(yes), "{yes}");
        }
        for no in [
            "",
            "Bearer",
            r#"Bearer realm="x""#,
            r#"Bearer error="insufficient_scope""#,
            r#"Bearer error="insufficient_user_authentication""#,
            r#"Bearer error="invalid_tokens""#,
            r#"Bearer error_description="invalid_token""#,
            r#"Bearer realm="error=\"invalid_token\"""#,
            r#"Bearer realm=", error=invalid_token""#,
            r#"Bearer realm="x\", error=\"invalid_token""#,
            r#"Basic error="invalid_token""#,
            r#"Basic realm="Bearer error=\"invalid_token\"""#,
            r#"Bearer realm="x", Basic error="invalid_token""#,
            r#"Bearer, Basic error="invalid_token""#,
            r#"error="invalid_token""#,
            "invalid_token",
        ] {
            assert!(!says_invalid_token(no), "{no}");
        }
    }

    #[test]
    fn every_header_line_is_read() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"x\"".parse().unwrap());
        assert!(!is_invalid_token(&headers));
        headers.append(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"".parse().unwrap());
        assert!(is_invalid_token(&headers));
    }
}
