//! The authorization request, signed (RFC 9101; FAPI 2.0 Message Signing 5.3.2, FAPI 1.0 Advanced
//! 5.2.3) or plain: a function from a token or parameters, a registration, the server's conduct and
//! the time to the request or the clause it breaks.

use serde_json::{Map, Value};
use url::Url;

use super::{
    ClientRegistration,
    checks::Checks,
    client_auth::CLOCK_SKEW,
    conduct::{Conduct, Family, ResponseForm},
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
    pub(super) response_mode: Option<String>,
    pub(super) scope: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) code_challenge: Option<String>,
    /// The `acr` wished for first.
    pub(super) acr: Option<String>,
    /// The values one of which must be reached (OIDC Core §5.5.1.1); empty if none must.
    pub(super) essential_acrs: Vec<String>,
    /// The consent to authorize, where an essential claim names it.
    pub(super) intent: Option<String>,
    pub(super) max_age: Option<i64>,
    pub(super) prompt: Option<String>,
    pub(super) details: Option<Value>,
    pub(super) resources: Vec<String>,
    /// The key that the code is bound to (RFC 9449 §10).
    pub(super) dpop_jkt: Option<String>,
}

/// What a request is judged by.
pub(super) struct Terms<'a> {
    pub(super) client: &'a ClientRegistration,
    pub(super) conduct: Conduct,
    pub(super) issuer: &'a str,
    /// Types of `authorization_details` there are.
    pub(super) details_types: &'a [String],
    /// Resources there are; any if empty.
    pub(super) resources: &'a [String],
    pub(super) now: i64,
}

impl Terms<'_> {
    /// A signed request, and its claims.
    pub(super) fn judge(
        &self,
        checks: &mut Checks,
        token: &str,
    ) -> Result<(AuthorizationRequest, Object), Refusal> {
        let verified = jws::verify(token, &self.client.jwks, self.conduct.client_algs());
        let verified = verified.map_err(|fault| {
            checks.broken(&SIGNATURE_RULES, signature_rule(fault), fault.reason())
        })?;
        checks.held(&SIGNATURE_RULES);
        // MS-5.3.2-5
        let typ = verified.header.get("typ").and_then(Value::as_str);
        checks.demand(Rule::RoTyp, typ == Some("oauth-authz-req+jwt"))?;
        let claims = Claims(&verified.claims);
        check_envelope(checks, &claims, self.client, self.issuer, self.now)?;
        let request = self.check_parameters(checks, &claims)?;
        let names = claims.0.keys().map(String::as_str);
        let unknown: Vec<&str> = names.filter(|name| !KNOWN_CLAIMS.contains(name)).collect();
        checks.observe(Rule::RoUnknownClaims, unknown.is_empty(), &unknown.join(" "));
        Ok((request, verified.claims))
    }

    /// Plain parameters (FAPI 2.0 SP 5.3.2.2, OIDC Core §3.1.2.1), by the same rules. What a request
    /// object carries as JSON comes as text here.
    pub(super) fn judge_plain(
        &self,
        checks: &mut Checks,
        parameters: &[(String, String)],
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
            // The only parameter that may come more than once.
            match (name.as_str(), claims.get_mut(name)) {
                ("resource", Some(Value::Array(all))) => all.push(value),
                ("resource", None) => {
                    claims.insert(name.clone(), Value::Array(vec![value]));
                }
                _ => {
                    claims.insert(name.clone(), value);
                }
            }
        }
        self.check_parameters(checks, &Claims(&claims))
    }
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

