//! The target groups that a service is given, as ECS's `loadBalancers` say it.

use serde::{Deserialize, Serialize};

use crate::error::OperationError;
use crate::model::deployment::Slot;
use crate::model::service::LoadBalancer;

/// Target groups that exist beforehand, and where their requests come to in a service's tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// ARN of the target group that the service begins with.
    pub target_group: String,
    /// ARN of the other, for deployments that run two revisions side by side.
    pub alternate: Option<String>,
    /// The container that gets the requests.
    pub container: String,
    /// Its port.
    pub port: u16,
    /// ARN of the rule whose requests such deployments shift from one group to the other.
    pub production_rule: Option<String>,
    /// ARN of the rule that reaches the new revision first.
    pub test_rule: Option<String>,
}

impl Attachment {
    /// Reads a service's `loadBalancers`, of which there is at most one here.
    pub fn parse(load_balancers: &[LoadBalancer]) -> Result<Option<Self>, OperationError> {
        let [given] = load_balancers else {
            return match load_balancers.len() {
                0 => Ok(None),
                several => Err(OperationError::invalid(format!(
                    "loadBalancers must be one target group at most, not {several}."
                ))),
            };
        };
        let missing = |field: &str| OperationError::invalid(format!("loadBalancers[0].{field} is missing."));
        if given.target_group_arn.is_empty() {
            return Err(missing("targetGroupArn"));
        }
        let advanced = given.advanced_configuration.clone().unwrap_or_default();
        if given.advanced_configuration.is_some() {
            for (field, value) in [
                ("alternateTargetGroupArn", &advanced.alternate_target_group_arn),
                ("productionListenerRule", &advanced.production_listener_rule),
            ] {
                if value.is_none() {
                    return Err(missing(&format!("advancedConfiguration.{field}")));
                }
            }
        }
        if advanced.alternate_target_group_arn.as_ref() == Some(&given.target_group_arn) {
            return Err(OperationError::invalid(
                "loadBalancers[0].advancedConfiguration.alternateTargetGroupArn must be another target group than targetGroupArn.",
            ));
        }
        Ok(Some(Self {
            target_group: given.target_group_arn.clone(),
            alternate: advanced.alternate_target_group_arn,
            container: given.container_name.clone().ok_or_else(|| missing("containerName"))?,
            port: given.container_port.ok_or_else(|| missing("containerPort"))?,
            production_rule: advanced.production_listener_rule,
            test_rule: advanced.test_listener_rule,
        }))
    }

    /// The target group of a slot.
    pub fn group(&self, slot: Slot) -> &str {
        match (slot, &self.alternate) {
            (Slot::Green, Some(alternate)) => alternate,
            // Without another there are no deployments that would use the second slot.
            _ => &self.target_group,
        }
    }

    /// All its target groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        [Some(self.target_group.as_str()), self.alternate.as_deref()].into_iter().flatten()
    }
}
