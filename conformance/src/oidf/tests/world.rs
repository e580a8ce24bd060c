//! A whole world for one test: the example configuration's BFF in this process, the
//! authorization-server double at an issuer like the suite's, the sample API, the suite's double.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fapi_bff::{
    config::{self, Settings},
    server::{Options as ServerOptions, Server},
};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::double::{Script, SuiteDouble};
use crate::{
    api::{ApiConfig, SampleApi},
    as_double::{AsConfig, AsDouble, ClientRegistration},
    oidf::{
        drive::Options,
        generate::{self, plan_config},
        hook::Hook,
        http::Trust,
    },
    pki::{APP_HOST, AS_HOST, Pki},
};

pub(super) const EXAMPLE: &str = include_str!("../../../oidf/fapi-bff.toml");
pub(super) const CLIENT_ID: &str = "acme-bff-1";
pub(super) const TOKEN: &str = "an-api-token";

/// A folder with the example configuration and every file it names.
pub(super) fn folder(pki: &Pki) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fapi-bff.toml");
    fs::write(&file, EXAMPLE).unwrap();
    for (name, text) in [
        ("keys/server.key", "0".repeat(64)),
        ("keys/assertion.pem", pki.client_assertion.to_pem()),
        ("keys/request.pem", pki.request_object.to_pem()),
        ("tls/app.localhost.crt", pki.bff.cert_pem.clone()),
        ("tls/app.localhost.key", pki.bff.key_pem.clone()),
        ("tls/acme-bff-1.crt", pki.client_tls.cert_pem.clone()),
        ("tls/acme-bff-1.key", pki.client_tls.key_pem.clone()),
        ("tls/ca.pem", pki.ca_pem.clone()),
    ] {
        private(&dir.path().join(name), &text);
    }
    (dir, file)
}

pub(super) fn private(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

pub(super) struct World {
    pub(super) suite: SuiteDouble,
    pub(super) options: Options,
    pub(super) dir: TempDir,
    /// What differs from the example.
    pub(super) environment: Vec<(String, String)>,
    pub(super) bff: Arc<Bff>,
}

pub(super) struct Bff {
    settings: Settings,
    running: Mutex<Option<Server>>,
}

impl Bff {
    /// Stops the BFF, if it runs, and starts it.
    async fn restart(&self) -> Result<(), String> {
        let mut running = self.running.lock().await;
        if let Some(server) = running.take() {
            server.shutdown().await;
        }
        let server = Server::start(self.settings.clone(), ServerOptions::default()).await;
        *running = Some(server.map_err(|error| error.to_string())?);
        Ok(())
    }
}

impl World {
    pub(super) async fn start(modules: &[(&'static str, Script)]) -> Self {
        let pki = Pki::generate(CLIENT_ID).unwrap();
        let (dir, file) = folder(&pki);
        let origin = free_origin();
        let registration = ClientRegistration {
            scopes: ["openid", "accounts"].map(str::to_owned).to_vec(),
            exact_scope: true,
            ..ClientRegistration::from_pki(
                &pki,
                CLIENT_ID,
                &format!("https://{origin}/bff/callback"),
                &format!("https://{origin}/bff/logout/callback"),
            )
            .unwrap()
        };
        let authorization_server = AsDouble::start(AsConfig {
            path: "/test/a/acme-bff/".to_owned(),
            ..AsConfig::new(&pki, vec![registration])
        })
        .await
        .unwrap();
        let api = SampleApi::start(ApiConfig::new(&pki), authorization_server.token_state());
        let api = api.await.unwrap();
        let environment = [
            ("SERVER__LISTEN", origin.replace(APP_HOST, "127.0.0.1")),
            ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
            ("PROVIDERS__SUITE__ISSUER", authorization_server.issuer().to_owned()),
            ("APPS__ACME__ORIGIN", format!("https://{origin}")),
            ("APPS__ACME__ROUTES__0__UPSTREAM", api.base_url()),
        ];
        let environment = environment.map(|(name, value)| (format!("FAPI_BFF__{name}"), value));
        let settings =
            config::load(&file, environment.clone()).unwrap_or_else(|faults| panic!("{faults}"));
        let suite = SuiteDouble::start(&pki, authorization_server, api, Some(TOKEN), modules).await;
        let trust = Trust {
            roots: vec![pki.ca_pem.clone().into_bytes()],
            system: false,
            resolve: [APP_HOST, AS_HOST]
                .map(|host| (host.to_owned(), IpAddr::from(Ipv4Addr::LOCALHOST)))
                .to_vec(),
        };
        let plan = plan_config(&settings, &generate::Options::default()).unwrap();
        let options = Options {
            suite: suite.url().parse().unwrap(),
            http: trust.client().unwrap(),
            token: Some(TOKEN.to_owned()),
            plan,
            api_path: "/api/accounts".to_owned(),
            only: Vec::new(),
            before_module: None,
            after_module: None,
            module_limit: Duration::from_secs(10),
            bff_limit: Duration::from_secs(10),
            audit_file: Some(dir.path().join("audit.jsonl")),
            export: None,
        };
        let bff = Arc::new(Bff { settings, running: Mutex::default() });
        bff.restart().await.unwrap();
        Self { suite, options, dir, environment: environment.to_vec(), bff }
    }

    /// A hook that restarts the BFF.
    pub(super) fn restarting(&self) -> Hook {
        let bff = Arc::clone(&self.bff);
        Hook::Call(Arc::new(move |context| {
            assert_eq!(context.alias, "acme-bff");
            let bff = Arc::clone(&bff);
            Box::pin(async move { bff.restart().await })
        }))
    }
}

/// A host and port for the BFF, whose issuer and origin must be known before it starts.
fn free_origin() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    format!("{APP_HOST}:{}", listener.local_addr().unwrap().port())
}
