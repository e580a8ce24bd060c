//! What the script draws on demand: logs and transcripts, each string once. Knows nothing of markup.

use std::collections::HashMap;

use serde::Serialize;

use super::escape::{inside_script, revealed};
use crate::suite::{
    report::Report,
    verdict::{Condition, Exchange, Verdict},
};

/// All modules in order: `m` with their logs `l` and transcripts `t`, whose numbers, where they are
/// not times, statuses or classes, are places in the strings `s`.
#[derive(Serialize)]
struct Data {
    s: Vec<String>,
    m: Vec<Module>,
}

#[derive(Serialize)]
struct Module {
    l: Vec<Line>,
    t: Vec<Call>,
}

/// Time, source, check, class (0 held, 1 said, 2 warning, 3 failure), severity (0 info, 1 warning,
/// 2 failure), clauses, message.
#[derive(Serialize)]
struct Line(u64, usize, usize, u8, u8, Vec<usize>, usize);

/// Time, from, to, method, address, status; headers as names and values in turn, and body, of the
/// request and of the answer.
#[derive(Serialize)]
struct Call(u64, usize, usize, usize, usize, u16, Vec<usize>, usize, Vec<usize>, usize);

/// The data of the page, fit for a script element.
pub(super) fn embedded(report: &Report) -> String {
    let mut strings = Strings::default();
    let modules = report.plans.iter().flat_map(|plan| &plan.modules);
    let m = modules
        .map(|module| Module {
            l: module.log.iter().map(|condition| line(condition, &mut strings)).collect(),
            t: module.transcript.iter().map(|exchange| call(exchange, &mut strings)).collect(),
        })
        .collect();
    // Plain values of plain types: this cannot fail, and the script takes an empty page for none.
    inside_script(&serde_json::to_string(&Data { s: strings.all, m }).unwrap_or_default())
}

fn line(condition: &Condition, strings: &mut Strings) -> Line {
    let class = match (condition.held, condition.verdict()) {
        (true, _) => 0,
        (false, Verdict::Failed) => 3,
        (false, Verdict::Warning) => 2,
        (false, _) => 1,
    };
    Line(
        condition.at_ms,
        strings.place(&condition.source),
        strings.place(&condition.check),
        class,
        condition.severity as u8,
        condition.clauses.iter().map(|clause| strings.place(clause)).collect(),
        strings.place(&condition.message),
    )
}

fn call(exchange: &Exchange, strings: &mut Strings) -> Call {
    let mut headers = |pairs: &[(String, String)]| {
        pairs.iter().flat_map(|(name, value)| [strings.place(name), strings.place(value)]).collect()
    };
    let (request, response) =
        (headers(&exchange.request_headers), headers(&exchange.response_headers));
    Call(
        exchange.at_ms,
        strings.place(&exchange.from),
        strings.place(&exchange.to),
        strings.place(&exchange.method),
        strings.place(&exchange.url),
        exchange.status,
        request,
        strings.place(&exchange.request_body),
        response,
        strings.place(&exchange.response_body),
    )
}

#[derive(Default)]
struct Strings {
    all: Vec<String>,
    places: HashMap<String, usize>,
}

impl Strings {
    fn place(&mut self, text: &str) -> usize {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.all.len();
        self.all.push(revealed(text));
        self.places.insert(text.to_owned(), place);
        place
    }
}
