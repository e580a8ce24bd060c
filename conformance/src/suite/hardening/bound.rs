//! Tokens that are bound to a key of the client's (RFC 9449): what is proven to whom, what a server may
//! demand, and that nothing is ever sent without the proof.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    change::edit,
    refusal::{Refusal, Wrong, token_given_up},
};
use crate::{
    as_double::{
        Conduct, Constraint, DpopNonces, Endpoint, Event, Fault, FaultRule, Target, edits,
    },
    demo::browser::Call,
    jws::{Object, peek},
    suite::{
        client::Client,
        module::{Module, Step},
        stage::Stage,
    },
};

/// More than is kept to be sent again, by default.
const LARGE: usize = 200_000;

const fn client() -> Client {
    Client::of(Conduct { constraint: Constraint::Dpop, ..Conduct::security_profile() })
}

/// A request that came with a proof.
struct Proven {
    event: Event,
    proof: String,
    claims: Object,
}

impl Proven {
    fn claim(&self, name: &str) -> &str {
        self.claims.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The nonces in its answer.
    fn given(&self) -> impl Iterator<Item = &str> {
        let headers = self.event.answer.headers.iter();
        headers.filter(|(name, _)| name == "dpop-nonce").map(|(_, value)| value.as_str())
    }
}

/// Every request with a proof, of the server and its resources, then of the API.
fn proven(stage: &Stage) -> Vec<Proven> {
    let events = stage.world.double.events().into_iter().chain(stage.world.api.events());
    let proven = events.filter_map(|event| {
        let proof = event.header("dpop")?.to_owned();
        let (_, claims) = peek(&proof).ok()?;
        Some(Proven { event, proof, claims })
    });
    proven.collect()
}

fn at(all: &[Proven], endpoint: Endpoint) -> Vec<&Proven> {
    all.iter().filter(|proven| proven.event.endpoint == endpoint).collect()
}

/// Everything a session does: two APIs, userinfo, a refresh, and all of it again.
async fn live(stage: &mut Stage) -> Step {
    stage.login().await?;
    for _ in 0..2 {
        stage.reach_accounts().await?;
        stage.reach_api().await?;
        let answer = stage.get("/bff/userinfo").await?;
        stage.expect("userinfo", &answer, 200)?;
        let answer = stage.fetch(Call::post("/bff/refresh")).await?;
        stage.expect("refreshed", &answer, 200)?;
    }
    Ok(())
}

async fn fresh_proofs(stage: &mut Stage) -> Step {
    live(stage).await?;
    let all = proven(stage);
    let (proofs, ids): (BTreeSet<_>, BTreeSet<_>) =
        all.iter().map(|proven| (proven.proof.as_str(), proven.claim("jti"))).unzip();
    let held = all.len() > 8 && proofs.len() == all.len() && ids.len() == all.len();
    let message = format!("{} requests, {} proofs, {} ids", all.len(), proofs.len(), ids.len());
    stage.check("proofs_are_fresh", &["DPOP-7.3", "DPOP-4.2-c"], held, message);
    let resources = [Endpoint::Userinfo, Endpoint::Accounts, Endpoint::Api];
    let hashed = |proven: &Proven| {
        resources.contains(&proven.event.endpoint) != proven.claim("ath").is_empty()
    };
    let message = "with a token the proof has its hash, and only then";
    stage.check("token_hash", &["DPOP-7.1", "DPOP-4.2-c"], all.iter().all(hashed), message);
    let jkt = stage.world.double.last(Endpoint::Par);
    let jkt = jkt.and_then(|event| event.form("dpop_jkt").map(str::to_owned));
    stage.check("code_binding", &["DPOP-10.1"], jkt.is_some(), "the code is bound to the key");
    Ok(())
}

async fn nonces_of_others(stage: &mut Stage) -> Step {
    live(stage).await?;
    let all = proven(stage);
    let realms: [&[Endpoint]; 3] = [
        &[Endpoint::Par, Endpoint::Token],
        &[Endpoint::Userinfo, Endpoint::Accounts],
        &[Endpoint::Api],
    ];
    let of = |realm: &[Endpoint]| -> Vec<&Proven> {
        all.iter().filter(|proven| realm.contains(&proven.event.endpoint)).collect()
    };
    for (place, realm) in realms.iter().enumerate() {
        let own: BTreeSet<_> = of(realm).iter().flat_map(|proven| proven.given()).collect();
        let others = realms.iter().enumerate().filter(|(other, _)| *other != place);
        let foreign: BTreeSet<_> =
            others.flat_map(|(_, realm)| of(realm)).flat_map(Proven::given).collect();
        let sent: Vec<_> = of(realm)
            .iter()
            .map(|proven| proven.claim("nonce"))
            .filter(|n| !n.is_empty())
            .collect();
        let right = sent.iter().all(|nonce| own.contains(nonce) && !foreign.contains(nonce));
        let name = realm.first().map_or("", |endpoint| endpoint.name());
        let message =
            format!("{} nonces went to {name} and its like, all of them its own", sent.len());
        stage.check("own_nonces", &["DPOP-9"], right && !sent.is_empty(), message);
    }
    let oidc = stage.world.double.last(Endpoint::Par);
    let oidc = oidc.and_then(|event| event.form("nonce").map(str::to_owned)).unwrap_or_default();
    let apart = !oidc.is_empty() && all.iter().all(|proven| proven.claim("nonce") != oidc);
    stage.check("not_openid_connects", &["DPOP-9"], apart, "no proof has the login's own nonce");
    Ok(())
}

/// Of an endpoint that demanded a nonce without end: two requests, the second with the nonce, and new
/// in everything.
fn expect_one_more_try(stage: &Stage, endpoint: Endpoint) {
    let all = proven(stage);
    let tries = at(&all, endpoint);
    let name = endpoint.name();
    let message = format!("{} tries at {name}; 2 expected", tries.len());
    stage.check("one_more_try", &["DPOP-8", "DPOP-9"], tries.len() == 2, message);
    let [first, second] = tries.as_slice() else { return };
    let told = first.given().last().unwrap_or_default();
    let held = !told.is_empty() && second.claim("nonce") == told;
    stage.check("nonce_taken", &["DPOP-8"], held, format!("the second try at {name} has it"));
    let assertion = |proven: &Proven| proven.event.form("client_assertion").map(str::to_owned);
    let (before, after) = (assertion(first), assertion(second));
    let fresh = first.claim("jti") != second.claim("jti") && (before.is_none() || before != after);
    let message = format!("the second try at {name} has a proof and an assertion of its own");
    stage.check("fresh_try", &["DPOP-7.3", "PKJ-9-jti"], fresh, message);
}

async fn nonce_without_end(stage: &mut Stage) -> Step {
    let response = stage.response().await?;
    stage.world.double.clear_events();
    stage.world.double.behave(|behaviour| behaviour.dpop_nonces = DpopNonces::Endless);
    let answer = stage.deliver(&response).await?;
    Refusal::wrong("as.rejected").is_told(stage, "login_refused", &answer);
    expect_one_more_try(stage, Endpoint::Token);
    stage.expect_no_session().await?;

    stage.world.double.behave(|behaviour| behaviour.dpop_nonces = DpopNonces::Demanded);
    stage.browser = stage.world.browser();
    stage.login().await?;
    stage.world.double.clear_events();
    stage.world.double.behave(|behaviour| behaviour.dpop_nonces = DpopNonces::Endless);
    let answer = stage.accounts().await?;
    stage.expect_plain_refusal(&answer, 502, "upstream_rejected_token");
    expect_one_more_try(stage, Endpoint::Accounts);
    stage.expect_refreshes(0);
    stage.expect_session("the session is not to blame").await
}

/// The first call there is a large one: the nonce comes when half of it is gone.
async fn nonce_for_a_stream(stage: &mut Stage) -> Step {
    stage.login().await?;
    let upload = || Call::post("/lab/upload").bytes("application/octet-stream", "u".repeat(LARGE));
    let answer = stage.fetch(upload()).await?;
    stage.expect_refusal("upload_refused", &answer, 503, "upstream_token_renewed");
    let held = !answer.header("retry-after").is_empty();
    stage.check("retry_after", &["DPOP-9-PRJ"], held, "the page is told when to come again");
    stage.expect_api_asked("/upload", 1);
    let answer = stage.fetch(upload()).await?;
    stage.expect("upload", &answer, 200)?;
    let whole = answer.json()?.get("bytes") == Some(&json!(LARGE));
    stage.check("whole", &["DPOP-9-PRJ"], whole, "all of it arrives, once");
    stage.expect_api_asked("/upload", 2);
    Ok(())
}

async fn bearer_challenge(stage: &mut Stage) -> Step {
    live(stage).await?;
    let refreshes = stage.refreshes().len();
    let challenge = "Bearer realm=\"accounts\", error=\"invalid_token\"".to_owned();
    let bearer = Fault::Respond {
        status: 401,
        content_type: "application/json".to_owned(),
        body: b"{}".to_vec(),
        headers: vec![("www-authenticate".to_owned(), challenge)],
    };
    stage.world.api.fault("/accounts", FaultRule::from(bearer));
    let before = stage.world.api.count("/accounts");
    let answer = stage.get("/lab/accounts").await?;
    let asked = stage.world.api.count("/accounts") - before;
    let message = format!("the API was asked {asked} times, and answered {}", answer.status);
    stage.check("not_again", &["DPOP-7.2"], asked == 1, message);
    let proven = |event: &Event| {
        let scheme = event.header("authorization").and_then(|value| value.split(' ').next());
        event.header("dpop").is_some() && scheme == Some("DPoP")
    };
    let events = stage.world.api.events();
    let held = events.iter().all(proven);
    stage.check("no_bearer", &["DPOP-5", "DPOP-7.2"], held, "no token goes out without its proof");
    stage.expect_refreshes(refreshes);
    stage.world.api.heal();
    stage.reach_api().await
}

pub(super) fn modules() -> Vec<Module> {
    const DOWNGRADE: &[&str] = &["DPOP-5", "DPOP-7.2"];
    let all = vec![
        Module::new(
            "dpop-proofs-are-fresh",
            "The server, two APIs and userinfo are asked again and again.",
            "make a new proof for every request, with the hash of the token where there is one",
            &["DPOP-4.1/4.2-h", "DPOP-4.2-c", "DPOP-7.1", "DPOP-7.3", "DPOP-8", "DPOP-10.1"],
            |stage| Box::pin(fresh_proofs(stage)),
        ),
        Module::new(
            "dpop-nonce-demanded-without-end",
            "The token endpoint, then an API, demands a new nonce at every try.",
            "try exactly once more, then give up",
            &["FAPI2-SP-5.3.3.1-8", "DPOP-8", "DPOP-7.3"],
            |stage| Box::pin(nonce_without_end(stage)),
        ),
        Module::new(
            "dpop-nonce-of-another-server",
            "Two APIs and the server each give nonces of their own.",
            "send each only to who gave it",
            &["DPOP-9"],
            |stage| Box::pin(nonces_of_others(stage)),
        ),
        Module::new(
            "dpop-nonce-demanded-for-a-streamed-body",
            "An API demands a nonce when half of a large body has gone out.",
            "not send half of it twice",
            &["DPOP-9-PRJ"],
            |stage| Box::pin(nonce_for_a_stream(stage)),
        ),
        token_given_up(
            &Wrong(
                "dpop-downgrade-to-bearer",
                "The server answers a request for DPoP-bound tokens with bearer tokens.",
                DOWNGRADE,
            ),
            Refusal::wrong("token.type_mismatch"),
            edit(Target::TokenResponse, edits::set("token_type", json!("Bearer"))),
        ),
        Module::new(
            "dpop-bearer-challenge-at-the-api",
            "An API answers a request with a proof as if it knew bearer tokens only.",
            "never send the token without its proof",
            DOWNGRADE,
            |stage| Box::pin(bearer_challenge(stage)),
        ),
    ];
    all.into_iter().map(|module| module.with_client(client())).collect()
}
