//! Owns the judgement of credentials beyond their files' form, and the summary of what to register.
//! Must not know: how settings are written.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::Path};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use serde::Serialize;
use x509_parser::parse_x509_certificate;

use crate::{
    clock::UnixTime,
    config::{
        App, Carrier, Client, Fault, Faults, KeyFile, Route, Settings, Source, StorePlace, TlsFiles,
    },
    ecosystem::EcosystemName,
    jose::{EncryptionJwk, JweAlg, Signer as _, SoftwareSigner},
    profile::Profile,
    server::{AssemblyFault, check_grants, decryption_keys, key_ring, published_keys},
};

/// What an authorization server's administrator has to know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Summary {
    /// Per app, what its client must have registered.
    pub apps: Vec<AppSummary>,
    /// Per client, its credentials.
    pub clients: Vec<ClientSummary>,
    /// Where operators list and end sessions, if they can.
    pub session_administration: Option<SocketAddr>,
    /// What sessions are sealed under.
    pub server_keys: ServerKeySummary,
    /// What these settings cannot promise.
    pub notes: Vec<String>,
}

/// The server keys, by their public ids: for comparing instances.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServerKeySummary {
    /// New sessions are sealed under this one.
    pub active: String,
    /// Sessions under these are found as well.
    pub further: Vec<String>,
    /// Seconds for which a key that is no longer active anywhere may still be needed.
    pub needed_for: u64,
}

/// The URLs of an app.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AppSummary {
    /// The app's name.
    pub app: String,
    /// The client it uses.
    pub client: String,
    /// All of these are sent.
    pub redirect_uris: [String; 2],
    /// Sent at logout.
    pub post_logout_redirect_uri: String,
    /// Where the client's public keys are.
    pub jwks_uri: String,
    /// How long its sessions live, and how many one person has.
    pub sessions: SessionSummary,
    /// Where logout tokens are to be posted, if the app takes them (BCL-2.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_uri: Option<String>,
    /// Logout tokens shall name the session: without, all of a user's sessions end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_session_required: Option<bool>,
    /// What the logout page is to show in a frame, if the app takes that (FCL-2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontchannel_logout_uri: Option<String>,
    /// The frame's address shall name issuer and session: without, nothing ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontchannel_logout_session_required: Option<bool>,
}

/// The limits of an app's sessions (SES-7.1.2, SES-7.3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SessionSummary {
    /// Seconds without use.
    pub idle: u64,
    /// Seconds at the longest.
    pub absolute: u64,
    /// At most so many per subject, if that is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_subject: Option<usize>,
    /// What happens at one more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_limit: Option<&'static str>,
}

/// The credentials of a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ClientSummary {
    /// The client's name in the configuration.
    pub client: String,
    /// The issuer it is registered at.
    pub issuer: String,
    /// `client_id` there.
    pub client_id: String,
    /// How the client authenticates.
    pub token_endpoint_auth_method: &'static str,
    /// Its signing keys, then those that tokens may be encrypted to.
    pub keys: Vec<KeySummary>,
    /// Its TLS client certificate, if it has one.
    pub certificate: Option<CertificateSummary>,
    /// The security profile.
    pub profile: &'static str,
    /// The ecosystem, if the client is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecosystem: Option<&'static str>,
    /// The `response_type` it sends.
    pub response_type: &'static str,
    /// The `response_mode` it sends, or leaves to be the default.
    pub response_mode: &'static str,
    /// What its access tokens are to be bound to.
    pub sender_constraint: &'static str,
}

/// A key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KeySummary {
    /// `client_assertion`, `request_object`, `dpop` or `decryption`.
    pub purpose: &'static str,
    /// Its name in the published key set.
    pub kid: String,
    /// The algorithm it signs with, or one it decrypts by.
    pub alg: &'static str,
}

/// A certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CertificateSummary {
    /// Subject distinguished name.
    pub subject: String,
    /// Last second of validity, RFC 3339.
    pub not_after: String,
}

