//! Other kinds of signed token in an authorization response's place, all rightly signed (RFC 8725
//! §3.12).

use serde_json::json;

use super::{super::refusal::Refusal, carrying, claims, expect_redeemed, text};
use crate::{
    as_double::Endpoint,
    jws::Object,
    suite::{
        module::{Halt, Module, Step},
        stage::Stage,
        world::CLIENT_ID,
    },
};

/// What stands in the response's place.
#[derive(Clone, Copy)]
enum Kind {
    /// Claims of an ID token, with our state.
    IdToken,
    /// The same without it.
    IdTokenAsIs,
    /// A logout token, typed, with our state.
    LogoutToken,
    /// The same, untyped.
    UntypedLogoutToken,
    /// An access token, typed, with our state.
    AccessToken,
    /// What we pushed ourselves.
    RequestObject,
    /// What we authenticated with.
    ClientAssertion,
}

pub(super) fn modules() -> Vec<Module> {
    let row = |id, does, kind, reason| {
        let must = "stop: no token request";
        let clauses = &["JWT-3.11", "JWT-3.12", "FAPI2-MS-5.4.2-2"];
        let refusal = Refusal::rejected(reason);
        Module::new(id, does, must, clauses, move |stage| Box::pin(replaced(stage, kind, refusal)))
            .reasons(&[reason])
    };
    vec![
        row(
            "mixup-id-token-as-response",
            "An ID token for us, with our state added, comes as authorization response.",
            Kind::IdToken,
            "jarm.code_missing",
        ),
        row(
            "mixup-id-token-as-is-as-response",
            "An ID token for us, as it is, comes as authorization response.",
            Kind::IdTokenAsIs,
            "jarm.state_missing",
        ),
        row(
            "mixup-logout-token-as-response",
            "A logout token for us comes as authorization response.",
            Kind::LogoutToken,
            "jarm.typ_not_allowed",
        ),
        row(
            "mixup-untyped-logout-token-as-response",
            "An untyped logout token for us comes as authorization response.",
            Kind::UntypedLogoutToken,
            "jarm.code_missing",
        ),
        row(
            "mixup-access-token-as-response",
            "An access token, with our state added, comes as authorization response.",
            Kind::AccessToken,
            "jarm.typ_not_allowed",
        ),
        row(
            "mixup-request-object-as-response",
            "Our own request object comes back as authorization response.",
            Kind::RequestObject,
            "jarm.issuer_mismatch",
        ),
        row(
            "mixup-client-assertion-as-response",
            "Our own client assertion comes back as authorization response.",
            Kind::ClientAssertion,
            "jarm.state_missing",
        ),
    ]
}

async fn replaced(stage: &mut Stage, kind: Kind, refusal: Refusal) -> Step {
    let good = stage.response().await?;
    let token = made(stage, kind, &text(&claims(&good)?, "state"))?;
    let answer = stage.deliver(&carrying(&good, &token)).await?;
    refusal.is_told(stage, "login_refused", &answer);
    expect_redeemed(stage, 0);
    stage.expect_no_session().await
}

fn made(stage: &Stage, kind: Kind, login: &str) -> Step<String> {
    let double = &stage.world.double;
    let pushed = |name: &'static str| {
        let found = double.last(Endpoint::Par);
        let value = found.and_then(|event| event.form(name).map(str::to_owned));
        value.ok_or_else(|| Halt::Trouble(format!("no {name} was pushed")))
    };
    let now = stage.world.now();
    let person = |typ, with_state: bool| {
        let mut claims = Object::new();
        let mut set = |name: &str, value: serde_json::Value| {
            claims.insert(name.to_owned(), value);
        };
        set("iss", json!(double.issuer()));
        set("aud", json!(CLIENT_ID));
        set("sub", json!("alice"));
        set("iat", json!(now));
        set("exp", json!(now + 300));
        if with_state {
            set("state", json!(login));
        }
        double.sign_as_server(typ, &claims, None)
    };
    let logout = |typ| {
        let mut claims = double.logout_token_claims(CLIENT_ID, Some("alice"), None);
        claims.insert("state".to_owned(), json!(login));
        double.sign_as_server(typ, &claims, None)
    };
    Ok(match kind {
        Kind::IdToken => person(Some("JWT"), true)?,
        Kind::IdTokenAsIs => person(Some("JWT"), false)?,
        Kind::AccessToken => person(Some("at+jwt"), true)?,
        Kind::LogoutToken => logout(Some("logout+jwt"))?,
        Kind::UntypedLogoutToken => logout(None)?,
        Kind::RequestObject => pushed("request")?,
        Kind::ClientAssertion => pushed("client_assertion")?,
    })
}
