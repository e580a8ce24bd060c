//! The client that a variant calls for: how the authorization server conducts itself towards it, what
//! it is registered with there, and the settings that make the BFF that client. It must not know which
//! module is played.

use std::{
    fmt::Write as _,
    path::Path,
    sync::{Arc, OnceLock},
};

use serde_json::{Value, json};

use super::ecosystem::Scheme;
use super::world::{CLIENT_ID, SCOPE, WorldFault, write_private};
use crate::{
    as_double::{
        ClientAuth, ClientRegistration, Conduct, Constraint, Encryption, Family, ResponseForm,
    },
    jws::{Alg, JwsFault, SigningKey, random_token},
    pki::{Pki, PkiError},
};

/// Files of the client's, beside those of the PKI.
const SECRET_FILE: &str = "client-secret.txt";
const DECRYPTION_FILE: &str = "decryption.key";
const PS256_FILE: &str = "ps256.key";

/// The one type of authorization details there is.
const DETAILS_TYPE: &str = "account_information";

/// Where the client is told that a session has ended: by the server itself, and in a frame.
pub const BACK_CHANNEL: &str = "/bff/backchannel-logout";
/// The same in a frame.
pub const FRONT_CHANNEL: &str = "/bff/frontchannel-logout";

/// What goes before the settings of the client under test, and what after.
const SECTION: (&str, &str) = ("[clients.main]\n", "\n\n");

/// How a client is told that a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// By the server itself.
    Back,
    /// By the browser, in a frame.
    Front,
}

/// Whether a client takes logout tokens without `typ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoutTokenTyp {
    /// It does not.
    Required,
    /// It does, since there are servers that send such.
    Optional,
}

/// A client, and the server it meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// How the server conducts itself.
    pub conduct: Conduct,
    /// What the server signs with.
    pub server_alg: Alg,
    /// Whether the response comes by a form that posts itself.
    pub form_post: bool,
    /// Whether userinfo comes signed.
    pub signed_userinfo: bool,
    /// How ID tokens come encrypted, if they do.
    pub id_token_encryption: Option<Encryption>,
    /// Whether it says in detail what it wants to do (RFC 9396).
    pub details: bool,
    /// The national scheme it belongs to.
    pub scheme: Option<Scheme>,
    /// How it is told that a session has ended.
    pub logout: Channel,
    /// Whether logout tokens must say to it what they are.
    pub logout_token_typ: LogoutTokenTyp,
}

impl Default for Client {
    /// FAPI 2.0 Message Signing, as in [`super::world::CONFIGURATION`].
    fn default() -> Self {
        Self::of(Conduct::message_signing())
    }
}

impl Client {
    /// A client of a server that conducts itself so.
    pub const fn of(conduct: Conduct) -> Self {
        Self {
            conduct,
            server_alg: conduct.usual_alg(),
            form_post: false,
            signed_userinfo: false,
            id_token_encryption: None,
            details: false,
            scheme: None,
            logout: Channel::Back,
            logout_token_typ: LogoutTokenTyp::Required,
        }
    }

    /// The same client in a national scheme.
    #[must_use]
    pub fn within(self, scheme: Scheme) -> Self {
        let server_alg = scheme.alg().unwrap_or(self.server_alg);
        Self { scheme: Some(scheme), server_alg, ..self }
    }

    /// Authentication contexts that the server reaches, if not the usual ones.
    pub fn acrs(&self) -> Option<Vec<String>> {
        self.scheme.map(Scheme::acrs)
    }

    /// How request objects are encrypted to the server, if they are.
    pub fn request_encryption(&self) -> Option<Encryption> {
        self.scheme.and_then(|scheme| scheme.request_encryption(self))
    }

