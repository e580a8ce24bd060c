//! Owns the drill of changing the server key: instances that share a store and are not all at the same step.

use super::*;

const OLD: u8 = 1;
const NEW: u8 = 2;

/// What one instance has at each step: the active key, and the further ones.
const STEPS: [(u8, &[u8]); 4] = [(OLD, &[]), (OLD, &[NEW]), (NEW, &[OLD]), (NEW, &[])];

/// An instance with this ring on the house's store.
fn instance(house: &House, (active, further): (u8, &[u8])) -> (Arc<Sessions>, Arc<Seen>) {
    let key = |byte| ServerKey::from_bytes([byte; 32]);
    let ring = KeyRing::new(key(active), further.iter().copied().map(key)).unwrap();
    let seen = Arc::new(Seen::default());
    let ambient = house.sessions.ambient.clone();
    (Sessions::new(house.store.clone(), ring, Duration::ZERO, ambient, seen.clone()), seen)
}

fn new_session() -> NewSession {
    NewSession {
        app: "shop".to_owned(),
        client: "client".to_owned(),
        identity: identity(),
        tokens: Tokens {
            access_token: token("access-0"),
            access_expires: Some(START.plus(ACCESS)),
            refresh_token: Some(token("refresh-0")),
            id_token: None,
            key_seed: None,
            authorization_details: None,
            narrowed: Vec::new(),
            scope: "openid".to_owned(),
        },
    }
}

async fn login(sessions: &Sessions) -> (Handle, Session) {
    sessions.create(&POLICY, new_session()).await.unwrap()
}

async fn find(sessions: &Sessions, handle: &Handle) -> Result<Session, FindError> {
    // As it comes back from a browser.
    let handle = Handle::parse(&handle.to_cookie_value()).unwrap();
    sessions.find("shop", &handle, &POLICY, Activity::Polls).await
}

/// SES-7.4, SES-7.2.1-3: three instances take each step one after the other, in every order; whoever logs
/// in on one is known on all, refreshed by all, and logged out on all.
#[tokio::test]
async fn nobody_is_logged_out_while_instances_take_the_steps_in_any_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let house = House::new();
        let mut at = [0_usize; 3];
        let mut instances = at.map(|step| instance(&house, STEPS[step]));
        let mut logins = Vec::new();
        // Up to step 2: nothing made before may be lost.
        for step in [1, 2] {
            for who in order {
                for (sessions, _) in &instances {
                    logins.push(login(sessions).await);
                }
                at[who] = step;
                instances[who] = instance(&house, STEPS[step]);
                for (handle, made) in &logins {
                    for (sessions, _) in &instances {
                        let found = find(sessions, handle).await.unwrap();
                        assert_eq!(found.pseudonym(), made.pseudonym());
                        assert_eq!(found.subject_pseudonym(), made.subject_pseudonym());
                        assert_eq!(sessions.pseudonym(handle), *made.pseudonym());
                    }
                }
            }
        }
        // One refreshes, the others see it, whichever key sealed the session.
        for (number, (handle, _)) in logins.iter().enumerate() {
            let (who, witness) = (number % 3, (number + 1) % 3);
            let sessions = &instances[who].0;
            let cause = Cause::Demanded;
            let outcome =
                sessions.refresh("shop", handle, &POLICY, &house.refresher, cause, None).await;
            assert!(matches!(outcome, RefreshOutcome::Refreshed(_)), "{outcome:?}");
            let seen = find(&instances[witness].0, handle).await.unwrap();
            assert_eq!(seen.version(), Version::new(2));
        }
        // The end, too: by the AS's word on one instance, for sessions of either key.
        let whose = Whose::Sid {
            issuer: "https://as.example",
            sid: "sid-1",
            subject: Some("subject-alice"),
        };
        let ended =
            instances[1].0.end_all(whose, |_| true, EndReason::BackChannelLogout).await.unwrap();
        let mut names: Vec<_> = ended.iter().map(|ended| ended.pseudonym.as_str()).collect();
        let mut made: Vec<_> = logins.iter().map(|(_, made)| made.pseudonym().as_str()).collect();
        names.sort_unstable();
        made.sort_unstable();
        assert_eq!(names, made);
        for (handle, _) in &logins {
            let gone = find(&instances[2].0, handle).await.unwrap_err();
            assert_eq!(gone, FindError::NoSession(NoSession::Unknown));
        }
    }
}

