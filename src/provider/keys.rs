//! Owns the meeting of the AS's keys with what it signed: which keys, fetched when, asked again
//! when one is unknown. Must not know: the rules a token is judged by; those are `protocol`'s.

use std::sync::Arc;

use http::Method;

use super::{AsFailure, AsFailureKind, JWKS_LIMIT, Provider, cache::Want, json};
use crate::{
    jose::KeySet,
    protocol::{
        id_token::{self, Continuity, IdTokenExpected, IdTokenRejected, VerifiedIdToken},
        jarm::{self, AuthorizationResponse, Expected, ResponseParameters, ResponseRejected},
        metadata::Endpoint,
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
        self.reason() == "jarm.key_unknown"
    }
}

impl KeyDependent for IdTokenRejected {
    fn key_unknown(&self) -> bool {
        self.reason() == "id_token.key_unknown"
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
            algs: &registration.authorization_response_algs,
            now: self.ambient.now(),
            exp_leeway: registration.exp_leeway,
            future_tolerance: registration.future_tolerance,
        };
        jarm::check_unverified_issuer(parameters, &registration.issuer)?;
        self.judged(|keys| jarm::verify_jarm(parameters, keys, &expected)).await
    }

    /// Verifies the ID token of a code exchange (FAPI2-MS-5.6.2-1).
    pub(super) async fn id_token(
        &self,
        token: &str,
        nonce: &str,
        access_token: &str,
        demands: &super::calls::Demands<'_>,
    ) -> Result<VerifiedIdToken, TokenFailure> {
        let expected = IdTokenExpected {
            nonce: Some(nonce),
            max_age: demands.max_age,
            acr_values: demands.acr_values,
            require_acr: demands.require_acr,
            ..self.expected_id_token(Some(access_token))
        };
        self.judged(|keys| id_token::verify_id_token(token, keys, &expected)).await
    }

    /// Verifies an ID token that came with a refresh against the login's (OIDC-12.2).
    pub(super) async fn refreshed_id_token(
        &self,
        token: &str,
        access_token: &str,
        original: &Continuity,
    ) -> Result<VerifiedIdToken, TokenFailure> {
        let expected = self.expected_id_token(Some(access_token));
        self.judged(|keys| id_token::verify_refreshed_id_token(token, keys, &expected, original)).await
    }

    fn expected_id_token<'a>(&'a self, access_token: Option<&'a str>) -> IdTokenExpected<'a> {
        let registration = &self.registration;
        IdTokenExpected {
            issuer: &registration.issuer,
            client_id: &registration.client_id,
            nonce: None,
            algs: &registration.id_token_algs,
            now: self.ambient.now(),
            exp_leeway: registration.exp_leeway,
            future_tolerance: registration.future_tolerance,
            max_age: None,
            acr_values: &[],
            require_acr: false,
            access_token,
        }
    }

    /// Judges by the keys at hand; if the signer's key is unknown to them, asks the AS once more.
    async fn judged<T, R, F>(&self, judge: impl Fn(&KeySet) -> Result<T, R>) -> Result<T, F>
    where
        R: KeyDependent,
        F: From<AsFailure> + From<R>,
    {
        let (keys, fetched_at) = self.keys(Want::Fresh, "expired").await?;
        match judge(&keys) {
            Err(rejected) if rejected.key_unknown() => {
                let (newer, newer_at) = self.keys(Want::NewerThan(fetched_at), "unknown_kid").await?;
                if newer_at == fetched_at {
                    return Err(rejected.into());
                }
                Ok(judge(&newer)?)
            }
            verdict => Ok(verdict?),
        }
    }

    async fn keys(&self, want: Want, cause: &'static str) -> Result<super::cache::Copy<KeySet>, AsFailure> {
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
                        metrics.jwks_keys_skipped(label, keys.skipped().len());
                        tracing::warn!(provider = %label, skipped = keys.skipped().len(), "the AS publishes keys that cannot be used");
                    }
                }
                fetched
            })
            .await
    }

    async fn fetch_keys(
        &self,
        metadata: &Arc<crate::protocol::metadata::Metadata>,
    ) -> Result<KeySet, AsFailure> {
        let Some(url) = metadata.endpoint(Endpoint::Jwks, false, false) else {
            return Err(AsFailure::not_made(Endpoint::Jwks, "the AS publishes no jwks_uri"));
        };
        let answer = self
            .timed(Endpoint::Jwks, self.http.send(Method::GET, url, json(), None, JWKS_LIMIT))
            .await?;
        let failure = |kind| AsFailure::new(Endpoint::Jwks, kind);
        if answer.status >= 500 || answer.status == 429 {
            let kind = AsFailureKind::Unavailable { status: answer.status, retry_after: None };
            return Err(failure(kind));
        }
        // `application/jwk-set+json` is the registered type; many serve `application/json`.
        if answer.status != 200 {
            return Err(failure(AsFailureKind::Malformed { why: "status other than 200" }));
        }
        KeySet::parse(&answer.body)
            .map_err(|_| failure(AsFailureKind::Malformed { why: "not a JWK set" }))
    }
}
