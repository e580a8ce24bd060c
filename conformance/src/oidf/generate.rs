//! From the BFF's settings to what the suite wants to know: plan, variant, plan configuration. Public
//! halves of the client's keys only. It must not know how the suite is reached.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fapi_bff::{
    config::{Access, App, Client, KeyFile, Settings, TokenPolicy},
    jose::{JwsAlg, Signer as _, SoftwareSigner, jwks_document},
    profile::{ProfileName, ResponseType, SenderConstraint},
};
use http::{HeaderName, Method};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};
use url::Url;

use super::server_key::{self, ServerAlg};

/// Where the suite's modules serve accounts, below their mutual-TLS base.
const ACCOUNTS: &str = "open-banking/v1.1/accounts";
const SECURITY_PLAN: &str = "fapi2-security-profile-final-client-test-plan";
const SIGNING_PLAN: &str = "fapi2-message-signing-final-client-test-plan";
const FAPI1_PLAN: &str = "fapi1-advanced-final-client-test-plan";

/// What is wanted of the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The app; needed if there are several.
    pub app: Option<String>,
    /// The client; if named, it must be the app's.
    pub client: Option<String>,
    /// For people, in the suite's lists.
    pub description: Option<String>,
    /// How long the suite waits before it takes silence for a refusal.
    pub wait_timeout_seconds: u32,
    /// Whether the mock authorization server gets one key for the whole plan. Without, the suite makes
    /// a PS256 key for every module, and a BFF that is not restarted meets unknown keys.
    pub server_key: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            app: None,
            client: None,
            description: None,
            wait_timeout_seconds: 5,
            server_key: true,
        }
    }
}

/// The BFF as the driver's browser meets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bff {
    /// `https://host[:port]`.
    pub origin: String,
    /// Starts a login by navigation.
    pub login_path: String,
    /// Where the authorization server sends the browser back.
    pub redirect_uri: String,
    /// Answers without a login and without an authorization server: whether the BFF is up.
    pub probe_path: String,
    /// The custom header of calls by script.
    pub csrf_header: HeaderName,
    /// The issuer it is configured for.
    pub issuer: String,
}

/// A plan, ready to be created at the suite.
#[derive(Clone, Debug)]
pub struct PlanConfig {
    /// The plan's id.
    pub plan: String,
    /// The certification profiles it stands for.
    pub certification: Option<String>,
    /// The variant; without what the plan pins itself, which must not be passed.
    pub variant: BTreeMap<String, String>,
    /// The configuration. Holds the mock server's private key, none of the client's.
    pub config: Value,
    /// The alias, part of the issuer.
    pub alias: String,
    /// The suite's address, taken from the issuer.
    pub suite: Url,
    /// The BFF's addresses.
    pub bff: Bff,
    /// The path on the BFF that leads to the suite's accounts endpoint, if a route does.
    pub api_path: Option<String>,
    /// What a person should know.
    pub remarks: Vec<String>,
}

/// Why the settings cannot be told to the suite.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GenerateFault {
    /// The app is not named, or not one of those there are.
    #[error("say which app: --app with one of {0}")]
    WhichApp(String),
    /// The named client is not the app's.
    #[error("app {app} uses client {uses}, not {named}: leave --client out, or name another app")]
    OtherClient {
        /// The app.
        app: String,
        /// Its client.
        uses: String,
        /// The one named.
        named: String,
    },
    /// The settings contradict themselves, which loading them excludes.
    #[error("{0} is named but not configured: run `fapi-bff check`")]
    Dangling(String),
    /// The suite has no such client plan, or it is not generated here.
    #[error(
        "client {client} follows {profile}, for which no plan is generated: use a FAPI profile"
    )]
    Profile {
        /// The client.
        client: String,
        /// Its profile.
        profile: &'static str,
    },
    /// The issuer is not one of the suite's.
    #[error(
        "the issuer {0} is none of the suite's: set it to https://HOST:PORT/test/a/ALIAS/, with ALIAS \
         of letters, digits, - and _, and with the slash at its end"
    )]
    Issuer(String),
    /// The file holds no certificate.
    #[error("client {0} has no readable TLS certificate: make one with `fapi-bff keys tls`")]
    Certificate(String),
    /// A signing key cannot be used.
    #[error(
        "{key} of client {client} cannot be used: {why}; make one with `fapi-bff keys generate`"
    )]
    Key {
        /// The client.
        client: String,
        /// The setting.
        key: &'static str,
        /// Why.
        why: String,
    },
    /// Two algorithms where the suite has one key.
    #[error(
        "the suite signs ID tokens and authorization responses with one key: pin the same algorithm \
         in id_token_signed_response_alg and authorization_signed_response_alg of client {0}, or none"
    )]
    TwoAlgorithms(String),
    /// The machine gives no randomness.
    #[error("no key could be made for the suite: the system gives no random bytes")]
    NoRandomness,
}

