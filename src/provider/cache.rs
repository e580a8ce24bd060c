//! Owns what we remember of the AS, its metadata and its keys: how long, how often it may be asked
//! again, what is still good while it is down. Must not know: what the values mean.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Mutex as AsyncMutex;

use crate::clock::Clock;

/// How long the last good copy serves while the AS cannot be asked (META-6.2, JWK-STALE).
const STALE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How soon a failed fetch may be tried again, so that a dead AS is not hammered.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// One remembered document. Fetches are single-flight: whoever comes second waits for the first.
#[derive(Debug)]
pub(super) struct Remembered<T, E> {
    clock: Arc<dyn Clock>,
    max_age: Duration,
    cooldown: Duration,
    state: Mutex<State<T, E>>,
    fetching: AsyncMutex<()>,
}

#[derive(Debug)]
struct State<T, E> {
    good: Option<Good<T>>,
    failed: Option<(E, u64)>,
    forced_at: Option<u64>,
}

/// A good copy, when it was fetched (monotonic milliseconds), and how many there were before: two
/// fetches may fall into one tick of the clock.
#[derive(Debug)]
struct Good<T> {
    value: Arc<T>,
    at: u64,
    generation: u64,
}

impl<T> Good<T> {
    fn copy(&self) -> Copy<T> {
        (Arc::clone(&self.value), self.generation)
    }
}

/// Why the document is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// A copy within its age.
    Fresh,
    /// One newer than the copy of this generation, if the cooldown allows asking: something in that
    /// copy did not fit.
    NewerThan(u64),
}

/// A copy and its generation, which grows with every fetch.
pub(super) type Copy<T> = (Arc<T>, u64);

impl<T, E: Clone> Remembered<T, E> {
    pub(super) fn new(clock: Arc<dyn Clock>, max_age: Duration, cooldown: Duration) -> Self {
        let state = Mutex::new(State { good: None, failed: None, forced_at: None });
        Self { clock, max_age, cooldown, state, fetching: AsyncMutex::new(()) }
    }

    /// The copy at hand, whatever its age.
    pub(super) fn peek(&self) -> Option<Copy<T>> {
        self.lock().good.as_ref().map(Good::copy)
    }

    /// Why the last fetch brought nothing, if it did not: the copy at hand may be older than what the AS
    /// has.
    pub(super) fn last_failure(&self) -> Option<E> {
        self.lock().failed.as_ref().map(|(error, _)| error.clone())
    }

