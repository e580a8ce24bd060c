//! Owns the tests of forwarding as a whole, and the doubles they share.

mod authorization;
mod dpop;
mod exchange;
mod replay;
mod step_up;
mod streaming;

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{net::TcpListener, sync::mpsc};
use url::Url;

use super::*;
use crate::{
    clock::UnixTime,
    ecosystem::CustomerHeader,
    protocol::{Authentication, AuthorizationDetails, Prover},
};

pub(super) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
pub(super) type Http = Client<HttpConnector, RequestBody>;

pub(super) fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(super) fn http2() -> Http {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

/// A gate whose session has the first token of a list and gets the next with each renewal.
#[derive(Default)]
pub(super) struct TestGate {
    pub(super) closed: Option<&'static str>,
    pub(super) guard_rejects: bool,
    pub(super) renewals: Mutex<VecDeque<Renewal<&'static str, &'static str>>>,
    pub(super) lifetime: Lifetime,
    /// Makes the session's token one that is bound to a key.
    pub(super) prover: Option<Prover>,
    /// The session and how its user authenticated; a login may change it.
    pub(super) login: Mutex<Login>,
    pub(super) admitted: AtomicUsize,
    pub(super) guarded: AtomicUsize,
    pub(super) renewed: AtomicUsize,
    /// The token that was wanted; none if only a session was.
    pub(super) needs: Mutex<Vec<Option<TokenSource>>>,
    /// What the session's user authorized in detail.
    pub(super) details: Mutex<Option<AuthorizationDetails>>,
}

/// What a login makes.
#[derive(Clone, Copy)]
pub(super) struct Login {
    pub(super) session: &'static str,
    pub(super) began: UnixTime,
    pub(super) acr: Option<&'static str>,
    pub(super) auth_time: UnixTime,
}

impl Default for Login {
    fn default() -> Self {
        let then = UnixTime::new(784_111_777);
        Self { session: "session-1", began: then, acr: None, auth_time: then }
    }
}

pub(super) struct TestSession {
    token: &'static str,
    lifetime: Lifetime,
    prover: Option<Prover>,
    login: Login,
    details: Option<AuthorizationDetails>,
}

impl Admitted for TestSession {
    fn credential(&self, method: &Method, target: &Uri) -> Result<Credential, CredentialFault> {
        match &self.prover {
            Some(prover) => {
                Credential::dpop(self.token, prover, &Ambient::system(), method, target)
            }
            None => Credential::bearer(self.token),
        }
    }

    fn learn(&self, target: &Uri, headers: &HeaderMap) {
        if let Some(prover) = &self.prover {
            credential::learn(prover, target, headers);
        }
    }

    fn standing(&self) -> Standing<'_> {
        let Login { session, began, acr, auth_time } = self.login;
        let authentication = Authentication { acr, auth_time: Some(auth_time) };
        let details = self.details.as_ref();
        Standing { session, person: Some("alice"), began, authentication, details }
    }

    fn lifetime(&self) -> Lifetime {
        self.lifetime.clone()
    }
}

impl Gate for Arc<TestGate> {
    type Session = TestSession;
    type Refusal = &'static str;

    fn guard(&self, _: &HeaderMap) -> Result<(), &'static str> {
        self.guarded.fetch_add(1, Ordering::SeqCst);
        if self.guard_rejects { Err("guard") } else { Ok(()) }
    }

    async fn admit(&self, _: &HeaderMap) -> Result<TestSession, &'static str> {
        self.admitted.fetch_add(1, Ordering::SeqCst);
        self.needs.lock().unwrap().push(None);
        match self.closed {
            Some(refusal) => Err(refusal),
            None => Ok(TestSession {
                token: "token-1",
                lifetime: self.lifetime.clone(),
                prover: self.prover.clone(),
                login: *self.login.lock().unwrap(),
                details: self.details.lock().unwrap().clone(),
            }),
        }
    }

    async fn arm(
        &self,
        session: TestSession,
        source: &TokenSource,
    ) -> Result<TestSession, &'static str> {
        *self.needs.lock().unwrap().last_mut().unwrap() = Some(source.clone());
        Ok(session)
    }

    async fn renew(
        &self,
        session: TestSession,
        _: &TokenSource,
    ) -> Renewal<TestSession, &'static str> {
        self.renewed.fetch_add(1, Ordering::SeqCst);
        match self.renewals.lock().unwrap().pop_front() {
            Some(Renewal::Renewed(token)) => Renewal::Renewed(TestSession { token, ..session }),
            Some(Renewal::Refused(refusal)) => Renewal::Refused(refusal),
            Some(Renewal::Unchanged) | None => Renewal::Unchanged,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) open: AtomicI64,
    pub(super) notes: Mutex<Vec<String>>,
}

impl Seen {
    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }
}

impl Observer for Seen {
    fn upstream(&self, route: &str, class: &'static str, seconds: f64) {
        assert!(seconds >= 0.0);
        self.notes.lock().unwrap().push(format!("{route} {class}"));
    }
    fn stream_opened(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }
    fn stream_closed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
    fn set_cookie_dropped(&self, route: &str) {
        self.notes.lock().unwrap().push(format!("{route} set-cookie"));
    }
    fn interaction_mismatch(&self, route: &str) {
        self.notes.lock().unwrap().push(format!("{route} mismatch"));
    }
    fn step_up(&self, route: &str, outcome: &'static str) {
        self.notes.lock().unwrap().push(format!("{route} step-up {outcome}"));
    }
}

