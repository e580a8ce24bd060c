//! Owns the tests of the store in PostgreSQL: the contract, several instances, crashes, standbys, TLS,
//! migrations, privileges. Each takes a database of a real server; without one they are skipped.

#[path = "../../../tests/launch/postgres.rs"]
mod launch;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use tokio::sync::broadcast::Receiver;

use self::{
    launch::PASSWORD,
    schema::{KNOWN, MIGRATIONS, Migration},
};
use super::*;
use crate::{
    clock::{Clock as _, SystemClock},
    config::{DatabaseHost, DatabaseTls, PemFile, Secret, TlsFiles},
    session::tests::contract::{self, at, record},
    tls::testing::{Authority, Leaf},
};

const OWNER: Owner = Owner::new([1; 16]);

fn key(byte: u8) -> StoreKey {
    StoreKey::new([byte; 32])
}

fn wide(number: u16) -> StoreKey {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    StoreKey::new(bytes)
}

/// A database of a server, empty.
struct Bed {
    server: Arc<launch::Postgres>,
    database: String,
}

impl Bed {
    /// On the shared server.
    fn new() -> Option<Self> {
        Some(Self::on(launch::shared()?))
    }

    /// On a server of its own, which may be killed.
    fn alone() -> Option<Self> {
        Some(Self::on(Arc::new(launch::Postgres::start()?)))
    }

    fn on(server: Arc<launch::Postgres>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let database = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.sql("postgres", &format!("CREATE DATABASE {database}"));
        Self { server, database }
    }

    fn settings(&self) -> Postgres {
        let directory = self.server.socket().to_owned();
        Postgres {
            hosts: vec![DatabaseHost::Socket { directory, port: self.server.port }],
            tls: None,
            require_channel_binding: false,
            database: self.database.clone(),
            user: "postgres".to_owned(),
            password: None,
            schema: "fapi_bff".to_owned(),
            migrate: Migrate::Start,
            connections: 10,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(4),
        }
    }

    async fn store(&self) -> Arc<PostgresStore> {
        ready(&self.settings()).await
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.database, sql)
    }

    fn tcp(&self, name: &str) -> DatabaseHost {
        DatabaseHost::Tcp { name: name.to_owned(), port: self.server.port }
    }
}

/// A store that has found its database and migrated it.
async fn ready(settings: &Postgres) -> Arc<PostgresStore> {
    let store = Arc::new(PostgresStore::new(settings).unwrap());
    soon(&store).await;
    store
}

