//! Owns the tests of how many sessions one person may have, and of listing and ending them unopened.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::*;
use crate::config::{OverLimit, SessionLimit};

const fn at_most(most: usize, over: OverLimit) -> SessionLimit {
    SessionLimit { most, over }
}

/// A session's app, subject and issuer.
#[derive(Clone, Copy)]
struct Who {
    app: &'static str,
    subject: Option<&'static str>,
    issuer: &'static str,
}

const ALICE: Who = Who { app: "shop", subject: Some("alice"), issuer: "https://as.example" };

impl Who {
    fn new_session(self) -> NewSession {
        let identity = Identity {
            issuer: self.issuer.to_owned(),
            subject: self.subject.map(str::to_owned),
            sid: None,
            continuity: None,
            ..identity()
        };
        NewSession {
            app: self.app.to_owned(),
            client: "client".to_owned(),
            identity,
            tokens: Tokens {
                access_token: token("access-0"),
                access_expires: None,
                refresh_token: Some(token("refresh-0")),
                id_token: None,
                key_seed: None,
                authorization_details: None,
                narrowed: Vec::new(),
                scope: "openid".to_owned(),
            },
        }
    }

    async fn begins(self, sessions: &Sessions) -> (Handle, Session) {
        sessions.create(&POLICY, self.new_session()).await.unwrap()
    }

    async fn alive(self, sessions: &Sessions) -> BTreeSet<String> {
        let subject = self.subject.unwrap();
        let in_app = |app: &str| app == self.app;
        let listed = sessions.list_of(self.issuer, subject, in_app, None).await.unwrap();
        listed.iter().map(|entry| entry.id.to_string()).collect()
    }
}

fn id(session: &Session) -> String {
    session.pseudonym().to_string()
}

/// SES-7.1.2: at the limit nobody goes; one more ends the oldest, and the tokens of no other.
#[tokio::test]
async fn one_more_than_allowed_ends_the_oldest_alone() {
    let house = House::new();
    let limit = at_most(3, OverLimit::EndOldest);
    let mut known = Vec::new();
    for _ in 0..3 {
        house.clock.advance(1);
        let (_, session) = ALICE.begins(&house.sessions).await;
        house.sessions.make_room(limit, &POLICY, &session, &[]).await.unwrap();
        known.push(id(&session));
    }
    assert_eq!(ALICE.alive(&house.sessions).await.len(), 3);
    assert_eq!(house.seen.ends(), []);
    house.clock.advance(1);
    let (_, fourth) = ALICE.begins(&house.sessions).await;
    house.sessions.make_room(limit, &POLICY, &fourth, &[]).await.unwrap();
    let expected: BTreeSet<_> = known.drain(1..).chain([id(&fourth)]).collect();
    assert_eq!(ALICE.alive(&house.sessions).await, expected);
    assert_eq!(house.seen.ends(), [("superseded", 1)]);
}

/// SES-7.1.2: a limit that was lowered holds from the next login on.
#[tokio::test]
async fn a_lowered_limit_ends_as_many_as_are_too_many() {
    let house = House::new();
    for _ in 0..5 {
        house.clock.advance(1);
        ALICE.begins(&house.sessions).await;
    }
    house.clock.advance(1);
    let (_, last) = ALICE.begins(&house.sessions).await;
    let limit = at_most(1, OverLimit::EndOldest);
    house.sessions.make_room(limit, &POLICY, &last, &[]).await.unwrap();
    assert_eq!(ALICE.alive(&house.sessions).await, BTreeSet::from([id(&last)]));
    assert_eq!(house.seen.ends(), [("superseded", 1); 5]);
}

