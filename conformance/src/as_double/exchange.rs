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

use super::{checks::Checks, rules::Rule};
use crate::{
    jws::Object,
    ledger::{Answer, Check, Endpoint, Event, ListenerKind, Outcome, first},
    serve::Connection,
};

pub(crate) const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");
const BODY_LIMIT: usize = 256 * 1024;

/// Bytes of an answer's body that are recorded.
const ANSWER_LIMIT: usize = 64 * 1024;

pub(crate) type Pairs = Vec<(String, String)>;

/// A request and what was learned of it.
pub(crate) struct Call {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) method: Method,
    pub(crate) path: String,
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
        Self {
            endpoint,
            connection,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
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

    /// What every request is looked at for: the connection, and proofs of possession of another kind
    /// than that of the tokens.
    pub(crate) fn observe_connection(&mut self) {
        let found = self.connection.tls();
        self.checks.observe(Rule::TlsVersion, self.connection.is_tls13(), &found);
        self.checks.observe(Rule::TlsCipher, self.connection.cipher_recommended(), &found);
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

    /// This listener, by its own path.
    pub(crate) fn demand_listener(&mut self, listener: ListenerKind) -> Result<(), Refusal> {
        let held = self.connection.listener == listener && self.base_fits();
        let found = format!("{listener:?} is expected");
        self.checks.demand_with(Rule::WrongListener(self.endpoint), held, &found)
    }

    /// Either listener, by its own path.
    pub(crate) fn demand_any_listener(&mut self) -> Result<(), Refusal> {
        let held = self.base_fits();
        self.checks.demand_with(
            Rule::WrongListener(self.endpoint),
            held,
            "the path of the other listener",
        )
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
    let twice = pairs.iter().enumerate().find_map(|(index, (name, _))| {
        pairs.iter().skip(index + 1).any(|(other, _)| other == name).then_some(name)
    });
    let found = twice.map(String::as_str).unwrap_or_default();
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
}

#[derive(Clone, Copy, Debug)]
enum RefusalStyle {
    Json,
    Page,
    Bearer,
}

impl Refusal {
    pub(super) fn new(error: &'static str, status: u16, reason: &str, detail: &str) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            error,
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            style: RefusalStyle::Json,
        }
    }

    /// Shown to a person in a browser.
    #[must_use]
    pub(crate) const fn into_page(mut self) -> Self {
        self.style = RefusalStyle::Page;
        self
    }

    /// A resource server's answer (RFC 6750 §3).
    pub(super) fn bearer(error: &'static str, status: u16, reason: &str, detail: &str) -> Self {
        Self { style: RefusalStyle::Bearer, ..Self::new(error, status, reason, detail) }
    }

    pub(crate) fn respond(&self) -> Response {
        let description = format!("{}: {}", self.reason, self.detail);
        match self.style {
            RefusalStyle::Json => json_response(
                self.status,
                &json!({"error": self.error, "error_description": description}),
            ),
            RefusalStyle::Page => super::page::refusal(self.status, &self.reason, &self.detail),
            RefusalStyle::Bearer => {
                let mut response = json_response(self.status, &json!({"error": self.error}));
                // RFC 6750 §3.1: no error code when no token came at all.
                let challenge = if self.error == "invalid_request" {
                    "Bearer".to_owned()
                } else {
                    format!(
                        "Bearer error=\"{}\", error_description=\"{}\"",
                        self.error, self.reason
                    )
                };
                if let Ok(value) = HeaderValue::from_str(&challenge) {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
                }
                response
            }
        }
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
