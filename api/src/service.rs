//! Which service a request is for.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use crate::ApiError;
use crate::query::{QueryService, QueryServices};
use crate::rest::{RestService, RestServices};

/// One of AWS's services, spoken in JSON 1.1.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// What stands before the dot in `X-Amz-Target`, e.g. `AmazonEC2ContainerServiceV20141113`.
    fn target_prefix(&self) -> &'static str;

    /// Runs one operation over a JSON body, and returns the JSON to answer with.
    async fn call(&self, operation: &str, body: Bytes) -> Result<Bytes, ApiError>;
}

/// The services of one API port, found by the prefix of the target.
#[derive(Default, Clone)]
pub struct Services {
    json: Vec<Arc<dyn Service>>,
    query: QueryServices,
    rest: RestServices,
}

impl Services {
    /// None yet: every request is for an unknown operation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These services and one more.
    #[must_use]
    pub fn with(mut self, service: impl Service) -> Self {
        self.json.push(Arc::new(service));
        self
    }

    /// These services and one more that is spoken to by forms, and in JSON.
    #[must_use]
    pub fn with_query(mut self, service: impl QueryService + Clone) -> Self {
        self.query.add(service.clone());
        self.with(service)
    }

    /// These services and one more that speaks REST JSON.
    #[must_use]
    pub fn with_rest(mut self, service: impl RestService) -> Self {
        self.rest.add(service);
        self
    }

    /// The service for requests with this path, which is not `/`.
    #[must_use]
    pub fn rest(&self, path: &str) -> Option<Arc<dyn RestService>> {
        self.rest.find(path)
    }

    /// Runs the operation that a form names, and returns XML.
    pub(crate) async fn call_form(&self, body: &[u8], request_id: &str) -> Result<Bytes, ApiError> {
        self.query.call(body, request_id).await
    }

    /// Runs the operation that `target` names.
    ///
    /// # Errors
    /// `UnknownOperationException` when there is no such service or it has no such operation; else the operation's own.
    pub async fn call(&self, target: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let (prefix, operation) =
            target.split_once('.').ok_or_else(|| ApiError::unknown_operation(target))?;
        let service = self.json.iter().find(|service| service.target_prefix() == prefix);
        service.ok_or_else(|| ApiError::unknown_operation(target))?.call(operation, body).await
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json: Vec<_> = self.json.iter().map(|service| service.target_prefix()).collect();
        f.debug_struct("Services")
            .field("json", &json)
            .field("query", &self.query)
            .field("rest", &self.rest)
            .finish()
    }
}
