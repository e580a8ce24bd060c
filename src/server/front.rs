//! Owns what happens to every request before and after its app: request id, client address, which
//! app, access log, panics. Must not know: what any call does.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request, response::Response};
use http::{HeaderName, StatusCode, header::HOST};
use ipnet::IpNet;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;

use super::{listener::PeerAddr, ports::AppGate};
use crate::{
    clock::Ambient,
    net::ProxyHttp,
    paths::is_below,
    proxy::{self, Proxy, RequestBody},
    telemetry::Telemetry,
    web::{Body, ClientAddress, ErrorAnswer, ErrorCode, RequestId, Surface, harden},
};

/// The connection pool kept with a route.
pub(super) type Upstream = ProxyHttp<RequestBody>;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One app behind the front door.
#[derive(Clone)]
pub(super) struct Front {
    authority: String,
    prefix: String,
    redirect_path: String,
    spa: Router,
    proxy: Arc<Proxy<AppGate, Upstream>>,
}

impl Front {
    /// An app of the origin `https://{authority}` whose own calls live under `prefix`.
    pub(super) fn new(
        authority: String,
        prefix: String,
        redirect_path: String,
        spa: Router,
        proxy: Proxy<AppGate, Upstream>,
    ) -> Self {
        Self { authority, prefix, redirect_path, spa, proxy: Arc::new(proxy) }
    }

    async fn serve(&self, request: Request, id: &RequestId, client: IpAddr) -> Response<Body> {
        let path = request.uri().path();
        if is_below(path, &self.prefix) {
            // The router's only error is impossible.
            return match self.spa.clone().oneshot(request).await {
                Ok(response) => response,
                Err(impossible) => match impossible {},
            };
        }
        let (request, answered) = self.without_answer(request);
        match self.proxy.handle(request, client).await {
            Ok(mut response) => {
                let surface = response.extensions_mut().remove::<Surface>().unwrap_or(Surface::Api);
                harden(response.headers_mut(), surface);
                if answered {
                    let no_store = http::HeaderValue::from_static("no-store");
                    let no_referrer = http::HeaderValue::from_static("no-referrer");
                    response.headers_mut().insert(http::header::CACHE_CONTROL, no_store);
                    response.headers_mut().insert(http::header::REFERRER_POLICY, no_referrer);
                }
                response
            }
            Err(failure) => {
                let mut response = refused(failure, id);
                harden(response.headers_mut(), Surface::Api);
                response
            }
        }
    }
}

impl Front {
    /// The page that a login returns to is fetched without the answer in its address: script in the
    /// browser hands that in, and whoever serves the page need not see it (FAPI2-SP-6.5). Tells
    /// whether there was one.
    fn without_answer(&self, mut request: Request) -> (Request, bool) {
        let uri = request.uri();
        let answered = uri.path() == self.redirect_path
            && uri.query().is_some_and(|query| {
                url::form_urlencoded::parse(query.as_bytes())
                    .any(|(name, _)| matches!(&*name, "response" | "code" | "error"))
            });
        if answered && let Ok(bare) = self.redirect_path.parse::<http::uri::PathAndQuery>() {
            let mut parts = uri.clone().into_parts();
            parts.path_and_query = Some(bare);
            if let Ok(uri) = http::Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
        (request, answered)
    }
}

fn refused(failure: proxy::Failure<crate::web::Refusal>, id: &RequestId) -> Response<Body> {
    match failure {
        proxy::Failure::Refused(refusal) => refusal.into_response(id),
        proxy::Failure::Fault(fault) => {
            tracing::info!(request_id = %id, reason = fault.reason(), "not forwarded");
            let mut answer = ErrorAnswer::new(fault.error_code());
            if let Some(demand) = fault.step_up() {
                answer = answer.with_step_up(demand.clone());
            }
            if let Some(rule) = fault.authorization() {
                answer = answer.with_authorization(rule.kind.clone(), rule.template.clone());
            }
            let mut response = answer.into_response(id);
            if let Some(allow) = fault.allow() {
                response.headers_mut().insert(http::header::ALLOW, allow.clone());
            }
            response
        }
    }
}

/// The front door of all apps: by `Host` to an origin, by longest prefix to its app.
pub(super) fn router(
    apps: &[Front],
    trusted_proxies: &[IpNet],
    ambient: &Ambient,
    telemetry: &Telemetry,
) -> Router {
    let mut by_authority: BTreeMap<String, Vec<Front>> = BTreeMap::new();
    for app in apps {
        by_authority.entry(app.authority.clone()).or_default().push(app.clone());
    }
    for apps in by_authority.values_mut() {
        apps.sort_by_key(|app| std::cmp::Reverse(app.prefix.len()));
    }
    let door = Arc::new(Door {
        apps: by_authority,
        trusted_proxies: trusted_proxies.to_vec(),
        ambient: ambient.clone(),
        telemetry: telemetry.clone(),
    });
    Router::new()
        .fallback(move |request: Request| {
            let door = Arc::clone(&door);
            async move { door.open(request).await }
        })
        // A panic is our fault, not a reason to leave a browser without an answer.
        .layer(CatchPanicLayer::custom(|_| {
            tracing::error!("a request handler panicked");
            let mut response = Response::new(Body::from("{\"error_code\":\"server_error\"}"));
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, json);
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            harden(response.headers_mut(), Surface::Api);
            response
        }))
}

