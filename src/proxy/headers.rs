//! Owns which request headers reach the upstream and which of our own are added (PXY-1, BCP-4.13,
//! BFF-6.1.1-K). Must not know: routes, sessions, how a token was obtained.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        self, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
        VIA,
    },
};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{credential::Credential, trace::Trace};
use crate::{clock::UnixTime, ecosystem::CustomerHeader};

/// Correlates one call across client, BFF and resource server (FAPI1-BASE-6.2.2-5).
pub const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");
const DPOP: HeaderName = HeaderName::from_static("dpop");
/// The authorization server's signed word on the session's token (RFC 9701).
const INTROSPECTION: HeaderName = HeaderName::from_static("x-token-introspection");
const AUTH_DATE: HeaderName = HeaderName::from_static("x-fapi-auth-date");
const CUSTOMER_IP: HeaderName = HeaderName::from_static("x-fapi-customer-ip-address");
/// Longest name of a browser passed on in a header of ours, in bytes.
const MAX_USER_AGENT: usize = 512;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const HTTP_DATE: &[BorrowedFormatItem<'static>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// Why request headers are refused (PXY-1, PXY-2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("request headers refused: {}", self.reason())]
pub enum HeaderRejection {
    /// `Connection` names a header that carries security or describes the body.
    ConnectionNamesProtected,
    /// `Connection` is not a list of header names.
    ConnectionMalformed,
    /// A header that must be single occurs twice.
    Duplicate,
    /// `Content-Length` is not a number, or stands beside `Transfer-Encoding`.
    ContentLength,
    /// A transfer coding other than `chunked`.
    TransferEncoding,
    /// A protocol upgrade is asked for; not offered on API routes.
    Upgrade,
    /// A header that changes the method behind the route's back.
    MethodOverride,
    /// An underscore hides a header of ours from us but not from a CGI-style upstream.
    Disguised,
}

impl HeaderRejection {
    /// Stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ConnectionNamesProtected => "headers.connection_names_protected",
            Self::ConnectionMalformed => "headers.connection_malformed",
            Self::Duplicate => "headers.duplicate",
            Self::ContentLength => "headers.content_length",
            Self::TransferEncoding => "headers.transfer_encoding",
            Self::Upgrade => "headers.upgrade",
            Self::MethodOverride => "headers.method_override",
            Self::Disguised => "headers.disguised",
        }
    }
}

/// The fate of a request header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Forwarded unless `Connection` names it.
    Pass,
    /// Forwarded; `Connection` must not name it.
    Protected,
    /// Never forwarded; `Connection` may name it (RFC 9110 §7.6.1).
    HopByHop,
    /// Never forwarded: ours to say, or nobody's.
    Ours,
    /// The request is refused.
    Refused(HeaderRejection),
}

fn fate(name: &str) -> Fate {
    match name {
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "trailers"
        | "transfer-encoding" | "upgrade" | "http2-settings" => Fate::HopByHop,
        // What the caller claims to be, or to be allowed: the session says so, not the page.
        "authorization" | "cookie" | "cookie2" | "dpop" | "x-access-token" | "remote-user"
        | "x-customer-user-agent" | "x-cds-client-headers"
        | "x-token-introspection"
        // Where the caller claims to come from, or the request to have been sent to.
        | "host" | "forwarded" | "via" | "x-real-ip" | "x-client-ip" | "x-cluster-client-ip"
        | "client-ip" | "true-client-ip" | "cf-connecting-ip" | "fastly-client-ip"
        | "x-host" | "x-rewrite-url" | "x-envoy-external-address" | "x-request-id"
        // Judged here: passed on they would make an upstream's CORS filter answer for a browser it
        // does not talk to, or hand it the page's address.
        | "origin" | "referer"
        // A hop's business, or a way to reach into tracing.
        | "expect" | "max-forwards" | "traceparent" | "tracestate" | "baggage"
        // Framing is ours: the body's length is known or its chunks are.
        | "content-length" => Fate::Ours,
        "x-http-method-override" | "x-http-method" | "x-method-override" => {
            Fate::Refused(HeaderRejection::MethodOverride)
        }
        "range" | "if-match" | "if-none-match" | "if-modified-since" | "if-unmodified-since"
        | "if-range" | "idempotency-key" | "cache-control" => Fate::Protected,
        _ => fate_by_prefix(name),
    }
}

