//! A double of the suite's REST API with its states, timers and refusals. Each module is a way for the
//! authorization-server double to behave, and a way to judge what the client did.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use http::{Method, header};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, time::timeout};

use crate::{
    api::SampleApi,
    as_double::{AsDouble, Endpoint, Fault, Target, edits},
    ledger::ListenerKind,
    pki::{AS_HOST, ClientCertificates, Pki, server_config},
    serve::Server,
};

/// The suite's `waitTimeoutSeconds`, shorter.
const TIMER: Duration = Duration::from_millis(300);
const SET_UP: Duration = Duration::from_millis(50);
/// What only the mock server and the client may know.
pub(super) const LOGGED_SECRET: &str = "secret-in-a-log-entry";

/// What a module does, and when it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Script {
    /// A correct server; ends when the accounts are called.
    Happy,
    /// A wrong audience in the signed response; passes if no token is asked for.
    BadAudience,
    /// A wrong issuer in the metadata; passes if no login begins.
    IssuerMismatch,
    /// Takes the client's token request for a mistake.
    Strict,
    /// A condition stops it at the authorization endpoint.
    Interrupts,
    /// Waits for what nobody does.
    NeverEnds,
    /// Happy, but a request comes after the end.
    Late,
    /// Ends at the authorization endpoint: nothing to test.
    Skipped,
}

type State = (&'static str, &'static str);

struct Run {
    id: String,
    module: &'static str,
    script: Script,
    state: watch::Sender<State>,
    log: Mutex<Vec<Value>>,
    /// What is stored has been asked for since the end.
    was_asked: AtomicBool,
}

impl Run {
    fn end(&self, state: State, msg: &str) {
        let result = match state.1 {
            "PASSED" => "SUCCESS",
            "SKIPPED" => "INFO",
            _ => "FAILURE",
        };
        self.log.lock().unwrap().push(json!({
            "src": "Judge", "result": result, "msg": msg, "time": 1_500,
            "requirements": [concat!("FAPI2-SP-", "FINAL-5.3.3.1-11")], "tokens": LOGGED_SECRET,
        }));
        self.state.send_replace(state);
    }

    fn is_over(&self) -> bool {
        matches!(self.state.borrow().0, "FINISHED" | "INTERRUPTED")
    }
}

