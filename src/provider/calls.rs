//! Owns the calls a client makes at the AS in its own name: PAR, token, userinfo, revocation. Each
//! attempt carries a fresh assertion. Must not know: why a caller wants them.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{AsFailure, AsFailureKind, Authentication, Provider, TokenFailure, json, single};
use crate::{
    jose::{self, Signer},
    net::{self, CallFailed},
    profile::SenderConstraint,
    protocol::{
        Answer, Asked, AuthorizationDetails, AuthorizationRequest, BoundTo, CLIENT_ASSERTION_TYP,
        CLIENT_ASSERTION_TYPE_URN, Challenge, CodeVerifier, ConsentClaim, Continuity, Endpoint,
        INTROSPECTION_MEDIA_TYPE, IdTokenRejected, MAX_ANSWER_BYTES, Metadata, MtlsUse, Nonce,
        Prover, REQUEST_OBJECT_TYP, Role, Target, Token, TokenResponse, TokenResponseRejected,
        TokenType, UserinfoError, UserinfoRejected, VerifiedCode, VerifiedIdToken,
        authorization_url, challenges, check_audience, check_binding, client_assertion_claims,
        par_response, plain_authorization_url, signed_authorization_url, token_response, userinfo,
        userinfo_token,
    },
};

const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Proves possession of the key that tokens are bound to (RFC 9449); none where they are bound to none.
pub type Proof<'a> = Option<&'a Prover>;

/// An authorization request, ready for the browser to take along.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Begun {
    /// Where to send the browser.
    pub authorization_url: Url,
    /// Seconds until the AS forgets a pushed request; none if the browser carries it.
    pub expires_in: Option<u64>,
}

/// What the login demands of the ID token beyond its own rules.
#[derive(Clone, Copy, Debug)]
pub struct Demands<'a> {
    /// `nonce` of the request; none if no ID token was asked for, and then none is looked at.
    pub nonce: Option<&'a str>,
    /// Space-separated scopes of the request.
    pub scope: &'a str,
    /// `max_age` of the request, seconds.
    pub max_age: Option<u32>,
    /// The `acr` values one of which must have been reached; empty demands nothing
    /// (FAPI1-ADV-5.2.3-3).
    pub required_acr: &'a [String],
    /// The claim that names the consent the login was to authorize, if it was to.
    pub consent: Option<&'a ConsentClaim>,
    /// What the request asked for in detail.
    pub details: Option<&'a AuthorizationDetails>,
    /// Members of details that the AS may add (RFC 9396 §7.1).
    pub enrichable: &'a [String],
    /// The app's resource servers: the access token is for the first of them (RES-2.1/2.2).
    pub resources: &'a [String],
}

impl Demands<'_> {
    /// Whether they can be met where no ID token is expected: not if one would have to say how, or
    /// when, the user authenticated (OIDC-3.1.3.7-12/13).
    fn without_id_token(&self) -> Result<(), RedeemFailure> {
        if self.required_acr.is_empty() && self.max_age.is_none() {
            return Ok(());
        }
        Err(RedeemFailure::Tokens { reason: IdTokenRejected::Missing.reason() })
    }
}

/// A refresh: what is held, and what is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Refresh<'a> {
    /// The grant.
    pub refresh_token: &'a Token,
    /// Scope granted before.
    pub scope: &'a str,
    /// Details granted before.
    pub details: Option<&'a AuthorizationDetails>,
    /// Members of details that the AS may add.
    pub enrichable: &'a [String],
    /// What the new access token is to be for: a resource server, and part of the scope.
    pub target: Option<&'a Target>,
    /// The app's resource servers; the new access token is for one of them at the most.
    pub resources: &'a [String],
    /// What the login's ID token said, against which a new one is judged (OIDC-12.2); none if there
    /// was no ID token, and then none is looked at.
    pub original: Option<&'a Continuity>,
}

/// A code exchange that held in every part.
#[derive(Debug)]
pub struct Redeemed {
    /// The tokens.
    pub tokens: TokenResponse,
    /// Who logged in; none if no ID token was asked for.
    pub id_token: Option<VerifiedIdToken>,
}

