//! The authorization-server double: strict as a server certified for the profile it is told to have,
//! FAPI 2.0 Message Signing unless told otherwise (see [`Conduct`]), saying why whenever it refuses, and
//! misbehaving exactly as a test tells it to.

mod authorize;
mod behaviour;
mod checks;
mod client_auth;
mod conduct;
mod core;
mod dpop;
mod encryption;
pub(crate) mod exchange;
mod keys;
mod logout;
mod metadata;
mod page;
mod pkce;
mod request_object;
pub(crate) mod resource;
pub(crate) mod rules;
mod state;
mod token;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use serde_json::{Value, json};
use tokio::net::TcpListener;

pub use self::{
    behaviour::{Behaviour, DpopNonces, Edit, ParamsEdit, Tamper, Target, edits},
    conduct::{ClientAuth, Conduct, Constraint, Family, RequestMethod, ResponseForm},
    core::{ActiveToken, TokenState},
    logout::LogoutAnswer,
    rules::{RuleInfo, rules},
    state::Binding,
};
use crate::{
    Now,
    jws::{Alg, JwsFault, Object, SigningKey},
    pki::{AS_HOST, AS_MTLS_HOST, ClientCertificates, Identity, Pki, PkiError, server_config},
    serve::{Server, StartError},
    system_now,
};
pub use crate::{
    faults::{Fault, FaultRule, Gate},
    ledger::{Answer, Check, Endpoint, Event, ListenerKind, OnEvent, OnVisit, Outcome},
};

/// How a token is encrypted, by the names of the standards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// `alg` (RFC 7518 §4.1).
    pub alg: String,
    /// `enc` (RFC 7518 §5.1).
    pub enc: String,
}

/// One client as the server knows it.
#[derive(Clone, Debug, Default)]
pub struct ClientRegistration {
    /// The client's name.
    pub client_id: String,
    /// Its public keys, a JWK set.
    pub jwks: Value,
    /// Where authorization responses may go, compared exactly.
    pub redirect_uris: Vec<String>,
    /// Scopes it may ask for.
    pub scopes: Vec<String>,
    /// Where the browser may go after logout, compared exactly.
    pub post_logout_redirect_uris: Vec<String>,
    /// Where it is told by the server itself that a session has ended, if it wants to be.
    pub backchannel_logout_uri: Option<String>,
    /// Where it is told by the browser, in a frame, if it wants to be.
    pub frontchannel_logout_uri: Option<String>,
    /// Whether it is told there which session of which server.
    pub frontchannel_logout_session_required: bool,
    /// `x5t#S256` of the client certificates it may present.
    pub certificate_thumbprints: Vec<String>,
    /// What the scope that names a consent begins with; each request then has one such scope, which is
    /// not registered.
    pub consent_scope: Option<String>,
    /// Demand `scope` to be exactly [`Self::scopes`] joined by a space.
    pub exact_scope: bool,
    /// Its secret, where clients authenticate by one.
    pub client_secret: Option<String>,
    /// Whether userinfo is signed for it.
    pub userinfo_signed_response: bool,
    /// How ID tokens are encrypted for it.
    pub id_token_encrypted_response: Option<Encryption>,
    /// How authorization responses are.
    pub authorization_encrypted_response: Option<Encryption>,
    /// How userinfo is, where it is signed.
    pub userinfo_encrypted_response: Option<Encryption>,
}

impl ClientRegistration {
    /// The client of a development PKI, with the scopes of the sample API.
    pub fn from_pki(
        pki: &Pki,
        client_id: &str,
        redirect_uri: &str,
        post_logout_redirect_uri: &str,
    ) -> Result<Self, PkiError> {
        let scopes = ["openid", "profile", "email", "accounts", "payments"];
        Ok(Self {
            client_id: client_id.to_owned(),
            jwks: pki.client_jwks(),
            redirect_uris: vec![redirect_uri.to_owned()],
            scopes: scopes.map(str::to_owned).to_vec(),
            post_logout_redirect_uris: vec![post_logout_redirect_uri.to_owned()],
            certificate_thumbprints: vec![pki.client_tls.thumbprint()?],
            ..Self::default()
        })
    }

    /// How this kind of token is encrypted for it.
    pub(crate) const fn encryption(&self, target: Target) -> Option<&Encryption> {
        match target {
            // Logout tokens are, where ID tokens are (OIDC Back-Channel Logout §2.4).
            Target::IdToken | Target::FrontIdToken | Target::TokenIdToken | Target::LogoutToken => {
                self.id_token_encrypted_response.as_ref()
            }
            Target::Jarm => self.authorization_encrypted_response.as_ref(),
            Target::Userinfo => self.userinfo_encrypted_response.as_ref(),
            _ => None,
        }
    }
}

