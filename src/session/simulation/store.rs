//! Owns the simulated store: in memory, one operation after the other, behind a network that is slow,
//! deaf or down. Must not know what is inside a record, except to tell the ledger what came to be.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    ledger::{Broken, grant, number},
    server::Server,
    sim::{Life, Process, Sim, Spoil},
};
use crate::{
    clock::UnixTime,
    session::{
        BoxFuture, Store, StoreUnavailable, Version,
        store::{
            Creation, Cursor, Expiry, Fence, Lease, Leased, Listed, Owner, Page, RemoveIf, Removed,
            Replaced, StoreKey, StoredRecord, Swept,
        },
    },
};

/// Milliseconds within which writes may be lost where [`Spoil::Durability`] is.
const REPLICATION_LAG: u64 = 3_000;

#[derive(Clone)]
struct Row {
    record: StoredRecord,
    /// What a failover keeps of `last_seen`.
    durably_seen: UnixTime,
    fence: u64,
    /// Owner, end, and which process it is.
    lease: Option<(Owner, u64, Process)>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<StoreKey, Row>,
    consumed: BTreeMap<StoreKey, UnixTime>,
    marks: BTreeMap<StoreKey, (UnixTime, UnixTime)>,
    down: bool,
    /// Counts failovers: what was under way at one is lost.
    epoch: u64,
    cut: BTreeMap<usize, u64>,
    /// What there was before each of the last writes, for [`Spoil::Durability`].
    undo: Vec<(u64, StoreKey, Option<Row>)>,
    /// What each process read last, for [`Spoil::Reread`].
    read: BTreeMap<(Process, StoreKey), StoredRecord>,
    /// How many requests for a lease each process has under way.
    asking: BTreeMap<(Process, StoreKey), u32>,
}

/// The store itself.
pub(super) struct SimStore {
    sim: Arc<Sim>,
    server: Arc<Server>,
    state: Mutex<State>,
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

impl SimStore {
    /// An empty store; `server` is asked whether a grant is dead that is said to be.
    pub(super) fn new(sim: Arc<Sim>, server: Arc<Server>) -> Arc<Self> {
        Arc::new(Self { sim, server, state: Mutex::default() })
    }

    /// A session is taken for dead: its refresh token must be.
    fn given_up(&self, key: &StoreKey, record: &StoredRecord) {
        let contents = self.sim.ledger.lock().unwrap().open(key, record);
        let Some(token) = contents.and_then(|contents| contents.tokens.refresh_token) else {
            return;
        };
        let text = token.expose();
        if self.server.takes(grant(text), number(text)) {
            let what = format!("{text} is taken for dead and is not");
            self.sim.tell(|ledger, _| ledger.violated(Broken::RemovedWithoutEnd, what));
        }
    }

    /// The record as it is, for the judges.
    pub(super) fn peek(&self, key: &StoreKey) -> Option<StoredRecord> {
        self.state.lock().unwrap().rows.get(key).map(|row| row.record.clone())
    }

    pub(super) async fn outage(&self, length: Duration) {
        self.sim.note(|| format!("store DOWN for {length:?}"));
        self.state.lock().unwrap().down = true;
        sleep(length).await;
        self.state.lock().unwrap().down = false;
        self.sim.note(|| "store up".to_owned());
    }

    /// Another node takes over. What was under way is lost, its answer or all of it; so is activity
    /// noted last. What was acknowledged is not, except where that is taken out.
    pub(super) async fn failover(&self, length: Duration) {
        let now = self.sim.now();
        self.sim.note(|| format!("store FAILS OVER, down for {length:?}"));
        {
            let mut state = self.state.lock().unwrap();
            (state.down, state.epoch) = (true, state.epoch + 1);
            for row in state.rows.values_mut() {
                row.record.last_seen = row.durably_seen;
            }
            while let Some((at, key, before)) = state.undo.pop() {
                if at + REPLICATION_LAG < now {
                    state.undo.clear();
                    break;
                }
                self.sim.note(|| format!("store loses a write of {key:?}"));
                match before {
                    Some(row) => {
                        self.sim.tell(|ledger, now| ledger.put(&key, &row.record, now));
                        state.rows.insert(key, row);
                    }
                    None => {
                        state.rows.remove(&key);
                    }
                }
            }
        }
        sleep(length).await;
        self.state.lock().unwrap().down = false;
        self.sim.note(|| "store up".to_owned());
    }

