//! Owns the rule for the path a browser is sent back to after login: same origin, or nothing.
//! Must not know: the origin itself.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::paths::is_below;

/// Longest path accepted, in bytes.
const MAX_BYTES: usize = 2048;

/// The path, query and fragment of `input` in normal form if it names a place on our own origin,
/// otherwise none (FAPI2-SP-5.3.3.1-4). What is returned is what was judged: dot segments are
/// resolved, and decoding the path, however often somebody behind us does it, cannot turn it into
/// another host's.
pub fn safe_return_to(input: &str) -> Option<String> {
    if input.len() > MAX_BYTES
        || !input.starts_with('/')
        || !input.bytes().all(|c| c.is_ascii_graphic())
    {
        return None;
    }
    let base = Url::parse("https://origin.invalid/").ok()?;
    let url = base.join(input).ok()?;
    // What follows leaves no path that could differ here; the rule itself still stands first.
    if url.origin() != base.origin() {
        return None;
    }
    stays_local(input.split(['?', '#']).next()?)?;
    stays_local(url.path())?;
    let mut normal = url.path().to_owned();
    for (mark, part) in [('?', url.query()), ('#', url.fragment())] {
        if let Some(part) = part {
            normal.push(mark);
            normal.push_str(part);
        }
    }
    Some(normal)
}

/// Whether a path, as [`safe_return_to`] leaves it, is `prefix` or lies below it, encoded or not. Nobody
/// is sent back to our own calls: a login that ends in the start of another would come from our own
/// origin (FAPI2-SP-5.3.3.1-12).
pub fn lies_below(path: &str, prefix: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    is_below(path, prefix) || is_below(&decoded, prefix)
}

