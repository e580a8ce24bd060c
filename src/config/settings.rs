//! Owns the validated settings as the rest of the server sees them: plain values, units in the types,
//! secrets redacted. Must not know: TOML, environment variables, how a value got here.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use http::{HeaderName, Method};
use ipnet::IpNet;
use serde_json::{Map, Value};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    ecosystem::EcosystemName,
    jose::{JwePolicy, JwsAlg},
    net::Network,
    profile::{ClientAuthMethod, Profile, ProfileName, ResponseForm, SenderConstraint},
    telemetry::LogFormat,
};

/// Everything one process needs to know, consistent in itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The public listener.
    pub server: Server,
    /// The listener for metrics, health and session administration.
    pub admin: Admin,
    /// Where sessions live.
    pub store: Store,
    /// Logs and audit.
    pub log: Log,
    /// Authorization servers by name.
    pub providers: BTreeMap<String, Provider>,
    /// Registrations at authorization servers by name.
    pub clients: BTreeMap<String, Client>,
    /// Single-page applications by name; the name is part of the cookie names.
    pub apps: BTreeMap<String, App>,
}

/// The public listener.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// Certificate and key; `None` only with `plain_http = true` on a loopback address (FAPI2-SP-5.2.1-1).
    pub tls: Option<TlsFiles>,
    /// Peers whose forwarded-for headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Time a new connection may stay silent.
    pub first_byte_timeout: Duration,
    /// Time a request's header may take.
    pub header_timeout: Duration,
    /// Time a kept-alive connection may stay unused.
    pub idle_timeout: Duration,
    /// Connections open at once.
    pub max_connections: usize,
    /// Time running requests get when the process is asked to stop.
    pub drain_timeout: Duration,
}

/// The administration listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Address and port; a loopback address unless `allow_remote = true`.
    pub listen: SocketAddr,
    /// What operators show who administer sessions; without it nobody does.
    pub token: Option<Secret>,
}

/// A certificate chain and its private key.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// File of the chain, leaf first.
    pub certificate: PathBuf,
    /// File of the private key.
    pub private_key: PathBuf,
    /// The chain, PEM.
    pub certificate_pem: Vec<u8>,
    /// The private key, PEM.
    pub private_key_pem: Secret,
}

/// Where sessions live, and what it takes to open them.
#[derive(Clone, Debug)]
pub struct Store {
    /// Where.
    pub place: StorePlace,
    /// The key the records' keys are derived from, together with each session's handle.
    pub server_key: ServerKey,
    /// Keys whose sessions are found as well: those that were active, and the one that will be.
    pub further_server_keys: Vec<ServerKey>,
    /// How long a session that was read is served without asking the store again: the longest that one
    /// instance serves what another has ended.
    pub read_cache: Duration,
}

/// Where sessions live.
#[derive(Clone, Debug)]
pub enum StorePlace {
    /// One file on the local disk.
    Embedded {
        /// The database file.
        path: PathBuf,
    },
    /// A PostgreSQL database that any number of instances share.
    Postgres(Box<Postgres>),
    /// Valkey or Redis.
    Valkey(Box<Valkey>),
}

/// Servers of Valkey or Redis, and how they are met.
#[derive(Clone, Debug)]
pub struct Valkey {
    /// Where they are.
    pub servers: ValkeyServers,
    /// How they are known; `None` only on loopback addresses (FAPI2-SP-5.2.1-1).
    pub tls: Option<ValkeyTls>,
    /// The user to log in as; `None` is the server's default user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// Limit for connecting, TLS and login included.
    pub connect_timeout: Duration,
    /// Limit for an answer.
    pub response_timeout: Duration,
    /// Replicas that must have a write that must not be lost.
    pub wait_replicas: u32,
    /// What the names of all keys begin with.
    pub key_prefix: String,
}

