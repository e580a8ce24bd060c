//! Owns the calls a client makes at the AS in its own name: PAR, token, userinfo, revocation. Each
//! attempt carries a fresh assertion. Must not know: why a caller wants them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::{AsFailure, Provider, TokenFailure, json, single};
use crate::{
    jose::{self, Signer},
    net::{self, CallFailed},
    protocol::{
        Answer, AuthorizationRequest, CLIENT_ASSERTION_TYP, CLIENT_ASSERTION_TYPE_URN,
        CodeVerifier, Continuity, Endpoint, MAX_ANSWER_BYTES, REQUEST_OBJECT_TYP, Token,
        TokenResponse, TokenResponseRejected, TokenType, UserinfoError, UserinfoRejected,
        VerifiedCode, VerifiedIdToken, authorization_url, check_certificate_binding,
        client_assertion_claims, par_response, token_response, userinfo,
    },
};

/// Pauses between attempts to revoke a token while the AS is down.
const REVOCATION_PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// What a pushed authorization request brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pushed {
    /// Where to send the browser: `client_id` and `request_uri`, nothing else.
    pub authorization_url: Url,
    /// Seconds until the AS forgets the request.
    pub expires_in: u64,
}

/// What the login demands of the ID token beyond its own rules.
#[derive(Clone, Copy, Debug)]
pub struct Demands<'a> {
    /// `nonce` of the request.
    pub nonce: &'a str,
    /// Space-separated scopes of the request.
    pub scope: &'a str,
    /// `max_age` of the request, seconds.
    pub max_age: Option<u32>,
    /// The `acr` values one of which must have been reached; empty demands nothing
    /// (FAPI1-ADV-5.2.3-3).
    pub required_acr: &'a [String],
}

/// A code exchange that held in every part.
#[derive(Debug)]
pub struct Redeemed {
    /// The tokens.
    pub tokens: TokenResponse,
    /// Who logged in.
    pub id_token: VerifiedIdToken,
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
    /// Pushes a signed request object and returns where to send the browser (FAPI2-MS-5.3.2-1,
    /// PAR-2.1, PAR-3). There is no fallback to parameters in the front channel (PAR-2.3).
    pub async fn push(&self, request: &AuthorizationRequest) -> Result<Pushed, AsFailure> {
        const PAR: Endpoint = Endpoint::PushedAuthorizationRequest;
        let registration = &self.registration;
        let metadata = self.metadata().await?;
        let jti = self.token(PAR)?;
        let claims = request.request_object_claims(
            &registration.issuer,
            self.ambient.now(),
            registration.request_object_lifetime,
            &jti,
            registration.profile,
        );
        let object = Self::sign(PAR, &*self.request_object_key, Some(REQUEST_OBJECT_TYP), &claims)?;
        let answer = self.post(PAR, &[("request", &object)]).await?;
        let pushed =
            par_response(&judged(&answer)).map_err(|answer| AsFailure::from_answer(PAR, answer))?;
        let authorization_url = authorization_url(
            metadata.authorization_endpoint(),
            &registration.client_id,
            &pushed.request_uri,
        );
        Ok(Pushed { authorization_url, expires_in: pushed.expires_in })
    }

