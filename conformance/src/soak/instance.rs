//! One instance of the product in a process of its own: started, killed, started again, asked for its
//! figures. It must not know what it is asked by users.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

use super::SoakFault;
use crate::demo::ports::Ports;

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

/// A process, and how to start it again.
#[derive(Debug)]
pub(super) struct Instance {
    /// Where it takes connections.
    pub(super) port: u16,
    admin: u16,
    program: PathBuf,
    root: PathBuf,
    log: PathBuf,
    environment: Vec<(String, String)>,
    child: Child,
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Instance {
    pub(super) async fn start(
        program: &Path,
        root: &Path,
        dir: &Path,
        number: usize,
        ports: &Ports,
        store: &[(String, String)],
    ) -> Result<Self, SoakFault> {
        let (port, admin) = (free_port()?, free_port()?);
        let mut environment: BTreeMap<String, String> = ports.overrides().into_iter().collect();
        let own = [
            ("FAPI_BFF__SERVER__LISTEN", format!("127.0.0.1:{port}")),
            ("FAPI_BFF__ADMIN__LISTEN", format!("127.0.0.1:{admin}")),
            ("FAPI_BFF__LOG__AUDIT_FILE", format!("{}/audit-{number}.jsonl", dir.display())),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        environment.extend(store.iter().cloned());
        let log = dir.join(format!("instance-{number}.log"));
        let environment: Vec<_> = environment.into_iter().collect();
        let child = spawn(program, root, &log, &environment)?;
        let (program, root) = (program.to_owned(), root.to_owned());
        let instance = Self { port, admin, program, root, log, environment, child };
        instance.ready().await?;
        Ok(instance)
    }

    /// Kills it as the system does that has no memory left.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    pub(super) async fn restart(&mut self) -> Result<(), SoakFault> {
        self.child = spawn(&self.program, &self.root, &self.log, &self.environment)?;
        self.ready().await
    }

    /// Asks it to stop, and waits.
    pub(super) async fn stop(&mut self) -> io::Result<()> {
        if let Some(id) = self.child.id() {
            Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        }
        if tokio::time::timeout(START, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(), SoakFault> {
        let ready = async {
            while !self.ask("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(START, ready).await.map_err(|_| {
            SoakFault::Surroundings(format!("an instance is not ready; see {}", self.log.display()))
        })
    }

    async fn ask(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin)).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// What it says of itself, as far as it concerns sessions.
    pub(super) async fn figures(&self) -> Value {
        const TOLD: [&str; 7] = [
            "fapi_bff_refreshes_total",
            "fapi_bff_refreshes_abandoned_total",
            "fapi_bff_refresh_lease_wait_seconds_sum",
            "fapi_bff_session_cache_hits_total",
            "fapi_bff_sessions_ended_total",
            "fapi_bff_store_operations_total",
            "fapi_bff_sessions_active",
        ];
        let answer = self.ask("/metrics").await.unwrap_or_default();
        let mut figures = BTreeMap::new();
        for line in answer.lines() {
            let told = TOLD.iter().any(|name| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            });
            if told && let Some((name, figure)) = line.rsplit_once(' ') {
                figures.insert(name.trim_start_matches("fapi_bff_").to_owned(), figure.to_owned());
            }
        }
        json!(figures)
    }
}

fn spawn(
    program: &Path,
    root: &Path,
    log: &Path,
    environment: &[(String, String)],
) -> Result<Child, SoakFault> {
    let log = File::options().create(true).append(true).open(log)?;
    Command::new(program)
        .args(["serve", "--config", "conformance/demo/fapi-bff.toml"])
        .current_dir(root)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            let hint = "build it first: cargo build --release --bin fapi-bff";
            SoakFault::Surroundings(format!("{}: {error}; {hint}", program.display()))
        })
}
