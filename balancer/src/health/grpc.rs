//! Health checks of targets that speak gRPC: a unary call, judged by its status.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;

use super::config::HealthCheckConfig;
use super::probe::MAX_BODY;
use super::state::{Failure, Outcome};
use crate::{Body, BoxError};

/// The method that says how a service is in its message, not in its status.
const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// A message of length 0: uncompressed, four bytes of length. To [`HEALTH`] it asks for the server as a whole.
const EMPTY_MESSAGE: &[u8] = &[0; 5];
/// `HealthCheckResponse { status: SERVING }`: field 1, varint, 1.
const SERVING: &[u8] = &[0x08, 0x01];
/// gRPC's `UNKNOWN`, which an answer without a status is to be taken for.
const UNKNOWN: u16 = 2;

pub(super) fn request(address: SocketAddr, config: &HealthCheckConfig) -> http::Result<Request<Body>> {
    Request::post(format!("http://{address}{}", config.path))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, super::probe::USER_AGENT)
        .body(Body::full(EMPTY_MESSAGE))
}

pub(super) async fn judge(response: Response<Body>, config: &HealthCheckConfig) -> Result<Outcome, BoxError> {
    if response.status() != StatusCode::OK {
        return Ok(Outcome::Failure(Failure::ResponseCodeMismatch(response.status().as_u16())));
    }
    // In an answer without a message the status is among the headers.
    let mut status = status_in(response.headers());
    let (mut body, mut message) = (response.into_body(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if message.len() + data.len() > MAX_BODY => break,
            Ok(data) => message.extend_from_slice(&data),
            Err(frame) => status = frame.trailers_ref().and_then(status_in).or(status),
        }
    }
    let code = status.unwrap_or(UNKNOWN);
    if !config.grpc_matcher.matches(code) {
        return Ok(Outcome::Failure(Failure::ResponseCodeMismatch(code)));
    }
    let message: Bytes = message.freeze();
    let serving = config.path != HEALTH || code != 0 || message.get(EMPTY_MESSAGE.len()..) == Some(SERVING);
    Ok(if serving { Outcome::Success } else { Outcome::Failure(Failure::FailedHealthChecks) })
}

fn status_in(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
