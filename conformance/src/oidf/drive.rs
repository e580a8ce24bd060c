//! Plays a plan of the official suite against a running BFF: creates it, takes one module after the
//! other, never two at once, and turns the suite's judgements into a report. It must not know what a
//! module tests.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::io::AsyncWriteExt as _;
use url::Url;

use super::{
    api::{Api, ApiFault, PlannedModule, Runner},
    audit,
    generate::PlanConfig,
    hook::{Context, Hook},
    login,
    record::{self, Record},
};
use crate::suite::verdict::{ModuleReport, PlanReport};

/// How long one long poll lasts.
const POLL: Duration = Duration::from_secs(20);
/// How long a stopped module may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The pause between two looks whether the BFF is up.
const PROBE_PAUSE: Duration = Duration::from_millis(100);
/// The pause between two questions where the suite has no long poll.
const INFO_PAUSE: Duration = Duration::from_millis(500);
const ENDED: [&str; 2] = ["FINISHED", "INTERRUPTED"];

/// A run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The suite's address, such as `https://localhost.emobix.co.uk:8443/`.
    pub suite: Url,
    /// Trusts the suite and the BFF, and follows no redirects.
    pub http: reqwest::Client,
    /// API token; none is needed in dev mode.
    pub token: Option<String>,
    /// The plan.
    pub plan: PlanConfig,
    /// The path at the BFF that leads to the accounts endpoint.
    pub api_path: String,
    /// Only modules whose id ends with one of these; all if there are none.
    pub only: Vec<String>,
    /// Done when a module waits for the client, before the login.
    pub before_module: Option<Hook>,
    /// Done as soon as a module has ended.
    pub after_module: Option<Hook>,
    /// How long a module may take once it waits for the client.
    pub module_limit: Duration,
    /// How long the BFF may take to answer after a hook.
    pub bff_limit: Duration,
    /// The BFF's audit file, where reason codes are read from.
    pub audit_file: Option<PathBuf>,
    /// Where the plan with all its logs goes, as a ZIP file.
    pub export: Option<PathBuf>,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The plan exists.
    PlanCreated {
        /// Its id at the suite.
        id: &'a str,
        /// How many modules will be played.
        modules: usize,
    },
    /// A module was started.
    ModuleStarted {
        /// The module's id.
        id: &'a str,
        /// The page of its log.
        page: &'a str,
    },
    /// A module is over.
    ModuleEnded(&'a ModuleReport),
    /// Something a person should know.
    Remark(&'a str),
}

impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlanCreated { id, modules } => write!(f, "plan {id}, modules: {modules}"),
            Self::ModuleStarted { id, page } => write!(f, "{id}: {page}"),
            Self::ModuleEnded(ModuleReport { id, verdict, note, .. }) => {
                write!(f, "{verdict} {id}: {note}")
            }
            Self::Remark(remark) => write!(f, "note: {remark}"),
        }
    }
}

