//! Owns what one run shares: simulated time, one source of chance, the trace, and what a seed decides.
//! Must not know stores, authorization servers or tabs.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::{sync::Notify, time::Instant};

use super::ledger::Ledger;
use crate::clock::{Clock, Entropy, EntropyUnavailable, UnixTime};

/// Wall-clock time at which every run begins.
pub(super) const START: UnixTime = UnixTime::new(1_800_000_000);

/// How the authorization server treats refresh tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rotation {
    /// Every use brings a successor and ends the token.
    Strict,
    /// The same, and a second use ends the whole grant.
    Revoking,
    /// A used token works until its successor is used, and no longer than so many milliseconds: then
    /// it brings another successor, and the one before that is void.
    Grace(Option<u64>),
    /// There is one refresh token for good.
    Never,
}

/// What is taken out of the machinery, to show that it is missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spoil {
    Nothing,
    /// The store lets anybody write and remove, whoever was granted a lease since.
    Fences,
    /// A lease comes with the record its holder read before, not with the one there is.
    Reread,
    /// Everybody gets the lease.
    Leases,
    /// Callers of one instance do not share flights.
    Flights,
    /// Nor do flights outlive the caller who hangs up.
    Detaching,
    /// A failover of the store loses the last writes it had acknowledged.
    Durability,
}

/// What a seed decides. Rates of mishaps are per 10,000 steps.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a kind of mishap that may happen or not"
)]
pub(super) struct Plan {
    pub(super) spoil: Spoil,
    pub(super) instances: usize,
    pub(super) users: usize,
    pub(super) tabs: usize,
    /// Milliseconds of activity; then everything heals.
    pub(super) horizon: u64,
    pub(super) rotation: Rotation,
    /// Life of an access token in seconds.
    pub(super) access: i64,
    pub(super) idle: i64,
    pub(super) absolute: i64,
    /// How far apart the instances' clocks are, in seconds.
    pub(super) skew: i64,
    /// After how many milliseconds an instance gives up an operation of the store.
    pub(super) patience: u64,
    pub(super) slow_store: u64,
    pub(super) deaf_store: u64,
    pub(super) outages: bool,
    pub(super) failovers: bool,
    pub(super) cuts: bool,
    /// How often an instance is cut off just when it has an answer.
    pub(super) cuts_at_answers: u64,
    pub(super) crashes: u64,
    pub(super) kills: bool,
    pub(super) stops: bool,
    pub(super) slow_server: u64,
    pub(super) deaf_server: u64,
    pub(super) failing_server: u64,
    pub(super) lying_server: u64,
    pub(super) hang_ups: u64,
    pub(super) logouts: u64,
    pub(super) everywhere: u64,
    pub(super) targets: bool,
}

