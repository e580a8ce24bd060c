//! Owns the contract between sessions and whatever keeps them: keys that are hashes, records that are
//! sealed, writes that are compare-and-set. Must not know what is inside a record, nor handles or tokens.

use std::{collections::BTreeMap, fmt, pin::Pin, time::Duration};

use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Name of something in the store: always a keyed hash, so that a dump of the store holds no usable
/// handle, subject or token identifier (SES-7.2.1-3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreKey([u8; 32]);

impl StoreKey {
    /// The key with these bytes; they must be a keyed hash.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for StoreKey {
    /// The first four bytes: enough to tell two keys apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third, fourth, ..] = self.0;
        write!(f, "StoreKey({first:02x}{second:02x}{third:02x}{fourth:02x}..)")
    }
}

/// How often a record has been written, for compare-and-set. It starts at 1 and grows
/// by one with every [`Store::replace`]; [`Store::touch`] leaves it alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    /// The version of a record just created.
    pub const FIRST: Self = Self(1);

    /// [`Version::FIRST`], for records from before versions were noted in them.
    pub(super) const fn first() -> Self {
        Self::FIRST
    }

    /// The version numbered `number`.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A session as the store sees it. Only what sweeping and counting need is readable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord {
    /// How often it was written.
    pub version: Version,
    /// Name of the app the session belongs to, for counting.
    pub app: String,
    /// When the session began.
    pub created: UnixTime,
    /// The sealed session.
    pub sealed: Vec<u8>,
    /// End of the session at the latest (absolute limit).
    pub expires: UnixTime,
    /// Seconds without activity that end the session.
    pub idle: i64,
    /// Last activity.
    pub last_seen: UnixTime,
    /// Under which keys [`Store::find`] finds the session: hashes of issuer+`sid` and issuer+`sub`.
    pub indexes: Vec<StoreKey>,
}

/// Which limit ended a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Expiry {
    /// No activity for as long as the policy allows.
    Idle,
    /// The longest life the policy allows.
    Absolute,
}

impl Expiry {
    /// The limit that ended a session by `now`, the earlier one if both did (SES-7.3).
    ///
    /// A session lives up to but not including the second of its limit.
    pub fn of(now: UnixTime, last_seen: UnixTime, idle: i64, absolute: UnixTime) -> Option<Self> {
        let idle = last_seen.plus(idle);
        match (now >= idle, now >= absolute) {
            (true, true) if absolute < idle => Some(Self::Absolute),
            (true, _) => Some(Self::Idle),
            (false, true) => Some(Self::Absolute),
            (false, false) => None,
        }
    }
}

/// The store cannot answer now. It says nothing about whether a record exists: unavailable is never
/// absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("session store unavailable: {0}")]
pub struct StoreUnavailable(pub &'static str);

impl StoreUnavailable {
    /// Stable machine reason.
    pub const REASON: &'static str = "store.unavailable";

    /// Stable machine reason.
    pub const fn reason(&self) -> &'static str {
        Self::REASON
    }
}

/// Who asks for a lease: 128 random bits, new for every attempt at a refresh. One who asked and got no
/// answer may ask again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Owner([u8; 16]);

impl Owner {
    /// The owner with these bytes; they must be random.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Fencing number of a lease. It grows with every lease of a record, so that one who slept past the end
/// of a lease cannot write over those who came after.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fence(u64);

impl Fence {
    /// The fence numbered `number`.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// The right to refresh a session, for a while and alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// To be shown when writing.
    pub fence: Fence,
    /// The record at the moment the lease was granted: what was read before may be out of date.
    pub record: StoredRecord,
    /// The last holder neither wrote nor let go before its time was over: it died, or lost its store,
    /// perhaps after the authorization server had answered it.
    pub abandoned: bool,
}

/// Answer to [`Store::lease`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Leased {
    /// It is the caller's.
    Granted(Box<Lease>),
    /// Somebody else has it.
    Held,
    /// There is no such record.
    Gone,
}

