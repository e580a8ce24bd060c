//! Owns the putting together of what tokens are asked for beyond scope: details, their templates, the
//! targets of routes. Must not know: how any of it is judged.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, header::ACCEPT};
use serde_json::Value;
use url::Url;

use super::assemble::{AssemblyFault, roots};
use crate::{
    config::{self, IntentSettings},
    login::{IntentFailure, Intents, Template},
    net::{OAuthHttp, Resolver},
    protocol::{AuthorizationDetails, MAX_DETAILS_BYTES, Target, check_resource},
    proxy::{AuthorizationRule, TokenSource},
    session::BoxFuture,
    tls::{self, Identity},
};

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
    identity: Option<&Identity>,
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
                intents: Arc::new(IntentServer::new(intent, identity, &at)?),
                types: intent.types.clone(),
            },
        };
        templates.insert(template.clone(), made);
    }
    Ok(templates)
}

/// Which token a route sends.
pub(super) fn token_source(
    name: &str,
    index: usize,
    app: &config::App,
    route: &config::Route,
) -> Result<TokenSource, AssemblyFault> {
    let config::Narrowing { resource, scopes } = &route.narrowing;
    if let Some(resource) = resource {
        let at = format!("apps.{name}.routes[{index}].resource");
        check_resource(resource).map_err(|rejected| AssemblyFault::new(at, rejected))?;
    }
    // The session's first token is for the first resource server, with all of the scope.
    let first = resource.as_ref() == app.resources().first();
    if first && scopes.is_empty() {
        return Ok(TokenSource::User(None));
    }
    let scope = (!scopes.is_empty()).then(|| scopes.join(" "));
    Ok(TokenSource::User(Some(Target { resource: resource.clone(), scope })))
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
}

impl IntentServer {
    fn new(
        settings: &IntentSettings,
        identity: Option<&Identity>,
        at: &str,
    ) -> Result<Self, AssemblyFault> {
        let roots = roots(settings.system_roots, &settings.trust_roots)
            .map_err(|fault| AssemblyFault::tls(format!("{at}.trust_roots"), &fault))?;
        let identity = identity.filter(|_| settings.present_client_certificate);
        let tls = tls::client_config(&roots, identity, &[b"h2", b"http/1.1"])
            .map_err(|fault| AssemblyFault::tls(at, &fault))?;
        let http = OAuthHttp::new(
            tls,
            Resolver::new(&settings.networks),
            settings.connect_timeout,
            settings.request_timeout,
        )
        .map_err(|fault| AssemblyFault::new(at, fault))?;
        Ok(Self { url: settings.details_from.clone(), http })
    }
}

impl Intents for IntentServer {
    fn details<'a>(
        &'a self,
        intent: &'a str,
    ) -> BoxFuture<'a, Result<AuthorizationDetails, IntentFailure>> {
        const UNAVAILABLE: IntentFailure =
            IntentFailure::Unavailable { reason: "intent.unavailable" };
        Box::pin(async move {
            let url = Url::parse(&self.url.replace("{intent}", intent));
            let url = url.map_err(|_| IntentFailure::Unknown)?;
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            let answer = self.http.send(Method::GET, &url, headers, None, MAX_DETAILS_BYTES).await;
            let answer = answer.map_err(|failed| {
                tracing::warn!(reason = failed.reason(), "an intent's server does not answer");
                UNAVAILABLE
            })?;
            match answer.status {
                200 => Ok(AuthorizationDetails::to_ask_from(&answer.body)?),
                404 | 410 => Err(IntentFailure::Unknown),
                status => {
                    tracing::warn!(status, "an intent's server does not tell the details");
                    Err(UNAVAILABLE)
                }
            }
        })
    }
}
