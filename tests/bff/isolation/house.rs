//! One BFF process with several apps, clients and issuers, each party with everything of its own: keys,
//! certificate, authorization server, API.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, sync::Arc};

use fapi_bff::{
    clock::{Ambient, Clock as _, ManualClock, SystemClock, SystemEntropy},
    config,
    server::{Options, Server},
    telemetry::{Audit, AuditLog},
};
use fapi_bff_conformance::{
    api::{ApiConfig, SampleApi},
    as_double::{AsConfig, AsDouble, ClientAuth, ClientRegistration, Conduct, Constraint},
    demo::browser::{Answer, Browser, Call, From},
    jws::{Alg, SigningKey},
    pki::{AS_HOST, Identity, Pki},
    suite::world::free_port,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{CLIENT_ID, private};

/// One app with its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Name of the app and of its client.
    pub(super) name: &'static str,
    /// Name of the provider in the settings.
    pub(super) provider: &'static str,
    pub(super) client_id: &'static str,
    pub(super) host: &'static str,
    /// Path of everything of the app's: empty for an app that has its origin to itself.
    pub(super) below: &'static str,
    pub(super) conduct: Conduct,
}

/// Message signing, by certificate.
pub(super) const BANK: Part = Part {
    name: "bank",
    provider: "first",
    client_id: CLIENT_ID,
    host: "app.localhost",
    below: "",
    conduct: Conduct::message_signing(),
};
/// The Security Profile with `DPoP`, under the name that the bank's client has elsewhere and on the
/// bank's own origin.
pub(super) const DESK: Part = Part {
    name: "desk",
    provider: "second",
    client_id: CLIENT_ID,
    host: "app.localhost",
    below: "/desk",
    conduct: Conduct { constraint: Constraint::Dpop, ..Conduct::security_profile() },
};
/// FAPI 1.0 with an ID token beside the code.
pub(super) const SHOP: Part = Part {
    name: "shop",
    provider: "third",
    client_id: CLIENT_ID,
    host: "shop.localhost",
    below: "",
    conduct: Conduct::fapi1_advanced(),
};
/// OpenID Connect with a secret and bearer tokens.
pub(super) const CLUB: Part = Part {
    name: "club",
    provider: "fourth",
    client_id: CLIENT_ID,
    host: "club.localhost",
    below: "",
    conduct: Conduct::openid_connect(),
};
/// A second client of the bank's issuer.
pub(super) const TILL: Part = Part {
    name: "till",
    provider: BANK.provider,
    client_id: "till-client",
    host: "till.localhost",
    below: "",
    conduct: Conduct::message_signing(),
};
/// Another `DPoP` client at an issuer of its own.
pub(super) const KIOSK: Part =
    Part { name: "kiosk", provider: "fifth", host: "kiosk.localhost", below: "", ..DESK };

impl Part {
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.below)
    }

    /// The name of its session cookie.
    pub(super) fn session(&self) -> String {
        format!("__Host-Http-{}", self.name)
    }

    /// What the names of its transaction cookies start with.
    pub(super) fn transaction(&self) -> String {
        format!("__Host-Http-{}.tx-", self.name)
    }
}

/// What a client holds.
struct Holdings {
    assertion: SigningKey,
    request_object: SigningKey,
    tls: Identity,
    secret: String,
}

/// Everything, running.
pub(super) struct House {
    pub(super) parts: Vec<Part>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) audit: AuditLog,
    pub(super) doubles: BTreeMap<&'static str, AsDouble>,
    pub(super) apis: BTreeMap<&'static str, SampleApi>,
    pub(super) toml: String,
    pub(super) pki: Pki,
    holdings: BTreeMap<&'static str, Holdings>,
    port: u16,
    dir: TempDir,
    bff: Option<Server>,
}

