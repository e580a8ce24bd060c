//! What the metadata document can get wrong. Without one that holds, nothing is sent anywhere.

use serde_json::{Value, json};

use super::super::{
    change::{Change, all, edit, fault},
    refusal::{Refusal, Wrong, refuse_start, succeed, taken},
};
use crate::{
    as_double::{Endpoint, Fault, Target, edits},
    suite::{
        module::{Module, Step},
        stage::Stage,
    },
};

const M: Target = Target::Metadata;

pub(super) fn modules() -> Vec<Module> {
    let heals = Module::new(
        "metadata-heals",
        "The metadata cannot be had when the BFF starts, and a second later it can.",
        "refuse until then; then log the user in, without a restart",
        &["META-6.2", "META-3.2"],
        |stage| Box::pin(heal(stage)),
    )
    .reasons(&["as.unavailable"])
    .timed();
    let down = fault(Endpoint::Metadata, Fault::status(500));
    let mut all = vec![down.throughout(heals)];
    all.extend(issuers());
    all.extend(endpoints());
    all.extend(capabilities());
    all.extend(taken_all());
    all
}

/// A document that does not hold.
pub(super) fn refused(wrong: &Wrong<'_>, refusal: Refusal, change: Change) -> Module {
    let Wrong(id, does, clauses) = wrong;
    let must = "start no login; call no endpoint of the document";
    let module = Module::new(id, does, must, clauses, move |stage| {
        Box::pin(async move {
            refuse_start(stage, refusal).await?;
            let events = stage.world.double.events();
            let called = events.iter().find(|event| event.endpoint != Endpoint::Metadata);
            let called = called.map_or("nothing", |event| event.endpoint.name());
            let message = format!("called besides the metadata: {called}");
            stage.check("nothing_called", &["META-3.3"], called == "nothing", message);
            Ok(())
        })
    })
    .reasons(&[refusal.reason]);
    change.throughout(module)
}

fn row(id: &str, does: &str, clauses: &[&'static str], reason: &'static str, c: Change) -> Module {
    refused(&Wrong(id, does, clauses), Refusal::wrong(reason), c)
}

fn issuers() -> Vec<Module> {
    const CLAUSES: &[&str] = &["META-3.3", "FAPI2-SP-5.3.3.1-11"];
    let change = |id, does, change: fn(&str) -> String| {
        let edited = edit(M, move |document| {
            let issuer = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
            let changed = change(issuer);
            document.insert("issuer".to_owned(), changed.into());
        });
        row(id, does, CLAUSES, "metadata.issuer_mismatch", edited)
    };
    vec![
        change("metadata-issuer-without-slash", "The issuer lacks its last slash.", |issuer| {
            issuer.trim_end_matches('/').to_owned()
        }),
        change("metadata-issuer-in-capitals", "The issuer's host is in capitals.", |issuer| {
            issuer.replace("localhost", "LOCALHOST")
        }),
        change("metadata-of-another-issuer", "The document is another issuer's.", |_| {
            "https://evil.example/".to_owned()
        }),
        row(
            "metadata-without-issuer",
            "The document names no issuer.",
            CLAUSES,
            "metadata.issuer_missing",
            edit(M, edits::remove("issuer")),
        ),
        row(
            "metadata-member-twice",
            "The document has its issuer twice.",
            CLAUSES,
            "metadata.duplicate_member",
            fault(
                Endpoint::Metadata,
                super::answer(
                    200,
                    "application/json",
                    r#"{"issuer":"https://evil.example/","issuer":"https://as.localhost/"}"#,
                ),
            ),
        ),
    ]
}

fn endpoints() -> Vec<Module> {
    const TLS: &[&str] = &["META-2", "FAPI2-SP-5.2.1-1/2"];
    let over_http = |id, does, member: &'static str| {
        let change = edit(M, edits::set(member, json!("http://as.localhost/x")));
        row(id, does, TLS, "metadata.endpoint_not_https", change)
    };
    let missing = |id, does, clauses, member: &'static str| {
        row(id, does, clauses, "metadata.endpoint_missing", edit(M, edits::remove(member)))
    };
    let not_allowed = |id, does, clauses, member: &'static str, suffix: &str| {
        let change = edit(M, edits::append(member, suffix));
        row(id, does, clauses, "metadata.endpoint_not_allowed", change)
    };
    vec![
        over_http(
            "metadata-token-endpoint-over-http",
            "The token endpoint is without TLS.",
            "token_endpoint",
        ),
        over_http("metadata-keys-over-http", "The key set is without TLS.", "jwks_uri"),
        over_http(
            "metadata-authorization-over-http",
            "The authorization endpoint is without TLS.",
            "authorization_endpoint",
        ),
        row(
            "metadata-alias-over-http",
            "The mutual-TLS alias of the token endpoint is without TLS.",
            TLS,
            "metadata.endpoint_not_https",
            edit(M, |document| {
                let aliases = document.get_mut("mtls_endpoint_aliases");
                if let Some(aliases) = aliases.and_then(Value::as_object_mut) {
                    let url = json!("http://as.localhost/token");
                    aliases.insert("token_endpoint".to_owned(), url);
                }
            }),
        ),
        missing(
            "metadata-without-par",
            "The server has no pushed authorization requests.",
            &["FAPI2-SP-5.3.3.2-2", "PAR-5"],
            "pushed_authorization_request_endpoint",
        ),
        missing("metadata-without-keys", "The server has no key set.", &["META-2"], "jwks_uri"),
        not_allowed(
            "metadata-endpoint-with-fragment",
            "The token endpoint has a fragment.",
            &["META-2"],
            "token_endpoint",
            "#fragment",
        ),
        not_allowed(
            "metadata-endpoint-with-parameters",
            "The authorization endpoint brings a scope of its own along.",
            &["FAPI2-SP-5.3.3.2-6"],
            "authorization_endpoint",
            "?scope=admin",
        ),
    ]
}

