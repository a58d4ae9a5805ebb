//! The history of a service's deployments, written in the transaction that changes the service: the two never tell different stories.

use super::{ServiceKey, encode, keys};
use crate::model::deployment::ServiceDeploymentRecord;
use crate::model::service::ServiceRecord;
use crate::store::Transaction;

/// Service deployments that are kept of a service. ECS keeps those of 90 days.
const KEPT: u64 = 100;

/// What a service's change from a state with the deployment `before` adds to its history.
pub(super) fn changes(
    key: &ServiceKey,
    before: Option<&ServiceDeploymentRecord>,
    after: &ServiceRecord,
) -> Transaction {
    let current = &after.service_deployment;
    let mut write = Transaction::new();
    if before == Some(current) {
        return write;
    }
    if let Some(replaced) = before.filter(|before| before.id != current.id) {
        let replaced = replaced.clone().superseded(current.created_at);
        write = write.put(keys::service_deployment(key, replaced.number), encode(&replaced));
        if let Some(oldest) = current.number.checked_sub(KEPT) {
            write = write.delete(keys::service_deployment(key, oldest));
        }
    }
    write.put(keys::service_deployment(key, current.number), encode(current))
}