    /// One instance does not reach the store for so long.
    pub(super) fn cut(&self, slot: usize, length: Duration) {
        self.sim.note(|| format!("i{slot} CUT from the store for {length:?}"));
        let until = self.sim.now() + u64::try_from(length.as_millis()).unwrap();
        self.state.lock().unwrap().cut.insert(slot, until);
    }

    pub(super) fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        state.down = false;
        state.cut.clear();
    }

    fn is_down(&self) -> bool {
        self.state.lock().unwrap().down
    }

    fn is_cut(&self, slot: usize) -> bool {
        let state = self.state.lock().unwrap();
        state.cut.get(&slot).is_some_and(|until| self.sim.now() < *until)
    }

    fn epoch(&self) -> u64 {
        self.state.lock().unwrap().epoch
    }
}

/// The store as one process reaches it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) sim: Arc<Sim>,
    pub(super) store: Arc<SimStore>,
    pub(super) life: Arc<Life>,
}

/// What happens to one operation.
struct Fate {
    before: Duration,
    after: Duration,
    lost: bool,
    answer_lost: bool,
    /// Nothing is heard of a failure, rather than an error at once.
    silent: bool,
}

impl Link {
    fn fate(&self) -> Fate {
        let (sim, plan) = (&self.sim, &self.sim.plan);
        let delay = |sim: &Sim| {
            if sim.mishap(plan.slow_store) {
                sim.span(20, 15_000)
            } else if sim.chance(3000) {
                Duration::ZERO
            } else {
                Duration::from_millis(sim.roll(1..=4))
            }
        };
        let (before, after) = (delay(sim), delay(sim));
        let deaf = sim.mishap(plan.deaf_store);
        let answer_lost = deaf && sim.chance(5000);
        Fate { before, after, lost: deaf && !answer_lost, answer_lost, silent: sim.chance(5000) }
    }

    /// Sends an operation on its way; it goes on whether or not anybody waits for it.
    fn call<'a, T: Send + 'static>(
        &'a self,
        name: &'static str,
        key: Option<StoreKey>,
        told: fn(&T) -> String,
        effect: impl FnOnce(&Self, &mut State) -> T + Send + 'static,
    ) -> BoxFuture<'a, Result<T, StoreUnavailable>> {
        Box::pin(async move {
            self.life.step(name).await;
            let (fate, begun) = (self.fate(), self.sim.now());
            let patience = Duration::from_millis(self.sim.plan.patience);
            let process = self.life.process;
            if let Some(key) = &key
                && (fate.lost
                    || fate.answer_lost
                    || fate.before + fate.after > Duration::from_secs(1))
            {
                let length = fate.before + fate.after + patience;
                let end = begun + u64::try_from(length.as_millis()).unwrap();
                self.sim.tell(|ledger, _| ledger.trouble(process, key, begun, end));
            }
            let (answer, answered) = oneshot::channel();
            let there = self.clone();
            let epoch = self.store.epoch();
            let limit = patience * 2;
            let journey = async move {
                pass(fate.before).await;
                let cut = there.store.is_cut(process.slot);
                if fate.lost || cut || there.store.is_down() || there.store.epoch() != epoch {
                    // In trouble from now on, not only once that is noticed.
                    if let Some(key) = &key {
                        let end = begun + u64::try_from(patience.as_millis()).unwrap();
                        there.sim.tell(|ledger, _| ledger.trouble(process, key, begun, end));
                    }
                    // A broken line is silent; what is down may refuse.
                    return Err(cut || fate.silent);
                }
                let done = effect(&there, &mut there.store.state.lock().unwrap());
                there.sim.note(|| {
                    let key = key.map(|key| there.sim.ledger.lock().unwrap().name(&key));
                    let key = key.unwrap_or_default();
                    format!(
                        "{process:?} {name} {key}: {} (sent {begun}, after {:?})",
                        told(&done),
                        fate.after
                    )
                });
                pass(fate.after).await;
                let lost = fate.answer_lost || there.store.epoch() != epoch;
                if lost { Err(fate.silent) } else { Ok(done) }
            };
            tokio::spawn(async move {
                match journey.await {
                    Ok(done) => drop(answer.send(done)),
                    // Dropping the sender would be an answer.
                    Err(true) => sleep(limit).await,
                    Err(false) => {}
                }
            });
            let result = match timeout(patience, answered).await {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(_)) => Err(StoreUnavailable("refused")),
                Err(_) => Err(StoreUnavailable("no answer in time")),
            };
            if let (Err(why), Some(key)) = (&result, &key) {
                self.sim.tell(|ledger, now| ledger.trouble(process, key, begun, now));
                self.sim.note(|| format!("{process:?} {name} fails: {}", why.0));
            }
            self.life.step(name).await;
            result
        })
    }

    /// Before every write to a row.
    fn writing(&self, state: &mut State, key: &StoreKey) {
        if self.sim.plan.spoil == Spoil::Durability {
            let before = state.rows.get(key).cloned();
            state.undo.push((self.sim.now(), *key, before));
        }
    }
}

