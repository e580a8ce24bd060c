//! Owns the tests of what is remembered of the store, and of how the end of a session is heard.

use tokio::time::Instant;

use super::{
    super::{cache::ReadCache, store::Change},
    *,
};

const BOUND: Duration = Duration::from_secs(1);

fn remembered(house: &House) -> usize {
    house.seen.remembered.load(Ordering::SeqCst)
}

async fn lives(sessions: &Sessions, handle: &Handle) -> bool {
    match sessions.find("shop", handle, &POLICY, Activity::Counts).await {
        Ok(_) => true,
        Err(FindError::NoSession(_)) => false,
        Err(FindError::StoreUnavailable) => panic!("unavailable"),
    }
}

#[tokio::test]
async fn calls_within_the_bound_cost_one_read() {
    let house = House::remembering(BOUND);
    let (handle, _) = house.login().await;
    assert!(lives(&house.sessions, &handle).await);
    house.store.fail("load");
    for _ in 0..20 {
        assert!(lives(&house.sessions, &handle).await);
    }
    assert_eq!(remembered(&house), 20);
    house.clock.advance(1);
    let error = house.find(&handle, Activity::Polls).await.unwrap_err();
    assert_eq!(error, FindError::StoreUnavailable, "at the bound the store is asked again");
    house.store.heal();
    assert!(lives(&house.sessions, &handle).await);
    assert_eq!(remembered(&house), 20);
}

#[tokio::test]
async fn a_bound_of_zero_remembers_nothing() {
    let house = House::new();
    let (handle, _) = house.login().await;
    assert!(lives(&house.sessions, &handle).await);
    assert!(lives(&house.sessions, &handle).await);
    assert_eq!(remembered(&house), 0);
}

/// BFF-6.1.2.2-1: what is remembered of one app is nothing to another, nor is a stranger's handle.
#[tokio::test]
async fn what_is_remembered_is_found_by_its_handle_in_its_app_only() {
    let house = House::remembering(BOUND);
    let (handle, _) = house.login().await;
    assert!(lives(&house.sessions, &handle).await);
    let unknown = FindError::NoSession(NoSession::Unknown);
    let other = house.sessions.find("bank", &handle, &POLICY, Activity::Polls).await;
    assert_eq!(other.unwrap_err(), unknown);
    let stranger = house.sessions.keys.new_handle(&house.sessions.ambient).unwrap();
    assert_eq!(house.find(&stranger, Activity::Polls).await.unwrap_err(), unknown);
}

/// SES-7.4
#[tokio::test]
async fn an_instance_never_serves_what_it_has_ended() {
    let house = House::remembering(BOUND);
    let whose = Whose::Sid { issuer: "https://as.example", sid: "sid-1", subject: None };
    for way in 0..3 {
        let (handle, _) = house.login().await;
        assert!(lives(&house.sessions, &handle).await);
        match way {
            0 => {
                let reason = EndReason::Logout;
                assert!(house.sessions.end("shop", &handle, reason).await.unwrap().is_some());
            }
            1 => {
                let reason = EndReason::BackChannelLogout;
                let ended = house.sessions.end_all(whose, |_| true, reason).await.unwrap();
                assert_eq!(ended.len(), 1);
            }
            _ => {
                house.server.will(Err(RefreshFailure::GrantDead));
                let outcome = house.refresh(&handle, Cause::Demanded).await;
                assert!(matches!(outcome, RefreshOutcome::GrantDead), "{outcome:?}");
            }
        }
        assert!(!lives(&house.sessions, &handle).await, "{way}");
    }
}

/// SES-7.4: nor does another one, beyond the bound, whatever it has heard.
#[tokio::test]
async fn another_instance_serves_it_no_longer_than_the_bound() {
    let house = House::remembering(BOUND);
    let (handle, _) = house.login().await;
    let other = house.neighbour(BOUND);
    assert!(lives(&other, &handle).await);
    house.sessions.end("shop", &handle, EndReason::Logout).await.unwrap().unwrap();
    assert!(lives(&other, &handle).await, "nobody told it");
    house.clock.advance(1);
    assert!(!lives(&other, &handle).await);
}

/// SES-7.4: and if it was told, it stops at once.
#[tokio::test]
async fn another_instance_that_is_told_stops_at_once() {
    let house = House::remembering(BOUND);
    let told = house.store.share();
    let other = house.neighbour(BOUND);
    let attending = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.attend().await }
    });
    while told.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    let (handle, session) = house.login().await;
    for change in [Change::Removed(session.key), Change::Replaced(session.key)] {
        assert!(lives(&other, &handle).await);
        let watch = other.watch(&session);
        let _ = house.store.inner.remove(&session.key, RemoveIf::Present).await.unwrap();
        told.send(change).unwrap();
        if matches!(change, Change::Removed(_)) {
            watch.cancelled().await;
        } else {
            while lives(&other, &handle).await {
                tokio::task::yield_now().await;
            }
        }
        assert!(!lives(&other, &handle).await);
        let record = contract::record(9_000_000_000, &[]);
        let sealed = Contents::clone(&session.contents)
            .seal(&house.sessions.keys, &handle, Version::FIRST)
            .unwrap();
        let record = StoredRecord { sealed, last_seen: house.sessions.ambient.now(), ..record };
        let _ = house.store.inner.create(&session.key, record).await.unwrap();
    }
    attending.abort();
}