/// SES-7.1.2: where the new one gives way, those before it stay and it is gone.
#[tokio::test]
async fn a_refused_session_leaves_nothing_behind_and_takes_nothing() {
    let house = House::new();
    let limit = at_most(2, OverLimit::Refuse);
    let mut before = BTreeSet::new();
    for _ in 0..2 {
        let (_, session) = ALICE.begins(&house.sessions).await;
        house.sessions.make_room(limit, &POLICY, &session, &[]).await.unwrap();
        before.insert(id(&session));
    }
    let (handle, third) = ALICE.begins(&house.sessions).await;
    let refused = house.sessions.make_room(limit, &POLICY, &third, &[]).await;
    assert_eq!(refused, Err(NoRoom::Refused));
    assert_eq!(NoRoom::Refused.reason(), "session.limit_reached");
    assert_eq!(ALICE.alive(&house.sessions).await, before);
    assert!(house.find(&handle, Activity::Polls).await.is_err());
    assert_eq!(house.seen.ends(), [("over_limit", 1)]);
}

/// SES-7.1.2: another app's, another issuer's, another person's and nobody's sessions do not count.
#[tokio::test]
async fn only_the_same_persons_sessions_in_the_same_app_count() {
    let others = [
        Who { app: "bank", ..ALICE },
        Who { issuer: "https://other.example", ..ALICE },
        Who { subject: Some("bob"), ..ALICE },
        Who { subject: None, ..ALICE },
    ];
    for over in [OverLimit::EndOldest, OverLimit::Refuse] {
        let house = House::new();
        let mut handles = Vec::new();
        for who in others {
            handles.push((who, who.begins(&house.sessions).await.0));
        }
        house.clock.advance(1);
        let (_, session) = ALICE.begins(&house.sessions).await;
        house.sessions.make_room(at_most(1, over), &POLICY, &session, &[]).await.unwrap();
        for (who, handle) in handles {
            let found = house.sessions.find(who.app, &handle, &POLICY, Activity::Polls).await;
            assert!(found.is_ok(), "{} {:?}", who.app, who.subject);
        }
        // Nobody's sessions are not limited at all.
        let nobody = Who { subject: None, ..ALICE };
        let (_, session) = nobody.begins(&house.sessions).await;
        house.sessions.make_room(at_most(1, over), &POLICY, &session, &[]).await.unwrap();
        assert_eq!(house.sessions.count().await, Ok(6));
    }
}

/// SES-7.1.2, SES-7.3: a session counts up to the second of its limit, today's policy included.
#[tokio::test]
async fn a_session_past_a_limit_of_time_does_not_count() {
    let tight = Policy { idle: 60, ..POLICY };
    let short = Policy { absolute: 120, idle: 120, ..POLICY };
    for (policy, seconds) in [(POLICY, 600), (tight, 60), (short, 120)] {
        for (wait, counts) in [(seconds - 1, true), (seconds, false)] {
            let house = House::new();
            ALICE.begins(&house.sessions).await;
            house.clock.advance(wait);
            let (_, session) = ALICE.begins(&house.sessions).await;
            let limit = at_most(1, OverLimit::Refuse);
            let room = house.sessions.make_room(limit, &policy, &session, &[]).await;
            assert_eq!(room == Err(NoRoom::Refused), counts, "{policy:?} after {wait}");
        }
    }
}

/// SES-7.1.2, SES-7.2.4: a login that takes the place of a session counts once.
#[tokio::test]
async fn the_session_a_login_replaces_does_not_count() {
    for over in [OverLimit::EndOldest, OverLimit::Refuse] {
        let house = House::new();
        let (_, other) = ALICE.begins(&house.sessions).await;
        let (old, _) = ALICE.begins(&house.sessions).await;
        house.clock.advance(1);
        let (_, new) = ALICE.begins(&house.sessions).await;
        let limit = at_most(2, over);
        house.sessions.make_room(limit, &POLICY, &new, std::slice::from_ref(&old)).await.unwrap();
        assert_eq!(house.seen.ends(), [], "{over:?}: the login ends it, not the limit");
        house.sessions.end("shop", &old, EndReason::Replaced).await.unwrap().unwrap();
        assert_eq!(
            ALICE.alive(&house.sessions).await,
            BTreeSet::from([id(&other), id(&new)]),
            "{over:?}"
        );
        // Without it there is no room.
        house.clock.advance(1);
        let (_, third) = ALICE.begins(&house.sessions).await;
        let room = house.sessions.make_room(limit, &POLICY, &third, &[]).await;
        assert_eq!(room.is_ok(), over == OverLimit::EndOldest);
        assert_eq!(ALICE.alive(&house.sessions).await.len(), 2);
    }
}

