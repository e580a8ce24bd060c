//! The plans' tables, what did not pass before them, and what a module shows when it is opened.

use std::fmt::{self, Display, Formatter};

use super::{
    Chips,
    escape::{Prose, Text},
};
use crate::suite::{
    report::{
        Report,
        anchors::Anchors,
        text::{counted, duration},
    },
    verdict::{Condition, ModuleReport, PlanReport, Status, Verdict},
};

/// The class of a verdict.
pub(super) const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Skipped => "skipped",
        Verdict::NotYetSupported => "unsupported",
        Verdict::Review => "review",
        Verdict::Warning => "warning",
        Verdict::Failed => "failed",
    }
}

/// A plan's variant, as words that break between parameters only; none where the title says it.
pub(super) struct Variant<'a>(pub(super) &'a PlanReport);

impl Display for Variant<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if self.0.variants().is_some() {
            return Ok(());
        }
        for (parameter, value) in &self.0.variant {
            write!(out, "<code class=\"pair\">{}={}</code> ", Text(parameter), Text(value))?;
        }
        Ok(())
    }
}

struct Clauses<'a>(&'a [String], &'a Anchors<'a>);

impl Display for Clauses<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (at, id) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            match self.1.clause(id) {
                Some(anchor) => write!(out, "{comma}<a href=\"#{anchor}\">{}</a>", Text(id))?,
                None => write!(out, "{comma}{}", Text(id))?,
            }
        }
        Ok(())
    }
}

/// Modules that failed, warned or ask for a look, with the conditions that say why.
pub(super) fn problems(
    report: &Report,
    anchors: &Anchors<'_>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    let mut open: Vec<_> = each(report).filter(|(.., module)| is_open(module)).collect();
    if open.is_empty() {
        return Ok(());
    }
    open.sort_by_key(|(.., module)| std::cmp::Reverse(module.verdict));
    writeln!(
        out,
        "<section aria-labelledby=\"problems\">\n<h2 id=\"problems\">What did not pass</h2>\n\
         <ul class=\"problems\">"
    )?;
    for (plan_at, at, plan, module) in open {
        writeln!(
            out,
            "<li class=\"{}\"><p>{} <a class=\"id\" href=\"#{}\">{}</a>\
             </p><p class=\"about quiet\">{} {}</p>",
            class(module.verdict),
            Badge(module),
            anchors.module(plan_at, at),
            Text(&module.id),
            Text(&plan.full_title()),
            Variant(plan)
        )?;
        if let Some(note) = module.note_beside_causes() {
            write!(out, "<p class=\"note\">{}</p>", Text(&note))?;
        }
        conditions(module, anchors, out)?;
        writeln!(out, "</li>")?;
    }
    writeln!(out, "</ul>\n</section>")
}

fn each(report: &Report) -> impl Iterator<Item = (usize, usize, &PlanReport, &ModuleReport)> {
    report.plans.iter().enumerate().flat_map(|(plan_at, plan)| {
        plan.modules.iter().enumerate().map(move |(at, module)| (plan_at, at, plan, module))
    })
}

const fn is_open(module: &ModuleReport) -> bool {
    matches!(module.verdict, Verdict::Failed | Verdict::Warning | Verdict::Review)
}

/// The conditions that speak against a module, and the exchange to look at first.
fn conditions(
    module: &ModuleReport,
    anchors: &Anchors<'_>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    let causes = module.causes();
    if causes.is_empty() {
        return Ok(());
    }
    writeln!(out, "<ul class=\"why\">")?;
    for condition in causes {
        let Condition { check, message, source, clauses, at_ms, .. } = condition;
        write!(
            out,
            "<li class=\"{}\"><code>{}</code> {} <span class=\"quiet\">({}, {at_ms} ms",
            class(condition.verdict()),
            Text(check),
            Text(message),
            Text(source)
        )?;
        if let Some(exchange) = module.exchange_before(condition) {
            let (method, url) = (Text(&exchange.method), Text(&exchange.url));
            write!(out, ", after {method} {url} from {}", Text(&exchange.from))?;
        }
        write!(out, ")</span>")?;
        if !clauses.is_empty() {
            let (shown, more) = clauses.split_at(clauses.len().min(CITED));
            write!(out, " <span class=\"cites\">{}</span>", Clauses(shown, anchors))?;
            if !more.is_empty() {
                let (count, more) = (more.len(), Clauses(more, anchors));
                write!(
                    out,
                    " <details class=\"list cites\"><summary>{count} more</summary>{more}</details>"
                )?;
            }
        }
        writeln!(out, "</li>")?;
    }
    writeln!(out, "</ul>")
}

