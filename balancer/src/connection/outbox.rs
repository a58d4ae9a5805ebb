//! Writes that wait for each other.
//!
//! h2 writes and flushes each frame of data by itself, so that of ten answers that are there at one moment each would
//! cost a send, and wake the client. Here a write goes into a buffer, a flush does nothing, and whoever drives the
//! connection sends what has come together when there is no more of it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

/// More than this is sent before more is taken, and a write that is longer is not copied.
const MOST: usize = 32 * 1024;
/// A few small answers.
const FEW: usize = 4 * 1024;

/// The end that sends.
pub(super) struct Outbox<I>(Arc<Mutex<Inner<I>>>);

/// The end that is written to, and read from.
pub(super) struct Buffered<I>(Arc<Mutex<Inner<I>>>);

/// Both ends are held by one task, so the mutex is never waited for.
struct Inner<I> {
    io: I,
    held: Vec<u8>,
    sent: usize,
}

impl<I: Write + Unpin> Outbox<I> {
    pub(super) fn new(io: I) -> (Self, Buffered<I>) {
        let inner = Arc::new(Mutex::new(Inner { io, held: Vec::new(), sent: 0 }));
        (Self(Arc::clone(&inner)), Buffered(inner))
    }

    /// Sends all that was written.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_send(cx)
    }
}

fn lock<I>(inner: &Mutex<Inner<I>>) -> MutexGuard<'_, Inner<I>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<I: Write + Unpin> Inner<I> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, &self.held[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        // Given back: most connections have nothing to send at most times.
        (self.held, self.sent) = (Vec::new(), 0);
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.held.len() + length > MOST {
            ready!(self.poll_send(cx))?;
            if length > MOST {
                return Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
            }
        }
        if self.held.is_empty() {
            self.held.reserve(length.max(FEW));
        }
        for buf in bufs {
            self.held.extend_from_slice(buf);
        }
        Poll::Ready(Ok(length))
    }
}

impl<I: Read + Unpin> Read for Buffered<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).io).poll_read(cx, buf)
    }
}

impl<I: Write + Unpin> Write for Buffered<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, &[IoSlice::new(buf)])
    }

    /// Not yet: [`Outbox::poll_send`] does.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, bufs)
    }
}
