//! Owns the audit stream: versioned, append-only, one JSON object a line, on a channel of its own.
//! Must not know what an event means, nor ever carry a token, a code or a claim value.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::IntCounter;
use serde::Serialize;

use super::{Pseudonym, metrics};
use crate::clock::Clock;

/// Version of the line's shape; it grows when a member changes its meaning or goes.
const VERSION: u32 = 1;
/// No member is longer, in characters: what comes from outside must not flood the stream.
const LONGEST: usize = 256;

/// What somebody did or tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Somebody was turned away from session administration.
    AdminAccess,
    /// An operator ended sessions.
    AdminSessionsEnd,
    /// An operator listed sessions.
    AdminSessionsList,
    /// Configuration was loaded or reloaded.
    ConfigLoad,
    /// A request was stopped before it reached a session.
    GuardReject,
    /// Keys or certificates were loaded, rotated or refused.
    KeysLoad,
    /// An authorization response was judged.
    LoginEnd,
    /// A user agent was sent to the authorization server.
    LoginStart,
    /// The user asked to leave.
    Logout,
    /// The authorization server ended sessions (back-channel logout).
    LogoutBackchannel,
    /// The authorization server ended sessions (front-channel logout).
    LogoutFrontchannel,
    /// The authorization server sent a user agent back after a logout.
    LogoutReturn,
    /// A session ended: logout, expiry, revocation, dead grant, operator.
    SessionEnd,
    /// Tokens of a session were renewed.
    SessionRefresh,
    /// A session began.
    SessionStart,
    /// Tokens were handed back to the authorization server.
    TokenRevoke,
}

impl Action {
    /// The stable name in the stream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AdminAccess => "admin.access",
            Self::AdminSessionsEnd => "admin.sessions_end",
            Self::AdminSessionsList => "admin.sessions_list",
            Self::ConfigLoad => "config.load",
            Self::GuardReject => "guard.reject",
            Self::KeysLoad => "keys.load",
            Self::LoginEnd => "login.end",
            Self::LoginStart => "login.start",
            Self::Logout => "logout",
            Self::LogoutBackchannel => "logout.backchannel",
            Self::LogoutFrontchannel => "logout.frontchannel",
            Self::LogoutReturn => "logout.return",
            Self::SessionEnd => "session.end",
            Self::SessionRefresh => "session.refresh",
            Self::SessionStart => "session.start",
            Self::TokenRevoke => "token.revoke",
        }
    }
}

impl Action {
    /// Who does it, where that is not the user or the server itself.
    const fn who(self) -> Option<&'static str> {
        match self {
            Self::AdminAccess | Self::AdminSessionsEnd | Self::AdminSessionsList => {
                Some("operator")
            }
            _ => None,
        }
    }
}

/// How it went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Something of ours or of a peer did not work.
    Failed,
    /// A rule said no.
    Rejected,
    /// It was done.
    Success,
}

impl Outcome {
    /// The stable name in the stream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Success => "success",
        }
    }
}

/// One line of the stream. Persons and sessions appear as pseudonyms only.
#[derive(Clone, Copy, Debug)]
pub struct AuditEvent<'a> {
    /// What was done or tried.
    pub action: Action,
    /// How it went.
    pub outcome: Outcome,
    /// Machine reason such as `jarm.issuer_mismatch`; `none` when there is nothing to explain.
    pub reason: &'a str,
    /// The application, as named in the configuration.
    pub app: &'a str,
    /// The OAuth client, as named in the configuration.
    pub client: &'a str,
    /// Who, once known.
    pub subject: Option<&'a Pseudonym>,
    /// Which session, once there is one.
    pub session: Option<&'a Pseudonym>,
    /// The authentication context class reached.
    pub acr: Option<&'a str>,
    /// Correlates the line with logs and with the answer's `x-request-id`.
    pub request_id: &'a str,
    /// Correlates the start and the end of one login.
    pub transaction: Option<&'a str>,
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    ts: &'a str,
    stream: &'static str,
    seq: u64,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<&'static str>,
    outcome: &'static str,
    reason: &'a str,
    app: &'a str,
    client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a Pseudonym>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a Pseudonym>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<&'a str>,
}

