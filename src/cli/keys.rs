//! Owns making keys and showing their public halves. Must not know: what a server does with them.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Subcommand, ValueEnum};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::{ConfigArgument, Failure, check};
use crate::{
    clock::Ambient,
    config::{Faults, Settings},
    jose::{self, JweAlg, JwsAlg},
    server::published_keys,
};

/// Make and show keys.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a private key for signing or for decryption, and print its public JWK.
    Generate {
        /// What the key is for.
        #[arg(long = "use", value_enum, value_name = "USE", default_value_t = Use::Sig)]
        purpose: Use,
        /// The algorithm it will serve.
        #[arg(long, value_enum)]
        alg: Alg,
        /// Where to put it.
        #[command(flatten)]
        target: Target,
    },
    /// Print a client's public keys as a JWK set.
    Public {
        /// The configuration.
        #[command(flatten)]
        config: ConfigArgument,
        /// Which client; needed if there are several.
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
    },
    /// Make the token that operators show to list and end sessions.
    Admin {
        /// Where to put it.
        #[command(flatten)]
        target: Target,
    },
    /// Make the server key, which session records are sealed under.
    Server {
        /// Where to put it.
        #[command(flatten)]
        target: Target,
    },
    /// Make a self-signed TLS client certificate and its key.
    Tls {
        /// The `client_id`, which becomes the subject's common name.
        #[arg(long, value_name = "ID")]
        client_id: String,
        /// Folder that gets ID.crt and ID.key.
        #[arg(long, value_name = "DIR")]
        out_dir: PathBuf,
        /// Days the certificate is valid.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=1825))]
        days: u16,
        /// Overwrite files that exist.
        #[arg(long)]
        force: bool,
    },
}

/// A file to make.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The file; it will be readable by its owner only.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Overwrite the file if it exists.
    #[arg(long)]
    force: bool,
}

/// What a key is for, as its `use` says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Use {
    /// Signing; the file is PKCS#8 PEM.
    #[value(name = "sig")]
    Sig,
    /// Decrypting what is encrypted to us; the file is a private JWK that says so.
    #[value(name = "enc")]
    Enc,
}

/// The algorithms keys are made for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Alg {
    /// Signing: P-256.
    #[value(name = "ES256")]
    Es256,
    /// Signing: RSA, 3072 bits.
    #[value(name = "PS256")]
    Ps256,
    /// Signing: Ed25519.
    #[value(name = "EdDSA")]
    EdDsa,
    /// Decryption: RSA, 3072 bits; where the server does not speak RSA-OAEP-256.
    #[value(name = "RSA-OAEP")]
    RsaOaep,
    /// Decryption: RSA, 3072 bits.
    #[value(name = "RSA-OAEP-256")]
    RsaOaep256,
    /// Decryption: P-256.
    #[value(name = "ECDH-ES")]
    EcdhEs,
    /// Decryption: P-256.
    #[value(name = "ECDH-ES+A128KW")]
    EcdhEsA128Kw,
    /// Decryption: P-256.
    #[value(name = "ECDH-ES+A256KW")]
    EcdhEsA256Kw,
}

/// An algorithm by its use.
enum KeyAlg {
    Sig(JwsAlg),
    Enc(JweAlg),
}

impl From<Alg> for KeyAlg {
    fn from(alg: Alg) -> Self {
        match alg {
            Alg::Es256 => Self::Sig(JwsAlg::Es256),
            Alg::Ps256 => Self::Sig(JwsAlg::Ps256),
            Alg::EdDsa => Self::Sig(JwsAlg::EdDsa),
            Alg::RsaOaep => Self::Enc(JweAlg::RsaOaep),
            Alg::RsaOaep256 => Self::Enc(JweAlg::RsaOaep256),
            Alg::EcdhEs => Self::Enc(JweAlg::EcdhEs),
            Alg::EcdhEsA128Kw => Self::Enc(JweAlg::EcdhEsA128Kw),
            Alg::EcdhEsA256Kw => Self::Enc(JweAlg::EcdhEsA256Kw),
        }
    }
}