/// A code exchange that did not hold. Tokens that came with it are already given up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RedeemFailure {
    /// The token request failed.
    #[error(transparent)]
    Call(#[from] AsFailure),
    /// The ID token was refused, or its keys could not be had.
    #[error(transparent)]
    IdToken(#[from] TokenFailure),
    /// The tokens do not fit the request: scope, binding, or no ID token; `token.*`, `id_token.*`.
    #[error("the tokens were refused: {reason}")]
    Tokens {
        /// The stable reason.
        reason: &'static str,
    },
}

impl Provider {
    /// Prepares an authorization request: pushed where the AS has the endpoint (FAPI2-MS-5.3.2-1,
    /// PAR-2.1, PAR-3), otherwise for the browser to carry, signed if the client signs. An AS that has
    /// the endpoint and fails at it gets nothing through the front channel instead (PAR-2.3).
    pub async fn begin(
        &self,
        request: &AuthorizationRequest,
        proof: Proof<'_>,
    ) -> Result<Begun, AsFailure> {
        const PAR: Endpoint = Endpoint::PushedAuthorizationRequest;
        let metadata = self.metadata().await?;
        let endpoint = metadata.authorization_endpoint();
        let object = self.request_object(request).await?;
        let has_endpoint = metadata.endpoint(PAR, self.mtls_use()).is_some();
        if let Some(reason) = unsupported(&metadata, request, has_endpoint || object.is_some()) {
            return Err(AsFailure::new(PAR, AsFailureKind::Unsupported { reason }));
        }
        if !has_endpoint {
            let authorization_url = match object {
                Some(object) => signed_authorization_url(endpoint, request, &object),
                None => plain_authorization_url(endpoint, request),
            };
            return Ok(Begun { authorization_url, expires_in: None });
        }
        let form = match object {
            Some(object) => vec![("request".to_owned(), object)],
            None => request.form(),
        };
        let form: Vec<_> = form.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let answer = self.post(PAR, &form, proof).await?;
        let pushed =
            par_response(&judged(&answer)).map_err(|answer| AsFailure::from_answer(PAR, answer))?;
        let client_id = &self.registration.client_id;
        let authorization_url = authorization_url(endpoint, client_id, &pushed.request_uri);
        Ok(Begun { authorization_url, expires_in: Some(pushed.expires_in) })
    }

    /// The request as a signed object, if the client signs its requests; encrypted if it does that.
    async fn request_object(
        &self,
        request: &AuthorizationRequest,
    ) -> Result<Option<String>, AsFailure> {
        const PAR: Endpoint = Endpoint::PushedAuthorizationRequest;
        let Some(key) = &self.credentials.request_object_key else { return Ok(None) };
        let registration = &self.registration;
        let jti = self.token(PAR)?;
        let claims = request.request_object_claims(
            &registration.issuer,
            self.ambient.now(),
            registration.request_object_lifetime,
            &jti,
        );
        let object = Self::sign(PAR, &**key, Some(REQUEST_OBJECT_TYP), &claims)?;
        match self.request_object_target().await? {
            None => Ok(Some(object)),
            // Signed first, then encrypted (JAR-4a).
            Some(target) => jose::encrypt(&object, Some(REQUEST_OBJECT_TYP), &target)
                .map(Some)
                .map_err(|_| AsFailure::not_made(PAR, "encrypting failed")),
        }
    }

    /// Redeems a code that a verified response brought, and judges everything that comes back.
    /// Tokens that break a rule are given up at the AS (REV-2.1, BCP-2.1.1).
    pub async fn redeem(
        self: &Arc<Self>,
        code: VerifiedCode,
        verifier: &CodeVerifier,
        redirect_uri: &str,
        demands: Demands<'_>,
        proof: Proof<'_>,
    ) -> Result<Redeemed, RedeemFailure> {
        let resource = demands.resources.first().map(String::as_str);
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier.expose()),
        ];
        let form: Vec<_> =
            form.into_iter().chain(resource.map(|resource| ("resource", resource))).collect();
        let answer = self.post(Endpoint::Token, &form, proof).await?;
        let asked = Asked {
            token_type: self.token_type(),
            scope: demands.scope,
            details: demands.details,
            enrichable: demands.enrichable,
        };
        let tokens = self.tokens(&answer, &asked, None)?;
        match self.judge(&tokens, code.subject(), &demands, proof).await {
            Ok(id_token) => Ok(Redeemed { tokens, id_token }),
            Err(failure) => {
                self.give_up(tokens.refresh_token, Some(tokens.access_token));
                Err(failure)
            }
        }
    }

    async fn judge(
        &self,
        tokens: &TokenResponse,
        subject: Option<&str>,
        demands: &Demands<'_>,
        proof: Proof<'_>,
    ) -> Result<Option<VerifiedIdToken>, RedeemFailure> {
        self.check_binding(tokens, proof)?;
        let resource = demands.resources.first().map(String::as_str);
        check_resource_of(tokens, resource, demands.resources)?;
        let Some(nonce) = demands.nonce else { return demands.without_id_token().map(|()| None) };
        // Asked for and not there: an access token alone says nothing about who is there
        // (OIDC-3.1.3.3, OIDC-16.11).
        let id_token = tokens.id_token.as_ref().map(Token::expose);
        let access_token = tokens.access_token.expose();
        Ok(Some(self.id_token(id_token, access_token, nonce, subject, demands).await?))
    }

    /// The tokens of an answer that keeps to what was asked. Others are given up, except for the
    /// refresh token that a session holds and goes on with.
    pub(super) fn tokens(
        self: &Arc<Self>,
        answer: &net::Answer,
        asked: &Asked<'_>,
        held: Option<&Token>,
    ) -> Result<TokenResponse, RedeemFailure> {
        self.accepted(token_response(&judged(answer), asked), held)
    }

    /// The same, of an answer that has been judged.
    pub(super) fn accepted(
        self: &Arc<Self>,
        verdict: Result<TokenResponse, TokenResponseRejected>,
        held: Option<&Token>,
    ) -> Result<TokenResponse, RedeemFailure> {
        match verdict {
            Ok(tokens) => Ok(tokens),
            Err(TokenResponseRejected::Answer(answer)) => {
                Err(AsFailure::from_answer(Endpoint::Token, answer).into())
            }
            Err(TokenResponseRejected::Token { why, tokens }) => {
                let refresh_token = tokens.refresh_token.filter(|token| Some(token) != held);
                self.give_up(refresh_token, Some(tokens.access_token));
                Err(RedeemFailure::Tokens { reason: why.reason() })
            }
        }
    }

    pub(super) const fn token_type(&self) -> TokenType {
        match self.registration.sender_constraint {
            SenderConstraint::Dpop => TokenType::DPoP,
            SenderConstraint::Mtls | SenderConstraint::None => TokenType::Bearer,
        }
    }

    pub(super) fn check_binding(
        &self,
        tokens: &TokenResponse,
        proof: Proof<'_>,
    ) -> Result<(), RedeemFailure> {
        let jkt = proof.map(Prover::jkt);
        check_binding(tokens.access_token.expose(), self.bound_to(jkt.as_deref()))
            .map_err(|rejected| RedeemFailure::Tokens { reason: rejected.reason() })
    }

    /// What access tokens are bound to, `jkt` being the key's thumbprint where it is a key.
    pub(super) fn bound_to<'a>(&'a self, jkt: Option<&'a str>) -> BoundTo<'a> {
        let registration = &self.registration;
        match registration.sender_constraint {
            // A client that binds by certificate has one: the settings see to it. Compared with
            // nothing, a binding would be a mismatch.
            SenderConstraint::Mtls => BoundTo::Certificate(
                registration.certificate_thumbprint.as_deref().unwrap_or_default(),
            ),
            SenderConstraint::Dpop => BoundTo::Key(jkt.unwrap_or_default()),
            SenderConstraint::None => BoundTo::Nothing,
        }
    }

    /// Refreshes, for the whole grant or narrowed to a target (RES-2.1/2.2). Tokens that break a rule
    /// are given up.
    pub async fn refresh(
        self: &Arc<Self>,
        refresh: Refresh<'_>,
        proof: Proof<'_>,
    ) -> Result<TokenResponse, RedeemFailure> {
        let refresh_token = refresh.refresh_token;
        let (narrowed, resource) = match refresh.target {
            Some(target) => (target.scope.as_deref(), target.resource.as_deref()),
            None => (None, refresh.resources.first().map(String::as_str)),
        };
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())];
        let form: Vec<_> = form
            .into_iter()
            .chain(resource.map(|resource| ("resource", resource)))
            .chain(narrowed.map(|scope| ("scope", scope)))
            .collect();
        let answer = self.post(Endpoint::Token, &form, proof).await?;
        let asked = Asked {
            token_type: self.token_type(),
            scope: narrowed.unwrap_or(refresh.scope),
            details: refresh.details,
            enrichable: refresh.enrichable,
        };
        let tokens = self.tokens(&answer, &asked, Some(refresh_token))?;
        let verdict = async {
            self.check_binding(&tokens, proof)?;
            check_resource_of(&tokens, resource, refresh.resources)?;
            if let Some((id_token, original)) = tokens.id_token.as_ref().zip(refresh.original) {
                let access_token = tokens.access_token.expose();
                self.refreshed_id_token(id_token.expose(), access_token, original).await?;
            }
            Ok::<(), RedeemFailure>(())
        };
        match verdict.await {
            Ok(()) => Ok(tokens),
            // Not refused, only not judged: the grant may be needed again.
            Err(failure @ RedeemFailure::IdToken(TokenFailure::Keys(_))) => Err(failure),
            Err(failure) => {
                // The session lives on with the token it holds (FAPI2-SP-5.3.2.1-9).
                let rotated = tokens.refresh_token.filter(|token| token != refresh_token);
                self.give_up(rotated, Some(tokens.access_token));
                Err(failure)
            }
        }
    }

    /// The AS's claims about `subject`, by GET with the token in the header (OIDC-5.3.1), refused
    /// whole if they are about somebody else (OIDC-5.3.2).
    pub async fn userinfo(
        &self,
        access_token: &Token,
        subject: Option<&str>,
        proof: Proof<'_>,
    ) -> Result<Map<String, Value>, UserinfoFailure> {
        // Claims about nobody we know could be anybody's (OIDC-5.3.2).
        let subject = subject.ok_or(UserinfoFailure::Refused { reason: "userinfo.no_subject" })?;
        let url = self.endpoint(Endpoint::Userinfo).await?;
        let mut answer = self.ask_userinfo(&url, access_token, proof).await?;
        if let Some(prover) = proof {
            let challenges = challenges_of(&answer.headers);
            // As at the AS's endpoints: one nonce, one more try (DPOP-9).
            let asked = Nonce::demanded_by_resource(answer.status, &challenges, offered(&answer));
            if let Ok(Some(nonce)) = asked {
                prover.learned(Role::Resource, url.as_str(), nonce);
                answer = self.ask_userinfo(&url, access_token, proof).await?;
            }
        }
        let answer = judged(&answer);
        match self.registration.userinfo_alg {
            None => userinfo(&answer, subject).map_err(UserinfoFailure::from),
            Some(alg) => self.signed_userinfo(userinfo_token(&answer)?, subject, alg).await,
        }
    }

    async fn ask_userinfo(
        &self,
        url: &Url,
        access_token: &Token,
        proof: Proof<'_>,
    ) -> Result<net::Answer, AsFailure> {
        const USERINFO: Endpoint = Endpoint::Userinfo;
        let mut headers = json();
        if self.registration.userinfo_alg.is_some() {
            headers.insert(ACCEPT, HeaderValue::from_static("application/jwt"));
        }
        let scheme = if proof.is_some() { TokenType::DPoP } else { TokenType::Bearer };
        let credential = Zeroizing::new(format!("{} {}", scheme.name(), access_token.expose()));
        let mut credential = HeaderValue::from_str(&credential)
            .map_err(|_| AsFailure::not_made(USERINFO, "the token fits no header"))?;
        credential.set_sensitive(true);
        headers.insert(AUTHORIZATION, credential);
        if let Some(prover) = proof {
            let token = Some(access_token);
            let proof = self.proof(USERINFO, prover, Role::Resource, &Method::GET, url, token)?;
            headers.insert(DPOP, proof);
        }
        let send = self.http.send(Method::GET, url, headers, None, MAX_ANSWER_BYTES);
        let answer = self.timed(USERINFO, send).await?;
        if let Some(prover) = proof {
            prover.learn(Role::Resource, url.as_str(), offered(&answer));
        }
        Ok(answer)
    }

    async fn endpoint(&self, endpoint: Endpoint) -> Result<Url, AsFailure> {
        let metadata = self.metadata().await?;
        metadata
            .endpoint(endpoint, self.mtls_use())
            .cloned()
            .ok_or_else(|| AsFailure::not_made(endpoint, "the AS publishes no such endpoint"))
    }

    /// What the client certificate is for. It need not be there: then it is for nothing.
    pub(super) const fn mtls_use(&self) -> MtlsUse {
        MtlsUse {
            endpoint_aliases: self.registration.use_mtls_endpoint_aliases,
            client_authentication: self.credentials.authentication.method().is_mtls(),
            token_binding: matches!(self.registration.sender_constraint, SenderConstraint::Mtls),
        }
    }

    /// One authenticated POST beside the form: by a fresh assertion whose audience is the issuer
    /// (PKJ-9-jti, FAPI2-SP-5.3.3.1-5), by the client certificate and `client_id` (MTLS-2), or by a
    /// secret; never by two of them (PKJ-2.2).
    pub(super) async fn post(
        &self,
        endpoint: Endpoint,
        form: &[(&str, &str)],
        proof: Proof<'_>,
    ) -> Result<net::Answer, AsFailure> {
        let url = self.endpoint(endpoint).await?;
        let Some(prover) = proof else { return self.attempt(endpoint, &url, form, None).await };
        let answer = self.attempt(endpoint, &url, form, proof).await?;
        let asked = Nonce::demanded_in(&judged(&answer), offered(&answer));
        match asked {
            // Once more, with the nonce and everything else fresh; not a third time, whatever the
            // server says (FAPI2-SP-5.3.3.1-8, DPOP-8).
            Ok(Some(nonce)) => {
                prover.learned(Role::AuthorizationServer, url.as_str(), nonce);
                self.attempt(endpoint, &url, form, proof).await
            }
            Ok(None) => Ok(answer),
            Err(rejected) => {
                let provider = &self.registration.provider_label;
                tracing::warn!(%provider, reason = rejected.reason(), "the AS's demand for a nonce is refused");
                Ok(answer)
            }
        }
    }

    /// One request: its own assertion (PKJ-9-jti), its own proof (DPOP-7.3).
    async fn attempt(
        &self,
        endpoint: Endpoint,
        url: &Url,
        form: &[(&str, &str)],
        proof: Proof<'_>,
    ) -> Result<net::Answer, AsFailure> {
        let (mut headers, body) = self.authenticated(endpoint, form)?;
        if let Some(prover) = proof {
            let role = Role::AuthorizationServer;
            let proof = self.proof(endpoint, prover, role, &Method::POST, url, None)?;
            headers.insert(DPOP, proof);
        }
        let send = self.http.send(Method::POST, url, headers, Some(body), MAX_ANSWER_BYTES);
        let answer = self.timed(endpoint, send).await?;
        if let Some(prover) = proof {
            prover.learn(Role::AuthorizationServer, url.as_str(), offered(&answer));
        }
        Ok(answer)
    }

    fn proof(
        &self,
        endpoint: Endpoint,
        prover: &Prover,
        role: Role,
        method: &Method,
        url: &Url,
        token: Option<&Token>,
    ) -> Result<HeaderValue, AsFailure> {
        let (jti, now) = (self.token(endpoint)?, self.ambient.now());
        let token = token.map(Token::expose);
        let proof = prover.proof(role, method.as_str(), url.as_str(), token, now, &jti);
        let unsigned = || AsFailure::not_made(endpoint, "the proof could not be signed");
        let proof = proof.map_err(|_| unsigned())?;
        let mut value = HeaderValue::from_str(&proof).map_err(|_| unsigned())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The header section and form of one authenticated POST.
    fn authenticated(
        &self,
        endpoint: Endpoint,
        form: &[(&str, &str)],
    ) -> Result<(HeaderMap, Bytes), AsFailure> {
        let registration = &self.registration;
        let mut headers = json();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        if endpoint == Endpoint::Introspection {
            // Only the signed form is of use (INT-9701-4).
            headers.insert(ACCEPT, HeaderValue::from_static(INTROSPECTION_MEDIA_TYPE));
        }
        // A secret in the header names the client, too; the other methods need it in the form (MTLS-2).
        // A plain pushed request has it among its own parameters.
        let by_header =
            matches!(self.credentials.authentication, Authentication::ClientSecretBasic(_));
        if !by_header && form.iter().all(|(name, _)| *name != "client_id") {
            body.append_pair("client_id", &registration.client_id);
        }
        match &self.credentials.authentication {
            Authentication::PrivateKeyJwt(key) => {
                let assertion = self.client_assertion(endpoint, &**key)?;
                body.append_pair("client_assertion_type", CLIENT_ASSERTION_TYPE_URN)
                    .append_pair("client_assertion", &assertion);
            }
            Authentication::TlsClientAuth | Authentication::SelfSignedTlsClientAuth => {}
            Authentication::ClientSecretPost(secret) => {
                body.append_pair("client_secret", secret);
            }
            Authentication::ClientSecretBasic(secret) => {
                let credentials = basic(&registration.client_id, secret)
                    .ok_or_else(|| AsFailure::not_made(endpoint, "the secret fits no header"))?;
                headers.insert(AUTHORIZATION, credentials);
            }
        }
        Ok((headers, Bytes::from(body.finish())))
    }

    fn client_assertion(&self, endpoint: Endpoint, key: &dyn Signer) -> Result<String, AsFailure> {
        let registration = &self.registration;
        let jti = self.token(endpoint)?;
        let claims = client_assertion_claims(
            &registration.client_id,
            &registration.issuer,
            self.ambient.now(),
            &jti,
        );
        let typ = registration.client_assertion_typ.then_some(CLIENT_ASSERTION_TYP);
        Self::sign(endpoint, key, typ, &claims)
    }

    fn sign(
        endpoint: Endpoint,
        key: &dyn Signer,
        typ: Option<&str>,
        claims: &Map<String, Value>,
    ) -> Result<String, AsFailure> {
        jose::sign(key, typ, claims).map_err(|_| AsFailure::not_made(endpoint, "signing failed"))
    }

    fn token(&self, endpoint: Endpoint) -> Result<String, AsFailure> {
        self.ambient.token().map_err(|_| AsFailure::not_made(endpoint, "no randomness"))
    }

    /// Counts and times a call by endpoint and outcome.
    pub(super) async fn timed(
        &self,
        endpoint: Endpoint,
        call: impl Future<Output = Result<net::Answer, CallFailed>>,
    ) -> Result<net::Answer, AsFailure> {
        let start = self.ambient.clock.monotonic_millis();
        let result = call.await.map_err(|failed| AsFailure::from_call(endpoint, failed));
        let outcome = match &result {
            Ok(answer) => match answer.status {
                200..=299 => "ok",
                429 | 500.. => "unavailable",
                _ => "rejected",
            },
            Err(failure) => failure.reason(),
        };
        let millis = self.ambient.clock.monotonic_millis().saturating_sub(start);
        let seconds = std::time::Duration::from_millis(millis).as_secs_f64();
        let label = &self.registration.provider_label;
        self.telemetry.metrics.as_call(label, endpoint.name(), outcome, seconds);
        if let Err(failure) = &result {
            tracing::warn!(provider = %label, endpoint = endpoint.name(), reason = failure.reason(), "{failure}");
        }
        result
    }
}

