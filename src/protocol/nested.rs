//! Owns the step before a signed token is verified: taking it out of the encrypted one it came in,
//! if the client registered encryption for its kind. Must not know: what kind of token it is.

use std::{fmt, ops::Deref};

use zeroize::Zeroizing;

use crate::jose::{self, DecryptionKeys, JweAlg, JweEnc, JwePolicy, JweRejected};

/// What a client registered for one kind of token (`…_encrypted_response_alg` and `_enc`), and the
/// keys it published for it.
#[derive(Clone, Copy, Debug)]
pub struct Encryption<'k> {
    /// The key management algorithm, exactly.
    pub alg: JweAlg,
    /// The content encryption algorithm, exactly.
    pub enc: JweEnc,
    /// The client's private keys, old ones included.
    pub keys: &'k DecryptionKeys,
}

/// Why no signed token came out. Within the reason of a kind of token, each keeps its name:
/// `id_token.bare`, `id_token.jwe_malformed`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NestedRejected {
    /// The token is merely signed although encryption was registered: a downgrade.
    #[error("the token is not encrypted although encryption is registered (OIDC-3.1.3.7-1)")]
    Bare,
    /// The encrypted token was refused.
    #[error(transparent)]
    Jwe(#[from] JweRejected),
}

impl NestedRejected {
    /// Stable machine reason, to be prefixed with the kind of token.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Jwe(JweRejected::Malformed) => "jwe_malformed",
            Self::Jwe(JweRejected::TooLarge) => "jwe_too_large",
            Self::Jwe(JweRejected::DuplicateMember) => "jwe_duplicate_member",
            Self::Jwe(JweRejected::HeaderNotAllowed) => "jwe_header_not_allowed",
            Self::Jwe(JweRejected::AlgNotAllowed) => "jwe_alg_not_allowed",
            Self::Jwe(JweRejected::EncNotAllowed) => "jwe_enc_not_allowed",
            Self::Jwe(JweRejected::KeyUnknown) => "jwe_key_unknown",
            Self::Jwe(JweRejected::KeyAmbiguous) => "jwe_key_ambiguous",
            Self::Jwe(JweRejected::NotNested) => "jwe_not_nested",
            Self::Jwe(JweRejected::DecryptionFailed) => "jwe_decryption_failed",
        }
    }
}

/// A token to be verified next: as it came, or out of an encrypted one and wiped when dropped.
/// `Debug` shows nothing of it.
pub enum Opened<'t> {
    /// The token as it came.
    Bare(&'t str),
    /// What was encrypted.
    Nested(Zeroizing<String>),
}

impl Deref for Opened<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Bare(token) => token,
            Self::Nested(token) => token,
        }
    }
}

impl fmt::Debug for Opened<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bare(_) => "Opened::Bare",
            Self::Nested(_) => "Opened::Nested",
        })
    }
}

