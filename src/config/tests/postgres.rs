//! What a session store in PostgreSQL is told, and what is refused.

use std::{path::PathBuf, time::Duration};

use super::{EXAMPLE, Folder, example_with, pairs, report_in};
use crate::config::{DatabaseHost, Fault, Migrate, Postgres, Settings, StorePlace, read};

const GOOD: &str =
    "hosts = [\"db1.example.com\", \"db2.example.com:5433\"]\ndatabase = \"bff\"\nuser = \"bff\"\n";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.secret("keys/postgres-password", b"correct horse\n");
    folder
}

/// The example with such a store.
fn text(settings: &str) -> String {
    let table = format!("\n[store.postgres]\n{settings}\n");
    example_with(&[("path = \"sessions", "kind = \"postgres\""), ("$", &table)])
}

fn database(settings: Settings) -> Postgres {
    match settings.store.place {
        StorePlace::Postgres(database) => *database,
        other => panic!("{other:?}"),
    }
}

fn faults(settings: &str) -> Vec<Fault> {
    folder().faults(&text(settings), &[])
}

#[test]
fn three_settings_are_enough() {
    let database = database(folder().load(&text(GOOD), &[]).unwrap());
    let tcp = |name: &str, port| DatabaseHost::Tcp { name: name.to_owned(), port };
    assert_eq!(database.hosts, [tcp("db1.example.com", 5432), tcp("db2.example.com", 5433)]);
    assert_eq!((database.database.as_str(), database.user.as_str()), ("bff", "bff"));
    assert!(database.password.is_none() && !database.require_channel_binding);
    let tls = database.tls.unwrap();
    assert!(tls.system_roots && tls.trust_roots.is_empty() && tls.identity.is_none());
    assert_eq!((database.schema.as_str(), database.migrate), ("fapi_bff", Migrate::Start));
    assert_eq!(database.connections, 10);
    let two = Duration::from_secs(2);
    assert_eq!((database.connect_timeout, database.statement_timeout), (two, two));
    assert_eq!(database.lock_timeout, Duration::from_secs(1));
}

#[test]
fn a_host_is_a_name_an_address_or_the_directory_of_a_socket() {
    let tcp = |name: &str, port| DatabaseHost::Tcp { name: name.to_owned(), port };
    let socket = |name: &str, port| DatabaseHost::Socket { directory: PathBuf::from(name), port };
    for (written, expected) in [
        ("db", tcp("db", 5432)),
        ("db.example.com:1", tcp("db.example.com", 1)),
        ("192.0.2.7", tcp("192.0.2.7", 5432)),
        ("192.0.2.7:6432", tcp("192.0.2.7", 6432)),
        ("2001:db8::7", tcp("2001:db8::7", 5432)),
        ("[2001:db8::7]", tcp("2001:db8::7", 5432)),
        ("[2001:db8::7]:6432", tcp("2001:db8::7", 6432)),
        ("/run/postgresql", socket("/run/postgresql", 5432)),
        ("/run/postgresql:6432", socket("/run/postgresql", 6432)),
    ] {
        let settings = GOOD.replace("\"db1.example.com\", \"db2.example.com:5433\"", "\"{}\"");
        let settings = text(&settings.replace("{}", written));
        let database = database(folder().load(&settings, &[]).unwrap());
        let over_network = matches!(expected, DatabaseHost::Tcp { .. });
        assert_eq!(database.tls.is_some(), over_network, "{written}");
        assert_eq!(database.hosts, [expected]);
    }
    for bad in [
        "db:0",
        "db:65536",
        "db:",
        "db:x",
        ":5432",
        "a b",
        "db.example.com/bff",
        "postgres://db",
        "1:2:3:4:5:6:7:8:5433",
        "[db]:5432",
        "[::1",
        "user@db",
    ] {
        let settings = GOOD.replace("db1.example.com", bad);
        let faults = faults(&settings);
        assert_eq!(faults.len(), 1, "{bad}: {faults:#?}");
        assert_eq!(faults[0].path, "store.postgres.hosts[0]");
        assert!(faults[0].message.contains("is not a host"), "{faults:?}");
    }
}

