//! Secrets Manager and the Parameter Store: their operations' names, and what they are here.

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_supervisor::Supervisor;

use crate::ecs::run;
use crate::{ApiError, Service};

/// Secrets Manager over a supervisor.
#[derive(Debug, Clone)]
pub struct SecretsManager(Supervisor);

impl SecretsManager {
    /// The service for one supervisor.
    #[must_use]
    pub fn new(supervisor: Supervisor) -> Self {
        Self(supervisor)
    }
}

#[async_trait]
impl Service for SecretsManager {
    fn target_prefix(&self) -> &'static str {
        "secretsmanager"
    }

    async fn call(&self, operation: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let s = &self.0;
        match operation {
            "CreateSecret" => run(&body, |input| s.create_secret(input)).await,
            "DeleteSecret" => run(&body, |input| s.delete_secret(input)).await,
            "DescribeSecret" => run(&body, |input| s.describe_secret(input)).await,
            "GetSecretValue" => run(&body, |input| s.get_secret_value(input)).await,
            "ListSecrets" => run(&body, |input| s.list_secrets(input)).await,
            "PutSecretValue" => run(&body, |input| s.put_secret_value(input)).await,
            _ => Err(ApiError::unknown_operation(operation)),
        }
    }
}

/// The Parameter Store of Systems Manager over a supervisor.
#[derive(Debug, Clone)]
pub struct ParameterStore(Supervisor);

impl ParameterStore {
    /// The service for one supervisor.
    #[must_use]
    pub fn new(supervisor: Supervisor) -> Self {
        Self(supervisor)
    }
}

#[async_trait]
impl Service for ParameterStore {
    fn target_prefix(&self) -> &'static str {
        "AmazonSSM"
    }

    async fn call(&self, operation: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let s = &self.0;
        let answer = match operation {
            "DeleteParameter" => run(&body, |input| s.delete_parameter(input)).await,
            "DescribeParameters" => run(&body, |input| s.describe_parameters(input)).await,
            "GetParameter" => run(&body, |input| s.get_parameter(input)).await,
            "GetParameters" => run(&body, |input| s.get_parameters(input)).await,
            "GetParametersByPath" => run(&body, |input| s.get_parameters_by_path(input)).await,
            "PutParameter" => run(&body, |input| s.put_parameter(input)).await,
            _ => Err(ApiError::unknown_operation(operation)),
        };
        // What is `InvalidParameterException` with ECS.
        answer.map_err(|error| match &*error.code {
            "InvalidParameterException" => ApiError { code: Cow::Borrowed("ValidationException"), ..error },
            _ => error,
        })
    }
}
