//! Owns the two streaming bodies: towards the upstream with a running limit, towards the browser with
//! an idle time-out. Neither is ever buffered. Must not know: HTTP semantics beyond frames.

use std::{
    fmt,
    future::Future as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::ports::{BoxError, Lifetime, Observer};

/// Why a body was cut off; the peer sees an aborted message, never a clean end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Cut {
    /// The request body exceeds the route's limit.
    #[error("the request body exceeds the limit")]
    TooLarge,
    /// Nothing came for the idle time-out.
    #[error("the sender fell silent")]
    Idle,
    /// The sender broke off.
    #[error("the sender broke off")]
    Broken,
    /// The session behind the stream ended (PXY-6).
    #[error("the session ended")]
    SessionEnded,
}

impl Cut {
    const fn code(self) -> u8 {
        match self {
            Self::TooLarge => 1,
            Self::Idle => 2,
            Self::Broken => 3,
            Self::SessionEnded => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::TooLarge),
            2 => Some(Self::Idle),
            3 => Some(Self::Broken),
            4 => Some(Self::SessionEnded),
            _ => None,
        }
    }
}

/// How far a request body has come, readable while the transport owns the body. It exists because an
/// HTTP/2 transport does not report why a body failed, only that the stream was reset.
#[derive(Debug)]
pub struct Upload {
    start: Instant,
    idle: Duration,
    /// Milliseconds from `start` to the moment the turn last changed or a frame was handed over.
    turned: AtomicU64,
    /// Whether the next frame is the client's to send.
    clients_turn: AtomicBool,
    cut: AtomicU8,
}

impl Upload {
    fn begin(idle: Duration) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            idle,
            turned: AtomicU64::new(0),
            clients_turn: AtomicBool::new(false),
            cut: AtomicU8::new(0),
        })
    }

    fn turn(&self, clients: bool) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.turned.store(millis, Ordering::Relaxed);
        self.clients_turn.store(clients, Ordering::Relaxed);
    }

    fn wait_for_client(&self) {
        if !self.clients_turn.load(Ordering::Relaxed) {
            self.turn(true);
        }
    }

    /// From when the upstream is to blame for silence. The client's own time comes first: either the
    /// body ends it at its idle time-out, or the transport no longer asks for the body.
    pub fn upstream_owes_since(&self) -> Instant {
        let turned = self.start + Duration::from_millis(self.turned.load(Ordering::Relaxed));
        if self.clients_turn.load(Ordering::Relaxed) { turned + self.idle } else { turned }
    }

    /// Why the body was cut off, if it was.
    pub fn cut(&self) -> Option<Cut> {
        Cut::from_code(self.cut.load(Ordering::Acquire))
    }
}

/// A timer that is armed on the first wait and then only looked at when it fires.
#[derive(Debug)]
struct Idle {
    limit: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    const fn new(limit: Duration) -> Self {
        Self { limit, since: None, timer: None }
    }

    fn moved(&mut self) {
        self.since = None;
    }

    /// Called when nothing came: ready once nothing has come for `limit`.
    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let due = *self.since.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(timer.as_mut().poll(context));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

/// A request body on its way to the upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// No body; such a request can be sent twice.
    Empty,
    /// The client's body.
    Streamed(Streamed),
}

/// The client's body under a limit.
#[derive(Debug)]
pub struct Streamed {
    body: Body,
    left: u64,
    idle: Idle,
    upload: Arc<Upload>,
}

impl RequestBody {
    /// Wraps `body`; the handle is absent if there is nothing to send.
    pub fn new(body: Body, limit: u64, idle: Duration) -> (Self, Option<Arc<Upload>>) {
        if body.is_end_stream() {
            return (Self::Empty, None);
        }
        let upload = Upload::begin(idle);
        let streamed =
            Streamed { body, left: limit, idle: Idle::new(idle), upload: Arc::clone(&upload) };
        (Self::Streamed(streamed), Some(upload))
    }
}

impl Streamed {
    fn cut(&self, why: Cut) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.upload.cut.store(why.code(), Ordering::Release);
        Poll::Ready(Some(Err(why)))
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Self::Streamed(streamed) = self.get_mut() else {
            return Poll::Ready(None);
        };
        if let Some(cut) = streamed.upload.cut() {
            return Poll::Ready(Some(Err(cut)));
        }
        loop {
            let frame = match Pin::new(&mut streamed.body).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    streamed.upload.wait_for_client();
                    ready!(streamed.idle.poll_expired(context));
                    return streamed.cut(Cut::Idle);
                }
            };
            streamed.idle.moved();
            streamed.upload.turn(false);
            let data = match frame {
                None => return Poll::Ready(None),
                Some(Err(_)) => return streamed.cut(Cut::Broken),
                Some(Ok(frame)) => frame.into_data(),
            };
            // Trailers could carry what the header rules keep out, so they end here.
            let Ok(data) = data else { continue };
            match streamed.left.checked_sub(data.len() as u64) {
                Some(left) => streamed.left = left,
                None => return streamed.cut(Cut::TooLarge),
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(streamed) => {
                streamed.upload.cut().is_none() && streamed.body.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(streamed) => streamed.body.size_hint(),
        }
    }
}

/// Counts one open response stream as long as it lives.
#[derive(Debug)]
struct OpenStream(Arc<dyn Observer>);

impl OpenStream {
    fn new(observer: Arc<dyn Observer>) -> Self {
        observer.stream_opened();
        Self(observer)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.stream_closed();
    }
}

/// A response body on its way to the browser. Dropping it drops the upstream's, and with it the
/// request.
pub struct ResponseBody<B> {
    body: B,
    idle: Idle,
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    cut: bool,
    _open: OpenStream,
}

impl<B> ResponseBody<B> {
    /// Wraps an upstream's body.
    pub fn new(body: B, idle: Duration, lifetime: Lifetime, observer: Arc<dyn Observer>) -> Self {
        Self {
            body,
            idle: Idle::new(idle),
            ended: lifetime.ended.map(|token| Box::pin(token.cancelled_owned())),
            deadline: lifetime.deadline.map(|end| Box::pin(sleep_until(end))),
            cut: false,
            _open: OpenStream::new(observer),
        }
    }

    fn session_over(&mut self, context: &mut Context<'_>) -> bool {
        let ended = self.ended.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready());
        ended || self.deadline.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready())
    }
}

impl<B> HttpBody for ResponseBody<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.cut {
            return Poll::Ready(None);
        }
        if this.session_over(context) {
            this.cut = true;
            return Poll::Ready(Some(Err(Cut::SessionEnded.into())));
        }
        loop {
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Pending => {
                    ready!(this.idle.poll_expired(context));
                    this.cut = true;
                    return Poll::Ready(Some(Err(Cut::Idle.into())));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => {
                    this.cut = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    this.idle.moved();
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.cut && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("cut", &self.cut).finish_non_exhaustive()
    }
}
