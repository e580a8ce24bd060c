//! `cargo conformance requirements`: the matrix of clauses on its own. It must not play anything.

use std::{
    io::{self, Write as _},
    path::Path,
};

use clap::Args;

use super::{FAILED, Fault, HELD};
use crate::suite::{
    report::{Coverage, Openness},
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
    for clause in &coverage.clauses {
        let state = match (clause.openness(), clause.tests.len()) {
            (None, _) if args.open => continue,
            (None, 1) => "1 test".to_owned(),
            (None, tests) => format!("{tests} tests"),
            (Some(Openness::NotBuilt), _) => {
                format!("not built: {}", clause.feature.as_deref().unwrap_or_default())
            }
            (Some(_), _) => {
                clause.remark.clone().unwrap_or_else(|| "no test; perhaps modules".to_owned())
            }
        };
        writeln!(out, "{:<26} {:<9} {state}", clause.id, clause.level)?;
    }
    Ok(HELD)
}

fn one(
    out: &mut impl io::Write,
    matrix: &Matrix,
    coverage: &Coverage,
    id: &str,
) -> Result<u8, Fault> {
    let known = matrix.resolve(id);
    let found = known
        .and_then(|clause| coverage.clauses.iter().find(|candidate| candidate.id == clause.id));
    let Some(clause) = found else {
        writeln!(out, "no clause is called {id}")?;
        return Ok(FAILED);
    };
    writeln!(out, "{}  {}  {}", clause.id, clause.level, clause.source)?;
    writeln!(out, "{}", clause.requirement)?;
    for test in &clause.tests {
        writeln!(out, "  test    {test}")?;
    }
    if let Some(feature) = &clause.feature {
        writeln!(out, "  needs   {feature}")?;
    }
    if let Some(remark) = &clause.remark {
        writeln!(out, "  remark  {remark}")?;
    }
    Ok(HELD)
}
