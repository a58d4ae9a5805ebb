//! One connection of a client: which protocol it speaks, and serving it until it ends or is drained.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{self, Sleep};
use tokio_rustls::TlsAcceptor;

use crate::balancer::Timeouts;
use crate::drain::{Drain, Phase, Watch};
use crate::headers::Forwarded;
use crate::limits::Connected;
use crate::listener::Shared;
use crate::proxy::{self, AnswerBody, Client, Protocol};
use crate::{BoxError, coalesce, layer4, proxy_protocol};

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// ALB: "entire header: 64 K".
const MAX_HEADER_BLOCK: usize = 64 * 1024;
/// ALB allows 128 as well.
const MAX_STREAMS: u32 = 128;

/// Serves `stream` until the client leaves, an error, or the end of the drain.
pub(crate) async fn serve(
    mut stream: TcpStream,
    mut peer: SocketAddr,
    listener: Arc<Shared>,
    timeouts: Timeouts,
) {
    if listener.proxy_protocol {
        let header = proxy_protocol::read(&mut stream);
        match soon(header, &listener.drain, timeouts).await {
            Some(Some(ends)) => peer = ends.source,
            Some(None) => {}
            None => return,
        }
    }
    // Before anything is read or agreed on: refusing is to cost less than serving.
    let limited = match &*listener.limiter.load() {
        None => None,
        Some(limiter) => match limiter.connect(peer.ip().to_canonical()) {
            Some(connected) => Some(Arc::new(connected)),
            None => return,
        },
    };
    match (&listener.speaks.tls, listener.speaks.http) {
        (None, true) => {
            let Some((start, protocol)) = first_bytes(&mut stream, &listener.drain, timeouts).await else {
                return;
            };
            let io = Rewound::new(start, stream, timeouts);
            http(io, protocol, "http", peer, listener, limited, timeouts).await;
        }
        (None, false) => layer4::serve(stream, peer, &listener).await,
        // In a box: else every connection without TLS would be as large as one with it.
        (Some(_), _) => Box::pin(over_tls(stream, peer, listener, limited, timeouts)).await,
    }
}

async fn over_tls(
    stream: TcpStream,
    peer: SocketAddr,
    listener: Arc<Shared>,
    limited: Option<Arc<Connected>>,
    timeouts: Timeouts,
) {
    let Some(tls) = &listener.speaks.tls else { return };
    let handshake = TlsAcceptor::from(tls.load_full()).accept(stream);
    let Some(mut stream) = soon(handshake, &listener.drain, timeouts).await else { return };
    if !listener.speaks.http {
        return layer4::serve(stream, peer, &listener).await;
    }
    // What was agreed on counts; a client that agreed on nothing may speak either.
    let (start, protocol) = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        (Bytes::new(), Protocol::Http2)
    } else {
        let Some(start) = first_bytes(&mut stream, &listener.drain, timeouts).await else { return };
        start
    };
    let io = Rewound::new(start, stream, timeouts);
    http(io, protocol, "https", peer, listener, limited, timeouts).await;
}

async fn http<I>(
    io: Rewound<I>,
    protocol: Protocol,
    scheme: &'static str,
    peer: SocketAddr,
    listener: Arc<Shared>,
    limited: Option<Arc<Connected>>,
    timeouts: Timeouts,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let drain = listener.drain.clone();
    let forwarded = Forwarded::new(peer, &listener, scheme);
    let limits = limited.as_ref().map(|limited| limited.limits());
    let header_bytes = limits.and_then(|limits| limits.header_bytes);
    let header_bytes = header_bytes.map_or(MAX_HEADER_BLOCK, |bytes| bytes as usize);
    let header_fields = limits.and_then(|limits| limits.header_fields);
    let address = peer.ip().to_canonical();
    let watched = limited.is_some() || listener.access_log.is_some();
    let client = Client { listener, peer, address, forwarded, protocol, timeouts, limited, watched };
    let client = Arc::new(client);
    let service = service_fn(move |request| proxy::serve(&client, request));
    let ended = match protocol {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(timeouts.client_idle)
                .max_header_size(header_bytes)
                // A half-closed client counts as gone: only so is a target's work for nobody cancelled.
                .half_close(false)
                .writev(true)
                // pipeline_flush stays off: with it hyper closes without sending the 400 and 431 it has written, as long as
                // unread bytes follow the malformed ones.
                // Accepted while draining already: it still gets the answer it has asked for.
                .keep_alive(drain.phase() == Phase::Open);
            // Set only where it is asked for: hyper then allocates what it else keeps on the stack.
            if let Some(fields) = header_fields {
                builder.max_headers(fields as usize);
            }
            drained(builder.serve_connection(io, service).with_upgrades(), &drain).await
        }
        Protocol::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
                // Without a ping a client that lost its network would hold its streams for ever.
                .keep_alive_interval(timeouts.client_idle);
            drained(builder.serve_connection(io, service), &drain).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Reads until it is clear which protocol the client speaks. `None`: it left, or said nothing in time.
async fn first_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    drain: &Drain,
    timeouts: Timeouts,
) -> Option<(Bytes, Protocol)> {
    let mut start = BytesMut::with_capacity(PREFACE.len());
    let read = async {
        loop {
            if stream.read_buf(&mut start).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let common = start.len().min(PREFACE.len());
            if start[..common] != PREFACE[..common] {
                return Ok(Protocol::Http1);
            }
            if start.len() >= PREFACE.len() {
                return Ok(Protocol::Http2);
            }
        }
    };
    let protocol = soon(read, drain, timeouts).await?;
    Some((start.freeze(), protocol))
}

