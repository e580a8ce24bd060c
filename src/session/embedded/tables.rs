//! Owns the layout of the embedded store's file and what each operation does to it inside one transaction.
//! Must not know threads, channels or when a transaction is committed.

use std::ops::Bound;

use redb::{
    Database, MultimapTable, MultimapTableDefinition, ReadOnlyTable, ReadableDatabase as _,
    ReadableTable as _, Table, TableDefinition, WriteTransaction,
};

use crate::{
    clock::UnixTime,
    session::store::{
        Creation, Cursor, Expiry, Fence, Listed, Page, RemoveIf, Removed, Replaced, StoreKey,
        StoredRecord, Version,
    },
};

type Bytes32<'a> = &'a [u8; 32];
/// Version, app, index keys end to end, sealed record.
type Row<'a> = (u64, &'a str, &'a [u8], &'a [u8]);
/// Absolute expiry, idle limit, last activity, beginning, last lease granted.
type Limits = (i64, i64, i64, i64, u64);
/// A time and when it may be forgotten.
type Marked = (i64, i64);

const SESSIONS: TableDefinition<'_, Bytes32<'_>, Row<'_>> = TableDefinition::new("sessions");
/// Apart from the record, so that noting activity or a lease rewrites 72 bytes and a sweep reads no
/// sealed record.
const ACTIVITY: TableDefinition<'_, Bytes32<'_>, Limits> = TableDefinition::new("activity");
const INDEX: MultimapTableDefinition<'_, Bytes32<'_>, Bytes32<'_>> =
    MultimapTableDefinition::new("index");
/// Expiry of each consumed key.
const CONSUMED: TableDefinition<'_, Bytes32<'_>, i64> = TableDefinition::new("consumed");
const MARKS: TableDefinition<'_, Bytes32<'_>, Marked> = TableDefinition::new("marks");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

pub(super) const SCHEMA: u64 = 2;

/// Creates the tables of a new file; or names the other schema a file was written under, and leaves it alone.
pub(super) fn prepare(database: &Database) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get("schema")?.map(|schema| schema.value());
        match found {
            Some(SCHEMA) => {}
            Some(found) => return Ok(Some(found)),
            None => {
                meta.insert("schema", SCHEMA)?;
            }
        }
    }
    drop(Tables::open(&transaction)?);
    transaction.commit()?;
    Ok(None)
}

