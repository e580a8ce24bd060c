//! `cargo conformance weaken`: which weakenings, where, and what is shown. It must not know how a copy is
//! made, built or judged.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{FAILED, Fault, HELD, write_file};
use crate::weaken::{
    Errand, Finding, Outcome, Tick, WeakenFault, Weakening, all, run, sample, table, time_left,
};

#[derive(Debug, Args)]
pub(super) struct WeakenArgs {
    /// List the weakenings instead of trying them
    #[arg(long)]
    list: bool,
    /// Only this weakening; can be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only so many of them, spread over the list
    #[arg(long, value_name = "NUMBER")]
    sample: Option<NonZeroUsize>,
    /// Which sample; the same number gives the same one
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "sample")]
    seed: u64,
    /// Keep the copy and what was built of it, for a faster start next time
    #[arg(long)]
    keep: bool,
    /// Folder for the copy, instead of `weaken` in cargo's target folder
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Modules at a time
    #[arg(long, value_name = "NUMBER", default_value = "4")]
    jobs: NonZeroUsize,
    /// The findings as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) async fn weaken(args: &WeakenArgs) -> Result<u8, Fault> {
    let mut weakenings = select(all()?, &args.only)?;
    if let Some(size) = args.sample {
        weakenings = sample(weakenings, size.get(), args.seed);
    }
    if args.list {
        return list(&weakenings);
    }
    let errand = errand(args, weakenings)?;
    let total = errand.weakenings.len();
    let findings = run(&errand, &mut |tick| tell(tick, total)).await?;
    if let Some(path) = &args.json {
        write_file(path, |mut file| {
            serde_json::to_writer_pretty(&mut file, &findings)?;
            file.write_all(b"\n")?;
            file.flush()
        })?;
    }
    write!(io::stdout().lock(), "{}", table(&findings))?;
    let all_noticed = findings.iter().all(|finding| finding.outcome == Outcome::Noticed);
    Ok(if all_noticed { HELD } else { FAILED })
}

/// Those named, in the list's order; all if none is.
fn select(all: Vec<Weakening>, names: &[String]) -> Result<Vec<Weakening>, WeakenFault> {
    for name in names {
        if !all.iter().any(|weakening| weakening.name == *name) {
            return Err(WeakenFault::Unknown(name.clone()));
        }
    }
    let wanted = |weakening: &Weakening| names.is_empty() || names.contains(&weakening.name);
    Ok(all.into_iter().filter(wanted).collect())
}

fn list(weakenings: &[Weakening]) -> Result<u8, Fault> {
    let mut out = io::stdout().lock();
    let width = weakenings.iter().map(|weakening| weakening.name.len()).max().unwrap_or_default();
    for weakening in weakenings {
        writeln!(out, "{:<width$}  {}", weakening.name, weakening.removes)?;
        writeln!(out, "{:<width$}  {}", "", weakening.modules.join(", "))?;
    }
    writeln!(out, "\n{} weakenings", weakenings.len())?;
    Ok(HELD)
}

/// Where this program was built, everything else is found from.
fn errand(args: &WeakenArgs, weakenings: Vec<Weakening>) -> Result<Errand, Fault> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent().unwrap_or(here).to_owned();
    let program = std::env::current_exe()
        .map_err(|source| Fault::File { path: PathBuf::from("this program"), source })?;
    let built = program.parent().map_or_else(|| root.join("target/debug"), Path::to_owned);
    let target = built.parent().map_or_else(|| root.join("target"), Path::to_owned);
    let work = args.work.clone().unwrap_or_else(|| target.join("weaken"));
    let work = std::path::absolute(&work).map_err(|source| Fault::File { path: work, source })?;
    Ok(Errand { root, work, built, keep: args.keep, jobs: args.jobs.get(), weakenings })
}

fn tell(tick: Tick<'_>, total: usize) {
    match tick {
        Tick::Building => eprintln!("building the unweakened copy"),
        Tick::Playing(modules) => eprintln!("playing {modules} modules against it"),
        Tick::Ready(seconds) => eprintln!("it passes them all; {seconds:.0} s"),
        Tick::Trying(place, weakening) => eprint!("{place:>3}/{total}  {}", weakening.name),
        Tick::Tried(done) => eprintln!("{}", told(done, total)),
    }
}

fn told(done: &[Finding], total: usize) -> String {
    let Some(last) = done.last() else { return String::new() };
    let mut text = format!(": {}, {:.1} s", last.outcome.word(), last.seconds);
    let left = total.saturating_sub(done.len());
    if let Some(time) = time_left(done, left).filter(|_| left > 0) {
        let seconds = time.as_secs();
        // Writing to a String cannot fail.
        let _ = write!(text, "; about {}:{:02} left", seconds / 60, seconds % 60);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_said() {
        let error = select(all().unwrap(), &["nope".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("nope"), "{error}");
        let every = all().unwrap();
        let name = every[3].name.clone();
        let one = select(every.clone(), std::slice::from_ref(&name)).unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].name, name);
        assert_eq!(select(every.clone(), &[]).unwrap(), every);
    }

    #[test]
    fn progress_says_how_long_the_rest_takes() {
        let finding = Finding {
            name: "a".into(),
            removes: "A check.".into(),
            modules: vec![],
            clauses: vec![],
            outcome: Outcome::Noticed,
            note: String::new(),
            seconds: 20.0,
        };
        let one = [finding];
        assert_eq!(told(&one, 4), ": NOTICED, 20.0 s; about 1:00 left");
        assert_eq!(told(&one, 1), ": NOTICED, 20.0 s");
    }
}
