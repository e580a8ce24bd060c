//! Owns the verification of ID tokens, from the code exchange and from a refresh (OpenID Connect
//! Core §3.1.3.7, §12.2). Must not know: sessions, or which claims an application shows.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    clock::UnixTime,
    jose::{ClaimFault, Claims, JwsAlg, JwsPolicy, KeySet, TypRule},
};

use super::{
    claims::{Audience, Window, audience, equal_secrets},
    consent::ConsentClaim,
    nested::{Encryption, open_nested},
    reason::{rejection, signed_token},
};

/// Most seconds since `iat` (OIDC-3.1.3.7-10): a token for us was made just now.
const MAX_AGE: i64 = 600;
/// Longest `sub`, in characters (OIDC-3.1.3.3).
pub(super) const MAX_SUBJECT: usize = 255;
/// Members that belong to other kinds of signed token. An untyped token that has one is not an ID
/// token whatever else it has (JWT-3.12): logout and event tokens, introspection answers,
/// `DPoP` proofs, request objects. Names a user attribute could have, such as `state`, are not on the list.
const FOREIGN_MEMBERS: [&str; 6] =
    ["code_challenge", "events", "htm", "htu", "response_type", "token_introspection"];

/// What an ID token must be measured against.
#[derive(Clone, Copy)]
pub struct IdTokenExpected<'a> {
    /// The transaction's issuer.
    pub issuer: &'a str,
    /// The transaction's client.
    pub client_id: &'a str,
    /// Allowed algorithms: the pinned one, or the profile's.
    pub algs: &'a [JwsAlg],
    /// How it is encrypted, if the client registered that it is (OIDC-3.1.3.7-1).
    pub encryption: Option<Encryption<'a>>,
    /// The time.
    pub now: UnixTime,
    /// Seconds `exp` may have passed (CLK-1); also granted to `max_age`.
    pub exp_leeway: i64,
    /// Seconds `iat`, `nbf` and `auth_time` may lie ahead (CLK-1).
    pub future_tolerance: i64,
    /// The access token issued along with it, for `at_hash`; none if none came.
    pub access_token: Option<&'a str>,
    /// Whom an ID token beside the code was about, if one came (OIDC-3.3.3.6).
    pub subject: Option<&'a str>,
    /// Seconds the user's authentication may be old; makes `auth_time` compulsory.
    pub max_age: Option<u32>,
    /// The `acr` values one of which is demanded; empty demands nothing.
    pub required_acr: &'a [String],
    /// The claim that names the consent the login was to authorize, if it was to.
    pub consent: Option<&'a ConsentClaim>,
}

/// A proven ID token. Only the functions of this module make one.
pub struct VerifiedIdToken {
    claims: Claims,
    continuity: Continuity,
    expires: UnixTime,
    issued_at: UnixTime,
    acr: Option<String>,
    sid: Option<String>,
}

impl VerifiedIdToken {
    /// Every claim.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The issuer; with the subject it is the account's key (OIDC-5.7).
    pub fn issuer(&self) -> &str {
        &self.continuity.issuer
    }

    /// The user at this issuer.
    pub fn subject(&self) -> &str {
        &self.continuity.subject
    }

    /// The server's session, if it names one.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    /// How strongly the user was authenticated, if the server says so.
    pub fn acr(&self) -> Option<&str> {
        self.acr.as_deref()
    }

    /// When the user was authenticated, if the server says so.
    pub const fn auth_time(&self) -> Option<UnixTime> {
        self.continuity.auth_time
    }

    /// `exp`.
    pub const fn expires(&self) -> UnixTime {
        self.expires
    }

    /// `iat`.
    pub const fn issued_at(&self) -> UnixTime {
        self.issued_at
    }

    /// What later ID tokens of the same session must agree with.
    pub const fn continuity(&self) -> &Continuity {
        &self.continuity
    }
}

impl fmt::Debug for VerifiedIdToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VerifiedIdToken")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// What an ID token from a refresh must have in common with the first one (OIDC-12.2). Holds
/// claims, so it is kept sealed and `Debug` shows none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continuity {
    issuer: String,
    subject: String,
    audience: String,
    auth_time: Option<UnixTime>,
    azp: Option<String>,
    nonce: String,
}

