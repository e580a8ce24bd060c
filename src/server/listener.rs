//! Owns the accept loop: TLS, time-outs, limits and drain of inbound connections.
//! Must not know routes: it serves whatever router it is given.

mod body;
mod head;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    any::Any, convert::Infallible, future::Future, io, net::SocketAddr, panic::AssertUnwindSafe,
    pin::Pin, sync::Arc, time::Duration,
};

use axum::{Router, body::Body};
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, Version, header::CONNECTION};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use self::{
    body::{Counted, Steady},
    wire::{Pulse, Wire},
};
use crate::telemetry::Metrics;

/// How long and how much a connection may take (PXY-7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections at a time; more are closed at once.
    pub connections: usize,
    /// From the TCP connection to the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// From there to the first byte of the first request.
    pub first_byte: Duration,
    /// From the first to the last byte of a request's head.
    pub header: Duration,
    /// From the end of a request to the first byte of the next.
    pub idle: Duration,
    /// Between two pieces of a request body that somebody waits for.
    pub body_idle: Duration,
    /// For the peer to take anything of what we write.
    pub write_stall: Duration,
    /// From shutdown to the end of the last request.
    pub drain: Duration,
    /// The longest HTTP/1.1 head, bytes; at least 8192.
    pub header_bytes: usize,
    /// The longest HTTP/2 header list, bytes as RFC 9113 §6.5.2 counts them.
    pub header_list_bytes: u32,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            tls_handshake: Duration::from_secs(10),
            first_byte: Duration::from_secs(10),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            write_stall: Duration::from_secs(60),
            drain: Duration::from_secs(30),
            header_bytes: 32 * 1024,
            header_list_bytes: 16 * 1024,
            streams: 100,
        }
    }
}

/// The smallest read buffer the HTTP library works with.
const LEAST_HEADER_BYTES: usize = 8192;
/// Streams a peer may open and reset before we have looked at them (CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// Streams we may have to reset for a peer's mistakes before we leave (CVE-2025-8671).
const LOCAL_RESETS: usize = 100;
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// For an idle HTTP/2 peer to acknowledge that we leave.
const FAREWELL: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Request extension: who is at the other end of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerAddr(pub SocketAddr);

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    name: Arc<str>,
    metrics: Arc<Metrics>,
}

impl Listener {
    /// Takes the port. With `tls` the protocol is chosen by ALPN; without, it is HTTP/1.1, which is
    /// for loopback and for behind a terminating proxy only. `name` labels the metrics.
    pub async fn bind(
        addr: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        limits: Limits,
        name: &str,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let tcp = TcpListener::bind(addr).await?;
        let header_bytes = limits.header_bytes.max(LEAST_HEADER_BYTES);
        Ok(Self { tcp, tls, limits: Limits { header_bytes, ..limits }, name: name.into(), metrics })
    }

    /// The address really bound, with the port the system chose.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `shutdown`, then refuses new connections, lets requests in flight finish for at
    /// most [`Limits::drain`], and returns. Upgraded connections count until their end.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        let Self { tcp, tls, limits, name, metrics } = self;
        let most = limits.connections.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let slots = Arc::new(Semaphore::new(most));
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        let tls = tls.map(TlsAcceptor::from);

        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = tcp.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    survive(&error, &shutdown).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&slots).try_acquire_owned() else {
                metrics.connection_refused(&name, "listener.too_many_connections");
                continue;
            };
            let connection = Connection {
                peer,
                limits,
                router: router.clone(),
                drain: shutdown.clone(),
                admission: Admission::new(permit, Arc::clone(&name), Arc::clone(&metrics)),
            };
            let (tls, cut) = (tls.clone(), cut.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = connection.serve(stream, tls) => {}
                }
            });
        }

        drop(tcp);
        tasks.close();
        let all = u32::try_from(most).unwrap_or(u32::MAX);
        if timeout(limits.drain, slots.acquire_many(all)).await.is_err() {
            tracing::warn!(listener = %name, "requests still in flight were cut off");
        }
        cut.cancel();
        tasks.wait().await;
    }
}

/// One connection's trouble is nobody else's; running out of file descriptors is waited out.
async fn survive(error: &io::Error, shutdown: &CancellationToken) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    tracing::error!(%error, "cannot accept connections");
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
    }
}

