//! The store of a soak, a real server of our own on loopback: started, killed, started again. It must not
//! know what is kept in it.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::{Kind, SoakFault};

/// A server, and how to start it again.
#[derive(Debug)]
pub(super) struct StoreServer {
    kind: Kind,
    port: u16,
    dir: PathBuf,
    child: Child,
}

impl StoreServer {
    pub(super) async fn start(kind: Kind, dir: &Path) -> Result<Self, SoakFault> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let dir = dir.join("store");
        fs::create_dir_all(&dir)?;
        if kind == Kind::Postgres {
            postgres::initialise(&dir).await?;
        }
        let child = spawn(kind, port, &dir)?;
        let server = Self { kind, port, dir, child };
        server.up().await?;
        Ok(server)
    }

    /// What tells the product of it.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let port = self.port;
        let settings = match self.kind {
            // The whole table: the file's `path` is for another kind.
            Kind::Valkey => vec![(
                "FAPI_BFF__STORE",
                format!(
                    "{{ kind = \"valkey\", valkey = {{ urls = [\"redis://127.0.0.1:{port}\"] }}, server_key_file = \"../../certs/server.key\" }}"
                ),
            )],
            Kind::Postgres => vec![(
                "FAPI_BFF__STORE",
                format!(
                    "{{ kind = \"postgres\", postgres = {{ hosts = [\"127.0.0.1:{port}\"], plain = true, database = \"postgres\", user = \"fapi_bff\" }}, server_key_file = \"../../certs/server.key\" }}"
                ),
            )],
        };
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Kills it as a crash of its machine would, but for the disk.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        if self.kind == Kind::Postgres {
            // The parent's death leaves backends that hold the memory; they notice, but not at once.
            postgres::kill(&self.dir).await?;
        }
        self.child.kill().await
    }

    pub(super) async fn restart(&mut self) -> Result<(), SoakFault> {
        self.child = spawn(self.kind, self.port, &self.dir)?;
        self.up().await
    }

    pub(super) async fn stop(&mut self) -> io::Result<()> {
        self.kill().await
    }

    async fn up(&self) -> Result<(), SoakFault> {
        let up = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let up = tokio::time::timeout(Duration::from_secs(30), up).await;
        up.map_err(|_| {
            SoakFault::Surroundings(format!("the store is not up; see {}", self.dir.display()))
        })
    }
}

fn spawn(kind: Kind, port: u16, dir: &Path) -> Result<Child, SoakFault> {
    let log = fs::File::options().create(true).append(true).open(dir.join("log"))?;
    let mut command = match kind {
        Kind::Valkey => {
            let mut command = Command::new("redis-server");
            let port = port.to_string();
            // Every write is on the disk before it is answered.
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
            command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(dir);
            command
        }
        Kind::Postgres => postgres::command(port, dir)?,
    };
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| SoakFault::Surroundings(format!("the {kind:?} server: {error}")))
}

/// PostgreSQL refuses to run as root; then it runs as the user of that name that its package makes.
mod postgres {
    use std::{
        fs, io,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
        path::{Path, PathBuf},
    };

    use tokio::process::Command;

    use super::SoakFault;

    /// Where Debian keeps them, the newest last; otherwise wherever the system looks for programs.
    fn program(name: &str) -> PathBuf {
        let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)))
            .filter(|path| path.exists())
            .collect();
        found.sort();
        found.pop().unwrap_or_else(|| PathBuf::from(name))
    }

    fn run_as(dir: &Path, name: &str) -> io::Result<Command> {
        if fs::metadata(dir.parent().unwrap_or(dir))?.uid() != 0 {
            return Ok(Command::new(program(name)));
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
        command.arg(program(name));
        Ok(command)
    }

    pub(super) async fn initialise(dir: &Path) -> Result<(), SoakFault> {
        let above = dir.parent().unwrap_or(dir);
        if fs::metadata(above)?.uid() == 0 {
            fs::set_permissions(above, fs::Permissions::from_mode(0o711))?;
            Command::new("chown").arg("postgres").arg(dir).status().await?;
        }
        let mut command = run_as(dir, "initdb")?;
        command.args(["--auth=trust", "--username=fapi_bff", "--encoding=UTF8", "--pgdata"]);
        let output = command.arg(dir.join("data")).output().await;
        let output = output.map_err(|error| SoakFault::Surroundings(format!("initdb: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        Err(SoakFault::Surroundings(String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    pub(super) fn command(port: u16, dir: &Path) -> io::Result<Command> {
        let mut command = run_as(dir, "postgres")?;
        command.arg("-D").arg(dir.join("data")).args(["-p", &port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        Ok(command)
    }

    /// Kills all of it at once, children first come, first served.
    pub(super) async fn kill(dir: &Path) -> io::Result<()> {
        let pid = fs::read_to_string(dir.join("data/postmaster.pid"))?;
        let pid = pid.lines().next().unwrap_or_default().to_owned();
        Command::new("kill").args(["-KILL", &pid]).status().await?;
        Command::new("pkill").args(["-KILL", "--parent", &pid]).status().await?;
        Ok(())
    }
}
