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

use crate::support::{CLIENT_ID, SERVER, private};

/// One app with its client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Name of the app and of its client.
    pub(crate) name: &'static str,
    /// Name of the provider in the settings.
    pub(crate) provider: &'static str,
    pub(crate) client_id: &'static str,
    pub(crate) host: &'static str,
    /// Path of everything of the app's: empty for an app that has its origin to itself.
    pub(crate) below: &'static str,
    pub(crate) conduct: Conduct,
    /// What everybody signs with.
    pub(crate) alg: Alg,
    /// Further settings of the client, and of the app's login.
    pub(crate) client: &'static str,
    pub(crate) login: &'static str,
    /// What it has registered beside keys and addresses.
    pub(crate) registered: fn(&mut ClientRegistration),
    /// Authentication contexts that its authorization server reaches; the usual ones if empty.
    pub(crate) acrs: &'static [&'static str],
    /// What to do to its authorization server before the BFF meets it.
    pub(crate) before: fn(&AsDouble),
}

/// Message signing, by certificate.
pub(crate) const BANK: Part = Part {
    name: "bank",
    provider: "first",
    client_id: CLIENT_ID,
    host: "app.localhost",
    below: "",
    conduct: Conduct::message_signing(),
    alg: Alg::Es256,
    client: "",
    login: "",
    registered: |_| {},
    acrs: &[],
    before: |_| {},
};
/// The Security Profile with `DPoP`, under the name that the bank's client has elsewhere and on the
/// bank's own origin.
pub(crate) const DESK: Part = Part {
    name: "desk",
    provider: "second",
    client_id: CLIENT_ID,
    host: "app.localhost",
    below: "/desk",
    conduct: Conduct { constraint: Constraint::Dpop, ..Conduct::security_profile() },
    ..BANK
};
/// FAPI 1.0 with an ID token beside the code.
pub(crate) const SHOP: Part = Part {
    name: "shop",
    provider: "third",
    client_id: CLIENT_ID,
    host: "shop.localhost",
    below: "",
    conduct: Conduct::fapi1_advanced(),
    ..BANK
};
/// OpenID Connect with a secret and bearer tokens.
pub(crate) const CLUB: Part = Part {
    name: "club",
    provider: "fourth",
    client_id: CLIENT_ID,
    host: "club.localhost",
    below: "",
    conduct: Conduct::openid_connect(),
    ..BANK
};
/// A second client of the bank's issuer.
pub(crate) const TILL: Part = Part {
    name: "till",
    provider: BANK.provider,
    client_id: "till-client",
    host: "till.localhost",
    below: "",
    conduct: Conduct::message_signing(),
    ..BANK
};
/// Another `DPoP` client at an issuer of its own.
pub(crate) const KIOSK: Part =
    Part { name: "kiosk", provider: "fifth", host: "kiosk.localhost", below: "", ..DESK };

impl Part {
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.below)
    }

    /// The name of its session cookie.
    pub(crate) fn session(&self) -> String {
        format!("__Host-Http-{}", self.name)
    }

    /// What the names of its transaction cookies start with.
    pub(crate) fn transaction(&self) -> String {
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
pub(crate) struct House {
    pub(crate) parts: Vec<Part>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) audit: AuditLog,
    pub(crate) doubles: BTreeMap<&'static str, AsDouble>,
    pub(crate) apis: BTreeMap<&'static str, SampleApi>,
    pub(crate) toml: String,
    pub(crate) pki: Pki,
    holdings: BTreeMap<&'static str, Holdings>,
    port: u16,
    dir: TempDir,
    bff: Option<Server>,
}

impl House {
    pub(crate) async fn start(parts: &[Part]) -> Self {
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
                assertion: SigningKey::generate(part.alg).unwrap(),
                request_object: SigningKey::generate(part.alg).unwrap(),
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
                (part.before)(&double);
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
        let first = clients[0];
        let config = AsConfig { now, ..AsConfig::new(&self.pki, registered) };
        let mut config = config.conducted(first.conduct);
        if first.alg != Alg::Es256 {
            config.signing_alg = first.alg;
        }
        if !first.acrs.is_empty() {
            config.acrs = first.acrs.iter().map(|acr| (*acr).to_owned()).collect();
        }
        AsDouble::start(config).await.unwrap()
    }

