//! Owns the table from path prefix to fixed upstream and the joining of the two (BFF-6.1.3.6-1..3).
//! Must not know: sessions, header rules, connections.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut as _, BytesMut};
use http::{HeaderValue, Method, Uri, uri};
use url::Url;

use super::{
    path::{self, CleanPath},
    step_up::{AuthorizationRule, StepUpRule},
};
use crate::{
    paths::is_below,
    protocol::{ExchangeRequest, Target},
};

/// Whose authority a request carries to the upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A live session is demanded and an access token is sent along.
    WithToken,
    /// A live session is demanded; the upstream gets no token.
    SessionOnly,
    /// Anyone; no session is looked up, no token and no cookie is sent. `GET` and `HEAD` only.
    Public,
}

/// Which access token a request carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenSource {
    /// The session's, narrowed to a target if there is one.
    User(Option<Target>),
    /// One of the client's own: the upstream learns nothing of the user from it.
    Client(Target),
    /// One that the session's is exchanged for (RFC 8693).
    Exchange(Arc<ExchangeRequest>),
    /// The authorization server's signed word on the session's (RFC 9701).
    Introspection(Carrier),
}

/// Where a signed introspection answer travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// In a header of its own, so that nobody takes it for an access token (INT-9701-5).
    OwnHeader,
    /// As a bearer token, for upstreams that read nothing else.
    Bearer,
}

/// One route as configured.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Path prefix on the app's origin, such as `/api/accounts`; no slash at its end.
    pub path: String,
    /// Fixed destination: scheme, host, port and base path; no query, fragment or user.
    pub upstream: Url,
    /// The methods let through; everything else is 405.
    pub methods: Vec<Method>,
    /// Session and token demanded.
    pub access: Access,
    /// Longest wait for the response head while nothing moves towards the upstream.
    pub first_byte_timeout: Duration,
    /// Longest silence inside a body, in either direction.
    pub idle_timeout: Duration,
    /// Largest request body, in bytes.
    pub request_body_limit: u64,
    /// Bytes of a request body kept for sending the request again with another credential; 0 keeps
    /// none (DPOP-9-PRJ).
    pub replay_body_limit: usize,
    /// What is demanded of the user's authentication.
    pub step_up: StepUpRule,
    /// Which token is sent, where one is.
    pub token: TokenSource,
    /// What the user must have authorized in detail.
    pub authorization: Option<AuthorizationRule>,
}

/// A route that cannot be put into the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteFault {
    /// The prefix is not `/` or `/segment(/segment)*` of unreserved characters.
    #[error(
        "the path must be `/` or plain segments such as `/api/accounts`, without a slash at its end"
    )]
    Path,
    /// Two routes have this prefix, letter case aside.
    #[error("two routes have the same path")]
    Duplicate,
    /// The upstream is not a plain http(s) base URL.
    #[error("the upstream must be an http or https URL without user, query and fragment")]
    Upstream,
    /// No method is listed.
    #[error("at least one method must be listed")]
    NoMethods,
    /// `TRACE` and `CONNECT` are never forwarded, `OPTIONS` is answered here (CORS-3).
    #[error("TRACE, CONNECT and OPTIONS cannot be forwarded")]
    MethodNeverForwarded,
    /// A public route with a method that changes state.
    #[error("a public route allows GET and HEAD only")]
    PublicMethod,
    /// A public route with a demand on a session.
    #[error("a public route has no user who could authenticate")]
    PublicStepUp,
}

/// One route, ready to be matched; `attached` is what the owner keeps with it, e.g. its connection pool.
#[derive(Debug)]
pub struct Route<T> {
    prefix: String,
    allow: HeaderValue,
    scheme: uri::Scheme,
    authority: uri::Authority,
    base: String,
    spec: RouteSpec,
    /// Kept with the route.
    pub attached: T,
}

impl<T> Route<T> {
    /// As configured.
    pub fn spec(&self) -> &RouteSpec {
        &self.spec
    }

    /// Value of the `Allow` header.
    pub fn allow(&self) -> &HeaderValue {
        &self.allow
    }

    /// Whether `method` is let through.
    pub fn allows(&self, method: &Method) -> bool {
        self.spec.methods.contains(method)
    }

    /// The upstream's address for a matched path: base path, remainder, and the query verbatim.
    pub fn target(&self, path: CleanPath<'_>, query: Option<&str>) -> Result<Uri, http::Error> {
        let remainder = path.as_str().get(self.prefix.len()..).unwrap_or_default();
        let length = self.base.len() + remainder.len() + query.map_or(0, |q| q.len() + 1) + 1;
        let mut joined = BytesMut::with_capacity(length);
        joined.put_slice(self.base.as_bytes());
        joined.put_slice(remainder.as_bytes());
        if joined.is_empty() {
            joined.put_u8(b'/');
        }
        if let Some(query) = query {
            joined.put_u8(b'?');
            joined.put_slice(query.as_bytes());
        }
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(uri::PathAndQuery::from_maybe_shared(joined.freeze())?)
            .build()
    }

