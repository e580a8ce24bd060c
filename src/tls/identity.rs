//! Owns a certificate chain with its private key, checked once when it is read.
//! Must not know the time: whether a certificate is valid now is for the caller to ask.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
        OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    },
    prelude::FromDer as _,
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use super::{TlsFault, provider};
use crate::clock::UnixTime;

/// Our certificate and its key: as a server, or as a client that authenticates with mutual TLS.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    thumbprint: [u8; 32],
    not_before: UnixTime,
    not_after: UnixTime,
}

impl Identity {
    /// From PEM texts: `certificate` is the chain, ours first; `key` is unencrypted PKCS#8, PKCS#1 or
    /// SEC1. Refused are a key that does not belong to the certificate and weak keys anywhere in the
    /// chain: RSA under 2048 bits, curves other than P-256, P-384, P-521 and Ed25519
    /// (FAPI2-SP-5.4.1-2/3).
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, TlsFault> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| TlsFault::BadPem("certificate"))?;
        let leaf = chain.first().ok_or(TlsFault::NoCertificate)?;
        let thumbprint = sha256(leaf);
        let (not_before, not_after) = {
            let validity = &parse(leaf)?.validity;
            (validity.not_before.timestamp(), validity.not_after.timestamp())
        };
        for certificate in &chain {
            strong_enough(&parse(certificate)?.subject_pki)?;
        }

        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => TlsFault::NoKey,
            _ => TlsFault::BadPem("private key"),
        })?;
        let key = provider().key_provider.load_private_key(key).map_err(|_| TlsFault::BadKey)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| TlsFault::KeyMismatch)?;

        Ok(Self {
            certified: Arc::new(certified),
            thumbprint,
            not_before: UnixTime::new(not_before),
            not_after: UnixTime::new(not_after),
        })
    }

    /// The first second at which the certificate is valid.
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The last second at which the certificate is valid (RFC 5280 §4.1.2.5).
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// `x5t#S256` of our certificate: what a sender-constrained token's `cnf` must hold
    /// (RFC 8705 §3.1).
    pub fn sha256_thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.thumbprint)
    }

    /// The certificate itself, DER.
    pub fn leaf(&self) -> Option<&[u8]> {
        self.certified.cert.first().map(|leaf| &**leaf)
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("x5t#S256", &self.sha256_thumbprint())
            .field("not_after", &self.not_after.rfc3339())
            .finish_non_exhaustive()
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, TlsFault> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(TlsFault::BadCertificate("bytes after its end".to_owned())),
        Err(error) => Err(TlsFault::BadCertificate(error.to_string())),
    }
}

fn strong_enough(key: &SubjectPublicKeyInfo<'_>) -> Result<(), TlsFault> {
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        let Ok(PublicKey::RSA(rsa)) = key.parsed() else {
            return Err(TlsFault::BadCertificate("unreadable RSA key".to_owned()));
        };
        return rsa_strong_enough(rsa.modulus, rsa.exponent);
    }
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        return match curve {
            Some(c) if [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521].contains(&c) => Ok(()),
            _ => Err(TlsFault::WeakKey("the curve must be P-256, P-384 or P-521")),
        };
    }
    if *algorithm == OID_SIG_ED25519 {
        return Ok(());
    }
    Err(TlsFault::WeakKey("the key must be RSA, EC or Ed25519"))
}

/// FAPI2-SP-5.4.1-2; small exponents make forgeries of badly padded signatures easy.
pub(super) fn rsa_strong_enough(modulus: &[u8], exponent: &[u8]) -> Result<(), TlsFault> {
    if bits(modulus) < 2048 {
        return Err(TlsFault::WeakKey("RSA needs 2048 bits or more"));
    }
    if bits(exponent) < 17 {
        return Err(TlsFault::WeakKey("the RSA exponent must be 65537 or more"));
    }
    Ok(())
}

/// The length of a big-endian number without its leading zeros.
fn bits(number: &[u8]) -> usize {
    let significant = number.iter().skip_while(|byte| **byte == 0);
    let first = significant.clone().next().map_or(0, |byte| byte.leading_zeros() as usize);
    significant.count() * 8 - first
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}
