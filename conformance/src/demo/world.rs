//! Everything the demo runs, wired: keys and certificates, the authorization-server double, the sample
//! API, the page, and in front of them the product, started from its configuration file. It must not
//! know what is done with them.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fapi_bff::{
    config::{self, App, AuditSink, Faults, Settings, StorePlace},
    server::{Options, Server, StartError as ServerFault},
};

use super::{
    page::PageServer,
    ports::{PortFault, Ports},
};
use crate::{
    api::{ApiConfig, SampleApi},
    as_double::{AsConfig, AsDouble, ClientRegistration, Interaction, OnEvent},
    pki::{Pki, PkiError},
    serve::StartError,
};

/// The client's name, also in its certificate.
pub const CLIENT_ID: &str = "larkfield-web";
/// The app's name in the configuration.
pub const APP: &str = "web";

const CONFIGURATION: &str = "conformance/demo/fapi-bff.toml";

/// What to start.
pub struct Plan {
    /// The repository: the configuration is read from here, keys and certificates are kept here.
    pub root: PathBuf,
    /// Where to listen; zeros are replaced.
    pub ports: Ports,
    /// Whether the authorization server asks a person.
    pub interaction: Interaction,
    /// A directory for sessions and audit instead of the configured one.
    pub scratch: Option<PathBuf>,
    /// Overrides of the configuration; those of ports and scratch directory win.
    pub environment: Vec<(String, String)>,
    /// Told of everything the authorization server and the API are asked.
    pub on_event: Option<OnEvent>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("root", &self.root)
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum WorldFault {
    /// A port cannot be had.
    #[error(transparent)]
    Port(#[from] PortFault),
    /// The development PKI cannot be made or read.
    #[error("keys and certificates: {0}")]
    Pki(#[from] PkiError),
    /// The configuration file is wrong.
    #[error("{0}")]
    Configuration(#[from] Faults),
    /// The configuration file has no app or client of the expected name.
    #[error("{CONFIGURATION} must describe apps.{APP} and a client named {CLIENT_ID}")]
    OtherConfiguration,
    /// A directory cannot be made.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The authorization-server double or the sample API did not start.
    #[error("the authorization server or the sample API: {0}")]
    Double(#[from] StartError),
    /// The page's server did not start.
    #[error("the sample page: {0}")]
    Page(io::Error),
    /// The BFF did not start.
    #[error("the BFF: {0}")]
    Bff(ServerFault),
    /// Ctrl-C and SIGTERM cannot be listened to.
    #[error("signals: {0}")]
    Signals(io::Error),
}

/// Everything, running. Dropping it stops all but the BFF at once.
pub struct World {
    /// Keys and certificates.
    pub pki: Pki,
    /// The configuration with all overrides.
    pub settings: Settings,
    /// The authorization server.
    pub authorization_server: AsDouble,
    /// The API.
    pub api: SampleApi,
    /// The BFF.
    pub bff: Server,
    _page: PageServer,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("bff", &self.bff.public_addr()).finish_non_exhaustive()
    }
}

impl World {
    /// Starts everything, the BFF last.
    pub async fn start(plan: Plan) -> Result<Self, WorldFault> {
        let ports = plan.ports.settle()?;
        let pki = keys(&plan.root.join("certs"))?;
        let mut environment: BTreeMap<_, _> = plan.environment.into_iter().collect();
        environment.extend(ports.overrides());
        if let Some(scratch) = &plan.scratch {
            let path = |name| scratch.join(name).display().to_string();
            environment.insert("FAPI_BFF__STORE__PATH".to_owned(), path("sessions.redb"));
            environment.insert("FAPI_BFF__LOG__AUDIT_FILE".to_owned(), path("audit.jsonl"));
        }
        let settings = config::load(&plan.root.join(CONFIGURATION), environment)?;
        make_directories(&settings)?;
        let authorization_server = AsDouble::start(AsConfig {
            port: ports.authorization_server,
            mtls_port: ports.mtls,
            interaction: plan.interaction,
            on_event: plan.on_event.clone(),
            ..AsConfig::new(&pki, vec![registration(&settings, &pki)?])
        })
        .await?;
        let api = SampleApi::start(
            ApiConfig { port: ports.api, on_event: plan.on_event, ..ApiConfig::new(&pki) },
            authorization_server.token_state(),
        )
        .await?;
        let page = PageServer::start(ports.page).await.map_err(WorldFault::Page)?;
        let bff =
            Server::start(settings.clone(), Options::default()).await.map_err(WorldFault::Bff)?;
        Ok(Self { pki, settings, authorization_server, api, bff, _page: page })
    }

    /// The app's settings.
    pub fn app(&self) -> Result<&App, WorldFault> {
        self.settings.apps.get(APP).ok_or(WorldFault::OtherConfiguration)
    }

    /// The audit log's file.
    pub fn audit_file(&self) -> Option<&Path> {
        match &self.settings.log.audit {
            AuditSink::File(path) => Some(path),
            AuditSink::Stdout => None,
        }
    }

    /// Runs until Ctrl-C or SIGTERM, then ends in order.
    pub async fn wait(self) -> io::Result<()> {
        let outcome = self.bff.serve_until_signalled().await;
        tokio::join!(self.authorization_server.shutdown(), self.api.shutdown());
        outcome
    }

    /// Ends in order.
    pub async fn shutdown(self) {
        self.bff.shutdown().await;
        tokio::join!(self.authorization_server.shutdown(), self.api.shutdown());
    }
}

/// What instances of the product in processes of their own stand in: keys, and what is registered.
pub struct Surroundings {
    /// Keys and certificates.
    pub pki: Pki,
    /// The client as the authorization server knows it.
    pub registration: ClientRegistration,
    /// The app's origin.
    pub origin: String,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Surroundings {
    /// Makes the keys that are missing in the repository at `root`.
    pub fn prepare(root: &Path, ports: Ports) -> Result<Self, WorldFault> {
        let pki = keys(&root.join("certs"))?;
        let settings = config::load(&root.join(CONFIGURATION), ports.overrides())?;
        let registration = registration(&settings, &pki)?;
        let app = settings.apps.get(APP).ok_or(WorldFault::OtherConfiguration)?;
        Ok(Self { pki, registration, origin: app.origin.clone() })
    }
}

/// The repository this was built from.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The development PKI and the server key, made where absent.
fn keys(dir: &Path) -> Result<Pki, WorldFault> {
    let pki = Pki::load_or_create(dir, CLIENT_ID)?;
    let path = dir.join("server.key");
    if !path.exists() {
        let mut key = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| WorldFault::File {
            path: path.clone(),
            source: io::Error::other("the system gives no random bytes"),
        })?;
        write_private(&path, &URL_SAFE_NO_PAD.encode(key))
            .map_err(|source| WorldFault::File { path, source })?;
    }
    Ok(pki)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

fn make_directories(settings: &Settings) -> Result<(), WorldFault> {
    let store = match &settings.store.place {
        StorePlace::Embedded { path } => Some(path),
        StorePlace::Postgres(_) | StorePlace::Valkey(_) => None,
    };
    let audit = match &settings.log.audit {
        AuditSink::File(path) => Some(path),
        AuditSink::Stdout => None,
    };
    for path in audit.into_iter().chain(store).filter_map(|path| path.parent()) {
        fs::create_dir_all(path)
            .map_err(|source| WorldFault::File { path: path.to_owned(), source })?;
    }
    Ok(())
}

/// What an operator would type into the authorization server's registration form.
fn registration(settings: &Settings, pki: &Pki) -> Result<ClientRegistration, WorldFault> {
    let app = settings.apps.get(APP).ok_or(WorldFault::OtherConfiguration)?;
    let client = settings.clients.get(&app.client).filter(|client| client.client_id == CLIENT_ID);
    let client = client.ok_or(WorldFault::OtherConfiguration)?;
    Ok(ClientRegistration {
        client_id: client.client_id.clone(),
        jwks: pki.client_jwks(),
        redirect_uris: app.redirect_uris().to_vec(),
        scopes: client.scopes.clone(),
        post_logout_redirect_uris: vec![app.post_logout_redirect_uri()],
        certificate_thumbprints: vec![pki.client_tls.thumbprint()?],
        ..ClientRegistration::default()
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A directory that holds the committed configuration where the repository has it.
    pub(in crate::demo) fn repository() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(CONFIGURATION);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, include_str!("../../demo/fapi-bff.toml")).unwrap();
        root
    }

    /// The committed file is sound, and with no overrides it describes the default ports.
    #[test]
    fn the_committed_configuration_loads_with_and_without_other_ports() {
        let root = repository();
        let pki = keys(&root.path().join("certs")).unwrap();
        let file = root.path().join(CONFIGURATION);

        let settings = config::load(&file, []).unwrap_or_else(|faults| panic!("{faults}"));
        let registered = registration(&settings, &pki).unwrap();
        assert_eq!(
            registered.redirect_uris,
            ["https://app.localhost:8443/", "https://app.localhost:8443/bff/callback"]
        );
        let listen = settings.server.listen.port();
        assert_eq!(
            (listen, settings.admin.listen.port()),
            (Ports::CONFIGURED.bff, Ports::CONFIGURED.admin)
        );
        let upstreams: Vec<_> =
            settings.apps[APP].routes.iter().filter_map(|route| route.upstream.port()).collect();
        assert_eq!(upstreams, [Ports::CONFIGURED.page, Ports::CONFIGURED.api]);

        let ports = Ports { bff: 1, authorization_server: 2, mtls: 3, api: 4, page: 5, admin: 6 };
        let settings =
            config::load(&file, ports.overrides()).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(settings.server.listen.port(), 1);
        assert_eq!(settings.providers["as"].issuer, "https://as.localhost:2/as/");
        assert_eq!(settings.apps[APP].origin, "https://app.localhost:1");
        assert_eq!(settings.apps[APP].routes[0].upstream.as_str(), "http://127.0.0.1:5/");
        assert_eq!(settings.apps[APP].routes[1].upstream.as_str(), "https://api.localhost:4/");
        assert_eq!(settings.admin.listen.port(), 6);
    }
}
