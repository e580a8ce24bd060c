//! DPoP: a proof that is not of this key, this request, this token, this moment and this nonce is none.

use fapi_bff_conformance::{
    as_double::{Binding, ClientAuth, Conduct, Constraint, DpopNonces, Endpoint, Outcome},
    jws::{self, Alg, Object, SigningKey, random_token},
};
use serde_json::{Value, json};

use crate::{
    anybody::{Anybody, Returned},
    client::{Answer, CLIENT, START, World, form, object, send},
};

const DPOP: Conduct = Conduct { constraint: Constraint::Dpop, ..Conduct::security_profile() };

async fn start() -> Anybody {
    let client = Anybody::start(DPOP).await;
    client.world.double.behave(|b| b.dpop_nonces = DpopNonces::Never);
    client
}

/// A token request in the client's own name with this proof.
async fn with_proof(client: &Anybody, proofs: &[&str]) -> Answer {
    let (request, _) =
        client.authenticated(form(&[("grant_type", "client_credentials"), ("scope", "accounts")]));
    let headers: Vec<_> = proofs.iter().map(|proof| ("dpop", *proof)).collect();
    client.world.post_with(&client.url(Endpoint::Token), &request, &form(&headers)).await
}

type Change<'a> = (&'a str, Box<dyn Fn(&mut Object)>);

fn set(name: &'static str, value: Value) -> Box<dyn Fn(&mut Object)> {
    Box::new(move |object| {
        object.insert(name.to_owned(), value.clone());
    })
}

fn remove(name: &'static str) -> Box<dyn Fn(&mut Object)> {
    Box::new(move |object| {
        object.remove(name);
    })
}

#[tokio::test]
async fn the_claims_of_a_proof_are_judged_one_by_one() {
    let client = start().await;
    let url = client.url(Endpoint::Token);
    let other_host = client.world.double.mtls_url(Endpoint::Token);
    let no_port = url.replace(&format!(":{}", client.world.double.addr().port()), "");
    let cases: Vec<Change<'_>> = vec![
        ("accepted", Box::new(|_| {})),
        ("htm", set("htm", json!("GET"))),
        ("htm", set("htm", json!("post"))),
        ("htm", remove("htm")),
        ("htu", remove("htu")),
        ("htu", set("htu", json!(format!("{url}/")))),
        ("htu", set("htu", json!(format!("{url}?a=b")))),
        ("htu", set("htu", json!(other_host))),
        ("htu", set("htu", json!(no_port))),
        ("htu", set("htu", json!(url.to_uppercase()))),
        ("iat", remove("iat")),
        ("iat", set("iat", json!(START.to_string()))),
        ("accepted", set("iat", json!(START - 300))),
        ("iat", set("iat", json!(START - 301))),
        ("accepted", set("iat", json!(START + 300))),
        ("iat", set("iat", json!(START + 301))),
        ("accepted", set("exp", json!(START + 1))),
        ("times", set("exp", json!(START))),
        ("accepted", set("nbf", json!(START))),
        ("times", set("nbf", json!(START + 1))),
        ("jti_missing", remove("jti")),
        ("jti_missing", set("jti", json!(""))),
        ("jti_missing", set("jti", json!(7))),
        ("ath_unexpected", set("ath", json!("x"))),
    ];
    for (reason, change) in cases {
        let mut claims = client.proof_claims("POST", &url, None);
        change(&mut claims);
        let answer = with_proof(&client, &[&client.prove(&claims)]).await;
        let found = client.world.refused(Endpoint::Token);
        assert_eq!(found.trim_start_matches("dpop."), reason, "{claims:?}");
        if reason != "accepted" {
            let error = &answer.json()["error"];
            assert_eq!((answer.status, error), (400, &json!("invalid_dpop_proof")));
        }
    }
}

