//! What a task may ask about itself, and say of itself: ECS's task metadata and agent endpoints, `http://169.254.170.2/...`.
//!
//! It is part of the task, not of what its egress grants: every container with a network reaches it, and no other task's. Requests of `wasi:http`
//! are answered in this process. Programs that bring their own HTTP connect to a listener of this host, which stands for the address; there it is the path,
//! which has a secret in it, that says whose it is.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;
use wasmtime_wasi_http::WasiBody;

/// Where it is in every task, as in ECS.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)), 80);

/// The largest body that is taken: what a task says of itself is a few fields.
pub const MAX_BODY: usize = 4 << 10;
/// How long a body may take.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers for one task.
pub trait Metadata: Debug + Send + Sync {
    /// Answers a GET of this path, or a PUT of this body where it [`takes`](Self::takes) one.
    fn answer(&self, path: &str, put: Option<Bytes>) -> BoxFuture<'static, MetadataAnswer>;

    /// Whether a task can say something at this path.
    fn takes(&self, path: &str) -> bool;

    /// Where this host answers for it over TCP, if it does. Asked when a guest wants to connect there.
    fn listener(&self) -> Option<SocketAddr>;
}

/// A status and a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataAnswer {
    /// The status.
    pub status: StatusCode,
    /// The document.
    pub body: Bytes,
}

/// A task's, if it has one.
#[derive(Debug, Default)]
pub(super) struct TaskMetadata {
    metadata: OnceLock<Arc<dyn Metadata>>,
    /// The listener that a guest was sent to.
    listener: OnceLock<SocketAddr>,
}

impl TaskMetadata {
    pub(super) fn set(&self, metadata: Arc<dyn Metadata>) {
        // A task has one for its life.
        let _first = self.metadata.set(metadata);
    }

    /// What stands for `wanted` on this host, if that is the endpoint.
    pub(super) fn destination(&self, wanted: SocketAddr) -> Option<SocketAddr> {
        if !is_endpoint(wanted) {
            return None;
        }
        let listener = self.metadata.get()?.listener()?;
        Some(*self.listener.get_or_init(|| listener))
    }

    /// Whether `address` is what stands for the endpoint.
    pub(super) fn is_listener(&self, address: SocketAddr) -> bool {
        self.listener.get() == Some(&address)
    }

    /// Who answers a request, if it goes to the endpoint.
    pub(super) fn of<B>(&self, request: &Request<B>) -> Option<&Arc<dyn Metadata>> {
        let uri = request.uri();
        let port = uri.port_u16().unwrap_or(80);
        let ip: IpAddr = uri.host()?.parse().ok()?;
        let is_ours = uri.scheme() == Some(&Scheme::HTTP) && is_endpoint(SocketAddr::new(ip, port));
        self.metadata.get().filter(|_| is_ours)
    }
}

fn is_endpoint(address: SocketAddr) -> bool {
    SocketAddr::new(address.ip().to_canonical(), address.port()) == ADDRESS
}

/// The answer to a request.
pub(crate) async fn answer(metadata: &dyn Metadata, request: Request<WasiBody>) -> Response<WasiBody> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let (takes, is_head) = (metadata.takes(path), head.method == Method::HEAD);
    let answer = match head.method {
        Method::GET | Method::HEAD => metadata.answer(path, None).await,
        Method::PUT if takes => match taken(body).await {
            Ok(body) => metadata.answer(path, Some(body)).await,
            Err(status) => MetadataAnswer { status, body: Bytes::new() },
        },
        _ => MetadataAnswer { status: StatusCode::METHOD_NOT_ALLOWED, body: Bytes::new() },
    };
    let MetadataAnswer { status, body } = answer;
    let length = HeaderValue::from(body.len());
    let body = if is_head { Bytes::new() } else { body };
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = if takes { "GET, HEAD, PUT" } else { "GET, HEAD" };
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// A body that is short and comes soon; else the status that says it did not.
pub async fn taken<B>(body: B) -> Result<Bytes, StatusCode>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}
