//! Owns listing sessions and ending those whose handle is not at hand (SES-7.4): a person their own, an
//! operator anybody's. Nothing here opens a record, so tokens stay as they are until their own end.

use futures_util::future::join_all;

use super::{
    EndReason, Ended, Policy, Session, Sessions, Whose,
    store::{Cursor, Expiry, Listed, RemoveIf, Removed, StoreKey, StoreUnavailable, StoredRecord},
};
use crate::{clock::UnixTime, telemetry::Pseudonym};

/// Records read or removed in one go.
const STRETCH: usize = 256;

/// A living session, as far as it shows without being opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Names it in logs and audit, too; opens nothing and is no key of the store.
    pub id: Pseudonym,
    /// Name of the app.
    pub app: String,
    /// When it began.
    pub created: UnixTime,
    /// Last activity.
    pub last_seen: UnixTime,
    /// When it ends without further activity, if that is before its absolute end.
    pub idle_expires: UnixTime,
    /// When it ends at the latest.
    pub expires: UnixTime,
}

/// A stretch of all sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Living sessions, in no particular order; perhaps fewer than were asked for, or none.
    pub entries: Vec<Entry>,
    /// Where the next stretch begins; none if this was the last.
    pub next: Option<Cursor>,
}

/// Which sessions of one's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Own<'a> {
    /// All but this one.
    Others,
    /// The one with this [`Entry::id`].
    Named(&'a str),
}

impl Sessions {
    /// The living sessions from `after` on, or from the beginning; at most `most` records are looked at.
    pub async fn list(
        &self,
        in_app: impl Fn(&str) -> bool + Send,
        after: Option<Cursor>,
        most: usize,
    ) -> Result<Listing, StoreUnavailable> {
        let page = self.observed("page", self.store.page(after, most)).await?;
        let now = self.ambient.now();
        let entries = page
            .listed
            .iter()
            .filter(|listed| in_app(&listed.app))
            .filter_map(|listed| self.entry(listed, now, None))
            .collect();
        Ok(Listing { entries, next: page.next })
    }

    /// The living sessions of a person, newest first. With a policy by its limits too, if they are
    /// tighter than those the sessions began under.
    pub async fn list_of(
        &self,
        issuer: &str,
        subject: &str,
        in_app: impl Fn(&str) -> bool + Send,
        policy: Option<&Policy>,
    ) -> Result<Vec<Entry>, StoreUnavailable> {
        let now = self.ambient.now();
        let living = self.living_of(issuer, subject, policy).await?.into_iter();
        let mut entries: Vec<_> = living
            .filter(|(_, record)| in_app(&record.app))
            .filter_map(|(key, record)| self.entry(&seen(key, record), now, policy))
            .collect();
        entries.sort_by(|a, b| (b.created, a.id.as_str()).cmp(&(a.created, b.id.as_str())));
        Ok(entries)
    }

    /// Ends sessions of the person whose session this is, in its app: nobody else's, whatever is named.
    pub async fn end_own(
        &self,
        session: &Session,
        which: Own<'_>,
        reason: EndReason,
    ) -> Result<Vec<Ended>, StoreUnavailable> {
        let Some(subject) = &session.identity().subject else { return Ok(Vec::new()) };
        if self.carried_by(session.app()).is_some() {
            if which == Own::Others {
                // Nobody can list them; what began up to now ends, this one among them.
                let issuer = session.identity().issuer.as_str();
                let in_app = |app: &str| app == session.app();
                self.end_all_carried(Whose::Subject { issuer, subject }, &in_app).await?;
            }
            return Ok(Vec::new());
        }
        let mut ended = Vec::new();
        for (key, record) in self.records_of(&session.identity().issuer, subject).await? {
            let chosen = match which {
                Own::Others => key != session.key,
                Own::Named(id) => self.keys.pseudonym(&key).as_str() == id,
            };
            if chosen && record.app == session.app() {
                ended.extend(self.end_key(&key, reason).await?);
            }
        }
        self.holds_everywhere().await;
        Ok(ended)
    }

