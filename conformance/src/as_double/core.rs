//! The heart of the double: shared state, the router, and the one path every request takes: read,
//! disturb if told to, judge, record, answer.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Extension, Router, extract::Request, response::Response, routing::any};
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    AsConfig, ClientRegistration, User, authorize,
    behaviour::{Behaviour, Target},
    exchange::{Call, Refusal, Verdict, json_response},
    keys::Keys,
    logout, metadata,
    state::State,
    token,
};
use crate::{
    faults::through,
    jws::{JwsFault, Object},
    ledger::{Endpoint, Ledger, ListenerKind},
    serve::Connection,
};

pub(crate) struct Core {
    pub(super) config: AsConfig,
    pub(super) issuer: String,
    pub(super) mtls_base: String,
    pub(super) ledger: Ledger,
    state: Mutex<State>,
    behaviour: Mutex<Behaviour>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(config: AsConfig, port: u16, mtls_port: u16) -> Result<Self, JwsFault> {
        Ok(Self {
            issuer: format!("https://{}:{port}{}", config.host, config.path),
            mtls_base: format!("https://{}:{mtls_port}{}", config.mtls_host, config.path),
            ledger: Ledger::new(config.on_event.clone()),
            state: Mutex::new(State::new(Keys::new(config.signing_alg)?)),
            behaviour: Mutex::default(),
            config,
        })
    }

    /// Never held while a lock on the behaviour is asked for, nor across an await.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> i64 {
        (self.config.now)()
    }

    pub(super) fn client(&self, client_id: &str) -> Option<&ClientRegistration> {
        self.config.clients.iter().find(|client| client.client_id == client_id)
    }

    pub(super) fn user(&self, sub: &str) -> Option<&User> {
        self.config.users.iter().find(|user| user.sub == sub)
    }

    pub(super) fn rfc8414_metadata_url(&self) -> String {
        let origin = self.issuer.strip_suffix(&self.config.path);
        let path = self.config.path.trim_end_matches('/');
        format!("{}/.well-known/oauth-authorization-server{path}", origin.unwrap_or(&self.issuer))
    }

    /// Signs claims after their edits, spoiled if so told, and lists the result as a secret.
    pub(super) fn issue(&self, target: Target, mut claims: Object) -> Result<String, Refusal> {
        let tamper = {
            let mut behaviour = self.behaviour();
            behaviour.apply_edits(target, &mut claims);
            behaviour.next_tamper(target)
        };
        let mut state = self.state();
        let token = state
            .keys
            .sign(Some("JWT"), &claims, tamper.as_ref())
            .map_err(|fault| Refusal::new("server_error", "server.key", fault.reason()))?;
        state.secrets.push(token.clone());
        Ok(token)
    }

    /// A JSON answer after its edits.
    pub(super) fn json(&self, status: StatusCode, target: Target, mut body: Object) -> Response {
        self.behaviour().apply_edits(target, &mut body);
        json_response(status, &Value::Object(body))
    }

    /// Whether the token is good for whoever presents this certificate, and what it stands for.
    pub(super) fn active(
        &self,
        token: &str,
        thumbprint: Option<&str>,
    ) -> Result<ActiveToken, &'static str> {
        let now = self.now();
        let state = self.state();
        let access = state.access.get(token).ok_or("token_unknown")?;
        let grant =
            state.live_grant(&access.grant).filter(|_| !access.revoked).ok_or("token_revoked")?;
        if access.expires_at <= now {
            return Err("token_expired");
        }
        let presented = thumbprint.ok_or("certificate_missing")?;
        if access.thumbprint != presented {
            return Err("certificate_mismatch");
        }
        Ok(ActiveToken {
            client_id: grant.client_id.clone(),
            sub: grant.sub.clone(),
            scope: access.scope.clone(),
            expires_at: access.expires_at,
            thumbprint: access.thumbprint.clone(),
        })
    }
}

/// What a valid access token stands for.
#[derive(Clone, Debug)]
pub struct ActiveToken {
    /// The client it was issued to.
    pub client_id: String,
    /// The person, unless the client acts in its own name.
    pub sub: Option<String>,
    /// Its scope.
    pub scope: String,
    /// When it ends.
    pub expires_at: i64,
    /// `x5t#S256` of the certificate it is bound to.
    pub thumbprint: String,
}

/// The double's knowledge of its tokens, for a resource server in the same process.
#[derive(Clone, Debug)]
pub struct TokenState(Arc<Core>);

impl TokenState {
    pub(super) const fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    /// Checks a token as presented over a connection with this client certificate (`x5t#S256`). The
    /// error is a stable reason: `token_unknown`, `token_revoked`, `token_expired`,
    /// `certificate_missing`, `certificate_mismatch`.
    pub fn check(
        &self,
        token: &str,
        thumbprint: Option<&str>,
    ) -> Result<ActiveToken, &'static str> {
        self.0.active(token, thumbprint)
    }

    /// The double's clock.
    pub fn now(&self) -> i64 {
        self.0.now()
    }
}

