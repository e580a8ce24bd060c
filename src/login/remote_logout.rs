//! Owns the way out that the AS takes for its users: a logout token it sends (back channel), or a frame
//! it shows while it logs a user out (front channel). Must not know: HTTP, or how the AS is answered.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use subtle::ConstantTimeEq as _;
use tokio::sync::{Notify, Semaphore};

use crate::{
    protocol::{LogoutTokenRejected, VerifiedLogoutToken, logout_token_in},
    provider::{AsFailure, LogoutTokenFailure, Provider},
    session::{EndReason, Ended, Sessions, StoreUnavailable, Whose},
    telemetry::{Action, AuditEvent, Outcome, Pseudonym, Telemetry},
};

/// How many requests of one app are judged at once. Nobody has proven who they are, so that a flood of
/// them must leave the processor to others (BCL-2.5).
const AT_ONCE: usize = 4;
/// How many may be here at all, those that wait included; the next one is told to come back.
const MOST: usize = 64;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds a used token is remembered after its end: another instance's clock may be behind.
const REMEMBERED: i64 = 60;
/// Longest name of a session that is looked for.
const MAX_SID: usize = 1024;

/// Why the AS's wish was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RemoteLogoutFailure {
    /// The logout token was refused.
    #[error(transparent)]
    Token(#[from] LogoutTokenRejected),
    /// The frame's address was refused.
    #[error("the address of the frame is refused: {reason}")]
    Frame {
        /// The stable reason.
        reason: &'static str,
    },
    /// The keys to judge the token by could not be had.
    #[error(transparent)]
    Keys(AsFailure),
    /// The store does not answer: nobody knows what has ended.
    #[error("the session store does not answer")]
    StoreUnavailable,
    /// Too many wait already.
    #[error("too many logouts wait")]
    Busy,
}

impl RemoteLogoutFailure {
    /// The stable reason for metrics and audit.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Token(rejected) => rejected.reason(),
            Self::Frame { reason } => reason,
            Self::Keys(failure) => failure.reason(),
            Self::StoreUnavailable => StoreUnavailable::REASON,
            Self::Busy => "logout.busy",
        }
    }

    /// Whether the request itself was wrong; otherwise it may be repeated.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Token(_) | Self::Frame { .. })
    }
}

impl From<StoreUnavailable> for RemoteLogoutFailure {
    fn from(_: StoreUnavailable) -> Self {
        Self::StoreUnavailable
    }
}

impl From<LogoutTokenFailure> for RemoteLogoutFailure {
    fn from(failure: LogoutTokenFailure) -> Self {
        match failure {
            LogoutTokenFailure::Keys(failure) => Self::Keys(failure),
            LogoutTokenFailure::Rejected(rejected) => Self::Token(rejected),
        }
    }
}

/// What the AS may end from afar, asked at one app.
pub struct RemoteLogout {
    app: String,
    /// Every app whose users come from this app's AS.
    apps: BTreeSet<String>,
    provider: Arc<Provider>,
    sessions: Arc<Sessions>,
    room: Semaphore,
    turns: Semaphore,
    under_way: UnderWay,
    telemetry: Telemetry,
}

impl fmt::Debug for RemoteLogout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteLogout").field("app", &self.app).finish_non_exhaustive()
    }
}

