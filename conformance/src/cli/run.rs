//! `cargo conformance run`: plays, shows, writes. It must not know how a module is played.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use fapi_bff::telemetry::{LogFormat, init_logging};
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::{
    FAILED, Fault, HELD, Outputs, UNUSABLE, environment, say,
    select::{Wish, plans, select},
    target,
};
use crate::{
    oidf::drive::Progress as Driving,
    pki::Pki,
    suite::{
        plan::{Plan, Variant},
        report::{
            Report,
            terminal::{Progress, Style, table},
        },
        requirements::{Matrix, coverage},
        runner::{self, Chosen, Options, Tick},
        stage::LoginMode,
        verdict::{PlanReport, Verdict},
        world::CLIENT_ID,
    },
    wall_clock,
};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Only plans whose id contains this; can be given several times
    #[arg(long, value_name = "ID")]
    plan: Vec<String>,
    /// Only variants with this parameter, as NAME=VALUE, or several as JSON
    #[arg(long, value_name = "NAME=VALUE", value_parser = variant)]
    variant: Vec<Variant>,
    /// Only modules whose id contains this; can be given several times
    #[arg(long, value_name = "ID")]
    module: Vec<String>,
    /// Each module once, in the first variant that has it
    #[arg(long)]
    once: bool,
    /// A BFF that already runs, by its app's origin; `prepare` says how it is set up
    #[arg(long, value_name = "URL", requires = "dir", value_parser = target::origin)]
    target: Option<Url>,
    /// The directory that `prepare` made; the BFF it was made for is tested
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The target's audit file, for the reason codes
    #[arg(long, value_name = "FILE", requires = "dir")]
    audit: Option<PathBuf>,
    /// Command that restarts the target; sees MODULE, ISSUER and ALIAS
    #[arg(long, value_name = "COMMAND", requires = "dir")]
    restart: Option<String>,
    /// Certificate authority (PEM) that vouches for the target, besides the harness's own
    #[arg(long, value_name = "FILE", requires = "dir")]
    ca: Vec<PathBuf>,
    /// Address of a host name, such as bff.test=127.0.0.1
    #[arg(long, value_name = "HOST=IP", requires = "dir", value_parser = crate::oidf::cli::host_and_address)]
    resolve: Vec<(String, IpAddr)>,
    /// Modules at a time; one, against a target
    #[arg(long, value_name = "NUMBER", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Seconds of silence that count as having stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    wait: f64,
    /// How browsers log in
    #[arg(long, value_enum, default_value_t = Login::Script)]
    login: Login,
    /// Order in which modules are started: 0 is the plans' own, another number shuffles them
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Fail on warnings and on what a person must look at, too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    outputs: Outputs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Login {
    /// The app's script starts and ends the login
    Script,
    /// The browser navigates to the BFF and is sent back
    Navigation,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds")?;
    if (0.1..=300.0).contains(&seconds) { Ok(seconds) } else { Err("0.1 to 300".to_owned()) }
}

fn variant(text: &str) -> Result<Variant, String> {
    if text.starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE or a JSON object")?;
    Ok(Variant::from([(name.to_owned(), value.to_owned())]))
}

