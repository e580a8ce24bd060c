//! A session store that fails on demand: unavailable is never absent.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use fapi_bff::{
    clock::UnixTime,
    session::{
        BoxFuture, EmbeddedStore, Store, StoreUnavailable,
        store::{
            Change, Creation, Cursor, Fence, Leased, Owner, Page, RemoveIf, Removed, Replaced,
            StoreKey, StoredRecord, Swept, Version,
        },
    },
};
use fapi_bff_conformance::{
    as_double::Endpoint,
    demo::browser::{Answer, Call},
};
use tempfile::TempDir;
use tokio::sync::broadcast;

use super::jar;
use crate::support::{Bed, Wish, soon};

/// A real store whose operations can be made to fail one by one.
#[derive(Debug)]
pub(crate) struct FlakyStore {
    inner: EmbeddedStore,
    failing: Mutex<BTreeSet<&'static str>>,
    _dir: TempDir,
}

impl FlakyStore {
    pub(crate) fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let inner = EmbeddedStore::open(&dir.path().join("flaky.redb")).unwrap();
        Arc::new(Self { inner, failing: Mutex::default(), _dir: dir })
    }

    pub(crate) fn fail(&self, operations: &[&'static str]) {
        self.failing.lock().unwrap().extend(operations);
    }

    pub(crate) fn heal(&self) {
        self.failing.lock().unwrap().clear();
    }

    fn maybe<'a, T: Send + 'a>(
        &self,
        operation: &'static str,
        real: BoxFuture<'a, Result<T, StoreUnavailable>>,
    ) -> BoxFuture<'a, Result<T, StoreUnavailable>> {
        if self.failing.lock().unwrap().contains(operation) {
            return Box::pin(std::future::ready(Err(StoreUnavailable("the test says so"))));
        }
        real
    }
}

type Answered<'a, T> = BoxFuture<'a, Result<T, StoreUnavailable>>;

impl Store for FlakyStore {
    fn create<'a>(&'a self, key: &'a StoreKey, record: StoredRecord) -> Answered<'a, Creation> {
        self.maybe("create", self.inner.create(key, record))
    }
    fn load<'a>(&'a self, key: &'a StoreKey) -> Answered<'a, Option<StoredRecord>> {
        self.maybe("load", self.inner.load(key))
    }
    fn lease<'a>(&'a self, key: &'a StoreKey, owner: Owner, ttl: Duration) -> Answered<'a, Leased> {
        self.maybe("lease", self.inner.lease(key, owner, ttl))
    }
    fn release<'a>(&'a self, key: &'a StoreKey, fence: Fence) -> Answered<'a, ()> {
        self.maybe("release", self.inner.release(key, fence))
    }
    fn replace<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        fence: Fence,
        sealed: Vec<u8>,
        expires: UnixTime,
    ) -> Answered<'a, Replaced> {
        self.maybe("replace", self.inner.replace(key, expected, fence, sealed, expires))
    }
    fn touch<'a>(&'a self, key: &'a StoreKey, last_seen: UnixTime) -> Answered<'a, ()> {
        self.maybe("touch", self.inner.touch(key, last_seen))
    }
    fn remove<'a>(&'a self, key: &'a StoreKey, condition: RemoveIf) -> Answered<'a, Removed> {
        self.maybe("remove", self.inner.remove(key, condition))
    }
    fn consume_once<'a>(&'a self, key: &'a StoreKey, expires: UnixTime) -> Answered<'a, bool> {
        self.maybe("consume_once", self.inner.consume_once(key, expires))
    }
    fn find<'a>(&'a self, index: &'a StoreKey) -> Answered<'a, Vec<StoreKey>> {
        self.maybe("find", self.inner.find(index))
    }
    fn page(&self, after: Option<Cursor>, limit: usize) -> Answered<'_, Page> {
        self.maybe("page", self.inner.page(after, limit))
    }
    fn mark<'a>(
        &'a self,
        key: &'a StoreKey,
        time: UnixTime,
        expires: UnixTime,
    ) -> Answered<'a, ()> {
        self.maybe("mark", self.inner.mark(key, time, expires))
    }
    fn marks<'a>(&'a self, keys: &'a [StoreKey]) -> Answered<'a, Vec<Option<UnixTime>>> {
        self.maybe("marks", self.inner.marks(keys))
    }
    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        self.inner.changes()
    }
    fn sweep(&self, now: UnixTime) -> Answered<'_, Swept> {
        self.maybe("sweep", self.inner.sweep(now))
    }
    fn count(&self) -> Answered<'_, u64> {
        self.maybe("count", self.inner.count())
    }
    fn ping(&self) -> Answered<'_, ()> {
        self.maybe("ping", self.inner.ping())
    }
}

async fn bed() -> (Bed, Arc<FlakyStore>) {
    let store = FlakyStore::new();
    let wish = Wish { store: Some(Arc::clone(&store) as Arc<dyn Store>), ..Wish::default() };
    (Bed::with(wish).await, store)
}

