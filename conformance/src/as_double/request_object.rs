//! The signed request object (RFC 9101; FAPI 2.0 Message Signing 5.3.2): a function from a token, a
//! registration and the time to an authorization request or the clause it breaks.

use serde_json::{Map, Value};
use url::Url;

use super::{
    ClientRegistration,
    checks::Checks,
    client_auth::{CLIENT_ALGS, CLOCK_SKEW},
    exchange::Refusal,
    rules::Rule,
};
use crate::jws::{self, JwsFault, Object};

/// Seconds a request object may live, and may be old (MS-5.3.2-3, -4).
const HOUR: i64 = 3600;

/// Seconds since a request object may have been issued.
const DAY: i64 = 24 * HOUR;

/// Characters a nonce should not exceed: 256 bits in base64url.
const NONCE_LENGTH: usize = 43;

/// Characters a state should not exceed.
const STATE_LENGTH: usize = 128;

/// Claims with a meaning (OIDC Core §3.1.2.1, §5.2, §5.5, RFC 7636, 8707, 9101, 9396, 9449).
const KNOWN_CLAIMS: [&str; 27] = [
    "acr_values",
    "aud",
    "authorization_details",
    "claims",
    "claims_locales",
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "display",
    "dpop_jkt",
    "exp",
    "iat",
    "id_token_hint",
    "iss",
    "jti",
    "login_hint",
    "max_age",
    "nbf",
    "nonce",
    "prompt",
    "redirect_uri",
    "resource",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "ui_locales",
];

/// In the order in which they are found out.
const SIGNATURE_RULES: [Rule; 7] = [
    Rule::RoMalformed,
    Rule::RoDuplicateMember,
    Rule::RoHeader,
    Rule::RoAlg,
    Rule::RoKidMissing,
    Rule::RoKeyUnknown,
    Rule::RoSignature,
];

const fn signature_rule(fault: JwsFault) -> Rule {
    match fault {
        JwsFault::Malformed => Rule::RoMalformed,
        JwsFault::DuplicateMember => Rule::RoDuplicateMember,
        JwsFault::HeaderNotAllowed => Rule::RoHeader,
        JwsFault::AlgNotAllowed => Rule::RoAlg,
        JwsFault::KidMissing => Rule::RoKidMissing,
        JwsFault::KeyUnknown | JwsFault::KeyUnusable => Rule::RoKeyUnknown,
        JwsFault::SignatureInvalid => Rule::RoSignature,
    }
}

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

pub(super) fn judge(
    checks: &mut Checks,
    token: &str,
    client: &ClientRegistration,
    issuer: &str,
    now: i64,
) -> Result<AuthorizationRequest, Refusal> {
    let verified = jws::verify(token, &client.jwks, &CLIENT_ALGS)
        .map_err(|fault| checks.broken(&SIGNATURE_RULES, signature_rule(fault), fault.reason()))?;
    checks.held(&SIGNATURE_RULES);
    // MS-5.3.2-5
    let typ = verified.header.get("typ").and_then(Value::as_str);
    checks.demand(Rule::RoTyp, typ == Some("oauth-authz-req+jwt"))?;
    let claims = Claims(&verified.claims);
    check_envelope(checks, &claims, client, issuer, now)?;
    let request = check_parameters(checks, &claims, client, &[Some("jwt"), Some("query.jwt")])?;
    let unknown: Vec<&str> =
        claims.0.keys().map(String::as_str).filter(|name| !KNOWN_CLAIMS.contains(name)).collect();
    checks.observe(Rule::RoUnknownClaims, unknown.is_empty(), &unknown.join(" "));
    Ok(request)
}

/// The parameters of an unsigned pushed request (FAPI 2.0 SP 5.3.2.2), by the same rules. What a
/// request object carries as JSON comes as text here.
pub(super) fn judge_plain(
    checks: &mut Checks,
    parameters: &[(String, String)],
    client: &ClientRegistration,
) -> Result<AuthorizationRequest, Refusal> {
    let mut claims = Object::new();
    for (name, text) in parameters {
        let json = match name.as_str() {
            "max_age" => Some(Rule::RoMaxAge),
            "claims" => Some(Rule::RoClaims),
            "authorization_details" => Some(Rule::RoDetails),
            _ => None,
        };
        let value = match json {
            Some(rule) => {
                serde_json::from_str(text).map_err(|_| checks.refuse(rule, "not JSON"))?
            }
            None => Value::from(text.as_str()),
        };
        claims.insert(name.clone(), value);
    }
    check_parameters(checks, &Claims(&claims), client, &[None, Some("query")])
}

struct Claims<'a>(&'a Object);

/// The claim is there and not a string.
struct NotText;

impl<'a> Claims<'a> {
    /// A string, or absent.
    fn text(&self, name: &str) -> Result<Option<&'a str>, NotText> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(NotText),
        }
    }

    fn is(&self, name: &str, wanted: &str) -> bool {
        self.text(name).is_ok_and(|text| text == Some(wanted))
    }

    fn time(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    fn absent_or(&self, name: &str, fine: impl FnOnce(&Value) -> bool) -> bool {
        self.0.get(name).is_none_or(fine)
    }
}