/// What a client does before its first request: within the idle timeout, and less while the listener drains. `None`: it
/// did not, or something else.
async fn soon<T>(begin: impl Future<Output = io::Result<T>>, drain: &Drain, timeouts: Timeouts) -> Option<T> {
    let mut begin = pin!(time::timeout(timeouts.client_idle, begin));
    let begun = tokio::select! {
        biased;
        begun = &mut begin => begun,
        // The request of a client that has just connected is probably on its way.
        () = drain.begun() => time::timeout(timeouts.first_byte_in_drain, begin).await.ok()?,
    };
    match begun {
        Ok(Ok(begun)) => Some(begun),
        Ok(Err(error)) => {
            tracing::debug!(%error, "connection ended before its first request");
            None
        }
        Err(_elapsed) => None,
    }
}

/// A connection that can be told to finish what has begun.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::UpgradeableConnection<Rewound<I>, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = AnswerBody> + Unpin,
    S::Error: Into<BoxError>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}

impl<I, S> Graceful for http2::Connection<Rewound<I>, S, TokioExecutor>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = AnswerBody>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }
}

/// Drives `connection`, tells it to finish when the drain begins, and drops it when the drain is aborted.
async fn drained<C: Graceful>(connection: C, drain: &Drain) -> hyper::Result<()> {
    Drained { connection, watch: drain.watch(), told: false }.await
}

pin_project! {
    struct Drained<C> {
        #[pin]
        connection: C,
        #[pin]
        watch: Watch,
        told: bool,
    }
}

impl<C: Graceful> Future for Drained<C> {
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        while let Poll::Ready(phase) = this.watch.as_mut().poll_phase(cx) {
            match phase {
                Phase::Open => {}
                Phase::Draining if *this.told => {}
                Phase::Draining => {
                    // A request that has arrived and was not read yet is to be answered: look before closing what
                    // seems idle.
                    if let Poll::Ready(ended) = this.connection.as_mut().poll(cx) {
                        return Poll::Ready(ended);
                    }
                    this.connection.as_mut().graceful_shutdown();
                    *this.told = true;
                }
                Phase::Aborted => return Poll::Ready(Ok(())),
            }
        }
        this.connection.poll(cx)
    }
}

pin_project! {
    /// A socket with the bytes that were read from it already in front.
    struct Rewound<I> {
        start: Bytes,
        #[pin]
        io: TokioIo<I>,
        patience: Duration,
        // Armed when the client takes nothing of what is written to it: most take everything at once.
        stalled: Option<Pin<Box<Sleep>>>,
    }
}

impl<I> Rewound<I> {
    fn new(start: Bytes, io: I, timeouts: Timeouts) -> Self {
        Self { start, io: TokioIo::new(io), patience: timeouts.client_idle, stalled: None }
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
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite> hyper::rt::Write for Rewound<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        unless_stalled(this.io.poll_write(cx, buf), this.stalled, *this.patience, cx)
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
        let this = self.project();
        let written = coalesce::poll_write(this.io, cx, bufs);
        unless_stalled(written, this.stalled, *this.patience, cx)
    }
}
