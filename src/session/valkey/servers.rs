//! Owns which server is asked: the only one, the primary that sentinels name, or the cluster's server of
//! a slot. Must not know what is asked.
//!
//! What the client library has for clusters sends a command again whose answer was lost, with no way to
//! follow redirections and not do that; here a command is sent again only where it cannot have happened.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{Cmd, Value};
use tokio::time::{Instant, timeout};

use super::{
    dial::{Address, Dialer, Expected, Node, Request},
    names::Shard,
    reply::{array, int, text},
    scripts::Script,
    trouble::{Kind, Trouble},
};

/// Redirections that one request follows.
const REDIRECTIONS: u32 = 4;
/// How long those who answer later may take, once a server has told what it knows of its cluster.
const STRAGGLERS: Duration = Duration::from_millis(300);
/// Servers that are asked about their cluster.
const ASKED: usize = 16;

/// A command, or a script with its keys and arguments.
pub(super) enum Call {
    Command(Cmd),
    Script { script: &'static Script, keys: Vec<Vec<u8>>, arguments: Vec<Vec<u8>> },
}

impl Call {
    /// The command as it is sent first, and again if the server has to be told the script.
    fn command(&self, whole: bool) -> Cmd {
        match self {
            Self::Command(command) => command.clone(),
            Self::Script { script, keys, arguments } => {
                let mut command = redis::cmd(if whole { "EVAL" } else { "EVALSHA" });
                command.arg(if whole { &script.source } else { &script.sha1 });
                command.arg(keys.len()).arg(keys).arg(arguments);
                command
            }
        }
    }
}

#[derive(Debug)]
enum Kinds {
    Single(Arc<Node>),
    Sentinel(Watched),
    Cluster(Cluster),
}

/// All servers of the store.
#[derive(Debug)]
pub(super) struct Servers {
    kind: Kinds,
    dialer: Arc<Dialer>,
    /// Replicas that must have a write that must not be lost, and within how many milliseconds.
    wait: Option<(u32, u64)>,
}

impl Servers {
    pub(super) fn single(address: Address, dialer: Dialer, wait: Option<(u32, u64)>) -> Self {
        let dialer = Arc::new(dialer);
        let node = Arc::new(Node::new(address, Arc::clone(&dialer)));
        Self { kind: Kinds::Single(node), dialer, wait }
    }

    pub(super) fn sentinel(
        sentinels: Vec<Address>,
        master: String,
        sentinel_dialer: Dialer,
        dialer: Dialer,
        wait: Option<(u32, u64)>,
    ) -> Self {
        let (dialer, sentinel_dialer) = (Arc::new(dialer), Arc::new(sentinel_dialer));
        let sentinels = sentinels
            .into_iter()
            .map(|address| Node::new(address, Arc::clone(&sentinel_dialer)))
            .collect();
        let watched = Watched { sentinels, master, primary: tokio::sync::Mutex::default() };
        Self { kind: Kinds::Sentinel(watched), dialer, wait }
    }

    /// `slots` are those of the shards.
    pub(super) fn cluster(
        seeds: Vec<Address>,
        slots: Vec<u16>,
        dialer: Dialer,
        wait: Option<(u32, u64)>,
    ) -> Self {
        let cluster = Cluster {
            seeds,
            slots,
            map: Mutex::default(),
            nodes: Mutex::default(),
            learning: tokio::sync::Mutex::default(),
        };
        Self { kind: Kinds::Cluster(cluster), dialer: Arc::new(dialer), wait }
    }

    /// The answer to a call on keys of one shard; on enough replicas, too, if it must not be lost.
    pub(super) async fn call(
        &self,
        shard: Shard,
        call: &Call,
        must_last: bool,
    ) -> Result<Value, Trouble> {
        let wait = self.wait.filter(|_| must_last);
        let command = call.command(false);
        let request = Request { command: &command, wait, asking: false };
        match self.send(shard, request).await {
            // It was not run.
            Err(Trouble { kind: Kind::NoScript, .. }) => {
                let command = call.command(true);
                self.send(shard, Request { command: &command, ..request }).await
            }
            answer => answer,
        }
    }

    async fn send(&self, shard: Shard, request: Request<'_>) -> Result<Value, Trouble> {
        match &self.kind {
            Kinds::Single(node) => node.ask(request).await,
            Kinds::Sentinel(watched) => watched.ask(&self.dialer, request).await,
            Kinds::Cluster(cluster) => cluster.ask(&self.dialer, shard, request).await,
        }
    }

