//! Authorization responses that must not be believed, beyond those of the official suite: what they
//! say and what stands beside them. How they are signed is in the files below.

mod beside;
mod signed;

use serde_json::json;

use super::{
    change::{all, change, edit, header, placed},
    forge::signed_anew,
    refusal::{Refusal, Wrong, response, taken},
};
use crate::{
    as_double::{Target, edits},
    ledger::Endpoint,
    suite::{
        exam::Ending,
        module::{Module, Step},
        stage::Stage,
        world::CLIENT_ID,
    },
};

const J: Target = Target::Jarm;
const CLAIMS: &[&str] = &["JARM-2.4-2/3/4", "FAPI2-MS-5.4.2-2"];

pub(super) fn modules() -> Vec<Module> {
    [addressed(), dated(), answered(), taken_all(), errors(), beside::modules(), signed::modules()]
        .into_iter()
        .flatten()
        .collect()
}

/// From whom, to whom, for which login.
fn addressed() -> Vec<Module> {
    vec![
        response(
            &Wrong(
                "jarm-issuer-with-another-slash",
                "The signed response's iss has one more slash.",
                &["JARM-2.4-2/3/4", "FAPI2-SP-5.3.3.2-5"],
            ),
            Refusal::rejected("jarm.issuer_mismatch"),
            edit(J, edits::append("iss", "/")),
        ),
        response(
            &Wrong(
                "jarm-for-two-clients",
                "The signed response's aud names another client beside ours.",
                CLAIMS,
            ),
            Refusal::rejected("jarm.audience_mismatch"),
            edit(J, edits::set("aud", json!([CLIENT_ID, "another-client"]))),
        ),
        response(
            &Wrong("jarm-for-nobody", "The signed response's aud is an empty array.", CLAIMS),
            Refusal::rejected("jarm.claim_type"),
            edit(J, edits::set("aud", json!([]))),
        ),
        response(
            &Wrong("jarm-without-state", "The signed response has no state.", &["OA-10.12"]),
            Refusal::rejected("jarm.state_missing"),
            edit(J, edits::remove("state")),
        ),
        response(
            &Wrong(
                "jarm-with-state-of-no-login",
                "The signed response's state is that of no login in this browser.",
                &["OA-10.12", "BCP-2.1-2"],
            ),
            Refusal::stray("transaction.missing"),
            edit(J, edits::wrong("state")),
        ),
    ]
}

/// When. The clock stands still where a second counts.
fn dated() -> Vec<Module> {
    const AHEAD: &[&str] = &["FAPI2-SP-5.3.2.1-13", "CLK-1"];
    vec![
        response(
            &Wrong("jarm-good-for-an-hour", "The response is good for over an hour.", CLAIMS),
            Refusal::rejected("jarm.lifetime_too_long"),
            placed(J, "exp", 3_601),
        )
        .timed(),
        response(
            &Wrong("jarm-expired-ten-seconds-ago", "The response expired ten seconds ago.", CLAIMS),
            Refusal::rejected("jarm.expired"),
            placed(J, "exp", -10),
        )
        .timed(),
        response(
            &Wrong("jarm-from-the-next-minute", "The response's iat is 61 seconds ahead.", AHEAD),
            Refusal::rejected("jarm.issued_in_future"),
            placed(J, "iat", 61),
        )
        .timed(),
        response(
            &Wrong("jarm-not-yet-good", "The response's nbf is 61 seconds ahead.", AHEAD),
            Refusal::rejected("jarm.not_yet_valid"),
            placed(J, "nbf", 61),
        )
        .timed(),
        response(
            &Wrong("jarm-expiry-as-text", "The response's exp is a string of digits.", CLAIMS),
            Refusal::rejected("jarm.claim_type"),
            edit(J, edits::set("exp", json!("4102444800"))),
        ),
        response(
            &Wrong("jarm-expiry-beyond-numbers", "The response's exp is 1e300.", &["JWT-PARSE"]),
            Refusal::rejected("jarm.claim_type"),
            edit(J, edits::set("exp", json!(1e300))),
        ),
    ]
}

