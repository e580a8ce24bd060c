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
    AsConfig, ClientAuth, ClientRegistration, User, authorize,
    behaviour::{Behaviour, Tamper, Target},
    encryption::{self, Opener},
    exchange::{Call, Refusal, Verdict, announce_nonce, json_response},
    keys::{Keys, Publication},
    logout, metadata, resource,
    rules::Rule,
    state::{Binding, Realm, State},
    token,
};
use crate::{
    faults::{FaultRule, through},
    jws::{JwsFault, Object},
    ledger::{Answer, Endpoint, Ledger, ListenerKind},
    serve::Connection,
};

pub(crate) struct Core {
    pub(super) config: AsConfig,
    pub(super) issuer: String,
    pub(super) mtls_base: String,
    pub(super) ledger: Ledger,
    /// Opens request objects, if they come encrypted.
    pub(super) opener: Option<Opener>,
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
        let opener = config.request_object_encryption.as_ref().map(Opener::new).transpose();
        Ok(Self {
            opener: opener.map_err(|_| JwsFault::KeyUnusable)?,
            issuer: format!("https://{}:{port}{}", config.host, config.path),
            mtls_base: format!("https://{}:{mtls_port}{}", config.mtls_host, config.mtls_path),
            ledger: Ledger::new(config.on_event.clone(), config.on_visit.clone()),
            state: Mutex::new(State::new(Keys::new(
                config.signing_alg,
                config.signing_key.clone(),
            )?)),
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

    /// A token in answer to a call.
    pub(super) fn issue(
        &self,
        call: &mut Call,
        client_id: &str,
        target: Target,
        claims: Object,
    ) -> Result<String, Refusal> {
        let token = self.mint(client_id, target, claims);
        call.checks.require(Rule::ServerKey, token.ok())
    }

    /// Signs claims after their edits, spoiled if so told, encrypts the result where the client
    /// registered for it, and lists both as secrets.
    pub(super) fn mint(
        &self,
        client_id: &str,
        target: Target,
        mut claims: Object,
    ) -> Result<String, JwsFault> {
        let (tamper, flaw, typ) = {
            let mut behaviour = self.behaviour();
            behaviour.apply_edits(target, &mut claims);
            let typ = match target {
                // RFC 9701 §5
                Target::Introspection => Some("token-introspection+jwt".to_owned()),
                Target::LogoutToken => behaviour.logout_token_typ.clone(),
                _ => Some("JWT".to_owned()),
            };
            (behaviour.next_tamper(target), behaviour.flaw, typ)
        };
        let token = self.sign(typ.as_deref(), &claims, tamper.as_ref())?;
        self.state().secrets.push(token.clone());
        let client = self.client(client_id);
        let Some((client, wanted)) =
            client.and_then(|client| Some((client, client.encryption(target)?)))
        else {
            return Ok(token);
        };
        let sealed = encryption::seal(&token, client, wanted, flaw);
        let encrypted = sealed.map_err(|_| JwsFault::KeyUnusable)?;
        self.state().secrets.push(encrypted.clone());
        Ok(encrypted)
    }

    pub(super) fn sign(
        &self,
        typ: Option<&str>,
        claims: &Object,
        tamper: Option<&Tamper>,
    ) -> Result<String, JwsFault> {
        let named = !self.behaviour().omit_kid;
        self.state().keys.sign(typ, claims, tamper, named)
    }

    pub(crate) const fn uses_dpop(&self) -> bool {
        self.config.conduct.uses_dpop()
    }

    pub(crate) const fn client_auth(&self) -> ClientAuth {
        self.config.conduct.client_auth
    }

    /// `token_type`, and the scheme tokens are presented by.
    pub(crate) const fn token_type(&self) -> &'static str {
        self.config.conduct.constraint.token_type()
    }

    /// With the nonce that counts from now on, where answers are to bring it.
    pub(crate) fn announce(&self, endpoint: Endpoint, response: &mut Response) {
        let takes_proofs = matches!(
            endpoint,
            Endpoint::Par
                | Endpoint::Token
                | Endpoint::Userinfo
                | Endpoint::Accounts
                | Endpoint::Api
        );
        if takes_proofs && self.uses_dpop() && self.behaviour().announce_nonces {
            announce_nonce(response, &self.state().nonce(Realm::of(endpoint)));
        }
    }

    /// A JSON answer after its edits.
    pub(super) fn json(&self, status: StatusCode, target: Target, mut body: Object) -> Response {
        self.behaviour().apply_edits(target, &mut body);
        json_response(status, &Value::Object(body))
    }

    /// Whether the token is good for whoever proves this, and what it stands for.
    pub(super) fn active(
        &self,
        token: &str,
        possession: Possession,
    ) -> Result<ActiveToken, Inactive> {
        let now = self.now();
        let state = self.state();
        let access = state.access.get(token).ok_or(Inactive::Unknown)?;
        let grant = state.live_grant(&access.grant).filter(|_| !access.revoked);
        let grant = grant.ok_or(Inactive::Revoked)?;
        if access.expires_at <= now {
            return Err(Inactive::Expired);
        }
        possession.fits(&access.binding)?;
        Ok(ActiveToken {
            client_id: grant.client_id.clone(),
            sub: grant.sub.clone(),
            scope: access.scope.clone(),
            expires_at: access.expires_at,
            binding: access.binding.clone(),
            audience: access.audience.clone(),
            acr: grant.acr.clone(),
            auth_time: grant.auth_time,
        })
    }
}

/// Why a token is worth nothing to whoever presents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inactive {
    Unknown,
    Revoked,
    Expired,
    NoCertificate,
    OtherCertificate,
    OtherKey,
}

