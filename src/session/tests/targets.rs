//! Owns the tests of access tokens for one target each (RES-2.1/2.2, BCP-2.2-2.3).

use super::*;

fn api(name: &str) -> Target {
    Target { resource: Some(format!("https://{name}.example")), scope: None }
}

async fn fresh(
    house: &House,
    session: Session,
    handle: &Handle,
    target: &Target,
) -> Result<Session, TokenTrouble> {
    house.sessions.fresh(session, handle, &POLICY, &house.refresher, Some(target)).await
}

fn access<'s>(session: &'s Session, target: Option<&Target>) -> Option<&'s str> {
    session.access_token_for(target).map(Token::expose)
}

/// Each target has a token of its own; the grant's own and the refresh token move on as they should.
#[tokio::test]
async fn each_target_gets_its_own_token_when_first_needed() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let (a, b) = (api("a"), api("b"));
    let narrower = Target { scope: Some("accounts".to_owned()), ..api("a") };
    assert_eq!(access(&session, Some(&a)), None);
    let session = fresh(&house, session, &handle, &a).await.unwrap();
    let session = fresh(&house, session, &handle, &b).await.unwrap();
    let session = fresh(&house, session, &handle, &narrower).await.unwrap();
    let again = fresh(&house, session, &handle, &a).await.unwrap();
    assert_eq!(house.server.asked(), 3, "the first is still good");
    for session in [again, house.find(&handle, Activity::Polls).await.unwrap()] {
        assert_eq!(access(&session, Some(&a)), Some("access-1"));
        assert_eq!(access(&session, Some(&b)), Some("access-2"));
        assert_eq!(access(&session, Some(&narrower)), Some("access-3"));
        assert_eq!(access(&session, None), Some("access-0"));
        assert_eq!(session.refresh_token().unwrap().expose(), "refresh-3");
        assert_eq!(session.scope(), "openid accounts");
    }
    assert_eq!(*house.server.targets.lock().unwrap(), [Some(a), Some(b), Some(narrower)]);
    assert_eq!(*house.server.sent.lock().unwrap(), ["refresh-0", "refresh-1", "refresh-2"]);
}

/// One flight at a time, whatever it is after: two requests with one refresh token would be one too
/// many where it is rotated.
#[tokio::test]
async fn flights_for_different_targets_follow_each_other() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let targets = [Some(api("a")), Some(api("b")), Some(api("a")), None];
    house.clock.advance(300);
    house.server.hold();
    let calls: Vec<_> = targets
        .iter()
        .cycle()
        .take(20)
        .map(|target| {
            let (sessions, handle, session) =
                (house.sessions.clone(), handle.clone(), session.clone());
            let (refresher, target) = (house.refresher.clone(), target.clone());
            tokio::spawn(async move {
                let target = target.as_ref();
                let session = sessions.fresh(session, &handle, &POLICY, &refresher, target).await;
                access(&session.unwrap(), target).unwrap().to_owned()
            })
        })
        .collect();
    house.server.arrived.notified().await;
    assert_eq!(house.server.asked(), 1);
    house.server.gate.add_permits(100);
    let mut got = Vec::new();
    for call in calls {
        got.push(call.await.unwrap());
    }
    assert_eq!(house.server.asked(), 3, "one for each target");
    assert_eq!(*house.server.sent.lock().unwrap(), ["refresh-0", "refresh-1", "refresh-2"]);
    for (one, other) in [(0, 4), (0, 2), (1, 5), (3, 7)] {
        assert_eq!(got[one], got[other]);
    }
    assert!(got[0] != got[1] && got[1] != got[3] && got[0] != got[3], "{got:?}");
}

/// An upstream's refusal of one token says nothing about the others.
#[tokio::test]
async fn a_rejected_token_is_replaced_though_another_was_just_fetched() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let (a, b) = (api("a"), api("b"));
    let session = fresh(&house, session, &handle, &a).await.unwrap();
    let used = session.version();
    fresh(&house, session, &handle, &b).await.unwrap();
    let cause = Cause::UpstreamRejected { used_version: used };
    let renew = async |target: &Target| {
        let (sessions, refresher) = (&house.sessions, &house.refresher);
        sessions.refresh("shop", &handle, &POLICY, refresher, cause, Some(target)).await
    };
    let RefreshOutcome::Refreshed(session) = renew(&a).await else { panic!() };
    assert_eq!(access(&session, Some(&a)), Some("access-3"));
    assert_eq!(access(&session, Some(&b)), Some("access-2"));
    assert!(matches!(renew(&a).await, RefreshOutcome::Joined(_)), "somebody has done it");
    assert_eq!(house.server.asked(), 3);
}

