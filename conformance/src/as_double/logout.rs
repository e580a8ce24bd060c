//! The end of a session: RP-initiated logout, and the claims of a back-channel logout token.

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};
use url::Url;

use super::{
    Interaction,
    authorize::origin,
    core::Core,
    exchange::{Call, Pairs, Refusal, see_other},
    metadata, page,
    rules::Rule,
};
use crate::{
    jws::{self, JwsFault, Object, random_token},
    ledger::{Endpoint, first},
};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Seconds a logout token is good for (OIDC Back-Channel Logout §4: two minutes at most).
const LOGOUT_TOKEN_LIFETIME: i64 = 120;

struct Ending {
    sid: Option<String>,
    destination: Option<String>,
}

pub(super) fn end_session(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_door(core.config.conduct.door(call.endpoint))?;
    let parameters = if call.method == Method::POST {
        call.demand_form()?;
        call.form.clone()
    } else {
        call.demand_method(&Method::GET)?;
        call.demand_single_query()?;
        call.query.clone()
    };
    let ending = judge(core, call, &parameters)?;
    if core.config.interaction == Interaction::Page {
        let action = metadata::url(&core.config.path, Endpoint::EndSessionDecision);
        let hidden: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let target = ending.destination.as_deref().map(origin);
        return Ok(page::logout(&action, &hidden, &target.unwrap_or_default()));
    }
    Ok(finish(core, call, ending))
}

/// The person confirmed.
pub(super) fn decide(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_form()?;
    call.demand_door(core.config.conduct.door(call.endpoint))?;
    let form = call.form.clone();
    let ending = judge(core, call, &form)?;
    Ok(finish(core, call, ending))
}

fn judge(core: &Core, call: &mut Call, parameters: &Pairs) -> Result<Ending, Refusal> {
    let endpoint = call.endpoint;
    let value = |name: &str| first(parameters, name);
    let checks = &mut call.checks;
    let hint = checks.require(Rule::HintMissing(endpoint), value("id_token_hint"))?;
    let claims =
        hinted(core, hint).map_err(|fault| checks.refuse(Rule::Hint(endpoint), fault.reason()))?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let client = text("aud").and_then(|audience| core.client(audience));
    let ours = text("iss") == Some(&core.issuer) && text("sub").is_some();
    let client = checks.require(Rule::Hint(endpoint), client.filter(|_| ours))?;
    call.client_id = Some(client.client_id.clone());
    let same = value("client_id").is_none_or(|id| id == client.client_id);
    checks.demand(Rule::LogoutClient(endpoint), same)?;
    let destination = value("post_logout_redirect_uri")
        .map(|uri| destination(client, uri, value("state")))
        .transpose();
    let destination = checks.require(Rule::LogoutReturn(endpoint), destination.ok())?;
    if let Some(sid) = text("sid") {
        call.note("sid", sid);
    }
    Ok(Ending { sid: text("sid").map(str::to_owned), destination })
}

/// Claims of a hint this server signed. An expired ID token is a fine hint (OIDC RP-Initiated
/// Logout §2).
fn hinted(core: &Core, hint: &str) -> Result<Object, JwsFault> {
    let (header, claims) = jws::peek(hint)?;
    let state = core.state();
    // Told to leave out the `kid`, the server knows what it issued.
    if !header.contains_key("kid") && state.secrets.iter().any(|issued| issued == hint) {
        return Ok(claims);
    }
    let verified = jws::verify(hint, &state.keys.ever(), &[core.config.signing_alg])?;
    Ok(verified.claims)
}

/// Where to go after logout; nothing if that is not registered, to the letter.
fn destination(
    client: &super::ClientRegistration,
    uri: &str,
    state: Option<&str>,
) -> Result<String, Unregistered> {
    if !client.post_logout_redirect_uris.iter().any(|known| known == uri) {
        return Err(Unregistered);
    }
    let Some(state) = state else {
        return Ok(uri.to_owned());
    };
    let mut url = Url::parse(uri).map_err(|_| Unregistered)?;
    url.query_pairs_mut().append_pair("state", state);
    Ok(url.into())
}

struct Unregistered;

fn finish(core: &Core, call: &mut Call, ending: Ending) -> Response {
    if let Some(sid) = &ending.sid {
        core.state().end_session(sid);
    }
    call.note("ended", true);
    match ending.destination {
        Some(destination) => see_other(&destination),
        None => page::goodbye(),
    }
}

pub(super) fn logout_token_claims(
    core: &Core,
    client_id: &str,
    sub: Option<&str>,
    sid: Option<&str>,
) -> Object {
    let now = core.now();
    let mut events = Object::new();
    events.insert(EVENT.into(), json!({}));
    let mut claims = Object::new();
    claims.insert("iss".into(), json!(core.issuer));
    claims.insert("aud".into(), json!(client_id));
    claims.insert("iat".into(), json!(now));
    claims.insert("exp".into(), json!(now + LOGOUT_TOKEN_LIFETIME));
    claims.insert("jti".into(), json!(random_token()));
    claims.insert("events".into(), events.into());
    if let Some(sub) = sub {
        claims.insert("sub".into(), json!(sub));
    }
    if let Some(sid) = sid {
        claims.insert("sid".into(), json!(sid));
    }
    claims
}
