//! Owns a session's life: beginning, use, refresh and end. The browser holds a handle; the store holds a
//! sealed record under a hash of it; opening it takes the handle and the server key.
//! Must not know HTTP, cookies, or how the authorization server is asked.
//!
//! A session ends by logout, expiry, revocation or a dead grant, and by nothing else: no trouble of the
//! store or of the authorization server removes one. "No session" and "store unavailable" are different
//! types all the way up.

mod admin;
mod cache;
mod carried;
mod embedded;
mod handle;
mod limit;
mod outcome;
mod postgres;
mod record;
mod refresh;
pub mod store;
mod valkey;
mod watch;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

pub use self::{
    admin::{Entry, Listing, Own},
    carried::{CarriedApps, CarriedBy, NotPacked},
    embedded::{EmbeddedStore, StoreFault},
    handle::Handle,
    limit::NoRoom,
    outcome::{
        Activity, Cause, CreateError, EndReason, FindError, NoSession, RefreshFailure,
        RefreshGrant, RefreshOutcome, RefreshedTokens, TokenTrouble,
    },
    postgres::{Migrated, PostgresFault, PostgresStore},
    record::{Identity, Narrowed, NewSession, Policy, Session, Tokens},
    refresh::Refresher,
    store::{BoxFuture, Cursor, Store, StoreUnavailable, Version},
    valkey::ValkeyStore,
};
use self::{
    cache::ReadCache,
    handle::Keys,
    record::Contents,
    refresh::Flights,
    store::{Creation, Expiry, RemoveIf, Removed, StoreKey, StoredRecord, Swept},
    watch::Watches,
};
use crate::{
    clock::{Ambient, UnixTime},
    seal::KeyRing,
    telemetry::Pseudonym,
};

/// Learns what happens, for metrics and audit. Names come from closed sets and from configuration.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A refresh ended after `seconds`.
    fn refresh(&self, app: &str, session: &Pseudonym, outcome: &RefreshOutcome, seconds: f64);
    /// A refresh waited so many seconds for another instance.
    fn lease_waited(&self, seconds: f64);
    /// The holder of a lease before this one never said how its refresh ended.
    fn lease_abandoned(&self, app: &str);
    /// A session began.
    fn session_started(&self, session: &Session);
    /// `count` sessions ended, for an [`EndReason::reason`]; `session` is named if it was one.
    fn session_ended(
        &self,
        app: &str,
        session: Option<&Pseudonym>,
        reason: &'static str,
        count: u64,
    );
    /// A session was found among those read a moment ago.
    fn remembered(&self);
    /// A session had ended where this instance could not see it.
    fn ended_elsewhere(&self, session: &Pseudonym);
    /// The store did (`done`) or could not do (`unavailable`) an operation.
    fn store_operation(&self, operation: &'static str, outcome: &'static str, seconds: f64);
    /// A record did not open under the handle that found it: damaged or tampered with.
    fn unreadable(&self, app: &str);
    /// A handle was made under a server key that is not in use here.
    fn unknown_key(&self, app: &str);
    /// A session could not be given to its browser to carry.
    fn not_carried(&self, app: &str, fault: NotPacked);
}

/// By which name of the authorization server sessions are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose<'a> {
    /// One session at the authorization server: `sid`.
    Sid {
        /// `iss`
        issuer: &'a str,
        /// `sid`
        sid: &'a str,
        /// `sub`, if it is said whose session it is; then both must match (BCL-2.7).
        subject: Option<&'a str>,
    },
    /// All sessions of a subject: `sub`.
    Subject {
        /// `iss`
        issuer: &'a str,
        /// `sub`
        subject: &'a str,
    },
}

/// A session ended without its handle; its tokens cannot be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Name of the app.
    pub app: String,
    /// Names the session in logs and audit.
    pub pseudonym: Pseudonym,
}

/// All sessions of this installation.
#[derive(Debug)]
pub struct Sessions {
    store: Arc<dyn Store>,
    keys: Keys,
    ambient: Ambient,
    observer: Arc<dyn Observer>,
    flights: Flights,
    cache: ReadCache,
    watches: Watches,
    by_browser: CarriedApps,
    myself: Weak<Self>,
}

impl Sessions {
    /// Sessions kept in `store` and sealed under the keys of `ring`. One that another instance has ended is
    /// served here for no longer than `staleness`; zero reads the store at every call.
    pub fn new(
        store: Arc<dyn Store>,
        ring: impl Into<KeyRing>,
        staleness: Duration,
        ambient: Ambient,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        Self::with_carried(store, ring, staleness, ambient, observer, CarriedApps::new())
    }

