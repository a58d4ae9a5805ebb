//! RegisterTaskDefinition, DeregisterTaskDefinition, DescribeTaskDefinition, ListTaskDefinitions, ListTaskDefinitionFamilies.
#![expect(
    missing_docs,
    reason = "requests and responses are ECS's own: its API reference documents their fields"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{fields, page};
use crate::error::OperationError;
use crate::model::arn::TaskDefinitionReference;
use crate::model::names::{Family, quoted};
use crate::model::tags::{self, Tag};
use crate::model::task_definition::{
    Compatibility, NetworkMode, TaskDefinition, TaskDefinitionContent, TaskDefinitionId, TaskDefinitionStatus,
};
use crate::records::{encode, keys};
use crate::store::{Compare, Outcome, Transaction};
use crate::supervisor::Supervisor;

pub use crate::model::task_definition::RegisterTaskDefinitionRequest;

/// ECS's quota "Revisions per task definition family".
pub const MAX_REVISIONS: u32 = 1_000_000;
/// Rounds of trying for the next revision's number before giving up to those who registered at the same time.
const MAX_ATTEMPTS: usize = 64;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterTaskDefinitionResponse {
    pub task_definition: TaskDefinition,
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeregisterTaskDefinitionRequest {
    pub task_definition: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeregisterTaskDefinitionResponse {
    pub task_definition: TaskDefinition,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeTaskDefinitionRequest {
    pub task_definition: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeTaskDefinitionResponse {
    pub task_definition: TaskDefinition,
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListTaskDefinitionsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TaskDefinitionStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<SortOrder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SortOrder {
    Asc,
    Desc,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTaskDefinitionsResponse {
    pub task_definition_arns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListTaskDefinitionFamiliesRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<FamilyStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FamilyStatus {
    Active,
    Inactive,
    All,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTaskDefinitionFamiliesResponse {
    pub families: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// A task definition as it is kept: its tags are not part of how ECS shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskDefinitionRecord {
    #[serde(flatten)]
    pub(crate) definition: TaskDefinition,
    #[serde(default, rename = "recordTags")]
    pub(crate) tags: Vec<Tag>,
}

impl Supervisor {
    /// Registers the next revision of a family. A revision never changes afterwards and its number is never given again.
    pub async fn register_task_definition(
        &self,
        mut request: RegisterTaskDefinitionRequest,
    ) -> Result<RegisterTaskDefinitionResponse, OperationError> {
        let tags = std::mem::take(&mut request.tags);
        tags::validate(&tags)?;
        let content = TaskDefinitionContent::parse(request)?;
        let family = content.family.clone();
        let counter = keys::family(&family);
        for _ in 0..MAX_ATTEMPTS {
            let newest = self.records().get::<u32>(&counter).await?;
            let revision = newest.as_ref().map_or(0, |newest| newest.value) + 1;
            if revision > MAX_REVISIONS {
                return Err(OperationError::client(format!(
                    "A family can have {MAX_REVISIONS} revisions at most."
                )));
            }
            let id = TaskDefinitionId { family: family.clone(), revision };
            let definition = TaskDefinition {
                task_definition_arn: self.identity().task_definition(&id),
                revision,
                status: TaskDefinitionStatus::Active,
                registered_at: self.now(),
                deregistered_at: None,
                compatibilities: compatibilities(&content),
                content: content.clone(),
            };
            let unchanged = match newest {
                None => Compare::Absent(counter.clone()),
                Some(newest) => Compare::Revision(counter.clone(), newest.revision),
            };
            let record = TaskDefinitionRecord { definition, tags: tags.clone() };
            let register = Transaction::new()
                .when(unchanged)
                .put(counter.clone(), encode(&revision))
                .put(keys::task_definition(&id), encode(&record));
            if let Outcome::Committed(_) = self.records().commit(register).await? {
                return Ok(RegisterTaskDefinitionResponse {
                    task_definition: record.definition,
                    tags: record.tags,
                });
            }
        }
        Err(OperationError::Conflict)
    }

    /// Makes a revision INACTIVE: what runs goes on, nothing new is made from it.
    pub async fn deregister_task_definition(
        &self,
        request: DeregisterTaskDefinitionRequest,
    ) -> Result<DeregisterTaskDefinitionResponse, OperationError> {
        let TaskDefinitionReference::Revision(id) =
            self.identity().parse_task_definition(&request.task_definition)?
        else {
            return Err(OperationError::client(
                "Invalid task definition: a revision must be named, as in family:revision.",
            ));
        };
        let now = self.now();
        let missing = || OperationError::client("Unable to describe task definition.");
        let deactivate = |record: &mut TaskDefinitionRecord| {
            if record.definition.status == TaskDefinitionStatus::Inactive {
                return Ok(None);
            }
            record.definition.status = TaskDefinitionStatus::Inactive;
            record.definition.deregistered_at = Some(now);
            Ok(Some(()))
        };
        let (record, _) = self.records().update(&keys::task_definition(&id), missing, deactivate).await?;
        Ok(DeregisterTaskDefinitionResponse { task_definition: record.definition })
    }

    /// Describes one revision; the newest ACTIVE one when only a family is named.
    pub async fn describe_task_definition(
        &self,
        request: DescribeTaskDefinitionRequest,
    ) -> Result<DescribeTaskDefinitionResponse, OperationError> {
        let with_tags = fields::includes(&request.include, &["TAGS"], "TAGS")?;
        let reference = self.identity().parse_task_definition(&request.task_definition)?;
        let record = self.find_task_definition(&reference).await?;
        let record = record.ok_or_else(|| OperationError::client("Unable to describe task definition."))?;
        let tags = if with_tags { record.tags } else { Vec::new() };
        Ok(DescribeTaskDefinitionResponse { task_definition: record.definition, tags })
    }

    /// Lists ARNs of revisions, the ACTIVE ones unless asked otherwise.
    pub async fn list_task_definitions(
        &self,
        request: ListTaskDefinitionsRequest,
    ) -> Result<ListTaskDefinitionsResponse, OperationError> {
        // ECS's `familyPrefix` is here the whole name of a family: "The full family name to filter the ListTaskDefinitions results with."
        let only = request.family_prefix.as_deref().map(Family::parse).transpose()?;
        let status = request.status.unwrap_or(TaskDefinitionStatus::Active);
        let descending = request.sort == Some(SortOrder::Desc);
        let prefix = only.as_ref().map_or_else(|| "task-definition/".to_owned(), keys::task_definitions);
        let records: Vec<TaskDefinitionRecord> = self.records().list(&prefix).await?;
        let mut found: Vec<TaskDefinitionId> = records
            .iter()
            .filter(|record| record.definition.status == status)
            .map(|record| record.definition.id())
            .collect();
        // By family, then by number: `web:10` comes after `web:9`.
        found.sort();
        if descending {
            found.reverse();
        }
        let after = match &request.next_token {
            None => None,
            Some(token) => match self.identity().parse_task_definition(token) {
                Ok(TaskDefinitionReference::Revision(id)) => Some(id),
                _ => return Err(OperationError::invalid(format!("Invalid token {}", quoted(token)))),
            },
        };
        found
            .retain(|id| after.as_ref().is_none_or(|after| if descending { id < after } else { id > after }));
        let arns = found.iter().map(|id| self.identity().task_definition(id)).collect();
        let page = page(arns, None, request.max_results, 100, descending)?;
        Ok(ListTaskDefinitionsResponse { task_definition_arns: page.items, next_token: page.next_token })
    }

    /// Lists the families whose names begin with a prefix.
    pub async fn list_task_definition_families(
        &self,
        request: ListTaskDefinitionFamiliesRequest,
    ) -> Result<ListTaskDefinitionFamiliesResponse, OperationError> {
        let prefix = request.family_prefix.as_deref().map(Family::parse).transpose()?;
        let prefix = prefix.as_ref().map_or("", Family::as_str);
        let records: Vec<TaskDefinitionRecord> =
            self.records().list(&format!("task-definition/{prefix}")).await?;
        let mut active_by_family = BTreeMap::<String, bool>::new();
        for record in records {
            let active = active_by_family.entry(record.definition.content.family.to_string()).or_default();
            *active |= record.definition.status == TaskDefinitionStatus::Active;
        }
        let wanted = request.status.unwrap_or(FamilyStatus::All);
        let families = active_by_family.into_iter().filter(|(_, active)| match wanted {
            FamilyStatus::Active => *active,
            FamilyStatus::Inactive => !*active,
            FamilyStatus::All => true,
        });
        let families = families.map(|(family, _)| family).collect();
        let page = page(families, request.next_token.as_deref(), request.max_results, 100, false)?;
        Ok(ListTaskDefinitionFamiliesResponse { families: page.items, next_token: page.next_token })
    }

    pub(super) async fn find_task_definition(
        &self,
        reference: &TaskDefinitionReference,
    ) -> Result<Option<TaskDefinitionRecord>, OperationError> {
        match reference {
            TaskDefinitionReference::Revision(id) => {
                Ok(self.records().get(&keys::task_definition(id)).await?.map(|found| found.value))
            }
            TaskDefinitionReference::Latest(family) => {
                let records: Vec<TaskDefinitionRecord> =
                    self.records().list(&keys::task_definitions(family)).await?;
                Ok(records
                    .into_iter()
                    .rfind(|record| record.definition.status == TaskDefinitionStatus::Active))
            }
        }
    }

    /// The revision that new tasks may be made from.
    pub(super) async fn usable_task_definition(
        &self,
        reference: &str,
    ) -> Result<TaskDefinitionRecord, OperationError> {
        let reference = self.identity().parse_task_definition(reference)?;
        let record = self.find_task_definition(&reference).await?;
        let record = record.ok_or_else(|| OperationError::client("TaskDefinition not found."))?;
        if record.definition.status == TaskDefinitionStatus::Inactive {
            return Err(OperationError::client("TaskDefinition is inactive"));
        }
        Ok(record)
    }
}

fn compatibilities(content: &TaskDefinitionContent) -> Vec<String> {
    let mut compatibilities = vec!["EXTERNAL".to_owned(), "EC2".to_owned()];
    let fargate = content.requires_compatibilities.contains(&Compatibility::Fargate);
    if content.network_mode == NetworkMode::Awsvpc
        && (fargate || (content.cpu.is_some() && content.memory.is_some()))
    {
        compatibilities.push("FARGATE".to_owned());
    }
    compatibilities
}
