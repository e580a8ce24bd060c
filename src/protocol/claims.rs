//! Owns the checks that several kinds of token share. Must not know: what a failed check is
//! called in any of them.

use subtle::ConstantTimeEq as _;

use crate::{
    clock::UnixTime,
    jose::{ClaimFault, Claims},
};

/// What the clocks of two machines may differ by (CLK-1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) now: UnixTime,
    pub(super) exp_leeway: i64,
    pub(super) future_tolerance: i64,
}

impl Window {
    /// Whether `exp` has passed: the token is dead from `exp + leeway` on (RFC 7519 §4.1.4).
    pub(super) fn expired(&self, exp: UnixTime) -> bool {
        self.now >= exp.plus(self.exp_leeway)
    }

    /// Whether a time that should be past lies further ahead than clocks differ.
    pub(super) fn ahead(&self, time: UnixTime) -> bool {
        time > self.now.plus(self.future_tolerance)
    }
}

/// How `aud` relates to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Audience {
    Us,
    Others,
    UsAndOthers,
}

/// Reads `aud`: a string, or an array that names nobody but us (JWT-3.9, OIDC-3.1.3.7-3).
pub(super) fn audience(claims: &Claims, client_id: &str) -> Result<Audience, ClaimFault> {
    let audience = claims.audience()?;
    Ok(match audience.as_slice() {
        [only] if *only == client_id => Audience::Us,
        several if several.contains(&client_id) => Audience::UsAndOthers,
        _ => Audience::Others,
    })
}

/// Compares without telling by time how much agrees.
pub(super) fn equal_secrets(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}
