//! Owns the judgement of logout tokens, by which the AS ends sessions (OpenID Connect Back-Channel
//! Logout §2.4, §2.6). Must not know: sessions, or which tokens came before this one.

use std::fmt;

use serde_json::Value;
use url::form_urlencoded;

use crate::{
    clock::UnixTime,
    jose::{ClaimFault, Claims, JwsAlg, JwsPolicy, KeySet, TypRule},
};

use super::{
    claims::{Audience, Window, audience},
    id_token::MAX_SUBJECT,
    nested::{Encryption, open_nested},
    reason::{rejection, signed_token},
};

/// The member of `events` that makes a security event a logout.
const BACK_CHANNEL_LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// `typ` (BCL-4.1).
const LOGOUT_TOKEN_TYP: &str = "logout+jwt";
/// Most seconds from `iat` to `exp`. Two minutes are advised; what is spent is remembered as long, so
/// there must be an end to it (BCL-2.6-3, BCL-2.6-7).
const MAX_LIFETIME: i64 = 600;

/// What a logout token must be measured against: what holds for the client's ID tokens, and its type.
#[derive(Clone, Copy)]
pub struct LogoutTokenExpected<'a> {
    /// The client's issuer.
    pub issuer: &'a str,
    /// The client.
    pub client_id: &'a str,
    /// Allowed algorithms: those of its ID tokens (BCL-2.6-1).
    pub algs: &'a [JwsAlg],
    /// How it is encrypted, if the client's ID tokens are (BCL-2.6-1).
    pub encryption: Option<Encryption<'a>>,
    /// Whether `typ` must be there. Another one than `logout+jwt` is refused either way (BCL-4.1).
    pub typ_required: bool,
    /// The time.
    pub now: UnixTime,
    /// Seconds `exp` may have passed (CLK-1).
    pub exp_leeway: i64,
    /// Seconds `iat` and `nbf` may lie ahead (CLK-1).
    pub future_tolerance: i64,
}

/// A proven logout token. Whether it is the first of its `jti` is not proven yet.
pub struct VerifiedLogoutToken {
    subject: Option<String>,
    sid: Option<String>,
    jti: String,
    expires: UnixTime,
}

impl VerifiedLogoutToken {
    /// Whose sessions end, if it says so; if it names no `sid`, all of them.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Which session ends, if it says so.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    /// Its name at the issuer.
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// `exp`.
    pub const fn expires(&self) -> UnixTime {
        self.expires
    }
}

impl fmt::Debug for VerifiedLogoutToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VerifiedLogoutToken")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

