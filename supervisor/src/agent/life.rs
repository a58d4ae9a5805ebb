//! What a task has while it is up, and what happens to it.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, pending};
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use tokio::sync::watch;

use super::containers::Containers;
use super::health;
use crate::driver::{ContainerExit, Sandbox};
use crate::model::task::{HealthStatus, TargetHealth};
use crate::model::task_definition::ContainerDefinition;

/// A task from its first container's start to its last one's end.
pub(super) struct Life<'a> {
    pub(super) containers: Containers<'a>,
    pub(super) sandbox: Option<Arc<dyn Sandbox>>,
    pub(super) target: Option<watch::Receiver<TargetHealth>>,
    exits: FuturesUnordered<BoxFuture<'static, (String, ContainerExit)>>,
    healths: SelectAll<BoxStream<'static, (String, HealthStatus)>>,
}

/// Something that happened to a task that is up.
#[derive(Debug)]
pub(super) enum Event {
    /// A container ended by itself.
    Exited(String, ContainerExit),
    /// A container's health check says something new.
    Health(String, HealthStatus),
    /// The balancer says something new.
    Target(TargetHealth),
}

impl<'a> Life<'a> {
    pub(super) fn new(definitions: &'a [ContainerDefinition]) -> Self {
        Self {
            containers: Containers::new(definitions),
            sandbox: None,
            target: None,
            exits: FuturesUnordered::new(),
            healths: SelectAll::new(),
        }
    }

    /// Watches a container that has just been started.
    pub(super) fn started(&mut self, sandbox: &Arc<dyn Sandbox>, name: &str) {
        self.containers.started(name);
        let (exit, of) = (sandbox.wait(name), name.to_owned());
        self.exits.push(async move { (of, exit.await) }.boxed());
        if let Some(plan) = self.containers.health_plan(name) {
            self.healths.push(health::changes(sandbox, name, plan));
        }
    }

    /// The next thing that happens. Nothing is lost when the future is dropped.
    pub(super) async fn event(&mut self) -> Event {
        tokio::select! {
            biased;
            // Ends first: whatever else there is to say of a container is past then.
            Some((name, exit)) = self.exits.next() => Event::Exited(name, exit),
            Some((name, health)) = self.healths.next() => Event::Health(name, health),
            health = next_health(&mut self.target) => Event::Target(health),
        }
    }

    /// The next container that ends by itself; waits for ever when none runs.
    pub(super) async fn exit(&mut self) -> (String, ContainerExit) {
        match self.exits.next().await {
            Some(exit) => exit,
            None => pending().await,
        }
    }

    /// A container that has ended already, if there is one that was not told of.
    pub(super) fn past_exit(&mut self) -> Option<(String, ContainerExit)> {
        self.exits.next().now_or_never().flatten()
    }
}

async fn next_health(target: &mut Option<watch::Receiver<TargetHealth>>) -> TargetHealth {
    if let Some(receiver) = target
        && receiver.changed().await.is_ok()
    {
        return receiver.borrow_and_update().clone();
    }
    pending().await
}
