//! Owns the judgement of a request target: which paths are plain enough that every reader, here and
//! upstream, understands them alike. Must not know: routes, sessions, headers.
//!
//! Nothing is repaired. An accepted target is forwarded byte for byte, so what is matched is what is
//! sent (BFF-6.1.3.6-1); a target that two readers could understand differently is refused.

use http::{Uri, Version};

/// Longest accepted path and query together, in bytes.
pub const MAX_TARGET: usize = 8 * 1024;

/// An accepted path: starts with one `/`, holds only characters of RFC 3986 `pchar`, every escape is
/// well-formed, needed, and part of valid UTF-8; no dot segment in any disguise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanPath<'a>(&'a str);

impl<'a> CleanPath<'a> {
    /// The path, exactly as received.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// Why a request target is refused (BFF-6.1.3.6-1, BFF-6.1.3.6-2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("request target refused: {}", self.reason())]
pub enum PathRejection {
    /// Absolute-form or authority in an HTTP/1 request line, asterisk-form, or a path without `/`.
    NotOriginForm,
    /// Longer than [`MAX_TARGET`].
    TooLong,
    /// An empty segment: `//`.
    EmptySegment,
    /// `.`, `..`, and what some servers take for them: `..;x`, `...`, `..%20`.
    DotSegment,
    /// A character outside RFC 3986 `pchar`, the backslash and raw non-ASCII included.
    Character,
    /// `%` without two hexadecimal digits.
    BadEscape,
    /// `%2F` or `%5C`: a separator for some readers, data for others.
    EncodedSeparator,
    /// An escape of a letter, digit, `-`, `.`, `_` or `~`, which nobody needs but to look different.
    EncodedUnreserved,
    /// `%25` followed by two hexadecimal digits: an escape for whoever decodes twice.
    DoubleEncoding,
    /// An escaped control character, NUL and the C1 block included.
    EncodedControl,
    /// The escapes do not decode to UTF-8; overlong forms included.
    InvalidUtf8,
    /// A character that compatibility mappings turn into `/`, `\`, `.` or `%`.
    Lookalike,
    /// A query with a character outside visible ASCII, or with `#`.
    QueryCharacter,
}

impl PathRejection {
    /// Stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotOriginForm => "path.not_origin_form",
            Self::TooLong => "path.too_long",
            Self::EmptySegment => "path.empty_segment",
            Self::DotSegment => "path.dot_segment",
            Self::Character => "path.character",
            Self::BadEscape => "path.bad_escape",
            Self::EncodedSeparator => "path.encoded_separator",
            Self::EncodedUnreserved => "path.encoded_unreserved",
            Self::DoubleEncoding => "path.double_encoding",
            Self::EncodedControl => "path.encoded_control",
            Self::InvalidUtf8 => "path.invalid_utf8",
            Self::Lookalike => "path.lookalike",
            Self::QueryCharacter => "path.query_character",
        }
    }
}

/// Judges the target of a request. HTTP/2 carries scheme and authority outside the path, so only
/// HTTP/1 can send an absolute-form, which no client of an origin server has a reason to do.
pub fn accept_target(uri: &Uri, version: Version) -> Result<CleanPath<'_>, PathRejection> {
    let proxied_form = uri.scheme().is_some() || uri.authority().is_some();
    if proxied_form && version < Version::HTTP_2 {
        return Err(PathRejection::NotOriginForm);
    }
    let length = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
    if length > MAX_TARGET {
        return Err(PathRejection::TooLong);
    }
    if let Some(query) = uri.query() {
        accept_query(query)?;
    }
    accept(uri.path())
}

/// Judges a raw path.
pub fn accept(raw: &str) -> Result<CleanPath<'_>, PathRejection> {
    let Some(rest) = raw.strip_prefix('/') else {
        return Err(PathRejection::NotOriginForm);
    };
    if raw.len() > MAX_TARGET {
        return Err(PathRejection::TooLong);
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        // Only the last segment may be empty: a trailing slash, or the root itself.
        if segment.is_empty() && segments.peek().is_some() {
            return Err(PathRejection::EmptySegment);
        }
        accept_segment(segment)?;
    }
    Ok(CleanPath(raw))
}

