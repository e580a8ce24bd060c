//! A BFF that runs somewhere else: what `prepare` makes for it, and how the harness finds it again. It
//! must not play anything.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::{Fault, HELD};
use crate::{
    api::ApiConfig,
    as_double::{AsConfig, ClientRegistration},
    jws::random_token,
    oidf::{hook::Hook, http::Trust},
    pki::{API_HOST, APP_HOST, AS_HOST, AS_MTLS_HOST, Pki},
    suite::client::BACK_CHANNEL,
    suite::world::{self, CLIENT_ID, Elsewhere, SCOPE, World},
};

const SETTINGS: &str = "target.toml";
const CONFIGURATION: &str = "fapi-bff.toml";

const SETTINGS_HEAD: &str = "\
# What `cargo conformance run --dir` must know of the BFF. The client's name and certificate (PEM, by its
# path from here) may be changed to the BFF's own; the others go together with its configuration.
";

/// Arguments of `prepare`.
#[derive(Debug, Args)]
pub(super) struct PrepareArgs {
    /// Where keys, certificates and the configuration go
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The app's origin at the BFF to be tested
    #[arg(long, value_name = "URL", default_value = "https://app.localhost:8443", value_parser = origin)]
    origin: Url,
    /// Host name by which the BFF reaches the harness's authorization server
    #[arg(long, value_name = "NAME", default_value = AS_HOST, value_parser = host)]
    as_host: String,
    /// The same for its mutual-TLS listener
    #[arg(long, value_name = "NAME", default_value = AS_MTLS_HOST, value_parser = host)]
    mtls_host: String,
    /// The same for the harness's API
    #[arg(long, value_name = "NAME", default_value = API_HOST, value_parser = host)]
    api_host: String,
    /// Address the harness listens on
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::LOCALHOST.into())]
    bind: IpAddr,
    /// First of four ports: authorization server, its mutual TLS, API, the BFF's metrics and health
    #[arg(long, value_name = "PORT", default_value_t = 9543, value_parser = clap::value_parser!(u16).range(1..=65532))]
    port: u16,
    /// The client's name, if the BFF's is another one
    #[arg(long, value_name = "NAME", default_value = CLIENT_ID)]
    client_id: String,
    /// The last part of the issuer
    #[arg(long, value_name = "NAME", default_value = "conformance", value_parser = alias)]
    alias: String,
}

fn host(text: &str) -> Result<String, String> {
    match url::Host::parse(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("write a host name".to_owned()),
    }
}

/// `https://HOST` or `https://HOST:PORT` and nothing else.
pub(super) fn origin(text: &str) -> Result<Url, String> {
    let wrong = || "write https://HOST or https://HOST:PORT".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    let bare = url.scheme() == "https" && url.path() == "/" && url.query().is_none();
    if bare && url.host_str().is_some() { Ok(url) } else { Err(wrong()) }
}

fn alias(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("letters, digits, - and _".to_owned())
    }
}

/// What `prepare` writes down and `run --target` reads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The app's origin.
    origin: String,
    /// The last part of the issuer.
    alias: String,
    /// Host names of the authorization server, its mutual-TLS listener and the API.
    as_host: String,
    mtls_host: String,
    api_host: String,
    /// Where the harness listens.
    bind: IpAddr,
    /// First of three ports.
    port: u16,
    /// The client's name at the authorization server.
    client_id: String,
    /// The TLS client certificate (PEM) that the BFF presents, by its path from this directory.
    client_certificate: PathBuf,
}

