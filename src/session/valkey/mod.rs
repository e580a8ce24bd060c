//! Owns the store in Valkey (or Redis 7): a single server, one that sentinels watch over, or a cluster.
//! Must not know what is inside a record.
//!
//! Each record is one hash; scripts make each operation on it atomic. Its index entries lie in other
//! slots of a cluster, so they are written before the record and removed after it: a crash in between
//! leaves entries that point at nothing, which sweeping clears away, and never a record that a logout
//! cannot find.
//!
//! No operation is sent twice unless it cannot have happened the first time, and none that got no answer
//! is known to have failed: a session created so is one nobody has the handle of, and ends by its idle
//! limit; a record removed so is gone though nobody got its tokens, which then live until they expire.

mod dial;
mod names;
mod reply;
mod scripts;
mod servers;
#[cfg(test)]
mod tests;
mod trouble;
mod watch;

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{
    StreamExt as _, TryStreamExt as _,
    future::{join_all, try_join_all},
    stream,
};
use redis::{Cmd, Value};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use self::{
    dial::{Address, Dialer, Expected},
    names::{Names, SHARDS, Shard, shard},
    reply::Told,
    scripts::Script,
    servers::{Call, Servers, expected},
    trouble::{Kind, Trouble},
    watch::{Instance, Watch, message, removal},
};
use super::store::{
    BoxFuture, Change, Creation, Cursor, Expiry, Fence, Lease, Leased, Listed, Owner, Page,
    RemoveIf, Removed, Replaced, Store, StoreKey, StoreUnavailable, StoredRecord, Swept, Version,
};
use crate::{
    clock::UnixTime,
    config::{Secret, ServerAddress, Valkey, ValkeyServers, ValkeyTls},
    tls::{self, Identity, Roots, TlsFault},
};

/// What a sweep looks at in one step.
const STRETCH: usize = 128;
/// Shards that are looked at, and records that are read, at once.
const AT_ONCE: usize = 16;
/// How long after its index entries a record may be written, in milliseconds by the server's clock. The
/// entries count as dangling after ten minutes at the earliest, so clocks of a cluster may differ by the
/// rest.
const LATEST: u64 = 60_000;
/// How often a trouble that goes on is logged.
const REMINDER: Duration = Duration::from_secs(60);

/// Sessions in Valkey.
pub struct ValkeyStore {
    shared: Arc<Shared>,
    watch: OnceLock<Watch>,
}

struct Shared {
    servers: Servers,
    names: Names,
    instance: Instance,
    /// The longest any answer takes.
    limit: Duration,
    health: Health,
}

impl ValkeyStore {
    /// The store that `settings` describe. Connects when something is asked of it.
    pub fn new(settings: &Valkey) -> Result<Self, TlsFault> {
        let names = Names::new(settings.key_prefix.clone());
        let connector = settings.tls.as_ref().map(connector).transpose()?;
        let dialer = |expected, username: &Option<String>, password: &Option<Secret>| Dialer {
            tls: connector.clone(),
            username: username.clone(),
            password: password.clone(),
            connect_timeout: settings.connect_timeout,
            response_timeout: settings.response_timeout,
            expected,
            warned: AtomicBool::new(false),
        };
        let clustered = matches!(settings.servers, ValkeyServers::Cluster(_));
        let main = dialer(expected(clustered), &settings.username, &settings.password);
        let addresses = |list: &[ServerAddress]| list.iter().map(address).collect();
        let half = u64::try_from(settings.response_timeout.as_millis() / 2).unwrap_or(1000);
        let wait = (settings.wait_replicas > 0).then_some((settings.wait_replicas, half));
        let servers = match &settings.servers {
            ValkeyServers::Single(server) => Servers::single(address(server), main, wait),
            ValkeyServers::Cluster(seeds) => {
                Servers::cluster(addresses(seeds), names.slots(), main, wait)
            }
            ValkeyServers::Sentinel { sentinels, master, username, password } => {
                let theirs = dialer(Expected::Sentinel, username, password);
                Servers::sentinel(addresses(sentinels), master.clone(), theirs, main, wait)
            }
        };
        let mut instance = Instance::default();
        instance.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..8]);
        let limit = settings.connect_timeout + settings.response_timeout;
        let shared = Shared { servers, names, instance, limit, health: Health::default() };
        Ok(Self { shared: Arc::new(shared), watch: OnceLock::new() })
    }
}

