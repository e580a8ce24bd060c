//! Owns the refresh of a session's tokens: one request at a time in this process and, by a lease, among all
//! instances; whoever waits for it and whoever hangs up; new tokens durable before anybody uses them;
//! nothing lost that the authorization server gave. Must not know how the authorization server is asked.
//!
//! A flight is one refresh in this process; others board it. It takes the lease, judges the record that
//! came with the lease, asks within a deadline shorter than the lease, and writes on the version and the
//! fence it was granted. Whoever cannot write keeps the tokens until somebody could or the session ended.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, future::Shared};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    BoxFuture, Sessions,
    handle::Handle,
    outcome::{
        Cause, EndReason, FindError, NoSession, RefreshFailure, RefreshGrant, RefreshOutcome,
        RefreshedTokens, TokenTrouble,
    },
    record::{Contents, Narrowed, Policy, Session},
    store::{
        Fence, Lease, Leased, Owner, RemoveIf, Removed, Replaced, StoreKey, StoreUnavailable,
        Version,
    },
};
use crate::{clock::UnixTime, protocol::Target};

/// Longest a refresh request may take before its outcome counts as unknown. The client's own time-out
/// should be shorter.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long nobody else may refresh, unless this one ends sooner: the deadline, and time to store.
const LEASE: Duration = Duration::from_secs(30);
/// Longest from asking for a lease to asking the authorization server: whoever was held up longer could
/// still be waiting for an answer when the lease ends.
const HEAD_START: Duration = Duration::from_secs(5);
/// Longest to wait for another instance: it has ended by then, one way or the other.
const PATIENCE: Duration = Duration::from_secs(35);
/// First and longest pause between two looks at what another instance has done.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(320));
/// Pause between two attempts to store tokens that the store would not take.
const SAVE_PAUSE: Duration = Duration::from_secs(1);
/// How long a failed attempt answers for the next ones, in milliseconds.
const BACKOFF: u64 = 1000;
/// Seconds after a session's end at the latest in which whoever has its tokens still has time to get rid
/// of them.
const LAST_CALL: i64 = 60;
/// Pauses between attempts to store tokens; then they wait in memory until the store takes them.
const STORE_PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(750),
    Duration::from_secs(2),
];

/// Asks the authorization server for new tokens.
pub trait Refresher: Send + Sync {
    /// One refresh request.
    fn refresh<'a>(
        &'a self,
        grant: RefreshGrant<'a>,
    ) -> BoxFuture<'a, Result<RefreshedTokens, RefreshFailure>>;

    /// Gets rid of tokens that came too late, after the session had ended: they are to be revoked.
    fn discard(&self, tokens: RefreshedTokens) -> BoxFuture<'_, ()>;
}

/// A session is refreshed for one app only; a stranger with its handle must not join in.
type FlightKey = (StoreKey, String);

/// What a flight is after; none is the access token of the whole grant. There is one flight per
/// session whatever it is after: each may use the refresh token up.
type Aim = Option<Target>;

/// Where a flight's outcome will be, for everybody on board. They are woken in the order in which they
/// boarded, so that a simulation can be repeated.
type Outcome = Shared<oneshot::Receiver<RefreshOutcome>>;

/// Refreshes under way, and what earlier ones left behind.
#[derive(Default)]
pub(super) struct Flights {
    running: Mutex<HashMap<FlightKey, (Aim, Outcome)>>,
    setbacks: Mutex<HashMap<(StoreKey, Aim), Setback>>,
    unsaved: Mutex<HashMap<FlightKey, Unsaved>>,
    /// Leases asked for without an answer, and until when they may run.
    unanswered: Mutex<HashMap<FlightKey, (Owner, Instant)>>,
    tasks: TaskTracker,
}

/// A failed attempt, remembered so that fifty calls do not make fifty requests.
#[derive(Clone, Copy)]
struct Setback {
    version: Version,
    failure: RefreshFailure,
    until_millis: u64,
}

