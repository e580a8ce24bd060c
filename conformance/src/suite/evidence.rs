//! What a module leaves behind for whoever must believe its verdict: the conditions that the servers
//! checked, and every exchange on the wire with its secrets taken out. It must not judge.

mod redact;

use std::collections::HashMap;

pub use self::redact::Redactor;
use super::{
    exam::{Exam, millis},
    verdict::{Condition, Exchange, Severity},
};
use crate::{
    demo::recording::Recording,
    ledger::{Endpoint, Event, ListenerKind, Outcome},
};

/// Longest body in a transcript, in characters.
const LONGEST_BODY: usize = 4_000;

/// Most exchanges in a transcript. What happens fifty times at once is not told fifty times.
const MOST_EXCHANGES: usize = 60;

/// The checks that the authorization server and the API made. Those that a module's script provokes to
/// fail are said and not judged.
pub fn conditions(events: &[(u64, Event)], provoked: &[&str]) -> Vec<Condition> {
    let mut all = Vec::new();
    for (at_ms, event) in events {
        for check in &event.checks {
            let wanted = event.outcome == Outcome::Refused && provoked.contains(&check.name);
            all.push(Condition {
                at_ms: *at_ms,
                source: source(event).to_owned(),
                check: check.name.to_owned(),
                severity: if wanted && !check.held { Severity::Info } else { check.severity },
                held: check.held,
                clauses: check.clauses.iter().map(|clause| (*clause).to_owned()).collect(),
                message: check.message.clone(),
            });
        }
    }
    all
}

fn source(event: &Event) -> &'static str {
    match event.endpoint {
        Endpoint::Api => "api",
        _ => "authorization server",
    }
}

/// Every exchange in order of time. What the browser and a server both saw is told once, by the
/// browser; the servers tell what the BFF asked them.
pub fn transcript(
    events: &[(u64, Event)],
    recording: &Recording,
    exam: &Exam,
    redactor: &mut Redactor,
) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = events
        .iter()
        .filter(|(_, event)| !by_browser(event))
        .map(|(at_ms, event)| of_event(*at_ms, event, redactor))
        .collect();
    for seen in recording.exchanges() {
        let at_ms = millis(exam.at(seen.at));
        all.push(Exchange {
            at_ms,
            from: "browser".to_owned(),
            to: redact::host(&seen.url),
            method: seen.method,
            url: redactor.url(&seen.url),
            request_headers: redactor.headers(&seen.request_headers),
            request_body: clip(&redactor.body(&seen.request_headers, &seen.request_body)),
            status: seen.status,
            response_headers: redactor.headers(&seen.response_headers),
            response_body: clip(&redactor.body(&seen.response_headers, &seen.response_body)),
        });
    }
    all.sort_by_key(|exchange| exchange.at_ms);
    all
}

/// Conditions that held several times in the same words are told once, where they held first, with how
/// often. Every one that did not hold stays.
pub fn gather(conditions: Vec<Condition>) -> Vec<Condition> {
    let mut gathered: Vec<(Condition, usize)> = Vec::new();
    let mut places: HashMap<(String, String, String), usize> = HashMap::new();
    for condition in conditions {
        let key = (condition.source.clone(), condition.check.clone(), condition.message.clone());
        let known = places.get(&key).filter(|_| condition.held);
        if let Some((_, times)) = known.and_then(|at| gathered.get_mut(*at)) {
            *times += 1;
            continue;
        }
        if condition.held {
            places.insert(key, gathered.len());
        }
        gathered.push((condition, 1));
    }
    let told = |(mut condition, times): (Condition, usize)| {
        if times > 1 {
            condition.message = format!("{} ({times} times)", condition.message);
        }
        condition
    };
    gathered.into_iter().map(told).collect()
}

/// Cuts a transcript that is too long to be read; the condition says by how much.
pub fn shorten(transcript: &mut Vec<Exchange>) -> Option<Condition> {
    let last = transcript.get(MOST_EXCHANGES)?;
    let (at_ms, more) = (last.at_ms, transcript.len() - MOST_EXCHANGES);
    transcript.truncate(MOST_EXCHANGES);
    Some(Condition {
        at_ms,
        source: "harness".to_owned(),
        check: "transcript_cut".to_owned(),
        severity: Severity::Info,
        held: true,
        clauses: Vec::new(),
        message: format!("{more} more exchanges were judged and are not in the transcript"),
    })
}

fn by_browser(event: &Event) -> bool {
    use Endpoint::{Authorize, Decision, EndSession, EndSessionDecision, FrontChannelLogout};
    matches!(
        event.endpoint,
        Authorize | Decision | EndSession | EndSessionDecision | FrontChannelLogout
    )
}

fn of_event(at_ms: u64, event: &Event, redactor: &mut Redactor) -> Exchange {
    let query: String =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&event.query).finish();
    let form: String =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&event.form).finish();
    let url = if query.is_empty() { event.path.clone() } else { format!("{}?{query}", event.path) };
    let faulted = event.outcome == Outcome::Faulted;
    Exchange {
        at_ms,
        from: "bff".to_owned(),
        to: match event.listener {
            ListenerKind::Plain => "authorization server",
            ListenerKind::Mtls => "authorization server (mTLS)",
            ListenerKind::Api => "api",
        }
        .to_owned(),
        method: event.method.clone(),
        url: redactor.url(&url),
        request_headers: redactor.headers(&event.headers),
        request_body: clip(&redactor.form(&form)),
        status: if faulted { 0 } else { event.status },
        response_headers: redactor.headers(&event.answer.headers),
        response_body: if faulted {
            format!("disturbed by the harness: {}", event.detail)
        } else {
            clip(&redactor.body(&event.answer.headers, &event.answer.body))
        },
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(LONGEST_BODY) {
        Some((end, _)) => {
            format!("{}… ({} bytes in all)", text.get(..end).unwrap_or_default(), text.len())
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(check: &str, held: bool) -> Condition {
        Condition {
            at_ms: 1,
            source: "api".to_owned(),
            check: check.to_owned(),
            severity: Severity::Failure,
            held,
            clauses: Vec::new(),
            message: "as it should be".to_owned(),
        }
    }

    #[test]
    fn what_held_often_is_told_once_and_what_did_not_each_time() {
        let log = ["a", "b", "a", "a"].map(|check| condition(check, true)).into_iter();
        let failures = ["a", "a"].map(|check| condition(check, false));
        let gathered = gather(log.chain(failures).collect());
        let told: Vec<_> =
            gathered.iter().map(|c| (c.check.as_str(), c.held, c.message.as_str())).collect();
        assert_eq!(
            told,
            [
                ("a", true, "as it should be (3 times)"),
                ("b", true, "as it should be"),
                ("a", false, "as it should be"),
                ("a", false, "as it should be")
            ]
        );
    }

    #[test]
    fn a_long_transcript_is_cut_and_says_so() {
        let exchange = |at_ms| Exchange {
            at_ms,
            from: String::new(),
            to: String::new(),
            method: String::new(),
            url: String::new(),
            request_headers: Vec::new(),
            request_body: String::new(),
            status: 200,
            response_headers: Vec::new(),
            response_body: String::new(),
        };
        let mut short: Vec<_> = (0..60).map(exchange).collect();
        assert_eq!(shorten(&mut short), None);
        let mut long: Vec<_> = (0..75).map(exchange).collect();
        let said = shorten(&mut long).unwrap();
        assert_eq!((long.len(), said.at_ms), (60, 60));
        assert!(said.message.starts_with("15 more"));
    }
}
