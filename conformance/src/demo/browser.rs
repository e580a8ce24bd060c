//! A browser without a screen: cookies kept and sent as browsers do, `Origin` and `Sec-Fetch-*` on every
//! request, redirects shown and not followed, everything seen remembered. It must not know what the
//! servers are.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{
    cookies::{Crossing, Jar, SetCookie},
    leaks::{Sight, by_design},
    recording::{Recorded, Recording},
};
use crate::{
    as_double::exchange::header_pairs,
    pki::{APP_HOST, AS_HOST, Pki, PkiError},
};

/// Most bytes of an answer; what is larger is nobody's page.
const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// The body of an answer, if it is not larger than this.
pub(crate) async fn read_body(
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    loop {
        let piece = response.chunk().await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("the answer broke off: {}", cause.unwrap_or_default())
        })?;
        let Some(piece) = piece else { return Ok(body.freeze()) };
        if body.len() + piece.len() > limit {
            return Err(format!("the answer has more than {limit} bytes"));
        }
        body.extend_from_slice(&piece);
    }
}

/// Where a navigation comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// The address bar.
    Typed,
    /// A page of the same origin.
    SameOrigin,
    /// Another site, or a chain of redirects that passed through one.
    CrossSite,
}

/// A call by the page's script.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    body: Option<(&'static str, Bytes)>,
    custom_header: bool,
    foreign: Option<&'static str>,
}

impl Call {
    /// A GET of a path on the app's origin, with the custom header.
    pub fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            body: None,
            custom_header: true,
            foreign: None,
        }
    }

    /// The same as a POST without a body.
    pub fn post(path: &str) -> Self {
        Self { method: Method::POST, ..Self::get(path) }
    }

    /// With form-encoded text.
    #[must_use]
    pub fn form(self, form: &str) -> Self {
        self.bytes("application/x-www-form-urlencoded", form.to_owned())
    }

    /// With JSON.
    #[must_use]
    pub fn json(self, json: &Value) -> Self {
        self.bytes("application/json", json.to_string())
    }

    /// With any body.
    #[must_use]
    pub fn bytes(self, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self { body: Some((kind, body.into())), ..self }
    }

    /// Without the custom header, as a form or an image of any page could send it.
    #[must_use]
    pub fn without_custom_header(self) -> Self {
        Self { custom_header: false, ..self }
    }

    /// By script of another origin.
    #[must_use]
    pub fn by_origin(self, origin: &'static str) -> Self {
        Self { foreign: Some(origin), ..self }
    }
}

/// A form on a page, filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageForm {
    /// Where it is posted to.
    pub action: String,
    /// Its fields, form-encoded.
    pub body: String,
}

impl PageForm {
    /// The one form of a page whose fields are all hidden, as authorization servers write it (OAuth 2.0
    /// Form Post Response Mode); nothing if the page has no such form.
    fn read(html: &str) -> Option<Self> {
        let (_, rest) = html.split_once("<form ")?;
        let (form, _) = rest.split_once("</form>")?;
        let (head, fields) = form.split_once('>')?;
        let attribute = |tag: &str, name: &str| {
            let (_, rest) = tag.split_once(&format!("{name}=\""))?;
            Some(unescape(rest.split_once('"')?.0))
        };
        let mut body = form_urlencoded::Serializer::new(String::new());
        for field in fields.split("<input type=\"hidden\" ").skip(1) {
            let (field, _) = field.split_once('>')?;
            body.append_pair(&attribute(field, "name")?, &attribute(field, "value")?);
        }
        Some(Self { action: attribute(head, "action")?, body: body.finish() })
    }
}

