//! Makes a cluster what a Compose file says: compares, and changes only what differs.

use std::{fmt, time::Duration};

use coracle_runtime::ImageKind;
use coracle_supervisor::{
    OperationError, Supervisor,
    clock::Timestamp,
    driver::Driver,
    model::{
        publication::{ENDPOINT, PREFIX},
        service::{RolloutState, Service as RunningService, ServiceStatus},
        tags::Tag,
        task_definition::{TaskDefinition, TaskDefinitionContent, TaskDefinitionStatus},
    },
    operations::{
        CreateClusterRequest, CreateServiceRequest, DeleteServiceRequest, DescribeServicesRequest,
        DescribeTaskDefinitionRequest, ListServicesRequest, UpdateServiceRequest,
    },
};
use tokio::time::{sleep, timeout};

use super::{Condition, Project, Service};
use crate::Host;

/// For a dependency to become healthy, or a service to go before it is created anew.
const PATIENCE: Duration = Duration::from_secs(300);
/// Where a handler is found that names no port: as `wasmtime serve` and `coracle serve` listen.
const HANDLER_PORT: u16 = 8080;
/// Between two looks at it.
const POLL: Duration = Duration::from_millis(50);

/// What was done about one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there.
    Created,
    /// Another revision, or another number of tasks.
    Updated,
    /// Where it listens or how it is checked is settled when a service is created: it was deleted and created again.
    Replaced,
    /// It is as the file says.
    Unchanged,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
        })
    }
}

/// A file could not be applied; what comes after `service` was not touched.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Its tasks could not run on this host. Nothing was changed.
    #[error("services.{service}: {message}")]
    Invalid {
        /// The service's name.
        service: String,
        /// Why.
        message: String,
    },
    /// The supervisor refused.
    #[error("services.{service}: {source}")]
    Refused {
        /// The service's name.
        service: String,
        /// Why.
        source: OperationError,
    },
    /// The cluster itself was refused.
    #[error("name: {0}")]
    Cluster(#[source] OperationError),
    /// Something did not happen in time.
    #[error("services.{service}: {what} within {} s", PATIENCE.as_secs())]
    Timeout {
        /// The service's name.
        service: String,
        /// What did not happen.
        what: String,
    },
}

/// The result of [`Project::apply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Per service of the file, in the order in which they were looked at.
    pub services: Vec<(String, Outcome)>,
    /// Services of the cluster that the file does not have. They are left alone.
    pub others: Vec<String>,
}

impl Project {
    /// Makes the project's cluster what the file says. Applying a second time changes nothing.
    ///
    /// Everything that can be known to be wrong beforehand is refused before anything changes.
    ///
    /// # Errors
    /// The first service that was refused, or did not become what another one waits for.
    pub async fn apply(&self, host: &Host) -> Result<Applied, ApplyError> {
        let supervisor = host.supervisor();
        let cluster = Cluster { supervisor, name: &self.name };
        let mut wanted = Vec::with_capacity(self.services.len());
        for service in &self.services {
            let service = found(host, service).await;
            check(host, &self.name, &service).await?;
            wanted.push(service);
        }
        let request = CreateClusterRequest { cluster_name: Some(self.name.clone()), ..Default::default() };
        supervisor.create_cluster(request).await.map_err(ApplyError::Cluster)?;
        let mut services = Vec::new();
        for service in &wanted {
            for (dependency, condition) in &service.depends_on {
                if *condition == Condition::Healthy {
                    cluster.wait_until_healthy(service, dependency).await?;
                }
            }
            let outcome = cluster.make(service).await?;
            services.push((service.name.clone(), outcome));
        }
        let others = cluster.services().await.map_err(ApplyError::Cluster)?;
        let others =
            others.into_iter().filter(|name| self.services.iter().all(|service| service.name != *name));
        Ok(Applied { services, others: others.collect() })
    }
}

/// A service as the others of its file find it: a handler needs no port to be called, but a name is of one.
async fn found(host: &Host, service: &Service) -> Service {
    let mut service = service.clone();
    if service.port().is_none() && host.driver().image_kind(&service.image).await == Some(ImageKind::Handler)
    {
        service.expose = Some(HANDLER_PORT);
    }
    service
}