impl Terms<'_> {
    fn check_parameters(
        &self,
        checks: &mut Checks,
        claims: &Claims<'_>,
    ) -> Result<AuthorizationRequest, Refusal> {
        let (client, conduct) = (self.client, self.conduct);
        checks.demand(Rule::RoClientId, claims.is("client_id", &client.client_id))?;
        let fits = claims.is("response_type", conduct.response_type());
        checks.demand(Rule::RoResponseType, fits)?;
        let mode = claims.text("response_mode").ok();
        let mode = mode.filter(|mode| conduct.response_modes().contains(mode));
        let mode = checks.require(Rule::RoResponseMode, mode)?;
        let redirect_uri = claims.text("redirect_uri").ok().flatten().unwrap_or_default();
        let registered = client.redirect_uris.iter().any(|uri| uri == redirect_uri);
        checks.demand(Rule::RoRedirectUri, registered && Url::parse(redirect_uri).is_ok())?;
        let scope = claims.text("scope").ok().flatten().unwrap_or_default();
        let allowed = check_scope(client, scope, Some(conduct.openid));
        let found = allowed.as_ref().err().map(String::as_str).unwrap_or_default();
        checks.demand_with(Rule::RoScope, allowed.is_ok(), found)?;
        checks.observe(Rule::RoScopeExact, scope == client.scopes.join(" "), "");
        let code_challenge = self.check_challenge(checks, claims)?;
        let (state, nonce) = self.check_bindings(checks, claims)?;
        let texts = [
            (Rule::RoLoginHint, "login_hint"),
            (Rule::RoUiLocales, "ui_locales"),
            (Rule::RoDisplay, "display"),
            (Rule::RoIdTokenHint, "id_token_hint"),
        ];
        for (rule, name) in texts {
            checks.require(rule, claims.text(name).ok())?;
        }
        let dpop_jkt = checks.require(Rule::RoDpopJkt, claims.text("dpop_jkt").ok())?;
        let seconds = claims.absent_or("max_age", |age| age.as_i64().is_some_and(|age| age >= 0));
        checks.demand(Rule::RoMaxAge, seconds)?;
        let wanted = |claims: &Value| conduct.openid && is_claims_parameter(claims);
        checks.demand(Rule::RoClaims, claims.absent_or("claims", wanted))?;
        let details = self.check_details(checks, claims)?;
        let resources = self.targets(claims.0.get("resource"));
        let resources = checks.require(Rule::RoResource, resources)?;
        let acr_values = checks.require(Rule::RoAcrValues, claims.text("acr_values").ok())?;
        let prompt = checks.require(Rule::RoPrompt, claims.text("prompt").ok())?;
        let wished = acr_values.and_then(|all| all.split(' ').next());
        Ok(AuthorizationRequest {
            redirect_uri: redirect_uri.to_owned(),
            response_mode: mode.map(str::to_owned),
            scope: scope.to_owned(),
            state: state.map(str::to_owned),
            nonce: nonce.map(str::to_owned),
            code_challenge,
            acr: wished.map(str::to_owned),
            essential_acrs: essential_acrs(claims.0.get("claims")),
            intent: essential_intent(claims.0.get("claims")),
            max_age: claims.time("max_age"),
            prompt: prompt.map(str::to_owned),
            details,
            resources,
            dpop_jkt: dpop_jkt.map(str::to_owned),
        })
    }

    /// PKCE with S256, where there must be a challenge or is one (FAPI 2.0 SP 5.3.2.2).
    fn check_challenge(
        &self,
        checks: &mut Checks,
        claims: &Claims<'_>,
    ) -> Result<Option<String>, Refusal> {
        let is_there =
            ["code_challenge", "code_challenge_method"].iter().any(|n| claims.0.contains_key(*n));
        if !is_there && !self.conduct.needs_challenge() {
            return Ok(None);
        }
        checks.demand(Rule::RoChallengeMethod, claims.is("code_challenge_method", "S256"))?;
        let challenge = claims.text("code_challenge").ok().flatten().unwrap_or_default();
        let well_formed = challenge.len() == 43 && challenge.bytes().all(is_base64url);
        checks.demand(Rule::RoChallenge, well_formed)?;
        Ok(Some(challenge.to_owned()))
    }

    /// State and nonce; FAPI 1.0 demands the nonce, and without OpenID Connect the state.
    fn check_bindings<'a>(
        &self,
        checks: &mut Checks,
        claims: &Claims<'a>,
    ) -> Result<(Option<&'a str>, Option<&'a str>), Refusal> {
        let state = checks.require(Rule::RoState, claims.text("state").ok())?;
        let short = state.is_none_or(|state| is_short(state, STATE_LENGTH));
        checks.observe(Rule::RoStateForm, short, "");
        let nonce = checks.require(Rule::RoNonce, claims.text("nonce").ok())?;
        let short = nonce.is_none_or(|nonce| is_short(nonce, NONCE_LENGTH));
        checks.observe(Rule::RoNonceForm, short, "");
        let Conduct { family, openid, response, .. } = self.conduct;
        if family == Family::Fapi1 && !openid {
            checks.demand(Rule::RoStateMissing, state.is_some())?;
        }
        if (family == Family::Fapi1 && openid) || response == ResponseForm::Hybrid {
            checks.demand(Rule::RoNonceMissing, nonce.is_some())?;
        }
        Ok((state, nonce))
    }

    /// RFC 9396 §2: an array of objects, each of a type there is.
    fn check_details(
        &self,
        checks: &mut Checks,
        claims: &Claims<'_>,
    ) -> Result<Option<Value>, Refusal> {
        let Some(details) = claims.0.get("authorization_details") else {
            checks.held(&[Rule::RoDetails, Rule::RoDetailsType]);
            return Ok(None);
        };
        let entries = checks.require(Rule::RoDetails, details.as_array())?;
        let known = |entry: &Value| {
            let kind = entry.get("type").and_then(Value::as_str);
            kind.is_some_and(|kind| self.details_types.iter().any(|known| known == kind))
        };
        checks.demand(Rule::RoDetailsType, entries.iter().all(known))?;
        Ok(Some(details.clone()))
    }

    /// RFC 8707 §2: absolute addresses without fragment, of resources there are.
    pub(super) fn targets(&self, asked: Option<&Value>) -> Option<Vec<String>> {
        let all: Vec<&str> = match asked {
            None => Vec::new(),
            Some(Value::Array(all)) => all.iter().map(Value::as_str).collect::<Option<_>>()?,
            Some(one) => vec![one.as_str()?],
        };
        let known = |target: &&str| {
            let absolute = Url::parse(target).is_ok_and(|url| url.has_host());
            let ours = self.resources.is_empty() || self.resources.iter().any(|r| r == target);
            absolute && !target.contains('#') && ours
        };
        all.iter().all(known).then(|| all.into_iter().map(str::to_owned).collect())
    }
}

