//! What only the token endpoint can get wrong.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};

use super::super::{
    change::{Change, all, edit, fault},
    refusal::{Refusal, Wrong, taken, token, token_given_up},
};
use crate::{
    as_double::{Endpoint, Fault, Target, edits},
    suite::{
        module::{Halt, Module, Step},
        stage::Stage,
    },
};

const R: Target = Target::TokenResponse;

pub(super) fn modules() -> Vec<Module> {
    [errors(), members(), scopes(), bindings(), taken_all()].into_iter().flatten().collect()
}

fn errors() -> Vec<Module> {
    let description = json!({"error": "invalid_request", "error_description": "<script>alert(1)</script>",
        "error_uri": "https://evil.example/"});
    let row = |id, does, refusal, rule: Fault| {
        token(&Wrong(id, does, &["OA-5.2"]), refusal, fault(Endpoint::Token, rule))
    };
    let wrong = Refusal::wrong("as.rejected");
    vec![
        row(
            "token-refused-in-markup",
            "The code is refused with a script element as description.",
            wrong,
            Fault::json(400, &description),
        ),
        row(
            "token-refused-for-the-client",
            "The code is refused with invalid_client.",
            wrong,
            Fault::oauth_error(401, "invalid_client"),
        ),
        row(
            "token-code-too-late",
            "The code is refused with invalid_grant: it came too late.",
            Refusal::rejected("as.rejected"),
            Fault::oauth_error(400, "invalid_grant"),
        ),
        row(
            "token-answers-201",
            "The token answer is right but for its status, 201.",
            Refusal::wrong("as_answer.status_unexpected"),
            Fault::json(201, &json!({"access_token": "x", "token_type": "Bearer"})),
        ),
        row(
            "token-member-twice",
            "The token answer has access_token twice.",
            Refusal::wrong("as_answer.duplicate_member"),
            super::answer(
                200,
                "application/json",
                r#"{"access_token":"x","access_token":"y","token_type":"Bearer"}"#,
            ),
        ),
    ]
}

fn members() -> Vec<Module> {
    let row = |id, does, clauses, reason, change: Change| {
        token(&Wrong(id, does, clauses), Refusal::wrong(reason), change)
    };
    let kind = |id, does, kind: &str| {
        let change = edit(R, edits::set("token_type", json!(kind)));
        let wrong = Wrong(id, does, &["OA-5.1", "DPOP-5"]);
        token_given_up(&wrong, Refusal::wrong("token.type_mismatch"), change)
    };
    let text = |id, does, text: Value, reason| {
        row(id, does, &["OA-5.1"], reason, edit(R, edits::set("access_token", text)))
    };
    vec![
        kind("token-of-type-dpop", "The token is of type DPoP, which nobody asked for.", "DPoP"),
        kind("token-of-type-mac", "The token is of type mac.", "mac"),
        kind("token-of-no-type", "The token's type is empty.", ""),
        row(
            "token-type-absent",
            "The token answer has no token_type.",
            &["OA-5.1"],
            "as_answer.member_missing",
            edit(R, edits::remove("token_type")),
        ),
        row(
            "token-absent",
            "The token answer has no access_token.",
            &["OA-5.1"],
            "as_answer.member_missing",
            edit(R, edits::remove("access_token")),
        ),
        text(
            "token-without-text",
            "The access token is empty.",
            json!(""),
            "as_answer.member_value",
        ),
        text("token-as-number", "The access token is a number.", json!(7), "as_answer.member_type"),
        text(
            "token-with-line-break",
            "The access token holds a line break and a header of its own.",
            json!("a\r\nx-evil: 1"),
            "as_answer.member_value",
        ),
        row(
            "token-refresh-token-null",
            "The refresh token is null.",
            &["OA-5.1"],
            "as_answer.member_type",
            edit(R, edits::set("refresh_token", json!(null))),
        ),
    ]
}

/// More than was asked for, or nothing that can be read: the tokens were issued, so they are given up.
fn scopes() -> Vec<Module> {
    const CLAUSES: &[&str] = &["FAPI1-BASE-5.2.3-10", "FAPI2-SP-5.3.3.1-13", "REV-2.1"];
    let scope = |id, does, reason, suffix| {
        let change = edit(R, edits::append("scope", suffix));
        token_given_up(&Wrong(id, does, CLAUSES), Refusal::wrong(reason), change)
    };
    vec![
        scope(
            "token-scope-beyond-request",
            "More scope is granted than was asked for.",
            "token.scope_beyond_request",
            " admin",
        ),
        scope(
            "token-scope-malformed",
            "The granted scope holds a quotation mark.",
            "token.scope_malformed",
            " \"",
        ),
    ]
}

/// A token that can be read says what it is bound to (RFC 8705 §3.1).
fn bindings() -> Vec<Module> {
    const CLAUSES: &[&str] = &["FAPI2-SP-5.3.3.1-1", "MTLS-3"];
    let row = |id, does, claims: Value, reason| {
        let change = edit(R, edits::set("access_token", json!(readable(&claims))));
        token_given_up(&Wrong(id, does, CLAUSES), Refusal::wrong(reason), change)
    };
    let bound = Module::new(
        "token-bound-to-our-certificate",
        "The access token is a JWT that says it is bound to our certificate.",
        "log the user in",
        CLAUSES,
        |stage| Box::pin(bound_token(stage)),
    )
    .reasons(&[]);
    vec![
        row(
            "token-bound-to-nothing",
            "The access token is a JWT without cnf: whoever finds it may use it.",
            json!({"sub": "alice"}),
            "token.unbound",
        ),
        row(
            "token-bound-to-another-certificate",
            "The access token is a JWT bound to another certificate.",
            json!({"cnf": {"x5t#S256": "A".repeat(43)}}),
            "token.binding_mismatch",
        ),
        row(
            "token-bound-to-a-key",
            "The access token is a JWT bound to a key of somebody's (jkt).",
            json!({"cnf": {"jkt": "A".repeat(43)}}),
            "token.unbound",
        ),
        bound,
    ]
}

fn readable(claims: &Value) -> String {
    let part = |value: &Value| B64.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "ES256", "typ": "at+jwt"})), part(claims))
}

async fn bound_token(stage: &mut Stage) -> Step {
    let thumbprint = stage.world.pki.client_tls.thumbprint();
    let thumbprint = thumbprint.map_err(|fault| Halt::Trouble(fault.to_string()))?;
    let token = readable(&json!({"cnf": {"x5t#S256": thumbprint}}));
    stage.world.double.behave(|behaviour| {
        behaviour.edit(R, edits::set("access_token", json!(token)));
        // It is the hash of the token that was there before.
        behaviour.edit(Target::IdToken, edits::remove("at_hash"));
    });
    stage.login().await
}

fn taken_all() -> Vec<Module> {
    vec![taken(
        &Wrong(
            "token-answer-with-what-may-vary",
            "The token answer has neither scope nor expires_in, a type in capitals, more members.",
            &["OA-5.1", "DPOP-5"],
        ),
        all(vec![
            edit(R, edits::remove("scope")),
            edit(R, edits::remove("expires_in")),
            edit(R, edits::set("token_type", json!("BEARER"))),
            edit(R, edits::set("session_state", json!({"any": "thing"}))),
        ]),
    )]
}
