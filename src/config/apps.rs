//! Owns the settings of single-page applications: login, session, routes.
//! Must not know: authorization servers beyond a client's name.

use std::collections::BTreeMap;

use http::{HeaderName, Method};
use url::Url;

use super::{
    cross::{self, AppFacts, ClientFacts, Facts},
    grants::{self, ClaimsParameter},
    parties,
    reader::{Section, Setting, quoted},
    settings::{
        Access, App, Authorization, Carrier, LoginSettings, OverLimit, Route, SessionLimit,
        SessionSettings, TokenPolicy,
    },
    values::{
        choice, duration, filled_list, host_allowed, hours, in_words, integer, list,
        local_reference, minutes, networks, parsed, path_prefix, plain_url, seconds, size, token,
    },
};
use crate::net::Network;

/// Authorization parameters a browser may set: none of them touches security.
const PARAMETERS: [&str; 7] =
    ["acr_values", "display", "login_hint", "max_age", "prompt", "scope", "ui_locales"];

/// OPTIONS is answered by the server itself (CORS-3), TRACE and CONNECT by nobody.
const METHODS: [(&str, &Method); 6] = [
    ("GET", &Method::GET),
    ("HEAD", &Method::HEAD),
    ("POST", &Method::POST),
    ("PUT", &Method::PUT),
    ("PATCH", &Method::PATCH),
    ("DELETE", &Method::DELETE),
];

/// The clauses by which `acr` and `auth_time` are judged.
const ACR_ANSWERED: &str = "OIDC-3.1.3.7-12";
const AGE_ANSWERED: &str = "OIDC-3.1.3.7-13";

const CLAIMS: [&str; 9] = [
    "sub",
    "name",
    "given_name",
    "family_name",
    "preferred_username",
    "email",
    "locale",
    "acr",
    "auth_time",
];

pub(super) fn app(name: &str, mut section: Section<'_>, facts: &mut Facts) -> Option<App> {
    let s = &mut section;
    let client = cross::reference(s, "client", facts.clients.keys());
    let origin = s.required(
        "origin",
        "write the origin the SPA is served from, such as \"https://app.example.com\"",
        origin,
    );
    let prefix = s.or("prefix", "/bff".to_owned(), prefix);
    let default_headers =
        || ["x-bff-csrf", "token-handler-version"].map(HeaderName::from_static).to_vec();
    let csrf_headers = s.or("csrf_headers", default_headers(), |s| filled_list(s, csrf_header));
    let login_section = s.section("login");
    let redirect_place = login_section.place_of("redirect_path");
    let acr_place = login_section.place_of("acr_values");
    let consent_place = login_section.place_of("consent_parameter");
    let known = client.as_ref().and_then(|name| facts.clients.get(name));
    let login = login(login_section, known.is_none_or(ClientFacts::openid));
    let session = session(
        s.section("session"),
        known.is_none_or(ClientFacts::openid),
        &login.allowed_parameters,
    );
    let (backchannel_logout, frontchannel_logout) =
        logout_channels(s, known.is_none_or(ClientFacts::openid));
    if frontchannel_logout && session.carrier == Carrier::Cookie {
        // A frame proves nothing: whoever shows one could fill the store with marks.
        s.place_of("frontchannel_logout").report(
            s.report,
            "sessions in cookies cannot be ended by a frame, which finds none in the store (FCL-4.1)",
            "remove it and register the back channel, or set session.carrier = \"server\"",
        );
    }
    let authorizations = grants::authorizations(s, known);
    let surroundings =
        Surroundings { client: known, login: &login, authorizations: &authorizations };
    let (places, routes): (Vec<_>, Vec<_>) = s
        .optional("routes", |setting| routes(setting, &surroundings))
        .unwrap_or_default()
        .into_iter()
        .unzip();
    facts.apps.insert(
        name.to_owned(),
        AppFacts {
            client: client.clone(),
            origin: origin.clone(),
            prefix: prefix.clone(),
            redirect_path: login.redirect_path.clone(),
            routes: places,
            prefix_place: s.place_of("prefix"),
            redirect_place,
            acr_values: login.acr_values.clone(),
            acr_place,
            consent_place: login.consent_parameter.then_some(consent_place),
        },
    );
    section.finish();
    let routes = routes.into_iter().collect::<Option<Vec<_>>>();
    Some(App {
        authorizations,
        client: client?,
        origin: origin?,
        prefix,
        csrf_headers,
        backchannel_logout,
        frontchannel_logout,
        login,
        session,
        routes: routes?,
    })
}

