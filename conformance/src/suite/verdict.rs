//! The vocabulary of a run: where a module stands, how it ended, and the log of conditions that says
//! why. Plain values; it must not know what is tested.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, Serializer};

/// Where a module stands, as in the OpenID Foundation's suite.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Set up, not started.
    Created,
    /// Waiting for the client's next request.
    Waiting,
    /// A request is being judged.
    Running,
    /// Over, with a verdict.
    Finished,
    /// Broken off: a condition that cannot be passed over failed, or the harness itself did.
    Interrupted,
}

/// How a module ended, from best to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held.
    Passed,
    /// Nothing was tested, for a reason that is given.
    Skipped,
    /// The product has no such feature yet: named, never counted as passed.
    NotYetSupported,
    /// What could be seen held; the rest a person must look at.
    Review,
    /// Held, with something better avoided.
    Warning,
    /// Something did not hold.
    Failed,
}

impl Verdict {
    /// Every verdict, from best to worst.
    pub const ALL: [Self; 6] = [
        Self::Passed,
        Self::Skipped,
        Self::NotYetSupported,
        Self::Review,
        Self::Warning,
        Self::Failed,
    ];

    /// The word in tables and reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Skipped => "SKIPPED",
            Self::NotYetSupported => "NOT YET SUPPORTED",
            Self::Review => "REVIEW",
            Self::Warning => "WARNING",
            Self::Failed => "FAILED",
        }
    }

    /// The word within a sentence.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::NotYetSupported => "not yet supported",
            Self::Review => "for review",
            Self::Warning => "with a warning",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

/// What a condition that does not hold means for the module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Only said, never judged.
    Info,
    /// The module ends with a warning at best.
    Warning,
    /// The module has failed.
    Failure,
}

/// One check and how it came out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// Milliseconds since the module started.
    pub at_ms: u64,
    /// Who checked: `authorization server`, `api`, `browser`, `audit`, `harness`.
    pub source: String,
    /// Stable name of the check, such as `client_auth.aud`.
    pub check: String,
    /// What it means when it does not hold.
    pub severity: Severity,
    /// Whether it held.
    pub held: bool,
    /// The clauses behind it, by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<String>,
    /// What was looked for and what was found, for people. Without secrets.
    pub message: String,
}

impl Condition {
    /// The verdict this condition alone would give.
    pub const fn verdict(&self) -> Verdict {
        match (self.held, self.severity) {
            (true, _) | (false, Severity::Info) => Verdict::Passed,
            (false, Severity::Warning) => Verdict::Warning,
            (false, Severity::Failure) => Verdict::Failed,
        }
    }
}

/// One HTTP exchange, secrets redacted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Exchange {
    /// Milliseconds since the module started.
    pub at_ms: u64,
    /// Who asked: `browser`, `bff`, `harness`.
    pub from: String,
    /// Who was asked: `bff`, `authorization server`, `authorization server (mTLS)`, `api`.
    pub to: String,
    /// HTTP method.
    pub method: String,
    /// Path or address, its query redacted.
    pub url: String,
    /// Request headers in order, redacted.
    pub request_headers: Vec<(String, String)>,
    /// The request's body, redacted; empty if there was none or it is not recorded.
    pub request_body: String,
    /// Status of the answer; 0 if none came.
    pub status: u16,
    /// Headers of the answer in order, redacted.
    pub response_headers: Vec<(String, String)>,
    /// The answer's body, redacted.
    pub response_body: String,
}

/// What became of one module.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModuleReport {
    /// The module's id, the official suite's where it has such a module.
    pub id: String,
    /// What the authorization server (or attacker) does.
    pub does: String,
    /// What the client must do.
    pub must: String,
    /// The alias, unique in a run, that is part of the issuer.
    pub alias: String,
    /// Where it stands.
    pub status: Status,
    /// How it ended.
    pub verdict: Verdict,
    /// One line for the table: why it was skipped, what failed first, or what was seen.
    pub note: String,
    /// How long it took; written in whole milliseconds.
    #[serde(serialize_with = "whole_milliseconds")]
    pub seconds: f64,
    /// The clauses it proves when it passes.
    pub clauses: Vec<String>,
    /// Reason codes of which the BFF's audit stream had to show one; empty if none was to be shown.
    pub expected_reasons: Vec<String>,
    /// Reason codes it showed, in order, without `none`.
    pub seen_reasons: Vec<String>,
    /// Every check.
    pub log: Vec<Condition>,
    /// Every exchange.
    pub transcript: Vec<Exchange>,
}

