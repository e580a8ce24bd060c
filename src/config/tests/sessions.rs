//! How many sessions one subject may have, and who ends them, as it is written.

use super::{Folder, example_with};
use crate::config::{OverLimit, SessionLimit, SessionSettings};

fn session(lines: &str) -> SessionSettings {
    let settings = Folder::new().load(&example_with(&[("[apps.portal]", lines)]), &[]).unwrap();
    settings.apps["portal"].session.clone()
}

/// SES-7.1.2: off by default; the oldest gives way unless it is said otherwise.
#[test]
fn sessions_are_limited_as_it_is_written() {
    let limit = |most, over| Some(SessionLimit { most, over });
    for (lines, expected) in [
        ("", None),
        ("session.max_per_subject = 1", limit(1, OverLimit::EndOldest)),
        ("session.max_per_subject = 1000", limit(1000, OverLimit::EndOldest)),
        (
            "session = { max_per_subject = 3, over_limit = \"end-oldest\" }",
            limit(3, OverLimit::EndOldest),
        ),
        ("session = { max_per_subject = 3, over_limit = \"refuse\" }", limit(3, OverLimit::Refuse)),
    ] {
        assert_eq!(session(lines).limit, expected, "{lines}");
    }
}

/// SES-7.4
#[test]
fn to_end_sessions_elsewhere_takes_a_recent_login_where_it_is_written() {
    assert_eq!(session("").manage_max_age, None);
    let lines = "session.manage_max_age = \"10m\"\nlogin.allowed_parameters = [\"max_age\"]";
    assert_eq!(session(lines).manage_max_age, Some(600));
}

/// SES-7.4: without a token nobody administers sessions; with one it is read as it is.
#[test]
fn the_operators_token_is_what_the_file_holds() {
    let folder = Folder::new();
    let text = example_with(&[("$", "[admin]\ntoken_file = \"keys/admin.token\"")]);
    assert!(folder.load(&example_with(&[]), &[]).unwrap().admin.token.is_none());
    let token = |contents: &[u8]| {
        folder.secret("keys/admin.token", contents);
        let settings = folder.load(&text, &[]).ok()?;
        assert!(!format!("{settings:?}").contains("0123456789abcdef"));
        Some(settings.admin.token?.expose().to_vec())
    };
    let good = b"0123456789abcdef0123456789abcdef";
    assert_eq!(token(good).unwrap(), good);
    assert_eq!(token(&[good, b"\r\n".as_slice()].concat()).unwrap(), good);
    assert_eq!(token(&[b'x'; 512]).unwrap().len(), 512);
    for bad in [
        &good[1..],
        &[b'x'; 513],
        b"",
        b"0123456789abcdef 0123456789abcdef",
        b"0123456789abcdef\n0123456789abcdef",
        "0123456789abcdef0123456789abcd\u{e9}".as_bytes(),
    ] {
        assert_eq!(token(bad), None, "{}", String::from_utf8_lossy(bad));
    }
}
