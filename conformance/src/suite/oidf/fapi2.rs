//! FAPI 2.0: the plans of the Security Profile and of Message Signing, which share their modules.

use super::{Over, ROW, Row, always, entries, oidc, scheme_lacks, within};
use crate::{
    as_double::{
        ClientAuth, Conduct, Constraint, ResponseForm,
        Target::{IdToken, Jarm},
    },
    suite::{
        client::Client,
        ecosystem::{Scheme, renewed_twice},
        mutation::Mutation as M,
        plan::{Entry, Parameter, Plan, Variant, value},
    },
};

const PREFIX: &str = "fapi2-security-profile-final-client-test-";

const AUTH: Parameter = Parameter::free("client_auth_type", &["private_key_jwt", "mtls"]);
const CONSTRAIN: Parameter = Parameter::free("sender_constrain", &["mtls", "dpop"]);
const CLIENT: Parameter = Parameter::free("fapi_client_type", &["oidc", "plain_oauth"]);
const REQUEST: Parameter = Parameter::free("authorization_request_type", &["simple", "rar"]);

/// `fapi2-security-profile-final-client-test-plan`.
pub(super) fn security_profile() -> Plan {
    Plan {
        id: "fapi2-security-profile-final-client-test-plan",
        title: "FAPI 2.0 Security Profile, client",
        parameters: vec![
            AUTH,
            CONSTRAIN,
            CLIENT,
            Parameter::free(
                "fapi_profile",
                &[
                    "plain_fapi",
                    "openbanking_uk",
                    "consumerdataright_au",
                    "fapi_client_credentials_grant",
                ],
            ),
            REQUEST,
            Parameter::pinned("fapi_request_method", &["unsigned"]),
            Parameter::pinned("fapi_response_mode", &["plain_response"]),
        ],
        possible: always,
        lacks,
        by_default,
        certification: |variant| {
            Some(if oidc(variant) {
                "FAPI2SP RP OpenID Connect".to_owned()
            } else {
                format!("FAPI2SP RP {}", methods(variant))
            })
        },
        modules,
    }
}

/// `fapi2-message-signing-final-client-test-plan`.
pub(super) fn message_signing() -> Plan {
    Plan {
        id: "fapi2-message-signing-final-client-test-plan",
        title: "FAPI 2.0 Message Signing, client",
        parameters: vec![
            AUTH,
            CONSTRAIN,
            CLIENT,
            Parameter::free(
                "fapi_profile",
                &[
                    "plain_fapi",
                    "openbanking_uk",
                    "consumerdataright_au",
                    "openbanking_brazil",
                    "connectid_au",
                    "cbuae",
                    "ksa",
                ],
            ),
            REQUEST,
            Parameter::free("fapi_request_method", &["signed_non_repudiation", "unsigned"]),
            Parameter::free("fapi_response_mode", &["jarm", "plain_response"]),
        ],
        possible: |variant| {
            value(variant, "fapi_request_method") != "unsigned"
                || value(variant, "fapi_response_mode") != "plain_response"
        },
        lacks,
        by_default,
        certification: |variant| {
            let mut names = Vec::new();
            if value(variant, "fapi_request_method") == "signed_non_repudiation" {
                names.push("FAPI2MS RP JAR");
            }
            if jarm(variant) {
                names.push("FAPI2MS RP JARM");
            }
            Some(format!("{} ({})", names.join(", "), methods(variant)))
        },
        modules,
    }
}

fn modules(variant: &Variant) -> Vec<Entry> {
    if value(variant, "fapi_profile") == "fapi_client_credentials_grant" {
        // Nobody logs in: what is left is getting a token and using it.
        const LEFT: [&str; 3] =
            ["happy-path", "token-type-case-insensitivity", "happy-path-no-dpop-nonce"];
        let mut entries = entries(PREFIX, ROWS, variant, &client(variant));
        entries.retain(|entry| LEFT.iter().any(|id| entry.id() == format!("{PREFIX}{id}")));
        return entries;
    }
    let client = client(variant);
    let mut all = entries(PREFIX, ROWS, variant, &client);
    all.extend(entries("fapi2-security-profile-final-client-", ECOSYSTEM_ROWS, variant, &client));
    all
}