/// Tokens the store would not take. The refresh token they replace may be used up, so these are stored
/// before anything else is tried (FAPI2-SP-5.3.2.1-9).
struct Unsaved {
    version: Version,
    /// Of the lease they came under, which is kept so that nobody asks with a spent refresh token.
    owner: Owner,
    tokens: RefreshedTokens,
    aim: Aim,
    expires: UnixTime,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flights {
    /// Work that a clean stop waits for.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    pub(super) fn forget_past(&self, now: UnixTime, monotonic_millis: u64) {
        locked(&self.setbacks).retain(|_, setback| monotonic_millis < setback.until_millis);
        locked(&self.unsaved).retain(|_, unsaved| now < unsaved.expires.plus(LAST_CALL));
        locked(&self.unanswered).retain(|_, (_, until)| Instant::now() < *until);
    }

    /// Under whose lease tokens came that wait to be stored.
    fn unsaved_under(&self, key: &FlightKey) -> Option<Owner> {
        locked(&self.unsaved).get(key).map(|unsaved| unsaved.owner)
    }

    fn setback(&self, session: &Session, aim: &Aim, monotonic_millis: u64) -> Option<Setback> {
        locked(&self.setbacks).get(&(session.key, aim.clone())).copied().filter(|setback| {
            setback.version == session.version && monotonic_millis < setback.until_millis
        })
    }

    /// Tokens that wait to be stored over this version; older ones have been overtaken.
    pub(super) fn take_unsaved(
        &self,
        key: &FlightKey,
        version: Version,
    ) -> Option<(RefreshedTokens, Option<Target>)> {
        let unsaved = locked(&self.unsaved).remove(key)?;
        (unsaved.version == version).then_some((unsaved.tokens, unsaved.aim))
    }

    /// Tokens that wait to be stored and never will be, because their session is past its end.
    fn take_expired(&self, key: &FlightKey, now: UnixTime) -> Option<RefreshedTokens> {
        let mut unsaved = locked(&self.unsaved);
        let expired = unsaved.get(key).is_some_and(|unsaved| now >= unsaved.expires);
        if expired { unsaved.remove(key).map(|unsaved| unsaved.tokens) } else { None }
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights")
            .field("running", &locked(&self.running).len())
            .finish_non_exhaustive()
    }
}

/// Whose tokens are to be refreshed, and how.
#[derive(Clone)]
struct Flight {
    key: FlightKey,
    handle: Handle,
    policy: Policy,
    refresher: Arc<dyn Refresher>,
    cause: Cause,
    aim: Aim,
}

impl Flight {
    fn app(&self) -> &str {
        &self.key.1
    }
}

/// A lease in hand.
struct Granted {
    lease: Lease,
    owner: Owner,
    /// When it was asked for: it runs at least from then.
    asked: Instant,
    /// There were tokens waiting to be stored when it was asked for.
    for_unsaved: bool,
}

/// An outcome, and tokens that came too late for it.
struct Landing {
    outcome: RefreshOutcome,
    late: Option<RefreshedTokens>,
}

impl From<RefreshOutcome> for Landing {
    fn from(outcome: RefreshOutcome) -> Self {
        Self { outcome, late: None }
    }
}

impl From<FindError> for Landing {
    fn from(error: FindError) -> Self {
        match error {
            FindError::NoSession(no_session) => RefreshOutcome::Ended(no_session).into(),
            FindError::StoreUnavailable => RefreshOutcome::StoreUnavailable.into(),
        }
    }
}

/// Strikes a flight off the list when it ends, by panic too.
struct Listed {
    sessions: Arc<Sessions>,
    key: FlightKey,
}

impl Drop for Listed {
    fn drop(&mut self) {
        locked(&self.sessions.flights.running).remove(&self.key);
    }
}

