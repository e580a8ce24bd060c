//! What a conduct decides: where endpoints are, what is asked for, how it is asked, and how the answer
//! comes back.

use crate::{
    anybody::{Anybody, Returned, posted},
    client::{CLIENT, Form, OTHER, REDIRECT_URI, form, send},
};
use fapi_bff_conformance::{
    as_double::{
        AsConfig, ClientAuth, Conduct, Constraint, Endpoint, Interaction, RequestMethod,
        ResponseForm, Target, edits,
    },
    jws::{self, Alg, Object, random_token},
};
use serde_json::{Value, json};

async fn metadata(conduct: Conduct) -> Value {
    let client = Anybody::start(conduct).await;
    send(client.world.http.get(client.world.double.url(Endpoint::Metadata))).await.json()
}

/// The table of the conformance suite, and what a client may conclude from what is missing.
#[tokio::test]
async fn the_metadata_say_what_the_conduct_is() {
    let by_certificate =
        Conduct { client_auth: ClientAuth::TlsClientAuth, ..Conduct::security_profile() };
    let dpop = Conduct { constraint: Constraint::Dpop, ..Conduct::security_profile() };
    let oauth = Conduct { openid: false, ..Conduct::security_profile() };
    let pushed = Conduct { request_method: RequestMethod::Pushed, ..Conduct::fapi1_advanced() };
    let (none, hybrid) = (Value::Null, json!(["code id_token"]));
    let (fapi1, oidc) = (Conduct::fapi1_advanced(), Conduct::openid_connect());
    let par = "pushed_authorization_request_endpoint";
    let bound = "tls_client_certificate_bound_access_tokens";
    let iss = "authorization_response_iss_parameter_supported";
    let methods = "token_endpoint_auth_methods_supported";
    let dpop_algs = "dpop_signing_alg_values_supported";
    let cases: Vec<(Conduct, &str, Value)> = vec![
        (by_certificate, methods, json!(["tls_client_auth"])),
        (by_certificate, "token_endpoint_auth_signing_alg_values_supported", none.clone()),
        (by_certificate, bound, json!(true)),
        (by_certificate, dpop_algs, none.clone()),
        (dpop, bound, none.clone()),
        (dpop, dpop_algs, json!(["PS256", "ES256", "EdDSA", "Ed25519"])),
        (dpop, "require_pushed_authorization_requests", json!(true)),
        (dpop, iss, json!(true)),
        (oauth, "jwks_uri", none.clone()),
        (oauth, "id_token_signing_alg_values_supported", none.clone()),
        (fapi1, par, none.clone()),
        (fapi1, "require_pushed_authorization_requests", none.clone()),
        (fapi1, iss, none.clone()),
        (fapi1, bound, json!(true)),
        (fapi1, "response_types_supported", hybrid),
        (fapi1, "response_modes_supported", json!(["fragment", "form_post"])),
        (fapi1, "request_object_signing_alg_values_supported", json!(["ES256", "PS256"])),
        (fapi1, "code_challenge_methods_supported", none.clone()),
        (oidc, methods, json!(["client_secret_basic"])),
        (oidc, "id_token_signing_alg_values_supported", json!(["RS256"])),
        (oidc, "request_parameter_supported", json!(false)),
        (oidc, "mtls_endpoint_aliases", none.clone()),
        (oidc, bound, none.clone()),
    ];
    for (conduct, name, expected) in cases {
        assert_eq!(metadata(conduct).await[name], expected, "{name} {conduct:?}");
    }
    let document = metadata(pushed).await;
    assert!(document[par].is_string() && document["mtls_endpoint_aliases"][par].is_string());
    assert!(metadata(fapi1).await["mtls_endpoint_aliases"].get(par).is_none());
}

