//! A client written by hand, one call per protocol step, every token editable before it is sent.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use fapi_bff_conformance::{
    api::{ApiConfig, SampleApi},
    as_double::{AsConfig, AsDouble, Check, ClientRegistration, Endpoint, rules},
    jws::{self, Object, SigningKey, random_token, sha256_b64},
    pki::{Identity, Pki},
    suite::verdict::Severity,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use url::{Url, form_urlencoded};

pub(crate) const CLIENT: &str = "client-1";
pub(crate) const OTHER: &str = "client-2";
pub(crate) const REDIRECT_URI: &str = "https://app.localhost:8443/callback";
pub(crate) const LOGGED_OUT: &str = "https://app.localhost:8443/bye";
pub(crate) const START: i64 = 1_800_000_000;

pub(crate) struct World {
    pub(crate) pki: Pki,
    pub(crate) double: AsDouble,
    pub(crate) api: SampleApi,
    clock: Arc<AtomicI64>,
    pub(crate) http: reqwest::Client,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn location(&self) -> Url {
        Url::parse(self.headers["location"].to_str().unwrap()).unwrap()
    }
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    let attempt = async {
        let response = request.send().await?;
        Ok::<_, reqwest::Error>(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?.to_vec(),
        })
    };
    timeout(Duration::from_secs(20), attempt).await.unwrap().unwrap()
}

pub(crate) fn object(value: &Value) -> Object {
    value.as_object().unwrap().clone()
}

pub(crate) type Form = Vec<(String, String)>;