#[tokio::test]
async fn the_header_of_a_proof_brings_one_public_key_and_its_signature_is_by_that() {
    let client = start().await;
    let url = client.url(Endpoint::Token);
    let header = client.proof_header();
    let signed = |change: &dyn Fn(&mut Object)| {
        let mut header = header.clone();
        change(&mut header);
        client.key.sign_jws(&header, &client.proof_claims("POST", &url, None)).unwrap()
    };
    let mut private = header["jwk"].clone();
    private["d"] = json!("AA");
    let other = SigningKey::generate(Alg::Es256).unwrap();
    let rs256 = SigningKey::generate(Alg::Rs256).unwrap();
    let mut rsa = header.clone();
    rsa.insert("alg".into(), json!("RS256"));
    rsa.insert("jwk".into(), rs256.public_jwk());
    let good = signed(&|_| {});
    let claims = client.proof_claims("POST", &url, None);
    let cases = [
        ("typ", signed(&|h| drop(h.remove("typ")))),
        ("typ", signed(&|h| drop(h.insert("typ".into(), json!("JWT"))))),
        ("jwk", signed(&|h| drop(h.remove("jwk")))),
        ("jwk", signed(&|h| drop(h.insert("jwk".into(), private.clone())))),
        ("jwk", signed(&|h| drop(h.insert("jwk".into(), json!({"kty": "oct", "k": "AA"}))))),
        ("header_not_allowed", signed(&|h| drop(h.insert("crit".into(), json!(["exp"]))))),
        ("header_not_allowed", signed(&|h| drop(h.insert("x5c".into(), json!([]))))),
        ("alg_not_allowed", jws::unsecured(&header, &claims)),
        ("alg_not_allowed", rs256.sign_jws(&rsa, &claims).unwrap()),
        ("alg_not_allowed", signed(&|h| drop(h.insert("alg".into(), json!("HS256"))))),
        ("signature_invalid", jws::flip_signature(&good)),
        ("signature_invalid", other.sign_jws(&header, &claims).unwrap()),
        ("malformed", "x.y".to_owned()),
    ];
    for (reason, proof) in cases {
        assert_eq!(with_proof(&client, &[&proof]).await.status, 400);
        assert_eq!(client.world.refused(Endpoint::Token), format!("dpop.{reason}"));
    }
    with_proof(&client, &[]).await;
    assert_eq!(client.world.refused(Endpoint::Token), "dpop.missing");
    with_proof(&client, &[&good, &signed(&|_| {})]).await;
    assert_eq!(client.world.refused(Endpoint::Token), "dpop.single");
    assert_eq!(with_proof(&client, &[&good]).await.status, 200);
    with_proof(&client, &[&good]).await;
    assert_eq!(client.world.refused(Endpoint::Token), "dpop.jti_replayed");
    assert!(client.world.double.issued_secrets().contains(&good));
}

#[tokio::test]
async fn every_algorithm_of_the_profile_proves() {
    for alg in [Alg::Ps256, Alg::EdDsa] {
        let mut client = start().await;
        client.key = SigningKey::generate(alg).unwrap();
        let mut header = client.proof_header();
        header.insert("alg".into(), json!(alg.name()));
        let claims = client.proof_claims("POST", &client.url(Endpoint::Token), None);
        let proof = client.key.sign_jws(&header, &claims).unwrap();
        assert_eq!(with_proof(&client, &[&proof]).await.status, 200, "{alg:?}");
    }
}

