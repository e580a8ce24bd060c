//! Where a module stands: the state machine of one test, fed with what the authorization server and
//! the API were asked and with the passing of time. The first half is pure; the second waits for it.
//! It must not know who drives the browser, nor what the audit stream says.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::verdict::{Condition, Severity, Status};
use crate::ledger::{Endpoint, Event, Outcome};

/// When a module is over, and what may not happen before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The endpoint was called by the rules: the client went all the way.
    Reached(Endpoint),
    /// Something wrong leaves with the answer of `after`. From then on the client must be silent for
    /// the wait time; it may only ask for what `tolerated` names.
    Silence {
        /// Whose answer carries the wrong thing.
        after: Endpoint,
        /// Calls that mean nothing.
        tolerated: &'static [Endpoint],
    },
    /// The script decides.
    Script,
}

/// A request as the state machine sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Which door.
    pub endpoint: Endpoint,
    /// Method and path, for people.
    pub what: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused.
    pub reason: Option<String>,
}

impl Seen {
    fn of(event: &Event) -> Self {
        Self {
            endpoint: event.endpoint,
            what: format!("{} {}", event.method, event.path),
            outcome: event.outcome,
            reason: event.reason.clone(),
        }
    }
}

/// The state machine. Times are since the module's start.
#[derive(Debug)]
pub struct State {
    ending: Ending,
    wait: Duration,
    status: Status,
    /// When the wrong thing was sent.
    sent: Option<Duration>,
    /// Requests that are being judged.
    open: usize,
    complaints: Vec<(Duration, &'static str, String)>,
}

impl State {
    /// A module that has not begun. `wait` is how long silence must last.
    pub const fn new(ending: Ending, wait: Duration) -> Self {
        let complaints = Vec::new();
        Self { ending, wait, status: Status::Created, sent: None, open: 0, complaints }
    }

    /// Everything is up; requests may come.
    pub fn begin(&mut self) {
        if self.status == Status::Created {
            self.status = Status::Waiting;
        }
    }

    /// A request arrives, or is answered or given up.
    pub fn visited(&mut self, arrives: bool) {
        self.open = if arrives { self.open + 1 } else { self.open.saturating_sub(1) };
        self.status = match (self.status, self.open) {
            (Status::Waiting, 1..) => Status::Running,
            (Status::Running, 0) => Status::Waiting,
            (other, _) => other,
        };
    }

    /// A request was answered. Until its end, what a script decides about it watches itself.
    pub fn saw(&mut self, seen: &Seen, at: Duration) {
        self.tick(at);
        match self.status {
            Status::Created => {
                self.break_off(at, "call_before_start", &seen.what);
                return;
            }
            Status::Finished => {
                if !self.may_come_late(seen.endpoint) {
                    self.complain(at, "call_after_end", &seen.what);
                }
                return;
            }
            Status::Interrupted => return,
            Status::Waiting | Status::Running => {}
        }
        if self.ending == Ending::Script {
            return;
        }
        if let (Outcome::Refused, reason) = (seen.outcome, &seen.reason) {
            let reason = reason.as_deref().unwrap_or_default();
            self.break_off(at, "request_refused", &format!("{}: {reason}", seen.what));
            return;
        }
        // Sent back for a nonce: nothing was answered yet. Once the client had to be silent, though,
        // it should not have come at all.
        if seen.outcome == Outcome::Challenged && self.sent.is_none() {
            return;
        }
        match self.ending {
            Ending::Reached(endpoint) => {
                if seen.endpoint == endpoint && seen.outcome == Outcome::Accepted {
                    self.status = Status::Finished;
                }
            }
            Ending::Silence { after, tolerated } => {
                if self.sent.is_some() {
                    if !tolerated.contains(&seen.endpoint) {
                        self.complain(at, "client_went_on", &seen.what);
                        self.status = Status::Finished;
                    }
                } else if seen.endpoint == after {
                    // A fault in place of the answer is as wrong as anything in an answer.
                    self.sent = Some(at);
                }
            }
            Ending::Script => {}
        }
    }

    /// Time passes. The timer ends nothing while a request is being judged.
    pub fn tick(&mut self, at: Duration) {
        if self.status == Status::Waiting && self.deadline().is_some_and(|deadline| deadline <= at)
        {
            self.status = Status::Finished;
        }
    }

    /// When silence will have lasted long enough.
    pub fn deadline(&self) -> Option<Duration> {
        self.sent.map(|sent| sent + self.wait)
    }