/// FAPI2-SP-5.2.1-1, FAPI2-SP-5.2.1-5
#[test]
fn bad_settings_are_refused_at_their_path_alone() {
    let local = "hosts = [\"127.0.0.1\", \"[::1]:5433\", \"/run/postgresql\"]\ndatabase = \"bff\"\nuser = \"bff\"\n";
    folder().load(&text(&format!("{local}plain = true")), &[]).unwrap();
    for (settings, path, words) in [
        ("database = \"b\"\nuser = \"b\"".to_owned(), "hosts", "is missing"),
        ("hosts = [\"a\"]\nuser = \"b\"".to_owned(), "database", "is missing"),
        ("hosts = [\"a\"]\ndatabase = \"b\"".to_owned(), "user", "is missing"),
        ("hosts = []\ndatabase = \"b\"\nuser = \"b\"".to_owned(), "hosts", "is empty"),
        ("hosts = [\"a\", \"a\"]\ndatabase = \"b\"\nuser = \"b\"".to_owned(), "hosts[1]", "twice"),
        (format!("{GOOD}plain = true"), "plain", "loopback addresses and Unix sockets only"),
        (
            format!(
                "{}plain = true",
                GOOD.replace("db1.example.com\", \"db2.example.com:5433", "localhost")
            ),
            "plain",
            "loopback addresses and Unix sockets only",
        ),
        (
            format!("{local}plain = true\ntrust_roots = [\"tls/ca.pem\"]"),
            "plain",
            "contradicts trust_roots",
        ),
        (
            format!("{local}plain = true\nchannel_binding = \"require\""),
            "channel_binding",
            "no TLS connection",
        ),
        (format!("{GOOD}system_roots = false"), "system_roots", "no certificate authority"),
        (format!("{GOOD}sslmode = \"disable\""), "sslmode", "FAPI2-SP-5.2.1-5"),
        (format!("{GOOD}password = \"hunter2\""), "password", "password_file"),
        (format!("{GOOD}password_file = \"keys/absent\""), "password_file", "cannot be read"),
        (format!("{GOOD}channel_binding = \"disable\""), "channel_binding", "choices"),
        (format!("{GOOD}migrate = \"never\""), "migrate", "\"start\" or \"command\""),
        (format!("{GOOD}schema = \"Sessions\""), "schema", "not usable as a schema's name"),
        (format!("{GOOD}schema = \"a\\\"; DROP\""), "schema", "not usable"),
        (format!("{GOOD}schema = \"pg_x\""), "schema", "not usable"),
        (format!("{GOOD}schema = \"1a\""), "schema", "not usable"),
        (format!("{GOOD}schema = \"{}\"", "a".repeat(49)), "schema", "not usable"),
        (format!("{GOOD}connections = 0"), "connections", "not within 1 to 1000"),
        (format!("{GOOD}connect_timeout = \"2m\""), "connect_timeout", "not within 1s to 1m"),
        (format!("{GOOD}lock_timeout = \"3s\""), "lock_timeout", "longer than statement_timeout"),
        (format!("{GOOD}zebra = 1"), "zebra", "unknown key"),
    ] {
        let faults = faults(&settings);
        assert_eq!(faults.len(), 1, "{settings}: {faults:#?}");
        assert_eq!(faults[0].path, format!("store.postgres.{path}"), "{settings}");
        let told = format!("{}\n{}", faults[0].message, faults[0].remedy);
        assert!(told.contains(words), "{settings}: {told}");
        assert!(!told.contains("hunter2"));
    }
}

#[test]
fn one_kind_of_store_at_a_time() {
    let both = example_with(&[
        ("[store]", "kind = \"postgres\""),
        ("$", &format!("\n[store.postgres]\n{GOOD}")),
    ]);
    let faults = folder().faults(&both, &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].path, "store.path");
    let other = example_with(&[("$", &format!("\n[store.postgres]\n{GOOD}"))]);
    let faults = folder().faults(&other, &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].path, "store.postgres");
}

/// The lines of the example under `[store.postgres]`.
fn documented() -> Vec<(String, String)> {
    let lines = EXAMPLE.lines().skip_while(|line| !line.starts_with("# [store.postgres]")).skip(1);
    lines
        .take_while(|line| !line.starts_with("# ["))
        .filter_map(|line| line.strip_prefix('#')?.split_once(" = "))
        .filter(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .map(|(key, value)| {
            let value = value.trim_end_matches("# INSTEAD").trim();
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

#[test]
fn the_example_names_every_setting_and_its_default() {
    let folder = folder();
    let line = |(key, value): &(String, String)| format!("{key} = {value}\n");
    let written = documented().iter().map(line).collect::<Vec<_>>().concat();
    let database = database(folder.load(&text(&written), &[]).unwrap());
    assert_eq!(database.password.unwrap().expose(), b"correct horse");
    let path = folder.config(&text(GOOD));
    let report = report_in(path.parent().unwrap());
    read(&path, pairs(&[]), &report).unwrap();
    let asked = report.asked.borrow();
    let known: Vec<_> =
        asked.iter().filter_map(|path| path.strip_prefix("store.postgres.")).collect();
    assert!(known.len() > 12);
    let documented = documented();
    for key in known {
        assert!(documented.iter().any(|(name, _)| name == key), "the example lacks {key}");
    }
    let set = ["hosts", "database", "user", "password_file", "trust_roots", "tls_identity"];
    let others = documented.iter().filter(|(key, _)| !set.contains(&key.as_str()));
    let defaults = others.map(line).collect::<Vec<_>>().concat();
    let spelt_out = self::database(folder.load(&text(&format!("{GOOD}{defaults}")), &[]).unwrap());
    let plain = self::database(folder.load(&text(GOOD), &[]).unwrap());
    assert_eq!(format!("{spelt_out:?}"), format!("{plain:?}"));
}

#[cfg(unix)]
#[test]
fn a_password_that_others_can_read_is_refused() {
    let folder = folder();
    folder.mode("keys/postgres-password", 0o644);
    let settings = format!("{GOOD}password_file = \"keys/postgres-password\"");
    let faults = folder.faults(&text(&settings), &[]);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].message.contains("can be read by others"), "{faults:?}");
}
