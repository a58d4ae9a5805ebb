//! What an operation answers when it refuses, in ECS's words.

use crate::store::StoreError;

/// Why an operation did nothing.
///
/// [`code`](Self::code) is the exception's name on the wire, `Display` its message. The texts are ECS's where ECS has one.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// `ClientException`: the request cannot be carried out as it stands.
    #[error("{0}")]
    Client(String),
    /// `InvalidParameterException`: a parameter's value is outside of what is allowed.
    #[error("{0}")]
    InvalidParameter(String),
    /// `SerializationException`: the body is not JSON at all.
    #[error("{0}")]
    Serialization(String),
    /// `ClusterNotFoundException`.
    #[error("Cluster not found.")]
    ClusterNotFound,
    /// `ServiceNotFoundException`.
    #[error("Service not found.")]
    ServiceNotFound,
    /// `ServiceNotActiveException`.
    #[error("Service was not ACTIVE.")]
    ServiceNotActive,
    /// `ServiceDeploymentNotFoundException`.
    #[error("Service deployment not found.")]
    ServiceDeploymentNotFound,
    /// `ClusterContainsServicesException`.
    #[error("The Cluster cannot be deleted while Services are active.")]
    ClusterContainsServices,
    /// `ClusterContainsTasksException`.
    #[error("The Cluster cannot be deleted while Tasks are active.")]
    ClusterContainsTasks,
    /// `ResourceNotFoundException`: the ARN of a tag operation names nothing.
    #[error("The specified resource was not found. Specify a valid resource and try again.")]
    ResourceNotFound,
    /// `ObjectNotFoundException`: Application Auto Scaling knows no such thing.
    #[error("{0}")]
    ObjectNotFound(String),
    /// `LimitExceededException`: a quota would be exceeded.
    #[error("{0}")]
    LimitExceeded(String),
    /// `ConflictException`: others changed the same thing again and again while this operation tried to.
    #[error("The request conflicts with another change of the same resource. Try again.")]
    Conflict,
    /// `TargetNotConnectedException`: a command cannot be run in a task that does not run.
    #[error("{0}")]
    TargetNotConnected(String),
    /// An exception of another of AWS's services, which ECS has none for.
    #[error("{message}")]
    Exception {
        /// Its name.
        code: &'static str,
        /// What is wrong.
        message: String,
    },
    /// `ServerException`: our fault.
    #[error("The request could not be made durable.")]
    Store(#[from] StoreError),
}

impl OperationError {
    /// The exception's name on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Client(_) => "ClientException",
            Self::InvalidParameter(_) => "InvalidParameterException",
            Self::Serialization(_) => "SerializationException",
            Self::ClusterNotFound => "ClusterNotFoundException",
            Self::ServiceNotFound => "ServiceNotFoundException",
            Self::ServiceDeploymentNotFound => "ServiceDeploymentNotFoundException",
            Self::ServiceNotActive => "ServiceNotActiveException",
            Self::ClusterContainsServices => "ClusterContainsServicesException",
            Self::ClusterContainsTasks => "ClusterContainsTasksException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ObjectNotFound(_) => "ObjectNotFoundException",
            Self::LimitExceeded(_) => "LimitExceededException",
            Self::Conflict => "ConflictException",
            Self::TargetNotConnected(_) => "TargetNotConnectedException",
            Self::Exception { code, .. } => code,
            Self::Store(_) => "ServerException",
        }
    }

    /// Whether the caller can mend it: HTTP 400, against 500 for what only we can.
    pub fn is_client_fault(&self) -> bool {
        !matches!(self, Self::Store(_))
    }

    /// `ResourceNotFoundException` with words of its own.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::Exception { code: "ResourceNotFoundException", message: message.into() }
    }

    pub(crate) fn client(message: impl Into<String>) -> Self {
        Self::Client(message.into())
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidParameter(message.into())
    }
}
