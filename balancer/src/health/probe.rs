//! One health check of one target.

use std::net::SocketAddr;

use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time;

use super::config::{HealthCheckConfig, HealthCheckPort, HealthCheckProtocol};
use super::grpc;
use super::state::{Failure, Outcome};
use crate::{Body, BoxError, ProtocolVersion, Target, tls};

pub(super) const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("Coracle-HealthChecker/", env!("CARGO_PKG_VERSION")));
/// What an in-process target sees as `Host`; one over TCP sees `ip:port`, as behind ELB.
const IN_PROCESS_HOST: HeaderValue = HeaderValue::from_static("localhost");
/// An answer is read to its end, so that a guest is not cut off in the middle of it, but not for ever.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Checks `target` once, within the timeout.
pub(super) async fn probe(target: &dyn Target, config: &HealthCheckConfig) -> Outcome {
    let address = target.address().map(|address| match config.port {
        HealthCheckPort::Traffic => address,
        HealthCheckPort::Port(port) => SocketAddr::new(address.ip(), port.get()),
    });
    let check = async {
        match (config.protocol, address) {
            (HealthCheckProtocol::Tcp, Some(address)) => {
                TcpStream::connect(address).await?;
                Ok(Outcome::Success)
            }
            (HealthCheckProtocol::Tcp, None) => {
                let response = call(target, config).await?;
                drain(response).await?;
                Ok(Outcome::Success)
            }
            (HealthCheckProtocol::Http, Some(address)) => {
                let stream = TcpStream::connect(address).await?;
                over(stream, address, target.protocol_version(), config).await
            }
            (HealthCheckProtocol::Https, Some(address)) => {
                let version = target.protocol_version();
                let stream = TcpStream::connect(address).await?;
                let stream = tls::to_target(stream, version != ProtocolVersion::Http1).await?;
                over(stream, address, version, config).await
            }
            (HealthCheckProtocol::Http | HealthCheckProtocol::Https, None) => {
                let response = call(target, config).await?;
                judge(response, config).await
            }
        }
    };
    match time::timeout(config.timeout, check).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => {
            let error: BoxError = error;
            tracing::debug!(error, "health check failed");
            Outcome::Failure(Failure::FailedHealthChecks)
        }
        Err(_elapsed) => Outcome::Failure(Failure::Timeout),
    }
}

async fn call(target: &dyn Target, config: &HealthCheckConfig) -> Result<Response<Body>, BoxError> {
    // The error holds a request, whose body is not `Sync`: its words are all that is wanted here.
    target.call(request(config, IN_PROCESS_HOST)?).await.map_err(|error| error.to_string().into())
}

/// Over a connection of its own, as ELB does: a pooled one would not show that the target still accepts.
async fn over<I>(
    stream: I,
    address: SocketAddr,
    version: ProtocolVersion,
    config: &HealthCheckConfig,
) -> Result<Outcome, BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = HeaderValue::try_from(address.to_string())?;
    let io = TokioIo::new(stream);
    if version == ProtocolVersion::Http1 {
        let mut request = request(config, host)?;
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let (mut sender, connection) = http1::handshake(io).await?;
        let exchange = async move {
            let response = sender.send_request(request).await?;
            judge(response.map(Body::from), config).await
        };
        return driven(connection, exchange).await;
    }
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    let exchange = async move {
        if version == ProtocolVersion::Grpc {
            let response = sender.send_request(grpc::request(address, config)?).await?;
            return grpc::judge(response.map(Body::from), config).await;
        }
        let mut request = request(config, host)?;
        request.headers_mut().remove(header::HOST);
        *request.uri_mut() = format!("http://{address}{}", config.path).parse()?;
        let response = sender.send_request(request).await?;
        judge(response.map(Body::from), config).await
    };
    driven(connection, exchange).await
}

async fn driven(
    connection: impl Future,
    exchange: impl Future<Output = Result<Outcome, BoxError>>,
) -> Result<Outcome, BoxError> {
    tokio::pin!(exchange);
    tokio::select! {
        outcome = &mut exchange => outcome,
        // It ends before the exchange does when the target closes; what it read until then is still to be judged.
        _ = connection => exchange.await,
    }
}

fn request(config: &HealthCheckConfig, host: HeaderValue) -> http::Result<Request<Body>> {
    Request::get(config.path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, HeaderValue::from_static("*/*"))
        .body(Body::empty())
}

async fn judge(response: Response<Body>, config: &HealthCheckConfig) -> Result<Outcome, BoxError> {
    let status = response.status();
    if !config.matcher.matches(status) {
        return Ok(Outcome::Failure(Failure::ResponseCodeMismatch(status.as_u16())));
    }
    drain(response).await?;
    Ok(Outcome::Success)
}

async fn drain(response: Response<Body>) -> Result<(), BoxError> {
    let mut body = response.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame?.data_ref().map_or(0, bytes::Bytes::len);
        if read > MAX_BODY {
            break;
        }
    }
    Ok(())
}
