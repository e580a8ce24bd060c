//! A small JWE layer on aws-lc-rs: strict when it decrypts, obedient when it encrypts (to any
//! public JWK, and wrong in every way a test asks for). It must not know the product's `jose`.

use std::{fmt, io::Write as _, num::NonZeroU32};

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, ECDH_P256, UnparsedPublicKey},
    cipher::{
        self, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
        PaddedBlockEncryptingKey, UnboundCipherKey,
    },
    constant_time,
    digest::{self, SHA256},
    encoding::AsDer as _,
    error::Unspecified,
    hmac,
    iv::FixedLength,
    kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest},
    key_wrap::{self, AesKek, KeyWrap as _},
    pbkdf2, rand,
    rsa::{
        KeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm,
        OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey,
        PrivateDecryptingKey, PublicEncryptingKey,
    },
    signature::{KeyPair as _, RsaPublicKeyComponents},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use flate2::{Compression, write::DeflateEncoder};
use serde_json::{Value, json};

use crate::jws::{JwsFault, Object, parse_object, thumbprint};

/// How much a compressed token unfolds to, in bytes.
const BOMB_BYTES: usize = 3 * 1024 * 1024;
/// Rounds of the password that nobody agreed on.
const PASSWORD_ROUNDS: u32 = 1000;

/// Why a token could not be made or was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JweFault {
    /// Not five base64url parts of the right lengths under a JSON object.
    #[error("malformed")]
    Malformed,
    /// A member name occurs twice.
    #[error("duplicate_member")]
    DuplicateMember,
    /// `zip`, `crit`, or a header that brings its own key.
    #[error("header_not_allowed")]
    HeaderNotAllowed,
    /// Another key management algorithm than the one asked for.
    #[error("alg_not_allowed")]
    AlgNotAllowed,
    /// Another content encryption algorithm than the one asked for.
    #[error("enc_not_allowed")]
    EncNotAllowed,
    /// No `kid`, or another key's.
    #[error("key_unknown")]
    KeyUnknown,
    /// `cty` does not say JWT, or there is no signed token inside.
    #[error("not_nested")]
    NotNested,
    /// Not made for this key, or changed since.
    #[error("decryption_failed")]
    DecryptionFailed,
    /// A key could not be made, read or used.
    #[error("key_unusable")]
    KeyUnusable,
}

impl From<Unspecified> for JweFault {
    fn from(_: Unspecified) -> Self {
        Self::DecryptionFailed
    }
}

impl From<aws_lc_rs::error::KeyRejected> for JweFault {
    fn from(_: aws_lc_rs::error::KeyRejected) -> Self {
        Self::KeyUnusable
    }
}

/// The key management algorithms a client may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alg {
    /// RSAES-OAEP with SHA-1.
    RsaOaep,
    /// RSAES-OAEP with SHA-256.
    RsaOaep256,
    /// Key agreement on P-256.
    EcdhEs,
    /// Key agreement on P-256, then 128-bit AES key wrap.
    EcdhEsA128Kw,
    /// Key agreement on P-256, then 256-bit AES key wrap.
    EcdhEsA256Kw,
}

impl Alg {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::RsaOaep, Self::RsaOaep256, Self::EcdhEs, Self::EcdhEsA128Kw, Self::EcdhEsA256Kw];

    /// The name in the `alg` header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaOaep => "RSA-OAEP",
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::EcdhEs => "ECDH-ES",
            Self::EcdhEsA128Kw => "ECDH-ES+A128KW",
            Self::EcdhEsA256Kw => "ECDH-ES+A256KW",
        }
    }

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// Whether it takes an RSA key.
    pub const fn is_rsa(self) -> bool {
        matches!(self, Self::RsaOaep | Self::RsaOaep256)
    }

    fn oaep(self) -> &'static OaepAlgorithm {
        match self {
            Self::RsaOaep => &OAEP_SHA1_MGF1SHA1,
            _ => &OAEP_SHA256_MGF1SHA256,
        }
    }

    /// The AES key wrap that follows the agreement, if any.
    fn key_wrap(self, key: &[u8]) -> Result<Option<AesKek>, JweFault> {
        let cipher = match self {
            Self::EcdhEsA128Kw => &key_wrap::AES_128,
            Self::EcdhEsA256Kw => &key_wrap::AES_256,
            _ => return Ok(None),
        };
        Ok(Some(AesKek::new(cipher, key)?))
    }

    /// What is agreed on: its name for the derivation, and its length in bytes.
    fn agreed(self, enc: Enc) -> (&'static str, usize) {
        match self {
            Self::EcdhEsA128Kw => (self.name(), 16),
            Self::EcdhEsA256Kw => (self.name(), 32),
            _ => (enc.name(), enc.key_bytes()),
        }
    }
}

