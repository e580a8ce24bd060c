//! Owns the reading of answers: a shape that was not expected is trouble, never an absence.
//! Must not know what was asked, nor of whom.

use redis::Value;

use super::trouble::Trouble;
use crate::{
    clock::UnixTime,
    session::store::{StoreKey, StoredRecord, Version},
};

pub(super) fn array(value: Value) -> Result<Vec<Value>, Trouble> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Trouble::not_understood()),
    }
}

pub(super) fn bytes(value: Value) -> Result<Vec<u8>, Trouble> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Okay => Ok(b"OK".to_vec()),
        _ => Err(Trouble::not_understood()),
    }
}

pub(super) fn text(value: Value) -> Result<String, Trouble> {
    if let Value::VerbatimString { text, .. } = value {
        return Ok(text);
    }
    String::from_utf8(bytes(value)?).map_err(|_| Trouble::not_understood())
}

pub(super) fn int(value: &Value) -> Result<i64, Trouble> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(Trouble::not_understood()),
    }
}

pub(super) fn count(value: &Value) -> Result<u64, Trouble> {
    u64::try_from(int(value)?).map_err(|_| Trouble::not_understood())
}

pub(super) fn number<T: std::str::FromStr>(value: Value) -> Result<T, Trouble> {
    text(value)?.parse().map_err(|_| Trouble::not_understood())
}

pub(super) fn time(value: Value) -> Result<UnixTime, Trouble> {
    number(value).map(UnixTime::new)
}

pub(super) fn key(bytes: &[u8]) -> Result<StoreKey, Trouble> {
    bytes.try_into().map(StoreKey::new).map_err(|_| Trouble::not_understood())
}

/// Keys end to end.
pub(super) fn keys(bytes: &[u8]) -> Result<Vec<StoreKey>, Trouble> {
    match bytes.as_chunks::<32>() {
        (keys, []) => Ok(keys.iter().map(|key| StoreKey::new(*key)).collect()),
        _ => Err(Trouble::not_understood()),
    }
}

/// An answer's first word, and what follows.
pub(super) struct Told(std::vec::IntoIter<Value>);

impl Told {
    pub(super) fn read(value: Value) -> Result<(String, Self), Trouble> {
        let mut told = Self(array(value)?.into_iter());
        Ok((text(told.next()?)?, told))
    }

    pub(super) fn of(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    pub(super) fn next(&mut self) -> Result<Value, Trouble> {
        self.0.next().ok_or(Trouble::not_understood())
    }

    /// Version, app, beginning, sealed, end, idle limit, last activity, indexes.
    pub(super) fn record(&mut self) -> Result<StoredRecord, Trouble> {
        Ok(StoredRecord {
            version: Version::new(number(self.next()?)?),
            app: text(self.next()?)?,
            created: time(self.next()?)?,
            sealed: bytes(self.next()?)?,
            expires: time(self.next()?)?,
            idle: number(self.next()?)?,
            last_seen: time(self.next()?)?,
            indexes: keys(&bytes(self.next()?)?)?,
        })
    }
}
