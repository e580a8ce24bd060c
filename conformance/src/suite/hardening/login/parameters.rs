//! What a page may wish for in a login, and what of it reaches the authorization server.

use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::{
    as_double::{Endpoint, Outcome, Target, edits},
    demo::browser::{Answer, Call, From as Coming, text},
    suite::{
        hardening::acts::leaves_cookies_alone,
        module::{Halt, Module, Step},
        stage::{LoginMode, Stage},
        world::CLIENT_ID,
    },
};

/// The parameters a page may choose, as configured.
const ALLOWED: &str = r#"allowed_parameters = ["acr_values", "login_hint", "max_age", "prompt", "scope", "ui_locales"]"#;

/// Wishes, form-encoded, that must be refused in both modes before anything is asked of anybody.
fn refused(
    id: &str,
    does: &str,
    clauses: &[&'static str],
    reason: &'static str,
    wishes: &'static [&'static str],
) -> Module {
    let must = "refuse in both modes, without a pushed request";
    Module::new(id, does, must, clauses, move |stage| Box::pin(refuse(stage, reason, wishes)))
        .reasons(&[reason])
}

async fn refuse(stage: &mut Stage, reason: &str, wishes: &[&str]) -> Step {
    for wish in wishes {
        let answer = stage.fetch(Call::post("/bff/login/start").form(wish)).await?;
        stage.expect_plain_refusal(&answer, 400, "invalid_request");
        stage.expect_record("login.start", "rejected", reason);
        let answer = stage.go(Coming::SameOrigin, &format!("/bff/login?{wish}")).await?;
        stage.expect_page(&answer, 400);
        stage.check("no_cookie", &[], leaves_cookies_alone(&answer), "no login is under way");
        stage.expect_record("login.start", "rejected", reason);
    }
    stage.expect_asked(Endpoint::Par, 0);
    stage.start_login().await?;
    stage.expect_asked(Endpoint::Par, 1);
    Ok(())
}

async fn intact(stage: &mut Stage) -> Step {
    for hint in [
        "a&b=c",
        "50% + 50%",
        "%26%3D%2525",
        "\"quoted\" 'twice' \\ back",
        "Åsa Þórðardóttir 愛 🦀",
        "a&state=x&scope=openid admin#f;g",
        "\"},\"scope\":\"admin\",{\"",
        "<script>",
        "https://a.example/?b=c&d",
    ] {
        let form: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("login_hint", hint)
            .append_pair("acr_values", "urn:x:high urn:x:low")
            .append_pair("max_age", "300")
            .append_pair("scope", "payments openid")
            .append_pair("ui_locales", "is nb-NO")
            .finish();
        stage.another_browser();
        let answer = stage.fetch(Call::post("/bff/login/start").form(&form)).await?;
        stage.expect("started_by_script", &answer, 200)?;
        pushed(stage, hint);
        let answer = stage.go(Coming::SameOrigin, &format!("/bff/login?{form}")).await?;
        stage.expect("started_by_navigation", &answer, 303)?;
        pushed(stage, hint);
    }
    stage.expect_asked(Endpoint::Par, 18);
    Ok(())
}

/// The last pushed request must say all of it, to the letter, and nothing that was smuggled in.
fn pushed(stage: &Stage, hint: &str) {
    let event = stage.world.double.last(Endpoint::Par);
    let event = event.filter(|event| event.outcome == Outcome::Accepted);
    let claims = event.and_then(|event| event.notes.get("request_object_claims").cloned());
    let claims = claims.unwrap_or_default();
    for (claim, expected) in [
        ("login_hint", json!(hint)),
        ("acr_values", json!("urn:x:high urn:x:low")),
        ("max_age", json!(300)),
        ("scope", json!("openid payments")),
        ("ui_locales", json!("is nb-NO")),
        ("client_id", json!(CLIENT_ID)),
    ] {
        let found = claims.get(claim).cloned().unwrap_or(Value::Null);
        let message = format!("{claim} is {found}; {expected} expected");
        stage.check("as_chosen", &["FAPI2-MS-5.3.2-1"], found == expected, message);
    }
}

async fn reference_only(stage: &mut Stage) -> Step {
    let answer = stage.fetch(Call::post("/bff/login/start").form("login_hint=secret-hint")).await?;
    stage.expect("started_by_script", &answer, 200)?;
    let body = answer.json()?;
    let members = body.as_object().map_or(0, serde_json::Map::len);
    stage.check("nothing_but_the_url", &[], members == 1, "the answer has one member");
    by_reference(stage, text(&body, "authorization_url"))?;
    let answer = stage.go(Coming::Typed, "/bff/login?login_hint=secret-hint").await?;
    stage.expect("started_by_navigation", &answer, 303)?;
    by_reference(stage, answer.location()?.as_str())
}

