//! Owns the tests of authentication that does not suffice: by the route's word and by the upstream's.

use super::*;
use crate::{
    clock::{ManualClock, SystemEntropy},
    protocol::StepUp,
};

const START: UnixTime = UnixTime::new(1_700_000_000);

/// An upstream that answers 401 with this challenge, and counts.
fn challenging(challenge: &'static str) -> (Inside, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let transport = Inside::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let response = Response::builder().status(401).header("www-authenticate", challenge);
        std::future::ready(Ok(response.body(Body::from("theirs")).unwrap()))
    });
    (transport, count)
}

fn answering() -> (Inside, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let transport = Inside::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(Response::new(Body::empty())))
    });
    (transport, count)
}

fn step_up(acr_values: &[&str], max_age: Option<u32>) -> StepUp {
    let acr_values = acr_values.iter().map(|value| (*value).to_owned()).collect();
    StepUp { acr_values, max_age, scope: None }
}

fn rig_at(clock: &Arc<ManualClock>, transport: Inside, rule: &StepUpRule) -> Rig<Inside> {
    let ambient = Ambient {
        clock: Arc::<ManualClock>::clone(clock),
        entropy: Arc::new(SystemEntropy::new()),
    };
    let gate = TestGate { login: Mutex::new(login("one", START, None)), ..TestGate::default() };
    rig_with("https://up.example", transport, gate, ambient, |spec| spec.step_up = rule.clone())
}

const fn login(session: &'static str, began: UnixTime, acr: Option<&'static str>) -> Login {
    Login { session, began, acr, auth_time: began }
}

fn log_in(rig: &Rig<Inside>, login: Login) {
    *rig.gate.login.lock().unwrap() = login;
}

const CHALLENGE: &str =
    "Bearer error=\"insufficient_user_authentication\", acr_values=\"high top\", max_age=60";
const MALFORMED: &str = "Bearer error=insufficient_user_authentication, max_age=-1";

/// SES-7.5, STEP-4: the route's own demand stands before the upstream.
#[tokio::test]
async fn a_session_that_falls_short_of_the_route_never_reaches_the_upstream() {
    let demand = step_up(&["high"], Some(60));
    let rule = StepUpRule { demand: Some(demand.clone()), relay: true, ..StepUpRule::default() };
    let clock = ManualClock::at(START);
    for path in ["/api/x", "/plain/x"] {
        let (transport, count) = answering();
        let rig = rig_at(&clock, transport, &rule);
        let fault = rig.fault(get(path)).await;
        assert_eq!(fault, Fault::StepUp(demand.clone()));
        assert_eq!(
            (fault.reason(), fault.error_code().as_str()),
            ("step_up.required", "step_up_required")
        );
        assert_eq!(fault.error_code().status(), 401);
        log_in(&rig, login("two", START, Some("low")));
        assert_eq!(rig.fault(get(path)).await, Fault::InsufficientAuthentication);
        assert_eq!(count.load(Ordering::SeqCst), 0);
        log_in(&rig, login("three", START, Some("high")));
        assert_eq!(rig.call(get(path)).await.unwrap().status(), 200);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_route_that_wants_a_recent_authentication_is_right_to_the_second() {
    let rule = StepUpRule { demand: Some(step_up(&[], Some(60))), ..StepUpRule::default() };
    let clock = ManualClock::at(START);
    let (transport, count) = answering();
    let rig = rig_at(&clock, transport, &rule);
    clock.advance(60);
    assert_eq!(rig.call(get("/api/x")).await.unwrap().status(), 200);
    clock.advance(1);
    assert!(matches!(rig.fault(get("/api/x")).await, Fault::StepUp(_)));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(rig.call(get("/public/x")).await.unwrap().status(), 200, "that is nobody's session");
}

/// STEP-3, STEP-9: the upstream's word reaches the page as data, never as its own 401.
#[tokio::test]
async fn an_upstreams_demand_becomes_a_hint() {
    let relay = StepUpRule { relay: true, ..StepUpRule::default() };
    for challenge in [
        CHALLENGE,
        "dpop max_age=\"60\", acr_values=\"high top\", error=insufficient_user_authentication",
    ] {
        let (transport, count) = challenging(challenge);
        let rig = rig_at(&ManualClock::at(START), transport, &relay);
        let fault = rig.fault(post("/api/x", "body")).await;
        assert_eq!(fault, Fault::StepUp(step_up(&["high", "top"], Some(60))));
        assert_eq!(count.load(Ordering::SeqCst), 1, "not tried again");
        assert_eq!(rig.gate.renewed.load(Ordering::SeqCst), 0);
        assert_eq!(rig.seen.notes(), ["/api 4xx", "/api step-up asked"]);
    }
}

/// STEP-9: only where the operator lets it, and only what the operator lists.
#[tokio::test]
async fn a_demand_that_is_not_allowed_stays_the_upstreams_401() {
    let strings = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    let relay = |acr_values: &[&str]| StepUpRule {
        relay: true,
        acr_values: strings(acr_values),
        ..StepUpRule::default()
    };
    for (rule, path, challenge, note) in [
        (StepUpRule::default(), "/api/x", CHALLENGE, None),
        (relay(&[]), "/plain/x", CHALLENGE, None),
        (relay(&["low"]), "/api/x", CHALLENGE, Some("/api step-up not_allowed")),
        (relay(&[]), "/api/x", MALFORMED, Some("/api step-up malformed")),
        (relay(&[]), "/api/x", "Basic error=insufficient_user_authentication", None),
    ] {
        let (transport, _) = challenging(challenge);
        let rig = rig_at(&ManualClock::at(START), transport, &rule);
        let response = rig.call(get(path)).await.unwrap();
        assert_eq!(response.status(), 401, "{path} {challenge}");
        assert!(!response.headers().contains_key("www-authenticate"));
        assert_eq!(text(response).await, "theirs");
        assert_eq!(rig.seen.notes().get(1).map(String::as_str), note, "{path} {challenge}");
    }
    let (transport, _) = challenging(CHALLENGE);
    let rig = rig_at(&ManualClock::at(START), transport, &relay(&["top", "low"]));
    assert_eq!(rig.fault(get("/api/x")).await, Fault::StepUp(step_up(&["top"], Some(60))));
}

/// STEP-5: one attempt only.
#[tokio::test]
async fn an_upstream_that_is_never_content_makes_no_loop() {
    let clock = ManualClock::at(START);
    let (transport, _) = challenging(CHALLENGE);
    let rig = rig_at(&clock, transport, &StepUpRule { relay: true, ..StepUpRule::default() });
    assert!(matches!(rig.fault(get("/api/x")).await, Fault::StepUp(_)));
    assert!(matches!(rig.fault(get("/api/y")).await, Fault::StepUp(_)), "of the same page");
    clock.advance(30);
    log_in(&rig, login("two", START.plus(30), Some("high")));
    let fault = rig.fault(get("/api/x")).await;
    assert_eq!(fault, Fault::InsufficientAuthentication);
    assert_eq!(
        (fault.reason(), fault.error_code().as_str()),
        ("step_up.insufficient", "insufficient_authentication")
    );
    assert_eq!(fault.error_code().status(), 403);
    assert_eq!(
        rig.seen.notes().into_iter().filter(|note| note.contains("step-up")).collect::<Vec<_>>(),
        ["/api step-up asked", "/api step-up repeated", "/api step-up exhausted"]
    );
}
