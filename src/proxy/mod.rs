//! Owns API forwarding: a request under a configured route goes to that route's upstream with the
//! session's access token, and its response comes back filtered (RFC 10017 §6.1).
//! Must not know: cookies, OAuth, JOSE, TLS; what it needs of them comes through [`ports`].

pub mod body;
pub mod challenge;
pub mod fault;
pub mod forward;
pub mod headers;
pub mod path;
pub mod ports;
pub mod response;
pub mod routes;
pub mod trace;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};

pub use self::{
    body::RequestBody,
    fault::{Failure, Fault},
    ports::{Admitted, Gate, Lifetime, Need, Observer, Renewal, Transport, Unsent},
    routes::{Access, Route, RouteFault, RouteSpec, RouteTable},
};
use self::{
    body::{ResponseBody, Upload},
    headers::Said,
    path::CleanPath,
    trace::Trace,
};
use crate::{clock::Ambient, web::Surface};

/// What every call of an app shares.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The app's `host[:port]`, told to upstreams as `x-forwarded-host`.
    pub host: HeaderValue,
    /// The app's scheme, told to upstreams as `x-forwarded-proto`.
    pub proto: HeaderValue,
    /// Headers between the page and this process, such as the one against cross-site requests.
    pub headers: Vec<HeaderName>,
}

/// Forwarding for one app: its routes, each with its own connection pool.
#[derive(Debug)]
pub struct Proxy<G, T> {
    gate: G,
    routes: RouteTable<T>,
    edge: Edge,
    ambient: Ambient,
    observer: Arc<dyn Observer>,
}

/// One request on its way out, kept until it is known whether it must be sent again.
struct Outgoing {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    body: RequestBody,
    upload: Option<Arc<Upload>>,
    interaction: HeaderValue,
}

impl<G: Gate, T: Transport> Proxy<G, T> {
    /// Forwarding behind `gate` along `routes`.
    pub fn new(
        gate: G,
        routes: RouteTable<T>,
        edge: Edge,
        ambient: Ambient,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { gate, routes, edge, ambient, observer }
    }

    /// How much of the target's path a route of ours covers, in bytes; 0 if none does.
    pub fn reach(&self, target: &Uri, version: Version) -> usize {
        let path = path::accept_target(target, version).ok();
        path.and_then(|path| self.routes.find(path)).map_or(0, |route| route.spec().path.len())
    }

    /// Forwards `request` of the user at `client`.
    ///
    /// What costs nothing comes first: target, headers, route, declared size, proof of origin; then
    /// the session; then the upstream. Dropping the future abandons the upstream request.
    pub async fn handle(
        &self,
        request: Request<Body>,
        client: IpAddr,
    ) -> Result<Response<Body>, Failure<G::Refusal>> {
        let (parts, body) = request.into_parts();
        let path = path::accept_target(&parts.uri, parts.version).map_err(Fault::Path)?;
        headers::check(&parts.headers, &self.edge.headers).map_err(Fault::Headers)?;
        let route = self.routes.find(path).ok_or(Fault::NoRoute)?;
        if parts.method == Method::OPTIONS {
            return Ok(options(route));
        }
        if !route.allows(&parts.method) {
            return Err(Fault::MethodNotAllowed { allow: route.allow().clone() }.into());
        }
        let declared = headers::declared_length(&parts.headers).map_err(Fault::Headers)?;
        if declared.is_some_and(|length| length > route.spec().request_body_limit) {
            return Err(Fault::BodyTooLarge.into());
        }
        let bodiless = matches!(parts.method, Method::GET | Method::HEAD);
        if bodiless && !http_body::Body::is_end_stream(&body) {
            return Err(Fault::BodyNotAllowed.into());
        }
        let session = self.enter(route, &parts.headers).await?;

        let auth_time = session.as_ref().and_then(Admitted::auth_time);
        let outgoing = self.outgoing(
            route,
            path,
            &parts.uri,
            parts.method,
            parts.headers,
            body,
            client,
            auth_time,
        )?;
        match session {
            Some(session) if route.spec().access == Access::UserToken => {
                self.with_token(route, outgoing, session).await
            }
            session => {
                let lifetime = session.map(|session| session.lifetime()).unwrap_or_default();
                let (target, interaction) = (outgoing.target.clone(), outgoing.interaction.clone());
                let response = self.send(route, outgoing).await?;
                Ok(self.deliver(route, &target, &interaction, lifetime, response)?)
            }
        }
    }

