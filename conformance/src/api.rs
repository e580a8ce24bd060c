//! A sample API. It takes a token only with the certificate or the proof of the key that the token is
//! bound to (RFC 8705 §3, RFC 9449 §7), and has a corner for everything a proxy must get right: bodies
//! both ways, streams, odd headers, redirects, challenges.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use axum::{
    Extension, Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    as_double::{
        ActiveToken, ClientAuth, TokenState,
        exchange::{Call, Refusal, Verdict, header_pairs, json_response, respond},
        resource::{active_token, interaction_id},
        rules::Rule,
    },
    faults::{FaultRule, Schedule, through},
    ledger::{Answer, Endpoint, Event, Ledger, ListenerKind, OnEvent, OnVisit},
    pki::{API_HOST, ClientCertificates, Identity, Pki, server_config},
    serve::{Connection, Server, StartError},
};

const JSON_LIMIT: usize = 1024 * 1024;
const CHUNK: usize = 16 * 1024;

/// How the API is set up.
#[derive(Clone)]
pub struct ApiConfig {
    /// Where it is bound; 127.0.0.1 unless the caller is on another machine.
    pub bind: IpAddr,
    /// Port; 0 for any.
    pub port: u16,
    /// Host name.
    pub host: String,
    /// Server certificate.
    pub identity: Identity,
    /// The authority client certificates must come from.
    pub ca_pem: String,
    /// Told of every event.
    pub on_event: Option<OnEvent>,
    /// Told when a request arrives and when it is answered.
    pub on_visit: Option<OnVisit>,
}

impl fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl ApiConfig {
    /// Any port, the development host.
    pub fn new(pki: &Pki) -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            host: API_HOST.to_owned(),
            identity: pki.api.clone(),
            ca_pem: pki.ca_pem.clone(),
            on_event: None,
            on_visit: None,
        }
    }
}

struct Shared {
    /// What a token's audience calls it, without trailing slash.
    address: String,
    tokens: TokenState,
    ledger: Ledger,
    faults: Mutex<HashMap<String, Schedule<FaultRule>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn faults(&self) -> MutexGuard<'_, HashMap<String, Schedule<FaultRule>>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rule of the longest path prefix that has one.
    fn next_fault(&self, path: &str) -> Option<FaultRule> {
        let mut faults = self.faults();
        let mut prefixes: Vec<String> =
            faults.keys().filter(|prefix| path.starts_with(prefix.as_str())).cloned().collect();
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        prefixes.iter().find_map(|prefix| faults.get_mut(prefix).and_then(Schedule::take))
    }
}

/// A running API. Dropping it stops it.
#[derive(Debug)]
pub struct SampleApi {
    host: String,
    server: Server,
    shared: Arc<Shared>,
}

impl SampleApi {
    /// Binds and serves; tokens are those of the double the state came from.
    pub async fn start(config: ApiConfig, tokens: TokenState) -> Result<Self, StartError> {
        let listener = TcpListener::bind((config.bind, config.port)).await?;
        let accepted = match tokens.core().client_auth() {
            ClientAuth::SelfSignedTls => ClientCertificates::Any,
            _ => ClientCertificates::By(&config.ca_pem),
        };
        let tls = server_config(&config.identity, accepted)?;
        let shared = Arc::new(Shared {
            address: format!("https://{}:{}", config.host, listener.local_addr()?.port()),
            tokens,
            ledger: Ledger::new(config.on_event, config.on_visit),
            faults: Mutex::default(),
        });
        let state = Arc::clone(&shared);
        let router = Router::new().fallback(
            move |Extension(connection): Extension<Connection>, request: Request| {
                serve(state, connection, request)
            },
        );
        Ok(Self {
            host: config.host,
            server: Server::start(listener, tls, ListenerKind::Api, router)?,
            shared,
        })
    }

    /// Takes no more requests and lets running ones end.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }

    /// `https://api.localhost:PORT/`.
    pub fn base_url(&self) -> String {
        format!("https://{}:{}/", self.host, self.addr().port())
    }