/// Whether a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interaction {
    /// The browser is sent straight back, as the conformance suite does.
    Auto,
    /// A page offers the sample users and Cancel; logout asks too.
    Page,
}

/// A person who may log in.
#[derive(Clone, Debug)]
pub struct User {
    /// Subject identifier.
    pub sub: String,
    /// `name`, `email` and other claims.
    pub claims: Object,
}

impl User {
    fn sample(sub: &str, name: &str, email: &str) -> Self {
        let mut claims = Object::new();
        claims.insert("name".into(), json!(name));
        claims.insert("email".into(), json!(email));
        claims.insert("email_verified".into(), json!(true));
        Self { sub: sub.to_owned(), claims }
    }

    /// The sample users: `alice`, `bjork` (a name outside ASCII) and `carol`.
    pub fn samples() -> Vec<Self> {
        vec![
            Self::sample("alice", "Alice Adams", "alice@example.com"),
            Self::sample("bjork", "Björk Guðmundsdóttir 愛", "bjork@example.com"),
            Self::sample("carol", "Carol Clark", "carol@example.com"),
        ]
    }
}

/// How a double is set up.
#[derive(Clone)]
pub struct AsConfig {
    /// Where both listeners are bound; 127.0.0.1 unless the client is on another machine.
    pub bind: IpAddr,
    /// Port of the plain listener; 0 for any.
    pub port: u16,
    /// Port of the mutual-TLS listener; 0 for any.
    pub mtls_port: u16,
    /// Host name of the plain listener.
    pub host: String,
    /// Host name of the mutual-TLS listener.
    pub mtls_host: String,
    /// Path of the issuer, with leading and trailing slash.
    pub path: String,
    /// Path of the same on the mutual-TLS host. If it is another than [`Self::path`], a request is
    /// taken only by the path of the listener it comes to.
    pub mtls_path: String,
    /// Server certificate for both names.
    pub identity: Identity,
    /// The authority client certificates must come from, unless they are registered themselves.
    pub ca_pem: String,
    /// Registered clients.
    pub clients: Vec<ClientRegistration>,
    /// People who may log in; the first one does when there is no page.
    pub users: Vec<User>,
    /// What is demanded of requests and promised of responses.
    pub conduct: Conduct,
    /// Types of `authorization_details` there are (RFC 9396 §10).
    pub authorization_details_types: Vec<String>,
    /// Resources a token may be asked for (RFC 8707); any if empty.
    pub resources: Vec<String>,
    /// Authentication contexts that are reached.
    pub acrs: Vec<String>,
    /// How request objects come encrypted, if they must.
    pub request_object_encryption: Option<Encryption>,
    /// Whether a person is asked.
    pub interaction: Interaction,
    /// Algorithm of ID tokens and authorization responses.
    pub signing_alg: Alg,
    /// The first signing key, of that algorithm; made anew if there is none.
    pub signing_key: Option<Arc<SigningKey>>,
    /// What logout tokens are sent by; none are, without.
    pub back_channel: Option<reqwest::Client>,
    /// The clock.
    pub now: Now,
    /// Told of every event.
    pub on_event: Option<OnEvent>,
    /// Told when a request arrives and when it is answered.
    pub on_visit: Option<OnVisit>,
}

impl std::fmt::Debug for AsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("mtls_host", &self.mtls_host)
            .field("mtls_port", &self.mtls_port)
            .field("path", &self.path)
            .field("mtls_path", &self.mtls_path)
            .finish_non_exhaustive()
    }
}

impl AsConfig {
    /// Any ports, the development hosts, the sample users, no pages, Message Signing, ES256, the
    /// machine's clock.
    pub fn new(pki: &Pki, clients: Vec<ClientRegistration>) -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            mtls_port: 0,
            host: AS_HOST.to_owned(),
            mtls_host: AS_MTLS_HOST.to_owned(),
            path: "/as/".to_owned(),
            mtls_path: "/as/".to_owned(),
            identity: pki.authorization_server.clone(),
            ca_pem: pki.ca_pem.clone(),
            clients,
            users: User::samples(),
            conduct: Conduct::message_signing(),
            authorization_details_types: Vec::new(),
            resources: Vec::new(),
            acrs: metadata::ACRS.map(str::to_owned).to_vec(),
            request_object_encryption: None,
            interaction: Interaction::Auto,
            signing_alg: Alg::Es256,
            signing_key: None,
            back_channel: None,
            now: system_now(),
            on_event: None,
            on_visit: None,
        }
    }

    /// The same with this conduct, and its usual algorithm.
    #[must_use]
    pub fn conducted(self, conduct: Conduct) -> Self {
        Self { conduct, signing_alg: conduct.usual_alg(), ..self }
    }

    /// The same with the paths of the conformance suite: `/test/a/ALIAS/`, on the mutual-TLS host
    /// `/test-mtls/a/ALIAS/`. An alias is letters, digits, `-` and `_`.
    pub fn for_alias(pki: &Pki, clients: Vec<ClientRegistration>, alias: &str) -> Self {
        Self {
            path: format!("/test/a/{alias}/"),
            mtls_path: format!("/test-mtls/a/{alias}/"),
            ..Self::new(pki, clients)
        }
    }
}

