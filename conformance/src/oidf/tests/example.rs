//! The example beside the guide is sound, and what cannot be told to the suite is refused.

use std::{fs, os::unix::fs::PermissionsExt as _};

use clap::Parser;
use fapi_bff::{config, profile::ProfileName};
use serde_json::Value;

use super::world::{CLIENT_ID, EXAMPLE, folder};
use crate::{
    oidf::{
        cli::{self, ConfigArgs, OidfFault, RunArgs},
        drive::Progress,
        generate::{GenerateFault, Options, PlanConfig, plan_config},
    },
    pki::Pki,
};

const PLAN: &str = include_str!("../../../oidf/plan.example.json");
const PLACEHOLDER: &str = "MADE BY cargo conformance oidf config";

/// The example with replacements, as the generator sees it.
fn generated(edit: &[(&str, &str)], options: &Options) -> Result<PlanConfig, GenerateFault> {
    let (dir, file) = folder(&Pki::generate(CLIENT_ID).unwrap());
    let mut text = EXAMPLE.to_owned();
    for (from, to) in edit {
        assert!(text.contains(from), "{from:?} is not in the example");
        text = text.replace(from, to);
    }
    fs::write(&file, text).unwrap();
    let settings = config::load(&file, []).unwrap_or_else(|faults| panic!("{faults}"));
    let plan = plan_config(&settings, options);
    drop(dir);
    plan
}

fn refused(edit: &[(&str, &str)]) -> GenerateFault {
    generated(edit, &Options::default()).unwrap_err()
}

/// Everything that differs from one set of keys to the next is a placeholder.
fn without_keys(config: &Value) -> Value {
    let mut config = config.clone();
    for holder in ["server", "client"] {
        for key in config[holder]["jwks"]["keys"].as_array_mut().unwrap() {
            for member in ["kid", "x", "y", "d"] {
                if key.get(member).is_some() {
                    key[member] = PLACEHOLDER.into();
                }
            }
        }
    }
    config["client"]["certificate"] = PLACEHOLDER.into();
    config
}

#[test]
fn the_committed_plan_is_what_the_committed_configuration_yields() {
    let plan = generated(&[], &Options::default()).unwrap();
    let committed: Value = serde_json::from_str(PLAN).unwrap();
    assert_eq!(without_keys(&plan.config), committed, "{:#}", without_keys(&plan.config));
    assert_eq!(plan.plan, "fapi2-message-signing-final-client-test-plan");
    let variant: Vec<_> = plan.variant.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        variant,
        [
            ("authorization_request_type", "simple"),
            ("client_auth_type", "private_key_jwt"),
            ("fapi_client_type", "oidc"),
            ("fapi_profile", "plain_fapi"),
            ("fapi_request_method", "signed_non_repudiation"),
            ("fapi_response_mode", "jarm"),
            ("sender_constrain", "mtls"),
        ]
    );
    assert_eq!(plan.suite.as_str(), "https://localhost.emobix.co.uk:8443/");
    assert_eq!(plan.api_path.as_deref(), Some("/api/accounts"));
    assert_eq!(plan.bff.login_path, "/bff/login");
    assert!(plan.remarks.is_empty(), "{:?}", plan.remarks);
}

#[test]
fn the_clients_private_keys_stay_where_they_are_and_the_certificate_is_the_leaf() {
    let pki = Pki::generate(CLIENT_ID).unwrap();
    let (dir, file) = folder(&pki);
    let chain = format!("{}{}", pki.client_tls.cert_pem, pki.ca_pem);
    fs::write(dir.path().join("tls/acme-bff-1.crt"), chain).unwrap();
    let settings = config::load(&file, []).unwrap();
    let plan = plan_config(&settings, &Options::default()).unwrap();
    let client = &plan.config["client"];
    let public = |key: &Value| {
        let mut key = key.clone();
        key.as_object_mut().unwrap().retain(|name, _| name != "alg" && name != "use");
        key
    };
    let mut expected: Vec<_> =
        pki.client_jwks()["keys"].as_array().unwrap().iter().map(public).collect();
    expected.sort_by_key(|key| key["kid"].to_string());
    let keys: Vec<_> = client["jwks"]["keys"].as_array().unwrap().iter().map(public).collect();
    assert_eq!(keys, expected);
    let certificate = client["certificate"].as_str().unwrap();
    assert_eq!(certificate.matches("BEGIN CERTIFICATE").count(), 1);
    assert_eq!(certificate.replace("\r\n", "\n"), pki.client_tls.cert_pem.replace("\r\n", "\n"));
}

