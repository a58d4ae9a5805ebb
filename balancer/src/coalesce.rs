//! Small messages leave in one buffer: what a `writev` costs more than a `send` is more than a copy of so little.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use pin_project_lite::pin_project;

/// A head and a body of no more than this together are copied into one buffer; 1 KiB of body fits with its head.
const COALESCED: usize = 2048;

/// Writes `bufs`, which `io` may take a part of only.
pub(crate) fn poll_write<I: Write>(
    io: Pin<&mut I>,
    cx: &mut Context<'_>,
    bufs: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    // A head alone is the rule for requests, and needs no copy either.
    if let [whole] = bufs {
        return io.poll_write(cx, whole);
    }
    let length: usize = bufs.iter().map(|buf| buf.len()).sum();
    if length > COALESCED {
        return io.poll_write_vectored(cx, bufs);
    }
    let mut whole = [0; COALESCED];
    let mut end = 0;
    for buf in bufs {
        whole[end..end + buf.len()].copy_from_slice(buf);
        end += buf.len();
    }
    io.poll_write(cx, &whole[..end])
}

pin_project! {
    /// A connection that is written to so.
    #[derive(Debug)]
    pub(crate) struct Coalesced<I> {
        #[pin]
        io: I,
    }
}

impl<I> Coalesced<I> {
    pub(crate) const fn new(io: I) -> Self {
        Self { io }
    }
}

impl<I: Read> Read for Coalesced<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_read(cx, buf)
    }
}

impl<I: Write> Write for Coalesced<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write(self.project().io, cx, bufs)
    }
}