#[tokio::test]
async fn resources_are_on_the_host_of_what_tokens_are_bound_to() {
    let sp = Conduct::security_profile();
    let dpop = Conduct { constraint: Constraint::Dpop, ..sp };
    for (conduct, endpoint, mtls) in [
        (Conduct::fapi1_advanced(), Endpoint::Userinfo, true),
        (Conduct::fapi1_advanced(), Endpoint::Accounts, false),
        (dpop, Endpoint::Accounts, true),
        (sp, Endpoint::Userinfo, false),
        (Conduct::openid_connect(), Endpoint::Accounts, true),
    ] {
        let client = Anybody::start(conduct).await;
        let tokens = client.login().await;
        let double = &client.world.double;
        let wrong = if mtls { double.mtls_url(endpoint) } else { double.url(endpoint) };
        let answer = client.get(&wrong, tokens["access_token"].as_str().unwrap()).await;
        assert_eq!(answer.status, 400, "{conduct:?}");
        let reason = format!("{}.wrong_listener", endpoint.name());
        assert_eq!(client.world.refused(endpoint), reason, "{conduct:?}");
    }
}

type Change = Box<dyn Fn(&mut Object)>;

fn set(name: &'static str, value: &str) -> Change {
    Box::new(edits::set(name, json!(value)))
}

fn remove(name: &'static str) -> Change {
    Box::new(edits::remove(name))
}

fn without_challenge() -> Change {
    Box::new(|claims| {
        claims.remove("code_challenge");
        claims.remove("code_challenge_method");
    })
}

/// Where a request is judged, and the reason it is refused for.
async fn asked(client: &Anybody, change: &Change) -> String {
    let mut claims = client.request(&random_token());
    change(&mut claims);
    client.ask(&claims).await;
    let pushed = client.conduct.request_method == RequestMethod::Pushed;
    let endpoint = if pushed { Endpoint::Par } else { Endpoint::Authorize };
    client.world.refused(endpoint).trim_start_matches("request_object.").to_owned()
}

#[tokio::test]
async fn each_family_demands_what_its_own_rules_say() {
    let sp = Conduct::security_profile();
    let oauth = Conduct { openid: false, ..sp };
    let fapi1 = Conduct::fapi1_advanced();
    let jarm = Conduct { response: ResponseForm::Jarm, ..fapi1 };
    let fapi1_oauth = Conduct { openid: false, ..jarm };
    let pushed = Conduct { request_method: RequestMethod::Pushed, ..fapi1 };
    let oidc = Conduct::openid_connect();
    let cases: Vec<(Conduct, Vec<(&str, Change)>)> = vec![
        (
            sp,
            vec![
                ("response_type", set("response_type", "code id_token")),
                ("response_mode", set("response_mode", "jwt")),
                ("response_mode", set("response_mode", "fragment")),
                ("accepted", set("response_mode", "query")),
                ("accepted", set("response_mode", "form_post")),
                ("code_challenge_method", without_challenge()),
                ("code_challenge_method", set("code_challenge_method", "plain")),
                ("accepted", remove("nonce")),
                ("accepted", remove("state")),
                ("scope", set("scope", "profile email")),
            ],
        ),
        (
            oauth,
            vec![
                ("scope", set("scope", "openid profile")),
                ("scope", set("scope", "accounts openid")),
                ("claims", Box::new(edits::set("claims", json!("{}")))),
                ("accepted", set("scope", "accounts")),
            ],
        ),
        (
            fapi1,
            vec![
                ("response_type", set("response_type", "code")),
                ("response_type", set("response_type", "id_token code")),
                ("response_mode", set("response_mode", "query")),
                ("nonce_missing", remove("nonce")),
                ("accepted", remove("state")),
                ("accepted", without_challenge()),
                ("code_challenge_method", remove("code_challenge_method")),
                ("code_challenge", remove("code_challenge")),
            ],
        ),
        (pushed, vec![("code_challenge_method", without_challenge())]),
        (
            jarm,
            vec![
                ("response_mode", remove("response_mode")),
                ("accepted", set("response_mode", "form_post.jwt")),
                ("nonce_missing", remove("nonce")),
            ],
        ),
        (fapi1_oauth, vec![("state_missing", remove("state"))]),
        (
            oidc,
            vec![
                ("accepted", without_challenge()),
                ("accepted", remove("nonce")),
                ("code_challenge_method", set("code_challenge_method", "plain")),
                ("redirect_uri", set("redirect_uri", "https://evil.example/")),
                ("accepted", set("vendor", "parameter")),
            ],
        ),
    ];
    for (conduct, changes) in cases {
        let client = Anybody::start(conduct).await;
        for (reason, change) in changes {
            assert_eq!(asked(&client, &change).await, reason, "{conduct:?}");
        }
    }
}

