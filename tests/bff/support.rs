//! What every black-box test stands on: the real server on real sockets, started from a real
//! configuration text, in front of the authorization-server double and the sample API. Tests own
//! the clock and read the audit stream.

use std::{sync::Arc, time::Duration};

use fapi_bff::{
    clock::{Ambient, Clock as _, ManualClock, SystemClock, SystemEntropy},
    config,
    server::{Options, Server},
    session::Store,
    telemetry::{Audit, AuditLog},
};
use fapi_bff_conformance::{
    api::{ApiConfig, SampleApi},
    as_double::{AsConfig, AsDouble, ClientRegistration, Conduct},
    demo::browser::{Answer, Browser, Call, From},
    pki::Pki,
    suite::world::free_port,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// `client_id` of the tests' client.
pub(crate) const CLIENT_ID: &str = "bed-client";

/// What a test changes of the world before it starts.
#[derive(Default)]
pub(crate) struct Wish {
    /// Replacements in the configuration text.
    pub(crate) edit: Vec<(&'static str, String)>,
    /// Instead of the embedded store.
    pub(crate) store: Option<Arc<dyn Store>>,
    /// What to do to the AS before the server meets it.
    pub(crate) before: Option<fn(&AsDouble)>,
    /// Further files for the configuration to name, secrets all.
    pub(crate) files: Vec<(&'static str, &'static str)>,
    /// How the AS conducts itself; as a Message Signing server if unset.
    pub(crate) conduct: Option<Conduct>,
    /// Changes of the client's registration at the AS.
    pub(crate) registered: Option<fn(&mut ClientRegistration, &Pki)>,
}

/// A running world.
pub(crate) struct Bed {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) audit: AuditLog,
    pub(crate) pki: Pki,
    pub(crate) double: AsDouble,
    pub(crate) api: SampleApi,
    pub(crate) bff: Option<Server>,
    pub(crate) origin: String,
    /// The configuration text, to start the same server again.
    pub(crate) toml: String,
    pub(crate) dir: TempDir,
    registration: ClientRegistration,
    conduct: Conduct,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        Self::with(Wish::default()).await
    }

    pub(crate) async fn with(wish: Wish) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(dir.path(), CLIENT_ID).unwrap();
        std::fs::write(dir.path().join("server.key"), "0".repeat(64)).unwrap();
        private(&dir.path().join("server.key"));
        for (name, text) in &wish.files {
            std::fs::write(dir.path().join(name), text).unwrap();
            private(&dir.path().join(name));
        }
        let port = free_port();
        let origin = format!("https://app.localhost:{port}");
        let clock = ManualClock::at(SystemClock::new().now());
        let registration = ClientRegistration {
            redirect_uris: vec![format!("{origin}/"), format!("{origin}/bff/callback")],
            ..ClientRegistration::from_pki(
                &pki,
                CLIENT_ID,
                &format!("{origin}/"),
                &format!("{origin}/bff/logout/callback"),
            )
            .unwrap()
        };
        let mut registration = registration;
        if let Some(change) = wish.registered {
            change(&mut registration, &pki);
        }
        let conduct = wish.conduct.unwrap_or_else(Conduct::message_signing);
        let ports = (free_port(), free_port());
        let double = authorization_server(&pki, &registration, conduct, &clock, ports).await;
        if let Some(before) = wish.before {
            before(&double);
        }
        let api = SampleApi::start(ApiConfig::new(&pki), double.token_state()).await.unwrap();
        let mut toml = [SERVER, TOML]
            .concat()
            .replace("{port}", &port.to_string())
            .replace("{issuer}", double.issuer())
            .replace("{api}", api.base_url().trim_end_matches('/'));
        for (from, to) in wish.edit {
            assert!(toml.contains(from), "{from:?} is not in the configuration");
            toml = toml.replace(from, &to);
        }
        toml = toml.replace("{api}", api.base_url().trim_end_matches('/'));
        let (audit, log) = Audit::memory(clock.clone());
        let mut bed = Self {
            clock,
            audit: log,
            pki,
            double,
            api,
            bff: None,
            origin,
            toml,
            dir,
            registration,
            conduct,
        };
        bed.boot(audit, wish.store).await;
        bed
    }

    /// Stops the server in order and starts it again on the same files.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let (audit, log) = Audit::memory(self.clock.clone());
        self.audit = log;
        self.boot(audit, None).await;
    }

    /// Stops the server in order.
    pub(crate) async fn stop(&mut self) {
        if let Some(bff) = self.bff.take() {
            bff.shutdown().await;
        }
    }

    /// Takes the AS away, so that nobody listens where it was; answers its ports.
    pub(crate) async fn as_down(&mut self) -> (u16, u16) {
        let elsewhere = self.another_server((0, 0)).await;
        let gone = std::mem::replace(&mut self.double, elsewhere);
        let ports = (gone.addr().port(), gone.mtls_addr().port());
        gone.shutdown().await;
        ports
    }

    /// A new AS with new keys where the old one was.
    pub(crate) async fn as_up(&mut self, ports: (u16, u16)) {
        self.double = self.another_server(ports).await;
    }

    async fn another_server(&self, ports: (u16, u16)) -> AsDouble {
        let (pki, registration) = (&self.pki, &self.registration);
        authorization_server(pki, registration, self.conduct, &self.clock, ports).await
    }

    async fn boot(&mut self, audit: Audit, store: Option<Arc<dyn Store>>) {
        let file = self.dir.path().join("bff.toml");
        std::fs::write(&file, &self.toml).unwrap();
        let settings = config::load(&file, []).unwrap_or_else(|faults| panic!("{faults}"));
        let ambient =
            Ambient { clock: self.clock.clone(), entropy: Arc::new(SystemEntropy::new()) };
        let options = Options { ambient, audit: Some(audit), store };
        let server = Server::start(settings, options).await;
        self.bff = Some(server.unwrap_or_else(|error| panic!("{error}")));
    }

    /// A browser with nothing in it yet.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.pki, &self.origin).unwrap()
    }

    /// Starts a login by script and lets the AS answer; gives the query string that the app's page
    /// would find in its address.
    pub(crate) async fn response(&self, browser: &mut Browser) -> String {
        let started = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
        let started = started.expect(200).unwrap().json().unwrap();
        let url = started["authorization_url"].as_str().unwrap().to_owned();
        let answer = browser.navigate(From::SameOrigin, &url).await.unwrap().expect(303).unwrap();
        let location = answer.location().unwrap();
        assert_eq!(location.origin().ascii_serialization(), self.origin);
        location.query().unwrap_or_default().to_owned()
    }

    /// Hands an answer of the AS in, as the app's page would.
    pub(crate) async fn end(&self, browser: &mut Browser, query: &str) -> Answer {
        browser.fetch(Call::post("/bff/login/end").form(query)).await.unwrap()
    }

    /// A whole login.
    pub(crate) async fn login(&self, browser: &mut Browser) -> Value {
        let query = self.response(browser).await;
        self.end(browser, &query).await.expect(200).unwrap().json().unwrap()
    }

    /// A browser with a session.
    pub(crate) async fn logged_in(&self) -> Browser {
        let mut browser = self.browser();
        self.login(&mut browser).await;
        browser
    }

    /// Whether the browser's session is alive, as the app's page sees it.
    pub(crate) async fn is_logged_in(&self, browser: &mut Browser) -> bool {
        let session = browser.fetch(Call::get("/bff/session")).await.unwrap();
        session.expect(200).unwrap().json().unwrap()["is_logged_in"].as_bool().unwrap()
    }

    /// `outcome` and `reason` of the last audit record with this action.
    pub(crate) fn last_audit(&self, action: &str) -> (String, String) {
        let events = self.audit.events();
        let event = events.iter().rev().find(|event| event["action"] == action);
        let event = event.unwrap_or_else(|| panic!("no {action} in {events:#?}"));
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        (text("outcome"), text("reason"))
    }

    /// Asks the operators' listener: status and body.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let address = self.bff.as_ref().unwrap().admin_addr();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The metrics page.
    pub(crate) fn metrics(&self) -> String {
        self.bff.as_ref().unwrap().telemetry().metrics.render()
    }

    /// The value of one metric line that starts like this; 0 if there is none.
    pub(crate) fn metric(&self, start: &str) -> f64 {
        let metrics = self.metrics();
        metrics
            .lines()
            .filter(|line| line.starts_with(start))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

async fn authorization_server(
    pki: &Pki,
    registration: &ClientRegistration,
    conduct: Conduct,
    clock: &Arc<ManualClock>,
    (port, mtls_port): (u16, u16),
) -> AsDouble {
    let clock = Arc::clone(clock);
    AsDouble::start(AsConfig {
        port,
        mtls_port,
        now: Arc::new(move || clock.now().as_i64()),
        signing_alg: conduct.usual_alg(),
        conduct,
        authorization_details_types: vec!["accounts".to_owned(), "payment".to_owned()],
        ..AsConfig::new(pki, vec![registration.clone()])
    })
    .await
    .unwrap()
}

/// Waits at most ten seconds for what should come at once.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen within ten seconds"))
}

