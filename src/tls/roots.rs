//! Owns the trust roots of outbound connections.
//! Must not know which connection uses them.

use std::{fmt, sync::Arc};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::TlsFault;

/// Certificate authorities that may vouch for a peer.
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// The system's roots if `system`, and every certificate of each PEM text in `extra_pem`.
    ///
    /// An extra certificate that cannot be read is an error, since somebody put it there; unreadable
    /// system roots are skipped. The system's place can be moved by `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR`.
    pub fn new<'a>(
        system: bool,
        extra_pem: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, TlsFault> {
        let mut store = RootCertStore::empty();
        if system {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "some of the system's trust roots could not be read");
            }
            let (_, skipped) = store.add_parsable_certificates(found.certs);
            if skipped > 0 {
                tracing::info!(skipped, "some of the system's trust roots could not be parsed");
            }
        }
        for pem in extra_pem {
            let before = store.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| TlsFault::BadPem("trust root"))?;
                store.add(certificate).map_err(|e| TlsFault::BadCertificate(e.to_string()))?;
            }
            if store.len() == before {
                return Err(TlsFault::NoCertificate);
            }
        }
        if store.is_empty() { Err(TlsFault::NoRoots) } else { Ok(Self(Arc::new(store))) }
    }

    /// How many authorities are trusted.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: [`Roots::new`] refuses to trust nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.len())
    }
}
