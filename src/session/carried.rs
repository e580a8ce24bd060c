//! Owns sessions that their browsers carry themselves, sealed. The store keeps only a side list of them: what
//! has ended, when a session was last used, and the successor of one that is being refreshed.
//! Must not know how a browser carries anything.
//!
//! What a browser brings is the session as of one version. The store knows the lowest version that is still
//! good, its floor: a refresh raises it before it asks. From then on, until the successor has reached the browser,
//! the session lies in the store like any other, and the refresh is the same as any other's: one lease, one
//! compare-and-set. Who comes with the version before finds the successor there.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::{
    Sessions, Whose,
    handle::{Handle, KeySet},
    outcome::{EndReason, FindError, NoSession},
    record::{Contents, Policy, Session},
    store::{Leased, Owner, RemoveIf, Removed, StoreKey, StoreUnavailable, StoredRecord, Version},
};
use crate::{clock::UnixTime, seal::SealingKey};

/// Seconds for which a successor stays in the store, for requests that are on their way with the version
/// before it, and for answers that got lost.
const GRACE: i64 = 60;
/// Seconds that a mark outlives what it is about.
const MARGIN: i64 = 60;
/// How long the right to tidy up lasts.
const TIDYING: Duration = Duration::from_secs(5);

/// How the sessions of one app are bounded that its browsers carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CarriedBy {
    /// Octets that a browser can carry of a session.
    pub room: usize,
    /// Longest life of a session, in seconds.
    pub absolute: i64,
}

/// The apps whose browsers carry their sessions.
pub type CarriedApps = BTreeMap<String, CarriedBy>;

/// A session as its browser brings it, which is as of one version.
pub(super) struct Carried {
    pub(super) version: Version,
    contents: Contents,
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A session that its browser could not carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotPacked {
    /// It does not fit: nothing is ever cut off.
    #[error("the session takes {octets} octets, and a browser carries {room}")]
    TooLarge {
        /// What it takes.
        octets: usize,
        /// What there is room for.
        room: usize,
    },
    /// It could not be sealed.
    #[error("the session could not be sealed")]
    Seal,
}

/// What the side list says of a session.
struct Side {
    ended: bool,
    floor: Option<Floor>,
    seen: Option<UnixTime>,
}

/// The lowest version that is good, kept as the time of a mark, of which the later one stays.
#[derive(Clone, Copy)]
struct Floor(i64);

impl Floor {
    /// A refresh of this version has begun: it or its successor is in the store.
    fn begun(version: Version) -> Self {
        Self(i64::try_from(version.as_u64()).unwrap_or(i64::MAX / 4).saturating_mul(2) + 1)
    }

    /// This version has reached its browser, and is not in the store any more.
    fn settled(version: Version) -> Self {
        Self(Self::begun(version).0 - 1)
    }

    fn allows(self, version: Version) -> bool {
        i64::try_from(version.as_u64()).is_ok_and(|version| version >= self.0 >> 1)
    }

