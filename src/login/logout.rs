//! Owns the way out: the session ends here first, then at the AS, then the browser comes home.
//! Must not know: how the browser is moved between the three.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use url::Url;

use super::{Login, LoginFailure};
use crate::{
    clock::UnixTime,
    protocol::{Token, end_session_url},
    session::{EndReason, Handle, Session, StoreUnavailable},
    telemetry::{Action, AuditEvent, Outcome},
};

/// Seconds a logout may take from our page to the AS and back.
const LOGOUT_LIFETIME: i64 = 300;
/// An ID token larger than this does not fit the cookie beside the rest; the AS then learns who
/// leaves from its own session and `client_id` (RPL-2/2.1).
const HINT_LIMIT: usize = 2600;

/// A logout that has ended the local session.
#[derive(Debug)]
pub struct Left {
    /// Whether there was a session to end.
    pub ended: bool,
    /// Sealed text for the logout cookie, if the AS offers an end-session endpoint to go on to.
    pub ticket: Option<String>,
    /// Seconds that cookie lives.
    pub max_age: u64,
}

/// Where a logout goes on to.
#[derive(Debug)]
pub struct LeaveTaking {
    /// The AS's end-session endpoint with all its parameters.
    pub end_session_url: Url,
    /// Sealed text for the logout cookie: the ticket, less what is no longer needed.
    pub ticket: String,
    /// Seconds that cookie lives.
    pub max_age: u64,
}

#[derive(Serialize, Deserialize)]
struct Ticket {
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<Token>,
    expires: UnixTime,
}

impl Login {
    /// Ends the session here and now, whatever the AS does (RPL-PRJ-1), gives its tokens up, and
    /// prepares the way to the AS.
    pub async fn leave(&self, handle: &Handle, request_id: &str) -> Result<Left, LoginFailure> {
        let ended = self
            .end_session(handle, EndReason::Logout)
            .await
            .map_err(|_| LoginFailure::StoreUnavailable)?;
        let session = ended.as_ref();
        self.telemetry.audit.record(&AuditEvent {
            action: Action::Logout,
            outcome: Outcome::Success,
            reason: if session.is_some() { "none" } else { "session.unknown" },
            app: &self.app,
            client: &self.provider.registration().label,
            subject: session.and_then(Session::subject_pseudonym),
            session: session.map(Session::pseudonym),
            acr: None,
            request_id,
            transaction: None,
        });
        let (max_age, had_one) =
            (u64::try_from(LOGOUT_LIFETIME).unwrap_or_default(), ended.is_some());
        // What is known of the AS is enough: an AS that is down keeps nobody from leaving.
        let known = self.provider.known_metadata();
        let goes_on = known.is_some_and(|metadata| metadata.end_session_endpoint().is_some());
        let ours = |session: &Session| self.is_of_this_client(session);
        let Some(session) = ended.filter(|session| goes_on && ours(session)) else {
            return Ok(Left { ended: had_one, ticket: None, max_age });
        };
        // One that is encrypted is encrypted to us: its issuer could not read it (RPL-2/2.1).
        let readable = self.provider.registration().id_token_encryption.is_none();
        let fits = |token: &&Token| readable && token.expose().len() <= HINT_LIMIT;
        let id_token = session.id_token().filter(fits).cloned();
        let state = self
            .ambient
            .token()
            .map_err(|_| LoginFailure::Internal { reason: "internal.no_randomness" })?;
        let expires = self.ambient.now().plus(LOGOUT_LIFETIME);
        let ticket = self.seal_ticket(&Ticket { state, id_token, expires })?;
        Ok(Left { ended: had_one, ticket: Some(ticket), max_age })
    }

    /// Goes on to the AS with what the ticket holds (RPL-2/2.1, RPL-2b).
    pub async fn take_leave(&self, ticket: &str) -> Result<LeaveTaking, LoginFailure> {
        let spent = LoginFailure::Transaction { reason: "logout.ticket_invalid" };
        let ticket = self.open_ticket(ticket).ok_or(spent)?;
        let metadata = self.provider.metadata().await?;
        let endpoint = metadata
            .end_session_endpoint()
            .ok_or(LoginFailure::Transaction { reason: "logout.no_end_session_endpoint" })?;
        let end_session_url = end_session_url(
            endpoint,
            &self.provider.registration().client_id,
            ticket.id_token.as_ref().map(Token::expose),
            &self.policy.post_logout_redirect_uri,
            &ticket.state,
        );
        let rest = Ticket { id_token: None, ..ticket };
        let max_age = u64::try_from(rest.expires.since(self.ambient.now())).unwrap_or_default();
        Ok(LeaveTaking { end_session_url, ticket: self.seal_ticket(&rest)?, max_age })
    }

    /// Whether the AS sent the browser back with the `state` this browser left with. The local
    /// session has long ended; a wrong answer changes nothing (RPL-2b).
    pub fn came_home(&self, ticket: Option<&str>, state: Option<&str>) -> bool {
        let Some((ticket, state)) = ticket.and_then(|t| self.open_ticket(t)).zip(state) else {
            return false;
        };
        ticket.state.as_bytes().ct_eq(state.as_bytes()).into()
    }

    /// Ends a session and, if the app's policy says so, gives its tokens up.
    pub(super) async fn end_session(
        &self,
        handle: &Handle,
        reason: EndReason,
    ) -> Result<Option<Session>, StoreUnavailable> {
        let ended = self.sessions.end(&self.app, handle, reason).await?;
        let gives_up =
            |session: &&Session| self.policy.revoke_on_logout && self.is_of_this_client(session);
        if let Some(session) = ended.as_ref().filter(gives_up) {
            let refresh_token = session.refresh_token().cloned();
            self.provider.give_up(refresh_token, Some(session.access_token().clone()));
            for narrowed in session.narrowed_tokens() {
                self.provider.give_up(None, Some(narrowed.clone()));
            }
        }
        Ok(ended)
    }

    fn ticket_context(&self) -> Vec<u8> {
        format!("logout\0{}", self.app).into_bytes()
    }

    fn seal_ticket(&self, ticket: &Ticket) -> Result<String, LoginFailure> {
        let failed = LoginFailure::Internal { reason: "internal.seal_failed" };
        let plain =
            zeroize::Zeroizing::new(serde_json::to_vec(ticket).map_err(|_| failed.clone())?);
        let sealed = self.logout_seal.seal(&self.ticket_context(), &plain).map_err(|_| failed)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    fn open_ticket(&self, sealed: &str) -> Option<Ticket> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (_, plain) = self.logout_seal.open(&self.ticket_context(), &sealed).ok()?;
        let ticket: Ticket = serde_json::from_slice(&plain).ok()?;
        (ticket.expires > self.ambient.now()).then_some(ticket)
    }
}