/// Where servers are.
#[derive(Clone, Debug)]
pub enum ValkeyServers {
    /// One server.
    Single(ServerAddress),
    /// Some servers of a cluster, which know the others.
    Cluster(Vec<ServerAddress>),
    /// A primary that sentinels watch over.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<ServerAddress>,
        /// Their name for the primary.
        master: String,
        /// The user to log in as at the sentinels.
        username: Option<String>,
        /// That user's password.
        password: Option<Secret>,
    },
}

/// A host, by name or address, and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerAddress {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How servers are known, and we to them.
#[derive(Clone, Debug)]
pub struct ValkeyTls {
    /// Certificate authorities trusted in addition to, or instead of, the system's.
    pub trust_roots: Vec<PemFile>,
    /// Whether the system's certificate authorities are trusted.
    pub system_roots: bool,
    /// Certificate shown to the servers.
    pub identity: Option<TlsFiles>,
}

/// A PostgreSQL database.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Servers of which one takes writes, in the order in which they are tried.
    pub hosts: Vec<DatabaseHost>,
    /// TLS to the hosts that are no Unix sockets; none only if all of them are on this machine.
    pub tls: Option<DatabaseTls>,
    /// Whether a login that is not bound to the TLS connection is refused.
    pub require_channel_binding: bool,
    /// Name of the database.
    pub database: String,
    /// Name of the user.
    pub user: String,
    /// The user's password.
    pub password: Option<Secret>,
    /// Name of the schema, fit to be written without quotes.
    pub schema: String,
    /// Who brings the schema up to date.
    pub migrate: Migrate,
    /// Connections for operations, at most; one more hears of changes.
    pub connections: usize,
    /// Limit for a connection to one host, from its name to a usable session.
    pub connect_timeout: Duration,
    /// Limit for a statement.
    pub statement_timeout: Duration,
    /// Limit for waiting for a row that another statement has locked.
    pub lock_timeout: Duration,
}

/// Where a database server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DatabaseHost {
    /// A name or an address.
    Tcp {
        /// The name or address, without brackets.
        name: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Socket {
        /// The directory it lies in.
        directory: PathBuf,
        /// The port that its name ends with.
        port: u16,
    },
}

/// How a database server proves who it is, and we ourselves.
#[derive(Clone, Debug)]
pub struct DatabaseTls {
    /// Certificate authorities trusted in addition to, or instead of, the system's.
    pub trust_roots: Vec<PemFile>,
    /// Whether the system's certificate authorities are trusted.
    pub system_roots: bool,
    /// Our certificate.
    pub identity: Option<TlsFiles>,
}

/// Who brings a database schema up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Migrate {
    /// Whoever starts first.
    Start,
    /// `fapi-bff store migrate`; until then nobody is ready.
    Command,
}

/// Logs and audit.
#[derive(Clone, Debug)]
pub struct Log {
    /// Filter directives, such as `info` or `info,fapi_bff::proxy=debug`.
    pub level: String,
    /// Shape of a log line.
    pub format: LogFormat,
    /// Where the audit stream goes.
    pub audit: AuditSink,
}

/// Where the audit stream goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuditSink {
    /// Appended to this file.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// One authorization server.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Issuer identifier, byte for byte as the metadata document must repeat it (FAPI2-SP-5.3.3.1-11).
    pub issuer: String,
    /// Which well-known document describes it.
    pub discovery: Discovery,
    /// Certificate authorities trusted in addition to, or instead of, the system's.
    pub trust_roots: Vec<PemFile>,
    /// Whether the system's certificate authorities are trusted.
    pub system_roots: bool,
    /// Networks its addresses may lie in (META-PRJ).
    pub networks: Vec<Network>,
    /// Limit for TCP and TLS set-up.
    pub connect_timeout: Duration,
    /// Limit for a whole call.
    pub request_timeout: Duration,
    /// Age at which metadata is fetched again.
    pub metadata_max_age: Duration,
    /// Age at which the key set is fetched again.
    pub jwks_max_age: Duration,
    /// Least time between two fetches of the key set forced by an unknown `kid`.
    pub jwks_cooldown: Duration,
}

/// Which well-known document describes an authorization server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Discovery {
    /// RFC 8414, `/.well-known/oauth-authorization-server`.
    OAuth,
    /// OpenID Connect Discovery, `/.well-known/openid-configuration`.
    OpenId,
}

