//! Owns the tests of a store that fails: unavailable is never absent, and nothing is removed.

use super::*;

/// Demands a refresh, of which the store does not let anything come.
async fn unanswered(house: &House, handle: &Handle) {
    let outcome = house.refresh(handle, Cause::Demanded).await;
    assert!(matches!(outcome, RefreshOutcome::StoreUnavailable), "{outcome:?}");
}

#[tokio::test]
async fn every_failing_operation_is_unavailable_and_removes_nothing() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.clock.advance(100);

    house.store.fail("load");
    assert_eq!(
        house.find(&handle, Activity::Counts).await.unwrap_err(),
        FindError::StoreUnavailable
    );
    assert!(house.sessions.end("shop", &handle, EndReason::Logout).await.is_err());
    assert!(matches!(
        house.refresh(&handle, Cause::Demanded).await,
        RefreshOutcome::StoreUnavailable
    ));
    assert_eq!(house.server.asked(), 0, "nobody asks for tokens that cannot be kept");

    house.store.heal();
    house.store.fail("touch");
    let last_seen = house.find(&handle, Activity::Polls).await.unwrap().idle_expires();
    let session = house.find(&handle, Activity::Counts).await.unwrap();
    assert_eq!(session.idle_expires(), last_seen, "a use that was not noted extends nothing");

    house.store.heal();
    house.store.fail("remove");
    assert!(house.sessions.end("shop", &handle, EndReason::Logout).await.is_err());
    house.server.will(Err(RefreshFailure::GrantDead));
    assert!(matches!(
        house.refresh(&handle, Cause::Demanded).await,
        RefreshOutcome::StoreUnavailable
    ));

    for operation in ["find", "sweep", "count", "ping", "consume_once", "create"] {
        house.store.fail(operation);
    }
    let issuer = "https://as.example";
    let whose = Whose::Sid { issuer, sid: "sid-1", subject: None };
    assert!(house.sessions.end_all(whose, |_| true, EndReason::BackChannelLogout).await.is_err());
    assert!(house.sessions.sweep().await.is_err());
    assert!(house.sessions.count().await.is_err());
    assert!(house.sessions.ping().await.is_err());
    assert!(house.sessions.consume_once(&[b"x"], START).await.is_err());

    house.store.heal();
    assert!(house.find(&handle, Activity::Counts).await.is_ok());
    assert_eq!(house.seen.ends(), []);
    assert!(house.seen.unavailable.load(Ordering::SeqCst) > 8);
}

#[tokio::test]
async fn an_expired_session_that_cannot_be_removed_is_unavailable_not_gone() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.clock.advance(600);
    house.store.fail("remove");
    assert_eq!(
        house.find(&handle, Activity::Counts).await.unwrap_err(),
        FindError::StoreUnavailable
    );
    house.store.heal();
    let error = house.find(&handle, Activity::Counts).await.unwrap_err();
    assert_eq!(error, FindError::NoSession(NoSession::IdleExpired));
}

/// FAPI2-SP-5.3.2.1-9: tokens the store will not take are neither lost nor asked for twice.
#[tokio::test(start_paused = true)]
async fn tokens_that_cannot_be_stored_wait_and_are_stored_by_the_next_refresh() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.store.fail("replace");
    unanswered(&house, &handle).await;
    assert_eq!(
        house.find(&handle, Activity::Polls).await.unwrap().access_token().expose(),
        "access-0"
    );
    house.store.heal();
    let outcome = house.refresh(&handle, Cause::Demanded).await;
    let RefreshOutcome::Refreshed(session) = outcome else { panic!("{outcome:?}") };
    assert_eq!(session.access_token().expose(), "access-1");
    assert_eq!(house.server.asked(), 1);
    assert_eq!(
        house.find(&handle, Activity::Polls).await.unwrap().access_token().expose(),
        "access-1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_logout_gets_the_tokens_that_could_not_be_stored() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.store.fail("replace");
    unanswered(&house, &handle).await;
    let ended = house.sessions.end("shop", &handle, EndReason::Logout).await.unwrap().unwrap();
    assert_eq!(ended.refresh_token().unwrap().expose(), "refresh-1");
}

/// FAPI2-SP-5.3.2.1-9: they are stored without anybody asking, and meanwhile nobody uses the spent token.
#[tokio::test(start_paused = true)]
async fn tokens_that_wait_are_stored_by_themselves_and_keep_others_out() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.store.fail("replace");
    unanswered(&house, &handle).await;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rival =
            house.store.inner.lease(&session.key, Owner::new([3; 16]), Duration::ZERO).await;
        assert_eq!(rival.unwrap(), Leased::Held);
    }
    house.store.heal();
    // The store's own thread knows nothing of the paused clock: look until it has answered.
    let stored = async {
        loop {
            let session = house.find(&handle, Activity::Polls).await.unwrap();
            match session.refresh_token().unwrap().expose() {
                "refresh-0" => tokio::time::sleep(Duration::from_millis(100)).await,
                other => break other.to_owned(),
            }
        }
    };
    let stored = tokio::time::timeout(Duration::from_secs(3600), stored).await;
    assert_eq!(stored.unwrap(), "refresh-1");
    assert_eq!(house.server.asked(), 1);
}

