//! Owns what we send to start a login: the request object, the client assertion, the URL the
//! browser is sent with. Must not know: keys, or how any of it is transported.

use serde_json::{Map, Value};
use url::Url;

use crate::{clock::UnixTime, profile::ResponseForm};

use super::{pkce::CODE_CHALLENGE_METHOD, rar::AuthorizationDetails};

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

/// An authorization request before it is signed or sent.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// Who asks.
    pub client_id: String,
    /// The shape of the answer.
    pub response: ResponseForm,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// What is asked for, in exactly this order.
    pub scope: String,
    /// Comes back in the response.
    pub state: String,
    /// Comes back in the ID token; at most 64 characters (FAPI2-SP-5.3.3.2-7). None where no ID token
    /// is asked for.
    pub nonce: Option<String>,
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
    /// Thumbprint of the key the code is to be bound to (DPOP-10.1).
    pub dpop_jkt: Option<String>,
    /// Claims asked for one by one (OpenID Connect Core §5.5).
    pub claims: Option<Map<String, Value>>,
    /// What is to be allowed, in detail (RFC 9396).
    pub authorization_details: Option<AuthorizationDetails>,
    /// The APIs the tokens are for (RFC 8707); absolute URIs without fragment.
    pub resource: Vec<String>,
}

impl AuthorizationRequest {
    /// Every parameter with its JSON type: `max_age` a number, `claims` an object,
    /// `authorization_details` an array, `resource` an array if there are several (JAR-4c).
    fn parameters(&self) -> Map<String, Value> {
        let mut parameters = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                parameters.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        put("client_id", Some(self.client_id.as_str().into()));
        put("response_type", Some(self.response.response_type.name().into()));
        put("response_mode", self.response.asked_mode().map(Value::from));
        put("redirect_uri", Some(self.redirect_uri.as_str().into()));
        put("scope", Some(self.scope.as_str().into()));
        put("state", Some(self.state.as_str().into()));
        put("nonce", text(&self.nonce));
        put("code_challenge", Some(self.code_challenge.as_str().into()));
        put("code_challenge_method", Some(CODE_CHALLENGE_METHOD.into()));
        put("acr_values", text(&self.acr_values));
        put("max_age", self.max_age.map(Value::from));
        put("prompt", text(&self.prompt));
        put("display", text(&self.display));
        put("login_hint", text(&self.login_hint));
        put("ui_locales", text(&self.ui_locales));
        put("dpop_jkt", text(&self.dpop_jkt));
        put("claims", self.claims.clone().map(Value::Object));
        put(
            "authorization_details",
            self.authorization_details.as_ref().map(|details| details.to_values().into()),
        );
        put(
            "resource",
            match self.resource.as_slice() {
                [] => None,
                [only] => Some(only.as_str().into()),
                several => Some(several.into()),
            },
        );
        parameters
    }

    /// The claims of the signed request object: every parameter, and `iss`, `aud`, `nbf`, `exp`
    /// (FAPI2-MS-5.3.2-1..4). `aud` is the issuer string; there is no `sub`, so that the object
    /// can never pass for a client assertion (JAR-10.8).
    /// `lifetime` is in seconds, from 1 to [`MAX_REQUEST_OBJECT_LIFETIME`].
    pub fn request_object_claims(
        &self,
        issuer: &str,
        now: UnixTime,
        lifetime: i64,
        jti: &str,
    ) -> Map<String, Value> {
        let lifetime = lifetime.clamp(1, MAX_REQUEST_OBJECT_LIFETIME);
        let mut claims = self.parameters();
        let mut put = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        put("iss", self.client_id.as_str().into());
        put("aud", issuer.into());
        put("iat", now.as_i64().into());
        put("nbf", now.as_i64().into());
        put("exp", now.plus(lifetime).as_i64().into());
        put("jti", jti.into());
        claims
    }