    /// The script has come to its end; only a module it decides about is over by that.
    pub fn script_ended(&mut self) {
        let is_under_way = matches!(self.status, Status::Waiting | Status::Running);
        if self.ending == Ending::Script && is_under_way {
            self.status = Status::Finished;
        }
    }

    /// Nothing more will come: what is not over now never will be.
    pub fn give_up(&mut self, at: Duration, why: &str) {
        if matches!(self.status, Status::Created | Status::Waiting | Status::Running) {
            self.break_off(at, "never_finished", why);
        }
    }

    /// Where it stands.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Whether there was something wrong to send and the client never came so far.
    pub const fn was_never_reached(&self) -> bool {
        matches!(self.ending, Ending::Silence { .. }) && self.sent.is_none()
    }

    /// What went wrong so far.
    pub fn conditions(&self) -> Vec<Condition> {
        let complaint = |(at, check, message): &(Duration, &'static str, String)| Condition {
            at_ms: millis(*at),
            source: "harness".to_owned(),
            check: (*check).to_owned(),
            severity: Severity::Failure,
            held: false,
            clauses: Vec::new(),
            message: message.clone(),
        };
        self.complaints.iter().map(complaint).collect()
    }

    /// What means nothing after the end either: metadata, keys, tokens handed back. In a positive
    /// module of the official suite, nothing does.
    fn may_come_late(&self, endpoint: Endpoint) -> bool {
        match self.ending {
            Ending::Reached(_) => false,
            Ending::Silence { tolerated, .. } => tolerated.contains(&endpoint),
            Ending::Script => {
                matches!(endpoint, Endpoint::Metadata | Endpoint::Jwks | Endpoint::Revocation)
            }
        }
    }

    fn complain(&mut self, at: Duration, check: &'static str, what: &str) {
        let message = match check {
            "call_after_end" => format!("{what} was called after the end of the test"),
            "client_went_on" => format!("{what} was called although the client had to stop"),
            "call_before_start" => format!("{what} was called before the test was ready"),
            "request_refused" => format!("a request against the rules: {what}"),
            _ => what.to_owned(),
        };
        self.complaints.push((at, check, message));
    }

    fn break_off(&mut self, at: Duration, check: &'static str, what: &str) {
        self.complain(at, check, what);
        self.status = Status::Interrupted;
    }
}

pub(super) fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

/// One test's state, shared between the servers that feed it and the runner that waits for it.
#[derive(Clone, Debug)]
pub struct Exam(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    state: Mutex<State>,
    events: Mutex<Vec<(u64, Event)>>,
    changed: watch::Sender<()>,
}

impl Exam {
    /// A module that has not begun.
    pub fn new(ending: Ending, wait: Duration) -> Self {
        Self(Arc::new(Shared {
            started: Instant::now(),
            state: Mutex::new(State::new(ending, wait)),
            events: Mutex::default(),
            changed: watch::Sender::new(()),
        }))
    }

    /// Time since it was made.
    pub fn elapsed(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// How long after that an instant was.
    pub fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.0.started)
    }

    /// Every request so far, with milliseconds since it was made.
    pub fn events(&self) -> Vec<(u64, Event)> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads or changes the state; whoever waits looks again.
    pub fn with<R>(&self, change: impl FnOnce(&mut State, Duration) -> R) -> R {
        let at = self.elapsed();
        let result = change(&mut self.lock(), at);
        self.0.changed.send_replace(());
        result
    }

    /// A request was answered.
    pub fn saw(&self, event: &Event) {
        self.with(|state, at| {
            state.saw(&Seen::of(event), at);
            let mut events = self.0.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.push((millis(at), event.clone()));
        });
    }

    /// A request arrives, or is answered or given up.
    pub fn visited(&self, arrives: bool) {
        self.with(|state, at| {
            // What was over before it came is over.
            state.tick(at);
            state.visited(arrives);
        });
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.with(|state, at| {
            state.tick(at);
            state.status()
        })
    }

