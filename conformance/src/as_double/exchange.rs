//! One HTTP exchange as the double sees it: the request taken apart strictly, the answer or refusal
//! put together. It must not know which rules are checked.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{checks::Checks, conduct::Door, rules::Rule};
use crate::{
    jws::Object,
    ledger::{Answer, Check, Endpoint, Event, ListenerKind, Outcome, first},
    serve::Connection,
};

pub(crate) const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");
const BODY_LIMIT: usize = 256 * 1024;

/// Bytes of an answer's body that are recorded.
const ANSWER_LIMIT: usize = 64 * 1024;

/// The OAuth error that asks for another nonce (RFC 9449 §8, §9).
pub(super) const NONCE_WANTED: &str = "use_dpop_nonce";

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Parameters that may come more than once (RFC 8707 §2, RFC 8693 §2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

pub(crate) type Pairs = Vec<(String, String)>;

/// A request and what was learned of it.
pub(crate) struct Call {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) method: Method,
    pub(crate) path: String,
    /// The address the client believes to be calling, up to the path.
    pub(crate) authority: String,
    pub(crate) version: String,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Pairs,
    pub(crate) form: Pairs,
    pub(crate) client_id: Option<String>,
    pub(crate) notes: Object,
    pub(crate) checks: Checks,
    /// Sent back with the answer, whatever it is.
    pub(crate) interaction_id: Option<HeaderValue>,
    /// Whose base path the request came to, where plain and mutual TLS have one each.
    pub(crate) base: Option<ListenerKind>,
    body_readable: bool,
}

impl Call {
    /// Everything but the body, which is left for whoever streams it.
    pub(crate) fn head(endpoint: Endpoint, connection: Connection, parts: &Parts) -> Self {
        // HTTP/2 has it in the address, HTTP/1.1 in a header.
        let host = || parts.headers.get(header::HOST)?.to_str().ok();
        let authority = parts.uri.authority().map(http::uri::Authority::as_str).or_else(host);
        Self {
            endpoint,
            connection,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            authority: authority.unwrap_or_default().to_owned(),
            version: format!("{:?}", parts.version),
            query: pairs(parts.uri.query().unwrap_or_default().as_bytes()),
            form: Vec::new(),
            headers: parts.headers.clone(),
            client_id: None,
            notes: Object::new(),
            checks: Checks::default(),
            interaction_id: None,
            base: None,
            body_readable: false,
        }
    }

    /// The whole request, its body as a form.
    pub(crate) async fn read(endpoint: Endpoint, connection: Connection, request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let mut call = Self::head(endpoint, connection, &parts);
        if let Ok(body) = to_bytes(body, BODY_LIMIT).await {
            call.form = pairs(&body);
            call.body_readable = true;
        }
        call
    }

