//! Owns the step from a cookie to a session with a usable token, and what is said when there is
//! none. Shared by every face that lets somebody in. Must not know: what they want inside.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue};
use tokio_util::sync::CancellationToken;

use crate::{
    protocol::Target,
    session::{
        Activity, Cause, FindError, Handle, NoSession, Policy, RefreshOutcome, Refresher, Session,
        Sessions, TokenTrouble,
    },
    web::{
        CookieNames, CookieValue, ErrorAnswer, ErrorCode, Refusal, SameSite, clear_cookie, cookie,
        cookie_values,
    },
};

/// One app's way in.
pub struct Admission {
    /// The app's name in the configuration.
    pub app: String,
    /// The client its sessions' tokens belong to.
    pub client: String,
    /// The issuer they come from.
    pub issuer: String,
    /// The names of its cookies.
    pub cookies: CookieNames,
    /// Its sessions.
    pub sessions: Arc<Sessions>,
    /// How long they live.
    pub policy: Policy,
    /// How their access tokens are renewed.
    pub refresher: Arc<dyn Refresher>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("app", &self.app).finish_non_exhaustive()
    }
}

impl Admission {
    /// The handle in the session cookie, if there is exactly one such cookie and it has the form.
    pub fn handle(&self, headers: &HeaderMap) -> Option<Handle> {
        match cookie(headers, &self.cookies.session) {
            CookieValue::One(value) => Handle::parse(value),
            CookieValue::Absent | CookieValue::Duplicate => None,
        }
    }

    /// The session that the cookie names.
    pub async fn session(
        &self,
        headers: &HeaderMap,
        activity: Activity,
    ) -> Result<(Handle, Session), Refusal> {
        // No readable cookie, or two of them: that says nothing about any session, so none is deleted.
        let missing = || ErrorAnswer::new(ErrorCode::SessionMissing);
        let handle = self.handle(headers).ok_or_else(missing)?;
        match self.find(&handle, activity).await {
            Ok(session) => Ok((handle, session)),
            Err(error) => Err(self.not_found(error)),
        }
    }

    /// What is said when there is no session, or nobody knows.
    pub fn not_found(&self, error: FindError) -> Refusal {
        match error {
            FindError::NoSession(gone) => self.missing(gone),
            FindError::StoreUnavailable => ErrorAnswer::new(ErrorCode::StoreUnavailable).into(),
        }
    }

    /// The session of a handle. One that another client or issuer obtained, before the configuration
    /// changed, is none: its tokens must not meet this client's upstreams and AS (FAPI2-SP-6.3).
    pub async fn find(&self, handle: &Handle, activity: Activity) -> Result<Session, FindError> {
        let session = self.sessions.find(&self.app, handle, &self.policy, activity).await?;
        let ours = session.is_of(&self.client, &self.issuer);
        if ours { Ok(session) } else { Err(NoSession::Unknown.into()) }
    }

    /// Cancelled when the session ends. Hold it as long as it is of interest.
    pub fn watch(&self, session: &Session) -> Arc<CancellationToken> {
        self.sessions.watch(session)
    }

    /// Every handle among the session cookies, a few at most: to end them all.
    pub fn handles(&self, headers: &HeaderMap) -> Vec<Handle> {
        /// More than two are no accident of a browser.
        const MOST: usize = 8;
        let values = cookie_values(headers, &self.cookies.session);
        values.into_iter().filter_map(Handle::parse).take(MOST).collect()
    }

    /// The session with an access token for `target` worth sending, fetched or renewed if due.
    pub async fn with_token(
        &self,
        handle: &Handle,
        session: Session,
        target: Option<&Target>,
    ) -> Result<Session, Refusal> {
        self.sessions
            .fresh(session, handle, &self.policy, &self.refresher, target)
            .await
            .map_err(|trouble| self.trouble(trouble))
    }

    /// Renews the access token for `target` now, for `cause`.
    pub async fn renew(
        &self,
        handle: &Handle,
        cause: Cause,
        target: Option<&Target>,
    ) -> RefreshOutcome {
        let Self { app, sessions, policy, refresher, .. } = self;
        sessions.refresh(app, handle, policy, refresher, cause, target).await
    }

    /// What is said when there is a session but no usable access token.
    pub fn trouble(&self, trouble: TokenTrouble) -> Refusal {
        tracing::info!(app = %self.app, reason = trouble.reason(), "no usable access token");
        let answer = match trouble {
            TokenTrouble::GrantDead => {
                return self.gone(ErrorAnswer::new(ErrorCode::ReauthenticationRequired));
            }
            TokenTrouble::Ended(gone) => return self.missing(gone),
            TokenTrouble::Exhausted => ErrorAnswer::new(ErrorCode::ReauthenticationRequired),
            TokenTrouble::NoRefreshToken => {
                ErrorAnswer::new(ErrorCode::InvalidRequest).with_detail("no_refresh_token")
            }
            TokenTrouble::TargetRefused => {
                ErrorAnswer::new(ErrorCode::AuthorizationServerError).with_detail("invalid_target")
            }
            TokenTrouble::AsTrouble => ErrorAnswer::new(ErrorCode::AuthorizationServerUnavailable),
            TokenTrouble::Unknown => ErrorAnswer::new(ErrorCode::TokenUnavailable),
            TokenTrouble::StoreUnavailable => ErrorAnswer::new(ErrorCode::StoreUnavailable),
        };
        answer.into()
    }

    /// The cookies that one takes along who is told that there is no session. One under a server key that
    /// is not in use here is perhaps another instance's: its cookie stays.
    pub fn parting_of(&self, gone: NoSession) -> Vec<HeaderValue> {
        if gone == NoSession::UnknownKey { Vec::new() } else { self.parting() }
    }

    /// The cookies that a session which is certainly gone takes along.
    pub fn parting(&self) -> Vec<HeaderValue> {
        clear_cookie(&self.cookies.session, SameSite::Strict).into_iter().collect()
    }

    fn missing(&self, gone: NoSession) -> Refusal {
        let answer = ErrorAnswer::new(match gone {
            NoSession::Unknown | NoSession::UnknownKey => ErrorCode::SessionMissing,
            NoSession::IdleExpired | NoSession::AbsoluteExpired => ErrorCode::SessionExpired,
        });
        Refusal { answer, cookies: self.parting_of(gone) }
    }

    /// Only a session that is certainly gone takes its cookie along; an outage touches nothing.
    fn gone(&self, answer: ErrorAnswer) -> Refusal {
        Refusal { answer, cookies: self.parting() }
    }
}