impl Sessions {
    /// The session with an access token for `target` that is good for use, fetched if there is none and
    /// refreshed if it ends soon. A failed refresh matters only once the access token has ended
    /// (BFF-6.1.2.2-1).
    pub async fn fresh(
        self: &Arc<Self>,
        session: Session,
        handle: &Handle,
        policy: &Policy,
        refresher: &Arc<dyn Refresher>,
        target: Option<&Target>,
    ) -> Result<Session, TokenTrouble> {
        let usable = |session: &Session| {
            session.held(target).is_some_and(|held| held.lives(self.ambient.now()))
        };
        if session.refresh_token().is_none() {
            // Where the grant's own token is alive, another login would bring no more than this one.
            let main_lives = session.access_token_lives(self.ambient.now());
            return match (usable(&session), main_lives && target.is_some()) {
                (true, _) => Ok(session),
                (false, true) => Err(TokenTrouble::TargetRefused),
                (false, false) => Err(TokenTrouble::Exhausted),
            };
        }
        let now = self.ambient.now();
        if session.held(target).is_some_and(|held| !held.refresh_due(now, policy)) {
            return Ok(session);
        }
        let app = session.app().to_owned();
        let outcome = self.refresh(&app, handle, policy, refresher, Cause::Due, target).await;
        // One that was read just now and can be used is: that its successor cannot be stored is no reason
        // to turn anybody away.
        let unchanged = match outcome {
            RefreshOutcome::StoreUnavailable => Some(&session),
            _ => outcome.unchanged(),
        };
        match unchanged {
            Some(session) if usable(session) => Ok(session.clone()),
            Some(session) if session.refresh_token().is_none() => Err(TokenTrouble::Exhausted),
            _ => outcome.into_result(),
        }
    }

    /// Refreshes a session's tokens, or its token for `target`, or waits for the refresh that is under way
    /// (BFF-6.1.2.2-PRJ). The work runs in a task of its own: a caller who hangs up changes nothing.
    pub async fn refresh(
        self: &Arc<Self>,
        app: &str,
        handle: &Handle,
        policy: &Policy,
        refresher: &Arc<dyn Refresher>,
        cause: Cause,
        target: Option<&Target>,
    ) -> RefreshOutcome {
        let key = (self.keys.record(handle), app.to_owned());
        let start = self.ambient.clock.monotonic_millis();
        let begun = Instant::now();
        loop {
            let flight = || Flight {
                key: key.clone(),
                handle: handle.clone(),
                policy: *policy,
                refresher: Arc::clone(refresher),
                cause,
                aim: target.cloned(),
            };
            let (landing, own, aim) = self.board(&key, flight);
            let Ok(outcome) = landing.await else {
                // Only a panic or the end of the runtime gets here; the record is as it was or newer.
                return RefreshOutcome::StoreUnavailable;
            };
            if own {
                return outcome;
            }
            // Where another token was fetched, ours still is to be; only that the grant is dead
            // answers everybody.
            let answers = aim.as_ref() == target || matches!(outcome, RefreshOutcome::GrantDead);
            // One that went on with a good token did not wait for those who need another.
            let impatient = matches!(outcome, RefreshOutcome::Underway(_)) && cause != Cause::Due;
            let answers = answers && !(impatient && begun.elapsed() < PATIENCE);
            if let Some(outcome) =
                Some(outcome).filter(|_| answers).and_then(|o| joined(o, cause, target))
            {
                let session = self.keys.pseudonym(&key.0);
                self.observer.refresh(app, &session, &outcome, self.seconds_since(start));
                return outcome;
            }
        }
    }

    /// Waits until every refresh under way has ended; for a clean stop.
    pub async fn drain(&self) {
        self.flights.tasks.close();
        self.flights.tasks.wait().await;
    }

