//! Owns what is known of a run by one who sees everything, and the judgement whether it was right: which
//! refresh token was sent when and why again, where each answer went, how each session ended.
//! Must not influence the run.

use std::collections::{BTreeMap, BTreeSet};

use super::sim::{Process, Rotation, START};
use crate::{
    clock::UnixTime,
    seal::ServerKey,
    session::{
        Handle,
        handle::Keys,
        record::{Contents, Session},
        store::{RemoveIf, StoreKey, StoredRecord},
    },
};

/// By how many seconds at most a clock may be ahead of the truth, and one for rounding.
const SKEW: i64 = 3;

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Violation {
    pub(super) broken: Broken,
    pub(super) what: String,
}

/// The invariants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Broken {
    /// A refresh token was sent again though no answer to it was lost (FAPI2-SP-5.3.2.1-9).
    TokenReused,
    /// An answer reached a living instance and never came into the store.
    SuccessorLost,
    /// A session that had ended was there again.
    Resurrected,
    /// A session went without an end.
    RemovedWithoutEnd,
    /// A caller was told what was not so.
    Misinformed,
    /// A call did not come to an end in bounded time.
    Unbounded,
    /// With everything healthy a living session could not be refreshed.
    NotRefreshable,
    /// Tokens that came after their session's end were not revoked, or those of a living one were.
    NotDiscarded,
    /// An instance asked for one lease twice at a time.
    Crowded,
}

/// Why a refresh token may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Excuse {
    /// The earlier request ended in an error and was not processed: no use at all.
    NotProcessed,
    /// It was processed, and instead of its answer an error came.
    AnswerLost,
    /// No answer came before the deadline.
    Deadline,
    /// Whoever asked, or had the answer, died.
    Crash,
    /// Whoever had the answer could not reach the store for as long as its lease ran.
    CutOff,
    /// The authorization server never rotates.
    NoRotation,
}

/// How a request to the authorization server ended, for the one who asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Tokens of this number arrived.
    Tokens(u64),
    Error,
    /// Nobody waits for it any more.
    GivenUp,
}

#[derive(Debug)]
struct Use {
    session: usize,
    /// Number of the refresh token.
    token: u64,
    by: Process,
    rotated: bool,
    /// It was processed when nobody waited for it any more.
    late: bool,
    end: Option<(u64, End)>,
}

/// A session, and the grant it lives from.
#[derive(Debug, Default)]
struct Known {
    user: usize,
    handle: Option<Handle>,
    key: Option<StoreKey>,
    idle: i64,
    absolute: i64,
    expires: Option<UnixTime>,
    /// Numbers of the answers whose tokens have been in the store.
    stored: BTreeSet<u64>,
    removed: Option<u64>,
    /// Somebody was told that it has ended.
    acknowledged: Option<u64>,
    /// Somebody has ever asked for its end.
    condemned: bool,
    /// Answers whose tokens somebody was given to revoke.
    handed: BTreeSet<u64>,
    /// When a lease ran out on whom.
    abandoned: Vec<(u64, Process)>,
    excuses: BTreeSet<Excuse>,
}

