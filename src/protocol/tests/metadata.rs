//! The metadata document, against issuer, profile and what our keys need.

use serde_json::{Value, json};

use super::*;
use crate::{
    jose::{JweAlg, JweEnc, JwePolicy},
    profile::{ClientAuthMethod, ProfileName, ResponseForm, ResponseMode, ResponseType},
    protocol::{Binding, Endpoint, MAX_METADATA_BYTES, Metadata, MetadataRejected, MtlsUse, Needs},
};

pub(super) fn good() -> Value {
    json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://as.example/t/authorize",
        "token_endpoint": "https://as.example/t/token",
        "jwks_uri": "https://as.example/t/jwks",
        "pushed_authorization_request_endpoint": "https://as.example/t/par",
        "userinfo_endpoint": "https://as.example/t/userinfo",
        "revocation_endpoint": "https://as.example/t/revoke",
        "end_session_endpoint": "https://as.example/t/logout",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "jwt"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "tls_client_auth"],
        "token_endpoint_auth_signing_alg_values_supported": ["PS256", "ES256"],
        "request_object_signing_alg_values_supported": ["PS256", "ES256"],
        "id_token_signing_alg_values_supported": ["PS256", "ES256", "RS256"],
        "authorization_signing_alg_values_supported": ["PS256"],
        "dpop_signing_alg_values_supported": ["PS256", "ES256"],
        "tls_client_certificate_bound_access_tokens": true,
        "require_pushed_authorization_requests": true,
        "require_signed_request_object": true,
        "authorization_response_iss_parameter_supported": true,
        "mtls_endpoint_aliases": {
            "token_endpoint": "https://mtls.as.example/t/token",
            "userinfo_endpoint": "https://mtls.as.example/t/userinfo",
            "pushed_authorization_request_endpoint": "https://mtls.as.example/t/par",
        },
    })
}

fn needs() -> Needs {
    Needs {
        client_auth: ClientAuthMethod::PrivateKeyJwt,
        client_assertion_alg: Some(JwsAlg::Es256),
        request_object_alg: Some(JwsAlg::Ps256),
        binding: Binding::Mtls,
        id_token_alg: None,
        authorization_response_alg: None,
        userinfo_alg: None,
        id_token_encryption: None,
        authorization_response_encryption: None,
        userinfo_encryption: None,
        request_object_encryption: None,
        introspection: false,
        response: form(ResponseType::Code, ResponseMode::Jwt),
        openid: true,
    }
}

const fn form(response_type: ResponseType, response_mode: ResponseMode) -> ResponseForm {
    ResponseForm { response_type, response_mode }
}

fn judge_with(
    document: &Value,
    profile: ProfileName,
    needs: &Needs,
) -> Result<Metadata, MetadataRejected> {
    Metadata::accept(document.to_string().as_bytes(), ISSUER, profile.profile(), needs)
}

pub(super) fn judge(document: &Value) -> Result<Metadata, MetadataRejected> {
    judge_with(document, ProfileName::Fapi2MessageSigning, &needs())
}

pub(super) fn refused(document: &Value) -> MetadataRejected {
    judge(document).unwrap_err()
}

#[test]
fn a_document_that_fits_is_accepted() {
    let metadata = judge(&good()).unwrap();
    assert_eq!(metadata.issuer(), ISSUER);
    assert_eq!(metadata.authorization_endpoint().as_str(), "https://as.example/t/authorize");
    assert_eq!(metadata.jwks_uri().unwrap().as_str(), "https://as.example/t/jwks");
    assert_eq!(metadata.end_session_endpoint().unwrap().as_str(), "https://as.example/t/logout");
    assert!(metadata.authorization_response_iss_parameter_supported());
    assert!(judge(&with(good(), "unknown", json!({"any": null}))).is_ok());
}

/// ISS-2.4-2, RFC 9207 §3: what is not announced is not supported.
#[test]
fn the_iss_parameter_is_supported_only_where_announced() {
    const MEMBER: &str = "authorization_response_iss_parameter_supported";
    for document in [without(good(), MEMBER), with(good(), MEMBER, false)] {
        assert!(!judge(&document).unwrap().authorization_response_iss_parameter_supported());
    }
}

