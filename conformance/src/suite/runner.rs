//! Plays modules, several at a time, each in a world of its own, and makes of each a report: the
//! verdict on the wire, the verdict of the audit stream, every condition, every exchange. It must not
//! know what a module tests nor how reports look.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    evidence,
    exam::{Exam, millis},
    module::{Halt, Module},
    plan::{Entry, Variant},
    stage::{Log, LoginMode, Stage},
    verdict::{Condition, ModuleReport, PlanReport, Severity, Status, Verdict},
    world::{World, WorldFault},
};
use crate::{demo::recording::Recording, pki::Pki};

/// How a run is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// Modules at a time.
    pub jobs: usize,
    /// How long a client must be silent after something wrong.
    pub wait: Duration,
    /// How long after a test's end calls still count against the client.
    pub linger: Duration,
    /// How long a module may take at all.
    pub limit: Duration,
    /// How browsers log in.
    pub mode: LoginMode,
    /// Order in which modules are started: 0 is the plans' own, another number shuffles.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: 8,
            wait: Duration::from_secs(2),
            linger: Duration::from_millis(500),
            limit: Duration::from_secs(120),
            mode: LoginMode::Script,
            seed: 0,
        }
    }
}

/// A plan in one variant, with the modules chosen from it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The plan's id.
    pub id: String,
    /// For people.
    pub title: String,
    /// The variant.
    pub variant: Variant,
    /// The certification profile.
    pub certification: Option<String>,
    /// What is to be played.
    pub entries: Vec<Entry>,
}

/// What a run says while it goes on.
#[derive(Clone, PartialEq, Debug)]
pub enum Tick<'a> {
    /// A module has started.
    Started(&'a str),
    /// A module has ended.
    Finished(&'a ModuleReport),
}

/// Plays everything chosen against BFFs in this process; reports come in the order of the choice,
/// however it was played.
pub async fn run(
    pki: &Arc<Pki>,
    chosen: &[Chosen],
    options: &Options,
    tell: &mut Tell<'_>,
) -> Vec<PlanReport> {
    let (order, mut reports) = arrange(chosen, options);
    let permits = Arc::new(Semaphore::new(options.jobs.max(1)));
    let mut playing = JoinSet::new();
    let mut places = BTreeMap::new();
    for (number, (place, module)) in order.into_iter().enumerate() {
        // One permit, one module: so the next one starts when there is room for it.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        while let Some(done) = playing.try_join_next_with_id() {
            take(done, &mut places, &mut reports, tell);
        }
        tell(Tick::Started(&module.id));
        let (pki, options) = (Arc::clone(pki), options.clone());
        let known = (place, module.clone());
        let task = playing.spawn(async move {
            let report = play(pki, &module, &format!("m{number}"), &options).await;
            drop(permit);
            report
        });
        places.insert(task.id(), known);
    }
    while let Some(done) = playing.join_next_with_id().await {
        take(done, &mut places, &mut reports, tell);
    }
    assemble(chosen, reports)
}

/// Plays everything chosen, one module after the other, against a BFF elsewhere. A BFF that cannot be
/// restarted ends the run: that says nothing about it.
pub async fn run_elsewhere(
    mut world: World,
    chosen: &[Chosen],
    options: &Options,
    tell: &mut Tell<'_>,
) -> Result<Vec<PlanReport>, WorldFault> {
    let (order, mut reports) = arrange(chosen, options);
    for (place, module) in order {
        tell(Tick::Started(&module.id));
        let report;
        (report, world) = play_elsewhere(world, &module, options).await?;
        tell(Tick::Finished(&report));
        reports.insert(place, report);
    }
    world.shutdown().await;
    Ok(assemble(chosen, reports))
}

