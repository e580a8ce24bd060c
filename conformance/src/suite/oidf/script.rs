//! The one script of the official suite's modules: log in, stop where one must, go on where one may.
//! It must not know the tables.

use serde_json::Value;

use super::{Over, Row, first_id_token};
use crate::{
    as_double::{AsDouble, Family, Target, edits},
    demo::browser::Call,
    ledger::Endpoint,
    suite::{
        client::Client,
        exam::Ending,
        module::{Module, Step},
        mutation::Mutation,
        stage::Stage,
    },
};

/// What the official suite's server does not have, so a client finds no use for it there.
const NOT_IN_SUITE: [&str; 12] = [
    "revocation_endpoint",
    "introspection_endpoint",
    "end_session_endpoint",
    "revocation_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_signing_alg_values_supported",
    "introspection_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_signing_alg_values_supported",
    "backchannel_logout_supported",
    "backchannel_logout_session_supported",
    "frontchannel_logout_supported",
    "frontchannel_logout_session_supported",
    "acr_values_supported",
];

/// What a client may look up while it stops.
const LOOKING: &[Endpoint] = &[Endpoint::Metadata, Endpoint::Jwks];

/// The same, and handing back the tokens that came along, where the metadata say how (REV-2.1).
const GIVING_UP: &[Endpoint] = &[Endpoint::Metadata, Endpoint::Jwks, Endpoint::Revocation];

/// The module of a row, for this client.
pub(super) fn module(id: &str, row: &Row, client: Client) -> Module {
    let over = if row.over == Over::IdToken { first_id_token(&client) } else { row.over };
    let (mutation, besides, play) = (row.mutation, row.besides, row.play);
    // The suite's FAPI 1.0 names an alias for userinfo and does not serve it there: whoever takes it,
    // as RFC 8705 §5 has it, must leave userinfo alone.
    let userinfo = client.conduct.openid && client.conduct.family != Family::Fapi1;
    let asks = Asks { userinfo, details: client.details };
    let fapi = client.conduct.family != Family::Oidc;
    let silence = |after, tolerated| Ending::Silence { after, tolerated };
    let ending = match over {
        Over::Accounts => Ending::Reached(Endpoint::Accounts),
        Over::Userinfo => Ending::Reached(Endpoint::Userinfo),
        Over::Script => Ending::Script,
        Over::Metadata => silence(Endpoint::Metadata, LOOKING),
        Over::Response => silence(Endpoint::Authorize, LOOKING),
        Over::TokenResponse | Over::IdToken => silence(Endpoint::Token, GIVING_UP),
    };
    let mut module = Module::new(id, row.does, row.must, row.clauses, move |stage| match play {
        Some(play) => play(stage),
        None => Box::pin(login(stage, over, asks)),
    })
    .reasons(row.reasons)
    .ending(ending)
    .provoking(row.provokes);
    module.setup.client = client;
    let prepare = move |double: &AsDouble| {
        double.behave(|behaviour| {
            besides(behaviour);
            mutation.apply(behaviour);
        });
    };
    module.setup.as_in_suite = fapi;
    // Metadata that were met before would be believed still.
    if matches!(mutation, Mutation::IssuerInMetadata | Mutation::KeysElsewhere) {
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

/// What the client asks for beside a login.
#[derive(Clone, Copy)]
struct Asks {
    userinfo: bool,
    details: bool,
}

/// The pushed request says in detail what is wanted.
fn expect_details(stage: &Stage) {
    let asked = stage.world.double.last(Endpoint::Par).is_some_and(|event| {
        let claims = event.notes.get("request_object_claims");
        let signed = claims.and_then(|claims| claims.get("authorization_details"));
        signed.is_some_and(Value::is_array) || event.form("authorization_details").is_some()
    });
    stage.check("details_asked", &["RAR-2"], asked, "the request has authorization_details");
}

async fn login(stage: &mut Stage, over: Over, asks: Asks) -> Step {
    if over == Over::Metadata {
        return no_login_starts(stage).await;
    }
    let response = stage.response().await?;
    if asks.details {
        expect_details(stage);
    }
    let answer = stage.deliver(&response).await?;
    if matches!(over, Over::Accounts | Over::Userinfo) {
        stage.expect("login_ended", &answer, stage.success(&response))?;
        if asks.userinfo {
            let userinfo = stage.browser.fetch(Call::get("/bff/userinfo")).await?;
            stage.expect("userinfo", &userinfo, 200)?;
        }
        if over == Over::Accounts {
            stage.reach_accounts().await?;
        }
        return Ok(());
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