/// Who ends a session whose tokens wait to be stored somewhere.
#[derive(Clone, Copy, Debug)]
enum EndedBy {
    TheAuthorizationServer,
    ItsLimit,
}

/// REV-2.1: when nobody is given a session's end, tokens that wait have nobody else to revoke them.
#[tokio::test(start_paused = true)]
async fn tokens_that_wait_are_discarded_when_nobody_logs_out() {
    for by in [EndedBy::TheAuthorizationServer, EndedBy::ItsLimit] {
        let house = House::new();
        let (handle, _) = house.login().await;
        house.store.fail("replace");
        unanswered(&house, &handle).await;
        match by {
            EndedBy::TheAuthorizationServer => {
                let whose =
                    Whose::Sid { issuer: "https://as.example", sid: "sid-1", subject: None };
                let reason = EndReason::BackChannelLogout;
                let ended = house.sessions.end_all(whose, |_| true, reason).await.unwrap();
                assert_eq!(ended.len(), 1);
            }
            EndedBy::ItsLimit => {
                house.clock.advance(3600);
                house.store.fail("load");
                house.sessions.sweep().await.unwrap();
            }
        }
        // The store's own thread knows nothing of the paused clock: look, instead of waiting for a time.
        for _ in 0..1000 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !house.server.discarded.lock().unwrap().is_empty() {
                break;
            }
        }
        assert_eq!(*house.server.discarded.lock().unwrap(), ["access-1"], "{by:?}");
        // Nothing goes on for ever.
        house.sessions.drain().await;
    }
}

/// The handle is the same for every app, the session is not.
#[tokio::test(start_paused = true)]
async fn a_stranger_app_does_not_take_tokens_that_wait() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.store.fail("replace");
    unanswered(&house, &handle).await;
    let (sessions, refresher) = (&house.sessions, &house.refresher);
    let stranger = sessions.refresh("other", &handle, &POLICY, refresher, Cause::Demanded, None);
    let stranger = stranger.await;
    assert!(matches!(stranger, RefreshOutcome::Ended(NoSession::Unknown)), "{stranger:?}");
    assert!(house.server.discarded.lock().unwrap().is_empty());
    house.store.heal();
    let outcome = house.refresh(&handle, Cause::Demanded).await;
    assert!(matches!(outcome, RefreshOutcome::Refreshed(_)), "{outcome:?}");
    assert_eq!(house.server.asked(), 1);
}

/// REV-2.1: what was fetched for a session that ended elsewhere meanwhile is revoked, not kept.
#[tokio::test(start_paused = true)]
async fn tokens_that_wait_for_a_session_that_ended_are_discarded() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.store.fail("replace");
    unanswered(&house, &handle).await;
    let removed = house.store.inner.remove(&session.key, RemoveIf::Present).await.unwrap();
    assert!(matches!(removed, Removed::Done(_)));
    let discarded = tokio::time::timeout(Duration::from_secs(3600), async {
        while house.server.discarded.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    discarded.await.unwrap();
    assert_eq!(*house.server.discarded.lock().unwrap(), ["access-1"]);
    house.sessions.drain().await;
}

/// BFF-6.1.2.2-1: a token that lives is used, also when its successor cannot be stored.
#[tokio::test(start_paused = true)]
async fn a_token_that_lives_is_used_while_nothing_can_be_stored() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.clock.advance(290);
    house.store.fail("lease");
    let same = house.fresh(session.clone(), &handle).await.unwrap();
    assert_eq!((same.access_token().expose(), house.server.asked()), ("access-0", 0));
    house.clock.advance(10);
    let trouble = house.fresh(session, &handle).await.unwrap_err();
    assert_eq!(trouble, TokenTrouble::StoreUnavailable);
}

/// A lease that was granted though no answer came is no reason to wait for its end.
#[tokio::test(start_paused = true)]
async fn a_lease_whose_grant_was_not_heard_of_is_asked_for_again_in_the_same_name() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.store.deafen("lease");
    unanswered(&house, &handle).await;
    // Nor does what fails in between make it forget.
    house.store.fail("load");
    house.refresh(&handle, Cause::Demanded).await;
    house.store.heal();
    let start = tokio::time::Instant::now();
    let outcome = house.refresh(&handle, Cause::Demanded).await;
    assert!(matches!(outcome, RefreshOutcome::Refreshed(_)), "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(house.seen.abandoned.load(Ordering::SeqCst), 0);
}
