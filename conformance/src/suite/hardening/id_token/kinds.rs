//! Other kinds of signed token in an ID token's place. All are signed by the right key, for the right
//! client: only their kind tells them apart.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::{
    super::{
        change::{all, edit, header, tamper},
        refusal::{Refusal, Wrong, expect_given_up},
    },
    T, row,
};
use crate::{
    as_double::{Endpoint, Tamper, edits},
    suite::{
        module::{Halt, Module, Step},
        stage::Stage,
        world::CLIENT_ID,
    },
};

const KINDS: &[&str] = &["JWT-3.11", "JWT-3.12"];

pub(super) fn modules() -> Vec<Module> {
    let mut all = typed();
    all.extend(untyped());
    all
}

fn typed() -> Vec<Module> {
    let typ = |id, does, typ: &str| {
        row(id, does, KINDS, "id_token.typ_not_allowed", header(T, &json!({"typ": typ})))
    };
    vec![
        typ("id-token-typed-as-access-token", "The ID token's typ is at+jwt.", "at+jwt"),
        typ("id-token-typed-as-logout-token", "The ID token's typ is logout+jwt.", "logout+jwt"),
        typ(
            "id-token-typed-as-request-object",
            "The ID token's typ is oauth-authz-req+jwt.",
            "oauth-authz-req+jwt",
        ),
        typ(
            "id-token-typed-as-introspection-answer",
            "The ID token's typ is token-introspection+jwt.",
            "application/token-introspection+jwt",
        ),
    ]
}

fn untyped() -> Vec<Module> {
    let foreign = |id, does, member: &'static str, value: serde_json::Value| {
        let untyped =
            all(vec![edit(T, edits::set(member, value)), tamper(T, Tamper::Header(no_typ()))]);
        row(id, does, KINDS, "id_token.kind_mismatch", untyped)
    };
    let replaced = |id, does, kind: Kind, reason| {
        let Wrong(id, does, clauses) = Wrong(id, does, KINDS);
        let must = "stop: no session; give up what came along";
        Module::new(id, does, must, clauses, move |stage| {
            Box::pin(replace(stage, kind, Refusal::wrong(reason)))
        })
        .reasons(&[reason])
    };
    vec![
        foreign(
            "id-token-that-is-a-logout-token",
            "The untyped ID token has the events of a logout token.",
            "events",
            json!({"http://schemas.openid.net/event/backchannel-logout": {}}),
        ),
        foreign(
            "id-token-that-is-a-request-object",
            "The untyped ID token has the response_type of a request object.",
            "response_type",
            json!("code"),
        ),
        foreign(
            "id-token-that-is-a-proof",
            "The untyped ID token has the htu of a proof of possession.",
            "htu",
            json!("https://as.localhost/token"),
        ),
        replaced(
            "id-token-of-an-earlier-login",
            "The ID token is the same user's from an earlier login.",
            Kind::Earlier,
            "id_token.nonce_mismatch",
        ),
        replaced(
            "id-token-that-is-the-response",
            "The ID token is the authorization response of the same login.",
            Kind::Response,
            "id_token.subject_missing",
        ),
        replaced(
            "id-token-that-is-our-own-request",
            "The ID token is the request object that we signed for this login.",
            Kind::Request,
            "id_token.typ_not_allowed",
        ),
        replaced(
            "id-token-that-is-a-real-logout-token",
            "The ID token is an untyped logout token as the server makes them.",
            Kind::Logout,
            "id_token.kind_mismatch",
        ),
    ]
}

fn no_typ() -> crate::jws::Object {
    json!({"typ": null}).as_object().cloned().unwrap_or_default()
}

/// What stands in the ID token's place.
#[derive(Clone, Copy)]
enum Kind {
    Earlier,
    Response,
    Request,
    Logout,
}

async fn replace(stage: &mut Stage, kind: Kind, refusal: Refusal) -> Step {
    let earlier = match kind {
        Kind::Earlier => Some(overheard_login(stage).await?),
        _ => None,
    };
    let before = stage.world.double.count(Endpoint::Token);
    let response = stage.response().await?;
    let double = &stage.world.double;
    let token = match kind {
        Kind::Earlier => earlier.unwrap_or_default(),
        Kind::Response => response.token()?,
        Kind::Request => {
            let pushed = double.last(Endpoint::Par);
            let request = pushed.as_ref().and_then(|event| event.form("request"));
            request
                .ok_or_else(|| Halt::Trouble("no request object was pushed".to_owned()))?
                .to_owned()
        }
        Kind::Logout => {
            let claims = double.logout_token_claims(CLIENT_ID, Some("alice"), None);
            double.sign_as_server(None, &claims, None)?
        }
    };
    double.behave(|behaviour| {
        behaviour.tamper_once(T, Tamper::Rewrite(Arc::new(move |_| token.clone())));
    });
    let answer = stage.deliver(&response).await?;
    refusal.is_told(stage, "login_refused", &answer);
    expect_given_up(stage, 2).await?;
    let sent = stage.world.double.count(Endpoint::Token) - before;
    stage.check("code_sent_once", &[], sent == 1, format!("{sent} token requests"));
    let asked = stage.world.double.count(Endpoint::Userinfo);
    stage.check("no_userinfo", &[], asked == 0, "no userinfo request with tokens of nobody");
    stage.expect_no_session().await
}

/// A login in a browser of its own, and the ID token it brought.
async fn overheard_login(stage: &mut Stage) -> Step<String> {
    let heard = Arc::new(Mutex::new(String::new()));
    let ear = Arc::clone(&heard);
    stage.world.double.behave(|behaviour| {
        let listen = move |token: String| {
            ear.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&token);
            token
        };
        behaviour.tamper_once(T, Tamper::Rewrite(Arc::new(listen)));
    });
    stage.login().await?;
    stage.browser = stage.world.browser();
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(heard)
}
