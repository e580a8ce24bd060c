//! Owns what we send to start a login: the request object, the client assertion, the URL the
//! browser is sent with. Must not know: keys, or how any of it is transported.

use serde_json::{Map, Value};
use url::Url;

use crate::clock::UnixTime;

use super::{pkce::CODE_CHALLENGE_METHOD, profile::Profile};

/// `typ` of a request object (FAPI2-MS-5.3.2-5).
pub const REQUEST_OBJECT_TYP: &str = "oauth-authz-req+jwt";
/// `typ` of a client assertion (PKJ-10070-4-typ).
pub const CLIENT_ASSERTION_TYP: &str = "client-authentication+jwt";
/// `client_assertion_type` in every authenticated request (PKJ-2.2).
pub const CLIENT_ASSERTION_TYPE_URN: &str =
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Seconds a client assertion lives (CLK-2).
pub const CLIENT_ASSERTION_LIFETIME: i64 = 60;
/// Most seconds a request object may live (CLK-2; FAPI2-MS-5.3.2-3/4 allows 3600).
pub const MAX_REQUEST_OBJECT_LIFETIME: i64 = 300;

/// An authorization request before it is signed. `response_type` is always `code`
/// (FAPI2-SP-5.3.3.2-1).
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// Who asks.
    pub client_id: String,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// What is asked for, in exactly this order.
    pub scope: String,
    /// Comes back in the response.
    pub state: String,
    /// Comes back in the ID token; at most 64 characters (FAPI2-SP-5.3.3.2-7).
    pub nonce: String,
    /// The challenge of [`super::CodeVerifier`], method S256.
    pub code_challenge: String,
    /// Authentication context classes, separated by spaces.
    pub acr_values: Option<String>,
    /// Seconds the authentication may be old.
    pub max_age: Option<u32>,
    /// Whether the user is asked again.
    pub prompt: Option<String>,
    /// How the server shows itself.
    pub display: Option<String>,
    /// Who will probably log in.
    pub login_hint: Option<String>,
    /// Preferred languages.
    pub ui_locales: Option<String>,
}

impl AuthorizationRequest {
    /// The claims of the signed request object: every parameter, and `iss`, `aud`, `nbf`, `exp`
    /// (FAPI2-MS-5.3.2-1..4). `aud` is the issuer string; there is no `sub`, so that the object
    /// can never pass for a client assertion (JAR-10.8); `max_age` is a number (JAR-4c).
    /// `lifetime` is in seconds, from 1 to [`MAX_REQUEST_OBJECT_LIFETIME`].
    pub fn request_object_claims(
        &self,
        issuer: &str,
        now: UnixTime,
        lifetime: i64,
        jti: &str,
        profile: &Profile,
    ) -> Map<String, Value> {
        let lifetime = lifetime.clamp(1, MAX_REQUEST_OBJECT_LIFETIME);
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        put("iss", self.client_id.as_str().into());
        put("aud", issuer.into());
        put("iat", now.as_i64().into());
        put("nbf", now.as_i64().into());
        put("exp", now.plus(lifetime).as_i64().into());
        put("jti", jti.into());
        put("client_id", self.client_id.as_str().into());
        put("response_type", "code".into());
        put("redirect_uri", self.redirect_uri.as_str().into());
        put("scope", self.scope.as_str().into());
        put("state", self.state.as_str().into());
        put("nonce", self.nonce.as_str().into());
        put("code_challenge", self.code_challenge.as_str().into());
        put("code_challenge_method", CODE_CHALLENGE_METHOD.into());
        if let Some(seconds) = self.max_age {
            put("max_age", seconds.into());
        }
        for (name, value) in [
            ("response_mode", profile.response_mode),
            ("acr_values", self.acr_values.as_deref()),
            ("prompt", self.prompt.as_deref()),
            ("display", self.display.as_deref()),
            ("login_hint", self.login_hint.as_deref()),
            ("ui_locales", self.ui_locales.as_deref()),
        ] {
            if let Some(value) = value {
                put(name, value.into());
            }
        }
        claims
    }
}

impl std::fmt::Debug for AuthorizationRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AuthorizationRequest")
            .field("client_id", &self.client_id)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// The URL the browser is sent with: the endpoint, its own query kept, and exactly `client_id` and
/// `request_uri` (FAPI2-SP-5.3.3.2-6).
pub fn authorization_url(endpoint: &Url, client_id: &str, request_uri: &str) -> Url {
    let mut url = endpoint.clone();
    url.query_pairs_mut()
        .append_pair("client_id", client_id)
        .append_pair("request_uri", request_uri);
    url
}