    /// What the app's page says at the start of every login, form-encoded.
    pub fn wishes(&self) -> &'static str {
        self.scheme.map_or("", Scheme::wishes)
    }

    /// Types of authorization details that the server has.
    pub fn details_types(&self) -> Vec<String> {
        self.details.then(|| DETAILS_TYPE.to_owned()).into_iter().collect()
    }

    /// The scopes it is registered with, all of which it asks for.
    pub fn scopes(&self) -> Vec<&'static str> {
        let asked = |name: &&&str| self.conduct.openid || **name != "openid";
        SCOPE.iter().filter(asked).copied().collect()
    }

    /// The name of its profile in settings.
    const fn profile(&self) -> &'static str {
        let signed = self.conduct.signed_requests;
        match (self.conduct.family, self.conduct.response) {
            (Family::Fapi2, ResponseForm::Jarm) if signed => "fapi2-message-signing",
            (Family::Fapi2, _) => "fapi2-security",
            (Family::Fapi1, _) => "fapi1-advanced",
            (Family::Oidc, _) => "oidc",
        }
    }

    /// What it asks for as response mode, if it says so.
    const fn response_mode(&self) -> Option<&'static str> {
        match (self.conduct.response, self.form_post) {
            (ResponseForm::Jarm, true) => Some("form_post.jwt"),
            (ResponseForm::Jarm, false) => Some("jwt"),
            (ResponseForm::Plain | ResponseForm::Hybrid, true) => Some("form_post"),
            (ResponseForm::Plain | ResponseForm::Hybrid, false) => None,
        }
    }

    /// The settings of the client, without the section's head.
    pub fn settings(&self) -> String {
        let Conduct { family, signed_requests, response, client_auth, constraint, .. } =
            self.conduct;
        let mut out = String::new();
        let ps256 = self.server_alg == Alg::Ps256;
        let mut text = |name: &str, value: &str| {
            let _ = match name {
                "client_assertion_key" | "request_object_key" if ps256 => {
                    writeln!(out, "{name} = {{ file = \"{PS256_FILE}\", alg = \"PS256\" }}")
                }
                _ => writeln!(out, "{name} = \"{value}\""),
            };
        };
        if let Some(scheme) = self.scheme {
            text("ecosystem", scheme.ecosystem());
        }
        if let Some(Encryption { alg, enc }) = self.request_encryption() {
            text("request_object_encryption_alg", &alg);
            text("request_object_encryption_enc", &enc);
        }
        text("client_id", CLIENT_ID);
        text("profile", self.profile());
        text("token_endpoint_auth_method", client_auth.name());
        text(
            "sender_constraint",
            match constraint {
                Constraint::Mtls => "mtls",
                Constraint::Dpop => "dpop",
                Constraint::None => "none",
            },
        );
        if response == ResponseForm::Hybrid {
            text("response_type", "code id_token");
        }
        if let Some(mode) = self.response_mode() {
            text("response_mode", mode);
        }
        match client_auth {
            ClientAuth::PrivateKeyJwt => text("client_assertion_key", "client-assertion.key"),
            ClientAuth::SecretBasic | ClientAuth::SecretPost => {
                text("client_secret_file", SECRET_FILE);
            }
            ClientAuth::TlsClientAuth | ClientAuth::SelfSignedTls => {}
        }
        if signed_requests {
            text("request_object_key", "request-object.key");
        }
        // What is not FAPI's own must be agreed on.
        let pinned = family == Family::Oidc;
        if pinned {
            text("id_token_signed_response_alg", self.server_alg.name());
        }
        if pinned && response == ResponseForm::Jarm {
            text("authorization_signed_response_alg", self.server_alg.name());
        }
        if self.signed_userinfo {
            text("userinfo_signed_response_alg", self.server_alg.name());
        }
        if let Some(Encryption { alg, enc }) = &self.id_token_encryption {
            text("id_token_encrypted_response_alg", alg);
            text("id_token_encrypted_response_enc", enc);
            let _ = writeln!(out, "decryption_keys = [\"{DECRYPTION_FILE}\"]");
        }
        if signed_requests && self.profile() != "fapi2-message-signing" {
            let _ = writeln!(out, "signed_request_object = true");
        }
        if self.logout_token_typ == LogoutTokenTyp::Optional {
            let _ = writeln!(out, "logout_token_typ_required = false");
        }
        let _ = writeln!(out, "scopes = {}", json!(self.scopes()));
        if client_auth.is_mtls() || constraint == Constraint::Mtls {
            let pair = "{ certificate = \"client-tls.pem\", private_key = \"client-tls.key\" }";
            let _ = writeln!(out, "tls_identity = {pair}");
        }
        out
    }

    /// A configuration like [`super::world::CONFIGURATION`] with this client in it. The usual one is in
    /// it already.
    pub fn configure(&self, template: &str) -> String {
        if *self == Self::default() {
            return template.to_owned();
        }
        let (head, tail) = SECTION;
        let Some((before, rest)) = template.split_once(head) else {
            return template.to_owned();
        };
        let after = rest.split_once(tail).map_or("", |(_, after)| after);
        let mut text = format!("{before}{head}{}\n{after}", self.settings());
        if self.details {
            let login = "[apps.web.login]\n";
            let details = format!("{{ type = \"{DETAILS_TYPE}\", actions = [\"list_accounts\"] }}");
            let details = format!("{login}authorization_details = [{details}]\n");
            text = text.replace(login, &details);
        }
        if self.logout == Channel::Front {
            let app = "[apps.web]\n";
            text = text.replace(app, &format!("{app}frontchannel_logout = true\n"));
        }
        if let Some(scheme) = self.scheme {
            let login = "[apps.web.login]\n";
            text = text.replace(login, &format!("{login}{}", scheme.login()));
        }
        if self.conduct.openid {
            return text;
        }
        // Without OpenID Connect nobody says how the user authenticated, so that pages have nothing to
        // ask for (OIDC-3.1.3.7-12/13), and the metadata are OAuth's (RFC 8414).
        let text = text.replace("\"acr_values\", ", "").replace("\"max_age\", ", "");
        let issuer = "issuer = \"{issuer}\"\n";
        text.replace(issuer, &format!("{issuer}discovery = \"oauth\"\n"))
    }

    /// The server's first signing key, if it is not to be made anew.
    pub fn server_key(&self) -> Result<Option<Arc<SigningKey>>, PkiError> {
        static KEY: OnceLock<Result<Arc<SigningKey>, JwsFault>> = OnceLock::new();
        match self.server_alg {
            Alg::Rs256 => rsa(&KEY).map(Some),
            Alg::Ps256 => Ok(Some(Arc::new(ps256(&KEY)?))),
            Alg::Es256 | Alg::EdDsa => Ok(None),
        }
    }

    /// What an operator would type into the authorization server's registration form. Writes what the
    /// client has for itself beside the PKI's files into `dir`.
    pub fn register(
        &self,
        pki: &Pki,
        origin: &str,
        dir: &Path,
    ) -> Result<ClientRegistration, WorldFault> {
        let mut registration = registration(pki, origin)?;
        registration.scopes = self.scopes().into_iter().map(str::to_owned).collect();
        registration.userinfo_signed_response = self.signed_userinfo;
        if matches!(self.conduct.client_auth, ClientAuth::SecretBasic | ClientAuth::SecretPost) {
            let secret = random_token();
            write_private(&dir.join(SECRET_FILE), &secret)?;
            registration.client_secret = Some(secret);
        }
        if self.server_alg == Alg::Ps256 {
            static KEY: OnceLock<Result<Arc<SigningKey>, JwsFault>> = OnceLock::new();
            let key = ps256(&KEY)?;
            write_private(&dir.join(PS256_FILE), &key.to_pem())?;
            registration.jwks = json!({"keys": [key.public_jwk()]});
        }
        if self.logout == Channel::Front {
            registration.frontchannel_logout_uri = Some(format!("{origin}{FRONT_CHANNEL}"));
            registration.frontchannel_logout_session_required = true;
            registration.backchannel_logout_uri = None;
        }
        if let Some(scheme) = self.scheme {
            scheme.register(&mut registration);
        }
        if let Some(encryption) = &self.id_token_encryption {
            static KEY: OnceLock<Result<Arc<SigningKey>, JwsFault>> = OnceLock::new();
            let key = rsa(&KEY)?;
            write_private(&dir.join(DECRYPTION_FILE), &key.to_pem())?;
            let mut public = key.public_jwk();
            if let Some(members) = public.as_object_mut() {
                members.insert("use".into(), json!("enc"));
                members.insert("alg".into(), json!(encryption.alg));
            }
            if let Some(keys) = registration.jwks.get_mut("keys").and_then(Value::as_array_mut) {
                keys.push(public);
            }
            registration.id_token_encrypted_response = Some(encryption.clone());
        }
        Ok(registration)
    }
}