    /// The address on the app's origin that leads to `location`, an upstream's reference relative to
    /// `target`; `None` if no address of this route does (PXY-5).
    pub fn relocate(&self, target: &Uri, location: &str) -> Option<String> {
        // `Url` reads what browsers read: backslashes as slashes, tabs and newlines as nothing.
        let url = Url::parse(&target.to_string()).ok()?.join(location).ok()?;
        let ours = url.origin() == self.spec.upstream.origin()
            && url.username().is_empty()
            && url.password().is_none();
        let remainder = url.path().strip_prefix(self.base.as_str()).filter(|_| ours)?;
        if !remainder.is_empty() && !remainder.starts_with('/') {
            return None;
        }
        let mut relocated = format!("{}{remainder}", self.prefix);
        if relocated.is_empty() {
            relocated.push('/');
        }
        path::accept(&relocated).ok()?;
        if let Some(query) = url.query() {
            relocated.push('?');
            relocated.push_str(query);
        }
        if let Some(fragment) = url.fragment() {
            relocated.push('#');
            relocated.push_str(fragment);
        }
        Some(relocated)
    }

    fn new(spec: RouteSpec, attached: T) -> Result<Self, RouteFault> {
        let prefix = spec.path.strip_suffix('/').filter(|p| p.is_empty()).unwrap_or(&spec.path);
        let plain = |segment: &str| {
            !segment.is_empty()
                && segment.bytes().all(path::is_unreserved)
                && !segment.bytes().all(|byte| byte == b'.')
        };
        let mut segments = prefix.split('/');
        if segments.next() != Some("") || !segments.all(plain) || spec.path.is_empty() {
            return Err(RouteFault::Path);
        }
        if spec.methods.is_empty() {
            return Err(RouteFault::NoMethods);
        }
        if spec
            .methods
            .iter()
            .any(|m| [Method::TRACE, Method::CONNECT, Method::OPTIONS].contains(m))
        {
            return Err(RouteFault::MethodNeverForwarded);
        }
        let reads = |m: &Method| *m == Method::GET || *m == Method::HEAD;
        if spec.access == Access::Public && !spec.methods.iter().all(reads) {
            return Err(RouteFault::PublicMethod);
        }
        let demanding = spec.step_up.demand.is_some() || spec.authorization.is_some();
        if spec.access == Access::Public && demanding {
            return Err(RouteFault::PublicStepUp);
        }
        let (scheme, authority) = destination(&spec.upstream).ok_or(RouteFault::Upstream)?;
        let base = spec.upstream.path().trim_end_matches('/').to_owned();
        if !base.is_empty() && path::accept(&base).is_err() {
            return Err(RouteFault::Upstream);
        }
        let names: Vec<&str> = spec.methods.iter().map(Method::as_str).chain(["OPTIONS"]).collect();
        let allow = HeaderValue::try_from(names.join(", ")).map_err(|_| RouteFault::NoMethods)?;
        Ok(Self { prefix: prefix.to_owned(), allow, scheme, authority, base, spec, attached })
    }

    /// Whether `path` lies under this route, on a segment boundary.
    fn covers(&self, path: &str) -> bool {
        is_below(path, &self.prefix)
    }

    /// Whether a careless upstream might think so: letter case and path parameters ignored.
    fn resembles(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        self.prefix.split('/').all(|wanted| {
            segments.next().is_some_and(|segment| {
                segment.split(';').next().unwrap_or_default().eq_ignore_ascii_case(wanted)
            })
        })
    }
}

fn destination(upstream: &Url) -> Option<(uri::Scheme, uri::Authority)> {
    let scheme = match upstream.scheme() {
        "https" => uri::Scheme::HTTPS,
        "http" => uri::Scheme::HTTP,
        _ => return None,
    };
    let bare = upstream.username().is_empty()
        && upstream.password().is_none()
        && upstream.query().is_none()
        && upstream.fragment().is_none();
    let host = upstream.host_str().filter(|_| bare)?;
    let authority = match upstream.port() {
        Some(port) => format!("{host}:{port}").parse(),
        None => host.parse(),
    };
    Some((scheme, authority.ok()?))
}

/// All routes of an app.
#[derive(Debug)]
pub struct RouteTable<T> {
    /// Longest prefix first, so the first match is the best.
    routes: Vec<Route<T>>,
}

