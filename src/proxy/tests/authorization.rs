//! Owns the tests of routes that demand something authorized in detail.

use serde_json::json;

use super::*;

fn grant(gate: &TestGate, kind: &str) {
    let details = AuthorizationDetails::read(&json!([{"type": kind}])).unwrap();
    *gate.details.lock().unwrap() = Some(details);
}

fn log_in(gate: &TestGate, session: &'static str) {
    let began = Ambient::system().now().plus(1);
    *gate.login.lock().unwrap() = Login { session, began, acr: None, auth_time: began };
}

/// RAR-7: what was not granted reaches no upstream, and the page hears what to ask for; once.
#[tokio::test]
async fn a_session_without_the_authorization_never_reaches_the_upstream() {
    let rule = AuthorizationRule { kind: "payment".to_owned(), template: Some("pay".to_owned()) };
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let transport = Inside::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(Response::new(Body::empty())))
    });
    for path in ["/api/x", "/plain/x"] {
        count.store(0, Ordering::SeqCst);
        let ambient = Ambient::system();
        let rig = rig_with(
            "https://up.example",
            transport.clone(),
            TestGate::default(),
            ambient,
            |spec| {
                spec.authorization = Some(rule.clone());
            },
        );
        let fault = rig.fault(get(path)).await;
        assert_eq!(fault, Fault::Authorization(rule.clone()));
        assert_eq!(
            (fault.reason(), fault.error_code().as_str(), fault.error_code().status().as_u16()),
            ("authorization.required", "authorization_required", 401)
        );
        for other in ["payments", "Payment", "account"] {
            grant(&rig.gate, other);
            assert_eq!(rig.fault(get(path)).await, fault, "{other}");
        }
        log_in(&rig.gate, "two");
        let fault = rig.fault(get(path)).await;
        assert_eq!(
            (fault.reason(), fault.error_code().as_str(), fault.error_code().status().as_u16()),
            ("authorization.insufficient", "insufficient_authorization", 403)
        );
        assert_eq!(count.load(Ordering::SeqCst), 0);
        grant(&rig.gate, "payment");
        assert_eq!(rig.call(get(path)).await.unwrap().status(), 200);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
    let mut public = super::super::routes::RouteSpec {
        authorization: Some(rule),
        access: Access::Public,
        methods: vec![Method::GET],
        ..RouteSpec {
            path: "/p".to_owned(),
            upstream: Url::parse("https://up.example").unwrap(),
            methods: Vec::new(),
            access: Access::Public,
            first_byte_timeout: FIRST_BYTE,
            idle_timeout: IDLE,
            request_body_limit: LIMIT,
            replay_body_limit: 0,
            step_up: StepUpRule::default(),
            token: TokenSource::User(None),
            authorization: None,
        }
    };
    let refused = RouteTable::new([(public.clone(), ())]).unwrap_err();
    assert_eq!(refused, (0, RouteFault::PublicStepUp));
    public.authorization = None;
    assert!(RouteTable::new([(public, ())]).is_ok());
}
