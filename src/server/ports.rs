//! Owns the adapters by which floors that must not know each other meet: forwarding gets its gate,
//! sessions get their refresher, both get their observers. Must not know: rules of either side.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Uri};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    derived::{DerivedTokens, GiveUp, Kind},
    front::REQUEST_ID,
};
use crate::{
    admission::Admission,
    clock::Ambient,
    protocol::{Authentication, ExchangeRequest, Prover, Target, Token},
    provider::{
        AsFailureKind, IntrospectFailure, Kept, Provider, RedeemFailure, Refresh, TokenFailure,
    },
    proxy::{
        Admitted, Carrier, Credential, CredentialFault, Gate, Lifetime, Observer, Renewal,
        Standing, TokenSource, credential,
    },
    session::{
        Activity, BoxFuture, Cause, Handle, NotPacked, Observer as SessionEvents, RefreshFailure,
        RefreshGrant, RefreshOutcome, RefreshedTokens, Refresher, Session, TokenTrouble,
    },
    telemetry::{Action, AuditEvent, Outcome, Pseudonym, Telemetry},
    web::{ErrorAnswer, ErrorCode, Guard, Refusal},
};

/// How long after a session was let in its new cookies may still go out with an answer: half of the time
/// for which what they replace is looked after.
const COOKIES_ARE_GOOD: Duration = Duration::from_secs(30);

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
                // Without one to compare it with, nobody looked at it (OIDC-12.2).
                id_token: tokens.id_token.clone().filter(|_| grant.continuity.is_some()),
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
    derived: Arc<DerivedTokens>,
    /// What becomes of exchanged tokens when their session ends.
    give_up: GiveUp,
    telemetry: Telemetry,
}

impl AppGate {
    #[expect(clippy::too_many_arguments, reason = "the one place where a gate's parts meet")]
    pub(super) fn new(
        guard: Guard,
        admission: Arc<Admission>,
        client: String,
        provider: Arc<Provider>,
        ambient: Ambient,
        derived: Arc<DerivedTokens>,
        revoke: bool,
        telemetry: Telemetry,
    ) -> Self {
        let issuer = Arc::clone(&provider);
        let give_up: GiveUp = if revoke {
            Arc::new(move |token| issuer.give_up(None, Some(token)))
        } else {
            Arc::new(drop)
        };
        Self { guard, admission, client, provider, ambient, derived, give_up, telemetry }
    }

    fn guest(&self, handle: Handle, session: Session, sent: Sent) -> Guest {
        let left = session.absolute_expires().since(self.ambient.now());
        let left = Duration::from_secs(u64::try_from(left).unwrap_or_default());
        let deadline = Instant::now().checked_add(left);
        let ended = self.admission.watch(&session);
        let cookies = self.admission.renewed_cookies(&handle, &session);
        let ambient = self.ambient.clone();
        let armed = Instant::now();
        Guest { handle, session, sent, deadline, cookies, armed, ended, ambient }
    }

    /// The session's own access token for `target`.
    fn own(&self, session: &Session, target: Option<&Target>) -> Sent {
        match session.access_token_for(target) {
            Some(token) => Sent::Token(token.clone(), self.possession(session)),
            None => Sent::Nothing,
        }
    }

    /// What proves possession of what a session's tokens are bound to.
    fn possession(&self, session: &Session) -> Possession {
        match session.key_seed().map(|seed| self.provider.prover(seed)) {
            None => Possession::OfTheToken,
            Some(Ok(prover)) => Possession::OfAKey(prover),
            Some(Err(_)) => Possession::Unprovable,
        }
    }

