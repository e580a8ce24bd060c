use super::*;
use crate::suite::report::samples;

#[test]
fn a_file_gets_plain_text_with_full_ids() {
    let expected = "\
Conformance of fapi-bff 0.1.0, in the harness's own process, 2026-11-26 20:00:00 UTC
  options: jobs=3, wait=2, seed=42, harness=0.1.0
  note: The audit stream was read from the process.

fapi2-security-profile-final-client-test-plan: FAPI 2.0 Security Profile
  client_auth_type=private_key_jwt sender_constrain=dpop
  profile: FAPI2SP RP private key + DPoP
  PASSED   fapi2-security-profile-final-client-test-happy-path                        1.2
  FAILED   fapi2-security-profile-final-client-test-invalid-iss                       1.2
      x module.forbidden_call: the client called the API (authorization server) [EXAMPLE1-5.3.2.2-7]
      reason expected: id_token.iss; seen: none
      at 120 ms, after POST /token from bff to authorization server (status 200)
  WARNING  fapi2-security-profile-final-client-test-token-type-case-insensitivity     1.2  lower case only
  REVIEW   fapi2-security-profile-final-client-test-error-page                        1.2  look at the page shown to the user
  SKIPPED  fapi2-security-profile-final-client-test-refresh-token-test                0.0  needs an ecosystem profile
  5 modules: 1 failed, 1 with a warning, 1 for review, 1 skipped, 1 passed; sum of modules 5.0 s

Not yet supported:
  fapi2-message-signing-final-client-test-plan client_auth_type=private_key_jwt sender_constrain=dpop (2 modules): JARM without OpenID Connect

Total: 7 modules in 2 plans: 1 failed, 1 with a warning, 1 for review, 2 not yet supported, 1 skipped, 1 passed; 7.5 s
Coverage: 6 clauses: 1 proven by modules, 1 by tests, 1 not built, 1 remarked, 1 unproven, 1 contradicted
1 of 4 supported modules failed.
";
    assert_eq!(table(&samples::small(), Style::default()), expected);
}

#[test]
fn a_narrow_terminal_gets_short_ids_and_cut_notes_within_its_width() {
    let mut report = samples::small();
    report.target = "https://app.example/".into();
    report.plans[0].modules[3].note = "a note that is longer than the terminal has room".into();
    let page = Some("report.html".into());
    let text = table(&report, Style { width: Some(80), unicode: true, page, ..Style::default() });
    assert!(text.contains("  ids begin with fapi2-security-profile-final-client-test-\n"));
    assert!(
        text.contains(
            "  REVIEW   error-page                        1.2  a note that is longer than th…\n"
        ),
        "{text}"
    );
    assert!(text.contains("FAILED   invalid-iss "), "{text}");
    assert!(
        text.contains("1 passed;\n  sum of modules 5.0 s\n"),
        "a number stays with its unit: {text}"
    );
    assert!(
        text.contains(
            "      look: report.html#p1.fapi2-security-profile-final-client-test-invalid-iss;\n            alias a-invalid-iss in the BFF's log\n"
        ),
        "{text}"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn nothing_in_a_report_steers_the_terminal() {
    for unicode in [false, true] {
        let text = table(&samples::hostile(), Style { unicode, ..Style::default() });
        assert!(!text.contains(['\x1b', '\0', '\u{202e}']), "{text:?}");
        assert!(unicode || text.is_ascii());
    }
}

#[test]
fn colour_is_on_verdicts_only_and_does_not_shift_columns() {
    let report = samples::small();
    let coloured = table(&report, Style { colour: true, ..Style::default() });
    assert!(coloured.contains("\x1b[1;31mFAILED \x1b[0m  fapi2"));
    assert!(coloured.ends_with("\x1b[1;31m1 of 4 supported modules failed.\x1b[0m\n"));
    let mut plain = coloured;
    for code in ["1;31", "32", "33", "36", "2", "0"] {
        plain = plain.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(plain, table(&report, Style::default()));
}

#[test]
fn a_stream_that_is_no_terminal_and_a_reader_who_wants_none_get_no_colour() {
    let style = |terminal, pairs: &'static [(&'static str, &'static str)]| {
        Style::from_environment(terminal, Some(100), |name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    };
    assert_eq!(style(false, &[("TERM", "xterm"), ("LANG", "C.UTF-8")]), Style::default());
    let full = style(true, &[("TERM", "xterm"), ("LANG", "C.UTF-8")]);
    assert!(full.colour && full.unicode && full.width == Some(100));
    assert!(!style(true, &[("TERM", "xterm"), ("NO_COLOR", "1")]).colour);
    assert!(!style(true, &[("TERM", "dumb")]).colour);
    assert!(!style(true, &[("TERM", "xterm"), ("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]).unicode);
}

#[test]
fn an_empty_run_is_not_a_success() {
    let mut report = samples::small();
    report.plans.clear();
    report.coverage = None;
    let text = table(&report, Style::default());
    assert!(text.ends_with("Total: 0 modules in 0 plans: 7.5 s\nNo module was run.\n"), "{text}");
}

#[test]
fn the_prefix_of_ids_ends_at_a_hyphen_and_leaves_something_of_each() {
    let mut plan = samples::plan("p", "P", Vec::new());
    assert_eq!(common_prefix(&plan), "");
    for id in ["oidcc-client-test", "oidcc-client-test-invalid-iss"] {
        let mut module = samples::module("x", Verdict::Passed, "");
        module.id = id.into();
        plan.modules.push(module);
    }
    assert_eq!(common_prefix(&plan), "oidcc-client-");
    plan.modules[1].id = "other".into();
    assert_eq!(common_prefix(&plan), "");
}

#[test]
fn a_failure_cites_three_clauses_and_points_into_the_page_alone_where_no_log_is_elsewhere() {
    let mut report = samples::small();
    let ids = ["A-1", "A-2", "A-3", "A-4", "A-5"];
    report.plans[0].modules[1].log[1].clauses = ids.map(str::to_owned).to_vec();
    let text = table(&report, Style { page: Some("r.html".into()), ..Style::default() });
    assert!(text.contains("(authorization server) [A-1, A-2, A-3 and 2 more]\n"), "{text}");
    assert!(
        text.contains("look: r.html#p1.fapi2-security-profile-final-client-test-invalid-iss\n")
    );
    assert!(!text.contains("in the BFF's log"));
}

#[test]
fn a_plan_that_is_not_supported_says_how_many_variants_it_stands_for() {
    let mut report = samples::small();
    report.plans[1].variant = [("variants".to_owned(), "335 of 336".to_owned())].into();
    report.plans[1].modules[0].note = "needs DPoP or mutual TLS".into();
    let text = table(&report, Style::default());
    let line = "plan (335 of 336 variants, 2 modules): needs one of: DPoP; mutual TLS\n";
    assert!(text.contains(line), "{text}");
}