/// So many clauses stand beside a condition; the others can be opened.
const CITED: usize = 3;

struct Badge<'a>(&'a ModuleReport);

impl Display for Badge<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let verdict = self.0.verdict;
        let word = if verdict == Verdict::NotYetSupported { "NOT YET" } else { verdict.word() };
        write!(out, "<span class=\"badge {}\" title=\"{}\">{word}</span>", class(verdict), verdict)
    }
}

/// Every plan with its modules, and the filter over all of them.
pub(super) fn plans(
    report: &Report,
    anchors: &Anchors<'_>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    writeln!(out, "<section aria-labelledby=\"modules\">\n<h2 id=\"modules\">Modules</h2>")?;
    filter(report, out)?;
    let mut number = 0;
    for (at, plan) in report.plans.iter().enumerate() {
        let open = if plan.is_unsupported() { "" } else { " open" };
        let anchor = Anchors::plan(at);
        writeln!(
            out,
            "<details class=\"plan\" id=\"{anchor}\"{open}>\n<summary><h3>{}</h3> {}</summary>\n\
             <p class=\"about\"><code>{}</code> {}</p>",
            Text(&plan.full_title()),
            Chips { tally: plan.tally(), failed: None },
            Text(&plan.id),
            Variant(plan)
        )?;
        if let Some(certification) = &plan.certification {
            writeln!(out, "<p class=\"about\">Certification profile: {}</p>", Text(certification))?;
        }
        writeln!(
            out,
            "<table class=\"modules\"><thead><tr><th scope=\"col\">Verdict</th>\
             <th scope=\"col\">Module</th><th scope=\"col\">The authorization server</th>\
             <th scope=\"col\">The client must</th><th scope=\"col\" class=\"num\">Time</th>\
             <th scope=\"col\">Note</th></tr></thead>"
        )?;
        for (module_at, module) in plan.modules.iter().enumerate() {
            row(module, number, anchors.module(at, module_at), anchors, out)?;
            number += 1;
        }
        writeln!(out, "</table>\n</details>")?;
    }
    writeln!(out, "</section>")
}

fn filter(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    let tally = report.tally();
    writeln!(
        out,
        "<form class=\"filter\" id=\"module-filter\" hidden>\n\
         <fieldset><legend>Verdict</legend>"
    )?;
    for verdict in Verdict::ALL.into_iter().rev().filter(|verdict| tally.count(*verdict) > 0) {
        let (class, label, count) = (class(verdict), verdict.label(), tally.count(verdict));
        writeln!(
            out,
            "<label class=\"chip {class}\"><input type=\"checkbox\" name=\"verdict\" value=\"{class}\"> \
             <b>{count}</b> {label}</label>"
        )?;
    }
    writeln!(
        out,
        "</fieldset>\n<label>Plan <select name=\"plan\"><option value=\"\">All plans</option>"
    )?;
    for (at, plan) in report.plans.iter().enumerate() {
        let (anchor, title) = (Anchors::plan(at), plan.full_title());
        let variant = if plan.variants().is_some() { String::new() } else { plan.variant_line() };
        let (title, variant) = (Text(&title), Text(&variant));
        writeln!(out, "<option value=\"{anchor}\">{title} {variant}</option>")?;
    }
    writeln!(
        out,
        "</select></label>\n<label class=\"wide\">Search <input type=\"search\" name=\"text\" \
         placeholder=\"id, clause, reason code, note\" autocomplete=\"off\" spellcheck=\"false\">\
         </label>\n<p class=\"shown\" role=\"status\"></p>\n<div class=\"buttons\"><button type=\"button\" name=\"expand\">Expand all</button> \
         <button type=\"button\" name=\"collapse\">Collapse all</button> \
         <button type=\"reset\">Reset</button></div>\n</form>"
    )
}

