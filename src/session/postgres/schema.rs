//! Owns the schema's history: numbered steps, applied once each and all together or not at all.
//! Must not know: what the tables are used for.

use tokio_postgres::{Client, SimpleQueryMessage, Transaction, error::SqlState};

use super::{
    connect::{Connector, Purpose, drain},
    fault::{PostgresFault, described},
};

/// One step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migration {
    /// Consecutive, from 1.
    pub(super) version: i32,
    /// Name of its file.
    pub(super) name: &'static str,
    /// Statements that run in one transaction, the schema being the search path.
    pub(super) sql: &'static str,
}

/// Every step there ever was, oldest first. A step that is released never changes.
pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "0001_sessions",
    sql: include_str!("migrations/0001_sessions.sql"),
}];

/// The version this program works with.
pub(super) const KNOWN: i32 = 1;

/// What a migration did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Migrated {
    /// The version found; 0 if there was none.
    pub from: i32,
    /// The version now.
    pub to: i32,
}

/// The version of the schema on the search path; 0 if there is none.
pub(super) async fn version(client: &Client) -> Result<i32, PostgresFault> {
    let answer = client.simple_query("SELECT coalesce(max(version), 0) FROM schema_version").await;
    let messages = match answer {
        Ok(messages) => messages,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let text = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    text.and_then(|text| text.parse().ok()).ok_or(PostgresFault::Nonsense)
}

/// Whether this program can work with that version.
pub(super) fn judge(schema: &str, found: i32) -> Result<(), PostgresFault> {
    let schema = schema.to_owned();
    match found.cmp(&KNOWN) {
        std::cmp::Ordering::Less => Err(PostgresFault::Behind { schema, found, known: KNOWN }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(PostgresFault::Newer { schema, found, known: KNOWN }),
    }
}

/// Brings the schema to the version of this program. A user without rights to create anything may run
/// it where there is nothing to do.
pub(super) async fn bring_up(connector: &Connector) -> Result<Migrated, PostgresFault> {
    let (mut client, messages) = connector.connect(Purpose::Migrate).await?;
    let _reader = drain(messages);
    let found = version(&client).await?;
    match judge(&connector.schema, found) {
        Ok(()) => Ok(Migrated { from: found, to: found }),
        Err(PostgresFault::Behind { .. }) => {
            migrate(&mut client, &connector.schema, MIGRATIONS).await
        }
        Err(fault) => Err(fault),
    }
}

/// Applies what is missing, in one transaction and under a lock that others who do the same wait for.
pub(super) async fn migrate(
    client: &mut Client,
    schema: &str,
    migrations: &[Migration],
) -> Result<Migrated, PostgresFault> {
    let failed = |step: &str| {
        let step = step.to_owned();
        move |error: tokio_postgres::Error| PostgresFault::Migration {
            step,
            message: described(&error),
        }
    };
    let transaction = client.transaction().await?;
    let from = prepare(&transaction, schema).await.map_err(failed("set-up"))?;
    let known = migrations.last().map_or(0, |last| last.version);
    if from > known {
        return Err(PostgresFault::Newer { schema: schema.to_owned(), found: from, known });
    }
    for migration in migrations.iter().filter(|migration| migration.version > from) {
        transaction.batch_execute(migration.sql).await.map_err(failed(migration.name))?;
        let note = "INSERT INTO schema_version (version, name) VALUES ($1, $2)";
        transaction
            .execute(note, &[&migration.version, &migration.name])
            .await
            .map_err(failed(migration.name))?;
    }
    transaction.commit().await.map_err(failed("commit"))?;
    Ok(Migrated { from, to: known })
}

/// Locks, makes the schema and the table of versions unless they are there, and tells the version.
async fn prepare(
    transaction: &Transaction<'_>,
    schema: &str,
) -> Result<i32, tokio_postgres::Error> {
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    transaction.execute(lock, &[&format!("fapi-bff migrates {schema}")]).await?;
    let there = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
    if !transaction.query_one(there, &[&schema]).await?.try_get::<_, bool>(0)? {
        // The name has been checked to need no escape.
        transaction.batch_execute(&format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    let there = "SELECT to_regclass('schema_version') IS NOT NULL";
    if !transaction.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        let table = "CREATE TABLE schema_version (version integer PRIMARY KEY, name text NOT NULL, \
                     applied timestamptz NOT NULL DEFAULT clock_timestamp())";
        transaction.batch_execute(table).await?;
    }
    let latest = "SELECT coalesce(max(version), 0) FROM schema_version";
    transaction.query_one(latest, &[]).await?.try_get(0)
}