#[tokio::test]
async fn a_token_is_good_with_a_proof_of_its_own_key_for_this_request_and_this_token() {
    let client = start().await;
    let tokens = client.login().await;
    let (access, other) = (tokens["access_token"].as_str().unwrap(), client.login().await);
    let other = other["access_token"].as_str().unwrap();
    let api = format!("{}accounts", client.world.api.base_url());
    let urls = [client.url(Endpoint::Userinfo), client.world.double.accounts_url(), api];
    let stranger = SigningKey::generate(Alg::Es256).unwrap();
    for url in &urls {
        let claims = || client.proof_claims("GET", url, Some(access));
        let without_hash = client.proof_claims("GET", url, None);
        let mut foreign = client.proof_header();
        foreign.insert("jwk".into(), stranger.public_jwk());
        let cases = [
            ("dpop.missing", None, "DPoP"),
            ("dpop.ath", Some(client.prove(&without_hash)), "DPoP"),
            ("dpop.ath", Some(client.prove(&client.proof_claims("GET", url, Some(other)))), "DPoP"),
            (
                "dpop.htm",
                Some(client.prove(&client.proof_claims("POST", url, Some(access)))),
                "DPoP",
            ),
            (
                "dpop.htu",
                Some(client.prove(&client.proof_claims("GET", "https://x/", Some(access)))),
                "DPoP",
            ),
            ("dpop.binding", Some(stranger.sign_jws(&foreign, &claims()).unwrap()), "DPoP"),
            ("bearer.missing", Some(client.prove(&claims())), "Bearer"),
            ("accepted", Some(client.prove(&claims())), "DPoP"),
            ("accepted", Some(client.prove(&claims())), "dpop"),
        ];
        for (reason, proof, scheme) in cases {
            let mut request = client.world.http.get(url);
            request = request.header("authorization", format!("{scheme} {access}"));
            if let Some(proof) = proof {
                request = request.header("dpop", proof);
            }
            let answer = send(request).await;
            let event = client
                .world
                .api
                .last("/accounts")
                .filter(|_| url.ends_with("/accounts") && !url.contains("open-banking"));
            let found = match event {
                Some(event) => event.reason.unwrap_or_else(|| "accepted".to_owned()),
                None if url.contains("userinfo") => client.world.refused(Endpoint::Userinfo),
                None => client.world.refused(Endpoint::Accounts),
            };
            assert_eq!(found, reason, "{url}");
            assert_eq!(answer.status, if reason == "accepted" { 200 } else { 401 });
            if reason != "accepted" {
                let challenge = answer.headers["www-authenticate"].to_str().unwrap();
                let proof = reason.starts_with("dpop.") && reason != "dpop.binding";
                let error = if proof { " error=\"invalid_dpop_proof\"" } else { "" };
                assert!(challenge.starts_with(&format!("DPoP{error}")), "{challenge}");
            }
        }
    }
    let state = client.world.double.token_state();
    let active = state.check(access, Some(&client.thumbprint())).unwrap();
    assert_eq!(active.binding, Binding::Key(client.thumbprint()));
    for wrong in [None, Some("x")] {
        assert_eq!(state.check(access, wrong).unwrap_err(), "key_mismatch");
    }
    // What it was asked for stays asked for: a refreshed token may have another key (RFC 9449 §5).
    let mut client = client;
    client.key = stranger;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let again = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let again = client.post(Endpoint::Token, &again).await.json();
    let accounts = client.world.double.accounts_url();
    let answer = client.get(&accounts, again["access_token"].as_str().unwrap()).await;
    assert_eq!(answer.status, 200);
}

