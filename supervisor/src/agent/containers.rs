//! The order in which a task's containers start and stop.

use std::collections::BTreeMap;

use crate::driver::ContainerExit;
use crate::model::task_definition::{ContainerCondition, ContainerDefinition};

/// What is known of each container of a task while it starts and stops.
#[derive(Debug)]
pub(super) struct Containers<'a> {
    definitions: &'a [ContainerDefinition],
    phases: BTreeMap<&'a str, Phase>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Ended(ContainerExit),
}

/// Whether a container may start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness<'a> {
    Ready(&'a str),
    /// Some containers wait for others.
    Waiting,
    /// A container waits for what cannot happen any more.
    Impossible(String),
    /// All have been started.
    Done,
}

impl<'a> Containers<'a> {
    pub(super) fn new(definitions: &'a [ContainerDefinition]) -> Self {
        let phases = definitions.iter().map(|container| (container.name.as_str(), Phase::Waiting)).collect();
        Self { definitions, phases }
    }

    /// The next container to start.
    pub(super) fn next_to_start(&self) -> Readiness<'a> {
        let mut readiness = Readiness::Done;
        for container in self.definitions {
            if self.phases[container.name.as_str()] != Phase::Waiting {
                continue;
            }
            match self.conditions_met(container) {
                Ok(true) => return Readiness::Ready(&container.name),
                Ok(false) => readiness = Readiness::Waiting,
                Err(impossible) => return Readiness::Impossible(impossible),
            }
        }
        readiness
    }

    fn conditions_met(&self, container: &ContainerDefinition) -> Result<bool, String> {
        for dependency in &container.depends_on {
            let met = match (dependency.condition, &self.phases[dependency.container_name.as_str()]) {
                (_, Phase::Waiting) => false,
                (ContainerCondition::Start, _) | (ContainerCondition::Complete, Phase::Ended(_)) => true,
                (ContainerCondition::Success, Phase::Ended(exit)) if exit.code == Some(0) => true,
                (ContainerCondition::Success, Phase::Ended(exit)) => {
                    return Err(format!(
                        "dependency container {} of container {} exited with {}",
                        dependency.container_name,
                        container.name,
                        exit.code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}")),
                    ));
                }
                // HEALTHY is refused at registration until containers' health checks are run; a definition from a newer version waits.
                (
                    ContainerCondition::Complete | ContainerCondition::Success | ContainerCondition::Healthy,
                    Phase::Running,
                )
                | (ContainerCondition::Healthy, Phase::Ended(_)) => false,
            };
            if !met {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Shortest `startTimeout` of the containers that wait, in seconds.
    pub(super) fn start_timeout(&self) -> Option<u32> {
        let waiting = self
            .definitions
            .iter()
            .filter(|container| self.phases[container.name.as_str()] == Phase::Waiting);
        waiting.filter_map(|container| container.start_timeout).min()
    }

    pub(super) fn started(&mut self, name: &'a str) {
        self.phases.insert(name, Phase::Running);
    }

    /// Whether the task must end because of this exit.
    pub(super) fn ended(&mut self, name: &str, exit: ContainerExit) -> bool {
        let Some(container) = self.definitions.iter().find(|container| container.name == name) else {
            return false;
        };
        self.phases.insert(&container.name, Phase::Ended(exit));
        container.is_essential()
    }

    /// Containers that may stop now: running ones that no other running one depends on. "Shutdown runs in reverse."
    pub(super) fn next_to_stop(&self) -> Vec<&'a ContainerDefinition> {
        let running: Vec<&ContainerDefinition> =
            self.definitions.iter().filter(|container| self.is_running(&container.name)).collect();
        let depended_on = |name: &str| {
            running
                .iter()
                .any(|other| other.depends_on.iter().any(|dependency| dependency.container_name == name))
        };
        running.iter().filter(|container| !depended_on(&container.name)).copied().collect()
    }

    pub(super) fn is_running(&self, name: &str) -> bool {
        self.phases.get(name) == Some(&Phase::Running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task_definition::ContainerDependency;

    fn container(name: &str, depends_on: &[(&str, ContainerCondition)]) -> ContainerDefinition {
        let depends_on = depends_on
            .iter()
            .map(|(name, condition)| ContainerDependency {
                container_name: (*name).to_owned(),
                condition: *condition,
            })
            .collect();
        ContainerDefinition { name: name.to_owned(), depends_on, ..ContainerDefinition::default() }
    }

    fn exit(code: i32) -> ContainerExit {
        ContainerExit { code: Some(code), reason: None }
    }

    #[test]
    fn a_container_starts_after_what_it_waits_for() {
        let definitions =
            [container("app", &[("setup", ContainerCondition::Success)]), container("setup", &[])];
        let mut containers = Containers::new(&definitions);
        assert_eq!(containers.next_to_start(), Readiness::Ready("setup"));
        containers.started("setup");
        assert_eq!(containers.next_to_start(), Readiness::Waiting);
        containers.ended("setup", exit(0));
        assert_eq!(containers.next_to_start(), Readiness::Ready("app"));
        containers.started("app");
        assert_eq!(containers.next_to_start(), Readiness::Done);
    }

    #[test]
    fn a_container_whose_dependency_failed_never_starts() {
        let definitions =
            [container("app", &[("setup", ContainerCondition::Success)]), container("setup", &[])];
        let mut containers = Containers::new(&definitions);
        containers.started("setup");
        containers.ended("setup", exit(3));
        let expected = "dependency container setup of container app exited with code 3".to_owned();
        assert_eq!(containers.next_to_start(), Readiness::Impossible(expected));
    }

    #[test]
    fn containers_stop_in_the_reverse_of_the_order_they_start_in() {
        let definitions = [
            container("proxy", &[("app", ContainerCondition::Start)]),
            container("app", &[("store", ContainerCondition::Start)]),
            container("store", &[]),
        ];
        let mut containers = Containers::new(&definitions);
        for name in ["store", "app", "proxy"] {
            assert_eq!(containers.next_to_start(), Readiness::Ready(name));
            containers.started(name);
        }
        for name in ["proxy", "app", "store"] {
            let next: Vec<&str> =
                containers.next_to_stop().iter().map(|container| container.name.as_str()).collect();
            assert_eq!(next, [name]);
            containers.ended(name, exit(0));
        }
        assert!(containers.next_to_stop().is_empty());
    }
}
