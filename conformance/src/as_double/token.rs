//! Tokens: issued against codes, refresh tokens, other tokens (RFC 8693) and the client's own name,
//! bound to what the request proved (RFC 8705 §3, RFC 9449 §5), told about (userinfo, introspection)
//! and revoked.

use axum::response::Response;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::{
    ClientRegistration,
    behaviour::Target,
    checks::Checks,
    client_auth::authenticate,
    conduct::Constraint,
    core::{ActiveToken, Core, Possession},
    dpop,
    exchange::{Call, Refusal, respond},
    pkce,
    request_object::{AuthorizationRequest, check_scope},
    resource::active_token,
    rules::Rule,
    state::{AccessToken, Binding, Grant, Realm, RefreshToken},
};
use crate::jws::{Object, random_token, sha256_b64};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const SIGNED_INTROSPECTION: &str = "application/token-introspection+jwt";

type Handler = fn(&Core, &mut Call, &ClientRegistration, Binding) -> Result<Response, Refusal>;

pub(super) fn token(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_form()?;
    call.demand_door(core.config.conduct.door(call.endpoint))?;
    let client = authenticate(core, call)?;
    let binding = binding(core, call)?;
    let grant_type = call.form("grant_type").unwrap_or_default().to_owned();
    call.note("grant_type", grant_type.as_str());
    let grant: Option<Handler> = match grant_type.as_str() {
        "authorization_code" => Some(redeem_code),
        "refresh_token" => Some(refresh),
        "client_credentials" => Some(client_credentials),
        TOKEN_EXCHANGE => Some(exchange),
        _ => None,
    };
    let response = call.checks.require(Rule::GrantType, grant)?(core, call, client, binding)?;
    core.state().new_nonce(Realm::Server);
    Ok(response)
}

/// What tokens of this request are bound to.
fn binding(core: &Core, call: &mut Call) -> Result<Binding, Refusal> {
    match core.config.conduct.constraint {
        Constraint::Mtls => {
            let presented = call.connection.peer_thumbprint.clone();
            let thumbprint = call.checks.require(Rule::TokenCertificate, presented)?;
            Ok(Binding::Certificate(thumbprint))
        }
        Constraint::Dpop => Ok(Binding::Key(dpop::judge(core, call, None)?)),
        Constraint::None => Ok(Binding::Nothing),
    }
}

fn redeem_code(
    core: &Core,
    call: &mut Call,
    client: &ClientRegistration,
    binding: Binding,
) -> Result<Response, Refusal> {
    let presented = call.demand_value(Rule::CodeMissing, "code")?;
    let resources = asked_resources(call);
    let verifier = call.form("code_verifier").map(str::to_owned);
    let redirect_uri = call.form("redirect_uri").map(str::to_owned);
    let now = core.now();
    let checks = &mut call.checks;
    let mut state = core.state();
    if let Some(verifier) = &verifier {
        state.secrets.push(verifier.clone());
    }
    let issued = checks.require(Rule::CodeUnknown, state.codes.get(&presented).cloned())?;
    checks.demand(Rule::CodeOtherClient, issued.client_id == client.client_id)?;
    let id = issued.grant;
    if issued.used {
        // RFC 6749 §4.1.2: what the first use brought is taken back.
        state.revoke_grant(&id);
    }
    checks.demand(Rule::CodeUsed, !issued.used)?;
    checks.demand(Rule::CodeExpired, issued.expires_at > now)?;
    let redirect_uri = checks.require(Rule::TokenRedirectMissing, redirect_uri)?;
    checks.demand(Rule::TokenRedirect, redirect_uri == issued.request.redirect_uri)?;
    check_verifier(checks, issued.request.code_challenge.as_deref(), verifier)?;
    let bound = issued.request.dpop_jkt.clone().map(Binding::Key);
    checks.demand(Rule::CodeKey, bound.is_none_or(|bound| bound == binding))?;
    checks.demand(Rule::TokenResource, within(&resources, &issued.request.resources))?;
    if let Some(code) = state.codes.get_mut(&presented) {
        code.used = true;
    }
    drop(state);
    let with_refresh = core.behaviour().issue_refresh_token;
    let issue = Issue {
        id_token: true,
        nonce: true,
        refresh_token: with_refresh,
        resources,
        ..Issue::bare(binding)
    };
    respond_with_tokens(core, call, &id, issue)
}

