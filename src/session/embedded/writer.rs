//! Owns the one thread that writes the embedded store: groups waiting operations into one durable
//! transaction, and opens the file anew after a failure. Must not know what operations mean.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use redb::{Database, Durability};
use tokio::{sync::oneshot, time::Instant};

use super::{StoreFault, tables::Tables};
use crate::{
    clock::UnixTime,
    session::store::{
        Creation, Expiry, Fence, Lease, Leased, Owner, RemoveIf, Removed, Replaced, StoreKey,
        StoreUnavailable, StoredRecord, Version,
    },
};

/// Most operations in one transaction.
const BATCH: usize = 512;
/// A commit that need not be durable keeps old pages alive until a durable one frees them.
const RELAXED_IN_A_ROW: u32 = 32;
/// Pause before activity that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

type Reply<T> = oneshot::Sender<T>;

/// What waits to be written. A reply that is dropped unsent tells its caller that nothing was written.
pub(super) enum Operation {
    Create(StoreKey, StoredRecord, Reply<Creation>),
    Replace {
        key: StoreKey,
        expected: Version,
        fence: Fence,
        sealed: Vec<u8>,
        expires: UnixTime,
        reply: Reply<Replaced>,
    },
    Lease {
        key: StoreKey,
        owner: Owner,
        now: Instant,
        until: Instant,
        reply: Reply<Leased>,
    },
    Release(StoreKey, Fence, Reply<()>),
    Remove(StoreKey, RemoveIf, Reply<Removed>),
    ConsumeOnce(StoreKey, UnixTime, Reply<bool>),
    Expire(Vec<StoreKey>, UnixTime, Reply<Vec<(String, Expiry)>>),
    ForgetConsumed(Vec<StoreKey>, UnixTime, Reply<u64>),
    Mark(StoreKey, UnixTime, UnixTime, Reply<()>),
    ForgetMarks(Vec<StoreKey>, UnixTime, Reply<u64>),
    DropDangling(Vec<(StoreKey, StoreKey)>, Reply<u64>),
    Ping(Reply<()>),
    /// There is activity to write.
    Activity,
}

/// An answer that may be given once the transaction is committed.
type Answer = Box<dyn FnOnce() + Send>;

fn answer<T: Send + 'static>(reply: Reply<T>, value: T) -> Answer {
    // A caller who went away does not need the answer.
    Box::new(move || drop(reply.send(value)))
}

impl Operation {
    fn apply(
        self,
        tables: &mut Tables<'_>,
        leases: &mut Leases,
    ) -> Result<Option<Answer>, redb::Error> {
        Ok(Some(match self {
            Self::Create(key, record, reply) => answer(reply, tables.create(&key, &record)?),
            Self::Replace { key, expected, fence, sealed, expires, reply } => {
                let replaced = tables.replace(&key, expected, fence, &sealed, expires)?;
                if matches!(replaced, Replaced::Done(_)) {
                    leases.remove(&key);
                }
                answer(reply, replaced)
            }
            Self::Lease { key, owner, now, until, reply } => {
                answer(reply, lease(tables, leases, key, owner, now, until)?)
            }
            Self::Release(key, fence, reply) => {
                if tables.fence(&key)? == Some(fence) {
                    leases.remove(&key);
                }
                answer(reply, ())
            }
            Self::Remove(key, condition, reply) => {
                let removed = tables.remove(&key, condition)?;
                if matches!(removed, Removed::Done(_)) {
                    leases.remove(&key);
                }
                answer(reply, removed)
            }
            Self::ConsumeOnce(key, expires, reply) => {
                answer(reply, tables.consume_once(&key, expires)?)
            }
            Self::Expire(keys, now, reply) => answer(reply, tables.expire(&keys, now)?),
            Self::ForgetConsumed(keys, now, reply) => {
                answer(reply, tables.forget_consumed(&keys, now)?)
            }
            Self::Mark(key, time, expires, reply) => {
                answer(reply, tables.mark(&key, time, expires)?)
            }
            Self::ForgetMarks(keys, now, reply) => answer(reply, tables.forget_marks(&keys, now)?),
            Self::DropDangling(entries, reply) => answer(reply, tables.drop_dangling(&entries)?),
            Self::Ping(reply) => answer(reply, tables.ping()?),
            Self::Activity => return Ok(None),
        }))
    }
}

/// Leases that run, by whom and until when. One process has the file, so they live as long as it does.
type Leases = HashMap<StoreKey, (Owner, Instant)>;

/// Leases past their time are forgotten once there are this many: their holders died.
const MANY_LEASES: usize = 10_000;

fn lease(
    tables: &mut Tables<'_>,
    leases: &mut Leases,
    key: StoreKey,
    owner: Owner,
    now: Instant,
    until: Instant,
) -> Result<Leased, redb::Error> {
    let held = leases.get(&key);
    if held.is_some_and(|(holder, until)| *holder != owner && now < *until) {
        return Ok(Leased::Held);
    }
    let abandoned = held.is_some_and(|(holder, _)| *holder != owner);
    let Some((fence, record)) = tables.lease(&key)? else {
        leases.remove(&key);
        return Ok(Leased::Gone);
    };
    if leases.len() >= MANY_LEASES {
        leases.retain(|_, (_, until)| now < *until);
    }
    leases.insert(key, (owner, until));
    Ok(Leased::Granted(Box::new(Lease { fence, record, abandoned })))
}

/// Opens the file, at the start and after every failure.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, StoreFault> + Send + Sync>;

