//! Owns access tokens beside those of a login: the client's own, those exchanged for a session's, and
//! the AS's signed word on one. Must not know: routes, sessions.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::{AsFailure, Proof, Provider, RedeemFailure, calls::judged};
use crate::{
    clock::{Clock, UnixTime},
    jose::{KeySeed, SignFailed},
    protocol::{
        Asked, Endpoint, ExchangeRequest, Introspected, IntrospectionError, IntrospectionRejected,
        Prover, Target, Token, TokenResponse, exchange_response, introspection_token,
    },
};

/// Seconds a token is used of whose life the AS says nothing.
const UNKNOWN_LIFE: i64 = 60;
/// Seconds before its end from which a token is not used; at most half of its life.
const MARGIN: i64 = 10;
/// How many tokens are kept before those that are of no use any more are looked for.
const ROOM: usize = 256;
/// How many replaced tokens are remembered for each that is kept.
const SPENT: usize = 8;
/// How long a failed fetch answers for the next ones, in milliseconds.
const RETRY_PAUSE: u64 = 1000;

/// A token and the time until which it is used.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The token.
    pub token: Token,
    /// The first second at which it is not used any more.
    pub until: UnixTime,
    /// When it ends by itself, if that is known.
    expires: Option<UnixTime>,
}

impl Kept {
    /// A token obtained at `now` that ends at `expires`, if that is known.
    pub fn new(token: Token, now: UnixTime, expires: Option<UnixTime>) -> Self {
        let until = match expires {
            Some(expires) => expires.plus(-MARGIN.min(expires.since(now) / 2)),
            None => now.plus(UNKNOWN_LIFE),
        };
        Self { token, until, expires }
    }

    /// The same, used until `limit` at the latest.
    #[must_use]
    pub fn within(self, limit: Option<UnixTime>) -> Self {
        let until = limit.map_or(self.until, |limit| self.until.min(limit));
        Self { until, ..self }
    }

