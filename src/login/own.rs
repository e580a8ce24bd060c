//! Owns what users may do about their own sessions in an app: see them, end them (SES-7.4).
//! Must not know: how a browser asks; anything of others' sessions.

use super::{Login, LoginFailure};
use crate::{
    session::{EndReason, Ended, Entry, Own, Session},
    telemetry::{Action, AuditEvent, Outcome, Pseudonym},
};

/// A session of tokens in which nobody is known has no others that are the same person's.
const NOBODY: LoginFailure = LoginFailure::Parameter { reason: "no_subject" };

impl Login {
    /// The living sessions in this app of the person whose session this is, newest first. Those that
    /// another issuer's subject of the same name has are somebody else's.
    pub async fn own_sessions(&self, session: &Session) -> Result<Vec<Entry>, LoginFailure> {
        let identity = session.identity();
        let subject = identity.subject.as_deref().ok_or(NOBODY)?;
        let in_app = |app: &str| app == self.app;
        self.sessions
            .list_of(&identity.issuer, subject, in_app, Some(&self.session_policy))
            .await
            .map_err(|_| LoginFailure::StoreUnavailable)
    }

    /// Ends all the person's sessions in this app but this one. What tokens they hold nobody can open
    /// without their cookies: they end by their own lifetime, or at the AS.
    pub async fn end_others(
        &self,
        session: &Session,
        request_id: &str,
    ) -> Result<u64, LoginFailure> {
        self.end_own(session, Own::Others, request_id).await
    }

    /// Ends the one of the person's sessions in this app that is called so; 0 if there is none.
    pub async fn end_named(
        &self,
        session: &Session,
        id: &str,
        request_id: &str,
    ) -> Result<u64, LoginFailure> {
        self.end_own(session, Own::Named(id), request_id).await
    }

    async fn end_own(
        &self,
        session: &Session,
        which: Own<'_>,
        request_id: &str,
    ) -> Result<u64, LoginFailure> {
        if session.identity().subject.is_none() {
            return Err(NOBODY);
        }
        let ended = self.sessions.end_own(session, which, EndReason::LogoutElsewhere).await;
        let (outcome, reason) = match (&ended, which) {
            (Err(_), _) => (Outcome::Failed, "store.unavailable"),
            (Ok(_), Own::Others) => (Outcome::Success, "logout.everywhere"),
            (Ok(ended), Own::Named(_)) if ended.is_empty() => (Outcome::Success, "session.unknown"),
            (Ok(_), Own::Named(_)) => (Outcome::Success, "logout.elsewhere"),
        };
        // The line is about the session that was named; of many, about the one that asked.
        let named: Option<&Pseudonym> = match (&ended, which) {
            (Ok(ended), Own::Named(_)) => ended.first().map(|Ended { pseudonym, .. }| pseudonym),
            _ => Some(session.pseudonym()),
        };
        self.telemetry.audit.record(&AuditEvent {
            action: Action::Logout,
            outcome,
            reason,
            app: &self.app,
            client: &self.provider.registration().label,
            subject: session.subject_pseudonym(),
            session: named,
            acr: None,
            request_id,
            transaction: None,
        });
        let ended = ended.map_err(|_| LoginFailure::StoreUnavailable)?;
        Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
    }
}
