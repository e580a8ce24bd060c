//! A run as text: the table of its modules by plan, what failed and where to look. Rendering is
//! pure; only [`Style::of`] looks at the world.

use std::{borrow::Cow, env, io::IsTerminal};

pub use self::progress::Progress;
use super::{
    Report,
    anchors::Anchors,
    text::{counted, duration, milliseconds, one_line, rough},
};
use crate::suite::verdict::{Condition, ModuleReport, PlanReport, Verdict};

mod progress;

/// How much is said when the width is not known: all of it.
const WITHOUT_END: usize = usize::MAX;

/// What the reader's terminal can show.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// Columns; `None` where lines may have any length, as in a file.
    pub width: Option<usize>,
    /// Whether verdicts are coloured.
    pub colour: bool,
    /// Whether characters beyond ASCII are shown; they are spelt out otherwise.
    pub unicode: bool,
    /// Where the HTML page of the same run is, to point into it.
    pub page: Option<String>,
}

impl Style {
    /// The style for a stream: plain unless it is a terminal that can do more.
    pub fn of(stream: &impl IsTerminal) -> Self {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self::from_environment(stream.is_terminal(), width, variable)
    }

    fn from_environment(
        terminal: bool,
        width: Option<usize>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        if !terminal {
            return Self::default();
        }
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(&variable);
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        let dumb = variable("TERM").is_none_or(|name| name == "dumb");
        Self {
            width: Some(width.filter(|width| *width > 0).unwrap_or(80)),
            colour: variable("NO_COLOR").is_none() && !dumb,
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            page: None,
        }
    }

    fn verdict(&self, verdict: Verdict, width: usize) -> String {
        self.paint(verdict, &format!("{verdict:<width$}"))
    }

    fn paint(&self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            _ if !self.colour => return text.to_owned(),
            Verdict::Passed => "32",
            Verdict::Skipped | Verdict::NotYetSupported => "2",
            Verdict::Review => "36",
            Verdict::Warning => "33",
            Verdict::Failed => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn line(&self, text: &str) -> String {
        one_line(text, !self.unicode)
    }

    /// The text, cut so that it fits.
    fn cut<'a>(&self, text: &'a str, width: usize) -> Cow<'a, str> {
        if text.chars().count() <= width {
            return Cow::Borrowed(text);
        }
        let mark = if self.unicode { "…" } else { "..." };
        let kept = width.saturating_sub(mark.chars().count());
        Cow::Owned(text.chars().take(kept).chain(mark.chars().take(width)).collect())
    }

    fn room(&self, taken: usize) -> usize {
        self.width.map_or(WITHOUT_END, |width| width.saturating_sub(taken))
    }

    /// Adds a text in lines that fit, all but the first further in.
    fn wrapped(&self, out: &mut String, first: &str, text: &str) {
        let indent = " ".repeat(first.chars().count());
        let room = self.room(indent.len()).max(20);
        let mut line = String::new();
        let mut start = first;
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                push_line(out, start, &line);
                line.clear();
                start = &indent;
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        push_line(out, start, &line);
    }
}