    pub(crate) fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.notes.insert(name.to_owned(), value.into());
    }

    pub(crate) fn form(&self, name: &str) -> Option<&str> {
        first(&self.form, name)
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        first(&self.query, name)
    }

    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The address called, without query.
    pub(crate) fn url(&self) -> String {
        format!("https://{}{}", self.authority, self.path)
    }

    /// What every request is looked at for: the connection, and proofs of possession where tokens are
    /// not bound to any.
    pub(crate) fn observe_connection(&mut self, uses_dpop: bool) {
        let found = self.connection.tls();
        self.checks.observe(Rule::TlsVersion, self.connection.is_tls13(), &found);
        self.checks.observe(Rule::TlsCipher, self.connection.cipher_recommended(), &found);
        if uses_dpop {
            return;
        }
        if matches!(
            self.endpoint,
            Endpoint::Par
                | Endpoint::Token
                | Endpoint::Userinfo
                | Endpoint::Accounts
                | Endpoint::Api
        ) {
            let proof = self.headers.contains_key("dpop");
            self.checks.observe(Rule::DpopUnexpected, !proof, "");
        }
    }

    /// A form post and nothing else: method, media type, no query, no parameter twice.
    pub(crate) fn demand_form(&mut self) -> Result<(), Refusal> {
        self.demand_method(&Method::POST)?;
        let media_type = self
            .header(&header::CONTENT_TYPE)
            .and_then(|value| value.split(';').next())
            .map(str::trim);
        let form = media_type == Some("application/x-www-form-urlencoded") && self.body_readable;
        self.checks.demand(Rule::ContentType(self.endpoint), form)?;
        self.checks.demand(Rule::QueryForbidden(self.endpoint), self.query.is_empty())?;
        demand_single(&mut self.checks, self.endpoint, &self.form)
    }

    /// No query parameter twice.
    pub(crate) fn demand_single_query(&mut self) -> Result<(), Refusal> {
        demand_single(&mut self.checks, self.endpoint, &self.query)
    }

    pub(crate) fn demand_method(&mut self, method: &Method) -> Result<(), Refusal> {
        let held = self.method == *method;
        let found = format!("{method} is expected");
        self.checks.demand_with(Rule::Method(self.endpoint), held, &found)
    }

    /// The endpoint's listener, by its own path.
    pub(super) fn demand_door(&mut self, door: Door) -> Result<(), Refusal> {
        let (held, found) = match door {
            Door::Only(listener) => {
                (self.connection.listener == listener, format!("{listener:?} is expected"))
            }
            Door::Either => (true, "the path of the other listener".to_owned()),
        };
        let held = held && self.base_fits();
        self.checks.demand_with(Rule::WrongListener(self.endpoint), held, &found)
    }

    fn base_fits(&self) -> bool {
        self.base.is_none_or(|base| base == self.connection.listener)
    }

    /// A form parameter that must be there.
    pub(crate) fn demand_value(&mut self, rule: Rule, name: &str) -> Result<String, Refusal> {
        let value = self.form(name).map(str::to_owned);
        self.checks.require(rule, value)
    }

    /// The answer as it goes out, and its text for the ledger.
    pub(crate) async fn finish(&self, mut response: Response) -> (Response, Answer) {
        self.echo_interaction_id(&mut response);
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let body = String::from_utf8_lossy(bytes.get(..ANSWER_LIMIT).unwrap_or(&bytes));
        let answer = Answer { headers: header_pairs(&parts.headers), body: body.into_owned() };
        (Response::from_parts(parts, Body::from(bytes)), answer)
    }

    pub(crate) fn echo_interaction_id(&self, response: &mut Response) {
        if let Some(id) = &self.interaction_id {
            response.headers_mut().insert(INTERACTION_ID, id.clone());
        }
    }

    pub(crate) fn event(
        self,
        at: i64,
        status: StatusCode,
        verdict: Verdict,
        answer: Answer,
    ) -> Event {
        let checks: Vec<Check> = self.checks.into_inner();
        let (outcome, reason, detail) = match verdict {
            Verdict::Accepted => (Outcome::Accepted, None, String::new()),
            Verdict::Faulted => (Outcome::Faulted, None, String::new()),
            Verdict::Challenged(reason, detail) => (Outcome::Challenged, Some(reason), detail),
            Verdict::Refused(reason, detail) => (Outcome::Refused, Some(reason), detail),
        };
        Event {
            seq: 0,
            at,
            at_ms: 0,
            endpoint: self.endpoint,
            listener: self.connection.listener,
            method: self.method.to_string(),
            path: self.path,
            version: self.version,
            status: status.as_u16(),
            outcome,
            reason,
            detail,
            peer_thumbprint: self.connection.peer_thumbprint,
            client_id: self.client_id,
            headers: header_pairs(&self.headers),
            query: self.query,
            form: self.form,
            notes: self.notes,
            checks,
            answer,
        }
    }
}

fn demand_single(checks: &mut Checks, endpoint: Endpoint, pairs: &Pairs) -> Result<(), Refusal> {
    let single = |name: &&String| !REPEATABLE.contains(&name.as_str());
    let names: Vec<&String> = pairs.iter().map(|(name, _)| name).filter(single).collect();
    let mut before = names.iter().enumerate();
    let twice =
        before.find_map(|(index, name)| names.get(..index)?.contains(name).then_some(*name));
    let found = twice.map_or("", String::as_str);
    checks.demand_with(Rule::Duplicate(endpoint), twice.is_none(), found)
}

fn pairs(raw: &[u8]) -> Pairs {
    form_urlencoded::parse(raw).into_owned().collect()
}