/// What operators see of a record without opening it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Key of the record.
    pub key: StoreKey,
    /// Name of the app.
    pub app: String,
    /// When the session began.
    pub created: UnixTime,
    /// End at the latest.
    pub expires: UnixTime,
    /// Seconds without activity that end it.
    pub idle: i64,
    /// Last activity.
    pub last_seen: UnixTime,
}

/// Where a listing goes on; only the store that made it can read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor(pub Vec<u8>);

/// A stretch of a listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Records, in no particular order.
    pub listed: Vec<Listed>,
    /// Where the next stretch begins; none if this was the last.
    pub next: Option<Cursor>,
}

/// What happened to a record, told by whichever instance did it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It was written anew.
    Replaced(StoreKey),
    /// It is gone.
    Removed(StoreKey),
    /// A mark was set on this key.
    Marked(StoreKey),
}

/// Answer to [`Store::create`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Creation {
    /// The record is durable.
    Created,
    /// There is a record under this key, which stays as it is.
    AlreadyThere,
}

/// Answer to [`Store::replace`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Replaced {
    /// The record is durable under this new version.
    Done(Version),
    /// Somebody else replaced it first; nothing changed.
    Conflict,
    /// Somebody has taken the lease since; nothing changed.
    Fenced,
    /// Somebody removed it, or it never was; nothing changed.
    Gone,
}

/// What must still hold for [`Store::remove`] to remove a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemoveIf {
    /// Nothing.
    Present,
    /// The record has this version and this lease was the last one granted: nobody has written since
    /// the caller read it, and nobody is about to.
    Unchanged(Version, Fence),
    /// The record was last seen at this time or before: nobody has used it since the caller read it.
    NotSeenSince(UnixTime),
}

/// Answer to [`Store::remove`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Removed {
    /// Removed durably; exactly one caller gets the record.
    Done(Box<StoredRecord>),
    /// The condition does not hold; the record stays.
    Changed,
    /// There is no such record.
    Absent,
}

impl Removed {
    /// The record, if this call removed it.
    pub fn into_record(self) -> Option<StoredRecord> {
        match self {
            Self::Done(record) => Some(*record),
            Self::Changed | Self::Absent => None,
        }
    }
}

/// What one sweep removed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Ended sessions by app and limit.
    pub ended: BTreeMap<(String, Expiry), u64>,
    /// Consumed keys past their expiry.
    pub consumed: u64,
    /// Marks past their end.
    pub marks: u64,
    /// Index entries that pointed at nothing.
    pub dangling: u64,
}

