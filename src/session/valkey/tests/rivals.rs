//! Several instances on one server: what is given to one is given to no other.

use super::*;

async fn pair(server: &Server) -> [Arc<ValkeyStore>; 2] {
    let pair = [0; 2].map(|_| Arc::new(store(&single(server.port))));
    for store in &pair {
        store.ping().await.unwrap();
    }
    pair
}

#[tokio::test]
async fn leases_removals_and_sweeps_are_each_given_to_one() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    let pair = pair(&server).await;
    let wide = |number: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        bytes[31] = 1;
        StoreKey::new(bytes)
    };
    for round in 0..20_u8 {
        let _ = pair[0].create(&key(1), record(9000, &[50])).await.unwrap();
        let race = (0..8_u8).map(|rival| {
            let store = Arc::clone(&pair[usize::from(rival % 2)]);
            tokio::spawn(async move {
                let owner = Owner::new([rival; 16]);
                store.lease(&key(1), owner, Duration::from_secs(60)).await.unwrap()
            })
        });
        let mut granted = 0;
        for rival in race.collect::<Vec<_>>() {
            granted += usize::from(matches!(rival.await.unwrap(), Leased::Granted(_)));
        }
        assert_eq!(granted, 1, "round {round}");
        let race = (0..8_u8).map(|rival| {
            let store = Arc::clone(&pair[usize::from(rival % 2)]);
            tokio::spawn(async move { store.remove(&key(1), RemoveIf::Present).await.unwrap() })
        });
        let mut removed = 0;
        for rival in race.collect::<Vec<_>>() {
            removed += usize::from(rival.await.unwrap().into_record().is_some());
        }
        assert_eq!(removed, 1, "round {round}");
    }
    // More than one stretch in one shard, and some in others.
    let creations = (0..600_u16).map(|number| {
        let store = &pair[usize::from(number % 2)];
        async move {
            let _ = store.create(&wide(number), record(9000, &[50, 51])).await.unwrap();
            assert!(store.consume_once(&wide(number), at(1100)).await.unwrap());
            store.mark(&wide(number), at(1), at(1100)).await.unwrap();
        }
    });
    futures_util::future::join_all(creations).await;
    pair[0].touch(&wide(7), at(1001)).await.unwrap();
    assert_eq!(pair[1].count().await.unwrap(), 600);
    let sweeps = pair.iter().map(|store| store.sweep(at(1100)));
    let swept = futures_util::future::try_join_all(sweeps).await.unwrap();
    let sum = |of: fn(&Swept) -> u64| swept.iter().map(of).sum::<u64>();
    assert_eq!(sum(|swept| swept.ended.values().sum()), 599);
    assert_eq!(sum(|swept| swept.consumed), 600);
    assert_eq!(sum(|swept| swept.marks), 600);
    assert_eq!(sum(|swept| swept.dangling), 0);
    assert_eq!(pair[0].find(&key(50)).await.unwrap(), [wide(7)]);
    assert_eq!(pair[0].count().await.unwrap(), 1);
}

#[tokio::test]
async fn others_are_told_of_changes_and_again_after_a_restart() {
    if !server::available() {
        return;
    }
    let mut server = Server::run(&[]);
    let [ours, theirs] = pair(&server).await;
    let (mut own, mut changes) = (ours.changes().unwrap(), theirs.changes().unwrap());
    let heard = async |changes: &mut tokio::sync::broadcast::Receiver<Change>| {
        tokio::time::timeout(Duration::from_secs(5), changes.recv()).await.unwrap().unwrap()
    };
    for _ in 0..2 {
        // Until the subscription stands, what happens is missed.
        in_the_end(async || {
            ours.mark(&key(9), at(1), at(9000)).await.map_err(drop)?;
            match tokio::time::timeout(Duration::from_millis(200), changes.recv()).await {
                Ok(Ok(Change::Marked(marked))) if marked == key(9) => Ok(()),
                _ => Err(()),
            }
        })
        .await;
        while changes.try_recv().is_ok() {}
        let _ = ours.create(&key(1), record(9000, &[])).await.unwrap();
        let _ = contract::overwrite(&*ours, &key(1), Version::FIRST, vec![1], at(9000)).await;
        let mut change = heard(&mut changes).await;
        while change == Change::Marked(key(9)) {
            change = heard(&mut changes).await;
        }
        assert_eq!(change, Change::Replaced(key(1)));
        let _ = ours.remove(&key(1), RemoveIf::Present).await.unwrap();
        assert_eq!(heard(&mut changes).await, Change::Removed(key(1)));
        let _ = ours.create(&key(2), record(9000, &[])).await.unwrap();
        assert_eq!(ours.sweep(at(1100)).await.unwrap().ended.len(), 1);
        assert_eq!(heard(&mut changes).await, Change::Removed(key(2)));
        assert!(own.try_recv().is_err(), "nobody is told what it did itself");
        server.kill();
        server.start();
        in_the_end(async || ours.ping().await).await;
    }
}