#[test]
fn what_the_suite_has_no_words_for_is_refused() {
    let issuer = "https://localhost.emobix.co.uk:8443/test/a/acme-bff/";
    for other in [
        "https://localhost.emobix.co.uk:8443/test/a/acme-bff",
        "https://localhost.emobix.co.uk:8443/test/a/acme.bff/",
        "https://localhost.emobix.co.uk:8443/test/a//",
        "https://as.example.com/",
    ] {
        let edit = [
            (issuer, other),
            ("networks = [\"loopback\"]", "networks = [\"public\", \"loopback\"]"),
        ];
        assert_eq!(refused(&edit), GenerateFault::Issuer(other.to_owned()));
    }
    let algs = "client_id = \"acme-bff-1\"\nid_token_signed_response_alg = \"ES256\"\nauthorization_signed_response_alg = \"PS256\"";
    let edit = [("client_id = \"acme-bff-1\"", algs)];
    assert_eq!(refused(&edit), GenerateFault::TwoAlgorithms("acme".to_owned()));

    let options = |app: Option<&str>, client: Option<&str>| Options {
        app: app.map(str::to_owned),
        client: client.map(str::to_owned),
        ..Options::default()
    };
    let unknown = generated(&[], &options(Some("other"), None)).unwrap_err();
    assert_eq!(unknown, GenerateFault::WhichApp("acme".to_owned()));
    let other = generated(&[], &options(Some("acme"), Some("portal"))).unwrap_err();
    assert!(matches!(other, GenerateFault::OtherClient { .. }));
    generated(&[], &options(Some("acme"), Some("acme"))).unwrap();
}

/// What loading a configuration excludes today.
#[test]
fn other_profiles_broken_keys_and_certificates_are_refused() {
    let (_dir, file) = folder(&Pki::generate(CLIENT_ID).unwrap());
    let settings = config::load(&file, []).unwrap();
    let with = |change: fn(&mut config::Client)| {
        let mut settings = settings.clone();
        change(settings.clients.get_mut("acme").unwrap());
        plan_config(&settings, &Options::default())
    };
    let oidc = with(|client| client.profile = ProfileName::Oidc).unwrap_err();
    let client = "acme".to_owned();
    assert_eq!(oidc, GenerateFault::Profile { client, profile: "oidc" });
    let certificate =
        with(|client| client.tls_identity.as_mut().unwrap().certificate_pem.clear()).unwrap_err();
    assert_eq!(certificate, GenerateFault::Certificate("acme".to_owned()));
    let key = with(|client| {
        let key = client.authentication.assertion_key().unwrap().clone();
        let bytes = config::Secret::new(b"no key".to_vec());
        client.authentication =
            config::ClientAuthentication::PrivateKeyJwt(config::KeyFile { bytes, ..key });
    });
    let key = key.unwrap_err();
    assert!(matches!(key, GenerateFault::Key { key: "client_assertion_key", .. }), "{key}");
}

