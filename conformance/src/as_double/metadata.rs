//! Where everything lives and what the server says of itself (OpenID Connect Discovery, RFC 8414,
//! RFC 8705 §5).

use serde_json::{Value, json};

use super::{
    ClientRegistration, Encryption,
    behaviour::Target,
    conduct::{Conduct, Family, ResponseForm},
    core::Core,
};
use crate::{
    jws::{Alg, Object},
    ledger::Endpoint,
};

/// Authentication contexts that are reached unless others are.
pub(super) const ACRS: [&str; 2] = ["urn:example:loa:2", "urn:example:loa:3"];

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
        Endpoint::FrontChannelLogout => "logout/frames",
        Endpoint::Api | Endpoint::Unknown => "nowhere",
    };
    format!("{base}{path}")
}

/// Where the keys are, below a base.
pub(super) fn jwks(core: &Core) -> String {
    match core.behaviour().jwks_suffix.as_str() {
        "" => url("", Endpoint::Jwks),
        suffix => format!("{}/{suffix}", url("", Endpoint::Jwks)),
    }
}

pub(super) fn document(core: &Core) -> Object {
    let suffix = core.behaviour().issuer_suffix.clone();
    let (conduct, clients) = (core.config.conduct, &core.config.clients);
    let mut scopes: Vec<&str> = Vec::new();
    for scope in clients.iter().flat_map(|client| &client.scopes) {
        if !scopes.contains(&scope.as_str()) {
            scopes.push(scope);
        }
    }
    let mut document = Object::new();
    document.insert("issuer".into(), json!(format!("{}{suffix}", core.issuer)));
    document.extend(endpoints(core));
    for more in [
        json!({
            "scopes_supported": scopes,
            "subject_types_supported": ["public"],
            "acr_values_supported": core.config.acrs,
            "claims_parameter_supported": true,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
            "frontchannel_logout_supported": true,
            "frontchannel_logout_session_supported": true,
        }),
        grants(conduct),
        requests(conduct),
        authentication(conduct),
        signatures(conduct, core.config.signing_alg, clients),
        encryption(clients, core.config.request_object_encryption.as_ref()),
        constraint(conduct),
    ] {
        document.extend(members(more));
    }
    let types = &core.config.authorization_details_types;
    if !types.is_empty() {
        document.insert("authorization_details_types_supported".into(), json!(types));
    }
    document
}

fn members(value: Value) -> Object {
    match value {
        Value::Object(members) => members,
        _ => Object::new(),
    }
}

fn endpoints(core: &Core) -> Object {
    let plain = |endpoint| url(&core.issuer, endpoint);
    let mtls = |endpoint| url(&core.mtls_base, endpoint);
    let conduct = core.config.conduct;
    let mut all = members(json!({
        "jwks_uri": format!("{}{}", core.issuer, jwks(core)),
        "authorization_endpoint": plain(Endpoint::Authorize),
        "pushed_authorization_request_endpoint": plain(Endpoint::Par),
        "token_endpoint": plain(Endpoint::Token),
        "userinfo_endpoint": plain(Endpoint::Userinfo),
        "revocation_endpoint": plain(Endpoint::Revocation),
        "introspection_endpoint": plain(Endpoint::Introspection),
        "end_session_endpoint": plain(Endpoint::EndSession),
    }));
    let mut aliases = members(json!({
        "pushed_authorization_request_endpoint": mtls(Endpoint::Par),
        "token_endpoint": mtls(Endpoint::Token),
        "userinfo_endpoint": mtls(Endpoint::Userinfo),
        "revocation_endpoint": mtls(Endpoint::Revocation),
        "introspection_endpoint": mtls(Endpoint::Introspection),
    }));
    if !conduct.is_pushed() {
        all.remove("pushed_authorization_request_endpoint");
        aliases.remove("pushed_authorization_request_endpoint");
    }
    if !conduct.openid && conduct.response == ResponseForm::Plain {
        // Nothing is signed that a client verifies.
        all.remove("jwks_uri");
    }
    if conduct.family != Family::Oidc || conduct.uses_mtls() {
        all.insert("mtls_endpoint_aliases".into(), Value::Object(aliases));
    }
    all
}

