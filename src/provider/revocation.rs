//! Owns tokens that are given up: how many wait, how long each is tried, and what became of it
//! (RFC 7009). Must not know: why they are given up, or whose they were.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Provider, calls::judged};
use crate::protocol::{AsAnswer, Endpoint, Token};

/// How many tokens may wait for an AS that is down. Each is a few kilobytes of memory.
const MOST_WAITING: usize = 2048;
/// How many are given up at once: an AS that comes back is not run over.
const AT_ONCE: usize = 8;
/// How long a token is tried. Access tokens have ended by themselves by then.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// The pause after the first attempt; it grows fourfold with each one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that is not the AS's wish.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What became of a token that was given up; a metrics label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// The AS said it is done, also if it no longer knew the token (REV-2.2).
    Revoked,
    /// The AS said no.
    Refused,
    /// The AS has no such endpoint, or does not revoke this kind of token (REV-2.2.1).
    Unsupported,
    /// The request could not be made, or the answer meant nothing.
    Failed,
    /// Too many waited, the AS was away for too long, or this process stopped.
    Dropped,
}

impl Fate {
    const fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// What came of one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attempt {
    Over(Fate),
    /// The AS, or the way to it, is down; it may have asked for this many seconds.
    Later(Option<u64>),
}

/// The tokens of one client that wait to be given up.
#[derive(Debug)]
pub(super) struct Revocations {
    room: Arc<Semaphore>,
    turns: Semaphore,
    /// From then on each token is tried once more, and nothing is waited for.
    stopping: CancellationToken,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(MOST_WAITING)),
            turns: Semaphore::new(AT_ONCE),
            stopping: CancellationToken::new(),
        }
    }
}

impl Revocations {
    /// Room for this many tokens to wait in, if there is any left; it is free again when dropped.
    fn room_for(&self, tokens: usize) -> Option<OwnedSemaphorePermit> {
        let tokens = u32::try_from(tokens).ok()?;
        Arc::clone(&self.room).try_acquire_many_owned(tokens).ok()
    }

    /// Nothing is waited for any longer.
    pub(super) fn stop(&self) {
        self.stopping.cancel();
    }
}

impl Provider {
    /// Gives tokens up at the AS, if it lets us: the refresh token first, for it outlives the other
    /// (REV-2.1). Nobody waits for it. An AS that is down is asked again, at growing intervals or when
    /// it said, for a while; a bounded number of tokens wait (REV-2.2.1).
    pub fn give_up(self: &Arc<Self>, refresh_token: Option<Token>, access_token: Option<Token>) {
        let tokens = [(refresh_token, "refresh_token"), (access_token, "access_token")];
        let tokens: Vec<_> =
            tokens.into_iter().filter_map(|(token, hint)| Some((token?, hint))).collect();
        let label = &self.registration.provider_label;
        for _ in &tokens {
            self.telemetry.metrics.revocation(label, "given_up");
        }
        let Some(room) = self.revocations.room_for(tokens.len()) else {
            for (_, hint) in &tokens {
                self.came_to(Fate::Dropped, hint, "too many wait for the AS");
            }
            return;
        };
        let provider = Arc::clone(self);
        let began = Instant::now();
        self.tasks.spawn(async move {
            for (token, hint) in tokens {
                let (fate, why) = provider.revoke(&token, hint, began).await;
                provider.came_to(fate, hint, why);
            }
            drop(room);
        });
    }

    fn came_to(&self, fate: Fate, hint: &'static str, why: &'static str) {
        let provider = &self.registration.provider_label;
        self.telemetry.metrics.revocation(provider, fate.name());
        match fate {
            Fate::Revoked => {}
            Fate::Unsupported => tracing::debug!(%provider, hint, "the AS revokes no such token"),
            _ => {
                tracing::warn!(%provider, hint, fate = fate.name(), why, "a token could not be revoked; it ends by itself");
            }
        }
    }