/// Each choice of the settings is one of the variant's.
#[test]
fn every_fapi_profile_has_its_plan_and_variant() {
    let with = |edits: &[(&str, &str)]| generated(edits, &Options::default()).unwrap();
    let value = |plan: &PlanConfig, name: &str| plan.variant.get(name).cloned();
    let id = "client_id = \"acme-bff-1\"";
    let unsigned = ("request_object_key = ", "# request_object_key = ");
    // The plan of the security profile pins what the other one chooses.
    let security = format!("{id}\nprofile = \"fapi2-security\"");
    let plan = with(&[(id, &security), unsigned]);
    assert_eq!(plan.plan, "fapi2-security-profile-final-client-test-plan");
    assert_eq!(value(&plan, "fapi_request_method"), None);
    assert_eq!(value(&plan, "fapi_response_mode"), None);
    let mixed = format!("{security}\nresponse_mode = \"jwt\"\nsender_constraint = \"dpop\"");
    let plan = with(&[(id, &mixed), unsigned]);
    assert_eq!(plan.plan, "fapi2-message-signing-final-client-test-plan");
    assert_eq!(value(&plan, "fapi_request_method").as_deref(), Some("unsigned"));
    assert_eq!(value(&plan, "fapi_response_mode").as_deref(), Some("jarm"));
    assert_eq!(value(&plan, "sender_constrain").as_deref(), Some("dpop"));
    let scopes = ("scopes = [\"openid\", \"accounts\"]", "scopes = [\"accounts\"]");
    let fapi1 = format!("{id}\nprofile = \"fapi1-advanced\"");
    let plan = with(&[(id, &fapi1), scopes]);
    assert_eq!(plan.plan, "fapi1-advanced-final-client-test-plan");
    assert_eq!(value(&plan, "fapi_client_type").as_deref(), Some("plain_oauth"));
    assert_eq!(value(&plan, "fapi_response_mode").as_deref(), Some("jarm"));
    let certification = plan.certification.as_deref();
    assert_eq!(certification, Some("FAPI Adv. RP w/ Private Key, PAR, JARM (OAuth)"));
    let hybrid = format!("{fapi1}\nresponse_type = \"code id_token\"");
    let plan = with(&[(id, &hybrid)]);
    assert_eq!(value(&plan, "fapi_response_mode").as_deref(), Some("plain_response"));
}

#[test]
fn the_mock_servers_key_fits_the_pinned_algorithm_or_is_left_to_the_suite() {
    let pinned = |alg: &str| {
        let line = format!("client_id = \"acme-bff-1\"\nid_token_signed_response_alg = \"{alg}\"");
        generated(&[("client_id = \"acme-bff-1\"", &line)], &Options::default()).unwrap()
    };
    assert_eq!(pinned("EdDSA").config["server"]["jwks"]["keys"][0]["crv"], "Ed25519");
    let own = pinned("PS256");
    assert_eq!(own.config.get("server"), None);
    assert!(own.remarks.iter().any(|remark| remark.contains("restart the BFF before each")));
    let options = Options { server_key: false, ..Options::default() };
    assert_eq!(generated(&[], &options).unwrap().config.get("server"), None);
}

#[test]
fn a_missing_or_unfit_route_is_remarked_on() {
    let base = "https://localhost.emobix.co.uk:8444/test-mtls/a/acme-bff/open-banking/v1.1";
    let path = |edit: &[(&str, &str)]| generated(edit, &Options::default()).unwrap().api_path;
    assert_eq!(path(&[(base, "https://localhost.emobix.co.uk:8444/test-mtls/a/other")]), None);
    assert_eq!(path(&[(base, "https://accounts.localhost:8444")]), None);
    assert_eq!(
        path(&[(base, "https://localhost.emobix.co.uk:8444/test-mtls/a/acme-bff")]).as_deref(),
        Some("/api/open-banking/v1.1/accounts")
    );
    assert_eq!(path(&[(base, &format!("{base}/accounts"))]).as_deref(), Some("/api"));
    let upstream = format!("upstream = \"{base}\"");
    assert_eq!(path(&[(&upstream, &format!("{upstream}\ntoken = \"none\""))]), None);
    assert_eq!(path(&[(&upstream, &format!("{upstream}\nmethods = [\"POST\"]"))]), None);
}

