//! Session stores that several instances share, on real servers: outages, restarts, migration.

#[path = "../launch/postgres.rs"]
mod postgres;

use std::{sync::Arc, time::Duration};

use fapi_bff_conformance::demo::browser::Call;
use tokio::process::Command;

use crate::support::{Bed, Wish, soon};

/// A world whose sessions are in this database.
fn wish(server: &postgres::Postgres, database: &str, more: &str) -> Wish {
    server.sql("postgres", &format!("CREATE DATABASE {database}"));
    let table = format!(
        "[store.postgres]\nhosts = [\"127.0.0.1:{}\"]\nplain = true\ndatabase = \"{database}\"\nuser = \"postgres\"\npassword_file = \"password\"\n{more}\n[providers.as]",
        server.port,
    );
    Wish {
        edit: vec![
            ("path = \"sessions.redb\"", "kind = \"postgres\"\nread_cache = 0".to_owned()),
            ("[providers.as]", table),
        ],
        files: vec![("password", postgres::PASSWORD)],
        ..Wish::default()
    }
}

async fn ready(bed: &Bed) {
    soon("readiness", async {
        while bed.admin("/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Runs a blocking part of the test where it blocks no server.
async fn aside(server: &Arc<postgres::Postgres>, run: fn(&postgres::Postgres)) {
    let server = Arc::clone(server);
    tokio::task::spawn_blocking(move || run(&server)).await.unwrap();
}

/// Nobody is logged out by an outage of the database, nor by a restart of either side, and a start
/// without the database is no crash.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_postgresql_survive_outages_and_restarts() {
    let Some(server) = postgres::Postgres::start().map(Arc::new) else { return };
    let wish = wish(&server, "sessions", "");
    aside(&server, postgres::Postgres::kill).await;
    let mut bed = Bed::with(wish).await;
    let (status, body) = bed.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("unavailable: no server can be used"), "{body}");
    assert!(!body.contains(postgres::PASSWORD));
    aside(&server, postgres::Postgres::resume).await;
    ready(&bed).await;

    let mut browser = bed.logged_in().await;
    browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
    let dump = server.dump("sessions");
    assert!(dump.contains("INSERT INTO fapi_bff.session ") && dump.contains("'web'"));
    assert!(!dump.to_lowercase().contains("alice"), "{dump}");
    aside(&server, postgres::Postgres::kill).await;
    for call in [Call::get("/bff/session"), Call::post("/bff/logout"), Call::get("/api/accounts")] {
        let answer = browser.fetch(call).await.unwrap();
        let answer = answer.expect_refusal(503, "store_unavailable").unwrap();
        assert!(answer.cookies().is_empty(), "an outage touches no cookie");
    }
    assert_eq!(bed.admin("/readyz").await.0, 503);
    aside(&server, postgres::Postgres::resume).await;
    ready(&bed).await;
    assert!(bed.is_logged_in(&mut browser).await);

    bed.restart().await;
    ready(&bed).await;
    assert!(bed.is_logged_in(&mut browser).await);
    browser.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    assert!(!bed.is_logged_in(&mut browser).await);
    assert_eq!(server.sql("sessions", "SELECT count(*) FROM fapi_bff.session"), "0");
}

/// A standby takes over, and nobody notices but for a pause.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_postgresql_survive_a_failover() {
    let Some(server) = postgres::Postgres::start().map(Arc::new) else { return };
    let mut wish = wish(&server, "sessions", "");
    let primary = Arc::clone(&server);
    let standby = tokio::task::spawn_blocking(move || primary.standby()).await.unwrap();
    let standby = Arc::new(standby);
    let both = format!("\"127.0.0.1:{}\", \"127.0.0.1:{}\"", standby.port, server.port);
    for (_, to) in &mut wish.edit {
        *to = to.replace(&format!("\"127.0.0.1:{}\"", server.port), &both);
    }
    let bed = Bed::with(wish).await;
    ready(&bed).await;
    let mut browser = bed.logged_in().await;
    let caught_up = "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication";
    soon("replication", async {
        while server.sql("postgres", caught_up) != "t" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    aside(&server, postgres::Postgres::kill).await;
    let answer = browser.fetch(Call::get("/bff/session")).await.unwrap();
    answer.expect_refusal(503, "store_unavailable").unwrap();
    aside(&standby, |standby| drop(standby.sql("postgres", "SELECT pg_promote()"))).await;
    ready(&bed).await;
    assert!(bed.is_logged_in(&mut browser).await);
    browser.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
}

/// With `migrate = "command"` an instance is ready once the command has run, without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_migrates_and_says_what_it_did() {
    let Some(server) = postgres::shared() else { return };
    let mut bed = Bed::with(wish(&server, "by_command", "migrate = \"command\"\n")).await;
    let (status, body) = bed.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("run `fapi-bff store migrate`"), "{body}");
    let config = bed.dir.path().join("bff.toml");
    let migrate = async || {
        let output = Command::new(env!("CARGO_BIN_EXE_fapi-bff"))
            .args(["store", "migrate", "--config"])
            .arg(&config)
            .output();
        let output = soon("migration", output).await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    assert_eq!(migrate().await, (Some(0), "schema fapi_bff: version 1 created\n".to_owned()));
    ready(&bed).await;
    bed.logged_in().await;
    assert_eq!(
        migrate().await,
        (Some(0), "schema fapi_bff: version 1, nothing to do\n".to_owned())
    );
    server.sql("by_command", "INSERT INTO fapi_bff.schema_version VALUES (7, 'to come')");
    let (code, told) = migrate().await;
    assert_eq!(code, Some(1));
    assert!(told.contains("has version 7, this program knows 1 only"), "{told}");
    bed.restart().await;
    let (status, body) = bed.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("the schema is newer than this program"), "{body}");
}
