//! The order in which a task's containers start and stop, and which of them start again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::driver::ContainerExit;
use crate::model::health_check::{HealthCheck, HealthPlan};
use crate::model::task::HealthStatus;
use crate::model::task_definition::{ContainerCondition, ContainerDefinition, ContainerDependency};

/// Longest that a container waits for another one that has no `startTimeout`. ECS: "If the value isn't specified, the default value of 3 minutes is
/// used."
const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(180);

/// What is known of each container of a task while it starts, runs and stops.
#[derive(Debug)]
pub(super) struct Containers<'a> {
    definitions: &'a [ContainerDefinition],
    phases: BTreeMap<&'a str, Phase>,
    healthy: BTreeSet<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running { since: Instant },
    Ended(ContainerExit),
}

/// Whether a container may start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness<'a> {
    Ready(&'a str),
    /// Some containers wait for others, until then.
    Waiting(Patience),
    /// A container waits for what cannot happen any more.
    Impossible(String),
    /// All have been started.
    Done,
}

/// How long is waited for, and what is said when it was in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    pub(super) until: Instant,
    pub(super) complaint: String,
}

/// What a container's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Its restart policy starts it again.
    Restart,
    /// The task ends with it.
    TaskEnds,
    /// The task can be without it.
    None,
}

impl<'a> Containers<'a> {
    pub(super) fn new(definitions: &'a [ContainerDefinition]) -> Self {
        let phases = definitions.iter().map(|container| (container.name.as_str(), Phase::Waiting)).collect();
        Self { definitions, phases, healthy: BTreeSet::new() }
    }

    /// The next container to start.
    pub(super) fn next_to_start(&self) -> Readiness<'a> {
        let mut soonest: Option<Patience> = None;
        let mut waiting = false;
        for container in self.definitions {
            if self.phases[container.name.as_str()] != Phase::Waiting {
                continue;
            }
            match self.conditions_met(container) {
                Ok(None) => return Readiness::Ready(&container.name),
                Ok(Some(patience)) => {
                    waiting = true;
                    soonest = [soonest, patience].into_iter().flatten().min_by_key(|patience| patience.until);
                }
                Err(impossible) => return Readiness::Impossible(impossible),
            }
        }
        match soonest {
            Some(patience) => Readiness::Waiting(patience),
            // Nobody runs that could be waited for: a circle, which registration refuses.
            None if waiting => Readiness::Impossible("containers wait for each other".to_owned()),
            None => Readiness::Done,
        }
    }

    /// Nothing when a container may start; else what it waits for, where that runs.
    fn conditions_met(&self, container: &ContainerDefinition) -> Result<Option<Option<Patience>>, String> {
        let mut unmet = None;
        for dependency in &container.depends_on {
            let name = dependency.container_name.as_str();
            let ended_otherwise = |exit: &ContainerExit, than: &str| {
                Err(format!(
                    "dependency container {name} of container {} exited with {}{than}",
                    container.name,
                    exit.code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}")),
                ))
            };
            let patience = match (dependency.condition, &self.phases[name]) {
                (_, Phase::Waiting) => None,
                (ContainerCondition::Start, _) | (ContainerCondition::Complete, Phase::Ended(_)) => continue,
                (ContainerCondition::Healthy, Phase::Running { .. }) if self.healthy.contains(name) => {
                    continue;
                }
                (ContainerCondition::Success, Phase::Ended(exit)) if exit.code == Some(0) => continue,
                (ContainerCondition::Success, Phase::Ended(exit)) => return ended_otherwise(exit, ""),
                (ContainerCondition::Healthy, Phase::Ended(exit)) => {
                    return ended_otherwise(exit, " before it was healthy");
                }
                (
                    ContainerCondition::Complete | ContainerCondition::Success | ContainerCondition::Healthy,
                    Phase::Running { since },
                ) => Some(self.patience(container, dependency, *since)),
            };
            let soonest: Option<Patience> = unmet.flatten();
            unmet = Some([soonest, patience].into_iter().flatten().min_by_key(|patience| patience.until));
        }
        Ok(unmet)
    }

    /// ECS: "you specify two containers in a task definition with containerA having a dependency on containerB reaching a COMPLETE, SUCCESS, or HEALTHY
    /// status. If a startTimeout value is specified for containerB and it doesn't reach the desired status within that time then containerA gives up
    /// and not start."
    fn patience(
        &self,
        container: &ContainerDefinition,
        dependency: &ContainerDependency,
        since: Instant,
    ) -> Patience {
        let name = dependency.container_name.as_str();
        let given = self.definition(name).and_then(|dependency| dependency.start_timeout);
        let time = given.map_or(DEFAULT_START_TIMEOUT, |seconds| Duration::from_secs(seconds.into()));
        let condition = match dependency.condition {
            ContainerCondition::Start => "START",
            ContainerCondition::Complete => "COMPLETE",
            ContainerCondition::Success => "SUCCESS",
            ContainerCondition::Healthy => "HEALTHY",
        };
        let complaint = format!(
            "container {} waited {} s for container {name} to reach {condition}",
            container.name,
            time.as_secs()
        );
        Patience { until: since + time, complaint }
    }

    pub(super) fn started(&mut self, name: &str) {
        if let Some(container) = self.definition(name) {
            self.healthy.remove(name);
            self.phases.insert(&container.name, Phase::Running { since: Instant::now() });
        }
    }

    /// Takes note of a container's health.
    pub(super) fn is_now(&mut self, name: &str, health: HealthStatus) {
        let Some(container) = self.definition(name) else { return };
        match health {
            HealthStatus::Healthy => self.healthy.insert(&container.name),
            HealthStatus::Unhealthy | HealthStatus::Unknown => self.healthy.remove(name),
        };
    }

    /// What this exit means. A container that starts again has not ended for those who wait for its end.
    pub(super) fn ended(&mut self, name: &str, exit: ContainerExit) -> Consequence {
        let Some(container) = self.definition(name) else { return Consequence::None };
        let lived = match self.phases.get(name) {
            Some(Phase::Running { since }) => since.elapsed(),
            _ => Duration::ZERO,
        };
        let policy = container.restart_policy.as_ref();
        let restarts = policy.is_some_and(|policy| policy.restarts(exit.code, lived));
        self.phases.insert(&container.name, Phase::Ended(exit));
        self.healthy.remove(name);
        match (restarts, container.is_essential()) {
            (true, _) => Consequence::Restart,
            (false, true) => Consequence::TaskEnds,
            (false, false) => Consequence::None,
        }
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
        matches!(self.phases.get(name), Some(Phase::Running { .. }))
    }

    /// How a container's health is found out, if it is.
    pub(super) fn health_plan(&self, name: &str) -> Option<HealthPlan> {
        health_plan(self.definition(name)?)
    }

    /// The containers whose health is the task's: essential ones with a health check.
    pub(super) fn vital(&self) -> Vec<&'a str> {
        let vital = self.definitions.iter().filter(|container| container.is_essential());
        let checked = vital.filter(|container| health_plan(container).is_some());
        checked.map(|container| container.name.as_str()).collect()
    }

    fn definition(&self, name: &str) -> Option<&'a ContainerDefinition> {
        self.definitions.iter().find(|container| container.name == name)
    }
}