fn by_reference(stage: &Stage, url: &str) -> Step {
    let url = Url::parse(url).map_err(|_| Halt::Trouble(format!("{url:?} is no address")))?;
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    let names: Vec<_> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    let message = format!("the address carries {}", names.join(", "));
    let held = names == ["client_id", "request_uri"];
    stage.check("reference_only", &["FAPI2-SP-5.3.3.2-6"], held, message);
    let value = |at: usize| pairs.get(at).map_or("", |(_, value)| value.as_str());
    let held = value(0) == CLIENT_ID && value(1).starts_with("urn:ietf:params:oauth:request_uri:");
    stage.check("own_client", &["FAPI2-SP-5.3.3.2-2"], held, "the client and what was pushed");
    let mut bare = url;
    bare.set_query(None);
    let held = bare.as_str() == stage.world.double.url(Endpoint::Authorize);
    stage.check("endpoint", &["FAPI2-SP-5.3.3.1-9"], held, "the endpoint is the metadata's");
    Ok(())
}

async fn lower_acr(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let start = |acr: &str| {
        let form: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("acr_values", acr).finish();
        Call::post("/bff/login/start").form(&form)
    };
    for acr in ["urn:low", "urn:low urn:high", "urn:high urn:low", ""] {
        let answer: Answer = stage.fetch(start(acr)).await?;
        stage.expect_plain_refusal(&answer, 400, "invalid_request");
    }
    stage.expect_asked(Endpoint::Par, 0);
    stage.world.double.behave(|behaviour| {
        behaviour.edit(Target::IdToken, edits::set("acr", json!("urn:low")));
    });
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    stage.expect_refusal("acr_not_reached", &answer, 502, "authorization_server_error");
    stage.expect_audit("login.end", "id_token.acr_mismatch");
    stage.given_up(2).await?;
    stage.expect_no_session().await
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        refused(
            "login-parameter-not-allow-listed",
            "The page wishes for parameters that are the client's own affair.",
            &["FAPI2-SP-5.3.3.1-13", "FAPI2-SP-5.3.3.1-10", "FAPI2-MS-5.3.2-1"],
            "parameter.not_allowed",
            &[
                "colour=red",
                "display=page",
                "state=x",
                "nonce=x",
                "redirect_uri=https%3A%2F%2Fevil.example%2F",
                "response_mode=query",
                "response_type=token",
                "client_id=other",
                "request_uri=urn%3Ax",
                "request=a.b.c",
                "claims=%7B%7D",
                "code_challenge=x",
                "code_challenge_method=plain",
                "issuer=https%3A%2F%2Fevil.example%2F",
                "iss=https%3A%2F%2Fevil.example%2F",
                "authorization_details=%5B%5D",
                "Scope=openid",
                "=x",
            ],
        ),
        refused(
            "login-parameter-twice",
            "The page gives a parameter twice.",
            &["OA-3.1", "FAPI2-MS-5.3.2-1"],
            "parameter.duplicate",
            &[
                "max_age=1&max_age=1",
                "login_hint=a&prompt=login&login_hint=b",
                "scope=openid&scope=openid+accounts",
            ],
        ),
        refused(
            "login-scope-beyond-the-client",
            "The page wishes for scopes the client is not registered for.",
            &["FAPI2-SP-5.3.3.1-13"],
            "parameter.scope_not_registered",
            &["scope=openid+admin", "scope=openid+accounts+accounts%3Awrite", "scope=openid+ACCOUNTS"],
        ),
        refused(
            "login-scope-without-openid",
            "The page wishes for a login without an ID token.",
            &["OIDC-3.1.2.1", "OIDC-16.11"],
            "parameter.openid_missing",
            &["scope=accounts", "scope=profile+email"],
        ),
        refused(
            "login-parameter-malformed",
            "The page gives parameters with line breaks, contradictions and negative times.",
            &["OIDC-3.1.2.1", "BFF-6.1.3.6-2"],
            "parameter.malformed",
            &[
                "login_hint=a%0D%0AX-Evil%3A+1",
                "login_hint=a%00b",
                "prompt=none+login",
                "max_age=-1",
                "max_age=1e3",
            ],
        ),
        Module::new(
            "login-parameters-arrive-intact",
            "The page gives values full of separators, quotes, encodings and other scripts.",
            "sign exactly what was given, and nothing that was smuggled in with it",
            &["FAPI2-MS-5.3.2-1", "JAR-4a"],
            |stage| Box::pin(intact(stage)),
        )
        .reasons(&[]),
        Module::new(
            "authorization-url-holds-a-reference-only",
            "The page gives a login hint that should be seen by nobody in between.",
            "put client_id and request_uri into the address, and nothing else",
            &["FAPI2-SP-5.3.3.2-6", "FAPI2-SP-5.3.3.1-9"],
            |stage| Box::pin(reference_only(stage)),
        )
        .reasons(&[]),
        Module::new(
            "login-cannot-lower-the-acr",
            "The page asks for less than the operator demands, then the server gives less.",
            "refuse the wish without a pushed request, and the login without a session",
            &["OIDC-3.1.3.7-12", "SES-7.5"],
            |stage| Box::pin(lower_acr(stage)),
        )
        .configured(
            ALLOWED,
            "acr_values = [\"urn:high\"]\nrequire_acr = true\nallowed_parameters = [\"acr_values\"]",
        )
        .reasons(&["parameter.acr_not_configured"]),
    ]
}