fn origin(setting: &Setting<'_>) -> Option<String> {
    let remedy =
        "write scheme, host and non-default port only, in lower case: \"https://app.example.com\"";
    let (text, url) = plain_url(setting, remedy)?;
    if url.scheme() != "https" {
        return setting.wrong("is not an https origin (FAPI2-SP-5.2.1-1)", remedy);
    }
    let exact = url.origin().ascii_serialization();
    if text != exact {
        return setting.wrong(
            format!("{} is not an exact origin", quoted(&text)),
            format!("write \"{exact}\""),
        );
    }
    Some(text)
}

fn prefix(setting: &Setting<'_>) -> Option<String> {
    let prefix = path_prefix(setting)?;
    if prefix == "/" {
        return setting
            .wrong("leaves no path to the SPA", "write a path of its own, such as \"/bff\"");
    }
    Some(prefix)
}

/// A header that makes a cross-origin request need a preflight (BFF-6.1.3.3.2-1).
fn csrf_header(setting: &Setting<'_>) -> Option<HeaderName> {
    const TAKEN: [&str; 12] = [
        "accept",
        "accept-language",
        "authorization",
        "connection",
        "content-language",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "origin",
        "range",
        "referer",
    ];
    let remedy = "write a header name of your own, such as \"x-bff-csrf\"";
    let name: HeaderName = parsed(setting, "a header name", remedy)?;
    let text = name.as_str();
    if TAKEN.contains(&text) || text.starts_with("sec-") || text.starts_with("proxy-") {
        return setting.wrong(
            format!(
                "`{text}` can be sent across origins or is the browser's own, so it proves nothing"
            ),
            remedy,
        );
    }
    Some(name)
}

/// What only an ID token answers, noted where none is asked for: nobody says how the user
/// authenticated, or when.
fn unanswered(s: &Section<'_>, wanted: &[(&'static str, bool, &str)]) {
    let remedy = "remove it, or add \"openid\" to the client's scopes";
    for (key, _, clause) in wanted.iter().filter(|(_, wanted, _)| *wanted) {
        let message = format!(
            "only an ID token answers it, and the client does not ask for openid ({clause})"
        );
        s.place_of(key).report(s.report, message, remedy);
    }
}