fn push_line(out: &mut String, start: &str, rest: &str) {
    let line = [start, rest].concat().replace(NO_BREAK, " ");
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Keeps a number and its unit in one line; written as a space.
const NO_BREAK: char = '\u{a0}';

fn unbroken(seconds: f64) -> String {
    duration(seconds).replace(' ', &NO_BREAK.to_string())
}

/// The whole run.
#[expect(clippy::needless_pass_by_value, reason = "a style is made for one table")]
pub fn table(report: &Report, style: Style) -> String {
    let anchors = Anchors::of(report);
    let mut out = String::new();
    style.wrapped(&mut out, "", &style.line(&report.heading()));
    let options = report.options.iter().map(|(name, value)| format!("{name}={value}"));
    let options: Vec<_> = options
        .chain([format!("seed={}", report.seed), format!("harness={}", report.harness)])
        .collect();
    style.wrapped(&mut out, "  options: ", &style.line(&options.join(", ")));
    for remark in &report.remarks {
        style.wrapped(&mut out, "  note: ", &style.line(remark));
    }
    out.push('\n');
    for (at, plan) in report.plans.iter().enumerate().filter(|(_, plan)| !plan.is_unsupported()) {
        let places: Vec<_> =
            (0..plan.modules.len()).map(|module| anchors.module(at, module)).collect();
        let rows = Rows { elsewhere: !report.is_in_process(), ..Rows::of(plan, &places, &style) };
        rows.render(&mut out);
    }
    unsupported(report, &style, &mut out);
    total(report, &style, &mut out);
    out
}

fn unsupported(report: &Report, style: &Style, out: &mut String) {
    let mut plans = report.plans.iter().filter(|plan| plan.is_unsupported()).peekable();
    if plans.peek().is_none() {
        return;
    }
    out.push_str("Not yet supported:\n");
    for plan in plans {
        let reason = plan.modules.first().map(ModuleReport::shown_note).unwrap_or_default();
        let modules = counted(plan.modules.len(), "module");
        let line = match plan.variants() {
            Some(variants) => format!("{} ({variants} variants, {modules}): {reason}", plan.id),
            None => format!("{} {} ({modules}): {reason}", plan.id, plan.variant_line()),
        };
        style.wrapped(out, "  ", &style.line(line.trim_end_matches(": ")));
    }
    out.push('\n');
}

fn total(report: &Report, style: &Style, out: &mut String) {
    let tally = report.tally();
    let modules = counted(tally.total(), "module");
    let plans = counted(report.plans.len(), "plan");
    let summary = tally.summary();
    let parts = [summary, unbroken(report.seconds)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let total = format!("{modules} in {plans}: {}", parts.join("; "));
    style.wrapped(out, "Total: ", &total);
    if let Some(coverage) = &report.coverage {
        let clauses = counted(coverage.clauses.len(), "clause");
        style.wrapped(out, "Coverage: ", &format!("{clauses}: {}", coverage.counts()));
    }
    let headline = format!("{}.", tally.headline());
    out.push_str(&style.paint(tally.verdict(), &headline));
    out.push('\n');
}

/// The rows of one plan and the widths of their columns.
struct Rows<'a> {
    plan: &'a PlanReport,
    places: &'a [&'a str],
    style: &'a Style,
    prefix: &'a str,
    verdict: usize,
    id: usize,
    /// Whether the target has a log of its own to look into.
    elsewhere: bool,
}

