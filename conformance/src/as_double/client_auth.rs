//! Client authentication as the server's conduct has it: an assertion (RFC 7523, FAPI 2.0 SP 5.3.2.1),
//! a certificate (RFC 8705 §2), a secret (RFC 6749 §2.3.1); and the certificate beside an assertion
//! where tokens are bound to it. The registration is found, then everything must fit it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header;
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::{
    ClientRegistration,
    checks::Checks,
    conduct::{ClientAuth, Family},
    core::Core,
    exchange::{Call, Refusal},
    metadata,
    rules::Rule,
};
use crate::{
    jws::{self, JwsFault, Object},
    ledger::{Endpoint, ListenerKind},
};

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

/// Authenticates the client of a form post.
pub(super) fn authenticate<'a>(
    core: &'a Core,
    call: &mut Call,
) -> Result<&'a ClientRegistration, Refusal> {
    let method = core.config.conduct.client_auth;
    let form = |name: &str| call.form(name).is_some();
    let used = [
        (call.headers.contains_key(header::AUTHORIZATION), method == ClientAuth::SecretBasic),
        (form("client_secret"), method == ClientAuth::SecretPost),
        (form("client_assertion"), method == ClientAuth::PrivateKeyJwt),
        (form("client_assertion_type"), method == ClientAuth::PrivateKeyJwt),
    ];
    let other = used.iter().any(|(is_there, belongs)| *is_there && !*belongs);
    call.checks.demand(Rule::AuthOtherMethod, !other)?;
    match method {
        ClientAuth::PrivateKeyJwt => by_assertion(core, call),
        ClientAuth::TlsClientAuth | ClientAuth::SelfSignedTls => by_certificate(core, call),
        ClientAuth::SecretBasic => by_header(core, call),
        ClientAuth::SecretPost => by_form(core, call),
    }
}

/// The assertion's `jti` is spent by success only.
fn by_assertion<'a>(core: &'a Core, call: &mut Call) -> Result<&'a ClientRegistration, Refusal> {
    let conduct = core.config.conduct;
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
    let verified = jws::verify(&assertion, &client.jwks, conduct.client_algs())
        .map_err(|fault| broken(&mut call.checks, fault))?;
    call.checks.held(&SIGNATURE_RULES);
    let typ = verified.header.get("typ").map(Value::as_str);
    let fits = matches!(typ, None | Some(Some("JWT" | "client-authentication+jwt")));
    call.checks.demand(Rule::AuthTyp, fits)?;
    let jti = check_claims(call, core, client, &verified.claims)?;
    let same = call.form("client_id").is_none_or(|id| id == client.client_id);
    call.checks.demand(Rule::AuthClientId, same)?;
    // On the mutual-TLS listener, where tokens are bound to it, the certificate is a registered one.
    if conduct.binds_certificates() && call.connection.listener == ListenerKind::Mtls {
        check_certificate(call, client)?;
    }
    let fresh = core.state().assertion_ids.insert((client.client_id.clone(), jti));
    call.checks.demand(Rule::AuthJtiReplayed, fresh)?;
    Ok(client)
}

/// The client that `client_id` names, which is the caller only if the rest fits.
fn named<'a>(core: &'a Core, call: &mut Call) -> Result<&'a ClientRegistration, Refusal> {
    let client_id = call.demand_value(Rule::AuthClientIdMissing, "client_id")?;
    let client = call.checks.require(Rule::AuthClientUnknown, core.client(&client_id))?;
    call.client_id = Some(client_id);
    Ok(client)
}

fn by_certificate<'a>(core: &'a Core, call: &mut Call) -> Result<&'a ClientRegistration, Refusal> {
    let client = named(core, call)?;
    check_certificate(call, client)?;
    Ok(client)
}

fn by_form<'a>(core: &'a Core, call: &mut Call) -> Result<&'a ClientRegistration, Refusal> {
    let client = named(core, call)?;
    let secret = call.demand_value(Rule::AuthSecretMissing, "client_secret")?;
    check_secret(core, call, client, secret)?;
    Ok(client)
}

fn by_header<'a>(core: &'a Core, call: &mut Call) -> Result<&'a ClientRegistration, Refusal> {
    let header = call.header(&header::AUTHORIZATION).map(str::to_owned);
    let header = call.checks.require(Rule::AuthSecretMissing, header)?;
    core.state().secrets.push(header.clone());
    let (client_id, secret) = call.checks.require(Rule::AuthBasic, basic(&header))?;
    let client = call.checks.require(Rule::AuthClientUnknown, core.client(&client_id))?;
    call.client_id = Some(client_id);
    check_secret(core, call, client, secret)?;
    let same = call.form("client_id").is_none_or(|id| id == client.client_id);
    call.checks.demand(Rule::AuthClientId, same)?;
    Ok(client)
}

