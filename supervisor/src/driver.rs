//! How the agent makes a task so: the seam between deciding (here) and doing (runtime and balancer).
//!
//! The agent owns the order of things (dependencies, health, deregister before stop, reasons); a driver only does single steps. So the
//! simulated driver in [`crate::testing`] exercises the very state machines that the real one runs under.

mod load_balancing;
pub mod local;
mod meters;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_balancer::TargetDescription;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::StatusCode;
use tokio::io::AsyncWrite;
use tokio::sync::watch;

use crate::model::crash::CrashReport;
use crate::model::health_check::Probe;
use crate::model::names::{ClusterName, ServiceName, TaskId};
use crate::model::publication::Publication;
use crate::model::service_connect::Offer;
use crate::model::task::{HealthStatus, NetworkBinding, TargetHealth, TaskOverride};
use crate::model::task_definition::TaskDefinition;
pub use load_balancing::{ListenerSettings, RuleSettings, TargetGroupSettings};
pub use meters::{ContainerMeters, TaskMeters};

/// What runs tasks on this node and publishes services.
#[async_trait]
pub trait Driver: std::fmt::Debug + Send + Sync + 'static {
    /// Whether tasks of this definition could be made here: its images exist, are WebAssembly we can run, and fit their memory limits. Asked
    /// before a request is accepted, so that a mistake is told to the person who made it. `answers`: the container that shall answer requests too.
    async fn check(&self, definition: &TaskDefinition, answers: Option<&str>) -> Result<(), Unrunnable>;

    /// Loads a task's images and reserves its address and files. Dropping the future undoes what it did.
    async fn prepare(&self, launch: Arc<TaskLaunch>) -> Result<Arc<dyn Sandbox>, StartFailure>;

    /// Binds a service's listeners in front of its target group, if it has any, and answers where. Doing so again for the same group answers the same address.
    async fn publish(&self, group: &TargetGroup) -> Result<Option<SocketAddr>, PublishError>;

    /// Has tasks find a published service by the names that it offers, with its requests' routing: these and no others from the answer on.
    fn announce(&self, published: &TargetGroup, offers: &[Offer]);

    /// Says which target groups the requests of a published service's listeners go to: no new request goes elsewhere from the answer on. Nothing
    /// happens to a service that is not published.
    fn route(&self, published: &TargetGroup, routing: &Routing);

    /// Resolves when a request waits for a target of a group that has none, at once if one does. Only requests to services that scale to zero wait.
    fn demand(&self, group: &TargetGroup) -> BoxFuture<'static, ()>;

    /// Closes a service's listeners: they take no new connection and let requests in flight finish within `deadline`. Its target groups are
    /// forgotten; the first is the one it was published with.
    async fn unpublish(&self, target_group_arns: &[String; 2], deadline: Duration);

    /// Ends what [`announce`](Self::announce) and [`route`](Self::route) did for a service whose target groups are not its own: nobody finds it by name, and
    /// rules whose requests it shifted do again what they were made to do. The groups stay.
    fn detach(&self, published: &TargetGroup);

    /// Has a target group be as it is kept: it begins to exist, or changes in place.
    fn keep_target_group(&self, group: &TargetGroupSettings);

    /// Forgets a target group that no listener and no service has any more.
    fn forget_target_group(&self, arn: &str);

    /// Has a listener be as it is kept, and answers where it listens. One that is open changes its rules without closing a connection; where its address
    /// changes, the new one is open before the old is closed.
    async fn open_listener(&self, listener: &ListenerSettings) -> Result<SocketAddr, PublishError>;

    /// Closes a listener: it takes no new connection and lets requests in flight finish within `deadline`.
    async fn close_listener(&self, arn: &str, deadline: Duration);

    /// The targets of a group, those that drain included.
    fn target_health(&self, target_group_arn: &str) -> Vec<TargetDescription>;

    /// The crashes of a task's containers that are kept, oldest first; also of a task that is over.
    async fn crashes(&self, task: &TaskId) -> Vec<CrashReport>;

    /// Removes what is kept of a task that is over and not shown any more, such as its logs.
    async fn forget(&self, task: &TaskId);
}