/// The content encryption algorithms a client may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enc {
    /// AES-GCM with a 128-bit key.
    A128Gcm,
    /// AES-GCM with a 256-bit key.
    A256Gcm,
    /// AES-CBC with HMAC-SHA-256, the default of a registration.
    A128CbcHs256,
}

impl Enc {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::A128Gcm, Self::A256Gcm, Self::A128CbcHs256];

    /// The name in the `enc` header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A128Gcm => "A128GCM",
            Self::A256Gcm => "A256GCM",
            Self::A128CbcHs256 => "A128CBC-HS256",
        }
    }

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|enc| enc.name() == name)
    }

    const fn key_bytes(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            Self::A256Gcm | Self::A128CbcHs256 => 32,
        }
    }

    const fn iv_bytes(self) -> usize {
        match self {
            Self::A128Gcm | Self::A256Gcm => 12,
            Self::A128CbcHs256 => 16,
        }
    }

    /// Ciphertext and tag.
    fn seal(self, key: &[u8], iv: &[u8], aad: &[u8], text: &[u8]) -> Result<Parts, JweFault> {
        let mut text = text.to_vec();
        let tag = if let Some(gcm) = self.gcm(key)? {
            let nonce = Nonce::try_assume_unique_for_key(iv)?;
            gcm.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut text)?.as_ref().to_vec()
        } else {
            let (mac_key, cipher_key) = key.split_at(16);
            let context = EncryptionContext::Iv128(FixedLength::try_from(iv)?);
            PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(
                &cipher::AES_128,
                cipher_key,
            )?)?
            .less_safe_encrypt(&mut text, context)?;
            mac(mac_key, aad, iv, &text)
        };
        Ok((text, tag))
    }

    fn open(self, key: &[u8], iv: &[u8], aad: &[u8], parts: Parts) -> Result<Vec<u8>, JweFault> {
        let (mut text, tag) = parts;
        let length = if let Some(gcm) = self.gcm(key)? {
            text.extend(tag);
            let nonce = Nonce::try_assume_unique_for_key(iv)?;
            gcm.open_in_place(nonce, Aad::from(aad), &mut text)?.len()
        } else {
            let (mac_key, cipher_key) = key.split_at(16);
            constant_time::verify_slices_are_equal(&mac(mac_key, aad, iv, &text), &tag)?;
            let context = DecryptionContext::Iv128(FixedLength::try_from(iv)?);
            PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(
                &cipher::AES_128,
                cipher_key,
            )?)?
            .decrypt(&mut text, context)?
            .len()
        };
        text.truncate(length);
        Ok(text)
    }

    fn gcm(self, key: &[u8]) -> Result<Option<LessSafeKey>, JweFault> {
        let algorithm = match self {
            Self::A128Gcm => &aead::AES_128_GCM,
            Self::A256Gcm => &aead::AES_256_GCM,
            Self::A128CbcHs256 => return Ok(None),
        };
        Ok(Some(LessSafeKey::new(UnboundKey::new(algorithm, key)?)))
    }
}

/// Ciphertext and tag.
type Parts = (Vec<u8>, Vec<u8>);

fn mac(key: &[u8], aad: &[u8], iv: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let bits = (aad.len() as u64 * 8).to_be_bytes();
    let mut tag =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &[aad, iv, ciphertext, &bits].concat())
            .as_ref()
            .to_vec();
    tag.truncate(16);
    tag
}

