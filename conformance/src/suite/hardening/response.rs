//! Authorization responses that must not be believed, beyond those of the official suite.

use serde_json::json;

use super::change::{Change, edit, header, rewrite};
use crate::{
    as_double::{Target, edits},
    ledger::Endpoint,
    suite::{
        exam::Ending,
        module::{Module, Step},
        stage::Stage,
    },
};

const J: Target = Target::Jarm;

/// A response spoiled by the authorization server itself: no token request may follow, and the audit
/// stream must say why.
fn spoiled(
    id: &str,
    does: &str,
    clauses: &[&'static str],
    reason: &'static str,
    change: Change,
) -> Module {
    let ending = Ending::Silence { after: Endpoint::Authorize, tolerated: &[Endpoint::Jwks] };
    Module::new(id, does, "stop: no token request", clauses, |stage| Box::pin(refuse(stage)))
        .reasons(&[reason])
        .ending(ending)
        .behaving(move |double| double.behave(|behaviour| change(behaviour)))
}

async fn refuse(stage: &mut Stage) -> Step {
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    stage.expect_refusal("login_refused", &answer, 400, "login_rejected");
    stage.expect_no_session().await
}

pub(super) fn modules() -> Vec<Module> {
    vec![
        spoiled(
            "jarm-issuer-with-another-slash",
            "The signed response's iss has one more slash.",
            &["JARM-2.4-2/3/4", "FAPI2-SP-5.3.3.2-5"],
            "jarm.issuer_mismatch",
            edit(J, edits::append("iss", "/")),
        ),
        spoiled(
            "jarm-with-jku",
            "The signed response's header names a key set of its own (jku).",
            &["JWT-3.10"],
            "jarm.header_not_allowed",
            header(J, &json!({"jku": "https://evil.example/jwks"})),
        ),
        spoiled(
            "jarm-in-five-parts",
            "The response has the five parts of an encrypted token.",
            &["JWT-3.3", "FAPI2-MS-6.1"],
            "jarm.encrypted",
            rewrite(J, |_| "a.b.c.d.e".to_owned()),
        ),
    ]
}
