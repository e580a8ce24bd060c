//! Owns the reading of `WWW-Authenticate` (RFC 9110 §11.6.1): which schemes challenge, and with
//! which parameters. Must not know: what any of them means, or what is done about it.

/// Longest header line read, in bytes; a longer one says nothing.
const MAX_BYTES: usize = 8 * 1024;

/// One challenge of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    scheme: String,
    /// A value is `None` where it is neither a token nor a quoted string.
    parameters: Vec<(String, Option<String>)>,
}

/// A parameter that occurs twice in one challenge, or whose value is malformed: it says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the challenge's parameter is repeated or malformed")]
pub struct AmbiguousParameter;

impl Challenge {
    /// Whether this is the scheme, in any case (DPOP-7.1).
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The value of a parameter, its name in any case; `None` if there is none.
    pub fn parameter(&self, name: &str) -> Result<Option<&str>, AmbiguousParameter> {
        let mut values = self.parameters.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some((_, Some(value))), None) => Ok(Some(value)),
            _ => Err(AmbiguousParameter),
        }
    }

    /// Whether this is the challenge's one `error`.
    pub fn says(&self, error: &str) -> bool {
        self.parameter("error") == Ok(Some(error))
    }
}

/// The challenges of one header line. What is not well-formed is left out; it takes no other
/// challenge along, and gives its parameters to none.
pub fn challenges(line: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    if line.len() > MAX_BYTES {
        return found;
    }
    // Whether parameters belong to the last challenge found.
    let mut open = false;
    for item in items(line) {
        // `scheme`, `scheme token68`, `scheme name=value`, or a further `name=value`.
        let (head, value) = match item.split_once('=') {
            Some((head, value)) => (head.trim_end(), Some(value.trim_start())),
            None => (item, None),
        };
        let (scheme, name) = match head.split_once([' ', '\t']) {
            Some((scheme, name)) => (Some(scheme), name.trim_start()),
            None if value.is_none() => (Some(head), ""),
            None => (None, head),
        };
        if let Some(scheme) = scheme {
            open = is_token(scheme) && (name.is_empty() || value.is_none() || is_token(name));
            if open {
                found.push(Challenge { scheme: scheme.to_owned(), parameters: Vec::new() });
            }
        }
        if let (true, Some(value), Some(challenge)) =
            (open && is_token(name), value, found.last_mut())
        {
            challenge.parameters.push((name.to_owned(), content(value)));
        }
    }
    found
}

/// The comma-separated items of a list, commas inside quoted strings left alone.
fn items(line: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |character: char| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        character == ',' && !quoted
    })
    .map(|item| item.trim_matches([' ', '\t']))
    .filter(|item| !item.is_empty())
}