/// META-3.3, FAPI2-SP-5.3.3.1-11: byte for byte.
#[test]
fn another_issuers_document_is_refused() {
    let variants = [
        "https://as.example/t",
        "https://as.example/t//",
        "https://as.example:443/t/",
        "https://AS.example/t/",
        "HTTPS://as.example/t/",
        "https://as.example/T/",
        "https://as.example/%74/",
        "https://as.example/t/?",
        "https://as.example./t/",
        "https://as.example/t/INVALID",
        "http://as.example/t/",
    ];
    for wrong in near_misses(ISSUER).into_iter().chain(variants.map(str::to_owned)) {
        assert_eq!(
            refused(&with(good(), "issuer", wrong.as_str())),
            MetadataRejected::IssuerMismatch,
            "{wrong}"
        );
    }
    assert_eq!(refused(&without(good(), "issuer")), MetadataRejected::IssuerMissing);
    for value in not_strings() {
        assert_eq!(refused(&with(good(), "issuer", value)), MetadataRejected::MemberType("issuer"));
    }
}

/// The document must agree with a usable issuer; agreeing with an unusable one is not enough.
#[test]
fn an_unusable_issuer_has_no_metadata() {
    for issuer in ["http://as.example", "https://as.example/?a", "https://as.example/#", ""] {
        let document = with(good(), "issuer", issuer).to_string();
        let profile = ProfileName::Fapi2MessageSigning.profile();
        let refused = Metadata::accept(document.as_bytes(), issuer, profile, &needs()).unwrap_err();
        assert_eq!(refused.reason(), "metadata.expected_issuer", "{issuer}");
    }
}

/// FAPI2-SP-5.3.3.2-2, PAR-5, META-2.
#[test]
fn the_endpoints_a_login_needs_must_be_there() {
    for member in [
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "pushed_authorization_request_endpoint",
    ] {
        assert_eq!(refused(&without(good(), member)), MetadataRejected::EndpointMissing(member));
    }
    for member in [
        "userinfo_endpoint",
        "revocation_endpoint",
        "end_session_endpoint",
        "mtls_endpoint_aliases",
    ] {
        assert!(judge(&without(good(), member)).is_ok(), "{member}");
    }
}

/// PAR-5: a server that requires what it does not offer is unusable under every profile.
#[test]
fn par_is_optional_only_where_profile_and_server_agree() {
    let document = without(good(), "pushed_authorization_request_endpoint");
    let oidc = |document: &Value| judge_with(document, ProfileName::Oidc, &needs());
    let missing = MetadataRejected::EndpointMissing("pushed_authorization_request_endpoint");
    let unsigned = with(document, "require_signed_request_object", false);
    assert_eq!(oidc(&unsigned), Err(missing));
    let metadata = oidc(&with(unsigned, "require_pushed_authorization_requests", false)).unwrap();
    assert_eq!(metadata.endpoint(Endpoint::PushedAuthorizationRequest, MtlsUse::default()), None);
}

/// META-2, FAPI1-ADV-8.9/8.11.
#[test]
fn every_endpoint_is_a_plain_https_url() {
    let members = [
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "pushed_authorization_request_endpoint",
        "userinfo_endpoint",
        "revocation_endpoint",
        "end_session_endpoint",
    ];
    for member in members {
        for wrong in [
            "",
            "http://as.example/x",
            "/x",
            "//as.example/x",
            "as.example/x",
            "https:as.example/x",
            "ftp://as.example/x",
            "javascript:alert(1)",
            "https://",
            " https://as.example/x",
            "https://as.example/x\n",
            "https://as.example\\x",
        ] {
            let refused = refused(&with(good(), member, wrong));
            assert_eq!(refused, MetadataRejected::EndpointNotHttps(member), "{member} {wrong}");
        }
        for wrong in [
            "https://as.example/x#",
            "https://as.example/x#f",
            "https://u@as.example/x",
            "https://u:p@as.example/x",
        ] {
            let refused = refused(&with(good(), member, wrong));
            assert_eq!(refused, MetadataRejected::EndpointNotAllowed(member), "{member} {wrong}");
        }
        for value in not_strings() {
            assert_eq!(refused(&with(good(), member, value)), MetadataRejected::MemberType(member));
        }
    }
}