impl Plan {
    /// Each kind of mishap is either out of the question or frequent: where all of them are mixed all
    /// the time, most runs look alike.
    pub(super) fn of(seed: u64, spoil: Spoil) -> Self {
        let mut rng = Rng::with_seed(seed);
        let weather = rng.u64(0..10);
        let calm = weather == 0;
        // An instance is cut off with an answer in hand, others take over, and it comes back meanwhile:
        // what fences are for is too rare to be left to chance.
        let divided = weather == 1;
        let mut rate = |rates: &[u64]| {
            let rate = rates[rng.usize(0..rates.len())];
            if calm { 0 } else { rate }
        };
        let (slow_store, deaf_store) = (rate(&[0, 0, 100, 1500]), rate(&[0, 0, 50, 800]));
        let (slow_server, deaf_server) = (rate(&[0, 0, 1500, 5000]), rate(&[0, 0, 1000, 4000]));
        let (failing_server, lying_server) = (rate(&[0, 0, 1000, 4000]), rate(&[0, 0, 0, 1500]));
        let crashes = rate(&[0, 0, 20, 200]);
        let [outages, failovers, cuts, kills] = [(); 4].map(|()| rate(&[0, 0, 1]) > 0);
        let cuts_at_answers = if cuts { rate(&[0, 500, 2500]) } else { 0 };
        let short = rate(&[0, 0, 0, 1]) > 0;
        let stops = rng.bool();
        let plan = Self {
            spoil,
            instances: rng.usize(1..=4),
            users: rng.usize(1..=2),
            tabs: rng.usize(2..=6),
            horizon: rng.u64(20_000..=110_000),
            rotation: match rng.u32(0..9) {
                0..=1 => Rotation::Strict,
                2..=4 => Rotation::Revoking,
                5..=6 => Rotation::Grace(None),
                7 => Rotation::Grace(Some(rng.u64(1_000..=60_000))),
                _ => Rotation::Never,
            },
            access: rng.i64(10..=60),
            idle: if short { rng.i64(20..=60) } else { 1000 },
            absolute: if short { rng.i64(30..=150) } else { 3600 },
            skew: if calm { 0 } else { rng.i64(0..=2) },
            patience: rng.u64(1_000..=12_000),
            slow_store,
            deaf_store,
            outages,
            failovers: failovers || (spoil == Spoil::Durability && !calm),
            cuts,
            cuts_at_answers,
            crashes,
            kills,
            stops,
            slow_server,
            deaf_server,
            failing_server,
            lying_server,
            hang_ups: [0, 1000, 4000][rng.usize(0..3)],
            logouts: [0, 0, 150, 1000][rng.usize(0..4)],
            everywhere: [0, 0, 100, 500][rng.usize(0..4)],
            targets: rng.u32(0..4) == 0,
        };
        if !divided {
            return plan;
        }
        Self {
            instances: rng.usize(2..=4),
            tabs: rng.usize(4..=6),
            horizon: 110_000,
            rotation: if plan.rotation == Rotation::Strict {
                Rotation::Grace(None)
            } else {
                plan.rotation
            },
            patience: rng.u64(7_000..=12_000),
            cuts: true,
            cuts_at_answers: 3000,
            slow_server: 4000,
            deaf_server: 0,
            failing_server: 0,
            lying_server: 0,
            deaf_store: 0,
            outages: false,
            failovers: plan.spoil == Spoil::Durability,
            crashes: 0,
            kills: false,
            stops: false,
            logouts: 0,
            everywhere: 0,
            ..plan
        }
    }

    /// Nothing of the surroundings fails, so nobody may be told that something did.
    pub(super) fn is_calm(&self) -> bool {
        let rates = self.slow_store
            + self.cuts_at_answers
            + self.deaf_store
            + self.crashes
            + self.slow_server
            + self.deaf_server
            + self.failing_server
            + self.lying_server;
        rates == 0 && !(self.outages || self.failovers || self.cuts || self.kills)
    }
}

/// A process from its start to its end; an instance that restarts is another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Process {
    /// Which instance it is a life of.
    pub(super) slot: usize,
    pub(super) number: usize,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "i{}.{}", self.slot, self.number)
    }
}

/// What one run shares.
pub(super) struct Sim {
    begin: Instant,
    rng: Mutex<Rng>,
    healed: AtomicBool,
    trace: Option<Mutex<Vec<String>>>,
    pub(super) plan: Plan,
    pub(super) ledger: Mutex<Ledger>,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sim")
    }
}

impl Sim {
    /// A run of `plan` that begins now.
    pub(super) fn new(seed: u64, plan: Plan, traced: bool) -> Arc<Self> {
        Arc::new(Self {
            begin: Instant::now(),
            // Not the numbers the plan was made of.
            rng: Mutex::new(Rng::with_seed(seed ^ 0x5eed_0000_0000_0000)),
            healed: AtomicBool::new(false),
            trace: traced.then(Mutex::default),
            ledger: Mutex::new(Ledger::new(plan.rotation)),
            plan,
        })
    }

