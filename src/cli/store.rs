//! Owns the commands that prepare a session store.
//! Must not know: what is kept in it.

use clap::Subcommand;

use super::{ConfigArgument, Failure};
use crate::{
    config::StorePlace,
    session::{Migrated, PostgresStore},
};

/// Prepare the session store.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Bring the schema of a store in PostgreSQL to the version of this program.
    Migrate(ConfigArgument),
}

/// Migrates, and says what was done.
pub(super) fn migrate(place: &StorePlace) -> Result<String, Failure> {
    let StorePlace::Postgres(database) = place else {
        return Err(Failure::Other(
            "store.kind: only a store of the kind \"postgres\" has a schema to migrate".to_owned(),
        ));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Migrated { from, to } = runtime
        .block_on(PostgresStore::migrate(database))
        .map_err(|fault| Failure::Other(fault.to_string()))?;
    let schema = &database.schema;
    Ok(match from {
        0 => format!("schema {schema}: version {to} created"),
        _ if from == to => format!("schema {schema}: version {to}, nothing to do"),
        _ => format!("schema {schema}: version {from} brought to {to}"),
    })
}
