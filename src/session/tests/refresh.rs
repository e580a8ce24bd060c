//! Owns the tests of refreshing: one request, whoever waits, hangs up, logs out or fails.

use std::time::Duration;

use super::*;

const TROUBLE: RefreshFailure = RefreshFailure::AsTrouble { reason: "as.unreachable" };

fn access(outcome: &RefreshOutcome) -> &str {
    match outcome {
        RefreshOutcome::Refreshed(session) | RefreshOutcome::Joined(session) => {
            session.access_token().expose()
        }
        other => panic!("{other:?}"),
    }
}

/// BFF-6.1.2.2-1.
#[tokio::test]
async fn nothing_is_asked_before_it_is_due() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.clock.advance(269);
    let same = house.fresh(session.clone(), &handle).await.unwrap();
    assert_eq!((same.access_token().expose(), house.server.asked()), ("access-0", 0));
    house.clock.advance(9);
    let renewed = house.fresh(session, &handle).await.unwrap();
    assert_eq!((renewed.access_token().expose(), house.server.asked()), ("access-1", 1));
    assert_eq!(renewed.version(), Version::new(2));
}

/// Sessions that began together are refreshed one after the other, each at one moment for all instances.
#[tokio::test]
async fn sessions_of_one_moment_are_not_all_due_at_one_moment() {
    let house = House::new();
    let mut due = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let (_, session) = house.login().await;
        let held = session.held(None).unwrap();
        let first = (0..ACCESS).find(|at| held.refresh_due(START.plus(*at), &POLICY)).unwrap();
        assert!((270..278).contains(&first), "{first}");
        due.insert(first);
    }
    assert!(due.len() > 2, "{due:?}");
}

#[tokio::test]
async fn a_short_lived_token_is_used_for_half_its_life() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let policy = Policy { refresh_ahead: 100_000, ..POLICY };
    let fresh = async |session| {
        house.sessions.fresh(session, &handle, &policy, &house.refresher, None).await
    };
    house.clock.advance(149);
    assert_eq!(fresh(session.clone()).await.unwrap().version(), Version::FIRST);
    house.clock.advance(39);
    assert_eq!(fresh(session).await.unwrap().version(), Version::new(2));
}

/// BFF-6.1.2.2-PRJ, CK-RACE
#[tokio::test]
async fn fifty_callers_at_expiry_make_one_request_and_all_get_the_successor() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.clock.advance(300);
    house.server.hold();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (sessions, handle, session) =
                (house.sessions.clone(), handle.clone(), session.clone());
            let refresher = house.refresher.clone();
            tokio::spawn(async move {
                sessions.fresh(session, &handle, &POLICY, &refresher, None).await
            })
        })
        .collect();
    house.server.arrived.notified().await;
    house.server.gate.add_permits(50);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().access_token().expose(), "access-1");
    }
    assert_eq!(house.server.asked(), 1);
    assert_eq!(*house.server.sent.lock().unwrap(), ["refresh-0"]);
    let seen = house.seen.refreshes.lock().unwrap().clone();
    assert_eq!(seen.iter().filter(|outcome| **outcome == "refreshed").count(), 1);
}

/// BFF-6.1.2.2-PRJ.
#[tokio::test]
async fn a_caller_who_hangs_up_changes_nothing() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.server.hold();
    let (sessions, refresher, mine) =
        (house.sessions.clone(), house.refresher.clone(), handle.clone());
    let call = tokio::spawn(async move {
        sessions.refresh("shop", &mine, &POLICY, &refresher, Cause::Demanded, None).await
    });
    house.server.arrived.notified().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    house.server.gate.add_permits(1);
    house.sessions.drain().await;
    let session = house.find(&handle, Activity::Polls).await.unwrap();
    assert_eq!(session.access_token().expose(), "access-1");
    assert_eq!(session.refresh_token().unwrap().expose(), "refresh-1");
}

#[tokio::test]
async fn a_logout_during_a_refresh_wins_and_the_late_tokens_are_discarded() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.server.hold();
    let refresh = house.refresh(&handle, Cause::Demanded);
    let logout = async {
        house.server.arrived.notified().await;
        let ended = house.sessions.end("shop", &handle, EndReason::Logout).await.unwrap();
        house.server.gate.add_permits(1);
        ended
    };
    let (outcome, ended) = tokio::join!(refresh, logout);
    assert!(matches!(outcome, RefreshOutcome::Ended(NoSession::Unknown)), "{outcome:?}");
    assert!(ended.is_some());
    house.server.discarding.notified().await;
    assert_eq!(*house.server.discarded.lock().unwrap(), ["access-1"]);
    assert!(house.find(&handle, Activity::Polls).await.is_err());
    assert_eq!(house.seen.ends(), [("logout", 1)]);
}

