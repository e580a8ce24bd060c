//! From the pushed request to the signed authorization response: PAR (RFC 9126), the authorization
//! endpoint, the login page's form, JARM.

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::json;
use url::Url;

use super::{
    ClientRegistration, Interaction, Profile,
    behaviour::Target,
    client_auth::authenticate,
    core::Core,
    exchange::{Call, Pairs, Refusal, see_other},
    metadata, page, pkce,
    request_object::{self, AuthorizationRequest},
    rules::Rule,
    state::{Code, Grant, Pushed},
};
use crate::{
    jws::{self, Object, random_token},
    ledger::{Endpoint, ListenerKind},
};

/// Outside the request object only client authentication and the client's name (MS-5.3.2-1).
const PAR_PARAMETERS: [&str; 4] =
    ["client_assertion", "client_assertion_type", "client_id", "request"];

/// Seconds an authorization response is good for.
const JARM_LIFETIME: i64 = 300;

const REQUEST_URI_PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

pub(super) fn push(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_form()?;
    call.demand_any_listener()?;
    let client = authenticate(core, call)?;
    let pushed_again = call.form("request_uri").is_some();
    call.checks.demand(Rule::ParRequestUri, !pushed_again)?;
    let now = core.now();
    let request = match core.config.profile {
        Profile::MessageSigning => signed_request(core, call, client, now)?,
        Profile::Security => plain_request(call, client)?,
    };
    call.checks.observe(Rule::RoChallengeReused, pkce::is_new(&request.code_challenge), "");
    let lifetime = core.behaviour().request_uri_lifetime;
    let request_uri = format!("{REQUEST_URI_PREFIX}{}", random_token());
    let mut state = core.state();
    state.secrets.push(request_uri.clone());
    state.pushed.insert(
        request_uri.clone(),
        Pushed {
            client_id: client.client_id.clone(),
            request,
            expires_at: now + lifetime,
            used: false,
        },
    );
    drop(state);
    let mut body = Object::new();
    body.insert("request_uri".into(), json!(request_uri));
    body.insert("expires_in".into(), json!(lifetime));
    Ok(core.json(StatusCode::CREATED, Target::ParResponse, body))
}

/// None of these parameters but those allowed.
fn demand_only(call: &mut Call, parameters: &Pairs, allowed: &[&str]) -> Result<(), Refusal> {
    let outside =
        parameters.iter().map(|(name, _)| name.as_str()).find(|name| !allowed.contains(name));
    let found = outside.unwrap_or_default();
    call.checks.demand_with(Rule::Outside(call.endpoint), outside.is_none(), found)
}

/// MS-5.3.2-1: everything inside a signed request object.
fn signed_request(
    core: &Core,
    call: &mut Call,
    client: &ClientRegistration,
    now: i64,
) -> Result<AuthorizationRequest, Refusal> {
    let form = call.form.clone();
    demand_only(call, &form, &PAR_PARAMETERS)?;
    let token = call.demand_value(Rule::ParRequestMissing, "request")?;
    core.state().secrets.push(token.clone());
    if let Ok((header, claims)) = jws::peek(&token) {
        call.note("request_object_header", header);
        call.note("request_object_claims", claims);
    }
    request_object::judge(&mut call.checks, &token, client, &core.issuer, now)
}

/// The Security Profile's plain parameters, of which `client_id` is one.
fn plain_request(
    call: &mut Call,
    client: &ClientRegistration,
) -> Result<AuthorizationRequest, Refusal> {
    let signed = call.form("request").is_some();
    call.checks.demand(Rule::ParRequestForbidden, !signed)?;
    let parameters: Pairs = call
        .form
        .iter()
        .filter(|(name, _)| !name.starts_with("client_assertion"))
        .cloned()
        .collect();
    request_object::judge_plain(&mut call.checks, &parameters, client)
}

