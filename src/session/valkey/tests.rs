//! Owns the tests of the store in Valkey, against real servers.

#[path = "../../../tests/launch/valkey.rs"]
mod server;

mod clusters;
mod failures;
mod rivals;

use std::{sync::Arc, time::Duration};

use self::server::Server;
use super::*;
use crate::{
    clock::{Clock as _, SystemClock},
    config::PemFile,
    session::tests::contract::{self, at, record},
    tls::testing::{Authority, Leaf},
};

fn key(byte: u8) -> StoreKey {
    StoreKey::new([byte; 32])
}

fn here(port: u16) -> ServerAddress {
    ServerAddress { host: "127.0.0.1".to_owned(), port }
}

fn settings(servers: ValkeyServers) -> Valkey {
    Valkey {
        servers,
        tls: None,
        username: None,
        password: None,
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(2),
        wait_replicas: 0,
        key_prefix: "test".to_owned(),
    }
}

fn single(port: u16) -> Valkey {
    settings(ValkeyServers::Single(here(port)))
}

fn store(settings: &Valkey) -> ValkeyStore {
    ValkeyStore::new(settings).unwrap()
}

/// Tries until it works: how long it may take is the server's matter.
async fn in_the_end<T, E: std::fmt::Debug>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < until, "never: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn keeps_the_contract_of_stores() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    contract::holds(Arc::new(store(&single(server.port)))).await;
    let left = server.say("KEYS *");
    assert_eq!(left, "{test:00}:ping", "nothing is left behind");
}

fn pem(text: &str) -> PemFile {
    PemFile { path: "ca.pem".into(), pem: text.as_bytes().to_vec() }
}

fn files(issued: &crate::tls::testing::Issued) -> crate::config::TlsFiles {
    crate::config::TlsFiles {
        certificate: "x.crt".into(),
        private_key: "x.key".into(),
        certificate_pem: issued.certificate.as_bytes().to_vec(),
        private_key_pem: Secret::new(issued.key.as_bytes().to_vec()),
    }
}

/// FAPI2-SP-5.2.1-1, FAPI2-SP-5.2.1-5: TLS with the store's own roots, a certificate of ours, and a user
/// with no right but those that the README names.
#[tokio::test]
async fn speaks_tls_as_a_user_of_its_own_and_meets_nobody_else() {
    if !server::available() {
        return;
    }
    let authority = Authority::new();
    let leaf = authority.issue(&Leaf::new(&["localhost"]));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let port = server::free_port();
    let lines = [
        "port 0".to_owned(),
        format!("tls-port {port}"),
        format!("tls-ca-cert-file {}", file("ca.pem", &authority.pem)),
        format!("tls-cert-file {}", file("server.crt", &leaf.certificate)),
        format!("tls-key-file {}", file("server.key", &leaf.key)),
        "tls-auth-clients yes".to_owned(),
        "user default off".to_owned(),
        format!("user bff on >hunter22 {RIGHTS}"),
    ];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let _server = Server::run_on(port, &lines);

    let client = authority.issue(&Leaf::new(&["bff.example"]));
    let sound = Valkey {
        servers: ValkeyServers::Single(ServerAddress { host: "localhost".to_owned(), port }),
        tls: Some(ValkeyTls {
            trust_roots: vec![pem(&authority.pem)],
            system_roots: false,
            identity: Some(files(&client)),
        }),
        username: Some("bff".to_owned()),
        password: Some(Secret::new(b"hunter22".to_vec())),
        ..single(port)
    };
    let good = Arc::new(store(&sound));
    contract::holds(Arc::clone(&good) as Arc<dyn Store>).await;
    // Changes, too, are heard.
    let other = store(&sound);
    let mut changes = other.changes().unwrap();
    in_the_end(async || {
        good.mark(&key(1), at(1), at(9000)).await.unwrap();
        tokio::time::timeout(Duration::from_millis(200), changes.recv()).await
    })
    .await
    .unwrap();

    let refused = async |settings: Valkey, words: &str| {
        let StoreUnavailable(reason) = store(&settings).ping().await.unwrap_err();
        assert!(reason.contains(words), "{reason}");
    };
    let tls = |roots: &str, identity| {
        Some(ValkeyTls { trust_roots: vec![pem(roots)], system_roots: false, identity })
    };
    let stranger = Authority::new();
    let wrong = Some(Secret::new(b"hunter23".to_vec()));
    refused(Valkey { password: wrong, ..sound.clone() }, "other credentials").await;
    refused(Valkey { username: None, password: None, ..sound.clone() }, "other credentials").await;
    let unknown = Valkey { tls: tls(&stranger.pem, Some(files(&client))), ..sound.clone() };
    refused(unknown, "TLS").await;
    // TLS 1.3 tells of a certificate that is missing only when the first answer is read.
    refused(Valkey { tls: tls(&authority.pem, None), ..sound.clone() }, "the server").await;
    let other_name = ValkeyServers::Single(here(port));
    refused(Valkey { servers: other_name, ..sound.clone() }, "TLS").await;
    refused(Valkey { tls: None, ..sound.clone() }, "the server").await;
}

