//! Owns the two streaming bodies: towards the upstream with a running limit, towards the browser with
//! an idle time-out. Neither waits for the other end; only the beginning of a request body is kept, up
//! to a limit, to be sent again (DPOP-9-PRJ). Must not know: HTTP semantics beyond frames.

use std::{
    fmt,
    future::Future as _,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

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
    /// The request is sent anew, and its body belongs to the newer attempt.
    #[error("the request is sent anew")]
    Superseded,
}

impl Cut {
    const fn code(self) -> u8 {
        match self {
            Self::TooLarge => 1,
            Self::Idle => 2,
            Self::Broken => 3,
            Self::SessionEnded => 4,
            Self::Superseded => 5,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::TooLarge),
            2 => Some(Self::Idle),
            3 => Some(Self::Broken),
            4 => Some(Self::SessionEnded),
            5 => Some(Self::Superseded),
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

/// What a route lets a request body be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyLimits {
    /// Bytes in all.
    pub total: u64,
    /// Longest silence of the client.
    pub idle: Duration,
    /// Bytes kept to be sent again; 0 keeps none.
    pub replay: usize,
}

/// A client's body, to be sent in one attempt or, as long as its beginning is kept, in several.
/// Dropping it gives up what is kept and leaves the last attempt at it.
#[derive(Debug)]
pub struct ClientBody {
    idle: Duration,
    /// `None` if there is nothing to send.
    source: Option<Arc<Mutex<Source>>>,
}

/// The client's side of a body, shared by the attempts to send it, of which only the last may read.
#[derive(Debug)]
struct Source {
    body: Body,
    /// Bytes the client may still send.
    left: u64,
    idle: Idle,
    /// The client's last byte has come.
    ended: bool,
    /// Final for this body, whoever sends it.
    cut: Option<Cut>,
    attempts: u32,
    /// What was handed over, copied: that bounds memory whatever buffers the chunks are cut from.
    /// `None` once it is more than `replay`.
    kept: Option<BytesMut>,
    replay: usize,
    /// Whoever waits for the client; must hear of it when its attempt is over.
    waiting: Option<Waker>,
}

impl ClientBody {
    /// Wraps `body`.
    pub fn new(body: Body, limits: BodyLimits) -> Self {
        let BodyLimits { total, idle, replay } = limits;
        if body.is_end_stream() {
            return Self { idle, source: None };
        }
        let hopeless = body.size_hint().lower() > replay as u64;
        let source = Source {
            body,
            left: total,
            idle: Idle::new(idle),
            ended: false,
            cut: None,
            attempts: 0,
            kept: (replay > 0 && !hopeless).then(BytesMut::new),
            replay,
            waiting: None,
        };
        Self { idle, source: Some(Arc::new(Mutex::new(source))) }
    }

    /// Whether there is nothing to send.
    pub const fn is_empty(&self) -> bool {
        self.source.is_none()
    }

    /// The body for one attempt to send it, from its beginning; an earlier attempt is cut off. `None`
    /// if the beginning is gone: then nothing more can be sent of it (PXY-7).
    pub fn attempt(&self) -> Option<RequestBody> {
        let Some(source) = &self.source else { return Some(RequestBody::Empty) };
        let mut locked = lock(source);
        let replayed = match (locked.attempts, &locked.kept) {
            (0, _) => Bytes::new(),
            (_, Some(kept)) => Bytes::copy_from_slice(kept),
            (_, None) => return None,
        };
        locked.attempts += 1;
        // Nobody listened to the client meanwhile.
        locked.idle.moved();
        let number = locked.attempts;
        let earlier = locked.waiting.take();
        drop(locked);
        if let Some(earlier) = earlier {
            earlier.wake();
        }
        let upload = Upload::begin(self.idle);
        let source = Arc::clone(source);
        Some(RequestBody::Streamed(Streamed { source, number, replayed, upload }))
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(source) = &self.source {
            lock(source).kept = None;
        }
    }
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    /// The client's next data.
    fn poll_data(
        &mut self,
        upload: &Upload,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Cut>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    upload.wait_for_client();
                    match &mut self.waiting {
                        Some(waker) => waker.clone_from(context.waker()),
                        none => *none = Some(context.waker().clone()),
                    }
                    ready!(self.idle.poll_expired(context));
                    return Poll::Ready(Some(Err(Cut::Idle)));
                }
            };
            self.idle.moved();
            upload.turn(false);
            let data = match frame {
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(Cut::Broken))),
                Some(Ok(frame)) => frame.into_data(),
            };
            // Trailers could carry what the header rules keep out, so they end here.
            let Ok(data) = data else { continue };
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(Cut::TooLarge))),
            }
            self.keep(&data);
            return Poll::Ready(Some(Ok(data)));
        }
    }

    fn keep(&mut self, data: &[u8]) {
        if let Some(kept) = &mut self.kept {
            if kept.len() + data.len() > self.replay {
                self.kept = None;
            } else {
                kept.extend_from_slice(data);
            }
        }
    }
}

/// A request body on its way to the upstream, in one attempt.
#[derive(Debug)]
pub enum RequestBody {
    /// No body.
    Empty,
    /// The client's body.
    Streamed(Streamed),
}

/// The client's body under a limit, in one attempt.
#[derive(Debug)]
pub struct Streamed {
    source: Arc<Mutex<Source>>,
    number: u32,
    /// What earlier attempts have handed over and this one has yet to.
    replayed: Bytes,
    upload: Arc<Upload>,
}

impl RequestBody {
    /// How far it has come; absent if there is nothing to send.
    pub fn upload(&self) -> Option<Arc<Upload>> {
        match self {
            Self::Empty => None,
            Self::Streamed(streamed) => Some(Arc::clone(&streamed.upload)),
        }
    }
}

impl Streamed {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if let Some(cut) = self.upload.cut() {
            return Poll::Ready(Some(Err(cut)));
        }
        let mut source = lock(&self.source);
        let cut = if self.number == source.attempts { source.cut } else { Some(Cut::Superseded) };
        let data = match cut {
            Some(cut) => Some(Err(cut)),
            None if !self.replayed.is_empty() => {
                self.upload.turn(false);
                Some(Ok(std::mem::take(&mut self.replayed)))
            }
            None => {
                let data = ready!(source.poll_data(&self.upload, context));
                source.cut = data.as_ref().and_then(|data| data.as_ref().err().copied());
                data
            }
        };
        if let Some(Err(cut)) = &data {
            self.upload.cut.store(cut.code(), Ordering::Release);
        }
        Poll::Ready(data)
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(streamed) => {
                let data = ready!(streamed.poll_data(context));
                Poll::Ready(data.map(|data| data.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let Self::Streamed(streamed) = self else { return true };
        let source = lock(&streamed.source);
        let ours = streamed.number == source.attempts && source.cut.is_none();
        ours && streamed.replayed.is_empty() && (source.ended || source.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Self::Streamed(streamed) = self else { return SizeHint::with_exact(0) };
        let source = lock(&streamed.source);
        let rest = if source.ended { SizeHint::with_exact(0) } else { source.body.size_hint() };
        let replayed = streamed.replayed.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(replayed));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(replayed));
        }
        hint
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
    /// Held, so that whoever is to cancel it knows that somebody waits.
    _watch: Option<Arc<CancellationToken>>,
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
            ended: lifetime
                .ended
                .as_ref()
                .map(|token| Box::pin(CancellationToken::clone(token).cancelled_owned())),
            _watch: lifetime.ended,
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
