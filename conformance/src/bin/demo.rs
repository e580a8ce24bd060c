//! `cargo demo`: the whole thing on this machine, for a browser (or, with `--check`, for a script).
//! It must not know how anything is wired; see `demo::world`.

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;
use fapi_bff::telemetry::{LogFormat, init_logging};
use fapi_bff_conformance::{
    as_double::{Event, Interaction, OnEvent},
    demo::{
        check,
        ports::Ports,
        world::{Plan, World, WorldFault, repository},
    },
};

/// A bank's single-page app behind fapi-bff, with an authorization server and an API of its own.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", disable_version_flag = true)]
struct Arguments {
    /// Walk through everything as a script, on free ports, and exit
    #[arg(long)]
    check: bool,
    /// Port of the BFF, where the browser goes [default: 8443]
    #[arg(long)]
    port: Option<u16>,
    /// Port of the authorization server [default: 9443]
    #[arg(long)]
    as_port: Option<u16>,
    /// Port of the authorization server's mutual TLS [default: 9444]
    #[arg(long)]
    mtls_port: Option<u16>,
    /// Port of the sample API [default: 9445]
    #[arg(long)]
    api_port: Option<u16>,
    /// Port of the sample page [default: 9446]
    #[arg(long)]
    page_port: Option<u16>,
    /// Port of metrics and health [default: 9090]
    #[arg(long)]
    admin_port: Option<u16>,
}

impl Arguments {
    fn ports(&self) -> Ports {
        let default = if self.check { Ports::ANY } else { Ports::CONFIGURED };
        Ports {
            bff: self.port.unwrap_or(default.bff),
            authorization_server: self.as_port.unwrap_or(default.authorization_server),
            mtls: self.mtls_port.unwrap_or(default.mtls),
            api: self.api_port.unwrap_or(default.api),
            page: self.page_port.unwrap_or(default.page),
            admin: self.admin_port.unwrap_or(default.admin),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = if arguments.check { check(&arguments).await } else { serve(&arguments).await };
    outcome.unwrap_or_else(|fault| {
        eprintln!("cargo demo: {fault}");
        ExitCode::FAILURE
    })
}

/// The BFF's own log, to standard error.
fn log(level: &str, format: LogFormat) {
    if let Err(fault) = init_logging(level, format) {
        eprintln!("cargo demo: no log: {fault}");
    }
}

/// Silent but for the steps; `RUST_LOG=debug` shows the BFF's log as well.
async fn check(arguments: &Arguments) -> Result<ExitCode, WorldFault> {
    if let Ok(level) = env::var("RUST_LOG") {
        log(&level, LogFormat::Text);
    }
    let scratch =
        tempfile::tempdir().map_err(|source| WorldFault::File { path: env::temp_dir(), source })?;
    let world = World::start(Plan {
        root: repository(),
        ports: arguments.ports(),
        interaction: Interaction::Auto,
        scratch: Some(scratch.path().to_owned()),
        environment: Vec::new(),
        on_event: None,
    })
    .await?;
    let outcome = check::run(&world, &mut io::stdout()).await;
    world.shutdown().await;
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn serve(arguments: &Arguments) -> Result<ExitCode, WorldFault> {
    // The configuration's own overrides work here too: FAPI_BFF__APPS__WEB__SESSION__IDLE=1m cargo demo
    let environment = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let world = World::start(Plan {
        root: repository(),
        ports: arguments.ports(),
        interaction: Interaction::Page,
        scratch: None,
        environment: environment.collect(),
        on_event: Some(narrator()),
    })
    .await?;
    log(&world.settings.log.level, world.settings.log.format);
    print_welcome(&world)?;
    world.wait().await.map_err(WorldFault::Signals)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what the authorization server and the API are asked, which no browser can show.
fn narrator() -> OnEvent {
    Arc::new(|event: &Event| {
        let certificate =
            if event.peer_thumbprint.is_some() { ", client certificate shown" } else { "" };
        let reason = event.reason.as_deref().map(|reason| format!(", refused: {reason}"));
        let _ = writeln!(
            io::stdout(),
            "  {:<18} {:<4} {} -> {}{certificate}{}",
            event.endpoint.name(),
            event.method,
            event.path,
            event.status,
            reason.unwrap_or_default()
        );
    })
}

fn print_welcome(world: &World) -> Result<(), WorldFault> {
    let origin = &world.app()?.origin;
    let issuer = world.authorization_server.issuer();
    let admin = world.bff.admin_addr();
    let root = repository();
    let current = env::current_dir().unwrap_or_default();
    let shown = |path: &Path| {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        path.strip_prefix(&current).unwrap_or(&path).display().to_string()
    };
    let audit = world.audit_file().map_or_else(|| "standard output".to_owned(), shown);
    let _ = writeln!(
        io::stdout(),
        "\n  Open   {origin}/\n
  Try    log in as Alice, call the accounts API, make a payment, log out
         look at what the browser holds: one cookie that no script can read, no token
         curl http://{admin}/metrics      metrics; /healthz and /readyz are there too
         tail -f {audit}      the audit log: who did what, without a single secret

  The browser does not know the certificates of app.localhost and as.localhost and warns once for
  each; go on, or trust {ca} first (how: certs/README.md).

  The app's configuration is {configuration}; the authorization server is
  {issuer}. What it and the API are asked appears below. Ctrl-C ends.\n",
        ca = shown(&root.join("certs/ca.pem")),
        configuration = shown(&root.join("conformance/demo/fapi-bff.toml")),
    );
    Ok(())
}
