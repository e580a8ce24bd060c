//! Owns the tests of sessions that their browsers carry: what a browser brings is as good as the side list
//! says, on every instance.

use super::*;

const ROOM: usize = 4500;
const UNKNOWN: FindError = FindError::NoSession(NoSession::Unknown);
const SUPERSEDED: FindError = FindError::NoSession(NoSession::Superseded);
const ISSUER: &str = "https://as.example";

fn house() -> House {
    House::carrying(ROOM)
}

fn other(house: &House) -> Arc<Sessions> {
    house.neighbour(Duration::from_secs(1))
}

/// What the browser holds after an answer that carried `session`.
fn taken_home(sessions: &Sessions, handle: &Handle, session: &Session) -> Handle {
    let context = |_, _| Some(b"context".to_vec());
    let (_, packed) = sessions.pack(handle, session, context).unwrap().unwrap();
    sessions.unpack(b"context", &packed).unwrap()
}

async fn find(sessions: &Sessions, handle: &Handle) -> Result<Session, FindError> {
    sessions.find("shop", handle, &POLICY, Activity::Polls).await
}

async fn refreshed(house: &House, handle: &Handle) -> Session {
    match house.refresh(handle, Cause::Demanded).await {
        RefreshOutcome::Refreshed(session) => session,
        outcome => panic!("{outcome:?}"),
    }
}

/// BFF-6.1.2.3: the store keeps nothing of a session that nothing has happened to, and every instance knows it.
#[tokio::test]
async fn what_a_browser_brings_is_its_session_on_every_instance() {
    let house = house();
    let (made, created) = house.login().await;
    assert_eq!(house.store.count().await.unwrap(), 0);
    let handle = taken_home(&house.sessions, &made, &created);
    for sessions in [&house.sessions, &other(&house)] {
        let found = find(sessions, &handle).await.unwrap();
        assert_eq!(found.access_token().expose(), "access-0");
        assert_eq!(found.refresh_token().unwrap().expose(), "refresh-0");
        assert_eq!(*found.identity(), identity());
        assert_eq!((found.pseudonym(), found.version()), (created.pseudonym(), Version::FIRST));
        assert_eq!(found.absolute_expires(), START.plus(3600));
        assert!(!sessions.is_to_be_carried(&handle, &found));
    }
}

/// BFF-6.1.3.2-7, CK-CHUNK: bound to its place; every bit counts; nothing of it can be read.
#[tokio::test]
async fn what_was_not_made_for_this_place_is_no_session() {
    let house = house();
    let (handle, session) = house.login().await;
    let context = |_, _| Some(b"context".to_vec());
    let (_, packed) = house.sessions.pack(&handle, &session, context).unwrap().unwrap();
    assert!(!packed.windows(8).any(|seen| seen == b"access-0" || seen == b"refresh-"));
    assert!(!packed.windows(32).any(|seen| seen == &handle.to_bytes()[4..]));
    assert!(house.sessions.unpack(b"context", &packed).is_some());
    assert!(house.sessions.unpack(b"contexu", &packed).is_none());
    assert!(house.sessions.unpack(b"", &packed).is_none());
    for place in 0..packed.len() {
        let mut altered = packed.clone();
        altered[place] ^= 1;
        assert!(house.sessions.unpack(b"context", &altered).is_none(), "{place}");
    }
    for length in [0, 4, 36, 44, packed.len() - 1] {
        assert!(house.sessions.unpack(b"context", &packed[..length]).is_none());
    }
    let stranger = House::new();
    assert!(stranger.sessions.unpack(b"context", &packed).is_some(), "the same server key");
    // CK-RACE: parallel answers may reach the browser in pieces, so they are the same.
    let twice = house.sessions.pack(&handle, &session, context).unwrap().unwrap();
    let elsewhere = other(&house).pack(&handle, &session, context).unwrap().unwrap();
    assert!(twice.1 == packed && elsewhere.1 == packed);
    // Another app's session is none, nor is a handle alone.
    let bare = Handle::parse(&handle.to_cookie_value()).unwrap();
    assert_eq!(find(&house.sessions, &bare).await.unwrap_err(), UNKNOWN);
    let elsewhere = house.sessions.find("bank", &handle, &POLICY, Activity::Polls).await;
    assert_eq!(elsewhere.unwrap_err(), UNKNOWN);
    assert!(find(&house.sessions, &handle).await.is_ok());
}

