//! Owns session administration as HTTP (SES-7.4): who may, how much at a time, and a record of each act.
//! Must not know: how sessions are kept. No handle comes here, so no token can be opened or revoked.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::{
    clock::{Ambient, EntropyUnavailable},
    seal::{SealingKey, ServerKey},
    session::{EndReason, Entry, Sessions, StoreUnavailable, Whose, store::Cursor},
    telemetry::{Action, AuditEvent, Outcome, Pseudonym, Telemetry},
    web::RequestId,
};

/// Sent with every call. A page cannot send it without asking first, and nobody answers that here.
pub const ADMIN_HEADER: &str = "x-fapi-bff-admin";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Issuer, subject and a cursor fit many times.
const BODY_LIMIT: usize = 8 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Records looked at for one answer: usually, and at the most.
const USUAL_PAGE: usize = 100;
const LARGEST_PAGE: usize = 500;
/// Calls at work at a time: each may go through the whole store.
const TURNS: usize = 4;
/// Wrong tokens in one minute that are each told of. The right one is never kept waiting for them.
const FAILURES: u32 = 10;
const CURSOR: &[u8] = b"admin-cursor";

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    List,
    End,
}

/// Lists and ends sessions for whoever shows the operators' token.
pub struct Administration {
    sessions: Arc<Sessions>,
    token: [u8; 32],
    /// Where a listing goes on is a key of the store: nobody's to see, or to make up.
    cursors: SealingKey,
    ambient: Ambient,
    telemetry: Telemetry,
    failures: Mutex<Failures>,
    turns: Arc<Semaphore>,
}

#[derive(Default)]
struct Failures {
    since_millis: u64,
    count: u32,
}

impl fmt::Debug for Administration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Administration").finish_non_exhaustive()
    }
}

