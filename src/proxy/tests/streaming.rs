//! Owns the tests of bodies in motion: both ways at once, limits, time-outs, peers that vanish.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;

use super::*;

/// Runs a test over HTTP/1.1 and over HTTP/2 towards the upstream.
fn both() -> [(&'static str, Http); 2] {
    [("h1", http()), ("h2", http2())]
}

fn echo(request: Request<Body>) -> std::future::Ready<Response<Body>> {
    std::future::ready(Response::new(request.into_body()))
}

/// The answer to the first chunk arrives while the request is still open.
#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    for (version, client) in both() {
        let address = serve(echo).await;
        let rig = rig(&format!("http://{address}"), client, TestGate::default());
        let (sender, body) = channel();
        sender.send(Ok("a")).await.unwrap();
        let response = rig.call(post("/api/echo", body)).await.unwrap();
        let mut body = response.into_body();
        assert_eq!(rig.seen.open.load(Ordering::SeqCst), 1, "{version}");
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "a");
        for chunk in ["b", "c"] {
            sender.send(Ok(chunk)).await.unwrap();
            assert_eq!(next(&mut body).await.unwrap().unwrap(), chunk, "{version}");
        }
        drop(sender);
        assert!(next(&mut body).await.is_none(), "{version}");
        drop(body);
        assert_eq!(rig.seen.open.load(Ordering::SeqCst), 0, "{version}");
    }
}

