//! What each profile leaves to the settings of a client, and what it does not.

use super::{Folder, example_with};
use crate::{
    config::{Authorization, Client, ClientAuthentication},
    profile::{ProfileName, ResponseForm, ResponseMode, ResponseType, SenderConstraint},
};

/// The example with its client's settings replaced by these, but for the name and the scopes.
pub(super) fn text(lines: &[&str]) -> String {
    let lines = lines.join("\n");
    let mut text = example_with(&[("[clients", &lines)]);
    for key in ["client_assertion_key", "request_object_key", "tls_identity"] {
        // A line of the test's own comes first and stands.
        if lines.contains(&format!("{key} = ")) || lines.contains(&format!("-{key}")) {
            let at = text.rfind(&format!("\n{key}")).unwrap();
            let end = at + 1 + text[at + 1..].find('\n').unwrap();
            text.replace_range(at..end, "");
        }
    }
    text
}

pub(super) fn folder() -> Folder {
    let folder = Folder::new();
    folder.secret("keys/client-secret", b"a secret: & 100 %\n");
    folder.secret("keys/dpop.pem", rcgen::KeyPair::generate().unwrap().serialize_pem().as_bytes());
    folder
}

pub(super) fn client(lines: &[&str]) -> Client {
    let settings = folder().load(&text(lines), &[]).unwrap_or_else(|faults| panic!("{faults}"));
    settings.clients["portal"].clone()
}

/// The only fault, with its place.
pub(super) fn refused(lines: &[&str]) -> (String, String) {
    let faults = folder().faults(&text(lines), &[]);
    assert_eq!(faults.len(), 1, "{lines:?}: {faults:#?}");
    let fault = &faults[0];
    let place = fault.path.strip_prefix("clients.portal.").unwrap_or(&fault.path).to_owned();
    (place, format!("{} | {}", fault.message, fault.remedy))
}

const fn form(response_type: ResponseType, response_mode: ResponseMode) -> ResponseForm {
    ResponseForm { response_type, response_mode }
}

const SECURITY: &str = "profile = \"fapi2-security\"";
const FAPI1: &str = "profile = \"fapi1-advanced\"";
const OIDC: &str = "profile = \"oidc\"";
const UNSIGNED: &str = "#-request_object_key";

#[test]
fn each_profile_has_its_defaults() {
    use ResponseMode::{Jwt, Query};
    for (lines, name, response, constraint, signed) in [
        (vec![], ProfileName::Fapi2MessageSigning, Jwt, SenderConstraint::Mtls, true),
        (
            vec![SECURITY, UNSIGNED],
            ProfileName::Fapi2Security,
            Query,
            SenderConstraint::Mtls,
            false,
        ),
        (vec![FAPI1], ProfileName::Fapi1Advanced, Jwt, SenderConstraint::Mtls, true),
        (vec![OIDC, UNSIGNED], ProfileName::Oidc, Query, SenderConstraint::None, false),
    ] {
        let client = client(&lines);
        assert_eq!(client.profile, name);
        assert_eq!(client.response, form(ResponseType::Code, response), "{name}");
        assert_eq!(client.sender_constraint, constraint, "{name}");
        assert_eq!(client.request_object_key.is_some(), signed, "{name}");
        assert!(matches!(client.authentication, ClientAuthentication::PrivateKeyJwt(_)));
    }
}

#[test]
fn what_a_profile_leaves_open_can_be_chosen() {
    let hybrid = "response_type = \"code id_token\"";
    let by_form = "response_mode = \"form_post\"";
    assert_eq!(
        client(&[FAPI1, hybrid]).response,
        form(ResponseType::CodeIdToken, ResponseMode::Fragment)
    );
    assert_eq!(
        client(&[FAPI1, hybrid, by_form]).response,
        form(ResponseType::CodeIdToken, ResponseMode::FormPost)
    );
    assert_eq!(
        client(&["response_mode = \"form_post.jwt\""]).response,
        form(ResponseType::Code, ResponseMode::FormPostJwt)
    );
    // One side signed, or both: stronger than the profile demands is always possible.
    let jarm = client(&[SECURITY, UNSIGNED, "response_mode = \"jwt\""]);
    assert!(jarm.response.response_mode.is_signed() && jarm.request_object_key.is_none());
    assert!(client(&[SECURITY, "signed_request_object = true"]).request_object_key.is_some());
    let dpop = client(&["sender_constraint = \"dpop\"", "#-tls_identity"]);
    assert_eq!(dpop.sender_constraint, SenderConstraint::Dpop);
    assert!(dpop.tls_identity.is_none() && dpop.dpop_key.is_none());
    let keyed = client(&["sender_constraint = \"dpop\"", "dpop_key = \"keys/dpop.pem\""]);
    assert!(keyed.dpop_key.is_some() && keyed.tls_identity.is_some());
}