/// A fence that a failover forgot is not granted again: it follows the server's clock.
#[tokio::test]
async fn a_fence_is_not_granted_twice_even_if_the_server_forgot_it() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    let store = store(&single(server.port));
    let mut fences = Vec::new();
    for _ in 0..2 {
        let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
        let Leased::Granted(lease) =
            store.lease(&key(1), Owner::new([1; 16]), Duration::from_secs(9)).await.unwrap()
        else {
            panic!("no lease");
        };
        fences.push(lease.fence);
        assert_eq!(server.say("FLUSHALL"), "OK");
    }
    assert!(fences[0] < fences[1]);
    // Nor is one who never had a lease let in by the number of no lease at all.
    let _ = store.create(&key(1), record(9000, &[])).await.unwrap();
    let nobody = store.replace(&key(1), Version::FIRST, Fence::new(0), vec![1], at(1)).await;
    assert_eq!(nobody.unwrap(), Replaced::Fenced);
}

#[tokio::test]
async fn index_entries_that_point_at_nothing_are_swept_once_and_no_others() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    let pair = pair(&server).await;
    let _ = pair[0].create(&key(1), record(9000, &[50])).await.unwrap();
    // As a crash between the two steps of a beginning, or of an end, leaves it.
    let _ = pair[0].create(&key(2), record(9000, &[50])).await.unwrap();
    server.say(&format!("DEL {{test:02}}:r:{}", "02".repeat(32)));
    assert_eq!(pair[0].find(&key(50)).await.unwrap().len(), 2);
    let swept = pair[0].sweep(at(1000)).await.unwrap();
    assert_eq!(swept.dangling, 0, "what may be about to be written is left alone");
    let checks = b"{test:32}:checks";
    for byte in [1, 2] {
        let entry = [[50; 32], [byte; 32]].concat();
        let planted = server.ask(&[b"ZADD", checks, b"0", &entry]);
        assert_eq!(planted, [b"0"], "it was there");
    }
    let sweeps = pair.iter().map(|store| store.sweep(at(1000)));
    let swept = futures_util::future::try_join_all(sweeps).await.unwrap();
    assert_eq!(swept.iter().map(|swept| swept.dangling).sum::<u64>(), 1);
    assert_eq!(pair[0].find(&key(50)).await.unwrap(), [key(1)]);
    assert_eq!(server.ask(&[b"ZCARD", checks]), [b"1"], "the other one is checked again later");
    // The server may forget a record by itself: then its deadline is all that is left.
    assert_eq!(pair[0].count().await.unwrap(), 2);
    assert_eq!(pair[0].sweep(at(1099)).await.unwrap().dangling, 0);
    let swept = pair[0].sweep(at(1100)).await.unwrap();
    assert_eq!((swept.dangling, swept.ended.values().sum::<u64>()), (1, 1));
    assert_eq!(pair[0].count().await.unwrap(), 0);
}

/// A record that could come long after its index entries would outlive them.
#[tokio::test]
async fn a_record_is_not_written_long_after_its_index_entries() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    let store = store(&single(server.port));
    let shared = &store.shared;
    let parts = Parts::new(&scripts::CREATE, shared.record_keys(&key(1)))
        .arg(key(1).as_bytes())
        .number(1000);
    let parts =
        ["1", "shop", "900", "sealed", "9000", "100", "1000", ""].iter().fold(parts, Parts::arg);
    let (word, _) = Told::read(shared.run(1, parts).await.unwrap()).unwrap();
    assert_eq!(word, "late");
    assert_eq!(store.load(&key(1)).await.unwrap(), None);
}

/// Whoever finds a record in its place leaves its index entries as they are.
#[tokio::test]
async fn a_second_creation_leaves_the_first_findable_and_itself_not() {
    if !server::available() {
        return;
    }
    let server = Server::run(&[]);
    let store = store(&single(server.port));
    let _ = store.create(&key(1), record(9000, &[50, 51])).await.unwrap();
    let second = store.create(&key(1), record(9000, &[51, 52])).await.unwrap();
    assert_eq!(second, Creation::AlreadyThere);
    for (index, found) in [(50, true), (51, true), (52, false)] {
        assert_eq!(store.find(&key(index)).await.unwrap() == [key(1)], found, "{index}");
    }
}
