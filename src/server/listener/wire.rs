//! Owns one inbound connection's bytes: lets HTTP/1.1 heads through only whole and judged, and ends
//! connections that make no progress.
//! Must not know requests; the HTTP library reads and writes through it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::{
    Admission, Limits,
    head::{self, Framing},
};

/// What the HTTP library answers with `400` and a closed connection.
const UNPARSABLE: &[u8] = b"\0\r\n\r\n";

/// The requests of one connection, as its service sees them.
#[derive(Debug)]
pub(super) struct Pulse {
    born: Instant,
    in_flight: AtomicUsize,
    begun: AtomicU64,
    /// Milliseconds after `born`.
    last_end: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            in_flight: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            last_end: AtomicU64::new(0),
        })
    }

    /// A request lives until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    fn busy(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    /// Ends when no request has come within `first`, or none has been alive for `idle`. For HTTP/2,
    /// whose pings are no progress.
    pub(super) async fn idle(&self, first: Duration, idle: Duration) {
        loop {
            let now = Instant::now();
            let deadline = if self.busy() {
                now + idle
            } else if self.begun.load(Ordering::Acquire) == 0 {
                self.born + first
            } else {
                self.born + Duration::from_millis(self.last_end.load(Ordering::Acquire)) + idle
            };
            if deadline <= now {
                return;
            }
            // A request may come and go meanwhile, after which `idle` counts instead of `first`.
            sleep_until(deadline.min(now + idle)).await;
        }
    }
}