/// Plays what was asked for.
pub(super) async fn run(args: &RunArgs) -> Result<u8, Fault> {
    if let Ok(level) = std::env::var("RUST_LOG")
        && let Err(fault) = init_logging(&level, LogFormat::Text)
    {
        eprintln!("cargo conformance: no log: {fault}");
    }
    let wish = Wish {
        plans: args.plan.clone(),
        variant: args.variant.iter().flatten().map(|(n, v)| (n.clone(), v.clone())).collect(),
        modules: args.module.clone(),
        once: args.once,
        prepared: args.dir.is_some(),
    };
    let chosen = select(&plans(), &wish)?;
    let options = Options {
        jobs: args.jobs.into(),
        wait: Duration::from_secs_f64(args.wait),
        mode: match args.login {
            Login::Script => LoginMode::Script,
            Login::Navigation => LoginMode::Navigation,
        },
        seed: args.seed,
        ..Options::default()
    };
    args.outputs.open()?;
    let world = match &args.dir {
        Some(dir) => Some(
            target::attach(&target::Attach {
                url: args.target.as_ref(),
                dir,
                audit: args.audit.clone(),
                restart: args.restart.clone(),
                ca: &args.ca,
                resolve: &args.resolve,
            })
            .await?,
        ),
        None => None,
    };
    let address = world.as_ref().map(|world| world.origin.clone());
    let ready =
        chosen.iter().flat_map(|choice| &choice.entries).filter(|entry| entry.is_ready()).count();
    let jobs = if world.is_some() { 1 } else { options.jobs };
    let progress = Progress::new(ready).expecting(args.wait + 1.0).parallel(jobs);
    let mut tell = |tick: Tick<'_>| match tick {
        Tick::Started(id) => progress.started(id),
        Tick::Finished(report) => {
            progress.finished(&report.id, report.verdict, report.seconds);
        }
    };
    let (began, started_at) = (Instant::now(), now());
    let elsewhere = world.is_some();
    let plans = if let Some(world) = world {
        runner::run_elsewhere(world, &chosen, &options, &mut tell).await?
    } else {
        let pki = Arc::new(Pki::generate(CLIENT_ID)?);
        runner::run(&pki, &chosen, &options, &mut tell).await
    };
    progress.clear();
    let target = address.unwrap_or_else(|| "in process".to_owned());
    let mut report = report(plans, &target, &started_at, began)?;
    report.seed = args.seed;
    report.options = said(args, &wish);
    report.target_version = (!elsewhere).then(version);
    report.remarks = remarks(&chosen, elsewhere, args);
    if !wish.is_everything() {
        report
            .remarks
            .push("Only what was chosen was played; nothing follows for the rest.".to_owned());
        // What a selection leaves open says nothing.
        report.coverage = None;
    }
    let code = show(&report, &args.outputs)?;
    let strict = args.strict && report.tally().verdict() > Verdict::NotYetSupported;
    Ok(if strict && code == HELD { FAILED } else { code })
}

/// Plays a plan of the official suite.
pub(super) async fn oidf(args: &crate::oidf::cli::RunArgs) -> Result<u8, Fault> {
    args.outputs.open()?;
    let (began, started_at) = (Instant::now(), now());
    let mut tell = |progress: Driving<'_>| match progress {
        Driving::PlanCreated { id, modules } => say(&format!("plan {id}: {modules} modules")),
        Driving::ModuleStarted { id, page } => say(&format!("{id}  {page}")),
        Driving::ModuleEnded(report) => say(&format!("  {}", report.verdict)),
        Driving::Remark(remark) => say(&format!("remark: {remark}")),
    };
    let plan = crate::oidf::cli::run(args, environment(), &mut tell).await?;
    let report = report(vec![plan], "the official suite", &started_at, began)?;
    show(&report, &args.outputs)
}

/// What the run was asked for, so that the report alone says what it stands for.
fn said(args: &RunArgs, wish: &Wish) -> BTreeMap<String, String> {
    let login = match args.login {
        Login::Script => "script",
        Login::Navigation => "navigation",
    };
    let chosen = if wish.is_everything() { "everything" } else { "a selection" };
    let jobs = if args.dir.is_some() { 1 } else { args.jobs };
    let options = [
        ("modules", chosen.to_owned()),
        ("wait", format!("{} s", args.wait)),
        ("login", login.to_owned()),
        ("modules at a time", jobs.to_string()),
        ("each module", if args.once { "once".to_owned() } else { String::new() }),
        ("plans", wish.plans.join(", ")),
        ("module ids", wish.modules.join(", ")),
        (
            "variant",
            wish.variant.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(", "),
        ),
    ];
    options
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The product's version, and the revision of the sources it was built from, where they are at hand.
fn version() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .args(["-C", env!("CARGO_MANIFEST_DIR")])
            .args(arguments)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let version = env!("CARGO_PKG_VERSION");
    match git(&["rev-parse", "--short=12", "HEAD"]) {
        Some(revision) => {
            let changed = git(&["status", "--porcelain"]).is_none_or(|files| !files.is_empty());
            format!("{version} ({revision}{})", if changed { ", with changes" } else { "" })
        }
        None => version.to_owned(),
    }
}

