//! Owns the ids that follow one call to the upstream: `x-fapi-interaction-id` and W3C trace context.
//! Must not know: which tracing system, if any, listens.

use http::{HeaderMap, HeaderValue, header::HeaderName};

use crate::clock::{Ambient, EntropyUnavailable};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const HEX: &[u8; 16] = b"0123456789abcdef";
/// Longest `tracestate` carried on, as W3C Trace Context §3.3.1.5 suggests.
const MAX_STATE: usize = 512;

/// Ids of one call.
#[derive(Clone, Debug)]
pub struct Trace {
    /// UUID version 4, always ours (FAPI1-BASE-6.2.2-5).
    pub interaction: HeaderValue,
    /// `traceparent`, continued or fresh.
    pub parent: HeaderValue,
    /// `tracestate`, only if the trace is continued.
    pub state: Vec<HeaderValue>,
}

impl Trace {
    /// Ids for a call with these headers; a trace is continued only if its parent is well-formed.
    pub fn begin(headers: &HeaderMap, ambient: &Ambient) -> Result<Self, EntropyUnavailable> {
        let mut interaction = [0; 16];
        let mut trace_id = [0; 16];
        let mut span = [0; 8];
        let random = ambient.random::<40>()?;
        let (first, rest) = random.split_at(16);
        let (second, third) = rest.split_at(16);
        interaction.copy_from_slice(first);
        trace_id.copy_from_slice(second);
        span.copy_from_slice(third);
        // An id of zeros is invalid by definition.
        span[7] |= 1;
        trace_id[15] |= 1;

        let uuid = uuid::Builder::from_random_bytes(interaction).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let interaction = header_value(uuid.as_hyphenated().encode_lower(&mut text).as_bytes());

        let continued = parent(headers);
        let mut line = Vec::with_capacity(55);
        line.extend_from_slice(b"00-");
        match continued {
            Some((id, _)) => line.extend_from_slice(id),
            None => hex(&mut line, &trace_id),
        }
        line.push(b'-');
        hex(&mut line, &span);
        line.push(b'-');
        // A fresh trace is not sampled: that is for whoever started tracing to decide.
        line.extend_from_slice(continued.map_or(b"00", |(_, flags)| flags));

        let states = headers.get_all(TRACESTATE);
        let length: usize = states.iter().map(HeaderValue::len).sum();
        let state = match continued {
            Some(_) if length <= MAX_STATE => states.iter().cloned().collect(),
            _ => Vec::new(),
        };
        Ok(Self { interaction, parent: header_value(&line), state })
    }
}

/// Trace id and flags of a single, well-formed version-00 parent.
fn parent(headers: &HeaderMap) -> Option<(&[u8], &[u8])> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() || value.len() != 55 {
        return None;
    }
    let mut parts = value.split(|byte| *byte == b'-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed =
        |part: &[u8], length| part.len() == length && part.iter().all(|b| HEX.contains(b));
    let id = |part: &[u8], length| well_formed(part, length) && part.iter().any(|b| *b != b'0');
    let good = version == b"00"
        && id(trace, 32)
        && id(span, 16)
        && well_formed(flags, 2)
        && parts.next().is_none();
    good.then_some((trace, flags))
}

fn hex(line: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0xF] {
            line.extend(HEX.get(usize::from(nibble)));
        }
    }
}

/// The value of bytes that are hexadecimal digits and hyphens.
fn header_value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).unwrap_or_else(|_| HeaderValue::from_static(""))
}