#[track_caller]
fn unavailable(answer: Answer) {
    let answer = answer.expect_refusal(503, "store_unavailable").unwrap();
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.cookies().is_empty(), "an outage touches no cookie");
}

/// A hiccup of the store logs nobody out, whatever is called meanwhile.
#[tokio::test]
async fn a_store_that_cannot_be_read_ends_no_session() {
    let (bed, store) = bed().await;
    let mut browser = bed.logged_in().await;
    let before = jar(&browser);
    store.fail(&["load"]);
    for call in [
        Call::get("/bff/session"),
        Call::get("/bff/userinfo"),
        Call::post("/bff/refresh"),
        Call::post("/bff/logout"),
        Call::get("/api/accounts"),
    ] {
        unavailable(browser.fetch(call).await.unwrap());
    }
    assert_eq!(jar(&browser), before);
    assert_eq!(bed.api.events().len(), 0);
    assert_eq!(bed.double.count(Endpoint::Revocation), 0);
    store.heal();
    assert!(bed.is_logged_in(&mut browser).await);
    browser.fetch(Call::get("/api/accounts")).await.unwrap().expect(200).unwrap();
    let failed = "fapi_bff_store_operations_total{operation=\"load\",outcome=\"unavailable\"";
    assert!(bed.metric(failed) >= 5.0);
}

/// A logout that did not happen is not reported as one.
#[tokio::test]
async fn a_logout_that_the_store_did_not_take_is_no_logout() {
    let (bed, store) = bed().await;
    let mut browser = bed.logged_in().await;
    store.fail(&["remove"]);
    unavailable(browser.fetch(Call::post("/bff/logout")).await.unwrap());
    assert!(bed.is_logged_in(&mut browser).await);
    store.heal();
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    assert!(!bed.is_logged_in(&mut browser).await);
}

/// The answer was not used up, so it can be brought again.
#[tokio::test]
async fn a_login_that_could_not_be_consumed_can_be_ended_later() {
    let (bed, store) = bed().await;
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    store.fail(&["consume_once"]);
    unavailable(bed.end(&mut browser, &query).await);
    assert_eq!(bed.double.count(Endpoint::Token), 0);
    assert_eq!(bed.last_audit("login.end"), ("failed".to_owned(), "store.unavailable".to_owned()));
    store.heal();
    bed.end(&mut browser, &query).await.expect(200).unwrap();
}

/// REV-2.1: tokens for a session that could not be kept are given up.
#[tokio::test]
async fn tokens_of_a_session_that_could_not_be_created_are_given_up() {
    let (bed, store) = bed().await;
    let mut browser = bed.browser();
    let query = bed.response(&mut browser).await;
    store.fail(&["create"]);
    unavailable(bed.end(&mut browser, &query).await);
    soon("revocations", bed.double.wait_for(Endpoint::Revocation, 2)).await;
    assert_eq!(bed.double.accepted(Endpoint::Revocation), 2);
    store.heal();
    bed.login(&mut browser).await;
}

/// FAPI2-SP-5.3.2.1-9: a successor that could not be stored is not lost: its predecessor may be dead.
#[tokio::test]
async fn refreshed_tokens_that_could_not_be_stored_are_stored_later() {
    let (bed, store) = bed().await;
    bed.double.behave(|as_| as_.rotate_refresh_tokens = true);
    let mut browser = bed.logged_in().await;
    store.fail(&["replace"]);
    unavailable(browser.fetch(Call::post("/bff/refresh")).await.unwrap());
    assert_eq!(bed.double.count(Endpoint::Token), 2);
    store.heal();
    browser.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
    assert_eq!(bed.double.count(Endpoint::Token), 2, "the tokens at hand, not others");
    browser.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
    assert_eq!(bed.double.accepted(Endpoint::Token), 3);
}

/// Traffic is sent elsewhere while the store is down, and comes back.
#[tokio::test]
async fn readiness_follows_the_store() {
    let (bed, store) = bed().await;
    bed.logged_in().await;
    assert_eq!(bed.admin("/readyz").await.0, 200);
    store.fail(&["ping"]);
    let (status, body) = bed.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains(r#"{"name":"session_store","ok":false"#), "{body}");
    assert_eq!(bed.admin("/healthz").await.0, 200, "a restart would not help");
    store.heal();
    assert_eq!(bed.admin("/readyz").await.0, 200);
}

/// Puts a record there that nobody can open.
pub(crate) async fn plant(store: &FlakyStore, number: u16, now: UnixTime) {
    let mut key = [0xee; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    let record = StoredRecord {
        version: Version::FIRST,
        app: "web".to_owned(),
        created: now,
        sealed: b"sealed".to_vec(),
        expires: now.plus(3600),
        idle: 600,
        last_seen: now,
        indexes: Vec::new(),
    };
    let created = store.create(&StoreKey::new(key), record).await.unwrap();
    assert_eq!(created, Creation::Created);
}