/// What to create at the suite to test `settings`.
pub fn plan_config(settings: &Settings, options: &Options) -> Result<PlanConfig, GenerateFault> {
    let (app_name, app) = the_app(settings, options.app.as_deref())?;
    let name = &app.client;
    if let Some(named) = options.client.as_ref().filter(|named| *named != name) {
        let (app, uses, named) = (app_name.to_owned(), name.clone(), named.clone());
        return Err(GenerateFault::OtherClient { app, uses, named });
    }
    let dangling = |what: String| GenerateFault::Dangling(what);
    let client = settings.clients.get(name).ok_or_else(|| dangling(format!("client {name}")))?;
    let provider = settings
        .providers
        .get(&client.provider)
        .ok_or_else(|| dangling(format!("provider {}", client.provider)))?;
    let (plan, variant, certification) = plan(name, client)?;
    let (suite, alias) =
        suite(&provider.issuer).ok_or_else(|| GenerateFault::Issuer(provider.issuer.clone()))?;
    let [_, redirect_uri] = app.redirect_uris();
    let mut remarks = Vec::new();

    let description = options.description.clone();
    let mut config = json!({
        "alias": alias,
        "description": description.unwrap_or_else(|| format!("fapi-bff, app {app_name}")),
        "waitTimeoutSeconds": options.wait_timeout_seconds,
        "client": registration(name, client, &redirect_uri)?,
    });
    match server_keys(name, client, options, &mut remarks)? {
        Some(jwks) => merge(&mut config, "server", json!({ "jwks": jwks })),
        None => remarks.push(
            "the suite makes a new key for every module: restart the BFF before each".to_owned(),
        ),
    }
    let dpop = client.sender_constraint == SenderConstraint::Dpop;
    let api_path = api_path(app, &suite, &alias, dpop);
    if api_path.is_none() {
        let base = accounts_base(&alias, dpop);
        let certificate = if dpop { "" } else { " and the client's certificate" };
        remarks.push(format!(
            "no route of app {app_name} leads to {base}/{ACCOUNTS} with the user's token\
             {certificate}: add one, or name the path with --api-path"
        ));
    }
    Ok(PlanConfig {
        plan: plan.to_owned(),
        certification: Some(certification),
        variant,
        config,
        alias,
        suite,
        bff: Bff {
            origin: app.origin.clone(),
            login_path: format!("{}/login", app.prefix),
            redirect_uri,
            probe_path: format!("{}/jwks", app.prefix),
            csrf_header: app
                .csrf_headers
                .first()
                .cloned()
                .unwrap_or(HeaderName::from_static("x-bff-csrf")),
            issuer: provider.issuer.clone(),
        },
        api_path,
        remarks,
    })
}

fn the_app<'a>(
    settings: &'a Settings,
    name: Option<&str>,
) -> Result<(&'a str, &'a App), GenerateFault> {
    let found = match name {
        Some(name) => settings.apps.get_key_value(name),
        None if settings.apps.len() == 1 => settings.apps.first_key_value(),
        None => None,
    };
    found.map(|(name, app)| (name.as_str(), app)).ok_or_else(|| {
        let names: Vec<_> = settings.apps.keys().map(String::as_str).collect();
        GenerateFault::WhichApp(names.join(", "))
    })
}

type Variant = BTreeMap<String, String>;

