//! The coverage of clauses: what is open first, then what is proven and by what.

use std::{
    collections::BTreeSet,
    fmt::{self, Formatter},
};

use super::{escape::Text, modules::class};
use crate::suite::{
    report::{
        ClauseCoverage, Coverage, Standing,
        anchors::{Anchors, Place},
        text::counted,
    },
    verdict::Verdict,
};

/// Lists up to this long stand in the table as they are; longer ones can be opened.
const SHORT: usize = 3;

pub(super) fn section(
    coverage: &Coverage,
    anchors: &Anchors<'_>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    let [modules, tests, open] = [Standing::Modules, Standing::Tests, Standing::Open]
        .map(|standing| coverage.count(standing));
    writeln!(
        out,
        "<section aria-labelledby=\"coverage\">\n<h2 id=\"coverage\">Clause coverage</h2>\n\
         <p class=\"counts\"><span class=\"chip\"><b>{}</b> clauses</span> \
         <span class=\"chip passed\"><b>{modules}</b> proven by modules</span> \
         <span class=\"chip passed\"><b>{tests}</b> proven by tests</span> \
         <span class=\"chip {}\"><b>{open}</b> open</span></p>\n\
         <p class=\"quiet\">A clause is proven if a module of this run that names it passed, or a \
         test of the project cites it, and no module that names it is open.</p>",
        coverage.clauses.len(),
        if open == 0 { "passed" } else { "warning" }
    )?;
    filter(coverage, out)?;
    let is_open = |clause: &&ClauseCoverage| clause.standing() == Standing::Open;
    let (open, proven): (Vec<_>, Vec<_>) = coverage.clauses.iter().partition(is_open);
    table("Open clauses", &open, true, anchors, out)?;
    table("Proven clauses", &proven, open.is_empty(), anchors, out)?;
    writeln!(out, "</section>")
}

fn filter(coverage: &Coverage, out: &mut Formatter<'_>) -> fmt::Result {
    writeln!(
        out,
        "<form class=\"filter\" id=\"clause-filter\" hidden>\n\
         <label>Standing <select name=\"standing\"><option value=\"\">All clauses</option>\
         <option value=\"open\">Open</option><option value=\"modules\">Proven by modules</option>\
         <option value=\"tests\">Proven by tests only</option></select></label>"
    )?;
    let sections = coverage.clauses.iter().map(|clause| clause.section.as_str());
    select("Section", "section", "All sections", sections, out)?;
    let levels = coverage.clauses.iter().map(|clause| clause.level.as_str());
    select("Level", "level", "All levels", levels, out)?;
    writeln!(
        out,
        "<label class=\"wide\">Search <input type=\"search\" name=\"text\" \
         placeholder=\"id, source, requirement, module, test\" autocomplete=\"off\" \
         spellcheck=\"false\"></label>\n<div class=\"buttons\"><button type=\"reset\">Reset</button>\
         </div>\n<p class=\"shown\" role=\"status\"></p>\n</form>"
    )
}

fn select<'a>(
    label: &str,
    name: &str,
    all: &str,
    values: impl Iterator<Item = &'a str>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    write!(out, "<label>{label} <select name=\"{name}\"><option value=\"\">{all}</option>")?;
    for value in values.collect::<BTreeSet<_>>() {
        write!(out, "<option>{}</option>", Text(value))?;
    }
    writeln!(out, "</select></label>")
}

fn table(
    title: &str,
    clauses: &[&ClauseCoverage],
    open: bool,
    anchors: &Anchors<'_>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    if clauses.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<details class=\"plan\"{}>\n<summary><h3>{title}</h3> <span class=\"chip\"><b>{}</b>\
         </span></summary>\n<table class=\"clauses\"><thead><tr><th scope=\"col\">Clause</th>\
         <th scope=\"col\">Source</th><th scope=\"col\">Level</th>\
         <th scope=\"col\">Requirement</th><th scope=\"col\">Evidence</th></tr></thead>\n<tbody>",
        if open { " open" } else { "" },
        clauses.len()
    )?;
    for clause in clauses {
        row(clause, anchors, out)?;
    }
    writeln!(out, "</tbody></table>\n</details>")
}

