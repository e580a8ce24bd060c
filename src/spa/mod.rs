//! Owns the API that an app's own pages call: login, session, userinfo, refresh, logout.
//! Must not know: josekit, TLS, how sessions are stored, how APIs are forwarded.

mod answers;
mod login;
mod logout;
mod logout_channels;
mod openapi;
mod own;
mod page;
mod session;

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{Request, State},
    handler::Handler,
    response::Response,
    routing::{MethodFilter, MethodRouter, on},
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ALLOW, LOCATION},
};
use http_body_util::{BodyExt as _, Limited};
use url::form_urlencoded;

use crate::{
    admission::Admission,
    clock::Ambient,
    login::{Login, RemoteLogout, SealedTransaction},
    profile::ResponseMode,
    provider::Provider,
    telemetry::{Action, AuditEvent, Outcome, Telemetry},
    web::{
        Body, ErrorAnswer, ErrorCode, Guard, GuardRejection, RequestId, Surface,
        cookies_with_prefix, framed_by, harden,
    },
};

/// The most a form body may hold; a JARM response with every claim an AS sends fits many times.
const FORM_LIMIT: usize = 64 * 1024;
/// The most a form body may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// One app's face.
pub struct Spa {
    /// The app's name in the configuration; a metrics label.
    pub app: String,
    /// The client's name in the configuration.
    pub client: String,
    /// `https://host[:port]`.
    pub origin: String,
    /// What all paths of this face start with.
    pub prefix: String,
    /// The door.
    pub guard: Guard,
    /// From a cookie to a session.
    pub admission: Arc<Admission>,
    /// Its logins.
    pub login: Arc<Login>,
    /// What the AS may end by itself.
    pub remote_logout: Arc<RemoteLogout>,
    /// Whether it may do so by logout tokens.
    pub backchannel_logout: bool,
    /// Whether it may do so by a frame on its logout page.
    pub frontchannel_logout: bool,
    /// The AS as this app's client sees it.
    pub provider: Arc<Provider>,
    /// Whether other sites may send users here to log in (OIDC-4).
    pub third_party_initiated_login: bool,
    /// The page of the app's that starts and ends logins by script, a path on its origin.
    pub redirect_path: String,
    /// Where a navigation login ends that did not say where to.
    pub default_return_to: String,
    /// Where a logout ends.
    pub post_logout_path: String,
    /// Seconds since users authenticated who end sessions of theirs elsewhere, at most.
    pub manage_max_age: Option<u32>,
    /// Time and randomness.
    pub ambient: Ambient,
    /// Metrics and audit.
    pub telemetry: Telemetry,
}

impl fmt::Debug for Spa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spa").field("app", &self.app).finish_non_exhaustive()
    }
}

/// How a call is guarded and what its answers are to a browser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Called by script.
    Api,
    /// Navigated to from the app or the address bar.
    NavigationStart,
    /// Navigated to from the AS.
    NavigationReturn,
    /// Read by anybody, holds nothing of anybody.
    Document,
    /// Called by the AS, without a browser.
    BackChannel,
    /// Shown by the AS's logout page, in a frame.
    Frame,
}

const BACKCHANNEL: &str = "backchannel_logout";
const FRONTCHANNEL: &str = "frontchannel_logout";

