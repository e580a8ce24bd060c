//! Owns the embedded store: one file on disk, no server to run, sessions that survive a restart.
//! Must not know what is inside a record.

mod tables;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use redb::{Database, backends::FileBackend};
use tokio::{sync::oneshot, time::Instant};

use self::{
    tables::Stretch,
    writer::{Opener, Operation, Shared, Writer},
};
use super::store::{
    BoxFuture, Creation, Cursor, Fence, Leased, Owner, Page, RemoveIf, Removed, Replaced, Store,
    StoreKey, StoreUnavailable, StoredRecord, Swept, Version,
};
use crate::clock::UnixTime;

/// Memory redb may use for pages; the operating system caches the rest of the file.
const CACHE: usize = 32 * 1024 * 1024;
/// Operations that may wait for the writer before further ones are refused.
const QUEUE: usize = 4096;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// Another process has the file open.
    #[error("session store {}: another process has it open; one file serves one process", .0.display())]
    InUse(PathBuf),
    /// The file cannot be opened, or its mode cannot be set to 0600.
    #[error("session store {}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// The file was written by another version of this program.
    #[error(
        "session store {}: schema {found} found, only {known} is known; remove the file, which ends its sessions, or run the program that wrote it",
        path.display()
    )]
    Schema {
        /// Which file.
        path: PathBuf,
        /// Schema of the file.
        found: u64,
        /// Schema of this program.
        known: u64,
    },
    /// Not a store, or damaged.
    #[error("session store: {0}")]
    Damaged(#[from] redb::Error),
    /// The writer thread could not be started.
    #[error("session store: no thread for writing: {0}")]
    Thread(std::io::Error),
    /// The file is closed after a failure.
    #[error("session store: the file is closed after a failure")]
    Closed,
}

impl StoreFault {
    /// Stable machine reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::InUse(_) => "store.in_use",
            Self::File { .. } => "store.file",
            Self::Schema { .. } => "store.schema",
            Self::Damaged(_) => "store.damaged",
            Self::Thread(_) => "store.thread",
            Self::Closed => "store.closed",
        }
    }
}

/// Sessions in one file.
///
/// Reads run in the calling thread: they take about a microsecond from redb's or the operating system's
/// cache, less than handing them to another thread would cost. Writes wait for one thread that commits
/// all that wait in one durable transaction. Activity is kept in memory until that thread gets to it.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    queue: Option<SyncSender<Operation>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the file, creating it (mode 0600) if it is missing. Blocks while a file that was not closed
    /// cleanly is checked.
    pub fn open(path: &Path) -> Result<Self, StoreFault> {
        let path = path.to_owned();
        Self::with_opener(Box::new(move || open_file(&path)))
    }

    fn with_opener(opener: Opener) -> Result<Self, StoreFault> {
        let shared = Shared::open(opener)?;
        let (queue, operations) = sync_channel(QUEUE);
        let writer = Writer::new(Arc::clone(&shared), operations);
        let writer = thread::Builder::new()
            .name("session-store".to_owned())
            .spawn(move || writer.run())
            .map_err(StoreFault::Thread)?;
        Ok(Self { shared, queue: Some(queue), writer: Some(writer) })
    }

    fn send(&self, operation: Operation) -> Result<(), StoreUnavailable> {
        let queue = self.queue.as_ref().ok_or(StoreUnavailable("closed"))?;
        queue.try_send(operation).map_err(|error| match error {
            TrySendError::Full(_) => StoreUnavailable("too many writes are waiting"),
            TrySendError::Disconnected(_) => StoreUnavailable("the writer is gone"),
        })
    }

    async fn write<T>(
        &self,
        operation: impl FnOnce(oneshot::Sender<T>) -> Operation,
    ) -> Result<T, StoreUnavailable> {
        let (reply, answer) = oneshot::channel();
        self.send(operation(reply))?;
        answer.await.map_err(|_| StoreUnavailable("write failed"))
    }

    /// One stretch of a sweep; on a thread of its own, for it may read much that is not in memory.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Database) -> Result<Stretch<T>, redb::Error> + Send + 'static,
    ) -> Result<Stretch<T>, StoreUnavailable> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.read(look))
            .await
            .unwrap_or(Err(StoreUnavailable("the sweep was stopped")))
    }

    /// Goes through a table in stretches, between which other operations proceed: `look` finds candidates,
    /// `remove` has the writer judge them anew, `count` is told what came of it.
    async fn in_stretches<T: Send + 'static, R>(
        &self,
        look: impl Fn(&Database, Option<&StoreKey>) -> Result<Stretch<T>, redb::Error>
        + Copy
        + Send
        + 'static,
        remove: impl Fn(Vec<T>, oneshot::Sender<R>) -> Operation + Send,
        mut count: impl FnMut(R) + Send,
    ) -> Result<(), StoreUnavailable> {
        let mut last = None;
        loop {
            let Stretch { candidates, last: end } =
                self.look(move |database| look(database, last.as_ref())).await?;
            if !candidates.is_empty() {
                count(self.write(|reply| remove(candidates, reply)).await?);
            }
            if end.is_none() {
                return Ok(());
            }
            last = end;
        }
    }
}

impl Drop for EmbeddedStore {
    /// Writes what waits and closes the file, so that it can be opened again at once.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // The writer catches its panics; there is nothing else to learn from joining it.
            drop(writer.join());
        }
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmbeddedStore")
    }
}