/// RSA keys are slow to make, and hundreds of modules need one: each use has one for all of them.
/// Modules do not meet each other's tokens.
fn rsa(
    made: &'static OnceLock<Result<Arc<SigningKey>, JwsFault>>,
) -> Result<Arc<SigningKey>, PkiError> {
    Ok(made.get_or_init(|| SigningKey::generate(Alg::Rs256).map(Arc::new)).clone()?)
}

/// The same as a key for PS256.
fn ps256(
    made: &'static OnceLock<Result<Arc<SigningKey>, JwsFault>>,
) -> Result<SigningKey, PkiError> {
    Ok(SigningKey::from_pem(&rsa(made)?.to_pem(), Alg::Ps256)?)
}

/// The registration of the usual client.
pub(super) fn registration(pki: &Pki, origin: &str) -> Result<ClientRegistration, PkiError> {
    let home = format!("{origin}/");
    let out = format!("{origin}/bff/logout/callback");
    Ok(ClientRegistration {
        redirect_uris: vec![home.clone(), format!("{origin}/bff/callback")],
        backchannel_logout_uri: Some(format!("{origin}{BACK_CHANNEL}")),
        scopes: SCOPE.map(str::to_owned).to_vec(),
        ..ClientRegistration::from_pki(pki, CLIENT_ID, &home, &out)?
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fapi_bff::config;

    use super::*;
    use crate::{
        as_double::RequestMethod,
        suite::world::{CONFIGURATION, Places, configuration},
    };

    fn clients() -> Vec<(Client, &'static [&'static str])> {
        let (ms, sp) = (Conduct::message_signing(), Conduct::security_profile());
        let (fapi1, oidc) = (Conduct::fapi1_advanced(), Conduct::openid_connect());
        let pushed = Conduct { request_method: RequestMethod::Pushed, ..fapi1 };
        let certificate = ClientAuth::TlsClientAuth;
        let encryption = Encryption { alg: "RSA-OAEP-256".into(), enc: "A256GCM".into() };
        vec![
            (Client::of(ms), &[]),
            (
                Client::of(sp),
                &["profile = \"fapi2-security\"", "client_assertion_key", "tls_identity"],
            ),
            (
                Client::of(Conduct {
                    client_auth: certificate,
                    constraint: Constraint::Dpop,
                    openid: false,
                    ..sp
                }),
                &[
                    "token_endpoint_auth_method = \"tls_client_auth\"",
                    "sender_constraint = \"dpop\"",
                    "tls_identity",
                    "discovery = \"oauth\"",
                    "scopes = [\"profile\",\"email\",\"accounts\",\"payments\"]",
                ],
            ),
            (
                Client::of(Conduct { constraint: Constraint::Dpop, ..ms }),
                &["profile = \"fapi2-message-signing\"", "response_mode = \"jwt\""],
            ),
            (
                Client::of(Conduct { signed_requests: true, ..sp }),
                &["profile = \"fapi2-security\"", "signed_request_object = true"],
            ),
            (
                Client::of(Conduct { response: ResponseForm::Jarm, ..sp }),
                &["profile = \"fapi2-security\"", "response_mode = \"jwt\""],
            ),
            (
                Client { id_token_encryption: Some(encryption), ..Client::of(fapi1) },
                &[
                    "response_type = \"code id_token\"",
                    "id_token_encrypted_response_enc = \"A256GCM\"",
                    "decryption_keys = [\"decryption.key\"]",
                ],
            ),
            (
                Client { form_post: true, ..Client::of(pushed) },
                &["profile = \"fapi1-advanced\"", "response_mode = \"form_post\""],
            ),
            (
                Client { details: true, ..Client::of(ms) },
                &["authorization_details = [{ type = \"account_information\""],
            ),
            (
                Client::of(fapi1).within(Scheme::Uk),
                &["ecosystem = \"openbanking-uk\"", "consent_parameter = true"],
            ),
            (
                Client::of(Conduct { response: ResponseForm::Jarm, ..fapi1 })
                    .within(Scheme::Brazil),
                &[
                    "client_assertion_key = { file = \"ps256.key\", alg = \"PS256\" }",
                    "request_object_encryption_alg = \"RSA-OAEP\"",
                ],
            ),
            (
                Client::of(Conduct { response: ResponseForm::Jarm, ..pushed })
                    .within(Scheme::Australia),
                &["acr_values = [\"urn:cds.au:cdr:2\"]"],
            ),
            (
                Client {
                    logout: Channel::Front,
                    logout_token_typ: LogoutTokenTyp::Optional,
                    ..Client::of(ms)
                },
                &["[apps.web]\nfrontchannel_logout = true", "logout_token_typ_required = false"],
            ),
            (
                Client { signed_userinfo: true, ..Client::of(oidc) },
                &[
                    "sender_constraint = \"none\"",
                    "client_secret_file = \"client-secret.txt\"",
                    "id_token_signed_response_alg = \"RS256\"",
                    "userinfo_signed_response_alg = \"RS256\"",
                ],
            ),
        ]
    }

    /// The settings say what the client is, and the product takes them as they are.
    #[test]
    fn the_settings_of_every_kind_of_client_are_taken_and_say_what_it_is() {
        let pki = Pki::generate(CLIENT_ID).unwrap();
        let origin = "https://app.localhost:8443";
        for (client, said) in clients() {
            let dir = tempfile::tempdir().unwrap();
            pki.write_to(dir.path()).unwrap();
            write_private(&dir.path().join("server.key"), &random_token()).unwrap();
            let registered = client.register(&pki, origin, dir.path()).unwrap();
            assert_eq!(registered.scopes, client.scopes());
            let template = client.configure(CONFIGURATION);
            assert_eq!(template == CONFIGURATION, client == Client::default());
            for text in said {
                assert!(template.contains(text), "{text}\n{template}");
            }
            let places = Places {
                listen: 8443,
                admin: 0,
                origin,
                issuer: "https://as.localhost:1/test/a/x/",
                accounts: "https://as.localhost:1/test/a/x/open-banking/v1.1",
                lab: "https://api.localhost:2",
            };
            let file = dir.path().join("fapi-bff.toml");
            std::fs::write(&file, configuration(template, &places)).unwrap();
            let settings = config::load(&file, BTreeMap::<String, String>::new());
            let settings = settings.unwrap_or_else(|faults| panic!("{client:?}\n{faults}"));
            assert_eq!(settings.clients["main"].profile.as_str(), client.profile());
        }
    }
}
