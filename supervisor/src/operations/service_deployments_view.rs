//! Looking at service deployments and revisions.

use super::service_deployments::{
    ContainerImage, DescribeServiceDeploymentsRequest, DescribeServiceDeploymentsResponse,
    DescribeServiceRevisionsRequest, DescribeServiceRevisionsResponse, LifecycleHookDetail,
    ListServiceDeploymentsRequest, ListServiceDeploymentsResponse, MonitorStatus, Rollback,
    ServiceDeployment, ServiceDeploymentBrief, ServiceDeploymentCircuitBreaker, ServiceRevisionSummary,
    ServiceRevisionView,
};
use super::{Failure, bounded, page};
use crate::error::OperationError;
use crate::model::deployment::{
    ServiceDeploymentRecord, ServiceDeploymentStatus, ServiceRevision, Slot, Traffic,
};
use crate::model::service::ServiceRecord;
use crate::records::{KnownTask, ServiceKey};
use crate::supervisor::Supervisor;

/// Most that one request describes: ECS's limit.
const BATCH: usize = 20;

impl Supervisor {
    /// Lists a service's deployments that are kept, newest first.
    pub async fn list_service_deployments(
        &self,
        request: ListServiceDeploymentsRequest,
    ) -> Result<ListServiceDeploymentsResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let name = self.identity().parse_service(&cluster, &request.service)?;
        let key = ServiceKey { cluster, name };
        self.records().cluster(&key.cluster).await?;
        if self.records().service(&key).await?.is_none() {
            return Err(OperationError::ServiceNotFound);
        }
        let range = request.created_at.unwrap_or_default();
        let fits = |known: &ServiceDeploymentRecord| {
            (request.status.is_empty() || request.status.contains(&known.status))
                && range.before.is_none_or(|before| known.created_at < before)
                && range.after.is_none_or(|after| known.created_at > after)
        };
        let mut known = self.records().service_deployments(&key).await?;
        known.retain(fits);
        known.reverse();
        let place = |known: &ServiceDeploymentRecord| format!("{:020}", known.number);
        let places = known.iter().map(place).collect();
        let page = page(places, request.next_token.as_deref(), request.max_results, 20, true)?;
        let shown = known.iter().filter(|known| page.items.contains(&place(known)));
        Ok(ListServiceDeploymentsResponse {
            service_deployments: shown.map(|known| self.brief(&key, known)).collect(),
            next_token: page.next_token,
        })
    }

    /// Describes up to 20 service deployments.
    pub async fn describe_service_deployments(
        &self,
        request: DescribeServiceDeploymentsRequest,
    ) -> Result<DescribeServiceDeploymentsResponse, OperationError> {
        bounded("ServiceDeploymentArns", request.service_deployment_arns.len(), BATCH)?;
        let mut response =
            DescribeServiceDeploymentsResponse { service_deployments: Vec::new(), failures: Vec::new() };
        for arn in request.service_deployment_arns {
            let (key, id) = self.parse_service_deployment(&arn)?;
            let known = self.records().service_deployments(&key).await?;
            let known = known.into_iter().find(|known| known.id == id);
            let service = self.records().service(&key).await?.map(|found| found.value);
            match known.zip(service) {
                Some((known, service)) => {
                    let tasks = self.records().service_tasks(&key).await?;
                    let failures = self.records().failed_tasks(&key).await?;
                    let failures = failures.get(&known.deployment).copied().unwrap_or(0);
                    let seen = Seen { key: &key, service: &service, tasks: &tasks, failures };
                    response.service_deployments.push(self.service_deployment(&seen, known));
                }
                None => response.failures.push(Failure::missing(arn)),
            }
        }
        Ok(response)
    }

    /// Describes up to 20 service revisions.
    pub async fn describe_service_revisions(
        &self,
        request: DescribeServiceRevisionsRequest,
    ) -> Result<DescribeServiceRevisionsResponse, OperationError> {
        bounded("ServiceRevisionArns", request.service_revision_arns.len(), BATCH)?;
        let mut response =
            DescribeServiceRevisionsResponse { service_revisions: Vec::new(), failures: Vec::new() };
        for arn in request.service_revision_arns {
            let (cluster, name, id) = self.identity().parse_of_service("service-revision", &arn)?;
            let key = ServiceKey { cluster, name };
            let known = self.records().service_deployments(&key).await?;
            let known = known.into_iter().map(|known| known.target).find(|target| target.id == id);
            let service = self.records().service(&key).await?.map(|found| found.value);
            match known.zip(service) {
                Some((revision, service)) => {
                    response.service_revisions.push(self.service_revision(&key, &service, revision).await?);
                }
                None => response.failures.push(Failure::missing(arn)),
            }
        }
        Ok(response)
    }

    fn brief(&self, key: &ServiceKey, known: &ServiceDeploymentRecord) -> ServiceDeploymentBrief {
        let identity = self.identity();
        ServiceDeploymentBrief {
            service_deployment_arn: identity.service_deployment(&key.cluster, &key.name, &known.id),
            service_arn: identity.service(&key.cluster, &key.name),
            cluster_arn: identity.cluster(&key.cluster),
            started_at: known.created_at,
            created_at: known.created_at,
            finished_at: known.finished_at,
            target_service_revision_arn: identity.service_revision(&key.cluster, &key.name, &known.target.id),
            status: known.status,
            status_reason: known.reason.clone(),
        }
    }

    fn service_deployment(&self, seen: &Seen<'_>, known: ServiceDeploymentRecord) -> ServiceDeployment {
        let key = seen.key;
        let brief = self.brief(key, &known);
        let revision = |id: &str| self.identity().service_revision(&key.cluster, &key.name, id);
        // What is so is told, not what will be in a moment.
        let traffic = self.ingress().traffic(key);
        let summary = |id: &str, deployment: &str| seen.summary(revision(id), deployment, traffic);
        let sources = known.sources.iter().map(|source| summary(&source.revision, &source.deployment));
        ServiceDeployment {
            source_service_revisions: sources.collect(),
            target_service_revision: summary(&known.target.id, &known.deployment),
            lifecycle_hook_details: hooks(&known),
            lifecycle_stage: known.progress.as_ref().map(|progress| progress.stage),
            deployment_circuit_breaker: seen.breaker(&known),
            rollback: known.rollback.as_ref().map(|rollback| Rollback {
                reason: rollback.reason.clone(),
                started_at: rollback.started_at,
                service_revision_arn: revision(&rollback.revision),
            }),
            service_deployment_arn: brief.service_deployment_arn,
            service_arn: brief.service_arn,
            cluster_arn: brief.cluster_arn,
            created_at: known.created_at,
            started_at: known.created_at,
            finished_at: known.finished_at,
            stopped_at: known.stopped_at,
            updated_at: known.updated_at,
            status: known.status,
            status_reason: known.reason,
            deployment_configuration: known.configuration,
        }
    }

    async fn service_revision(
        &self,
        key: &ServiceKey,
        service: &ServiceRecord,
        revision: ServiceRevision,
    ) -> Result<ServiceRevisionView, OperationError> {
        let identity = self.identity();
        let definition = self.records().task_definition(&revision.task_definition).await?;
        let containers = definition.into_iter().flat_map(|known| known.content.container_definitions);
        let images = containers
            .map(|container| ContainerImage { container_name: container.name, image: container.image });
        Ok(ServiceRevisionView {
            service_revision_arn: identity.service_revision(&key.cluster, &key.name, &revision.id),
            service_arn: identity.service(&key.cluster, &key.name),
            cluster_arn: identity.cluster(&key.cluster),
            task_definition: identity.task_definition(&revision.task_definition),
            launch_type: revision.launch_type,
            load_balancers: self.load_balancer(key, service).await?.into_iter().collect(),
            container_images: images.collect(),
            created_at: revision.created_at,
            platform_version: revision.stored.platform_version,
            capacity_provider_strategy: revision.stored.capacity_provider_strategy,
            service_registries: revision.stored.service_registries,
            network_configuration: revision.stored.network_configuration,
            service_connect_configuration: revision.service_connect.map(|connect| connect.configuration),
        })
    }
}

