//! FAPI 1.0 Advanced: the plan of the client.

use super::{Over, ROW, Row, entries, oidc, scheme_lacks, within};
use crate::{
    as_double::{ClientAuth, Conduct, Encryption, RequestMethod, ResponseForm, Target::IdToken},
    suite::{
        client::Client,
        ecosystem::{self, Scheme},
        mutation::Mutation as M,
        plan::{Parameter, Plan, Variant, value},
    },
};

const PREFIX: &str = "fapi1-advanced-final-client-";

/// `fapi1-advanced-final-client-test-plan`.
pub(super) fn advanced() -> Plan {
    Plan {
        id: "fapi1-advanced-final-client-test-plan",
        title: "FAPI 1.0 Advanced, client",
        parameters: vec![
            Parameter::free("client_auth_type", &["private_key_jwt", "mtls"]),
            Parameter::free(
                "fapi_profile",
                &[
                    "plain_fapi",
                    "openbanking_uk",
                    "consumerdataright_au",
                    "openbanking_brazil",
                    "openinsurance_brazil",
                    "openbanking_ksa",
                ],
            ),
            Parameter::free("fapi_auth_request_method", &["pushed", "by_value"]),
            Parameter::free("fapi_response_mode", &["jarm", "plain_response"]),
            Parameter::free("fapi_client_type", &["oidc", "plain_oauth"]),
        ],
        // The official suite refuses a hybrid response without OpenID Connect.
        possible: |variant| !hybrid(variant) || oidc(variant),
        lacks: |variant| {
            scheme_lacks(value(variant, "fapi_profile"), &client(variant)).into_iter().collect()
        },
        by_default,
        certification: |variant| Some(certification(variant)),
        modules: |variant| {
            let client = client(variant);
            let mut all = entries(PREFIX, ROWS, variant, &client);
            all.extend(entries(PREFIX, ECOSYSTEM_ROWS, variant, &client));
            all
        },
    }
}

/// The client that a variant calls for.
fn client(variant: &Variant) -> Client {
    let is = |name: &str, wanted: &str| value(variant, name) == wanted;
    let client = Client::of(Conduct {
        request_method: if is("fapi_auth_request_method", "pushed") {
            RequestMethod::Pushed
        } else {
            RequestMethod::ByValue
        },
        response: if hybrid(variant) { ResponseForm::Hybrid } else { ResponseForm::Jarm },
        openid: oidc(variant),
        client_auth: if is("client_auth_type", "mtls") {
            ClientAuth::TlsClientAuth
        } else {
            ClientAuth::PrivateKeyJwt
        },
        ..Conduct::fapi1_advanced()
    });
    within(client, value(variant, "fapi_profile"))
}

/// A scheme changes little in each variant: by default it is played in one that all of them have.
fn by_default(variant: &Variant) -> bool {
    let usual = [
        ("client_auth_type", "private_key_jwt"),
        ("fapi_auth_request_method", "pushed"),
        ("fapi_client_type", "oidc"),
    ];
    let response = match Scheme::of(value(variant, "fapi_profile")) {
        Some(Scheme::Uk) => "plain_response",
        Some(Scheme::Brazil | Scheme::Australia) => "jarm",
        None => return true,
    };
    usual.iter().all(|(name, wanted)| value(variant, name) == *wanted)
        && value(variant, "fapi_response_mode") == response
}

/// As the official suite's second client is registered, with the one algorithm that Brazil allows.
fn encrypted(client: &Client) -> Client {
    let alg = if client.scheme == Some(Scheme::Brazil) { "RSA-OAEP" } else { "RSA-OAEP-256" };
    let encryption = Encryption { alg: alg.to_owned(), enc: "A256GCM".to_owned() };
    Client { id_token_encryption: Some(encryption), ..client.clone() }
}

fn with_intents(variant: &Variant) -> bool {
    value(variant, "fapi_profile") == "openbanking_uk"
}

fn without_intents(variant: &Variant) -> bool {
    value(variant, "fapi_profile") == "consumerdataright_au"
}