fn row(
    module: &ModuleReport,
    number: usize,
    anchor: &str,
    anchors: &Anchors<'_>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    let class = class(module.verdict);
    let time = match module.verdict {
        Verdict::Skipped | Verdict::NotYetSupported => String::new(),
        _ => duration(module.seconds),
    };
    let shown = module.shown_note();
    // What the list of causes says, too, goes when that is opened.
    let note = match module.note_beside_causes() {
        None if !shown.is_empty() => format!("<span class=\"told\">{}</span>", Text(&shown)),
        _ => Text(&shown).to_string(),
    };
    writeln!(
        out,
        "<tbody class=\"module\" id=\"{anchor}\" data-verdict=\"{class}\">\n\
         <tr><td>{}</td><th scope=\"row\"><a class=\"id\" href=\"#{anchor}\">{}</a></th><td>{}</td>\
         <td>{}</td><td class=\"num\">{time}</td><td>{note}</td></tr>\n\
         <tr class=\"more\"><td colspan=\"6\"><details><summary>Details</summary>\n\
         <dl class=\"facts\">",
        Badge(module),
        Text(&module.id),
        Prose(&module.does),
        Prose(&module.must)
    )?;
    if !module.clauses.is_empty() {
        let clauses = Clauses(&module.clauses, anchors);
        writeln!(
            out,
            "<div class=\"wide\"><dt>Clauses proven if it passes</dt><dd>{clauses}</dd></div>"
        )?;
    }
    reasons("Reason expected", &module.expected_reasons, " or ", out)?;
    if !(module.expected_reasons.is_empty() && module.seen_reasons.is_empty()) {
        reasons("Reasons seen", &module.seen_reasons, ", ", out)?;
        if module.seen_reasons.is_empty() {
            writeln!(out, "<div><dt>Reasons seen</dt><dd>none</dd></div>")?;
        }
    }
    if !module.alias.is_empty() {
        let alias = Text(&module.alias);
        writeln!(out, "<div><dt>Alias in the issuer</dt><dd><code>{alias}</code></dd></div>")?;
    }
    if module.status != Status::Finished {
        let status = format!("{:?}", module.status).to_lowercase();
        writeln!(out, "<div><dt>Ended as</dt><dd>{status}</dd></div>")?;
    }
    writeln!(out, "</dl>")?;
    conditions(module, anchors, out)?;
    if module.log.is_empty() && module.transcript.is_empty() {
        writeln!(out, "<p class=\"quiet\">Nothing was played, so there is no log.</p>")?;
    } else {
        let log = counted(module.log.len(), "condition");
        let transcript = counted(module.transcript.len(), "exchange");
        writeln!(
            out,
            "<div class=\"record\" data-module=\"{number}\"><p class=\"quiet\">The log of {log} and \
             {transcript} is drawn by this page's script; the JSON report has it too.</p></div>"
        )?;
    }
    writeln!(out, "</details></td></tr>\n</tbody>")
}

fn reasons(name: &str, reasons: &[String], between: &str, out: &mut Formatter<'_>) -> fmt::Result {
    if reasons.is_empty() {
        return Ok(());
    }
    write!(out, "<div><dt>{name}</dt><dd>")?;
    for (at, reason) in reasons.iter().enumerate() {
        let between = if at == 0 { "" } else { between };
        write!(out, "{between}<code>{}</code>", Text(reason))?;
    }
    writeln!(out, "</dd></div>")
}