    /// Its address.
    pub const fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Its name and address, for an HTTP client's resolver.
    pub fn resolve(&self) -> Vec<(String, SocketAddr)> {
        vec![(self.host.clone(), self.addr())]
    }

    /// Every request since the last [`Self::clear_events`].
    pub fn events(&self) -> Vec<Event> {
        self.shared.ledger.events()
    }

    /// Requests to exactly this path.
    pub fn count(&self, path: &str) -> usize {
        self.shared.ledger.count_where(|event| event.path == path)
    }

    /// The last request to exactly this path.
    pub fn last(&self, path: &str) -> Option<Event> {
        self.shared.ledger.last_where(|event| event.path == path)
    }

    /// Resolves once `count` requests to this path are recorded. Wrap it in a time-out.
    pub async fn wait_for(&self, path: &str, count: usize) {
        self.shared.ledger.wait_where(count, |event| event.path == path).await;
    }

    /// Forgets all events.
    pub fn clear_events(&self) {
        self.shared.ledger.clear();
    }

    /// Disturbs every path that starts with this.
    pub fn fault(&self, path_prefix: &str, rule: impl Into<FaultRule>) {
        let rule = rule.into();
        let times = rule.times;
        self.shared.faults().entry(path_prefix.to_owned()).or_default().push(rule, times);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.shared.faults().clear();
    }
}

async fn serve(shared: Arc<Shared>, connection: Connection, request: Request) -> Response {
    let _visit = shared.ledger.visit();
    let (parts, body) = request.into_parts();
    let mut call = Call::head(Endpoint::Api, connection.clone(), &parts);
    let rule = shared.next_fault(parts.uri.path());
    if let Some(rule) = &rule {
        call.note("fault", rule.name());
    }
    let skipped = {
        let mut call = Call::head(Endpoint::Api, connection.clone(), &parts);
        if let Some(rule) = &rule {
            call.note("fault", rule.name());
        }
        let shared = Arc::clone(&shared);
        move || {
            let at = shared.tokens.now();
            let nothing = Answer::default();
            shared.ledger.record(call.event(at, StatusCode::OK, Verdict::Faulted, nothing));
        }
    };
    through(rule, &connection, skipped, judge(&shared, call, body)).await
}

async fn judge(shared: &Shared, mut call: Call, body: Body) -> Response {
    let core = shared.tokens.core();
    call.observe_connection(core.uses_dpop());
    let judged = match interaction_id(&mut call) {
        Ok(()) => dispatch(shared, &mut call, body).await,
        Err(refusal) => Err(refusal),
    };
    let (mut response, verdict) = match judged {
        Ok(mut response) => {
            core.announce(call.endpoint, &mut response);
            (response, Verdict::Accepted)
        }
        Err(refusal) => (refusal.respond(), refusal.verdict()),
    };
    call.echo_interaction_id(&mut response);
    let headers = header_pairs(response.headers());
    let answer = Answer { headers, ..Answer::default() };
    shared.ledger.record(call.event(shared.tokens.now(), response.status(), verdict, answer));
    response
}

/// Reads on for a while what the client still sends, as servers do that linger: closing the connection on
/// unread octets could take the answer with it.
fn linger(body: Body) {
    tokio::spawn(async move {
        let mut rest = body.into_data_stream();
        let reading = async { while let Some(Ok(_)) = rest.next().await {} };
        let _ = tokio::time::timeout(Duration::from_secs(10), reading).await;
    });
}

fn check_token(shared: &Shared, call: &mut Call) -> Result<ActiveToken, Refusal> {
    let core = shared.tokens.core();
    let active = active_token(core, call)?;
    let ours = |target: &String| target.trim_end_matches('/') == shared.address;
    let meant = active.audience.is_empty() || active.audience.iter().any(ours);
    let meant = call.checks.demand(Rule::ApiAudience, meant);
    meant.map_err(|refusal| refusal.at_resource(scheme(shared)))?;
    Ok(active)
}

