//! `cargo soak`: several instances of the product behind a load balancer, many users with short-lived
//! tokens, a store and an instance that are killed on the way; nobody may be logged out. It must not know
//! how the product keeps its sessions.

mod balancer;
mod figures;
mod instance;
mod stores;
mod user;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::{
    balancer::Balancer, figures::Figures, instance::Instance, stores::StoreServer, user::Crowd,
};
use crate::{
    api::{ApiConfig, SampleApi},
    as_double::{AsConfig, AsDouble, Endpoint},
    demo::{page::PageServer, ports::Ports, world},
    ledger::Outcome,
};

/// Instances behind the balancer.
const INSTANCES: usize = 3;
/// What is killed, and at which part of the time.
const DISTURBANCES: [(f64, Victim); 3] =
    [(0.2, Victim::Store), (0.45, Victim::Instance), (0.7, Victim::Store)];
/// How long a killed instance or store stays away.
const AWAY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
enum Victim {
    Store,
    Instance,
}

/// Which store the instances share.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// A Redis or Valkey server of our own.
    Valkey,
    /// A PostgreSQL server of our own.
    Postgres,
}

/// Soaks several instances that share a store: kills the store twice and an instance once, and counts who
/// was logged out.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo soak", disable_version_flag = true)]
pub struct Arguments {
    /// The store they share
    #[arg(long, value_enum)]
    store: Kind,
    /// Users, each with a session of their own
    #[arg(long, default_value_t = 500)]
    users: usize,
    /// Minutes from the last login to the last look
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Seconds an access token lives
    #[arg(long, default_value_t = 20)]
    token_lifetime: i64,
    /// The program; beside this one unless told
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Keep the instances' logs and the store's files in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum SoakFault {
    /// Something of the surroundings did not start.
    #[error("{0}")]
    Surroundings(String),
    /// A file or process of our own.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl SoakFault {
    fn of(error: impl std::fmt::Display) -> Self {
        Self::Surroundings(error.to_string())
    }
}

/// Everything that is running.
struct Surroundings {
    double: AsDouble,
    api: SampleApi,
    page: PageServer,
    store: StoreServer,
    instances: Vec<Instance>,
    balancer: Balancer,
    crowd: Crowd,
    refreshes: Refreshes,
}

/// Token requests, counted out of the double's ledger so that it does not fill the memory.
#[derive(Clone, Copy, Default)]
struct Refreshes {
    accepted: usize,
    refused: usize,
}

impl Surroundings {
    async fn start(arguments: &Arguments, dir: &Path) -> Result<Self, SoakFault> {
        let root = world::repository();
        let ports = Ports::ANY.settle().map_err(SoakFault::of)?;
        let plan = world::Surroundings::prepare(&root, ports).map_err(SoakFault::of)?;
        let double = AsDouble::start(AsConfig {
            port: ports.authorization_server,
            mtls_port: ports.mtls,
            ..AsConfig::new(&plan.pki, vec![plan.registration.clone()])
        })
        .await
        .map_err(SoakFault::of)?;
        double.behave(|behaviour| {
            behaviour.access_token_lifetime = arguments.token_lifetime;
            behaviour.rotate_refresh_tokens = true;
            // An instance that is killed may take an answer with it.
            behaviour.replaced_until_successor_used = true;
            behaviour.revoke_family_on_reuse = true;
        });
        let api = ApiConfig { port: ports.api, ..ApiConfig::new(&plan.pki) };
        let api = SampleApi::start(api, double.token_state()).await.map_err(SoakFault::of)?;
        let page = PageServer::start(ports.page).await?;
        let store = StoreServer::start(arguments.store, dir).await?;
        let program = match &arguments.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("fapi-bff"),
        };
        let settings = store.settings();
        let mut instances = Vec::new();
        for number in 0..INSTANCES {
            let started = Instance::start(&program, &root, dir, number, &ports, &settings);
            instances.push(started.await?);
        }
        let addresses = instances.iter().map(|instance| instance.port).collect();
        let balancer = Balancer::start(ports.bff, addresses).await?;
        let crowd =
            Crowd::new(&plan.pki, &plan.origin, &double).map_err(SoakFault::Surroundings)?;
        let refreshes = Refreshes::default();
        Ok(Self { double, api, page, store, instances, balancer, crowd, refreshes })
    }