/// What is to be wrong with a token; all else about it is right, so that it is this that must be
/// noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The key is wrapped with RSAES-PKCS1-v1_5, properly, and the header says so. RSA keys only.
    Rsa15,
    /// The content key is one that anybody can derive: the hash of the public key.
    Dir,
    /// The content key is wrapped under a password: the public key's thumbprint.
    Pbes2,
    /// The content is compressed and unfolds to 3 MiB.
    Zip,
    /// Half of the authentication tag is cut off.
    HalfTag,
    /// The tag is longer by a byte.
    LongTag,
    /// One bit of the ciphertext is flipped.
    FlippedBit,
    /// What is encrypted is the signed token's payload alone.
    PlainJson,
    /// `cty` is left out.
    NoContentType,
    /// The `kid` is a stranger's.
    WrongKid,
    /// The ephemeral key is not on the curve. P-256 keys only.
    EpkOffCurve,
}

impl Flaw {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Rsa15,
        Self::Dir,
        Self::Pbes2,
        Self::Zip,
        Self::HalfTag,
        Self::LongTag,
        Self::FlippedBit,
        Self::PlainJson,
        Self::NoContentType,
        Self::WrongKid,
        Self::EpkOffCurve,
    ];

    /// Whether a token for `alg` can have it.
    pub const fn fits(self, alg: Alg) -> bool {
        match self {
            Self::Rsa15 => alg.is_rsa(),
            Self::EpkOffCurve => !alg.is_rsa(),
            _ => true,
        }
    }
}

/// A compact JWE over the signed token `inner` to a public `jwk`, whatever its `use` and `alg` say.
pub fn encrypt(
    jwk: &Value,
    alg: Alg,
    enc: Enc,
    inner: &str,
    flaw: Option<Flaw>,
) -> Result<String, JweFault> {
    let mut header = Object::new();
    header.insert("alg".into(), json!(alg.name()));
    header.insert("enc".into(), json!(enc.name()));
    header.insert("cty".into(), json!("JWT"));
    if let Some(kid) = jwk.get("kid") {
        header.insert("kid".into(), kid.clone());
    }
    let wrapped = match flaw {
        Some(Flaw::Rsa15) => wrap_rsa15(jwk, enc, &mut header)?,
        Some(Flaw::Dir) => wrap_dir(jwk, enc, &mut header)?,
        Some(Flaw::Pbes2) => wrap_pbes2(jwk, enc, &mut header)?,
        _ if alg.is_rsa() => wrap_oaep(jwk, alg, enc)?,
        _ => wrap_ecdh(jwk, alg, enc, &mut header)?,
    };
    let mut content = inner.as_bytes().to_vec();
    match flaw {
        Some(Flaw::Zip) => {
            header.insert("zip".into(), json!("DEF"));
            content = bomb(&content)?;
        }
        Some(Flaw::PlainJson) => {
            let payload = inner.split('.').nth(1).ok_or(JweFault::Malformed)?;
            content = B64.decode(payload).map_err(|_| JweFault::Malformed)?;
        }
        Some(Flaw::NoContentType) => drop(header.remove("cty")),
        Some(Flaw::WrongKid) => drop(header.insert("kid".into(), json!("a-stranger"))),
        Some(Flaw::EpkOffCurve) => leave_curve(&mut header)?,
        _ => {}
    }
    let (mut token, mut parts) = seal(&header, &wrapped, enc, &content)?;
    match flaw {
        Some(Flaw::HalfTag) => parts.1.truncate(8),
        Some(Flaw::LongTag) => parts.1.push(0),
        Some(Flaw::FlippedBit) => {
            parts.0.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        }
        _ => {}
    }
    for part in [&parts.0, &parts.1] {
        token.push('.');
        B64.encode_string(part, &mut token);
    }
    Ok(token)
}

/// A content key and its encrypted form.
struct Wrapped {
    key: Vec<u8>,
    encrypted: Vec<u8>,
}