/// One that has missed something remembers nothing.
#[tokio::test]
async fn whoever_lags_forgets_everything() {
    let house = House::remembering(BOUND);
    let told = house.store.share();
    let other = house.neighbour(BOUND);
    let (handle, session) = house.login().await;
    assert!(lives(&other, &handle).await);
    let _ = house.store.inner.remove(&session.key, RemoveIf::Present).await.unwrap();
    let attending = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.attend().await }
    });
    while told.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    for byte in 0..20 {
        told.send(Change::Replaced(StoreKey::new([byte; 32]))).unwrap();
    }
    while lives(&other, &handle).await {
        tokio::task::yield_now().await;
    }
    attending.abort();
}

/// A read that was under way when the session ended does not bring it back.
#[tokio::test]
async fn a_read_that_was_overtaken_is_not_remembered() {
    let house = House::remembering(BOUND);
    let (_, session) = house.login().await;
    let cache = ReadCache::new(BOUND);
    let ticket = cache.ticket(&session.key, 0);
    cache.put(ticket, &session);
    assert!(cache.get(&session.key, 999).is_some());
    assert!(cache.get(&session.key, 1000).is_none(), "counted from before the read");
    let late = cache.ticket(&session.key, 1000);
    cache.forget(&session.key);
    cache.put(late, &session);
    assert!(cache.get(&session.key, 1000).is_none());
    let late = cache.ticket(&session.key, 1000);
    cache.forget_all();
    cache.put(late, &session);
    assert!(cache.get(&session.key, 1000).is_none());
}

/// SES-7.3: limits hold for what is remembered; what another instance noted counts.
#[tokio::test]
async fn limits_are_judged_at_every_call() {
    let house = House::remembering(Duration::from_secs(10_000));
    let (handle, session) = house.login().await;
    assert!(lives(&house.sessions, &handle).await);
    house.clock.advance(599);
    house.store.inner.touch(&session.key, START.plus(599)).await.unwrap();
    assert!(house.find(&handle, Activity::Polls).await.is_ok());
    house.clock.advance(1);
    assert!(house.find(&handle, Activity::Polls).await.is_ok(), "used elsewhere a second ago");
    house.clock.advance(599);
    let error = house.find(&handle, Activity::Polls).await.unwrap_err();
    assert_eq!(error, FindError::NoSession(NoSession::IdleExpired));
}

/// A use is noted in the store once in a while, not at every call.
#[tokio::test]
async fn uses_of_what_is_remembered_are_noted() {
    let house = House::remembering(Duration::from_secs(10_000));
    let (handle, session) = house.login().await;
    assert!(lives(&house.sessions, &handle).await);
    house.clock.advance(30);
    assert!(lives(&house.sessions, &handle).await);
    let seen = async || house.store.inner.load(&session.key).await.unwrap().unwrap().last_seen;
    assert_eq!(seen().await, START.plus(30));
    house.store.fail("touch");
    house.clock.advance(29);
    assert!(lives(&house.sessions, &handle).await);
    assert_eq!(house.seen.unavailable.load(Ordering::SeqCst), 0, "not yet worth noting again");
}

/// New tokens are seen at once by the instance that fetched them.
#[tokio::test]
async fn a_refresh_is_not_overlooked() {
    let house = House::remembering(Duration::from_secs(10_000));
    let (handle, session) = house.login().await;
    assert!(lives(&house.sessions, &handle).await);
    house.clock.advance(280);
    house.fresh(session, &handle).await.unwrap();
    let found = house.find(&handle, Activity::Polls).await.unwrap();
    assert_eq!(found.access_token().expose(), "access-1");
}

/// BCL-PRJ: where other instances may remember a session, its end is reported when they cannot any more.
#[tokio::test(start_paused = true)]
async fn an_end_is_reported_once_it_holds_everywhere() {
    let whose = Whose::Sid { issuer: "https://as.example", sid: "sid-1", subject: None };
    for (shared, waits) in [(false, Duration::ZERO), (true, BOUND)] {
        let house = House::remembering(BOUND);
        if shared {
            drop(house.store.share());
        }
        house.login().await;
        // A repetition finds nothing, and may be no faster.
        for found in [1, 0] {
            let start = Instant::now();
            let reason = EndReason::BackChannelLogout;
            let ended = house.sessions.end_all(whose, |_| true, reason).await.unwrap();
            house.sessions.holds_everywhere().await;
            assert_eq!((ended.len(), start.elapsed()), (found, waits));
        }
    }
}

/// PXY-6
#[tokio::test(start_paused = true)]
async fn streams_hear_of_the_end_of_their_session() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let (_, other) = house.login().await;
    let (mine, theirs) = (house.sessions.watch(&session), house.sessions.watch(&other));
    house.sessions.end("shop", &handle, EndReason::Logout).await.unwrap().unwrap();
    assert!(mine.is_cancelled() && !theirs.is_cancelled());

    // An end that nobody told of, while the store does not answer and after.
    let sessions = Arc::clone(&house.sessions);
    let attending = tokio::spawn(async move { sessions.attend().await });
    house.store.fail("load");
    house.clock.advance(600);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!theirs.is_cancelled(), "unavailable is not ended");
    house.store.heal();
    tokio::time::timeout(Duration::from_secs(6), theirs.cancelled()).await.unwrap();
    assert_eq!(house.seen.elsewhere.load(Ordering::SeqCst), 1);
    attending.abort();
}

/// PXY-6: also one who read the session before it ended, and asks for its end after it.
#[tokio::test]
async fn who_comes_late_hears_of_an_end_at_once() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.sessions.end("shop", &handle, EndReason::Logout).await.unwrap().unwrap();
    assert!(house.sessions.watch(&session).is_cancelled());
    let (_, other) = house.login().await;
    assert!(!house.sessions.watch(&other).is_cancelled());
}