fn with_refresh(variant: &Variant) -> bool {
    brazil(variant) || value(variant, "fapi_profile") == "openbanking_ksa"
}

fn brazil(variant: &Variant) -> bool {
    matches!(value(variant, "fapi_profile"), "openbanking_brazil" | "openinsurance_brazil")
}

fn certification(variant: &Variant) -> String {
    let auth = if value(variant, "client_auth_type") == "mtls" { "MTLS" } else { "Private Key" };
    let pushed = value(variant, "fapi_auth_request_method") == "pushed";
    let response = match (hybrid(variant), oidc(variant)) {
        (true, _) => "",
        (false, true) => ", JARM (OpenID Connect)",
        (false, false) => ", JARM (OAuth)",
    };
    format!("FAPI Adv. RP w/ {auth}{}{response}", if pushed { ", PAR" } else { "" })
}

/// An ID token comes with the authorization response.
fn hybrid(variant: &Variant) -> bool {
    value(variant, "fapi_response_mode") == "plain_response"
}

const ACCEPT: &str = "accept it and call the accounts endpoint";
/// Before the token request if the ID token came with the authorization response, before any use of
/// the access token else.
const STOP: &str = "stop: neither redeem the code nor use a token";

static ROWS: &[Row] = &[
    Row {
        suffix: "test",
        does: "Everything is right.",
        must: "log in and call the accounts endpoint",
        clauses: &["FAPI1-ADV-5.2.3-2", "FAPI1-ADV-5.2.3-8", "FAPI1-ADV-5.2.3-10/11/14"],
        ..ROW
    },
    Row {
        suffix: "test-encrypted-idtoken",
        does: "The ID tokens are signed and then encrypted.",
        must: ACCEPT,
        clauses: &["FAPI1-ADV-5.2.3.1-5", "OIDC-3.1.3.7-1"],
        when: hybrid,
        client: encrypted,
        ..ROW
    },
    Row {
        suffix: "test-discovery-issuer-mismatch",
        does: "The metadata's issuer is the right one with INVALID appended.",
        must: "stop after discovery",
        mutation: M::IssuerInMetadata,
        over: Over::Metadata,
        reasons: &["metadata.issuer_mismatch"],
        clauses: &["META-3.3"],
        ..ROW
    },
    Row {
        suffix: "test-encrypted-idtoken-usingrsa15",
        does: "The ID token is encrypted with RSA1_5.",
        must: STOP,
        mutation: M::Rsa15,
        over: Over::IdToken,
        reasons: &["id_token.jwe_alg_not_allowed"],
        clauses: &["FAPI1-ADV-8.6", "JWT-3.2"],
        when: hybrid,
        client: encrypted,
        ..ROW
    },
    Row {
        suffix: "test-invalid-shash",
        does: "The ID token's s_hash is wrong.",
        must: STOP,
        mutation: M::Wrong(IdToken, "s_hash"),
        over: Over::IdToken,
        reasons: &["id_token.s_hash_mismatch"],
        clauses: &["FAPI1-ADV-5.2.3.1-4"],
        when: hybrid,
        ..ROW
    },
    Row {
        suffix: "test-invalid-chash",
        does: "The ID token's c_hash is wrong.",
        must: STOP,
        mutation: M::Wrong(IdToken, "c_hash"),
        over: Over::IdToken,
        reasons: &["id_token.c_hash_mismatch"],
        clauses: &["FAPI1-ADV-5.2.3.1-3", "OIDC-3.3.2.8"],
        when: hybrid,
        ..ROW
    },
    Row {
        suffix: "test-invalid-nonce",
        does: "The ID token's nonce is wrong.",
        must: STOP,
        mutation: M::Wrong(IdToken, "nonce"),
        over: Over::IdToken,
        reasons: &["id_token.nonce_mismatch"],
        clauses: &["OIDC-3.1.3.7-11"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-invalid-iss",
        does: "The ID token's iss is wrong.",
        must: STOP,
        mutation: M::Wrong(IdToken, "iss"),
        over: Over::IdToken,
        reasons: &["id_token.issuer_mismatch"],
        clauses: &["OIDC-3.1.3.7-2"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-invalid-aud",
        does: "The ID token's aud is wrong.",
        must: STOP,
        mutation: M::Wrong(IdToken, "aud"),
        over: Over::IdToken,
        reasons: &["id_token.audience_mismatch"],
        clauses: &["OIDC-3.1.3.7-3"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-invalid-secondary-aud",
        does: "The ID token's aud names the client and another one, without azp.",
        must: STOP,
        mutation: M::SecondAudience(IdToken),
        over: Over::IdToken,
        reasons: &["id_token.audience_untrusted"],
        clauses: &["OIDC-3.1.3.7-3", "OIDC-3.1.3.7-4/5"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-invalid-signature",
        does: "The ID token's signature is wrong in every byte.",
        must: STOP,
        mutation: M::BadSignature(IdToken),
        over: Over::IdToken,
        reasons: &["id_token.signature_invalid"],
        clauses: &["OIDC-3.1.3.7-6"],
        when: hybrid,
        ..ROW
    },
    Row {
        suffix: "test-invalid-null-alg",
        does: "The ID token is unsecured (alg none).",
        must: STOP,
        mutation: M::AlgNone(IdToken),
        over: Over::IdToken,
        reasons: &["id_token.alg_not_allowed"],
        clauses: &["FAPI1-ADV-8.6", "JWT-3.1"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-invalid-alternate-alg",
        does: "The ID token is signed with RS256 by a key that is really published.",
        must: STOP,
        mutation: M::AlternateAlg(IdToken),
        over: Over::IdToken,
        reasons: &["id_token.alg_not_allowed"],
        clauses: &["FAPI1-ADV-8.6", "OIDC-3.1.3.7-7/8"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-invalid-expired-exp",
        does: "The ID token expired six minutes ago.",
        must: STOP,
        mutation: M::Expired(IdToken),
        over: Over::IdToken,
        reasons: &["id_token.expired"],
        clauses: &["OIDC-3.1.3.7-9"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-invalid-missing-exp",
        does: "The ID token has no exp.",
        must: STOP,
        mutation: M::Absent(IdToken, "exp"),
        over: Over::IdToken,
        reasons: &["id_token.expiry_missing"],
        clauses: &["OIDC-3.1.3.3"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-iat-is-week-in-past",
        does: "The ID token was issued a week ago and has not expired.",
        must: STOP,
        mutation: M::WeekOld(IdToken),
        over: Over::IdToken,
        reasons: &["id_token.issued_at_too_old"],
        clauses: &["OIDC-3.1.3.7-10"],
        when: hybrid,
        ..ROW
    },
    Row {
        suffix: "test-invalid-missing-aud",
        does: "The ID token has no aud.",
        must: STOP,
        mutation: M::Absent(IdToken, "aud"),
        over: Over::IdToken,
        reasons: &["id_token.audience_missing"],
        clauses: &["OIDC-3.1.3.3"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-invalid-missing-iss",
        does: "The ID token has no iss.",
        must: STOP,
        mutation: M::Absent(IdToken, "iss"),
        over: Over::IdToken,
        reasons: &["id_token.issuer_missing"],
        clauses: &["OIDC-3.1.3.3"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-invalid-missing-nonce",
        does: "The ID token has no nonce.",
        must: STOP,
        mutation: M::Absent(IdToken, "nonce"),
        over: Over::IdToken,
        reasons: &["id_token.nonce_missing"],
        clauses: &["OIDC-3.1.3.7-11"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-invalid-missing-shash",
        does: "The ID token has no s_hash.",
        must: STOP,
        mutation: M::Absent(IdToken, "s_hash"),
        over: Over::IdToken,
        reasons: &["id_token.s_hash_missing"],
        clauses: &["FAPI1-ADV-5.2.3.1-4"],
        when: hybrid,
        ..ROW
    },
    Row {
        suffix: "test-valid-aud-as-array",
        does: "The ID token's aud is an array with the client alone in it.",
        must: ACCEPT,
        mutation: M::AudienceAsArray(IdToken),
        clauses: &["OIDC-3.1.3.7-3"],
        when: oidc,
        ..ROW
    },
    Row {
        suffix: "test-no-scope-in-token-endpoint-response",
        does: "The token response has neither scope nor expires_in.",
        must: ACCEPT,
        mutation: M::TokenResponseWithout(&["scope", "expires_in"]),
        clauses: &["OA-5.1"],
        ..ROW
    },
    Row {
        suffix: "test-missing-athash",
        does: "The ID token has no at_hash.",
        must: ACCEPT,
        mutation: M::Absent(IdToken, "at_hash"),
        clauses: &["OIDC-3.1.3.8"],
        when: oidc,
        ..ROW
    },
];

/// Modules of ecosystem profiles only.
static ECOSYSTEM_ROWS: &[Row] = &[
    Row {
        suffix: "test-invalid-openbanking-intent-id",
        does: "The ID token's openbanking_intent_id is another one.",
        must: STOP,
        mutation: M::Wrong(IdToken, "openbanking_intent_id"),
        over: Over::IdToken,
        reasons: &["id_token.intent_mismatch"],
        clauses: &["OIDC-3.1.3.3"],
        when: with_intents,
        ..ROW
    },
    Row {
        suffix: "test-invalid-openbanking-intent-id",
        does: "The ID token's openbanking_intent_id is another one.",
        must: STOP,
        clauses: &["OIDC-3.1.3.3"],
        when: without_intents,
        lacks: Some("an intent, of which Australia's standards know nothing"),
        ..ROW
    },
    Row {
        suffix: "refresh-token-test",
        does: "A refresh token is used, and replaced.",
        must: "take the new tokens",
        clauses: &["OIDC-12.2"],
        over: Over::Script,
        play: Some(|stage| Box::pin(ecosystem::renewed_twice(stage))),
        provokes: &["bearer.token_expired"],
        when: with_refresh,
        ..ROW
    },
    Row {
        suffix: "brazildcr-happypath-test",
        does: "The client registers itself first.",
        must: "register, log in and call the accounts endpoint",
        clauses: &["FAPI1-ADV-5.2.3-2"],
        when: brazil,
        lacks: Some("dynamic client registration"),
        ..ROW
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The official suite's own numbers.
    #[test]
    fn each_variant_has_as_many_modules_as_the_official_plan() {
        let plan = advanced();
        let mut variants = plan.variants();
        variants.retain(|variant| value(variant, "fapi_profile") == "plain_fapi");
        assert_eq!(variants.len(), 12);
        for variant in &variants {
            let modules = match (hybrid(variant), oidc(variant)) {
                (true, _) => 23,
                (false, true) => 16,
                (false, false) => 3,
            };
            assert_eq!(plan.entries(variant).len(), modules, "{variant:?}");
            assert!(plan.is_supported(variant));
            assert!(plan.entries(variant).iter().all(super::super::Entry::is_ready));
        }
    }

    /// Of a scheme the variants that its documents leave are played, by default one of them.
    #[test]
    fn a_schemes_variants_are_those_its_documents_leave() {
        let plan = advanced();
        for (scheme, supported, lacking) in [
            ("openbanking_uk", 8, 0),
            ("openbanking_brazil", 12, 1),
            ("consumerdataright_au", 2, 1),
            ("openinsurance_brazil", 0, 0),
            ("openbanking_ksa", 0, 0),
        ] {
            let mut variants = plan.variants();
            variants.retain(|v| value(v, "fapi_profile") == scheme && plan.is_supported(v));
            assert_eq!(variants.len(), supported, "{scheme}");
            let default = variants.iter().filter(|v| (plan.by_default)(v));
            assert_eq!(default.count(), usize::from(supported > 0), "{scheme}");
            for variant in &variants {
                let entries = plan.entries(variant);
                let missing = entries.iter().filter(|entry| !entry.is_ready()).count();
                assert_eq!(missing, lacking, "{variant:?}");
            }
        }
    }
}
