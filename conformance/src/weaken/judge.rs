//! What a run against a weakened copy proves: that the harness noticed, and by what. Pure; it must not
//! know how the copy was made.

use serde::Serialize;

use super::{CONTROL, Weakening};
use crate::suite::{
    report::Report,
    verdict::{Condition, ModuleReport, Verdict},
};

/// Conditions that say that a test broke off, not that the client did something wrong.
const NO_PROOF: [&str; 4] = ["call_before_start", "never_finished", "not_reached", "trouble"];
/// What the BFF answers while a server is too slow: a busy machine, not a missing check.
const OUTAGE: &str = "-> 503";

/// What became of one weakening.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every module named failed, for a reason of its own.
    Noticed,
    /// A module named passed: the harness is blind here.
    NotNoticed,
    /// The product broke, or the module broke off: nothing is proven.
    Broken,
    /// The weakened copy does not build.
    DoesNotBuild,
    /// The source has moved on.
    NoLongerFits,
}

impl Outcome {
    /// The word in tables.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Noticed => "NOTICED",
            Self::NotNoticed => "NOT NOTICED",
            Self::Broken => "BROKEN",
            Self::DoesNotBuild => "DOES NOT BUILD",
            Self::NoLongerFits => "NO LONGER FITS",
        }
    }
}

/// One weakening, tried.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Finding {
    /// Its name.
    pub name: String,
    /// What was taken away.
    pub removes: String,
    /// The modules that had to notice.
    pub modules: Vec<String>,
    /// The clauses behind the check.
    pub clauses: Vec<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// By what it was noticed, or why not.
    pub note: String,
    /// How long building and playing took.
    pub seconds: f64,
}

/// The verdict on a weakening, from the report of the modules it names and of [`CONTROL`].
pub(super) fn judge(weakening: &Weakening, report: &Report) -> (Outcome, String) {
    if !weakening.modules.iter().any(|id| id == CONTROL)
        && let Err(why) = holds(report, CONTROL)
    {
        return (Outcome::Broken, format!("the weakened product does not work at all: {why}"));
    }
    let mut signs = Vec::new();
    let mut broken = None;
    for id in &weakening.modules {
        let Some(module) = find(report, id) else {
            return (Outcome::Broken, format!("{id} was not played"));
        };
        let enough = if weakening.warns { Verdict::Warning } else { Verdict::Failed };
        if module.verdict < enough {
            return (Outcome::NotNoticed, format!("{id}: {}", module.verdict.word()));
        }
        match sign(module, enough, weakening.says.as_deref()) {
            Some(condition) => signs.push(format!("{}: {}", condition.check, condition.message)),
            None => broken = broken.or_else(|| Some(format!("{id}: {}", reason(module)))),
        }
    }
    match broken {
        Some(why) => (Outcome::Broken, why),
        None => (Outcome::Noticed, signs.into_iter().next().unwrap_or_default()),
    }
}

/// What must be passed for any proof, and is not, each with the reason; nothing if all is well.
pub(super) fn unfit(report: &Report, modules: &[String]) -> Vec<(String, String)> {
    let reason = |id: &String| holds(report, id).err().map(|why| (id.clone(), why));
    modules.iter().filter_map(reason).collect()
}

fn holds(report: &Report, id: &str) -> Result<(), String> {
    match find(report, id) {
        None => Err(format!("{id} was not played")),
        Some(module) if module.verdict == Verdict::Passed => Ok(()),
        // A weakening may well cost a recommendation besides; the login itself works.
        Some(module) if module.verdict == Verdict::Warning && id == CONTROL => Ok(()),
        Some(module) => Err(format!("{id}: {} {}", module.verdict.word(), reason(module))),
    }
}

/// The report of a module; of a module in several plans, the one that was played.
fn find<'a>(report: &'a Report, id: &str) -> Option<&'a ModuleReport> {
    let all = || report.plans.iter().flat_map(|plan| &plan.modules).filter(|m| m.id == id);
    all().find(|m| m.verdict != Verdict::NotYetSupported).or_else(|| all().next())
}

/// The condition that shows that the module saw what is missing.
fn sign<'a>(
    module: &'a ModuleReport,
    enough: Verdict,
    says: Option<&str>,
) -> Option<&'a Condition> {
    module.log.iter().find(|condition| {
        let told = match says {
            // What is said to be looked for is proof wherever it turns up.
            Some(text) => condition.check.contains(text) || condition.message.contains(text),
            None => {
                !NO_PROOF.contains(&condition.check.as_str()) && !condition.message.contains(OUTAGE)
            }
        };
        told && condition.verdict() >= enough
    })
}

