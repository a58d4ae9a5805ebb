//! The answers the balancer gives itself, in the words and the form of an ALB.

use std::error::Error;

use http::{HeaderValue, Response, StatusCode, header};

use crate::body::BrokenOff;
use crate::limits::TooLong;
use crate::pace::TooSlow;
use crate::{Body, TargetError};

/// The page an ALB would answer with.
pub(crate) fn page(status: StatusCode) -> Response<Body> {
    let reason = match status {
        // Where ALB's words differ from the registry's.
        StatusCode::SERVICE_UNAVAILABLE => "Service Temporarily Unavailable",
        StatusCode::GATEWAY_TIMEOUT => "Gateway Time-out",
        _ => status.canonical_reason().unwrap_or_default(),
    };
    let code = status.as_str();
    let html = format!(
        "<html>\r\n<head><title>{code} {reason}</title></head>\r\n<body>\r\n\
         <center><h1>{code} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = Response::new(Body::full(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(header::SERVER, HeaderValue::from_static("coracle"));
    response
}

/// The status for a request that no target answered.
pub(crate) fn status_of(error: &TargetError, in_process: bool) -> StatusCode {
    if let Some(status) = fault_of_client(error) {
        return status;
    }
    match error {
        // ALB: 502 when "the load balancer received a TCP RST from the target when attempting to establish a
        // connection". A task of ours that has stopped is no bad gateway: there is nobody to serve.
        TargetError::Unreached { .. } if in_process => StatusCode::SERVICE_UNAVAILABLE,
        TargetError::Unreached { .. } | TargetError::Failed(_) => StatusCode::BAD_GATEWAY,
        TargetError::Overloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
        TargetError::ConnectTimeout | TargetError::Timeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// The status for a request of which the target was given less than it was promised: the client sent more than it may, did
/// not send what it had said, or was too slow.
pub(crate) fn fault_of_client(error: &TargetError) -> Option<StatusCode> {
    let TargetError::Failed(cause) = error else { return None };
    fault_in_body(&**cause)
}

/// The status for a request whose body could not be read, where that is the client's fault.
pub(crate) fn fault_in_body(error: &(dyn Error + 'static)) -> Option<StatusCode> {
    std::iter::successors(Some(error), |error| (**error).source()).find_map(|error| {
        if error.is::<TooLong>() {
            return Some(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if error.is::<TooSlow>() {
            return Some(StatusCode::REQUEST_TIMEOUT);
        }
        error.is::<BrokenOff>().then_some(StatusCode::BAD_REQUEST)
    })
}
