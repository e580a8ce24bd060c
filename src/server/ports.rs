//! Owns the adapters by which floors that must not know each other meet: forwarding gets its gate,
//! sessions get their refresher, both get their observers. Must not know: rules of either side.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method, Uri};
use tokio::time::Instant;

use super::front::REQUEST_ID;
use crate::{
    admission::Admission,
    clock::Ambient,
    protocol::{Authentication, Prover, Target, Token},
    provider::{AsFailureKind, Provider, RedeemFailure, Refresh, TokenFailure},
    proxy::{
        Admitted, Credential, CredentialFault, Gate, Lifetime, Need, Observer, Renewal, Standing,
        TokenSource, credential,
    },
    session::{
        Activity, BoxFuture, Cause, Handle, Observer as SessionEvents, RefreshFailure,
        RefreshGrant, RefreshOutcome, RefreshedTokens, Refresher, Session, TokenTrouble,
    },
    telemetry::{Action, AuditEvent, Outcome, Pseudonym, Telemetry},
    web::{ErrorAnswer, ErrorCode, Guard, Refusal},
};

/// Renews tokens at the AS.
pub(super) struct ProviderRefresher {
    provider: Arc<Provider>,
    /// The app's resource servers.
    resources: Vec<String>,
    /// Members of details that the AS may add.
    enrichable: Vec<String>,
    ambient: Ambient,
}

impl ProviderRefresher {
    pub(super) const fn new(
        provider: Arc<Provider>,
        resources: Vec<String>,
        enrichable: Vec<String>,
        ambient: Ambient,
    ) -> Self {
        Self { provider, resources, enrichable, ambient }
    }
}

impl fmt::Debug for ProviderRefresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderRefresher").finish_non_exhaustive()
    }
}

impl Refresher for ProviderRefresher {
    fn refresh<'a>(
        &'a self,
        grant: RefreshGrant<'a>,
    ) -> BoxFuture<'a, Result<RefreshedTokens, RefreshFailure>> {
        Box::pin(async move {
            let prover = grant.key_seed.map(|seed| self.provider.prover(seed)).transpose();
            let prover = prover.map_err(|_| RefreshFailure::AsTrouble { reason: "as.not_made" })?;
            let tokens = self
                .provider
                .refresh(
                    Refresh {
                        refresh_token: grant.refresh_token,
                        scope: grant.scope,
                        details: grant.details,
                        enrichable: &self.enrichable,
                        target: grant.target,
                        resources: &self.resources,
                        original: grant.continuity,
                    },
                    prover.as_ref(),
                )
                .await
                .map_err(|failure| classify(&failure, grant.target.is_some()))?;
            let now = self.ambient.now();
            Ok(RefreshedTokens {
                access_expires: tokens
                    .expires_in
                    .map(|seconds| now.plus(i64::try_from(seconds).unwrap_or(i64::MAX))),
                scope: tokens.scope.clone(),
                access_token: tokens.access_token.clone(),
                refresh_token: tokens.refresh_token.clone(),
                id_token: tokens.id_token.clone(),
                authorization_details: tokens.authorization_details.clone(),
            })
        })
    }

    fn discard(&self, tokens: RefreshedTokens) -> BoxFuture<'_, ()> {
        self.provider.give_up(tokens.refresh_token, Some(tokens.access_token));
        Box::pin(std::future::ready(()))
    }
}

/// What a failed token request says about the grant. Only `invalid_grant` says it is dead; whatever
/// may have reached the AS without a believable answer leaves it unknown. `narrowed` tells whether the
/// request was for a target, which may be what is wrong with it (RES-2.1/2.2).
fn classify(failure: &RedeemFailure, narrowed: bool) -> RefreshFailure {
    let reason = failure.reason();
    match failure {
        RedeemFailure::Call(call) => match &call.kind {
            AsFailureKind::Rejected { error, .. } if error.as_str() == "invalid_grant" => {
                RefreshFailure::GrantDead
            }
            AsFailureKind::Rejected { error, .. }
                if narrowed && matches!(error.as_str(), "invalid_target" | "invalid_scope") =>
            {
                RefreshFailure::TargetRefused
            }
            AsFailureKind::TimedOut { sent: true }
            | AsFailureKind::Broken { sent: true }
            | AsFailureKind::Malformed { .. } => RefreshFailure::Unknown { reason },
            _ => RefreshFailure::AsTrouble { reason },
        },
        // The tokens came, but their ID token could not be judged for want of keys.
        RedeemFailure::IdToken(TokenFailure::Keys(_)) => RefreshFailure::Unknown { reason },
        _ => RefreshFailure::Rejected { reason },
    }
}

