//! Owns what every store must do, as one function that each store's tests run.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    clock::UnixTime,
    session::store::{
        Creation, Expiry, Fence, Lease, Leased, Owner, RemoveIf, Removed, Replaced, Store,
        StoreKey, StoredRecord, Version,
    },
};

fn key(byte: u8) -> StoreKey {
    StoreKey::new([byte; 32])
}

/// Times of these tests begin here: a store that looks at a clock of its own must find them in the future.
const EPOCH: i64 = 4_000_000_000;

pub(crate) fn at(seconds: i64) -> UnixTime {
    UnixTime::new(EPOCH + seconds)
}

pub(crate) fn record(expires: i64, indexes: &[u8]) -> StoredRecord {
    StoredRecord {
        version: Version::FIRST,
        app: "shop".to_owned(),
        created: at(900),
        sealed: b"sealed".to_vec(),
        expires: at(expires),
        idle: 100,
        last_seen: at(1000),
        indexes: indexes.iter().map(|index| key(*index)).collect(),
    }
}

/// Everything a [`Store`] promises, on an empty one; leaves it empty.
pub(crate) async fn holds(store: Arc<dyn Store>) {
    creates_and_loads(&*store).await;
    replaces_by_compare_and_set(&*store).await;
    leases_to_one(&store).await;
    leases_end(&*store).await;
    fences_off_those_who_slept(&*store).await;
    lists_everything_once(&*store).await;
    marks_and_forgets(&*store).await;
    touches_forward_only(&*store).await;
    removes_on_condition(&*store).await;
    gives_each_removed_record_to_one(&store).await;
    consumes_once(&store).await;
    finds_by_index(&*store).await;
    sweeps(&*store).await;
    store.ping().await.unwrap();
    assert_eq!(store.count().await.unwrap(), 0);
}

async fn clear(store: &dyn Store, keys: &[u8]) {
    for byte in keys {
        let _ = store.remove(&key(*byte), RemoveIf::Present).await.unwrap();
    }
}

async fn creates_and_loads(store: &dyn Store) {
    assert_eq!(store.load(&key(1)).await.unwrap(), None);
    assert_eq!(store.create(&key(1), record(9000, &[50, 51])).await.unwrap(), Creation::Created);
    assert_eq!(store.load(&key(1)).await.unwrap(), Some(record(9000, &[50, 51])));
    assert_eq!(store.create(&key(1), record(1, &[])).await.unwrap(), Creation::AlreadyThere);
    assert_eq!(
        store.load(&key(1)).await.unwrap(),
        Some(record(9000, &[50, 51])),
        "never over another"
    );
    assert_eq!(store.count().await.unwrap(), 1);
    clear(store, &[1]).await;
}

const OWNER: Owner = Owner::new([1; 16]);
const RIVAL: Owner = Owner::new([2; 16]);
const LONG: Duration = Duration::from_secs(3600);

/// Writes over a record under a lease of its own.
pub(crate) async fn overwrite(
    store: &dyn Store,
    key: &StoreKey,
    expected: Version,
    sealed: Vec<u8>,
    expires: UnixTime,
) -> Replaced {
    let Leased::Granted(lease) = store.lease(key, OWNER, LONG).await.unwrap() else {
        panic!("no lease");
    };
    store.replace(key, expected, lease.fence, sealed, expires).await.unwrap()
}

async fn granted(store: &dyn Store, byte: u8, owner: Owner) -> Lease {
    match store.lease(&key(byte), owner, LONG).await.unwrap() {
        Leased::Granted(lease) => *lease,
        other => panic!("{other:?}"),
    }
}