/// The first three parts of the token, and what the other two are to hold.
fn seal(
    header: &Object,
    wrapped: &Wrapped,
    enc: Enc,
    content: &[u8],
) -> Result<(String, Parts), JweFault> {
    let header = B64.encode(Value::Object(header.clone()).to_string());
    let iv = random(enc.iv_bytes())?;
    let parts = enc.seal(&wrapped.key, &iv, header.as_bytes(), content)?;
    Ok((format!("{header}.{}.{}", B64.encode(&wrapped.encrypted), B64.encode(&iv)), parts))
}

fn wrap_oaep(jwk: &Value, alg: Alg, enc: Enc) -> Result<Wrapped, JweFault> {
    let public = OaepPublicEncryptingKey::new(rsa_public(jwk)?)?;
    let key = random(enc.key_bytes())?;
    let mut encrypted = vec![0; public.ciphertext_size()];
    public.encrypt(alg.oaep(), &key, &mut encrypted, None)?;
    Ok(Wrapped { key, encrypted })
}

fn wrap_rsa15(jwk: &Value, enc: Enc, header: &mut Object) -> Result<Wrapped, JweFault> {
    header.insert("alg".into(), json!("RSA1_5"));
    let public = Pkcs1PublicEncryptingKey::new(rsa_public(jwk)?)?;
    let key = random(enc.key_bytes())?;
    let mut encrypted = vec![0; public.ciphertext_size()];
    public.encrypt(&key, &mut encrypted)?;
    Ok(Wrapped { key, encrypted })
}

fn wrap_dir(jwk: &Value, enc: Enc, header: &mut Object) -> Result<Wrapped, JweFault> {
    header.insert("alg".into(), json!("dir"));
    let name = thumbprint(jwk).ok_or(JweFault::KeyUnusable)?;
    let mut key = digest::digest(&SHA256, name.as_bytes()).as_ref().to_vec();
    key.truncate(enc.key_bytes());
    Ok(Wrapped { key, encrypted: Vec::new() })
}

fn wrap_pbes2(jwk: &Value, enc: Enc, header: &mut Object) -> Result<Wrapped, JweFault> {
    const NAME: &str = "PBES2-HS256+A128KW";
    let password = thumbprint(jwk).ok_or(JweFault::KeyUnusable)?;
    let p2s = random(16)?;
    header.insert("alg".into(), json!(NAME));
    header.insert("p2s".into(), json!(B64.encode(&p2s)));
    header.insert("p2c".into(), json!(PASSWORD_ROUNDS));
    let salt = [NAME.as_bytes(), &[0], &p2s].concat();
    let rounds = NonZeroU32::new(PASSWORD_ROUNDS).ok_or(JweFault::KeyUnusable)?;
    let mut derived = [0; 16];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut derived);
    let key = random(enc.key_bytes())?;
    let encrypted = wrap(AesKek::new(&key_wrap::AES_128, &derived)?, &key)?;
    Ok(Wrapped { key, encrypted })
}

fn wrap_ecdh(jwk: &Value, alg: Alg, enc: Enc, header: &mut Object) -> Result<Wrapped, JweFault> {
    let ephemeral = agreement::PrivateKey::generate(&ECDH_P256)?;
    let public = ephemeral.compute_public_key()?;
    header.insert("epk".into(), p256_jwk(public.as_ref()));
    let agreed = agree(&ephemeral, jwk, alg, enc, header)?;
    match alg.key_wrap(&agreed)? {
        None => Ok(Wrapped { key: agreed, encrypted: Vec::new() }),
        Some(kek) => {
            let key = random(enc.key_bytes())?;
            let encrypted = wrap(kek, &key)?;
            Ok(Wrapped { key, encrypted })
        }
    }
}

fn wrap(kek: AesKek, key: &[u8]) -> Result<Vec<u8>, JweFault> {
    let mut encrypted = vec![0; key.len() + 8];
    kek.wrap(key, &mut encrypted)?;
    Ok(encrypted)
}

