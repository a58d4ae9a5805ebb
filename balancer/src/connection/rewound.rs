//! A client's socket as hyper sees it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{self, Sleep};

use super::activity::Activity;
use crate::balancer::Timeouts;
use crate::coalesce;

/// What most requests' heads fit into; the rest of a longer one is hyper's to read.
const FIRST_READ: usize = 1024;

pin_project! {
    /// A socket with the bytes that were read from it already in front.
    #[derive(Debug)]
    pub(crate) struct Rewound<I> {
        start: Bytes,
        #[pin]
        io: TokioIo<I>,
        activity: Arc<Activity>,
        // Armed when the client takes nothing of what is written to it: most take everything at once.
        stalled: Option<Pin<Box<Sleep>>>,
    }
}

impl<I> Rewound<I> {
    pub(super) fn new(start: Bytes, io: I, timeouts: Timeouts) -> Self {
        let activity = Arc::new(Activity::new(timeouts.client_idle));
        Self { start, io: TokioIo::new(io), activity, stalled: None }
    }

    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Puts bytes in front that were read from it before. There are none in front now.
    pub(super) fn rewind(&mut self, start: Bytes) {
        debug_assert!(self.start.is_empty(), "bytes would change places");
        // Of none the buffer they would lie in is not kept either.
        self.start = if start.is_empty() { Bytes::new() } else { start };
    }

    pub(super) fn is_rewound(&self) -> bool {
        !self.start.is_empty()
    }
}

impl<I: AsyncRead + Unpin> Rewound<I> {
    /// Waits for what comes next, without a buffer while it waits. Ready as well when the connection has ended or is
    /// broken, which the next read will tell.
    pub(super) fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = [MaybeUninit::uninit(); FIRST_READ];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        if let Ok(()) = ready!(Pin::new(self.io.inner_mut()).poll_read(cx, &mut buffer)) {
            self.start = Bytes::copy_from_slice(buffer.filled());
        }
        Poll::Ready(())
    }
}

/// Passes on what became of a write, but for a client that has taken nothing for as long as it may.
fn unless_stalled<T>(
    written: Poll<io::Result<T>>,
    stalled: &mut Option<Pin<Box<Sleep>>>,
    patience: Duration,
    cx: &mut Context<'_>,
) -> Poll<io::Result<T>> {
    if written.is_ready() {
        if stalled.is_some() {
            *stalled = None;
        }
        return written;
    }
    let sleep = stalled.get_or_insert_with(|| Box::pin(time::sleep(patience)));
    ready!(sleep.as_mut().poll(cx));
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl<I: AsyncRead> hyper::rt::Read for Rewound<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.start.is_empty() {
            return this.io.poll_read(cx, buf);
        }
        let length = this.start.len().min(buf.remaining());
        buf.put_slice(&this.start[..length]);
        this.start.advance(length);
        if this.start.is_empty() {
            *this.start = Bytes::new(); // or what they lie in would stay as long as the connection
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite> hyper::rt::Write for Rewound<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.io.poll_write(cx, buf);
        this.activity.sends(written.is_pending());
        unless_stalled(written, this.stalled, this.activity.patience, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let flushed = this.io.poll_flush(cx);
        this.activity.sends(flushed.is_pending() || this.stalled.is_some());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        this.activity.shut_down();
        this.io.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = coalesce::poll_write(this.io, cx, bufs);
        this.activity.sends(written.is_pending());
        unless_stalled(written, this.stalled, this.activity.patience, cx)
    }
}
