//! Each way a module can end, with a client that is right: what fails here fails because the module
//! asks for what does not happen.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use fapi_bff_conformance::{
    as_double::Endpoint,
    demo::browser::Call,
    pki::Pki,
    suite::{
        exam::Ending,
        module::{Halt, Module, Playing, Step},
        plan::Entry,
        runner::{self, Chosen, Options},
        stage::Stage,
        verdict::{ModuleReport, Status, Verdict},
        world::CLIENT_ID,
    },
};

fn pki() -> Arc<Pki> {
    static PKI: OnceLock<Arc<Pki>> = OnceLock::new();
    Arc::clone(PKI.get_or_init(|| Arc::new(Pki::generate(CLIENT_ID).unwrap())))
}

fn options() -> Options {
    Options {
        wait: Duration::from_millis(300),
        linger: Duration::from_millis(50),
        limit: Duration::from_secs(20),
        ..Options::default()
    }
}

fn module<F>(id: &str, script: F) -> Module
where
    F: for<'a> Fn(&'a mut Stage) -> Playing<'a> + Send + Sync + 'static,
{
    Module::new(id, "Something.", "do something", &["FAPI2-SP-5.3.3.1-1"], script)
}

async fn play(module: &Module) -> ModuleReport {
    runner::play(pki(), module, "judging", &options()).await
}

async fn all_the_way(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.reach_accounts().await
}

fn failed_checks(report: &ModuleReport) -> Vec<&str> {
    let failed = report.log.iter().filter(|condition| condition.verdict() == Verdict::Failed);
    failed.map(|condition| condition.check.as_str()).collect()
}

#[tokio::test]
async fn a_right_client_passes_and_its_secrets_are_in_no_report() {
    let secrets = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&secrets);
    let module = module("happy", move |stage| {
        let heard = Arc::clone(&heard);
        Box::pin(async move {
            all_the_way(stage).await?;
            let cookies = stage.browser.cookies().into_iter().map(|(_, value)| value.to_owned());
            heard.lock().unwrap().extend(stage.world.secrets().into_iter().chain(cookies));
            Ok(())
        })
    })
    .ending(Ending::Reached(Endpoint::Accounts))
    .reasons(&[]);
    let report = play(&module).await;
    assert_eq!((report.verdict, report.status), (Verdict::Passed, Status::Finished), "{report:#?}");
    assert!(report.log.len() > 100, "every check of the authorization server is there");
    assert!(report.transcript.len() > 8);
    let text = serde_json::to_string(&report).unwrap();
    let secrets = secrets.lock().unwrap();
    assert!(secrets.len() > 8, "{}", secrets.len());
    for secret in secrets.iter() {
        assert!(!text.contains(secret.as_str()), "{secret:.8}… is in the report");
    }
}

#[tokio::test]
async fn a_client_that_goes_on_where_it_had_to_stop_fails() {
    let ending = Ending::Silence { after: Endpoint::Token, tolerated: &[Endpoint::Jwks] };
    let report = play(&module("on", |s| Box::pin(all_the_way(s))).ending(ending)).await;
    assert_eq!(report.verdict, Verdict::Failed);
    assert_eq!(failed_checks(&report), ["client_went_on"]);
    assert!(report.note.contains("accounts"), "{}", report.note);
}

#[tokio::test]
async fn a_call_after_the_end_fails() {
    let late = module("late", |stage| {
        Box::pin(async move {
            all_the_way(stage).await?;
            stage.browser.fetch(Call::get("/bff/userinfo")).await?;
            Ok(())
        })
    })
    .ending(Ending::Reached(Endpoint::Accounts));
    assert_eq!(failed_checks(&play(&late).await), ["call_after_end"]);
}

#[tokio::test]
async fn a_client_that_is_right_for_another_reason_fails() {
    let refused = |reason| {
        module("reason", |stage| {
            Box::pin(async move {
                let response = stage.response().await?;
                let answer = stage.deliver(&response).await?;
                stage.expect_refusal("login_refused", &answer, 502, "authorization_server_error");
                Ok(())
            })
        })
        .behaving(|double| {
            double.behave(|behaviour| {
                use fapi_bff_conformance::as_double::{Target, edits};
                behaviour.edit(Target::IdToken, edits::wrong("nonce"));
            });
        })
        .reasons(&[reason])
    };
    let report = play(&refused("id_token.nonce_mismatch")).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    let report = play(&refused("id_token.expired")).await;
    assert_eq!(failed_checks(&report), ["audit_reason"]);
    assert!(report.note.contains("id_token.nonce_mismatch"), "{}", report.note);
}

#[tokio::test]
async fn a_client_that_refuses_what_it_must_take_fails() {
    let module = module("taken", |s| Box::pin(all_the_way(s)))
        .behaving(|double| {
            double.behave(|behaviour| {
                use fapi_bff_conformance::as_double::{Target, edits};
                behaviour.edit(Target::Jarm, edits::wrong("iss"));
            });
        })
        .ending(Ending::Reached(Endpoint::Accounts));
    let report = play(&module).await;
    assert_eq!((report.verdict, report.status), (Verdict::Failed, Status::Interrupted));
    assert_eq!(failed_checks(&report), ["login_ended", "never_finished"]);
}

