//! Owns the answer to a key that does not exist: what was probably meant, or which clause forbids it.
//! Must not know: how the document is read.

use std::collections::BTreeSet;

/// Keys people look for that do not exist for a reason: how they look, what stands against them, what to
/// do instead.
const REFUSED: [(&[&str], &str, &str); 10] = [
    (
        &["client_secret", "client_secret_path", "secret", "client_password"],
        "a secret does not stand in the configuration, and no FAPI profile allows one (FAPI2-SP-5.3.3.1-2)",
        "remove it; set client_assertion_key, or under profile \"oidc\" name a file in client_secret_file",
    ),
    (
        &["client_auth", "auth_method", "client_auth_method"],
        "the method has the name it is registered under",
        "set token_endpoint_auth_method",
    ),
    (
        &[
            "verify_tls",
            "tls_verify",
            "insecure",
            "insecure_skip_verify",
            "skip_verify",
            "ssl_verify",
            "sslmode",
            "verify",
            "verify_certificate",
            "verify_hostname",
            "accept_invalid_certs",
            "tls_skip_verify",
            "no_verify",
        ],
        "certificates are always verified (FAPI2-SP-5.2.1-5)",
        "remove it; to trust a private certificate authority, name its file in trust_roots",
    ),
    (
        &[
            "jwks_uri",
            "jwks_url",
            "jwks",
            "metadata_url",
            "discovery_url",
            "well_known",
            "endpoints",
            "token_url",
        ],
        "endpoints come only from the authorization server's metadata (FAPI2-SP-5.3.3.1-9)",
        "remove it; set issuer, from which the metadata document is found",
    ),
    (
        &[
            "domain",
            "cookie_domain",
            "same_site",
            "cookie_same_site",
            "cookie_name",
            "cookie_path",
            "cookie_secure",
        ],
        "cookies are host-only, Secure, HttpOnly and named after the app (BFF-6.1.3.2-1..6)",
        "remove it; rename the app to rename its cookies",
    ),
    (
        &["redirect_uri", "redirect_uris", "callback_url", "callback_path"],
        "redirect URIs follow from origin, prefix and redirect_path (FAPI1-BASE-5.2.3-3)",
        "remove it; `check` prints the URIs to register, login.redirect_path moves the SPA's",
    ),
    (
        &["pkce", "par", "use_par", "require_par", "jar", "jarm", "nonce", "state"],
        "the profile decides this (FAPI2-SP-5.3.3.2-1..3)",
        "remove it; `profile` on the client chooses among whole profiles",
    ),
    (
        &["clock_skew", "clock_tolerance", "leeway", "skew"],
        "there is one tolerance for each direction (CLK-1)",
        "set future_tolerance (10 to 60) or exp_leeway (0 to 60) on the client",
    ),
    (
        &["request_uri", "request_uris", "request_object_url"],
        "request objects are pushed, never hosted (JAR-5.2)",
        "remove it",
    ),
    (
        &["http_proxy", "https_proxy", "proxy", "follow_redirects"],
        "outbound calls use no proxy and follow no redirect (META-PRJ)",
        "remove it",
    ),
];

/// What to say about an unknown key, given the keys that exist beside it.
pub(super) fn explain(key: &str, known: &BTreeSet<&'static str>) -> (String, String) {
    let folded = key.to_ascii_lowercase().replace('-', "_");
    for (keys, message, remedy) in REFUSED {
        let endpoint = folded.ends_with("_endpoint") && keys.contains(&"jwks_uri");
        let secret = folded.starts_with("client_secret") && keys.contains(&"client_secret");
        if endpoint || secret || keys.contains(&folded.as_str()) {
            return (message.to_owned(), remedy.to_owned());
        }
    }
    let nearest = known.iter().map(|known| (distance(&folded, known), *known)).min();
    let remedy = match nearest {
        Some((distance, known)) if distance <= 1 + folded.len() / 5 => {
            format!("did you mean `{known}`?")
        }
        _ if known.is_empty() => "remove it".to_owned(),
        _ => format!(
            "remove it; known here: {}",
            known.iter().copied().collect::<Vec<_>>().join(", ")
        ),
    };
    ("unknown key".to_owned(), remedy)
}

/// Edits from one word to the other: insertions, deletions, replacements, swaps of neighbours.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) =
        (from.chars().take(64).collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, b) in to.iter().enumerate() {
            let cell = |line: &[usize], at: usize| line.get(at).copied().unwrap_or(usize::MAX / 2);
            let replaced = cell(&above, column) + usize::from(a != b);
            let mut best = replaced.min(cell(&above, column + 1) + 1).min(cell(&line, column) + 1);
            let earlier =
                |list: &[char], at: usize| at.checked_sub(1).and_then(|at| list.get(at)).copied();
            if earlier(&from, row) == Some(*b) && earlier(&to, column) == Some(*a) {
                best = best.min(cell(&before, column.saturating_sub(1)) + 1);
            }
            line.push(best);
        }
        before = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_insertions_deletions_replacements_and_swaps() {
        for (from, to, expected) in [
            ("scopes", "scopes", 0),
            ("scope", "scopes", 1),
            ("scoeps", "scopes", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