fn demand_scope(
    shared: &Shared,
    call: &mut Call,
    active: &ActiveToken,
    wanted: &str,
) -> Result<(), Refusal> {
    let granted = active.scope.split(' ').any(|name| name == wanted);
    let narrow = call.checks.demand_with(Rule::ApiScope, granted, wanted);
    narrow.map_err(|refusal| refusal.at_resource(scheme(shared)))
}

async fn dispatch(shared: &Shared, call: &mut Call, body: Body) -> Result<Response, Refusal> {
    let path = call.path.clone();
    // Open to anybody: it says what arrived, which is the point when no token should.
    if path == "/echo-headers" || path.starts_with("/echo-headers/") {
        return Ok(echo_headers(shared, call));
    }
    let active = match check_token(shared, call) {
        Ok(active) => active,
        Err(refusal) => {
            linger(body);
            return Err(refusal);
        }
    };
    match path.as_str() {
        "/accounts" => {
            call.demand_method(&Method::GET)?;
            demand_scope(shared, call, &active, "accounts")?;
            let owner = active.sub.unwrap_or_default();
            Ok(ok(&json!({"owner": owner, "accounts": accounts()})))
        }
        "/payments" => {
            call.demand_method(&Method::POST)?;
            demand_scope(shared, call, &active, "payments")?;
            pay(call, body).await
        }
        "/upload" => {
            call.demand_method(&Method::POST)?;
            upload(call, body).await
        }
        "/download" => Ok(download(number(call, "bytes", 1024))),
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(number(call, "ms", 1000))).await;
            Ok(ok(&json!({"slow": true})))
        }
        "/sse" => Ok(events(number(call, "count", 0), number(call, "ms", 100))),
        "/mischief" => Ok(mischief(call)),
        "/redirect" => {
            let mut response = respond(StatusCode::FOUND, "text/plain", String::new());
            set(&mut response, "location", "https://elsewhere.example/stolen");
            Ok(response)
        }
        "/challenge" => Ok(challenge(scheme(shared))),
        "/step-up" => Ok(step_up(shared, call, &active)),
        _ => {
            if let Some(id) = path.strip_prefix("/accounts/") {
                call.demand_method(&Method::GET)?;
                demand_scope(shared, call, &active, "accounts")?;
                let account = accounts().into_iter().find(|a| a.get("id") == Some(&json!(id)));
                return account.map(|account| ok(&account)).ok_or_else(|| nowhere(call));
            }
            let status = path.strip_prefix("/status/").and_then(|text| text.parse().ok());
            match status.and_then(|code: u16| StatusCode::from_u16(code).ok()) {
                Some(status) => Ok(json_response(status, &json!({"status": status.as_u16()}))),
                None => Err(nowhere(call)),
            }
        }
    }
}

fn nowhere(call: &mut Call) -> Refusal {
    call.checks.refuse(Rule::ApiNotFound, "")
}

fn ok(body: &Value) -> Response {
    json_response(StatusCode::OK, body)
}

