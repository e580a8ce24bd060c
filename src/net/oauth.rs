//! Owns the HTTP client for calls to authorization servers: bounded in size and time, followed by
//! nothing, and exact about whether a failed request may have reached its server.
//! Must not know which endpoint is called or what the answer means.

use std::{
    convert::Infallible,
    error::Error as StdError,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use rustls::AlertDescription;
use url::Url;

use super::resolver::{ResolveFault, Resolver};

/// Shorter than the keep-alive of common servers, so that a request is seldom sent into a connection
/// the server is just closing; for a refresh that would be an outcome nobody knows.
const POOL_IDLE: Duration = Duration::from_secs(10);
const POOL_SIZE: usize = 32;

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header section.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no [`Answer`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallFailed {
    /// The connection was lost, or the server spoke no HTTP.
    #[error("the connection broke")]
    Broken {
        /// The request may have reached the server.
        sent: bool,
    },
    /// The server wanted to send us elsewhere; we do not go.
    #[error("the answer is a redirect ({0})")]
    Redirect(u16),
    /// Nothing was sent.
    #[error("not sent: {0}")]
    Refused(Refusal),
    /// Time ran out.
    #[error("timed out")]
    TimedOut {
        /// The request may have reached the server.
        sent: bool,
    },
    /// The answer is longer than the caller reads.
    #[error("the answer is too large")]
    TooLarge,
}

/// Why nothing was sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The server lives where we may not go (META-PRJ).
    #[error("address not allowed")]
    AddressNotAllowed,
    /// The server did not accept our client certificate, or missed one.
    #[error("the server refused our client certificate: {0}")]
    ClientCertificate(String),
    /// No TCP connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The name has no address.
    #[error("cannot resolve the name: {0}")]
    Name(String),
    /// The TLS handshake failed: the peer's certificate or its parameters are not acceptable.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// Not an `https` URL, or not a request HTTP can carry.
    #[error("not a request to an https URL")]
    Url,
}

impl CallFailed {
    /// Whether the request may have reached the server. If not, it can be repeated safely.
    pub const fn sent(&self) -> bool {
        match self {
            Self::Broken { sent } | Self::TimedOut { sent } => *sent,
            Self::Refused(_) => false,
            Self::Redirect(_) | Self::TooLarge => true,
        }
    }

    /// The stable machine reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Broken { .. } => "net.broken",
            Self::Redirect(_) => "net.redirect",
            Self::Refused(Refusal::AddressNotAllowed) => "net.address_not_allowed",
            Self::Refused(Refusal::ClientCertificate(_)) => "net.client_certificate_refused",
            Self::Refused(Refusal::Connect(_)) => "net.connect",
            Self::Refused(Refusal::Name(_)) => "net.name",
            Self::Refused(Refusal::Tls(_)) => "net.tls",
            Self::Refused(Refusal::Url) => "net.url",
            Self::TimedOut { .. } => "net.timed_out",
            Self::TooLarge => "net.too_large",
        }
    }
}

/// Client for calls to one authorization server under one TLS identity: `https` only, no redirects,
/// no proxy (nor `HTTPS_PROXY` from the environment), no `Referer`, no retries, a pool of its own.
///
/// A rotated client certificate needs a new client, or pooled connections keep speaking for the old.
#[derive(Clone, Debug)]
pub struct OAuthHttp {
    client: reqwest::Client,
    resolver: Resolver,
}