async fn replaces_by_compare_and_set(store: &dyn Store) {
    let fence = Fence::new(1);
    let gone = store.replace(&key(1), Version::FIRST, fence, vec![1], at(1)).await.unwrap();
    assert_eq!(gone, Replaced::Gone);
    assert_eq!(store.load(&key(1)).await.unwrap(), None, "never creates");
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    for unleased in [Fence::new(1), Fence::new(7)] {
        let fenced = store.replace(&key(1), Version::FIRST, unleased, vec![1], at(1)).await;
        assert_eq!(fenced.unwrap(), Replaced::Fenced, "never without a lease");
    }
    let fence = granted(store, 1, OWNER).await.fence;
    let second = b"second".to_vec();
    let done = store.replace(&key(1), Version::FIRST, fence, second, at(8000)).await.unwrap();
    assert_eq!(done, Replaced::Done(Version::new(2)));
    for stale in [Version::FIRST, Version::new(3), Version::new(0)] {
        let conflict = store.replace(&key(1), stale, fence, b"late".to_vec(), at(1)).await;
        assert_eq!(conflict.unwrap(), Replaced::Conflict);
    }
    let expected = StoredRecord {
        version: Version::new(2),
        sealed: b"second".to_vec(),
        ..record(8000, &[50])
    };
    assert_eq!(store.load(&key(1)).await.unwrap(), Some(expected));
    assert_eq!(store.find(&key(50)).await.unwrap(), [key(1)], "indexes survive");
    let fence = granted(store, 1, OWNER).await.fence;
    clear(store, &[1]).await;
    let gone = store.replace(&key(1), Version::new(2), fence, vec![1], at(1)).await.unwrap();
    assert_eq!(gone, Replaced::Gone, "a logout wins over a refresh");
    store.release(&key(1), fence).await.unwrap();
    assert_eq!(store.load(&key(1)).await.unwrap(), None);
}

async fn leases_to_one(store: &Arc<dyn Store>) {
    assert_eq!(store.lease(&key(1), OWNER, LONG).await.unwrap(), Leased::Gone);
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    let attempts: Vec<_> = (10..30)
        .map(|byte| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                store.lease(&key(1), Owner::new([byte; 16]), LONG).await.unwrap()
            })
        })
        .collect();
    let mut fences = Vec::new();
    for attempt in attempts {
        match attempt.await.unwrap() {
            Leased::Granted(lease) => {
                assert_eq!(lease.record, record(9000, &[50]));
                assert!(!lease.abandoned);
                fences.push(lease.fence);
            }
            Leased::Held => {}
            Leased::Gone => panic!("gone"),
        }
    }
    assert_eq!(fences.len(), 1);
    clear(&**store, &[1]).await;
}

async fn leases_end(store: &dyn Store) {
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    let first = granted(store, 1, OWNER).await;
    assert_eq!(store.lease(&key(1), RIVAL, LONG).await.unwrap(), Leased::Held);
    let again = granted(store, 1, OWNER).await;
    assert!(again.fence > first.fence && !again.abandoned, "the same owner gets it again");
    store.release(&key(1), first.fence).await.unwrap();
    assert_eq!(store.lease(&key(1), RIVAL, LONG).await.unwrap(), Leased::Held, "an older fence");
    store.release(&key(1), again.fence).await.unwrap();
    let rival = granted(store, 1, RIVAL).await;
    assert!(rival.fence > again.fence && !rival.abandoned, "let go, not abandoned");
    let done = store.replace(&key(1), Version::FIRST, rival.fence, vec![2], at(9000)).await;
    assert_eq!(done.unwrap(), Replaced::Done(Version::new(2)));
    let after = granted(store, 1, OWNER).await;
    assert!(after.fence > rival.fence && !after.abandoned, "writing lets go");
    assert_eq!(after.record.version, Version::new(2), "the record as it is now");
    store.release(&key(1), after.fence).await.unwrap();
    let brief = Duration::from_millis(30);
    assert!(matches!(store.lease(&key(1), OWNER, brief).await.unwrap(), Leased::Granted(_)));
    let outlived = async || loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        match store.lease(&key(1), RIVAL, LONG).await.unwrap() {
            Leased::Granted(lease) => break lease,
            Leased::Held => {}
            Leased::Gone => panic!("gone"),
        }
    };
    assert!(outlived().await.abandoned, "nobody wrote nor let go");
    assert!(store.load(&key(1)).await.unwrap().is_some(), "its end takes nothing");
    clear(store, &[1]).await;
}

async fn fences_off_those_who_slept(store: &dyn Store) {
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    let slept = granted(store, 1, OWNER).await.fence;
    store.release(&key(1), slept).await.unwrap();
    let awake = granted(store, 1, RIVAL).await.fence;
    let late = store.replace(&key(1), Version::FIRST, slept, b"late".to_vec(), at(1)).await;
    assert_eq!(late.unwrap(), Replaced::Fenced);
    let removed = store.remove(&key(1), RemoveIf::Unchanged(Version::FIRST, slept)).await;
    assert_eq!(removed.unwrap(), Removed::Changed, "nor do they end a session");
    assert_eq!(store.lease(&key(1), OWNER, LONG).await.unwrap(), Leased::Held, "it still runs");
    let done = store.replace(&key(1), Version::FIRST, awake, b"won".to_vec(), at(9000)).await;
    assert_eq!(done.unwrap(), Replaced::Done(Version::new(2)));
    let late = store.replace(&key(1), Version::FIRST, slept, b"late".to_vec(), at(1)).await;
    assert_eq!(late.unwrap(), Replaced::Conflict);
    let removed = store.remove(&key(1), RemoveIf::Unchanged(Version::new(2), slept)).await;
    assert_eq!(removed.unwrap(), Removed::Changed);
    clear(store, &[1]).await;
}

