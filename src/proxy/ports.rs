//! Owns what forwarding needs from the rest of the house, as narrow traits the server fills in.
//! Must not know: cookies, OAuth, TLS, metrics libraries.

use std::{error::Error, fmt, future::Future, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    body::RequestBody,
    credential::{Credential, CredentialFault},
    routes::TokenSource,
};
use crate::{
    clock::UnixTime,
    protocol::{Authentication, AuthorizationDetails},
};

/// An error of any kind.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The guards and the session behind a request.
pub trait Gate: Send + Sync {
    /// A live session with its tokens.
    type Session: Admitted;
    /// Why a request is not let in; answered by whoever implements the gate.
    type Refusal: Send;

    /// Proof that the app's own page sent this request: `Origin`, `Sec-Fetch-Site`, custom header.
    /// Costs nothing: no store, no cryptography.
    fn guard(&self, headers: &HeaderMap) -> Result<(), Self::Refusal>;

    /// The session named by the request's cookie. Counts as activity of the user. Its tokens do not
    /// matter yet, so trouble at the authorization server does not either.
    fn admit(
        &self,
        headers: &HeaderMap,
    ) -> impl Future<Output = Result<Self::Session, Self::Refusal>> + Send;

    /// The same session with an access token of this kind worth sending, refreshed or fetched if due.
    fn arm(
        &self,
        session: Self::Session,
        source: &TokenSource,
    ) -> impl Future<Output = Result<Self::Session, Self::Refusal>> + Send;

    /// The same session after the upstream rejected its access token as invalid.
    fn renew(
        &self,
        session: Self::Session,
        source: &TokenSource,
    ) -> impl Future<Output = Renewal<Self::Session, Self::Refusal>> + Send;
}

/// What became of an access token that an upstream rejected.
#[derive(Debug)]
pub enum Renewal<S, R> {
    /// There is another access token now.
    Renewed(S),
    /// The session lives, but no other access token is to be had.
    Unchanged,
    /// The session has ended, or it cannot be told.
    Refused(R),
}

/// What forwarding sees of a session.
pub trait Admitted: Send {
    /// What one request of `method` to `target` carries of the access token; a fresh one for each
    /// attempt (DPOP-7.3).
    fn credential(&self, method: &Method, target: &Uri) -> Result<Credential, CredentialFault>;
    /// Takes note of what an answer of `target`'s server says for the next request, whatever its
    /// status (DPOP-8).
    fn learn(&self, target: &Uri, headers: &HeaderMap);
    /// Whose session it is and how they authenticated.
    fn standing(&self) -> Standing<'_>;
    /// What the browser is to keep from now on, as `Set-Cookie` values; goes with the response's head.
    fn cookies(&self) -> &[HeaderValue] {
        &[]
    }
    /// How long a response may stream. By default nobody ends it but its peers.
    fn lifetime(&self) -> Lifetime {
        Lifetime::default()
    }
}

/// Whose session it is and how they authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Names the session; another one after every login.
    pub session: &'a str,
    /// Names the user, the same in all of their sessions; absent if unknown.
    pub person: Option<&'a str>,
    /// When the session began: with the login.
    pub began: UnixTime,
    /// How the user authenticated at that login.
    pub authentication: Authentication<'a>,
    /// What was granted in detail at that login.
    pub details: Option<&'a AuthorizationDetails>,
}

/// The end of a session as seen by its open streams (PXY-6).
#[derive(Clone, Debug, Default)]
pub struct Lifetime {
    /// Cancelled when the session ends early.
    pub ended: Option<Arc<CancellationToken>>,
    /// The session's absolute end.
    pub deadline: Option<Instant>,
}

/// A connection pool to one upstream.
pub trait Transport: Send + Sync {
    /// A response body.
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;

    /// Sends a request; resolves with the response head. Dropping the future abandons the request.
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Unsent>> + Send;
}

/// A request that got no response head.
#[derive(Debug)]
pub struct Unsent {
    /// No connection was made, so the upstream saw nothing of the request.
    pub unconnected: bool,
    /// The cause, for the log.
    pub cause: BoxError,
}

impl<C> Transport for hyper_util::client::legacy::Client<C, RequestBody>
where
    C: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    type Body = hyper::body::Incoming;

    async fn send(&self, request: Request<RequestBody>) -> Result<Response<Self::Body>, Unsent> {
        self.request(request)
            .await
            .map_err(|error| Unsent { unconnected: error.is_connect(), cause: error.into() })
    }
}

/// Where measurements go. `route` is a configured prefix, never a raw path.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A response head came, or will not: `class` is `2xx`..`5xx`, `unreachable`, `timeout` or `aborted`.
    fn upstream(&self, route: &str, class: &'static str, seconds: f64);
    /// A response body began to flow.
    fn stream_opened(&self);
    /// A response body ended, well or not.
    fn stream_closed(&self);
    /// An upstream tried to set a cookie (PXY-3).
    fn set_cookie_dropped(&self, route: &str);
    /// An upstream answered with another interaction id than ours (FAPI1-BASE-6.2.2-5).
    fn interaction_mismatch(&self, route: &str);
    /// The user was to authenticate otherwise: the page was told (`asked`, `repeated`) or not
    /// (`limited`, `exhausted`), or an upstream's demand was not followed (`malformed`, `not_allowed`).
    fn step_up(&self, route: &str, outcome: &'static str);
}
