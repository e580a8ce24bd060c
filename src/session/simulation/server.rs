//! Owns the simulated authorization server, which rotates, forgives or revokes, and the network to it,
//! which is slow, deaf or lying. Must not know sessions.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::oneshot, time::sleep};

use super::{
    ledger::{End, grant, number},
    sim::{Life, Rotation, Sim, SimClock},
    store::SimStore,
};
use crate::{
    clock::Clock as _,
    protocol::Token,
    session::{BoxFuture, RefreshFailure, RefreshGrant, RefreshedTokens, Refresher},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Live,
    /// First used at this time; this is the successor.
    Used(u64, u64),
    Void,
}

struct RefreshToken {
    parent: Option<u64>,
    state: State,
}

struct Grant {
    refresh_tokens: Vec<RefreshToken>,
    answers: u64,
    revoked: bool,
}

impl Grant {
    fn at(&mut self, number: u64) -> &mut RefreshToken {
        &mut self.refresh_tokens[usize::try_from(number).unwrap()]
    }
}

/// The authorization server.
pub(super) struct Server {
    sim: Arc<Sim>,
    grants: Mutex<Vec<Grant>>,
}

impl Server {
    pub(super) fn new(sim: Arc<Sim>) -> Arc<Self> {
        Arc::new(Self { sim, grants: Mutex::default() })
    }

    /// A new grant; they are numbered like the sessions.
    pub(super) fn grant(&self) {
        let first = RefreshToken { parent: None, state: State::Live };
        let grant = Grant { refresh_tokens: vec![first], answers: 0, revoked: false };
        self.grants.lock().unwrap().push(grant);
    }

    /// All tokens of a grant are worthless.
    pub(super) fn revoke(&self, grant: usize) {
        self.grants.lock().unwrap()[grant].revoked = true;
    }

    /// Whether a refresh token would bring anything now.
    pub(super) fn takes(&self, grant: usize, number: u64) -> bool {
        let now = self.sim.now();
        let grant = &mut self.grants.lock().unwrap()[grant];
        if grant.revoked {
            return false;
        }
        match (grant.at(number).state, self.sim.plan.rotation) {
            (State::Live, _) | (_, Rotation::Never) => true,
            (State::Used(at, successor), Rotation::Grace(within)) => {
                grant.at(successor).state == State::Live
                    && within.is_none_or(|within| now < at + within)
            }
            _ => false,
        }
    }

    /// Processes a request: number of the answer and of the refresh token in it.
    fn process(&self, which: usize, number: u64) -> Result<(u64, u64), RefreshFailure> {
        let (now, rotation) = (self.sim.now(), self.sim.plan.rotation);
        let takes = self.takes(which, number);
        let grant = &mut self.grants.lock().unwrap()[which];
        if !takes {
            grant.revoked |= rotation == Rotation::Revoking;
            return Err(RefreshFailure::GrantDead);
        }
        grant.answers += 1;
        let answer = grant.answers;
        if rotation == Rotation::Never {
            return Ok((answer, 0));
        }
        let successor = u64::try_from(grant.refresh_tokens.len()).unwrap();
        let parent = grant.at(number).parent;
        let state = match grant.at(number).state {
            State::Used(at, before) => {
                grant.at(before).state = State::Void;
                State::Used(at, successor)
            }
            _ => State::Used(now, successor),
        };
        grant.at(number).state = state;
        if let Some(parent) = parent {
            grant.at(parent).state = State::Void;
        }
        grant.refresh_tokens.push(RefreshToken { parent: Some(number), state: State::Live });
        Ok((answer, successor))
    }
}

/// The authorization server as one process reaches it.
pub(super) struct Client {
    pub(super) sim: Arc<Sim>,
    pub(super) server: Arc<Server>,
    /// Only to be cut off from it.
    pub(super) store: Arc<SimStore>,
    pub(super) life: Arc<Life>,
    pub(super) clock: Arc<SimClock>,
}

/// What happens to one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Answered,
    /// Lost on the way there: an error, or silence.
    Lost {
        silent: bool,
    },
    AnswerLost {
        silent: bool,
    },
    /// 5xx, 429 or `invalid_client`, before anything happened.
    Refused,
    /// 5xx though it happened.
    Crashed,
    /// The answer breaks a rule.
    Lie,
}

