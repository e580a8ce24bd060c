//! Clients of national schemes: what each request has more, and what its answer must bring back.

use fapi_bff_conformance::{
    as_double::{Conduct, Endpoint, RequestMethod, ResponseForm, Target, edits},
    demo::browser::{Browser, Call},
    jws::{Alg, Object},
};
use serde_json::json;

use crate::house::{BANK, House, Part, SHOP};

const SCA: &str = "urn:openbanking:psd2:sca";
const CA: &str = "urn:openbanking:psd2:ca";

/// A hybrid response in the United Kingdom.
const UK: Part = Part {
    name: "uk",
    host: "app.localhost",
    client: "profile = \"fapi1-advanced\"\necosystem = \"openbanking-uk\"\nresponse_type = \"code id_token\"",
    login: "consent_parameter = true\nallowed_parameters = [\"acr_values\"]",
    acrs: &[SCA, CA],
    ..SHOP
};

/// Pushed and answered by JARM, in Brazil and in Australia.
const PUSHED: Conduct = Conduct {
    request_method: RequestMethod::Pushed,
    response: ResponseForm::Jarm,
    ..Conduct::fapi1_advanced()
};
const BRAZIL: Part = Part {
    name: "brazil",
    client: "profile = \"fapi1-advanced\"\necosystem = \"openbanking-brazil\"",
    login: "consent_parameter = true",
    conduct: PUSHED,
    alg: Alg::Ps256,
    registered: |client| client.consent_scope = Some("consent:".to_owned()),
    ..BANK
};
const AUSTRALIA: Part = Part {
    name: "australia",
    client: "profile = \"fapi1-advanced\"\necosystem = \"consumerdataright-au\"",
    login: "acr_values = [\"urn:cds.au:cdr:3\", \"urn:cds.au:cdr:2\"]\nrequire_acr = true",
    conduct: PUSHED,
    // CDS OpenID Provider Configuration End Point.
    before: |double| {
        let s256 = edits::set("code_challenge_methods_supported", json!(["S256"]));
        double.behave(|as_| as_.edit(Target::Metadata, s256));
    },
    ..BANK
};

/// The claims of the last request object, wherever it came.
fn request_object(house: &House, part: &Part) -> Object {
    let endpoint = if part.conduct.request_method == RequestMethod::Pushed {
        Endpoint::Par
    } else {
        Endpoint::Authorize
    };
    let event = house.double(part).last(endpoint).unwrap();
    event.notes["request_object_claims"].as_object().unwrap().clone()
}

async fn refused_start(house: &House, part: &Part, wishes: &str) -> String {
    let mut browser = house.browser(part);
    let answer = browser.fetch(Call::post("/bff/login/start").form(wishes)).await.unwrap();
    answer.expect_refusal(400, "invalid_request").unwrap();
    assert!(browser.cookies().is_empty());
    house.last_audit("login.start")["reason"].as_str().unwrap().to_owned()
}

/// A login to authorize this consent.
async fn login(house: &House, part: &Part, browser: &mut Browser, intent: &str) -> (u16, String) {
    let form = house.response_to(part, browser, &format!("intent={intent}")).await;
    let answer = house.end(part, browser, &form).await;
    (answer.status, house.last_reason())
}

#[tokio::test]
async fn a_login_in_the_united_kingdom_authorizes_one_consent() {
    let house = House::start(&[UK]).await;
    let mut browser = house.browser(&UK);
    assert_eq!(login(&house, &UK, &mut browser, "aac-a319ff12").await, (200, "none".to_owned()));
    let request = request_object(&house, &UK);
    let claims = json!({"id_token": {
        "acr": {"essential": true, "values": [SCA, CA]},
        "openbanking_intent_id": {"essential": true, "value": "aac-a319ff12"},
    }});
    assert_eq!(request["claims"], claims);
    assert!(!request.contains_key("acr_values"), "the same demand twice");
    assert_eq!(request["scope"], "openid profile accounts");
    let session = browser.fetch(Call::get("/bff/session")).await.unwrap().json().unwrap();
    assert_eq!(session["id_token_claims"]["acr"], SCA);
    assert!(!session.to_string().contains("aac-a319ff12"), "a consent is not for pages");
    house.accounts(&UK, &mut browser).await.expect(200).unwrap();
}

/// RAR-12: a login without a consent, or with what is no name of one, does not begin.
#[tokio::test]
async fn a_login_names_one_consent_and_nothing_else() {
    let house = House::start(&[UK]).await;
    for (wishes, reason) in [
        ("", "parameter.intent_missing"),
        ("intent=", "parameter.intent_malformed"),
        ("intent=a%20b", "parameter.intent_malformed"),
        ("intent=a%2Fb", "parameter.intent_malformed"),
        ("intent=a&intent=b", "parameter.duplicate"),
        ("intent=a&claims=%7B%7D", "parameter.not_allowed"),
        ("intent=a&openbanking_intent_id=b", "parameter.not_allowed"),
        ("intent=a&acr_values=gold", "parameter.acr_not_configured"),
    ] {
        assert_eq!(refused_start(&house, &UK, wishes).await, reason, "{wishes}");
    }
    assert_eq!(house.double(&UK).count(Endpoint::Authorize), 0);
    // Without the setting a page names none.
    let house = House::start(&[SHOP]).await;
    assert_eq!(refused_start(&house, &SHOP, "intent=a").await, "parameter.intent_unexpected");
}

