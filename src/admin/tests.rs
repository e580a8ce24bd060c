//! What operators are shown, and what they are not.

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;

struct Fixed(Vec<Check>);

impl Readiness for Fixed {
    fn report(&self) -> BoxFuture<'_, Vec<Check>> {
        Box::pin(async { self.0.clone() })
    }
}

fn check(name: &str, ok: bool) -> Check {
    Check { name: name.to_owned(), ok, detail: "because".to_owned() }
}

async fn call(checks: Vec<Check>, method: &str, path: &str) -> (u16, String, String) {
    let metrics = Arc::new(Metrics::new());
    metrics.session_started("bank");
    let router = router(AdminState {
        metrics,
        readiness: Arc::new(Fixed(checks)),
        any_host: false,
        administration: None,
    });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "127.0.0.1:9090")
        .body(Body::empty())
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let kind = response.headers().get(CONTENT_TYPE).map_or("", |v| v.to_str().unwrap()).to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn one_failed_check_makes_the_server_unready_and_says_which() {
    let (status, kind, body) =
        call(vec![check("store", true), check("provider", false)], "GET", "/readyz").await;
    assert_eq!((status, kind.as_str()), (503, "application/json"));
    let report: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(report["ready"], false);
    assert_eq!(
        report["checks"][1],
        serde_json::json!({"name": "provider", "ok": false, "detail": "because"})
    );
}

#[tokio::test]
async fn all_checks_good_is_ready() {
    let (status, _, body) = call(vec![check("store", true)], "GET", "/readyz").await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn an_unready_server_is_still_alive_and_shows_metrics() {
    assert_eq!(call(vec![check("store", false)], "GET", "/healthz").await.0, 200);
    let (status, kind, body) = call(vec![], "GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert!(body.contains("fapi_bff_sessions_started_total{app=\"bank\"} 1"), "{body}");
}

#[tokio::test]
async fn nothing_else_is_there_and_nothing_is_changed_by_posting() {
    assert_eq!(call(vec![], "GET", "/").await.0, 404);
    assert_eq!(call(vec![], "POST", "/metrics").await.0, 405);
}

/// A page that points its own name at this machine must not read what operators read.
#[tokio::test]
async fn on_loopback_only_addresses_and_localhost_are_taken_for_host() {
    for (host, any_host, status) in [
        ("127.0.0.1:9090", false, 200),
        ("localhost:9090", false, 200),
        ("[::1]:9090", false, 200),
        ("evil.example", false, 421),
        ("evil.example:9090", false, 421),
        ("prometheus.internal", true, 200),
    ] {
        let router = router(AdminState {
            metrics: Arc::new(Metrics::new()),
            readiness: Arc::new(Fixed(Vec::new())),
            any_host,
            administration: None,
        });
        let request =
            Request::builder().uri("/healthz").header(HOST, host).body(Body::empty()).unwrap();
        assert_eq!(router.oneshot(request).await.unwrap().status(), status, "{host}");
    }
}
