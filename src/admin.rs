//! Owns the operators' HTTP face: metrics, liveness, readiness, session administration.
//! Must not know what is checked: parts of the server report through [`Readiness`].

mod sessions;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::future::BoxFuture;
use http::{
    StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HOST},
    uri::Authority,
};
use serde::Serialize;

pub use sessions::{ADMIN_HEADER, Administration};

use self::sessions::Call;
use crate::telemetry::Metrics;

/// One thing that must hold before requests are welcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What, for example `store` or `provider.bank.metadata`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// For an operator; nothing secret.
    pub detail: String,
}

/// Who knows whether the server is ready.
pub trait Readiness: Send + Sync {
    /// The checks, made now. Ready is when all are `ok`.
    fn report(&self) -> BoxFuture<'_, Vec<Check>>;
}

/// What the admin listener shows.
#[derive(Clone)]
pub struct AdminState {
    /// Shown at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Shown at `/readyz`.
    pub readiness: Arc<dyn Readiness>,
    /// Whether other names than addresses and `localhost` are taken in `Host`. On loopback they are
    /// not: a page that resolves its own name to 127.0.0.1 could read the answers.
    pub any_host: bool,
    /// Who lists and ends sessions; nobody without.
    pub administration: Option<Arc<Administration>>,
}

/// `GET /metrics` (Prometheus text), `GET /healthz` (this process answers), `GET /readyz`
/// (`200` or `503` with the checks as JSON), `POST /sessions/list`, `POST /sessions/end`. For the admin listener, never the public one.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/sessions/list", post(list_sessions))
        .route("/sessions/end", post(end_sessions))
        .layer(middleware::from_fn_with_state(state.clone(), known_host))
        .with_state(state)
}

async fn known_host(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(Authority::as_str));
    let known = host.and_then(|host| host.parse::<Authority>().ok()).is_some_and(|authority| {
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<IpAddr>().is_ok()
    });
    if state.any_host || known {
        next.run(request).await
    } else {
        StatusCode::MISDIRECTED_REQUEST.into_response()
    }
}

async fn list_sessions(State(state): State<AdminState>, request: Request) -> Response {
    sessions::serve(state.administration.as_ref(), Call::List, request).await
}

async fn end_sessions(State(state): State<AdminState>, request: Request) -> Response {
    sessions::serve(state.administration.as_ref(), Call::End, request).await
}

async fn metrics(State(state): State<AdminState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

async fn healthz() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")], "ok\n")
}

#[derive(Serialize)]
struct Report {
    ready: bool,
    checks: Vec<Check>,
}

async fn readyz(State(state): State<AdminState>) -> impl IntoResponse {
    let checks = state.readiness.report().await;
    let report = Report { ready: checks.iter().all(|check| check.ok), checks };
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let json = serde_json::to_string(&report).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], json)
}