pub(crate) fn form(pairs: &[(&str, &str)]) -> Form {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut AsConfig)) -> Self {
        let pki = Pki::generate(CLIENT).unwrap();
        let clock = Arc::new(AtomicI64::new(START));
        let registration = |id| ClientRegistration::from_pki(&pki, id, REDIRECT_URI, LOGGED_OUT);
        let clients = vec![registration(CLIENT).unwrap(), registration(OTHER).unwrap()];
        let mut config = AsConfig::new(&pki, clients);
        let now = Arc::clone(&clock);
        config.now = Arc::new(move || now.load(Ordering::SeqCst));
        adjust(&mut config);
        let double = AsDouble::start(config).await.unwrap();
        let api = SampleApi::start(ApiConfig::new(&pki), double.token_state()).await.unwrap();
        let mut resolve = double.resolve();
        resolve.extend(api.resolve());
        let http = pki.http_client(Some(&pki.client_tls), &resolve).unwrap();
        Self { pki, double, api, clock, http }
    }

    fn resolve(&self) -> Vec<(String, SocketAddr)> {
        let mut resolve = self.double.resolve();
        resolve.extend(self.api.resolve());
        resolve
    }

    pub(crate) fn http_as(&self, identity: Option<&Identity>) -> reqwest::Client {
        self.pki.http_client(identity, &self.resolve()).unwrap()
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn assertion_claims(&self, client_id: &str) -> Object {
        object(&json!({
            "iss": client_id, "sub": client_id, "aud": self.double.issuer(),
            "jti": random_token(), "iat": self.now(), "exp": self.now() + 60,
        }))
    }

    pub(crate) fn sign(key: &SigningKey, typ: Option<&str>, claims: &Object) -> String {
        key.sign_jws(&key.header(typ), claims).unwrap()
    }

    pub(crate) fn assertion(&self, client_id: &str) -> String {
        let claims = self.assertion_claims(client_id);
        Self::sign(&self.pki.client_assertion, None, &claims)
    }

    pub(crate) fn authentication(assertion: &str) -> Form {
        form(&[
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ])
    }

    pub(crate) fn request_claims(&self, client_id: &str, verifier: &str) -> Object {
        object(&json!({
            "iss": client_id, "aud": self.double.issuer(), "client_id": client_id,
            "nbf": self.now(), "iat": self.now(), "exp": self.now() + 300, "jti": random_token(),
            "response_type": "code", "response_mode": "jwt", "redirect_uri": REDIRECT_URI,
            "scope": "openid profile email accounts", "state": "the-state", "nonce": "the-nonce",
            "code_challenge": sha256_b64(verifier.as_bytes()), "code_challenge_method": "S256",
        }))
    }

    pub(crate) fn request_object(&self, claims: &Object) -> String {
        let typ = Some("oauth-authz-req+jwt");
        Self::sign(&self.pki.request_object, typ, claims)
    }

    /// A correct PAR form for these request-object claims.
    pub(crate) fn par_form(&self, client_id: &str, claims: &Object) -> Form {
        let mut form = Self::authentication(&self.assertion(client_id));
        form.push(("request".to_owned(), self.request_object(claims)));
        form
    }

    pub(crate) async fn post(&self, url: &str, form: &Form) -> Answer {
        Self::post_by(&self.http, url, form).await
    }

    pub(crate) async fn post_by(http: &reqwest::Client, url: &str, form: &Form) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request =
            http.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
        send(request).await
    }

    /// With these headers, too.
    pub(crate) async fn post_with(&self, url: &str, form: &Form, headers: &Form) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = self.http.post(url).body(body);
        request = request.header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        send(request).await
    }

    pub(crate) async fn post_par(&self, form: &Form) -> Answer {
        self.post(&self.double.mtls_url(Endpoint::Par), form).await
    }

    pub(crate) async fn push(&self, client_id: &str, verifier: &str) -> String {
        let claims = self.request_claims(client_id, verifier);
        let answer = self.post_par(&self.par_form(client_id, &claims)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["request_uri"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get_authorize(&self, query: &[(&str, &str)]) -> Answer {
        let url = self.double.url(Endpoint::Authorize);
        let url = Url::parse_with_params(&url, query).unwrap();
        send(self.http.get(url)).await
    }

    /// Claims of the authorization response, verified against the published keys.
    pub(crate) async fn jarm(&self, answer: &Answer) -> Object {
        let location = answer.location();
        let pairs: Vec<_> = location.query_pairs().collect();
        assert_eq!(pairs.len(), 1, "{location}");
        assert_eq!(pairs[0].0, "response");
        let keys = self.jwks().await;
        let verified = jws::verify(&pairs[0].1, &keys, &[jws::Alg::Es256]).unwrap();
        verified.claims
    }

    pub(crate) async fn jwks(&self) -> Value {
        let url = self.double.url(Endpoint::Jwks);
        send(self.http.get(url)).await.json()
    }

    /// PAR and authorization: a code and the verifier that goes with it.
    pub(crate) async fn code(&self) -> (String, String) {
        let verifier = random_token();
        let request_uri = self.push(CLIENT, &verifier).await;
        let query = [("client_id", CLIENT), ("request_uri", request_uri.as_str())];
        let answer = self.get_authorize(&query).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let claims = self.jarm(&answer).await;
        (claims["code"].as_str().unwrap().to_owned(), verifier)
    }

    pub(crate) fn token_form(&self, code: &str, verifier: &str) -> Form {
        let mut all = Self::authentication(&self.assertion(CLIENT));
        all.extend(form(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", REDIRECT_URI),
        ]));
        all
    }

    pub(crate) async fn post_token(&self, form: &Form) -> Answer {
        self.post(&self.double.mtls_url(Endpoint::Token), form).await
    }

    pub(crate) async fn login(&self) -> Value {
        let (code, verifier) = self.code().await;
        let answer = self.post_token(&self.token_form(&code, &verifier)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        let mut all = Self::authentication(&self.assertion(CLIENT));
        all.extend(form(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]));
        self.post_token(&all).await
    }

    pub(crate) async fn get_with(&self, http: &reqwest::Client, url: &str, token: &str) -> Answer {
        send(http.get(url).header("authorization", format!("Bearer {token}"))).await
    }

    pub(crate) async fn get_api(&self, path: &str, token: &str) -> Answer {
        let url = format!("{}{path}", self.api.base_url());
        self.get_with(&self.http, &url, token).await
    }

    /// The reason of the last refusal, which must have been at this endpoint.
    pub(crate) fn refused(&self, endpoint: Endpoint) -> String {
        let event = self.double.last(endpoint).unwrap();
        let broken = |check: &&Check| !check.held && check.severity == Severity::Failure;
        let Some(reason) = event.reason else {
            assert_eq!(event.checks.iter().find(broken), None);
            return "accepted".to_owned();
        };
        // The refusal is the last check, and the only one that came out so.
        let last = event.checks.last().unwrap();
        assert_eq!((last.name, last.held), (reason.as_str(), false));
        assert_eq!(event.checks.iter().find(broken), Some(last));
        assert!(rules().iter().any(|rule| rule.name == reason), "{reason}");
        reason
    }
}
