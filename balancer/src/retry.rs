//! The way of a request that may be sent more than once.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::proxy::{self, AnswerBody, Client};
use crate::target_group::{InFlight, Retry};
use crate::{Body, TargetError, answer};

/// Whether this request may reach more than one target: repeating it means the same as sending it once (RFC 9110, 9.2.2),
/// and its body is known to be short enough to be kept.
pub(crate) fn may_repeat(request: &Request<Incoming>, retry: &Retry) -> bool {
    let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE];
    idempotent.contains(request.method())
        && request.body().size_hint().upper().is_some_and(|length| length <= retry.policy.max_body)
}

/// Sends it, and while targets fail to answer and the budget lasts, to another one.
pub(crate) async fn serve(
    client: Arc<Client>,
    mut claim: InFlight,
    request: Request<Incoming>,
    retry: Arc<Retry>,
) -> Response<AnswerBody> {
    let (parts, body) = request.into_parts();
    let body = match whole(client.body(&parts.headers, body), client.timeouts.client_idle).await {
        Ok(body) => body,
        Err(status) => return proxy::own_answer(status),
    };
    retry.earn();
    let (mut tried, mut left) = (Vec::new(), retry.policy.attempts);
    loop {
        let request = Request::from_parts(parts.clone(), body.again());
        let error = match claim.call(request).await {
            Ok(response) => return proxy::pass_on(&client, claim, response),
            Err(error) => error,
        };
        claim.count_error(&error);
        tracing::debug!(target = %claim.id(), source = error.source(), "request failed: {error}");
        let status = answer::status_of(&error, claim.target().address().is_none());
        let again = match error {
            // It did not arrive: that costs no attempt, and there are no more targets than there are.
            TargetError::Unreached { .. } | TargetError::Overloaded { .. } => true,
            TargetError::ConnectTimeout | TargetError::Failed(_) => left > 0 && retry.spend(),
            // It is at work on it still, and the client has waited long enough.
            TargetError::Timeout => false,
        };
        if !again {
            return proxy::own_answer(status);
        }
        if matches!(error, TargetError::ConnectTimeout | TargetError::Failed(_)) {
            left -= 1;
        }
        tried.push(claim.key());
        let Some(next) = claim.give_up(&tried) else { return proxy::own_answer(status) };
        claim = next;
        claim.count_retry();
    }
}

/// A request's body that was read to its end.
struct Whole {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Whole {
    fn again(&self) -> Body {
        match &self.trailers {
            None => Body::full(self.data.clone()),
            Some(trailers) => {
                let trailers = std::future::ready(Some(Ok(trailers.clone())));
                Body::boxed(Full::new(self.data.clone()).with_trailers(trailers))
            }
        }
    }
}

async fn whole(body: Body, timeout: Duration) -> Result<Whole, StatusCode> {
    if body.is_end_stream() {
        return Ok(Whole { data: Bytes::new(), trailers: None });
    }
    match tokio::time::timeout(timeout, body.collect()).await {
        Ok(Ok(body)) => Ok(Whole { trailers: body.trailers().cloned(), data: body.to_bytes() }),
        Ok(Err(error)) => Err(answer::fault_in_body(&*error).unwrap_or(StatusCode::BAD_REQUEST)),
        Err(_elapsed) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}
