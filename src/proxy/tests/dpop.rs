//! Owns the tests of tokens bound to a key: a proof for every attempt, and the nonces in them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::*;
use crate::{
    jose::{JwsAlg, SoftwareSigner, generate},
    protocol::Nonces,
};

fn prover() -> Prover {
    let key = generate(JwsAlg::Es256).unwrap();
    let signer = SoftwareSigner::from_pem(key.pkcs8_pem.as_bytes(), None).unwrap();
    Prover::new(Arc::new(signer), Arc::new(Nonces::default()))
}

fn gate(renewals: impl IntoIterator<Item = &'static str>) -> TestGate {
    let renewals = renewals.into_iter().map(Renewal::Renewed).collect();
    TestGate { prover: Some(prover()), renewals: Mutex::new(renewals), ..TestGate::default() }
}

/// One request as the upstream got it.
struct Sent {
    authorization: String,
    claims: Value,
    body: Bytes,
}

impl Sent {
    fn claim(&self, name: &str) -> Option<&str> {
        self.claims[name].as_str()
    }
}

/// An answer of the upstream.
#[derive(Clone, Copy)]
struct Says {
    status: u16,
    challenge: &'static str,
    nonce: &'static str,
}

const OK: Says = Says { status: 200, challenge: "", nonce: "" };

const fn wants_nonce(nonce: &'static str) -> Says {
    Says { status: 401, challenge: "DPoP error=\"use_dpop_nonce\", algs=\"ES256\"", nonce }
}

const fn refuses(challenge: &'static str) -> Says {
    Says { status: 401, challenge, nonce: "" }
}

/// An upstream that reads every body and gives these answers, the last of them for ever.
fn upstream(answers: impl Into<Vec<Says>>) -> (Inside, Arc<Mutex<Vec<Sent>>>) {
    let sent = Arc::<Mutex<Vec<Sent>>>::default();
    let (seen, answers) = (Arc::clone(&sent), answers.into());
    let transport = Inside::new(move |request: Request<RequestBody>| {
        let (seen, answers) = (Arc::clone(&seen), answers.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let proofs: Vec<_> = parts.headers.get_all("dpop").iter().collect();
            assert_eq!(proofs.len(), 1);
            assert!(proofs[0].is_sensitive() && parts.headers["authorization"].is_sensitive());
            let claims = proofs[0].to_str().unwrap().split('.').nth(1).unwrap();
            let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
            let authorization = parts.headers["authorization"].to_str().unwrap().to_owned();
            let mut seen = seen.lock().unwrap();
            seen.push(Sent { authorization, claims, body });
            let says = answers[(seen.len() - 1).min(answers.len() - 1)];
            let mut response = Response::builder().status(says.status);
            for (name, value) in [("www-authenticate", says.challenge), ("dpop-nonce", says.nonce)]
            {
                if !value.is_empty() {
                    response = response.header(name, value);
                }
            }
            Ok(response.body(Body::empty()).unwrap())
        }
    });
    (transport, sent)
}

fn nonces(sent: &Mutex<Vec<Sent>>) -> Vec<Option<String>> {
    sent.lock().unwrap().iter().map(|sent| sent.claim("nonce").map(str::to_owned)).collect()
}

/// DPOP-7.1, DPOP-4.2-c, DPOP-4.1/4.2-h: one proof, ours, of this request and this token.
#[tokio::test]
async fn a_bound_token_goes_out_with_its_proof() {
    let (transport, sent) = upstream([OK]);
    let rig = rig("https://up.example:8443/v1", transport, gate([]));
    let mut request = post("/api/x%20y?a=b", "body");
    request.headers_mut().append("dpop", HeaderValue::from_static("forged"));
    request.headers_mut().append("dpop", HeaderValue::from_static("twice"));
    rig.call(request).await.unwrap();
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0].authorization, "DPoP token-1");
    for (name, value) in [
        ("htm", "POST"),
        ("htu", "https://up.example:8443/v1/x%20y"),
        // SHA-256 of `token-1`.
        ("ath", "PwiqzhIu4jaEMsHKI6BJvGQLr78A_fM6UkKfOLoS2_k"),
    ] {
        assert_eq!(sent[0].claim(name), Some(value), "{name}");
    }
    let age = Ambient::system().now().as_i64() - sent[0].claims["iat"].as_i64().unwrap();
    assert!((0..5).contains(&age));
    assert_eq!(sent[0].claim("jti").unwrap().len(), 43);
    assert_eq!(sent[0].claim("nonce"), None);
}

