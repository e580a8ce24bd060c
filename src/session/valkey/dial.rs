//! Owns connections to one server: resolving, TLS, credentials, judging whom we met, connecting anew.
//! Must not know which server holds what.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, RedisConnectionInfo, Value,
    aio::{MultiplexedConnection, PubSub},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
    task::AbortHandle,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use super::trouble::{Kind, Trouble};
use crate::config::Secret;

/// Requests that may wait to be written to a connection before further ones wait for room.
const QUEUE: usize = 1024;

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Whom we expect to meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    /// The only server, or the primary of several.
    Primary,
    /// A server of a cluster, in whatever role.
    ClusterNode,
    /// One that watches over others.
    Sentinel,
}

/// How servers are connected to.
pub(super) struct Dialer {
    pub(super) tls: Option<TlsConnector>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) expected: Expected,
    /// It has been said that the server forgets everything when it restarts.
    pub(super) warned: AtomicBool,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("expected", &self.expected).finish_non_exhaustive()
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

type Stream = Box<dyn Duplex>;

impl Dialer {
    /// A connection for requests, to a server that is what we expect.
    async fn connect(
        &self,
        address: &Address,
    ) -> Result<(MultiplexedConnection, AbortHandle), Trouble> {
        self.in_time(async {
            let stream = self.stream(address).await?;
            // Our own time-outs know whether a request had been sent.
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(None)
                .set_response_timeout(None)
                .set_pipeline_buffer_size(QUEUE);
            let info = self.credentials();
            let set_up = MultiplexedConnection::new_with_config(&info, stream, config);
            let (mut connection, driver) =
                set_up.await.map_err(|error| Trouble::greeting(&error))?;
            let driver = tokio::spawn(driver).abort_handle();
            if self.expected != Expected::Sentinel {
                self.judge(address, &mut connection).await?;
            }
            Ok((connection, driver))
        })
        .await
    }

    /// A connection that hears what is published.
    pub(super) async fn listen(&self, address: &Address) -> Result<PubSub, Trouble> {
        self.in_time(async {
            let stream = self.stream(address).await?;
            PubSub::new(&self.credentials(), stream)
                .await
                .map_err(|error| Trouble::greeting(&error))
        })
        .await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let late = || Trouble::new(Kind::NotSent, "the server cannot be connected to in time");
        timeout(self.connect_timeout, work).await.unwrap_or_else(|_| Err(late()))
    }

    fn credentials(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP2)
            .set_skip_set_lib_name();
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            // Configuration lets printable ASCII through only.
            info = info.set_password(String::from_utf8_lossy(password.expose()));
        }
        info
    }

    async fn stream(&self, address: &Address) -> Result<Stream, Trouble> {
        let unreachable =
            |error: std::io::Error| Trouble::not_sent("the server cannot be reached", &error);
        let resolved = tokio::net::lookup_host((address.host.as_str(), address.port))
            .await
            .map_err(|error| Trouble::not_sent("the server's name cannot be resolved", &error))?;
        let mut last = Trouble::new(Kind::NotSent, "the server's name has no address");
        let host = &address.host;
        for address in resolved {
            // FAPI2-SP-5.2.1-1, also where a sentinel or a cluster names the server.
            if self.tls.is_none() && !address.ip().to_canonical().is_loopback() {
                last = Trouble::new(
                    Kind::NotSent,
                    "a server without TLS must have a loopback address: write rediss://",
                );
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(tcp) => {
                    tcp.set_nodelay(true).map_err(unreachable)?;
                    return self.secured(tcp, host).await;
                }
                Err(error) => last = unreachable(error),
            }
        }
        Err(last)
    }

    async fn secured(&self, tcp: TcpStream, host: &str) -> Result<Stream, Trouble> {
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| Trouble::not_sent("the server's name fits no certificate", &error))?;
        let refused =
            |error: std::io::Error| Trouble::not_sent("TLS with the server failed", &error);
        Ok(Box::new(tls.connect(name, tcp).await.map_err(refused)?))
    }

    /// Whether a server may keep sessions.
    async fn judge(
        &self,
        address: &Address,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Trouble> {
        let refused = |reason| Err(Trouble::new(Kind::NotSent, reason));
        let info = match connection.send_packed_command(redis::cmd("INFO").arg("everything")).await
        {
            Ok(Value::BulkString(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Ok(Value::VerbatimString { text, .. }) => text,
            Ok(Value::ServerError(error)) => return Err(Trouble::answered(&error, address)),
            Ok(_) => return Err(Trouble::not_understood()),
            Err(error) => return Err(Trouble::greeting(&error)),
        };
        let told = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        if told("loading") == Some("1") {
            return refused("the server is still loading its data");
        }
        let major =
            told("redis_version").and_then(|version| version.split('.').next()?.parse().ok());
        if major.is_none_or(|major: u32| major < 7) {
            return refused("the server is too old: Valkey, or Redis 7, is needed");
        }
        if told("maxmemory_policy") != Some("noeviction") {
            return refused(
                "the server would throw sessions out when memory runs short: set its maxmemory-policy to noeviction",
            );
        }
        let clustered = told("cluster_enabled") == Some("1");
        match self.expected {
            Expected::ClusterNode if !clustered => {
                return refused("the server is not part of a cluster: remove store.valkey.cluster");
            }
            Expected::Primary if clustered => {
                return refused("the server is part of a cluster: set store.valkey.cluster = true");
            }
            Expected::Primary if told("role") != Some("master") => {
                return refused(
                    "the server is a replica: name the primary, or configure store.valkey.sentinel",
                );
            }
            _ => {}
        }
        if told("aof_enabled") == Some("0") && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(server = %address, "session store: the server has appendonly off, so that sessions and ended sessions since its last snapshot are lost when it restarts; set appendonly yes");
        }
        Ok(())
    }
}

/// One server, connected to when it is needed and anew after every failure.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: Address,
    dialer: Arc<Dialer>,
    /// One for what waits for replicas, which holds up all that comes after it; one for the rest.
    lanes: [Mutex<Lane>; 2],
}

