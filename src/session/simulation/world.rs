//! Owns a run: instances that come and go, tabs that call them, mishaps; then peace, and the judgement.
//! Must not know how the product does what it does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Map;
use tokio::time::{sleep, timeout};

use super::{
    ledger::{Broken, Excuse, Violation, grant, number, server_key},
    server::{Client, Server},
    sim::{Life, Plan, Process, Rotation, Sim, SimClock, SimEntropy, Spoil},
    store::{Link, SimStore},
};
use crate::{
    clock::Ambient,
    protocol::{Target, Token},
    session::{
        Activity, Cause, EndReason, FindError, Handle, Identity, NewSession, Observer, Policy,
        RefreshOutcome, Refresher, Session, Sessions, TokenTrouble, Tokens, Whose,
    },
    telemetry::Pseudonym,
};

const APP: &str = "shop";
const ISSUER: &str = "https://as.example";
/// Longest any call may take: patience with another instance, a request, and the attempts to store what
/// it brought, for each of two flights, in a store that takes up to 12 s for everything.
const BOUND: Duration = Duration::from_secs(240);
/// How long everything has time to come to rest once all is well: a lease, a flight and some.
const REST: Duration = Duration::from_secs(150);

#[derive(Debug)]
struct Quiet;

impl Observer for Quiet {
    fn refresh(&self, _: &str, _: &Pseudonym, _: &RefreshOutcome, _: f64) {}
    fn lease_waited(&self, _: f64) {}
    fn lease_abandoned(&self, _: &str) {}
    fn session_started(&self, _: &Session) {}
    fn session_ended(&self, _: &str, _: Option<&Pseudonym>, _: &'static str, _: u64) {}
    fn store_operation(&self, _: &'static str, _: &'static str, _: f64) {}
    fn unreadable(&self, _: &str) {}
    fn remembered(&self) {}
    fn ended_elsewhere(&self, _: &Pseudonym) {}
    fn unknown_key(&self, _: &str) {}
    fn not_carried(&self, _: &str, _: crate::session::NotPacked) {}
}

/// A process, as those see it who call it.
struct Instance {
    life: Arc<Life>,
    clock: Arc<SimClock>,
    sessions: Arc<Sessions>,
    refresher: Arc<dyn Refresher>,
    /// How many callers it has.
    busy: AtomicUsize,
    /// It takes no new ones.
    stopping: AtomicBool,
}

/// What a run came to.
pub(super) struct Report {
    pub(super) violations: Vec<Violation>,
    pub(super) excuses: BTreeMap<Excuse, u64>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// The longest call, in milliseconds.
    pub(super) longest: u64,
    pub(super) trace: Vec<String>,
}

struct World {
    sim: Arc<Sim>,
    store: Arc<SimStore>,
    server: Arc<Server>,
    instances: Mutex<Vec<Option<Arc<Instance>>>>,
    born: AtomicUsize,
    longest: Mutex<u64>,
    /// The living session of each user, and its handle.
    users: Mutex<Vec<(usize, Handle)>>,
}

/// What a tab wants.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// A token for an API call.
    Token,
    /// To renew it.
    Renewal,
    /// Another one, because an upstream refused this.
    Replacement,
    /// To know whether the session stands.
    Status,
}

/// Runs a seed on a clock of its own.
pub(super) fn run(seed: u64, spoil: Spoil, traced: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async move {
        let sim = Sim::new(seed, Plan::of(seed, spoil), traced);
        sim.note(|| format!("seed {seed}: {:?}", sim.plan));
        let server = Server::new(Arc::clone(&sim));
        let world = Arc::new(World {
            store: SimStore::new(Arc::clone(&sim), Arc::clone(&server)),
            server,
            instances: Mutex::default(),
            born: AtomicUsize::new(0),
            longest: Mutex::new(0),
            users: Mutex::default(),
            sim,
        });
        world.play().await
    })
}