/// The plan, its variant without what it pins, and what can be certified with it.
fn plan(name: &str, client: &Client) -> Result<(&'static str, Variant, String), GenerateFault> {
    let method = client.authentication.method();
    let openid = client.scopes.iter().any(|scope| scope == "openid");
    let signed = client.request_object_key.is_some();
    let jarm = client.response.response_mode.is_signed();
    let dpop = client.sender_constraint == SenderConstraint::Dpop;
    let either = |condition: bool, yes: &'static str, no: &'static str| {
        if condition { yes } else { no }
    };
    let mut variant = vec![
        ("client_auth_type", either(method.is_mtls(), "mtls", "private_key_jwt")),
        ("fapi_client_type", either(openid, "oidc", "plain_oauth")),
        ("fapi_profile", "plain_fapi"),
    ];
    let methods = format!(
        "{} + {}",
        either(method.is_mtls(), "MTLS", "private key"),
        either(dpop, "DPoP", "MTLS")
    );
    let mut titles = Vec::new();
    let plan = match client.profile {
        ProfileName::Fapi2MessageSigning | ProfileName::Fapi2Security => {
            variant.push(("sender_constrain", either(dpop, "dpop", "mtls")));
            variant.push(("authorization_request_type", "simple"));
            if openid {
                titles.push("FAPI2SP RP OpenID Connect".to_owned());
            }
            titles.push(format!("FAPI2SP RP {methods}"));
            titles.extend(signed.then(|| "FAPI2MS RP JAR".to_owned()));
            titles.extend(jarm.then(|| "FAPI2MS RP JARM".to_owned()));
            if signed || jarm {
                let requests = either(signed, "signed_non_repudiation", "unsigned");
                variant.push(("fapi_request_method", requests));
                variant.push(("fapi_response_mode", either(jarm, "jarm", "plain_response")));
                SIGNING_PLAN
            } else {
                // Both are pinned by the plan.
                SECURITY_PLAN
            }
        }
        ProfileName::Fapi1Advanced => {
            let hybrid = client.response.response_type == ResponseType::CodeIdToken;
            variant.push(("fapi_auth_request_method", "pushed"));
            variant.push(("fapi_response_mode", either(hybrid, "plain_response", "jarm")));
            let response = match (hybrid, openid) {
                (true, _) => "",
                (false, true) => ", JARM (OpenID Connect)",
                (false, false) => ", JARM (OAuth)",
            };
            let auth = either(method.is_mtls(), "MTLS", "Private Key");
            titles.push(format!("FAPI Adv. RP w/ {auth}, PAR{response}"));
            FAPI1_PLAN
        }
        ProfileName::Oidc => {
            let profile = client.profile.as_str();
            return Err(GenerateFault::Profile { client: name.to_owned(), profile });
        }
    };
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Ok((plan, variant.into_iter().map(owned).collect(), titles.join("; ")))
}

/// The suite's address and the alias in an issuer of the suite.
fn suite(issuer: &str) -> Option<(Url, String)> {
    let mut url = Url::parse(issuer).ok()?;
    let alias = url.path().strip_prefix("/test/a/")?.strip_suffix('/')?.to_owned();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if alias.is_empty() || !alias.bytes().all(plain) || url.scheme() != "https" {
        return None;
    }
    url.set_path("/");
    Some((url, alias))
}

/// The client as an operator would type it into the suite's form.
fn registration(name: &str, client: &Client, redirect_uri: &str) -> Result<Value, GenerateFault> {
    let key = |key: &'static str, file: Option<&KeyFile>| {
        file.map(|file| signer(name, key, file)).transpose()
    };
    let assertion = key("client_assertion_key", client.authentication.assertion_key())?;
    let request = key("request_object_key", client.request_object_key.as_ref())?;
    // One key may serve both purposes; it is registered once.
    let keys: BTreeMap<_, _> = [assertion.as_ref(), request.as_ref()]
        .into_iter()
        .flatten()
        .map(|signer| (signer.kid(), signer.public_jwk()))
        .collect();
    let mut registration = json!({
        "client_id": client.client_id,
        "scope": client.scopes.join(" "),
        "redirect_uri": redirect_uri,
        "jwks": jwks_document(keys.into_values()),
    });
    if client.tls_identity.is_some() {
        merge(&mut registration, "certificate", json!(certificate(name, client)?));
    }
    if let Some(assertion) = assertion {
        let alg = assertion.alg().name();
        merge(&mut registration, "token_endpoint_auth_signing_alg", json!(alg));
    }
    if let Some(request) = request {
        let alg = request.alg().name();
        merge(&mut registration, "request_object_signing_alg", json!(alg));
    }
    Ok(registration)
}