    const fn may_be_stored(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Sessions {
    /// Whether this app's browsers carry their sessions.
    pub fn carries(&self, app: &str) -> bool {
        self.carried_by(app).is_some()
    }

    /// How this app's sessions are carried, if their browsers do.
    pub(super) fn carried_by(&self, app: &str) -> Option<CarriedBy> {
        self.by_browser.get(app).copied()
    }

    /// A new session's handle with the session in it.
    pub(super) fn hand_over(
        &self,
        handle: &Handle,
        contents: Contents,
        room: usize,
    ) -> Result<Handle, NotPacked> {
        let version = Version::FIRST;
        self.packed(handle, &contents, version, room, |_, _| Some(Vec::new()))?;
        Ok(handle.carrying(Carried { version, contents }))
    }

    /// What the browser is to carry of `session` from now on, bound to the `context` that its version and
    /// length in octets have; none if browsers do not carry this app's. The same each time and on all
    /// instances: parallel answers may reach the browser in pieces, which then are pieces of one whole (CK-RACE).
    pub fn pack(
        &self,
        handle: &Handle,
        session: &Session,
        context: impl FnOnce(Version, usize) -> Option<Vec<u8>>,
    ) -> Option<Result<(Version, Vec<u8>), NotPacked>> {
        let by = self.carried_by(session.app())?;
        let version = session.version;
        let packed = self.packed(handle, &session.contents, version, by.room, context);
        let packed = packed.inspect_err(|fault| self.observer.not_carried(session.app(), *fault));
        Some(packed.map(|packed| (version, packed)))
    }

    fn packed(
        &self,
        handle: &Handle,
        contents: &Contents,
        version: Version,
        room: usize,
        context: impl FnOnce(Version, usize) -> Option<Vec<u8>>,
    ) -> Result<Vec<u8>, NotPacked> {
        let json = contents.to_json().map_err(|_| NotPacked::Seal)?;
        let mut text = Zeroizing::new(Vec::with_capacity(64 + json.len()));
        text.extend_from_slice(handle.to_bytes().as_slice());
        text.extend_from_slice(&version.as_u64().to_be_bytes());
        text.extend_from_slice(&json);
        let octets = SealingKey::sealed_len(text.len());
        let too_large = NotPacked::TooLarge { octets, room };
        if octets > room {
            return Err(too_large);
        }
        let context = context(version, octets).ok_or(too_large)?;
        let key = self.keys.carrying().active();
        key.seal_repeatably(&context, &text).map_err(|_| NotPacked::Seal)
    }

    /// The handle in what a browser brought, with the session in it; none unless [`Sessions::pack`] made
    /// exactly this for exactly this `context`.
    pub fn unpack(&self, context: &[u8], packed: &[u8]) -> Option<Handle> {
        let (_, text) = self.keys.carrying().open(context, packed).ok()?;
        let (handle, rest) = text.split_first_chunk()?;
        let (version, json) = rest.split_first_chunk()?;
        let version = Version::new(u64::from_be_bytes(*version));
        let contents = serde_json::from_slice(json).ok()?;
        Some(Handle::from_bytes(handle).carrying(Carried { version, contents }))
    }

    /// Whether the browser of `handle` carries another version than this one.
    pub fn is_to_be_carried(&self, handle: &Handle, session: &Session) -> bool {
        handle.carried().is_some_and(|carried| carried.version != session.version)
    }

    /// The session as it is now: what the browser brought, unless the side list knows better.
    pub(super) async fn open_carried(
        &self,
        app: &str,
        handle: &Handle,
        policy: &Policy,
    ) -> Result<Session, FindError> {
        // One named without being brought cannot be opened.
        let carried = handle.carried().ok_or(NoSession::Unknown)?;
        let key = self.keys.record(handle);
        if carried.contents.app != app {
            return Err(NoSession::Unknown.into());
        }
        let mut side = self.side(&key, &carried.contents).await?;
        if side.ended {
            return Err(NoSession::Unknown.into());
        }
        let mut version = carried.version;
        let mut stored = None;
        if side.floor.is_some_and(Floor::may_be_stored) {
            stored = self.observed("load", self.store.load(&key)).await?;
            if stored.is_none() {
                // Either there has been none since the last refresh failed, or it was taken out this very
                // moment: then the floor was raised before.
                side = self.side(&key, &carried.contents).await?;
            }
        }
        let contents = match stored.filter(|record| record.version >= version) {
            Some(record) => {
                let Ok(newer) = Contents::open(&self.keys, handle, &record) else {
                    self.observer.unreadable(app);
                    return Err(NoSession::Unknown.into());
                };
                let settled = self.ambient.now().since(newer.renewed_at()) >= GRACE;
                if settled && record.version == version {
                    self.tidy_up(key, version, newer.absolute_expires);
                }
                version = record.version;
                newer
            }
            None if side.ended => return Err(NoSession::Unknown.into()),
            None if side.floor.is_none_or(|floor| floor.allows(version)) => {
                carried.contents.clone()
            }
            None => return Err(NoSession::Superseded.into()),
        };
        let last_seen = side.seen.unwrap_or(contents.created).max(contents.created);
        let names = self.keys.pseudonyms(&key);
        let session = Session::new(key, version, contents, last_seen, names, Some(policy));
        let Some(limit) = session.expiry(self.ambient.now()) else { return Ok(session) };
        // Marked as ended, so that a clock set back does not bring it to life again (SES-7.3).
        self.retire(app, &key, session.contents.absolute_expires, limit.into()).await?;
        Err(NoSession::from(limit).into())
    }

    /// One question to the store.
    async fn side(&self, key: &StoreKey, contents: &Contents) -> Result<Side, StoreUnavailable> {
        let keys = self.keys.of_record(key);
        let Contents { app, identity, created, .. } = contents;
        let mut asked = vec![keys.ended(key), keys.floor(key), keys.seen(key)];
        asked.push(keys.ended_every(app));
        let (issuer, subject) = (identity.issuer.as_str(), identity.subject.as_deref());
        if let Some(sid) = &identity.sid {
            asked.push(keys.ended_whose(app, Whose::Sid { issuer, sid, subject: None }));
            if subject.is_some() {
                asked.push(keys.ended_whose(app, Whose::Sid { issuer, sid, subject }));
            }
        }
        if let Some(subject) = subject {
            asked.push(keys.ended_whose(app, Whose::Subject { issuer, subject }));
        }
        let marks = self.observed("marks", self.store.marks(&asked)).await?;
        let mut marks = marks.into_iter();
        let (ended, floor, seen) = (marks.next(), marks.next(), marks.next());
        // An answer of another length is no answer.
        let (Some(ended), Some(floor), Some(seen)) = (ended, floor, seen) else {
            return Err(StoreUnavailable("marks are missing from its answer"));
        };
        let by_name = marks.flatten().any(|before| *created <= before);
        let floor = floor.map(|mark| Floor(mark.as_i64()));
        Ok(Side { ended: ended.is_some() || by_name, floor, seen })
    }

    /// Whether a carried session lives, for those who hold on to one that was opened.
    pub(super) async fn carried_lives(&self, session: &Session) -> Result<bool, StoreUnavailable> {
        let side = self.side(&session.key, &session.contents).await?;
        let mut session = session.clone();
        session.last_seen = side.seen.unwrap_or(session.last_seen).max(session.last_seen);
        Ok(!side.ended && session.expiry(self.ambient.now()).is_none())
    }

    /// Notes a use. It is no cookie, which parallel answers would take from each other (CK-RACE).
    pub(super) async fn touch_carried(&self, session: &Session, now: UnixTime) -> bool {
        let key = self.keys.of_record(&session.key).seen(&session.key);
        let until = now.plus(session.contents.idle).plus(MARGIN);
        self.observed("mark", self.store.mark(&key, now, until)).await.is_ok()
    }

    /// Puts a session into the store for the time of its refresh.
    pub(super) async fn lay_down(
        &self,
        handle: &Handle,
        session: &Session,
    ) -> Result<(), StoreUnavailable> {
        let (key, contents, version) = (&session.key, &session.contents, session.version);
        let sealed = contents
            .seal(&self.keys, handle, version)
            .map_err(|_| StoreUnavailable("the session could not be sealed"))?;
        // The floor first: who finds none does not look for a record.
        self.raise(key, Floor::begun(version), contents.absolute_expires).await?;
        let now = self.ambient.now();
        let record = StoredRecord {
            version,
            app: contents.app.clone(),
            created: contents.created,
            sealed,
            expires: contents.absolute_expires,
            // Its use is noted elsewhere: here it does not end before the session does.
            idle: contents.absolute_expires.since(now).max(0) + MARGIN,
            last_seen: now,
            indexes: contents.indexes(self.keys.of_record(key)),
        };
        self.observed("create", self.store.create(key, record)).await.map(drop)
    }

    async fn raise(
        &self,
        key: &StoreKey,
        Floor(floor): Floor,
        expires: UnixTime,
    ) -> Result<(), StoreUnavailable> {
        let mark = self.keys.of_record(key).floor(key);
        let until = expires.plus(MARGIN);
        self.observed("mark", self.store.mark(&mark, UnixTime::new(floor), until)).await
    }

    /// Takes out of the store what has reached its browser, unless somebody is at it.
    fn tidy_up(&self, key: StoreKey, version: Version, expires: UnixTime) {
        let Some(sessions) = self.myself.upgrade() else { return };
        self.flights.spawn(async move {
            let Ok(owner) = sessions.ambient.random().map(Owner::new) else { return };
            let lease = sessions.store.lease(&key, owner, TIDYING);
            let Ok(Leased::Granted(lease)) = sessions.observed("lease", lease).await else {
                return;
            };
            let settled = lease.record.version == version
                && sessions.raise(&key, Floor::settled(version), expires).await.is_ok();
            let condition = RemoveIf::Unchanged(version, lease.fence);
            let gone = settled
                && sessions
                    .observed("remove", sessions.store.remove(&key, condition))
                    .await
                    .is_ok();
            if !gone {
                // If this fails the lease ends by itself.
                let _ =
                    sessions.observed("release", sessions.store.release(&key, lease.fence)).await;
            }
        });
    }

    /// Ends a session by its key, on all instances. True for one caller, who counts it; with the successor
    /// that was in the store.
    pub(super) async fn retire(
        &self,
        app: &str,
        key: &StoreKey,
        expires: UnixTime,
        reason: EndReason,
    ) -> Result<(bool, Option<StoredRecord>), StoreUnavailable> {
        // The mark first. Whoever refreshes looks for it after writing: so either they see it, or their
        // record is found here.
        let first = self.mark_ended(key, expires).await?;
        let removed = self.observed("remove", self.store.remove(key, RemoveIf::Present)).await?;
        if first {
            let session = self.keys.pseudonym(key);
            self.observer.session_ended(app, Some(&session), reason.reason(), 1);
        }
        Ok((first, removed.into_record()))
    }

    /// Marks a session as ended. True for one caller.
    pub(super) async fn mark_ended(
        &self,
        key: &StoreKey,
        expires: UnixTime,
    ) -> Result<bool, StoreUnavailable> {
        let keys = self.keys.of_record(key);
        let (now, until) = (self.ambient.now(), expires.plus(MARGIN));
        self.observed("mark", self.store.mark(&keys.ended(key), now, until)).await?;
        self.watches.end(key);
        let once = keys.consumed(&[b"ended", key.as_bytes()]);
        self.observed("consume_once", self.store.consume_once(&once, until)).await
    }

    /// Ends a carried session. Exactly one caller gets it, as far as it can be opened.
    pub(super) async fn end_carried(
        &self,
        app: &str,
        by: CarriedBy,
        handle: &Handle,
        reason: EndReason,
    ) -> Result<Option<Session>, StoreUnavailable> {
        let key = self.keys.record(handle);
        let brought = match handle.carried() {
            // Another app's: it is not this one's to end.
            Some(carried) if carried.contents.app != app => return Ok(None),
            brought => brought.map(|carried| (carried.version, carried.contents.clone())),
        };
        let longest = self.ambient.now().plus(by.absolute);
        let expires = brought.as_ref().map_or(longest, |(_, contents)| contents.absolute_expires);
        let (first, stored) = self.retire(app, &key, expires, reason).await?;
        let stored = stored.and_then(|record| {
            Some((record.version, Contents::open(&self.keys, handle, &record).ok()?))
        });
        let newest = [brought, stored].into_iter().flatten().max_by_key(|(version, _)| *version);
        let Some((version, mut contents)) = newest.filter(|_| first) else { return Ok(None) };
        if let Some((tokens, target)) = self.flights.take_unsaved(&(key, app.to_owned()), version) {
            // The newest tokens are those to revoke.
            contents.renew(&tokens, target.as_ref(), self.ambient.now(), version.next());
        }
        let (seen, names) = (contents.created, self.keys.pseudonyms(&key));
        Ok(Some(Session::new(key, version, contents, seen, names, None)))
    }

    /// Ends all sessions of these apps that began by now and are meant, whoever carries them (SES-7.4).
    pub(super) async fn end_all_carried(
        &self,
        whose: Whose<'_>,
        in_app: &(impl Fn(&str) -> bool + Send),
    ) -> Result<(), StoreUnavailable> {
        // A `sid` is not used again: what began under it is over by whichever clock it began.
        let for_good = matches!(whose, Whose::Sid { .. });
        self.mark_over(in_app, for_good, |keys, app| keys.ended_whose(app, whose)).await
    }

    /// Ends all sessions of these apps that began by now (SES-7.4).
    pub(super) async fn end_every_carried(
        &self,
        in_app: &(impl Fn(&str) -> bool + Send),
    ) -> Result<(), StoreUnavailable> {
        self.mark_over(in_app, false, KeySet::ended_every).await
    }

    /// Marks as ended, under every server key and for these apps, what `name` names: what began by now, or
    /// `for_good` also what begins later.
    async fn mark_over(
        &self,
        in_app: &(impl Fn(&str) -> bool + Send),
        for_good: bool,
        name: impl Fn(&KeySet, &str) -> StoreKey + Send,
    ) -> Result<(), StoreUnavailable> {
        let now = self.ambient.now();
        let meant: Vec<_> = self.by_browser.iter().filter(|(app, _)| in_app(app)).collect();
        for (app, by) in meant {
            let until = now.plus(by.absolute).plus(MARGIN);
            let before = if for_good { until } else { now };
            for keys in self.keys.all() {
                let key = name(keys, app);
                self.observed("mark", self.store.mark(&key, before, until)).await?;
            }
        }
        Ok(())
    }

    /// Under a lease: whether the session has ended meanwhile, or was laid down by somebody who came too late
    /// and whose version has been replaced. Then what is in the store goes.
    pub(super) async fn ended_meanwhile(
        &self,
        session: &Session,
    ) -> Result<bool, StoreUnavailable> {
        let Side { ended, floor, .. } = self.side(&session.key, &session.contents).await?;
        let ended = ended || floor.is_some_and(|floor| !floor.allows(session.version));
        if ended {
            let removed = self.store.remove(&session.key, RemoveIf::Present);
            let _: Removed = self.observed("remove", removed).await?;
        }
        Ok(ended)
    }
}

impl Handle {
    fn carrying(&self, carried: Carried) -> Self {
        self.clone().with(Arc::new(carried))
    }
}
