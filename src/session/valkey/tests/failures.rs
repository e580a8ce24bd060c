//! Servers that are away, die, hang, refuse or are not what they should be: unavailable is never absent.

use std::sync::atomic::AtomicUsize;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

/// Every operation, and that each is unavailable.
async fn nothing_answers(store: &ValkeyStore) {
    let fence = Fence::new(1);
    let started = Instant::now();
    assert!(store.load(&key(1)).await.is_err());
    assert!(store.create(&key(2), record(9000, &[50])).await.is_err());
    assert!(store.lease(&key(1), Owner::new([1; 16]), Duration::from_secs(9)).await.is_err());
    assert!(store.release(&key(1), fence).await.is_err());
    assert!(store.replace(&key(1), Version::FIRST, fence, vec![1], at(1)).await.is_err());
    assert!(store.touch(&key(1), at(1)).await.is_err());
    assert!(store.remove(&key(1), RemoveIf::Present).await.is_err());
    assert!(store.consume_once(&key(1), at(1)).await.is_err());
    assert!(store.find(&key(50)).await.is_err());
    assert!(store.page(None, 10).await.is_err());
    assert!(store.mark(&key(1), at(1), at(2)).await.is_err());
    assert!(store.marks(&[key(1)]).await.is_err());
    assert!(store.sweep(at(1)).await.is_err());
    assert!(store.count().await.is_err());
    assert!(store.ping().await.is_err());
    assert!(started.elapsed() < store.shared.limit * 16, "each in time");
}

#[tokio::test]
async fn a_server_that_comes_late_dies_and_returns_needs_no_restart_of_ours() {
    if !server::available() {
        return;
    }
    let mut server = Server::prepare(server::free_port(), &[]);
    let store = store(&single(server.port));
    nothing_answers(&store).await;
    server.start();
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    assert!(store.consume_once(&key(3), at(9000)).await.unwrap());
    for _ in 0..2 {
        server.kill();
        nothing_answers(&store).await;
        server.start();
        in_the_end(async || store.ping().await).await;
        assert_eq!(store.load(&key(1)).await.unwrap(), Some(record(9000, &[50])));
        assert_eq!(store.load(&key(2)).await.unwrap(), None, "nothing was sent");
        assert_eq!(store.find(&key(50)).await.unwrap(), [key(1)]);
        assert!(!store.consume_once(&key(3), at(9000)).await.unwrap());
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_unavailable_in_time_and_taken_up_again() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    let second = Duration::from_secs(1);
    let store =
        store(&Valkey { connect_timeout: second, response_timeout: second, ..single(server.port) });
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    server.signal("STOP");
    let started = Instant::now();
    let wanted = key(1);
    let all = (0..50).map(|_| store.load(&wanted));
    for answer in futures_util::future::join_all(all).await {
        assert!(answer.is_err());
    }
    assert!(started.elapsed() < second * 3, "{:?}", started.elapsed());
    server.signal("CONT");
    in_the_end(async || store.ping().await).await;
    assert_eq!(store.load(&key(1)).await.unwrap(), Some(record(9000, &[])));
}

/// Hands requests on to a server, and answers back only as long as it is told to.
async fn swallower(server: u16, swallow: Arc<AtomicBool>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let swallow = Arc::clone(&swallow);
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                });
                let mut buffer = vec![0; 65536];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    if swallow.load(Ordering::SeqCst) {
                        // The answer, and with it the connection, is lost.
                        return;
                    }
                    to_client.write_all(&buffer[..read]).await.unwrap();
                }
            });
        }
    });
    (port, connections)
}

/// What may have happened is not done a second time: it is unknown, and told so.
#[tokio::test]
async fn nothing_is_sent_again_whose_answer_was_lost() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    let swallow = Arc::new(AtomicBool::new(false));
    let (port, connections) = swallower(server.port, Arc::clone(&swallow)).await;
    let store = store(&single(port));
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    let _ = store.remove(&key(8), RemoveIf::Present).await.unwrap();
    assert!(store.consume_once(&key(8), at(9000)).await.unwrap());
    let calls = || {
        let stats = server.say("INFO commandstats");
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
        let calls = line.split(['=', ',']).nth(1).unwrap();
        calls.parse::<u64>().unwrap()
    };
    let (before, met) = (calls(), connections.load(Ordering::SeqCst));
    swallow.store(true, Ordering::SeqCst);
    assert!(store.create(&key(2), record(9000, &[])).await.is_err());
    swallow.store(false, Ordering::SeqCst);
    store.count().await.unwrap();
    swallow.store(true, Ordering::SeqCst);
    assert!(store.remove(&key(1), RemoveIf::Present).await.is_err());
    swallow.store(false, Ordering::SeqCst);
    store.count().await.unwrap();
    swallow.store(true, Ordering::SeqCst);
    assert!(store.consume_once(&key(3), at(9000)).await.is_err());
    swallow.store(false, Ordering::SeqCst);
    store.count().await.unwrap();
    assert_eq!(calls() - before, 3, "each was sent once");
    assert!(connections.load(Ordering::SeqCst) >= met + 3);
    // All three happened. Nobody got the removed record, and nobody else will.
    assert_eq!(store.load(&key(2)).await.unwrap(), Some(record(9000, &[])));
    let again = store.remove(&key(1), RemoveIf::Present).await.unwrap();
    assert_eq!(again, Removed::Absent);
    assert!(!store.consume_once(&key(3), at(9000)).await.unwrap());
}

