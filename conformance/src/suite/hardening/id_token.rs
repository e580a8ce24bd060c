//! ID tokens that must not be believed, and what comes along with them: whoever logs in by a bad one
//! is nobody, and its tokens are given up.

mod kinds;

use serde_json::json;

use super::{
    change::{Change, all, change, edit, header, placed, rewrite, signature, tamper},
    forge::{der_signature, duplicate_claim, duplicate_header, signed_anew},
    refusal::{Refusal, Wrong, taken, token_given_up},
};
use crate::{
    as_double::{Tamper, Target, edits},
    suite::{module::Module, world::CLIENT_ID},
};

const T: Target = Target::IdToken;

pub(super) fn modules() -> Vec<Module> {
    [claims(), times(), signatures(), strength(), taken_all(), kinds::modules()]
        .into_iter()
        .flatten()
        .collect()
}

fn row(
    id: &'static str,
    does: &'static str,
    clauses: &'static [&'static str],
    reason: &'static str,
    change: Change,
) -> Module {
    token_given_up(&Wrong(id, does, clauses), Refusal::wrong(reason), change)
}

fn claims() -> Vec<Module> {
    const SUBJECT: &[&str] = &["OIDC-3.1.3.3", "OIDC-5.7"];
    let subject = |id, does, reason, sub: serde_json::Value| {
        row(id, does, SUBJECT, reason, edit(T, edits::set("sub", sub)))
    };
    vec![
        row(
            "id-token-absent",
            "The token response has no ID token.",
            &["OIDC-3.1.3.3", "OIDC-16.11"],
            "id_token.missing",
            edit(Target::TokenResponse, edits::remove("id_token")),
        ),
        subject(
            "id-token-subject-empty",
            "The ID token is about nobody: sub is empty.",
            "id_token.subject_invalid",
            json!(""),
        ),
        subject(
            "id-token-subject-too-long",
            "The ID token's sub has 256 characters.",
            "id_token.subject_invalid",
            json!("a".repeat(256)),
        ),
        subject(
            "id-token-subject-as-number",
            "The ID token's sub is a number.",
            "id_token.claim_type",
            json!(7),
        ),
        subject(
            "id-token-subject-null",
            "The ID token's sub is null.",
            "id_token.claim_type",
            json!(null),
        ),
        row(
            "id-token-nonce-null",
            "The ID token's nonce is null.",
            &["OIDC-3.1.3.7-11", "OIDC-3.1.3.3"],
            "id_token.claim_type",
            edit(T, edits::set("nonce", json!(null))),
        ),
        row(
            "id-token-at-hash-of-another-token",
            "The ID token's at_hash is that of another access token.",
            &["OIDC-3.1.3.8"],
            "id_token.at_hash_mismatch",
            edit(T, edits::wrong("at_hash")),
        ),
        row(
            "id-token-for-another-azp",
            "The ID token's azp is another client.",
            &["OIDC-3.1.3.7-4/5"],
            "id_token.azp_mismatch",
            edit(T, edits::set("azp", json!("another-client"))),
        ),
        row(
            "id-token-for-two-with-azp",
            "The ID token's aud names another client beside ours; azp is ours.",
            &["OIDC-3.1.3.7-3", "OIDC-3.1.3.7-4/5"],
            "id_token.audience_untrusted",
            all(vec![
                edit(T, edits::set("aud", json!([CLIENT_ID, "another-client"]))),
                edit(T, edits::set("azp", json!(CLIENT_ID))),
            ]),
        ),
    ]
}