impl<T> RouteTable<T> {
    /// Builds the table; the error names the offending route by its position in `specs`.
    pub fn new(
        specs: impl IntoIterator<Item = (RouteSpec, T)>,
    ) -> Result<Self, (usize, RouteFault)> {
        let mut routes: Vec<Route<T>> = Vec::new();
        for (position, (spec, attached)) in specs.into_iter().enumerate() {
            let route = Route::new(spec, attached).map_err(|fault| (position, fault))?;
            if routes.iter().any(|other| other.prefix.eq_ignore_ascii_case(&route.prefix)) {
                return Err((position, RouteFault::Duplicate));
            }
            routes.push(route);
        }
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        Ok(Self { routes })
    }

    /// The route of `path`: the longest prefix on a segment boundary.
    ///
    /// `None` also if a reader who ignores letter case or path parameters would find another one, so
    /// that `/api/Admin` or `/api/admin;x` never reaches the upstream under the rules of `/api`.
    pub fn find(&self, path: CleanPath<'_>) -> Option<&Route<T>> {
        let exact = self.routes.iter().find(|route| route.covers(path.as_str()))?;
        let loose = self.routes.iter().find(|route| route.resembles(path.as_str()))?;
        std::ptr::eq(exact, loose).then_some(exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::StepUp;

    pub(super) fn spec(path: &str, upstream: &str) -> RouteSpec {
        RouteSpec {
            path: path.to_owned(),
            upstream: Url::parse(upstream).unwrap(),
            methods: vec![Method::GET, Method::POST],
            access: Access::WithToken,
            first_byte_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            request_body_limit: 1,
            replay_body_limit: 0,
            step_up: StepUpRule::default(),
            token: TokenSource::User(None),
            authorization: None,
        }
    }

    fn table(paths: &[&str]) -> RouteTable<()> {
        let specs = paths.iter().map(|path| (spec(path, "https://up.example/v1"), ()));
        RouteTable::new(specs).unwrap()
    }

    fn found<'t>(table: &'t RouteTable<()>, path: &str) -> Option<&'t str> {
        table.find(path::accept(path).unwrap()).map(|route| route.spec().path.as_str())
    }

    #[test]
    fn the_longest_prefix_on_a_segment_boundary_wins() {
        let table = table(&["/api", "/api/accounts", "/other"]);
        for (path, route) in [
            ("/api", Some("/api")),
            ("/api/", Some("/api")),
            ("/api/x", Some("/api")),
            ("/api/accountsx", Some("/api")),
            ("/api/accounts", Some("/api/accounts")),
            ("/api/accounts/", Some("/api/accounts")),
            ("/api/accounts/1/x", Some("/api/accounts")),
            ("/other/api/accounts", Some("/other")),
            ("/apix", None),
            ("/ap", None),
            ("/", None),
            ("/x/api", None),
        ] {
            assert_eq!(found(&table, path), route, "{path}");
        }
    }

    #[test]
    fn the_root_route_takes_what_no_other_takes() {
        let table = table(&["/", "/api"]);
        assert_eq!(found(&table, "/"), Some("/"));
        assert_eq!(found(&table, "/x"), Some("/"));
        assert_eq!(found(&table, "/api/x"), Some("/api"));
    }

    /// BFF-6.1.3.6-1: rules of one route must not be escaped through the spelling of another.
    #[test]
    fn a_path_that_a_careless_upstream_reads_as_another_route_is_nobodys() {
        let table = table(&["/api", "/api/admin"]);
        for path in
            ["/api/Admin", "/api/ADMIN/x", "/api/admin;x=1/y", "/API", "/api;x/admin", "/Api/admin"]
        {
            assert_eq!(found(&table, path), None, "{path}");
        }
        assert_eq!(found(&table, "/api/x;v=1"), Some("/api"));
        assert_eq!(found(&table, "/api/Accounts/Admin"), Some("/api"));
    }

    #[test]
    fn targets_are_base_path_remainder_and_verbatim_query() {
        for (prefix, upstream, path, query, target) in [
            ("/api", "https://up.example", "/api", None, "https://up.example/"),
            ("/api", "https://up.example/", "/api/", None, "https://up.example/"),
            ("/api", "https://up.example/v1", "/api", None, "https://up.example/v1"),
            ("/api", "https://up.example/v1/", "/api/x", None, "https://up.example/v1/x"),
            (
                "/api",
                "https://up.example:8443/v1",
                "/api/x/",
                Some("a=%zz&b[]=//"),
                "https://up.example:8443/v1/x/?a=%zz&b[]=//",
            ),
            ("/api", "http://[::1]:81", "/api/a%20b", Some(""), "http://[::1]:81/a%20b?"),
            ("/", "https://up.example/v1", "/", None, "https://up.example/v1/"),
            (
                "/",
                "https://up.example",
                "/@evil.example/x",
                None,
                "https://up.example/@evil.example/x",
            ),
            (
                "/api",
                "https://up.example",
                "/api/@evil.example",
                None,
                "https://up.example/@evil.example",
            ),
        ] {
            let table = RouteTable::new([(spec(prefix, upstream), ())]).unwrap();
            let path = path::accept(path).unwrap();
            let uri = table.find(path).unwrap().target(path, query).unwrap();
            assert_eq!(uri.to_string(), target);
        }
    }