async fn lists_everything_once(store: &dyn Store) {
    assert_eq!(store.page(None, 10).await.unwrap(), super::super::store::Page::default());
    for byte in 1..=25 {
        let _ = store.create(&key(byte), record(9000, &[50])).await.unwrap();
    }
    store.touch(&key(7), at(1050)).await.unwrap();
    store.ping().await.unwrap();
    let (mut seen, mut after) = (BTreeSet::new(), None);
    for _ in 0..1000 {
        let page = store.page(after, 10).await.unwrap();
        assert!(page.listed.len() <= 10);
        for listed in page.listed {
            let touched = if listed.key == key(7) { 1050 } else { 1000 };
            let told = (listed.app.as_str(), listed.created, listed.idle, listed.expires);
            assert_eq!(told, ("shop", at(900), 100, at(9000)));
            assert_eq!(listed.last_seen, at(touched));
            seen.insert(listed.key);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=25).map(key).collect());
    clear(store, &(1..=25).collect::<Vec<_>>()).await;
}

async fn marks_and_forgets(store: &dyn Store) {
    let keys = [key(1), key(2), key(3)];
    assert_eq!(store.marks(&keys).await.unwrap(), [None; 3]);
    assert_eq!(store.marks(&[]).await.unwrap(), []);
    store.mark(&key(1), at(1500), at(3000)).await.unwrap();
    store.mark(&key(3), at(1400), at(2000)).await.unwrap();
    assert_eq!(store.marks(&keys).await.unwrap(), [Some(at(1500)), None, Some(at(1400))]);
    store.mark(&key(1), at(1300), at(2500)).await.unwrap();
    store.mark(&key(3), at(1600), at(1900)).await.unwrap();
    let both = [Some(at(1500)), None, Some(at(1600))];
    assert_eq!(store.marks(&keys).await.unwrap(), both, "the later time stays");
    assert_eq!(store.sweep(at(1999)).await.unwrap().marks, 0, "and the later end");
    assert_eq!(store.sweep(at(2000)).await.unwrap().marks, 1);
    assert_eq!(store.marks(&keys).await.unwrap(), [Some(at(1500)), None, None]);
    assert_eq!(store.sweep(at(2999)).await.unwrap().marks, 0);
    assert_eq!(store.sweep(at(3000)).await.unwrap().marks, 1);
    assert_eq!(store.marks(&keys).await.unwrap(), [None; 3]);
    assert_eq!(store.count().await.unwrap(), 0, "a mark is no session");
}

async fn touches_forward_only(store: &dyn Store) {
    store.touch(&key(1), at(1500)).await.unwrap();
    assert_eq!(store.load(&key(1)).await.unwrap(), None, "never creates");
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    let seen = async || store.load(&key(1)).await.unwrap().unwrap().last_seen;
    store.touch(&key(1), at(1020)).await.unwrap();
    assert_eq!(seen().await, at(1020), "visible at once");
    store.ping().await.unwrap();
    store.touch(&key(1), at(1010)).await.unwrap();
    assert_eq!(seen().await, at(1020), "never back");
    store.ping().await.unwrap();
    assert_eq!(seen().await, at(1020));
    let fence = granted(store, 1, OWNER).await.fence;
    assert_eq!(seen().await, at(1020), "leasing keeps activity");
    let _ = store.replace(&key(1), Version::FIRST, fence, vec![2], at(9000)).await.unwrap();
    assert_eq!(seen().await, at(1020), "replacing keeps activity");
    assert_eq!(store.load(&key(1)).await.unwrap().unwrap().version, Version::new(2));
    clear(store, &[1]).await;
    store.touch(&key(1), at(1030)).await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.load(&key(1)).await.unwrap(), None);
}