/// Who cannot look must not let anybody in, and keeps nothing.
#[tokio::test]
async fn a_store_that_cannot_be_asked_makes_no_room() {
    for failing in ["find", "load", "remove"] {
        for over in [OverLimit::EndOldest, OverLimit::Refuse] {
            let house = House::new();
            let (_, first) = ALICE.begins(&house.sessions).await;
            house.clock.advance(1);
            let (_, new) = ALICE.begins(&house.sessions).await;
            house.store.fail(failing);
            let room = house.sessions.make_room(at_most(1, over), &POLICY, &new, &[]).await;
            assert_eq!(room, Err(NoRoom::StoreUnavailable), "{failing} {over:?}");
            house.store.heal();
            let alive = ALICE.alive(&house.sessions).await;
            assert!(alive.contains(&id(&first)), "{failing} {over:?}");
            assert_eq!(alive.contains(&id(&new)), failing == "remove", "{failing} {over:?}");
        }
    }
}

/// Another instance over the same store.
fn sibling(house: &House, clock: Arc<ManualClock>) -> Arc<Sessions> {
    let ambient = Ambient { clock, entropy: Arc::new(SystemEntropy::new()) };
    Sessions::new(
        house.store.clone(),
        ServerKey::from_bytes([7; 32]),
        Duration::ZERO,
        ambient,
        house.seen.clone(),
    )
}

/// SES-7.1.2: fifty logins on two instances in one second, in every phase of one another: exactly three
/// stay, and they are the three that were let in and not superseded since.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_racing_logins_leave_exactly_as_many_as_are_allowed() {
    let house = House::new();
    let instances = [house.sessions.clone(), sibling(&house, house.clock.clone())];
    let limit = at_most(3, OverLimit::EndOldest);
    let logins = (0..50).map(|number| {
        let sessions = instances[number % 2].clone();
        tokio::spawn(async move {
            let (_, session) = ALICE.begins(&sessions).await;
            (id(&session), sessions.make_room(limit, &POLICY, &session, &[]).await)
        })
    });
    let results: Vec<_> = join_all(logins).await.into_iter().map(Result::unwrap).collect();
    let alive = ALICE.alive(&house.sessions).await;
    assert_eq!(alive.len(), 3);
    let let_in: BTreeSet<_> =
        results.iter().filter(|(_, room)| room.is_ok()).map(|(id, _)| id.clone()).collect();
    assert!(alive.is_subset(&let_in), "who was turned away is not there");
    let turned_away = results.iter().filter(|(_, room)| room.is_err());
    assert!(turned_away.clone().all(|(_, room)| *room == Err(NoRoom::Superseded)));
    assert_eq!(house.seen.ends(), [("superseded", 1); 47], "each end is told once");
}

