//! The API's HTTP server, bounded in every direction.
//!
//! Nobody has proved who they are when a request comes in, so that nobody may hold much: connections, header and body
//! sizes, and the time for each step have a bound ([`Limits`]).

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::ALLOW, header::HeaderValue};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use coracle_supervisor::Supervisor;

use crate::{ApiError, RestRequest, Services, guard, json, query, rest, session};

/// The port that AWS's local stand-ins listen on, and the address nobody else can reach.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:4566";

/// What one server, and one client of it, may hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; a further one waits in the kernel's queue. Each is one task and at most `body` bytes.
    pub connections: usize,
    /// Bytes of one request's body: a task definition's own limit is 64 KiB, the largest batch about ten times that.
    pub body: usize,
    /// Bytes of one request's head.
    pub head: usize,
    /// From the connection (or the previous answer) to the end of the request's head. Also ends idle connections.
    pub head_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// For how long one connection is used for further requests; thereafter what is under way may finish.
    pub connection_age: Duration,
    /// For how long a request may still take when its connection is too old or the server stops, including a client
    /// that does not read its answer.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            body: 1024 * 1024,
            head: 64 * 1024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            connection_age: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

/// The API on one listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    services: Services,
    sessions: Option<Supervisor>,
    limits: Limits,
}

impl Server {
    /// A server for `services`; it accepts nothing before [`Server::run`].
    #[must_use]
    pub fn new(listener: TcpListener, services: Services) -> Self {
        Self { listener, services, sessions: None, limits: Limits::default() }
    }

    /// The same server, where people can attach to the sessions that ExecuteCommand makes.
    #[must_use]
    pub fn with_sessions(self, supervisor: Supervisor) -> Self {
        Self { sessions: Some(supervisor), ..self }
    }