#[test]
fn each_method_takes_what_it_needs_and_nothing_else() {
    let tls = "token_endpoint_auth_method = \"tls_client_auth\"";
    let basic = "token_endpoint_auth_method = \"client_secret_basic\"";
    let secret = "client_secret_file = \"keys/client-secret\"";
    let keyless = "#-client_assertion_key";
    assert!(matches!(client(&[tls, keyless]).authentication, ClientAuthentication::TlsClientAuth));
    let by_secret = client(&[OIDC, UNSIGNED, basic, secret, keyless, "#-tls_identity"]);
    let ClientAuthentication::ClientSecretBasic(text) = &by_secret.authentication else {
        panic!("{by_secret:?}");
    };
    assert_eq!(text.expose(), b"a secret: & 100 %");
    assert!(!format!("{by_secret:?}").contains("100"));

    let (place, told) = refused(&[tls]);
    assert_eq!(place, "client_assertion_key");
    assert!(told.contains("is not used"), "{told}");
    let bound = "sender_constraint = \"dpop\"";
    assert_eq!(refused(&[tls, keyless, bound, "#-tls_identity"]).0, "tls_identity");
    assert_eq!(refused(&["#-tls_identity"]).0, "tls_identity");
    assert_eq!(refused(&[OIDC, UNSIGNED, basic, keyless]).0, "client_secret_file");
    assert_eq!(refused(&[OIDC, UNSIGNED, secret]).0, "client_secret_file");
    assert_eq!(refused(&["dpop_key = \"keys/dpop.pem\""]).0, "dpop_key");
    assert_eq!(refused(&[keyless]).0, "client_assertion_key");
    assert_eq!(refused(&[UNSIGNED]).0, "request_object_key");
}

/// Whatever a profile demands, no other setting takes away; the clause is named.
#[test]
fn what_a_profile_demands_cannot_be_weakened() {
    for (lines, place, clause) in [
        (vec!["response_mode = \"query\""], "response_mode", "FAPI2-MS-5.4.2-1"),
        (vec!["response_type = \"code id_token\""], "response_type", "FAPI2-MS-5.4.2-1"),
        (vec!["signed_request_object = false"], "signed_request_object", "FAPI2-MS-5.3.2-1"),
        (vec!["sender_constraint = \"none\""], "sender_constraint", "FAPI2-SP-5.3.3.1-1"),
        (
            vec!["token_endpoint_auth_method = \"client_secret_basic\""],
            "token_endpoint_auth_method",
            "FAPI2-SP-5.3.3.1-2",
        ),
        (
            vec!["id_token_signed_response_alg = \"RS256\""],
            "id_token_signed_response_alg",
            "FAPI2-SP-5.4.1-1.2",
        ),
        (
            vec!["client_assertion_key = { file = \"keys/assertion.pem\", alg = \"RS256\" }"],
            "client_assertion_key",
            "FAPI2-SP-5.4.1-1.2",
        ),
        (vec![FAPI1, "sender_constraint = \"dpop\""], "sender_constraint", "FAPI1-ADV-5.2.3-1"),
        (
            vec![FAPI1, "token_endpoint_auth_method = \"client_secret_post\""],
            "token_endpoint_auth_method",
            "FAPI1-BASE-5.2.4-1",
        ),
        (vec![FAPI1, "response_mode = \"query\""], "response_mode", "FAPI1-ADV-5.2.2-2"),
        (
            vec![FAPI1, "signed_request_object = false"],
            "signed_request_object",
            "FAPI1-ADV-5.2.3-8",
        ),
        (
            vec![FAPI1, "userinfo_signed_response_alg = \"EdDSA\""],
            "userinfo_signed_response_alg",
            "FAPI1-ADV-8.6",
        ),
        (
            vec![FAPI1, "response_type = \"code id_token\"", "response_mode = \"query\""],
            "response_mode",
            "FAPI1-ADV-5.2.2-2",
        ),
        (
            vec![SECURITY, UNSIGNED, "response_type = \"code id_token\""],
            "response_type",
            "FAPI2-SP-5.3.3.2-1",
        ),
        (vec![OIDC, UNSIGNED, "response_type = \"code id_token\""], "response_type", "BCP-2.1.2"),
    ] {
        let (at, told) = refused(&lines);
        assert_eq!(at, place, "{lines:?}: {told}");
        assert!(told.contains(clause), "{lines:?}: {told}");
    }
}