    /// Whether it may still be good for somebody, used here or not.
    fn lives(&self, now: UnixTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// A fetch ended without any result: only a panic or the end of the runtime does that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchLost;

impl From<FetchLost> for RedeemFailure {
    fn from(_: FetchLost) -> Self {
        AsFailure::not_made(Endpoint::Token, "the request was lost").into()
    }
}

/// Gets rid of a token that lives and is of no use any more.
type Discard<K> = Box<dyn Fn(&K, Token) + Send + Sync>;

/// Where a fetch's result will be.
type Landing<E> = watch::Receiver<Option<Result<Token, E>>>;

/// What is known of one token.
struct Place<E> {
    kept: Option<Kept>,
    /// Replaced ones that live: refused by one upstream, in use at another.
    spent: Vec<Kept>,
    /// Why the last fetch failed, and when (monotonic milliseconds).
    failed: Option<(E, u64)>,
    fetching: Option<Landing<E>>,
}

impl<E> Default for Place<E> {
    fn default() -> Self {
        Self { kept: None, spent: Vec::new(), failed: None, fetching: None }
    }
}

impl<E: Clone> Place<E> {
    fn is_in_use(&self, now: UnixTime, millis: u64) -> bool {
        self.fetching.is_some()
            || self.failure(millis).is_some()
            || self.kept.as_ref().is_some_and(|kept| now < kept.until)
    }

    fn failure(&self, millis: u64) -> Option<&E> {
        let (error, at) = self.failed.as_ref()?;
        (millis.saturating_sub(*at) < RETRY_PAUSE).then_some(error)
    }

    /// Keeps a new token; returns an old one there is no room for.
    fn keep(&mut self, kept: Kept, now: UnixTime) -> Option<Token> {
        let new = kept.token.clone();
        self.spent.extend(self.kept.replace(kept));
        self.spent.retain(|spent| spent.lives(now) && spent.token != new);
        (self.spent.len() > SPENT).then(|| self.spent.remove(0).token)
    }

    /// All tokens in it that live, which are then no more.
    fn empty(&mut self, now: UnixTime) -> Vec<Token> {
        let all = self.kept.take().into_iter().chain(self.spent.drain(..));
        all.filter(|kept| kept.lives(now)).map(|kept| kept.token).collect()
    }
}

struct Places<K, E> {
    by_key: HashMap<K, Place<E>>,
    /// Nothing is kept any more.
    closed: bool,
}

impl<K: Eq + Hash + Clone, E: Clone> Places<K, E> {
    /// Forgets what is of no use any more; returns the tokens of it that live.
    fn forget_past(&mut self, now: UnixTime, millis: u64) -> Vec<(K, Token)> {
        let past = self.by_key.extract_if(|_, place| !place.is_in_use(now, millis));
        past.flat_map(|(key, mut place)| with_key(&key, place.empty(now))).collect()
    }
}

fn with_key<K: Clone>(key: &K, tokens: Vec<Token>) -> Vec<(K, Token)> {
    tokens.into_iter().map(|token| (key.clone(), token)).collect()
}

struct Shared<K, E> {
    clock: Arc<dyn Clock>,
    discard: Discard<K>,
    places: Mutex<Places<K, E>>,
}

impl<K, E> Shared<K, E> {
    fn lock(&self) -> MutexGuard<'_, Places<K, E>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn discard(&self, tokens: impl IntoIterator<Item = (K, Token)>) {
        for (key, token) in tokens {
            (self.discard)(&key, token);
        }
    }
}

/// A fetch under way. However it ends, by panic too, it ends here: those who wait are told, and the
/// token is kept, or got rid of if nothing is kept any more.
struct Flight<K: Eq + Hash + Clone, E: Clone + From<FetchLost>> {
    shared: Arc<Shared<K, E>>,
    key: K,
    landed: watch::Sender<Option<Result<Token, E>>>,
    fetched: Result<Kept, E>,
}

impl<K: Eq + Hash + Clone, E: Clone + From<FetchLost>> Flight<K, E> {
    async fn run(mut self, fetch: impl Future<Output = Result<Kept, E>>) {
        self.fetched = fetch.await;
    }
}

impl<K: Eq + Hash + Clone, E: Clone + From<FetchLost>> Drop for Flight<K, E> {
    fn drop(&mut self) {
        let clock = &self.shared.clock;
        let (now, millis) = (clock.now(), clock.monotonic_millis());
        let mut places = self.shared.lock();
        let closed = places.closed;
        let place = places.by_key.entry(self.key.clone()).or_default();
        place.fetching = None;
        let excess = match &self.fetched {
            Ok(kept) => {
                place.failed = None;
                if closed { Some(kept.token.clone()) } else { place.keep(kept.clone(), now) }
            }
            Err(error) => {
                place.failed = Some((error.clone(), millis));
                None
            }
        };
        drop(places);
        self.shared.discard(excess.map(|token| (self.key.clone(), token)));
        let told = self.fetched.as_ref().map(|kept| kept.token.clone()).map_err(Clone::clone);
        self.landed.send_replace(Some(told));
    }
}

/// Tokens kept in memory, each fetched once for all who want it.
pub struct TokenCache<K, E> {
    shared: Arc<Shared<K, E>>,
    tasks: TaskTracker,
}

impl<K, E> Clone for TokenCache<K, E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), tasks: self.tasks.clone() }
    }
}

impl<K, E> fmt::Debug for TokenCache<K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.shared.lock().by_key.len();
        f.debug_struct("TokenCache").field("kept", &kept).finish_non_exhaustive()
    }
}

impl<K, E> TokenCache<K, E>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    E: Clone + From<FetchLost> + Send + Sync + 'static,
{
    /// An empty one. Fetches run among `tasks`; tokens that live and are of no use any more go to
    /// `discard`.
    pub fn new(
        clock: Arc<dyn Clock>,
        tasks: TaskTracker,
        discard: impl Fn(&K, Token) + Send + Sync + 'static,
    ) -> Self {
        let places = Mutex::new(Places { by_key: HashMap::new(), closed: false });
        Self { shared: Arc::new(Shared { clock, discard: Box::new(discard), places }), tasks }
    }

