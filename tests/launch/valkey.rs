//! Owns real servers of Valkey or Redis for tests: each on a free loopback port, in a folder of its own,
//! killed when dropped. Must not know what is kept in them, nor this crate; tests of any kind include it.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
const PATIENCE: Duration = Duration::from_secs(30);

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path);
    places.find_map(|place| PROGRAMS.map(|name| place.join(name)).into_iter().find(|p| p.is_file()))
}

/// Whether there is a server to test with. Says so loudly if not, and fails where one is demanded.
pub(crate) fn available() -> bool {
    if program().is_some() {
        return true;
    }
    let demanded = std::env::var_os("FAPI_BFF_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    assert!(!demanded, "FAPI_BFF_REQUIRE_SERVERS=1, but redis-server is not on PATH");
    // Past the capturing of output, so that a run without servers shows.
    let _ = writeln!(io::stderr().lock(), "SKIPPED: redis-server is not on PATH");
    false
}

/// A port nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server; [`Server::kill`] and [`Server::start`] as often as need be.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: TempDir,
    settings: Vec<String>,
    sentinel: bool,
    child: Option<Child>,
}

impl Server {
    /// Runs with these lines of configuration; every write is on disk before it is answered.
    pub(crate) fn run(settings: &[&str]) -> Self {
        Self::run_on(free_port(), settings)
    }

    pub(crate) fn run_on(port: u16, settings: &[&str]) -> Self {
        let mut server = Self::prepare(port, settings);
        server.start();
        server
    }

    /// Not started yet.
    pub(crate) fn prepare(port: u16, settings: &[&str]) -> Self {
        let mut lines = vec!["appendonly yes".to_owned(), "appendfsync always".to_owned()];
        lines.push("save \"\"".to_owned());
        if !settings.iter().any(|line| line.starts_with("tls-port")) {
            lines.push(format!("port {port}"));
        }
        lines.extend(settings.iter().map(|line| (*line).to_owned()));
        let folder = tempfile::tempdir().unwrap();
        Self { port, folder, settings: lines, sentinel: false, child: None }
    }

    /// A sentinel that watches the server on port `watched` under the name `sessions`.
    pub(crate) fn sentinel(watched: u16, quorum: usize, settings: &[&str]) -> Self {
        let port = free_port();
        let mut lines = vec![
            format!("port {port}"),
            format!("sentinel monitor sessions 127.0.0.1 {watched} {quorum}"),
            "sentinel down-after-milliseconds sessions 800".to_owned(),
            "sentinel failover-timeout sessions 3000".to_owned(),
        ];
        lines.extend(settings.iter().map(|line| (*line).to_owned()));
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { port, folder, settings: lines, sentinel: true, child: None };
        server.start();
        server
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "runs already");
        let folder = self.folder.path();
        let mut lines = self.settings.clone();
        lines.push("bind 127.0.0.1".to_owned());
        lines.push(format!("dir {}", folder.display()));
        let (conf, log) = (folder.join("server.conf"), folder.join("log"));
        lines.push(format!("logfile {}", log.display()));
        fs::write(&conf, lines.join("\n")).unwrap();
        // So that what an earlier run said is not taken for this one's.
        let _ = fs::remove_file(&log);
        let mut command = Command::new(program().unwrap());
        command.arg(&conf);
        if self.sentinel {
            command.arg("--sentinel");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let ready = if self.sentinel { "+monitor" } else { "Ready to accept connections" };
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let until = Instant::now() + PATIENCE;
        while !said().contains(ready) {
            assert!(child.try_wait().unwrap().is_none(), "the server ended:\n{}", said());
            assert!(Instant::now() < until, "the server does not start:\n{}", said());
            sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
    }

    /// As a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), id]).status().unwrap().success());
    }

    /// All that the server has written to its disk.
    pub(crate) fn dump(&self) -> Vec<u8> {
        fn read(folder: &std::path::Path, all: &mut Vec<u8>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    read(&path, all);
                } else {
                    all.extend(fs::read(path).unwrap());
                }
            }
        }
        let mut all = Vec::new();
        read(self.folder.path(), &mut all);
        all
    }

    /// The answer to a command, nested ones in one row. A refusal begins with `-`.
    pub(crate) fn ask(&self, words: &[&[u8]]) -> Vec<Vec<u8>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n", word.len()).into_bytes());
            request.extend_from_slice(word);
            request.extend(b"\r\n");
        }
        (&stream).write_all(&request).unwrap();
        let mut all = Vec::new();
        answer(&mut BufReader::new(&stream), &mut all);
        all
    }

    /// [`Server::ask`] for words without spaces, and an answer that is text.
    pub(crate) fn say(&self, line: &str) -> String {
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        let lines: Vec<_> = self
            .ask(&words)
            .iter()
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        lines.join("\n")
    }

    /// Waits until the answer to a command contains some text.
    pub(crate) fn wait_for(&self, line: &str, text: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.say(line);
            if answer.contains(text) {
                return;
            }
            assert!(Instant::now() < until, "{line}: no {text}:\n{answer}");
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn answer(reader: &mut BufReader<&TcpStream>, all: &mut Vec<Vec<u8>>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    match kind {
        "$" => match rest.parse::<usize>() {
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                reader.read_exact(&mut bytes).unwrap();
                bytes.truncate(length);
                all.push(bytes);
            }
            Err(_) => all.push(Vec::new()),
        },
        "*" => {
            for _ in 0..rest.parse::<i64>().unwrap() {
                answer(reader, all);
            }
        }
        "-" => all.push(line.as_bytes().to_vec()),
        _ => all.push(rest.as_bytes().to_vec()),
    }
}

/// A cluster of three servers that serves all slots, without replicas.
pub(crate) fn cluster() -> Vec<Server> {
    let servers: Vec<_> = (0..3)
        .map(|_| {
            let bus = format!("cluster-port {}", free_port());
            Server::run(&["cluster-enabled yes", "cluster-node-timeout 1500", &bus])
        })
        .collect();
    for (server, range) in servers.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
        assert_eq!(server.say(&format!("CLUSTER ADDSLOTSRANGE {range}")), "OK");
    }
    for server in &servers[1..] {
        let bus =
            server.settings.iter().find_map(|line| line.strip_prefix("cluster-port ")).unwrap();
        let meet = format!("CLUSTER MEET 127.0.0.1 {} {bus}", server.port);
        assert_eq!(servers[0].say(&meet), "OK");
    }
    for server in &servers {
        server.wait_for("CLUSTER INFO", "cluster_state:ok");
        server.wait_for("CLUSTER INFO", "cluster_known_nodes:3");
    }
    servers
}