/// Why a call is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    Disabled,
    Browser,
    Header,
    ContentType,
    Token,
    TooManyTokens,
    Busy,
    TooLarge,
    Invalid(&'static str),
    Store,
    Internal,
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::Disabled | Self::Browser | Self::Header => StatusCode::FORBIDDEN,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::TooManyTokens | Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Store => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Stable machine reason.
    const fn reason(self) -> &'static str {
        match self {
            Self::Disabled => "admin.disabled",
            Self::Browser => "admin.browser",
            Self::Header => "admin.header_missing",
            Self::ContentType => "admin.content_type",
            Self::Token => "admin.token_wrong",
            Self::TooManyTokens => "admin.too_many_attempts",
            Self::Busy => "admin.busy",
            Self::TooLarge => "admin.too_large",
            Self::Invalid(_) => "admin.invalid_request",
            Self::Store => StoreUnavailable::REASON,
            Self::Internal => "internal.no_randomness",
        }
    }

    /// For the operator: what was wrong and what to do.
    const fn message(self) -> &'static str {
        match self {
            Self::Disabled => {
                "session administration is off: make a token with `fapi-bff keys admin --out FILE`, name the file as token_file under [admin], and restart"
            }
            Self::Browser => "this is not for pages: the call says that a browser sent it",
            Self::Header => "send the header `x-fapi-bff-admin: 1`",
            Self::ContentType => "send a JSON body as `content-type: application/json`",
            Self::Token => {
                "show the token in the server's [admin] token_file as `authorization: Bearer …`"
            }
            Self::TooManyTokens => "too many wrong tokens; wait a minute",
            Self::Busy => "other calls are under way; repeat this one in a moment",
            Self::TooLarge => "the body is larger than 8 KiB",
            Self::Invalid(what) => what,
            Self::Store => {
                "the session store does not answer; repeat the call, some sessions may have ended already"
            }
            Self::Internal => "the operating system's random source failed",
        }
    }

    const fn retry_after(self) -> Option<u32> {
        match self {
            Self::TooManyTokens => Some(60),
            Self::Busy => Some(1),
            Self::Store => Some(2),
            _ => None,
        }
    }

    fn into_response(self, request_id: Option<&RequestId>) -> Response {
        #[derive(Serialize)]
        struct Told<'a> {
            error: &'static str,
            message: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            request_id: Option<&'a str>,
        }
        let (error, message) = (self.reason(), self.message());
        let told = Told { error, message, request_id: request_id.map(RequestId::as_str) };
        let mut response = json(self.status(), &told);
        let headers = response.headers_mut();
        if self == Self::Token {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreUnavailable> for Refusal {
    fn from(_: StoreUnavailable) -> Self {
        Self::Store
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListCall {
    app: Option<String>,
    issuer: Option<String>,
    subject: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndCall {
    id: Option<String>,
    issuer: Option<String>,
    subject: Option<String>,
    app: Option<String>,
    #[serde(default)]
    all: bool,
}

#[derive(Serialize)]
struct Listed {
    sessions: Vec<Shown>,
    /// For `after`; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    id: Pseudonym,
    app: String,
    created: String,
    last_seen: String,
    idle_expires: String,
    expires: String,
}

impl From<Entry> for Shown {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            app: entry.app,
            created: entry.created.rfc3339(),
            last_seen: entry.last_seen.rfc3339(),
            idle_expires: entry.idle_expires.rfc3339(),
            expires: entry.expires.rfc3339(),
        }
    }
}

#[derive(Serialize)]
struct Ended {
    ended: u64,
}

/// What an act was about, for audit.
#[derive(Default)]
struct About {
    app: Option<String>,
    subject: Option<Pseudonym>,
    session: Option<Pseudonym>,
    /// Nobody by that name was there.
    missed: bool,
}

/// Answers a call, or says that there is no administration.
pub(super) async fn serve(
    administration: Option<&Arc<Administration>>,
    call: Call,
    request: Request,
) -> Response {
    let Some(administration) = administration else {
        return Refusal::Disabled.into_response(None);
    };
    let Ok(id) = RequestId::new(&administration.ambient) else {
        return Refusal::Internal.into_response(None);
    };
    let (administration, task_id) = (Arc::clone(administration), id.clone());
    // In a task of its own: an operator who hangs up does not leave it half done and unrecorded.
    let task = tokio::spawn(async move { administration.answer(call, request, &task_id).await });
    let answer = task.await.unwrap_or_else(|_| {
        tracing::error!(request_id = %id, "session administration panicked");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    let mut answer = answer;
    answer.headers_mut().insert(REQUEST_ID, id.header());
    answer
}

impl Administration {
    /// Over these sessions, for who shows `token`.
    pub fn new(
        sessions: Arc<Sessions>,
        token: &[u8],
        ambient: Ambient,
        telemetry: Telemetry,
    ) -> Result<Self, EntropyUnavailable> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token).as_ref());
        // A listing goes on at the process it began at, so the key need not outlive it.
        let cursors = ServerKey::from_bytes(ambient.random()?).derive("admin-cursor v1");
        let (failures, turns) = (Mutex::default(), Arc::new(Semaphore::new(TURNS)));
        Ok(Self { sessions, token: hash, cursors, ambient, telemetry, failures, turns })
    }

    async fn answer(&self, call: Call, request: Request, id: &RequestId) -> Response {
        match self.try_answer(call, request, id).await {
            Ok(response) => response,
            Err(refusal) => {
                let reason = refusal.reason();
                self.telemetry.metrics.guard_rejected("none", reason);
                // A flood of guesses must not drown the stream; the counter has them all.
                if refusal != Refusal::TooManyTokens {
                    tracing::warn!(request_id = %id, reason, "session administration refused");
                }
                refusal.into_response(Some(id))
            }
        }
    }

    async fn try_answer(
        &self,
        call: Call,
        request: Request,
        id: &RequestId,
    ) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        if let Err(refusal) = self.admit(&parts.headers) {
            if refusal != Refusal::TooManyTokens {
                self.record(Action::AdminAccess, Err(refusal), &About::default(), id);
            }
            return Err(refusal);
        }
        let turn = self.turns.try_acquire().map_err(|_| Refusal::Busy)?;
        let mut about = About::default();
        let (action, done) = match call {
            Call::List => {
                let done = match read(body).await {
                    Ok(wish) => self.list(wish, &mut about).await.map(|listed| ok(&listed)),
                    Err(refusal) => Err(refusal),
                };
                (Action::AdminSessionsList, done)
            }
            Call::End => {
                let done = match read(body).await {
                    Ok(wish) => self.end(wish, &mut about).await.map(|ended| ok(&ended)),
                    Err(refusal) => Err(refusal),
                };
                (Action::AdminSessionsEnd, done)
            }
        };
        drop(turn);
        self.record(action, done.as_ref().map(|_| ()).map_err(|refusal| *refusal), &about, id);
        done
    }

    /// What costs nothing first, the token last: a page that guesses does not learn whether it is right.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let from_browser = |name: &HeaderName| name == ORIGIN || name.as_str().starts_with("sec-");
        if headers.keys().any(from_browser) {
            return Err(Refusal::Browser);
        }
        if only(headers, &HeaderName::from_static(ADMIN_HEADER)) != Some("1") {
            return Err(Refusal::Header);
        }
        let essence = only(headers, &CONTENT_TYPE).and_then(|value| value.split(';').next());
        if !essence.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Refusal::ContentType);
        }
        let shown = only(headers, &AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        let right = shown.is_some_and(|shown| {
            // Of equal length, whatever was shown.
            digest(&SHA256, shown.as_bytes()).as_ref().ct_eq(&self.token).into()
        });
        if right { Ok(()) } else { Err(self.failed()) }
    }

    fn failed(&self) -> Refusal {
        let now = self.ambient.clock.monotonic_millis();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(failures.since_millis) >= 60_000 {
            *failures = Failures { since_millis: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        if failures.count > FAILURES { Refusal::TooManyTokens } else { Refusal::Token }
    }

    async fn list(&self, wish: ListCall, about: &mut About) -> Result<Listed, Refusal> {
        let ListCall { app, issuer, subject, after, limit } = wish;
        let in_app = |name: &str| app.as_deref().is_none_or(|app| app == name);
        about.app.clone_from(&app);
        match (issuer, subject) {
            (Some(issuer), Some(subject)) if after.is_none() && limit.is_none() => {
                about.subject = Some(self.sessions.subject_pseudonym(&issuer, &subject));
                let entries = self.sessions.list_of(&issuer, &subject, in_app, None).await?;
                Ok(Listed { sessions: entries.into_iter().map(Shown::from).collect(), next: None })
            }
            (None, None) => {
                let limit = limit.unwrap_or(USUAL_PAGE);
                if !(1..=LARGEST_PAGE).contains(&limit) {
                    return Err(Refusal::Invalid("limit is a number from 1 to 500"));
                }
                let after = after.map(|after| self.open_cursor(&after)).transpose()?;
                let listing = self.sessions.list(in_app, after, limit).await?;
                let next = listing.next.map(|next| self.seal_cursor(&next)).transpose()?;
                let sessions = listing.entries.into_iter().map(Shown::from).collect();
                Ok(Listed { sessions, next })
            }
            _ => Err(Refusal::Invalid(
                "issuer and subject go together, and without after and limit: a subject's sessions come all at once",
            )),
        }
    }

    async fn end(&self, wish: EndCall, about: &mut About) -> Result<Ended, Refusal> {
        let reason = EndReason::Administrator;
        let EndCall { id, issuer, subject, app, all } = wish;
        let in_app = |name: &str| app.as_deref().is_none_or(|app| app == name);
        about.app.clone_from(&app);
        let ended = match (id, issuer, subject, all) {
            (Some(id), None, None, false) if app.is_none() => {
                let ended = self.sessions.end_listed(&id, reason).await?;
                about.missed = ended.is_none();
                let count = u64::from(ended.is_some());
                if let Some(ended) = ended {
                    (about.app, about.session) = (Some(ended.app), Some(ended.pseudonym));
                }
                count
            }
            (None, Some(issuer), Some(subject), false) => {
                about.subject = Some(self.sessions.subject_pseudonym(&issuer, &subject));
                let whose = Whose::Subject { issuer: &issuer, subject: &subject };
                let ended = self.sessions.end_all(whose, in_app, reason).await?;
                self.sessions.holds_everywhere().await;
                about.missed = ended.is_empty();
                u64::try_from(ended.len()).unwrap_or(u64::MAX)
            }
            (None, None, None, true) => {
                let ended = self.sessions.end_every(in_app, reason).await?;
                about.missed = ended == 0;
                ended
            }
            _ => {
                return Err(Refusal::Invalid(
                    "name one of: id; issuer and subject, perhaps with app; all: true, perhaps with app",
                ));
            }
        };
        Ok(Ended { ended })
    }

    fn record(&self, action: Action, done: Result<(), Refusal>, about: &About, id: &RequestId) {
        let (outcome, reason) = match done {
            Ok(()) if about.missed => (Outcome::Success, "session.unknown"),
            Ok(()) => (Outcome::Success, "none"),
            Err(refusal @ (Refusal::Store | Refusal::Internal)) => {
                (Outcome::Failed, refusal.reason())
            }
            Err(refusal) => (Outcome::Rejected, refusal.reason()),
        };
        self.telemetry.audit.record(&AuditEvent {
            action,
            outcome,
            reason,
            app: about.app.as_deref().unwrap_or("all"),
            client: "none",
            subject: about.subject.as_ref(),
            session: about.session.as_ref(),
            acr: None,
            request_id: id.as_str(),
            transaction: None,
        });
    }

    fn seal_cursor(&self, cursor: &Cursor) -> Result<String, Refusal> {
        let sealed = self.cursors.seal(CURSOR, &cursor.0).map_err(|_| Refusal::Internal)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    fn open_cursor(&self, text: &str) -> Result<Cursor, Refusal> {
        let refused =
            Refusal::Invalid("after is no `next` of this process; begin the listing anew");
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| refused)?;
        let opened = self.cursors.open(CURSOR, &sealed).map_err(|_| refused)?;
        Ok(Cursor(opened.to_vec()))
    }
}

/// A header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_LIMIT).collect());
    let bytes = match read.await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge),
        Ok(Err(_)) | Err(_) => return Err(Refusal::Invalid("the body stopped arriving")),
    };
    serde_json::from_slice(&bytes).map_err(|_| {
        Refusal::Invalid(
            "the body is no JSON object of the known members, each once and of its type",
        )
    })
}

fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    match serde_json::to_string(value) {
        Ok(text) => (status, headers, text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