fn login(mut section: Section<'_>, openid: bool) -> LoginSettings {
    let s = &mut section;
    let choices = PARAMETERS.map(|name| (name, name));
    let parameters =
        s.or("allowed_parameters", Vec::new(), |s| list(s, |item| choice(item, &choices)));
    let listed = s.or("acr_values", Vec::new(), |s| list(s, token));
    let required = s.flag("require_acr", false);
    let claims = s.or("claims_parameter", ClaimsParameter::default(), grants::claims_parameter);
    let ClaimsParameter { claims, essential_acr } = claims;
    if essential_acr.is_some() && s.has("acr_values") {
        let message = "stands beside an essential acr in claims_parameter (OIDC-3.1.3.7-12)";
        s.place_of("acr_values").report(s.report, message, "keep one of them");
    }
    let (is_essential, require_acr) =
        (essential_acr.is_some(), required || essential_acr.is_some());
    let acr_values = essential_acr.unwrap_or(listed);
    if required && acr_values.is_empty() {
        let remedy = "list the accepted values in acr_values, or remove require_acr";
        s.place_of("require_acr").report(
            s.report,
            "requires one of acr_values, and there are none",
            remedy,
        );
    }
    let login = LoginSettings {
        redirect_path: s.or("redirect_path", "/".to_owned(), path_prefix),
        allowed_parameters: parameters.into_iter().map(str::to_owned).collect(),
        acr_values,
        max_age: s
            .optional("max_age", |s| duration(s, seconds(0)..=hours(24 * 365)))
            .and_then(|age| u32::try_from(age.as_secs()).ok()),
        require_acr,
        authorization_details: s.or("authorization_details", Vec::new(), grants::details),
        claims,
        essential_acr: is_essential,
        details_enrichment: s.or("details_enrichment", Vec::new(), grants::members),
        default_return_to: s.or("default_return_to", "/".to_owned(), local_reference),
        post_logout_path: s.or("post_logout_path", "/".to_owned(), local_reference),
        transaction_lifetime: s
            .or("transaction_lifetime", minutes(10), |s| duration(s, minutes(1)..=minutes(30))),
        max_transactions: s.or("max_transactions", 5, |s| integer(s, 1..=20)),
        consent_parameter: s.flag("consent_parameter", false),
        third_party_initiated: s.flag("third_party_initiated", false),
    };
    if !openid {
        let asked = |name: &str| login.allowed_parameters.iter().any(|known| known == name);
        let parameter = if asked("acr_values") { ACR_ANSWERED } else { AGE_ANSWERED };
        let wanted = [
            ("require_acr", required, ACR_ANSWERED),
            ("max_age", login.max_age.is_some(), AGE_ANSWERED),
            ("allowed_parameters", asked("acr_values") || asked("max_age"), parameter),
            ("claims_parameter", is_essential || !login.claims.is_empty(), "OIDC-3.1.2.1"),
        ];
        unanswered(s, &wanted);
    }
    section.finish();
    login
}

/// Whether the authorization server may end sessions by itself: by logout tokens, by a frame. Both name
/// what only an ID token tells us.
fn logout_channels(s: &mut Section<'_>, openid: bool) -> (bool, bool) {
    let channels = (s.flag("backchannel_logout", openid), s.flag("frontchannel_logout", false));
    if !openid {
        let wanted = [
            ("backchannel_logout", channels.0, "BCL-2.7"),
            ("frontchannel_logout", channels.1, "FCL-2"),
        ];
        for (key, _, clause) in wanted.iter().filter(|(_, wanted, _)| *wanted) {
            let message = format!(
                "only an ID token says whose session it is, and the client does not ask for openid ({clause})"
            );
            let remedy = "remove it, or add \"openid\" to the client's scopes";
            s.place_of(key).report(s.report, message, remedy);
        }
    }
    channels
}