impl OAuthHttp {
    /// A client that connects (name, TCP and TLS together) within `connect_timeout` and has the whole
    /// answer within `request_timeout`, connecting included. HTTP/2 is used where `tls` offers it.
    pub fn new(
        tls: rustls::ClientConfig,
        resolver: Resolver,
        connect_timeout: Duration,
        request_timeout: Duration,
    ) -> Result<Self, OAuthHttpFault> {
        #[expect(clippy::disallowed_methods, reason = "the one place that builds this client")]
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(resolver.clone()))
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(connect_timeout)
            .timeout(request_timeout)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
            .user_agent(concat!("fapi-bff/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| OAuthHttpFault(root_cause(&error).to_string()))?;
        Ok(Self { client, resolver })
    }

    /// Sends one request and reads the answer, of at most `limit` bytes, whatever its status unless
    /// that is a redirect.
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Option<Bytes>,
        limit: usize,
    ) -> Result<Answer, CallFailed> {
        // Address literals do not pass through the resolver.
        if self.resolver.url_allowed(url).is_err() {
            return Err(CallFailed::Refused(Refusal::AddressNotAllowed));
        }
        if url.scheme() != "https" {
            return Err(CallFailed::Refused(Refusal::Url));
        }

        // Without a body there is nothing to watch: once connected, count the request as sent.
        let sent = Arc::new(AtomicBool::new(body.as_ref().is_none_or(Bytes::is_empty)));
        let mut request = self.client.request(method, url.clone()).headers(headers);
        if let Some(data) = body {
            request = request.body(reqwest::Body::wrap(Watched { data, taken: Arc::clone(&sent) }));
        }
        let failed = |error: &reqwest::Error| {
            let failure = classify(error, sent.load(Ordering::Acquire));
            tracing::debug!(
                reason = failure.reason(),
                sent = failure.sent(),
                host = url.host_str(),
                cause = %root_cause(error),
                "a call failed"
            );
            failure
        };

        let mut response = request.send().await.map_err(|error| failed(&error))?;
        sent.store(true, Ordering::Release);
        let status = response.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Err(CallFailed::Redirect(status.as_u16()));
        }
        let announced = response.content_length().unwrap_or(0);
        if usize::try_from(announced).map_or(true, |announced| announced > limit) {
            return Err(CallFailed::TooLarge);
        }
        let headers = std::mem::take(response.headers_mut());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if chunk.len() > limit - body.len() {
                return Err(CallFailed::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: status.as_u16(), headers, body: body.freeze() })
    }
}

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client could not be built: {0}")]
pub struct OAuthHttpFault(String);

/// A request body that notes when the connection takes it: until then the server cannot have acted
/// on the request.
struct Watched {
    data: Bytes,
    taken: Arc<AtomicBool>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.data.is_empty() {
            return Poll::Ready(None);
        }
        self.taken.store(true, Ordering::Release);
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.len() as u64)
    }
}

/// `taken`: the connection took the request, as far as can be seen.
fn classify(error: &reqwest::Error, taken: bool) -> CallFailed {
    let connecting = error.is_connect();
    if error.is_timeout() {
        return CallFailed::TimedOut { sent: taken && !connecting };
    }
    // With TLS 1.3 the server judges our certificate after we have begun to send; having refused
    // it, it has not read the request.
    if let Some(alert) = find::<rustls::Error>(error).and_then(certificate_alert) {
        return CallFailed::Refused(Refusal::ClientCertificate(alert));
    }
    if error.is_builder() {
        return CallFailed::Refused(Refusal::Url);
    }
    if !connecting {
        return CallFailed::Broken { sent: taken };
    }
    CallFailed::Refused(match (find::<ResolveFault>(error), find::<rustls::Error>(error)) {
        (Some(ResolveFault::NotAllowed(_)), _) => Refusal::AddressNotAllowed,
        (Some(ResolveFault::Unresolved(fault)), _) => Refusal::Name(fault.to_string()),
        (None, Some(fault)) => Refusal::Tls(fault.to_string()),
        (None, None) => Refusal::Connect(root_cause(error).to_string()),
    })
}

fn certificate_alert(error: &rustls::Error) -> Option<String> {
    use AlertDescription as Alert;
    match error {
        rustls::Error::AlertReceived(
            alert @ (Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate),
        ) => Some(format!("{alert:?}")),
        _ => None,
    }
}

/// The first error of type `T` among the causes; `io::Error` hides its inner error from `source`.
fn find<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    causes(error).find_map(|cause| cause.downcast_ref::<T>())
}

fn root_cause<'e>(error: &'e (dyn StdError + 'static)) -> &'e (dyn StdError + 'static) {
    causes(error).last().unwrap_or(error)
}

fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |current| {
        let current: &'e (dyn StdError + 'static) = *current;
        match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        }
    })
}
