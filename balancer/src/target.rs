//! What a request can be sent to.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::{Body, BoxError, ProtocolVersion};

/// Where a request can go: a handler task in this process, or an HTTP server over TCP ([`TcpTarget`]).
///
/// A request arrives as an origin server expects it: the target in origin form (`/path?query`), exactly one
/// `Host`, hop-by-hop headers removed, `X-Forwarded-For`, `-Proto` and `-Port` set, and version HTTP/1.1 whatever
/// the client spoke. A health check of an in-process target comes through [`Target::call`] too.
///
/// [`TcpTarget`]: crate::TcpTarget
pub trait Target: Send + Sync + 'static {
    /// Answers one request. Called exactly once per attempt, on a data-plane thread, and polled in the task of the
    /// client's connection. Dropping the future, or the body of its answer, means that the client has gone.
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TargetError>>;

    /// Whether it may answer 101 and then speak another protocol over the same connection. Else `Upgrade` is taken off
    /// requests to it.
    fn upgrades(&self) -> bool {
        false
    }

    /// What it speaks; for health checks of a target that has an address.
    fn protocol_version(&self) -> ProtocolVersion {
        ProtocolVersion::Http1
    }

    /// Address of a target that listens on a socket: health checks then open a connection of their own.
    /// `None` for one in this process.
    fn address(&self) -> Option<SocketAddr> {
        None
    }

    /// Where other programs of this host reach it without the balancer: at its address, unless there is another place. One in this process may have
    /// a socket of its own beside it.
    fn reached_at(&self) -> Option<SocketAddr> {
        self.address()
    }
}

/// Why a target did not answer, in the terms the balancer answers in.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The request did not reach the target (refused connection, task already stopped). With `request` it is tried on
    /// another target, otherwise and at last it is a 502 (over TCP) or 503 (in process).
    #[error("the request did not reach the target")]
    Unreached {
        /// The request as it was given, its body not read from. `None` if that cannot be guaranteed.
        request: Option<Request<Body>>,
        /// What stood in the way.
        source: BoxError,
    },
    /// The target takes no further request now. Tried on another target like `Unreached`, then a 503.
    #[error("the target takes no further request")]
    Overloaded {
        /// The request as it was given, its body not read from. `None` if that cannot be guaranteed.
        request: Option<Request<Body>>,
    },
    /// No connection within the time allowed: 504, as ALB answers after 10 s.
    #[error("no connection to the target in time")]
    ConnectTimeout,
    /// The target got the request and did not give a well-formed answer: 502.
    #[error("the target did not give a well-formed answer")]
    Failed(#[source] BoxError),
    /// The target got the request and no answer began in the time allowed: 504.
    #[error("the target did not answer in time")]
    Timeout,
}

/// Name of a target within its group: a task id, or `ip:port`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(Arc<str>);

impl TargetId {
    /// Takes any text as the id.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for TargetId {
    fn from(id: T) -> Self {
        Self::new(id)
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