/// What both sides derive (RFC 7518 §4.6.2).
fn agree(
    own: &agreement::PrivateKey,
    peer: &Value,
    alg: Alg,
    enc: Enc,
    header: &Object,
) -> Result<Vec<u8>, JweFault> {
    let party = |name| match header.get(name) {
        None => Ok(Vec::new()),
        Some(value) => member(value),
    };
    let (name, bytes) = alg.agreed(enc);
    let mut info = Vec::new();
    for part in [name.as_bytes(), &party("apu")?, &party("apv")?] {
        info.extend(u32::try_from(part.len()).map_err(|_| JweFault::Malformed)?.to_be_bytes());
        info.extend(part);
    }
    info.extend((u32::try_from(bytes).map_err(|_| JweFault::Malformed)? * 8).to_be_bytes());
    let kdf = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256);
    let kdf = kdf.ok_or(JweFault::KeyUnusable)?;
    let mut point = vec![4];
    point.extend(bytes_of(peer, "x")?);
    point.extend(bytes_of(peer, "y")?);
    let peer = UnparsedPublicKey::new(&ECDH_P256, point);
    agreement::agree(own, peer, JweFault::KeyUnusable, |secret| {
        let mut derived = vec![0; bytes];
        sskdf_digest(kdf, secret, &info, &mut derived)?;
        Ok(derived)
    })
}

/// A point beside the curve: y with its last bit flipped is the ordinate of no point with this x.
fn leave_curve(header: &mut Object) -> Result<(), JweFault> {
    let epk = header.get_mut("epk").ok_or(JweFault::KeyUnusable)?;
    let mut y = bytes_of(epk, "y")?;
    y.iter_mut().next_back().into_iter().for_each(|byte| *byte ^= 1);
    if let Some(members) = epk.as_object_mut() {
        members.insert("y".into(), json!(B64.encode(y)));
    }
    Ok(())
}

/// The token followed by so many letters that it unfolds to [`BOMB_BYTES`].
fn bomb(content: &[u8]) -> Result<Vec<u8>, JweFault> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let filling = vec![b'A'; BOMB_BYTES.saturating_sub(content.len())];
    encoder
        .write_all(content)
        .and_then(|()| encoder.write_all(&filling))
        .and_then(|()| encoder.finish())
        .map_err(|_| JweFault::Malformed)
}

fn rsa_public(jwk: &Value) -> Result<PublicEncryptingKey, JweFault> {
    let components = RsaPublicKeyComponents { n: bytes_of(jwk, "n")?, e: bytes_of(jwk, "e")? };
    components.try_into().map_err(|_: Unspecified| JweFault::KeyUnusable)
}

fn p256_jwk(point: &[u8]) -> Value {
    let (x, y) = point.get(1..65).unwrap_or_default().split_at(32);
    json!({"kty": "EC", "crv": "P-256", "x": B64.encode(x), "y": B64.encode(y)})
}

fn bytes_of(jwk: &Value, name: &str) -> Result<Vec<u8>, JweFault> {
    jwk.get(name).map_or(Err(JweFault::KeyUnusable), member)
}

fn member(value: &Value) -> Result<Vec<u8>, JweFault> {
    let decoded = value.as_str().and_then(|text| B64.decode(text).ok());
    decoded.ok_or(JweFault::KeyUnusable)
}

fn random(bytes: usize) -> Result<Vec<u8>, JweFault> {
    let mut random = vec![0; bytes];
    rand::fill(&mut random)?;
    Ok(random)
}

enum KeyKind {
    Ec(agreement::PrivateKey),
    Rsa(Box<OaepPrivateDecryptingKey>),
}

