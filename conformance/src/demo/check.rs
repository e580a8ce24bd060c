//! `cargo demo --check`: starts everything on free ports, walks the journey, prints a line a step, ends
//! at the first that fails with what is known about it. It must not know what the steps are.

use std::{fs, io::Write};

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

/// Counts the steps and writes a line for each.
pub(super) struct Report<'a> {
    steps: usize,
    out: &'a mut dyn Write,
}

impl Report<'_> {
    /// Notes how a step ended: what was seen, or what was wrong.
    pub(super) fn note(&mut self, outcome: Result<String, String>) -> Result<(), Failed> {
        self.steps += 1;
        let step = self.steps;
        match outcome {
            Ok(seen) => {
                self.line(&format!("ok   {step:2}  {seen}"));
                Ok(())
            }
            Err(why) => {
                self.line(&format!("FAIL {step:2}  {why}"));
                Err(Failed { step, why })
            }
        }
    }

    /// Whoever stops reading (`| head`) has seen enough; the exit code still tells.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    /// What the other side says, which is where the reason usually stands.
    fn explain(&mut self, world: &World) {
        if let Some(refusal) = world.authorization_server.last_refusal() {
            let (reason, detail) = (refusal.reason.unwrap_or_default(), refusal.detail);
            self.line(&format!("        authorization server, last refusal: {reason} ({detail})"));
        }
        if let Some(event) = world.api.events().iter().rev().find(|event| event.reason.is_some()) {
            let reason = event.reason.as_deref().unwrap_or_default();
            let what = format!("{} {}: {reason}", event.method, event.path);
            self.line(&format!("        sample API, last refusal: {what}"));
        }
        let audit = world.audit_file().and_then(|path| fs::read_to_string(path).ok());
        let audit = audit.unwrap_or_default();
        let lines: Vec<&str> = audit.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(3)) {
            self.line(&format!("        audit: {line}"));
        }
    }
}

/// Walks the whole journey and writes a line a step. The error is the first step that failed;
/// everything known about it has been written.
pub async fn run(world: &World, out: &mut dyn Write) -> Result<usize, Failed> {
    let mut report = Report { steps: 0, out };
    let outcome = match Journey::new(world) {
        Ok(mut journey) => journey.walk(&mut report).await,
        Err(fault) => report.note(Err(fault.to_string())),
    };
    if outcome.is_err() {
        report.explain(world);
    } else {
        report.line(&format!("all {} steps are ok", report.steps));
    }
    outcome.map(|()| report.steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        as_double::{Interaction, Target, edits},
        demo::{
            ports::Ports,
            world::{Plan, tests::repository},
        },
    };

    async fn world(root: &std::path::Path) -> World {
        let plan = Plan {
            root: root.to_owned(),
            ports: Ports::ANY,
            interaction: Interaction::Auto,
            scratch: Some(root.join("scratch")),
            environment: Vec::new(),
            on_event: None,
        };
        World::start(plan).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_whole_journey_succeeds() {
        let root = repository();
        let world = world(root.path()).await;
        let mut out = Vec::new();
        assert_eq!(run(&world, &mut out).await, Ok(22));
        let lines = String::from_utf8(out).unwrap();
        assert_eq!(lines.lines().filter(|line| line.starts_with("ok ")).count(), 22, "{lines}");
        world.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_journey_stops_at_the_step_that_fails() {
        let root = repository();
        let world = world(root.path()).await;
        let issuer = edits::append("iss", "x");
        world.authorization_server.behave(|b| b.edit_once(Target::Jarm, issuer));
        let mut out = Vec::new();
        let failed = run(&world, &mut out).await.unwrap_err();
        assert_eq!(failed.step, 7, "{failed}");
        assert!(failed.why.contains("login_rejected"), "{failed}");
        // The browser is not told the reason; whoever runs the check is.
        assert!(String::from_utf8(out).unwrap().contains("jarm.issuer_mismatch"));
        world.shutdown().await;
    }
}