impl Continuity {
    /// What a session kept of the first ID token, as it was when verified.
    pub fn restore(
        issuer: String,
        subject: String,
        audience: String,
        auth_time: Option<UnixTime>,
        azp: Option<String>,
        nonce: String,
    ) -> Self {
        Self { issuer, subject, audience, auth_time, azp, nonce }
    }
}

impl fmt::Debug for Continuity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Continuity(..)")
    }
}

rejection! {
    /// Why an ID token is refused.
    pub enum IdTokenRejected {
        Missing => "id_token.missing", "the server sent no ID token (OIDC-3.1.3.3)";
        TooLarge => "id_token.too_large", "the ID token is too large";
        Malformed => "id_token.malformed", "the ID token is malformed";
        DuplicateMember => "id_token.duplicate_member", "a member of the ID token occurs twice";
        HeaderNotAllowed => "id_token.header_not_allowed", "the ID token's header has a forbidden member";
        AlgNotAllowed => "id_token.alg_not_allowed", "the ID token's algorithm is not allowed (OIDC-3.1.3.7-7/8)";
        TypNotAllowed => "id_token.typ_not_allowed", "the token is of another kind (JWT-3.11)";
        KindMismatch => "id_token.kind_mismatch", "the token has members of another kind (JWT-3.12)";
        KeyUnknown => "id_token.key_unknown", "no known key fits the ID token";
        KeyAmbiguous => "id_token.key_ambiguous", "several keys fit the ID token";
        SignatureInvalid => "id_token.signature_invalid", "the ID token's signature is invalid (FAPI2-MS-5.6.2-1)";
        ClaimsMalformed => "id_token.claims_malformed", "the ID token's claims are malformed";
        Encrypted => "id_token.encrypted", "the ID token is encrypted";
        ClaimType(&'static str) => "id_token.claim_type", "claim {0} has the wrong type (OIDC-3.1.3.3)";
        IssuerMissing => "id_token.issuer_missing", "iss is missing";
        IssuerMismatch => "id_token.issuer_mismatch", "iss is another issuer (OIDC-3.1.3.7-2)";
        AudienceMissing => "id_token.audience_missing", "aud is missing";
        AudienceMismatch => "id_token.audience_mismatch", "aud does not name this client (OIDC-3.1.3.7-3)";
        AudienceUntrusted => "id_token.audience_untrusted", "aud names others besides this client (OIDC-3.1.3.7-3)";
        AzpMismatch => "id_token.azp_mismatch", "azp is another client (OIDC-3.1.3.7-4/5)";
        ExpiryMissing => "id_token.expiry_missing", "exp is missing";
        Expired => "id_token.expired", "exp has passed (OIDC-3.1.3.7-9)";
        IssuedAtMissing => "id_token.issued_at_missing", "iat is missing";
        IssuedAtTooOld => "id_token.issued_at_too_old", "iat is more than ten minutes ago (OIDC-3.1.3.7-10)";
        IssuedInFuture => "id_token.issued_in_future", "iat lies ahead of the clock (FAPI2-SP-5.3.2.1-13)";
        NotYetValid => "id_token.not_yet_valid", "nbf lies ahead of the clock (FAPI2-SP-5.3.2.1-13)";
        SubjectMissing => "id_token.subject_missing", "sub is missing";
        SubjectInvalid => "id_token.subject_invalid", "sub is empty, too long or not ASCII (OIDC-3.1.3.3)";
        NonceMissing => "id_token.nonce_missing", "nonce is missing (OIDC-3.1.3.7-11)";
        NonceMismatch => "id_token.nonce_mismatch", "nonce is not the one sent (OIDC-3.1.3.7-11)";
        AtHashMismatch => "id_token.at_hash_mismatch", "`at_hash` is not the access token's (OIDC-3.1.3.8)";
        AcrMissing => "id_token.acr_missing", "acr is missing (OIDC-3.1.3.7-12)";
        AcrMismatch => "id_token.acr_mismatch", "acr is none of those demanded (OIDC-3.1.3.7-12)";
        AuthTimeMissing => "id_token.auth_time_missing", "`auth_time` is missing (OIDC-3.1.3.7-13)";
        AuthTooOld => "id_token.auth_too_old", "the user's authentication is too old (OIDC-3.1.3.7-13)";
        AuthTimeInFuture => "id_token.auth_time_in_future", "`auth_time` lies ahead of the clock";
        IntentMissing => "id_token.intent_missing", "the claim that names the consent is missing (OpenID Connect Core §5.5.1)";
        IntentMismatch => "id_token.intent_mismatch", "another consent was authorized than was asked for (OpenID Connect Core §5.5.1)";
        SubjectChanged => "id_token.subject_changed", "the refresh is for another user (OIDC-12.2)";
        AuthTimeChanged => "id_token.auth_time_changed", "`auth_time` is not the original one (OIDC-12.2)";
        CHashMissing => "id_token.c_hash_missing", "`c_hash` is missing (FAPI1-ADV-5.2.3.1-3)";
        CHashMismatch => "id_token.c_hash_mismatch", "`c_hash` is not the code's (FAPI1-ADV-5.2.3.1-3)";
        SHashMissing => "id_token.s_hash_missing", "`s_hash` is missing (FAPI1-ADV-5.2.3.1-4)";
        SHashMismatch => "id_token.s_hash_mismatch", "`s_hash` is not the state's (FAPI1-ADV-5.2.3.1-4)";
        SubjectDiffers => "id_token.subject_differs", "the two ID tokens of a login are about different users (OIDC-3.3.3.6)";
        ContinuityForeign => "id_token.continuity_foreign", "the session belongs to another issuer or client (OIDC-12.2)";
    } with nested "id_token"
}

signed_token!(IdTokenRejected);

impl IdTokenRejected {
    /// Whether fetching the issuer's keys once more may help (JWK-ROT).
    pub const fn may_be_new_key(&self) -> bool {
        matches!(self, Self::KeyUnknown)
    }
}

/// Verifies the ID token of a code exchange. `token` is none if the server sent none; `nonce` is
/// the transaction's. The signature is checked although the token came over TLS
/// (FAPI2-MS-5.6.2-1).
pub fn verify_id_token(
    token: Option<&str>,
    keys: &KeySet,
    nonce: &str,
    expected: &IdTokenExpected<'_>,
) -> Result<VerifiedIdToken, IdTokenRejected> {
    let token = token.ok_or(IdTokenRejected::Missing)?;
    let verified = verify(token, keys, expected, |claims, _| check_nonce(claims, nonce))?;
    match expected.subject {
        Some(subject) if subject != verified.subject() => Err(IdTokenRejected::SubjectDiffers),
        _ => Ok(verified),
    }
}

/// What an ID token in an authorization response signs by its hashes.
#[derive(Clone, Copy)]
pub struct Detached<'a> {
    /// The code beside it.
    pub code: &'a str,
    /// The state beside it.
    pub state: &'a str,
}