impl Client {
    fn fate(&self) -> (Fate, Duration, Duration) {
        let (sim, plan) = (&self.sim, &self.sim.plan);
        let fate = if sim.mishap(plan.deaf_server) {
            let silent = sim.chance(5000);
            if sim.chance(5000) { Fate::Lost { silent } } else { Fate::AnswerLost { silent } }
        } else if sim.mishap(plan.failing_server) {
            if sim.chance(1000) { Fate::Crashed } else { Fate::Refused }
        } else if sim.mishap(plan.lying_server) {
            Fate::Lie
        } else {
            Fate::Answered
        };
        let delay = |sim: &Sim| {
            if sim.mishap(plan.slow_server) {
                Duration::from_millis(sim.roll(2_000..=30_000))
            } else {
                sim.span(1, 300)
            }
        };
        (fate, delay(sim), delay(sim))
    }
}

/// Marks a request given up if nothing else ended it.
struct Waiting<'a>(&'a Sim, usize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.tell(|ledger, now| ledger.ended(self.1, End::GivenUp, now));
    }
}

impl Refresher for Client {
    fn refresh<'a>(
        &'a self,
        asked: RefreshGrant<'a>,
    ) -> BoxFuture<'a, Result<RefreshedTokens, RefreshFailure>> {
        Box::pin(async move {
            self.life.step("asking").await;
            let text = asked.refresh_token.expose().to_owned();
            let (grant, token) = (grant(&text), number(&text));
            let (sim, process) = (Arc::clone(&self.sim), self.life.process);
            let which = sim.tell(|ledger, now| ledger.sent(grant, token, process, now));
            let _waiting = Waiting(&sim, which);
            let (fate, there, back) = self.fate();
            sim.note(|| format!("{process:?} asks with {text}: {fate:?}, {there:?}, {back:?}"));
            let (answer, answered) = oneshot::channel();
            let (server, at_server) = (Arc::clone(&self.server), Arc::clone(&sim));
            tokio::spawn(async move {
                sleep(there).await;
                let unknown = Err(RefreshFailure::Unknown { reason: "as.no_answer" });
                let trouble = Err(RefreshFailure::AsTrouble { reason: "as.trouble" });
                let mut silent = false;
                let result = match fate {
                    Fate::Refused => trouble,
                    Fate::Lost { silent: s } => {
                        silent = s;
                        unknown
                    }
                    _ => {
                        let processed = server.process(grant, token);
                        at_server.note(|| format!("AS takes {text}: {processed:?}"));
                        if processed.is_ok() {
                            at_server.tell(|ledger, _| ledger.processed(which));
                        }
                        match fate {
                            Fate::AnswerLost { silent: s } => {
                                silent = s;
                                unknown
                            }
                            Fate::Crashed => trouble,
                            Fate::Lie if processed.is_ok() => Err(RefreshFailure::Rejected {
                                reason: "id_token.subject_mismatch",
                            }),
                            _ => processed,
                        }
                    }
                };
                sleep(back).await;
                if silent {
                    sleep(Duration::from_secs(100)).await;
                }
                let _ = answer.send(result);
            });
            let result = answered.await.unwrap_or(Err(RefreshFailure::GrantDead));
            if sim.mishap(sim.plan.cuts_at_answers) {
                // About as long as the lease runs, and the attempts to store what came.
                let length = Duration::from_millis(sim.roll(3_000..=45_000));
                self.store.cut(process.slot, length);
            }
            self.life.step("answered").await;
            sim.note(|| format!("{process:?} hears of r{grant}.{token}: {result:?}"));
            let end = result.map_or(End::Error, |(answer, _)| End::Tokens(answer));
            sim.tell(|ledger, now| ledger.ended(which, end, now));
            result.map(|(answer, refresh)| RefreshedTokens {
                access_token: Token::new(format!("a{grant}.{answer}")),
                access_expires: Some(self.clock.now().plus(sim.plan.access)),
                refresh_token: (refresh > 0).then(|| Token::new(format!("r{grant}.{refresh}"))),
                id_token: None,
                scope: asked.scope.to_owned(),
                authorization_details: None,
            })
        })
    }

    fn discard(&self, tokens: RefreshedTokens) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.life.step("discarding").await;
            let text = tokens.access_token.expose();
            self.sim.note(|| format!("{:?} discards {text}", self.life.process));
            self.sim.tell(|ledger, now| ledger.discarded(text, now));
            self.server.revoke(grant(text));
            tokio::task::yield_now().await;
        })
    }
}
