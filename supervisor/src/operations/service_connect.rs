//! What services say of their names: checked against their task definition, their cluster and all other services.

use crate::error::OperationError;
use crate::model::names::ClusterName;
use crate::model::service::{ServiceRecord, ServiceStatus};
use crate::model::service_connect::{Offer, ServiceConnect, ServiceConnectConfiguration};
use crate::model::task_definition::{NetworkMode, TaskDefinitionContent};
use crate::records::{ServiceKey, keys};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// The place in a namespace of a service whose tasks are made from `content`.
    pub(super) async fn service_connect(
        &self,
        cluster: &ClusterName,
        configuration: Option<&ServiceConnectConfiguration>,
        content: &TaskDefinitionContent,
    ) -> Result<Option<ServiceConnect>, OperationError> {
        let Some(configuration) = configuration else { return Ok(None) };
        let defaults = self.records().cluster(cluster).await?.stored.service_connect_defaults;
        let default = defaults.as_ref().map(|defaults| defaults.namespace.as_str());
        let default = default.filter(|namespace| !namespace.is_empty());
        let connect = ServiceConnect::parse(configuration, default, content)?;
        if connect.is_some() && content.network_mode == NetworkMode::None {
            return Err(OperationError::invalid(
                "serviceConnectConfiguration.enabled must be false with the 'none' network mode, where nobody can be reached.",
            ));
        }
        Ok(connect)
    }

    /// Refuses names that another service of the namespace has.
    pub(super) async fn refuse_taken_names(
        &self,
        key: &ServiceKey,
        offers: &[Offer],
    ) -> Result<(), OperationError> {
        if offers.is_empty() {
            return Ok(());
        }
        let services: Vec<ServiceRecord> = self.records().list(keys::SERVICES).await?;
        let others = services.iter().filter(|other| {
            other.status == ServiceStatus::Active
                && (&other.cluster, &other.name) != (&key.cluster, &key.name)
        });
        for other in others {
            let both = |offer: &Offer| other.offers().iter().find_map(|theirs| offer.conflict(theirs));
            for (index, offer) in offers.iter().enumerate() {
                let Some(both) = both(offer) else { continue };
                return Err(OperationError::invalid(format!(
                    "serviceConnectConfiguration.services[{index}]: {both} is in use in the namespace {}, by the service {} of the cluster {}.",
                    offer.namespace, other.name, other.cluster
                )));
            }
        }
        Ok(())
    }
}
