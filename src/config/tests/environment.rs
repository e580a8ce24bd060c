//! What the environment may change and what it may not.

use super::{Folder, Source, example_with};
use crate::config::StorePlace;

#[test]
fn a_variable_replaces_a_value_whatever_its_letter_case() {
    let folder = Folder::new();
    for (name, value) in [
        ("FAPI_BFF__CLIENTS__PORTAL__CLIENT_ID", "other"),
        ("fapi_bff__clients__portal__client_id", "other"),
        ("FAPI_BFF__Clients__Portal__Client_Id", "\"other\""),
    ] {
        let settings = folder.load(&example_with(&[]), &[(name, value)]).unwrap();
        assert_eq!(settings.clients["portal"].client_id, "other");
    }
}

#[test]
fn a_variable_takes_the_type_its_setting_has() {
    let folder = Folder::new();
    let settings = folder
        .load(
            &example_with(&[]),
            &[
                ("FAPI_BFF__CLIENTS__PORTAL__CLIENT_ID", "12345"),
                ("FAPI_BFF__CLIENTS__PORTAL__SCOPES", "[\"openid\", \"cards\"]"),
                ("FAPI_BFF__CLIENTS__PORTAL__EXP_LEEWAY", "0"),
                ("FAPI_BFF__CLIENTS__PORTAL__CLIENT_ASSERTION_TYP", "false"),
                ("FAPI_BFF__SERVER__LISTEN", "[::1]:8443"),
                ("FAPI_BFF__APPS__PORTAL__SESSION__IDLE", "20m"),
                ("FAPI_BFF__APPS__PORTAL__ROUTES__0__UPSTREAM", "https://elsewhere.example"),
                ("FAPI_BFF__APPS__PORTAL__ROUTES__1__PATH", "/more"),
                ("FAPI_BFF__APPS__PORTAL__ROUTES__1__UPSTREAM", "https://more.example"),
                ("FAPI_BFF__STORE", "{ path = \"other.db\" }"),
                ("FAPI_BFF__STORE__SERVER_KEY_FILE", "keys/server.key"),
            ],
        )
        .unwrap();
    let client = &settings.clients["portal"];
    assert_eq!(client.client_id, "12345");
    assert_eq!(client.scopes, ["openid", "cards"]);
    assert_eq!(client.exp_leeway, 0);
    assert!(!client.client_assertion_typ);
    assert_eq!(settings.server.listen.to_string(), "[::1]:8443");
    let app = &settings.apps["portal"];
    assert_eq!(app.session.idle.as_secs(), 1200);
    assert_eq!(app.routes[0].upstream.as_str(), "https://elsewhere.example/");
    assert_eq!(app.routes[1].path, "/more");
    let StorePlace::Embedded { path } = &settings.store.place else { panic!("not embedded") };
    assert!(path.ends_with("other.db"));
}

#[test]
fn an_underscore_stands_for_the_hyphen_of_a_name() {
    let folder = Folder::new();
    let text = example_with(&[])
        .replace(".portal]", ".retail-portal]")
        .replace(".portal.", ".retail-portal.");
    let settings =
        folder.load(&text, &[("FAPI_BFF__CLIENTS__RETAIL_PORTAL__CLIENT_ID", "x")]).unwrap();
    assert_eq!(settings.clients["retail-portal"].client_id, "x");
}

#[test]
fn a_variable_that_names_nothing_is_refused() {
    let folder = Folder::new();
    for (name, value, path, words) in [
        (
            "FAPI_BFF__CLIENTS__PORTAL__CLIENT_IDD",
            "x",
            "clients.portal.client_idd",
            "did you mean `client_id`?",
        ),
        ("FAPI_BFF__SEVER__LISTEN", "x", "sever", "did you mean `server`?"),
        (
            "FAPI_BFF__CLIENTS__PORTAL__CLIENT_SECRET",
            "x",
            "clients.portal.client_secret",
            "FAPI2-SP-5.3.3.1-2",
        ),
        (
            "FAPI_BFF__CLIENTS__PORTAL__CLIENT_ID__X",
            "x",
            "clients.portal.client_id.x",
            "single value",
        ),
        (
            "FAPI_BFF__APPS__PORTAL__ROUTES__5__PATH",
            "/x",
            "apps.portal.routes.5.path",
            "from 0 to 1",
        ),
        ("FAPI_BFF__", "x", "", "names no setting"),
        ("FAPI_BFF__SERVER____LISTEN", "x", "", "names no setting"),
        ("FAPI_BFF_SERVER__LISTEN", "x", "", "begin the name with FAPI_BFF__"),
        (
            "FAPI_BFF__SERVER__MAX_CONNECTIONS",
            "many",
            "server.max_connections",
            "not a whole number",
        ),
        (
            "FAPI_BFF__CLIENTS__PORTAL__CLIENT_ASSERTION_TYP",
            "yes",
            "clients.portal.client_assertion_typ",
            "true or false",
        ),
        ("FAPI_BFF__CLIENTS__PORTAL__SCOPES", "openid", "clients.portal.scopes", "not a list"),
        (
            "FAPI_BFF__CLIENTS__PORTAL__CLIENT_ASSERTION_KEY",
            "-----BEGIN PRIVATE KEY-----",
            "clients.portal.client_assertion_key",
            "contains a private key",
        ),
    ] {
        let faults = folder.faults(&example_with(&[]), &[(name, value)]);
        assert_eq!(faults.len(), 1, "{name}: {faults:#?}");
        let fault = &faults[0];
        assert_eq!(fault.path, path, "{name}");
        assert_eq!(fault.source, Source::Environment { variable: name.to_owned() });
        assert!(
            format!("{}\n{}", fault.message, fault.remedy).contains(words),
            "{name}: {fault:?}"
        );
    }
}

#[test]
fn one_setting_from_two_variables_is_refused() {
    let both =
        [("FAPI_BFF__SERVER__LISTEN", "0.0.0.0:1"), ("FAPI_BFF__server__listen", "0.0.0.0:2")];
    let faults = Folder::new().faults(&example_with(&[]), &both);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].message.contains("same setting as FAPI_BFF__SERVER__LISTEN"));
}

#[test]
fn what_others_put_into_the_environment_is_none_of_our_business() {
    let foreign = [
        ("PATH", "/bin"),
        ("FAPI_BFF_SERVICE_HOST", "10.0.0.1"),
        ("FAPI_BFF_PORT_9090_TCP", "x"),
        ("A__B", "c"),
    ];
    assert_eq!(Folder::new().faults(&example_with(&[]), &foreign), []);
}
