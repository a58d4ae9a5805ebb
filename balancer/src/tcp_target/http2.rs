//! HTTP/2 with prior knowledge to one target: a few connections per data-plane thread, each with many requests at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::header::{self, HeaderValue};
use http::uri::{Authority, Parts, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time;

use super::body::{Held, Progress, UpstreamBody};
use super::patience::Patience;
use super::{SendError, TcpTargetConfig, answered};
use crate::connection::MAX_BUFFERED;
use crate::{Body, BoxError, TargetError, tls};

/// Requests on one connection before another is opened. RFC 9113, 6.5.2, recommends that servers allow no fewer.
const MAX_STREAMS: usize = 100;
/// What a target may send of an answer before its client has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Room for all of them: clients that take nothing must not keep the answers of others on the same connection back.
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;

/// The connections to a target, of one data-plane thread.
///
/// As with HTTP/1.1 the mutex is contended only by threads outside the data plane, and is never held across an await.
#[derive(Debug)]
pub(super) struct Multiplexed {
    address: SocketAddr,
    config: TcpTargetConfig,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: Vec<Connection>,
    /// Under way. Whoever finds no room meanwhile waits for it, or a burst would open a connection per request.
    connecting: Option<Connecting>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("connections", &self.connections.len()).finish_non_exhaustive()
    }
}

type Connecting = Shared<BoxFuture<'static, Result<Connection, Refused>>>;

/// Why there is no connection, told to all who wait for it.
#[derive(Clone, Debug)]
enum Refused {
    Timeout,
    Error(Arc<str>),
}

#[derive(Clone)]
struct Connection {
    sender: SendRequest<Body>,
    streams: Arc<AtomicUsize>,
}

/// A request's place on a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    streams: Arc<AtomicUsize>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    fn enter(&self) -> Option<(SendRequest<Body>, Stream)> {
        let room = |streams| (streams < MAX_STREAMS).then_some(streams + 1);
        self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some((self.sender.clone(), Stream { streams: Arc::clone(&self.streams) }))
    }
}

impl Multiplexed {
    pub(super) fn new(address: SocketAddr, config: TcpTargetConfig) -> Self {
        Self { address, config, state: Mutex::default() }
    }

    /// A place on an open connection, or the connection to wait for.
    fn place(&self) -> Result<(SendRequest<Body>, Stream), Connecting> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.connections.retain(|connection| !connection.sender.is_closed());
        if let Some(place) = state.connections.iter().find_map(Connection::enter) {
            return Ok(place);
        }
        let connecting =
            state.connecting.get_or_insert_with(|| connect(self.address, self.config).boxed().shared());
        Err(connecting.clone())
    }

    /// Takes in how connecting ended, once for all who waited for it.
    fn connected(&self, connecting: &Connecting, outcome: &Result<Connection, Refused>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.connecting.as_ref().is_some_and(|current| current.ptr_eq(connecting)) {
            state.connecting = None;
            state.connections.extend(outcome.as_ref().ok().cloned());
        }
    }

    async fn take(&self) -> Result<(SendRequest<Body>, Stream), Refused> {
        loop {
            let connecting = match self.place() {
                Ok(place) => return Ok(place),
                Err(connecting) => connecting,
            };
            let outcome = connecting.clone().await;
            self.connected(&connecting, &outcome);
            outcome?;
        }
    }
}

async fn connect(address: SocketAddr, config: TcpTargetConfig) -> Result<Connection, Refused> {
    let opened = time::timeout(config.connect_timeout, open(address, config)).await;
    opened.map_err(|_elapsed| Refused::Timeout)?.map_err(|error| Refused::Error(error.to_string().into()))
}

async fn open(address: SocketAddr, config: TcpTargetConfig) -> Result<Connection, BoxError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    if config.tls {
        return handshake(tls::to_target(stream, true).await?, config).await;
    }
    handshake(stream, config).await
}

async fn handshake<I>(stream: I, config: TcpTargetConfig) -> Result<Connection, BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    // A target that is gone without a word is noticed, and its connection not used again.
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(config.idle_timeout)
        .keep_alive_while_idle(false)
        .max_send_buf_size(MAX_BUFFERED)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to target ended");
        }
    });
    Ok(Connection { sender, streams: Arc::default() })
}

pub(super) async fn exchange(
    pool: Arc<Multiplexed>,
    mut request: Request<Body>,
    progress: Option<Progress>,
) -> Result<Response<Body>, TargetError> {
    let scheme = if pool.config.tls { Scheme::HTTPS } else { Scheme::HTTP };
    to_http2(&mut request, pool.address, scheme);
    // A connection may end between being taken and being written to. What was not written is tried on a second one.
    for last in [false, true] {
        let (mut sender, stream) = match pool.take().await {
            Ok(place) => place,
            Err(Refused::Timeout) => return Err(TargetError::ConnectTimeout),
            Err(Refused::Error(text)) => {
                to_http1(&mut request);
                return Err(TargetError::Unreached { request: Some(request), source: (*text).into() });
            }
        };
        let idle = pool.config.idle_timeout;
        let mut patience = Patience::new(idle);
        match answered(sender.try_send_request(request), &mut patience, progress.as_ref()).await {
            Ok(response) => {
                return Ok(
                    response.map(|body| Body::upstream(UpstreamBody::new(body, Held::Stream(stream), idle)))
                );
            }
            Err(SendError::Target(error)) => return Err(*error),
            Err(SendError::Unsent(unsent, source)) => {
                request = *unsent;
                if last {
                    to_http1(&mut request);
                    return Err(TargetError::Unreached { request: Some(request), source });
                }
            }
        }
    }
    unreachable!("the last round returns")
}

/// HTTP/2 names the host in `:authority`, and knows no `Connection` (RFC 9113, 8.2.2 and 8.3.1).
fn to_http2(request: &mut Request<Body>, address: SocketAddr, scheme: Scheme) {
    let host = request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::CONNECTION);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    // HTTP/1.0 has none.
    let authority = authority.or_else(|| Authority::try_from(address.to_string()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    (parts.scheme, parts.authority) = (Some(scheme), authority);
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = Version::HTTP_2;
}

/// As it was given, for another target.
fn to_http1(request: &mut Request<Body>) {
    let Parts { authority, path_and_query, .. } = std::mem::take(request.uri_mut()).into_parts();
    if let Some(host) = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
    let mut parts = Parts::default();
    parts.path_and_query = path_and_query;
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
}
