//! Good things in the wrong place: another server's, another login's, another browser's, another kind
//! of token, or the same thing again. Each was right where it was made.

mod issuers;
mod kinds;
mod replay;

use serde_json::{Value, json};

use super::refusal::{Refusal, Wrong, with_query};
use crate::{
    as_double::{Endpoint, Target, edits},
    jws::{Object, peek},
    suite::{
        module::{Module, Step},
        stage::{Response, Stage},
    },
};

pub(super) fn modules() -> Vec<Module> {
    let mut all = codes();
    all.extend(issuers::modules());
    all.extend(kinds::modules());
    all.extend(replay::modules());
    all
}

/// The claims of a response.
fn claims(response: &Response) -> Step<Object> {
    Ok(peek(&response.token()?)?.1)
}

/// The same response with another token in it.
fn carrying(response: &Response, token: &str) -> Response {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    with_query(response, query.append_pair("response", token).finish())
}

/// So many token requests so far, and no userinfo request.
fn expect_redeemed(stage: &Stage, expected: usize) {
    let codes = stage.world.double.count(Endpoint::Token);
    let message = format!("{codes} token requests, {expected} expected");
    stage.check("codes_redeemed", &["FAPI2-SP-6.4", "JARM-2.4-6"], codes == expected, message);
    let asked = stage.world.double.count(Endpoint::Userinfo);
    stage.check("no_userinfo", &[], asked == 0, format!("{asked} userinfo requests"));
}

/// The last refusal by the authorization server was for this reason.
fn expect_refused_by_server(stage: &Stage, reason: &str) {
    let refusal = stage.world.double.last_refusal();
    let found = refusal.and_then(|event| event.reason).unwrap_or_default();
    let message = format!("the server refused for {found:?}, {reason} expected");
    stage.check("refused_by_server", &[], found == reason, message);
}

/// Codes that were not issued for this login. The server knows; the client must ask it once, with the
/// verifier of this login, and take its no.
fn codes() -> Vec<Module> {
    let rejected = Refusal::rejected("as.rejected");
    let stolen = Wrong(
        "mixup-victims-code",
        "A thief puts a victim's code into the rightly signed response to a login of the thief's own.",
        &["FAPI2-AM-5.3", "BCP-2.1.1"],
    );
    let swapped = Wrong(
        "mixup-code-of-another-tab",
        "The response to one tab's login carries the code of another tab's.",
        &["BCP-2.1.1", "FAPI2-SP-5.3.3.2-4"],
    );
    let must = "ask once, with this login's verifier; no session";
    let module = |wrong: &Wrong<'_>, is_stolen: bool| {
        let Wrong(id, does, clauses) = wrong;
        Module::new(id, does, must, clauses, move |stage| {
            Box::pin(other_code(stage, is_stolen, rejected))
        })
        .provoking(&["token.code_verifier"])
        .reasons(&[rejected.reason])
    };
    let injected = Module::new(
        "mixup-code-with-form-characters",
        "The signed code looks like more parameters of the token request.",
        "send the code as it was signed, in one parameter",
        &["OA-4.1.3", "FAPI2-MS-5.3.2-1"],
        move |stage| Box::pin(form_characters(stage, rejected)),
    )
    .provoking(&["token.code_unknown"])
    .reasons(&[rejected.reason]);
    vec![module(&stolen, true), module(&swapped, false), injected]
}

async fn other_code(stage: &mut Stage, is_stolen: bool, refusal: Refusal) -> Step {
    let victims = stage.response().await?;
    let code = claims(&victims)?.get("code").cloned().unwrap_or_default();
    if is_stolen {
        stage.browser = stage.world.browser();
    }
    let planted = code.clone();
    stage.world.double.behave(|behaviour| {
        behaviour.edit_once(Target::Jarm, edits::set("code", planted));
    });
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    refusal.is_told(stage, "login_refused", &answer);
    expect_refused_by_server(stage, "token.code_verifier");
    expect_redeemed(stage, 1);
    stage.expect_no_session().await
}

async fn form_characters(stage: &mut Stage, refusal: Refusal) -> Step {
    const CODE: &str = "a+b%26=&scope=admin&client_id=another#\"'<>\\";
    const NAMES: [&str; 7] = [
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "code",
        "code_verifier",
        "grant_type",
        "redirect_uri",
    ];
    stage.world.double.behave(|behaviour| {
        behaviour.edit(Target::Jarm, edits::set("code", json!(CODE)));
    });
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    refusal.is_told(stage, "login_refused", &answer);
    expect_refused_by_server(stage, "token.code_unknown");
    let sent = stage.world.double.last(Endpoint::Token);
    let form = sent.map(|event| event.form).unwrap_or_default();
    let whole = form.iter().any(|(name, value)| name == "code" && value == CODE);
    stage.check("code_intact", &["OA-4.1.3"], whole, "the code arrived as it was signed");
    let mut names: Vec<_> = form.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let message = format!("parameters of the token request: {names:?}");
    stage.check("nothing_injected", &["FAPI2-MS-5.3.2-1"], names == NAMES, message);
    stage.expect_no_session().await
}

/// A string claim.
fn text(claims: &Object, name: &str) -> String {
    claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
