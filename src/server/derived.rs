//! Owns the tokens that stand for a session's access token: exchanged ones, and the AS's signed word on
//! it. They live in memory, no longer than the token they stand for, and end with their session
//! (TX-4.1). Must not know: which route wants them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    clock::UnixTime,
    protocol::{ExchangeRequest, Token},
    provider::{Kept, Provider, TokenCache},
    session::{Session, Version},
    telemetry::Pseudonym,
};

/// How many sessions are looked after before those that have nothing any more are looked for.
const ROOM: usize = 1024;

/// What stands for a session's access token.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    /// A token it was exchanged for.
    Exchanged(ExchangeRequest),
    /// The AS's signed word on it.
    Introspected,
}

/// The tokens of one session, by kind and by the access token they stand for.
#[derive(Debug)]
struct OfSession {
    provider: Arc<Provider>,
    /// Whether tokens are given up when the session ends.
    revoke: bool,
    tokens: TokenCache<(Kind, Version)>,
}

/// The tokens of all sessions.
#[derive(Debug, Default)]
pub(super) struct DerivedTokens(Mutex<HashMap<String, Arc<OfSession>>>);

impl DerivedTokens {
    /// The token of this kind for `session`, fetched if there is none, or only one that was `refused`.
    pub(super) async fn get<F, E>(
        &self,
        provider: &Arc<Provider>,
        revoke: bool,
        session: &Session,
        kind: Kind,
        (now, refused): (UnixTime, Option<&Token>),
        fetch: impl FnOnce() -> F,
    ) -> Result<Token, E>
    where
        F: Future<Output = Result<Kept, E>>,
    {
        let of_session = {
            let mut sessions = self.lock();
            let name = session.pseudonym().as_str();
            if sessions.len() >= ROOM && !sessions.contains_key(name) {
                sessions.retain(|_, of_session| !of_session.tokens.is_idle(now));
            }
            let fresh = || {
                let (provider, tokens) = (Arc::clone(provider), TokenCache::default());
                Arc::new(OfSession { provider, revoke, tokens })
            };
            Arc::clone(sessions.entry(name.to_owned()).or_insert_with(fresh))
        };
        let key = (kind, session.token_version());
        let limit = session.access_expires().unwrap_or(session.absolute_expires());
        let limit = Some(limit.min(session.absolute_expires()));
        let fetch = || async { Ok(fetch().await?.within(limit)) };
        of_session.tokens.get(key, now, refused, fetch).await
    }

    /// Forgets what stood for a session that has ended, and gives up what the AS issued.
    pub(super) fn end(&self, session: &Pseudonym) {
        let Some(of_session) = self.lock().remove(session.as_str()) else { return };
        for ((kind, _), token) in of_session.tokens.drain() {
            if of_session.revoke && matches!(kind, Kind::Exchanged(_)) {
                of_session.provider.give_up(None, Some(token));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<OfSession>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