/// Why a target cannot be prepared or tested.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetFault {
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The settings cannot be read.
    #[error("{}: {why}", path.display())]
    Settings {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Nothing was prepared.
    #[error("{}: no {SETTINGS} here: run `cargo conformance prepare --dir {}` first", .0.display(), .0.display())]
    NotPrepared(PathBuf),
    /// There is something already.
    #[error("{}: is not empty; nothing in it is touched, name another directory", .0.display())]
    NotEmpty(PathBuf),
    /// Another origin was prepared for.
    #[error("the target is {target}, but {SETTINGS} was prepared for {prepared}")]
    OtherOrigin {
        /// What was asked for.
        target: String,
        /// What was prepared.
        prepared: String,
    },
    /// What was prepared for is no origin.
    #[error("{}: the origin {origin} is none: write https://HOST or https://HOST:PORT", path.display())]
    NoOrigin {
        /// The file.
        path: PathBuf,
        /// What it says.
        origin: String,
    },
    /// Nobody is trusted.
    #[error(transparent)]
    Trust(#[from] crate::oidf::http::TrustFault),
    /// The harness's own servers do not start.
    #[error("the harness cannot listen on the ports {ports}: {why}; {SETTINGS} names the first")]
    Harness {
        /// Which.
        ports: String,
        /// Why.
        why: String,
    },
    /// A login left no line in the audit file.
    #[error("{}: a login left no line here; is it the target's log.audit_file?", .0.display())]
    Silent(PathBuf),
    /// The target does not answer as it should.
    #[error("{url}: {why}; does the BFF run with the configuration that `prepare` wrote?")]
    Unusable {
        /// What was asked.
        url: String,
        /// What came.
        why: String,
    },
}

/// Makes keys, certificates and a configuration, and says what to do with them.
pub(super) fn prepare(args: &PrepareArgs) -> Result<u8, Fault> {
    let settings = Settings {
        origin: args.origin.origin().ascii_serialization(),
        alias: args.alias.clone(),
        as_host: args.as_host.clone(),
        mtls_host: args.mtls_host.clone(),
        api_host: args.api_host.clone(),
        bind: args.bind,
        port: args.port,
        client_id: args.client_id.clone(),
        client_certificate: PathBuf::from("client-tls.pem"),
    };
    empty(&args.dir)?;
    let mut pki = Pki::generate(CLIENT_ID)?;
    if let Some(host) = args.origin.host_str().filter(|host| *host != APP_HOST) {
        pki.bff = pki.issue_server(&[host])?;
    }
    pki.write_to(&args.dir)?;
    let write = |name: &str, text: &str| {
        let path = args.dir.join(name);
        fs::write(&path, text).map_err(|source| Fault::File { path, source })
    };
    let key = args.dir.join("server.key");
    world::write_private(&key, &random_token())
        .map_err(|source| Fault::File { path: key, source })?;
    let network = if args.bind.is_loopback() { "loopback" } else { "private" };
    let text = world::configuration(
        world::CONFIGURATION.to_owned(),
        &world::Places {
            listen: args.origin.port_or_known_default().unwrap_or(443),
            admin: args.port + 3,
            origin: &settings.origin,
            issuer: &settings.issuer(),
            accounts: &settings.accounts(),
            lab: &settings.lab(),
        },
    )
    .replace("networks = [\"loopback\"]", &format!("networks = [\"{network}\"]"))
    .replace(
        &format!("client_id = \"{CLIENT_ID}\""),
        &format!("client_id = \"{}\"", args.client_id),
    );
    write(CONFIGURATION, &text)?;
    let path = args.dir.join(SETTINGS);
    let text = toml::to_string_pretty(&settings)
        .map_err(|error| TargetFault::Settings { path, why: error.to_string() })?;
    write(SETTINGS, &format!("{SETTINGS_HEAD}{text}"))?;
    let dir = args.dir.display();
    println!(
        "Keys, certificates and {CONFIGURATION} are in {dir}.

Serve a BFF with it, or take its sections over into your own; what must be as it is there, it says:
  fapi-bff serve --config {dir}/{CONFIGURATION}

Then:
  cargo conformance run --dir {dir} --audit {dir}/audit.jsonl

{dir}/{SETTINGS} tells the harness of a client with another name or another certificate; its signing
keys are read from its own key set. --restart COMMAND lets modules be played that need a BFF that has
just started; conformance/oidf/bff.sh shows one."
    );
    Ok(HELD)
}

/// Keys may be in there that cannot be made again.
fn empty(dir: &Path) -> Result<(), TargetFault> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Err(TargetFault::NotEmpty(dir.to_owned())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(TargetFault::File { path: dir.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

impl Settings {
    fn read(dir: &Path) -> Result<Self, TargetFault> {
        let path = dir.join(SETTINGS);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TargetFault::NotPrepared(dir.to_owned()));
            }
            Err(source) => return Err(TargetFault::File { path, source }),
        };
        toml::from_str(&text).map_err(|e| TargetFault::Settings { path, why: e.to_string() })
    }

    fn issuer(&self) -> String {
        format!("https://{}:{}/test/a/{}/", self.as_host, self.port, self.alias)
    }

    fn accounts(&self) -> String {
        let port = self.port + 1;
        format!("https://{}:{port}/test-mtls/a/{}/open-banking/v1.1", self.mtls_host, self.alias)
    }

    fn lab(&self) -> String {
        format!("https://{}:{}", self.api_host, self.port + 2)
    }
}

/// How `run --target` finds the BFF.
pub(super) struct Attach<'a> {
    /// Where it is, to make sure that it is the one prepared for.
    pub(super) url: Option<&'a Url>,
    pub(super) dir: &'a Path,
    pub(super) audit: Option<PathBuf>,
    pub(super) restart: Option<String>,
    pub(super) ca: &'a [PathBuf],
    pub(super) resolve: &'a [(String, IpAddr)],
}