    /// Resolves when it is over, or after `limit`, which breaks it off.
    pub async fn over(&self, limit: Duration) {
        let mut changed = self.0.changed.subscribe();
        let limit = tokio::time::sleep(limit);
        tokio::pin!(limit);
        loop {
            changed.mark_unchanged();
            let (over, deadline) = {
                let mut state = self.lock();
                state.tick(self.elapsed());
                let over = matches!(state.status(), Status::Finished | Status::Interrupted);
                // While a request is judged, its answer is what is waited for.
                let deadline = state.deadline().filter(|_| state.status() == Status::Waiting);
                (over, deadline)
            };
            if over {
                return;
            }
            let left = deadline.map(|deadline| deadline.saturating_sub(self.elapsed()));
            let timer = async {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changed.changed() => {}
                () = timer => {}
                () = &mut limit => {
                    let why = "the test did not come to its end in time";
                    self.with(|state, at| state.give_up(at, why));
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn call(endpoint: Endpoint) -> Seen {
        Seen {
            endpoint,
            what: endpoint.name().to_owned(),
            outcome: Outcome::Accepted,
            reason: None,
        }
    }

    fn refused(endpoint: Endpoint) -> Seen {
        Seen {
            outcome: Outcome::Refused,
            reason: Some("client_auth.aud".to_owned()),
            ..call(endpoint)
        }
    }

    fn begun(ending: Ending) -> State {
        let mut state = State::new(ending, WAIT);
        assert_eq!(state.status(), Status::Created);
        state.begin();
        assert_eq!(state.status(), Status::Waiting);
        state
    }

    fn silence() -> State {
        begun(Ending::Silence { after: Endpoint::Authorize, tolerated: &[Endpoint::Jwks] })
    }

    fn complaints(state: &State) -> Vec<String> {
        state.conditions().into_iter().map(|condition| condition.check).collect()
    }

    #[test]
    fn getting_tokens_ends_nothing_and_the_accounts_call_does() {
        let mut state = begun(Ending::Reached(Endpoint::Accounts));
        for endpoint in [Endpoint::Metadata, Endpoint::Par, Endpoint::Token, Endpoint::Userinfo] {
            state.saw(&call(endpoint), at(1));
            assert_eq!(state.status(), Status::Waiting, "{endpoint:?}");
        }
        state.saw(&Seen { outcome: Outcome::Faulted, ..call(Endpoint::Accounts) }, at(1));
        assert_eq!(state.status(), Status::Waiting);
        state.saw(&call(Endpoint::Accounts), at(2));
        assert_eq!(state.status(), Status::Finished);
        assert!(complaints(&state).is_empty());
    }

    #[test]
    fn silence_counts_from_the_wrong_thing_to_the_second() {
        let mut state = silence();
        state.tick(at(100));
        assert_eq!(state.status(), Status::Waiting, "nothing was sent yet");
        state.saw(&call(Endpoint::Par), at(100));
        state.saw(&call(Endpoint::Authorize), at(101));
        assert_eq!(state.deadline(), Some(at(106)));
        state.saw(&call(Endpoint::Jwks), at(102));
        state.tick(Duration::from_millis(105_999));
        assert_eq!(state.status(), Status::Waiting);
        state.tick(at(106));
        assert_eq!(state.status(), Status::Finished);
        assert!(complaints(&state).is_empty());
    }

    /// A client that is told a nonce comes again, and that is neither the answer nor going on after it.
    #[test]
    fn a_demand_for_a_nonce_is_no_answer() {
        let challenged = |endpoint| Seen { outcome: Outcome::Challenged, ..call(endpoint) };
        let mut state = begun(Ending::Silence { after: Endpoint::Token, tolerated: &[] });
        state.saw(&challenged(Endpoint::Token), at(1));
        assert!(state.was_never_reached());
        state.saw(&call(Endpoint::Token), at(2));
        assert_eq!(state.deadline(), Some(at(7)));
        state.saw(&challenged(Endpoint::Userinfo), at(3));
        assert_eq!(complaints(&state), ["client_went_on"]);
        let mut state = begun(Ending::Reached(Endpoint::Accounts));
        state.saw(&challenged(Endpoint::Accounts), at(1));
        assert_eq!(state.status(), Status::Waiting);
        state.saw(&call(Endpoint::Accounts), at(2));
        assert_eq!(state.status(), Status::Finished);
    }

    #[test]
    fn silence_counts_from_a_fault_in_place_of_the_answer_too() {
        let mut state = begun(Ending::Silence { after: Endpoint::Par, tolerated: &[] });
        state.saw(&Seen { outcome: Outcome::Faulted, ..call(Endpoint::Metadata) }, at(1));
        assert!(state.was_never_reached());
        state.saw(&Seen { outcome: Outcome::Faulted, ..call(Endpoint::Par) }, at(2));
        assert_eq!(state.deadline(), Some(at(7)));
        state.saw(&call(Endpoint::Par), at(3));
        assert_eq!(complaints(&state), ["client_went_on"]);
    }

    /// A request that came in time counts as such, however long its answer takes.
    #[test]
    fn the_timer_waits_for_a_request_that_is_being_judged() {
        let mut state = silence();
        state.visited(true);
        assert_eq!(state.status(), Status::Running);
        state.saw(&call(Endpoint::Authorize), at(1));
        state.visited(false);
        assert_eq!(state.status(), Status::Waiting);
        state.visited(true);
        state.tick(at(60));
        assert_eq!(state.status(), Status::Running);
        state.saw(&call(Endpoint::Token), at(60));
        assert_eq!(complaints(&state), ["client_went_on"]);
        let mut state = silence();
        state.visited(true);
        state.saw(&call(Endpoint::Authorize), at(1));
        state.visited(true);
        // Given up without an answer: nothing of it was heard.
        state.visited(false);
        state.visited(false);
        state.tick(at(6));
        assert_eq!(state.status(), Status::Finished);
    }

    #[test]
    fn a_client_that_goes_on_fails_at_once() {
        for endpoint in [Endpoint::Token, Endpoint::Par, Endpoint::Authorize, Endpoint::Userinfo] {
            let mut state = silence();
            state.saw(&call(Endpoint::Authorize), at(1));
            state.saw(&call(endpoint), at(2));
            assert_eq!(state.status(), Status::Finished);
            assert_eq!(complaints(&state), ["client_went_on"], "{endpoint:?}");
        }
    }

    #[test]
    fn a_call_after_the_end_is_counted_against_the_client() {
        let mut state = silence();
        state.saw(&call(Endpoint::Authorize), at(1));
        // The timer has fired although nobody asked for it in between.
        state.saw(&call(Endpoint::Jwks), at(6));
        assert!(complaints(&state).is_empty(), "what is tolerated stays so");
        state.saw(&call(Endpoint::Token), at(6));
        assert_eq!(state.status(), Status::Finished);
        assert_eq!(complaints(&state), ["call_after_end"]);
        let mut state = begun(Ending::Reached(Endpoint::Accounts));
        state.saw(&call(Endpoint::Accounts), at(1));
        state.saw(&call(Endpoint::Accounts), at(2));
        assert_eq!(complaints(&state), ["call_after_end"]);
    }

    #[test]
    fn a_request_against_the_rules_breaks_off() {
        let mut state = begun(Ending::Reached(Endpoint::Accounts));
        state.saw(&refused(Endpoint::Par), at(1));
        assert_eq!(state.status(), Status::Interrupted);
        assert_eq!(complaints(&state), ["request_refused"]);
        assert!(state.conditions()[0].message.contains("client_auth.aud"));
        let mut state = begun(Ending::Script);
        state.saw(&refused(Endpoint::Par), at(1));
        assert_eq!(state.status(), Status::Waiting, "its script may want it");
        state.script_ended();
        state.saw(&call(Endpoint::Revocation), at(2));
        assert!(complaints(&state).is_empty(), "what it left behind is cleared away");
        state.saw(&refused(Endpoint::Userinfo), at(3));
        assert_eq!(complaints(&state), ["call_after_end"], "and nothing else happens");
    }

    #[test]
    fn a_call_before_the_start_breaks_off() {
        let mut state = State::new(Ending::Reached(Endpoint::Accounts), WAIT);
        state.saw(&call(Endpoint::Metadata), at(0));
        assert_eq!(state.status(), Status::Interrupted);
        assert_eq!(complaints(&state), ["call_before_start"]);
    }

    #[test]
    fn what_never_ends_is_broken_off_and_what_ended_is_not() {
        let mut state = silence();
        state.give_up(at(60), "nothing came");
        assert_eq!(state.status(), Status::Interrupted);
        assert_eq!(complaints(&state), ["never_finished"]);
        let mut state = begun(Ending::Script);
        state.script_ended();
        state.give_up(at(60), "nothing came");
        assert_eq!(state.status(), Status::Finished);
        let mut state = silence();
        state.script_ended();
        assert_eq!(state.status(), Status::Waiting, "silence is not the script's to declare");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_timer_the_call_or_the_limit() {
        let exam = Exam::new(Ending::Reached(Endpoint::Accounts), WAIT);
        exam.with(|state, _| state.begin());
        let waiting = exam.clone();
        let over = tokio::spawn(async move { waiting.over(at(60)).await });
        tokio::task::yield_now().await;
        exam.with(|state, at| state.saw(&call(Endpoint::Accounts), at));
        over.await.unwrap();
        assert_eq!(exam.status(), Status::Finished);

        let exam = Exam::new(Ending::Reached(Endpoint::Accounts), WAIT);
        exam.with(|state, _| state.begin());
        exam.over(at(60)).await;
        assert_eq!(exam.status(), Status::Interrupted);
    }
}