/// FAPI2-SP-5.3.3.2-6: the endpoint may have a query of its own, but not one of ours.
#[test]
fn the_authorization_endpoint_brings_no_request_parameters() {
    let with_query = |query: &str| {
        with(good(), "authorization_endpoint", format!("https://as.example/a?{query}"))
    };
    assert!(judge(&with_query("tenant=1")).is_ok());
    for query in [
        "client_id=x",
        "code_challenge=x",
        "code_challenge_method=x",
        "nonce",
        "re%71uest=x",
        "redirect_uri=x",
        "request_uri=x",
        "response_mode=x",
        "response_type=x",
        "scope=x",
        "a=b&state=x",
    ] {
        let refused = refused(&with_query(query));
        assert_eq!(
            refused,
            MetadataRejected::EndpointNotAllowed("authorization_endpoint"),
            "{query}"
        );
    }
}

/// FAPI2-SP-5.3.3.2-3, PKCE-9700-2.1.1, PKJ-alg, JAR-6.2: what a server must support, each
/// capability left out, empty and wrong. `None` means the document is accepted.
#[test]
fn capabilities_against_the_message_signing_profile() {
    let table: [(&str, Option<MetadataRejected>, Value, MetadataRejected); 9] = [
        (
            "response_types_supported",
            None,
            json!(["code id_token", "token"]),
            MetadataRejected::ResponseTypeMissing,
        ),
        (
            "response_modes_supported",
            None,
            json!(["query", "form_post"]),
            MetadataRejected::ResponseModeMissing,
        ),
        (
            "code_challenge_methods_supported",
            Some(MetadataRejected::S256Missing),
            json!(["plain", "s256"]),
            MetadataRejected::S256Missing,
        ),
        (
            "token_endpoint_auth_methods_supported",
            Some(MetadataRejected::ClientAuthMissing),
            json!(["tls_client_auth"]),
            MetadataRejected::ClientAuthMissing,
        ),
        (
            "token_endpoint_auth_signing_alg_values_supported",
            None,
            json!(["PS256", "es256"]),
            MetadataRejected::AlgorithmMissing("token_endpoint_auth_signing_alg_values_supported"),
        ),
        (
            "request_object_signing_alg_values_supported",
            None,
            json!(["ES256", "none"]),
            MetadataRejected::AlgorithmMissing("request_object_signing_alg_values_supported"),
        ),
        (
            "id_token_signing_alg_values_supported",
            None,
            json!(["RS256", "HS256"]),
            MetadataRejected::AlgorithmMissing("id_token_signing_alg_values_supported"),
        ),
        (
            "authorization_signing_alg_values_supported",
            None,
            json!(["RS256"]),
            MetadataRejected::AlgorithmMissing("authorization_signing_alg_values_supported"),
        ),
        // Binding by certificate does not look at DPoP at all.
        (
            "dpop_signing_alg_values_supported",
            None,
            json!(null),
            MetadataRejected::MemberType("dpop_signing_alg_values_supported"),
        ),
    ];
    for (member, when_absent, wrong, when_wrong) in table {
        assert_eq!(judge(&without(good(), member)).err(), when_absent, "{member} absent");
        assert_eq!(refused(&with(good(), member, wrong)), when_wrong, "{member} wrong");
        for value in [json!(null), json!("x"), json!({}), json!([1]), json!(["ES256", null])] {
            let refused = refused(&with(good(), member, value));
            assert_eq!(refused, MetadataRejected::MemberType(member), "{member} of the wrong type");
        }
    }
    for member in [
        "code_challenge_methods_supported",
        "token_endpoint_auth_methods_supported",
        "response_types_supported",
    ] {
        assert!(judge(&with(good(), member, json!([]))).is_err(), "{member} empty");
    }
    assert!(judge(&with(good(), "response_modes_supported", json!(["query.jwt"]))).is_ok());
}

/// RFC 8414 §2: a server that lists no authentication methods has `client_secret_basic`.
#[test]
fn the_only_default_authentication_method_is_client_secret_basic() {
    let document = without(good(), "token_endpoint_auth_methods_supported");
    let document = with(document, "require_signed_request_object", false);
    let verdict = |client_auth| {
        judge_with(&document, ProfileName::Oidc, &Needs { client_auth, ..needs() }).err()
    };
    let missing = Some(MetadataRejected::ClientAuthMissing);
    assert_eq!(verdict(ClientAuthMethod::ClientSecretBasic), None);
    assert_eq!(verdict(ClientAuthMethod::ClientSecretPost), missing);
    assert_eq!(verdict(ClientAuthMethod::PrivateKeyJwt), missing);
}