#[tokio::test]
async fn a_failed_refresh_does_not_bring_a_logged_out_session_back() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.server.hold();
    house.server.will(Err(TROUBLE));
    let refresh = house.refresh(&handle, Cause::Demanded);
    let logout = async {
        house.server.arrived.notified().await;
        house.sessions.end("shop", &handle, EndReason::Logout).await.unwrap();
        house.server.gate.add_permits(1);
    };
    let (outcome, ()) = tokio::join!(refresh, logout);
    assert!(matches!(outcome, RefreshOutcome::Ended(NoSession::Unknown)), "{outcome:?}");
}

/// BFF-6.1.2.2-2
#[tokio::test]
async fn a_dead_grant_ends_the_session() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.clock.advance(290);
    house.server.will(Err(RefreshFailure::GrantDead));
    let trouble = house.fresh(session, &handle).await.unwrap_err();
    assert_eq!(trouble, TokenTrouble::GrantDead);
    assert_eq!(house.seen.ends(), [("grant_dead", 1)]);
    let error = house.find(&handle, Activity::Polls).await.unwrap_err();
    assert_eq!(error, FindError::NoSession(NoSession::Unknown));
}

/// Another instance shares the store but not this process's flights.
fn neighbour(house: &House, server: &Arc<Server>) -> (Arc<Sessions>, Arc<dyn Refresher>) {
    let sessions = house.neighbour(Duration::ZERO);
    (sessions, server.clone())
}

/// BFF-6.1.2.2-PRJ: one refresh token is used once, whichever instance is asked.
#[tokio::test]
async fn another_instance_waits_for_the_first_and_takes_what_it_brought() {
    for cause in [Cause::Demanded, Cause::UpstreamRejected { used_version: Version::FIRST }] {
        let house = House::new();
        let (handle, _) = house.login().await;
        house.server.hold();
        let idle = Arc::new(Server::new(house.clock.clone()));
        let (others, refresher) = neighbour(&house, &idle);
        let first = house.refresh(&handle, cause);
        let second = async {
            house.server.arrived.notified().await;
            let waits = others.refresh("shop", &handle, &POLICY, &refresher, cause, None);
            let release = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                house.server.gate.add_permits(1);
            };
            tokio::join!(waits, release).0
        };
        let (first, second) = tokio::join!(first, second);
        assert!(matches!(first, RefreshOutcome::Refreshed(_)), "{first:?}");
        assert!(matches!(second, RefreshOutcome::Joined(_)), "{second:?}");
        assert_eq!((access(&second), idle.asked()), ("access-1", 0));
    }
}

/// BFF-6.1.2.2-1: a good token is not kept waiting for its successor; a spent one is.
#[tokio::test]
async fn another_instance_goes_on_with_a_token_that_lives() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.clock.advance(290);
    house.server.hold();
    let idle = Arc::new(Server::new(house.clock.clone()));
    let (others, refresher) = neighbour(&house, &idle);
    let first = house.fresh(session.clone(), &handle);
    let second = async {
        house.server.arrived.notified().await;
        let kept = others.fresh(session, &handle, &POLICY, &refresher, None).await.unwrap();
        house.server.gate.add_permits(1);
        kept
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap().access_token().expose(), "access-1");
    assert_eq!((second.access_token().expose(), idle.asked()), ("access-0", 0));
}

/// An instance that dies in the middle of a refresh holds the others up until its lease ends, and no longer.
#[tokio::test(start_paused = true)]
async fn a_lease_whose_holder_died_ends_and_is_reported() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let dead = house.store.inner.lease(&session.key, Owner::new([3; 16]), LEASE_OF_THE_DEAD).await;
    assert!(matches!(dead.unwrap(), Leased::Granted(_)));
    let start = tokio::time::Instant::now();
    let outcome = house.refresh(&handle, Cause::Demanded).await;
    assert_eq!(access(&outcome), "access-1");
    assert!(start.elapsed() >= LEASE_OF_THE_DEAD, "{:?}", start.elapsed());
    assert!(start.elapsed() < LEASE_OF_THE_DEAD + Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(house.seen.abandoned.load(Ordering::SeqCst), 1);
}

const LEASE_OF_THE_DEAD: Duration = Duration::from_secs(8);

/// Whoever waited to the end of its patience leaves everything as it is.
#[tokio::test(start_paused = true)]
async fn a_lease_without_end_is_not_waited_for() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let forever = Duration::from_secs(10_000);
    let held = house.store.inner.lease(&session.key, Owner::new([3; 16]), forever).await;
    assert!(matches!(held.unwrap(), Leased::Granted(_)));
    let outcome = house.refresh(&handle, Cause::Demanded).await;
    assert!(matches!(outcome, RefreshOutcome::Underway(_)), "{outcome:?}");
    assert_eq!(outcome.into_result().unwrap_err(), TokenTrouble::Unknown);
    assert_eq!(house.server.asked(), 0);
    assert!(house.find(&handle, Activity::Polls).await.is_ok());
}

