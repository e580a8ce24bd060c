//! Changing the server key: everything a browser holds survives each step, and what no key opens any more
//! is a session that is missing, never an error.

use fapi_bff_conformance::{
    as_double::{Conduct, Constraint},
    demo::browser::{Call, From},
};
use serde_json::Value;

use crate::support::{Bed, Wish, private};

const OLD: &str = "server_key_file = \"server.key\"";

/// Starts the same server again with another ring.
async fn step(bed: &mut Bed, active: &str, further: &[&str]) {
    let start = bed.toml.find("server_key_file").unwrap();
    let end = start + bed.toml[start..].find("\n\n").unwrap();
    let further: Vec<_> = further.iter().map(|name| format!("\"{name}\"")).collect();
    let ring = format!(
        "server_key_file = \"{active}\"\nfurther_server_key_files = [{}]",
        further.join(", ")
    );
    bed.toml.replace_range(start..end, &ring);
    bed.restart().await;
}

async fn bed(conduct: Option<Conduct>, edit: Vec<(&'static str, String)>) -> Bed {
    let bed = Bed::with(Wish { edit, conduct, ..Wish::default() }).await;
    assert!(bed.toml.contains(OLD));
    std::fs::write(bed.dir.path().join("next.key"), "1".repeat(64)).unwrap();
    private(&bed.dir.path().join("next.key"));
    bed
}

/// SES-7.4, DPOP-11, FAPI2-SP-6.4: sessions, logins under way and logouts under way, each begun under one ring
/// and ended under the next; tokens bound to keys of sessions that are made from the server key.
#[tokio::test]
async fn sessions_logins_and_logouts_survive_a_change_of_the_server_key() {
    let client = "client_id = \"bed-client\"";
    let conduct = Conduct { constraint: Constraint::Dpop, ..Conduct::message_signing() };
    let edit = vec![(client, format!("{client}\nsender_constraint = \"dpop\""))];
    let mut bed = bed(Some(conduct), edit).await;
    let mut old = bed.logged_in().await;
    let mut sessions = vec![old.clone()];
    let rings: [(&str, &[&str]); 2] =
        [("server.key", &["next.key"]), ("next.key", &["server.key"])];
    for (active, further) in rings {
        let mut under_way = bed.browser();
        let query = bed.response(&mut under_way).await;
        let mut leaving = bed.logged_in().await;
        let left = leaving.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
        let logout_url = left.json().unwrap()["logout_url"].as_str().unwrap().to_owned();
        step(&mut bed, active, further).await;
        bed.end(&mut under_way, &query).await.expect(200).unwrap();
        let mut thief = under_way.clone();
        assert_eq!(bed.end(&mut thief, &query).await.status, 400);
        sessions.push(under_way);
        sessions.push(bed.logged_in().await);
        // Half of the way before the step, half of it after: the ticket is sealed anew on the way.
        let mut go = async |to: &str| {
            let answer = leaving.navigate(From::SameOrigin, to).await.unwrap();
            answer.expect(303).unwrap().location().unwrap()
        };
        let there = go(&logout_url).await;
        let home = go(there.as_str()).await;
        go(home.as_str()).await;
        assert_eq!(bed.last_audit("logout.return"), ("success".to_owned(), "none".to_owned()));
        for browser in &mut sessions {
            assert!(bed.is_logged_in(browser).await);
            // The proof is made by the session's key: the API takes it.
            browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
            browser.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
        }
    }
    // The old key goes, and with it the sessions made under it.
    let newest = sessions.last_mut().unwrap();
    step(&mut bed, "next.key", &[]).await;
    assert!(bed.is_logged_in(newest).await);
    let answer = old.fetch(Call::get("/api/accounts")).await.unwrap();
    answer.expect_refusal(401, "session_missing").unwrap();
    assert!(!bed.is_logged_in(&mut old).await);
    assert!(bed.metrics().contains("fapi_bff_unknown_server_key_total{app=\"web\"} 2\n"));
    // The answer took no cookie along: put back, the key opens the session again.
    step(&mut bed, "next.key", &["server.key"]).await;
    assert!(bed.is_logged_in(&mut old).await);
}

/// SES-7.4: operators compare the keys of instances without seeing any.
#[tokio::test]
async fn instances_show_which_keys_they_have() {
    let mut bed = bed(None, Vec::new()).await;
    let keys = async |bed: &Bed| {
        let (status, body) = bed.admin("/readyz").await;
        assert_eq!(status, 200, "{body}");
        let report: Value = serde_json::from_str(&body).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let keys = checks.iter().find(|check| check["name"] == "server_keys").unwrap();
        keys["detail"].as_str().unwrap().to_owned()
    };
    // The AS is got to know in the background.
    bed.logged_in().await;
    let first = keys(&bed).await;
    let old = first.strip_prefix("active ").unwrap().to_owned();
    step(&mut bed, "next.key", &["server.key"]).await;
    bed.logged_in().await;
    let second = keys(&bed).await;
    let new = second.strip_prefix("active ").unwrap().split(',').next().unwrap().to_owned();
    assert_eq!(second, format!("active {new}, further {old}"));
    assert_ne!(old, new);
    for (key, role) in [(&new, "active"), (&old, "further")] {
        let line = format!("fapi_bff_server_key{{key=\"{key}\",role=\"{role}\"}} 1\n");
        assert!(bed.metrics().contains(&line), "{line}");
    }
}