#[test]
fn flags_are_booleans() {
    for member in [
        "tls_client_certificate_bound_access_tokens",
        "require_pushed_authorization_requests",
        "require_signed_request_object",
        "authorization_response_iss_parameter_supported",
    ] {
        for value in [json!(null), json!("true"), json!(1), json!([])] {
            let refused = refused(&with(good(), member, value));
            assert_eq!(refused, MetadataRejected::MemberType(member), "{member}");
        }
    }
}

/// MTLS-3.3.
#[test]
fn certificate_binding_must_be_announced_when_we_rely_on_it() {
    const MEMBER: &str = "tls_client_certificate_bound_access_tokens";
    for document in [without(good(), MEMBER), with(good(), MEMBER, false)] {
        assert_eq!(refused(&document), MetadataRejected::CertificateBindingMissing);
        let dpop = Needs { binding: Binding::DPoP(JwsAlg::Es256), ..needs() };
        assert!(judge_with(&document, ProfileName::Fapi2MessageSigning, &dpop).is_ok());
    }
    let eddsa = Needs { binding: Binding::DPoP(JwsAlg::EdDsa), ..needs() };
    let refused = judge_with(&good(), ProfileName::Fapi2MessageSigning, &eddsa);
    assert_eq!(
        refused,
        Err(MetadataRejected::AlgorithmMissing("dpop_signing_alg_values_supported"))
    );
}

/// FAPI2-SP-5.3.3.1-1, FAPI1-ADV-5.2.3-1.
#[test]
fn tokens_are_bound_as_the_profile_says() {
    let verdict =
        |profile, binding| judge_with(&good(), profile, &Needs { binding, ..needs() }).err();
    let dpop = Binding::DPoP(JwsAlg::Es256);
    let refused = Some(MetadataRejected::BindingNotAllowed);
    assert_eq!(verdict(ProfileName::Fapi2MessageSigning, Binding::Mtls), None);
    assert_eq!(verdict(ProfileName::Fapi2MessageSigning, dpop), None);
    assert_eq!(verdict(ProfileName::Fapi2MessageSigning, Binding::None), refused);
    assert_eq!(verdict(ProfileName::Fapi1Advanced, Binding::Mtls), None);
    assert_eq!(verdict(ProfileName::Fapi1Advanced, dpop), refused);
    assert_eq!(verdict(ProfileName::Fapi1Advanced, Binding::None), refused);
}

/// JAR-10.5.
#[test]
fn a_server_that_wants_signed_requests_gets_no_plain_ones() {
    let refused = judge_with(
        &good(),
        ProfileName::Fapi2Security,
        &Needs { request_object_alg: None, ..needs() },
    );
    assert_eq!(refused, Err(MetadataRejected::SignedRequestRequired));
}

/// FAPI1-BASE-5.2.4-1, FAPI2-SP-5.3.3.1-2, FAPI2-SP-5.4.1-1.2, FAPI1-ADV-8.6.
#[test]
fn what_the_profile_forbids_is_refused_whatever_the_server_offers() {
    let secret = Needs { client_auth: ClientAuthMethod::ClientSecretBasic, ..needs() };
    let permissive =
        with(good(), "token_endpoint_auth_methods_supported", json!(["client_secret_basic"]));
    let refused = judge_with(&permissive, ProfileName::Fapi2MessageSigning, &secret);
    assert_eq!(refused, Err(MetadataRejected::ClientAuthNotAllowed));
    for needs in [
        Needs { client_assertion_alg: Some(JwsAlg::Rs256), ..needs() },
        Needs { request_object_alg: Some(JwsAlg::Rs256), ..needs() },
        Needs { id_token_alg: Some(JwsAlg::Rs256), ..needs() },
        Needs { authorization_response_alg: Some(JwsAlg::Rs256), ..needs() },
        Needs { binding: Binding::DPoP(JwsAlg::Rs256), ..needs() },
    ] {
        let refused = judge_with(&good(), ProfileName::Fapi2MessageSigning, &needs);
        assert_eq!(refused, Err(MetadataRejected::AlgorithmNotAllowed), "{needs:?}");
    }
    let eddsa = Needs { client_assertion_alg: Some(JwsAlg::EdDsa), ..needs() };
    let refused = judge_with(&good(), ProfileName::Fapi1Advanced, &eddsa);
    assert_eq!(refused, Err(MetadataRejected::AlgorithmNotAllowed));
}