impl<'a> Rows<'a> {
    fn of(plan: &'a PlanReport, places: &'a [&'a str], style: &'a Style) -> Self {
        let prefix = if style.width.is_some() { common_prefix(plan) } else { "" };
        let widest = |width: fn(&ModuleReport) -> usize| plan.modules.iter().map(width).max();
        let verdict = widest(|module| module.verdict.word().len()).unwrap_or(0);
        let longest = widest(|module| module.id.chars().count()).unwrap_or(0);
        // The note gets a third of the line at least.
        let most = style.width.map_or(WITHOUT_END, |width| {
            (width * 2 / 3).saturating_sub(verdict + SECONDS + 6).max(12)
        });
        let id = longest.saturating_sub(prefix.chars().count()).min(most);
        Self { plan, places, style, prefix, verdict, id, elsewhere: false }
    }

    fn render(&self, out: &mut String) {
        let Self { plan, style, .. } = self;
        style.wrapped(out, "", &style.line(&format!("{}: {}", plan.id, plan.title)));
        if let Some(variants) = plan.variants() {
            style.wrapped(out, "  ", &style.line(&format!("{variants} variants")));
        } else if !plan.variant.is_empty() {
            style.wrapped(out, "  ", &style.line(&plan.variant_line()));
        }
        if let Some(certification) = &plan.certification {
            style.wrapped(out, "  profile: ", &style.line(certification));
        }
        if !self.prefix.is_empty() {
            style.wrapped(out, "  ids begin with ", &style.line(self.prefix));
        }
        for (at, module) in plan.modules.iter().enumerate() {
            self.row(module, out);
            if module.verdict == Verdict::Failed {
                self.why(module, self.places.get(at).copied().unwrap_or_default(), out);
            }
        }
        let tally = plan.tally();
        let modules = counted(tally.total(), "module");
        let sum = format!("sum of modules {}", duration(plan.sum_of_modules()));
        let sum = sum.replace(' ', &NO_BREAK.to_string());
        let parts = [tally.summary(), sum];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        style.wrapped(out, "  ", &format!("{modules}: {}", parts.join("; ")));
        out.push('\n');
    }

    fn row(&self, module: &ModuleReport, out: &mut String) {
        let style = self.style;
        let id = style.line(module.id.strip_prefix(self.prefix).unwrap_or(&module.id));
        let id = style.cut(&id, self.id);
        let (verdict, width) = (style.verdict(module.verdict, self.verdict), self.id);
        let seconds = format!("{:.1}", milliseconds(module.seconds));
        let row = format!("  {verdict}  {id:<width$}  {seconds:>SECONDS$}");
        // The causes stand below what failed.
        let note = match module.verdict {
            Verdict::Failed => module.note_beside_causes().unwrap_or_default(),
            _ => module.shown_note(),
        };
        let note = style.line(&note);
        let note = style.cut(&note, style.room(self.verdict + self.id + SECONDS + 8));
        push_line(out, &row, &format!("  {note}"));
    }

    fn why(&self, module: &ModuleReport, place: &str, out: &mut String) {
        let style = self.style;
        let mut first = None;
        for condition in module.causes() {
            let Condition { check, message, source, clauses, .. } = condition;
            let clauses = cited(clauses);
            let line = format!("{check}: {message} ({source}){clauses}");
            let bullet = match condition.verdict() {
                Verdict::Failed => "      x ",
                _ => "      ! ",
            };
            style.wrapped(out, bullet, &style.line(&line));
            if condition.verdict() == Verdict::Failed {
                first.get_or_insert(condition);
            }
        }
        if !module.expected_reasons.is_empty() {
            let seen = match module.seen_reasons.as_slice() {
                [] => "none".to_owned(),
                seen => seen.join(", "),
            };
            let reasons = format!("{}; seen: {seen}", module.expected_reasons.join(" or "));
            style.wrapped(out, "      reason expected: ", &style.line(&reasons));
        }
        if let Some((condition, exchange)) =
            first.and_then(|condition| Some((condition, module.exchange_before(condition)?)))
        {
            let line = format!(
                "at {} ms, after {} {} from {} to {} (status {})",
                condition.at_ms,
                exchange.method,
                exchange.url,
                exchange.from,
                exchange.to,
                exchange.status
            );
            style.wrapped(out, "      ", &style.line(&line));
        }
        let page = style.page.as_ref().map(|page| format!("{page}#{place}"));
        let log = self.elsewhere.then(|| format!("alias {} in the BFF's log", module.alias));
        let look: Vec<_> = page.into_iter().chain(log).collect();
        if !look.is_empty() {
            style.wrapped(out, "      look: ", &style.line(&look.join("; ")));
        }
    }
}

/// The first clauses of a condition; the other forms have them all.
fn cited(clauses: &[String]) -> String {
    let shown: Vec<_> = clauses.iter().take(CITED).map(String::as_str).collect();
    match clauses.len() {
        0 => String::new(),
        all if all > CITED => format!(" [{} and {} more]", shown.join(", "), all - CITED),
        _ => format!(" [{}]", shown.join(", ")),
    }
}

/// So many clauses stand beside a condition.
const CITED: usize = 3;

/// The width of the seconds' column.
const SECONDS: usize = 6;

/// What all ids of a plan begin with, up to and with a hyphen, if leaving it out is worth a line.
fn common_prefix(plan: &PlanReport) -> &str {
    let mut ids = plan.modules.iter().map(|module| module.id.as_str());
    let Some(first) = ids.next().filter(|_| plan.modules.len() > 1) else { return "" };
    let shared = ids.fold(first.len(), |shared, id| {
        let same = first.bytes().zip(id.bytes()).take_while(|(one, other)| one == other).count();
        shared.min(same)
    });
    let end = first.bytes().take(shared).rposition(|byte| byte == b'-').map_or(0, |at| at + 1);
    first.get(..end).filter(|prefix| prefix.len() >= 10).unwrap_or("")
}

#[cfg(test)]
mod tests;
