//! The commands as an operator runs them.

use std::fs;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Parser as _;
use p256::pkcs8::DecodePrivateKey as _;
use serde_json::Value;

use super::{Cli, Failure, run};
use crate::{
    clock::{Ambient, ManualClock, SystemEntropy, UnixTime},
    config::tests::{EXAMPLE, Folder, example_with},
    jose::{DecryptionKey, EncryptionJwk, JweAlg, KeyRejected, PublicJwk, SoftwareSigner},
};

/// 2026-11-23, when the certificates of [`signed_folder`] begin.
const NOW: i64 = 1_795_392_000;

fn at(now: i64) -> Ambient {
    let clock = ManualClock::at(UnixTime::new(now));
    Ambient { clock, entropy: std::sync::Arc::new(SystemEntropy::new()) }
}

fn cli_at(now: i64, arguments: &[&str]) -> (Result<(), Failure>, String) {
    let cli = Cli::try_parse_from(std::iter::once(&"fapi-bff").chain(arguments)).unwrap();
    let mut out = Vec::new();
    let result = run(cli.command, [], &at(now), &mut out).map(|_| ());
    (result, String::from_utf8(out).unwrap())
}

fn cli(arguments: &[&str]) -> (Result<(), Failure>, String) {
    cli_at(NOW, arguments)
}

/// What the example names, made by our own commands alone.
fn signed_folder() -> (Folder, String) {
    let folder = Folder::new();
    let keys = folder.path("keys");
    let file = |name: &str| keys.join(name).display().to_string();
    for (name, alg) in [("assertion.pem", "ES256"), ("request.pem", "PS256")] {
        cli(&["keys", "generate", "--alg", alg, "--out", &file(name), "--force"]).0.unwrap();
    }
    cli(&["keys", "server", "--out", &file("server.key"), "--force"]).0.unwrap();
    let tls = folder.path("tls").display().to_string();
    for name in ["portal", "server"] {
        cli(&["keys", "tls", "--client-id", name, "--out-dir", &tls, "--days", "30", "--force"])
            .0
            .unwrap();
    }
    let config = folder.config(EXAMPLE).display().to_string();
    (folder, config)
}

#[test]
fn check_prints_what_to_register() {
    let (_folder, config) = signed_folder();
    let (result, out) = cli(&["check", "--config", &config]);
    result.unwrap();
    for expected in [
        "https://portal.example.com/\n",
        "https://portal.example.com/bff/callback",
        "https://portal.example.com/bff/logout/callback",
        "https://portal.example.com/bff/jwks",
        "backchannel_logout_uri    https://portal.example.com/bff/backchannel-logout\n",
        "backchannel_logout_session_required  true\n",
        "private_key_jwt",
        "client_assertion key  ES256  kid ",
        "request_object key  PS256  kid ",
        "CN=portal  valid until 2026-12-23T",
    ] {
        assert!(out.contains(expected), "{expected} in {out}");
    }
}

/// SES-7.1.2, SES-7.3, SES-7.4: what holds for sessions, and whether operators can end them.
#[test]
fn check_says_what_holds_for_sessions() {
    let (folder, config) = signed_folder();
    let (_, out) = cli(&["check", "--config", &config]);
    let plain = "sessions: 900 s without use, 28800 s at the longest, any number per subject\n";
    assert!(out.contains(plain) && out.contains("session administration is off"), "{out}");
    let token = folder.path("keys/operators").display().to_string();
    let (result, told) = cli(&["keys", "admin", "--out", &token]);
    result.unwrap();
    let made = fs::read_to_string(&token).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(made.trim_end()).unwrap().len(), 32);
    assert!(!told.contains(made.trim_end()), "{told}");
    #[cfg(unix)]
    assert_mode(std::path::Path::new(&token), 0o600);
    folder.config(&example_with(&[
        ("[apps.portal]", "session = { max_per_subject = 3, over_limit = \"refuse\" }"),
        ("$", "[admin]\ntoken_file = \"keys/operators\""),
    ]));
    let (result, out) = cli(&["check", "--config", &config]);
    result.unwrap();
    assert!(out.contains("3 per subject (refuse)"), "{out}");
    assert!(out.contains("session administration at 127.0.0.1:9090"), "{out}");
    let (_, out) = cli(&["check", "--config", &config, "--format", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["session_administration"], "127.0.0.1:9090");
    assert_eq!(
        report["apps"][0]["sessions"],
        serde_json::json!({ "idle": 900, "absolute": 28800, "max_per_subject": 3, "over_limit": "refuse" })
    );
}

