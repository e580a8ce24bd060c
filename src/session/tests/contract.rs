//! Owns what every store must do, as one function that each store's tests run.

use std::sync::Arc;

use crate::{
    clock::UnixTime,
    session::store::{
        Creation, Expiry, RemoveIf, Removed, Replaced, Store, StoreKey, StoredRecord, Version,
    },
};

fn key(byte: u8) -> StoreKey {
    StoreKey::new([byte; 32])
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::new(seconds)
}

pub(crate) fn record(expires: i64, indexes: &[u8]) -> StoredRecord {
    StoredRecord {
        version: Version::FIRST,
        app: "shop".to_owned(),
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

async fn replaces_by_compare_and_set(store: &dyn Store) {
    let gone = store.replace(&key(1), Version::FIRST, vec![1], at(1)).await.unwrap();
    assert_eq!(gone, Replaced::Gone);
    assert_eq!(store.load(&key(1)).await.unwrap(), None, "never creates");
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    let done = store.replace(&key(1), Version::FIRST, b"second".to_vec(), at(8000)).await.unwrap();
    assert_eq!(done, Replaced::Done(Version::new(2)));
    for stale in [Version::FIRST, Version::new(3), Version::new(0)] {
        let conflict = store.replace(&key(1), stale, b"late".to_vec(), at(1)).await.unwrap();
        assert_eq!(conflict, Replaced::Conflict);
    }
    let expected = StoredRecord {
        version: Version::new(2),
        sealed: b"second".to_vec(),
        ..record(8000, &[50])
    };
    assert_eq!(store.load(&key(1)).await.unwrap(), Some(expected));
    assert_eq!(store.find(&key(50)).await.unwrap(), [key(1)], "indexes survive");
    clear(store, &[1]).await;
    let gone = store.replace(&key(1), Version::new(2), vec![1], at(1)).await.unwrap();
    assert_eq!(gone, Replaced::Gone, "a logout wins over a refresh");
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
    let _ = store.replace(&key(1), Version::FIRST, vec![2], at(9000)).await.unwrap();
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
    for fails in [RemoveIf::Version(Version::new(2)), RemoveIf::NotSeenSince(at(1004))] {
        assert_eq!(store.remove(&key(1), fails).await.unwrap(), Removed::Changed);
    }
    for holds in
        [RemoveIf::Version(Version::FIRST), RemoveIf::NotSeenSince(at(1000)), RemoveIf::Present]
    {
        clear(store, &[1]).await;
        let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
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
