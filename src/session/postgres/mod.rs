//! Owns the store in PostgreSQL: sessions that any number of instances share. Must not know what is
//! inside a record.
//!
//! Every operation is one statement, and so one round trip and one transaction. What must be durable
//! commits as the server is configured to (`synchronous_commit`); activity alone does not wait. Leases run
//! by the server's clock. When a connection breaks, an operation is repeated once if doing it twice is the
//! same as doing it once; the others are unavailable, and may or may not have happened.

mod changes;
mod connect;
mod fault;
mod schema;
mod spoken;
mod statements;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use deadpool::managed::{Object, PoolError};
use tokio::{
    sync::{Notify, broadcast},
    time::Instant,
};
use tokio_postgres::{
    Row, Statement,
    types::{FromSql, ToSql},
};

use self::{
    changes::{Kind, News},
    connect::{Connector, Manager, Pool, Tied},
    spoken::Spoken,
    statements::Statements,
};
pub use self::{fault::PostgresFault, schema::Migrated};
use super::store::{
    BoxFuture, Change, Creation, Cursor, Expiry, Fence, Lease, Leased, Listed, Owner, Page,
    RemoveIf, Removed, Replaced, Store, StoreKey, StoreUnavailable, StoredRecord, Swept, Version,
};
use crate::{
    clock::UnixTime,
    config::{Migrate, Postgres},
};

/// Records removed by one statement of a sweep.
const BATCH: i64 = 500;
/// Between two attempts to migrate at the start.
const MIGRATION_PAUSE: Duration = Duration::from_secs(2);
/// The longest lease that is granted.
const LONGEST_LEASE: Duration = Duration::from_secs(86_400);

type Reply<'a, T> = BoxFuture<'a, Result<T, StoreUnavailable>>;

/// Whether an operation may be sent again when nobody knows whether it was carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twice {
    /// Doing it twice is the same as doing it once.
    Same,
    /// The second time would be answered otherwise.
    Differs,
}

/// Sessions in PostgreSQL.
pub struct PostgresStore {
    pool: Pool,
    news: Arc<News>,
    /// Limit of an operation as a whole: a connection and its answer.
    patience: Duration,
    spoken: Spoken,
    _tasks: Vec<Tied>,
}

impl PostgresStore {
    /// Prepares everything and contacts nobody yet; a server that is down is no fault. Needs a runtime.
    pub fn new(settings: &Postgres) -> Result<Self, PostgresFault> {
        let connector = Arc::new(Connector::new(settings)?);
        let behind = Arc::new(Notify::new());
        let manager = Manager { connector: Arc::clone(&connector), behind: Arc::clone(&behind) };
        let pool = Pool::builder(manager)
            .max_size(settings.connections)
            .build()
            .map_err(|error| PostgresFault::Unreachable(error.to_string()))?;
        let news = Arc::new(News::new(&settings.schema));
        let mut tasks = vec![changes::listen(Arc::clone(&connector), Arc::clone(&news))];
        if settings.migrate == Migrate::Start {
            tasks.push(Tied::spawn(keep_up(connector, behind)));
        }
        let patience = settings.connect_timeout + settings.statement_timeout;
        Ok(Self { pool, news, patience, spoken: Spoken::default(), _tasks: tasks })
    }

    /// Brings the schema up to this program's version, for the command that does only this.
    pub async fn migrate(settings: &Postgres) -> Result<Migrated, PostgresFault> {
        schema::bring_up(&Connector::new(settings)?).await
    }

    /// One statement, answered within the limit.
    async fn ask(
        &self,
        statement: fn(&Statements) -> &Statement,
        twice: Twice,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreUnavailable> {
        let deadline = Instant::now() + self.patience;
        let mut answer = self.ask_once(statement, parameters, deadline).await;
        if twice == Twice::Same && answer.as_ref().is_err_and(PostgresFault::lost_connection) {
            answer = self.ask_once(statement, parameters, deadline).await;
        }
        answer.map_err(|fault| self.unavailable(&fault))
    }

    async fn ask_once(
        &self,
        statement: fn(&Statements) -> &Statement,
        parameters: &[&(dyn ToSql + Sync)],
        deadline: Instant,
    ) -> Result<Vec<Row>, PostgresFault> {
        let link = match tokio::time::timeout_at(deadline, self.pool.get()).await {
            Ok(Ok(link)) => link,
            Ok(Err(PoolError::Backend(fault))) => return Err(fault),
            Ok(Err(error)) => return Err(PostgresFault::Unreachable(error.to_string())),
            Err(_) => return Err(PostgresFault::TimedOut),
        };
        let query = link.client.query(statement(&link.statements), parameters);
        let fault = match tokio::time::timeout_at(deadline, query).await {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(error)) => PostgresFault::from(error),
            Err(_) => PostgresFault::TimedOut,
        };
        if fault.spoils_connection() {
            // The others lead to the same server: after a failover they are of no more use.
            drop(Object::take(link));
            self.pool.retain(|_, _| false);
        }
        Err(fault)
    }