    /// The token for `key`, fetched if there is none that is good now. One that is `refused`, by
    /// whoever it was sent to, is not good. Nobody waits longer than for one fetch, and one that failed
    /// answers for a while. It runs in a task of its own: a caller who hangs up changes nothing.
    pub async fn get<F>(
        &self,
        key: K,
        refused: Option<&Token>,
        fetch: impl FnOnce() -> F,
    ) -> Result<Token, E>
    where
        F: Future<Output = Result<Kept, E>> + Send + 'static,
    {
        let mut landing = match self.board(key, refused, fetch) {
            Ok(landing) => landing,
            Err(at_hand) => return at_hand,
        };
        let landed = landing.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone());
        landed.unwrap_or_else(|| Err(FetchLost.into()))
    }

    /// Joins the fetch under way or starts one, unless the answer is at hand.
    fn board<F>(
        &self,
        key: K,
        refused: Option<&Token>,
        fetch: impl FnOnce() -> F,
    ) -> Result<Landing<E>, Result<Token, E>>
    where
        F: Future<Output = Result<Kept, E>> + Send + 'static,
    {
        let (now, millis) = self.time();
        let mut places = self.shared.lock();
        let past = if places.by_key.len() >= ROOM && !places.by_key.contains_key(&key) {
            places.forget_past(now, millis)
        } else {
            Vec::new()
        };
        let place = places.by_key.entry(key.clone()).or_default();
        let good = |kept: &&Kept| now < kept.until && Some(&kept.token) != refused;
        if let Some(kept) = place.kept.as_ref().filter(good) {
            return Err(Ok(kept.token.clone()));
        }
        if let Some(landing) = &place.fetching {
            return Ok(landing.clone());
        }
        if let Some(error) = place.failure(millis) {
            return Err(Err(error.clone()));
        }
        let (landed, landing) = watch::channel(None);
        place.fetching = Some(landing.clone());
        drop(places);
        self.shared.discard(past);
        let (shared, fetched) = (Arc::clone(&self.shared), Err(FetchLost.into()));
        self.tasks.spawn(Flight { shared, key, landed, fetched }.run(fetch()));
        Ok(landing)
    }

    /// Gets rid of everything kept, and of whatever is still being fetched as soon as it comes.
    pub fn close(&self) {
        let (now, _) = self.time();
        let mut places = self.shared.lock();
        places.closed = true;
        let all = places.by_key.iter_mut();
        let all: Vec<_> = all.flat_map(|(key, place)| with_key(key, place.empty(now))).collect();
        drop(places);
        self.shared.discard(all);
    }

    /// Forgets what is of no use any more. True if nothing is left and nobody is about to use it.
    pub fn forget_past(&self) -> bool {
        let (now, millis) = self.time();
        let mut places = self.shared.lock();
        let past = places.forget_past(now, millis);
        let is_empty = places.by_key.is_empty();
        drop(places);
        self.shared.discard(past);
        is_empty && !self.is_shared()
    }

    /// Whether a call or a fetch has this in its hands, beside its owner.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    fn time(&self) -> (UnixTime, u64) {
        (self.shared.clock.now(), self.shared.clock.monotonic_millis())
    }
}

/// Why the AS's word on a token could not be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IntrospectFailure {
    /// The call failed, or the keys to judge its answer by could not be had.
    #[error(transparent)]
    Call(#[from] AsFailure),
    /// The answer was refused.
    #[error(transparent)]
    Rejected(#[from] IntrospectionRejected),
}

impl IntrospectFailure {
    /// The stable reason for metrics and audit.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Call(failure) => failure.reason(),
            Self::Rejected(rejected) => rejected.reason(),
        }
    }
}

impl From<IntrospectionError> for IntrospectFailure {
    fn from(error: IntrospectionError) -> Self {
        match error {
            IntrospectionError::Answer(answer) => {
                Self::Call(AsFailure::from_answer(Endpoint::Introspection, answer))
            }
            IntrospectionError::Introspection(rejected) => Self::Rejected(rejected),
        }
    }
}

impl Provider {
    /// Proves possession of the key that the client's own tokens are bound to, where they are bound to
    /// one: the client's, or one that this process made for itself.
    pub fn own_prover(&self) -> Result<Option<Prover>, SignFailed> {
        if !self.binds_to_key() {
            return Ok(None);
        }
        let mut seed = self.own_seed.lock().unwrap_or_else(PoisonError::into_inner);
        if seed.is_none() {
            let bytes = self.ambient.random().map_err(|_| SignFailed::Backend)?;
            *seed = Some(KeySeed::new(zeroize::Zeroizing::new(bytes)));
        }
        seed.as_ref().map(|seed| self.prover(seed)).transpose()
    }

