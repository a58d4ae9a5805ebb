//! What a rule does with a request.

use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{FixedResponse, Forward, Redirect, TargetGroup};
use serde::{Deserialize, Serialize};

use super::{lenient, refused};
use crate::error::OperationError;

/// ELB's default of `TargetGroupStickinessConfig.DurationSeconds`, where stickiness is enabled.
const STICKINESS: u32 = 3_600;

/// One action, as ELBv2 writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Action {
    /// Which of the three it is.
    #[serde(rename = "Type")]
    pub kind: ActionType,
    /// Of `forward`, where there is one target group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group_arn: Option<String>,
    /// Of `forward`, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_config: Option<ForwardConfig>,
    /// Of `redirect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_config: Option<RedirectConfig>,
    /// Of `fixed-response`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_response_config: Option<FixedResponseConfig>,
    /// Its place among several, which there never are.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub order: Option<u32>,
}

/// The actions that end a request. Those that ask for a log-in are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionType {
    /// To a target.
    Forward,
    /// To another address.
    Redirect,
    /// Answered by the load balancer itself.
    FixedResponse,
}

/// Target groups by weight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct ForwardConfig {
    /// 1 to 5.
    pub target_groups: Vec<TargetGroupTuple>,
    /// Whether a client stays with the group that it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_group_stickiness_config: Option<StickinessConfig>,
}

/// A target group and its weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TargetGroupTuple {
    /// The group.
    pub target_group_arn: String,
    /// 0 to 999; 1 if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub weight: Option<u32>,
}

/// Whether a client stays with a target group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct StickinessConfig {
    /// Off by default.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub enabled: Option<bool>,
    /// 1 to 604,800; an hour by default.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub duration_seconds: Option<u32>,
}

/// Where a client is sent. What is not given stays as it is in the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "the fields are ELBv2's own: its API reference documents them under these names"
)]
pub struct RedirectConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    pub status_code: String,
}

/// What a client is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "the fields are ELBv2's own: its API reference documents them under these names"
)]
pub struct FixedResponseConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_body: Option<String>,
    pub status_code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

impl Action {
    /// Everything to one target group.
    pub fn forward(target_group_arn: impl Into<String>) -> Self {
        Self {
            kind: ActionType::Forward,
            target_group_arn: Some(target_group_arn.into()),
            forward_config: None,
            redirect_config: None,
            fixed_response_config: None,
            order: None,
        }
    }

    /// The one action that a rule has. `field` is the request's name for them.
    pub(crate) fn only(field: &str, actions: Vec<Self>) -> Result<Self, OperationError> {
        let count = actions.len();
        let mut actions = actions.into_iter();
        match (actions.next(), actions.next()) {
            (Some(action), None) => Ok(action),
            _ => Err(refused(format!("{field} must be one action, not {count}"))),
        }
    }

    /// The target groups that it names, with their weights.
    pub fn target_groups(&self) -> Vec<(&str, u32)> {
        match (&self.forward_config, &self.target_group_arn) {
            _ if self.kind != ActionType::Forward => Vec::new(),
            (Some(config), _) if !config.target_groups.is_empty() => {
                let weighted = |group: &TargetGroupTuple| group.weight.unwrap_or(1);
                config
                    .target_groups
                    .iter()
                    .map(|group| (group.target_group_arn.as_str(), weighted(group)))
                    .collect()
            }
            (_, Some(arn)) => vec![(arn.as_str(), 1)],
            (_, None) => Vec::new(),
        }
    }

    /// The same as the balancer takes it. `group`: the target group of an ARN, if there is one. The error names a field.
    pub fn compile(
        &self,
        group: impl Fn(&str) -> Option<Arc<TargetGroup>>,
    ) -> Result<coracle_balancer::Action, String> {
        match self.kind {
            ActionType::Forward => self.compile_forward(group),
            ActionType::Redirect => {
                let config = self.redirect_config.as_ref().ok_or("RedirectConfig is missing")?;
                let parts = [
                    ("Protocol", &config.protocol),
                    ("Host", &config.host),
                    ("Port", &config.port),
                    ("Path", &config.path),
                    ("Query", &config.query),
                ];
                let parts = parts.iter().filter_map(|(name, part)| Some((*name, part.as_deref()?)));
                let redirect = Redirect::new(&config.status_code, parts);
                Ok(coracle_balancer::Action::Redirect(redirect.map_err(|error| error.to_string())?))
            }
            ActionType::FixedResponse => {
                let config = self.fixed_response_config.as_ref().ok_or("FixedResponseConfig is missing")?;
                let status = config.status_code.parse().map_err(|_| {
                    format!(
                        "FixedResponseConfig.StatusCode: {:?} is not a 2xx, 4xx or 5xx code",
                        config.status_code
                    )
                })?;
                let body = config.message_body.as_deref().unwrap_or_default();
                let answer = FixedResponse::new(status, config.content_type.as_deref(), body);
                Ok(coracle_balancer::Action::FixedResponse(answer.map_err(|error| error.to_string())?))
            }
        }
    }

    fn compile_forward(
        &self,
        group: impl Fn(&str) -> Option<Arc<TargetGroup>>,
    ) -> Result<coracle_balancer::Action, String> {
        let found = |(arn, weight): (&str, u32)| {
            let group = group(arn).ok_or_else(|| format!("Target group '{arn}' not found"))?;
            Ok((group, weight))
        };
        let groups = self.target_groups().into_iter().map(found).collect::<Result<Vec<_>, String>>()?;
        let config = self.forward_config.as_ref();
        let sticky = config.and_then(|config| config.target_group_stickiness_config.as_ref());
        let sticky = sticky.filter(|sticky| sticky.enabled == Some(true));
        let sticky = sticky.map(|sticky| sticky.duration_seconds.unwrap_or(STICKINESS));
        let forward = match (groups.as_slice(), sticky) {
            ([], _) => return Err("TargetGroupArn is missing".to_owned()),
            ([(group, 1)], None) => Forward::from(Arc::clone(group)),
            _ => Forward::weighted(groups, sticky.map(|seconds| Duration::from_secs(seconds.into())))
                .map_err(|error| error.to_string())?,
        };
        Ok(coracle_balancer::Action::Forward(forward))
    }
}