/// Who is told.
pub type Tell<'a> = dyn for<'b> FnMut(Tick<'b>) + Send + 'a;

type Reports = BTreeMap<Place, ModuleReport>;

/// What is to be played in the order of its start, and the reports of what is not.
fn arrange(chosen: &[Chosen], options: &Options) -> (Vec<(Place, Module)>, Reports) {
    let mut reports = Reports::new();
    let mut order = Vec::new();
    for (plan, choice) in chosen.iter().enumerate() {
        for (place, entry) in choice.entries.iter().enumerate() {
            match entry {
                Entry::Ready(module) => order.push(((plan, place), (**module).clone())),
                Entry::NotYetSupported { .. } => {
                    reports.insert((plan, place), not_yet_supported(entry));
                }
            }
        }
    }
    shuffle(&mut order, options.seed);
    (order, reports)
}

fn assemble(chosen: &[Chosen], reports: Reports) -> Vec<PlanReport> {
    let mut reports = reports.into_iter().peekable();
    let plan = |(number, choice): (usize, &Chosen)| {
        let mut modules = Vec::new();
        while let Some((_, report)) = reports.next_if(|((plan, _), _)| *plan == number) {
            modules.push(report);
        }
        PlanReport {
            id: choice.id.clone(),
            title: choice.title.clone(),
            variant: choice.variant.clone(),
            certification: choice.certification.clone(),
            modules,
        }
    };
    chosen.iter().enumerate().map(plan).collect()
}

type Place = (usize, usize);

fn take(
    done: Result<(tokio::task::Id, ModuleReport), tokio::task::JoinError>,
    places: &mut BTreeMap<tokio::task::Id, (Place, Module)>,
    reports: &mut Reports,
    tell: &mut Tell<'_>,
) {
    let (id, report) = match done {
        Ok((id, report)) => (id, Some(report)),
        Err(broken) => (broken.id(), None),
    };
    let Some((place, module)) = places.remove(&id) else { return };
    let report = report.unwrap_or_else(|| {
        let mut report = blank(&module, "");
        report.status = Status::Interrupted;
        report.verdict = Verdict::Failed;
        "the harness itself broke off: a panic, see standard error".clone_into(&mut report.note);
        report
    });
    tell(Tick::Finished(&report));
    reports.insert(place, report);
}

/// Reproducible for a seed, and the given order for seed 0.
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    if seed == 0 {
        return;
    }
    let mut state = seed;
    for last in (1..items.len()).rev() {
        // SplitMix64: any spread will do.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let bound = last as u64 + 1;
        items.swap(last, usize::try_from(mixed % bound).unwrap_or(last));
    }
}

fn blank(module: &Module, alias: &str) -> ModuleReport {
    ModuleReport {
        does: module.does.clone(),
        must: module.must.clone(),
        clauses: owned(&module.clauses),
        expected_reasons: owned(&module.reasons),
        ..ModuleReport::new(&module.id, alias)
    }
}

