//! A run as `JUnit` XML, for CI systems: a suite per plan and variant, a case per module. Whatever a
//! peer put into a message, the file stays well-formed.

use std::{
    fmt::{self, Display, Write as _},
    io::{self, Write},
};

use super::{Report, text};
use crate::suite::verdict::{Condition, ModuleReport, PlanReport, Status, Tally, Verdict};

/// Writes the report. Warnings and modules for review pass, and say so in `system-out`.
pub fn write(report: &Report, mut out: impl Write) -> io::Result<()> {
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        r#"<testsuites name="conformance of {}" {} time="{}">"#,
        Xml(&report.target),
        Counts(report.tally()),
        Seconds(report.seconds)
    )?;
    for plan in &report.plans {
        suite(report, plan, &mut out)?;
    }
    writeln!(out, "</testsuites>")?;
    out.flush()
}

fn suite(report: &Report, plan: &PlanReport, out: &mut impl Write) -> io::Result<()> {
    let variant = plan.variant_line();
    let name =
        if variant.is_empty() { plan.id.clone() } else { format!("{} [{variant}]", plan.id) };
    writeln!(
        out,
        r#"  <testsuite name="{}" {} time="{}" timestamp="{}">"#,
        Xml(&name),
        Counts(plan.tally()),
        Seconds(plan.sum_of_modules()),
        Xml(&report.started_at)
    )?;
    writeln!(out, "    <properties>")?;
    property(out, "target", &report.target)?;
    if let Some(version) = &report.target_version {
        property(out, "target_version", version)?;
    }
    property(out, "harness", &report.harness)?;
    property(out, "seed", &report.seed.to_string())?;
    for (name, value) in &report.options {
        property(out, &format!("option.{name}"), value)?;
    }
    if let Some(certification) = &plan.certification {
        property(out, "certification", certification)?;
    }
    for (parameter, value) in &plan.variant {
        property(out, &format!("variant.{parameter}"), value)?;
    }
    writeln!(out, "    </properties>")?;
    for module in &plan.modules {
        case(&name, module, out)?;
    }
    writeln!(out, "  </testsuite>")
}

fn property(out: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, r#"      <property name="{}" value="{}"/>"#, Xml(name), Xml(value))
}

/// One module. The class is the suite's full name: CI systems tell cases apart by class and name,
/// and a module is played once per variant.
fn case(suite: &str, module: &ModuleReport, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        r#"    <testcase classname="{}" name="{}" time="{}""#,
        Xml(suite),
        Xml(&module.id),
        Seconds(module.seconds)
    )?;
    match module.verdict {
        Verdict::Passed => return writeln!(out, "/>"),
        Verdict::Skipped | Verdict::NotYetSupported => {
            let reason = if module.note.is_empty() { "no reason given" } else { &module.note };
            let reason = match module.verdict {
                Verdict::NotYetSupported => format!("not yet supported: {reason}"),
                _ => reason.to_owned(),
            };
            writeln!(out, ">\n      <skipped message=\"{}\"/>", Xml(&reason))?;
        }
        Verdict::Failed => {
            let kind = if module.status == Status::Interrupted { "interrupted" } else { "failed" };
            let message = failure_message(module);
            write!(out, ">\n      <failure message=\"{}\" type=\"{kind}\">", Xml(&message))?;
            let mut why = String::new();
            for condition in module.problems() {
                why.push_str(&line(condition));
            }
            writeln!(out, "{}</failure>", Xml(&why))?;
            writeln!(out, "      <system-out>{}</system-out>", Xml(&record(module, true)))?;
        }
        Verdict::Warning | Verdict::Review => {
            writeln!(out, ">\n      <system-out>{}</system-out>", Xml(&record(module, false)))?;
        }
    }
    writeln!(out, "    </testcase>")
}

fn failure_message(module: &ModuleReport) -> String {
    let failed = module.problems().find(|condition| condition.verdict() == Verdict::Failed);
    match (module.note.is_empty(), failed) {
        (false, _) => module.note.clone(),
        (true, Some(condition)) => format!("{}: {}", condition.check, condition.message),
        (true, None) => "no reason given".into(),
    }
}

/// What a developer needs beside the message: what was played, and the conditions.
fn record(module: &ModuleReport, whole_log: bool) -> String {
    let mut text = format!(
        "{}: {}\nauthorization server: {}\nclient must: {}\nalias: {}\nclauses: {}\n",
        module.verdict,
        module.note,
        module.does,
        module.must,
        module.alias,
        module.clauses.join(", ")
    );
    if !module.expected_reasons.is_empty() {
        let (expected, seen) = (module.expected_reasons.join(", "), module.seen_reasons.join(", "));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "reason expected: one of {expected}; seen: {seen}");
    }
    text.push('\n');
    for condition in &module.log {
        if whole_log || condition.verdict() > Verdict::Passed {
            text.push_str(&line(condition));
        }
    }
    text
}

fn line(condition: &Condition) -> String {
    let held = match (condition.held, condition.verdict()) {
        (true, _) => "ok",
        (false, Verdict::Failed) => "FAILED",
        (false, Verdict::Warning) => "WARNING",
        (false, _) => "info",
    };
    let clauses = match condition.clauses.as_slice() {
        [] => String::new(),
        clauses => format!(" [{}]", clauses.join(", ")),
    };
    let Condition { at_ms, source, check, message, .. } = condition;
    format!("{at_ms:>7} ms  {held:<7}  {source}  {check}: {message}{clauses}\n")
}