    /// Joins the flight under way or starts one; true if started. Also tells what it is after.
    fn board(
        self: &Arc<Self>,
        key: &FlightKey,
        flight: impl FnOnce() -> Flight,
    ) -> (Outcome, bool, Aim) {
        let mut running = locked(&self.flights.running);
        if let Some((aim, landing)) = running.get(key) {
            return (landing.clone(), false, aim.clone());
        }
        let (landed, landing) = oneshot::channel();
        let landing = landing.shared();
        let flight = flight();
        let aim = flight.aim.clone();
        running.insert(key.clone(), (aim.clone(), landing.clone()));
        let listed = Listed { sessions: Arc::clone(self), key: key.clone() };
        self.flights.tasks.spawn(async move {
            let sessions = Arc::clone(&listed.sessions);
            let start = sessions.ambient.clock.monotonic_millis();
            let Landing { outcome, late } = sessions.fly(&flight).await;
            // Past its end nothing is to be stored any more, even while the store cannot be told.
            let now = sessions.ambient.now();
            let late = late.or_else(|| sessions.flights.take_expired(&flight.key, now));
            let session = sessions.keys.pseudonym(&flight.key.0);
            let seconds = sessions.seconds_since(start);
            sessions.observer.refresh(flight.app(), &session, &outcome, seconds);
            // Off the list first: who comes now reads the record anew instead of joining the past.
            drop(listed);
            // Nobody may be left to hear it.
            let _ = landed.send(outcome);
            if let Some(tokens) = late
                && timeout(DEADLINE, flight.refresher.discard(tokens)).await.is_err()
            {
                tracing::warn!(
                    "tokens that came after the session's end could not be revoked in time"
                );
            }
            if sessions.flights.unsaved_under(&flight.key).is_some() {
                sleep(SAVE_PAUSE).await;
                sessions.save_later(flight);
            }
        });
        (landing, true, aim)
    }

    /// Another flight for tokens that wait to be stored, unless somebody else has started one.
    fn save_later(self: &Arc<Self>, flight: Flight) {
        if self.flights.unsaved_under(&flight.key).is_some() {
            let key = flight.key.clone();
            drop(self.board(&key, || Flight { cause: Cause::Due, ..flight }));
        }
    }

    async fn fly(&self, flight: &Flight) -> Landing {
        let Some(myself) = self.owner(flight) else {
            return RefreshOutcome::StoreUnavailable.into();
        };
        let mut waited = None;
        let landing = self.fly_as(myself, flight, &mut waited).await;
        if let Some(since) = waited {
            self.observer.lease_waited(since.elapsed().as_secs_f64());
        }
        landing
    }

    /// In whose name a flight asks for a lease: in that of one before it whose question was not answered,
    /// for the lease may have been granted to it.
    fn owner(&self, flight: &Flight) -> Option<Owner> {
        let unanswered = locked(&self.flights.unanswered).get(&flight.key).copied();
        match unanswered.filter(|(_, until)| Instant::now() < *until) {
            Some((owner, _)) => Some(owner),
            None => self.ambient.random().map(Owner::new).ok(),
        }
    }