    /// Redeems a code that a verified response brought, and judges everything that comes back.
    /// Tokens that break a rule are given up at the AS (REV-2.1, BCP-2.1.1).
    pub async fn redeem(
        self: &Arc<Self>,
        code: VerifiedCode,
        verifier: &CodeVerifier,
        redirect_uri: &str,
        demands: Demands<'_>,
    ) -> Result<Redeemed, RedeemFailure> {
        let answer = self
            .post(
                Endpoint::Token,
                &[
                    ("grant_type", "authorization_code"),
                    ("code", code.expose()),
                    ("redirect_uri", redirect_uri),
                    ("code_verifier", verifier.expose()),
                ],
            )
            .await?;
        let tokens = self.tokens(&answer, demands.scope, None)?;
        match self.judge(&tokens, &demands).await {
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
        demands: &Demands<'_>,
    ) -> Result<VerifiedIdToken, RedeemFailure> {
        self.check_binding(tokens)?;
        // No ID token, no login: an access token alone says nothing about who is there
        // (OIDC-3.1.3.3, OIDC-16.11).
        let id_token = tokens.id_token.as_ref().map(Token::expose);
        Ok(self.id_token(id_token, tokens.access_token.expose(), demands).await?)
    }

    /// The tokens of an answer that keeps to what was asked. Others are given up, except for the
    /// refresh token that a session holds and goes on with.
    fn tokens(
        self: &Arc<Self>,
        answer: &net::Answer,
        scope: &str,
        held: Option<&Token>,
    ) -> Result<TokenResponse, RedeemFailure> {
        let rejected = match token_response(&judged(answer), TokenType::Bearer, scope) {
            Ok(tokens) => return Ok(tokens),
            Err(rejected) => rejected,
        };
        match rejected {
            TokenResponseRejected::Answer(answer) => {
                Err(AsFailure::from_answer(Endpoint::Token, answer).into())
            }
            TokenResponseRejected::Token { why, tokens } => {
                let refresh_token = tokens.refresh_token.filter(|token| Some(token) != held);
                self.give_up(refresh_token, Some(tokens.access_token));
                Err(RedeemFailure::Tokens { reason: why.reason() })
            }
        }
    }

    fn check_binding(&self, tokens: &TokenResponse) -> Result<(), RedeemFailure> {
        let thumbprint = &self.registration.certificate_thumbprint;
        check_certificate_binding(tokens.access_token.expose(), thumbprint)
            .map_err(|rejected| RedeemFailure::Tokens { reason: rejected.reason() })
    }

    /// Refreshes. `original` is the login's ID token, against which a new one is judged
    /// (OIDC-12.2). Tokens that break a rule are given up.
    pub async fn refresh(
        self: &Arc<Self>,
        refresh_token: &Token,
        scope: &str,
        original: &Continuity,
    ) -> Result<TokenResponse, RedeemFailure> {
        let answer = self
            .post(
                Endpoint::Token,
                &[("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())],
            )
            .await?;
        let tokens = self.tokens(&answer, scope, Some(refresh_token))?;
        let verdict = async {
            self.check_binding(&tokens)?;
            if let Some(id_token) = &tokens.id_token {
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
        subject: &str,
    ) -> Result<Map<String, Value>, UserinfoFailure> {
        let url = self.endpoint(Endpoint::Userinfo).await?;
        let mut headers = json();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", access_token.expose()))
            .map_err(|_| AsFailure::not_made(Endpoint::Userinfo, "the token fits no header"))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        let send = self.http.send(Method::GET, &url, headers, None, MAX_ANSWER_BYTES);
        let answer = self.timed(Endpoint::Userinfo, send).await?;
        userinfo(&judged(&answer), subject).map_err(UserinfoFailure::from)
    }

    /// Gives tokens up at the AS, if it lets us: the refresh token first, for it outlives the other
    /// (REV-2.1). Nobody waits for it; an AS that is down is asked again a few times (REV-2.2.1).
    pub fn give_up(self: &Arc<Self>, refresh_token: Option<Token>, access_token: Option<Token>) {
        let provider = Arc::clone(self);
        self.revocations.spawn(async move {
            for (token, hint) in [(refresh_token, "refresh_token"), (access_token, "access_token")]
            {
                if let Some(token) = token {
                    provider.revoke(&token, hint).await;
                }
            }
        });
    }

    async fn revoke(&self, token: &Token, hint: &'static str) {
        if self.endpoint(Endpoint::Revocation).await.is_err() {
            return;
        }
        let form = [("token", token.expose()), ("token_type_hint", hint)];
        let mut pauses = REVOCATION_PAUSES.iter();
        loop {
            let answer = self.post(Endpoint::Revocation, &form).await;
            let retry = match &answer {
                // 200 also for tokens the AS no longer knows (REV-2.2).
                Ok(answer) if answer.status == 200 => return,
                Ok(answer) => answer.status >= 500 || answer.status == 429,
                Err(failure) => failure.is_outage(),
            };
            let Some(pause) = pauses.next().filter(|_| retry) else {
                let status = answer.map_or(0, |answer| answer.status);
                tracing::warn!(status, hint, "a token could not be revoked; it ends by itself");
                return;
            };
            tokio::time::sleep(*pause).await;
        }
    }

    async fn endpoint(&self, endpoint: Endpoint) -> Result<Url, AsFailure> {
        let metadata = self.metadata().await?;
        metadata
            .endpoint(endpoint, self.registration.mtls_use())
            .cloned()
            .ok_or_else(|| AsFailure::not_made(endpoint, "the AS publishes no such endpoint"))
    }

    /// One authenticated POST: `client_id` and a fresh assertion whose audience is the issuer
    /// (PKJ-9-jti, FAPI2-SP-5.3.3.1-5, MTLS-2), beside the form.
    async fn post(
        &self,
        endpoint: Endpoint,
        form: &[(&str, &str)],
    ) -> Result<net::Answer, AsFailure> {
        let registration = &self.registration;
        let url = self.endpoint(endpoint).await?;
        let jti = self.token(endpoint)?;
        let claims = client_assertion_claims(
            &registration.client_id,
            &registration.issuer,
            self.ambient.now(),
            &jti,
        );
        let typ = registration.client_assertion_typ.then_some(CLIENT_ASSERTION_TYP);
        let assertion = Self::sign(endpoint, &*self.assertion_key, typ, &claims)?;
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .append_pair("client_id", &registration.client_id)
            .append_pair("client_assertion_type", CLIENT_ASSERTION_TYPE_URN)
            .append_pair("client_assertion", &assertion)
            .finish();
        let mut headers = json();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = Some(Bytes::from(body));
        self.timed(endpoint, self.http.send(Method::POST, &url, headers, body, MAX_ANSWER_BYTES))
            .await
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
    Call(#[from] AsFailure),
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

impl From<UserinfoError> for UserinfoFailure {
    fn from(error: UserinfoError) -> Self {
        match error {
            UserinfoError::Answer(answer) => {
                Self::Call(AsFailure::from_answer(Endpoint::Userinfo, answer))
            }
            UserinfoError::Userinfo(UserinfoRejected::TokenRefused) => Self::TokenRejected,
            UserinfoError::Userinfo(rejected) => Self::Refused { reason: rejected.reason() },
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

/// An answer as the rules look at it.
pub(super) fn judged(answer: &net::Answer) -> Answer<'_> {
    Answer {
        status: answer.status,
        content_type: single(&answer.headers, CONTENT_TYPE),
        retry_after: single(&answer.headers, RETRY_AFTER),
        body: &answer.body,
    }
}
