//! Owns the rustls set-up: versions, suites, groups, trust, our certificates.
//! Must not know who connects where, nor why; nothing else names a crypto provider.
//!
//! There is no switch that turns verification off (FAPI2-SP-5.2.1-5).

mod identity;
mod roots;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use rustls::{
    ClientConfig, ServerConfig, SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs as library},
    sign::SingleCertAndKey,
    version,
};

pub use identity::Identity;
pub use roots::Roots;

/// TLS 1.2 and 1.3 (FAPI2-SP-5.2.1-1/2, TLS-9325-3.1.1), named so that an upgrade cannot widen them.
const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// Why certificates, keys or trust roots cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsFault {
    /// A certificate is not X.509, or not one this library can read.
    #[error("a certificate cannot be parsed: {0}")]
    BadCertificate(String),
    /// The private key is of no supported kind.
    #[error("the private key cannot be used: unencrypted PKCS#8, PKCS#1 or SEC1 is needed")]
    BadKey,
    /// The text is not PEM.
    #[error("the {0} is not valid PEM")]
    BadPem(&'static str),
    /// The key does not belong to the first certificate.
    #[error("the private key does not belong to the first certificate")]
    KeyMismatch,
    /// The PEM text holds no certificate.
    #[error("no certificate found")]
    NoCertificate,
    /// The PEM text holds no private key.
    #[error("no private key found")]
    NoKey,
    /// Neither the system nor the configuration gave a trust root.
    #[error("no trust root: nothing could ever be verified")]
    NoRoots,
    /// rustls refused the set-up.
    #[error("TLS set-up refused: {0}")]
    SetUp(String),
    /// A key is weaker than FAPI2-SP-5.4.1-2/3 allows.
    #[error("weak key: {0}")]
    WeakKey(&'static str),
}

impl TlsFault {
    /// The stable machine reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BadCertificate(_) => "tls.bad_certificate",
            Self::BadKey => "tls.bad_key",
            Self::BadPem(_) => "tls.bad_pem",
            Self::KeyMismatch => "tls.key_mismatch",
            Self::NoCertificate => "tls.no_certificate",
            Self::NoKey => "tls.no_key",
            Self::NoRoots => "tls.no_roots",
            Self::SetUp(_) => "tls.set_up",
            Self::WeakKey(_) => "tls.weak_key",
        }
    }
}

/// The suites and groups of every connection, in and out: for TLS 1.2 the four ECDHE-GCM suites of
/// BCP 195 (FAPI2-SP-5.2.2-1/2, TLS-9325-4.2), for TLS 1.3 its three.
pub fn provider() -> Arc<CryptoProvider> {
    use library::{cipher_suite as suite, kx_group as group};
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                suite::TLS13_AES_256_GCM_SHA384,
                suite::TLS13_AES_128_GCM_SHA256,
                suite::TLS13_CHACHA20_POLY1305_SHA256,
                suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
                suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            ],
            kx_groups: vec![
                group::X25519MLKEM768,
                group::X25519,
                group::SECP256R1,
                group::SECP384R1,
            ],
            ..library::default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}

/// A client that trusts `roots`, presents `identity` when asked for a certificate, and offers `alpn`.
/// Server names are checked against subject alternative names only, never the common name (RFC 9525).
///
/// With an identity, sessions are never resumed: a resumed one would speak for a certificate that
/// has since been replaced.
pub fn client_config(
    roots: &Roots,
    identity: Option<&Identity>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsFault> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(set_up)?
        .with_root_certificates(roots.store());
    let mut config = match identity {
        Some(identity) => builder
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified()))),
        None => builder.with_no_client_auth(),
    };
    if identity.is_some() {
        config.resumption = Resumption::disabled();
    }
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// A server that shows `identity` and speaks HTTP/2 or HTTP/1.1.
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, TlsFault> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(set_up)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err asks for")]
fn set_up(error: rustls::Error) -> TlsFault {
    TlsFault::SetUp(error.to_string())
}
