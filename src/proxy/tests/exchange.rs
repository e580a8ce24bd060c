//! Owns the tests of one call: what the upstream sees, what the browser gets, who is asked when.

use super::*;

fn inside(
    answer: impl Fn(&Request<RequestBody>) -> Response<Body> + Send + Sync + 'static,
) -> Inside {
    Inside::new(move |request| std::future::ready(Ok(answer(&request))))
}

fn answered(status: u16, headers: &[(&str, &str)]) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from("x")).unwrap()
}

const INVALID: (&str, &str) = ("www-authenticate", "bearer error=\"invalid_token\"");

/// Answers 401 `invalid_token` to every token but `good`, and counts the requests.
fn demanding(good: &'static str) -> (Inside, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let transport = inside(move |request| {
        counted.fetch_add(1, Ordering::SeqCst);
        let given = request.headers().get("authorization").unwrap().to_str().unwrap();
        if given.strip_prefix("Bearer ") == Some(good) {
            answered(200, &[])
        } else {
            answered(401, &[INVALID])
        }
    });
    (transport, count)
}

fn renewing(renewals: impl IntoIterator<Item = Renewal<&'static str, &'static str>>) -> TestGate {
    TestGate { renewals: Mutex::new(renewals.into_iter().collect()), ..TestGate::default() }
}

/// FAPI1-BASE-5.2.3-11, BFF-6.1.1-K, FAPI2-SP-5.3.3.1-3: one credential, ours; no cookie; and the
/// address is the route's.
#[tokio::test]
async fn the_upstream_sees_our_request_not_the_pages() {
    let address = serve(|request: Request<Body>| async move {
        let mut lines: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.push(format!("{} {}", request.method(), request.uri()));
        Response::new(Body::from(lines.join("\n")))
    })
    .await;
    let rig = rig(&format!("http://{address}/v1"), http(), TestGate::default());
    let request = Request::get("/api/accounts/1?a=%2F&b=[x]")
        .header("host", "evil.example")
        .header("authorization", "Bearer ATTACKER")
        .header("cookie", "__Host-Http-app=secret; other=1")
        .header("dpop", "proof")
        .header("x-bff-csrf", "1")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-fapi-interaction-id", "not-a-uuid")
        .header("accept", "application/json")
        .body(Body::empty())
        .unwrap();
    let response = rig.call(request).await.unwrap();
    let interaction = response.headers()["x-fapi-interaction-id"].to_str().unwrap().to_owned();
    let seen = text(response).await;
    let mut lines: Vec<&str> = seen.lines().collect();
    lines.sort_unstable();
    assert_eq!(uuid::Uuid::parse_str(&interaction).unwrap().get_version_num(), 4);
    let lines: Vec<&str> =
        lines.into_iter().filter(|line| !line.starts_with("traceparent: 00-")).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/accounts/1?a=%2F&b=[x]",
            "accept: application/json",
            "authorization: Bearer token-1",
            &format!("host: {address}"),
            "via: 1.1 fapi-bff",
            "x-fapi-auth-date: Sun, 06 Nov 1994 08:49:37 GMT",
            "x-fapi-customer-ip-address: 192.0.2.7",
            &format!("x-fapi-interaction-id: {interaction}"),
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-host: app.example",
            "x-forwarded-proto: https",
        ]
    );
    assert_eq!(*rig.gate.needs.lock().unwrap(), [Some(TokenSource::User(None))]);
}

#[tokio::test]
async fn routes_without_a_token_send_none() {
    let transport = inside(|request| {
        assert!(!request.headers().contains_key("authorization"));
        assert!(!request.headers().contains_key("cookie"));
        answered(200, &[("cache-control", "max-age=60")])
    });
    let rig = rig("https://up.example", transport, TestGate::default());
    let mut request = get("/plain/x");
    request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer x"));
    let response = rig.call(request).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(*rig.gate.needs.lock().unwrap(), [None]);

    let mut request = get("/public/x");
    request.headers_mut().insert("cookie", HeaderValue::from_static("__Host-Http-app=x"));
    let response = rig.call(request).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "max-age=60");
    assert_eq!(rig.gate.admitted.load(Ordering::SeqCst), 1);
    assert_eq!(rig.gate.guarded.load(Ordering::SeqCst), 1);
}

