//! Client authentication: `private_key_jwt` (RFC 7523, FAPI 2.0 SP 5.3.2.1) and, on the mutual-TLS
//! listener, the client certificate. The registration is found, then everything must fit it.

use http::{StatusCode, header};
use serde_json::Value;

use super::{
    ClientRegistration,
    core::Core,
    exchange::{Call, Refusal},
};
use crate::{
    jws::{self, Alg, Object},
    ledger::ListenerKind,
};

/// What a client may sign with under FAPI 2.0.
pub(super) const CLIENT_ALGS: [Alg; 3] = [Alg::Es256, Alg::Ps256, Alg::EdDsa];

/// Seconds a client's clock may run ahead of ours (FAPI 2.0 SP 5.3.2.1: at least 10 is accepted, more
/// than 60 refused).
pub(super) const CLOCK_SKEW: i64 = 10;

/// Seconds into the future an assertion may end.
const MAX_ASSERTION_LIFETIME: i64 = 3600;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn refuse(reason: &str, detail: &str) -> Refusal {
    Refusal::new("invalid_client", &format!("client_auth.{reason}"), detail)
        .status(StatusCode::UNAUTHORIZED)
}

/// Authenticates the client of a form post. The assertion's `jti` is spent by success only.
pub(super) fn authenticate<'a>(
    core: &'a Core,
    call: &mut Call,
) -> Result<&'a ClientRegistration, Refusal> {
    if call.form("client_secret").is_some() || call.headers.contains_key(header::AUTHORIZATION) {
        return Err(refuse("other_method", "private_key_jwt is the only method"));
    }
    if call.form("client_assertion_type") != Some(ASSERTION_TYPE) {
        return Err(refuse("assertion_type", ASSERTION_TYPE));
    }
    let assertion = call
        .form("client_assertion")
        .ok_or_else(|| refuse("assertion_missing", "no client_assertion"))?
        .to_owned();
    core.state().secrets.push(assertion.clone());
    let (asserted_header, asserted) = jws::peek(&assertion)
        .map_err(|fault| refuse(fault.reason(), "the assertion is not a JWT"))?;
    call.note("assertion_header", asserted_header);
    call.note("assertion_claims", asserted.clone());
    let issuer = asserted.get("iss").and_then(Value::as_str);
    let client = issuer
        .and_then(|client_id| core.client(client_id))
        .ok_or_else(|| refuse("iss", "iss names no registered client"))?;
    call.client_id = Some(client.client_id.clone());
    let verified = jws::verify(&assertion, &client.jwks, &CLIENT_ALGS)
        .map_err(|fault| refuse(fault.reason(), "the assertion's signature"))?;
    let typ = verified.header.get("typ").map(Value::as_str);
    if !matches!(typ, None | Some(Some("JWT" | "client-authentication+jwt"))) {
        return Err(refuse("typ", "not the type of a client assertion"));
    }
    let jti = check_claims(core, client, &verified.claims)?;
    if call.form("client_id").is_some_and(|id| id != client.client_id) {
        return Err(refuse("client_id_mismatch", "client_id is not the assertion's"));
    }
    check_certificate(call, client)?;
    let fresh = core.state().assertion_ids.insert((client.client_id.clone(), jti));
    if !fresh {
        return Err(refuse("jti_replayed", "the assertion was used before"));
    }
    Ok(client)
}

fn check_claims(
    core: &Core,
    client: &ClientRegistration,
    claims: &Object,
) -> Result<String, Refusal> {
    let now = core.now();
    if claims.get("sub").and_then(Value::as_str) != Some(&client.client_id) {
        return Err(refuse("sub", "sub is the client id"));
    }
    match claims.get("aud") {
        Some(Value::String(audience)) if *audience == core.issuer => {}
        Some(Value::String(_)) => return Err(refuse("aud", "aud is the issuer")),
        Some(_) => return Err(refuse("aud_type", "aud is one string")),
        None => return Err(refuse("aud_missing", "no aud")),
    }
    let jti = claims
        .get("jti")
        .and_then(Value::as_str)
        .filter(|jti| !jti.is_empty())
        .ok_or_else(|| refuse("jti_missing", "no jti"))?;
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let exp = time("exp").ok_or_else(|| refuse("exp_missing", "no exp in whole seconds"))?;
    if exp <= now {
        return Err(refuse("expired", "exp has passed"));
    }
    if exp > now + MAX_ASSERTION_LIFETIME {
        return Err(refuse("exp_too_far", "exp is more than an hour away"));
    }
    let iat = time("iat").ok_or_else(|| refuse("iat_missing", "no iat in whole seconds"))?;
    if iat > now + CLOCK_SKEW {
        return Err(refuse("iat_future", "iat is in the future"));
    }
    if claims.contains_key("nbf") && time("nbf").is_none_or(|nbf| nbf > now + CLOCK_SKEW) {
        return Err(refuse("nbf_future", "nbf is in the future"));
    }
    Ok(jti.to_owned())
}

/// On the mutual-TLS listener the client shows a certificate it registered.
fn check_certificate(call: &Call, client: &ClientRegistration) -> Result<(), Refusal> {
    if call.connection.listener != ListenerKind::Mtls {
        return Ok(());
    }
    let presented = call
        .connection
        .peer_thumbprint
        .as_ref()
        .ok_or_else(|| refuse("certificate_missing", "no TLS client certificate"))?;
    if client.certificate_thumbprints.contains(presented) {
        return Ok(());
    }
    Err(refuse("certificate_unknown", "not a certificate of this client"))
}