/// Waits until something holds that other tasks bring about.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    soon(what, waiting).await;
}

pub(crate) fn private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Where a server listens and keeps its sessions.
pub(crate) const SERVER: &str = r#"
[server]
listen = "127.0.0.1:{port}"
tls = { certificate = "bff.pem", private_key = "bff.key" }

[admin]
listen = "127.0.0.1:0"

[store]
path = "sessions.redb"
server_key_file = "server.key"

"#;

const TOML: &str = r#"[providers.as]
issuer = "{issuer}"
trust_roots = ["ca.pem"]
networks = ["loopback"]
request_timeout = "2s"
jwks_cooldown = "10s"

[clients.main]
client_id = "bed-client"
scopes = ["openid", "profile", "email", "accounts", "payments"]
client_assertion_key = "client-assertion.key"
request_object_key = "request-object.key"
tls_identity = { certificate = "client-tls.pem", private_key = "client-tls.key" }

[apps.web]
origin = "https://app.localhost:{port}"

[apps.web.login]
allowed_parameters = ["acr_values", "login_hint", "max_age", "prompt", "scope", "ui_locales"]

[apps.web.session]
idle = "15m"
absolute = "8h"

[[apps.web.routes]]
path = "/api"
upstream = "{api}"
methods = ["GET", "HEAD", "POST", "PUT", "DELETE"]
trust_roots = ["ca.pem"]
networks = ["loopback"]
"#;