/// SES-7.3: uses are noted where every instance sees them; at the second of the limit the session is over, and
/// stays so.
#[tokio::test]
async fn the_idle_limit_counts_uses_on_all_instances() {
    let house = house();
    let neighbour = other(&house);
    let (handle, _) = house.login().await;
    house.clock.advance(599);
    assert!(find(&neighbour, &handle).await.is_ok());
    neighbour.find("shop", &handle, &POLICY, Activity::Counts).await.unwrap();
    house.clock.advance(599);
    let found = find(&house.sessions, &handle).await.unwrap();
    assert_eq!(found.idle_expires(), START.plus(599 + 600));
    // Polling puts nothing off.
    house.clock.advance(1);
    let idle = FindError::NoSession(NoSession::IdleExpired);
    assert_eq!(find(&house.sessions, &handle).await.unwrap_err(), idle);
    assert_eq!(house.seen.ends(), [("idle_expired", 1)]);
    house.clock.set_wall(START.plus(600));
    for sessions in [&house.sessions, &neighbour] {
        assert_eq!(find(sessions, &handle).await.unwrap_err(), UNKNOWN);
    }
    assert_eq!(house.seen.ends(), [("idle_expired", 1)]);
}

/// SES-7.3
#[tokio::test]
async fn the_absolute_limit_is_the_servers_whatever_a_browser_keeps() {
    let house = house();
    let (handle, _) = house.login().await;
    for _ in 0..7 {
        house.clock.advance(500);
        house.find(&handle, Activity::Counts).await.unwrap();
    }
    house.clock.advance(100);
    let over = FindError::NoSession(NoSession::AbsoluteExpired);
    assert_eq!(house.find(&handle, Activity::Counts).await.unwrap_err(), over);
}

/// SES-7.4, SES-7.3: a use that could not be noted lets the session end sooner, and nothing else; a session
/// whose end cannot be looked up is not served.
#[tokio::test]
async fn without_the_side_list_nobody_is_let_in_and_nobody_logged_out() {
    let house = house();
    let (handle, _) = house.login().await;
    house.store.fail("marks");
    assert_eq!(find(&house.sessions, &handle).await.unwrap_err(), FindError::StoreUnavailable);
    house.store.heal();
    house.clock.advance(100);
    house.store.fail("mark");
    let found = house.find(&handle, Activity::Counts).await.unwrap();
    assert_eq!(found.idle_expires(), START.plus(600));
    assert!(house.sessions.end("shop", &handle, EndReason::Logout).await.is_err());
    house.store.heal();
    assert!(find(&house.sessions, &handle).await.is_ok());
}

/// CK-RACE, BFF-6.1.2.2-PRJ: of many tabs and two instances one asks, and all get what it brought; who comes
/// late with the version before finds it as well.
#[tokio::test]
async fn many_tabs_on_two_instances_refresh_once() {
    let house = house();
    let neighbour = other(&house);
    let (handle, _) = house.login().await;
    house.server.hold();
    let cause = Cause::UpstreamRejected { used_version: Version::FIRST };
    let tabs = (0..10).map(|tab| {
        let sessions = if tab % 2 == 0 { &house.sessions } else { &neighbour };
        let (sessions, handle) = (Arc::clone(sessions), handle.clone());
        let refresher = Arc::clone(&house.refresher);
        tokio::spawn(async move {
            sessions.refresh("shop", &handle, &POLICY, &refresher, cause, None).await
        })
    });
    let tabs: Vec<_> = tabs.collect();
    house.server.arrived.notified().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    house.server.gate.add_permits(10);
    for tab in tabs {
        let session = tab.await.unwrap().into_result().unwrap();
        assert_eq!(session.access_token().expose(), "access-1");
        assert!(house.sessions.is_to_be_carried(&handle, &session));
    }
    assert_eq!(house.server.asked(), 1);
    for sessions in [&house.sessions, &neighbour] {
        let late = find(sessions, &handle).await.unwrap();
        assert_eq!(late.refresh_token().unwrap().expose(), "refresh-1");
        let home = taken_home(sessions, &handle, &late);
        let found = find(sessions, &home).await.unwrap();
        assert_eq!(found.access_token().expose(), "access-1");
        assert!(!sessions.is_to_be_carried(&home, &found));
    }
}

