//! Owns one AS as seen by one client: its metadata and keys, and every call to it. Client
//! authentication is a property of each call. Must not know: browsers, cookies, sessions.

mod cache;
mod calls;
mod failure;
mod keys;
mod revocation;
mod tokens;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use cache::{Remembered, Want};
use calls::judged;
pub use calls::{Begun, Demands, Proof, RedeemFailure, Redeemed, Refresh, UserinfoFailure};
pub use failure::{AsFailure, AsFailureKind};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE},
};
pub use keys::{LogoutTokenFailure, Received, ResponseFailure, TokenFailure};

use revocation::Revocations;
pub use tokens::{FetchLost, IntrospectFailure, Kept, TokenCache};
use tokio_util::task::TaskTracker;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    clock::Ambient,
    ecosystem::Ecosystem,
    jose::{
        DecryptionKey, DecryptionKeys, JwePolicy, JwsAlg, KeyRejected, KeySeed, KeySet, SignFailed,
        Signer, SoftwareSigner, jwks_document_of_both,
    },
    net::OAuthHttp,
    profile::{ClientAuthMethod, Profile, ResponseForm, SenderConstraint},
    protocol::{
        Binding, Discovery, Endpoint, MAX_METADATA_BYTES, Metadata, Needs, Nonces, Prover, Target,
        well_known_url,
    },
    telemetry::Telemetry,
};

/// The most we read of a key set (JWK-FETCH).
const JWKS_LIMIT: usize = 256 * 1024;

/// One registration at one issuer: what an administrator agreed with the AS.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that were agreed one by one")]
pub struct Registration {
    /// The client's name in the configuration; a metrics label.
    pub label: String,
    /// The provider's name in the configuration; a metrics label.
    pub provider_label: String,
    /// The issuer, compared byte for byte (FAPI2-SP-5.3.3.1-11).
    pub issuer: String,
    /// Which well-known form the issuer serves (META-3.1).
    pub discovery: Discovery,
    /// `client_id`.
    pub client_id: String,
    /// The rules.
    pub profile: &'static Profile,
    /// What an ecosystem demands beyond them.
    pub ecosystem: Option<&'static Ecosystem>,
    /// Scopes asked for at every login.
    pub scopes: Vec<String>,
    /// The shape of the authorization responses asked for.
    pub response: ResponseForm,
    /// What access tokens are bound to.
    pub sender_constraint: SenderConstraint,
    /// Client metadata `use_mtls_endpoint_aliases` (FAPI2-SP-5.2.2.1-3).
    pub use_mtls_endpoint_aliases: bool,
    /// `id_token_signed_response_alg`; none means every algorithm of the profile but RS256.
    pub id_token_alg: Option<JwsAlg>,
    /// `authorization_signed_response_alg`; none as above.
    pub authorization_response_alg: Option<JwsAlg>,
    /// `userinfo_signed_response_alg`; none means plain JSON.
    pub userinfo_alg: Option<JwsAlg>,
    /// How ID tokens come encrypted, if they do (`id_token_encrypted_response_alg`, `_enc`).
    pub id_token_encryption: Option<JwePolicy>,
    /// How authorization responses do.
    pub authorization_response_encryption: Option<JwePolicy>,
    /// How userinfo answers do.
    pub userinfo_encryption: Option<JwePolicy>,
    /// How request objects are encrypted to the AS, if they are.
    pub request_object_encryption: Option<JwePolicy>,
    /// Whether some route sends signed introspection answers.
    pub introspection: bool,
    /// Whether assertions carry `typ` `client-authentication+jwt` (PKJ-10070-4-typ).
    pub client_assertion_typ: bool,
    /// Whether logout tokens must say by `typ` what they are (BCL-4.1).
    pub logout_token_typ_required: bool,
    /// Seconds an `iat` or `nbf` may lie ahead (CLK-1).
    pub future_tolerance: i64,
    /// Seconds an `exp` may have passed (CLK-1).
    pub exp_leeway: i64,
    /// Seconds a request object lives (FAPI2-MS-5.3.2-3/4).
    pub request_object_lifetime: i64,
    /// `x5t#S256` of the client certificate, if there is one; tokens may be bound to it (MTLS-3).
    pub certificate_thumbprint: Option<String>,
    /// Ages of what is remembered.
    pub ages: Ages,
}

/// How long documents of the AS are used before they are asked for again.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    /// Metadata.
    pub metadata: Duration,
    /// Keys.
    pub jwks: Duration,
    /// The least time between two fetches forced by an unknown key.
    pub jwks_cooldown: Duration,
}

/// How the client proves its identity in every call, and with what.
pub enum Authentication {
    /// A fresh assertion by this key.
    PrivateKeyJwt(Arc<dyn Signer>),
    /// The client certificate, from a known authority.
    TlsClientAuth,
    /// The client certificate, which the client publishes.
    SelfSignedTlsClientAuth,
    /// This secret, in the Authorization header.
    ClientSecretBasic(Zeroizing<String>),
    /// This secret, in the form.
    ClientSecretPost(Zeroizing<String>),
}

