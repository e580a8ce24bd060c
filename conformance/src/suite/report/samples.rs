//! Reports to test the forms with: one of each verdict, one full of text meant to break out of
//! whatever it is put in, and one of any size.

use std::collections::BTreeMap;

use super::{ClauseCoverage, Coverage, Report};
use crate::suite::verdict::{
    Condition, Exchange, ModuleReport, PlanReport, Severity, Status, Verdict,
};

/// Text that means something in every form a report is written in.
pub(super) const HOSTILE: &str =
    "</script><script>alert(1)</script><!-- ]]> \"quoted\" 'single' & \0\x1b[31m \u{ffff}\u{202e}x";

const PREFIX: &str = "fapi2-security-profile-final-client-test-";

pub(super) fn condition(check: &str, severity: Severity, held: bool, message: &str) -> Condition {
    Condition {
        at_ms: 120,
        source: "authorization server".into(),
        check: check.into(),
        severity,
        held,
        clauses: vec!["EXAMPLE1-5.3.2.2-7".into()],
        message: message.into(),
    }
}

pub(super) fn exchange(at_ms: u64, method: &str, url: &str, status: u16) -> Exchange {
    let headers = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    Exchange {
        at_ms,
        from: "bff".into(),
        to: "authorization server".into(),
        method: method.into(),
        url: url.into(),
        request_headers: headers(&[
            ("content-type", "application/x-www-form-urlencoded"),
            ("dpop", "eyJ… (redacted)"),
        ]),
        request_body: "grant_type=authorization_code&code=(redacted)".into(),
        status,
        response_headers: headers(&[
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
        ]),
        response_body: "{\"token_type\":\"DPoP\",\"expires_in\":300}".into(),
    }
}

pub(super) fn module(name: &str, verdict: Verdict, note: &str) -> ModuleReport {
    let tested = !matches!(verdict, Verdict::Skipped | Verdict::NotYetSupported);
    let mut log = vec![condition("client_auth.aud", Severity::Failure, true, "aud is the issuer")];
    match verdict {
        Verdict::Failed => {
            log.push(condition("module.forbidden_call", Severity::Failure, false, note));
        }
        Verdict::Warning => log.push(condition("token.type", Severity::Warning, false, note)),
        _ => {}
    }
    ModuleReport {
        id: format!("{PREFIX}{name}"),
        does: "Signs an ID token whose iss is another issuer.".into(),
        must: "Stop before it calls the API.".into(),
        alias: format!("a-{name}"),
        status: Status::Finished,
        verdict,
        note: note.into(),
        seconds: if tested { 1.25 } else { 0.0 },
        clauses: vec!["EXAMPLE1-5.3.2.2-7".into(), "EXAMPLE-2-3.1.3.7-2".into()],
        expected_reasons: vec!["id_token.iss".into()],
        seen_reasons: Vec::new(),
        log: if tested { log } else { Vec::new() },
        transcript: if tested {
            vec![exchange(10, "POST", "/par", 201), exchange(110, "POST", "/token", 200)]
        } else {
            Vec::new()
        },
    }
}

pub(super) fn plan(id: &str, title: &str, modules: Vec<ModuleReport>) -> PlanReport {
    PlanReport {
        id: id.into(),
        title: title.into(),
        variant: BTreeMap::from([
            ("client_auth_type".into(), "private_key_jwt".into()),
            ("sender_constrain".into(), "dpop".into()),
        ]),
        certification: Some("FAPI2SP RP private key + DPoP".into()),
        modules,
    }
}

pub(super) fn clause(id: &str) -> ClauseCoverage {
    ClauseCoverage {
        id: id.into(),
        section: "A".into(),
        source: "SP §5.3.2.2(7)".into(),
        requirement: "The client checks the iss of the ID token.".into(),
        level: "MUST".into(),
        modules: Vec::new(),
        open_modules: Vec::new(),
        tests: Vec::new(),
        feature: None,
        remark: None,
    }
}

fn report(plans: Vec<PlanReport>, clauses: Vec<ClauseCoverage>) -> Report {
    Report {
        v: Report::VERSION,
        harness: "0.1.0".into(),
        target: "in process".into(),
        target_version: Some("0.1.0".into()),
        started_at: "2026-11-26T20:00:00Z".into(),
        seconds: 7.5,
        seed: 42,
        options: BTreeMap::from([("wait".into(), "2".into()), ("jobs".into(), "3".into())]),
        remarks: vec!["The audit stream was read from the process.".into()],
        plans,
        coverage: Some(Coverage { clauses, unknown: Vec::new() }),
    }
}