/// What whoever presents a token proves beside.
pub(crate) enum Possession {
    /// The client certificate of the connection, if there is one.
    Certificate(Option<String>),
    /// The key of a DPoP proof.
    Key(String),
    /// It does not matter here.
    Unasked,
}

impl Possession {
    fn fits(self, binding: &Binding) -> Result<(), Inactive> {
        match (self, binding) {
            (Self::Unasked, _) | (_, Binding::Nothing) => Ok(()),
            (Self::Certificate(None), _) => Err(Inactive::NoCertificate),
            (Self::Certificate(Some(shown)), Binding::Certificate(bound)) if shown == *bound => {
                Ok(())
            }
            (Self::Certificate(_), _) => Err(Inactive::OtherCertificate),
            (Self::Key(shown), Binding::Key(bound)) if shown == *bound => Ok(()),
            (Self::Key(_), _) => Err(Inactive::OtherKey),
        }
    }
}

impl Inactive {
    const fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "token_unknown",
            Self::Revoked => "token_revoked",
            Self::Expired => "token_expired",
            Self::NoCertificate => "certificate_missing",
            Self::OtherCertificate => "certificate_mismatch",
            Self::OtherKey => "key_mismatch",
        }
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
    /// What it is bound to.
    pub binding: Binding,
    /// The resources it is for; all if empty.
    pub audience: Vec<String>,
    /// The authentication context that was reached.
    pub acr: Option<String>,
    /// When the person logged in.
    pub auth_time: i64,
}

/// The double's knowledge of its tokens, for a resource server in the same process.
#[derive(Clone, Debug)]
pub struct TokenState(Arc<Core>);

impl TokenState {
    pub(super) const fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    /// Checks a token as presented over a connection with this client certificate (`x5t#S256`), or with
    /// a proof of the key with this thumbprint, as tokens are bound. The error is a stable reason:
    /// `token_unknown`, `token_revoked`, `token_expired`, `certificate_missing`,
    /// `certificate_mismatch`, `key_mismatch`.
    pub fn check(
        &self,
        token: &str,
        thumbprint: Option<&str>,
    ) -> Result<ActiveToken, &'static str> {
        let thumbprint = thumbprint.map(str::to_owned);
        let possession = match (self.0.uses_dpop(), thumbprint) {
            (true, thumbprint) => Possession::Key(thumbprint.unwrap_or_default()),
            (false, thumbprint) => Possession::Certificate(thumbprint),
        };
        self.0.active(token, possession).map_err(Inactive::reason)
    }

    pub(crate) fn core(&self) -> &Core {
        &self.0
    }

    /// The double's clock.
    pub fn now(&self) -> i64 {
        self.0.now()
    }
}