/// The clock stands still: a second counts.
fn times() -> Vec<Module> {
    let timed = |id, does, clauses, reason, change| row(id, does, clauses, reason, change).timed();
    vec![
        timed(
            "id-token-expired-ten-seconds-ago",
            "The ID token expired ten seconds ago, the first second beyond the leeway.",
            &["OIDC-3.1.3.7-9", "CLK-1"],
            "id_token.expired",
            placed(T, "exp", -10),
        ),
        timed(
            "id-token-from-the-next-minute",
            "The ID token's iat is 61 seconds ahead.",
            &["FAPI2-SP-5.3.2.1-13", "CLK-1"],
            "id_token.issued_in_future",
            placed(T, "iat", 61),
        ),
        timed(
            "id-token-not-yet-good",
            "The ID token's nbf is 61 seconds ahead.",
            &["FAPI2-SP-5.3.2.1-13", "CLK-1"],
            "id_token.not_yet_valid",
            placed(T, "nbf", 61),
        ),
        timed(
            "id-token-of-ten-minutes-ago",
            "The ID token was issued ten minutes and a second ago.",
            &["OIDC-3.1.3.7-10"],
            "id_token.issued_at_too_old",
            placed(T, "iat", -601),
        ),
    ]
}

fn signatures() -> Vec<Module> {
    const SIGNATURE: &[&str] = &["OIDC-3.1.3.7-6", "FAPI2-MS-5.6.2-1"];
    const ALG: &[&str] = &["OIDC-3.1.3.7-7/8", "FAPI2-SP-5.4.1-1.2", "JWT-3.1"];
    const STRICT: &[&str] = &["JWT-PARSE", "JWT-BIS-3.13/3.14"];
    vec![
        row(
            "id-token-signed-by-another-key",
            "The ID token names the right key and is signed by another.",
            SIGNATURE,
            "id_token.signature_invalid",
            tamper(T, Tamper::WrongKey),
        ),
        row(
            "id-token-signature-of-zeros",
            "The ID token's signature is 64 zeros.",
            &["JWT-3.4"],
            "id_token.signature_invalid",
            signature(T, |right| vec![0; right.len()]),
        ),
        row(
            "id-token-signature-as-der",
            "The ID token's right signature comes as DER.",
            &["JWT-3.4"],
            "id_token.signature_invalid",
            signature(T, der_signature),
        ),
        row(
            "id-token-hs256-keyed-with-jwk",
            "The ID token has a right MAC, keyed with the text of the server's public key.",
            ALG,
            "id_token.alg_not_allowed",
            signed_anew(T, |draft| draft.maced(draft.public_jwk().to_string().as_bytes())),
        ),
        row(
            "id-token-hs256-keyed-with-pem",
            "The ID token has a right MAC, keyed with the server's public key as PEM.",
            ALG,
            "id_token.alg_not_allowed",
            signed_anew(T, |draft| draft.maced(draft.public_pem().as_bytes())),
        ),
        row(
            "id-token-with-jku",
            "The ID token's header names a key set of its own (jku).",
            &["JWT-3.10"],
            "id_token.header_not_allowed",
            header(T, &json!({"jku": "https://127.0.0.1:1/jwks"})),
        ),
        row(
            "id-token-crit-unknown",
            "The ID token's header has a critical member that nobody knows.",
            &["JWT-PARSE"],
            "id_token.header_not_allowed",
            header(T, &json!({"crit": ["b64"], "b64": true})),
        ),
        row(
            "id-token-in-five-parts",
            "The ID token has the five parts of an encrypted one.",
            &["JWT-3.3", "OIDC-3.1.3.7-1"],
            "id_token.encrypted",
            rewrite(T, |_| "a.b.c.d.e".to_owned()),
        ),
        row(
            "id-token-claim-twice",
            "The rightly signed ID token has sub twice, first another's.",
            STRICT,
            "id_token.duplicate_member",
            duplicate_claim(T, "sub"),
        ),
        row(
            "id-token-header-member-twice",
            "The rightly signed ID token's header has typ twice.",
            STRICT,
            "id_token.duplicate_member",
            duplicate_header(T, "typ"),
        ),
    ]
}

