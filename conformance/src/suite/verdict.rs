//! The vocabulary of a run: where a module stands, how it ended, and the log of conditions that says
//! why. Plain values; it must not know what is tested.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

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
    /// How long it took.
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
    }
}