/// Userinfo that could not be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UserinfoFailure {
    /// The call failed.
    #[error(transparent)]
    Call(AsFailure),
    /// The AS did not take the access token.
    #[error("the AS did not take the access token")]
    TokenRejected,
    /// The claims were refused; `userinfo.*`.
    #[error("the claims were refused: {reason}")]
    Refused {
        /// The stable reason.
        reason: &'static str,
    },
}

impl From<AsFailure> for UserinfoFailure {
    fn from(failure: AsFailure) -> Self {
        Self::Call(failure)
    }
}

impl From<UserinfoRejected> for UserinfoFailure {
    fn from(rejected: UserinfoRejected) -> Self {
        match rejected {
            UserinfoRejected::TokenRefused => Self::TokenRejected,
            rejected => Self::Refused { reason: rejected.reason() },
        }
    }
}

impl From<UserinfoError> for UserinfoFailure {
    fn from(error: UserinfoError) -> Self {
        match error {
            UserinfoError::Answer(answer) => {
                Self::Call(AsFailure::from_answer(Endpoint::Userinfo, answer))
            }
            UserinfoError::Userinfo(rejected) => rejected.into(),
        }
    }
}

impl RedeemFailure {
    /// The stable reason for metrics and audit.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Call(failure) | Self::IdToken(TokenFailure::Keys(failure)) => failure.reason(),
            Self::IdToken(TokenFailure::Rejected(rejected)) => rejected.reason(),
            Self::Tokens { reason } => reason,
        }
    }
}

