//! Owns the tokens that stand for a session's access token: exchanged ones, and the AS's signed word on
//! it. They live in memory, no longer than the token they stand for, and end with their session
//! (TX-4.1). Must not know: which route wants them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::task::TaskTracker;

use crate::{
    clock::{Clock, UnixTime},
    protocol::{ExchangeRequest, Token},
    provider::{FetchLost, Kept, TokenCache},
    session::{Session, Version},
    telemetry::Pseudonym,
    web::{ErrorAnswer, ErrorCode, Refusal},
};

/// How many sessions are looked after at most. One more makes another's tokens go, which costs that
/// session another request.
const MOST: usize = 100_000;

/// What stands for a session's access token.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    /// A token it was exchanged for.
    Exchanged(ExchangeRequest),
    /// The AS's signed word on it.
    Introspected,
}

/// Gives an exchanged token up, where that is wanted.
pub(super) type GiveUp = Arc<dyn Fn(Token) + Send + Sync>;

/// The tokens of one session, by kind and by the access token they stand for.
type Tokens = TokenCache<(Kind, Version), Refusal>;

impl From<FetchLost> for Refusal {
    fn from(_: FetchLost) -> Self {
        ErrorAnswer::new(ErrorCode::ServerError).into()
    }
}

struct OfSession {
    /// When the session ends, unless it is used until then on routes without such tokens.
    ends: UnixTime,
    tokens: Tokens,
}

/// The tokens of all sessions.
pub(super) struct DerivedTokens {
    clock: Arc<dyn Clock>,
    sessions: Mutex<HashMap<String, OfSession>>,
    tasks: TaskTracker,
}

impl fmt::Debug for DerivedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DerivedTokens")
            .field("sessions", &self.lock().len())
            .finish_non_exhaustive()
    }
}