fn reason(module: &ModuleReport) -> &str {
    if module.note.is_empty() { "without a reason of its own" } else { &module.note }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{
        report::Coverage,
        verdict::{PlanReport, Severity, Status},
    };

    fn condition(check: &str, severity: Severity) -> Condition {
        Condition {
            at_ms: 1,
            source: "harness".into(),
            check: check.into(),
            severity,
            held: false,
            clauses: vec![],
            message: "POST /token was called".into(),
        }
    }

    fn module(id: &str, verdict: Verdict, checks: &[(&str, Severity)]) -> ModuleReport {
        ModuleReport {
            status: Status::Finished,
            verdict,
            note: checks.first().map_or_else(String::new, |(check, _)| (*check).to_owned()),
            log: checks.iter().map(|(check, severity)| condition(check, *severity)).collect(),
            ..ModuleReport::new(id, "")
        }
    }

    fn report(modules: Vec<ModuleReport>) -> Report {
        Report {
            v: Report::VERSION,
            harness: String::new(),
            target: String::new(),
            target_version: None,
            started_at: String::new(),
            seconds: 0.0,
            seed: 0,
            options: std::collections::BTreeMap::default(),
            remarks: vec![],
            plans: vec![PlanReport {
                id: "plan".into(),
                title: String::new(),
                variant: std::collections::BTreeMap::default(),
                certification: None,
                modules,
            }],
            coverage: None::<Coverage>,
        }
    }

    fn weakening(modules: &[&str]) -> Weakening {
        Weakening {
            name: "w".into(),
            removes: "Something.".into(),
            modules: modules.iter().map(|id| (*id).to_owned()).collect(),
            clauses: vec![],
            says: None,
            warns: false,
            edits: vec![],
        }
    }

    const WENT_ON: (&str, Severity) = ("client_went_on", Severity::Failure);

    fn outcome(weakening: &Weakening, modules: Vec<ModuleReport>) -> Outcome {
        judge(weakening, &report(modules)).0
    }

    fn control() -> ModuleReport {
        module(CONTROL, Verdict::Passed, &[])
    }

    #[test]
    fn a_module_that_passes_or_is_not_played_has_not_noticed() {
        let w = weakening(&["a"]);
        let passed = vec![control(), module("a", Verdict::Passed, &[])];
        assert_eq!(outcome(&w, passed), Outcome::NotNoticed);
        let warned = vec![control(), module("a", Verdict::Warning, &[("x", Severity::Warning)])];
        assert_eq!(outcome(&w, warned), Outcome::NotNoticed);
        assert_eq!(outcome(&w, vec![control()]), Outcome::Broken);
        // One of two is not enough.
        let both = weakening(&["a", "b"]);
        let one = vec![
            control(),
            module("a", Verdict::Failed, &[WENT_ON]),
            module("b", Verdict::Passed, &[]),
        ];
        assert_eq!(outcome(&both, one), Outcome::NotNoticed);
    }

    #[test]
    fn a_test_that_broke_off_is_no_proof() {
        let w = weakening(&["a"]);
        assert_eq!(
            outcome(&w, vec![control(), module("a", Verdict::Failed, &[])]),
            Outcome::Broken
        );
        for check in NO_PROOF {
            let broken = module("a", Verdict::Failed, &[(check, Severity::Failure)]);
            assert_eq!(outcome(&w, vec![control(), broken]), Outcome::Broken, "{check}");
            let checks = [(check, Severity::Failure), WENT_ON];
            let proof = module("a", Verdict::Failed, &checks);
            assert_eq!(outcome(&w, vec![control(), proof]), Outcome::Noticed, "{check}");
        }
    }

    #[test]
    fn a_server_that_did_not_answer_is_no_proof_unless_that_is_what_is_looked_for() {
        let mut w = weakening(&["a"]);
        let mut module = module("a", Verdict::Failed, &[("login_ended", Severity::Failure)]);
        "POST /login/end -> 503, 200 expected".clone_into(&mut module.log[0].message);
        assert_eq!(outcome(&w, vec![control(), module.clone()]), Outcome::Broken);
        w.says = Some("login_ended".into());
        assert_eq!(outcome(&w, vec![control(), module]), Outcome::Noticed);
    }

    #[test]
    fn a_product_that_no_longer_logs_in_is_broken_and_not_weakened() {
        let w = weakening(&["a"]);
        let failed = module("a", Verdict::Failed, &[WENT_ON]);
        let dead = module(CONTROL, Verdict::Failed, &[("login_ended", Severity::Failure)]);
        assert_eq!(outcome(&w, vec![dead.clone(), failed.clone()]), Outcome::Broken);
        assert_eq!(outcome(&w, vec![failed]), Outcome::Broken);
        // Unless the login itself is what must notice.
        assert_eq!(outcome(&weakening(&[CONTROL]), vec![dead]), Outcome::Noticed);
    }

    #[test]
    fn the_reason_must_be_the_one_that_was_named() {
        let mut w = weakening(&["a"]);
        w.says = Some("client_went".into());
        let went = vec![control(), module("a", Verdict::Failed, &[WENT_ON])];
        assert_eq!(outcome(&w, went.clone()), Outcome::Noticed);
        w.says = Some("/token".into());
        assert_eq!(outcome(&w, went.clone()), Outcome::Noticed, "in the message, too");
        w.says = Some("request_object.nbf".into());
        assert_eq!(outcome(&w, went), Outcome::Broken);
    }

    #[test]
    fn a_warning_is_enough_where_a_recommendation_went() {
        let mut w = weakening(&["a"]);
        w.warns = true;
        let warned = vec![control(), module("a", Verdict::Warning, &[("x", Severity::Warning)])];
        assert_eq!(outcome(&w, warned), Outcome::Noticed);
        assert_eq!(
            outcome(&w, vec![control(), module("a", Verdict::Passed, &[])]),
            Outcome::NotNoticed
        );
    }

    #[test]
    fn the_unweakened_copy_must_pass_all_it_is_measured_by() {
        let ids = [CONTROL.to_owned(), "a".to_owned()];
        let good = report(vec![control(), module("a", Verdict::Passed, &[])]);
        assert!(unfit(&good, &ids).is_empty());
        for verdict in [Verdict::Failed, Verdict::Warning, Verdict::Skipped, Verdict::Review] {
            let bad = report(vec![control(), module("a", verdict, &[("x", Severity::Failure)])]);
            assert_eq!(unfit(&bad, &ids).len(), 1, "{verdict}");
        }
        assert_eq!(unfit(&report(vec![]), &ids).len(), 2);
    }
}