impl Store for EmbeddedStore {
    fn create<'a>(
        &'a self,
        key: &'a StoreKey,
        record: StoredRecord,
    ) -> BoxFuture<'a, Result<Creation, StoreUnavailable>> {
        Box::pin(self.write(|reply| Operation::Create(*key, record, reply)))
    }

    fn load<'a>(
        &'a self,
        key: &'a StoreKey,
    ) -> BoxFuture<'a, Result<Option<StoredRecord>, StoreUnavailable>> {
        Box::pin(async {
            let noted = self.shared.noted(key);
            let record = self.shared.read(|database| tables::load(database, key))?;
            Ok(record.map(|mut record| {
                record.last_seen =
                    noted.map_or(record.last_seen, |seen| seen.max(record.last_seen));
                record
            }))
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a StoreKey,
        owner: Owner,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreUnavailable>> {
        let now = Instant::now();
        let until = now.checked_add(ttl).unwrap_or(now);
        let key = *key;
        Box::pin(self.write(move |reply| Operation::Lease { key, owner, now, until, reply }))
    }

    fn release<'a>(
        &'a self,
        key: &'a StoreKey,
        fence: Fence,
    ) -> BoxFuture<'a, Result<(), StoreUnavailable>> {
        Box::pin(self.write(move |reply| Operation::Release(*key, fence, reply)))
    }

    fn replace<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        fence: Fence,
        sealed: Vec<u8>,
        expires: UnixTime,
    ) -> BoxFuture<'a, Result<Replaced, StoreUnavailable>> {
        Box::pin(self.write(move |reply| Operation::Replace {
            key: *key,
            expected,
            fence,
            sealed,
            expires,
            reply,
        }))
    }

    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        last_seen: UnixTime,
    ) -> BoxFuture<'a, Result<(), StoreUnavailable>> {
        Box::pin(async move {
            if self.shared.note(*key, last_seen) {
                // A full queue will get to the activity without being told.
                let _ = self.send(Operation::Activity);
            }
            Ok(())
        })
    }

    fn remove<'a>(
        &'a self,
        key: &'a StoreKey,
        condition: RemoveIf,
    ) -> BoxFuture<'a, Result<Removed, StoreUnavailable>> {
        Box::pin(self.write(move |reply| Operation::Remove(*key, condition, reply)))
    }

    fn consume_once<'a>(
        &'a self,
        key: &'a StoreKey,
        expires: UnixTime,
    ) -> BoxFuture<'a, Result<bool, StoreUnavailable>> {
        Box::pin(self.write(move |reply| Operation::ConsumeOnce(*key, expires, reply)))
    }

    fn find<'a>(
        &'a self,
        index: &'a StoreKey,
    ) -> BoxFuture<'a, Result<Vec<StoreKey>, StoreUnavailable>> {
        Box::pin(async { self.shared.read(|database| tables::find(database, index)) })
    }

    fn page(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, StoreUnavailable>> {
        Box::pin(async move {
            self.shared.read(|database| tables::page(database, after.as_ref(), limit))
        })
    }

    fn mark<'a>(
        &'a self,
        key: &'a StoreKey,
        time: UnixTime,
        expires: UnixTime,
    ) -> BoxFuture<'a, Result<(), StoreUnavailable>> {
        Box::pin(self.write(move |reply| Operation::Mark(*key, time, expires, reply)))
    }

    fn marks<'a>(
        &'a self,
        keys: &'a [StoreKey],
    ) -> BoxFuture<'a, Result<Vec<Option<UnixTime>>, StoreUnavailable>> {
        Box::pin(async { self.shared.read(|database| tables::marks(database, keys)) })
    }

    fn sweep(&self, now: UnixTime) -> BoxFuture<'_, Result<Swept, StoreUnavailable>> {
        Box::pin(async move {
            let mut swept = Swept::default();
            self.in_stretches(
                move |database, last| tables::expired(database, last, now),
                |candidates, reply| Operation::Expire(candidates, now, reply),
                |ended| {
                    for ended in ended {
                        *swept.ended.entry(ended).or_default() += 1;
                    }
                },
            )
            .await?;
            self.in_stretches(
                move |database, last| tables::forgettable(database, last, now),
                |candidates, reply| Operation::ForgetConsumed(candidates, now, reply),
                |count| swept.consumed += count,
            )
            .await?;
            self.in_stretches(
                move |database, last| tables::unmarkable(database, last, now),
                |candidates, reply| Operation::ForgetMarks(candidates, now, reply),
                |count| swept.marks += count,
            )
            .await?;
            self.in_stretches(tables::dangling, Operation::DropDangling, |count| {
                swept.dangling += count;
            })
            .await?;
            Ok(swept)
        })
    }

    fn count(&self) -> BoxFuture<'_, Result<u64, StoreUnavailable>> {
        Box::pin(async { self.shared.read(tables::count) })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreUnavailable>> {
        Box::pin(self.write(Operation::Ping))
    }
}

fn open_file(path: &Path) -> Result<Database, StoreFault> {
    let file =
        private_file(path).map_err(|error| StoreFault::File { path: path.to_owned(), error })?;
    let database = FileBackend::new(file)
        .and_then(|backend| Database::builder().set_cache_size(CACHE).create_with_backend(backend))
        .map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreFault::InUse(path.to_owned()),
            other => StoreFault::Damaged(other.into()),
        })?;
    if let Some(found) = tables::prepare(&database)? {
        return Err(StoreFault::Schema { path: path.to_owned(), found, known: tables::SCHEMA });
    }
    Ok(database)
}

/// The file, readable by its owner only, whatever the umask was when it was made.
fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let file = options.mode(0o600).open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}