/// A pin must be among what the server says it signs with.
#[test]
fn a_pinned_algorithm_must_be_listed() {
    let pinned = Needs { authorization_response_alg: Some(JwsAlg::Es256), ..needs() };
    let refused = judge_with(&good(), ProfileName::Fapi2MessageSigning, &pinned);
    assert_eq!(
        refused,
        Err(MetadataRejected::AlgorithmMissing("authorization_signing_alg_values_supported"))
    );
    let pinned = Needs { authorization_response_alg: Some(JwsAlg::Ps256), ..needs() };
    assert!(judge_with(&good(), ProfileName::Fapi2MessageSigning, &pinned).is_ok());
}

/// META-2: what we and the server agreed on for encryption must be listed, where it lists any.
#[test]
fn a_registered_encryption_must_be_listed() {
    let policy = JwePolicy { alg: JweAlg::RsaOaep256, enc: JweEnc::A256Gcm };
    let some = Some(policy);
    for (kind, needs) in [
        ("id_token", Needs { id_token_encryption: some, ..needs() }),
        ("authorization", Needs { authorization_response_encryption: some, ..needs() }),
        ("userinfo", Needs { userinfo_encryption: some, ..needs() }),
        ("request_object", Needs { request_object_encryption: some, ..needs() }),
    ] {
        let verdict = |document: &Value| {
            let verdict = judge_with(document, ProfileName::Fapi2MessageSigning, &needs);
            verdict.err().map(|rejected| (rejected.reason(), rejected.to_string()))
        };
        assert_eq!(verdict(&good()), None, "{kind}");
        let members =
            [("alg", policy.alg.name(), "RSA-OAEP"), ("enc", policy.enc.name(), "A128GCM")];
        for (part, ours, other) in members {
            let member = format!("{kind}_encryption_{part}_values_supported");
            assert_eq!(verdict(&with(good(), &member, json!([other, ours]))), None, "{member}");
            for listed in [json!([other]), json!([])] {
                let document = with(good(), &member, listed);
                let (reason, told) = verdict(&document).unwrap();
                assert_eq!(reason, "metadata.algorithm_missing");
                assert!(told.contains(&member), "{told}");
                // Who has not agreed on it does not care.
                assert!(judge(&document).is_ok(), "{member}");
            }
            let (reason, _) = verdict(&with(good(), &member, ours)).unwrap();
            assert_eq!(reason, "metadata.member_type");
        }
    }
}

/// META-2, INT-9701-4: one algorithm in common is enough, and needed only by who asks for the answers.
#[test]
fn the_signature_on_introspection_answers_must_be_one_of_ours() {
    const MEMBER: &str = "introspection_signing_alg_values_supported";
    let asks = Needs { introspection: true, ..needs() };
    let verdict =
        |document: &Value| judge_with(document, ProfileName::Fapi2MessageSigning, &asks).err();
    assert_eq!(verdict(&good()), None);
    assert_eq!(verdict(&with(good(), MEMBER, json!(["RS256", "ES256"]))), None);
    let foreign = with(good(), MEMBER, json!(["RS256"]));
    assert_eq!(verdict(&foreign), Some(MetadataRejected::AlgorithmMissing(MEMBER)));
    assert!(judge(&foreign).is_ok());
}

