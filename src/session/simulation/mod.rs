//! Owns the proof by simulation that refreshing is right across instances: thousands of seeds, each a run
//! of several instances, tabs and mishaps on simulated time, judged by one who sees everything. Must not
//! know how the product does it: it is met through [`super::Sessions`], [`super::Store`] and
//! [`super::Refresher`] alone.
//!
//! A seed decides everything, so that a failing one can be run again: `FAPI_BFF_SIM_SEED=17 cargo test
//! simulation` runs one with its trace, `FAPI_BFF_SIM_SEEDS=100000` many, from `FAPI_BFF_SIM_FROM` on.

mod ledger;
mod server;
mod sim;
mod store;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use self::{
    ledger::{Broken, Excuse},
    server::Server,
    sim::{Life, Plan, Process, Sim, Spoil},
    store::{Link, SimStore},
    world::run,
};

/// How many seeds a plain run of the tests takes.
const SEEDS: u64 = 500;

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

#[derive(Default)]
struct Summary {
    failing: BTreeMap<u64, String>,
    excuses: BTreeMap<Excuse, u64>,
    counts: BTreeMap<&'static str, u64>,
    longest: (u64, u64),
}

/// Runs seeds on all processors.
fn run_all(from: u64, count: u64) -> Summary {
    let next = AtomicU64::new(from);
    let summary = Mutex::new(Summary::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = setting("FAPI_BFF_SIM_THREADS").map_or(threads, |n| usize::try_from(n).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= from + count {
                        return;
                    }
                    let report = run(seed, Spoil::Nothing, false);
                    let mut summary = summary.lock().unwrap();
                    if let Some(first) = report.violations.first() {
                        summary.failing.insert(seed, format!("{first:?}"));
                    }
                    for (excuse, times) in report.excuses {
                        *summary.excuses.entry(excuse).or_default() += times;
                    }
                    for (what, times) in report.counts {
                        *summary.counts.entry(what).or_default() += times;
                    }
                    summary.longest = summary.longest.max((report.longest, seed));
                }
            });
        }
    });
    summary.into_inner().unwrap()
}

/// BFF-6.1.2.2-PRJ, FAPI2-SP-5.3.2.1-9: whatever happens to instances, store and authorization server, a
/// refresh token is used once unless its answer was truly lost, no successor is lost, no session comes
/// back or goes without an end, and nobody is told what is not so.
#[test]
fn refreshing_is_right_whatever_happens() {
    if let Some(seed) = setting("FAPI_BFF_SIM_SEED") {
        let report = run(seed, Spoil::Nothing, true);
        println!("{}", report.trace.join("\n"));
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
        return;
    }
    let from = setting("FAPI_BFF_SIM_FROM").unwrap_or(0);
    let count = setting("FAPI_BFF_SIM_SEEDS").unwrap_or(SEEDS);
    let summary = run_all(from, count);
    println!("{count} seeds from {from}: {:?}", summary.counts);
    println!("refresh tokens sent again: {:?}", summary.excuses);
    println!("longest call: {} ms, in seed {}", summary.longest.0, summary.longest.1);
    if let Some((seed, violation)) = summary.failing.first_key_value() {
        let trace = run(*seed, Spoil::Nothing, true).trace.join("\n");
        println!("{trace}");
        let failing: Vec<_> = summary.failing.iter().take(20).collect();
        panic!(
            "{} of {count} seeds fail: {failing:#?}\nseed {seed}: {violation}; its trace is above; \
             run it again with FAPI_BFF_SIM_SEED={seed}",
            summary.failing.len()
        );
    }
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| run(seed, Spoil::Nothing, true).trace);
        assert!(first.len() > 20, "{first:#?}");
        assert_eq!(first, second, "seed {seed}");
    }
    let [one, other] = [1, 2].map(|seed| run(seed, Spoil::Nothing, true).trace);
    assert_ne!(one[1..], other[1..]);
}

/// With something taken out, each of these breaks within the seeds of a plain run.
fn breaks(spoil: Spoil, expected: &[Broken]) {
    let mut missing: BTreeSet<_> = expected.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let report = run(seed, spoil, false);
        for violation in report.violations {
            if missing.remove(&violation.broken) {
                println!("{spoil:?}, seed {seed}: {violation:?}");
            }
            seen.insert(violation.broken);
        }
        if missing.is_empty() {
            return;
        }
    }
    panic!("{spoil:?} does not break {missing:?} but {seen:?}");
}

#[test]
fn without_fencing_an_old_answer_displaces_a_new_one() {
    breaks(Spoil::Fences, &[Broken::SuccessorLost]);
}

/// What was read before the lease was granted may be out of date.
#[test]
fn without_the_record_that_comes_with_the_lease_a_spent_token_is_sent() {
    breaks(Spoil::Reread, &[Broken::TokenReused]);
}

#[test]
fn without_the_lease_a_token_is_sent_twice() {
    breaks(Spoil::Leases, &[Broken::TokenReused]);
}

#[test]
fn without_shared_flights_an_instance_gets_in_its_own_way() {
    breaks(Spoil::Flights, &[Broken::Crowded]);
}

#[test]
fn without_detaching_a_caller_who_hangs_up_takes_the_successor_along() {
    breaks(Spoil::Detaching, &[Broken::SuccessorLost, Broken::TokenReused]);
}

/// What the store promises is needed: where a failover loses what was acknowledged, sessions that have
/// ended are back, and what was stored is not, so that a spent refresh token is sent again.
#[test]
fn without_durable_answers_of_the_store_sessions_come_back_and_tokens_are_reused() {
    breaks(Spoil::Durability, &[Broken::Resurrected, Broken::TokenReused]);
}

#[tokio::test(start_paused = true)]
async fn the_simulated_store_holds_the_contract() {
    let plan = Plan { patience: 10_000, ..Plan::of(0, Spoil::Nothing) };
    let sim = Sim::new(0, plan, false);
    sim.heal();
    let store = SimStore::new(Arc::clone(&sim), Server::new(Arc::clone(&sim)));
    let life = Life::new(Arc::clone(&sim), Process { slot: 0, number: 0 });
    super::tests::contract::holds(Arc::new(Link { sim, store, life })).await;
}
