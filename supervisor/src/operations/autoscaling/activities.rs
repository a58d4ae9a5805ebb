//! DescribeScalingActivities.
#![expect(
    missing_docs,
    reason = "requests and responses are AWS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};

use super::super::page;
use super::{ScalableResource, chosen, key_of};
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::scaling::ScalingState;
use crate::records::keys;
use crate::supervisor::Supervisor;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribeScalingActivitiesRequest {
    pub service_namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalable_dimension: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_not_scaled_activities: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeScalingActivitiesResponse {
    /// Newest first.
    pub scaling_activities: Vec<ScalingActivity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScalingActivity {
    pub activity_id: String,
    #[serde(flatten)]
    pub resource: ScalableResource,
    pub description: String,
    pub cause: String,
    pub start_time: Timestamp,
    pub end_time: Timestamp,
    pub status_code: String,
    pub status_message: String,
    /// How it was decided.
    pub details: String,
}

impl Supervisor {
    /// The newest scaling activities.
    pub async fn describe_scaling_activities(
        &self,
        request: DescribeScalingActivitiesRequest,
    ) -> Result<DescribeScalingActivitiesResponse, OperationError> {
        let key = chosen(
            &request.service_namespace,
            request.scalable_dimension.as_deref(),
            request.resource_id.as_deref(),
        )?;
        let mut described = std::collections::BTreeMap::new();
        for target in self.scalable_targets(key.as_ref()).await? {
            let key = key_of(&target);
            let resource = ScalableResource::of_key(&key);
            let state = self.records().get::<ScalingState>(&keys::scaling_state(&key)).await?;
            let activities = state.map(|found| found.value.activities).unwrap_or_default();
            let count = activities.len();
            for (index, activity) in activities.into_iter().enumerate() {
                let status_message = format!(
                    "{} Change successfully fulfilled by ecs.",
                    activity.description.replacen("Setting", "Successfully set", 1)
                );
                // In the order of time, and within one moment as they happened.
                let place = format!("{:020.3}|{:04}|{}", activity.at.seconds(), count - index, activity.id);
                let activity = ScalingActivity {
                    activity_id: activity.id,
                    resource: resource.clone(),
                    description: activity.description,
                    cause: activity.cause,
                    start_time: activity.at,
                    end_time: activity.at,
                    status_code: "Successful".to_owned(),
                    status_message,
                    details: activity.details,
                };
                described.insert(place, activity);
            }
        }
        let names = described.keys().rev().cloned().collect();
        let page = page(names, request.next_token.as_deref(), request.max_results, 50, true)?;
        let scaling_activities = page.items.iter().filter_map(|place| described.remove(place)).collect();
        Ok(DescribeScalingActivitiesResponse { scaling_activities, next_token: page.next_token })
    }
}
