//! Owns the proof that a request comes from the app's own pages, demanded before anything costs
//! anything. Must not know: cookies, sessions, what the request is for.

use http::{
    HeaderMap, HeaderName,
    header::{AsHeaderName, ORIGIN, REFERER},
};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Why a request was turned away at the door.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum GuardRejection {
    /// The static custom header is missing or has another value (BFF-6.1.3.3.2-1).
    #[error("the custom header is missing")]
    CustomHeaderMissing,
    /// A header that decides about trust occurs twice or is unreadable.
    #[error("a header that decides about trust is ambiguous")]
    HeaderAmbiguous,
    /// Neither `Sec-Fetch-Site` nor `Origin` nor `Referer` says where it comes from (FM-4).
    #[error("nothing says where the request comes from")]
    NoProofOfOrigin,
    /// `Sec-Fetch-Mode` or `-Dest` says this is not a frame's page (FCL-2).
    #[error("not a navigation of a frame")]
    NotAFrame,
    /// `Sec-Fetch-Mode` or `-Dest` says this is not a top-level navigation (FM-2, FM-3).
    #[error("not a top-level navigation")]
    NotANavigation,
    /// `Origin` or `Referer` names another origin (CORS-1).
    #[error("the origin is not the app's")]
    OriginMismatch,
    /// `Sec-Fetch-Site` says the request comes from elsewhere (FM-1).
    #[error("the request comes from another site")]
    SiteMismatch,
}

impl GuardRejection {
    /// The stable reason for metrics and audit.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::CustomHeaderMissing => "guard.custom_header_missing",
            Self::HeaderAmbiguous => "guard.header_ambiguous",
            Self::NoProofOfOrigin => "guard.no_proof_of_origin",
            Self::NotAFrame => "guard.not_a_frame",
            Self::NotANavigation => "guard.not_a_navigation",
            Self::OriginMismatch => "guard.origin_mismatch",
            Self::SiteMismatch => "guard.site_mismatch",
        }
    }
}

/// One app's door.
#[derive(Clone, Debug)]
pub struct Guard {
    origin: String,
    custom_headers: Vec<HeaderName>,
}

impl Guard {
    /// A guard for pages of exactly `origin` (`https://host[:port]`), whose API calls carry at
    /// least one of `custom_headers` with the value `1`.
    pub const fn new(origin: String, custom_headers: Vec<HeaderName>) -> Self {
        Self { origin, custom_headers }
    }

    /// A call by script: same origin by every header that says anything, at least one that does,
    /// and the custom header, on GET too (FM-1, FM-4, FM-5/6, CORS-1, BFF-6.1.3.3.2-1).
    pub fn api(&self, headers: &HeaderMap) -> Result<(), GuardRejection> {
        self.same_origin(headers, &["same-origin"])?;
        let proven = self
            .custom_headers
            .iter()
            .try_fold(false, |proven, name| Ok(proven | (single(headers, name)? == Some("1"))))?;
        if proven { Ok(()) } else { Err(GuardRejection::CustomHeaderMissing) }
    }

    /// A navigation that starts a login or goes on with a logout: from the app itself, or typed by
    /// the user; never from another site, a frame or an image (FM-2, FAPI2-SP-5.3.3.1-12).
    pub fn navigation_start(&self, headers: &HeaderMap) -> Result<(), GuardRejection> {
        self.same_origin(headers, &["same-origin", "none"])?;
        // A browser that looks ahead is not a user who wants to (FAPI2-SP-5.3.3.1-12).
        if headers.contains_key("sec-purpose") || headers.contains_key("purpose") {
            return Err(GuardRejection::NotANavigation);
        }
        navigation(headers)
    }

    /// Whether a page of the app asked, and not an address that somebody typed or was sent: a link in a
    /// message opens as if it were typed (FAPI2-SP-5.3.3.1-12).
    pub fn asked_by_app(&self, headers: &HeaderMap) -> bool {
        self.same_origin(headers, &["same-origin"]).is_ok()
    }

    /// A navigation back from the AS: from anywhere, but top-level only (FM-3). What it brings
    /// proves itself by the transaction.
    pub fn navigation_return(headers: &HeaderMap) -> Result<(), GuardRejection> {
        navigation(headers)
    }