/// One task's place to run: what its containers share. Whoever prepared it calls [`release`](Self::release) at the end.
#[async_trait]
pub trait Sandbox: std::fmt::Debug + Send + Sync + 'static {
    /// The task's own address, where its network mode gives it one.
    fn address(&self) -> Option<IpAddr>;

    /// Digest of a container's image: `sha256:...`.
    fn image_digest(&self, container: &str) -> Option<String>;

    /// Starts a container that has not been started, or has ended.
    async fn start(&self, container: &str) -> Result<(), StartFailure>;

    /// Where the ports of a started container are reached on the host.
    fn network_bindings(&self, container: &str) -> Vec<NetworkBinding>;

    /// Resolves when a started container has ended. Any number may wait; dropping the future changes nothing.
    fn wait(&self, container: &str) -> BoxFuture<'static, ContainerExit>;

    /// Asks a started container how it is; the error says in a few words what is wrong with it. Dropping the future ends the question and whatever
    /// it started.
    async fn probe(&self, container: &str, probe: &Probe) -> Result<(), String>;

    /// Runs another program inside the task, in a container's environment. `interactive`: the program is told that it talks to a terminal. The error
    /// says in a sentence why it cannot be.
    async fn execute(
        &self,
        container: &str,
        command: &[String],
        interactive: bool,
    ) -> Result<Execution, String>;

    /// Asks a started container to stop, and kills it after `grace`. Answers at once for one that has ended.
    async fn stop(&self, container: &str, grace: Duration) -> ContainerExit;

    /// Resolves when the task can take requests, as far as that can be told: a server has opened its port. Gives up by itself after a while, and
    /// leaves the judgement to the health checks.
    fn ready(&self) -> BoxFuture<'static, ()>;

    /// Puts the task into a target group (which begins to exist if it does not) and tells its health there from now on. `health` is what its
    /// containers' own checks say of it, as with [`vouch`](Self::vouch).
    fn register(
        &self,
        group: &TargetGroup,
        health: Option<HealthStatus>,
    ) -> Result<watch::Receiver<TargetHealth>, StartFailure>;

    /// Tells what the checks of the task's containers say of it; none has any: `None`. From the answer on a task that is not `HEALTHY` gets no new request
    /// while one of its target group is. Nothing happens to a task that is in none.
    fn vouch(&self, health: Option<HealthStatus>);

    /// Takes the task out of its target group: from this call on it gets no new request. The future resolves when those in flight are done, or
    /// at the end of the deregistration delay; dropping it does not undo the call.
    fn deregister(&self) -> BoxFuture<'static, ()>;

    /// What the task used since it was prepared. Reads accounts that are kept anyway: asking costs those who work nothing.
    fn usage(&self) -> Usage;

    /// [`usage`](Self::usage) and limits, for people who look closer: by container, and with what the balancer does not need.
    fn meters(&self) -> TaskMeters;

    /// Gives everything back. All started containers have ended by then.
    async fn release(&self);
}

/// All that a driver needs to know of a task.
#[derive(Clone, Debug)]
pub struct TaskLaunch {
    /// Its id.
    pub id: TaskId,
    /// Its ARN.
    pub arn: String,
    /// Its cluster.
    pub cluster: ClusterName,
    /// What it is made from.
    pub definition: Arc<TaskDefinition>,
    /// What is different from the definition.
    pub overrides: TaskOverride,
    /// Its service, unless it is a standalone task.
    pub service: Option<ServiceName>,
    /// Where it finds services by name, if it does.
    pub namespace: Option<String>,
    /// Whether others find it by name.
    pub offers: bool,
    /// The container and its port that its service's requests come to, where the service says it.
    pub traffic: Option<(String, u16)>,
    /// The ports that they find it at beside the one that its service's requests come to.
    pub other_ports: Vec<u16>,
    /// What each container finds in its environment.
    pub environments: BTreeMap<String, Environment>,
    /// What the task is told about itself.
    pub metadata: Arc<dyn MetadataSource>,
}

