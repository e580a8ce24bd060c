//! Where everything lives and what the server says of itself (OpenID Connect Discovery, RFC 8414,
//! RFC 8705 §5).

use serde_json::{Value, json};

use super::{Profile, core::Core};
use crate::{jws::Object, ledger::Endpoint};

/// URL of an endpoint below a base that ends with a slash.
pub(super) fn url(base: &str, endpoint: Endpoint) -> String {
    let path = match endpoint {
        Endpoint::Metadata => ".well-known/openid-configuration",
        Endpoint::Jwks => "jwks",
        Endpoint::Par => "par",
        Endpoint::Authorize => "authorize",
        Endpoint::Decision => "authorize/decision",
        Endpoint::Token => "token",
        Endpoint::Userinfo => "userinfo",
        Endpoint::Accounts => "open-banking/v1.1/accounts",
        Endpoint::Revocation => "revoke",
        Endpoint::Introspection => "introspect",
        Endpoint::EndSession => "logout",
        Endpoint::EndSessionDecision => "logout/decision",
        Endpoint::Api | Endpoint::Unknown => "nowhere",
    };
    format!("{base}{path}")
}

pub(super) fn document(core: &Core) -> Object {
    let plain = |endpoint| url(&core.issuer, endpoint);
    let mtls = |endpoint| url(&core.mtls_base, endpoint);
    let suffix = core.behaviour().issuer_suffix.clone();
    let client_algs = json!(["ES256", "PS256", "EdDSA"]);
    let own_alg = json!([core.config.signing_alg.name()]);
    let signed = core.config.profile == Profile::MessageSigning;
    let modes = if signed { json!(["jwt", "query.jwt"]) } else { json!(["query"]) };
    let mut scopes: Vec<&str> = Vec::new();
    for scope in core.config.clients.iter().flat_map(|client| &client.scopes) {
        if !scopes.contains(&scope.as_str()) {
            scopes.push(scope);
        }
    }
    let document = json!({
        "issuer": format!("{}{suffix}", core.issuer),
        "jwks_uri": plain(Endpoint::Jwks),
        "authorization_endpoint": plain(Endpoint::Authorize),
        "pushed_authorization_request_endpoint": plain(Endpoint::Par),
        "token_endpoint": plain(Endpoint::Token),
        "userinfo_endpoint": plain(Endpoint::Userinfo),
        "revocation_endpoint": plain(Endpoint::Revocation),
        "introspection_endpoint": plain(Endpoint::Introspection),
        "end_session_endpoint": plain(Endpoint::EndSession),
        "mtls_endpoint_aliases": {
            "pushed_authorization_request_endpoint": mtls(Endpoint::Par),
            "token_endpoint": mtls(Endpoint::Token),
            "userinfo_endpoint": mtls(Endpoint::Userinfo),
            "revocation_endpoint": mtls(Endpoint::Revocation),
            "introspection_endpoint": mtls(Endpoint::Introspection),
        },
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": modes,
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "subject_types_supported": ["public"],
        "acr_values_supported": ["urn:example:loa:2", "urn:example:loa:3"],
        "claims_parameter_supported": true,
        "request_parameter_supported": signed,
        "request_uri_parameter_supported": true,
        "require_request_uri_registration": false,
        "require_pushed_authorization_requests": true,
        "require_signed_request_object": signed,
        "request_object_signing_alg_values_supported": client_algs,
        "authorization_signing_alg_values_supported": own_alg,
        "id_token_signing_alg_values_supported": own_alg,
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": client_algs,
        "revocation_endpoint_auth_methods_supported": ["private_key_jwt"],
        "revocation_endpoint_auth_signing_alg_values_supported": client_algs,
        "introspection_endpoint_auth_methods_supported": ["private_key_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": client_algs,
        "code_challenge_methods_supported": ["S256"],
        "tls_client_certificate_bound_access_tokens": true,
        "authorization_response_iss_parameter_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
    });
    match document {
        Value::Object(mut document) => {
            if !signed {
                document.remove("request_object_signing_alg_values_supported");
                document.remove("authorization_signing_alg_values_supported");
            }
            document
        }
        _ => Object::new(),
    }
}
