//! An HTTP/1.1 server over TCP as a target.

mod body;
mod pool;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body as _;
use hyper::client::conn::http1::SendRequest;

use crate::stripe::Striped;
use crate::{Body, Target, TargetError};
pub(crate) use body::UpstreamBody;
use body::{Progress, WatchedBody};
use pool::{Pool, Taken};

/// How a [`TcpTarget`] is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpTargetConfig {
    /// Time to open a connection in, else 504. ALB: 10 s.
    pub connect_timeout: Duration,
    /// Longest time without a byte in either direction while a request is under way. Before the answer has begun: 504;
    /// after: the client's connection is aborted. ALB: 60 s.
    pub idle_timeout: Duration,
    /// How long a connection without a request is kept for the next. Less than the keep-alive timeout of common servers
    /// (Node.js closes after 5 s), because a request that meets a closing connection may be lost: 4 s.
    pub keep_alive: Duration,
    /// Connections without a request kept per data-plane thread; more are closed after use: 256.
    pub max_idle: usize,
}

impl Default for TcpTargetConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(4),
            max_idle: 256,
        }
    }
}

/// An HTTP/1.1 server at a socket address, with a pool of keep-alive connections per data-plane thread.
#[derive(Debug)]
pub struct TcpTarget {
    address: SocketAddr,
    pools: Striped<Arc<Pool>>,
}

impl TcpTarget {
    /// A target at `address`. Opens no connection yet.
    pub fn new(address: SocketAddr, config: TcpTargetConfig) -> Self {
        Self { address, pools: Striped::new(|| Arc::new(Pool::new(address, config))) }
    }
}

impl Target for TcpTarget {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
        // The pool of this thread: a connection is driven by the runtime it was opened in.
        exchange(Arc::clone(self.pools.here()), request).boxed()
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.address)
    }
}

async fn exchange(pool: Arc<Pool>, mut request: Request<Body>) -> Result<Response<Body>, TargetError> {
    *request.version_mut() = Version::HTTP_11;
    if request.headers().contains_key(header::TE) {
        // RFC 9110, 10.1.4: "A sender of TE MUST also send a "TE" connection option".
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    let progress = (!request.body().is_end_stream()).then(Progress::default);
    if let Some(progress) = &progress {
        let progress = progress.clone();
        request = request.map(|body| Body::boxed(WatchedBody::new(body, progress)));
    }
    let request = match pool.take() {
        None => request,
        Some(connection) => match send(&pool, connection, request, progress.as_ref()).await {
            // A pooled connection may close at any moment. As long as nothing of the request was written the target
            // cannot have acted on it, whatever its method: once more, over a fresh connection.
            Err(SendError::Unsent(request, _)) => *request,
            Err(SendError::Target(error)) => return Err(*error),
            Ok(response) => return Ok(response),
        },
    };
    let connection = match pool.connect().await {
        Ok(connection) => connection,
        Err(pool::ConnectError::Timeout) => return Err(TargetError::ConnectTimeout),
        Err(pool::ConnectError::Refused(source)) => {
            return Err(TargetError::Unreached { request: Some(request), source });
        }
    };
    send(&pool, connection, request, progress.as_ref()).await.map_err(|error| match error {
        SendError::Unsent(request, source) => {
            TargetError::Unreached { request: Some(*request), source: source.into() }
        }
        SendError::Target(error) => *error,
    })
}

enum SendError {
    /// Nothing of the request was written.
    Unsent(Box<Request<Body>>, hyper::Error),
    Target(Box<TargetError>),
}

async fn send(
    pool: &Arc<Pool>,
    mut connection: SendRequest<Body>,
    request: Request<Body>,
    progress: Option<&Progress>,
) -> Result<Response<Body>, SendError> {
    let idle_timeout = pool.config.idle_timeout;
    let response = {
        let answer = connection.try_send_request(request);
        tokio::pin!(answer);
        let idle = tokio::time::sleep(idle_timeout);
        tokio::pin!(idle);
        loop {
            tokio::select! {
                biased;
                response = &mut answer => break response,
                () = &mut idle => {
                    // While the client's upload moves, the connection is not idle.
                    if !progress.is_some_and(Progress::moved) {
                        return Err(SendError::Target(Box::new(TargetError::Timeout)));
                    }
                    idle.as_mut().reset(tokio::time::Instant::now() + idle_timeout);
                }
            }
        }
    };
    match response {
        Ok(response) => {
            let taken = Taken::new(connection, Arc::clone(pool));
            Ok(response.map(|body| Body::upstream(UpstreamBody::new(body, taken, idle_timeout))))
        }
        Err(mut error) => match error.take_message() {
            Some(request) => Err(SendError::Unsent(Box::new(request), error.into_error())),
            None => Err(SendError::Target(Box::new(TargetError::Failed(error.into_error().into())))),
        },
    }
}
