//! Owns the settings of the process itself: listeners, store, logs.
//! Must not know: OAuth, apps.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tracing_subscriber::EnvFilter;

use super::{
    files, postgres,
    reader::{Place, Section, Setting},
    settings::{Admin, AuditSink, Log, Server, ServerKey, Store, StorePlace},
    valkey,
    values::{
        choice, duration, hours, integer, list, minutes, network_range, seconds, socket_address,
    },
};
use crate::{seal, telemetry::LogFormat};

/// Each index of a session is looked up under every key.
const MOST_FURTHER_KEYS: usize = 7;

pub(super) fn server(mut section: Section<'_>) -> Option<Server> {
    let s = &mut section;
    let plain_http = s.flag("plain_http", false);
    let listen = s.required(
        "listen",
        "name the address and port browsers connect to, such as \"0.0.0.0:8443\"",
        socket_address,
    );
    let tls = s.optional("tls", files::tls_files);
    if plain_http && s.has("tls") {
        let remedy =
            "remove plain_http to serve TLS, or tls to serve plain HTTP on a loopback address";
        s.place_of("plain_http").report(s.report, "contradicts tls", remedy);
    } else if plain_http && listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        let message = "plain HTTP is served on loopback addresses only (FAPI2-SP-5.2.1-1)";
        let remedy = "listen on 127.0.0.1 or [::1] behind the TLS terminator, or configure tls and remove plain_http";
        s.place_of("listen").report(s.report, message, remedy);
    } else if !plain_http && !s.has("tls") {
        s.missing("tls", "set tls = { certificate = \"…\", private_key = \"…\" }; behind a TLS terminator on the same host set plain_http = true");
    }
    let server = listen.map(|listen| Server {
        listen,
        tls,
        trusted_proxies: s.or("trusted_proxies", Vec::new(), |s| list(s, network_range)),
        first_byte_timeout: s
            .or("first_byte_timeout", seconds(5), |s| duration(s, seconds(1)..=minutes(1))),
        header_timeout: s
            .or("header_timeout", seconds(5), |s| duration(s, seconds(1)..=minutes(1))),
        idle_timeout: s.or("idle_timeout", seconds(75), |s| duration(s, seconds(1)..=hours(1))),
        max_connections: s.or("max_connections", 10_000, |s| integer(s, 1..=1_000_000)),
        drain_timeout: s
            .or("drain_timeout", seconds(20), |s| duration(s, seconds(0)..=minutes(10))),
    });
    section.finish();
    server
}

pub(super) fn admin(mut section: Section<'_>) -> (Admin, Place) {
    let s = &mut section;
    let allow_remote = s.flag("allow_remote", false);
    let listen =
        s.or("listen", SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090), socket_address);
    if !allow_remote && !listen.ip().is_loopback() {
        let message = "metrics and session administration would be reachable from other hosts";
        let remedy =
            "listen on 127.0.0.1 or [::1], or set allow_remote = true if the network protects it";
        s.place_of("listen").report(s.report, message, remedy);
    }
    let token = s.optional("token_file", files::admin_token);
    let place = s.place_of("token_file");
    section.finish();
    (Admin { listen, token }, place)
}

pub(super) fn store(mut section: Section<'_>) -> Option<Store> {
    let s = &mut section;
    let kinds = [
        ("embedded", StoreKind::Embedded),
        ("postgres", StoreKind::Postgres),
        ("valkey", StoreKind::Valkey),
    ];
    let place = match s.or("kind", StoreKind::Embedded, |s| choice(s, &kinds)) {
        StoreKind::Embedded => embedded(s),
        StoreKind::Postgres => postgres::place(s),
        StoreKind::Valkey => {
            valkey::servers(s.section("valkey")).map(|valkey| StorePlace::Valkey(Box::new(valkey)))
        }
    };
    let key_remedy = "name the server key's file; make one with `fapi-bff keys server --out FILE`";
    let server_key = s.required("server_key_file", key_remedy, files::server_key);
    let further = s.or("further_server_key_files", Some(Vec::new()), |setting| {
        Some(further_server_keys(setting, server_key.as_ref()))
    });
    let read_cache = s.or("read_cache", seconds(1), |s| duration(s, seconds(0)..=seconds(10)));
    section.finish();
    Some(Store {
        place: place?,
        server_key: server_key?,
        further_server_keys: further?,
        read_cache,
    })
}

/// What keeps sessions.
#[derive(Clone, Copy)]
enum StoreKind {
    Embedded,
    Postgres,
    Valkey,
}

fn embedded(s: &mut Section<'_>) -> Option<StorePlace> {
    let remedy = "name the file sessions are kept in, such as \"sessions.db\"";
    s.required("path", remedy, files::path).map(|path| StorePlace::Embedded { path })
}

/// Each key once: two of one id could not be told apart.
fn further_server_keys(
    setting: &Setting<'_>,
    active: Option<&ServerKey>,
) -> Option<Vec<ServerKey>> {
    let id = |key: &ServerKey| seal::ServerKey::from_bytes(*key.expose()).id();
    let items = setting.items()?;
    if items.len() > MOST_FURTHER_KEYS {
        let remedy = "keep those that sessions may still need, and the next one";
        return setting.wrong(format!("lists more than {MOST_FURTHER_KEYS} keys"), remedy);
    }
    let mut known: Vec<_> = active.map(id).into_iter().collect();
    let mut keys = Vec::new();
    let mut sound = true;
    for item in &items {
        let Some(key) = files::server_key(item) else {
            sound = false;
            continue;
        };
        if known.contains(&id(&key)) {
            sound = false;
            let message = format!("holds key {}, which is in use already", id(&key));
            item.wrong::<()>(
                message,
                "name each key once; make another with `fapi-bff keys server --out FILE`",
            );
        }
        known.push(id(&key));
        keys.push(key);
    }
    sound.then_some(keys)
}

pub(super) fn log(mut section: Section<'_>) -> Log {
    let s = &mut section;
    let level = s.or("level", "info".to_owned(), |setting| {
        let text = setting.text()?;
        match EnvFilter::try_new(&text) {
            Ok(_) => Some(text),
            Err(error) => setting.wrong(
                format!("is not a filter: {error}"),
                "write error, warn, info, debug or trace, or a list such as \"info,fapi_bff::proxy=debug\"",
            ),
        }
    });
    let format = s.or("format", LogFormat::Json, |s| {
        choice(s, &[("json", LogFormat::Json), ("text", LogFormat::Text)])
    });
    let audit = s.optional("audit_file", files::path).map_or(AuditSink::Stdout, AuditSink::File);
    section.finish();
    Log { level, format, audit }
}
