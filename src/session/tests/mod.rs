//! Owns what the tests of sessions share: a house with a clock that stands still, an authorization server
//! that answers when told to, a store that fails when told to.

mod cache;
mod carried;
pub(super) mod contract;
mod faults;
mod life;
mod limit;
mod refresh;
mod rotation;
mod targets;

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Map, json};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore, broadcast};

use super::{
    store::{
        Change, Creation, Cursor, Fence, Leased, Owner, Page, RemoveIf, Removed, Replaced,
        StoreKey, StoredRecord, Swept,
    },
    *,
};
use crate::{
    clock::{ManualClock, SystemEntropy},
    protocol::{Continuity, Target, Token},
    seal::ServerKey,
};

pub(super) const START: UnixTime = UnixTime::new(1_800_000_000);
pub(super) const POLICY: Policy = Policy { idle: 600, absolute: 3600, refresh_ahead: 30 };
/// Life of an access token in these tests, in seconds.
pub(super) const ACCESS: i64 = 300;

pub(super) fn token(text: &str) -> Token {
    Token::new(text.to_owned())
}

pub(super) struct House {
    pub(super) sessions: Arc<Sessions>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Arc<FaultyStore>,
    pub(super) seen: Arc<Seen>,
    pub(super) server: Arc<Server>,
    pub(super) refresher: Arc<dyn Refresher>,
    pub(super) file: PathBuf,
    _directory: TempDir,
}

impl House {
    pub(super) fn new() -> Self {
        Self::remembering(Duration::ZERO)
    }

    /// One that serves sessions it read so long ago.
    pub(super) fn remembering(staleness: Duration) -> Self {
        Self::with(staleness, CarriedApps::new())
    }

    /// One whose browsers carry their sessions.
    pub(super) fn carrying(room: usize) -> Self {
        let by = CarriedBy { room, absolute: POLICY.absolute };
        Self::with(Duration::from_secs(1), CarriedApps::from([("shop".to_owned(), by)]))
    }

    fn with(staleness: Duration, by_browser: CarriedApps) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sessions");
        let store = Arc::new(FaultyStore::over(Arc::new(EmbeddedStore::open(&file).unwrap())));
        let clock = ManualClock::at(START);
        let ambient = Ambient { clock: clock.clone(), entropy: Arc::new(SystemEntropy::new()) };
        let seen = Arc::new(Seen::default());
        let server = Arc::new(Server::new(clock.clone()));
        let refresher: Arc<dyn Refresher> = server.clone();
        let sessions = Sessions::with_carried(
            store.clone(),
            ServerKey::from_bytes([7; 32]),
            staleness,
            ambient,
            seen.clone(),
            by_browser,
        );
        Self { sessions, clock, store, seen, server, refresher, file, _directory: directory }
    }

    /// Another instance over the same store; it shares nothing else.
    pub(super) fn neighbour(&self, staleness: Duration) -> Arc<Sessions> {
        Sessions::with_carried(
            self.store.clone(),
            ServerKey::from_bytes([7; 32]),
            staleness,
            self.sessions.ambient.clone(),
            Arc::new(Seen::default()),
            self.sessions.by_browser.clone(),
        )
    }

    pub(super) async fn login(&self) -> (Handle, Session) {
        self.login_with(Some("refresh-0")).await
    }

    pub(super) async fn login_with(&self, refresh_token: Option<&str>) -> (Handle, Session) {
        self.login_of(identity(), refresh_token).await
    }

    pub(super) async fn login_as(&self, identity: Identity) -> (Handle, Session) {
        self.login_of(identity, Some("refresh-0")).await
    }

    async fn login_of(&self, identity: Identity, refresh_token: Option<&str>) -> (Handle, Session) {
        let new = NewSession {
            app: "shop".to_owned(),
            client: "client".to_owned(),
            identity,
            tokens: Tokens {
                access_token: token("access-0"),
                access_expires: Some(self.sessions.ambient.now().plus(ACCESS)),
                refresh_token: refresh_token.map(token),
                id_token: Some(token("id-0")),
                key_seed: None,
                authorization_details: None,
                narrowed: Vec::new(),
                scope: "openid accounts".to_owned(),
            },
        };
        self.sessions.create(&POLICY, new).await.unwrap()
    }

    pub(super) async fn find(
        &self,
        handle: &Handle,
        activity: Activity,
    ) -> Result<Session, FindError> {
        self.sessions.find("shop", handle, &POLICY, activity).await
    }

    pub(super) async fn fresh(
        &self,
        session: Session,
        handle: &Handle,
    ) -> Result<Session, TokenTrouble> {
        self.sessions.fresh(session, handle, &POLICY, &self.refresher, None).await
    }

    pub(super) async fn refresh(&self, handle: &Handle, cause: Cause) -> RefreshOutcome {
        self.sessions.refresh("shop", handle, &POLICY, &self.refresher, cause, None).await
    }
}

