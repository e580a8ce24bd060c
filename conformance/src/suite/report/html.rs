//! A run as one HTML page that needs nothing else: for an architect, an auditor's file and a
//! developer. Style and script are their own files, allowed by their hashes and nothing else; the
//! tables are markup and can be read without the script, which filters them and draws logs and
//! transcripts from the data at the end of the page when they are opened.

use std::fmt::{self, Display, Formatter};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use self::escape::Text;
use super::{
    Report,
    anchors::Anchors,
    text::{counted, duration, moment},
};
use crate::suite::verdict::{Tally, Verdict};

mod coverage;
mod data;
mod escape;
mod modules;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The page.
pub fn page(report: &Report) -> String {
    Page { report, anchors: Anchors::of(report) }.to_string()
}

struct Page<'a> {
    report: &'a Report,
    anchors: Anchors<'a>,
}

impl Display for Page<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { report, anchors } = self;
        self.head(out)?;
        self.summary(out)?;
        if report.plans.len() > 1 {
            self.overview(out)?;
        }
        modules::problems(report, anchors, out)?;
        modules::plans(report, anchors, out)?;
        if let Some(coverage) = &report.coverage {
            coverage::section(coverage, anchors, out)?;
        }
        foot(report, out)?;
        write!(out, "</main>\n<script type=\"application/json\" id=\"data\">")?;
        write!(out, "{}", data::embedded(report))?;
        write!(out, "</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")
    }
}

impl Page<'_> {
    fn head(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let (style, script) = (hash(STYLE), hash(SCRIPT));
        let title = self.report.subject();
        writeln!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; \
             form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            Text(&title)
        )
    }

    fn summary(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let report = self.report;
        let tally = report.tally();
        let class = modules::class(tally.verdict());
        writeln!(
            out,
            "<header class=\"top {class}\">\n<p class=\"kind\">{}</p>\n\
             <h1>{}</h1>\n<p class=\"quiet\">{}</p>\n<p class=\"counts\">{}</p>\n\
             <dl class=\"facts\">",
            Text(&report.subject()),
            Text(&tally.headline()),
            report.explanation(),
            Chips { tally, failed: self.first_failed(None) }
        )?;
        let version = report.target_version.as_deref().unwrap_or("not known");
        let facts = [
            ("Target", report.place()),
            ("Product version", version),
            ("Started", &moment(&report.started_at)),
            ("Duration", &duration(report.seconds)),
            ("Seed", &report.seed.to_string()),
            ("Harness version", &report.harness),
        ];
        for (name, value) in facts {
            writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Text(value))?;
        }
        if !report.options.is_empty() {
            write!(out, "<div class=\"wide\"><dt>Options of the run</dt><dd>")?;
            for (name, value) in &report.options {
                write!(out, "<code class=\"pair\">{}={}</code> ", Text(name), Text(value))?;
            }
            writeln!(out, "</dd></div>")?;
        }
        writeln!(out, "</dl>")?;
        if !report.remarks.is_empty() {
            writeln!(out, "<h2 class=\"small\">Remarks</h2>\n<ul class=\"remarks\">")?;
            for remark in &report.remarks {
                writeln!(out, "<li>{}</li>", Text(remark))?;
            }
            writeln!(out, "</ul>")?;
        }
        writeln!(out, "</header>\n<main>")
    }

    fn overview(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "<section aria-labelledby=\"overview\">\n<h2 id=\"overview\">Overview</h2>\n\
             <table class=\"overview\"><thead><tr><th scope=\"col\">Plan</th>\
             <th scope=\"col\">Variant</th><th scope=\"col\">Modules</th>\
             <th scope=\"col\">Result</th><th scope=\"col\" class=\"num\">Sum of modules</th></tr>\
             </thead><tbody>"
        )?;
        for (at, plan) in self.report.plans.iter().enumerate() {
            let tally = plan.tally();
            writeln!(
                out,
                "<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th><td>{}</td>\
                 <td class=\"num\">{}</td><td>{}</td><td class=\"num\">{}</td></tr>",
                Anchors::plan(at),
                Text(&plan.full_title()),
                modules::Variant(plan),
                plan.modules.len(),
                Chips { tally, failed: self.first_failed(Some(at)) },
                if tally.tested() == 0 { String::new() } else { duration(plan.sum_of_modules()) }
            )?;
        }
        writeln!(out, "</tbody></table>\n</section>")
    }

    /// The anchor of the first module that failed, in the run or in one plan.
    fn first_failed(&self, within: Option<usize>) -> Option<&str> {
        let mut plans = self.report.plans.iter().enumerate();
        plans.find_map(|(at, plan)| {
            let failed = plan.modules.iter().position(|module| module.verdict == Verdict::Failed);
            let failed = failed.filter(|_| within.is_none_or(|wanted| wanted == at));
            failed.map(|module| self.anchors.module(at, module))
        })
    }
}

fn foot(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    writeln!(
        out,
        "<footer>\n<details><summary>What the verdicts mean</summary><dl class=\"legend\">\
         <dt>Passed</dt><dd>Every condition held, and the client did what it must do, for the \
         reason it should.</dd>\
         <dt>Warning</dt><dd>Every demand held; something is better avoided.</dd>\
         <dt>Review</dt><dd>What could be seen held; the rest a person must look at.</dd>\
         <dt>Failed</dt><dd>A condition did not hold, or the module could not be ended.</dd>\
         <dt>Skipped</dt><dd>Nothing was tested, for the reason in the note.</dd>\
         <dt>Not yet supported</dt><dd>The product has no such feature yet. Never counted as \
         passed.</dd></dl></details>\n\
         <p>Written by fapi-bff-conformance {} from one run of {} with seed {}. Modules bear the \
         ids of the OpenID Foundation's client tests where it has such a module. Secrets in transcripts are redacted.</p>\n</footer>",
        Text(&report.harness),
        counted(report.tally().total(), "module"),
        report.seed
    )
}

/// Counts by verdict, the worst first; that of the failed leads to the first of them, if told where.
struct Chips<'a> {
    tally: Tally,
    failed: Option<&'a str>,
}

impl Display for Chips<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for verdict in Verdict::ALL.into_iter().rev() {
            let count = self.tally.count(verdict);
            if count > 0 {
                let space = if first { "" } else { " " };
                let (class, label) = (modules::class(verdict), verdict.label());
                let chip = format!("class=\"chip {class}\"");
                match self.failed.filter(|_| verdict == Verdict::Failed) {
                    Some(to) => {
                        write!(out, "{space}<a {chip} href=\"#{to}\"><b>{count}</b> {label}</a>")?;
                    }
                    None => write!(out, "{space}<span {chip}><b>{count}</b> {label}</span>")?,
                }
                first = false;
            }
        }
        Ok(())
    }
}

/// The hash by which a content security policy allows an inline style or script.
fn hash(content: &str) -> String {
    STANDARD.encode(digest(&SHA256, content.as_bytes()))
}

#[cfg(test)]
mod tests;