/// One registration at one authorization server.
#[derive(Clone, Debug)]
pub struct Client {
    /// Name of the [`Provider`].
    pub provider: String,
    /// The security profile the login follows.
    pub profile: ProfileName,
    /// The ecosystem whose demands come on top of the profile's.
    pub ecosystem: Option<EcosystemName>,
    /// `client_id` as registered.
    pub client_id: String,
    /// Scope values to ask for; without `openid` nobody is known to be logged in.
    pub scopes: Vec<String>,
    /// How the client proves its identity, and with what.
    pub authentication: ClientAuthentication,
    /// What access tokens are bound to.
    pub sender_constraint: SenderConstraint,
    /// One `DPoP` key for all sessions; without it every session has its own.
    pub dpop_key: Option<KeyFile>,
    /// The shape of the authorization response to ask for.
    pub response: ResponseForm,
    /// Signs request objects; absent if requests are not signed.
    pub request_object_key: Option<KeyFile>,
    /// Certificate shown to the authorization server and to upstreams that get the user's token.
    pub tls_identity: Option<TlsFiles>,
    /// Whether the PAR endpoint, too, is called at its mutual-TLS alias.
    pub use_mtls_endpoint_aliases: bool,
    /// Pin for the ID token's `alg`; `None` allows whatever the profile allows, RS256 excepted.
    pub id_token_signed_response_alg: Option<JwsAlg>,
    /// Pin for the JARM response's `alg`; `None` as above.
    pub authorization_signed_response_alg: Option<JwsAlg>,
    /// The `alg` userinfo answers are signed with; `None` for plain JSON.
    pub userinfo_signed_response_alg: Option<JwsAlg>,
    /// What comes encrypted, and what it is opened with.
    pub encryption: Encryption,
    /// Whether client assertions carry `typ`.
    pub client_assertion_typ: bool,
    /// Whether logout tokens must carry `typ` (BCL-4.1).
    pub logout_token_typ_required: bool,
    /// Seconds `iat` and `nbf` may lie ahead (CLK-1: 10 to 60).
    pub future_tolerance: i64,
    /// Seconds `exp` may have passed (CLK-1: 0 to 60).
    pub exp_leeway: i64,
    /// Seconds from a request object's `nbf` to its `exp` (CLK-2: 10 to 300).
    pub request_object_lifetime: i64,
}

impl Client {
    /// The profile, as the ecosystem leaves it.
    pub fn rules(&self) -> &'static Profile {
        let encrypts = self.encryption.request_object.is_some();
        let narrowed =
            self.ecosystem.and_then(|name| name.ecosystem().narrow(self.profile, encrypts));
        narrowed.unwrap_or(self.profile.profile())
    }
}

/// What a client registered to be encrypted, and the keys for it.
#[derive(Clone, Default, Debug)]
pub struct Encryption {
    /// Private keys, the active ones first.
    pub decryption_keys: Vec<DecryptionKeyFile>,
    /// `id_token_encrypted_response_alg` and `_enc`.
    pub id_token: Option<JwePolicy>,
    /// `authorization_encrypted_response_alg` and `_enc`.
    pub authorization: Option<JwePolicy>,
    /// `userinfo_encrypted_response_alg` and `_enc`.
    pub userinfo: Option<JwePolicy>,
    /// `request_object_encryption_alg` and `_enc`: to the server's key.
    pub request_object: Option<JwePolicy>,
}

/// A file with one private key for decryption, PEM (PKCS#8) or JWK.
#[derive(Clone, Debug)]
pub struct DecryptionKeyFile {
    /// The file.
    pub path: PathBuf,
    /// Its contents.
    pub bytes: Secret,
}

