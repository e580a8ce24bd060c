//! The end of a session: RP-initiated logout, and what other clients are told of it, by the back channel
//! (a logout token) and by the front channel (frames).

use axum::response::Response;
use http::{Method, header};
use serde_json::{Value, json};
use url::Url;

use super::{
    Interaction,
    authorize::origin,
    behaviour::Target,
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

/// How a client answered a logout token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogoutAnswer {
    /// HTTP status; 0 if there was no answer.
    pub status: u16,
    /// Its `Cache-Control`.
    pub cache_control: String,
}

struct Ending {
    client_id: String,
    sub: Option<String>,
    sid: Option<String>,
    destination: Option<String>,
}

pub(super) async fn end_session(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
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
    Ok(finish(core, call, ending).await)
}

/// The person confirmed.
pub(super) async fn decide(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_form()?;
    call.demand_door(core.config.conduct.door(call.endpoint))?;
    let form = call.form.clone();
    let ending = judge(core, call, &form)?;
    Ok(finish(core, call, ending).await)
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
    Ok(Ending {
        client_id: client.client_id.clone(),
        sub: text("sub").map(str::to_owned),
        sid: text("sid").map(str::to_owned),
        destination,
    })
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

/// The session ends here, and the client is told as it registered for; while it is by the back channel,
/// the browser waits (as in the conformance suite).
async fn finish(core: &Core, call: &mut Call, ending: Ending) -> Response {
    if let Some(sid) = &ending.sid {
        core.state().end_session(sid);
    }
    call.note("ended", true);
    let (sub, sid) = (ending.sub.as_deref(), ending.sid.as_deref());
    if let Some(answer) = tell(core, &ending.client_id, sub, sid).await {
        let LogoutAnswer { status, cache_control } = answer;
        let answer = json!({ "status": status, "cache_control": cache_control });
        call.note("backchannel_logout", answer);
    }
    let frame = sid.and_then(|sid| frame(core, &ending.client_id, sid));
    match (frame, ending.destination) {
        (Some(frame), destination) => page::frames(&[frame], destination.as_deref()),
        (None, Some(destination)) => see_other(&destination),
        (None, None) => page::goodbye(),
    }
}

/// The server ends a session of its own accord: a page with its clients in frames (OIDC Front-Channel
/// Logout §3). Which session the browser has, a server would know by its cookie; here it is said.
pub(super) fn frames(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_method(&Method::GET)?;
    call.demand_door(core.config.conduct.door(call.endpoint))?;
    call.demand_single_query()?;
    let sid = call.query("sid").unwrap_or_default().to_owned();
    let here = core.state().session_clients(&sid);
    let known = Some(here).filter(|clients| !clients.is_empty());
    let clients = call.checks.require(Rule::SessionUnknown, known)?;
    core.state().end_session(&sid);
    call.note("sid", sid.as_str());
    let frames: Vec<_> = clients.iter().filter_map(|client| frame(core, client, &sid)).collect();
    Ok(page::frames(&frames, None))
}

/// Where a frame tells a client that this session has ended (OIDC Front-Channel Logout §2).
pub(super) fn frame(core: &Core, client_id: &str, sid: &str) -> Option<String> {
    let client = core.client(client_id)?;
    let mut url = Url::parse(client.frontchannel_logout_uri.as_deref()?).ok()?;
    if client.frontchannel_logout_session_required {
        url.query_pairs_mut().append_pair("iss", &core.issuer).append_pair("sid", sid);
    }
    Some(url.into())
}

/// Sends a logout token to a client that registered for it (OIDC Back-Channel Logout §2.5), with a
/// parameter beside it that a client must not mind.
pub(super) async fn tell(
    core: &Core,
    client_id: &str,
    sub: Option<&str>,
    sid: Option<&str>,
) -> Option<LogoutAnswer> {
    let http = core.config.back_channel.as_ref()?;
    let uri = core.client(client_id)?.backchannel_logout_uri.clone()?;
    let claims = logout_token_claims(core, client_id, sub, sid);
    let token = core.mint(client_id, Target::LogoutToken, claims).ok()?;
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("logout_token", &token)
        .append_pair("unknown", "ignore me")
        .finish();
    let kind = "application/x-www-form-urlencoded";
    let sent = http.post(uri).header(header::CONTENT_TYPE, kind).body(form).send().await;
    Some(match sent {
        Ok(answer) => LogoutAnswer {
            status: answer.status().as_u16(),
            cache_control: answer
                .headers()
                .get(header::CACHE_CONTROL)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .unwrap_or_default(),
        },
        Err(_) => LogoutAnswer { status: 0, cache_control: String::new() },
    })
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