/// FAPI1-ADV-5.2.2-2, OIDC-FRAG: the server must offer the form of response that will be asked for.
#[test]
fn the_response_form_must_be_offered() {
    let verdict = |response, document: &Value| {
        judge_with(document, ProfileName::Fapi1Advanced, &Needs { response, ..needs() }).err()
    };
    let hybrid = form(ResponseType::CodeIdToken, ResponseMode::Fragment);
    let offers = |types: Value, modes: Value| {
        with(with(good(), "response_types_supported", types), "response_modes_supported", modes)
    };
    let types = json!(["code", "id_token code"]);
    assert_eq!(verdict(hybrid, &offers(types.clone(), json!(["fragment"]))), None);
    let missing = verdict(hybrid, &offers(json!(["code", "id_token"]), json!(["fragment"])));
    assert_eq!(missing, Some(MetadataRejected::ResponseTypeMissing));
    for (mode, offered) in [
        (ResponseMode::Jwt, "query.jwt"),
        (ResponseMode::FormPostJwt, "form_post.jwt"),
        (ResponseMode::Query, "query"),
        (ResponseMode::FormPost, "form_post"),
        (ResponseMode::Fragment, "fragment"),
    ] {
        let response = form(ResponseType::Code, mode);
        assert_eq!(verdict(response, &offers(types.clone(), json!([offered]))), None);
        let other = verdict(response, &offers(types.clone(), json!(["web_message"])));
        assert_eq!(other, Some(MetadataRejected::ResponseModeMissing), "{offered}");
    }
    assert_eq!(
        verdict(hybrid, &without(offers(types, json!([])), "response_modes_supported")),
        None
    );
}

/// Where the server signs nothing for this client, it need not publish keys.
#[test]
fn keys_are_needed_only_where_something_is_signed() {
    let document = without(good(), "jwks_uri");
    let plain = form(ResponseType::Code, ResponseMode::Query);
    let document = with(document, "response_modes_supported", json!(["query"]));
    let verdict = |needs: Needs| judge_with(&document, ProfileName::Fapi2Security, &needs);
    let missing = MetadataRejected::EndpointMissing("jwks_uri");
    assert_eq!(verdict(Needs { response: plain, ..needs() }).unwrap_err(), missing);
    let oauth = Needs { response: plain, openid: false, ..needs() };
    assert_eq!(verdict(oauth.clone()).unwrap().jwks_uri(), None);
    let signed = Needs { userinfo_alg: Some(JwsAlg::Es256), ..oauth };
    assert_eq!(verdict(signed).unwrap_err(), missing);
}

/// ALG-MAT: RS256 counts as common ground only for a client that is pinned to it.
#[test]
fn rs256_is_common_ground_only_where_it_is_pinned() {
    let document = with(good(), "id_token_signing_alg_values_supported", json!(["RS256"]));
    let document = with(document, "response_modes_supported", json!(["query"]));
    let plain = form(ResponseType::Code, ResponseMode::Query);
    let verdict = |id_token_alg| {
        let needs = Needs { response: plain, id_token_alg, ..needs() };
        judge_with(&document, ProfileName::Oidc, &needs).err()
    };
    let missing = MetadataRejected::AlgorithmMissing("id_token_signing_alg_values_supported");
    assert_eq!(verdict(None), Some(missing));
    assert_eq!(verdict(Some(JwsAlg::Rs256)), None);
}

/// META-3.2, JWT-PARSE.
#[test]
fn the_document_is_strict_bounded_json() {
    let judge = |bytes: &[u8]| {
        Metadata::accept(bytes, ISSUER, ProfileName::Fapi2MessageSigning.profile(), &needs())
            .map_err(|r| r.reason())
    };
    for bytes in [b"".as_slice(), b"<html>", b"[]", b"null", b"\xff", b"{", b"{}x"] {
        assert_eq!(judge(bytes), Err("metadata.not_json"));
    }
    for member in ["issuer", "token_endpoint", "unknown"] {
        let twice =
            with_duplicate(&with(good(), "unknown", 1), member, &json!("https://evil.example"));
        assert_eq!(judge(twice.as_bytes()), Err("metadata.duplicate_member"), "{member}");
    }
    let padded = |bytes: usize| {
        let text = good().to_string();
        format!("{text}{}", " ".repeat(bytes - text.len()))
    };
    assert_eq!(MAX_METADATA_BYTES, 256 * 1024);
    assert!(judge(padded(MAX_METADATA_BYTES).as_bytes()).is_ok());
    assert_eq!(judge(padded(MAX_METADATA_BYTES + 1).as_bytes()), Err("metadata.too_large"));
}

proptest::proptest! {
    #[test]
    fn no_document_panics(bytes: Vec<u8>, member in proptest::sample::select(object(&good()).keys().cloned().collect::<Vec<_>>()), text: String) {
        let profile = ProfileName::Fapi2MessageSigning.profile();
        let _ = Metadata::accept(&bytes, ISSUER, profile, &needs());
        for value in [json!(text), json!([text]), json!({"token_endpoint": text})] {
            let _ = judge(&with(good(), &member, value));
        }
    }
}
