//! Owns the security headers of every answer.
//! Must not know: which route made the answer, only what kind of surface it is.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};

/// What kind of thing an answer is to a browser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surface {
    /// JSON or API data read by script; must never render as a document (HDR-5).
    Api,
    /// A page or redirect of the BFF's own, in a login or logout.
    Document,
    /// The app's own pages and assets, passed through; their own policies stand where they have any.
    Public,
}

const COOP: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const LOCKED: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// What a navigation is let through by (FM-5/6).
const NAVIGATION: HeaderValue =
    HeaderValue::from_static("origin, sec-fetch-site, sec-fetch-mode, sec-fetch-dest, cookie");

/// Puts the security headers on an answer, errors and redirects included (HDR-1, HDR-3/4, HDR-5,
/// FAPI2-SP-5.2.3-1/2, PXY-4, FM-5/6).
pub fn harden(headers: &mut HeaderMap, surface: Surface) {
    headers.insert(
        STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=63072000; includeSubDomains"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    match surface {
        Surface::Api => {
            headers.insert(CONTENT_SECURITY_POLICY, LOCKED);
            headers.insert(CORP, HeaderValue::from_static("same-origin"));
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.append(VARY, HeaderValue::from_static("origin, sec-fetch-site, cookie"));
        }
        Surface::Document => {
            // A page may bring its own, equally strict policies: one that names its one style by hash,
            // one that lets a form say where it comes from.
            headers.entry(CONTENT_SECURITY_POLICY).or_insert(LOCKED);
            headers.insert(COOP, HeaderValue::from_static("same-origin"));
            headers.insert(CORP, HeaderValue::from_static("same-origin"));
            headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.append(VARY, NAVIGATION);
        }
        Surface::Public => {
            headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
                "object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
            ));
            let framing_is_said = headers.get_all(CONTENT_SECURITY_POLICY).iter().any(|policy| {
                policy.to_str().is_ok_and(|policy| policy.contains("frame-ancestors"))
            });
            if !framing_is_said {
                // A second policy only narrows the first.
                let policy = HeaderValue::from_static("frame-ancestors 'none'");
                headers.append(CONTENT_SECURITY_POLICY, policy);
            }
            headers.entry(COOP).or_insert(HeaderValue::from_static("same-origin"));
            headers.entry(CORP).or_insert(HeaderValue::from_static("same-origin"));
            headers
                .entry(REFERRER_POLICY)
                .or_insert(HeaderValue::from_static("strict-origin-when-cross-origin"));
        }
    }
}

/// Lets an answer be shown in a frame by pages of these origins, and of no others (FCL-PRJ, HDR-2). After
/// [`harden`], which forbids it to all.
pub fn framed_by(headers: &mut HeaderMap, origins: &[String]) {
    let policy = format!(
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors {}",
        if origins.is_empty() { "'none'".to_owned() } else { origins.join(" ") }
    );
    // An origin has no other characters than a header may have; were it otherwise, none may frame it.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).unwrap_or(LOCKED));
    // It knows no origins, and would forbid all.
    headers.remove(X_FRAME_OPTIONS);
    // A page that isolates itself shows only what says it may be shown.
    headers.insert(CORP, HeaderValue::from_static("cross-origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HDR-1, HDR-2, HDR-3/4: no surface can be framed, sniffed or fetched in clear.
    #[test]
    fn every_surface_is_unframeable_and_pinned_to_https() {
        for surface in [Surface::Api, Surface::Document, Surface::Public] {
            let mut headers = HeaderMap::new();
            harden(&mut headers, surface);
            let csp = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(csp.contains("frame-ancestors 'none'"), "{surface:?}");
            assert!(csp.contains("base-uri 'none'"), "{surface:?}");
            let no_plugins = ["object-src 'none'", "default-src 'none'"];
            assert!(no_plugins.iter().any(|rule| csp.contains(rule)), "{surface:?}");
            assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert!(headers.contains_key(STRICT_TRANSPORT_SECURITY));
            assert!(headers.contains_key(REFERRER_POLICY));
        }
    }

    /// FCL-PRJ: one origin may, and nothing else is permitted for that.
    #[test]
    fn a_frame_is_for_the_named_origins_only() {
        let mut headers = HeaderMap::new();
        harden(&mut headers, Surface::Document);
        framed_by(&mut headers, &["https://as.example".to_owned()]);
        let csp = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert_eq!(
            csp,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors https://as.example"
        );
        assert_eq!(headers.get_all(CONTENT_SECURITY_POLICY).iter().count(), 1);
        assert!(!headers.contains_key(X_FRAME_OPTIONS));
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        for origins in [vec![], vec!["https://as.example\n".to_owned()]] {
            framed_by(&mut headers, &origins);
            let csp = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(csp.ends_with("frame-ancestors 'none'"), "{csp}");
        }
    }

    /// FM-5/6: what lets a request in decides about the answer, so a cache must know of it.
    #[test]
    fn what_the_guard_looks_at_is_named_to_caches() {
        for (surface, looked_at) in [
            (Surface::Api, &["origin", "sec-fetch-site"][..]),
            (Surface::Document, &["origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"]),
        ] {
            let mut headers = HeaderMap::new();
            // An upstream's own stays beside it.
            headers.insert(VARY, HeaderValue::from_static("accept"));
            harden(&mut headers, surface);
            let lines = headers.get_all(VARY).iter().map(|line| line.to_str().unwrap());
            let names: Vec<_> = lines.flat_map(|line| line.split(", ")).collect();
            assert!(looked_at.iter().all(|name| names.contains(name)), "{surface:?}: {names:?}");
            assert!(names.contains(&"accept"), "{surface:?}");
        }
    }

    /// An upstream cannot weaken an API answer; an app's own page keeps its own policy.
    #[test]
    fn only_public_and_document_surfaces_keep_a_policy_they_bring() {
        for (surface, kept) in
            [(Surface::Api, false), (Surface::Document, true), (Surface::Public, true)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("script-src 'self'"));
            harden(&mut headers, surface);
            assert_eq!(
                headers[CONTENT_SECURITY_POLICY] == "script-src 'self'",
                kept,
                "{surface:?}"
            );
        }
    }
}
