//! Owns a strictly parsed JSON object and typed access to its members.
//! Must not know: which members a kind of token needs, nor what time it is.

use std::fmt;

use serde_json::{Map, Value};

use super::strict::{self, JsonFault};
use crate::clock::UnixTime;

/// Largest JSON text accepted, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// 9999-12-31T23:59:59Z, the last second RFC 3339 can name.
const LATEST: i64 = 253_402_300_799;

/// A JSON object in which every name occurs once (JWT-PARSE). `Debug` shows no value.
#[derive(Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

/// Why one member could not be read as what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClaimFault {
    /// The object has no such member.
    #[error("the claim is missing")]
    Missing,
    /// The member has another JSON type; `null` counts as one.
    #[error("the claim has the wrong type")]
    WrongType,
    /// The integer is not a time from 1970 to 9999.
    #[error("the claim is out of range")]
    OutOfRange,
}

/// Why JSON text is not acceptable as claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClaimsRejected {
    /// More bytes than the caller allows, 16 KiB for a token.
    #[error("the JSON text is too large")]
    TooLarge,
    /// Not UTF-8, not JSON, or not an object.
    #[error("the text is not a JSON object")]
    Malformed,
    /// A name occurs twice in one object, at any depth.
    #[error("a JSON member occurs twice")]
    DuplicateMember,
    /// More than 16 objects and arrays inside one another.
    #[error("the JSON text is nested too deeply")]
    TooDeep,
}

impl ClaimsRejected {
    /// Stable machine reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "claims_malformed",
            Self::DuplicateMember => "duplicate_member",
            Self::TooDeep => "too_deep",
        }
    }
}

impl Claims {
    /// Parses one JSON object of at most 16 KiB.
    pub fn parse(json: &[u8]) -> Result<Self, ClaimsRejected> {
        Self::parse_within(json, MAX_BYTES)
    }

    /// Parses one JSON object of at most `max_bytes`, for documents other than tokens.
    pub fn parse_within(json: &[u8], max_bytes: usize) -> Result<Self, ClaimsRejected> {
        if json.len() > max_bytes {
            return Err(ClaimsRejected::TooLarge);
        }
        strict::object(json).map(Self).map_err(|fault| match fault {
            JsonFault::NotJson | JsonFault::NotAnObject => ClaimsRejected::Malformed,
            JsonFault::DuplicateMember => ClaimsRejected::DuplicateMember,
            JsonFault::TooDeep => ClaimsRejected::TooDeep,
        })
    }

    /// A string that must be there.
    pub fn string(&self, name: &str) -> Result<&str, ClaimFault> {
        self.optional_string(name)?.ok_or(ClaimFault::Missing)
    }

    /// A string that may be absent.
    pub fn optional_string(&self, name: &str) -> Result<Option<&str>, ClaimFault> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ClaimFault::WrongType),
        }
    }

    /// A time in seconds that must be there.
    pub fn time(&self, name: &str) -> Result<UnixTime, ClaimFault> {
        self.optional_time(name)?.ok_or(ClaimFault::Missing)
    }

    /// A time in seconds that may be absent. Only JSON integers from 0 to 253402300799 count: a
    /// fraction or an exponent is refused rather than rounded.
    pub fn optional_time(&self, name: &str) -> Result<Option<UnixTime>, ClaimFault> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) if number.is_f64() => Err(ClaimFault::WrongType),
            Some(Value::Number(number)) => match number.as_i64() {
                Some(seconds @ 0..=LATEST) => Ok(Some(UnixTime::new(seconds))),
                _ => Err(ClaimFault::OutOfRange),
            },
            Some(_) => Err(ClaimFault::WrongType),
        }
    }

    /// `aud` as a list: one string, or an array of at least one string (RFC 7519 §4.1.3).
    pub fn audience(&self) -> Result<Vec<&str>, ClaimFault> {
        match self.0.get("aud") {
            None => Err(ClaimFault::Missing),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(several)) if !several.is_empty() => {
                several.iter().map(|item| item.as_str().ok_or(ClaimFault::WrongType)).collect()
            }
            Some(_) => Err(ClaimFault::WrongType),
        }
    }

    /// Any member as it stands.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Whether the member is there, `null` included.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All members.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// All members, by value.
    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Claims").field("members", &self.0.len()).finish_non_exhaustive()
    }
}