/// CK-RACE: every answer after a refresh sets the same cookies, from whichever instance and by whichever way.
#[tokio::test]
async fn all_answers_after_a_refresh_carry_the_same() {
    let house = house();
    let neighbour = other(&house);
    let (handle, _) = house.login().await;
    let winner = refreshed(&house, &handle).await;
    let late = find(&neighbour, &handle).await.unwrap();
    let pack = |sessions: &Sessions, session: &Session| {
        sessions.pack(&handle, session, |_, _| Some(Vec::new())).unwrap().unwrap()
    };
    assert_eq!(pack(&house.sessions, &winner), pack(&neighbour, &late));
}

/// BFF-6.1.2.2-PRJ: one who read the session long ago, slept, and lays down what has been replaced since, does
/// not ask with its spent refresh token.
#[tokio::test]
async fn a_sleeper_does_not_bring_a_replaced_version_back() {
    let house = house();
    let (old, session) = house.login().await;
    let renewed = refreshed(&house, &old).await;
    let new = taken_home(&house.sessions, &old, &renewed);
    house.clock.advance(60);
    find(&house.sessions, &new).await.unwrap();
    settled(&house).await;
    // What a flight does that was suspended between its look and its lease.
    let neighbour = other(&house);
    neighbour.lay_down(&old, &session).await.unwrap();
    assert_eq!(house.store.count().await.unwrap(), 1);
    let cause = Cause::UpstreamRejected { used_version: Version::FIRST };
    let outcome = neighbour.refresh("shop", &old, &POLICY, &house.refresher, cause, None).await;
    assert!(matches!(outcome, RefreshOutcome::Ended(NoSession::Superseded)), "{outcome:?}");
    assert_eq!(house.server.asked(), 1);
    // Under a lease it is noticed as well.
    assert!(neighbour.ended_meanwhile(&session).await.unwrap());
    assert_eq!(house.store.count().await.unwrap(), 0);
    assert!(find(&house.sessions, &new).await.is_ok());
}