impl ModuleReport {
    /// The conditions that speak against the module, in the order of the log.
    pub fn problems(&self) -> impl Iterator<Item = &Condition> {
        self.log.iter().filter(|condition| condition.verdict() > Verdict::Passed)
    }

    /// The last exchange begun when a condition was judged: the one to look at first.
    pub fn exchange_before(&self, condition: &Condition) -> Option<&Exchange> {
        self.transcript.iter().rfind(|exchange| exchange.at_ms <= condition.at_ms)
    }

    /// The report of a module that nothing has become of yet: failed, until something else is known.
    pub fn new(id: &str, alias: &str) -> Self {
        Self {
            id: id.to_owned(),
            does: String::new(),
            must: String::new(),
            alias: alias.to_owned(),
            status: Status::Created,
            verdict: Verdict::Failed,
            note: String::new(),
            seconds: 0.0,
            clauses: Vec::new(),
            expected_reasons: Vec::new(),
            seen_reasons: Vec::new(),
            log: Vec::new(),
            transcript: Vec::new(),
        }
    }
}

/// What became of one plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlanReport {
    /// The plan's id.
    pub id: String,
    /// For people.
    pub title: String,
    /// The variant, by parameter.
    pub variant: BTreeMap<String, String>,
    /// The certification profile this plan and variant stand for, if any.
    pub certification: Option<String>,
    /// Modules in order.
    pub modules: Vec<ModuleReport>,
}

/// How a run came out, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Modules that passed.
    pub passed: usize,
    /// With a warning.
    pub warning: usize,
    /// For a person to look at.
    pub review: usize,
    /// Skipped.
    pub skipped: usize,
    /// Not yet supported by the product.
    pub not_yet_supported: usize,
    /// Failed.
    pub failed: usize,
}

impl Tally {
    /// Counts verdicts.
    pub fn of(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        let mut tally = Self::default();
        for verdict in verdicts {
            let count = match verdict {
                Verdict::Passed => &mut tally.passed,
                Verdict::Warning => &mut tally.warning,
                Verdict::Review => &mut tally.review,
                Verdict::Skipped => &mut tally.skipped,
                Verdict::NotYetSupported => &mut tally.not_yet_supported,
                Verdict::Failed => &mut tally.failed,
            };
            *count += 1;
        }
        tally
    }

    /// How many ended with this verdict.
    pub const fn count(&self, verdict: Verdict) -> usize {
        match verdict {
            Verdict::Passed => self.passed,
            Verdict::Warning => self.warning,
            Verdict::Review => self.review,
            Verdict::Skipped => self.skipped,
            Verdict::NotYetSupported => self.not_yet_supported,
            Verdict::Failed => self.failed,
        }
    }

    /// How many were put to the test: all but the skipped and the not yet supported.
    pub const fn tested(&self) -> usize {
        self.passed + self.warning + self.review + self.failed
    }

    /// The verdict over all: the worst, where what was not tested does not count.
    pub fn verdict(&self) -> Verdict {
        let worst = [Verdict::Failed, Verdict::Warning, Verdict::Review, Verdict::Passed];
        worst.into_iter().find(|verdict| self.count(*verdict) > 0).unwrap_or(Verdict::Skipped)
    }

    /// The counts that are not nought, the worst first: `1 failed, 20 passed`.
    pub fn summary(&self) -> String {
        let counts = Verdict::ALL.iter().rev().filter(|verdict| self.count(**verdict) > 0);
        let parts: Vec<_> =
            counts.map(|verdict| format!("{} {}", self.count(*verdict), verdict.label())).collect();
        parts.join(", ")
    }

