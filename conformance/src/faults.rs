//! Faults on the wire: what a peer may do to an HTTP exchange, as data, with a number of uses. Shared
//! by both doubles; knows nothing of OAuth.

use std::{collections::VecDeque, convert::Infallible, future::pending, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    response::Response,
};
use futures_util::stream;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::sync::watch;

use crate::serve::Connection;

/// Things that apply in order, each for a number of uses or for ever.
#[derive(Clone, Debug)]
pub struct Schedule<T> {
    entries: VecDeque<(T, Option<u32>)>,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new() }
    }
}

impl<T: Clone> Schedule<T> {
    /// Adds an item for `times` uses, `None` for ever.
    pub fn push(&mut self, item: T, times: Option<u32>) {
        if times != Some(0) {
            self.entries.push_back((item, times));
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Uses the first item that has uses left.
    pub fn take(&mut self) -> Option<T> {
        let (item, left) = self.entries.front_mut()?;
        let item = item.clone();
        if let Some(left) = left {
            *left -= 1;
            if *left == 0 {
                self.entries.pop_front();
            }
        }
        Some(item)
    }

    /// Uses every item once.
    pub fn take_all(&mut self) -> Vec<T> {
        let all = self.entries.iter().map(|(item, _)| item.clone()).collect();
        for (_, left) in &mut self.entries {
            if let Some(left) = left {
                *left -= 1;
            }
        }
        self.entries.retain(|(_, left)| *left != Some(0));
        all
    }
}

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer instead of the real one.
    Respond {
        /// HTTP status.
        status: u16,
        /// `Content-Type`.
        content_type: String,
        /// The body as sent.
        body: Vec<u8>,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
    /// A redirect instead of the real answer.
    Redirect {
        /// HTTP status, 3xx.
        status: u16,
        /// Where to.
        location: String,
    },
    /// A well-formed JSON document of this many bytes instead of the real answer.
    Oversized(usize),
    /// No answer, ever.
    Hang,
    /// The TCP connection is closed.
    Drop,
    /// The real answer, this much later.
    Delay(Duration),
    /// The real answer once the gate opens.
    Gate(Arc<Gate>),
    /// The real answer in small pieces.
    Drip {
        /// Bytes per piece.
        chunk: usize,
        /// Pause before each piece.
        every: Duration,
    },
    /// The real answer under another `Content-Type`.
    ContentType(String),
    /// The real answer's first bytes only, as a complete HTTP message.
    Truncate(usize),
}

impl Fault {
    /// The fault's name in an event's notes.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Respond { .. } => "respond",
            Self::Redirect { .. } => "redirect",
            Self::Oversized(_) => "oversized",
            Self::Hang => "hang",
            Self::Drop => "drop",
            Self::Delay(_) => "delay",
            Self::Gate(_) => "gate",
            Self::Drip { .. } => "drip",
            Self::ContentType(_) => "content_type",
            Self::Truncate(_) => "truncate",
        }
    }

    /// An empty answer of this status.
    pub fn status(status: u16) -> Self {
        Self::Respond {
            status,
            content_type: "text/plain".to_owned(),
            body: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// A JSON body.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::Respond {
            status,
            content_type: "application/json".to_owned(),
            body: body.to_string().into_bytes(),
            headers: Vec::new(),
        }
    }

    /// An OAuth error response (RFC 6749 §5.2).
    pub fn oauth_error(status: u16, error: &str) -> Self {
        Self::json(status, &json!({ "error": error }))
    }

    /// What a resource server says of a token it does not take (RFC 6750 §3.1).
    pub fn invalid_token() -> Self {
        Self::Respond {
            status: 401,
            content_type: "application/json".to_owned(),
            body: br#"{"error":"invalid_token"}"#.to_vec(),
            headers: vec![(
                "www-authenticate".to_owned(),
                "Bearer error=\"invalid_token\"".to_owned(),
            )],
        }
    }

    /// One use, then normal again.
    pub fn once(self) -> FaultRule {
        self.times(1)
    }

    /// This many uses.
    pub fn times(self, times: u32) -> FaultRule {
        FaultRule { fault: self, times: Some(times), after: false }
    }
}