/// Starts the harness's own servers for a BFF that runs, and makes sure that it is there.
pub(super) async fn attach(attach: &Attach<'_>) -> Result<World, Fault> {
    let settings = Settings::read(attach.dir)?;
    let url = origin(&settings.origin).map_err(|_| TargetFault::NoOrigin {
        path: attach.dir.join(SETTINGS),
        origin: settings.origin.clone(),
    })?;
    let target = attach.url.map(|url| url.origin().ascii_serialization());
    if let Some(target) = target.filter(|target| *target != settings.origin) {
        return Err(TargetFault::OtherOrigin { target, prepared: settings.origin }.into());
    }
    if let Some(path) = &attach.audit {
        // Before the first module, not after the last.
        fs::File::open(path).map_err(|source| Fault::File { path: path.clone(), source })?;
    }
    let pki = Arc::new(Pki::load(attach.dir)?);
    let read = |path: &Path| {
        fs::read(path).map_err(|source| Fault::File { path: path.to_owned(), source })
    };
    let mut roots = vec![pki.ca_pem.clone().into_bytes()];
    for path in attach.ca {
        roots.push(read(path)?);
    }
    let local = [url.host_str().unwrap_or_default(), settings.as_host.as_str()];
    let mut resolve: Vec<_> = local
        .iter()
        .filter(|host| **host == "localhost" || host.ends_with(".localhost"))
        .map(|host| ((*host).to_owned(), IpAddr::from(Ipv4Addr::LOCALHOST)))
        .collect();
    resolve.extend(attach.resolve.iter().cloned());
    let http = Trust { roots, system: false, resolve }.client().map_err(TargetFault::from)?;
    let jwks = keys(&http, &settings.origin).await?;
    let certificate = read(&attach.dir.join(&settings.client_certificate))?;
    let certificate = String::from_utf8_lossy(&certificate).into_owned();
    let identity = pki.issue_server(&[settings.as_host.as_str(), settings.mtls_host.as_str()])?;
    let client_ca = format!("{}\n{certificate}", pki.ca_pem);
    let registration = ClientRegistration {
        client_id: settings.client_id.clone(),
        jwks,
        redirect_uris: vec![
            format!("{}/", settings.origin),
            format!("{}/bff/callback", settings.origin),
        ],
        scopes: SCOPE.map(str::to_owned).to_vec(),
        post_logout_redirect_uris: vec![format!("{}/bff/logout/callback", settings.origin)],
        backchannel_logout_uri: Some(format!("{}{BACK_CHANNEL}", settings.origin)),
        certificate_thumbprints: vec![crate::pki::thumbprint(&certificate)?],
        ..ClientRegistration::default()
    };
    let elsewhere = Elsewhere {
        origin: settings.origin.clone(),
        alias: settings.alias.clone(),
        http,
        authorization_server: AsConfig {
            bind: settings.bind,
            port: settings.port,
            mtls_port: settings.port + 1,
            host: settings.as_host.clone(),
            mtls_host: settings.mtls_host.clone(),
            identity,
            ca_pem: client_ca.clone(),
            ..AsConfig::for_alias(&pki, vec![registration], &settings.alias)
        },
        api: ApiConfig {
            bind: settings.bind,
            port: settings.port + 2,
            host: settings.api_host.clone(),
            identity: pki.issue_server(&[settings.api_host.as_str()])?,
            ca_pem: client_ca,
            ..ApiConfig::new(&pki)
        },
        audit: attach.audit.clone(),
        restart: attach.restart.clone().map(Hook::Command),
    };
    let (as_port, audit) = (settings.port, attach.audit.clone());
    let world = World::attach(pki, elsewhere).await.map_err(|fault| TargetFault::Harness {
        ports: format!("{as_port}, {} and {}", as_port + 1, as_port + 2),
        why: fault.to_string(),
    })?;
    world.meet().await?;
    // The login just made must be in it.
    if let Some(path) = audit.filter(|path| fs::metadata(path).is_ok_and(|file| file.len() == 0)) {
        return Err(TargetFault::Silent(path).into());
    }
    Ok(world)
}

/// Most bytes of a key set.
const KEYS_LIMIT: usize = 1024 * 1024;

/// The client's public keys, as the target publishes them.
async fn keys(http: &reqwest::Client, origin: &str) -> Result<Value, TargetFault> {
    let url = format!("{origin}/bff/jwks");
    let unusable = |why: String| TargetFault::Unusable { url: url.clone(), why };
    let answer = http.get(&url).send().await.map_err(|error| {
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        unusable(format!("no answer: {}", causes.join(": ")))
    })?;
    if !answer.status().is_success() {
        return Err(unusable(format!("answered with {}", answer.status())));
    }
    let body = crate::demo::browser::read_body(answer, KEYS_LIMIT).await.map_err(unusable)?;
    let jwks: Value =
        serde_json::from_slice(&body).map_err(|_| unusable("its key set is no JSON".to_owned()))?;
    match jwks.get("keys").and_then(Value::as_array) {
        Some(keys) if !keys.is_empty() => Ok(jwks),
        _ => Err(unusable("its key set is empty".to_owned())),
    }
}