/// Told of what happens.
pub type OnProgress<'a> = &'a mut (dyn FnMut(Progress<'_>) + Send);

/// Why a run did not get as far as its first module, or its results cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum DriveFault {
    /// The suite's API.
    #[error(transparent)]
    Api(#[from] ApiFault),
    /// No module has been chosen.
    #[error("the plan has no module that ends with {0}: its modules are {1}")]
    NoModule(String, String),
    /// The export cannot be written.
    #[error("{}: {why}; the plan {plan} can still be exported in the suite's own pages", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// The plan's id.
        plan: String,
        /// Why.
        why: String,
    },
}

/// Creates the plan and plays it.
pub async fn run(options: &Options, progress: OnProgress<'_>) -> Result<PlanReport, DriveFault> {
    let api = Api::new(options.http.clone(), &options.suite, options.token.as_deref())?;
    let PlanConfig { plan: name, variant, config, alias, .. } = &options.plan;
    let plan = api.create_plan(name, variant, config).await?;
    let modules = chosen(&plan.modules, &options.only)?;
    progress(Progress::PlanCreated { id: &plan.id, modules: modules.len() });

    let mut played: Vec<Played> = Vec::new();
    let mut release = None;
    for module in modules {
        let lost = played.last().is_some_and(|played| played.lost);
        let mut record = Record::new(&module.id, alias);
        if lost {
            // One sentence per module is enough: every call would wait for nothing again.
            record.fail("oidf.suite", "not played: the suite was lost before".to_owned());
            played.push(Played { lost, ..Played::of(record.close(None)) });
            continue;
        }
        let mut under_way =
            UnderWay { options, api: &api, plan: &plan.id, module, record, test_id: None };
        let mut outcome = under_way.through(progress).await;
        if outcome.is_ok() {
            outcome = under_way.collect().await;
        } else {
            // Whatever went wrong, the next module must find the alias free.
            under_way.stop().await;
        }
        let UnderWay { mut record, test_id, .. } = under_way;
        if let Err(fault) = &outcome {
            record.fail(fault.check(), fault.to_string());
        }
        let page = test_id.as_deref().map(|id| api.page_of(id));
        let word = record.word().map(str::to_owned);
        release = record.release().map(str::to_owned).or(release);
        let report = record.close(page.as_deref());
        progress(Progress::ModuleEnded(&report));
        let lost = outcome.is_err_and(|fault| fault.is_lasting());
        played.push(Played { report, test_id, word, lost });
    }

    if !played.last().is_some_and(|played| played.lost) {
        look_again(&api, &mut played, progress).await;
        if let Some(path) = &options.export {
            export(&api, &plan.id, path).await?;
        }
    }
    Ok(PlanReport {
        id: name.clone(),
        title: format!("official suite {}, plan {}", release.unwrap_or_default(), plan.id),
        variant: variant.clone(),
        certification: options.plan.certification.clone(),
        modules: played.into_iter().map(|played| played.report).collect(),
    })
}

/// A module that is over.
struct Played {
    report: ModuleReport,
    test_id: Option<String>,
    /// The suite's result when it ended.
    word: Option<String>,
    /// Whether the suite was lost with it.
    lost: bool,
}

impl Played {
    const fn of(report: ModuleReport) -> Self {
        Self { report, test_id: None, word: None, lost: false }
    }
}

fn chosen<'a>(
    modules: &'a [PlannedModule],
    only: &[String],
) -> Result<Vec<&'a PlannedModule>, DriveFault> {
    let wanted = |module: &&PlannedModule| {
        only.is_empty() || only.iter().any(|suffix| module.id.ends_with(suffix.as_str()))
    };
    let chosen: Vec<_> = modules.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let all: Vec<_> = modules.iter().map(|module| module.id.as_str()).collect();
        return Err(DriveFault::NoModule(only.join(", "), all.join(", ")));
    }
    Ok(chosen)
}

/// A request after the end turns a stored result to FAILED, which nobody sees who looks only once.
async fn look_again(api: &Api, played: &mut [Played], progress: OnProgress<'_>) {
    for Played { report, test_id, word, .. } in played {
        let (Some(test_id), Some(before)) = (test_id, word) else { continue };
        match api.info(test_id).await {
            Ok(info) => {
                let after = info.result.as_deref().unwrap_or("UNKNOWN");
                if after != before {
                    record::changed_later(report, before, after);
                    progress(Progress::ModuleEnded(report));
                }
            }
            Err(fault) => {
                let remark = format!("{}: not looked at again: {fault}", report.id);
                progress(Progress::Remark(&remark));
            }
        }
    }
}

async fn export(api: &Api, plan: &str, path: &Path) -> Result<(), DriveFault> {
    let bytes = api.export(plan).await?;
    // Every log of the plan is in it, tokens of its mock server and all.
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = async {
        let mut file = options.open(path).await?;
        file.write_all(&bytes).await?;
        file.flush().await
    }
    .await;
    written.map_err(|error| DriveFault::Export {
        path: path.to_owned(),
        plan: plan.to_owned(),
        why: error.to_string(),
    })
}

