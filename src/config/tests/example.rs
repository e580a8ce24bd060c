//! The example is sound, complete, and right about the defaults.

use std::collections::BTreeSet;

use super::{EXAMPLE, Folder, example_with, pairs, report_in};
use crate::config::{Access, AuditSink, TokenPolicy, read};

/// A commented line `#key = value`, under the `# [section]` above it.
struct Optional {
    section: String,
    key: String,
    value: String,
    is_default: bool,
    /// Cannot stand beside the settings the example has.
    is_alternative: bool,
}

fn optional_settings() -> Vec<Optional> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in EXAMPLE.lines() {
        if let Some(header) = line.strip_prefix("# [") {
            header.split(']').next().unwrap().clone_into(&mut section);
        } else if let Some((key, value)) =
            line.strip_prefix('#').and_then(|line| line.split_once(" = "))
            && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            let is_alternative = value.ends_with("# INSTEAD");
            let is_default = !value.ends_with("# EXAMPLE") && !is_alternative;
            let value = value.trim_end_matches("# EXAMPLE").trim_end_matches("# INSTEAD");
            let value = value.trim().to_owned();
            found.push(Optional {
                section: section.clone(),
                key: key.to_owned(),
                value,
                is_default,
                is_alternative,
            });
        }
    }
    found
}

/// As overrides, which proves at once that every setting can be overridden.
fn overrides(choose: impl Fn(&Optional) -> bool) -> Vec<(String, String)> {
    let name = |o: &Optional| {
        format!("FAPI_BFF__{}__{}", o.section.replace('.', "__"), o.key).to_uppercase()
    };
    optional_settings().iter().filter(|o| choose(o)).map(|o| (name(o), o.value.clone())).collect()
}

#[test]
fn the_example_is_accepted_as_it_stands() {
    let settings = Folder::new().load(EXAMPLE, &[]).unwrap();
    let app = &settings.apps["portal"];
    assert_eq!(
        app.redirect_uris(),
        ["https://portal.example.com/", "https://portal.example.com/bff/callback"]
    );
    assert_eq!(app.post_logout_redirect_uri(), "https://portal.example.com/bff/logout/callback");
    assert_eq!(app.jwks_uri(), "https://portal.example.com/bff/jwks");
    assert_eq!(app.routes[0].access, Access::Session { token: TokenPolicy::User });
    assert!(app.routes[0].present_client_certificate);
    assert_eq!(settings.log.audit, AuditSink::Stdout);
}

/// STEP-9: an upstream's demands reach a page where the operator has thought of step-up, and nowhere else.
#[test]
fn an_upstreams_demands_are_relayed_where_there_is_something_to_step_up_to() {
    let relayed = |edits: &[(&str, &str)]| {
        Folder::new().load(&example_with(edits), &[]).unwrap().apps["portal"].routes[0].step_up
    };
    let login = ("$", "[apps.portal.login]\nacr_values = [\"high\"]");
    assert!(!relayed(&[]));
    assert!(relayed(&[login]));
    assert!(relayed(&[("[[apps", "max_age = \"5m\"")]));
    assert!(relayed(&[("[[apps", "acr_values = [\"low\"]")]));
    assert!(relayed(&[("[[apps", "step_up = true")]));
    assert!(!relayed(&[login, ("[[apps", "step_up = false")]));
    assert!(!relayed(&[login, ("[[apps", "access = \"public\"")]));
    let text = example_with(&[login, ("[[apps", "acr_values = [\"high\"]\nmax_age = 60")]);
    let settings = Folder::new().load(&text, &[]).unwrap();
    let route = &settings.apps["portal"].routes[0];
    assert_eq!((route.acr_values.as_slice(), route.max_age), (&["high".to_owned()][..], Some(60)));
    assert_eq!(route.replay_body_limit, 64 * 1024);
}

#[test]
fn the_common_case_stands_in_the_first_forty_lines() {
    let active = |line: &&str| !line.starts_with('#') && !line.is_empty();
    assert_eq!(EXAMPLE.lines().skip(40).find(active), None);
}

#[test]
fn the_defaults_the_example_names_are_the_defaults() {
    let folder = Folder::new();
    let path = folder.config(EXAMPLE);
    let plain = crate::config::load(&path, []).unwrap();
    let spelt_out = crate::config::load(&path, overrides(|o| o.is_default)).unwrap();
    assert!(optional_settings().len() > 40);
    assert_eq!(format!("{spelt_out:#?}"), format!("{plain:#?}"));
}

#[test]
fn the_example_is_accepted_with_every_setting_it_names() {
    let folder = Folder::new();
    crate::config::load(&folder.config(EXAMPLE), overrides(|o| !o.is_alternative)).unwrap();
}

#[test]
fn the_example_names_every_key_the_parser_knows() {
    let folder = Folder::new();
    let path = folder.config(&example_with(&[(
        "client_assertion_key",
        "client_assertion_key = { file = \"keys/assertion.pem\", alg = \"ES256\" }",
    )]));
    let report = report_in(path.parent().unwrap());
    read(&path, pairs(&[]), &report).unwrap();
    assert_eq!(report.faults(), []);
    let mut mentioned: BTreeSet<String> = optional_settings()
        .iter()
        .map(|o| format!("{}.{}", o.section.replace("routes.0", "routes[0]"), o.key))
        .collect();
    let mut section = String::new();
    for line in EXAMPLE.lines().filter(|line| !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            let name = header.trim_start_matches('[').split(']').next().unwrap();
            section = if header.starts_with('[') { format!("{name}[0]") } else { name.to_owned() };
        } else if let Some((key, _)) = line.split_once(" = ") {
            mentioned.insert(format!("{section}.{key}"));
        }
    }
    let asked = report.asked.borrow();
    assert!(asked.len() > 80);
    for path in asked.iter() {
        let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
        let is_section = EXAMPLE
            .lines()
            .any(|line| line.trim_start_matches(['#', ' ', '[']).starts_with(path.as_str()));
        let in_inline_table = mentioned.contains(parent) && EXAMPLE.contains(&format!("{key} = "));
        assert!(
            mentioned.contains(path) || is_section || in_inline_table,
            "the example does not mention {path}"
        );
    }
}
