//! Raw bytes against a listening server on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    Extension,
    routing::{get, post},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::{self, testing::Authority};

/// Short enough to wait for, long enough to tell apart.
const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(30);

fn limits() -> Limits {
    Limits {
        tls_handshake: LONG,
        first_byte: LONG,
        header: LONG,
        idle: LONG,
        body_idle: LONG,
        write_stall: LONG,
        drain: LONG,
        ..Limits::default()
    }
}

struct Running {
    addr: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn refused(&self, reason: &str) -> bool {
        let line = format!(
            "fapi_bff_connections_refused_total{{listener=\"test\",reason=\"{reason}\"}} 1"
        );
        self.metrics.render().contains(&line)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// All that comes back for `bytes` until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_close(&mut stream).await
    }
}

async fn read_to_close(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    // A reset after the answer is a close as well.
    let _ =
        tokio::time::timeout(LONG, stream.read_to_end(&mut all)).await.expect("the server closes");
    String::from_utf8_lossy(&all).into_owned()
}

async fn run(tls: Option<Arc<rustls::ServerConfig>>, limits: Limits, router: Router) -> Running {
    let metrics = Arc::new(Metrics::new());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(any, tls, limits, "test", Arc::clone(&metrics)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(listener.serve(router, shutdown.clone()));
    Running { addr, metrics, shutdown, task }
}

/// Echoes bodies, counts calls, and misbehaves on request.
fn router(calls: &Arc<AtomicUsize>) -> Router {
    let counted = Arc::clone(calls);
    Router::new()
        .route(
            "/",
            get(|Extension(PeerAddr(peer)): Extension<PeerAddr>| async move { peer.to_string() }),
        )
        .route(
            "/echo",
            post(|body: Result<Bytes, axum::extract::rejection::BytesRejection>| async { body }),
        )
        .route("/panic", get(|| async { assert!(String::new().len() > 1, "on purpose") }))
        .layer(axum::middleware::map_request(move |request: axum::extract::Request| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { request }
        }))
}

async fn plain(limits: Limits) -> (Running, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    (run(None, limits, router(&calls)).await, calls)
}