/// Why a module could not be played to its end.
#[derive(Debug, thiserror::Error)]
enum ModuleFault {
    #[error(transparent)]
    Api(#[from] ApiFault),
    #[error("the module did not begin to wait within {} s; its log says why", .0.as_secs())]
    NotWaiting(Duration),
    #[error(
        "the module did not end within {} s and was stopped: the client never did what it waits for \
         (an old copy of metadata or keys? see --before-module), or --time-limit is too short",
        .0.as_secs()
    )]
    TimeLimit(Duration),
    #[error(
        "the module's issuer is {exposed}, but the BFF is configured for {configured}: set issuer, or \
         give the suite the host name the BFF uses"
    )]
    Issuer { exposed: String, configured: String },
    #[error(transparent)]
    Hook(#[from] super::hook::HookFault),
    #[error(
        "the BFF did not answer at {url} within {} s: {why}; is it running, does its name resolve \
         (--resolve), and does a given --ca vouch for its certificate?",
        limit.as_secs()
    )]
    Bff { url: String, limit: Duration, why: String },
}

impl ModuleFault {
    const fn check(&self) -> &'static str {
        match self {
            Self::Api(_) => "oidf.suite",
            Self::NotWaiting(_) => "oidf.start",
            Self::TimeLimit(_) => "oidf.time_limit",
            Self::Issuer { .. } => "oidf.issuer",
            Self::Hook(_) => "oidf.hook",
            Self::Bff { .. } => "oidf.bff",
        }
    }

    const fn is_lasting(&self) -> bool {
        matches!(self, Self::Api(fault) if fault.is_lasting())
    }
}

/// One module being played.
struct UnderWay<'a> {
    options: &'a Options,
    api: &'a Api,
    plan: &'a str,
    module: &'a PlannedModule,
    record: Record,
    test_id: Option<String>,
}

