//! Owns the HTTP client that forwards API calls: streaming, pooled, HTTP/1.1 and HTTP/2.
//! Must not know routes or tokens.

use std::{
    io,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;
use tower_service::Service;
use url::Url;

use super::resolver::Resolver;

/// A pooled client towards one upstream; `B` is the request body.
pub type ProxyHttp<B> = Client<Connector, B>;

/// Shorter than the keep-alive of common servers: a request sent into a connection that is just
/// closing fails.
const POOL_IDLE: Duration = Duration::from_secs(30);
/// TCP probes, to notice a vanished upstream behind a quiet stream.
const KEEPALIVE: Duration = Duration::from_secs(60);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client for forwarding. It resolves under `resolver`'s policy, connects (name, TCP and TLS
/// together) within `connect_timeout`, keeps at most `idle_per_host` idle connections for
/// half a minute, and follows nothing. HTTP/2 is used where `tls` offers `h2` and the upstream
/// takes it; leave it out for routes with `WebSocket`s.
///
/// A rotated client certificate needs a new client, or pooled connections keep speaking for the old.
pub fn proxy_http<B>(
    mut tls: rustls::ClientConfig,
    resolver: Resolver,
    connect_timeout: Duration,
    idle_per_host: usize,
) -> ProxyHttp<B>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    let mut tcp = HttpConnector::new_with_resolver(resolver.clone());
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_connect_timeout(Some(connect_timeout));

    let multiplexed = tls.alpn_protocols.iter().any(|protocol| protocol == b"h2");
    tls.alpn_protocols.clear();
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let https = if multiplexed {
        tls.enable_all_versions().wrap_connector(tcp)
    } else {
        tls.enable_http1().wrap_connector(tcp)
    };

    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(idle_per_host)
        .build(Connector { https, resolver, timeout: connect_timeout })
}

/// Connects under the policy and a time-out. `http:` is spoken only where the configured upstream's
/// URL says so: nothing here redirects or downgrades.
#[derive(Clone, Debug)]
pub struct Connector {
    https: HttpsConnector<HttpConnector<Resolver>>,
    resolver: Resolver,
    timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // Address literals do not pass through the resolver.
        let allowed = Url::parse(&uri.to_string())
            .map_err(Error::from)
            .and_then(|url| self.resolver.url_allowed(&url).map_err(Error::from));
        if let Err(error) = allowed {
            return Box::pin(async { Err(error) });
        }
        let (connecting, timeout) = (self.https.call(uri), self.timeout);
        Box::pin(async move {
            tokio::time::timeout(timeout, connecting)
                .await
                .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        })
    }
}
