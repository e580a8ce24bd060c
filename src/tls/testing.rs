//! Owns throw-away certificates for tests: an authority, and leaves with one thing wrong each.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use super::{Identity, Roots};
use crate::clock::{Clock as _, SystemClock};

/// A certificate authority.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate to be made.
pub(crate) struct Leaf {
    pub(crate) params: CertificateParams,
    pub(crate) key: KeyPair,
}

/// PEM texts of a certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Issued {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(SystemClock::new().now().as_i64()).unwrap()
}

impl Leaf {
    /// A P-256 leaf for `names`, valid from an hour ago for a day.
    pub(crate) fn new(names: &[&str]) -> Self {
        let mut params =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
                .unwrap();
        params.not_before = now() - Duration::hours(1);
        params.not_after = now() + Duration::days(1);
        Self { params, key: KeyPair::generate().unwrap() }
    }

    pub(crate) fn expired(mut self) -> Self {
        self.params.not_after = now() - Duration::seconds(1);
        self
    }

    pub(crate) fn not_yet_valid(mut self) -> Self {
        self.params.not_before = now() + Duration::hours(1);
        self
    }

    /// The name only as common name.
    pub(crate) fn common_name_only(mut self, name: &str) -> Self {
        self.params.subject_alt_names = Vec::<SanType>::new();
        self.params.distinguished_name.push(DnType::CommonName, name);
        self
    }
}

impl Authority {
    pub(crate) fn new() -> Arc<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Arc::new(Self { pem, issuer: Issuer::new(params, key) })
    }

    pub(crate) fn issue(&self, leaf: &Leaf) -> Issued {
        let certificate = leaf.params.signed_by(&leaf.key, &self.issuer).unwrap().pem();
        Issued { certificate, key: leaf.key.serialize_pem() }
    }

    /// A server identity for `localhost`.
    pub(crate) fn localhost(&self) -> Identity {
        self.issue(&Leaf::new(&["localhost"])).identity()
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::new(false, [self.pem.as_bytes()]).unwrap()
    }
}