/// What a request needs and the AS does not offer, before anything is sent (RAR-5, RAR-12).
/// `protected` tells whether nobody on the way can change it.
fn unsupported(
    metadata: &Metadata,
    request: &AuthorizationRequest,
    protected: bool,
) -> Option<&'static str> {
    if request.claims.is_some() && !metadata.claims_parameter_supported() {
        return Some("claims.not_supported");
    }
    let details = request.authorization_details.as_ref()?;
    if !protected {
        return Some("details.unprotected");
    }
    let known = |kind| metadata.supports_details(kind);
    (!details.types().all(known)).then_some("details.type_not_supported")
}

/// Whether the access token is for this one of the app's resource servers only.
fn check_resource_of(
    tokens: &TokenResponse,
    resource: Option<&str>,
    resources: &[String],
) -> Result<(), RedeemFailure> {
    let Some(resource) = resource else { return Ok(()) };
    check_audience(tokens.access_token.expose(), resource, resources)
        .map_err(|rejected| RedeemFailure::Tokens { reason: rejected.reason() })
}

/// The values of an answer's `DPoP-Nonce`.
fn offered(answer: &net::Answer) -> impl Iterator<Item = &[u8]> {
    answer.headers.get_all(DPOP_NONCE).iter().map(HeaderValue::as_bytes)
}