/// The values of `acr` in the ID token that the `claims` parameter calls essential.
fn essential_acrs(claims: Option<&Value>) -> Vec<String> {
    let acr = claims.and_then(|claims| claims.pointer("/id_token/acr"));
    let acr = acr.filter(|acr| acr.get("essential") == Some(&Value::Bool(true)));
    let values = acr.and_then(|acr| acr.get("values")).and_then(Value::as_array);
    let value = acr.and_then(|acr| acr.get("value"));
    let all = values.into_iter().flatten().chain(value);
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The consent that the `claims` parameter names, as Open Banking in the United Kingdom has it.
fn essential_intent(claims: Option<&Value>) -> Option<String> {
    let intent = claims?.pointer("/id_token/openbanking_intent_id")?;
    let essential = intent.get("essential") == Some(&Value::Bool(true));
    let value = intent.get("value").filter(|_| essential)?;
    value.as_str().map(str::to_owned)
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

/// Every scope registered, none twice; where somebody logs in, `openid` among them or not, as told.
pub(super) fn check_scope(
    client: &ClientRegistration,
    scope: &str,
    openid: Option<bool>,
) -> Result<(), String> {
    let asked: Vec<&str> = scope.split(' ').collect();
    let (dynamic, asked): (Vec<&str>, Vec<&str>) = match &client.consent_scope {
        Some(prefix) => asked.into_iter().partition(|name| name.starts_with(prefix.as_str())),
        None => (Vec::new(), asked),
    };
    if openid.is_some() && client.consent_scope.is_some() && dynamic.len() != 1 {
        return Err("not one scope names a consent".to_owned());
    }
    for (index, name) in asked.iter().enumerate() {
        if !client.scopes.iter().any(|allowed| allowed == name) {
            return Err(format!("scope {name} is not registered"));
        }
        if asked.iter().skip(index + 1).any(|other| other == name) {
            return Err(format!("scope {name} twice"));
        }
    }
    let Some(openid) = openid else {
        return Ok(());
    };
    match (openid, asked.contains(&"openid")) {
        (true, false) => return Err("openid is missing".to_owned()),
        (false, true) => return Err("openid is asked for".to_owned()),
        _ => {}
    }
    if client.exact_scope && asked != client.scopes {
        return Err("scope is not the registered string".to_owned());
    }
    Ok(())
}