/// A service when one of its deployments is looked at.
struct Seen<'a> {
    key: &'a ServiceKey,
    service: &'a ServiceRecord,
    tasks: &'a [KnownTask],
    /// Of the deployment.
    failures: u32,
}

impl Seen<'_> {
    fn summary(&self, arn: String, deployment: &str, traffic: Option<Traffic>) -> ServiceRevisionSummary {
        let of = |task: &&KnownTask| {
            task.record.service.as_ref().is_some_and(|member| member.deployment == deployment)
        };
        let count = |counts: fn(&KnownTask) -> bool| {
            let tasks = self.tasks.iter().filter(of).filter(|task| counts(task)).count();
            u32::try_from(tasks).unwrap_or(u32::MAX)
        };
        let known = self.service.deployments.iter().position(|known| known.id == deployment);
        let slot = known.and_then(|index| self.service.deployments.get(index)).map(|known| known.slot);
        let weight = |of: &dyn Fn(Traffic, Slot) -> u32| {
            traffic.map(|traffic| slot.map_or(0.0, |slot| f64::from(of(traffic, slot)) / 10.0))
        };
        ServiceRevisionSummary {
            arn,
            requested_task_count: known.map_or(0, |index| self.service.wanted_of(index == 0, deployment)),
            running_task_count: count(KnownTask::is_running),
            pending_task_count: count(KnownTask::is_pending),
            requested_test_traffic_weight: weight(&|traffic, slot| {
                if traffic.test() == slot { 1000 } else { 0 }
            }),
            requested_production_traffic_weight: weight(&Traffic::production),
        }
    }

    fn breaker(&self, known: &ServiceDeploymentRecord) -> ServiceDeploymentCircuitBreaker {
        let desired = self.service.desired_count;
        let breaker = known.configuration.breaker();
        let threshold = breaker.map_or(0, |breaker| breaker.threshold(desired));
        match (breaker, known.breaker) {
            (None, _) => ServiceDeploymentCircuitBreaker {
                status: MonitorStatus::Disabled,
                failure_count: self.failures,
                threshold,
            },
            (Some(_), Some(trip)) => ServiceDeploymentCircuitBreaker {
                status: MonitorStatus::Triggered,
                failure_count: trip.failures,
                threshold: trip.threshold,
            },
            (Some(_), None) => ServiceDeploymentCircuitBreaker {
                status: match known.status {
                    ServiceDeploymentStatus::InProgress => MonitorStatus::Monitoring,
                    _ => MonitorStatus::MonitoringComplete,
                },
                failure_count: self.failures,
                threshold,
            },
        }
    }
}

fn hooks(known: &ServiceDeploymentRecord) -> Vec<LifecycleHookDetail> {
    let configured = known.configuration.hooks();
    let runs = known.progress.iter().flat_map(|progress| &progress.hooks);
    let detail = |run: &crate::model::deployment::HookRun| {
        let hook = configured.get(run.index)?;
        Some(LifecycleHookDetail {
            hook_id: run.id.clone(),
            target_type: hook.kind(),
            target_arn: hook.hook_target_arn.clone(),
            status: run.status,
            expires_at: run.expires_at,
            timeout_action: hook.timeout_action(),
        })
    };
    runs.filter_map(detail).collect()
}