fn unescape(text: &str) -> String {
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request, for people.
    pub request: String,
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// This answer if it has the status, or what it was instead.
    pub fn expect(self, status: u16) -> Result<Self, String> {
        if self.status == status {
            return Ok(self);
        }
        let body = String::from_utf8_lossy(&self.body);
        let body: String = body.chars().take(600).collect();
        Err(format!("{} was answered with {}, not {status}: {body}", self.request, self.status))
    }

    /// This answer if it is a refusal with this status and code.
    pub fn expect_refusal(self, status: u16, code: &str) -> Result<Self, String> {
        let answer = self.expect(status)?;
        let body = answer.json()?;
        let (found, id) = (text(&body, "error_code"), text(&body, "request_id"));
        if found == code && !id.is_empty() {
            return Ok(answer);
        }
        Err(format!("{}: expected error_code {code} and a request_id, not {body}", answer.request))
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("{}: the body is not JSON: {error}", self.request))
    }

    /// One header as text, or nothing.
    pub fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where the answer sends the browser.
    pub fn location(&self) -> Result<Url, String> {
        let location = self.header(header::LOCATION);
        Url::parse(location)
            .map_err(|_| format!("{}: Location is not an absolute URL: {location:?}", self.request))
    }

    /// The form on the page, if it is one that could be posted as it is.
    pub fn form(&self) -> Option<PageForm> {
        let html = self.header(header::CONTENT_TYPE).starts_with("text/html");
        html.then(|| PageForm::read(&String::from_utf8_lossy(&self.body)))?
    }

    /// What the page loads in frames, in order.
    pub fn frames(&self) -> Vec<String> {
        self.quoted("<iframe hidden src=\"")
    }

    /// Where the page's first link leads.
    pub fn link(&self) -> Option<String> {
        self.quoted("<a href=\"").into_iter().next()
    }

    /// The quoted text after each of these.
    fn quoted(&self, start: &str) -> Vec<String> {
        let html = String::from_utf8_lossy(&self.body);
        let after = html.split(start).skip(1);
        after.filter_map(|rest| Some(unescape(rest.split_once('"')?.0))).collect()
    }

    /// Whether a browser shows this answer in a frame of a page at another origin: every policy must
    /// allow it (CSP 3, `frame-ancestors`), and where none speaks of it, `X-Frame-Options`.
    pub fn may_be_framed_by(&self, origin: &str) -> bool {
        let policies = self.headers.get_all(header::CONTENT_SECURITY_POLICY).iter();
        let texts = policies.filter_map(|policy| policy.to_str().ok());
        let mut ancestors = texts
            .flat_map(|text| text.split(','))
            .filter_map(|policy| {
                let mut rules = policy.split(';').map(str::trim);
                rules.find_map(|rule| rule.strip_prefix("frame-ancestors"))
            })
            .peekable();
        if ancestors.peek().is_none() {
            return !self.headers.contains_key(header::X_FRAME_OPTIONS);
        }
        let allows = |source: &str| source == origin || matches!(source, "*" | "https:");
        ancestors.all(|sources| sources.split_whitespace().any(allows))
    }

    /// The cookies it sets.
    pub fn cookies(&self) -> Vec<SetCookie> {
        let headers = self.headers.get_all(header::SET_COOKIE).iter();
        headers.filter_map(|value| SetCookie::parse(value.to_str().ok()?)).collect()
    }
}

/// A member of a JSON object as text; empty if it is none.
pub fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// One browser. A clone has the same cookies and goes its own way.
#[derive(Clone, Debug)]
pub struct Browser {
    http: reqwest::Client,
    origin: String,
    /// The app's host, whose cookies count.
    host: String,
    custom_header: HeaderName,
    jar: Jar,
    seen: Vec<Sight>,
    recording: Option<Recording>,
}

impl Browser {
    /// A browser that trusts the development authority and is about to visit the app at `origin`.
    pub fn new(pki: &Pki, origin: &str) -> Result<Self, PkiError> {
        Ok(Self::with_client(Self::client(pki)?, origin))
    }

    /// What such a browser sends requests by.
    pub fn client(pki: &Pki) -> Result<reqwest::Client, PkiError> {
        // The port comes from each URL.
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let hosts = [APP_HOST, AS_HOST].map(|host| (host.to_owned(), here));
        pki.http_client(None, &hosts)
    }

    /// A browser that trusts and resolves as `http` does, which must not follow redirects, and is
    /// about to visit the app at `origin`.
    pub fn with_client(http: reqwest::Client, origin: &str) -> Self {
        let host = Url::parse(origin).ok().and_then(|url| url.host_str().map(str::to_owned));
        Self {
            http,
            origin: origin.to_owned(),
            host: host.unwrap_or_default(),
            custom_header: HeaderName::from_static("x-bff-csrf"),
            jar: Jar::default(),
            seen: Vec::new(),
            recording: None,
        }
    }

    /// The same, with another custom header on calls by script.
    #[must_use]
    pub fn custom_header(self, custom_header: HeaderName) -> Self {
        Self { custom_header, ..self }
    }

    /// The same browser, whose exchanges are recorded; clones record to the same place.
    #[must_use]
    pub fn recorded(self, recording: Recording) -> Self {
        Self { recording: Some(recording), ..self }
    }

    /// Everything seen so far.
    pub fn seen(&self) -> &[Sight] {
        &self.seen
    }

    /// Names and values of the app's cookies.
    pub fn cookies(&self) -> Vec<(&str, &str)> {
        self.jar.of(&self.host)
    }

    /// A call by script: `fetch`.
    pub async fn fetch(&mut self, call: Call) -> Result<Answer, String> {
        let url = self.url(&call.path)?;
        let (site, crossing) = match call.foreign {
            None => ("same-origin", None),
            Some(_) => ("cross-site", Some(Crossing::Subrequest)),
        };
        let mut headers = fetch_metadata(site, "cors", "empty");
        // Browsers send no Origin with a same-origin GET.
        if call.foreign.is_some() || call.method != Method::GET {
            headers.insert(header::ORIGIN, value(call.foreign.unwrap_or(&self.origin))?);
        }
        if call.custom_header {
            headers.insert(self.custom_header.clone(), HeaderValue::from_static("1"));
        }
        if let Some((kind, _)) = &call.body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let body = call.body.map(|(_, body)| body).unwrap_or_default();
        self.send(call.method, url, headers, crossing, body).await
    }