fn fate_by_prefix(name: &str) -> Fate {
    const OURS: &[&str] = &[
        "sec-",
        "proxy-",
        "x-forwarded-",
        "x-original-",
        "x-fapi-",
        "client-cert",
        "x-client-cert",
        "x-client-dn",
        "x-client-verify",
        "x-ssl-",
        "ssl-",
        "x-arr-",
        "x-tls-",
        "x-remote-",
        "x-auth-request-",
        "x-authenticated-",
        "x-webauth-",
        "access-control-",
    ];
    if name.starts_with("content-") {
        Fate::Protected
    } else if OURS.iter().any(|prefix| name.starts_with(prefix)) {
        Fate::Ours
    } else if name.contains('_') && fate(&name.replace('_', "-")) != Fate::Pass {
        Fate::Refused(HeaderRejection::Disguised)
    } else {
        Fate::Pass
    }
}

/// Headers that two readers must not find two values in.
const SINGLE: [HeaderName; 9] = [
    header::HOST,
    header::ORIGIN,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::RANGE,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("idempotency-key"),
];

/// Judges request headers before anything is spent on the request. `app` are the app's own headers,
/// such as the one against cross-site requests.
pub fn check(headers: &HeaderMap, app: &[HeaderName]) -> Result<(), HeaderRejection> {
    for name in headers.keys() {
        if let Fate::Refused(rejection) = fate(name.as_str()) {
            return Err(rejection);
        }
    }
    if headers.contains_key(UPGRADE) {
        return Err(HeaderRejection::Upgrade);
    }
    for name in SINGLE.iter().chain(app) {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(HeaderRejection::Duplicate);
        }
    }
    if let Some(coding) = headers.get(TRANSFER_ENCODING) {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(HeaderRejection::ContentLength);
        }
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(HeaderRejection::TransferEncoding);
        }
    }
    declared_length(headers)?;
    for name in connection_names(headers) {
        let name = name.ok_or(HeaderRejection::ConnectionMalformed)?;
        let ours = app.iter().any(|own| own.as_str().eq_ignore_ascii_case(name));
        if ours || !matches!(fate(&name.to_ascii_lowercase()), Fate::Pass | Fate::HopByHop) {
            return Err(HeaderRejection::ConnectionNamesProtected);
        }
    }
    Ok(())
}

/// The body length the client declares.
pub fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, HeaderRejection> {
    headers
        .get(CONTENT_LENGTH)
        .map(|value| length(value).ok_or(HeaderRejection::ContentLength))
        .transpose()
}

/// RFC 9110 §8.6: digits only, no sign, no list.
pub(super) fn length(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// What `Connection` lists; `None` for what is no token. `close` and `keep-alive` are options of the
/// connection itself.
pub(super) fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = Option<&str>> {
    headers.get_all(CONNECTION).iter().flat_map(|value| {
        let text = value.to_str().unwrap_or("\0");
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(|name| {
            let token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            name.bytes().all(token).then_some(name)
        })
    })
}

/// What this process knows about a call and tells the upstream.
#[derive(Debug)]
pub struct Said<'a> {
    /// The user's address, from the connection or a trusted proxy (FAPI1-BASE-6.2.2-4).
    pub client: IpAddr,
    /// The app's `host[:port]`.
    pub host: &'a HeaderValue,
    /// The app's scheme.
    pub proto: &'a HeaderValue,
    /// The app's own headers, which stay here.
    pub app: &'a [HeaderName],
    /// Ids of this call.
    pub trace: &'a Trace,
    /// When the user authenticated, if there is a session (FAPI1-BASE-6.2.2-3).
    pub auth_time: Option<UnixTime>,
    /// How the app's ecosystem has the user's browser told, if it does.
    pub customer: Option<CustomerHeader>,
}