/// The ecosystem's header goes with a user's calls only: on a public route nobody is known to be there.
#[tokio::test]
async fn a_public_route_tells_nothing_of_the_browser() {
    for (path, told) in [("/api/x", true), ("/plain/x", true), ("/public/x", false)] {
        let transport = inside(move |request| {
            let header = request.headers().get("x-customer-user-agent");
            assert_eq!(header.is_some_and(|value| value == "A browser"), told, "{path}");
            assert_eq!(header.is_some(), told, "{path}");
            answered(200, &[])
        });
        let rig = rig("https://up.example", transport, TestGate::default());
        let mut request = get(path);
        let headers = request.headers_mut();
        headers.insert("user-agent", HeaderValue::from_static("A browser"));
        headers.insert("x-customer-user-agent", HeaderValue::from_static("forged"));
        assert_eq!(rig.call(request).await.unwrap().status(), 200);
    }
}

/// Cheap refusals come before the gate, the gate before the upstream.
#[tokio::test]
async fn what_is_refused_costs_nothing() {
    let never = || inside(|_| panic!("the upstream was asked"));
    let rig = rig("https://up.example", never(), TestGate::default());
    for (request, reason, status) in [
        (get("/api/../x"), "path.dot_segment", 400),
        (get("//evil.example/api"), "path.empty_segment", 400),
        (get("/api/%2e%2e/x"), "path.encoded_unreserved", 400),
        (get("http://evil.example/api"), "path.not_origin_form", 400),
        (get("/apix"), "route.none", 404),
        (get("/"), "route.none", 404),
        (Request::put("/api/x").body(Body::empty()).unwrap(), "route.method", 405),
        (Request::patch("/api/x").body(Body::empty()).unwrap(), "route.method", 405),
        (Request::trace("/api/x").body(Body::empty()).unwrap(), "route.method", 405),
        (Request::connect("/api/x").body(Body::empty()).unwrap(), "route.method", 405),
        (
            Request::builder().method("get").uri("/api/x").body(Body::empty()).unwrap(),
            "route.method",
            405,
        ),
        (
            Request::builder().method("MKCOL").uri("/api/x").body(Body::empty()).unwrap(),
            "route.method",
            405,
        ),
        (post("/public/x", ""), "route.method", 405),
        (
            Request::get("/api/x")
                .header("connection", "authorization")
                .body(Body::empty())
                .unwrap(),
            "headers.connection_names_protected",
            400,
        ),
        (
            Request::get("/api/x").header("upgrade", "websocket").body(Body::empty()).unwrap(),
            "headers.upgrade",
            400,
        ),
        (
            Request::post("/api/x").header("content-length", "1001").body(Body::from("x")).unwrap(),
            "request.too_large",
            413,
        ),
    ] {
        let fault = rig.fault(request).await;
        assert_eq!((fault.reason(), fault.error_code().status().as_u16()), (reason, status));
        let allow = fault.allow().map(|value| value.to_str().unwrap());
        assert_eq!(allow.is_some(), status == 405, "{reason}");
        assert!(allow.is_none_or(|allow| allow.starts_with("GET, HEAD")), "{allow:?}");
    }
    assert_eq!(rig.gate.guarded.load(Ordering::SeqCst), 0);
    assert_eq!(rig.gate.admitted.load(Ordering::SeqCst), 0);

    let guarded = TestGate { guard_rejects: true, ..TestGate::default() };
    let rig = super::rig("https://up.example", never(), guarded);
    assert!(matches!(rig.call(get("/api/x")).await, Err(Failure::Refused("guard"))));
    assert_eq!(rig.gate.admitted.load(Ordering::SeqCst), 0);

    let closed = TestGate { closed: Some("no session"), ..TestGate::default() };
    let rig = super::rig("https://up.example", never(), closed);
    assert!(matches!(rig.call(get("/api/x")).await, Err(Failure::Refused("no session"))));
    assert!(matches!(rig.call(get("/plain/x")).await, Err(Failure::Refused("no session"))));
}

