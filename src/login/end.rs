//! Owns the answer to a login, in the order that is its security: find and consume the
//! transaction, verify the response, redeem the code, judge the tokens, make the session.
//! Must not know: how the answer reached us.

use super::{Channel, Login, LoginFailure, SealedTransaction};
use crate::{
    protocol::{
        Arrival, AuthorizationResponse, Mode, ResponseParameters, ResponseRejected, TokenResponse,
        Transaction, TransactionRejected, VerifiedIdToken,
    },
    provider::{Demands, Received, Redeemed},
    seal::KeyId,
    session::{
        CreateError, EndReason, Handle, Identity, NewSession, NoRoom, NotPacked, Session, Tokens,
    },
    telemetry::{Action, AuditEvent, Outcome, Pseudonym},
};

/// An answer from the AS, carried by the browser.
#[derive(Debug)]
pub struct Answer<'a> {
    /// Which of the two ways it came.
    pub mode: Mode,
    /// The authorization response's parameters, form-encoded.
    pub parameters: &'a [u8],
    /// The browser's transactions.
    pub transactions: Vec<SealedTransaction<'a>>,
    /// The browser's session so far, to be ended by a new one.
    pub current: Option<Handle>,
    /// For audit.
    pub request_id: &'a str,
}

/// A login that ended in a session.
#[derive(Debug)]
pub struct Ended {
    /// What the session cookie will hold.
    pub handle: Handle,
    /// The session.
    pub session: Session,
    /// Where the browser wanted to go, a path on the app's origin.
    pub return_to: Option<String>,
    /// The transaction whose cookie is done with.
    pub transaction_id: String,
}

/// It was to raise a session that is not there any more, or is somebody else's (DRAFT-9700U-2).
const WRONG_SESSION: LoginFailure =
    LoginFailure::Transaction { reason: TransactionRejected::WrongSession.reason() };

/// A login that did not, and the transaction it used up, if it got that far.
type Failed = (LoginFailure, Option<String>);

impl Login {
    /// Ends a login. The second value of an error names the transaction whose cookie is done with.
    pub async fn end(&self, answer: Answer<'_>) -> Result<Ended, Failed> {
        let started = self.ambient.clock.monotonic_millis();
        let request_id = answer.request_id;
        let mut replaced: Vec<_> = answer.current.clone().into_iter().collect();
        let mut used = None;
        let result = self.end_inner(answer, &mut used, &mut replaced).await;
        self.record_end(&result, started, request_id, used.as_deref());
        match result {
            Ok(ended) => {
                for old in replaced {
                    if self.end_session(&old, EndReason::Replaced).await.is_err() {
                        tracing::warn!(app = %self.app, "a replaced session could not be ended; it ends by its limits");
                    }
                }
                Ok(ended)
            }
            Err(failure) => Err((failure, used)),
        }
    }

    fn record_end(
        &self,
        result: &Result<Ended, LoginFailure>,
        started_millis: u64,
        request_id: &str,
        transaction: Option<&str>,
    ) {
        let (outcome, label, reason) = match result {
            Ok(_) => (Outcome::Success, "completed", "none"),
            Err(LoginFailure::Denied { error }) => (Outcome::Rejected, "denied", error.as_str()),
            Err(failure) => match failure.outcome() {
                Outcome::Failed => (Outcome::Failed, "failed", failure.reason()),
                outcome => (outcome, "rejected", failure.reason()),
            },
        };
        self.telemetry.metrics.login(&self.app, label, reason);
        if let Err(failure) = result {
            tracing::warn!(app = %self.app, request_id, reason, "login refused: {failure}");
        }
        if result.is_ok() {
            let millis = self.ambient.clock.monotonic_millis().saturating_sub(started_millis);
            let seconds = std::time::Duration::from_millis(millis).as_secs_f64();
            self.telemetry.metrics.login_seconds(&self.app, seconds);
        }
        let session = result.as_ref().ok().map(|ended| &ended.session);
        self.telemetry.audit.record(&AuditEvent {
            action: Action::LoginEnd,
            outcome,
            reason,
            app: &self.app,
            client: &self.provider.registration().label,
            subject: session.and_then(Session::subject_pseudonym),
            session: session.map(Session::pseudonym),
            acr: session.and_then(|session| session.identity().acr.as_deref()),
            request_id,
            transaction,
        });
    }