    /// A connection on which the store's changes are heard: in a cluster, any server tells them all.
    pub(super) async fn listen(&self) -> Result<redis::aio::PubSub, Trouble> {
        let address = match &self.kind {
            Kinds::Single(node) => node.address.clone(),
            Kinds::Sentinel(watched) => watched.primary(&self.dialer).await?.address.clone(),
            Kinds::Cluster(cluster) => cluster.node(&self.dialer, 0).await?.address.clone(),
        };
        self.dialer.listen(&address).await
    }
}

/// A primary that sentinels watch over.
#[derive(Debug)]
struct Watched {
    sentinels: Vec<Node>,
    master: String,
    primary: tokio::sync::Mutex<Option<Arc<Node>>>,
}

impl Watched {
    async fn ask(&self, dialer: &Arc<Dialer>, request: Request<'_>) -> Result<Value, Trouble> {
        let node = self.primary(dialer).await?;
        let answer = node.ask(request).await;
        let lost = |trouble: &Trouble| trouble.kind == Kind::NotSent || trouble.spoils_connection();
        if !answer.as_ref().is_err_and(lost) {
            return answer;
        }
        self.forget(&node).await;
        match answer {
            // Perhaps there is a new primary by now.
            Err(Trouble { kind: Kind::NotSent, .. }) => {
                let node = self.primary(dialer).await?;
                let answer = node.ask(request).await;
                if answer.as_ref().is_err_and(lost) {
                    self.forget(&node).await;
                }
                answer
            }
            answer => answer,
        }
    }

    async fn forget(&self, node: &Arc<Node>) {
        let mut primary = self.primary.lock().await;
        if primary.as_ref().is_some_and(|known| Arc::ptr_eq(known, node)) {
            *primary = None;
        }
    }

    /// Whom most sentinels that answer name. Whether it is a primary shows when it is connected to.
    async fn primary(&self, dialer: &Arc<Dialer>) -> Result<Arc<Node>, Trouble> {
        let mut primary = self.primary.lock().await;
        if let Some(node) = &*primary {
            return Ok(Arc::clone(node));
        }
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let request = Request { command: &command, wait: None, asking: false };
        let asked: FuturesUnordered<_> =
            self.sentinels.iter().map(|sentinel| sentinel.ask(request)).collect();
        let mut votes: BTreeMap<Address, usize> = BTreeMap::new();
        let mut trouble = Trouble::new(Kind::NotSent, "no sentinel answers");
        for answer in gathered(asked).await {
            match answer.and_then(named) {
                Ok(Some(address)) => *votes.entry(address).or_default() += 1,
                Ok(None) => {
                    trouble = Trouble::new(
                        Kind::NotSent,
                        "the sentinels do not know the primary: see store.valkey.sentinel.master",
                    );
                }
                Err(refused) => trouble = refused,
            }
        }
        let Some((address, _)) = votes.into_iter().max_by_key(|(_, votes)| *votes) else {
            return Err(Trouble { kind: Kind::NotSent, ..trouble });
        };
        let node = Arc::new(Node::new(address, Arc::clone(dialer)));
        *primary = Some(Arc::clone(&node));
        Ok(node)
    }
}

fn named(answer: Value) -> Result<Option<Address>, Trouble> {
    if answer == Value::Nil {
        return Ok(None);
    }
    let mut parts = array(answer)?.into_iter();
    match (parts.next().map(text), parts.next().map(text)) {
        (Some(Ok(host)), Some(Ok(port))) => {
            let port = port.parse().map_err(|_| Trouble::not_understood())?;
            Ok(Some(Address::new(&host, port)))
        }
        _ => Err(Trouble::not_understood()),
    }
}

/// All answers, of which those that come long after the first useful one are not waited for.
async fn gathered<T>(
    mut asked: FuturesUnordered<impl Future<Output = Result<T, Trouble>>>,
) -> Vec<Result<T, Trouble>> {
    let mut answers = Vec::new();
    let mut until: Option<Instant> = None;
    loop {
        let next = match until {
            None => asked.next().await,
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                timeout(left, asked.next()).await.unwrap_or(None)
            }
        };
        let Some(answer) = next else { return answers };
        if answer.is_ok() && until.is_none() {
            until = Instant::now().checked_add(STRAGGLERS);
        }
        answers.push(answer);
    }
}

/// Which server has which slots, as far as we know.
#[derive(Debug)]
struct Cluster {
    seeds: Vec<Address>,
    slots: Vec<u16>,
    map: Mutex<Option<Arc<SlotMap>>>,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    learning: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct SlotMap {
    ranges: Vec<(RangeInclusive<u16>, Address)>,
    /// Of a cluster that serves all slots, and how often the cluster had changed by then.
    quality: (bool, u64),
}

impl SlotMap {
    fn of(&self, slot: u16) -> Option<&Address> {
        self.ranges.iter().find(|(range, _)| range.contains(&slot)).map(|(_, address)| address)
    }
}

impl Cluster {
    async fn ask(
        &self,
        dialer: &Arc<Dialer>,
        shard: Shard,
        mut request: Request<'_>,
    ) -> Result<Value, Trouble> {
        let mut node = self.node(dialer, shard).await?;
        let mut fresh = false;
        for _ in 0..REDIRECTIONS {
            let answer = node.ask(request).await;
            let Err(trouble) = &answer else { return answer };
            match &trouble.kind {
                Kind::Moved(address) => {
                    self.outdated();
                    node = self.known(dialer, address);
                    request.asking = false;
                }
                Kind::Ask(address) => {
                    node = self.known(dialer, address);
                    request.asking = true;
                }
                Kind::NotSent if !fresh => {
                    // Perhaps another server has the slot by now.
                    self.outdated();
                    fresh = true;
                    node = self.node(dialer, shard).await?;
                    request.asking = false;
                }
                _ => {
                    if trouble.kind == Kind::NotSent || trouble.spoils_connection() {
                        self.outdated();
                    }
                    return answer;
                }
            }
        }
        Err(Trouble::new(Kind::Refused, "the cluster redirects too often"))
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<Address, Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn map(&self) -> MutexGuard<'_, Option<Arc<SlotMap>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outdated(&self) {
        *self.map() = None;
    }

