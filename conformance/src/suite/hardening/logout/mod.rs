//! The way out: who may take it, what is dead afterwards, the way to the authorization server and back,
//! in all its failures, and the way out that the server takes for its users.

mod ended;
mod frames;
mod leaving;
mod refused;
mod returning;
mod told;

use url::Url;

use crate::{
    demo::browser::From as Coming,
    suite::{
        module::{Halt, Module, Step},
        stage::Stage,
    },
};

/// Where the browser goes on from here.
const CONTINUE: &str = "/bff/logout/continue";
/// Where it comes back to.
const CALLBACK: &str = "/bff/logout/callback";
/// The cookie that remembers a logout on its way.
const TICKET: &str = "__Host-Http-web.logout";

/// Follows a navigation that must lead on; gives where to.
async fn on(stage: &mut Stage, from: Coming, url: &str) -> Step<Url> {
    let answer = stage.go(from, url).await?;
    stage.expect("leads_on", &answer, 303)?;
    Ok(answer.location()?)
}

/// A navigation that must end at the start of the app.
async fn home(stage: &mut Stage, from: Coming, url: &str) -> Step {
    let end = on(stage, from, url).await?;
    let held = end.as_str() == format!("{}/", stage.world.origin);
    stage.check("home", &["HDR-6", "RPL-2b"], held, format!("the browser ends at {end}"));
    Ok(())
}

/// A parameter that must be there at most once.
fn parameter(url: &Url, name: &str) -> Step<Option<String>> {
    let mut found = url.query_pairs().filter(|(n, _)| n == name).map(|(_, v)| v.into_owned());
    let value = found.next();
    match found.next() {
        None => Ok(value),
        Some(_) => Err(Halt::Trouble(format!("{name} is there twice"))),
    }
}

fn is_ticket_kept(stage: &Stage) -> bool {
    stage.browser.cookies().iter().any(|(name, _)| *name == TICKET)
}

pub(super) fn modules() -> Vec<Module> {
    [
        leaving::modules(),
        returning::modules(),
        refused::modules(),
        ended::modules(),
        frames::modules(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
