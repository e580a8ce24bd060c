//! Access tokens renewed unseen, in every kind of trouble: many calls at once, lost answers, dead
//! grants, servers that are away, and APIs that like no token.

mod api;
mod correct;
mod trouble;

use crate::{
    as_double::AsDouble,
    demo::browser::Answer,
    suite::{
        module::{Module, Playing, Step},
        stage::Stage,
    },
};

/// Seconds an access token lives here; it is renewed in the last thirty.
const LIFE: u32 = 60;
const DUE: u32 = LIFE - 30;
/// Seconds after which every session refreshes: some wait a quarter of the time ahead.
const OVERDUE: u32 = DUE + 8;

/// A module in which tokens are short-lived, the clock is the script's, and a slow machine does not
/// look like an outage.
fn module<F>(id: &str, does: &str, must: &str, clauses: &[&'static str], script: F) -> Module
where
    F: for<'a> Fn(&'a mut Stage) -> Playing<'a> + Send + Sync + 'static,
{
    Module::new(id, does, must, clauses, script)
        .configured("request_timeout = \"10s\"", "request_timeout = \"20s\"")
        .prepared(short)
        .timed()
}

fn short(double: &AsDouble) {
    double.behave(|behaviour| behaviour.access_token_lifetime = i64::from(LIFE));
}

fn rotating(double: &AsDouble) {
    short(double);
    double.behave(|behaviour| behaviour.rotate_refresh_tokens = true);
}

/// The session is over, for good and for every tab: the answer says so and takes the cookie away.
async fn over(stage: &mut Stage, answer: &Answer) -> Step {
    stage.expect_refusal("over", answer, 401, "reauthentication_required");
    stage.expect_no_session().await
}

pub(super) fn modules() -> Vec<Module> {
    [correct::modules(), trouble::modules(), api::modules()].into_iter().flatten().collect()
}