    /// A token of the client's own, for `target`; kept until it ends, or is `refused`.
    pub async fn client_token(
        self: &Arc<Self>,
        target: &Target,
        refused: Option<&Token>,
    ) -> Result<Token, RedeemFailure> {
        let fetch = || {
            let (provider, target) = (Arc::clone(self), target.clone());
            async move { provider.fetch_client_token(&target).await }
        };
        self.client_tokens.get(target.clone(), refused, fetch).await
    }

    async fn fetch_client_token(self: &Arc<Self>, target: &Target) -> Result<Kept, RedeemFailure> {
        let now = self.ambient.now();
        let prover = self.own_prover();
        let no_key = |_| AsFailure::not_made(Endpoint::Token, "the key could not be made");
        let prover = prover.map_err(no_key)?;
        let form: Vec<_> = [("grant_type", "client_credentials")]
            .into_iter()
            .chain(target.scope.as_deref().map(|scope| ("scope", scope)))
            .chain(target.resource.as_deref().map(|resource| ("resource", resource)))
            .collect();
        let answer = self.post(Endpoint::Token, &form, prover.as_ref()).await?;
        let scope = target.scope.as_deref().unwrap_or_default();
        let token_type = self.token_type();
        let asked = Asked { token_type, scope, details: None, enrichable: &[] };
        let tokens = self.tokens(&answer, &asked, None)?;
        self.keep(tokens, prover.as_ref(), now)
    }

    /// Another access token in place of `subject_token`, bound as that one is (TX-2.1).
    pub async fn exchange(
        self: &Arc<Self>,
        subject_token: &Token,
        request: &ExchangeRequest,
        proof: Proof<'_>,
    ) -> Result<Kept, RedeemFailure> {
        let now = self.ambient.now();
        let answer = self.post(Endpoint::Token, &request.form(subject_token), proof).await?;
        let verdict = exchange_response(&judged(&answer), request, self.token_type());
        self.keep(self.accepted(verdict, None)?, proof, now)
    }

    /// An access token that is bound as it must be. A refresh token beside it is nobody's: whoever
    /// could ask for this token can ask again.
    fn keep(
        self: &Arc<Self>,
        tokens: TokenResponse,
        proof: Proof<'_>,
        now: UnixTime,
    ) -> Result<Kept, RedeemFailure> {
        let verdict = self.check_binding(&tokens, proof);
        let TokenResponse { access_token, refresh_token, expires_in, .. } = tokens;
        if let Err(failure) = verdict {
            self.give_up(refresh_token, Some(access_token));
            return Err(failure);
        }
        if refresh_token.is_some() {
            self.give_up(refresh_token, None);
        }
        let expires = expires_in.map(|life| now.plus(i64::try_from(life).unwrap_or(i64::MAX)));
        Ok(Kept::new(access_token, now, expires))
    }

    /// The AS's signed word that `access_token` is active (INT-9701-4/5), and bound to the key of `seed`
    /// where it is bound to one.
    pub async fn introspect(
        &self,
        access_token: &Token,
        seed: Option<&KeySeed>,
    ) -> Result<Introspected, IntrospectFailure> {
        let no_key = |_| AsFailure::not_made(Endpoint::Introspection, "the key could not be made");
        let prover = seed.map(|seed| self.prover(seed)).transpose().map_err(no_key)?;
        // In the body of a POST, never in an address (INT-2).
        let form = [("token", access_token.expose()), ("token_type_hint", "access_token")];
        let answer = self.post(Endpoint::Introspection, &form, None).await?;
        let answer = judged(&answer);
        let token = introspection_token(&answer)?;
        self.introspection(token, prover.as_ref().map(Prover::jkt).as_deref()).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::future::join_all;
    use tokio::{
        task::yield_now,
        time::{Instant, sleep},
    };

    use super::*;
    use crate::clock::ManualClock;

    const NOW: UnixTime = UnixTime::new(1_800_000_000);

    fn token(text: &str) -> Token {
        Token::new(text.to_owned())
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        let until = |life: Option<i64>| {
            let expires = life.map(|life| NOW.plus(life));
            Kept::new(token("t"), NOW, expires).until.since(NOW)
        };
        for (life, used) in [
            (Some(300), 290),
            (Some(20), 10),
            (Some(10), 5),
            (Some(1), 1),
            (Some(0), 0),
            (None, 60),
        ] {
            assert_eq!(until(life), used, "{life:?}");
        }
        let kept = Kept::new(token("t"), NOW, Some(NOW.plus(300)));
        assert_eq!(kept.clone().within(Some(NOW.plus(5))).until, NOW.plus(5));
        assert_eq!(kept.clone().within(Some(NOW.plus(900))).until, NOW.plus(290));
        assert_eq!(kept.within(None).until, NOW.plus(290));
    }

    impl From<FetchLost> for &'static str {
        fn from(_: FetchLost) -> Self {
            "lost"
        }
    }

