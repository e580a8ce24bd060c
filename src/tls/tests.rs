//! Handshakes in memory against our own configurations.

use std::sync::Arc;

use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs, aws_lc_rs::cipher_suite as suite},
    pki_types::ServerName,
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use super::{
    Identity, Roots, TlsFault, client_config, provider, server_config,
    testing::{Authority, Leaf},
};

/// Runs a handshake to its end or first error.
fn handshake(
    client: ClientConfig,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn peer_server(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    identity: &Identity,
) -> Arc<ServerConfig> {
    Arc::new(
        ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                identity.certified(),
            ))),
    )
}

/// A server that asks for client certificates of `authority`.
fn asking_server(authority: &Authority, required: bool) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls::pki_types::pem::PemObject::pem_slice_iter(authority.pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
    Arc::new(
        ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                authority.localhost().certified(),
            ))),
    )
}

/// FAPI1-ADV-8.5-1, FAPI2-SP-5.2.2-1/2, TLS-9325-4.2: four suites for TLS 1.2, the three of TLS
/// 1.3, nothing else.
#[test]
fn only_the_listed_suites_are_offered() {
    let suites: Vec<_> =
        provider().cipher_suites.iter().map(rustls::SupportedCipherSuite::suite).collect();
    assert_eq!(
        suites,
        [
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ]
    );
    let authority = Authority::new();
    let client = client_config(&authority.roots(), None, &[]).unwrap();
    assert_eq!(client.crypto_provider().cipher_suites.len(), 7);
    assert_eq!(
        server_config(&authority.localhost()).unwrap().crypto_provider().cipher_suites.len(),
        7
    );
}

/// FAPI2-SP-5.2.1-1, TLS-9325-3.1.1.
#[test]
fn tls_1_3_is_preferred_and_1_2_works_with_each_listed_suite() {
    let authority = Authority::new();
    let roots = authority.roots();
    let identity = authority.localhost();
    let (client, _) = handshake(
        client_config(&roots, None, &[]).unwrap(),
        &server_config(&identity).unwrap(),
        "localhost",
    )
    .unwrap();
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));

    for suite in [
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ] {
        let only = CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() };
        let server = peer_server(only, &[&TLS12], &identity);
        let (client, _) =
            handshake(client_config(&roots, None, &[]).unwrap(), &server, "localhost").unwrap();
        assert_eq!(client.negotiated_cipher_suite().unwrap().suite(), suite.suite());
    }
}

/// FAPI2-SP-5.2.2-2: a peer with nothing but an unlisted suite gets no handshake.
#[test]
fn an_unlisted_tls_1_2_suite_is_refused_in_both_roles() {
    use aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 as UNLISTED;
    let authority = Authority::new();
    let only = || CryptoProvider { cipher_suites: vec![UNLISTED], ..aws_lc_rs::default_provider() };
    let server = peer_server(only(), &[&TLS12], &authority.localhost());
    assert!(
        handshake(client_config(&authority.roots(), None, &[]).unwrap(), &server, "localhost")
            .is_err()
    );

    let client = ClientConfig::builder_with_provider(Arc::new(only()))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(authority.roots().store())
        .with_no_client_auth();
    assert!(
        handshake(client, &server_config(&authority.localhost()).unwrap(), "localhost").is_err()
    );
}

/// FAPI2-SP-5.2.1-5: who cannot prove the name by a current certificate of a known authority is
/// refused.
#[test]
fn server_certificates_are_refused_for_each_fault() {
    use rustls::{CertificateError as Bad, Error::InvalidCertificate as Invalid};
    let authority = Authority::new();
    let dial = |leaf: &Leaf, issuer: &Authority, name: &str| {
        let server = server_config(&issuer.issue(leaf).identity()).unwrap();
        handshake(client_config(&authority.roots(), None, &[]).unwrap(), &server, name).map(|_| ())
    };
    assert_eq!(dial(&Leaf::new(&["as.example"]), &authority, "as.example"), Ok(()));
    assert_eq!(
        dial(&Leaf::new(&["as.example"]), &Authority::new(), "as.example").unwrap_err(),
        Invalid(Bad::BadSignature),
        "same authority name, other key"
    );
    let fault =
        |leaf: &Leaf, name: &str| format!("{:?}", dial(leaf, &authority, name).unwrap_err());
    assert!(fault(&Leaf::new(&["as.example"]).expired(), "as.example").contains("Expired"));
    assert!(
        fault(&Leaf::new(&["as.example"]).not_yet_valid(), "as.example").contains("NotValidYet")
    );
    assert!(fault(&Leaf::new(&["as.example"]), "evil.example").contains("NotValidForName"));
    assert!(
        fault(&Leaf::new(&[]).common_name_only("as.example"), "as.example")
            .contains("NotValidForName")
    );
}

#[test]
fn a_self_signed_server_is_refused() {
    let leaf = Leaf::new(&["as.example"]);
    let certificate = leaf.params.self_signed(&leaf.key).unwrap().pem();
    let identity =
        Identity::from_pem(certificate.as_bytes(), leaf.key.serialize_pem().as_bytes()).unwrap();
    let client = client_config(&Authority::new().roots(), None, &[]).unwrap();
    assert!(handshake(client, &server_config(&identity).unwrap(), "as.example").is_err());
}

