//! `cargo conformance` as one types it: arguments in, exit code out. It must not know how anything is
//! tested or written.

mod list;
mod requirements;
mod run;
mod select;
mod target;
mod weaken;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    oidf::cli::Oidf,
    suite::report::{Report, one_line},
};

/// Everything asked for held.
const HELD: u8 = 0;
/// Something did not hold.
const FAILED: u8 = 1;
/// The question was wrong, or could not be put.
const UNUSABLE: u8 = 2;

/// Plays the conformance plans for clients against fapi-bff.
///
/// Without a command: every plan that the product supports, against BFFs in this process.
#[derive(Debug, Parser)]
#[command(name = "cargo conformance", version)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play plans, all or some (the same as without a command)
    Run(Box<run::RunArgs>),
    /// List plans, variants and modules
    List(list::ListArgs),
    /// Make the keys and the configuration with which a BFF elsewhere is tested
    Prepare(target::PrepareArgs),
    /// Write a report again in other forms, from its JSON
    Report(ReportArgs),
    /// The requirements matrix: every clause, and what proves it
    Requirements(requirements::RequirementsArgs),
    /// Prove that modules notice: take security checks out of a copy of the source, one at a time
    Weaken(weaken::WeakenArgs),
    /// The OpenID Foundation's own suite: plan configuration, unattended runs
    #[command(subcommand)]
    Oidf(Oidf),
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// The JSON report
    #[arg(value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    to: Outputs,
}

/// Where reports go.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Outputs {
    /// Directory for all forms: report.html, report.json, report.xml
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// One self-contained HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// JSON, from which the other forms can be made again
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl Outputs {
    fn html(&self) -> Option<PathBuf> {
        self.html.clone().or_else(|| self.report.as_ref().map(|dir| dir.join("report.html")))
    }

    fn json(&self) -> Option<PathBuf> {
        self.json.clone().or_else(|| self.report.as_ref().map(|dir| dir.join("report.json")))
    }

    fn junit(&self) -> Option<PathBuf> {
        self.junit.clone().or_else(|| self.report.as_ref().map(|dir| dir.join("report.xml")))
    }

    /// Makes sure that every form can be written, before there is anything to lose.
    fn open(&self) -> Result<(), Fault> {
        for path in [self.html(), self.json(), self.junit()].into_iter().flatten() {
            write_file(&path, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Writes every form that was asked for.
    fn write(&self, report: &Report) -> Result<(), Fault> {
        use crate::suite::report::{html, json, junit};
        if let Some(path) = self.json() {
            write_file(&path, |file| json::write(report, file))?;
        }
        if let Some(path) = self.junit() {
            write_file(&path, |file| junit::write(report, file))?;
        }
        if let Some(path) = self.html() {
            let page = html::page(report);
            write_file(&path, |mut file| file.write_all(page.as_bytes()))?;
        }
        Ok(())
    }
}

fn write_file(
    path: &Path,
    write: impl FnOnce(io::BufWriter<std::fs::File>) -> io::Result<()>,
) -> Result<(), Fault> {
    let fault = |source| Fault::File { path: path.to_owned(), source };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(fault)?;
    }
    let file = std::fs::File::create(path).map_err(fault)?;
    write(io::BufWriter::new(file)).map_err(fault)
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A report that cannot be read.
    #[error("{}: {source}", path.display())]
    Report {
        /// Which.
        path: PathBuf,
        /// Why.
        source: crate::suite::report::json::ReadError,
    },
    /// What was asked for is not there.
    #[error(transparent)]
    Select(#[from] select::Nothing),
    /// Keys and certificates.
    #[error("keys and certificates: {0}")]
    Pki(#[from] crate::pki::PkiError),
    /// The BFF elsewhere.
    #[error(transparent)]
    Target(#[from] target::TargetFault),
    /// The harness's own servers.
    #[error(transparent)]
    World(#[from] crate::suite::world::WorldFault),
    /// The requirements matrix.
    #[error("the requirements matrix: {0}")]
    Matrix(#[from] crate::suite::requirements::MatrixError),
    /// Weakened copies.
    #[error(transparent)]
    Weaken(#[from] crate::weaken::WeakenFault),
    /// The official suite.
    #[error(transparent)]
    Oidf(#[from] crate::oidf::cli::OidfFault),
    /// Standard output.
    #[error("nothing can be written: {0}")]
    Output(#[from] io::Error),
}

/// Reads the arguments, does what they say, answers the exit code: 0 if everything held, 1 if
/// something did not, 2 if it could not be done.
pub async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        None => run::run(&arguments.run).await,
        Some(Command::Run(args)) => run::run(&args).await,
        Some(Command::List(args)) => list::list(&args),
        Some(Command::Prepare(args)) => target::prepare(&args),
        Some(Command::Report(args)) => report(&args),
        Some(Command::Requirements(args)) => requirements::requirements(&args),
        Some(Command::Weaken(args)) => weaken::weaken(&args).await,
        Some(Command::Oidf(Oidf::Config(args))) => {
            crate::oidf::cli::config(&args, environment(), &mut io::stdout(), &mut io::stderr())
                .map(|()| HELD)
                .map_err(Fault::from)
        }
        Some(Command::Oidf(Oidf::Run(args))) => run::oidf(&args).await,
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        // Whoever stops reading (`| head`) has seen enough.
        Err(Fault::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(FAILED)
        }
        Err(fault) => {
            say(&format!("cargo conformance: {fault}"));
            ExitCode::from(UNUSABLE)
        }
    }
}

/// A message for people, in which nothing that came from elsewhere can steer the terminal.
fn say(message: &str) {
    for line in message.lines() {
        eprintln!("{}", one_line(line, false));
    }
}

fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn report(args: &ReportArgs) -> Result<u8, Fault> {
    let file = std::fs::File::open(&args.from)
        .map_err(|source| Fault::File { path: args.from.clone(), source })?;
    let report = crate::suite::report::json::read(io::BufReader::new(file))
        .map_err(|source| Fault::Report { path: args.from.clone(), source })?;
    run::show(&report, &args.to)
}
