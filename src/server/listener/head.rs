//! Owns the judgement on one raw HTTP/1.1 request head: is it unambiguous, and where does it end?
//! Must not know sockets, nor what the request asks for.
//!
//! The parser behind us mends some ambiguities in silence (of `Content-Length` and
//! `Transfer-Encoding` together it drops the former; it takes bare line feeds), but a proxy before us
//! may have mended them differently. What two readers can read in two ways is refused (PXY-2,
//! RFC 9112 §5, §6, §11.2).

/// How the body after a head is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// Exactly so many bytes; then the next head.
    Length(u64),
    /// Chunks, or perhaps another protocol: no further head may follow on this connection, so its
    /// answer must close it ([`is_last`]).
    Last,
}

/// Why a head is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeadFault {
    BareLineEnd,
    ContentLength,
    ContentLengthTwice,
    FieldName,
    FoldedLine,
    ForbiddenByte,
    Host,
    LengthAndEncoding,
    RequestLine,
    TransferEncoding,
}

impl HeadFault {
    /// The stable machine reason.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::BareLineEnd => "http.bare_line_end",
            Self::ContentLength => "http.content_length",
            Self::ContentLengthTwice => "http.content_length_twice",
            Self::FieldName => "http.field_name",
            Self::FoldedLine => "http.folded_line",
            Self::ForbiddenByte => "http.forbidden_byte",
            Self::Host => "http.host",
            Self::LengthAndEncoding => "http.length_and_encoding",
            Self::RequestLine => "http.request_line",
            Self::TransferEncoding => "http.transfer_encoding",
        }
    }
}

/// Whether a request with these fields was judged [`Framing::Last`].
pub(super) fn is_last(fields: &http::HeaderMap) -> bool {
    fields.contains_key(http::header::TRANSFER_ENCODING)
        || fields.contains_key(http::header::UPGRADE)
}

/// The length of the head at the start of `bytes`, its empty line included; `None` while incomplete.
/// The first `searched` bytes are known to hold no end.
pub(super) fn end(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3);
    let rest = bytes.get(from..)?;
    rest.windows(4).position(|window| window == b"\r\n\r\n").map(|at| from + at + 4)
}

/// Judges a complete head, as delimited by [`end`].
pub(super) fn judge(head: &[u8]) -> Result<Framing, HeadFault> {
    let text = head.strip_suffix(b"\r\n\r\n").ok_or(HeadFault::BareLineEnd)?;
    let mut lines = Lines(Some(text));
    let old = request_line(lines.next().ok_or(HeadFault::RequestLine)??)?;

    let mut length = None;
    let mut chunked = false;
    let mut upgrade = false;
    let mut hosts = 0;
    for line in lines {
        let (name, value) = field(line?)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(content_length(value)?).is_some() {
                return Err(HeadFault::ContentLengthTwice);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // Anything but one plain `chunked` is either unknown to us or a disguise of it.
            if chunked || old || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadFault::TransferEncoding);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade = true;
        }
    }
    // RFC 9112 §3.2: exactly one; HTTP/1.0 may go without.
    if hosts > 1 || (hosts == 0 && !old) {
        return Err(HeadFault::Host);
    }
    match (length, chunked) {
        (Some(_), true) => Err(HeadFault::LengthAndEncoding),
        (_, false) if upgrade => Ok(Framing::Last),
        (None, true) => Ok(Framing::Last),
        (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

/// Splits at CRLF; a CR or LF anywhere else, or a NUL, is a fault.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], HeadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.take()?;
        let end = rest.windows(2).position(|window| window == b"\r\n");
        let (line, rest) = match end.and_then(|at| Some((rest.get(..at)?, rest.get(at + 2..)?))) {
            Some((line, rest)) => (line, Some(rest)),
            None => (rest, None),
        };
        self.0 = rest;
        Some(if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            Err(HeadFault::BareLineEnd)
        } else if line.iter().any(|byte| matches!(byte, 0..=8 | 11..=31 | 127)) {
            Err(HeadFault::ForbiddenByte)
        } else {
            Ok(line)
        })
    }
}

/// `method SP target SP HTTP/1.x`, one space each; `true` for HTTP/1.0.
fn request_line(line: &[u8]) -> Result<bool, HeadFault> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let plausible = method.is_some_and(|m| !m.is_empty() && m.iter().all(|b| is_token(*b)))
        && target.is_some_and(is_target)
        && parts.next().is_none();
    match version {
        Some(b"HTTP/1.1") if plausible => Ok(false),
        Some(b"HTTP/1.0") if plausible => Ok(true),
        _ => Err(HeadFault::RequestLine),
    }
}

