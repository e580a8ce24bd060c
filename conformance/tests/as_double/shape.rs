//! The double has the shape of the conformance suite: paths by alias, an accounts resource that ends
//! a test, values that are exposed, keys as odd as a module wants them.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fapi_bff_conformance::{
    as_double::{AsConfig, Endpoint, Tamper, Target},
    jws::{self, Alg, JwsFault, SigningKey},
    pki::Pki,
};
use serde_json::{Value, json};
use url::Url;

use crate::client::{Answer, CLIENT, LOGGED_OUT, World, send};

const UUID: &str = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed";

async fn acme() -> World {
    World::start_with(|config| {
        config.path = "/test/a/acme/".to_owned();
        config.mtls_path = "/test-mtls/a/acme/".to_owned();
    })
    .await
}

#[test]
fn an_alias_is_in_both_paths_and_without_one_they_are_the_same() {
    let pki = Pki::generate(CLIENT).unwrap();
    let config = AsConfig::for_alias(&pki, Vec::new(), "acme-1");
    assert_eq!(config.path, "/test/a/acme-1/");
    assert_eq!(config.mtls_path, "/test-mtls/a/acme-1/");
    let config = AsConfig::new(&pki, Vec::new());
    assert_eq!((config.path.as_str(), config.mtls_path.as_str()), ("/as/", "/as/"));
}

#[tokio::test]
async fn with_an_alias_each_path_is_taken_on_its_own_listener_only() {
    let world = acme().await;
    let double = &world.double;
    assert!(double.issuer().ends_with("/test/a/acme/"));
    assert!(double.mtls_url(Endpoint::Token).ends_with("/test-mtls/a/acme/token"));
    for endpoint in [
        Endpoint::Metadata,
        Endpoint::Jwks,
        Endpoint::Par,
        Endpoint::Authorize,
        Endpoint::Token,
        Endpoint::Userinfo,
        Endpoint::Accounts,
        Endpoint::Revocation,
        Endpoint::Introspection,
        Endpoint::EndSession,
    ] {
        let crossed = [
            double.url(endpoint).replace("/test/", "/test-mtls/"),
            double.mtls_url(endpoint).replace("/test-mtls/", "/test/"),
        ];
        for url in crossed {
            use Endpoint::{Introspection, Par, Revocation, Token};
            let answer = if matches!(endpoint, Par | Token | Revocation | Introspection) {
                world.post(&url, &World::authentication("x")).await
            } else {
                send(world.http.get(&url)).await
            };
            assert_eq!(answer.status, 400, "{url}");
            let reason = format!("{}.wrong_listener", endpoint.name());
            assert_eq!(world.refused(endpoint), reason, "{url}");
        }
    }
    world.double.clear_events();
    let tokens = world.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    let url = world.double.accounts_url();
    assert_eq!(world.get_with(&world.http, &url, access).await.status, 200);
    for url in [double.rfc8414_metadata_url(), double.url(Endpoint::Metadata)] {
        assert_eq!(send(world.http.get(url)).await.json()["issuer"], double.issuer());
    }
    assert!(double.rfc8414_metadata_url().ends_with("/oauth-authorization-server/test/a/acme"));
    assert!(double.last_refusal().is_none());
}

