//! What a task is told about itself: the documents of ECS's task metadata endpoint, version 4.
//!
//! - `task`: the task and its containers, in AWS's PascalCase.
//! - `stats`: what containers use, in Docker's form, as AWS has it.
//! - `protection`: what a task says of itself: that it must not be stopped now.
//!
//! A driver brings the questions here ([`MetadataSource`]): what the answer says is the agent's record and the driver's accounts.

mod protection;
mod stats;
mod task;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use http::StatusCode;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::driver::{ContainerMeters, MetadataDocument, MetadataSource, TaskMeters};
use crate::model::names::{ClusterName, TaskId};
use crate::model::task_definition::TaskDefinition;
use crate::records::KnownTask;
use crate::supervisor::Shared;

/// One task's answers.
#[derive(Clone, Debug)]
pub(crate) struct TaskMetadata {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// A task does not keep its supervisor.
    shared: Weak<Shared>,
    cluster: ClusterName,
    id: TaskId,
    definition: Arc<TaskDefinition>,
    /// What each container had used when it was asked for the last time.
    before: Mutex<BTreeMap<String, Look>>,
}

/// What a container had used at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    at: Timestamp,
    meters: ContainerMeters,
}

impl TaskMetadata {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        cluster: &ClusterName,
        id: &TaskId,
        definition: &Arc<TaskDefinition>,
    ) -> Self {
        let inner = Inner {
            shared: Arc::downgrade(shared),
            cluster: cluster.clone(),
            id: id.clone(),
            definition: Arc::clone(definition),
            before: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl MetadataSource for TaskMetadata {
    fn document(&self, container: &str, document: MetadataDocument) -> BoxFuture<'static, Option<Value>> {
        let (inner, container) = (Arc::clone(&self.inner), container.to_owned());
        async move { inner.document(&container, document).await }.boxed()
    }

    fn protection(&self, put: Option<Bytes>) -> BoxFuture<'static, (StatusCode, Value)> {
        let inner = Arc::clone(&self.inner);
        async move { inner.protection(put.as_deref()).await }.boxed()
    }
}

impl Inner {
    /// `None` when the task, or that of it, is not there any more.
    async fn document(&self, container: &str, document: MetadataDocument) -> Option<Value> {
        let shared = self.shared.upgrade()?;
        match document {
            MetadataDocument::Container => {
                let known = self.known(&shared).await?;
                self.view(&shared, &known).container(container)
            }
            MetadataDocument::Task => Some(self.view(&shared, &self.known(&shared).await?).task(false)),
            MetadataDocument::TaskWithTags => {
                Some(self.view(&shared, &self.known(&shared).await?).task(true))
            }
            MetadataDocument::Stats => {
                let meters = self.meters(&shared)?;
                // One that asks before the driver has noted that it runs has used next to nothing.
                let its = meters.containers.get(container).copied().unwrap_or_default();
                Some(self.stats(&shared, container, its, &meters))
            }
            MetadataDocument::TaskStats => {
                let meters = self.meters(&shared)?;
                let each = meters
                    .containers
                    .iter()
                    .map(|(name, its)| (self.docker_id(name), self.stats(&shared, name, *its, &meters)));
                Some(Value::Object(each.collect()))
            }
        }
    }

    async fn known(&self, shared: &Shared) -> Option<KnownTask> {
        shared.records.task(&self.cluster, &self.id).await.ok().flatten()
    }

    fn view<'a>(&'a self, shared: &'a Shared, known: &'a KnownTask) -> task::View<'a> {
        task::View { identity: &shared.config.identity, known, definition: &self.definition }
    }

    fn meters(&self, shared: &Shared) -> Option<TaskMeters> {
        Some(shared.sessions.sandbox(&self.id)?.meters())
    }

    fn docker_id(&self, container: &str) -> String {
        task::docker_id(&self.id, container)
    }

    fn stats(&self, shared: &Shared, container: &str, meters: ContainerMeters, task: &TaskMeters) -> Value {
        let now = Look { at: shared.now(), meters };
        let mut looks = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let before = looks.insert(container.to_owned(), now);
        drop(looks);
        stats::document(&self.docker_id(container), container, now, before, task)
    }
}

/// A moment as AWS writes it here.
fn time(at: Timestamp) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit by far")]
    let time = jiff::Timestamp::from_millisecond((at.seconds() * 1000.0).round() as i64);
    time.map_or(Value::Null, |time| json!(time.to_string()))
}
