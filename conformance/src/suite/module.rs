//! One module: what the authorization server or an attacker does, what the client must do, which
//! clauses that proves, and the script that plays it. It must not know plans, runs or reports.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use super::{client::Client, exam::Ending, stage::Stage, world::Setup};

/// Why a script ended before its end. The condition log has the details.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Halt {
    /// A condition that cannot be passed over did not hold; it is in the log.
    Condition,
    /// The harness could not go on: no answer, no file, no port.
    Trouble(String),
    /// Nothing can be tested, for this reason.
    Skip(String),
}

impl From<String> for Halt {
    fn from(trouble: String) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<super::world::WorldFault> for Halt {
    fn from(fault: super::world::WorldFault) -> Self {
        match fault {
            // No fault of the BFF, and none of the harness: it just cannot be tested there.
            super::world::WorldFault::Elsewhere(_) => Self::Skip(fault.to_string()),
            _ => Self::Trouble(fault.to_string()),
        }
    }
}

impl From<crate::jws::JwsFault> for Halt {
    fn from(fault: crate::jws::JwsFault) -> Self {
        Self::Trouble(format!("a token of the harness could not be made: {}", fault.reason()))
    }
}

/// What a step of a script gives.
pub type Step<T = ()> = Result<T, Halt>;

/// A script under way.
pub type Playing<'a> = Pin<Box<dyn Future<Output = Step> + Send + 'a>>;

type Script = Arc<dyn for<'a> Fn(&'a mut Stage) -> Playing<'a> + Send + Sync>;

/// One module.
#[derive(Clone)]
pub struct Module {
    /// Its id: the official suite's where it has such a module.
    pub id: String,
    /// What the authorization server (or attacker) does.
    pub does: String,
    /// What the client must do.
    pub must: String,
    /// The clauses it proves.
    pub clauses: Vec<&'static str>,
    /// Reason codes of which the audit stream must show one; empty if it must show no rejection.
    pub reasons: Vec<&'static str>,
    /// Whether the audit stream is left to the script.
    pub own_audit: bool,
    /// Rules of the authorization server and the API that the script makes the client break.
    pub provoked: Vec<&'static str>,
    /// What must be arranged before it starts.
    pub setup: Setup,
    /// When it is over.
    pub ending: Ending,
    script: Script,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Module {
    /// A module whose script decides when it is over. Audit reasons are its own affair until
    /// [`Self::reasons`] names some.
    pub fn new<F>(id: &str, does: &str, must: &str, clauses: &[&'static str], script: F) -> Self
    where
        F: for<'a> Fn(&'a mut Stage) -> Playing<'a> + Send + Sync + 'static,
    {
        Self {
            id: id.to_owned(),
            does: does.to_owned(),
            must: must.to_owned(),
            clauses: clauses.to_vec(),
            reasons: Vec::new(),
            own_audit: true,
            provoked: Vec::new(),
            setup: Setup::default(),
            ending: Ending::Script,
            script: Arc::new(script),
        }
    }

    /// The audit stream must show one of these reasons (or, if there are none, no rejection).
    #[must_use]
    pub fn reasons(mut self, reasons: &[&'static str]) -> Self {
        self.reasons = reasons.to_vec();
        self.own_audit = false;
        self
    }

    /// The script makes the client break these rules of the authorization server or the API, by name:
    /// that it is refused for them is what is wanted. Every other refusal fails the module.
    #[must_use]
    pub fn provoking(mut self, rules: &[&'static str]) -> Self {
        self.provoked = rules.to_vec();
        self
    }

    /// When it is over.
    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// With other settings: replacements in [`super::world::CONFIGURATION`].
    #[must_use]
    pub fn configured(mut self, from: &'static str, to: &str) -> Self {
        self.setup.configuration.push((from, to.to_owned()));
        self
    }

    /// With another client, and a server that conducts itself accordingly.
    #[must_use]
    pub fn with_client(mut self, client: Client) -> Self {
        self.setup.client = client;
        self
    }

    /// With an authorization server that is prepared before the BFF meets it.
    #[must_use]
    pub fn prepared(
        mut self,
        before: impl Fn(&crate::as_double::AsDouble) + Send + Sync + 'static,
    ) -> Self {
        self.setup.before = Some(Arc::new(before));
        self.setup.fresh = true;
        self
    }

    /// With an authorization server that behaves so from the start; the BFF may have met it before.
    #[must_use]
    pub fn behaving(
        mut self,
        before: impl Fn(&crate::as_double::AsDouble) + Send + Sync + 'static,
    ) -> Self {
        self.setup.before = Some(Arc::new(before));
        self
    }

    /// With a clock that the script moves.
    #[must_use]
    pub fn timed(mut self) -> Self {
        self.setup.clock = true;
        self
    }

    /// Plays it.
    pub fn play<'a>(&self, stage: &'a mut Stage) -> Playing<'a> {
        (self.script)(stage)
    }
}