/// A proxy with one route per access, all to the same upstream, and its doubles.
pub(super) struct Rig<T> {
    pub(super) proxy: Proxy<Arc<TestGate>, T>,
    pub(super) gate: Arc<TestGate>,
    pub(super) seen: Arc<Seen>,
}

pub(super) const LIMIT: u64 = 1000;
pub(super) const REPLAY: usize = 100;
pub(super) const FIRST_BYTE: Duration = Duration::from_secs(10);
pub(super) const IDLE: Duration = Duration::from_secs(20);
/// One moment before [`FIRST_BYTE`] and [`IDLE`].
pub(super) const ALMOST_FIRST_BYTE: Duration = Duration::from_millis(9_999);
pub(super) const ALMOST_IDLE: Duration = Duration::from_millis(19_998);

pub(super) fn rig<T: Transport + Clone>(upstream: &str, transport: T, gate: TestGate) -> Rig<T> {
    rig_with(upstream, transport, gate, Ambient::system(), |_| {})
}

/// A rig whose routes behind a session are changed.
pub(super) fn rig_with<T: Transport + Clone>(
    upstream: &str,
    transport: T,
    gate: TestGate,
    ambient: Ambient,
    change: impl Fn(&mut RouteSpec),
) -> Rig<T> {
    let gate = Arc::new(gate);
    let seen = Arc::new(Seen::default());
    let spec = |path: &str, access, methods: &[Method]| RouteSpec {
        path: path.to_owned(),
        upstream: Url::parse(upstream).unwrap(),
        methods: methods.to_vec(),
        access,
        first_byte_timeout: FIRST_BYTE,
        idle_timeout: IDLE,
        request_body_limit: LIMIT,
        replay_body_limit: REPLAY,
        step_up: StepUpRule::default(),
        token: TokenSource::User(None),
        authorization: None,
    };
    let all = [Method::GET, Method::HEAD, Method::POST, Method::DELETE];
    let mut specs = [
        spec("/api", Access::WithToken, &all),
        spec("/plain", Access::SessionOnly, &all),
        spec("/public", Access::Public, &all[..2]),
    ];
    change(&mut specs[0]);
    change(&mut specs[1]);
    let routes = RouteTable::new(specs.map(move |spec| (spec, transport.clone()))).unwrap();
    let edge = Edge {
        host: HeaderValue::from_static("app.example"),
        proto: HeaderValue::from_static("https"),
        headers: vec![HeaderName::from_static("x-bff-csrf")],
        customer: Some(CustomerHeader::UserAgent),
    };
    let observer: Arc<dyn Observer> = Arc::<Seen>::clone(&seen);
    let proxy = Proxy::new(Arc::clone(&gate), routes, edge, ambient, observer);
    Rig { proxy, gate, seen }
}

impl<T: Transport> Rig<T> {
    pub(super) async fn call(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure<&'static str>> {
        self.proxy.handle(request, CLIENT).await
    }

    pub(super) async fn fault(&self, request: Request<Body>) -> Fault {
        match self.call(request).await {
            Err(Failure::Fault(fault)) => fault,
            Err(Failure::Refused(refusal)) => panic!("refused: {refusal}"),
            Ok(response) => panic!("answered: {}", response.status()),
        }
    }
}

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Unsent>> + Send>>;

/// An upstream inside the process, for tests that stop the clock.
#[derive(Clone)]
pub(super) struct Inside(Arc<dyn Fn(Request<RequestBody>) -> Answer + Send + Sync>);

impl Inside {
    pub(super) fn new<F>(answer: impl Fn(Request<RequestBody>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response<Body>, Unsent>> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(answer(request))))
    }
}

impl Transport for Inside {
    type Body = Body;

    async fn send(&self, request: Request<RequestBody>) -> Result<Response<Body>, Unsent> {
        (self.0)(request).await
    }
}

/// A body fed through a channel; dropping the sender ends it, an error breaks it.
pub(super) fn channel() -> (mpsc::Sender<Result<&'static str, &'static str>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let next: Result<&'static str, &'static str> = receiver.recv().await?;
        Some((next.map(Bytes::from), receiver))
    });
    (sender, Body::from_stream(stream))
}

/// Serves `answer` on a loopback port.
pub(super) async fn serve<F>(
    answer: impl Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let router = Router::new().fallback_service(service);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Serves a rig as the server would, failures as bare status and reason.
pub(super) async fn front<T: Transport + 'static>(rig: Arc<Rig<T>>) -> SocketAddr {
    serve(move |request| {
        let rig = Arc::clone(&rig);
        async move {
            rig.call(request).await.unwrap_or_else(|failure| {
                let (status, reason) = match &failure {
                    Failure::Fault(fault) => (fault.error_code().status(), fault.reason()),
                    Failure::Refused(refusal) => (StatusCode::UNAUTHORIZED, *refusal),
                };
                let mut response = Response::new(Body::from(reason));
                *response.status_mut() = status;
                response
            })
        }
    })
    .await
}

pub(super) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

pub(super) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).body(body.into()).unwrap()
}

pub(super) async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The next data; HTTP/2 may end a stream with an empty frame.
pub(super) async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        let data = body.frame().await?.map(|frame| frame.into_data().unwrap());
        if !data.as_ref().is_ok_and(Bytes::is_empty) {
            return Some(data);
        }
    }
}