/// FAPI1-ADV-5.2.3.1-1/2.
#[test]
fn a_signed_code_takes_openid() {
    let lines = [FAPI1, "response_type = \"code id_token\""];
    let text =
        text(&lines).replace("scopes = [\"openid\", \"accounts\"]", "scopes = [\"accounts\"]");
    let faults = folder().faults(&text, &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].path, "clients.portal.scopes");
}

#[test]
fn a_secret_file_holds_one_line() {
    let folder = folder();
    let lines = [
        OIDC,
        UNSIGNED,
        "#-client_assertion_key",
        "token_endpoint_auth_method = \"client_secret_post\"",
        "client_secret_file = \"keys/client-secret\"",
    ];
    for wrong in ["", "\n", "two\nlines\n", "b\u{7}ll", "clef\u{e9}"] {
        folder.secret("keys/client-secret", wrong.as_bytes());
        let faults = folder.faults(&text(&lines), &[]);
        assert_eq!(faults.len(), 1, "{wrong:?}");
        assert_eq!(faults[0].path, "clients.portal.client_secret_file", "{wrong:?}");
    }
}

/// A certificate that is not there cannot be shown to an upstream.
#[test]
fn a_route_presents_a_certificate_only_if_there_is_one() {
    let lines = ["sender_constraint = \"dpop\"", "#-tls_identity"];
    let text = text(&lines);
    let settings = folder().load(&text, &[]).unwrap();
    assert!(!settings.apps["portal"].routes[0].present_client_certificate);
    let asked = text.replace(
        "path = \"/api/accounts\"",
        "path = \"/api/accounts\"\npresent_client_certificate = true",
    );
    let faults = folder().faults(&asked, &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].path, "apps.portal.routes[0].present_client_certificate");
}

/// What comes encrypted must be signed inside, and there must be something to open it with.
#[test]
fn encryption_takes_keys_and_something_to_encrypt() {
    let keys = "decryption_keys = [\"keys/decryption.jwk\"]";
    let id_token = "id_token_encrypted_response_alg = \"ECDH-ES\"";
    let client = client(&[keys, id_token]);
    let policy = client.encryption.id_token.unwrap();
    assert_eq!((policy.alg.name(), policy.enc.name()), ("ECDH-ES", "A128CBC-HS256"));
    assert_eq!(client.encryption.decryption_keys.len(), 1);
    assert!(!format!("{:?}", client.encryption).contains("\"d\""));

    assert_eq!(refused(&[id_token]).0, "decryption_keys");
    assert_eq!(refused(&[keys]).0, "decryption_keys");
    assert_eq!(refused(&["decryption_keys = []", id_token]).0, "decryption_keys");
    for unknown in ["RSA1_5", "dir", "PBES2-HS256+A128KW", "A128KW", "ECDH-ES+A192KW"] {
        let line = format!("id_token_encrypted_response_alg = \"{unknown}\"");
        let faults = folder().faults(&text(&[&line]), &[]);
        assert_eq!(faults[0].path, "clients.portal.id_token_encrypted_response_alg", "{unknown}");
    }
    let enc_alone = "id_token_encrypted_response_enc = \"A256GCM\"";
    assert_eq!(refused(&[enc_alone]).0, "id_token_encrypted_response_enc");
    let userinfo = "userinfo_encrypted_response_alg = \"ECDH-ES\"";
    assert_eq!(refused(&[keys, userinfo]).0, "userinfo_encrypted_response_alg");
    let request = "request_object_encryption_alg = \"RSA-OAEP-256\"";
    let unsigned = [SECURITY, UNSIGNED, request];
    assert_eq!(refused(&unsigned).0, "request_object_encryption_alg");
}

/// FAPI2-MS-6.1.
#[test]
fn authorization_responses_are_not_encrypted_under_fapi2() {
    let keys = "decryption_keys = [\"keys/decryption.jwk\"]";
    let response = "authorization_encrypted_response_alg = \"ECDH-ES\"";
    let (place, told) = refused(&[keys, response]);
    assert_eq!(place, "authorization_encrypted_response_alg");
    assert!(told.contains("FAPI2-MS-6.1"), "{told}");
    assert!(client(&[FAPI1, keys, response]).encryption.authorization.is_some());
}