fn session(mut section: Section<'_>, openid: bool, parameters: &[String]) -> SessionSettings {
    let s = &mut section;
    let idle = s.or("idle", minutes(15), |s| duration(s, minutes(1)..=hours(24)));
    let absolute = s.or("absolute", hours(8), |s| duration(s, minutes(1)..=hours(24 * 7)));
    if idle > absolute {
        let key = if s.has("idle") { "idle" } else { "absolute" };
        let message = format!(
            "idle ({}) is longer than absolute ({}) (SES-7.3)",
            in_words(idle),
            in_words(absolute)
        );
        s.place_of(key).report(s.report, message, "shorten idle or lengthen absolute");
    }
    let session = SessionSettings {
        idle,
        absolute,
        claims: s.or("claims", CLAIMS.map(str::to_owned).to_vec(), parties::claims),
        refresh_ahead: s
            .or("refresh_ahead", seconds(30), |s| duration(s, seconds(0)..=minutes(10))),
        revoke_on_logout: s.flag("revoke_on_logout", true),
        carrier: s.or("carrier", Carrier::Server, |s| {
            choice(s, &[("server", Carrier::Server), ("cookie", Carrier::Cookie)])
        }),
        limit: session_limit(s),
        manage_max_age: s
            .optional("manage_max_age", |s| duration(s, minutes(1)..=hours(24)))
            .and_then(|age| u32::try_from(age.as_secs()).ok()),
    };
    if !openid {
        let message = "only an ID token says whose session it is, and the client does not ask for openid (SES-7.1.2)";
        for key in ["max_per_subject", "manage_max_age"].into_iter().filter(|key| s.has(key)) {
            let remedy = "remove it, or add \"openid\" to the client's scopes";
            s.place_of(key).report(s.report, message, remedy);
        }
    } else if session.carrier == Carrier::Cookie {
        let message = "needs a list of sessions, and the store has none of those in cookies (SES-7.1.2, SES-7.4)";
        for key in ["max_per_subject", "manage_max_age"].into_iter().filter(|key| s.has(key)) {
            s.place_of(key).report(s.report, message, "remove it, or set carrier = \"server\"");
        }
    } else if session.manage_max_age.is_some() && !parameters.iter().any(|name| name == "max_age") {
        let message = "pages are told to log in with max_age, and may not set it (SES-7.4)";
        let remedy = "add \"max_age\" to the app's login.allowed_parameters, or remove it";
        s.place_of("manage_max_age").report(s.report, message, remedy);
    }
    section.finish();
    session
}

/// How many sessions one subject may have; off unless it is asked for.
fn session_limit(s: &mut Section<'_>) -> Option<SessionLimit> {
    let most = s.optional("max_per_subject", |s| integer(s, 1..=1000));
    let choices = [OverLimit::EndOldest, OverLimit::Refuse].map(|over| (over.as_str(), over));
    let over = s.or("over_limit", OverLimit::EndOldest, |s| choice(s, &choices));
    if s.has("over_limit") && !s.has("max_per_subject") {
        let message = "says what happens at a limit, and there is none (SES-7.1.2)";
        let remedy = "set max_per_subject, too, or remove it";
        s.place_of("over_limit").report(s.report, message, remedy);
    }
    most.map(|most| SessionLimit { most, over })
}

/// A route's path and place, for comparison with others, whether or not the rest of it is sound.
type Placed = (Option<(String, super::reader::Place)>, Option<Route>);

/// What the settings of a route are held against.
struct Surroundings<'a> {
    /// The app's client, if it is known.
    client: Option<&'a ClientFacts>,
    login: &'a LoginSettings,
    authorizations: &'a BTreeMap<String, Authorization>,
}

fn routes(setting: &Setting<'_>, around: &Surroundings<'_>) -> Option<Vec<Placed>> {
    let items = setting.items()?;
    let one = |section| route(section, around);
    let routes: Vec<_> = items.iter().map(|item| item.table().map_or((None, None), one)).collect();
    // A token for all APIs would go to the one that has no name (BCP-2.2-2.3).
    let with_token = |route: &&Route| route.access == Access::Session { token: TokenPolicy::User };
    let named = |route: &Route| route.narrowing.resource.is_some();
    let known = || routes.iter().filter_map(|(_, route)| route.as_ref()).filter(with_token);
    if known().any(named)
        && let Some(nameless) = known().find(|route| !named(route))
    {
        let message = format!("{} names no resource, and other routes do", nameless.path);
        setting.wrong::<()>(message, "give every route with token = \"user\" its resource");
    }
    Some(routes)
}

