//! AWS's query protocol: a form names the operation and its input, the answer is XML.
//!
//! A form is what a page of another site could send without asking, so that a header is required that no form has: AWS's clients sign every request, and
//! say when in `X-Amz-Date`.

mod form;
mod xml;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use crate::{ApiError, Service};

/// One of AWS's services that is spoken to by forms.
pub trait QueryService: Service {
    /// The version of its API, which names it on the wire: each has another.
    fn version(&self) -> &'static str;

    /// The XML name space of its answers.
    fn namespace(&self) -> &'static str;
}

/// Whether a request is one of these.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Refuses a form that a page could have sent.
///
/// # Errors
/// `MissingAuthenticationToken` (HTTP 403) without `X-Amz-Date` and `Authorization`.
pub(crate) fn check_signed(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key("x-amz-date") || headers.contains_key("authorization") {
        return Ok(());
    }
    Err(ApiError::with_status(
        StatusCode::FORBIDDEN,
        "MissingAuthenticationToken",
        "Request is missing Authentication Token: a form must come with X-Amz-Date, as AWS's clients send it.",
    ))
}

/// The services of one API port that are spoken to by forms.
#[derive(Default, Clone)]
pub(crate) struct QueryServices(Vec<Arc<dyn QueryService>>);

impl QueryServices {
    pub(crate) fn add(&mut self, service: impl QueryService) {
        self.0.push(Arc::new(service));
    }

    /// Runs the operation that a form names, and returns the XML to answer with.
    ///
    /// # Errors
    /// `MalformedQueryString` for what is no form, `InvalidAction` for an operation that is not known; else the operation's own.
    pub(crate) async fn call(&self, body: &[u8], request_id: &str) -> Result<Bytes, ApiError> {
        let form = form::parse(body)?;
        let known = self.0.iter().find(|service| service.version() == form.version);
        let unknown = || {
            ApiError::bad_request(
                "InvalidAction",
                format!("Could not find operation {} for version {}", form.action, form.version),
            )
        };
        let service = known.ok_or_else(unknown)?;
        let output = service.call(&form.action, form.input.to_string().into()).await;
        let output = output
            .map_err(|error| if error.code == "UnknownOperationException" { unknown() } else { error })?;
        let output: Value = serde_json::from_slice(&output).map_err(|error| {
            tracing::error!(%error, "an answer is not JSON");
            ApiError::internal()
        })?;
        Ok(xml::answer(service.namespace(), &form.action, &output, request_id).into())
    }
}

impl std::fmt::Debug for QueryServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|service| service.version())).finish()
    }
}

/// The HTTP answer to a form.
pub(crate) fn respond(answered: Result<Bytes, ApiError>, request_id: &str) -> Response<Full<Bytes>> {
    let (status, body) = match answered {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => (error.status, xml::refusal(&error, request_id).into()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