/// A pin on what is not signed would protect nothing, and neither would encrypting it.
#[test]
fn only_signed_responses_have_an_alg_to_pin() {
    let pin = "authorization_signed_response_alg = \"PS256\"";
    let hybrid = "response_type = \"code id_token\"";
    let keys = "decryption_keys = [\"keys/decryption.jwk\"]";
    let encrypted = "authorization_encrypted_response_alg = \"ECDH-ES\"";
    for lines in [&[SECURITY, UNSIGNED][..], &[OIDC, UNSIGNED], &[FAPI1, hybrid]] {
        let (place, told) = refused(&[lines, &[pin]].concat());
        assert_eq!(place, "authorization_signed_response_alg", "{lines:?}");
        assert!(told.contains("is not used"), "{told}");
    }
    for lines in [&[OIDC, UNSIGNED][..], &[FAPI1, hybrid]] {
        let (place, told) = refused(&[lines, &[keys, encrypted]].concat());
        assert_eq!(place, "authorization_encrypted_response_alg", "{lines:?}");
        assert!(told.contains("is not used"), "{told}");
    }
    assert!(client(&[pin]).authorization_signed_response_alg.is_some());
    let jarm = [OIDC, UNSIGNED, "response_mode = \"jwt\"", keys, encrypted];
    assert!(client(&jarm).encryption.authorization.is_some());
}

/// The example whose first route has these lines, too.
fn routed(lines: &[&str], route: &str) -> String {
    let path = "path = \"/api/accounts\"";
    text(lines).replace(path, &format!("{path}\n{route}"))
}

/// FAPI2-SP-5.3.3.1-1, FAPI1-ADV-5.2.3-1: what goes upstream is bound where the profile has it so.
#[test]
fn nothing_is_sent_as_a_bearer_token_where_tokens_are_bound() {
    let token = "token = \"introspection_bearer\"";
    for (lines, clause) in [
        (&[][..], "FAPI2-SP-5.3.3.1-1"),
        (&["sender_constraint = \"dpop\""], "FAPI2-SP-5.3.3.1-1"),
        (&[SECURITY, UNSIGNED], "FAPI2-SP-5.3.3.1-1"),
        (&[FAPI1], "FAPI1-ADV-5.2.3-1"),
    ] {
        let faults = folder().faults(&routed(lines, token), &[]);
        assert_eq!(faults.len(), 1, "{lines:?}: {faults:#?}");
        assert_eq!(faults[0].path, "apps.portal.routes[0].token");
        assert!(faults[0].message.contains(clause), "{faults:?}");
    }
    assert_eq!(folder().faults(&routed(&[OIDC, UNSIGNED], token), &[]), []);
    assert_eq!(folder().faults(&routed(&[], "token = \"introspection_jwt\""), &[]), []);
}

/// MTLS-3: a token bound to the certificate goes together with it.
#[test]
fn a_bound_token_does_not_go_without_its_certificate() {
    let never = "present_client_certificate = false";
    for source in [
        "token = \"user\"",
        "token = \"client_credentials\"\nscopes = [\"a\"]",
        "token = \"exchange\"\nexchange = { audience = \"a\" }",
    ] {
        let route = format!("{source}\n{never}");
        for lines in [&[][..], &[SECURITY, UNSIGNED], &[FAPI1]] {
            let faults = folder().faults(&routed(lines, &route), &[]);
            assert_eq!(faults.len(), 1, "{lines:?}, {source}: {faults:#?}");
            assert_eq!(faults[0].path, "apps.portal.routes[0].present_client_certificate");
            assert!(faults[0].message.contains("MTLS-3, FAPI"), "{faults:?}");
        }
        // Bound to a key, or to nothing.
        for lines in [&["sender_constraint = \"dpop\""][..], &[OIDC, UNSIGNED]] {
            assert_eq!(folder().faults(&routed(lines, &route), &[]), [], "{lines:?}, {source}");
        }
    }
    assert_eq!(folder().faults(&routed(&[], &format!("token = \"none\"\n{never}")), &[]), []);
    let intents = |further: &str| {
        format!(
            "{}\n[apps.portal.authorization.pay]\ndetails_from = \"https://p.example/{{intent}}\"\n\
             types = [\"a\"]\n{further}",
            text(&[])
        )
    };
    let token = "token = \"client_credentials\"\nscopes = [\"a\"]";
    let faults = folder().faults(&intents(&format!("{token}\n{never}")), &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].path, "apps.portal.authorization.pay.present_client_certificate");
    assert_eq!(folder().faults(&intents(never), &[]), []);
    for (further, presents) in [(token, true), ("", false)] {
        let settings = folder().load(&intents(further), &[]).unwrap();
        let Authorization::Intent(intent) = &settings.apps["portal"].authorizations["pay"] else {
            panic!("{further}");
        };
        assert_eq!(intent.present_client_certificate, presents, "{further}");
    }
}