/// PXY-7: the limit holds for bodies of unknown length, and the upstream never sees a clean end.
#[tokio::test]
async fn a_body_over_the_limit_is_413_and_aborted_upstream() {
    for (version, client) in both() {
        let (ended, end) = oneshot::channel();
        let ended = Arc::new(Mutex::new(Some(ended)));
        let address = serve(move |request: Request<Body>| {
            let ended = ended.lock().unwrap().take().unwrap();
            async move {
                ended.send(request.into_body().collect().await.is_ok()).unwrap();
                Response::new(Body::empty())
            }
        })
        .await;
        let rig = rig(&format!("http://{address}"), client, TestGate::default());
        let (sender, body) = channel();
        let chunk: &'static str = "0123456789".repeat(10).leak();
        let feed = tokio::spawn(async move { while sender.send(Ok(chunk)).await.is_ok() {} });
        let fault = rig.fault(post("/api/x", body)).await;
        assert_eq!(
            (fault.clone(), fault.error_code().status().as_u16()),
            (Fault::BodyTooLarge, 413),
            "{version}"
        );
        assert!(!end.await.unwrap(), "{version}: the upstream took a cut body for a whole one");
        feed.await.unwrap();
        assert_eq!(rig.seen.notes(), ["/api aborted"]);
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_passes() {
    let address = serve(echo).await;
    let rig = rig(&format!("http://{address}"), http(), TestGate::default());
    let full = "x".repeat(usize::try_from(LIMIT).unwrap());
    assert_eq!(text(rig.call(post("/api/x", full.clone())).await.unwrap()).await, full);
    let (sender, body) = channel();
    sender.send(Ok(full.clone().leak())).await.unwrap();
    drop(sender);
    assert_eq!(text(rig.call(post("/api/x", body)).await.unwrap()).await, full);
    let fault = rig.fault(post("/api/x", full + "x")).await;
    assert_eq!(fault, Fault::BodyTooLarge);
}

#[tokio::test]
async fn a_clients_broken_body_reaches_the_upstream_broken() {
    for (version, client) in both() {
        let (ended, end) = oneshot::channel();
        let ended = Arc::new(Mutex::new(Some(ended)));
        let address = serve(move |request: Request<Body>| {
            let ended = ended.lock().unwrap().take().unwrap();
            async move {
                ended.send(request.into_body().collect().await.is_ok()).unwrap();
                Response::new(Body::empty())
            }
        })
        .await;
        let rig = rig(&format!("http://{address}"), client, TestGate::default());
        let (sender, body) = channel();
        sender.send(Ok("half")).await.unwrap();
        let feed = tokio::spawn(async move {
            sender.send(Err("gone")).await.unwrap();
            sender.closed().await;
        });
        assert_eq!(rig.fault(post("/api/x", body)).await, Fault::BodyBroken, "{version}");
        assert!(!end.await.unwrap(), "{version}");
        feed.await.unwrap();
    }
}

/// The whole way: socket, proxy, socket. A response cut upstream must not look complete in front.
#[tokio::test]
async fn a_response_cut_upstream_is_cut_in_front() {
    for (version, client) in both() {
        let address = serve(|_| async {
            let (sender, body) = channel();
            tokio::spawn(async move {
                sender.send(Ok("half")).await.unwrap();
                sender.send(Err("crash")).await.unwrap();
            });
            Response::new(body)
        })
        .await;
        let rig = Arc::new(rig(&format!("http://{address}"), client, TestGate::default()));
        let mut body = rig.call(get("/api/x")).await.unwrap().into_body();
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "half");
        assert!(next(&mut body).await.unwrap().is_err(), "{version}");
        drop(body);

        let wire =
            raw(front(rig).await, "GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await;
        assert!(wire.starts_with("HTTP/1.1 200 OK\r\n"), "{wire}");
        assert!(wire.contains("transfer-encoding: chunked"), "{wire}");
        assert!(!wire.ends_with("0\r\n\r\n"), "{version}: {wire}");
    }
}

/// PXY-2: an upstream that promises more than it sends.
#[tokio::test]
async fn a_response_shorter_than_its_length_is_cut_in_front() {
    let address = scripted("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let rig = Arc::new(rig(&format!("http://{address}"), http(), TestGate::default()));
    let mut body = rig.call(get("/api/x")).await.unwrap().into_body();
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "half");
    assert!(next(&mut body).await.unwrap().is_err());
    let wire =
        raw(front(rig).await, "GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(wire.contains("content-length: 10\r\n") && wire.ends_with("half"), "{wire}");
}

/// PXY-2: responses that two readers would cut differently are refused or have one framing left.
#[tokio::test]
async fn smuggled_responses_do_not_split() {
    for (response, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            Err("upstream.broken"),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", Err("upstream.broken")),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            Ok("a"),
        ),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 1\r\n\r\na", Err("upstream.broken")),
        ("HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 1\r\n\r\na", Err("upstream.broken")),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Err("upstream.protocol"),
        ),
        ("nonsense\r\n\r\n", Err("upstream.broken")),
        ("", Err("upstream.broken")),
    ] {
        let address = scripted(response).await;
        let rig = rig(&format!("http://{address}"), http(), TestGate::default());
        match (rig.call(get("/api/x")).await, expected) {
            (Ok(answer), Ok(body)) => {
                assert!(!answer.headers().contains_key("transfer-encoding"));
                assert!(!answer.headers().contains_key("content-length"), "{response}");
                assert_eq!(text(answer).await, body, "{response}");
            }
            (Err(Failure::Fault(fault)), Err(reason)) => {
                assert_eq!(fault.reason(), reason, "{response}");
            }
            (other, _) => panic!("{response}: {:?}", other.map(|answer| answer.status())),
        }
    }
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_an_honest_length() {
    let address = serve(|request: Request<Body>| async move {
        let status = request.uri().path().trim_start_matches('/').parse::<u16>().unwrap();
        let body = if status == 200 { Body::from("hello") } else { Body::empty() };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    })
    .await;
    let rig = Arc::new(rig(&format!("http://{address}"), http(), TestGate::default()));
    let front = front(rig).await;
    let request = |method, status| {
        format!("{method} /api/{status} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    };
    let wire = raw(front, &request("HEAD", 200)).await;
    assert!(wire.contains("content-length: 5\r\n") && wire.ends_with("\r\n\r\n"), "{wire}");
    for status in [204, 304] {
        let wire = raw(front, &request("GET", status)).await;
        assert!(
            wire.starts_with(&format!("HTTP/1.1 {status} ")) && wire.ends_with("\r\n\r\n"),
            "{wire}"
        );
        assert!(!wire.contains("transfer-encoding"), "{wire}");
    }
    let wire = raw(front, &request("GET", 200)).await;
    assert!(wire.contains("content-length: 5\r\n") && wire.ends_with("\r\n\r\nhello"), "{wire}");
}

/// PXY-2: a request that two readers would cut differently never becomes two.
#[tokio::test]
async fn smuggled_requests_never_become_two() {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&paths);
    let address = serve(move |request: Request<Body>| {
        noted.lock().unwrap().push(request.uri().path().to_owned());
        echo(request)
    })
    .await;
    let rig = Arc::new(rig(&format!("http://{address}"), http(), TestGate::default()));
    let front = front(rig).await;
    let second = "GET /api/smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for head in [
        "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        "Content-Length: +0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Connection: close, content-length\r\nContent-Length: 1\r\n\r\na",
        "Connection: close\r\nContent_Length: 9\r\n\r\n",
    ] {
        let wire = raw(front, &format!("POST /api/x HTTP/1.1\r\nHost: a\r\n{head}{second}")).await;
        assert!(
            wire.starts_with("HTTP/1.1 400 ") && wire.matches("HTTP/1.1").count() == 1,
            "{head}\n{wire}"
        );
    }
    let absolute = "GET http://evil.example/api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(raw(front, absolute).await.starts_with("HTTP/1.1 400 "));
    assert_eq!(*paths.lock().unwrap(), Vec::<String>::new());

    // hyper drops the length in favour of the chunks and closes, as RFC 9112 §6.3 allows; the
    // listener in front may be stricter.
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let wire = raw(front, &format!("POST /api/x HTTP/1.1\r\nHost: a\r\n{both}{second}")).await;
    assert_eq!(wire.matches("HTTP/1.1").count(), 1, "{wire}");
    assert!(wire.contains("connection: close\r\n"), "{wire}");
    assert_eq!(*paths.lock().unwrap(), ["/x"]);
}

#[tokio::test]
async fn an_unreachable_upstream_is_502() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let rig = rig(&format!("http://{address}"), http(), TestGate::default());
    let fault = rig.fault(get("/api/x")).await;
    assert_eq!(
        (fault.reason(), fault.error_code().status().as_u16()),
        ("upstream.unreachable", 502)
    );
    assert_eq!(rig.seen.notes(), ["/api unreachable"]);
}

/// When the client goes away, so does the request.
#[tokio::test]
async fn a_client_that_hangs_up_takes_the_upstream_request_along() {
    for (version, client) in both() {
        let (started, mut starts) = mpsc::channel(1);
        let (sender, gone) = mpsc::channel(1);
        let address = serve(move |request: Request<Body>| {
            let (started, sender) = (started.clone(), sender.clone());
            async move {
                // Dropped with this handler, or with the body it returns.
                let guard = Guard(sender);
                started.send(()).await.unwrap();
                if request.uri().path() == "/silent" {
                    std::future::pending::<()>().await;
                }
                let endless = futures_util::stream::unfold(guard, |guard| async {
                    tokio::task::yield_now().await;
                    Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), guard))
                });
                Response::new(Body::from_stream(endless))
            }
        })
        .await;
        let mut gone = gone;
        let rig = rig(&format!("http://{address}"), client, TestGate::default());
        // Before the head: dropping the future.
        tokio::select! {
            _ = rig.call(get("/api/silent")) => panic!("answered"),
            _ = starts.recv() => {}
        }
        gone.recv().await.unwrap();
        // After the head: dropping the body.
        let mut body = rig.call(get("/api/endless")).await.unwrap().into_body();
        next(&mut body).await.unwrap().unwrap();
        drop(body);
        gone.recv().await.unwrap();
        assert_eq!(rig.seen.open.load(Ordering::SeqCst), 0, "{version}");
    }
}