    fn unavailable(&self, fault: &PostgresFault) -> StoreUnavailable {
        self.spoken.warn("the session store is unavailable", fault);
        fault.unavailable()
    }

    /// The same for an answer that was not as expected.
    fn sense<T>(&self, read: Result<T, PostgresFault>) -> Result<T, StoreUnavailable> {
        read.map_err(|fault| self.unavailable(&fault))
    }

    /// Calls `batch` until it removes less than a full one; what was removed before a failure counts.
    async fn in_batches(
        &self,
        statement: fn(&Statements) -> &Statement,
        now: UnixTime,
    ) -> Result<u64, (u64, StoreUnavailable)> {
        let mut removed = 0;
        loop {
            let rows = self.ask(statement, Twice::Same, &[&now.as_i64(), &BATCH]).await;
            let rows = rows.map_err(|unavailable| (removed, unavailable))?;
            removed += rows.len() as u64;
            if (rows.len() as u64) < BATCH.unsigned_abs() {
                return Ok(removed);
            }
        }
    }

    async fn sweep_into(&self, swept: &mut Swept, now: UnixTime) -> Result<(), StoreUnavailable> {
        let prefix = self.news.prefix(Kind::Removed);
        loop {
            let rows = self
                .ask(
                    |statements| &statements.sweep,
                    Twice::Differs,
                    &[&now.as_i64(), &BATCH, &self.news.channel, &prefix],
                )
                .await?;
            for row in &rows {
                let (app, limit) = self.sense(ended(row, now))?;
                *swept.ended.entry((app, limit)).or_default() += 1;
            }
            if (rows.len() as u64) < BATCH.unsigned_abs() {
                break;
            }
        }
        let counted = |counter: &mut u64, outcome| match outcome {
            Ok(removed) => {
                *counter += removed;
                Ok(())
            }
            Err((removed, unavailable)) => {
                *counter += removed;
                Err(unavailable)
            }
        };
        let consumed = self.in_batches(|statements| &statements.sweep_consumed, now).await;
        counted(&mut swept.consumed, consumed)?;
        let marks = self.in_batches(|statements| &statements.sweep_marks, now).await;
        counted(&mut swept.marks, marks)
    }
}

