//! PutScheduledAction, DeleteScheduledAction, DescribeScheduledActions.
#![expect(
    missing_docs,
    reason = "requests and responses are AWS's own: its API reference documents their fields"
)]

use std::collections::BTreeMap;

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::super::page;
use super::targets::capacity;
use super::{ScalableResource, check_name, chosen, key_of};
use crate::autoscaling::uuid;
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::scaling::{MAX_SCHEDULED_ACTIONS, ScalableTarget, ScheduledAction};
use crate::model::schedule::Schedule;
use crate::records::keys;
use crate::supervisor::Supervisor;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutScheduledActionRequest {
    pub service_namespace: String,
    pub resource_id: String,
    pub scalable_dimension: String,
    pub scheduled_action_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalable_target_action: Option<ScalableTargetAction>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ScalableTargetAction {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_capacity: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_capacity: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PutScheduledActionResponse {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteScheduledActionRequest {
    pub service_namespace: String,
    pub resource_id: String,
    pub scalable_dimension: String,
    pub scheduled_action_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeleteScheduledActionResponse {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribeScheduledActionsRequest {
    pub service_namespace: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduled_action_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalable_dimension: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeScheduledActionsResponse {
    pub scheduled_actions: Vec<DescribedAction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribedAction {
    pub scheduled_action_name: String,
    #[serde(rename = "ScheduledActionARN")]
    pub scheduled_action_arn: String,
    #[serde(flatten)]
    pub resource: ScalableResource,
    pub schedule: String,
    pub timezone: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    pub scalable_target_action: ScalableTargetAction,
    pub creation_time: Timestamp,
}

impl Supervisor {
    /// Creates a scheduled action, or changes the one of this name: what is not given of one that exists stays.
    pub async fn put_scheduled_action(
        &self,
        request: PutScheduledActionRequest,
    ) -> Result<PutScheduledActionResponse, OperationError> {
        check_name("ScheduledActionName", &request.scheduled_action_name)?;
        let resource = ScalableResource::named(
            request.service_namespace,
            request.resource_id,
            request.scalable_dimension,
        );
        let key = resource.key()?;
        let bounds = request.scalable_target_action.unwrap_or_default();
        let min = bounds.min_capacity.map(|count| capacity("MinCapacity", count)).transpose()?;
        let max = bounds.max_capacity.map(|count| capacity("MaxCapacity", count)).transpose()?;
        if min.zip(max).is_some_and(|(min, max)| min > max) {
            return Err(OperationError::invalid("Maximum capacity cannot be less than minimum capacity."));
        }
        let now = self.now();
        let put = |target: &mut ScalableTarget| {
            let known = target.actions.get(&request.scheduled_action_name);
            let expression =
                request.schedule.as_deref().or_else(|| known.map(|known| known.schedule.expression()));
            let expression = expression.ok_or_else(|| {
                OperationError::invalid("Schedule must be given for a new scheduled action.")
            })?;
            let zone = request.timezone.as_deref().or_else(|| known.map(|known| known.schedule.timezone()));
            let schedule = Schedule::parse(expression, zone)?;
            let action = ScheduledAction {
                id: match known {
                    Some(known) => known.id.clone(),
                    None => self.shared().random(|rng| uuid(rng.random())),
                },
                created_at: known.map_or(now, |known| known.created_at),
                start_at: request.start_time.or_else(|| known.and_then(|known| known.start_at)),
                end_at: request.end_time.or_else(|| known.and_then(|known| known.end_at)),
                min_capacity: min.or_else(|| known.and_then(|known| known.min_capacity)),
                max_capacity: max.or_else(|| known.and_then(|known| known.max_capacity)),
                done_until: now,
                schedule,
            };
            if action.min_capacity.is_none() && action.max_capacity.is_none() {
                return Err(OperationError::invalid(
                    "ScalableTargetAction must have MinCapacity, MaxCapacity or both.",
                ));
            }
            if known.is_none() && target.actions.len() >= MAX_SCHEDULED_ACTIONS {
                return Err(OperationError::LimitExceeded(format!(
                    "A scalable target can have at most {MAX_SCHEDULED_ACTIONS} scheduled actions."
                )));
            }
            target.actions.insert(request.scheduled_action_name.clone(), action);
            Ok(Some(()))
        };
        let missing = || resource.missing("scalable target");
        self.records().update(&keys::scalable_target(&key), missing, put).await?;
        Ok(PutScheduledActionResponse {})
    }

    /// Deletes a scheduled action.
    pub async fn delete_scheduled_action(
        &self,
        request: DeleteScheduledActionRequest,
    ) -> Result<DeleteScheduledActionResponse, OperationError> {
        let resource = ScalableResource::named(
            request.service_namespace,
            request.resource_id,
            request.scalable_dimension,
        );
        let key = resource.key()?;
        let missing = || resource.missing("scheduled action");
        let delete = |target: &mut ScalableTarget| {
            target.actions.remove(&request.scheduled_action_name).ok_or_else(missing)?;
            Ok(Some(()))
        };
        self.records().update(&keys::scalable_target(&key), missing, delete).await?;
        Ok(DeleteScheduledActionResponse {})
    }

    /// The scheduled actions there are, or those that are named.
    pub async fn describe_scheduled_actions(
        &self,
        request: DescribeScheduledActionsRequest,
    ) -> Result<DescribeScheduledActionsResponse, OperationError> {
        let key = chosen(
            &request.service_namespace,
            request.scalable_dimension.as_deref(),
            request.resource_id.as_deref(),
        )?;
        let mut described = BTreeMap::new();
        for target in self.scalable_targets(key.as_ref()).await? {
            let resource = ScalableResource::of_key(&key_of(&target));
            for (name, action) in target.actions {
                if !request.scheduled_action_names.is_empty()
                    && !request.scheduled_action_names.contains(&name)
                {
                    continue;
                }
                let bounds = ScalableTargetAction {
                    min_capacity: action.min_capacity.map(Into::into),
                    max_capacity: action.max_capacity.map(Into::into),
                };
                let place = format!("{}|{name}", resource.resource_id);
                let action = DescribedAction {
                    scheduled_action_arn: self.scaling_arn("scheduledAction", &action.id, &resource, &name),
                    scheduled_action_name: name,
                    resource: resource.clone(),
                    schedule: action.schedule.expression().to_owned(),
                    timezone: action.schedule.timezone().to_owned(),
                    start_time: action.start_at,
                    end_time: action.end_at,
                    scalable_target_action: bounds,
                    creation_time: action.created_at,
                };
                described.insert(place, action);
            }
        }
        let names = described.keys().cloned().collect();
        let page = page(names, request.next_token.as_deref(), request.max_results, 50, false)?;
        let scheduled_actions = page.items.iter().filter_map(|name| described.remove(name)).collect();
        Ok(DescribeScheduledActionsResponse { scheduled_actions, next_token: page.next_token })
    }
}
