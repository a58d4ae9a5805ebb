//! What can be seen of a running balancer: access logs and metrics.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coracle_balancer::{
    AccessLog, AccessLogFormat, Body, HealthCheckConfig, RegisterOptions, Target, TargetError, TargetGroup,
    TargetGroupConfig, TargetState, Tracer, prometheus,
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
        AccessLog::new(self.format, self.writer()?)
    }

    /// The file, made if it is not there: it may have been renamed since it was opened the last time.
    pub(super) fn writer(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match &self.path {
            Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
            None => Box::new(io::stdout()),
        })
    }
}

/// What metrics tell of, shared between whoever changes it and the target that answers for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Subjects>>);

#[derive(Debug, Clone, Default)]
struct Subjects {
    groups: Vec<Arc<TargetGroup>>,
    tracer: Option<Arc<Tracer>>,
}

impl Watched {
    pub(super) fn set(&self, groups: Vec<Arc<TargetGroup>>) {
        self.lock().groups = groups;
    }

    pub(super) fn set_tracer(&self, tracer: Option<Arc<Tracer>>) {
        self.lock().tracer = tracer;
    }

    fn lock(&self) -> MutexGuard<'_, Subjects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prometheus(&self) -> String {
        let Subjects { groups, tracer } = self.lock().clone();
        prometheus(&groups) + &tracer.map(|tracer| tracer.prometheus()).unwrap_or_default()
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
            let format = HeaderValue::from_static("text/plain; version=0.0.4");
            response.headers_mut().insert(header::CONTENT_TYPE, format);
            *response.body_mut() = Body::full(self.prometheus());
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        std::future::ready(Ok(response)).boxed()
    }
}
