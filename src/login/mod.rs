//! Owns the life of a login: start, the answer, the session at its end, and the way out through
//! the AS. Must not know: HTTP types; cookies pass through as names and sealed text.

mod end;
mod failure;
mod logout;
mod start;
mod transactions;

use std::{fmt, sync::Arc};

pub use end::{Answer, Ended};
pub use failure::{Channel, LoginFailure};
pub use logout::{LeaveTaking, Left};
pub use start::{Start, Started};
pub use transactions::SealedTransaction;

use crate::{
    clock::Ambient,
    protocol::Mode,
    provider::Provider,
    seal::{HashKey, SealingKey, ServerKey},
    session::{Policy, Sessions},
    telemetry::Telemetry,
};

/// What one app allows and demands of its logins.
#[derive(Clone, Debug)]
pub struct LoginPolicy {
    /// Where the AS returns to in SPA-driven mode; a page of the app.
    pub spa_redirect_uri: String,
    /// Where the AS returns to in navigation mode; the BFF's callback.
    pub navigation_redirect_uri: String,
    /// Where the AS returns to after a logout; the BFF's logout callback.
    pub post_logout_redirect_uri: String,
    /// Authorization parameters the app's pages may set.
    pub allowed_parameters: Vec<String>,
    /// `acr_values` of every login, best first.
    pub acr_values: Vec<String>,
    /// Whether one of them must be reached.
    pub require_acr: bool,
    /// `max_age` of every login, seconds.
    pub max_age: Option<u32>,
    /// Seconds a login may take.
    pub transaction_lifetime: i64,
    /// Logins one browser may have under way.
    pub max_transactions: usize,
    /// Whether pages name the consent that a login is to authorize.
    pub names_consent: bool,
    /// ID-token claims shown to the app's pages.
    pub claims: Vec<String>,
    /// Whether tokens are given up at the AS when a session ends.
    pub revoke_on_logout: bool,
}

impl LoginPolicy {
    /// Where the AS returns to in this mode.
    fn redirect_uri(&self, mode: Mode) -> &str {
        match mode {
            Mode::Spa => &self.spa_redirect_uri,
            Mode::Navigation => &self.navigation_redirect_uri,
        }
    }
}

/// One app's logins.
pub struct Login {
    app: String,
    policy: LoginPolicy,
    session_policy: Policy,
    provider: Arc<Provider>,
    sessions: Arc<Sessions>,
    transaction_seal: SealingKey,
    logout_seal: SealingKey,
    key_seeds: HashKey,
    ambient: Ambient,
    telemetry: Telemetry,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("app", &self.app).finish_non_exhaustive()
    }
}

impl Login {
    /// Whether the app's pages may set this authorization parameter.
    pub fn allows(&self, parameter: &str) -> bool {
        self.policy.allowed_parameters.iter().any(|allowed| allowed == parameter)
    }

    /// The logins of the app called `app`, sealed under keys derived from `key`.
    #[expect(clippy::too_many_arguments, reason = "the one place where a login's parts meet")]
    pub fn new(
        app: String,
        policy: LoginPolicy,
        session_policy: Policy,
        provider: Arc<Provider>,
        sessions: Arc<Sessions>,
        key: &ServerKey,
        ambient: Ambient,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            transaction_seal: key.derive("login-transaction v1"),
            logout_seal: key.derive("logout v1"),
            key_seeds: key.hash_key("login-key v1"),
            app,
            policy,
            session_policy,
            provider,
            sessions,
            ambient,
            telemetry,
        }
    }
}
