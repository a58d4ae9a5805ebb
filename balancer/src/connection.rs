//! One connection of a client: which protocol it speaks, and serving it until it ends or is drained.

mod activity;
mod http1;
mod http2;
mod outbox;
mod rewound;
mod streams;

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsAcceptor;

use crate::balancer::Timeouts;
use crate::drain::Drain;
use crate::headers::Forwarded;
use crate::limits::Connected;
use crate::listener::Shared;
use crate::proxy::{Client, Protocol};
use crate::{BoxError, layer4, proxy_protocol};
pub(crate) use activity::Exchange;
use http1::Http1;
use http2::Http2;
use rewound::Rewound;
pub(crate) use streams::{asked, handed};

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// ALB: "entire header: 64 K".
const MAX_HEADER_BLOCK: usize = 64 * 1024;
/// What of a message waits for a reader who is slow, at each place where it may: that of the stream, and of what was read for it.
pub(crate) const MAX_BUFFERED: usize = 64 * 1024;

/// Serves `stream` until the client leaves, an error, or the end of the drain.
pub(crate) fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    listener: Arc<Shared>,
    timeouts: Timeouts,
) -> Serving {
    Serving::Begin { begin: begin(stream, peer, listener, timeouts).boxed() }
}

pin_project! {
    /// A connection as it is served. Not an `async fn`, which would have room for each of these beside the others: an idle
    /// connection is to be no larger than what waits for its next request.
    #[project = Stage]
    pub(crate) enum Serving {
        /// Until it is known what the client speaks.
        Begin { begin: BoxFuture<'static, Option<Serving>> },
        /// What most are: HTTP/1 without TLS.
        Http1 { #[pin] connection: Http1<TcpStream> },
        /// Anything else, which is larger.
        Other { connection: BoxFuture<'static, ()> },
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let begun = match self.as_mut().project() {
                Stage::Begin { begin } => ready!(begin.as_mut().poll(cx)),
                Stage::Http1 { connection } => return connection.poll(cx).map(told),
                Stage::Other { connection } => return connection.as_mut().poll(cx),
            };
            match begun {
                Some(serving) => self.set(serving),
                None => return Poll::Ready(()),
            }
        }
    }
}

fn told(ended: Result<(), BoxError>) {
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended");
    }
}

/// Finds out what the client speaks. `None`: it is not to be served.
async fn begin(
    mut stream: TcpStream,
    mut peer: SocketAddr,
    listener: Arc<Shared>,
    timeouts: Timeouts,
) -> Option<Serving> {
    if listener.proxy_protocol {
        let header = proxy_protocol::read(&mut stream);
        if let Some(ends) = soon(header, &listener.drain, timeouts).await? {
            peer = ends.source;
        }
    }
    // Before anything is read or agreed on: refusing is to cost less than serving.
    let limited = match &*listener.limiter.load() {
        None => None,
        Some(limiter) => Some(Arc::new(limiter.connect(peer.ip().to_canonical())?)),
    };
    Some(match (&listener.speaks.tls, listener.speaks.http) {
        (None, true) => {
            let (start, protocol) = first_bytes(&mut stream, &listener.drain, timeouts).await?;
            let client = client(protocol, "http", peer, listener, limited, timeouts);
            let io = Rewound::new(start, stream, timeouts, client.rates);
            match protocol {
                Protocol::Http1 => Serving::Http1 { connection: Http1::new(io, client) },
                Protocol::Http2 => Serving::Other { connection: Http2::new(io, client).map(told).boxed() },
            }
        }
        (None, false) => {
            let connection = async move { layer4::serve(stream, peer, &listener).await };
            Serving::Other { connection: connection.boxed() }
        }
        (Some(_), _) => {
            Serving::Other { connection: over_tls(stream, peer, listener, limited, timeouts).boxed() }
        }
    })
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
    let client = client(protocol, "https", peer, listener, limited, timeouts);
    let io = Rewound::new(start, stream, timeouts, client.rates);
    told(match protocol {
        Protocol::Http1 => Http1::new(io, client).await,
        Protocol::Http2 => Http2::new(io, client).await,
    });
}

fn client(
    protocol: Protocol,
    scheme: &'static str,
    peer: SocketAddr,
    listener: Arc<Shared>,
    limited: Option<Arc<Connected>>,
    timeouts: Timeouts,
) -> Arc<Client> {
    let forwarded = Forwarded::new(peer, &listener, scheme);
    let address = peer.ip().to_canonical();
    let tracer = listener.tracer.load_full();
    let watched = limited.is_some() || listener.access_log.is_some() || tracer.is_some();
    let rates = **listener.transfer_rates.load();
    Arc::new(Client {
        listener,
        peer,
        address,
        forwarded,
        protocol,
        timeouts,
        rates,
        limited,
        tracer,
        watched,
    })
}

/// How long a request's header may be, and of how many fields it may be if that is not hyper's number.
fn header_limits(client: &Client) -> (usize, Option<usize>) {
    let limits = client.limited.as_ref().map(|limited| limited.limits());
    let bytes =
        limits.and_then(|limits| limits.header_bytes).map_or(MAX_HEADER_BLOCK, |bytes| bytes as usize);
    (bytes, limits.and_then(|limits| limits.header_fields).map(|fields| fields as usize))
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