/// Whether the path, decoded until nothing changes, never starts a host or holds a backslash or
/// a control character.
fn stays_local(path: &str) -> Option<()> {
    let mut path = path.to_owned();
    loop {
        let opens_host = path.starts_with("//") || !path.starts_with('/');
        if opens_host || path.contains('\\') || path.chars().any(char::is_control) {
            return None;
        }
        let decoded = percent_decode_str(&path).decode_utf8().ok()?.into_owned();
        if decoded == path {
            return Some(());
        }
        path = decoded;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FAPI2-SP-5.3.3.1-12.
    #[test]
    fn our_own_calls_are_told_from_pages() {
        for own in
            ["/bff", "/bff/", "/bff/login?intent=x", "/%62ff/login", "/bff%2Flogin", "/bff#x"]
        {
            assert!(lies_below(own, "/bff"), "{own}");
        }
        for page in ["/", "/bffs", "/a/bff/login", "/a?next=/bff/login", "/#/bff/login"] {
            assert!(!lies_below(page, "/bff"), "{page}");
        }
    }

    /// FAPI2-SP-5.3.3.1-4.
    #[test]
    fn same_origin_paths_are_kept() {
        for path in [
            "/",
            "/accounts",
            "/accounts/",
            "/accounts?view=all&x=1",
            "/accounts#top",
            "/accounts?x=%2F%2Fevil.example#f",
            "/a//b",
            "/a/b;c=1",
            "/a:b",
            "/@me",
            "/%C3%A9",
            "/a%20b",
            "/?next=https://evil.example/",
            "/a?b=c?d",
            "/~user",
            "/a%25b",
        ] {
            assert_eq!(safe_return_to(path).as_deref(), Some(path));
        }
    }

    #[test]
    fn dot_segments_are_resolved_before_the_path_is_kept() {
        for (path, kept) in
            [("/a/../b", "/b"), ("/a/./b", "/a/b"), ("/../../b", "/b"), ("/a/%2e%2e/b", "/b")]
        {
            assert_eq!(safe_return_to(path).as_deref(), Some(kept));
        }
    }

    #[test]
    fn nothing_leads_to_another_origin() {
        let corpus = [
            // absolute, and schemes without an authority
            "https://evil.example",
            "http://evil.example/",
            "HTTPS://evil.example",
            "https:evil.example",
            "https:/evil.example",
            "https:///evil.example",
            "//evil.example",
            "///evil.example",
            "////evil.example",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "ftp://evil.example",
            "mailto:a@evil.example",
            "blob:x",
            // backslashes, which browsers read as slashes
            "/\\evil.example",
            "\\\\evil.example",
            "\\/evil.example",
            "/\\/evil.example",
            "//\\evil.example",
            "/\\\\evil.example",
            "https:\\\\evil.example",
            "/a\\b",
            "/\\\\\\evil.example",
            // encoded once, twice, three times
            "/%2fevil.example",
            "/%2Fevil.example",
            "/%5cevil.example",
            "/%5Cevil.example",
            "%2f%2fevil.example",
            "/%252fevil.example",
            "/%255cevil.example",
            "/%25252fevil.example",
            "/%2f%2fevil.example",
            "/%5c%5cevil.example",
            "/%2f%5cevil.example",
            "%68ttps://evil.example",
            // characters browsers strip, and header injection
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r/evil.example",
            "\t//evil.example",
            " //evil.example",
            " https://evil.example",
            "/\r\nLocation: https://evil.example",
            "/%0d%0aLocation:https://evil.example",
            "/%0a/evil.example",
            "/%09/evil.example",
            "/%00/evil.example",
            "/\u{0}/evil.example",
            "/a%0d%0aSet-Cookie:x=y",
            "/%250d%250aX:y",
            "ht\ntps://evil.example",
            "/\u{7f}/evil.example",
            // user information and ports
            "https://app.example@evil.example",
            "https://app.example:x@evil.example/",
            "//app.example@evil.example",
            "app.example:443@evil.example",
            "https://app.example:8443/",
            "//app.example:8443/",
            // the base the rule itself resolves against, spelt out
            "//origin.invalid/",
            "//u@origin.invalid/",
            "//u:p@origin.invalid/a",
            "/\\u@origin.invalid/",
            // Unicode that is or becomes a slash, a dot or a space
            "/／evil.example",
            "／／evil.example",
            "/\u{2215}evil.example",
            "/\u{2044}evil.example",
            "//evil。example",
            "/\u{a0}/evil.example",
            "/\u{202e}/evil.example",
            "/\u{feff}/evil.example",
            "\u{feff}//evil.example",
            // dot segments that leave two slashes at the front
            "/.//evil.example",
            "/..//evil.example",
            "/a/..//evil.example",
            "/%2e//evil.example",
            "/%2e%2e//evil.example",
            "/./%2fevil.example",
            "/a/../%2f/evil.example",
            // not paths at all
            "",
            " ",
            "evil.example",
            "?x=//evil.example",
            "#//evil.example",
            ".",
            "..",
            "./a",
            "../a",
            "a/b",
            "/%ff%fe",
            "/a b",
        ];
        assert!(corpus.len() >= 60);
        for attempt in corpus {
            assert_eq!(safe_return_to(attempt), None, "{attempt:?}");
        }
        assert_eq!(safe_return_to(&format!("/{}", "a".repeat(2048))), None);
        assert!(safe_return_to(&format!("/{}", "a".repeat(2047))).is_some());
    }

    proptest::proptest! {
        /// Whatever is kept stays at the origin when a browser resolves it, and judging it again
        /// changes nothing.
        #[test]
        fn what_is_kept_stays_at_the_origin(input in "(/|\\\\|%2f|%5c|[a-z.:@%?#\t]|\\PC){0,12}") {
            if let Some(kept) = safe_return_to(&input) {
                let base = Url::parse("https://app.example/deep/page").unwrap();
                proptest::prop_assert_eq!(base.join(&kept).unwrap().origin(), base.origin());
                proptest::prop_assert_eq!(safe_return_to(&kept), Some(kept));
            }
        }
    }
}