/// What a token or a quoted string holds.
fn content(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        return is_token(value).then(|| value.to_owned());
    };
    let mut content = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(content),
            '\\' => content.push(characters.next()?),
            character => content.push(character),
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(line: &str, scheme: &str, error: &str) -> bool {
        challenges(line).iter().any(|challenge| challenge.is(scheme) && challenge.says(error))
    }

    /// DPOP-7.1: schemes and names in any case, values as they are.
    #[test]
    fn an_error_is_found_in_every_way_of_writing_it() {
        for line in [
            r#"Bearer error="invalid_token""#,
            r#"bearer error="invalid_token""#,
            r#"BEARER realm="x", error="invalid_token", error_description="expired""#,
            "Bearer error=invalid_token",
            r#"Bearer realm="a, b=c", Error = "invalid_token""#,
            r#"Basic realm="x", Bearer realm="y", error="invalid_token""#,
            r#"Bearer   error="invalid_token""#,
            "Bearer\terror=\"invalid_token\"\t,",
            r#"Negotiate, Bearer error="invalid_token""#,
            r#"Negotiate YWJj, Bearer error="invalid_token""#,
            r#"Negotiate YWJjZA==, Bearer error="invalid_token""#,
            r#"Bearer realm="quote \" here", error="invalid_token""#,
            r#"Bearer error="invalid\_token""#,
            r#"Bearer scope=a:b, error="invalid_token""#,
            r#", ,Bearer error="invalid_token""#,
        ] {
            assert!(says(line, "Bearer", "invalid_token"), "{line}");
        }
        assert!(says(r#"dpop algs="ES256", error="use_dpop_nonce""#, "DPoP", "use_dpop_nonce"));
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        for line in [
            "",
            "Bearer",
            r#"Bearer realm="x""#,
            r#"Bearer error="insufficient_scope""#,
            r#"Bearer error="invalid_tokens""#,
            r#"Bearer error="Invalid_token""#,
            r#"Bearer error_description="invalid_token""#,
            r#"Bearer realm="error=\"invalid_token\"""#,
            r#"Bearer realm=", error=invalid_token""#,
            r#"Bearer realm="x\", error=\"invalid_token""#,
            r#"Bearer realm="x, error=invalid_token"#,
            r#"Basic error="invalid_token""#,
            r#"Basic realm="Bearer error=\"invalid_token\"""#,
            r#"Bearer realm="x", Basic error="invalid_token""#,
            r#"Bearer, Basic error="invalid_token""#,
            r#"Bearer, , (x) error="invalid_token""#,
            r#"Bearer b c error="invalid_token""#,
            r#"Be(rer error="invalid_token""#,
            r#"error="invalid_token""#,
            "invalid_token",
            r#"Bearer error="invalid_token" realm="x""#,
            r#"Bearer error="invalid_token"#,
            r#"Bearer error="invalid_token"x"#,
            "Bearer error=invalid token",
            "Bearer error=",
            r#"Bearer error="invalid_token", error="invalid_token""#,
            r#"Bearer error="invalid_token", ERROR="insufficient_scope""#,
            r#"Bearer error="invalid_token", error="#,
        ] {
            assert!(!says(line, "Bearer", "invalid_token"), "{line}");
        }
    }

    #[test]
    fn a_parameter_is_absent_or_one_value_or_ambiguous() {
        let line = r#"Bearer a=1, B="x \"y\" \\z", c="", d=, e="1, f=1, f=2"#;
        let found = challenges(line);
        assert_eq!(found.len(), 1);
        let parameter = |name| found[0].parameter(name);
        assert_eq!(parameter("A"), Ok(Some("1")));
        assert_eq!(parameter("b"), Ok(Some(r#"x "y" \z"#)));
        assert_eq!(parameter("c"), Ok(Some("")));
        assert_eq!(parameter("d"), Err(AmbiguousParameter));
        assert_eq!(parameter("e"), Err(AmbiguousParameter));
        assert_eq!(parameter("f"), Ok(None), "inside the string that never ends");
        let found = challenges("Bearer f=1, f=2");
        assert_eq!(found[0].parameter("f"), Err(AmbiguousParameter));
    }

    #[test]
    fn a_line_over_the_limit_is_not_read() {
        let line = |bytes: usize| {
            let error = r#"Bearer error="invalid_token", x="#;
            format!("{error}{}", "y".repeat(bytes - error.len()))
        };
        assert!(says(&line(MAX_BYTES), "bearer", "invalid_token"));
        assert!(!says(&line(MAX_BYTES + 1), "bearer", "invalid_token"));
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line: String) {
            challenges(&line);
        }

        #[test]
        fn what_is_quoted_comes_back(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', r"\\").replace('"', "\\\"");
            let found = challenges(&format!("Bearer realm=x, p=\"{quoted}\", q=1"));
            proptest::prop_assert_eq!(found.len(), 1);
            proptest::prop_assert_eq!(found[0].parameter("p"), Ok(Some(value.as_str())));
            proptest::prop_assert_eq!(found[0].parameter("q"), Ok(Some("1")));
        }
    }
}