    /// A token that is not the session's own; another one than was `refused`.
    async fn borrowed(
        &self,
        handle: &Handle,
        session: &Session,
        source: &TokenSource,
        refused: Option<&Token>,
    ) -> Result<Sent, Refusal> {
        match source {
            TokenSource::User(target) => Ok(self.own(session, target.as_ref())),
            TokenSource::Client(target) => {
                let token = self.provider.client_token(target, refused).await;
                let app = &self.admission.app;
                let token = token.map_err(|failure| not_had(app, failure.reason(), &failure))?;
                let possession = match self.provider.own_prover() {
                    Ok(None) => Possession::OfTheToken,
                    Ok(Some(prover)) => Possession::OfAKey(prover),
                    Err(_) => Possession::Unprovable,
                };
                Ok(Sent::Token(token, possession))
            }
            TokenSource::Exchange(request) => {
                let possession = self.possession(session);
                let request = ExchangeRequest::clone(request);
                let kind = Kind::Exchanged(request.clone());
                let fetch = || {
                    let (provider, admission) = self.parts();
                    let (handle, session) = (handle.clone(), session.clone());
                    let prover = match &possession {
                        Possession::OfAKey(prover) => Some(prover.clone()),
                        _ => None,
                    };
                    async move {
                        let (subject, proof) = (session.access_token(), prover.as_ref());
                        let kept = provider.exchange(subject, &request, proof).await;
                        let kept = kept.map_err(|failure| {
                            not_had(&admission.app, failure.reason(), &failure)
                        })?;
                        // A logout in between wins: it found nothing to give up yet.
                        if let Err(gone) = admission.find(&handle, Activity::Polls).await {
                            provider.give_up(None, Some(kept.token));
                            return Err(admission.not_found(gone));
                        }
                        Ok(kept)
                    }
                };
                let token = self.derived.get(session, kind, &self.give_up, refused, fetch).await?;
                Ok(Sent::Token(token, possession))
            }
            TokenSource::Introspection(carrier) => {
                let fetch = || {
                    let (provider, admission) = self.parts();
                    let (session, ambient) = (session.clone(), self.ambient.clone());
                    async move {
                        let word =
                            provider.introspect(session.access_token(), session.key_seed()).await;
                        let word = word.map_err(|failure| {
                            not_had(&admission.app, failure.reason(), &failure)
                        })?;
                        Ok(Kept::new(word.jwt, ambient.now(), word.expires))
                    }
                };
                let (kind, give_up) = (Kind::Introspected, &self.give_up);
                let jwt = self.derived.get(session, kind, give_up, refused, fetch).await?;
                Ok(Sent::Introspection(jwt, *carrier))
            }
        }
    }

    fn parts(&self) -> (Arc<Provider>, Arc<Admission>) {
        (Arc::clone(&self.provider), Arc::clone(&self.admission))
    }
}

/// What is said when a token for a route could not be had.
fn not_had(app: &str, reason: &'static str, failure: &dyn TokenFault) -> Refusal {
    tracing::warn!(app, reason, "no token for a route");
    let code = if failure.is_outage() {
        ErrorCode::AuthorizationServerUnavailable
    } else {
        ErrorCode::AuthorizationServerError
    };
    ErrorAnswer::new(code).into()
}

/// A token request that failed.
trait TokenFault {
    /// Whether waiting may help.
    fn is_outage(&self) -> bool;
}

impl TokenFault for RedeemFailure {
    fn is_outage(&self) -> bool {
        matches!(self, Self::Call(failure) if failure.is_outage())
    }
}

impl TokenFault for IntrospectFailure {
    fn is_outage(&self) -> bool {
        matches!(self, Self::Call(failure) if failure.is_outage())
    }
}

impl fmt::Debug for AppGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppGate").field("app", &self.admission.app).finish_non_exhaustive()
    }
}

/// What the requests of a guest carry.
enum Sent {
    /// Nothing of the kind.
    Nothing,
    /// An access token.
    Token(Token, Possession),
    /// The AS's signed word on the session's.
    Introspection(Token, Carrier),
}

impl Sent {
    const fn token(&self) -> Option<&Token> {
        match self {
            Self::Nothing => None,
            Self::Token(token, _) | Self::Introspection(token, _) => Some(token),
        }
    }
}

/// What an access token is worth by itself.
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
    sent: Sent,
    deadline: Option<Instant>,
    cookies: Vec<HeaderValue>,
    armed: Instant,
    ended: Arc<CancellationToken>,
    ambient: Ambient,
}

impl Admitted for Guest {
    fn credential(&self, method: &Method, target: &Uri) -> Result<Credential, CredentialFault> {
        match &self.sent {
            Sent::Nothing | Sent::Token(_, Possession::Unprovable) => {
                Err(CredentialFault::Unsigned)
            }
            Sent::Token(token, Possession::OfTheToken) => Credential::bearer(token.expose()),
            Sent::Token(token, Possession::OfAKey(prover)) => {
                Credential::dpop(token.expose(), prover, &self.ambient, method, target)
            }
            Sent::Introspection(jwt, Carrier::Bearer) => Credential::bearer(jwt.expose()),
            Sent::Introspection(jwt, Carrier::OwnHeader) => Credential::introspection(jwt.expose()),
        }
    }

    fn learn(&self, target: &Uri, headers: &HeaderMap) {
        if let Sent::Token(_, Possession::OfAKey(prover)) = &self.sent {
            credential::learn(prover, target, headers);
        }
    }