/// A living request.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Pulse>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let pulse = &self.0;
        let now = u64::try_from(pulse.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        pulse.last_end.store(now, Ordering::Release);
        pulse.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection's bytes. It holds the connection's admission, so that an upgraded connection counts
/// until its end.
pub(super) struct Wire<S> {
    io: S,
    admission: Admission,
    limits: Limits,
    heads: Option<Heads>,
    write_stalled: Option<Pin<Box<Sleep>>>,
}

/// Progress of reading HTTP/1.1.
struct Heads {
    pulse: Arc<Pulse>,
    stage: Stage,
    /// Read from the peer, not yet given on.
    buffer: BytesMut,
    /// So much of `buffer` may be given on.
    approved: usize,
    /// So much of `buffer` holds no end of a head.
    searched: usize,
    timer: Pin<Box<Sleep>>,
    awaited: Option<Awaited>,
    first: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Between requests or in a head.
    Head,
    /// So many bytes of a body remain.
    Body(u64),
    /// Everything is given on: chunks or an upgraded protocol.
    Raw,
    /// Nothing more is read.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    FirstByte,
    RestOfHead,
    NextRequest,
}

impl<S> Wire<S> {
    /// HTTP/1.1: heads are judged, and waited for no longer than `limits` say.
    pub(super) fn http1(io: S, admission: Admission, limits: Limits, pulse: Arc<Pulse>) -> Self {
        let heads = Heads {
            pulse,
            stage: Stage::Head,
            buffer: BytesMut::new(),
            approved: 0,
            searched: 0,
            timer: Box::pin(sleep(limits.first_byte)),
            awaited: None,
            first: true,
        };
        Self { io, admission, limits, heads: Some(heads), write_stalled: None }
    }

    /// HTTP/2, whose framing is unambiguous.
    pub(super) fn http2(io: S, admission: Admission, limits: Limits) -> Self {
        Self { io, admission, limits, heads: None, write_stalled: None }
    }
}

impl Heads {
    /// Gives on what is approved; `false` if that is nothing.
    fn give(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let n = self.approved.min(out.remaining());
        out.put_slice(self.buffer.get(..n).unwrap_or_default());
        self.buffer.advance(n);
        self.approved -= n;
        n > 0
    }

    /// Looks for a whole head in the buffer and judges it.
    fn judge(&mut self, most: usize, admission: &Admission) {
        match head::end(
            self.buffer.get(..most.min(self.buffer.len())).unwrap_or_default(),
            self.searched,
        ) {
            Some(end) => match head::judge(self.buffer.get(..end).unwrap_or_default()) {
                Ok(framing) => {
                    self.approved = end;
                    self.stage = match framing {
                        Framing::Length(0) => Stage::Head,
                        Framing::Length(n) => Stage::Body(n),
                        Framing::Last => Stage::Raw,
                    };
                    self.awaited = None;
                    self.first = false;
                    self.searched = 0;
                }
                Err(fault) => {
                    admission.refused(fault.reason());
                    self.buffer.clear();
                    self.buffer.extend_from_slice(UNPARSABLE);
                    self.approved = UNPARSABLE.len();
                    self.stage = Stage::Closed;
                }
            },
            // The library's own limit is the same: it answers `431`.
            None if self.buffer.len() >= most => {
                admission.refused("http.head_too_large");
                self.buffer.truncate(most);
                self.approved = most;
                self.stage = Stage::Closed;
            }
            None => self.searched = self.buffer.len(),
        }
    }

    /// Whether the peer has kept us waiting too long for a head.
    fn overdue(&mut self, limits: &Limits, cx: &mut Context<'_>) -> Option<&'static str> {
        if self.pulse.busy() {
            self.awaited = None;
            return None;
        }
        let (awaited, limit, reason) = if !self.buffer.is_empty() {
            (Awaited::RestOfHead, limits.header, "http.header_timeout")
        } else if self.first {
            (Awaited::FirstByte, limits.first_byte, "http.first_byte_timeout")
        } else {
            (Awaited::NextRequest, limits.idle, "http.idle_timeout")
        };
        if self.awaited != Some(awaited) {
            self.awaited = Some(awaited);
            self.timer.as_mut().reset(Instant::now() + limit);
        }
        self.timer.as_mut().poll(cx).is_ready().then_some(reason)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, admission, limits, heads, .. } = self.get_mut();
        let Some(heads) = heads else { return Pin::new(io).poll_read(cx, out) };
        loop {
            if heads.give(out) {
                return Poll::Ready(Ok(()));
            }
            match heads.stage {
                Stage::Closed => return Poll::Ready(Ok(())),
                Stage::Raw if heads.buffer.is_empty() => return Pin::new(io).poll_read(cx, out),
                Stage::Raw => heads.approved = heads.buffer.len(),
                Stage::Body(left) if heads.buffer.is_empty() => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    let n = ready!(read_at_most(io, cx, out, most))?;
                    heads.stage = body_stage(left - n as u64);
                    return Poll::Ready(Ok(()));
                }
                Stage::Body(left) => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    heads.approved = heads.buffer.len().min(most);
                    heads.stage = body_stage(left - heads.approved as u64);
                }
                Stage::Head => {
                    if heads.buffer.len() > heads.searched {
                        heads.judge(limits.header_bytes, admission);
                        continue;
                    }
                    let mut chunk = [0; 4096];
                    let mut chunk = ReadBuf::new(&mut chunk);
                    match Pin::new(&mut *io).poll_read(cx, &mut chunk) {
                        Poll::Ready(Ok(())) if chunk.filled().is_empty() => {
                            heads.stage = Stage::Closed;
                        }
                        Poll::Ready(Ok(())) => heads.buffer.extend_from_slice(chunk.filled()),
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => match heads.overdue(limits, cx) {
                            Some(reason) => {
                                admission.refused(reason);
                                heads.stage = Stage::Closed;
                            }
                            None => return Poll::Pending,
                        },
                    }
                }
            }
        }
    }
}

fn body_stage(left: u64) -> Stage {
    if left == 0 { Stage::Head } else { Stage::Body(left) }
}

fn read_at_most<S: AsyncRead + Unpin>(
    io: &mut S,
    cx: &mut Context<'_>,
    out: &mut ReadBuf<'_>,
    most: usize,
) -> Poll<io::Result<usize>> {
    let n = out.remaining().min(most);
    let mut part = ReadBuf::new(out.initialize_unfilled_to(n));
    ready!(Pin::new(io).poll_read(cx, &mut part))?;
    let n = part.filled().len();
    out.advance(n);
    Poll::Ready(Ok(n))
}

impl<S> Wire<S> {
    /// A peer that does not take what we write is let go.
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_stalled = None;
            return written;
        }
        let limit = self.limits.write_stall;
        let timer = self.write_stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        self.admission.refused("http.write_timeout");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watched(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.watched(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watched(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watched(cx, shut)
    }
}