fn address(server: &ServerAddress) -> Address {
    Address::new(&server.host, server.port)
}

fn connector(settings: &ValkeyTls) -> Result<TlsConnector, TlsFault> {
    let extra = settings.trust_roots.iter().map(|file| file.pem.as_slice());
    let roots = Roots::new(settings.system_roots, extra)?;
    let identity = settings
        .identity
        .as_ref()
        .map(|files| Identity::from_pem(&files.certificate_pem, files.private_key_pem.expose()));
    let config = tls::client_config(&roots, identity.transpose()?.as_ref(), &[])?;
    Ok(TlsConnector::from(Arc::new(config)))
}

impl fmt::Debug for ValkeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValkeyStore").field("servers", &self.shared.servers).finish_non_exhaustive()
    }
}

/// Says once that the store is down, and once that it is up again.
#[derive(Default)]
struct Health {
    down: AtomicBool,
    told: Mutex<Option<(&'static str, Instant)>>,
}

impl Health {
    fn up(&self) {
        if self.down.load(Ordering::Relaxed) && self.down.swap(false, Ordering::Relaxed) {
            tracing::info!("session store: the server answers again");
        }
    }

    fn down(&self, trouble: &Trouble) {
        self.down.store(true, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news =
            told.is_none_or(|(reason, at)| reason != trouble.reason || at.elapsed() >= REMINDER);
        if news {
            *told = Some((trouble.reason, Instant::now()));
            tracing::error!(reason = trouble.reason, detail = %trouble.detail, "session store: unavailable");
        }
    }
}

/// A script's keys and arguments.
struct Parts(&'static Script, Vec<Vec<u8>>, Vec<Vec<u8>>);

impl Parts {
    fn new(script: &'static Script, keys: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self(script, keys.into_iter().collect(), Vec::new())
    }

    fn arg(mut self, argument: impl AsRef<[u8]>) -> Self {
        self.2.push(argument.as_ref().to_vec());
        self
    }

    fn number(self, number: impl fmt::Display + Copy) -> Self {
        self.arg(number.to_string())
    }

    fn time(self, time: UnixTime) -> Self {
        self.number(time.as_i64())
    }
}

/// An index and a key under it, end to end.
fn entry(index: &StoreKey, key: &StoreKey) -> Vec<u8> {
    [*index.as_bytes(), *key.as_bytes()].concat()
}

impl Shared {
    /// An answer in time, or none.
    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, Trouble>> + Send,
    ) -> Result<T, StoreUnavailable> {
        let late = || Err(Trouble::new(Kind::Unknown, "the server did not answer in time"));
        match timeout(self.limit, work).await.unwrap_or_else(|_| late()) {
            Ok(answer) => {
                self.health.up();
                Ok(answer)
            }
            Err(trouble) => {
                self.health.down(&trouble);
                Err(StoreUnavailable(trouble.reason))
            }
        }
    }

    async fn run(&self, shard: Shard, parts: Parts) -> Result<Value, Trouble> {
        let Parts(script, keys, arguments) = parts;
        self.servers.call(shard, &Call::Script { script, keys, arguments }, false).await
    }

    /// Runs what must not be lost.
    async fn write(&self, shard: Shard, parts: Parts) -> Result<Value, Trouble> {
        let Parts(script, keys, arguments) = parts;
        self.servers.call(shard, &Call::Script { script, keys, arguments }, true).await
    }

    async fn command(&self, shard: Shard, command: Cmd) -> Result<Value, Trouble> {
        self.servers.call(shard, &Call::Command(command), false).await
    }

    fn told(&self, parts: Parts, change: Change) -> Parts {
        parts.arg(self.names.channel()).arg(message(self.instance, change))
    }

    /// Adds index entries; the earliest time at which that was, by the servers' clocks.
    async fn index(
        &self,
        indexes: &[StoreKey],
        key: &StoreKey,
        expires: UnixTime,
    ) -> Result<Option<u64>, Trouble> {
        let additions = indexes.iter().map(async |index| {
            let keys = [self.names.index(index), self.names.checks(shard(index))];
            let parts = Parts::new(&scripts::INDEX, keys)
                .arg(key.as_bytes())
                .arg(entry(index, key))
                .time(expires);
            reply::number::<u64>(self.write(shard(index), parts).await?)
        });
        Ok(try_join_all(additions).await?.into_iter().min())
    }

    /// Removes an index entry; how many there were.
    async fn unindex(&self, index: &StoreKey, key: &StoreKey) -> Result<u64, Trouble> {
        let keys = [self.names.index(index), self.names.checks(shard(index))];
        let parts = Parts::new(&scripts::UNINDEX, keys).arg(key.as_bytes()).arg(entry(index, key));
        reply::count(&self.run(shard(index), parts).await?)
    }

    /// Removes the index entries of a record that is gone. What this fails to remove dangles.
    async fn unindex_all(&self, indexes: &[StoreKey], key: &StoreKey) {
        for removed in join_all(indexes.iter().map(|index| self.unindex(index, key))).await {
            if let Err(trouble) = removed {
                tracing::debug!(
                    reason = trouble.reason,
                    "session store: an index entry is left to be swept"
                );
            }
        }
    }

    fn record_keys(&self, key: &StoreKey) -> [Vec<u8>; 3] {
        let shard = shard(key);
        [self.names.record(key), self.names.deadlines(shard), self.names.all(shard)]
    }

    async fn create(&self, key: &StoreKey, record: &StoredRecord) -> Result<Creation, Trouble> {
        let since = self.index(&record.indexes, key, record.expires).await?;
        // Without entries that might be swept before the record is there, it may take its time.
        let latest = since.map_or(u64::MAX, |at| at.saturating_add(LATEST));
        let indexes: Vec<u8> = record.indexes.iter().flat_map(|index| *index.as_bytes()).collect();
        let parts = Parts::new(&scripts::CREATE, self.record_keys(key))
            .arg(key.as_bytes())
            .number(latest)
            .number(record.version.as_u64())
            .arg(&record.app)
            .time(record.created)
            .arg(&record.sealed)
            .time(record.expires)
            .number(record.idle)
            .time(record.last_seen)
            .arg(indexes);
        let (word, mut told) = Told::read(self.write(shard(key), parts).await?)?;
        match word.as_str() {
            "created" => Ok(Creation::Created),
            "there" => {
                // The other record's own entries stay.
                let theirs = reply::keys(&reply::bytes(told.next()?)?)?;
                let ours: Vec<_> = record
                    .indexes
                    .iter()
                    .filter(|index| !theirs.contains(index))
                    .copied()
                    .collect();
                self.unindex_all(&ours, key).await;
                Ok(Creation::AlreadyThere)
            }
            "late" => Err(Trouble::new(Kind::Refused, "writing a session took too long")),
            _ => Err(Trouble::not_understood()),
        }
    }

    async fn load(&self, key: &StoreKey) -> Result<Option<StoredRecord>, Trouble> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.names.record(key)).arg(&["v", "a", "c", "s", "e", "i", "l", "x"]);
        let values = reply::array(self.command(shard(key), command).await?)?;
        if values.iter().all(|value| *value == Value::Nil) {
            return Ok(None);
        }
        Told::of(values).record().map(Some)
    }

