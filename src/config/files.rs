//! Owns reading the files the configuration names: certificates, private keys, the server key.
//! Must not know: what the keys are used for.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::{
    reader::{Section, Setting},
    settings::{DecryptionKeyFile, KeyFile, PemFile, Secret, ServerKey, TlsFiles},
    values::choice,
};
use crate::jose::JwsAlg;

/// Far above any chain of certificates.
const LARGEST: u64 = 1 << 20;

/// A file's name; relative ones begin in the configuration file's folder.
pub(super) fn path(setting: &Setting<'_>) -> Option<PathBuf> {
    setting.text().map(|text| setting.report.folder().join(text))
}

/// A file of certificates.
pub(super) fn certificates(setting: &Setting<'_>) -> Option<PemFile> {
    let path = path(setting)?;
    let pem = read(setting, &path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    if parsed.is_ok_and(|certificates| !certificates.is_empty()) {
        return Some(PemFile { path, pem });
    }
    setting.wrong(
        format!("{} contains no PEM certificate, or a damaged one", path.display()),
        "name a file with -----BEGIN CERTIFICATE----- blocks",
    )
}

/// A certificate chain and its key: `{ certificate = "…", private_key = "…" }`.
pub(super) fn tls_files(setting: &Setting<'_>) -> Option<TlsFiles> {
    let mut section = setting.table()?;
    let chain =
        section.required("certificate", "name the file of the certificate chain", certificates);
    let key = section.required(
        "private_key",
        "name the file of the certificate's private key",
        |setting| {
            let path = path(setting)?;
            let pem = read_secret(setting, &path)?;
            if PrivateKeyDer::from_pem_slice(&pem).is_err() {
                let message = format!("{} contains no PEM private key", path.display());
                return setting.wrong(
                    message,
                    "name a file with one unencrypted -----BEGIN PRIVATE KEY----- block",
                );
            }
            Some((path, Secret::from(pem)))
        },
    );
    section.finish();
    let (PemFile { path: certificate, pem: certificate_pem }, (private_key, private_key_pem)) =
        (chain?, key?);
    Some(TlsFiles { certificate, private_key, certificate_pem, private_key_pem })
}

/// A signing key: a file's name, or `{ file = "…", alg = "…" }`.
pub(super) fn key_file(setting: &Setting<'_>) -> Option<KeyFile> {
    if !setting.is_table() {
        let (path, bytes) = secret(setting)?;
        return Some(KeyFile { path, alg: None, bytes });
    }
    let mut section: Section<'_> = setting.table()?;
    let file = section.required("file", "name the private key's file", secret);
    let algs = JwsAlg::ALL.map(|alg| (alg.name(), alg));
    let alg = section.optional("alg", |setting| choice(setting, &algs));
    section.finish();
    file.map(|(path, bytes)| KeyFile { path, alg, bytes })
}

/// A key for decryption: a file's name.
pub(super) fn decryption_key(setting: &Setting<'_>) -> Option<DecryptionKeyFile> {
    secret(setting).map(|(path, bytes)| DecryptionKeyFile { path, bytes })
}

/// A file that holds a client secret and nothing else but a final line break.
pub(super) fn client_secret(setting: &Setting<'_>) -> Option<Secret> {
    let (path, bytes) = secret(setting)?;
    let text = bytes.expose().trim_ascii_end();
    if !text.is_empty() && text.iter().all(|b| matches!(b, b' '..=b'~')) {
        return Some(Secret::new(text.to_vec()));
    }
    setting.wrong(
        format!("{} is empty or holds more than one line of printable ASCII", path.display()),
        "put the secret, and nothing else, into the file",
    )
}

/// A file that holds the operators' token, long enough that nobody guesses it, and nothing else but a
/// final line break.
pub(super) fn admin_token(setting: &Setting<'_>) -> Option<Secret> {
    let (path, bytes) = secret(setting)?;
    let text = bytes.expose().trim_ascii_end();
    if (32..=512).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic) {
        return Some(Secret::new(text.to_vec()));
    }
    setting.wrong(
        format!(
            "{} does not hold one line of 32 to 512 printable ASCII characters",
            path.display()
        ),
        "make it with `fapi-bff keys admin --out FILE`",
    )
}

