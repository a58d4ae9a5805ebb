//! The end of a deleted service.

use crate::error::OperationError;
use crate::model::service::ServiceStatus;
use crate::records::{ServiceKey, encode, keys};
use crate::store::Transaction;
use crate::supervisor::Shared;

/// Closes the listeners and moves the service's record to those that are INACTIVE.
pub(super) async fn end_service(
    shared: &Shared,
    key: &ServiceKey,
    forget: Option<&ServiceKey>,
) -> Result<(), OperationError> {
    shared.ingress.unpublish(key).await;
    let Some(found) = shared.records.service(key).await? else { return Ok(()) };
    if found.value.status != ServiceStatus::Draining {
        return Ok(());
    }
    let mut record = found.value;
    record.status = ServiceStatus::Inactive;
    let seen = crate::view::ServiceObservation {
        tasks: &[],
        events: shared.records.events(key).await?,
        failed_tasks: shared.records.failed_tasks(key).await?,
        load_balancer: None,
    };
    let inactive = crate::view::service(&shared.config.identity, &record, seen);
    let mut tidy = Transaction::new()
        .put(keys::inactive_service(key), encode(&inactive))
        .delete(keys::failed_tasks(key))
        .delete(keys::asleep(key));
    for event in shared.records.store.range(&keys::events(key)).await? {
        tidy = tidy.delete(&*event.key);
    }
    if let Some(forgotten) = forget {
        tidy = tidy.delete(keys::inactive_service(forgotten));
    }
    // First the INACTIVE one, then the end of the other: there is no moment in which the service is unknown.
    shared.records.commit(tidy).await?;
    let mut end = Transaction::new().delete(keys::service(key));
    for deployment in shared.records.store.range(&keys::service_deployments(key)).await? {
        end = end.delete(&*deployment.key);
    }
    shared.records.commit(end).await?;
    Ok(())
}
