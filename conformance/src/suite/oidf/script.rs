//! The one script of the official suite's modules: log in, stop where one must, go on where one may.
//! It must not know the tables.

use serde_json::Value;

use super::{Over, Row};
use crate::{
    as_double::{AsDouble, Target, edits},
    ledger::Endpoint,
    suite::{
        exam::Ending,
        module::{Module, Step},
        mutation::Mutation,
        stage::{LoginMode, Stage},
    },
};

/// What the official suite's server does not have, so a client finds no use for it there.
const NOT_IN_SUITE: [&str; 10] = [
    "revocation_endpoint",
    "introspection_endpoint",
    "end_session_endpoint",
    "revocation_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_signing_alg_values_supported",
    "introspection_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_signing_alg_values_supported",
    "backchannel_logout_supported",
    "backchannel_logout_session_supported",
    "acr_values_supported",
];

/// What a client may look up while it stops.
const LOOKING: &[Endpoint] = &[Endpoint::Metadata, Endpoint::Jwks];

/// The same, and handing back the tokens that came along, where the metadata say how (REV-2.1).
const GIVING_UP: &[Endpoint] = &[Endpoint::Metadata, Endpoint::Jwks, Endpoint::Revocation];

/// The module of a row.
pub(super) fn module(id: &str, row: &Row) -> Module {
    let (mutation, over) = (row.mutation, row.over);
    let silence = |after, tolerated| Ending::Silence { after, tolerated };
    let ending = match over {
        Over::Accounts => Ending::Accounts,
        Over::Metadata => silence(Endpoint::Metadata, LOOKING),
        Over::Response => silence(Endpoint::Authorize, LOOKING),
        Over::TokenResponse => silence(Endpoint::Token, GIVING_UP),
    };
    let mut module =
        Module::new(id, row.does, row.must, row.clauses, move |stage| Box::pin(play(stage, over)))
            .reasons(row.reasons)
            .ending(ending);
    let prepare = move |double: &AsDouble| double.behave(|behaviour| mutation.apply(behaviour));
    module.setup.as_in_suite = true;
    // Metadata that were met before would be believed still.
    if mutation == Mutation::IssuerInMetadata {
        module.prepared(prepare)
    } else {
        module.behaving(prepare)
    }
}

/// Takes out of the metadata what the official suite's server does not have.
pub(in crate::suite) fn strip(double: &AsDouble) {
    double.behave(|behaviour| {
        for member in NOT_IN_SUITE {
            behaviour.edit(Target::Metadata, edits::remove(member));
            behaviour.edit(Target::Metadata, |document| {
                let aliases = document.get_mut("mtls_endpoint_aliases");
                if let Some(aliases) = aliases.and_then(Value::as_object_mut) {
                    aliases.retain(|name, _| !NOT_IN_SUITE.contains(&name.as_str()));
                }
            });
        }
    });
}

async fn play(stage: &mut Stage, over: Over) -> Step {
    if over == Over::Metadata {
        return no_login_starts(stage).await;
    }
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    if over == Over::Accounts {
        let status = if stage.mode == LoginMode::Script { 200 } else { 303 };
        stage.expect("login_ended", &answer, status)?;
        let userinfo =
            stage.browser.fetch(crate::demo::browser::Call::get("/bff/userinfo")).await?;
        stage.expect("userinfo", &userinfo, 200)?;
        return stage.reach_accounts().await;
    }
    stage.check(
        "login_refused",
        &[],
        (400..600).contains(&answer.status),
        format!("{} -> {}, a refusal expected", answer.request, answer.status),
    );
    stage.expect_no_session().await
}

/// With metadata that must not be used, no login is begun.
async fn no_login_starts(stage: &mut Stage) -> Step {
    let answer = stage.try_start_login().await?;
    stage.check(
        "login_refused",
        &[],
        (500..600).contains(&answer.status),
        format!("{} -> {}, a refusal expected", answer.request, answer.status),
    );
    let told = answer.location().is_ok() || String::from_utf8_lossy(&answer.body).contains("://");
    stage.check("no_address", &[], !told, "the refusal leads nowhere");
    Ok(())
}