/// Waits until the store answers.
async fn soon(store: &PostgresStore) {
    let mut last = None;
    for _ in 0..600 {
        match store.ping().await {
            Ok(()) => return,
            Err(unavailable) => last = Some(unavailable),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never available: {last:?}");
}

async fn granted(store: &PostgresStore, byte: u8, owner: Owner) -> Lease {
    match store.lease(&key(byte), owner, Duration::from_secs(3600)).await.unwrap() {
        Leased::Granted(lease) => *lease,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keeps_the_contract_of_stores() {
    let Some(bed) = Bed::new() else { return };
    contract::holds(bed.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_of_stores_with_a_single_connection() {
    let Some(bed) = Bed::new() else { return };
    let settings = Postgres { connections: 1, ..bed.settings() };
    contract::holds(ready(&settings).await).await;
}

/// Several instances: each lease, removal, ended session and consumed key goes to exactly one.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_instances_one_gets_each_thing() {
    let Some(bed) = Bed::new() else { return };
    let stores = [bed.store().await, bed.store().await, bed.store().await];
    for round in 0..20 {
        let key = wide(round);
        let _ = stores[0].create(&key, record(9000, &[50])).await.unwrap();
        let lease = |at: usize| {
            let store = &stores[at % 3];
            let owner = Owner::new([u8::try_from(at).unwrap(); 16]);
            async move { store.lease(&key, owner, Duration::from_secs(60)).await.unwrap() }
        };
        let leases: Vec<_> = join_all((0..9).map(lease))
            .await
            .into_iter()
            .filter_map(|leased| match leased {
                Leased::Granted(lease) => Some(lease),
                Leased::Held => None,
                Leased::Gone => panic!("gone"),
            })
            .collect();
        assert_eq!(leases.len(), 1);
        let fence = leases[0].fence;
        // The holder writes while the others log out and wait for it to be unchanged.
        let replace = stores[0].replace(&key, Version::FIRST, fence, vec![2], at(9000));
        let again = stores[1].replace(&key, Version::FIRST, fence, vec![3], at(9000));
        let (one, other) = tokio::join!(replace, again);
        let mut both = [one.unwrap(), other.unwrap()];
        both.sort_by_key(|replaced| *replaced == Replaced::Conflict);
        assert_eq!(both, [Replaced::Done(Version::new(2)), Replaced::Conflict]);
        let removals = (0..6).map(|at| {
            let store = &stores[at % 3];
            let condition = match at % 2 {
                0 => RemoveIf::Present,
                _ => RemoveIf::Unchanged(Version::new(2), fence),
            };
            async move { store.remove(&key, condition).await.unwrap() }
        });
        let removed = join_all(removals).await;
        let got = removed.iter().filter(|removed| matches!(removed, Removed::Done(_))).count();
        assert_eq!(got, 1, "{removed:?}");
        assert!(!removed.contains(&Removed::Changed), "unchanged, or absent: {removed:?}");
        let consumed = join_all((0..6).map(|at| stores[at % 3].consume_once(&key, self::at(1))));
        let first = consumed.await.into_iter().filter(|first| *first.as_ref().unwrap()).count();
        assert_eq!(first, 1);
    }
    // More than a batch each.
    let creations = (0..1700).map(|number| {
        let store = &stores[usize::from(number) % 3];
        async move {
            let created = store.create(&wide(number), record(1050, &[])).await;
            assert_eq!(created, Ok(Creation::Created));
        }
    });
    join_all(creations).await;
    let (one, two, three) = tokio::join!(
        stores[0].sweep(at(1050)),
        stores[1].sweep(at(1050)),
        stores[2].sweep(at(1050))
    );
    let swept = [one.unwrap(), two.unwrap(), three.unwrap()];
    let ended: u64 = swept.iter().flat_map(|swept| swept.ended.values()).sum();
    let consumed: u64 = swept.iter().map(|swept| swept.consumed).sum();
    assert_eq!((ended, consumed), (1700, 20));
    assert_eq!(stores[0].count().await, Ok(0));
}

/// A conditional write that waited for another one judges what that one left.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waited_judges_what_is_there_then() {
    let Some(bed) = Bed::new() else { return };
    let store = bed.store().await;
    for (meanwhile, removed, replaced, leased) in [
        (
            "UPDATE fapi_bff.session SET version = 2, fence = 9000000000000000",
            false,
            Replaced::Conflict,
            true,
        ),
        ("UPDATE fapi_bff.session SET fence = 9000000000000000", false, Replaced::Fenced, true),
        ("DELETE FROM fapi_bff.session", true, Replaced::Gone, false),
    ] {
        let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
        let fence = granted(&store, 1, OWNER).await.fence;
        let blocker = {
            let (server, database) = (Arc::clone(&bed.server), bed.database.clone());
            let sql = format!("BEGIN; {meanwhile}; SELECT pg_sleep(0.7); COMMIT");
            std::thread::spawn(move || server.sql(&database, &sql))
        };
        tokio::time::sleep(Duration::from_millis(250)).await;
        let (condition, it) = (RemoveIf::Unchanged(Version::FIRST, fence), key(1));
        let (one, two, three) = tokio::join!(
            store.remove(&it, condition),
            store.replace(&it, Version::FIRST, fence, vec![2], at(9000)),
            store.lease(&it, OWNER, Duration::from_secs(60)),
        );
        blocker.join().unwrap();
        assert_eq!(one.unwrap(), if removed { Removed::Absent } else { Removed::Changed });
        assert_eq!(two.unwrap(), replaced);
        match three.unwrap() {
            Leased::Granted(lease) => {
                assert!(leased && lease.fence == Fence::new(9_000_000_000_000_001));
            }
            other => assert!(!leased && other == Leased::Gone, "{other:?}"),
        }
        let _ = store.remove(&key(1), RemoveIf::Present).await.unwrap();
    }
}

/// SES-7.3: by the server's clock, whatever ours says.
#[tokio::test]
async fn nothing_is_loaded_that_is_long_past_its_end() {
    let Some(bed) = Bed::new() else { return };
    let store = bed.store().await;
    let now = SystemClock::new().now();
    for (byte, since) in [(1, 0), (2, 240), (3, 360)] {
        let record = StoredRecord { expires: now.plus(-since), ..record(0, &[50]) };
        let _ = store.create(&key(byte), record).await.unwrap();
    }
    assert!(store.load(&key(1)).await.unwrap().is_some(), "whoever opens it learns that it ended");
    assert!(store.load(&key(2)).await.unwrap().is_some());
    assert_eq!(store.load(&key(3)).await.unwrap(), None);
    assert_eq!(store.lease(&key(3), OWNER, Duration::from_secs(60)).await, Ok(Leased::Gone));
    assert_eq!(store.count().await, Ok(3), "until it is swept");
    assert_eq!(store.sweep(now).await.unwrap().ended.values().sum::<u64>(), 3);
}

/// Limits whose sum does not fit a number end nothing early and fail nothing.
#[tokio::test]
async fn the_largest_limits_are_kept() {
    let Some(bed) = Bed::new() else { return };
    let store = bed.store().await;
    let largest = UnixTime::new(i64::MAX);
    let record = StoredRecord { idle: i64::MAX, expires: largest, ..record(0, &[]) };
    assert_eq!(store.create(&key(1), record.clone()).await, Ok(Creation::Created));
    store.touch(&key(1), at(2000)).await.unwrap();
    let touched = StoredRecord { last_seen: at(2000), ..record };
    assert_eq!(store.load(&key(1)).await, Ok(Some(touched)));
    assert_eq!(store.sweep(at(1_000_000)).await, Ok(Swept::default()));
}

#[tokio::test]
async fn an_index_never_points_at_nothing() {
    let Some(bed) = Bed::new() else { return };
    let store = bed.store().await;
    let twice = StoredRecord { indexes: vec![key(50), key(50)], ..record(9000, &[]) };
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    let _ = store.create(&key(2), twice.clone()).await.unwrap();
    assert_eq!(store.load(&key(2)).await, Ok(Some(twice)));
    let _ = store.create(&key(3), record(1050, &[50, 51])).await.unwrap();
    assert_eq!(store.find(&key(50)).await.unwrap().len(), 3);
    // By a sweep, and by somebody who knows nothing of indexes.
    assert_eq!(store.sweep(at(1050)).await.unwrap().ended.len(), 1);
    bed.sql("DELETE FROM fapi_bff.session WHERE key = decode(repeat('02', 32), 'hex')");
    assert_eq!(store.find(&key(50)).await, Ok(vec![key(1)]));
    assert_eq!(bed.sql("SELECT count(*) FROM fapi_bff.session_index"), "1");
    // One that was forced in is not found either.
    bed.sql(
        "SET session_replication_role = replica; INSERT INTO fapi_bff.session_index
         VALUES (decode(repeat('32', 32), 'hex'), decode(repeat('09', 32), 'hex'))",
    );
    assert_eq!(store.find(&key(50)).await, Ok(vec![key(1)]));
}

/// Only a touch may be lost in a crash; nothing else sets its commit free.
#[tokio::test]
async fn only_activity_does_not_wait_for_the_disk() {
    let Some(bed) = Bed::new() else { return };
    let settings = Postgres { connections: 1, ..bed.settings() };
    let store = ready(&settings).await;
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    // A trigger sees each write's setting as it stands when the write is made.
    bed.sql(
        "CREATE TABLE public.seen (at text);
         CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
           $$BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END$$;
         CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON fapi_bff.session
           FOR EACH ROW EXECUTE FUNCTION public.note();",
    );
    let seen = || bed.sql("SELECT string_agg(at, ' ' ORDER BY ctid) FROM public.seen");
    store.touch(&key(1), at(1010)).await.unwrap();
    assert_eq!(seen(), "off");
    let _ = contract::overwrite(&*store, &key(1), Version::FIRST, vec![2], at(9000)).await;
    let _ = store.remove(&key(1), RemoveIf::Present).await.unwrap();
    assert_eq!(seen(), "off on on on", "a lease, a write, a removal");
}

/// Whether another instance listens already is seen by its hearing something.
async fn hears(teller: &PostgresStore, listener: &mut Receiver<Change>) {
    for _ in 0..200 {
        let _ = teller.mark(&key(9), at(1000), at(9000)).await;
        let news = tokio::time::timeout(Duration::from_millis(100), listener.recv()).await;
        if let Ok(Ok(news)) = news {
            assert_eq!(news, Change::Marked(key(9)));
            return;
        }
    }
    panic!("nothing was heard");
}

#[tokio::test]
async fn other_instances_hear_of_changes() {
    let Some(bed) = Bed::alone() else { return };
    let (one, two) = (bed.store().await, bed.store().await);
    let (mut ours, mut theirs) = (one.changes().unwrap(), two.changes().unwrap());
    hears(&one, &mut theirs).await;
    while theirs.try_recv().is_ok() {}
    let _ = one.create(&key(1), record(9000, &[])).await.unwrap();
    let _ = contract::overwrite(&*one, &key(1), Version::FIRST, vec![2], at(9000)).await;
    let stale = one.replace(&key(1), Version::FIRST, Fence::new(1), vec![3], at(1)).await;
    assert_eq!(stale, Ok(Replaced::Conflict));
    let kept = one.remove(&key(1), RemoveIf::NotSeenSince(at(0))).await;
    assert_eq!(kept, Ok(Removed::Changed));
    let _ = one.remove(&key(1), RemoveIf::Present).await.unwrap();
    let _ = one.create(&key(2), record(1050, &[])).await.unwrap();
    one.sweep(at(1050)).await.unwrap();
    one.mark(&key(3), at(1), at(2)).await.unwrap();
    for expected in [
        Change::Replaced(key(1)),
        Change::Removed(key(1)),
        Change::Removed(key(2)),
        Change::Marked(key(3)),
    ] {
        let news = tokio::time::timeout(Duration::from_secs(10), theirs.recv()).await;
        assert_eq!(news.unwrap().unwrap(), expected);
    }
    assert!(theirs.try_recv().is_err(), "what changed nothing is no news");
    assert!(ours.try_recv().is_err(), "our own changes are no news");
    bed.server.kill();
    bed.server.resume();
    soon(&one).await;
    hears(&one, &mut theirs).await;
}

/// Unavailable is never absent, every answer comes in time, and all is there again afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_unavailable_and_the_store_recovers() {
    let Some(bed) = Bed::alone() else { return };
    let store = bed.store().await;
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    let fence = granted(&store, 1, OWNER).await.fence;
    assert_eq!(store.consume_once(&key(2), at(9000)).await, Ok(true));
    bed.server.kill();
    let started = std::time::Instant::now();
    for _ in 0..3 {
        assert!(store.load(&key(1)).await.is_err());
        assert!(store.create(&key(3), record(9000, &[])).await.is_err());
        assert!(store.lease(&key(1), OWNER, Duration::from_secs(1)).await.is_err());
        assert!(store.release(&key(1), fence).await.is_err());
        assert!(store.replace(&key(1), Version::FIRST, fence, vec![], at(1)).await.is_err());
        assert!(store.touch(&key(1), at(1)).await.is_err());
        assert!(store.remove(&key(1), RemoveIf::Present).await.is_err());
        assert!(store.consume_once(&key(2), at(9000)).await.is_err());
        assert!(store.find(&key(50)).await.is_err());
        assert!(store.page(None, 10).await.is_err());
        assert!(store.mark(&key(1), at(1), at(1)).await.is_err());
        assert!(store.marks(&[key(1)]).await.is_err());
        assert!(store.sweep(at(0)).await.is_err());
        assert!(store.count().await.is_err());
        assert!(store.ping().await.is_err());
    }
    assert!(started.elapsed() < Duration::from_secs(20), "refused at once");
    bed.server.resume();
    soon(&store).await;
    assert_eq!(store.load(&key(1)).await, Ok(Some(record(9000, &[50]))));
    assert_eq!(store.consume_once(&key(2), at(9000)).await, Ok(false));
    let done = store.replace(&key(1), Version::FIRST, fence, vec![2], at(9000)).await;
    assert_eq!(done, Ok(Replaced::Done(Version::new(2))), "a lease outlives a crash");
}

/// A connection that the server closed while nobody used it costs nobody an answer.
#[tokio::test]
async fn connections_closed_by_the_server_are_replaced() {
    let Some(bed) = Bed::new() else { return };
    let store = bed.store().await;
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    for _ in 0..5 {
        bed.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        assert_eq!(store.load(&key(1)).await, Ok(Some(record(9000, &[]))));
    }
}

/// A server that accepts connections and says nothing keeps nobody waiting for ever, nor from the next.
#[tokio::test]
async fn silent_hosts_are_passed_over() {
    let Some(bed) = Bed::new() else { return };
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let second = Duration::from_secs(1);
    let mut settings = bed.settings();
    (settings.connect_timeout, settings.statement_timeout) = (second, second);
    let host = |port| DatabaseHost::Tcp { name: "127.0.0.1".to_owned(), port };
    let real = settings.hosts.clone();
    settings.hosts = vec![host(port)];
    let store = PostgresStore::new(&settings).unwrap();
    let started = std::time::Instant::now();
    assert!(store.load(&key(1)).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(6));
    settings.hosts = [vec![host(closed), host(port)], real].concat();
    let store = ready(&settings).await;
    assert_eq!(store.load(&key(1)).await, Ok(None));
}

/// A server stopped in its tracks keeps an operation no longer than the limits say.
#[tokio::test(flavor = "multi_thread")]
async fn locks_and_slow_statements_end_in_time() {
    let Some(bed) = Bed::new() else { return };
    let mut settings = bed.settings();
    settings.statement_timeout = Duration::from_secs(2);
    settings.lock_timeout = Duration::from_secs(1);
    let store = ready(&settings).await;
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    let blocker = {
        let (server, database) = (Arc::clone(&bed.server), bed.database.clone());
        let sql = "BEGIN; UPDATE fapi_bff.session SET idle = idle; SELECT pg_sleep(4); COMMIT";
        std::thread::spawn(move || server.sql(&database, sql))
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = std::time::Instant::now();
    let refused = store.remove(&key(1), RemoveIf::Present).await;
    assert_eq!(refused, Err(StoreUnavailable("the record stayed locked")));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(store.load(&key(1)).await.unwrap().is_some(), "reading waits for nobody");
    assert_eq!(store.sweep(at(9000)).await, Ok(Swept::default()), "nor does a sweep");
    blocker.join().unwrap();
    assert!(matches!(store.remove(&key(1), RemoveIf::Present).await, Ok(Removed::Done(_))));
}

/// A primary that turns into a standby is unavailable; so is one that never was a primary.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_is_unavailable() {
    let Some(bed) = Bed::alone() else { return };
    let store = bed.store().await;
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    bed.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", bed.database));
    bed.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fapi-bff'");
    for _ in 0..3 {
        assert!(store.load(&key(1)).await.is_err(), "it may be far behind");
        assert!(store.touch(&key(1), at(1010)).await.is_err());
        assert!(store.ping().await.is_err());
    }
    bed.server.sql(
        "postgres",
        &format!("ALTER DATABASE {} RESET default_transaction_read_only", bed.database),
    );
    soon(&store).await;
    assert!(store.load(&key(1)).await.unwrap().is_some());
}

/// A standby becomes the primary: the store finds it, with all that was durable. What need not be durable
/// waits for no standby, and what must be is never said to be done without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_nothing_that_was_answered() {
    let Some(bed) = Bed::alone() else { return };
    let standby = bed.server.standby();
    bed.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
    bed.sql("SELECT pg_reload_conf()");
    let mut settings = bed.settings();
    let second = Duration::from_secs(1);
    (settings.statement_timeout, settings.lock_timeout) = (second, second);
    settings.connect_timeout = second;
    // The standby first: it must be passed over as long as it is one.
    let there = DatabaseHost::Socket { directory: standby.socket().to_owned(), port: standby.port };
    settings.hosts.insert(0, there);
    let store = ready(&settings).await;
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    let fence = granted(&store, 1, OWNER).await.fence;

    standby.kill();
    let started = std::time::Instant::now();
    let unknown = store.create(&key(2), record(9000, &[])).await;
    assert_eq!(unknown, Err(StoreUnavailable("no answer in time")));
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    store.touch(&key(1), at(1010)).await.unwrap();
    assert!(store.ping().await.is_err(), "a durable write would not succeed now");
    standby.resume();
    soon(&store).await;

    bed.server.kill();
    assert!(store.load(&key(1)).await.is_err(), "a standby may be behind");
    standby.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
    standby.sql("postgres", "SELECT pg_promote()");
    soon(&store).await;
    let loaded = store.load(&key(1)).await.unwrap().unwrap();
    assert_eq!(loaded.indexes, [key(50)]);
    let done = store.replace(&key(1), Version::FIRST, fence, vec![2], at(9000)).await;
    assert_eq!(done, Ok(Replaced::Done(Version::new(2))));
}

/// FAPI2-SP-5.2.1-1, FAPI2-SP-5.2.1-5
#[tokio::test]
async fn tls_checks_who_the_server_is() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let certificate = authority.issue(&Leaf::new(&["localhost"]));
    let Some(server) = launch::Postgres::start() else { return };
    server.secret("server.crt", &certificate.certificate);
    server.secret("server.key", &certificate.key);
    server.secret("ca.crt", &authority.pem);
    let hba = "local all all trust\n\
               hostssl all by_certificate 127.0.0.1/32 cert\n\
               hostssl all all 127.0.0.1/32 scram-sha-256\n\
               hostssl all all ::1/128 scram-sha-256\n";
    std::fs::write(server.data().join("pg_hba.conf"), hba).unwrap();
    let file = |name: &str| server.socket().join(name).display().to_string();
    for sql in [
        format!("ALTER SYSTEM SET ssl_cert_file = '{}'", file("server.crt")),
        format!("ALTER SYSTEM SET ssl_key_file = '{}'", file("server.key")),
        format!("ALTER SYSTEM SET ssl_ca_file = '{}'", file("ca.crt")),
        "ALTER SYSTEM SET ssl = on".to_owned(),
        "CREATE ROLE by_certificate LOGIN".to_owned(),
        "GRANT ALL ON SCHEMA public TO by_certificate".to_owned(),
    ] {
        server.sql("postgres", &sql);
    }
    server.kill();
    server.resume();
    let bed = Bed::on(Arc::new(server));
    bed.sql(&format!("GRANT CREATE ON DATABASE {} TO by_certificate", bed.database));
    let pem = |text: &str| PemFile { path: PathBuf::new(), pem: text.as_bytes().to_vec() };
    let tls = |authority: &Authority| DatabaseTls {
        trust_roots: vec![pem(&authority.pem)],
        system_roots: false,
        identity: None,
    };
    let good = Postgres {
        hosts: vec![bed.tcp("localhost")],
        tls: Some(tls(&authority)),
        password: Some(Secret::new(PASSWORD.as_bytes().to_vec())),
        require_channel_binding: true,
        ..bed.settings()
    };
    let store = ready(&good).await;
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    let used = "SELECT count(*) > 0 AND bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a
                ON a.pid = s.pid WHERE a.application_name = 'fapi-bff'";
    assert_eq!(bed.sql(used), "t");
    drop(store);

    let fails = async |settings: Postgres, words: &str| {
        let store = PostgresStore::new(&settings).unwrap();
        assert_eq!(store.load(&key(1)).await, Err(StoreUnavailable("no server can be used")));
        let fault = PostgresStore::migrate(&settings).await.unwrap_err();
        assert_eq!(fault.reason(), "store.unreachable");
        let told = fault.to_string();
        assert!(told.contains(words), "{told}");
        assert!(!told.contains(PASSWORD), "{told}");
    };
    fails(Postgres { tls: Some(tls(&stranger)), ..good.clone() }, "invalid peer certificate").await;
    let by_address = vec![bed.tcp("127.0.0.1")];
    fails(Postgres { hosts: by_address, ..good.clone() }, "not valid for name").await;
    let wrong = Some(Secret::new(b"wrong".to_vec()));
    fails(Postgres { password: wrong, ..good.clone() }, "password authentication failed").await;
    let plain = Postgres { tls: None, require_channel_binding: false, ..good.clone() };
    fails(plain, "no encryption").await;

    // A client certificate instead of a password.
    let mut leaf = Leaf::new(&["client"]);
    leaf.params.distinguished_name.push(rcgen::DnType::CommonName, "by_certificate");
    let issued = authority.issue(&leaf);
    let with_identity = Postgres {
        user: "by_certificate".to_owned(),
        password: None,
        require_channel_binding: false,
        schema: "other".to_owned(),
        tls: Some(DatabaseTls {
            identity: Some(TlsFiles {
                certificate: PathBuf::new(),
                private_key: PathBuf::new(),
                certificate_pem: issued.certificate.into_bytes(),
                private_key_pem: Secret::new(issued.key.into_bytes()),
            }),
            ..tls(&authority)
        }),
        ..good.clone()
    };
    ready(&with_identity).await;
    let without = Postgres { tls: good.tls.clone(), ..with_identity };
    fails(without, "certificate").await;
}

#[tokio::test]
async fn a_server_without_tls_is_not_talked_to() {
    let Some(bed) = Bed::new() else { return };
    let authority = Authority::new();
    let trust_roots = vec![PemFile { path: PathBuf::new(), pem: authority.pem.clone().into() }];
    let settings = Postgres {
        hosts: vec![bed.tcp("localhost")],
        tls: Some(DatabaseTls { trust_roots, system_roots: false, identity: None }),
        password: Some(Secret::new(PASSWORD.as_bytes().to_vec())),
        ..bed.settings()
    };
    let told = PostgresStore::migrate(&settings).await.unwrap_err().to_string();
    assert!(told.contains("does not support TLS"), "{told}");
}

fn versions(bed: &Bed) -> String {
    bed.sql("SELECT string_agg(version::text, ' ' ORDER BY version) FROM fapi_bff.schema_version")
}

#[tokio::test(flavor = "multi_thread")]
async fn five_instances_that_start_at_once_migrate_once() {
    let Some(bed) = Bed::new() else { return };
    let stores = join_all((0..5).map(|_| bed.store())).await;
    assert_eq!(versions(&bed), "1");
    assert_eq!(stores.len(), 5);
    let Some(bed) = Bed::new() else { return };
    let settings = bed.settings();
    let outcomes = join_all((0..5).map(|_| PostgresStore::migrate(&settings))).await;
    let made = Migrated { from: 0, to: KNOWN };
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == made).count(), 1, "{outcomes:?}");
    let again = PostgresStore::migrate(&settings).await.unwrap();
    assert_eq!(again, Migrated { from: KNOWN, to: KNOWN });
    assert_eq!(versions(&bed), "1");
}