/// Judges every key and certificate of sound settings and says what to register.
///
/// # Errors
/// One fault per key or certificate that cannot be used at `now`, and per request that `file`, from
/// which the settings are, would have sent in vain.
pub fn inspect(settings: &Settings, file: &Path, now: UnixTime) -> Result<Summary, Faults> {
    let mut faults = Vec::new();
    if let Err(found) = check_grants(settings) {
        faults.extend(found.into_iter().map(|found| {
            let remedy = if found.path.ends_with(".resource") {
                "write the API's identifier at the authorization server, such as \"https://api.example.com\""
            } else {
                "write at most 16 tables as in [{ type = \"accounts\", actions = [\"read\"] }], 1024 bytes in all"
            };
            fault(&found.path, file, found.message, remedy)
        }));
    }
    let server_keys = server_keys(settings).map_err(|fault| {
        faults.push(Fault { remedy: "name each key once".to_owned(), ..told(fault) });
    });
    faults.extend(
        settings.apps.iter().filter_map(|(name, app)| raised_in_vain(name, app, settings, file)),
    );
    let mut proving = Proving::new();
    if let Some(tls) = &settings.server.tls {
        certificate("server.tls", tls, now).map_err(|fault| faults.push(fault)).ok();
    }
    if let StorePlace::Valkey(valkey) = &settings.store.place
        && let Some(tls) = valkey.tls.as_ref().and_then(|tls| tls.identity.as_ref())
    {
        certificate("store.valkey.tls_identity", tls, now).map_err(|fault| faults.push(fault)).ok();
    }
    let mut clients = Vec::new();
    for (name, client) in &settings.clients {
        let path = format!("clients.{name}");
        let keys = signers(&path, client).map_err(|found| faults.extend(found));
        let at = format!("{path}.decryption_keys");
        let decryption = decryption_keys(&client.encryption, &at).map_err(|fault| {
            let remedy = "make one with `fapi-bff keys generate --use enc --alg ALG --out keys/decryption.jwk`, where ALG is the registered *_encrypted_response_alg".to_owned();
            faults.push(Fault { remedy, ..told(fault) });
        });
        let identity = client.tls_identity.as_ref();
        let tls = identity
            .map(|files| certificate(&format!("{path}.tls_identity"), files, now))
            .transpose()
            .map_err(|fault| faults.push(fault));
        let issuer =
            settings.providers.get(&client.provider).map(|provider| provider.issuer.clone());
        if let (Ok(keys), Some(issuer)) = (&keys, &issuer) {
            faults.extend(shared_proof(&mut proving, (name, client), keys, issuer));
        }
        if let (Ok(keys), Ok(decryption), Ok(certificate)) = (keys, decryption, tls) {
            // Each is sound by itself; together they may not be.
            if let Err(fault) = published_keys(name, client) {
                faults.push(told(fault));
            }
            clients.push(ClientSummary {
                client: name.clone(),
                issuer: issuer.unwrap_or_default(),
                client_id: client.client_id.clone(),
                token_endpoint_auth_method: client.authentication.method().name(),
                profile: client.profile.as_str(),
                ecosystem: client.ecosystem.map(EcosystemName::as_str),
                response_type: client.response.response_type.name(),
                response_mode: client.response.response_mode.name(),
                sender_constraint: client.sender_constraint.name(),
                keys: keys
                    .iter()
                    .map(|(purpose, signer)| KeySummary {
                        purpose,
                        kid: signer.kid().to_owned(),
                        alg: signer.alg().name(),
                    })
                    .chain(decryption.published().flat_map(encrypted_to))
                    .collect(),
                certificate,
            });
        }
    }
    let (Ok(server_keys), true) = (server_keys, faults.is_empty()) else {
        return Err(Faults::new(faults));
    };
    let apps = settings.apps.iter().map(|(name, app)| AppSummary {
        app: name.clone(),
        client: app.client.clone(),
        redirect_uris: app.redirect_uris(),
        post_logout_redirect_uri: app.post_logout_redirect_uri(),
        jwks_uri: app.jwks_uri(),
        sessions: SessionSummary {
            idle: app.session.idle.as_secs(),
            absolute: app.session.absolute.as_secs(),
            max_per_subject: app.session.limit.map(|limit| limit.most),
            over_limit: app.session.limit.map(|limit| limit.over.as_str()),
        },
        backchannel_logout_uri: app.backchannel_logout_uri(),
        backchannel_logout_session_required: app.backchannel_logout.then_some(true),
        frontchannel_logout_uri: app.frontchannel_logout_uri(),
        frontchannel_logout_session_required: app.frontchannel_logout.then_some(true),
    });
    let session_administration = settings.admin.token.as_ref().map(|_| settings.admin.listen);
    let (apps, notes) = (apps.collect(), notes(settings));
    Ok(Summary { apps, clients, session_administration, server_keys, notes })
}

