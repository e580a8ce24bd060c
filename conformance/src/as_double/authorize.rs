//! From the authorization request, pushed (RFC 9126) or brought by the browser, to the authorization
//! response, signed (JARM) or not: the authorization endpoint and the login page's form.

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::{
    ClientRegistration, Interaction,
    behaviour::Target,
    client_auth::authenticate,
    conduct::ResponseForm,
    core::Core,
    dpop,
    exchange::{Call, Pairs, Refusal, see_other},
    metadata, page, pkce,
    request_object::{AuthorizationRequest, Terms},
    rules::Rule,
    state::{Code, Grant, Pushed, Realm},
    token,
};
use crate::{
    jws::{self, Object, random_token},
    ledger::{Endpoint, first},
};

/// Outside the request object only client authentication and the client's name (MS-5.3.2-1).
const PAR_PARAMETERS: [&str; 5] =
    ["client_assertion", "client_assertion_type", "client_id", "client_secret", "request"];

/// Of a pushed or signed request, all that the browser brings.
const BY_REFERENCE: [&str; 2] = ["client_id", "request_uri"];

/// What must stand beside a request object that the browser brings (FAPI 1.0 Advanced 5.2.3-9).
const REPEATED: [&str; 3] = ["client_id", "response_type", "scope"];

/// Seconds an authorization response is good for.
const JARM_LIFETIME: i64 = 300;

const REQUEST_URI_PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

pub(super) fn push(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    let conduct = core.config.conduct;
    call.demand_form()?;
    call.demand_door(conduct.door(call.endpoint))?;
    let client = authenticate(core, call)?;
    // Before the request is looked at, so that it may be the same again with another nonce.
    let key = if core.uses_dpop() && dpop::is_there(call) {
        Some(dpop::judge(core, call, None)?)
    } else {
        None
    };
    let pushed_again = call.form("request_uri").is_some();
    call.checks.demand(Rule::ParRequestUri, !pushed_again)?;
    let terms = terms(core, client);
    let mut request = if conduct.signed_requests {
        let form = call.form.clone();
        demand_only(call, &form, &PAR_PARAMETERS)?;
        let token = call.demand_value(Rule::ParRequestMissing, "request")?;
        judge_object(core, call, &terms, &token)?.0
    } else {
        let signed = call.form("request").is_some();
        call.checks.demand(Rule::ParRequestForbidden, !signed)?;
        let authentication = ["client_assertion", "client_assertion_type", "client_secret"];
        let mut parameters = call.form.clone();
        parameters.retain(|(name, _)| !authentication.contains(&name.as_str()));
        terms.judge_plain(&mut call.checks, &parameters)?
    };
    if let Some(key) = key {
        let same = request.dpop_jkt.as_ref().is_none_or(|wanted| *wanted == key);
        call.checks.demand(Rule::DpopRequestKey, same)?;
        request.dpop_jkt = Some(key);
    }
    observe_challenge(call, &request);
    let (request_uri, lifetime) = remember(core, client, request);
    let mut body = Object::new();
    body.insert("request_uri".into(), json!(request_uri));
    body.insert("expires_in".into(), json!(lifetime));
    Ok(core.json(StatusCode::CREATED, Target::ParResponse, body))
}

fn terms<'a>(core: &'a Core, client: &'a ClientRegistration) -> Terms<'a> {
    Terms {
        client,
        conduct: core.config.conduct,
        issuer: &core.issuer,
        details_types: &core.config.authorization_details_types,
        resources: &core.config.resources,
        now: core.now(),
    }
}

fn judge_object(
    core: &Core,
    call: &mut Call,
    terms: &Terms<'_>,
    token: &str,
) -> Result<(AuthorizationRequest, Object), Refusal> {
    core.state().secrets.push(token.to_owned());
    let inner = match &core.opener {
        None => None,
        Some(opener) => {
            let inner = opener
                .open(token)
                .map_err(|fault| call.checks.refuse(Rule::RoEncryption, &fault.to_string()))?;
            core.state().secrets.push(inner.clone());
            Some(inner)
        }
    };
    call.checks.held(&[Rule::RoEncryption]);
    let token = inner.as_deref().unwrap_or(token);
    if let Ok((header, claims)) = jws::peek(token) {
        call.note("request_object_header", header);
        call.note("request_object_claims", claims);
    }
    terms.judge(&mut call.checks, token)
}

fn observe_challenge(call: &mut Call, request: &AuthorizationRequest) {
    if let Some(challenge) = &request.code_challenge {
        call.checks.observe(Rule::RoChallengeReused, pkce::is_new(challenge), "");
    }
}

