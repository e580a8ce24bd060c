//! `oidf config` and `oidf run` as an operator types them. It must not know how a report is written.

use std::{
    fs,
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use fapi_bff::config::{self, AuditSink, Faults, Settings};
use serde_json::Value;
use url::Url;

use super::{
    drive::{self, DriveFault, OnProgress, Progress},
    generate::{self, GenerateFault, PlanConfig},
    hook::Hook,
    http::{Trust, TrustFault},
};
use crate::suite::verdict::PlanReport;

/// The OpenID Foundation's own suite.
#[derive(Debug, Subcommand)]
pub enum Oidf {
    /// Write the suite's plan configuration for a BFF's configuration
    Config(ConfigArgs),
    /// Play a plan of a running suite against a running BFF
    Run(Box<RunArgs>),
}

/// Whose configuration it is.
#[derive(Clone, Debug, Args)]
pub struct BffArgs {
    /// The BFF's configuration file; its overrides in the environment count, too
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The app; needed if there are several
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// The client, to make sure that it is the app's
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,
    /// What the suite's lists call the plan
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Seconds of silence that the suite takes for a refusal
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub wait_timeout: u32,
    /// Let the suite make a PS256 key for every module, instead of one key here
    #[arg(long)]
    pub no_server_key: bool,
}

/// Arguments of `oidf config`.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Whose.
    #[command(flatten)]
    pub bff: BffArgs,
    /// Where the plan configuration goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `oidf run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Against whom.
    #[command(flatten)]
    pub bff: BffArgs,
    /// A plan configuration instead of a generated one
    #[arg(long, value_name = "FILE")]
    pub plan_config: Option<PathBuf>,
    /// The suite's address [default: from the issuer]
    #[arg(long, value_name = "URL")]
    pub suite: Option<Url>,
    /// File with an API token of the suite, which needs none in dev mode
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate authorities (PEM) that vouch for the suite or the BFF, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Vec<PathBuf>,
    /// Trust the system's authorities, too
    #[arg(long)]
    pub system_roots: bool,
    /// Address of a host name, such as bff.test=127.0.0.1
    #[arg(long, value_name = "HOST=IP", value_parser = host_and_address)]
    pub resolve: Vec<(String, IpAddr)>,
    /// The BFF's path that leads to the accounts endpoint [default: from the routes]
    #[arg(long, value_name = "PATH")]
    pub api_path: Option<String>,
    /// Command before each login, to restart the BFF; sees MODULE, ISSUER and ALIAS
    #[arg(long, value_name = "COMMAND")]
    pub before_module: Option<String>,
    /// Command as soon as a module has ended
    #[arg(long, value_name = "COMMAND")]
    pub after_module: Option<String>,
    /// Only modules whose id ends so
    #[arg(long = "module", value_name = "END")]
    pub modules: Vec<String>,
    /// Seconds a module may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub time_limit: u32,
    /// Seconds the BFF may take to answer after --before-module
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub bff_limit: u32,
    /// The BFF's audit file, for the reason codes [default: from its configuration]
    #[arg(long, value_name = "FILE")]
    pub audit_file: Option<PathBuf>,
    /// Where the suite's export of the plan goes (ZIP)
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// Where our own report goes.
    #[command(flatten)]
    pub(crate) outputs: crate::cli::Outputs,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum OidfFault {
    /// The BFF's configuration is wrong.
    #[error("{0}")]
    Configuration(#[from] Faults),
    /// It cannot be told to the suite.
    #[error(transparent)]
    Generate(#[from] GenerateFault),
    /// There is no HTTP client.
    #[error(transparent)]
    Trust(#[from] TrustFault),
    /// The run failed.
    #[error(transparent)]
    Drive(#[from] DriveFault),
    /// A file.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No route leads to the accounts endpoint.
    #[error(
        "no route leads to the suite's accounts endpoint: add one, or name the path with --api-path"
    )]
    NoApiPath,
    /// The plan configuration is another alias's.
    #[error("{}: its alias is not {alias}, which the BFF's issuer names", path.display())]
    OtherAlias {
        /// The file.
        path: PathBuf,
        /// The alias in the issuer.
        alias: String,
    },
    /// Standard output is closed.
    #[error("nothing can be written: {0}")]
    Output(#[from] io::Error),
}

pub(crate) fn host_and_address(text: &str) -> Result<(String, IpAddr), String> {
    let (host, address) = text.split_once('=').ok_or("write HOST=IP")?;
    let address = address.parse().map_err(|_| "what follows = is no IP address")?;
    Ok((host.to_owned(), address))
}

impl BffArgs {
    fn plan(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Settings, PlanConfig), OidfFault> {
        let settings = config::load(&self.config, environment)?;
        let options = generate::Options {
            app: self.app.clone(),
            client: self.client.clone(),
            description: self.description.clone(),
            wait_timeout_seconds: self.wait_timeout,
            server_key: !self.no_server_key,
        };
        let plan = generate::plan_config(&settings, &options)?;
        Ok((settings, plan))
    }
}

/// Writes the plan configuration; plan, variant and remarks go to `notes`.
pub fn config(
    args: &ConfigArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), OidfFault> {
    let (_, plan) = args.bff.plan(environment)?;
    let text = format!("{:#}\n", plan.config);
    match &args.out {
        Some(path) => write_private(path, &text, args.force)?,
        None => out.write_all(text.as_bytes())?,
    }
    let variant = Value::from_iter(plan.variant);
    writeln!(notes, "plan     {}\nvariant  {variant}", plan.plan)?;
    for remark in &plan.remarks {
        writeln!(notes, "remark   {remark}")?;
    }
    Ok(())
}

/// The mock server's key is worth little, but it is a private key.
fn write_private(path: &Path, text: &str, force: bool) -> Result<(), OidfFault> {
    let fault = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::AlreadyExists => "exists; --force overwrites it".to_owned(),
            _ => error.to_string(),
        };
        OidfFault::File { path: path.to_owned(), why }
    };
    if force && path.exists() {
        fs::remove_file(path).map_err(fault)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(fault)
}

/// Plays the plan.
pub async fn run(
    args: &RunArgs,
    environment: impl IntoIterator<Item = (String, String)>,
    progress: OnProgress<'_>,
) -> Result<PlanReport, OidfFault> {
    let options = options(args, environment)?;
    for remark in &options.plan.remarks {
        progress(Progress::Remark(remark));
    }
    if options.before_module.is_none() {
        progress(Progress::Remark(
            "without --before-module a BFF keeps the metadata of one module for the next: \
             discovery-issuer-mismatch cannot pass",
        ));
    }
    Ok(drive::run(&options, progress).await?)
}

fn options(
    args: &RunArgs,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<drive::Options, OidfFault> {
    let (settings, mut plan) = args.bff.plan(environment)?;
    if let Some(path) = &args.plan_config {
        let generated = plan.config;
        plan.config = serde_json::from_slice(&read(path)?)
            .map_err(|error| OidfFault::File { path: path.clone(), why: error.to_string() })?;
        if plan.config.get("client") != generated.get("client") {
            plan.remarks.push(format!(
                "{}: its client is not what the BFF's configuration yields now; generate it anew \
                 unless that is meant",
                path.display()
            ));
        }
        if plan.config.get("alias").and_then(Value::as_str) != Some(&plan.alias) {
            return Err(OidfFault::OtherAlias { path: path.clone(), alias: plan.alias });
        }
    }
    let token = args.token_file.as_deref().map(read).transpose()?;
    let roots = args.ca.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let system = args.system_roots || roots.is_empty();
    let trust = Trust { roots, system, resolve: args.resolve.clone() };
    let audit_file = args.audit_file.clone().or_else(|| match &settings.log.audit {
        AuditSink::File(path) => Some(path.clone()),
        AuditSink::Stdout => None,
    });
    let hook = |command: &Option<String>| command.clone().map(Hook::Command);
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let api_path = args.api_path.clone().or_else(|| plan.api_path.clone());
    Ok(drive::Options {
        suite: args.suite.clone().unwrap_or_else(|| plan.suite.clone()),
        http: trust.client()?,
        token: token.map(|token| String::from_utf8_lossy(&token).trim().to_owned()),
        api_path: api_path.ok_or(OidfFault::NoApiPath)?,
        plan,
        only: args.modules.clone(),
        before_module: hook(&args.before_module),
        after_module: hook(&args.after_module),
        module_limit: seconds(args.time_limit),
        bff_limit: seconds(args.bff_limit),
        audit_file,
        export: args.export.clone(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, OidfFault> {
    fs::read(path)
        .map_err(|error| OidfFault::File { path: path.to_owned(), why: error.to_string() })
}
