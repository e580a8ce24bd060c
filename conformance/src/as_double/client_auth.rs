//! Client authentication: `private_key_jwt` (RFC 7523, FAPI 2.0 SP 5.3.2.1) and, on the mutual-TLS
//! listener, the client certificate. The registration is found, then everything must fit it.

use http::header;
use serde_json::Value;

use super::{
    ClientRegistration,
    checks::Checks,
    core::Core,
    exchange::{Call, Refusal},
    rules::Rule,
};
use crate::{
    jws::{self, Alg, JwsFault, Object},
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

/// In the order in which they are found out.
const SIGNATURE_RULES: [Rule; 7] = [
    Rule::AuthMalformed,
    Rule::AuthDuplicateMember,
    Rule::AuthHeader,
    Rule::AuthAlg,
    Rule::AuthKidMissing,
    Rule::AuthKeyUnknown,
    Rule::AuthSignature,
];

const fn signature_rule(fault: JwsFault) -> Rule {
    match fault {
        JwsFault::Malformed => Rule::AuthMalformed,
        JwsFault::DuplicateMember => Rule::AuthDuplicateMember,
        JwsFault::HeaderNotAllowed => Rule::AuthHeader,
        JwsFault::AlgNotAllowed => Rule::AuthAlg,
        JwsFault::KidMissing => Rule::AuthKidMissing,
        JwsFault::KeyUnknown | JwsFault::KeyUnusable => Rule::AuthKeyUnknown,
        JwsFault::SignatureInvalid => Rule::AuthSignature,
    }
}

/// Authenticates the client of a form post. The assertion's `jti` is spent by success only.
pub(super) fn authenticate<'a>(
    core: &'a Core,
    call: &mut Call,
) -> Result<&'a ClientRegistration, Refusal> {
    let other =
        call.form("client_secret").is_some() || call.headers.contains_key(header::AUTHORIZATION);
    call.checks.demand(Rule::AuthOtherMethod, !other)?;
    let typed = call.form("client_assertion_type") == Some(ASSERTION_TYPE);
    call.checks.demand(Rule::AuthAssertionType, typed)?;
    let assertion = call.demand_value(Rule::AuthAssertionMissing, "client_assertion")?;
    core.state().secrets.push(assertion.clone());
    let broken = |checks: &mut Checks, fault: JwsFault| {
        checks.broken(&SIGNATURE_RULES, signature_rule(fault), fault.reason())
    };
    let (asserted_header, asserted) =
        jws::peek(&assertion).map_err(|fault| broken(&mut call.checks, fault))?;
    call.note("assertion_header", asserted_header);
    call.note("assertion_claims", asserted.clone());
    let issuer = asserted.get("iss").and_then(Value::as_str);
    let client = issuer.and_then(|client_id| core.client(client_id));
    let client = call.checks.require(Rule::AuthIss, client)?;
    call.client_id = Some(client.client_id.clone());
    let verified = jws::verify(&assertion, &client.jwks, &CLIENT_ALGS)
        .map_err(|fault| broken(&mut call.checks, fault))?;
    call.checks.held(&SIGNATURE_RULES);
    let typ = verified.header.get("typ").map(Value::as_str);
    let fits = matches!(typ, None | Some(Some("JWT" | "client-authentication+jwt")));
    call.checks.demand(Rule::AuthTyp, fits)?;
    let jti = check_claims(&mut call.checks, core, client, &verified.claims)?;
    let same = call.form("client_id").is_none_or(|id| id == client.client_id);
    call.checks.demand(Rule::AuthClientId, same)?;
    check_certificate(call, client)?;
    let fresh = core.state().assertion_ids.insert((client.client_id.clone(), jti));
    call.checks.demand(Rule::AuthJtiReplayed, fresh)?;
    Ok(client)
}

fn check_claims(
    checks: &mut Checks,
    core: &Core,
    client: &ClientRegistration,
    claims: &Object,
) -> Result<String, Refusal> {
    let now = core.now();
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    checks.demand(Rule::AuthSub, text("sub") == Some(&client.client_id))?;
    checks.demand(Rule::AuthAudMissing, claims.contains_key("aud"))?;
    let audience = checks.require(Rule::AuthAudType, text("aud"))?;
    checks.demand(Rule::AuthAud, audience == core.issuer)?;
    let jti = checks.require(Rule::AuthJtiMissing, text("jti").filter(|jti| !jti.is_empty()))?;
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let exp = checks.require(Rule::AuthExpMissing, time("exp"))?;
    checks.demand(Rule::AuthExpired, exp > now)?;
    checks.demand(Rule::AuthExpTooFar, exp <= now + MAX_ASSERTION_LIFETIME)?;
    let iat = checks.require(Rule::AuthIatMissing, time("iat"))?;
    checks.demand(Rule::AuthIatFuture, iat <= now + CLOCK_SKEW)?;
    let begun =
        !claims.contains_key("nbf") || time("nbf").is_some_and(|nbf| nbf <= now + CLOCK_SKEW);
    checks.demand(Rule::AuthNbfFuture, begun)?;
    Ok(jti.to_owned())
}

/// On the mutual-TLS listener the client shows a certificate it registered.
fn check_certificate(call: &mut Call, client: &ClientRegistration) -> Result<(), Refusal> {
    if call.connection.listener != ListenerKind::Mtls {
        return Ok(());
    }
    let presented = call.connection.peer_thumbprint.clone();
    let presented = call.checks.require(Rule::AuthCertificateMissing, presented)?;
    let known = client.certificate_thumbprints.contains(&presented);
    call.checks.demand(Rule::AuthCertificateUnknown, known)
}