/// The query belongs to the upstream and passes verbatim; it only must not break the request line.
fn accept_query(query: &str) -> Result<(), PathRejection> {
    let plain = query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if plain { Ok(()) } else { Err(PathRejection::QueryCharacter) }
}

fn accept_segment(segment: &str) -> Result<(), PathRejection> {
    if !segment.bytes().all(|byte| is_pchar(byte) || byte == b'%') {
        return Err(PathRejection::Character);
    }
    if !segment.contains('%') {
        return accept_decoded(segment);
    }
    let decoded = decode(segment)?;
    let text = std::str::from_utf8(&decoded).map_err(|_| PathRejection::InvalidUtf8)?;
    accept_decoded(text)
}

/// What an upstream sees after decoding once.
fn accept_decoded(segment: &str) -> Result<(), PathRejection> {
    if !segment.is_ascii() {
        for character in segment.chars() {
            if character.is_control() {
                return Err(PathRejection::EncodedControl);
            }
            if is_lookalike(character) {
                return Err(PathRejection::Lookalike);
            }
        }
    }
    // Servlet containers cut path parameters, Windows cuts trailing dots and blanks.
    let name = segment.split(';').next().unwrap_or_default().trim_end();
    if !name.is_empty() && name.bytes().all(|byte| byte == b'.') {
        return Err(PathRejection::DotSegment);
    }
    Ok(())
}

fn decode(segment: &str) -> Result<Vec<u8>, PathRejection> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let value = escape(&mut bytes).ok_or(PathRejection::BadEscape)?;
        match value {
            b'/' | b'\\' => return Err(PathRejection::EncodedSeparator),
            b'%' if escape(&mut bytes.clone()).is_some() => {
                return Err(PathRejection::DoubleEncoding);
            }
            0..0x20 | 0x7F => return Err(PathRejection::EncodedControl),
            _ if is_unreserved(value) => return Err(PathRejection::EncodedUnreserved),
            _ => decoded.push(value),
        }
    }
    Ok(decoded)
}

/// The value of the two hexadecimal digits that come next.
fn escape(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit()? << 4 | digit()?)
}

/// RFC 3986 §2.3.
pub(super) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §3.3, without the percent sign.
const fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