/// INT-9701-4: the server's word on a token is for who shows that it comes from us.
#[test]
fn whatever_stands_in_for_a_token_goes_with_the_certificate_unless_told_otherwise() {
    for (route, presents) in [
        ("token = \"introspection_jwt\"", true),
        ("token = \"introspection_jwt\"\npresent_client_certificate = false", false),
        ("token = \"none\"", false),
        ("token = \"user\"", true),
    ] {
        let settings = folder().load(&routed(&[], route), &[]).unwrap();
        let presented = settings.apps["portal"].routes[0].present_client_certificate;
        assert_eq!(presented, presents, "{route}");
    }
}

/// OIDC-3.1.3.7-12/13, STEP-5: without an ID token nobody says how the user authenticated, or when.
#[test]
fn nothing_that_only_an_id_token_answers_is_demanded_without_one() {
    let without = |lines: &[&str], route: &str| {
        routed(lines, route).replace("[\"openid\", \"accounts\"]", "[\"accounts\"]")
    };
    let login =
        |line: &str| without(&[], "").replace("\norigin = ", &format!("\n{line}\norigin = "));
    let cases = [
        ("login.acr_values = [\"a\"]\nlogin.require_acr = true", "require_acr", "3.1.3.7-12"),
        ("login.max_age = \"1h\"", "max_age", "OIDC-3.1.3.7-13"),
        ("login.max_age = 0", "max_age", "OIDC-3.1.3.7-13"),
        ("login.allowed_parameters = [\"acr_values\"]", "allowed_parameters", "3.1.3.7-12"),
        ("login.allowed_parameters = [\"scope\", \"max_age\"]", "allowed_parameters", "3.1.3.7-13"),
        (
            "login.claims_parameter = { userinfo = { email = {} } }",
            "claims_parameter",
            "OIDC-3.1.2.1",
        ),
        (
            "login.claims_parameter = { id_token = { acr = { essential = true, value = \"a\" } } }",
            "claims_parameter",
            "OIDC-3.1.2.1",
        ),
    ];
    for (line, key, clause) in cases {
        let faults = folder().faults(&login(line), &[]);
        assert_eq!(faults.len(), 1, "{line}: {faults:#?}");
        assert_eq!(faults[0].path, format!("apps.portal.login.{key}"));
        assert!(faults[0].message.contains(clause), "{faults:?}");
        assert_eq!(
            folder().faults(&login(line).replace("[\"accounts\"]", "[\"openid\"]"), &[]),
            []
        );
    }
    // SES-7.1.2, SES-7.4: nor whose a session is.
    for key in ["max_per_subject = 1", "manage_max_age = \"10m\""] {
        let faults = folder().faults(&login(&format!("session.{key}")), &[]);
        assert_eq!(faults.len(), 1, "{key}: {faults:#?}");
        let name = key.split(' ').next().unwrap();
        assert_eq!(faults[0].path, format!("apps.portal.session.{name}"));
        assert!(faults[0].message.contains("openid"), "{faults:?}");
    }
    for (line, key) in [
        ("acr_values = [\"a\"]", "acr_values"),
        ("max_age = \"5m\"", "max_age"),
        ("step_up = true", "step_up"),
    ] {
        let faults = folder().faults(&without(&[], line), &[]);
        assert_eq!(faults.len(), 1, "{line}: {faults:#?}");
        assert_eq!(faults[0].path, format!("apps.portal.routes[0].{key}"));
        assert!(faults[0].message.contains("STEP-5"), "{faults:?}");
    }
    for (line, clause) in
        [("backchannel_logout = true", "BCL-2.7"), ("frontchannel_logout = true", "FCL-2")]
    {
        let faults = folder().faults(&login(line), &[]);
        assert_eq!(faults.len(), 1, "{line}: {faults:#?}");
        assert_eq!(faults[0].path, format!("apps.portal.{}", line.split(' ').next().unwrap()));
        assert!(faults[0].message.contains(clause), "{faults:?}");
        let with = login(line).replace("[\"accounts\"]", "[\"openid\"]");
        assert_eq!(folder().faults(&with, &[]), []);
    }
    let app = &folder().load(&without(&[], ""), &[]).unwrap().apps["portal"];
    assert!(!app.backchannel_logout && !app.frontchannel_logout);
    // A wish that nobody need answer; the page would hear of no demand it could meet.
    let wished = login("login.acr_values = [\"a\"]\nlogin.allowed_parameters = [\"prompt\"]");
    let settings = folder().load(&wished, &[]).unwrap();
    assert!(!settings.apps["portal"].routes[0].step_up);
}