/// A running double. Dropping it stops it.
#[derive(Debug)]
pub struct AsDouble {
    core: Arc<core::Core>,
    plain: Server,
    mtls: Server,
}

impl AsDouble {
    /// Binds both listeners and serves. Needs a tokio runtime.
    pub async fn start(config: AsConfig) -> Result<Self, StartError> {
        let plain = TcpListener::bind((config.bind, config.port)).await?;
        let mtls = TcpListener::bind((config.bind, config.mtls_port)).await?;
        let plain_tls = server_config(&config.identity, ClientCertificates::Unasked)?;
        let accepted = match config.conduct.client_auth {
            ClientAuth::SelfSignedTls => ClientCertificates::Any,
            _ => ClientCertificates::By(&config.ca_pem),
        };
        let mtls_tls = server_config(&config.identity, accepted)?;
        let core = Arc::new(core::Core::new(
            config,
            plain.local_addr()?.port(),
            mtls.local_addr()?.port(),
        )?);
        let router = core::router(&core);
        Ok(Self {
            plain: Server::start(plain, plain_tls, ListenerKind::Plain, router.clone())?,
            mtls: Server::start(mtls, mtls_tls, ListenerKind::Mtls, router)?,
            core,
        })
    }

    /// Stops both listeners and lets running requests end.
    pub async fn shutdown(self) {
        tokio::join!(self.plain.shutdown(), self.mtls.shutdown());
    }

    /// The issuer, with its trailing slash.
    pub fn issuer(&self) -> &str {
        &self.core.issuer
    }

    /// Address of the plain listener.
    pub const fn addr(&self) -> SocketAddr {
        self.plain.addr()
    }

    /// Address of the mutual-TLS listener.
    pub const fn mtls_addr(&self) -> SocketAddr {
        self.mtls.addr()
    }

    /// Host names and their addresses, for an HTTP client's resolver.
    pub fn resolve(&self) -> Vec<(String, SocketAddr)> {
        vec![
            (self.core.config.host.clone(), self.addr()),
            (self.core.config.mtls_host.clone(), self.mtls_addr()),
        ]
    }

    /// URL of an endpoint on the plain host.
    pub fn url(&self, endpoint: Endpoint) -> String {
        metadata::url(&self.core.issuer, endpoint)
    }

    /// URL of an endpoint on the mutual-TLS host.
    pub fn mtls_url(&self, endpoint: Endpoint) -> String {
        metadata::url(&self.core.mtls_base, endpoint)
    }

    /// URL of the accounts resource, on the host that takes the tokens.
    pub fn accounts_url(&self) -> String {
        if self.conduct().binds_certificates() {
            self.mtls_url(Endpoint::Accounts)
        } else {
            self.url(Endpoint::Accounts)
        }
    }

    /// How it conducts itself.
    pub fn conduct(&self) -> Conduct {
        self.core.config.conduct
    }

    /// The values the conformance suite exposes of a running test: `issuer`, `discoveryUrl`,
    /// `par_endpoint`, `accounts_endpoint` and, once the browser was sent back,
    /// `authorization_endpoint_response_redirect`.
    pub fn exposed(&self) -> BTreeMap<String, String> {
        let mut exposed = BTreeMap::from([
            ("issuer".to_owned(), self.issuer().to_owned()),
            ("discoveryUrl".to_owned(), self.url(Endpoint::Metadata)),
            ("accounts_endpoint".to_owned(), self.accounts_url()),
        ]);
        if self.conduct().is_pushed() {
            exposed.insert("par_endpoint".to_owned(), self.url(Endpoint::Par));
        }
        if let Some(redirect) = self.last_authorization_redirect() {
            exposed.insert("authorization_endpoint_response_redirect".to_owned(), redirect);
        }
        exposed
    }

    /// Where the last authorization response sent the browser, secrets and all.
    pub fn last_authorization_redirect(&self) -> Option<String> {
        self.core.state().last_redirect.clone()
    }

    /// URL of the RFC 8414 metadata document (`url(Endpoint::Metadata)` is the OpenID one).
    pub fn rfc8414_metadata_url(&self) -> String {
        self.core.rfc8414_metadata_url()
    }