/// SES-7.4: the last step removes a key; only sessions made under it go, and they are unknown, not an error.
#[tokio::test]
async fn without_its_key_a_session_is_unknown_and_counted_and_stays_in_the_store() {
    let house = House::new();
    let (before, _) = instance(&house, STEPS[2]);
    let (old, _) = login(&instance(&house, STEPS[1]).0).await;
    let (new, _) = login(&before).await;
    let (after, seen) = instance(&house, STEPS[3]);
    assert!(find(&after, &new).await.is_ok());
    assert_eq!(seen.unknown_keys.load(Ordering::SeqCst), 0);
    // No store is asked: what it says cannot matter.
    house.store.fail("load");
    let unknown = FindError::NoSession(NoSession::UnknownKey);
    assert_eq!(find(&after, &old).await.unwrap_err(), unknown);
    assert!(after.end("shop", &old, EndReason::Logout).await.unwrap().is_none());
    let refresh = after.refresh("shop", &old, &POLICY, &house.refresher, Cause::Demanded, None);
    let outcome = refresh.await;
    assert!(matches!(outcome, RefreshOutcome::Ended(NoSession::UnknownKey)), "{outcome:?}");
    assert_eq!(seen.unknown_keys.load(Ordering::SeqCst), 3);
    assert_eq!(seen.unreadable.load(Ordering::SeqCst), 0);
    house.store.heal();
    // An instance that still has the key finds it.
    assert!(find(&before, &old).await.is_ok());
}

/// FAPI2-SP-6.4: whatever is used once is used once, whichever two steps the instances are at.
#[tokio::test]
async fn what_is_consumed_on_one_instance_is_consumed_on_its_neighbours() {
    let expires = START.plus(600);
    for (first, second) in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)] {
        for (first, second) in [(first, second), (second, first)] {
            let house = House::new();
            let (one, _) = instance(&house, STEPS[first]);
            let (other, _) = instance(&house, STEPS[second]);
            for what in [b"a".as_slice(), b"b"] {
                assert!(one.consume_once(&[what], expires).await.unwrap());
                for again in [&one, &other] {
                    assert!(!again.consume_once(&[what], expires).await.unwrap());
                }
            }
            assert!(other.consume_once(&[b"c"], expires).await.unwrap());
            assert!(!one.consume_once(&[b"c"], expires).await.unwrap());
        }
    }
}

/// FAPI2-SP-6.4
#[tokio::test]
async fn of_many_who_consume_at_once_one_wins() {
    let house = House::new();
    let instances = [1, 2, 1, 2].map(|step| instance(&house, STEPS[step]).0);
    for round in 0..50_u32 {
        let what = round.to_be_bytes();
        let tasks: Vec<_> = instances
            .iter()
            .map(|sessions| {
                let sessions = Arc::clone(sessions);
                tokio::spawn(async move {
                    sessions.consume_once(&[&what], START.plus(600)).await.unwrap()
                })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            won += u32::from(task.await.unwrap());
        }
        assert_eq!(won, 1);
    }
}

/// FAPI2-SP-6.4: a store that fails half-way lets nobody in.
#[tokio::test]
async fn what_could_not_be_consumed_under_every_key_is_not_consumed() {
    let house = House::new();
    let (sessions, _) = instance(&house, STEPS[2]);
    house.store.fail("consume_once");
    assert!(sessions.consume_once(&[b"a"], START.plus(600)).await.is_err());
    house.store.heal();
    assert!(sessions.consume_once(&[b"a"], START.plus(600)).await.unwrap());
}