impl TaskLaunch {
    /// A container's environment.
    pub fn environment(&self, container: &str) -> Vec<(String, String)> {
        let environment = self.environments.get(container);
        environment.map(|environment| environment.variables().to_vec()).unwrap_or_default()
    }
}

/// One container's environment, complete. Secrets are in it, so that `Debug` shows names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// These variables, in this order.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().collect())
    }

    /// Names and values.
    pub fn variables(&self) -> &[(String, String)] {
        &self.0
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// What a task used, over all its containers and their restarts. All but the last two only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time.
    pub cpu_time: Duration,
    /// Fuel, about one unit an instruction.
    pub fuel: u64,
    /// Requests that the balancer gave it.
    pub requests: u64,
    /// Bytes of memory in use now.
    pub memory: u64,
    /// Requests of the balancer that it has now.
    pub in_flight: u64,
}

/// Answers a task's questions about itself.
pub trait MetadataSource: std::fmt::Debug + Send + Sync + 'static {
    /// A document for one of the task's containers; `None` when there is none any more.
    fn document(
        &self,
        container: &str,
        document: MetadataDocument,
    ) -> BoxFuture<'static, Option<serde_json::Value>>;

    /// Tells whether the task is protected from scale-in, or has it be as a body of ECS's agent endpoint says.
    fn protection(&self, put: Option<Bytes>) -> BoxFuture<'static, (StatusCode, serde_json::Value)>;
}

/// The documents of ECS's task metadata endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataDocument {
    /// The container.
    Container,
    /// The task with its containers.
    Task,
    /// The same with the task's tags.
    TaskWithTags,
    /// What the container uses.
    Stats,
    /// What each of the task's containers uses.
    TaskStats,
}

/// A published service's pool of targets.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGroup {
    /// Its ARN, which identifies it.
    pub arn: String,
    /// For people: the service's name.
    pub name: String,
    /// Listener, health check and delay.
    pub publication: Publication,
}

/// Where a published service's requests go.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// The target groups that get the production listener's, one or two, and what each gets in thousandths.
    pub production: Vec<(TargetGroup, u32)>,
    /// The one that gets the test listener's.
    pub test: TargetGroup,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerExit {
    /// What it returned, or 137 after a kill.
    pub code: Option<i32>,
    /// Why, where the code does not say it: `OutOfMemoryError: Container killed due to memory usage`.
    pub reason: Option<String>,
}

/// A program that was started inside a task. Dropping `exit` ends it.
pub struct Execution {
    /// Its standard input; dropping it is the end of the input.
    pub stdin: Pin<Box<dyn AsyncWrite + Send>>,
    /// What it prints, to the end: nothing is lost of what it printed before it ended.
    pub output: BoxStream<'static, (OutputStream, Bytes)>,
    /// How it ended.
    pub exit: BoxFuture<'static, ContainerExit>,
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execution").finish_non_exhaustive()
    }
}

/// Which output bytes were written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A task could not be started. `Display` is ECS's `stoppedReason`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct StartFailure {
    /// ECS's error name.
    pub kind: StartFailureKind,
    /// Details, in one line.
    pub message: String,
}

/// ECS's names for what can go wrong before a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFailureKind {
    /// The image cannot be had or is none.
    CannotPullContainer,
    /// The image is there, but the container does not start.
    CannotStartContainer,
    /// It did not start in time.
    ContainerRuntimeTimeout,
    /// Address, volume or target group.
    ResourceInitialization,
}

impl std::fmt::Display for StartFailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CannotPullContainer => "CannotPullContainerError",
            Self::CannotStartContainer => "CannotStartContainerError",
            Self::ContainerRuntimeTimeout => "ContainerRuntimeTimeoutError",
            Self::ResourceInitialization => "ResourceInitializationError",
        })
    }
}

/// A task definition that cannot run here: a sentence that names the container and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unrunnable(pub String);

/// A service could not be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Somebody else listens there.
    #[error("{0} is already in use")]
    PortInUse(SocketAddr),
    /// The address is not this host's, or binding is not allowed.
    #[error("cannot listen on {0}: {1}")]
    Refused(SocketAddr, String),
    /// A rule cannot be what it says: the field, and why.
    #[error("{0}")]
    Rule(String),
}