pub(super) struct Core {
    pub(super) authorization_server: AsDouble,
    pub(super) api: SampleApi,
    token: Option<&'static str>,
    modules: Vec<(&'static str, Script)>,
    base: String,
    runs: Mutex<Vec<Arc<Run>>>,
    /// Has no long poll, as before release 5.2.
    pub(super) is_old: AtomicBool,
    /// What the driver did that the real suite would not forgive.
    pub(super) complaints: Mutex<Vec<String>>,
    /// The configuration of the plan.
    pub(super) config: Mutex<Value>,
}

pub(super) struct SuiteDouble {
    server: Server,
    pub(super) core: Arc<Core>,
}

impl SuiteDouble {
    pub(super) async fn start(
        pki: &Pki,
        authorization_server: AsDouble,
        api: SampleApi,
        token: Option<&'static str>,
        modules: &[(&'static str, Script)],
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let core = Arc::new(Core {
            authorization_server,
            api,
            token,
            modules: modules.to_vec(),
            base: format!("https://{AS_HOST}:{}/", address.port()),
            runs: Mutex::default(),
            is_old: AtomicBool::new(false),
            complaints: Mutex::default(),
            config: Mutex::default(),
        });
        let serving = Arc::clone(&core);
        let router = Router::new().fallback(move |request: Request| {
            let core = Arc::clone(&serving);
            async move { answer(core, request).await }
        });
        let tls = server_config(&pki.authorization_server, ClientCertificates::Unasked).unwrap();
        let server = Server::start(listener, tls, ListenerKind::Plain, router).unwrap();
        Self { server, core }
    }

    pub(super) fn url(&self) -> &str {
        &self.core.base
    }

    pub(super) async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

fn reply(status: u16, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status.try_into().unwrap();
    response.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    response
}

async fn answer(core: Arc<Core>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(token) = core.token
        && header(header::AUTHORIZATION) != Some(&format!("Bearer {token}"))
    {
        return reply(401, &json!({"error": "unauthorized"}));
    }
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let parameter =
        |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let path: Vec<&str> = parts.uri.path().trim_start_matches('/').split('/').collect();
    match (&parts.method, path.as_slice()) {
        (&Method::POST, ["api", "plan"]) => {
            let variant = parameter("variant").unwrap_or("{}");
            create_plan(&core, parameter("planName").unwrap_or_default(), variant, &body)
        }
        (&Method::POST, ["api", "runner"]) => {
            if !body.is_empty() || header(header::CONTENT_TYPE) != Some("application/json") {
                return reply(400, &json!({"error": "a body, or none of JSON's kind"}));
            }
            start(core.clone(), parameter("test").unwrap_or_default())
        }
        (&Method::GET, ["api", "plan", "export", "plan-1"]) => reply(200, &json!("the plan")),
        (method, ["api", part, id, rest @ ..]) => {
            let runs = core.runs.lock().unwrap().clone();
            let Some(run) = runs.iter().find(|run| run.id == *id).cloned() else {
                return reply(404, &json!({}));
            };
            match (method, *part, rest) {
                (&Method::GET, "runner", ["wait-state"])
                    if !core.is_old.load(Ordering::Relaxed) =>
                {
                    let states = parameter("states").unwrap_or_default().to_owned();
                    let millis = parameter("timeoutMs").unwrap().parse().unwrap();
                    wait_state(&run, &states, Duration::from_millis(millis)).await
                }
                (&Method::GET, "runner", []) => {
                    if run.state.borrow().0 == "CREATED" {
                        let complaint = format!("{} was used before it waited", run.module);
                        core.complaints.lock().unwrap().push(complaint);
                    }
                    let accounts = format!("{}accounts", core.api.base_url());
                    let issuer = core.authorization_server.issuer();
                    let exposed = json!({"issuer": issuer, "accounts_endpoint": accounts});
                    reply(200, &json!({"id": id, "exposed": exposed}))
                }
                (&Method::DELETE, "runner", []) => {
                    if !run.is_over() {
                        run.end(("INTERRUPTED", "UNKNOWN"), "stopped by the API");
                    }
                    reply(200, &json!({}))
                }
                (&Method::GET, "info", []) => {
                    let mut state = *run.state.borrow();
                    // The store lags behind once.
                    if run.script == Script::Skipped && !run.was_asked.swap(true, Ordering::Relaxed)
                    {
                        state = ("WAITING", "UNKNOWN");
                    }
                    let (status, result) = state;
                    let summary = format!("what {} does", run.module);
                    reply(
                        200,
                        &json!({"status": status, "result": result, "summary": summary,
                        "version": "5.2.4"}),
                    )
                }
                (&Method::GET, "log", []) => reply(200, &json!(*run.log.lock().unwrap())),
                _ => reply(404, &json!({})),
            }
        }
        _ => reply(404, &json!({})),
    }
}

fn create_plan(core: &Core, plan: &str, variant: &str, body: &[u8]) -> Response {
    let refused = |message: &str| reply(400, &json!({"error": "Bad Request", "message": message}));
    let variant: Value = serde_json::from_str(variant).unwrap_or_default();
    let config: Value = serde_json::from_slice(body).unwrap_or_default();
    let pinned = plan == "fapi2-security-profile-final-client-test-plan";
    if pinned && variant.get("fapi_request_method").is_some() {
        return refused("Variant 'fapi_request_method' has been set by user, but is pinned");
    }
    if variant["sender_constrain"] != "mtls" || config["alias"].as_str().is_none() {
        return refused("variant or configuration incomplete");
    }
    let keys = config["client"]["jwks"]["keys"].as_array().cloned().unwrap_or_default();
    if keys.is_empty() || keys.iter().any(|key| key.get("d").is_some() || key["use"] != "sig") {
        return refused("client.jwks needs public signing keys");
    }
    *core.config.lock().unwrap() = config;
    let module =
        |(id, _): &(&str, Script)| json!({"testModule": id, "variant": {}, "instances": []});
    let modules: Vec<_> = core.modules.iter().map(module).collect();
    reply(201, &json!({"id": "plan-1", "name": plan, "modules": modules}))
}

fn start(core: Arc<Core>, module: &str) -> Response {
    let Some((module, script)) = core.modules.iter().copied().find(|(id, _)| *id == module) else {
        return reply(404, &json!({}));
    };
    let run = {
        let mut runs = core.runs.lock().unwrap();
        for earlier in runs.iter() {
            if !earlier.is_over() {
                let complaint = format!("{module} was started before {} ended", earlier.module);
                core.complaints.lock().unwrap().push(complaint);
            }
            if earlier.script == Script::Late {
                earlier.state.send_modify(|state| state.1 = "FAILED");
            }
        }
        let created = json!({
            "src": "TEST-RUNNER", "result": "INFO", "msg": "created", "time": 1_000,
            "config": LOGGED_SECRET,
        });
        let run = Arc::new(Run {
            id: format!("run-{}", runs.len()),
            module,
            script,
            state: watch::Sender::new(("CREATED", "UNKNOWN")),
            log: Mutex::new(vec![created]),
            was_asked: AtomicBool::new(false),
        });
        runs.push(Arc::clone(&run));
        run
    };
    let id = run.id.clone();
    tokio::spawn(async move { play(&core, &run).await });
    reply(201, &json!({"id": id, "name": module, "url": "unused"}))
}

async fn wait_state(run: &Run, states: &str, limit: Duration) -> Response {
    let mut state = run.state.subscribe();
    let wanted = |state: &State| states.split(',').any(|wanted| wanted == state.0);
    match timeout(limit, state.wait_for(wanted)).await {
        Ok(state) => reply(200, &json!({"state": state.unwrap().0})),
        Err(_) => reply(200, &json!({"timeout": true})),
    }
}

/// One module, from a new key of the mock server to the verdict.
async fn play(core: &Core, run: &Run) {
    let server = &core.authorization_server;
    server.reset_behaviour();
    server.rotate_keys(false).unwrap();
    server.clear_events();
    core.api.clear_events();
    server.behave(|behaviour| match run.script {
        Script::BadAudience => behaviour.edit(Target::Jarm, edits::wrong("aud")),
        Script::IssuerMismatch => behaviour.issuer_suffix = "INVALID".to_owned(),
        Script::Interrupts => {
            let location = format!("{}log-detail.html?log={}", core.base, run.id);
            behaviour.fault(Endpoint::Authorize, Fault::Redirect { status: 303, location });
        }
        _ => {}
    });
    // A module takes its time to set up.
    tokio::time::sleep(SET_UP).await;
    run.state.send_replace(("WAITING", "UNKNOWN"));
    let (passed, failed) = (("FINISHED", "PASSED"), ("FINISHED", "FAILED"));
    match run.script {
        Script::Happy | Script::Late => {
            core.api.wait_for("/accounts", 1).await;
            run.end(passed, "the accounts were called");
        }
        Script::BadAudience => {
            server.wait_for(Endpoint::Authorize, 1).await;
            tokio::time::sleep(TIMER).await;
            let went_on = server.count(Endpoint::Token) > 0;
            run.end(if went_on { failed } else { passed }, "no token was asked for");
        }
        Script::IssuerMismatch => {
            tokio::select! {
                () = server.wait_for(Endpoint::Metadata, 1) => tokio::time::sleep(TIMER).await,
                () = server.wait_for(Endpoint::Par, 1) => {}
            }
            let went_on = server.count(Endpoint::Par) > 0;
            run.end(if went_on { failed } else { passed }, "no login began");
        }
        Script::Strict => {
            server.wait_for(Endpoint::Token, 1).await;
            run.end(failed, "the client must not ask for a token");
        }
        Script::Interrupts => {
            server.wait_for(Endpoint::Authorize, 1).await;
            run.end(("INTERRUPTED", "FAILED"), "the request object is not as it should be");
        }
        Script::NeverEnds => {}
        Script::Skipped => {
            server.wait_for(Endpoint::Authorize, 1).await;
            run.end(("FINISHED", "SKIPPED"), "no nonce was sent");
        }
    }
}