fn nonce(answer: &Answer) -> String {
    answer.headers["dpop-nonce"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn nonces_are_demanded_of_server_and_resources_apart_and_run_out() {
    let client = Anybody::start(DPOP).await;
    let token_url = client.url(Endpoint::Token);
    let with = |nonce: Option<&str>| {
        let mut claims = client.proof_claims("POST", &token_url, None);
        if let Some(nonce) = nonce {
            claims.insert("nonce".into(), json!(nonce));
        }
        client.prove(&claims)
    };
    let first = with_proof(&client, &[&with(None)]).await;
    assert_eq!((first.status, &first.json()["error"]), (400, &json!("use_dpop_nonce")));
    let event = client.world.double.last(Endpoint::Token).unwrap();
    assert_eq!(event.outcome, Outcome::Challenged);
    assert_eq!(event.reason.as_deref(), Some("dpop.nonce"));
    assert!(client.world.double.last_refusal().is_none());
    // The same until a token response brings another.
    let server = nonce(&first);
    assert_eq!(nonce(&with_proof(&client, &[&with(Some("x"))]).await), server);
    let answer = with_proof(&client, &[&with(Some(&server))]).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("dpop-nonce"), "nothing announces the next");
    let stale = with_proof(&client, &[&with(Some(&server))]).await;
    assert_eq!(stale.status, 400);
    let server = nonce(&stale);
    // The authorization endpoint brings another, too.
    client.visit(&form(&[("client_id", CLIENT)])).await;
    assert_ne!(nonce(&with_proof(&client, &[&with(Some(&server))]).await), server);

    let tokens = client.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    let call = async |url: &str, scheme: &str, nonce: Option<&str>| {
        let mut claims = client.proof_claims("GET", url, Some(access));
        if let Some(nonce) = nonce {
            claims.insert("nonce".into(), json!(nonce));
        }
        let request = client.world.http.get(url).header("dpop", client.prove(&claims));
        send(request.header("authorization", format!("{scheme} {access}"))).await
    };
    let (userinfo, accounts) = (client.url(Endpoint::Userinfo), client.world.double.accounts_url());
    let api = format!("{}accounts", client.world.api.base_url());
    let asked = call(&userinfo, "DPoP", Some(&server)).await;
    assert_eq!((asked.status, asked.body.len()), (401, 0));
    assert_eq!(asked.headers["www-authenticate"], "DPoP error=\"use_dpop_nonce\"");
    let resources = nonce(&asked);
    assert_ne!(resources, server);
    // Accounts and userinfo share one, until userinfo was told; the API has its own.
    for _ in 0..2 {
        assert_eq!(call(&accounts, "DPoP", Some(&resources)).await.status, 200);
    }
    assert_eq!(call(&userinfo, "DPoP", Some(&resources)).await.status, 200);
    let stale = call(&accounts, "DPoP", Some(&resources)).await;
    assert_eq!(stale.status, 401);
    let resources = nonce(&stale);
    let own = call(&api, "DPoP", Some(&resources)).await;
    assert_eq!(own.status, 401);
    assert_eq!(call(&api, "DPoP", Some(&nonce(&own))).await.status, 200);
    assert_eq!(client.world.api.events()[0].outcome, Outcome::Challenged);
}

#[tokio::test]
async fn a_nonce_may_be_announced_spelled_otherwise_never_asked_for_or_never_enough() {
    let client = Anybody::start(DPOP).await;
    client.world.double.behave(|b| b.announce_nonces = true);
    let tokens = client.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    let accounts = client.world.double.accounts_url();
    let first = client.get(&accounts, access).await;
    assert_eq!(first.status, 200);
    let before = client.world.double.count(Endpoint::Accounts);
    // With what was announced, nobody has to ask.
    assert_eq!(client.get(&accounts, access).await.status, 200);
    assert_eq!(client.world.double.count(Endpoint::Accounts), before + 1);

    client.world.double.behave(|b| {
        b.dpop_scheme = "dPoP".to_owned();
        b.dpop_nonces = DpopNonces::Endless;
    });
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut claims = client.proof_claims("GET", &accounts, Some(access));
        if let Some(last) = seen.last() {
            claims.insert("nonce".into(), json!(last));
        }
        let request = client.world.http.get(&accounts).header("dpop", client.prove(&claims));
        let answer = send(request.header("authorization", format!("DPoP {access}"))).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.headers["www-authenticate"], "dPoP error=\"use_dpop_nonce\"");
        assert!(!seen.contains(&nonce(&answer)));
        seen.push(nonce(&answer));
    }
    // Where none is asked for, a leftover one does no harm.
    client.world.double.behave(|b| b.dpop_nonces = DpopNonces::Never);
    let mut claims = client.proof_claims("GET", &accounts, Some(access));
    claims.insert("nonce".into(), json!("leftover"));
    let request = client.world.http.get(&accounts).header("dpop", client.prove(&claims));
    let answer = send(request.header("authorization", format!("DPoP {access}"))).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_code_may_be_bound_to_a_key_before_there_is_a_token() {
    let client = start().await;
    let jkt = client.thumbprint();
    let bound =
        |jkt: String| move |claims: &mut Object| drop(claims.insert("dpop_jkt".into(), json!(jkt)));
    // The proof at PAR and dpop_jkt agree.
    let returned = client.returned_with(bound("another".to_owned())).await;
    assert_eq!(returned.answer.status, 400);
    assert_eq!(client.world.refused(Endpoint::Par), "dpop.request_key");
    let returned = client.returned_with(bound(jkt.clone())).await;
    assert_eq!(client.redeem(&returned, &[]).await.status, 200);

    // With a proof at PAR the code is for its key, and with dpop_jkt alone for that one.
    let returned = client.returned().await;
    let mut client = client;
    client.key = SigningKey::generate(Alg::Es256).unwrap();
    let answer = client.redeem(&returned, &[]).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_grant")));
    assert_eq!(client.world.refused(Endpoint::Token), "token.dpop_key");

    let verifier = random_token();
    let mut claims = client.request(&verifier);
    bound(jkt)(&mut claims);
    let mut request = World::authentication(&client.world.assertion(CLIENT));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    request.extend(claims.iter().map(|(name, value)| (name.clone(), text(value))));
    let pushed = client.world.post(&client.url(Endpoint::Par), &request).await.json();
    let uri = pushed["request_uri"].as_str().unwrap();
    let answer = client.visit(&form(&[("client_id", CLIENT), ("request_uri", uri)])).await;
    client.redeem(&Returned { answer, verifier }, &[]).await;
    assert_eq!(client.world.refused(Endpoint::Token), "token.dpop_key");
}