#[tokio::test]
async fn with_the_command_nothing_is_ready_until_it_ran() {
    let Some(bed) = Bed::new() else { return };
    let settings = Postgres { migrate: Migrate::Command, ..bed.settings() };
    let store = PostgresStore::new(&settings).unwrap();
    let refused = StoreUnavailable("the schema is not migrated: run `fapi-bff store migrate`");
    assert_eq!(store.ping().await, Err(refused));
    assert_eq!(store.load(&key(1)).await, Err(refused));
    let there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'fapi_bff'";
    assert_eq!(bed.sql(there), "0", "nobody made anything");
    assert_eq!(PostgresStore::migrate(&settings).await.unwrap().to, KNOWN);
    assert_eq!(store.ping().await, Ok(()), "without a restart");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let Some(bed) = Bed::new() else { return };
    let running = bed.store().await;
    bed.sql("INSERT INTO fapi_bff.schema_version (version, name) VALUES (2, 'to come')");
    for migrate in [Migrate::Start, Migrate::Command] {
        let settings = Postgres { migrate, ..bed.settings() };
        let store = PostgresStore::new(&settings).unwrap();
        let refused = Err(StoreUnavailable("the schema is newer than this program"));
        assert_eq!(store.ping().await, refused);
        let fault = PostgresStore::migrate(&settings).await.unwrap_err();
        assert_eq!(fault.reason(), "store.schema");
        assert!(fault.to_string().contains("has version 2, this program knows 1 only"), "{fault}");
    }
    assert_eq!(running.ping().await, Ok(()), "who is at work goes on");
    assert_eq!(versions(&bed), "1 2");
}