impl House {
    pub(super) async fn start(parts: &[Part]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut pki = Pki::load_or_create(dir.path(), CLIENT_ID).unwrap();
        let hosts: Vec<_> = parts.iter().map(|part| part.host).collect();
        pki.bff = pki.issue_server(&hosts).unwrap();
        pki.write_to(dir.path()).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            private(&dir.path().join(name));
        };
        write("server.key", &"0".repeat(64));
        let mut holdings = BTreeMap::new();
        for part in parts {
            let held = Holdings {
                assertion: SigningKey::generate(Alg::Es256).unwrap(),
                request_object: SigningKey::generate(Alg::Es256).unwrap(),
                tls: pki.issue_client(part.name).unwrap(),
                secret: format!("the secret of {}: 0123456789abcdef", part.name),
            };
            let file = |kind: &str| format!("{}-{kind}", part.name);
            write(&file("assertion.key"), &held.assertion.to_pem());
            write(&file("request.key"), &held.request_object.to_pem());
            write(&file("tls.pem"), &held.tls.cert_pem);
            write(&file("tls.key"), &held.tls.key_pem);
            write(&file("secret"), &held.secret);
            holdings.insert(part.name, held);
        }
        let clock = ManualClock::at(SystemClock::new().now());
        let (_, audit) = Audit::memory(clock.clone());
        let mut house = Self {
            parts: parts.to_vec(),
            clock,
            audit,
            doubles: BTreeMap::new(),
            apis: BTreeMap::new(),
            toml: String::new(),
            pki,
            holdings,
            port: free_port(),
            dir,
            bff: None,
        };
        for part in parts {
            if !house.doubles.contains_key(part.provider) {
                let double = house.authorization_server(part.provider).await;
                house.doubles.insert(part.provider, double);
            }
            let tokens = house.doubles[part.provider].token_state();
            let api = SampleApi::start(ApiConfig::new(&house.pki), tokens).await.unwrap();
            house.apis.insert(part.name, api);
        }
        house.toml = house.configuration();
        house.boot().await;
        house
    }

    async fn authorization_server(&self, provider: &str) -> AsDouble {
        let clients: Vec<_> =
            self.parts.iter().filter(|part| part.provider == provider).copied().collect();
        let registered = clients.iter().map(|part| self.registration(part)).collect();
        let clock = Arc::clone(&self.clock);
        let now = Arc::new(move || clock.now().as_i64());
        let config = AsConfig { now, ..AsConfig::new(&self.pki, registered) };
        AsDouble::start(config.conducted(clients[0].conduct)).await.unwrap()
    }

    fn registration(&self, part: &Part) -> ClientRegistration {
        let held = &self.holdings[part.name];
        let home = format!("{}{}", self.origin(part), part.path("/"));
        let home = if part.below.is_empty() { home } else { home.trim_end_matches('/').to_owned() };
        let bff = format!("{}{}", self.origin(part), part.path("/bff"));
        let out = format!("{bff}/logout/callback");
        ClientRegistration {
            jwks: json!({"keys": [held.assertion.public_jwk(), held.request_object.public_jwk()]}),
            redirect_uris: vec![home.clone(), format!("{bff}/callback")],
            certificate_thumbprints: vec![held.tls.thumbprint().unwrap()],
            client_secret: Some(held.secret.clone()),
            ..ClientRegistration::from_pki(&self.pki, part.client_id, &home, &out).unwrap()
        }
    }

    fn configuration(&self) -> String {
        let mut toml = SERVER.replace("{port}", &self.port.to_string());
        for (name, double) in &self.doubles {
            let _ = writeln!(toml, "[providers.{name}]\nissuer = \"{}\"", double.issuer());
            toml.push_str(PROVIDER);
        }
        for part in &self.parts {
            let Part { name, provider, client_id, below, conduct, .. } = part;
            let upstream = self.apis[name].base_url();
            let _ = write!(
                toml,
                "[clients.{name}]\nprovider = \"{provider}\"\nclient_id = \"{client_id}\"\nscopes = [\"openid\", \"profile\", \"accounts\"]\n{}\n[apps.{name}]\nclient = \"{name}\"\norigin = \"{}\"\nprefix = \"{below}/bff\"\n[apps.{name}.login]\nredirect_path = \"{}\"\n[[apps.{name}.routes]]\npath = \"{below}/api\"\nupstream = \"{}\"\ntrust_roots = [\"ca.pem\"]\nnetworks = [\"loopback\"]\n",
                settings(name, *conduct),
                self.origin(part),
                if below.is_empty() { "/" } else { below },
                upstream.trim_end_matches('/'),
            );
        }
        toml
    }

    async fn boot(&mut self) {
        let file = self.dir.path().join("bff.toml");
        std::fs::write(&file, &self.toml).unwrap();
        let settings = config::load(&file, []).unwrap_or_else(|faults| panic!("{faults}"));
        let (audit, log) = Audit::memory(self.clock.clone());
        self.audit = log;
        let ambient =
            Ambient { clock: self.clock.clone(), entropy: Arc::new(SystemEntropy::new()) };
        let options = Options { ambient, audit: Some(audit), store: None };
        let server = Server::start(settings, options).await;
        self.bff = Some(server.unwrap_or_else(|error| panic!("{error}")));
    }

    /// Starts the server again on the same files, with this in the configuration instead of that.
    pub(super) async fn restart_with(&mut self, from: &str, to: &str) {
        assert!(self.toml.contains(from), "{from:?} is not in the configuration");
        self.toml = self.toml.replace(from, to);
        if let Some(bff) = self.bff.take() {
            bff.shutdown().await;
        }
        self.boot().await;
    }

    /// An authorization server goes, and nobody listens where it was.
    pub(super) async fn close(&mut self, part: &Part) {
        self.doubles.remove(part.provider).unwrap().shutdown().await;
    }

    pub(super) fn origin(&self, part: &Part) -> String {
        format!("https://{}:{}", part.host, self.port)
    }

    pub(super) fn double(&self, part: &Part) -> &AsDouble {
        &self.doubles[part.provider]
    }

    pub(super) fn api(&self, part: &Part) -> &SampleApi {
        &self.apis[part.name]
    }

    /// Names of the keys that a client signs with.
    pub(super) fn kids(&self, part: &Part) -> Vec<String> {
        let held = &self.holdings[part.name];
        let mut kids = Vec::new();
        if part.conduct.client_auth == ClientAuth::PrivateKeyJwt {
            kids.push(held.assertion.kid().to_owned());
        }
        if part.conduct.signed_requests {
            kids.push(held.request_object.kid().to_owned());
        }
        kids
    }

    pub(super) fn secret(&self, part: &Part) -> &str {
        &self.holdings[part.name].secret
    }

    /// A browser at an app, with nothing in it yet.
    pub(super) fn browser(&self, part: &Part) -> Browser {
        Browser::with_client(self.http(), &self.origin(part))
    }

    fn http(&self) -> reqwest::Client {
        // The port comes from each URL.
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut hosts: Vec<_> =
            self.parts.iter().map(|part| (part.host.to_owned(), here)).collect();
        hosts.push((AS_HOST.to_owned(), here));
        self.pki.http_client(None, &hosts).unwrap()
    }

    /// Starts a login by script and lets the authorization server answer: what the app's page would
    /// hand in.
    pub(super) async fn response(&self, part: &Part, browser: &mut Browser) -> String {
        let start = Call::post(&part.path("/bff/login/start"));
        let started = browser.fetch(start).await.unwrap().expect(200).unwrap().json().unwrap();
        let url = started["authorization_url"].as_str().unwrap().to_owned();
        let answer = browser.navigate(From::SameOrigin, &url).await.unwrap().expect(303).unwrap();
        let location = answer.location().unwrap();
        assert_eq!(location.origin().ascii_serialization(), self.origin(part));
        location.query().or(location.fragment()).unwrap_or_default().to_owned()
    }

    /// Hands an answer in, as the app's page would.
    pub(super) async fn end(&self, part: &Part, browser: &mut Browser, form: &str) -> Answer {
        browser.fetch(Call::post(&part.path("/bff/login/end")).form(form)).await.unwrap()
    }

    /// A browser with a session at this app.
    pub(super) async fn logged_in(&self, part: &Part) -> Browser {
        let mut browser = self.browser(part);
        let form = self.response(part, &mut browser).await;
        self.end(part, &mut browser, &form).await.expect(200).unwrap();
        browser
    }

    pub(super) async fn is_logged_in(&self, part: &Part, browser: &mut Browser) -> bool {
        let answer = browser.fetch(Call::get(&part.path("/bff/session"))).await.unwrap();
        answer.expect(200).unwrap().json().unwrap()["is_logged_in"].as_bool().unwrap()
    }

    pub(super) async fn accounts(&self, part: &Part, browser: &mut Browser) -> Answer {
        browser.fetch(Call::get(&part.path("/api/accounts"))).await.unwrap()
    }

    /// A script's call with this `Cookie` header, whatever a browser would send there.
    pub(super) async fn with_cookies(
        &self,
        part: &Part,
        method: &str,
        path: &str,
        cookies: &str,
        form: &str,
    ) -> Answer {
        let origin = self.origin(part);
        let url = format!("{origin}{}", part.path(path));
        let mut request = self
            .http()
            .request(method.parse().unwrap(), url)
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-mode", "cors")
            .header("sec-fetch-dest", "empty")
            .header("origin", &origin)
            .header("x-bff-csrf", "1")
            .header("cookie", cookies);
        if !form.is_empty() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        let response = request.body(form.to_owned()).send().await.unwrap();
        Answer {
            request: format!("{method} {path}"),
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap(),
        }
    }

    /// The last audit record with this action.
    pub(super) fn last_audit(&self, action: &str) -> Value {
        let events = self.audit.events();
        let event = events.iter().rev().find(|event| event["action"] == action);
        event.unwrap_or_else(|| panic!("no {action} in {events:#?}")).clone()
    }

    pub(super) fn last_reason(&self) -> String {
        self.last_audit("login.end")["reason"].as_str().unwrap().to_owned()
    }

    pub(super) fn metrics(&self) -> String {
        self.bff.as_ref().unwrap().telemetry().metrics.render()
    }
}