    async fn end_inner(
        &self,
        answer: Answer<'_>,
        used: &mut Option<String>,
        replaced: &mut Vec<Handle>,
    ) -> Result<Ended, LoginFailure> {
        let refused = |reason| LoginFailure::Rejected { reason, channel: Channel::Front };
        let parameters = ResponseParameters::parse_form(answer.parameters)
            .map_err(|rejected| refused(rejected.reason()))?;
        let (received, (sealed_by, transaction)) = self.find_transaction(&answer, &parameters)?;
        // From here on the transaction is spent, whatever follows: neither a replay nor a second
        // tab with the same answer gets any further (FAPI2-SP-6.4).
        self.consume(&transaction).await?;
        *used = Some(transaction.id.clone());
        replaced.extend(transaction.replaces.as_deref().and_then(Handle::parse));
        let home = Self::home(&answer, &transaction);
        let binding = home.as_ref().map(|handle| self.sessions.pseudonym(handle));
        let arrival = Arrival {
            now: self.ambient.now(),
            app: &self.app,
            issuer: &self.provider.registration().issuer,
            client_id: &self.provider.registration().client_id,
            mode: answer.mode,
            redirect_uri: self.policy.redirect_uri(answer.mode),
            session_binding: binding.as_ref().map(Pseudonym::as_str),
        };
        transaction
            .check(&arrival)
            .map_err(|rejected| LoginFailure::Transaction { reason: rejected.reason() })?;
        let stepped_up = match home.filter(|_| transaction.session_binding.is_some()) {
            Some(handle) => Some(self.live(&handle).await?.ok_or(WRONG_SESSION)?),
            None => None,
        };

        let response = self
            .provider
            .authorization_response(
                &received,
                &transaction.state,
                transaction.nonce.as_deref(),
                transaction.consent.as_ref(),
            )
            .await?;
        let code = match response {
            AuthorizationResponse::Code(code) => code,
            AuthorizationResponse::Error { error } => return Err(LoginFailure::Denied { error }),
        };
        let details = self.details_of(&transaction);
        let demands = Demands {
            nonce: transaction.nonce.as_deref(),
            scope: &transaction.scope,
            max_age: transaction.max_age,
            required_acr: if transaction.require_acr { &transaction.acr_values } else { &[] },
            consent: transaction.consent.as_ref(),
            details: details.as_ref(),
            enrichable: &self.policy.enrichable,
            resources: &self.policy.resources,
        };
        let (verifier, redirect_uri) = (&transaction.code_verifier, &transaction.redirect_uri);
        let prover = self.prover(sealed_by, &transaction.id)?;
        let redeemed =
            self.provider.redeem(code, verifier, redirect_uri, demands, prover.as_ref()).await?;
        let same = |old: &Session| {
            let subject = redeemed.id_token.as_ref().map(VerifiedIdToken::subject);
            // Two of whom nobody knows who they are need not be one.
            old.identity().issuer == transaction.issuer
                && subject.is_some()
                && old.identity().subject.as_deref() == subject
        };
        if !stepped_up.as_ref().is_none_or(same) {
            let TokenResponse { refresh_token, access_token, .. } = redeemed.tokens;
            self.provider.give_up(refresh_token, Some(access_token));
            return Err(WRONG_SESSION);
        }
        self.make_session(sealed_by, transaction, redeemed, replaced).await
    }

    /// The session the browser is in. One that was sent here by another site does not say
    /// (CK-SS-1): then it is the one this very browser was in at the start, as only the sealed
    /// transaction in its cookie knows (CK-SS-3).
    fn home(answer: &Answer<'_>, transaction: &Transaction) -> Option<Handle> {
        let at_start = transaction.replaces.as_deref().filter(|_| answer.mode == Mode::Navigation);
        answer.current.clone().or_else(|| at_start.and_then(Handle::parse))
    }