fn bounded(value: &str) -> &str {
    let end = value.char_indices().nth(LONGEST).map_or(value.len(), |(at, _)| at);
    value.get(..end).unwrap_or_default()
}

/// Where lines go. Writing is synchronous on purpose: when `record` returns, the line has left the
/// process; it happens on logins, refreshes and ends, not on every API call.
pub struct Audit {
    clock: Arc<dyn Clock>,
    stream: Mutex<Stream>,
    written: IntCounter,
    lost: IntCounter,
}

struct Stream {
    sink: Sink,
    next: u64,
    /// The last write broke off, so the next line must not be glued to its remains.
    torn: bool,
}

enum Sink {
    Stdout,
    File { path: PathBuf, file: File },
    Memory(AuditLog),
}

impl Audit {
    /// Lines on standard output, which carries nothing else.
    pub fn to_stdout(clock: Arc<dyn Clock>) -> Self {
        Self::new(clock, Sink::Stdout)
    }

    /// Lines appended to the file at `path`, created for the owner's eyes only.
    pub fn to_file(path: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Ok(Self::new(clock, Sink::File { path: path.to_owned(), file: append(path)? }))
    }

    /// Lines kept in memory, for tests and the conformance harness.
    pub fn memory(clock: Arc<dyn Clock>) -> (Self, AuditLog) {
        let log = AuditLog::default();
        (Self::new(clock, Sink::Memory(log.clone())), log)
    }

    fn new(clock: Arc<dyn Clock>, sink: Sink) -> Self {
        Self {
            clock,
            stream: Mutex::new(Stream { sink, next: 1, torn: false }),
            written: metrics::counter("fapi_bff_audit_lines_total", "Audit lines written."),
            lost: metrics::counter(
                "fapi_bff_audit_lines_lost_total",
                "Audit lines that could not be written.",
            ),
        }
    }

    /// Appends one line. A sink that fails is logged and counted; the caller goes on.
    pub fn record(&self, event: &AuditEvent<'_>) {
        // The time is taken inside, so that `seq` and `ts` grow together.
        let mut stream = self.lock();
        let ts = self.clock.timestamp();
        let line = Line {
            v: VERSION,
            ts: &ts,
            stream: "audit",
            seq: stream.next,
            action: event.action.as_str(),
            who: event.action.who(),
            outcome: event.outcome.as_str(),
            reason: bounded(event.reason),
            app: bounded(event.app),
            client: bounded(event.client),
            subject: event.subject,
            session: event.session,
            acr: event.acr.map(bounded),
            request_id: bounded(event.request_id),
            transaction: event.transaction.map(bounded),
        };
        // A number is used up even when its line is lost: a gap is evidence.
        stream.next += 1;
        let outcome = serde_json::to_vec(&line).map_err(io::Error::other).and_then(|mut line| {
            line.push(b'\n');
            stream.write(&line)
        });
        drop(stream);
        match outcome {
            Ok(()) => self.written.inc(),
            Err(error) => {
                self.lost.inc();
                tracing::error!(
                    %error,
                    action = event.action.as_str(),
                    outcome = event.outcome.as_str(),
                    "an audit line could not be written"
                );
            }
        }
    }

    /// Opens the file again by its path, after a log rotation moved it away. On failure the old one
    /// stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        let mut stream = self.lock();
        if let Sink::File { path, file } = &mut stream.sink {
            *file = append(path)?;
        }
        Ok(())
    }

    /// Lines written, lines lost.
    pub(super) fn counters(&self) -> [IntCounter; 2] {
        [self.written.clone(), self.lost.clone()]
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sink = match &self.lock().sink {
            Sink::Stdout => "stdout".to_owned(),
            Sink::File { path, .. } => path.display().to_string(),
            Sink::Memory(_) => "memory".to_owned(),
        };
        f.debug_tuple("Audit").field(&sink).finish()
    }
}

impl Stream {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let torn = std::mem::replace(&mut self.torn, true);
        match &mut self.sink {
            Sink::Stdout => write_line(&mut io::stdout().lock(), torn, line),
            Sink::File { file, .. } => write_line(file, torn, line),
            Sink::Memory(log) => write_line(&mut log.clone(), torn, line),
        }?;
        self.torn = false;
        Ok(())
    }
}

