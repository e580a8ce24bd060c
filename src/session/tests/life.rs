//! Owns the tests of beginning, finding, expiring and ending sessions.

use base64::Engine as _;

use super::{contract::overwrite, *};

/// SES-7.2.1-3
#[tokio::test]
async fn a_session_is_found_by_its_handle_and_says_what_was_put_in() {
    let house = House::new();
    let (handle, created) = house.login().await;
    let handle = Handle::parse(&handle.to_cookie_value()).unwrap();
    let found = house.find(&handle, Activity::Counts).await.unwrap();
    assert_eq!(found.app(), "shop");
    assert_eq!(found.client(), "client");
    assert_eq!(*found.identity(), identity());
    assert_eq!(found.scope(), "openid accounts");
    assert_eq!(found.access_token().expose(), "access-0");
    assert_eq!(found.refresh_token().unwrap().expose(), "refresh-0");
    assert_eq!(found.id_token().unwrap().expose(), "id-0");
    assert_eq!(found.access_expires(), Some(START.plus(ACCESS)));
    assert_eq!(found.absolute_expires(), START.plus(3600));
    assert_eq!(found.idle_expires(), START.plus(600));
    assert_eq!(found.version(), Version::FIRST);
    assert_eq!(found.pseudonym(), created.pseudonym());
    assert_eq!(found.pseudonym().as_str().len(), 22);
    assert_ne!(Some(found.pseudonym()), found.subject_pseudonym());
}

/// BFF-6.1.2.2-1.
#[tokio::test]
async fn another_handle_and_another_app_find_nothing() {
    let house = House::new();
    let (handle, _) = house.login().await;
    let stranger = house.sessions.keys.new_handle(&house.sessions.ambient).unwrap();
    let unknown = FindError::NoSession(NoSession::Unknown);
    assert_eq!(house.find(&stranger, Activity::Counts).await.unwrap_err(), unknown);
    let sessions = &house.sessions;
    let other = sessions.find("bank", &handle, &POLICY, Activity::Counts).await;
    assert_eq!(other.unwrap_err(), unknown);
    assert!(sessions.end("bank", &handle, EndReason::Logout).await.unwrap().is_none());
    let other =
        sessions.refresh("bank", &handle, &POLICY, &house.refresher, Cause::Demanded, None).await;
    assert!(matches!(other, RefreshOutcome::Ended(NoSession::Unknown)), "{other:?}");
    assert!(house.find(&handle, Activity::Counts).await.is_ok());
    assert_eq!(house.seen.unreadable.load(Ordering::SeqCst), 0);
}

/// SES-7.3
#[tokio::test]
async fn idle_limit_ends_at_its_second_and_no_sooner() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.clock.advance(599);
    assert!(house.find(&handle, Activity::Polls).await.is_ok());
    house.clock.advance(1);
    let error = house.find(&handle, Activity::Counts).await.unwrap_err();
    assert_eq!(error, FindError::NoSession(NoSession::IdleExpired));
    assert_eq!(house.seen.ends(), [("idle_expired", 1)]);
}

/// SES-7.3
#[tokio::test]
async fn absolute_limit_ends_at_its_second_whatever_the_activity() {
    let house = House::new();
    let (handle, _) = house.login().await;
    for _ in 0..7 {
        house.clock.advance(500);
        assert!(house.find(&handle, Activity::Counts).await.is_ok());
    }
    house.clock.advance(99);
    let last = house.find(&handle, Activity::Counts).await.unwrap();
    assert_eq!(last.idle_expires(), START.plus(3600), "never beyond the absolute end");
    house.clock.advance(1);
    let error = house.find(&handle, Activity::Counts).await.unwrap_err();
    assert_eq!(error, FindError::NoSession(NoSession::AbsoluteExpired));
    assert_eq!(house.seen.ends(), [("absolute_expired", 1)]);
}

/// SES-7.3
#[tokio::test]
async fn polling_does_not_extend_and_activity_does() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.clock.advance(400);
    let polled = house.find(&handle, Activity::Polls).await.unwrap();
    assert_eq!(polled.idle_expires(), START.plus(600));
    let used = house.find(&handle, Activity::Counts).await.unwrap();
    assert_eq!(used.idle_expires(), START.plus(1000));
    house.clock.advance(599);
    assert!(house.find(&handle, Activity::Polls).await.is_ok());
    house.clock.advance(1);
    assert!(house.find(&handle, Activity::Polls).await.is_err());
}

