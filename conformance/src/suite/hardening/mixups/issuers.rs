//! Two authorization servers that know the same client (RFC 9700 §4.4): what the second says about a
//! login at the first.

use std::sync::Arc;

use serde_json::json;

use super::{
    super::refusal::{Refusal, expect_given_up, succeed},
    carrying, claims, expect_redeemed, expect_refused_by_server,
};
use crate::{
    as_double::{AsDouble, Endpoint, Tamper, Target},
    jws::{Object, peek},
    suite::{
        module::{Module, Step},
        stage::Stage,
    },
};

const CLAUSES: &[&str] = &["BCP-2.1-3", "FAPI2-SP-5.3.3.2-5", "JARM-2.4-2/3/4", "FAPI2-AM-7.3"];

/// What is wrong with the response to the login at the first server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mixup {
    /// Made by the second server in its own name.
    SecondsOwn,
    /// In the first's name, signed by the second.
    SecondsKey,
    /// The same, under the name of the first's key.
    SecondsKeyFirstsKid,
    /// Made by the first, naming the second.
    FirstNamesSecond,
}

pub(super) fn modules() -> Vec<Module> {
    let row = |id, does, mixup, reason| {
        let must = "stop: no token request to either; ask the second server for nothing";
        let refusal = Refusal::rejected(reason);
        Module::new(id, does, must, CLAUSES, move |stage| Box::pin(mixed_up(stage, mixup, refusal)))
            .reasons(&[reason])
    };
    vec![
        row(
            "mixup-response-of-another-server",
            "Another server answers, in its own name, with its own signature, for our client.",
            Mixup::SecondsOwn,
            "jarm.issuer_mismatch",
        ),
        row(
            "mixup-response-signed-by-another-server",
            "Another server answers in the first one's name.",
            Mixup::SecondsKey,
            "jarm.key_unknown",
        ),
        row(
            "mixup-response-signed-under-the-firsts-kid",
            "Another server answers in the first one's name and under its key's name.",
            Mixup::SecondsKeyFirstsKid,
            "jarm.signature_invalid",
        ),
        row(
            "mixup-response-that-names-another-server",
            "The right server answers, rightly signed, in another one's name.",
            Mixup::FirstNamesSecond,
            "jarm.issuer_mismatch",
        ),
        Module::new(
            "mixup-id-token-of-another-server",
            "The token response brings another server's ID token; the first publishes its key, too.",
            "stop: no session; give up what came along",
            &["OIDC-3.1.3.7-2", "JWT-3.8", "FAPI2-AM-7.3"],
            |stage| Box::pin(others_id_token(stage)),
        )
        // The key set changes once the other server is there.
        .prepared(|_| {})
        .reasons(&["id_token.issuer_mismatch"]),
        Module::new(
            "mixup-code-for-another-server",
            "The right server's response carries a code that it never issued.",
            "ask the right server once and take its no; ask the other for nothing",
            &["BCP-2.1-3", "FAPI1-BASE-5.2.3-4"],
            |stage| Box::pin(others_code(stage)),
        )
        .provoking(&["token.code_unknown"])
        .reasons(&["as.rejected"]),
    ]
}

/// Another server that must hear of nothing.
async fn second(stage: &Stage) -> Step<AsDouble> {
    Ok(stage.world.another_authorization_server("second").await?)
}

fn expect_unheard(stage: &Stage, second: &AsDouble) {
    let heard = second.events().len();
    let message = format!("the other server was asked {heard} times");
    stage.check("other_server_unheard", &["JARM-5.1", "FAPI2-AM-7.3"], heard == 0, message);
}

async fn mixed_up(stage: &mut Stage, mixup: Mixup, refusal: Refusal) -> Step {
    // The key set is known, so that only what is wrong can make the client ask anybody.
    stage.login().await?;
    stage.browser = stage.world.browser();
    let second = second(stage).await?;
    let good = stage.response().await?;
    let mut claims = claims(&good)?;
    if matches!(mixup, Mixup::SecondsOwn | Mixup::FirstNamesSecond) {
        claims.insert("iss".to_owned(), json!(second.issuer()));
    }
    let signer = if mixup == Mixup::FirstNamesSecond { &stage.world.double } else { &second };
    let firsts_kid = (mixup == Mixup::SecondsKeyFirstsKid).then(|| {
        let mut header = Object::new();
        header.insert("kid".to_owned(), json!(stage.world.double.signing_kid()));
        Tamper::Header(header)
    });
    let token = signer.sign_as_server(Some("JWT"), &claims, firsts_kid.as_ref())?;
    let answer = stage.deliver(&carrying(&good, &token)).await?;
    refusal.is_told(stage, "login_refused", &answer);
    expect_redeemed(stage, 1);
    expect_unheard(stage, &second);
    stage.expect_no_session().await?;
    // Another attempt has to be a new login: that one is spent, whoever spent it.
    let answer = stage.deliver(&good).await?;
    stage.expect_refusal("spent", &answer, 400, "transaction_missing");
    succeed(stage).await
}

async fn others_id_token(stage: &mut Stage) -> Step {
    let second = Arc::new(second(stage).await?);
    let signer = Arc::clone(&second);
    stage.world.double.behave(|behaviour| {
        let again = move |token: String| {
            let Ok((_, mut claims)) = peek(&token) else { return token };
            claims.insert("iss".to_owned(), json!(signer.issuer()));
            signer.sign_as_server(Some("JWT"), &claims, None).unwrap_or(token)
        };
        // With a key that nobody knew, only the signature would tell.
        behaviour.extra_keys.push(second.signing_jwk());
        behaviour.tamper_once(Target::IdToken, Tamper::Rewrite(Arc::new(again)));
    });
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    Refusal::wrong("id_token.issuer_mismatch").is_told(stage, "login_refused", &answer);
    expect_given_up(stage, 2).await?;
    expect_redeemed(stage, 1);
    expect_unheard(stage, &second);
    stage.expect_no_session().await
}

async fn others_code(stage: &mut Stage) -> Step {
    let second = second(stage).await?;
    stage.world.double.behave(|behaviour| {
        behaviour.edit_once(Target::Jarm, |claims: &mut Object| {
            claims.insert("code".to_owned(), json!("a-code-of-the-second-server"));
        });
    });
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    Refusal::rejected("as.rejected").is_told(stage, "login_refused", &answer);
    expect_refused_by_server(stage, "token.code_unknown");
    let asked = stage.world.double.last(Endpoint::Token);
    let verifier = asked.is_some_and(|event| event.form("code_verifier").is_some());
    stage.check("verifier_sent", &["PKCE-4.5"], verifier, "with this login's verifier");
    expect_redeemed(stage, 1);
    expect_unheard(stage, &second);
    stage.expect_no_session().await
}