    fn registration(&self, part: &Part) -> ClientRegistration {
        let held = &self.holdings[part.name];
        let home = format!("{}{}", self.origin(part), part.path("/"));
        let home = if part.below.is_empty() { home } else { home.trim_end_matches('/').to_owned() };
        let bff = format!("{}{}", self.origin(part), part.path("/bff"));
        let out = format!("{bff}/logout/callback");
        let mut registration = ClientRegistration {
            scopes: ["openid", "profile", "accounts"].map(str::to_owned).to_vec(),
            jwks: json!({"keys": [held.assertion.public_jwk(), held.request_object.public_jwk()]}),
            redirect_uris: vec![home.clone(), format!("{bff}/callback")],
            certificate_thumbprints: vec![held.tls.thumbprint().unwrap()],
            client_secret: Some(held.secret.clone()),
            ..ClientRegistration::from_pki(&self.pki, part.client_id, &home, &out).unwrap()
        };
        (part.registered)(&mut registration);
        registration
    }

    fn configuration(&self) -> String {
        let mut toml = SERVER.replace("{port}", &self.port.to_string());
        for (name, double) in &self.doubles {
            let _ = writeln!(toml, "[providers.{name}]\nissuer = \"{}\"", double.issuer());
            toml.push_str(PROVIDER);
        }
        for part in &self.parts {
            let Part { name, provider, client_id, below, .. } = part;
            let upstream = self.apis[name].base_url();
            let _ = write!(
                toml,
                "[clients.{name}]\nprovider = \"{provider}\"\nclient_id = \"{client_id}\"\nscopes = [\"openid\", \"profile\", \"accounts\"]\n{}\n[apps.{name}]\nclient = \"{name}\"\norigin = \"{}\"\nprefix = \"{below}/bff\"\n[apps.{name}.login]\nredirect_path = \"{}\"\n{}\n[[apps.{name}.routes]]\npath = \"{below}/api\"\nupstream = \"{}\"\ntrust_roots = [\"ca.pem\"]\nnetworks = [\"loopback\"]\n",
                settings(part),
                self.origin(part),
                if below.is_empty() { "/" } else { below },
                part.login,
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
    pub(crate) async fn restart_with(&mut self, from: &str, to: &str) {
        assert!(self.toml.contains(from), "{from:?} is not in the configuration");
        self.toml = self.toml.replace(from, to);
        if let Some(bff) = self.bff.take() {
            bff.shutdown().await;
        }
        self.boot().await;
    }

    /// An authorization server goes, and nobody listens where it was.
    pub(crate) async fn close(&mut self, part: &Part) {
        self.doubles.remove(part.provider).unwrap().shutdown().await;
    }

    pub(crate) fn origin(&self, part: &Part) -> String {
        format!("https://{}:{}", part.host, self.port)
    }

    pub(crate) fn double(&self, part: &Part) -> &AsDouble {
        &self.doubles[part.provider]
    }

    pub(crate) fn api(&self, part: &Part) -> &SampleApi {
        &self.apis[part.name]
    }

    /// Names of the keys that a client signs with.
    pub(crate) fn kids(&self, part: &Part) -> Vec<String> {
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

    pub(crate) fn secret(&self, part: &Part) -> &str {
        &self.holdings[part.name].secret
    }

    /// A browser at an app, with nothing in it yet.
    pub(crate) fn browser(&self, part: &Part) -> Browser {
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
    pub(crate) async fn response(&self, part: &Part, browser: &mut Browser) -> String {
        self.response_to(part, browser, "").await
    }

    /// The same for a login that the app's page has wishes for.
    pub(crate) async fn response_to(
        &self,
        part: &Part,
        browser: &mut Browser,
        wishes: &str,
    ) -> String {
        let start = Call::post(&part.path("/bff/login/start")).form(wishes);
        let started = browser.fetch(start).await.unwrap().expect(200).unwrap().json().unwrap();
        let url = started["authorization_url"].as_str().unwrap().to_owned();
        let answer = browser.navigate(From::SameOrigin, &url).await.unwrap().expect(303).unwrap();
        let location = answer.location().unwrap();
        assert_eq!(location.origin().ascii_serialization(), self.origin(part));
        location.query().or(location.fragment()).unwrap_or_default().to_owned()
    }

    /// Hands an answer in, as the app's page would.
    pub(crate) async fn end(&self, part: &Part, browser: &mut Browser, form: &str) -> Answer {
        browser.fetch(Call::post(&part.path("/bff/login/end")).form(form)).await.unwrap()
    }

    /// A browser with a session at this app.
    pub(crate) async fn logged_in(&self, part: &Part) -> Browser {
        let mut browser = self.browser(part);
        let form = self.response(part, &mut browser).await;
        self.end(part, &mut browser, &form).await.expect(200).unwrap();
        browser
    }

    pub(crate) async fn is_logged_in(&self, part: &Part, browser: &mut Browser) -> bool {
        let answer = browser.fetch(Call::get(&part.path("/bff/session"))).await.unwrap();
        answer.expect(200).unwrap().json().unwrap()["is_logged_in"].as_bool().unwrap()
    }

    pub(crate) async fn accounts(&self, part: &Part, browser: &mut Browser) -> Answer {
        browser.fetch(Call::get(&part.path("/api/accounts"))).await.unwrap()
    }

    /// A script's call with this `Cookie` header, whatever a browser would send there.
    pub(crate) async fn with_cookies(
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
    pub(crate) fn last_audit(&self, action: &str) -> Value {
        let events = self.audit.events();
        let event = events.iter().rev().find(|event| event["action"] == action);
        event.unwrap_or_else(|| panic!("no {action} in {events:#?}")).clone()
    }

    pub(crate) fn last_reason(&self) -> String {
        self.last_audit("login.end")["reason"].as_str().unwrap().to_owned()
    }

    pub(crate) fn metrics(&self) -> String {
        self.bff.as_ref().unwrap().telemetry().metrics.render()
    }
}

/// The settings of a client of a server that conducts itself so.
fn settings(part: &Part) -> String {
    let (name, conduct) = (part.name, part.conduct);
    let profile = if !part.client.is_empty() {
        part.client
    } else if conduct == BANK.conduct {
        "profile = \"fapi2-message-signing\""
    } else if conduct == DESK.conduct {
        "profile = \"fapi2-security\"\nsender_constraint = \"dpop\""
    } else if conduct == SHOP.conduct {
        "profile = \"fapi1-advanced\"\nresponse_type = \"code id_token\""
    } else {
        "profile = \"oidc\"\ntoken_endpoint_auth_method = \"client_secret_basic\"\nid_token_signed_response_alg = \"RS256\""
    };
    let mut text = format!("{profile}\n");
    let alg = part.alg.name();
    let mut key = |setting: &str, kind: &str| {
        let _ = writeln!(text, "{setting} = {{ file = \"{name}-{kind}\", alg = \"{alg}\" }}");
    };
    if conduct.client_auth == ClientAuth::PrivateKeyJwt {
        key("client_assertion_key", "assertion.key");
    }
    if conduct.signed_requests {
        key("request_object_key", "request.key");
    }
    if conduct.client_auth == ClientAuth::SecretBasic {
        let _ = writeln!(text, "client_secret_file = \"{name}-secret\"");
    }
    if conduct.constraint == Constraint::Mtls {
        let _ = writeln!(
            text,
            "tls_identity = {{ certificate = \"{name}-tls.pem\", private_key = \"{name}-tls.key\" }}"
        );
    }
    text
}

const PROVIDER: &str = r#"trust_roots = ["ca.pem"]
networks = ["loopback"]

"#;
