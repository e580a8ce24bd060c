//! One run: the unweakened copy first, then each weakening applied, built, played, judged and taken
//! back. It must not know what is weakened nor how it is shown.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use tokio::process::Command;

use super::{
    CONTROL, Finding, Outcome, WeakenFault, Weakening,
    judge::{judge, unfit},
    list::Changed,
    work::Work,
};
use crate::suite::report::{Report, json};

/// Longest a run of modules may take; each has a limit of its own that is shorter.
const LIMIT: Duration = Duration::from_secs(600);
/// Most lines of a compiler's words.
const LINES: usize = 40;

/// What is to be done, and where.
#[derive(Clone, Debug)]
pub struct Errand {
    /// The repository.
    pub root: PathBuf,
    /// The folder for the copy.
    pub work: PathBuf,
    /// The folder in which dependencies were built already, such as `target/debug`.
    pub built: PathBuf,
    /// Whether the folder stays afterwards.
    pub keep: bool,
    /// Modules at a time.
    pub jobs: usize,
    /// What is to be tried.
    pub weakenings: Vec<Weakening>,
}

/// What a run says while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Tick<'a> {
    /// The unweakened copy is built.
    Building,
    /// So many modules are played against it.
    Playing(usize),
    /// The unweakened copy passes, after so many seconds.
    Ready(f64),
    /// A weakening begins: its place, counted from one.
    Trying(usize, &'a Weakening),
    /// All findings so far; the last is new.
    Tried(&'a [Finding]),
}

/// Who is told.
pub(super) type Tell<'a> = dyn for<'b> FnMut(Tick<'b>) + Send + 'a;

/// Tries every weakening of the errand.
pub async fn run(errand: &Errand, tell: &mut Tell<'_>) -> Result<Vec<Finding>, WeakenFault> {
    let began = Instant::now();
    let work = Work::open(&errand.work)?;
    work.copy_source(&errand.root)?;
    work.take_dependencies(&errand.built)?;
    tell(Tick::Building);
    build(&work).await?.map_err(WeakenFault::Baseline)?;
    let modules = modules(&errand.weakenings);
    tell(Tick::Playing(modules.len()));
    prove_fit(&work, modules, errand.jobs).await?;
    tell(Tick::Ready(began.elapsed().as_secs_f64()));
    let mut findings = Vec::new();
    for (place, weakening) in errand.weakenings.iter().enumerate() {
        tell(Tick::Trying(place + 1, weakening));
        let began = Instant::now();
        let (outcome, note) = attempt(&work, weakening, errand.jobs).await?;
        findings.push(Finding {
            name: weakening.name.clone(),
            removes: weakening.removes.clone(),
            modules: weakening.modules.clone(),
            clauses: weakening.clauses.clone(),
            outcome,
            note,
            seconds: began.elapsed().as_secs_f64(),
        });
        tell(Tick::Tried(&findings));
    }
    if !errand.keep {
        work.remove()?;
    }
    Ok(findings)
}

/// Every module passes against the unweakened copy. What does not, many at a time, may try once more
/// alone: on a busy machine servers are too slow for one another.
async fn prove_fit(work: &Work, mut modules: Vec<String>, jobs: usize) -> Result<(), WeakenFault> {
    let mut reasons = String::new();
    for jobs in [jobs, 1] {
        let report = play(work, &modules, jobs).await?.map_err(WeakenFault::Void)?;
        let (ids, why): (Vec<_>, Vec<_>) = unfit(&report, &modules).into_iter().unzip();
        if ids.is_empty() {
            return Ok(());
        }
        (modules, reasons) = (ids, why.join("\n"));
    }
    Err(WeakenFault::Void(reasons))
}

/// Every module that must pass against the unweakened copy.
fn modules(weakenings: &[Weakening]) -> Vec<String> {
    let named = weakenings.iter().flat_map(|weakening| weakening.modules.iter().cloned());
    let all: BTreeSet<_> = named.chain([CONTROL.to_owned()]).collect();
    all.into_iter().collect()
}

/// One weakening, and the copy as it was.
async fn attempt(
    work: &Work,
    weakening: &Weakening,
    jobs: usize,
) -> Result<(Outcome, String), WeakenFault> {
    let tree = work.tree();
    let changed = match weakening.applied(&tree) {
        Ok(changed) => changed,
        Err(misfit) => return Ok((Outcome::NoLongerFits, misfit.to_string())),
    };
    write(&tree, &changed, |changed| &changed.after)?;
    let outcome = weakened(work, weakening, jobs).await;
    write(&tree, &changed, |changed| &changed.before)?;
    outcome
}

async fn weakened(
    work: &Work,
    weakening: &Weakening,
    jobs: usize,
) -> Result<(Outcome, String), WeakenFault> {
    if let Err(words) = build(work).await? {
        return Ok((Outcome::DoesNotBuild, words));
    }
    let modules = modules(std::slice::from_ref(weakening));
    let mut judged = (Outcome::Broken, String::new());
    for jobs in [jobs, 1] {
        judged = match play(work, &modules, jobs).await? {
            Ok(report) => judge(weakening, &report),
            Err(why) => (Outcome::Broken, why),
        };
        if judged.0 != Outcome::Broken {
            break;
        }
    }
    Ok(judged)
}

fn write(tree: &Path, changed: &[Changed], text: fn(&Changed) -> &str) -> Result<(), WeakenFault> {
    for change in changed {
        let path = tree.join(&change.file);
        fs::write(&path, text(change)).map_err(|source| WeakenFault::File { path, source })?;
    }
    Ok(())
}

/// Builds the harness of the copy, the product in it; what the compiler says if it cannot.
async fn build(work: &Work) -> Result<Result<(), String>, WeakenFault> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(&cargo);
    command
        .args(["build", "--quiet", "--offline", "--locked"])
        .args(["--package", "fapi-bff-conformance", "--bin", "conformance", "--target-dir"])
        .arg(work.build())
        .current_dir(work.tree())
        // Nobody debugs a weakened copy; without line tables it is linked sooner.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("CARGO_TARGET_DIR");
    let output = finished(&mut command, &cargo).await?;
    Ok(if output.status.success() { Ok(()) } else { Err(errors(&output.stderr)) })
}

/// Plays modules against the copy; why there is no report if there is none.
async fn play(
    work: &Work,
    modules: &[String],
    jobs: usize,
) -> Result<Result<Report, String>, WeakenFault> {
    let path = work.report();
    let stale = fs::remove_file(&path);
    if stale.is_err() && path.exists() {
        return Ok(Err(format!("{}: an old report is in the way", path.display())));
    }
    let program = work.build().join("debug/conformance");
    let mut command = Command::new(&program);
    command
        .arg("run")
        .args(modules.iter().flat_map(|module| ["--module", module]))
        .args(["--once", "--jobs", &jobs.max(1).to_string(), "--json"])
        .arg(&path)
        .env_remove("RUST_LOG");
    let Ok(output) = tokio::time::timeout(LIMIT, finished(&mut command, program.as_os_str())).await
    else {
        return Ok(Err("the run did not come to an end".to_owned()));
    };
    let output = output?;
    let Ok(file) = fs::File::open(&path) else {
        return Ok(Err(format!("the run left no report: {}", errors(&output.stderr))));
    };
    Ok(json::read(std::io::BufReader::new(file)).map_err(|error| error.to_string()))
}

/// Runs a program to its end; it ends with us.
async fn finished(command: &mut Command, name: &std::ffi::OsStr) -> Result<Output, WeakenFault> {
    command.stdin(Stdio::null()).kill_on_drop(true).output().await.map_err(|source| {
        WeakenFault::Program { program: name.to_string_lossy().into_owned(), source }
    })
}

/// From the first error on; warnings before it are of no interest.
fn errors(words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words);
    let lines: Vec<_> = words.lines().collect();
    let first = lines.iter().position(|line| line.starts_with("error")).unwrap_or_default();
    lines.into_iter().skip(first).take(LINES).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compilers_words_begin_with_its_first_error() {
        let words = "warning: unused\n --> a\nerror[E0308]: mismatched\n --> b\n";
        assert_eq!(errors(words.as_bytes()), "error[E0308]: mismatched\n --> b");
        assert_eq!(errors(b"something else"), "something else");
        let many = "error\n".repeat(100);
        assert_eq!(errors(many.as_bytes()).lines().count(), LINES);
    }

    #[test]
    fn the_control_is_played_with_every_weakening_and_each_module_once() {
        let all = super::super::all().unwrap();
        let modules = modules(&all);
        assert!(modules.iter().any(|id| id == CONTROL));
        let once: BTreeSet<_> = modules.iter().collect();
        assert_eq!(once.len(), modules.len());
    }
}