    /// A frame on the AS's logout page: from any site, for the AS's is another one, and nothing but a
    /// frame: no call by script, no image, no page of its own (FCL-2, FCL-4.1). What it names proves
    /// itself.
    pub fn frame(headers: &HeaderMap) -> Result<(), GuardRejection> {
        let mode = single(headers, &FETCH_MODE)?.is_none_or(|mode| mode == "navigate");
        let frame = |dest| dest == "iframe" || dest == "frame";
        if mode && single(headers, &FETCH_DEST)?.is_none_or(frame) {
            Ok(())
        } else {
            Err(GuardRejection::NotAFrame)
        }
    }

    fn same_origin(&self, headers: &HeaderMap, sites: &[&str]) -> Result<(), GuardRejection> {
        let site = single(headers, &FETCH_SITE)?;
        let origin = single(headers, ORIGIN)?;
        if site.is_some_and(|site| !sites.contains(&site)) {
            return Err(GuardRejection::SiteMismatch);
        }
        if origin.is_some_and(|origin| origin != self.origin) {
            return Err(GuardRejection::OriginMismatch);
        }
        if site.is_some() || origin.is_some() {
            return Ok(());
        }
        match single(headers, REFERER)? {
            None => Err(GuardRejection::NoProofOfOrigin),
            Some(referer) => match referer.strip_prefix(self.origin.as_str()) {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(()),
                _ => Err(GuardRejection::OriginMismatch),
            },
        }
    }
}

fn navigation(headers: &HeaderMap) -> Result<(), GuardRejection> {
    let is = |name: &HeaderName, wanted| Ok(single(headers, name)?.is_none_or(|v| v == wanted));
    if is(&FETCH_MODE, "navigate")? && is(&FETCH_DEST, "document")? {
        Ok(())
    } else {
        Err(GuardRejection::NotANavigation)
    }
}

fn single(headers: &HeaderMap, name: impl AsHeaderName) -> Result<Option<&str>, GuardRejection> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| GuardRejection::HeaderAmbiguous)
        }
        (Some(_), Some(_)) => Err(GuardRejection::HeaderAmbiguous),
    }
}

#[cfg(test)]
mod tests {
    use super::{GuardRejection as R, *};

    const APP: &str = "https://app.example";

    fn guard() -> Guard {
        Guard::new(
            APP.to_owned(),
            vec![
                HeaderName::from_static("x-bff-csrf"),
                HeaderName::from_static("token-handler-version"),
            ],
        )
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        map
    }

    const SITE: &str = "sec-fetch-site";

    /// FM-1, FM-4, FM-5/6, CORS-1, BFF-6.1.3.3.1, BFF-6.1.3.3.2-1.
    #[test]
    fn api_calls_prove_their_origin_and_carry_the_custom_header() {
        let csrf = ("x-bff-csrf", "1");
        for (sent, expected) in [
            (&[(SITE, "same-origin"), csrf][..], Ok(())),
            (&[(SITE, "same-origin"), ("origin", APP), csrf], Ok(())),
            (&[(SITE, "same-origin"), ("token-handler-version", "1")], Ok(())),
            (&[("origin", APP), csrf], Ok(())),
            (&[("referer", "https://app.example/page?x"), csrf], Ok(())),
            (&[("referer", "https://app.example"), csrf], Ok(())),
            // The custom header, on GET too.
            (&[(SITE, "same-origin")], Err(R::CustomHeaderMissing)),
            (&[(SITE, "same-origin"), ("x-bff-csrf", "")], Err(R::CustomHeaderMissing)),
            (&[(SITE, "same-origin"), ("x-bff-csrf", "0")], Err(R::CustomHeaderMissing)),
            (&[(SITE, "same-origin"), csrf, csrf], Err(R::HeaderAmbiguous)),
            // Where it comes from.
            (&[csrf], Err(R::NoProofOfOrigin)),
            (&[(SITE, "cross-site"), csrf], Err(R::SiteMismatch)),
            (&[(SITE, "same-site"), csrf], Err(R::SiteMismatch)),
            (&[(SITE, "none"), csrf], Err(R::SiteMismatch)),
            (&[(SITE, "Same-Origin"), csrf], Err(R::SiteMismatch)),
            (&[(SITE, "same-origin, same-origin"), csrf], Err(R::SiteMismatch)),
            (&[(SITE, ""), csrf], Err(R::SiteMismatch)),
            (&[(SITE, "same-origin"), (SITE, "same-origin"), csrf], Err(R::HeaderAmbiguous)),
            (
                &[(SITE, "same-origin"), ("origin", "https://evil.example"), csrf],
                Err(R::OriginMismatch),
            ),
            (&[("origin", "null"), csrf], Err(R::OriginMismatch)),
            (&[("origin", "https://app.example.evil"), csrf], Err(R::OriginMismatch)),
            (&[("origin", "https://xapp.example"), csrf], Err(R::OriginMismatch)),
            (&[("origin", "http://app.example"), csrf], Err(R::OriginMismatch)),
            (&[("origin", "https://app.example:443"), csrf], Err(R::OriginMismatch)),
            (&[("origin", "https://APP.example"), csrf], Err(R::OriginMismatch)),
            (&[("origin", "https://sibling.app.example"), csrf], Err(R::OriginMismatch)),
            (&[("origin", APP), ("origin", APP), csrf], Err(R::HeaderAmbiguous)),
            (&[("referer", "https://app.example.evil/"), csrf], Err(R::OriginMismatch)),
            (&[("referer", "https://app.example@evil/"), csrf], Err(R::OriginMismatch)),
            (&[("referer", "https://evil/https://app.example/"), csrf], Err(R::OriginMismatch)),
        ] {
            assert_eq!(guard().api(&headers(sent)), expected, "{sent:?}");
        }
    }