/// The answer itself.
fn answered() -> Vec<Module> {
    const CODE: &[&str] = &["FAPI2-SP-5.3.3.2-1", "FAPI2-MS-5.4.2-2"];
    vec![
        response(
            &Wrong("jarm-without-code", "The response has neither code nor error.", CODE),
            Refusal::rejected("jarm.code_missing"),
            edit(J, edits::remove("code")),
        ),
        response(
            &Wrong("jarm-with-code-and-error", "The response has both code and error.", CODE),
            Refusal::rejected("jarm.code_and_error"),
            edit(J, edits::set("error", json!("access_denied"))),
        ),
        response(
            &Wrong("jarm-with-access-token", "The response brings an access token along.", CODE),
            Refusal::rejected("jarm.token_in_response"),
            edit(J, edits::set("access_token", json!("from-the-front-channel"))),
        ),
        response(
            &Wrong("jarm-with-id-token", "The response brings an ID token along.", CODE),
            Refusal::rejected("jarm.token_in_response"),
            edit(J, edits::set("id_token", json!("a.b.c"))),
        ),
        response(
            &Wrong("jarm-code-with-line-break", "The code holds a line break.", CODE),
            Refusal::rejected("jarm.code_malformed"),
            edit(J, edits::set("code", json!("a\r\nx-evil: 1"))),
        ),
        response(
            &Wrong("jarm-code-null", "The code is null.", CODE),
            Refusal::rejected("jarm.claim_type"),
            edit(J, edits::set("code", json!(null))),
        ),
    ]
}

/// What a careful client must take.
fn taken_all() -> Vec<Module> {
    vec![
        taken(
            &Wrong(
                "jarm-ten-seconds-ahead",
                "The response's iat and nbf are ten seconds ahead, as of a clock that runs fast.",
                &["FAPI2-SP-5.3.2.1-13", "CLK-1"],
            ),
            all(vec![placed(J, "nbf", 10), placed(J, "iat", 10)]),
        )
        .timed(),
        taken(
            &Wrong(
                "jarm-expired-nine-seconds-ago",
                "The response expired nine seconds ago, within the leeway of ten.",
                &["CLK-1"],
            ),
            placed(J, "exp", -9),
        )
        .timed(),
        taken(
            &Wrong(
                "jarm-with-more-than-it-must",
                "The response's aud is an array of one, its typ is written out, a claim is unknown.",
                &["JWT-3.9", "JWT-3.11"],
            ),
            all(vec![
                edit(J, edits::set("aud", json!([CLIENT_ID]))),
                edit(J, edits::set("session_state", json!("anything"))),
                header(J, &json!({"typ": "application/JWT"})),
            ]),
        ),
        taken(
            &Wrong(
                "jarm-signed-by-second-key",
                "The response is signed by another key that the server publishes beside the first.",
                &["JWK-SEL", "FAPI2-SP-6.8"],
            ),
            signed_anew(J, |draft| draft.signed(&draft.header_text(), &draft.claims_text())),
        ),
        taken(
            &Wrong("jarm-without-typ", "The response's header has no typ.", &["JWT-3.11"]),
            header(J, &json!({"typ": null})),
        ),
    ]
}

/// A signed no is the authorization server's; of what it says, only a registered code goes on.
fn errors() -> Vec<Module> {
    const CLAUSES: &[&str] = &["OIDC-3.1.2.7", "OA-5.2"];
    let denied = |id, does, error: &'static str, told: &'static str| {
        let silence = Ending::Silence { after: Endpoint::Authorize, tolerated: &[Endpoint::Jwks] };
        let must = "tell the page the registered code and no more; no token request";
        let script = Module::new(id, does, must, CLAUSES, move |stage| Box::pin(deny(stage, told)));
        change(move |behaviour| behaviour.deny = Some(error.to_owned()))
            .throughout(script.reasons(&[told]).ending(silence))
    };
    vec![
        denied("jarm-access-denied", "The user says no.", "access_denied", "access_denied"),
        denied(
            "jarm-unknown-error",
            "The signed error is not a registered code but a script element.",
            "<script>alert(1)</script>",
            "other",
        ),
    ]
}

async fn deny(stage: &mut Stage, told: &str) -> Step {
    let response = stage.response().await?;
    let answer = stage.deliver(&response).await?;
    stage.expect_refusal("denied", &answer, 400, "authorization_error");
    if let Ok(body) = answer.json() {
        let detail = body.get("detailed_error").and_then(|detail| detail.as_str());
        let message = format!("detailed_error: {detail:?}, {told:?} expected");
        stage.check("detailed_error", &[], detail == Some(told), message);
    }
    let body = String::from_utf8_lossy(&answer.body);
    let repeated = body.contains("<script>") || body.contains("as asked");
    stage.check("nothing_repeated", &["OA-5.2"], !repeated, "no text of the server's is shown");
    stage.expect_no_session().await
}
