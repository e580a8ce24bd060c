//! What a double saw and what it made of it: one event per request, readable by tests, counted, and
//! awaited without sleeping. Secrets stay out of `Debug` and out of the trace line.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

use crate::{jws::Object, suite::verdict::Severity};

/// Which door of a double was knocked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Either metadata document.
    Metadata,
    /// The server's public keys.
    Jwks,
    /// Pushed authorization requests (RFC 9126).
    Par,
    /// Where the browser starts.
    Authorize,
    /// The form of the login page.
    Decision,
    /// Token endpoint.
    Token,
    /// Userinfo endpoint.
    Userinfo,
    /// The accounts resource of the authorization server itself.
    Accounts,
    /// Token revocation (RFC 7009).
    Revocation,
    /// Token introspection (RFC 7662).
    Introspection,
    /// RP-initiated logout.
    EndSession,
    /// The form of the logout page.
    EndSessionDecision,
    /// The page by which the server ends a session of its own accord, with its clients in frames.
    FrontChannelLogout,
    /// Any resource of the sample API; see the event's path.
    Api,
    /// Nothing lives there.
    Unknown,
}

impl Endpoint {
    /// The endpoint's short name, which also prefixes reasons.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Jwks => "jwks",
            Self::Par => "par",
            Self::Authorize => "authorize",
            Self::Decision => "decision",
            Self::Token => "token",
            Self::Userinfo => "userinfo",
            Self::Accounts => "accounts",
            Self::Revocation => "revocation",
            Self::Introspection => "introspection",
            Self::EndSession => "end_session",
            Self::EndSessionDecision => "end_session_decision",
            Self::FrontChannelLogout => "front_channel_logout",
            Self::Api => "api",
            Self::Unknown => "unknown",
        }
    }
}

/// Which listener the request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// The authorization server's plain host.
    Plain,
    /// The authorization server's mutual-TLS host.
    Mtls,
    /// The sample API.
    Api,
}

/// How the request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By the rules, and answered so.
    Accepted,
    /// Against a rule: see the reason.
    Refused,
    /// By the rules, but to come again with the nonce that the answer brings (RFC 9449 §8, §9).
    Challenged,
    /// Not looked at: a fault answered in its place.
    Faulted,
}

/// One rule looked at, and how it came out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Stable name, such as `client_auth.aud`; the event's reason when the request was refused for it.
    pub name: &'static str,
    /// What it means when it did not hold.
    pub severity: Severity,
    /// Whether it held.
    pub held: bool,
    /// Ids of the clauses behind it.
    pub clauses: &'static [&'static str],
    /// The rule, and what was found instead. Without secrets.
    pub message: String,
}

/// What a double decided to send, secrets and all: hence no `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Headers in order, lossy text.
    pub headers: Vec<(String, String)>,
    /// The body as text, at most 64 KiB of it; empty for a resource of the sample API.
    pub body: String,
}

/// One request.
#[derive(Clone)]
pub struct Event {
    /// Position in the ledger since it was made.
    pub seq: usize,
    /// Seconds since the epoch, by the double's clock.
    pub at: i64,
    /// Milliseconds since the ledger was made, by a clock that only goes forward.
    pub at_ms: u64,
    /// Which door.
    pub endpoint: Endpoint,
    /// Which listener.
    pub listener: ListenerKind,
    /// HTTP method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// HTTP version, such as `HTTP/2.0`.
    pub version: String,
    /// Status the double decided on (a fault may have sent another).
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Stable reason of a refusal or challenge, such as `request_object.aud`.
    pub reason: Option<String>,
    /// The same for people.
    pub detail: String,
    /// `x5t#S256` of the certificate the peer presented.
    pub peer_thumbprint: Option<String>,
    /// The client, once known.
    pub client_id: Option<String>,
    /// Request headers in order, lossy text.
    pub headers: Vec<(String, String)>,
    /// Query parameters in order.
    pub query: Vec<(String, String)>,
    /// Form parameters in order.
    pub form: Vec<(String, String)>,
    /// What the double learned: `assertion_claims`, `request_object_claims`, `grant_type`, `sid`, …;
    /// under `fault` the name of the fault that disturbed the exchange.
    pub notes: Object,
    /// Every rule looked at, in order. Empty if a fault answered in the request's place.
    pub checks: Vec<Check>,
    /// What was decided to be sent; nothing if a fault replaced it.
    pub answer: Answer,
}

impl Event {
    /// The first request header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }

    /// The first form parameter of this name.
    pub fn form(&self, name: &str) -> Option<&str> {
        first(&self.form, name)
    }

    /// The first query parameter of this name.
    pub fn query(&self, name: &str) -> Option<&str> {
        first(&self.query, name)
    }

    /// The last check of this name.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().rev().find(|check| check.name == name)
    }
}

pub(crate) fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("seq", &self.seq)
            .field("at", &self.at)
            .field("endpoint", &self.endpoint)
            .field("listener", &self.listener)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("status", &self.status)
            .field("outcome", &self.outcome)
            .field("reason", &self.reason)
            .field("detail", &self.detail)
            .finish_non_exhaustive()
    }
}

/// Called with every event as it is recorded.
pub type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;

/// Called with true when a request arrives, with false when its answer is on its way or it was given up.
pub type OnVisit = Arc<dyn Fn(bool) + Send + Sync>;

/// A request that is being judged. Dropping it says that it no longer is.
pub(crate) struct Visit(Option<OnVisit>);

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(tell) = &self.0 {
            tell(false);
        }
    }
}

/// The events of one double, in order.
pub struct Ledger {
    events: Mutex<Vec<Event>>,
    recorded: watch::Sender<usize>,
    on_event: Option<OnEvent>,
    on_visit: Option<OnVisit>,
    made: Instant,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ledger").field(&self.lock()).finish()
    }
}

impl Ledger {
    pub(crate) fn new(on_event: Option<OnEvent>, on_visit: Option<OnVisit>) -> Self {
        Self {
            events: Mutex::default(),
            recorded: watch::Sender::new(0),
            on_event,
            on_visit,
            made: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn record(&self, mut event: Event) {
        tracing::info!(
            target: "double",
            endpoint = event.endpoint.name(),
            listener = ?event.listener,
            method = event.method,
            path = event.path,
            status = event.status,
            outcome = ?event.outcome,
            reason = event.reason.as_deref().unwrap_or_default(),
            "request"
        );
        let mut seen = 0;
        self.recorded.send_modify(|n| {
            seen = *n;
            event.seq = seen;
            event.at_ms = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
            if let Some(tell) = &self.on_event {
                tell(&event);
            }
            self.lock().push(event);
            *n = seen + 1;
        });
    }

    /// Says that a request has arrived.
    pub(crate) fn visit(&self) -> Visit {
        if let Some(tell) = &self.on_visit {
            tell(true);
        }
        Visit(self.on_visit.clone())
    }

    /// Everything recorded since the last [`Self::clear`].
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// How many events fit.
    pub fn count_where(&self, fits: impl Fn(&Event) -> bool) -> usize {
        self.lock().iter().filter(|event| fits(event)).count()
    }

    /// The last event that fits.
    pub fn last_where(&self, fits: impl Fn(&Event) -> bool) -> Option<Event> {
        self.lock().iter().rev().find(|event| fits(event)).cloned()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Resolves once at least `count` recorded events fit. Wrap it in a time-out.
    pub async fn wait_where(&self, count: usize, fits: impl Fn(&Event) -> bool) {
        let mut recorded = self.recorded.subscribe();
        while self.count_where(&fits) < count {
            if recorded.changed().await.is_err() {
                return;
            }
        }
    }
}
