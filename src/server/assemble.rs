//! Owns the putting together: from settings to clients, apps and their faces.
//! Must not know: how any of them works inside.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use http::HeaderValue;
use ipnet::IpNet;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    SWEEP_INTERVAL, WARM_UP_PAUSE,
    derived::DerivedTokens,
    front::{self, Front},
    grants,
    ports::{AppGate, AppObserver, ProviderRefresher, SessionObserver},
    readiness::HouseReadiness,
};
use crate::{
    admin::{Administration, Readiness},
    admission::{Admission, Carrier, cookie_room},
    clock::Ambient,
    config::{self, ClientAuthentication, Settings, TlsFiles, TokenPolicy},
    ecosystem::EcosystemName,
    jose::{self, DecryptionKey, DecryptionKeys, KeyRejected, Signer, SoftwareSigner},
    login::{Login, LoginPolicy, RemoteLogout},
    net::{OAuthHttp, Resolver, proxy_http},
    profile::Profile,
    protocol::{Discovery, StepUp},
    provider::{Ages, Authentication, Credentials, Provider, Registration},
    proxy::{Access, Edge, Proxy, RouteSpec, RouteTable, StepUpRule},
    seal::KeyRing,
    session::{CarriedBy, Policy, Refresher, Sessions, Store},
    spa::{self, Spa},
    telemetry::Telemetry,
    tls::{self, Identity, Roots, TlsFault},
    web::{CookieNames, Guard},
};

/// Connections kept idle towards one upstream.
const IDLE_PER_UPSTREAM: usize = 64;

/// A part of the configuration that only shows its fault when it is put together.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct AssemblyFault {
    /// The setting.
    pub path: String,
    /// What is wrong with it, and what to do.
    pub message: String,
}

impl AssemblyFault {
    pub(super) fn new(path: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { path: path.into(), message: format!("{message}") }
    }

    pub(super) fn tls(path: impl Into<String>, fault: &TlsFault) -> Self {
        Self::new(path, fault)
    }
}

/// Everything, ready to serve.
pub(super) struct House {
    apps: Vec<Front>,
    providers: Vec<Arc<Provider>>,
    sessions: Arc<Sessions>,
    derived: Arc<DerivedTokens>,
    certificates: Vec<(String, crate::clock::UnixTime)>,
    ring: KeyRing,
    ambient: Ambient,
    telemetry: Telemetry,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").field("apps", &self.apps.len()).finish_non_exhaustive()
    }
}

/// One client, with what its apps need of it.
struct ClientParts {
    provider: Arc<Provider>,
    identity: Option<Identity>,
}

impl House {
    pub(super) fn build(
        settings: &Settings,
        store: Arc<dyn Store>,
        ring: &KeyRing,
        ambient: Ambient,
        telemetry: Telemetry,
    ) -> Result<Self, AssemblyFault> {
        if let Some(fault) = grants::check(settings).err().into_iter().flatten().next() {
            return Err(fault);
        }
        let clients = settings.apps.iter().map(|(name, app)| (name.clone(), app.client.clone()));
        let derived = Arc::new(DerivedTokens::new(Arc::clone(&ambient.clock)));
        let observer =
            SessionObserver::new(telemetry.clone(), clients.collect(), Arc::clone(&derived));
        let observer = Arc::new(observer);
        let staleness = settings.store.read_cache;
        let by_browser = settings.apps.iter().filter(|(_, app)| carrier(app) == Carrier::Cookie);
        let by_browser = by_browser.map(|(name, app)| {
            let room = cookie_room(&CookieNames::for_app(name).session);
            let absolute = seconds(app.session.absolute);
            (name.clone(), CarriedBy { room, absolute })
        });
        let by_browser = by_browser.collect();
        let sessions = Sessions::with_carried(
            store,
            ring.clone(),
            staleness,
            ambient.clone(),
            observer,
            by_browser,
        );
        let mut house = Self {
            apps: Vec::new(),
            providers: Vec::new(),
            sessions,
            derived,
            certificates: Vec::new(),
            ring: ring.clone(),
            ambient,
            telemetry,
        };
        let mut clients = BTreeMap::new();
        for (name, client) in &settings.clients {
            let parts = house.client(name, client, settings)?;
            house.providers.push(Arc::clone(&parts.provider));
            clients.insert(name.as_str(), parts);
        }
        for (name, app) in &settings.apps {
            let client = clients.get(app.client.as_str()).ok_or_else(|| {
                AssemblyFault::new(format!("apps.{name}.client"), "names no configured client")
            })?;
            let siblings = siblings(app, settings);
            let front = house.app(name, app, client, siblings, ring)?;
            house.apps.push(front);
        }
        Ok(house)
    }