async fn pass(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
}

/// Counts a request for a lease while it is under way.
struct Asking<'a>(&'a Link, StoreKey);

impl<'a> Asking<'a> {
    fn begin(link: &'a Link, key: StoreKey) -> Self {
        let process = link.life.process;
        let asking = {
            let mut state = link.store.state.lock().unwrap();
            let asking = state.asking.entry((process, key)).or_default();
            *asking += 1;
            *asking
        };
        if asking > 1 {
            link.sim.tell(|ledger, _| ledger.crowded(process, &key));
        }
        Self(link, key)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.store.state.lock().unwrap();
        if let Some(asking) = state.asking.get_mut(&(self.0.life.process, self.1)) {
            *asking -= 1;
        }
    }
}

fn debug<T: fmt::Debug>(told: &T) -> String {
    format!("{told:?}")
}

type Reply<'a, T> = BoxFuture<'a, Result<T, StoreUnavailable>>;

impl Store for Link {
    fn create<'a>(&'a self, key: &'a StoreKey, record: StoredRecord) -> Reply<'a, Creation> {
        let key = *key;
        self.call("create", Some(key), debug, move |link, state| {
            if state.rows.contains_key(&key) {
                return Creation::AlreadyThere;
            }
            link.writing(state, &key);
            link.sim.tell(|ledger, now| ledger.put(&key, &record, now));
            let durably_seen = record.last_seen;
            state.rows.insert(key, Row { record, durably_seen, fence: 0, lease: None });
            Creation::Created
        })
    }

    fn load<'a>(&'a self, key: &'a StoreKey) -> Reply<'a, Option<StoredRecord>> {
        let key = *key;
        let told =
            |record: &Option<StoredRecord>| format!("{:?}", record.as_ref().map(|r| r.version));
        self.call("load", Some(key), told, move |link, state| {
            let record = state.rows.get(&key).map(|row| row.record.clone());
            if let (Some(record), Spoil::Reread) = (&record, link.sim.plan.spoil) {
                state.read.insert((link.life.process, key), record.clone());
            }
            record
        })
    }