    /// Milliseconds since the beginning.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap()
    }

    pub(super) fn roll(&self, range: RangeInclusive<u64>) -> u64 {
        self.rng.lock().unwrap().u64(range)
    }

    /// True `rate` times in 10,000.
    pub(super) fn chance(&self, rate: u64) -> bool {
        self.roll(0..=9_999) < rate
    }

    /// The same, and never once everything has healed.
    pub(super) fn mishap(&self, rate: u64) -> bool {
        self.chance(rate) && !self.is_healed()
    }

    /// Between so many milliseconds, short ones as likely as long ones.
    pub(super) fn span(&self, low: u64, high: u64) -> Duration {
        let (mut low, high) = (low.max(1), high);
        while low * 2 < high && self.roll(0..=3) > 0 {
            low *= 2;
        }
        Duration::from_millis(self.roll(low..=high.min(low * 2)))
    }

    pub(super) fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::SeqCst)
    }

    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let now = self.now();
            let line = format!("{:>5}.{:03} {}", now / 1000, now % 1000, line());
            trace.lock().unwrap().push(line);
        }
    }

    /// Tells the ledger something; what it finds wrong goes into the trace, too.
    pub(super) fn tell<T>(&self, what: impl FnOnce(&mut Ledger, u64) -> T) -> T {
        let mut ledger = self.ledger.lock().unwrap();
        let before = ledger.violations.len();
        let told = what(&mut ledger, self.now());
        for violation in &ledger.violations[before..] {
            self.note(|| format!("!!! {violation:?}"));
        }
        told
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.as_ref().map(|trace| trace.lock().unwrap().clone()).unwrap_or_default()
    }
}

/// Time as one instance sees it.
#[derive(Debug)]
pub(super) struct SimClock {
    pub(super) sim: Arc<Sim>,
    /// Seconds ahead of the truth.
    pub(super) ahead: i64,
}

impl Clock for SimClock {
    fn now(&self) -> UnixTime {
        START.plus(i64::try_from(self.sim.now() / 1000).unwrap() + self.ahead)
    }
    fn monotonic_millis(&self) -> u64 {
        self.sim.now()
    }
}

/// Chance as the product sees it.
#[derive(Debug)]
pub(super) struct SimEntropy(pub(super) Arc<Sim>);

impl Entropy for SimEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyUnavailable> {
        self.0.rng.lock().unwrap().fill(buffer);
        Ok(())
    }
}

/// Whether a process is alive. A dead one comes to rest at its next step and takes none ever after; what
/// it had sent goes on without it.
#[derive(Debug)]
pub(super) struct Life {
    sim: Arc<Sim>,
    pub(super) process: Process,
    dead: AtomicBool,
    ending: Notify,
    /// Whose end is this one's, too.
    parent: Option<Arc<Life>>,
}

impl Life {
    pub(super) fn new(sim: Arc<Sim>, process: Process) -> Arc<Self> {
        Arc::new(Self {
            sim,
            process,
            dead: AtomicBool::new(false),
            ending: Notify::new(),
            parent: None,
        })
    }

    /// A part of it that may end alone, of which the ledger learns nothing.
    pub(super) fn part(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            sim: Arc::clone(&self.sim),
            process: self.process,
            dead: AtomicBool::new(false),
            ending: Notify::new(),
            parent: Some(Arc::clone(self)),
        })
    }

    /// The process may die here.
    pub(super) async fn step(&self, at: &'static str) {
        if self.is_alive() && self.sim.mishap(self.sim.plan.crashes) {
            self.sim.note(|| format!("{:?} CRASHES at {at}", self.process));
            self.parent.as_deref().unwrap_or(self).end(false);
        }
        if !self.is_alive() {
            std::future::pending::<()>().await;
        }
    }

    /// `clean` if it had nothing left to do.
    pub(super) fn end(&self, clean: bool) {
        if !self.dead.swap(true, Ordering::SeqCst) {
            self.ending.notify_waiters();
            self.sim.tell(|ledger, now| ledger.died(self.process, clean, now));
        }
    }

    /// Ends a part without telling anybody.
    pub(super) fn fall_silent(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.dead.load(Ordering::SeqCst)
            && self.parent.as_ref().is_none_or(|parent| parent.is_alive())
    }

    pub(super) async fn ended(&self) {
        // One that is made before the look misses nothing.
        let ending = self.ending.notified();
        if !self.dead.load(Ordering::SeqCst) {
            ending.await;
        }
    }
}
