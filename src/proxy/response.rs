//! Owns which response headers reach the browser (PXY-1, PXY-3, PXY-4, PXY-5).
//! Must not know: sessions, tokens, how security headers of our own are set.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
    header::{
        CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_LOCATION, LOCATION, SET_COOKIE,
        TRANSFER_ENCODING,
    },
};

use super::{
    headers::{self, INTERACTION_ID},
    routes::{Access, Route},
};

/// An upstream redirects to where its route does not lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ForeignRedirect;

/// What an upstream tried and was not let.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Dropped {
    /// It set a cookie.
    pub set_cookie: bool,
    /// It answered with another interaction id, or several.
    pub interaction_mismatch: bool,
}

/// Whether a header belongs to the connection, to the edge's own policy, or to the conversation
/// between this process and the upstream, and is never passed on.
fn is_dropped(name: &HeaderName, public: bool) -> bool {
    const PREFIXES: &[&str] = &[
        "access-control-",
        "proxy-",
        "public-key-pins",
        "x-accel-",
        "x-fapi-",
        "x-forwarded-",
        "x-envoy-",
    ];
    if headers::is_hop_by_hop(name) {
        return true;
    }
    match name.as_str() {
        // Cookies and credentials.
        "set-cookie" | "set-cookie2" | "cookie" | "authorization" | "www-authenticate"
        | "authentication-info" | "dpop" | "dpop-nonce" | "client-cert" | "client-cert-chain"
        // Policy of the origin, which is ours.
        | "strict-transport-security" | "x-frame-options" | "x-content-type-options"
        | "x-xss-protection" | "clear-site-data" | "timing-allow-origin" | "service-worker-allowed" | "origin-agent-cluster" | "nel"
        | "report-to" | "reporting-endpoints" | "expect-ct" | "alt-svc" | "refresh"
        // Who answered, and with what.
        | "server" | "via" | "forwarded" | "x-powered-by" | "x-aspnet-version"
        | "x-aspnetmvc-version" | "x-real-ip" | "x-request-id" | "traceparent" | "tracestate"
        | "traceresponse" | "sourcemap" | "x-sourcemap" | "x-sendfile" => true,
        // Caching beyond `Cache-Control`: a CDN would rank these above our `no-store`.
        "age" | "expires" | "pragma" | "surrogate-control" | "surrogate-key" => !public,
        other if other.ends_with("cdn-cache-control") => !public,
        // What a document may do: the app's own pages say it themselves, an API answer is none.
        "referrer-policy" | "permissions-policy" => !public,
        other if ["content-security-policy", "cross-origin-"].iter().any(|p| other.starts_with(p)) => {
            !public
        }
        other => PREFIXES.iter().any(|prefix| other.starts_with(prefix)),
    }
}

/// The headers for the browser; `target` is the address that was asked, `interaction` the id sent.
pub fn inbound<T>(
    received: HeaderMap,
    status: StatusCode,
    route: &Route<T>,
    target: &Uri,
    interaction: &HeaderValue,
) -> Result<(HeaderMap, Dropped), ForeignRedirect> {
    let public = route.spec().access == Access::Public;
    let dropped = Dropped {
        set_cookie: received.contains_key(SET_COOKIE),
        interaction_mismatch: received.get_all(INTERACTION_ID).iter().any(|id| id != interaction),
    };
    let location = relocated(&received, &LOCATION, route, target);
    if status.is_redirection() && received.contains_key(LOCATION) && location.is_none() {
        return Err(ForeignRedirect);
    }
    let content_location = relocated(&received, &CONTENT_LOCATION, route, target);
    // hyper's client leaves a length standing beside chunks, which RFC 9112 §6.3 tells us to remove.
    let content_length = only(&received, &CONTENT_LENGTH)
        .filter(|length| headers::length(length).is_some())
        .filter(|_| !received.contains_key(TRANSFER_ENCODING));
    let rewritten = [
        (LOCATION, location),
        (CONTENT_LOCATION, content_location),
        (CONTENT_LENGTH, content_length.cloned()),
        (INTERACTION_ID, Some(interaction.clone())),
    ];

    let listed = received.contains_key(CONNECTION).then(|| {
        let names = headers::connection_names(&received).flatten();
        // What describes the body is not the connection's to take away.
        let names = names.filter_map(|name| name.parse::<HeaderName>().ok());
        names.filter(|name| !name.as_str().starts_with("content-")).collect::<Vec<_>>()
    });
    let mut answer = HeaderMap::with_capacity(received.len() + 12);
    let mut current: Option<HeaderName> = None;
    for (name, value) in received {
        if let Some(name) = name {
            let passes = !is_dropped(&name, public)
                && !rewritten.iter().any(|(own, _)| *own == name)
                && !listed.as_ref().is_some_and(|listed| listed.contains(&name));
            current = passes.then_some(name);
        }
        if let Some(name) = &current {
            answer.append(name, value);
        }
    }
    for (name, value) in rewritten {
        if let Some(value) = value {
            answer.insert(name, value);
        }
    }
    if !public {
        answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok((answer, dropped))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

fn relocated<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    route: &Route<T>,
    target: &Uri,
) -> Option<HeaderValue> {
    let location = only(headers, name)?.to_str().ok()?;
    HeaderValue::try_from(route.relocate(target, location)?).ok()
}