    fn client(
        &mut self,
        name: &str,
        client: &config::Client,
        settings: &Settings,
    ) -> Result<ClientParts, AssemblyFault> {
        let at = |setting: &str| format!("clients.{name}.{setting}");
        let provider = settings
            .providers
            .get(&client.provider)
            .ok_or_else(|| AssemblyFault::new(at("provider"), "names no configured provider"))?;
        let profile = client.rules();
        let identity = match &client.tls_identity {
            Some(files) => Some(self.identity("client_tls", name, files, &at("tls_identity"))?),
            None => None,
        };
        let roots = roots(provider.system_roots, &provider.trust_roots).map_err(|fault| {
            AssemblyFault::tls(format!("providers.{}.trust_roots", client.provider), &fault)
        })?;
        let tls = tls::client_config(&roots, identity.as_ref(), &[b"h2", b"http/1.1"])
            .map_err(|fault| AssemblyFault::tls(at("tls_identity"), &fault))?;
        let http = OAuthHttp::new(
            tls,
            Resolver::new(&provider.networks),
            provider.connect_timeout,
            provider.request_timeout,
        )
        .map_err(|fault| AssemblyFault::new(at("tls_identity"), fault))?;
        let (credentials, _) = credentials(name, client, identity.as_ref())?;
        let registration = Registration {
            label: name.to_owned(),
            provider_label: client.provider.clone(),
            issuer: provider.issuer.clone(),
            discovery: match provider.discovery {
                config::Discovery::OpenId => Discovery::OpenId,
                config::Discovery::OAuth => Discovery::OAuth,
            },
            client_id: client.client_id.clone(),
            profile,
            ecosystem: client.ecosystem.map(EcosystemName::ecosystem),
            scopes: client.scopes.clone(),
            response: client.response,
            sender_constraint: client.sender_constraint,
            use_mtls_endpoint_aliases: client.use_mtls_endpoint_aliases,
            id_token_alg: client.id_token_signed_response_alg,
            authorization_response_alg: client.authorization_signed_response_alg,
            userinfo_alg: client.userinfo_signed_response_alg,
            id_token_encryption: client.encryption.id_token,
            authorization_response_encryption: client.encryption.authorization,
            userinfo_encryption: client.encryption.userinfo,
            request_object_encryption: client.encryption.request_object,
            introspection: introspects(name, settings),
            client_assertion_typ: client.client_assertion_typ,
            logout_token_typ_required: client.logout_token_typ_required,
            future_tolerance: client.future_tolerance,
            exp_leeway: client.exp_leeway,
            request_object_lifetime: client.request_object_lifetime,
            certificate_thumbprint: identity.as_ref().map(Identity::sha256_thumbprint),
            ages: Ages {
                metadata: provider.metadata_max_age,
                jwks: provider.jwks_max_age,
                jwks_cooldown: provider.jwks_cooldown,
            },
        };
        let provider = Arc::new(Provider::new(
            registration,
            http,
            credentials,
            self.ambient.clone(),
            self.telemetry.clone(),
        ));
        Ok(ClientParts { provider, identity })
    }