    /// Reads or changes the behaviour.
    pub fn behave<R>(&self, change: impl FnOnce(&mut Behaviour) -> R) -> R {
        change(&mut self.core.behaviour())
    }

    /// Back to a correct server.
    pub fn reset_behaviour(&self) {
        *self.core.behaviour() = Behaviour::default();
    }

    /// Every request since the last [`Self::clear_events`].
    pub fn events(&self) -> Vec<Event> {
        self.core.ledger.events()
    }

    /// Requests to an endpoint, whatever became of them.
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.core.ledger.count_where(|e| e.endpoint == endpoint)
    }

    /// Requests to an endpoint that were by the rules.
    pub fn accepted(&self, endpoint: Endpoint) -> usize {
        self.core.ledger.count_where(|e| e.endpoint == endpoint && e.outcome == Outcome::Accepted)
    }

    /// The last request to an endpoint.
    pub fn last(&self, endpoint: Endpoint) -> Option<Event> {
        self.core.ledger.last_where(|e| e.endpoint == endpoint)
    }

    /// The last request that was refused.
    pub fn last_refusal(&self) -> Option<Event> {
        self.core.ledger.last_where(|e| e.outcome == Outcome::Refused)
    }

    /// Forgets all events (secrets stay listed).
    pub fn clear_events(&self) {
        self.core.ledger.clear();
    }

    /// Resolves once `count` requests to the endpoint are recorded. Wrap it in a time-out.
    pub async fn wait_for(&self, endpoint: Endpoint, count: usize) {
        self.core.ledger.wait_where(count, |e| e.endpoint == endpoint).await;
    }

    /// Everything that must not leak: codes, tokens, authorization responses, `request_uri`s, and
    /// the assertions, request objects and verifiers received.
    pub fn issued_secrets(&self) -> Vec<String> {
        self.core.state().secrets.clone()
    }

    /// Forgets the secrets so far; what they opened stays open.
    pub fn forget_secrets(&self) {
        self.core.state().secrets.clear();
    }

    /// Signs with a new key from now on; the old one stays published or vanishes.
    pub fn rotate_keys(&self, keep_old: bool) -> Result<(), JwsFault> {
        self.core.state().keys.rotate(self.core.config.signing_alg, keep_old)
    }

    /// The public half of the current signing key.
    pub fn signing_jwk(&self) -> Value {
        self.core.state().keys.signing.public_jwk()
    }

    /// `kid` of the current signing key.
    pub fn signing_kid(&self) -> String {
        self.core.state().keys.signing.kid().to_owned()
    }

    /// Signs any claims as the server would, or as `tamper` says.
    pub fn sign_as_server(
        &self,
        typ: Option<&str>,
        claims: &Object,
        tamper: Option<&Tamper>,
    ) -> Result<String, JwsFault> {
        self.core.sign(typ, claims, tamper)
    }

    /// Claims of a correct back-channel logout token (OIDC Back-Channel Logout §2.4).
    pub fn logout_token_claims(
        &self,
        client_id: &str,
        sub: Option<&str>,
        sid: Option<&str>,
    ) -> Object {
        logout::logout_token_claims(&self.core, client_id, sub, sid)
    }

    /// A logout token as the server would send it: after edits, spoiled if so told, encrypted where ID
    /// tokens are.
    pub fn logout_token(
        &self,
        client_id: &str,
        sub: Option<&str>,
        sid: Option<&str>,
    ) -> Result<String, JwsFault> {
        let claims = self.logout_token_claims(client_id, sub, sid);
        self.core.mint(client_id, Target::LogoutToken, claims)
    }

    /// Tells a client by the back channel that a session has ended. Nothing if it is not registered for
    /// that, or there is nothing to send by.
    pub async fn log_out_by_back_channel(
        &self,
        client_id: &str,
        sub: Option<&str>,
        sid: Option<&str>,
    ) -> Option<LogoutAnswer> {
        logout::tell(&self.core, client_id, sub, sid).await
    }

    /// Where a frame tells a client that this session has ended, if it is registered for that.
    pub fn front_channel_url(&self, client_id: &str, sid: &str) -> Option<String> {
        logout::frame(&self.core, client_id, sid)
    }

    /// Ends every grant: access tokens and refresh tokens die.
    pub fn revoke_all(&self) {
        self.core.state().revoke_all();
    }

    /// Every access token is expired from now on; refresh tokens live.
    pub fn expire_access_tokens(&self) {
        let now = self.core.now();
        self.core.state().expire_access_tokens(now);
    }

    /// Running sessions as `(sid, sub)`.
    pub fn sessions(&self) -> Vec<(String, String)> {
        self.core.state().sessions()
    }

    /// What a resource server may ask about tokens.
    pub fn token_state(&self) -> TokenState {
        TokenState::new(Arc::clone(&self.core))
    }
}
