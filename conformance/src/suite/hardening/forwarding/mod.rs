//! Calls passed on to an API: what of a request reaches it, what of its answer reaches a browser, and
//! what must not be passed on at all.

mod answers;
mod requests;
mod targets;

use crate::{
    as_double::Event,
    demo::wire,
    suite::{
        module::{Module, Step},
        stage::Stage,
    },
};

/// A call in the session, byte by byte; gives all that comes back until the BFF hangs up.
async fn on_the_wire(
    stage: &Stage,
    method: &str,
    target: &str,
    lines: &[&str],
    body: &str,
) -> Step<String> {
    let head = wire::head(&stage.world.origin, &stage.browser, method, target, lines);
    let line = stage.world.line().await?;
    Ok(line.exchange(&(head + body)).await?)
}

/// The status of an answer as it came over the wire.
fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

/// An answer over the wire must have this status, and be the only one.
fn expect_one(stage: &Stage, what: &str, answer: &str, wanted: &[u16]) {
    let (found, answers) = (status(answer), answer.matches("HTTP/1.1 ").count());
    let held = wanted.contains(&found) && answers == 1;
    let message = format!("{what} -> {found} in {answers} answers; one of {wanted:?} expected");
    stage.check("one_answer", &["PXY-2(?)"], held, message);
}

/// Values of a header as the API received it.
fn received<'a>(event: &'a Event, name: &str) -> Vec<&'a str> {
    let headers = event.headers.iter();
    headers.filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
}

pub(super) fn modules() -> Vec<Module> {
    [requests::modules(), targets::modules(), answers::modules()].into_iter().flatten().collect()
}