    /// Flies; `waited` tells since when another instance was waited for.
    async fn fly_as(
        &self,
        myself: Owner,
        flight: &Flight,
        waited: &mut Option<Instant>,
    ) -> Landing {
        let (start, mut pause, mut first) = (Instant::now(), LOOKS.0, None);
        loop {
            // Somebody may have done it already: read before asking.
            let session = match self.open(flight.app(), &flight.handle, &flight.policy).await {
                Ok(session) => session,
                Err(FindError::NoSession(no_session)) => return self.over(flight, no_session),
                Err(error) => return error.into(),
            };
            let found = session.held(flight.aim.as_ref()).map(|held| held.renewed);
            let boarded = *first.get_or_insert(found);
            let unsaved = self.flights.unsaved_under(&flight.key);
            if unsaved.is_none()
                && let Some(outcome) = self.settled(flight, &session, boarded)
            {
                return outcome.into();
            }
            let asked = Instant::now();
            let owner = unsaved.unwrap_or(myself);
            let carried = flight.handle.carried().is_some();
            if carried && self.lay_down(&flight.handle, &session).await.is_err() {
                return RefreshOutcome::StoreUnavailable.into();
            }
            let lease = self.store.lease(&session.key, owner, LEASE);
            let leased = self.observed("lease", lease).await;
            if leased.is_ok() {
                locked(&self.flights.unanswered).remove(&flight.key);
            }
            match leased {
                Ok(Leased::Granted(lease)) => {
                    let for_unsaved = unsaved.is_some();
                    let held = Granted { lease: *lease, owner, asked, for_unsaved };
                    match self.holding(flight, &session, &held, boarded).await {
                        Some(landing) => return landing,
                        // The session has come to its limit, or the lease was lost: look again.
                        None if start.elapsed() < PATIENCE => {}
                        None => return RefreshOutcome::Underway(session).into(),
                    }
                }
                Ok(Leased::Held) => {
                    let since = *waited.get_or_insert(asked);
                    let now = self.ambient.now();
                    // A token that is good is not kept waiting for its successor.
                    let can_do_without = flight.cause == Cause::Due
                        && session.held(flight.aim.as_ref()).is_some_and(|held| held.lives(now));
                    if can_do_without || since.elapsed() >= PATIENCE {
                        return RefreshOutcome::Underway(session).into();
                    }
                }
                // Taken out because it had settled, or ended: the next look tells.
                Ok(Leased::Gone) if carried && start.elapsed() < PATIENCE => {}
                Ok(Leased::Gone) => return self.over(flight, NoSession::Unknown),
                Err(_) => {
                    let until = asked.checked_add(LEASE).unwrap_or(asked);
                    locked(&self.flights.unanswered).insert(flight.key.clone(), (owner, until));
                    return RefreshOutcome::StoreUnavailable.into();
                }
            }
            sleep(self.jittered(pause)).await;
            pause = (pause * 2).min(LOOKS.1);
        }
    }

    /// The session has ended: tokens that waited to be stored came too late.
    fn over(&self, flight: &Flight, no_session: NoSession) -> Landing {
        // Of this app only: to others its session is unknown, and lives.
        let late = locked(&self.flights.unsaved).remove(&flight.key).map(|unsaved| unsaved.tokens);
        Landing { outcome: RefreshOutcome::Ended(no_session), late }
    }

    /// Between half of `pause` and all of it, so that instances do not look in step.
    fn jittered(&self, pause: Duration) -> Duration {
        let [random] = self.ambient.random().unwrap_or([u8::MAX]);
        pause / 2 + pause * u32::from(random) / 510
    }

    /// What can be said without asking the authorization server, if anything.
    /// The access token was of version `boarded` when the flight began.
    fn settled(
        &self,
        flight: &Flight,
        session: &Session,
        boarded: Option<Version>,
    ) -> Option<RefreshOutcome> {
        let held = session.held(flight.aim.as_ref());
        let wanted = held.is_none_or(|held| match flight.cause {
            Cause::Due => held.refresh_due(self.ambient.now(), &flight.policy),
            Cause::Demanded => Some(held.renewed) <= boarded,
            Cause::UpstreamRejected { used_version } => held.renewed <= used_version,
        });
        if !wanted {
            return Some(RefreshOutcome::Joined(session.clone()));
        }
        if session.refresh_token().is_none() {
            return Some(RefreshOutcome::NoRefreshToken(session.clone()));
        }
        let now = self.ambient.clock.monotonic_millis();
        let setback = self.flights.setback(session, &flight.aim, now)?;
        Some(failed(session.clone(), setback, now))
    }