/// The pushed request these parameters name, unspent, unexpired and of this client.
fn find(core: &Core, call: &mut Call, parameters: &Pairs) -> Result<Found, Refusal> {
    let endpoint = call.endpoint;
    let value = |name: &str| crate::ledger::first(parameters, name).map(str::to_owned);
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

struct Found {
    client_id: String,
    request_uri: String,
    request: AuthorizationRequest,
}

pub(super) fn authorize(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_method(&Method::GET)?;
    call.demand_listener(ListenerKind::Plain)?;
    call.demand_single_query()?;
    let query = call.query.clone();
    demand_only(call, &query, &["client_id", "request_uri"])?;
    let found = find(core, call, &query)?;
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
    call.demand_listener(ListenerKind::Plain)?;
    let form = call.form.clone();
    let found = find(core, call, &form)?;
    if call.form("cancel").is_some() {
        return answer(core, call, &found, Err("access_denied"));
    }
    let sub = call.form("user").filter(|sub| core.user(sub).is_some()).map(str::to_owned);
    let sub = call.checks.require(Rule::UserUnknown, sub)?;
    answer(core, call, &found, Ok(&sub))
}

/// Spends the request and sends the browser back with a signed answer.
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
    let request = &found.request;
    let now = core.now();
    let signed = core.config.profile == Profile::MessageSigning;
    let mut claims = Object::new();
    claims.insert("iss".into(), json!(core.issuer));
    if signed {
        claims.insert("aud".into(), json!(found.client_id));
        claims.insert("exp".into(), json!(now + JARM_LIFETIME));
        claims.insert("iat".into(), json!(now));
    }
    if let Some(state) = &request.state {
        claims.insert("state".into(), json!(state));
    }
    match outcome {
        Ok(sub) => {
            call.note("sub", sub);
            claims.insert("code".into(), json!(issue_code(core, found, sub)));
        }
        Err(error) => {
            call.note("error", error);
            claims.insert("error".into(), json!(error));
            claims.insert("error_description".into(), json!("as asked"));
        }
    }
    let unsigned = core.behaviour().unsigned_error.clone();
    let mut parameters: Pairs = Vec::new();
    if let Some(error) = unsigned {
        parameters.push(("error".to_owned(), error));
        if let Some(state) = &request.state {
            parameters.push(("state".to_owned(), state.clone()));
        }
        parameters.push(("iss".to_owned(), core.issuer.clone()));
    } else if signed {
        let response = core.issue(call, Target::Jarm, claims)?;
        parameters.push(("response".to_owned(), response));
    } else {
        core.behaviour().apply_edits(Target::Jarm, &mut claims);
        for (name, value) in &claims {
            parameters.push((name.clone(), value.as_str().unwrap_or_default().to_owned()));
        }
    }
    core.behaviour().apply_params(&mut parameters);
    let location = Url::parse(&request.redirect_uri).ok();
    let mut location = call.checks.require(Rule::ReturnUri(call.endpoint), location)?;
    if !parameters.is_empty() {
        location.query_pairs_mut().extend_pairs(parameters);
    }
    core.state().last_redirect = Some(location.to_string());
    Ok(see_other(location.as_str()))
}

fn issue_code(core: &Core, found: &Found, sub: &str) -> String {
    let now = core.now();
    let lifetime = core.behaviour().code_lifetime;
    let mut state = core.state();
    let grant = state.add_grant(Grant {
        client_id: found.client_id.clone(),
        sub: Some(sub.to_owned()),
        sid: random_token(),
        scope: found.request.scope.clone(),
        auth_time: now,
        acr: found.request.acr.clone(),
        nonce: found.request.nonce.clone(),
        revoked: false,
    });
    let secret = state.secret();
    state.codes.insert(
        secret.clone(),
        Code {
            grant,
            client_id: found.client_id.clone(),
            request: found.request.clone(),
            expires_at: now + lifetime,
            used: false,
        },
    );
    secret
}