    /// The same, where browsers carry the sessions of some apps.
    pub fn with_carried(
        store: Arc<dyn Store>,
        ring: impl Into<KeyRing>,
        staleness: Duration,
        ambient: Ambient,
        observer: Arc<dyn Observer>,
        by_browser: CarriedApps,
    ) -> Arc<Self> {
        let (keys, cache) = (Keys::new(&ring.into()), ReadCache::new(staleness));
        let (flights, watches) = (Flights::default(), Watches::default());
        Arc::new_cyclic(|myself| Self {
            store,
            keys,
            ambient,
            observer,
            flights,
            cache,
            watches,
            by_browser,
            myself: Weak::clone(myself),
        })
    }

    /// Begins a session under a new handle (SES-7.2.4). Ending the one it replaces is the caller's part.
    pub async fn create(
        &self,
        policy: &Policy,
        new: NewSession,
    ) -> Result<(Handle, Session), CreateError> {
        let handle = self.keys.new_handle(&self.ambient)?;
        let key = self.keys.record(&handle);
        let now = self.ambient.now();
        let contents = Contents {
            app: new.app,
            client: new.client,
            created: now,
            absolute_expires: now.plus(policy.absolute),
            idle: policy.idle,
            identity: new.identity,
            tokens: new.tokens,
            tokens_since: now,
            renewed: Version::FIRST,
        };
        if let Some(by) = self.carried_by(&contents.app) {
            let handle =
                self.hand_over(&handle, contents.clone(), by.room).inspect_err(|fault| {
                    self.observer.not_carried(&contents.app, *fault);
                })?;
            let names = self.keys.pseudonyms(&key);
            let session = Session::new(key, Version::FIRST, contents, now, names, None);
            self.observer.session_started(&session);
            return Ok((handle, session));
        }
        let record = StoredRecord {
            version: Version::FIRST,
            app: contents.app.clone(),
            created: now,
            sealed: contents
                .seal(&self.keys, &handle, Version::FIRST)
                .map_err(|_| CreateError::Seal)?,
            expires: contents.absolute_expires,
            idle: contents.idle,
            last_seen: now,
            indexes: contents.indexes(self.keys.active()),
        };
        match self.observed("create", self.store.create(&key, record)).await? {
            Creation::Created => {}
            Creation::AlreadyThere => return Err(CreateError::NotUnique),
        }
        let names = self.keys.pseudonyms(&key);
        let session = Session::new(key, Version::FIRST, contents, now, names, None);
        self.observer.session_started(&session);
        Ok((handle, session))
    }

    /// The living session of `handle` in `app`. One past a limit is removed on sight, so that a clock set
    /// back does not bring it to life again (SES-7.3).
    pub async fn find(
        &self,
        app: &str,
        handle: &Handle,
        policy: &Policy,
        activity: Activity,
    ) -> Result<Session, FindError> {
        let now = self.ambient.now();
        let mut session = match self.remembered(app, handle, now) {
            Some(session) => session,
            None => self.open(app, handle, policy).await?,
        };
        if activity == Activity::Counts
            && now.since(session.last_seen) >= (session.idle / 20).max(1)
        {
            // The session was read; that this use could not be noted only lets it end sooner.
            let noted = if handle.carried().is_some() {
                self.touch_carried(&session, now).await
            } else {
                self.observed("touch", self.store.touch(&session.key, now)).await.is_ok()
            };
            if noted {
                session.last_seen = now;
                self.cache.seen(&session.key, now);
            }
        }
        Ok(session)
    }

    /// Names the session of `handle`, whether or not there is one, as [`Session::pseudonym`] does.
    pub fn pseudonym(&self, handle: &Handle) -> Pseudonym {
        self.keys.pseudonym(&self.keys.record(handle))
    }

    /// Names a person, whether or not there is a session, as [`Session::subject_pseudonym`] does of
    /// sessions made now.
    pub fn subject_pseudonym(&self, issuer: &str, subject: &str) -> Pseudonym {
        self.keys.active().person(issuer, subject)
    }