#[tokio::test]
async fn fapi_1_takes_no_signature_that_it_does_not_list() {
    for (alg, taken) in [(Alg::Es256, true), (Alg::Ps256, true), (Alg::EdDsa, false)] {
        let key = jws::SigningKey::generate(alg).unwrap();
        let jwk = key.public_jwk();
        let mut client = Anybody::start_with(Conduct::fapi1_advanced(), |config| {
            config.clients[0].jwks["keys"].as_array_mut().unwrap().push(jwk);
        })
        .await;
        client.world.pki.request_object = key;
        let status = client.returned().await.answer.status;
        assert_eq!(status == 303, taken, "{alg:?}");
        if !taken {
            let reason = client.world.refused(Endpoint::Authorize);
            assert_eq!(reason, "request_object.alg_not_allowed");
        }
    }
}

/// A request object in the address, and these parameters beside it.
async fn brought(client: &Anybody, beside: &[(&str, &str)]) -> String {
    let mut claims = client.world.request_claims(CLIENT, &random_token());
    claims.insert("response_type".into(), json!("code id_token"));
    claims.remove("response_mode");
    let mut query = form(beside);
    query.push(("request".to_owned(), client.world.request_object(&claims)));
    client.visit(&query).await;
    client.world.refused(Endpoint::Authorize).trim_start_matches("authorize.").to_owned()
}

#[tokio::test]
async fn beside_a_request_object_by_value_stands_what_must_and_it_says_the_same() {
    let client = Anybody::start(Conduct::fapi1_advanced()).await;
    let (id, kind) = (("client_id", CLIENT), ("response_type", "code id_token"));
    let scope = ("scope", "openid profile email accounts");
    let cases: [(&str, &[(&str, &str)]); 11] = [
        ("accepted", &[id, kind, scope]),
        ("accepted", &[id, kind, scope, ("state", "the-state")]),
        ("client_id_missing", &[kind, scope]),
        ("client_unknown", &[("client_id", "nobody"), kind, scope]),
        ("request_object.iss", &[("client_id", OTHER), kind, scope]),
        ("parameter_missing", &[id, scope]),
        ("parameter_missing", &[id, kind]),
        ("parameter_differs", &[id, ("response_type", "code"), scope]),
        ("request_uri_forbidden", &[id, kind, scope, ("request_uri", "urn:x")]),
        ("duplicate_parameter", &[id, id, kind, scope]),
        ("duplicate_parameter", &[id, kind, scope, ("request", "x")]),
    ];
    for (reason, beside) in cases {
        let found = brought(&client, beside).await;
        assert_eq!(found, reason, "{beside:?}");
    }
    // What differs otherwise is noted.
    for beside in [&[id, kind, ("scope", "openid")][..], &[id, kind, scope, ("state", "other")]] {
        assert_eq!(brought(&client, beside).await, "accepted");
        let event = client.world.double.last(Endpoint::Authorize).unwrap();
        assert!(!event.check("authorize.parameter_beside").unwrap().held, "{beside:?}");
    }
    client.visit(&form(&[id, kind, scope])).await;
    assert_eq!(client.world.refused(Endpoint::Authorize), "authorize.request_missing");
    // Nothing is pushed here, and what is not pushed cannot be named.
    let plain = Anybody::start(Conduct::openid_connect()).await;
    plain.visit(&form(&[id, ("request", "x.y.z")])).await;
    assert_eq!(plain.world.refused(Endpoint::Authorize), "authorize.request_forbidden");
}

