//! Several apps, clients and issuers in one process: nothing of one reaches, opens or spoils another.

use std::collections::BTreeSet;

use fapi_bff_conformance::{
    as_double::{Endpoint, Event, Fault, Tamper, Target, edits},
    demo::browser::{Answer, Browser, Call, From},
    jws::{Alg, SigningKey, peek},
};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::house::{BANK, CLUB, DESK, House, KIOSK, Part, SHOP, TILL};

const ALL: [Part; 5] = [BANK, DESK, SHOP, CLUB, TILL];

/// Token requests at every authorization server.
fn token_requests(house: &House) -> Vec<usize> {
    house.doubles.values().map(|double| double.count(Endpoint::Token)).collect()
}

/// The transaction cookies of an app in a browser.
fn transactions(part: &Part, browser: &Browser) -> Vec<(String, String)> {
    let prefix = part.transaction();
    let cookies = browser.cookies().into_iter().filter(|(name, _)| name.starts_with(&prefix));
    cookies.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn session_of(part: &Part, browser: &Browser) -> String {
    let name = part.session();
    let mut cookies = browser.cookies().into_iter();
    cookies.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned()).unwrap()
}

fn parameter(form: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(form.as_bytes());
    pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The same form with another value of one parameter.
fn with_parameter(form: &str, name: &str, value: &str) -> String {
    let pairs = form_urlencoded::parse(form.as_bytes()).filter(|(known, _)| known != name);
    let mut out = form_urlencoded::Serializer::new(String::new());
    out.extend_pairs(pairs).append_pair(name, value).finish()
}

/// Refused by script: 400, no session, no cookie set but to delete one.
fn assert_refused(answer: Answer, what: &str) {
    let answer = answer.expect(400).unwrap_or_else(|why| panic!("{what}: {why}"));
    assert!(answer.cookies().iter().all(|cookie| cookie.max_age() == Some(0)), "{what}");
}

/// Everything works side by side, under one `client_id` at four issuers; whoever looks at metrics and
/// audit finds the right names; each app publishes the keys of its client and no other's.
#[tokio::test]
async fn five_apps_at_four_issuers_work_side_by_side() {
    let house = House::start(&ALL).await;
    for part in ALL {
        let mut browser = house.logged_in(&part).await;
        house.accounts(&part, &mut browser).await.expect(200).unwrap();
        let ended = house.last_audit("login.end");
        assert_eq!((&ended["app"], &ended["client"]), (&json!(part.name), &json!(part.name)));
        assert_eq!(ended["outcome"], "success");
        let started = house.last_audit("login.start");
        assert_eq!((&started["app"], &started["client"]), (&json!(part.name), &json!(part.name)));

        let jwks = browser.fetch(Call::get(&part.path("/bff/jwks"))).await.unwrap();
        let jwks = jwks.expect(200).unwrap().json().unwrap();
        let keys = jwks["keys"].as_array().unwrap().iter();
        let published: BTreeSet<_> =
            keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
        assert_eq!(published, house.kids(&part).into_iter().collect(), "{}", part.name);
    }
    let metrics = house.metrics();
    for part in ALL {
        for line in [
            format!(
                "fapi_bff_logins_total{{app=\"{}\",outcome=\"completed\",reason=\"none\"}} 1",
                part.name
            ),
            format!(
                "fapi_bff_as_calls_total{{endpoint=\"token\",outcome=\"ok\",provider=\"{}\"}} {}",
                part.provider,
                if part.provider == BANK.provider { 2 } else { 1 }
            ),
        ] {
            assert!(metrics.contains(&line), "{line} in {metrics}");
        }
    }
}

/// FAPI2-AM-7.3, FAPI2-SP-6.3: each API gets the tokens of its own app's issuer only, and each issuer
/// the secrets of its own clients only.
#[tokio::test]
async fn no_token_secret_or_proof_goes_where_it_was_not_made_for() {
    let house = House::start(&ALL).await;
    for part in ALL {
        let mut browser = house.logged_in(&part).await;
        house.accounts(&part, &mut browser).await.expect(200).unwrap();
        browser.fetch(Call::post(&part.path("/bff/refresh"))).await.unwrap().expect(200).unwrap();
        house.accounts(&part, &mut browser).await.expect(200).unwrap();
    }
    let text = |event: &Event| {
        let pairs = event.headers.iter().chain(&event.form).chain(&event.query);
        pairs.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
    };
    for part in ALL {
        let at_api: String = house.api(&part).events().iter().map(text).collect();
        let credentials = |part: &Part| -> BTreeSet<String> {
            let events = house.api(part).events();
            let shown = events.iter().filter_map(|event| event.header("authorization"));
            shown.map(str::to_owned).collect()
        };
        assert_eq!(credentials(&part).len(), 2, "one at login, one by refresh");
        for other in ALL.iter().filter(|other| other.name != part.name) {
            assert!(credentials(&part).is_disjoint(&credentials(other)));
        }
        for other in ALL.iter().filter(|other| other.provider != part.provider) {
            let secrets = house.double(other).issued_secrets();
            assert!(!secrets.is_empty());
            let at_as: String = house.double(&part).events().iter().map(text).collect();
            for secret in &secrets {
                assert!(!at_api.contains(secret.as_str()), "{} at {}", other.name, part.name);
                assert!(!at_as.contains(secret.as_str()), "{} at {}", other.name, part.name);
            }
            assert!(!at_as.contains(house.secret(other)));
        }
    }
}

/// FAPI2-AM-7.3, BCP-2.1-3, FAPI1-BASE-5.2.3-4: an answer to one app's login, rightly made and with
/// the browser's own transactions beside it, ends nobody's login at another app, by script or by
/// navigation; nothing is redeemed anywhere, and the login it belongs to can still be ended.
#[tokio::test]
async fn an_answer_to_one_app_is_nothing_to_another() {
    let house = House::start(&ALL).await;
    for from in ALL {
        let mut browser = house.browser(&from);
        let form = house.response(&from, &mut browser).await;
        let own = transactions(&from, &browser);
        for to in ALL.iter().filter(|to| to.name != from.name) {
            let what = format!("{} at {}", from.name, to.name);
            let mut there = house.browser(to);
            house.response(to, &mut there).await;
            // The other app's own transaction, and the first's as it was and under the other's name.
            let mut cookies = transactions(to, &there);
            cookies.extend(own.clone());
            cookies.extend(own.iter().map(|(name, value)| {
                (name.replacen(&from.transaction(), &to.transaction(), 1), value.clone())
            }));
            let cookies: Vec<_> =
                cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let cookies = cookies.join("; ");
            let answer = house.with_cookies(to, "POST", "/bff/login/end", &cookies, &form).await;
            assert_refused(answer, &what);
            let refusal = house.last_audit("login.end");
            assert_eq!(
                (&refusal["app"], &refusal["outcome"]),
                (&json!(to.name), &json!("rejected"))
            );
            let path = format!("/bff/callback?{form}");
            let answer = house.with_cookies(to, "GET", &path, &cookies, "").await;
            assert_ne!(answer.status, 303, "{what}");
        }
        assert!(token_requests(&house).iter().all(|count| *count == 0), "{}", from.name);
        house.end(&from, &mut browser, &form).await.expect(200).unwrap();
        for double in house.doubles.values() {
            double.clear_events();
        }
    }
}

/// BCP-2.1-3: an issuer that knows the `state` of a login at another one gains nothing by it. Each of
/// its answers is handed to the login that the state is of.
#[tokio::test]
async fn a_state_of_another_issuers_login_is_not_enough() {
    let house = House::start(&ALL).await;
    for (victim, liar, reason) in [
        (BANK, DESK, "jarm.missing"),
        (BANK, CLUB, "jarm.missing"),
        (BANK, SHOP, "jarm.missing"),
        (DESK, BANK, "response.issuer_missing"),
        (DESK, CLUB, "response.issuer_missing"),
        (DESK, SHOP, "response.issuer_missing"),
        (SHOP, DESK, "response.issuer_mismatch"),
        (SHOP, CLUB, "id_token.missing"),
        (CLUB, DESK, "response.issuer_mismatch"),
        (CLUB, SHOP, "response.token_in_response"),
    ] {
        let what = format!("{} lies to {}", liar.name, victim.name);
        let mut browser = house.browser(&victim);
        let good = house.response(&victim, &mut browser).await;
        let state = parameter(&good, "state").unwrap_or_else(|| {
            let claims = peek(&parameter(&good, "response").unwrap()).unwrap().1;
            claims["state"].as_str().unwrap().to_owned()
        });
        let mut elsewhere = house.browser(&liar);
        let theirs = house.response(&liar, &mut elsewhere).await;
        let forged = with_parameter(&theirs, "state", &state);
        let forged = if liar.name == BANK.name {
            // A signed answer speaks for itself; what is in it comes as plain parameters.
            let claims = peek(&parameter(&theirs, "response").unwrap()).unwrap().1;
            let code = claims["code"].as_str().unwrap();
            with_parameter(&format!("state={state}"), "code", code)
        } else {
            forged
        };
        assert_refused(house.end(&victim, &mut browser, &forged).await, &what);
        assert_eq!(house.last_reason(), reason, "{what}");
        assert!(token_requests(&house).iter().all(|count| *count == 0), "{what}");
    }
}

/// JARM-2.4-2/3/4, BCP-2.1-3, JWT-3.8: an issuer that signs in another one's name, with its own key
/// under its own or under the other's name.
#[tokio::test]
async fn one_issuers_keys_never_vouch_for_another() {
    let house = House::start(&ALL).await;
    for (victim, liar) in [(BANK, DESK), (DESK, BANK), (SHOP, CLUB), (CLUB, SHOP)] {
        let alg = if victim.name == CLUB.name { Alg::Rs256 } else { Alg::Es256 };
        let foreign = SigningKey::generate(alg).unwrap();
        let double = house.double(&victim);
        let namesake = SigningKey::generate(alg).unwrap().with_kid(&double.signing_kid());
        house.double(&liar).behave(|as_| {
            as_.extra_keys = vec![foreign.public_jwk(), namesake.public_jwk()];
        });
        // The liar's own app has seen all its keys.
        house.logged_in(&liar).await;
        let asked = house.double(&liar).count(Endpoint::Jwks);
        let (target, kind) = match victim.name {
            "bank" => (Target::Jarm, "jarm"),
            "shop" => (Target::FrontIdToken, "id_token"),
            _ => (Target::IdToken, "id_token"),
        };
        for (key, reason) in [(foreign, "key_unknown"), (namesake, "signature_invalid")] {
            let what = format!("{} signs for {}", liar.name, victim.name);
            let header = key.header(Some("JWT"));
            let sign = Tamper::Sign { header, key: std::sync::Arc::new(key) };
            house.double(&victim).behave(|as_| as_.tamper_once(target, sign));
            let mut browser = house.browser(&victim);
            let form = house.response(&victim, &mut browser).await;
            let answer = house.end(&victim, &mut browser, &form).await;
            assert!(matches!(answer.status, 400 | 502), "{what}: {}", answer.status);
            assert_eq!(house.last_reason(), format!("{kind}.{reason}"), "{what}");
            assert!(!house.is_logged_in(&victim, &mut browser).await, "{what}");
        }
        assert_eq!(house.double(&liar).count(Endpoint::Jwks), asked, "asked about another's key");
        house.logged_in(&victim).await;
    }
}

/// FAPI2-SP-6.3: a session opens with its own name at its own app, and nowhere else.
#[tokio::test]
async fn a_session_is_nothing_at_another_app() {
    let house = House::start(&ALL).await;
    for from in ALL {
        let mut browser = house.logged_in(&from).await;
        let value = session_of(&from, &browser);
        for to in ALL.iter().filter(|to| to.name != from.name) {
            let what = format!("{} at {}", from.name, to.name);
            let cookies = format!("{}={value}; {}={value}", to.session(), from.session());
            let state = house.with_cookies(to, "GET", "/bff/session", &cookies, "").await;
            let state = state.expect(200).unwrap().json().unwrap();
            assert_eq!(state["is_logged_in"], false, "{what}");
            for (method, path) in
                [("GET", "/api/accounts"), ("GET", "/bff/userinfo"), ("POST", "/bff/refresh")]
            {
                let answer = house.with_cookies(to, method, path, &cookies, "").await;
                answer.expect_refusal(401, "session_missing").unwrap();
            }
            house.with_cookies(to, "POST", "/bff/logout", &cookies, "").await.expect(200).unwrap();
            assert_eq!(house.api(to).count("/accounts"), 0, "{what}");
        }
        // Neither ended nor used up.
        assert!(house.is_logged_in(&from, &mut browser).await, "{}", from.name);
        house.accounts(&from, &mut browser).await.expect(200).unwrap();
        house.api(&from).clear_events();
    }
}

/// Two apps on one origin: the browser brings both sessions, each app sees its own, and a logout from
/// one leaves the other.
#[tokio::test]
async fn two_apps_on_one_origin_keep_their_sessions_apart() {
    let house = House::start(&[BANK, DESK]).await;
    let mut browser = house.logged_in(&BANK).await;
    assert!(!house.is_logged_in(&DESK, &mut browser).await);
    house.accounts(&DESK, &mut browser).await.expect_refusal(401, "session_missing").unwrap();
    let form = house.response(&DESK, &mut browser).await;
    house.end(&DESK, &mut browser, &form).await.expect(200).unwrap();
    for part in [BANK, DESK] {
        house.accounts(&part, &mut browser).await.expect(200).unwrap();
        let api = house.api(&part);
        // A proof may have had to come again with the API's nonce.
        let served = api.events().iter().filter(|event| event.status == 200).count();
        assert_eq!(served, 1);
    }
    assert_ne!(session_of(&BANK, &browser), session_of(&DESK, &browser));
    browser.fetch(Call::post("/desk/bff/logout")).await.unwrap().expect(200).unwrap();
    assert!(house.is_logged_in(&BANK, &mut browser).await);
    assert!(!house.is_logged_in(&DESK, &mut browser).await);
}

/// META-6.2, JWK-STALE: an issuer that fails, talks nonsense, or is not there, is missed by its own
/// apps only, and never stood in for by what is known of another.
#[tokio::test]
async fn an_outage_of_one_issuer_is_no_other_ones() {
    let mut house = House::start(&[BANK, DESK, SHOP]).await;
    let others_work = async |house: &House| {
        for part in [DESK, SHOP] {
            let mut browser = house.logged_in(&part).await;
            house.accounts(&part, &mut browser).await.expect(200).unwrap();
        }
    };
    for (endpoint, fault) in [
        (Endpoint::Jwks, Fault::status(500)),
        (Endpoint::Jwks, Fault::Truncate(20)),
        (Endpoint::Metadata, Fault::status(500)),
        (Endpoint::Metadata, Fault::Truncate(20)),
    ] {
        house.double(&BANK).behave(|as_| as_.fault(endpoint, fault));
        // Whatever is remembered is too old now.
        house.clock.advance(7200);
        let asked = house.double(&BANK).count(endpoint);
        let mut browser = house.browser(&BANK);
        let form = house.response(&BANK, &mut browser).await;
        house.end(&BANK, &mut browser, &form).await;
        assert!(house.double(&BANK).count(endpoint) > asked);
        others_work(&house).await;
        house.double(&BANK).behave(|as_| as_.heal(endpoint));
    }
    house.close(&BANK).await;
    house.restart_with("[admin]", "[admin]").await;
    let mut browser = house.browser(&BANK);
    let start = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
    start.expect_refusal(503, "authorization_server_unavailable").unwrap();
    others_work(&house).await;
}

/// DPOP-11, RFC 9449 §8: keys are a session's own, nonces those of the server that gave them.
#[tokio::test]
async fn proofs_of_two_issuers_have_neither_key_nor_nonce_in_common() {
    let house = House::start(&[DESK, KIOSK]).await;
    let mut seen: Vec<(BTreeSet<String>, BTreeSet<String>)> = Vec::new();
    for part in [DESK, KIOSK] {
        for _ in 0..2 {
            let mut browser = house.logged_in(&part).await;
            house.accounts(&part, &mut browser).await.expect(200).unwrap();
        }
    }
    for part in [DESK, KIOSK] {
        let events = house.double(&part).events().into_iter().chain(house.api(&part).events());
        let (mut keys, mut nonces) = (BTreeSet::new(), BTreeSet::new());
        for proof in events.filter_map(|event| event.header("dpop").map(str::to_owned)) {
            let (header, claims) = peek(&proof).unwrap();
            keys.insert(header["jwk"].to_string());
            nonces.extend(claims.get("nonce").and_then(Value::as_str).map(str::to_owned));
        }
        assert_eq!(keys.len(), 2, "one a session");
        assert!(!nonces.is_empty());
        seen.push((keys, nonces));
    }
    assert!(seen[0].0.is_disjoint(&seen[1].0), "a key at two issuers");
    assert!(seen[0].1.is_disjoint(&seen[1].1), "a nonce at an issuer that did not give it");
}

/// JARM-2.4-4, OIDC-3.1.3.7-3, PKJ-MIX: two clients of one issuer. What is made for one is refused by
/// the other, and each asks in its own name, with its own key and certificate.
#[tokio::test]
async fn what_one_issuer_makes_for_a_sibling_is_refused() {
    let house = House::start(&[BANK, TILL]).await;
    for (ours, sibling) in [(BANK, TILL), (TILL, BANK)] {
        for (target, reason) in [
            (Target::Jarm, "jarm.audience_mismatch"),
            (Target::IdToken, "id_token.audience_mismatch"),
        ] {
            let aud = json!(sibling.client_id);
            house.double(&ours).behave(|as_| as_.edit_once(target, edits::set("aud", aud)));
            let mut browser = house.browser(&ours);
            let form = house.response(&ours, &mut browser).await;
            let answer = house.end(&ours, &mut browser, &form).await;
            assert!(matches!(answer.status, 400 | 502), "{reason}");
            assert_eq!(house.last_reason(), reason);
            assert!(!house.is_logged_in(&ours, &mut browser).await);
        }
    }
    let double = house.double(&BANK);
    double.clear_events();
    for part in [BANK, TILL] {
        house.logged_in(&part).await;
        let event = double.last(Endpoint::Token).unwrap();
        assert_eq!(event.client_id.as_deref(), Some(part.client_id));
        let assertion = peek(event.form("client_assertion").unwrap()).unwrap().0;
        assert_eq!(assertion["kid"].as_str().unwrap(), house.kids(&part)[0]);
    }
    let certificates: BTreeSet<_> = double
        .events()
        .into_iter()
        .filter(|event| event.endpoint == Endpoint::Token)
        .filter_map(|event| event.peer_thumbprint)
        .collect();
    assert_eq!(certificates.len(), 2, "a certificate each");
}

/// FAPI2-AM-7.3, META-3.3: an issuer that passes the honest one's endpoints or keys off as its own.
/// Users may be sent there; what comes back names the honest issuer and is refused, and no code of its
/// is redeemed anywhere.
#[tokio::test]
async fn an_issuer_with_another_ones_endpoints_is_found_out() {
    let hostile = Part { name: "trap", provider: "trap", host: "trap.localhost", ..CLUB };
    let house = House::start(&[CLUB, hostile]).await;
    let honest = house.double(&CLUB).url(Endpoint::Authorize);
    let callback = format!("{}/", house.origin(&hostile));
    house.double(&hostile).behave(|as_| {
        as_.edit(Target::Metadata, edits::set("authorization_endpoint", json!(honest)));
    });
    let mut browser = house.browser(&hostile);
    let started = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
    let started = started.expect(200).unwrap().json().unwrap();
    let url = started["authorization_url"].as_str().unwrap();
    assert!(url.starts_with(&honest));
    // FAPI1-BASE-5.2.3-3: a redirect URI is one issuer's; the honest one does not know the other's.
    let answer = browser.navigate(From::SameOrigin, url).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(house.double(&CLUB).count(Endpoint::Authorize), 1);

    // Had it been registered there all the same, and the honest issuer said who answers (RFC 9207):
    let mut own = house.browser(&CLUB);
    let code = parameter(&house.response(&CLUB, &mut own).await, "code").unwrap();
    let state = url::Url::parse(url).unwrap();
    let state = state.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let iss = house.double(&CLUB).issuer();
    let form = with_parameter(&format!("state={state}"), "code", &code);
    let answer = house.end(&hostile, &mut browser, &with_parameter(&form, "iss", iss)).await;
    assert_refused(answer, &callback);
    assert_eq!(house.last_reason(), "response.issuer_mismatch");
    assert_eq!(token_requests(&house), [0, 0]);
}

/// META-3.3, JWT-3.8: metadata in another issuer's name are not used; another issuer's keys, named as
/// its own, let nothing of the liar's through.
#[tokio::test]
async fn an_issuer_with_another_ones_name_or_keys_is_found_out() {
    let house = House::start(&[BANK, DESK]).await;
    let keys = house.double(&BANK).url(Endpoint::Jwks);
    house
        .double(&DESK)
        .behave(|as_| as_.edit(Target::Metadata, edits::set("jwks_uri", json!(keys))));
    let mut browser = house.browser(&DESK);
    let form = house.response(&DESK, &mut browser).await;
    house.end(&DESK, &mut browser, &form).await.expect(502).unwrap();
    assert_eq!(house.last_reason(), "id_token.key_unknown");

    let house = House::start(&[BANK, DESK]).await;
    let name = house.double(&BANK).issuer().to_owned();
    house.double(&DESK).behave(|as_| as_.edit(Target::Metadata, edits::set("issuer", json!(name))));
    let mut browser = house.browser(&DESK);
    let answer = browser.fetch(Call::post("/desk/bff/login/start")).await.unwrap();
    answer.expect(502).unwrap();
    assert_eq!(house.last_audit("login.start")["reason"], "metadata.issuer_mismatch");
    house.logged_in(&BANK).await;
}

/// BCP-2.1-3: a login that began at one issuer, or as one client, does not end at another because the
/// settings changed in between; nor does a session go on.
#[tokio::test]
async fn neither_login_nor_session_moves_to_another_issuer_or_client() {
    for (from, to, reason) in [
        (
            "[apps.desk]\nclient = \"desk\"",
            "[apps.desk]\nclient = \"kiosk\"",
            "transaction.wrong_issuer",
        ),
        (
            "client_id = \"bed-client\"",
            "client_id = \"another-client\"",
            "transaction.wrong_client",
        ),
    ] {
        let mut house = House::start(&[DESK, KIOSK]).await;
        let mut browser = house.logged_in(&DESK).await;
        let mut tab = house.browser(&DESK);
        let form = house.response(&DESK, &mut tab).await;
        // Whoever answers there now may well say who they are.
        let iss = house.double(&KIOSK).issuer().to_owned();
        let form =
            if reason.ends_with("issuer") { with_parameter(&form, "iss", &iss) } else { form };
        for double in house.doubles.values() {
            double.clear_events();
        }
        house.restart_with(from, to).await;
        assert_refused(house.end(&DESK, &mut tab, &form).await, reason);
        assert_eq!(house.last_reason(), reason);
        assert_eq!(token_requests(&house), [0, 0]);
        if reason.ends_with("issuer") {
            assert!(!house.is_logged_in(&DESK, &mut browser).await);
        }
    }
}