/// The client that a variant calls for.
fn client(variant: &Variant) -> Client {
    let is = |name: &str, wanted: &str| value(variant, name) == wanted;
    let conduct = Conduct {
        signed_requests: is("fapi_request_method", "signed_non_repudiation"),
        response: if jarm(variant) { ResponseForm::Jarm } else { ResponseForm::Plain },
        openid: oidc(variant),
        client_auth: if is("client_auth_type", "mtls") {
            ClientAuth::TlsClientAuth
        } else {
            ClientAuth::PrivateKeyJwt
        },
        constraint: if dpop(variant) { Constraint::Dpop } else { Constraint::Mtls },
        ..Conduct::security_profile()
    };
    let details = is("authorization_request_type", "rar");
    within(Client { details, ..Client::of(conduct) }, value(variant, "fapi_profile"))
}

/// Rich authorization requests double the number of variants and change one parameter in each, as
/// national schemes do: by default each is played in one.
fn by_default(variant: &Variant) -> bool {
    let usual = [
        ("client_auth_type", "private_key_jwt"),
        ("sender_constrain", "mtls"),
        ("fapi_client_type", "oidc"),
    ];
    let is_usual = usual.iter().all(|(name, wanted)| value(variant, name) == *wanted);
    let signed = value(variant, "fapi_request_method") == "signed_non_repudiation";
    let rar = value(variant, "authorization_request_type") == "rar";
    let scheme = Scheme::of(value(variant, "fapi_profile")).is_some();
    (!rar && !scheme) || (rar != scheme && is_usual && signed == jarm(variant))
}

fn ecosystem(variant: &Variant) -> bool {
    value(variant, "fapi_profile") != "plain_fapi"
}

fn with_intents(variant: &Variant) -> bool {
    value(variant, "fapi_profile") == "openbanking_uk"
}

fn without_intents(variant: &Variant) -> bool {
    value(variant, "fapi_profile") == "consumerdataright_au"
}

fn methods(variant: &Variant) -> String {
    let auth = if value(variant, "client_auth_type") == "mtls" { "MTLS" } else { "private key" };
    let constrain = if dpop(variant) { "DPoP" } else { "MTLS" };
    format!("{auth} + {constrain}")
}

fn lacks(variant: &Variant) -> Vec<&'static str> {
    let is = |name: &str, wanted: &str| value(variant, name) == wanted;
    let mut lacks = Vec::new();
    if is("fapi_profile", "fapi_client_credentials_grant") {
        lacks.push("logins without a user (the harness does not play them; the product has client_credentials)");
    } else {
        lacks.extend(scheme_lacks(value(variant, "fapi_profile"), &client(variant)));
    }
    lacks
}

fn dpop(variant: &Variant) -> bool {
    value(variant, "sender_constrain") == "dpop"
}

fn jarm(variant: &Variant) -> bool {
    value(variant, "fapi_response_mode") == "jarm"
}

fn plain(variant: &Variant) -> bool {
    !jarm(variant)
}

const STOP_AT_ID_TOKEN: &str = "stop: no userinfo, no accounts, no second token request";
const STOP_AT_RESPONSE: &str = "stop: no token request";