    /// What the AS does with a token request.
    #[derive(Clone, Copy)]
    enum As {
        Answers,
        Refuses,
        Hangs,
        Panics,
    }

    struct Rig {
        clock: Arc<ManualClock>,
        cache: TokenCache<usize, &'static str>,
        tasks: TaskTracker,
        fetched: Arc<AtomicUsize>,
        discarded: Arc<Mutex<Vec<(usize, String)>>>,
    }

    impl Rig {
        fn new() -> Self {
            let (clock, tasks) = (ManualClock::at(NOW), TaskTracker::new());
            let discarded = Arc::<Mutex<Vec<_>>>::default();
            let bin = Arc::clone(&discarded);
            let discard = move |key: &usize, token: Token| {
                bin.lock().unwrap().push((*key, token.expose().to_owned()));
            };
            let cache = TokenCache::new(Arc::<ManualClock>::clone(&clock), tasks.clone(), discard);
            Self { clock, cache, tasks, fetched: Arc::default(), discarded }
        }

        async fn ask(
            &self,
            key: usize,
            refused: Option<&Token>,
            conduct: As,
        ) -> Result<Token, &'static str> {
            let fetch = || {
                let (fetched, now) = (Arc::clone(&self.fetched), self.clock.now());
                async move {
                    let number = fetched.fetch_add(1, Ordering::SeqCst);
                    yield_now().await;
                    match conduct {
                        As::Answers => {}
                        As::Refuses => return Err("refused"),
                        As::Hangs => {
                            sleep(Duration::from_secs(10)).await;
                            return Err("timed out");
                        }
                        As::Panics => panic!("as asked"),
                    }
                    let token = token(&format!("{key}-{number}"));
                    Ok(Kept::new(token, now, Some(now.plus(100))))
                }
            };
            self.cache.get(key, refused, fetch).await
        }

        async fn get(&self, key: usize, refused: Option<&Token>) -> String {
            self.ask(key, refused, As::Answers).await.unwrap().expose().to_owned()
        }

        fn requests(&self) -> usize {
            self.fetched.load(Ordering::SeqCst)
        }

        fn discarded(&self) -> Vec<(usize, String)> {
            let mut discarded = std::mem::take(&mut *self.discarded.lock().unwrap());
            discarded.sort();
            discarded
        }

        /// Asks, and hangs up as soon as the request is on its way.
        async fn hang_up(&self, key: usize) {
            tokio::select! {
                biased;
                _ = self.ask(key, None, As::Answers) => panic!("too fast"),
                () = std::future::ready(()) => {}
            }
        }

