//! Owns the settings of what tokens are asked for beyond scope: details, and the APIs and part of the
//! scope a route's token is narrowed to. Must not know: what a type of details means.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

use super::{
    cross::ClientFacts,
    parties,
    reader::{Section, Setting, quoted},
    settings::{
        Access, Authorization, Exchange, IntentSettings, LoginSettings, Narrowing, TokenPolicy,
    },
    values::{
        choice, duration, filled_list, host_allowed, list, minutes, networks, seconds, token,
    },
};
use crate::net::Network;

/// Where the name of an intent goes in the URL it is asked for under.
const PLACEHOLDER: &str = "{intent}";

/// Details as RFC 9396 §2 has them: a list of tables, each with its `type`.
pub(super) fn details(setting: &Setting<'_>) -> Option<Vec<Value>> {
    let remedy =
        "write tables with a type: [{ type = \"account_information\", actions = [\"read\"] }]";
    let items = setting.items()?;
    if items.is_empty() {
        return setting.wrong("is empty (RAR-2)", remedy);
    }
    let one = |item: &Setting<'_>| {
        let value = item.json()?;
        let kind = value.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty());
        if !value.is_object() || kind.is_none() {
            return item.wrong("is not a table with a `type` (RAR-2)", remedy);
        }
        Some(value)
    };
    items.iter().map(one).collect::<Vec<_>>().into_iter().collect()
}

/// Names of members the authorization server may add to details.
pub(super) fn members(setting: &Setting<'_>) -> Option<Vec<String>> {
    const SHARED: [&str; 6] =
        ["actions", "datatypes", "identifier", "locations", "privileges", "type"];
    list(setting, |item| {
        let name = item.text()?;
        if SHARED.contains(&name.as_str()) {
            let message = format!("{} says how far an authorization goes (RAR-7)", quoted(&name));
            return item.wrong(message, "remove it, and ask for what is wanted");
        }
        Some(name)
    })
}

/// What pages may have authorized, by name.
pub(super) fn authorizations(
    s: &mut Section<'_>,
    client: Option<&ClientFacts>,
) -> BTreeMap<String, Authorization> {
    if !s.has("authorization") {
        // Marks the key as known.
        s.optional("authorization", |_| None::<()>);
        return BTreeMap::new();
    }
    let named = s.named("authorization", "name a template, as in [apps.web.authorization.payment]");
    let read = |(name, section)| Some((name, authorization(section, client)?));
    named.into_iter().filter_map(read).collect()
}

fn authorization(mut section: Section<'_>, client: Option<&ClientFacts>) -> Option<Authorization> {
    let s = &mut section;
    let fixed = s.optional("authorization_details", details);
    if s.has("authorization_details") || !s.has("details_from") {
        let remedy = "write the details, or details_from and types to have a server tell them";
        let authorization = s.required("authorization_details", remedy, |_| fixed);
        if s.has("details_from") {
            let message = "stands beside authorization_details; it is one or the other";
            s.place_of("details_from").report(s.report, message, "remove one of them");
            s.optional("details_from", |_| None::<()>);
        }
        section.finish();
        return authorization.map(Authorization::Fixed);
    }
    let allowed = s.or("networks", vec![Network::Public], networks);
    let url = s.optional("details_from", |setting| details_from(setting, &allowed));
    let remedy = "list the types of details an intent may bring, such as [\"payment_initiation\"]";
    let types = s.required("types", remedy, |s| filled_list(s, token));
    let (trust_roots, system_roots) = parties::trust(s);
    let kinds = [("none", false), ("client_credentials", true)];
    let with_token = s.or("token", false, |s| choice(s, &kinds));
    let has_certificate = client.is_none_or(|client| client.has_certificate);
    let present_client_certificate =
        s.flag("present_client_certificate", with_token && has_certificate);
    if with_token && !present_client_certificate {
        report_unpresented(s, client);
    }
    if present_client_certificate && !has_certificate {
        let message = "the app's client has no certificate to present";
        let remedy = "remove it, or set tls_identity on the client";
        s.place_of("present_client_certificate").report(s.report, message, remedy);
    }
    let own = Access::Session { token: TokenPolicy::ClientCredentials };
    let none = Access::Session { token: TokenPolicy::None };
    let narrowing = narrowing(s, if with_token { own } else { none }, &[]);
    let connect_timeout =
        s.or("connect_timeout", seconds(3), |s| duration(s, seconds(1)..=minutes(1)));
    let request_timeout =
        s.or("request_timeout", seconds(10), |s| duration(s, seconds(1)..=minutes(1)));
    section.finish();
    Some(Authorization::Intent(Box::new(IntentSettings {
        details_from: url?,
        types: types?,
        trust_roots,
        system_roots,
        networks: allowed,
        present_client_certificate,
        token: with_token.then_some(narrowing),
        connect_timeout,
        request_timeout,
    })))
}