/// A private key that request objects are encrypted to.
pub struct DecryptionKey {
    alg: Alg,
    kind: KeyKind,
    public: Value,
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptionKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl DecryptionKey {
    /// Makes a fresh key (RSA: 2048 bits), named by its thumbprint.
    pub fn generate(alg: Alg) -> Result<Self, JweFault> {
        let (kind, mut public) = if alg.is_rsa() {
            let pair = KeyPair::generate(KeySize::Rsa2048)?;
            let private = PrivateDecryptingKey::from_pkcs8(pair.as_der()?.as_ref())?;
            let n = pair.public_key().modulus().big_endian_without_leading_zero();
            let public = json!({"kty": "RSA", "n": B64.encode(n), "e": "AQAB"});
            (KeyKind::Rsa(Box::new(OaepPrivateDecryptingKey::new(private)?)), public)
        } else {
            let private = agreement::PrivateKey::generate(&ECDH_P256)?;
            let public = p256_jwk(private.compute_public_key()?.as_ref());
            (KeyKind::Ec(private), public)
        };
        let name = thumbprint(&public).ok_or(JweFault::KeyUnusable)?;
        if let Some(members) = public.as_object_mut() {
            members.insert("kid".into(), json!(name));
            members.insert("use".into(), json!("enc"));
            members.insert("alg".into(), json!(alg.name()));
        }
        Ok(Self { alg, kind, public })
    }

    /// The public half as a JWK with `kid`, `use` and `alg`.
    pub const fn public_jwk(&self) -> &Value {
        &self.public
    }

    /// The signed token inside an encrypted one that was made to this key, with its algorithm and
    /// with `enc`.
    pub fn decrypt(&self, token: &str, enc: Enc) -> Result<String, JweFault> {
        let parts: Vec<&str> = token.split('.').collect();
        let [protected, encrypted, iv, text, tag] = parts[..] else {
            return Err(JweFault::Malformed);
        };
        let header = parse_object(protected).map_err(|fault| match fault {
            JwsFault::DuplicateMember => JweFault::DuplicateMember,
            _ => JweFault::Malformed,
        })?;
        let is = |name: &str, value: &str| header.get(name).and_then(Value::as_str) == Some(value);
        let foreign = ["zip", "crit", "b64", "jku", "jwk", "x5u", "x5c", "p2s", "p2c"];
        if !is("alg", self.alg.name()) {
            return Err(JweFault::AlgNotAllowed);
        } else if !is("enc", enc.name()) {
            return Err(JweFault::EncNotAllowed);
        } else if foreign.iter().any(|name| header.contains_key(*name)) {
            return Err(JweFault::HeaderNotAllowed);
        } else if !is("cty", "JWT") {
            return Err(JweFault::NotNested);
        } else if self.public.get("kid") != header.get("kid") {
            return Err(JweFault::KeyUnknown);
        }
        let bytes = |part| B64.decode(part).map_err(|_| JweFault::Malformed);
        let (encrypted, iv, text, tag) = (bytes(encrypted)?, bytes(iv)?, bytes(text)?, bytes(tag)?);
        if iv.len() != enc.iv_bytes() || tag.len() != 16 {
            return Err(JweFault::Malformed);
        }
        let key = self.unwrap(&encrypted, enc, &header)?;
        let content = enc.open(&key, &iv, protected.as_bytes(), (text, tag))?;
        let content = String::from_utf8(content).map_err(|_| JweFault::NotNested)?;
        if content.matches('.').count() == 2 { Ok(content) } else { Err(JweFault::NotNested) }
    }

    fn unwrap(&self, encrypted: &[u8], enc: Enc, header: &Object) -> Result<Vec<u8>, JweFault> {
        let key = match &self.kind {
            KeyKind::Rsa(key) => {
                let mut plain = vec![0; key.min_output_size()];
                key.decrypt(self.alg.oaep(), encrypted, &mut plain, None)?.to_vec()
            }
            KeyKind::Ec(own) => {
                let epk = header.get("epk").ok_or(JweFault::Malformed)?;
                let agreed = agree(own, epk, self.alg, enc, header)?;
                match self.alg.key_wrap(&agreed)? {
                    None if encrypted.is_empty() => agreed,
                    Some(kek) if encrypted.len() == enc.key_bytes() + 8 => {
                        let mut plain = vec![0; enc.key_bytes() + 8];
                        kek.unwrap(encrypted, &mut plain)?.to_vec()
                    }
                    _ => return Err(JweFault::Malformed),
                }
            }
        };
        if key.len() == enc.key_bytes() { Ok(key) } else { Err(JweFault::DecryptionFailed) }
    }
}

#[cfg(test)]
mod tests;