/// Whether tasks of a service could run here: its settings, its image, its directories.
async fn check(host: &Host, project: &str, service: &Service) -> Result<(), ApplyError> {
    let invalid = |message: String| ApplyError::Invalid { service: service.name.clone(), message };
    for volume in &service.volumes {
        if !volume.host.is_dir() {
            return Err(invalid(format!(
                "volumes: {} is not a directory; create it first",
                volume.host.display()
            )));
        }
    }
    let content = TaskDefinitionContent::parse(service.task_definition(project));
    let draft = TaskDefinition {
        task_definition_arn: String::new(),
        revision: 0,
        status: TaskDefinitionStatus::Active,
        registered_at: Timestamp::from_epoch(Duration::ZERO),
        deregistered_at: None,
        compatibilities: Vec::new(),
        content: content.map_err(|source| refused(service, source))?,
    };
    let answers = service.port().and_then(|_| draft.content.traffic_container());
    let checked = host.driver().check(&draft, answers).await;
    checked.map_err(|unrunnable| invalid(unrunnable.to_string()))
}

fn refused(service: &Service, source: OperationError) -> ApplyError {
    ApplyError::Refused { service: service.name.clone(), source }
}

/// The project's cluster.
struct Cluster<'a> {
    supervisor: &'a Supervisor,
    name: &'a str,
}

