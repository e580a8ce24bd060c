//! Owns the putting together of what tokens are asked for beyond scope: details, their templates, the
//! targets of routes. Must not know: how any of it is judged.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::ACCEPT};
use serde_json::Value;
use url::Url;

use super::assemble::{AssemblyFault, roots};
use crate::{
    clock::Ambient,
    config::{self, IntentSettings, TokenPolicy},
    login::{IntentFailure, Intents, Template},
    net::{self, OAuthHttp, Resolver},
    protocol::{
        AuthorizationDetails, ExchangeRequest, MAX_DETAILS_BYTES, RequestedType, Target, Token,
        check_resource,
    },
    provider::Provider,
    proxy::{
        AuthorizationRule, Carrier, TokenSource,
        challenge::{Objection, objection},
        credential::{Credential, learn},
        headers::authorize,
    },
    session::BoxFuture,
    tls::{self, Identity},
};

/// What settings ask tokens for and no authorization server may be asked for (RAR-2, RES-2, TX-2.1).
pub(crate) fn check(settings: &config::Settings) -> Result<(), Vec<AssemblyFault>> {
    let mut faults = Vec::new();
    let mut resource = |resource: Option<&String>, at: String| {
        let rejected = resource.and_then(|resource| check_resource(resource).err());
        faults.extend(rejected.map(|rejected| AssemblyFault::new(at, rejected)));
    };
    let mut asked = Vec::new();
    for (name, app) in &settings.apps {
        let at = format!("apps.{name}.login.authorization_details");
        asked.push((app.login.authorization_details.as_slice(), at));
        for (index, route) in app.routes.iter().enumerate() {
            let at = format!("apps.{name}.routes[{index}]");
            resource(route.narrowing.resource.as_ref(), format!("{at}.resource"));
            let exchange = route.exchange.as_ref();
            let exchanged = exchange.and_then(|exchange| exchange.resource.as_ref());
            resource(exchanged, format!("{at}.exchange.resource"));
        }
        for (template, authorization) in &app.authorizations {
            let at = format!("apps.{name}.authorization.{template}");
            match authorization {
                config::Authorization::Fixed(values) => {
                    asked.push((values.as_slice(), format!("{at}.authorization_details")));
                }
                config::Authorization::Intent(intent) => {
                    let narrowing = intent.token.as_ref();
                    let named = narrowing.and_then(|narrowing| narrowing.resource.as_ref());
                    resource(named, format!("{at}.resource"));
                }
            }
        }
    }
    faults.extend(asked.into_iter().filter_map(|(values, at)| details(values, &at).err()));
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Configured details, if there are any.
pub(super) fn details(
    configured: &[Value],
    at: &str,
) -> Result<Option<AuthorizationDetails>, AssemblyFault> {
    if configured.is_empty() {
        return Ok(None);
    }
    AuthorizationDetails::to_ask(&Value::Array(configured.to_vec()))
        .map(Some)
        .map_err(|rejected| AssemblyFault::new(at, rejected))
}

/// What an app's pages may have authorized.
pub(super) fn templates(
    name: &str,
    app: &config::App,
    provider: &Arc<Provider>,
    identity: Option<&Identity>,
    ambient: &Ambient,
) -> Result<BTreeMap<String, Template>, AssemblyFault> {
    let mut templates = BTreeMap::new();
    for (template, configured) in &app.authorizations {
        let at = format!("apps.{name}.authorization.{template}");
        let made = match configured {
            config::Authorization::Fixed(values) => {
                let at = format!("{at}.authorization_details");
                let Some(details) = details(values, &at)? else { continue };
                Template::Fixed(details)
            }
            config::Authorization::Intent(intent) => Template::Intent {
                intents: Arc::new(IntentServer {
                    url: intent.details_from.clone(),
                    http: intent_http(intent, identity, &at)?,
                    provider: Arc::clone(provider),
                    token: intent.token.as_ref().map(target),
                    ambient: ambient.clone(),
                }),
                types: intent.types.clone(),
            },
        };
        templates.insert(template.clone(), made);
    }
    Ok(templates)
}

/// Which token a route sends.
pub(super) fn token_source(app: &config::App, route: &config::Route) -> TokenSource {
    let config::Narrowing { resource, scopes } = &route.narrowing;
    if let config::Access::Session { token } = route.access {
        match token {
            TokenPolicy::None | TokenPolicy::User => {}
            TokenPolicy::ClientCredentials => {
                return TokenSource::Client(target(&route.narrowing));
            }
            TokenPolicy::Exchange => {
                let wanted = route.exchange.clone().unwrap_or_default();
                return TokenSource::Exchange(Arc::new(exchange(wanted)));
            }
            TokenPolicy::IntrospectionJwt => {
                return TokenSource::Introspection(Carrier::OwnHeader);
            }
            TokenPolicy::IntrospectionBearer => {
                return TokenSource::Introspection(Carrier::Bearer);
            }
        }
    }
    // The session's first token is for the first resource server, with all of the scope.
    let first = resource.as_ref() == app.resources().first();
    if first && scopes.is_empty() {
        return TokenSource::User(None);
    }
    TokenSource::User(Some(target(&route.narrowing)))
}

fn target(narrowing: &config::Narrowing) -> Target {
    let config::Narrowing { resource, scopes } = narrowing;
    Target { resource: resource.clone(), scope: joined(scopes) }
}

fn joined(scopes: &[String]) -> Option<String> {
    (!scopes.is_empty()).then(|| scopes.join(" "))
}

fn exchange(wanted: config::Exchange) -> ExchangeRequest {
    let config::Exchange { audience, resource, scopes, jwt } = wanted;
    let requested_token_type = if jwt { RequestedType::Jwt } else { RequestedType::AccessToken };
    ExchangeRequest { audience, resource, scope: joined(&scopes), requested_token_type }
}

/// What a route demands of the grant, and by which name a login asks for it.
pub(super) fn authorization(app: &config::App, route: &config::Route) -> Option<AuthorizationRule> {
    let kind = route.authorization_type.clone()?;
    let offering = app.authorizations.iter().find(|(_, template)| template.offers(&kind));
    let template = offering.map(|(name, _)| name.clone());
    Some(AuthorizationRule { kind, template })
}

/// A server of ours that knows the details of intents.
#[derive(Debug)]
struct IntentServer {
    url: String,
    http: OAuthHttp,
    provider: Arc<Provider>,
    /// What the client's own token is for that goes along, if one does.
    token: Option<Target>,
    ambient: Ambient,
}

fn intent_http(
    settings: &IntentSettings,
    identity: Option<&Identity>,
    at: &str,
) -> Result<OAuthHttp, AssemblyFault> {
    let roots = roots(settings.system_roots, &settings.trust_roots)
        .map_err(|fault| AssemblyFault::tls(format!("{at}.trust_roots"), &fault))?;
    let identity = identity.filter(|_| settings.present_client_certificate);
    let tls = tls::client_config(&roots, identity, &[b"h2", b"http/1.1"])
        .map_err(|fault| AssemblyFault::tls(at, &fault))?;
    OAuthHttp::new(
        tls,
        Resolver::new(&settings.networks),
        settings.connect_timeout,
        settings.request_timeout,
    )
    .map_err(|fault| AssemblyFault::new(at, fault))
}

/// An intent's server's answer, and what went along with the request.
struct Told {
    answer: net::Answer,
    token: Option<Token>,
    dpop: bool,
}

impl Told {
    /// Whether the server wants a nonce in proofs, which is known by now (DPOP-9).
    fn wants_a_nonce(&self) -> bool {
        StatusCode::from_u16(self.answer.status).is_ok_and(|status| {
            self.dpop && objection(status, &self.answer.headers, true) == Objection::Nonce(Ok(()))
        })
    }
}

impl IntentServer {
    /// One request, with the client's own token where one is wanted; that is another one than
    /// `refused`.
    async fn ask(&self, url: &Url, refused: Option<&Token>) -> Result<Told, IntentFailure> {
        let no_token = || IntentFailure::Unavailable { reason: "intent.no_token" };
        let uri: Uri = url.as_str().parse().map_err(|_| IntentFailure::Unknown)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (mut sent, mut prover) = (None, None);
        if let Some(target) = &self.token {
            let token = self.provider.client_token(target, refused).await;
            let token = token.map_err(|failure| {
                tracing::warn!(reason = failure.reason(), "no token for an intent's server");
                no_token()
            })?;
            prover = self.provider.own_prover().map_err(|_| no_token())?;
            let credential = match &prover {
                None => Credential::bearer(token.expose()),
                Some(prover) => {
                    let (token, get) = (token.expose(), &Method::GET);
                    Credential::dpop(token, prover, &self.ambient, get, &uri)
                }
            };
            authorize(&mut headers, credential.map_err(|_| no_token())?);
            sent = Some(token);
        }
        let answer = self.http.send(Method::GET, url, headers, None, MAX_DETAILS_BYTES).await;
        let answer = answer.map_err(|failed| {
            tracing::warn!(reason = failed.reason(), "an intent's server does not answer");
            IntentFailure::Unavailable { reason: "intent.unavailable" }
        })?;
        if let Some(prover) = &prover {
            learn(prover, &uri, &answer.headers);
        }
        Ok(Told { answer, token: sent, dpop: prover.is_some() })
    }
}

impl Intents for IntentServer {
    fn details<'a>(
        &'a self,
        intent: &'a str,
    ) -> BoxFuture<'a, Result<AuthorizationDetails, IntentFailure>> {
        Box::pin(async move {
            let url = Url::parse(&self.url.replace("{intent}", intent));
            let url = url.map_err(|_| IntentFailure::Unknown)?;
            let mut told = self.ask(&url, None).await?;
            if told.wants_a_nonce() {
                told = self.ask(&url, None).await?;
            }
            // The AS may have taken the token back before its time (BRR-3.1).
            if told.answer.status == 401 && told.token.is_some() {
                told = self.ask(&url, told.token.as_ref()).await?;
            }
            match told.answer.status {
                200 => Ok(AuthorizationDetails::to_ask_from(&told.answer.body)?),
                404 | 410 => Err(IntentFailure::Unknown),
                status => {
                    tracing::warn!(status, "an intent's server does not tell the details");
                    Err(IntentFailure::Unavailable { reason: "intent.unavailable" })
                }
            }
        })
    }
}