    /// The parameters as text, for a form or a query: JSON stays JSON, several `resource`s are
    /// repeated (RFC 8707 §2, RFC 9396 §3).
    pub fn form(&self) -> Vec<(String, String)> {
        let mut form = Vec::new();
        for (name, value) in self.parameters() {
            match value {
                Value::String(text) => form.push((name, text)),
                Value::Array(items) if name == "resource" => {
                    let texts = items.iter().filter_map(Value::as_str);
                    form.extend(texts.map(|text| (name.clone(), text.to_owned())));
                }
                other => form.push((name, other.to_string())),
            }
        }
        form
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

/// The URL the browser is sent with a request object: the endpoint, its own query kept, the object,
/// and of its claims exactly those that OpenID Connect Core §6.1 wants beside it (FAPI1-ADV-5.2.3-9).
pub fn signed_authorization_url(
    endpoint: &Url,
    request: &AuthorizationRequest,
    object: &str,
) -> Url {
    let mut url = endpoint.clone();
    url.query_pairs_mut()
        .append_pair("client_id", &request.client_id)
        .append_pair("response_type", request.response.response_type.name())
        .append_pair("scope", &request.scope)
        .append_pair("request", object);
    url
}

/// The URL the browser is sent with an unsigned request: the endpoint, its own query kept, and every
/// parameter.
pub fn plain_authorization_url(endpoint: &Url, request: &AuthorizationRequest) -> Url {
    let mut url = endpoint.clone();
    url.query_pairs_mut().extend_pairs(request.form());
    url
}

/// The URL the browser is sent with a pushed request: the endpoint, its own query kept, and exactly
/// `client_id` and `request_uri` (FAPI2-SP-5.3.3.2-6).
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
    use crate::profile::{ProfileName, ResponseMode, ResponseType};

    const NOW: UnixTime = UnixTime::new(1_800_000_000);

    fn request() -> AuthorizationRequest {
        AuthorizationRequest {
            client_id: "bff".into(),
            response: ProfileName::Fapi2MessageSigning.profile().responses[0],
            redirect_uri: "https://app.example/".into(),
            scope: "openid accounts".into(),
            state: "st".into(),
            nonce: Some("no".into()),
            code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into(),
            acr_values: None,
            max_age: None,
            prompt: None,
            display: None,
            login_hint: None,
            ui_locales: None,
            dpop_jkt: None,
            claims: None,
            authorization_details: None,
            resource: Vec::new(),
        }
    }

    fn payment() -> AuthorizationDetails {
        AuthorizationDetails::read(&json!([{"type": "payment"}])).unwrap()
    }

    fn claims(request: &AuthorizationRequest, lifetime: i64) -> Value {
        request.request_object_claims("https://as.example/t/", NOW, lifetime, "id1").into()
    }

    fn asking(response_type: ResponseType, response_mode: ResponseMode) -> AuthorizationRequest {
        let response = ResponseForm { response_type, response_mode };
        AuthorizationRequest { response, ..request() }
    }

    /// FAPI1-BASE-5.2.3-1/2, PKCE-4.2/4.3, BCP-2.1.2.
    #[test]
    fn golden_request_object() {
        let expected = json!({
            "iss": "bff", "aud": "https://as.example/t/", "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_000_060,
            "jti": "id1", "client_id": "bff", "response_type": "code", "response_mode": "jwt",
            "redirect_uri": "https://app.example/", "scope": "openid accounts", "state": "st", "nonce": "no",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256",
        });
        assert_eq!(claims(&request(), 60), expected);
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
            dpop_jkt: Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".into()),
            claims: json!({"id_token": {"acr": {"essential": true}}}).as_object().cloned(),
            authorization_details: Some(payment()),
            resource: vec!["https://a.example/".into(), "https://b.example/".into()],
            ..request()
        };
        let mut expected = claims(&request(), 60);
        for (name, value) in [
            ("acr_values", json!("high low")),
            ("max_age", json!(0)),
            ("prompt", json!("login")),
            ("display", json!("page")),
            ("login_hint", json!("Åsa")),
            ("ui_locales", json!("nb")),
            ("dpop_jkt", json!("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I")),
            ("claims", json!({"id_token": {"acr": {"essential": true}}})),
            ("authorization_details", json!([{"type": "payment"}])),
            ("resource", json!(["https://a.example/", "https://b.example/"])),
        ] {
            expected[name] = value;
        }
        let claims = claims(&full, 60);
        assert_eq!(claims, expected);
        assert!(claims["max_age"].is_u64(), "JAR-4c");
    }

