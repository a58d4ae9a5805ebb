//! An HTTP server over TCP as a target.

mod body;
mod full;
mod http2;
mod lean;
mod patience;
mod pool;
mod stream;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use crate::stripe::Striped;
use crate::{Body, BoxError, ConfigError, Target, TargetError};
pub(crate) use body::UpstreamBody;
use body::{Chunked, LimitedBody, Progress, WatchedBody};
use full::Full;
use http2::Multiplexed;
use lean::Lean;
pub(crate) use lean::LeanBody;
use patience::Patience;
use pool::{Connection, Pool};

/// ELBv2's `ProtocolVersion` of a target group: what its targets speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProtocolVersion {
    /// `HTTP1`: HTTP/1.1.
    #[default]
    Http1,
    /// `HTTP2`: HTTP/2 with prior knowledge. No upgrades.
    Http2,
    /// `GRPC`: HTTP/2 as well, trailers included.
    Grpc,
}

impl FromStr for ProtocolVersion {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "HTTP1" => Ok(Self::Http1),
            "HTTP2" => Ok(Self::Http2),
            "GRPC" => Ok(Self::Grpc),
            _ => Err(ConfigError::new("ProtocolVersion", text, "HTTP1, HTTP2 or GRPC")),
        }
    }
}

/// How a [`TcpTarget`] is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpTargetConfig {
    /// What it speaks; HTTP/1.1 by default.
    pub protocol: ProtocolVersion,
    /// Connections are over TLS. As on ALB the target's certificate is not validated: it keeps out those who listen, not
    /// one who stands in between.
    pub tls: bool,
    /// Time to open a connection in, else 504. ALB: 10 s.
    pub connect_timeout: Duration,
    /// Longest time without a byte in either direction while a request is under way. Before the answer has begun: 504;
    /// after: the client's connection is aborted. ALB: 60 s.
    pub idle_timeout: Duration,
    /// Longest time from a request's arrival to the last byte of its answer, an upgraded connection's life not included.
    /// Before the answer has begun: 504; after: the client's connection is aborted. ALB has none, and so it is `None`.
    pub total_timeout: Option<Duration>,
    /// How long a connection without a request is kept for the next. Less than the keep-alive timeout of common servers
    /// (Node.js closes after 5 s), because a request that meets a closing connection may be lost: 4 s.
    pub keep_alive: Duration,
    /// Connections without a request kept per data-plane thread; more are closed after use: 256.
    pub max_idle: usize,
}

impl Default for TcpTargetConfig {
    fn default() -> Self {
        Self {
            protocol: ProtocolVersion::default(),
            tls: false,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            total_timeout: None,
            keep_alive: Duration::from_secs(4),
            max_idle: 256,
        }
    }
}

/// An HTTP server at a socket address, with connections of their own per data-plane thread.
#[derive(Debug)]
pub struct TcpTarget {
    address: SocketAddr,
    protocol: ProtocolVersion,
    total_timeout: Option<Duration>,
    pools: Pools,
}

#[derive(Debug)]
enum Pools {
    Http1 { lean: Striped<Arc<Pool<Lean>>>, full: Striped<Arc<Pool<Full>>> },
    Http2(Striped<Arc<Multiplexed>>),
}

impl TcpTarget {
    /// A target at `address`. Opens no connection yet.
    pub fn new(address: SocketAddr, config: TcpTargetConfig) -> Self {
        let pools = match config.protocol {
            ProtocolVersion::Http1 => Pools::Http1 {
                lean: Striped::new(|| Arc::new(Pool::new(address, config))),
                full: Striped::new(|| Arc::new(Pool::new(address, config))),
            },
            ProtocolVersion::Http2 | ProtocolVersion::Grpc => {
                Pools::Http2(Striped::new(|| Arc::new(Multiplexed::new(address, config))))
            }
        };
        let TcpTargetConfig { protocol, total_timeout, .. } = config;
        Self { address, protocol, total_timeout, pools }
    }
}

impl Target for TcpTarget {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
        // The pool of this thread: a connection is driven by the runtime it was opened in.
        let answer = match &self.pools {
            Pools::Http1 { lean, .. } if lean::takes(&request) => {
                exchange(Arc::clone(lean.here()), prepared(request), None).boxed()
            }
            Pools::Http1 { full, .. } => {
                let (request, progress) = watched(prepared(request));
                exchange(Arc::clone(full.here()), request, progress).boxed()
            }
            Pools::Http2(pools) => {
                let (request, progress) = watched(request);
                http2::exchange(Arc::clone(pools.here()), request, progress).boxed()
            }
        };
        match self.total_timeout {
            None => answer,
            Some(timeout) => within(timeout, answer).boxed(),
        }
    }

    fn upgrades(&self) -> bool {
        matches!(self.pools, Pools::Http1 { .. })
    }

    fn protocol_version(&self) -> ProtocolVersion {
        self.protocol
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.address)
    }
}