#[tokio::test]
async fn the_accounts_resource_judges_each_rule_alone() {
    let world = World::start().await;
    let tokens = world.login().await;
    let access = tokens["access_token"].as_str().unwrap();
    let url = world.double.accounts_url();
    let bearer = format!("Bearer {access}");
    let with = |headers: &[(&str, &str)]| {
        let mut request = world.http.get(&url).header("authorization", &bearer);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    };
    let auth_date = "x-fapi-auth-date";
    let ip = "x-fapi-customer-ip-address";
    let id = "x-fapi-interaction-id";
    let plain = world.double.url(Endpoint::Accounts);
    let cases: Vec<(&str, reqwest::RequestBuilder)> = vec![
        ("accepted", with(&[])),
        ("accepted", with(&[(id, UUID), (auth_date, "Sun, 06 Nov 1994 08:49:37 GMT")])),
        ("accepted", with(&[(ip, "192.0.2.7")])),
        ("accepted", with(&[(ip, "2001:db8::7")])),
        ("accounts.interaction_id", with(&[(id, "not-a-uuid")])),
        ("accounts.interaction_id", with(&[(id, UUID), (id, UUID)])),
        ("accounts.auth_date", with(&[(auth_date, "1994-11-06T08:49:37Z")])),
        ("accounts.auth_date", with(&[(auth_date, "")])),
        ("accounts.customer_ip_address", with(&[(ip, "192.0.2.7:443")])),
        ("accounts.customer_ip_address", with(&[(ip, "[2001:db8::7]")])),
        ("accounts.customer_ip_address", with(&[(ip, "192.0.2.7, 192.0.2.8")])),
        ("accounts.method", world.http.post(&url).header("authorization", &bearer)),
        ("accounts.wrong_listener", world.http.get(&plain).header("authorization", &bearer)),
        ("bearer.missing", world.http.get(&url)),
        ("bearer.missing", with(&[("authorization", &bearer)])),
        ("bearer.missing", world.http.get(&url).header("authorization", format!("DPoP {access}"))),
        ("bearer.not_in_header", world.http.get(format!("{url}?access_token={access}"))),
        ("bearer.token_unknown", world.http.get(&url).header("authorization", "Bearer x")),
        ("bearer.certificate_missing", {
            world.http_as(None).get(&url).header("authorization", &bearer)
        }),
        ("bearer.certificate_mismatch", {
            let other = world.pki.issue_client(CLIENT).unwrap();
            world.http_as(Some(&other)).get(&url).header("authorization", &bearer)
        }),
    ];
    for (reason, request) in cases {
        let answer = send(request).await;
        assert_eq!(world.refused(Endpoint::Accounts), reason);
        assert_eq!(answer.status == 200, reason == "accepted", "{reason}");
        if reason == "accepted" {
            assert_eq!(answer.json(), json!({"conformance-test-finished": "true"}));
            let last = world.double.last(Endpoint::Accounts).unwrap();
            assert_eq!(last.client_id.as_deref(), Some(CLIENT));
        }
    }
    world.double.revoke_all();
    send(with(&[])).await;
    assert_eq!(world.refused(Endpoint::Accounts), "bearer.token_revoked");
}

#[tokio::test]
async fn the_interaction_id_comes_back_or_is_made_even_with_a_refusal() {
    let world = World::start().await;
    let url = world.double.accounts_url();
    let id = |answer: &Answer| {
        let value = &answer.headers["x-fapi-interaction-id"];
        value.to_str().unwrap().to_owned()
    };
    let echoed = send(world.http.get(&url).header("x-fapi-interaction-id", UUID)).await;
    assert_eq!((echoed.status, id(&echoed).as_str()), (401, UUID));
    let (one, other) = (send(world.http.get(&url)).await, send(world.http.get(&url)).await);
    assert_eq!((id(&one).len(), id(&one) == id(&other)), (36, false));
    let odd = send(world.http.get(&url).header("x-fapi-interaction-id", "odd")).await;
    assert!(!odd.headers.contains_key("x-fapi-interaction-id"));
}

#[tokio::test]
async fn the_exposed_values_are_the_suites() {
    let world = acme().await;
    let before = world.double.exposed();
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    assert_eq!(names, ["accounts_endpoint", "discoveryUrl", "issuer", "par_endpoint"]);
    assert_eq!(before["issuer"], world.double.issuer());
    let document = send(world.http.get(&before["discoveryUrl"])).await.json();
    assert_eq!(document["issuer"], before["issuer"]);
    assert_eq!(document["pushed_authorization_request_endpoint"], before["par_endpoint"]);
    let accounts = "/test-mtls/a/acme/open-banking/v1.1/accounts";
    assert!(before["accounts_endpoint"].ends_with(accounts), "{before:?}");
    let verifier = "v".repeat(43);
    let request_uri = world.push(CLIENT, &verifier).await;
    let query = [("client_id", CLIENT), ("request_uri", request_uri.as_str())];
    let answer = world.get_authorize(&query).await;
    let redirect = world.double.exposed().remove("authorization_endpoint_response_redirect");
    assert_eq!(redirect.as_deref(), Some(answer.location().as_str()));
    assert_eq!(redirect, world.double.last_authorization_redirect());
}

fn kids(jwks: &Value) -> Vec<Option<&str>> {
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str()).collect()
}

