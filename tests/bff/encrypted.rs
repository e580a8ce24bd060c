//! Tokens that a client registered to have encrypted: each comes so, or it is refused.

use std::sync::LazyLock;

use fapi_bff::jose::{GeneratedDecryptionKey, JweAlg, generate_decryption_key};
use fapi_bff_conformance::{
    as_double::{AsDouble, ClientRegistration, Conduct, Encryption, Endpoint, Target, edits},
    demo::browser::{Browser, Call},
    jwe::{self, Flaw},
    pki::Pki,
};
use serde_json::Value;

use crate::{
    logout_channels::{hand_in, logout_token},
    profiles::{answered, found, login, settings},
    support::{Bed, Wish},
};

static EC: LazyLock<GeneratedDecryptionKey> = LazyLock::new(|| key(JweAlg::EcdhEsA256Kw));
static OLD_EC: LazyLock<GeneratedDecryptionKey> = LazyLock::new(|| key(JweAlg::EcdhEsA256Kw));
static RSA: LazyLock<GeneratedDecryptionKey> = LazyLock::new(|| key(JweAlg::RsaOaep256));

fn key(alg: JweAlg) -> GeneratedDecryptionKey {
    generate_decryption_key(alg).unwrap()
}

/// What the double's registration of the client says.
type AtTheServer = fn(&mut ClientRegistration, &Pki);

/// Encryption as the client registered it and as the server keeps to it, and with which key.
#[derive(Clone, Copy)]
struct Registered {
    alg: &'static str,
    enc: &'static str,
    at_the_server: AtTheServer,
}

fn knows(client: &mut ClientRegistration, key: &GeneratedDecryptionKey, alg: &str, enc: &str) {
    let keys = client.jwks["keys"].as_array_mut().unwrap();
    keys.push(key.public_jwk.to_json());
    let encryption = Encryption { alg: alg.to_owned(), enc: enc.to_owned() };
    client.id_token_encrypted_response = Some(encryption);
}

const BY_EC: Registered = Registered {
    alg: "ECDH-ES+A256KW",
    enc: "A256GCM",
    at_the_server: |client, _| knows(client, &EC, "ECDH-ES+A256KW", "A256GCM"),
};
const BY_RSA: Registered = Registered {
    alg: "RSA-OAEP-256",
    enc: "A128CBC-HS256",
    at_the_server: |client, _| knows(client, &RSA, "RSA-OAEP-256", "A128CBC-HS256"),
};

async fn bed(registered: Registered) -> Bed {
    bed_after(registered, |_| {}).await
}

async fn bed_after(registered: Registered, before: fn(&AsDouble)) -> Bed {
    let conduct = Conduct::security_profile();
    let mut edit = settings(conduct, None);
    let keys = "decryption_keys = [\"ec.jwk\", \"old-ec.jwk\", \"rsa.jwk\"]";
    let Registered { alg, enc, at_the_server } = registered;
    for setting in [
        keys.to_owned(),
        format!("id_token_encrypted_response_alg = \"{alg}\""),
        format!("id_token_encrypted_response_enc = \"{enc}\""),
    ] {
        edit[2].1.push_str(&setting);
        edit[2].1.push('\n');
    }
    Bed::with(Wish {
        edit,
        conduct: Some(conduct),
        before: Some(before),
        registered: Some(at_the_server),
        files: vec![
            ("ec.jwk", &EC.private_jwk),
            ("old-ec.jwk", &OLD_EC.private_jwk),
            ("rsa.jwk", &RSA.private_jwk),
        ],
        ..Wish::default()
    })
    .await
}

/// The answer to a login whose ID token is not believed, and for which reason.
async fn refused(bed: &Bed, browser: &mut Browser) -> String {
    let started = browser.fetch(Call::post("/bff/login/start")).await.unwrap();
    let started = started.expect(200).unwrap().json().unwrap();
    let answer = answered(browser, started["authorization_url"].as_str().unwrap()).await;
    let refused = bed.end(browser, &found(&answer)).await;
    refused.expect_refusal(502, "authorization_server_error").unwrap();
    assert!(!bed.is_logged_in(browser).await);
    bed.last_audit("login.end").1
}

/// OIDC-3.1.3.7-1, FAPI1-ADV-5.2.3.1-5, ALG-MAT: what is wrong with the encryption is one thing wrong
/// too many; the tokens beside it are given up.
#[tokio::test]
async fn every_flaw_of_an_encrypted_id_token_is_noticed() {
    for (registered, fits) in [(BY_EC, false), (BY_RSA, true)] {
        let bed = bed(registered).await;
        for flaw in Flaw::ALL {
            let expected = match flaw {
                Flaw::Rsa15 if fits => "jwe_alg_not_allowed",
                Flaw::EpkOffCurve if !fits => "jwe_malformed",
                Flaw::Rsa15 | Flaw::EpkOffCurve => continue,
                Flaw::Dir | Flaw::Pbes2 => "jwe_alg_not_allowed",
                Flaw::Zip => "jwe_header_not_allowed",
                Flaw::HalfTag | Flaw::LongTag => "jwe_malformed",
                Flaw::FlippedBit => "jwe_decryption_failed",
                Flaw::PlainJson | Flaw::NoContentType => "jwe_not_nested",
                Flaw::WrongKid => "jwe_key_unknown",
            };
            bed.double.clear_events();
            bed.double.behave(|as_| as_.flaw = Some(flaw));
            let reason = refused(&bed, &mut bed.browser()).await;
            assert_eq!(reason, format!("id_token.{expected}"), "{flaw:?}");
            bed.double.wait_for(Endpoint::Revocation, 2).await;
        }
        bed.double.behave(|as_| as_.flaw = None);
        assert_eq!(login(&bed, &mut bed.browser()).await["is_logged_in"], true);
    }
}