fn check_envelope(
    checks: &mut Checks,
    claims: &Claims<'_>,
    client: &ClientRegistration,
    issuer: &str,
    now: i64,
) -> Result<(), Refusal> {
    checks.demand(Rule::RoIss, claims.is("iss", &client.client_id))?;
    // RFC 9101 §10.8: what has no `sub` cannot pass for a client assertion.
    checks.demand(Rule::RoSub, !claims.0.contains_key("sub"))?;
    // MS-5.3.2-2
    let for_us = match claims.0.get("aud") {
        Some(Value::String(audience)) => audience == issuer,
        Some(Value::Array(audiences)) => audiences.iter().any(|a| a == issuer),
        _ => false,
    };
    checks.demand(Rule::RoAud, for_us)?;
    // MS-5.3.2-3
    let nbf = checks.require(Rule::RoNbfMissing, claims.time("nbf"))?;
    checks.demand(Rule::RoNbfOld, nbf >= now - HOUR)?;
    checks.demand(Rule::RoNbfFuture, nbf <= now + CLOCK_SKEW)?;
    // MS-5.3.2-4
    let exp = checks.require(Rule::RoExpMissing, claims.time("exp"))?;
    checks.demand(Rule::RoExpired, exp > now)?;
    checks.demand(Rule::RoLifetime, exp - nbf <= HOUR)?;
    let fresh =
        |fine: &dyn Fn(i64) -> bool| claims.absent_or("iat", |iat| iat.as_i64().is_some_and(fine));
    checks.demand(Rule::RoIatFuture, fresh(&|iat| iat <= now + CLOCK_SKEW))?;
    checks.observe(Rule::RoIatOld, fresh(&|iat| iat >= now - DAY), "");
    checks.require(Rule::RoJti, claims.text("jti").ok())?;
    let nested = ["request", "request_uri"].into_iter().find(|name| claims.0.contains_key(*name));
    checks.demand_with(Rule::RoNested, nested.is_none(), nested.unwrap_or_default())
}

fn check_parameters(
    checks: &mut Checks,
    claims: &Claims<'_>,
    client: &ClientRegistration,
    response_modes: &[Option<&str>],
) -> Result<AuthorizationRequest, Refusal> {
    checks.demand(Rule::RoClientId, claims.is("client_id", &client.client_id))?;
    checks.demand(Rule::RoResponseType, claims.is("response_type", "code"))?;
    let mode = claims.text("response_mode");
    checks.demand(Rule::RoResponseMode, mode.is_ok_and(|mode| response_modes.contains(&mode)))?;
    let redirect_uri = claims.text("redirect_uri").ok().flatten().unwrap_or_default();
    let registered = client.redirect_uris.iter().any(|uri| uri == redirect_uri);
    checks.demand(Rule::RoRedirectUri, registered && Url::parse(redirect_uri).is_ok())?;
    let scope = claims.text("scope").ok().flatten().unwrap_or_default();
    let allowed = check_scope(client, scope, true);
    let found = allowed.as_ref().err().map(String::as_str).unwrap_or_default();
    checks.demand_with(Rule::RoScope, allowed.is_ok(), found)?;
    checks.observe(Rule::RoScopeExact, scope == client.scopes.join(" "), "");
    // FAPI 2.0 SP 5.3.2.2: PKCE with S256.
    checks.demand(Rule::RoChallengeMethod, claims.is("code_challenge_method", "S256"))?;
    let challenge = claims.text("code_challenge").ok().flatten().unwrap_or_default();
    let well_formed = challenge.len() == 43 && challenge.bytes().all(is_base64url);
    checks.demand(Rule::RoChallenge, well_formed)?;
    let state = checks.require(Rule::RoState, claims.text("state").ok())?;
    checks.observe(Rule::RoStateForm, state.is_none_or(|state| is_short(state, STATE_LENGTH)), "");
    let nonce = checks.require(Rule::RoNonce, claims.text("nonce").ok())?;
    checks.observe(Rule::RoNonceForm, nonce.is_none_or(|nonce| is_short(nonce, NONCE_LENGTH)), "");
    for (rule, name) in [
        (Rule::RoLoginHint, "login_hint"),
        (Rule::RoUiLocales, "ui_locales"),
        (Rule::RoDisplay, "display"),
        (Rule::RoIdTokenHint, "id_token_hint"),
        (Rule::RoDpopJkt, "dpop_jkt"),
    ] {
        checks.require(rule, claims.text(name).ok())?;
    }
    let seconds = claims.absent_or("max_age", |age| age.as_i64().is_some_and(|age| age >= 0));
    checks.demand(Rule::RoMaxAge, seconds)?;
    checks.demand(Rule::RoClaims, claims.absent_or("claims", is_claims_parameter))?;
    checks.demand(Rule::RoDetails, claims.absent_or("authorization_details", Value::is_array))?;
    let acr_values = checks.require(Rule::RoAcrValues, claims.text("acr_values").ok())?;
    let prompt = checks.require(Rule::RoPrompt, claims.text("prompt").ok())?;
    Ok(AuthorizationRequest {
        redirect_uri: redirect_uri.to_owned(),
        scope: scope.to_owned(),
        state: state.map(str::to_owned),
        nonce: nonce.map(str::to_owned),
        code_challenge: challenge.to_owned(),
        acr: acr_values.and_then(|all| all.split(' ').next()).map(str::to_owned),
        prompt: prompt.map(str::to_owned),
    })
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// At most this many characters, none of which a URL must escape.
fn is_short(text: &str, length: usize) -> bool {
    text.len() <= length && text.bytes().all(|b| is_base64url(b) || b == b'.' || b == b'~')
}

/// `claims` is an object whose `userinfo` and `id_token` are objects (OIDC Core §5.5).
fn is_claims_parameter(requested: &Value) -> bool {
    let fine = |members: &Map<String, Value>| {
        ["userinfo", "id_token"].iter().all(|name| members.get(*name).is_none_or(Value::is_object))
    };
    requested.as_object().is_some_and(fine)
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