#[derive(Default)]
struct Lane {
    connection: Option<(MultiplexedConnection, AbortHandle)>,
    /// Counts connections.
    serial: u64,
    failed: Option<(Instant, &'static str)>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("connected", &self.connection.is_some())
            .finish_non_exhaustive()
    }
}

/// A command, and how many replicas must have it within how many milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) command: &'a Cmd,
    pub(super) wait: Option<(u32, u64)>,
    /// The keys are moving here.
    pub(super) asking: bool,
}

impl Node {
    pub(super) fn new(address: Address, dialer: Arc<Dialer>) -> Self {
        Self { address, dialer, lanes: Default::default() }
    }

    /// Sends a request once, and waits for the answer for a while.
    pub(super) async fn ask(&self, request: Request<'_>) -> Result<Value, Trouble> {
        let [plain, waiting] = &self.lanes;
        let lane = if request.wait.is_some() { waiting } else { plain };
        let (serial, mut connection) = self.connected(lane).await?;
        // One write on one connection: WAIT counts from the last write of the connection it comes on.
        let mut pipeline = Pipeline::new();
        if request.asking {
            pipeline.add_command(redis::cmd("ASKING"));
        }
        pipeline.add_command(request.command.clone());
        if let Some((replicas, millis)) = request.wait {
            pipeline.cmd("WAIT").arg(replicas).arg(millis);
        }
        let answer = connection.send_packed_commands(&pipeline, 0, pipeline.len());
        let outcome = match timeout(self.dialer.response_timeout, answer).await {
            Err(_) => Err(Trouble::new(Kind::Unknown, "the server did not answer in time")),
            Ok(Err(error)) => Err(Trouble::lost(&error)),
            Ok(Ok(answers)) => self.judged(request, answers),
        };
        if outcome.as_ref().is_err_and(Trouble::spoils_connection) {
            let mut lane = lane.lock().await;
            if lane.serial == serial {
                lane.connection = None;
            }
        }
        outcome
    }

    fn judged(&self, request: Request<'_>, answers: Vec<Value>) -> Result<Value, Trouble> {
        let mut answers = answers.into_iter().skip(usize::from(request.asking));
        let answer = match answers.next() {
            Some(Value::ServerError(error)) => {
                return Err(Trouble::answered(&error, &self.address));
            }
            Some(answer) => answer,
            None => return Err(Trouble::not_understood()),
        };
        let Some((wanted, _)) = request.wait else { return Ok(answer) };
        match answers.next() {
            Some(Value::Int(replicas)) if replicas >= i64::from(wanted) => Ok(answer),
            Some(Value::Int(_)) => Err(Trouble {
                kind: Kind::Refused,
                reason: "fewer replicas than store.valkey.wait_replicas have acknowledged a write",
                detail: "NOREPLICAS".to_owned(),
            }),
            Some(Value::ServerError(error)) => Err(Trouble::answered(&error, &self.address)),
            _ => Err(Trouble::not_understood()),
        }
    }

    async fn connected(&self, lane: &Mutex<Lane>) -> Result<(u64, MultiplexedConnection), Trouble> {
        let since = Instant::now();
        let too_long = |_| Trouble::new(Kind::NotSent, "the server cannot be connected to in time");
        let mut lane = timeout(self.dialer.connect_timeout, lane.lock()).await.map_err(too_long)?;
        // A driver that has ended saw the server close the connection.
        if let Some((connection, driver)) = &lane.connection
            && !driver.is_finished()
        {
            return Ok((lane.serial, connection.clone()));
        }
        // Those who waited for an attempt share its failure; they do not queue up for attempts.
        if let Some((at, reason)) = lane.failed
            && at > since
        {
            return Err(Trouble::new(Kind::NotSent, reason));
        }
        match self.dialer.connect(&self.address).await {
            Ok((connection, driver)) => {
                lane.serial += 1;
                lane.connection = Some((connection.clone(), driver));
                lane.failed = None;
                Ok((lane.serial, connection))
            }
            Err(trouble) => {
                lane.failed = Some((Instant::now(), trouble.reason));
                // Whatever it was, the request itself was not sent.
                Err(Trouble { kind: Kind::NotSent, ..trouble })
            }
        }
    }
}
