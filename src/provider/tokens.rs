//! Owns access tokens beside those of a login: the client's own, those exchanged for a session's, and
//! the AS's signed word on one. Must not know: routes, sessions.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Mutex as AsyncMutex;

use super::{AsFailure, Proof, Provider, RedeemFailure, calls::judged};
use crate::{
    clock::UnixTime,
    jose::{KeySeed, SignFailed},
    protocol::{
        Asked, Endpoint, ExchangeRequest, Introspected, IntrospectionError, IntrospectionRejected,
        Prover, Target, Token, TokenResponse, TokenResponseRejected, exchange_response,
        introspection_token,
    },
};

/// Seconds a token is used of whose life the AS says nothing.
const UNKNOWN_LIFE: i64 = 60;
/// Seconds before its end from which a token is not used; at most half of its life.
const MARGIN: i64 = 10;
/// How many tokens are kept before those that have ended are looked for.
const ROOM: usize = 256;

/// A token and the time until which it is used.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The token.
    pub token: Token,
    /// The first second at which it is not used any more.
    pub until: UnixTime,
}

impl Kept {
    /// A token obtained at `now` that ends at `expires`, if that is known.
    pub fn new(token: Token, now: UnixTime, expires: Option<UnixTime>) -> Self {
        let until = match expires {
            Some(expires) => expires.plus(-MARGIN.min(expires.since(now) / 2)),
            None => now.plus(UNKNOWN_LIFE),
        };
        Self { token, until }
    }

    /// The same, used until `limit` at the latest.
    #[must_use]
    pub fn within(self, limit: Option<UnixTime>) -> Self {
        let until = limit.map_or(self.until, |limit| self.until.min(limit));
        Self { until, ..self }
    }
}

type Place = Arc<AsyncMutex<Option<Kept>>>;

/// Tokens kept in memory, each fetched by one caller at a time.
#[derive(Debug)]
pub struct TokenCache<K>(Mutex<HashMap<K, Place>>);

impl<K> Default for TokenCache<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> TokenCache<K> {
    /// The token for `key`, fetched if there is none that is good at `now`. One that is `refused`, by
    /// whoever it was sent to, is not good.
    pub async fn get<F, E>(
        &self,
        key: K,
        now: UnixTime,
        refused: Option<&Token>,
        fetch: impl FnOnce() -> F,
    ) -> Result<Token, E>
    where
        F: Future<Output = Result<Kept, E>>,
    {
        let place = self.place(key, now);
        let mut kept = place.lock().await;
        let good = |kept: &&Kept| now < kept.until && Some(&kept.token) != refused;
        if let Some(kept) = kept.as_ref().filter(good) {
            return Ok(kept.token.clone());
        }
        *kept = None;
        let fetched = fetch().await?;
        let token = fetched.token.clone();
        *kept = Some(fetched);
        Ok(token)
    }

    /// Everything kept, which is then no more.
    pub fn drain(&self) -> Vec<(K, Token)> {
        let places: Vec<_> = self.lock().drain().collect();
        let kept = |(key, place): (K, Place)| {
            let token = place.try_lock().ok()?.take()?.token;
            Some((key, token))
        };
        places.into_iter().filter_map(kept).collect()
    }

    /// Whether nothing is kept that is still good, nor anything being fetched.
    pub fn is_idle(&self, now: UnixTime) -> bool {
        !self.lock().values().any(|place| is_in_use(place, now))
    }