/// How a client proves its identity, with what it takes.
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// `private_key_jwt`: the key that signs assertions (FAPI2-SP-5.3.3.1-2).
    PrivateKeyJwt(KeyFile),
    /// `tls_client_auth`: [`Client::tls_identity`].
    TlsClientAuth,
    /// `self_signed_tls_client_auth`: [`Client::tls_identity`].
    SelfSignedTlsClientAuth,
    /// `client_secret_basic`: the secret.
    ClientSecretBasic(Secret),
    /// `client_secret_post`: the secret.
    ClientSecretPost(Secret),
}

impl ClientAuthentication {
    /// Which method it is.
    pub const fn method(&self) -> ClientAuthMethod {
        match self {
            Self::PrivateKeyJwt(_) => ClientAuthMethod::PrivateKeyJwt,
            Self::TlsClientAuth => ClientAuthMethod::TlsClientAuth,
            Self::SelfSignedTlsClientAuth => ClientAuthMethod::SelfSignedTlsClientAuth,
            Self::ClientSecretBasic(_) => ClientAuthMethod::ClientSecretBasic,
            Self::ClientSecretPost(_) => ClientAuthMethod::ClientSecretPost,
        }
    }

    /// The key that signs assertions, if that is how.
    pub const fn assertion_key(&self) -> Option<&KeyFile> {
        match self {
            Self::PrivateKeyJwt(key) => Some(key),
            _ => None,
        }
    }
}

/// One single-page application.
#[derive(Clone, Debug)]
pub struct App {
    /// Name of the [`Client`].
    pub client: String,
    /// `https://host[:port]`, exactly as a browser serialises it.
    pub origin: String,
    /// Path the SPA API lives under, such as `/bff`; no trailing slash.
    pub prefix: String,
    /// A request must carry at least one of these with the value `1`.
    pub csrf_headers: Vec<HeaderName>,
    /// How logins start and end.
    pub login: LoginSettings,
    /// How long sessions live and what they show.
    pub session: SessionSettings,
    /// Whether the authorization server may end sessions by logout tokens (BCL-2.5).
    pub backchannel_logout: bool,
    /// Whether it may end them by a frame on its logout page (FCL-PRJ).
    pub frontchannel_logout: bool,
    /// What pages may have authorized in detail, by name (RAR-12).
    pub authorizations: BTreeMap<String, Authorization>,
    /// What is forwarded where.
    pub routes: Vec<Route>,
}

/// Something a page may have authorized.
#[derive(Clone, Debug)]
pub enum Authorization {
    /// Always these details.
    Fixed(Vec<Value>),
    /// The details of an intent, from a server that knows it.
    Intent(Box<IntentSettings>),
}

/// Where the details of intents come from.
#[derive(Clone, Debug)]
pub struct IntentSettings {
    /// An https URL with `{intent}` as one segment of its path.
    pub details_from: String,
    /// The types of details that may come from there.
    pub types: Vec<String>,
    /// Certificate authorities trusted in addition to, or instead of, the system's.
    pub trust_roots: Vec<PemFile>,
    /// Whether the system's certificate authorities are trusted.
    pub system_roots: bool,
    /// Networks its addresses may lie in.
    pub networks: Vec<Network>,
    /// Whether the client's certificate is shown.
    pub present_client_certificate: bool,
    /// What the client's own access token is for that is sent along, if one is.
    pub token: Option<Narrowing>,
    /// Limit for TCP and TLS set-up.
    pub connect_timeout: Duration,
    /// Limit for a whole call.
    pub request_timeout: Duration,
}

impl App {
    /// The resource servers of the app's routes, each once, in the order of the routes: what tokens
    /// are asked for at a login (RES-2.1/2.2).
    pub fn resources(&self) -> Vec<String> {
        let mut resources = Vec::new();
        let user = Access::Session { token: TokenPolicy::User };
        let routes = self.routes.iter().filter(|route| route.access == user);
        for resource in routes.filter_map(|route| route.narrowing.resource.as_ref()) {
            if !resources.contains(resource) {
                resources.push(resource.clone());
            }
        }
        resources
    }

    /// Where the authorization server sends the browser: the SPA's page, then our own callback.
    /// Both have to be registered.
    pub fn redirect_uris(&self) -> [String; 2] {
        [format!("{}{}", self.origin, self.login.redirect_path), self.url("/callback")]
    }