/// Keeps a request under a `request_uri`; gives that and how long it is good for.
fn remember(
    core: &Core,
    client: &ClientRegistration,
    request: AuthorizationRequest,
) -> (String, i64) {
    let lifetime = core.behaviour().request_uri_lifetime;
    let request_uri = format!("{REQUEST_URI_PREFIX}{}", random_token());
    let expires_at = core.now() + lifetime;
    let client_id = client.client_id.clone();
    let mut state = core.state();
    state.secrets.push(request_uri.clone());
    let pushed = Pushed { client_id, request, expires_at, used: false };
    state.pushed.insert(request_uri.clone(), pushed);
    (request_uri, lifetime)
}

/// None of these parameters but those allowed.
fn demand_only(call: &mut Call, parameters: &Pairs, allowed: &[&str]) -> Result<(), Refusal> {
    let outside =
        parameters.iter().map(|(name, _)| name.as_str()).find(|name| !allowed.contains(name));
    let found = outside.unwrap_or_default();
    call.checks.demand_with(Rule::Outside(call.endpoint), outside.is_none(), found)
}

/// The pushed request these parameters name, unspent, unexpired and of this client.
fn find(core: &Core, call: &mut Call, parameters: &Pairs) -> Result<Found, Refusal> {
    let endpoint = call.endpoint;
    let value = |name: &str| first(parameters, name).map(str::to_owned);
    let checks = &mut call.checks;
    let client_id = checks.require(Rule::ClientIdMissing(endpoint), value("client_id"))?;
    let request_uri = checks.require(Rule::RequestUriMissing(endpoint), value("request_uri"))?;
    let state = core.state();
    let pushed =
        checks.require(Rule::RequestUriUnknown(endpoint), state.pushed.get(&request_uri))?;
    checks.demand(Rule::RequestUriOtherClient(endpoint), pushed.client_id == client_id)?;
    checks.demand(Rule::RequestUriUsed(endpoint), !pushed.used)?;
    checks.demand(Rule::RequestUriExpired(endpoint), pushed.expires_at > core.now())?;
    let request = pushed.request.clone();
    drop(state);
    call.client_id = Some(client_id.clone());
    Ok(Found { client_id, request_uri, request })
}

/// The request that the browser brings whole. From here on it is as one that was pushed.
fn brought(core: &Core, call: &mut Call) -> Result<Found, Refusal> {
    let query = call.query.clone();
    let value = |name: &str| first(&query, name).map(str::to_owned);
    let client_id = value("client_id");
    let client_id = call.checks.require(Rule::ClientIdMissing(call.endpoint), client_id)?;
    let client = call.checks.require(Rule::ValueClient, core.client(&client_id))?;
    call.client_id = Some(client_id.clone());
    call.checks.demand(Rule::ValueRequestUri, value("request_uri").is_none())?;
    let terms = terms(core, client);
    let request = if core.config.conduct.signed_requests {
        let token = call.checks.require(Rule::ValueRequest, value("request"))?;
        let missing = REPEATED.iter().find(|name| value(name).is_none());
        let found = missing.copied().unwrap_or_default();
        call.checks.demand_with(Rule::ValueRepeated, missing.is_none(), found)?;
        let (request, claims) = judge_object(core, call, &terms, &token)?;
        check_beside(call, &query, &claims)?;
        request
    } else {
        call.checks.demand(Rule::ValueRequestForbidden, value("request").is_none())?;
        terms.judge_plain(&mut call.checks, &query)?
    };
    observe_challenge(call, &request);
    let (request_uri, _) = remember(core, client, request.clone());
    Ok(Found { client_id, request_uri, request })
}

/// What stands beside a request object says the same as it (OIDC Core §6.1, RFC 9101 §5).
fn check_beside(call: &mut Call, query: &Pairs, claims: &Object) -> Result<(), Refusal> {
    let same = |(name, text): &&(String, String)| match claims.get(name) {
        Some(Value::String(claim)) => claim == text,
        Some(other) => serde_json::from_str::<Value>(text).is_ok_and(|value| value == *other),
        None => false,
    };
    let differs = query.iter().filter(|(name, _)| name != "request").filter(|pair| !same(pair));
    let names: Vec<&str> = differs.map(|(name, _)| name.as_str()).collect();
    let grave = names.iter().find(|name| ["client_id", "response_type"].contains(name));
    let found = grave.copied().unwrap_or_default();
    call.checks.demand_with(Rule::ValueEqual, grave.is_none(), found)?;
    call.checks.observe(Rule::ValueOthers, names.is_empty(), &names.join(" "));
    Ok(())
}

