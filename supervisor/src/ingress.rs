//! Which services are published, and where.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::driver::{Driver, PublishError, TargetGroup};
use crate::model::arn::Identity;
use crate::model::publication::Publication;
use crate::records::ServiceKey;

/// Requests in flight when a deleted service's listener closes: its tasks are gone by then, so there is hardly anything to wait for.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// The published services of this node.
#[derive(Debug)]
pub(crate) struct Ingress {
    driver: Arc<dyn Driver>,
    identity: Identity,
    endpoints: Mutex<HashMap<ServiceKey, SocketAddr>>,
}

impl Ingress {
    pub(crate) fn new(driver: Arc<dyn Driver>, identity: Identity) -> Self {
        Self { driver, identity, endpoints: Mutex::default() }
    }

    /// The target group of a published service.
    pub(crate) fn group(&self, key: &ServiceKey, publication: &Publication) -> TargetGroup {
        TargetGroup {
            arn: self.identity.target_group(&key.cluster, &key.name),
            name: key.name.to_string(),
            publication: publication.clone(),
        }
    }

    pub(crate) async fn publish(
        &self,
        key: &ServiceKey,
        publication: &Publication,
    ) -> Result<SocketAddr, PublishError> {
        let address = self.driver.publish(&self.group(key, publication)).await?;
        self.lock().insert(key.clone(), address);
        Ok(address)
    }

    pub(crate) async fn unpublish(&self, key: &ServiceKey) {
        if self.lock().remove(key).is_some() {
            self.driver.unpublish(&self.identity.target_group(&key.cluster, &key.name), CLOSE_DEADLINE).await;
        }
    }

    /// Closes every listener, all at the same time.
    pub(crate) async fn close(&self, deadline: Duration) {
        let keys: Vec<ServiceKey> = self.lock().drain().map(|(key, _)| key).collect();
        let closing = keys.iter().map(|key| async {
            self.driver.unpublish(&self.identity.target_group(&key.cluster, &key.name), deadline).await;
        });
        futures_util::future::join_all(closing).await;
    }

    pub(crate) fn endpoint(&self, key: &ServiceKey) -> Option<SocketAddr> {
        self.lock().get(key).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ServiceKey, SocketAddr>> {
        // Guards single map operations, which leave a sound map even if one panics.
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