    fn app(
        &self,
        name: &str,
        app: &config::App,
        client: &ClientParts,
        siblings: BTreeSet<String>,
        ring: &KeyRing,
    ) -> Result<Front, AssemblyFault> {
        let refresher: Arc<dyn Refresher> = Arc::new(ProviderRefresher::new(
            Arc::clone(&client.provider),
            app.resources(),
            app.login.details_enrichment.clone(),
            self.ambient.clone(),
        ));
        let policy = Policy {
            idle: seconds(app.session.idle),
            absolute: seconds(app.session.absolute),
            refresh_ahead: seconds(app.session.refresh_ahead),
        };
        let login_policy = self.login_policy(name, app, client)?;
        let login = Arc::new(Login::new(
            name.to_owned(),
            login_policy,
            policy,
            Arc::clone(&client.provider),
            Arc::clone(&self.sessions),
            ring,
            self.ambient.clone(),
            self.telemetry.clone(),
        ));
        let admission = Arc::new(Admission {
            app: name.to_owned(),
            client: app.client.clone(),
            issuer: client.provider.registration().issuer.clone(),
            cookies: CookieNames::for_app(name),
            sessions: Arc::clone(&self.sessions),
            policy,
            carrier: carrier(app),
            refresher,
            ambient: self.ambient.clone(),
        });
        let remote_logout = Arc::new(RemoteLogout::new(
            name.to_owned(),
            siblings,
            Arc::clone(&client.provider),
            Arc::clone(&self.sessions),
            self.telemetry.clone(),
        ));
        let guard = Guard::new(app.origin.clone(), app.csrf_headers.clone());
        let spa = Arc::new(Spa {
            app: name.to_owned(),
            client: app.client.clone(),
            origin: app.origin.clone(),
            prefix: app.prefix.clone(),
            guard: guard.clone(),
            admission: Arc::clone(&admission),
            login,
            remote_logout,
            backchannel_logout: app.backchannel_logout,
            frontchannel_logout: app.frontchannel_logout,
            provider: Arc::clone(&client.provider),
            third_party_initiated_login: app.login.third_party_initiated,
            redirect_path: app.login.redirect_path.clone(),
            default_return_to: app.login.default_return_to.clone(),
            post_logout_path: app.login.post_logout_path.clone(),
            manage_max_age: app.session.manage_max_age,
            ambient: self.ambient.clone(),
            telemetry: self.telemetry.clone(),
        });
        let authority = app.origin.strip_prefix("https://").unwrap_or_default().to_owned();
        let gate = AppGate::new(
            guard,
            admission,
            app.client.clone(),
            Arc::clone(&client.provider),
            self.ambient.clone(),
            Arc::clone(&self.derived),
            app.session.revoke_on_logout,
            self.telemetry.clone(),
        );
        let edge = Edge {
            host: HeaderValue::from_str(&authority)
                .map_err(|_| AssemblyFault::new(format!("apps.{name}.origin"), "fits no header"))?,
            proto: HeaderValue::from_static("https"),
            headers: app.csrf_headers.clone(),
            customer: client
                .provider
                .registration()
                .ecosystem
                .and_then(|ecosystem| ecosystem.customer_header),
        };
        let proxy = Proxy::new(
            gate,
            Self::routes(name, app, client)?,
            edge,
            self.ambient.clone(),
            Arc::new(AppObserver::new(name.to_owned(), self.telemetry.clone())),
        );
        Ok(Front::new(
            authority,
            app.prefix.clone(),
            app.login.redirect_path.clone(),
            spa::router(spa),
            proxy,
        ))
    }

    fn login_policy(
        &self,
        name: &str,
        app: &config::App,
        client: &ClientParts,
    ) -> Result<LoginPolicy, AssemblyFault> {
        let [spa_redirect_uri, navigation_redirect_uri] = app.redirect_uris();
        Ok(LoginPolicy {
            spa_redirect_uri,
            navigation_redirect_uri,
            post_logout_redirect_uri: app.post_logout_redirect_uri(),
            prefix: app.prefix.clone(),
            allowed_parameters: app.login.allowed_parameters.clone(),
            acr_values: app.login.acr_values.clone(),
            require_acr: app.login.require_acr,
            max_age: app.login.max_age,
            essential_acr: app.login.essential_acr,
            requested_claims: app.login.claims.clone(),
            details: grants::details(
                &app.login.authorization_details,
                &format!("apps.{name}.login.authorization_details"),
            )?,
            authorizations: grants::templates(
                name,
                app,
                &client.provider,
                client.identity.as_ref(),
                &self.ambient,
            )?,
            enrichable: app.login.details_enrichment.clone(),
            resources: app.resources(),
            transaction_lifetime: seconds(app.login.transaction_lifetime),
            max_transactions: app.login.max_transactions,
            names_consent: app.login.consent_parameter,
            claims: app.session.claims.clone(),
            revoke_on_logout: app.session.revoke_on_logout,
            session_limit: app.session.limit,
        })
    }