/// BCL-2.2, FCL-2: what the app takes is registered, and nothing else.
#[test]
fn check_prints_the_logout_channels_that_there_are() {
    let (folder, config) = signed_folder();
    let told = |lines: &str| {
        folder.config(&example_with(&[("[apps.portal]", lines)]));
        let (result, text) = cli(&["check", "--config", &config]);
        result.unwrap();
        let (result, json) = cli(&["check", "--config", &config, "--format", "json"]);
        result.unwrap();
        (text, serde_json::from_str::<Value>(&json).unwrap()["apps"][0].clone())
    };
    let (text, json) = told("");
    assert!(text.contains("backchannel_logout_uri") && !text.contains("frontchannel"), "{text}");
    assert_eq!(json["backchannel_logout_session_required"], true);
    assert!(json.get("frontchannel_logout_uri").is_none());
    let (text, json) = told("backchannel_logout = false\nfrontchannel_logout = true");
    assert!(!text.contains("backchannel"), "{text}");
    assert!(text.contains("frontchannel_logout_session_required  true\n"), "{text}");
    assert!(json.get("backchannel_logout_uri").is_none());
    let uri = "https://portal.example.com/bff/frontchannel-logout";
    assert_eq!(json["frontchannel_logout_uri"], uri);
    assert!(text.contains(uri), "{text}");
}

#[test]
fn check_speaks_json_in_success_and_failure() {
    let (folder, config) = signed_folder();
    let (result, out) = cli(&["check", "--config", &config, "--format", "json"]);
    result.unwrap();
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["apps"][0]["redirect_uris"][1], "https://portal.example.com/bff/callback");
    assert_eq!(report["clients"][0]["keys"][0]["alg"], "ES256");

    // SES-7.4: what operators compare between instances.
    let key = folder.path("keys/next.key").display().to_string();
    cli(&["keys", "server", "--out", &key]).0.unwrap();
    let further = "further_server_key_files = [\"keys/next.key\"]";
    let active = report["server_keys"]["active"].as_str().unwrap().to_owned();
    assert_eq!((active.len(), &report["server_keys"]["further"]), (8, &serde_json::json!([])));
    folder.config(&example_with(&[("[store]", further)]));
    let (result, out) = cli(&["check", "--config", &config, "--format", "json"]);
    result.unwrap();
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["server_keys"]["active"], *active);
    let next = report["server_keys"]["further"][0].as_str().unwrap();
    assert!(next.len() == 8 && next != active, "{report}");
    assert_eq!(report["server_keys"]["needed_for"], 8 * 3600);
    let (_, out) = cli(&["check", "--config", &config]);
    for expected in [&format!("active   {active}"), &format!("further  {next}"), "28800 seconds"] {
        assert!(out.contains(expected), "{expected} in {out}");
    }

    folder.config(&example_with(&[("scopes", "scopes = []"), ("[store]", "zebra = 1")]));
    let (result, out) = cli(&["check", "--config", &config, "--format", "json"]);
    assert_eq!(result.unwrap_err().exit_code(), 2);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["faults"].as_array().unwrap().len(), 2);
    assert_eq!(report["faults"][0]["path"], "store.zebra");
    assert_eq!(report["faults"][0]["source"]["kind"], "file");
    assert_eq!(report["faults"][0]["source"]["line"], 9);
}

