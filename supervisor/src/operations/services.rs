//! CreateService, UpdateService, DeleteService, DescribeServices, ListServices.
#![expect(
    missing_docs,
    reason = "requests and responses are ECS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::new_service::{
    NewService, parse_desired_count, parse_grace_period, refuse_controller, refuse_for_daemon,
    refuse_registries,
};
use super::{Failure, fields};
use crate::driver::PublishError;
use crate::error::OperationError;
use crate::model::names::ServiceName;
use crate::model::publication::Publication;
use crate::model::scheduling_strategy::SchedulingStrategy;
use crate::model::service::{
    DeploymentConfiguration, LaunchType, LoadBalancer, PropagateTags, Service, ServiceRecord, ServiceStatus,
    StoredServiceFields,
};
use crate::model::service_connect::{ServiceConnect, ServiceConnectConfiguration};
use crate::model::tags::Tag;
use crate::model::task_definition::TaskDefinitionId;
use crate::records::{Records, ServiceKey, keys};
use crate::store::{Compare, Outcome};
use crate::supervisor::Supervisor;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CreateServiceRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub service_name: String,
    pub task_definition: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_type: Option<LaunchType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_configuration: Option<DeploymentConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_grace_period_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_strategy: Option<SchedulingStrategy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagate_tags: Option<PropagateTags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_execute_command: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load_balancers: Vec<LoadBalancer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_controller: Option<DeploymentController>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_registries: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_provider_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_constraints: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "enableECSManagedTags")]
    pub enable_ecs_managed_tags: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone_rebalancing: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_connect_configuration: Option<ServiceConnectConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_configurations: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_lattice_configurations: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeploymentController {
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateServiceResponse {
    pub service: Service,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpdateServiceRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_definition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_new_deployment: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_grace_period_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_configuration: Option<DeploymentConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagate_tags: Option<PropagateTags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_execute_command: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load_balancers: Vec<LoadBalancer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_controller: Option<DeploymentController>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_registries: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_provider_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_constraints: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "enableECSManagedTags")]
    pub enable_ecs_managed_tags: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone_rebalancing: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_connect_configuration: Option<ServiceConnectConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_configurations: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_lattice_configurations: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateServiceResponse {
    pub service: Service,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteServiceRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteServiceResponse {
    pub service: Service,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeServicesRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub services: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DescribeServicesResponse {
    pub services: Vec<Service>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListServicesRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_type: Option<LaunchType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_strategy: Option<SchedulingStrategy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListServicesResponse {
    pub service_arns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl Supervisor {
    /// Creates a service. A repetition with the same client token answers the service as it is.
    pub async fn create_service(
        &self,
        request: CreateServiceRequest,
    ) -> Result<CreateServiceResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let key = ServiceKey { cluster, name: ServiceName::parse(&request.service_name)? };
        let token = fields::client_token(request.client_token.clone())?;
        let given = request.capacity_provider_strategy.as_ref();
        self.strategy(&key.cluster, request.launch_type, given).await?;
        let new = NewService::parse(request)?;

        if let Some(existing) = self.records().service(&key).await? {
            return self.repeated(&key, &existing.value, token.as_deref()).await;
        }
        let definition = self.usable_task_definition(new.task_definition()).await?;
        let content = &definition.definition.content;
        let connect = self.service_connect(&key.cluster, new.service_connect(), content).await?;
        let new = new.connected(connect, content)?;
        let answers = new.publication().and_then(|publication| publication.answers(content));
        self.check_runnable(&definition.definition, answers).await?;
        let ids = self.new_deployment_ids();
        let record = new.into_record(&key, token.clone(), definition.definition.id(), ids, self.now());

        // The listener is bound before the service is acknowledged, so that a port in use refuses the request. Should the process die before the
        // commit, the port is free again with it.
        let _creating = self.creating().lock().await;
        self.refuse_taken_names(&key, record.offers()).await?;
        let create = Records::new_service(&key, &record).when(Compare::Exists(keys::cluster(&key.cluster)));
        let create = self.check_attachment(&key, &record, create).await?;
        if self.records().service(&key).await?.is_none()
            && let Some(publication) = &record.publication
        {
            self.ingress().publish(&key, publication, record.traffic).await.map_err(refused_port)?;
        }
        match self.records().commit(create).await {
            Ok(Outcome::Committed(_)) => {}
            Ok(Outcome::Conflict(Compare::Absent(_))) => {
                let existing = self.records().service(&key).await?.ok_or(OperationError::Conflict)?;
                return self.repeated(&key, &existing.value, token.as_deref()).await;
            }
            Ok(Outcome::Conflict(Compare::Exists(missing))) if missing == keys::cluster(&key.cluster) => {
                self.ingress().unpublish(&key).await;
                return Err(OperationError::ClusterNotFound);
            }
            Ok(Outcome::Conflict(_)) => {
                self.ingress().unpublish(&key).await;
                return Err(OperationError::Conflict);
            }
            Err(error) => {
                self.ingress().unpublish(&key).await;
                return Err(error.into());
            }
        }
        // Found from now on, and not only once the scheduler has seen it.
        self.route(&key, &record);
        Ok(CreateServiceResponse { service: self.view_service(&record, true).await? })
    }

    /// Changes a service: its desired count, and with another task definition or `forceNewDeployment` the tasks it is made of.
    pub async fn update_service(
        &self,
        request: UpdateServiceRequest,
    ) -> Result<UpdateServiceResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let name = self.identity().parse_service(&cluster, &request.service)?;
        let key = ServiceKey { cluster, name };
        let desired = request.desired_count.map(parse_desired_count).transpose()?;
        let grace = request.health_check_grace_period_seconds.map(parse_grace_period).transpose()?;
        refuse_controller(request.deployment_controller.as_ref())?;
        refuse_registries(request.service_registries.as_ref())?;
        self.strategy(&key.cluster, None, request.capacity_provider_strategy.as_ref()).await?;
        let revision = self.next_revision(&key, &request).await?;
        // Two requests for one name must not both find it free.
        let _naming = match revision.as_ref().and_then(|next| next.connect.as_ref()) {
            Some(connect) if !connect.offers.is_empty() => {
                let creating = self.creating().lock().await;
                self.refuse_taken_names(&key, &connect.offers).await?;
                Some(creating)
            }
            _ => None,
        };
        let forced = request.force_new_deployment.unwrap_or_default();
        let now = self.now();
        let change = |record: &mut ServiceRecord| {
            if record.status != ServiceStatus::Active {
                return Err(OperationError::ServiceNotActive);
            }
            if record.scheduling_strategy == SchedulingStrategy::Daemon {
                refuse_for_daemon(
                    request.desired_count,
                    request.placement_strategy.as_ref(),
                    request.capacity_provider_strategy.as_ref(),
                )?;
            }
            record.deployment_configuration = record.deployment_configuration.updated(
                request.deployment_configuration.clone(),
                record.pace,
                record.scheduling_strategy.limits(),
            )?;
            record
                .scheduling_strategy
                .check(&record.deployment_configuration, record.publication.as_ref())?;
            if !request.load_balancers.is_empty() && request.load_balancers != record.load_balancers {
                return Err(OperationError::invalid(
                    "loadBalancers cannot be changed: create another service with these, and delete this one.",
                ));
            }
            if let Some(attachment) = record.attachment() {
                attachment.check_configuration(&record.deployment_configuration)?;
            }
            record.desired_count = desired.unwrap_or(record.desired_count);
            record.health_check_grace_period_seconds =
                grace.unwrap_or(record.health_check_grace_period_seconds);
            record.propagate_tags = request.propagate_tags.unwrap_or(record.propagate_tags);
            record.enable_execute_command =
                request.enable_execute_command.unwrap_or(record.enable_execute_command);
            store_fields(&mut record.stored, &request);
            let current = Revision::of(record);
            let wanted = revision.clone().unwrap_or_else(|| current.clone());
            if forced || wanted != current {
                let Revision { definition, connect } = wanted;
                record.begin_deployment(self.new_deployment_ids(), definition, connect, now);
                self.route(&key, record);
            } else {
                record.deployments[0].updated_at = now;
            }
            Ok(Some(()))
        };
        let updated = self.records().update_service(&key, change).await;
        let (record, _) = match updated {
            Err(OperationError::ServiceNotFound)
                if self.records().inactive_service(&key).await?.is_some() =>
            {
                return Err(OperationError::ServiceNotActive);
            }
            other => other?,
        };
        Ok(UpdateServiceResponse { service: self.view_service(&record, true).await? })
    }

    /// Deletes a service that wants no task, or any with `force`. It drains: once its last task is gone, so is the service.
    pub async fn delete_service(
        &self,
        request: DeleteServiceRequest,
    ) -> Result<DeleteServiceResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let name = self.identity().parse_service(&cluster, &request.service)?;
        let key = ServiceKey { cluster, name };
        self.records().cluster(&key.cluster).await?;
        let force = request.force.unwrap_or_default();
        let drain = |record: &mut ServiceRecord| {
            if record.status != ServiceStatus::Active {
                return Ok(None);
            }
            // ECS: `force` is "only necessary to use this if the service uses the REPLICA scheduling strategy".
            let is_replica = record.scheduling_strategy == SchedulingStrategy::Replica;
            if is_replica && record.desired_count > 0 && !force {
                return Err(OperationError::invalid(
                    "The service cannot be stopped while it is scaled above 0.",
                ));
            }
            record.status = ServiceStatus::Draining;
            record.desired_count = 0;
            Ok(Some(()))
        };
        let drained = self.records().update_service(&key, drain).await;
        let record = match drained {
            Err(OperationError::ServiceNotFound)
                if self.records().inactive_service(&key).await?.is_some() =>
            {
                return Err(OperationError::ServiceNotActive);
            }
            other => other?.0,
        };
        Ok(DeleteServiceResponse { service: self.view_service(&record, true).await? })
    }

    /// What an UpdateService makes of a service's tasks, checked; `None` where it says nothing of them.
    async fn next_revision(
        &self,
        key: &ServiceKey,
        request: &UpdateServiceRequest,
    ) -> Result<Option<Revision>, OperationError> {
        let asked = (request.task_definition.as_deref(), request.service_connect_configuration.as_ref());
        if asked == (None, None) {
            return Ok(None);
        }
        // Without a service there is nothing to check against; that it is not there is found where it is changed.
        let Some(found) = self.records().service(key).await? else { return Ok(None) };
        let record = found.value;
        let current = record.primary();
        let definition = match asked.0 {
            Some(reference) => self.usable_task_definition(reference).await?.definition,
            None => self
                .records()
                .task_definition(&current.task_definition)
                .await?
                .ok_or(OperationError::Conflict)?,
        };
        let known = current.service_connect.as_ref().map(|connect| &connect.configuration);
        let connect = self.service_connect(&key.cluster, asked.1.or(known), &definition.content).await?;
        let offers = connect.as_ref().is_some_and(|connect| !connect.offers.is_empty());
        let publication = Publication::parse(&record.tags, &record.load_balancers, offers)?;
        if let Some(attachment) =
            publication.as_ref().and_then(|publication| publication.attachment.as_deref())
        {
            attachment.check_definition(&definition.content)?;
        }
        let answers = publication.as_ref().and_then(|publication| publication.answers(&definition.content));
        self.check_runnable(&definition, answers).await?;
        Ok(Some(Revision { definition: definition.id(), connect }))
    }

    /// The answer to a CreateService for a name that is taken.
    async fn repeated(
        &self,
        key: &ServiceKey,
        existing: &ServiceRecord,
        token: Option<&str>,
    ) -> Result<CreateServiceResponse, OperationError> {
        if existing.status == ServiceStatus::Draining {
            return Err(OperationError::invalid("Unable to Start a service that is still Draining."));
        }
        if token.is_none() || existing.client_token.as_deref() != token {
            tracing::debug!(service = %key.name, "refused to create a service that exists");
            return Err(OperationError::invalid("Creation of service was not idempotent."));
        }
        Ok(CreateServiceResponse { service: self.view_service(existing, true).await? })
    }
}

/// What a deployment is of.
#[derive(Clone, Debug, PartialEq)]
struct Revision {
    definition: TaskDefinitionId,
    connect: Option<ServiceConnect>,
}

impl Revision {
    fn of(record: &ServiceRecord) -> Self {
        let primary = record.primary();
        Self { definition: primary.task_definition.clone(), connect: primary.service_connect.clone() }
    }
}

fn refused_port(error: PublishError) -> OperationError {
    OperationError::invalid(format!("Tag coracle.listen: {error}."))
}

fn store_fields(stored: &mut StoredServiceFields, request: &UpdateServiceRequest) {
    let updates = [
        (&mut stored.service_registries, &request.service_registries),
        (&mut stored.capacity_provider_strategy, &request.capacity_provider_strategy),
        (&mut stored.platform_version, &request.platform_version),
        (&mut stored.placement_constraints, &request.placement_constraints),
        (&mut stored.placement_strategy, &request.placement_strategy),
        (&mut stored.network_configuration, &request.network_configuration),
        (&mut stored.enable_ecs_managed_tags, &request.enable_ecs_managed_tags),
        (&mut stored.availability_zone_rebalancing, &request.availability_zone_rebalancing),
    ];
    for (field, update) in updates {
        if update.is_some() {
            field.clone_from(update);
        }
    }
}