/// Headers as text, in order, names as sent (lower case).
pub(crate) fn header_pairs(headers: &HeaderMap) -> Pairs {
    headers
        .iter()
        .map(|(name, value)| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), text)
        })
        .collect()
}

pub(crate) enum Verdict {
    Accepted,
    Challenged(String, String),
    Faulted,
    Refused(String, String),
}

/// Why a request was refused: an OAuth error for the peer, a stable reason for the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: &'static str,
    pub(crate) reason: String,
    pub(crate) detail: String,
    style: RefusalStyle,
    /// The nonce that the request is to come again with.
    nonce: Option<String>,
}

#[derive(Clone, Debug)]
enum RefusalStyle {
    Json,
    Page,
    /// A challenge by this scheme.
    Resource(String),
}

impl Refusal {
    pub(super) fn new(error: &'static str, status: u16, reason: &str, detail: &str) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            error,
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            style: RefusalStyle::Json,
            nonce: None,
        }
    }

    /// Shown to a person in a browser.
    #[must_use]
    pub(crate) fn into_page(mut self) -> Self {
        self.style = RefusalStyle::Page;
        self
    }

    /// A resource server's answer (RFC 6750 §3).
    pub(super) fn bearer(error: &'static str, status: u16, reason: &str, detail: &str) -> Self {
        let style = RefusalStyle::Resource("Bearer".to_owned());
        Self { style, ..Self::new(error, status, reason, detail) }
    }

    /// The same as a resource server says it that takes tokens by this scheme (RFC 9449 §7.1).
    #[must_use]
    pub(crate) fn at_resource(mut self, scheme: &str) -> Self {
        if self.status == StatusCode::BAD_REQUEST {
            self.status = StatusCode::UNAUTHORIZED;
        }
        self.style = RefusalStyle::Resource(scheme.to_owned());
        self
    }

    /// Whether it is no more than that.
    pub(super) fn asks_for_nonce(&self) -> bool {
        self.error == NONCE_WANTED
    }

    /// With the nonce to come again with.
    #[must_use]
    pub(super) fn with_nonce(mut self, nonce: String) -> Self {
        self.nonce = Some(nonce);
        self
    }

    /// What the ledger is to say of it.
    pub(crate) fn verdict(self) -> Verdict {
        if self.asks_for_nonce() {
            return Verdict::Challenged(self.reason, self.detail);
        }
        Verdict::Refused(self.reason, self.detail)
    }

    pub(crate) fn respond(&self) -> Response {
        let description = format!("{}: {}", self.reason, self.detail);
        let mut response = match &self.style {
            RefusalStyle::Json => json_response(
                self.status,
                &json!({"error": self.error, "error_description": description}),
            ),
            RefusalStyle::Page => super::page::refusal(self.status, &self.reason, &self.detail),
            RefusalStyle::Resource(scheme) => self.challenge(scheme),
        };
        if let Some(nonce) = &self.nonce {
            announce_nonce(&mut response, nonce);
        }
        response
    }

    fn challenge(&self, scheme: &str) -> Response {
        let (mut response, challenge) = match self.error {
            // As in the conformance suite: no body to parse.
            NONCE_WANTED => (
                respond(self.status, "text/plain", String::new()),
                format!("{scheme} error=\"{}\"", self.error),
            ),
            // RFC 6750 §3.1: no error code when no token came at all.
            "invalid_request" => (self.error_body(), scheme.to_owned()),
            _ => (
                self.error_body(),
                format!("{scheme} error=\"{}\", error_description=\"{}\"", self.error, self.reason),
            ),
        };
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }

    fn error_body(&self) -> Response {
        json_response(self.status, &json!({"error": self.error}))
    }
}

/// Tells the nonce of the next proof.
pub(crate) fn announce_nonce(response: &mut Response, nonce: &str) {
    if let Ok(value) = HeaderValue::from_str(nonce) {
        response.headers_mut().insert(DPOP_NONCE, value);
    }
}

/// JSON that nobody may store.
pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response {
    respond(status, "application/json", body.to_string())
}

pub(crate) fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 303 See Other (FAPI 2.0 SP 5.3.2.2: never 307).
pub(crate) fn see_other(location: &str) -> Response {
    let mut response = respond(StatusCode::SEE_OTHER, "text/plain", String::new());
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}
