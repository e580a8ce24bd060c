//! Owns the process: arguments in, exit code out. Must not know: anything that can be tested without it.

use std::{env, io, process::ExitCode};

use clap::Parser as _;
use fapi_bff::{
    cli::{self, Cli, Failure},
    clock::Ambient,
    config::Settings,
    server::{Options, Server},
    telemetry::init_logging,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap would exit with 2, which is kept for faults in the configuration.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    // Not `vars`, which panics on variables that are not Unicode, whosever they are.
    let environment = env::vars_os().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    });
    // The lock on standard output must end before serving begins: audit lines go there too.
    let prepared = cli::run(cli.command, environment, &Ambient::system(), &mut io::stdout().lock());
    let outcome = prepared.and_then(|settings| settings.map_or(Ok(()), serve));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let message = failure.to_string();
            if !message.is_empty() {
                eprintln!("{message}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Serves until told to stop.
fn serve(settings: Settings) -> Result<(), Failure> {
    let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    init_logging(&settings.log.level, settings.log.format).map_err(|error| other(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::start(settings, Options::default()).await.map_err(|e| other(&e))?;
        Ok(server.serve_until_signalled().await?)
    })
}
