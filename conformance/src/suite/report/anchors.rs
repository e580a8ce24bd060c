//! Names for the places of a report, the same in every form that points into the page. Knows ids
//! only.

use std::collections::{BTreeMap, HashSet};

use super::{ClauseCoverage, Report};
use crate::suite::verdict::{ModuleReport, Verdict};

/// Where each module and clause of a report is found.
pub(super) struct Anchors<'a> {
    modules: Vec<Vec<String>>,
    clauses: BTreeMap<&'a str, String>,
    named: BTreeMap<String, Vec<Place<'a>>>,
}

/// A module's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place<'a> {
    plan: usize,
    module: usize,
    /// The module's id.
    pub(super) id: &'a str,
    /// How it ended.
    pub(super) verdict: Verdict,
}

impl<'a> Anchors<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let mut taken = HashSet::new();
        let mut named: BTreeMap<String, Vec<Place<'_>>> = BTreeMap::new();
        let mut modules = Vec::new();
        for (plan, part) in report.plans.iter().enumerate() {
            let mut row = Vec::new();
            for (module, ModuleReport { id, alias, verdict, .. }) in part.modules.iter().enumerate()
            {
                row.push(free(&mut taken, &format!("p{}.{}", plan + 1, slug(id))));
                let place = Place { plan, module, id, verdict: *verdict };
                named.entry(format!("{}/{id}", part.id)).or_default().push(place);
                named.entry(id.clone()).or_default().push(place);
                if alias != id {
                    named.entry(alias.clone()).or_default().push(place);
                }
            }
            modules.push(row);
        }
        let clauses = report.coverage.iter().flat_map(|coverage| &coverage.clauses);
        let clauses = clauses
            .map(|ClauseCoverage { id, .. }| {
                (id.as_str(), free(&mut taken, &format!("c.{}", slug(id))))
            })
            .collect();
        Self { modules, clauses, named }
    }

    /// The anchor of a plan.
    pub(super) fn plan(plan: usize) -> String {
        format!("p{}", plan + 1)
    }

    /// The anchor of a module, by its place in the report.
    pub(super) fn module(&self, plan: usize, module: usize) -> &str {
        self.modules.get(plan).and_then(|plan| plan.get(module)).map_or("", String::as_str)
    }

    /// The anchor of a module's place.
    pub(super) fn place(&self, place: Place<'_>) -> &str {
        self.module(place.plan, place.module)
    }

    /// The anchor of a clause, if the report has its coverage.
    pub(super) fn clause(&self, id: &str) -> Option<&str> {
        self.clauses.get(id).map(String::as_str)
    }

    /// Where a module is found, by its id, its alias or its plan's id and its own: `plan/module`.
    pub(super) fn named(&self, name: &str) -> &[Place<'a>] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The wish, or the wish with the first number that makes it unlike all before.
fn free(taken: &mut HashSet<String>, wish: &str) -> String {
    let mut name = wish.to_owned();
    let mut number = 2_u32;
    while !taken.insert(name.clone()) {
        name = format!("{wish}.{number}");
        number += 1;
    }
    name
}

/// The id with everything that means something in an address or in markup replaced.
fn slug(id: &str) -> String {
    let safe = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => character,
        _ => '-',
    };
    id.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::report::samples;

    #[test]
    fn anchors_are_safe_and_unique_even_for_ids_that_look_alike() {
        let mut report = samples::small();
        let plan = &mut report.plans[0];
        plan.modules.truncate(2);
        plan.modules[0].id = "a\"b".into();
        plan.modules[1].id = "a<b".into();
        let anchors = Anchors::of(&report);
        assert_eq!(anchors.module(0, 0), "p1.a-b");
        assert_eq!(anchors.module(0, 1), "p1.a-b.2");
        assert_eq!(anchors.module(9, 9), "");
        assert_eq!(anchors.named("a<b")[0].id, "a<b");
        let plan = &report.plans[0].id;
        assert_eq!(anchors.place(anchors.named(&format!("{plan}/a<b"))[0]), "p1.a-b.2");
        assert!(anchors.named("no-such-plan/a<b").is_empty());
        assert_eq!(anchors.clause("no such clause"), None);
    }
}