    fn routes(
        name: &str,
        app: &config::App,
        client: &ClientParts,
    ) -> Result<RouteTable<front::Upstream>, AssemblyFault> {
        let mut routes = Vec::new();
        for (index, route) in app.routes.iter().enumerate() {
            let at = |setting: &str| format!("apps.{name}.routes[{index}].{setting}");
            let roots = roots(route.system_roots, &route.trust_roots)
                .map_err(|fault| AssemblyFault::tls(at("trust_roots"), &fault))?;
            let identity = client.identity.as_ref().filter(|_| route.present_client_certificate);
            let tls = tls::client_config(&roots, identity, &[b"http/1.1"])
                .map_err(|fault| AssemblyFault::tls(at("present_client_certificate"), &fault))?;
            let http = proxy_http(
                tls,
                Resolver::new(&route.networks),
                route.connect_timeout,
                IDLE_PER_UPSTREAM,
            );
            let spec = RouteSpec {
                path: route.path.clone(),
                upstream: route.upstream.clone(),
                methods: route.methods.clone(),
                access: match route.access {
                    config::Access::Public => Access::Public,
                    config::Access::Session { token: TokenPolicy::None } => Access::SessionOnly,
                    config::Access::Session { .. } => Access::WithToken,
                },
                first_byte_timeout: route.first_byte_timeout,
                idle_timeout: route.idle_timeout,
                request_body_limit: route.request_body_limit,
                replay_body_limit: route.replay_body_limit,
                step_up: step_up(route, &app.login.acr_values),
                token: grants::token_source(app, route),
                authorization: grants::authorization(app, route),
            };
            routes.push((spec, http));
        }
        RouteTable::new(routes).map_err(|(index, fault)| {
            AssemblyFault::new(format!("apps.{name}.routes[{index}]"), fault)
        })
    }

    pub(super) fn server_identity(&mut self, files: &TlsFiles) -> Result<Identity, AssemblyFault> {
        self.identity("server_tls", "public", files, "server.tls")
    }

    fn identity(
        &mut self,
        purpose: &'static str,
        name: &str,
        files: &TlsFiles,
        at: &str,
    ) -> Result<Identity, AssemblyFault> {
        let identity = Identity::from_pem(&files.certificate_pem, files.private_key_pem.expose())
            .map_err(|fault| AssemblyFault::tls(at, &fault))?;
        let not_after = identity.not_after();
        self.telemetry.metrics.set_not_after(purpose, name, not_after.as_i64());
        self.certificates.push((format!("{purpose} {name}"), not_after));
        Ok(identity)
    }

    /// Waits for what is under way on nobody's request: refreshes and exchanges first, for they may
    /// have to give tokens up, then what is being given up.
    pub(super) async fn settle(&self) {
        self.sessions.drain().await;
        self.derived.drain().await;
        // One AS that is slow must not use up the time of the others.
        join_all(self.providers.iter().map(|provider| provider.settle())).await;
    }

    pub(super) fn router(&self, trusted_proxies: &[IpNet]) -> axum::Router {
        front::router(&self.apps, trusted_proxies, &self.ambient, &self.telemetry)
    }

    pub(super) fn administration(
        &self,
        token: &config::Secret,
    ) -> Result<Arc<Administration>, AssemblyFault> {
        let (sessions, telemetry) = (Arc::clone(&self.sessions), self.telemetry.clone());
        Administration::new(sessions, token.expose(), self.ambient.clone(), telemetry)
            .map(Arc::new)
            .map_err(|fault| AssemblyFault::new("admin.token_file", fault))
    }

    pub(super) fn readiness(&self) -> Arc<dyn Readiness> {
        Arc::new(HouseReadiness::new(
            Arc::clone(&self.sessions),
            self.providers.clone(),
            self.certificates.clone(),
            &self.ring,
            self.ambient.clone(),
        ))
    }

