//! Owns the wait of open streams for the end of their session, and what is heard of other instances.
//! Must not know what a stream is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

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

/// Sessions whose end somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<StoreKey, Watched>>);

/// Who waits, and the session itself if the store does not keep it.
type Watched = (Weak<CancellationToken>, Option<Session>);

impl Watches {
    fn lock(&self) -> MutexGuard<'_, HashMap<StoreKey, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on(&self, key: StoreKey, carried: Option<Session>) -> Arc<CancellationToken> {
        let mut watches = self.lock();
        if let Some(token) = watches.get(&key).and_then(|(token, _)| token.upgrade()) {
            return token;
        }
        let token = Arc::new(CancellationToken::new());
        watches.insert(key, (Arc::downgrade(&token), carried));
        token
    }

    /// The session has ended.
    pub(super) fn end(&self, key: &StoreKey) {
        if let Some(token) = self.lock().remove(key).and_then(|(token, _)| token.upgrade()) {
            token.cancel();
        }
    }

    fn is_carried(&self, key: &StoreKey) -> bool {
        self.lock().get(key).is_some_and(|(_, carried)| carried.is_some())
    }

    /// Those that somebody still waits for.
    fn watched(&self) -> Vec<(StoreKey, Option<Session>)> {
        let mut watches = self.lock();
        watches.retain(|_, (token, _)| token.strong_count() > 0);
        watches.iter().map(|(key, (_, carried))| (*key, carried.clone())).collect()
    }
}

impl Sessions {
    /// Cancelled when the session ends: at once if it ends here, soon if elsewhere, within seconds if it
    /// ends by its idle limit (PXY-6). Hold it as long as it is of interest.
    pub fn watch(&self, session: &Session) -> Arc<CancellationToken> {
        let carried = self.carried_by(session.app()).map(|_| session.clone());
        self.watches.on(session.key, carried)
    }

    /// Listens to other instances and looks after watched sessions. Never ends; run it in the background.
    pub async fn attend(&self) {
        let mut changes = self.store.changes();
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = next(&mut changes) => match heard {
                    Ok(change) => self.heard(change),
                    Err(RecvError::Lagged(_)) => self.cache.forget_all(),
                    Err(RecvError::Closed) => {
                        self.cache.forget_all();
                        changes = None;
                    }
                },
                _ = look.tick() => self.look().await,
            }
        }
    }

    fn heard(&self, change: Change) {
        match change {
            Change::Replaced(key) => self.cache.forget(&key),
            Change::Removed(key) => {
                self.cache.forget(&key);
                // One that its browser carries is taken out of the store whenever its refresh is over.
                if self.watches.is_carried(&key) {
                    return;
                }
                self.watches.end(&key);
                self.observer.ended_elsewhere(&self.keys.pseudonym(&key));
            }
            // A mark may concern any number of sessions.
            Change::Marked(_) => self.cache.forget_all(),
        }
    }

    async fn look(&self) {
        for (key, carried) in self.watches.watched() {
            // A store that does not answer says nothing about a session.
            let lives = if let Some(session) = carried {
                let Ok(lives) = self.carried_lives(&session).await else { return };
                lives
            } else {
                let Ok(record) = self.observed("load", self.store.load(&key)).await else { return };
                let now = self.ambient.now();
                record.is_some_and(|record| {
                    Expiry::of(now, record.last_seen, record.idle, record.expires).is_none()
                })
            };
            if !lives {
                self.cache.forget(&key);
                self.watches.end(&key);
                self.observer.ended_elsewhere(&self.keys.pseudonym(&key));
            }
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
