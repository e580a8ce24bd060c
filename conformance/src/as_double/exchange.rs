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

use crate::{
    jws::Object,
    ledger::{Endpoint, Event, ListenerKind, Outcome, first},
    serve::Connection,
};

const BODY_LIMIT: usize = 256 * 1024;
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

    /// A form post and nothing else: method, media type, no query, no parameter twice.
    pub(crate) fn demand_form(&self) -> Result<(), Refusal> {
        self.demand_method(&Method::POST)?;
        let media_type = self
            .header(&header::CONTENT_TYPE)
            .and_then(|value| value.split(';').next())
            .map(str::trim);
        if media_type != Some("application/x-www-form-urlencoded") || !self.body_readable {
            return Err(self.refuse("content_type", "a form body is expected"));
        }
        if !self.query.is_empty() {
            return Err(self.refuse("query_forbidden", "parameters belong in the body"));
        }
        self.demand_single(&self.form)
    }

    pub(crate) fn demand_method(&self, method: &Method) -> Result<(), Refusal> {
        if self.method == *method {
            return Ok(());
        }
        Err(self
            .refuse("method", &format!("{method} is expected"))
            .status(StatusCode::METHOD_NOT_ALLOWED))
    }

    pub(crate) fn demand_listener(&self, listener: ListenerKind) -> Result<(), Refusal> {
        if self.connection.listener == listener {
            return Ok(());
        }
        Err(self.refuse("wrong_listener", &format!("{listener:?} is expected")))
    }

    pub(crate) fn demand_single(&self, pairs: &Pairs) -> Result<(), Refusal> {
        for (index, (name, _)) in pairs.iter().enumerate() {
            if pairs.iter().skip(index + 1).any(|(other, _)| other == name) {
                return Err(self.refuse("duplicate_parameter", name));
            }
        }
        Ok(())
    }

    /// A refusal whose reason is prefixed with the endpoint's name.
    pub(crate) fn refuse(&self, reason: &str, detail: &str) -> Refusal {
        Refusal::new("invalid_request", &format!("{}.{reason}", self.endpoint.name()), detail)
    }

    pub(crate) fn event(self, at: i64, status: StatusCode, verdict: Verdict) -> Event {
        let (outcome, reason, detail) = match verdict {
            Verdict::Accepted => (Outcome::Accepted, None, String::new()),
            Verdict::Faulted => (Outcome::Faulted, None, String::new()),
            Verdict::Refused(reason, detail) => (Outcome::Refused, Some(reason), detail),
        };
        Event {
            seq: 0,
            at,
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
        }
    }
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
    pub(crate) fn new(error: &'static str, reason: &str, detail: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            style: RefusalStyle::Json,
        }
    }

    #[must_use]
    pub(crate) const fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Shown to a person in a browser.
    #[must_use]
    pub(crate) const fn into_page(mut self) -> Self {
        self.style = RefusalStyle::Page;
        self
    }

    /// A resource server's answer (RFC 6750 §3).
    pub(crate) fn bearer(error: &'static str, reason: &str, detail: &str) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            style: RefusalStyle::Bearer,
            ..Self::new(error, reason, detail)
        }
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