    /// Where the authorization server sends the browser after logout; has to be registered.
    pub fn post_logout_redirect_uri(&self) -> String {
        self.url("/logout/callback")
    }

    /// Where the client's public keys are published; has to be registered.
    pub fn jwks_uri(&self) -> String {
        self.url("/jwks")
    }

    /// Where the authorization server posts logout tokens; to be registered, if it may (BCL-2.2).
    pub fn backchannel_logout_uri(&self) -> Option<String> {
        self.backchannel_logout.then(|| self.url("/backchannel-logout"))
    }

    /// What the authorization server's logout page shows in a frame; to be registered, if it may (FCL-2).
    pub fn frontchannel_logout_uri(&self) -> Option<String> {
        self.frontchannel_logout.then(|| self.url("/frontchannel-logout"))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{}{path}", self.origin, self.prefix)
    }
}

/// How logins start and end.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that an operator throws one by one")]
pub struct LoginSettings {
    /// Path on the app's origin the authorization server returns to when the SPA drives the login.
    pub redirect_path: String,
    /// Authorization parameters the browser may set.
    pub allowed_parameters: Vec<String>,
    /// Asked for at every login.
    pub acr_values: Vec<String>,
    /// Seconds since the user last authenticated, at most.
    pub max_age: Option<u32>,
    /// Whether a login without one of `acr_values` fails.
    pub require_acr: bool,
    /// Asked for in detail at every login; empty if nothing is.
    pub authorization_details: Vec<Value>,
    /// Members that the authorization server may add to details.
    pub details_enrichment: Vec<String>,
    /// The `claims` parameter of every login, `acr` aside; empty if nothing is asked for.
    pub claims: Map<String, Value>,
    /// Whether `acr_values` are asked for as an essential claim, where the authorization server reads
    /// the `claims` parameter (OIDC-3.1.3.7-12).
    pub essential_acr: bool,
    /// Path on the app's origin after a navigation login that named none.
    pub default_return_to: String,
    /// Path on the app's origin after logout.
    pub post_logout_path: String,
    /// Time a user has to complete a login.
    pub transaction_lifetime: Duration,
    /// Logins one browser may have under way.
    pub max_transactions: usize,
    /// Whether pages name the consent that a login is to authorize, by the parameter `intent`.
    pub consent_parameter: bool,
    /// Whether other sites may send users to `login/initiate` (OIDC-4).
    pub third_party_initiated: bool,
}

/// How long sessions live and what they show (SES-7.3).
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// End without use.
    pub idle: Duration,
    /// End whatever happens.
    pub absolute: Duration,
    /// ID-token claims the SPA may see.
    pub claims: Vec<String>,
    /// How long before its expiry an access token is refreshed.
    pub refresh_ahead: Duration,
    /// Whether logout revokes the tokens at the authorization server.
    pub revoke_on_logout: bool,
    /// What browsers hold of a session.
    pub carrier: Carrier,
    /// How many sessions one subject may have, if that is limited (SES-7.1.2).
    pub limit: Option<SessionLimit>,
    /// Seconds since users authenticated who end sessions of theirs elsewhere, at most (SES-7.4).
    pub manage_max_age: Option<u32>,
}

/// How many sessions one subject may have in an app (SES-7.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionLimit {
    /// At most so many; at least 1.
    pub most: usize,
    /// What happens at one more.
    pub over: OverLimit,
}

/// Which session gives way at the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverLimit {
    /// The oldest ends.
    EndOldest,
    /// The login is refused.
    Refuse,
}

impl OverLimit {
    /// As it stands in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndOldest => "end-oldest",
            Self::Refuse => "refuse",
        }
    }
}

/// What browsers hold of a session (BFF-6.1.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// A handle; the store holds the session.
    Server,
    /// The session, sealed; the store holds what has ended.
    Cookie,
}