#[tokio::test]
async fn keys_may_be_nameless_and_what_they_sign_too() {
    let world = World::start().await;
    world.double.behave(|b| b.omit_kid = true);
    assert_eq!(kids(&world.jwks().await), [None, Some("rsa-none-alt-arg")]);
    // The authorization response cannot be verified by the test's strict means: look inside.
    let request_uri = world.push(CLIENT, &"v".repeat(43)).await;
    let query = [("client_id", CLIENT), ("request_uri", request_uri.as_str())];
    let location = world.get_authorize(&query).await.location();
    let (header, claims) = jws::peek(&location.query_pairs().next().unwrap().1).unwrap();
    assert_eq!((header.get("kid"), &header["alg"]), (None, &json!("ES256")));
    let form = world.token_form(claims["code"].as_str().unwrap(), &"v".repeat(43));
    let tokens = world.post_token(&form).await.json();
    let id_token = tokens["id_token"].as_str().unwrap();
    assert!(!jws::peek(id_token).unwrap().0.contains_key("kid"));
    // Its signature is true all the same.
    let (input, signature) = id_token.rsplit_once('.').unwrap();
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let key = world.jwks().await["keys"][0].clone();
    let part = |name: &str| bytes(key[name].as_str().unwrap());
    let point = [vec![4], part("x"), part("y")].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    assert!(key.verify(input.as_bytes(), &bytes(signature)).is_ok());
    // A nameless hint is known by having been issued, and no other nameless one is.
    for (hint, status) in [(jws::flip_signature(id_token), 400), (id_token.to_owned(), 303)] {
        let query = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", LOGGED_OUT)];
        let url = Url::parse_with_params(&world.double.url(Endpoint::EndSession), query).unwrap();
        assert_eq!(send(world.http.get(url)).await.status, status);
    }
    let signed = world.double.sign_as_server(None, &claims, None).unwrap();
    assert!(!jws::peek(&signed).unwrap().0.contains_key("kid"));
}

#[tokio::test]
async fn further_keys_stand_before_the_signing_key_and_may_sign() {
    let world = World::start().await;
    let key = Arc::new(SigningKey::generate(Alg::EdDsa).unwrap().with_kid("second"));
    let jwk = key.public_jwk();
    world.double.behave(|b| b.extra_keys = vec![json!({"kty": "AKP", "kid": "odd"}), jwk]);
    let jwks = world.jwks().await;
    let kid = world.double.signing_kid();
    let expected = [Some("odd"), Some("second"), Some(kid.as_str()), Some("rsa-none-alt-arg")];
    assert_eq!(kids(&jwks), expected);

    // Published and of another type than the server's: true by the set, not by the algorithm.
    let sign = |header| Tamper::Sign { header, key: Arc::clone(&key) };
    world.double.behave(|b| b.tamper_once(Target::IdToken, sign(key.header(Some("JWT")))));
    let token = world.login().await["id_token"].as_str().unwrap().to_owned();
    assert!(jws::verify(&token, &jwks, &[Alg::EdDsa]).is_ok());
    let refused = jws::verify(&token, &jwks, &[Alg::Es256]).unwrap_err();
    assert_eq!(refused, JwsFault::AlgNotAllowed);

    // Any header goes out as it is, and a key that is not published does not verify.
    let mut header = key.header(None);
    header.insert("kid".into(), json!("nowhere"));
    header.insert("typ".into(), json!("logout+jwt"));
    world.double.behave(|b| b.tamper_once(Target::Jarm, sign(header.clone())));
    let request_uri = world.push(CLIENT, &"v".repeat(43)).await;
    let query = [("client_id", CLIENT), ("request_uri", request_uri.as_str())];
    let location = world.get_authorize(&query).await.location();
    let response = location.query_pairs().next().unwrap().1.into_owned();
    assert_eq!(jws::peek(&response).unwrap().0, header);
    let unknown = jws::verify(&response, &jwks, &[Alg::EdDsa]).unwrap_err();
    assert_eq!(unknown, JwsFault::KeyUnknown);
}

#[tokio::test]
async fn the_keys_are_where_the_metadata_say_and_nowhere_else() {
    let world = World::start().await;
    let usual = world.double.url(Endpoint::Jwks);
    for (suffix, taken) in [("", usual.clone()), ("elsewhere", format!("{usual}/elsewhere"))] {
        world.double.behave(|b| suffix.clone_into(&mut b.jwks_suffix));
        let metadata = send(world.http.get(world.double.url(Endpoint::Metadata))).await.json();
        assert_eq!(metadata["jwks_uri"], taken);
        for url in [usual.clone(), format!("{usual}/elsewhere"), format!("{usual}/x")] {
            let status = if url == taken { 200 } else { 404 };
            assert_eq!(send(world.http.get(&url)).await.status, status, "{url}");
        }
        assert_eq!(world.refused(Endpoint::Jwks), "jwks.address");
    }
}
