//! Owns the two decoders every token passes: unpadded canonical base64url, and JSON in which a
//! name occurs once. Must not know: what is being decoded.

use std::cell::Cell;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How many objects and arrays may stand inside one another, the outermost counted.
const MAX_DEPTH: usize = 16;

/// Why JSON text was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum JsonFault {
    NotJson,
    NotAnObject,
    DuplicateMember,
    TooDeep,
}

/// Decodes base64url: no padding, no whitespace, and unused trailing bits zero, so that no two
/// texts decode to the same bytes (RFC 7515 §2).
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Parses one JSON object; parsers that disagree about duplicates are how signatures get bypassed,
/// so a repeated name is refused at every depth (JWT-PARSE).
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonFault::NotJson)?;
    let fault = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict::new(&fault)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|_| JsonFault::NotJson)?;
    match (fault.get(), value) {
        (Some(fault), _) => Err(fault),
        (None, Value::Object(map)) => Ok(map),
        (None, _) => Err(JsonFault::NotAnObject),
    }
}

/// Reads any JSON value. Faults are noted in the cell rather than raised, so that a reader of a
/// list can drop one element and go on with the next.
#[derive(Clone, Copy)]
pub(super) struct Strict<'f> {
    depth_left: usize,
    fault: &'f Cell<Option<JsonFault>>,
}

impl<'f> Strict<'f> {
    pub(super) fn new(fault: &'f Cell<Option<JsonFault>>) -> Self {
        Self { depth_left: MAX_DEPTH, fault }
    }

    fn note(self, fault: JsonFault) {
        self.fault.set(self.fault.get().or(Some(fault)));
    }

    /// The reader for what stands inside the current object or array, if that may stand here.
    fn inner(self) -> Option<Self> {
        let depth_left = self.depth_left.checked_sub(1);
        if depth_left.is_none() {
            self.note(JsonFault::TooDeep);
        }
        Some(Self { depth_left: depth_left?, fault: self.fault })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let Some(inner) = self.inner() else {
            while access.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        };
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        let Some(inner) = self.inner() else {
            while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        };
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                self.note(JsonFault::DuplicateMember);
            }
        }
        Ok(Value::Object(members))
    }
}
