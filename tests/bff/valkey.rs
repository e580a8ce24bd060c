//! The product with its sessions in a real Valkey or Redis: a login's whole life, outages, two instances,
//! and what the server gets to know.

use std::time::Duration;

use fapi_bff_conformance::demo::{browser::Call, leaks::found};

use crate::{
    support::{Bed, Wish},
    valkey_server::{self, Server},
};

/// A world whose sessions are kept on this port.
fn wish(port: u16) -> Wish {
    let store = format!("kind = \"valkey\"\nvalkey.urls = [\"redis://127.0.0.1:{port}\"]");
    Wish { edit: vec![("path = \"sessions.redb\"", store)], ..Wish::default() }
}

async fn until_ready(bed: &Bed) {
    for _ in 0..600 {
        if bed.admin("/readyz").await.0 == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never ready: {}", bed.admin("/readyz").await.1);
}

/// SES-7.2.1-3: nobody who reads the server's disk finds a handle, a token or a subject, while sessions
/// survive restarts of everybody.
#[tokio::test]
async fn a_session_lives_in_the_server_and_its_disk_holds_no_secret() {
    if !valkey_server::available() {
        return;
    }
    let mut server = Server::run(&[]);
    let mut bed = Bed::with(wish(server.port)).await;
    bed.double.behave(|as_| as_.rotate_refresh_tokens = true);
    let mut browser = bed.logged_in().await;
    let mut other = bed.logged_in().await;
    browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
    browser.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
    bed.restart().await;
    server.kill();
    server.start();
    until_ready(&bed).await;
    assert!(bed.is_logged_in(&mut browser).await);
    browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();

    let dump = String::from_utf8_lossy(&server.dump()).into_owned();
    assert!(dump.contains("HSET") && dump.contains("fapi-bff:"), "this is where sessions are");
    let mut secrets: Vec<String> = bed.double.issued_secrets();
    for browser in [&browser, &other] {
        secrets.extend(browser.cookies().into_iter().map(|(_, value)| value.to_owned()));
    }
    secrets.retain(|secret| secret.len() >= 16);
    secrets.extend(["alice", "Alice", "access_token", bed.double.issuer()].map(str::to_owned));
    secrets.extend(bed.double.sessions().into_iter().map(|(sid, _)| sid));
    assert!(secrets.len() > 6);
    assert_eq!(found(&dump, &secrets), [""; 0]);

    other.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    assert!(!bed.is_logged_in(&mut other).await);
    assert!(bed.is_logged_in(&mut browser).await);
}

/// A server that is away is no crash at the start, no logout later, and needs no restart of ours.
#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_nobody_is_logged_out() {
    if !valkey_server::available() {
        return;
    }
    let mut server = Server::prepare(valkey_server::free_port(), &[]);
    let bed = Bed::with(wish(server.port)).await;
    let (status, body) = bed.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains(r#"{"name":"session_store","ok":false"#), "{body}");
    assert_eq!(bed.admin("/healthz").await.0, 200);
    server.start();
    until_ready(&bed).await;
    let mut browser = bed.logged_in().await;
    server.kill();
    for call in [Call::get("/bff/session"), Call::get("/api/accounts"), Call::post("/bff/logout")] {
        let answer = browser.fetch(call).await.unwrap();
        let answer = answer.expect_refusal(503, "store_unavailable").unwrap();
        assert!(answer.cookies().is_empty(), "an outage touches no cookie");
    }
    assert_eq!(bed.admin("/readyz").await.0, 503);
    server.start();
    until_ready(&bed).await;
    assert!(bed.is_logged_in(&mut browser).await);
    browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
}
