//! What an ecosystem takes of the choices a profile leaves.

use super::{
    Folder,
    clients::{client, folder, refused, text},
};
use crate::{
    config::{Client, Fault},
    ecosystem::EcosystemName,
    profile::{ClientAuthMethod, Par, ProfileName, ResponseMode, ResponseType},
};

const UK: &str = "ecosystem = \"openbanking-uk\"\nprofile = \"fapi1-advanced\"";
const BRAZIL: &str = "ecosystem = \"openbanking-brazil\"\nprofile = \"fapi1-advanced\"";
const CDR: &str = "ecosystem = \"consumerdataright-au\"\nprofile = \"fapi1-advanced\"";
const KEYS: &str = "decryption_keys = [\"keys/decryption.jwk\"]";
const TLS_AUTH: &str = "token_endpoint_auth_method = \"tls_client_auth\"";

#[test]
fn without_one_a_client_has_its_profile_as_it_is() {
    let plain = client(&[]);
    assert_eq!(plain.ecosystem, None);
    assert!(std::ptr::eq(plain.rules(), ProfileName::Fapi2MessageSigning.profile()));
}

#[test]
fn each_ecosystem_has_its_defaults() {
    for (lines, name) in [
        (UK, EcosystemName::OpenBankingUk),
        (BRAZIL, EcosystemName::OpenBankingBrazil),
        (CDR, EcosystemName::ConsumerDataRightAu),
    ] {
        let client = client(&[lines]);
        assert_eq!(client.ecosystem, Some(name));
        assert_eq!(client.rules().name, ProfileName::Fapi1Advanced);
        assert_eq!(client.response.response_type, ResponseType::Code);
        assert_eq!(client.response.response_mode, ResponseMode::Jwt);
        assert_eq!(client.authentication.method(), ClientAuthMethod::PrivateKeyJwt);
        assert_eq!(client.use_mtls_endpoint_aliases, name == EcosystemName::OpenBankingBrazil);
        let pushed = client.rules().par == Par::Required;
        assert_eq!(pushed, name != EcosystemName::OpenBankingUk, "{name}");
    }
}

#[test]
fn what_an_ecosystem_leaves_open_can_be_chosen() {
    let hybrid = "response_type = \"code id_token\"";
    for lines in [UK, BRAZIL] {
        assert_eq!(client(&[lines, hybrid]).response.response_type, ResponseType::CodeIdToken);
        let by_tls = client(&[lines, TLS_AUTH, "#-client_assertion_key"]);
        assert_eq!(by_tls.authentication.method(), ClientAuthMethod::TlsClientAuth);
    }
    let security = UK.replace("fapi1-advanced", "fapi2-security");
    assert_eq!(
        client(&[&security, "#-request_object_key"]).rules().name,
        ProfileName::Fapi2Security
    );
    let alone = "ecosystem = \"openbanking-uk\"";
    assert_eq!(client(&[alone]).rules().name, ProfileName::Fapi2MessageSigning);

    // Brazil's pair goes without saying.
    let encrypted = client(&[BRAZIL, KEYS, "id_token_encrypted_response_alg = \"RSA-OAEP\""]);
    let pair = encrypted.encryption.id_token.unwrap();
    assert_eq!((pair.alg.name(), pair.enc.name()), ("RSA-OAEP", "A256GCM"));
    assert_eq!(encrypted.rules().par, Par::Required);
    // OFB-FAPI-1 ID3 5.2.3-3: what nobody else can read need not be pushed.
    let unreadable = client(&[BRAZIL, "request_object_encryption_alg = \"RSA-OAEP\""]);
    assert_eq!(unreadable.rules().par, Par::WhenAdvertised);
    assert_eq!(unreadable.rules().clause("jws_algs"), "OFB-FAPI-1 ID3 6.2-1");
}