    /// Ends a session. Exactly one caller gets it, to revoke its tokens; none if it had ended before.
    ///
    /// A caller who gives up waiting may have ended it nevertheless: run this where nothing cancels it.
    pub async fn end(
        &self,
        app: &str,
        handle: &Handle,
        reason: EndReason,
    ) -> Result<Option<Session>, StoreUnavailable> {
        if !self.knows(app, handle) {
            return Ok(None);
        }
        if let Some(by) = self.carried_by(app) {
            return self.end_carried(app, by, handle, reason).await;
        }
        let key = self.keys.record(handle);
        match self.observed("load", self.store.load(&key)).await? {
            Some(record) if record.app == app => {}
            _ => return Ok(None),
        }
        let Some(record) = self.remove(&key, RemoveIf::Present, reason).await?.into_record() else {
            return Ok(None);
        };
        let unsaved = self.flights.take_unsaved(&(key, record.app.clone()), record.version);
        let Some(mut session) = self.opened(&key, handle, &record, None) else { return Ok(None) };
        if let Some(tokens) = unsaved {
            // The newest tokens are those to revoke.
            let (now, next) = (self.ambient.now(), record.version.next());
            let (tokens, target) = tokens;
            Arc::make_mut(&mut session.contents).renew(&tokens, target.as_ref(), now, next);
        }
        Ok(Some(session))
    }

    /// Ends the sessions the authorization server means, in the apps that `in_app` picks (SES-7.4).
    /// Tokens that wait to be stored here are got rid of by the flight that comes to store them.
    pub async fn end_all(
        &self,
        whose: Whose<'_>,
        in_app: impl Fn(&str) -> bool + Send,
        reason: EndReason,
    ) -> Result<Vec<Ended>, StoreUnavailable> {
        self.end_all_carried(whose, &in_app).await?;
        let mut ended = Vec::new();
        for keys in self.keys.all() {
            let (index, also) = match whose {
                Whose::Sid { issuer, sid, subject } => {
                    (keys.sid(issuer, sid), subject.map(|subject| keys.subject(issuer, subject)))
                }
                Whose::Subject { issuer, subject } => (keys.subject(issuer, subject), None),
            };
            // What a record is found by never changes, so what is read here holds when it is removed.
            let is_meant = |record: &StoredRecord| {
                also.is_none_or(|also| record.indexes.contains(&also)) && in_app(&record.app)
            };
            for key in self.observed("find", self.store.find(&index)).await? {
                match self.observed("load", self.store.load(&key)).await? {
                    Some(record) if is_meant(&record) => {}
                    _ => continue,
                }
                let removed = self.remove(&key, RemoveIf::Present, reason).await?;
                if let Some(record) = removed.into_record() {
                    ended.push(Ended { app: record.app, pseudonym: self.keys.pseudonym(&key) });
                }
            }
        }
        Ok(ended)
    }

    /// Waits until no instance serves any more what has ended by now (BCL-PRJ). Wait also after an end that
    /// found nothing: it may be the repetition of one whose answer was lost.
    pub async fn holds_everywhere(&self) {
        if self.store.changes().is_some() {
            tokio::time::sleep(self.cache.bound()).await;
        }
    }

    /// A session read a moment ago and not past a limit.
    fn remembered(&self, app: &str, handle: &Handle, now: UnixTime) -> Option<Session> {
        // What was brought is judged anew each time.
        if handle.carried().is_some() {
            return None;
        }
        let key = self.keys.record(handle);
        let session = self.cache.get(&key, self.ambient.clock.monotonic_millis())?;
        let usable = session.app() == app && session.expiry(now).is_none();
        usable.then(|| {
            self.observer.remembered();
            session
        })
    }

