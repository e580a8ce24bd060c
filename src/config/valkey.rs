//! Owns the settings of a store in Valkey or Redis: where its servers are, how they are met.
//! Must not know: what is kept there.

use std::net::IpAddr;

use url::Host;

use super::{
    files, parties,
    reader::{Section, Setting, quoted},
    settings::{ServerAddress, Valkey, ValkeyServers, ValkeyTls},
    values::{duration, filled_list, integer, minutes, plain_url, seconds},
};

/// A server's URL, taken apart.
#[derive(PartialEq, Eq)]
struct Server {
    address: ServerAddress,
    tls: bool,
}

/// Everything in `[store.valkey]`.
pub(super) fn servers(mut section: Section<'_>) -> Option<Valkey> {
    let s = &mut section;
    let watched = s.optional("sentinel", sentinel);
    let (sentinel, clustered) = (s.has("sentinel"), s.flag("cluster", false));
    let port = if sentinel { 26379 } else { 6379 };
    let urls = s.required(
        "urls",
        "name the server, such as [\"rediss://valkey.internal:6379\"]; of a cluster several, and with store.valkey.sentinel the sentinels",
        |setting| filled_list(setting, |item| server(item, port)),
    );
    if sentinel && clustered {
        let remedy =
            "remove store.valkey.cluster or store.valkey.sentinel: a cluster watches over itself";
        s.place_of("cluster").report(s.report, "contradicts sentinel", remedy);
    }
    if let Some(urls) = &urls {
        if !sentinel && !clustered && urls.len() > 1 {
            let remedy = "name one server; for several set store.valkey.cluster = true or store.valkey.sentinel";
            s.place_of("urls").report(s.report, "names more than one server", remedy);
        }
        if urls.iter().any(|url| url.tls) && urls.iter().any(|url| !url.tls) {
            let remedy = "write rediss:// in all of them, or redis:// for loopback addresses";
            s.place_of("urls").report(s.report, "names servers with and without TLS", remedy);
        }
    }
    let encrypted = urls.as_ref().is_none_or(|urls| urls.iter().any(|url| url.tls));
    let (trust_roots, system_roots) = parties::trust(s);
    let identity = s.optional("tls_identity", files::tls_files);
    for name in ["trust_roots", "system_roots", "tls_identity"] {
        if !encrypted && s.has(name) {
            let remedy = "write rediss:// in store.valkey.urls, or remove this";
            s.place_of(name).report(s.report, "has no use without TLS", remedy);
        }
    }
    let (username, password) = credentials(s);
    let connect_timeout =
        s.or("connect_timeout", seconds(2), |s| duration(s, seconds(1)..=seconds(30)));
    let response_timeout =
        s.or("response_timeout", seconds(2), |s| duration(s, seconds(1)..=minutes(1)));
    let wait_replicas = s.or("wait_replicas", 0, |s| integer(s, 0..=16));
    let key_prefix = s.or("key_prefix", "fapi-bff".to_owned(), key_prefix);

    section.finish();

    let mut addresses: Vec<_> = urls?.into_iter().map(|server| server.address).collect();
    let servers = if sentinel {
        let (master, username, password) = watched?;
        ValkeyServers::Sentinel { sentinels: addresses, master, username, password }
    } else if clustered {
        ValkeyServers::Cluster(addresses)
    } else {
        ValkeyServers::Single(addresses.pop()?)
    };
    Some(Valkey {
        servers,
        tls: encrypted.then_some(ValkeyTls { trust_roots, system_roots, identity }),
        username,
        password,
        connect_timeout,
        response_timeout,
        wait_replicas,
        key_prefix,
    })
}

type Credentials = (Option<String>, Option<super::Secret>);

fn credentials(s: &mut Section<'_>) -> Credentials {
    let username = s.optional("username", Setting::text);
    let password = s.optional("password_file", files::client_secret);
    if s.has("username") && !s.has("password_file") {
        s.missing("password_file", "name the file of the user's password");
    }
    (username, password)
}

fn sentinel(setting: &Setting<'_>) -> Option<(String, Option<String>, Option<super::Secret>)> {
    let mut section = setting.table()?;
    let s = &mut section;
    let remedy = "write the name under which the sentinels know the primary";
    let master = s.required("master", remedy, Setting::text);
    let (username, password) = credentials(s);
    section.finish();
    Some((master?, username, password))
}

fn server(setting: &Setting<'_>, default_port: u16) -> Option<Server> {
    let remedy = "write it as \"rediss://host:port\"; \"redis://127.0.0.1:port\" without TLS, for loopback addresses only";
    let (text, url) = plain_url(setting, remedy)?;
    let tls = match url.scheme() {
        "rediss" | "valkeys" => true,
        "redis" | "valkey" => false,
        _ => return setting.wrong(format!("{} is no rediss:// URL", quoted(&text)), remedy),
    };
    if !matches!(url.path(), "" | "/") {
        let message = format!("{} has a path, and only database 0 is used", quoted(&text));
        return setting.wrong(message, remedy);
    }
    let (host, ip) = match url.host()? {
        Host::Ipv4(ip) => (ip.to_string(), Some(IpAddr::from(ip))),
        Host::Ipv6(ip) => (ip.to_string(), Some(IpAddr::from(ip))),
        // URLs of such schemes leave addresses as they are written.
        Host::Domain(name) => (name.to_owned(), name.parse().ok()),
    };
    if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b)) {
        return setting.wrong(format!("{} names no host", quoted(&text)), remedy);
    }
    let local = host == "localhost" || ip.is_some_and(|ip| ip.to_canonical().is_loopback());
    if !tls && !local {
        let message = format!(
            "{} goes to another host without TLS, which carries the password and every session (FAPI2-SP-5.2.1-1)",
            quoted(&text)
        );
        return setting.wrong(message, "write rediss:// and have the server speak TLS");
    }
    let address = ServerAddress { host, port: url.port().unwrap_or(default_port) };
    Some(Server { address, tls })
}

fn key_prefix(setting: &Setting<'_>) -> Option<String> {
    let text = setting.text()?;
    if text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)) {
        return Some(text);
    }
    setting.wrong(
        format!("{} is not usable in the names of keys", quoted(&text)),
        "write up to 64 letters, digits and -_.:",
    )
}