/// RFC 8705 §2: shown when asked for, and only then.
#[test]
fn the_client_certificate_is_presented_when_asked_and_not_otherwise() {
    let authority = Authority::new();
    let identity = authority.issue(&Leaf::new(&["client-1"])).identity();
    let client = || client_config(&authority.roots(), Some(&identity), &[]).unwrap();

    let (_, asked) = handshake(client(), &asking_server(&authority, true), "localhost").unwrap();
    let shown = asked.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown, identity.certified().cert[0]);

    let server = server_config(&authority.localhost()).unwrap();
    let (_, unasked) = handshake(client(), &server, "localhost").unwrap();
    assert!(unasked.peer_certificates().is_none());

    let without = || client_config(&authority.roots(), None, &[]).unwrap();
    let (_, optional) =
        handshake(without(), &asking_server(&authority, false), "localhost").unwrap();
    assert!(optional.peer_certificates().is_none());
    assert!(handshake(without(), &asking_server(&authority, true), "localhost").is_err());
}

/// A rotated certificate must be presented on the next connection, so nothing is resumed.
#[test]
fn a_client_with_an_identity_never_resumes() {
    let authority = Authority::new();
    let identity = authority.issue(&Leaf::new(&["client-1"])).identity();
    let client = client_config(&authority.roots(), Some(&identity), &[]).unwrap();
    let server = asking_server(&authority, true);
    for _ in 0..2 {
        let (done, _) = handshake(client.clone(), &server, "localhost").unwrap();
        assert_eq!(done.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[test]
fn alpn_is_offered_as_told_and_served_as_h2_or_http_1_1() {
    let authority = Authority::new();
    let server = server_config(&authority.localhost()).unwrap();
    let client = |alpn: &[&[u8]]| client_config(&authority.roots(), None, alpn).unwrap();
    let (h2, _) = handshake(client(&[b"h2", b"http/1.1"]), &server, "localhost").unwrap();
    assert_eq!(h2.alpn_protocol(), Some(&b"h2"[..]));
    let (h1, _) = handshake(client(&[b"http/1.1"]), &server, "localhost").unwrap();
    assert_eq!(h1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(handshake(client(&[b"smtp"]), &server, "localhost").is_err());
}

#[test]
fn identities_that_cannot_work_are_refused_when_read() {
    let authority = Authority::new();
    let (a, b) = (authority.issue(&Leaf::new(&["a"])), authority.issue(&Leaf::new(&["b"])));
    let read = |certificate: &str, key: &str| {
        Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err()
    };
    assert_eq!(read(&a.certificate, &b.key), TlsFault::KeyMismatch);
    assert_eq!(read("", &a.key), TlsFault::NoCertificate);
    assert_eq!(read(&a.key, &a.key), TlsFault::NoCertificate);
    assert_eq!(read(&a.certificate, ""), TlsFault::NoKey);
    assert_eq!(read(&a.certificate, &a.certificate), TlsFault::NoKey);
    assert_eq!(
        read("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", &a.key),
        TlsFault::BadPem("certificate")
    );
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(read(nonsense, &a.key), TlsFault::BadCertificate(_)));
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(read(&a.certificate, nonsense), TlsFault::BadKey);
}

/// FAPI2-SP-5.4.1-2.
#[test]
fn rsa_keys_need_2048_bits_and_a_sane_exponent() {
    use super::identity::rsa_strong_enough as judge;
    let modulus = |bits: usize| {
        let mut bytes = vec![0xff; bits.div_ceil(8)];
        bytes[0] >>= bytes.len() * 8 - bits;
        bytes.insert(0, 0);
        bytes
    };
    let f4 = [1, 0, 1];
    assert_eq!(judge(&modulus(2048), &f4), Ok(()));
    assert_eq!(judge(&modulus(4096), &f4), Ok(()));
    assert!(judge(&modulus(2047), &f4).is_err());
    assert!(judge(&modulus(1024), &f4).is_err());
    assert!(judge(&modulus(2048), &[1]).is_err());
    assert!(judge(&modulus(2048), &[3]).is_err());
    assert!(judge(&[], &[]).is_err());
}

#[test]
fn an_identity_tells_its_validity_and_thumbprint_but_not_its_key() {
    let authority = Authority::new();
    let leaf = Leaf::new(&["a"]);
    let issued = authority.issue(&leaf);
    let identity = issued.identity();
    assert_eq!(identity.not_after().as_i64(), leaf.params.not_after.unix_timestamp());
    assert_eq!(identity.not_before().as_i64(), leaf.params.not_before.unix_timestamp());
    assert_eq!(identity.sha256_thumbprint().len(), 43);
    let debug = format!("{identity:?}");
    assert!(debug.starts_with("Identity { x5t#S256: ") && debug.len() < 130, "{debug}");
}

#[test]
fn trusting_nobody_and_unreadable_roots_are_errors() {
    assert_eq!(Roots::new(false, []).unwrap_err(), TlsFault::NoRoots);
    assert_eq!(Roots::new(false, [&b"nothing"[..]]).unwrap_err(), TlsFault::NoCertificate);
    let nonsense = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(Roots::new(false, [&nonsense[..]]).unwrap_err(), TlsFault::BadCertificate(_)));
    let (a, b) = (Authority::new(), Authority::new());
    let both = format!("{}{}", a.pem, b.pem);
    assert_eq!(Roots::new(false, [both.as_bytes()]).unwrap().len(), 2);
}