/// BCL-2.6-1/2: where ID tokens come encrypted, logout tokens do, and the merely signed one is a
/// downgrade.
#[tokio::test]
async fn a_logout_token_comes_encrypted_where_id_tokens_do() {
    let bed = bed(BY_EC).await;
    let mut browser = bed.browser();
    login(&bed, &mut browser).await;
    let (alg, enc) = (BY_EC.alg, BY_EC.enc);
    let (alg, enc) = (jwe::Alg::from_name(alg).unwrap(), jwe::Enc::from_name(enc).unwrap());
    let sealed =
        |token: &str, flaw| jwe::encrypt(&EC.public_jwk.to_json(), alg, enc, token, flaw).unwrap();
    let token = || logout_token(&bed, Some("alice"), None);
    for (wrong, reason) in [
        (token(), "logout_token.bare"),
        (sealed(&token(), Some(Flaw::HalfTag)), "logout_token.jwe_malformed"),
        (sealed(&token(), Some(Flaw::FlippedBit)), "logout_token.jwe_decryption_failed"),
    ] {
        assert_eq!(hand_in(&bed, &wrong).await.status, 400, "{reason}");
        let told = bed.last_audit("logout.backchannel");
        assert_eq!(told, ("rejected".to_owned(), reason.to_owned()));
    }
    assert!(bed.is_logged_in(&mut browser).await);
    assert_eq!(hand_in(&bed, &sealed(&token(), None)).await.status, 200);
    assert!(!bed.is_logged_in(&mut browser).await);
}

/// A server that does not say how it encrypts.
fn silent(double: &AsDouble) {
    double.behave(|as_| {
        for part in ["alg", "enc"] {
            let member = format!("id_token_encryption_{part}_values_supported");
            as_.edit(Target::Metadata, edits::remove(&member));
        }
    });
}

/// META-2: what the server says it does not do shows before anybody logs in.
#[tokio::test]
async fn a_server_that_lists_other_encryption_is_not_used() {
    let at_the_server: AtTheServer = |client, _| knows(client, &EC, "ECDH-ES", "A256GCM");
    let bed = bed(Registered { at_the_server, ..BY_EC }).await;
    let start = bed.browser().fetch(Call::post("/bff/login/start")).await.unwrap();
    start.expect(502).unwrap();
    assert_eq!(bed.last_audit("login.start").1, "metadata.algorithm_missing");
}

/// OIDC-3.1.3.7-1, ALG-MAT: another algorithm than the registered one, or none at all, is a downgrade.
#[tokio::test]
async fn encryption_is_exactly_as_registered() {
    let cases: [(AtTheServer, &str); 3] = [
        (|client, _| knows(client, &EC, "ECDH-ES", "A256GCM"), "id_token.jwe_alg_not_allowed"),
        (
            |client, _| knows(client, &EC, "ECDH-ES+A256KW", "A128GCM"),
            "id_token.jwe_enc_not_allowed",
        ),
        (|_, _| {}, "id_token.bare"),
    ];
    for (at_the_server, reason) in cases {
        let bed = bed_after(Registered { at_the_server, ..BY_EC }, silent).await;
        assert_eq!(refused(&bed, &mut bed.browser()).await, reason);
    }
}

/// OIDC-10.2.1: the newest key is published, and a token encrypted to an older one still opens.
#[tokio::test]
async fn a_token_for_an_older_key_still_opens() {
    let at_the_server: AtTheServer =
        |client, _| knows(client, &OLD_EC, "ECDH-ES+A256KW", "A256GCM");
    let bed = bed(Registered { at_the_server, ..BY_EC }).await;
    let mut browser = bed.browser();
    assert_eq!(login(&bed, &mut browser).await["is_logged_in"], true);
    let from = fapi_bff_conformance::demo::browser::From::Typed;
    let published = browser.navigate(from, "/bff/jwks").await.unwrap();
    assert!(published.header("cache-control").contains("max-age"), "{published:?}");
    let published = published.json().unwrap();
    let keys = published["keys"].as_array().unwrap();
    let kid = |key: &GeneratedDecryptionKey| key.public_jwk.to_json()["kid"].clone();
    let kids: Vec<&Value> = keys.iter().map(|key| &key["kid"]).collect();
    assert!(kids.contains(&&kid(&EC)) && !kids.contains(&&kid(&OLD_EC)), "{published}");
}