/// SES-7.1.2: with the new one giving way there are never more than allowed, whoever comes when.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_racing_logins_never_exceed_a_limit_that_refuses() {
    let house = House::new();
    let instances = [house.sessions.clone(), sibling(&house, house.clock.clone())];
    let limit = at_most(3, OverLimit::Refuse);
    let logins = (0..50).map(|number| {
        let sessions = instances[number % 2].clone();
        tokio::spawn(async move {
            let (_, session) = ALICE.begins(&sessions).await;
            (id(&session), sessions.make_room(limit, &POLICY, &session, &[]).await)
        })
    });
    let results: Vec<_> = join_all(logins).await.into_iter().map(Result::unwrap).collect();
    let let_in: BTreeSet<_> =
        results.iter().filter(|(_, room)| room.is_ok()).map(|(id, _)| id.clone()).collect();
    let alive = ALICE.alive(&house.sessions).await;
    assert!(alive.len() <= 3, "{}", alive.len());
    assert_eq!(alive, let_in);
    // And there is room again as soon as there is.
    for _ in alive.len()..3 {
        let (_, session) = ALICE.begins(&house.sessions).await;
        house.sessions.make_room(limit, &POLICY, &session, &[]).await.unwrap();
    }
    let (_, session) = ALICE.begins(&house.sessions).await;
    let room = house.sessions.make_room(limit, &POLICY, &session, &[]).await;
    assert_eq!(room, Err(NoRoom::Refused));
}

/// SES-7.1.2: the worst order of two: both created before either looks. The newer stays in any case,
/// and neither ends more than must.
#[tokio::test]
async fn two_that_look_at_each_other_leave_one() {
    for newer_looks_first in [true, false] {
        let house = House::new();
        let limit = at_most(1, OverLimit::EndOldest);
        let (_, older) = ALICE.begins(&house.sessions).await;
        house.clock.advance(1);
        let other = sibling(&house, house.clock.clone());
        let (_, newer) = ALICE.begins(&other).await;
        let (first, second) = if newer_looks_first {
            let first = other.make_room(limit, &POLICY, &newer, &[]).await;
            (first, house.sessions.make_room(limit, &POLICY, &older, &[]).await)
        } else {
            let first = house.sessions.make_room(limit, &POLICY, &older, &[]).await;
            (other.make_room(limit, &POLICY, &newer, &[]).await, first)
        };
        assert_eq!((first, second), (Ok(()), Err(NoRoom::Superseded)));
        assert_eq!(ALICE.alive(&other).await, BTreeSet::from([id(&newer)]));
    }
}

/// SES-7.1.2, SES-7.4: while the server key changes, sessions under either count, are seen and end.
#[tokio::test]
async fn sessions_under_two_server_keys_are_one_persons() {
    let house = House::new();
    let with_keys = |active: u8, further: u8| {
        let key = |byte| ServerKey::from_bytes([byte; 32]);
        let ring = KeyRing::new(key(active), [key(further)]).unwrap();
        let ambient = house.sessions.ambient.clone();
        Sessions::new(house.store.clone(), ring, Duration::ZERO, ambient, house.seen.clone())
    };
    let (before, after) = (with_keys(7, 8), with_keys(8, 7));
    let (_, oldest) = ALICE.begins(&before).await;
    house.clock.advance(1);
    let (_, old) = ALICE.begins(&before).await;
    house.clock.advance(1);
    let (_, new) = ALICE.begins(&after).await;
    let refused = at_most(2, OverLimit::Refuse);
    let (_, another) = ALICE.begins(&before).await;
    assert_eq!(before.make_room(refused, &POLICY, &another, &[]).await, Err(NoRoom::Refused));
    let limit = at_most(2, OverLimit::EndOldest);
    after.make_room(limit, &POLICY, &new, &[]).await.unwrap();
    for sessions in [&before, &after] {
        assert_eq!(ALICE.alive(sessions).await, BTreeSet::from([id(&old), id(&new)]));
    }
    assert_eq!(after.end_listed(&id(&oldest), EndReason::Administrator).await, Ok(None));
    assert_eq!(end_own(&before, &old, Own::Named(&id(&new))).await, 1);
    assert!(after.end_listed(&id(&old), EndReason::Administrator).await.unwrap().is_some());
}

