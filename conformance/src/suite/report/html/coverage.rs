//! The coverage of clauses by state: what asks for a look first, then what is proven and by what.

use std::{
    collections::BTreeSet,
    fmt::{self, Formatter},
};

use super::{
    escape::{Prose, Text},
    modules::class,
};
use crate::suite::{
    report::{
        ClauseCoverage, Coverage,
        anchors::{Anchors, Place},
        states::State,
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
    writeln!(
        out,
        "<section aria-labelledby=\"coverage\">\n<h2 id=\"coverage\">Clause coverage</h2>\n\
         <p class=\"counts\"><span class=\"chip\"><b>{}</b> clauses</span>",
        coverage.clauses.len()
    )?;
    for state in State::ALL {
        let count = coverage.in_state(state);
        // What nothing stands in is said without alarm.
        let tone = if count == 0 { "skipped" } else { tone(state) };
        write!(out, " <span class=\"chip {tone}\"><b>{count}</b> {}</span>", state.label())?;
    }
    writeln!(
        out,
        "</p>\n<p class=\"quiet\">Contradicted: a module of this run that names the clause failed or was \
         broken off. \
         Not built: the product does not have the feature yet. Proven: a module of this run that \
         names it passed, or a test of the project cites it. Remarked: nothing here proves it, and \
         the remark says why. Unproven: none of these.</p>"
    )?;
    filter(coverage, out)?;
    let is_proven = |state: &State| matches!(state, State::Modules | State::Tests);
    let (proven, open): (Vec<_>, Vec<_>) = State::ALL.into_iter().partition(is_proven);
    for state in open {
        table(title(state), coverage, &[state], anchors, out)?;
    }
    table("Proven", coverage, &proven, anchors, out)?;
    writeln!(out, "</section>")
}

/// The class of a state, by the verdict that is like it.
const fn tone(state: State) -> &'static str {
    match state {
        State::Contradicted => "failed",
        State::Unproven => "warning",
        State::Remarked => "review",
        State::NotBuilt => "unsupported",
        State::Modules | State::Tests => "passed",
    }
}

const fn title(state: State) -> &'static str {
    match state {
        State::Contradicted => "Contradicted",
        State::Unproven => "Unproven",
        State::Remarked => "Remarked",
        State::NotBuilt => "Not built",
        State::Modules | State::Tests => "Proven",
    }
}

fn filter(coverage: &Coverage, out: &mut Formatter<'_>) -> fmt::Result {
    write!(
        out,
        "<form class=\"filter\" id=\"clause-filter\" hidden>\n\
         <label>State <select name=\"state\"><option value=\"\">All clauses</option>"
    )?;
    for state in State::ALL {
        let (key, label, count) = (state.key(), state.label(), coverage.in_state(state));
        write!(out, "<option value=\"{key}\">{label} ({count})</option>")?;
    }
    writeln!(out, "</select></label>")?;
    let sections = coverage.clauses.iter().map(|clause| clause.section.as_str());
    select("Section", "section", "All sections", sections.collect::<BTreeSet<_>>(), out)?;
    let levels: BTreeSet<_> = coverage.clauses.iter().map(|clause| level(&clause.level)).collect();
    let (known, others): (Vec<_>, Vec<_>) =
        levels.into_iter().partition(|level| LEVELS.contains(level));
    let ordered = LEVELS.into_iter().filter(|level| known.contains(level)).chain(others);
    select("Level", "level", "All levels", ordered, out)?;
    writeln!(
        out,
        "<label class=\"wide\">Search <input type=\"search\" name=\"text\" \
         placeholder=\"id, source, requirement, feature, module, test\" autocomplete=\"off\" \
         spellcheck=\"false\"></label>\n<div class=\"buttons\"><button type=\"reset\">Reset</button>\
         </div>\n<p class=\"shown\" role=\"status\"></p>\n</form>"
    )
}

/// The strongest first.
const LEVELS: [&str; 4] = ["MUST", "SHOULD", "MAY", "project"];

/// The first word of a level, by which clauses are grouped. RECOMMENDED is RFC 2119's other word for
/// SHOULD.
fn level(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_alphanumeric()).unwrap_or(text.len());
    match text.get(..end).unwrap_or_default() {
        "RECOMMENDED" => "SHOULD",
        "" => text,
        word => word,
    }
}

fn select<'a>(
    label: &str,
    name: &str,
    all: &str,
    values: impl IntoIterator<Item = &'a str>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    write!(out, "<label>{label} <select name=\"{name}\"><option value=\"\">{all}</option>")?;
    for value in values {
        write!(out, "<option>{}</option>", Text(value))?;
    }
    writeln!(out, "</select></label>")
}

fn table(
    title: &str,
    coverage: &Coverage,
    states: &[State],
    anchors: &Anchors<'_>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    let within = |clause: &&ClauseCoverage| states.contains(&State::of(clause));
    let clauses: Vec<_> = coverage.clauses.iter().filter(within).collect();
    if clauses.is_empty() {
        return Ok(());
    }
    // Long lists that call for nothing are there for those who look for them.
    let open = states.iter().any(|state| matches!(state, State::Contradicted | State::Unproven));
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
    let state = State::of(clause);
    let id = Text(&clause.id);
    let anchor = anchors.clause(&clause.id).unwrap_or_default();
    writeln!(
        out,
        "<tr id=\"{anchor}\" data-state=\"{}\" data-section=\"{}\" data-level=\"{}\">\
         <th scope=\"row\"><a class=\"id\" href=\"#{anchor}\">{id}</a> \
         <span class=\"chip {}\">{}</span></th><td>{}</td><td>{}</td><td>{}</td><td>",
        state.key(),
        Text(&clause.section),
        Text(level(&clause.level)),
        tone(state),
        state.label(),
        Text(&clause.source),
        Text(&clause.level),
        Prose(&clause.requirement)
    )?;
    if let Some(feature) = &clause.feature {
        writeln!(out, "<p>Needs the feature <code>{}</code>.</p>", Text(feature))?;
    }
    let against = |verdict| verdict == Verdict::Failed;
    let speaks_for = |verdict| matches!(verdict, Verdict::Passed | Verdict::Warning);
    if !clause.open_modules.is_empty() {
        writeln!(out, "<p class=\"word failed\">Against it</p>")?;
        links(&clause.open_modules, "module", against, anchors, out)?;
        if !(clause.modules.is_empty() && clause.tests.is_empty()) {
            writeln!(out, "<p class=\"word passed\">For it</p>")?;
        }
    }
    links(&clause.modules, "module", speaks_for, anchors, out)?;
    tests(&clause.tests, out)?;
    if clause.modules.is_empty() && clause.open_modules.is_empty() && clause.tests.is_empty() {
        writeln!(out, "<p class=\"quiet\">No module of this run and no test proves it.</p>")?;
    }
    if let Some(remark) = &clause.remark {
        writeln!(out, "<p>{}</p>", Prose(remark))?;
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
        if place.verdict != Verdict::Passed {
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
