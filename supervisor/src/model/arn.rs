//! Amazon resource names, and the references to things by name or ARN that every operation accepts.

use super::deployment::Slot;
use super::names::{ClusterName, Family, NodeId, ServiceName, TaskId, quoted};
use super::service_connect::Offer;
use super::task_definition::TaskDefinitionId;
use crate::error::OperationError;

/// Region in our ARNs unless configured.
pub const DEFAULT_REGION: &str = "us-east-1";
/// Account in our ARNs unless configured.
pub const DEFAULT_ACCOUNT: &str = "000000000000";

/// Whose ARNs these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Such as `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self { region: DEFAULT_REGION.to_owned(), account: DEFAULT_ACCOUNT.to_owned() }
    }
}

impl Identity {
    fn ecs(&self, resource: std::fmt::Arguments<'_>) -> String {
        format!("arn:aws:ecs:{}:{}:{resource}", self.region, self.account)
    }

    /// A cluster's ARN.
    pub fn cluster(&self, name: &ClusterName) -> String {
        self.ecs(format_args!("cluster/{name}"))
    }

    /// A task definition's ARN.
    pub fn task_definition(&self, id: &TaskDefinitionId) -> String {
        self.ecs(format_args!("task-definition/{id}"))
    }

    /// A service's ARN.
    pub fn service(&self, cluster: &ClusterName, name: &ServiceName) -> String {
        self.ecs(format_args!("service/{cluster}/{name}"))
    }

    /// A task's ARN.
    pub fn task(&self, cluster: &ClusterName, id: &TaskId) -> String {
        self.ecs(format_args!("task/{cluster}/{id}"))
    }

    /// A container's ARN.
    pub fn container(&self, cluster: &ClusterName, task: &TaskId, id: &str) -> String {
        self.ecs(format_args!("container/{cluster}/{task}/{id}"))
    }

    /// A node's ARN as a member of a cluster.
    pub fn container_instance(&self, cluster: &ClusterName, node: &NodeId) -> String {
        self.ecs(format_args!("container-instance/{cluster}/{node}"))
    }

    /// The ARN of one of the target groups that a service is published with. The same at each start: it is made from the names.
    pub fn target_group(&self, cluster: &ClusterName, service: &ServiceName, slot: Slot) -> String {
        // ELB's names have up to 32 characters and no underscore; the digits after them tell equal cuts apart.
        let (length, suffix) = match slot {
            Slot::Blue => (32, ""),
            Slot::Green => (26, "-green"),
        };
        let name: String =
            service.as_str().chars().take(length).map(|c| if c == '_' { '-' } else { c }).collect();
        let digits = fnv1a(format!("{cluster}/{service}{suffix}").as_bytes());
        format!(
            "arn:aws:elasticloadbalancing:{}:{}:targetgroup/{name}{suffix}/{digits:016x}",
            self.region, self.account
        )
    }

    /// The ARN of one of a service's deployments.
    pub fn service_deployment(&self, cluster: &ClusterName, service: &ServiceName, id: &str) -> String {
        self.ecs(format_args!("service-deployment/{cluster}/{service}/{id}"))
    }

    /// The ARN of one of a service's revisions.
    pub fn service_revision(&self, cluster: &ClusterName, service: &ServiceName, id: &str) -> String {
        self.ecs(format_args!("service-revision/{cluster}/{service}/{id}"))
    }

    /// The ARN of a service in AWS Cloud Map, which Service Connect finds it by: its full name takes the place of an id.
    pub fn discovery(&self, offer: &Offer) -> String {
        format!("arn:aws:servicediscovery:{}:{}:service/{}", self.region, self.account, offer.full_name())
    }

