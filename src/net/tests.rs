//! Both clients against servers that misbehave, over real sockets on loopback.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use url::Url;

use super::{Answer, CallFailed, Network, OAuthHttp, Refusal, Resolver, proxy_http};
use crate::tls::{
    self,
    testing::{Authority, Leaf},
};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

struct Server {
    port: u16,
    requests: Arc<AtomicUsize>,
}

/// Reads one request head (and its short body) per connection, then does what `then` says.
async fn server<F>(
    tls: Arc<ServerConfig>,
    then: impl Fn(TlsStream<TcpStream>, String) -> F + Send + Sync + 'static,
) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let (counter, then) = (Arc::clone(&requests), Arc::new(then));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (tls, counter, then) = (tls.clone(), counter.clone(), then.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = TlsAcceptor::from(tls).accept(tcp).await else { return };
                let mut bytes = vec![0; 16 * 1024];
                let mut n = 0;
                while !String::from_utf8_lossy(&bytes[..n]).contains("\r\n\r\n") {
                    match stream.read(&mut bytes[n..]).await {
                        Ok(more) if more > 0 => n += more,
                        _ => return,
                    }
                }
                counter.fetch_add(1, Ordering::SeqCst);
                then(stream, String::from_utf8_lossy(&bytes[..n]).into_owned()).await;
            });
        }
    });
    Server { port, requests }
}