/// DPOP-9, DPOP-7.3, DPOP-9-PRJ: a challenge, one retry, a fresh proof, the body again.
#[tokio::test]
async fn a_nonce_is_taken_once_and_the_request_sent_again() {
    for challenge in [
        "DPoP error=\"use_dpop_nonce\"",
        "dpop algs=\"ES256\", error=\"use_dpop_nonce\"",
        "Bearer, dPoP error=use_dpop_nonce",
    ] {
        let (transport, sent) = upstream([Says { status: 401, challenge, nonce: "n1" }, OK]);
        let rig = rig("https://up.example", transport, gate([]));
        let response = rig.call(post("/api/x", "body")).await.unwrap();
        assert_eq!(response.status(), 200);
        for name in ["dpop-nonce", "www-authenticate"] {
            assert!(!response.headers().contains_key(name), "{name}");
        }
        assert_eq!(nonces(&sent), [None, Some("n1".to_owned())]);
        let sent = sent.lock().unwrap();
        assert_ne!(sent[0].claim("jti"), sent[1].claim("jti"));
        assert_eq!((&sent[0].body, &sent[1].body), (&"body".into(), &"body".into()));
        assert_eq!(rig.gate.renewed.load(Ordering::SeqCst), 0);
    }
}

/// DPOP-8: the newest nonce is used, whatever answer brought it; two proofs never share a `jti`.
#[tokio::test]
async fn a_nonce_on_a_success_is_used_from_then_on() {
    let (transport, sent) = upstream([
        Says { nonce: "n1", ..OK },
        OK,
        Says { status: 500, challenge: "", nonce: "n2" },
        Says { nonce: "not a nonce", ..OK },
        OK,
    ]);
    let rig = rig("https://up.example", transport, gate([]));
    for _ in 0..5 {
        let response = rig.call(get("/api/x")).await.unwrap();
        assert!(!response.headers().contains_key("dpop-nonce"));
    }
    let expected = [None, Some("n1"), Some("n1"), Some("n2"), Some("n2")];
    assert_eq!(nonces(&sent), expected.map(|nonce| nonce.map(str::to_owned)));
    let sent = sent.lock().unwrap();
    let ids: std::collections::BTreeSet<_> = sent.iter().map(|sent| sent.claim("jti")).collect();
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn an_upstream_that_is_never_content_with_a_nonce_makes_no_loop() {
    let (transport, sent) = upstream([wants_nonce("n1"), wants_nonce("n2"), wants_nonce("n3")]);
    let rig = rig("https://up.example", transport, gate(["token-2"]));
    let fault = rig.fault(get("/api/x")).await;
    assert_eq!(
        (fault.reason(), fault.error_code().as_str()),
        ("upstream.proof_rejected", "upstream_rejected_token")
    );
    assert_eq!(nonces(&sent), [None, Some("n1".to_owned())]);
    assert_eq!(rig.gate.renewed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_demand_for_a_nonce_without_one_to_use_is_final() {
    for nonce in ["", "not a nonce", "a\"b"] {
        let (transport, sent) = upstream([wants_nonce(nonce), OK]);
        let rig = rig("https://up.example", transport, gate([]));
        assert_eq!(rig.fault(get("/api/x")).await, Fault::ProofRejected, "{nonce}");
        assert_eq!(nonces(&sent), [None]);
    }
}

/// DPOP-9-PRJ: the body is gone, so the page must send it again; by then the nonce is known.
#[tokio::test]
async fn a_long_body_is_not_sent_twice_but_the_nonce_learnt() {
    let (transport, sent) = upstream([wants_nonce("n1"), OK]);
    let rig = rig("https://up.example", transport, gate([]));
    let long = "x".repeat(REPLAY + 1);
    let fault = rig.fault(post("/api/x", long.clone())).await;
    assert_eq!(
        (fault.reason(), fault.error_code().as_str()),
        ("upstream.nonce_learned", "upstream_token_renewed")
    );
    assert_eq!(fault.error_code().status(), 503);
    assert_eq!(sent.lock().unwrap().len(), 1);
    assert_eq!(rig.call(post("/api/x", long)).await.unwrap().status(), 200);
    assert_eq!(nonces(&sent), [None, Some("n1".to_owned())]);
}

/// A nonce and a token, each once, in either order; three times and no more.
#[tokio::test]
async fn a_nonce_and_a_token_may_both_be_renewed_in_one_exchange() {
    const INVALID: Says = refuses("DPoP error=\"invalid_token\"");
    let (transport, sent) = upstream([wants_nonce("n1"), INVALID, OK]);
    let rig = rig("https://up.example", transport, gate(["token-2"]));
    assert_eq!(rig.call(post("/api/x", "body")).await.unwrap().status(), 200);
    let (transport, other) = upstream([INVALID, wants_nonce("n1"), OK]);
    let rig = super::rig("https://up.example", transport, gate(["token-2"]));
    assert_eq!(rig.call(post("/api/x", "body")).await.unwrap().status(), 200);
    for (sent, tokens) in [
        (sent, ["DPoP token-1", "DPoP token-1", "DPoP token-2"]),
        (other, ["DPoP token-1", "DPoP token-2", "DPoP token-2"]),
    ] {
        let sent = sent.lock().unwrap();
        assert_eq!(sent.iter().map(|s| s.authorization.as_str()).collect::<Vec<_>>(), tokens);
        assert!(sent.iter().all(|sent| sent.body == "body"));
        let proofs: Vec<_> =
            sent.iter().map(|sent| (sent.claim("jti"), sent.claim("ath"))).collect();
        assert!(proofs[0].0 != proofs[1].0 && proofs[1].0 != proofs[2].0);
        assert_ne!(proofs[0].1, proofs[2].1, "the hash is that of the token sent");
        assert_eq!(sent[2].claim("nonce"), Some("n1"));
    }

    for answers in [
        &[wants_nonce("n1"), INVALID, wants_nonce("n2"), OK][..],
        &[wants_nonce("n1"), INVALID, INVALID, OK],
        &[INVALID, wants_nonce("n1"), INVALID, OK],
    ] {
        let (transport, sent) = upstream(answers);
        let rig = super::rig("https://up.example", transport, gate(["token-2", "token-3"]));
        let fault = rig.fault(post("/api/x", "body")).await;
        assert_eq!(fault.error_code().as_str(), "upstream_rejected_token");
        assert_eq!(sent.lock().unwrap().len(), 3);
        assert_eq!(rig.gate.renewed.load(Ordering::SeqCst), 1);
    }
}

/// DPOP-7.2: an upstream that wants a bearer token does not get one, nor a second request.
#[tokio::test]
async fn there_is_no_way_down_to_a_bearer_token() {
    for challenge in [
        "Bearer",
        "Bearer error=\"invalid_token\"",
        "Bearer realm=\"x\", error=\"invalid_token\", DPoP algs=\"ES256\"",
    ] {
        let (transport, sent) = upstream([refuses(challenge), OK]);
        let rig = rig("https://up.example", transport, gate(["token-2"]));
        assert_eq!(rig.call(get("/api/x")).await.unwrap().status(), 401, "{challenge}");
        let sent = sent.lock().unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].authorization, "DPoP token-1");
        assert_eq!(rig.gate.renewed.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn a_proof_that_is_not_good_is_not_tried_again() {
    let (transport, sent) = upstream([refuses("DPoP error=\"invalid_dpop_proof\""), OK]);
    let rig = rig("https://up.example", transport, gate(["token-2"]));
    assert_eq!(rig.fault(get("/api/x")).await, Fault::ProofRejected);
    assert_eq!(sent.lock().unwrap().len(), 1);
}

/// DPOP-9: a nonce of one upstream is never shown to another, though key and store are the same.
#[tokio::test]
async fn a_nonce_is_shown_to_its_own_upstream_only() {
    let shared = prover();
    let rig_at = |upstream: &'static str, transport| {
        rig(upstream, transport, TestGate { prover: Some(shared.clone()), ..TestGate::default() })
    };
    let (transport, one) = upstream([Says { nonce: "n1", ..OK }, OK]);
    let first = rig_at("https://one.example", transport);
    first.call(get("/api/x")).await.unwrap();
    for other in ["https://two.example", "https://one.example:8443", "http://one.example"] {
        let (transport, sent) = upstream([Says { nonce: "n2", ..OK }]);
        rig_at(other, transport).call(get("/api/x")).await.unwrap();
        assert_eq!(nonces(&sent), [None], "{other}");
    }
    first.call(get("/api/x")).await.unwrap();
    assert_eq!(nonces(&one), [None, Some("n1".to_owned())]);
}

/// A request over a certificate-bound connection has no proof, and nonces mean nothing to it.
#[tokio::test]
async fn without_a_key_there_is_no_proof_and_no_nonce() {
    let transport = Inside::new(|request: Request<RequestBody>| async move {
        assert!(!request.headers().contains_key("dpop"));
        assert_eq!(request.headers()["authorization"], "Bearer token-1");
        let response = Response::builder().status(401).header("dpop-nonce", "n1");
        let response = response.header("www-authenticate", "DPoP error=\"use_dpop_nonce\"");
        Ok(response.body(Body::empty()).unwrap())
    });
    let rig = rig("https://up.example", transport, TestGate::default());
    let response = rig.call(get("/api/x")).await.unwrap();
    assert_eq!((response.status().as_u16(), rig.seen.notes().len()), (401, 1));
    assert!(!response.headers().contains_key("dpop-nonce"));
}
