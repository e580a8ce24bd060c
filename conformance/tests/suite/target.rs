//! `prepare` and `run --target`, as a stranger would use them: the harness in a process of its own, the
//! BFF started from the configuration that `prepare` wrote.

use std::{
    path::Path,
    process::{Command, Output},
};

use fapi_bff::{
    config,
    server::{Options, Server},
};
use fapi_bff_conformance::suite::{
    report::{Report, json},
    verdict::Verdict,
    world::free_port,
};

fn conformance(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    command.args(arguments).env_remove("RUST_LOG").output().unwrap()
}

fn prepared(dir: &Path) -> String {
    let origin = format!("https://app.localhost:{}", free_port());
    // Four ports in a row.
    let port = free_port() + 100;
    let dir = dir.to_str().unwrap();
    let output =
        conformance(&["prepare", "--dir", dir, "--origin", &origin, "--port", &port.to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    origin
}

async fn bff(dir: &Path) -> Server {
    let settings = config::load(&dir.join("fapi-bff.toml"), []).unwrap_or_else(|f| panic!("{f}"));
    Server::start(settings, Options::default()).await.unwrap()
}

fn read(path: &Path) -> Report {
    json::read(std::fs::File::open(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bff_in_another_process_is_tested_by_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let origin = prepared(dir.path());
    let server = bff(dir.path()).await;
    let path = dir.path().to_owned();
    let (output, report) = tokio::task::spawn_blocking(move || {
        let file = |name: &str| path.join(name).to_str().unwrap().to_owned();
        let (report, audit) = (file("report.json"), file("audit.jsonl"));
        let dir = path.to_str().unwrap();
        let output = conformance(&[
            "run",
            "--target",
            &origin,
            "--dir",
            dir,
            "--audit",
            &audit,
            "--json",
            &report,
            "--wait",
            "0.3",
            "--module",
            "happy-path",
            "--module",
            "invalid-nonce",
            "--module",
            "discovery-issuer-mismatch",
            "--module",
            "jarm-with-jku",
        ]);
        (output, read(Path::new(&report)))
    })
    .await
    .unwrap();
    server.shutdown().await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let modules = report.plans.iter().flat_map(|plan| &plan.modules);
    let found: Vec<_> =
        modules.map(|report| (report.id.rsplit("test-").next().unwrap(), report.verdict)).collect();
    assert_eq!(
        found,
        [
            ("happy-path", Verdict::Passed),
            // It cannot be had without a restart, and says so.
            ("discovery-issuer-mismatch", Verdict::Skipped),
            ("invalid-nonce", Verdict::Passed),
            ("jarm-with-jku", Verdict::Passed),
        ],
        "{text}"
    );
    assert!(text.contains("give --restart"), "{text}");
}

/// Without the audit stream the second half of the verdict is a person's.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_audit_stream_a_stop_is_for_review() {
    let dir = tempfile::tempdir().unwrap();
    let origin = prepared(dir.path());
    let server = bff(dir.path()).await;
    let path = dir.path().to_owned();
    let output = tokio::task::spawn_blocking(move || {
        let dir = path.to_str().unwrap();
        conformance(&[
            "run",
            "--target",
            &origin,
            "--dir",
            dir,
            "--wait",
            "0.3",
            "--module",
            "invalid-nonce",
        ])
    })
    .await
    .unwrap();
    server.shutdown().await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("REVIEW") && text.contains("give --audit"), "{text}");
}

#[test]
fn a_target_that_is_not_there_or_was_not_prepared_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let refused = |arguments: &[&str]| {
        let output = conformance(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let run = |target: &str| refused(&["run", "--target", target, "--dir", path]);
    assert!(run("https://app.localhost:1").contains("prepare"), "nothing is prepared");
    let origin = prepared(dir.path());
    let message = run(&origin);
    assert!(message.contains("/bff/jwks") && message.contains("does the BFF run"), "{message}");
    assert!(run("https://other.localhost").contains("prepared for"));
    assert!(run("http://app.localhost").contains("https"));
    let again = refused(&["prepare", "--dir", path]);
    assert!(again.contains("is not empty"), "{again}");
    assert!(dir.path().join("server.key").exists(), "nothing in it was touched");
    assert!(refused(&["run", "--module", "no-such-module"]).contains("no-such-module"));
    assert!(refused(&["run", "--target", "https://x"]).contains("--dir"));
}

#[test]
fn plans_are_listed_for_people_and_for_machines() {
    let text = String::from_utf8(conformance(&["list", "--modules"]).stdout).unwrap();
    assert!(text.contains("fapi2-message-signing-final-client-test-plan\n"), "{text}");
    assert!(text.contains("72 of 336 variants can be run"), "{text}");
    assert!(text.contains("oidcc-client-test-session-management  (needs"));
    let list = conformance(&["list", "--json", "--plan", "bff-hardening"]).stdout;
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(list[0]["id"], "bff-hardening-test-plan");
    assert!(list[0]["variants"][0]["modules"].as_array().unwrap().len() > 2);
}