/// The challenges of an answer, all header lines together.
fn challenges_of(headers: &HeaderMap) -> Vec<Challenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(challenges).collect()
}

/// Credentials for the Authorization header, each half form-encoded first (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &str) -> Option<HeaderValue> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(secret)));
    let header = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&header).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An answer as the rules look at it.
pub(super) fn judged(answer: &net::Answer) -> Answer<'_> {
    Answer {
        status: answer.status,
        content_type: single(&answer.headers, CONTENT_TYPE),
        retry_after: single(&answer.headers, RETRY_AFTER),
        body: &answer.body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OIDC-3.1.3.7-12/13: what only an ID token says is not taken for said where there is none.
    #[test]
    fn no_demand_on_the_authentication_is_met_without_an_id_token() {
        let nothing = Demands {
            nonce: None,
            scope: "accounts",
            max_age: None,
            required_acr: &[],
            consent: None,
            details: None,
            enrichable: &[],
            resources: &[],
        };
        assert_eq!(nothing.without_id_token(), Ok(()));
        let acr = ["urn:example:loa:3".to_owned()];
        for demands in [
            Demands { required_acr: &acr, ..nothing },
            Demands { max_age: Some(0), ..nothing },
            Demands { max_age: Some(300), ..nothing },
        ] {
            let refused = demands.without_id_token();
            assert_eq!(refused, Err(RedeemFailure::Tokens { reason: "id_token.missing" }));
        }
    }
}
