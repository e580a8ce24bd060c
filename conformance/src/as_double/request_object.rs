//! The signed request object (RFC 9101; FAPI 2.0 Message Signing 5.3.2): a function from a token, a
//! registration and the time to an authorization request or the clause it breaks.

use serde_json::{Map, Value};
use url::Url;

use super::{
    ClientRegistration,
    client_auth::{CLIENT_ALGS, CLOCK_SKEW},
    exchange::Refusal,
};
use crate::jws::{self, Object};

/// Seconds a request object may live, and may be old (MS-5.3.2-3, -4).
const HOUR: i64 = 3600;

/// What a browser is sent to authorize.
#[derive(Clone, Debug)]
pub(super) struct AuthorizationRequest {
    pub(super) redirect_uri: String,
    pub(super) scope: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) code_challenge: String,
    pub(super) acr: Option<String>,
    pub(super) prompt: Option<String>,
}

fn refuse(reason: &str, detail: &str) -> Refusal {
    Refusal::new("invalid_request_object", &format!("request_object.{reason}"), detail)
}

pub(super) fn judge(
    token: &str,
    client: &ClientRegistration,
    issuer: &str,
    now: i64,
) -> Result<AuthorizationRequest, Refusal> {
    let verified = jws::verify(token, &client.jwks, &CLIENT_ALGS)
        .map_err(|fault| refuse(fault.reason(), "the request object's signature"))?;
    // MS-5.3.2-5
    if verified.header.get("typ").and_then(Value::as_str) != Some("oauth-authz-req+jwt") {
        return Err(refuse("typ", "typ is oauth-authz-req+jwt"));
    }
    let claims = Claims(&verified.claims);
    check_envelope(&claims, client, issuer, now)?;
    check_parameters(&claims, client, &[Some("jwt"), Some("query.jwt")])
}

/// The parameters of an unsigned pushed request (FAPI 2.0 SP 5.3.2.2), by the same rules. What a
/// request object carries as JSON comes as text here.
pub(super) fn judge_plain(
    parameters: &[(String, String)],
    client: &ClientRegistration,
) -> Result<AuthorizationRequest, Refusal> {
    let mut claims = Object::new();
    for (name, text) in parameters {
        let value = match name.as_str() {
            "max_age" | "claims" | "authorization_details" => {
                serde_json::from_str(text).map_err(|_| refuse(name, "not JSON"))?
            }
            _ => Value::from(text.as_str()),
        };
        claims.insert(name.clone(), value);
    }
    check_parameters(&Claims(&claims), client, &[None, Some("query")])
}

struct Claims<'a>(&'a Object);

impl<'a> Claims<'a> {
    /// A string, or absent; anything else is refused under the parameter's own name.
    fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(refuse(name, "not a string")),
        }
    }

    fn is(&self, name: &str, wanted: &str) -> Result<(), Refusal> {
        if self.text(name)? == Some(wanted) {
            return Ok(());
        }
        Err(refuse(name, &format!("{wanted} is expected")))
    }

    fn time(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }
}

fn check_envelope(
    claims: &Claims<'_>,
    client: &ClientRegistration,
    issuer: &str,
    now: i64,
) -> Result<(), Refusal> {
    claims.is("iss", &client.client_id)?;
    // RFC 9101 §10.8: what has no `sub` cannot pass for a client assertion.
    if claims.0.contains_key("sub") {
        return Err(refuse("sub", "a request object has no sub"));
    }
    // MS-5.3.2-2
    let for_us = match claims.0.get("aud") {
        Some(Value::String(audience)) => audience == issuer,
        Some(Value::Array(audiences)) => audiences.iter().any(|a| a == issuer),
        _ => false,
    };
    if !for_us {
        return Err(refuse("aud", "aud is the issuer"));
    }
    // MS-5.3.2-3
    let nbf = claims.time("nbf").ok_or_else(|| refuse("nbf_missing", "no nbf in whole seconds"))?;
    if nbf < now - HOUR {
        return Err(refuse("nbf_old", "nbf is more than 60 minutes ago"));
    }
    if nbf > now + CLOCK_SKEW {
        return Err(refuse("nbf_future", "nbf is in the future"));
    }
    // MS-5.3.2-4
    let exp = claims.time("exp").ok_or_else(|| refuse("exp_missing", "no exp in whole seconds"))?;
    if exp <= now {
        return Err(refuse("expired", "exp has passed"));
    }
    if exp - nbf > HOUR {
        return Err(refuse("lifetime", "exp is more than 60 minutes after nbf"));
    }
    if claims.0.contains_key("iat") && claims.time("iat").is_none_or(|iat| iat > now + CLOCK_SKEW) {
        return Err(refuse("iat_future", "iat is in the future"));
    }
    claims.text("jti")?;
    for nested in ["request", "request_uri"] {
        if claims.0.contains_key(nested) {
            return Err(refuse("nested_request", nested));
        }
    }
    Ok(())
}

