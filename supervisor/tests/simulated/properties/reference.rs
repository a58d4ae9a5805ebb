//! What was acknowledged, as a person would remember it.

use std::collections::{BTreeMap, BTreeSet};

use coracle_supervisor::model::service::{ServiceRecord, ServiceStatus};

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Refused,
    /// There was no answer, or one that does not tell whether it was done.
    Unknown,
}

/// Something that may be in one of several states, because an operation's answer was lost.
#[derive(Clone, Debug)]
pub(crate) struct Known<T>(Vec<T>);

impl<T: Clone + PartialEq + std::fmt::Debug> Known<T> {
    pub(crate) fn new(state: T) -> Self {
        Self(vec![state])
    }

    /// An operation that makes one state of another.
    pub(crate) fn then(&mut self, outcome: Outcome, change: impl Fn(&T) -> T) {
        let changed: Vec<T> = self.0.iter().map(change).collect();
        match outcome {
            Outcome::Refused => {}
            Outcome::Done => self.0 = changed,
            Outcome::Unknown => self.0.extend(changed),
        }
    }

    /// Holds it against what is there. What it is then is known again.
    pub(crate) fn settle(&mut self, seen: T, agrees: impl Fn(&T) -> bool) -> Result<(), String> {
        if !self.0.iter().any(agrees) {
            return Err(format!("it is {seen:?} and was {:?}", self.0));
        }
        self.0 = vec![seen];
        Ok(())
    }

    pub(crate) fn states(&self) -> &[T] {
        &self.0
    }
}

/// A service, unless there is none.
pub(crate) type Wanted = Option<WantedService>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedService {
    pub(crate) desired: u32,
    /// `family:revision`.
    pub(crate) revision: String,
}

impl WantedService {
    fn of(record: &ServiceRecord) -> Self {
        let revision = record.primary().task_definition.to_string();
        Self { desired: record.desired_count, revision }
    }
}

/// What was acknowledged of a service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) wanted: Known<Wanted>,
    /// Bounds that auto scaling may have set, since the service was created.
    pub(crate) scaled: Option<(u32, u32)>,
    /// It has a breaker or hooks, or a person has sent a deployment back.
    pub(crate) may_roll_back: bool,
    /// That it ever had.
    pub(crate) revisions: BTreeSet<String>,
}

impl Service {
    pub(crate) fn none() -> Self {
        let wanted = Known::new(None);
        Self { wanted, scaled: None, may_roll_back: false, revisions: BTreeSet::new() }
    }

    /// Holds it against its record.
    pub(crate) fn settle(&mut self, record: Option<&ServiceRecord>) -> Result<(), String> {
        // One that is being deleted does not count any more.
        let record = record.filter(|record| record.status == ServiceStatus::Active);
        let seen = record.map(WantedService::of);
        let (scaled, may_roll_back, revisions) = (self.scaled, self.may_roll_back, &self.revisions);
        let agrees = |wanted: &Wanted| match (wanted, &seen) {
            (None, None) => true,
            (Some(wanted), Some(seen)) => {
                let count = wanted.desired == seen.desired
                    || scaled.is_some_and(|(min, max)| (min..=max).contains(&seen.desired));
                let revision =
                    wanted.revision == seen.revision || (may_roll_back && revisions.contains(&seen.revision));
                count && revision
            }
            _ => false,
        };
        self.wanted.settle(seen.clone(), agrees)
    }

    /// Whether an operation that needs it may be refused.
    pub(crate) fn may_be_absent(&self) -> bool {
        self.wanted.states().contains(&None)
    }
}

/// Everything that was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) services: BTreeMap<&'static str, Service>,
    /// By name, as they were set last; none after a deletion.
    pub(crate) secrets: BTreeMap<&'static str, Known<Option<String>>>,
    /// Whether they are there.
    pub(crate) schedules: BTreeMap<&'static str, Known<bool>>,
    /// ARNs of standalone tasks, and whether a person told them to stop.
    pub(crate) tasks: BTreeMap<String, bool>,
    /// `family:revision`.
    pub(crate) definitions: BTreeSet<String>,
}