/// The open file and the activity not yet written to it; shared by the writer and all readers.
pub(super) struct Shared {
    database: RwLock<Option<Database>>,
    activity: Mutex<HashMap<StoreKey, UnixTime>>,
    opener: Opener,
}

impl Shared {
    pub(super) fn open(opener: Opener) -> Result<Arc<Self>, StoreFault> {
        let database = RwLock::new(Some(opener()?));
        Ok(Arc::new(Self { database, activity: Mutex::default(), opener }))
    }

    /// Reads in the calling thread.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreUnavailable> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database =
            database.as_ref().ok_or(StoreUnavailable("the file is closed after a failure"))?;
        // redb may panic on a file that was damaged behind its back; that is no reason to die.
        match catch_unwind(AssertUnwindSafe(|| read(database))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::error!(%error, "session store: read failed");
                Err(StoreUnavailable("read failed"))
            }
            Err(_) => Err(StoreUnavailable("read panicked")),
        }
    }

    /// Notes activity, visible at once; true if the writer must be told.
    pub(super) fn note(&self, key: StoreKey, seen: UnixTime) -> bool {
        let mut activity = self.activity();
        let first = activity.is_empty();
        let known = activity.entry(key).or_insert(seen);
        *known = (*known).max(seen);
        first
    }

    /// Activity of `key` not yet written. Ask before reading the file: activity leaves here only after
    /// it has been committed there.
    pub(super) fn noted(&self, key: &StoreKey) -> Option<UnixTime> {
        self.activity().get(key).copied()
    }

    fn activity(&self) -> MutexGuard<'_, HashMap<StoreKey, UnixTime>> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what has been written, unless there was newer activity meanwhile.
    fn written(&self, batch: &[(StoreKey, UnixTime)]) {
        let mut activity = self.activity();
        for (key, seen) in batch {
            if activity.get(key) == Some(seen) {
                activity.remove(key);
            }
        }
    }

    /// Closes and opens the file: redb refuses everything after an I/O error until this is done.
    fn reopen(&self) {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(database.take());
        match catch_unwind(AssertUnwindSafe(|| (self.opener)())) {
            Ok(Ok(opened)) => *database = Some(opened),
            Ok(Err(error)) => tracing::error!(%error, "session store: cannot be opened again"),
            Err(_) => tracing::error!("session store: opening it again panicked"),
        }
    }

    fn close(&self) {
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Operation>,
    leases: Leases,
    relaxed_in_a_row: u32,
    failing: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, queue: Receiver<Operation>) -> Self {
        Self { shared, queue, leases: Leases::new(), relaxed_in_a_row: 0, failing: false }
    }

    /// Writes until the last sender is gone, then closes the file cleanly.
    pub(super) fn run(mut self) {
        loop {
            let first = match self.wait() {
                Ok(operation) => operation,
                Err(RecvTimeoutError::Timeout) => Operation::Activity,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut batch = vec![first];
            batch.extend(self.queue.try_iter().take(BATCH - 1));
            self.write(batch);
        }
        self.relaxed_in_a_row = RELAXED_IN_A_ROW;
        self.write(Vec::new());
        self.shared.close();
    }

    /// Waits for ever, unless activity is left over: then not at all, or for a while after a failure.
    fn wait(&self) -> Result<Operation, RecvTimeoutError> {
        if self.shared.activity().is_empty() {
            return self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        self.queue.recv_timeout(if self.failing { RETRY } else { Duration::ZERO })
    }

    fn write(&mut self, batch: Vec<Operation>) {
        let shared = Arc::clone(&self.shared);
        if self.failing {
            shared.reopen();
        }
        // After the batch was received: activity noted before an operation was sent is seen by it.
        let activity: Vec<_> = shared.activity().iter().map(|(key, seen)| (*key, *seen)).collect();
        let committed = catch_unwind(AssertUnwindSafe(|| self.transact(batch, &activity)));
        match committed {
            Ok(Ok(answers)) => {
                self.failing = false;
                shared.written(&activity);
                for answer in answers {
                    answer();
                }
            }
            // The replies have been dropped: every caller learns that nothing was written.
            failure => {
                if let Ok(Err(error)) = failure {
                    tracing::error!(%error, "session store: write failed");
                }
                self.failing = true;
                // Readers need not wait for the next write to get their file back.
                shared.reopen();
            }
        }
    }

    fn transact(
        &mut self,
        batch: Vec<Operation>,
        activity: &[(StoreKey, UnixTime)],
    ) -> Result<Vec<Answer>, StoreFault> {
        let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(StoreFault::Closed)?;
        let mut transaction = database.begin_write().map_err(redb::Error::from)?;
        let mut answers = Vec::with_capacity(batch.len());
        let (dirty, durable) = {
            let mut tables = Tables::open(&transaction)?;
            for (key, seen) in activity {
                tables.touch(key, *seen)?;
            }
            for operation in batch {
                answers.extend(operation.apply(&mut tables, &mut self.leases)?);
            }
            (tables.dirty, tables.durable)
        };
        if durable || self.relaxed_in_a_row >= RELAXED_IN_A_ROW {
            transaction.commit().map_err(redb::Error::from)?;
            self.relaxed_in_a_row = 0;
        } else if dirty {
            transaction.set_durability(Durability::None).map_err(redb::Error::from)?;
            transaction.commit().map_err(redb::Error::from)?;
            self.relaxed_in_a_row += 1;
        } else {
            transaction.abort().map_err(redb::Error::from)?;
        }
        Ok(answers)
    }
}