/// Name and secret of `Basic` credentials, each form-encoded before they were joined
/// (RFC 6749 §2.3.1). Characters that the encoding would have replaced are not taken.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, credentials) = header.split_once(' ')?;
    let decoded = STANDARD.decode(credentials).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (name, secret) = decoded.split_once(':')?;
    let decode = |part: &str| {
        let text = form_urlencoded::parse(part.as_bytes()).next().map(|(text, _)| text)?;
        let again: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        again.eq_ignore_ascii_case(part).then(|| text.into_owned())
    };
    scheme.eq_ignore_ascii_case("basic").then_some(())?;
    Some((decode(name)?, decode(secret)?))
}

fn check_secret(
    core: &Core,
    call: &mut Call,
    client: &ClientRegistration,
    secret: String,
) -> Result<(), Refusal> {
    let registered = client.client_secret.as_deref().unwrap_or_default();
    let right = registered.as_bytes().ct_eq(secret.as_bytes());
    let right = !registered.is_empty() && bool::from(right);
    core.state().secrets.push(secret);
    call.checks.demand(Rule::AuthSecret, right)
}

fn check_claims(
    call: &mut Call,
    core: &Core,
    client: &ClientRegistration,
    claims: &Object,
) -> Result<String, Refusal> {
    let now = core.now();
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    call.checks.demand(Rule::AuthSub, text("sub") == Some(&client.client_id))?;
    check_audience(call, core, claims)?;
    let checks = &mut call.checks;
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

/// FAPI 2.0: the issuer, as one string. Before that, the endpoint called or the token endpoint will
/// do, and so will a list.
fn check_audience(call: &mut Call, core: &Core, claims: &Object) -> Result<(), Refusal> {
    let audience = call.checks.require(Rule::AuthAudMissing, claims.get("aud"))?;
    if core.config.conduct.family == Family::Fapi2 {
        let audience = call.checks.require(Rule::AuthAudType, audience.as_str())?;
        return call.checks.demand(Rule::AuthAud, audience == core.issuer);
    }
    let named: Vec<&str> = match audience {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let mut endpoints = [Endpoint::Token, call.endpoint].into_iter();
    let endpoint = endpoints.any(|endpoint| {
        [&core.issuer, &core.mtls_base]
            .iter()
            .any(|base| named.contains(&metadata::url(base, endpoint).as_str()))
    });
    let issuer = named.contains(&core.issuer.as_str());
    call.checks.demand(Rule::AuthAud, issuer || endpoint)?;
    call.checks.observe(Rule::AuthAudIssuer, issuer, "");
    Ok(())
}

/// The client shows a certificate it registered.
fn check_certificate(call: &mut Call, client: &ClientRegistration) -> Result<(), Refusal> {
    let presented = call.connection.peer_thumbprint.clone();
    let presented = call.checks.require(Rule::AuthCertificateMissing, presented)?;
    let known = client.certificate_thumbprints.contains(&presented);
    call.checks.demand(Rule::AuthCertificateUnknown, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(scheme: &str, text: &str) -> String {
        format!("{scheme} {}", STANDARD.encode(text))
    }

    #[test]
    fn basic_credentials_are_form_encoded_and_nothing_else() {
        let taken = |text| basic(&header("Basic", text));
        let pair = |name: &str, secret: &str| Some((name.to_owned(), secret.to_owned()));
        assert_eq!(taken("client-1:secret"), pair("client-1", "secret"));
        assert_eq!(taken("a%3Ab:c+d%2B%25"), pair("a:b", "c d+%"));
        assert_eq!(taken("a%3ab:c"), pair("a:b", "c"));
        assert_eq!(basic(&header("bASIC", "a:b")), pair("a", "b"));
        for wrong in ["a", "", "a b:c", "a:b:c", "a:b&c", "a:%", "a:%zz", "é:b"] {
            assert_eq!(taken(wrong), None, "{wrong}");
        }
        assert_eq!(basic(&header("Bearer", "a:b")), None);
        for wrong in ["Basic", "Basic !!", "Basic YTpi=", "YTpi"] {
            assert_eq!(basic(wrong), None, "{wrong}");
        }
    }
}