fn capabilities() -> Vec<Module> {
    let set = |id, does, clauses, member: &'static str, value: Value, reason| {
        row(id, does, clauses, reason, edit(M, edits::set(member, value)))
    };
    vec![
        set(
            "metadata-without-s256",
            "The server knows only plain code challenges.",
            &["FAPI2-SP-5.3.3.2-3", "PKCE-9700-2.1.1"],
            "code_challenge_methods_supported",
            json!(["plain"]),
            "metadata.s256_missing",
        ),
        row(
            "metadata-silent-on-pkce",
            "The server does not say that it knows code challenges.",
            &["FAPI2-SP-5.3.3.2-3", "PKCE-9700-2.1.1"],
            "metadata.s256_missing",
            edit(M, edits::remove("code_challenge_methods_supported")),
        ),
        set(
            "metadata-without-bound-tokens",
            "The server does not bind tokens to certificates.",
            &["MTLS-3.3/3.4", "FAPI2-SP-5.3.3.1-1"],
            "tls_client_certificate_bound_access_tokens",
            json!(false),
            "metadata.certificate_binding_missing",
        ),
        set(
            "metadata-without-our-algorithm",
            "The server takes no client assertion signed as ours are.",
            &["PKJ-alg"],
            "token_endpoint_auth_signing_alg_values_supported",
            json!(["RS256"]),
            "metadata.algorithm_missing",
        ),
        set(
            "metadata-without-allowed-algorithm",
            "The server signs responses as no FAPI profile allows.",
            &["FAPI2-SP-5.4.1-1.2", "JARM-3"],
            "authorization_signing_alg_values_supported",
            json!(["RS256", "none"]),
            "metadata.algorithm_missing",
        ),
        set(
            "metadata-without-signed-responses",
            "The server knows only plain responses.",
            &["FAPI2-MS-5.4.2-1"],
            "response_modes_supported",
            json!(["query", "fragment"]),
            "metadata.response_mode_missing",
        ),
        set(
            "metadata-with-secrets-only",
            "The server knows clients by their secrets only.",
            &["FAPI2-SP-5.3.3.1-2"],
            "token_endpoint_auth_methods_supported",
            json!(["client_secret_basic"]),
            "metadata.client_auth_missing",
        ),
    ]
}

fn taken_all() -> Vec<Module> {
    vec![taken(
        &Wrong(
            "metadata-with-what-may-vary",
            "The document is silent where it may be, and has members that nobody knows.",
            &["META-2"],
        ),
        all(vec![
            edit(M, edits::remove("response_modes_supported")),
            edit(M, edits::remove("authorization_signing_alg_values_supported")),
            edit(M, edits::remove("end_session_endpoint")),
            edit(M, edits::set("signed_metadata", json!("a.b.c"))),
            edit(M, edits::set("x-unknown", json!({"any": ["thing"]}))),
        ]),
    )]
}

async fn heal(stage: &mut Stage) -> Step {
    refuse_start(stage, Refusal::outage("as.unavailable", "2")).await?;
    stage.world.double.behave(|behaviour| behaviour.heal(Endpoint::Metadata));
    stage.world.advance(1)?;
    succeed(stage).await
}
