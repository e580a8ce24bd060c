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
pub(super) struct Watches(Mutex<HashMap<StoreKey, Weak<CancellationToken>>>);

impl Watches {
    fn lock(&self) -> MutexGuard<'_, HashMap<StoreKey, Weak<CancellationToken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on(&self, key: StoreKey) -> Arc<CancellationToken> {
        let mut watches = self.lock();
        if let Some(token) = watches.get(&key).and_then(Weak::upgrade) {
            return token;
        }
        let token = Arc::new(CancellationToken::new());
        watches.insert(key, Arc::downgrade(&token));
        token
    }

    /// The session has ended.
    pub(super) fn end(&self, key: &StoreKey) {
        if let Some(token) = self.lock().remove(key).and_then(|token| token.upgrade()) {
            token.cancel();
        }
    }

    /// Those that somebody still waits for.
    fn watched(&self) -> Vec<StoreKey> {
        let mut watches = self.lock();
        watches.retain(|_, token| token.strong_count() > 0);
        watches.keys().copied().collect()
    }
}

impl Sessions {
    /// Cancelled when the session ends: at once if it ends here, soon if elsewhere, within seconds if it
    /// ends by its idle limit (PXY-6). Hold it as long as it is of interest.
    pub fn watch(&self, session: &Session) -> Arc<CancellationToken> {
        self.watches.on(session.key)
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
                self.watches.end(&key);
                self.observer.ended_elsewhere(&self.keys.pseudonym(&key));
            }
            // A mark may concern any number of sessions.
            Change::Marked(_) => self.cache.forget_all(),
        }
    }

    async fn look(&self) {
        for key in self.watches.watched() {
            // A store that does not answer says nothing about a session.
            let Ok(record) = self.observed("load", self.store.load(&key)).await else { return };
            let now = self.ambient.now();
            let lives = record.is_some_and(|record| {
                Expiry::of(now, record.last_seen, record.idle, record.expires).is_none()
            });
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