    /// Ends the session with this [`Entry::id`], anybody's. Looks through all of them: a pseudonym
    /// leads to nothing.
    pub async fn end_listed(
        &self,
        id: &str,
        reason: EndReason,
    ) -> Result<Option<Ended>, StoreUnavailable> {
        let mut after = None;
        loop {
            let page = self.observed("page", self.store.page(after, STRETCH)).await?;
            let named = |listed: &&Listed| {
                let listable = self.carried_by(&listed.app).is_none();
                listable && self.keys.pseudonym(&listed.key).as_str() == id
            };
            if let Some(found) = page.listed.iter().find(named) {
                let ended = self.end_key(&found.key, reason).await?;
                self.holds_everywhere().await;
                return Ok(ended);
            }
            after = page.next;
            if after.is_none() {
                self.holds_everywhere().await;
                return Ok(None);
            }
        }
    }

    /// Ends all sessions in the apps that `in_app` picks, as many as there are when it begins; answers
    /// how many. One that begins meanwhile may live on.
    pub async fn end_every(
        &self,
        in_app: impl Fn(&str) -> bool + Send,
        reason: EndReason,
    ) -> Result<u64, StoreUnavailable> {
        self.end_every_carried(&in_app).await?;
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.observed("page", self.store.page(after, STRETCH)).await?;
            let keys: Vec<_> = page
                .listed
                .into_iter()
                .filter(|listed| in_app(&listed.app))
                .map(|listed| listed.key)
                .collect();
            // All at once: a store that writes durably takes many for the price of one.
            for ended in join_all(keys.iter().map(|key| self.end_key(key, reason))).await {
                count += u64::from(ended?.is_some());
            }
            after = page.next;
            if after.is_none() {
                self.holds_everywhere().await;
                return Ok(count);
            }
        }
    }

    /// All records of a person.
    async fn records_of(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Vec<(StoreKey, StoredRecord)>, StoreUnavailable> {
        let mut records = Vec::new();
        for keys in self.keys.all() {
            let index = keys.subject(issuer, subject);
            for key in self.observed("find", self.store.find(&index)).await? {
                if let Some(record) = self.observed("load", self.store.load(&key)).await? {
                    records.push((key, record));
                }
            }
        }
        Ok(records)
    }

    /// Those of them that are past no limit of time.
    pub(super) async fn living_of(
        &self,
        issuer: &str,
        subject: &str,
        policy: Option<&Policy>,
    ) -> Result<Vec<(StoreKey, StoredRecord)>, StoreUnavailable> {
        let mut records = self.records_of(issuer, subject).await?;
        let now = self.ambient.now();
        records.retain(|(_, record)| {
            let (idle, expires) = limits(record.idle, record.created, record.expires, policy);
            Expiry::of(now, record.last_seen, idle, expires).is_none()
        });
        Ok(records)
    }

    /// Ends one session without its handle, if it is there. Tokens that wait to be stored here are got rid
    /// of by the flight that comes to store them.
    pub(super) async fn end_key(
        &self,
        key: &StoreKey,
        reason: EndReason,
    ) -> Result<Option<Ended>, StoreUnavailable> {
        let removed: Removed = self.remove(key, RemoveIf::Present, reason).await?;
        Ok(removed
            .into_record()
            .map(|record| Ended { app: record.app, pseudonym: self.keys.pseudonym(key) }))
    }

    fn entry(&self, listed: &Listed, now: UnixTime, policy: Option<&Policy>) -> Option<Entry> {
        let (idle, expires) = limits(listed.idle, listed.created, listed.expires, policy);
        // Of those that browsers carry the store knows some, for a while, and not when they were used.
        let listable = self.carried_by(&listed.app).is_none();
        let alive = listable && Expiry::of(now, listed.last_seen, idle, expires).is_none();
        alive.then(|| Entry {
            id: self.keys.pseudonym(&listed.key),
            app: listed.app.clone(),
            created: listed.created,
            last_seen: listed.last_seen,
            idle_expires: listed.last_seen.plus(idle).min(expires),
            expires,
        })
    }
}

/// The limits in force: those of the session's beginning, or today's if they are tighter.
fn limits(
    idle: i64,
    created: UnixTime,
    expires: UnixTime,
    policy: Option<&Policy>,
) -> (i64, UnixTime) {
    match policy {
        Some(policy) => (idle.min(policy.idle), expires.min(created.plus(policy.absolute))),
        None => (idle, expires),
    }
}

fn seen(key: StoreKey, record: StoredRecord) -> Listed {
    let StoredRecord { app, created, expires, idle, last_seen, .. } = record;
    Listed { key, app, created, expires, idle, last_seen }
}
