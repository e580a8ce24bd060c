//! Owns the meeting of the AS's keys with what it signed: which keys, fetched when, asked again
//! when one is unknown. Must not know: the rules a token is judged by; those are `protocol`'s.

use http::Method;
use serde_json::{Map, Value};

use super::{
    AsFailure, AsFailureKind, JWKS_LIMIT, Provider, UserinfoFailure, cache::Want, calls::judged,
    json, tokens::IntrospectFailure,
};
use crate::{
    jose::{EncryptionTarget, JwePolicy, JwsAlg, KeySet},
    profile::{IssParameter, ResponseType},
    protocol::{
        AuthorizationResponse, ConsentClaim, Continuity, Encryption, Endpoint, Expected,
        IdTokenExpected, IdTokenRejected, Introspected, IntrospectionExpected,
        IntrospectionRejected, JarmRejected, LogoutTokenExpected, LogoutTokenRejected, Metadata,
        Opened, ParametersRejected, PlainExpected, ResponseParameters, ResponseRejected,
        UserinfoExpected, UserinfoRejected, VerifiedIdToken, VerifiedLogoutToken, open_nested,
        signed_userinfo, unverified_issuer, unverified_state, verify_hybrid, verify_id_token,
        verify_introspection, verify_jarm, verify_logout_token, verify_plain,
        verify_refreshed_id_token,
    },
};

/// An authorization response that led to no code.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResponseFailure {
    /// The keys to judge it by could not be had.
    #[error(transparent)]
    Keys(#[from] AsFailure),
    /// It was judged and refused.
    #[error(transparent)]
    Rejected(#[from] ResponseRejected),
}

/// An authorization response as it came: its parameters, and the signed token they are in where this
/// client's responses are signed. Nothing in it is believed yet.
#[derive(Debug)]
pub struct Received<'p> {
    parameters: &'p ResponseParameters,
    signed: Option<Opened<'p>>,
}

impl Received<'_> {
    /// The `state` it carries. Only to find the transaction it may belong to.
    pub fn state(&self) -> Result<String, ResponseRejected> {
        if let Some(response) = &self.signed {
            return Ok(unverified_state(response)?);
        }
        let state = self.parameters.get("state").ok_or(ParametersRejected::StateMissing)?;
        Ok(state.to_owned())
    }
}