impl UnderWay<'_> {
    /// From the start to the module's end.
    async fn through(&mut self, progress: OnProgress<'_>) -> Result<(), ModuleFault> {
        let options = self.options;
        let audited = options.audit_file.as_deref().map_or(0, audit::length);
        let test_id = self.api.start(self.plan, self.module).await?;
        self.test_id = Some(test_id.clone());
        let page = self.api.page_of(&test_id);
        progress(Progress::ModuleStarted { id: &self.module.id, page: &page });

        // A request before the module waits would be an error.
        let waiting = ["WAITING", "FINISHED", "INTERRUPTED"];
        let state = self.reach(&test_id, &waiting, options.module_limit).await?;
        let state = state.ok_or(ModuleFault::NotWaiting(options.module_limit))?;
        if state != "WAITING" {
            return Ok(());
        }
        let runner = self.api.runner(&test_id).await?;
        let context = self.context(&test_id, &runner)?;
        let outcome = self.with_client(&context).await;
        let after = match &options.after_module {
            Some(hook) => hook.run(context).await,
            None => Ok(()),
        };
        if let Some(file) = &options.audit_file {
            self.record.audited(audit::reasons(file, audited));
        }
        // The first fault tells more.
        outcome.and_then(|()| Ok(after?))
    }

    /// The client's part, until the module has ended.
    async fn with_client(&mut self, context: &Context) -> Result<(), ModuleFault> {
        let options = self.options;
        if let Some(hook) = &options.before_module {
            hook.run(context.clone()).await?;
            self.bff_is_up().await?;
        }
        let http = options.http.clone();
        login::walk(http, &options.plan.bff, &options.api_path, &mut self.record).await;
        let ended = self.reach(&context.test_id, &ENDED, options.module_limit).await?;
        ended.map(drop).ok_or(ModuleFault::TimeLimit(options.module_limit))
    }

    /// Waits until the module is in one of `states`, by long polls that proxies let live, or, where
    /// the suite has none for it, by asking again and again.
    async fn reach(
        &self,
        test_id: &str,
        states: &[&str],
        limit: Duration,
    ) -> Result<Option<String>, ApiFault> {
        let began = Instant::now();
        loop {
            let left = limit.saturating_sub(began.elapsed());
            let state = match self.api.wait(test_id, states, left.min(POLL)).await {
                // Releases before 5.2, and every release once it has forgotten the running module.
                Err(ApiFault::NotFound { .. }) => {
                    let info = self.api.info(test_id).await?;
                    let state = states.contains(&info.status.as_str()).then_some(info.status);
                    if state.is_none() {
                        tokio::time::sleep(left.min(INFO_PAUSE)).await;
                    }
                    state
                }
                answer => answer?,
            };
            if state.is_some() || began.elapsed() >= limit {
                return Ok(state);
            }
        }
    }

    /// What the module says of itself, if that is what the BFF is configured for.
    fn context(&self, test_id: &str, runner: &Runner) -> Result<Context, ModuleFault> {
        let PlanConfig { alias, bff, .. } = &self.options.plan;
        let issuer = runner.exposed("issuer").unwrap_or(&bff.issuer);
        if issuer != bff.issuer {
            let (exposed, configured) = (issuer.to_owned(), bff.issuer.clone());
            return Err(ModuleFault::Issuer { exposed, configured });
        }
        Ok(Context {
            module: self.module.id.clone(),
            test_id: test_id.to_owned(),
            issuer: issuer.to_owned(),
            alias: alias.clone(),
        })
    }

    /// Waits until the BFF answers after a hook that may have restarted it.
    async fn bff_is_up(&self) -> Result<(), ModuleFault> {
        let Options { http, plan, bff_limit, .. } = self.options;
        let url = format!("{}{}", plan.bff.origin, plan.bff.probe_path);
        let began = Instant::now();
        loop {
            let why = match http.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => format!("status {}", answer.status().as_u16()),
                Err(error) => error.without_url().to_string(),
            };
            if began.elapsed() >= *bff_limit {
                return Err(ModuleFault::Bff { url, limit: *bff_limit, why });
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }

    /// The suite's judgement and its reasons.
    async fn collect(&mut self) -> Result<(), ModuleFault> {
        let Some(test_id) = &self.test_id else { return Ok(()) };
        let began = Instant::now();
        // What is stored may lag behind what the module's waiters were told.
        let info = loop {
            let info = self.api.info(test_id).await?;
            if ENDED.contains(&info.status.as_str()) || began.elapsed() >= STOP_LIMIT {
                break info;
            }
            tokio::time::sleep(INFO_PAUSE).await;
        };
        let log = self.api.log(test_id).await?;
        self.record.logged(&log);
        self.record.judged(info);
        Ok(())
    }

    /// Stops the module, waits for its end and takes what it has to say.
    async fn stop(&mut self) {
        let Some(test_id) = self.test_id.clone() else { return };
        let stopped = match self.api.stop(&test_id).await {
            Ok(()) => self.reach(&test_id, &ENDED, STOP_LIMIT).await,
            Err(fault) => Err(fault),
        };
        match stopped {
            // Not found: it is not under way any more.
            Ok(Some(_)) | Err(ApiFault::NotFound { .. }) => {}
            Ok(None) => self.record.fail(
                "oidf.stop",
                format!("the module did not stop within {} s", STOP_LIMIT.as_secs()),
            ),
            Err(fault) => return self.record.fail("oidf.stop", fault.to_string()),
        }
        if let Err(fault) = self.collect().await {
            self.record.fail("oidf.suite", fault.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(id: &str) -> PlannedModule {
        PlannedModule { id: id.to_owned(), variant: None }
    }

    #[test]
    fn modules_are_chosen_by_the_end_of_their_ids() {
        let modules = ["x-happy-path", "x-invalid-aud", "x-invalid-secondary-aud"].map(module);
        let ids = |only: &[&str]| {
            let only: Vec<_> = only.iter().map(|&suffix| suffix.to_owned()).collect();
            chosen(&modules, &only)
                .map(|chosen| chosen.iter().map(|module| module.id.clone()).collect::<Vec<_>>())
        };
        assert_eq!(ids(&[]).unwrap().len(), 3);
        assert_eq!(ids(&["invalid-aud"]).unwrap(), ["x-invalid-aud"]);
        let fault = ids(&["unhappy"]).unwrap_err().to_string();
        assert!(fault.contains("unhappy") && fault.contains("x-happy-path"), "{fault}");
    }
}