/// Every call: its path below the prefix, methods, name in metrics, and kind.
const CALLS: [(&str, &[Method], &str, Kind); 15] = [
    ("/login/start", &[Method::POST], "login_start", Kind::Api),
    ("/login/end", &[Method::POST], "login_end", Kind::Api),
    ("/session", &[Method::GET], "session", Kind::Api),
    ("/userinfo", &[Method::GET], "userinfo", Kind::Api),
    ("/refresh", &[Method::POST], "refresh", Kind::Api),
    ("/logout", &[Method::POST], "logout", Kind::Api),
    ("/sessions", &[Method::GET], "sessions", Kind::Api),
    ("/sessions/end", &[Method::POST], "sessions_end", Kind::Api),
    ("/login", &[Method::GET], "login", Kind::NavigationStart),
    ("/login/initiate", &[Method::GET, Method::POST], "login_initiate", Kind::NavigationReturn),
    ("/logout/continue", &[Method::GET], "logout_continue", Kind::NavigationStart),
    ("/logout/callback", &[Method::GET], "logout_callback", Kind::NavigationReturn),
    ("/jwks", &[Method::GET], "jwks", Kind::Document),
    ("/backchannel-logout", &[Method::POST], BACKCHANNEL, Kind::BackChannel),
    ("/frontchannel-logout", &[Method::GET], FRONTCHANNEL, Kind::Frame),
];

/// How the browser may bring an authorization response: the one way it was asked for. A fragment comes
/// in two steps, the page that reads it and the form that page sends.
const fn callback_methods(mode: ResponseMode) -> &'static [Method] {
    match mode {
        ResponseMode::Query | ResponseMode::Jwt => &[Method::GET],
        ResponseMode::FormPost | ResponseMode::FormPostJwt => &[Method::POST],
        ResponseMode::Fragment => &[Method::GET, Method::POST],
    }
}

/// The routes of one app's face. Requests must carry a [`RequestId`] extension.
pub fn router(spa: Arc<Spa>) -> Router {
    let mut router = Router::new();
    let methods = callback_methods(spa.response_mode());
    let callback = ("/callback", methods, "callback", Kind::NavigationReturn);
    for (path, methods, name, kind) in CALLS.into_iter().chain([callback]) {
        let allow = allow(methods, kind);
        let filters = methods.iter().filter_map(|m| MethodFilter::try_from(m.clone()).ok());
        let Some(filter) = filters.reduce(MethodFilter::or) else { continue };
        let path = format!("{}{path}", spa.prefix);
        let handler = call.layer(Extension((name, kind)));
        router = router.route(&path, only(on(filter, handler), allow));
    }
    let document = on(MethodFilter::GET, openapi::document);
    let document = only(document, allow(&[Method::GET], Kind::Document));
    router
        .route(&format!("{}/openapi.json", spa.prefix), document)
        .fallback(not_found)
        .with_state(spa)
}