    fn known(&self, dialer: &Arc<Dialer>, address: &Address) -> Arc<Node> {
        let fresh = || Arc::new(Node::new(address.clone(), Arc::clone(dialer)));
        Arc::clone(self.nodes().entry(address.clone()).or_insert_with(fresh))
    }

    /// The server of a shard.
    async fn node(&self, dialer: &Arc<Dialer>, shard: Shard) -> Result<Arc<Node>, Trouble> {
        let map = self.learnt(dialer).await?;
        let address = self.slots.get(usize::from(shard)).and_then(|slot| map.of(*slot));
        address.map(|address| self.known(dialer, address)).ok_or_else(|| {
            self.outdated();
            Trouble::new(Kind::NotSent, "the cluster is down: not all slots are served")
        })
    }

    async fn learnt(&self, dialer: &Arc<Dialer>) -> Result<Arc<SlotMap>, Trouble> {
        let known = || self.map().clone();
        if let Some(map) = known() {
            return Ok(map);
        }
        let _learning = self.learning.lock().await;
        if let Some(map) = known() {
            return Ok(map);
        }
        let mut asked: BTreeSet<Address> = self.nodes().keys().cloned().collect();
        asked.extend(self.seeds.iter().cloned());
        let nodes: Vec<_> =
            asked.iter().take(ASKED).map(|address| self.known(dialer, address)).collect();
        let answers = gathered(nodes.iter().map(|node| describe(node)).collect()).await;
        let mut trouble = Trouble::new(Kind::NotSent, "no server of the cluster answers");
        let mut best: Option<SlotMap> = None;
        for answer in answers {
            match answer {
                Ok(map) if best.as_ref().is_none_or(|best| best.quality < map.quality) => {
                    best = Some(map);
                }
                Ok(_) => {}
                Err(refused) => trouble = refused,
            }
        }
        let map = Arc::new(best.ok_or(Trouble { kind: Kind::NotSent, ..trouble })?);
        // Servers that left the cluster need no connections.
        self.nodes().retain(|address, _| {
            self.seeds.contains(address) || map.ranges.iter().any(|(_, owner)| owner == address)
        });
        *self.map() = Some(Arc::clone(&map));
        Ok(map)
    }
}

/// What a server knows of its cluster.
async fn describe(node: &Node) -> Result<SlotMap, Trouble> {
    let ask = async |what: &str| {
        let mut command = redis::cmd("CLUSTER");
        command.arg(what);
        node.ask(Request { command: &command, wait: None, asking: false }).await
    };
    let info = text(ask("INFO").await?)?;
    let told = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let epoch = told("cluster_current_epoch:").and_then(|epoch| epoch.parse().ok());
    let quality = (told("cluster_state:") == Some("ok"), epoch.unwrap_or(0));
    let mut ranges = Vec::new();
    for range in array(ask("SLOTS").await?)? {
        let mut parts = array(range)?.into_iter();
        let (Some(first), Some(last), Some(owner)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Trouble::not_understood());
        };
        let mut owner = array(owner)?.into_iter();
        let host = match owner.next() {
            // The one that was asked.
            Some(Value::Nil) => String::new(),
            Some(host) => text(host)?,
            None => return Err(Trouble::not_understood()),
        };
        let host = match host.as_str() {
            "" => &node.address.host,
            // Its administrator has yet to set its name: these slots cannot be reached.
            "?" => continue,
            host => host,
        };
        let number = |value: Option<Value>| {
            value.and_then(|value| int(&value).ok()).and_then(|n| u16::try_from(n).ok())
        };
        match (number(Some(first)), number(Some(last)), number(owner.next())) {
            (Some(first), Some(last), Some(port)) => {
                ranges.push((first..=last, Address::new(host, port)));
            }
            _ => return Err(Trouble::not_understood()),
        }
    }
    Ok(SlotMap { ranges, quality })
}

/// Whom a store's settings expect to meet.
pub(super) const fn expected(cluster: bool) -> Expected {
    if cluster { Expected::ClusterNode } else { Expected::Primary }
}
