//! What one module is played in: an authorization server and an API that listen, and the BFF between
//! them and a browser, in this process or somewhere else. It must not know what is tested.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use fapi_bff::{
    clock::{Ambient, Clock as _, ManualClock, SystemClock, SystemEntropy},
    config::{self, Faults},
    server::{Options, Server, StartError as BffFault},
    session::Store,
    telemetry::{Audit, AuditLog},
};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    client::{Client, registration},
    exam::Exam,
    oidf,
};
use crate::{
    Now,
    api::{ApiConfig, SampleApi},
    as_double::{AsConfig, AsDouble, OnEvent, OnVisit},
    demo::{
        browser::{Answer, Browser, Call, From as Coming, text},
        recording::Recording,
        wire::{Line, LineFault},
    },
    oidf::hook::{Context, Hook},
    pki::{Pki, PkiError},
    serve::StartError,
    system_now,
};

/// `client_id` of the client under test.
pub const CLIENT_ID: &str = "conformance-client";

/// The scope the client is registered with, to the letter.
pub const SCOPE: [&str; 5] = ["openid", "profile", "email", "accounts", "payments"];

/// The configuration of the BFF under test; names in braces are filled in.
pub const CONFIGURATION: &str = r#"[server]
listen = "127.0.0.1:{port}"
tls = { certificate = "bff.pem", private_key = "bff.key" }

[admin]
listen = "127.0.0.1:{admin}"

[store]
path = "sessions.redb"
server_key_file = "server.key"

[log]
audit_file = "audit.jsonl"

# The harness.
[providers.as]
issuer = "{issuer}"
trust_roots = ["ca.pem"]
networks = ["loopback"]
request_timeout = "10s"
jwks_cooldown = "5s"        # modules change keys within seconds

# Keys and certificate may be the client's own; all of these scopes are asked for.
[clients.main]
client_id = "conformance-client"
scopes = ["openid", "profile", "email", "accounts", "payments"]
client_assertion_key = "client-assertion.key"
request_object_key = "request-object.key"
tls_identity = { certificate = "client-tls.pem", private_key = "client-tls.key" }

# The name and the default prefix, /bff, are what the harness looks for.
[apps.web]
origin = "{origin}"

# Modules ask for each of these, and for others that must be refused.
[apps.web.login]
allowed_parameters = ["acr_values", "login_hint", "max_age", "prompt", "scope", "ui_locales"]

[apps.web.session]
idle = "15m"
absolute = "8h"

# The accounts endpoint of the authorization server's own, as in the official suite.
[[apps.web.routes]]
path = "/api"
upstream = "{accounts}"
trust_roots = ["ca.pem"]
networks = ["loopback"]

# An API that shows what reaches it and misbehaves on demand.
[[apps.web.routes]]
path = "/lab"
upstream = "{lab}"
methods = ["GET", "HEAD", "POST", "PUT", "DELETE"]
trust_roots = ["ca.pem"]
networks = ["loopback"]
"#;

/// How often, and how long apart, a BFF that was restarted is asked whether it is there.
const START_TRIES: u32 = 150;
const START_PAUSE: Duration = Duration::from_millis(200);

