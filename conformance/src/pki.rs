//! The development PKI: one certificate authority, server certificates for the names of the demo,
//! a client certificate, and the client's signing keys. Made fresh in memory or kept in a directory;
//! nothing of it is ever committed or trusted outside a development machine.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{Resumption, danger::HandshakeSignatureValid},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use serde_json::{Value, json};

use crate::{
    jws::{Alg, JwsFault, SigningKey, sha256_b64},
    wall_clock,
};

/// Names of the development hosts.
pub const APP_HOST: &str = "app.localhost";
/// The authorization server's plain host.
pub const AS_HOST: &str = "as.localhost";
/// The authorization server's mutual-TLS host.
pub const AS_MTLS_HOST: &str = "mtls.as.localhost";
/// The sample API's host.
pub const API_HOST: &str = "api.localhost";

/// Days a certificate is valid; a stored set is replaced a week before its end.
const VALID_DAYS: i64 = 365;
const RENEW_BEFORE_DAYS: i64 = 7;

/// What can go wrong while making or reading keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate or key could not be read.
    #[error("PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// A signing key could not be made or read.
    #[error("signing key: {0}")]
    Key(#[from] JwsFault),
    /// A file could not be written or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// rustls refused the set.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// rustls refused the trust roots for client certificates.
    #[error("TLS client verifier: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The HTTP client could not be built.
    #[error("HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub cert_pem: String,
    /// The PKCS#8 private key.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// The certificate, DER.
    pub fn cert_der(&self) -> Result<CertificateDer<'static>, PkiError> {
        Ok(CertificateDer::from_pem_slice(self.cert_pem.as_bytes())?)
    }

    /// The private key, DER.
    pub fn key_der(&self) -> Result<PrivateKeyDer<'static>, PkiError> {
        Ok(PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?)
    }

    /// `x5t#S256` of the certificate (RFC 8705 §3.1).
    pub fn thumbprint(&self) -> Result<String, PkiError> {
        thumbprint(&self.cert_pem)
    }
}

/// `x5t#S256` of a PEM certificate (RFC 8705 §3.1).
pub fn thumbprint(cert_pem: &str) -> Result<String, PkiError> {
    Ok(sha256_b64(&CertificateDer::from_pem_slice(cert_pem.as_bytes())?))
}

/// The whole development PKI.
#[derive(Debug)]
pub struct Pki {
    /// The authority's certificate; everything below is issued by it.
    pub ca_pem: String,
    ca_key_pem: String,
    /// Server certificate of the BFF (`app.localhost`).
    pub bff: Identity,
    /// Server certificate of the authorization server (both its names).
    pub authorization_server: Identity,
    /// Server certificate of the sample API.
    pub api: Identity,
    /// TLS client certificate of the OAuth client; its common name is the client id.
    pub client_tls: Identity,
    /// The client's key for client assertions.
    pub client_assertion: SigningKey,
    /// The client's key for request objects.
    pub request_object: SigningKey,
}

