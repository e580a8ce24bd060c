//! Keys that change under way, and a key set that cannot be had just now.

use super::super::refusal::succeed;
use crate::{
    as_double::{Endpoint, Fault},
    suite::{
        module::{Module, Step},
        stage::Stage,
    },
};

/// Seconds in which the key set is not asked for again, as configured.
const COOLDOWN: u32 = 5;

pub(super) fn modules() -> Vec<Module> {
    vec![
        Module::new(
            "jwks-rotated-before-signing",
            "The server signs with a new key and publishes it; the old one is gone.",
            "ask for the key set once more; log the user in",
            &["JWK-ROT"],
            |stage| Box::pin(rotated(stage)),
        )
        .reasons(&[])
        .timed(),
        Module::new(
            "jwks-rotated-twice-at-once",
            "The server changes its key again within the cooldown.",
            "refuse until the cooldown is over, without asking; then log the user in",
            &["JWK-ROT"],
            |stage| Box::pin(rotated_twice(stage)),
        )
        .reasons(&["jarm.key_unknown"])
        .timed(),
        Module::new(
            "jwks-withdrawn-key-signs",
            "A key that the server no longer publishes signs a response, ten minutes later.",
            "refuse: what was withdrawn verifies nothing once the set is old",
            &["JWK-STALE", "JWK-ROT"],
            |stage| Box::pin(withdrawn(stage)),
        )
        .reasons(&["jarm.key_unknown"])
        .timed(),
        Module::new(
            "jwks-down-with-good-copy",
            "The key set was had once and cannot be had now.",
            "go on with the last good copy; log the user in",
            &["JWK-STALE", "META-6.2"],
            |stage| Box::pin(stale(stage)),
        )
        .reasons(&[])
        .timed(),
    ]
}

/// A login in a browser of its own.
async fn another_login(stage: &mut Stage) -> Step {
    stage.browser = stage.world.browser();
    succeed(stage).await
}

fn expect_fetches(stage: &Stage, expected: usize) {
    let found = stage.world.double.count(Endpoint::Jwks);
    let message = format!("the key set was asked for {found} times, {expected} expected");
    stage.check("key_set_fetches", &["JWK-ROT"], found == expected, message);
}

async fn refused(stage: &mut Stage) -> Step {
    stage.browser = stage.world.browser();
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    stage.expect_refusal("login_refused", &answer, 400, "login_rejected");
    stage.expect_no_session().await
}

async fn rotated(stage: &mut Stage) -> Step {
    succeed(stage).await?;
    expect_fetches(stage, 1);
    stage.world.double.rotate_keys(false)?;
    another_login(stage).await?;
    expect_fetches(stage, 2);
    Ok(())
}

async fn rotated_twice(stage: &mut Stage) -> Step {
    rotated(stage).await?;
    stage.world.double.rotate_keys(false)?;
    for seconds in [0, COOLDOWN - 1] {
        stage.world.advance(seconds)?;
        refused(stage).await?;
        expect_fetches(stage, 2);
    }
    stage.world.advance(1)?;
    another_login(stage).await?;
    expect_fetches(stage, 3);
    Ok(())
}

async fn withdrawn(stage: &mut Stage) -> Step {
    succeed(stage).await?;
    stage.world.advance(600)?;
    stage.world.double.behave(|behaviour| {
        behaviour.edit(crate::as_double::Target::Jwks, |set| {
            set.insert("keys".to_owned(), serde_json::json!([]));
        });
    });
    refused(stage).await
}

async fn stale(stage: &mut Stage) -> Step {
    succeed(stage).await?;
    stage.world.advance(600)?;
    stage.world.double.behave(|behaviour| behaviour.fault(Endpoint::Jwks, Fault::status(500)));
    another_login(stage).await
}