/// The signed token in `token`, still unverified. With encryption registered, only what was
/// encrypted as registered is opened, and a bare token is refused; without, the token passes as it
/// is, and the verifier of signatures refuses an encrypted one (OIDC-3.1.3.7-1, OIDC-5.3.2-sig,
/// JARM-2.2, BCL-2.6-1/2, JWT-3.3).
pub fn open_nested<'t>(
    token: &'t str,
    registered: Option<&Encryption<'_>>,
) -> Result<Opened<'t>, NestedRejected> {
    let Some(&Encryption { alg, enc, keys }) = registered else {
        return Ok(Opened::Bare(token));
    };
    if token.split('.').count() == 3 {
        return Err(NestedRejected::Bare);
    }
    Ok(Opened::Nested(jose::decrypt(token, keys, JwePolicy { alg, enc })?))
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro that declares rejections makes them public")]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Map;

    use super::*;
    use crate::{
        jose::{
            DecryptionKey, EncryptionTarget, GeneratedDecryptionKey, JwsAlg, JwsPolicy,
            JwsRejected, KeySet, SoftwareSigner, TypRule, encrypt, generate,
            generate_decryption_key, jwks_document, sign, verify,
        },
        protocol::reason::rejection,
    };

    const ALG: JweAlg = JweAlg::EcdhEs;
    const ENC: JweEnc = JweEnc::A128CbcHs256;

    fn ring(key: &GeneratedDecryptionKey) -> DecryptionKeys {
        let key = DecryptionKey::from_jwk(key.private_jwk.as_bytes(), None).unwrap();
        DecryptionKeys::new(vec![key]).unwrap()
    }

    fn encrypted(inner: &str, key: &GeneratedDecryptionKey) -> String {
        let target = EncryptionTarget::new(&key.public_jwk, ALG, ENC).unwrap();
        encrypt(inner, None, &target).unwrap()
    }

    #[test]
    fn what_was_registered_decides_what_may_come() {
        let signing = generate(JwsAlg::Es256).unwrap();
        let signer = SoftwareSigner::from_pem(signing.pkcs8_pem.as_bytes(), None).unwrap();
        let inner = sign(&signer, Some("JWT"), &Map::new()).unwrap();
        let key = generate_decryption_key(ALG).unwrap();
        let keys = ring(&key);
        let registered = Encryption { alg: ALG, enc: ENC, keys: &keys };
        let outer = encrypted(&inner, &key);

        let opened = open_nested(&outer, Some(&registered)).unwrap();
        assert_eq!(&*opened, inner);
        assert!(!format!("{opened:?}").contains(&inner));
        let rejected = open_nested(&inner, Some(&registered)).unwrap_err();
        assert_eq!(rejected, NestedRejected::Bare);
        for damaged in ["", ".", "a.b.c.d", "a.b.c.d.e.f", "a.b.c.d.e"] {
            let rejected = open_nested(damaged, Some(&registered)).unwrap_err();
            assert_eq!(rejected, NestedRejected::Jwe(JweRejected::Malformed), "{damaged}");
        }
        let other = Encryption { enc: JweEnc::A256Gcm, ..registered };
        let rejected = open_nested(&outer, Some(&other)).unwrap_err();
        assert_eq!(rejected, NestedRejected::Jwe(JweRejected::EncNotAllowed));

        // Without a registration the token goes on as it is, and its verifier refuses encryption.
        assert_eq!(&*open_nested(&inner, None).unwrap(), inner);
        let opened = open_nested(&outer, None).unwrap();
        assert_eq!(&*opened, outer);
        let set = jwks_document([&signing.public_jwk]).to_string();
        let policy = JwsPolicy { algs: &[JwsAlg::Es256], typ: TypRule::IfPresent(&["JWT"]) };
        let published = KeySet::parse(set.as_bytes()).unwrap();
        assert_eq!(verify(&opened, &published, &policy).unwrap_err(), JwsRejected::Encrypted);
    }

    /// JWT-3.3: being encrypted to us is no proof of origin.
    #[test]
    fn what_comes_out_is_still_to_be_verified() {
        let key = generate_decryption_key(ALG).unwrap();
        let keys = ring(&key);
        let registered = Encryption { alg: ALG, enc: ENC, keys: &keys };
        let unsecured = "eyJhbGciOiJub25lIn0.e30.";
        let outer = encrypted(unsecured, &key);
        let opened = open_nested(&outer, Some(&registered)).unwrap();
        let policy = JwsPolicy { algs: &[JwsAlg::Es256], typ: TypRule::IfPresent(&["JWT"]) };
        let rejected = verify(&opened, &KeySet::default(), &policy).unwrap_err();
        assert_eq!(rejected, JwsRejected::AlgNotAllowed);
    }

    rejection! {
        /// One kind of token that may come encrypted.
        pub enum SampleRejected {
            Missing => "sample.missing", "it is missing";
            ClaimType(&'static str) => "sample.claim_type", "claim {0} has the wrong type";
        } with nested "sample"
    }

    #[test]
    fn a_rejection_that_takes_these_over_keeps_each_under_its_own_reason() {
        let all = [
            NestedRejected::Bare,
            JweRejected::Malformed.into(),
            JweRejected::TooLarge.into(),
            JweRejected::DuplicateMember.into(),
            JweRejected::HeaderNotAllowed.into(),
            JweRejected::AlgNotAllowed.into(),
            JweRejected::EncNotAllowed.into(),
            JweRejected::KeyUnknown.into(),
            JweRejected::KeyAmbiguous.into(),
            JweRejected::NotNested.into(),
            JweRejected::DecryptionFailed.into(),
        ];
        let mut reasons = BTreeSet::from(["sample.missing", "sample.claim_type"]);
        for nested in all {
            let rejected = SampleRejected::from(nested);
            assert_eq!(rejected.reason(), format!("sample.{}", nested.reason()));
            assert_eq!(rejected.to_string(), nested.to_string());
            assert!(reasons.insert(rejected.reason()), "{nested:?}");
            if let NestedRejected::Jwe(jwe) = nested {
                assert_eq!(nested.reason(), format!("jwe_{}", jwe.reason()));
            }
        }
        assert_eq!(SampleRejected::REASONS.iter().copied().collect::<BTreeSet<_>>(), reasons);
        assert_eq!(SampleRejected::REASONS.len(), reasons.len());
        assert_eq!(SampleRejected::ClaimType("sub").reason(), "sample.claim_type");
        assert_eq!(SampleRejected::Missing.reason(), "sample.missing");
    }
}