/// SES-7.4: each session comes up once, with its times, and only while it lives.
#[tokio::test]
async fn a_listing_shows_every_living_session_once() {
    let house = House::new();
    let bank = Who { app: "bank", ..ALICE };
    let mut ids = BTreeSet::new();
    for number in 0..10 {
        let who = if number % 2 == 0 { ALICE } else { bank };
        ids.insert(id(&who.begins(&house.sessions).await.1));
    }
    let collect = async |app: Option<&'static str>| {
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let in_app = |name: &str| app.is_none_or(|app| app == name);
            let page = house.sessions.list(in_app, after, 3).await.unwrap();
            assert!(page.entries.len() <= 3);
            found.extend(page.entries);
            pages += 1;
            after = page.next;
            if after.is_none() {
                return (found, pages);
            }
        }
    };
    let (all, pages) = collect(None).await;
    assert_eq!((all.len(), pages), (10, 4));
    assert_eq!(all.iter().map(|entry| entry.id.to_string()).collect::<BTreeSet<_>>(), ids);
    let entry = &all[0];
    assert_eq!((entry.created, entry.last_seen), (START, START));
    assert_eq!((entry.idle_expires, entry.expires), (START.plus(600), START.plus(3600)));
    let (shop, _) = collect(Some("shop")).await;
    assert!(shop.len() == 5 && shop.iter().all(|entry| entry.app == "shop"));
    house.clock.advance(599);
    assert_eq!(collect(None).await.0.len(), 10);
    house.clock.advance(1);
    assert_eq!(collect(None).await.0, []);
    assert_eq!(house.sessions.count().await, Ok(10), "a look removes nothing");
}

/// SES-7.4: newest first, by today's policy too.
#[tokio::test]
async fn a_person_sees_their_sessions_newest_first_and_no_dead_ones() {
    let house = House::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, id(&ALICE.begins(&house.sessions).await.1));
        house.clock.advance(10);
    }
    Who { subject: Some("bob"), ..ALICE }.begins(&house.sessions).await;
    Who { issuer: "https://other.example", ..ALICE }.begins(&house.sessions).await;
    Who { app: "bank", ..ALICE }.begins(&house.sessions).await;
    let list = async |policy: &Policy| {
        let in_app = |app: &str| app == "shop";
        let listed = house.sessions.list_of(ALICE.issuer, "alice", in_app, Some(policy)).await;
        listed.unwrap()
    };
    let listed = list(&POLICY).await;
    let shown: Vec<_> = listed.iter().map(|entry| entry.id.to_string()).collect();
    assert_eq!(shown, ids);
    let tight = list(&Policy { idle: 25, ..POLICY }).await;
    assert_eq!(tight.len(), 2, "the first is 30 seconds old");
    assert_eq!(tight[0].idle_expires, START.plus(20 + 25));
}

async fn end_own(sessions: &Sessions, by: &Session, which: Own<'_>) -> usize {
    let ended = sessions.end_own(by, which, EndReason::LogoutElsewhere).await;
    ended.unwrap().len()
}

/// SES-7.4: what is named is ended only for the person whose it is, in the app it is of.
#[tokio::test]
async fn nobody_ends_anothers_session_by_its_name() {
    let house = House::new();
    let (_, own) = ALICE.begins(&house.sessions).await;
    let (_, second) = ALICE.begins(&house.sessions).await;
    let strangers = [
        Who { subject: Some("bob"), ..ALICE },
        Who { issuer: "https://other.example", ..ALICE },
        Who { app: "bank", ..ALICE },
        Who { subject: None, ..ALICE },
    ];
    for who in strangers {
        let (_, theirs) = who.begins(&house.sessions).await;
        assert_eq!(end_own(&house.sessions, &own, Own::Named(&id(&theirs))).await, 0);
        assert_eq!(end_own(&house.sessions, &theirs, Own::Named(&id(&own))).await, 0);
        assert_eq!(end_own(&house.sessions, &theirs, Own::Others).await, 0);
    }
    for nonsense in ["", "x", &id(&own)[1..]] {
        assert_eq!(end_own(&house.sessions, &own, Own::Named(nonsense)).await, 0, "{nonsense:?}");
    }
    assert_eq!(house.sessions.count().await, Ok(6));
    assert_eq!(end_own(&house.sessions, &own, Own::Named(&id(&second))).await, 1);
    assert_eq!(end_own(&house.sessions, &own, Own::Named(&id(&second))).await, 0, "once");
    ALICE.begins(&house.sessions).await;
    ALICE.begins(&house.sessions).await;
    assert_eq!(end_own(&house.sessions, &own, Own::Others).await, 2);
    assert_eq!(ALICE.alive(&house.sessions).await, BTreeSet::from([id(&own)]));
    assert_eq!(house.sessions.count().await, Ok(5), "and no stranger's");
    assert_eq!(house.seen.ends(), [("logout_elsewhere", 1); 3]);
}