/// Keeps sealed sessions. Every method is atomic; every answer but an error is durable, except where a
/// method says otherwise.
///
/// A future dropped before it is done may or may not have had its effect.
pub trait Store: Send + Sync + fmt::Debug {
    /// Adds a record, never over another one.
    fn create<'a>(
        &'a self,
        key: &'a StoreKey,
        record: StoredRecord,
    ) -> BoxFuture<'a, Result<Creation, StoreUnavailable>>;

    /// The record under `key`, expired or not; one long past its absolute limit may be held back.
    fn load<'a>(
        &'a self,
        key: &'a StoreKey,
    ) -> BoxFuture<'a, Result<Option<StoredRecord>, StoreUnavailable>>;

    /// Grants the lease of a record unless somebody else holds it: for `ttl` from when the store grants
    /// it, by the store's own clock. It ends early by [`Store::replace`] and [`Store::release`]; its end
    /// takes nothing from the record. The same `owner` gets it again, under a new fence.
    fn lease<'a>(
        &'a self,
        key: &'a StoreKey,
        owner: Owner,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreUnavailable>>;

    /// Ends the lease if `fence` is the last one granted; otherwise nothing happens.
    fn release<'a>(
        &'a self,
        key: &'a StoreKey,
        fence: Fence,
    ) -> BoxFuture<'a, Result<(), StoreUnavailable>>;

    /// Compare-and-set of the sealed part: only on the `expected` version, only under the last lease
    /// granted, which need not be running any more and ends with this, and never creating. So a logout
    /// in between wins over a refresh, and a loser never overwrites a winner.
    fn replace<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        fence: Fence,
        sealed: Vec<u8>,
        expires: UnixTime,
    ) -> BoxFuture<'a, Result<Replaced, StoreUnavailable>>;

    /// Records activity. Never creates, never moves back; visible at once, but a crash may lose it.
    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        last_seen: UnixTime,
    ) -> BoxFuture<'a, Result<(), StoreUnavailable>>;

    /// Removes a record and its index entries if the condition holds at that moment.
    fn remove<'a>(
        &'a self,
        key: &'a StoreKey,
        condition: RemoveIf,
    ) -> BoxFuture<'a, Result<Removed, StoreUnavailable>>;

    /// True exactly once per key until [`Store::sweep`] runs at or after `expires`, which must therefore
    /// lie beyond the life of what is consumed.
    fn consume_once<'a>(
        &'a self,
        key: &'a StoreKey,
        expires: UnixTime,
    ) -> BoxFuture<'a, Result<bool, StoreUnavailable>>;

    /// The keys of all records that carry `index`.
    fn find<'a>(
        &'a self,
        index: &'a StoreKey,
    ) -> BoxFuture<'a, Result<Vec<StoreKey>, StoreUnavailable>>;

    /// At most `limit` records from `after` on, or from the beginning. A record that is there throughout
    /// comes up in one of the pages.
    fn page(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, StoreUnavailable>>;

    /// Marks a key with a time, until `expires`; of two marks the later time and the later end stay.
    fn mark<'a>(
        &'a self,
        key: &'a StoreKey,
        time: UnixTime,
        expires: UnixTime,
    ) -> BoxFuture<'a, Result<(), StoreUnavailable>>;

    /// The mark of each of these keys, if there is one, in their order.
    fn marks<'a>(
        &'a self,
        keys: &'a [StoreKey],
    ) -> BoxFuture<'a, Result<Vec<Option<UnixTime>>, StoreUnavailable>>;

    /// What other instances do to records, told soon but without promise: who misses something must not
    /// depend on it. A receiver that lags has missed something. None where no other instance can be.
    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<Change>> {
        None
    }

    /// Removes what is past its time at `now`: sessions by their stored limits, consumed keys, marks,
    /// dangling index entries. Works in bounded steps between which other operations proceed.
    fn sweep(&self, now: UnixTime) -> BoxFuture<'_, Result<Swept, StoreUnavailable>>;

    /// Number of records, expired ones included until they are swept.
    fn count(&self) -> BoxFuture<'_, Result<u64, StoreUnavailable>>;

    /// Whether a durable write would succeed now; for readiness.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreUnavailable>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiry(now: i64, last_seen: i64, absolute: i64) -> Option<Expiry> {
        Expiry::of(UnixTime::new(now), UnixTime::new(last_seen), 10, UnixTime::new(absolute))
    }

    /// SES-7.3
    #[test]
    fn a_session_ends_at_exactly_the_second_of_its_earlier_limit() {
        assert_eq!(expiry(109, 100, 1000), None);
        assert_eq!(expiry(110, 100, 1000), Some(Expiry::Idle));
        assert_eq!(expiry(999, 995, 1000), None);
        assert_eq!(expiry(1000, 995, 1000), Some(Expiry::Absolute));
        assert_eq!(expiry(2000, 995, 1000), Some(Expiry::Absolute));
        assert_eq!(expiry(2000, 985, 1000), Some(Expiry::Idle));
        assert_eq!(
            Expiry::of(UnixTime::new(0), UnixTime::new(0), i64::MAX, UnixTime::new(i64::MAX)),
            None
        );
    }

    #[test]
    fn debug_of_a_key_is_short() {
        assert_eq!(format!("{:?}", StoreKey::new([0xab; 32])), "StoreKey(abababab..)");
    }
}