/// RES-2.1/2.2: `invalid_target` is the target's trouble only.
#[tokio::test]
async fn a_refused_target_disturbs_no_other() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let (a, b) = (api("a"), api("b"));
    house.server.will(Err(RefreshFailure::TargetRefused));
    let refused = fresh(&house, session.clone(), &handle, &a).await.unwrap_err();
    assert_eq!(
        (refused, refused.reason()),
        (TokenTrouble::TargetRefused, "refresh.target_refused")
    );
    let again = fresh(&house, session.clone(), &handle, &a).await.unwrap_err();
    assert_eq!(
        (again, house.server.asked()),
        (TokenTrouble::TargetRefused, 1),
        "not asked at once"
    );
    let session = fresh(&house, session, &handle, &b).await.unwrap();
    assert_eq!(access(&session, Some(&b)), Some("access-2"));
    assert_eq!(house.seen.ends(), []);
}

/// Without a refresh token there is nothing to narrow, and another login would bring no more.
#[tokio::test]
async fn without_a_refresh_token_a_target_has_no_token() {
    let house = House::new();
    let (handle, session) = house.login_with(None).await;
    let trouble = fresh(&house, session.clone(), &handle, &api("a")).await.unwrap_err();
    assert_eq!((trouble, house.server.asked()), (TokenTrouble::TargetRefused, 0));
    house.clock.advance(300);
    let trouble = fresh(&house, session, &handle, &api("a")).await.unwrap_err();
    assert_eq!(trouble, TokenTrouble::Exhausted);
}

/// FAPI2-SP-5.3.2.1-9: tokens that wait for the store are stored for the target they came for, and
/// whoever comes next for another gets that.
#[tokio::test]
async fn tokens_that_wait_for_the_store_keep_their_target() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let (a, b) = (api("a"), api("b"));
    house.store.fail("replace");
    tokio::time::pause();
    let trouble = fresh(&house, session.clone(), &handle, &a).await.unwrap_err();
    tokio::time::resume();
    assert_eq!(trouble, TokenTrouble::StoreUnavailable);
    house.store.heal();
    let session = fresh(&house, session, &handle, &b).await.unwrap();
    assert_eq!(access(&session, Some(&a)), Some("access-1"));
    assert_eq!(access(&session, Some(&b)), Some("access-2"));
    assert_eq!(access(&session, None), Some("access-0"));
    assert_eq!(*house.server.sent.lock().unwrap(), ["refresh-0", "refresh-1"]);
}

/// Tokens that have ended do not pile up in the record; all that are there are given up at the end.
#[tokio::test]
async fn what_has_ended_leaves_the_record_and_the_end_names_the_rest() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let session = fresh(&house, session, &handle, &api("a")).await.unwrap();
    house.clock.advance(300);
    let session = fresh(&house, session, &handle, &api("b")).await.unwrap();
    assert_eq!(access(&session, Some(&api("a"))), None);
    fresh(&house, session, &handle, &api("c")).await.unwrap();
    let ended = house.sessions.end("shop", &handle, EndReason::Logout).await.unwrap().unwrap();
    let tokens: Vec<_> = ended.narrowed_tokens().map(Token::expose).collect();
    assert_eq!(tokens, ["access-2", "access-3"]);
}

/// RES-2.1/2.2: a winner who fetched a token for something else has not fetched this one.
#[tokio::test]
async fn one_who_was_overtaken_for_another_target_still_gets_its_token() {
    let house = House::new();
    let (handle, session) = house.login().await;
    let target = api("a");
    house.server.hold();
    let others = house.neighbour(Duration::ZERO);
    let winner = Arc::new(Server::new(house.clock.clone()));
    let refresher: Arc<dyn Refresher> = winner.clone();
    let wanted =
        house.sessions.fresh(session.clone(), &handle, &POLICY, &house.refresher, Some(&target));
    let meanwhile = async {
        house.server.arrived.notified().await;
        // The lease is lost: its time was over before it was used.
        house.store.inner.release(&session.key, Fence::new(1)).await.unwrap();
        let won = others.refresh("shop", &handle, &POLICY, &refresher, Cause::Demanded, None).await;
        assert!(matches!(won, RefreshOutcome::Refreshed(_)), "{won:?}");
        house.server.gate.add_permits(2);
    };
    let (found, ()) = tokio::join!(wanted, meanwhile);
    let found = found.unwrap();
    assert!(found.access_token_for(Some(&target)).is_some());
    assert_eq!((house.server.asked(), winner.asked()), (2, 1));
}