    /// A top-level navigation.
    pub async fn navigate(&mut self, from: From, url: &str) -> Result<Answer, String> {
        let url = self.url(url)?;
        let site = match from {
            From::Typed => "none",
            From::SameOrigin => "same-origin",
            From::CrossSite => "cross-site",
        };
        let crossing = (from == From::CrossSite).then_some(Crossing::Navigation);
        let headers = fetch_metadata(site, "navigate", "document");
        self.send(Method::GET, url, headers, crossing, Bytes::new()).await
    }

    /// The form that a page posts, as a top-level navigation: by a button or by script. The page is this
    /// answer, and at this origin.
    pub async fn submit_from(
        &mut self,
        (page, origin): (&Answer, &str),
        form: &PageForm,
    ) -> Result<Answer, String> {
        // Fetch, "append a request Origin header": a page under `no-referrer` does not say where it is
        // from, not even to its own origin.
        let told = page.header(header::REFERRER_POLICY) != "no-referrer";
        self.post(origin, told, &form.action, &form.body).await
    }

    /// A form of a page at `page` (an origin) that is posted as a top-level navigation. From another
    /// site, cookies that are not marked for that stay behind.
    pub async fn submit(&mut self, page: &str, url: &str, form: &str) -> Result<Answer, String> {
        self.post(page, true, url, form).await
    }

    /// A frame that a page at `page` (an origin) loads. In one of another site only cookies that are
    /// marked for that go along, and of what it sets a browser keeps nothing that this one looks for.
    pub async fn frame(&mut self, page: &str, url: &str) -> Result<Answer, String> {
        let url = self.url(url)?;
        let own = page == url.origin().ascii_serialization();
        let site = if own { "same-origin" } else { "cross-site" };
        let crossing = (!own).then_some(Crossing::Subrequest);
        let mut headers = fetch_metadata(site, "navigate", "iframe");
        let host = url.host_str().unwrap_or_default().to_owned();
        if let Some(cookies) = self.jar.header(&host, url.path(), crossing) {
            headers.insert(header::COOKIE, value(&cookies)?);
        }
        let answer = self.exchange(Method::GET, url, headers, Bytes::new()).await?;
        self.remember(&answer);
        Ok(answer)
    }

    async fn post(
        &mut self,
        page: &str,
        told: bool,
        url: &str,
        form: &str,
    ) -> Result<Answer, String> {
        let url = self.url(url)?;
        let own = page == url.origin().ascii_serialization();
        let site = if own { "same-origin" } else { "cross-site" };
        // Lax cookies go along with a navigation by GET only.
        let crossing = (!own).then_some(Crossing::Subrequest);
        let mut headers = fetch_metadata(site, "navigate", "document");
        headers.insert(header::ORIGIN, value(if told { page } else { "null" })?);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        let body = Bytes::copy_from_slice(form.as_bytes());
        self.send(Method::POST, url, headers, crossing, body).await
    }