fn not_yet_supported(entry: &Entry) -> ModuleReport {
    let mut report = ModuleReport::new(entry.id(), "");
    report.verdict = Verdict::NotYetSupported;
    if let Entry::NotYetSupported { does, must, clauses, lacks, .. } = entry {
        report.does.clone_from(does);
        report.must.clone_from(must);
        report.clauses = owned(clauses);
        report.note = format!("needs {lacks}");
    }
    report
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Plays one module in a world of its own.
pub async fn play(pki: Arc<Pki>, module: &Module, alias: &str, options: &Options) -> ModuleReport {
    let exam = Exam::new(module.ending.clone(), options.wait);
    exam.with(|state, _| state.begin());
    let recording = Recording::default();
    let started = tokio::time::timeout(
        options.limit,
        World::start(pki, alias, module.setup.clone(), Some(exam.clone()), recording.clone()),
    )
    .await;
    let world = match started {
        Ok(Ok(world)) => world,
        Ok(Err(fault)) => return not_started(module, alias, &exam, &fault.to_string()),
        Err(_) => return not_started(module, alias, &exam, "it did not start in time"),
    };
    let (report, world) = act(world, module, &exam, &recording, options).await;
    world.shutdown().await;
    report
}

/// Plays one module in a world that others are played in, too.
async fn play_elsewhere(
    mut world: World,
    module: &Module,
    options: &Options,
) -> Result<(ModuleReport, World), WorldFault> {
    let alias = world.alias().to_owned();
    let exam = Exam::new(module.ending.clone(), options.wait);
    if let Some(needs) = module.setup.beyond(world.can_restart()) {
        let mut report = blank(module, &alias);
        report.verdict = Verdict::Skipped;
        report.note = format!("needs {needs}");
        return Ok((report, world));
    }
    exam.with(|state, _| state.begin());
    let recording = Recording::default();
    world.rearm(&module.id, &module.setup, exam.clone(), recording.clone()).await?;
    let (report, world) = act(world, module, &exam, &recording, options).await;
    world.disarm();
    Ok((report, world))
}

async fn act(
    world: World,
    module: &Module,
    exam: &Exam,
    recording: &Recording,
    options: &Options,
) -> (ModuleReport, World) {
    let log = Log::default();
    let mut stage = Stage::new(world, options.mode, exam.clone(), log.clone());
    let outcome = tokio::time::timeout(options.limit, module.play(&mut stage)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(Halt::Trouble("it took too long".to_owned())));
    if outcome.is_ok() {
        exam.with(|state, _| state.script_ended());
        exam.over(options.limit).await;
        tokio::time::sleep(options.linger).await;
    }
    let report = judge(module, exam, &log, recording, &outcome, &stage);
    (report, stage.strike())
}

fn not_started(module: &Module, alias: &str, exam: &Exam, why: &str) -> ModuleReport {
    let mut report = blank(module, alias);
    report.status = Status::Interrupted;
    report.note = format!("not started: {why}");
    report.seconds = exam.elapsed().as_secs_f64();
    report
}

fn judge(
    module: &Module,
    exam: &Exam,
    log: &Log,
    recording: &Recording,
    outcome: &Result<(), Halt>,
    stage: &Stage,
) -> ModuleReport {
    let harness = |check: &str, message: String| Condition {
        at_ms: millis(exam.elapsed()),
        source: "harness".to_owned(),
        check: check.to_owned(),
        severity: Severity::Failure,
        held: false,
        clauses: Vec::new(),
        message,
    };
    if let Err(Halt::Trouble(trouble)) = outcome {
        log.add(harness("trouble", trouble.clone()));
        exam.with(|state, at| state.give_up(at, "its script could not go on"));
    } else if outcome.is_err() {
        exam.with(|state, at| state.give_up(at, "its script stopped at a condition"));
    }
    if exam.with(|state, _| state.was_never_reached()) {
        let message = "the client never reached what it had to be tested with".to_owned();
        log.add(harness("not_reached", message));
    }
    let events = exam.events();
    for condition in exam.with(|state, _| state.conditions()) {
        log.add(condition);
    }
    for condition in evidence::conditions(&events, &module.provoked) {
        log.add(condition);
    }
    let audit = stage.audit();
    let audited = stage.world.is_audited();
    if !module.own_audit && audited {
        log.add(audit_half(module, exam, &audit));
    }
    let mut report = blank(module, stage.world.alias());
    report.seen_reasons =
        audit.into_iter().map(|(_, _, reason)| reason).filter(|reason| reason != "none").collect();
    let mut conditions = log.conditions();
    conditions.sort_by_key(|condition| condition.at_ms);
    report.status = exam.status();
    // What had failed before it was skipped has failed.
    let skipped = match outcome {
        Err(Halt::Skip(why)) if judged(log, module) == Verdict::Passed => Some(why),
        _ => None,
    };
    report.verdict = match skipped {
        Some(_) => Verdict::Skipped,
        None if report.status == Status::Finished => log.verdict(),
        None => Verdict::Failed,
    };
    let mut redactor = evidence::Redactor::new(stage.world.secrets());
    for condition in &mut conditions {
        condition.message = redactor.text(&condition.message);
    }
    // Of what is redacted already: it quotes the messages.
    report.note = match skipped {
        Some(why) => redactor.text(why),
        None => note(&conditions, &report),
    };
    let unseen = !report.expected_reasons.is_empty() || stage.missed_audit();
    if !audited && report.verdict == Verdict::Passed && unseen {
        report.verdict = Verdict::Review;
        "the client stopped; why, only its audit stream can tell: give --audit"
            .clone_into(&mut report.note);
    }
    report.transcript = evidence::transcript(&events, recording, exam, &mut redactor);
    if let Some(condition) = evidence::shorten(&mut report.transcript) {
        conditions.push(condition);
    }
    report.log = evidence::gather(conditions);
    report.seconds = exam.elapsed().as_secs_f64();
    report
}

/// The verdict of a script that was skipped, but for what follows from that.
fn judged(log: &Log, module: &Module) -> Verdict {
    let follows = |condition: &Condition| {
        matches!(condition.check.as_str(), "never_finished" | "not_reached")
            || (condition.check == "audit_reason" && !module.reasons.is_empty())
    };
    let conditions = log.conditions();
    let own = conditions.iter().filter(|condition| !follows(condition));
    own.map(Condition::verdict).max().unwrap_or(Verdict::Passed)
}

/// The second half of the verdict, which no authorization server can see: that the BFF knows why.
fn audit_half(module: &Module, exam: &Exam, audit: &[(String, String, String)]) -> Condition {
    let refusals: Vec<_> = audit.iter().filter(|(_, outcome, _)| outcome != "success").collect();
    let named = |reason: &String| module.reasons.contains(&reason.as_str());
    let held = if module.reasons.is_empty() {
        refusals.is_empty()
    } else {
        refusals.iter().any(|(_, _, reason)| named(reason))
    };
    let found: Vec<_> =
        refusals.iter().map(|(action, _, reason)| format!("{action} {reason}")).collect();
    let found = if found.is_empty() { "no refusal".to_owned() } else { found.join(", ") };
    let expected = if module.reasons.is_empty() {
        "no refusal".to_owned()
    } else {
        module.reasons.join(" or ")
    };
    Condition {
        at_ms: millis(exam.elapsed()),
        source: "audit".to_owned(),
        check: "audit_reason".to_owned(),
        severity: Severity::Failure,
        held,
        clauses: owned(&module.clauses),
        message: format!("the audit stream says {found}; expected: {expected}"),
    }
}

/// One line for the table.
fn note(conditions: &[Condition], report: &ModuleReport) -> String {
    // The first of the worst; that it never finished only follows from it.
    let worst = conditions
        .iter()
        .filter(|condition| !condition.held)
        .max_by_key(|condition| (condition.verdict(), condition.check != "never_finished"));
    let worst = conditions.iter().find(|condition| {
        worst.is_some_and(|worst| {
            !condition.held
                && condition.verdict() == worst.verdict()
                && (condition.check == "never_finished") == (worst.check == "never_finished")
        })
    });
    match worst {
        Some(condition) if condition.verdict() > Verdict::Passed => {
            format!("{}: {}", condition.check, condition.message)
        }
        _ if report.expected_reasons.is_empty() => String::new(),
        _ => {
            let shown = report.seen_reasons.iter();
            let found = shown.filter(|reason| report.expected_reasons.contains(reason));
            found.map(String::as_str).next().unwrap_or_default().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_order_and_zero_gives_the_plans_own() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..100).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(shuffled(0), (0..100).collect::<Vec<_>>());
        assert_eq!(shuffled(7), shuffled(7));
        assert_ne!(shuffled(7), shuffled(8));
        let mut sorted = shuffled(7);
        sorted.sort_unstable();
        assert_eq!(sorted, shuffled(0));
    }
}
