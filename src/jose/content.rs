//! Owns the encryption of a JWE's content, on aws-lc-rs: AES-GCM, and AES-CBC under HMAC.
//! Must not know: headers, key management. josekit takes no part: its GCM accepts a tag cut short,
//! and its CBC decrypts before it has looked at the MAC.

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{
        self, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
        PaddedBlockEncryptingKey, UnboundCipherKey,
    },
    constant_time, hmac,
    iv::FixedLength,
    rand,
};

use super::{
    engine::Secret,
    jwe_alg::{JweEnc, TAG_BYTES},
};

/// Why content was not encrypted or decrypted: there is one reason for all causes, because telling
/// a bad tag from bad padding is what a decryption oracle is made of (RFC 7516 §11.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ContentFailed;

impl From<aws_lc_rs::error::Unspecified> for ContentFailed {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self
    }
}

impl From<std::array::TryFromSliceError> for ContentFailed {
    fn from(_: std::array::TryFromSliceError) -> Self {
        Self
    }
}

/// What encrypting makes besides the ciphertext.
pub(super) struct Sealed {
    pub(super) iv: Vec<u8>,
    pub(super) tag: Vec<u8>,
}

/// Encrypts `text` in place and authenticates `aad` with it. The initialization vector comes from
/// the operating system and cannot be injected: a repeated one would give the key away.
pub(super) fn seal(
    enc: JweEnc,
    key: &[u8],
    aad: &[u8],
    text: &mut Vec<u8>,
) -> Result<Sealed, ContentFailed> {
    let mut iv = vec![0; enc.iv_bytes()];
    rand::fill(&mut iv)?;
    let tag = match enc {
        JweEnc::A128Gcm | JweEnc::A256Gcm => gcm(enc, key)?
            .seal_in_place_separate_tag(
                Nonce::try_assume_unique_for_key(&iv)?,
                Aad::from(aad),
                text.as_mut_slice(),
            )?
            .as_ref()
            .to_vec(),
        JweEnc::A128CbcHs256 => {
            let (mac_key, cipher_key) = halves(key)?;
            let context = EncryptionContext::Iv128(FixedLength::try_from(iv.as_slice())?);
            PaddedBlockEncryptingKey::cbc_pkcs7(cipher_key)?.less_safe_encrypt(text, context)?;
            mac(&mac_key, aad, &iv, text).to_vec()
        }
    };
    Ok(Sealed { iv, tag })
}

/// Decrypts `text` in place if `tag` is the whole and right one for all of this. Otherwise it holds
/// no plaintext afterwards: GCM wipes it, and in CBC mode nothing is decrypted before the MAC is
/// found right.
pub(super) fn open(
    enc: JweEnc,
    key: &[u8],
    aad: &[u8],
    iv: &[u8],
    tag: &[u8],
    text: &mut Secret,
) -> Result<(), ContentFailed> {
    if tag.len() != TAG_BYTES {
        return Err(ContentFailed);
    }
    match enc {
        JweEnc::A128Gcm | JweEnc::A256Gcm => {
            let key = gcm(enc, key)?;
            let nonce = Nonce::try_assume_unique_for_key(iv)?;
            let ciphertext = text.len();
            text.extend_from_slice(tag);
            let opened = key.open_in_place(nonce, Aad::from(aad), text).map(|_| ());
            text.truncate(ciphertext);
            opened?;
        }
        JweEnc::A128CbcHs256 => {
            let (mac_key, cipher_key) = halves(key)?;
            let expected = mac(&mac_key, aad, iv, text);
            constant_time::verify_slices_are_equal(&expected, tag)?;
            let context = DecryptionContext::Iv128(FixedLength::try_from(iv)?);
            let plain = PaddedBlockDecryptingKey::cbc_pkcs7(cipher_key)?
                .decrypt(text.as_mut_slice(), context)?
                .len();
            text.truncate(plain);
        }
    }
    Ok(())
}

fn gcm(enc: JweEnc, key: &[u8]) -> Result<LessSafeKey, ContentFailed> {
    let algorithm = match enc {
        JweEnc::A128Gcm => &aead::AES_128_GCM,
        _ => &aead::AES_256_GCM,
    };
    Ok(LessSafeKey::new(UnboundKey::new(algorithm, key)?))
}

/// The MAC key and the cipher key, in this order (RFC 7518 §5.2.2.1).
fn halves(key: &[u8]) -> Result<(hmac::Key, UnboundCipherKey), ContentFailed> {
    let (mac_key, cipher_key) = key.split_at_checked(key.len() / 2).ok_or(ContentFailed)?;
    let mac_key = hmac::Key::new(hmac::HMAC_SHA256, mac_key);
    Ok((mac_key, UnboundCipherKey::new(&cipher::AES_128, cipher_key)?))
}

/// The left half of the HMAC over associated data, initialization vector, ciphertext and the
/// number of bits of the first (RFC 7518 §5.2.2.1).
fn mac(key: &hmac::Key, aad: &[u8], iv: &[u8], ciphertext: &[u8]) -> [u8; TAG_BYTES] {
    let mut context = hmac::Context::with_key(key);
    for part in [aad, iv, ciphertext, &(aad.len() as u64 * 8).to_be_bytes()] {
        context.update(part);
    }
    let mut left = [0; TAG_BYTES];
    left.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    left
}