fn check_parameters(
    claims: &Claims<'_>,
    client: &ClientRegistration,
    response_modes: &[Option<&str>],
) -> Result<AuthorizationRequest, Refusal> {
    claims.is("client_id", &client.client_id)?;
    claims.is("response_type", "code")?;
    if !response_modes.contains(&claims.text("response_mode")?) {
        return Err(refuse("response_mode", "not a mode of this profile"));
    }
    let redirect_uri = claims.text("redirect_uri")?.unwrap_or_default();
    let registered = client.redirect_uris.iter().any(|uri| uri == redirect_uri);
    if !registered || Url::parse(redirect_uri).is_err() {
        return Err(refuse("redirect_uri", "not registered, to the letter"));
    }
    let scope = claims.text("scope")?.unwrap_or_default();
    check_scope(client, scope, true)
        .map_err(|detail| Refusal::new("invalid_scope", "request_object.scope", &detail))?;
    // FAPI 2.0 SP 5.3.2.2: PKCE with S256.
    claims.is("code_challenge_method", "S256")?;
    let challenge = claims.text("code_challenge")?.unwrap_or_default();
    if challenge.len() != 43 || !challenge.bytes().all(is_base64url) {
        return Err(refuse("code_challenge", "43 base64url characters"));
    }
    let state = claims.text("state")?;
    let nonce = claims.text("nonce")?;
    for name in ["login_hint", "ui_locales", "display", "id_token_hint", "dpop_jkt"] {
        claims.text(name)?;
    }
    if claims.0.contains_key("max_age") && claims.time("max_age").is_none_or(|age| age < 0) {
        return Err(refuse("max_age", "a number of seconds"));
    }
    if let Some(requested) = claims.0.get("claims") {
        check_claims_parameter(requested)?;
    }
    if claims.0.get("authorization_details").is_some_and(|details| !details.is_array()) {
        return Err(refuse("authorization_details", "an array"));
    }
    let first_acr = claims.text("acr_values")?.and_then(|all| all.split(' ').next());
    Ok(AuthorizationRequest {
        redirect_uri: redirect_uri.to_owned(),
        scope: scope.to_owned(),
        state: state.map(str::to_owned),
        nonce: nonce.map(str::to_owned),
        code_challenge: challenge.to_owned(),
        acr: first_acr.map(str::to_owned),
        prompt: claims.text("prompt")?.map(str::to_owned),
    })
}

pub(super) const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// `claims` is an object whose `userinfo` and `id_token` are objects (OIDC Core §5.5).
fn check_claims_parameter(requested: &Value) -> Result<(), Refusal> {
    let members = requested.as_object();
    let fine = |members: &Map<String, Value>| {
        ["userinfo", "id_token"].iter().all(|name| members.get(*name).is_none_or(Value::is_object))
    };
    if members.is_some_and(fine) {
        return Ok(());
    }
    Err(refuse("claims", "userinfo and id_token are objects"))
}

/// Every scope registered, none twice; `openid` among them when a person logs in.
pub(super) fn check_scope(
    client: &ClientRegistration,
    scope: &str,
    needs_openid: bool,
) -> Result<(), String> {
    let asked: Vec<&str> = scope.split(' ').collect();
    for (index, name) in asked.iter().enumerate() {
        if !client.scopes.iter().any(|allowed| allowed == name) {
            return Err(format!("scope {name} is not registered"));
        }
        if asked.iter().skip(index + 1).any(|other| other == name) {
            return Err(format!("scope {name} twice"));
        }
    }
    if needs_openid && !asked.contains(&"openid") {
        return Err("openid is missing".to_owned());
    }
    if client.exact_scope && needs_openid && scope != client.scopes.join(" ") {
        return Err("scope is not the registered string".to_owned());
    }
    Ok(())
}