async fn refusal(settings: &Valkey) -> &'static str {
    let store = store(settings);
    nothing_answers(&store).await;
    let StoreUnavailable(reason) = store.ping().await.unwrap_err();
    reason
}

#[tokio::test]
async fn servers_that_may_not_keep_sessions_are_refused_with_words_that_help() {
    if !server::available() {
        return;
    }
    let evicts = Server::run(&["maxmemory-policy allkeys-lru"]);
    assert!(refusal(&single(evicts.port)).await.contains("noeviction"));
    let primary = Server::run(&[]);
    let replica = Server::run(&[&format!("replicaof 127.0.0.1 {}", primary.port)]);
    assert!(refusal(&single(replica.port)).await.contains("replica"));
    let bus = format!("cluster-port {}", server::free_port());
    let node = Server::run(&["cluster-enabled yes", &bus]);
    assert!(refusal(&single(node.port)).await.contains("store.valkey.cluster = true"));
    let clustered = settings(ValkeyServers::Cluster(vec![here(primary.port)]));
    assert!(refusal(&clustered).await.contains("remove store.valkey.cluster"));
    // A node of a cluster that has yet to be put together.
    let alone = settings(ValkeyServers::Cluster(vec![here(node.port)]));
    assert!(refusal(&alone).await.contains("not all slots"));
    let secured = Server::run(&["requirepass hunter22"]);
    assert!(refusal(&single(secured.port)).await.contains("credentials"));
    let right =
        Valkey { password: Some(Secret::new(b"hunter22".to_vec())), ..single(secured.port) };
    store(&right).ping().await.unwrap();
    let wrong =
        Valkey { password: Some(Secret::new(b"hunter23".to_vec())), ..single(secured.port) };
    assert!(refusal(&wrong).await.contains("credentials"));
    // Something that answers, but is no server of this kind.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    refusal(&single(port)).await;
}

/// What a server says for a while is unavailable for that while.
#[tokio::test]
async fn refusals_that_pass_are_outlived() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    let store = store(&single(server.port));
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    for (sets, resets, words) in [
        (
            "CONFIG SET min-replicas-to-write 1",
            "CONFIG SET min-replicas-to-write 0",
            "min-replicas",
        ),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "out of memory"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "replica"),
    ] {
        assert_eq!(server.say(sets), "OK");
        let StoreUnavailable(reason) =
            store.create(&key(2), record(9000, &[50])).await.unwrap_err();
        assert!(reason.contains(words), "{reason}");
        assert!(store.ping().await.is_err(), "not ready");
        assert!(
            store.remove(&key(1), RemoveIf::Present).await.is_err() || words == "out of memory"
        );
        assert_eq!(server.say(resets), "OK");
        in_the_end(async || store.ping().await).await;
        let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
        assert_eq!(store.load(&key(1)).await.unwrap(), Some(record(9000, &[50])));
    }
    // Whoever else writes under our names is found out, not believed.
    let name = format!("{{test:07}}:r:{}", "07".repeat(32));
    server.say(&format!("SET {name} x"));
    assert!(store.load(&key(7)).await.is_err());
    server.say(&format!("DEL {name}"));
    server.say(&format!("HSET {name} v one a shop"));
    let StoreUnavailable(reason) = store.load(&key(7)).await.unwrap_err();
    assert!(reason.contains("not understood"), "{reason}");
}

