//! The program itself: started by its command line, told to stop by a signal.

use std::process::Stdio;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::support::{Bed, soon};
use fapi_bff_conformance::demo::browser::Call;

/// Audit goes to standard output unless a file is named, logs to standard error, and SIGTERM ends the
/// process in order.
#[tokio::test]
async fn serve_audits_on_standard_output_and_ends_in_order_when_told_to() {
    let mut bed = Bed::start().await;
    bed.stop().await;
    let mut server = Command::new(env!("CARGO_BIN_EXE_fapi-bff"))
        .args(["serve", "--config"])
        .arg(bed.dir.path().join("bff.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut logs = BufReader::new(server.stderr.take().unwrap()).lines();
    soon("listening", async {
        while !logs.next_line().await.unwrap().unwrap().contains("\"listening\"") {}
    })
    .await;
    // Drained, so that the process never waits for a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = logs.next_line().await {} });

    let mut browser = bed.browser();
    let refused = browser.fetch(Call::post("/bff/login/start").without_custom_header());
    assert_eq!(soon("a refusal", refused).await.unwrap().status, 403);
    bed.login(&mut browser).await;
    let mut audit = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut actions = Vec::new();
    while actions.len() < 3 {
        let line = soon("an audit line", audit.next_line()).await.unwrap().unwrap();
        let record: Value = serde_json::from_str(&line).unwrap();
        actions.push(record["action"].as_str().unwrap().to_owned());
    }
    assert_eq!(actions, ["guard.reject", "login.start", "login.end"]);

    let told = Command::new("kill").arg(server.id().unwrap().to_string()).status().await.unwrap();
    assert!(told.success());
    let ended = soon("the end", server.wait()).await.unwrap();
    assert!(ended.success(), "{ended}");
}