fn route(mut section: Section<'_>, around: &Surroundings<'_>) -> Placed {
    let &Surroundings { client, login, .. } = around;
    let has_certificate = client.is_none_or(|client| client.has_certificate);
    let s = &mut section;
    let path = s.required(
        "path",
        "write the path prefix to forward, such as \"/api/accounts\"",
        path_prefix,
    );
    let allowed = s.or("networks", vec![Network::Public], networks);
    let upstream = s.required(
        "upstream",
        "write the upstream's base URL, such as \"https://accounts.internal.example\"",
        |s| upstream(s, &allowed),
    );
    let access = access(s, client);
    let methods = s.or("methods", vec![Method::GET, Method::HEAD], |setting| {
        filled_list(setting, |item| method(item, access))
    });
    let (trust_roots, system_roots) = parties::trust(s);
    let encrypted = upstream.as_ref().is_none_or(|upstream| upstream.scheme() == "https");
    // What stands in for a token is no less for the client alone to hand in.
    let with_token = matches!(access, Access::Session { token } if token != TokenPolicy::None);
    let presents = with_token && encrypted && has_certificate;
    let present_client_certificate = s.flag("present_client_certificate", presents);
    let bound = matches!(access, Access::Session { token } if token.is_access_token());
    if bound && encrypted && !present_client_certificate {
        grants::report_unpresented(s, client);
    }
    if present_client_certificate && !has_certificate {
        let message = "the app's client has no certificate to present";
        let remedy = "remove it, or set tls_identity on the client";
        s.place_of("present_client_certificate").report(s.report, message, remedy);
    }
    if present_client_certificate && !encrypted {
        let message = "a certificate cannot be presented over plain HTTP";
        s.place_of("present_client_certificate").report(
            s.report,
            message,
            "remove it, or use an https upstream",
        );
    }
    let connect_timeout =
        s.or("connect_timeout", seconds(3), |s| duration(s, seconds(1)..=minutes(1)));
    let first_byte_timeout =
        s.or("first_byte_timeout", seconds(30), |s| duration(s, seconds(1)..=minutes(10)));
    let idle_timeout = s.or("idle_timeout", seconds(60), |s| duration(s, seconds(1)..=hours(1)));
    let request_body_limit = s.or("request_body_limit", 10 << 20, |s| size(s, 10 << 30));
    let replay_body_limit = s.or("replay_body_limit", 64 << 10, |s| size(s, 1 << 20));
    let openid = client.is_none_or(ClientFacts::openid);
    let Demands { acr_values, max_age, relayed: step_up } = demands(s, access, login, openid);
    let scopes = client.map(|client| client.scopes.as_slice()).unwrap_or_default();
    let narrowing = grants::narrowing(s, access, scopes);
    let exchange = grants::exchange(s, access);
    let authorization_type = grants::authorization_type(s, access, login, around.authorizations);
    let place = path.clone().map(|path| (path, s.place_of("path")));
    section.finish();
    let route = path.zip(upstream).map(|(path, upstream)| Route {
        path,
        upstream,
        methods,
        access,
        trust_roots,
        system_roots,
        networks: allowed,
        present_client_certificate,
        connect_timeout,
        first_byte_timeout,
        idle_timeout,
        request_body_limit,
        replay_body_limit: usize::try_from(replay_body_limit).unwrap_or_default(),
        acr_values,
        max_age,
        step_up,
        narrowing,
        exchange,
        authorization_type,
    });
    (place, route)
}

/// A route's settings on the user's authentication.
struct Demands {
    acr_values: Vec<String>,
    max_age: Option<u32>,
    /// Whether the upstream may make demands of its own.
    relayed: bool,
}