/// Notes that a token goes without the certificate it is bound to, where it must be bound.
pub(super) fn report_unpresented(s: &Section<'_>, client: Option<&ClientFacts>) {
    const KEY: &str = "present_client_certificate";
    // One that has no certificate has heard of that.
    let clause = client.filter(|_| s.has(KEY)).and_then(ClientFacts::must_present);
    if let Some(clause) = clause {
        let message =
            format!("sends a token without the certificate it is bound to (MTLS-3, {clause})");
        s.place_of(KEY).report(s.report, message, "remove it");
    }
}

/// An https URL with the place for an intent's name in its path.
fn details_from(setting: &Setting<'_>, allowed: &[Network]) -> Option<String> {
    let remedy = "write an https URL with {intent} as a segment of its path, such as \"https://payments.internal.example/intents/{intent}\"";
    let text = setting.text()?;
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let places = rest.split('/').skip(1).filter(|segment| *segment == PLACEHOLDER).count();
    if scheme != "https" || places != 1 || text.matches(['{', '}']).count() != 2 {
        return setting.wrong(format!("{} is not such a URL", quoted(&text)), remedy);
    }
    let url = Url::parse(&text.replace(PLACEHOLDER, "intent")).ok();
    let plain = |url: &Url| {
        url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && text.bytes().all(|b| b.is_ascii_graphic())
    };
    let Some(url) = url.filter(plain) else {
        return setting.wrong(format!("{} is not such a URL", quoted(&text)), remedy);
    };
    host_allowed(setting, &url, allowed)?;
    Some(text)
}

/// What a route's token is narrowed to: `resource` and `scopes`.
pub(super) fn narrowing(s: &mut Section<'_>, access: Access, scopes: &[String]) -> Narrowing {
    let resource = s.optional("resource", resource);
    let part = s.or("scopes", Vec::new(), |setting| {
        filled_list(setting, |item| {
            let scope = token(item)?;
            // What the client may have for itself is no part of what it asks users for.
            let own = access == Access::Session { token: TokenPolicy::ClientCredentials };
            if own || scopes.is_empty() || scopes.contains(&scope) {
                return Some(scope);
            }
            let remedy = "list it there, or narrow to one of those";
            item.wrong(format!("{} is not among the client's scopes", quoted(&scope)), remedy)
        })
    });
    let Access::Session { token } = access else {
        return unused_narrowing(s);
    };
    if token == TokenPolicy::ClientCredentials {
        if !s.has("scopes") {
            s.missing("scopes", "list the scope of the client's own token, such as [\"reports\"]");
        }
    } else if token != TokenPolicy::User {
        return unused_narrowing(s);
    }
    Narrowing { resource, scopes: part }
}

fn unused_narrowing(s: &Section<'_>) -> Narrowing {
    for key in ["resource", "scopes"] {
        if s.has(key) {
            let message = "is not used: the route sends no token that it could narrow";
            let remedy = "remove it, or set token = \"user\" or \"client_credentials\"";
            s.place_of(key).report(s.report, message, remedy);
        }
    }
    Narrowing::default()
}

/// What the user's token is exchanged for, where it is.
pub(super) fn exchange(s: &mut Section<'_>, access: Access) -> Option<Exchange> {
    if access == (Access::Session { token: TokenPolicy::Exchange }) {
        let remedy = "say what for, as in { audience = \"ledger\" }";
        return s.required("exchange", remedy, |setting| Some(wanted(setting.table()?, setting)));
    }
    s.optional("exchange", |setting| {
        let message = "is not used: the route exchanges no token";
        setting.wrong(message, "remove it, or set token = \"exchange\"")
    })
}

fn wanted(mut section: Section<'_>, setting: &Setting<'_>) -> Exchange {
    let s = &mut section;
    let kinds = [("access_token", false), ("jwt", true)];
    let exchange = Exchange {
        audience: s.optional("audience", Setting::text),
        resource: s.optional("resource", resource),
        scopes: s.or("scopes", Vec::new(), |s| filled_list(s, token)),
        jwt: s.or("requested_token_type", false, |s| choice(s, &kinds)),
    };
    if !["audience", "resource", "scopes"].iter().any(|key| s.has(key)) {
        let remedy = "name an audience, a resource or scopes";
        setting.wrong::<()>("asks for nothing that the user's token is not good for", remedy);
    }
    section.finish();
    exchange
}

