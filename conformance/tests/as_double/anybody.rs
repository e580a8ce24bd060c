//! A correct client of any conduct: it authenticates, asks, proves and presents as the server's
//! conduct has it, and comes again when a nonce is asked for.

use std::sync::Mutex;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fapi_bff_conformance::{
    as_double::{
        AsConfig, ClientAuth, Conduct, Constraint, Endpoint, Family, RequestMethod, ResponseForm,
    },
    jws::{Alg, Object, SigningKey, random_token, sha256_b64, thumbprint},
};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::client::{Answer, CLIENT, Form, REDIRECT_URI, World, form, object, send};

pub(crate) const SECRET: &str = "a secret: with + and %";

/// Parameters of an authorization response, and the verifier that goes with its code.
pub(crate) struct Returned {
    pub(crate) answer: Answer,
    pub(crate) verifier: String,
}

pub(crate) struct Anybody {
    pub(crate) world: World,
    pub(crate) conduct: Conduct,
    pub(crate) key: SigningKey,
    /// The last nonce of the server's and that of its resources.
    nonces: Mutex<[Option<String>; 2]>,
}

/// Reads what a form that posts itself would post.
pub(crate) fn posted(page: &str) -> Form {
    let mut pairs = Form::new();
    for field in page.split("<input type=\"hidden\" ").skip(1) {
        let part = |name: &str| {
            let (_, rest) = field.split_once(&format!("{name}=\"")).unwrap();
            let (text, _) = rest.split_once('"').unwrap();
            text.replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
        };
        pairs.push((part("name"), part("value")));
    }
    pairs
}