    /// Guard and session, as the route demands.
    async fn enter(
        &self,
        route: &Route<T>,
        headers: &HeaderMap,
    ) -> Result<Option<G::Session>, Failure<G::Refusal>> {
        let need = match route.spec().access {
            Access::Public => return Ok(None),
            Access::SessionOnly => Need::Session,
            Access::UserToken => Need::AccessToken,
        };
        self.gate.guard(headers).map_err(Failure::Refused)?;
        self.gate.admit(headers, need).await.map(Some).map_err(Failure::Refused)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request, each used once")]
    fn outgoing(
        &self,
        route: &Route<T>,
        path: CleanPath<'_>,
        uri: &Uri,
        method: Method,
        received: HeaderMap,
        body: Body,
        client: IpAddr,
        auth_time: Option<crate::clock::UnixTime>,
    ) -> Result<Outgoing, Fault> {
        let spec = route.spec();
        let trace = Trace::begin(&received, &self.ambient).map_err(|_| Fault::NoEntropy)?;
        let target = route.target(path, uri.query()).map_err(|_| Fault::Target)?;
        let (body, upload) = RequestBody::new(body, spec.request_body_limit, spec.idle_timeout);
        let said = Said {
            client,
            host: &self.edge.host,
            proto: &self.edge.proto,
            app: &self.edge.headers,
            trace: &trace,
            auth_time,
        };
        let headers = headers::outbound(received, &method, upload.is_none(), &said);
        Ok(Outgoing { method, target, headers, body, upload, interaction: trace.interaction })
    }

    /// Sends with the session's token; if the upstream calls the token invalid, gets another one
    /// once, and sends a request without a body once more.
    async fn with_token(
        &self,
        route: &Route<T>,
        mut outgoing: Outgoing,
        session: G::Session,
    ) -> Result<Response<Body>, Failure<G::Refusal>> {
        let credential = headers::bearer(session.access_token()).ok_or(Fault::TokenRejected)?;
        headers::authorize(&mut outgoing.headers, credential);
        let (target, interaction) = (outgoing.target.clone(), outgoing.interaction.clone());
        let again = outgoing.again();
        let response = self.send(route, outgoing).await?;
        if !rejects_token(&response) {
            return Ok(self.deliver(route, &target, &interaction, session.lifetime(), response)?);
        }
        tracing::info!(route = route.spec().path, "the upstream calls the access token invalid");
        drop(response);
        let session = match self.gate.renew(session).await {
            Renewal::Renewed(session) => session,
            Renewal::Unchanged => return Err(Fault::TokenRejected.into()),
            Renewal::Refused(refusal) => return Err(Failure::Refused(refusal)),
        };
        let Some(mut again) = again else {
            return Err(Fault::TokenRenewed.into());
        };
        let credential = headers::bearer(session.access_token()).ok_or(Fault::TokenRejected)?;
        headers::authorize(&mut again.headers, credential);
        let response = self.send(route, again).await?;
        if rejects_token(&response) {
            return Err(Fault::TokenRejected.into());
        }
        Ok(self.deliver(route, &target, &interaction, session.lifetime(), response)?)
    }

    async fn send(&self, route: &Route<T>, outgoing: Outgoing) -> Result<Response<T::Body>, Fault> {
        let mut request = Request::new(outgoing.body);
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = outgoing.target;
        *request.headers_mut() = outgoing.headers;
        // The connection decides: a transport that agrees on HTTP/2 lifts this by itself.
        *request.version_mut() = Version::HTTP_11;
        let spec = route.spec();
        forward::exchange(
            &route.attached,
            request,
            outgoing.upload.as_ref(),
            spec.first_byte_timeout,
            &spec.path,
            &*self.observer,
        )
        .await
    }

    fn deliver(
        &self,
        route: &Route<T>,
        target: &Uri,
        interaction: &HeaderValue,
        lifetime: Lifetime,
        response: Response<T::Body>,
    ) -> Result<Response<Body>, Fault> {
        let spec = route.spec();
        let (received, body) = response.into_parts();
        let (headers, dropped) =
            response::inbound(received.headers, received.status, route, target, interaction)
                .map_err(|response::ForeignRedirect| Fault::Redirect)?;
        if dropped.set_cookie {
            self.observer.set_cookie_dropped(&spec.path);
        }
        if dropped.interaction_mismatch {
            tracing::warn!(
                route = spec.path,
                "the upstream answered with another x-fapi-interaction-id"
            );
            self.observer.interaction_mismatch(&spec.path);
        }
        let body = ResponseBody::new(body, spec.idle_timeout, lifetime, Arc::clone(&self.observer));
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = received.status;
        *response.headers_mut() = headers;
        if spec.access == Access::Public {
            response.extensions_mut().insert(Surface::Public);
        }
        Ok(response)
    }
}

impl Outgoing {
    /// A copy to send again; `None` if a body belongs to the request, which can be read once only.
    fn again(&self) -> Option<Self> {
        matches!(self.body, RequestBody::Empty).then(|| Self {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            body: RequestBody::Empty,
            upload: None,
            interaction: self.interaction.clone(),
        })
    }
}

fn rejects_token<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::UNAUTHORIZED && challenge::is_invalid_token(response.headers())
}

/// `OPTIONS` ends here; without CORS there is nothing more to say (CORS-3).
fn options<T>(route: &Route<T>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, route.allow().clone());
    response
}
