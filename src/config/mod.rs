//! Owns the configuration: one TOML file, overrides from the environment, secrets from files; either a
//! consistent [`Settings`] or every mistake at once. Must not know: anything that uses a setting.

mod apps;
mod cross;
mod fault;
mod files;
mod grants;
mod parties;
mod postgres;
mod process;
mod reader;
mod refused;
mod settings;
#[cfg(test)]
pub(crate) mod tests;
mod tree;
mod valkey;
mod values;

use std::{collections::BTreeMap, fs, path::Path};

pub use fault::{Fault, Faults, Source};
pub use settings::{
    Access, Admin, App, AuditSink, Authorization, Carrier, Client, ClientAuthentication,
    DatabaseHost, DatabaseTls, DecryptionKeyFile, Discovery, Encryption, Exchange, IntentSettings,
    KeyFile, Log, LoginSettings, Migrate, Narrowing, OverLimit, PemFile, Postgres, Provider, Route,
    Secret, Server, ServerAddress, ServerKey, SessionLimit, SessionSettings, Settings, Store,
    StorePlace, TlsFiles, TokenPolicy, Valkey, ValkeyServers, ValkeyTls,
};

use cross::Facts;
use reader::{Report, Section};

/// Reads the file at `path`, lays the `FAPI_BFF__…` variables of `environment` over it, reads the files
/// it names and checks it all. Nothing is contacted.
///
/// `FAPI_BFF__CLIENTS__WEB__CLIENT_ID=x` sets `client_id` in `[clients.web]`: two underscores separate the
/// parts of a path, upper and lower case are the same, a hyphen in a name is written `_`, and a number is
/// an index (`FAPI_BFF__APPS__WEB__ROUTES__0__UPSTREAM`). Lists are written as TOML (`["a", "b"]`).
///
/// # Errors
/// Every mistake found. If the file is not TOML, its syntax errors only.
pub fn load(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, Faults> {
    let report = Report::new(path.parent().unwrap_or(Path::new("")).to_owned());
    read(path, environment, &report)
        .filter(|_| report.faults().is_empty())
        .ok_or_else(|| Faults::new(report.faults()))
}

fn read(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    report: &Report,
) -> Option<Settings> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| {
            let source = Source::File { name: name.clone(), line: None };
            report.add(
                "",
                source,
                format!("cannot be read: {error}"),
                "name a readable UTF-8 file with --config",
            );
        })
        .ok()?;
    let mut tree = match tree::parse(&text, &name) {
        Ok(tree) => tree,
        Err(faults) => {
            for Fault { path, source, message, remedy } in faults {
                report.add(path, source, message, remedy);
            }
            return None;
        }
    };
    tree::overlay(&mut tree, environment, report);
    tree::refuse_inline_keys(&mut tree, "", report);
    settings(Section::root(&tree, &name, report))
}

fn settings(mut root: Section<'_>) -> Option<Settings> {
    let report = root.report;
    let mut facts = Facts::default();
    let server = process::server(root.section("server"));
    let (admin, token_place) = process::admin(root.section("admin"));
    let store = process::store(root.section("store"));
    if let (Some(token), Some(store)) = (&admin.token, &store)
        && std::iter::once(&store.server_key)
            .chain(&store.further_server_keys)
            .any(|key| files::is_server_key(token, key))
    {
        let remedy = "make another with `fapi-bff keys admin --out FILE`";
        token_place.report(report, "is the server key, which is shown to nobody", remedy);
    }
    let log = process::log(root.section("log"));
    let providers =
        root.named("providers", "describe the authorization server in [providers.NAME]");
    let clients = root.named(
        "clients",
        "describe the registration at the authorization server in [clients.NAME]",
    );
    let apps = root.named("apps", "describe the single-page application in [apps.NAME]");
    root.finish();
    let providers = each(providers, |name, section| parties::provider(name, section, &mut facts));
    let clients = each(clients, |name, section| parties::client(name, section, &mut facts));
    let apps = each(apps, |name, section| apps::app(name, section, &mut facts));
    facts.check(report);
    Some(Settings {
        server: server?,
        admin,
        store: store?,
        log,
        providers: providers?,
        clients: clients?,
        apps: apps?,
    })
}

/// Reads all entries, even after one was unusable.
fn each<'a, T>(
    sections: Vec<(String, Section<'a>)>,
    mut read: impl FnMut(&str, Section<'a>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let entries: Vec<_> = sections
        .into_iter()
        .map(|(name, section)| read(&name, section).map(|value| (name, value)))
        .collect();
    entries.into_iter().collect()
}