#[test]
fn check_tells_every_fault_and_exits_with_2() {
    let (folder, config) = signed_folder();
    folder.config(&example_with(&[("scopes", "scopes = []"), ("[store]", "zebra = 1")]));
    let (result, out) = cli(&["check", "--config", &config]);
    let failure = result.unwrap_err();
    assert_eq!(failure.exit_code(), 2);
    assert_eq!(out, "");
    let told = failure.to_string();
    assert!(
        told.contains("2 mistakes")
            && told.contains("store.zebra")
            && told.contains("clients.portal.scopes"),
        "{told}"
    );
}

#[test]
fn a_certificate_is_refused_from_the_second_after_its_end_and_before_its_beginning() {
    let (_folder, config) = signed_folder();
    let end = NOW + 30 * 86_400;
    for (now, words) in [
        (NOW, None),
        (end, None),
        (end + 1, Some("expired at 2026-12-23")),
        (NOW - 1, Some("not valid before")),
    ] {
        let (result, _) = cli_at(now, &["check", "--config", &config]);
        let told = result.err().map(|failure| failure.to_string());
        match words {
            None => assert_eq!(told, None),
            Some(words) => {
                let told = told.unwrap();
                assert!(
                    told.contains("server.tls") && told.contains("clients.portal.tls_identity"),
                    "{told}"
                );
                assert!(told.contains(words), "{told}");
            }
        }
    }
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let (folder, config) = signed_folder();
    folder.secret("tls/portal.key", &fs::read(folder.path("tls/server.key")).unwrap());
    let told = cli(&["check", "--config", &config]).0.unwrap_err().to_string();
    assert!(told.contains("cannot be used together"), "{told}");
}