/// BFF-6.1.2.2-PRJ: one who slept past its lease neither ends the session nor writes over who came after.
#[tokio::test]
async fn a_loser_believes_the_winner_and_clears_nothing() {
    for verdict in [Err(RefreshFailure::GrantDead), Err(TROUBLE), Ok(())] {
        let house = House::new();
        let (handle, session) = house.login().await;
        house.server.hold();
        if let Err(failure) = verdict {
            house.server.will(Err(failure));
        }
        let winner = Arc::new(Server::new(house.clock.clone()));
        winner.will(Ok(RefreshedTokens { access_token: token("winner"), ..winner.tokens(9) }));
        let (others, refresher) = neighbour(&house, &winner);
        let refresh = house.refresh(&handle, Cause::Demanded);
        let meanwhile = async {
            house.server.arrived.notified().await;
            // The lease is lost: its time was over before it was used.
            house.store.inner.release(&session.key, Fence::new(1)).await.unwrap();
            let won =
                others.refresh("shop", &handle, &POLICY, &refresher, Cause::Demanded, None).await;
            house.server.gate.add_permits(1);
            won
        };
        let (outcome, won) = tokio::join!(refresh, meanwhile);
        assert!(matches!(won, RefreshOutcome::Refreshed(_)), "{won:?}");
        assert!(matches!(outcome, RefreshOutcome::Joined(_)), "{verdict:?}: {outcome:?}");
        assert_eq!(access(&outcome), "winner");
        let stored = house.find(&handle, Activity::Polls).await.unwrap();
        assert_eq!(stored.access_token().expose(), "winner");
        assert_eq!(stored.refresh_token().unwrap().expose(), "refresh-9");
        assert!(house.server.discarded.lock().unwrap().is_empty(), "the grant is the winner's too");
    }
}

/// BFF-6.1.2.2-PRJ.
#[tokio::test]
async fn a_stale_caller_adopts_what_is_stored_and_asks_nothing() {
    let house = House::new();
    let (handle, stale) = house.login().await;
    house.clock.advance(280);
    house.fresh(stale.clone(), &handle).await.unwrap();
    let adopted = house.fresh(stale.clone(), &handle).await.unwrap();
    assert_eq!(adopted.access_token().expose(), "access-1");
    let cause = Cause::UpstreamRejected { used_version: stale.version() };
    let outcome = house.refresh(&handle, cause).await;
    assert_eq!(access(&outcome), "access-1");
    assert!(matches!(outcome, RefreshOutcome::Joined(_)));
    assert_eq!(house.server.asked(), 1);
    let cause = Cause::UpstreamRejected { used_version: adopted.version() };
    assert_eq!(access(&house.refresh(&handle, cause).await), "access-2");
}

#[tokio::test]
async fn trouble_keeps_the_session_until_its_access_token_ends() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.clock.advance(299);
    house.server.will(Err(TROUBLE));
    let kept = house.fresh(session.clone(), &handle).await.unwrap();
    assert_eq!(kept.access_token().expose(), "access-0");
    house.clock.advance(1);
    for (failure, trouble) in [
        (TROUBLE, TokenTrouble::AsTrouble),
        (RefreshFailure::Unknown { reason: "as.timeout" }, TokenTrouble::Unknown),
        (RefreshFailure::Rejected { reason: "id_token.subject_mismatch" }, TokenTrouble::Unknown),
    ] {
        house.server.will(Err(failure));
        assert_eq!(house.fresh(session.clone(), &handle).await.unwrap_err(), trouble);
        let stored = house.find(&handle, Activity::Polls).await.unwrap();
        assert_eq!(
            stored.refresh_token().unwrap().expose(),
            "refresh-0",
            "kept for the next attempt"
        );
        house.clock.advance(2);
    }
    let renewed = house.fresh(session, &handle).await.unwrap();
    assert_eq!(renewed.refresh_token().unwrap().expose(), "refresh-5");
    assert!(house.server.sent.lock().unwrap().iter().all(|sent| sent == "refresh-0"));
    assert_eq!(house.seen.ends(), []);
}

#[tokio::test]
async fn fifty_callers_within_the_backoff_make_one_attempt() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.clock.advance(280);
    house.server.will(Err(TROUBLE));
    for _ in 0..50 {
        let kept = house.fresh(session.clone(), &handle).await.unwrap();
        assert_eq!(kept.access_token().expose(), "access-0");
    }
    assert_eq!(house.server.asked(), 1);
    house.clock.advance(1);
    assert_eq!(house.fresh(session, &handle).await.unwrap().access_token().expose(), "access-2");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_end_becomes_unknown_at_the_deadline() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.server.hold();
    let start = tokio::time::Instant::now();
    let outcome = house.refresh(&handle, Cause::Demanded).await;
    assert!(
        matches!(outcome, RefreshOutcome::Unknown { reason: "refresh.deadline", .. }),
        "{outcome:?}"
    );
    assert_eq!(start.elapsed().as_secs(), Duration::from_secs(20).as_secs());
    assert!(house.find(&handle, Activity::Polls).await.is_ok());
}

