//! Owns the set-up of structured logs on standard error.
//! Must not know what is logged; but it keeps libraries below `info` silent, because at `debug` and
//! `trace` HTTP libraries print header values, and those are tokens and cookies.

use std::io;

use tracing::{Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// How a log line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For reading in a terminal.
    Text,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingFault {
    /// `level` is neither a level nor a list of `module=level`.
    #[error("`{level}` is not a log level: use error, warn, info, debug or trace")]
    Level {
        /// What was given.
        level: String,
    },
    /// Somebody else has set up logging in this process.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Sends the process's logs to standard error. `level` is `error`, `warn`, `info`, `debug`, `trace`,
/// or a list like `info,fapi_bff::session=debug`; no environment variable is consulted.
pub fn init_logging(level: &str, format: LogFormat) -> Result<(), LoggingFault> {
    log_subscriber(level, format, io::stderr)?.try_init().map_err(|_| LoggingFault::AlreadySet)
}

/// What [`init_logging`] installs, writing to `writer` instead.
pub fn log_subscriber<W>(
    level: &str,
    format: LogFormat,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingFault>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(level)
        .map_err(|_| LoggingFault::Level { level: level.to_owned() })?;
    let ours_or_harmless = filter_fn(|metadata| {
        *metadata.level() <= Level::INFO || metadata.target().starts_with("fapi_bff")
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    let lines = lines.with_filter(ours_or_harmless);
    Ok(Box::new(tracing_subscriber::registry().with(filter).with(lines)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: LogFormat, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = log_subscriber(level, format, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn libraries_never_log_below_info_whatever_the_level() {
        let out = logged("trace", LogFormat::Json, || {
            tracing::trace!(target: "h2::proto", "authorization: DPoP secret");
            tracing::debug!(target: "hyper_util::client", "cookie: secret");
            tracing::info!(target: "hyper_util::client", "harmless");
            tracing::debug!(target: "fapi_bff::session", "ours");
        });
        assert!(!out.contains("secret"), "{out}");
        assert!(out.contains("harmless") && out.contains("ours"), "{out}");
    }

    #[test]
    fn a_line_is_one_json_object_even_with_line_breaks_in_values() {
        let out = logged("info", LogFormat::Json, || {
            tracing::info!(target: "fapi_bff", reason = "a\nb\u{1b}[31m", "message");
        });
        assert_eq!(out.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(line["reason"], "a\nb\u{1b}[31m");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_level_decides_and_nonsense_is_refused() {
        let quiet =
            logged("warn", LogFormat::Text, || tracing::info!(target: "fapi_bff", "hidden"));
        assert_eq!(quiet, "");
        assert!(matches!(
            log_subscriber("fapi_bff=loud", LogFormat::Text, io::sink),
            Err(LoggingFault::Level { .. })
        ));
    }
}