/// As HTTP/1.1 has it.
fn prepared(mut request: Request<Body>) -> Request<Body> {
    *request.version_mut() = Version::HTTP_11;
    if request.headers().contains_key(header::TE) {
        // RFC 9110, 10.1.4: "A sender of TE MUST also send a "TE" connection option".
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if request.headers().contains_key(header::TRAILER) && !request.body().is_end_stream() {
        // Over HTTP/2 trailers may follow a body of a known length.
        request.headers_mut().remove(header::CONTENT_LENGTH);
        request = request.map(|body| Body::boxed(Chunked(body)));
    }
    if !request.body().is_end_stream()
        && request.body().size_hint().exact().is_none()
        && !request.headers().contains_key(header::CONTENT_LENGTH)
    {
        // Said, because hyper takes a GET or a HEAD that does not say it for one without a body.
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    request
}

async fn exchange<C: Connection>(
    pool: Arc<Pool<C>>,
    request: Request<Body>,
    progress: Option<Progress>,
) -> Result<Response<Body>, TargetError> {
    let request = match pool.take() {
        None => request,
        Some(connection) => match connection.send(&pool, request, progress.as_ref()).await {
            // A pooled connection may close at any moment. As long as nothing of the request was written the target
            // cannot have acted on it, whatever its method: once more, over a fresh connection.
            Err(SendError::Unsent(request, _)) => *request,
            Err(SendError::Target(error)) => return Err(*error),
            Ok(response) => return Ok(response),
        },
    };
    // In a box: else each exchange would be as large as one that opens a connection.
    let connection = match Box::pin(pool.connect()).await {
        Ok(connection) => connection,
        Err(pool::ConnectError::Timeout) => return Err(TargetError::ConnectTimeout),
        Err(pool::ConnectError::Refused(source)) => {
            return Err(TargetError::Unreached { request: Some(request), source });
        }
    };
    connection.send(&pool, request, progress.as_ref()).await.map_err(|error| match error {
        SendError::Unsent(request, source) => TargetError::Unreached { request: Some(*request), source },
        SendError::Target(error) => *error,
    })
}

/// Ends an exchange that takes longer in all.
async fn within(
    timeout: Duration,
    answer: BoxFuture<'static, Result<Response<Body>, TargetError>>,
) -> Result<Response<Body>, TargetError> {
    let deadline = Instant::now() + timeout;
    let response =
        tokio::time::timeout_at(deadline, answer).await.map_err(|_elapsed| TargetError::Timeout)??;
    // A body that has ended already needs no end set to it.
    if response.body().is_end_stream() {
        return Ok(response);
    }
    Ok(response.map(|body| Body::boxed(LimitedBody::new(body, deadline, timeout))))
}

/// The request with, if it has a body, its progress to be seen.
fn watched(request: Request<Body>) -> (Request<Body>, Option<Progress>) {
    if request.body().is_end_stream() {
        return (request, None);
    }
    let progress = Progress::default();
    let watched = request.map(|body| Body::boxed(WatchedBody::new(body, progress.clone())));
    (watched, Some(progress))
}

enum SendError {
    /// Nothing of the request was written.
    Unsent(Box<Request<Body>>, BoxError),
    Target(Box<TargetError>),
}

/// Waits for an answer as long as something moves.
async fn answered(
    answer: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>>,
    patience: &mut Patience,
    progress: Option<&Progress>,
) -> Result<Response<Incoming>, SendError> {
    let mut answer = pin!(answer);
    let response = poll_fn(|cx| {
        loop {
            if let Poll::Ready(response) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            ready!(patience.poll_lost(cx));
            // While the client's upload moves, the connection is not idle.
            if !progress.is_some_and(Progress::moved) {
                return Poll::Ready(None);
            }
            patience.begin(Instant::now());
        }
    });
    let Some(response) = response.await else {
        return Err(SendError::Target(Box::new(TargetError::Timeout)));
    };
    response.map_err(|mut error| match error.take_message() {
        Some(request) => SendError::Unsent(Box::new(request), error.into_error().into()),
        None => {
            let cause = progress.and_then(Progress::failure).unwrap_or_else(|| error.into_error().into());
            SendError::Target(Box::new(TargetError::Failed(cause)))
        }
    })
}
