//! Configurations on disk for tests: the example that users start from, with all files it names.

mod clients;
mod ecosystems;
mod environment;
mod example;
mod files;
mod postgres;
mod refusals;
mod sessions;
mod stores;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::{Fault, Faults, Settings, Source, load, reader::Report};
use crate::jose::{JweAlg, generate_decryption_key};

/// The annotated example.
pub(crate) const EXAMPLE: &str = include_str!("../../../deploy/fapi-bff.example.toml");

/// A folder with every file the example names.
#[derive(Debug)]
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for name in ["assertion.pem", "request.pem"] {
            folder.secret(
                &format!("keys/{name}"),
                KeyPair::generate().unwrap().serialize_pem().as_bytes(),
            );
        }
        let decryption = generate_decryption_key(JweAlg::EcdhEs).unwrap();
        folder.secret("keys/decryption.jwk", decryption.private_jwk.as_bytes());
        folder.secret("keys/server.key", b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n");
        folder.secret("keys/admin.token", b"the-token-of-these-tests-0123456789\n");
        for name in ["server", "portal", "ca"] {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::default().self_signed(&key).unwrap();
            folder.file(&format!("tls/{name}.pem"), certificate.pem().as_bytes());
            folder.file(&format!("tls/{name}.crt"), certificate.pem().as_bytes());
            folder.secret(&format!("tls/{name}.key"), key.serialize_pem().as_bytes());
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    pub(crate) fn secret(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.file(name, contents);
        self.mode(name, 0o600);
        path
    }

    #[cfg(unix)]
    pub(crate) fn mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn config(&self, text: &str) -> PathBuf {
        self.file("fapi-bff.toml", text.as_bytes())
    }

    fn load(&self, text: &str, environment: &[(&str, &str)]) -> Result<Settings, Faults> {
        load(&self.config(text), pairs(environment))
    }

    fn faults(&self, text: &str, environment: &[(&str, &str)]) -> Vec<Fault> {
        self.load(text, environment)
            .map_or_else(|faults| faults.iter().cloned().collect(), |_| Vec::new())
    }
}

fn pairs(environment: &[(&str, &str)]) -> Vec<(String, String)> {
    environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The example, changed: a table's header gets lines after it, any other line is replaced,
/// and what is for `$` goes to the end.
pub(crate) fn example_with(edits: &[(&str, &str)]) -> String {
    let mut text = EXAMPLE.to_owned();
    for (from, to) in edits {
        if *from == "$" {
            text.push_str(to);
            continue;
        }
        let at =
            text.find(&format!("\n{from}")).unwrap_or_else(|| panic!("the example lacks {from}"))
                + 1;
        if from.starts_with('[') {
            let end = at + text[at..].find('\n').unwrap();
            text.insert_str(end, &format!("\n{to}"));
        } else {
            let end = at + text[at..].find('\n').unwrap();
            text.replace_range(at..end, to);
        }
    }
    text
}

fn file_line(fault: &Fault) -> Option<usize> {
    match &fault.source {
        Source::File { line, .. } => *line,
        _ => None,
    }
}

fn report_in(folder: &Path) -> Report {
    Report::new(folder.to_owned())
}
