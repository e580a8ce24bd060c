//! Logins that another site would like to start (OpenID Connect Core §4), and logins that are to raise a
//! session and end in another.

use url::form_urlencoded::Serializer;

use crate::{
    demo::browser::{Answer, Call, From as Coming, text},
    suite::{
        module::{Module, Step},
        stage::{Response, Stage},
    },
};

const ON: (&str, &str) = ("[apps.web.login]\n", "[apps.web.login]\nthird_party_initiated = true\n");
const HIGH: &str = "acr_values=urn%3Ax%3Ahigh&max_age=60";

async fn sent(stage: &mut Stage, parameters: &[(&str, &str)]) -> Step<Answer> {
    let query = Serializer::new(String::new()).extend_pairs(parameters).finish();
    stage.go(Coming::CrossSite, &format!("/bff/login/initiate?{query}")).await
}

async fn elsewhere(stage: &mut Stage) -> Step {
    stage.settled(1).await?;
    let heard = stage.heard();
    let issuer = stage.world.double.issuer().to_owned();
    let (near, home) = (format!("{issuer}x"), format!("{}/a", stage.world.origin));
    let lookalike = format!("{}.evil.example/", stage.world.origin);
    let cases: [&[(&str, &str)]; 7] = [
        &[],
        &[("iss", "https://evil.example/")],
        &[("iss", &near), ("target_link_uri", &home)],
        &[("iss", &issuer), ("iss", &issuer)],
        &[("iss", &issuer), ("target_link_uri", "https://evil.example/")],
        &[("iss", &issuer), ("target_link_uri", &lookalike)],
        &[("iss", &issuer), ("target_link_uri", "//evil.example/")],
    ];
    for case in cases {
        let answer = sent(stage, case).await?;
        stage.expect_page(&answer, 400);
        let repeated = String::from_utf8_lossy(&answer.body).contains("evil");
        stage.check("not_repeated", &["OIDC-4"], !repeated, "the page repeats nothing of it");
    }
    let right = [("iss", issuer.as_str()), ("target_link_uri", home.as_str())];
    let answer = sent(stage, &right).await?;
    let unframed = answer.header("content-security-policy").contains("frame-ancestors 'none'");
    let page = String::from_utf8_lossy(&answer.body).into_owned();
    let asks = answer.status == 200 && page.contains("<form action=\"/bff/login\">") && unframed;
    stage.check(
        "asks_the_user",
        &["OIDC-4", "BCP-4.16"],
        asks,
        "a right one gets a page with a button",
    );
    stage.check(
        "no_script",
        &["FAPI2-SP-5.3.3.1-12"],
        !page.contains("<script"),
        "which a user presses",
    );
    stage.expect_unheard(heard);
    let held = stage.transactions().is_empty();
    stage.check("none_begun", &["OIDC-4", "FAPI2-SP-5.3.3.1-12"], held, "no login is under way");
    Ok(())
}

/// Starts a login for more than the session has; gives what the authorization server says to it.
async fn raising(stage: &mut Stage) -> Step<Response> {
    let answer = stage.fetch(Call::post("/bff/login/start").form(HIGH)).await?;
    stage.expect("login_started", &answer, 200)?;
    let url = text(&answer.json()?, "authorization_url").to_owned();
    stage.authorize(&url).await
}

async fn another_session(stage: &mut Stage) -> Step {
    let wrong = "transaction.wrong_session";
    // The link reaches another user's browser.
    stage.login().await?;
    let asked = raising(stage).await?;
    let first = stage.another_browser();
    stage.login().await?;
    let answer = super::end(&mut stage.browser, &asked).await?;
    super::refused(stage, &answer, "transaction.missing");
    stage.expect_session("the other user's session is as it was").await?;

    // The same browser, in which somebody logged in anew meanwhile.
    stage.browser = first;
    stage.login().await?;
    let answer = super::end(&mut stage.browser, &asked).await?;
    super::refused(stage, &answer, wrong);
    stage.expect_session("the session since then is as it was").await?;

    // The right browser and session, and another person at the authorization server.
    stage.world.double.behave(|behaviour| behaviour.user = Some("bob".to_owned()));
    let asked = raising(stage).await?;
    let answer = super::end(&mut stage.browser, &asked).await?;
    super::refused(stage, &answer, wrong);
    stage.expect_session("the session is its user's still").await?;
    stage.reach_api().await
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "third-party-initiated-login-elsewhere",
            "A third party starts a login with an unknown issuer and a target elsewhere.",
            "start none",
            &["OIDC-4", "FAPI2-SP-5.3.3.1-10", "FAPI2-SP-5.3.3.1-12"],
            |stage| Box::pin(elsewhere(stage)),
        )
        .configured(ON.0, ON.1),
        Module::new(
            "step-up-to-another-session",
            "A login that is to raise a session ends in another session, or for another user.",
            "refuse to end it there",
            &["DRAFT-9700U-2", "CK-SS-3", "STEP-5"],
            |stage| Box::pin(another_session(stage)),
        ),
    ]
}