/// Why a world did not come about.
#[derive(Debug, thiserror::Error)]
pub enum WorldFault {
    /// Keys and certificates.
    #[error("keys and certificates: {0}")]
    Pki(#[from] PkiError),
    /// The authorization server or the API did not start.
    #[error("the authorization server or the API: {0}")]
    Double(#[from] StartError),
    /// The configuration is refused.
    #[error("{0}")]
    Configuration(#[from] Faults),
    /// A replacement does not apply.
    #[error("{0:?} is not in the configuration")]
    Replacement(String),
    /// The BFF did not start.
    #[error("the BFF: {0}")]
    Bff(#[from] BffFault),
    /// A file or a port.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The script asks for something that was not arranged.
    #[error("{0}")]
    Lacking(&'static str),
    /// No connection of the harness's own to the BFF.
    #[error(transparent)]
    Line(#[from] LineFault),
    /// A BFF elsewhere cannot be given this.
    #[error("needs {0}")]
    Elsewhere(&'static str),
    /// The BFF elsewhere does not answer.
    #[error("the target: {0}")]
    Target(String),
}

/// Who hears of requests: the module that is being played, if any.
#[derive(Clone, Default)]
pub struct Ear(Arc<Mutex<Option<Exam>>>);

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ear").finish_non_exhaustive()
    }
}

impl Ear {
    /// From now on this module hears; `None` for nobody.
    pub fn listens(&self, exam: Option<Exam>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = exam;
    }

    fn on_visit(&self) -> OnVisit {
        let ear = Arc::clone(&self.0);
        Arc::new(move |arrives| {
            let exam = ear.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(exam) = exam {
                exam.visited(arrives);
            }
        })
    }

    fn on_event(&self) -> OnEvent {
        let ear = Arc::clone(&self.0);
        Arc::new(move |event| {
            let exam = ear.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(exam) = exam {
                exam.saw(event);
            }
        })
    }
}

/// What a module wants changed before anything starts. Only a BFF in this process can be given it all.
#[derive(Clone, Default)]
pub struct Setup {
    /// The client under test and the server it meets.
    pub client: Client,
    /// Replacements in [`CONFIGURATION`], applied in order before its names in braces are filled in.
    pub configuration: Vec<(&'static str, String)>,
    /// What to do to the authorization server before the BFF meets it.
    pub before: Option<Before>,
    /// Whether the script moves the clock.
    pub clock: bool,
    /// Whether the BFF must not have met this authorization server before.
    pub fresh: bool,
    /// Whether the metadata lack what the official suite's lack. A BFF elsewhere is given the same
    /// metadata in every module: it would believe those of one in the next.
    pub as_in_suite: bool,
    /// Instead of the embedded store.
    pub store: Option<Arc<dyn Store>>,
}

impl Setup {
    /// What of it a BFF elsewhere cannot be given, `restart` telling whether it can be restarted.
    pub fn beyond(&self, restart: bool) -> Option<&'static str> {
        if !self.configuration.is_empty() || self.client != Client::default() {
            Some("a configuration of its own")
        } else if self.clock {
            Some("control of the clock")
        } else if self.store.is_some() {
            Some("a session store of its own")
        } else if self.fresh && !restart {
            Some("a BFF that has just started: give --restart")
        } else {
            None
        }
    }
}

/// Prepares an authorization server.
pub type Before = Arc<dyn Fn(&AsDouble) + Send + Sync>;

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("configuration", &self.configuration)
            .field("clock", &self.clock)
            .field("fresh", &self.fresh)
            .finish_non_exhaustive()
    }
}

/// A BFF in this process.
struct Here {
    server: Option<Server>,
    clock: Option<Arc<ManualClock>>,
    audit: AuditLog,
    toml: String,
    dir: TempDir,
}

/// A BFF somewhere else.
struct There {
    audit: Option<AuditFile>,
    restart: Option<Hook>,
    /// The last module's metadata or keys are none that another may meet.
    spoiled: bool,
}

/// The audit stream of a BFF somewhere else, as a file.
#[derive(Clone, Debug)]
struct AuditFile {
    path: PathBuf,
    /// Where the present module's lines begin.
    from: u64,
}

impl AuditFile {
    fn length(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    fn text(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        let from = usize::try_from(self.from).unwrap_or(usize::MAX);
        // A shorter file was rotated away: all of the new one is ours.
        let ours = bytes.get(from..).unwrap_or(&bytes);
        String::from_utf8_lossy(ours).into_owned()
    }
}

enum Subject {
    Here(Box<Here>),
    There(There),
}

/// Where a BFF is that does not run in this process, and how it is reached and told of.
pub struct Elsewhere {
    /// The app's origin.
    pub origin: String,
    /// The alias, which is part of the issuer.
    pub alias: String,
    /// How a browser reaches it.
    pub http: reqwest::Client,
    /// The authorization server, as configured at the BFF.
    pub authorization_server: AsConfig,
    /// The API behind `/lab`.
    pub api: ApiConfig,
    /// Its audit stream, if it can be read here.
    pub audit: Option<PathBuf>,
    /// How it is restarted, if it can be.
    pub restart: Option<Hook>,
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Everything a module is played in.
pub struct World {
    /// Keys and certificates of everybody.
    pub pki: Arc<Pki>,
    /// The authorization server.
    pub double: AsDouble,
    /// The API behind `/lab`.
    pub api: SampleApi,
    /// Where the app lives, without trailing slash.
    pub origin: String,
    /// What the app's page says at the start of every login, form-encoded.
    pub wishes: &'static str,
    alias: String,
    http: reqwest::Client,
    ear: Ear,
    recording: Recording,
    subject: Subject,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl World {
    /// Starts everything in this process under this alias, the BFF last; `exam` hears from the first
    /// request on.
    pub async fn start(
        pki: Arc<Pki>,
        alias: &str,
        setup: Setup,
        exam: Option<Exam>,
        recording: Recording,
    ) -> Result<Self, WorldFault> {
        let dir = tempfile::tempdir()?;
        pki.write_to(dir.path())?;
        write_private(&dir.path().join("server.key"), &crate::jws::random_token())?;
        let port = free_port();
        let origin = format!("https://{}:{port}", crate::pki::APP_HOST);
        let clock = setup.clock.then(|| ManualClock::at(SystemClock::new().now()));
        let ear = Ear::default();
        ear.listens(exam);
        let client = setup.client;
        let http = Browser::client(&pki)?;
        let mut registered = client.register(&pki, &origin, dir.path())?;
        registered.exact_scope = setup.as_in_suite;
        let usual = AsConfig::for_alias(&pki, vec![registered], alias);
        let double = AsDouble::start(AsConfig {
            acrs: client.acrs().unwrap_or_else(|| usual.acrs.clone()),
            conduct: client.conduct,
            signing_alg: client.server_alg,
            signing_key: client.server_key()?,
            authorization_details_types: client.details_types(),
            request_object_encryption: client.request_encryption(),
            back_channel: Some(http.clone()),
            now: now(clock.as_ref()),
            on_event: Some(ear.on_event()),
            on_visit: Some(ear.on_visit()),
            ..usual
        })
        .await?;
        if let Some(scheme) = client.scheme {
            scheme.prepare(&double);
        }
        if setup.as_in_suite {
            oidf::strip(&double);
        }
        if let Some(before) = &setup.before {
            before(&double);
        }
        let lab = ApiConfig {
            on_event: Some(ear.on_event()),
            on_visit: Some(ear.on_visit()),
            ..ApiConfig::new(&pki)
        };
        let api = SampleApi::start(lab, double.token_state()).await?;
        let mut template = client.configure(CONFIGURATION);
        for (from, to) in &setup.configuration {
            if !template.contains(from) {
                return Err(WorldFault::Replacement((*from).to_owned()));
            }
            template = template.replace(from, to);
        }
        let toml = configuration(
            template,
            &Places {
                listen: port,
                admin: 0,
                origin: &origin,
                issuer: double.issuer(),
                accounts: double.accounts_url().trim_end_matches("/accounts"),
                lab: api.base_url().trim_end_matches('/'),
            },
        );
        let (_, audit) = Audit::memory(Arc::new(SystemClock::new()));
        let subject = Subject::Here(Box::new(Here { server: None, clock, audit, toml, dir }));
        let alias = alias.to_owned();
        let wishes = client.wishes();
        let mut world =
            Self { pki, double, api, origin, wishes, alias, http, ear, recording, subject };
        world.boot(setup.store).await?;
        Ok(world)
    }

    /// Starts the authorization server and the API for a BFF that runs somewhere else.
    pub async fn attach(pki: Arc<Pki>, elsewhere: Elsewhere) -> Result<Self, WorldFault> {
        let Elsewhere { origin, alias, http, authorization_server, api, audit, restart } =
            elsewhere;
        let ear = Ear::default();
        let double = AsDouble::start(AsConfig {
            back_channel: Some(http.clone()),
            on_event: Some(ear.on_event()),
            on_visit: Some(ear.on_visit()),
            ..authorization_server
        })
        .await?;
        let api =
            ApiConfig { on_event: Some(ear.on_event()), on_visit: Some(ear.on_visit()), ..api };
        let api = SampleApi::start(api, double.token_state()).await?;
        let audit = audit.map(|path| AuditFile { path, from: 0 });
        let subject = Subject::There(There { audit, restart, spoiled: false });
        let recording = Recording::default();
        Ok(Self { pki, double, api, origin, wishes: "", alias, http, ear, recording, subject })
    }

    /// Logs in once: waits until the BFF elsewhere has found the authorization server, which was not
    /// there before, and has learned its keys, and sees to it that its routes lead here.
    pub async fn meet(&self) -> Result<(), WorldFault> {
        let mut last = String::new();
        for _ in 0..START_TRIES {
            match self.try_login().await {
                Ok(()) => {
                    self.double.clear_events();
                    return Ok(());
                }
                Err((true, why)) => last = why,
                Err((false, why)) => {
                    last = why;
                    break;
                }
            }
            tokio::time::sleep(START_PAUSE).await;
        }
        if let Some(refusal) = self.double.last_refusal() {
            let reason = refusal.reason.unwrap_or_default();
            last = format!("{last}; the harness refused it: {reason} ({})", refusal.detail);
        }
        Err(WorldFault::Target(format!("no login works, its log says why: {last}")))
    }

    /// One login. What failed, and whether it may heal by itself: an outage, or keys of another run.
    async fn try_login(&self) -> Result<(), (bool, String)> {
        let mut browser = self.browser();
        let broken = |why: String| (true, why);
        let judged = |answer: Answer, status: u16, heals: bool| {
            let code = answer.json().ok();
            let code = code.as_ref().map(|body| text(body, "error_code").to_owned());
            let (request, found) = (answer.request.clone(), answer.status);
            if found == status {
                return Ok(answer);
            }
            let code = code.unwrap_or_default();
            Err((heals || found == 503, format!("{request} is answered with {found} {code}")))
        };
        let answer = browser.fetch(Call::post("/bff/login/start")).await.map_err(broken)?;
        let body = judged(answer, 200, false)?.json().map_err(broken)?;
        let url = text(&body, "authorization_url").to_owned();
        let answer = browser.navigate(Coming::SameOrigin, &url).await.map_err(broken)?;
        let location = judged(answer, 303, false)?.location().map_err(broken)?;
        let query = location.query().unwrap_or_default();
        let end = browser.fetch(Call::post("/bff/login/end").form(query)).await.map_err(broken)?;
        judged(end, 200, true)?;
        for path in ["/api/accounts", "/lab/accounts"] {
            let answer = browser.fetch(Call::get(path)).await.map_err(broken)?;
            judged(answer, 200, false)?;
        }
        Ok(())
    }

    /// Makes a world with a BFF elsewhere ready for the next module.
    pub async fn rearm(
        &mut self,
        module: &str,
        setup: &Setup,
        exam: Exam,
        recording: Recording,
    ) -> Result<(), WorldFault> {
        self.double.reset_behaviour();
        self.double.clear_events();
        // Looked for in everything that is reported: those of all modules would be too many.
        self.double.forget_secrets();
        self.api.heal();
        self.api.clear_events();
        if let Some(before) = &setup.before {
            before(&self.double);
        }
        self.recording = recording;
        self.ear.listens(Some(exam));
        let spoiled = match &mut self.subject {
            Subject::There(there) => std::mem::replace(&mut there.spoiled, setup.fresh),
            Subject::Here(_) => false,
        };
        if setup.fresh || spoiled {
            self.restart_for(module).await?;
        }
        if let Subject::There(There { audit: Some(audit), .. }) = &mut self.subject {
            audit.from = audit.length();
        }
        Ok(())
    }

    /// From now on nobody hears of requests.
    pub fn disarm(&self) {
        self.ear.listens(None);
    }

    async fn restart_for(&self, module: &str) -> Result<(), WorldFault> {
        let Subject::There(There { restart: Some(restart), .. }) = &self.subject else {
            return Err(WorldFault::Elsewhere("a way to restart the BFF: give --restart"));
        };
        let context = Context {
            module: module.to_owned(),
            test_id: self.alias.clone(),
            issuer: self.double.issuer().to_owned(),
            alias: self.alias.clone(),
        };
        restart.run(context).await.map_err(|fault| WorldFault::Target(fault.to_string()))?;
        answers(&self.http, &self.origin).await
    }

    async fn boot(&mut self, store: Option<Arc<dyn Store>>) -> Result<(), WorldFault> {
        let here = self.here_mut()?;
        let file = here.dir.path().join("fapi-bff.toml");
        fs::write(&file, &here.toml)?;
        let settings = config::load(&file, BTreeMap::<String, String>::new())?;
        let ambient = match &here.clock {
            Some(clock) => {
                Ambient { clock: clock.clone(), entropy: Arc::new(SystemEntropy::new()) }
            }
            None => Ambient::system(),
        };
        let (audit, log) = Audit::memory(Arc::clone(&ambient.clock));
        here.audit = log;
        let options = Options { ambient, audit: Some(audit), store };
        here.server = Some(Server::start(settings, options).await?);
        Ok(())
    }

    /// Stops the BFF in order and starts it again on the same files.
    pub async fn restart(&mut self) -> Result<(), WorldFault> {
        if matches!(self.subject, Subject::There(_)) {
            return self.restart_for("restart").await;
        }
        self.stop_bff().await;
        self.boot(None).await
    }

    /// Stops the BFF in order.
    pub async fn stop_bff(&mut self) {
        if let Subject::Here(here) = &mut self.subject
            && let Some(server) = here.server.take()
        {
            server.shutdown().await;
        }
    }

    /// Ends everything in order.
    pub async fn shutdown(mut self) {
        self.ear.listens(None);
        self.stop_bff().await;
        tokio::join!(self.double.shutdown(), self.api.shutdown());
    }

    /// Another authorization server, with its own keys, that knows the same client.
    pub async fn another_authorization_server(&self, alias: &str) -> Result<AsDouble, WorldFault> {
        Ok(AsDouble::start(AsConfig {
            now: now(self.clock()),
            ..AsConfig::for_alias(&self.pki, vec![registration(&self.pki, &self.origin)?], alias)
        })
        .await?)
    }

    /// A browser with nothing in it yet.
    pub fn browser(&self) -> Browser {
        Browser::with_client(self.http.clone(), &self.origin).recorded(self.recording.clone())
    }

    /// Whether the BFF runs in this process.
    pub const fn is_here(&self) -> bool {
        matches!(self.subject, Subject::Here(_))
    }

    /// A connection to the BFF for requests that no browser would send.
    pub async fn line(&self) -> Result<Line, WorldFault> {
        Line::open(&self.pki, &self.origin).await.map_err(|fault| match (&self.subject, fault) {
            // The browser does trust it, by an authority that is known to the browser alone.
            (Subject::There(_), LineFault::NotTrusted(..)) => {
                WorldFault::Elsewhere("a BFF with a certificate by the harness's own authority")
            }
            (_, fault) => WorldFault::Line(fault),
        })
    }

    /// Whether the BFF can be restarted.
    pub const fn can_restart(&self) -> bool {
        match &self.subject {
            Subject::Here(_) => true,
            Subject::There(there) => there.restart.is_some(),
        }
    }

    /// The alias, which is part of the issuer.
    pub fn alias(&self) -> &str {
        &self.alias
    }

    /// Everything that must not be in a report: what the authorization server issued and received.
    pub fn secrets(&self) -> Vec<String> {
        self.double.issued_secrets()
    }

    fn here(&self) -> Result<&Here, WorldFault> {
        match &self.subject {
            Subject::Here(here) => Ok(here),
            Subject::There(_) => Err(WorldFault::Elsewhere("a BFF in this process")),
        }
    }

    fn here_mut(&mut self) -> Result<&mut Here, WorldFault> {
        match &mut self.subject {
            Subject::Here(here) => Ok(here),
            Subject::There(_) => Err(WorldFault::Elsewhere("a BFF in this process")),
        }
    }

    const fn clock(&self) -> Option<&Arc<ManualClock>> {
        match &self.subject {
            Subject::Here(here) => here.clock.as_ref(),
            Subject::There(_) => None,
        }
    }

    /// The directory of the BFF's files.
    pub fn dir(&self) -> Result<&Path, WorldFault> {
        Ok(self.here()?.dir.path())
    }

    /// The configuration text, as loaded.
    pub fn configuration(&self) -> Result<&str, WorldFault> {
        Ok(&self.here()?.toml)
    }

    /// The running BFF.
    pub fn bff(&self) -> Result<&Server, WorldFault> {
        self.here()?.server.as_ref().ok_or(WorldFault::Lacking("the BFF is stopped"))
    }

    /// Moves the clock of the BFF and the authorization server.
    pub fn advance(&self, seconds: u32) -> Result<(), WorldFault> {
        let clock = self.here()?.clock.as_ref();
        clock.ok_or(WorldFault::Lacking("this module's clock is the machine's"))?.advance(seconds);
        Ok(())
    }

    /// The time the BFF and the authorization server live in, seconds since the epoch.
    pub fn now(&self) -> i64 {
        now(self.clock())()
    }

    /// Whether the audit stream can be read.
    pub const fn is_audited(&self) -> bool {
        match &self.subject {
            Subject::Here(_) => true,
            Subject::There(there) => there.audit.is_some(),
        }
    }

    /// The audit stream of this module, parsed.
    pub fn audit(&self) -> Vec<Value> {
        let text = self.audit_text();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The audit stream of this module, as written.
    pub fn audit_text(&self) -> String {
        match &self.subject {
            Subject::Here(here) => here.audit.text(),
            Subject::There(there) => there.audit.as_ref().map(AuditFile::text).unwrap_or_default(),
        }
    }

    /// The metrics page, if it is within reach.
    pub fn metrics(&self) -> Result<Option<String>, WorldFault> {
        if !self.is_here() {
            return Ok(None);
        }
        Ok(Some(self.bff()?.telemetry().metrics.render()))
    }
}

/// Waits until the BFF answers at all.
async fn answers(http: &reqwest::Client, origin: &str) -> Result<(), WorldFault> {
    let url = format!("{origin}/bff/jwks");
    let mut last = String::new();
    for _ in 0..START_TRIES {
        match http.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => last = format!("{url} is answered with {}", answer.status()),
            Err(error) => last = format!("{url} is not answered: {}", error.without_url()),
        }
        tokio::time::sleep(START_PAUSE).await;
    }
    Err(WorldFault::Target(last))
}

fn now(clock: Option<&Arc<ManualClock>>) -> Now {
    match clock {
        Some(clock) => {
            let clock = Arc::clone(clock);
            Arc::new(move || clock.now().as_i64())
        }
        None => system_now(),
    }
}

/// Who lives where, for [`configuration`].
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Port of the BFF on 127.0.0.1.
    pub listen: u16,
    /// Port of its metrics and health.
    pub admin: u16,
    /// The app's origin.
    pub origin: &'a str,
    /// The issuer.
    pub issuer: &'a str,
    /// What `/api` leads to.
    pub accounts: &'a str,
    /// What `/lab` leads to.
    pub lab: &'a str,
}

/// A text like [`CONFIGURATION`] with its names filled in.
pub fn configuration(template: String, places: &Places<'_>) -> String {
    [
        ("{port}", places.listen.to_string().as_str()),
        ("{admin}", places.admin.to_string().as_str()),
        ("{origin}", places.origin),
        ("{issuer}", places.issuer),
        ("{accounts}", places.accounts),
        ("{lab}", places.lab),
    ]
    .iter()
    .fold(template, |text, (name, value)| text.replace(name, value))
}

/// A new file for the owner's eyes only.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// A port nobody listens on. Ports are handed out in turn, so that servers of one process do not meet
/// on one between looking and listening.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97) % 9_000;
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + (start.wrapping_add(turn)) % 9_000).unwrap_or(20_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
