//! Encrypted tokens of every kind: what was registered to be encrypted must be, what was not must not.

use std::sync::LazyLock;

use serde_json::Value;

use super::*;
use crate::{
    jose::{
        DecryptionKey, DecryptionKeys, EncryptionTarget, GeneratedDecryptionKey, JweAlg, JweEnc,
        encrypt, generate_decryption_key,
    },
    protocol::{
        Encryption, IdTokenExpected, JarmRejected, LogoutTokenExpected, ResponseParameters,
        UserinfoExpected, open_nested, signed_userinfo, verify_id_token, verify_jarm,
        verify_logout_token,
    },
};

const ALG: JweAlg = JweAlg::EcdhEsA128Kw;
const ENC: JweEnc = JweEnc::A256Gcm;

static OURS: LazyLock<GeneratedDecryptionKey> =
    LazyLock::new(|| generate_decryption_key(ALG).unwrap());
static OTHERS: LazyLock<GeneratedDecryptionKey> =
    LazyLock::new(|| generate_decryption_key(ALG).unwrap());
static RING: LazyLock<DecryptionKeys> = LazyLock::new(|| {
    let key = DecryptionKey::from_jwk(OURS.private_jwk.as_bytes(), None).unwrap();
    DecryptionKeys::new(vec![key]).unwrap()
});

fn registered() -> Encryption<'static> {
    Encryption { alg: ALG, enc: ENC, keys: &RING }
}

fn encrypted_to(key: &GeneratedDecryptionKey, inner: &str) -> String {
    let target = EncryptionTarget::new(&key.public_jwk, ALG, ENC).unwrap();
    encrypt(inner, None, &target).unwrap()
}

fn id_token_verdict(
    token: &str,
    encryption: Option<Encryption<'_>>,
) -> Result<String, &'static str> {
    let expected = IdTokenExpected { encryption, ..id_token::expected() };
    verify_id_token(Some(token), &KEYS, NONCE, &expected)
        .map(|verified| verified.subject().to_owned())
        .map_err(|rejected| rejected.reason())
}

/// FAPI1-ADV-5.2.3.1-5, OIDC-3.1.3.7-1.
#[test]
fn an_id_token_is_encrypted_exactly_if_that_was_registered() {
    let inner = token(&id_token::good());
    let nested = encrypted_to(&OURS, &inner);
    assert_eq!(id_token_verdict(&nested, Some(registered())).unwrap(), "alice");
    assert_eq!(id_token_verdict(&inner, Some(registered())), Err("id_token.bare"));
    assert_eq!(id_token_verdict(&nested, None), Err("id_token.encrypted"));
    let foreign = encrypted_to(&OTHERS, &inner);
    assert_eq!(id_token_verdict(&foreign, Some(registered())), Err("id_token.jwe_key_unknown"));
    let other_enc = Encryption { enc: JweEnc::A128Gcm, ..registered() };
    assert_eq!(id_token_verdict(&nested, Some(other_enc)), Err("id_token.jwe_enc_not_allowed"));
    let mut cut = nested.clone();
    cut.truncate(nested.len() - 4);
    assert_eq!(id_token_verdict(&cut, Some(registered())), Err("id_token.jwe_malformed"));
}

/// JWT-3.3: what is inside is verified like any other token.
#[test]
fn encryption_proves_nothing_about_the_signer() {
    for (token, reason) in badly_protected(&id_token::good()) {
        // What is no compact JWS cannot even be encrypted as one.
        let target = EncryptionTarget::new(&OURS.public_jwk, ALG, ENC).unwrap();
        let Ok(nested) = encrypt(&token, None, &target) else { continue };
        let refused = id_token_verdict(&nested, Some(registered())).unwrap_err();
        assert_eq!(refused, format!("id_token.{reason}"));
    }
    let wrong: Value = with(id_token::good(), "nonce", "other");
    let nested = encrypted_to(&OURS, &token(&wrong));
    assert_eq!(id_token_verdict(&nested, Some(registered())), Err("id_token.nonce_mismatch"));
}

/// BCL-2.6-1/2: a logout token is encrypted where ID tokens are, and the type of what is inside counts.
#[test]
fn a_logout_token_is_encrypted_exactly_if_that_was_registered() {
    let typ = Some("logout+jwt");
    let inner = token_by(&ES256, JwsAlg::Es256, typ, &logout_token::good());
    let nested = encrypted_to(&OURS, &inner);
    let verdict = |token: &str, encryption| {
        let expected = LogoutTokenExpected { encryption, ..logout_token::expected() };
        verify_logout_token(token, &KEYS, &expected).map(drop).map_err(|r| r.reason())
    };
    assert_eq!(verdict(&nested, Some(registered())), Ok(()));
    assert_eq!(verdict(&inner, Some(registered())), Err("logout_token.bare"));
    assert_eq!(verdict(&nested, None), Err("logout_token.encrypted"));
    let foreign = encrypted_to(&OTHERS, &inner);
    assert_eq!(verdict(&foreign, Some(registered())), Err("logout_token.jwe_key_unknown"));
    let untyped = encrypted_to(&OURS, &token(&logout_token::good()));
    assert_eq!(verdict(&untyped, Some(registered())), Err("logout_token.typ_not_allowed"));
}

/// OIDC-5.3.2-sig.
#[test]
fn userinfo_is_encrypted_exactly_if_that_was_registered() {
    let claims = serde_json::json!({"iss": ISSUER, "aud": CLIENT, "sub": "alice"});
    let inner = token(&claims);
    let nested = encrypted_to(&OURS, &inner);
    let verdict = |token: &str, encryption| {
        let expected = UserinfoExpected {
            issuer: ISSUER,
            client_id: CLIENT,
            alg: JwsAlg::Es256,
            encryption,
            now: now(),
            exp_leeway: LEEWAY,
            future_tolerance: TOLERANCE,
        };
        signed_userinfo(token, &KEYS, "alice", &expected).map(drop).map_err(|r| r.reason())
    };
    assert_eq!(verdict(&nested, Some(registered())), Ok(()));
    assert_eq!(verdict(&inner, Some(registered())), Err("userinfo.bare"));
    assert_eq!(verdict(&nested, None), Err("userinfo.encrypted"));
}

/// JARM-2.4-1, JARM-2.2: opened with a key of ours, then verified as any response; a key of somebody
/// else's opens nothing.
#[test]
fn a_response_is_opened_with_our_key_and_then_verified() {
    let verdict = |token: &str, encryption: Option<Encryption<'_>>| {
        let form = format!("response={token}");
        let parameters = ResponseParameters::parse_form(form.as_bytes()).unwrap();
        let opened = open_nested(token, encryption.as_ref()).map_err(JarmRejected::from)?;
        verify_jarm(&parameters, &opened, &KEYS, &jarm::expected()).map(drop)
    };
    let inner = token(&jarm::good());
    let nested = encrypted_to(&OURS, &inner);
    assert_eq!(verdict(&nested, Some(registered())), Ok(()));
    let reason = |token: &str, encryption| verdict(token, encryption).unwrap_err().reason();
    assert_eq!(reason(&inner, Some(registered())), "jarm.bare");
    assert_eq!(reason(&nested, None), "jarm.encrypted");
    let foreign = encrypted_to(&OTHERS, &inner);
    assert_eq!(reason(&foreign, Some(registered())), "jarm.jwe_key_unknown");
    let wrong = encrypted_to(&OURS, &token(&with(jarm::good(), "aud", "other")));
    assert_eq!(reason(&wrong, Some(registered())), "jarm.audience_mismatch");
}