/// OpenID Connect Core §5.5.1: before the code is redeemed the ID token beside it must name the consent; afterwards the
/// other one must, or the tokens are given up.
#[tokio::test]
async fn another_consent_than_the_one_asked_for_ends_the_login() {
    const CLAIM: &str = "openbanking_intent_id";
    let house = House::start(&[UK]).await;
    let double = house.double(&UK);
    for (target, tokens) in [(Target::FrontIdToken, 0), (Target::TokenIdToken, 1)] {
        for (missing, reason) in
            [(false, "id_token.intent_mismatch"), (true, "id_token.intent_missing")]
        {
            double.clear_events();
            double.behave(|as_| {
                if missing {
                    as_.edit_once(target, edits::remove(CLAIM));
                } else {
                    as_.edit_once(target, edits::wrong(CLAIM));
                }
            });
            let mut browser = house.browser(&UK);
            let (status, found) = login(&house, &UK, &mut browser, "aac-1").await;
            assert_eq!(found, reason, "{target:?}");
            assert_eq!(status, if tokens == 0 { 400 } else { 502 });
            assert_eq!(double.count(Endpoint::Token), tokens);
            assert!(!house.is_logged_in(&UK, &mut browser).await);
            if tokens > 0 {
                crate::support::soon("giving up", double.wait_for(Endpoint::Revocation, 2)).await;
            }
        }
    }
    // Another login's consent is another consent.
    let (mut one, mut two) = (house.browser(&UK), house.browser(&UK));
    let first = house.response_to(&UK, &mut one, "intent=aac-1").await;
    let second = house.response_to(&UK, &mut two, "intent=aac-2").await;
    house.end(&UK, &mut one, &second).await.expect(400).unwrap();
    house.end(&UK, &mut two, &first).await.expect(400).unwrap();
    assert_eq!(house.last_reason(), "transaction.missing");
}

/// OIDC-3.1.3.7-12: one of the values that were demanded is reached, the page's or else the scheme's.
#[tokio::test]
async fn the_authentication_in_the_united_kingdom_is_of_a_demanded_class() {
    let house = House::start(&[UK]).await;
    for (wishes, reached, reason) in [
        ("intent=a", CA, "none"),
        ("intent=a", "urn:example:loa:3", "id_token.acr_mismatch"),
        ("intent=a&acr_values=urn%3Aopenbanking%3Apsd2%3Asca", SCA, "none"),
        ("intent=a&acr_values=urn%3Aopenbanking%3Apsd2%3Asca", CA, "id_token.acr_mismatch"),
    ] {
        let acr = edits::set("acr", json!(reached));
        house.double(&UK).behave(|as_| as_.edit_once(Target::TokenIdToken, acr));
        let mut browser = house.browser(&UK);
        let form = house.response_to(&UK, &mut browser, wishes).await;
        house.end(&UK, &mut browser, &form).await;
        assert_eq!(house.last_reason(), reason, "{wishes} {reached}");
    }
    // What the operator demands is the least: a page cannot be content with less.
    let strict = Part {
        login: "consent_parameter = true\nallowed_parameters = [\"acr_values\"]\nacr_values = [\"urn:openbanking:psd2:sca\"]",
        ..UK
    };
    let house = House::start(&[strict]).await;
    let wish = "intent=a&acr_values=urn%3Aopenbanking%3Apsd2%3Aca";
    assert_eq!(refused_start(&house, &strict, wish).await, "parameter.acr_not_configured");
}

#[tokio::test]
async fn a_login_in_brazil_has_its_consent_in_the_scope() {
    let house = House::start(&[BRAZIL]).await;
    let mut browser = house.browser(&BRAZIL);
    let verdict = login(&house, &BRAZIL, &mut browser, "urn%3Abancoex%3AC1DD33123").await;
    assert_eq!(verdict, (200, "none".to_owned()));
    let request = request_object(&house, &BRAZIL);
    assert_eq!(request["scope"], "openid profile accounts consent:urn:bancoex:C1DD33123");
    assert_eq!(request["claims"], json!({"id_token": {"acr": {"essential": true}}}));
    let header = |event: &str, endpoint| {
        let event = &house.double(&BRAZIL).last(endpoint).unwrap().notes[event];
        event["alg"].as_str().unwrap().to_owned()
    };
    assert_eq!(header("request_object_header", Endpoint::Par), "PS256");
    house.accounts(&BRAZIL, &mut browser).await.expect(200).unwrap();
    // Renewed, the tokens are still for that consent.
    browser.fetch(Call::post("/bff/refresh")).await.unwrap().expect(200).unwrap();
    house.accounts(&BRAZIL, &mut browser).await.expect(200).unwrap();
    assert_eq!(refused_start(&house, &BRAZIL, "").await, "parameter.intent_missing");
}

