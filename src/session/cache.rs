//! Owns what was read of the store a moment ago, so that a page's twenty calls cost one read.
//! Must not know when a session has ended: whoever learns of it says so, and the bound does the rest.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{record::Session, store::StoreKey};
use crate::clock::UnixTime;

/// Locks, so that sessions seldom wait for each other.
const SHARDS: usize = 32;
/// Entries of a shard at which those past the bound are dropped.
const MANY: usize = 512;

/// Sessions read of late.
///
/// An entry is served for `bound` from the moment its read began, so that a session which another
/// instance ended is served no longer than that after its end, whatever messages were lost (SES-7.4). What
/// this instance ends it forgets before it says so. A bound of zero keeps nothing.
#[derive(Debug)]
pub(super) struct ReadCache {
    bound_millis: u64,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<StoreKey, Entry>,
    /// Grows with everything forgotten here.
    forgotten: u64,
}

#[derive(Debug)]
struct Entry {
    session: Session,
    read_millis: u64,
}

/// Taken before a read, so that what was forgotten during it is not put back after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    forgotten: u64,
    read_millis: u64,
}

impl ReadCache {
    pub(super) fn new(bound: Duration) -> Self {
        let bound_millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        Self { bound_millis, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Longest that a session is served after another instance has ended it.
    pub(super) const fn bound(&self) -> Duration {
        Duration::from_millis(self.bound_millis)
    }

    fn shard(&self, key: &StoreKey) -> Option<MutexGuard<'_, Shard>> {
        let [first, ..] = *key.as_bytes();
        let shard = self.shards.get(usize::from(first) % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The session, if it was read less than the bound ago.
    pub(super) fn get(&self, key: &StoreKey, now_millis: u64) -> Option<Session> {
        if self.bound_millis == 0 {
            return None;
        }
        let shard = self.shard(key)?;
        let entry = shard.entries.get(key)?;
        let age = now_millis.saturating_sub(entry.read_millis);
        (age < self.bound_millis).then(|| entry.session.clone())
    }

    /// Before a read begins.
    pub(super) fn ticket(&self, key: &StoreKey, now_millis: u64) -> Ticket {
        let forgotten = self.shard(key).map_or(0, |shard| shard.forgotten);
        Ticket { forgotten, read_millis: now_millis }
    }

    /// After it, if nothing was forgotten meanwhile.
    pub(super) fn put(&self, ticket: Ticket, session: &Session) {
        if self.bound_millis == 0 {
            return;
        }
        let Some(mut shard) = self.shard(&session.key) else { return };
        if shard.forgotten != ticket.forgotten {
            return;
        }
        if shard.entries.len() >= MANY {
            let (now, bound) = (ticket.read_millis, self.bound_millis);
            shard.entries.retain(|_, entry| now.saturating_sub(entry.read_millis) < bound);
        }
        let entry = Entry { session: session.clone(), read_millis: ticket.read_millis };
        shard.entries.insert(session.key, entry);
    }

    /// Notes a use, so that it is not noted in the store again with the next one.
    pub(super) fn seen(&self, key: &StoreKey, last_seen: UnixTime) {
        if let Some(mut shard) = self.shard(key)
            && let Some(entry) = shard.entries.get_mut(key)
        {
            entry.session.last_seen = entry.session.last_seen.max(last_seen);
        }
    }

    /// The session has changed or ended, or may have.
    pub(super) fn forget(&self, key: &StoreKey) {
        if let Some(mut shard) = self.shard(key) {
            shard.entries.remove(key);
            shard.forgotten = shard.forgotten.wrapping_add(1);
        }
    }

    /// Nobody knows which sessions have changed or ended.
    pub(super) fn forget_all(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.entries.clear();
            shard.forgotten = shard.forgotten.wrapping_add(1);
        }
    }
}