fn grants(conduct: Conduct) -> Value {
    let mut grants = vec![
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    ];
    if conduct.response == ResponseForm::Hybrid {
        grants.push("implicit");
    }
    let modes: Vec<_> = conduct.response_modes().iter().flatten().collect();
    json!({
        "grant_types_supported": grants,
        "response_types_supported": [conduct.response_type()],
        "response_modes_supported": modes,
    })
}

fn requests(conduct: Conduct) -> Value {
    let mut all = members(json!({
        "request_parameter_supported": conduct.signed_requests,
        "request_uri_parameter_supported": conduct.is_pushed(),
        "require_request_uri_registration": false,
        "require_signed_request_object": conduct.signed_requests,
    }));
    if conduct.signed_requests {
        let algs = names(conduct.client_algs());
        all.insert("request_object_signing_alg_values_supported".into(), json!(algs));
    }
    if conduct.is_pushed() {
        all.insert("require_pushed_authorization_requests".into(), json!(true));
    }
    if conduct.names_issuer() {
        all.insert("authorization_response_iss_parameter_supported".into(), json!(true));
    }
    if conduct.family != Family::Fapi1 {
        all.insert("code_challenge_methods_supported".into(), json!(["S256"]));
    }
    Value::Object(all)
}

fn authentication(conduct: Conduct) -> Value {
    let methods = [conduct.client_auth.name()];
    let mut all = Object::new();
    for endpoint in ["token", "revocation", "introspection"] {
        let name = format!("{endpoint}_endpoint_auth_methods_supported");
        all.insert(name, json!(methods));
        if conduct.client_auth == super::ClientAuth::PrivateKeyJwt {
            let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
            all.insert(name, json!(names(conduct.client_algs())));
        }
    }
    Value::Object(all)
}

fn signatures(conduct: Conduct, own: Alg, clients: &[ClientRegistration]) -> Value {
    let own = json!([own.name()]);
    let mut all = Object::new();
    if conduct.openid {
        all.insert("id_token_signing_alg_values_supported".into(), own.clone());
    }
    if conduct.response == ResponseForm::Jarm {
        all.insert("authorization_signing_alg_values_supported".into(), own.clone());
    }
    if clients.iter().any(|client| client.userinfo_signed_response) {
        all.insert("userinfo_signing_alg_values_supported".into(), own);
    }
    Value::Object(all)
}

fn encryption(clients: &[ClientRegistration], request_object: Option<&Encryption>) -> Value {
    let mut all = Object::new();
    let mut add = |what: &str, encryption: Option<&Encryption>| {
        if let Some(Encryption { alg, enc }) = encryption {
            all.insert(format!("{what}_encryption_alg_values_supported"), json!([alg]));
            all.insert(format!("{what}_encryption_enc_values_supported"), json!([enc]));
        }
    };
    add("request_object", request_object);
    for (what, target) in [
        ("id_token", Target::IdToken),
        ("authorization", Target::Jarm),
        ("userinfo", Target::Userinfo),
    ] {
        add(what, clients.iter().find_map(|client| client.encryption(target)));
    }
    Value::Object(all)
}

fn constraint(conduct: Conduct) -> Value {
    let mut all = Object::new();
    if conduct.binds_certificates() {
        all.insert("tls_client_certificate_bound_access_tokens".into(), json!(true));
    }
    if conduct.uses_dpop() {
        let algs = ["PS256", "ES256", "EdDSA", "Ed25519"];
        all.insert("dpop_signing_alg_values_supported".into(), json!(algs));
    }
    Value::Object(all)
}

fn names(algs: &[Alg]) -> Vec<&'static str> {
    algs.iter().map(|alg| alg.name()).collect()
}
