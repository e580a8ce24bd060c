//! Endpoints and their mTLS aliases: which are read, and which one a call goes to.

use serde_json::{Value, json};

use super::{
    metadata::{good, judge, refused},
    *,
};
use crate::protocol::{Endpoint, MetadataRejected, MtlsUse};

#[test]
fn aliases_are_judged_like_endpoints() {
    let aliases = |value: Value| with(good(), "mtls_endpoint_aliases", value);
    for value in [json!(null), json!([]), json!("x")] {
        assert_eq!(refused(&aliases(value)), MetadataRejected::MemberType("mtls_endpoint_aliases"));
    }
    let http = aliases(json!({"token_endpoint": "http://mtls.as.example/token"}));
    assert_eq!(refused(&http), MetadataRejected::EndpointNotHttps("mtls_endpoint_aliases"));
    let number = aliases(json!({"userinfo_endpoint": 1}));
    assert_eq!(refused(&number), MetadataRejected::MemberType("mtls_endpoint_aliases"));
    assert!(judge(&aliases(json!({"unknown_endpoint": 1}))).is_ok());
}

/// FAPI2-SP-5.2.2.1-3, FAPI2-SP-5.3.3.1-7, MTLS-5, MTLS-5-PRJ: which host each call goes to.
#[test]
fn aliases_are_taken_where_the_call_relies_on_the_certificate() {
    use Endpoint::{
        EndSession, Jwks, PushedAuthorizationRequest as Par, Revocation, Token, Userinfo,
    };
    let metadata = judge(&good()).unwrap();
    let dpop = MtlsUse::default();
    let bound = MtlsUse { token_binding: true, ..dpop };
    let authenticated = MtlsUse { client_authentication: true, ..dpop };
    let flag = MtlsUse { endpoint_aliases: true, ..dpop };
    let table = [
        (Token, dpop, "https://as.example/t/token"),
        (Token, bound, "https://mtls.as.example/t/token"),
        (Token, authenticated, "https://mtls.as.example/t/token"),
        (Token, flag, "https://mtls.as.example/t/token"),
        (Par, dpop, "https://as.example/t/par"),
        (Par, bound, "https://as.example/t/par"),
        (Par, authenticated, "https://mtls.as.example/t/par"),
        (Par, flag, "https://mtls.as.example/t/par"),
        (Userinfo, dpop, "https://as.example/t/userinfo"),
        (Userinfo, bound, "https://mtls.as.example/t/userinfo"),
        (Userinfo, authenticated, "https://as.example/t/userinfo"),
        (Userinfo, flag, "https://mtls.as.example/t/userinfo"),
        // A partial set of aliases leaves the root endpoint.
        (Revocation, bound, "https://as.example/t/revoke"),
        (Revocation, flag, "https://as.example/t/revoke"),
        (Jwks, flag, "https://as.example/t/jwks"),
        (EndSession, flag, "https://as.example/t/logout"),
    ];
    for (endpoint, mtls, url) in table {
        assert_eq!(
            metadata.endpoint(endpoint, mtls).unwrap().as_str(),
            url,
            "{endpoint:?} {mtls:?}"
        );
    }
    assert_eq!(metadata.endpoint(Endpoint::Metadata, flag), None);
}

/// RFC 8705 §5: a token is revoked where it was issued, over the certificate that binds it.
#[test]
fn a_revocation_alias_is_taken_like_the_token_endpoints() {
    let alias = "https://mtls.as.example/t/revoke";
    let document = with(good(), "mtls_endpoint_aliases", json!({"revocation_endpoint": alias}));
    let metadata = judge(&document).unwrap();
    let url = |mtls| metadata.endpoint(Endpoint::Revocation, mtls).unwrap().as_str();
    let plain = MtlsUse::default();
    assert_eq!(url(plain), "https://as.example/t/revoke");
    for mtls in [
        MtlsUse { endpoint_aliases: true, ..plain },
        MtlsUse { client_authentication: true, ..plain },
        MtlsUse { token_binding: true, ..plain },
    ] {
        assert_eq!(url(mtls), alias, "{mtls:?}");
    }
}

/// Keys are fetched and browsers sent without the certificate, whatever the document offers.
#[test]
fn aliases_of_other_endpoints_are_never_taken() {
    let alias = "https://mtls.as.example/x";
    let aliases = json!({
        "authorization_endpoint": alias, "jwks_uri": alias, "end_session_endpoint": alias,
    });
    let metadata = judge(&with(good(), "mtls_endpoint_aliases", aliases)).unwrap();
    let all = MtlsUse { endpoint_aliases: true, client_authentication: true, token_binding: true };
    assert_eq!(metadata.jwks_uri().unwrap().as_str(), "https://as.example/t/jwks");
    assert_eq!(metadata.authorization_endpoint().as_str(), "https://as.example/t/authorize");
    for (endpoint, url) in [
        (Endpoint::Jwks, "https://as.example/t/jwks"),
        (Endpoint::EndSession, "https://as.example/t/logout"),
    ] {
        assert_eq!(metadata.endpoint(endpoint, all).unwrap().as_str(), url);
    }
}

/// An alias does not bring an endpoint into being.
#[test]
fn an_alias_without_its_endpoint_is_not_called() {
    let metadata = judge(&without(good(), "userinfo_endpoint")).unwrap();
    let bound = MtlsUse { token_binding: true, ..MtlsUse::default() };
    assert_eq!(metadata.endpoint(Endpoint::Userinfo, bound), None);
}

/// Metrics and alerts are built on these names.
#[test]
fn endpoint_names_are_stable() {
    for (endpoint, name) in [
        (Endpoint::Metadata, "metadata"),
        (Endpoint::Jwks, "jwks"),
        (Endpoint::PushedAuthorizationRequest, "par"),
        (Endpoint::Token, "token"),
        (Endpoint::Userinfo, "userinfo"),
        (Endpoint::Revocation, "revocation"),
        (Endpoint::EndSession, "end_session"),
    ] {
        assert_eq!(endpoint.name(), name);
    }
}