    async fn lease(&self, key: &StoreKey, owner: Owner, ttl: Duration) -> Result<Leased, Trouble> {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let parts = Parts::new(&scripts::LEASE, [self.names.record(key)])
            .arg(owner.as_bytes())
            .number(millis);
        let (word, mut told) = Told::read(self.write(shard(key), parts).await?)?;
        match word.as_str() {
            "granted" => {
                let fence = Fence::new(reply::number(told.next()?)?);
                let abandoned = match reply::text(told.next()?)?.as_str() {
                    "abandoned" => true,
                    "free" => false,
                    _ => return Err(Trouble::not_understood()),
                };
                let record = told.record()?;
                Ok(Leased::Granted(Box::new(Lease { fence, record, abandoned })))
            }
            "held" => Ok(Leased::Held),
            "gone" => Ok(Leased::Gone),
            _ => Err(Trouble::not_understood()),
        }
    }

    async fn replace(
        &self,
        key: &StoreKey,
        expected: Version,
        fence: Fence,
        sealed: &[u8],
        expires: UnixTime,
    ) -> Result<Replaced, Trouble> {
        let mut extended = false;
        loop {
            let parts = Parts::new(&scripts::REPLACE, self.record_keys(key))
                .arg(key.as_bytes())
                .number(expected.as_u64())
                .number(fence.as_u64())
                .number(expected.next().as_u64())
                .arg(sealed)
                .time(expires)
                .number(u8::from(extended));
            let parts = self.told(parts, Change::Replaced(*key));
            let (word, mut told) = Told::read(self.write(shard(key), parts).await?)?;
            return match word.as_str() {
                "done" => Ok(Replaced::Done(expected.next())),
                "conflict" => Ok(Replaced::Conflict),
                "fenced" => Ok(Replaced::Fenced),
                "gone" => Ok(Replaced::Gone),
                // Nothing has been written: first the index entries have to last as long.
                "extend" if !extended => {
                    let indexes = reply::keys(&reply::bytes(told.next()?)?)?;
                    self.index(&indexes, key, expires).await?;
                    extended = true;
                    continue;
                }
                _ => Err(Trouble::not_understood()),
            };
        }
    }

