//! The target groups that a service is given: what must be so before it is.

use crate::error::OperationError;
use crate::model::deployment::DeploymentStrategy;
use crate::model::load_balancing::attachment::Attachment;
use crate::model::service::{DeploymentConfiguration, ServiceRecord};
use crate::model::task_definition::TaskDefinitionContent;
use crate::records::{ServiceKey, keys};
use crate::store::{Compare, Transaction};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// Refuses target groups that are not there, get no requests, or are another service's. `create` holds only while they are there.
    pub(super) async fn check_attachment(
        &self,
        key: &ServiceKey,
        record: &ServiceRecord,
        mut create: Transaction,
    ) -> Result<Transaction, OperationError> {
        let Some(attachment) = record.attachment() else { return Ok(create) };
        let balancers = self.load_balancers().await?;
        for arn in attachment.groups() {
            let found = self.made_target_group(arn).await?;
            let found = found.ok_or_else(|| {
                OperationError::invalid(format!(
                    "The target group {arn} does not exist. DescribeTargetGroups lists those that do."
                ))
            })?;
            if balancers.iter().all(|balancer| !balancer.target_groups().contains(arn))
                && arn == attachment.target_group
            {
                return Err(OperationError::invalid(format!(
                    "The target group with targetGroupArn {arn} does not have an associated load balancer."
                )));
            }
            if let Some(other) = self
                .service_of(arn)
                .await?
                .filter(|other| other.name != key.name || other.cluster != key.cluster)
            {
                return Err(OperationError::invalid(format!(
                    "The target group {arn} is in use by the service {}: each has its own.",
                    other.name
                )));
            }
            create = create.when(Compare::Exists(keys::target_group(&found.value.name)));
        }
        for (field, rule) in [
            ("productionListenerRule", &attachment.production_rule),
            ("testListenerRule", &attachment.test_rule),
        ] {
            let Some(rule) = rule else { continue };
            let is = |of: &_, listener: &_, id: &str| self.identity().rule(of, listener, id) == *rule;
            let known = balancers.iter().any(|of| {
                of.listeners.iter().any(|listener| {
                    is(of, listener, &listener.default.id)
                        || listener.rules.iter().any(|known| is(of, listener, &known.id))
                })
            });
            if !known {
                return Err(OperationError::invalid(format!(
                    "loadBalancers[0].advancedConfiguration.{field} {rule} does not exist. DescribeRules lists the rules of a listener."
                )));
            }
        }
        Ok(create)
    }
}

impl Attachment {
    /// Refuses a task definition that has not the port.
    pub(super) fn check_definition(&self, content: &TaskDefinitionContent) -> Result<(), OperationError> {
        let container = content.container(&self.container).ok_or_else(|| {
            OperationError::invalid(format!(
                "The container {} does not exist in the task definition.",
                self.container
            ))
        })?;
        if container.port_mappings.iter().all(|mapping| mapping.container_port != Some(self.port)) {
            return Err(OperationError::invalid(format!(
                "The container {} did not have a container port {} defined.",
                self.container, self.port
            )));
        }
        Ok(())
    }

    /// Refuses deployments that need a second target group where there is one.
    pub(super) fn check_configuration(
        &self,
        configuration: &DeploymentConfiguration,
    ) -> Result<(), OperationError> {
        let strategy = configuration.strategy.unwrap_or_default();
        if strategy == DeploymentStrategy::Rolling || self.alternate.is_some() {
            return Ok(());
        }
        Err(OperationError::invalid(format!(
            "The deployment strategy {} needs loadBalancers[0].advancedConfiguration with alternateTargetGroupArn and productionListenerRule.",
            strategy.as_str()
        )))
    }
}