/// The claims of a client assertion: `iss` and `sub` are the client, `aud` is the issuer as one
/// string whichever endpoint it goes to (FAPI2-SP-5.3.3.1-5, PKJ-10070-4-aud), `exp` a minute
/// ahead. `jti` must be new for every attempt (PKJ-9-jti). There is no `nbf`: a server whose clock
/// is behind would refuse it for nothing.
pub fn client_assertion_claims(
    client_id: &str,
    issuer: &str,
    now: UnixTime,
    jti: &str,
) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert("iss".into(), client_id.into());
    claims.insert("sub".into(), client_id.into());
    claims.insert("aud".into(), issuer.into());
    claims.insert("iat".into(), now.as_i64().into());
    claims.insert("exp".into(), now.plus(CLIENT_ASSERTION_LIFETIME).as_i64().into());
    claims.insert("jti".into(), jti.into());
    claims
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::ProfileName;

    const NOW: UnixTime = UnixTime::new(1_800_000_000);

    fn request() -> AuthorizationRequest {
        AuthorizationRequest {
            client_id: "bff".into(),
            redirect_uri: "https://app.example/".into(),
            scope: "openid accounts".into(),
            state: "st".into(),
            nonce: "no".into(),
            code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into(),
            acr_values: None,
            max_age: None,
            prompt: None,
            display: None,
            login_hint: None,
            ui_locales: None,
        }
    }

    fn claims(request: &AuthorizationRequest, lifetime: i64, profile: ProfileName) -> Value {
        request
            .request_object_claims("https://as.example/t/", NOW, lifetime, "id1", profile.profile())
            .into()
    }

    /// PKCE-4.2/4.3, BCP-2.1.2.
    #[test]
    fn golden_request_object() {
        let expected = json!({
            "iss": "bff", "aud": "https://as.example/t/", "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_000_060,
            "jti": "id1", "client_id": "bff", "response_type": "code", "response_mode": "jwt",
            "redirect_uri": "https://app.example/", "scope": "openid accounts", "state": "st", "nonce": "no",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256",
        });
        assert_eq!(claims(&request(), 60, ProfileName::Fapi2MessageSigning), expected);
    }

    #[test]
    fn golden_request_object_with_every_parameter() {
        let full = AuthorizationRequest {
            acr_values: Some("high low".into()),
            max_age: Some(0),
            prompt: Some("login".into()),
            display: Some("page".into()),
            login_hint: Some("Åsa".into()),
            ui_locales: Some("nb".into()),
            ..request()
        };
        let mut expected = claims(&request(), 60, ProfileName::Fapi2MessageSigning);
        for (name, value) in [
            ("acr_values", json!("high low")),
            ("max_age", json!(0)),
            ("prompt", json!("login")),
            ("display", json!("page")),
            ("login_hint", json!("Åsa")),
            ("ui_locales", json!("nb")),
        ] {
            expected[name] = value;
        }
        let claims = claims(&full, 60, ProfileName::Fapi2MessageSigning);
        assert_eq!(claims, expected);
        assert!(claims["max_age"].is_u64(), "JAR-4c");
    }

    /// FAPI2-MS-5.3.2-3/4, CLK-2: no setting makes a longer-lived request object.
    #[test]
    fn request_object_lifetime_is_bounded() {
        for (asked, lived) in
            [(i64::MIN, 1), (0, 1), (1, 1), (300, 300), (301, 300), (i64::MAX, 300)]
        {
            let claims = claims(&request(), asked, ProfileName::Fapi2MessageSigning);
            assert_eq!(claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap(), lived);
        }
    }

    /// FAPI2-MS-5.3.2-5, PKJ-10070-4-typ, PKJ-2.2: registered names.
    #[test]
    fn types_are_the_registered_ones() {
        assert_eq!(REQUEST_OBJECT_TYP, "oauth-authz-req+jwt");
        assert_eq!(CLIENT_ASSERTION_TYP, "client-authentication+jwt");
        assert_eq!(
            CLIENT_ASSERTION_TYPE_URN,
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
    }

    /// JAR-10.8, JAR-4a.
    #[test]
    fn a_request_object_cannot_pass_for_a_client_assertion_or_nest_another() {
        for profile in ProfileName::ALL {
            let claims = claims(&request(), 60, profile);
            for absent in ["sub", "request", "request_uri", "client_assertion"] {
                assert!(claims.get(absent).is_none(), "{absent}");
            }
        }
        assert_ne!(REQUEST_OBJECT_TYP, CLIENT_ASSERTION_TYP);
    }

    #[test]
    fn response_mode_follows_the_profile() {
        let mode = |profile| claims(&request(), 60, profile).get("response_mode").cloned();
        assert_eq!(mode(ProfileName::Fapi2MessageSigning), Some(json!("jwt")));
        assert_eq!(mode(ProfileName::Fapi2Security), None);
    }

    /// FAPI2-SP-5.3.3.1-5, PKJ-3-exp, CLK-2: one string, the issuer byte for byte.
    #[test]
    fn golden_client_assertion() {
        let claims = client_assertion_claims("bff", "https://as.example/t/", NOW, "id1");
        let expected = json!({"iss": "bff", "sub": "bff", "aud": "https://as.example/t/", "iat": 1_800_000_000,
            "exp": 1_800_000_060, "jti": "id1"});
        assert_eq!(Value::Object(claims), expected);
    }

    /// FAPI2-SP-5.3.3.2-6, JAR-5.
    #[test]
    fn golden_authorization_url() {
        let uri = "urn:ietf:params:oauth:request_uri:a b&c=d";
        let plain =
            authorization_url(&Url::parse("https://as.example/authorize").unwrap(), "b&f", uri);
        assert_eq!(
            plain.as_str(),
            "https://as.example/authorize?client_id=b%26f&request_uri=urn%3Aietf%3Aparams%3Aoauth%3Arequest_uri%3Aa+b%26c%3Dd"
        );
        let tenant = Url::parse("https://as.example/authorize?tenant=a%20b").unwrap();
        let with_query = authorization_url(&tenant, "bff", "urn:x");
        assert_eq!(
            with_query.as_str(),
            "https://as.example/authorize?tenant=a%20b&client_id=bff&request_uri=urn%3Ax"
        );
    }
}
