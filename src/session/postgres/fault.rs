//! Owns what can go wrong with PostgreSQL, in words for operators that hold no key, value or secret.
//! Must not know: who asked for what.

use std::{error::Error as _, fmt::Write as _};

use tokio_postgres::{Error, error::SqlState};

use crate::{session::store::StoreUnavailable, tls::TlsFault};

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresFault {
    /// A certificate, a key or the trust roots cannot be used.
    #[error("PostgreSQL: {0}")]
    Tls(#[from] TlsFault),
    /// No host let us in; what each said.
    #[error("PostgreSQL: no server can be used: {0}")]
    Unreachable(String),
    /// The schema is older than this program, or not there.
    #[error(
        "PostgreSQL: schema `{schema}` has version {found}, this program needs {known}; run `fapi-bff store migrate --config FILE`, with a user that may create tables"
    )]
    Behind {
        /// Name of the schema.
        schema: String,
        /// Its version; 0 if there is none.
        found: i32,
        /// What this program needs.
        known: i32,
    },
    /// The schema was brought up by a newer program.
    #[error(
        "PostgreSQL: schema `{schema}` has version {found}, this program knows {known} only; run the newer program"
    )]
    Newer {
        /// Name of the schema.
        schema: String,
        /// Its version.
        found: i32,
        /// What this program knows.
        known: i32,
    },
    /// A step of the migration failed; nothing of it remains.
    #[error("PostgreSQL: migration {step} failed, and nothing was changed: {message}")]
    Migration {
        /// Which step.
        step: String,
        /// What the server said.
        message: String,
    },
    /// The server said no, or the connection broke.
    #[error("PostgreSQL: {}", described(.0))]
    Server(#[from] Error),
    /// An answer without the columns that were asked for.
    #[error("PostgreSQL: an answer that makes no sense")]
    Nonsense,
    /// No answer, or no free connection, within the limit.
    #[error("PostgreSQL: no answer in time")]
    TimedOut,
}

impl PostgresFault {
    /// Stable machine reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Tls(_) => "store.tls",
            Self::Unreachable(_) => "store.unreachable",
            Self::Behind { .. } | Self::Newer { .. } => "store.schema",
            Self::Migration { .. } => "store.migration",
            Self::Server(_) | Self::Nonsense => "store.server",
            Self::TimedOut => "store.timed_out",
        }
    }

    /// The same as the one who asked gets to know it: never "absent".
    pub(super) fn unavailable(&self) -> StoreUnavailable {
        StoreUnavailable(match self {
            Self::Tls(_) => "TLS cannot be set up",
            Self::Unreachable(_) => "no server can be used",
            Self::Behind { .. } => "the schema is not migrated: run `fapi-bff store migrate`",
            Self::Newer { .. } => "the schema is newer than this program",
            Self::Migration { .. } => "the schema cannot be migrated",
            Self::Server(error) => match error.code() {
                None => "the connection broke",
                Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => "the server is read-only",
                Some(&SqlState::QUERY_CANCELED) => "the statement took too long",
                Some(&SqlState::LOCK_NOT_AVAILABLE) => "the record stayed locked",
                Some(&SqlState::INSUFFICIENT_PRIVILEGE) => "the user lacks a privilege",
                Some(_) => "the server failed",
            },
            Self::Nonsense => "the server's answer makes no sense",
            Self::TimedOut => "no answer in time",
        })
    }

    /// Whether the connection it happened on, and its siblings, had better not be used again: lost,
    /// shutting down, fallen back to a standby, or without our prepared statements.
    pub(super) fn spoils_connection(&self) -> bool {
        match self {
            Self::Server(error) => error.code().is_none_or(|code| {
                let class = code.code().get(..2).unwrap_or_default();
                matches!(class, "08" | "58" | "XX")
                    || code.code().starts_with("57P")
                    || [
                        SqlState::READ_ONLY_SQL_TRANSACTION,
                        SqlState::INVALID_SQL_STATEMENT_NAME,
                        SqlState::FEATURE_NOT_SUPPORTED,
                        SqlState::UNDEFINED_TABLE,
                    ]
                    .contains(code)
            }),
            _ => true,
        }
    }

    /// Whether the connection was lost, so that nobody knows whether the statement was carried out.
    pub(super) fn lost_connection(&self) -> bool {
        matches!(self, Self::Server(error) if error.code().is_none()
            || error.code() == Some(&SqlState::ADMIN_SHUTDOWN)
            || error.code() == Some(&SqlState::CRASH_SHUTDOWN))
    }
}

/// What the server said, without its details, which can quote values.
pub(super) fn described(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}
