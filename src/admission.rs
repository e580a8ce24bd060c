//! Owns the step from a cookie to a session with a usable token, and what is said when there is
//! none. Shared by every face that lets somebody in. Must not know: what they want inside.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Ambient,
    protocol::Target,
    session::{
        Activity, Cause, FindError, Handle, NoSession, Policy, RefreshOutcome, Refresher, Session,
        Sessions, TokenTrouble, Version,
    },
    web::{
        Chunked, CookieNames, CookieValue, ErrorAnswer, ErrorCode, Refusal, SameSite, all_chunks,
        chunk_parts, chunk_room, chunks, clear_chunks, clear_cookie, cookie, cookie_values,
        set_chunks, set_cookie,
    },
};

/// What a browser holds of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// A handle; the store holds the session.
    Server,
    /// The session itself, sealed and cut into cookies.
    Cookie,
}

/// Octets of a session that fit the cookies of this name, sealed.
pub fn cookie_room(name: &str) -> usize {
    // Four characters of base64url carry three octets.
    chunk_room(name) / 4 * 3
}

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
    /// What its browsers hold of them.
    pub carrier: Carrier,
    /// How their access tokens are renewed.
    pub refresher: Arc<dyn Refresher>,
    /// Time.
    pub ambient: Ambient,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("app", &self.app).finish_non_exhaustive()
    }
}

impl Admission {
    /// The handle in the session cookie, if there is exactly one such cookie and it has the form; or in the
    /// cookies that hold the session, if all are there, once each, and none is of another writing.
    pub fn handle(&self, headers: &HeaderMap) -> Option<Handle> {
        if self.carrier == Carrier::Cookie {
            return chunks(headers, &self.cookies.session).and_then(|found| self.unpacked(&found));
        }
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
        if self.carrier == Carrier::Cookie {
            let found = all_chunks(headers, &self.cookies.session, MOST);
            return found.iter().filter_map(|found| self.unpacked(found)).collect();
        }
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
        match gone {
            // Another answer has perhaps set a newer one already.
            NoSession::UnknownKey | NoSession::Superseded => Vec::new(),
            _ => self.parting(),
        }
    }

    /// The cookies that a session which is certainly gone takes along.
    pub fn parting(&self) -> Vec<HeaderValue> {
        match self.carrier {
            Carrier::Server => {
                clear_cookie(&self.cookies.session, SameSite::Strict).into_iter().collect()
            }
            Carrier::Cookie => clear_chunks(&self.cookies.session, SameSite::Strict),
        }
    }

    /// The cookies of a new session; none if they outgrow what browsers keep.
    pub fn cookies(&self, handle: &Handle, session: &Session) -> Option<Vec<HeaderValue>> {
        let left = session.absolute_expires().since(self.ambient.now());
        let max_age = u64::try_from(left).ok();
        let name = &self.cookies.session;
        if self.carrier == Carrier::Server {
            let value = handle.to_cookie_value();
            return set_cookie(name, &value, max_age, SameSite::Strict).map(|cookie| vec![cookie]);
        }
        let context = |version: Version, octets: usize| {
            let count = chunk_parts(name, octets.div_ceil(3) * 4)?;
            Some(self.context(count, version.as_u64()))
        };
        let (version, packed) = self.sessions.pack(handle, session, context)?.ok()?;
        let text = URL_SAFE_NO_PAD.encode(packed);
        set_chunks(name, version.as_u64(), &text, max_age, SameSite::Strict)
    }

    /// The cookies by which a browser that carries its session learns what has become of it: none unless a
    /// refresh brought tokens. Whatever else happens, cookies stay as they are, so that parallel answers do
    /// not take them from each other (CK-RACE).
    pub fn renewed_cookies(&self, handle: &Handle, session: &Session) -> Vec<HeaderValue> {
        if !self.sessions.is_to_be_carried(handle, session) {
            return Vec::new();
        }
        // One that has outgrown its browser lives on in the store, and is found there.
        self.cookies(handle, session).unwrap_or_default()
    }

    fn unpacked(&self, found: &Chunked) -> Option<Handle> {
        let packed = URL_SAFE_NO_PAD.decode(&found.text).ok()?;
        self.sessions.unpack(&self.context(found.count, found.generation), &packed)
    }

    /// What a session in cookies is bound to: their name, the app, their number and the writing.
    fn context(&self, count: usize, generation: u64) -> Vec<u8> {
        let (app, name) = (&self.app, &self.cookies.session);
        format!("session\0{app}\0{name}\0{count}\0{generation}").into_bytes()
    }

    fn missing(&self, gone: NoSession) -> Refusal {
        let answer = ErrorAnswer::new(match gone {
            NoSession::Unknown | NoSession::UnknownKey | NoSession::Superseded => {
                ErrorCode::SessionMissing
            }
            NoSession::IdleExpired | NoSession::AbsoluteExpired => ErrorCode::SessionExpired,
        });
        Refusal { answer, cookies: self.parting_of(gone) }
    }

    /// Only a session that is certainly gone takes its cookie along; an outage touches nothing.
    fn gone(&self, answer: ErrorAnswer) -> Refusal {
        Refusal { answer, cookies: self.parting() }
    }
}