/// FAPI2-SP-5.3.3.1-6.
#[tokio::test]
async fn what_an_answer_leaves_out_stays() {
    let house = House::new();
    let (handle, _) = house.login().await;
    let bare =
        RefreshedTokens { refresh_token: None, access_expires: None, ..house.server.tokens(1) };
    house.server.will(Ok(bare));
    house.refresh(&handle, Cause::Demanded).await;
    let stored = house.find(&handle, Activity::Polls).await.unwrap();
    assert_eq!(stored.access_token().expose(), "access-1");
    assert_eq!(stored.refresh_token().unwrap().expose(), "refresh-0");
    assert_eq!(stored.id_token().unwrap().expose(), "id-0");
    assert_eq!(stored.absolute_expires(), START.plus(3600));
    house.clock.advance(500);
    house.fresh(stored, &handle).await.unwrap();
    assert_eq!(house.server.asked(), 1, "a token of unknown lifetime is used as is");
}

#[tokio::test]
async fn without_a_refresh_token_the_access_token_is_used_up() {
    let house = House::new();
    let (handle, session) = house.login_with(None).await;
    house.clock.advance(299);
    assert!(!session.is_exhausted(house.sessions.ambient.now()));
    assert!(house.fresh(session.clone(), &handle).await.is_ok());
    let demanded = house.refresh(&handle, Cause::Demanded).await.into_result();
    assert_eq!(demanded.unwrap_err(), TokenTrouble::NoRefreshToken);
    house.clock.advance(1);
    assert!(session.is_exhausted(house.sessions.ambient.now()));
    assert_eq!(house.fresh(session, &handle).await.unwrap_err(), TokenTrouble::Exhausted);
    assert_eq!(house.server.asked(), 0);
}

#[tokio::test]
async fn an_expired_session_is_not_refreshed() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.clock.advance(600);
    let outcome = house.refresh(&handle, Cause::Demanded).await;
    assert!(matches!(outcome, RefreshOutcome::Ended(NoSession::IdleExpired)), "{outcome:?}");
    assert_eq!(house.server.asked(), 0);
}

/// It may have asked: the lease is kept until it ends, as after a crash.
#[tokio::test(start_paused = true)]
async fn a_refresher_that_panics_harms_nobody() {
    #[derive(Debug)]
    struct Panics;
    impl Refresher for Panics {
        fn refresh<'a>(
            &'a self,
            _: RefreshGrant<'a>,
        ) -> BoxFuture<'a, Result<RefreshedTokens, RefreshFailure>> {
            Box::pin(async { panic!("told to") })
        }
        fn discard(&self, _: RefreshedTokens) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }
    let house = House::new();
    let (handle, _) = house.login().await;
    let panics: Arc<dyn Refresher> = Arc::new(Panics);
    let outcome =
        house.sessions.refresh("shop", &handle, &POLICY, &panics, Cause::Demanded, None).await;
    assert!(matches!(outcome, RefreshOutcome::StoreUnavailable), "{outcome:?}");
    assert_eq!(access(&house.refresh(&handle, Cause::Demanded).await), "access-1");
    assert_eq!(house.seen.abandoned.load(Ordering::SeqCst), 1);
}

/// Who needs another token is not put off with what satisfies one whose token is good.
#[tokio::test]
async fn who_boards_an_impatient_flight_waits_all_the_same() {
    let house = House::new();
    let (handle, session) = house.login().await;
    house.clock.advance(290);
    house.server.hold();
    let idle = Arc::new(Server::new(house.clock.clone()));
    let (others, refresher) = neighbour(&house, &idle);
    let first = house.refresh(&handle, Cause::Demanded);
    let second = async {
        house.server.arrived.notified().await;
        let due = others.fresh(session.clone(), &handle, &POLICY, &refresher, None);
        let used_version = session.version();
        let cause = Cause::UpstreamRejected { used_version };
        let needs = others.refresh("shop", &handle, &POLICY, &refresher, cause, None);
        let release = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            house.server.gate.add_permits(1);
        };
        tokio::join!(due, needs, release)
    };
    let (first, (due, needs, ())) = tokio::join!(first, second);
    assert_eq!(access(&first), "access-1");
    assert_eq!(due.unwrap().access_token().expose(), "access-0");
    assert_eq!((access(&needs), idle.asked()), ("access-1", 0));
}
