//! Owns the commands as the operator types them, and what each prints.
//! Must not know: OAuth; `serve` only gets as far as sound settings here.

mod check;
mod keys;
mod sessions;
mod store;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;

pub use check::{
    AppSummary, CertificateSummary, ClientSummary, KeySummary, SessionSummary, Summary, inspect,
};

use crate::{
    clock::Ambient,
    config::{self, Faults, Settings},
};

/// Backend for Frontend: FAPI 2.0 Message Signing, or another profile for each client.
#[derive(Debug, Parser)]
#[command(name = "fapi-bff", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until told to stop.
    Serve(ConfigArgument),
    /// Check the configuration and every file it names, offline, and print what to register.
    Check {
        /// The configuration.
        #[command(flatten)]
        config: ConfigArgument,
        /// How to print the result.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Make and show keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Prepare the session store.
    #[command(subcommand)]
    Store(store::Store),
    /// List and end sessions of the running server.
    #[command(subcommand)]
    Sessions(sessions::Sessions),
}

/// Names the configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigArgument {
    /// The TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// How to print a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// One JSON object, for programs.
    Json,
    /// For people.
    Text,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is not usable.
    Configuration(Faults),
    /// Anything else, in words.
    Other(String),
    /// The command has printed why itself.
    Reported,
}

impl Failure {
    /// The process's exit code: 2 for a configuration fault, 1 for all else.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Reported => 2,
            Self::Other(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(faults) => faults.fmt(f),
            Self::Other(message) => f.write_str(message),
            Self::Reported => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Configuration(faults)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// Runs `check`, `keys`, `sessions` or `store`; `serve` returns the settings to serve with.
pub fn run(
    command: Command,
    environment: impl IntoIterator<Item = (String, String)>,
    ambient: &Ambient,
    out: &mut impl Write,
) -> Result<Option<Settings>, Failure> {
    let command = match command {
        Command::Sessions(command) => {
            sessions::run(command, environment, out)?;
            return Ok(None);
        }
        command => command,
    };
    let load = |config: &ConfigArgument| -> Result<(Settings, Summary), Faults> {
        let settings = config::load(&config.config, environment)?;
        let summary = inspect(&settings, &config.config, ambient.now())?;
        Ok((settings, summary))
    };
    match command {
        Command::Serve(config) => return Ok(Some(load(&config)?.0)),
        Command::Check { config, format: Format::Text } => write!(out, "{}", load(&config)?.1)?,
        Command::Check { config, format: Format::Json } => {
            let result = load(&config);
            let report = match &result {
                Ok((_, Summary { apps, clients, session_administration, server_keys, notes })) => {
                    json!({
                        "ok": true, "apps": apps, "clients": clients, "server_keys": server_keys,
                        "session_administration": session_administration, "notes": notes
                    })
                }
                Err(faults) => json!({ "ok": false, "faults": faults }),
            };
            writeln!(out, "{report:#}")?;
            result.map_err(|_| Failure::Reported)?;
        }
        Command::Keys(keys::Keys::Public { config, client }) => {
            let (settings, _) = load(&config)?;
            writeln!(out, "{:#}", keys::public(&settings, client.as_deref())?)?;
        }
        Command::Keys(command) => keys::make(&command, ambient, out)?,
        Command::Store(store::Store::Migrate(config)) => {
            let (settings, _) = load(&config)?;
            writeln!(out, "{}", store::migrate(&settings.store.place)?)?;
        }
        // Run above.
        Command::Sessions(_) => {}
    }
    Ok(None)
}