impl World {
    async fn play(self: Arc<Self>) -> Report {
        let plan = self.sim.plan.clone();
        for slot in 0..plan.instances {
            let instance = self.start(slot);
            self.instances.lock().unwrap().push(Some(instance));
            tokio::spawn(Arc::clone(&self).keep_up(slot));
        }
        for user in 0..plan.users {
            self.login(user).await;
        }
        let weather = tokio::spawn(Arc::clone(&self).weather());
        let tabs: Vec<_> = (0..plan.tabs)
            .map(|number| {
                let user = number % plan.users;
                tokio::spawn(Arc::clone(&self).tab(number, user))
            })
            .collect();
        for tab in tabs {
            tab.await.unwrap();
        }
        weather.abort();
        self.sim.note(|| "all heals".to_owned());
        self.sim.heal();
        self.store.heal();
        sleep(REST).await;
        self.judge().await;
        let (trace, mut ledger) = (self.sim.trace(), self.sim.ledger.lock().unwrap());
        Report {
            violations: std::mem::take(&mut ledger.violations),
            excuses: std::mem::take(&mut ledger.excuses),
            counts: std::mem::take(&mut ledger.counts),
            longest: *self.longest.lock().unwrap(),
            trace,
        }
    }

    /// Starts a process.
    fn start(&self, slot: usize) -> Arc<Instance> {
        let number = self.born.fetch_add(1, Ordering::SeqCst);
        let life = Life::new(Arc::clone(&self.sim), Process { slot, number });
        let ahead = i64::try_from(slot).unwrap().min(self.sim.plan.skew);
        let clock = Arc::new(SimClock { sim: Arc::clone(&self.sim), ahead });
        self.sim.note(|| format!("{:?} starts", life.process));
        let (sessions, refresher) = self.sessions(&life, &clock);
        let (busy, stopping) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Instance { life, clock, sessions, refresher, busy, stopping })
    }

    fn sessions(
        &self,
        life: &Arc<Life>,
        clock: &Arc<SimClock>,
    ) -> (Arc<Sessions>, Arc<dyn Refresher>) {
        let (sim, life) = (Arc::clone(&self.sim), Arc::clone(life));
        let store =
            Link { sim: Arc::clone(&sim), store: Arc::clone(&self.store), life: life.clone() };
        let entropy = Arc::new(SimEntropy(Arc::clone(&sim)));
        let clock = Arc::clone(clock);
        let sessions = Sessions::new(
            Arc::new(store),
            server_key(),
            // Every call reads the store: what is remembered for a while has tests of its own.
            Duration::ZERO,
            Ambient { clock: clock.clone(), entropy },
            Arc::new(Quiet),
        );
        let (server, store) = (Arc::clone(&self.server), Arc::clone(&self.store));
        (sessions, Arc::new(Client { sim, server, store, life, clock }))
    }

    /// Starts an instance again whenever it has ended, and sweeps meanwhile.
    async fn keep_up(self: Arc<Self>, slot: usize) {
        loop {
            let instance = self.instances.lock().unwrap()[slot].clone();
            let Some(instance) = instance else { return };
            loop {
                let pause = Duration::from_millis(self.sim.roll(10_000..=30_000));
                let sweep = async {
                    sleep(pause).await;
                    let _ = instance.sessions.sweep().await;
                };
                tokio::select! {
                    biased;
                    () = instance.life.ended() => break,
                    () = sweep => {}
                }
            }
            self.instances.lock().unwrap()[slot] = None;
            sleep(self.sim.span(50, 20_000)).await;
            let next = self.start(slot);
            self.instances.lock().unwrap()[slot] = Some(next);
        }
    }

    /// Outages, failovers, broken lines, killed and stopped processes.
    async fn weather(self: Arc<Self>) {
        let (sim, plan) = (&self.sim, &self.sim.plan);
        loop {
            sleep(sim.span(500, 20_000)).await;
            let slot = usize::try_from(sim.roll(0..=u64::try_from(plan.instances - 1).unwrap()));
            let slot = slot.unwrap();
            let instance = self.instances.lock().unwrap()[slot].clone();
            match (sim.roll(0..=4), instance) {
                (0, _) if plan.outages => self.store.outage(sim.span(100, 60_000)).await,
                (1, _) if plan.failovers => self.store.failover(sim.span(50, 10_000)).await,
                (2, _) if plan.cuts => self.store.cut(slot, sim.span(500, 60_000)),
                (3, Some(instance)) if plan.kills => {
                    sim.note(|| format!("{:?} is KILLED", instance.life.process));
                    instance.life.end(false);
                }
                (4, Some(instance)) if plan.stops => {
                    tokio::spawn(Arc::clone(&self).stop(instance));
                }
                _ => {}
            }
        }
    }

    /// Stops a process as an operator does: no new callers, then what is under way ends.
    async fn stop(self: Arc<Self>, instance: Arc<Instance>) {
        if instance.stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        self.sim.note(|| format!("{:?} is asked to stop", instance.life.process));
        let stopped = async {
            while instance.busy.load(Ordering::SeqCst) > 0 {
                sleep(Duration::from_millis(100)).await;
            }
            instance.sessions.drain().await;
        };
        let clean = timeout(Duration::from_secs(60), stopped).await.is_ok();
        self.sim.note(|| format!("{:?} stops, clean: {clean}", instance.life.process));
        instance.life.end(clean);
    }

    /// A living instance, the same one most of the time.
    async fn some_instance(&self, favourite: usize) -> Arc<Instance> {
        loop {
            let slots = self.sim.plan.instances;
            let slot = if self.sim.chance(6000) {
                favourite % slots
            } else {
                usize::try_from(self.sim.roll(0..=99)).unwrap() % slots
            };
            let instance = self.instances.lock().unwrap()[slot].clone();
            if let Some(instance) = instance
                && !instance.stopping.load(Ordering::SeqCst)
            {
                return instance;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn policy(&self) -> Policy {
        let plan = &self.sim.plan;
        Policy { idle: plan.idle, absolute: plan.absolute, refresh_ahead: plan.access / 3 }
    }

    /// A new session for a user, as soon as the store can keep one.
    async fn login(&self, user: usize) {
        loop {
            let instance = self.some_instance(user).await;
            let session = self
                .sim
                .tell(|ledger, _| ledger.granted(user, self.sim.plan.idle, self.sim.plan.absolute));
            self.server.grant();
            let new = NewSession {
                app: APP.to_owned(),
                client: "client".to_owned(),
                identity: Identity {
                    issuer: ISSUER.to_owned(),
                    subject: Some(format!("user-{user}")),
                    sid: Some(format!("sid-{session}")),
                    acr: None,
                    auth_time: None,
                    claims: Map::new(),
                    continuity: None,
                },
                tokens: Tokens {
                    access_token: Token::new(format!("a{session}.0")),
                    access_expires: Some(
                        instance.sessions.ambient.now().plus(self.sim.plan.access),
                    ),
                    refresh_token: Some(Token::new(format!("r{session}.0"))),
                    id_token: None,
                    scope: "accounts".to_owned(),
                    key_seed: None,
                    authorization_details: None,
                    narrowed: Vec::new(),
                },
            };
            let policy = self.policy();
            let made = tokio::select! {
                biased;
                () = instance.life.ended() => None,
                made = instance.sessions.create(&policy, new) => made.ok(),
            };
            if let Some((handle, made)) = made {
                self.sim.note(|| format!("user {user} logs in: s{session}"));
                self.sim.tell(|ledger, _| ledger.began(session, &handle, made.absolute_expires()));
                let mut users = self.users.lock().unwrap();
                match users.get_mut(user) {
                    Some(known) => *known = (session, handle),
                    None => users.push((session, handle)),
                }
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// A tab: calls, waits, hangs up, logs out.
    async fn tab(self: Arc<Self>, number: usize, user: usize) {
        let sim = Arc::clone(&self.sim);
        let plan = &sim.plan;
        let mut kept: Option<(usize, u64, Session)> = None;
        while sim.now() < plan.horizon {
            match sim.roll(0..=9) {
                0..=2 => sleep(sim.span(1, 100)).await,
                // With the others, as when a page wakes up all its parts.
                3..=5 => sleep(Duration::from_millis(5_000 - sim.now() % 5_000)).await,
                _ => sleep(sim.span(200, 10_000)).await,
            }
            let instance = self.some_instance(number).await;
            let (session, handle) = self.users.lock().unwrap()[user].clone();
            if sim.chance(plan.logouts) {
                self.logout(&instance, session, &handle).await;
                continue;
            }
            if sim.chance(plan.everywhere) {
                self.end_everywhere(&instance, session, user).await;
                continue;
            }
            let want = match sim.roll(0..=9) {
                0..=4 => Want::Token,
                5..=6 => Want::Renewal,
                7..=8 => Want::Replacement,
                _ => Want::Status,
            };
            let target = (plan.targets && sim.chance(3000))
                .then(|| Target { resource: Some("https://api.example".to_owned()), scope: None });
            // A latecomer goes on with what it read a while ago.
            let stale = kept.take().filter(|(of, ..)| *of == session && sim.chance(7000));
            let call = Call { session, handle, want, target, stale };
            if let Some((since, found)) = self.call(&instance, call).await
                && sim.chance(3000)
            {
                kept = Some((session, since, found));
            }
            let over = sim.tell(|ledger, _| ledger.is_removed(session));
            let mine = self.users.lock().unwrap()[user].0 == session;
            // One tab of each user sees to a new login.
            if over && mine && number == user {
                self.login(user).await;
            }
        }
    }

    /// A logout runs on without its caller.
    async fn logout(self: &Arc<Self>, instance: &Arc<Instance>, session: usize, handle: &Handle) {
        let sim = &self.sim;
        sim.note(|| format!("{:?} logout of s{session}", instance.life.process));
        sim.tell(|ledger, _| ledger.condemned(session));
        let (world, instance, handle) = (Arc::clone(self), Arc::clone(instance), handle.clone());
        let task = tokio::spawn(async move {
            let _busy = Busy::with(&instance);
            let ended = tokio::select! {
                biased;
                () = instance.life.ended() => return,
                ended = instance.sessions.end(APP, &handle, EndReason::Logout) => ended,
            };
            let Ok(ended) = ended else { return };
            world.sim.note(|| format!("s{session} is logged out"));
            world.sim.tell(|ledger, now| ledger.acknowledged(session, ended.as_ref(), now));
            if ended.is_some() {
                world.server.revoke(session);
            }
        });
        if !sim.chance(sim.plan.hang_ups) {
            let _ = task.await;
        }
    }

    /// The authorization server or an administrator ends sessions.
    async fn end_everywhere(&self, instance: &Arc<Instance>, session: usize, user: usize) {
        let sim = &self.sim;
        let (sid, subject) = (format!("sid-{session}"), format!("user-{user}"));
        let by_sid = sim.chance(5000);
        let whose = if by_sid {
            Whose::Sid { issuer: ISSUER, sid: &sid, subject: None }
        } else {
            Whose::Subject { issuer: ISSUER, subject: &subject }
        };
        sim.note(|| format!("{:?} ends {whose:?}", instance.life.process));
        sim.tell(
            |ledger, _| {
                if by_sid { ledger.condemned(session) } else { ledger.condemned_all(user) }
            },
        );
        let _busy = Busy::with(instance);
        let ended = tokio::select! {
            biased;
            () = instance.life.ended() => return,
            ended = instance.sessions.end_all(whose, |_| true, EndReason::BackChannelLogout) => ended,
        };
        if ended.is_ok() && by_sid {
            sim.tell(|ledger, now| ledger.acknowledged(session, None, now));
        }
    }

    /// One call, which may be broken off by the caller or by the end of the instance.
    async fn call(&self, instance: &Arc<Instance>, call: Call) -> Option<(u64, Session)> {
        let (sim, begun) = (&self.sim, self.sim.now());
        let process = instance.life.process;
        let _busy = Busy::with(instance);
        // Where flights are not shared, every caller has sessions for itself.
        let (life, own) = match sim.plan.spoil {
            Spoil::Flights => {
                let life = Arc::clone(&instance.life);
                let own = self.sessions(&life, &instance.clock);
                (life, Some(own))
            }
            Spoil::Detaching => {
                let life = instance.life.part();
                let own = self.sessions(&life, &instance.clock);
                (life, Some(own))
            }
            _ => (Arc::clone(&instance.life), None),
        };
        let (sessions, refresher) =
            own.unwrap_or((Arc::clone(&instance.sessions), Arc::clone(&instance.refresher)));
        let hang_up = if sim.chance(sim.plan.hang_ups) { sim.span(1, 20_000) } else { BOUND };
        let (session, want) = (call.session, call.want);
        let work = async {
            let answer = call.work(&sessions, &refresher, &self.policy()).await;
            // Judged before anything else can happen.
            self.answered(process, &call, begun, answer)
        };
        let found = tokio::select! {
            biased;
            () = instance.life.ended() => return None,
            found = timeout(hang_up, work) => found,
        };
        let took = sim.now() - begun;
        let Ok(found) = found else {
            sim.note(|| format!("{process:?} a caller of s{session} hangs up after {took} ms"));
            if sim.plan.spoil == Spoil::Detaching {
                life.fall_silent();
            }
            if hang_up == BOUND {
                let what = format!("{want:?} of s{session} at {process:?} takes {took} ms");
                sim.tell(|ledger, _| ledger.violated(Broken::Unbounded, what));
            }
            return None;
        };
        let mut longest = self.longest.lock().unwrap();
        *longest = (*longest).max(took);
        found
    }

    /// Judges what a caller was told.
    fn answered(
        &self,
        process: Process,
        call: &Call,
        begun: u64,
        answer: Answer,
    ) -> Option<(u64, Session)> {
        let (sim, session) = (&self.sim, call.session);
        let key = sim.ledger.lock().unwrap().key(session)?;
        let wrong = |what: String| {
            let what = format!("{:?} of s{session} at {process:?}: {what}", call.want);
            sim.tell(|ledger, _| ledger.violated(Broken::Misinformed, what));
        };
        sim.note(|| {
            let told = match &answer {
                Answer::Session(_, found) | Answer::Renewed(_, found) => {
                    format!("{:?}", found.version())
                }
                other => format!("{other:?}"),
            };
            format!("{process:?} tells a caller of s{session}, {:?}: {told}", call.want)
        });
        match answer {
            Answer::Ended => {
                if self.store.peek(&key).is_some() {
                    wrong("the session is said to have ended and lives".to_owned());
                }
                None
            }
            Answer::Nothing(what) => {
                if sim.plan.is_calm() {
                    wrong(format!("{what} though nothing is amiss"));
                }
                None
            }
            Answer::Session(since, found) | Answer::Renewed(since, found) => {
                let since = since.unwrap_or(begun);
                let over = sim.ledger.lock().unwrap().acknowledged_at(session);
                if let Some(over) = over
                    && over < since
                {
                    wrong(format!("found at {since}, had ended at {over}"));
                }
                // Durable before anybody uses it.
                if let Some(record) = self.store.peek(&key)
                    && record.version < found.version()
                {
                    wrong(format!("{:?} is not in the store", found.version()));
                }
                Some((since, found))
            }
            Answer::Wrong(what) => {
                wrong(what);
                None
            }
        }
    }

    /// Everything is well and has come to rest.
    async fn judge(&self) {
        let sim = &self.sim;
        sim.note(|| "judgement".to_owned());
        sim.tell(|ledger, _| ledger.settle());
        let users = self.users.lock().unwrap().clone();
        for (session, handle) in users {
            let Some(key) = sim.ledger.lock().unwrap().key(session) else { continue };
            let slot = usize::try_from(sim.roll(0..=99)).unwrap() % sim.plan.instances;
            let instance = self.instances.lock().unwrap()[slot].clone();
            let Some(instance) = instance else {
                let what = format!("instance {slot} is not there");
                sim.tell(|ledger, _| ledger.violated(Broken::Unbounded, what));
                continue;
            };
            let (sessions, refresher) = (&instance.sessions, &instance.refresher);
            let policy = self.policy();
            let outcome = timeout(
                Duration::from_secs(30),
                sessions.refresh(APP, &handle, &policy, refresher, Cause::Demanded, None),
            );
            let outcome = outcome.await;
            sim.note(|| format!("at last, s{session}: {outcome:?}"));
            let here = self.store.peek(&key).is_some();
            let (beyond_help, lost) = sim.tell(|ledger, _| {
                ledger.count(if here { "alive" } else { "gone" });
                (ledger.was_beyond_help(session), ledger.has_lost_tokens(session))
            });
            let ok = match &outcome {
                Ok(RefreshOutcome::Refreshed(found)) => {
                    here && self.store.peek(&key).is_some_and(|r| r.version == found.version())
                }
                Ok(RefreshOutcome::Ended(_)) => !here,
                // Only what was truly lost may have killed the grant. One that forgives a second use
                // survives even that.
                Ok(RefreshOutcome::GrantDead) => {
                    let forgiving =
                        matches!(sim.plan.rotation, Rotation::Grace(None) | Rotation::Never);
                    !here && lost && (beyond_help || !forgiving)
                }
                _ => false,
            };
            if !ok {
                let what = format!("s{session} at {:?}: {outcome:?}", instance.life.process);
                sim.tell(|ledger, _| ledger.violated(Broken::NotRefreshable, what));
            }
        }
    }
}

/// Counts a caller while it is there.
struct Busy<'a>(&'a Instance);

impl<'a> Busy<'a> {
    fn with(instance: &'a Instance) -> Self {
        instance.busy.fetch_add(1, Ordering::SeqCst);
        Self(instance)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a caller was told.
#[derive(Debug)]
enum Answer {
    /// There is a session; since when that was known, if not since the beginning of the call.
    Session(Option<u64>, Session),
    /// There is one with tokens that are new.
    Renewed(Option<u64>, Session),
    Ended,
    /// It cannot be told, or cannot be done now.
    Nothing(String),
    Wrong(String),
}

struct Call {
    session: usize,
    handle: Handle,
    want: Want,
    target: Option<Target>,
    /// Session, when it was read, what was read.
    stale: Option<(usize, u64, Session)>,
}

impl Call {
    /// What the HTTP faces do: find the session, then what is wanted of it.
    async fn work(
        &self,
        sessions: &Arc<Sessions>,
        refresher: &Arc<dyn Refresher>,
        policy: &Policy,
    ) -> Answer {
        let (handle, target) = (&self.handle, self.target.as_ref());
        let (since, found) = if let Some((_, since, session)) = &self.stale {
            (Some(*since), session.clone())
        } else {
            let activity = match self.want {
                Want::Status => Activity::Polls,
                _ => Activity::Counts,
            };
            match sessions.find(APP, handle, policy, activity).await {
                Ok(session) => (None, session),
                Err(FindError::NoSession(_)) => return Answer::Ended,
                Err(FindError::StoreUnavailable) => {
                    return Answer::Nothing("store unavailable".to_owned());
                }
            }
        };
        if grant(found.access_token().expose()) != self.session {
            return Answer::Wrong("another session was found".to_owned());
        }
        let cause = match self.want {
            Want::Status => return Answer::Session(since, found),
            Want::Token => {
                let fresh = sessions.fresh(found, handle, policy, refresher, target).await;
                return match fresh {
                    Ok(session) => match session.access_token_for(target) {
                        Some(_) => Answer::Session(since, session),
                        None => Answer::Wrong("a session without the token".to_owned()),
                    },
                    Err(TokenTrouble::GrantDead | TokenTrouble::Ended(_)) => Answer::Ended,
                    Err(trouble) => Answer::Nothing(format!("{trouble:?}")),
                };
            }
            Want::Renewal => Cause::Demanded,
            Want::Replacement => Cause::UpstreamRejected {
                used_version: found
                    .held(target)
                    .map_or_else(|| found.version(), |held| held.renewed),
            },
        };
        let before = found.access_token_for(target).map(|token| number(token.expose()));
        let renewed = match sessions.refresh(APP, handle, policy, refresher, cause, target).await {
            RefreshOutcome::Refreshed(session) | RefreshOutcome::Joined(session) => session,
            RefreshOutcome::GrantDead | RefreshOutcome::Ended(_) => return Answer::Ended,
            other => return Answer::Nothing(other.name().to_owned()),
        };
        let after = renewed.access_token_for(target).map(|token| number(token.expose()));
        // Who wants a renewal may be told of one that was under way when they read the session.
        let same = after == before && matches!(self.want, Want::Replacement);
        if after.is_none() || same {
            return Answer::Wrong(format!("{after:?} for {before:?}"));
        }
        Answer::Renewed(since, renewed)
    }
}