fn row(clause: &ClauseCoverage, anchors: &Anchors<'_>, out: &mut Formatter<'_>) -> fmt::Result {
    let standing = match clause.standing() {
        Standing::Open => "open",
        Standing::Modules => "modules",
        Standing::Tests => "tests",
    };
    let id = Text(&clause.id);
    let anchor = anchors.clause(&clause.id).unwrap_or_default();
    writeln!(
        out,
        "<tr id=\"{anchor}\" data-standing=\"{standing}\" data-section=\"{}\" data-level=\"{}\">\
         <th scope=\"row\"><a class=\"id\" href=\"#{anchor}\">{id}</a></th><td>{}</td><td>{}</td>\
         <td>{}</td><td>",
        Text(&clause.section),
        Text(&clause.level),
        Text(&clause.source),
        Text(&clause.level),
        Text(&clause.requirement)
    )?;
    let passed = |verdict| verdict == Verdict::Passed;
    links(&clause.open_modules, "open module", |verdict| !passed(verdict), anchors, out)?;
    links(&clause.modules, "module", passed, anchors, out)?;
    tests(&clause.tests, out)?;
    if clause.modules.is_empty() && clause.open_modules.is_empty() && clause.tests.is_empty() {
        writeln!(out, "<p>No module of this run and no test names it.</p>")?;
    }
    if let Some(remark) = &clause.remark {
        writeln!(out, "<p>{}</p>", Text(remark))?;
    }
    writeln!(out, "</td></tr>")
}

/// Modules by id, each once with a link to the first place where it ended so, and how many there are.
fn links(
    names: &[String],
    noun: &str,
    counts: impl Fn(Verdict) -> bool,
    anchors: &Anchors<'_>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    let mut entries: Vec<(&str, Option<Place<'_>>, usize)> = Vec::new();
    for name in names {
        let places = anchors.named(name);
        let mut places = places.iter().copied().filter(|place| counts(place.verdict));
        let first = places.next();
        let id = first.map_or(name.as_str(), |place| place.id);
        if entries.iter().all(|(known, ..)| *known != id) {
            entries.push((id, first, 1 + places.count()));
        }
    }
    list(&entries, noun, out, |(id, place, plans), out| {
        let Some(place) = place else { return write!(out, "{}", Text(id)) };
        write!(out, "<a class=\"id\" href=\"#{}\">{}</a>", anchors.place(*place), Text(id))?;
        if !counts(Verdict::Passed) {
            let (class, word) = (class(place.verdict), place.verdict.label());
            write!(out, " <span class=\"word {class}\">{word}</span>")?;
        }
        if *plans > 1 {
            write!(out, " <span class=\"quiet\">in {plans} plans</span>")?;
        }
        Ok(())
    })
}

fn tests(names: &[String], out: &mut Formatter<'_>) -> fmt::Result {
    list(names, "test", out, |name, out| {
        let (file, test) = name.rsplit_once("::").unwrap_or(("", name));
        write!(out, "<code>{}</code>", Text(test))?;
        if !file.is_empty() {
            write!(out, " <span class=\"quiet\">{}</span>", Text(file))?;
        }
        Ok(())
    })
}

fn list<T>(
    items: &[T],
    noun: &str,
    out: &mut Formatter<'_>,
    item: impl Fn(&T, &mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    let count = counted(items.len(), noun);
    if items.len() > SHORT {
        write!(out, "<details class=\"list\"><summary>{count}</summary>")?;
    }
    write!(out, "<ul>")?;
    for entry in items {
        write!(out, "<li>")?;
        item(entry, out)?;
        write!(out, "</li>")?;
    }
    write!(out, "</ul>")?;
    if items.len() > SHORT { writeln!(out, "</details>") } else { writeln!(out) }
}
