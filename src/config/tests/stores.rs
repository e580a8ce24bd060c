//! Stores other than the embedded one: what is read, what is refused.

use std::time::Duration;

use super::{Folder, example_with};
use crate::config::{Fault, Settings, StorePlace, Valkey, ValkeyServers};

fn folder() -> Folder {
    let folder = Folder::new();
    folder.secret("keys/valkey", b"hunter22\n");
    folder.secret("keys/sentinel", b"watcher22");
    folder
}

/// The example with another store.
fn with(lines: &str) -> String {
    let text = example_with(&[("path = \"sessions", "kind = \"valkey\"")]);
    format!("{text}\n[store.valkey]\n{lines}\n")
}

fn valkey(lines: &str) -> Valkey {
    let settings: Settings = folder().load(&with(lines), &[]).unwrap();
    let StorePlace::Valkey(valkey) = settings.store.place else { panic!("not valkey") };
    *valkey
}

fn faults(lines: &str) -> Vec<Fault> {
    folder().faults(&with(lines), &[])
}

#[test]
fn one_server_by_tls_is_the_common_case() {
    let valkey = valkey("urls = [\"rediss://valkey.internal\"]");
    let ValkeyServers::Single(server) = &valkey.servers else { panic!("{valkey:?}") };
    assert_eq!((server.host.as_str(), server.port), ("valkey.internal", 6379));
    let tls = valkey.tls.unwrap();
    assert!(tls.system_roots && tls.trust_roots.is_empty() && tls.identity.is_none());
    assert_eq!(valkey.connect_timeout, Duration::from_secs(2));
    assert_eq!(valkey.response_timeout, Duration::from_secs(2));
    assert_eq!((valkey.wait_replicas, valkey.key_prefix.as_str()), (0, "fapi-bff"));
    assert!(valkey.username.is_none() && valkey.password.is_none());
}

#[test]
fn everything_can_be_set() {
    let valkey = valkey(
        "urls = [\"valkeys://a.internal:7001\", \"rediss://[fd00::7]:7002/\"]\ncluster = true\n\
         username = \"bff\"\npassword_file = \"keys/valkey\"\ntrust_roots = [\"tls/ca.pem\"]\n\
         tls_identity = { certificate = \"tls/portal.crt\", private_key = \"tls/portal.key\" }\n\
         connect_timeout = \"1s\"\nresponse_timeout = \"5s\"\nwait_replicas = 2\nkey_prefix = \"bank:a\"",
    );
    let ValkeyServers::Cluster(seeds) = &valkey.servers else { panic!("{valkey:?}") };
    let seeds: Vec<_> = seeds.iter().map(|seed| (seed.host.as_str(), seed.port)).collect();
    assert_eq!(seeds, [("a.internal", 7001), ("fd00::7", 7002)]);
    let tls = valkey.tls.as_ref().unwrap();
    assert!(!tls.system_roots && tls.trust_roots.len() == 1 && tls.identity.is_some());
    assert_eq!(valkey.username.as_deref(), Some("bff"));
    assert_eq!(valkey.password.as_ref().unwrap().expose(), b"hunter22");
    assert_eq!(valkey.response_timeout, Duration::from_secs(5));
    assert_eq!((valkey.wait_replicas, valkey.key_prefix.as_str()), (2, "bank:a"));
    assert!(!format!("{valkey:?}").contains("hunter22"));
}

#[test]
fn sentinels_have_a_port_and_credentials_of_their_own() {
    let valkey = valkey(
        "urls = [\"redis://127.0.0.1\", \"redis://localhost:7000\", \"redis://[::1]\"]\n\
         sentinel = { master = \"sessions\", username = \"w\", password_file = \"keys/sentinel\" }",
    );
    let ValkeyServers::Sentinel { sentinels, master, username, password } = valkey.servers else {
        panic!("not watched")
    };
    let ports: Vec<_> = sentinels.iter().map(|sentinel| sentinel.port).collect();
    assert_eq!(ports, [26379, 7000, 26379]);
    assert_eq!((master.as_str(), username.as_deref()), ("sessions", Some("w")));
    assert_eq!(password.unwrap().expose(), b"watcher22");
    assert!(valkey.tls.is_none() && valkey.password.is_none());
}