/// Every endpoint, the same on both listeners; which one a request may use is a rule of its own.
pub(super) fn router(core: &Arc<Core>) -> Router {
    use Endpoint::{
        Accounts, Authorize, Decision, EndSession, EndSessionDecision, FrontChannelLogout,
        Introspection, Jwks, Metadata, Par, Revocation, Token, Unknown, Userinfo,
    };
    let at = |endpoint, base: Option<ListenerKind>| {
        let core = Arc::clone(core);
        any(move |Extension(connection): Extension<Connection>, request: Request| {
            serve(core, endpoint, base, connection, request)
        })
    };
    let all = [
        Metadata,
        Jwks,
        Par,
        Authorize,
        Decision,
        Token,
        Userinfo,
        Accounts,
        Revocation,
        Introspection,
        EndSession,
        EndSessionDecision,
        FrontChannelLogout,
    ];
    let (path, mtls_path) = (&core.config.path, &core.config.mtls_path);
    let told_apart = path != mtls_path;
    let plain = told_apart.then_some(ListenerKind::Plain);
    let mut router = Router::new();
    for endpoint in all {
        router = router.route(&metadata::url(path, endpoint), at(endpoint, plain));
        if told_apart {
            let route = metadata::url(mtls_path, endpoint);
            router = router.route(&route, at(endpoint, Some(ListenerKind::Mtls)));
        }
    }
    let keys = format!("{}/{{suffix}}", metadata::url(path, Jwks));
    router = router.route(&keys, at(Jwks, plain));
    // RFC 8414 §3.1 drops the terminating slash; the conformance suite keeps it.
    let inserted = "/.well-known/oauth-authorization-server";
    let path = path.trim_end_matches('/');
    router = router.route(&format!("{inserted}{path}"), at(Metadata, plain));
    router = router.route(&format!("{inserted}{path}/"), at(Metadata, plain));
    router.fallback_service(at(Unknown, None).with_state(()))
}

async fn serve(
    core: Arc<Core>,
    endpoint: Endpoint,
    base: Option<ListenerKind>,
    connection: Connection,
    request: Request,
) -> Response {
    let _visit = core.ledger.visit();
    let mut call = Call::read(endpoint, connection.clone(), request).await;
    call.base = base;
    let rule = core.behaviour().next_fault(endpoint);
    if let Some(rule) = &rule {
        call.note("fault", rule.name());
    }
    let replaced = rule.as_ref().is_some_and(FaultRule::replaces_answer);
    let call = Mutex::new(Some(call));
    let taken = || call.lock().unwrap_or_else(PoisonError::into_inner).take();
    let skipped = || {
        if let Some(call) = taken() {
            let nothing = Answer::default();
            core.ledger.record(call.event(core.now(), StatusCode::OK, Verdict::Faulted, nothing));
        }
    };
    let handle = async {
        match taken() {
            Some(call) => judge(&core, call, replaced).await,
            None => Response::default(),
        }
    };
    through(rule, &connection, skipped, handle).await
}

/// `replaced`: the answer will not be sent, whatever it is.
async fn judge(core: &Core, mut call: Call, replaced: bool) -> Response {
    call.observe_connection(core.uses_dpop());
    let (response, verdict) = match dispatch(core, &mut call).await {
        Ok(mut response) => {
            core.announce(call.endpoint, &mut response);
            (response, Verdict::Accepted)
        }
        Err(refusal) => (refusal.respond(), refusal.verdict()),
    };
    let (response, answer) = call.finish(response).await;
    let answer = if replaced { Answer::default() } else { answer };
    core.ledger.record(call.event(core.now(), response.status(), verdict, answer));
    response
}

async fn dispatch(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    match call.endpoint {
        Endpoint::Metadata => {
            call.demand_method(&Method::GET)?;
            call.demand_door(core.config.conduct.door(call.endpoint))?;
            let document = metadata::document(core);
            Ok(core.json(StatusCode::OK, Target::Metadata, document))
        }
        Endpoint::Jwks => {
            call.demand_method(&Method::GET)?;
            call.demand_door(core.config.conduct.door(call.endpoint))?;
            let address = format!("{}{}", core.config.path, metadata::jwks(core));
            call.checks.demand(Rule::JwksAddress, call.path == address)?;
            let mut publication = Publication::of(&core.behaviour());
            publication.extra.extend(core.opener.iter().map(Opener::public_jwk));
            let set = core.state().keys.jwks(publication);
            let set = call.checks.require(Rule::ServerKey, set.ok())?;
            Ok(core.json(StatusCode::OK, Target::Jwks, set))
        }
        Endpoint::Par => authorize::push(core, call),
        Endpoint::Authorize => authorize::authorize(core, call).map_err(Refusal::into_page),
        Endpoint::Decision => authorize::decide(core, call).map_err(Refusal::into_page),
        Endpoint::Token => token::token(core, call),
        Endpoint::Userinfo => token::userinfo(core, call),
        Endpoint::Accounts => resource::accounts(core, call),
        Endpoint::Revocation => token::revoke(core, call),
        Endpoint::Introspection => token::introspect(core, call),
        Endpoint::EndSession => logout::end_session(core, call).await.map_err(Refusal::into_page),
        Endpoint::EndSessionDecision => {
            logout::decide(core, call).await.map_err(Refusal::into_page)
        }
        Endpoint::FrontChannelLogout => logout::frames(core, call).map_err(Refusal::into_page),
        Endpoint::Api | Endpoint::Unknown => Err(call.checks.refuse(Rule::UnknownEndpoint, "")),
    }
}