    /// Does what is to be done while nobody else may; none if it has to be judged anew.
    async fn holding(
        &self,
        flight: &Flight,
        read: &Session,
        held: &Granted,
        boarded: Option<Version>,
    ) -> Option<Landing> {
        if held.lease.abandoned {
            tracing::warn!(
                session = read.pseudonym().as_str(),
                "an earlier refresh was broken off; the authorization server may have rotated the refresh token"
            );
            self.observer.lease_abandoned(flight.app());
        }
        let landing = self.under_lease(flight, read, held, boarded).await;
        // Writing lets go of it; tokens that wait to be stored hold on to it.
        let over = matches!(
            landing,
            Some(Landing { outcome: RefreshOutcome::Refreshed(_) | RefreshOutcome::GrantDead, .. })
        );
        if !over && self.flights.unsaved_under(&flight.key).is_none() {
            // If this fails the lease ends by itself.
            let _ = self.observed("release", self.store.release(&read.key, held.lease.fence)).await;
        }
        landing
    }

    async fn under_lease(
        &self,
        flight: &Flight,
        read: &Session,
        held: &Granted,
        boarded: Option<Version>,
    ) -> Option<Landing> {
        // What was read before the lease may be out of date: only what came with it counts.
        let mut session =
            self.opened(&read.key, &flight.handle, &held.lease.record, Some(&flight.policy))?;
        if flight.handle.carried().is_some() {
            session.last_seen = read.last_seen;
            // Marked as ended since it was read, or out of date: the next look tells.
            match self.ended_meanwhile(&session).await {
                Ok(false) => {}
                Ok(true) => return None,
                Err(_) => return Some(RefreshOutcome::StoreUnavailable.into()),
            }
        }
        if session.expiry(self.ambient.now()).is_some() {
            return None;
        }
        let session = match self.flights.take_unsaved(&flight.key, session.version) {
            // A logout has just taken what waited, or it has been overtaken: the next look tells.
            None if held.for_unsaved => return None,
            None => session,
            Some((tokens, aim)) => {
                let landing = self.keep(flight, session, held, tokens, &aim).await;
                return match landing.outcome {
                    // What waited was for another target: that needs a lease of its own.
                    RefreshOutcome::Refreshed(_) if aim != flight.aim => None,
                    _ => unless_overtaken(landing),
                };
            }
        };
        if let Some(outcome) = self.settled(flight, &session, boarded) {
            return Some(outcome.into());
        }
        if held.asked.elapsed() > HEAD_START {
            return None;
        }
        match self.ask(flight, &session).await {
            Ok(tokens) => {
                unless_overtaken(self.keep(flight, session, held, tokens, &flight.aim).await)
            }
            Err(failure) => {
                let landing = self.give_up(flight, &session, held.lease.fence, failure).await;
                landing.and_then(unless_overtaken)
            }
        }
    }

    /// Asks the authorization server.
    async fn ask(
        &self,
        flight: &Flight,
        session: &Session,
    ) -> Result<RefreshedTokens, RefreshFailure> {
        let Some(refresh_token) = session.refresh_token() else {
            return Err(RefreshFailure::AsTrouble { reason: "refresh.no_refresh_token" });
        };
        let grant = RefreshGrant {
            client: session.client(),
            refresh_token,
            scope: session.scope(),
            details: session.authorization_details(),
            target: flight.aim.as_ref(),
            continuity: session.identity().continuity.as_ref(),
            key_seed: session.key_seed(),
        };
        timeout(DEADLINE, flight.refresher.refresh(grant))
            .await
            .unwrap_or(Err(RefreshFailure::Unknown { reason: "refresh.deadline" }))
    }

