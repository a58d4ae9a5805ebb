//! Deployments: how a service moves from one revision to another.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `configuration` | what a request says about deployments, checked |
//! | `breaker` | how many failures end a deployment |
//! | `strategy` | which strategies there are, and how each moves traffic |
//! | `pace` | times that ECS's fields are too coarse for |
//! | `hook` | what a deployment waits for between its steps |
//! | `record` | what is kept of deployments |
//! | `slot` | a service's two target groups |
//! | `transitions` | how deployments begin, complete and are given up |
//! | `stage` | how one goes that runs two revisions side by side |

mod breaker;
mod configuration;
mod hook;
pub mod pace;
mod record;
mod slot;
mod stage;
mod strategy;
mod transitions;

pub use breaker::{DeploymentCircuitBreaker, ThresholdConfiguration, ThresholdType};
pub use configuration::{
    CanaryConfiguration, DeploymentAlarms, DeploymentConfiguration, DeploymentLimits, LinearConfiguration,
};
pub use hook::{HookAction, HookTargetType, HookTimeoutConfiguration, LifecycleHook};
pub use pace::Pace;
pub use record::{
    BreakerTrip, DeploymentRecord, RollbackRecord, RolloutState, ServiceDeploymentRecord,
    ServiceDeploymentStatus, ServiceRevision, SourceRevision,
};
pub use slot::{ALL, Slot, Traffic};
pub use stage::{HookRun, HookStatus, LifecycleStage, Progress};
pub(crate) use stage::{Sight, Step};
pub use strategy::DeploymentStrategy;
pub(crate) use transitions::{Ending, GivenUp, NewIds};
