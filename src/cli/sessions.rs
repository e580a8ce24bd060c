//! Owns listing and ending sessions from the command line, by asking the running server: the store may
//! be open to one process only. Must not know: how sessions are kept.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{
    HeaderValue, Request,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

use super::{ConfigArgument, Failure, Format};
use crate::{
    admin::ADMIN_HEADER,
    config::{self, Settings},
};

/// The most an answer may hold; a page of 500 sessions fits a hundred times.
const ANSWER_LIMIT: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Ending everything in a large store takes its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30 * 60);
const PAGE: u16 = 500;

/// List and end sessions of the running server.
#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// List living sessions.
    List {
        /// The running server.
        #[command(flatten)]
        server: Server,
        /// Only this app's.
        #[arg(long, value_name = "NAME")]
        app: Option<String>,
        /// Only this person's.
        #[command(flatten)]
        person: Option<Person>,
        /// How to print them.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// End sessions. Their tokens stay good until they end by themselves or at the authorization server.
    End {
        /// The running server.
        #[command(flatten)]
        server: Server,
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Only this app's; with --subject or --all.
        #[arg(long, value_name = "NAME", conflicts_with = "id")]
        app: Option<String>,
    },
}

/// The running server.
#[derive(Debug, Args)]
pub struct Server {
    /// The configuration.
    #[command(flatten)]
    config: ConfigArgument,
    /// Where its admin listener is, if not where the configuration says.
    #[arg(long, value_name = "ADDRESS")]
    server: Option<SocketAddr>,
}

/// A subject of an issuer.
#[derive(Debug, Args)]
pub struct Person {
    /// The issuer, exactly as configured.
    #[arg(long, value_name = "URL", requires = "subject")]
    issuer: Option<String>,
    /// The subject there: the `sub` of the ID token.
    #[arg(long, value_name = "SUB", allow_hyphen_values = true, requires = "issuer")]
    subject: Option<String>,
}

/// Which sessions to end.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Which {
    /// The one with this id, as `list`, logs and audit have it.
    #[arg(long, value_name = "ID", allow_hyphen_values = true,
        conflicts_with_all = ["issuer", "subject", "all"])]
    id: Option<String>,
    /// All of this issuer's …
    #[arg(long, value_name = "URL", requires = "subject", conflicts_with = "all")]
    issuer: Option<String>,
    /// … subject.
    #[arg(
        long,
        value_name = "SUB",
        allow_hyphen_values = true,
        requires = "issuer",
        conflicts_with = "all"
    )]
    subject: Option<String>,
    /// All there are, or with --app all of the app's.
    #[arg(long)]
    all: bool,
}

/// Does what `command` asks for.
pub(super) fn run(
    command: Sessions,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match command {
        Sessions::List { server, app, person, format } => {
            let line = Line::to(&server, environment)?;
            let mut wish = Map::new();
            put(&mut wish, "app", app);
            if let Some(Person { issuer, subject }) = person {
                put(&mut wish, "issuer", issuer);
                put(&mut wish, "subject", subject);
            }
            list(&line, wish, format, out)
        }
        Sessions::End { server, which, app } => {
            let line = Line::to(&server, environment)?;
            let mut wish = Map::new();
            put(&mut wish, "id", which.id);
            put(&mut wish, "issuer", which.issuer);
            put(&mut wish, "subject", which.subject);
            put(&mut wish, "app", app);
            if which.all {
                wish.insert("all".to_owned(), json!(true));
            }
            let answer = line.ask("/sessions/end", &Value::Object(wish))?;
            let ended = answer.get("ended").and_then(Value::as_u64).ok_or_else(nonsense)?;
            let plural = if ended == 1 { "session" } else { "sessions" };
            writeln!(out, "{ended} {plural} ended")?;
            Ok(())
        }
    }
}

fn put(wish: &mut Map<String, Value>, name: &str, value: Option<String>) {
    if let Some(value) = value {
        wish.insert(name.to_owned(), Value::String(value));
    }
}

