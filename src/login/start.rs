//! Owns the start of a login: parameters checked, request pushed, transaction sealed.
//! Must not know: how the browser is sent on its way.

use serde_json::{Map, Value, json};
use url::Url;

use super::{
    Login, LoginFailure, SealedTransaction, authorization::Wish, transactions::transaction_id,
};
use crate::{
    ecosystem::AcrClaim,
    protocol::{
        Additions, AuthorizationRequest, CodeVerifier, Mode, Prover, RequestParameters,
        Transaction, lies_below, safe_return_to,
    },
    session::{Handle, Session},
    telemetry::{Action, AuditEvent, Outcome},
};

/// The longest place to return to, in bytes; it travels in a cookie, several of which must fit a
/// request's header (CK-6.1).
const RETURN_TO_LIMIT: usize = 512;

/// Bytes of all transaction cookies of one browser, of which a request must bear all at once beside
/// its other headers (CK-6.1).
const TRANSACTIONS_LIMIT: usize = 8 * 1024;

/// A wish to log in.
#[derive(Debug)]
pub struct Start<'a> {
    /// Who drives: the app's script, or plain navigation.
    pub mode: Mode,
    /// Whether a page of the app asked. What a user is to authorize is never anybody else's to choose.
    pub by_app: bool,
    /// Extra authorization parameters from the app's page.
    pub parameters: Vec<(String, String)>,
    /// Where to go after the login, navigation mode only.
    pub return_to: Option<&'a str>,
    /// The browser's transactions so far.
    pub existing: Vec<SealedTransaction<'a>>,
    /// The session the browser is in, to be ended by the new one.
    pub current: Option<Handle>,
    /// For audit.
    pub request_id: &'a str,
}

/// A login under way.
#[derive(Debug)]
pub struct Started {
    /// Where to send the browser.
    pub authorization_url: Url,
    /// Names the transaction's cookie.
    pub transaction_id: String,
    /// The transaction's cookie value.
    pub sealed: String,
    /// Seconds the cookie lives.
    pub max_age: u64,
    /// Transactions to delete: what the browser holds beyond the bound, and what no longer opens.
    pub evict: Vec<String>,
}

impl Login {
    /// Starts a login: one request, one transaction. Nothing is kept if it fails.
    pub async fn start(&self, start: Start<'_>) -> Result<Started, LoginFailure> {
        let request_id = start.request_id;
        let result = self.start_inner(start).await;
        let (outcome, reason, label) = match &result {
            Ok(_) => (Outcome::Success, "none", "started"),
            Err(failure) => (failure.outcome(), failure.reason(), "start_failed"),
        };
        self.telemetry.metrics.login(&self.app, label, reason);
        if let Err(failure) = &result {
            tracing::warn!(app = %self.app, request_id, reason, "login not started: {failure}");
        }
        self.telemetry.audit.record(&AuditEvent {
            action: Action::LoginStart,
            outcome,
            reason,
            app: &self.app,
            client: &self.provider.registration().label,
            subject: None,
            session: None,
            acr: None,
            request_id,
            transaction: result.as_ref().ok().map(|started| started.transaction_id.as_str()),
        });
        result
    }

    async fn start_inner(&self, mut start: Start<'_>) -> Result<Started, LoginFailure> {
        let registration = self.provider.registration();
        let (wish, parameters) = Wish::take(std::mem::take(&mut start.parameters), start.by_app)?;
        let pairs = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let wishes =
            RequestParameters::accept(pairs, &self.policy.allowed_parameters, &registration.scopes)
                .map_err(|rejected| LoginFailure::Parameter { reason: rejected.reason() })?;
        // What must be reached is the operator's to say: a page may choose among it, not below it.
        let acrs = wishes.acr_values.as_deref().unwrap_or_default();
        let configured = |acr: &str| self.policy.acr_values.iter().any(|known| known == acr);
        if self.policy.require_acr && !acrs.split_terminator(' ').all(configured) {
            return Err(LoginFailure::Parameter { reason: "parameter.acr_not_configured" });
        }
        self.check_for_ecosystem(acrs)?;
        let consent = self.consent(&wish)?;
        let demanding = wishes.acr_values.is_some() || wishes.max_age.is_some() || wish.is_some();
        let raised = self.raised(start.mode, start.current.as_ref().filter(|_| demanding)).await?;
        let authorization = self.authorization(wish).await?;
        let require_acr = self.policy.require_acr || (raised.is_some() && !acrs.is_empty());
        let no_randomness = |_| LoginFailure::Internal { reason: "internal.no_randomness" };
        let state = self.ambient.token().map_err(no_randomness)?;
        let nonce = registration.openid().then(|| self.ambient.token()).transpose();
        let nonce = nonce.map_err(no_randomness)?;
        let id = transaction_id(&state);
        let prover = self.prover(self.transaction_seal.active_id(), &id)?;
        let code_verifier =
            CodeVerifier::from_random(self.ambient.random::<32>().map_err(no_randomness)?);
        let redirect_uri = self.policy.redirect_uri(start.mode);
        let acr_values = wishes.acr_values.map_or_else(
            || self.policy.acr_values.clone(),
            |wish| wish.split(' ').map(str::to_owned).collect(),
        );
        let (ecosystem, consent) = (registration.ecosystem, consent.as_deref());
        let additions = Additions::of(ecosystem, registration.openid(), acr_values, consent);
        let scope = wishes.scope.unwrap_or_else(|| registration.scopes.join(" "));
        let scope = additions.widened(scope);
        let max_age = match (wishes.max_age, self.policy.max_age) {
            (Some(wish), Some(limit)) => Some(wish.min(limit)),
            (wish, limit) => wish.or(limit),
        };
        let (asked_acr, claims) = self.asked_claims(&additions).await?;
        let request = AuthorizationRequest {
            client_id: registration.client_id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            scope: scope.clone(),
            state: state.clone(),
            response: registration.response,
            nonce: nonce.clone(),
            code_challenge: code_verifier.challenge(),
            acr_values: asked_acr,
            max_age,
            prompt: wishes.prompt,
            display: wishes.display,
            login_hint: wishes.login_hint,
            ui_locales: wishes.ui_locales,
            dpop_jkt: prover.as_ref().map(Prover::jkt),
            claims,
            authorization_details: self
                .asked_details(authorization.name.as_deref(), authorization.details.as_ref()),
            resource: self.policy.resources.clone(),
        };
        let begun = self.provider.begin(&request, prover.as_ref()).await?;

        let now = self.ambient.now();
        let transaction = Transaction {
            id: id.clone(),
            issuer: registration.issuer.clone(),
            client_id: registration.client_id.clone(),
            app: self.app.clone(),
            mode: start.mode,
            state,
            nonce,
            code_verifier,
            redirect_uri: redirect_uri.to_owned(),
            return_to: start
                .return_to
                .filter(|path| path.len() <= RETURN_TO_LIMIT)
                .and_then(safe_return_to)
                .filter(|path| !lies_below(path, &self.policy.prefix)),
            scope,
            acr_values: additions.acr_values,
            require_acr: require_acr || additions.acr_demanded,
            max_age,
            created: now,
            expires: now.plus(self.policy.transaction_lifetime),
            session_binding: raised.map(|session| session.pseudonym().as_str().to_owned()),
            replaces: start.current.as_ref().map(Handle::to_cookie_value),
            consent: additions.returned,
            authorization: authorization.name,
            details: authorization.details,
        };
        let sealed = self.seal_transaction(&transaction)?;
        Ok(Started {
            authorization_url: begun.authorization_url,
            transaction_id: id,
            max_age: u64::try_from(self.policy.transaction_lifetime).unwrap_or_default(),
            evict: self.surplus(&start.existing, sealed.len()),
            sealed,
        })
    }

