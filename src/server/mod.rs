//! Owns the running server: listeners, wiring, start, drain.
//! Must not know: OAuth's rules; it only joins those who do.

mod assemble;
mod derived;
mod front;
mod grants;
pub mod listener;
mod ports;
mod readiness;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use assemble::AssemblyFault;
pub(crate) use assemble::{decryption_keys, published_keys};
pub(crate) use grants::check as check_grants;

use self::{
    assemble::House,
    listener::{Limits, Listener},
};
use crate::{
    admin::{self, AdminState},
    clock::Ambient,
    config::{self, AuditSink, Settings, StorePlace},
    seal::{KeyRing, ServerKey},
    session::{EmbeddedStore, PostgresStore, Store as SessionStore, ValkeyStore},
    telemetry::{Audit, Metrics, Telemetry},
    tls,
};

/// How often ended sessions and spent transactions are cleared away.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The longest pause between two attempts to reach an AS that was down when we started.
const WARM_UP_PAUSE: Duration = Duration::from_secs(30);

/// How long a stop waits for token requests and revocations under way.
const SETTLE_LIMIT: Duration = Duration::from_secs(35);

/// What a caller may replace: time and randomness, the audit stream, the session store.
#[derive(Debug)]
pub struct Options {
    /// Time and randomness.
    pub ambient: Ambient,
    /// Instead of the configured audit sink.
    pub audit: Option<Audit>,
    /// Instead of the configured session store.
    pub store: Option<Arc<dyn SessionStore>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { ambient: Ambient::system(), audit: None, store: None }
    }
}

/// Why the server did not start; written for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A part of the configuration that only shows its fault when it is put together.
    #[error(transparent)]
    Assembly(#[from] AssemblyFault),
    /// The audit file cannot be opened.
    #[error("the audit file cannot be opened: {0}")]
    Audit(io::Error),
    /// A listener cannot be bound.
    #[error("cannot listen on {address} ({what}): {source}; is the port taken?")]
    Bind {
        /// The configuration's name for it.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The session store cannot be opened.
    #[error("the session store cannot be opened: {0}")]
    Store(#[from] crate::session::StoreFault),
    /// What the connection to the session store needs cannot be used. That it is down is no fault.
    #[error("the session store cannot be used: {0}")]
    Postgres(#[from] crate::session::PostgresFault),
}

/// The server keys that a configuration names.
pub(crate) fn key_ring(store: &config::Store) -> Result<KeyRing, AssemblyFault> {
    let key = |key: &config::ServerKey| ServerKey::from_bytes(*key.expose());
    KeyRing::new(key(&store.server_key), store.further_server_keys.iter().map(key))
        .map_err(|twice| AssemblyFault::new("store.further_server_key_files", twice))
}

/// A running server. Dropping it stops it at once; [`Server::shutdown`] drains it first.
#[derive(Debug)]
pub struct Server {
    public: SocketAddr,
    admin: SocketAddr,
    telemetry: Telemetry,
    stop: CancellationToken,
    listeners: JoinSet<()>,
    background: JoinSet<()>,
    house: House,
}

impl Server {
    /// Puts the house together and listens. It is up before any AS is: logins fail until theirs
    /// answers, live sessions work on.
    pub async fn start(settings: Settings, options: Options) -> Result<Self, StartError> {
        let Options { ambient, audit, store } = options;
        let audit = match (audit, &settings.log.audit) {
            (Some(audit), _) => audit,
            (None, AuditSink::Stdout) => Audit::to_stdout(Arc::clone(&ambient.clock)),
            (None, AuditSink::File(path)) => {
                Audit::to_file(path, Arc::clone(&ambient.clock)).map_err(StartError::Audit)?
            }
        };
        let telemetry = Telemetry::new(Metrics::new(), audit);
        telemetry.metrics.set_started_at(ambient.now().as_i64());
        let store: Arc<dyn SessionStore> = match (store, &settings.store.place) {
            (Some(store), _) => store,
            (None, StorePlace::Embedded { path }) => Arc::new(EmbeddedStore::open(path)?),
            (None, StorePlace::Postgres(database)) => Arc::new(PostgresStore::new(database)?),
            // It need not answer yet: until it does, we are not ready.
            (None, StorePlace::Valkey(valkey)) => Arc::new(
                ValkeyStore::new(valkey).map_err(|fault| AssemblyFault::tls("store", &fault))?,
            ),
        };
        let ring = key_ring(&settings.store)?;
        let mut house = House::build(&settings, store, &ring, ambient, telemetry.clone())?;
        tracing::info!(
            server_keys = ring.fingerprints(),
            "sessions are sealed under the active key"
        );
        telemetry.metrics.server_key(ring.active_id(), "active");
        ring.further_ids().for_each(|id| telemetry.metrics.server_key(id, "further"));

        let server_tls = settings
            .server
            .tls
            .as_ref()
            .map(|files| house.server_identity(files))
            .transpose()?
            .map(|identity| tls::server_config(&identity))
            .transpose()
            .map_err(|fault| AssemblyFault::tls("server.tls", &fault))?;
        let limits = Limits {
            connections: settings.server.max_connections,
            first_byte: settings.server.first_byte_timeout,
            header: settings.server.header_timeout,
            idle: settings.server.idle_timeout,
            drain: settings.server.drain_timeout,
            ..Limits::default()
        };
        let bind = async |what, address, tls| {
            let failed = |source| StartError::Bind { what, address, source };
            let metrics = Arc::clone(&telemetry.metrics);
            let listener =
                Listener::bind(address, tls, limits, what, metrics).await.map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            Ok::<_, StartError>((listener, bound))
        };
        let (public, public_addr) = bind("public", settings.server.listen, server_tls).await?;
        let (admin, admin_addr) = bind("admin", settings.admin.listen, None).await?;

        let administration = match &settings.admin.token {
            Some(token) => Some(house.administration(token)?),
            None => None,
        };
        let stop = CancellationToken::new();
        let admin_router = admin::router(AdminState {
            metrics: Arc::clone(&telemetry.metrics),
            readiness: house.readiness(),
            any_host: !settings.admin.listen.ip().is_loopback(),
            administration,
        });
        let mut listeners = JoinSet::new();
        listeners.spawn(public.serve(house.router(&settings.server.trusted_proxies), stop.clone()));
        listeners.spawn(admin.serve(admin_router, stop.clone()));
        let background = house.background(&stop);
        tracing::info!(public = %public_addr, admin = %admin_addr, version = env!("CARGO_PKG_VERSION"), "listening");
        Ok(Self {
            public: public_addr,
            admin: admin_addr,
            telemetry,
            stop,
            listeners,
            background,
            house,
        })
    }

    /// Where pages and browsers connect.
    pub const fn public_addr(&self) -> SocketAddr {
        self.public
    }

    /// Where operators and Prometheus connect.
    pub const fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Metrics and audit of this server.
    pub const fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Takes no new connections, finishes what is under way, then ends.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        while self.listeners.join_next().await.is_some() {}
        self.background.shutdown().await;
        // A refresh that was answered must reach the store; the AS may have rotated the token.
        if tokio::time::timeout(SETTLE_LIMIT, self.house.settle()).await.is_err() {
            tracing::warn!("stopped with token requests or revocations still under way");
        }
        tracing::info!("stopped");
    }

    /// Serves until the process is told to stop (SIGTERM, or Ctrl-C), then drains.
    pub async fn serve_until_signalled(self) -> io::Result<()> {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted?,
            _ = terminate.recv() => {}
        }
        tracing::info!("draining");
        self.shutdown().await;
        Ok(())
    }
}