fn names(parameters: &Form) -> Vec<&str> {
    let mut names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn each_form_of_response_comes_where_it_belongs_with_what_belongs() {
    let sp = Conduct::security_profile();
    let fapi1 = Conduct::fapi1_advanced();
    let jarm = Conduct { response: ResponseForm::Jarm, ..fapi1 };
    let hybrid = vec!["code", "id_token", "state"];
    let cases: Vec<(Conduct, Option<&str>, &str, Vec<&str>)> = vec![
        (sp, None, "query", vec!["code", "iss", "state"]),
        (sp, Some("form_post"), "post", vec!["code", "iss", "state"]),
        (jarm, Some("jwt"), "query", vec!["response"]),
        (jarm, Some("form_post.jwt"), "post", vec!["response"]),
        (fapi1, None, "fragment", hybrid.clone()),
        (fapi1, Some("fragment"), "fragment", hybrid.clone()),
        (fapi1, Some("form_post"), "post", hybrid),
        (Conduct::openid_connect(), None, "query", vec!["code", "state"]),
        (Conduct::openid_connect(), Some("form_post"), "post", vec!["code", "state"]),
    ];
    for (conduct, mode, place, expected) in cases {
        let client = Anybody::start(conduct).await;
        let set_mode = |claims: &mut Object| {
            if let Some(mode) = mode {
                claims.insert("response_mode".into(), json!(mode));
            }
        };
        let returned = client.returned_with(set_mode).await;
        assert_eq!(names(&returned.parameters()), expected, "{conduct:?} {mode:?}");
        let answer = &returned.answer;
        let found = match answer.status {
            200 => "post",
            _ if answer.location().fragment().is_some() => "fragment",
            _ => "query",
        };
        assert_eq!(found, place);
        if place == "post" {
            let policy = answer.headers["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("form-action 'self' https://app.localhost:8443;"), "{policy}");
            assert!(answer.text().contains(&format!("action=\"{REDIRECT_URI}\"")));
        } else {
            let location = answer.location();
            assert_eq!(&location[..url::Position::AfterPath], REDIRECT_URI);
            assert!(place == "query" || location.query().is_none(), "{location}");
        }
        assert_eq!(client.redeem(&returned, &[]).await.status, 200);
    }
}

async fn front(client: &Anybody, returned: &Returned) -> Object {
    let token = returned.get("id_token").unwrap();
    jws::verify(&token, &client.world.jwks().await, &[Alg::Es256]).unwrap().claims
}

#[tokio::test]
async fn the_front_channel_id_token_signs_code_and_state_and_tells_nothing_else() {
    let client = Anybody::start(Conduct::fapi1_advanced()).await;
    let returned = client.returned().await;
    let claims = front(&client, &returned).await;
    let hash = |name: &str| json!(Alg::Es256.half_hash(&returned.get(name).unwrap()));
    assert_eq!((&claims["c_hash"], &claims["s_hash"]), (&hash("code"), &hash("state")));
    assert_eq!((&claims["nonce"], &claims["sub"]), (&json!("the-nonce"), &json!("alice")));
    for absent in ["at_hash", "email", "name"] {
        assert!(!claims.contains_key(absent), "{absent}");
    }
    let second = client.redeem(&returned, &[]).await.json();
    let second = client.id_token(&second).await;
    assert!(second.contains_key("at_hash") && !second.contains_key("c_hash"));
    assert_eq!((&second["iss"], &second["sub"]), (&claims["iss"], &claims["sub"]));

    // Without state there is nothing of it to sign.
    let returned = client.returned_with(|claims| drop(claims.remove("state"))).await;
    assert!(!front(&client, &returned).await.contains_key("s_hash"));

    // Each of the two can be spoiled alone.
    let double = &client.world.double;
    double.behave(|b| b.edit(Target::FrontIdToken, edits::wrong("c_hash")));
    double.behave(|b| b.edit(Target::TokenIdToken, edits::wrong("sub")));
    double.behave(|b| b.edit(Target::IdToken, edits::wrong("nonce")));
    let returned = client.returned().await;
    let claims = front(&client, &returned).await;
    let tokens = client.redeem(&returned, &[]).await.json();
    let second = client.id_token(&tokens).await;
    assert_eq!((&claims["sub"], &second["sub"]), (&json!("alice"), &json!("alice1")));
    assert!(claims["c_hash"].as_str().unwrap().ends_with('1') && !second.contains_key("c_hash"));
    assert_eq!((&claims["nonce"], &second["nonce"]), (&json!("the-nonce1"), &json!("the-nonce1")));
}

#[tokio::test]
async fn an_error_comes_back_the_same_way_as_a_code() {
    for (conduct, place) in [
        (Conduct::security_profile(), "query"),
        (Conduct::fapi1_advanced(), "fragment"),
        (Conduct::openid_connect(), "query"),
    ] {
        let client = Anybody::start(conduct).await;
        client.world.double.behave(|b| b.deny = Some("access_denied".to_owned()));
        let returned = client.returned().await;
        assert_eq!(returned.get("error").as_deref(), Some("access_denied"), "{place}");
        assert_eq!(returned.get("state").as_deref(), Some("the-state"));
        assert!(returned.get("code").is_none() && returned.get("id_token").is_none());
        let in_fragment = returned.answer.location().fragment().is_some();
        assert_eq!(in_fragment, place == "fragment");
        let names_issuer = conduct == Conduct::security_profile();
        assert_eq!(returned.get("iss").is_some(), names_issuer);
    }
}

#[tokio::test]
async fn a_person_is_asked_whatever_the_way_to_ask() {
    for conduct in [Conduct::fapi1_advanced(), Conduct::openid_connect()] {
        let page = |config: &mut AsConfig| config.interaction = Interaction::Page;
        let client = Anybody::start_with(conduct, page).await;
        let tokens = client.login_with(|claims| {
            claims.insert("response_mode".into(), json!("form_post"));
        });
        let tokens = tokens.await;
        assert_eq!(client.id_token(&tokens).await["sub"], "bjork");
        assert_eq!(client.world.double.sessions()[0].1, "bjork");
    }
}

#[tokio::test]
async fn without_a_challenge_no_verifier_is_taken_and_without_openid_no_id_token_comes() {
    let client = Anybody::start(Conduct::openid_connect()).await;
    let returned = client.returned_with(|claims| without_challenge()(claims)).await;
    assert_eq!(client.redeem(&returned, &[]).await.status, 400);
    assert_eq!(client.world.refused(Endpoint::Token), "token.code_verifier_unasked");

    let oauth = Conduct { openid: false, ..Conduct::security_profile() };
    let client = Anybody::start(oauth).await;
    let tokens = client.login().await;
    assert!(tokens.get("id_token").is_none());
    let access = tokens["access_token"].as_str().unwrap();
    let userinfo = client.get(&client.url(Endpoint::Userinfo), access).await;
    assert_eq!(userinfo.status, 403);
    assert_eq!(client.world.refused(Endpoint::Userinfo), "userinfo.scope");
}

#[tokio::test]
async fn the_alternate_algorithm_is_another_than_the_servers() {
    let client = Anybody::start(Conduct::openid_connect()).await;
    let tamper = fapi_bff_conformance::as_double::Tamper::AlternateAlg;
    client.world.double.behave(|b| b.tamper(Target::IdToken, tamper));
    let tokens = client.login().await;
    let token = tokens["id_token"].as_str().unwrap();
    let jwks = client.world.jwks().await;
    assert!(jws::verify(token, &jwks, &[Alg::Rs256]).is_err());
    assert!(jws::verify(token, &jwks, &[Alg::Es256]).is_ok());
    let rsa = jwks["keys"].as_array().unwrap().iter().filter(|key| key["kty"] == "RSA").count();
    assert_eq!(rsa, 1);
}

#[test]
fn a_form_that_posts_itself_is_read_as_a_browser_would() {
    let page = "<form><input type=\"hidden\" name=\"a\" value=\"1 &amp; &quot;2&quot;\">\
                <input type=\"hidden\" name=\"b\" value=\"\"><button>Go</button></form>";
    assert_eq!(posted(page), form(&[("a", "1 & \"2\""), ("b", "")]));
}