    /// Cluster, service and id in an ARN of `kind`: `service-deployment` or `service-revision`.
    pub(crate) fn parse_of_service<'a>(
        &self,
        kind: &str,
        arn: &'a str,
    ) -> Result<(ClusterName, ServiceName, &'a str), OperationError> {
        let parts: Vec<&str> = self.resource(arn).unwrap_or_default().split('/').collect();
        match parts.as_slice() {
            [named, cluster, service, id] if *named == kind => {
                Ok((ClusterName::parse(cluster)?, ServiceName::parse(service)?, id))
            }
            _ => Err(invalid_identifier(arn)),
        }
    }

    /// The part of an ARN of ours behind the account: `cluster/a`, `task/a/b`.
    pub(crate) fn resource<'a>(&self, arn: &'a str) -> Option<&'a str> {
        let rest = arn.strip_prefix("arn:aws:ecs:")?;
        let rest = rest.strip_prefix(self.region.as_str())?.strip_prefix(':')?;
        rest.strip_prefix(self.account.as_str())?.strip_prefix(':')
    }

    /// A cluster by name or ARN; without one, `default`.
    pub(crate) fn parse_cluster(&self, reference: Option<&str>) -> Result<ClusterName, OperationError> {
        let Some(reference) = reference else { return Ok(ClusterName::default()) };
        ClusterName::parse(self.last_part(reference, "cluster/")?)
    }

    /// A service by name or ARN in `cluster`. An ARN that names another cluster is refused.
    pub(crate) fn parse_service(
        &self,
        cluster: &ClusterName,
        reference: &str,
    ) -> Result<ServiceName, OperationError> {
        let name = self.last_part(reference, "service/")?;
        ServiceName::parse(in_cluster(cluster, name)?)
    }

    /// A task's id by id or ARN in `cluster`.
    pub(crate) fn parse_task(
        &self,
        cluster: &ClusterName,
        reference: &str,
    ) -> Result<TaskId, OperationError> {
        let id = in_cluster(cluster, self.last_part(reference, "task/")?)?;
        TaskId::parse(id).ok_or_else(|| {
            OperationError::invalid(format!("taskId must be 32 hexadecimal digits, but was {}", quoted(id)))
        })
    }

    /// A task definition by `family`, `family:revision` or ARN.
    pub(crate) fn parse_task_definition(
        &self,
        reference: &str,
    ) -> Result<TaskDefinitionReference, OperationError> {
        let text = match reference.starts_with("arn:") {
            true => self.resource(reference).and_then(|resource| resource.strip_prefix("task-definition/")),
            false => Some(reference),
        };
        let text = text.ok_or_else(|| invalid_identifier(reference))?;
        match text.split_once(':') {
            None => Ok(TaskDefinitionReference::Latest(Family::parse(text)?)),
            Some((family, revision)) => {
                let revision = revision.parse().ok().filter(|revision| *revision > 0);
                let revision = revision.ok_or_else(|| {
                    OperationError::client(format!("Invalid revision number. Number: {}", quoted(text)))
                })?;
                Ok(TaskDefinitionReference::Revision(TaskDefinitionId {
                    family: Family::parse(family)?,
                    revision,
                }))
            }
        }
    }

    fn last_part<'a>(&self, reference: &'a str, kind: &str) -> Result<&'a str, OperationError> {
        if !reference.starts_with("arn:") {
            return Ok(reference);
        }
        let part = self.resource(reference).and_then(|resource| resource.strip_prefix(kind));
        part.ok_or_else(|| invalid_identifier(reference))
    }
}

/// The name in `cluster/name`, or a bare `name`.
fn in_cluster<'a>(cluster: &ClusterName, text: &'a str) -> Result<&'a str, OperationError> {
    match text.split_once('/') {
        None => Ok(text),
        Some((named, rest)) if named == cluster.as_str() => Ok(rest),
        Some((named, _)) => Err(OperationError::invalid(format!(
            "Invalid identifier: Identifier is for cluster {named}. Your cluster is {cluster}"
        ))),
    }
}

pub(crate) fn invalid_identifier(reference: &str) -> OperationError {
    OperationError::invalid(format!(
        "Invalid identifier: {} is no ARN of the expected kind here.",
        quoted(reference)
    ))
}

/// A task definition as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskDefinitionReference {
    /// The newest ACTIVE revision.
    Latest(Family),
    /// One revision.
    Revision(TaskDefinitionId),
}

/// FNV-1a of 64 bits: the standard library's hasher may change with the compiler, and these digits are shown to people.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arns_mean_the_same() {
        let identity = Identity::default();
        let cluster = ClusterName::parse("blue").unwrap();
        let service = ServiceName::parse("web").unwrap();
        assert_eq!(identity.parse_cluster(Some(&identity.cluster(&cluster))).unwrap(), cluster);
        assert_eq!(identity.parse_cluster(None).unwrap().as_str(), "default");
        assert_eq!(identity.parse_service(&cluster, &identity.service(&cluster, &service)).unwrap(), service);
        assert_eq!(identity.parse_service(&cluster, "web").unwrap(), service);
        let id = TaskDefinitionId { family: Family::parse("web").unwrap(), revision: 3 };
        let parsed = identity.parse_task_definition(&identity.task_definition(&id)).unwrap();
        assert_eq!(parsed, TaskDefinitionReference::Revision(id));
    }

    #[test]
    fn an_arn_of_another_kind_account_or_cluster_is_refused() {
        let identity = Identity::default();
        let cluster = ClusterName::default();
        for arn in [
            "arn:aws:ecs:us-east-1:000000000000:service/default/a",
            "arn:aws:ecs:eu-west-1:000000000000:cluster/a",
            "arn:",
        ] {
            assert!(identity.parse_cluster(Some(arn)).is_err(), "{arn}");
        }
        let other =
            identity.service(&ClusterName::parse("other").unwrap(), &ServiceName::parse("web").unwrap());
        let error = identity.parse_service(&cluster, &other).unwrap_err().to_string();
        assert_eq!(error, "Invalid identifier: Identifier is for cluster other. Your cluster is default");
        for reference in ["web:0", "web:x", "web:1:2", "web:99999999999"] {
            assert!(identity.parse_task_definition(reference).is_err(), "{reference}");
        }
    }
}