    fn place(&self, key: K, now: UnixTime) -> Place {
        let mut places = self.lock();
        if places.len() >= ROOM && !places.contains_key(&key) {
            places.retain(|_, place| is_in_use(place, now));
        }
        Arc::clone(places.entry(key).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_in_use(place: &Place, now: UnixTime) -> bool {
    match place.try_lock() {
        Ok(kept) => kept.as_ref().is_some_and(|kept| now < kept.until),
        Err(_) => true,
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
        let now = self.ambient.now();
        let fetch = || self.fetch_client_token(target, now);
        self.client_tokens.get(target.clone(), now, refused, fetch).await
    }

    async fn fetch_client_token(
        self: &Arc<Self>,
        target: &Target,
        now: UnixTime,
    ) -> Result<Kept, RedeemFailure> {
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
        match exchange_response(&judged(&answer), request, self.token_type()) {
            Ok(tokens) => self.keep(tokens, proof, now),
            Err(TokenResponseRejected::Answer(answer)) => {
                Err(AsFailure::from_answer(Endpoint::Token, answer).into())
            }
            Err(TokenResponseRejected::Token { why, tokens }) => {
                self.give_up(tokens.refresh_token, Some(tokens.access_token));
                Err(RedeemFailure::Tokens { reason: why.reason() })
            }
        }
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

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

    struct Rig {
        cache: TokenCache<&'static str>,
        fetched: AtomicUsize,
    }

    impl Rig {
        fn new() -> Self {
            Self { cache: TokenCache::default(), fetched: AtomicUsize::new(0) }
        }

        async fn get(&self, key: &'static str, at: i64, refused: Option<&Token>) -> String {
            let now = NOW.plus(at);
            let fetch = || async {
                tokio::task::yield_now().await;
                let number = self.fetched.fetch_add(1, Ordering::SeqCst);
                let token = token(&format!("{key}-{number}"));
                Ok::<_, ()>(Kept::new(token, now, Some(now.plus(100))))
            };
            self.cache.get(key, now, refused, fetch).await.unwrap().expose().to_owned()
        }
    }

    #[tokio::test]
    async fn many_askers_make_one_fetch_and_each_key_has_its_own() {
        let rig = Rig::new();
        let all = futures_util::future::join_all((0..50).map(|_| rig.get("a", 0, None))).await;
        assert!(all.iter().all(|token| token == "a-0"));
        assert_eq!(rig.get("b", 0, None).await, "b-1");
        assert_eq!(rig.get("a", 89, None).await, "a-0");
        assert_eq!(rig.get("a", 90, None).await, "a-2");
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once() {
        let rig = Rig::new();
        let first = token(&rig.get("a", 0, None).await);
        let both = [rig.get("a", 0, Some(&first)), rig.get("a", 0, Some(&first))];
        assert_eq!(futures_util::future::join_all(both).await, ["a-1", "a-1"]);
    }

    #[tokio::test]
    async fn what_is_drained_is_gone_and_what_has_ended_makes_room() {
        let rig = Rig::new();
        rig.get("a", 0, None).await;
        rig.get("b", 50, None).await;
        assert!(!rig.cache.is_idle(NOW.plus(139)));
        assert!(rig.cache.is_idle(NOW.plus(140)));
        let mut drained: Vec<_> = rig.cache.drain();
        drained.sort_by_key(|(key, _)| *key);
        assert_eq!(drained, [("a", token("a-0")), ("b", token("b-1"))]);
        assert_eq!(rig.cache.drain(), []);
        assert_eq!(rig.get("a", 50, None).await, "a-2");

        let cache = TokenCache::default();
        let keep = async |key: usize, at: i64| {
            let now = NOW.plus(at);
            let kept = Kept::new(token("t"), now, Some(now.plus(100)));
            cache.get(key, now, None, || async { Ok::<_, ()>(kept) }).await.unwrap();
        };
        for key in 0..ROOM {
            keep(key, 0).await;
        }
        keep(ROOM, 89).await;
        assert_eq!(cache.lock().len(), ROOM + 1, "all still good");
        keep(ROOM + 1, 90).await;
        assert_eq!(cache.lock().len(), 2);
    }

    #[tokio::test]
    async fn a_fetch_that_fails_leaves_nothing() {
        let cache = TokenCache::default();
        let failed = cache.get("a", NOW, None, || async { Err::<Kept, _>("down") }).await;
        assert_eq!(failed, Err("down"));
        let kept = Kept::new(token("t"), NOW, None);
        let got = cache.get("a", NOW, None, || async { Ok::<_, &str>(kept) }).await;
        assert_eq!(got, Ok(token("t")));
    }
}
