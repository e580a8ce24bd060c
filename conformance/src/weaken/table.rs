//! The findings as text for people. Pure; it must not know where they come from.

use std::{fmt::Write as _, time::Duration};

use super::{Finding, Outcome};

/// Longest note in the table, in characters.
const NOTE: usize = 160;

/// Every finding, and what they come to.
pub fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    let width = |of: fn(&Finding) -> usize| findings.iter().map(of).max().unwrap_or_default();
    let outcome = width(|finding| finding.outcome.word().len());
    let name = width(|finding| finding.name.chars().count());
    for finding in findings {
        let (word, seconds) = (finding.outcome.word(), finding.seconds);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{word:<outcome$}  {seconds:>5.1}  {:<name$}  {}",
            finding.name, finding.removes
        );
        let modules = finding.modules.join(", ");
        let _ = writeln!(text, "{:indent$}{modules}", "", indent = outcome + 9);
        let note = finding.note.lines().next().unwrap_or_default();
        if !note.is_empty() {
            let note = shortened(note);
            let _ = writeln!(text, "{:indent$}{note}", "", indent = outcome + 9);
        }
    }
    let noticed = findings.iter().filter(|finding| finding.outcome == Outcome::Noticed).count();
    let seconds: f64 = findings.iter().map(|finding| finding.seconds).sum();
    let _ = writeln!(text, "\n{noticed} of {} weakenings noticed; {seconds:.0} s", findings.len());
    for finding in findings.iter().filter(|finding| finding.outcome != Outcome::Noticed) {
        let word = finding.outcome.word();
        let _ = writeln!(text, "{word}: {}: {}", finding.name, finding.note);
    }
    text
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= NOTE {
        return text.to_owned();
    }
    text.chars().take(NOTE - 1).chain(['…']).collect()
}

/// How long the rest will take, by the mean so far.
pub fn time_left(done: &[Finding], left: usize) -> Option<Duration> {
    if done.is_empty() {
        return None;
    }
    let spent: f64 = done.iter().map(|finding| finding.seconds).sum();
    let done = u32::try_from(done.len()).ok()?;
    let left = u32::try_from(left).ok()?;
    Duration::try_from_secs_f64(spent / f64::from(done) * f64::from(left)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &str, outcome: Outcome, seconds: f64) -> Finding {
        Finding {
            name: name.into(),
            removes: "Nothing is compared.".into(),
            modules: vec!["some-module".into()],
            clauses: vec![],
            outcome,
            note: "client_went_on: why\nmore".into(),
            seconds,
        }
    }

    #[test]
    fn what_was_not_noticed_is_named_again_at_the_end() {
        let text = table(&[
            finding("good", Outcome::Noticed, 10.0),
            finding("blind", Outcome::NotNoticed, 20.0),
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "NOTICED       10.0  good   Nothing is compared.");
        assert_eq!(lines[1].trim(), "some-module");
        assert_eq!(lines[2].trim(), "client_went_on: why");
        assert!(text.contains("1 of 2 weakenings noticed; 30 s"), "{text}");
        assert!(text.contains("NOT NOTICED: blind: client_went_on: why"), "{text}");
        assert!(table(&[]).contains("0 of 0"));
    }

    #[test]
    fn the_time_left_goes_by_the_mean_so_far() {
        assert_eq!(time_left(&[], 3), None);
        let done = [finding("a", Outcome::Noticed, 10.0), finding("b", Outcome::Noticed, 20.0)];
        assert_eq!(time_left(&done, 4), Some(Duration::from_secs(60)));
        assert_eq!(time_left(&done, 0), Some(Duration::ZERO));
    }
}
