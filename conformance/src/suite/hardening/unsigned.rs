//! Answers that are not signed as a whole: an ID token beside the code that vouches for it, a fragment
//! that only the BFF's own page may bring, userinfo that must be signed.

use serde_json::{Value, json};

use super::{
    change::{edit, tamper},
    refusal::{Refusal, Wrong, response, token_given_up},
};
use crate::{
    as_double::{Conduct, Tamper, Target, edits},
    demo::browser::Call,
    jws::peek,
    suite::{
        client::Client,
        module::{Module, Step},
        stage::{LoginMode, Stage},
    },
};

const fn hybrid() -> Client {
    Client::of(Conduct::fapi1_advanced())
}

fn signed_userinfo() -> Client {
    Client { signed_userinfo: true, ..Client::of(Conduct::security_profile()) }
}

/// Another site has the answer and posts it where the BFF's own page would.
async fn posted_from_elsewhere(stage: &mut Stage) -> Step {
    stage.mode = LoginMode::Navigation;
    let response = stage.response().await?;
    let heard = stage.heard();
    for site in ["https://evil.example", "null"] {
        let answer = stage.browser.submit(site, "/bff/callback", &response.query).await?;
        stage.expect_refusal("turned_away", &answer, 403, "csrf_rejected");
        stage.expect_unheard(heard);
    }
    stage.expect_record("guard.reject", "rejected", "guard.site_mismatch");
    // Nothing was spent: the answer still counts where it belongs.
    let answer = stage.deliver(&response).await?;
    stage.expect("login_ended", &answer, 303)?;
    stage.expect_session("by the BFF's own page it works").await
}

async fn badly_signed_userinfo(stage: &mut Stage) -> Step {
    const U: Target = Target::Userinfo;
    stage.login().await?;
    let unsigned = |token: String| {
        let claims = peek(&token).map(|(_, claims)| claims).unwrap_or_default();
        Value::Object(claims).to_string()
    };
    let cases = [
        ("its signature is spoiled", tamper(U, Tamper::Flip)),
        ("another key signed it", tamper(U, Tamper::WrongKey)),
        ("it is unsecured", tamper(U, Tamper::AlgNone)),
        ("another algorithm signed it", tamper(U, Tamper::AlternateAlg)),
        ("it is plain JSON", tamper(U, Tamper::Rewrite(std::sync::Arc::new(unsigned)))),
        ("it is another issuer's", edit(U, edits::wrong("iss"))),
        ("it is for somebody else", edit(U, edits::wrong("aud"))),
        ("it is about somebody else", edit(U, edits::wrong("sub"))),
    ];
    for (what, case) in cases {
        stage.world.double.behave(|behaviour| case.apply(behaviour));
        let answer = stage.get("/bff/userinfo").await?;
        let told = answer.status == 502;
        stage.check(
            "userinfo_refused",
            &["OIDC-5.3.2-sig"],
            told,
            format!("{what}: {}", answer.status),
        );
        stage.world.double.reset_behaviour();
    }
    let answer = stage.fetch(Call::get("/bff/userinfo")).await?;
    stage.expect("userinfo", &answer, 200)?;
    stage.expect_session("the session is as it was").await
}

pub(super) fn modules() -> Vec<Module> {
    const FRONT: Target = Target::FrontIdToken;
    let hybrids = [
        response(
            &Wrong(
                "hybrid-id-token-without-c-hash",
                "The ID token beside the code does not say which code it is for.",
                &["FAPI1-ADV-5.2.3.1-3", "OIDC-3.3.2.8"],
            ),
            Refusal::rejected("id_token.c_hash_missing"),
            edit(FRONT, edits::remove("c_hash")),
        ),
        response(
            &Wrong(
                "hybrid-answer-without-id-token",
                "A bare code comes where an ID token should vouch for it.",
                &["FAPI1-ADV-5.2.3.1-3", "OIDC-3.3.2.8"],
            ),
            Refusal::rejected("id_token.missing"),
            edit(Target::Jarm, edits::remove("id_token")),
        ),
        response(
            &Wrong(
                "hybrid-answer-with-an-access-token",
                "An access token comes through the browser.",
                &["FAPI2-SP-5.3.3.2-1", "FAPI1-ADV-5.2.2-2"],
            ),
            Refusal::rejected("response.token_in_response"),
            edit(Target::Jarm, edits::set("access_token", json!("x"))),
        ),
        token_given_up(
            &Wrong(
                "hybrid-id-tokens-about-two-users",
                "The second ID token of a login is about another user than the first.",
                &["OIDC-3.3.3.6"],
            ),
            Refusal::wrong("id_token.subject_differs"),
            edit(Target::TokenIdToken, edits::set("sub", json!("mallory"))),
        ),
        Module::new(
            "fragment-posted-from-elsewhere",
            "Another site posts an answer that came in the fragment.",
            "take it from the page of its own alone",
            &["OIDC-FRAG", "FM-2"],
            |stage| Box::pin(posted_from_elsewhere(stage)),
        ),
    ];
    let userinfo = Module::new(
        "userinfo-badly-signed",
        "Userinfo that was registered to be signed is signed by somebody else, or not at all.",
        "pass none of it on",
        &["OIDC-5.3.2-sig", "OIDC-5.3.2"],
        |stage| Box::pin(badly_signed_userinfo(stage)),
    )
    .with_client(signed_userinfo());
    let hybrids = hybrids.into_iter().map(|module| module.with_client(hybrid()));
    hybrids.chain([userinfo]).collect()
}