fn parsed(text: &str) -> Form {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

impl Returned {
    /// What the client is told, wherever it stands.
    pub(crate) fn parameters(&self) -> Form {
        if self.answer.status == 200 {
            return posted(&self.answer.text());
        }
        let location = self.answer.location();
        parsed(location.fragment().or(location.query()).unwrap_or_default())
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let pairs = self.parameters();
        pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl Anybody {
    pub(crate) async fn start(conduct: Conduct) -> Self {
        Self::start_with(conduct, |_| {}).await
    }

    pub(crate) async fn start_with(conduct: Conduct, adjust: impl FnOnce(&mut AsConfig)) -> Self {
        let world = World::start_with(|config| {
            config.conduct = conduct;
            config.signing_alg = conduct.usual_alg();
            for client in &mut config.clients {
                client.client_secret = Some(SECRET.to_owned());
                if !conduct.openid {
                    client.scopes.retain(|scope| scope != "openid");
                }
            }
            adjust(config);
        })
        .await;
        let key = SigningKey::generate(Alg::Es256).unwrap();
        Self { world, conduct, key, nonces: Mutex::default() }
    }

    /// The address of an endpoint, on the host a careful client takes.
    pub(crate) fn url(&self, endpoint: Endpoint) -> String {
        let (double, conduct) = (&self.world.double, self.conduct);
        let bound = conduct.constraint == Constraint::Mtls;
        let mtls = match endpoint {
            Endpoint::Accounts => return double.accounts_url(),
            Endpoint::Userinfo => bound && conduct.family != Family::Fapi1,
            Endpoint::Token => bound || conduct.client_auth.is_mtls(),
            _ => conduct.client_auth.is_mtls(),
        };
        if mtls { double.mtls_url(endpoint) } else { double.url(endpoint) }
    }

    /// The form with the client's proof of who it is, and headers likewise.
    pub(crate) fn authenticated(&self, mut request: Form) -> (Form, Form) {
        let mut headers = Form::new();
        match self.conduct.client_auth {
            ClientAuth::PrivateKeyJwt => {
                request.extend(World::authentication(&self.world.assertion(CLIENT)));
            }
            ClientAuth::TlsClientAuth | ClientAuth::SelfSignedTls => {
                request.retain(|(name, _)| name != "client_id");
                request.push(("client_id".to_owned(), CLIENT.to_owned()));
            }
            ClientAuth::SecretBasic => headers.push(("authorization".to_owned(), basic(SECRET))),
            ClientAuth::SecretPost => {
                request.retain(|(name, _)| name != "client_id");
                request.extend(form(&[("client_id", CLIENT), ("client_secret", SECRET)]));
            }
        }
        (request, headers)
    }

    /// Claims of a correct proof.
    pub(crate) fn proof_claims(&self, method: &str, url: &str, token: Option<&str>) -> Object {
        let mut claims = object(&json!({
            "htm": method, "htu": url, "iat": self.world.now(), "jti": random_token(),
        }));
        if let Some(token) = token {
            claims.insert("ath".into(), json!(sha256_b64(token.as_bytes())));
        }
        claims
    }

    pub(crate) fn proof_header(&self) -> Object {
        let mut jwk = self.key.public_jwk();
        for name in ["kid", "use", "alg"] {
            jwk.as_object_mut().unwrap().remove(name);
        }
        object(&json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}))
    }

    pub(crate) fn prove(&self, claims: &Object) -> String {
        self.key.sign_jws(&self.proof_header(), claims).unwrap()
    }

    pub(crate) fn thumbprint(&self) -> String {
        thumbprint(&self.key.public_jwk()).unwrap()
    }

    /// Sends what `build` makes of a proof, if proofs are wanted; once more with the nonce it is told.
    async fn proving(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        build: impl Fn(Option<String>) -> reqwest::RequestBuilder,
    ) -> Answer {
        if self.conduct.constraint != Constraint::Dpop {
            return send(build(None)).await;
        }
        let place = usize::from(token.is_some());
        let address = url.split('?').next().unwrap();
        for _ in 0..2 {
            let mut claims = self.proof_claims(method, address, token);
            if let Some(nonce) = &self.nonces.lock().unwrap()[place] {
                claims.insert("nonce".into(), json!(nonce));
            }
            let answer = send(build(Some(self.prove(&claims)))).await;
            let Some(nonce) = answer.headers.get("dpop-nonce") else { return answer };
            let nonce = nonce.to_str().unwrap().to_owned();
            self.nonces.lock().unwrap()[place] = Some(nonce);
            if ![400, 401].contains(&answer.status) {
                return answer;
            }
        }
        panic!("asked for nonces without end");
    }

    /// Posts a form as the client that this is.
    pub(crate) async fn post(&self, endpoint: Endpoint, more: &[(&str, &str)]) -> Answer {
        self.post_form(endpoint, form(more)).await
    }

    pub(crate) async fn post_form(&self, endpoint: Endpoint, more: Form) -> Answer {
        let url = self.url(endpoint);
        let proves = matches!(endpoint, Endpoint::Par | Endpoint::Token);
        let build = |proof: Option<String>| {
            let (request, headers) = self.authenticated(more.clone());
            let body = form_urlencoded::Serializer::new(String::new());
            let mut builder =
                self.world.http.post(&url).body({ body }.extend_pairs(request).finish());
            builder = builder.header("content-type", "application/x-www-form-urlencoded");
            for (name, value) in headers {
                builder = builder.header(name, value);
            }
            match proof.filter(|_| proves) {
                Some(proof) => builder.header("dpop", proof),
                None => builder,
            }
        };
        if proves { self.proving("POST", &url, None, build).await } else { send(build(None)).await }
    }

    /// Calls a resource with a token.
    pub(crate) async fn get(&self, url: &str, token: &str) -> Answer {
        let scheme = self.conduct.constraint.token_type();
        let build = |proof: Option<String>| {
            let request = self.world.http.get(url);
            let request = request.header("authorization", format!("{scheme} {token}"));
            match proof {
                Some(proof) => request.header("dpop", proof),
                None => request,
            }
        };
        self.proving("GET", url, Some(token), build).await
    }

    /// Claims of a correct authorization request, without the envelope of a request object.
    pub(crate) fn request(&self, verifier: &str) -> Object {
        let mut claims = self.world.request_claims(CLIENT, verifier);
        for name in ["iss", "aud", "nbf", "iat", "exp", "jti"] {
            claims.remove(name);
        }
        let (hybrid, jarm) = match self.conduct.response {
            ResponseForm::Hybrid => (true, false),
            ResponseForm::Jarm => (false, true),
            ResponseForm::Plain => (false, false),
        };
        if hybrid {
            claims.insert("response_type".into(), json!("code id_token"));
        }
        if !jarm {
            claims.remove("response_mode");
        }
        let mut scope = vec!["openid", "profile", "email", "accounts", "payments"];
        if !self.conduct.openid {
            scope.remove(0);
            claims.remove("nonce");
        }
        claims.insert("scope".into(), json!(scope.join(" ")));
        claims
    }

    /// The same as the client sends it: signed or not.
    fn sent(&self, claims: &Object) -> Form {
        if !self.conduct.signed_requests {
            let text = |value: &Value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let mut pairs = Form::new();
            for (name, value) in claims {
                match value {
                    Value::Array(all) if name == "resource" => {
                        pairs.extend(all.iter().map(|one| (name.clone(), text(one))));
                    }
                    one => pairs.push((name.clone(), text(one))),
                }
            }
            return pairs;
        }
        let mut whole = self.world.request_claims(CLIENT, "");
        whole.retain(|name, _| ["iss", "aud", "nbf", "iat", "exp", "jti"].contains(&name.as_str()));
        whole.extend(claims.clone());
        vec![("request".to_owned(), self.world.request_object(&whole))]
    }

    /// Asks with these claims, however requests are sent; gives the answer of the last endpoint.
    pub(crate) async fn ask(&self, claims: &Object) -> Answer {
        let mut sent = self.sent(claims);
        let query = if self.conduct.request_method == RequestMethod::Pushed {
            let pushed = self.post_form(Endpoint::Par, sent).await;
            if pushed.status != 201 {
                return pushed;
            }
            let request_uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
            form(&[("client_id", CLIENT), ("request_uri", &request_uri)])
        } else {
            if self.conduct.signed_requests {
                for name in ["client_id", "response_type", "scope"] {
                    let value = claims.get(name).and_then(Value::as_str).unwrap_or_default();
                    sent.push((name.to_owned(), value.to_owned()));
                }
            }
            sent
        };
        self.visit(&query).await
    }

    /// The browser goes to the authorization endpoint, and says who it is if asked.
    pub(crate) async fn visit(&self, query: &Form) -> Answer {
        let url = self.world.double.url(Endpoint::Authorize);
        let url = Url::parse_with_params(&url, query).unwrap();
        let answer = send(self.world.http.get(url)).await;
        let page = String::from_utf8_lossy(&answer.body).into_owned();
        if !page.contains("name=\"user\"") {
            return answer;
        }
        let mut decision = posted(&page);
        decision.push(("user".to_owned(), "bjork".to_owned()));
        self.world.post(&self.world.double.url(Endpoint::Decision), &decision).await
    }

    /// Up to the authorization response; `change` has a say in what is asked.
    pub(crate) async fn returned_with(&self, change: impl FnOnce(&mut Object)) -> Returned {
        let verifier = random_token();
        let mut claims = self.request(&verifier);
        change(&mut claims);
        let answer = self.ask(&claims).await;
        Returned { answer, verifier }
    }

    pub(crate) async fn returned(&self) -> Returned {
        self.returned_with(|_| {}).await
    }

    /// The code of a response, signed or not.
    pub(crate) fn code(returned: &Returned) -> String {
        let Some(response) = returned.get("response") else {
            return returned.get("code").unwrap();
        };
        let (_, claims) = fapi_bff_conformance::jws::peek(&response).unwrap();
        claims["code"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn redeem(&self, returned: &Returned, more: &[(&str, &str)]) -> Answer {
        let code = Self::code(returned);
        let mut request = form(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("code_verifier", &returned.verifier),
            ("redirect_uri", REDIRECT_URI),
        ]);
        request.extend(form(more));
        self.post_form(Endpoint::Token, request).await
    }

    pub(crate) async fn login_with(&self, change: impl FnOnce(&mut Object)) -> Value {
        let returned = self.returned_with(change).await;
        let answer = self.redeem(&returned, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub(crate) async fn login(&self) -> Value {
        self.login_with(|_| {}).await
    }

    /// The verified claims of the ID token in a token response.
    pub(crate) async fn id_token(&self, tokens: &Value) -> Object {
        let jwks = self.world.jwks().await;
        let token = tokens["id_token"].as_str().unwrap();
        fapi_bff_conformance::jws::verify(token, &jwks, &[self.conduct.usual_alg()]).unwrap().claims
    }
}

/// Basic credentials of the client, form-encoded.
pub(crate) fn basic(secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(CLIENT), encode(secret));
    format!("Basic {}", STANDARD.encode(pair))
}