impl Pki {
    /// Makes a new authority and everything it issues.
    pub fn generate(client_id: &str) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "fapi-bff development CA");
        validity(&mut params);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = params.self_signed(&key)?.pem();
        let ca_key_pem = key.serialize_pem();
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key)?;
        Ok(Self {
            bff: server_identity(&issuer, &[APP_HOST])?,
            authorization_server: server_identity(&issuer, &[AS_HOST, AS_MTLS_HOST])?,
            api: server_identity(&issuer, &[API_HOST])?,
            client_tls: client_identity(&issuer, client_id)?,
            client_assertion: SigningKey::generate(Alg::Es256)?,
            request_object: SigningKey::generate(Alg::Es256)?,
            ca_pem,
            ca_key_pem,
        })
    }

    /// Reads the set kept in `dir`; makes and writes a new one when it is absent, incomplete, made
    /// for another client, or about to expire.
    pub fn load_or_create(dir: &Path, client_id: &str) -> Result<Self, PkiError> {
        if let Ok(found) = Self::load(dir)
            && found.is_fresh_for(client_id)
        {
            return Ok(found);
        }
        let made = Self::generate(client_id)?;
        made.write_to(dir)?;
        Ok(made)
    }

    /// Reads the set kept in `dir`.
    pub fn load(dir: &Path) -> Result<Self, PkiError> {
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|source| PkiError::File { path, source })
        };
        let identity = |name: &str| -> Result<Identity, PkiError> {
            Ok(Identity {
                cert_pem: read(&format!("{name}.pem"))?,
                key_pem: read(&format!("{name}.key"))?,
            })
        };
        Ok(Self {
            ca_pem: read("ca.pem")?,
            ca_key_pem: read("ca.key")?,
            bff: identity("bff")?,
            authorization_server: identity("as")?,
            api: identity("api")?,
            client_tls: identity("client-tls")?,
            client_assertion: SigningKey::from_pem(&read("client-assertion.key")?, Alg::Es256)?,
            request_object: SigningKey::from_pem(&read("request-object.key")?, Alg::Es256)?,
        })
    }

    fn is_fresh_for(&self, client_id: &str) -> bool {
        let Ok(der) = self.client_tls.cert_der() else {
            return false;
        };
        let Ok((_, cert)) = x509_parser::parse_x509_certificate(&der) else {
            return false;
        };
        let renew_at = cert.validity().not_after.timestamp() - RENEW_BEFORE_DAYS * 86_400;
        let named = cert.subject().iter_common_name().any(|name| name.as_str() == Ok(client_id));
        named && wall_clock().unix_timestamp() < renew_at
    }

    /// Writes `ca`, `bff`, `as`, `api`, `client-tls` (`.pem` and `.key`), `client-assertion.key`,
    /// `request-object.key` and the public `client-jwks.json`. Keys are readable by the owner only.
    pub fn write_to(&self, dir: &Path) -> Result<(), PkiError> {
        fs::create_dir_all(dir)
            .map_err(|source| PkiError::File { path: dir.to_owned(), source })?;
        let identities = [
            ("bff", &self.bff),
            ("as", &self.authorization_server),
            ("api", &self.api),
            ("client-tls", &self.client_tls),
        ];
        for (name, identity) in identities {
            write(&dir.join(format!("{name}.pem")), &identity.cert_pem, 0o644)?;
            write(&dir.join(format!("{name}.key")), &identity.key_pem, 0o600)?;
        }
        write(&dir.join("ca.pem"), &self.ca_pem, 0o644)?;
        write(&dir.join("ca.key"), &self.ca_key_pem, 0o600)?;
        let signing = [
            ("client-assertion.key", &self.client_assertion),
            ("request-object.key", &self.request_object),
        ];
        for (name, key) in signing {
            write(&dir.join(name), &key.to_pem(), 0o600)?;
        }
        let jwks = format!("{:#}\n", self.client_jwks());
        write(&dir.join("client-jwks.json"), &jwks, 0o644)
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, PkiError> {
        let key = KeyPair::from_pem(&self.ca_key_pem)?;
        Ok(Issuer::from_ca_cert_pem(&self.ca_pem, key)?)
    }

    /// Another server certificate of this authority.
    pub fn issue_server(&self, names: &[&str]) -> Result<Identity, PkiError> {
        server_identity(&self.issuer()?, names)
    }

    /// Another client certificate of this authority.
    pub fn issue_client(&self, common_name: &str) -> Result<Identity, PkiError> {
        client_identity(&self.issuer()?, common_name)
    }

    /// A client certificate that nobody issued but its holder.
    pub fn self_signed_client(common_name: &str) -> Result<Identity, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        validity(&mut params);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(Identity { cert_pem: params.self_signed(&key)?.pem(), key_pem: key.serialize_pem() })
    }

    /// The client's public keys, as registered at the authorization server.
    pub fn client_jwks(&self) -> Value {
        json!({"keys": [self.client_assertion.public_jwk(), self.request_object.public_jwk()]})
    }

    /// A trust store holding this authority only.
    pub fn root_store(&self) -> Result<RootCertStore, PkiError> {
        root_store(&self.ca_pem)
    }

    /// TLS for a client that trusts this authority and presents `client`, without resumption, so
    /// that each connection shows the certificate it was configured with.
    pub fn client_config(&self, client: Option<&Identity>) -> Result<ClientConfig, PkiError> {
        let builder = ClientConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.root_store()?);
        let mut config = match client {
            Some(client) => {
                builder.with_client_auth_cert(vec![client.cert_der()?], client.key_der()?)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// The same without a certificate of its own and for HTTP/1.1 only: one request at a time on a
    /// connection.
    pub fn http1_client(
        &self,
        resolve: &[(String, SocketAddr)],
    ) -> Result<reqwest::Client, PkiError> {
        let mut config = self.client_config(None)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(http_builder(config, resolve).http1_only().build()?)
    }

    /// An HTTP client on [`Self::client_config`]: no redirects, no proxy, names resolved as told.
    pub fn http_client(
        &self,
        client: Option<&Identity>,
        resolve: &[(String, SocketAddr)],
    ) -> Result<reqwest::Client, PkiError> {
        Ok(http_builder(self.client_config(client)?, resolve).build()?)
    }
}

fn http_builder(config: ClientConfig, resolve: &[(String, SocketAddr)]) -> reqwest::ClientBuilder {
    #[expect(
        clippy::disallowed_methods,
        reason = "the harness drives servers with a client of its own"
    )]
    let mut builder = reqwest::Client::builder();
    for (host, addr) in resolve {
        builder = builder.resolve(host, *addr);
    }
    builder
        .tls_backend_preconfigured(config)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .https_only(true)
        .retry(reqwest::retry::never())
}