/// RFC 8707 §2: an absolute URI without fragment.
pub(super) fn resource(setting: &Setting<'_>) -> Option<String> {
    let remedy = "write the API's identifier at the authorization server, such as \"https://api.example.com\"";
    let text = setting.text()?;
    let uri = Url::parse(&text).ok().filter(|_| text.bytes().all(|b| b.is_ascii_graphic()));
    match uri {
        None => setting.wrong(format!("{} is not an absolute URI (RES-2)", quoted(&text)), remedy),
        Some(uri) if uri.fragment().is_some() => {
            setting.wrong(format!("{} has a fragment (RES-2)", quoted(&text)), remedy)
        }
        Some(_) => Some(text),
    }
}

/// The type of details a route demands: one that some login asks for.
pub(super) fn authorization_type(
    s: &mut Section<'_>,
    access: Access,
    login: &LoginSettings,
    authorizations: &BTreeMap<String, Authorization>,
) -> Option<String> {
    let kind = s.optional("authorization_type", |setting| {
        let kind = token(setting)?;
        let offered = has_type(&login.authorization_details, &kind)
            || authorizations.values().any(|one| one.offers(&kind));
        if offered {
            return Some(kind);
        }
        let message = format!("no login asks for {}", quoted(&kind));
        setting.wrong(message, "add it to login.authorization_details or to a template")
    });
    if access == Access::Public && s.has("authorization_type") {
        let message = "a public route has no user who could authorize anything";
        let remedy = "remove it, or set access = \"session\"";
        s.place_of("authorization_type").report(s.report, message, remedy);
    }
    kind
}

impl Authorization {
    /// Whether a login with this template may bring details of this type.
    pub fn offers(&self, kind: &str) -> bool {
        match self {
            Self::Fixed(details) => has_type(details, kind),
            Self::Intent(intent) => intent.types.iter().any(|known| known == kind),
        }
    }
}

fn has_type(details: &[Value], kind: &str) -> bool {
    details.iter().any(|one| one.get("type").and_then(Value::as_str) == Some(kind))
}

/// Claims asked for one by one (OpenID Connect Core §5.5).
#[derive(Default)]
pub(super) struct ClaimsParameter {
    /// The `claims` parameter, `acr` of the ID token taken out.
    pub(super) claims: Map<String, Value>,
    /// The values of `acr` that are essential, if any are.
    pub(super) essential_acr: Option<Vec<String>>,
}

/// The `claims` parameter: `id_token` and `userinfo`, each a table of claims, each of them a table.
pub(super) fn claims_parameter(setting: &Setting<'_>) -> Option<ClaimsParameter> {
    let remedy =
        "write { id_token = { auth_time = { essential = true } }, userinfo = { email = {} } }";
    let Some(Value::Object(mut claims)) = setting.json() else {
        return setting.wrong("is not a table", remedy);
    };
    for (member, wanted) in &claims {
        let shaped = wanted.as_object().is_some_and(|wanted| wanted.values().all(is_claim_request));
        if !["id_token", "userinfo"].contains(&member.as_str()) || !shaped {
            let message =
                format!("{} is not a table of claims (OpenID Connect Core §5.5)", quoted(member));
            return setting.wrong(message, remedy);
        }
    }
    let acr =
        claims.get_mut("id_token").and_then(Value::as_object_mut).and_then(|c| c.remove("acr"));
    let essential_acr = match acr {
        None => None,
        Some(acr) => {
            let essential = acr.get("essential") == Some(&Value::Bool(true));
            let values = match (acr.get("value"), acr.get("values")) {
                (Some(Value::String(value)), None) => Some(vec![value.clone()]),
                (None, Some(Value::Array(values))) => {
                    values.iter().map(|value| value.as_str().map(str::to_owned)).collect()
                }
                _ => None,
            };
            let Some(values) = values.filter(|values| essential && !values.is_empty()) else {
                let message = "asks for an acr that is not essential, or for none in particular (OIDC-3.1.3.7-12)";
                return setting.wrong(
                    message,
                    "write acr = { essential = true, values = [\"…\"] }, or use acr_values",
                );
            };
            Some(values)
        }
    };
    claims.retain(|_, wanted| wanted.as_object().is_some_and(|wanted| !wanted.is_empty()));
    Some(ClaimsParameter { claims, essential_acr })
}

fn is_claim_request(value: &Value) -> bool {
    value.as_object().is_some_and(|members| {
        members.iter().all(|(name, value)| match name.as_str() {
            "essential" => value.is_boolean(),
            "values" => value.as_array().is_some_and(|values| !values.is_empty()),
            _ => true,
        })
    })
}