struct Found {
    client_id: String,
    request_uri: String,
    request: AuthorizationRequest,
}

pub(super) fn authorize(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    let conduct = core.config.conduct;
    call.demand_method(&Method::GET)?;
    call.demand_door(conduct.door(call.endpoint))?;
    call.demand_single_query()?;
    core.state().new_nonce(Realm::Server);
    let found = if conduct.is_pushed() {
        let query = call.query.clone();
        demand_only(call, &query, &BY_REFERENCE)?;
        find(core, call, &query)?
    } else {
        brought(core, call)?
    };
    let silent = found.request.prompt.as_deref() == Some("none");
    if core.config.interaction == Interaction::Page {
        if silent {
            return answer(core, call, &found, Err("login_required"));
        }
        return Ok(login_page(core, &found));
    }
    let (deny, wanted) = {
        let behaviour = core.behaviour();
        (behaviour.deny.clone(), behaviour.user.clone())
    };
    if let Some(error) = deny {
        return answer(core, call, &found, Err(&error));
    }
    let first = core.config.users.first().map(|user| user.sub.clone());
    let sub = call.checks.require(Rule::NoUser, wanted.or(first))?;
    answer(core, call, &found, Ok(&sub))
}

fn login_page(core: &Core, found: &Found) -> Response {
    let users: Vec<_> = core
        .config
        .users
        .iter()
        .map(|user| {
            let text = |name: &str| user.claims.get(name).and_then(|value| value.as_str());
            (
                user.sub.clone(),
                text("name").unwrap_or(&user.sub).to_owned(),
                text("email").unwrap_or_default().to_owned(),
            )
        })
        .collect();
    page::login(
        &metadata::url(&core.config.path, Endpoint::Decision),
        &[("client_id", &found.client_id), ("request_uri", &found.request_uri)],
        &found.client_id,
        &found.request.scope,
        &users,
        &origin(&found.request.redirect_uri),
    )
}

