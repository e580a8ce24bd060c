//! Answers of the authorization server to the BFF itself that are hostile, broken, slow or too large.
//! What can go wrong at every endpoint is here; what only one endpoint can get wrong is in its file.

mod keys;
mod metadata;
mod par;
mod rotation;
mod token;
mod userinfo;

use std::time::Duration;

use super::{
    change::{Change, fault},
    refusal::{Refusal, Wrong, response, start, token as at_token},
};
use crate::{
    as_double::{Endpoint, Fault, FaultRule},
    suite::module::Module,
};

pub(super) fn modules() -> Vec<Module> {
    let mut all: Vec<_> = [Door::Par, Door::Token, Door::Jwks, Door::Metadata]
        .into_iter()
        .flat_map(|door| troubles(door).into_iter().map(move |trouble| door.module(trouble)))
        .collect();
    all.extend(par::modules());
    all.extend(token::modules());
    all.extend(keys::modules());
    all.extend(rotation::modules());
    all.extend(metadata::modules());
    all.extend(userinfo::modules());
    all
}

/// An endpoint that the BFF calls on the way to a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Par,
    Token,
    Jwks,
    Metadata,
}

impl Door {
    const fn endpoint(self) -> Endpoint {
        match self {
            Self::Par => Endpoint::Par,
            Self::Token => Endpoint::Token,
            Self::Jwks => Endpoint::Jwks,
            Self::Metadata => Endpoint::Metadata,
        }
    }

    const fn success(self) -> u16 {
        if matches!(self, Self::Par) { 201 } else { 200 }
    }

    const fn clauses(self) -> &'static [&'static str] {
        match self {
            Self::Par => &["PAR-2.2", "PAR-2.3", "FAPI2-SP-5.3.3.2-2"],
            Self::Token => &["OA-5.1", "OA-5.2"],
            Self::Jwks => &["JWK-FETCH", "FAPI2-MS-5.4.2-2"],
            Self::Metadata => &["META-3.2", "META-PRJ"],
        }
    }

    fn module(self, trouble: Trouble) -> Module {
        let name = self.endpoint().name();
        let id = format!("{name}-{}", trouble.name);
        let does = format!("The {name} endpoint {}.", trouble.does);
        let wrong = Wrong(&id, &does, self.clauses());
        let change = fault(self.endpoint(), trouble.rule);
        let make: fn(&Wrong<'_>, Refusal, Change) -> Module = match self {
            Self::Par => start,
            Self::Token => at_token,
            Self::Jwks => response,
            Self::Metadata => metadata::refused,
        };
        make(&wrong, trouble.refusal, change)
    }
}

/// Something that can go wrong anywhere.
struct Trouble {
    name: &'static str,
    does: &'static str,
    rule: FaultRule,
    refusal: Refusal,
}

fn troubles(door: Door) -> Vec<Trouble> {
    let wrong = |name, does, rule: Fault, reason| Trouble {
        name,
        does,
        rule: rule.into(),
        refusal: Refusal::wrong(reason),
    };
    let outage = |name, does, rule: FaultRule, reason, retry_after| Trouble {
        name,
        does,
        rule,
        refusal: Refusal::outage(reason, retry_after),
    };
    let elsewhere = Fault::Redirect { status: 307, location: "https://127.0.0.1:1/".to_owned() };
    let drip = Fault::Drip { chunk: 1, every: Duration::from_millis(300) };
    let json = |body| answer(door.success(), "application/json", body);
    let not_json = if door == Door::Metadata { "metadata.not_json" } else { "as_answer.not_json" };
    let mut all = vec![
        wrong("redirects", "sends the BFF elsewhere", elsewhere, "as_answer.redirect"),
        wrong(
            "oversized",
            "answers with two megabytes of JSON",
            Fault::Oversized(2_000_000),
            "as_answer.too_large",
        ),
        wrong("empty", "answers with an empty body", json(""), not_json),
        wrong("cut-short", "answers with the first 20 bytes", Fault::Truncate(20), not_json),
        wrong("as-array", "answers with a JSON array", json("[{}]"), not_json),
        outage("drips", "answers a byte at a time", drip.into(), "as.timed_out", "2"),
        outage("hangs", "never answers", Fault::Hang.into(), "as.timed_out", "2"),
        outage("drops", "closes the connection", Fault::Drop.into(), "as.broken", "2"),
        outage(
            "says-when",
            "is overloaded and says when to come again",
            retry(429, "11").into(),
            "as.unavailable",
            "11",
        ),
        outage(
            "says-tomorrow",
            "is down and says to come again tomorrow",
            retry(503, "86400").into(),
            "as.unavailable",
            "120",
        ),
    ];
    // Key sets come under several media types, so theirs says nothing.
    if door != Door::Jwks {
        let html = Fault::ContentType("text/html".to_owned());
        all.push(wrong(
            "as-html",
            "sends its right answer as text/html",
            html,
            "as_answer.content_type",
        ));
    }
    all
}

fn answer(status: u16, content_type: &str, body: &str) -> Fault {
    Fault::Respond {
        status,
        content_type: content_type.to_owned(),
        body: body.as_bytes().to_vec(),
        headers: Vec::new(),
    }
}

fn retry(status: u16, seconds: &str) -> Fault {
    Fault::Respond {
        status,
        content_type: "text/plain".to_owned(),
        body: Vec::new(),
        headers: vec![("retry-after".to_owned(), seconds.to_owned())],
    }
}