/// A target has no fragment (RFC 9112 §3.2): the parser behind us drops one in silence, a proxy before
/// us may have matched it as part of the path.
fn is_target(target: &[u8]) -> bool {
    !target.is_empty() && target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

/// `name ":" OWS value OWS`, no space before the colon (RFC 9112 §5.1), no folding (§5.2).
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), HeadFault> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(HeadFault::FoldedLine);
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(HeadFault::FieldName)?;
    let (name, rest) = line.split_at_checked(colon).ok_or(HeadFault::FieldName)?;
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(HeadFault::FieldName);
    }
    Ok((name, rest.get(1..).unwrap_or_default().trim_ascii()))
}

/// Digits only: no sign, no list, no `0x`.
fn content_length(value: &[u8]) -> Result<u64, HeadFault> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadFault::ContentLength);
    }
    str::from_utf8(value).ok().and_then(|v| v.parse().ok()).ok_or(HeadFault::ContentLength)
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(fields: &str) -> Result<Framing, HeadFault> {
        judge(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn plain_heads_pass_with_their_framing() {
        assert_eq!(get(""), Ok(Framing::Length(0)));
        assert_eq!(get("Content-Length: 12\r\nX-A:b c \r\nX-Empty:\r\n"), Ok(Framing::Length(12)));
        assert_eq!(get("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Last));
        assert_eq!(get("Connection: upgrade\r\nUpgrade: websocket\r\n"), Ok(Framing::Last));
        assert_eq!(get("Upgrade: h2c\r\nContent-Length: 3\r\n"), Ok(Framing::Last));
        assert_eq!(judge(b"GET / HTTP/1.0\r\n\r\n"), Ok(Framing::Length(0)));
        assert_eq!(get("X-Latin: caf\u{e9}\tb\r\n"), Ok(Framing::Length(0)));
    }

    /// PXY-2: whatever two readers may read in two ways.
    #[test]
    fn ambiguous_heads_are_refused_each_for_its_reason() {
        use HeadFault::*;
        let table = [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", LengthAndEncoding),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", LengthAndEncoding),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", ContentLengthTwice),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", ContentLengthTwice),
            ("Content-Length: 5, 5\r\n", ContentLength),
            ("Content-Length: +5\r\n", ContentLength),
            ("Content-Length: -1\r\n", ContentLength),
            ("Content-Length: 0x5\r\n", ContentLength),
            ("Content-Length: 5 5\r\n", ContentLength),
            ("Content-Length:\r\n", ContentLength),
            ("Content-Length: 18446744073709551616\r\n", ContentLength),
            ("Transfer-Encoding: gzip, chunked\r\n", TransferEncoding),
            ("Transfer-Encoding: chunked, identity\r\n", TransferEncoding),
            ("Transfer-Encoding: identity\r\n", TransferEncoding),
            ("Transfer-Encoding: xchunked\r\n", TransferEncoding),
            ("Transfer-Encoding: \"chunked\"\r\n", TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", TransferEncoding),
            ("Transfer-Encoding : chunked\r\n", FieldName),
            ("Content-Length : 5\r\n", FieldName),
            ("X-A: b\r\n c\r\n", FoldedLine),
            ("X-A: b\r\n\tc\r\n", FoldedLine),
            ("no colon\r\n", FieldName),
            (": empty\r\n", FieldName),
            ("X\u{e9}: 1\r\n", FieldName),
            ("X-A: b\nX-B: c\r\n", BareLineEnd),
            ("X-A: b\rX-B: c\r\n", BareLineEnd),
            ("X-A: b\0c\r\n", ForbiddenByte),
            ("X-A: b\u{b}c\r\n", ForbiddenByte),
            ("Transfer-Encoding: \u{b}chunked\r\n", ForbiddenByte),
            ("Host: b\r\n", Host),
        ];
        for (fields, fault) in table {
            assert_eq!(get(fields), Err(fault), "{fields:?}");
        }
    }

    #[test]
    fn request_lines_are_exact() {
        let lines = [
            "GET  / HTTP/1.1",
            "GET /\tHTTP/1.1",
            "GET / HTTP/1.2",
            "GET / HTTP/2.0",
            "GET / http/1.1",
            "GET /",
            " GET / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET /x#y HTTP/1.1",
            "G(T / HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "",
            "\r\nGET / HTTP/1.1",
        ];
        for line in lines {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(judge(head.as_bytes()), Err(HeadFault::RequestLine), "{line:?}");
        }
        assert_eq!(judge(b"GET / HTTP/1.1\r\n\r\n"), Err(HeadFault::Host));
        assert_eq!(
            judge(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(HeadFault::TransferEncoding)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = judge(&bytes);
            let _ = end(&bytes, bytes.len() / 2);
        }

        /// Whatever passes holds one line end per line and no more: nothing can hide in it.
        #[test]
        fn what_passes_has_no_hidden_lines(fields in "([A-Z:a\r\n\t 5]{0,40}\r\n){0,3}") {
            if get(&fields).is_ok() {
                let stripped = fields.replace("\r\n", "");
                prop_assert!(!stripped.contains(['\r', '\n']));
            }
        }
    }
}