async fn answering(authority: &Authority, answer: &'static str) -> Server {
    server(tls::server_config(&authority.localhost()).unwrap(), move |mut stream, _| async move {
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

fn client(
    authority: &Authority,
    networks: &[Network],
    connect: Duration,
    total: Duration,
) -> OAuthHttp {
    let tls = tls::client_config(&authority.roots(), None, &[b"http/1.1"]).unwrap();
    OAuthHttp::new(tls, Resolver::new(networks), connect, total).unwrap()
}

fn url(port: u16) -> Url {
    Url::parse(&format!("https://localhost:{port}/token")).unwrap()
}

async fn post(client: &OAuthHttp, url: &Url, limit: usize) -> Result<Answer, CallFailed> {
    client.send(Method::POST, url, HeaderMap::new(), Some(Bytes::from_static(b"a=b")), limit).await
}

async fn post_to(
    authority: &Authority,
    server: &Server,
    limit: usize,
) -> Result<Answer, CallFailed> {
    post(&client(authority, &[Network::Loopback], LONG, LONG), &url(server.port), limit).await
}

#[tokio::test]
async fn a_call_brings_status_headers_and_body_and_announces_its_length() {
    let authority = Authority::new();
    let config = tls::server_config(&authority.localhost()).unwrap();
    let server = server(config, |mut stream, request| async move {
        let body = request.to_ascii_lowercase();
        let head = format!("HTTP/1.1 418 T\r\nX-A: 1\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let client = client(&authority, &[Network::Loopback], LONG, LONG);
    let mut headers = HeaderMap::new();
    headers.insert("x-mine", HeaderValue::from_static("here"));
    let body = Some(Bytes::from_static(b"a=b"));
    let answer = client.send(Method::POST, &url(server.port), headers, body, 4096).await.unwrap();
    assert_eq!((answer.status, answer.headers["x-a"].as_bytes()), (418, &b"1"[..]));
    let seen = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(seen.contains("content-length: 3\r\n") && seen.contains("x-mine: here\r\n"), "{seen}");
    assert!(!seen.contains("transfer-encoding") && !seen.contains("referer"), "{seen}");
}

/// META-PRJ: the environment's proxy is not asked. Runs the test above again with one that is dead.
#[test]
fn a_proxy_named_by_the_environment_is_ignored() {
    let again = "net::tests::a_call_brings_status_headers_and_body_and_announces_its_length";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", again])
        .envs(
            ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
                .map(|k| (k, "http://127.0.0.1:1")),
        )
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// META-PRJ.
#[tokio::test]
async fn redirects_are_reported_and_not_followed() {
    let authority = Authority::new();
    let target = answering(&authority, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!(
            "HTTP/1.1 {status} X\r\nLocation: https://localhost:{}/\r\nContent-Length: 0\r\n\r\n",
            target.port
        );
        let server = answering(&authority, location.leak()).await;
        assert_eq!(
            post_to(&authority, &server, 100).await.unwrap_err(),
            CallFailed::Redirect(status)
        );
        assert_eq!(server.requests.load(Ordering::SeqCst), 1);
    }
    assert_eq!(target.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_is_read_to_the_limit_and_no_further_announced_or_not() {
    let authority = Authority::new();
    let announced =
        answering(&authority, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789").await;
    assert_eq!(post_to(&authority, &announced, 10).await.unwrap().body, "0123456789");
    assert_eq!(post_to(&authority, &announced, 9).await.unwrap_err(), CallFailed::TooLarge);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n";
    let chunked = answering(&authority, chunked).await;
    assert_eq!(post_to(&authority, &chunked, 10).await.unwrap().body, "0123456789");
    assert_eq!(post_to(&authority, &chunked, 9).await.unwrap_err(), CallFailed::TooLarge);
    assert!(CallFailed::TooLarge.sent());
}

#[tokio::test]
async fn a_dripping_body_ends_at_the_total_time_out() {
    let authority = Authority::new();
    let config = tls::server_config(&authority.localhost()).unwrap();
    let server = server(config, |mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await.unwrap();
        while stream.write_all(b"x").await.is_ok() && stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let client = client(&authority, &[Network::Loopback], LONG, SHORT);
    let failed = post(&client, &url(server.port), 2000).await.unwrap_err();
    assert_eq!(failed, CallFailed::TimedOut { sent: true });
}

#[tokio::test]
async fn silence_after_the_request_is_an_unknown_outcome() {
    let authority = Authority::new();
    let config = tls::server_config(&authority.localhost()).unwrap();
    let server = server(config, |stream, _| async move {
        tokio::time::sleep(LONG).await;
        drop(stream);
    })
    .await;
    let client = client(&authority, &[Network::Loopback], LONG, SHORT);
    let failed = post(&client, &url(server.port), 100).await.unwrap_err();
    assert_eq!(failed, CallFailed::TimedOut { sent: true });
}

#[tokio::test]
async fn a_handshake_that_never_ends_times_out_with_nothing_sent() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = url(listener.local_addr().unwrap().port());
    let authority = Authority::new();
    for (connect, total) in [(SHORT, LONG), (LONG, SHORT)] {
        let client = client(&authority, &[Network::Loopback], connect, total);
        let failed = post(&client, &url, 100).await.unwrap_err();
        assert_eq!(failed, CallFailed::TimedOut { sent: false });
    }
}

#[tokio::test]
async fn a_connection_dropped_after_the_request_may_have_been_served() {
    let authority = Authority::new();
    let config = tls::server_config(&authority.localhost()).unwrap();
    let server = server(config, |stream, _| async move { drop(stream) }).await;
    let failed = post_to(&authority, &server, 100).await.unwrap_err();
    assert_eq!(failed, CallFailed::Broken { sent: true });
    assert_eq!(server.requests.load(Ordering::SeqCst), 1, "never repeated");
}

#[tokio::test]
async fn a_truncated_body_is_no_answer() {
    let authority = Authority::new();
    let server = answering(&authority, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234").await;
    assert_eq!(
        post_to(&authority, &server, 100).await.unwrap_err(),
        CallFailed::Broken { sent: true }
    );
}

#[tokio::test]
async fn a_refused_connection_sends_nothing() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = url(listener.local_addr().unwrap().port());
    drop(listener);
    let failed = post(&client(&Authority::new(), &[Network::Loopback], LONG, LONG), &url, 1)
        .await
        .unwrap_err();
    assert!(matches!(failed, CallFailed::Refused(Refusal::Connect(_))), "{failed:?}");
    assert!(!failed.sent());
}

/// FAPI2-SP-5.2.1-5.
#[tokio::test]
async fn an_unknown_authority_sends_nothing() {
    let server = answering(&Authority::new(), "HTTP/1.1 200 OK\r\n\r\n").await;
    let failed = post_to(&Authority::new(), &server, 100).await.unwrap_err();
    assert!(matches!(failed, CallFailed::Refused(Refusal::Tls(_))), "{failed:?}");
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

/// META-PRJ: a literal in the URL and a name that leads there are refused alike, in both clients.
#[tokio::test]
async fn addresses_outside_the_policy_are_never_dialled() {
    let authority = Authority::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let networks = [Network::Public, Network::Private];
    let oauth = client(&authority, &networks, LONG, LONG);
    let tls = tls::client_config(&authority.roots(), None, &[b"http/1.1"]).unwrap();
    let proxy = proxy_http::<Full<Bytes>>(tls, Resolver::new(&networks), LONG, 1);
    for host in
        ["127.0.0.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "localhost", "a.localhost"]
    {
        let url = Url::parse(&format!("https://{host}:{port}/")).unwrap();
        let failed = post(&oauth, &url, 100).await.unwrap_err();
        assert_eq!(failed, CallFailed::Refused(Refusal::AddressNotAllowed), "{host}");
        for scheme in ["http", "https"] {
            let uri = format!("{scheme}://{}:{port}/", url.host().unwrap());
            let request = Request::get(uri).body(Full::default()).unwrap();
            assert!(proxy.request(request).await.unwrap_err().is_connect(), "{host}");
        }
    }
    let metadata = Url::parse("https://169.254.169.254/").unwrap();
    assert!(post(&oauth, &metadata, 100).await.is_err());
    let dialled = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(dialled.is_err(), "somebody connected");
}

/// FAPI2-SP-5.2.1-1.
#[tokio::test]
async fn plain_http_is_refused_for_oauth_calls() {
    let client = client(&Authority::new(), &[Network::Loopback], LONG, LONG);
    let url = Url::parse("http://localhost:1/token").unwrap();
    assert_eq!(post(&client, &url, 1).await.unwrap_err(), CallFailed::Refused(Refusal::Url));
}

/// With TLS 1.3 the refusal arrives when the request may already be on its way; the server has still
/// not read it.
#[tokio::test]
async fn a_missing_client_certificate_is_told_apart_from_a_broken_connection() {
    let authority = Authority::new();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls::pki_types::pem::PemObject::pem_slice_iter(authority.pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        tls::provider(),
    );
    let issued = authority.issue(&Leaf::new(&["localhost"]));
    let chain = rustls::pki_types::pem::PemObject::pem_slice_iter(issued.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = rustls::pki_types::pem::PemObject::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    let server = server(Arc::new(config), |_, _| async {}).await;
    let failed = post_to(&authority, &server, 100).await.unwrap_err();
    assert!(
        matches!(
            failed,
            CallFailed::Refused(Refusal::ClientCertificate(_)) | CallFailed::Broken { .. }
        ),
        "{failed:?}"
    );
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_forwarding_client_reaches_an_allowed_upstream_and_gives_up_on_a_silent_one() {
    let authority = Authority::new();
    let server = answering(&authority, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let tls = || tls::client_config(&authority.roots(), None, &[b"h2", b"http/1.1"]).unwrap();
    let proxy =
        |timeout| proxy_http::<Full<Bytes>>(tls(), Resolver::new(&[Network::Loopback]), timeout, 1);
    let get =
        |port| Request::get(format!("https://localhost:{port}/")).body(Full::default()).unwrap();

    // The raw server speaks HTTP/1.1 only, so `h2` must not be offered to it.
    let mut http1 = tls();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let client = proxy_http::<Full<Bytes>>(http1, Resolver::new(&[Network::Loopback]), LONG, 1);
    let answer = client.request(get(server.port)).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hi");

    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let failed = proxy(SHORT).request(get(silent.local_addr().unwrap().port())).await.unwrap_err();
    assert!(failed.is_connect());
}