/// Migrates when the server first answers, and again whenever the schema is found to be behind.
async fn keep_up(connector: Arc<Connector>, behind: Arc<Notify>) {
    let spoken = Spoken::default();
    loop {
        match schema::bring_up(&connector).await {
            Ok(Migrated { from, to }) => {
                if from < to {
                    tracing::info!(from, to, schema = connector.schema, "schema migrated");
                }
                behind.notified().await;
            }
            Err(fault) => {
                spoken.warn("the schema could not be brought up to date", &fault);
                tokio::time::sleep(MIGRATION_PAUSE).await;
            }
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("connector", &self.pool.manager().connector)
            .finish_non_exhaustive()
    }
}

impl Store for PostgresStore {
    fn create<'a>(&'a self, key: &'a StoreKey, record: StoredRecord) -> Reply<'a, Creation> {
        Box::pin(async move {
            let indexes: Vec<&[u8]> =
                record.indexes.iter().map(|index| index.as_bytes().as_slice()).collect();
            let rows = self
                .ask(
                    |statements| &statements.create,
                    Twice::Differs,
                    &[
                        &key.as_bytes().as_slice(),
                        &record.app,
                        &signed(record.version.as_u64()),
                        &record.created.as_i64(),
                        &record.sealed,
                        &record.expires.as_i64(),
                        &record.idle,
                        &record.last_seen.as_i64(),
                        &indexes,
                    ],
                )
                .await?;
            Ok(if rows.is_empty() { Creation::AlreadyThere } else { Creation::Created })
        })
    }

    fn load<'a>(&'a self, key: &'a StoreKey) -> Reply<'a, Option<StoredRecord>> {
        Box::pin(async move {
            let rows = self
                .ask(|statements| &statements.load, Twice::Same, &[&key.as_bytes().as_slice()])
                .await?;
            self.sense(rows.first().map(record).transpose())
        })
    }

    /// Sent again after a broken connection: the same owner gets it again.
    fn lease<'a>(&'a self, key: &'a StoreKey, owner: Owner, ttl: Duration) -> Reply<'a, Leased> {
        Box::pin(async move {
            let micros = i64::try_from(ttl.min(LONGEST_LEASE).as_micros()).unwrap_or(i64::MAX);
            let rows = self
                .ask(
                    |statements| &statements.lease,
                    Twice::Same,
                    &[&key.as_bytes().as_slice(), &owner.as_bytes().as_slice(), &micros],
                )
                .await?;
            self.sense(rows.first().map_or(Ok(Leased::Gone), leased))
        })
    }

    fn release<'a>(&'a self, key: &'a StoreKey, fence: Fence) -> Reply<'a, ()> {
        Box::pin(async move {
            let fence = signed(fence.as_u64());
            self.ask(
                |statements| &statements.release,
                Twice::Same,
                &[&key.as_bytes().as_slice(), &fence],
            )
            .await?;
            Ok(())
        })
    }

    fn replace<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        fence: Fence,
        sealed: Vec<u8>,
        expires: UnixTime,
    ) -> Reply<'a, Replaced> {
        Box::pin(async move {
            let rows = self
                .ask(
                    |statements| &statements.replace,
                    Twice::Differs,
                    &[
                        &key.as_bytes().as_slice(),
                        &signed(expected.as_u64()),
                        &signed(fence.as_u64()),
                        &sealed,
                        &expires.as_i64(),
                        &self.news.channel,
                        &self.news.prefix(Kind::Replaced),
                    ],
                )
                .await?;
            self.sense(rows.first().map_or(Ok(Replaced::Gone), replaced))
        })
    }

    fn touch<'a>(&'a self, key: &'a StoreKey, last_seen: UnixTime) -> Reply<'a, ()> {
        Box::pin(async move {
            let last_seen = last_seen.as_i64();
            self.ask(
                |statements| &statements.touch,
                Twice::Same,
                &[&key.as_bytes().as_slice(), &last_seen],
            )
            .await?;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, key: &'a StoreKey, condition: RemoveIf) -> Reply<'a, Removed> {
        Box::pin(async move {
            let (version, fence, seen) = match condition {
                RemoveIf::Present => (None, None, None),
                RemoveIf::Unchanged(version, fence) => {
                    (Some(signed(version.as_u64())), Some(signed(fence.as_u64())), None)
                }
                RemoveIf::NotSeenSince(seen) => (None, None, Some(seen.as_i64())),
            };
            let rows = self
                .ask(
                    |statements| &statements.remove,
                    Twice::Differs,
                    &[
                        &key.as_bytes().as_slice(),
                        &version,
                        &fence,
                        &seen,
                        &self.news.channel,
                        &self.news.prefix(Kind::Removed),
                    ],
                )
                .await?;
            self.sense(rows.first().map_or(Ok(Removed::Absent), removed))
        })
    }

    fn consume_once<'a>(&'a self, key: &'a StoreKey, expires: UnixTime) -> Reply<'a, bool> {
        Box::pin(async move {
            let rows = self
                .ask(
                    |statements| &statements.consume,
                    Twice::Differs,
                    &[&key.as_bytes().as_slice(), &expires.as_i64()],
                )
                .await?;
            Ok(!rows.is_empty())
        })
    }

    fn find<'a>(&'a self, index: &'a StoreKey) -> Reply<'a, Vec<StoreKey>> {
        Box::pin(async move {
            let rows = self
                .ask(|statements| &statements.find, Twice::Same, &[&index.as_bytes().as_slice()])
                .await?;
            self.sense(rows.iter().map(|row| key_at(row, 0)).collect())
        })
    }

    fn page(&self, after: Option<Cursor>, limit: usize) -> Reply<'_, Page> {
        Box::pin(async move {
            let limit = limit.clamp(1, 10_000);
            // Nothing comes before the empty string.
            let after = after.map(|cursor| cursor.0).unwrap_or_default();
            let rows = self
                .ask(
                    |statements| &statements.page,
                    Twice::Same,
                    &[&after, &i64::try_from(limit).unwrap_or(i64::MAX)],
                )
                .await?;
            let listed: Vec<_> = self.sense(rows.iter().map(listed).collect())?;
            let next = listed
                .last()
                .filter(|_| listed.len() == limit)
                .map(|last| Cursor(last.key.as_bytes().to_vec()));
            Ok(Page { listed, next })
        })
    }

    fn mark<'a>(&'a self, key: &'a StoreKey, time: UnixTime, expires: UnixTime) -> Reply<'a, ()> {
        Box::pin(async move {
            self.ask(
                |statements| &statements.mark,
                Twice::Same,
                &[
                    &key.as_bytes().as_slice(),
                    &time.as_i64(),
                    &expires.as_i64(),
                    &self.news.channel,
                    &self.news.prefix(Kind::Marked),
                ],
            )
            .await?;
            Ok(())
        })
    }

    fn marks<'a>(&'a self, keys: &'a [StoreKey]) -> Reply<'a, Vec<Option<UnixTime>>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            let wanted: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes().as_slice()).collect();
            let rows = self.ask(|statements| &statements.marks, Twice::Same, &[&wanted]).await?;
            let found: Vec<(StoreKey, UnixTime)> = self
                .sense(rows.iter().map(|row| Ok((key_at(row, 0)?, time_at(row, 1)?))).collect())?;
            let time_of = |key| found.iter().find(|(found, _)| found == key).map(|(_, time)| *time);
            Ok(keys.iter().map(time_of).collect())
        })
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        Some(self.news.subscribe())
    }

    /// What was removed before the server failed is reported as swept: nobody else will report it. Index
    /// entries never point at nothing here.
    fn sweep(&self, now: UnixTime) -> Reply<'_, Swept> {
        Box::pin(async move {
            let mut swept = Swept::default();
            match self.sweep_into(&mut swept, now).await {
                Err(unavailable) if swept == Swept::default() => Err(unavailable),
                _ => Ok(swept),
            }
        })
    }

    fn count(&self) -> Reply<'_, u64> {
        Box::pin(async move {
            let rows = self.ask(|statements| &statements.count, Twice::Same, &[]).await?;
            let count: i64 = self.sense(rows.first().map_or(Ok(0), |row| at(row, 0)))?;
            Ok(count.unsigned_abs())
        })
    }

    fn ping(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            self.ask(|statements| &statements.ping, Twice::Same, &[]).await?;
            Ok(())
        })
    }
}