/// Verifies the ID token of an authorization response as the detached signature it is: everything an
/// ID token must be, and `c_hash` and `s_hash`, both compulsory (FAPI1-ADV-5.2.3.1-3/4, OIDC-3.3.2.8).
/// `acr` and `max_age` are demanded of the token endpoint's.
pub fn verify_front_id_token(
    token: Option<&str>,
    keys: &KeySet,
    nonce: &str,
    detached: Detached<'_>,
    expected: &IdTokenExpected<'_>,
) -> Result<VerifiedIdToken, IdTokenRejected> {
    let token = token.ok_or(IdTokenRejected::Missing)?;
    let expected =
        IdTokenExpected { max_age: None, required_acr: &[], access_token: None, ..*expected };
    verify(token, keys, &expected, |claims, alg| {
        let nonce = check_nonce(claims, nonce)?;
        let c_hash = optional(claims, "c_hash")?.ok_or(IdTokenRejected::CHashMissing)?;
        if !equal_secrets(c_hash, &alg.half_hash(detached.code)) {
            return Err(IdTokenRejected::CHashMismatch);
        }
        let s_hash = optional(claims, "s_hash")?.ok_or(IdTokenRejected::SHashMissing)?;
        if !equal_secrets(s_hash, &alg.half_hash(detached.state)) {
            return Err(IdTokenRejected::SHashMismatch);
        }
        Ok(nonce)
    })
}

