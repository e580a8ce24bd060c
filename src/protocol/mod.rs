//! Owns the rules of OAuth, FAPI and OpenID Connect as pure functions: values in, `Accepted` or
//! `Rejected` out. Must not know: sockets, stores, runtimes, browsers. Time, randomness and keys
//! come in as values, so every rule can be tested at its exact second.
//!
//! Types carry what was proven: only [`verify_jarm`], [`verify_plain`] and [`verify_hybrid`] make a
//! [`VerifiedCode`], only [`verify_id_token`] and its kin a [`VerifiedIdToken`], only
//! [`Metadata::accept`] a [`Metadata`].

mod answer;
mod challenge;
mod claims;
mod consent;
mod dpop;
mod exchange;
mod id_token;
mod initiated;
mod introspection;
mod jarm;
mod logout;
mod logout_token;
mod metadata;
mod nested;
mod par;
mod parameters;
mod pkce;
mod plain;
mod rar;
mod reason;
mod request;
mod response;
mod return_to;
mod step_up;
mod target;
mod token;
mod transaction;
mod userinfo;
mod well_known;

#[cfg(test)]
mod tests;

pub use answer::{Answer, AsAnswer, MAX_ANSWER_BYTES, Malformation, OAuthError};
pub use challenge::{AmbiguousParameter, Challenge, challenges};
pub use consent::{Additions, ConsentClaim, is_consent_name};
pub use dpop::{DPOP_TYP, Nonce, NonceRejected, Nonces, Prover, Role, proof_claims};
pub use exchange::{ExchangeRequest, RequestedType, TOKEN_EXCHANGE_GRANT, exchange_response};
pub use id_token::{
    Continuity, Detached, IdTokenExpected, IdTokenRejected, VerifiedIdToken, verify_front_id_token,
    verify_id_token, verify_refreshed_id_token,
};
pub use initiated::{InitiatedLogin, InitiationRejected, initiated_login};
pub use introspection::{
    INTROSPECTION_MEDIA_TYPE, Introspected, IntrospectionError, IntrospectionExpected,
    IntrospectionRejected, introspection_token, verify_introspection,
};
pub use jarm::{Expected, JarmRejected, unverified_issuer, unverified_state, verify_jarm};
pub use logout::end_session_url;
pub use logout_token::{
    LogoutTokenExpected, LogoutTokenRejected, VerifiedLogoutToken, logout_token_in,
    verify_logout_token,
};
pub use metadata::{
    Binding, Endpoint, MAX_METADATA_BYTES, Metadata, MetadataRejected, MtlsUse, Needs,
};
pub use nested::{Encryption, NestedRejected, Opened, open_nested};
pub use par::{PushedRequest, par_response};
pub use parameters::{ALLOWED_PARAMETERS, ParameterRejected, RequestParameters, scope_within};
pub use pkce::{CODE_CHALLENGE_METHOD, CodeVerifier};
pub use plain::{PlainExpected, verify_hybrid, verify_plain};
pub use rar::{AuthorizationDetails, DetailsRejected, MAX_DETAILS_BYTES};
pub use request::{
    AuthorizationRequest, CLIENT_ASSERTION_LIFETIME, CLIENT_ASSERTION_TYP,
    CLIENT_ASSERTION_TYPE_URN, MAX_REQUEST_OBJECT_LIFETIME, REQUEST_OBJECT_TYP, authorization_url,
    client_assertion_claims, plain_authorization_url, signed_authorization_url,
};
pub use response::{
    AuthorizationResponse, ParametersRejected, ResponseParameters, ResponseRejected, VerifiedCode,
};
pub use return_to::{lies_below, safe_return_to};
pub use step_up::{Authentication, StepUp, StepUpRejected};
pub use target::{ResourceRejected, Target, check_audience, check_resource};
pub use token::{
    Asked, BoundTo, Token, TokenRejected, TokenResponse, TokenResponseRejected, TokenType,
    Unwanted, check_binding, granted_scope, token_response,
};
pub use transaction::{Arrival, Mode, Transaction, TransactionRejected};
pub use userinfo::{
    UserinfoError, UserinfoExpected, UserinfoRejected, signed_userinfo, userinfo, userinfo_token,
};
pub use well_known::{Discovery, IssuerRejected, check_issuer, well_known_url};