    async fn remove(&self, key: &StoreKey, condition: RemoveIf) -> Result<Removed, Trouble> {
        let parts = Parts::new(&scripts::REMOVE, self.record_keys(key)).arg(key.as_bytes());
        let parts = match condition {
            RemoveIf::Present => parts.arg("present").arg("").arg(""),
            RemoveIf::Unchanged(version, fence) => {
                parts.arg("unchanged").number(version.as_u64()).number(fence.as_u64())
            }
            RemoveIf::NotSeenSince(seen) => parts.arg("unseen").time(seen).arg(""),
        };
        let parts = self.told(parts, Change::Removed(*key));
        let (word, mut told) = Told::read(self.write(shard(key), parts).await?)?;
        match word.as_str() {
            "done" => {
                let record = told.record()?;
                self.unindex_all(&record.indexes, key).await;
                Ok(Removed::Done(Box::new(record)))
            }
            "changed" => Ok(Removed::Changed),
            "absent" => Ok(Removed::Absent),
            _ => Err(Trouble::not_understood()),
        }
    }

    async fn find(&self, index: &StoreKey) -> Result<Vec<StoreKey>, Trouble> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(self.names.index(index));
        members(self.command(shard(index), command).await?)
    }

    async fn page(&self, after: Option<StoreKey>, limit: usize) -> Result<Page, Trouble> {
        let first = after.map_or(0, |after| shard(&after));
        let mut stretches = stream::iter(first..=Shard::MAX)
            .map(|at| self.stretch(at, after.filter(|after| shard(after) == at), limit))
            .buffered(AT_ONCE);
        let mut keys = Vec::new();
        while keys.len() < limit {
            let Some(stretch) = stretches.next().await else { break };
            keys.extend(stretch?);
        }
        keys.truncate(limit);
        let next = keys.last().filter(|_| keys.len() == limit);
        let next = next.map(|last| Cursor(last.as_bytes().to_vec()));
        let listed = stream::iter(keys)
            .map(|key| self.listed(key))
            .buffered(AT_ONCE)
            .try_filter_map(async |listed| Ok(listed))
            .try_collect()
            .await?;
        Ok(Page { listed, next })
    }

    /// The keys of a shard's records after `after`, in their order.
    async fn stretch(
        &self,
        shard: Shard,
        after: Option<StoreKey>,
        limit: usize,
    ) -> Result<Vec<StoreKey>, Trouble> {
        let from = after.map_or(b"-".to_vec(), |after| [b"(", &after.as_bytes()[..]].concat());
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(self.names.all(shard)).arg(from).arg("+").arg("LIMIT").arg(0).arg(limit);
        members(self.command(shard, command).await?)
    }

    async fn listed(&self, key: StoreKey) -> Result<Option<Listed>, Trouble> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.names.record(&key)).arg(&["a", "c", "e", "i", "l"]);
        let values = reply::array(self.command(shard(&key), command).await?)?;
        if values.iter().all(|value| *value == Value::Nil) {
            return Ok(None);
        }
        let mut told = Told::of(values);
        Ok(Some(Listed {
            key,
            app: reply::text(told.next()?)?,
            created: reply::time(told.next()?)?,
            expires: reply::time(told.next()?)?,
            idle: reply::number(told.next()?)?,
            last_seen: reply::time(told.next()?)?,
        }))
    }

    async fn mark(&self, key: &StoreKey, time: UnixTime, expires: UnixTime) -> Result<(), Trouble> {
        let shard = shard(key);
        let keys = [self.names.mark(key), self.names.mark_ends(shard)];
        let parts = Parts::new(&scripts::MARK, keys).arg(key.as_bytes()).time(time).time(expires);
        self.write(shard, self.told(parts, Change::Marked(*key))).await.map(drop)
    }

    async fn marked(&self, key: &StoreKey) -> Result<Option<UnixTime>, Trouble> {
        let mut command = redis::cmd("HGET");
        command.arg(self.names.mark(key)).arg("t");
        match self.command(shard(key), command).await? {
            Value::Nil => Ok(None),
            time => reply::time(time).map(Some),
        }
    }

    async fn consume_once(&self, key: &StoreKey, expires: UnixTime) -> Result<bool, Trouble> {
        let shard = shard(key);
        let keys = [self.names.consumed(key), self.names.consumed_ends(shard)];
        let parts = Parts::new(&scripts::CONSUME, keys).arg(key.as_bytes()).time(expires);
        match self.write(shard, parts).await? {
            Value::Int(1) => Ok(true),
            Value::Int(0) => Ok(false),
            _ => Err(Trouble::not_understood()),
        }
    }

    async fn count(&self) -> Result<u64, Trouble> {
        stream::iter(SHARDS)
            .map(async |shard| {
                let mut command = redis::cmd("ZCARD");
                command.arg(self.names.all(shard));
                reply::count(&self.command(shard, command).await?)
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(0, async |sum, more| Ok(sum + more))
            .await
    }

    /// What of a shard's sorted set is past its time at `now`.
    async fn past(
        &self,
        shard: Shard,
        set: Vec<u8>,
        now: UnixTime,
    ) -> Result<Vec<StoreKey>, StoreUnavailable> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(set).arg("-inf").arg(now.as_i64()).arg("LIMIT").arg(0).arg(STRETCH);
        self.bounded(async { members(self.command(shard, command).await?) }).await
    }

    /// What a shard had to be rid of is added to `swept`, also if not all could be done.
    async fn sweep(
        &self,
        shard: Shard,
        now: UnixTime,
        swept: &mut Swept,
    ) -> Result<(), StoreUnavailable> {
        loop {
            let due = self.past(shard, self.names.deadlines(shard), now).await?;
            if !due.is_empty() {
                self.bounded(self.expire(shard, &due, now, swept)).await?;
            }
            if due.len() < STRETCH {
                break;
            }
        }
        swept.consumed += self
            .forget(shard, self.names.consumed_ends(shard), now, |key| self.names.consumed(key))
            .await?;
        swept.marks += self
            .forget(shard, self.names.mark_ends(shard), now, |key| self.names.mark(key))
            .await?;
        loop {
            let claimed = self.bounded(self.claim(shard)).await?;
            let seen = claimed.len();
            swept.dangling += self.bounded(self.drop_dangling(claimed)).await?;
            if seen < STRETCH {
                return Ok(());
            }
        }
    }

    async fn expire(
        &self,
        shard: Shard,
        due: &[StoreKey],
        now: UnixTime,
        swept: &mut Swept,
    ) -> Result<(), Trouble> {
        let sets = [self.names.deadlines(shard), self.names.all(shard)];
        let records = due.iter().map(|key| self.names.record(key));
        let mut parts = Parts::new(&scripts::EXPIRE, sets.into_iter().chain(records))
            .time(now)
            .arg(self.names.channel())
            .arg(removal(self.instance));
        for key in due {
            parts = parts.arg(key.as_bytes());
        }
        let mut gone = Vec::new();
        for ended in reply::array(self.write(shard, parts).await?)? {
            let (word, mut told) = Told::read(ended)?;
            let key = reply::key(&reply::bytes(told.next()?)?)?;
            let app = reply::text(told.next()?)?;
            let limit = match word.as_str() {
                "idle" => Expiry::Idle,
                "absolute" => Expiry::Absolute,
                // The server had forgotten it.
                "dangling" => {
                    swept.dangling += 1;
                    continue;
                }
                _ => return Err(Trouble::not_understood()),
            };
            *swept.ended.entry((app, limit)).or_default() += 1;
            gone.push((key, reply::keys(&reply::bytes(told.next()?)?)?));
        }
        for (key, indexes) in gone {
            self.unindex_all(&indexes, &key).await;
        }
        Ok(())
    }

    async fn forget(
        &self,
        shard: Shard,
        set: Vec<u8>,
        now: UnixTime,
        name: impl Fn(&StoreKey) -> Vec<u8>,
    ) -> Result<u64, StoreUnavailable> {
        let mut forgotten = 0;
        loop {
            let past = self.past(shard, set.clone(), now).await?;
            if !past.is_empty() {
                let keys = std::iter::once(set.clone()).chain(past.iter().map(&name));
                let mut parts = Parts::new(&scripts::FORGET, keys).time(now);
                for key in &past {
                    parts = parts.arg(key.as_bytes());
                }
                forgotten +=
                    self.bounded(async { reply::count(&self.run(shard, parts).await?) }).await?;
            }
            if past.len() < STRETCH {
                return Ok(forgotten);
            }
        }
    }

    /// Index entries to be checked, by nobody else for an hour.
    async fn claim(&self, shard: Shard) -> Result<Vec<(StoreKey, StoreKey)>, Trouble> {
        let parts = Parts::new(&scripts::CLAIM, [self.names.checks(shard)]).number(STRETCH);
        let entries = reply::array(self.run(shard, parts).await?)?;
        let pairs =
            entries.into_iter().map(|entry| match reply::keys(&reply::bytes(entry)?)?[..] {
                [index, key] => Ok((index, key)),
                _ => Err(Trouble::not_understood()),
            });
        pairs.collect()
    }

    async fn drop_dangling(&self, entries: Vec<(StoreKey, StoreKey)>) -> Result<u64, Trouble> {
        stream::iter(entries)
            .map(async |(index, key)| {
                let mut command = redis::cmd("EXISTS");
                command.arg(self.names.record(&key));
                match self.command(shard(&key), command).await? {
                    Value::Int(0) => self.unindex(&index, &key).await,
                    Value::Int(1) => Ok(0),
                    _ => Err(Trouble::not_understood()),
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(0, async |sum, more| Ok(sum + more))
            .await
    }

    async fn ping(&self) -> Result<(), Trouble> {
        let parts = Parts::new(&scripts::PING, [self.names.ping(0)]);
        self.write(0, parts).await.map(drop)
    }
}

fn members(value: Value) -> Result<Vec<StoreKey>, Trouble> {
    let keys = reply::array(value)?.into_iter().map(|key| reply::key(&reply::bytes(key)?));
    keys.collect()
}

impl Store for ValkeyStore {
    fn create<'a>(
        &'a self,
        key: &'a StoreKey,
        record: StoredRecord,
    ) -> BoxFuture<'a, Result<Creation, StoreUnavailable>> {
        Box::pin(async move { self.shared.bounded(self.shared.create(key, &record)).await })
    }

    fn load<'a>(
        &'a self,
        key: &'a StoreKey,
    ) -> BoxFuture<'a, Result<Option<StoredRecord>, StoreUnavailable>> {
        Box::pin(self.shared.bounded(self.shared.load(key)))
    }

    fn lease<'a>(
        &'a self,
        key: &'a StoreKey,
        owner: Owner,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreUnavailable>> {
        Box::pin(self.shared.bounded(self.shared.lease(key, owner, ttl)))
    }

    fn release<'a>(
        &'a self,
        key: &'a StoreKey,
        fence: Fence,
    ) -> BoxFuture<'a, Result<(), StoreUnavailable>> {
        let parts =
            Parts::new(&scripts::RELEASE, [self.shared.names.record(key)]).number(fence.as_u64());
        let run = self.shared.run(shard(key), parts);
        Box::pin(self.shared.bounded(async { run.await.map(drop) }))
    }

    fn replace<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        fence: Fence,
        sealed: Vec<u8>,
        expires: UnixTime,
    ) -> BoxFuture<'a, Result<Replaced, StoreUnavailable>> {
        Box::pin(async move {
            let replace = self.shared.replace(key, expected, fence, &sealed, expires);
            self.shared.bounded(replace).await
        })
    }

    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        last_seen: UnixTime,
    ) -> BoxFuture<'a, Result<(), StoreUnavailable>> {
        let parts = Parts::new(&scripts::TOUCH, [self.shared.names.record(key)]).time(last_seen);
        let run = self.shared.run(shard(key), parts);
        Box::pin(self.shared.bounded(async { run.await.map(drop) }))
    }

    fn remove<'a>(
        &'a self,
        key: &'a StoreKey,
        condition: RemoveIf,
    ) -> BoxFuture<'a, Result<Removed, StoreUnavailable>> {
        Box::pin(self.shared.bounded(self.shared.remove(key, condition)))
    }

    fn consume_once<'a>(
        &'a self,
        key: &'a StoreKey,
        expires: UnixTime,
    ) -> BoxFuture<'a, Result<bool, StoreUnavailable>> {
        Box::pin(self.shared.bounded(self.shared.consume_once(key, expires)))
    }

    fn find<'a>(
        &'a self,
        index: &'a StoreKey,
    ) -> BoxFuture<'a, Result<Vec<StoreKey>, StoreUnavailable>> {
        Box::pin(self.shared.bounded(self.shared.find(index)))
    }

    fn page(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, StoreUnavailable>> {
        let after = after.and_then(|cursor| reply::key(&cursor.0).ok());
        Box::pin(self.shared.bounded(self.shared.page(after, limit)))
    }

    fn mark<'a>(
        &'a self,
        key: &'a StoreKey,
        time: UnixTime,
        expires: UnixTime,
    ) -> BoxFuture<'a, Result<(), StoreUnavailable>> {
        Box::pin(self.shared.bounded(self.shared.mark(key, time, expires)))
    }

    fn marks<'a>(
        &'a self,
        keys: &'a [StoreKey],
    ) -> BoxFuture<'a, Result<Vec<Option<UnixTime>>, StoreUnavailable>> {
        let marks = try_join_all(keys.iter().map(|key| self.shared.marked(key)));
        Box::pin(self.shared.bounded(marks))
    }

    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<Change>> {
        Some(self.watch.get_or_init(|| Watch::new(&self.shared)).receiver())
    }

    fn sweep(&self, now: UnixTime) -> BoxFuture<'_, Result<Swept, StoreUnavailable>> {
        Box::pin(async move {
            let mut shards = stream::iter(SHARDS)
                .map(async |shard| {
                    let mut swept = Swept::default();
                    let outcome = self.shared.sweep(shard, now, &mut swept).await;
                    (swept, outcome)
                })
                .buffer_unordered(AT_ONCE);
            let (mut all, mut failed) = (Swept::default(), None);
            while let Some((swept, outcome)) = shards.next().await {
                for (ended, count) in swept.ended {
                    *all.ended.entry(ended).or_default() += count;
                }
                all.consumed += swept.consumed;
                all.marks += swept.marks;
                all.dangling += swept.dangling;
                if let Err(unavailable) = outcome {
                    failed = Some(unavailable);
                    break;
                }
            }
            match failed {
                // Nobody else will report the sessions that were ended: what is left is for the next.
                Some(unavailable) if all.ended.is_empty() => Err(unavailable),
                _ => Ok(all),
            }
        })
    }

    fn count(&self) -> BoxFuture<'_, Result<u64, StoreUnavailable>> {
        Box::pin(self.shared.bounded(self.shared.count()))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreUnavailable>> {
        Box::pin(self.shared.bounded(self.shared.ping()))
    }
}