    /// The same server with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Serves until `stop` is cancelled and the requests under way are answered.
    pub async fn run(self, stop: CancellationToken) {
        let shared =
            Arc::new(Shared { services: self.services, sessions: self.sessions, limits: self.limits, stop });
        let slots = Arc::new(Semaphore::new(shared.limits.connections));
        let connections = TaskTracker::new();
        loop {
            let accepted = async {
                // A slot first: what we cannot serve stays in the kernel's queue, and costs us nothing.
                let slot = slots.clone().acquire_owned().await;
                (slot, self.listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                () = shared.stop.cancelled() => break,
                accepted = accepted => accepted,
            };
            match (slot, accepted) {
                (Ok(slot), Ok((stream, _))) => {
                    connections.spawn(serve_connection(stream, Arc::new(slot), shared.clone()));
                }
                (Err(_closed), _) => break,
                // Out of descriptors, or the client is gone already. Not at full speed: the first does not pass by itself.
                (_, Err(error)) => {
                    tracing::warn!(%error, "the API could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }
}

struct Shared {
    services: Services,
    sessions: Option<Supervisor>,
    limits: Limits,
    stop: CancellationToken,
}

async fn serve_connection(stream: TcpStream, slot: Arc<OwnedSemaphorePermit>, shared: Arc<Shared>) {
    let limits = &shared.limits;
    let service = service_fn(|request| {
        let (shared, slot) = (shared.clone(), slot.clone());
        async move { Ok::<_, Infallible>(answer(request, shared, slot).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);

    let ended = tokio::select! {
        result = connection.as_mut() => Some(result),
        () = shared.stop.cancelled() => None,
        () = tokio::time::sleep(limits.connection_age) => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            // Answers what was read already, and closes.
            connection.as_mut().graceful_shutdown();
            timeout(limits.drain, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an API connection ended early");
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    slot: Arc<OwnedSemaphorePermit>,
) -> Response<Full<Bytes>> {
    let request_id = Uuid::new_v4().to_string();
    if request.method() == Method::POST && request.uri().path() == "/" && query::is_form(request.headers()) {
        let answered = form(request, shared, slot, request_id.clone()).await;
        return query::respond(answered, &request_id);
    }
    let is_session = session::id_of(&request).is_some();
    let answered = match &shared.sessions {
        Some(supervisor) if is_session => join_session(request, supervisor, &shared, slot).await,
        _ => route(request, shared, slot).await.map(|output| json::success(output, &request_id)),
    };
    match answered {
        Ok(response) => response,
        Err(error) => {
            let mut response = json::failure(&error, &request_id);
            if error.status == StatusCode::METHOD_NOT_ALLOWED {
                let allowed = if is_session { "GET" } else { "POST" };
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            }
            response
        }
    }
}

/// A session lasts as long as its program; it keeps the connection's slot, and ends with the server.
async fn join_session(
    request: Request<Incoming>,
    supervisor: &Supervisor,
    shared: &Arc<Shared>,
    slot: Arc<OwnedSemaphorePermit>,
) -> Result<Response<Full<Bytes>>, ApiError> {
    guard::check_origin(request.headers())?;
    if request.method() != Method::GET {
        return Err(ApiError::with_status(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowedException",
            "A session is attached to with GET.",
        ));
    }
    session::attach(request, supervisor, shared.stop.clone(), slot).await
}

/// One port serves everything: the registry (`/v2/`), metrics (`/metrics`) and the console (`GET /`) get their arms here.
async fn route(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    slot: Arc<OwnedSemaphorePermit>,
) -> Result<Bytes, ApiError> {
    guard::check_origin(request.headers())?;
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/") => operation(request, shared, slot).await,
        (_, "/") => Err(ApiError::with_status(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowedException",
            "Operations are sent with POST.",
        )),
        (_, path) if shared.services.rest(path).is_some() => rest_operation(request, shared, slot).await,
        _ => Err(ApiError::with_status(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            "There is nothing at this path; operations are sent with POST to /.",
        )),
    }
}

async fn operation(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    slot: Arc<OwnedSemaphorePermit>,
) -> Result<Bytes, ApiError> {
    let target = guard::target(request.headers())?.to_owned();
    let body = read_body(request.into_body(), &shared.limits).await?;
    to_its_end(slot, async move { shared.services.call(&target, body).await }).await
}

/// An operation of a service that is spoken to by forms.
async fn form(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    slot: Arc<OwnedSemaphorePermit>,
    request_id: String,
) -> Result<Bytes, ApiError> {
    guard::check_origin(request.headers())?;
    query::check_signed(request.headers())?;
    let body = read_body(request.into_body(), &shared.limits).await?;
    to_its_end(slot, async move { shared.services.call_form(&body, &request_id).await }).await
}

async fn rest_operation(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    slot: Arc<OwnedSemaphorePermit>,
) -> Result<Bytes, ApiError> {
    let (head, body) = request.into_parts();
    rest::check_media_type(&head.method, &head.headers)?;
    let Some(service) = shared.services.rest(head.uri.path()) else {
        return Err(ApiError::unknown_operation(head.uri.path()));
    };
    let body = read_body(body, &shared.limits).await?;
    let request = RestRequest::new(head.method, &head.uri, body)?;
    to_its_end(slot, async move { service.call(request).await }).await
}

/// An operation runs to its end even when its client leaves: half of one would leave a state that nobody asked for. It keeps the connection's slot
/// meanwhile, so that coming and going buys a client nothing.
async fn to_its_end(
    slot: Arc<OwnedSemaphorePermit>,
    operation: impl Future<Output = Result<Bytes, ApiError>> + Send + 'static,
) -> Result<Bytes, ApiError> {
    let work = async move {
        let _slot = slot;
        operation.await
    };
    tokio::spawn(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an operation ended abnormally");
        Err(ApiError::internal())
    })
}

async fn read_body(body: Incoming, limits: &Limits) -> Result<Bytes, ApiError> {
    let too_large = || {
        let message = format!("The body is larger than {} bytes.", limits.body);
        ApiError::with_status(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", message)
    };
    if http_body::Body::size_hint(&body).lower() > limits.body as u64 {
        return Err(too_large());
    }
    match timeout(limits.body_timeout, Limited::new(body, limits.body).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::bad_request(
            "SerializationException",
            format!("The body did not arrive whole: {error}."),
        )),
        Err(_elapsed) => Err(ApiError::with_status(
            StatusCode::REQUEST_TIMEOUT,
            "RequestTimeoutException",
            format!("The body did not arrive within {} s.", limits.body_timeout.as_secs()),
        )),
    }
}

#[cfg(test)]
mod tests;