fn check_nonce(claims: &Claims, nonce: &str) -> Result<String, IdTokenRejected> {
    let returned = optional(claims, "nonce")?.ok_or(IdTokenRejected::NonceMissing)?;
    equal_secrets(returned, nonce).then(|| nonce.to_owned()).ok_or(IdTokenRejected::NonceMismatch)
}

/// Verifies an ID token that came with a refresh: everything a first one must be, and the same
/// user, client and authentication as `original`; `nonce` may be absent (OIDC-12.2). `max_age` is
/// not applied: it limited the login, and refreshing does not make it older.
pub fn verify_refreshed_id_token(
    token: &str,
    keys: &KeySet,
    original: &Continuity,
    expected: &IdTokenExpected<'_>,
) -> Result<VerifiedIdToken, IdTokenRejected> {
    if original.issuer != expected.issuer || original.audience != expected.client_id {
        return Err(IdTokenRejected::ContinuityForeign);
    }
    let expected = IdTokenExpected { max_age: None, ..*expected };
    let mut refreshed =
        verify(token, keys, &expected, |claims, _| match optional(claims, "nonce")? {
            Some(nonce) if !equal_secrets(nonce, &original.nonce) => {
                Err(IdTokenRejected::NonceMismatch)
            }
            _ => Ok(original.nonce.clone()),
        })?;
    let continuity = &mut refreshed.continuity;
    if continuity.subject != original.subject {
        return Err(IdTokenRejected::SubjectChanged);
    }
    if continuity.azp != original.azp {
        return Err(IdTokenRejected::AzpMismatch);
    }
    match (continuity.auth_time, original.auth_time) {
        (Some(now), Some(then)) if now != then => return Err(IdTokenRejected::AuthTimeChanged),
        (None, then) => continuity.auth_time = then,
        _ => {}
    }
    Ok(refreshed)
}

fn verify(
    token: &str,
    keys: &KeySet,
    expected: &IdTokenExpected<'_>,
    check_own: impl FnOnce(&Claims, JwsAlg) -> Result<String, IdTokenRejected>,
) -> Result<VerifiedIdToken, IdTokenRejected> {
    let policy = JwsPolicy { algs: expected.algs, typ: TypRule::IfPresent(&["JWT"]) };
    let token = open_nested(token, expected.encryption.as_ref())?;
    let jws = crate::jose::verify(&token, keys, &policy)?;
    let (alg, claims) = (jws.alg(), jws.claims());
    if FOREIGN_MEMBERS.iter().any(|name| claims.contains(name)) {
        return Err(IdTokenRejected::KindMismatch);
    }
    check_origin(claims, expected)?;
    let azp = optional(claims, "azp")?;
    if azp.is_some_and(|azp| azp != expected.client_id) {
        return Err(IdTokenRejected::AzpMismatch);
    }
    let (expires, issued_at) = check_times(claims, expected)?;
    let subject = optional(claims, "sub")?.ok_or(IdTokenRejected::SubjectMissing)?;
    if subject.is_empty() || subject.len() > MAX_SUBJECT || !subject.is_ascii() {
        return Err(IdTokenRejected::SubjectInvalid);
    }
    let nonce = check_own(claims, alg)?;
    if let Some((hash, token)) = optional(claims, "at_hash")?.zip(expected.access_token)
        && !equal_secrets(hash, &alg.half_hash(token))
    {
        return Err(IdTokenRejected::AtHashMismatch);
    }
    let acr = optional(claims, "acr")?;
    if !expected.required_acr.is_empty() {
        let acr = acr.ok_or(IdTokenRejected::AcrMissing)?;
        if !expected.required_acr.iter().any(|wanted| wanted == acr) {
            return Err(IdTokenRejected::AcrMismatch);
        }
    }
    check_consent(claims, expected.consent)?;
    let continuity = Continuity {
        issuer: expected.issuer.to_owned(),
        subject: subject.to_owned(),
        audience: expected.client_id.to_owned(),
        auth_time: check_auth_time(claims, expected)?,
        azp: azp.map(str::to_owned),
        nonce,
    };
    let (acr, sid) = (acr.map(str::to_owned), optional(claims, "sid")?.map(str::to_owned));
    Ok(VerifiedIdToken { continuity, expires, issued_at, acr, sid, claims: jws.into_claims() })
}

