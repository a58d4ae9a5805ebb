//! Clusters: name spaces of services and tasks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::ClusterName;
use super::service_connect::ServiceConnectDefaults;
use super::tags::Tag;

/// What is kept of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRecord {
    /// Its name.
    pub name: ClusterName,
    /// On the cluster.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Given back as they came.
    #[serde(default)]
    pub stored: StoredClusterFields,
}

/// ECS's fields of a cluster, of which only the two defaults change something here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct StoredClusterFields {
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

/// A cluster as ECS shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct Cluster {
    pub cluster_arn: String,
    pub cluster_name: String,
    pub status: String,
    pub registered_container_instances_count: u32,
    pub running_tasks_count: u32,
    pub pending_tasks_count: u32,
    pub active_services_count: u32,
    pub statistics: Vec<Value>,
    pub tags: Vec<Tag>,
    #[serde(flatten)]
    pub stored: StoredClusterFields,
}