struct Guard(mpsc::Sender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

fn silent() -> Inside {
    Inside::new(|_| std::future::pending())
}

#[tokio::test(start_paused = true)]
async fn an_upstream_without_a_head_is_504_at_the_first_byte_time_out() {
    let rig = rig("https://up.example", silent(), TestGate::default());
    let start = tokio::time::Instant::now();
    let fault = rig.fault(get("/api/x")).await;
    assert_eq!((fault.reason(), fault.error_code().status().as_u16()), ("upstream.timeout", 504));
    assert_eq!(start.elapsed(), FIRST_BYTE);
    assert_eq!(rig.seen.notes(), ["/api timeout"]);
}

#[tokio::test(start_paused = true)]
async fn a_head_one_moment_before_the_time_out_passes() {
    let transport = Inside::new(move |_| async move {
        tokio::time::sleep(ALMOST_FIRST_BYTE).await;
        Ok(Response::new(Body::empty()))
    });
    let rig = rig("https://up.example", transport, TestGate::default());
    assert_eq!(rig.call(get("/api/x")).await.unwrap().status(), 200);
}

/// Reads the request to its end, then answers.
fn reading() -> Inside {
    Inside::new(|request: Request<RequestBody>| async {
        match request.into_body().collect().await {
            Ok(body) => Ok(Response::new(Body::from(body.to_bytes()))),
            Err(cut) => Err(Unsent { unconnected: false, cause: cut.into() }),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_long_upload_does_not_count_against_the_upstream() {
    let rig = rig("https://up.example", reading(), TestGate::default());
    let (sender, body) = channel();
    tokio::spawn(async move {
        for _ in 0..5 {
            tokio::time::sleep(ALMOST_IDLE).await;
            sender.send(Ok("x")).await.unwrap();
        }
    });
    assert_eq!(text(rig.call(post("/api/x", body)).await.unwrap()).await, "xxxxx");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_sending_is_408_not_504() {
    let rig = rig("https://up.example", reading(), TestGate::default());
    let (sender, body) = channel();
    sender.send(Ok("x")).await.unwrap();
    let fault = rig.fault(post("/api/x", body)).await;
    assert_eq!((fault.reason(), fault.error_code().status().as_u16()), ("request.stalled", 408));
    drop(sender);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_stops_reading_is_504_however_much_the_client_has_to_say() {
    let transport = Inside::new(|request: Request<RequestBody>| async move {
        let mut body = request.into_body();
        body.frame().await;
        // Asks once more, then never again: the client's turn must not last for ever.
        let _ = futures_util::poll!(body.frame());
        std::future::pending().await
    });
    let rig = rig("https://up.example", transport, TestGate::default());
    let (sender, body) = channel();
    sender.send(Ok("x")).await.unwrap();
    assert_eq!(rig.fault(post("/api/x", body)).await, Fault::Timeout);
    drop(sender);
}

#[tokio::test(start_paused = true)]
async fn a_silent_response_is_cut_at_the_idle_time_out_and_a_slow_one_is_not() {
    let transport = Inside::new(|_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(ALMOST_IDLE).await;
                sender.send(Ok("x")).await.unwrap();
            }
            sender.closed().await;
        });
        Ok(Response::new(body))
    });
    let rig = rig("https://up.example", transport, TestGate::default());
    let mut body = rig.call(get("/api/x")).await.unwrap().into_body();
    for _ in 0..3 {
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "x");
    }
    let silence = tokio::time::Instant::now();
    assert!(next(&mut body).await.unwrap().is_err());
    assert_eq!(silence.elapsed().as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_in_front_is_not_taken_for_a_silent_upstream() {
    let transport = Inside::new(|_| async {
        let (sender, body) = channel();
        tokio::spawn(async move { while sender.send(Ok("x")).await.is_ok() {} });
        Ok(Response::new(body))
    });
    let rig = rig("https://up.example", transport, TestGate::default());
    let mut body = rig.call(get("/api/x")).await.unwrap().into_body();
    for _ in 0..3 {
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "x");
        tokio::time::sleep(IDLE * 3).await;
    }
}

/// PXY-6.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_session() {
    let transport = || {
        Inside::new(|_| async {
            let (sender, body) = channel();
            tokio::spawn(async move {
                sender.send(Ok("x")).await.unwrap();
                sender.closed().await;
            });
            Ok(Response::new(body))
        })
    };
    let ended = CancellationToken::new();
    let lifetime = Lifetime { ended: Some(Arc::new(ended.clone())), deadline: None };
    let rig = rig("https://up.example", transport(), TestGate { lifetime, ..TestGate::default() });
    let mut body = rig.call(get("/api/x")).await.unwrap().into_body();
    assert!(next(&mut body).await.unwrap().is_ok());
    ended.cancel();
    assert!(next(&mut body).await.unwrap().is_err());
    assert!(next(&mut body).await.is_none());

    let end = tokio::time::Instant::now() + Duration::from_secs(5);
    let lifetime = Lifetime { ended: None, deadline: Some(end) };
    let rig =
        super::rig("https://up.example", transport(), TestGate { lifetime, ..TestGate::default() });
    let mut body = rig.call(get("/plain/x")).await.unwrap().into_body();
    assert!(next(&mut body).await.unwrap().is_ok());
    assert!(next(&mut body).await.unwrap().is_err());
    assert!((end..=end + Duration::from_millis(2)).contains(&tokio::time::Instant::now()));
}

/// Trailers could carry what the header rules keep out.
#[tokio::test]
async fn trailers_end_here_in_both_directions() {
    let with_trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("set-cookie", HeaderValue::from_static("a=b"));
        let body = http_body_util::Full::new(Bytes::from_static(b"x"));
        Body::new(body.with_trailers(std::future::ready(Some(Ok(trailers)))))
    };
    let transport = Inside::new(move |request: Request<RequestBody>| async move {
        let body = request.into_body().collect().await.unwrap();
        assert!(body.trailers().is_none());
        assert_eq!(body.to_bytes(), "x");
        Ok(Response::new(with_trailers()))
    });
    let rig = rig("https://up.example", transport, TestGate::default());
    let body = rig.call(post("/api/x", with_trailers())).await.unwrap().into_body();
    let body = body.collect().await.unwrap();
    assert!(body.trailers().is_none());
    assert_eq!(body.to_bytes(), "x");
}

/// Sends `request` and reads until the peer closes.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut wire = Vec::new();
    // A reset is one way to say that this was not the end.
    let _ = stream.read_to_end(&mut wire).await;
    String::from_utf8(wire).unwrap()
}

/// An upstream that reads a request head, writes `response`, and closes.
async fn scripted(response: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(response.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    address
}
