//! A service to be: what a CreateService asks for, checked.

use serde_json::Value;

use super::services::{CreateServiceRequest, DeploymentController};
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::deployment::{NewIds, Pace, ServiceDeploymentRecord, ServiceRevision, Slot, Traffic};
use crate::model::names::quoted;
use crate::model::publication::Publication;
use crate::model::scheduling_strategy::{NODES, SchedulingStrategy};
use crate::model::service::{
    DeploymentConfiguration, LaunchType, MAX_DESIRED_COUNT, MAX_GRACE_PERIOD_SECONDS, ServiceRecord,
    ServiceStatus, StoredServiceFields,
};
use crate::model::service_connect::{ServiceConnect, ServiceConnectConfiguration};
use crate::model::tags;
use crate::model::task_definition::{TaskDefinitionContent, TaskDefinitionId};
use crate::records::ServiceKey;

/// Everything in a request that can be checked without the store.
#[derive(Debug)]
pub(super) struct NewService {
    request: CreateServiceRequest,
    scheduling_strategy: SchedulingStrategy,
    desired_count: u32,
    grace_period: u32,
    configuration: DeploymentConfiguration,
    publication: Option<Publication>,
    service_connect: Option<ServiceConnect>,
    pace: Pace,
}

impl NewService {
    pub(super) fn parse(request: CreateServiceRequest) -> Result<Self, OperationError> {
        let scheduling_strategy = request.scheduling_strategy.unwrap_or_default();
        let desired_count = desired_count(&request, scheduling_strategy)?;
        tags::validate(&request.tags)?;
        refuse_controller(request.deployment_controller.as_ref())?;
        refuse_registries(request.service_registries.as_ref())?;
        if request.task_definition.is_empty() {
            return Err(OperationError::invalid("TaskDefinition can not be blank."));
        }
        let grace = request.health_check_grace_period_seconds.map(parse_grace_period).transpose()?;
        let pace = Pace::parse(&request.tags)?;
        let configuration = DeploymentConfiguration::default().updated(
            request.deployment_configuration.clone(),
            pace,
            scheduling_strategy.limits(),
        )?;
        scheduling_strategy.check(&configuration, None)?;
        Ok(Self {
            scheduling_strategy,
            desired_count,
            grace_period: grace.unwrap_or(0),
            configuration,
            publication: None,
            service_connect: None,
            pace,
            request,
        })
    }

    /// As the request names it.
    pub(super) fn task_definition(&self) -> &str {
        &self.request.task_definition
    }

    /// What the request says of its names.
    pub(super) fn service_connect(&self) -> Option<&ServiceConnectConfiguration> {
        self.request.service_connect_configuration.as_ref()
    }

    /// The same service in its place in a namespace.
    pub(super) fn connected(
        self,
        service_connect: Option<ServiceConnect>,
        content: &TaskDefinitionContent,
    ) -> Result<Self, OperationError> {
        let offers = service_connect.as_ref().is_some_and(|connect| !connect.offers.is_empty());
        let publication = Publication::parse(&self.request.tags, &self.request.load_balancers, offers)?;
        self.scheduling_strategy.check(&self.configuration, publication.as_ref())?;
        if let Some(attachment) =
            publication.as_ref().and_then(|publication| publication.attachment.as_deref())
        {
            attachment.check_definition(content)?;
            attachment.check_configuration(&self.configuration)?;
        }
        Ok(Self { publication, service_connect, ..self })
    }

    pub(super) fn publication(&self) -> Option<&Publication> {
        self.publication.as_ref()
    }

