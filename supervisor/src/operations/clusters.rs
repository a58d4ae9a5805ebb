//! CreateCluster, DeleteCluster, DescribeClusters, ListClusters.
#![expect(
    missing_docs,
    reason = "requests and responses are ECS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, bounded, fields, page};
use crate::error::OperationError;
use crate::model::capacity::Strategy;
use crate::model::cluster::{Cluster, ClusterRecord, StoredClusterFields};
use crate::model::names::ClusterName;
use crate::model::service::{ServiceRecord, ServiceStatus};
use crate::model::service_connect::{ServiceConnectDefaults, parse_namespace};
use crate::model::tags::{self, Tag};
use crate::model::task::LastStatus;
use crate::records::{encode, keys};
use crate::store::{Compare, Outcome, Transaction};
use crate::supervisor::Supervisor;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CreateClusterRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_providers: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_capacity_provider_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_connect_defaults: Option<ServiceConnectDefaults>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateClusterResponse {
    pub cluster: Cluster,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteClusterRequest {
    pub cluster: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteClusterResponse {
    pub cluster: Cluster,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DescribeClustersRequest {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DescribeClustersResponse {
    pub clusters: Vec<Cluster>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListClustersRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListClustersResponse {
    pub cluster_arns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl Supervisor {
    /// Creates a cluster, `default` when no name is given. One that exists is answered as it is.
    pub async fn create_cluster(
        &self,
        request: CreateClusterRequest,
    ) -> Result<CreateClusterResponse, OperationError> {
        let name = request.cluster_name.as_deref().map(ClusterName::parse).transpose()?.unwrap_or_default();
        tags::validate(&request.tags)?;
        request.default_capacity_provider_strategy.as_ref().map(Strategy::parse).transpose()?;
        if let Some(defaults) =
            request.service_connect_defaults.as_ref().filter(|of| !of.namespace.is_empty())
        {
            parse_namespace("serviceConnectDefaults.namespace", &defaults.namespace)?;
        }
        let record = ClusterRecord {
            name: name.clone(),
            tags: request.tags,
            stored: StoredClusterFields {
                settings: request.settings,
                configuration: request.configuration,
                capacity_providers: request.capacity_providers,
                default_capacity_provider_strategy: request.default_capacity_provider_strategy,
                service_connect_defaults: request.service_connect_defaults,
            },
        };
        let key = keys::cluster(&name);
        let create = Transaction::new().when(Compare::Absent(key.clone())).put(key, encode(&record));
        self.records().commit(create).await?;
        let record = self.records().cluster(&name).await?;
        Ok(CreateClusterResponse { cluster: self.view_cluster(record, true).await? })
    }

    /// Deletes a cluster that has no service and no task left.
    pub async fn delete_cluster(
        &self,
        request: DeleteClusterRequest,
    ) -> Result<DeleteClusterResponse, OperationError> {
        let name = self.identity().parse_cluster(Some(&request.cluster))?;
        let record = self.records().cluster(&name).await?;
        let delete = Transaction::new()
            .when(Compare::Exists(keys::cluster(&name)))
            .when(Compare::NoneUnder(keys::services(&name)))
            .when(Compare::NoneUnder(keys::standalone_tasks(&name)))
            .when(Compare::NoneUnder(keys::cluster_service_tasks(&name)))
            .delete(keys::cluster(&name));
        match self.records().commit(delete).await? {
            Outcome::Committed(_) => {
                let mut cluster = self.view_cluster(record, true).await?;
                cluster.status = "INACTIVE".to_owned();
                Ok(DeleteClusterResponse { cluster })
            }
            Outcome::Conflict(Compare::NoneUnder(prefix)) if prefix == keys::services(&name) => {
                Err(OperationError::ClusterContainsServices)
            }
            Outcome::Conflict(Compare::NoneUnder(_)) => Err(OperationError::ClusterContainsTasks),
            Outcome::Conflict(_) => Err(OperationError::ClusterNotFound),
        }
    }

    /// Describes up to 100 clusters; `default` when none is named.
    pub async fn describe_clusters(
        &self,
        request: DescribeClustersRequest,
    ) -> Result<DescribeClustersResponse, OperationError> {
        let known = ["ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS"];
        let with_tags = fields::includes(&request.include, &known, "TAGS")?;
        let references =
            if request.clusters.is_empty() { vec!["default".to_owned()] } else { request.clusters };
        bounded("clusters", references.len(), 100)?;
        let mut response = DescribeClustersResponse { clusters: Vec::new(), failures: Vec::new() };
        for reference in references {
            let name = self.identity().parse_cluster(Some(&reference))?;
            match self.records().cluster(&name).await {
                Ok(record) => response.clusters.push(self.view_cluster(record, with_tags).await?),
                Err(OperationError::ClusterNotFound) => {
                    response.failures.push(Failure::missing(self.identity().cluster(&name)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(response)
    }

    /// Lists the ARNs of the clusters.
    pub async fn list_clusters(
        &self,
        request: ListClustersRequest,
    ) -> Result<ListClustersResponse, OperationError> {
        let clusters: Vec<ClusterRecord> = self.records().list(keys::CLUSTERS).await?;
        let arns = clusters.iter().map(|cluster| self.identity().cluster(&cluster.name)).collect();
        let page = page(arns, request.next_token.as_deref(), request.max_results, 100, false)?;
        Ok(ListClustersResponse { cluster_arns: page.items, next_token: page.next_token })
    }

    async fn view_cluster(&self, record: ClusterRecord, with_tags: bool) -> Result<Cluster, OperationError> {
        let tasks = self.records().cluster_tasks(&record.name).await?;
        let count = |counts: fn(LastStatus) -> bool| {
            u32::try_from(tasks.iter().filter(|task| counts(task.status.last_status)).count())
                .unwrap_or(u32::MAX)
        };
        let services: Vec<ServiceRecord> = self.records().list(&keys::services(&record.name)).await?;
        let active = services.iter().filter(|service| service.status == ServiceStatus::Active).count();
        Ok(Cluster {
            cluster_arn: self.identity().cluster(&record.name),
            cluster_name: record.name.to_string(),
            status: "ACTIVE".to_owned(),
            registered_container_instances_count: 1,
            running_tasks_count: count(|status| status == LastStatus::Running),
            pending_tasks_count: count(|status| status < LastStatus::Running),
            active_services_count: u32::try_from(active).unwrap_or(u32::MAX),
            statistics: Vec::new(),
            tags: if with_tags { record.tags } else { Vec::new() },
            stored: record.stored,
        })
    }
}