/// An ID token that could not be believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenFailure {
    /// The keys to judge it by could not be had.
    #[error(transparent)]
    Keys(#[from] AsFailure),
    /// It was judged and refused.
    #[error(transparent)]
    Rejected(#[from] IdTokenRejected),
}

/// A logout token that could not be believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogoutTokenFailure {
    /// The keys to judge it by could not be had.
    #[error(transparent)]
    Keys(#[from] AsFailure),
    /// It was judged and refused.
    #[error(transparent)]
    Rejected(#[from] LogoutTokenRejected),
}

/// A verdict that another key set might change.
trait KeyDependent {
    fn key_unknown(&self) -> bool;
}

impl KeyDependent for ResponseRejected {
    fn key_unknown(&self) -> bool {
        self.may_be_new_key()
    }
}

impl KeyDependent for UserinfoRejected {
    fn key_unknown(&self) -> bool {
        self.may_be_new_key()
    }
}

impl KeyDependent for IntrospectionRejected {
    fn key_unknown(&self) -> bool {
        self.may_be_new_key()
    }
}

impl KeyDependent for IdTokenRejected {
    fn key_unknown(&self) -> bool {
        self.may_be_new_key()
    }
}

impl KeyDependent for LogoutTokenRejected {
    fn key_unknown(&self) -> bool {
        self.may_be_new_key()
    }
}

impl Provider {
    /// Takes a response apart, in the one form this client asks for, and out of the encrypted token it
    /// came in if the client registered that.
    pub fn received<'p>(
        &self,
        parameters: &'p ResponseParameters,
    ) -> Result<Received<'p>, ResponseRejected> {
        if !self.registration.response.response_mode.is_signed() {
            return Ok(Received { parameters, signed: None });
        }
        let response = parameters.response().ok_or(JarmRejected::Missing)?;
        let encryption = self.encryption(self.registration.authorization_response_encryption);
        let signed = open_nested(response, encryption.as_ref()).map_err(JarmRejected::from)?;
        Ok(Received { parameters, signed: Some(signed) })
    }

    /// How a kind of token comes encrypted, with the keys to open it.
    fn encryption(&self, registered: Option<JwePolicy>) -> Option<Encryption<'_>> {
        let JwePolicy { alg, enc } = registered?;
        Some(Encryption { alg, enc, keys: &self.credentials.decryption_keys })
    }

    /// Verifies an authorization response, in the one form this client asks for: a response of
    /// another form is refused, however good it is (JARM-2.3).
    pub async fn authorization_response(
        &self,
        received: &Received<'_>,
        state: &str,
        nonce: Option<&str>,
        consent: Option<&ConsentClaim>,
    ) -> Result<AuthorizationResponse, ResponseFailure> {
        let parameters = received.parameters;
        let form = self.registration.response;
        if let Some(response) = &received.signed {
            return self.signed_response(parameters, response, state).await;
        }
        let announced = self.metadata().await?.authorization_response_iss_parameter_supported();
        let expected = PlainExpected {
            issuer: &self.registration.issuer,
            state,
            iss_required: announced
                || self.registration.profile.iss_parameter == IssParameter::Required,
        };
        match (form.response_type, nonce) {
            (ResponseType::Code, _) => {
                Ok(verify_plain(parameters, &expected).map_err(ResponseRejected::from)?)
            }
            (ResponseType::CodeIdToken, nonce) => {
                // The settings allow this type with OpenID Connect only, so there was a nonce.
                let nonce = nonce.ok_or(IdTokenRejected::NonceMissing);
                let nonce = nonce.map_err(ResponseRejected::from)?;
                let id_token = IdTokenExpected { consent, ..self.expected_id_token(None) };
                self.judged(|keys| verify_hybrid(parameters, keys, nonce, &expected, &id_token))
                    .await
            }
        }
    }

    /// FAPI2-MS-5.4.2-2. The issuer it names is compared before any key is fetched for it (JARM-5.1).
    async fn signed_response(
        &self,
        parameters: &ResponseParameters,
        response: &str,
        state: &str,
    ) -> Result<AuthorizationResponse, ResponseFailure> {
        let registration = &self.registration;
        let expected = Expected {
            issuer: &registration.issuer,
            client_id: &registration.client_id,
            state,
            algs: registration.algs(registration.authorization_response_alg.as_ref()),
            now: self.ambient.now(),
            exp_leeway: registration.exp_leeway,
            future_tolerance: registration.future_tolerance,
        };
        let refused = |rejected: JarmRejected| ResponseRejected::from(rejected);
        if unverified_issuer(response).map_err(refused)? != registration.issuer {
            return Err(refused(JarmRejected::IssuerMismatch).into());
        }
        self.judged(|keys| verify_jarm(parameters, response, keys, &expected).map_err(refused))
            .await
    }

    /// Verifies the ID token of a code exchange (FAPI2-MS-5.6.2-1).
    pub(super) async fn id_token(
        &self,
        token: Option<&str>,
        access_token: &str,
        nonce: &str,
        subject: Option<&str>,
        demands: &super::calls::Demands<'_>,
    ) -> Result<VerifiedIdToken, TokenFailure> {
        let expected = IdTokenExpected {
            max_age: demands.max_age,
            required_acr: demands.required_acr,
            consent: demands.consent,
            subject,
            ..self.expected_id_token(Some(access_token))
        };
        self.judged(|keys| verify_id_token(token, keys, nonce, &expected)).await
    }

    /// Verifies an ID token that came with a refresh against the login's (OIDC-12.2).
    pub(super) async fn refreshed_id_token(
        &self,
        token: &str,
        access_token: &str,
        original: &Continuity,
    ) -> Result<VerifiedIdToken, TokenFailure> {
        let expected = self.expected_id_token(Some(access_token));
        self.judged(|keys| verify_refreshed_id_token(token, keys, original, &expected)).await
    }

    /// Verifies a signed userinfo answer (OIDC-5.3.2-sig).
    pub(super) async fn signed_userinfo(
        &self,
        token: &str,
        subject: &str,
        alg: JwsAlg,
    ) -> Result<Map<String, Value>, UserinfoFailure> {
        let registration = &self.registration;
        let expected = UserinfoExpected {
            issuer: &registration.issuer,
            client_id: &registration.client_id,
            alg,
            encryption: self.encryption(registration.userinfo_encryption),
            now: self.ambient.now(),
            exp_leeway: registration.exp_leeway,
            future_tolerance: registration.future_tolerance,
        };
        self.judged(|keys| signed_userinfo(token, keys, subject, &expected)).await
    }

    /// Verifies a signed introspection answer (INT-9701-5).
    pub(super) async fn introspection(
        &self,
        token: &str,
        jkt: Option<&str>,
    ) -> Result<Introspected, IntrospectFailure> {
        let registration = &self.registration;
        let expected = IntrospectionExpected {
            issuer: &registration.issuer,
            client_id: &registration.client_id,
            algs: registration.profile.unpinned_algs,
            bound_to: self.bound_to(jkt),
            now: self.ambient.now(),
            exp_leeway: registration.exp_leeway,
            future_tolerance: registration.future_tolerance,
        };
        self.judged(|keys| verify_introspection(token, keys, &expected)).await
    }

    /// Verifies a logout token by the rules of this client's ID tokens (BCL-2.6-1/2).
    pub async fn logout_token(
        &self,
        token: &str,
    ) -> Result<VerifiedLogoutToken, LogoutTokenFailure> {
        let registration = &self.registration;
        let expected = LogoutTokenExpected {
            issuer: &registration.issuer,
            client_id: &registration.client_id,
            algs: registration.algs(registration.id_token_alg.as_ref()),
            encryption: self.encryption(registration.id_token_encryption),
            typ_required: registration.logout_token_typ_required,
            now: self.ambient.now(),
            exp_leeway: registration.exp_leeway,
            future_tolerance: registration.future_tolerance,
        };
        let verdict = self.judged(|keys| verify_logout_token(token, keys, &expected)).await;
        // Nobody asks the user to try again here: a key that may be new is not called wrong while the AS
        // does not say.
        match (verdict, self.keys.last_failure()) {
            (Err(LogoutTokenFailure::Rejected(rejected)), Some(failure))
                if rejected.may_be_new_key() =>
            {
                Err(failure.into())
            }
            (verdict, _) => verdict,
        }
    }

    /// The AS's key to encrypt request objects to, if they are to be encrypted.
    pub(super) async fn request_object_target(
        &self,
    ) -> Result<Option<EncryptionTarget>, AsFailure> {
        let Some(JwePolicy { alg, enc }) = self.registration.request_object_encryption else {
            return Ok(None);
        };
        let (keys, _) = self.keys(Want::Fresh, "expired").await?;
        EncryptionTarget::in_set(&keys, alg, enc, None).map(Some).map_err(|failed| {
            tracing::warn!(provider = %self.registration.provider_label, "a request object cannot be encrypted: {failed}");
            AsFailure::not_made(
                Endpoint::PushedAuthorizationRequest,
                "the AS publishes no key to encrypt request objects to, or several without a kid",
            )
        })
    }

    fn expected_id_token<'a>(&'a self, access_token: Option<&'a str>) -> IdTokenExpected<'a> {
        let registration = &self.registration;
        IdTokenExpected {
            issuer: &registration.issuer,
            client_id: &registration.client_id,
            algs: registration.algs(registration.id_token_alg.as_ref()),
            encryption: self.encryption(registration.id_token_encryption),
            now: self.ambient.now(),
            exp_leeway: registration.exp_leeway,
            future_tolerance: registration.future_tolerance,
            access_token,
            subject: None,
            max_age: None,
            required_acr: &[],
            consent: None,
        }
    }

    /// Judges by the keys at hand; if the signer's key is unknown to them, asks the AS once more.
    async fn judged<T, R, F>(&self, judge: impl Fn(&KeySet) -> Result<T, R>) -> Result<T, F>
    where
        R: KeyDependent,
        F: From<AsFailure> + From<R>,
    {
        let (keys, generation) = self.keys(Want::Fresh, "expired").await?;
        match judge(&keys) {
            Err(rejected) if rejected.key_unknown() => {
                let (newer, newer_generation) =
                    self.keys(Want::NewerThan(generation), "unknown_kid").await?;
                if newer_generation == generation {
                    return Err(rejected.into());
                }
                Ok(judge(&newer)?)
            }
            verdict => Ok(verdict?),
        }
    }

    async fn keys(
        &self,
        want: Want,
        cause: &'static str,
    ) -> Result<super::cache::Copy<KeySet>, AsFailure> {
        let metadata = self.metadata().await?;
        self.keys
            .get(want, || async {
                let label = &self.registration.provider_label;
                let metrics = &self.telemetry.metrics;
                let fetched = self.fetch_keys(&metadata).await;
                let outcome = if fetched.is_ok() { "ok" } else { "failed" };
                metrics.jwks_fetch(label, cause, outcome);
                if let Ok(keys) = &fetched {
                    metrics.set_jwks_fetched_at(label, self.ambient.now().as_i64());
                    if !keys.skipped().is_empty() {
                        metrics.jwks_keys_skipped(label, keys.skipped().len() as u64);
                        tracing::warn!(provider = %label, skipped = keys.skipped().len(), "the AS publishes keys that cannot be used");
                    }
                }
                fetched
            })
            .await
    }

    async fn fetch_keys(&self, metadata: &Metadata) -> Result<KeySet, AsFailure> {
        let jwks_uri = metadata.jwks_uri().ok_or_else(|| {
            AsFailure::not_made(
                Endpoint::Jwks,
                "the AS publishes no keys, and this client needs none",
            )
        })?;
        let get = self.http.send(Method::GET, jwks_uri, json(), None, JWKS_LIMIT);
        let answer = self.timed(Endpoint::Jwks, get).await?;
        // `application/jwk-set+json` is the registered type; many serve `application/json`.
        let document = judged(&answer)
            .document()
            .map_err(|answer| AsFailure::from_answer(Endpoint::Jwks, answer))?;
        KeySet::parse(document).map_err(|_| {
            let kind = AsFailureKind::Malformed { why: "as_answer.not_json" };
            AsFailure::new(Endpoint::Jwks, kind)
        })
    }
}
