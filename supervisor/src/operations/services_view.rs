//! Looking at services: DescribeServices and ListServices.

use super::services::{
    DescribeServicesRequest, DescribeServicesResponse, ListServicesRequest, ListServicesResponse,
};
use super::{Failure, bounded, fields, page};
use crate::error::OperationError;
use crate::model::load_balancing::action::Action;
use crate::model::names::ClusterName;
use crate::model::publication::{ASLEEP, ENDPOINT};
use crate::model::service::{LoadBalancer, Service, ServiceRecord, ServiceStatus};
use crate::model::tags::Tag;
use crate::model::task_definition::TaskDefinitionContent;
use crate::records::{ServiceKey, keys};
use crate::supervisor::Supervisor;
use crate::view::{self, ServiceObservation};

impl Supervisor {
    /// Describes up to 10 services. A published one carries where it can be reached in the tag [`ENDPOINT`].
    pub async fn describe_services(
        &self,
        request: DescribeServicesRequest,
    ) -> Result<DescribeServicesResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let with_tags = fields::includes(&request.include, &["TAGS"], "TAGS")?;
        bounded("Services", request.services.len(), 10)?;
        self.records().cluster(&cluster).await?;
        let mut response = DescribeServicesResponse { services: Vec::new(), failures: Vec::new() };
        for reference in &request.services {
            let name = self.identity().parse_service(&cluster, reference)?;
            let key = ServiceKey { cluster: cluster.clone(), name };
            if let Some(found) = self.records().service(&key).await? {
                response.services.push(self.view_service(&found.value, with_tags).await?);
            } else if let Some(service) = self.records().inactive_service(&key).await? {
                response.services.push(service);
            } else {
                response.failures.push(Failure::missing(self.identity().service(&key.cluster, &key.name)));
            }
        }
        Ok(response)
    }

    /// Lists the ARNs of a cluster's services that are not INACTIVE.
    pub async fn list_services(
        &self,
        request: ListServicesRequest,
    ) -> Result<ListServicesResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        self.records().cluster(&cluster).await?;
        let services: Vec<ServiceRecord> = self.records().list(&keys::services(&cluster)).await?;
        let arns = services
            .iter()
            .filter(|service| {
                request.scheduling_strategy.is_none_or(|wanted| service.scheduling_strategy == wanted)
                    && request.launch_type.is_none_or(|wanted| service.launch_type == wanted)
            })
            .map(|service| self.identity().service(&service.cluster, &service.name))
            .collect();
        let page = page(arns, request.next_token.as_deref(), request.max_results, 10, false)?;
        Ok(ListServicesResponse { service_arns: page.items, next_token: page.next_token })
    }

    /// Where a service can be reached, if it is published.
    pub fn endpoint(&self, cluster: &str, service: &str) -> Option<std::net::SocketAddr> {
        let cluster = ClusterName::parse(cluster).ok()?;
        let name = self.identity().parse_service(&cluster, service).ok()?;
        self.ingress().endpoint(&ServiceKey { cluster, name })
    }

    pub(crate) async fn view_service(
        &self,
        record: &ServiceRecord,
        with_tags: bool,
    ) -> Result<Service, OperationError> {
        let key = ServiceKey { cluster: record.cluster.clone(), name: record.name.clone() };
        let tasks = self.records().service_tasks(&key).await?;
        let seen = ServiceObservation {
            tasks: &tasks,
            events: self.records().events(&key).await?,
            failed_tasks: self.records().failed_tasks(&key).await?,
            load_balancer: self.load_balancer(&key, record).await?,
        };
        let mut service = view::service(self.identity(), record, seen);
        if self.records().is_asleep(&key).await? {
            // What ECS's clients wait for is what is wanted now.
            service.desired_count = 0;
            for deployment in &mut service.deployments {
                deployment.desired_count = 0;
            }
            service.tags.push(Tag::new(ASLEEP, record.desired_count.to_string()));
        }
        if !with_tags {
            service.tags.clear();
        } else if let Some(endpoint) = self.ingress().endpoint(&key) {
            service.tags.push(Tag::new(ENDPOINT, format!("http://{endpoint}")));
        } else if let Some(url) = self.url_of(record).await? {
            service.tags.push(Tag::new(ENDPOINT, url));
        }
        Ok(service)
    }

    /// Where a listener sends requests to a service whose target groups are not its own.
    async fn url_of(&self, record: &ServiceRecord) -> Result<Option<String>, OperationError> {
        let Some(attachment) = record.attachment() else { return Ok(None) };
        let of =
            |action: &Action| action.target_groups().iter().any(|(arn, _)| *arn == attachment.target_group);
        let urls = self.load_balancers().await?.into_iter().find_map(|balancer| {
            let listener = balancer.listeners.iter().find(|listener| listener.actions().any(of))?;
            Some(format!("http://{}:{}", balancer.dns_name(), listener.port))
        });
        Ok(urls)
    }

    pub(super) async fn load_balancer(
        &self,
        key: &ServiceKey,
        record: &ServiceRecord,
    ) -> Result<Option<LoadBalancer>, OperationError> {
        if let Some(attached) = record.load_balancers.first() {
            return Ok(Some(attached.clone()));
        }
        let listens = record.publication.as_ref().is_some_and(|publication| publication.listen.is_some());
        if !listens || record.status == ServiceStatus::Inactive {
            return Ok(None);
        }
        let definition = self.records().task_definition(&record.primary().task_definition).await?;
        let content = definition.as_ref().map(|definition| &definition.content);
        Ok(Some(LoadBalancer {
            target_group_arn: self.identity().target_group(&key.cluster, &key.name, record.traffic.serving),
            container_name: content.and_then(|content| content.traffic_container()).map(str::to_owned),
            container_port: content.and_then(TaskDefinitionContent::traffic_port),
            advanced_configuration: None,
        }))
    }
}