/// PostgreSQL has no unsigned numbers; none of ours ever gets that large.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn at<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, PostgresFault> {
    row.try_get(column).map_err(|_| PostgresFault::Nonsense)
}

fn number_at(row: &Row, column: usize) -> Result<u64, PostgresFault> {
    u64::try_from(at::<i64>(row, column)?).map_err(|_| PostgresFault::Nonsense)
}

fn time_at(row: &Row, column: usize) -> Result<UnixTime, PostgresFault> {
    at(row, column).map(UnixTime::new)
}

fn store_key(bytes: &[u8]) -> Result<StoreKey, PostgresFault> {
    bytes.try_into().map(StoreKey::new).map_err(|_| PostgresFault::Nonsense)
}

fn key_at(row: &Row, column: usize) -> Result<StoreKey, PostgresFault> {
    store_key(at(row, column)?)
}

/// The eight columns of a record, in the order in which every statement gives them.
fn record(row: &Row) -> Result<StoredRecord, PostgresFault> {
    let indexes: Vec<&[u8]> = at(row, 7)?;
    Ok(StoredRecord {
        app: at(row, 0)?,
        version: Version::new(number_at(row, 1)?),
        created: time_at(row, 2)?,
        sealed: at(row, 3)?,
        expires: time_at(row, 4)?,
        idle: at(row, 5)?,
        last_seen: time_at(row, 6)?,
        indexes: indexes.into_iter().map(store_key).collect::<Result<_, _>>()?,
    })
}

/// The first column is null if the condition did not hold.
fn held_back(row: &Row) -> Result<bool, PostgresFault> {
    Ok(at::<Option<&str>>(row, 0)?.is_none())
}

fn leased(row: &Row) -> Result<Leased, PostgresFault> {
    if held_back(row)? {
        return Ok(Leased::Held);
    }
    let (fence, abandoned) = (Fence::new(number_at(row, 8)?), at(row, 9)?);
    Ok(Leased::Granted(Box::new(Lease { fence, record: record(row)?, abandoned })))
}

fn replaced(row: &Row) -> Result<Replaced, PostgresFault> {
    let (expected, version): (bool, Option<i64>) = (at(row, 0)?, at(row, 1)?);
    Ok(match version {
        Some(_) => Replaced::Done(Version::new(number_at(row, 1)?)),
        None if expected => Replaced::Fenced,
        None => Replaced::Conflict,
    })
}

fn removed(row: &Row) -> Result<Removed, PostgresFault> {
    if held_back(row)? {
        return Ok(Removed::Changed);
    }
    Ok(Removed::Done(Box::new(record(row)?)))
}

fn listed(row: &Row) -> Result<Listed, PostgresFault> {
    Ok(Listed {
        key: key_at(row, 0)?,
        app: at(row, 1)?,
        created: time_at(row, 2)?,
        expires: time_at(row, 3)?,
        idle: at(row, 4)?,
        last_seen: time_at(row, 5)?,
    })
}

/// Which session a sweep ended, and why.
fn ended(row: &Row, now: UnixTime) -> Result<(String, Expiry), PostgresFault> {
    let (expires, idle, last_seen) = (time_at(row, 1)?, at(row, 2)?, time_at(row, 3)?);
    let limit = Expiry::of(now, last_seen, idle, expires).ok_or(PostgresFault::Nonsense)?;
    Ok((at(row, 0)?, limit))
}
