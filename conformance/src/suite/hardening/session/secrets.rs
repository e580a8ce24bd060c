//! One life of the client in every mode, and not one secret in what it says to browsers, to auditors
//! and to whoever watches the numbers.

use serde_json::{Value, json};

use crate::{
    as_double::{Fault, Tamper, Target, edits},
    demo::{
        browser::{Call, From as Coming, text},
        leaks::{found, hint},
    },
    suite::{
        module::{Module, Step},
        stage::{LoginMode, Stage},
    },
};

/// What an app's page may know of a person unless configured otherwise.
const SHOWN: [&str; 9] = [
    "sub",
    "name",
    "given_name",
    "family_name",
    "preferred_username",
    "email",
    "locale",
    "acr",
    "auth_time",
];

/// A text, and where it was found.
type Texts = Vec<(String, String)>;

/// What the browser so far was told by the BFF.
fn told(stage: &Stage, texts: &mut Texts) {
    let sights = stage.browser.seen().iter();
    let own = sights.filter(|sight| sight.what.contains(&stage.world.origin));
    texts.extend(own.map(|sight| (sight.what.clone(), sight.text.clone())));
}

async fn everyday_life(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    stage.login().await?;
    for call in [
        Call::get("/bff/session"),
        Call::get("/bff/userinfo"),
        Call::get("/bff/jwks"),
        Call::get("/lab/accounts"),
        Call::get("/lab/echo-headers"),
        Call::get("/lab/mischief"),
        Call::get("/lab/redirect"),
        Call::get("/lab/challenge"),
        Call::get("/lab/status/500"),
        Call::get("/nowhere"),
        Call::get("/lab/accounts").without_custom_header(),
        Call::post("/lab/payments").json(&json!({"amount": 1})),
        Call::post("/bff/refresh"),
        Call::post("/bff/login/start").form("login_hint=alice"),
        Call::post("/bff/login/start").form("redirect_uri=https%3A%2F%2Fevil.example"),
    ] {
        stage.fetch(call).await?;
    }
    stage.world.api.fault("/accounts", Fault::invalid_token().times(2));
    stage.get("/lab/accounts").await?;
    let left = stage.log_out().await?;
    let url = text(&left.json()?, "logout_url").to_owned();
    let on = stage.go(Coming::SameOrigin, &url).await?;
    let there = stage.go(Coming::SameOrigin, on.header("location")).await?;
    stage.go(Coming::CrossSite, there.header("location")).await?;
    Ok(())
}

async fn navigation(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Navigation;
    let response = stage.response().await?;
    stage.deliver(&response).await?;
    stage.deliver(&response).await?;
    Ok(())
}

async fn refused_logins(stage: &mut Stage, texts: &mut Texts) -> Step {
    stage.mode = LoginMode::Script;
    for number in 0..8 {
        stage.another_browser();
        stage.world.double.behave(|as_| match number {
            0 => as_.tamper_once(Target::Jarm, Tamper::Flip),
            1 => as_.tamper_once(Target::Jarm, Tamper::AlgNone),
            2 => as_.edit_once(Target::Jarm, edits::wrong("iss")),
            3 => as_.edit_once(Target::Jarm, edits::set("exp", json!(1))),
            4 => as_.tamper_once(Target::IdToken, Tamper::WrongKey),
            5 => as_.edit_once(Target::IdToken, edits::wrong("nonce")),
            6 => as_.edit_once(Target::TokenResponse, edits::set("token_type", json!("mac"))),
            _ => as_.deny = Some("access_denied".to_owned()),
        });
        let response = stage.response().await?;
        let answer = stage.deliver(&response).await?;
        let refused = answer.status >= 400;
        stage.check("refused", &[], refused, format!("login {number} -> {}", answer.status));
        told(stage, texts);
    }
    Ok(())
}

async fn no_secret(stage: &mut Stage) -> Step {
    let mut texts = Vec::new();
    everyday_life(stage).await?;
    told(stage, &mut texts);
    stage.another_browser();
    navigation(stage).await?;
    told(stage, &mut texts);
    refused_logins(stage, &mut texts).await?;
    // Two at logout, two for each login refused after its tokens had come.
    stage.given_up(6).await?;
    let answers = texts.len();
    texts.push(("the audit stream".to_owned(), stage.world.audit_text()));
    texts.extend(stage.world.metrics()?.map(|metrics| ("the metrics".to_owned(), metrics)));
    let secrets = stage.world.secrets();
    let message = format!("{answers} answers were searched for {} secrets", secrets.len());
    stage.check("worth_searching", &[], answers > 40 && secrets.len() > 30, message);
    for (place, text) in &texts {
        let leaked: Vec<_> = found(text, &secrets).into_iter().map(hint).collect();
        let message = format!("{place}: {leaked:?}");
        stage.check("no_secret", &["BFF-6.1-tok", "FAPI2-SP-6.5"], leaked.is_empty(), message);
    }
    // What cookies hold belongs into Set-Cookie and nowhere else; a person into neither record.
    let lines = texts.iter().flat_map(|(_, text)| text.lines());
    let set = lines.filter_map(|line| line.strip_prefix("set-cookie: "));
    let values = set.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
    let mut private: Vec<String> =
        values.map(|(_, value)| value.to_owned()).filter(|value| value.len() >= 16).collect();
    private.extend(["Alice".to_owned(), "alice@".to_owned()]);
    for (place, text) in texts.iter().skip(answers) {
        let leaked: Vec<_> = found(text, &private).into_iter().map(hint).collect();
        let message = format!("{place}: {leaked:?}");
        stage.check("nothing_private", &["BFF-6.1-tok"], leaked.is_empty(), message);
    }
    let planted = secrets.first().map(|secret| format!("{{\"x\":\"{secret}\"}}"));
    let finds = planted.is_some_and(|text| !found(&text, &secrets).is_empty());
    stage.check("would_be_found", &[], finds, "a planted secret is found");
    Ok(())
}

async fn few_claims(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Script;
    let response = stage.response().await?;
    let ended = stage.deliver(&response).await?;
    stage.expect("login_ended", &ended, 200)?;
    for document in [ended.json()?, stage.session().await?] {
        let claims = document.get("id_token_claims").and_then(Value::as_object);
        let names: Vec<_> = claims.into_iter().flat_map(|claims| claims.keys()).collect();
        let held = !names.is_empty() && names.iter().all(|name| SHOWN.contains(&name.as_str()));
        let message = format!("the page is shown {names:?}");
        stage.check("few_claims", &["BFF-6.1.2.4"], held, message);
        let person = claims.and_then(|claims| claims.get("name"));
        let held = person == Some(&json!("Björk Guðmundsdóttir 愛"));
        stage.check("name_intact", &[], held, "a name arrives as it is written");
    }
    Ok(())
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "session-no-secret-in-any-answer",
            "Everything is done that can be done, right and wrong; every answer is searched.",
            "show no token, code, verifier, assertion or request_uri, nor in audit and metrics",
            &["BFF-6.1-tok", "FAPI2-SP-6.5", "PKCE-4.5", "FAPI2-SP-5.3.3.1-3"],
            |stage| Box::pin(no_secret(stage)),
        ),
        Module::new(
            "session-shows-few-claims",
            "A page looks at the session of somebody whose name is in other scripts.",
            "show the claims of the allow-list only, as they are written",
            &["BFF-6.1.2.4"],
            |stage| Box::pin(few_claims(stage)),
        )
        .prepared(|double| double.behave(|behaviour| behaviour.user = Some("bjork".to_owned())))
        .reasons(&[]),
    ]
}
