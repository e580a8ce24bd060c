//! Owns the tests of the embedded store: the contract, restarts, failing disks, the file itself.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use redb::StorageBackend;

use super::*;
use crate::session::tests::contract::{self, at, record};

fn key(byte: u8) -> StoreKey {
    StoreKey::new([byte; 32])
}

#[tokio::test]
async fn keeps_the_contract_of_stores() {
    let directory = tempfile::tempdir().unwrap();
    contract::holds(Arc::new(EmbeddedStore::open(&directory.path().join("s")).unwrap())).await;
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let store = EmbeddedStore::open(&path).unwrap();
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    let second = b"second".to_vec();
    let _ = contract::overwrite(&store, &key(1), Version::FIRST, second, at(9000)).await;
    store.touch(&key(1), at(1010)).await.unwrap();
    store.mark(&key(3), at(1005), at(9000)).await.unwrap();
    assert!(store.consume_once(&key(2), at(9000)).await.unwrap());
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap();
    let loaded = store.load(&key(1)).await.unwrap().unwrap();
    assert_eq!((loaded.version, loaded.sealed.as_slice()), (Version::new(2), b"second".as_slice()));
    assert_eq!(loaded.last_seen, at(1010));
    assert_eq!(store.find(&key(50)).await.unwrap(), [key(1)]);
    assert!(!store.consume_once(&key(2), at(9000)).await.unwrap());
    assert_eq!(store.marks(&[key(3)]).await.unwrap(), [Some(at(1005))]);
}

#[tokio::test]
async fn many_writers_are_grouped_and_all_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(&directory.path().join("s")).unwrap());
    let writes: Vec<_> = (0..=255)
        .map(|byte| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.create(&key(byte), record(9000, &[7])).await })
        })
        .collect();
    for write in writes {
        assert_eq!(write.await.unwrap(), Ok(Creation::Created));
    }
    assert_eq!(store.count().await, Ok(256));
    assert_eq!(store.find(&key(7)).await.unwrap().len(), 256);
}

#[tokio::test]
async fn a_sweep_goes_on_beyond_one_stretch() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&directory.path().join("s")).unwrap();
    let wide = |number: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        StoreKey::new(bytes)
    };
    let creations = (0..3000).map(|number| {
        let store = &store;
        async move {
            let _ = store.create(&wide(number), record(9000, &[])).await.unwrap();
        }
    });
    futures_util::future::join_all(creations).await;
    store.touch(&wide(2999), at(1001)).await.unwrap();
    assert_eq!(store.sweep(at(1100)).await.unwrap().ended.values().sum::<u64>(), 2999);
    assert_eq!(store.count().await, Ok(1));
}

#[tokio::test]
async fn index_entries_that_point_at_nothing_are_swept() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&directory.path().join("s")).unwrap();
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    store.shared.read(|database| tables::plant_dangling(database, &key(50), &key(2))).unwrap();
    assert_eq!(store.sweep(at(1000)).await.unwrap().dangling, 1);
    assert_eq!(store.find(&key(50)).await.unwrap(), [key(1)]);
}

#[test]
fn a_second_user_of_the_file_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let _first = EmbeddedStore::open(&path).unwrap();
    let fault = EmbeddedStore::open(&path).unwrap_err();
    assert_eq!(fault.reason(), "store.in_use");
    assert!(fault.to_string().contains("another process"), "{fault}");
}

#[test]
fn another_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let store = EmbeddedStore::open(&path).unwrap();
    store.shared.read(|database| tables::plant_schema(database, 3)).unwrap();
    drop(store);
    assert_eq!(EmbeddedStore::open(&path).unwrap_err().reason(), "store.schema");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    std::fs::write(&path, "something else entirely, and long enough to be looked at").unwrap();
    assert_eq!(EmbeddedStore::open(&path).unwrap_err().reason(), "store.damaged");
    assert!(std::fs::read(&path).unwrap().starts_with(b"something else"));
    let missing = directory.path().join("no/such/place");
    assert_eq!(EmbeddedStore::open(&missing).unwrap_err().reason(), "store.file");
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    drop(EmbeddedStore::open(&path).unwrap());
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(EmbeddedStore::open(&path).unwrap());
    assert_eq!(mode(), 0o600);
}

/// A disk in memory that fails when told to and outlives the database on it.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    broken: Arc<AtomicBool>,
}

impl Disk {
    fn works(&self) -> Result<(), std::io::Error> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("disk full"));
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes.lock().unwrap()[start..start + out.len()]);
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.works()?;
        self.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.works()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.works()?;
        let start = usize::try_from(offset).unwrap();
        self.bytes.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[tokio::test]
async fn a_failing_disk_is_unavailable_and_the_store_recovers() {
    let disk = Disk::default();
    let mine = disk.clone();
    let store = EmbeddedStore::with_opener(Box::new(move || {
        let database = Database::builder()
            .create_with_backend(mine.clone())
            .map_err(|error| StoreFault::Damaged(error.into()))?;
        tables::prepare(&database)?;
        Ok(database)
    }))
    .unwrap();
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();

    disk.broken.store(true, Ordering::SeqCst);
    let writes = (2..20).map(|byte| {
        let store = &store;
        async move { store.create(&key(byte), record(9000, &[])).await }
    });
    for write in futures_util::future::join_all(writes).await {
        assert!(write.is_err(), "every waiting writer is told");
    }
    assert!(store.ping().await.is_err());
    assert!(store.remove(&key(1), RemoveIf::Present).await.is_err());
    assert!(!matches!(store.load(&key(1)).await, Ok(None)), "unavailable is never absent");

    disk.broken.store(false, Ordering::SeqCst);
    store.ping().await.unwrap();
    assert!(store.load(&key(1)).await.unwrap().is_some());
    assert!(store.load(&key(2)).await.unwrap().is_none(), "a write that failed did not happen");
    assert_eq!(store.create(&key(2), record(9000, &[])).await, Ok(Creation::Created));
}
