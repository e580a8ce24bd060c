//! Owns the configuration: one TOML file, overrides from the environment, secrets from files; either a
//! consistent [`Settings`] or every mistake at once. Must not know: anything that uses a setting.

mod fault;
mod settings;

pub use fault::{Fault, Faults, Source};
pub use settings::{
    Access, Admin, App, AuditSink, Client, Discovery, KeyFile, Log, LogFormat, LoginSettings, Network, PemFile,
    ProfileName, Provider, Route, Secret, Server, ServerKey, SessionSettings, Settings, Store, TlsFiles, TokenPolicy,
};