/// `https://host:port` of a URL, for a content security policy.
pub(super) fn origin(url: &str) -> String {
    Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

/// What the person chose on the login page.
pub(super) fn decide(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_form()?;
    call.demand_door(core.config.conduct.door(call.endpoint))?;
    let form = call.form.clone();
    let found = find(core, call, &form)?;
    if call.form("cancel").is_some() {
        return answer(core, call, &found, Err("access_denied"));
    }
    let sub = call.form("user").filter(|sub| core.user(sub).is_some()).map(str::to_owned);
    let sub = call.checks.require(Rule::UserUnknown, sub)?;
    answer(core, call, &found, Ok(&sub))
}

/// Spends the request and sends the browser back with an answer.
fn answer(
    core: &Core,
    call: &mut Call,
    found: &Found,
    outcome: Result<&str, &str>,
) -> Result<Response, Refusal> {
    let spent = core
        .state()
        .pushed
        .get_mut(&found.request_uri)
        .map(|pushed| std::mem::replace(&mut pushed.used, true));
    // Between the look-up and this another request may have spent it.
    if spent != Some(false) {
        return Err(call.checks.refuse(Rule::RequestUriUsed(call.endpoint), "one use only"));
    }
    let reached = outcome.and_then(|sub| match acr(core, &found.request) {
        Ok(acr) => Ok((sub, acr)),
        Err(Unmet) => Err("unmet_authentication_requirements"),
    });
    let unsigned = core.behaviour().unsigned_error.clone();
    let mut parameters = match unsigned {
        Some(error) => unsigned_error(core, found, error),
        None => response(core, call, found, reached)?,
    };
    core.behaviour().apply_params(&mut parameters);
    deliver(core, call, &found.request, &parameters)
}

fn unsigned_error(core: &Core, found: &Found, error: String) -> Pairs {
    let mut parameters = vec![("error".to_owned(), error)];
    if let Some(state) = &found.request.state {
        parameters.push(("state".to_owned(), state.clone()));
    }
    if core.config.conduct.names_issuer() {
        parameters.push(("iss".to_owned(), core.issuer.clone()));
    }
    parameters
}

/// The parameters of the response, as the conduct has them.
fn response(
    core: &Core,
    call: &mut Call,
    found: &Found,
    outcome: Result<(&str, Option<String>), &str>,
) -> Result<Pairs, Refusal> {
    let (request, conduct, now) = (&found.request, core.config.conduct, core.now());
    let mut claims = Object::new();
    if let Some(state) = &request.state {
        claims.insert("state".into(), json!(state));
    }
    match outcome {
        Ok((sub, acr)) => {
            call.note("sub", sub);
            let (issued, grant) = issue_code(core, found, sub, acr);
            if conduct.response == ResponseForm::Hybrid {
                let signed = token::front_id_token(core, call, &grant, sub, &issued, request)?;
                claims.insert("id_token".into(), json!(signed));
            }
            claims.insert("code".into(), json!(issued));
        }
        Err(error) => {
            call.note("error", error);
            claims.insert("error".into(), json!(error));
            claims.insert("error_description".into(), json!("as asked"));
        }
    }
    if conduct.response == ResponseForm::Jarm {
        claims.insert("iss".into(), json!(core.issuer));
        claims.insert("aud".into(), json!(found.client_id));
        claims.insert("exp".into(), json!(now + JARM_LIFETIME));
        claims.insert("iat".into(), json!(now));
        let signed = core.issue(call, &found.client_id, Target::Jarm, claims)?;
        return Ok(vec![("response".to_owned(), signed)]);
    }
    if conduct.names_issuer() {
        claims.insert("iss".into(), json!(core.issuer));
    }
    core.behaviour().apply_edits(Target::Jarm, &mut claims);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(claims.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}

/// Sends the browser back: by redirect with the parameters in query or fragment, or by a page that
/// posts them.
fn deliver(
    core: &Core,
    call: &mut Call,
    request: &AuthorizationRequest,
    parameters: &Pairs,
) -> Result<Response, Refusal> {
    let location = Url::parse(&request.redirect_uri).ok();
    let mut location = call.checks.require(Rule::ReturnUri(call.endpoint), location)?;
    let mode = request.response_mode.as_deref().unwrap_or_default();
    let posts = mode.starts_with("form_post");
    if posts || parameters.is_empty() {
        // As it is.
    } else if core.config.conduct.response == ResponseForm::Hybrid {
        let fragment =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        location.set_fragment(Some(&fragment));
    } else {
        location.query_pairs_mut().extend_pairs(parameters);
    }
    core.state().last_redirect = Some(location.to_string());
    if posts {
        return Ok(page::form_post(location.as_str(), parameters, &origin(location.as_str())));
    }
    Ok(see_other(location.as_str()))
}

/// An essential `acr` that this server does not reach.
struct Unmet;

/// The authentication context that is reached: the first that must be, or else what was wished for
/// first (OIDC Core §5.5.1.1, RFC 9470 §4).
fn acr(core: &Core, request: &AuthorizationRequest) -> Result<Option<String>, Unmet> {
    if core.behaviour().ignore_acr {
        return Ok(None);
    }
    if request.essential_acrs.is_empty() {
        return Ok(request.acr.clone());
    }
    let reached = request.essential_acrs.iter().find(|acr| core.config.acrs.contains(acr));
    reached.cloned().map(Some).ok_or(Unmet)
}

/// When whoever comes logged in: anew if that was too long ago or is asked for (OIDC Core §3.1.2.1).
fn auth_time(core: &Core, request: &AuthorizationRequest) -> i64 {
    let (age, ignores) = {
        let behaviour = core.behaviour();
        (behaviour.login_age, behaviour.ignore_max_age)
    };
    let too_old = request.max_age.is_some_and(|max_age| age > max_age) && !ignores;
    let asked = request.prompt.as_deref() == Some("login");
    core.now() - if too_old || asked { 0 } else { age }
}

fn issue_code(core: &Core, found: &Found, sub: &str, acr: Option<String>) -> (String, Grant) {
    let request = &found.request;
    let (lifetime, further) = {
        let behaviour = core.behaviour();
        (behaviour.code_lifetime, behaviour.further_details.clone())
    };
    let details = match (&request.details, further.is_empty()) {
        (None, true) => None,
        (asked, _) => {
            let asked = asked.as_ref().and_then(Value::as_array).into_iter().flatten();
            Some(asked.cloned().chain(further).collect())
        }
    };
    let grant = Grant {
        client_id: found.client_id.clone(),
        sub: Some(sub.to_owned()),
        sid: random_token(),
        scope: request.scope.clone(),
        auth_time: auth_time(core, request),
        acr,
        nonce: request.nonce.clone(),
        intent: request.intent.clone(),
        details,
        resources: request.resources.clone(),
        revoked: false,
    };
    let expires_at = core.now() + lifetime;
    let mut state = core.state();
    let id = state.add_grant(grant.clone());
    let secret = state.secret();
    state.codes.insert(
        secret.clone(),
        Code {
            grant: id,
            client_id: found.client_id.clone(),
            request: request.clone(),
            expires_at,
            used: false,
        },
    );
    (secret, grant)
}