#[test]
fn signing_keys_that_cannot_be_used_are_refused() {
    let (folder, config) = signed_folder();
    folder.secret(
        "keys/assertion.pem",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let told = cli(&["check", "--config", &config]).0.unwrap_err().to_string();
    assert!(
        told.contains("clients.portal.client_assertion_key") && told.contains("cannot be used"),
        "{told}"
    );

    let (folder, config) = signed_folder();
    let text = example_with(&[(
        "client_assertion_key",
        "client_assertion_key = { file = \"keys/assertion.pem\", alg = \"PS256\" }",
    )]);
    folder.config(&text);
    let told = cli(&["check", "--config", &config]).0.unwrap_err().to_string();
    assert!(told.contains("clients.portal.client_assertion_key"), "{told}");
}

/// RAR-2, RES-2, TX-2.1: what `serve` refuses, `check` has told before.
#[test]
fn check_tells_of_requests_that_no_server_may_be_sent() {
    let (folder, config) = signed_folder();
    let long =
        format!("login.authorization_details = [{{ type = \"a\", x = \"{}\" }}]", "x".repeat(1024));
    for (place, line, path, clause) in [
        (
            "[apps.portal]",
            "login.authorization_details = [{ type = \"a\", actions = \"read\" }]",
            "apps.portal.login.authorization_details",
            "RFC 9396",
        ),
        ("[apps.portal]", &long, "apps.portal.login.authorization_details", "1024 bytes"),
        (
            "[apps.portal]",
            "authorization.pay.authorization_details = [{ type = \"a\", locations = 1 }]",
            "apps.portal.authorization.pay.authorization_details",
            "RFC 9396",
        ),
        (
            "[apps.portal]",
            "authorization.pay = { details_from = \"https://p.example/{intent}\", types = [\"a\"], token = \"client_credentials\", scopes = [\"a\"], resource = \"https:x\" }",
            "apps.portal.authorization.pay.resource",
            "RES-2",
        ),
        ("[[apps", "resource = \"https:x\"", "apps.portal.routes[0].resource", "RES-2"),
        (
            "[[apps",
            "token = \"client_credentials\"\nscopes = [\"a\"]\nresource = \"urn:\"",
            "apps.portal.routes[0].resource",
            "RES-2",
        ),
        (
            "[[apps",
            "token = \"exchange\"\nexchange = { resource = \"https:x\" }",
            "apps.portal.routes[0].exchange.resource",
            "RES-2",
        ),
    ] {
        folder.config(&example_with(&[(place, line)]));
        let told = cli(&["check", "--config", &config]).0.unwrap_err();
        assert_eq!(told.exit_code(), 2);
        let told = told.to_string();
        assert!(told.contains("1 mistake in"), "{told}");
        assert!(told.contains(&format!("\n{path}\n")) && told.contains(clause), "{told}");
        assert!(told.contains("from:   ") && told.contains("fapi-bff.toml"), "{told}");
    }
}

/// FAPI2-SP-6.3, FAPI2-AM-7.3: no server has us prove that a token stolen at another is ours.
#[test]
fn clients_of_two_issuers_do_not_prove_with_one_key() {
    let (folder, config) = signed_folder();
    let key = folder.path("keys/dpop.pem").display().to_string();
    cli(&["keys", "generate", "--alg", "ES256", "--out", &key]).0.unwrap();
    // The same key in another file is the same key.
    folder.secret("keys/copy.pem", &fs::read(&key).unwrap());
    folder.secret("keys/other.pem", rcgen::KeyPair::generate().unwrap().serialize_pem().as_bytes());
    let check = |provider: &str, other: &str| {
        let first =
            "provider = \"bank\"\nsender_constraint = \"dpop\"\ndpop_key = \"keys/dpop.pem\"";
        let second = format!(
            "\n[providers.other]\nissuer = \"https://other.example.com\"\n\
             [clients.second]\nprovider = \"{provider}\"\nclient_id = \"x\"\nscopes = [\"openid\"]\n\
             client_assertion_key = \"keys/assertion.pem\"\nrequest_object_key = \"keys/request.pem\"\n\
             sender_constraint = \"dpop\"\n{other}\n"
        );
        let apart = ("[apps.portal]", "client = \"portal\"");
        folder.config(&example_with(&[("[clients", first), apart, ("$", &second)]));
        cli(&["check", "--config", &config]).0.map_err(|failure| failure.to_string())
    };
    for file in ["dpop", "copy"] {
        let told = check("other", &format!("dpop_key = \"keys/{file}.pem\"")).unwrap_err();
        assert!(
            told.contains("1 mistake in") && told.contains("clients.second.dpop_key"),
            "{told}"
        );
        assert!(told.contains("clients.portal") && told.contains("FAPI2-SP-6.3"), "{told}");
    }
    check("other", "dpop_key = \"keys/other.pem\"").unwrap();
    check("other", "").unwrap();
    check("bank", "dpop_key = \"keys/dpop.pem\"").unwrap();
}

#[test]
fn generated_keys_are_private_files_whose_public_half_is_printed() {
    let folder = Folder::new();
    for alg in ["ES256", "PS256", "EdDSA"] {
        let file = folder.path(&format!("{alg}.pem"));
        let (result, out) =
            cli(&["keys", "generate", "--alg", alg, "--out", file.to_str().unwrap()]);
        result.unwrap();
        let printed: Value = serde_json::from_str(&out).unwrap();
        assert!(printed.get("d").is_none());
        let public = PublicJwk::from_json(&printed).unwrap();
        assert_eq!(printed["alg"], alg);
        assert_eq!(printed["kid"], public.thumbprint());
        let signer = SoftwareSigner::from_file_bytes(&fs::read(&file).unwrap(), None).unwrap();
        assert_eq!(crate::jose::Signer::kid(&signer), public.thumbprint());
        assert_mode(&file, 0o600);
    }
}

#[test]
fn generated_decryption_keys_say_what_they_are_for() {
    let folder = Folder::new();
    for alg in JweAlg::ALL {
        let file = folder.path(&format!("{}.jwk", alg.name()));
        let path = file.to_str().unwrap();
        let (result, out) =
            cli(&["keys", "generate", "--use", "enc", "--alg", alg.name(), "--out", path]);
        result.unwrap();
        let printed: Value = serde_json::from_str(&out).unwrap();
        let public = EncryptionJwk::from_json(&printed).unwrap();
        assert_eq!((&printed["use"], &printed["alg"]), (&"enc".into(), &alg.name().into()));
        assert_eq!(printed["kid"], public.thumbprint());
        let private = fs::read(&file).unwrap();
        let key = DecryptionKey::from_file_bytes(&private, None).unwrap();
        assert_eq!(key.public_jwk(), &public);
        assert_mode(&file, 0o600);
        // One key, one use.
        let refused = SoftwareSigner::from_file_bytes(&private, None).unwrap_err();
        assert_eq!(refused, KeyRejected::NotForSignatures);
    }
}

#[test]
fn an_algorithm_of_the_other_use_makes_no_key() {
    let folder = Folder::new();
    let file = folder.path("a.key");
    let name = file.to_str().unwrap();
    for (purpose, alg, told) in [
        (&["--use", "enc"][..], "ES256", "ES256 is for signing"),
        (&["--use", "sig"], "ECDH-ES", "ECDH-ES is for decryption"),
        (&[], "RSA-OAEP-256", "RSA-OAEP-256 is for decryption"),
    ] {
        let command = ["keys", "generate", "--alg", alg, "--out", name];
        let failure = cli(&[&command, purpose].concat()).0.unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.to_string().contains(told), "{failure}");
        assert!(!file.exists());
    }
    for unknown in ["RSA1_5", "dir", "PBES2-HS256+A128KW", "A256KW", "ecdh-es"] {
        let command = ["keys", "generate", "--use", "enc", "--alg", unknown, "--out", name];
        assert!(Cli::try_parse_from(std::iter::once(&"fapi-bff").chain(&command)).is_err());
    }
}

