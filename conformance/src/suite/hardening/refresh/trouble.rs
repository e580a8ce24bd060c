//! Renewal when the authorization server is away, lies, or says no.

use serde_json::{Value, json};

use super::{LIFE, OVERDUE, module, over, rotating, short};
use crate::{
    as_double::{AsDouble, Fault, Target},
    ledger::Endpoint,
    suite::{
        hardening::acts::{leaves_cookies_alone, session_cookie},
        module::{Module, Step},
        stage::Stage,
    },
};

/// A fault of the token endpoint that costs nothing while the token lives, and no session after.
fn outage(
    id: &str,
    does: &str,
    clauses: &[&'static str],
    code: &'static str,
    reason: &'static str,
    faults: fn() -> Vec<Fault>,
) -> Module {
    let must = "work on while the token lives, then answer 503, and keep the session";
    module(id, does, must, clauses, move |stage| {
        Box::pin(async move {
            for fault in faults() {
                troubled(stage, fault, code, reason).await?;
            }
            Ok(())
        })
    })
    .reasons(&[reason])
}

async fn troubled(stage: &mut Stage, fault: Fault, code: &str, reason: &str) -> Step {
    stage.another_browser();
    stage.login().await?;
    stage.world.api.clear_events();
    let cookie = session_cookie(&stage.browser);
    stage.world.double.behave(|behaviour| behaviour.fault(Endpoint::Token, fault));
    stage.world.advance(LIFE - 1)?;
    stage.reach_api().await?;
    stage.expect_record("session.refresh", "failed", reason);
    stage.world.advance(1)?;
    let answer = stage.get("/lab/accounts").await?;
    stage.expect_plain_refusal(&answer, 503, code);
    let when = !answer.header("retry-after").is_empty();
    stage.check("retry_after", &[], when, "the answer says when to come again");
    let held = leaves_cookies_alone(&answer);
    stage.check("touches_no_cookie", &["BFF-6.1.2.2-2"], held, "the session is not to blame");
    stage.expect_api_asked("/accounts", 1);
    stage.expect_session("the session lives").await?;
    let same = session_cookie(&stage.browser) == cookie;
    stage.check("same_handle", &[], same, "under the same handle");
    stage.world.double.behave(|behaviour| behaviour.heal(Endpoint::Token));
    stage.world.advance(2)?;
    stage.reach_api().await
}

fn page(status: u16) -> Fault {
    Fault::Respond {
        status,
        content_type: "text/html".to_owned(),
        body: b"<html>maintenance</html>".to_vec(),
        headers: Vec::new(),
    }
}

async fn once_a_second(stage: &mut Stage) -> Step {
    stage.login().await?;
    stage.world.double.behave(|b| b.fault(Endpoint::Token, Fault::status(503)));
    stage.world.advance(LIFE)?;
    for _ in 0..50 {
        let answer = stage.get("/lab/accounts").await?;
        stage.expect_plain_refusal(&answer, 503, "authorization_server_unavailable");
    }
    stage.expect_refreshes(1);
    stage.expect_api_asked("/accounts", 0);
    Ok(())
}

async fn dead_grant(stage: &mut Stage) -> Step {
    stage.login().await?;
    let tab = stage.browser.clone();
    stage.world.double.revoke_all();
    stage.world.advance(OVERDUE)?;
    let answer = stage.get("/lab/accounts").await?;
    over(stage, &answer).await?;
    stage.expect_record("session.end", "success", "grant_dead");
    stage.expect_record("session.refresh", "rejected", "refresh.grant_dead");
    let own = std::mem::replace(&mut stage.browser, tab);
    let answer = stage.get("/lab/accounts").await?;
    stage.expect_refusal("over_in_every_tab", &answer, 401, "session_missing");
    stage.expect_refreshes(1);
    stage.expect_api_asked("/accounts", 0);
    stage.browser = own;
    stage.login().await?;
    stage.reach_api().await
}

async fn lost_answer(stage: &mut Stage, is_rotating: bool) -> Step {
    stage.login().await?;
    stage.world.double.behave(|b| b.fault(Endpoint::Token, Fault::Drop.once().after_handling()));
    stage.world.advance(LIFE)?;
    let answer = stage.get("/lab/accounts").await?;
    stage.expect_plain_refusal(&answer, 503, "token_unavailable");
    stage.world.advance(1)?;
    let answer = stage.get("/lab/accounts").await?;
    stage.expect_refreshes(2);
    if !is_rotating {
        return stage.expect("old_token_tried_again", &answer, 200);
    }
    over(stage, &answer).await?;
    stage.login().await?;
    stage.reach_api().await?;
    stage.expect_refreshes(2);
    Ok(())
}

/// A refreshed ID token that is somebody else's: refused, its tokens given up, the session as it was.
async fn not_about_us(stage: &mut Stage, claim: &'static str, reason: &str) -> Step {
    stage.login().await?;
    stage.world.double.behave(|behaviour| {
        behaviour.edit_once(Target::IdToken, move |claims| {
            let other = if claim == "sub" { "mallory" } else { "https://evil.example/" };
            claims.insert(claim.to_owned(), json!(other));
        });
    });
    stage.world.advance(OVERDUE)?;
    stage.reach_api().await?;
    stage.expect_record("session.refresh", "rejected", reason);
    stage.given_up(1).await?;
    let session = stage.session().await?;
    let sub = session.pointer("/id_token_claims/sub").and_then(Value::as_str);
    let message = format!("the session is {sub:?}'s; alice's expected");
    stage.check("still_alices", &["OIDC-12.2"], sub == Some("alice"), message);
    stage.world.advance(1)?;
    stage.reach_api().await?;
    stage.expect_record("session.refresh", "success", "none");
    Ok(())
}

fn with_id_tokens(double: &AsDouble) {
    short(double);
    double.behave(|behaviour| behaviour.id_token_on_refresh = true);
}

pub(super) fn modules() -> Vec<Module> {
    let mut modules = outages();
    modules.extend(ends());
    modules
}

fn outages() -> Vec<Module> {
    const UNAVAILABLE: &str = "authorization_server_unavailable";
    vec![
        outage(
            "refresh-outage-keeps-the-session",
            "The token endpoint answers 500, 503 and 429.",
            &["OA-5.2", "BFF-6.1.2.2-2"],
            UNAVAILABLE,
            "as.unavailable",
            || vec![Fault::status(500), Fault::status(503), Fault::status(429), page(502)],
        ),
        outage(
            "refresh-invalid-client-keeps-the-session",
            "The token endpoint does not know the client, or has no time for it.",
            &["OA-5.2", "BFF-6.1.2.2-2"],
            UNAVAILABLE,
            "as.rejected",
            || {
                vec![
                    Fault::oauth_error(401, "invalid_client"),
                    Fault::oauth_error(400, "temporarily_unavailable"),
                ]
            },
        ),
        outage(
            "refresh-broken-connection-keeps-the-session",
            "The token endpoint hangs up instead of answering.",
            &["OA-5.2", "FAPI2-SP-5.3.2.1-9"],
            "token_unavailable",
            "as.broken",
            || vec![Fault::Drop],
        ),
        outage(
            "refresh-page-for-an-answer-keeps-the-session",
            "The token endpoint answers 200 with a page about maintenance.",
            &["OA-5.2", "OA-5.1"],
            "token_unavailable",
            "as_answer.content_type",
            || vec![page(200)],
        ),
        outage(
            "refresh-half-an-answer-keeps-the-session",
            "The token endpoint answers with half a JSON document.",
            &["OA-5.2", "OA-5.1"],
            "token_unavailable",
            "as_answer.not_json",
            || vec![Fault::Truncate(20)],
        ),
        module(
            "refresh-server-in-trouble-is-asked-once-a-second",
            "Fifty calls come within a second while the token endpoint answers 503.",
            "ask it once",
            &["BFF-6.1.2.2-PRJ", "PXY-7"],
            |stage| Box::pin(once_a_second(stage)),
        )
        .reasons(&["as.unavailable"]),
    ]
}

fn ends() -> Vec<Module> {
    vec![
        module(
            "refresh-dead-grant-ends-the-session",
            "The server has ended the grant and answers invalid_grant.",
            "end the session for every tab, delete the cookie, and let the user log in again",
            &["OA-5.2", "BFF-6.1.2.2-2", "BCP-4.14"],
            |stage| Box::pin(dead_grant(stage)),
        )
        .provoking(&["token.refresh_revoked"])
        .reasons(&["refresh.grant_dead"]),
        module(
            "refresh-lost-answer-is-made-good",
            "The server handles a refresh and its answer is lost.",
            "keep the old refresh token and use it again",
            &["FAPI2-SP-5.3.2.1-9"],
            |stage| Box::pin(lost_answer(stage, false)),
        )
        .reasons(&["as.broken"]),
        module(
            "refresh-lost-answer-under-rotation",
            "The answer with the successor is lost, and the old token used again counts as theft.",
            "end in one clean login, not in a loop",
            &["FAPI2-SP-5.3.2.1-9", "BCP-4.14"],
            |stage| Box::pin(lost_answer(stage, true)),
        )
        .provoking(&["token.refresh_reused"])
        .prepared(rotating)
        .reasons(&["refresh.grant_dead"]),
        module(
            "refresh-id-token-of-another-subject",
            "A refresh brings an ID token about somebody else.",
            "believe none of it, give its tokens up, and keep the session whose it is",
            &["OIDC-12.2", "REV-2.1"],
            |stage| Box::pin(not_about_us(stage, "sub", "id_token.subject_changed")),
        )
        .prepared(with_id_tokens)
        .reasons(&["id_token.subject_changed"]),
        module(
            "refresh-id-token-of-another-issuer",
            "A refresh brings an ID token by another issuer.",
            "believe none of it, give its tokens up, and keep the session whose it is",
            &["OIDC-12.2", "REV-2.1"],
            |stage| Box::pin(not_about_us(stage, "iss", "id_token.issuer_mismatch")),
        )
        .prepared(with_id_tokens)
        .reasons(&["id_token.issuer_mismatch"]),
    ]
}