    /// Not after a while: another answer may have brought the browser newer ones. Without them it has older
    /// ones, whose successor is in the store (CK-RACE).
    fn cookies(&self) -> &[HeaderValue] {
        if self.armed.elapsed() < COOKIES_ARE_GOOD { &self.cookies } else { &[] }
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

    /// No answer outlives its session (PXY-6). A request is let finish: nobody would know what became of it.
    fn lifetime(&self) -> Lifetime {
        Lifetime { ended: Some(Arc::clone(&self.ended)), deadline: self.deadline }
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

    async fn admit(&self, headers: &HeaderMap) -> Result<Guest, Refusal> {
        let (handle, session) = self.admission.session(headers, Activity::Counts).await?;
        Ok(self.guest(handle, session, Sent::Nothing))
    }

    async fn arm(&self, guest: Guest, source: &TokenSource) -> Result<Guest, Refusal> {
        let Guest { handle, session, .. } = guest;
        let session = match source {
            // That token has nothing to do with the session's.
            TokenSource::Client(_) => session,
            TokenSource::User(target) => {
                self.admission.with_token(&handle, session, target.as_ref()).await?
            }
            TokenSource::Exchange(_) | TokenSource::Introspection(_) => {
                self.admission.with_token(&handle, session, None).await?
            }
        };
        let sent = self.borrowed(&handle, &session, source, None).await?;
        Ok(self.guest(handle, session, sent))
    }

    async fn renew(&self, guest: Guest, source: &TokenSource) -> Renewal<Guest, Refusal> {
        let Guest { handle, session, sent, .. } = guest;
        let TokenSource::User(target) = source else {
            let refused = sent.token();
            return match self.borrowed(&handle, &session, source, refused).await {
                Ok(sent) => Renewal::Renewed(self.guest(handle, session, sent)),
                Err(refusal) => Renewal::Refused(refusal),
            };
        };
        let cause = Cause::UpstreamRejected { used_version: session.version() };
        let target = target.as_ref();
        match self.admission.renew(&handle, cause, target).await.into_result() {
            Ok(session) => {
                let sent = self.own(&session, target);
                Renewal::Renewed(self.guest(handle, session, sent))
            }
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
    /// Ends what stands for the sessions' tokens.
    derived: Arc<DerivedTokens>,
}

impl SessionObserver {
    pub(super) const fn new(
        telemetry: Telemetry,
        clients: BTreeMap<String, String>,
        derived: Arc<DerivedTokens>,
    ) -> Self {
        Self { telemetry, clients, derived }
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
            RefreshOutcome::Joined(_) | RefreshOutcome::Underway(_) => return,
            RefreshOutcome::Refreshed(_) => Outcome::Success,
            RefreshOutcome::GrantDead | RefreshOutcome::Rejected { .. } => Outcome::Rejected,
            _ => Outcome::Failed,
        };
        self.audit(Action::SessionRefresh, judged, outcome.reason(), app, Some(session));
    }

    fn lease_waited(&self, seconds: f64) {
        self.telemetry.metrics.refresh_lease_waited(seconds);
    }

    fn lease_abandoned(&self, app: &str) {
        self.telemetry.metrics.refresh_abandoned(app);
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
        if let Some(session) = session {
            self.derived.end(session);
        }
        for _ in 0..count {
            self.audit(Action::SessionEnd, Outcome::Success, reason, app, session);
        }
    }

    fn remembered(&self) {
        self.telemetry.metrics.session_remembered();
    }

    fn ended_elsewhere(&self, session: &Pseudonym) {
        self.derived.end(session);
    }

    fn store_operation(&self, operation: &'static str, outcome: &'static str, seconds: f64) {
        self.telemetry.metrics.store_operation(operation, outcome, seconds);
    }

    fn not_carried(&self, app: &str, fault: NotPacked) {
        self.telemetry.metrics.session_not_carried(app);
        tracing::error!(app, %fault, "a session does not fit its cookies; ask for fewer scopes and claims, have the AS issue shorter tokens, or set session.carrier = \"server\"");
    }

    fn unknown_key(&self, app: &str) {
        self.telemetry.metrics.unknown_server_key(app);
        tracing::debug!(
            app,
            "a session cookie was made under a server key that is not in use here"
        );
    }

    fn unreadable(&self, app: &str) {
        self.telemetry.metrics.store_operation("open", "unreadable", 0.0);
        tracing::error!(app, "a session record does not open: damaged, or tampered with");
    }
}
