//! `cargo demo --check`: starts everything on free ports, walks the journey, prints a line a step, ends
//! at the first that fails with what is known about it. It must not know what the steps are.

use std::fs;

use super::{journey::Journey, world::World};

/// The step that failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("step {step} failed: {why}")]
pub struct Failed {
    /// Its number, from 1.
    pub step: usize,
    /// What was wrong.
    pub why: String,
}

/// Counts the steps and prints them.
#[derive(Debug, Default)]
pub(super) struct Report {
    steps: usize,
}

impl Report {
    /// Notes how a step ended: what was seen, or what was wrong.
    pub(super) fn note(&mut self, outcome: Result<String, String>) -> Result<(), Failed> {
        self.steps += 1;
        let step = self.steps;
        match outcome {
            Ok(seen) => {
                println!("ok   {step:2}  {seen}");
                Ok(())
            }
            Err(why) => {
                println!("FAIL {step:2}  {why}");
                Err(Failed { step, why })
            }
        }
    }
}

/// Walks the whole journey. The error is the first step that failed; everything known has been printed.
pub async fn run(world: &World) -> Result<usize, Failed> {
    let mut report = Report::default();
    let outcome = match Journey::new(world) {
        Ok(mut journey) => journey.walk(&mut report).await,
        Err(fault) => report.note(Err(fault.to_string())),
    };
    if outcome.is_err() {
        explain(world);
    }
    outcome.map(|()| report.steps)
}

/// What the other side says, which is where the reason usually stands.
fn explain(world: &World) {
    if let Some(refusal) = world.authorization_server.last_refusal() {
        let reason = refusal.reason.as_deref().unwrap_or("no reason");
        println!("        the authorization server last refused: {reason} ({})", refusal.detail);
    }
    let events = world.api.events();
    if let Some(event) = events.iter().rev().find(|event| event.reason.is_some()) {
        let reason = event.reason.as_deref().unwrap_or_default();
        println!("        the sample API last refused: {} {}: {reason}", event.method, event.path);
    }
    let audit = world.audit_file().and_then(|path| fs::read_to_string(path).ok());
    let audit = audit.unwrap_or_default();
    let lines: Vec<&str> = audit.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(3)) {
        println!("        audit: {line}");
    }
}