    /// Makes new tokens durable, then lets them be used.
    async fn keep(
        &self,
        flight: &Flight,
        session: Session,
        held: &Granted,
        tokens: RefreshedTokens,
        aim: &Aim,
    ) -> Landing {
        let next = session.version.next();
        let mut contents = Contents::clone(&session.contents);
        contents.renew(&tokens, aim.as_ref(), self.ambient.now(), next);
        let Ok(sealed) = contents.seal(&self.keys, &flight.handle, next) else {
            let unavailable = StoreUnavailable("the session could not be sealed");
            return self.set_aside(&session, held.owner, tokens, aim, unavailable);
        };
        let mut pauses = STORE_PAUSES.iter();
        let replaced = loop {
            let replaced = self.store.replace(
                &session.key,
                session.version,
                held.lease.fence,
                sealed.clone(),
                session.contents.absolute_expires,
            );
            let replaced = self.observed("replace", replaced).await;
            self.cache.forget(&session.key);
            match (replaced, pauses.next()) {
                (Ok(replaced), _) => break replaced,
                (Err(_), Some(pause)) => sleep(*pause).await,
                (Err(unavailable), None) => {
                    return self.set_aside(&session, held.owner, tokens, aim, unavailable);
                }
            }
        };
        match replaced {
            Replaced::Done(version) => {
                let contents = Arc::new(contents);
                let session = Session { version, contents, ..session };
                if flight.handle.carried().is_some() {
                    // What ended meanwhile is only marked so.
                    match self.ended_meanwhile(&session).await {
                        Ok(false) => {}
                        Ok(true) => return too_late(tokens, NoSession::Unknown),
                        Err(_) => return RefreshOutcome::StoreUnavailable.into(),
                    }
                }
                RefreshOutcome::Refreshed(session).into()
            }
            // Somebody else refreshed, or our own first write arrived after all. These tokens are not
            // revoked: they belong to the same grant as the winner's.
            Replaced::Conflict => {
                match self.open(flight.app(), &flight.handle, &flight.policy).await {
                    Ok(winner) => RefreshOutcome::Joined(winner).into(),
                    Err(FindError::NoSession(no_session)) => too_late(tokens, no_session),
                    Err(error) => error.into(),
                }
            }
            // Somebody thought us dead and asked as well: if that brought nothing, these tokens count.
            Replaced::Fenced => {
                let fenced = StoreUnavailable("the lease has passed to another instance");
                self.set_aside(&session, held.owner, tokens, aim, fenced)
            }
            Replaced::Gone => too_late(tokens, NoSession::Unknown),
        }
    }

    /// Keeps tokens in memory until the store takes them.
    fn set_aside(
        &self,
        session: &Session,
        owner: Owner,
        tokens: RefreshedTokens,
        aim: &Aim,
        unavailable: StoreUnavailable,
    ) -> Landing {
        tracing::error!(
            session = session.pseudonym().as_str(),
            reason = unavailable.0,
            "refreshed tokens could not be stored; they wait in memory until they can be"
        );
        let unsaved = Unsaved {
            version: session.version,
            owner,
            tokens,
            aim: aim.clone(),
            expires: session.absolute_expires,
        };
        let key = (session.key, session.app().to_owned());
        locked(&self.flights.unsaved).insert(key, unsaved);
        RefreshOutcome::StoreUnavailable.into()
    }

    /// After a failure: ends the session if its grant is dead and nobody else has refreshed it or is about
    /// to, or leaves it as it is. None if it has to be judged anew.
    async fn give_up(
        &self,
        flight: &Flight,
        asked: &Session,
        fence: Fence,
        failure: RefreshFailure,
    ) -> Option<Landing> {
        if failure == RefreshFailure::GrantDead {
            // Removing on this version and fence only is the second look: a winner's record stays.
            let condition = RemoveIf::Unchanged(asked.version, fence);
            return match self.remove(&asked.key, condition, EndReason::GrantDead).await {
                Ok(Removed::Done(_)) => Some(RefreshOutcome::GrantDead.into()),
                Ok(Removed::Absent) => Some(RefreshOutcome::Ended(NoSession::Unknown).into()),
                Ok(Removed::Changed) => None,
                Err(_) => Some(RefreshOutcome::StoreUnavailable.into()),
            };
        }
        // Time has passed: the session may have ended or been refreshed.
        Some(match self.open(flight.app(), &flight.handle, &flight.policy).await {
            Ok(current) if current.version == asked.version => {
                let now = self.ambient.clock.monotonic_millis();
                let setback = Setback {
                    version: asked.version,
                    failure,
                    until_millis: now.saturating_add(BACKOFF),
                };
                let key = (asked.key, flight.aim.clone());
                locked(&self.flights.setbacks).insert(key, setback);
                failed(current, setback, now).into()
            }
            Ok(winner) => RefreshOutcome::Joined(winner).into(),
            Err(error) => error.into(),
        })
    }
}

