//! Owns how cookies are named, read, set and deleted.
//! Must not know: what is sealed inside them.

use http::{HeaderMap, HeaderValue, header::COOKIE};

/// The most a browser stores of one cookie's name and value together (CK-5.6); more is dropped
/// without a word, so it must never be sent.
pub const MAX_COOKIE_OCTETS: usize = 4096;

/// What a `Cookie` header says about one name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CookieValue<'a> {
    /// The name does not occur.
    Absent,
    /// It occurs exactly once.
    One(&'a str),
    /// It occurs more than once: somebody may have tossed one in, so there is none (CK-DUP).
    Duplicate,
}

impl<'a> CookieValue<'a> {
    /// The value, if there is exactly one.
    pub fn one(self) -> Option<&'a str> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Duplicate => None,
        }
    }
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    // HTTP/2 may split the header into several (RFC 9113 §8.2.3). Each pair is read by itself: what a
    // sibling domain puts beside our cookie must not make ours unreadable.
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| std::str::from_utf8(pair).ok())
        .filter_map(|pair| pair.trim_matches([' ', '\t']).split_once('='))
}

/// Every value of the cookies of exactly this name. Only for ending what they name: more than one
/// never lets anybody in.
pub fn cookie_values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    pairs(headers).filter(|(n, _)| *n == name).map(|(_, value)| value).collect()
}

/// The value of the cookie of exactly this name, case-sensitively (BFF-6.1.3.2-6).
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> CookieValue<'a> {
    let mut found = pairs(headers).filter(|(n, _)| *n == name).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (None, _) => CookieValue::Absent,
        (Some(value), None) => CookieValue::One(value),
        (Some(_), Some(_)) => CookieValue::Duplicate,
    }
}

/// Every cookie whose name starts with `prefix`, in the order sent; duplicated names left out.
pub fn cookies_with_prefix<'a>(headers: &'a HeaderMap, prefix: &str) -> Vec<(&'a str, &'a str)> {
    let all: Vec<_> = pairs(headers).filter(|(name, _)| name.starts_with(prefix)).collect();
    let single = |name: &str| all.iter().filter(|(n, _)| *n == name).count() == 1;
    all.iter().filter(|(name, _)| single(name)).copied().collect()
}

/// The names of one app's cookies. `__Host-Http-` proves to us that the cookie came over HTTP from
/// this very host; browsers that do not know it yet still enforce `__Host-` (BFF-6.1.3.2-6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CookieNames {
    /// The session cookie.
    pub session: String,
    /// What every login transaction's cookie name starts with; the transaction id follows.
    pub transaction_prefix: String,
    /// The cookie that carries a logout across the AS and back.
    pub logout: String,
}

impl CookieNames {
    /// The cookies of the app called `app`.
    pub fn for_app(app: &str) -> Self {
        Self {
            session: format!("__Host-Http-{app}"),
            transaction_prefix: format!("__Host-Http-{app}.tx-"),
            logout: format!("__Host-Http-{app}.logout"),
        }
    }

    /// The name of the cookie of the transaction `id`.
    pub fn transaction(&self, id: &str) -> String {
        format!("{}{id}", self.transaction_prefix)
    }
}

/// When a browser sends a cookie along with a request from another site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SameSite {
    /// Never.
    Strict,
    /// On top-level GET navigations.
    Lax,
    /// Always. Only for what has to survive a form posted by another site (CK-SS-2).
    None,
}

impl SameSite {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// A `Set-Cookie` value with the attributes every cookie of ours has: `Secure`, `HttpOnly`,
/// `Path=/`, an explicit `SameSite`, no `Domain` (BFF-6.1.3.2-1..5, CK-SS-4). `value` must be
/// base64url text. Without `max_age` (seconds) it lives as long as the browser session.
///
/// `None` when name and value exceed [`MAX_COOKIE_OCTETS`] or hold a character no cookie may.
pub fn set_cookie(
    name: &str,
    value: &str,
    max_age: Option<u64>,
    same_site: SameSite,
) -> Option<HeaderValue> {
    let clean = |s: &str| s.bytes().all(|b| b.is_ascii_graphic() && !b"\",;\\".contains(&b));
    if name.len() + value.len() > MAX_COOKIE_OCTETS || !clean(name) || !clean(value) {
        return None;
    }
    let age = max_age.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    let same_site = same_site.as_str();
    let mut header = HeaderValue::from_str(&format!(
        "{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}{age}"
    ))
    .ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// A `Set-Cookie` value that deletes the cookie; the prefix's attributes are repeated, or the
/// browser would keep it (CK-CLR).
pub fn clear_cookie(name: &str, same_site: SameSite) -> Option<HeaderValue> {
    set_cookie(name, "", Some(0), same_site)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(COOKIE, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    /// CK-DUP, BFF-6.1.3.2-6: exact name, case-sensitive, exactly once, over any split of headers.
    #[test]
    fn a_cookie_counts_only_when_its_exact_name_occurs_once() {
        for (sent, expected) in [
            (&["__Host-Http-a=1"][..], CookieValue::One("1")),
            (&["x=y; __Host-Http-a=1; z=q"], CookieValue::One("1")),
            (&["x=y", "__Host-Http-a=a=b"], CookieValue::One("a=b")),
            (&["x=é; __Host-Http-a=1; y=\u{1f600}"], CookieValue::One("1")),
            (&["__host-http-a=1"], CookieValue::Absent),
            (&["__Host-a=1", "__Host-Http-ab=2"], CookieValue::Absent),
            (&["__Host-Http-a=1; __Host-Http-a=1"], CookieValue::Duplicate),
            (&["__Host-Http-a=1", "__Host-Http-a=2"], CookieValue::Duplicate),
            (&[], CookieValue::Absent),
        ] {
            assert_eq!(cookie(&headers(sent), "__Host-Http-a"), expected, "{sent:?}");
        }
    }

    #[test]
    fn transactions_are_listed_without_duplicated_names() {
        let sent = headers(&["a.tx-1=x; a.tx-2=y; a.tx-2=z; b=c"]);
        assert_eq!(cookies_with_prefix(&sent, "a.tx-"), [("a.tx-1", "x")]);
    }

    /// BFF-6.1.3.2-1..5, CK-4.1.3.2, CK-SS-4, CK-CLR: each attribute, once, also on deletion.
    #[test]
    fn every_attribute_is_set_once_also_on_deletion() {
        let set = set_cookie("__Host-Http-a", "v", Some(60), SameSite::Lax).unwrap();
        assert_eq!(set, "__Host-Http-a=v; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60");
        assert!(set.is_sensitive());
        let cleared = clear_cookie("__Host-Http-a", SameSite::Strict).unwrap();
        assert_eq!(cleared, "__Host-Http-a=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    }

    /// CK-5.6: 4096 octets pass, 4097 are never sent.
    #[test]
    fn a_cookie_a_browser_would_drop_is_never_made() {
        let fits = "v".repeat(MAX_COOKIE_OCTETS - 1);
        assert!(set_cookie("n", &fits, None, SameSite::Strict).is_some());
        assert!(set_cookie("n", &format!("{fits}v"), None, SameSite::Strict).is_none());
        for bad in ["a;b", "a b", "a,b", "a\"b", "a\\b", "a\r\nSet-Cookie: x=y", "é"] {
            assert!(set_cookie("n", bad, None, SameSite::Strict).is_none(), "{bad:?}");
        }
    }
}