fn now() -> String {
    wall_clock().format(&Rfc3339).unwrap_or_default()
}

fn report(
    plans: Vec<PlanReport>,
    target: &str,
    started_at: &str,
    began: Instant,
) -> Result<Report, Fault> {
    let coverage = coverage(&Matrix::load()?, &plans);
    Ok(Report {
        v: Report::VERSION,
        harness: env!("CARGO_PKG_VERSION").to_owned(),
        target: target.to_owned(),
        target_version: None,
        started_at: started_at.to_owned(),
        seconds: began.elapsed().as_secs_f64(),
        seed: 0,
        options: BTreeMap::new(),
        remarks: Vec::new(),
        plans,
        coverage: Some(coverage),
    })
}

/// How many variants of the plans chosen can be played and are not, by default.
fn left_out(chosen: &[Chosen]) -> usize {
    let plans = plans();
    let chosen = plans.iter().filter(|plan| chosen.iter().any(|choice| choice.id == plan.id));
    let left = |plan: &Plan| {
        let variants = plan.variants().into_iter();
        variants.filter(|v| plan.is_supported(v) && !(plan.by_default)(v)).count()
    };
    chosen.map(left).sum()
}

fn remarks(chosen: &[Chosen], elsewhere: bool, args: &RunArgs) -> Vec<String> {
    let mut remarks = Vec::new();
    if chosen.iter().flat_map(|choice| &choice.entries).any(|entry| !entry.is_ready()) {
        remarks.push(
            "Modules marked not yet supported need what the product, or where it says so this \
             harness, does not have. They are listed so that nothing is missing, and never count \
             as passed."
                .to_owned(),
        );
    }
    let left_out = left_out(chosen);
    if args.variant.is_empty() && !args.once && left_out > 0 {
        remarks.push(format!(
            "{left_out} more variants of these plans can be played, and differ from those here in \
             one parameter: ask for them with --variant."
        ));
    }
    if elsewhere && args.audit.is_none() {
        remarks.push(
            "The target's audit stream was not read: where a client had to stop, that it stopped \
             for the right reason is for a person to see."
                .to_owned(),
        );
    }
    remarks
}

/// Prints the table, writes the reports, answers the exit code.
pub(super) fn show(report: &Report, outputs: &Outputs) -> Result<u8, Fault> {
    let stdout = io::stdout();
    let page = outputs.html().map(|path| path.display().to_string());
    let style = Style { page, ..Style::of(&stdout) };
    let mut out = stdout.lock();
    writeln!(out, "{}", table(report, style).trim_end())?;
    outputs.write(report)?;
    if let Some(path) = outputs.html() {
        writeln!(out, "\nreport: {}", path.display())?;
    }
    let tally = report.tally();
    Ok(if tally.failed > 0 {
        FAILED
    } else if tally.tested() == 0 {
        UNUSABLE
    } else {
        HELD
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_a_pair_or_json() {
        let pair = variant("sender_constrain=mtls").unwrap();
        assert_eq!(pair, variant(r#"{"sender_constrain":"mtls"}"#).unwrap());
        for wrong in ["mtls", "{", r#"{"a":1}"#] {
            assert!(variant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn waiting_has_bounds() {
        assert!(seconds("0").is_err() && seconds("301").is_err() && seconds("x").is_err());
        assert!(seconds("0.1").is_ok() && seconds("300").is_ok() && seconds("NaN").is_err());
    }
}