/// The authorization server's own checks count: here the client has another name.
#[tokio::test]
async fn a_request_against_the_rules_breaks_the_module_off() {
    let module = module("stranger", |s| Box::pin(all_the_way(s)))
        .configured("client_id = \"conformance-client\"", "client_id = \"stranger\"")
        .ending(Ending::Reached(Endpoint::Accounts));
    let report = play(&module).await;
    assert_eq!((report.verdict, report.status), (Verdict::Failed, Status::Interrupted));
    assert!(failed_checks(&report).contains(&"client_auth.iss"), "{:?}", failed_checks(&report));
    assert!(failed_checks(&report).contains(&"request_refused"));
}

#[tokio::test]
async fn a_client_that_never_gets_to_the_wrong_thing_fails() {
    let idle = module("idle", |_| Box::pin(async { Ok(()) }))
        .ending(Ending::Silence { after: Endpoint::Authorize, tolerated: &[] });
    let options = Options { limit: Duration::from_secs(1), ..options() };
    let report = runner::play(pki(), &idle, "judging", &options).await;
    assert_eq!((report.verdict, report.status), (Verdict::Failed, Status::Interrupted));
    assert!(failed_checks(&report).contains(&"not_reached"));
}

#[tokio::test]
async fn a_skip_is_a_skip_and_a_trouble_is_a_failure() {
    let ends = |halt: Halt| {
        module("ends", move |_| {
            let halt = halt.clone();
            Box::pin(async { Err(halt) })
        })
    };
    let report = play(&ends(Halt::Skip("no clock".to_owned()))).await;
    assert_eq!((report.verdict, report.note.as_str()), (Verdict::Skipped, "no clock"));
    let report = play(&ends(Halt::Trouble("no port".to_owned()))).await;
    assert_eq!((report.verdict, report.status), (Verdict::Failed, Status::Interrupted));
    assert!(report.note.contains("no port"), "{}", report.note);
    // A condition that is not in the log is none.
    let report = play(&ends(Halt::Condition)).await;
    assert_eq!(report.verdict, Verdict::Failed);
}

#[tokio::test]
async fn a_configuration_that_does_not_load_is_told() {
    let module = module("wrong", |s| Box::pin(all_the_way(s)))
        .configured("idle = \"15m\"", "idle = \"soon\"");
    let report = play(&module).await;
    assert_eq!((report.verdict, report.status), (Verdict::Failed, Status::Interrupted));
    assert!(report.note.contains("idle"), "{}", report.note);
    let stale = self::module("stale", |s| Box::pin(all_the_way(s))).configured("no such text", "");
    assert!(play(&stale).await.note.contains("no such text"));
}

fn chosen(modules: Vec<Module>) -> Vec<Chosen> {
    let entries = modules.into_iter().map(|module| Entry::Ready(Box::new(module)));
    let mut entries: Vec<_> = entries.collect();
    let missing = entries[0].clone().lacking("wings");
    entries.push(missing);
    vec![Chosen {
        id: "plan".to_owned(),
        title: "Plan".to_owned(),
        variant: std::collections::BTreeMap::new(),
        certification: None,
        entries,
    }]
}

/// Whatever the order of play, the reports stand as the plan does; a script that panics takes nobody
/// with it.
#[tokio::test]
async fn reports_keep_the_plans_order_and_a_panic_is_one_modules_failure() {
    let modules = || {
        vec![
            module("a", |s| Box::pin(all_the_way(s))),
            module("b", |_| Box::pin(async { panic!("the script is wrong") })),
            module("c", |_| Box::pin(async { Ok(()) })),
        ]
    };
    for seed in [0, 1, 2] {
        let options = Options { seed, jobs: 2, ..options() };
        let mut finished = 0;
        let mut tell = |tick: runner::Tick<'_>| {
            finished += usize::from(matches!(tick, runner::Tick::Finished(_)));
        };
        let plans = runner::run(&pki(), &chosen(modules()), &options, &mut tell).await;
        let found: Vec<_> =
            plans[0].modules.iter().map(|report| (report.id.as_str(), report.verdict)).collect();
        assert_eq!(
            found,
            [
                ("a", Verdict::Passed),
                ("b", Verdict::Failed),
                ("c", Verdict::Passed),
                ("a", Verdict::NotYetSupported)
            ],
            "{:#?}",
            plans[0].modules[2]
        );
        let notes: Vec<_> = plans[0].modules.iter().map(|report| &report.note).collect();
        assert_eq!(finished, 3, "{notes:?}");
        assert!(plans[0].modules[1].note.contains("panic"));
        assert_eq!(plans[0].modules[3].note, "needs wings");
    }
}