/// Lets requests through to an app's APIs.
pub(super) struct AppGate {
    guard: Guard,
    admission: Arc<Admission>,
    client: String,
    provider: Arc<Provider>,
    ambient: Ambient,
    telemetry: Telemetry,
}

impl AppGate {
    pub(super) const fn new(
        guard: Guard,
        admission: Arc<Admission>,
        client: String,
        provider: Arc<Provider>,
        ambient: Ambient,
        telemetry: Telemetry,
    ) -> Self {
        Self { guard, admission, client, provider, ambient, telemetry }
    }

    fn guest(&self, handle: Handle, session: Session, target: Option<&Target>) -> Guest {
        let left = session.absolute_expires().since(self.ambient.now());
        let left = Duration::from_secs(u64::try_from(left).unwrap_or_default());
        let deadline = Instant::now().checked_add(left);
        let possession = match session.key_seed().map(|seed| self.provider.prover(seed)) {
            None => Possession::OfTheToken,
            Some(Ok(prover)) => Possession::OfAKey(prover),
            Some(Err(_)) => Possession::Unprovable,
        };
        let token = session.access_token_for(target).cloned();
        Guest { handle, session, token, deadline, possession, ambient: self.ambient.clone() }
    }
}

impl fmt::Debug for AppGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppGate").field("app", &self.admission.app).finish_non_exhaustive()
    }
}

/// What the session's access token is worth by itself.
enum Possession {
    /// Whoever has it, and the certificate it may be bound to, can use it.
    OfTheToken,
    /// It takes proofs by the key it is bound to.
    OfAKey(Prover),
    /// It is bound to a key that cannot be made: it is sent to nobody (DPOP-7.2).
    Unprovable,
}

/// A session let in.
pub(super) struct Guest {
    handle: Handle,
    session: Session,
    /// The one its requests carry.
    token: Option<Token>,
    deadline: Option<Instant>,
    possession: Possession,
    ambient: Ambient,
}

impl Admitted for Guest {
    fn credential(&self, method: &Method, target: &Uri) -> Result<Credential, CredentialFault> {
        let token = self.token.as_ref().map_or("", Token::expose);
        match &self.possession {
            Possession::OfTheToken => Credential::bearer(token),
            Possession::OfAKey(prover) => {
                Credential::dpop(token, prover, &self.ambient, method, target)
            }
            Possession::Unprovable => Err(CredentialFault::Unsigned),
        }
    }

    fn learn(&self, target: &Uri, headers: &HeaderMap) {
        if let Possession::OfAKey(prover) = &self.possession {
            credential::learn(prover, target, headers);
        }
    }

    fn standing(&self) -> Standing<'_> {
        let identity = self.session.identity();
        Standing {
            session: self.session.pseudonym().as_str(),
            person: self.session.subject_pseudonym().map(Pseudonym::as_str),
            began: self.session.created(),
            authentication: Authentication {
                acr: identity.acr.as_deref(),
                auth_time: identity.auth_time,
            },
            details: self.session.authorization_details(),
        }
    }

    /// No stream outlives the session's absolute end (PXY-6).
    fn lifetime(&self) -> Lifetime {
        Lifetime { ended: None, deadline: self.deadline }
    }
}

impl Gate for AppGate {
    type Session = Guest;
    type Refusal = Refusal;

    fn guard(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.guard.api(headers).map_err(|rejection| {
            let app = &self.admission.app;
            let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("none");
            tracing::info!(app, request_id = id, reason = rejection.reason(), "turned away");
            self.telemetry.metrics.guard_rejected(app, rejection.reason());
            self.telemetry.audit.record(&AuditEvent {
                action: Action::GuardReject,
                outcome: Outcome::Rejected,
                reason: rejection.reason(),
                app,
                client: &self.client,
                subject: None,
                session: None,
                acr: None,
                request_id: id,
                transaction: None,
            });
            ErrorAnswer::new(ErrorCode::CsrfRejected).into()
        })
    }

    async fn admit(&self, headers: &HeaderMap, need: Need<'_>) -> Result<Guest, Refusal> {
        let (handle, session) = self.admission.session(headers, Activity::Counts).await?;
        match need {
            Need::Session => Ok(self.guest(handle, session, None)),
            Need::Token(TokenSource::User(target)) => {
                let session = self.admission.with_token(&handle, session, target.as_ref()).await?;
                Ok(self.guest(handle, session, target.as_ref()))
            }
        }
    }

