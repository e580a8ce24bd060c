//! Owns the wait of open streams for the end of their session, and what is heard of other instances.
//! Must not know what a stream is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Sessions,
    record::Session,
    store::{Change, Expiry, StoreKey},
};

/// How often sessions with open streams are looked at, for ends that nobody told of: an idle limit, or
/// another instance's word that was lost.
const LOOK: Duration = Duration::from_secs(5);

/// How long an end is remembered for those who were on their way: the slowest refresh, and more.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Sessions looked at at once.
const AT_ONCE: usize = 16;

/// Sessions whose end somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watched: Mutex<HashMap<StoreKey, Watched>>,
    /// Those that ended a moment ago: whoever read one before that may ask for its end after it.
    ended: Mutex<HashMap<StoreKey, Instant>>,
}

/// Who waits, and the session as it was when the first of them came.
type Watched = (Weak<CancellationToken>, Session);

impl Watches {
    fn lock(&self) -> MutexGuard<'_, HashMap<StoreKey, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> MutexGuard<'_, HashMap<StoreKey, Instant>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on(&self, session: &Session) -> Arc<CancellationToken> {
        let mut watches = self.lock();
        if let Some(token) = watches.get(&session.key).and_then(|(token, _)| token.upgrade()) {
            return token;
        }
        let token = Arc::new(CancellationToken::new());
        if self.ended().contains_key(&session.key) {
            token.cancel();
            return token;
        }
        watches.insert(session.key, (Arc::downgrade(&token), session.clone()));
        token
    }

    /// The session has ended.
    pub(super) fn end(&self, key: &StoreKey) {
        self.ended().insert(*key, Instant::now());
        if let Some(token) = self.lock().remove(key).and_then(|(token, _)| token.upgrade()) {
            token.cancel();
        }
    }

    fn app(&self, key: &StoreKey) -> Option<String> {
        self.lock().get(key).map(|(_, session)| session.app().to_owned())
    }

    /// Those that somebody still waits for.
    fn watched(&self) -> Vec<Session> {
        self.ended().retain(|_, at| at.elapsed() < REMEMBERED);
        let mut watches = self.lock();
        watches.retain(|_, (token, _)| token.strong_count() > 0);
        watches.values().map(|(_, session)| session.clone()).collect()
    }
}

impl Sessions {
    /// Cancelled when the session ends: at once if it ends here, soon if elsewhere, within seconds if it
    /// ends by its idle limit (PXY-6). Hold it as long as it is of interest.
    pub fn watch(&self, session: &Session) -> Arc<CancellationToken> {
        self.watches.on(session)
    }

    /// Listens to other instances and looks after watched sessions. Never ends; run it in the background.
    pub async fn attend(&self) {
        tokio::join!(self.listen(), self.look_after());
    }

    async fn listen(&self) {
        let mut changes = self.store.changes();
        loop {
            match next(&mut changes).await {
                Ok(change) => self.heard(change),
                Err(RecvError::Lagged(_)) => self.cache.forget_all(),
                Err(RecvError::Closed) => {
                    self.cache.forget_all();
                    changes = None;
                }
            }
        }
    }

    async fn look_after(&self) {
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let watched = stream::iter(self.watches.watched());
            watched.for_each_concurrent(AT_ONCE, async |session| self.look(&session).await).await;
        }
    }

    fn heard(&self, change: Change) {
        match change {
            Change::Replaced(key) => self.cache.forget(&key),
            Change::Removed(key) => {
                self.cache.forget(&key);
                // One that its browser carries is taken out of the store whenever its refresh is over.
                if self.watches.app(&key).is_some_and(|app| self.carries(&app)) {
                    return;
                }
                self.watches.end(&key);
                self.observer.ended_elsewhere(&self.keys.pseudonym(&key));
            }
            // Marks are about sessions that browsers carry, and those are never served from memory.
            Change::Marked(_) => {}
        }
    }

    async fn look(&self, session: &Session) {
        let key = session.key;
        // A store that does not answer says nothing about a session.
        let lives = if self.carries(session.app()) {
            let Ok(lives) = self.carried_lives(session).await else { return };
            lives
        } else {
            let Ok(record) = self.observed("load", self.store.load(&key)).await else { return };
            // Limits as they are now, which may be tighter than those it began under.
            let (idle, end) = (session.idle, session.absolute_expires);
            let now = self.ambient.now();
            record.is_some_and(|record| Expiry::of(now, record.last_seen, idle, end).is_none())
        };
        if !lives {
            self.cache.forget(&key);
            self.watches.end(&key);
            self.observer.ended_elsewhere(&self.keys.pseudonym(&key));
        }
    }
}

/// The next word of another instance; waits for ever where there are none.
async fn next(changes: &mut Option<Receiver<Change>>) -> Result<Change, RecvError> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}