    /// Whether a page's wishes are what its client's ecosystem knows.
    fn check_for_ecosystem(&self, acrs: &str) -> Result<(), LoginFailure> {
        let Some(ecosystem) = self.provider.registration().ecosystem else { return Ok(()) };
        // Where every login demands its values, the operator's are the least that is demanded.
        let limits = ecosystem.acr_claim == AcrClaim::Values && !self.policy.acr_values.is_empty();
        let known = |acr: &str| {
            let configured = || self.policy.acr_values.iter().any(|known| known == acr);
            ecosystem.acr_values.contains(&acr) && (!limits || configured())
        };
        let refused = LoginFailure::Parameter { reason: "parameter.acr_not_configured" };
        acrs.split_terminator(' ').all(known).then_some(()).ok_or(refused)
    }

    /// `acr_values` and the `claims` parameter: the classes stand in one of the two, never in both
    /// (OIDC-3.1.3.7-12). An AS that does not read claims is asked the other way; what it reaches is
    /// checked either way.
    async fn asked_claims(
        &self,
        additions: &Additions,
    ) -> Result<(Option<String>, Option<Map<String, Value>>), LoginFailure> {
        let mut claims = self.policy.requested_claims.clone();
        let mut plain = additions.acr_parameter();
        if self.policy.essential_acr
            && plain.is_some()
            && !additions.has_acr_claim()
            && self.provider.metadata().await?.claims_parameter_supported()
        {
            plain = None;
            let id_token = claims.entry("id_token").or_insert_with(|| Map::new().into());
            if let Some(id_token) = id_token.as_object_mut() {
                let acr = json!({"essential": true, "values": additions.acr_values});
                id_token.insert("acr".to_owned(), acr);
            }
        }
        additions.add_to(&mut claims);
        Ok((plain, (!claims.is_empty()).then_some(claims)))
    }

    /// The session that this login is to raise: a page that asks for a certain authentication or
    /// authorization while somebody is logged in asks it of that very person (DRAFT-9700U-2, STEP-4).
    /// Without such a wish anybody may log in next.
    async fn raised(
        &self,
        mode: Mode,
        current: Option<&Handle>,
    ) -> Result<Option<Session>, LoginFailure> {
        let Some(handle) = current else { return Ok(None) };
        let raised = self.live(handle).await?;
        // By navigation the answer comes back without the session's cookies (CK-SS-1). Where they are the
        // session, there is nothing to raise then: better said before the user has authenticated.
        if raised.is_some() && mode == Mode::Navigation && self.sessions.carries(&self.app) {
            return Err(LoginFailure::Parameter { reason: "parameter.step_up_by_navigation" });
        }
        Ok(raised)
    }

    /// The ids of transactions to delete so that, with the new one, the bound holds: those that no
    /// longer open or have expired, then the oldest.
    fn surplus(&self, existing: &[SealedTransaction<'_>], new: usize) -> Vec<String> {
        let now = self.ambient.now();
        let (mut live, mut evict) = (Vec::new(), Vec::new());
        for sealed in existing {
            match self.open_transaction(*sealed) {
                Some((_, transaction)) if transaction.expires > now => {
                    live.push((transaction.created, sealed.id, sealed.sealed.len()));
                }
                _ => evict.push(sealed.id.to_owned()),
            }
        }
        live.sort_unstable();
        let (mut kept, mut bytes) = (1, new);
        for (_, id, length) in live.into_iter().rev() {
            (kept, bytes) = (kept + 1, bytes + length);
            if kept > self.policy.max_transactions || bytes > TRANSACTIONS_LIMIT {
                evict.push(id.to_owned());
            }
        }
        evict
    }
}