#[tokio::test]
async fn activity_is_noted_every_twentieth_of_the_idle_limit() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.clock.advance(29);
    let used = house.find(&handle, Activity::Counts).await.unwrap();
    assert_eq!(used.idle_expires(), START.plus(600), "too soon to be worth a write");
    house.clock.advance(1);
    let used = house.find(&handle, Activity::Counts).await.unwrap();
    assert_eq!(used.idle_expires(), START.plus(630));
}

#[tokio::test]
async fn a_tighter_policy_applies_to_old_sessions_and_a_looser_one_does_not() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.clock.advance(60);
    let find = async |idle, absolute| {
        let policy = Policy { idle, absolute, refresh_ahead: 0 };
        house.sessions.find("shop", &handle, &policy, Activity::Polls).await
    };
    let loose = find(100_000, 100_000).await.unwrap();
    assert_eq!(loose.idle_expires(), START.plus(600));
    assert_eq!(loose.absolute_expires(), START.plus(3600));
    assert_eq!(find(61, 1000).await.unwrap().absolute_expires(), START.plus(1000));
    assert_eq!(find(60, 1000).await.unwrap_err(), FindError::NoSession(NoSession::IdleExpired));
}

#[tokio::test]
async fn a_clock_set_back_does_not_raise_the_dead() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.clock.advance(600);
    assert!(house.find(&handle, Activity::Polls).await.is_err());
    house.clock.set_wall(START);
    let error = house.find(&handle, Activity::Counts).await.unwrap_err();
    assert_eq!(error, FindError::NoSession(NoSession::Unknown));
}

/// SES-7.4
#[tokio::test]
async fn exactly_one_caller_gets_the_ended_session() {
    let house = House::new();
    let (handle, _) = house.login().await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (sessions, handle) = (house.sessions.clone(), handle.clone());
            tokio::spawn(
                async move { sessions.end("shop", &handle, EndReason::Logout).await.unwrap() },
            )
        })
        .collect();
    let mut got = Vec::new();
    for call in calls {
        got.extend(call.await.unwrap());
    }
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].refresh_token().unwrap().expose(), "refresh-0");
    assert_eq!(house.seen.ends(), [("logout", 1)]);
    assert!(house.find(&handle, Activity::Counts).await.is_err());
}

/// SES-7.4
#[tokio::test]
async fn sessions_end_by_sid_and_by_subject_in_the_chosen_apps() {
    let house = House::new();
    let (first, session) = house.login().await;
    let (second, _) = house.login().await;
    let issuer = "https://as.example";
    let end = async |whose, app: &'static str| {
        let reason = EndReason::BackChannelLogout;
        house.sessions.end_all(whose, |name| name == app, reason).await.unwrap()
    };
    assert_eq!(end(Whose::Sid { issuer, sid: "sid-2", subject: None }, "shop").await, []);
    assert_eq!(
        end(Whose::Sid { issuer: "https://other", sid: "sid-1", subject: None }, "shop").await,
        []
    );
    assert_eq!(end(Whose::Subject { issuer, subject: "sid-1" }, "shop").await, []);
    assert_eq!(end(Whose::Sid { issuer, sid: "sid-1", subject: None }, "bank").await, []);
    assert!(house.find(&first, Activity::Polls).await.is_ok());
    let ended = end(Whose::Subject { issuer, subject: "subject-alice" }, "shop").await;
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().any(|ended| ended.pseudonym == *session.pseudonym()));
    for handle in [first, second] {
        assert!(house.find(&handle, Activity::Polls).await.is_err());
    }
}

/// BCL-2.7: where both are named, both must match.
#[tokio::test]
async fn a_sid_with_a_subject_ends_that_subjects_session_only() {
    let house = House::new();
    let issuer = "https://as.example";
    let login = async |sid: Option<&str>, subject: Option<&str>| {
        let [sid, subject] = [sid, subject].map(|name| name.map(str::to_owned));
        let identity = Identity { subject, sid, ..identity() };
        house.login_as(identity).await.0
    };
    let end = async |sid, subject| {
        let whose = Whose::Sid { issuer, sid, subject };
        let reason = EndReason::BackChannelLogout;
        house.sessions.end_all(whose, |_| true, reason).await.unwrap().len()
    };
    let alice = login(Some("sid-1"), Some("alice")).await;
    // Another's session under the same sid, one whose subject nobody knows, and one without a sid.
    let bob = login(Some("sid-1"), Some("bob")).await;
    let nobody = login(Some("sid-1"), None).await;
    let elsewhere = login(None, Some("alice")).await;
    let lives = async |handle: &Handle| house.find(handle, Activity::Polls).await.is_ok();
    assert_eq!(end("sid-1", Some("carol")).await, 0);
    assert_eq!(end("sid-2", Some("alice")).await, 0);
    // The sid of one is not the subject of another.
    assert_eq!(end("alice", Some("sid-1")).await, 0);
    assert_eq!(end("sid-1", Some("alice")).await, 1);
    assert!(!lives(&alice).await);
    for handle in [&bob, &nobody, &elsewhere] {
        assert!(lives(handle).await);
    }
    assert_eq!(end("sid-1", None).await, 2);
    assert!(lives(&elsewhere).await);
}