impl Cluster<'_> {
    async fn make(&self, wanted: &Service) -> Result<Outcome, ApplyError> {
        let refuse = |source| refused(wanted, source);
        let revision = self.revision(wanted).await.map_err(refuse)?;
        match self.find(&wanted.name).await.map_err(refuse)? {
            Some(service) if service.status == ServiceStatus::Active => {
                if !is_published_as(&service, &wanted.tags()) {
                    let request = DeleteServiceRequest {
                        cluster: Some(self.name.to_owned()),
                        service: wanted.name.clone(),
                        force: Some(true),
                    };
                    self.supervisor.delete_service(request).await.map_err(refuse)?;
                    self.wait_until_gone(wanted).await?;
                    self.create(wanted, revision).await.map_err(refuse)?;
                    return Ok(Outcome::Replaced);
                }
                self.update(&service, wanted, revision).await.map_err(refuse)
            }
            Some(service) => {
                if service.status == ServiceStatus::Draining {
                    self.wait_until_gone(wanted).await?;
                }
                self.create(wanted, revision).await.map_err(refuse)?;
                Ok(Outcome::Created)
            }
            None => {
                self.create(wanted, revision).await.map_err(refuse)?;
                Ok(Outcome::Created)
            }
        }
    }

    /// The ARN of a revision with this content: the newest one if it has it, else a new one.
    async fn revision(&self, wanted: &Service) -> Result<String, OperationError> {
        let request = wanted.task_definition(self.name);
        let content = TaskDefinitionContent::parse(request.clone())?;
        let newest =
            DescribeTaskDefinitionRequest { task_definition: wanted.family(self.name), include: Vec::new() };
        match self.supervisor.describe_task_definition(newest).await {
            Ok(newest) if newest.task_definition.content == content => {
                Ok(newest.task_definition.task_definition_arn)
            }
            // ECS has no exception of its own for a family without revisions.
            Ok(_) | Err(OperationError::Client(_)) => {
                let registered = self.supervisor.register_task_definition(request).await?;
                Ok(registered.task_definition.task_definition_arn)
            }
            Err(error) => Err(error),
        }
    }

    async fn create(&self, wanted: &Service, revision: String) -> Result<(), OperationError> {
        let request = CreateServiceRequest {
            cluster: Some(self.name.to_owned()),
            service_name: wanted.name.clone(),
            task_definition: revision,
            desired_count: Some(i64::from(wanted.replicas.unwrap_or(1))),
            health_check_grace_period_seconds: wanted.listen().map(|_| wanted.grace_period()),
            tags: wanted.tags(),
            service_connect_configuration: Some(wanted.service_connect(self.name)),
            // For `coracle exec`.
            enable_execute_command: Some(true),
            ..Default::default()
        };
        self.supervisor.create_service(request).await.map(drop)
    }

    async fn update(
        &self,
        service: &RunningService,
        wanted: &Service,
        revision: String,
    ) -> Result<Outcome, OperationError> {
        let count_differs = wanted.replicas.is_some_and(|count| count != service.desired_count);
        let grace = service.health_check_grace_period_seconds.map_or(0, i64::from);
        let grace_differs = wanted.listen().is_some() && grace != wanted.grace_period();
        let revision_differs = service.task_definition != revision;
        let connect = wanted.service_connect(self.name);
        let known =
            service.deployments.first().and_then(|newest| newest.service_connect_configuration.as_ref());
        let connect_differs = known != Some(&connect);
        if !count_differs && !grace_differs && !revision_differs && !connect_differs {
            return Ok(Outcome::Unchanged);
        }
        let request = UpdateServiceRequest {
            cluster: Some(self.name.to_owned()),
            service: wanted.name.clone(),
            desired_count: wanted.replicas.map(i64::from),
            task_definition: revision_differs.then_some(revision),
            service_connect_configuration: connect_differs.then_some(connect),
            health_check_grace_period_seconds: grace_differs.then(|| wanted.grace_period()),
            ..Default::default()
        };
        self.supervisor.update_service(request).await?;
        Ok(Outcome::Updated)
    }

    async fn find(&self, name: &str) -> Result<Option<RunningService>, OperationError> {
        let request = DescribeServicesRequest {
            cluster: Some(self.name.to_owned()),
            services: vec![name.to_owned()],
            include: vec!["TAGS".to_owned()],
        };
        Ok(self.supervisor.describe_services(request).await?.services.into_iter().next())
    }

    /// The names of all services that are not gone.
    async fn services(&self) -> Result<Vec<String>, OperationError> {
        let mut names = Vec::new();
        let mut request = ListServicesRequest { cluster: Some(self.name.to_owned()), ..Default::default() };
        loop {
            let page = self.supervisor.list_services(request.clone()).await?;
            names
                .extend(page.service_arns.iter().filter_map(|arn| arn.rsplit('/').next()).map(str::to_owned));
            match page.next_token {
                Some(token) => request.next_token = Some(token),
                None => return Ok(names),
            }
        }
    }

    async fn wait_until_healthy(&self, service: &Service, dependency: &str) -> Result<(), ApplyError> {
        let healthy = |found: Option<&RunningService>| found.is_some_and(is_steady);
        self.wait(dependency, healthy).await.map_err(|source| refused(service, source))?.ok_or_else(|| {
            ApplyError::Timeout {
                service: service.name.clone(),
                what: format!("{dependency} was not healthy"),
            }
        })
    }

    async fn wait_until_gone(&self, service: &Service) -> Result<(), ApplyError> {
        let gone = |found: Option<&RunningService>| {
            found.is_none_or(|service| service.status == ServiceStatus::Inactive)
        };
        self.wait(&service.name, gone).await.map_err(|source| refused(service, source))?.ok_or_else(|| {
            ApplyError::Timeout {
                service: service.name.clone(),
                what: "the one before it did not end".to_owned(),
            }
        })
    }

    /// `None` when it did not come to that.
    async fn wait(
        &self,
        name: &str,
        until: impl Fn(Option<&RunningService>) -> bool,
    ) -> Result<Option<()>, OperationError> {
        let look = async {
            while !until(self.find(name).await?.as_ref()) {
                sleep(POLL).await;
            }
            Ok(())
        };
        timeout(PATIENCE, look).await.ok().transpose()
    }
}

/// All tasks run, and the deployment that made them is over, which takes their targets' health.
fn is_steady(service: &RunningService) -> bool {
    service.status == ServiceStatus::Active
        && service.running_count == service.desired_count
        && matches!(service.deployments.as_slice(), [only] if only.rollout_state == RolloutState::Completed)
}

/// Whether a service has these tags and no other ones that mean something to us.
fn is_published_as(service: &RunningService, wanted: &[Tag]) -> bool {
    let ours = service.tags.iter().filter(|tag| tag.key.starts_with(PREFIX) && tag.key != ENDPOINT);
    ours.clone().count() == wanted.len() && ours.clone().all(|tag| wanted.contains(tag))
}