    async fn revoke(
        &self,
        token: &Token,
        hint: &'static str,
        began: Instant,
    ) -> (Fate, &'static str) {
        let Revocations { turns, stopping, .. } = &self.revocations;
        let mut tried = 0;
        loop {
            let attempt = {
                // The semaphore is never closed.
                let _turn = turns.acquire().await;
                self.try_to_revoke(token, hint).await
            };
            let wish = match attempt {
                Attempt::Over(fate) => return (fate, "the AS's answer"),
                Attempt::Later(wish) => wish,
            };
            if stopping.is_cancelled() {
                return (Fate::Dropped, "the AS is down, and this process stops");
            }
            // Without randomness all wait as long as possible.
            let random = self.ambient.random().map_or(u32::MAX, u32::from_be_bytes);
            let pause = pause(tried, wish, random);
            if began.elapsed().saturating_add(pause) > LONGEST {
                return (Fate::Dropped, "the AS was down for too long");
            }
            tried += 1;
            stopping.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    async fn try_to_revoke(&self, token: &Token, hint: &'static str) -> Attempt {
        let metadata = match self.metadata().await {
            Ok(metadata) => metadata,
            Err(failure) if failure.is_outage() => return Attempt::Later(failure.retry_after()),
            Err(_) => return Attempt::Over(Fate::Failed),
        };
        if metadata.endpoint(Endpoint::Revocation, self.mtls_use()).is_none() {
            return Attempt::Over(Fate::Unsupported);
        }
        let form = [("token", token.expose()), ("token_type_hint", hint)];
        match self.post(Endpoint::Revocation, &form, None).await {
            Ok(answer) => match judged(&answer).done() {
                Ok(()) => Attempt::Over(Fate::Revoked),
                Err(AsAnswer::Unavailable { retry_after, .. }) => Attempt::Later(retry_after),
                Err(refused) if refused.is("unsupported_token_type") => {
                    Attempt::Over(Fate::Unsupported)
                }
                Err(AsAnswer::Rejected { .. }) => Attempt::Over(Fate::Refused),
                Err(AsAnswer::Malformed { .. }) => Attempt::Over(Fate::Failed),
            },
            Err(failure) if failure.is_outage() => Attempt::Later(failure.retry_after()),
            Err(_) => Attempt::Over(Fate::Failed),
        }
    }
}

/// How long to wait after `tried` + 1 attempts: at random between half of the step and the whole, so
/// that those who failed together do not come back together; never less than the AS wishes.
fn pause(tried: u32, wish: Option<u64>, random: u32) -> Duration {
    let step = 4_u32
        .checked_pow(tried)
        .and_then(|factor| FIRST_PAUSE.checked_mul(factor))
        .map_or(LONGEST_PAUSE, |step| step.min(LONGEST_PAUSE));
    let half = step / 2;
    let part = half.mul_f64(f64::from(random) / f64::from(u32::MAX));
    match wish.map(Duration::from_secs) {
        Some(wish) if wish > half => wish.saturating_add(part),
        _ => half.saturating_add(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// REV-2.2.1
    #[test]
    fn pauses_grow_to_a_minute_and_never_undercut_the_wish() {
        let seconds = |tried, wish, random| pause(tried, wish, random).as_secs_f64();
        for (tried, half, whole) in
            [(0, 0.5, 1.0), (1, 2.0, 4.0), (2, 8.0, 16.0), (3, 30.0, 60.0), (4, 30.0, 60.0)]
        {
            assert!((seconds(tried, None, 0) - half).abs() < 1e-6, "{tried}");
            assert!((seconds(tried, None, u32::MAX) - whole).abs() < 1e-6, "{tried}");
            let middle = seconds(tried, None, u32::MAX / 2);
            assert!(half < middle && middle < whole, "{tried}: {middle}");
        }
        assert!((seconds(u32::MAX, None, u32::MAX) - 60.0).abs() < 1e-6);
        for (wish, least, most) in [(0, 0.5, 1.0), (1, 1.0, 1.5), (120, 120.0, 120.5)] {
            assert!((seconds(0, Some(wish), 0) - least).abs() < 1e-6, "{wish}");
            assert!((seconds(0, Some(wish), u32::MAX) - most).abs() < 1e-6, "{wish}");
        }
        assert!(pause(0, Some(u64::MAX), u32::MAX) > LONGEST);
    }

    /// REV-2.2.1: an AS that is down for long costs a bounded amount of memory.
    #[test]
    fn only_so_many_tokens_wait() {
        let revocations = Revocations::default();
        let mut waiting: Vec<_> =
            (0..MOST_WAITING / 2).map(|_| revocations.room_for(2).unwrap()).collect();
        assert!(revocations.room_for(1).is_none());
        waiting.pop();
        assert!(revocations.room_for(3).is_none());
        assert!(revocations.room_for(2).is_some());
        assert!(revocations.room_for(usize::MAX).is_none());
    }

    #[test]
    fn every_fate_has_a_name_of_its_own() {
        let all = [Fate::Revoked, Fate::Refused, Fate::Unsupported, Fate::Failed, Fate::Dropped];
        let names: std::collections::BTreeSet<_> = all.iter().map(|fate| fate.name()).collect();
        assert_eq!(names.len(), all.len());
        assert!(!names.contains("given_up"));
    }
}
