//! Cookies as a browser keeps them: parsed attribute by attribute, refused where a browser refuses
//! them, sent only where they belong. It must not know what any of them is for.

/// A `Set-Cookie` header, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetCookie {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
    /// Every attribute in order, its name in lower case.
    pub attributes: Vec<(String, Option<String>)>,
}

impl SetCookie {
    /// Takes a header apart; `None` without a name.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let attributes = parts
            .map(|part| match part.split_once('=') {
                Some((name, value)) => (name.to_ascii_lowercase(), Some(value.to_owned())),
                None => (part.to_ascii_lowercase(), None),
            })
            .collect();
        let (name, value) = (name.to_owned(), value.to_owned());
        (!name.is_empty()).then_some(Self { name, value, attributes })
    }

    /// Whether the attribute is there, with or without a value.
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|(name, _)| name == attribute)
    }

    /// The attribute's value; the last one counts (RFC 6265 §5.3).
    pub fn attribute(&self, attribute: &str) -> Option<&str> {
        let mut found = self.attributes.iter().rev().filter(|(name, _)| name == attribute);
        found.next()?.1.as_deref()
    }

    /// Seconds to live; 0 or less deletes.
    pub fn max_age(&self) -> Option<i64> {
        self.attribute("max-age")?.parse().ok()
    }

    /// Why a browser drops it (RFC 6265bis §5.7, name prefixes included).
    fn refusal(&self) -> Option<&'static str> {
        if self.name.len() + self.value.len() > 4096 {
            return Some("name and value exceed 4096 octets");
        }
        let name = self.name.to_ascii_lowercase();
        if self.attribute("samesite").is_some_and(|s| s.eq_ignore_ascii_case("none"))
            && !self.has("secure")
        {
            return Some("SameSite=None without Secure");
        }
        if name.starts_with("__secure-") && !self.has("secure") {
            return Some("__Secure- without Secure");
        }
        if name.starts_with("__host-")
            && !(self.has("secure") && self.attribute("path") == Some("/") && !self.has("domain"))
        {
            return Some("__Host- without Secure and Path=/, or with Domain");
        }
        if name.starts_with("__host-http-") && !self.has("httponly") {
            return Some("__Host-Http- without HttpOnly");
        }
        None
    }
}

#[derive(Clone, Debug)]
struct Kept {
    host: String,
    cookie: SetCookie,
}

/// A browser's cookies.
#[derive(Clone, Debug, Default)]
pub struct Jar {
    kept: Vec<Kept>,
}

impl Jar {
    /// Keeps a cookie set over https by `host`, replacing an older one or, with no time to live,
    /// deleting it. The error says why a browser would drop it.
    pub fn store(&mut self, host: &str, cookie: SetCookie) -> Result<(), &'static str> {
        if let Some(why) = cookie.refusal() {
            return Err(why);
        }
        let path = cookie.attribute("path").map(str::to_owned);
        self.kept.retain(|kept| {
            kept.host != host
                || kept.cookie.name != cookie.name
                || kept.cookie.attribute("path") != path.as_deref()
        });
        if cookie.max_age().is_none_or(|seconds| seconds > 0) {
            self.kept.push(Kept { host: host.to_owned(), cookie });
        }
        Ok(())
    }

    /// The `Cookie` header of a request over https; `cross_site` requests get no `Strict` cookies, and
    /// `Lax` ones (what no attribute means, too) only when they navigate by GET.
    pub fn header(&self, host: &str, path: &str, cross_site: Option<Crossing>) -> Option<String> {
        let sent: Vec<String> = self
            .kept
            .iter()
            .filter(|kept| kept.host == host && covers(&kept.cookie, path))
            .filter(|kept| {
                let same_site = kept.cookie.attribute("samesite").unwrap_or("lax");
                match cross_site {
                    None => true,
                    Some(Crossing::Navigation) => !same_site.eq_ignore_ascii_case("strict"),
                    Some(Crossing::Subrequest) => same_site.eq_ignore_ascii_case("none"),
                }
            })
            .map(|kept| format!("{}={}", kept.cookie.name, kept.cookie.value))
            .collect();
        (!sent.is_empty()).then(|| sent.join("; "))
    }

    /// Names and values of every cookie of `host`.
    pub fn of(&self, host: &str) -> Vec<(&str, &str)> {
        let of_host = self.kept.iter().filter(|kept| kept.host == host);
        of_host.map(|kept| (kept.cookie.name.as_str(), kept.cookie.value.as_str())).collect()
    }
}

/// How a request comes from another site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crossing {
    /// As a top-level navigation by GET.
    Navigation,
    /// By script, or as part of a page.
    Subrequest,
}

fn covers(cookie: &SetCookie, path: &str) -> bool {
    let prefix = cookie.attribute("path").unwrap_or("/");
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(headers: &[&str]) -> Jar {
        let mut jar = Jar::default();
        for header in headers {
            jar.store("app", SetCookie::parse(header).unwrap()).unwrap();
        }
        jar
    }

    #[test]
    fn cookies_go_only_where_they_belong() {
        let jar = jar(&[
            "a=1; Path=/; SameSite=Strict",
            "b=2; Path=/x",
            "c=3; Path=/; SameSite=None; Secure",
        ]);
        let sent = |host, path, crossing| jar.header(host, path, crossing);
        assert_eq!(sent("app", "/x/y", None).unwrap(), "a=1; b=2; c=3");
        assert_eq!(sent("app", "/xy", None).unwrap(), "a=1; c=3");
        assert_eq!(sent("app", "/x", Some(Crossing::Navigation)).unwrap(), "b=2; c=3");
        assert_eq!(sent("app", "/x", Some(Crossing::Subrequest)).unwrap(), "c=3");
        assert_eq!(sent("other", "/x", None), None);
    }

    #[test]
    fn a_cookie_without_time_to_live_deletes() {
        let mut jar = jar(&["a=1; Path=/", "b=2; Path=/"]);
        jar.store("app", SetCookie::parse("a=; Path=/; Max-Age=0").unwrap()).unwrap();
        assert_eq!(jar.header("app", "/", None).unwrap(), "b=2");
    }

    #[test]
    fn what_a_browser_drops_is_dropped() {
        for (header, kept) in [
            ("__Host-Http-a=1; Path=/; Secure; HttpOnly", true),
            ("__Host-Http-a=1; Path=/; Secure", false),
            ("__Host-a=1; Path=/; Secure; Domain=app", false),
            ("__Host-a=1; Path=/x; Secure", false),
            ("__Host-a=1; Path=/", false),
            ("a=1; SameSite=None", false),
        ] {
            let stored = Jar::default().store("app", SetCookie::parse(header).unwrap());
            assert_eq!(stored.is_ok(), kept, "{header}");
        }
    }
}