/// Bearer token of the `Authorization` header, the only place one may be.
pub(crate) fn bearer_token(call: &Call) -> Result<&str, Refusal> {
    let missing = || Refusal::bearer("invalid_request", "bearer.missing", "no bearer token");
    let elsewhere = call.query("access_token").or(call.form("access_token"));
    if elsewhere.is_some() {
        return Err(Refusal::bearer(
            "invalid_request",
            "bearer.not_in_header",
            "tokens belong in the Authorization header",
        ));
    }
    if call.headers.get_all(http::header::AUTHORIZATION).iter().count() > 1 {
        return Err(missing());
    }
    let value = call.header(&http::header::AUTHORIZATION).ok_or_else(missing)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token),
        _ => Err(missing()),
    }
}

/// Every endpoint, the same on both listeners; which one a request may use is a rule of its own.
pub(super) fn router(core: &Arc<Core>) -> Router {
    use Endpoint::{
        Authorize, Decision, EndSession, EndSessionDecision, Introspection, Jwks, Metadata, Par,
        Revocation, Token, Unknown, Userinfo,
    };
    let at = |endpoint| {
        let core = Arc::clone(core);
        any(move |Extension(connection): Extension<Connection>, request: Request| {
            serve(core, endpoint, connection, request)
        })
    };
    let mut router = Router::new();
    let plain = [
        Metadata,
        Jwks,
        Par,
        Authorize,
        Decision,
        Token,
        Userinfo,
        Revocation,
        Introspection,
        EndSession,
        EndSessionDecision,
    ];
    for endpoint in plain {
        router = router.route(&metadata::url(&core.config.path, endpoint), at(endpoint));
    }
    // RFC 8414 §3.1 drops the terminating slash; the conformance suite keeps it.
    let inserted = "/.well-known/oauth-authorization-server";
    let path = core.config.path.trim_end_matches('/');
    router = router.route(&format!("{inserted}{path}"), at(Metadata));
    router = router.route(&format!("{inserted}{path}/"), at(Metadata));
    router.fallback_service(at(Unknown).with_state(()))
}

async fn serve(
    core: Arc<Core>,
    endpoint: Endpoint,
    connection: Connection,
    request: Request,
) -> Response {
    let call = Call::read(endpoint, connection.clone(), request).await;
    let rule = core.behaviour().next_fault(endpoint);
    let call = Mutex::new(Some(call));
    let taken = || call.lock().unwrap_or_else(PoisonError::into_inner).take();
    let skipped = || {
        if let Some(call) = taken() {
            core.ledger.record(call.event(core.now(), StatusCode::OK, Verdict::Faulted));
        }
    };
    let handle = async {
        match taken() {
            Some(call) => judge(&core, call),
            None => Response::default(),
        }
    };
    through(rule, &connection, skipped, handle).await
}

fn judge(core: &Core, mut call: Call) -> Response {
    let judged = dispatch(core, &mut call);
    let at = core.now();
    match judged {
        Ok(response) => {
            core.ledger.record(call.event(at, response.status(), Verdict::Accepted));
            response
        }
        Err(refusal) => {
            let response = refusal.respond();
            let verdict = Verdict::Refused(refusal.reason, refusal.detail);
            core.ledger.record(call.event(at, response.status(), verdict));
            response
        }
    }
}

fn dispatch(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    match call.endpoint {
        Endpoint::Metadata => {
            call.demand_method(&Method::GET)?;
            call.demand_listener(ListenerKind::Plain)?;
            let document = metadata::document(core);
            Ok(core.json(StatusCode::OK, Target::Metadata, document))
        }
        Endpoint::Jwks => {
            call.demand_method(&Method::GET)?;
            call.demand_listener(ListenerKind::Plain)?;
            let decoys = core.behaviour().decoy_keys;
            let set = core.state().keys.jwks(decoys);
            let set =
                set.map_err(|fault| Refusal::new("server_error", "server.key", fault.reason()))?;
            Ok(core.json(StatusCode::OK, Target::Jwks, set))
        }
        Endpoint::Par => authorize::push(core, call),
        Endpoint::Authorize => authorize::authorize(core, call).map_err(Refusal::into_page),
        Endpoint::Decision => authorize::decide(core, call).map_err(Refusal::into_page),
        Endpoint::Token => token::token(core, call),
        Endpoint::Userinfo => token::userinfo(core, call),
        Endpoint::Revocation => token::revoke(core, call),
        Endpoint::Introspection => token::introspect(core, call),
        Endpoint::EndSession => logout::end_session(core, call).map_err(Refusal::into_page),
        Endpoint::EndSessionDecision => logout::decide(core, call).map_err(Refusal::into_page),
        Endpoint::Api | Endpoint::Unknown => {
            Err(Refusal::new("invalid_request", "unknown.endpoint", "nothing lives here")
                .status(StatusCode::NOT_FOUND))
        }
    }
}
