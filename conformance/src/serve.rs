//! A TLS server for the doubles: own accept loop, the peer's certificate handed to the handlers, and
//! connections that a handler can cut. It must not know what is served.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::{CipherSuite, ProtocolVersion, ServerConfig};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::{jws::sha256_b64, ledger::ListenerKind, pki::PkiError};

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Why a double did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port could not be bound.
    #[error("listen: {0}")]
    Listen(#[from] io::Error),
    /// The PKI was not usable.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The signing keys could not be made.
    #[error("keys: {0}")]
    Keys(#[from] crate::jws::JwsFault),
}

/// What a handler may know of the connection its request came by (a request extension).
#[derive(Clone, Debug)]
pub struct Connection {
    /// Which listener accepted it.
    pub listener: ListenerKind,
    /// `x5t#S256` of the client certificate, if one was presented.
    pub peer_thumbprint: Option<String>,
    /// The TLS version negotiated.
    pub protocol: Option<ProtocolVersion>,
    /// The cipher suite negotiated.
    pub cipher: Option<CipherSuite>,
    cut: Arc<Notify>,
}

impl Connection {
    /// TLS version and cipher suite, for people.
    pub fn tls(&self) -> String {
        let version = self.protocol.and_then(|version| version.as_str());
        let cipher = self.cipher.and_then(|cipher| cipher.as_str());
        format!("{}, {}", version.unwrap_or("unknown"), cipher.unwrap_or("unknown"))
    }

    /// Whether TLS 1.3 was negotiated.
    pub fn is_tls13(&self) -> bool {
        self.protocol == Some(ProtocolVersion::TLSv1_3)
    }

    /// Whether the cipher suite is recommended: every one of TLS 1.3, and of TLS 1.2 those with
    /// ephemeral keys and AEAD (BCP 195, and the IANA registry FAPI 2.0 refers to).
    pub fn cipher_recommended(&self) -> bool {
        self.cipher.is_some_and(recommended)
    }

    /// Closes the TCP connection at once, with everything on it.
    pub fn cut(&self) {
        self.cut.notify_one();
    }
}

const fn recommended(cipher: CipherSuite) -> bool {
    matches!(
        cipher,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// A running listener. Dropping it cuts every connection.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(
        listener: TcpListener,
        tls: ServerConfig,
        kind: ListenerKind,
        router: Router,
    ) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let task = tokio::spawn(accept_loop(listener, acceptor, kind, router, stopped));
        Ok(Self { addr, stop, task })
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections, lets running requests end, cuts what lingers.
    pub(crate) async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if timeout(DRAIN_LIMIT, &mut self.task).await.is_err() {
            tracing::debug!(addr = %self.addr, "connections lingered and were cut");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept_loop(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    kind: ListenerKind,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let (acceptor, router, stopped) =
                        (acceptor.clone(), router.clone(), stopped.clone());
                    connections.spawn(connection(stream, acceptor, kind, router, stopped));
                }
            }
            Some(_) = connections.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    kind: ListenerKind,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let stream = match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, listener = ?kind, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let cut = Arc::new(Notify::new());
    let tls = stream.get_ref().1;
    let seen = Connection {
        listener: kind,
        protocol: tls.protocol_version(),
        cipher: tls.negotiated_cipher_suite().map(|suite| suite.suite()),
        peer_thumbprint: tls
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|certificate| sha256_b64(certificate)),
        cut: Arc::clone(&cut),
    };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(seen.clone());
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let mut draining = false;
    loop {
        tokio::select! {
            _ = serving.as_mut() => return,
            () = cut.notified() => return,
            _ = stopped.changed(), if !draining => {
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> http::Response<Body> {
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_keys_and_cbc_are_not_recommended() {
        for cipher in [
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS13_AES_256_GCM_SHA384,
        ] {
            assert!(recommended(cipher), "{cipher:?}");
        }
        for cipher in [
            CipherSuite::TLS_RSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
            CipherSuite::TLS_DHE_RSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::Unknown(0),
        ] {
            assert!(!recommended(cipher), "{cipher:?}");
        }
    }
}
