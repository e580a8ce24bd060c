//! Owns the settings of a session store in PostgreSQL.
//! Must not know: how the database is talked to.

use std::{net::IpAddr, path::PathBuf};

use rustls::pki_types::ServerName;

use super::{
    files, parties,
    reader::{Section, Setting, quoted},
    settings::{DatabaseHost, DatabaseTls, Migrate, Postgres, StorePlace},
    values::{choice, duration, filled_list, integer, minutes, seconds},
};

/// PostgreSQL's own.
const PORT: u16 = 5432;
/// Leaves room within PostgreSQL's 63 for what names made of it end with.
const LONGEST_SCHEMA: usize = 48;

pub(super) fn place(s: &mut Section<'_>) -> Option<StorePlace> {
    database(s.section("postgres")).map(|database| StorePlace::Postgres(Box::new(database)))
}

fn database(mut section: Section<'_>) -> Option<Postgres> {
    let s = &mut section;
    let hosts = s.required(
        "hosts",
        "list the servers, such as [\"db1.example.com\", \"db2.example.com:5433\"]",
        |s| filled_list(s, host),
    );
    let tls = tls(s, hosts.as_deref().unwrap_or_default());
    let require_channel_binding =
        s.or("channel_binding", false, |s| choice(s, &[("prefer", false), ("require", true)]));
    if require_channel_binding && tls.is_none() {
        s.place_of("channel_binding").report(
            s.report,
            "there is no TLS connection to bind a login to",
            "remove channel_binding, or use TLS",
        );
    }
    let database = s.required("database", "name the database", Setting::text);
    let user = s.required("user", "name the database user", Setting::text);
    let password = s.optional("password_file", files::client_secret);
    let schema = s.or("schema", "fapi_bff".to_owned(), schema);
    let migrations = [("start", Migrate::Start), ("command", Migrate::Command)];
    let migrate = s.or("migrate", Migrate::Start, |s| choice(s, &migrations));
    let connections = s.or("connections", 10, |s| integer(s, 1..=1000));
    let mut limit =
        |key, default| s.or(key, seconds(default), |s| duration(s, seconds(1)..=minutes(1)));
    let connect_timeout = limit("connect_timeout", 2);
    let statement_timeout = limit("statement_timeout", 2);
    let lock_timeout = limit("lock_timeout", 1);
    if lock_timeout > statement_timeout {
        s.place_of("lock_timeout").report(
            s.report,
            "is longer than statement_timeout, which ends the waiting first",
            "make it shorter than statement_timeout",
        );
    }
    section.finish();
    Some(Postgres {
        hosts: hosts?,
        tls,
        require_channel_binding,
        database: database?,
        user: user?,
        password,
        schema,
        migrate,
        connections,
        connect_timeout,
        statement_timeout,
        lock_timeout,
    })
}

/// TLS to every host that is not on this machine (FAPI2-SP-5.2.1-1).
fn tls(s: &mut Section<'_>, hosts: &[DatabaseHost]) -> Option<DatabaseTls> {
    let plain = s.flag("plain", false);
    if plain {
        for other in ["trust_roots", "system_roots", "tls_identity"] {
            if s.get(other).is_some() {
                s.place_of("plain").report(
                    s.report,
                    format!("contradicts {other}"),
                    format!("remove plain to use TLS, or {other} to do without"),
                );
            }
        }
        if hosts.iter().any(|host| !is_local(host)) {
            s.place_of("plain").report(
                s.report,
                "connections without TLS go to loopback addresses and Unix sockets only (FAPI2-SP-5.2.1-1)",
                "remove plain; a host on this machine is written 127.0.0.1, [::1] or as the directory of its socket",
            );
        }
        return None;
    }
    let (trust_roots, system_roots) = parties::trust(s);
    let identity = s.optional("tls_identity", files::tls_files);
    let over_network = |host: &DatabaseHost| matches!(host, DatabaseHost::Tcp { .. });
    hosts.iter().any(over_network).then_some(DatabaseTls { trust_roots, system_roots, identity })
}

/// Names are not looked up: `localhost` is whatever the resolver says.
fn is_local(host: &DatabaseHost) -> bool {
    match host {
        DatabaseHost::Tcp { name, .. } => {
            name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        DatabaseHost::Socket { .. } => true,
    }
}

/// A name or address with or without a port, or the directory of a Unix socket.
fn host(setting: &Setting<'_>) -> Option<DatabaseHost> {
    let text = setting.text()?;
    parse_host(&text).or_else(|| {
        setting.wrong(
            format!("{} is not a host", quoted(&text)),
            "write a name or an address, with a port if it is not 5432: \"db.example.com:5433\", \"[2001:db8::7]:5432\"; or the directory of a Unix socket: \"/run/postgresql\"",
        )
    })
}

fn parse_host(text: &str) -> Option<DatabaseHost> {
    let (name, port) = match text.rsplit_once(':') {
        // The colons of an address without brackets.
        _ if text.parse::<IpAddr>().is_ok() => (text, PORT),
        Some((name, port)) if !port.ends_with(']') => {
            (name, port.parse().ok().filter(|port| *port > 0)?)
        }
        _ => (text, PORT),
    };
    if name.starts_with('/') {
        return Some(DatabaseHost::Socket { directory: PathBuf::from(name), port });
    }
    let bare = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|address| address.parse::<IpAddr>().is_ok())?,
        None => name,
    };
    // A port after an address without brackets could be part of it.
    if bare.contains(':') && bare.len() == name.len() && name.len() < text.len() {
        return None;
    }
    ServerName::try_from(bare).ok()?;
    Some(DatabaseHost::Tcp { name: bare.to_owned(), port })
}

/// A name that means the same with and without quotes.
fn schema(setting: &Setting<'_>) -> Option<String> {
    let text = setting.text()?;
    let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if first && rest && text.len() <= LONGEST_SCHEMA && !text.starts_with("pg_") {
        return Some(text);
    }
    setting.wrong(
        format!("{} is not usable as a schema's name", quoted(&text)),
        "use up to 48 lower-case letters, digits and underscores, no digit first, not pg_…",
    )
}
