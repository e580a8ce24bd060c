//! Owns API forwarding: a request under a configured route goes to that route's upstream with the
//! session's access token, and its response comes back filtered (RFC 10017 §6.1).
//! Must not know: cookies, sessions, keys, TLS; what it needs of them comes through [`ports`].

pub mod body;
pub mod challenge;
pub mod credential;
pub mod fault;
pub mod forward;
pub mod headers;
pub mod path;
pub mod ports;
pub mod response;
pub mod routes;
pub mod step_up;
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
    credential::{Credential, CredentialFault},
    fault::{Failure, Fault},
    ports::{Admitted, Gate, Lifetime, Observer, Renewal, Standing, Transport, Unsent},
    routes::{Access, Carrier, Route, RouteFault, RouteSpec, RouteTable, TokenSource},
    step_up::{AuthorizationRule, StepUpRule},
};
use self::{
    body::{BodyLimits, ClientBody, ResponseBody},
    challenge::Objection,
    headers::Said,
    path::CleanPath,
    step_up::{Demand as _, StepUps},
    trace::Trace,
};
use crate::{
    clock::Ambient,
    ecosystem::CustomerHeader,
    protocol::{StepUp, StepUpRejected},
    web::Surface,
};

/// What every call of an app shares.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The app's `host[:port]`, told to upstreams as `x-forwarded-host`.
    pub host: HeaderValue,
    /// The app's scheme, told to upstreams as `x-forwarded-proto`.
    pub proto: HeaderValue,
    /// Headers between the page and this process, such as the one against cross-site requests.
    pub headers: Vec<HeaderName>,
    /// How upstreams learn of the user's browser, if the app's ecosystem has it told.
    pub customer: Option<CustomerHeader>,
}

/// Forwarding for one app: its routes, each with its own connection pool.
#[derive(Debug)]
pub struct Proxy<G, T> {
    gate: G,
    routes: RouteTable<T>,
    edge: Edge,
    step_ups: StepUps<StepUp>,
    authorizations: StepUps<AuthorizationRule>,
    ambient: Ambient,
    observer: Arc<dyn Observer>,
}