#[derive(Parser)]
struct Config {
    #[command(flatten)]
    args: ConfigArgs,
}

#[derive(Parser)]
struct Run {
    #[command(flatten)]
    args: RunArgs,
}

#[test]
fn the_configuration_is_written_for_its_owner_only_and_not_over_another() {
    let (dir, file) = folder(&Pki::generate(CLIENT_ID).unwrap());
    let out = dir.path().join("plan.json").display().to_string();
    let file = file.display().to_string();
    let run = |more: &[&str]| {
        let line = ["config", "--config", &file, "--out", &out];
        let args = Config::try_parse_from(line.iter().chain(more)).unwrap().args;
        let (mut printed, mut notes) = (Vec::new(), Vec::new());
        let result = cli::config(&args, [], &mut printed, &mut notes);
        assert!(printed.is_empty());
        result.map(|()| String::from_utf8(notes).unwrap())
    };
    let notes = run(&[]).unwrap();
    assert!(notes.starts_with("plan     fapi2-message-signing-final-client-test-plan\nvariant  {"));
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let first = fs::read_to_string(&out).unwrap();
    assert!(matches!(run(&[]), Err(OidfFault::File { .. })));
    run(&["--force", "--wait-timeout", "3"]).unwrap();
    let second: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(second["waitTimeoutSeconds"], 3);
    assert_ne!(first, second.to_string());
}

#[tokio::test]
async fn a_run_that_cannot_begin_says_which_argument_is_missing() {
    let (dir, file) = folder(&Pki::generate(CLIENT_ID).unwrap());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let file = file.display().to_string();
    let run = async |more: &[&str]| {
        let line = ["run", "--config", &file];
        let args = Run::try_parse_from(line.iter().chain(more)).unwrap().args;
        cli::run(&args, [], &mut |_| {}).await.unwrap_err().to_string()
    };
    let upstream = "FAPI_BFF__APPS__ACME__ROUTES__0__UPSTREAM".to_owned();
    let args = Run::try_parse_from(["run", "--config", &file]).unwrap().args;
    let environment = [(upstream, "https://api.localhost:1/".to_owned())];
    let fault = cli::run(&args, environment, &mut |_| {}).await.unwrap_err();
    assert!(fault.to_string().contains("--api-path"), "{fault}");

    let missing = run(&["--ca", &path("tls/ca.pem"), "--token-file", &path("no-token")]).await;
    assert!(missing.contains("no-token"), "{missing}");
    assert!(run(&["--ca", &path("fapi-bff.toml")]).await.contains("no readable certificate"));

    fs::write(dir.path().join("plan.json"), r#"{"alias": "another"}"#).unwrap();
    let other = run(&["--plan-config", &path("plan.json")]).await;
    assert!(other.contains("its alias is not acme-bff"), "{other}");

    fs::write(dir.path().join("plan.json"), r#"{"alias": "acme-bff"}"#).unwrap();
    let (plan, ca) = (path("plan.json"), path("tls/ca.pem"));
    let line = ["run", "--config", &file, "--plan-config", &plan, "--ca", &ca];
    let line = line.iter().chain(&["--suite", "https://localhost:1/"]);
    let args = Run::try_parse_from(line).unwrap().args;
    let mut remarks = Vec::new();
    let told = &mut |progress: Progress<'_>| remarks.push(progress.to_string());
    cli::run(&args, [], told).await.unwrap_err();
    assert!(remarks.iter().any(|remark| remark.contains("generate it anew")), "{remarks:?}");

    // Nobody listens at port 1.
    let suite = ["--suite", "https://localhost:1/", "--ca", &path("tls/ca.pem")];
    let nobody = run(&suite).await;
    assert!(nobody.contains("is the suite running there"), "{nobody}");
    assert!(Run::try_parse_from(["run", "--config", "x", "--resolve", "a=b"]).is_err());
}