/// The headers for the upstream: what passes of `received`, and ours. The credential is added last,
/// by [`authorize`]. `empty_body` tells that no body follows, which hyper then frames by nothing at all.
pub fn outbound(
    received: HeaderMap,
    method: &Method,
    empty_body: bool,
    said: &Said<'_>,
) -> HeaderMap {
    let listed = received.contains_key(CONNECTION).then(|| {
        let names = connection_names(&received).flatten();
        names.filter_map(|name| name.parse().ok()).collect::<Vec<HeaderName>>()
    });
    let mut sent = HeaderMap::with_capacity(received.len() + 12);
    if let Some((name, value)) = said.customer.and_then(|header| customer(header, &received)) {
        sent.insert(name, value);
    }
    let mut current: Option<HeaderName> = None;
    for (name, value) in received {
        // A repeated name comes as `None`.
        if let Some(name) = name {
            let passes = matches!(fate(name.as_str()), Fate::Pass | Fate::Protected)
                && !said.app.contains(&name)
                && !listed.as_ref().is_some_and(|listed| listed.contains(&name));
            current = passes.then_some(name);
        }
        if let Some(name) = &current {
            sent.append(name, value);
        }
    }
    if empty_body && (method == Method::POST || method == Method::PUT || method == Method::PATCH) {
        sent.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if let Ok(client) = HeaderValue::try_from(said.client.to_canonical().to_string()) {
        sent.insert(FORWARDED_FOR, client.clone());
        sent.insert(CUSTOMER_IP, client);
    }
    sent.insert(FORWARDED_HOST, said.host.clone());
    sent.insert(FORWARDED_PROTO, said.proto.clone());
    sent.insert(VIA, HeaderValue::from_static("1.1 fapi-bff"));
    sent.insert(INTERACTION_ID, said.trace.interaction.clone());
    sent.insert(TRACEPARENT, said.trace.parent.clone());
    for state in &said.trace.state {
        sent.append(TRACESTATE, state.clone());
    }
    if let Some(date) = said.auth_time.and_then(http_date) {
        sent.insert(AUTH_DATE, date);
    }
    sent
}

/// What the user's browser calls itself, as the ecosystem wants it told.
fn customer(header: CustomerHeader, received: &HeaderMap) -> Option<(HeaderName, HeaderValue)> {
    let agent = received.get(USER_AGENT).filter(|agent| agent.len() <= MAX_USER_AGENT)?;
    let value = match header {
        CustomerHeader::UserAgent => agent.clone(),
        CustomerHeader::ClientHeaders => {
            HeaderValue::try_from(STANDARD.encode(agent.as_bytes())).ok()?
        }
    };
    Some((HeaderName::from_static(header.name()), value))
}

/// Puts the session's credential into `headers`, replacing any other.
pub fn authorize(headers: &mut HeaderMap, credential: Credential) {
    let Credential { authorization, dpop, introspection } = credential;
    let all = [(AUTHORIZATION, authorization), (DPOP, dpop), (INTROSPECTION, introspection)];
    for (name, value) in all {
        match value {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
}

/// RFC 9110 §5.6.7.
fn http_date(time: UnixTime) -> Option<HeaderValue> {
    let date = OffsetDateTime::from_unix_timestamp(time.as_i64()).ok()?;
    if !(0..=9999).contains(&date.year()) {
        return None;
    }
    HeaderValue::try_from(date.format(HTTP_DATE).ok()?).ok()
}

/// Whether `name` belongs to one connection only (RFC 9110 §7.6.1).
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    fate(name.as_str()) == Fate::HopByHop
}

#[cfg(test)]
mod tests {
    use super::*;
    use HeaderRejection as R;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    const CSRF: [HeaderName; 1] = [HeaderName::from_static("x-bff-csrf")];

    fn sent(lines: &[(&str, &str)]) -> HeaderMap {
        sent_in(None, lines)
    }

    fn sent_in(customer: Option<CustomerHeader>, lines: &[(&str, &str)]) -> HeaderMap {
        let trace = Trace {
            interaction: HeaderValue::from_static("our-interaction"),
            parent: HeaderValue::from_static("our-parent"),
            state: Vec::new(),
        };
        let said = Said {
            client: "::ffff:192.0.2.7".parse().unwrap(),
            host: &HeaderValue::from_static("app.example"),
            proto: &HeaderValue::from_static("https"),
            app: &CSRF,
            trace: &trace,
            auth_time: Some(UnixTime::new(784_111_777)),
            customer,
        };
        outbound(map(lines), &Method::GET, true, &said)
    }

    /// What a page says of its user's browser is not believed; what the browser itself says is passed
    /// on in the ecosystem's header, if the app has one.
    #[test]
    fn an_ecosystems_header_tells_the_browsers_name() {
        let told = |customer, agent: &str| {
            let lines = [
                ("user-agent", agent),
                ("x-customer-user-agent", "forged"),
                ("x-cds-client-headers", "forged"),
            ];
            let sent = sent_in(customer, &lines);
            ["x-customer-user-agent", "x-cds-client-headers"].map(|name| {
                let values: Vec<_> = sent.get_all(name).iter().collect();
                assert!(values.len() < 2, "{name}");
                values.first().map(|value| value.to_str().unwrap().to_owned())
            })
        };
        let agent = "Mozilla/5.0 (X11)";
        assert_eq!(told(None, agent), [None, None]);
        let as_it_is = told(Some(CustomerHeader::UserAgent), agent);
        assert_eq!(as_it_is, [Some(agent.to_owned()), None]);
        let encoded = told(Some(CustomerHeader::ClientHeaders), agent);
        assert_eq!(encoded, [None, Some("TW96aWxsYS81LjAgKFgxMSk=".to_owned())]);
        let longest = "a".repeat(512);
        assert_eq!(told(Some(CustomerHeader::UserAgent), &longest)[0], Some(longest.clone()));
        assert_eq!(told(Some(CustomerHeader::UserAgent), &"a".repeat(513)), [None, None]);
        let silent = sent_in(Some(CustomerHeader::UserAgent), &[("x-customer-user-agent", "x")]);
        assert!(!silent.contains_key("x-customer-user-agent"));
    }

    /// PXY-1, PXY-2.
    #[test]
    fn contradictory_or_disguised_headers_are_refused() {
        let refused: &[(&[(&str, &str)], R)] = &[
            (&[("connection", "authorization")], R::ConnectionNamesProtected),
            (&[("connection", "close, Authorization")], R::ConnectionNamesProtected),
            (
                &[("connection", "close"), ("connection", "AUTHORIZATION")],
                R::ConnectionNamesProtected,
            ),
            (&[("connection", "cookie")], R::ConnectionNamesProtected),
            (&[("connection", "content-length")], R::ConnectionNamesProtected),
            (&[("connection", "content-type")], R::ConnectionNamesProtected),
            (&[("connection", "content-encoding")], R::ConnectionNamesProtected),
            (&[("connection", "host")], R::ConnectionNamesProtected),
            (&[("connection", "dpop")], R::ConnectionNamesProtected),
            (&[("connection", "origin")], R::ConnectionNamesProtected),
            (&[("connection", "sec-fetch-site")], R::ConnectionNamesProtected),
            (&[("connection", "X-BFF-CSRF")], R::ConnectionNamesProtected),
            (&[("connection", "x-forwarded-for")], R::ConnectionNamesProtected),
            (&[("connection", "x_forwarded_for")], R::ConnectionNamesProtected),
            (&[("connection", "x-fapi-interaction-id")], R::ConnectionNamesProtected),
            (&[("connection", "traceparent")], R::ConnectionNamesProtected),
            (&[("connection", "idempotency-key")], R::ConnectionNamesProtected),
            (&[("connection", "if-match")], R::ConnectionNamesProtected),
            (&[("connection", "cache-control")], R::ConnectionNamesProtected),
            (&[("connection", "a b")], R::ConnectionMalformed),
            (&[("connection", "a;b")], R::ConnectionMalformed),
            (&[("connection", "\"cookie\"")], R::ConnectionMalformed),
            (&[("content-type", "a/b"), ("content-type", "a/b")], R::Duplicate),
            (&[("content-length", "1"), ("content-length", "1")], R::Duplicate),
            (&[("host", "a"), ("host", "a")], R::Duplicate),
            (&[("origin", "a"), ("origin", "a")], R::Duplicate),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], R::Duplicate),
            (&[("authorization", "a"), ("authorization", "b")], R::Duplicate),
            (&[("x-bff-csrf", "1"), ("x-bff-csrf", "1")], R::Duplicate),
            (&[("idempotency-key", "1"), ("idempotency-key", "2")], R::Duplicate),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], R::Duplicate),
            (&[("content-length", "1"), ("transfer-encoding", "chunked")], R::ContentLength),
            (&[("content-length", "")], R::ContentLength),
            (&[("content-length", "+1")], R::ContentLength),
            (&[("content-length", "-1")], R::ContentLength),
            (&[("content-length", "1, 1")], R::ContentLength),
            (&[("content-length", "0x1")], R::ContentLength),
            (&[("content-length", "1 ")], R::ContentLength),
            (&[("content-length", "18446744073709551616")], R::ContentLength),
            (&[("transfer-encoding", "gzip, chunked")], R::TransferEncoding),
            (&[("transfer-encoding", "identity")], R::TransferEncoding),
            (&[("transfer-encoding", "xchunked")], R::TransferEncoding),
            (&[("upgrade", "websocket"), ("connection", "upgrade")], R::Upgrade),
            (&[("upgrade", "h2c"), ("connection", "upgrade, http2-settings")], R::Upgrade),
            (&[("x-http-method-override", "DELETE")], R::MethodOverride),
            (&[("x-http-method", "DELETE")], R::MethodOverride),
            (&[("x-method-override", "DELETE")], R::MethodOverride),
            (&[("x_http_method_override", "DELETE")], R::Disguised),
            (&[("x_forwarded_for", "127.0.0.1")], R::Disguised),
            (&[("x-forwarded_for", "127.0.0.1")], R::Disguised),
            (&[("x_real_ip", "127.0.0.1")], R::Disguised),
            (&[("content_length", "7")], R::Disguised),
            (&[("transfer_encoding", "chunked")], R::Disguised),
            (&[("remote_user", "root")], R::Disguised),
            (&[("x_fapi_customer_ip_address", "127.0.0.1")], R::Disguised),
        ];
        for (lines, why) in refused {
            assert_eq!(check(&map(lines), &CSRF), Err(*why), "{lines:?}");
        }
    }

    #[test]
    fn ordinary_requests_are_not_refused() {
        let fine: &[&[(&str, &str)]] = &[
            &[],
            &[("connection", "keep-alive")],
            &[("connection", "close, te"), ("te", "trailers")],
            &[("connection", "x-hop"), ("x-hop", "1")],
            &[("connection", ", ,close")],
            &[("content-length", "0")],
            &[("content-length", "18446744073709551615")],
            &[("transfer-encoding", "Chunked")],
            &[("cookie", "a=b"), ("cookie", "c=d")],
            &[("accept", "a"), ("accept", "b")],
            &[("my_header", "1")],
            &[("expect", "100-continue")],
        ];
        for lines in fine {
            assert_eq!(check(&map(lines), &CSRF), Ok(()), "{lines:?}");
        }
    }

    /// BFF-6.1.1-K, BCP-4.13, MTLS-6.5: nothing the page says about identity, origin or route
    /// survives.
    #[test]
    fn forged_headers_never_reach_the_upstream() {
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "dpop",
            "host",
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-user",
            "x-forwarded-client-cert",
            "x-real-ip",
            "x-client-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "client-cert",
            "client-cert-chain",
            "x-client-cert",
            "x-client-cert-dn",
            "x-client-verify",
            "x-ssl-client-cert",
            "x-ssl-cert",
            "ssl-client-cert",
            "x-arr-clientcert",
            "x-tls-client-cert",
            "x-remote-user",
            "remote-user",
            "x-auth-request-user",
            "x-original-url",
            "x-original-uri",
            "x-rewrite-url",
            "x-host",
            "x-fapi-auth-date",
            "x-fapi-customer-ip-address",
            "x-fapi-interaction-id",
            "x-fapi-anything",
            "x-customer-user-agent",
            "x-cds-client-headers",
            "traceparent",
            "tracestate",
            "baggage",
            "origin",
            "referer",
            "sec-fetch-site",
            "sec-fetch-mode",
            "sec-ch-ua",
            "sec-websocket-key",
            "x-bff-csrf",
            "access-control-request-method",
            "expect",
            "te",
            "trailer",
            "keep-alive",
            "upgrade",
            "proxy-connection",
            "transfer-encoding",
            "content-length",
            "http2-settings",
            "max-forwards",
            "x-request-id",
            "connection",
        ] {
            let sent = sent(&[(name, "forged"), (name, "forged-again"), ("accept", "a/b")]);
            let mut values = sent.values().map(|value| value.to_str().unwrap());
            assert!(values.all(|value| !value.contains("forged")), "{name}");
            assert_eq!(sent.get("accept").unwrap(), "a/b", "{name}");
        }
    }

    #[test]
    fn everything_else_passes_with_all_its_values() {
        let lines = [
            ("accept", "a/b"),
            ("accept", "c/d"),
            ("accept-encoding", "gzip, br"),
            ("accept-language", "de"),
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
            ("if-match", "\"x\""),
            ("idempotency-key", "k"),
            ("x-idempotency-key", "k"),
            ("x-jws-signature", "s"),
            ("user-agent", "ua"),
            ("range", "bytes=0-1"),
            ("my_header", "1"),
        ];
        let sent = sent(&lines);
        for (name, value) in lines {
            assert!(sent.get_all(name).iter().any(|v| v == value), "{name}");
        }
        assert_eq!(sent.get_all("accept").iter().count(), 2);
    }

    /// RFC 9110 §7.6.1.
    #[test]
    fn headers_named_by_connection_stay_here() {
        let sent = sent(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("x-hop", "2"),
            ("x-other", "3"),
        ]);
        assert!(!sent.contains_key("x-hop"));
        assert!(sent.contains_key("x-other"));
    }

    /// FAPI1-BASE-6.2.2-3/4/5, BFF-6.1.3.5.
    #[test]
    fn our_own_headers_are_single_and_ours() {
        let sent = sent(&[("x-fapi-auth-date", "forged"), ("x-forwarded-for", "10.0.0.1")]);
        for (name, value) in [
            ("x-fapi-auth-date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x-fapi-customer-ip-address", "192.0.2.7"),
            ("x-fapi-interaction-id", "our-interaction"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "app.example"),
            ("x-forwarded-proto", "https"),
            ("traceparent", "our-parent"),
            ("via", "1.1 fapi-bff"),
        ] {
            assert_eq!(sent.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
        }
    }

    #[test]
    fn dates_no_header_can_hold_are_left_out() {
        for seconds in [i64::MAX, i64::MIN, 253_402_300_800, -62_167_219_201] {
            assert_eq!(http_date(UnixTime::new(seconds)), None, "{seconds}");
        }
        assert!(http_date(UnixTime::new(253_402_300_799)).is_some());
    }

    #[test]
    fn the_credential_replaces_every_other_and_leaves_no_proof_of_another() {
        let mut headers =
            map(&[("authorization", "a"), ("authorization", "b"), ("dpop", "a"), ("dpop", "b")]);
        let bearer = Credential::bearer("token").unwrap();
        let proven = Credential { dpop: Some(HeaderValue::from_static("proof")), ..bearer.clone() };
        authorize(&mut headers, proven);
        assert_eq!(headers.len(), 2);
        assert_eq!([&headers["authorization"], &headers["dpop"]], ["Bearer token", "proof"]);
        authorize(&mut headers, bearer);
        assert_eq!(headers.len(), 1);
    }
}