/// A fault with its number of uses and its moment.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    pub(crate) times: Option<u32>,
    after: bool,
}

impl From<Fault> for FaultRule {
    fn from(fault: Fault) -> Self {
        Self { fault, times: None, after: false }
    }
}

impl FaultRule {
    /// The request is handled first (tokens are issued, codes are spent), then the fault strikes.
    #[must_use]
    pub const fn after_handling(mut self) -> Self {
        self.after = true;
        self
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.fault.name()
    }

    /// Whether the real answer, if there is one at all, is not sent.
    pub(crate) const fn replaces_answer(&self) -> bool {
        matches!(
            self.fault,
            Fault::Respond { .. }
                | Fault::Redirect { .. }
                | Fault::Oversized(_)
                | Fault::Hang
                | Fault::Drop
        )
    }
}

/// Answers through a fault: `skipped` is called when the request is not handled at all.
pub(crate) async fn through(
    rule: Option<FaultRule>,
    connection: &Connection,
    skipped: impl FnOnce(),
    handle: impl Future<Output = Response>,
) -> Response {
    let Some(rule) = rule else {
        return handle.await;
    };
    if rule.replaces_answer() && !rule.after {
        skipped();
        return strike(&rule.fault, connection, Response::default()).await;
    }
    let waits = matches!(rule.fault, Fault::Delay(_) | Fault::Gate(_));
    if waits && !rule.after {
        let _ = strike(&rule.fault, connection, Response::default()).await;
        return handle.await;
    }
    let response = handle.await;
    strike(&rule.fault, connection, response).await
}

async fn strike(fault: &Fault, connection: &Connection, real: Response) -> Response {
    match fault {
        Fault::Respond { status, content_type, body, headers } => {
            let mut response = plain(*status, body.clone());
            set_header(&mut response, "content-type", content_type);
            for (name, value) in headers {
                set_header(&mut response, name, value);
            }
            response
        }
        Fault::Redirect { status, location } => {
            let mut response = plain(*status, Vec::new());
            set_header(&mut response, "location", location);
            response
        }
        Fault::Oversized(bytes) => {
            let pad = "a".repeat(bytes.saturating_sub(10));
            let mut response = plain(200, format!("{{\"pad\":\"{pad}\"}}").into_bytes());
            set_header(&mut response, "content-type", "application/json");
            response
        }
        Fault::Hang => pending().await,
        Fault::Drop => {
            connection.cut();
            pending().await
        }
        Fault::Delay(pause) => {
            tokio::time::sleep(*pause).await;
            real
        }
        Fault::Gate(gate) => {
            gate.pass().await;
            real
        }
        Fault::Drip { chunk, every } => {
            let (parts, body) = real.into_parts();
            let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
            Response::from_parts(parts, drip(bytes, (*chunk).max(1), *every))
        }
        Fault::ContentType(value) => {
            let mut response = real;
            set_header(&mut response, "content-type", value);
            response
        }
        Fault::Truncate(keep) => {
            let (parts, body) = real.into_parts();
            let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
            Response::from_parts(parts, Body::from(bytes.slice(..bytes.len().min(*keep))))
        }
    }
}

fn plain(status: u16, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn set_header(response: &mut Response, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) =
        (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
    {
        response.headers_mut().insert(name, value);
    }
}

fn drip(bytes: Bytes, chunk: usize, every: Duration) -> Body {
    Body::from_stream(stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(every).await;
        let piece = rest.split_to(chunk.min(rest.len()));
        Some((Ok::<_, Infallible>(piece), rest))
    }))
}

/// Holds requests until a test lets them go.
#[derive(Debug)]
pub struct Gate {
    arrived: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { arrived: watch::Sender::new(0), open: watch::Sender::new(false) })
    }

    /// Resolves once this many requests have come to the gate. Wrap it in a time-out.
    pub async fn reached(&self, requests: usize) {
        let mut arrived = self.arrived.subscribe();
        let _ = arrived.wait_for(|n| *n >= requests).await;
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    pub(crate) async fn pass(&self) {
        self.arrived.send_modify(|n| *n += 1);
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| *open).await;
    }
}