/// A nonce is asked for after the client was known and before anything else: each attempt costs a
/// client assertion and nothing more.
#[tokio::test]
async fn a_challenge_spends_the_assertion_and_neither_code_nor_challenge() {
    let client = Anybody::start(DPOP).await;
    let returned = client.returned().await;
    assert_eq!(client.redeem(&returned, &[]).await.status, 200);
    let outcomes: Vec<_> =
        client.world.double.events().iter().map(|event| (event.endpoint, event.outcome)).collect();
    // The authorization endpoint replaced the nonce that PAR had taught.
    let expected = [
        (Endpoint::Par, Outcome::Challenged),
        (Endpoint::Par, Outcome::Accepted),
        (Endpoint::Authorize, Outcome::Accepted),
        (Endpoint::Token, Outcome::Challenged),
        (Endpoint::Token, Outcome::Accepted),
    ];
    assert_eq!(outcomes, expected);
    let assertion = client.world.assertion(CLIENT);
    let request = form(&[("grant_type", "client_credentials"), ("scope", "accounts")]);
    let url = client.url(Endpoint::Token);
    for reason in ["dpop.nonce", "client_auth.jti_replayed"] {
        let proof = client.prove(&client.proof_claims("POST", &url, None));
        let mut request = request.clone();
        request.extend(World::authentication(&assertion));
        client.world.post_with(&url, &request, &form(&[("dpop", &proof)])).await;
        let last = client.world.double.last(Endpoint::Token).unwrap();
        assert_eq!(last.reason.as_deref(), Some(reason));
    }
}

#[tokio::test]
async fn a_certificate_may_authenticate_while_a_key_binds() {
    let conduct = Conduct { client_auth: ClientAuth::TlsClientAuth, ..DPOP };
    let client = Anybody::start(conduct).await;
    let tokens = client.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    let told = client.post(Endpoint::Introspection, &[("token", access)]).await.json();
    assert_eq!(told["cnf"], json!({"jkt": client.thumbprint()}));
    assert_eq!(told["token_type"], "DPoP");
    assert_eq!(object(&told)["active"], true);
}