fn write_line(to: &mut impl Write, after_a_torn_one: bool, line: &[u8]) -> io::Result<()> {
    if after_a_torn_one {
        to.write_all(b"\n")?;
    }
    to.write_all(line)?;
    to.flush()
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What [`Audit::memory`] has recorded so far.
#[derive(Clone, Debug, Default)]
pub struct AuditLog(Arc<Mutex<Vec<u8>>>);

impl AuditLog {
    /// The lines, oldest first, parsed.
    pub fn events(&self) -> Vec<serde_json::Value> {
        self.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The lines as written.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }

    /// Forgets the lines so far.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for AuditLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{ManualClock, UnixTime},
        telemetry::{Metrics, Pseudonymiser, Telemetry},
    };

    const PLAIN: AuditEvent<'static> = AuditEvent {
        action: Action::LoginEnd,
        outcome: Outcome::Rejected,
        reason: "jarm.expired",
        app: "bank",
        client: "main",
        subject: None,
        session: None,
        acr: None,
        request_id: "req-1",
        transaction: None,
    };

    fn clock() -> Arc<ManualClock> {
        ManualClock::at(UnixTime::new(0))
    }

    #[test]
    fn a_line_is_json_with_exactly_the_fields_that_apply() {
        let (audit, log) = Audit::memory(clock());
        audit.record(&PLAIN);
        assert_eq!(
            log.text(),
            concat!(
                r#"{"v":1,"ts":"1970-01-01T00:00:00Z","stream":"audit","seq":1,"action":"login.end","#,
                r#""outcome":"rejected","reason":"jarm.expired","app":"bank","client":"main","request_id":"req-1"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn persons_and_sessions_appear_as_pseudonyms_only() {
        let (audit, log) = Audit::memory(clock());
        let names = Pseudonymiser::new(&[3; 32]);
        let (who, which) =
            (names.subject("https://as.example", "alice@example"), names.session(b"key"));
        audit.record(&AuditEvent {
            subject: Some(&who),
            session: Some(&which),
            acr: Some("urn:acr:strong"),
            transaction: Some("tx"),
            ..PLAIN
        });
        let line = &log.events()[0];
        assert_eq!(line["subject"], who.as_str());
        assert_eq!(line["session"], which.as_str());
        assert_eq!(line["acr"], "urn:acr:strong");
        assert!(!log.text().contains("alice"));
    }

    #[test]
    fn nothing_from_outside_breaks_a_line_or_floods_the_stream() {
        let (audit, log) = Audit::memory(clock());
        let flood = "\u{e9}".repeat(10_000);
        audit.record(&AuditEvent { acr: Some("x\n{\"seq\":99}"), request_id: &flood, ..PLAIN });
        assert_eq!(log.text().lines().count(), 1);
        let line = &log.events()[0];
        assert_eq!(line["acr"], "x\n{\"seq\":99}");
        assert_eq!(line["request_id"].as_str().unwrap().chars().count(), LONGEST);
    }

    #[test]
    fn numbers_grow_by_one_in_the_order_of_the_lines_under_contention() {
        let (audit, log) = Audit::memory(clock());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| audit.record(&PLAIN)));
            }
        });
        let numbers: Vec<_> = log.events().iter().map(|e| e["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_is_appended_to_private_and_reopened_after_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("audit"), dir.path().join("audit.1"));
        std::fs::write(&path, "before\n").unwrap();
        let audit = Audit::to_file(&path, clock()).unwrap();
        audit.record(&PLAIN);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("before\n{\"v\":1"));
        std::fs::rename(&path, &moved).unwrap();
        audit.reopen().unwrap();
        audit.record(&PLAIN);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert_eq!(std::fs::read_to_string(&moved).unwrap().lines().count(), 2);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    /// `/dev/full` refuses every write.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_failing_sink_is_counted_and_stops_nobody() {
        let audit = Audit::to_file(Path::new("/dev/full"), clock()).unwrap();
        let telemetry = Telemetry::new(Metrics::new(), audit);
        telemetry.audit.record(&PLAIN);
        telemetry.audit.record(&PLAIN);
        let text = telemetry.metrics.render();
        assert!(text.contains("fapi_bff_audit_lines_lost_total 2"), "{text}");
        assert!(text.contains("fapi_bff_audit_lines_total 0"), "{text}");
    }
}