    /// FM-2: a login starts in the app or the address bar, as a document.
    #[test]
    fn logins_start_by_same_origin_or_typed_navigation_only() {
        let nav = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        let with = |site: &'static str, mode: [(&'static str, &'static str); 2]| {
            [&[(SITE, site)][..], &mode[..]].concat()
        };
        for (sent, expected) in [
            (with("same-origin", nav), Ok(())),
            (with("none", nav), Ok(())),
            (with("cross-site", nav), Err(R::SiteMismatch)),
            (with("same-site", nav), Err(R::SiteMismatch)),
            (with("same-origin", [nav[0], ("sec-fetch-dest", "iframe")]), Err(R::NotANavigation)),
            (with("same-origin", [nav[0], ("sec-fetch-dest", "object")]), Err(R::NotANavigation)),
            (
                with("same-origin", [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")]),
                Err(R::NotANavigation),
            ),
            (
                with("same-origin", [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")]),
                Err(R::NotANavigation),
            ),
            (
                [&with("none", nav)[..], &[("sec-purpose", "prefetch;prerender")]].concat(),
                Err(R::NotANavigation),
            ),
            (vec![("referer", "https://app.example/")], Ok(())),
            (vec![], Err(R::NoProofOfOrigin)),
        ] {
            assert_eq!(guard().navigation_start(&headers(&sent)), expected, "{sent:?}");
        }
    }

    /// FM-3: the AS sends the browser back from another site, but as a top-level document.
    #[test]
    fn answers_return_by_top_level_navigation_only() {
        for (sent, expected) in [
            (
                vec![
                    (SITE, "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                Ok(()),
            ),
            (vec![], Ok(())),
            (
                vec![("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
                Err(R::NotANavigation),
            ),
            (vec![("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")], Err(R::NotANavigation)),
            (
                vec![("sec-fetch-dest", "document"), ("sec-fetch-dest", "document")],
                Err(R::HeaderAmbiguous),
            ),
        ] {
            assert_eq!(Guard::navigation_return(&headers(&sent)), expected, "{sent:?}");
        }
    }

    /// FCL-2, FCL-4.1: exempt from the other guards as a frame, and as nothing else.
    #[test]
    fn a_logout_frame_is_a_frame_from_anywhere() {
        let (mode, dest) = ("sec-fetch-mode", "sec-fetch-dest");
        for (sent, expected) in [
            (&[(SITE, "cross-site"), (mode, "navigate"), (dest, "iframe")][..], Ok(())),
            (&[(SITE, "same-site"), (mode, "navigate"), (dest, "iframe")], Ok(())),
            (&[(SITE, "cross-site"), (mode, "navigate"), (dest, "frame")], Ok(())),
            // An older browser, or one that asks over a connection it does not trust.
            (&[], Ok(())),
            (&[(mode, "navigate"), (dest, "document")], Err(R::NotAFrame)),
            (&[(mode, "navigate"), (dest, "object")], Err(R::NotAFrame)),
            (&[(mode, "no-cors"), (dest, "image")], Err(R::NotAFrame)),
            (&[(mode, "no-cors"), (dest, "iframe")], Err(R::NotAFrame)),
            (&[(mode, "cors"), (dest, "empty")], Err(R::NotAFrame)),
            (&[(dest, "")], Err(R::NotAFrame)),
            (&[(dest, "iframe"), (dest, "iframe")], Err(R::HeaderAmbiguous)),
        ] {
            assert_eq!(Guard::frame(&headers(sent)), expected, "{sent:?}");
        }
    }
}
