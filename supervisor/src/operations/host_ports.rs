//! Host ports, of which a node has each once: a task that asks for one by number can only run where no other has it.

use std::collections::BTreeSet;

use super::Failure;
use crate::model::names::ClusterName;
use crate::model::task::TaskRecord;
use crate::model::task_definition::{NetworkMode, TaskDefinition, TaskDefinitionId, TransportProtocol};
use crate::records::keys;
use crate::store::StoreError;
use crate::supervisor::{Shared, Supervisor};

type HostPort = (u16, TransportProtocol);

impl Supervisor {
    /// What RunTask answers for a copy that is not placed. ECS: "RESOURCE:PORTS", with the instance that has no room.
    pub(super) fn no_free_ports(&self, cluster: &ClusterName) -> Failure {
        let arn = self.identity().container_instance(cluster, self.node());
        Failure { arn: Some(arn), reason: "RESOURCE:PORTS".to_owned(), detail: None }
    }
}

/// How many of `count` copies of a task find their host ports free on this node. (Two that are asked for at the same moment may both be let through;
/// the later one then fails as it starts.)
pub(crate) async fn copies_with_free_ports(
    shared: &Shared,
    definition: &TaskDefinition,
    count: usize,
) -> Result<usize, StoreError> {
    let wanted = chosen_ports(definition);
    if wanted.is_empty() {
        return Ok(count);
    }
    let taken = taken_ports(shared).await?;
    // A second copy would want the first one's.
    Ok(if wanted.is_disjoint(&taken) { count.min(1) } else { 0 })
}

/// Of all tasks of this node that are not over, of whichever cluster: one that is stopping has its ports still.
async fn taken_ports(shared: &Shared) -> Result<BTreeSet<HostPort>, StoreError> {
    let mut tasks: Vec<TaskRecord> = shared.records.list(keys::STANDALONE_TASKS).await?;
    tasks.extend(shared.records.list::<TaskRecord>(keys::SERVICE_TASKS).await?);
    let here = tasks.into_iter().filter(|task| task.node == shared.node);
    let definitions: BTreeSet<TaskDefinitionId> = here.map(|task| task.task_definition).collect();
    let mut taken = BTreeSet::new();
    for id in definitions {
        if let Some(definition) = shared.records.task_definition(&id).await? {
            taken.extend(chosen_ports(&definition));
        }
    }
    Ok(taken)
}

/// The ports of the host that a definition asks for by number.
fn chosen_ports(definition: &TaskDefinition) -> BTreeSet<HostPort> {
    let content = &definition.content;
    let mappings = content.container_definitions.iter().flat_map(|container| &container.port_mappings);
    mappings
        .filter_map(|mapping| {
            let port = match content.network_mode {
                NetworkMode::Bridge => mapping.host_port.filter(|port| *port != 0),
                NetworkMode::Host => mapping.container_port,
                // At the task's own address.
                NetworkMode::Awsvpc | NetworkMode::None => None,
            };
            Some((port?, mapping.protocol))
        })
        .collect()
}