#[tokio::test]
async fn a_migration_that_fails_in_the_middle_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    let connector = Connector::new(&bed.settings()).unwrap();
    let (mut client, messages) = connector.connect(connect::Purpose::Migrate).await.unwrap();
    let _reader = connect::drain(messages);
    let broken = [
        MIGRATIONS[0],
        Migration {
            version: 2,
            name: "0002_broken",
            sql: "CREATE TABLE more (a int); INSERT INTO more VALUES (1 / 0)",
        },
    ];
    let fault = schema::migrate(&mut client, "fapi_bff", &broken).await.unwrap_err();
    assert_eq!(fault.reason(), "store.migration");
    let told = fault.to_string();
    assert!(told.contains("0002_broken") && told.contains("division by zero"), "{told}");
    let there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'fapi_bff'";
    assert_eq!(bed.sql(there), "0");
    // On top of what was there, likewise.
    let first = schema::migrate(&mut client, "fapi_bff", MIGRATIONS).await.unwrap();
    assert_eq!(first, Migrated { from: 0, to: 1 });
    schema::migrate(&mut client, "fapi_bff", &broken).await.unwrap_err();
    assert_eq!(versions(&bed), "1");
    assert_eq!(bed.sql("SELECT to_regclass('fapi_bff.more') IS NULL"), "t");
    let mended = [
        MIGRATIONS[0],
        Migration { version: 2, name: "0002_mended", sql: "CREATE TABLE more (a int)" },
    ];
    let second = schema::migrate(&mut client, "fapi_bff", &mended).await.unwrap();
    assert_eq!(second, Migrated { from: 1, to: 2 });
}

