//! Which services are published, where, and under which names others find them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::driver::{Driver, PublishError, Routing, TargetGroup};
use crate::model::arn::Identity;
use crate::model::deployment::{Slot, Traffic};
use crate::model::publication::Publication;
use crate::model::service_connect::Offer;
use crate::records::ServiceKey;

/// Requests in flight when a deleted service's listener closes: its tasks are gone by then, so there is hardly anything to wait for.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// The published services of this node.
#[derive(Debug)]
pub(crate) struct Ingress {
    driver: Arc<dyn Driver>,
    identity: Identity,
    endpoints: Mutex<HashMap<ServiceKey, Endpoint>>,
}

#[derive(Debug)]
struct Endpoint {
    /// Its listener's; none where it is only found by name.
    address: Option<SocketAddr>,
    /// Where its requests go now; none before that was said.
    traffic: Option<Traffic>,
    /// What it is found by.
    offers: Vec<Offer>,
    /// Its target group, where that is not its own and stays when it goes.
    attached_to: Option<Box<TargetGroup>>,
}

impl Ingress {
    pub(crate) fn new(driver: Arc<dyn Driver>, identity: Identity) -> Self {
        Self { driver, identity, endpoints: Mutex::default() }
    }

    /// One of the target groups of a published service.
    pub(crate) fn group(&self, key: &ServiceKey, publication: &Publication, slot: Slot) -> TargetGroup {
        let arn = match &publication.attachment {
            Some(attachment) => attachment.group(slot).to_owned(),
            None => self.identity.target_group(&key.cluster, &key.name, slot),
        };
        TargetGroup { arn, name: key.name.to_string(), publication: publication.clone() }
    }

    /// Opens a service's listeners, and sends its requests where they belong.
    pub(crate) async fn publish(
        &self,
        key: &ServiceKey,
        publication: &Publication,
        traffic: Traffic,
    ) -> Result<(), PublishError> {
        let group = self.group(key, publication, Slot::Blue);
        let address = self.driver.publish(&group).await?;
        // A group of its own is made so that it sends requests where they go by default; others' rules have to be told.
        let known = publication.attachment.is_none().then(Traffic::default);
        let attached_to = publication.attachment.is_some().then(|| Box::new(group));
        let begins_with = Endpoint { address, traffic: known, offers: Vec::new(), attached_to };
        self.lock().entry(key.clone()).or_insert(begins_with);
        self.route(key, publication, traffic);
        Ok(())
    }

    /// Has a published service found by what it offers, and by nothing else.
    pub(crate) fn announce(&self, key: &ServiceKey, publication: &Publication, offers: &[Offer]) {
        // Held to the end: what is noted is what is so.
        let mut endpoints = self.lock();
        let Some(endpoint) = endpoints.get_mut(key).filter(|endpoint| endpoint.offers != offers) else {
            return;
        };
        self.driver.announce(&self.group(key, publication, Slot::Blue), offers);
        endpoint.offers = offers.to_vec();
    }

    /// Whether a service gets requests.
    pub(crate) fn is_published(&self, key: &ServiceKey) -> bool {
        self.lock().contains_key(key)
    }

    /// Sends a published service's requests where `traffic` says. From the answer on none goes elsewhere any more.
    pub(crate) fn route(&self, key: &ServiceKey, publication: &Publication, traffic: Traffic) {
        // Held to the end: what is noted is what is so.
        let mut endpoints = self.lock();
        let Some(endpoint) = endpoints.get_mut(key).filter(|endpoint| endpoint.traffic != Some(traffic))
        else {
            return;
        };
        let group = |slot| self.group(key, publication, slot);
        let production = [Slot::Blue, Slot::Green].map(|slot| (group(slot), traffic.production(slot)));
        let routing = Routing {
            production: production.into_iter().filter(|(_, share)| *share > 0).collect(),
            test: group(traffic.test()),
        };
        self.driver.route(&group(Slot::Blue), &routing);
        endpoint.traffic = Some(traffic);
    }

    /// Resolves when a request waits for the first task of a published service.
    pub(crate) fn demand(
        &self,
        key: &ServiceKey,
        publication: &Publication,
        slot: Slot,
    ) -> BoxFuture<'static, ()> {
        self.driver.demand(&self.group(key, publication, slot))
    }

    /// Where a published service's requests go now.
    pub(crate) fn traffic(&self, key: &ServiceKey) -> Option<Traffic> {
        self.lock().get(key).and_then(|endpoint| endpoint.traffic)
    }

    pub(crate) async fn unpublish(&self, key: &ServiceKey) {
        let endpoint = self.lock().remove(key);
        if let Some(endpoint) = endpoint {
            self.take_down(key, endpoint, CLOSE_DEADLINE).await;
        }
    }

    async fn take_down(&self, key: &ServiceKey, endpoint: Endpoint, deadline: Duration) {
        match endpoint.attached_to {
            Some(group) => self.driver.detach(&group),
            None => self.driver.unpublish(&self.groups(key), deadline).await,
        }
    }

    fn groups(&self, key: &ServiceKey) -> [String; 2] {
        [Slot::Blue, Slot::Green].map(|slot| self.identity.target_group(&key.cluster, &key.name, slot))
    }

    /// Closes every listener, all at the same time.
    pub(crate) async fn close(&self, deadline: Duration) {
        let endpoints: Vec<(ServiceKey, Endpoint)> = self.lock().drain().collect();
        let closing = endpoints.into_iter().map(|(key, endpoint)| async move {
            self.take_down(&key, endpoint, deadline).await;
        });
        futures_util::future::join_all(closing).await;
    }

    pub(crate) fn endpoint(&self, key: &ServiceKey) -> Option<SocketAddr> {
        self.lock().get(key).and_then(|endpoint| endpoint.address)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ServiceKey, Endpoint>> {
        // Guards single map operations, which leave a sound map even if one panics.
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
