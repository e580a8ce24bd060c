//! Logins under attack: who may start one, with which wishes, who may end it, how often and when.

mod callback;
mod initiated;
mod parameters;
mod start;
mod transactions;

use crate::{
    demo::browser::{Answer, Browser, Call},
    suite::{
        module::{Module, Step},
        stage::{Response, Stage},
    },
};

/// Hands a response in, as the app's page would, in any browser.
async fn end(browser: &mut Browser, response: &Response) -> Step<Answer> {
    Ok(browser.fetch(Call::post("/bff/login/end").form(&response.query)).await?)
}

/// Both halves of a refused answer: what the browser got, and what was recorded.
fn refused(stage: &Stage, answer: &Answer, reason: &str) {
    stage.expect_refusal("login_refused", answer, 400, "transaction_missing");
    let deletes = answer.cookies().iter().all(|cookie| cookie.max_age() == Some(0));
    stage.check("no_cookie_set", &["CK-CLR"], deletes, "a refusal only deletes cookies");
    stage.expect_record("login.end", "rejected", reason);
}

pub(super) fn modules() -> Vec<Module> {
    [
        transactions::modules(),
        parameters::modules(),
        start::modules(),
        callback::modules(),
        initiated::modules(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