static ROWS: &[Row] = &[
    Row {
        suffix: "happy-path",
        does: "Everything is right.",
        must: "log in and call the accounts endpoint",
        clauses: &[
            "FAPI2-SP-5.3.3.1-1",
            "FAPI2-SP-5.3.3.1-2",
            "FAPI2-SP-5.3.3.1-5",
            "FAPI2-SP-5.3.3.1-7",
            "FAPI2-SP-5.3.3.2-1",
            "FAPI2-SP-5.3.3.2-2",
            "FAPI2-SP-5.3.3.2-3",
            "FAPI2-SP-5.3.3.2-6",
            "FAPI2-MS-5.3.2-1",
            "FAPI2-MS-5.3.2-2",
            "FAPI2-MS-5.3.2-3/4",
            "FAPI2-MS-5.3.2-5",
            "FAPI2-MS-5.4.2-1",
            "PKJ-3-iss",
            "PKJ-10070-4-aud",
            "PKJ-9-jti",
            "MTLS-3",
            "MTLS-5",
            "PAR-2",
            "PAR-2.1",
        ],
        ..ROW
    },
    Row {
        suffix: "discovery-issuer-mismatch",
        does: "The metadata's issuer is the right one with INVALID appended.",
        must: "stop after discovery",
        mutation: M::IssuerInMetadata,
        over: Over::Metadata,
        reasons: &["metadata.issuer_mismatch"],
        clauses: &["FAPI2-SP-5.3.3.1-11", "META-3.3"],
        ..ROW
    },
    Row {
        suffix: "invalid-iss",
        does: "The ID token's iss is wrong.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::Wrong(IdToken, "iss"),
        over: Over::TokenResponse,
        reasons: &["id_token.issuer_mismatch"],
        clauses: &["OIDC-3.1.3.7-2"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-aud",
        does: "The ID token's aud is wrong.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::Wrong(IdToken, "aud"),
        over: Over::TokenResponse,
        reasons: &["id_token.audience_mismatch"],
        clauses: &["OIDC-3.1.3.7-3", "JWT-3.9"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-secondary-aud",
        does: "The ID token's aud names the client and another one, without azp.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::SecondAudience(IdToken),
        over: Over::TokenResponse,
        reasons: &["id_token.audience_untrusted"],
        clauses: &["OIDC-3.1.3.7-3", "OIDC-3.1.3.7-4/5"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-null-alg",
        does: "The ID token is unsecured (alg none).",
        must: STOP_AT_ID_TOKEN,
        mutation: M::AlgNone(IdToken),
        over: Over::TokenResponse,
        reasons: &["id_token.alg_not_allowed"],
        clauses: &["FAPI2-SP-5.4.1-1.3", "JWT-3.1"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-alternate-alg",
        does: "The ID token is signed with RS256 by a key that is really published.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::AlternateAlg(IdToken),
        over: Over::TokenResponse,
        reasons: &["id_token.alg_not_allowed"],
        clauses: &["FAPI2-SP-5.4.1-1.2", "OIDC-3.1.3.7-7/8", "JWT-3.1"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-expired-exp",
        does: "The ID token expired six minutes ago.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::Expired(IdToken),
        over: Over::TokenResponse,
        reasons: &["id_token.expired"],
        clauses: &["OIDC-3.1.3.7-9"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-missing-exp",
        does: "The ID token has no exp.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::Absent(IdToken, "exp"),
        over: Over::TokenResponse,
        reasons: &["id_token.expiry_missing"],
        clauses: &["OIDC-3.1.3.3"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-missing-aud",
        does: "The ID token has no aud.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::Absent(IdToken, "aud"),
        over: Over::TokenResponse,
        reasons: &["id_token.audience_missing"],
        clauses: &["OIDC-3.1.3.3", "JWT-3.9"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-missing-iss",
        does: "The ID token has no iss.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::Absent(IdToken, "iss"),
        over: Over::TokenResponse,
        reasons: &["id_token.issuer_missing"],
        clauses: &["OIDC-3.1.3.3"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "valid-aud-as-array",
        does: "The ID token's aud is an array with the client alone in it.",
        must: "accept it and call the accounts endpoint",
        mutation: M::AudienceAsArray(IdToken),
        clauses: &["OIDC-3.1.3.7-3"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-nonce",
        does: "The ID token's nonce is wrong.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::Wrong(IdToken, "nonce"),
        over: Over::TokenResponse,
        reasons: &["id_token.nonce_mismatch"],
        clauses: &["OIDC-3.1.3.7-11", "BCP-2.1.1"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-missing-nonce",
        does: "The ID token has no nonce.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::Absent(IdToken, "nonce"),
        over: Over::TokenResponse,
        reasons: &["id_token.nonce_missing"],
        clauses: &["OIDC-3.1.3.7-11", "BCP-2.1.1"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "invalid-authorization-response-iss",
        does: "The iss parameter of the authorization response is wrong.",
        must: STOP_AT_RESPONSE,
        mutation: M::Wrong(Jarm, "iss"),
        over: Over::Response,
        reasons: &["response.issuer_mismatch"],
        clauses: &["FAPI2-SP-5.3.3.2-5", "ISS-2.4-1"],
        when: plain,
        ..ROW
    },
    Row {
        suffix: "remove-authorization-response-iss",
        does: "The authorization response has no iss parameter.",
        must: STOP_AT_RESPONSE,
        mutation: M::Absent(Jarm, "iss"),
        over: Over::Response,
        reasons: &["response.issuer_missing"],
        clauses: &["FAPI2-SP-5.3.3.2-5", "ISS-2.4-2"],
        when: plain,
        ..ROW
    },
    Row {
        suffix: "ensure-authorization-response-with-invalid-state-fails",
        does: "The authorization response's state is wrong.",
        must: STOP_AT_RESPONSE,
        mutation: M::Wrong(Jarm, "state"),
        over: Over::Response,
        reasons: &["transaction.missing", "jarm.state_mismatch"],
        clauses: &["OA-10.12"],
        when: jarm,
        ..ROW
    },
    Row {
        suffix: "ensure-authorization-response-with-invalid-state-fails",
        does: "The authorization response's state is wrong.",
        must: STOP_AT_RESPONSE,
        mutation: M::Wrong(Jarm, "state"),
        over: Over::Response,
        reasons: &["transaction.missing", "response.state_mismatch"],
        clauses: &["OA-10.12"],
        when: plain,
        ..ROW
    },
    Row {
        suffix: "ensure-authorization-response-with-invalid-missing-state-fails",
        does: "The authorization response has no state.",
        must: STOP_AT_RESPONSE,
        mutation: M::Absent(Jarm, "state"),
        over: Over::Response,
        reasons: &["jarm.state_missing"],
        clauses: &["OA-10.12"],
        when: jarm,
        ..ROW
    },
    Row {
        suffix: "ensure-authorization-response-with-invalid-missing-state-fails",
        does: "The authorization response has no state.",
        must: STOP_AT_RESPONSE,
        mutation: M::Absent(Jarm, "state"),
        over: Over::Response,
        reasons: &["response.state_missing"],
        clauses: &["OA-10.12"],
        when: plain,
        ..ROW
    },
    Row {
        suffix: "token-endpoint-response-without-expires_in",
        does: "The token response has no expires_in.",
        must: "accept it and call the accounts endpoint",
        mutation: M::TokenResponseWithout(&["expires_in"]),
        clauses: &["OA-5.1"],
        ..ROW
    },
    Row {
        suffix: "token-type-case-insensitivity",
        does: "Every letter of token_type has its case flipped.",
        must: "accept it and call the accounts endpoint",
        mutation: M::TokenTypeCase,
        clauses: &["OA-5.1"],
        ..ROW
    },
    Row {
        suffix: "rs-dpop-auth-scheme-case-insensitivity",
        does: "The resource server's nonce challenge spells its scheme dPoP.",
        must: "take the nonce and call again",
        mutation: M::DpopSchemeCase,
        clauses: &["DPOP-7.1", "DPOP-9"],
        when: dpop,
        ..ROW
    },
    Row {
        suffix: "happy-path-no-dpop-nonce",
        does: "Everything is right; no DPoP nonce is demanded.",
        must: "log in and call the accounts endpoint",
        mutation: M::NoDpopNonce,
        clauses: &["DPOP-4.2-c"],
        when: dpop,
        ..ROW
    },
    Row {
        suffix: "ensure-jarm-without-iss-fails",
        does: "The signed response has no iss.",
        must: STOP_AT_RESPONSE,
        mutation: M::Absent(Jarm, "iss"),
        over: Over::Response,
        reasons: &["jarm.issuer_missing"],
        clauses: &["FAPI2-MS-5.4.2-2", "JARM-2.1", "JARM-2.4-2/3/4"],
        when: jarm,
        ..ROW
    },
    Row {
        suffix: "ensure-jarm-with-invalid-iss-fails",
        does: "The signed response's iss is wrong.",
        must: STOP_AT_RESPONSE,
        mutation: M::Wrong(Jarm, "iss"),
        over: Over::Response,
        reasons: &["jarm.issuer_mismatch"],
        clauses: &["FAPI2-MS-5.4.2-2", "FAPI2-SP-5.3.3.2-5", "JARM-2.4-2/3/4"],
        when: jarm,
        ..ROW
    },
    Row {
        suffix: "ensure-jarm-without-aud-fails",
        does: "The signed response has no aud.",
        must: STOP_AT_RESPONSE,
        mutation: M::Absent(Jarm, "aud"),
        over: Over::Response,
        reasons: &["jarm.audience_missing"],
        clauses: &["FAPI2-MS-5.4.2-2", "JARM-2.1", "JARM-2.4-2/3/4"],
        when: jarm,
        ..ROW
    },
    Row {
        suffix: "ensure-jarm-with-invalid-aud-fails",
        does: "The signed response's aud is wrong.",
        must: STOP_AT_RESPONSE,
        mutation: M::Wrong(Jarm, "aud"),
        over: Over::Response,
        reasons: &["jarm.audience_mismatch"],
        clauses: &["FAPI2-MS-5.4.2-2", "JARM-2.4-2/3/4"],
        when: jarm,
        ..ROW
    },
    Row {
        suffix: "ensure-jarm-without-exp-fails",
        does: "The signed response has no exp.",
        must: STOP_AT_RESPONSE,
        mutation: M::Absent(Jarm, "exp"),
        over: Over::Response,
        reasons: &["jarm.expiry_missing"],
        clauses: &["FAPI2-MS-5.4.2-2", "JARM-2.1", "JARM-2.4-2/3/4"],
        when: jarm,
        ..ROW
    },
    Row {
        suffix: "ensure-jarm-with-expired-exp-fails",
        does: "The signed response expired six minutes ago.",
        must: STOP_AT_RESPONSE,
        mutation: M::Expired(Jarm),
        over: Over::Response,
        reasons: &["jarm.expired"],
        clauses: &["FAPI2-MS-5.4.2-2", "JARM-2.4-2/3/4"],
        when: jarm,
        ..ROW
    },
    Row {
        suffix: "ensure-jarm-with-invalid-sig-fails",
        does: "The signed response's signature is wrong in every byte.",
        must: STOP_AT_RESPONSE,
        mutation: M::BadSignature(Jarm),
        over: Over::Response,
        reasons: &["jarm.signature_invalid"],
        clauses: &["FAPI2-MS-5.4.2-2", "JARM-2.4-5"],
        when: jarm,
        ..ROW
    },
    Row {
        suffix: "ensure-jarm-signature-is-not-none",
        does: "The response is unsecured (alg none).",
        must: STOP_AT_RESPONSE,
        mutation: M::AlgNone(Jarm),
        over: Over::Response,
        reasons: &["jarm.alg_not_allowed"],
        clauses: &["FAPI2-MS-5.4.2-2", "FAPI2-SP-5.4.1-1.3", "JARM-2.4-5"],
        when: jarm,
        ..ROW
    },
];

/// Modules of ecosystem profiles only. One is named without `test-`, as in the official suite.
static ECOSYSTEM_ROWS: &[Row] = &[
    Row {
        suffix: "test-invalid-openbanking-intent-id",
        does: "The ID token's openbanking_intent_id is another one.",
        must: STOP_AT_ID_TOKEN,
        mutation: M::Wrong(IdToken, "openbanking_intent_id"),
        over: Over::TokenResponse,
        reasons: &["id_token.intent_mismatch"],
        clauses: &["OIDC-3.1.3.3"],
        when: with_intents,
        ..ROW
    },
    Row {
        suffix: "test-invalid-openbanking-intent-id",
        does: "The ID token's openbanking_intent_id is another one.",
        must: STOP_AT_ID_TOKEN,
        clauses: &["OIDC-3.1.3.3"],
        when: without_intents,
        lacks: Some("an intent, of which Australia's standards know nothing"),
        ..ROW
    },
    Row {
        suffix: "refresh-token-test",
        does: "A refresh token is used, and replaced.",
        must: "take the new tokens",
        clauses: &["FAPI2-SP-5.3.3.1-6"],
        over: Over::Script,
        play: Some(|stage| Box::pin(renewed_twice(stage))),
        provokes: &["bearer.token_expired"],
        when: ecosystem,
        ..ROW
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn count(plan: &Plan, choices: &[(&str, &str)]) -> usize {
        let mut variants = plan.variants();
        variants.retain(|v| choices.iter().all(|(name, wanted)| value(v, name) == *wanted));
        // The usual ecosystem, which is none, comes first.
        plan.entries(&variants[0]).len()
    }

    /// The official suite's own numbers.
    #[test]
    fn each_variant_has_as_many_modules_as_the_official_plan() {
        let sp = security_profile();
        for (client, constrain, modules) in [
            ("oidc", "mtls", 20),
            ("oidc", "dpop", 22),
            ("plain_oauth", "mtls", 8),
            ("plain_oauth", "dpop", 10),
        ] {
            let choices = [("fapi_client_type", client), ("sender_constrain", constrain)];
            assert_eq!(count(&sp, &choices), modules, "{client} {constrain}");
            let ms = [&choices[..], &[("fapi_response_mode", "jarm")]].concat();
            assert_eq!(count(&message_signing(), &ms), modules + 6, "{client} {constrain}, JARM");
        }
    }

    #[test]
    fn ecosystems_have_modules_of_their_own_and_clients_alone_have_few() {
        let uk = [("fapi_profile", "openbanking_uk"), ("fapi_client_type", "oidc")];
        assert_eq!(count(&security_profile(), &uk), 22);
        let ksa = [("fapi_profile", "ksa"), ("fapi_response_mode", "jarm")];
        assert_eq!(count(&message_signing(), &ksa), 27);
        for (constrain, modules) in [("mtls", 2), ("dpop", 3)] {
            let alone = [
                ("fapi_profile", "fapi_client_credentials_grant"),
                ("sender_constrain", constrain),
            ];
            assert_eq!(count(&security_profile(), &alone), modules);
        }
    }

    #[test]
    fn every_variant_is_supported_that_has_no_ecosystem_or_one_with_a_preset() {
        for (plan, supported, played) in
            [(security_profile(), 16 + 8, 10), (message_signing(), 48 + 24, 26)]
        {
            let variants = plan.variants().into_iter().filter(|v| plan.is_supported(v));
            let variants: Vec<_> = variants.collect();
            assert_eq!(variants.len(), supported);
            assert_eq!(variants.iter().filter(|v| (plan.by_default)(v)).count(), played);
            for variant in &variants {
                let profile = value(variant, "fapi_profile");
                let uk = profile == "openbanking_uk" && oidc(variant);
                assert!(profile == "plain_fapi" || uk, "{variant:?}");
                assert!(plan.entries(variant).iter().all(super::super::Entry::is_ready));
            }
        }
        let plan = message_signing();
        assert_eq!(
            (plan.certification)(&plan.variants()[0]).as_deref(),
            Some("FAPI2MS RP JAR, FAPI2MS RP JARM (private key + MTLS)")
        );
        let alone = [("fapi_profile", "fapi_client_credentials_grant")];
        let plan = security_profile();
        let mut variants = plan.variants();
        variants.retain(|v| alone.iter().all(|(name, wanted)| value(v, name) == *wanted));
        let entries = plan.entries(&variants[0]);
        assert!(entries.iter().all(|entry| !entry.is_ready()), "named, not passed");
    }
}