/// The settings of a client of a server that conducts itself so.
fn settings(name: &str, conduct: Conduct) -> String {
    let profile = if conduct == BANK.conduct {
        "profile = \"fapi2-message-signing\""
    } else if conduct == DESK.conduct {
        "profile = \"fapi2-security\"\nsender_constraint = \"dpop\""
    } else if conduct == SHOP.conduct {
        "profile = \"fapi1-advanced\"\nresponse_type = \"code id_token\""
    } else {
        "profile = \"oidc\"\ntoken_endpoint_auth_method = \"client_secret_basic\"\nid_token_signed_response_alg = \"RS256\""
    };
    let mut text = format!("{profile}\n");
    let mut file = |setting: &str, kind: &str| {
        let _ = writeln!(text, "{setting} = \"{name}-{kind}\"");
    };
    match conduct.client_auth {
        ClientAuth::PrivateKeyJwt => file("client_assertion_key", "assertion.key"),
        _ => file("client_secret_file", "secret"),
    }
    if conduct.signed_requests {
        file("request_object_key", "request.key");
    }
    if conduct.constraint == Constraint::Mtls {
        let _ = writeln!(
            text,
            "tls_identity = {{ certificate = \"{name}-tls.pem\", private_key = \"{name}-tls.key\" }}"
        );
    }
    text
}

const SERVER: &str = r#"
[server]
listen = "127.0.0.1:{port}"
tls = { certificate = "bff.pem", private_key = "bff.key" }

[admin]
listen = "127.0.0.1:0"

[store]
path = "sessions.redb"
server_key_file = "server.key"

"#;

const PROVIDER: &str = r#"trust_roots = ["ca.pem"]
networks = ["loopback"]
request_timeout = "2s"

"#;
