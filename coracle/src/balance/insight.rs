//! What can be seen of a running balancer: access logs and metrics.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use coracle_balancer::{
    AccessLog, AccessLogFormat, Body, HealthCheckConfig, RegisterOptions, Target, TargetError, TargetGroup,
    TargetGroupConfig, TargetState, prometheus,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};

/// Where a listener's access log goes, and how it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AccessLogFile {
    /// `None`: standard output.
    pub(super) path: Option<PathBuf>,
    pub(super) format: AccessLogFormat,
}

impl AccessLogFile {
    pub(super) fn open(&self) -> io::Result<Arc<AccessLog>> {
        let writer: Box<dyn Write + Send> = match &self.path {
            Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
            None => Box::new(io::stdout()),
        };
        AccessLog::new(self.format, writer)
    }
}

/// The groups that metrics tell of, shared between whoever changes them and the target that answers for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Vec<Arc<TargetGroup>>>>);

impl Watched {
    pub(super) fn set(&self, groups: Vec<Arc<TargetGroup>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = groups;
    }

    /// A group of one target in this process, which answers `GET /metrics`.
    pub(super) fn group(&self) -> Arc<TargetGroup> {
        let health_check = HealthCheckConfig::disabled();
        let group = TargetGroup::new(TargetGroupConfig { health_check, ..TargetGroupConfig::new("metrics") });
        group.register("metrics", Arc::new(self.clone()), RegisterOptions::new(TargetState::Healthy));
        group
    }
}

impl Target for Watched {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
        let mut response = Response::new(Body::empty());
        if request.uri().path() == "/metrics" {
            let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let format = HeaderValue::from_static("text/plain; version=0.0.4");
            response.headers_mut().insert(header::CONTENT_TYPE, format);
            *response.body_mut() = Body::full(prometheus(&groups));
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        std::future::ready(Ok(response)).boxed()
    }
}
