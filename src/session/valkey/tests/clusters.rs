//! A cluster of three servers: the whole contract, keys that move, a server that dies.

use super::*;

fn clustered(servers: &[Server]) -> Valkey {
    settings(ValkeyServers::Cluster(servers.iter().map(|server| here(server.port)).collect()))
}

#[tokio::test]
async fn keeps_the_contract_on_a_cluster() {
    if !server::available() {
        return;
    }
    let servers = server::cluster();
    // One seed is enough, and one that is not there does no harm.
    let seeds = vec![here(server::free_port()), here(servers[0].port)];
    let store = Arc::new(store(&settings(ValkeyServers::Cluster(seeds))));
    contract::holds(Arc::clone(&store) as Arc<dyn Store>).await;
    for byte in 0..=255 {
        let _ = store.create(&key(byte), record(9000, &[byte.wrapping_add(77)])).await.unwrap();
    }
    for server in &servers {
        let held: u64 = server.say("DBSIZE").parse().unwrap();
        assert!(held > 200, "spread over all servers: {held}");
    }
    assert_eq!(store.count().await.unwrap(), 256);
    assert_eq!(store.sweep(at(1100)).await.unwrap().ended.values().sum::<u64>(), 256);
    assert_eq!(store.find(&key(77)).await.unwrap(), []);
}

#[tokio::test]
async fn keys_are_followed_while_and_after_they_move() {
    if !server::available() {
        return;
    }
    let servers = server::cluster();
    let store = store(&clustered(&servers));
    let _ = store.create(&key(1), record(9000, &[50])).await.unwrap();
    let slot = store.shared.names.slots()[1];
    let name = |server: &Server| server.say("CLUSTER MYID");
    let owner = usize::from(slot / 5461).min(2);
    let (from, to) = (&servers[owner], &servers[(owner + 1) % 3]);
    assert_eq!(to.say(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", name(from))), "OK");
    assert_eq!(from.say(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", name(to))), "OK");
    let keys = from.say(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
    assert!(keys.lines().count() >= 3, "{keys}");
    for key in keys.lines() {
        assert_eq!(from.say(&format!("MIGRATE 127.0.0.1 {} {key} 0 5000", to.port)), "OK");
    }
    // The keys are there already, but the slot is not: ASK.
    assert_eq!(store.load(&key(1)).await.unwrap(), Some(record(9000, &[50])));
    let done = contract::overwrite(&store, &key(1), Version::FIRST, vec![2], at(9000)).await;
    assert_eq!(done, Replaced::Done(Version::new(2)));
    for server in [to, from] {
        assert_eq!(server.say(&format!("CLUSTER SETSLOT {slot} NODE {}", name(to))), "OK");
    }
    // Now it is: MOVED.
    assert_eq!(store.load(&key(1)).await.unwrap().unwrap().version, Version::new(2));
    let removed = store.remove(&key(1), RemoveIf::Present).await.unwrap();
    assert!(removed.into_record().is_some());
    assert_eq!(store.find(&key(50)).await.unwrap(), []);
}

#[tokio::test]
async fn a_server_of_the_cluster_that_dies_is_unavailable_until_it_is_back() {
    if !server::available() {
        return;
    }
    let mut servers = server::cluster();
    let store = store(&clustered(&servers));
    let mut changes = store.changes().unwrap();
    for byte in 0..=255 {
        let _ = store.create(&key(byte), record(9000, &[])).await.unwrap();
    }
    servers[1].kill();
    let mut away = 0;
    for byte in (0..=255).step_by(5) {
        match store.load(&key(byte)).await {
            Ok(found) => assert!(found.is_some(), "unavailable is never absent"),
            Err(_) => away += 1,
        }
    }
    assert!(away > 10, "{away}");
    assert!(store.sweep(at(1099)).await.is_err());
    // Of a cluster that does not serve all slots nothing is believed: not ready.
    in_the_end(async || if store.ping().await.is_err() { Ok(()) } else { Err("ready") }).await;
    servers[1].start();
    in_the_end(async || store.ping().await).await;
    for byte in 0..=255 {
        let found = in_the_end(async || store.load(&key(byte)).await).await;
        assert!(found.is_some(), "{byte}");
    }
    // Whichever server another instance writes to, this one is told.
    let other = self::store(&clustered(&servers));
    for byte in [1, 90, 200] {
        in_the_end(async || {
            other.mark(&key(byte), at(1), at(9000)).await.map_err(drop)?;
            match tokio::time::timeout(Duration::from_millis(300), changes.recv()).await {
                Ok(Ok(Change::Marked(marked))) if marked == key(byte) => Ok(()),
                _ => Err(()),
            }
        })
        .await;
    }
}