    /// The service, with its first deployment.
    pub(super) fn into_record(
        self,
        key: &ServiceKey,
        client_token: Option<String>,
        task_definition: TaskDefinitionId,
        ids: NewIds,
        now: Timestamp,
    ) -> ServiceRecord {
        let request = self.request;
        let launch_type = request.launch_type.unwrap_or_default();
        let stored = StoredServiceFields {
            service_registries: request.service_registries,
            capacity_provider_strategy: request.capacity_provider_strategy,
            platform_version: request.platform_version,
            role: request.role,
            placement_constraints: request.placement_constraints,
            placement_strategy: request.placement_strategy,
            network_configuration: request.network_configuration,
            deployment_controller: None,
            enable_ecs_managed_tags: request.enable_ecs_managed_tags,
            availability_zone_rebalancing: request.availability_zone_rebalancing,
        };
        let revision = ServiceRevision {
            id: ids.revision.clone(),
            created_at: now,
            task_definition,
            launch_type,
            service_connect: self.service_connect,
            stored: stored.clone(),
        };
        let first = ServiceDeploymentRecord::first(ids, revision, self.configuration.clone());
        ServiceRecord {
            cluster: key.cluster.clone(),
            name: key.name.clone(),
            status: ServiceStatus::Active,
            scheduling_strategy: self.scheduling_strategy,
            desired_count: self.desired_count,
            created_at: now,
            launch_type,
            deployment_configuration: self.configuration,
            health_check_grace_period_seconds: self.grace_period,
            deployments: vec![first.as_deployment(Slot::default())],
            service_deployment: first,
            last_completed: None,
            traffic: Traffic::default(),
            pace: self.pace,
            publication: self.publication,
            load_balancers: request.load_balancers,
            tags: request.tags,
            client_token,
            propagate_tags: request.propagate_tags.unwrap_or_default(),
            enable_execute_command: request.enable_execute_command.unwrap_or_default(),
            stored,
        }
    }
}

/// How many tasks a new service is to have.
fn desired_count(
    request: &CreateServiceRequest,
    strategy: SchedulingStrategy,
) -> Result<u32, OperationError> {
    match strategy {
        SchedulingStrategy::Replica => {
            let desired = request.desired_count.ok_or_else(|| {
                OperationError::invalid(
                    "desiredCount must be given for a service of the REPLICA scheduling strategy.",
                )
            })?;
            parse_desired_count(desired)
        }
        SchedulingStrategy::Daemon => {
            refuse_for_daemon(
                request.desired_count,
                request.placement_strategy.as_ref(),
                request.capacity_provider_strategy.as_ref(),
            )?;
            if request.launch_type == Some(LaunchType::Fargate) {
                return Err(OperationError::invalid(
                    "The daemon scheduling strategy does not support the launchType FARGATE: use EC2.",
                ));
            }
            Ok(NODES)
        }
    }
}

/// What follows from the nodes cannot be asked for.
pub(super) fn refuse_for_daemon(
    desired_count: Option<i64>,
    placement_strategy: Option<&Value>,
    capacity_provider_strategy: Option<&Value>,
) -> Result<(), OperationError> {
    let is_given = |field: Option<&Value>| {
        field.is_some_and(|value| !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty()))
    };
    let why = if desired_count.is_some() {
        "The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again"
    } else if is_given(placement_strategy) {
        "The daemon scheduling strategy does not support placement strategies. Remove the placement strategy and try again"
    } else if is_given(capacity_provider_strategy) {
        "Specifying a capacity provider strategy is not supported when you create a service using the DAEMON scheduling strategy."
    } else {
        return Ok(());
    };
    Err(OperationError::invalid(why))
}

pub(super) fn parse_desired_count(count: i64) -> Result<u32, OperationError> {
    u32::try_from(count).ok().filter(|count| *count <= MAX_DESIRED_COUNT).ok_or_else(|| {
        OperationError::invalid(format!("desiredCount must be 0 to {MAX_DESIRED_COUNT}, not {count}."))
    })
}

pub(super) fn parse_grace_period(seconds: i64) -> Result<u32, OperationError> {
    let allowed = (0..=MAX_GRACE_PERIOD_SECONDS).contains(&seconds);
    u32::try_from(seconds).ok().filter(|_| allowed).ok_or_else(|| {
        OperationError::invalid(format!(
            "healthCheckGracePeriodSeconds must be 0 to {MAX_GRACE_PERIOD_SECONDS}, not {seconds}."
        ))
    })
}

/// There is no Cloud Map whose services they could name.
pub(super) fn refuse_registries(registries: Option<&Value>) -> Result<(), OperationError> {
    match registries {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(items)) if items.is_empty() => Ok(()),
        Some(_) => Err(OperationError::invalid(
            "serviceRegistries is not supported: use serviceConnectConfiguration, by which services find each other by name.",
        )),
    }
}

pub(super) fn refuse_controller(controller: Option<&DeploymentController>) -> Result<(), OperationError> {
    match controller {
        Some(controller) if controller.kind != "ECS" => Err(OperationError::invalid(format!(
            "deploymentController.type {} is not supported: use ECS.",
            quoted(&controller.kind)
        ))),
        _ => Ok(()),
    }
}