#[test]
fn nothing_is_overwritten_unasked() {
    let folder = Folder::new();
    let file = folder.secret("a.key", b"precious");
    let name = file.to_str().unwrap();
    for command in [
        &["keys", "server", "--out", name][..],
        &["keys", "generate", "--alg", "ES256", "--out", name],
        &["keys", "generate", "--use", "enc", "--alg", "ECDH-ES", "--out", name],
    ] {
        let failure = cli(command).0.unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.to_string().contains("--force"));
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }
    fs::write(&file, "precious").unwrap();
    cli(&["keys", "server", "--out", name, "--force"]).0.unwrap();
    assert_ne!(fs::read(&file).unwrap(), b"precious");
    assert_mode(&file, 0o600);
}

#[test]
fn a_tls_identity_for_a_client_id_that_is_a_url_stays_in_its_folder() {
    let folder = Folder::new();
    let directory = folder.path("tls").display().to_string();
    let (result, out) =
        cli(&["keys", "tls", "--client-id", "../https://rp.example/x", "--out-dir", &directory]);
    result.unwrap();
    assert!(out.contains("BEGIN CERTIFICATE") && !out.contains("PRIVATE"));
    assert_mode(&folder.path("tls/_https___rp.example_x.key"), 0o600);
    assert!(folder.path("tls/_https___rp.example_x.crt").exists());
}

#[test]
fn public_keys_are_printed_once_each_and_without_private_parts() {
    let (folder, config) = signed_folder();
    let (result, out) = cli(&["keys", "public", "--config", &config]);
    result.unwrap();
    let set: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(set["keys"].as_array().unwrap().len(), 2);
    assert!(!out.contains("\"d\""));

    folder.config(&example_with(&[(
        "request_object_key",
        "request_object_key = \"keys/assertion.pem\"",
    )]));
    let (_, out) = cli(&["keys", "public", "--config", &config, "--client", "portal"]);
    let set: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(set["keys"].as_array().unwrap().len(), 1);

    let failure = cli(&["keys", "public", "--config", &config, "--client", "other"]).0.unwrap_err();
    assert_eq!(failure.exit_code(), 1);
}

/// A P-256 key as a private JWK under this name.
fn private_jwk(pem: &str, kid: &str) -> String {
    let signer = SoftwareSigner::from_pem(pem.as_bytes(), None).unwrap();
    let mut jwk = crate::jose::Signer::public_jwk(&signer).to_json();
    jwk.as_object_mut().unwrap().remove("alg");
    let d = p256::SecretKey::from_pkcs8_pem(pem).unwrap().to_bytes();
    jwk["d"] = URL_SAFE_NO_PAD.encode(d).into();
    jwk["kid"] = kid.into();
    jwk.to_string()
}