async fn call(
    State(spa): State<Arc<Spa>>,
    Extension((name, kind)): Extension<(&'static str, Kind)>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response<Body> {
    let started = spa.ambient.clock.monotonic_millis();
    // HEAD would do what GET does, unseen: start a login, or end one.
    if request.method() == Method::HEAD && kind != Kind::Document {
        return method_not_allowed(&id, allow(&[Method::GET], kind));
    }
    if !spa.offers(name) {
        return not_found(Extension(id)).await;
    }
    let mut response = match spa.admit(&request, spa.door(name, request.method(), kind), &id) {
        Ok(()) => dispatch(&spa, name, request, &id).await,
        Err(_) if kind == Kind::Api => ErrorAnswer::new(ErrorCode::CsrfRejected).into_response(&id),
        Err(_) if kind == Kind::Frame => logout_channels::empty_page(StatusCode::FORBIDDEN),
        Err(_) => page::error(&spa, &ErrorAnswer::new(ErrorCode::CsrfRejected), &id),
    };
    let surface = match kind {
        Kind::Api | Kind::BackChannel => Surface::Api,
        _ => Surface::Document,
    };
    let cacheable = kind == Kind::Document && response.status() == StatusCode::OK;
    harden(response.headers_mut(), surface);
    if kind == Kind::Frame {
        framed_by(response.headers_mut(), &spa.framing_origins());
    }
    if cacheable {
        // Keys change rarely and are published before use.
        let value = HeaderValue::from_static("public, max-age=300");
        response.headers_mut().insert(http::header::CACHE_CONTROL, value);
        // Nobody's request changes them, so one copy serves all.
        response.headers_mut().remove(http::header::VARY);
    }
    let millis = spa.ambient.clock.monotonic_millis().saturating_sub(started);
    let seconds = Duration::from_millis(millis).as_secs_f64();
    spa.telemetry.metrics.http_answer(&spa.app, name, status_class(response.status()), seconds);
    response
}

/// Runs the call in a task of its own: a browser that hangs up half-way leaves neither a redeemed
/// code without a session nor an ended session whose tokens live on.
async fn dispatch(
    spa: &Arc<Spa>,
    name: &'static str,
    request: Request,
    id: &RequestId,
) -> Response<Body> {
    let (task_spa, task_id) = (Arc::clone(spa), id.clone());
    let task = tokio::spawn(async move { task_spa.dispatch(name, request, &task_id).await });
    task.await.unwrap_or_else(|_| {
        tracing::error!(call = name, request_id = %id, "a call panicked");
        ErrorAnswer::new(ErrorCode::ServerError).into_response(id)
    })
}

async fn not_found(Extension(id): Extension<RequestId>) -> Response<Body> {
    let mut response = ErrorAnswer::new(ErrorCode::NotFound).into_response(&id);
    harden(response.headers_mut(), Surface::Api);
    response
}

/// A path with one method, and the answer to all others.
fn only(route: MethodRouter<Arc<Spa>>, allow: HeaderValue) -> MethodRouter<Arc<Spa>> {
    route.fallback(async move |Extension(id): Extension<RequestId>| method_not_allowed(&id, allow))
}

/// What `Allow` says of a call (RFC 9110 §15.5.6); left to the router it would promise HEAD, too.
fn allow(methods: &[Method], kind: Kind) -> HeaderValue {
    HeaderValue::from_static(match (methods, kind) {
        ([Method::POST], _) => "POST",
        ([_, _, ..], _) => "GET, POST",
        (_, Kind::Document) => "GET, HEAD",
        _ => "GET",
    })
}

fn method_not_allowed(id: &RequestId, allow: HeaderValue) -> Response<Body> {
    let mut response = ErrorAnswer::new(ErrorCode::MethodNotAllowed).into_response(id);
    response.headers_mut().insert(ALLOW, allow);
    harden(response.headers_mut(), Surface::Api);
    response
}

const fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

impl Spa {
    /// Whether this call is among those that the app has.
    fn offers(&self, name: &str) -> bool {
        match name {
            BACKCHANNEL => self.backchannel_logout,
            FRONTCHANNEL => self.frontchannel_logout,
            _ => true,
        }
    }

    /// Whether the app's pages may set this authorization parameter.
    fn allows(&self, parameter: &str) -> bool {
        self.login.allows(parameter)
    }

    /// How authorization responses come.
    fn response_mode(&self) -> ResponseMode {
        self.provider.registration().response.response_mode
    }

    /// Which door a call comes in by. What was read out of a fragment is sent by our own page, and by
    /// nobody else.
    fn door(&self, name: &str, method: &Method, kind: Kind) -> Kind {
        let relayed = name == "callback"
            && method == Method::POST
            && self.response_mode() == ResponseMode::Fragment;
        if relayed { Kind::NavigationStart } else { kind }
    }

    /// The guards, before anything costs anything.
    fn admit(&self, request: &Request, kind: Kind, id: &RequestId) -> Result<(), GuardRejection> {
        let headers = request.headers();
        let verdict = match kind {
            Kind::Api => self.guard.api(headers),
            Kind::NavigationStart => self.guard.navigation_start(headers),
            Kind::NavigationReturn => Guard::navigation_return(headers),
            Kind::Frame => Guard::frame(headers),
            // What it brings proves itself; a browser that is made to bring it changes nothing.
            Kind::Document | Kind::BackChannel => Ok(()),
        };
        verdict.inspect_err(|rejection| self.turned_away(*rejection, id))
    }

    fn turned_away(&self, rejection: GuardRejection, id: &RequestId) {
        self.telemetry.metrics.guard_rejected(&self.app, rejection.reason());
        tracing::info!(app = %self.app, request_id = %id, reason = rejection.reason(), "turned away");
        self.telemetry.audit.record(&AuditEvent {
            action: Action::GuardReject,
            outcome: Outcome::Rejected,
            reason: rejection.reason(),
            app: &self.app,
            client: &self.client,
            subject: None,
            session: None,
            acr: None,
            request_id: id.as_str(),
            transaction: None,
        });
    }

    async fn dispatch(&self, name: &str, request: Request, id: &RequestId) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let headers = &parts.headers;
        let query = parts.uri.query().unwrap_or_default();
        match name {
            BACKCHANNEL => return logout_channels::backchannel(self, headers, body, id).await,
            FRONTCHANNEL => return logout_channels::frontchannel(self, query, id).await,
            _ => {}
        }
        let form = match self.form(headers, body).await {
            Ok(form) => form,
            Err(answer) => return answer.into_response(id),
        };
        let answer = match name {
            "login_start" => login::login_start(self, headers, &form, id).await,
            "login_end" => login::login_end(self, headers, &form, id).await,
            "session" => session::session(self, headers).await,
            "userinfo" => session::userinfo(self, headers).await,
            "refresh" => session::refresh(self, headers, &form).await,
            "logout" => logout::logout(self, headers, &form, id).await,
            "sessions" => own::sessions(self, headers).await,
            "sessions_end" => own::end_session(self, headers, &form, id).await,
            "login" => return login::navigate_to_login(self, headers, query, id).await,
            "callback" if parts.method == Method::POST => {
                return login::posted_callback(self, headers, &form, id).await;
            }
            // An answer in the fragment did not come along: the page that it came to has it.
            "callback" if self.response_mode() == ResponseMode::Fragment && query.is_empty() => {
                return page::relay();
            }
            "callback" => return login::callback(self, headers, query.as_bytes(), id).await,
            "login_initiate" if self.third_party_initiated_login => {
                let posted = parts.method == Method::POST;
                let parameters = if posted { form.as_slice() } else { query.as_bytes() };
                return login::initiate(self, parameters, id);
            }
            "login_initiate" => {
                return page::error(self, &ErrorAnswer::new(ErrorCode::NotFound), id);
            }
            "logout_continue" => return logout::logout_continue(self, headers).await,
            "logout_callback" => return logout::logout_callback(self, headers, query, id),
            _ => return session::jwks(self, id),
        };
        answer.unwrap_or_else(|refusal| refusal.into_response(id))
    }

    /// Reads a form body; an empty body is an empty form, whatever its type.
    async fn form(&self, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, ErrorAnswer> {
        let read = tokio::time::timeout(FORM_TIMEOUT, Limited::new(body, FORM_LIMIT).collect());
        let bytes = match read.await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(ErrorAnswer::new(ErrorCode::PayloadTooLarge));
            }
            Ok(Err(_)) | Err(_) => {
                return Err(ErrorAnswer::new(ErrorCode::InvalidRequest).with_detail("body"));
            }
        };
        let is_form = headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|essence| {
                essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
            });
        if bytes.is_empty() || is_form {
            Ok(bytes.into())
        } else {
            Err(ErrorAnswer::new(ErrorCode::InvalidRequest).with_detail("content_type"))
        }
    }

    fn transactions<'a>(&self, headers: &'a HeaderMap) -> Vec<SealedTransaction<'a>> {
        let prefix = &self.admission.cookies.transaction_prefix;
        cookies_with_prefix(headers, prefix)
            .into_iter()
            .filter_map(|(name, sealed)| {
                Some(SealedTransaction { id: name.strip_prefix(prefix.as_str())?, sealed })
            })
            .collect()
    }
}

/// 303, never 302 or 307: what carried a form must not be repeated (BCP-4.12).
fn see_other(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(mut location) = HeaderValue::from_str(location) {
        location.set_sensitive(true);
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn pairs(form: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(form).into_owned().collect()
}