    async fn renew(&self, guest: Guest, source: &TokenSource) -> Renewal<Guest, Refusal> {
        let Guest { handle, session, .. } = guest;
        let cause = Cause::UpstreamRejected { used_version: session.version() };
        let TokenSource::User(target) = source;
        let target = target.as_ref();
        match self.admission.renew(&handle, cause, target).await.into_result() {
            Ok(session) => Renewal::Renewed(self.guest(handle, session, target)),
            Err(
                trouble @ (TokenTrouble::GrantDead
                | TokenTrouble::Ended(_)
                | TokenTrouble::StoreUnavailable),
            ) => Renewal::Refused(self.admission.trouble(trouble)),
            Err(_) => Renewal::Unchanged,
        }
    }
}

/// Where forwarding reports to.
#[derive(Debug)]
pub(super) struct AppObserver {
    app: String,
    telemetry: Telemetry,
}

impl AppObserver {
    pub(super) const fn new(app: String, telemetry: Telemetry) -> Self {
        Self { app, telemetry }
    }
}

impl Observer for AppObserver {
    fn upstream(&self, route: &str, class: &'static str, seconds: f64) {
        self.telemetry.metrics.upstream(&self.app, route, class, seconds);
    }

    fn stream_opened(&self) {
        self.telemetry.metrics.upstream_stream_opened(&self.app);
    }

    fn stream_closed(&self) {
        self.telemetry.metrics.upstream_stream_closed(&self.app);
    }

    fn set_cookie_dropped(&self, route: &str) {
        tracing::warn!(app = %self.app, route, "an upstream's Set-Cookie was dropped");
    }

    fn interaction_mismatch(&self, route: &str) {
        tracing::warn!(app = %self.app, route, "an upstream answered with another x-fapi-interaction-id");
    }

    fn step_up(&self, route: &str, outcome: &'static str) {
        tracing::info!(app = %self.app, route, outcome, "the user is to authenticate otherwise");
        self.telemetry.metrics.step_up(&self.app, route, outcome);
    }
}

/// Where sessions report to.
#[derive(Debug)]
pub(super) struct SessionObserver {
    telemetry: Telemetry,
    /// Client by app, for audit.
    clients: BTreeMap<String, String>,
}

impl SessionObserver {
    pub(super) const fn new(telemetry: Telemetry, clients: BTreeMap<String, String>) -> Self {
        Self { telemetry, clients }
    }

    fn audit(
        &self,
        action: Action,
        outcome: Outcome,
        reason: &str,
        app: &str,
        session: Option<&Pseudonym>,
    ) {
        self.telemetry.audit.record(&AuditEvent {
            action,
            outcome,
            reason,
            app,
            client: self.clients.get(app).map_or("none", String::as_str),
            subject: None,
            session,
            acr: None,
            // A session's life is nobody's request: one refresh serves many.
            request_id: "none",
            transaction: None,
        });
    }
}

impl SessionEvents for SessionObserver {
    fn refresh(&self, app: &str, session: &Pseudonym, outcome: &RefreshOutcome, seconds: f64) {
        self.telemetry.metrics.refresh(app, outcome.name(), seconds);
        let judged = match outcome {
            // Nothing happened that was not recorded already.
            RefreshOutcome::Joined(_) => return,
            RefreshOutcome::Refreshed(_) => Outcome::Success,
            RefreshOutcome::GrantDead | RefreshOutcome::Rejected { .. } => Outcome::Rejected,
            _ => Outcome::Failed,
        };
        self.audit(Action::SessionRefresh, judged, outcome.reason(), app, Some(session));
    }

    fn session_started(&self, session: &Session) {
        self.telemetry.metrics.session_started(session.app());
    }

    fn session_ended(
        &self,
        app: &str,
        session: Option<&Pseudonym>,
        reason: &'static str,
        count: u64,
    ) {
        self.telemetry.metrics.sessions_ended(app, reason, count);
        for _ in 0..count {
            self.audit(Action::SessionEnd, Outcome::Success, reason, app, session);
        }
    }

    fn store_operation(&self, operation: &'static str, outcome: &'static str, seconds: f64) {
        self.telemetry.metrics.store_operation(operation, outcome, seconds);
    }

    fn unreadable(&self, app: &str) {
        self.telemetry.metrics.store_operation("open", "unreadable", 0.0);
        tracing::error!(app, "a session record does not open: damaged, or tampered with");
    }
}
