//! Owns the tests of sending a request with a body more than once.

use http_body::Body as _;

use super::*;
use crate::proxy::body::{BodyLimits, ClientBody, Cut};

const LIMITS: BodyLimits = BodyLimits { total: LIMIT, idle: IDLE, replay: REPLAY };

fn renewing() -> TestGate {
    let renewals = Mutex::new([Renewal::Renewed("token-2")].into());
    TestGate { renewals, ..TestGate::default() }
}

fn invalid_token() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    response.headers_mut().insert("www-authenticate", challenge);
    response
}

fn has_first_token<B>(request: &Request<B>) -> bool {
    request.headers()["authorization"] == "Bearer token-1"
}

/// Refuses the first token, and answers the second with the body it came with.
fn upstream(
    bodies: Arc<Mutex<Vec<String>>>,
) -> impl Fn(Request<Body>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Clone {
    move |request| {
        let bodies = Arc::clone(&bodies);
        Box::pin(async move {
            let first = has_first_token(&request);
            let body = text(Response::new(request.into_body())).await;
            bodies.lock().unwrap().push(body.clone());
            if first { invalid_token() } else { Response::new(Body::from(body)) }
        })
    }
}

/// DPOP-9-PRJ, BRR-3.1: over real connections, with a declared length and without.
#[tokio::test]
async fn a_short_body_is_sent_again_whole() {
    for (version, client) in [("h1", http()), ("h2", http2())] {
        for body in ["x".to_owned(), "x".repeat(REPLAY)] {
            let bodies = Arc::<Mutex<Vec<String>>>::default();
            let address = serve(upstream(Arc::clone(&bodies))).await;
            let rig = rig(&format!("http://{address}"), client.clone(), renewing());
            let answer = rig.call(post("/api/x", body.clone())).await.unwrap();
            assert_eq!((answer.status().as_u16(), text(answer).await), (200, body.clone()));
            assert_eq!(*bodies.lock().unwrap(), [body.clone(), body.clone()], "{version}");

            let rig = super::rig(&format!("http://{address}"), client.clone(), renewing());
            let (sender, stream) = channel();
            let half = body.clone().leak();
            let feed = tokio::spawn(async move {
                let (first, second) = half.split_at(half.len() / 2);
                sender.send(Ok(first)).await.unwrap();
                sender.send(Ok(second)).await.unwrap();
            });
            let answer = rig.call(post("/api/x", stream)).await.unwrap();
            assert_eq!((answer.status().as_u16(), text(answer).await), (200, body), "{version}");
            feed.await.unwrap();
        }
    }
}

/// DPOP-9-PRJ: the upstream says no before it has read all. The first request is broken off, and the
/// second has what was sent and the rest as it comes.
#[tokio::test]
async fn a_body_refused_half_way_goes_on_where_it_was() {
    for (version, client) in [("h1", http()), ("h2", http2())] {
        let (ended, mut end) = mpsc::channel(1);
        let address = serve(move |request: Request<Body>| {
            let ended = ended.clone();
            async move {
                let first = has_first_token(&request);
                let mut body = request.into_body();
                if !first {
                    return Response::new(body);
                }
                assert_eq!(next(&mut body).await.unwrap().unwrap(), "half ");
                tokio::spawn(async move {
                    ended.send(body.collect().await.is_ok()).await.unwrap();
                });
                invalid_token()
            }
        })
        .await;
        let rig = rig(&format!("http://{address}"), client, renewing());
        let (sender, body) = channel();
        sender.send(Ok("half ")).await.unwrap();
        let answer = rig.call(post("/api/x", body)).await.unwrap();
        assert_eq!(answer.status(), 200, "{version}");
        assert_eq!(end.recv().await, Some(false), "{version}: taken for a whole body");
        let mut body = answer.into_body();
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "half ");
        sender.send(Ok("whole")).await.unwrap();
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "whole");
        drop(sender);
        assert!(next(&mut body).await.is_none());
    }
}

/// PXY-7, DPOP-9-PRJ: what is longer than may be kept is not begun a second time.
#[tokio::test]
async fn a_body_over_the_replay_limit_is_sent_once() {
    for declared in [true, false] {
        let bodies = Arc::<Mutex<Vec<String>>>::default();
        let address = serve(upstream(Arc::clone(&bodies))).await;
        let rig = rig(&format!("http://{address}"), http(), renewing());
        let long: &'static str = "x".repeat(REPLAY + 1).leak();
        let body = if declared {
            Body::from(long)
        } else {
            let (sender, body) = channel();
            sender.send(Ok(long)).await.unwrap();
            body
        };
        let fault = rig.fault(post("/api/x", body)).await;
        assert_eq!(fault, Fault::TokenRenewed);
        assert_eq!(*bodies.lock().unwrap(), [long], "{declared}");
    }
}

#[tokio::test]
async fn a_route_that_keeps_nothing_sends_no_body_twice() {
    let bodies = Arc::<Mutex<Vec<String>>>::default();
    let address = serve(upstream(Arc::clone(&bodies))).await;
    let keep_nothing = |spec: &mut RouteSpec| spec.replay_body_limit = 0;
    let upstream = format!("http://{address}");
    let rig = rig_with(&upstream, http(), renewing(), Ambient::system(), keep_nothing);
    assert_eq!(rig.fault(post("/api/x", "x")).await, Fault::TokenRenewed);
    assert_eq!(*bodies.lock().unwrap(), ["x"]);
}

