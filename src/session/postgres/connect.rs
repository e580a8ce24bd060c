//! Owns the way to a server that takes writes: hosts in turn, TLS, limits of a connection, the pool.
//! Must not know: what is asked over a connection, but for the schema's version.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, Error, NoTls,
    config::{ChannelBinding, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls_improved::MakeRustlsConnect;

use super::{
    fault::{PostgresFault, described},
    schema,
    statements::Statements,
};
use crate::{
    config::{DatabaseHost, Postgres},
    tls::{self, Identity, Roots},
};

/// What arrives on a connection unasked; it must be read for the connection to work.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<AsyncMessage, Error>> + Send>>;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// Operations of the store, within their limits.
    Work,
    /// Waiting for notifications.
    Listen,
    /// Changing the schema, which may take long; waits a minute for others who do the same.
    Migrate,
}

/// One configured host.
struct Host {
    shown: String,
    config: Config,
    tls: bool,
}

/// Finds the server that takes writes.
pub(super) struct Connector {
    hosts: Vec<Host>,
    tls: Option<MakeRustlsConnect>,
    /// Where to begin: the host that let us in last, or the one after the one that did not.
    first: AtomicUsize,
    options: String,
    pub(super) schema: String,
    connect_timeout: Duration,
    statement_timeout: Duration,
    lock_timeout: Duration,
}

impl Connector {
    pub(super) fn new(settings: &Postgres) -> Result<Self, PostgresFault> {
        let tls = settings
            .tls
            .as_ref()
            .map(|tls| {
                let extra = tls.trust_roots.iter().map(|file| file.pem.as_slice());
                let roots = Roots::new(tls.system_roots, extra)?;
                let identity = tls
                    .identity
                    .as_ref()
                    .map(|files| {
                        Identity::from_pem(&files.certificate_pem, files.private_key_pem.expose())
                    })
                    .transpose()?;
                tls::client_config(&roots, identity.as_ref(), &[b"postgresql"])
            })
            .transpose()?
            .map(MakeRustlsConnect::new);
        let hosts =
            settings.hosts.iter().map(|host| Host::new(host, settings, tls.is_some())).collect();
        // The conditional statements are right at this level, and every other would make them fail.
        let options = format!(
            "-c search_path={},pg_temp -c default_transaction_isolation=read\\ committed",
            settings.schema
        );
        Ok(Self {
            hosts,
            tls,
            first: AtomicUsize::new(0),
            options,
            schema: settings.schema.clone(),
            connect_timeout: settings.connect_timeout,
            statement_timeout: settings.statement_timeout,
            lock_timeout: settings.lock_timeout,
        })
    }

    fn options(&self, purpose: Purpose) -> String {
        let millis = |limit: Duration| limit.as_millis().to_string();
        let (statement, lock) = match purpose {
            Purpose::Work => (millis(self.statement_timeout), millis(self.lock_timeout)),
            Purpose::Listen => (millis(self.statement_timeout), "0".to_owned()),
            Purpose::Migrate => ("0".to_owned(), "60000".to_owned()),
        };
        format!("{} -c statement_timeout={statement} -c lock_timeout={lock}", self.options)
    }

    /// A connection to the first host that takes writes. Each gets `connect_timeout` for everything up
    /// to a usable session. Whoever gives up waiting leaves the next one to begin at the next host.
    pub(super) async fn connect(
        &self,
        purpose: Purpose,
    ) -> Result<(Client, Messages), PostgresFault> {
        let first = self.first.load(Ordering::Relaxed);
        let options = self.options(purpose);
        let mut said = Vec::new();
        for step in 0..self.hosts.len() {
            let at = (first + step) % self.hosts.len().max(1);
            let Some(host) = self.hosts.get(at) else { break };
            self.first.store((at + 1) % self.hosts.len(), Ordering::Relaxed);
            let attempt = self.attempt(host, &options);
            match tokio::time::timeout(self.connect_timeout, attempt).await {
                Ok(Ok(connected)) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(connected);
                }
                Ok(Err(error)) => said.push(format!("{}: {}", host.shown, described(&error))),
                Err(_) => said.push(format!("{}: no answer in time", host.shown)),
            }
        }
        Err(PostgresFault::Unreachable(said.join("; ")))
    }

    async fn attempt(&self, host: &Host, options: &str) -> Result<(Client, Messages), Error> {
        let mut config = host.config.clone();
        config.options(options);
        match &self.tls {
            Some(tls) if host.tls => {
                let (client, connection) = config.connect(tls.clone()).await?;
                Ok((client, messages(connection)))
            }
            _ => {
                let (client, connection) = config.connect(NoTls).await?;
                Ok((client, messages(connection)))
            }
        }
    }
}

impl Host {
    fn new(host: &DatabaseHost, settings: &Postgres, tls: bool) -> Self {
        let mut config = Config::new();
        let (shown, tls) = match host {
            DatabaseHost::Tcp { name, port } => {
                config.host(name).port(*port);
                (format!("{name}:{port}"), tls)
            }
            DatabaseHost::Socket { directory, port } => {
                config.host_path(directory).port(*port);
                (format!("{}:{port}", directory.display()), false)
            }
        };
        config
            .user(&settings.user)
            .dbname(&settings.database)
            .application_name("fapi-bff")
            .ssl_mode(if tls { SslMode::Require } else { SslMode::Disable })
            .channel_binding(if settings.require_channel_binding {
                ChannelBinding::Require
            } else {
                ChannelBinding::Prefer
            })
            .connect_timeout(settings.connect_timeout)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            // A server that vanished without a word is noticed within half a minute at rest, and within
            // the limit of a statement at work.
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(settings.statement_timeout.max(Duration::from_secs(10)));
        if let Some(password) = &settings.password {
            config.password(password.expose());
        }
        Self { shown, config, tls }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(|host| &host.shown).collect();
        f.debug_struct("Connector").field("hosts", &hosts).finish_non_exhaustive()
    }
}

fn messages<S, T>(mut connection: Connection<S, T>) -> Messages
where
    Connection<S, T>: Send + 'static,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    Box::pin(stream::poll_fn(move |context| connection.poll_message(context)))
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct Tied(JoinHandle<()>);

impl Tied {
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads what nobody waits for until the connection ends.
pub(super) fn drain(mut messages: Messages) -> Tied {
    Tied::spawn(async move { while let Some(Ok(_)) = messages.next().await {} })
}

/// A connection of the pool with everything prepared.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) statements: Statements,
    _reader: Tied,
}

/// Makes the pool's connections; none to a schema that is not this program's.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) connector: Arc<Connector>,
    /// Told when the schema is found to be behind.
    pub(super) behind: Arc<Notify>,
}

/// At most so many connections, made when needed.
pub(super) type Pool = managed::Pool<Manager>;

impl Manager {
    async fn make(&self) -> Result<Link, PostgresFault> {
        let (client, messages) = self.connector.connect(Purpose::Work).await?;
        let reader = drain(messages);
        let found = schema::version(&client).await?;
        if let Err(fault) = schema::judge(&self.connector.schema, found) {
            self.behind.notify_one();
            return Err(fault);
        }
        let statements = Box::pin(Statements::prepare(&client)).await?;
        Ok(Link { client, statements, _reader: reader })
    }
}

impl managed::Manager for Manager {
    type Type = Link;
    type Error = PostgresFault;

    async fn create(&self) -> Result<Link, PostgresFault> {
        // Rarely run and large: kept out of every operation's future.
        Box::pin(self.make()).await
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<PostgresFault> {
        if link.client.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}
