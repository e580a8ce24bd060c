//! Secrets come from files nobody else can read.

use super::{Folder, example_with};

#[cfg(unix)]
#[test]
fn a_secret_that_others_can_read_is_refused() {
    for (name, path) in [
        ("keys/assertion.pem", "clients.portal.client_assertion_key"),
        ("keys/request.pem", "clients.portal.request_object_key"),
        ("keys/server.key", "store.server_key_file"),
        ("tls/server.key", "server.tls.private_key"),
        ("tls/portal.key", "clients.portal.tls_identity.private_key"),
    ] {
        let folder = Folder::new();
        for mode in [0o604, 0o644, 0o620, 0o602, 0o777] {
            folder.mode(name, mode);
            let faults = folder.faults(&example_with(&[]), &[]);
            assert_eq!(faults.len(), 1, "{name} {mode:o}: {faults:#?}");
            assert_eq!(faults[0].path, path);
            assert!(faults[0].message.contains("can be read by others"));
            assert!(faults[0].remedy.contains("chmod 600"));
        }
        for mode in [0o600, 0o400] {
            folder.mode(name, mode);
            assert_eq!(folder.faults(&example_with(&[]), &[]), [], "{name} {mode:o}");
        }
    }
}

#[cfg(unix)]
#[test]
fn only_root_may_let_a_group_read_a_secret() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = Folder::new();
    folder.mode("keys/server.key", 0o640);
    let root = std::fs::metadata(folder.path("keys/server.key")).unwrap().uid() == 0;
    assert_eq!(folder.faults(&example_with(&[]), &[]).len(), usize::from(!root));
}

#[test]
fn the_server_key_is_32_bytes_in_either_notation() {
    let folder = Folder::new();
    let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let expected: Vec<u8> = (0..32).collect();
    for text in [
        hex,
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    ] {
        folder.secret("keys/server.key", text.as_bytes());
        let server_key = folder.load(&example_with(&[]), &[]).unwrap().store.server_key;
        assert_eq!(server_key.expose().as_slice(), expected);
        assert_eq!(format!("{server_key:?}"), "ServerKey(…)");
    }
    for text in [
        "",
        "AAEC",
        &hex[2..],
        &format!("{hex}00"),
        &hex.replace("00", "+1"),
        &hex.replace("00", "é"),
    ] {
        folder.secret("keys/server.key", text.as_bytes());
        let faults = folder.faults(&example_with(&[]), &[]);
        assert_eq!(faults.len(), 1, "{text}");
        assert!(faults[0].message.contains("does not contain 32 bytes"), "{faults:?}");
    }
}

/// SES-7.2.1-3: two keys that are one could not be told apart, whatever their files are called.
#[test]
fn further_server_keys_are_each_another_key_that_nobody_else_can_read() {
    let folder = Folder::new();
    let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    folder.secret("keys/same.key", hex.as_bytes());
    folder.secret("keys/next.key", "1".repeat(64).as_bytes());
    folder.secret("keys/old.key", "2".repeat(64).as_bytes());
    let with = |files: &str| {
        example_with(&[("[store]", &format!("further_server_key_files = [{files}]"))])
    };
    let store = folder.load(&with("\"keys/next.key\", \"keys/old.key\""), &[]).unwrap().store;
    let further: Vec<_> = store.further_server_keys.iter().map(|key| *key.expose()).collect();
    assert_eq!(further, [[0x11; 32], [0x22; 32]]);
    for (files, place) in [
        ("\"keys/same.key\"", "[0]"),
        ("\"keys/next.key\", \"keys/same.key\"", "[1]"),
        ("\"keys/next.key\", \"keys/old.key\", \"keys/next.key\"", "[2]"),
    ] {
        let faults = folder.faults(&with(files), &[]);
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert_eq!(faults[0].path, format!("store.further_server_key_files{place}"));
        assert!(faults[0].message.contains("in use already"), "{faults:#?}");
        assert!(!faults[0].message.contains("0001"), "{faults:#?}");
    }
    let many: Vec<_> = (0..8_u8)
        .map(|number| {
            let name = format!("keys/{number}.key");
            folder.secret(&name, format!("{number:064x}").as_bytes());
            format!("\"{name}\"")
        })
        .collect();
    assert!(folder.load(&with(&many[..7].join(", ")), &[]).is_ok());
    let faults = folder.faults(&with(&many.join(", ")), &[]);
    assert!(faults.len() == 1 && faults[0].message.contains("more than 7"), "{faults:#?}");
    #[cfg(unix)]
    {
        folder.mode("keys/next.key", 0o644);
        let faults = folder.faults(&with("\"keys/next.key\""), &[]);
        assert!(faults[0].message.contains("can be read by others"), "{faults:#?}");
    }
}

#[test]
fn files_that_are_not_what_they_should_be_are_refused() {
    for (name, contents, path, words) in [
        ("tls/server.crt", "", "server.tls.certificate", "no PEM certificate"),
        (
            "tls/server.crt",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
            "server.tls.certificate",
            "damaged",
        ),
        ("tls/server.key", "hello", "server.tls.private_key", "no PEM private key"),
        ("tls/portal.crt", "", "clients.portal.tls_identity.certificate", "no PEM certificate"),
    ] {
        let folder = Folder::new();
        folder.file(name, contents.as_bytes());
        let faults = folder.faults(&example_with(&[]), &[]);
        assert_eq!(faults.len(), 1, "{name}: {faults:#?}");
        assert_eq!(faults[0].path, path);
        assert!(faults[0].message.contains(words), "{faults:?}");
    }
    let folder = Folder::new();
    let text = example_with(&[("client_assertion_key", "client_assertion_key = \"keys\"")]);
    assert!(folder.faults(&text, &[])[0].message.contains("is not a file"));
    let text =
        example_with(&[("client_assertion_key", "client_assertion_key = \"keys/absent.pem\"")]);
    assert!(folder.faults(&text, &[])[0].message.contains("cannot be read"));
    folder.secret("keys/large.pem", &vec![b'x'; (1 << 20) + 1]);
    let text =
        example_with(&[("client_assertion_key", "client_assertion_key = \"keys/large.pem\"")]);
    assert!(folder.faults(&text, &[])[0].message.contains("larger than"));
}

#[test]
fn debug_output_shows_no_secret() {
    let folder = Folder::new();
    let shown = format!("{:?}", folder.load(&example_with(&[]), &[]).unwrap());
    assert!(shown.contains("Secret(…)") && shown.contains("ServerKey(…)"));
    // `PRIVATE KEY`, as the bytes of a Vec<u8> would print.
    assert!(!shown.contains("80, 82, 73, 86, 65, 84, 69, 32, 75, 69, 89"));
}