    /// What goes on unasked: clearing away what has ended, and getting to know an AS that was down
    /// at the start. Nothing else; an AS is otherwise only called when a user needs it.
    pub(super) fn background(&self, stop: &CancellationToken) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let (sessions, metrics) = (Arc::clone(&self.sessions), Arc::clone(&self.telemetry.metrics));
        let (derived, stopped) = (Arc::clone(&self.derived), stop.clone());
        tasks.spawn(
            stopped
                .run_until_cancelled_owned(async move {
                    let mut tick = tokio::time::interval(SWEEP_INTERVAL);
                    loop {
                        tick.tick().await;
                        if let Err(error) = sessions.sweep().await {
                            tracing::warn!(%error, "ended sessions could not be cleared away");
                        }
                        derived.forget_past();
                        if let Ok(active) = sessions.count().await {
                            metrics.set_sessions_active(active);
                        }
                    }
                })
                .map_drop(),
        );
        let sessions = Arc::clone(&self.sessions);
        tasks.spawn(
            stop.clone()
                .run_until_cancelled_owned(async move { sessions.attend().await })
                .map_drop(),
        );
        for provider in &self.providers {
            let provider = Arc::clone(provider);
            tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
                let mut pause = Duration::from_secs(1);
                while let Err(failure) = provider.metadata().await {
                    let label = &provider.registration().provider_label;
                    tracing::warn!(provider = %label, reason = failure.reason(), retry_in = pause.as_secs(), "the AS cannot be used yet: {failure}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(WARM_UP_PAUSE);
                }
            }).map_drop());
        }
        tasks
    }
}

/// A task's result nobody reads.
trait MapDrop: Future + Sized {
    async fn map_drop(self) {
        let _ = self.await;
    }
}

impl<F: Future> MapDrop for F {}

/// The apps whose users come from the same AS as this one's: whom it logs out, it logs out of them all.
fn siblings(app: &config::App, settings: &Settings) -> BTreeSet<String> {
    let provider = |app: &config::App| settings.clients.get(&app.client).map(|c| &c.provider);
    let (known, apps) = (provider(app), settings.apps.iter());
    apps.filter(|(_, other)| provider(other) == known).map(|(name, _)| name.clone()).collect()
}

/// Whether a route of one of the client's apps sends the AS's word on its user's token.
fn introspects(client: &str, settings: &Settings) -> bool {
    let mut routes =
        settings.apps.values().filter(|app| app.client == client).flat_map(|app| app.routes.iter());
    routes.any(|route| {
        matches!(
            route.access,
            config::Access::Session {
                token: TokenPolicy::IntrospectionJwt | TokenPolicy::IntrospectionBearer
            }
        )
    })
}

fn step_up(route: &config::Route, allowed: &[String]) -> StepUpRule {
    let demand =
        StepUp { acr_values: route.acr_values.clone(), max_age: route.max_age, scope: None };
    StepUpRule {
        demand: (demand != StepUp::default()).then_some(demand),
        relay: route.step_up,
        acr_values: allowed.to_vec(),
    }
}

/// The keys a client publishes, as `serve` would: for those who only look at the configuration.
pub(crate) fn published_keys(name: &str, client: &config::Client) -> Result<Value, AssemblyFault> {
    let identity = client.tls_identity.as_ref().map(|files| {
        Identity::from_pem(&files.certificate_pem, files.private_key_pem.expose())
            .map_err(|fault| AssemblyFault::tls(format!("clients.{name}.tls_identity"), &fault))
    });
    credentials(name, client, identity.transpose()?.as_ref()).map(|(_, document)| document)
}

/// What a client holds, and the public keys of it to publish.
fn credentials(
    name: &str,
    client: &config::Client,
    identity: Option<&Identity>,
) -> Result<(Credentials, Value), AssemblyFault> {
    let at = |setting: &str| format!("clients.{name}.{setting}");
    let profile = client.rules();
    let optional = |key: &Option<config::KeyFile>, name: &str| {
        key.as_ref().map(|key| signer(key, profile, &at(name))).transpose()
    };
    let credentials = Credentials {
        authentication: authentication(&client.authentication, profile, name)?,
        request_object_key: optional(&client.request_object_key, "request_object_key")?,
        dpop_key: optional(&client.dpop_key, "dpop_key")?,
        decryption_keys: decryption_keys(&client.encryption, &at("decryption_keys"))?,
        certificate_jwk: certificate_jwk(client, identity)
            .map_err(|fault| AssemblyFault::new(at("tls_identity"), fault))?,
        certificate_key: identity.and_then(Identity::leaf).and_then(jose::certified_thumbprint),
    };
    let document = credentials.jwks_document().map_err(|fault| {
        let path = match fault {
            KeyRejected::TwoUses => at("decryption_keys"),
            KeyRejected::CertificateKey => at("client_assertion_key"),
            _ => format!("clients.{name}"),
        };
        AssemblyFault::new(path, fault)
    })?;
    Ok((credentials, document))
}