/// Each verdict once in the first plan but for one, and a plan that is not supported.
pub(super) fn small() -> Report {
    let happy = module("happy-path", Verdict::Passed, "");
    let id = happy.id.clone();
    let failed = module("invalid-iss", Verdict::Failed, "the client called the API");
    let mut clauses = [
        "EXAMPLE1-5.3.2.2-7",
        "EXAMPLE-2-3.1.3.7-2",
        "RFC9449-4",
        "RFC9449-5",
        "RFC9449-6",
        "RFC9449-7",
    ]
    .map(clause)
    .to_vec();
    let named = |id: &str| vec![format!("fapi2-security-profile-final-client-test-plan/{id}")];
    clauses[0].modules = named(&id);
    clauses[0].open_modules = named(&failed.id);
    clauses[1].modules = named(&id);
    clauses[2].tests = vec!["src/jose/dpop.rs::a_proof_is_bound".into()];
    clauses[3].remark = Some("Needs a resource server of its own.".into());
    clauses[4].feature = Some("dpop".into());
    clauses[4].tests = vec!["src/jose/dpop.rs::a_proof_is_bound".into()];
    clauses[5].level = "MUST/SHOULD (project: MUST)".into();
    clauses[5].requirement = "The `htu` has no query.".into();
    report(
        vec![
            plan(
                "fapi2-security-profile-final-client-test-plan",
                "FAPI 2.0 Security Profile",
                vec![
                    happy,
                    failed,
                    module("token-type-case-insensitivity", Verdict::Warning, "lower case only"),
                    module("error-page", Verdict::Review, "look at the page shown to the user"),
                    module("refresh-token-test", Verdict::Skipped, "needs an ecosystem profile"),
                ],
            ),
            plan(
                "fapi2-message-signing-final-client-test-plan",
                "FAPI 2.0 Message Signing",
                vec![
                    module("happy-path", Verdict::NotYetSupported, "JARM without OpenID Connect"),
                    module("invalid-aud", Verdict::NotYetSupported, "JARM without OpenID Connect"),
                ],
            ),
        ],
        clauses,
    )
}

/// [`HOSTILE`] wherever a report has text.
pub(super) fn hostile() -> Report {
    let text = || HOSTILE.to_owned();
    let mut bad = module("x", Verdict::Failed, HOSTILE);
    (bad.id, bad.does, bad.must, bad.alias) = (text(), text(), text(), text());
    (bad.clauses, bad.expected_reasons, bad.seen_reasons) =
        (vec![text()], vec![text()], vec![text()]);
    for condition in &mut bad.log {
        (condition.source, condition.check, condition.clauses) = (text(), text(), vec![text()]);
    }
    for exchange in &mut bad.transcript {
        (exchange.from, exchange.to, exchange.method, exchange.url) =
            (text(), text(), text(), text());
        (exchange.request_body, exchange.response_body) = (text(), text());
        exchange.request_headers = vec![(text(), text())];
        exchange.response_headers = vec![(text(), text())];
    }
    let mut plan = plan(HOSTILE, HOSTILE, vec![bad]);
    plan.variant = BTreeMap::from([(text(), text())]);
    plan.certification = Some(text());
    let mut clause = clause(HOSTILE);
    (clause.section, clause.source, clause.requirement, clause.level) =
        (text(), text(), text(), text());
    (clause.open_modules, clause.tests, clause.remark) = (vec![text()], vec![text()], Some(text()));
    let mut report = report(vec![plan], vec![clause]);
    (report.harness, report.target, report.started_at) = (text(), text(), text());
    (report.target_version, report.remarks) = (Some(text()), vec![text()]);
    report.options = BTreeMap::from([(text(), text())]);
    report
}

/// Many modules, each with so many conditions and exchanges.
pub(super) fn large(modules: usize, conditions: usize, exchanges: usize) -> Report {
    let modules = (0..modules).map(|number| {
        let mut module = module(&format!("module-{number}"), Verdict::Passed, "stopped");
        module.log = (0..conditions)
            .map(|at| {
                let message = format!("checked value {at} of the request {number}");
                condition(&format!("check.number_{at}"), Severity::Failure, true, &message)
            })
            .collect();
        module.transcript = (0..exchanges)
            .map(|at| exchange(at as u64, "POST", &format!("/path/{at}?module={number}"), 200))
            .collect();
        module
    });
    let modules = modules.collect();
    report(vec![plan("large", "A large plan", modules)], Vec::new())
}