/// How strongly and how recently the user was authenticated, where the configuration demands it.
fn strength() -> Vec<Module> {
    const ACR: &[&str] = &["OIDC-3.1.3.7-12", "FAPI1-ADV-5.2.3-3", "PAR-7.5"];
    const AGE: &[&str] = &["OIDC-3.1.3.7-13"];
    const LOGIN: &str = "[apps.web.login]\n";
    const DEMAND_ACR: &str =
        "[apps.web.login]\nacr_values = [\"urn:example:loa:3\"]\nrequire_acr = true\n";
    const DEMAND_AGE: &str = "[apps.web.login]\nmax_age = \"5m\"\n";
    vec![
        row(
            "id-token-without-acr",
            "A strong login was demanded; the ID token says nothing of it.",
            ACR,
            "id_token.acr_missing",
            edit(T, edits::remove("acr")),
        )
        .configured(LOGIN, DEMAND_ACR),
        row(
            "id-token-with-weaker-acr",
            "A strong login was demanded; the ID token tells of a weaker one.",
            ACR,
            "id_token.acr_mismatch",
            edit(T, edits::set("acr", json!("urn:example:loa:2"))),
        )
        .configured(LOGIN, DEMAND_ACR),
        taken(
            &Wrong("id-token-with-demanded-acr", "The login is as strong as was demanded.", ACR),
            change(|_| {}),
        )
        .configured(LOGIN, DEMAND_ACR),
        row(
            "id-token-without-auth-time",
            "A recent login was demanded; the ID token does not say when it was.",
            AGE,
            "id_token.auth_time_missing",
            edit(T, edits::remove("auth_time")),
        )
        .configured(LOGIN, DEMAND_AGE),
        row(
            "id-token-of-an-old-authentication",
            "A login within five minutes was demanded; the user's was eleven seconds earlier.",
            AGE,
            "id_token.auth_too_old",
            placed(T, "auth_time", -311),
        )
        .configured(LOGIN, DEMAND_AGE)
        .timed(),
        taken(
            &Wrong(
                "id-token-of-a-recent-authentication",
                "A login within five minutes was demanded; the user's was at their very end.",
                AGE,
            ),
            placed(T, "auth_time", -300),
        )
        .configured(LOGIN, DEMAND_AGE)
        .timed(),
        row(
            "id-token-of-an-authentication-to-come",
            "The ID token says that the user will be authenticated in 61 seconds.",
            AGE,
            "id_token.auth_time_in_future",
            placed(T, "auth_time", 61),
        )
        .timed(),
    ]
}

fn taken_all() -> Vec<Module> {
    vec![
        taken(
            &Wrong(
                "id-token-expired-nine-seconds-ago",
                "The ID token expired nine seconds ago, within the leeway of ten.",
                &["OIDC-3.1.3.7-9", "CLK-1"],
            ),
            placed(T, "exp", -9),
        )
        .timed(),
        taken(
            &Wrong(
                "id-token-ten-seconds-ahead",
                "The ID token's iat and nbf are ten seconds ahead.",
                &["FAPI2-SP-5.3.2.1-13", "CLK-1"],
            ),
            all(vec![placed(T, "nbf", 10), placed(T, "iat", 10)]),
        )
        .timed(),
        taken(
            &Wrong(
                "id-token-with-what-may-vary",
                "The ID token has no at_hash, an aud of one in an array, our azp, an unknown claim.",
                &["OIDC-3.1.3.8", "OIDC-3.1.3.7-3", "OIDC-3.1.3.7-4/5"],
            ),
            all(vec![
                edit(T, edits::remove("at_hash")),
                edit(T, edits::set("aud", json!([CLIENT_ID]))),
                edit(T, edits::set("azp", json!(CLIENT_ID))),
                edit(T, edits::set("state", json!("Brandenburg"))),
            ]),
        ),
        taken(
            &Wrong(
                "id-token-among-decoy-keys",
                "Before the right key the key set has five others of the same name.",
                &["FAPI2-SP-5.4.3", "JWK-SEL"],
            ),
            change(|behaviour| behaviour.decoy_keys = true).for_a_fresh_bff(),
        ),
    ]
}