#[tokio::test]
async fn a_sweep_ends_what_nobody_came_back_for() {
    let house = House::new();
    let (_, _) = house.login().await;
    house.clock.advance(599);
    house.sessions.sweep().await.unwrap();
    assert_eq!(house.sessions.count().await.unwrap(), 1);
    house.clock.advance(1);
    house.sessions.sweep().await.unwrap();
    assert_eq!(house.sessions.count().await.unwrap(), 0);
    assert_eq!(house.seen.ends(), [("idle_expired", 1)]);
}

#[tokio::test]
async fn consuming_depends_on_every_part() {
    let house = House::new();
    let once =
        async |what: &[&[u8]]| house.sessions.consume_once(what, START.plus(60)).await.unwrap();
    assert!(once(&[b"transaction", b"a"]).await);
    assert!(!once(&[b"transaction", b"a"]).await);
    assert!(once(&[b"transaction", b"b"]).await);
    assert!(once(&[b"transactiona"]).await);
}

/// BCL-2.6-7: what is consumed is not done before somebody says so.
#[tokio::test]
async fn what_is_done_is_noted_apart_from_what_is_consumed() {
    let house = House::new();
    let (what, expires): (&[&[u8]], _) = (&[b"token", b"a"], START.plus(60));
    let is_done = async |what: &[&[u8]]| house.sessions.is_done(what).await.unwrap();
    assert!(house.sessions.consume_once(what, expires).await.unwrap());
    assert!(!is_done(what).await);
    house.sessions.note_done(what, expires).await.unwrap();
    assert!(is_done(what).await);
    assert!(!is_done(&[b"token", b"b"]).await);
    assert!(!house.sessions.consume_once(what, expires).await.unwrap());
}

/// SES-7.2.1-3
#[tokio::test]
async fn a_dump_of_the_store_holds_no_handle_token_or_subject() {
    let house = House::new();
    let (handle, _) = house.login().await;
    house.find(&handle, Activity::Counts).await.unwrap();
    house.sessions.consume_once(&[b"transaction-id"], START.plus(60)).await.unwrap();
    let House { sessions, store, file, _directory, .. } = house;
    drop((sessions, store));
    let dump = std::fs::read(&file).unwrap();
    let value = handle.to_cookie_value();
    let contains = |text: &[u8]| dump.windows(text.len()).any(|window| window == text);
    assert!(contains(b"shop"), "the dump is of the right file");
    let raw = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&value).unwrap();
    assert!(!contains(&raw) && !contains(value.as_bytes()));
    for secret in [
        "access-0",
        "refresh-0",
        "id-0",
        "subject-alice",
        "sid-1",
        "Alice",
        "transaction-id",
        "as.example",
    ] {
        assert!(!contains(secret.as_bytes()), "{secret}");
    }
}

#[tokio::test]
async fn a_record_that_does_not_open_is_unknown_counted_and_kept() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let sealed = house.store.inner.load(&session.key).await.unwrap().unwrap().sealed;
    let mut version = Version::FIRST;
    for (count, spoilt) in
        [sealed[..sealed.len() - 1].to_vec(), Vec::new(), sealed.clone()].into_iter().enumerate()
    {
        // The third is intact, but put back under a later version: a rollback.
        let store = &*house.store.inner;
        let replaced = overwrite(store, &session.key, version, spoilt, START.plus(3600)).await;
        assert_eq!(replaced, Replaced::Done(version.next()));
        version = version.next();
        let error = house.find(&handle, Activity::Counts).await.unwrap_err();
        assert_eq!(error, FindError::NoSession(NoSession::Unknown));
        assert_eq!(house.seen.unreadable.load(Ordering::SeqCst), count + 1);
    }
    let mut flipped = sealed;
    flipped[40] ^= 1;
    let store = &*house.store.inner;
    let _ = overwrite(store, &session.key, version, flipped, START.plus(3600)).await;
    assert!(house.find(&handle, Activity::Counts).await.is_err());
    assert_eq!(house.sessions.count().await.unwrap(), 1);
}

#[tokio::test]
async fn debug_of_a_session_shows_no_secret() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let shown = format!("{handle:?} {session:?} {:?} {:?}", session.identity(), house.sessions);
    for secret in ["access-0", "refresh-0", "id-0", "alice", "Alice", &handle.to_cookie_value()] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