    fn lease<'a>(&'a self, key: &'a StoreKey, owner: Owner, ttl: Duration) -> Reply<'a, Leased> {
        let key = *key;
        let told = |leased: &Leased| match leased {
            Leased::Granted(lease) => format!(
                "granted fence {}, {:?}{}",
                lease.fence.as_u64(),
                lease.record.version,
                if lease.abandoned { ", abandoned" } else { "" }
            ),
            other => debug(other),
        };
        let call = self.call("lease", Some(key), told, move |link, state| {
            let (sim, process) = (&link.sim, link.life.process);
            let now = sim.now();
            let stale = state.read.get(&(process, key)).cloned();
            let Some(row) = state.rows.get_mut(&key) else { return Leased::Gone };
            let mut abandoned = None;
            if let Some((holder, until, of)) = row.lease
                && holder != owner
            {
                if now < until && sim.plan.spoil != Spoil::Leases {
                    return Leased::Held;
                }
                abandoned = Some(of);
            }
            row.fence += 1;
            let until = now + u64::try_from(ttl.as_millis()).unwrap();
            row.lease = Some((owner, until, process));
            sim.tell(|ledger, now| ledger.leased(&key, abandoned, now));
            let mut record = row.record.clone();
            if let (Some(stale), Spoil::Reread) = (stale, sim.plan.spoil) {
                record = stale;
            }
            let (fence, abandoned) = (Fence::new(row.fence), abandoned.is_some());
            Leased::Granted(Box::new(Lease { fence, record, abandoned }))
        });
        Box::pin(async move {
            let _asking = Asking::begin(self, key);
            call.await
        })
    }