async fn settled(house: &House) {
    for _ in 0..200 {
        if house.store.count().await.unwrap() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the successor is still in the store");
}

/// CK-RACE: a lost answer costs nothing, however late the browser comes back; once the successor has reached
/// it, the store keeps it no longer, and the version before is worth nothing.
#[tokio::test]
async fn a_successor_stays_until_its_browser_has_it() {
    let house = house();
    let (old, _) = house.login().await;
    let session = refreshed(&house, &old).await;
    // The answer was lost. Ten times the grace later the browser still has the version before.
    house.clock.advance(599);
    let late = find(&house.sessions, &old).await.unwrap();
    assert_eq!(late.version(), session.version());
    house.find(&old, Activity::Counts).await.unwrap();
    let new = taken_home(&house.sessions, &old, &late);
    // This is after the grace: the first use of the successor takes it out of the store.
    find(&house.sessions, &new).await.unwrap();
    settled(&house).await;
    for sessions in [&house.sessions, &other(&house)] {
        let found = find(sessions, &new).await.unwrap();
        assert_eq!(found.access_token().expose(), "access-1");
        assert_eq!(found.idle_expires(), START.plus(599 + 600));
        assert_eq!(find(sessions, &old).await.unwrap_err(), SUPERSEDED);
    }
    // And so on.
    let next = refreshed(&house, &new).await;
    assert_eq!(*house.server.sent.lock().unwrap(), ["refresh-0", "refresh-1"]);
    assert_eq!((next.access_token().expose(), next.version()), ("access-2", Version::new(3)));
    assert_eq!(find(&house.sessions, &new).await.unwrap().version(), Version::new(3));
    assert_eq!(find(&house.sessions, &old).await.unwrap().version(), Version::new(3));
}

/// CK-RACE: within the grace a request that was on its way with the version before is served.
#[tokio::test]
async fn who_was_on_the_way_with_the_version_before_is_served() {
    let house = house();
    let (old, _) = house.login().await;
    let session = refreshed(&house, &old).await;
    let new = taken_home(&house.sessions, &old, &session);
    for _ in 0..2 {
        find(&house.sessions, &new).await.unwrap();
        assert_eq!(find(&house.sessions, &old).await.unwrap().version(), Version::new(2));
        house.clock.advance(29);
    }
}

/// RPL-PRJ-1, SES-7.4: a logout ends every version, everywhere, once; it hands over the newest tokens.
#[tokio::test]
async fn a_logout_ends_every_version_on_all_instances() {
    for stale in [false, true] {
        let house = house();
        let neighbour = other(&house);
        let (old, _) = house.login().await;
        let session = refreshed(&house, &old).await;
        let new = taken_home(&house.sessions, &old, &session);
        let leaving = if stale { &old } else { &new };
        let end = |handle| neighbour.end("shop", handle, EndReason::Logout);
        assert!(neighbour.end("bank", leaving, EndReason::Logout).await.unwrap().is_none());
        let ended = end(leaving).await.unwrap().unwrap();
        assert_eq!(ended.refresh_token().unwrap().expose(), "refresh-1");
        for handle in [&old, &new] {
            assert!(end(handle).await.unwrap().is_none());
            for sessions in [&house.sessions, &neighbour] {
                assert_eq!(find(sessions, handle).await.unwrap_err(), UNKNOWN);
            }
            let outcome = house.refresh(handle, Cause::Demanded).await;
            assert!(matches!(outcome, RefreshOutcome::Ended(NoSession::Unknown)), "{outcome:?}");
        }
        assert_eq!((house.store.count().await.unwrap(), house.server.asked()), (0, 1));
    }
}

/// SES-7.2.4: the session that a new one replaces is named by its handle alone after a navigation.
#[tokio::test]
async fn a_session_can_be_ended_by_its_handle_alone() {
    let house = house();
    let (handle, _) = house.login().await;
    let bare = Handle::parse(&handle.to_cookie_value()).unwrap();
    // Nothing to revoke with: its tokens are with the browser.
    let ended = house.sessions.end("shop", &bare, EndReason::Replaced).await.unwrap();
    assert!(ended.is_none());
    assert_eq!(house.seen.ends(), [("replaced", 1)]);
    assert_eq!(find(&other(&house), &handle).await.unwrap_err(), UNKNOWN);
}

/// BFF-6.1.2.2-PRJ: a logout during a refresh wins, and what the refresh brought is given up.
#[tokio::test]
async fn a_logout_during_a_refresh_wins() {
    let house = house();
    let neighbour = other(&house);
    let (handle, _) = house.login().await;
    house.server.hold();
    let refresh = house.refresh(&handle, Cause::Demanded);
    let logout = async {
        house.server.arrived.notified().await;
        let ended = neighbour.end("shop", &handle, EndReason::Logout).await.unwrap();
        assert_eq!(ended.unwrap().refresh_token().unwrap().expose(), "refresh-0");
        house.server.gate.add_permits(1);
    };
    let (outcome, ()) = tokio::join!(refresh, logout);
    assert!(matches!(outcome, RefreshOutcome::Ended(NoSession::Unknown)), "{outcome:?}");
    house.server.discarding.notified().await;
    assert_eq!(*house.server.discarded.lock().unwrap(), ["access-1"]);
    assert_eq!(house.store.count().await.unwrap(), 0);
}

/// BCL-2.7, SES-7.4: the AS's word during a refresh, which marks and does not know the session, wins as well.
#[tokio::test]
async fn the_word_of_the_as_during_a_refresh_wins() {
    let house = house();
    let neighbour = other(&house);
    let (handle, _) = house.login().await;
    house.server.hold();
    let refresh = house.refresh(&handle, Cause::Demanded);
    let end = async {
        house.server.arrived.notified().await;
        // As if it came between two looks: only the mark, not the record.
        let whose = Whose::Subject { issuer: ISSUER, subject: "subject-alice" };
        neighbour.end_all_carried(whose, &|_: &str| true).await.unwrap();
        house.server.gate.add_permits(1);
    };
    let (outcome, ()) = tokio::join!(refresh, end);
    assert!(matches!(outcome, RefreshOutcome::Ended(NoSession::Unknown)), "{outcome:?}");
    house.server.discarding.notified().await;
    assert_eq!(*house.server.discarded.lock().unwrap(), ["access-1"]);
    assert_eq!(house.store.count().await.unwrap(), 0);
}

/// BCL-2.7, SES-7.4: by `sid`, by `sub`, by both; what began later lives, what is not meant lives.
#[tokio::test]
async fn the_as_ends_the_sessions_it_means_and_no_later_ones() {
    let (issuer, subject) = (ISSUER, "subject-alice");
    let sid = |sid, subject| Whose::Sid { issuer, sid, subject };
    for (whose, app, ends) in [
        (sid("sid-1", None), "shop", true),
        (sid("sid-1", Some(subject)), "shop", true),
        (Whose::Subject { issuer, subject }, "shop", true),
        (sid("sid-1", Some("subject-bob")), "shop", false),
        (sid("sid-2", None), "shop", false),
        (Whose::Subject { issuer, subject: "sid-1" }, "shop", false),
        (Whose::Subject { issuer: "https://other", subject }, "shop", false),
        (Whose::Subject { issuer, subject }, "bank", false),
    ] {
        let house = house();
        let (idle, _) = house.login().await;
        let (fresh, _) = house.login().await;
        let newer = refreshed(&house, &fresh).await;
        let newer = taken_home(&house.sessions, &fresh, &newer);
        let neighbour = other(&house);
        let reason = EndReason::BackChannelLogout;
        neighbour.end_all(whose, |name| name == app, reason).await.unwrap();
        for handle in [&idle, &fresh, &newer] {
            let found = find(&house.sessions, handle).await;
            assert_eq!(found.is_err(), ends, "{whose:?} {app}");
            assert!(!ends || found.unwrap_err() == UNKNOWN);
        }
        // Who logs in again lives; a `sid` that is over stays over, by whichever instance's clock it began.
        house.clock.advance(1);
        let (later, _) = house.login().await;
        let named_by_sid = matches!(whose, Whose::Sid { .. });
        assert_eq!(find(&house.sessions, &later).await.is_ok(), !(ends && named_by_sid));
    }
}

/// BFF-6.1.2.2-2: a dead grant ends the session that its browser still carries.
#[tokio::test]
async fn a_dead_grant_ends_the_session_on_all_instances() {
    let house = house();
    let (handle, session) = house.login().await;
    house.clock.advance(290);
    house.server.will(Err(RefreshFailure::GrantDead));
    let trouble = house.fresh(session, &handle).await.unwrap_err();
    assert_eq!(trouble, TokenTrouble::GrantDead);
    assert_eq!(house.seen.ends(), [("grant_dead", 1)]);
    for sessions in [&house.sessions, &other(&house)] {
        assert_eq!(find(sessions, &handle).await.unwrap_err(), UNKNOWN);
    }
    assert!(house.sessions.end("shop", &handle, EndReason::Logout).await.unwrap().is_none());
    assert_eq!(house.seen.ends(), [("grant_dead", 1)]);
}

/// BFF-6.1.2.2-1: trouble at the AS changes nothing; the next refresh asks with the same token.
#[tokio::test]
async fn a_failed_refresh_leaves_the_session_as_it_is() {
    let house = house();
    let (handle, _) = house.login().await;
    house.server.will(Err(RefreshFailure::AsTrouble { reason: "as.down" }));
    let outcome = house.refresh(&handle, Cause::Demanded).await;
    assert!(matches!(outcome, RefreshOutcome::AsTrouble { .. }), "{outcome:?}");
    let found = find(&house.sessions, &handle).await.unwrap();
    assert_eq!((found.version(), found.access_token().expose()), (Version::FIRST, "access-0"));
    house.clock.advance(120);
    find(&house.sessions, &handle).await.unwrap();
    settled(&house).await;
    find(&house.sessions, &handle).await.unwrap();
    assert_eq!(refreshed(&house, &handle).await.version(), Version::new(2));
    assert_eq!(*house.server.sent.lock().unwrap(), ["refresh-0", "refresh-0"]);
}

/// FAPI2-SP-5.3.2.1-9: tokens that cannot be stored wait, and then are found by all.
#[tokio::test(start_paused = true)]
async fn tokens_that_the_store_would_not_take_are_not_lost() {
    let house = house();
    let (handle, _) = house.login().await;
    house.store.fail("replace");
    let outcome = house.refresh(&handle, Cause::Demanded).await;
    assert!(matches!(outcome, RefreshOutcome::StoreUnavailable), "{outcome:?}");
    house.store.heal();
    let outcome = house.refresh(&handle, Cause::Due).await;
    assert_eq!(house.server.asked(), 1, "{outcome:?}");
    let found = find(&other(&house), &handle).await.unwrap();
    assert_eq!(found.refresh_token().unwrap().expose(), "refresh-1");
}

/// SES-7.3: a session in use for longer than its idle limit can still be refreshed.
#[tokio::test]
async fn a_session_laid_down_long_ago_is_judged_by_its_last_use() {
    let house = house();
    let (handle, _) = house.login().await;
    refreshed(&house, &handle).await;
    for _ in 0..3 {
        house.clock.advance(500);
        house.find(&handle, Activity::Counts).await.unwrap();
    }
    assert_eq!(refreshed(&house, &handle).await.version(), Version::new(3));
    assert_eq!(house.seen.ends(), []);
}

/// CK-CHUNK: to the octet, at login and later; nothing is cut off.
#[tokio::test]
async fn what_does_not_fit_is_refused_at_login_and_stays_in_the_store_later() {
    let probe = house();
    let (handle, session) = probe.login().await;
    let mut octets = 0;
    let context = |_, length| {
        octets = length;
        Some(Vec::new())
    };
    probe.sessions.pack(&handle, &session, context).unwrap().unwrap();
    let new = |house: &House| {
        let contents = session.contents.clone();
        let (sessions, app) = (Arc::clone(&house.sessions), "shop".to_owned());
        async move {
            let new = NewSession {
                app,
                client: contents.client.clone(),
                identity: contents.identity.clone(),
                tokens: contents.tokens.clone(),
            };
            sessions.create(&POLICY, new).await
        }
    };
    let small = House::carrying(octets - 1);
    let room = octets - 1;
    let refused = new(&small).await.unwrap_err();
    let too_large = NotPacked::TooLarge { octets, room };
    assert_eq!(refused, CreateError::NotCarried(too_large));
    assert_eq!(refused.reason(), "session.too_large");
    assert_eq!(*small.seen.not_carried.lock().unwrap(), [too_large]);

    // It fits to the octet, until a refresh brings a longer token.
    let house = House::carrying(octets);
    let (handle, _) = new(&house).await.unwrap();
    let mut longer = house.server.tokens(1);
    longer.access_token = token(&"x".repeat(100));
    house.server.will(Ok(longer));
    let session = refreshed(&house, &handle).await;
    let packed = house.sessions.pack(&handle, &session, |_, _| Some(Vec::new())).unwrap();
    assert!(matches!(packed, Err(NotPacked::TooLarge { .. })));
    for _ in 0..3 {
        house.clock.advance(500);
        let found = other(&house).find("shop", &handle, &POLICY, Activity::Counts).await.unwrap();
        assert_eq!(found.access_token().expose().len(), 100);
    }
}

/// SES-7.4: a session that its browser carries is none of the records that the sweep counts.
#[tokio::test]
async fn a_sweep_ends_no_carried_session_early() {
    let house = house();
    let (handle, _) = house.login().await;
    refreshed(&house, &handle).await;
    for _ in 0..4 {
        house.clock.advance(590);
        house.find(&handle, Activity::Counts).await.unwrap();
        house.sessions.sweep().await.unwrap();
    }
    assert_eq!(house.find(&handle, Activity::Polls).await.unwrap().version(), Version::new(2));
    assert_eq!(house.seen.ends(), []);
}

/// SES-7.2.1-3: under another ring a carried session is unknown; under a ring that has its key it is found.
#[tokio::test]
async fn a_carried_session_survives_a_change_of_the_server_key() {
    let house = house();
    let (made, session) = house.login().await;
    let handle = taken_home(&house.sessions, &made, &session);
    let instance = |active: u8, further: &[u8]| {
        let key = |byte| ServerKey::from_bytes([byte; 32]);
        let ring = KeyRing::new(key(active), further.iter().copied().map(key)).unwrap();
        let ambient = house.sessions.ambient.clone();
        let (seen, apps) = (Arc::new(Seen::default()), house.sessions.by_browser.clone());
        Sessions::with_carried(house.store.clone(), ring, Duration::ZERO, ambient, seen, apps)
    };
    let (new, gone) = (instance(8, &[7]), instance(8, &[]));
    assert!(find(&new, &handle).await.is_ok());
    // Sealed anew under the active key, it still is a session of the old one.
    let again = taken_home(&new, &handle, &session);
    assert!(find(&instance(7, &[8]), &again).await.is_ok());
    let unknown = FindError::NoSession(NoSession::UnknownKey);
    assert_eq!(find(&gone, &again).await.unwrap_err(), unknown);
    let packed = house.sessions.pack(&handle, &session, |_, _| Some(Vec::new())).unwrap().unwrap();
    assert!(gone.unpack(b"", &packed.1).is_none());
    new.end("shop", &handle, EndReason::Logout).await.unwrap().unwrap();
    assert_eq!(find(&house.sessions, &handle).await.unwrap_err(), UNKNOWN);
}

/// PXY-6: what streams for a carried session goes on while it lives, though the store does not keep it, and
/// ends with it wherever it ends.
#[tokio::test(start_paused = true)]
async fn streams_of_a_carried_session_end_with_it() {
    let house = house();
    let neighbour = other(&house);
    let (handle, session) = house.login().await;
    let watch = house.sessions.watch(&session);
    let attending = tokio::spawn({
        let sessions = Arc::clone(&house.sessions);
        async move { sessions.attend().await }
    });
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(!watch.is_cancelled());
    neighbour.end("shop", &handle, EndReason::Logout).await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(12), watch.cancelled()).await.unwrap();
    attending.abort();
    // At once where it ends.
    let (handle, session) = house.login().await;
    let watch = house.sessions.watch(&session);
    house.sessions.end("shop", &handle, EndReason::Logout).await.unwrap().unwrap();
    assert!(watch.is_cancelled());
}

/// SES-7.4: an operator's end of all sessions ends those that browsers carry as well, and no later ones; what the
/// store happens to know of them is not listed.
#[tokio::test]
async fn the_end_of_all_sessions_ends_those_that_browsers_carry() {
    let house = house();
    let neighbour = other(&house);
    let (idle, _) = house.login().await;
    let (fresh, _) = house.login().await;
    refreshed(&house, &fresh).await;
    assert_eq!(house.store.count().await.unwrap(), 1);
    let listed = house.sessions.list(|_| true, None, 100).await.unwrap();
    assert!(listed.entries.is_empty());
    neighbour.end_every(|app| app == "bank", EndReason::Administrator).await.unwrap();
    assert!(find(&house.sessions, &idle).await.is_ok());
    neighbour.end_every(|_| true, EndReason::Administrator).await.unwrap();
    for handle in [&idle, &fresh] {
        assert_eq!(find(&house.sessions, handle).await.unwrap_err(), UNKNOWN);
    }
    house.clock.advance(1);
    let (later, _) = house.login().await;
    assert!(find(&house.sessions, &later).await.is_ok());
}