impl Authentication {
    /// Which method it is.
    pub const fn method(&self) -> ClientAuthMethod {
        match self {
            Self::PrivateKeyJwt(_) => ClientAuthMethod::PrivateKeyJwt,
            Self::TlsClientAuth => ClientAuthMethod::TlsClientAuth,
            Self::SelfSignedTlsClientAuth => ClientAuthMethod::SelfSignedTlsClientAuth,
            Self::ClientSecretBasic(_) => ClientAuthMethod::ClientSecretBasic,
            Self::ClientSecretPost(_) => ClientAuthMethod::ClientSecretPost,
        }
    }

    const fn assertion_key(&self) -> Option<&Arc<dyn Signer>> {
        match self {
            Self::PrivateKeyJwt(key) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authentication").field(&self.method()).finish()
    }
}

/// What a client holds.
#[derive(Debug)]
pub struct Credentials {
    /// For every call.
    pub authentication: Authentication,
    /// Signs request objects; none if requests are not signed.
    pub request_object_key: Option<Arc<dyn Signer>>,
    /// The one key that all tokens are bound to; without it every session has its own.
    pub dpop_key: Option<Arc<dyn Signer>>,
    /// What tokens are encrypted to, old keys included; may be empty.
    pub decryption_keys: DecryptionKeys,
    /// The client certificate as a key, where the AS knows it from the client's key set alone
    /// (MTLS-2.2.2).
    pub certificate_jwk: Option<Value>,
    /// RFC 7638 thumbprint of the client certificate's key, if it is of a kind that JWKs hold.
    pub certificate_key: Option<String>,
}

impl Credentials {
    /// The client's public keys, as its `jwks_uri` publishes them: what it signs with, what tokens may
    /// be encrypted to, and a self-signed certificate (FAPI2-SP-5.4.2, OIDC-10.2.1, MTLS-2.2.2). Fails
    /// if two keys have one name, or one key serves two ends (FAPI2-SP-6.8, TLS-PRJ-CERT).
    pub fn jwks_document(&self) -> Result<Value, KeyRejected> {
        let assertion_key = self.authentication.assertion_key();
        let signing = || assertion_key.into_iter().chain(&self.request_object_key);
        let thumbprint = |key: &Arc<dyn Signer>| key.public_jwk().thumbprint();
        let certificate_key = self.certificate_key.as_ref();
        if certificate_key.is_some() && assertion_key.map(thumbprint).as_ref() == certificate_key {
            return Err(KeyRejected::CertificateKey);
        }
        // Old decryption keys and the DPoP key are not published, and are held to it all the same.
        let others = signing().chain(&self.dpop_key).map(thumbprint);
        let others: BTreeSet<_> = others.chain(self.certificate_key.clone()).collect();
        let is_shared = |key: &DecryptionKey| others.contains(&key.public_jwk().thumbprint());
        if self.decryption_keys.all().any(is_shared) {
            return Err(KeyRejected::TwoUses);
        }
        let signing = signing().map(|key| key.public_jwk());
        let mut document = jwks_document_of_both(signing, self.decryption_keys.published())?;
        let keys = document.get_mut("keys").and_then(Value::as_array_mut);
        if let Some((keys, certificate)) = keys.zip(self.certificate_jwk.as_ref()) {
            if keys.iter().any(|key| key.get("kid") == certificate.get("kid")) {
                return Err(KeyRejected::DuplicateKid);
            }
            keys.push(certificate.clone());
        }
        Ok(document)
    }
}

/// One AS as seen by one client.
pub struct Provider {
    registration: Registration,
    http: OAuthHttp,
    credentials: Credentials,
    /// What servers gave this client to put into its proofs, the AS and its APIs alike.
    nonces: Arc<Nonces>,
    ambient: Ambient,
    telemetry: Telemetry,
    metadata: Remembered<Metadata, AsFailure>,
    keys: Remembered<KeySet, AsFailure>,
    /// What goes on on nobody's request: fetches of tokens that many wait for, and revocations.
    tasks: TaskTracker,
    revocations: Revocations,
    /// The client's own tokens.
    client_tokens: TokenCache<Target, RedeemFailure>,
    /// What the key is made from that they are bound to.
    own_seed: Mutex<Option<KeySeed>>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("registration", &self.registration).finish_non_exhaustive()
    }
}

impl Provider {
    /// A provider that has not talked to its AS yet. `http` presents the client certificate, if there
    /// is one, to every host that asks for one.
    pub fn new(
        registration: Registration,
        http: OAuthHttp,
        credentials: Credentials,
        ambient: Ambient,
        telemetry: Telemetry,
    ) -> Self {
        let Ages { metadata, jwks, jwks_cooldown } = registration.ages;
        let clock = || Arc::clone(&ambient.clock);
        let tasks = TaskTracker::new();
        // The client's own tokens end by themselves: no session ends with them.
        let client_tokens = TokenCache::new(clock(), tasks.clone(), |_, _| {});
        Self {
            metadata: Remembered::new(clock(), metadata, jwks_cooldown),
            keys: Remembered::new(clock(), jwks, jwks_cooldown),
            registration,
            http,
            credentials,
            nonces: Arc::default(),
            ambient,
            telemetry,
            tasks,
            revocations: Revocations::default(),
            client_tokens,
            own_seed: Mutex::default(),
        }
    }

