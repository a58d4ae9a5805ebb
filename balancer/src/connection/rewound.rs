//! A client's socket as hyper sees it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use crate::balancer::Timeouts;
use crate::coalesce;
use crate::pace::{Pace, TransferRates};

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
        // Kept while the client has not taken all that was written to it: most take everything at once.
        pace: Option<Box<Pace>>,
    }
}

impl<I> Rewound<I> {
    pub(super) fn new(start: Bytes, io: I, timeouts: Timeouts, rates: TransferRates) -> Self {
        let activity = Arc::new(Activity::new(timeouts.client_idle, rates.send));
        Self { start, io: TokioIo::new(io), activity, pace: None }
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

/// Passes on what became of a write, but for a client that is too slow.
fn unless_slow(
    written: Poll<io::Result<usize>>,
    pace: &mut Option<Box<Pace>>,
    activity: &Activity,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    activity.sends(written.is_pending());
    let Poll::Ready(written) = written else {
        let pace = pace.get_or_insert_with(|| Box::new(activity.pace()));
        ready!(pace.poll_lost(cx));
        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
    };
    if let (Some(behind), Ok(bytes)) = (pace.as_mut(), &written) {
        behind.moved(*bytes);
        if behind.is_even() {
            *pace = None;
        }
    }
    Poll::Ready(written)
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
        unless_slow(written, this.pace, this.activity, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let flushed = this.io.poll_flush(cx);
        let waiting = this.pace.as_ref().is_some_and(|pace| pace.is_waiting());
        this.activity.sends(flushed.is_pending() || waiting);
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
        unless_slow(written, this.pace, this.activity, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper::rt::Write;
    use tokio::io::AsyncReadExt;
    use tokio::time::{Duration, Instant};

    use super::*;
    use crate::pace::MinimumRate;

    /// Sends to a client that takes `bytes` each second. How it ends, and when.
    async fn sent(bytes: usize, timeouts: Timeouts, rates: TransferRates) -> (io::Result<()>, Duration) {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let mut taken = vec![0; bytes];
            while bytes > 0 && theirs.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
            drop(theirs);
        });
        let mut io = Rewound::new(Bytes::new(), ours, timeouts, rates);
        let (begun, mut left) = (Instant::now(), 100 * 1024);
        while left > 0 {
            let piece = vec![0; left.min(4096)];
            match poll_fn(|cx| Pin::new(&mut io).poll_write(cx, &piece)).await {
                Ok(written) => left -= written,
                Err(error) => return (Err(error), begun.elapsed()),
            }
        }
        (Ok(()), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_ended_when_it_is_too_far_behind() {
        let timeouts = Timeouts::default();
        let rate = MinimumRate { bytes_per_second: 240, grace: Duration::from_secs(60) };
        let rates = TransferRates { send: Some(rate), ..TransferRates::default() };
        let (enough, _) = sent(250, timeouts, rates).await;
        assert!(enough.is_ok(), "{enough:?}");
        // At a quarter of the minimum three of four seconds are owed.
        let (ended, after) = sent(60, timeouts, rates).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!((70..100).contains(&after.as_secs()), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_minimum_only_one_that_takes_nothing() {
        let timeouts = Timeouts::default();
        let rates = TransferRates { send: None, ..TransferRates::default() };
        let (slowly, _) = sent(10, timeouts, rates).await;
        assert!(slowly.is_ok(), "{slowly:?}");
        let (ended, after) = sent(0, timeouts, rates).await;
        assert_eq!((ended.unwrap_err().kind(), after), (io::ErrorKind::TimedOut, timeouts.client_idle));
    }
}
