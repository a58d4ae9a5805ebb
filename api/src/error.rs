//! An error as AWS's clients read it.

use std::borrow::Cow;

use coracle_supervisor::OperationError;
use http::StatusCode;

/// What a client is told went wrong: an exception's name, a sentence, and the HTTP status that goes with them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The exception's name, as the client's SDK knows it.
    pub code: Cow<'static, str>,
    /// One sentence for the person who reads it.
    pub message: String,
    /// 400 where the request is at fault, as AWS answers for every modelled exception; 5xx where we are.
    pub status: StatusCode,
}

impl ApiError {
    /// An error of the request itself: HTTP 400.
    pub fn bad_request(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: StatusCode::BAD_REQUEST }
    }

    /// An error with another status than 400.
    pub fn with_status(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status }
    }

    /// The operation is none that this server has.
    #[must_use]
    pub fn unknown_operation(target: &str) -> Self {
        let shown: String = target.chars().filter(|c| !c.is_control()).take(128).collect();
        Self::bad_request("UnknownOperationException", format!("The operation {shown} is not known here."))
    }

    /// Our own fault. The cause goes to the log, not to the client.
    #[must_use]
    pub fn internal() -> Self {
        Self::with_status(
            StatusCode::INTERNAL_SERVER_ERROR,
            "ServerException",
            "The request failed because of an error in coracle; its log has the cause.",
        )
    }
}

/// The one place where the supervisor's refusals become wire codes.
impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        if error.is_client_fault() {
            return Self::bad_request(error.code(), error.to_string());
        }
        tracing::error!(error = &error as &dyn std::error::Error, "an operation failed");
        Self::with_status(StatusCode::INTERNAL_SERVER_ERROR, error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_client_s_fault_and_has_ecs_s_name() {
        let error = ApiError::from(OperationError::ClusterNotFound);
        assert_eq!(error, ApiError::bad_request("ClusterNotFoundException", "Cluster not found."));
        let error = ApiError::from(OperationError::InvalidParameter(
            "desiredCount must be 0 to 5000, not -1.".into(),
        ));
        assert_eq!((error.code.as_ref(), error.status.as_u16()), ("InvalidParameterException", 400));
    }
}