#[test]
fn migrations_are_numbered_in_order() {
    let numbers: Vec<_> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    assert_eq!(numbers, (1..=KNOWN).collect::<Vec<_>>());
    for migration in MIGRATIONS {
        assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
    }
}

/// The GRANTs of the documentation are enough, and a user without rights to create migrates nothing.
#[tokio::test]
async fn a_user_without_rights_to_create_anything_can_run_it() {
    let Some(bed) = Bed::new() else { return };
    let documentation = include_str!("../../../README.md");
    let grants: Vec<_> = documentation
        .lines()
        .filter(|line| line.starts_with("GRANT ") && line.contains("fapi_bff"))
        .collect();
    assert!(!grants.is_empty());
    let role = format!("bff_{}", bed.database);
    bed.sql(&format!("CREATE ROLE {role} LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC"));
    let settings = Postgres { user: role.clone(), ..bed.settings() };
    let store = PostgresStore::new(&settings).unwrap();
    let fault = PostgresStore::migrate(&settings).await.unwrap_err();
    assert!(fault.to_string().contains("permission denied"), "{fault}");
    assert!(store.ping().await.is_err());
    PostgresStore::migrate(&bed.settings()).await.unwrap();
    for grant in grants {
        bed.sql(&grant.replace("TO bff;", &format!("TO {role};")));
    }
    soon(&store).await;
    contract::holds(Arc::new(store)).await;
    let fault = bed.server.sql(
        &bed.database,
        &format!("SELECT has_schema_privilege('{role}', 'fapi_bff', 'CREATE')"),
    );
    assert_eq!(fault, "f");
}