/// A place among the allowed connections, given back when dropped.
struct Admission {
    _permit: OwnedSemaphorePermit,
    name: Arc<str>,
    metrics: Arc<Metrics>,
}

impl Admission {
    fn new(permit: OwnedSemaphorePermit, name: Arc<str>, metrics: Arc<Metrics>) -> Self {
        metrics.connections(&name, 1);
        Self { _permit: permit, name, metrics }
    }

    /// Notes why the connection is being ended.
    fn refused(&self, reason: &'static str) {
        self.metrics.connection_refused(&self.name, reason);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.metrics.connections(&self.name, -1);
    }
}

struct Connection {
    peer: SocketAddr,
    limits: Limits,
    router: Router,
    drain: CancellationToken,
    admission: Admission,
}

impl Connection {
    async fn serve(self, tcp: TcpStream, tls: Option<TlsAcceptor>) {
        // Failure means the peer has already gone, which the next read tells as well.
        let _ = tcp.set_nodelay(true);
        let Some(tls) = tls else { return self.http1(tcp).await };

        let handshake = tokio::select! {
            () = self.drain.cancelled() => return,
            handshake = timeout(self.limits.tls_handshake, tls.accept(tcp)) => handshake,
        };
        match handshake {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream).await;
            }
            Ok(Ok(stream)) => self.http1(stream).await,
            Ok(Err(error)) => {
                self.admission.refused("tls.handshake");
                tracing::debug!(peer = %self.peer, %error, "TLS handshake failed");
            }
            Err(_) => self.admission.refused("tls.handshake_timeout"),
        }
    }

    async fn http1<S>(self, io: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { peer, limits, router, drain, admission } = self;
        let pulse = Pulse::new();
        let wire = Wire::http1(io, admission, limits, Arc::clone(&pulse));
        let service = service_fn(move |request| {
            answer(router.clone(), request, peer, limits, Arc::clone(&pulse))
        });
        let connection = http1::Builder::new()
            // The wire has its own, which tell first byte, head and idleness apart.
            .header_read_timeout(None)
            .max_buf_size(limits.header_bytes)
            .serve_connection(TokioIo::new(wire), service)
            .with_upgrades();
        let ended =
            until_drained(connection, &drain, http1::UpgradeableConnection::graceful_shutdown)
                .await;
        log_end(peer, ended);
    }

    async fn http2<S>(self, io: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { peer, limits, router, drain, admission } = self;
        let pulse = Pulse::new();
        let wire = Wire::http2(io, admission, limits);
        let counted = Arc::clone(&pulse);
        let service = service_fn(move |request| {
            answer(router.clone(), request, peer, limits, Arc::clone(&counted))
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.header_list_bytes)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_RESETS)
            .serve_connection(TokioIo::new(wire), service);

        // Idleness ends a connection as shutdown does, except that nothing is in flight.
        let leave = drain.child_token();
        let idle = pulse.idle(limits.first_byte + limits.header, limits.idle);
        let served = until_drained(connection, &leave, http2::Connection::graceful_shutdown);
        tokio::pin!(served);
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = idle => {
                leave.cancel();
                // A peer that does not even take our farewell is not waited for.
                timeout(FAREWELL, served).await.unwrap_or(Ok(()))
            }
        };
        log_end(peer, ended);
    }
}

async fn until_drained<C>(
    connection: C,
    drain: &CancellationToken,
    say_farewell: impl FnOnce(Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    tokio::pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        () = drain.cancelled() => {}
    }
    say_farewell(connection.as_mut());
    connection.await
}

fn log_end(peer: SocketAddr, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
    limits: Limits,
    pulse: Arc<Pulse>,
) -> Result<Response<Counted>, Infallible> {
    let in_flight = pulse.begin();
    let last = request.version() < Version::HTTP_2 && head::is_last(request.headers());
    let mut request = request.map(|body| {
        if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(Steady::new(body, limits.body_idle))
        }
    });
    request.extensions_mut().insert(PeerAddr(peer));

    let mut response = match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => after_panic(panic.as_ref()),
    };
    if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Counted::new(body, in_flight)))
}

/// A panic is a mistake of ours; it costs one answer, not the connection and not the process.
fn after_panic(panic: &(dyn Any + Send)) -> Response<Body> {
    let text = panic.downcast_ref::<&str>().copied().unwrap_or("no constant message");
    tracing::error!(text, "a handler panicked");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