/// A new key for signing under this name.
fn named_key(alg: &str, kid: &str) -> String {
    let folder = Folder::new();
    let file = folder.path("key.pem");
    let path = file.to_str().unwrap();
    cli(&["keys", "generate", "--alg", alg, "--out", path]).0.unwrap();
    private_jwk(&fs::read_to_string(&file).unwrap(), kid)
}

/// FAPI2-SP-5.4.2, JWK-OWN: of two keys of one name neither vanishes from the published set.
#[test]
fn two_keys_of_one_name_are_refused_before_the_server_starts() {
    let (folder, config) = signed_folder();
    folder.secret("keys/assertion.pem", named_key("ES256", "one").as_bytes());
    folder.secret("keys/request.pem", named_key("ES256", "one").as_bytes());
    for command in [&["check"][..], &["keys", "public"]] {
        let failure = cli(&[command, &["--config", &config]].concat()).0.unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        let told = failure.to_string();
        assert!(told.contains("clients.portal\n") && told.contains("same kid"), "{told}");
    }
    folder.secret("keys/request.pem", named_key("ES256", "other").as_bytes());
    let set: Value =
        serde_json::from_str(&cli(&["keys", "public", "--config", &config]).1).unwrap();
    let kids: Vec<_> = set["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    assert_eq!(kids, ["one", "other"]);
}

const DECRYPTION: (&str, &str) = (
    "[clients.portal]",
    "decryption_keys = [\"keys/decryption.jwk\"]\nid_token_encrypted_response_alg = \"ECDH-ES\"",
);

/// OIDC-10.2.1: whoever registers the keys by value registers those to encrypt to, too.
#[test]
fn keys_to_encrypt_to_are_printed_and_named() {
    let (folder, config) = signed_folder();
    folder.config(&example_with(&[DECRYPTION]));
    let (result, out) = cli(&["keys", "public", "--config", &config]);
    result.unwrap();
    let set: Value = serde_json::from_str(&out).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    let key = keys.iter().find(|key| key["use"] == "enc").unwrap();
    assert_eq!(key["alg"], "ECDH-ES");
    assert!(!out.contains("\"d\""));
    let kid = key["kid"].as_str().unwrap();
    let (result, out) = cli(&["check", "--config", &config]);
    result.unwrap();
    assert!(out.contains(&format!("decryption key  ECDH-ES  kid {kid}\n")), "{out}");
}

/// MTLS-2.2.2: a self-signed certificate is known by the key set alone.
#[test]
fn a_self_signed_certificate_is_printed() {
    let (folder, config) = signed_folder();
    folder.config(&example_with(&[
        ("[clients.portal]", "token_endpoint_auth_method = \"self_signed_tls_client_auth\""),
        ("client_assertion_key", ""),
    ]));
    let (result, out) = cli(&["keys", "public", "--config", &config]);
    result.unwrap();
    let set: Value = serde_json::from_str(&out).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().any(|key| key["x5c"].is_array()), "{out}");
}

/// FAPI2-SP-6.8: the same key for both uses is refused, whatever it is called.
#[test]
fn a_decryption_key_serves_nothing_else() {
    let (folder, config) = signed_folder();
    folder.config(&example_with(&[DECRYPTION]));
    let pem = fs::read_to_string(folder.path("keys/assertion.pem")).unwrap();
    let tls = fs::read_to_string(folder.path("tls/portal.key")).unwrap();
    for key in [pem.clone(), private_jwk(&pem, "another"), private_jwk(&tls, "tls")] {
        folder.secret("keys/decryption.jwk", key.as_bytes());
        let failure = cli(&["check", "--config", &config]).0.unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        let told = failure.to_string();
        let expected = ["clients.portal.decryption_keys", "FAPI2-SP-6.8"];
        assert!(expected.iter().all(|word| told.contains(word)), "{told}");
    }
}

