//! Life-cycle hooks: what a deployment waits for at a stage.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LifecycleStage;
use super::configuration::refuse;
use crate::error::OperationError;
use crate::model::names::quoted;

/// ECS: "Default: 1440 (24 hours)".
const DEFAULT_TIMEOUT_MINUTES: i64 = 1440;
/// ECS: 1 to 20160.
const MAX_TIMEOUT_MINUTES: i64 = 20_160;
/// Most hooks of one service.
const MAX_HOOKS: usize = 20;

/// One of ECS's `lifecycleHooks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LifecycleHook {
    /// `AWS_LAMBDA` unless said: here, a URL that is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_type: Option<HookTargetType>,
    /// Here, an `http://` URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_target_arn: Option<String>,
    /// Kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The stages at which it runs: all but SCALE_UP, BAKE_TIME and CLEAN_UP.
    pub lifecycle_stages: Vec<LifecycleStage>,
    /// Sent with each call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_details: Option<Value>,
    /// How long it may take, and what then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_configuration: Option<HookTimeoutConfiguration>,
}

/// What a hook is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HookTargetType {
    /// Something that is called and answers.
    #[default]
    AwsLambda,
    /// A person, who says ContinueServiceDeployment.
    Pause,
}

/// How long a hook may take, and what then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HookTimeoutConfiguration {
    /// 1 to 20160; 1440 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_in_minutes: Option<i64>,
    /// `ROLLBACK` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<HookAction>,
}

/// How a deployment goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HookAction {
    /// Back to the revision before.
    #[default]
    Rollback,
    /// To the next stage.
    Continue,
}

impl LifecycleHook {
    /// What it is.
    pub fn kind(&self) -> HookTargetType {
        self.target_type.unwrap_or_default()
    }

    /// How long it may take.
    pub fn timeout(&self) -> Duration {
        let configured = self.timeout_configuration.and_then(|timeout| timeout.timeout_in_minutes);
        let minutes = configured.unwrap_or(DEFAULT_TIMEOUT_MINUTES);
        Duration::from_secs(u64::try_from(minutes).unwrap_or(0) * 60)
    }

    /// What happens when it takes longer.
    pub fn timeout_action(&self) -> HookAction {
        self.timeout_configuration.and_then(|timeout| timeout.action).unwrap_or_default()
    }

    fn validate(&self, field: &str) -> Result<(), OperationError> {
        if self.lifecycle_stages.is_empty() {
            return Err(refuse(&format!("{field}.lifecycleStages"), "at least one stage", "none"));
        }
        let stages = self.lifecycle_stages.iter().enumerate();
        if let Some((index, stage)) = stages.into_iter().find(|(_, stage)| !stage.takes_hooks()) {
            let field = format!("{field}.lifecycleStages[{index}]");
            return Err(refuse(&field, "a stage that hooks run at", stage.name()));
        }
        let target = format!("{field}.hookTargetArn");
        match (self.kind(), self.hook_target_arn.as_deref()) {
            (HookTargetType::Pause, None) => {}
            (HookTargetType::Pause, Some(_)) => {
                return Err(refuse(&target, "absent for a PAUSE hook", "given"));
            }
            (HookTargetType::AwsLambda, None) => {
                return Err(refuse(&target, "an http:// URL that is called", "absent"));
            }
            (HookTargetType::AwsLambda, Some(url)) => {
                let parsed = url.parse::<http::Uri>().ok();
                let is_http = |uri: &http::Uri| uri.scheme_str() == Some("http") && uri.host().is_some();
                if !parsed.as_ref().is_some_and(is_http) {
                    let allowed = "an http:// URL, which is called in place of a Lambda function";
                    return Err(refuse(&target, allowed, quoted(url)));
                }
            }
        }
        let minutes = self.timeout_configuration.and_then(|timeout| timeout.timeout_in_minutes);
        match minutes.filter(|minutes| !(1..=MAX_TIMEOUT_MINUTES).contains(minutes)) {
            None => Ok(()),
            Some(minutes) => {
                let field = format!("{field}.timeoutConfiguration.timeoutInMinutes");
                Err(refuse(&field, &format!("1 to {MAX_TIMEOUT_MINUTES}"), minutes))
            }
        }
    }
}

pub(super) fn validate(hooks: &[LifecycleHook]) -> Result<(), OperationError> {
    if hooks.len() > MAX_HOOKS {
        return Err(refuse("lifecycleHooks", &format!("at most {MAX_HOOKS} hooks"), hooks.len()));
    }
    hooks.iter().enumerate().try_for_each(|(index, hook)| hook.validate(&format!("lifecycleHooks[{index}]")))
}