impl RemoteLogout {
    /// What the AS of the app called `app` may end: sessions of `apps`, all those whose users it knows.
    pub fn new(
        app: String,
        apps: BTreeSet<String>,
        provider: Arc<Provider>,
        sessions: Arc<Sessions>,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            app,
            apps,
            provider,
            sessions,
            room: Semaphore::new(MOST),
            turns: Semaphore::new(AT_ONCE),
            under_way: UnderWay::default(),
            telemetry,
        }
    }

    /// Ends what the logout token in a form names, if what came is a form, everywhere before it returns
    /// (BCL-2.7, BCL-PRJ): the session of its `sid`, or all of its `sub`; that there is none is fine, too.
    ///
    /// A caller who gives up waiting may have ended sessions nevertheless: run this where nothing cancels
    /// it.
    pub async fn by_form(
        &self,
        form: Option<&[u8]>,
        request_id: &str,
    ) -> Result<(), RemoteLogoutFailure> {
        let (token, ended) = match self.admitted(self.judge_and_end(form)).await {
            Ok((token, ended)) => (Some(token), ended),
            Err(failure) => (None, Err(failure)),
        };
        if ended.is_ok() {
            // After its turn: waiting takes nothing from the others.
            self.sessions.holds_everywhere().await;
        }
        let (outcome, name, reason) = match &ended {
            Ok(ended) => (Outcome::Success, "accepted", found(ended)),
            Err(failure) if failure.is_refusal() => {
                (Outcome::Rejected, "rejected", failure.reason())
            }
            Err(failure) => (Outcome::Failed, "failed", failure.reason()),
        };
        self.telemetry.metrics.backchannel_logout(&self.app, name, reason);
        // What was not looked at is counted, and not written down one by one.
        if ended != Err(RemoteLogoutFailure::Busy) {
            let issuer = &self.provider.registration().issuer;
            let subject = token.as_ref().and_then(VerifiedLogoutToken::subject);
            let subject = subject.map(|subject| self.sessions.subject_pseudonym(issuer, subject));
            let ended = ended.as_deref().unwrap_or_default();
            let action = Action::LogoutBackchannel;
            self.record(action, outcome, reason, subject.as_ref(), ended, request_id);
        }
        ended.map(drop)
    }

    /// Ends the session that the address of a frame names, by what the store knows alone: a frame brings
    /// no cookies (FCL-2, FCL-4.1).
    pub async fn by_frame(
        &self,
        issuer: Option<&str>,
        sid: Option<&str>,
        request_id: &str,
    ) -> Result<(), RemoteLogoutFailure> {
        let ended = self.admitted(self.check_and_end(issuer, sid)).await;
        if ended.is_ok() {
            self.sessions.holds_everywhere().await;
        }
        let (outcome, reason) = match &ended {
            Ok(ended) => (Outcome::Success, found(ended)),
            Err(failure) if failure.is_refusal() => (Outcome::Rejected, failure.reason()),
            Err(failure) => (Outcome::Failed, failure.reason()),
        };
        if ended != Err(RemoteLogoutFailure::Busy) {
            let ended = ended.as_deref().unwrap_or_default();
            let action = Action::LogoutFrontchannel;
            self.record(action, outcome, reason, None, ended, request_id);
        }
        ended.map(drop)
    }

    /// Waits for a turn, if there is room to wait.
    async fn admitted<T>(
        &self,
        work: impl Future<Output = Result<T, RemoteLogoutFailure>>,
    ) -> Result<T, RemoteLogoutFailure> {
        let _room = self.room.try_acquire().map_err(|_| RemoteLogoutFailure::Busy)?;
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        // The semaphore is never closed.
        let _turn = turn.map_err(|_| RemoteLogoutFailure::Busy)?;
        work.await
    }

    /// The token, if it is one, and what came of it.
    async fn judge_and_end(
        &self,
        form: Option<&[u8]>,
    ) -> Result<(VerifiedLogoutToken, Result<Vec<Ended>, RemoteLogoutFailure>), RemoteLogoutFailure>
    {
        let token = logout_token_in(form.unwrap_or_default())?;
        let token = self.provider.logout_token(&token).await?;
        let ended = self.end_once(&token).await;
        Ok((token, ended))
    }

    /// BCL-2.6-7: a token works once, on all instances together. One whose work broke off may come again,
    /// at any of them: to call it a replay would leave sessions alive that the AS has ended.
    async fn end_once(
        &self,
        token: &VerifiedLogoutToken,
    ) -> Result<Vec<Ended>, RemoteLogoutFailure> {
        let registration = self.provider.registration();
        let issuer = registration.issuer.as_str();
        let replayed = || RemoteLogoutFailure::from(LogoutTokenRejected::Replayed);
        let _work = self.alone_with(token.jti()).await.ok_or(RemoteLogoutFailure::Busy)?;
        let what = [b"logout_token".as_slice(), issuer.as_bytes(), token.jti().as_bytes()];
        let until = token.expires().plus(registration.exp_leeway).plus(REMEMBERED);
        let first = self.sessions.consume_once(&what, until).await?;
        if !first && self.sessions.is_done(&what).await? {
            return Err(replayed());
        }
        let whose = match (token.sid(), token.subject()) {
            (Some(sid), subject) => Whose::Sid { issuer, sid, subject },
            (None, Some(subject)) => Whose::Subject { issuer, subject },
            (None, None) => return Err(LogoutTokenRejected::NobodyNamed.into()),
        };
        let ended = self.end(whose, EndReason::BackChannelLogout).await?;
        self.sessions.note_done(&what, until).await?;
        Ok(ended)
    }

    /// Waits for the same token that is at work here already: whether this one repeats it shows only when
    /// that is over.
    async fn alone_with<'a>(&'a self, jti: &'a str) -> Option<AtWork<'a>> {
        let waiting = async {
            loop {
                // Before the attempt, so that what ends after it is not missed.
                let freed = self.under_way.freed.notified();
                if let Some(work) = self.under_way.begin(jti) {
                    return work;
                }
                freed.await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.ok()
    }

    async fn check_and_end(
        &self,
        issuer: Option<&str>,
        sid: Option<&str>,
    ) -> Result<Vec<Ended>, RemoteLogoutFailure> {
        let refused = |reason| RemoteLogoutFailure::Frame { reason };
        let issuer = issuer.ok_or(refused("frontchannel.issuer_missing"))?;
        let sid = sid.filter(|sid| !sid.is_empty() && sid.len() <= MAX_SID);
        let sid = sid.ok_or(refused("frontchannel.sid_missing"))?;
        let known = self.provider.registration().issuer.as_bytes();
        if !bool::from(known.ct_eq(issuer.as_bytes())) {
            return Err(refused("frontchannel.issuer_mismatch"));
        }
        let whose = Whose::Sid { issuer, sid, subject: None };
        // Where browsers carry their sessions an end is a mark for every name: not for whoever shows a
        // frame.
        let in_app = |app: &str| self.apps.contains(app) && !self.sessions.carries(app);
        Ok(self.sessions.end_all(whose, in_app, EndReason::FrontChannelLogout).await?)
    }

    async fn end(
        &self,
        whose: Whose<'_>,
        reason: EndReason,
    ) -> Result<Vec<Ended>, StoreUnavailable> {
        self.sessions.end_all(whose, |app| self.apps.contains(app), reason).await
    }

    fn record(
        &self,
        action: Action,
        outcome: Outcome,
        reason: &str,
        subject: Option<&Pseudonym>,
        ended: &[Ended],
        request_id: &str,
    ) {
        // Each session that ended has a line of its own as well.
        let session = match ended {
            [only] => Some(&only.pseudonym),
            _ => None,
        };
        self.telemetry.audit.record(&AuditEvent {
            action,
            outcome,
            reason,
            app: &self.app,
            client: &self.provider.registration().label,
            subject,
            session,
            acr: None,
            request_id,
            transaction: None,
        });
    }
}

fn found(ended: &[Ended]) -> &'static str {
    if ended.is_empty() { "session.unknown" } else { "none" }
}

/// Tokens at work here, by `jti`: the same one does not work twice at a time.
#[derive(Debug, Default)]
struct UnderWay {
    tokens: Mutex<HashSet<String>>,
    /// Told when one is done.
    freed: Notify,
}

impl UnderWay {
    fn all(&self) -> MutexGuard<'_, HashSet<String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None if it is under way already.
    fn begin<'a>(&'a self, jti: &'a str) -> Option<AtWork<'a>> {
        let is_new = self.all().insert(jti.to_owned());
        // Made only then, and after the lock: its end takes the name out.
        is_new.then(|| AtWork { all: self, jti })
    }
}

/// A token at work, until it is dropped.
struct AtWork<'a> {
    all: &'a UnderWay,
    jti: &'a str,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.all.all().remove(self.jti);
        self.all.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_at_work_twice_at_a_time() {
        let under_way = UnderWay::default();
        let work = under_way.begin("a").unwrap();
        assert!(under_way.begin("a").is_none());
        assert!(under_way.begin("b").is_some());
        drop(work);
        assert!(under_way.begin("a").is_some());
        assert!(under_way.all().is_empty());
    }
}