/// TLS-PRJ-CERT.
#[test]
fn the_certificates_key_signs_no_assertions() {
    let (folder, config) = signed_folder();
    let tls = fs::read_to_string(folder.path("tls/portal.key")).unwrap();
    for key in [tls.clone(), private_jwk(&tls, "another")] {
        folder.secret("keys/assertion.pem", key.as_bytes());
        let told = cli(&["check", "--config", &config]).0.unwrap_err().to_string();
        let expected = ["clients.portal.client_assertion_key", "TLS-PRJ-CERT"];
        assert!(expected.iter().all(|word| told.contains(word)), "{told}");
    }
}

#[cfg(unix)]
fn assert_mode(file: &std::path::Path, expected: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, expected);
}

#[test]
fn only_a_store_with_a_schema_is_migrated() {
    let (folder, config) = signed_folder();
    let (refused, out) = cli(&["store", "migrate", "--config", &config]);
    let refused = refused.unwrap_err();
    assert_eq!(refused.exit_code(), 1);
    assert!(refused.to_string().contains("has a schema to migrate"), "{refused}");
    assert_eq!(out, "");
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let database = format!(
        "\n[store.postgres]\nhosts = [\"127.0.0.1:{port}\"]\nplain = true\ndatabase = \"b\"\nuser = \"b\"\n"
    );
    folder.config(&example_with(&[("path = \"sessions", "kind = \"postgres\""), ("$", &database)]));
    cli(&["check", "--config", &config]).0.unwrap();
    let refused = cli(&["store", "migrate", "--config", &config]).0.unwrap_err();
    assert_eq!(refused.exit_code(), 1);
    let told = refused.to_string();
    assert!(told.contains("no server can be used") && told.contains(&port.to_string()), "{told}");
}

/// BFF-6.1.2.3, CK-SS-1, SES-7.4: what sessions in cookies cannot do is refused, what they cannot promise is said.
#[test]
fn check_says_what_sessions_in_cookies_cannot_promise() {
    let (folder, config) = signed_folder();
    let notes = |edits: &[(&str, &str)]| {
        folder.config(&example_with(edits));
        let (result, out) = cli(&["check", "--config", &config, "--format", "json"]);
        result
            .map(|()| serde_json::from_str::<Value>(&out).unwrap()["notes"].clone())
            .map_err(|_| out)
    };
    assert_eq!(notes(&[]).unwrap(), serde_json::json!([]));
    let carried = ("[apps.portal]", "session.carrier = \"cookie\"");
    let said = notes(&[carried]).unwrap().to_string();
    for expected in ["no operator can list", "Only one instance", "live again", "sessions.db"] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    let (_, out) = cli(&["check", "--config", &config]);
    assert!(out.contains("note: app portal"), "{out}");
    // A route that demands another login: fine by query, in vain where the answer is posted.
    let demand = ("[[apps", "max_age = \"5m\"");
    notes(&[carried, demand]).unwrap();
    let posted = ("[clients", "response_mode = \"form_post.jwt\"");
    notes(&[carried, posted]).unwrap();
    notes(&[demand, posted]).unwrap();
    let refused = notes(&[carried, demand, posted]).unwrap_err();
    let report: Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(report["faults"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["faults"][0]["path"], "apps.portal.session.carrier");
}

/// Names of sessions and people may begin with a hyphen: one session in 64 does.
#[test]
fn what_begins_with_a_hyphen_is_a_name_where_a_name_belongs() {
    let (_folder, config) = signed_folder();
    for given in [
        &["--id", "-SoQV8f7XvS-FkiRWal4UQ"][..],
        &["--issuer", "https://as.example.com", "--subject", "-4711"],
    ] {
        let mut words = vec!["sessions", "end", "--config", config.as_str()];
        words.extend(given);
        // The server does not run, which is all that is wrong.
        let refused = cli(&words).0.unwrap_err().to_string();
        assert!(!refused.contains("unexpected argument"), "{refused}");
    }
}
