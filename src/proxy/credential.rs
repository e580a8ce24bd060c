//! Owns the headers that carry a session's access token to an upstream: `Authorization`, and the proof
//! of possession beside it. Must not know: sessions, where tokens and keys come from.

use std::fmt;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::challenge;
use crate::{
    clock::Ambient,
    protocol::{Prover, Role},
};

/// What one request carries; made for this request and no other (DPOP-7.3).
#[derive(Clone)]
pub struct Credential {
    /// `Authorization`
    pub authorization: Option<HeaderValue>,
    /// `DPoP`, if the token is bound to a key.
    pub dpop: Option<HeaderValue>,
    /// `x-token-introspection`: the authorization server's signed word on the session's token.
    pub introspection: Option<HeaderValue>,
}

/// Why there is no credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CredentialFault {
    /// The token holds characters that no header may hold.
    #[error("the access token fits no header")]
    Token,
    /// The operating system gave no randomness.
    #[error("no randomness for a proof")]
    NoEntropy,
    /// The proof could not be signed.
    #[error("the proof of possession could not be signed")]
    Unsigned,
}

impl Credential {
    /// A token that is sent as it is; if it is bound, then to the connection's client certificate.
    pub fn bearer(token: &str) -> Result<Self, CredentialFault> {
        let authorization = sensitive(&["Bearer ", token]).ok_or(CredentialFault::Token)?;
        Ok(Self { authorization: Some(authorization), dpop: None, introspection: None })
    }

    /// A signed introspection answer in a header of its own (RFC 9701).
    pub fn introspection(jwt: &str) -> Result<Self, CredentialFault> {
        let jwt = sensitive(&[jwt]).ok_or(CredentialFault::Token)?;
        Ok(Self { authorization: None, dpop: None, introspection: Some(jwt) })
    }

    /// A token bound to `prover`'s key, with the proof for a request of `method` to `target`
    /// (DPOP-7.1).
    pub fn dpop(
        token: &str,
        prover: &Prover,
        ambient: &Ambient,
        method: &Method,
        target: &Uri,
    ) -> Result<Self, CredentialFault> {
        let authorization = sensitive(&["DPoP ", token]).ok_or(CredentialFault::Token)?;
        let jti = ambient.token().map_err(|_| CredentialFault::NoEntropy)?;
        let (url, now) = (target.to_string(), ambient.now());
        let proof = prover
            .proof(Role::Resource, method.as_str(), &url, Some(token), now, &jti)
            .map_err(|_| CredentialFault::Unsigned)?;
        let dpop = sensitive(&[&proof]).ok_or(CredentialFault::Unsigned)?;
        Ok(Self { authorization: Some(authorization), dpop: Some(dpop), introspection: None })
    }
}

/// Takes note of the nonce in an answer of `target`'s server, whatever it answered (DPOP-8).
pub fn learn(prover: &Prover, target: &Uri, headers: &HeaderMap) {
    if headers.contains_key(challenge::DPOP_NONCE) {
        prover.learn(Role::Resource, &target.to_string(), challenge::offered(headers));
    }
}

/// A value kept out of HPACK tables and debug output.
fn sensitive(parts: &[&str]) -> Option<HeaderValue> {
    let mut bytes = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        bytes.extend_from_slice(part.as_bytes());
    }
    let mut value = HeaderValue::from_maybe_shared(bytes.freeze()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("dpop", &self.dpop.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_fits_no_header_is_none_and_none_is_printed() {
        for bad in ["a\nb", "a\0b", "a\u{7f}"] {
            assert_eq!(Credential::bearer(bad).unwrap_err(), CredentialFault::Token);
        }
        let credential = Credential::bearer("secret").unwrap();
        let authorization = credential.authorization.as_ref().unwrap();
        assert_eq!(authorization, "Bearer secret");
        assert!(authorization.is_sensitive());
        let introspection = Credential::introspection("word").unwrap();
        assert_eq!(introspection.introspection.as_ref().unwrap(), "word");
        assert!(introspection.introspection.unwrap().is_sensitive());
        assert_eq!(introspection.authorization, None);
        assert_eq!(Credential::introspection("a\nb").unwrap_err(), CredentialFault::Token);
        assert!(!format!("{credential:?}").contains("secret"));
    }
}