        async fn land(&self) {
            self.tasks.close();
            self.tasks.wait().await;
        }
    }

    #[tokio::test]
    async fn many_askers_make_one_fetch_and_each_key_has_its_own() {
        let rig = Rig::new();
        let all = join_all((0..50).map(|_| rig.get(1, None))).await;
        assert!(all.iter().all(|token| token == "1-0"));
        assert_eq!(rig.get(2, None).await, "2-1");
        rig.clock.advance(89);
        assert_eq!(rig.get(1, None).await, "1-0");
        rig.clock.advance(1);
        assert_eq!(rig.get(1, None).await, "1-2");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_for_one_fetch() {
        let rig = Rig::new();
        let start = Instant::now();
        let all = join_all((0..50).map(|_| rig.ask(1, None, As::Hangs))).await;
        assert!(all.iter().all(|failed| *failed == Err("timed out")));
        assert_eq!((rig.requests(), start.elapsed().as_secs()), (1, 10));
    }

    #[tokio::test]
    async fn a_failure_answers_for_a_second() {
        let rig = Rig::new();
        for _ in 0..100 {
            assert_eq!(rig.ask(1, None, As::Refuses).await, Err("refused"));
        }
        assert_eq!(rig.ask(1, None, As::Answers).await, Err("refused"));
        assert_eq!(rig.requests(), 1);
        assert_eq!(rig.get(2, None).await, "2-1", "another's failure is not ours");
        rig.clock.advance(1);
        assert_eq!(rig.get(1, None).await, "1-2");
        let refused = token("1-2");
        assert_eq!(rig.ask(1, Some(&refused), As::Refuses).await, Err("refused"));
        assert_eq!(rig.get(1, None).await, "1-2", "refused by one, and no better to be had");
    }

    #[tokio::test]
    async fn a_fetch_that_panics_leaves_nobody_waiting() {
        let rig = Rig::new();
        let all = join_all((0..2).map(|_| rig.ask(1, None, As::Panics))).await;
        assert_eq!(all, [Err("lost"), Err("lost")]);
        rig.clock.advance(1);
        assert_eq!(rig.get(1, None).await, "1-1");
    }

    /// TX-4.1: what the AS issued is held, whoever hangs up.
    #[tokio::test]
    async fn a_caller_who_hangs_up_changes_nothing() {
        let rig = Rig::new();
        for _ in 0..50 {
            rig.hang_up(1).await;
        }
        assert_eq!(rig.get(1, None).await, "1-0");
        rig.land().await;
        assert_eq!(rig.get(1, None).await, "1-0");
        assert_eq!((rig.requests(), rig.discarded()), (1, Vec::new()));
    }

    /// TX-4.1, REV-2.1: what comes after the end is given up, once.
    #[tokio::test]
    async fn a_token_that_comes_after_the_end_is_given_up_once() {
        let rig = Rig::new();
        rig.hang_up(1).await;
        rig.cache.close();
        assert_eq!(rig.discarded(), []);
        rig.land().await;
        assert_eq!(rig.discarded(), [(1, "1-0".to_owned())]);
        rig.cache.close();
        assert_eq!(rig.discarded(), []);
    }

    /// TX-4.1, REV-2.1: all that lives is given up, what an upstream refused included.
    #[tokio::test]
    async fn a_refused_token_is_replaced_once_and_given_up_with_the_rest() {
        let rig = Rig::new();
        let first = token(&rig.get(1, None).await);
        let both = [rig.get(1, Some(&first)), rig.get(1, Some(&first))];
        assert_eq!(join_all(both).await, ["1-1", "1-1"]);
        rig.get(2, None).await;
        assert_eq!(rig.discarded(), []);
        rig.cache.close();
        let all = [(1, "1-0".to_owned()), (1, "1-1".to_owned()), (2, "2-2".to_owned())];
        assert_eq!(rig.discarded(), all);
        let mut last = token(&rig.get(3, None).await);
        rig.discarded();
        // Upstreams that refuse everything do not fill the memory.
        let rig = Rig::new();
        for _ in 0..=SPENT + 2 {
            last = token(&rig.get(1, Some(&last)).await);
        }
        assert_eq!(rig.discarded(), [(1, "1-0".to_owned()), (1, "1-1".to_owned())]);
        rig.clock.advance(100);
        rig.cache.close();
        assert_eq!(rig.discarded(), [], "all have ended by themselves");
    }

    #[tokio::test]
    async fn what_is_of_no_use_any_more_makes_room() {
        let rig = Rig::new();
        for key in 0..ROOM {
            rig.get(key, None).await;
        }
        rig.clock.advance(89);
        rig.get(ROOM, None).await;
        assert_eq!(rig.cache.shared.lock().by_key.len(), ROOM + 1, "all still good");
        rig.clock.advance(1);
        rig.get(ROOM + 1, None).await;
        assert_eq!(rig.cache.shared.lock().by_key.len(), 2);
        assert_eq!(rig.discarded().len(), ROOM, "they live for ten seconds more");
        assert!(!rig.cache.forget_past());
        rig.clock.advance(100);
        rig.land().await;
        assert!(rig.cache.forget_past());
    }
}