/// PKCE (RFC 7636 §4.6): the verifier of the challenge, and none without one.
fn check_verifier(
    checks: &mut Checks,
    challenge: Option<&str>,
    verifier: Option<String>,
) -> Result<(), Refusal> {
    checks.demand(Rule::VerifierUnasked, challenge.is_some() || verifier.is_none())?;
    let Some(challenge) = challenge else {
        return Ok(());
    };
    let verifier = checks.require(Rule::VerifierMissing, verifier)?;
    let well_formed = (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let fits = sha256_b64(verifier.as_bytes()).as_bytes().ct_eq(challenge.as_bytes());
    checks.demand(Rule::Verifier, well_formed && bool::from(fits))?;
    let entropy = pkce::entropy_bits(&verifier);
    let found = format!("{entropy:.0} bits");
    checks.observe(Rule::VerifierEntropy, entropy >= pkce::ENOUGH_BITS, &found);
    Ok(())
}

/// The resources a token request narrows its token to (RFC 8707 §2.2).
fn asked_resources(call: &Call) -> Vec<String> {
    let asked = call.form.iter().filter(|(name, _)| name == "resource");
    asked.map(|(_, target)| target.clone()).collect()
}

/// No resource but those granted; any if none were named.
fn within(asked: &[String], granted: &[String]) -> bool {
    granted.is_empty() || asked.iter().all(|target| granted.contains(target))
}

fn refresh(
    core: &Core,
    call: &mut Call,
    client: &ClientRegistration,
    binding: Binding,
) -> Result<Response, Refusal> {
    let presented = call.demand_value(Rule::RefreshMissing, "refresh_token")?;
    let scope = call.form("scope").map(str::to_owned);
    let resources = asked_resources(call);
    let (rotate, patient, revoke_family, with_id_token) = {
        let behaviour = core.behaviour();
        (
            behaviour.rotate_refresh_tokens,
            behaviour.replaced_until_successor_used,
            behaviour.revoke_family_on_reuse,
            behaviour.id_token_on_refresh,
        )
    };
    let checks = &mut call.checks;
    let mut state = core.state();
    let known = checks.require(Rule::RefreshUnknown, state.refresh.get(&presented))?;
    let (id, replaced) = (known.grant.clone(), known.replaced);
    let grant = checks.require(Rule::RefreshRevoked, state.live_grant(&id).cloned())?;
    checks.demand(Rule::RefreshOtherClient, grant.client_id == client.client_id)?;
    if replaced && revoke_family {
        state.revoke_grant(&id);
    }
    checks.demand(Rule::RefreshReused, !replaced)?;
    let granted: Vec<&str> = grant.scope.split(' ').collect();
    let narrower =
        scope.as_ref().is_none_or(|asked| asked.split(' ').all(|name| granted.contains(&name)));
    checks.demand(Rule::RefreshScope, narrower)?;
    checks.demand(Rule::TokenResource, within(&resources, &grant.resources))?;
    if rotate {
        state.rotate(&presented, patient);
    }
    drop(state);
    let issue = Issue {
        id_token: with_id_token,
        refresh_token: rotate,
        replaces: rotate.then_some(presented),
        scope,
        resources,
        ..Issue::bare(binding)
    };
    respond_with_tokens(core, call, &id, issue)
}

fn client_credentials(
    core: &Core,
    call: &mut Call,
    client: &ClientRegistration,
    binding: Binding,
) -> Result<Response, Refusal> {
    let scope = call.form("scope").unwrap_or_default().to_owned();
    let allowed = check_scope(client, &scope, None);
    let found = allowed.as_ref().err().map(String::as_str).unwrap_or_default();
    call.checks.demand_with(Rule::TokenScope, allowed.is_ok(), found)?;
    let resources = asked_resources(call);
    call.checks.demand(Rule::TokenResource, within(&resources, &core.config.resources))?;
    let id = core.state().add_grant(Grant {
        client_id: client.client_id.clone(),
        sub: None,
        sid: random_token(),
        scope,
        auth_time: core.now(),
        acr: None,
        nonce: None,
        intent: None,
        details: None,
        resources: resources.clone(),
        revoked: false,
    });
    let issue = Issue { resources, ..Issue::bare(binding) };
    respond_with_tokens(core, call, &id, issue)
}

/// Another access token in place of one (RFC 8693 §2.1), for less or for elsewhere. It ends with the
/// grant of the first.
fn exchange(
    core: &Core,
    call: &mut Call,
    client: &ClientRegistration,
    binding: Binding,
) -> Result<Response, Refusal> {
    let subject = call.demand_value(Rule::SubjectTokenMissing, "subject_token")?;
    let typed = call.form("subject_token_type") == Some(ACCESS_TOKEN)
        && call.form("requested_token_type").is_none_or(|kind| kind == ACCESS_TOKEN);
    call.checks.demand(Rule::SubjectTokenType, typed)?;
    let active = core.active(&subject, Possession::Unasked).ok();
    let own = active.filter(|active| active.client_id == client.client_id);
    let active = call.checks.require(Rule::SubjectToken, own)?;
    let scope = call.form("scope").unwrap_or(&active.scope).to_owned();
    let granted: Vec<&str> = active.scope.split(' ').collect();
    let narrower = scope.split(' ').all(|name| granted.contains(&name));
    call.checks.demand(Rule::TokenScope, narrower)?;
    let resources = asked_resources(call);
    call.checks.demand(Rule::TokenResource, within(&resources, &core.config.resources))?;
    let grant = core.state().access.get(&subject).map(|access| access.grant.clone());
    let grant = call.checks.require(Rule::SubjectToken, grant)?;
    let issue = Issue {
        scope: Some(scope),
        resources,
        issued_token_type: Some(ACCESS_TOKEN),
        ..Issue::bare(binding)
    };
    respond_with_tokens(core, call, &grant, issue)
}

/// What a token response brings.
struct Issue {
    binding: Binding,
    id_token: bool,
    nonce: bool,
    refresh_token: bool,
    /// The refresh token that the new one is in exchange for.
    replaces: Option<String>,
    /// Of the access token, if other than what was granted.
    scope: Option<String>,
    /// What the access token is for, if less than was granted.
    resources: Vec<String>,
    issued_token_type: Option<&'static str>,
}

impl Issue {
    /// An access token alone.
    const fn bare(binding: Binding) -> Self {
        Self {
            binding,
            id_token: false,
            nonce: false,
            refresh_token: false,
            replaces: None,
            scope: None,
            resources: Vec::new(),
            issued_token_type: None,
        }
    }
}

fn respond_with_tokens(
    core: &Core,
    call: &mut Call,
    grant_id: &str,
    issue: Issue,
) -> Result<Response, Refusal> {
    let now = core.now();
    let (lifetime, token_type) = {
        let behaviour = core.behaviour();
        (behaviour.access_token_lifetime, behaviour.token_type.clone())
    };
    let usual = core.token_type();
    let mut state = core.state();
    let grant = call.checks.require(Rule::GrantRevoked, state.live_grant(grant_id).cloned())?;
    let scope = issue.scope.unwrap_or_else(|| grant.scope.clone());
    let narrowed = !issue.resources.is_empty();
    let access_token = state.secret();
    state.access.insert(
        access_token.clone(),
        AccessToken {
            grant: grant_id.to_owned(),
            scope: scope.clone(),
            binding: issue.binding,
            audience: if narrowed { issue.resources } else { grant.resources.clone() },
            expires_at: now + lifetime,
            revoked: false,
        },
    );
    let mut body = Object::new();
    body.insert("access_token".into(), json!(access_token));
    body.insert("token_type".into(), json!(token_type.as_deref().unwrap_or(usual)));
    body.insert("expires_in".into(), json!(lifetime));
    body.insert("scope".into(), json!(scope));
    if let Some(kind) = issue.issued_token_type {
        body.insert("issued_token_type".into(), json!(kind));
    }
    if let Some(details) = &grant.details {
        body.insert("authorization_details".into(), details.clone());
    }
    if issue.refresh_token {
        let refresh_token = state.secret();
        state.refresh.insert(
            refresh_token.clone(),
            RefreshToken {
                grant: grant_id.to_owned(),
                replaced: false,
                predecessor: issue.replaces,
            },
        );
        body.insert("refresh_token".into(), json!(refresh_token));
    }
    drop(state);
    call.note("sid", grant.sid.as_str());
    let openid = issue.id_token && has_scope(&grant.scope, "openid");
    if let Some(sub) = grant.sub.as_deref().filter(|_| openid) {
        call.note("sub", sub);
        let mut claims = scoped_claims(core, sub, &grant.scope);
        claims.extend(id_token_claims(core, &grant, sub));
        claims.insert("at_hash".into(), json!(core.config.signing_alg.half_hash(&access_token)));
        if !issue.nonce {
            claims.remove("nonce");
        }
        let id_token = core.issue(call, &grant.client_id, Target::TokenIdToken, claims)?;
        body.insert("id_token".into(), json!(id_token));
    }
    Ok(core.json(StatusCode::OK, Target::TokenResponse, body))
}

/// The ID token that signs an authorization response (OIDC Core §3.3.2.11, FAPI 1.0 Advanced 5.2.2.1):
/// nothing in it but what the response needs, since the browser carries it.
pub(super) fn front_id_token(
    core: &Core,
    call: &mut Call,
    grant: &Grant,
    sub: &str,
    issued: &str,
    request: &AuthorizationRequest,
) -> Result<String, Refusal> {
    let alg = core.config.signing_alg;
    let mut claims = id_token_claims(core, grant, sub);
    claims.insert("c_hash".into(), json!(alg.half_hash(issued)));
    if let Some(state) = &request.state {
        claims.insert("s_hash".into(), json!(alg.half_hash(state)));
    }
    core.issue(call, &grant.client_id, Target::FrontIdToken, claims)
}

fn id_token_claims(core: &Core, grant: &Grant, sub: &str) -> Object {
    let now = core.now();
    let lifetime = core.behaviour().id_token_lifetime;
    let mut claims = Object::new();
    claims.insert("iss".into(), json!(core.issuer));
    claims.insert("sub".into(), json!(sub));
    claims.insert("aud".into(), json!(grant.client_id));
    claims.insert("iat".into(), json!(now));
    claims.insert("exp".into(), json!(now + lifetime));
    claims.insert("auth_time".into(), json!(grant.auth_time));
    claims.insert("sid".into(), json!(grant.sid));
    if let Some(nonce) = &grant.nonce {
        claims.insert("nonce".into(), json!(nonce));
    }
    if let Some(acr) = &grant.acr {
        claims.insert("acr".into(), json!(acr));
    }
    if let Some(intent) = &grant.intent {
        claims.insert("openbanking_intent_id".into(), json!(intent));
    }
    claims
}

fn has_scope(scope: &str, wanted: &str) -> bool {
    scope.split(' ').any(|name| name == wanted)
}

/// What the scope tells of a person (OIDC Core §5.4).
fn scoped_claims(core: &Core, sub: &str, scope: &str) -> Object {
    let scopes: Vec<&str> = scope.split(' ').collect();
    let shown = |name: &str| match name {
        "email" | "email_verified" => scopes.contains(&"email"),
        _ => scopes.contains(&"profile"),
    };
    core.user(sub)
        .map(|user| user.claims.clone())
        .unwrap_or_default()
        .into_iter()
        .filter(|(name, _)| shown(name))
        .collect()
}

pub(super) fn userinfo(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    let method = if call.method == Method::POST { Method::POST } else { Method::GET };
    call.demand_method(&method)?;
    call.demand_door(core.config.conduct.door(call.endpoint))?;
    let active = active_token(core, call)?;
    let sub = active.sub.clone().filter(|_| has_scope(&active.scope, "openid"));
    let sub = call.checks.require(Rule::UserinfoScope, sub);
    let sub = sub.map_err(|refusal| refusal.at_resource(core.token_type()))?;
    let mut body = scoped_claims(core, &sub, &active.scope);
    body.insert("sub".into(), json!(sub));
    let client = core.client(&active.client_id);
    let response = if client.is_some_and(|client| client.userinfo_signed_response) {
        body.insert("iss".into(), json!(core.issuer));
        body.insert("aud".into(), json!(active.client_id));
        let signed = core.issue(call, &active.client_id, Target::Userinfo, body)?;
        respond(StatusCode::OK, "application/jwt", signed)
    } else {
        core.json(StatusCode::OK, Target::Userinfo, body)
    };
    core.state().new_nonce(Realm::Resources);
    Ok(response)
}

pub(super) fn revoke(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_form()?;
    call.demand_door(core.config.conduct.door(call.endpoint))?;
    let client = authenticate(core, call)?;
    let token = call.demand_value(Rule::RevocationToken, "token")?;
    let mut state = core.state();
    let (kind, grant) = if let Some(refresh) = state.refresh.get(&token) {
        ("refresh_token", Some(refresh.grant.clone()))
    } else if let Some(access) = state.access.get(&token) {
        ("access_token", Some(access.grant.clone()))
    } else {
        ("unknown", None)
    };
    let owned = grant
        .filter(|id| state.grants.get(id).is_some_and(|grant| grant.client_id == client.client_id));
    if let Some(id) = owned {
        if kind == "refresh_token" {
            state.revoke_grant(&id);
        } else if let Some(access) = state.access.get_mut(&token) {
            access.revoked = true;
        }
    }
    drop(state);
    call.note("token_kind", kind);
    Ok(respond(StatusCode::OK, "text/plain", String::new()))
}

pub(super) fn introspect(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_form()?;
    call.demand_door(core.config.conduct.door(call.endpoint))?;
    let client = authenticate(core, call)?;
    let token = call.form("token").unwrap_or_default();
    let active = core
        .active(token, Possession::Unasked)
        .ok()
        .filter(|active| active.client_id == client.client_id);
    let body = introspection(core, active);
    let signed = call.header(&header::ACCEPT) == Some(SIGNED_INTROSPECTION);
    if !signed {
        return Ok(core.json(StatusCode::OK, Target::Introspection, body));
    }
    // RFC 9701 §5: what is told stands in a claim of its own, so that it cannot pass for anything else.
    let mut claims = Object::new();
    claims.insert("iss".into(), json!(core.issuer));
    claims.insert("aud".into(), json!(client.client_id));
    claims.insert("iat".into(), json!(core.now()));
    claims.insert("token_introspection".into(), Value::Object(body));
    let token = core.issue(call, &client.client_id, Target::Introspection, claims)?;
    Ok(respond(StatusCode::OK, SIGNED_INTROSPECTION, token))
}

/// What a client may know of its token (RFC 7662 §2.2).
fn introspection(core: &Core, active: Option<ActiveToken>) -> Object {
    let mut body = Object::new();
    body.insert("active".into(), json!(active.is_some()));
    let Some(active) = active else {
        return body;
    };
    body.insert("iss".into(), json!(core.issuer));
    body.insert("client_id".into(), json!(active.client_id));
    body.insert("sub".into(), active.sub.map_or(Value::Null, Value::String));
    body.insert("scope".into(), json!(active.scope));
    body.insert("exp".into(), json!(active.expires_at));
    body.insert("token_type".into(), json!(core.token_type()));
    match active.binding {
        Binding::Certificate(thumbprint) => {
            body.insert("cnf".into(), json!({"x5t#S256": thumbprint}));
        }
        Binding::Key(thumbprint) => {
            body.insert("cnf".into(), json!({"jkt": thumbprint}));
        }
        Binding::Nothing => {}
    }
    if !active.audience.is_empty() {
        body.insert("aud".into(), json!(active.audience));
    }
    if let Some(acr) = active.acr {
        body.insert("acr".into(), json!(acr));
    }
    body
}
