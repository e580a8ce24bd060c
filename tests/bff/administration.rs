//! What operators do about sessions, over the admin listener and from the command line, and how anybody
//! else is kept from it.

use std::{collections::BTreeSet, fmt::Write as _, process::Output};

use fapi_bff_conformance::{
    as_double::Endpoint,
    demo::browser::{Browser, Call},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
};

use crate::{
    login::session_cookie,
    outage::store::FlakyStore,
    support::{Bed, Wish, private, soon},
};

const TOKEN: &str = "operators-0123456789-abcdefghijklmno";
const BEARER: (&str, &str) = ("authorization", "Bearer operators-0123456789-abcdefghijklmno");
const HEADER: (&str, &str) = ("x-fapi-bff-admin", "1");
const JSON: (&str, &str) = ("content-type", "application/json");
const RIGHT: [(&str, &str); 3] = [BEARER, HEADER, JSON];

fn wish() -> Wish {
    Wish {
        edit: vec![("[admin]", "[admin]\ntoken_file = \"admin.token\"".to_owned())],
        files: vec![("admin.token", TOKEN)],
        ..Wish::default()
    }
}

async fn bed() -> Bed {
    Bed::with(wish()).await
}

async fn ask(
    bed: &Bed,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<String>,
) -> (u16, Value) {
    let address = bed.bff.as_ref().unwrap().admin_addr();
    let body = body.into();
    let mut request = format!("POST {path} HTTP/1.1\r\nconnection: close\r\n");
    if headers.iter().all(|(name, _)| *name != "host") {
        let _ = write!(request, "host: {address}\r\n");
    }
    for (name, value) in headers {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    let _ = write!(request, "content-length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(status == 421 || head.contains("cache-control: no-store"), "{head}");
    (status, serde_json::from_str(body).unwrap_or_default())
}

async fn list(bed: &Bed, wish: Value) -> Value {
    let (status, answer) = ask(bed, "/sessions/list", &RIGHT, wish.to_string()).await;
    assert_eq!(status, 200, "{wish}: {answer}");
    answer
}

async fn end(bed: &Bed, wish: Value) -> u64 {
    let (status, answer) = ask(bed, "/sessions/end", &RIGHT, wish.to_string()).await;
    assert_eq!(status, 200, "{wish}: {answer}");
    answer["ended"].as_u64().unwrap()
}

fn ids(answer: &Value) -> BTreeSet<String> {
    let sessions = answer["sessions"].as_array().unwrap().iter();
    sessions.map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

/// A browser with a session of that person, and what logs and audit call the session.
async fn logged_in_as(bed: &Bed, user: &str) -> (Browser, String) {
    let user = user.to_owned();
    bed.double.behave(|b| b.user = Some(user));
    let browser = bed.logged_in().await;
    bed.double.reset_behaviour();
    let events = bed.audit.events();
    let login = events.iter().rfind(|event| event["action"] == "login.end").unwrap();
    (browser, login["session"].as_str().unwrap().to_owned())
}

fn last(bed: &Bed, action: &str) -> Value {
    let events = bed.audit.events();
    events.into_iter().rfind(|event| event["action"] == action).unwrap()
}

async fn is_out(browser: &mut Browser) -> bool {
    let answer = browser.fetch(Call::get("/api/accounts")).await.unwrap();
    answer.expect_refusal(401, "session_missing").is_ok()
}

/// Fail closed: nobody administers what nobody set up, and it says what is missing.
#[tokio::test]
async fn without_a_token_file_there_is_no_administration() {
    let bed = Bed::start().await;
    let mut browser = bed.logged_in().await;
    for path in ["/sessions/list", "/sessions/end"] {
        for headers in [&RIGHT[..], &[]] {
            let (status, answer) = ask(&bed, path, headers, "{\"all\":true}").await;
            assert_eq!((status, &answer["error"]), (403, &json!("admin.disabled")));
            assert!(answer["message"].as_str().unwrap().contains("token_file"));
        }
    }
    assert!(bed.is_logged_in(&mut browser).await);
}

/// SES-7.4: what a page can make a browser send, and what anybody else on the host can, is refused, each
/// for its reason, and recorded; nothing ends.
#[tokio::test]
async fn only_who_shows_the_token_and_is_no_page_is_let_in() {
    let bed = bed().await;
    let mut browser = bed.logged_in().await;
    let with = |name: &'static str, value: &'static str| {
        let others = RIGHT.iter().filter(|(other, _)| *other != name);
        others.copied().chain([(name, value)]).collect::<Vec<_>>()
    };
    let without =
        |name: &str| RIGHT.iter().filter(|(other, _)| *other != name).copied().collect::<Vec<_>>();
    let twice = |pair| RIGHT.iter().copied().chain([pair]).collect::<Vec<_>>();
    for (headers, status, reason) in [
        (vec![], 403, "admin.header_missing"),
        (without("x-fapi-bff-admin"), 403, "admin.header_missing"),
        (with("x-fapi-bff-admin", "0"), 403, "admin.header_missing"),
        (twice(HEADER), 403, "admin.header_missing"),
        (with("origin", "null"), 403, "admin.browser"),
        (with("origin", "http://127.0.0.1:9090"), 403, "admin.browser"),
        (with("sec-fetch-site", "same-origin"), 403, "admin.browser"),
        (with("sec-fetch-mode", "no-cors"), 403, "admin.browser"),
        (without("content-type"), 415, "admin.content_type"),
        (with("content-type", "text/plain"), 415, "admin.content_type"),
        (with("content-type", "application/x-www-form-urlencoded"), 415, "admin.content_type"),
        (with("content-type", "application/jsonp"), 415, "admin.content_type"),
        (without("authorization"), 401, "admin.token_wrong"),
        (with("authorization", TOKEN), 401, "admin.token_wrong"),
        (with("authorization", "Bearer "), 401, "admin.token_wrong"),
        (
            with("authorization", "Bearer operators-0123456789-abcdefghijklmn"),
            401,
            "admin.token_wrong",
        ),
        (
            with("authorization", "Bearer operators-0123456789-abcdefghijklmnoo"),
            401,
            "admin.token_wrong",
        ),
        (
            with("authorization", "Bearer  operators-0123456789-abcdefghijklmno"),
            401,
            "admin.token_wrong",
        ),
        (
            with("authorization", "Basic operators-0123456789-abcdefghijklmno"),
            401,
            "admin.token_wrong",
        ),
        (twice(BEARER), 401, "admin.token_wrong"),
    ] {
        for path in ["/sessions/end", "/sessions/list"] {
            bed.clock.advance(60);
            let (got, answer) = ask(&bed, path, &headers, "{\"all\":true}").await;
            assert_eq!((got, &answer["error"]), (status, &json!(reason)), "{headers:?}");
            let event = last(&bed, "admin.access");
            assert_eq!((&event["reason"], &event["who"]), (&json!(reason), &json!("operator")));
            assert_eq!(event["outcome"], "rejected");
            assert_eq!(event["request_id"], answer["request_id"]);
        }
        browser = bed.logged_in().await;
    }
    // By a name of a page's own choosing nothing is reached at all.
    let (status, _) =
        ask(&bed, "/sessions/end", &with("host", "evil.example"), "{\"all\":true}").await;
    assert_eq!(status, 421);
    assert_eq!(bed.admin("/sessions/list").await.0, 405);
    assert!(bed.is_logged_in(&mut browser).await);
    assert!(!bed.audit.text().contains(TOKEN) && !bed.metrics().contains(TOKEN));
    let (status, _) = ask(
        &bed,
        "/sessions/list",
        &with("authorization", "bearer operators-0123456789-abcdefghijklmno"),
        "{}",
    )
    .await;
    assert_eq!(status, 200, "schemes are spelt in any case (RFC 9110 §11.1)");
}

/// A flood of guesses is counted, not written down; whoever has the token is never kept waiting.
#[tokio::test]
async fn guesses_are_slowed_down_and_the_operator_is_not() {
    let bed = bed().await;
    let wrong = [("authorization", "Bearer wrong"), HEADER, JSON];
    for attempt in 1..=15 {
        let (status, answer) = ask(&bed, "/sessions/list", &wrong, "{}").await;
        let expected = if attempt <= 10 {
            (401, "admin.token_wrong")
        } else {
            (429, "admin.too_many_attempts")
        };
        assert_eq!((status, answer["error"].as_str().unwrap()), expected, "{attempt}");
        list(&bed, json!({})).await;
    }
    let told = bed.audit.events().iter().filter(|event| event["action"] == "admin.access").count();
    assert_eq!(told, 10);
    let counted =
        "fapi_bff_guard_rejections_total{app=\"none\",reason=\"admin.too_many_attempts\"}";
    assert!((bed.metric(counted) - 5.0).abs() < 0.5);
    bed.clock.advance(59);
    assert_eq!(ask(&bed, "/sessions/list", &wrong, "{}").await.0, 429);
    bed.clock.advance(1);
    assert_eq!(ask(&bed, "/sessions/list", &wrong, "{}").await.0, 401);
}

/// SES-7.4: every living session once, by the name that logs and audit have; no person, no key, no token.
#[tokio::test]
async fn operators_list_sessions_page_by_page() {
    let bed = bed().await;
    let mut names = BTreeSet::new();
    for user in ["alice", "alice", "bjork", "carol", "carol"] {
        names.insert(logged_in_as(&bed, user).await.1);
        bed.clock.advance(1);
    }
    assert_eq!(names.len(), 5);
    let all = list(&bed, json!({})).await;
    assert_eq!((ids(&all), all.get("next")), (names.clone(), None));
    let mut found = BTreeSet::new();
    let mut page = list(&bed, json!({ "limit": 2 })).await;
    let mut pages = 1;
    loop {
        assert!(page["sessions"].as_array().unwrap().len() <= 2);
        found.extend(ids(&page));
        let Some(next) = page.get("next").cloned() else { break };
        page = list(&bed, json!({ "limit": 2, "after": next })).await;
        pages += 1;
    }
    assert_eq!((found, pages), (names, 3));
    assert_eq!(ids(&list(&bed, json!({ "app": "web" })).await).len(), 5);
    assert_eq!(ids(&list(&bed, json!({ "app": "other" })).await).len(), 0);
    let of = async |issuer: &str, subject: &str, app: &str| {
        ids(&list(&bed, json!({ "issuer": issuer, "subject": subject, "app": app })).await).len()
    };
    let issuer = bed.double.issuer().to_owned();
    assert_eq!(of(&issuer, "carol", "web").await, 2);
    assert_eq!(of(&issuer, "bjork", "web").await, 1);
    assert_eq!(of(&issuer, "bjork", "other").await, 0);
    assert_eq!(of(&issuer, "mallory", "web").await, 0);
    assert_eq!(of("https://other.example/", "carol", "web").await, 0);
    let event = last(&bed, "admin.sessions_list");
    assert_eq!((&event["outcome"], &event["who"]), (&json!("success"), &json!("operator")));
    assert!(event["subject"].is_string(), "as a pseudonym");
    let session = &all["sessions"][0];
    assert_eq!(session.as_object().unwrap().len(), 6);
    for name in ["created", "last_seen", "idle_expires", "expires"] {
        assert!(session[name].as_str().unwrap().ends_with('Z'), "{session}");
    }
    let text = all.to_string() + &bed.audit.text();
    assert!(!text.contains("alice") && !text.contains("carol"), "{text}");
    bed.clock.advance(15 * 60);
    assert_eq!(ids(&list(&bed, json!({})).await).len(), 0, "only the living");
}

/// Whatever is not exactly a call is refused and does nothing.
#[tokio::test]
async fn malformed_calls_are_refused() {
    let bed = bed().await;
    let (mut browser, name) = logged_in_as(&bed, "alice").await;
    logged_in_as(&bed, "alice").await;
    let next = list(&bed, json!({ "limit": 1 })).await["next"].as_str().unwrap().to_owned();
    let mut forged = next.clone().into_bytes();
    forged[5] = if forged[5] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let issuer = bed.double.issuer().to_owned();
    let mut refused = vec![
        ("/sessions/list", String::new()),
        ("/sessions/list", "[]".to_owned()),
        ("/sessions/list", "{\"limit\":1,\"limit\":2}".to_owned()),
        ("/sessions/end", "{\"all\":true} x".to_owned()),
    ];
    for wish in [
        json!({ "limit": 0 }),
        json!({ "limit": 501 }),
        json!({ "limit": -1 }),
        json!({ "limit": "1" }),
        json!({ "colour": "red" }),
        json!({ "after": "x" }),
        json!({ "after": forged }),
        json!({ "issuer": issuer }),
        json!({ "subject": "alice" }),
        json!({ "issuer": issuer, "subject": "alice", "after": next }),
    ] {
        refused.push(("/sessions/list", wish.to_string()));
    }
    for wish in [
        json!({}),
        json!({ "all": false }),
        json!({ "all": "true" }),
        json!({ "app": "web" }),
        json!({ "id": name, "all": true }),
        json!({ "id": name, "app": "web" }),
        json!({ "id": name, "issuer": issuer, "subject": "alice" }),
        json!({ "issuer": issuer }),
        json!({ "subject": "alice" }),
        json!({ "issuer": issuer, "subject": "alice", "all": true }),
        json!({ "id": name, "handle": "x" }),
    ] {
        refused.push(("/sessions/end", wish.to_string()));
    }
    for (path, wish) in refused {
        let (status, answer) = ask(&bed, path, &RIGHT, wish.clone()).await;
        assert_eq!((status, &answer["error"]), (400, &json!("admin.invalid_request")), "{wish}");
    }
    let large = json!({ "app": "x".repeat(9000) });
    let (status, answer) = ask(&bed, "/sessions/end", &RIGHT, large.to_string()).await;
    assert_eq!((status, &answer["error"]), (413, &json!("admin.too_large")));
    assert!(bed.is_logged_in(&mut browser).await);
    assert_eq!(last(&bed, "admin.sessions_end")["outcome"], "rejected");
}

/// SES-7.4: at once, for every holder of the cookie; on record with who and what. Nobody can open the
/// tokens.
#[tokio::test]
async fn an_operator_ends_one_session() {
    let bed = bed().await;
    let ((mut one, name), (mut other, _)) =
        (logged_in_as(&bed, "alice").await, logged_in_as(&bed, "alice").await);
    assert_eq!(end(&bed, json!({ "id": name })).await, 1);
    assert!(is_out(&mut one).await);
    assert!(bed.is_logged_in(&mut other).await);
    let event = last(&bed, "admin.sessions_end");
    assert_eq!((&event["who"], &event["session"]), (&json!("operator"), &json!(name)));
    assert_eq!((&event["app"], &event["reason"]), (&json!("web"), &json!("none")));
    let ended = last(&bed, "session.end");
    assert_eq!((&ended["reason"], &ended["session"]), (&json!("administrator"), &json!(name)));
    let metric = "fapi_bff_sessions_ended_total{app=\"web\",reason=\"administrator\"}";
    assert!((bed.metric(metric) - 1.0).abs() < 0.5);
    assert_eq!(bed.double.count(Endpoint::Revocation), 0);
    assert_eq!(end(&bed, json!({ "id": name })).await, 0);
    assert_eq!(last(&bed, "admin.sessions_end")["reason"], "session.unknown");
    // A cookie's value is no name, and a name no cookie.
    let cookie = session_cookie(&other).unwrap();
    assert_eq!(end(&bed, json!({ "id": cookie })).await, 0);
    assert!(bed.is_logged_in(&mut other).await);
}

/// SES-7.4: a disabled account has no session left, in any browser.
#[tokio::test]
async fn an_operator_ends_all_sessions_of_a_person_an_app_or_all() {
    let bed = bed().await;
    let issuer = bed.double.issuer().to_owned();
    let ((mut one, _), (mut two, _)) =
        (logged_in_as(&bed, "alice").await, logged_in_as(&bed, "alice").await);
    let (mut stranger, _) = logged_in_as(&bed, "bjork").await;
    let alice = json!({ "issuer": issuer, "subject": "alice" });
    let elsewhere = json!({ "issuer": issuer, "subject": "alice", "app": "other" });
    assert_eq!(end(&bed, elsewhere).await, 0);
    assert_eq!(end(&bed, json!({ "issuer": "https://x.example", "subject": "alice" })).await, 0);
    assert_eq!(end(&bed, alice.clone()).await, 2);
    assert!(is_out(&mut one).await && is_out(&mut two).await);
    assert!(bed.is_logged_in(&mut stranger).await);
    assert_eq!(end(&bed, alice).await, 0);
    let (mut one, _) = logged_in_as(&bed, "alice").await;
    assert_eq!(end(&bed, json!({ "all": true, "app": "other" })).await, 0);
    assert!(bed.is_logged_in(&mut one).await && bed.is_logged_in(&mut stranger).await);
    assert_eq!(end(&bed, json!({ "all": true, "app": "web" })).await, 2);
    assert!(is_out(&mut one).await && is_out(&mut stranger).await);
    let (mut one, _) = logged_in_as(&bed, "alice").await;
    assert_eq!(end(&bed, json!({ "all": true })).await, 1);
    assert!(is_out(&mut one).await);
    assert_eq!(last(&bed, "admin.sessions_end")["app"], "all");
}

/// An outage is not an empty list.
#[tokio::test]
async fn a_store_that_does_not_answer_is_said_to_be_so() {
    let store = FlakyStore::new();
    let bed = Bed::with(Wish { store: Some(store.clone()), ..wish() }).await;
    let (mut browser, name) = logged_in_as(&bed, "alice").await;
    store.fail(&["page"]);
    for (path, wish) in [
        ("/sessions/list", json!({})),
        ("/sessions/end", json!({ "id": name })),
        ("/sessions/end", json!({ "all": true })),
    ] {
        let (status, answer) = ask(&bed, path, &RIGHT, wish.to_string()).await;
        assert_eq!((status, &answer["error"]), (503, &json!("store.unavailable")));
    }
    assert_eq!(last(&bed, "admin.sessions_end")["outcome"], "failed");
    store.heal();
    assert!(bed.is_logged_in(&mut browser).await);
}

async fn cli(bed: &Bed, arguments: &[&str]) -> Output {
    let server = bed.bff.as_ref().map(|bff| bff.admin_addr().to_string()).unwrap_or_default();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fapi-bff"));
    command.arg("sessions").args(arguments).arg("--config").arg(bed.dir.path().join("bff.toml"));
    command.args(["--server", &server]);
    soon("the command", command.output()).await.unwrap()
}

async fn cli_out(bed: &Bed, arguments: &[&str]) -> String {
    let output = cli(bed, arguments).await;
    let (out, err) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}", err.unwrap());
    out.unwrap()
}

/// SES-7.4: the command asks the running server, whose store it could not open itself.
#[tokio::test]
async fn the_command_lists_and_ends_sessions_of_the_running_server() {
    let bed = bed().await;
    let issuer = bed.double.issuer().to_owned();
    assert_eq!(cli_out(&bed, &["list"]).await, "0 sessions\n");
    assert_eq!(
        serde_json::from_str::<Value>(&cli_out(&bed, &["list", "--format", "json"]).await).unwrap(),
        json!({ "sessions": [] })
    );
    let (mut one, name) = logged_in_as(&bed, "alice").await;
    let (mut two, second) = logged_in_as(&bed, "alice").await;
    let (mut three, third) = logged_in_as(&bed, "bjork").await;
    let text = cli_out(&bed, &["list"]).await;
    assert!(text.starts_with("id ") && text.ends_with("3 sessions\n"), "{text}");
    assert!([&name, &second, &third].iter().all(|name| text.contains(name.as_str())), "{text}");
    let all = cli_out(&bed, &["list", "--format", "json", "--app", "web"]).await;
    assert_eq!(ids(&serde_json::from_str(&all).unwrap()).len(), 3);
    let person = ["list", "--issuer", &issuer, "--subject", "bjork", "--format", "json"];
    let bjorks = cli_out(&bed, &person).await;
    assert_eq!(ids(&serde_json::from_str(&bjorks).unwrap()), BTreeSet::from([third]));

    assert_eq!(cli_out(&bed, &["end", "--id", &name]).await, "1 session ended\n");
    assert!(is_out(&mut one).await && bed.is_logged_in(&mut two).await);
    let person = ["end", "--issuer", &issuer, "--subject", "alice", "--app", "web"];
    assert_eq!(cli_out(&bed, &person).await, "1 session ended\n");
    assert!(is_out(&mut two).await && bed.is_logged_in(&mut three).await);
    assert_eq!(cli_out(&bed, &["end", "--all", "--app", "other"]).await, "0 sessions ended\n");
    assert_eq!(cli_out(&bed, &["end", "--all"]).await, "1 session ended\n");
    assert!(is_out(&mut three).await);
}

/// Beyond one page of the listing.
#[tokio::test]
async fn the_command_follows_a_listing_to_its_end() {
    let store = FlakyStore::new();
    let bed = Bed::with(Wish { store: Some(store.clone()), ..wish() }).await;
    let (_, name) = logged_in_as(&bed, "alice").await;
    for number in 0_u16..1100 {
        crate::outage::store::plant(&store, number, fapi_bff::clock::Clock::now(&*bed.clock)).await;
    }
    let all = cli_out(&bed, &["list", "--format", "json"]).await;
    let all = ids(&serde_json::from_str(&all).unwrap());
    assert!(all.len() == 1101 && all.contains(&name), "{}", all.len());
    assert_eq!(cli_out(&bed, &["end", "--id", &name]).await, "1 session ended\n");
    assert_eq!(cli_out(&bed, &["end", "--all"]).await, "1100 sessions ended\n");
}

/// What goes wrong is said, on standard error, with what to do; the exit code tells.
#[tokio::test]
async fn the_command_says_what_is_wrong() {
    let mut bed = bed().await;
    let failed = async |bed: &Bed, arguments: &[&str]| {
        let output = cli(bed, arguments).await;
        assert_eq!(output.stdout, b"", "{arguments:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in [
        &["end"][..],
        &["end", "--app", "web"],
        &["end", "--all", "--id", "x"],
        &["end", "--id", "x", "--app", "web"],
        &["end", "--id", "x", "--subject", "alice", "--issuer", "x"],
        &["end", "--subject", "alice"],
        &["end", "--issuer", "x"],
        &["end", "--subject", "alice", "--issuer", "x", "--all"],
        &["list", "--subject", "alice"],
    ] {
        let (code, told) = failed(&bed, arguments).await;
        assert!(code == 1 && told.contains("Usage"), "{arguments:?}: {code} {told}");
    }
    let file = bed.dir.path().join("admin.token");
    std::fs::write(&file, "another-token-0123456789-abcdefghijkl").unwrap();
    private(&file);
    let (code, told) = failed(&bed, &["end", "--all"]).await;
    assert!(code == 1 && told.contains("401") && told.contains("token_file"), "{code} {told}");
    assert!(!told.contains("another-token"), "{told}");
    std::fs::write(&file, "short").unwrap();
    let (code, told) = failed(&bed, &["end", "--all"]).await;
    assert!(code == 2 && told.contains("admin.token_file"), "{code} {told}");
    let config = bed.dir.path().join("bff.toml");
    std::fs::write(&config, bed.toml.replace("token_file = \"admin.token\"", "")).unwrap();
    let (code, told) = failed(&bed, &["end", "--all"]).await;
    assert!(code == 1 && told.contains("keys admin"), "{code} {told}");
    std::fs::write(&config, &bed.toml).unwrap();
    std::fs::write(&file, TOKEN).unwrap();
    let address = bed.bff.as_ref().unwrap().admin_addr();
    bed.stop().await;
    let output = Command::new(env!("CARGO_BIN_EXE_fapi-bff"))
        .args(["sessions", "list", "--server", &address.to_string(), "--config"])
        .arg(config)
        .output();
    let told = String::from_utf8(soon("the command", output).await.unwrap().stderr).unwrap();
    assert!(told.contains("is the server running"), "{told}");
}
