//! What every form for people says in the same words: what was tested and where, a plan's title, a
//! module's note and what speaks against it. It must not know the form.

use std::borrow::Cow;

use super::{
    Report,
    text::{milliseconds, moment},
};
use crate::suite::verdict::{Condition, ModuleReport, PlanReport, Verdict};

const PRODUCT: &str = "fapi-bff";
const IN_PROCESS: &str = "in process";
const OFFICIAL_SUITE: &str = "the official suite";

/// The check that fails whenever a script ends early, whatever ended it.
const NEVER_FINISHED: &str = "never_finished";
const STOPPED: &str = "its script stopped at a condition";

impl Report {
    /// Whether the harness started the target itself.
    pub(super) fn is_in_process(&self) -> bool {
        self.target == IN_PROCESS
    }

    /// What was tested: `Conformance of fapi-bff 0.1.0`.
    pub(super) fn subject(&self) -> String {
        let version = self.target_version.as_deref().map(|version| format!(" {version}"));
        let version = version.unwrap_or_default();
        match self.target.as_str() {
            IN_PROCESS => format!("Conformance of {PRODUCT}{version}"),
            OFFICIAL_SUITE => format!("Conformance run with {OFFICIAL_SUITE}{version}"),
            target => format!("Conformance of {target}{version}"),
        }
    }

    /// Where it was tested.
    pub(super) fn place(&self) -> &str {
        if self.is_in_process() { "in the harness's own process" } else { &self.target }
    }

    /// The first line: what was tested, where and when.
    pub(super) fn heading(&self) -> String {
        let place = if self.is_in_process() { ", in the harness's own process" } else { "" };
        format!("{}{place}, {}", self.subject(), moment(&self.started_at))
    }

    /// What the headline means and what kind of document this is.
    pub(super) fn explanation(&self) -> &'static str {
        if self.target == OFFICIAL_SUITE {
            return "Supported are modules whose feature the product has. Played by the OpenID \
                    Foundation's suite; this report is not a certification.";
        }
        "Supported are modules whose feature the product has; the others are listed as not yet \
         supported and never count as passed. This is the product's own harness, in the shape of \
         the OpenID Foundation's suite; it is not a certification."
    }
}

impl PlanReport {
    /// The counts of a plan's variants, as `335 of 336`, where it stands for several.
    pub(super) fn variants(&self) -> Option<&str> {
        let only = if self.variant.len() == 1 { self.variant.get("variants") } else { None };
        only.map(String::as_str)
    }

    /// The title, unlike that of another part of the same plan.
    pub(super) fn full_title(&self) -> Cow<'_, str> {
        let Some(variants) = self.variants() else { return Cow::Borrowed(&self.title) };
        let every = variants.split_once(" of ").is_some_and(|(some, all)| some == all);
        let which = if every { "every variant" } else { "other variants" };
        Cow::Owned(format!("{}: {which} ({variants})", self.title))
    }

    /// How long its modules took together, from what is written of each.
    pub(super) fn sum_of_modules(&self) -> f64 {
        self.modules.iter().map(|module| milliseconds(module.seconds)).sum()
    }
}

impl ModuleReport {
    /// The note as it is shown; what is needed as a list where it is more than one thing.
    pub(super) fn shown_note(&self) -> Cow<'_, str> {
        let needs = self.note.strip_prefix("needs ").filter(|needs| needs.contains(" or "));
        match (self.verdict, needs) {
            (Verdict::NotYetSupported, Some(needs)) => {
                Cow::Owned(format!("needs one of: {}", needs.replace(" or ", "; ")))
            }
            _ => Cow::Borrowed(&self.note),
        }
    }

    /// The conditions that speak against it, without one that only follows from another.
    pub(super) fn causes(&self) -> Vec<&Condition> {
        let follows = |condition: &Condition| {
            condition.check == NEVER_FINISHED && condition.message == STOPPED
        };
        let explained = self.problems().any(|condition| {
            condition.verdict() == Verdict::Failed && condition.check != NEVER_FINISHED
        });
        self.problems().filter(|condition| !(explained && follows(condition))).collect()
    }

    /// The note where nothing in the list of causes says it already.
    pub(super) fn note_beside_causes(&self) -> Option<Cow<'_, str>> {
        let note = self.note.as_str();
        let repeated = self.causes().iter().any(|condition| {
            note == condition.message
                || note.strip_prefix(condition.check.as_str()).and_then(|n| n.strip_prefix(": "))
                    == Some(condition.message.as_str())
        });
        (!repeated && !note.is_empty()).then(|| self.shown_note())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{
        report::samples::{self, condition},
        verdict::Severity,
    };

    #[test]
    fn that_it_never_finished_is_hidden_only_where_a_failure_explains_it() {
        let failure = |check, message| condition(check, Severity::Failure, false, message);
        let mut module = samples::module("x", Verdict::Failed, "a: b");
        module.log = vec![failure("a", "b"), failure(NEVER_FINISHED, STOPPED)];
        let checks = |module: &ModuleReport| {
            module.causes().iter().map(|cause| cause.check.clone()).collect::<Vec<_>>()
        };
        assert_eq!(checks(&module), ["a"]);
        assert_eq!(module.note_beside_causes(), None);
        module.log[1].message = "the login was never ended".into();
        assert_eq!(checks(&module), ["a", NEVER_FINISHED]);
        module.log = vec![
            condition("w", Severity::Warning, false, "a warning ends no script"),
            failure(NEVER_FINISHED, STOPPED),
        ];
        assert_eq!(checks(&module), ["w", NEVER_FINISHED]);
        assert_eq!(module.note_beside_causes().as_deref(), Some("a: b"));
    }

    #[test]
    fn what_is_needed_is_a_list_only_of_several_and_only_where_it_is_not_built() {
        let note = |verdict, note| samples::module("x", verdict, note).shown_note().into_owned();
        let missing = Verdict::NotYetSupported;
        assert_eq!(note(missing, "needs DPoP or A or B"), "needs one of: DPoP; A; B");
        assert_eq!(note(missing, "needs DPoP"), "needs DPoP");
        assert_eq!(note(Verdict::Review, "needs a or b"), "needs a or b");
    }

    #[test]
    fn plans_of_one_title_are_told_apart() {
        let mut plan = samples::plan("p", "Message Signing", Vec::new());
        assert_eq!(plan.full_title(), "Message Signing");
        plan.variant = [("variants".to_owned(), "335 of 336".to_owned())].into();
        assert_eq!(plan.full_title(), "Message Signing: other variants (335 of 336)");
        plan.variant.insert("variants".into(), "4 of 4".into());
        assert_eq!(plan.full_title(), "Message Signing: every variant (4 of 4)");
    }

    #[test]
    fn the_heading_says_what_was_tested_and_not_where_twice() {
        let mut report = samples::small();
        assert_eq!(
            report.heading(),
            "Conformance of fapi-bff 0.1.0, in the harness's own process, 2026-11-26 20:00:00 UTC"
        );
        (report.target, report.target_version) = ("https://app.example/".into(), None);
        assert_eq!(
            report.heading(),
            "Conformance of https://app.example/, 2026-11-26 20:00:00 UTC"
        );
        report.target = OFFICIAL_SUITE.into();
        assert!(!report.explanation().contains("own harness"));
    }
}