/// SES-7.4: by its name, wherever in the store it is; the tokens that wait for it are forgotten.
#[tokio::test]
async fn an_operator_ends_any_session_by_its_name() {
    let house = House::new();
    let mut names = Vec::new();
    for _ in 0..300 {
        names.push(id(&ALICE.begins(&house.sessions).await.1));
    }
    let end =
        async |name: &str| house.sessions.end_listed(name, EndReason::Administrator).await.unwrap();
    for name in [&names[0], &names[150], &names[299]] {
        let ended = end(name).await.unwrap();
        assert_eq!((ended.app.as_str(), ended.pseudonym.as_str()), ("shop", name.as_str()));
        assert_eq!(end(name).await, None);
    }
    assert_eq!(end("nobody").await, None);
    assert_eq!(house.sessions.count().await, Ok(297));
    assert_eq!(house.seen.ends(), [("administrator", 1); 3]);
}

/// SES-7.4: all of an app, or all there are, beyond one stretch.
#[tokio::test]
async fn an_operator_ends_every_session_of_an_app_or_of_all() {
    let house = House::new();
    let bank = Who { app: "bank", ..ALICE };
    for number in 0..600 {
        if number % 2 == 0 { ALICE } else { bank }.begins(&house.sessions).await;
    }
    let reason = EndReason::Administrator;
    assert_eq!(house.sessions.end_every(|app| app == "bank", reason).await, Ok(300));
    assert_eq!(house.sessions.count().await, Ok(300));
    assert_eq!(house.sessions.end_every(|app| app == "bank", reason).await, Ok(0));
    assert_eq!(house.sessions.end_every(|_| true, reason).await, Ok(300));
    assert_eq!(house.sessions.count().await, Ok(0));
    assert_eq!(house.seen.ends().len(), 600);
}

/// An outage is not an empty list, nor an end.
#[tokio::test]
async fn a_store_that_cannot_be_asked_shows_and_ends_nothing() {
    let house = House::new();
    let (_, own) = ALICE.begins(&house.sessions).await;
    let (_, other) = ALICE.begins(&house.sessions).await;
    for failing in ["page", "find", "load", "remove"] {
        house.store.fail(failing);
        let by_page = failing == "page" || failing == "remove";
        let by_index = failing != "page";
        let (sessions, reason) = (&house.sessions, EndReason::Administrator);
        if by_page {
            assert!(sessions.end_listed(&id(&other), reason).await.is_err(), "{failing}");
            assert!(sessions.end_every(|_| true, reason).await.is_err(), "{failing}");
        }
        if by_index {
            assert!(sessions.end_own(&own, Own::Others, reason).await.is_err(), "{failing}");
        }
        if failing == "page" {
            assert!(sessions.list(|_| true, None, 10).await.is_err());
        }
        if failing == "find" || failing == "load" {
            let listed = sessions.list_of(ALICE.issuer, "alice", |_| true, None).await;
            assert!(listed.is_err(), "{failing}");
        }
        house.store.heal();
    }
    assert_eq!(ALICE.alive(&house.sessions).await.len(), 2);
}