/// SES-7.2.1-3: neither the database nor a message holds anything that opens a session.
#[tokio::test]
async fn a_dump_holds_no_secret() {
    use crate::{
        clock::Ambient,
        seal::ServerKey,
        session::{
            Identity, NewSession, Policy, Sessions, Tokens,
            tests::{Seen, identity, token},
        },
    };
    let Some(bed) = Bed::new() else { return };
    let settings =
        Postgres { password: Some(Secret::new(PASSWORD.as_bytes().to_vec())), ..bed.settings() };
    let store = ready(&settings).await;
    let sessions = Sessions::new(
        store.clone(),
        ServerKey::from_bytes([7; 32]),
        Duration::ZERO,
        Ambient::system(),
        Arc::new(Seen::default()),
    );
    let identity: Identity = identity();
    let new = NewSession {
        app: "shop".to_owned(),
        client: "client".to_owned(),
        identity,
        tokens: Tokens {
            access_token: token("access-0"),
            access_expires: None,
            refresh_token: Some(token("refresh-0")),
            id_token: Some(token("id-0")),
            key_seed: None,
            authorization_details: None,
            narrowed: Vec::new(),
            scope: "openid accounts".to_owned(),
        },
    };
    let policy = Policy { idle: 600, absolute: 3600, refresh_ahead: 30 };
    let (handle, _) = sessions.create(&policy, new).await.unwrap();
    assert!(sessions.consume_once(&[b"transaction-1"], UnixTime::new(i64::MAX)).await.unwrap());
    let dump = bed.server.dump(&bed.database);
    assert!(dump.contains("'shop'") && dump.contains("INSERT INTO fapi_bff.consumed"));
    let handle = handle.to_cookie_value();
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat();
    for secret in [
        handle.as_str(),
        "access-0",
        "refresh-0",
        "id-0",
        "subject-alice",
        "sid-1",
        "Alice Archer",
        "transaction-1",
        "nonce",
        "accounts",
    ] {
        assert!(!dump.contains(secret) && !dump.contains(&hex(secret)), "{secret}");
    }
    let shown = format!("{store:?} {settings:?}");
    assert!(!shown.contains(PASSWORD), "{shown}");
}

#[tokio::test]
async fn pages_go_on_where_they_ended() {
    let Some(bed) = Bed::new() else { return };
    let store = bed.store().await;
    for number in 0..50 {
        let _ = store.create(&wide(number), record(9000, &[])).await.unwrap();
    }
    let (mut seen, mut after, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let page = store.page(after, 10).await.unwrap();
        // What is created or removed meanwhile may or may not come; the others do, once.
        let _ = store.remove(&wide(49 - pages), RemoveIf::Present).await.unwrap();
        for listed in page.listed {
            assert!(seen.insert(listed.key));
        }
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!((0..44).all(|number| seen.contains(&wide(number))));
    assert!(store.page(None, 0).await.unwrap().listed.len() <= 1);
}
