//! Any bytes as an answer of the AS, at every endpoint, and as the browser's side of a response.
#![no_main]

use fapi_bff::protocol::{
    Answer, Asked, Binding, ClientAuthMethod, Metadata, Needs, ProfileName, ResponseParameters,
    TokenType, par_response, token_response, unverified_issuer, unverified_state, userinfo,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, Option<&str>, Option<&str>, &[u8])| {
    let (status, content_type, retry_after, body) = input;
    let answer = Answer { status, content_type, retry_after, body };
    if let Ok(pushed) = par_response(&answer) {
        assert_eq!(status, 201);
        assert!(pushed.expires_in > 0);
    }
    let (token_type, scope) = (TokenType::Bearer, "openid accounts");
    let asked = Asked { token_type, scope, details: None, enrichable: &[] };
    if let Ok(tokens) = token_response(&answer, &asked) {
        assert_eq!(status, 200);
        assert!(tokens.scope.split(' ').all(|scope| ["openid", "accounts"].contains(&scope)));
    }
    if let Ok(claims) = userinfo(&answer, "alice") {
        assert_eq!(claims["sub"], "alice");
    }
    let needs = Needs {
        client_auth: ClientAuthMethod::PrivateKeyJwt,
        client_assertion_alg: None,
        request_object_alg: None,
        binding: Binding::Mtls,
        id_token_alg: None,
        authorization_response_alg: None,
    };
    let profile = ProfileName::Fapi2MessageSigning.profile();
    if let Ok(metadata) = Metadata::accept(body, "https://as.example/", profile, &needs) {
        assert_eq!(metadata.issuer(), "https://as.example/");
        assert_eq!(metadata.jwks_uri().scheme(), "https");
    }
    if let Ok(parameters) = ResponseParameters::parse_form(body) {
        if let Some(response) = parameters.response() {
            let _ = (unverified_issuer(response), unverified_state(response));
        }
    }
});