/// CORS-3.
#[tokio::test]
async fn options_is_answered_here() {
    let rig = rig("https://up.example", inside(|_| panic!("proxied")), TestGate::default());
    let request = Request::options("/api/x")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "GET")
        .body(Body::empty())
        .unwrap();
    let response = rig.call(request).await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["allow"], "GET, HEAD, POST, DELETE, OPTIONS");
    assert_eq!(response.headers().len(), 1);
    assert_eq!(rig.gate.admitted.load(Ordering::SeqCst), 0);
}

/// PXY-3, PXY-4.
#[tokio::test]
async fn the_browser_gets_only_what_is_its_business() {
    let forbidden = [
        "set-cookie",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "strict-transport-security",
        "content-security-policy",
        "content-security-policy-report-only",
        "server",
        "x-powered-by",
        "www-authenticate",
        "authentication-info",
        "dpop-nonce",
        "alt-svc",
        "public-key-pins",
        "clear-site-data",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "trailer",
        "upgrade",
        "x-hop",
        "authorization",
        "refresh",
        "service-worker-allowed",
        "cross-origin-resource-policy",
        "x-accel-redirect",
        "x-accel-buffering",
        "x-sendfile",
        "surrogate-control",
        "cdn-cache-control",
        "cloudflare-cdn-cache-control",
        "expires",
        "pragma",
        "age",
        "x-forwarded-for",
        "x-fapi-auth-date",
        "traceparent",
        "x-frame-options",
        "via",
    ];
    let transport = inside(move |_| {
        let mut response = answered(200, &[("connection", "X-Hop, Content-Type"), ("x-hop", "1")]);
        for name in forbidden.iter().filter(|name| !["connection", "x-hop"].contains(name)) {
            response.headers_mut().append(*name, HeaderValue::from_static("1"));
            response.headers_mut().append(*name, HeaderValue::from_static("2"));
        }
        for (name, value) in [
            ("set-cookie", "__Host-Http-app=evil; Path=/; Secure; HttpOnly"),
            ("content-type", "application/json"),
            ("content-length", "1"),
            ("cache-control", "public, max-age=600"),
            ("etag", "\"1\""),
            ("link", "<a>"),
            ("link", "<b>"),
            ("x-jws-signature", "s"),
        ] {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        response
    });
    let rig = rig("https://up.example", transport, TestGate::default());
    let response = rig.call(get("/api/x")).await.unwrap();
    for name in forbidden {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "1"),
        ("cache-control", "no-store"),
        ("etag", "\"1\""),
        ("x-jws-signature", "s"),
    ] {
        assert_eq!(response.headers().get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
    }
    assert_eq!(response.headers().get_all("link").iter().count(), 2);
    assert_eq!(response.headers().len(), 8, "{:?}", response.headers());
    assert_eq!(rig.seen.notes(), ["/api 2xx", "/api set-cookie"]);
}

#[tokio::test]
async fn a_length_that_is_not_one_number_is_not_passed_on() {
    for lengths in [&["1", "1"][..], &["1, 1"], &["+1"], &["x"], &[""]] {
        let transport = inside(move |_| {
            let mut response = answered(200, &[]);
            for length in lengths {
                response.headers_mut().append("content-length", length.parse().unwrap());
            }
            response
        });
        let rig = rig("https://up.example", transport, TestGate::default());
        let response = rig.call(get("/api/x")).await.unwrap();
        assert!(!response.headers().contains_key("content-length"), "{lengths:?}");
    }
}

/// PXY-5.
#[tokio::test]
async fn redirects_lead_through_the_route_or_are_refused() {
    let rig_for = |status: u16, locations: &'static [&'static str]| {
        let transport = inside(move |_| {
            let lines: Vec<_> = locations.iter().map(|location| ("location", *location)).collect();
            answered(status, &lines)
        });
        rig("https://up.example/v1", transport, TestGate::default())
    };
    for status in [301, 302, 303, 307, 308] {
        let response =
            rig_for(status, &["https://up.example/v1/y?z"]).call(get("/api/x")).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["location"], "/api/y?z");
        for foreign in
            [&["https://evil.example/"][..], &["//evil.example"], &["/other"], &["y", "y"]]
        {
            let fault = rig_for(status, foreign).fault(get("/api/x")).await;
            assert_eq!(
                (fault.reason(), fault.error_code().status().as_u16()),
                ("upstream.redirect", 502)
            );
            assert_eq!(fault.error_code().as_str(), "upstream_redirect");
        }
    }
    // Something was created; only its foreign address is kept back.
    let response = rig_for(201, &["https://internal.example/y"]).call(get("/api/x")).await.unwrap();
    assert_eq!(response.status(), 201);
    assert!(!response.headers().contains_key("location"));
    assert_eq!(rig_for(304, &[]).call(get("/api/x")).await.unwrap().status(), 304);
}