fn merge(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn signer(
    client: &str,
    key: &'static str,
    file: &KeyFile,
) -> Result<SoftwareSigner, GenerateFault> {
    let unusable = |why: String| GenerateFault::Key { client: client.to_owned(), key, why };
    let signer = SoftwareSigner::from_file_bytes(file.bytes.expose(), file.alg)
        .map_err(|rejected| unusable(rejected.to_string()))?;
    if signer.alg() == JwsAlg::Rs256 {
        return Err(unusable("RS256 is not allowed".to_owned()));
    }
    Ok(signer)
}

/// The certificate the BFF presents, without the rest of its chain: the suite compares it byte for
/// byte.
fn certificate(name: &str, client: &Client) -> Result<String, GenerateFault> {
    let pem = client.tls_identity.as_ref().map_or(&[][..], |files| &files.certificate_pem);
    let leaf = CertificateDer::pem_slice_iter(pem)
        .next()
        .and_then(Result::ok)
        .filter(|leaf| x509_parser::parse_x509_certificate(leaf).is_ok())
        .ok_or_else(|| GenerateFault::Certificate(name.to_owned()))?;
    let body = STANDARD.encode(&leaf);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in body.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    Ok(pem + "-----END CERTIFICATE-----\n")
}

/// The mock server's key set, or none where the suite is to make its own.
fn server_keys(
    name: &str,
    client: &Client,
    options: &Options,
    remarks: &mut Vec<String>,
) -> Result<Option<Value>, GenerateFault> {
    let pins = [client.id_token_signed_response_alg, client.authorization_signed_response_alg];
    let pin = match pins.map(|pin| pin.map(JwsAlg::name)) {
        [Some(one), Some(other)] if one != other => {
            return Err(GenerateFault::TwoAlgorithms(name.to_owned()));
        }
        [one, other] => one.or(other),
    };
    let alg = match pin {
        None | Some("ES256") => ServerAlg::Es256,
        Some("EdDSA" | "Ed25519") => ServerAlg::EdDsa,
        Some(other) => {
            remarks.push(format!("client {name} pins {other}, which the suite's own keys are for"));
            return Ok(None);
        }
    };
    if !options.server_key {
        if let Some(pin) = pin {
            remarks
                .push(format!("client {name} pins {pin}, but the suite's own keys are for PS256"));
        }
        return Ok(None);
    }
    server_key::generate(alg).map(Some).map_err(|_| GenerateFault::NoRandomness)
}

/// Tokens bound to a key are used at the plain host, those bound to a certificate at the other.
fn accounts_base(alias: &str, dpop: bool) -> String {
    format!("/{}/a/{alias}", if dpop { "test" } else { "test-mtls" })
}

/// The path at the BFF that is forwarded to the accounts endpoint of the alias.
fn api_path(app: &App, suite: &Url, alias: &str, dpop: bool) -> Option<String> {
    let accounts = format!("{}/{ACCOUNTS}", accounts_base(alias, dpop));
    app.routes.iter().find_map(|route| {
        let with_token = route.access == Access::Session { token: TokenPolicy::User };
        let usable = with_token
            && (dpop || route.present_client_certificate)
            && route.methods.contains(&Method::GET);
        let base = route.upstream.path().trim_end_matches('/');
        let rest = accounts.strip_prefix(base)?;
        // A path of the suite's tells it; a bare host must be the suite's.
        let of_suite = !base.is_empty() || route.upstream.host() == suite.host();
        (usable && of_suite && (rest.is_empty() || rest.starts_with('/')))
            .then(|| format!("{}{rest}", route.path.trim_end_matches('/')))
    })
}