    /// A request to the app with exactly these headers, which no browser would send: nothing is added,
    /// no cookie kept.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, String> {
        self.exchange(method, self.url(path)?, headers, body).await
    }

    fn url(&self, reference: &str) -> Result<Url, String> {
        let base = Url::parse(&self.origin).and_then(|origin| origin.join(reference));
        base.map_err(|error| format!("{reference:?} is no address: {error}"))
    }

    async fn send(
        &mut self,
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        crossing: Option<Crossing>,
        body: Bytes,
    ) -> Result<Answer, String> {
        let host = url.host_str().unwrap_or_default().to_owned();
        if let Some(cookies) = self.jar.header(&host, url.path(), crossing) {
            headers.insert(header::COOKIE, value(&cookies)?);
        }
        let answer = self.exchange(method, url, headers, body).await?;
        self.remember(&answer);
        for cookie in answer.cookies() {
            let name = cookie.name.clone();
            self.jar.store(&host, cookie).map_err(|why| {
                format!("{}: a browser drops the cookie {name}: {why}", answer.request)
            })?;
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, String> {
        let mut address = url.clone();
        address.set_query(None);
        let request = format!("{method} {address}");
        let broken = |error: reqwest::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            // The URL may hold a `request_uri` or a response.
            format!("{request}: no answer: {} ({cause})", error.without_url())
        };
        let mut record = self.recording.as_ref().map(|_| Recorded {
            at: std::time::Instant::now(),
            method: method.to_string(),
            url: url.to_string(),
            request_headers: header_pairs(&headers),
            request_body: String::from_utf8_lossy(&body).into_owned(),
            status: 0,
            response_headers: Vec::new(),
            response_body: String::new(),
        });
        let sending = self.http.request(method, url).headers(headers).body(body);
        let received = async {
            let response = sending.send().await.map_err(broken)?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = read_body(response, BODY_LIMIT).await;
            let body = body.map_err(|why| format!("{request}: {why}"))?;
            Ok(Answer { request: request.clone(), status, headers, body })
        }
        .await;
        if let (Some(record), Ok(answer)) = (&mut record, &received) {
            record.status = answer.status;
            record.response_headers = header_pairs(&answer.headers);
            record.response_body = String::from_utf8_lossy(&answer.body).into_owned();
        }
        if let (Some(recording), Some(record)) = (&self.recording, record) {
            recording.add(record);
        }
        received
    }

    fn remember(&mut self, answer: &Answer) {
        let mut passed = Vec::new();
        let mut body = String::from_utf8_lossy(&answer.body).into_owned();
        let mut lines = String::new();
        for (name, value) in &answer.headers {
            let mut value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if name == header::LOCATION {
                let (rest, taken) = by_design(&value, &self.host);
                (value, passed) = (rest, taken);
            }
            let _ = writeln!(lines, "{name}: {value}");
        }
        if let Ok(json) = answer.json()
            && let Some(url) = json.get("authorization_url").and_then(Value::as_str)
        {
            let (rest, taken) = by_design(url, &self.host);
            body = body.replace(url, &rest);
            passed.extend(taken);
        }
        let what = format!("{} -> {}", answer.request, answer.status);
        self.seen.push(Sight { what, text: lines + "\n" + &body, passed });
    }
}

fn fetch_metadata(site: &'static str, mode: &'static str, dest: &'static str) -> HeaderMap {
    let pairs = [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
    pairs
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| format!("{text:?} is no header value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Answer { request: "GET /".to_owned(), status: 200, headers: map, body: body.into() }
    }

    #[test]
    fn a_page_is_framed_by_whom_every_policy_allows() {
        const CSP: &str = "content-security-policy";
        const OP: &str = "https://op.example";
        for (headers, may) in [
            (vec![], true),
            (vec![("x-frame-options", "DENY")], false),
            (vec![(CSP, "default-src 'none'; frame-ancestors 'none'")], false),
            (vec![(CSP, "default-src 'none'; frame-ancestors https://op.example")], true),
            (vec![(CSP, "frame-ancestors https://op.example:8443")], false),
            (vec![(CSP, "frame-ancestors *")], true),
            (vec![(CSP, "frame-ancestors https://op.example"), ("x-frame-options", "DENY")], true),
            (vec![(CSP, "frame-ancestors https://op.example, frame-ancestors 'none'")], false),
            (vec![(CSP, "frame-ancestors https://op.example"), (CSP, "frame-ancestors")], false),
        ] {
            assert_eq!(answer(&headers, "").may_be_framed_by(OP), may, "{headers:?}");
        }
    }

    #[test]
    fn frames_and_the_link_of_a_page_are_found() {
        let page = answer(
            &[],
            "<iframe hidden src=\"https://a/?x=1&amp;y=2\"></iframe><iframe hidden src=\"https://b/\">\
             </iframe><a href=\"https://c/?d&amp;e\">on</a><a href=\"https://f/\">",
        );
        assert_eq!(page.frames(), ["https://a/?x=1&y=2", "https://b/"]);
        assert_eq!(page.link().as_deref(), Some("https://c/?d&e"));
        assert_eq!((answer(&[], "").frames().len(), answer(&[], "").link()), (0, None));
    }

    #[test]
    fn a_form_is_read_with_its_fields_or_not_at_all() {
        let field = |name: &str, value: &str| {
            format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
        };
        let page = |inner: &str| format!("<h1>x</h1><form method=\"post\" {inner}</form><p>");
        let fields = field("code", "a&amp;b") + &field("state", "&quot;1 2&quot;") + "<button>Go";
        let form = PageForm::read(&page(&format!("action=\"https://app/cb\">{fields}"))).unwrap();
        assert_eq!(form.action, "https://app/cb");
        assert_eq!(form.body, "code=a%26b&state=%221+2%22");
        let empty = PageForm::read(&page("action=\"/x\">")).unwrap();
        assert_eq!((empty.action.as_str(), empty.body.as_str()), ("/x", ""));
        for wrong in [
            "",
            "<form action=\"/x\">",
            &page(">"),
            &page("action=\"/x\"><input type=\"hidden\" name=\"a\">"),
        ] {
            assert_eq!(PageForm::read(wrong), None, "{wrong}");
        }
    }
}