fn number(call: &Call, name: &str, default: u64) -> u64 {
    call.query(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn set(response: &mut Response, name: &'static str, value: &'static str) {
    response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
}

fn accounts() -> Vec<Value> {
    vec![
        json!({"id": "a-1", "name": "Current account", "currency": "EUR", "balance": "1250.00"}),
        json!({"id": "a-2", "name": "Sparbuch für später", "currency": "EUR", "balance": "9800.50"}),
    ]
}

/// What arrived. The Authorization value is judged, not repeated.
fn echo_headers(shared: &Shared, call: &mut Call) -> Response {
    let scheme = call
        .header(&header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .map(|(scheme, _)| scheme.to_owned());
    // A token is not demanded here, so that it is missing or bad is no finding.
    let checks = std::mem::take(&mut call.checks);
    let valid = check_token(shared, call).is_ok();
    call.checks = checks;
    let headers: Vec<_> = header_pairs(&call.headers)
        .into_iter()
        .filter(|(name, _)| name != "authorization")
        .collect();
    ok(&json!({
        "method": call.method.as_str(), "path": call.path, "query": call.query,
        "version": call.version, "headers": headers,
        "authorization": {"scheme": scheme, "valid": valid},
        "peer_thumbprint": call.connection.peer_thumbprint,
    }))
}

async fn pay(call: &mut Call, body: Body) -> Result<Response, Refusal> {
    let bytes = to_bytes(body, JSON_LIMIT)
        .await
        .map_err(|_| call.checks.refuse(Rule::ApiBody, "unreadable or over 1 MiB"))?;
    let payment = serde_json::from_slice(&bytes).ok();
    let payment: Value = call.checks.require(Rule::ApiBody, payment)?;
    call.note("body", payment.clone());
    Ok(json_response(StatusCode::CREATED, &payment))
}

async fn upload(call: &mut Call, body: Body) -> Result<Response, Refusal> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut bytes = 0_u64;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| call.checks.refuse(Rule::ApiBody, "the upload broke off"))?;
        context.update(&chunk);
        bytes += chunk.len() as u64;
    }
    let sum = B64.encode(context.finish());
    call.note("bytes", bytes);
    Ok(ok(&json!({"bytes": bytes, "sha256": sum})))
}

/// `bytes` times the letter `d`, in chunks.
fn download(bytes: u64) -> Response {
    let chunks = stream::unfold(bytes, |left| async move {
        let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        if size == 0 {
            return None;
        }
        let chunk = Ok::<_, Infallible>(Bytes::from(vec![b'd'; size]));
        Some((chunk, left - size as u64))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    set(&mut response, "content-type", "application/octet-stream");
    response
}

/// Server-sent events, `count` of them (0: without end), `ms` milliseconds apart.
fn events(count: u64, ms: u64) -> Response {
    let beats = stream::unfold(0_u64, move |sent| async move {
        if count != 0 && sent == count {
            return None;
        }
        if sent > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        let event = Ok::<_, Infallible>(Bytes::from(format!("data: {sent}\n\n")));
        Some((event, sent + 1))
    });
    let mut response = Response::new(Body::from_stream(beats));
    set(&mut response, "content-type", "text/event-stream");
    set(&mut response, "cache-control", "no-store");
    response
}

/// Headers an upstream has no business setting on the BFF's origin.
fn mischief(call: &Call) -> Response {
    let mut response = ok(&json!({"mischief": "managed"}));
    for (name, value) in [
        ("set-cookie", "evil=1; Path=/"),
        ("set-cookie", "__Host-Http-session=stolen; Secure; HttpOnly; Path=/"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("strict-transport-security", "max-age=0"),
        ("clear-site-data", "\"*\""),
        ("x-secret", "hop"),
        ("server", "sample-api/1.2.3"),
    ] {
        set(&mut response, name, value);
    }
    // HTTP/2 has no such header; HTTP/1.1 names with it what must not travel on.
    if call.version == "HTTP/1.1" {
        set(&mut response, "connection", "x-secret");
    }
    response
}

/// The scheme of the tokens.
fn scheme(shared: &Shared) -> &'static str {
    shared.tokens.core().token_type()
}

/// Step-up challenge (RFC 9470 §3).
fn challenge(scheme: &str) -> Response {
    let body = json!({"error": "insufficient_user_authentication"});
    let mut response = json_response(StatusCode::UNAUTHORIZED, &body);
    let challenge = format!(
        "{scheme} error=\"insufficient_user_authentication\", \
         acr_values=\"urn:example:loa:3\", max_age=\"60\""
    );
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Challenges until the person has logged in as strongly and as recently as the challenge says.
fn step_up(shared: &Shared, call: &mut Call, active: &ActiveToken) -> Response {
    let recent = shared.tokens.now() - active.auth_time <= 60;
    let strong = active.acr.as_deref() == Some("urn:example:loa:3");
    call.note("stepped_up", recent && strong);
    if recent && strong { ok(&json!({"stepped_up": true})) } else { challenge(scheme(shared)) }
}