/// An essential claim with a value comes back with that value: the user has authorized what was lodged,
/// and nothing else.
fn check_consent(claims: &Claims, asked: Option<&ConsentClaim>) -> Result<(), IdTokenRejected> {
    let Some(ConsentClaim { name, value }) = asked else { return Ok(()) };
    match claims.get(name) {
        None => Err(IdTokenRejected::IntentMissing),
        Some(returned) if returned.as_str() == Some(value) => Ok(()),
        Some(_) => Err(IdTokenRejected::IntentMismatch),
    }
}

fn check_origin(claims: &Claims, expected: &IdTokenExpected<'_>) -> Result<(), IdTokenRejected> {
    if optional(claims, "iss")?.ok_or(IdTokenRejected::IssuerMissing)? != expected.issuer {
        return Err(IdTokenRejected::IssuerMismatch);
    }
    match audience(claims, expected.client_id) {
        Ok(Audience::Us) => Ok(()),
        Ok(Audience::Others) => Err(IdTokenRejected::AudienceMismatch),
        Ok(Audience::UsAndOthers) => Err(IdTokenRejected::AudienceUntrusted),
        Err(ClaimFault::Missing) => Err(IdTokenRejected::AudienceMissing),
        Err(_) => Err(IdTokenRejected::ClaimType("aud")),
    }
}

impl IdTokenExpected<'_> {
    const fn window(&self) -> Window {
        Window {
            now: self.now,
            exp_leeway: self.exp_leeway,
            future_tolerance: self.future_tolerance,
        }
    }
}

/// `exp` and `iat`, both compulsory.
fn check_times(
    claims: &Claims,
    expected: &IdTokenExpected<'_>,
) -> Result<(UnixTime, UnixTime), IdTokenRejected> {
    let window = expected.window();
    let exp = time(claims, "exp")?.ok_or(IdTokenRejected::ExpiryMissing)?;
    if window.expired(exp) {
        return Err(IdTokenRejected::Expired);
    }
    let iat = time(claims, "iat")?.ok_or(IdTokenRejected::IssuedAtMissing)?;
    if window.ahead(iat) {
        return Err(IdTokenRejected::IssuedInFuture);
    }
    if expected.now.since(iat) > MAX_AGE {
        return Err(IdTokenRejected::IssuedAtTooOld);
    }
    if time(claims, "nbf")?.is_some_and(|nbf| window.ahead(nbf)) {
        return Err(IdTokenRejected::NotYetValid);
    }
    Ok((exp, iat))
}

fn check_auth_time(
    claims: &Claims,
    expected: &IdTokenExpected<'_>,
) -> Result<Option<UnixTime>, IdTokenRejected> {
    let auth_time = time(claims, "auth_time")?;
    if auth_time.is_some_and(|time| expected.window().ahead(time)) {
        return Err(IdTokenRejected::AuthTimeInFuture);
    }
    if let Some(max_age) = expected.max_age {
        let auth_time = auth_time.ok_or(IdTokenRejected::AuthTimeMissing)?;
        if expected.now.since(auth_time) > i64::from(max_age) + expected.exp_leeway {
            return Err(IdTokenRejected::AuthTooOld);
        }
    }
    Ok(auth_time)
}

fn optional<'c>(
    claims: &'c Claims,
    name: &'static str,
) -> Result<Option<&'c str>, IdTokenRejected> {
    claims.optional_string(name).map_err(|_| IdTokenRejected::ClaimType(name))
}

fn time(claims: &Claims, name: &'static str) -> Result<Option<UnixTime>, IdTokenRejected> {
    claims.optional_time(name).map_err(|_| IdTokenRejected::ClaimType(name))
}