/// Writes that must not be lost wait for replicas; reads do not.
#[tokio::test]
async fn too_few_replicas_are_unavailable_in_time() {
    if !server::available() {
        return;
    }
    let primary = Server::run(&["repl-diskless-sync-delay 0"]);
    let second = Duration::from_secs(1);
    let store =
        store(&Valkey { wait_replicas: 1, response_timeout: second, ..single(primary.port) });
    let StoreUnavailable(reason) = store.create(&key(1), record(9000, &[])).await.unwrap_err();
    assert!(reason.contains("wait_replicas"), "{reason}");
    assert!(store.ping().await.is_err(), "not ready");
    assert!(!store.consume_once(&key(1), at(9000)).await.is_ok_and(|first| first));
    // It may have happened, and here it has.
    assert!(store.load(&key(1)).await.unwrap().is_some());
    let replica = Server::run(&[&format!("replicaof 127.0.0.1 {}", primary.port)]);
    primary.wait_for("INFO replication", "state=online");
    in_the_end(async || store.ping().await).await;
    assert_eq!(store.create(&key(2), record(9000, &[50])).await.unwrap(), Creation::Created);
    assert_eq!(replica.say(&format!("EXISTS {{test:02}}:r:{}", "02".repeat(32))), "1");
    assert_eq!(replica.say(&format!("EXISTS {{test:32}}:i:{}", "32".repeat(32))), "1");
    drop(replica);
    in_the_end(async || match store.remove(&key(2), RemoveIf::Present).await {
        Err(_) => Ok(()),
        Ok(removed) => Err(removed),
    })
    .await;
}

/// The primary dies; its replica takes over, and so do we.
#[tokio::test]
async fn a_failover_by_sentinels_is_followed() {
    if !server::available() {
        return;
    }
    let mut primary =
        Server::run(&["repl-diskless-sync-delay 0", "requirepass hunter22", "masterauth hunter22"]);
    let replica = Server::run(&[
        &format!("replicaof 127.0.0.1 {}", primary.port),
        "requirepass hunter22",
        "masterauth hunter22",
    ]);
    let sentinels: Vec<_> = (0..3)
        .map(|_| {
            Server::sentinel(
                primary.port,
                2,
                &["sentinel auth-pass sessions hunter22", "requirepass watcher22"],
            )
        })
        .collect();
    let password = |text: &str| Some(Secret::new(text.as_bytes().to_vec()));
    let watched = |ports: Vec<u16>, master: &str| {
        let servers = ValkeyServers::Sentinel {
            sentinels: ports.into_iter().map(here).collect(),
            master: master.to_owned(),
            username: None,
            password: password("watcher22"),
        };
        Valkey { password: password("hunter22"), wait_replicas: 0, ..settings(servers) }
    };
    let mut ports: Vec<_> = sentinels.iter().map(|sentinel| sentinel.port).collect();
    // One that is not there harms nobody.
    ports.push(server::free_port());
    let followed = store(&watched(ports.clone(), "sessions"));
    let _ = followed.create(&key(1), record(9000, &[50])).await.unwrap();
    contract_in_short(&followed).await;
    assert!(refusal(&watched(ports, "nobody")).await.contains("sentinel.master"));
    assert!(refusal(&watched(vec![server::free_port()], "sessions")).await.contains("server"));

    let until = Instant::now() + Duration::from_secs(30);
    let name = format!("{{test:01}}:r:{}", "01".repeat(32));
    while !told(&replica, "hunter22", &format!("EXISTS {name}")).contains(":1") {
        assert!(Instant::now() < until, "never replicated");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The sentinels have to know of each other and of the replica.
    for sentinel in &sentinels {
        let all = "slaves=1,sentinels=3";
        while !told(sentinel, "watcher22", "INFO sentinel").contains(all) {
            assert!(Instant::now() < until, "the sentinels do not find each other");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    primary.kill();
    assert!(followed.load(&key(1)).await.is_err(), "unavailable, not absent");
    in_the_end(async || followed.ping().await).await;
    assert_eq!(followed.load(&key(1)).await.unwrap(), Some(record(9000, &[50])));
    assert_eq!(followed.find(&key(50)).await.unwrap(), [key(1)]);
    // The old primary comes back as a replica, and is not taken for more.
    primary.start();
    contract_in_short(&followed).await;
    let fresh = store(&watched(vec![sentinels[0].port], "sessions"));
    assert_eq!(in_the_end(async || fresh.load(&key(1)).await).await, Some(record(9000, &[50])));
}

/// What a server that wants a password answers, all of it.
fn told(server: &Server, password: &str, line: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(format!("AUTH {password}\r\n{line}\r\n").as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut all = Vec::new();
    // It ends by the time-out; what came until then is there.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// A session's life.
async fn contract_in_short(store: &ValkeyStore) {
    let _ = store.create(&key(5), record(9000, &[55])).await.unwrap();
    let done = contract::overwrite(store, &key(5), Version::FIRST, vec![2], at(9000)).await;
    assert_eq!(done, Replaced::Done(Version::new(2)));
    assert_eq!(store.find(&key(55)).await.unwrap(), [key(5)]);
    let removed = store.remove(&key(5), RemoveIf::Present).await.unwrap();
    assert!(removed.into_record().is_some());
}