/// One request on its way out, kept until it is known whether it must be sent again.
struct Outgoing {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    body: ClientBody,
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
        let (step_ups, authorizations) = (StepUps::default(), StepUps::default());
        Self { gate, routes, edge, step_ups, authorizations, ambient, observer }
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
        let auth_time = session.as_ref().and_then(|s| s.standing().authentication.auth_time);
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
            Some(session) if route.spec().access == Access::WithToken => {
                self.with_token(route, outgoing, session).await
            }
            session => {
                let session = session.as_ref();
                let lifetime = session.map(Admitted::lifetime).unwrap_or_default();
                let body = outgoing.body.attempt().ok_or(Fault::BodyBroken)?;
                let response = self.send(route, &outgoing, None, body).await?;
                let response = self.deliver(route, &outgoing, lifetime, response)?;
                Ok(with_cookies(response, session.map(Admitted::cookies).unwrap_or_default()))
            }
        }
    }

    /// Guard and session, as the route demands.
    async fn enter(
        &self,
        route: &Route<T>,
        headers: &HeaderMap,
    ) -> Result<Option<G::Session>, Failure<G::Refusal>> {
        let spec = route.spec();
        if spec.access == Access::Public {
            return Ok(None);
        }
        self.gate.guard(headers).map_err(Failure::Refused)?;
        let session = self.gate.admit(headers).await.map_err(Failure::Refused)?;
        // Before any token is asked for that may not be used (FAPI2-SP-5.3.3.1-13).
        self.judge(route, &session)?;
        if spec.access != Access::WithToken {
            return Ok(Some(session));
        }
        let session = self.gate.arm(session, &spec.token).await.map_err(Failure::Refused)?;
        // A refresh may have taken details back (RAR-7).
        self.judge(route, &session)?;
        Ok(Some(session))
    }

    /// Whether the user has authenticated and authorized as the route demands.
    fn judge(&self, route: &Route<T>, session: &G::Session) -> Result<(), Fault> {
        let (spec, standing, now) = (route.spec(), session.standing(), self.ambient.now());
        if let Some(demand) = &spec.step_up.demand {
            if !demand.met_by(&standing.authentication, now) {
                return Err(self.demand(route, session, demand.clone()));
            }
            self.step_ups.met(&spec.path, &standing, demand);
        }
        if let Some(rule) = &spec.authorization {
            if !rule.met_by(&standing, now) {
                return Err(self.authorization(route, session, rule));
            }
            self.authorizations.met(&spec.path, &standing, rule);
        }
        Ok(())
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
        let with_token = spec.access == Access::WithToken;
        let limits = BodyLimits {
            total: spec.request_body_limit,
            idle: spec.idle_timeout,
            replay: if with_token { spec.replay_body_limit } else { 0 },
        };
        let body = ClientBody::new(body, limits);
        let said = Said {
            client,
            host: &self.edge.host,
            proto: &self.edge.proto,
            app: &self.edge.headers,
            trace: &trace,
            auth_time,
            // Nobody is known to be there on a public route.
            customer: self.edge.customer.filter(|_| spec.access != Access::Public),
        };
        let headers = headers::outbound(received, &method, body.is_empty(), &said);
        Ok(Outgoing { method, target, headers, body, interaction: trace.interaction })
    }

    /// Sends with the session's credential. If the upstream objects to it in a way that a fresh one
    /// may cure, sends once more, as far as the body is still there: once with the nonce it wants
    /// (DPOP-9), once with another token (BRR-3.1), so three times at the most.
    async fn with_token(
        &self,
        route: &Route<T>,
        outgoing: Outgoing,
        mut session: G::Session,
    ) -> Result<Response<Body>, Failure<G::Refusal>> {
        let (mut nonce_taken, mut renewed) = (false, false);
        let mut body = outgoing.body.attempt().ok_or(Fault::BodyBroken)?;
        loop {
            let credential = session.credential(&outgoing.method, &outgoing.target)?;
            let dpop = credential.dpop.is_some();
            let response = self.send(route, &outgoing, Some(credential), body).await?;
            session.learn(&outgoing.target, response.headers());
            let objection = challenge::objection(response.status(), response.headers(), dpop);
            if let Some(reason) = objection.reason() {
                tracing::info!(route = route.spec().path, reason, "the upstream objects");
            }
            let without_body = match objection {
                Objection::Nonce(Ok(())) if !nonce_taken => {
                    nonce_taken = true;
                    Fault::NonceLearned
                }
                Objection::Nonce(_) | Objection::Proof => return Err(Fault::ProofRejected.into()),
                Objection::Token if !renewed => {
                    renewed = true;
                    drop(response);
                    session = match self.gate.renew(session, &route.spec().token).await {
                        Renewal::Renewed(session) => session,
                        Renewal::Unchanged => return Err(Fault::TokenRejected.into()),
                        Renewal::Refused(refusal) => return Err(Failure::Refused(refusal)),
                    };
                    Fault::TokenRenewed
                }
                Objection::Token => return Err(Fault::TokenRejected.into()),
                Objection::Authentication(demand) => {
                    if let Some(demand) = self.relayed(route, demand) {
                        return Err(self.demand(route, &session, demand).into());
                    }
                    let lifetime = session.lifetime();
                    let response = self.deliver(route, &outgoing, lifetime, response)?;
                    return Ok(with_cookies(response, session.cookies()));
                }
                Objection::None => {
                    let lifetime = session.lifetime();
                    let response = self.deliver(route, &outgoing, lifetime, response)?;
                    return Ok(with_cookies(response, session.cookies()));
                }
            };
            body = outgoing.body.attempt().ok_or(without_body)?;
        }
    }

    /// An upstream's demand as far as the route lets it make one (STEP-9).
    fn relayed(&self, route: &Route<T>, demand: Result<StepUp, StepUpRejected>) -> Option<StepUp> {
        let spec = route.spec();
        if !spec.step_up.relay {
            return None;
        }
        let limited = demand.map(|demand| demand.within(&spec.step_up.acr_values));
        match limited {
            Ok(Some(demand)) => return Some(demand),
            Ok(None) => self.observer.step_up(&spec.path, "not_allowed"),
            Err(_) => self.observer.step_up(&spec.path, "malformed"),
        }
        None
    }

    /// What a page is told when the user must authenticate otherwise.
    fn demand(&self, route: &Route<T>, session: &G::Session, demand: StepUp) -> Fault {
        let path = &route.spec().path;
        let ruling = self.step_ups.rule(path, &session.standing(), &demand, self.ambient.now());
        self.observer.step_up(path, ruling.name());
        if ruling.tells() { Fault::StepUp(demand) } else { Fault::InsufficientAuthentication }
    }

    /// What a page is told when the user must authorize more (RAR-7).
    fn authorization(
        &self,
        route: &Route<T>,
        session: &G::Session,
        rule: &AuthorizationRule,
    ) -> Fault {
        let (path, now) = (&route.spec().path, self.ambient.now());
        let ruling = self.authorizations.rule(path, &session.standing(), rule, now);
        self.observer.step_up(path, ruling.name());
        if ruling.tells() {
            Fault::Authorization(rule.clone())
        } else {
            Fault::InsufficientAuthorization
        }
    }

    async fn send(
        &self,
        route: &Route<T>,
        outgoing: &Outgoing,
        credential: Option<Credential>,
        body: RequestBody,
    ) -> Result<Response<T::Body>, Fault> {
        let upload = body.upload();
        let mut request = Request::new(body);
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = outgoing.target.clone();
        *request.headers_mut() = outgoing.headers.clone();
        if let Some(credential) = credential {
            headers::authorize(request.headers_mut(), credential);
        }
        // The connection decides: a transport that agrees on HTTP/2 lifts this by itself.
        *request.version_mut() = Version::HTTP_11;
        let spec = route.spec();
        forward::exchange(
            &route.attached,
            request,
            upload.as_ref(),
            spec.first_byte_timeout,
            &spec.path,
            &*self.observer,
        )
        .await
    }

    fn deliver(
        &self,
        route: &Route<T>,
        outgoing: &Outgoing,
        lifetime: Lifetime,
        response: Response<T::Body>,
    ) -> Result<Response<Body>, Fault> {
        let (spec, target, interaction) = (route.spec(), &outgoing.target, &outgoing.interaction);
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

/// Adds what the browser is to keep. Such an answer is for nobody else, now or later.
fn with_cookies(mut response: Response<Body>, cookies: &[HeaderValue]) -> Response<Body> {
    if !cookies.is_empty() {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for cookie in cookies {
            headers.append(header::SET_COOKIE, cookie.clone());
        }
    }
    response
}

/// `OPTIONS` ends here; without CORS there is nothing more to say (CORS-3).
fn options<T>(route: &Route<T>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, route.allow().clone());
    response
}