/// A route that sends users to log in again, where that cannot raise their session: an answer that is posted
/// comes without the cookies that hold it (CK-SS-1, CK-SS-3).
fn raised_in_vain(name: &str, app: &App, settings: &Settings, file: &Path) -> Option<Fault> {
    let client = settings.clients.get(&app.client)?;
    if app.session.carrier != Carrier::Cookie || !client.response.response_mode.is_posted() {
        return None;
    }
    let demands = |route: &Route| {
        let authentication = !route.acr_values.is_empty() || route.max_age.is_some();
        authentication || route.step_up || route.authorization_type.is_some()
    };
    let index = app.routes.iter().position(demands)?;
    let message = format!(
        "\"cookie\" cannot be used with routes[{index}], which demands another login: by {} its answer comes without the session",
        client.response.response_mode.name()
    );
    let remedy = "keep sessions on the server, or use a response_mode that does not post";
    Some(fault(&format!("apps.{name}.session.carrier"), file, message, remedy))
}

fn notes(settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    let carried: Vec<_> =
        settings.apps.iter().filter(|(_, app)| app.session.carrier == Carrier::Cookie).collect();
    for (name, _) in &carried {
        notes.push(format!("app {name}: browsers carry their sessions, which no operator can list; one ends by logout, by its limits, or by the AS's word"));
    }
    let lost = "If what it keeps is lost, sessions that have ended live again until their limits: then change the server key without listing the old one";
    let note = match &settings.store.place {
        _ if carried.is_empty() => return notes,
        StorePlace::Embedded { path } => format!(
            "{} knows which of these sessions have ended. Only one instance can use it: another one would not know of their logouts. {lost}",
            path.display()
        ),
        StorePlace::Valkey(_) => format!(
            "the store knows which of these sessions have ended. A failover of Valkey or Redis may forget the last moments' logouts. {lost}"
        ),
        StorePlace::Postgres(_) => {
            format!("the database knows which of these sessions have ended. {lost}")
        }
    };
    notes.push(note);
    notes
}

fn server_keys(settings: &Settings) -> Result<ServerKeySummary, AssemblyFault> {
    let ring = key_ring(&settings.store)?;
    // A session begun in the last second of the old key, or a login that was under way.
    let longest = |app: &App| app.session.absolute.max(app.login.transaction_lifetime);
    let needed_for = settings.apps.values().map(longest).max().unwrap_or_default();
    Ok(ServerKeySummary {
        active: ring.active_id().to_string(),
        further: ring.further_ids().map(|id| id.to_string()).collect(),
        needed_for: needed_for.as_secs(),
    })
}

/// The issuer and the client that each `DPoP` key is used with, by thumbprint.
type Proving = BTreeMap<String, (String, String)>;