/// A path prefix and the one upstream it goes to (BFF-6.1.3.6-1).
#[derive(Clone, Debug)]
pub struct Route {
    /// Path prefix, such as `/api/accounts`; matched at segment boundaries.
    pub path: String,
    /// Base URL of the upstream: https, or http to a loopback address.
    pub upstream: Url,
    /// Methods let through (BFF-6.1.3.6-3); never TRACE or CONNECT.
    pub methods: Vec<Method>,
    /// Who may use it, and what is added.
    pub access: Access,
    /// Certificate authorities trusted in addition to, or instead of, the system's.
    pub trust_roots: Vec<PemFile>,
    /// Whether the system's certificate authorities are trusted.
    pub system_roots: bool,
    /// Networks the upstream's addresses may lie in.
    pub networks: Vec<Network>,
    /// Whether the client's certificate is shown to the upstream.
    pub present_client_certificate: bool,
    /// Limit for TCP and TLS set-up.
    pub connect_timeout: Duration,
    /// Limit from the request's end to the response's header.
    pub first_byte_timeout: Duration,
    /// Limit between two chunks of a body.
    pub idle_timeout: Duration,
    /// Bytes a request body may have.
    pub request_body_limit: u64,
    /// Bytes of a request body kept for sending the request again with another token or proof; 0
    /// keeps none (DPOP-9-PRJ).
    pub replay_body_limit: usize,
    /// The session must have been authenticated in one of these classes; empty if any will do
    /// (SES-7.5).
    pub acr_values: Vec<String>,
    /// Seconds since the session's user authenticated, at most (SES-7.5).
    pub max_age: Option<u32>,
    /// Whether the page hears of the upstream's own demands for another authentication (STEP-9).
    pub step_up: bool,
    /// What the token is narrowed to.
    pub narrowing: Narrowing,
    /// What it is exchanged for, with [`TokenPolicy::Exchange`].
    pub exchange: Option<Exchange>,
    /// The type of details the session's user must have authorized.
    pub authorization_type: Option<String>,
}

/// What a token is narrowed to (BCP-2.2-2.3).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Narrowing {
    /// The resource server (RES-2).
    pub resource: Option<String>,
    /// Part of the scope; empty for all of it.
    pub scopes: Vec<String>,
}

/// Who may use a route, and what is added to the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anybody, GET and HEAD only; no cookie and no token is sent.
    Public,
    /// A session is needed.
    Session {
        /// What goes upstream with it.
        token: TokenPolicy,
    },
}

/// The token sent upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenPolicy {
    /// None.
    None,
    /// The session's access token.
    User,
    /// An access token of the client's own.
    ClientCredentials,
    /// One that the session's is exchanged for (RFC 8693).
    Exchange,
    /// The authorization server's signed word on the session's (RFC 9701), in a header of its own.
    IntrospectionJwt,
    /// The same as a bearer token.
    IntrospectionBearer,
}

impl TokenPolicy {
    /// Whether what is sent is an access token, which may be bound to the client's certificate.
    pub const fn is_access_token(self) -> bool {
        matches!(self, Self::User | Self::ClientCredentials | Self::Exchange)
    }
}

/// What a session's access token is exchanged for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Exchange {
    /// The logical name of the service.
    pub audience: Option<String>,
    /// The same, as a URI.
    pub resource: Option<String>,
    /// Scope; empty leaves it to the authorization server.
    pub scopes: Vec<String>,
    /// Whether a JWT is asked for, rather than any access token.
    pub jwt: bool,
}

/// A file of certificates.
#[derive(Clone, Debug)]
pub struct PemFile {
    /// The file.
    pub path: PathBuf,
    /// Its contents.
    pub pem: Vec<u8>,
}

/// A file with one private signing key, PEM (PKCS#8) or JWK.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// The file.
    pub path: PathBuf,
    /// The algorithm to sign with, if the key's type does not decide it.
    pub alg: Option<JwsAlg>,
    /// Its contents.
    pub bytes: Secret,
}

/// Secret bytes: wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one use they are meant for.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// 256 bits that session keys are derived from: wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct ServerKey(Zeroizing<[u8; 32]>);

impl ServerKey {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for key derivation only.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(…)")
    }
}