    /// What was agreed with the AS.
    pub const fn registration(&self) -> &Registration {
        &self.registration
    }

    /// The client's public keys, as its `jwks_uri` publishes them.
    pub fn jwks_document(&self) -> Result<Value, KeyRejected> {
        self.credentials.jwks_document()
    }

    /// Whether tokens are bound to a key, the client's or one of the session's own.
    pub const fn binds_to_key(&self) -> bool {
        matches!(self.registration.sender_constraint, SenderConstraint::Dpop)
    }

    /// Proves possession of the key that the tokens of a session with this seed are bound to: the
    /// client's, if it has one, or else the one the seed makes.
    pub fn prover(&self, seed: &KeySeed) -> Result<Prover, SignFailed> {
        let key: Arc<dyn Signer> = match &self.credentials.dpop_key {
            Some(key) => Arc::clone(key),
            None => Arc::new(SoftwareSigner::from_seed(seed).map_err(|_| SignFailed::Backend)?),
        };
        Ok(Prover::new(key, Arc::clone(&self.nonces)))
    }

    /// The AS's metadata: fetched from the well-known document only (FAPI2-SP-5.3.3.1-9), judged
    /// against issuer and profile, then remembered.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, AsFailure> {
        let (metadata, _) = self.metadata.get(Want::Fresh, || self.fetch_metadata()).await?;
        Ok(metadata)
    }

    /// The copy of the AS's metadata at hand, whatever its age, without asking for it.
    pub fn known_metadata(&self) -> Option<Arc<Metadata>> {
        self.metadata.peek().map(|(metadata, _)| metadata)
    }

    /// Waits until all tokens given up so far have been, or could not be, and none is being fetched. An
    /// AS that is down is asked once more about each, and not waited for.
    pub async fn settle(&self) {
        self.revocations.stop();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn fetch_metadata(&self) -> Result<Metadata, AsFailure> {
        let failure = |kind| AsFailure::new(Endpoint::Metadata, kind);
        let registration = &self.registration;
        let url =
            well_known_url(&registration.issuer, registration.discovery).map_err(|rejected| {
                failure(AsFailureKind::MetadataRejected { reason: rejected.reason() })
            })?;
        let answer = self
            .timed(
                Endpoint::Metadata,
                self.http.send(Method::GET, &url, json(), None, MAX_METADATA_BYTES),
            )
            .await?;
        let document = judged(&answer)
            .document()
            .map_err(|answer| AsFailure::from_answer(Endpoint::Metadata, answer))?;
        if !is_json(&answer.headers) {
            return Err(failure(AsFailureKind::Malformed { why: "as_answer.content_type" }));
        }
        let Credentials { authentication, request_object_key, dpop_key, .. } = &self.credentials;
        let needs = Needs {
            client_auth: authentication.method(),
            client_assertion_alg: authentication.assertion_key().map(|key| key.alg()),
            request_object_alg: request_object_key.as_ref().map(|key| key.alg()),
            binding: match registration.sender_constraint {
                SenderConstraint::Mtls => Binding::Mtls,
                // What a seed makes is ES256.
                SenderConstraint::Dpop => {
                    Binding::DPoP(dpop_key.as_ref().map_or(JwsAlg::Es256, |key| key.alg()))
                }
                SenderConstraint::None => Binding::None,
            },
            id_token_alg: registration.id_token_alg,
            authorization_response_alg: registration.authorization_response_alg,
            userinfo_alg: registration.userinfo_alg,
            id_token_encryption: registration.id_token_encryption,
            authorization_response_encryption: registration.authorization_response_encryption,
            userinfo_encryption: registration.userinfo_encryption,
            request_object_encryption: registration.request_object_encryption,
            introspection: registration.introspection,
            response: registration.response,
            openid: registration.openid(),
        };
        Metadata::accept(document, &registration.issuer, registration.profile, &needs).map_err(
            |rejected| {
                tracing::error!(
                    provider = %registration.provider_label,
                    reason = rejected.reason(),
                    "the AS's metadata is refused: {rejected}"
                );
                failure(AsFailureKind::MetadataRejected { reason: rejected.reason() })
            },
        )
    }
}

impl Registration {
    /// Whether ID tokens are asked for. Without, there is a session but nobody known in it.
    pub fn openid(&self) -> bool {
        self.scopes.iter().any(|scope| scope == "openid")
    }

    /// The algorithms a token of the AS may be signed with: the pinned one, or the profile's.
    fn algs<'a>(&self, pin: Option<&'a JwsAlg>) -> &'a [JwsAlg] {
        pin.map_or(self.profile.unpinned_algs, std::slice::from_ref)
    }
}

fn json() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers
}

/// Whether the media type is `application/json`, parameters aside.
fn is_json(headers: &HeaderMap) -> bool {
    single(headers, CONTENT_TYPE).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    })
}

/// A header's value, if it was sent exactly once.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}