async fn removes_on_condition(store: &dyn Store) {
    assert_eq!(store.remove(&key(1), RemoveIf::Present).await.unwrap(), Removed::Absent);
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    store.touch(&key(1), at(1005)).await.unwrap();
    let fence = granted(store, 1, OWNER).await.fence;
    for fails in [
        RemoveIf::Unchanged(Version::new(2), fence),
        RemoveIf::Unchanged(Version::FIRST, Fence::new(fence.as_u64() + 1)),
        RemoveIf::NotSeenSince(at(1004)),
    ] {
        assert_eq!(store.remove(&key(1), fails).await.unwrap(), Removed::Changed);
    }
    for which in 0..3 {
        clear(store, &[1]).await;
        let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
        let holds = match which {
            0 => RemoveIf::Unchanged(Version::FIRST, granted(store, 1, OWNER).await.fence),
            1 => RemoveIf::NotSeenSince(at(1000)),
            _ => RemoveIf::Present,
        };
        let removed = store.remove(&key(1), holds).await.unwrap();
        assert_eq!(removed, Removed::Done(Box::new(record(9000, &[50]))));
        assert_eq!(store.load(&key(1)).await.unwrap(), None);
        assert_eq!(store.find(&key(50)).await.unwrap(), []);
        assert_eq!(store.remove(&key(1), holds).await.unwrap(), Removed::Absent);
    }
}

async fn gives_each_removed_record_to_one(store: &Arc<dyn Store>) {
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    let removals: Vec<_> = (0..20)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.remove(&key(1), RemoveIf::Present).await.unwrap() })
        })
        .collect();
    let mut done = 0;
    for removal in removals {
        done += usize::from(removal.await.unwrap().into_record().is_some());
    }
    assert_eq!(done, 1);
}

async fn consumes_once(store: &Arc<dyn Store>) {
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.consume_once(&key(9), at(2000)).await.unwrap() })
        })
        .collect();
    let mut first = 0;
    for attempt in attempts {
        first += usize::from(attempt.await.unwrap());
    }
    assert_eq!(first, 1);
    assert!(store.consume_once(&key(8), at(2000)).await.unwrap());
    assert_eq!(store.sweep(at(1999)).await.unwrap().consumed, 0);
    assert!(!store.consume_once(&key(9), at(2000)).await.unwrap());
    assert_eq!(store.sweep(at(2000)).await.unwrap().consumed, 2);
    assert!(store.consume_once(&key(9), at(2000)).await.unwrap());
    assert_eq!(store.sweep(at(2000)).await.unwrap().consumed, 1);
}

async fn finds_by_index(store: &dyn Store) {
    for (byte, indexes) in [(1, [50, 51]), (2, [50, 52]), (3, [53, 54])] {
        let _ = store.create(&key(byte), record(9000, &indexes)).await.unwrap();
    }
    let mut found = store.find(&key(50)).await.unwrap();
    found.sort();
    assert_eq!(found, [key(1), key(2)], "a set, not a slot");
    assert_eq!(store.find(&key(51)).await.unwrap(), [key(1)]);
    assert_eq!(store.find(&key(55)).await.unwrap(), []);
    clear(store, &[1]).await;
    assert_eq!(store.find(&key(50)).await.unwrap(), [key(2)]);
    clear(store, &[2, 3]).await;
}

async fn sweeps(store: &dyn Store) {
    // Idle until 1100; 2 is touched, 3 ends absolutely before that.
    for (byte, expires) in [(1, 9000), (2, 9000), (3, 1050)] {
        let _ = store.create(&key(byte), record(expires, &[50])).await.unwrap();
    }
    store.touch(&key(2), at(1060)).await.unwrap();
    assert!(store.sweep(at(1049)).await.unwrap().ended.is_empty());
    let ended = store.sweep(at(1050)).await.unwrap().ended;
    assert_eq!(ended.into_iter().collect::<Vec<_>>(), [(("shop".to_owned(), Expiry::Absolute), 1)]);
    assert!(store.sweep(at(1099)).await.unwrap().ended.is_empty());
    let ended = store.sweep(at(1100)).await.unwrap().ended;
    assert_eq!(ended.into_iter().collect::<Vec<_>>(), [(("shop".to_owned(), Expiry::Idle), 1)]);
    assert_eq!(store.find(&key(50)).await.unwrap(), [key(2)]);
    assert!(store.sweep(at(1159)).await.unwrap().ended.is_empty());
    assert_eq!(store.sweep(at(1160)).await.unwrap().ended.len(), 1);
}