/// A key that would prove possession of two issuers' tokens. One of them could hand out the other's
/// stolen token as its own, and we would prove for it that it is ours (FAPI2-SP-6.3).
fn shared_proof(
    proving: &mut Proving,
    (name, client): (&str, &Client),
    keys: &[(&'static str, SoftwareSigner)],
    issuer: &str,
) -> Option<Fault> {
    let (_, signer) = keys.iter().find(|(purpose, _)| *purpose == "dpop")?;
    let here = || (issuer.to_owned(), name.to_owned());
    let (known, other) = proving.entry(signer.public_jwk().thumbprint()).or_insert_with(here);
    if *known == issuer {
        return None;
    }
    let file = &client.dpop_key.as_ref()?.path;
    let message = format!(
        "is the key of clients.{other}, too, at another issuer: each could have us prove that a token stolen at the other is ours (FAPI2-SP-6.3, FAPI2-AM-7.3)"
    );
    let remedy =
        "give each issuer a key of its own, or remove dpop_key: then every session has one";
    Some(fault(&format!("clients.{name}.dpop_key"), file, message, remedy))
}

/// A client's signing keys with their purposes.
pub(super) fn signers(
    path: &str,
    client: &Client,
) -> Result<Vec<(&'static str, SoftwareSigner)>, Vec<Fault>> {
    let files = [
        ("client_assertion", "client_assertion_key", client.authentication.assertion_key()),
        ("request_object", "request_object_key", client.request_object_key.as_ref()),
        ("dpop", "dpop_key", client.dpop_key.as_ref()),
    ];
    let (mut signers, mut faults) = (Vec::new(), Vec::new());
    for (purpose, key, file) in files {
        let Some(file) = file else { continue };
        match signer(&format!("{path}.{key}"), file, client.rules()) {
            Ok(signer) => signers.push((purpose, signer)),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(signers) } else { Err(faults) }
}

fn signer(path: &str, file: &KeyFile, profile: &Profile) -> Result<SoftwareSigner, Fault> {
    let read = SoftwareSigner::from_file_bytes(file.bytes.expose(), file.alg);
    let signer = read.map_err(|error| {
        let remedy = "name a file with one PKCS#8 PEM key or private JWK: P-256, Ed25519, or RSA of 2048 bits or more";
        fault(path, &file.path, format!("the key cannot be used: {error}"), remedy)
    })?;
    if !profile.jws_algs.contains(&signer.alg()) {
        let (alg, clause) = (signer.alg().name(), profile.clause("jws_algs"));
        let message = format!("{alg} is not allowed under {} ({clause})", profile.name);
        let names: Vec<_> = profile.jws_algs.iter().map(|alg| alg.name()).collect();
        let remedy = format!("use a key for {}", names.join(" or "));
        return Err(fault(path, &file.path, message, &remedy));
    }
    Ok(signer)
}

fn certificate(path: &str, files: &TlsFiles, now: UnixTime) -> Result<CertificateSummary, Fault> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&files.certificate_pem).flatten().collect();
    let leaf =
        chain.first().and_then(|leaf| parse_x509_certificate(leaf).ok()).map(|(_, leaf)| leaf);
    let unusable = |message: String, remedy: &str| fault(path, &files.certificate, message, remedy);
    let Some(leaf) = leaf else {
        return Err(unusable(
            "the first certificate cannot be parsed".to_owned(),
            "replace the file",
        ));
    };
    let (from, to) =
        (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    let summary = CertificateSummary {
        subject: leaf.subject().to_string(),
        not_after: UnixTime::new(to).rfc3339(),
    };
    if now.as_i64() > to {
        let message = format!("the certificate expired at {}", summary.not_after);
        return Err(unusable(message, "replace it"));
    }
    if now.as_i64() < from {
        let message =
            format!("the certificate is not valid before {}", UnixTime::new(from).rfc3339());
        return Err(unusable(message, "replace it, or correct this host's clock"));
    }
    let key = PrivateKeyDer::from_pem_slice(files.private_key_pem.expose()).map_err(|_| {
        fault(
            path,
            &files.private_key,
            "the private key cannot be parsed".to_owned(),
            "replace the file",
        )
    })?;
    // Also compares the key with the leaf.
    CertifiedKey::from_der(chain.clone(), key, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| {
            let message = format!("certificate and private key cannot be used together: {error}");
            unusable(message, "name the key that belongs to the first certificate of the file")
        })?;
    Ok(summary)
}

/// A key that tokens may be encrypted to, once for each algorithm it serves.
fn encrypted_to(key: &EncryptionJwk) -> impl Iterator<Item = KeySummary> {
    let served = JweAlg::ALL.into_iter().filter(|alg| key.fits(*alg));
    served.map(|alg| KeySummary {
        purpose: "decryption",
        kid: key.kid().unwrap_or_default().to_owned(),
        alg: alg.name(),
    })
}

/// What `serve` would say, as a fault of the settings.
pub(super) fn told(fault: AssemblyFault) -> Fault {
    let AssemblyFault { path, message } = fault;
    let remedy = "name another key, or a private JWK with a `kid` of its own".to_owned();
    Fault { path, source: Source::Default, message, remedy }
}

fn fault(path: &str, file: &Path, message: String, remedy: &str) -> Fault {
    let source = Source::File { name: file.display().to_string(), line: None };
    Fault { path: path.to_owned(), source, message, remedy: remedy.to_owned() }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The configuration is sound. Register at the authorization server:")?;
        for client in &self.clients {
            writeln!(f, "\nclient {} ({} at {})", client.client, client.client_id, client.issuer)?;
            writeln!(f, "  profile  {}", client.profile)?;
            writeln!(f, "  token_endpoint_auth_method  {}", client.token_endpoint_auth_method)?;
            match client.sender_constraint {
                "mtls" => writeln!(f, "  tls_client_certificate_bound_access_tokens  true")?,
                "dpop" => writeln!(f, "  dpop_bound_access_tokens  true")?,
                _ => writeln!(f, "  access tokens are bound to nothing")?,
            }
            writeln!(f, "  response_type  {} by {}", client.response_type, client.response_mode)?;
            for KeySummary { purpose, kid, alg } in &client.keys {
                writeln!(f, "  {purpose} key  {alg}  kid {kid}")?;
            }
            if let Some(CertificateSummary { subject, not_after }) = &client.certificate {
                writeln!(f, "  certificate  {subject}  valid until {not_after}")?;
            }
        }
        for app in &self.apps {
            writeln!(f, "\napp {} (client {})", app.app, app.client)?;
            for uri in &app.redirect_uris {
                writeln!(f, "  redirect_uri              {uri}")?;
            }
            writeln!(f, "  post_logout_redirect_uri  {}", app.post_logout_redirect_uri)?;
            writeln!(f, "  jwks_uri                  {}", app.jwks_uri)?;
            if let Some(uri) = &app.backchannel_logout_uri {
                writeln!(f, "  backchannel_logout_uri    {uri}")?;
                writeln!(f, "  backchannel_logout_session_required  true")?;
            }
            if let Some(uri) = &app.frontchannel_logout_uri {
                writeln!(f, "  frontchannel_logout_uri   {uri}")?;
                writeln!(f, "  frontchannel_logout_session_required  true")?;
            }
            let SessionSummary { idle, absolute, max_per_subject, over_limit } = &app.sessions;
            write!(f, "  sessions: {idle} s without use, {absolute} s at the longest, ")?;
            match (max_per_subject, over_limit) {
                (Some(most), Some(over)) => writeln!(f, "{most} per subject ({over})")?,
                _ => writeln!(f, "any number per subject")?,
            }
        }
        match self.session_administration {
            Some(address) => writeln!(f, "\nsession administration at {address}, by token")?,
            None => writeln!(f, "\nsession administration is off: [admin] token_file is not set")?,
        }
        let ServerKeySummary { active, further, needed_for } = &self.server_keys;
        writeln!(f, "\nserver keys (the same on every instance)")?;
        writeln!(f, "  active   {active}")?;
        for id in further {
            writeln!(f, "  further  {id}")?;
        }
        writeln!(
            f,
            "  an old key may go {needed_for} seconds after the last instance stopped having it active"
        )?;
        for note in &self.notes {
            writeln!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}