pub(super) fn identity() -> Identity {
    let issuer = "https://as.example".to_owned();
    Identity {
        subject: Some("subject-alice".to_owned()),
        sid: Some("sid-1".to_owned()),
        acr: None,
        auth_time: Some(START),
        claims: Map::from_iter([("name".to_owned(), json!("Alice Archer"))]),
        continuity: Some(Continuity::restore(
            issuer.clone(),
            "subject-alice".to_owned(),
            "client".to_owned(),
            Some(START),
            None,
            "nonce".to_owned(),
        )),
        issuer,
    }
}

/// What the observer was told.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) refreshes: Mutex<Vec<&'static str>>,
    pub(super) ended: Mutex<Vec<(&'static str, u64)>>,
    pub(super) unreadable: AtomicUsize,
    pub(super) unknown_keys: AtomicUsize,
    pub(super) not_carried: Mutex<Vec<NotPacked>>,
    pub(super) abandoned: AtomicUsize,
    pub(super) remembered: AtomicUsize,
    pub(super) elsewhere: AtomicUsize,
    pub(super) unavailable: AtomicUsize,
}

impl Seen {
    pub(super) fn ends(&self) -> Vec<(&'static str, u64)> {
        self.ended.lock().unwrap().clone()
    }
}

impl Observer for Seen {
    fn refresh(&self, _: &str, _: &Pseudonym, outcome: &RefreshOutcome, _: f64) {
        self.refreshes.lock().unwrap().push(outcome.name());
    }
    fn lease_waited(&self, _: f64) {}
    fn lease_abandoned(&self, _: &str) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }
    fn session_started(&self, _: &Session) {}
    fn remembered(&self) {
        self.remembered.fetch_add(1, Ordering::SeqCst);
    }
    fn ended_elsewhere(&self, _: &Pseudonym) {
        self.elsewhere.fetch_add(1, Ordering::SeqCst);
    }
    fn session_ended(&self, _: &str, _: Option<&Pseudonym>, reason: &'static str, count: u64) {
        self.ended.lock().unwrap().push((reason, count));
    }
    fn store_operation(&self, _: &'static str, outcome: &'static str, _: f64) {
        if outcome == "unavailable" {
            self.unavailable.fetch_add(1, Ordering::SeqCst);
        }
    }
    fn not_carried(&self, _: &str, fault: NotPacked) {
        self.not_carried.lock().unwrap().push(fault);
    }
    fn unknown_key(&self, _: &str) {
        self.unknown_keys.fetch_add(1, Ordering::SeqCst);
    }
    fn unreadable(&self, _: &str) {
        self.unreadable.fetch_add(1, Ordering::SeqCst);
    }
}

/// An authorization server that revokes nothing, rotates always, and answers once let.
#[derive(Debug)]
pub(super) struct Server {
    clock: Arc<ManualClock>,
    pub(super) asked: AtomicUsize,
    /// One permit lets one request be answered.
    pub(super) gate: Semaphore,
    /// Told when a request has arrived.
    pub(super) arrived: Notify,
    pub(super) answers: Mutex<VecDeque<Result<RefreshedTokens, RefreshFailure>>>,
    pub(super) sent: Mutex<Vec<String>>,
    /// What each request was for.
    pub(super) targets: Mutex<Vec<Option<Target>>>,
    pub(super) discarded: Mutex<Vec<String>>,
    pub(super) discarding: Notify,
}

impl Server {
    fn new(clock: Arc<ManualClock>) -> Self {
        Self {
            clock,
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(1000),
            arrived: Notify::new(),
            answers: Mutex::default(),
            sent: Mutex::default(),
            targets: Mutex::default(),
            discarded: Mutex::default(),
            discarding: Notify::new(),
        }
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(super) fn will(&self, answer: Result<RefreshedTokens, RefreshFailure>) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// Requests wait from now on until a permit is added to the gate.
    pub(super) fn hold(&self) {
        self.gate.forget_permits(1000);
    }

    pub(super) fn tokens(&self, number: usize) -> RefreshedTokens {
        RefreshedTokens {
            access_token: token(&format!("access-{number}")),
            access_expires: Some(self.clock.now().plus(ACCESS)),
            refresh_token: Some(token(&format!("refresh-{number}"))),
            id_token: None,
            scope: "openid accounts".to_owned(),
            authorization_details: None,
        }
    }
}

use crate::clock::Clock as _;

impl Refresher for Server {
    fn refresh<'a>(
        &'a self,
        grant: RefreshGrant<'a>,
    ) -> BoxFuture<'a, Result<RefreshedTokens, RefreshFailure>> {
        Box::pin(async move {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.sent.lock().unwrap().push(grant.refresh_token.expose().to_owned());
            self.targets.lock().unwrap().push(grant.target.cloned());
            self.arrived.notify_one();
            self.gate.acquire().await.unwrap().forget();
            let answer = self.answers.lock().unwrap().pop_front();
            answer.unwrap_or_else(|| Ok(self.tokens(number)))
        })
    }

    fn discard(&self, tokens: RefreshedTokens) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.discarded.lock().unwrap().push(tokens.access_token.expose().to_owned());
            self.discarding.notify_one();
        })
    }
}

