//! The listener that stands for 169.254.170.2: for programs that bring their own HTTP client.
//!
//! It listens on loopback and reads requests of anybody on this host; what it knows it tells to those who know a secret. A guest cannot connect to it by its
//! own address, only by the endpoint's.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use coracle_runtime::network::metadata::{MetadataAnswer, taken};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Shared;

/// Connections of all tasks; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take, and an idle connection stay.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may be used.
const MAX_AGE: Duration = Duration::from_secs(60);
/// The largest head.
const MAX_HEAD: usize = 16 * 1024;
/// After an accept that failed for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Begins to listen; `None` where that is not possible.
pub(super) fn start(shared: &Arc<Shared>) -> Option<SocketAddr> {
    let bound = tokio::runtime::Handle::try_current().map_err(std::io::Error::other).and_then(|runtime| {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let _entered = runtime.enter();
        runtime.spawn(accept(TcpListener::from_std(listener)?, Arc::downgrade(shared)));
        Ok(address)
    });
    bound.inspect_err(|error| tracing::warn!(%error, "tasks cannot connect to their metadata endpoint")).ok()
}

/// Accepts for as long as there is a host.
async fn accept(listener: TcpListener, shared: Weak<Shared>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = timeout(MAX_AGE, listener.accept()).await;
        if shared.strong_count() == 0 {
            return;
        }
        match accepted {
            Ok(Ok((stream, _))) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    // Who is slow, or stays for too long, is cut off.
                    timeout(MAX_AGE, serve(stream, shared)).await.ok();
                });
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "the metadata endpoint cannot accept");
                sleep(ACCEPT_BACKOFF).await;
            }
            Err(_nobody_came) => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Weak<Shared>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        // One that has said all it will is still answered.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the metadata endpoint ended early");
    }
}

async fn answer(request: Request<hyper::body::Incoming>, shared: &Weak<Shared>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let only = |status| MetadataAnswer { status, body: Bytes::new() };
    let answer = match (head.method, shared.upgrade()) {
        (Method::GET | Method::HEAD, Some(shared)) => shared.answer(path, None).await,
        (Method::PUT, Some(shared)) if super::takes(path) => match taken(body).await {
            Ok(body) => shared.answer(path, Some(body)).await,
            Err(status) => only(status),
        },
        (_, Some(_)) => only(StatusCode::METHOD_NOT_ALLOWED),
        (_, None) => only(StatusCode::SERVICE_UNAVAILABLE),
    };
    let MetadataAnswer { status, body } = answer;
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