/// All tables, opened for writing in one transaction.
pub(super) struct Tables<'t> {
    sessions: Table<'t, Bytes32<'static>, Row<'static>>,
    activity: Table<'t, Bytes32<'static>, Limits>,
    index: MultimapTable<'t, Bytes32<'static>, Bytes32<'static>>,
    consumed: Table<'t, Bytes32<'static>, i64>,
    marks: Table<'t, Bytes32<'static>, Marked>,
    meta: Table<'t, &'static str, u64>,
    /// Something changed, so there is something to commit.
    pub(super) dirty: bool,
    /// Something changed that must survive a crash.
    pub(super) durable: bool,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            sessions: transaction.open_table(SESSIONS)?,
            activity: transaction.open_table(ACTIVITY)?,
            index: transaction.open_multimap_table(INDEX)?,
            consumed: transaction.open_table(CONSUMED)?,
            marks: transaction.open_table(MARKS)?,
            meta: transaction.open_table(META)?,
            dirty: false,
            durable: false,
        })
    }

    fn changed(&mut self) {
        self.dirty = true;
        self.durable = true;
    }

    fn forgot(&mut self, rows: u64) {
        if rows > 0 {
            self.changed();
        }
    }

    pub(super) fn create(
        &mut self,
        key: &StoreKey,
        record: &StoredRecord,
    ) -> Result<Creation, redb::Error> {
        let key = key.as_bytes();
        if self.activity.get(key)?.is_some() {
            return Ok(Creation::AlreadyThere);
        }
        let indexes: Vec<u8> = record.indexes.iter().flat_map(|index| *index.as_bytes()).collect();
        self.sessions.insert(
            key,
            (
                record.version.as_u64(),
                record.app.as_str(),
                indexes.as_slice(),
                record.sealed.as_slice(),
            ),
        )?;
        let StoredRecord { expires, idle, last_seen, created, .. } = record;
        let (expires, seen, created) = (expires.as_i64(), last_seen.as_i64(), created.as_i64());
        self.activity.insert(key, (expires, *idle, seen, created, 0))?;
        for index in &record.indexes {
            self.index.insert(index.as_bytes(), key)?;
        }
        self.changed();
        Ok(Creation::Created)
    }

    pub(super) fn replace(
        &mut self,
        key: &StoreKey,
        expected: Version,
        fence: Fence,
        sealed: &[u8],
        expires: UnixTime,
    ) -> Result<Replaced, redb::Error> {
        let key = key.as_bytes();
        let activity = self.activity.get(key)?.map(|row| row.value());
        let Some((_, idle, last_seen, created, last_fence)) = activity else {
            return Ok(Replaced::Gone);
        };
        let (app, indexes) = {
            let Some(row) = self.sessions.get(key)? else { return Ok(Replaced::Gone) };
            let (version, app, indexes, _) = row.value();
            if version != expected.as_u64() {
                return Ok(Replaced::Conflict);
            }
            if last_fence != fence.as_u64() {
                return Ok(Replaced::Fenced);
            }
            (app.to_owned(), indexes.to_vec())
        };
        let version = expected.next();
        self.sessions.insert(key, (version.as_u64(), app.as_str(), indexes.as_slice(), sealed))?;
        self.activity.insert(key, (expires.as_i64(), idle, last_seen, created, last_fence))?;
        self.changed();
        Ok(Replaced::Done(version))
    }

    /// Counts a lease; the record as it is now. Who forgets it in a crash was its only holder.
    pub(super) fn lease(
        &mut self,
        key: &StoreKey,
    ) -> Result<Option<(Fence, StoredRecord)>, redb::Error> {
        let bytes = key.as_bytes();
        let Some(activity) = self.activity.get(bytes)?.map(|row| row.value()) else {
            return Ok(None);
        };
        let Some(record) = self.sessions.get(bytes)?.map(|row| record(row.value(), activity))
        else {
            return Ok(None);
        };
        let (expires, idle, last_seen, created, last_fence) = activity;
        let fence = last_fence.wrapping_add(1);
        self.activity.insert(bytes, (expires, idle, last_seen, created, fence))?;
        self.dirty = true;
        Ok(Some((Fence::new(fence), record)))
    }

    /// The last lease granted.
    pub(super) fn fence(&self, key: &StoreKey) -> Result<Option<Fence>, redb::Error> {
        Ok(self.activity.get(key.as_bytes())?.map(|row| Fence::new(row.value().4)))
    }

    /// Never creates, never moves back; need not survive a crash.
    pub(super) fn touch(&mut self, key: &StoreKey, seen: UnixTime) -> Result<(), redb::Error> {
        let key = key.as_bytes();
        let activity = self.activity.get(key)?.map(|row| row.value());
        if let Some((expires, idle, last_seen, created, fence)) = activity
            && last_seen < seen.as_i64()
        {
            self.activity.insert(key, (expires, idle, seen.as_i64(), created, fence))?;
            self.dirty = true;
        }
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        key: &StoreKey,
        condition: RemoveIf,
    ) -> Result<Removed, redb::Error> {
        let activity = self.activity.get(key.as_bytes())?.map(|row| row.value());
        let version = self.sessions.get(key.as_bytes())?.map(|row| row.value().0);
        let (Some(activity), Some(version)) = (activity, version) else {
            return Ok(Removed::Absent);
        };
        let holds = match condition {
            RemoveIf::Present => true,
            RemoveIf::Unchanged(expected, fence) => {
                version == expected.as_u64() && activity.4 == fence.as_u64()
            }
            RemoveIf::NotSeenSince(seen) => activity.2 <= seen.as_i64(),
        };
        if !holds {
            return Ok(Removed::Changed);
        }
        Ok(self.take(key)?.map_or(Removed::Absent, |record| Removed::Done(Box::new(record))))
    }

    fn take(&mut self, key: &StoreKey) -> Result<Option<StoredRecord>, redb::Error> {
        let key = key.as_bytes();
        let activity = self.activity.remove(key)?.map(|row| row.value());
        let record = match (self.sessions.remove(key)?, activity) {
            (Some(row), Some(activity)) => record(row.value(), activity),
            _ => return Ok(None),
        };
        for index in &record.indexes {
            self.index.remove(index.as_bytes(), key)?;
        }
        self.changed();
        Ok(Some(record))
    }

    pub(super) fn consume_once(
        &mut self,
        key: &StoreKey,
        expires: UnixTime,
    ) -> Result<bool, redb::Error> {
        if self.consumed.get(key.as_bytes())?.is_some() {
            return Ok(false);
        }
        self.consumed.insert(key.as_bytes(), expires.as_i64())?;
        self.changed();
        Ok(true)
    }

    /// Removes those of `candidates` that are past a limit, judged anew inside the transaction.
    pub(super) fn expire(
        &mut self,
        candidates: &[StoreKey],
        now: UnixTime,
    ) -> Result<Vec<(String, Expiry)>, redb::Error> {
        let mut ended = Vec::new();
        for key in candidates {
            let activity = self.activity.get(key.as_bytes())?.map(|row| row.value());
            let Some(limit) = activity.and_then(|activity| expiry(activity, now)) else { continue };
            if let Some(record) = self.take(key)? {
                ended.push((record.app, limit));
            }
        }
        Ok(ended)
    }

    pub(super) fn mark(
        &mut self,
        key: &StoreKey,
        time: UnixTime,
        expires: UnixTime,
    ) -> Result<(), redb::Error> {
        let (mut time, mut expires) = (time.as_i64(), expires.as_i64());
        if let Some(marked) = self.marks.get(key.as_bytes())?.map(|row| row.value()) {
            (time, expires) = (time.max(marked.0), expires.max(marked.1));
        }
        self.marks.insert(key.as_bytes(), (time, expires))?;
        self.changed();
        Ok(())
    }

    pub(super) fn forget_marks(
        &mut self,
        candidates: &[StoreKey],
        now: UnixTime,
    ) -> Result<u64, redb::Error> {
        let forgotten = forget(&mut self.marks, candidates, |marked| marked.1 <= now.as_i64())?;
        self.forgot(forgotten);
        Ok(forgotten)
    }

    pub(super) fn forget_consumed(
        &mut self,
        candidates: &[StoreKey],
        now: UnixTime,
    ) -> Result<u64, redb::Error> {
        let forgotten = forget(&mut self.consumed, candidates, |expires| expires <= now.as_i64())?;
        self.forgot(forgotten);
        Ok(forgotten)
    }

    pub(super) fn drop_dangling(
        &mut self,
        candidates: &[(StoreKey, StoreKey)],
    ) -> Result<u64, redb::Error> {
        let mut dropped = 0;
        for (index, key) in candidates {
            if self.activity.get(key.as_bytes())?.is_none()
                && self.index.remove(index.as_bytes(), key.as_bytes())?
            {
                self.changed();
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// A write that changes nothing anybody reads, to prove that writing works.
    pub(super) fn ping(&mut self) -> Result<(), redb::Error> {
        let count = self.meta.get("pings")?.map_or(0, |row| row.value());
        self.meta.insert("pings", count.wrapping_add(1))?;
        self.changed();
        Ok(())
    }
}

/// Removes those of `candidates` whose value is past something, judged anew inside the transaction.
fn forget<V: redb::Value + 'static>(
    table: &mut Table<'_, Bytes32<'static>, V>,
    candidates: &[StoreKey],
    is_past: impl Fn(V::SelfType<'_>) -> bool,
) -> Result<u64, redb::Error> {
    let mut forgotten = 0;
    for key in candidates {
        if table.get(key.as_bytes())?.is_some_and(|row| is_past(row.value())) {
            table.remove(key.as_bytes())?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

fn record(row: Row<'_>, activity: Limits) -> StoredRecord {
    let (version, app, indexes, sealed) = row;
    let (expires, idle, last_seen, created, _) = activity;
    let (indexes, _) = indexes.as_chunks::<32>();
    StoredRecord {
        version: Version::new(version),
        app: app.to_owned(),
        created: UnixTime::new(created),
        sealed: sealed.to_vec(),
        expires: UnixTime::new(expires),
        idle,
        last_seen: UnixTime::new(last_seen),
        indexes: indexes.iter().map(|index| StoreKey::new(*index)).collect(),
    }
}

fn expiry((expires, idle, last_seen, ..): Limits, now: UnixTime) -> Option<Expiry> {
    Expiry::of(now, UnixTime::new(last_seen), idle, UnixTime::new(expires))
}

pub(super) fn load(
    database: &Database,
    key: &StoreKey,
) -> Result<Option<StoredRecord>, redb::Error> {
    let transaction = database.begin_read()?;
    let Some(activity) = transaction.open_table(ACTIVITY)?.get(key.as_bytes())? else {
        return Ok(None);
    };
    let row = transaction.open_table(SESSIONS)?.get(key.as_bytes())?;
    Ok(row.map(|row| record(row.value(), activity.value())))
}

pub(super) fn find(database: &Database, index: &StoreKey) -> Result<Vec<StoreKey>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_multimap_table(INDEX)?;
    let mut keys = Vec::new();
    for key in table.get(index.as_bytes())? {
        keys.push(StoreKey::new(*key?.value()));
    }
    Ok(keys)
}

pub(super) fn count(database: &Database) -> Result<u64, redb::Error> {
    use redb::ReadableTableMetadata as _;
    Ok(database.begin_read()?.open_table(ACTIVITY)?.len()?)
}

/// A stretch of a table that a sweep looked at.
pub(super) struct Stretch<T> {
    pub(super) candidates: Vec<T>,
    /// Where to go on; none at the end of the table.
    pub(super) last: Option<StoreKey>,
}

/// How many rows a sweep looks at before it lets go of the file.
const STRETCH: usize = 2048;

fn after(last: Option<&StoreKey>) -> (Bound<Bytes32<'_>>, Bound<Bytes32<'_>>) {
    (last.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_bytes())), Bound::Unbounded)
}

/// The sessions after `last` that are past a limit.
pub(super) fn expired(
    database: &Database,
    last: Option<&StoreKey>,
    now: UnixTime,
) -> Result<Stretch<StoreKey>, redb::Error> {
    past(&database.begin_read()?.open_table(ACTIVITY)?, last, |limits| {
        expiry(limits, now).is_some()
    })
}

/// The consumed keys after `last` that are past their expiry.
pub(super) fn forgettable(
    database: &Database,
    last: Option<&StoreKey>,
    now: UnixTime,
) -> Result<Stretch<StoreKey>, redb::Error> {
    past(&database.begin_read()?.open_table(CONSUMED)?, last, |expires| expires <= now.as_i64())
}

/// The marks after `last` that are past their end.
pub(super) fn unmarkable(
    database: &Database,
    last: Option<&StoreKey>,
    now: UnixTime,
) -> Result<Stretch<StoreKey>, redb::Error> {
    past(&database.begin_read()?.open_table(MARKS)?, last, |marked| marked.1 <= now.as_i64())
}

/// The keys after `last` whose value is past something.
fn past<V>(
    table: &ReadOnlyTable<Bytes32<'static>, V>,
    last: Option<&StoreKey>,
    is_past: impl Fn(V::SelfType<'_>) -> bool,
) -> Result<Stretch<StoreKey>, redb::Error>
where
    V: redb::Value + 'static,
{
    let mut stretch = Stretch { candidates: Vec::new(), last: None };
    for (seen, row) in table.range::<Bytes32<'_>>(after(last))?.enumerate() {
        let (key, value) = row?;
        let key = StoreKey::new(*key.value());
        if is_past(value.value()) {
            stretch.candidates.push(key);
        }
        if seen + 1 == STRETCH {
            stretch.last = Some(key);
            break;
        }
    }
    Ok(stretch)
}

pub(super) fn marks(
    database: &Database,
    keys: &[StoreKey],
) -> Result<Vec<Option<UnixTime>>, redb::Error> {
    let table = database.begin_read()?.open_table(MARKS)?;
    let mut marks = Vec::with_capacity(keys.len());
    for key in keys {
        marks.push(table.get(key.as_bytes())?.map(|row| UnixTime::new(row.value().0)));
    }
    Ok(marks)
}

/// At most `limit` sessions after `cursor`, which is a key.
pub(super) fn page(
    database: &Database,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<Page, redb::Error> {
    let transaction = database.begin_read()?;
    let (activity, sessions) =
        (transaction.open_table(ACTIVITY)?, transaction.open_table(SESSIONS)?);
    let last = cursor.and_then(|cursor| <[u8; 32]>::try_from(cursor.0.as_slice()).ok());
    let last = last.map(StoreKey::new);
    let mut page = Page::default();
    for row in activity.range::<Bytes32<'_>>(after(last.as_ref()))? {
        if page.listed.len() == limit {
            page.next = page.listed.last().map(|last| Cursor(last.key.as_bytes().to_vec()));
            break;
        }
        let (key, row) = row?;
        let (expires, idle, last_seen, created, _) = row.value();
        let Some(session) = sessions.get(key.value())? else { continue };
        page.listed.push(Listed {
            key: StoreKey::new(*key.value()),
            app: session.value().1.to_owned(),
            created: UnixTime::new(created),
            expires: UnixTime::new(expires),
            idle,
            last_seen: UnixTime::new(last_seen),
        });
    }
    Ok(page)
}

/// The index entries after `last` that point at no session.
pub(super) fn dangling(
    database: &Database,
    last: Option<&StoreKey>,
) -> Result<Stretch<(StoreKey, StoreKey)>, redb::Error> {
    let transaction = database.begin_read()?;
    let activity = transaction.open_table(ACTIVITY)?;
    let table = transaction.open_multimap_table(INDEX)?;
    let mut stretch = Stretch { candidates: Vec::new(), last: None };
    let mut seen = 0;
    for row in table.range::<Bytes32<'_>>(after(last))? {
        let (index, keys) = row?;
        let index = StoreKey::new(*index.value());
        for key in keys {
            let key = StoreKey::new(*key?.value());
            if activity.get(key.as_bytes())?.is_none() {
                stretch.candidates.push((index, key));
            }
            seen += 1;
        }
        if seen >= STRETCH {
            stretch.last = Some(index);
            break;
        }
    }
    Ok(stretch)
}

/// Puts an index entry that points at nothing, as a fault might.
#[cfg(test)]
pub(super) fn plant_dangling(
    database: &Database,
    index: &StoreKey,
    key: &StoreKey,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_multimap_table(INDEX)?.insert(index.as_bytes(), key.as_bytes())?;
    transaction.commit()?;
    Ok(())
}

/// Pretends that another schema wrote the file.
#[cfg(test)]
pub(super) fn plant_schema(database: &Database, schema: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("schema", schema)?;
    transaction.commit()?;
    Ok(())
}
