//! Deployments: how a service moves from one revision to another.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `configuration` | what a request says about deployments, checked |
//! | `breaker` | how many failures end a deployment |
//! | `strategy` | which strategies there are |
//! | `hook` | what a deployment waits for between its steps |

mod breaker;
mod configuration;
mod hook;
mod strategy;

pub use breaker::{DeploymentCircuitBreaker, ThresholdConfiguration, ThresholdType};
pub use configuration::{
    CanaryConfiguration, DeploymentAlarms, DeploymentConfiguration, DeploymentLimits, LinearConfiguration,
};
pub use hook::{HookAction, HookStage, HookTargetType, HookTimeoutConfiguration, LifecycleHook};
pub use strategy::DeploymentStrategy;
