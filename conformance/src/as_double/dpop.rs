//! DPoP proofs (RFC 9449): who holds the key, for which request, with which nonce. It must not know
//! what the key is then bound to.

use http::HeaderName;
use serde_json::Value;

use super::{
    behaviour::DpopNonces,
    core::Core,
    exchange::{Call, Refusal},
    rules::Rule,
    state::Realm,
};
use crate::jws::{self, Alg, JwsFault, Object, sha256_b64, thumbprint};

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// What a proof may be signed with.
const PROOF_ALGS: [Alg; 3] = [Alg::Es256, Alg::Ps256, Alg::EdDsa];

/// Seconds a proof may have been made before or after now.
const WINDOW: i64 = 300;

/// In the order in which they are found out.
const SIGNATURE_RULES: [Rule; 6] = [
    Rule::DpopMalformed,
    Rule::DpopDuplicateMember,
    Rule::DpopHeader,
    Rule::DpopAlg,
    Rule::DpopKey,
    Rule::DpopSignature,
];

const fn signature_rule(fault: JwsFault) -> Rule {
    match fault {
        JwsFault::Malformed => Rule::DpopMalformed,
        JwsFault::DuplicateMember => Rule::DpopDuplicateMember,
        JwsFault::HeaderNotAllowed => Rule::DpopHeader,
        JwsFault::AlgNotAllowed => Rule::DpopAlg,
        JwsFault::KidMissing | JwsFault::KeyUnknown | JwsFault::KeyUnusable => Rule::DpopKey,
        JwsFault::SignatureInvalid => Rule::DpopSignature,
    }
}

/// Whether a request brings a proof.
pub(super) fn is_there(call: &Call) -> bool {
    call.headers.contains_key(DPOP)
}

/// Judges the proof of a request, at a resource together with the access token that goes with it;
/// gives the thumbprint of its key (RFC 9449 §6.1).
pub(super) fn judge(
    core: &Core,
    call: &mut Call,
    access_token: Option<&str>,
) -> Result<String, Refusal> {
    let proof = call.header(&DPOP).map(str::to_owned);
    let proof = call.checks.require(Rule::DpopMissing, proof)?;
    let single = call.headers.get_all(DPOP).iter().count() == 1;
    call.checks.demand(Rule::DpopSingle, single)?;
    core.state().secrets.push(proof.clone());
    if let Ok((header, claims)) = jws::peek(&proof) {
        call.note("proof_header", header);
        call.note("proof_claims", claims);
    }
    let verified = jws::verify_self_contained(&proof, &PROOF_ALGS).map_err(|fault| {
        call.checks.broken(&SIGNATURE_RULES, signature_rule(fault), fault.reason())
    })?;
    call.checks.held(&SIGNATURE_RULES);
    let typ = verified.header.get("typ").and_then(Value::as_str);
    call.checks.demand(Rule::DpopTyp, typ == Some("dpop+jwt"))?;
    let claims = &verified.claims;
    check_request(call, claims, core.now())?;
    let hash = claims.get("ath");
    match access_token {
        Some(token) => {
            let right = hash.and_then(Value::as_str) == Some(&sha256_b64(token.as_bytes()));
            call.checks.demand(Rule::DpopTokenHash, right)?;
        }
        None => call.checks.demand(Rule::DpopNoTokenHash, hash.is_none())?,
    }
    let jti = claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty());
    let jti = call.checks.require(Rule::DpopJtiMissing, jti)?;
    let fresh = core.state().proof_ids.insert(jti.to_owned());
    call.checks.demand(Rule::DpopJtiReplayed, fresh)?;
    check_nonce(core, call, claims)?;
    let key = verified.header.get("jwk").and_then(thumbprint);
    call.checks.require(Rule::DpopKey, key)
}

/// The request the proof was made for, and when.
fn check_request(call: &mut Call, claims: &Object, now: i64) -> Result<(), Refusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let (method, address) = (call.method.clone(), call.url());
    call.checks.demand(Rule::DpopMethod, text("htm") == Some(method.as_str()))?;
    let found = format!("{address} is expected");
    call.checks.demand_with(Rule::DpopAddress, text("htu") == Some(&address), &found)?;
    let recent = time("iat").is_some_and(|iat| (iat - now).abs() <= WINDOW);
    call.checks.demand(Rule::DpopIat, recent)?;
    let absent = |name: &str| !claims.contains_key(name);
    let lives = absent("exp") || time("exp").is_some_and(|exp| exp > now);
    let begun = absent("nbf") || time("nbf").is_some_and(|nbf| nbf <= now);
    call.checks.demand(Rule::DpopTimes, lives && begun)
}

/// The nonce last, so that whoever comes without one learns the next and nothing else is wrong.
fn check_nonce(core: &Core, call: &mut Call, claims: &Object) -> Result<(), Refusal> {
    let policy = core.behaviour().dpop_nonces;
    let realm = Realm::of(call.endpoint);
    let wanted = match policy {
        DpopNonces::Never => return Ok(()),
        DpopNonces::Demanded => core.state().nonce(realm),
        DpopNonces::Endless => core.state().new_nonce(realm),
    };
    let right = claims.get("nonce").and_then(Value::as_str) == Some(&wanted);
    call.checks.demand(Rule::DpopNonce, right).map_err(|refusal| refusal.with_nonce(wanted))
}
