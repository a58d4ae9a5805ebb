//! The answers the balancer gives itself, in the words and the form of an ALB.

use std::error::Error;

use http::{HeaderValue, Response, StatusCode, header};

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
    match error {
        TargetError::Failed(cause) if among_causes::<TooLong>(&**cause) => StatusCode::PAYLOAD_TOO_LARGE,
        TargetError::Failed(cause) if too_slow(&**cause) => StatusCode::REQUEST_TIMEOUT,
        // ALB: 502 when "the load balancer received a TCP RST from the target when attempting to establish a
        // connection". A task of ours that has stopped is no bad gateway: there is nobody to serve.
        TargetError::Unreached { .. } if in_process => StatusCode::SERVICE_UNAVAILABLE,
        TargetError::Unreached { .. } | TargetError::Failed(_) => StatusCode::BAD_GATEWAY,
        TargetError::Overloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
        TargetError::ConnectTimeout | TargetError::Timeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// Whether the target was given less than it was promised because the client was too slow.
pub(crate) fn too_slow(error: &(dyn Error + 'static)) -> bool {
    among_causes::<TooSlow>(error)
}

/// Whether it is the client's fault that the target did not answer.
pub(crate) fn of_client(error: &TargetError) -> bool {
    matches!(error, TargetError::Failed(cause) if among_causes::<TooLong>(&**cause) || too_slow(&**cause))
}

fn among_causes<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (**error).source()).any(|error| error.is::<E>())
}