    /// FAPI1-ADV-5.2.3-10/11/14, FAPI2-MS-5.3.2-3/4, CLK-2: no setting makes a longer-lived request
    /// object.
    #[test]
    fn request_object_lifetime_is_bounded() {
        for (asked, lived) in
            [(i64::MIN, 1), (0, 1), (1, 1), (300, 300), (301, 300), (i64::MAX, 300)]
        {
            let claims = claims(&request(), asked);
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
        let claims = claims(&request(), 60);
        for absent in ["sub", "request", "request_uri", "client_assertion"] {
            assert!(claims.get(absent).is_none(), "{absent}");
        }
        assert_ne!(REQUEST_OBJECT_TYP, CLIENT_ASSERTION_TYP);
    }

    /// FAPI1-ADV-5.2.2-2: the default mode of a type goes without saying.
    #[test]
    fn type_and_mode_are_those_of_the_answer_asked_for() {
        let asked = |request: &AuthorizationRequest| {
            let claims = claims(request, 60);
            (claims["response_type"].clone(), claims.get("response_mode").cloned())
        };
        for (request, response_type, mode) in [
            (request(), "code", Some(json!("jwt"))),
            (asking(ResponseType::Code, ResponseMode::Query), "code", None),
            (asking(ResponseType::CodeIdToken, ResponseMode::Fragment), "code id_token", None),
            (
                asking(ResponseType::CodeIdToken, ResponseMode::FormPost),
                "code id_token",
                Some(json!("form_post")),
            ),
        ] {
            assert_eq!(asked(&request), (json!(response_type), mode));
        }
    }

    /// Without OpenID Connect there is no nonce.
    #[test]
    fn a_request_without_nonce_has_none() {
        let oauth = AuthorizationRequest { nonce: None, ..request() };
        assert!(claims(&oauth, 60).get("nonce").is_none());
        assert!(oauth.form().iter().all(|(name, _)| name != "nonce"));
    }

    /// JAR-4c: the same parameters, as text.
    #[test]
    fn golden_form() {
        let request = AuthorizationRequest {
            max_age: Some(0),
            authorization_details: Some(payment()),
            resource: vec!["https://a.example/".into(), "https://b.example/".into()],
            ..asking(ResponseType::Code, ResponseMode::Query)
        };
        let expected = [
            ("authorization_details", r#"[{"type":"payment"}]"#),
            ("client_id", "bff"),
            ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            ("code_challenge_method", "S256"),
            ("max_age", "0"),
            ("nonce", "no"),
            ("redirect_uri", "https://app.example/"),
            ("resource", "https://a.example/"),
            ("resource", "https://b.example/"),
            ("response_type", "code"),
            ("scope", "openid accounts"),
            ("state", "st"),
        ];
        let mut form = request.form();
        form.sort();
        let form: Vec<_> = form.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(form, expected);
    }

    /// FAPI1-ADV-5.2.3-9: exactly those duplicates, nothing else outside the object.
    #[test]
    fn golden_url_of_a_signed_request_by_value() {
        let endpoint = Url::parse("https://as.example/authorize?tenant=a").unwrap();
        let request = asking(ResponseType::CodeIdToken, ResponseMode::Fragment);
        assert_eq!(
            signed_authorization_url(&endpoint, &request, "a.b.c").as_str(),
            "https://as.example/authorize?tenant=a&client_id=bff&response_type=code+id_token&scope=openid+accounts&request=a.b.c"
        );
    }

    #[test]
    fn golden_url_of_a_plain_request() {
        let endpoint = Url::parse("https://as.example/authorize").unwrap();
        let url =
            plain_authorization_url(&endpoint, &asking(ResponseType::Code, ResponseMode::Query));
        let pairs: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs.len(), 8);
        assert_eq!(pairs["code_challenge_method"], "S256");
        assert_eq!(pairs["redirect_uri"], "https://app.example/");
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