    /// Kills what is to be killed, brings it back, and returns at the end.
    async fn disturb(&mut self, start: Instant, length: Duration) -> Result<(), SoakFault> {
        for (part, victim) in DISTURBANCES {
            tokio::time::sleep_until((start + length.mul_f64(part)).into()).await;
            println!("{:>4} s: the {victim:?} is killed", start.elapsed().as_secs());
            match victim {
                Victim::Store => {
                    self.store.kill().await?;
                    tokio::time::sleep(AWAY).await;
                    self.store.restart().await?;
                }
                Victim::Instance => {
                    if let Some(instance) = self.instances.last_mut() {
                        instance.kill().await?;
                        tokio::time::sleep(AWAY).await;
                        instance.restart().await?;
                    }
                }
            }
            println!("{:>4} s: the {victim:?} is back", start.elapsed().as_secs());
            self.count();
        }
        Ok(())
    }

    fn count(&mut self) {
        let events = self.double.events();
        for event in events.iter().filter(|event| event.endpoint == Endpoint::Token) {
            let accepted = event.outcome == Outcome::Accepted;
            let Refreshes { accepted: taken, refused } = &mut self.refreshes;
            *(if accepted { taken } else { refused }) += 1;
        }
        self.double.clear_events();
    }

    async fn figures(&self) -> Vec<Value> {
        let mut told = Vec::new();
        for instance in &self.instances {
            told.push(instance.figures().await);
        }
        told
    }

    async fn stop(mut self) -> Result<(), SoakFault> {
        drop(self.balancer);
        for instance in &mut self.instances {
            instance.stop().await?;
        }
        self.store.stop().await?;
        drop(self.page);
        tokio::join!(self.double.shutdown(), self.api.shutdown());
        Ok(())
    }
}

/// Runs it; true if nobody was logged out.
pub async fn run(arguments: Arguments) -> Result<bool, SoakFault> {
    let scratch = tempfile::tempdir()?;
    let dir = arguments.keep.clone().unwrap_or_else(|| scratch.path().to_owned());
    fs::create_dir_all(&dir)?;
    let mut around = Surroundings::start(&arguments, &dir).await?;
    println!("{} users log in, {INSTANCES} instances, {:?}", arguments.users, arguments.store);
    let users = around.crowd.log_in(arguments.users).await.map_err(SoakFault::Surroundings)?;
    around.double.clear_events();

    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    let (start, figures) = (Instant::now(), Arc::new(Figures::default()));
    let mut running = JoinSet::new();
    for user in users {
        let figures = Arc::clone(&figures);
        running.spawn(async move { user.live(start + length, &figures).await });
    }
    around.disturb(start, length).await?;
    let mut users = running.join_all().await;
    around.count();

    println!("{:>4} s: everybody is asked once more, and leaves", start.elapsed().as_secs());
    let told = around.figures().await;
    let mut lost = figures.lost();
    for user in &mut users {
        lost.extend(user.last_look(INSTANCES).await);
    }
    let Refreshes { accepted, refused } = around.refreshes;
    let report = json!({
        "store": format!("{:?}", arguments.store),
        "users": arguments.users,
        "minutes": arguments.minutes,
        "token_lifetime": arguments.token_lifetime,
        "logged_out": lost.len(),
        "calls": figures.report(),
        "authorization_server": { "refreshes_accepted": accepted, "refreshes_refused": refused },
        "instances": told,
    });
    println!("{report:#}");
    for line in lost.iter().take(20) {
        println!("LOGGED OUT: {line}");
    }
    around.stop().await?;
    Ok(lost.is_empty() && refused == 0)
}
