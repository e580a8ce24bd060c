//! What a run leaves behind: one value, and the forms it is written in (terminal table, JSON, `JUnit`
//! XML, one self-contained HTML page). It must not know how modules are played.

mod anchors;
pub mod html;
pub mod json;
pub mod junit;
mod said;
#[cfg(test)]
mod samples;
mod states;
pub mod terminal;
mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use self::text::one_line;

use super::verdict::{PlanReport, Tally, whole_milliseconds};

/// One run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of this shape; it grows when a member changes its meaning or goes.
    pub v: u32,
    /// The harness's version.
    pub harness: String,
    /// What was tested: `in process` or an address.
    pub target: String,
    /// The product's version, where it is known.
    pub target_version: Option<String>,
    /// When the run began, RFC 3339.
    pub started_at: String,
    /// How long it took; written in whole milliseconds.
    #[serde(serialize_with = "whole_milliseconds")]
    pub seconds: f64,
    /// The seed of everything random in the run's order.
    pub seed: u64,
    /// How the run was asked for: `wait`, `jobs`, `login`, what was selected, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// What a person should know about the run as a whole.
    pub remarks: Vec<String>,
    /// Plans in order.
    pub plans: Vec<PlanReport>,
    /// Clauses and what proves them; none if the run covered no whole plan.
    pub coverage: Option<Coverage>,
}

impl Report {
    /// The version of the shape that this code writes, for `v`.
    pub const VERSION: u32 = 1;

    /// The run in numbers.
    pub fn tally(&self) -> Tally {
        let modules = self.plans.iter().flat_map(|plan| &plan.modules);
        Tally::of(modules.map(|module| module.verdict))
    }
}

/// Which clauses of the requirements matrix are proven, and by what.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Every clause, in the matrix's order.
    pub clauses: Vec<ClauseCoverage>,
    /// Ids that modules named and the matrix does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// Why a clause is open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Openness {
    /// A module of this run speaks against it.
    Contradicted,
    /// Nothing proves it: the product does not have its feature yet.
    NotBuilt,
    /// Nothing here can prove it, or not all of it: the remark says why.
    Remarked,
    /// Nothing proves it.
    Unproven,
}

/// How a clause stands after a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Modules of this run prove it, and perhaps tests too.
    Modules,
    /// Only tests of the project prove it.
    Tests,
    /// Nothing proves it, or a module that did not pass names it.
    Open,
}

impl Coverage {
    /// How many clauses stand so.
    pub fn count(&self, standing: Standing) -> usize {
        self.clauses.iter().filter(|clause| clause.standing() == standing).count()
    }
}

/// One clause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClauseCoverage {
    /// Its id.
    pub id: String,
    /// The section of the matrix, such as `A`.
    pub section: String,
    /// The specification and its section.
    pub source: String,
    /// What it demands, in one sentence.
    pub requirement: String,
    /// `MUST`, `SHOULD`, …
    pub level: String,
    /// Modules of this run that passed, if with a warning, and name it: `plan/module`.
    pub modules: Vec<String>,
    /// Modules of this run that failed or were broken off and name it: `plan/module`.
    pub open_modules: Vec<String>,
    /// Tests of the project that cite it, `file::test`.
    pub tests: Vec<String>,
    /// The feature it belongs to, if the product does not have that yet: `dpop`, `fapi1`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// Why nothing proves it, or not all of it, where that is known.
    pub remark: Option<String>,
}

impl ClauseCoverage {
    /// What proves it, or that it is open.
    pub fn standing(&self) -> Standing {
        match (self.is_proven(), self.modules.is_empty()) {
            (false, _) => Standing::Open,
            (true, false) => Standing::Modules,
            (true, true) => Standing::Tests,
        }
    }

    /// Whether a module that passed or a test proves it, and no module speaks against it. What
    /// belongs to a feature that is not built is not proven by the part of it that is there.
    pub fn is_proven(&self) -> bool {
        let is_cited = !(self.modules.is_empty() && self.tests.is_empty());
        is_cited && self.open_modules.is_empty() && self.feature.is_none()
    }

    /// Why it is open; none if it is proven.
    pub fn openness(&self) -> Option<Openness> {
        if !self.open_modules.is_empty() {
            Some(Openness::Contradicted)
        } else if self.is_proven() {
            None
        } else if self.feature.is_some() {
            Some(Openness::NotBuilt)
        } else if self.remark.is_some() {
            Some(Openness::Remarked)
        } else {
            Some(Openness::Unproven)
        }
    }
}