rejection! {
    /// Why a logout token was refused.
    pub enum LogoutTokenRejected {
        Missing => "logout_token.missing", "no form with a logout token came (BCL-2.5)";
        Repeated => "logout_token.repeated", "several logout tokens came at once (BCL-2.5)";
        Malformed => "logout_token.malformed", "the logout token is not a signed token in compact form";
        TooLarge => "logout_token.too_large", "the logout token is too large";
        DuplicateMember => "logout_token.duplicate_member", "a member of the logout token occurs twice";
        HeaderNotAllowed => "logout_token.header_not_allowed", "the logout token's header has a forbidden member";
        AlgNotAllowed => "logout_token.alg_not_allowed", "the logout token's algorithm is not that of the client's ID tokens (BCL-2.6-1)";
        TypNotAllowed => "logout_token.typ_not_allowed", "the logout token's `typ` is not `logout+jwt` (BCL-4.1)";
        KeyUnknown => "logout_token.key_unknown", "the issuer publishes no key that fits the logout token";
        KeyAmbiguous => "logout_token.key_ambiguous", "several of the issuer's keys fit the logout token";
        SignatureInvalid => "logout_token.signature_invalid", "the logout token's signature does not verify";
        ClaimsMalformed => "logout_token.claims_malformed", "the logout token's claims are not a sound JSON object";
        Encrypted => "logout_token.encrypted", "the logout token is encrypted, which the client did not register";
        ClaimType(&'static str) => "logout_token.claim_type", "claim {0} has the wrong type";
        NoncePresent => "logout_token.nonce_present", "a logout token never has a nonce (BCL-2.6-6)";
        IssuerMissing => "logout_token.issuer_missing", "iss is missing (BCL-2.6-3)";
        IssuerMismatch => "logout_token.issuer_mismatch", "iss is not the client's issuer (BCL-2.6-3)";
        AudienceMissing => "logout_token.audience_missing", "aud is missing (BCL-2.6-3)";
        AudienceMismatch => "logout_token.audience_mismatch", "aud is not this client (BCL-2.6-3)";
        AudienceUntrusted => "logout_token.audience_untrusted", "aud names others beside this client (OIDC-3.1.3.7-3)";
        ExpiryMissing => "logout_token.expiry_missing", "exp is missing (BCL-2.6-3)";
        Expired => "logout_token.expired", "the logout token has expired";
        IssuedAtMissing => "logout_token.issued_at_missing", "iat is missing (BCL-2.6-3)";
        IssuedInFuture => "logout_token.issued_in_future", "iat lies ahead of the clock (FAPI2-SP-5.3.2.1-13)";
        LifetimeTooLong => "logout_token.lifetime_too_long", "the logout token is good for longer than ten minutes (BCL-2.6-3)";
        NotYetValid => "logout_token.not_yet_valid", "nbf lies ahead of the clock (FAPI2-SP-5.3.2.1-13)";
        JtiMissing => "logout_token.jti_missing", "jti is missing (BCL-2.6-7)";
        JtiInvalid => "logout_token.jti_invalid", "jti is empty (BCL-2.6-7)";
        EventsMissing => "logout_token.events_missing", "events is missing (BCL-2.6-5)";
        EventMissing => "logout_token.event_missing", "events does not name the back-channel logout (BCL-2.6-5)";
        EventInvalid => "logout_token.event_invalid", "the back-channel logout event is not an object (BCL-2.6-5)";
        NobodyNamed => "logout_token.nobody_named", "neither sub nor sid is there (BCL-2.6-4)";
        SubjectInvalid => "logout_token.subject_invalid", "sub is empty, too long or not ASCII (OIDC-3.1.3.3)";
        SidInvalid => "logout_token.sid_invalid", "sid is empty";
        Replayed => "logout_token.replayed", "the logout token was used before (BCL-2.6-7)";
    } with nested "logout_token"
}

signed_token!(LogoutTokenRejected);

impl LogoutTokenRejected {
    /// Whether fetching the issuer's keys once more may help (JWK-ROT).
    pub const fn may_be_new_key(&self) -> bool {
        matches!(self, Self::KeyUnknown)
    }
}

/// The logout token of a form, which has exactly one; whatever else is in it is ignored (BCL-2.5).
pub fn logout_token_in(form: &[u8]) -> Result<String, LogoutTokenRejected> {
    let mut tokens = form_urlencoded::parse(form).filter(|(name, _)| name == "logout_token");
    let (_, token) = tokens.next().ok_or(LogoutTokenRejected::Missing)?;
    match tokens.next() {
        Some(_) => Err(LogoutTokenRejected::Repeated),
        None => Ok(token.into_owned()),
    }
}

/// Verifies a logout token, by all that can be known without a memory (BCL-2.6-1 to BCL-2.6-6).
pub fn verify_logout_token(
    token: &str,
    keys: &KeySet,
    expected: &LogoutTokenExpected<'_>,
) -> Result<VerifiedLogoutToken, LogoutTokenRejected> {
    let typ = if expected.typ_required {
        TypRule::Required(LOGOUT_TOKEN_TYP)
    } else {
        TypRule::IfPresent(&[LOGOUT_TOKEN_TYP])
    };
    let policy = JwsPolicy { algs: expected.algs, typ };
    let token = open_nested(token, expected.encryption.as_ref())?;
    let jws = crate::jose::verify(&token, keys, &policy)?;
    let claims = jws.claims();
    // An ID token has one: that is how the two are kept apart (BCL-2.6-6).
    if claims.contains("nonce") {
        return Err(LogoutTokenRejected::NoncePresent);
    }
    check_origin(claims, expected)?;
    let expires = check_times(claims, expected)?;
    check_event(claims)?;
    let jti = optional(claims, "jti")?.ok_or(LogoutTokenRejected::JtiMissing)?;
    if jti.is_empty() {
        return Err(LogoutTokenRejected::JtiInvalid);
    }
    let (subject, sid) = (optional(claims, "sub")?, optional(claims, "sid")?);
    if subject.is_none() && sid.is_none() {
        return Err(LogoutTokenRejected::NobodyNamed);
    }
    let unsound = |sub: &str| sub.is_empty() || sub.len() > MAX_SUBJECT || !sub.is_ascii();
    if subject.is_some_and(unsound) {
        return Err(LogoutTokenRejected::SubjectInvalid);
    }
    if sid.is_some_and(str::is_empty) {
        return Err(LogoutTokenRejected::SidInvalid);
    }
    let (subject, sid) = (subject.map(str::to_owned), sid.map(str::to_owned));
    Ok(VerifiedLogoutToken { subject, sid, jti: jti.to_owned(), expires })
}

/// BCL-2.6-3.
fn check_origin(
    claims: &Claims,
    expected: &LogoutTokenExpected<'_>,
) -> Result<(), LogoutTokenRejected> {
    let issuer = optional(claims, "iss")?.ok_or(LogoutTokenRejected::IssuerMissing)?;
    if issuer != expected.issuer {
        return Err(LogoutTokenRejected::IssuerMismatch);
    }
    match audience(claims, expected.client_id) {
        Ok(Audience::Us) => Ok(()),
        Ok(Audience::Others) => Err(LogoutTokenRejected::AudienceMismatch),
        Ok(Audience::UsAndOthers) => Err(LogoutTokenRejected::AudienceUntrusted),
        Err(ClaimFault::Missing) => Err(LogoutTokenRejected::AudienceMissing),
        Err(_) => Err(LogoutTokenRejected::ClaimType("aud")),
    }
}

/// `exp` and `iat`, both compulsory, not far apart (BCL-2.6-3).
fn check_times(
    claims: &Claims,
    expected: &LogoutTokenExpected<'_>,
) -> Result<UnixTime, LogoutTokenRejected> {
    let window = Window {
        now: expected.now,
        exp_leeway: expected.exp_leeway,
        future_tolerance: expected.future_tolerance,
    };
    let exp = time(claims, "exp")?.ok_or(LogoutTokenRejected::ExpiryMissing)?;
    if window.expired(exp) {
        return Err(LogoutTokenRejected::Expired);
    }
    let iat = time(claims, "iat")?.ok_or(LogoutTokenRejected::IssuedAtMissing)?;
    if window.ahead(iat) {
        return Err(LogoutTokenRejected::IssuedInFuture);
    }
    if exp.since(iat) > MAX_LIFETIME {
        return Err(LogoutTokenRejected::LifetimeTooLong);
    }
    if time(claims, "nbf")?.is_some_and(|nbf| window.ahead(nbf)) {
        return Err(LogoutTokenRejected::NotYetValid);
    }
    Ok(exp)
}

/// BCL-2.6-5: an object with the member, whose value is an object, too. Other events may stand beside it.
fn check_event(claims: &Claims) -> Result<(), LogoutTokenRejected> {
    let events = match claims.get("events") {
        None => return Err(LogoutTokenRejected::EventsMissing),
        Some(Value::Object(events)) => events,
        Some(_) => return Err(LogoutTokenRejected::ClaimType("events")),
    };
    match events.get(BACK_CHANNEL_LOGOUT) {
        None => Err(LogoutTokenRejected::EventMissing),
        Some(Value::Object(_)) => Ok(()),
        Some(_) => Err(LogoutTokenRejected::EventInvalid),
    }
}

fn optional<'c>(
    claims: &'c Claims,
    name: &'static str,
) -> Result<Option<&'c str>, LogoutTokenRejected> {
    claims.optional_string(name).map_err(|_| LogoutTokenRejected::ClaimType(name))
}

fn time(claims: &Claims, name: &'static str) -> Result<Option<UnixTime>, LogoutTokenRejected> {
    claims.optional_time(name).map_err(|_| LogoutTokenRejected::ClaimType(name))
}