/// FAPI2-SP-5.2.1-1, FAPI2-SP-5.2.1-5
#[test]
fn every_mistake_is_refused_at_its_path_with_words_that_help() {
    let sound = "urls = [\"rediss://v.internal\"]";
    let mut wrong = Vec::new();
    for (lines, path, words) in [
        ("", "store.valkey.urls", "is missing"),
        ("urls = []", "store.valkey.urls", "is empty"),
        ("urls = [\"v.internal:6379\"]", "store.valkey.urls[0]", "rediss://host:port"),
        ("urls = [\"https://v.internal\"]", "store.valkey.urls[0]", "no rediss:// URL"),
        ("urls = [\"redis://v.internal\"]", "store.valkey.urls[0]", "FAPI2-SP-5.2.1-1"),
        ("urls = [\"redis://10.0.0.7\"]", "store.valkey.urls[0]", "FAPI2-SP-5.2.1-1"),
        ("urls = [\"redis://localhost.example\"]", "store.valkey.urls[0]", "FAPI2-SP-5.2.1-1"),
        ("urls = [\"rediss://u:p@v.internal\"]", "store.valkey.urls[0]", "user name or password"),
        ("urls = [\"rediss://v.internal/3\"]", "store.valkey.urls[0]", "only database 0"),
        ("urls = [\"rediss://v.internal?insecure=1\"]", "store.valkey.urls[0]", "query"),
        ("urls = [\"rediss://v.internal/#insecure\"]", "store.valkey.urls[0]", "fragment"),
        ("urls = [\"rediss://v%00.internal\"]", "store.valkey.urls[0]", "host"),
        (
            "urls = [\"rediss://a.internal\", \"rediss://b.internal\"]",
            "store.valkey.urls",
            "store.valkey.cluster = true or store.valkey.sentinel",
        ),
        (
            "urls = [\"rediss://a.internal\", \"redis://127.0.0.1\"]\ncluster = true",
            "store.valkey.urls",
            "with and without TLS",
        ),
        (
            "urls = [\"redis://127.0.0.1\"]\ntrust_roots = [\"tls/ca.pem\"]",
            "store.valkey.trust_roots",
            "no use without TLS",
        ),
        (
            &format!("{sound}\nsystem_roots = false"),
            "store.valkey.system_roots",
            "no certificate authority",
        ),
        (&format!("{sound}\ninsecure = true"), "store.valkey.insecure", "FAPI2-SP-5.2.1-5"),
        (&format!("{sound}\npassword = \"x\""), "store.valkey.password", "unknown key"),
        (&format!("{sound}\nusername = \"x\""), "store.valkey.password_file", "is missing"),
        (
            &format!("{sound}\npassword_file = \"keys/none\""),
            "store.valkey.password_file",
            "cannot be read",
        ),
        (&format!("{sound}\nwait_replicas = 17"), "store.valkey.wait_replicas", "0 to 16"),
        (&format!("{sound}\nresponse_timeout = 0"), "store.valkey.response_timeout", "1s to 1m"),
        (&format!("{sound}\nkey_prefix = \"a{{b}}\""), "store.valkey.key_prefix", "names of keys"),
        (&format!("{sound}\npath = \"x\""), "store.valkey.path", "unknown key"),
        (&format!("{sound}\nsentinel = {{}}"), "store.valkey.sentinel.master", "is missing"),
        (&format!("{sound}\nsentinel = true"), "store.valkey.sentinel", "not a table"),
        (
            &format!("{sound}\nsentinel = {{ master = \"a\", hosts = 1 }}"),
            "store.valkey.sentinel.hosts",
            "unknown key",
        ),
        (
            &format!("{sound}\ncluster = true\nsentinel = {{ master = \"a\" }}"),
            "store.valkey.cluster",
            "contradicts sentinel",
        ),
    ] {
        let faults = faults(lines);
        let hit = faults.iter().any(|fault| {
            fault.path == path && format!("{}\n{}", fault.message, fault.remedy).contains(words)
        });
        if !hit || faults.len() != 1 {
            wrong.push(format!("{lines}\n  expected {path}: {words}\n  got {faults:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the example says of the store is right, too.
#[test]
fn the_examples_lines_on_valkey_are_accepted() {
    let line = |key: &str| {
        let start = format!("#{key} = ");
        let found = super::EXAMPLE.lines().find(|line| line.starts_with(&start)).unwrap();
        found.trim_start_matches('#').split("  #").next().unwrap().to_owned()
    };
    let folder = folder();
    folder.secret("keys/valkey-password", b"x");
    folder.secret("keys/sentinel-password", b"x");
    let common: Vec<_> =
        ["urls", "username", "password_file", "wait_replicas", "key_prefix", "response_timeout"]
            .map(line)
            .into();
    for choice in ["cluster", "sentinel"] {
        let text = with(&[common.join("\n"), line(choice)].join("\n"));
        folder.load(&text, &[]).unwrap();
    }
}
