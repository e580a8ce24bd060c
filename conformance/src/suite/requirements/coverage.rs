//! Puts clauses, modules of a run and the project's tests side by side. Judges nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{Clause, Feature, Matrix};
use crate::suite::{
    report::{ClauseCoverage, Coverage},
    verdict::{ModuleReport, PlanReport, Status, Verdict},
};

/// What a module says about the clauses it names.
enum Evidence {
    For,
    Against,
    None,
}

fn evidence(module: &ModuleReport) -> Evidence {
    match (module.status, module.verdict) {
        // What was to be skipped or is not there cannot be broken off either.
        (_, Verdict::Skipped | Verdict::NotYetSupported) => Evidence::None,
        (Status::Interrupted, _) | (_, Verdict::Failed) => Evidence::Against,
        (Status::Finished, Verdict::Passed | Verdict::Warning) => Evidence::For,
        // Whoever must look at it first has not proven it yet.
        (_, Verdict::Review) | (Status::Created | Status::Waiting | Status::Running, _) => {
            Evidence::None
        }
    }
}

/// What proves each clause: modules of this run, named `plan/module`, and tests of the project.
pub fn coverage(matrix: &Matrix, plans: &[PlanReport]) -> Coverage {
    let mut proving: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut open: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for (plan, module) in
        plans.iter().flat_map(|plan| plan.modules.iter().map(move |module| (plan, module)))
    {
        for id in &module.clauses {
            let clauses = matrix.expand(id);
            if clauses.is_empty() {
                unknown.insert(id.clone());
            }
            let ledger = match evidence(module) {
                Evidence::For => &mut proving,
                Evidence::Against => &mut open,
                Evidence::None => continue,
            };
            for clause in clauses {
                let name = format!("{}/{}", plan.id, module.id);
                ledger.entry(&clause.id).or_default().insert(name);
            }
        }
    }
    let mut take = |clause: &Clause| {
        let names = |set: Option<BTreeSet<String>>| set.into_iter().flatten().collect();
        (names(proving.remove(clause.id.as_str())), names(open.remove(clause.id.as_str())))
    };
    let clauses = matrix.clauses().map(|(section, clause)| {
        let (modules, open_modules) = take(clause);
        ClauseCoverage {
            id: clause.id.clone(),
            section: section.letter.clone(),
            source: clause.source.clone(),
            requirement: clause.requirement.clone(),
            level: clause.level.clone(),
            modules,
            open_modules,
            tests: matrix.tests(&clause.id).to_vec(),
            feature: clause.feature.map(Feature::name).map(str::to_owned),
            remark: clause.remark.clone(),
        }
    });
    Coverage { clauses: clauses.collect(), unknown: unknown.into_iter().collect() }
}