struct Door {
    apps: BTreeMap<String, Vec<Front>>,
    trusted_proxies: Vec<IpNet>,
    ambient: Ambient,
    telemetry: Telemetry,
}

impl Door {
    async fn open(&self, mut request: Request) -> Response<Body> {
        let started = self.ambient.clock.monotonic_millis();
        let Ok(id) = RequestId::new(&self.ambient) else {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return response;
        };
        let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
        let client =
            peer.map(|peer| ClientAddress::resolve(peer, request.headers(), &self.trusted_proxies));
        request.extensions_mut().insert(id.clone());
        // Whatever the browser called it, here it has our id; forwarding passes neither on.
        request.headers_mut().insert(REQUEST_ID, id.header());
        // The path only: a query may hold a response or a state (FAPI2-SP-6.5).
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut response = if let (Some(app), Some(client)) = (self.app(&request), client) {
            app.serve(request, &id, client.0).await
        } else {
            // A `Host` that is no app's: a misconfigured proxy, or DNS rebinding.
            self.telemetry.metrics.guard_rejected("none", "guard.unknown_host");
            let mut response = ErrorAnswer::new(ErrorCode::NotFound).into_response(&id);
            *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
            harden(response.headers_mut(), Surface::Api);
            response
        };
        response.headers_mut().insert(REQUEST_ID, id.header());
        let millis = self.ambient.clock.monotonic_millis().saturating_sub(started);
        let code = response.extensions().get::<ErrorCode>().map_or("none", |code| code.as_str());
        tracing::info!(
            request_id = %id,
            %method,
            path = %path.chars().take(256).collect::<String>(),
            status = response.status().as_u16(),
            error_code = code,
            seconds = Duration::from_millis(millis).as_secs_f64(),
            "request"
        );
        response
    }

    fn app(&self, request: &Request) -> Option<&Front> {
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = match (request.uri().authority(), hosts.next(), hosts.next()) {
            (Some(authority), None, _) => authority.as_str(),
            (None, Some(host), None) => host.to_str().ok()?,
            (Some(authority), Some(host), None) if authority.as_str() == host => authority.as_str(),
            _ => return None,
        };
        let host = host.strip_suffix(":443").unwrap_or(host);
        let apps = self.apps.get(&host.to_ascii_lowercase())?;
        let path = request.uri().path();
        let own = |app: &&Front| is_below(path, &app.prefix);
        let reach = |app: &&Front| app.proxy.reach(request.uri(), request.version());
        apps.iter().find(own).or_else(|| apps.iter().max_by_key(reach))
    }
}