    /// A copy as wanted, fetched by `fetch` if need be.
    pub(super) async fn get<F>(&self, want: Want, fetch: impl FnOnce() -> F) -> Result<Copy<T>, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        if let Some(answer) = self.at_hand(want) {
            return answer;
        }
        let _turn = self.fetching.lock().await;
        // Whoever had the turn before may have brought it. The cooldown is looked at only here: it
        // begins with a fetch, and those who wait for that very fetch want its result.
        if let Some(answer) = self.at_hand(want).or_else(|| self.cooling_down(want).map(Ok)) {
            return answer;
        }
        if matches!(want, Want::NewerThan(_)) {
            self.lock().forced_at = Some(self.clock.monotonic_millis());
        }
        let fetched = fetch().await;
        let now = self.clock.monotonic_millis();
        let mut state = self.lock();
        match fetched {
            Ok(value) => {
                let generation = state.good.as_ref().map_or(0, |good| good.generation + 1);
                let good = Good { value: Arc::new(value), at: now, generation };
                let copy = good.copy();
                state.good = Some(good);
                state.failed = None;
                Ok(copy)
            }
            Err(error) => {
                state.failed = Some((error.clone(), now));
                Self::stale(&state, now).ok_or(error)
            }
        }
    }

    fn at_hand(&self, want: Want) -> Option<Result<Copy<T>, E>> {
        let now = self.clock.monotonic_millis();
        let state = self.lock();
        let within =
            |at: u64, limit: Duration| u128::from(now.saturating_sub(at)) < limit.as_millis();
        match (&state.good, want) {
            (Some(good), Want::Fresh) if within(good.at, self.max_age) => {
                return Some(Ok(good.copy()));
            }
            (Some(good), Want::NewerThan(seen)) if good.generation > seen => {
                return Some(Ok(good.copy()));
            }
            _ => {}
        }
        match &state.failed {
            Some((error, at)) if within(*at, RETRY_PAUSE) => {
                Some(Self::stale(&state, now).ok_or_else(|| error.clone()))
            }
            _ => None,
        }
    }

    /// The copy at hand, for those who want a newer one too soon after somebody asked for one.
    fn cooling_down(&self, want: Want) -> Option<Copy<T>> {
        let state = self.lock();
        let since = self.clock.monotonic_millis().saturating_sub(state.forced_at?);
        let cooling = want != Want::Fresh && u128::from(since) < self.cooldown.as_millis();
        state.good.as_ref().filter(|_| cooling).map(Good::copy)
    }

    fn stale(state: &State<T, E>, now: u64) -> Option<Copy<T>> {
        let within =
            |good: &&Good<T>| u128::from(now.saturating_sub(good.at)) < STALE_LIMIT.as_millis();
        state.good.as_ref().filter(within).map(Good::copy)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T, E>> {
        // Nothing that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::{ManualClock, UnixTime};

    struct Peer {
        clock: Arc<ManualClock>,
        memory: Remembered<u32, &'static str>,
        calls: AtomicU32,
    }

    impl Peer {
        fn new() -> Self {
            let clock = ManualClock::at(UnixTime::new(0));
            clock.advance(1);
            let memory = Remembered::new(
                Arc::clone(&clock) as Arc<dyn Clock>,
                Duration::from_secs(300),
                Duration::from_secs(10),
            );
            Self { clock, memory, calls: AtomicU32::new(0) }
        }

        async fn get(&self, want: Want, up: bool) -> Result<Copy<u32>, &'static str> {
            self.memory
                .get(want, || async {
                    tokio::task::yield_now().await;
                    let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
                    if up { Ok(call) } else { Err("down") }
                })
                .await
        }

        fn calls(&self) -> u32 {
            self.calls.load(Ordering::SeqCst)
        }
    }

    /// JWK-STALE: that an old copy serves does not hide that there may be a newer one.
    #[tokio::test]
    async fn a_failed_fetch_is_known_until_the_next_success() {
        let peer = Peer::new();
        peer.get(Want::Fresh, true).await.unwrap();
        assert_eq!(peer.memory.last_failure(), None);
        peer.get(Want::NewerThan(0), false).await.unwrap();
        assert_eq!(peer.memory.last_failure(), Some("down"));
        peer.clock.advance(10);
        peer.get(Want::NewerThan(0), true).await.unwrap();
        assert_eq!(peer.memory.last_failure(), None);
    }

    #[tokio::test]
    async fn a_copy_serves_until_the_second_its_age_is_reached() {
        let peer = Peer::new();
        peer.get(Want::Fresh, true).await.unwrap();
        peer.clock.advance(299);
        assert_eq!(*peer.get(Want::Fresh, true).await.unwrap().0, 1);
        peer.clock.advance(1);
        assert_eq!(*peer.get(Want::Fresh, true).await.unwrap().0, 2);
    }

    #[tokio::test]
    async fn many_askers_make_one_fetch() {
        let peer = Peer::new();
        futures_util::future::join_all((0..50).map(|_| peer.get(Want::Fresh, true))).await;
        assert_eq!(peer.calls(), 1);
    }

    /// JWK-ROT: random key ids cannot make us fetch more than once per cooldown.
    #[tokio::test]
    async fn unknown_keys_force_at_most_one_fetch_per_cooldown() {
        let peer = Peer::new();
        let (_, seen) = peer.get(Want::Fresh, true).await.unwrap();
        peer.clock.advance(1);
        for _ in 0..10_000 {
            let (_, at) = peer.memory.peek().unwrap();
            peer.get(Want::NewerThan(at), true).await.unwrap();
        }
        assert_eq!(peer.calls(), 2, "one ordinary and one forced fetch");
        // Who saw only the first copy gets the newer one without a fetch.
        assert_eq!(*peer.get(Want::NewerThan(seen), true).await.unwrap().0, 2);
        peer.clock.advance(10);
        let (_, at) = peer.memory.peek().unwrap();
        assert_eq!(*peer.get(Want::NewerThan(at), true).await.unwrap().0, 3);
    }

    /// JWK-ROT: whoever meets the new key while somebody asks for it waits for the answer, and is not
    /// sent away by the cooldown that has just begun.
    #[tokio::test]
    async fn many_who_meet_a_new_key_at_once_all_get_the_one_newer_copy() {
        let peer = Peer::new();
        let (_, seen) = peer.get(Want::Fresh, true).await.unwrap();
        let askers = (0..50).map(|_| peer.get(Want::NewerThan(seen), true));
        for copy in futures_util::future::join_all(askers).await {
            assert_eq!(*copy.unwrap().0, 2);
        }
        assert_eq!(peer.calls(), 2);
    }

    /// META-6.2, JWK-STALE: an outage is bridged by the last good copy, up to a bound.
    #[tokio::test]
    async fn the_last_good_copy_bridges_an_outage_up_to_its_bound() {
        let peer = Peer::new();
        peer.get(Want::Fresh, true).await.unwrap();
        peer.clock.advance(24 * 60 * 60 - 1);
        assert_eq!(*peer.get(Want::Fresh, false).await.unwrap().0, 1);
        peer.clock.advance(2);
        assert_eq!(peer.get(Want::Fresh, false).await, Err("down"));
    }

    #[tokio::test]
    async fn a_dead_peer_is_asked_once_a_second_and_believed_again_at_once() {
        let peer = Peer::new();
        for _ in 0..100 {
            assert_eq!(peer.get(Want::Fresh, false).await, Err("down"));
        }
        assert_eq!(peer.calls(), 1);
        peer.clock.advance(1);
        assert_eq!(*peer.get(Want::Fresh, true).await.unwrap().0, 2);
    }
}
