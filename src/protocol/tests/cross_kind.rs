//! JWT-3.12: a token of one kind never passes for another, even when the server itself signed it
//! for this client, with and without its `typ`.

use serde_json::{Value, json};

use super::*;

/// Every other kind of token a server might sign for us, with the `typ` it should carry.
fn foreign_kinds() -> Vec<(&'static str, &'static str, Value)> {
    let base = json!({"iss": ISSUER, "aud": CLIENT, "exp": NOW + 60, "iat": NOW});
    let kind = |extra: Value| {
        object(&extra)
            .iter()
            .fold(base.clone(), |claims, (name, value)| with(claims, name, value.clone()))
    };
    let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    vec![
        (
            "logout token",
            "logout+jwt",
            kind(json!({"sub": "alice", "sid": "s", "jti": "1", "events": events})),
        ),
        (
            "security event",
            "secevent+jwt",
            kind(json!({"sub": "alice", "jti": "1", "events": events})),
        ),
        (
            "access token",
            "at+jwt",
            kind(json!({"sub": "alice", "client_id": CLIENT, "scope": "openid", "jti": "1"})),
        ),
        (
            "request object",
            "oauth-authz-req+jwt",
            kind(
                json!({"client_id": CLIENT, "response_type": "code", "state": STATE, "nonce": NONCE}),
            ),
        ),
        ("client assertion", "client-authentication+jwt", kind(json!({"sub": CLIENT, "jti": "1"}))),
        (
            "DPoP proof",
            "dpop+jwt",
            kind(json!({"htm": "POST", "htu": "https://as.example/token", "jti": "1"})),
        ),
        (
            "introspection answer",
            "token-introspection+jwt",
            kind(json!({"token_introspection": {"active": true, "sub": "alice"}})),
        ),
    ]
}

#[test]
fn no_other_kind_is_a_jarm_response() {
    for (kind, typ, claims) in foreign_kinds() {
        let typed = token_by(&ES256, JwsAlg::Es256, Some(typ), &claims);
        assert_eq!(jarm::refused(&typed), "jarm.typ_not_allowed", "{kind}");
        let reason = jarm::refused(&token(&claims));
        assert!(matches!(reason, "jarm.state_missing" | "jarm.code_missing"), "{kind}: {reason}");
        // Even with everything a response needs, the type alone gives it away.
        let dressed = with(with(claims, "state", STATE), "code", "c");
        let typed = token_by(&ES256, JwsAlg::Es256, Some(typ), &dressed);
        assert_eq!(jarm::refused(&typed), "jarm.typ_not_allowed", "{kind}");
    }
}

#[test]
fn an_id_token_is_no_jarm_response() {
    assert_eq!(jarm::refused(&token(&id_token::good())), "jarm.state_missing");
}

#[test]
fn no_other_kind_is_an_id_token() {
    for (kind, typ, claims) in foreign_kinds() {
        let typed = token_by(&ES256, JwsAlg::Es256, Some(typ), &claims);
        assert_eq!(id_token::refused(&typed), "id_token.typ_not_allowed", "{kind}");
        let reason = id_token::refused(&token(&claims));
        let told = matches!(reason, "id_token.kind_mismatch" | "id_token.nonce_missing");
        assert!(told, "{kind}: {reason}");
        let dressed = with(with(claims, "sub", "alice"), "nonce", NONCE);
        let typed = token_by(&ES256, JwsAlg::Es256, Some(typ), &dressed);
        assert_eq!(id_token::refused(&typed), "id_token.typ_not_allowed", "{kind}");
    }
}

/// Each member alone gives the token away, however complete it is as an ID token.
#[test]
fn one_foreign_member_is_enough() {
    for name in ["code_challenge", "events", "htm", "htu", "response_type", "token_introspection"] {
        let claims = with(id_token::good(), name, Value::Null);
        assert_eq!(id_token::refused(&token(&claims)), "id_token.kind_mismatch", "{name}");
    }
}

/// At a refresh `nonce` may be absent, so an untyped logout token has all an ID token needs but
/// for the member that gives it away.
#[test]
fn an_untyped_logout_token_is_no_refreshed_id_token() {
    let original = crate::protocol::verify_id_token(
        Some(&token(&id_token::good())),
        &KEYS,
        NONCE,
        &id_token::expected(),
    )
    .unwrap();
    let (_, _, claims) = foreign_kinds().swap_remove(0);
    let refused = crate::protocol::verify_refreshed_id_token(
        &token(&claims),
        &KEYS,
        original.continuity(),
        &id_token::expected(),
    );
    assert_eq!(refused.unwrap_err().reason(), "id_token.kind_mismatch");
}

#[test]
fn a_jarm_response_is_no_id_token() {
    assert_eq!(id_token::refused(&token(&jarm::good())), "id_token.subject_missing");
}
