//! The HTTP client of the driver: whom it trusts and how it resolves names. It must not know whom it
//! talks to.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::pki::crypto;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longer than any long poll.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// Whom the driver trusts, as a browser and as a caller of the suite's API.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Certificate authorities, PEM.
    pub roots: Vec<Vec<u8>>,
    /// Whether the system's authorities are trusted.
    pub system: bool,
    /// Host names and the addresses they stand for; all others are asked of the system.
    pub resolve: Vec<(String, IpAddr)>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum TrustFault {
    /// A file of authorities holds none that can be read.
    #[error("a CA file holds no readable certificate: give PEM certificates with --ca")]
    NoCertificate,
    /// Nobody is trusted.
    #[error("no certificate authority is trusted: give one with --ca, or --system-roots")]
    NoRoots,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}; report it, it is not a matter of configuration")]
    Tls(#[from] rustls::Error),
    /// The client cannot be built.
    #[error("the HTTP client cannot be built: {0}; report it, it is not a matter of configuration")]
    Client(#[from] reqwest::Error),
}

impl Trust {
    /// A client that follows no redirects and speaks TLS only.
    pub fn client(&self) -> Result<reqwest::Client, TrustFault> {
        let mut store = RootCertStore::empty();
        for pem in &self.roots {
            let before = store.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| TrustFault::NoCertificate)?;
                store.add(certificate)?;
            }
            if store.len() == before {
                return Err(TrustFault::NoCertificate);
            }
        }
        if self.system {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if store.is_empty() {
            return Err(TrustFault::NoRoots);
        }
        let tls = ClientConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::new(store))
            .with_no_client_auth();
        #[expect(
            clippy::disallowed_methods,
            reason = "the harness drives servers with a client of its own"
        )]
        let mut builder = reqwest::Client::builder();
        for (host, address) in &self.resolve {
            // The port comes from each URL.
            builder = builder.resolve(host, (*address, 0).into());
        }
        Ok(builder
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .https_only(true)
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_LIMIT)
            .timeout(CALL_LIMIT)
            .build()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusting_nobody_or_nothing_readable_is_an_error() {
        let trust = |roots: &[&str]| Trust {
            roots: roots.iter().map(|pem| pem.as_bytes().to_vec()).collect(),
            ..Trust::default()
        };
        assert!(matches!(trust(&[]).client(), Err(TrustFault::NoRoots)));
        assert!(matches!(trust(&["no PEM"]).client(), Err(TrustFault::NoCertificate)));
    }
}
