//! Whole runs.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use clap::Parser;
use tokio::sync::Notify;

use super::{
    double::{LOGGED_SECRET, Script},
    world::{TOKEN, World},
};
use crate::{
    oidf::{
        api::ApiFault,
        cli::{self, RunArgs},
        drive::{self, DriveFault, Progress},
        hook::Hook,
    },
    suite::verdict::{ModuleReport, PlanReport, Status, Verdict},
};

async fn run(world: &World) -> Result<PlanReport, DriveFault> {
    drive::run(&world.options, &mut |_| {}).await
}

fn module<'a>(report: &'a PlanReport, id: &str) -> &'a ModuleReport {
    report.modules.iter().find(|module| module.id == id).unwrap()
}

fn checks(module: &ModuleReport) -> Vec<&str> {
    module.log.iter().map(|condition| condition.check.as_str()).collect()
}

/// Every kind of end there is, in one plan, with a restart before each module as an operator would
/// have it: the mock server has new keys, and once other metadata, each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_played_from_end_to_end() {
    let mut world = World::start(&[
        ("x-happy-path", Script::Happy),
        ("x-jarm-with-invalid-aud", Script::BadAudience),
        ("x-issuer-mismatch", Script::IssuerMismatch),
        ("x-late", Script::Late),
        ("x-strict", Script::Strict),
        ("x-interrupts", Script::Interrupts),
        ("x-skipped", Script::Skipped),
        ("x-again", Script::Happy),
    ])
    .await;
    world.options.before_module = Some(world.restarting());
    let export = world.dir.path().join("plan.zip");
    world.options.export = Some(export.clone());

    let mut ended = Vec::new();
    let report = drive::run(&world.options, &mut |progress| {
        if let Progress::ModuleEnded(module) = progress {
            ended.push((module.id.clone(), module.verdict));
        }
    })
    .await
    .unwrap();

    assert_eq!(report.title, "official suite 5.2.4, plan plan-1");
    let outcomes: Vec<_> =
        report.modules.iter().map(|m| (m.id.as_str(), m.status, m.verdict)).collect();
    let finished = Status::Finished;
    assert_eq!(
        outcomes,
        [
            ("x-happy-path", finished, Verdict::Passed),
            ("x-jarm-with-invalid-aud", finished, Verdict::Passed),
            ("x-issuer-mismatch", finished, Verdict::Passed),
            ("x-late", finished, Verdict::Failed),
            ("x-strict", finished, Verdict::Failed),
            ("x-interrupts", Status::Interrupted, Verdict::Failed),
            ("x-skipped", finished, Verdict::Skipped),
            ("x-again", finished, Verdict::Passed),
        ],
        "{report:#?}"
    );
    assert_eq!(*world.suite.core.complaints.lock().unwrap(), [""; 0]);
    // The late one passed at first, and was told of again.
    let late: Vec<_> = ended.iter().filter(|(id, _)| id == "x-late").map(|(_, v)| *v).collect();
    assert_eq!(late, [Verdict::Passed, Verdict::Failed]);
    assert!(checks(module(&report, "x-late")).contains(&"oidf.late_request"));

    let happy = module(&report, "x-happy-path");
    assert!(checks(happy).contains(&"client.api"), "{happy:#?}");
    assert_eq!(happy.does, "what x-happy-path does");
    assert!(happy.seen_reasons.is_empty(), "{happy:#?}");
    let walked: Vec<_> = happy.transcript.iter().map(|e| (e.to.as_str(), e.status)).collect();
    let expected = [("bff", 303), ("authorization server", 303), ("bff", 303), ("bff", 200)];
    assert_eq!(walked, expected);

    let aud = module(&report, "x-jarm-with-invalid-aud");
    assert_eq!(aud.seen_reasons, ["jarm.audience_mismatch"]);
    assert!(
        aud.note.contains("/bff/callback was answered with 400, request id req-"),
        "{}",
        aud.note
    );
    let mismatch = module(&report, "x-issuer-mismatch");
    assert!(
        mismatch.seen_reasons.contains(&"metadata.issuer_mismatch".to_owned()),
        "{mismatch:#?}"
    );
    assert!(checks(mismatch).contains(&"client.login_not_started"));
    let strict = module(&report, "x-strict");
    assert!(strict.note.starts_with("Judge: the client must not ask for a token (https://"));
    let interrupted = module(&report, "x-interrupts");
    assert!(checks(interrupted).contains(&"server.redirect"), "{interrupted:#?}");

    assert_eq!(std::fs::read_to_string(export).unwrap(), "\"the plan\"");
    let all = format!("{report:?}");
    let secrets = world.suite.core.authorization_server.issued_secrets();
    assert!(secrets.len() >= 20, "{}", secrets.len());
    for secret in secrets.iter().map(String::as_str).chain([TOKEN, LOGGED_SECRET]) {
        assert!(!all.contains(secret), "the report holds a secret");
    }
    let config = world.suite.core.config.lock().unwrap().to_string();
    let own = world.options.plan.config["server"]["jwks"]["keys"][0]["d"].as_str().unwrap();
    assert_eq!(config.matches(r#""d":"#).count(), 1, "only the mock server's key is private");
    assert!(config.contains(own) && !all.contains(own));
}

/// Why there is a hook: a BFF that knows the metadata already does not meet the wrong one.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_restart_old_metadata_lets_the_mismatch_through() {
    let world = World::start(&[
        ("x-happy-path", Script::Happy),
        ("x-issuer-mismatch", Script::IssuerMismatch),
    ])
    .await;
    let report = run(&world).await.unwrap();
    let verdicts: Vec<_> = report.modules.iter().map(|module| module.verdict).collect();
    assert_eq!(verdicts, [Verdict::Passed, Verdict::Failed], "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_does_not_end_is_stopped_and_the_next_one_is_played() {
    let mut world =
        World::start(&[("x-never", Script::NeverEnds), ("x-happy-path", Script::Happy)]).await;
    world.options.before_module = Some(world.restarting());
    world.options.module_limit = Duration::from_secs(3);
    let report = run(&world).await.unwrap();
    let never = module(&report, "x-never");
    assert_eq!((never.status, never.verdict), (Status::Interrupted, Verdict::Failed));
    assert!(never.note.contains("did not end within 3 s and was stopped"), "{}", never.note);
    assert_eq!(module(&report, "x-happy-path").verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(*world.suite.core.complaints.lock().unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_without_long_polls_is_asked_again_and_again() {
    let mut world = World::start(&[
        ("x-happy-path", Script::Happy),
        ("x-jarm-with-invalid-aud", Script::BadAudience),
        ("x-never", Script::NeverEnds),
    ])
    .await;
    world.suite.core.is_old.store(true, Ordering::Relaxed);
    world.options.before_module = Some(world.restarting());
    world.options.module_limit = Duration::from_secs(4);
    let report = run(&world).await.unwrap();
    let verdicts: Vec<_> = report.modules.iter().map(|module| module.verdict).collect();
    assert_eq!(verdicts, [Verdict::Passed, Verdict::Passed, Verdict::Failed], "{report:#?}");
    assert_eq!(*world.suite.core.complaints.lock().unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_or_an_issuer_that_does_not_fit_fails_the_module_and_frees_the_alias() {
    let mut world = World::start(&[("x-one", Script::Happy), ("x-two", Script::Happy)]).await;
    world.options.before_module = Some(Hook::Command("exit 7".to_owned()));
    let report = run(&world).await.unwrap();
    for module in &report.modules {
        assert_eq!(module.verdict, Verdict::Failed);
        assert!(module.note.starts_with("oidf.hook: the hook ended with exit status: 7"));
    }
    world.options.before_module = None;
    world.options.plan.bff.issuer.push('x');
    let report = run(&world).await.unwrap();
    assert!(report.modules[0].note.starts_with("oidf.issuer: "), "{report:#?}");
    assert_eq!(*world.suite.core.complaints.lock().unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bff_that_stays_away_after_the_hook_is_named() {
    let mut world = World::start(&[("x-one", Script::Happy)]).await;
    world.options.before_module = Some(Hook::Command("true".to_owned()));
    world.options.plan.bff.probe_path = "/bff/nothing-here".to_owned();
    world.options.bff_limit = Duration::from_millis(300);
    let report = run(&world).await.unwrap();
    assert!(report.modules[0].note.contains("status 404; is it running"), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_suite_say_what_to_do() {
    let mut world = World::start(&[("x-one", Script::Happy)]).await;
    for token in [None, Some("another-token".to_owned())] {
        world.options.token = token;
        let fault = run(&world).await.unwrap_err();
        assert!(matches!(fault, DriveFault::Api(ApiFault::Unauthorized { status: 401, .. })));
        assert!(fault.to_string().contains("--token-file"));
        assert!(!fault.to_string().contains("another-token"));
    }
    world.options.token = Some("two\nlines".to_owned());
    assert!(matches!(run(&world).await, Err(DriveFault::Api(ApiFault::Token))));

    world.options.token = Some(TOKEN.to_owned());
    world.options.only = vec!["no-such".to_owned()];
    assert!(matches!(run(&world).await, Err(DriveFault::NoModule(..))));

    world.options.plan.plan = "fapi2-security-profile-final-client-test-plan".to_owned();
    let fault = run(&world).await.unwrap_err();
    assert!(matches!(fault, DriveFault::Api(ApiFault::PlanRefused { status: 400, .. })));
    let text = fault.to_string();
    assert!(text.contains("is pinned") && text.contains("must not be passed"), "{text}");
}

/// One broken call is enough to know; what was played is still reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_suite_that_goes_away_ends_the_run_but_not_the_report() {
    let mut world = World::start(&[
        ("x-happy-path", Script::Happy),
        ("x-two", Script::Happy),
        ("x-three", Script::Happy),
    ])
    .await;
    let (leave, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (leaving, left) = (Arc::clone(&leave), Arc::clone(&gone));
    world.options.before_module = Some(Hook::Call(Arc::new(move |context| {
        let (leaving, left) = (Arc::clone(&leaving), Arc::clone(&left));
        Box::pin(async move {
            if context.module == "x-two" {
                leaving.notify_one();
                left.notified().await;
            }
            Ok(())
        })
    })));
    let World { suite, options, dir, bff, .. } = world;
    let driving = tokio::spawn(async move { drive::run(&options, &mut |_| {}).await });
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, leave.notified()).await.expect("the second module begins");
    suite.shutdown().await;
    gone.notify_one();
    let report = driving.await.unwrap().unwrap();
    drop((dir, bff));
    assert_eq!(report.modules[0].verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(report.modules[1].verdict, Verdict::Failed);
    assert!(report.modules[1].note.contains("is the suite running there"), "{report:#?}");
    assert!(report.modules[2].note.contains("not played: the suite was lost before"));
}

/// The same run as an operator types it.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reaches_every_part_of_a_run() {
    let world = World::start(&[
        ("x-happy-path", Script::Happy),
        ("x-jarm-with-invalid-aud", Script::BadAudience),
    ])
    .await;
    let path = |name: &str| world.dir.path().join(name).display().to_string();
    std::fs::write(path("token"), format!("{TOKEN}\n")).unwrap();
    std::fs::write(path("plan.json"), world.options.plan.config.to_string()).unwrap();
    let (config, plan, token, ca) =
        (path("fapi-bff.toml"), path("plan.json"), path("token"), path("tls/ca.pem"));
    let (marker, export) = (path("marker"), path("plan.zip"));
    let before = format!("echo $MODULE >>{marker}");
    let after = format!("echo after $ALIAS >>{marker}");
    let line = [
        "run",
        "--config",
        &config,
        "--plan-config",
        &plan,
        "--token-file",
        &token,
        "--ca",
        &ca,
        "--suite",
        world.suite.url(),
        "--api-path",
        "/api/accounts",
        "--module",
        "invalid-aud",
        "--resolve",
        "app.localhost=127.0.0.1",
        "--resolve",
        "as.localhost=127.0.0.1",
        "--before-module",
        &before,
        "--after-module",
        &after,
        "--export",
        &export,
    ];
    let args = Command::try_parse_from(line).unwrap().args;
    let mut told = Vec::new();
    let report =
        cli::run(&args, world.environment.clone(), &mut |progress| told.push(progress.to_string()))
            .await
            .unwrap();
    assert_eq!(report.modules.len(), 1);
    assert_eq!(report.modules[0].verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(report.modules[0].seen_reasons, ["jarm.audience_mismatch"]);
    let written = std::fs::read_to_string(marker).unwrap();
    assert_eq!(written, "x-jarm-with-invalid-aud\nafter acme-bff\n");
    assert!(std::path::Path::new(&export).exists());
    assert!(told.iter().any(|line| line == "plan plan-1, modules: 1"), "{told:?}");
    assert!(told.iter().all(|line| !line.contains("generate it anew")), "{told:?}");
    assert!(told.last().unwrap().starts_with("PASSED x-jarm-with-invalid-aud: GET https://"));
    assert_eq!(*world.suite.core.config.lock().unwrap(), world.options.plan.config);
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: RunArgs,
}