pub(crate) fn crypto() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// All the certificates in the text.
fn root_store(ca_pem: &str) -> Result<RootCertStore, PkiError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

/// Which client certificates a server takes, if it asks for any. Whether one is needed is decided per
/// request, so that the refusal can say why.
#[derive(Clone, Copy)]
pub(crate) enum ClientCertificates<'a> {
    /// None is asked for.
    Unasked,
    /// Those of this authority.
    By(&'a str),
    /// All whose key the client has: they are registered themselves (RFC 8705 §2.2).
    Any,
}

/// TLS for a server.
pub(crate) fn server_config(
    identity: &Identity,
    clients: ClientCertificates<'_>,
) -> Result<ServerConfig, PkiError> {
    let builder =
        ServerConfig::builder_with_provider(crypto()).with_safe_default_protocol_versions()?;
    let builder = match clients {
        ClientCertificates::Unasked => builder.with_no_client_auth(),
        ClientCertificates::By(ca_pem) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(root_store(ca_pem)?), crypto())
                .allow_unauthenticated()
                .build()?,
        ),
        ClientCertificates::Any => {
            builder.with_client_cert_verifier(Arc::new(AnyCertificate(crypto())))
        }
    };
    let mut config = builder.with_single_cert(vec![identity.cert_der()?], identity.key_der()?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes every certificate, and demands proof of its key all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn validity(params: &mut CertificateParams) {
    let now = wall_clock();
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(VALID_DAYS);
}

fn server_identity(issuer: &Issuer<'_, KeyPair>, names: &[&str]) -> Result<Identity, PkiError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let common_name = names.first().cloned().unwrap_or_default();
    let params = CertificateParams::new(names)?;
    identity(issuer, params, &common_name, ExtendedKeyUsagePurpose::ServerAuth)
}

fn client_identity(issuer: &Issuer<'_, KeyPair>, name: &str) -> Result<Identity, PkiError> {
    let params = CertificateParams::default();
    identity(issuer, params, name, ExtendedKeyUsagePurpose::ClientAuth)
}

fn identity(
    issuer: &Issuer<'_, KeyPair>,
    mut params: CertificateParams,
    common_name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> Result<Identity, PkiError> {
    let key = KeyPair::generate()?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    validity(&mut params);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    Ok(Identity { cert_pem: params.signed_by(&key, issuer)?.pem(), key_pem: key.serialize_pem() })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let attempt = || {
        // A file of an earlier set may carry other permissions; make it anew.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())
    };
    attempt().map_err(|source| PkiError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_stored_set_is_read_again_and_its_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let made = Pki::load_or_create(dir.path(), "client-1").unwrap();
        let again = Pki::load_or_create(dir.path(), "client-1").unwrap();
        assert_eq!(made.ca_pem, again.ca_pem);
        assert_eq!(made.client_jwks(), again.client_jwks());
        let mut keys = 0;
        for entry in fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if Path::new(&name).extension().is_some_and(|e| e == "key") {
                keys += 1;
                let bits = entry.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(bits, 0o600, "{name}");
            }
        }
        assert_eq!(keys, 7);
    }

    #[test]
    fn a_set_of_another_client_or_an_incomplete_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let made = Pki::load_or_create(dir.path(), "client-1").unwrap();
        let other = Pki::load_or_create(dir.path(), "client-2").unwrap();
        assert_ne!(made.ca_pem, other.ca_pem);
        fs::remove_file(dir.path().join("api.key")).unwrap();
        let third = Pki::load_or_create(dir.path(), "client-2").unwrap();
        assert_ne!(other.ca_pem, third.ca_pem);
    }
}