    fn find_transaction<'p>(
        &self,
        answer: &Answer<'_>,
        parameters: &'p ResponseParameters,
    ) -> Result<(Received<'p>, (KeyId, Transaction)), LoginFailure> {
        let missing = LoginFailure::Transaction { reason: "transaction.missing" };
        if answer.transactions.is_empty() {
            return Err(missing);
        }
        // The state is read unverified, only to find the cookie; it is compared with the sealed one
        // once the response is verified.
        let refused = |rejected: ResponseRejected| {
            let (reason, channel) = (rejected.reason(), Channel::Front);
            LoginFailure::Rejected { reason, channel }
        };
        let received = self.provider.received(parameters).map_err(refused)?;
        let state = received.state().map_err(refused)?;
        let id = super::transactions::transaction_id(&state);
        let sealed =
            answer.transactions.iter().find(|transaction| transaction.id == id).ok_or(missing)?;
        let opened = self
            .open_transaction(*sealed)
            .ok_or(LoginFailure::Transaction { reason: "transaction.unreadable" })?;
        Ok((received, opened))
    }

    async fn make_session(
        &self,
        sealed_by: KeyId,
        transaction: Transaction,
        redeemed: Redeemed,
        replaced: &[Handle],
    ) -> Result<Ended, LoginFailure> {
        let Redeemed { tokens, id_token } = redeemed;
        let bound = self.provider.binds_to_key();
        let key_seed = bound.then(|| self.key_seed(sealed_by, &transaction.id)).transpose()?;
        let now = self.ambient.now();
        let new = NewSession {
            app: self.app.clone(),
            client: self.provider.registration().label.clone(),
            identity: self.identity(transaction.issuer, id_token.as_ref()),
            tokens: Tokens {
                access_expires: tokens
                    .expires_in
                    .map(|seconds| now.plus(i64::try_from(seconds).unwrap_or(i64::MAX))),
                access_token: tokens.access_token.clone(),
                refresh_token: tokens.refresh_token.clone(),
                // One that was not asked for is not kept: nobody looked at it.
                id_token: tokens.id_token.clone().filter(|_| id_token.is_some()),
                scope: tokens.scope.clone(),
                key_seed,
                authorization_details: tokens.authorization_details.clone(),
                narrowed: Vec::new(),
            },
        };
        let (handle, session) = match self.sessions.create(&self.session_policy, new).await {
            Ok(made) => made,
            Err(fault) => {
                // Tokens that nobody holds must not live on.
                self.provider.give_up(tokens.refresh_token, Some(tokens.access_token));
                return Err(match fault {
                    CreateError::NotCarried(NotPacked::TooLarge { .. }) => {
                        LoginFailure::SessionTooLarge
                    }
                    _ => LoginFailure::StoreUnavailable,
                });
            }
        };
        if let Err(failure) = self.make_room(&session, replaced).await {
            self.provider.give_up(tokens.refresh_token, Some(tokens.access_token));
            return Err(failure);
        }
        let (return_to, transaction_id) = (transaction.return_to, transaction.id);
        Ok(Ended { handle, session, return_to, transaction_id })
    }

    /// Holds the new session to the app's limit. Those it takes the place of do not count (SES-7.1.2).
    async fn make_room(&self, new: &Session, replaced: &[Handle]) -> Result<(), LoginFailure> {
        let Some(limit) = self.policy.session_limit else { return Ok(()) };
        let made = self.sessions.make_room(limit, &self.session_policy, new, replaced).await;
        made.map_err(|no_room| match no_room {
            NoRoom::StoreUnavailable => LoginFailure::StoreUnavailable,
            NoRoom::Refused | NoRoom::Superseded => {
                self.telemetry.metrics.session_refused(&self.app);
                LoginFailure::SessionLimit { reason: no_room.reason() }
            }
        })
    }

    /// Who logged in, with the claims that the app's pages may see.
    fn identity(&self, issuer: String, id_token: Option<&VerifiedIdToken>) -> Identity {
        let shown = |id_token: &VerifiedIdToken| {
            let all = id_token.claims().as_map();
            let names = self.policy.claims.iter();
            let claims = names.filter_map(|name| all.get_key_value(name));
            claims.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        Identity {
            issuer,
            subject: id_token.map(|id_token| id_token.subject().to_owned()),
            sid: id_token.and_then(VerifiedIdToken::sid).map(str::to_owned),
            acr: id_token.and_then(VerifiedIdToken::acr).map(str::to_owned),
            auth_time: id_token.and_then(VerifiedIdToken::auth_time),
            claims: id_token.map(shown).unwrap_or_default(),
            continuity: id_token.map(|id_token| id_token.continuity().clone()),
        }
    }
}