/// A store whose operations fail by name.
#[derive(Debug)]
pub(super) struct FaultyStore {
    pub(super) inner: Arc<dyn Store>,
    failing: Mutex<HashSet<&'static str>>,
    deaf: Mutex<HashSet<&'static str>>,
    /// What other instances tell, if there can be any.
    pub(super) told: Mutex<Option<broadcast::Sender<Change>>>,
}

impl FaultyStore {
    pub(super) fn over(inner: Arc<dyn Store>) -> Self {
        Self { inner, failing: Mutex::default(), deaf: Mutex::default(), told: Mutex::default() }
    }

    /// Other instances may share this store.
    pub(super) fn share(&self) -> broadcast::Sender<Change> {
        self.told.lock().unwrap().get_or_insert_with(|| broadcast::channel(4).0).clone()
    }

    pub(super) fn fail(&self, operation: &'static str) {
        self.failing.lock().unwrap().insert(operation);
    }

    /// It is done, and its answer lost.
    pub(super) fn deafen(&self, operation: &'static str) {
        self.deaf.lock().unwrap().insert(operation);
    }

    pub(super) fn heal(&self) {
        self.failing.lock().unwrap().clear();
        self.deaf.lock().unwrap().clear();
    }

    fn pass<'a, T: Send + 'a>(
        &'a self,
        operation: &'static str,
        answer: BoxFuture<'a, Result<T, StoreUnavailable>>,
    ) -> BoxFuture<'a, Result<T, StoreUnavailable>> {
        if self.failing.lock().unwrap().contains(operation) {
            return Box::pin(async { Err(StoreUnavailable("told to fail")) });
        }
        if self.deaf.lock().unwrap().contains(operation) {
            return Box::pin(async {
                answer.await.and(Err(StoreUnavailable("told to lose the answer")))
            });
        }
        answer
    }
}

type Reply<'a, T> = BoxFuture<'a, Result<T, StoreUnavailable>>;

impl Store for FaultyStore {
    fn create<'a>(&'a self, key: &'a StoreKey, record: StoredRecord) -> Reply<'a, Creation> {
        self.pass("create", self.inner.create(key, record))
    }
    fn load<'a>(&'a self, key: &'a StoreKey) -> Reply<'a, Option<StoredRecord>> {
        self.pass("load", self.inner.load(key))
    }
    fn lease<'a>(&'a self, key: &'a StoreKey, owner: Owner, ttl: Duration) -> Reply<'a, Leased> {
        self.pass("lease", self.inner.lease(key, owner, ttl))
    }
    fn release<'a>(&'a self, key: &'a StoreKey, fence: Fence) -> Reply<'a, ()> {
        self.pass("release", self.inner.release(key, fence))
    }
    fn replace<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        fence: Fence,
        sealed: Vec<u8>,
        expires: UnixTime,
    ) -> Reply<'a, Replaced> {
        self.pass("replace", self.inner.replace(key, expected, fence, sealed, expires))
    }
    fn touch<'a>(&'a self, key: &'a StoreKey, last_seen: UnixTime) -> Reply<'a, ()> {
        self.pass("touch", self.inner.touch(key, last_seen))
    }
    fn remove<'a>(&'a self, key: &'a StoreKey, condition: RemoveIf) -> Reply<'a, Removed> {
        self.pass("remove", self.inner.remove(key, condition))
    }
    fn consume_once<'a>(&'a self, key: &'a StoreKey, expires: UnixTime) -> Reply<'a, bool> {
        self.pass("consume_once", self.inner.consume_once(key, expires))
    }
    fn find<'a>(&'a self, index: &'a StoreKey) -> Reply<'a, Vec<StoreKey>> {
        self.pass("find", self.inner.find(index))
    }
    fn page(&self, after: Option<Cursor>, limit: usize) -> Reply<'_, Page> {
        self.pass("page", self.inner.page(after, limit))
    }
    fn mark<'a>(&'a self, key: &'a StoreKey, time: UnixTime, expires: UnixTime) -> Reply<'a, ()> {
        self.pass("mark", self.inner.mark(key, time, expires))
    }
    fn marks<'a>(&'a self, keys: &'a [StoreKey]) -> Reply<'a, Vec<Option<UnixTime>>> {
        self.pass("marks", self.inner.marks(keys))
    }
    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        self.told.lock().unwrap().as_ref().map(broadcast::Sender::subscribe)
    }
    fn sweep(&self, now: UnixTime) -> Reply<'_, Swept> {
        self.pass("sweep", self.inner.sweep(now))
    }
    fn count(&self) -> Reply<'_, u64> {
        self.pass("count", self.inner.count())
    }
    fn ping(&self) -> Reply<'_, ()> {
        self.pass("ping", self.inner.ping())
    }
}