impl DerivedTokens {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, sessions: Mutex::default(), tasks: TaskTracker::new() }
    }

    /// The token of this kind for `session`, fetched if there is none, or only one that was `refused`.
    pub(super) async fn get<F>(
        &self,
        session: &Session,
        kind: Kind,
        give_up: &GiveUp,
        refused: Option<&Token>,
        fetch: impl FnOnce() -> F,
    ) -> Result<Token, Refusal>
    where
        F: Future<Output = Result<Kept, Refusal>> + Send + 'static,
    {
        let name = session.pseudonym().as_str();
        let tokens = self.of(name, session.idle_expires(), give_up);
        let limit = session.access_expires().unwrap_or(session.absolute_expires());
        let limit = Some(limit.min(session.absolute_expires()));
        let fetch = || {
            let fetch = fetch();
            async move { Ok(fetch.await?.within(limit)) }
        };
        tokens.get((kind, session.token_version()), refused, fetch).await
    }

    /// Forgets what stood for a session that has ended, and gives up what the AS issued; what it is
    /// about to issue, too.
    pub(super) fn end(&self, session: &Pseudonym) {
        let of_session = self.lock().remove(session.as_str());
        if let Some(of_session) = of_session {
            of_session.tokens.close();
        }
    }

    /// The same for all sessions past their time: those are cleared away without being named.
    pub(super) fn forget_past(&self) {
        let now = self.clock.now();
        let is_past = |_: &String, session: &mut OfSession| {
            session.ends <= now || session.tokens.forget_past()
        };
        let past: Vec<_> = self.lock().extract_if(is_past).collect();
        for (_, of_session) in past {
            of_session.tokens.close();
        }
    }

    /// Waits until nothing is being fetched; for a clean stop.
    pub(super) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn of(&self, name: &str, ends: UnixTime, give_up: &GiveUp) -> Tokens {
        let mut sessions = self.lock();
        if let Some(of_session) = sessions.get_mut(name) {
            of_session.ends = of_session.ends.max(ends);
            return of_session.tokens.clone();
        }
        let crowded_out = if sessions.len() >= MOST {
            // Not one whose caller is about to send its token.
            let free = sessions.iter().find(|(_, other)| !other.tokens.is_shared());
            let free = free.map(|(name, _)| name.clone());
            free.and_then(|name| sessions.remove(&name))
        } else {
            None
        };
        let give_up = Arc::clone(give_up);
        let discard = move |(kind, _): &(Kind, Version), token| {
            if matches!(kind, Kind::Exchanged(_)) {
                give_up(token);
            }
        };
        let tokens = TokenCache::new(Arc::clone(&self.clock), self.tasks.clone(), discard);
        sessions.insert(name.to_owned(), OfSession { ends, tokens: tokens.clone() });
        drop(sessions);
        if let Some(other) = crowded_out {
            other.tokens.close();
        }
        tokens
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, OfSession>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::ManualClock, seal::ServerKey, telemetry::Pseudonymiser};

    const NOW: UnixTime = UnixTime::new(1_800_000_000);

    struct Rig {
        clock: Arc<ManualClock>,
        derived: DerivedTokens,
        dropped: Arc<Mutex<Vec<Token>>>,
        give_up: GiveUp,
    }

    impl Rig {
        fn new() -> Self {
            let clock = ManualClock::at(NOW);
            let dropped = Arc::<Mutex<Vec<_>>>::default();
            let bin = Arc::clone(&dropped);
            let give_up: GiveUp = Arc::new(move |token| bin.lock().unwrap().push(token));
            let derived = DerivedTokens::new(Arc::<ManualClock>::clone(&clock));
            Self { clock, derived, dropped, give_up }
        }

        /// A token of this name, for a session that lives for `left` seconds.
        async fn get(&self, session: &Pseudonym, left: i64, kind: Kind, name: &str) {
            let ends = self.clock.now().plus(left);
            let tokens = self.derived.of(session.as_str(), ends, &self.give_up);
            let kept = Kept::new(token(name), NOW, Some(NOW.plus(3600)));
            let fetch = || async { Ok(kept) };
            tokens.get((kind, Version::FIRST), None, fetch).await.unwrap();
            self.derived.drain().await;
        }

        fn dropped(&self) -> Vec<Token> {
            std::mem::take(&mut *self.dropped.lock().unwrap())
        }

        fn held(&self) -> usize {
            self.derived.lock().len()
        }
    }

    fn token(name: &str) -> Token {
        Token::new(name.to_owned())
    }

    fn exchanged() -> Kind {
        Kind::Exchanged(ExchangeRequest::default())
    }

    fn sessions() -> [Pseudonym; 2] {
        let key = ServerKey::from_bytes([7; 32]);
        let pseudonyms = Pseudonymiser::new(&key.hash_key("test").hash(&[]));
        [pseudonyms.session(b"a"), pseudonyms.session(b"b")]
    }

    /// TX-4.1, REV-2.1: an exchanged token is given up when its session ends; a word is no token.
    #[tokio::test]
    async fn a_session_takes_its_tokens_along() {
        let (rig, [a, b]) = (Rig::new(), sessions());
        rig.get(&a, 600, exchanged(), "a").await;
        rig.get(&a, 600, Kind::Introspected, "word").await;
        rig.get(&b, 600, exchanged(), "b").await;
        rig.derived.end(&a);
        rig.derived.end(&a);
        assert_eq!((rig.dropped(), rig.held()), (vec![token("a")], 1));
    }

    /// TX-4.1, REV-2.1: one that ends unnamed, too.
    #[tokio::test]
    async fn sessions_past_their_time_take_their_tokens_along() {
        let (rig, [a, b]) = (Rig::new(), sessions());
        rig.get(&a, 600, exchanged(), "a").await;
        rig.get(&b, 600, exchanged(), "b").await;
        rig.clock.advance(599);
        rig.get(&b, 600, exchanged(), "not fetched").await;
        rig.derived.forget_past();
        assert_eq!((rig.dropped(), rig.held()), (Vec::new(), 2));
        rig.clock.advance(1);
        rig.derived.forget_past();
        assert_eq!((rig.dropped(), rig.held()), (vec![token("a")], 1));
        rig.derived.forget_past();
        assert_eq!(rig.dropped(), []);
    }

    /// TX-4.1: a logout finds also what is not there yet.
    #[tokio::test]
    async fn a_token_on_its_way_when_its_session_ends_is_given_up_once() {
        let (rig, [a, _]) = (Rig::new(), sessions());
        let (answer, answered) = tokio::sync::oneshot::channel::<()>();
        let tokens = rig.derived.of(a.as_str(), NOW.plus(600), &rig.give_up);
        let fetch = || async {
            answered.await.unwrap();
            Ok(Kept::new(token("late"), NOW, None))
        };
        let call = tokens.get((exchanged(), Version::FIRST), None, fetch);
        let meanwhile = async {
            rig.derived.end(&a);
            assert_eq!(rig.dropped(), []);
            answer.send(()).unwrap();
        };
        let (_, ()) = tokio::join!(call, meanwhile);
        assert_eq!((rig.dropped(), rig.held()), (vec![token("late")], 0));
    }
}