#[tokio::test]
async fn an_invalid_token_is_renewed_and_the_request_repeated_exactly_once() {
    let (transport, count) = demanding("token-2");
    let rig = rig("https://up.example", transport, renewing([Renewal::Renewed("token-2")]));
    let response = rig.call(get("/api/x")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert_eq!(rig.gate.renewed.load(Ordering::SeqCst), 1);
    assert_eq!(rig.seen.notes(), ["/api 4xx", "/api 2xx"]);
}

#[tokio::test]
async fn a_second_rejection_is_final_and_no_login_matter() {
    let (transport, count) = demanding("token-9");
    let gate = renewing([Renewal::Renewed("token-2"), Renewal::Renewed("token-9")]);
    let rig = rig("https://up.example", transport, gate);
    let fault = rig.fault(get("/api/x")).await;
    assert_eq!(
        (fault.error_code().as_str(), fault.error_code().status().as_u16()),
        ("upstream_rejected_token", 502)
    );
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert_eq!(rig.gate.renewed.load(Ordering::SeqCst), 1);
    assert_eq!(rig.seen.open.load(Ordering::SeqCst), 0);
}

/// PXY-7: a body can be read once; what is not kept is never sent twice.
#[tokio::test]
async fn a_request_with_a_long_body_is_not_repeated_but_its_token_renewed() {
    let (transport, count) = demanding("token-2");
    let rig = rig("https://up.example", transport, renewing([Renewal::Renewed("token-2")]));
    let fault = rig.fault(post("/api/x", "x".repeat(REPLAY + 1))).await;
    assert_eq!(
        (fault.error_code().as_str(), fault.error_code().status().as_u16()),
        ("upstream_token_renewed", 503)
    );
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_another_token_nothing_is_repeated() {
    let (transport, count) = demanding("token-2");
    let rig = rig("https://up.example", transport, renewing([]));
    assert_eq!(rig.fault(get("/api/x")).await, Fault::TokenRejected);
    assert_eq!(count.load(Ordering::SeqCst), 1);

    let (transport, count) = demanding("token-2");
    let rig = super::rig("https://up.example", transport, renewing([Renewal::Refused("ended")]));
    assert!(matches!(rig.call(get("/api/x")).await, Err(Failure::Refused("ended"))));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// BRR-3.1.
#[tokio::test]
async fn other_401_pass_and_renew_nothing() {
    for challenge in ["Basic realm=\"x\"", "Bearer error=\"insufficient_scope\"", "Bearer"] {
        let transport = inside(move |_| answered(401, &[("www-authenticate", challenge)]));
        let rig = rig("https://up.example", transport, renewing([Renewal::Renewed("token-2")]));
        let response = rig.call(get("/api/x")).await.unwrap();
        assert_eq!(response.status(), 401);
        assert!(!response.headers().contains_key("www-authenticate"));
        assert_eq!(rig.gate.renewed.load(Ordering::SeqCst), 0);
    }
    // 403 with the same words is no 401, and a route without our token has none to renew.
    let rig = rig("https://up.example", inside(|_| answered(403, &[INVALID])), TestGate::default());
    assert_eq!(rig.call(get("/api/x")).await.unwrap().status(), 403);
    let rig = super::rig(
        "https://up.example",
        inside(|_| answered(401, &[INVALID])),
        TestGate::default(),
    );
    assert_eq!(rig.call(get("/plain/x")).await.unwrap().status(), 401);
    assert_eq!(rig.gate.renewed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_foreign_interaction_id_is_noted_and_replaced() {
    let transport = inside(|_| answered(200, &[("x-fapi-interaction-id", "theirs")]));
    let rig = rig("https://up.example", transport, TestGate::default());
    let response = rig.call(get("/api/x")).await.unwrap();
    assert_ne!(response.headers()["x-fapi-interaction-id"], "theirs");
    assert_eq!(rig.seen.notes(), ["/api 2xx", "/api mismatch"]);

    let echo = inside(|request| {
        let id = request.headers()["x-fapi-interaction-id"].to_str().unwrap();
        answered(200, &[("x-fapi-interaction-id", id)])
    });
    let rig = super::rig("https://up.example", echo, TestGate::default());
    rig.call(get("/api/x")).await.unwrap();
    assert_eq!(rig.seen.notes(), ["/api 2xx"]);
}

#[tokio::test]
async fn a_trace_is_continued_only_from_a_well_formed_parent() {
    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let transport = inside(|request| {
        let headers = request.headers();
        let state = headers.get("tracestate").map_or("-", |value| value.to_str().unwrap());
        answered(200, &[("x-parent", headers["traceparent"].to_str().unwrap()), ("x-state", state)])
    });
    let rig = rig("https://up.example", transport, TestGate::default());
    let call = |parents: &'static [&'static str]| {
        let mut request = get("/api/x");
        for parent in parents {
            request.headers_mut().append("traceparent", parent.parse().unwrap());
        }
        request.headers_mut().insert("tracestate", HeaderValue::from_static("a=b"));
        let rig = &rig;
        async move {
            let response = rig.call(request).await.unwrap();
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            (header("x-parent"), header("x-state"))
        }
    };
    let (parent, state) = call(&[GOOD]).await;
    assert!(parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && parent.ends_with("-01"));
    assert!(!parent.contains("b7ad6b7169203331"));
    assert_eq!((parent.len(), state.as_str()), (55, "a=b"));
    for bad in [
        &[][..],
        &[GOOD, GOOD],
        &["01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
        &["00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"],
        &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
        &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
        &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"],
        &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g"],
        &["00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01"],
        &["x"],
    ] {
        let (parent, state) = call(bad).await;
        assert!(!parent.contains("0af7651916cd43dd8448eb211c80319c"), "{bad:?}");
        assert!(parent.len() == 55 && parent.starts_with("00-") && parent.ends_with("-00"));
        assert_eq!(state, "-", "{bad:?}");
    }
}

#[tokio::test]
async fn two_calls_share_no_ids() {
    let transport = inside(|_| answered(200, &[]));
    let rig = rig("https://up.example", transport, TestGate::default());
    let first = rig.call(get("/api/x")).await.unwrap();
    let second = rig.call(get("/api/x")).await.unwrap();
    assert_ne!(first.headers()["x-fapi-interaction-id"], second.headers()["x-fapi-interaction-id"]);
}