#[tokio::test]
async fn requests_are_served_kept_alive_and_know_their_peer() {
    let (server, calls) = plain(limits()).await;
    let mut stream = server.connect().await;
    let me = stream.local_addr().unwrap().to_string();
    // Pipelined, the second with a body split from its head.
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await.unwrap();
    stream.write_all(b"lloGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let answers = read_to_close(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert_eq!(answers.matches(&me).count(), 2);
    assert!(answers.contains("hello"));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_head_may_arrive_byte_by_byte() {
    let (server, _) = plain(limits()).await;
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(read_to_close(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}

/// PXY-2: refused with 400 and a closed connection; the smuggled request is never seen.
#[tokio::test]
async fn the_smuggling_corpus_is_refused() {
    const SMUGGLED: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (server, calls) = plain(limits()).await;
    let heads = [
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 30\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for head in heads {
        let answers = server.exchange(format!("{head}{SMUGGLED}").as_bytes()).await;
        assert!(answers.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head:?} gave {answers:?}");
        assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{head:?} gave {answers:?}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert!(server.refused("http.folded_line"));
}

#[tokio::test]
async fn a_bad_head_behind_a_good_one_spoils_only_itself() {
    let (server, calls) = plain(limits()).await;
    let answers = server
        .exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        .await;
    assert!(
        answers.starts_with("HTTP/1.1 200 OK") && answers.contains("HTTP/1.1 400 Bad Request"),
        "{answers}"
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// Behind chunks or a refused upgrade heads would pass unjudged, so none are read.
#[tokio::test]
async fn after_a_chunked_body_or_a_refused_upgrade_the_connection_closes() {
    let (server, calls) = plain(limits()).await;
    let smuggled = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let chunked = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let answers = server.exchange(format!("{chunked}{smuggled}").as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1, "{answers}");
    assert!(answers.contains("hello") && answers.contains("connection: close"), "{answers}");
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
    let answers = server.exchange(format!("{upgrade}{smuggled}").as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// PXY-7.
#[tokio::test]
async fn a_head_of_100_kilobytes_is_refused() {
    let (server, calls) = plain(limits()).await;
    let mut stream = server.connect().await;
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "x".repeat(100_000));
    // The server stops reading long before the end.
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = read_to_close(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert!(server.refused("http.head_too_large"));
}

#[tokio::test]
async fn the_head_limit_is_exact() {
    let (server, calls) = plain(Limits { header_bytes: 8192, ..limits() }).await;
    let start = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-A: ";
    let head = |total: usize| format!("{start}{}\r\n\r\n", "x".repeat(total - start.len() - 4));
    assert!(server.exchange(head(8192).as_bytes()).await.starts_with("HTTP/1.1 200 OK"));
    let answer = server.exchange(head(8193).as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// PXY-7: each kind of waiting has its own end, and only its own limit applies.
#[tokio::test]
async fn a_connection_that_sends_no_byte_is_closed_at_the_first_byte_time_out() {
    let (server, _) = plain(Limits { first_byte: SHORT, ..limits() }).await;
    let started = Instant::now();
    assert_eq!(server.exchange(b"").await, "");
    assert!(started.elapsed() >= SHORT);
    assert!(server.refused("http.first_byte_timeout"));
}

#[tokio::test]
async fn a_half_sent_head_is_closed_at_the_header_time_out_even_if_it_drips() {
    let (server, calls) = plain(Limits { header: SHORT, ..limits() }).await;
    let started = Instant::now();
    let (mut read, mut write) = server.connect().await.into_split();
    let drip = tokio::spawn(async move {
        while write.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: y"[..1].as_ref()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert_eq!(read_to_close(&mut read).await, "");
    assert!(started.elapsed() >= SHORT);
    assert!(server.refused("http.header_timeout"));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    drip.await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_the_idle_time_out() {
    let (server, _) = plain(Limits { idle: SHORT, ..limits() }).await;
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"));
    assert!(server.refused("http.idle_timeout"));
}

#[tokio::test]
async fn a_slow_handler_is_not_idleness() {
    let slow = Router::new().route("/", get(|| async { tokio::time::sleep(SHORT * 3).await }));
    let server =
        run(None, Limits { idle: SHORT, header: SHORT, first_byte: SHORT, ..limits() }, slow).await;
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
}

#[tokio::test]
async fn a_request_body_that_stalls_is_given_up() {
    let (server, _) = plain(Limits { body_idle: SHORT, ..limits() }).await;
    let answer =
        server.exchange(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn an_answer_nobody_takes_is_given_up() {
    let endless = Router::new().route("/", get(|| async { vec![0_u8; 64 << 20] }));
    let server = run(None, Limits { write_stall: SHORT, ..limits() }, endless).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    wait_until(|| server.refused("http.write_timeout")).await;
    wait_until(|| {
        server.metrics.render().contains("fapi_bff_connections_open{listener=\"test\"} 0")
    })
    .await;
}

async fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "it never happened");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_tls_handshake_never_finished_is_closed() {
    let config = tls::server_config(&Authority::new().localhost()).unwrap();
    let server =
        run(Some(config), Limits { tls_handshake: SHORT, ..limits() }, Router::new()).await;
    // The start of a ClientHello record, and nothing more.
    assert_eq!(server.exchange(&[0x16, 3, 1, 2, 0, 1]).await, "");
    assert!(server.refused("tls.handshake_timeout"));
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!answer.contains("HTTP"), "plain HTTP on a TLS port: {answer}");
    assert!(server.refused("tls.handshake"));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once_and_a_freed_place_is_used() {
    let (server, _) = plain(Limits { connections: 1, ..limits() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    first.read_u8().await.unwrap();
    assert_eq!(read_to_close(&mut server.connect().await).await, "");
    assert!(server.refused("listener.too_many_connections"));
    drop(first);
    wait_until(|| {
        server.metrics.render().contains("fapi_bff_connections_open{listener=\"test\"} 0")
    })
    .await;
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_panic_costs_one_answer_and_not_the_connection() {
    let (server, _) = plain(limits()).await;
    let answers = server
        .exchange(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answers.starts_with("HTTP/1.1 500 ") && answers.contains("HTTP/1.1 200 OK"),
        "{answers}"
    );
    assert!(!answers.contains("on purpose"));
}

/// A handler that tells when it has begun and waits to be let go.
fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (b, g) = (Arc::clone(&begun), Arc::clone(&go));
    let router = Router::new().route(
        "/",
        get(move || {
            let (b, g) = (Arc::clone(&b), Arc::clone(&g));
            async move {
                b.notify_one();
                g.notified().await;
                "done"
            }
        }),
    );
    (router, begun, go)
}

#[tokio::test]
async fn drain_finishes_what_is_in_flight_refuses_what_is_new_and_lets_the_idle_go() {
    let (router, begun, go) = held();
    let server = run(None, limits(), router).await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    begun.notified().await;

    server.shutdown.cancel();
    assert_eq!(read_to_close(&mut idle).await, "");
    assert!(TcpStream::connect(server.addr).await.is_err());
    assert!(!server.task.is_finished());
    go.notify_one();
    let answer = read_to_close(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
    server.task.await.unwrap();
}

#[tokio::test]
async fn an_upgraded_connection_flows_freely_and_counts_until_its_end() {
    let echo = |mut request: axum::extract::Request| async move {
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        Response::builder()
            .status(101)
            .header("upgrade", "echo")
            .header("connection", "upgrade")
            .body(Body::empty())
            .unwrap()
    };
    let short = Limits { idle: SHORT, header: SHORT, ..limits() };
    let server = run(None, short, Router::new().route("/", get(echo))).await;
    let mut stream = server.connect().await;
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly",
        )
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"early") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    tokio::time::sleep(SHORT * 2).await;
    stream.write_all(b"POST x\n\r\r\n\r\n").await.unwrap();
    let mut back = [0; 12];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"POST x\n\r\r\n\r\n");
    server.shutdown.cancel();
    assert!(server.metrics.render().contains("fapi_bff_connections_open{listener=\"test\"} 1"));
    drop(stream);
    server.task.await.unwrap();
}

#[tokio::test]
async fn drain_ends_at_its_deadline_whatever_is_in_flight() {
    let (router, begun, _go) = held();
    let server = run(None, Limits { drain: SHORT, ..limits() }, router).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    begun.notified().await;
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert_eq!(read_to_close(&mut busy).await, "");
}

type Http2 = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

async fn http2(server: &Running, authority: &Authority) -> (Http2, JoinHandle<hyper::Result<()>>) {
    let config = tls::client_config(&authority.roots(), None, &[b"h2"]).unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let stream =
        TlsConnector::from(Arc::new(config)).connect(name, server.connect().await).await.unwrap();
    let io = TokioIo::new(stream);
    let (send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    (send, tokio::spawn(connection))
}

fn get_h2(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn http2_is_served_survives_a_panic_and_limits_its_header_list() {
    let authority = Authority::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let config = tls::server_config(&authority.localhost()).unwrap();
    let server = run(Some(config), limits(), router(&calls)).await;
    let (mut send, _connection) = http2(&server, &authority).await;
    assert_eq!(send.send_request(get_h2("/panic")).await.unwrap().status(), 500);
    let answer = send.send_request(get_h2("/")).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    assert_eq!(answer.status(), 200);
    assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty());

    let mut large = get_h2("/");
    for n in 0..20 {
        let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
        large.headers_mut().insert(name, HeaderValue::try_from("x".repeat(1000)).unwrap());
    }
    let before = calls.load(Ordering::SeqCst);
    let refused = send.send_request(large).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == 431));
    assert_eq!(calls.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn http2_connections_without_requests_are_ended() {
    let authority = Authority::new();
    let config = tls::server_config(&authority.localhost()).unwrap();
    let router = Router::new().route("/", get(|| async { "hi" }));
    // Never a request.
    let short = Limits { first_byte: SHORT, header: SHORT, ..limits() };
    let server = run(Some(Arc::clone(&config)), short, router.clone()).await;
    let (_send, connection) = http2(&server, &authority).await;
    tokio::time::timeout(LONG, connection).await.expect("ended").unwrap().ok();
    // Never another.
    let server = run(Some(config), Limits { idle: SHORT, ..limits() }, router).await;
    let (mut send, connection) = http2(&server, &authority).await;
    assert_eq!(send.send_request(get_h2("/")).await.unwrap().status(), 200);
    tokio::time::timeout(LONG, connection).await.expect("ended").unwrap().ok();
}

#[tokio::test]
async fn http2_drain_finishes_what_is_in_flight() {
    let authority = Authority::new();
    let (router, begun, go) = held();
    let server =
        run(Some(tls::server_config(&authority.localhost()).unwrap()), limits(), router).await;
    let (mut send, _connection) = http2(&server, &authority).await;
    let answer = tokio::spawn(send.send_request(get_h2("/")));
    begun.notified().await;
    server.shutdown.cancel();
    go.notify_one();
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "done");
    drop(send);
    server.task.await.unwrap();
}