/// Whatever an ecosystem demands, no other setting takes away; its document is named.
#[test]
fn what_an_ecosystem_demands_cannot_be_weakened() {
    let self_signed = "token_endpoint_auth_method = \"self_signed_tls_client_auth\"";
    for (lines, place, clause) in [
        (vec![UK, self_signed], "token_endpoint_auth_method", "OBL DCR 3.3"),
        (
            vec!["ecosystem = \"openbanking-uk\"", "id_token_signed_response_alg = \"EdDSA\""],
            "id_token_signed_response_alg",
            "OBL DCR 3.3",
        ),
        (
            vec![BRAZIL, "id_token_signed_response_alg = \"ES256\""],
            "id_token_signed_response_alg",
            "OFB-FAPI-1 ID3 6.2-1",
        ),
        (
            vec![
                BRAZIL,
                "client_assertion_key = { file = \"keys/assertion.pem\", alg = \"ES256\" }",
            ],
            "client_assertion_key",
            "OFB-FAPI-1 ID3 6.2-1",
        ),
        (
            vec![BRAZIL, "use_mtls_endpoint_aliases = false"],
            "use_mtls_endpoint_aliases",
            "OFB-DCR 6.2-3",
        ),
        (
            vec![BRAZIL, KEYS, "id_token_encrypted_response_alg = \"RSA-OAEP-256\""],
            "id_token_encrypted_response_alg",
            "OFB-FAPI-1 ID3 6.2.1-1",
        ),
        (
            vec![
                BRAZIL,
                KEYS,
                "id_token_encrypted_response_alg = \"RSA-OAEP\"",
                "id_token_encrypted_response_enc = \"A128GCM\"",
            ],
            "id_token_encrypted_response_enc",
            "OFB-FAPI-1 ID3 6.2.1-1",
        ),
        (
            vec![BRAZIL, "request_object_encryption_alg = \"ECDH-ES\""],
            "request_object_encryption_alg",
            "OFB-FAPI-1 ID3 6.2.1-1",
        ),
        (
            vec![CDR, "response_type = \"code id_token\""],
            "response_type",
            "CDS Authentication Flows",
        ),
        (vec![CDR, TLS_AUTH], "token_endpoint_auth_method", "CDS Client Authentication"),
        // What the profile itself demands is demanded still.
        (vec![CDR, "sender_constraint = \"dpop\""], "sender_constraint", "FAPI1-ADV-5.2.3-1"),
        (
            vec!["ecosystem = \"openbanking-brazil\""],
            "ecosystem",
            "does not go with fapi2-message-signing (OFB-FAPI-1 ID3 5.2.3) | set profile = \"fapi1-advanced\"",
        ),
        (
            vec![
                "ecosystem = \"consumerdataright-au\"",
                "profile = \"fapi2-security\"",
                "#-request_object_key",
            ],
            "ecosystem",
            "does not go with fapi2-security (CDS",
        ),
        (
            vec!["ecosystem = \"openbanking-uk\"", "profile = \"oidc\"", "#-request_object_key"],
            "ecosystem",
            "does not go with oidc (OBL RW 4.0.1",
        ),
    ] {
        let (at, told) = refused(&lines);
        assert_eq!(at, place, "{lines:?}: {told}");
        assert!(told.contains(clause), "{lines:?}: {told}");
    }
    assert_eq!(refused(&["ecosystem = \"openbanking\""]).0, "ecosystem");
}

/// The client's lines, and what stands in the app's login.
fn with_login(folder: &Folder, lines: &[&str], login: &str) -> Result<Client, Vec<Fault>> {
    let text = format!("{}\n[apps.portal.login]\n{login}\n", text(lines));
    match folder.load(&text, &[]) {
        Ok(settings) => Ok(settings.clients["portal"].clone()),
        Err(faults) => Err(faults.iter().cloned().collect()),
    }
}

#[test]
fn an_app_asks_for_what_the_ecosystem_knows() {
    let folder = folder();
    for (lines, known) in [
        (UK, "urn:openbanking:psd2:sca"),
        (BRAZIL, "urn:brasil:openbanking:loa3"),
        (CDR, "urn:cds.au:cdr:2"),
    ] {
        assert!(with_login(&folder, &[lines], &format!("acr_values = [\"{known}\"]")).is_ok());
        let both = format!("acr_values = [\"{known}\", \"gold\"]");
        let faults = with_login(&folder, &[lines], &both).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert_eq!(faults[0].path, "apps.portal.login.acr_values");
        assert!(faults[0].message.contains("`gold`") && faults[0].message.contains('('));
        assert!(faults[0].remedy.contains(known));
    }
    assert!(with_login(&folder, &[], "acr_values = [\"gold\"]").is_ok());
}

#[test]
fn consents_are_named_where_requests_name_them() {
    let folder = folder();
    let named = "consent_parameter = true";
    for lines in [UK, BRAZIL] {
        assert!(with_login(&folder, &[lines], named).is_ok());
        assert!(with_login(&folder, &[lines], "consent_parameter = false").is_ok());
    }
    for lines in [vec![], vec![CDR]] {
        let faults = with_login(&folder, &lines, named).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert_eq!(faults[0].path, "apps.portal.login.consent_parameter");
        assert!(faults[0].message.contains("is not used"));
    }
    // A claim needs an ID token to come back in; a scope does not.
    let scopes = ("scopes = [\"openid\", \"accounts\"]", "scopes = [\"accounts\"]");
    let text =
        format!("{}\n[apps.portal.login]\n{named}\n", text(&[UK])).replace(scopes.0, scopes.1);
    let faults = folder.faults(&text, &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(faults[0].message.contains("openbanking_intent_id"));
    assert_eq!(folder.faults(&text.replace("openbanking-uk", "openbanking-brazil"), &[]), []);
}
