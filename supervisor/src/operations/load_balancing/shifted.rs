//! The rules whose requests services shift from one target group to the other, as they work now.

use std::collections::HashMap;

use crate::error::OperationError;
use crate::model::deployment::Slot;
use crate::model::load_balancing::action::{Action, ForwardConfig, TargetGroupTuple};
use crate::model::load_balancing::attachment::Attachment;
use crate::model::service::{ServiceRecord, Traffic};
use crate::records::{ServiceKey, keys};
use crate::supervisor::Supervisor;

/// Services count in thousandths, ELB in weights up to 999.
const PER_MILLE_OF_A_WEIGHT: u32 = 10;

/// By the rules' ARNs.
#[derive(Debug, Default)]
pub(super) struct Shifted(HashMap<String, (String, Action)>);

impl Shifted {
    /// What a rule does instead of what it was made to do.
    pub(super) fn action(&self, rule_arn: &str) -> Option<&Action> {
        self.0.get(rule_arn).map(|(_, action)| action)
    }

    /// The service whose rule it is.
    pub(super) fn service(&self, rule_arn: &str) -> Option<&str> {
        self.0.get(rule_arn).map(|(service, _)| service.as_str())
    }
}

impl Supervisor {
    pub(super) async fn shifted(&self) -> Result<Shifted, OperationError> {
        let mut shifted = HashMap::new();
        for service in self.records().list::<ServiceRecord>(keys::SERVICES).await? {
            let Some(attachment) = service.attachment() else { continue };
            let key = ServiceKey { cluster: service.cluster.clone(), name: service.name.clone() };
            let traffic = self.ingress().traffic(&key).unwrap_or(service.traffic);
            if let Some(rule) = &attachment.production_rule {
                shifted.insert(rule.clone(), (service.name.to_string(), production(attachment, traffic)));
            }
            if let Some(rule) = &attachment.test_rule {
                let action = Action::forward(attachment.group(traffic.test()));
                shifted.insert(rule.clone(), (service.name.to_string(), action));
            }
        }
        Ok(Shifted(shifted))
    }
}

fn production(attachment: &Attachment, traffic: Traffic) -> Action {
    let group = |slot: Slot| TargetGroupTuple {
        target_group_arn: attachment.group(slot).to_owned(),
        weight: Some(traffic.production(slot) / PER_MILLE_OF_A_WEIGHT),
    };
    let target_groups = [Slot::Blue, Slot::Green].map(group).into();
    let forward_config = Some(ForwardConfig { target_groups, target_group_stickiness_config: None });
    Action { target_group_arn: None, forward_config, ..Action::forward(attachment.group(Slot::Blue)) }
}