    /// True exactly once for `what` until after `expires`; for transactions and token identifiers.
    pub async fn consume_once(
        &self,
        what: &[&[u8]],
        expires: UnixTime,
    ) -> Result<bool, StoreUnavailable> {
        // Instances may have different keys active, yet any two rings of a rolling change share one: who
        // consumes under all of its keys meets everybody else there. All go in one order, so that one wins.
        for keys in self.keys.all() {
            let key = keys.consumed(what);
            if !self.observed("consume_once", self.store.consume_once(&key, expires)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes that what was consumed has done its work, until after `expires`.
    pub async fn note_done(
        &self,
        what: &[&[u8]],
        expires: UnixTime,
    ) -> Result<(), StoreUnavailable> {
        let key = self.keys.active().done(what);
        self.observed("mark", self.store.mark(&key, self.ambient.now(), expires)).await
    }

    /// Whether it has: what was consumed and is not done broke off, or is under way elsewhere.
    pub async fn is_done(&self, what: &[&[u8]]) -> Result<bool, StoreUnavailable> {
        let keys: Vec<_> = self.keys.all().map(|keys| keys.done(what)).collect();
        let marks = self.observed("marks", self.store.marks(&keys)).await?;
        Ok(marks.iter().any(Option::is_some))
    }

    /// Removes what is past its time and reports the ended sessions to the observer.
    pub async fn sweep(&self) -> Result<Swept, StoreUnavailable> {
        let now = self.ambient.now();
        self.flights.forget_past(now, self.ambient.clock.monotonic_millis());
        let swept = self.observed("sweep", self.store.sweep(now)).await?;
        for ((app, limit), count) in &swept.ended {
            self.observer.session_ended(app, None, EndReason::from(*limit).reason(), *count);
        }
        Ok(swept)
    }

    /// Number of sessions, those included that are past a limit and not yet swept.
    pub async fn count(&self) -> Result<u64, StoreUnavailable> {
        self.observed("count", self.store.count()).await
    }

    /// Whether the store takes writes now.
    pub async fn ping(&self) -> Result<(), StoreUnavailable> {
        self.observed("ping", self.store.ping()).await
    }

    /// The session as it is now, expiry enforced.
    async fn open(
        &self,
        app: &str,
        handle: &Handle,
        policy: &Policy,
    ) -> Result<Session, FindError> {
        if !self.knows(app, handle) {
            return Err(NoSession::UnknownKey.into());
        }
        if self.carried_by(app).is_some() {
            return self.open_carried(app, handle, policy).await;
        }
        let key = self.keys.record(handle);
        loop {
            let ticket = self.cache.ticket(&key, self.ambient.clock.monotonic_millis());
            let record = self.observed("load", self.store.load(&key)).await?;
            let Some(record) = record.filter(|record| record.app == app) else {
                return Err(NoSession::Unknown.into());
            };
            let session =
                self.opened(&key, handle, &record, Some(policy)).ok_or(NoSession::Unknown)?;
            let Some(limit) = session.expiry(self.ambient.now()) else {
                self.cache.put(ticket, &session);
                return Ok(session);
            };
            let condition = match limit {
                Expiry::Idle => RemoveIf::NotSeenSince(session.last_seen),
                Expiry::Absolute => RemoveIf::Present,
            };
            match self.remove(&key, condition, limit.into()).await? {
                Removed::Done(_) | Removed::Absent => return Err(NoSession::from(limit).into()),
                // Used by another call in this very second: judge again.
                Removed::Changed => {}
            }
        }
    }

    /// Whether the handle's server key is in use here.
    fn knows(&self, app: &str, handle: &Handle) -> bool {
        let known = self.keys.know(handle);
        if !known {
            self.observer.unknown_key(app);
        }
        known
    }

    fn opened(
        &self,
        key: &StoreKey,
        handle: &Handle,
        record: &StoredRecord,
        policy: Option<&Policy>,
    ) -> Option<Session> {
        let Ok(contents) = Contents::open(&self.keys, handle, record) else {
            self.observer.unreadable(&record.app);
            return None;
        };
        let (version, last_seen) = (record.version, record.last_seen);
        let names = self.keys.pseudonyms(key);
        Some(Session::new(*key, version, contents, last_seen, names, policy))
    }

    /// Removes a record and counts the end, once.
    async fn remove(
        &self,
        key: &StoreKey,
        condition: RemoveIf,
        reason: EndReason,
    ) -> Result<Removed, StoreUnavailable> {
        let removed = self.observed("remove", self.store.remove(key, condition)).await;
        // Also if no answer came: it may have happened.
        self.cache.forget(key);
        let removed = removed?;
        if !matches!(removed, Removed::Changed) {
            self.watches.end(key);
        }
        if let Removed::Done(record) = &removed {
            // What its browser still carries is marked as well; whoever marks it first counts it.
            let carried = self.carried_by(&record.app).is_some();
            if !carried || self.mark_ended(key, record.expires).await? {
                let session = self.keys.pseudonym(key);
                self.observer.session_ended(&record.app, Some(&session), reason.reason(), 1);
            }
        }
        Ok(removed)
    }

    async fn observed<T>(
        &self,
        operation: &'static str,
        answer: BoxFuture<'_, Result<T, StoreUnavailable>>,
    ) -> Result<T, StoreUnavailable> {
        let start = self.ambient.clock.monotonic_millis();
        let answer = answer.await;
        let outcome = if answer.is_ok() { "done" } else { "unavailable" };
        self.observer.store_operation(operation, outcome, self.seconds_since(start));
        answer
    }

    fn seconds_since(&self, start_millis: u64) -> f64 {
        let millis = self.ambient.clock.monotonic_millis().saturating_sub(start_millis);
        f64::from(u32::try_from(millis).unwrap_or(u32::MAX)) / 1000.0
    }
}