/// Whether the operators' token is the server key: sent about, it would be none for long.
pub(super) fn is_server_key(token: &Secret, key: &ServerKey) -> bool {
    decode_server_key(token.expose()).is_some_and(|decoded| decoded.expose() == key.expose())
}

/// The server key: 32 bytes as base64url or hexadecimal digits.
pub(super) fn server_key(setting: &Setting<'_>) -> Option<ServerKey> {
    let text = Zeroizing::new(setting.text()?);
    let make = "make one with `fapi-bff keys server --out FILE`";
    if decode_server_key(text.as_bytes()).is_some() {
        return setting.wrong(
            "contains the key itself",
            "put the key into a file and write the file's name here",
        );
    }
    let path = path(setting)?;
    let bytes = read_secret(setting, &path)?;
    decode_server_key(bytes.trim_ascii()).or_else(|| {
        let message = format!(
            "{} does not contain 32 bytes as base64url or 64 hexadecimal digits",
            path.display()
        );
        setting.wrong(message, make)
    })
}

fn decode_server_key(text: &[u8]) -> Option<ServerKey> {
    if text.len() == 64 {
        let digits = Zeroizing::new(std::str::from_utf8(text).ok()?.to_owned());
        let pairs =
            (0..32).map(|at| digits.get(2 * at..2 * at + 2).filter(|pair| !pair.contains('+')));
        let bytes: Option<Zeroizing<Vec<u8>>> = pairs
            .map(|pair| u8::from_str_radix(pair?, 16).ok())
            .collect::<Option<Vec<u8>>>()
            .map(Zeroizing::new);
        return bytes.and_then(|bytes| bytes.as_slice().try_into().ok()).map(ServerKey::new);
    }
    let bytes =
        URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).map(Zeroizing::new).ok()?;
    bytes.as_slice().try_into().ok().map(ServerKey::new)
}

fn secret(setting: &Setting<'_>) -> Option<(PathBuf, Secret)> {
    let path = path(setting)?;
    let bytes = read_secret(setting, &path)?;
    Some((path, Secret::from(bytes)))
}

fn read_secret(setting: &Setting<'_>, path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    private(setting, path)?;
    read(setting, path).map(Zeroizing::new)
}

fn read(setting: &Setting<'_>, path: &Path) -> Option<Vec<u8>> {
    let shown = path.display();
    let length = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return setting.wrong(format!("{shown} is not a file"), "name a regular file");
        }
        Ok(metadata) if metadata.len() > LARGEST => {
            return setting
                .wrong(format!("{shown} is larger than {LARGEST} bytes"), "name the right file");
        }
        Ok(metadata) => usize::try_from(metadata.len()).unwrap_or(0),
        Err(_) => 0,
    };
    // Room for all of it at once: growing would leave copies of a secret behind.
    let mut bytes = Vec::with_capacity(length + 1);
    match fs::File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)) {
        Ok(_) => Some(bytes),
        Err(error) => setting.wrong(
            format!("{shown} cannot be read: {error}"),
            "correct the name (relative ones begin in the configuration file's folder) or the file's permissions",
        ),
    }
}

/// Like ssh, refuses a secret that others can read. Like PostgreSQL, lets root give it to a group: a
/// container that is not root gets its secrets that way.
#[cfg(unix)]
fn private(setting: &Setting<'_>, path: &Path) -> Option<()> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = fs::metadata(path) else { return Some(()) };
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.is_file() && metadata.mode() & forbidden != 0 {
        let message = format!(
            "{} can be read by others (mode {:04o})",
            path.display(),
            metadata.mode() & 0o7777
        );
        return setting.wrong(message, format!("chmod 600 {}", path.display()));
    }
    Some(())
}

#[cfg(not(unix))]
fn private(_: &Setting<'_>, _: &Path) -> Option<()> {
    Some(())
}
