//! Owns the life of a login: start, the answer, the session at its end, and the way out through
//! the AS. Must not know: HTTP types; cookies pass through as names and sealed text.

mod authorization;
mod end;
mod failure;
mod logout;
mod own;
mod remote_logout;
mod start;
mod transactions;

use std::{collections::BTreeMap, fmt, sync::Arc};

pub use authorization::{IntentFailure, Intents, Template};
pub use end::{Answer, Ended};
pub use failure::{Channel, LoginFailure};
pub use logout::{LeaveTaking, Left};
pub use remote_logout::{RemoteLogout, RemoteLogoutFailure};
pub use start::{Start, Started};
pub use transactions::SealedTransaction;

use serde_json::{Map, Value};

use crate::{
    clock::Ambient,
    config::SessionLimit,
    protocol::{AuthorizationDetails, Mode},
    provider::Provider,
    seal::{HashKey, KeyRing, Ring, SealingKey},
    session::{Activity, FindError, Handle, Policy, Session, Sessions},
    telemetry::Telemetry,
};

/// What one app allows and demands of its logins.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that an operator throws one by one")]
pub struct LoginPolicy {
    /// Where the AS returns to in SPA-driven mode; a page of the app.
    pub spa_redirect_uri: String,
    /// Where the AS returns to in navigation mode; the BFF's callback.
    pub navigation_redirect_uri: String,
    /// Where the AS returns to after a logout; the BFF's logout callback.
    pub post_logout_redirect_uri: String,
    /// Below this path lie the BFF's own calls.
    pub prefix: String,
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
    /// Whether `acr_values` are asked for as an essential claim, where the AS reads that
    /// (OIDC-3.1.3.7-12).
    pub essential_acr: bool,
    /// Claims asked for one by one, `acr` aside (OpenID Connect Core §5.5).
    pub requested_claims: Map<String, Value>,
    /// Asked for in detail at every login (RAR-2).
    pub details: Option<AuthorizationDetails>,
    /// What the app's pages may have authorized by name.
    pub authorizations: BTreeMap<String, Template>,
    /// Members of details that the AS may add to what was asked for.
    pub enrichable: Vec<String>,
    /// The resource servers tokens are asked for (RES-2.1/2.2); a session's first access token is for
    /// the first of them.
    pub resources: Vec<String>,
    /// Whether tokens are given up at the AS when a session ends.
    pub revoke_on_logout: bool,
    /// How many sessions one person may have, if that is limited (SES-7.1.2).
    pub session_limit: Option<SessionLimit>,
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
    transaction_seal: Ring<SealingKey>,
    logout_seal: Ring<SealingKey>,
    key_seeds: Ring<HashKey>,
    ambient: Ambient,
    telemetry: Telemetry,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("app", &self.app).finish_non_exhaustive()
    }
}

impl Login {
    /// Whether this client obtained a session's tokens from this issuer; an app may have had another
    /// one when the session began (FAPI2-SP-6.3).
    fn is_of_this_client(&self, session: &Session) -> bool {
        let registration = self.provider.registration();
        session.is_of(&registration.label, &registration.issuer)
    }

    /// The living session of a handle, if this client obtained its tokens from this issuer.
    async fn live(&self, handle: &Handle) -> Result<Option<Session>, LoginFailure> {
        let found =
            self.sessions.find(&self.app, handle, &self.session_policy, Activity::Polls).await;
        match found {
            Ok(session) => Ok(Some(session).filter(|session| self.is_of_this_client(session))),
            Err(FindError::NoSession(_)) => Ok(None),
            Err(FindError::StoreUnavailable) => Err(LoginFailure::StoreUnavailable),
        }
    }

    /// Whether the app's pages may set this authorization parameter.
    pub fn allows(&self, parameter: &str) -> bool {
        self.policy.allowed_parameters.iter().any(|allowed| allowed == parameter)
    }

    /// The logins of the app called `app`, sealed under keys derived from those of `ring`.
    #[expect(clippy::too_many_arguments, reason = "the one place where a login's parts meet")]
    pub fn new(
        app: String,
        policy: LoginPolicy,
        session_policy: Policy,
        provider: Arc<Provider>,
        sessions: Arc<Sessions>,
        ring: &KeyRing,
        ambient: Ambient,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            transaction_seal: ring.derive("login-transaction v1"),
            logout_seal: ring.derive("logout v1"),
            key_seeds: ring.hash_keys("login-key v1"),
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