impl Contents {
    /// Takes over new tokens, which came for `target` with the record's version `renewed`; what the
    /// answer left out stays (RFC 6749 §6).
    pub(super) fn renew(
        &mut self,
        new: &RefreshedTokens,
        target: Option<&Target>,
        now: UnixTime,
        renewed: Version,
    ) {
        let tokens = &mut self.tokens;
        if let Some(refresh_token) = &new.refresh_token {
            tokens.refresh_token = Some(refresh_token.clone());
        }
        if let Some(id_token) = &new.id_token {
            tokens.id_token = Some(id_token.clone());
        }
        let (access_token, access_expires) = (new.access_token.clone(), new.access_expires);
        if let Some(target) = target {
            // What has ended goes, so that the record does not grow with every change of the routes.
            tokens.narrowed.retain(|narrowed| {
                narrowed.target != *target
                    && narrowed.access_expires.is_none_or(|expires| now < expires)
            });
            let target = target.clone();
            let narrowed = Narrowed { target, access_token, access_expires, since: now, renewed };
            tokens.narrowed.push(narrowed);
            return;
        }
        tokens.access_token = access_token;
        tokens.access_expires = access_expires;
        tokens.scope.clone_from(&new.scope);
        if let Some(details) = &new.authorization_details {
            tokens.authorization_details = Some(details.clone());
        }
        self.tokens_since = now;
        self.renewed = renewed;
    }
}

/// None if somebody else has written meanwhile: perhaps what is wanted here, perhaps for another target.
fn unless_overtaken(landing: Landing) -> Option<Landing> {
    let overtaken = matches!(landing.outcome, RefreshOutcome::Joined(_)) && landing.late.is_none();
    (!overtaken).then_some(landing)
}

fn too_late(tokens: RefreshedTokens, no_session: NoSession) -> Landing {
    Landing { outcome: RefreshOutcome::Ended(no_session), late: Some(tokens) }
}

fn failed(session: Session, setback: Setback, now_millis: u64) -> RefreshOutcome {
    match setback.failure {
        // A dead grant leaves no session; this arm keeps the function total.
        RefreshFailure::GrantDead => RefreshOutcome::GrantDead,
        RefreshFailure::AsTrouble { reason, .. } => {
            let retry_after = setback.until_millis.saturating_sub(now_millis).div_ceil(1000);
            RefreshOutcome::AsTrouble { session, reason, retry_after }
        }
        RefreshFailure::Unknown { reason } => RefreshOutcome::Unknown { session, reason },
        RefreshFailure::TargetRefused => RefreshOutcome::TargetRefused(session),
        RefreshFailure::Rejected { reason } => RefreshOutcome::Rejected { session, reason },
    }
}

/// What a flight's outcome means to one who only joined it; none if it does not answer their cause, as when
/// it found nothing due and they hold a token that an upstream refused.
fn joined(
    outcome: RefreshOutcome,
    cause: Cause,
    target: Option<&Target>,
) -> Option<RefreshOutcome> {
    let (session, asked) = match outcome {
        RefreshOutcome::Refreshed(session) => (session, true),
        RefreshOutcome::Joined(session) => (session, false),
        other => return Some(other),
    };
    let answered = match cause {
        Cause::Due => true,
        Cause::Demanded => asked,
        Cause::UpstreamRejected { used_version } => {
            session.held(target).is_some_and(|held| held.renewed > used_version)
        }
    };
    answered.then_some(RefreshOutcome::Joined(session))
}
