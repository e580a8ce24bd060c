//! `cargo conformance requirements`: the matrix of clauses on its own. It must not play anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    path::Path,
};

use clap::Args;

use super::{FAILED, Fault, HELD, select::plans};
use crate::suite::{
    plan::Entry,
    report::{ClauseCoverage, Coverage, Openness},
    requirements::{Matrix, coverage, refresh},
};

#[derive(Debug, Args)]
pub(super) struct RequirementsArgs {
    /// Read the sources again for the clauses that tests cite
    #[arg(long)]
    update: bool,
    /// Only clauses that no test proves, with the reason
    #[arg(long)]
    open: bool,
    /// One clause, by its id or an alias
    #[arg(value_name = "ID")]
    id: Option<String>,
}

pub(super) fn requirements(args: &RequirementsArgs) -> Result<u8, Fault> {
    let mut out = io::stdout().lock();
    if args.update {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = root.parent().unwrap_or(root);
        let changed =
            refresh(root).map_err(|source| Fault::File { path: root.to_owned(), source })?;
        writeln!(out, "{}", if changed { "updated" } else { "nothing has changed" })?;
        return Ok(HELD);
    }
    let matrix = Matrix::load()?;
    let coverage = coverage(&matrix, &[]);
    if let Some(id) = &args.id {
        return one(&mut out, &matrix, &coverage, id);
    }
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for clause in &coverage.clauses {
        let (kind, state) = match (clause.openness(), clause.tests.len()) {
            (None, 1) => ("with tests", "1 test".to_owned()),
            (None, tests) => ("with tests", format!("{tests} tests")),
            (Some(Openness::NotBuilt), _) => {
                let feature = clause.feature.as_deref().unwrap_or_default();
                ("not built", format!("not built: {feature}"))
            }
            (Some(Openness::Remarked), _) => {
                ("remarked", clause.remark.clone().unwrap_or_default())
            }
            (Some(_), _) => ("without a test", "no test; perhaps modules".to_owned()),
        };
        *states.entry(kind).or_default() += 1;
        if !args.open || clause.openness().is_some() {
            writeln!(out, "{:<26} {:<24} {state}", clause.id, clause.level)?;
        }
    }
    let states: Vec<_> = states.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    writeln!(out, "\n{} clauses: {}", coverage.clauses.len(), states.join(", "))?;
    Ok(HELD)
}

/// One clause, or those whose ids begin so.
fn one(
    out: &mut impl io::Write,
    matrix: &Matrix,
    coverage: &Coverage,
    id: &str,
) -> Result<u8, Fault> {
    let known = matrix.resolve(id).or_else(|| matrix.resolve(&id.to_ascii_uppercase()));
    let found = known
        .and_then(|clause| coverage.clauses.iter().find(|candidate| candidate.id == clause.id));
    let Some(clause) = found else {
        let begins = |known: &&ClauseCoverage| {
            known.id.to_ascii_lowercase().starts_with(&id.to_ascii_lowercase())
        };
        let mut several = coverage.clauses.iter().filter(begins).peekable();
        if several.peek().is_none() {
            writeln!(out, "no clause is called {id}, and none begins so")?;
            return Ok(FAILED);
        }
        for clause in several {
            writeln!(out, "{:<26} {}", clause.id, clause.requirement)?;
        }
        return Ok(HELD);
    };
    writeln!(out, "{}  {}  {}", clause.id, clause.level, clause.source)?;
    writeln!(out, "{}", clause.requirement)?;
    for test in &clause.tests {
        writeln!(out, "  test    {test}")?;
    }
    for module in modules(matrix, &clause.id) {
        writeln!(out, "  module  {module}")?;
    }
    if let Some(feature) = &clause.feature {
        writeln!(out, "  needs   {feature}")?;
    }
    if let Some(remark) = &clause.remark {
        writeln!(out, "  remark  {remark}")?;
    }
    Ok(HELD)
}

/// Modules that can be played and name the clause.
fn modules(matrix: &Matrix, clause: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for plan in plans() {
        for variant in plan.variants().iter().filter(|variant| plan.is_supported(variant)) {
            for entry in plan.entries(variant) {
                let Entry::Ready(module) = entry else { continue };
                let names = |id: &str| matrix.expand(id).iter().any(|found| found.id == clause);
                if module.clauses.iter().any(|id| names(id)) {
                    all.insert(module.id);
                }
            }
        }
    }
    all
}
