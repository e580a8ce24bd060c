//! What a module leaves behind, gathered while it is played: the suite's log and our own observations
//! as conditions, what the browser did as a transcript, and the verdict from both. It must not know how
//! any of it came about.

use std::time::Instant;

use super::api::{Info, LogEntry};
use crate::{
    demo::browser::Answer,
    suite::verdict::{Condition, Exchange, ModuleReport, Severity, Status, Verdict},
};

/// The report's name for the suite as a source.
const SUITE: &str = "official suite";

/// A report in the making.
#[derive(Debug)]
pub(super) struct Record {
    began: Instant,
    report: ModuleReport,
    /// What the suite itself said, if it did.
    word: Option<String>,
    /// The suite's release.
    release: Option<String>,
}

impl Record {
    pub(super) fn new(id: &str, alias: &str) -> Self {
        Self {
            began: Instant::now(),
            word: None,
            release: None,
            report: ModuleReport {
                id: id.to_owned(),
                does: String::new(),
                must: "end with PASSED by the suite's judgement".to_owned(),
                alias: alias.to_owned(),
                status: Status::Created,
                verdict: Verdict::Failed,
                note: String::new(),
                seconds: 0.0,
                clauses: Vec::new(),
                expected_reasons: Vec::new(),
                seen_reasons: Vec::new(),
                log: Vec::new(),
                transcript: Vec::new(),
            },
        }
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn add(&mut self, source: &str, check: &str, severity: Severity, held: bool, message: String) {
        self.report.log.push(Condition {
            at_ms: self.at_ms(),
            source: source.to_owned(),
            check: check.to_owned(),
            severity,
            held,
            clauses: Vec::new(),
            message,
        });
    }

    /// Something of ours that makes the module's result worthless.
    pub(super) fn fail(&mut self, check: &str, message: String) {
        self.add("harness", check, Severity::Failure, false, message);
    }

    /// What the client did, seen from the browser. The suite judges, so this is only said.
    pub(super) fn saw(&mut self, check: &str, held: bool, message: String) {
        self.add("browser", check, Severity::Info, held, message);
    }

    /// An exchange of the browser's, with neither queries nor bodies.
    pub(super) fn exchanged(&mut self, to: &str, answer: &Answer) {
        let (method, url) = answer.request.split_once(' ').unwrap_or(("GET", &answer.request));
        self.report.transcript.push(Exchange {
            at_ms: self.at_ms(),
            from: "browser".to_owned(),
            to: to.to_owned(),
            method: method.to_owned(),
            url: url.to_owned(),
            request_headers: Vec::new(),
            request_body: String::new(),
            status: answer.status,
            response_headers: Vec::new(),
            response_body: String::new(),
        });
    }

    /// The suite's log.
    pub(super) fn logged(&mut self, entries: &[LogEntry]) {
        let began = entries.first().map_or(0, |entry| entry.time);
        self.report.log.extend(entries.iter().filter_map(|entry| condition(entry, began)));
        self.report.log.sort_by_key(|condition| condition.at_ms);
    }

    /// The suite's judgement.
    pub(super) fn judged(&mut self, info: Info) {
        self.report.status = status(&info.status);
        self.report.does = info.summary.unwrap_or_default();
        self.release = info.version;
        self.word = Some(info.result.unwrap_or_else(|| "UNKNOWN".to_owned()));
    }

    /// The suite's result, as it said it.
    pub(super) fn word(&self) -> Option<&str> {
        self.word.as_deref()
    }

    /// The suite's release, as it said it.
    pub(super) fn release(&self) -> Option<&str> {
        self.release.as_deref()
    }

    /// Reason codes of the BFF's audit stream.
    pub(super) fn audited(&mut self, reasons: Vec<String>) {
        self.report.seen_reasons = reasons;
    }

    /// The report. `page` is where a person reads on.
    pub(super) fn close(mut self, page: Option<&str>) -> ModuleReport {
        let suite = self.word.as_deref().map_or(Verdict::Failed, verdict);
        let own = self.report.log.iter().filter(|condition| condition.source != SUITE);
        let worst = own.map(Condition::verdict).max().unwrap_or(Verdict::Passed);
        self.report.verdict = suite.max(worst);
        self.report.note = self.note(page);
        self.report.seconds = self.began.elapsed().as_secs_f64();
        self.report
    }

    /// The first of our own failures, else the first condition of the suite's that did not hold, else
    /// what the browser saw last.
    fn note(&self, page: Option<&str>) -> String {
        let log = &self.report.log;
        let bad = |condition: &&Condition| condition.verdict() > Verdict::Passed;
        let own = log.iter().filter(bad).find(|condition| condition.source != SUITE);
        let said = own.or_else(|| log.iter().find(bad)).map_or_else(
            || {
                let seen = log.iter().rfind(|condition| condition.source == "browser");
                seen.map(|condition| condition.message.clone()).unwrap_or_default()
            },
            |condition| format!("{}: {}", condition.check, condition.message),
        );
        match page {
            Some(page) if self.report.verdict > Verdict::Passed => format!("{said} ({page})"),
            _ => said,
        }
    }
}

/// A module that ended as it should and was changed by a request that came later.
pub(super) fn changed_later(report: &mut ModuleReport, before: &str, after: &str) {
    let message = format!(
        "the result was {before} when the module ended and is {after} now: the BFF called the suite \
         after the end; stop or restart it with --after-module"
    );
    report.verdict = Verdict::Failed;
    report.note.clone_from(&message);
    report.log.push(Condition {
        at_ms: report.log.last().map_or(0, |condition| condition.at_ms),
        source: "harness".to_owned(),
        check: "oidf.late_request".to_owned(),
        severity: Severity::Failure,
        held: false,
        clauses: Vec::new(),
        message,
    });
}

/// What a log entry says, if it says whether something held.
fn condition(entry: &LogEntry, began: u64) -> Option<Condition> {
    let (severity, held) = match entry.result.as_deref()? {
        "SUCCESS" => (Severity::Failure, true),
        "FAILURE" => (Severity::Failure, false),
        "WARNING" => (Severity::Warning, false),
        "INFO" | "REVIEW" | "FINISHED" => (Severity::Info, true),
        _ => (Severity::Info, false),
    };
    Some(Condition {
        at_ms: entry.time.saturating_sub(began),
        source: SUITE.to_owned(),
        check: entry.src.clone(),
        severity,
        held,
        // The suite has `-FINAL-` in its ids; the matrix has one version of each document.
        clauses: entry.requirements.iter().map(|id| id.replace("-FINAL-", "-")).collect(),
        message: entry.msg.clone().unwrap_or_default(),
    })
}

fn status(word: &str) -> Status {
    match word {
        "CREATED" | "CONFIGURED" | "NOT_YET_CREATED" => Status::Created,
        "WAITING" => Status::Waiting,
        "RUNNING" => Status::Running,
        "FINISHED" => Status::Finished,
        _ => Status::Interrupted,
    }
}

/// A result that is not known is no success.
fn verdict(word: &str) -> Verdict {
    match word {
        "PASSED" => Verdict::Passed,
        "SKIPPED" => Verdict::Skipped,
        "REVIEW" => Verdict::Review,
        "WARNING" => Verdict::Warning,
        _ => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn info(status: &str, result: Option<&str>) -> Info {
        let json = json!({ "status": status, "result": result, "summary": "what it does" });
        serde_json::from_value(json).unwrap()
    }

    fn entries(json: serde_json::Value) -> Vec<LogEntry> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn nothing_but_the_suites_passed_without_a_fault_of_ours_passes() {
        for (word, expected) in [
            (Some("PASSED"), Verdict::Passed),
            (Some("SKIPPED"), Verdict::Skipped),
            (Some("REVIEW"), Verdict::Review),
            (Some("WARNING"), Verdict::Warning),
            (Some("FAILED"), Verdict::Failed),
            (Some("UNKNOWN"), Verdict::Failed),
            (Some("passed"), Verdict::Failed),
            (None, Verdict::Failed),
        ] {
            let mut record = Record::new("m", "a");
            record.judged(info("FINISHED", word));
            assert_eq!(record.close(None).verdict, expected, "{word:?}");
        }
        assert_eq!(Record::new("m", "a").close(None).verdict, Verdict::Failed);

        let mut record = Record::new("m", "a");
        record.judged(info("FINISHED", Some("PASSED")));
        record.fail("oidf.hook", "no".to_owned());
        let report = record.close(Some("https://suite/log"));
        assert_eq!(report.verdict, Verdict::Failed);
        assert_eq!(report.note, "oidf.hook: no (https://suite/log)");
    }

    /// Only message, source, result and clauses are taken over: the first entry of every log has the
    /// whole configuration, others have tokens.
    #[test]
    fn the_suites_log_becomes_conditions_without_its_secrets() {
        let mut record = Record::new("m", "a");
        record.logged(&entries(json!([
            {"src": "TEST-RUNNER", "result": "INFO", "msg": "created", "time": 1000, "config": {"d": "SECRET"}},
            {"src": "m", "msg": "incoming", "http": "incoming", "time": 1001, "body": "SECRET"},
            {"src": "EnsureAud", "result": "SUCCESS", "msg": "ok", "requirements": [concat!("FAPI2-SP-", "FINAL-5.3.3.1-11")], "time": 1200},
            {"src": "EnsureTls13", "result": "WARNING", "msg": "old", "time": 1201},
            {"src": "EnsureIss", "result": "FAILURE", "msg": "wrong", "time": 1202},
        ])));
        record.judged(info("FINISHED", Some("FAILED")));
        let report = record.close(None);
        assert!(!format!("{report:?}").contains("SECRET"));
        let verdicts: Vec<_> = report.log.iter().map(|c| (c.check.as_str(), c.verdict())).collect();
        assert_eq!(
            verdicts,
            [
                ("TEST-RUNNER", Verdict::Passed),
                ("EnsureAud", Verdict::Passed),
                ("EnsureTls13", Verdict::Warning),
                ("EnsureIss", Verdict::Failed),
            ]
        );
        assert_eq!(report.log[1].clauses, ["FAPI2-SP-5.3.3.1-11"]);
        assert_eq!(report.log[1].at_ms, 200);
        assert_eq!(report.does, "what it does");
    }
}
