//! ECS's scheduling strategies: how many tasks a service is to have.

use serde::{Deserialize, Serialize};

use super::deployment::{DeploymentConfiguration, DeploymentLimits, DeploymentStrategy};
use super::publication::Publication;
use crate::error::OperationError;

/// Nodes of a cluster. There is one now.
pub const NODES: u32 = 1;

/// How many tasks a service is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SchedulingStrategy {
    /// As many as are asked for.
    #[default]
    Replica,
    /// One on each node.
    Daemon,
}

impl SchedulingStrategy {
    /// As ECS calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "REPLICA",
            Self::Daemon => "DAEMON",
        }
    }

    /// The limits of deployments that say none: ECS's for each. A node has no room for the old task of a daemon and the new one.
    pub(crate) fn limits(self) -> DeploymentLimits {
        match self {
            Self::Replica => DeploymentLimits::default(),
            Self::Daemon => DeploymentLimits { minimum_healthy_percent: 0, maximum_percent: 100 },
        }
    }

    /// Refuses what a daemon cannot be: how many tasks it has follows from the nodes, and they are there and nowhere else.
    pub(crate) fn check(
        self,
        configuration: &DeploymentConfiguration,
        publication: Option<&Publication>,
    ) -> Result<(), OperationError> {
        if self == Self::Replica {
            return Ok(());
        }
        if configuration.limits().maximum_percent > 100 {
            return Err(OperationError::invalid(
                "The daemon scheduling strategy does not support values above 100 for maximumPercent on a deployment configuration. Change the value to 100, and try again",
            ));
        }
        let strategy = configuration.strategy.unwrap_or_default();
        if strategy != DeploymentStrategy::Rolling {
            return Err(OperationError::invalid(format!(
                "The daemon scheduling strategy does not support the deployment strategy {}: deploymentConfiguration.strategy must be ROLLING.",
                strategy.as_str()
            )));
        }
        if publication.is_some_and(|publication| publication.scale_to_zero.is_some()) {
            return Err(OperationError::invalid(
                "The daemon scheduling strategy does not support the tag coracle.scale-to-zero: a daemon has a task on each node.",
            ));
        }
        Ok(())
    }
}