/// Makes what `command` asks for.
pub(super) fn make(command: &Keys, ambient: &Ambient, out: &mut impl Write) -> Result<(), Failure> {
    match command {
        Keys::Generate { purpose, alg, target } => generate(*purpose, *alg, target, out)?,
        Keys::Server { target } | Keys::Admin { target } => {
            let key = ambient
                .random::<32>()
                .map(Zeroizing::new)
                .map_err(|error| Failure::Other(error.to_string()))?;
            let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*key) + "\n");
            write_file(&target.out, text.as_bytes(), 0o600, target.force)?;
            writeln!(out, "wrote {}", target.out.display())?;
        }
        Keys::Tls { client_id, out_dir, days, force } => {
            tls(client_id, out_dir, *days, *force, ambient, out)?;
        }
        Keys::Public { .. } => {}
    }
    Ok(())
}

fn generate(purpose: Use, alg: Alg, target: &Target, out: &mut impl Write) -> Result<(), Failure> {
    let failed = |error: jose::SignFailed| Failure::Other(error.to_string());
    let (private, public) = match (purpose, KeyAlg::from(alg)) {
        (Use::Sig, KeyAlg::Sig(alg)) => {
            let key = jose::generate(alg).map_err(failed)?;
            (key.pkcs8_pem, key.public_jwk.to_json())
        }
        (Use::Enc, KeyAlg::Enc(alg)) => {
            let key = jose::generate_decryption_key(alg).map_err(failed)?;
            (key.private_jwk, key.public_jwk.to_json())
        }
        (Use::Sig, KeyAlg::Enc(alg)) => {
            let told = format!("{} is for decryption: add --use enc", alg.name());
            return Err(Failure::Other(told));
        }
        (Use::Enc, KeyAlg::Sig(alg)) => {
            let told = format!("{} is for signing: leave --use enc out", alg.name());
            return Err(Failure::Other(told));
        }
    };
    write_file(&target.out, private.as_bytes(), 0o600, target.force)?;
    writeln!(out, "{public:#}")?;
    Ok(())
}

/// The public keys of the named client, or of the only one.
pub(super) fn public(settings: &Settings, name: Option<&str>) -> Result<Value, Failure> {
    let names = || settings.clients.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let (name, client) = match name {
        Some(name) => settings.clients.get_key_value(name),
        None if settings.clients.len() == 1 => settings.clients.first_key_value(),
        None => None,
    }
    .ok_or_else(|| Failure::Other(format!("say which client: --client with one of {}", names())))?;
    check::signers(&format!("clients.{name}"), client).map_err(Faults::new)?;
    Ok(published_keys(name, client).map_err(|fault| Faults::new(vec![check::told(fault)]))?)
}

fn tls(
    client_id: &str,
    folder: &Path,
    days: u16,
    force: bool,
    ambient: &Ambient,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let other = |error: rcgen::Error| Failure::Other(error.to_string());
    if client_id.is_empty() || client_id.len() > 64 || client_id.chars().any(char::is_control) {
        return Err(Failure::Other("a common name has 1 to 64 characters".to_owned()));
    }
    let key = KeyPair::generate().map_err(other)?;
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, client_id);
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = OffsetDateTime::from_unix_timestamp(ambient.now().as_i64())
        .map_err(|error| Failure::Other(error.to_string()))?;
    params.not_after = params.not_before + Duration::days(days.into());
    let certificate = params.self_signed(&key).map_err(other)?;

    // A client_id may be a URL; a file name has no slashes.
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let stem: String = client_id.trim_start_matches('.').chars().map(safe).collect();
    let file = |extension: &str| folder.join(format!("{stem}.{extension}"));
    let private = Zeroizing::new(key.serialize_pem());
    write_file(&file("key"), private.as_bytes(), 0o600, force)?;
    write_file(&file("crt"), certificate.pem().as_bytes(), 0o644, force)?;
    writeln!(out, "wrote {} and {}", file("crt").display(), file("key").display())?;
    writeln!(out, "register at the authorization server:\n{}", certificate.pem())?;
    Ok(())
}

/// Writes beside the target and moves into place, so that nobody ever reads half a key or one with
/// another file's permissions.
fn write_file(path: &Path, contents: &[u8], mode: u32, force: bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Other(format!("{}: {error}", path.display()));
    if !force {
        return create(path, contents, mode).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::Other(format!("{} exists; --force overwrites it", path.display()))
            }
            _ => failed(error),
        });
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    create(&beside, contents, mode).and_then(|()| fs::rename(&beside, path)).map_err(failed)
}

fn create(path: &Path, contents: &[u8], mode: u32) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}