fn demands(s: &mut Section<'_>, access: Access, login: &LoginSettings, openid: bool) -> Demands {
    let acr_values = s.or("acr_values", Vec::new(), |setting| {
        filled_list(setting, |item| {
            let value = token(item)?;
            if login.acr_values.is_empty() || login.acr_values.contains(&value) {
                return Some(value);
            }
            let remedy = "list it there too, or demand one of those";
            item.wrong(format!("{} is not among login.acr_values", quoted(&value)), remedy)
        })
    });
    let max_age = s
        .optional("max_age", |s| duration(s, minutes(1)..=hours(24)))
        .and_then(|age| u32::try_from(age.as_secs()).ok());
    let demanded = s.has("acr_values") || s.has("max_age");
    let public = access == Access::Public;
    let hears = demanded || (openid && !login.acr_values.is_empty());
    let relayed = s.flag("step_up", !public && hears);
    let contradiction = |key, message, remedy| s.place_of(key).report(s.report, message, remedy);
    if public {
        let wanted = [
            ("acr_values", s.has("acr_values")),
            ("max_age", s.has("max_age")),
            ("step_up", relayed),
        ];
        for (key, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            let message = "a public route has no user who could authenticate";
            contradiction(key, message, "remove it, or set access = \"session\"");
        }
    } else if demanded && !relayed {
        let message = "the route demands an authentication, and the page would not hear of it";
        contradiction("step_up", message, "remove step_up, or remove acr_values and max_age");
    } else if !openid {
        let wanted = [
            ("acr_values", s.has("acr_values"), "OIDC-3.1.3.7-12, STEP-5"),
            ("max_age", s.has("max_age"), "OIDC-3.1.3.7-13, STEP-5"),
            ("step_up", relayed && s.has("step_up"), "STEP-5"),
        ];
        unanswered(s, &wanted);
    }
    Demands { acr_values, max_age, relayed }
}

/// The one upstream of a route: nothing in a request can change it (BFF-6.1.3.6-1).
fn upstream(setting: &Setting<'_>, allowed: &[Network]) -> Option<Url> {
    let remedy = "write an https URL without user name, query and fragment; http only to a loopback address, with networks = [\"loopback\"]";
    let (_, url) = plain_url(setting, remedy)?;
    let loopback = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => {
            return setting.wrong(
                "is plain HTTP to something that is not a loopback address (FAPI2-SP-5.2.1-1)",
                remedy,
            );
        }
        _ => return setting.wrong("is neither https nor http", remedy),
    }
    let base = url.path().trim_end_matches('/');
    let plain = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    if !base.is_empty() && !base.split('/').skip(1).all(plain) {
        return setting.wrong("has a path that is not made of plain segments", remedy);
    }
    host_allowed(setting, &url, allowed)?;
    Some(url)
}

fn access(s: &mut Section<'_>, client: Option<&ClientFacts>) -> Access {
    let public = s.or("access", false, |s| choice(s, &[("session", false), ("public", true)]));
    let token = s.optional("token", |s| {
        let choices = [
            ("user", TokenPolicy::User),
            ("none", TokenPolicy::None),
            ("client_credentials", TokenPolicy::ClientCredentials),
            ("exchange", TokenPolicy::Exchange),
            ("introspection_jwt", TokenPolicy::IntrospectionJwt),
            ("introspection_bearer", TokenPolicy::IntrospectionBearer),
        ];
        choice(s, &choices)
    });
    if token == Some(TokenPolicy::IntrospectionBearer)
        && let Some(clause) = client.and_then(ClientFacts::must_bind)
    {
        let message = format!("sends as a bearer token what is bound to nothing ({clause})");
        let remedy = "write \"introspection_jwt\", which has a header of its own, or \"user\"";
        s.place_of("token").report(s.report, message, remedy);
    }
    match token {
        Some(policy) if public && policy != TokenPolicy::None => {
            let remedy = "remove token, or set access = \"session\"";
            s.place_of("token").report(
                s.report,
                "a public route has no user in whose name a token could be sent",
                remedy,
            );
            Access::Public
        }
        _ if public => Access::Public,
        token => Access::Session { token: token.unwrap_or(TokenPolicy::User) },
    }
}

fn method(setting: &Setting<'_>, access: Access) -> Option<Method> {
    let method = choice(setting, &METHODS)?;
    if access == Access::Public && *method != Method::GET && *method != Method::HEAD {
        return setting.wrong(
            format!("a public route cannot let {method} through"),
            "remove it, or set access = \"session\"",
        );
    }
    Some(method.clone())
}