/// FAPI1-ADV-5.2.3-3: the claim is essential, so one of the values beside it is reached.
#[tokio::test]
async fn the_authentication_in_brazil_is_of_a_demanded_class() {
    const LOA2: &str = "urn:brasil:openbanking:loa2";
    let asking = Part {
        login: "consent_parameter = true\nacr_values = [\"urn:brasil:openbanking:loa2\"]",
        acrs: &[LOA2],
        ..BRAZIL
    };
    let house = House::start(&[asking]).await;
    for (reached, reason) in [
        (Some(LOA2), "none"),
        (Some("urn:example:loa:1"), "id_token.acr_mismatch"),
        (None, "id_token.acr_missing"),
    ] {
        let reached = move |claims: &mut Object| {
            claims.remove("acr");
            claims.extend(reached.map(|acr| ("acr".to_owned(), json!(acr))));
        };
        house.double(&asking).behave(|as_| as_.edit_once(Target::TokenIdToken, reached));
        let mut browser = house.browser(&asking);
        login(&house, &asking, &mut browser, "urn%3Ax%3A1").await;
        assert_eq!(house.last_reason(), reason);
    }
    let request = request_object(&house, &asking);
    assert_eq!(request["claims"], json!({"id_token": {"acr": {"essential": true}}}));
    assert_eq!(request["acr_values"], LOA2);
}

/// What each scheme demands of a server beyond the profile.
#[tokio::test]
async fn a_server_without_s256_is_not_used_in_australia() {
    let bare = Part { before: |_| {}, ..AUSTRALIA };
    let house = House::start(&[bare]).await;
    let start = house.browser(&bare).fetch(Call::post("/bff/login/start")).await;
    start.unwrap().expect(502).unwrap();
    assert_eq!(house.last_audit("login.start")["reason"], "metadata.s256_missing");
}

/// OFB-FAPI-1 ID3 6.2, 5.2.3-3: nothing but PS256 is believed, and nothing unencrypted goes through the
/// browser, whatever the server would take.
#[tokio::test]
async fn a_server_that_brazil_does_not_know_is_not_used() {
    let gone = |member: &'static str| edits::remove(member);
    let house = House::start(&[BRAZIL]).await;
    house.double(&BRAZIL).behave(|as_| {
        as_.edit(Target::Metadata, gone("pushed_authorization_request_endpoint"));
        as_.edit(
            Target::Metadata,
            edits::set("require_pushed_authorization_requests", json!(false)),
        );
    });
    let start = house.browser(&BRAZIL).fetch(Call::post("/bff/login/start").form("intent=a")).await;
    start.unwrap().expect(502).unwrap();
    let reason = house.last_audit("login.start")["reason"].clone();
    assert_eq!(reason, "metadata.endpoint_missing");

    let house = House::start(&[BRAZIL]).await;
    let es256 = json!(["ES256"]);
    house.double(&BRAZIL).behave(|as_| {
        as_.edit(Target::Metadata, edits::set("id_token_signing_alg_values_supported", es256));
    });
    let start = house.browser(&BRAZIL).fetch(Call::post("/bff/login/start").form("intent=a")).await;
    start.unwrap().expect(502).unwrap();
    let reason = house.last_audit("login.start")["reason"].clone();
    assert_eq!(reason, "metadata.algorithm_missing");
}

#[tokio::test]
async fn a_login_in_australia_is_pushed_and_answered_by_jarm() {
    let house = House::start(&[AUSTRALIA]).await;
    let mut browser = house.logged_in(&AUSTRALIA).await;
    let request = request_object(&house, &AUSTRALIA);
    assert_eq!(request["response_type"], "code");
    assert_eq!(request["response_mode"], "jwt");
    assert_eq!(request["code_challenge_method"], "S256");
    assert_eq!(request["acr_values"], "urn:cds.au:cdr:3 urn:cds.au:cdr:2");
    assert!(!request.contains_key("claims"));
    house.accounts(&AUSTRALIA, &mut browser).await.expect(200).unwrap();

    let lower = edits::set("acr", json!("urn:cds.au:cdr:1"));
    house.double(&AUSTRALIA).behave(|as_| as_.edit_once(Target::IdToken, lower));
    let form = house.response(&AUSTRALIA, &mut browser).await;
    house.end(&AUSTRALIA, &mut browser, &form).await.expect(502).unwrap();
    assert_eq!(house.last_reason(), "id_token.acr_mismatch");
}