/// Everything that is known.
pub(super) struct Ledger {
    rotation: Rotation,
    keys: Keys,
    sessions: Vec<Known>,
    uses: Vec<Use>,
    /// Users all of whose sessions somebody has asked to end.
    condemned: BTreeSet<usize>,
    dead: BTreeMap<Process, (u64, bool)>,
    trouble: Vec<(Process, StoreKey, u64, u64)>,
    pub(super) violations: Vec<Violation>,
    /// How often each excuse was used.
    pub(super) excuses: BTreeMap<Excuse, u64>,
    /// How often what happened, for the summary.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

/// The server key of every simulated instance.
pub(super) fn server_key() -> ServerKey {
    ServerKey::from_bytes([7; 32])
}

/// The number in a token's text: `a3.5` is the fifth access token of the third grant.
pub(super) fn number(text: &str) -> u64 {
    text.rsplit_once('.').and_then(|(_, number)| number.parse().ok()).unwrap()
}

/// The grant in a token's text.
pub(super) fn grant(text: &str) -> usize {
    text[1..].split_once('.').and_then(|(grant, _)| grant.parse().ok()).unwrap()
}

/// Numbers of all access tokens of a session.
fn answers(contents: &Contents) -> impl Iterator<Item = u64> {
    let narrowed = contents.tokens.narrowed.iter().map(|narrowed| &narrowed.access_token);
    narrowed.chain([&contents.tokens.access_token]).map(|token| number(token.expose()))
}

impl Ledger {
    pub(super) fn new(rotation: Rotation) -> Self {
        Self {
            rotation,
            keys: Keys::new(&server_key().into()),
            sessions: Vec::new(),
            uses: Vec::new(),
            condemned: BTreeSet::new(),
            dead: BTreeMap::new(),
            trouble: Vec::new(),
            violations: Vec::new(),
            excuses: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    pub(super) fn violated(&mut self, broken: Broken, what: String) {
        self.violations.push(Violation { broken, what });
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A grant is about to be made; its number.
    pub(super) fn granted(&mut self, user: usize, idle: i64, absolute: i64) -> usize {
        self.sessions.push(Known { user, idle, absolute, ..Known::default() });
        self.sessions.len() - 1
    }

    /// Its session has been made.
    pub(super) fn began(&mut self, session: usize, handle: &Handle, expires: UnixTime) {
        let key = self.keys.record(handle);
        let known = &mut self.sessions[session];
        (known.handle, known.key) = (Some(handle.clone()), Some(key));
        known.stored.insert(0);
        known.expires = Some(expires);
    }

    fn of(&self, key: &StoreKey) -> Option<usize> {
        self.sessions.iter().position(|known| known.key.as_ref() == Some(key))
    }

    pub(super) fn name(&self, key: &StoreKey) -> String {
        self.of(key).map_or_else(|| format!("{key:?}"), |session| format!("s{session}"))
    }

    pub(super) fn key(&self, session: usize) -> Option<StoreKey> {
        self.sessions[session].key
    }

    pub(super) fn open(&self, key: &StoreKey, record: &StoredRecord) -> Option<Contents> {
        let handle = self.sessions[self.of(key)?].handle.as_ref()?;
        Contents::open(&self.keys, handle, record).ok()
    }

    /// A record is in the store.
    pub(super) fn put(&mut self, key: &StoreKey, record: &StoredRecord, now: u64) {
        let Some(session) = self.of(key) else { return };
        let Some(contents) = self.open(key, record) else { return };
        let known = &mut self.sessions[session];
        known.stored.extend(answers(&contents));
        known.expires = Some(record.expires);
        if let Some(at) = known.removed {
            self.violated(
                Broken::Resurrected,
                format!("s{session} ended at {at}, is back at {now}"),
            );
        }
    }

    /// A lease was granted; `abandoned` names the holder before if it ran out on that one.
    pub(super) fn leased(&mut self, key: &StoreKey, abandoned: Option<Process>, now: u64) {
        if let (Some(session), Some(holder)) = (self.of(key), abandoned) {
            self.sessions[session].abandoned.push((now, holder));
        }
    }

    /// A record was taken out of the store.
    pub(super) fn removed(
        &mut self,
        key: &StoreKey,
        record: &StoredRecord,
        condition: RemoveIf,
        now: u64,
    ) {
        let Some(session) = self.of(key) else { return };
        self.count("ends");
        let known = &mut self.sessions[session];
        known.removed = Some(now);
        let wall = START.plus(i64::try_from(now / 1000).unwrap() + SKEW);
        let absolute = wall >= record.created.plus(known.absolute);
        let idle = wall >= record.last_seen.plus(known.idle);
        let ok = match condition {
            RemoveIf::Present => {
                known.condemned || self.condemned.contains(&known.user) || absolute
            }
            RemoveIf::NotSeenSince(_) => idle || absolute,
            RemoveIf::Unchanged(..) => {
                let held = self.held_back(session);
                if let Some(number) = held {
                    let what = format!("s{session} ends by a dead grant; answer {number} waits");
                    self.violated(Broken::RemovedWithoutEnd, what);
                }
                // Whether the grant is dead is for the authorization server to say.
                true
            }
        };
        if !ok {
            let what = format!("s{session} by {condition:?}");
            self.violated(Broken::RemovedWithoutEnd, what);
        }
    }

    /// An answer that reached a living instance and is neither stored nor given up.
    fn held_back(&self, session: usize) -> Option<u64> {
        let known = &self.sessions[session];
        self.uses.iter().filter(|u| u.session == session).find_map(|u| {
            let Some((at, End::Tokens(number))) = u.end else { return None };
            let excused = self.dead.contains_key(&u.by)
                || known.stored.contains(&number)
                || known.handed.contains(&number)
                || self.has_stored_sibling(u)
                || self.cut_off(u, at);
            (!excused).then_some(number)
        })
    }

    pub(super) fn died(&mut self, process: Process, clean: bool, now: u64) {
        self.count(if clean { "clean stops" } else { "crashes" });
        self.dead.insert(process, (now, clean));
    }

    /// An operation of a process on a record had trouble for that time.
    pub(super) fn trouble(&mut self, process: Process, key: &StoreKey, from: u64, to: u64) {
        self.trouble.push((process, *key, from, to));
    }

    fn had_trouble(&self, process: Process, session: usize, from: u64, to: u64) -> bool {
        let key = self.sessions[session].key;
        self.trouble.iter().any(|(of, on, begin, end)| {
            *of == process && Some(*on) == key && *begin <= to && *end >= from
        })
    }

    /// Whether its lease ran out on whoever had this answer while it could not reach the store.
    fn cut_off(&self, of: &Use, arrived: u64) -> bool {
        self.sessions[of.session].abandoned.iter().any(|(at, holder)| {
            *holder == of.by && *at >= arrived && self.had_trouble(of.by, of.session, arrived, *at)
        })
    }

    pub(super) fn crowded(&mut self, process: Process, key: &StoreKey) {
        let what = format!("{process:?} asks twice for the lease of {}", self.name(key));
        self.violated(Broken::Crowded, what);
    }

    /// A refresh token is sent. It may be sent again only if every earlier answer was lost.
    pub(super) fn sent(&mut self, session: usize, token: u64, by: Process, now: u64) -> usize {
        self.count("requests");
        let mut found = Vec::new();
        for earlier in self.uses.iter().filter(|u| u.session == session && u.token == token) {
            let dead = self.dead.get(&earlier.by);
            found.push(match earlier.end {
                None if dead.is_some_and(|(_, clean)| !clean) => Ok(Excuse::Crash),
                None => Err("while another request with it is under way"),
                Some(_) if self.rotation == Rotation::Never => Ok(Excuse::NoRotation),
                Some((_, End::GivenUp)) => Ok(Excuse::Deadline),
                Some((_, End::Error)) if earlier.rotated => Ok(Excuse::AnswerLost),
                Some((_, End::Error)) => Ok(Excuse::NotProcessed),
                Some((_, End::Tokens(number)))
                    if self.sessions[session].stored.contains(&number) =>
                {
                    Err("after its successor was stored")
                }
                Some((at, End::Tokens(_))) => match dead {
                    Some((_, true)) => Err("after one who had its successor stopped cleanly"),
                    Some(_) => Ok(Excuse::Crash),
                    None if self.cut_off(earlier, at) => Ok(Excuse::CutOff),
                    None => Err("though another instance has its successor"),
                },
            });
        }
        for found in found {
            match found {
                Ok(excuse) => {
                    *self.excuses.entry(excuse).or_default() += 1;
                    self.sessions[session].excuses.insert(excuse);
                }
                Err(why) => {
                    let what = format!("r{session}.{token} by {by:?} at {now} {why}");
                    self.violated(Broken::TokenReused, what);
                }
            }
        }
        self.uses.push(Use { session, token, by, rotated: false, late: false, end: None });
        self.uses.len() - 1
    }

    /// The authorization server has processed a request.
    pub(super) fn processed(&mut self, which: usize) {
        let known = &mut self.uses[which];
        (known.rotated, known.late) = (true, known.end.is_some());
    }

    /// It has ended for the one who asked.
    pub(super) fn ended(&mut self, which: usize, end: End, now: u64) {
        let known = &mut self.uses[which];
        if known.end.is_none() {
            known.end = Some((now, end));
        }
    }

    /// Tokens are given up for revocation because they came too late.
    pub(super) fn discarded(&mut self, text: &str, now: u64) {
        self.count("discarded");
        let (session, number) = (grant(text), number(text));
        let known = &mut self.sessions[session];
        known.handed.insert(number);
        // Past its limit nobody finds it, even while the store cannot be told.
        let wall = START.plus(i64::try_from(now / 1000).unwrap() + SKEW);
        if known.removed.is_none() && known.expires.is_none_or(|expires| wall < expires) {
            let what = format!("answer {number} of living s{session} at {now}");
            self.violated(Broken::NotDiscarded, what);
        }
    }

    /// Somebody asks for a session's end.
    pub(super) fn condemned(&mut self, session: usize) {
        self.sessions[session].condemned = true;
    }

    /// Somebody asks for the end of all sessions of a user.
    pub(super) fn condemned_all(&mut self, user: usize) {
        self.condemned.insert(user);
    }

    /// Somebody was told that it has ended, with the session if it was theirs to end.
    pub(super) fn acknowledged(&mut self, session: usize, ended: Option<&Session>, now: u64) {
        let known = &mut self.sessions[session];
        known.acknowledged.get_or_insert(now);
        if let Some(ended) = ended {
            known.handed.extend(answers(&ended.contents));
        }
    }

    /// Since when it is known to have ended.
    pub(super) fn acknowledged_at(&self, session: usize) -> Option<u64> {
        self.sessions[session].acknowledged
    }

    pub(super) fn is_removed(&self, session: usize) -> bool {
        self.sessions[session].removed.is_some()
    }

    /// Whether tokens of this session were truly lost, or may have been.
    pub(super) fn has_lost_tokens(&self, session: usize) -> bool {
        let lost = |u: &&Use| match u.end {
            Some((_, End::Error)) => u.rotated,
            Some((_, End::GivenUp)) => true,
            None | Some((_, End::Tokens(_))) => self.dead.contains_key(&u.by),
        };
        self.uses.iter().filter(|u| u.session == session).any(|u| lost(&u))
            || self.sessions[session].excuses.contains(&Excuse::CutOff)
    }

    /// Whether even a forgiving authorization server may have come to a dead end: one request was
    /// processed when nobody waited for it any more, or two had answers because one was cut off.
    pub(super) fn was_beyond_help(&self, session: usize) -> bool {
        self.sessions[session].excuses.contains(&Excuse::CutOff)
            || self.uses.iter().any(|u| {
                let dead = self.dead.contains_key(&u.by) && u.end.is_none();
                u.session == session && (u.late || (u.rotated && dead))
            })
    }

    /// Another answer to the same refresh token is, or was, in the store.
    fn has_stored_sibling(&self, of: &Use) -> bool {
        let stored = &self.sessions[of.session].stored;
        self.uses.iter().any(|u| {
            let Some((_, End::Tokens(number))) = u.end else { return false };
            u.session == of.session
                && u.token == of.token
                && !std::ptr::eq(u, of)
                && stored.contains(&number)
        })
    }

    /// Once everything has come to rest: every answer that reached a living instance is in the store, or
    /// was overtaken while its holder was cut off, or its session ended and it was given up.
    pub(super) fn settle(&mut self) {
        let mut found = Vec::new();
        for u in &self.uses {
            let Some((at, End::Tokens(number))) = u.end else { continue };
            let known = &self.sessions[u.session];
            if let Some((died, clean)) = self.dead.get(&u.by) {
                // Whoever lived for long enough in peace had time to store them.
                let peace = *died > at + 10_000 && !self.had_trouble(u.by, u.session, at, *died);
                if !clean && !peace {
                    continue;
                }
            }
            if known.stored.contains(&number) || known.handed.contains(&number) {
                continue;
            }
            if self.cut_off(u, at) && self.has_stored_sibling(u) {
                continue;
            }
            // Displaced by an older answer, or never stored; or only not revoked after the end.
            let displaced = self.has_stored_sibling(u) || known.removed.is_none();
            let broken = if displaced { Broken::SuccessorLost } else { Broken::NotDiscarded };
            let what =
                format!("answer {number} to r{}.{} had by {:?} at {at}", u.session, u.token, u.by);
            found.push(Violation { broken, what });
        }
        self.violations.extend(found);
    }
}