    /// The run in one sentence. It never calls a run passed in which nothing was tested.
    pub fn headline(&self) -> String {
        let tested = self.tested();
        if self.total() == 0 {
            return "No module was run".into();
        }
        match (self.verdict(), tested) {
            (Verdict::Failed, _) => {
                format!("{} of {tested} supported modules failed", self.failed)
            }
            (Verdict::Warning | Verdict::Review, _) => {
                let open = Self { passed: 0, skipped: 0, not_yet_supported: 0, ..*self };
                format!("No module failed; of {tested} supported modules {}", open.summary())
            }
            (Verdict::Passed, 1) => "The one supported module passed".into(),
            (Verdict::Passed, _) => format!("All {tested} supported modules passed"),
            (Verdict::Skipped | Verdict::NotYetSupported, _) => "No module was tested".into(),
        }
    }

    /// How many there are.
    pub const fn total(&self) -> usize {
        self.passed
            + self.warning
            + self.review
            + self.skipped
            + self.not_yet_supported
            + self.failed
    }
}

impl PlanReport {
    /// The plan in numbers.
    pub fn tally(&self) -> Tally {
        Tally::of(self.modules.iter().map(|module| module.verdict))
    }

    /// How long its modules took together; less has passed if they ran side by side.
    pub fn seconds(&self) -> f64 {
        self.modules.iter().map(|module| module.seconds).sum()
    }

    /// The variant in one line: `client_auth_type=mtls fapi_client_type=oidc`.
    pub fn variant_line(&self) -> String {
        let pairs: Vec<_> =
            self.variant.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join(" ")
    }

    /// Whether the product has nothing of what the plan tests.
    pub fn is_unsupported(&self) -> bool {
        let mut verdicts = self.modules.iter().map(|module| module.verdict);
        !self.modules.is_empty() && verdicts.all(|verdict| verdict == Verdict::NotYetSupported)
    }
}

/// Writes seconds in whole milliseconds, which a decimal number holds exactly: what is read back
/// and written again is the same text. What is no number is written as nought.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
pub(super) fn whole_milliseconds<S: Serializer>(
    seconds: &f64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let seconds = if seconds.is_finite() { *seconds } else { 0.0 };
    serializer.serialize_f64((seconds * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_judges_only_when_it_does_not_hold_and_is_more_than_said() {
        let condition = |severity, held| {
            Condition {
                at_ms: 0,
                source: "harness".into(),
                check: "x".into(),
                severity,
                held,
                clauses: Vec::new(),
                message: String::new(),
            }
            .verdict()
        };
        for severity in [Severity::Info, Severity::Warning, Severity::Failure] {
            assert_eq!(condition(severity, true), Verdict::Passed);
        }
        assert_eq!(condition(Severity::Info, false), Verdict::Passed);
        assert_eq!(condition(Severity::Warning, false), Verdict::Warning);
        assert_eq!(condition(Severity::Failure, false), Verdict::Failed);
    }

    #[test]
    fn a_tally_counts_each_verdict_once() {
        let tally = Tally::of(Verdict::ALL);
        assert_eq!(
            tally,
            Tally { passed: 1, warning: 1, review: 1, skipped: 1, not_yet_supported: 1, failed: 1 }
        );
        assert_eq!(tally.total(), 6);
        assert_eq!(tally.tested(), 4);
        assert!(Verdict::ALL.iter().all(|verdict| tally.count(*verdict) == 1));
    }

    #[test]
    fn a_headline_says_the_worst_and_never_that_nothing_passed() {
        let headline = |verdicts: &[Verdict]| Tally::of(verdicts.iter().copied()).headline();
        let (passed, skipped) = (Verdict::Passed, Verdict::Skipped);
        assert_eq!(headline(&[]), "No module was run");
        assert_eq!(headline(&[skipped, Verdict::NotYetSupported]), "No module was tested");
        assert_eq!(headline(&[passed, passed, skipped]), "All 2 supported modules passed");
        assert_eq!(headline(&[passed]), "The one supported module passed");
        assert_eq!(
            headline(&[passed, Verdict::Warning, Verdict::Review, skipped]),
            "No module failed; of 3 supported modules 1 with a warning, 1 for review"
        );
        assert_eq!(
            headline(&[passed, Verdict::Warning, Verdict::Failed, skipped]),
            "1 of 3 supported modules failed"
        );
        assert_eq!(Tally::of(Verdict::ALL).verdict(), Verdict::Failed);
        assert_eq!(Tally::default().verdict(), Verdict::Skipped);
    }
}