/// Page by page, so that a large store needs no large memory here.
fn list(
    line: &Line,
    mut wish: Map<String, Value>,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if !wish.contains_key("subject") {
        wish.insert("limit".to_owned(), json!(PAGE));
    }
    let mut count = 0_u64;
    if format == Format::Json {
        write!(out, "{{\"sessions\":[")?;
    }
    loop {
        let answer = line.ask("/sessions/list", &Value::Object(wish.clone()))?;
        let sessions = answer.get("sessions").and_then(Value::as_array).ok_or_else(nonsense)?;
        for session in sessions {
            match format {
                Format::Json => {
                    write!(out, "{}{session}", if count == 0 { "\n" } else { ",\n" })?;
                }
                Format::Text => {
                    if count == 0 {
                        row(out, ["id", "created", "last seen", "expires", "app"])?;
                    }
                    let text = |name| session.get(name).and_then(Value::as_str).unwrap_or("-");
                    let expires = text("idle_expires");
                    row(
                        out,
                        [text("id"), text("created"), text("last_seen"), expires, text("app")],
                    )?;
                }
            }
            count += 1;
        }
        match answer.get("next").and_then(Value::as_str) {
            Some(next) => put(&mut wish, "after", Some(next.to_owned())),
            None => break,
        }
    }
    match format {
        Format::Json => writeln!(out, "]}}")?,
        Format::Text => {
            writeln!(out, "{count} {}", if count == 1 { "session" } else { "sessions" })?;
        }
    }
    Ok(())
}

fn row(out: &mut impl Write, [id, created, seen, expires, app]: [&str; 5]) -> Result<(), Failure> {
    writeln!(out, "{id:<22}  {created:<20}  {seen:<20}  {expires:<20}  {app}")?;
    Ok(())
}

fn nonsense() -> Failure {
    Failure::Other("what answers there is not this server's admin listener".to_owned())
}

/// The way to the running server.
struct Line {
    address: SocketAddr,
    authorization: HeaderValue,
    runtime: tokio::runtime::Runtime,
}

impl Line {
    fn to(
        server: &Server,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Failure> {
        let settings: Settings = config::load(&server.config.config, environment)?;
        let token = settings.admin.token.as_ref().ok_or_else(|| {
            Failure::Other("session administration is off: make a token with `fapi-bff keys admin --out FILE`, name the file as token_file under [admin], and restart the server".to_owned())
        })?;
        let bearer = zeroize::Zeroizing::new([b"Bearer ".as_slice(), token.expose()].concat());
        let mut authorization = HeaderValue::from_bytes(&bearer)
            .map_err(|_| Failure::Other("the token fits no header".to_owned()))?;
        authorization.set_sensitive(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let address = server.server.unwrap_or_else(|| reachable(settings.admin.listen));
        Ok(Self { address, authorization, runtime })
    }

    /// Posts `wish` and gives the answer, if it is not a refusal.
    fn ask(&self, path: &str, wish: &Value) -> Result<Value, Failure> {
        let (status, body) = self.runtime.block_on(self.post(path, wish.to_string()))?;
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        if status == 200 {
            return answer.ok_or_else(nonsense);
        }
        let message = answer.as_ref().and_then(|answer| answer.get("message")?.as_str());
        Err(Failure::Other(match message {
            Some(message) => format!("{status}: {message}"),
            None => format!("{status} from http://{}{path}", self.address),
        }))
    }

    async fn post(&self, path: &str, body: String) -> Result<(u16, Bytes), Failure> {
        let address = self.address;
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::Other(format!(
                "the admin listener at {address} does not answer: {error}; is the server running, and is that its [admin] listen?"
            ))
        };
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let stream =
            connect.map_err(|error| unreachable(&error))?.map_err(|error| unreachable(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        let connection = tokio::spawn(connection);
        let request = Request::post(path)
            .header(HOST, address.to_string())
            .header(ADMIN_HEADER, "1")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::Other(error.to_string()))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|e| unreachable(&e))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            Ok((status, body.map_err(|error| unreachable(&error))?.to_bytes()))
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
        connection.abort();
        answer.map_err(|error| unreachable(&error))?
    }
}

/// Where a listener on all addresses is reached from its own host.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