fn health_plan(container: &ContainerDefinition) -> Option<HealthPlan> {
    // Checked when it was registered.
    container.health_check.as_ref().map(HealthCheck::parse).and_then(Result::ok).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::restart_policy::RestartPolicy;

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
        assert!(matches!(containers.next_to_start(), Readiness::Waiting(_)));
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

    #[tokio::test(start_paused = true)]
    async fn the_time_out_of_what_is_waited_for_is_what_counts() {
        let mut app = container("app", &[("store", ContainerCondition::Healthy)]);
        app.start_timeout = Some(1);
        let definitions = [app, ContainerDefinition { start_timeout: Some(20), ..container("store", &[]) }];
        let mut containers = Containers::new(&definitions);
        containers.started("store");
        let patience = Patience {
            until: Instant::now() + Duration::from_secs(20),
            complaint: "container app waited 20 s for container store to reach HEALTHY".to_owned(),
        };
        assert_eq!(containers.next_to_start(), Readiness::Waiting(patience));
        containers.is_now("store", HealthStatus::Healthy);
        assert_eq!(containers.next_to_start(), Readiness::Ready("app"));
        containers.is_now("store", HealthStatus::Unhealthy);
        assert!(matches!(containers.next_to_start(), Readiness::Waiting(_)));
        containers.ended("store", exit(1));
        let expected =
            "dependency container store of container app exited with code 1 before it was healthy".to_owned();
        assert_eq!(containers.next_to_start(), Readiness::Impossible(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_ran_long_enough_starts_again_and_one_that_did_not_ends() {
        let restart_policy = Some(RestartPolicy {
            enabled: true,
            ignored_exit_codes: vec![3],
            restart_attempt_period: Some(60),
        });
        let definitions = [ContainerDefinition { restart_policy, ..container("app", &[]) }];
        let mut containers = Containers::new(&definitions);
        containers.started("app");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(containers.ended("app", exit(1)), Consequence::Restart);
        containers.started("app");
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(containers.ended("app", exit(1)), Consequence::TaskEnds);
        containers.started("app");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(containers.ended("app", exit(3)), Consequence::TaskEnds);
    }
}