    fn release<'a>(&'a self, key: &'a StoreKey, fence: Fence) -> Reply<'a, ()> {
        let key = *key;
        self.call("release", Some(key), debug, move |_, state| {
            if let Some(row) = state.rows.get_mut(&key)
                && row.fence == fence.as_u64()
            {
                row.lease = None;
            }
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
        let key = *key;
        self.call("replace", Some(key), debug, move |link, state| {
            let Some(row) = state.rows.get(&key) else { return Replaced::Gone };
            if row.record.version != expected {
                return Replaced::Conflict;
            }
            if row.fence != fence.as_u64() && link.sim.plan.spoil != Spoil::Fences {
                return Replaced::Fenced;
            }
            link.writing(state, &key);
            let Some(row) = state.rows.get_mut(&key) else { return Replaced::Gone };
            row.record.version = expected.next();
            (row.record.sealed, row.record.expires) = (sealed, expires);
            row.lease = None;
            link.sim.tell(|ledger, now| ledger.put(&key, &row.record, now));
            Replaced::Done(row.record.version)
        })
    }

    fn touch<'a>(&'a self, key: &'a StoreKey, last_seen: UnixTime) -> Reply<'a, ()> {
        let key = *key;
        self.call("touch", Some(key), debug, move |_, state| {
            if let Some(row) = state.rows.get_mut(&key) {
                row.durably_seen = row.record.last_seen;
                row.record.last_seen = row.record.last_seen.max(last_seen);
            }
        })
    }

    fn remove<'a>(&'a self, key: &'a StoreKey, condition: RemoveIf) -> Reply<'a, Removed> {
        let key = *key;
        let told = |removed: &Removed| match removed {
            Removed::Done(record) => format!("done, it was {:?}", record.version),
            other => debug(other),
        };
        self.call("remove", Some(key), told, move |link, state| {
            let Some(row) = state.rows.get(&key) else { return Removed::Absent };
            let spoilt = link.sim.plan.spoil == Spoil::Fences;
            let holds = match condition {
                RemoveIf::Present => true,
                RemoveIf::Unchanged(version, fence) => {
                    row.record.version == version && (row.fence == fence.as_u64() || spoilt)
                }
                RemoveIf::NotSeenSince(seen) => row.record.last_seen <= seen,
            };
            if !holds {
                return Removed::Changed;
            }
            link.writing(state, &key);
            let Some(row) = state.rows.remove(&key) else { return Removed::Absent };
            link.sim.tell(|ledger, now| ledger.removed(&key, &row.record, condition, now));
            if matches!(condition, RemoveIf::Unchanged(..)) {
                link.store.given_up(&key, &row.record);
            }
            Removed::Done(Box::new(row.record))
        })
    }

    fn consume_once<'a>(&'a self, key: &'a StoreKey, expires: UnixTime) -> Reply<'a, bool> {
        let key = *key;
        self.call("consume_once", None, debug, move |_, state| {
            let first = !state.consumed.contains_key(&key);
            state.consumed.entry(key).or_insert(expires);
            first
        })
    }

    fn find<'a>(&'a self, index: &'a StoreKey) -> Reply<'a, Vec<StoreKey>> {
        let index = *index;
        self.call("find", None, debug, move |_, state| {
            let rows = state.rows.iter();
            rows.filter(|(_, row)| row.record.indexes.contains(&index))
                .map(|(key, _)| *key)
                .collect()
        })
    }

    fn page(&self, after: Option<Cursor>, limit: usize) -> Reply<'_, Page> {
        self.call(
            "page",
            None,
            |_| String::new(),
            move |_, state| {
                let beyond = |key: &StoreKey| {
                    after
                        .as_ref()
                        .is_none_or(|after| key.as_bytes().as_slice() > after.0.as_slice())
                };
                let mut rows = state.rows.iter().filter(|(key, _)| beyond(key));
                let listed: Vec<_> = rows
                    .by_ref()
                    .take(limit)
                    .map(|(key, Row { record, .. })| Listed {
                        key: *key,
                        app: record.app.clone(),
                        created: record.created,
                        expires: record.expires,
                        idle: record.idle,
                        last_seen: record.last_seen,
                    })
                    .collect();
                let more = rows.next().is_some();
                let next =
                    listed.last().filter(|_| more).map(|last| Cursor(last.key.as_bytes().to_vec()));
                Page { listed, next }
            },
        )
    }

    fn mark<'a>(&'a self, key: &'a StoreKey, time: UnixTime, expires: UnixTime) -> Reply<'a, ()> {
        let key = *key;
        self.call("mark", None, debug, move |_, state| {
            let mark = state.marks.entry(key).or_insert((time, expires));
            *mark = (mark.0.max(time), mark.1.max(expires));
        })
    }

    fn marks<'a>(&'a self, keys: &'a [StoreKey]) -> Reply<'a, Vec<Option<UnixTime>>> {
        let keys = keys.to_vec();
        self.call("marks", None, debug, move |_, state| {
            keys.iter().map(|key| state.marks.get(key).map(|mark| mark.0)).collect()
        })
    }

    fn sweep(&self, now: UnixTime) -> Reply<'_, Swept> {
        self.call("sweep", None, debug, move |link, state| {
            let mut swept = Swept::default();
            let past: Vec<_> = state
                .rows
                .iter()
                .filter_map(|(key, Row { record, .. })| {
                    let limit = Expiry::of(now, record.last_seen, record.idle, record.expires)?;
                    Some((*key, limit))
                })
                .collect();
            for (key, limit) in past {
                link.writing(state, &key);
                let Some(row) = state.rows.remove(&key) else { continue };
                let seen = RemoveIf::NotSeenSince(row.record.last_seen);
                link.sim.tell(|ledger, now| ledger.removed(&key, &row.record, seen, now));
                *swept.ended.entry((row.record.app, limit)).or_default() += 1;
            }
            let consumed = state.consumed.len();
            state.consumed.retain(|_, expires| now < *expires);
            swept.consumed = u64::try_from(consumed - state.consumed.len()).unwrap();
            let marks = state.marks.len();
            state.marks.retain(|_, (_, expires)| now < *expires);
            swept.marks = u64::try_from(marks - state.marks.len()).unwrap();
            swept
        })
    }

    fn count(&self) -> Reply<'_, u64> {
        self.call("count", None, debug, |_, state| u64::try_from(state.rows.len()).unwrap())
    }

    fn ping(&self) -> Reply<'_, ()> {
        self.call("ping", None, debug, |_, _| ())
    }
}
