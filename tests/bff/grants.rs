//! What tokens are asked for beyond scope: details, one API each, the client's own, exchanged ones, and
//! the authorization server's word on one.

use std::collections::BTreeSet;

use fapi_bff_conformance::{
    as_double::{AsDouble, Conduct, Constraint, Endpoint, Event, Fault, FaultRule, Target, edits},
    demo::browser::{Answer, Browser, Call, From},
    jws::peek,
};
use serde_json::{Value, json};

use crate::{
    login::session_cookie,
    support::{Bed, Wish, until},
};

const ROUTE: &str = "path = \"/api\"";
const LOGIN: &str = "[apps.web.login]";

async fn bed(edit: &[(&'static str, &str)]) -> Bed {
    let edit = edit.iter().map(|(from, to)| (*from, (*to).to_owned())).collect();
    Bed::with(Wish { edit, ..Wish::default() }).await
}

/// A bed whose app has this further route to the sample API.
async fn with_route(first: &str, further: &str) -> Bed {
    bed(&[(ROUTE, &routes(first, further))]).await
}

fn routes(first: &str, further: &str) -> String {
    format!(
        "{ROUTE}\n{first}\nupstream = \"{{api}}\"\ntrust_roots = [\"ca.pem\"]\nnetworks = [\"loopback\"]\n\
         [[apps.web.routes]]\npath = \"/other\"\n{further}"
    )
}

async fn get(browser: &mut Browser, path: &str) -> Answer {
    browser.fetch(Call::get(path)).await.unwrap()
}

async fn start(browser: &mut Browser, wish: &str) -> Answer {
    browser.fetch(Call::post("/bff/login/start").form(wish)).await.unwrap()
}

/// Logs in with this wish, up to the answer of `login/end`.
async fn log_in(bed: &Bed, browser: &mut Browser, wish: &str) -> Answer {
    let started = start(browser, wish).await.expect(200).unwrap().json().unwrap();
    let url = started["authorization_url"].as_str().unwrap();
    let back = browser.navigate(From::SameOrigin, url).await.unwrap().expect(303).unwrap();
    let query = back.location().unwrap().query().unwrap_or_default().to_owned();
    bed.end(browser, &query).await
}

fn respond(status: u16, body: &Value) -> FaultRule {
    Fault::Respond {
        status,
        content_type: "application/json".to_owned(),
        body: body.to_string().into_bytes(),
        headers: Vec::new(),
    }
    .into()
}

fn asked(event: &Event) -> &Value {
    &event.notes["request_object_claims"]
}

const PAYMENT: &str = "[apps.web.authorization.pay]\ndetails_from = \"{api}/intents/{intent}\"\n\
    types = [\"payment\"]\ntrust_roots = [\"ca.pem\"]\nnetworks = [\"loopback\"]\n\
    present_client_certificate = true\ntoken = \"client_credentials\"\nscopes = [\"payments\"]\n\n[apps.web.login]\n\
    authorization_details = [{ type = \"accounts\", actions = [\"read\"] }]";

fn payment(amount: &str) -> Value {
    json!([{"type": "payment", "instructedAmount": {"currency": "EUR", "amount": amount}}])
}

async fn paying() -> Bed {
    let demanding = format!("{ROUTE}\nauthorization_type = \"payment\"");
    let bed = bed(&[(LOGIN, PAYMENT), (ROUTE, &demanding)]).await;
    bed.api.fault("/intents/7", respond(200, &payment("10.00")));
    bed
}

/// RAR-2, RAR-7, RAR-12: the whole way, from the hint through the intent to the call.
#[tokio::test]
async fn a_payment_is_authorized_by_the_words_of_its_intent() {
    let bed = paying().await;
    let mut browser = bed.logged_in().await;
    let accounts = json!([{"type": "accounts", "actions": ["read"]}]);
    assert_eq!(asked(&bed.double.last(Endpoint::Par).unwrap())["authorization_details"], accounts);
    let refused = get(&mut browser, "/api/accounts").await;
    let refused = refused.expect_refusal(401, "authorization_required").unwrap().json().unwrap();
    assert_eq!(refused["authorization"], json!({"type": "payment", "authorization": "pay"}));
    assert_eq!(bed.api.count("/accounts"), 0);

    bed.clock.advance(1);
    let before = session_cookie(&browser).unwrap();
    log_in(&bed, &mut browser, "authorization=pay&intent=7").await.expect(200).unwrap();
    let par = bed.double.last(Endpoint::Par).unwrap();
    let details = &asked(&par)["authorization_details"];
    assert_eq!(*details, json!([accounts[0], payment("10.00")[0]]));
    assert_ne!(session_cookie(&browser).unwrap(), before);
    get(&mut browser, "/api/accounts").await.expect(200).unwrap();
    // A refresh does not lose what was granted.
    browser.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
    get(&mut browser, "/api/accounts").await.expect(200).unwrap();
}

/// RAR-7: more than was asked for is given back, and nobody is logged in with it.
#[tokio::test]
async fn a_grant_beyond_the_request_is_given_back() {
    let bed = paying().await;
    for further in [payment("10.00"), json!([{"type": "accounts", "actions": ["write"]}])] {
        let mut browser = bed.browser();
        let revoked = bed.double.count(Endpoint::Revocation);
        let further = further.as_array().unwrap().clone();
        bed.double.behave(|as_| as_.further_details = further);
        log_in(&bed, &mut browser, "authorization=pay&intent=7").await.expect(502).unwrap();
        let reason = "token.details_beyond_request".to_owned();
        assert_eq!(bed.last_audit("login.end"), ("rejected".to_owned(), reason));
        assert_eq!(session_cookie(&browser), None);
        until("revocation", || bed.double.count(Endpoint::Revocation) > revoked).await;
        bed.double.reset_behaviour();
    }
}

/// RAR-2, RAR-5, RAR-12: nothing is pushed that was not told by the server that knows.
#[tokio::test]
async fn a_wish_that_cannot_be_told_in_detail_is_not_pushed() {
    let bed = paying().await;
    bed.api.fault("/intents/gone", respond(404, &json!({})));
    bed.api.fault("/intents/down", respond(503, &json!({})));
    bed.api.fault("/intents/other", respond(200, &json!([{"type": "accounts"}])));
    bed.api.fault("/intents/object", respond(200, &json!({"type": "payment"})));
    bed.api.fault(
        "/intents/large",
        respond(200, &json!([{"type": "payment", "x": "x".repeat(1024)}])),
    );
    let mut browser = bed.browser();
    for (wish, status, reason) in [
        ("authorization=pay&intent=gone", 400, "parameter.intent_unknown"),
        ("authorization=pay&intent=down", 502, "intent.unavailable"),
        ("authorization=pay&intent=other", 502, "intent.type_not_allowed"),
        ("authorization=pay&intent=object", 502, "details.not_an_array"),
        ("authorization=pay&intent=large", 502, "intent.unavailable"),
        ("authorization=pay", 400, "parameter.intent_missing"),
        ("authorization=pay&intent=", 400, "parameter.intent_malformed"),
        ("authorization=pay&intent=..", 400, "parameter.intent_malformed"),
        ("authorization=pay&intent=7%2F..%2F8", 400, "parameter.intent_malformed"),
        ("authorization=pay&intent=7&intent=7", 400, "parameter.duplicate"),
        ("authorization=Pay&intent=7", 400, "parameter.authorization_unknown"),
        ("intent=7", 400, "parameter.intent_unexpected"),
        (
            "authorization_details=%5B%7B%22type%22%3A%22payment%22%7D%5D",
            400,
            "parameter.not_allowed",
        ),
    ] {
        start(&mut browser, wish).await.expect(status).unwrap();
        assert_eq!(bed.last_audit("login.start").1, reason, "{wish}");
    }
    assert_eq!(bed.double.count(Endpoint::Par), 0);
    let unknown = format!("{LOGIN}\nauthorization_details = [{{ type = \"unheard_of\" }}]");
    let bed = self::bed(&[(LOGIN, &unknown)]).await;
    start(&mut bed.browser(), "").await.expect(502).unwrap();
    assert_eq!(bed.last_audit("login.start").1, "details.type_not_supported");
    assert_eq!(bed.double.count(Endpoint::Par), 0);
}

/// RES-2.1/2.2, BCP-2.2-2.3: each API gets the token that is for it, and no other.
#[tokio::test]
async fn each_api_gets_a_token_of_its_own() {
    let elsewhere = "https://elsewhere.example";
    let bed = with_route("resource = \"{api}\"", &format!("resource = \"{elsewhere}\"")).await;
    let mut browser = bed.logged_in().await;
    let here = bed.api.base_url().trim_end_matches('/').to_owned();
    assert_eq!(
        asked(&bed.double.last(Endpoint::Par).unwrap())["resource"],
        json!([here, elsewhere])
    );
    get(&mut browser, "/api/accounts").await.expect(200).unwrap();
    assert_eq!(bed.double.count(Endpoint::Token), 1, "the login's token is for the first");
    // The sample API refuses a token for somebody else.
    get(&mut browser, "/other/accounts").await.expect(502).unwrap();
    assert_eq!(bed.double.count(Endpoint::Token), 3, "fetched, refused, renewed once");
    get(&mut browser, "/api/accounts").await.expect(200).unwrap();
    assert!(bed.is_logged_in(&mut browser).await);
}

/// RES-2.1/2.2: an AS that issues no token for one API does not spoil the others.
#[tokio::test]
async fn a_refused_target_is_the_routes_trouble_alone() {
    let bed = with_route("", "scopes = [\"payments\"]").await;
    let mut browser = bed.logged_in().await;
    for error in ["invalid_target", "invalid_scope"] {
        let refusal = respond(400, &json!({"error": error}));
        bed.double.behave(|as_| as_.fault(Endpoint::Token, refusal));
        let refused = get(&mut browser, "/other/echo-headers").await;
        let refused = refused.expect_refusal(502, "authorization_server_error").unwrap();
        assert_eq!(refused.json().unwrap()["detailed_error"], "invalid_target");
        bed.double.reset_behaviour();
        get(&mut browser, "/api/accounts").await.expect(200).unwrap();
        bed.clock.advance(2);
    }
    // Narrowed, the token is good for what it was narrowed to and nothing else.
    get(&mut browser, "/other/accounts").await.expect(403).unwrap();
    let echo = get(&mut browser, "/other/echo-headers").await.expect(200).unwrap();
    assert_eq!(echo.json().unwrap()["authorization"]["valid"], true);
}

/// The client's own token is fetched once for all, and replaced when an upstream refuses it.
#[tokio::test]
async fn a_route_may_send_the_clients_own_token() {
    let bed = with_route("", "token = \"client_credentials\"\nscopes = [\"accounts\"]").await;
    let mut browsers = [bed.logged_in().await, bed.logged_in().await];
    let before = bed.double.count(Endpoint::Token);
    for user in [0, 1, 0] {
        let answer = get(&mut browsers[user], "/other/accounts").await.expect(200).unwrap();
        assert_eq!(answer.json().unwrap()["owner"], "", "nobody's token");
    }
    assert_eq!(bed.double.count(Endpoint::Token), before + 1);
    get(&mut bed.browser(), "/other/accounts").await.expect(401).unwrap();
    bed.clock.advance(3600);
    let mut fresh = bed.logged_in().await;
    let before = bed.double.count(Endpoint::Token);
    get(&mut fresh, "/other/accounts").await.expect(200).unwrap();
    assert_eq!(bed.double.count(Endpoint::Token), before + 1);
}

/// TX-2.1, TX-4.1: exchanged once for each session, and over with it.
#[tokio::test]
async fn a_route_may_send_what_the_users_token_is_exchanged_for() {
    let exchange = "token = \"exchange\"\nexchange = { scopes = [\"accounts\"] }";
    let bed = with_route("", exchange).await;
    let mut browser = bed.logged_in().await;
    let before = bed.double.count(Endpoint::Token);
    for _ in 0..3 {
        let answer = get(&mut browser, "/other/accounts").await.expect(200).unwrap();
        assert_eq!(answer.json().unwrap()["owner"], "alice");
    }
    assert_eq!(bed.double.count(Endpoint::Token), before + 1);
    // Another access token is exchanged anew.
    browser.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
    get(&mut browser, "/other/accounts").await.expect(200).unwrap();
    assert_eq!(bed.double.count(Endpoint::Token), before + 3);
    let revoked = bed.double.count(Endpoint::Revocation);
    browser.fetch(Call::post("/bff/logout")).await.unwrap().expect(200).unwrap();
    // The refresh token, the access token, and both that were exchanged.
    until("revocation", || bed.double.count(Endpoint::Revocation) == revoked + 4).await;
    get(&mut browser, "/other/accounts").await.expect(401).unwrap();
}

/// TX-2.2: what is no access token is never sent as one.
#[tokio::test]
async fn a_token_that_is_none_is_not_sent() {
    let exchange = "token = \"exchange\"\nexchange = { audience = \"ledger\" }";
    let bed = with_route("", exchange).await;
    let mut browser = bed.logged_in().await;
    bed.double.behave(|as_| as_.token_type = Some("N_A".to_owned()));
    let answer = get(&mut browser, "/other/accounts").await;
    answer.expect_refusal(502, "authorization_server_error").unwrap();
    assert_eq!(bed.api.count("/accounts"), 0);
    bed.double.reset_behaviour();
    bed.clock.advance(1);
    get(&mut browser, "/other/accounts").await.expect(200).unwrap();
}

/// INT-9701-4/5, FAPI2-MS-5.5.2: the signed word in its own header, and no token beside it.
#[tokio::test]
async fn a_route_may_send_the_servers_word_on_the_token() {
    let bed = with_route("", "token = \"introspection_jwt\"").await;
    let mut browser = bed.logged_in().await;
    let plain = respond(200, &json!({"active": true}));
    bed.double.behave(|as_| as_.fault(Endpoint::Introspection, plain));
    let answer = get(&mut browser, "/other/echo-headers").await;
    answer.expect_refusal(502, "authorization_server_error").unwrap();
    assert_eq!(bed.api.count("/echo-headers"), 0);
    bed.double.reset_behaviour();
    bed.clock.advance(1);
    let before = bed.double.count(Endpoint::Introspection);
    for _ in 0..2 {
        let echo = get(&mut browser, "/other/echo-headers").await.expect(200).unwrap();
        let echo = echo.json().unwrap();
        assert_eq!(echo["authorization"]["scheme"], Value::Null);
        let headers = echo["headers"].as_array().unwrap();
        let words = headers.iter().filter(|pair| pair[0] == "x-token-introspection");
        let words: Vec<_> = words.filter_map(|pair| pair[1].as_str()).collect();
        assert_eq!(words.len(), 1);
        assert_eq!(words[0].split('.').count(), 3);
    }
    assert_eq!(bed.double.count(Endpoint::Introspection), before + 1);
}

/// FAPI2-SP-5.3.3.1-1: as a bearer token only under the profile that lets tokens be bound to nothing.
#[tokio::test]
async fn the_servers_word_may_go_as_a_bearer_token_under_oidc() {
    let client = "client_id = \"bed-client\"";
    let oidc = format!(
        "{client}\nprofile = \"oidc\"\nsender_constraint = \"mtls\"\nresponse_mode = \"jwt\"\n\
         signed_request_object = true"
    );
    let route = routes("", "token = \"introspection_bearer\"");
    let bed = bed(&[(client, &oidc), (ROUTE, &route)]).await;
    let mut browser = bed.logged_in().await;
    let echo = get(&mut browser, "/other/echo-headers").await.expect(200).unwrap().json().unwrap();
    assert_eq!(echo["authorization"], json!({"scheme": "Bearer", "valid": false}));
}

/// OIDC-3.1.3.7-12: an essential claim or a wish, never both.
#[tokio::test]
async fn an_essential_acr_is_asked_for_once() {
    let claims = format!(
        "{LOGIN}\nclaims_parameter = {{ id_token = {{ acr = {{ essential = true, values = [\"urn:example:loa:3\"] }} }} }}"
    );
    let bed = bed(&[(LOGIN, &claims)]).await;
    let mut browser = bed.browser();
    log_in(&bed, &mut browser, "").await.expect(200).unwrap();
    let par = bed.double.last(Endpoint::Par).unwrap();
    let essential =
        json!({"id_token": {"acr": {"essential": true, "values": ["urn:example:loa:3"]}}});
    assert_eq!(asked(&par).get("claims"), Some(&essential));
    assert_eq!(asked(&par).get("acr_values"), None);
    assert_eq!(bed.last_audit("login.end"), ("success".to_owned(), "none".to_owned()));

    // A server that does not read claims is asked the other way, and held to it all the same.
    let silent: fn(&AsDouble) = |double| {
        double.behave(|as_| {
            as_.edit(Target::Metadata, edits::remove("claims_parameter_supported"));
            as_.edit(Target::IdToken, edits::set("acr", json!("urn:example:loa:2")));
        });
    };
    let edit = vec![(LOGIN, claims)];
    let bed = Bed::with(Wish { edit, before: Some(silent), ..Wish::default() }).await;
    log_in(&bed, &mut bed.browser(), "").await.expect(502).unwrap();
    let par = bed.double.last(Endpoint::Par).unwrap();
    assert_eq!(asked(&par).get("claims"), None);
    assert_eq!(asked(&par)["acr_values"], "urn:example:loa:3");
    assert_eq!(bed.last_audit("login.end").1, "id_token.acr_mismatch");
}

/// A claim that the server would not hear of is not asked for in silence.
#[tokio::test]
async fn claims_are_not_asked_of_a_server_that_does_not_read_them() {
    let claims = format!("{LOGIN}\nclaims_parameter = {{ userinfo = {{ email = {{}} }} }}");
    let reading = bed(&[(LOGIN, &claims)]).await;
    log_in(&reading, &mut reading.browser(), "").await.expect(200).unwrap();
    let par = reading.double.last(Endpoint::Par).unwrap();
    assert_eq!(asked(&par)["claims"], json!({"userinfo": {"email": {}}}));
    let silent: fn(&AsDouble) = |double| {
        double.behave(|as_| {
            as_.edit(Target::Metadata, edits::remove("claims_parameter_supported"));
        });
    };
    let edit = vec![(LOGIN, claims)];
    let bed = Bed::with(Wish { edit, before: Some(silent), ..Wish::default() }).await;
    start(&mut bed.browser(), "").await.expect(502).unwrap();
    assert_eq!(bed.last_audit("login.start").1, "claims.not_supported");
    assert_eq!(bed.double.count(Endpoint::Par), 0);
}

/// DPOP-8, DPOP-9, BRR-3.1: an intent's server wants a nonce, and then another token.
#[tokio::test]
async fn an_intents_server_gets_the_nonce_and_the_token_it_wants() {
    let objects = |body: &str, nonce: &str| {
        let headers = [("www-authenticate", body), ("dpop-nonce", nonce)];
        Fault::Respond {
            status: 401,
            content_type: "application/json".to_owned(),
            body: Vec::new(),
            headers: headers.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec(),
        }
        .once()
    };
    let client = "client_id = \"bed-client\"";
    let dpop = format!("{client}\nsender_constraint = \"dpop\"");
    let paying = PAYMENT.replace("present_client_certificate = true\n", "");
    let conduct = Conduct { constraint: Constraint::Dpop, ..Conduct::message_signing() };
    let edit = vec![(LOGIN, paying), (client, dpop)];
    let bed = Bed::with(Wish { edit, conduct: Some(conduct), ..Wish::default() }).await;
    bed.api.fault("/intents/7", objects("DPoP error=\"use_dpop_nonce\"", "first"));
    bed.api.fault("/intents/7", objects("DPoP error=\"invalid_token\"", "second"));
    bed.api.fault("/intents/7", respond(200, &payment("10.00")));
    start(&mut bed.browser(), "authorization=pay&intent=7").await.expect(200).unwrap();

    let events = bed.api.events();
    let asked: Vec<_> = events.iter().filter(|event| event.path == "/intents/7").collect();
    let claims = |event: &&Event| peek(event.header("dpop").unwrap()).unwrap().1;
    let nonces: Vec<_> = asked.iter().map(|event| claims(event).get("nonce").cloned()).collect();
    assert_eq!(nonces, [None, Some(json!("first")), Some(json!("second"))]);
    let tokens: Vec<_> = asked.iter().map(|event| event.header("authorization").unwrap()).collect();
    assert_eq!(tokens[0], tokens[1]);
    assert_ne!(tokens[1], tokens[2]);
    let ids: BTreeSet<_> = asked.iter().map(|event| claims(event)["jti"].to_string()).collect();
    assert_eq!(ids.len(), 3, "a proof for each request (DPOP-7.3)");
}

/// DPOP-5, TX-2.1: where tokens are bound to keys, so are these, and each is sent with its proof.
#[tokio::test]
async fn tokens_of_every_source_are_bound_to_a_key_where_tokens_are() {
    for further in [
        "token = \"client_credentials\"\nscopes = [\"accounts\"]",
        "token = \"exchange\"\nexchange = { scopes = [\"accounts\"] }",
        "scopes = [\"accounts\"]",
    ] {
        let route = format!(
            "{ROUTE}\nupstream = \"{{api}}\"\ntrust_roots = [\"ca.pem\"]\nnetworks = [\"loopback\"]\n\
             [[apps.web.routes]]\npath = \"/other\"\n{further}"
        );
        let client = "client_id = \"bed-client\"";
        let dpop = format!("{client}\nsender_constraint = \"dpop\"");
        let edit = vec![(ROUTE, route), (client, dpop)];
        let conduct = Conduct { constraint: Constraint::Dpop, ..Conduct::message_signing() };
        let bed = Bed::with(Wish { edit, conduct: Some(conduct), ..Wish::default() }).await;
        let mut browser = bed.logged_in().await;
        get(&mut browser, "/other/accounts").await.expect(200).unwrap();
        let echo = get(&mut browser, "/other/echo-headers").await.expect(200).unwrap();
        let echo = echo.json().unwrap();
        assert_eq!(echo["authorization"], json!({"scheme": "DPoP", "valid": true}), "{further}");
    }
}
