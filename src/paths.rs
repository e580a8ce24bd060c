//! Owns what it means that one path lies below another. Must not know: whose paths they are.

/// Whether `path` is `prefix` or lies below it, on a segment boundary. Compared as they are written:
/// neither letter case nor percent-encoding is looked through.
pub fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        for path in ["/bff", "/bff/", "/bff/login"] {
            assert!(is_below(path, "/bff"), "{path}");
        }
        for path in ["", "/", "/bffs", "/bff%2Flogin", "/BFF", "/a/bff"] {
            assert!(!is_below(path, "/bff"), "{path}");
        }
        // A route `/` has no prefix left.
        assert!(is_below("/a", "") && is_below("", ""));
    }
}
