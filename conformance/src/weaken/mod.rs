//! Proof that the harness notices: a copy of the source loses one security check, is built, and the
//! modules that must notice are played against it. The product has no hook for any of this; only the
//! copy is ever changed. It must not know how a module is played.

mod drive;
mod judge;
mod list;
mod table;
mod work;

use std::{io, path::PathBuf};

pub use drive::{Errand, Tick, run};
pub use judge::{Finding, Outcome};
pub use list::{Misfit, Weakening, all, sample};
pub use table::{table, time_left};

/// The module that must hold in every copy whose weakening leaves the client's own requests alone: a
/// product that no longer logs in is broken, not weakened.
pub const CONTROL: &str = "fapi2-security-profile-final-client-test-happy-path";

/// Why nothing can be proven.
#[derive(Debug, thiserror::Error)]
pub enum WeakenFault {
    /// The list of weakenings.
    #[error("conformance/weakenings.toml: {0}")]
    List(#[source] Box<toml::de::Error>),
    /// Nothing is called so.
    #[error("no weakening is called {0}: see `cargo conformance weaken --list`")]
    Unknown(String),
    /// A file of the copy or beside it.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds something that is not ours to delete.
    #[error("{}: there are files here that this command did not make; name another folder with --work", .0.display())]
    Foreign(PathBuf),
    /// Somebody else works there.
    #[error("{}: another run is at work here; wait for it or name another folder with --work", .0.display())]
    Busy(PathBuf),
    /// There is no source.
    #[error("{}: no source of fapi-bff here", .0.display())]
    NoSource(PathBuf),
    /// A program cannot be started.
    #[error("{program} cannot be run: {source}")]
    Program {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The unweakened copy does not build.
    #[error("the unweakened copy does not build, so nothing can be proven:\n{0}")]
    Baseline(String),
    /// The unweakened copy fails where weakened ones should.
    #[error("the unweakened copy does not pass, so nothing can be proven:\n{0}")]
    Void(String),
}