fn authentication(
    configured: &ClientAuthentication,
    profile: &Profile,
    client: &str,
) -> Result<Authentication, AssemblyFault> {
    let secret = |secret: &config::Secret| {
        // The settings let printable ASCII through, nothing else.
        Zeroizing::new(String::from_utf8_lossy(secret.expose()).into_owned())
    };
    Ok(match configured {
        ClientAuthentication::PrivateKeyJwt(key) => {
            let at = format!("clients.{client}.client_assertion_key");
            Authentication::PrivateKeyJwt(signer(key, profile, &at)?)
        }
        ClientAuthentication::TlsClientAuth => Authentication::TlsClientAuth,
        ClientAuthentication::SelfSignedTlsClientAuth => Authentication::SelfSignedTlsClientAuth,
        ClientAuthentication::ClientSecretBasic(text) => {
            Authentication::ClientSecretBasic(secret(text))
        }
        ClientAuthentication::ClientSecretPost(text) => {
            Authentication::ClientSecretPost(secret(text))
        }
    })
}

fn signer(
    key: &config::KeyFile,
    profile: &Profile,
    at: &str,
) -> Result<Arc<dyn Signer>, AssemblyFault> {
    let signer = SoftwareSigner::from_file_bytes(key.bytes.expose(), key.alg)
        .map_err(|fault| AssemblyFault::new(at, format!("{}: {fault}", key.path.display())))?;
    if profile.jws_algs.contains(&signer.alg()) {
        Ok(Arc::new(signer))
    } else {
        let (alg, clause) = (signer.alg().name(), profile.clause("jws_algs"));
        let message = format!("{alg} is not an algorithm of {} ({clause})", profile.name);
        Err(AssemblyFault::new(at, message))
    }
}

/// The keys that tokens are encrypted to; each algorithm registered must have one that serves it.
pub(crate) fn decryption_keys(
    encryption: &config::Encryption,
    at: &str,
) -> Result<DecryptionKeys, AssemblyFault> {
    let mut keys = Vec::new();
    for file in &encryption.decryption_keys {
        let key = DecryptionKey::from_file_bytes(file.bytes.expose(), None);
        let unusable = |fault| AssemblyFault::new(at, format!("{}: {fault}", file.path.display()));
        keys.push(key.map_err(unusable)?);
    }
    let keys = DecryptionKeys::new(keys).map_err(|fault| AssemblyFault::new(at, fault))?;
    let registered = [encryption.id_token, encryption.authorization, encryption.userinfo];
    match registered.iter().flatten().find(|policy| !keys.serve(policy.alg)) {
        None => Ok(keys),
        Some(policy) => {
            Err(AssemblyFault::new(at, format!("holds no key for {}", policy.alg.name())))
        }
    }
}

/// A self-signed certificate is known to the AS by the client's key set alone (MTLS-2.2.2).
fn certificate_jwk(
    client: &config::Client,
    identity: Option<&Identity>,
) -> Result<Option<Value>, KeyRejected> {
    let self_signed =
        matches!(client.authentication, ClientAuthentication::SelfSignedTlsClientAuth);
    let leaf = identity.filter(|_| self_signed).and_then(Identity::leaf);
    leaf.map(jose::certificate_jwk).transpose()
}

pub(super) fn roots(system: bool, extra: &[config::PemFile]) -> Result<Roots, TlsFault> {
    Roots::new(system, extra.iter().map(|file| file.pem.as_slice()))
}

fn carrier(app: &config::App) -> Carrier {
    match app.session.carrier {
        config::Carrier::Server => Carrier::Server,
        config::Carrier::Cookie => Carrier::Cookie,
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
