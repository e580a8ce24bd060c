//! Owns how a mistake in the configuration is told: where, whence, what, and what to do.
//! Must not know: which mistakes there are.

use std::fmt;

use serde::Serialize;

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Fault {
    /// The setting, such as `clients.web.scopes[0]`; empty when no single setting is at fault.
    pub path: String,
    /// Where the value came from.
    pub source: Source,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Source {
    /// Nobody wrote it.
    Default,
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The configuration file.
    File {
        /// Its name as given.
        name: String,
        /// Line, from 1.
        line: Option<usize>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default value"),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::File { name, line: Some(line) } => write!(f, "{name}:{line}"),
            Self::File { name, line: None } => f.write_str(name),
        }
    }
}

/// Every mistake found, at least one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Wraps what was found.
    pub const fn new(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    /// The mistakes in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.len() == 1 { "mistake" } else { "mistakes" };
        write!(f, "{} {plural} in the configuration", self.len())?;
        for Fault { path, source, message, remedy } in self {
            let path = if path.is_empty() { "(file)" } else { path };
            write!(f, "\n\n{path}\n  wrong:  {message}\n  from:   {source}\n  remedy: {remedy}")?;
        }
        Ok(())
    }
}
