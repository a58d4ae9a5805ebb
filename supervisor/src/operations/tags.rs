//! TagResource, UntagResource, ListTagsForResource.
#![expect(
    missing_docs,
    reason = "requests and responses are ECS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};

use super::task_definitions::TaskDefinitionRecord;
use crate::error::OperationError;
use crate::model::arn::{TaskDefinitionReference, invalid_identifier};
use crate::model::cluster::ClusterRecord;
use crate::model::names::{ClusterName, ServiceName, TaskId};
use crate::model::publication;
use crate::model::service::ServiceRecord;
use crate::model::tags::{self, Tag};
use crate::model::task::TaskRecord;
use crate::records::{ServiceKey, keys};
use crate::supervisor::Supervisor;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagResourceRequest {
    pub resource_arn: String,
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TagResourceResponse {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UntagResourceRequest {
    pub resource_arn: String,
    pub tag_keys: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UntagResourceResponse {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListTagsForResourceRequest {
    pub resource_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListTagsForResourceResponse {
    pub tags: Vec<Tag>,
}

/// What has tags.
enum Tagged {
    Cluster(ClusterName),
    Service(ServiceKey),
    Task(ClusterName, TaskId),
    TaskDefinition(String),
}

impl Supervisor {
    /// Puts tags on a resource, over those of the same keys.
    pub async fn tag_resource(
        &self,
        request: TagResourceRequest,
    ) -> Result<TagResourceResponse, OperationError> {
        tags::validate(&request.tags)?;
        refuse_publication(&request.resource_arn, request.tags.iter().map(|tag| tag.key.as_str()))?;
        self.change_tags(&request.resource_arn, |tags| tags::merged(tags, request.tags.clone())).await?;
        Ok(TagResourceResponse {})
    }

    /// Takes tags off a resource. Keys that it does not have are no error.
    pub async fn untag_resource(
        &self,
        request: UntagResourceRequest,
    ) -> Result<UntagResourceResponse, OperationError> {
        refuse_publication(&request.resource_arn, request.tag_keys.iter().map(String::as_str))?;
        let keep = |tag: &&Tag| !request.tag_keys.contains(&tag.key);
        self.change_tags(&request.resource_arn, |tags| tags.iter().filter(keep).cloned().collect()).await?;
        Ok(UntagResourceResponse {})
    }

    /// Lists a resource's tags.
    pub async fn list_tags_for_resource(
        &self,
        request: ListTagsForResourceRequest,
    ) -> Result<ListTagsForResourceResponse, OperationError> {
        let records = self.records();
        let missing = || OperationError::ResourceNotFound;
        let tags = match self.tagged(&request.resource_arn)? {
            Tagged::Cluster(name) => {
                records.get::<ClusterRecord>(&keys::cluster(&name)).await?.map(|found| found.value.tags)
            }
            Tagged::Service(key) => records.service(&key).await?.map(|found| found.value.tags),
            Tagged::Task(cluster, id) => records.task(&cluster, &id).await?.map(|task| task.record.tags),
            Tagged::TaskDefinition(key) => {
                records.get::<TaskDefinitionRecord>(&key).await?.map(|found| found.value.tags)
            }
        };
        Ok(ListTagsForResourceResponse { tags: tags.ok_or_else(missing)? })
    }

    async fn change_tags(
        &self,
        arn: &str,
        new_tags: impl Fn(&[Tag]) -> Vec<Tag>,
    ) -> Result<(), OperationError> {
        let records = self.records();
        let missing = || OperationError::ResourceNotFound;
        let change = |tags: &mut Vec<Tag>| {
            *tags = new_tags(tags);
            tags::validate(tags).map(|()| Some(()))
        };
        match self.tagged(arn)? {
            Tagged::Cluster(name) => {
                records
                    .update(&keys::cluster(&name), missing, |record: &mut ClusterRecord| {
                        change(&mut record.tags)
                    })
                    .await?;
            }
            Tagged::Service(key) => {
                records
                    .update(&keys::service(&key), missing, |record: &mut ServiceRecord| {
                        change(&mut record.tags)
                    })
                    .await?;
            }
            Tagged::Task(cluster, id) => {
                let (key, _) = records.live_task(&cluster, &id).await?.ok_or_else(missing)?;
                records.update(&key, missing, |record: &mut TaskRecord| change(&mut record.tags)).await?;
            }
            Tagged::TaskDefinition(key) => {
                records
                    .update(&key, missing, |record: &mut TaskDefinitionRecord| change(&mut record.tags))
                    .await?;
            }
        }
        Ok(())
    }

    fn tagged(&self, arn: &str) -> Result<Tagged, OperationError> {
        let resource = self.identity().resource(arn).ok_or_else(|| invalid_identifier(arn))?;
        let parts: Vec<&str> = resource.split('/').collect();
        match parts.as_slice() {
            ["cluster", name] => Ok(Tagged::Cluster(ClusterName::parse(name)?)),
            ["service", cluster, name] => Ok(Tagged::Service(ServiceKey {
                cluster: ClusterName::parse(cluster)?,
                name: ServiceName::parse(name)?,
            })),
            ["task", cluster, id] => {
                let id = TaskId::parse(id).ok_or_else(|| invalid_identifier(arn))?;
                Ok(Tagged::Task(ClusterName::parse(cluster)?, id))
            }
            ["task-definition", _] => match self.identity().parse_task_definition(arn)? {
                TaskDefinitionReference::Revision(id) => {
                    Ok(Tagged::TaskDefinition(keys::task_definition(&id)))
                }
                TaskDefinitionReference::Latest(_) => Err(invalid_identifier(arn)),
            },
            _ => Err(invalid_identifier(arn)),
        }
    }
}

/// A service's place behind the balancer is settled when it is created: a tag that says otherwise later would be a lie.
fn refuse_publication<'a>(arn: &str, mut keys: impl Iterator<Item = &'a str>) -> Result<(), OperationError> {
    match keys.find(|key| key.starts_with(publication::PREFIX)) {
        Some(key) if arn.contains(":service/") => Err(OperationError::invalid(format!(
            "Tag {key} can only be set when a service is created: delete the service and create it again."
        ))),
        _ => Ok(()),
    }
}