/// Characters that NFKC or the "best fit" tables of Windows code pages map to a separator, a dot or
/// a percent sign.
const fn is_lookalike(character: char) -> bool {
    matches!(
        character,
        '\u{2024}' // one dot leader
        | '\u{2025}' // two dot leader
        | '\u{2026}' // horizontal ellipsis
        | '\u{2044}' // fraction slash
        | '\u{2215}' // division slash
        | '\u{2216}' // set minus
        | '\u{FE52}' // small full stop
        | '\u{FE68}' // small reverse solidus
        | '\u{FE6A}' // small percent sign
        | '\u{FF05}' // full-width percent sign
        | '\u{FF0E}' // full-width full stop
        | '\u{FF0F}' // full-width solidus
        | '\u{FF3C}' // full-width reverse solidus
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use PathRejection as R;

    /// BFF-6.1.3.6-1: each way around the matcher that is known to have worked somewhere.
    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn ambiguous_paths_are_refused() {
        let attacks = [
            // not origin-form
            ("", R::NotOriginForm),
            ("*", R::NotOriginForm),
            ("api/x", R::NotOriginForm),
            ("http://evil.example/api", R::NotOriginForm),
            ("@evil.example/api", R::NotOriginForm),
            ("evil.example:443", R::NotOriginForm),
            // empty segments
            ("//", R::EmptySegment),
            ("//evil.example", R::EmptySegment),
            ("//evil.example/api", R::EmptySegment),
            ("///evil.example", R::EmptySegment),
            ("/api//x", R::EmptySegment),
            ("/api/x//", R::EmptySegment),
            // dot segments
            ("/.", R::DotSegment),
            ("/..", R::DotSegment),
            ("/api/.", R::DotSegment),
            ("/api/..", R::DotSegment),
            ("/api/./x", R::DotSegment),
            ("/api/../x", R::DotSegment),
            ("/../api", R::DotSegment),
            ("/api/x/../../admin", R::DotSegment),
            ("/api/..;/x", R::DotSegment),
            ("/api/..;a=b/x", R::DotSegment),
            ("/api/.;/x", R::DotSegment),
            ("/api/..;", R::DotSegment),
            ("/api/..%3B/x", R::DotSegment),
            ("/api/..%3bfoo/x", R::DotSegment),
            ("/api/...", R::DotSegment),
            ("/api/..../x", R::DotSegment),
            ("/api/..%20/x", R::DotSegment),
            ("/api/.%20/x", R::DotSegment),
            ("/api/..%C2%A0/x", R::DotSegment), // no-break space
            // encoded dots and other needless escapes
            ("/api/%2e", R::EncodedUnreserved),
            ("/api/%2e%2e/x", R::EncodedUnreserved),
            ("/api/%2E%2E/x", R::EncodedUnreserved),
            ("/api/.%2e/x", R::EncodedUnreserved),
            ("/api/%2e./x", R::EncodedUnreserved),
            ("/api/%2e%2e;/x", R::EncodedUnreserved),
            ("/%61pi/x", R::EncodedUnreserved),
            ("/api/%41dmin", R::EncodedUnreserved),
            ("/api/%7Eroot", R::EncodedUnreserved),
            ("/api/%5f", R::EncodedUnreserved),
            // encoded separators
            ("/api%2f..%2fadmin", R::EncodedSeparator),
            ("/api/..%2f", R::EncodedSeparator),
            ("/api%2Fx", R::EncodedSeparator),
            ("/%2fevil.example", R::EncodedSeparator),
            ("/api/..%5cadmin", R::EncodedSeparator),
            ("/api%5Cx", R::EncodedSeparator),
            // double encoding
            ("/api/%252e%252e/x", R::DoubleEncoding),
            ("/api/%252fx", R::DoubleEncoding),
            ("/api/%25%32%65", R::EncodedUnreserved),
            ("/api/%255cx", R::DoubleEncoding),
            // control characters
            ("/api/%00", R::EncodedControl),
            ("/api/x%00.json", R::EncodedControl),
            ("/api/%0d%0aHost:%20evil", R::EncodedControl),
            ("/api/%0a", R::EncodedControl),
            ("/api/%09", R::EncodedControl),
            ("/api/%1f", R::EncodedControl),
            ("/api/%7f", R::EncodedControl),
            ("/api/%C2%80", R::EncodedControl), // C1
            ("/api/%C2%85", R::EncodedControl), // next line
            // bad escapes
            ("/api/%", R::BadEscape),
            ("/api/%2", R::BadEscape),
            ("/api/%zz", R::BadEscape),
            ("/api/%u002e", R::BadEscape),
            ("/api/%+2", R::BadEscape),
            ("/api/%%32%65", R::BadEscape),
            ("/api/%/x", R::BadEscape),
            // not UTF-8, overlong forms of `/` and `.`, surrogates, beyond Unicode
            ("/api/%ff", R::InvalidUtf8),
            ("/api/%c0%af", R::InvalidUtf8),
            ("/api/%c0%ae%c0%ae/x", R::InvalidUtf8),
            ("/api/%e0%80%af", R::InvalidUtf8),
            ("/api/%f0%80%80%af", R::InvalidUtf8),
            ("/api/%ed%a0%80", R::InvalidUtf8),
            ("/api/%f5%80%80%80", R::InvalidUtf8),
            ("/api/%c3/%a9", R::InvalidUtf8), // one character across two segments
            ("/api/%e9", R::InvalidUtf8),     // Latin-1
            // look-alikes
            ("/api/%EF%BC%8E%EF%BC%8E/x", R::Lookalike),
            ("/api%EF%BC%8Fx", R::Lookalike),
            ("/api%EF%BC%BCx", R::Lookalike),
            ("/api/%E2%80%A5/x", R::Lookalike),
            ("/api/%E2%80%A4%E2%80%A4/x", R::Lookalike),
            ("/api%E2%88%95x", R::Lookalike),
            ("/api%E2%81%84x", R::Lookalike),
            ("/api/%EF%BC%852e", R::Lookalike),
            // characters no path needs raw
            ("/api\\..\\x", R::Character),
            ("/api/x\\", R::Character),
            ("/api/x#y", R::Character),
            ("/api/x?y", R::Character),
            ("/api/ x", R::Character),
            ("/api/\u{e9}", R::Character),
            ("/api/\u{2025}", R::Character),
            ("/api/{id}", R::Character),
            ("/api/<x>", R::Character),
            ("/api/\"x\"", R::Character),
            ("/api/x|y", R::Character),
            ("/api/x^y", R::Character),
            ("/api/`x`", R::Character),
            ("/api/[::1]", R::Character),
            ("/api/\r\nx", R::Character),
            ("/api/\0", R::Character),
            ("/api/\u{7f}", R::Character),
        ];
        assert!(attacks.len() >= 60);
        for (raw, why) in attacks {
            assert_eq!(accept(raw), Err(why), "{raw:?}");
        }
    }

    #[test]
    fn plain_paths_pass_byte_for_byte() {
        for raw in [
            "/",
            "/api",
            "/api/",
            "/api/accounts/42",
            "/api/.well-known/x",
            "/api/a..b/..c/d..",
            "/api/file.json",
            "/api/a%20b",
            "/api/%C3%A9t%c3%a9",
            "/api/100%25",
            "/api/100%25/x",
            "/api/50%25zz",
            "/api/a;v=1/b",
            "/api/user@evil.example",
            "/api/a:b,c=d&e'(f)*+!$",
            "/api/what%3Fnot%23this",
            "/api/%E6%97%A5%E6%9C%AC",
            "/api/%F0%9F%92%B6",
        ] {
            assert_eq!(accept(raw).map(CleanPath::as_str), Ok(raw));
        }
    }

    #[test]
    fn length_is_refused_one_byte_beyond_the_limit() {
        let longest = format!("/{}", "a".repeat(MAX_TARGET - 1));
        assert!(accept(&longest).is_ok());
        assert_eq!(accept(&format!("{longest}a")), Err(R::TooLong));
        let with_query: Uri = format!("/a?{}", "b".repeat(MAX_TARGET - 3)).parse().unwrap();
        assert!(accept_target(&with_query, Version::HTTP_11).is_ok());
        let with_query: Uri = format!("/a?{}", "b".repeat(MAX_TARGET - 2)).parse().unwrap();
        assert_eq!(accept_target(&with_query, Version::HTTP_11), Err(R::TooLong));
    }

    /// BFF-6.1.3.6-1: a proxy's request line is not for an origin server.
    #[test]
    fn absolute_and_authority_forms_are_refused_on_http_1() {
        for raw in ["http://evil.example/api", "https://evil.example", "evil.example:443"] {
            let uri: Uri = raw.parse().unwrap();
            for version in [Version::HTTP_10, Version::HTTP_11] {
                assert_eq!(accept_target(&uri, version), Err(R::NotOriginForm), "{raw}");
            }
        }
        let star: Uri = "*".parse().unwrap();
        assert_eq!(accept_target(&star, Version::HTTP_2), Err(R::NotOriginForm));
        let h2: Uri = "https://app.example/api".parse().unwrap();
        assert_eq!(accept_target(&h2, Version::HTTP_2).map(CleanPath::as_str), Ok("/api"));
    }

    #[test]
    fn queries_are_opaque_but_stay_on_their_line() {
        for good in ["", "a=b", "filter[name]=x", "q=100%", "q=%0d%0a", "u=//evil/../x", "{}|^`\\"]
        {
            assert_eq!(accept_query(good), Ok(()), "{good}");
        }
        for bad in ["a b", "a#b", "a\r\nX: y", "a\0", "\u{e9}", "\u{7f}"] {
            assert_eq!(accept_query(bad), Err(R::QueryCharacter), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics_and_accepted_paths_resolve_to_themselves(raw in "[/.%;a2eEfF5c\\\\ ]{0,24}") {
            let path = format!("/{raw}");
            if let Ok(clean) = accept(&path) {
                let base = url::Url::parse("https://upstream.example").unwrap();
                let resolved = base.join(clean.as_str()).unwrap();
                proptest::prop_assert_eq!(resolved.path(), clean.as_str());
                proptest::prop_assert_eq!(resolved.host_str(), Some("upstream.example"));
            }
        }
    }
}