/// A client that breaks its word does so for the second attempt too.
#[tokio::test]
async fn a_body_that_was_cut_is_cut_for_every_attempt() {
    for (chunk, fault) in
        [(Ok("0123456789".repeat(10)), Fault::BodyTooLarge), (Err("gone"), Fault::BodyBroken)]
    {
        let transport = Inside::new(|request: Request<RequestBody>| async move {
            let first = has_first_token(&request);
            match request.into_body().collect().await {
                Err(cut) if !first => Err(Unsent { unconnected: false, cause: cut.into() }),
                Err(_) => Ok(invalid_token()),
                Ok(_) => panic!("whole"),
            }
        });
        let limit = |spec: &mut RouteSpec| {
            spec.request_body_limit = 50;
            spec.replay_body_limit = 1000;
        };
        let rig = rig_with("https://up.example", transport, renewing(), Ambient::system(), limit);
        let (sender, body) = channel();
        let chunk = chunk.map(|text| &*text.leak());
        tokio::spawn(async move { sender.send(chunk).await });
        assert_eq!(rig.fault(post("/api/x", body)).await, fault);
    }
}

async fn data(body: &mut RequestBody) -> Option<Result<Bytes, Cut>> {
    body.frame().await.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
}

#[tokio::test]
async fn the_length_is_told_to_every_attempt() {
    let body = ClientBody::new(Body::from("0123456789"), LIMITS);
    for _ in 0..3 {
        let mut attempt = body.attempt().unwrap();
        assert_eq!(attempt.size_hint().exact(), Some(10));
        assert!(!attempt.is_end_stream());
        assert_eq!(data(&mut attempt).await.unwrap().unwrap(), "0123456789");
        assert_eq!(attempt.size_hint().exact(), Some(0));
        assert!(attempt.is_end_stream());
        assert!(data(&mut attempt).await.is_none());
    }
    let empty = ClientBody::new(Body::empty(), LIMITS);
    assert!(empty.is_empty() && empty.attempt().unwrap().is_end_stream());
    assert!(empty.attempt().unwrap().upload().is_none());
}

/// Only one attempt reads: no byte of the client's gets lost in an abandoned one.
#[tokio::test]
async fn an_earlier_attempt_reads_nothing_more_and_is_told() {
    let (sender, stream) = channel();
    let body = ClientBody::new(stream, LIMITS);
    let mut first = body.attempt().unwrap();
    sender.send(Ok("one")).await.unwrap();
    assert_eq!(data(&mut first).await.unwrap().unwrap(), "one");
    let waiting = tokio::spawn(async move {
        let told = data(&mut first).await.unwrap().unwrap_err();
        assert!(!first.is_end_stream());
        assert_eq!(data(&mut first).await.unwrap().unwrap_err(), told);
        told
    });
    tokio::task::yield_now().await;
    let mut second = body.attempt().unwrap();
    assert_eq!(waiting.await.unwrap(), Cut::Superseded, "without a byte of the client's");
    sender.send(Ok("two")).await.unwrap();
    drop(sender);
    assert_eq!(data(&mut second).await.unwrap().unwrap(), "one");
    assert_eq!(data(&mut second).await.unwrap().unwrap(), "two");
    assert!(data(&mut second).await.is_none());
    assert_eq!(second.upload().unwrap().cut(), None);
    let mut third = body.attempt().unwrap();
    assert_eq!(data(&mut third).await.unwrap().unwrap(), "onetwo");
}

#[tokio::test]
async fn what_is_kept_is_given_up_with_the_last_hope_of_a_retry() {
    let (sender, stream) = channel();
    let body = ClientBody::new(stream, LIMITS);
    let mut attempt = body.attempt().unwrap();
    sender.send(Ok("one")).await.unwrap();
    assert_eq!(data(&mut attempt).await.unwrap().unwrap(), "one");
    let mut again = body.attempt().unwrap();
    drop(body);
    sender.send(Ok("two")).await.unwrap();
    assert_eq!(data(&mut again).await.unwrap().unwrap(), "one", "what is promised is kept");
    assert_eq!(data(&mut again).await.unwrap().unwrap(), "two");
}

/// The time in which nobody listened is not the client's silence.
#[tokio::test(start_paused = true)]
async fn the_idle_time_begins_anew_with_an_attempt() {
    let (sender, stream) = channel();
    let body = ClientBody::new(stream, LIMITS);
    let mut first = body.attempt().unwrap();
    sender.send(Ok("one")).await.unwrap();
    data(&mut first).await.unwrap().unwrap();
    assert!(futures_util::poll!(first.frame()).is_pending());
    tokio::time::sleep(IDLE * 2).await;
    let mut second = body.attempt().unwrap();
    assert_eq!(data(&mut second).await.unwrap().unwrap(), "one");
    let start = tokio::time::Instant::now();
    assert_eq!(data(&mut second).await.unwrap().unwrap_err(), Cut::Idle);
    assert_eq!(start.elapsed().as_secs(), IDLE.as_secs());
    assert_eq!(second.upload().unwrap().cut(), Some(Cut::Idle));
    drop(sender);
}

proptest::proptest! {
    /// However a body is cut up, and however often and wherever it is begun again, an attempt that goes
    /// through has all of it.
    #[test]
    fn every_attempt_begins_at_the_beginning(
        chunks in proptest::collection::vec("[a-z]{1,9}", 1..9),
        reads in proptest::collection::vec(0_usize..12, 0..4),
    ) {
        let whole = chunks.concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async move {
            let stream = futures_util::stream::iter(chunks.into_iter().map(Ok::<_, Infallible>));
            let body = ClientBody::new(Body::from_stream(stream), LIMITS);
            for count in reads {
                let mut attempt = body.attempt().unwrap();
                for _ in 0..count {
                    if data(&mut attempt).await.is_none() {
                        break;
                    }
                }
            }
            let last = body.attempt().unwrap().collect().await.unwrap().to_bytes();
            assert_eq!(last, whole);
        });
    }
}