struct Counts(Tally);

impl Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(tally) = self;
        let skipped = tally.skipped + tally.not_yet_supported;
        let (tests, failures) = (tally.total(), tally.failed);
        write!(out, r#"tests="{tests}" failures="{failures}" errors="0" skipped="{skipped}""#)
    }
}

struct Seconds(f64);

impl Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = text::milliseconds(self.0).max(0.0);
        write!(out, "{seconds:.3}")
    }
}

/// Text fit for an element or a quoted attribute. Characters that XML 1.0 cannot hold at all become
/// the replacement character, so that it can be seen that something was there.
struct Xml<'a>(&'a str);

impl Display for Xml<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&apos;")?,
                // As references: a parser turns them into spaces or lines of its own otherwise.
                '\t' | '\n' | '\r' => write!(out, "&#{};", u32::from(character))?,
                '\u{fffe}' | '\u{ffff}' => out.write_char('\u{fffd}')?,
                _ if character < ' ' => out.write_char('\u{fffd}')?,
                _ if text::is_hidden(character) => write!(out, "&#{};", u32::from(character))?,
                _ => out.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;
    use crate::suite::report::samples;

    fn written(report: &Report) -> String {
        let mut bytes = Vec::new();
        write(report, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn all<'a>(node: Node<'a, 'a>, name: &'static str) -> Vec<Node<'a, 'a>> {
        node.descendants().filter(|node| node.has_tag_name(name)).collect()
    }

    #[test]
    fn nothing_a_peer_sends_breaks_the_file_or_is_lost() {
        let report = samples::hostile();
        let text = written(&report);
        let document = Document::parse(&text).unwrap();
        let failure = all(document.root_element(), "failure")[0];
        let expected = samples::HOSTILE.replace(['\0', '\x1b', '\u{ffff}'], "\u{fffd}");
        assert_eq!(failure.attribute("message"), Some(expected.as_str()));
        assert!(failure.text().unwrap().contains(&expected));
        assert_eq!(all(document.root_element(), "testcase")[0].attribute("name"), Some(&*expected));
        assert_eq!(all(document.root_element(), "script").len(), 0);
    }

    #[test]
    fn each_verdict_has_its_form() {
        let text = written(&samples::small());
        let document = Document::parse(&text).unwrap();
        let root = document.root_element();
        assert_eq!(root.attribute("tests"), Some("7"));
        assert_eq!(root.attribute("failures"), Some("1"));
        assert_eq!(root.attribute("skipped"), Some("3"));
        let suites = all(root, "testsuite");
        assert_eq!(suites.len(), 2);
        assert_eq!(
            suites[0].attribute("name"),
            Some(
                "fapi2-security-profile-final-client-test-plan [client_auth_type=private_key_jwt sender_constrain=dpop]"
            )
        );
        let case = |verdict: &str| {
            let mut cases = all(root, "testcase").into_iter();
            cases.find(|case| case.attribute("name").unwrap().ends_with(verdict)).unwrap()
        };
        assert!(!case("happy-path").has_children());
        assert!(all(case("invalid-iss"), "failure").len() == 1);
        let log = all(case("invalid-iss"), "system-out")[0].text().unwrap();
        assert!(log.contains("ok") && log.contains("[EXAMPLE1-5.3.2.2-7]"), "{log}");
        let skipped = all(case("refresh-token-test"), "skipped")[0].attribute("message");
        assert_eq!(skipped, Some("needs an ecosystem profile"));
        let unsupported = all(suites[1], "skipped")[0].attribute("message");
        assert_eq!(unsupported, Some("not yet supported: JARM without OpenID Connect"));
        let warning = case("token-type-case-insensitivity");
        assert!(all(warning, "failure").is_empty() && all(warning, "skipped").is_empty());
        assert!(all(warning, "system-out")[0].text().unwrap().starts_with("WARNING: "));
    }

    #[test]
    fn properties_say_what_was_tested_and_how_to_repeat_it() {
        let text = written(&samples::small());
        let document = Document::parse(&text).unwrap();
        let suite = all(document.root_element(), "testsuite")[0];
        let property = |name: &str| {
            let mut properties = all(suite, "property").into_iter();
            let found = properties.find(|property| property.attribute("name") == Some(name));
            found.and_then(|property| property.attribute("value"))
        };
        assert_eq!(property("target"), Some("in process"));
        assert_eq!(property("seed"), Some("42"));
        assert_eq!(property("harness"), Some("0.1.0"));
        assert_eq!(property("option.wait"), Some("2"));
        assert_eq!(property("variant.sender_constrain"), Some("dpop"));
    }

    #[test]
    fn a_module_that_failed_without_a_word_still_fails() {
        let mut report = samples::small();
        for module in &mut report.plans[0].modules {
            module.note.clear();
            module.log.clear();
            module.seconds = f64::NAN;
        }
        let text = written(&report);
        let document = Document::parse(&text).unwrap();
        let failure = all(document.root_element(), "failure")[0];
        assert_eq!(failure.attribute("message"), Some("no reason given"));
    }
}
