//! Owns the meeting of the AS's keys with what it signed: which keys, fetched when, asked again
//! when one is unknown. Must not know: the rules a token is judged by; those are `protocol`'s.

use http::Method;

use super::{AsFailure, AsFailureKind, JWKS_LIMIT, Provider, cache::Want, calls::judged, json};
use crate::{
    jose::KeySet,
    protocol::{
        AuthorizationResponse, Continuity, Endpoint, Expected, IdTokenExpected, IdTokenRejected,
        Metadata, ResponseParameters, ResponseRejected, VerifiedIdToken, unverified_issuer,
        verify_id_token, verify_jarm, verify_refreshed_id_token,
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

/// A verdict that another key set might change.
trait KeyDependent {
    fn key_unknown(&self) -> bool;
}

impl KeyDependent for ResponseRejected {
    fn key_unknown(&self) -> bool {
        self.may_be_new_key()
    }
}

impl KeyDependent for IdTokenRejected {
    fn key_unknown(&self) -> bool {
        self.may_be_new_key()
    }
}

impl Provider {
    /// Verifies an authorization response (FAPI2-MS-5.4.2-2). The issuer it names is compared
    /// before any key is fetched for it (JARM-5.1).
    pub async fn authorization_response(
        &self,
        parameters: &ResponseParameters,
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
        let response = parameters.response().ok_or(ResponseRejected::Missing)?;
        if unverified_issuer(response)? != registration.issuer {
            return Err(ResponseRejected::IssuerMismatch.into());
        }
        self.judged(|keys| verify_jarm(parameters, keys, &expected)).await
    }

    /// Verifies the ID token of a code exchange (FAPI2-MS-5.6.2-1).
    pub(super) async fn id_token(
        &self,
        token: Option<&str>,
        access_token: &str,
        demands: &super::calls::Demands<'_>,
    ) -> Result<VerifiedIdToken, TokenFailure> {
        let expected = IdTokenExpected {
            max_age: demands.max_age,
            required_acr: demands.required_acr,
            ..self.expected_id_token(access_token)
        };
        self.judged(|keys| verify_id_token(token, keys, demands.nonce, &expected)).await
    }

    /// Verifies an ID token that came with a refresh against the login's (OIDC-12.2).
    pub(super) async fn refreshed_id_token(
        &self,
        token: &str,
        access_token: &str,
        original: &Continuity,
    ) -> Result<VerifiedIdToken, TokenFailure> {
        let expected = self.expected_id_token(access_token);
        self.judged(|keys| verify_refreshed_id_token(token, keys, original, &expected)).await
    }

    fn expected_id_token<'a>(&'a self, access_token: &'a str) -> IdTokenExpected<'a> {
        let registration = &self.registration;
        IdTokenExpected {
            issuer: &registration.issuer,
            client_id: &registration.client_id,
            algs: registration.algs(registration.id_token_alg.as_ref()),
            now: self.ambient.now(),
            exp_leeway: registration.exp_leeway,
            future_tolerance: registration.future_tolerance,
            access_token,
            max_age: None,
            required_acr: &[],
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
        let get = self.http.send(Method::GET, metadata.jwks_uri(), json(), None, JWKS_LIMIT);
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
