//! A PostgreSQL server of one's own for tests: in a folder that goes with it, on loopback and a Unix
//! socket. Shared by the product's unit tests and the black-box tests.

use std::{
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The superuser's password, where one is asked for.
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    child: Mutex<Option<Child>>,
}

/// The folder with the newest `initdb`. Without one, says so; fails if servers are required.
pub(crate) fn installed() -> Option<PathBuf> {
    let complete = |bin: &PathBuf| {
        ["initdb", "postgres", "psql", "pg_dump", "pg_basebackup"]
            .iter()
            .all(|name| bin.join(name).exists())
    };
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let newest =
        debian.filter(complete).max().or_else(|| std::env::split_paths(&path).find(complete));
    if newest.is_none() {
        let required = std::env::var_os("FAPI_BFF_REQUIRE_SERVERS").is_some_and(|v| v == "1");
        assert!(!required, "PostgreSQL is not installed, and FAPI_BFF_REQUIRE_SERVERS=1");
        eprintln!("SKIPPED: PostgreSQL is not installed (Debian package postgresql)");
    }
    newest
}

/// The server that tests share as long as one of them runs; each takes a database of its own.
pub(crate) fn shared() -> Option<Arc<Postgres>> {
    static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return Some(running);
    }
    let started = Arc::new(Postgres::start()?);
    *shared = Arc::downgrade(&started);
    Some(started)
}

impl Postgres {
    /// A new server.
    pub(crate) fn start() -> Option<Self> {
        let server = Self::planned(installed()?);
        server.secret("password", PASSWORD);
        let made = server
            .command("initdb")
            .args(["--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .arg(format!("--pwfile={}", server.dir.path().join("password").display()))
            .arg(format!("--pgdata={}", server.data().display()))
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.resume();
        Some(server)
    }

    /// A standby that follows this server.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self::planned(self.bin.clone());
        let copied = standby
            .command("pg_basebackup")
            .args(["-U", "postgres", "--write-recovery-conf", "--no-sync", "--checkpoint=fast"])
            .arg("-h")
            .arg(self.socket())
            .arg("-p")
            .arg(self.port.to_string())
            .arg("-D")
            .arg(standby.data())
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        standby.resume();
        standby
    }

    fn planned(bin: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { dir, port, bin, user: ordinary_user(), child: Mutex::new(None) };
        server.give(server.dir.path());
        server
    }

    /// The folder of the Unix socket.
    pub(crate) fn socket(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A file that only the server can read, and root.
    pub(crate) fn secret(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.give(&path);
        path
    }

    fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts the server again where it was, and waits until it answers.
    pub(crate) fn resume(&self) {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        command.arg("-k").arg(self.socket());
        // No machine is switched off here; killed processes lose nothing that was handed to the kernel.
        for option in ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=200"] {
            command.arg("-c").arg(option);
        }
        command.stdout(Stdio::null()).stderr(log);
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        while !self.answers() {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(started.elapsed() < Duration::from_secs(60), "PostgreSQL is silent: {}", log());
            if child.try_wait().unwrap().is_some() {
                // Children of a killed server may hold its memory for a moment.
                std::thread::sleep(Duration::from_millis(200));
                child = command.spawn().unwrap();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        *self.child.lock().unwrap() = Some(child);
    }

    fn answers(&self) -> bool {
        self.psql("postgres", "SELECT 1").status.success()
    }

    fn psql(&self, database: &str, sql: &str) -> std::process::Output {
        self.command("psql")
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                database,
            ])
            .arg("-h")
            .arg(self.socket())
            .arg("-p")
            .arg(self.port.to_string())
            .args(["-c", sql])
            .output()
            .unwrap()
    }

    /// What the superuser gets to read.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Every row of a database, as text.
    pub(crate) fn dump(&self, database: &str) -> String {
        let output = self
            .command("pg_dump")
            .args(["-U", "postgres", "--inserts", "-h"])
            .arg(self.socket())
            .arg("-p")
            .arg(self.port.to_string())
            .arg(database)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Kills the server as a crash of its machine would: its children, too, which otherwise go on answering
    /// until they notice.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let pid = child.id().to_string();
            let children = children_of(&pid);
            let _ = child.kill();
            let _ = child.wait();
            for orphan in children {
                let _ =
                    Command::new("kill").args(["-KILL", &orphan]).stderr(Stdio::null()).status();
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // In order, so that nothing of it is left when its folder goes.
        if let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let pid = child.id().to_string();
            let told = Command::new("kill").args(["-QUIT", &pid]).status();
            if !told.is_ok_and(|status| status.success()) {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}

/// The processes that this one has started.
fn children_of(parent: &str) -> Vec<String> {
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().into_string().ok());
    ids.filter(|id| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything; the parent is the second word after it.
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(parent)
    })
    .collect()
}

/// PostgreSQL refuses to run as root: its own user then, or nobody.
fn ordinary_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let of = |name: &str| Some((id(&["-u", name])?, id(&["-g", name])?));
    Some(of("postgres").or_else(|| of("nobody")).unwrap())
}
