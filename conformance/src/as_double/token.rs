//! Tokens: issued against codes, refresh tokens and the client's own name, bound to the certificate
//! presented (RFC 8705 §3), told about (userinfo, introspection) and revoked.

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::{
    ClientRegistration,
    behaviour::Target,
    client_auth::authenticate,
    core::Core,
    exchange::{Call, Refusal, json_response, respond},
    pkce,
    request_object::check_scope,
    resource::active_token,
    rules::Rule,
    state::{AccessToken, Grant, RefreshToken},
};
use crate::{
    jws::{Object, random_token, sha256_b64},
    ledger::ListenerKind,
};

type Handler = fn(&Core, &mut Call, &ClientRegistration) -> Result<Response, Refusal>;

pub(super) fn token(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_form()?;
    call.demand_listener(ListenerKind::Mtls)?;
    let client = authenticate(core, call)?;
    let grant_type = call.form("grant_type").unwrap_or_default().to_owned();
    call.note("grant_type", grant_type.as_str());
    let grant: Option<Handler> = match grant_type.as_str() {
        "authorization_code" => Some(redeem_code),
        "refresh_token" => Some(refresh),
        "client_credentials" => Some(client_credentials),
        _ => None,
    };
    call.checks.require(Rule::GrantType, grant)?(core, call, client)
}