    #[test]
    fn faulty_routes_are_refused_by_position() {
        let refused = |change: fn(&mut RouteSpec)| {
            let mut faulty = spec("/b", "https://up.example");
            change(&mut faulty);
            let good = spec("/a", "https://up.example");
            RouteTable::new([(good, ()), (faulty, ())]).unwrap_err()
        };
        for change in [
            (|s| s.path = String::new()) as fn(&mut RouteSpec),
            |s| s.path = "b".into(),
            |s| s.path = "/b/".into(),
            |s| s.path = "//".into(),
            |s| s.path = "/b//c".into(),
            |s| s.path = "/b/..".into(),
            |s| s.path = "/b/%61".into(),
            |s| s.path = "/b;x".into(),
            |s| s.path = "/b?x".into(),
            |s| s.path = "/b/{id}".into(),
            |s| s.path = "/b/*".into(),
        ] {
            assert_eq!(refused(change), (1, RouteFault::Path));
        }
        for upstream in [
            "ftp://up.example",
            "https://u@up.example",
            "https://u:p@up.example",
            "https://up.example?x",
            "https://up.example#x",
            "https://up.example//v1",
            "data:x",
        ] {
            let faulty = spec("/b", upstream);
            let refused = RouteTable::new([(faulty, ())]).unwrap_err();
            assert_eq!(refused, (0, RouteFault::Upstream), "{upstream}");
        }
        assert_eq!(refused(|s| s.path = "/A".into()), (1, RouteFault::Duplicate));
        assert_eq!(refused(|s| s.methods.clear()), (1, RouteFault::NoMethods));
        for change in [
            (|s| s.methods.push(Method::TRACE)) as fn(&mut RouteSpec),
            |s| s.methods.push(Method::CONNECT),
            |s| s.methods.push(Method::OPTIONS),
        ] {
            assert_eq!(refused(change), (1, RouteFault::MethodNeverForwarded));
        }
        assert_eq!(refused(|s| s.access = Access::Public), (1, RouteFault::PublicMethod));
        let demanding_of_nobody = |s: &mut RouteSpec| {
            s.access = Access::Public;
            s.methods = vec![Method::GET];
            s.step_up.demand = Some(StepUp::default());
        };
        assert_eq!(refused(demanding_of_nobody), (1, RouteFault::PublicStepUp));
    }

    /// PXY-5.
    #[test]
    fn locations_lead_back_through_the_route_or_nowhere() {
        let table = RouteTable::new([(spec("/api", "https://up.example/v1"), ())]).unwrap();
        let path = path::accept("/api/a/b").unwrap();
        let route = table.find(path).unwrap();
        let target = route.target(path, Some("q=1")).unwrap();
        for (location, relocated) in [
            ("c", Some("/api/a/c")),
            ("../c?x=1#y", Some("/api/c?x=1#y")),
            ("/v1/x", Some("/api/x")),
            ("/v1", Some("/api")),
            ("?x", Some("/api/a/b?x")),
            ("https://up.example/v1/x", Some("/api/x")),
            ("https://up.example:443/v1/x", Some("/api/x")),
            ("//up.example/v1/x", Some("/api/x")),
            ("/v2/x", None),
            ("/v1x", None),
            ("/", None),
            ("../../../x", None),
            ("http://up.example/v1/x", None),
            ("https://up.example:8443/v1/x", None),
            ("https://evil.example/v1/x", None),
            ("//evil.example/v1", None),
            ("\\\\evil.example/v1", None),
            ("/\\evil.example/v1", None),
            ("/\t/evil.example/v1", None),
            ("https://up.example@evil.example/v1", None),
            ("https://user@up.example/v1/x", None),
            ("https://up.example.evil.example/v1", None),
            ("javascript:alert(1)", None),
            ("data:text/html,x", None),
            ("https://", None),
            ("/v1//evil.example", None),
            ("/v1/%2e%2e/%2e%2e", None),
            ("/v1/..%2f", None),
        ] {
            assert_eq!(route.relocate(&target, location).as_deref(), relocated, "{location}");
        }
    }
}