/// As in the README.
const RIGHTS: &str = "resetkeys ~{test:* resetchannels &test:changes -@all +evalsha +eval +info +wait +hmget +hget +hset +hdel +exists +del +set +pttl +pexpireat +sadd +srem +smembers +zadd +zrem +zcard +zscore +zrangebyscore +zrangebylex +time +publish +subscribe +ping +cluster|slots +cluster|info +asking";

/// Without TLS nothing leaves the host, wherever a name may lead.
#[tokio::test]
async fn plain_connections_go_to_loopback_addresses_only() {
    let elsewhere = ServerAddress { host: "192.0.2.1".to_owned(), port: 6379 };
    let store = store(&settings(ValkeyServers::Single(elsewhere)));
    let StoreUnavailable(reason) = store.ping().await.unwrap_err();
    assert!(reason.contains("write rediss://"), "{reason}");
}

/// All keys go by themselves, though not before a sweep had its time.
#[tokio::test]
async fn everything_in_the_server_has_an_end_beyond_its_own() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    let store = store(&single(server.port));
    let now = SystemClock::new().now().as_i64();
    let hour = UnixTime::new(now + 3600);
    let _ =
        store.create(&key(1), StoredRecord { expires: hour, ..record(0, &[50]) }).await.unwrap();
    store.mark(&key(2), UnixTime::new(now), hour).await.unwrap();
    assert!(store.consume_once(&key(3), hour).await.unwrap());
    let keys = server.say("KEYS *");
    assert_eq!(keys.lines().count(), 9, "{keys}");
    let (day, slack) = (86_400_000, 60_000);
    for name in keys.lines() {
        let left: i64 = server.say(&format!("PTTL {name}")).parse().unwrap();
        assert!((left - day - 3_600_000).abs() < slack, "{name}: {left}");
    }
    // What has passed already, by the server's clock, is kept for a day nevertheless: clocks differ.
    assert!(store.consume_once(&key(4), UnixTime::new(now - 7200)).await.unwrap());
    assert!(!store.consume_once(&key(4), UnixTime::new(now - 7200)).await.unwrap());
    let name = format!("{{test:04}}:c:{}", "04".repeat(32));
    let left: i64 = server.say(&format!("PTTL {name}")).parse().unwrap();
    assert!((left - day).abs() < slack, "{left}");

    // A life made longer takes its index entries along.
    let Leased::Granted(lease) =
        store.lease(&key(1), Owner::new([1; 16]), Duration::from_secs(9)).await.unwrap()
    else {
        panic!("no lease");
    };
    let later = UnixTime::new(now + 10 * 86_400);
    let done = store.replace(&key(1), Version::FIRST, lease.fence, vec![1], later).await.unwrap();
    assert_eq!(done, Replaced::Done(Version::new(2)));
    for name in
        [format!("{{test:01}}:r:{}", "01".repeat(32)), format!("{{test:32}}:i:{}", "32".repeat(32))]
    {
        let left: i64 = server.say(&format!("PTTL {name}")).parse().unwrap();
        assert!((left - 11 * day).abs() < slack, "{name}: {left}");
    }
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_told_again() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    for script in scripts::all() {
        let named = server.ask(&[b"SCRIPT", b"LOAD", script.source.as_bytes()]);
        assert_eq!(named, [script.sha1.as_bytes()]);
    }
    let store = store(&single(server.port));
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    let sealed = record(9000, &[50]).sealed;
    let disk = server.dump();
    assert!(disk.windows(sealed.len()).any(|part| part == sealed), "it is on the disk");
    assert_eq!(server.say("SCRIPT FLUSH"), "OK");
    assert!(matches!(store.remove(&key(1), RemoveIf::Present).await.unwrap(), Removed::Done(_)));
    assert_eq!(store.find(&key(50)).await.unwrap(), []);
}

/// SES-7.2.1-3: what the server keeps are names that are hashes, and what the caller sealed.
#[tokio::test]
async fn keys_are_separate_by_prefix() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    let ours = store(&single(server.port));
    let theirs = store(&Valkey { key_prefix: "other".to_owned(), ..single(server.port) });
    let _ = ours.create(&key(1), record(9000, &[50])).await.unwrap();
    assert_eq!(theirs.load(&key(1)).await.unwrap(), None);
    assert_eq!(theirs.find(&key(50)).await.unwrap(), []);
    assert_eq!(theirs.sweep(at(99_999)).await.unwrap(), Swept::default());
    assert_eq!(ours.count().await.unwrap(), 1);
}