fn redeem_code(
    core: &Core,
    call: &mut Call,
    client: &ClientRegistration,
) -> Result<Response, Refusal> {
    let presented = call.demand_value(Rule::CodeMissing, "code")?;
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
    let verifier = checks.require(Rule::VerifierMissing, verifier)?;
    let well_formed = (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let challenge = sha256_b64(verifier.as_bytes());
    let fits = challenge.as_bytes().ct_eq(issued.request.code_challenge.as_bytes());
    checks.demand(Rule::Verifier, well_formed && bool::from(fits))?;
    let entropy = pkce::entropy_bits(&verifier);
    checks.observe(
        Rule::VerifierEntropy,
        entropy >= pkce::ENOUGH_BITS,
        &format!("{entropy:.0} bits"),
    );
    if let Some(code) = state.codes.get_mut(&presented) {
        code.used = true;
    }
    drop(state);
    let with_refresh = core.behaviour().issue_refresh_token;
    let response = Issue {
        id_token: true,
        nonce: true,
        refresh_token: if with_refresh { RefreshIssue::New } else { RefreshIssue::None },
        scope: None,
    };
    respond_with_tokens(core, call, &id, &response)
}

fn refresh(core: &Core, call: &mut Call, client: &ClientRegistration) -> Result<Response, Refusal> {
    let presented = call.demand_value(Rule::RefreshMissing, "refresh_token")?;
    let scope = call.form("scope").map(str::to_owned);
    let (rotate, revoke_family, with_id_token) = {
        let behaviour = core.behaviour();
        (
            behaviour.rotate_refresh_tokens,
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
    let within =
        scope.as_ref().is_none_or(|asked| asked.split(' ').all(|name| granted.contains(&name)));
    checks.demand(Rule::RefreshScope, within)?;
    if rotate && let Some(known) = state.refresh.get_mut(&presented) {
        known.replaced = true;
    }
    drop(state);
    let issued = Issue {
        id_token: with_id_token,
        nonce: false,
        refresh_token: if rotate { RefreshIssue::New } else { RefreshIssue::None },
        scope,
    };
    respond_with_tokens(core, call, &id, &issued)
}

fn client_credentials(
    core: &Core,
    call: &mut Call,
    client: &ClientRegistration,
) -> Result<Response, Refusal> {
    let scope = call.form("scope").unwrap_or_default().to_owned();
    let allowed = check_scope(client, &scope, false);
    let found = allowed.as_ref().err().map(String::as_str).unwrap_or_default();
    call.checks.demand_with(Rule::TokenScope, allowed.is_ok(), found)?;
    let id = core.state().add_grant(Grant {
        client_id: client.client_id.clone(),
        sub: None,
        sid: random_token(),
        scope,
        auth_time: core.now(),
        acr: None,
        nonce: None,
        revoked: false,
    });
    let issued =
        Issue { id_token: false, nonce: false, refresh_token: RefreshIssue::None, scope: None };
    respond_with_tokens(core, call, &id, &issued)
}

/// What a token response brings beside the access token.
struct Issue {
    id_token: bool,
    nonce: bool,
    refresh_token: RefreshIssue,
    scope: Option<String>,
}

enum RefreshIssue {
    New,
    None,
}

fn respond_with_tokens(
    core: &Core,
    call: &mut Call,
    grant_id: &str,
    issue: &Issue,
) -> Result<Response, Refusal> {
    let presented = call.connection.peer_thumbprint.clone();
    let thumbprint = call.checks.require(Rule::TokenCertificate, presented)?;
    let now = core.now();
    let (lifetime, token_type) = {
        let behaviour = core.behaviour();
        (behaviour.access_token_lifetime, behaviour.token_type.clone())
    };
    let mut state = core.state();
    let grant = call.checks.require(Rule::GrantRevoked, state.live_grant(grant_id).cloned())?;
    let scope = issue.scope.clone().unwrap_or_else(|| grant.scope.clone());
    let access_token = state.secret();
    state.access.insert(
        access_token.clone(),
        AccessToken {
            grant: grant_id.to_owned(),
            scope: scope.clone(),
            thumbprint,
            expires_at: now + lifetime,
            revoked: false,
        },
    );
    let mut body = Object::new();
    body.insert("access_token".into(), json!(access_token));
    body.insert("token_type".into(), json!(token_type));
    body.insert("expires_in".into(), json!(lifetime));
    body.insert("scope".into(), json!(scope));
    if matches!(issue.refresh_token, RefreshIssue::New) {
        let refresh_token = state.secret();
        state.refresh.insert(
            refresh_token.clone(),
            RefreshToken { grant: grant_id.to_owned(), replaced: false },
        );
        body.insert("refresh_token".into(), json!(refresh_token));
    }
    drop(state);
    call.note("sid", grant.sid.as_str());
    if let Some(sub) = grant.sub.as_deref().filter(|_| issue.id_token) {
        call.note("sub", sub);
        let mut claims = id_token_claims(core, &grant, sub, &access_token);
        if !issue.nonce {
            claims.remove("nonce");
        }
        body.insert("id_token".into(), json!(core.issue(call, Target::IdToken, claims)?));
    }
    Ok(core.json(StatusCode::OK, Target::TokenResponse, body))
}

fn id_token_claims(core: &Core, grant: &Grant, sub: &str, access_token: &str) -> Object {
    let now = core.now();
    let lifetime = core.behaviour().id_token_lifetime;
    let mut claims = scoped_claims(core, sub, &grant.scope);
    claims.insert("iss".into(), json!(core.issuer));
    claims.insert("sub".into(), json!(sub));
    claims.insert("aud".into(), json!(grant.client_id));
    claims.insert("iat".into(), json!(now));
    claims.insert("exp".into(), json!(now + lifetime));
    claims.insert("auth_time".into(), json!(grant.auth_time));
    claims.insert("sid".into(), json!(grant.sid));
    let at_hash = core.config.signing_alg.half_hash(access_token);
    claims.insert("at_hash".into(), json!(at_hash));
    if let Some(nonce) = &grant.nonce {
        claims.insert("nonce".into(), json!(nonce));
    }
    if let Some(acr) = &grant.acr {
        claims.insert("acr".into(), json!(acr));
    }
    claims
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
    call.demand_listener(ListenerKind::Mtls)?;
    let active = active_token(call, |token, thumbprint| core.active(token, thumbprint))?;
    let sub = active.sub.clone().filter(|_| active.scope.split(' ').any(|name| name == "openid"));
    let sub = call.checks.require(Rule::UserinfoScope, sub)?;
    let mut body = scoped_claims(core, &sub, &active.scope);
    body.insert("sub".into(), json!(sub));
    Ok(core.json(StatusCode::OK, Target::Userinfo, body))
}

pub(super) fn revoke(core: &Core, call: &mut Call) -> Result<Response, Refusal> {
    call.demand_form()?;
    call.demand_any_listener()?;
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
    call.demand_any_listener()?;
    let client = authenticate(core, call)?;
    let token = call.form("token").unwrap_or_default();
    let bound_to = core.state().access.get(token).map(|a| a.thumbprint.clone());
    let active = core
        .active(token, bound_to.as_deref())
        .ok()
        .filter(|active| active.client_id == client.client_id);
    let body = match active {
        None => json!({"active": false}),
        Some(active) => json!({
            "active": true, "iss": core.issuer, "client_id": active.client_id,
            "sub": active.sub.map_or(Value::Null, Value::String), "scope": active.scope,
            "exp": active.expires_at, "token_type": "Bearer",
            "cnf": {"x5t#S256": active.thumbprint},
        }),
    };
    Ok(json_response(StatusCode::OK, &body))
}
