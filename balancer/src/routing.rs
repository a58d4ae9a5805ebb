//! Which action answers a request: the rules of a listener, as ALB's.
//!
//! Everything is parsed and compiled when a listener is configured; a request only compares. A listener whose only
//! action is its default one compares nothing.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `pattern` | AWS's wildcards |
//! | `condition` | what a rule looks at |
//! | `forward`, `redirect`, `fixed_response` | what a rule does |

mod condition;
mod fixed_response;
mod forward;
mod pattern;
mod redirect;

use std::net::IpAddr;

use http::Request;

use crate::{ConfigError, TargetGroup, acme};
pub use condition::Condition;
pub use fixed_response::FixedResponse;
pub use forward::Forward;
pub(crate) use forward::STICKINESS;
pub(crate) use redirect::Place;
pub use redirect::Redirect;
use std::sync::Arc;

/// AWS: "valid values are 1 to 50000".
const MAX_PRIORITY: u32 = 50_000;
/// AWS's 100 is a quota it raises on request.
const MAX_RULES: usize = 1_000;
/// AWS: "condition values per rule".
const MAX_VALUES: usize = 5;
/// AWS: "condition wildcards per rule".
const MAX_WILDCARDS: usize = 6;

/// What a listener does with a request.
#[derive(Debug)]
pub enum Action {
    /// Send it to a target.
    Forward(Forward),
    /// Send the client elsewhere.
    Redirect(Redirect),
    /// Answer it.
    FixedResponse(FixedResponse),
}

impl From<Arc<TargetGroup>> for Action {
    fn from(group: Arc<TargetGroup>) -> Self {
        Self::Forward(group.into())
    }
}

/// A rule: all of its conditions hold, then its action is taken.
#[derive(Debug)]
pub struct Rule {
    priority: u32,
    conditions: Box<[Condition]>,
    action: Action,
}

impl Rule {
    /// A rule with ALB's limits: priority 1 to 50,000 (the lowest is looked at first), 1 to 5 values and at most 6
    /// wildcards over all conditions, and at most one condition of each kind but `http-header` and `query-string`.
    ///
    /// # Errors
    ///
    /// Names the field that is out of its limits.
    pub fn new(priority: u32, conditions: Vec<Condition>, action: Action) -> Result<Self, ConfigError> {
        if !(1..=MAX_PRIORITY).contains(&priority) {
            return Err(ConfigError::new("Priority", priority, "from 1 to 50000"));
        }
        let values = conditions.iter().map(Condition::values).sum::<usize>();
        if !(1..=MAX_VALUES).contains(&values) {
            return Err(ConfigError::new("Conditions", format!("{values} values"), "1 to 5 values in all"));
        }
        let wildcards = conditions.iter().map(Condition::wildcards).sum::<usize>();
        if wildcards > MAX_WILDCARDS {
            let given = format!("{wildcards} wildcards");
            return Err(ConfigError::new("Conditions", given, "at most 6 wildcards in all"));
        }
        for (index, condition) in conditions.iter().enumerate() {
            let field = condition.field();
            let again = conditions[..index].iter().any(|earlier| earlier.field() == field);
            if again && !condition.may_repeat() {
                return Err(ConfigError::new("Conditions", field, "given once at most"));
            }
        }
        Ok(Self { priority, conditions: conditions.into(), action })
    }
}

/// The rules of a listener, the first first, and its default action.
#[derive(Debug)]
pub struct Routes {
    rules: Box<[Rule]>,
    default: Action,
}

impl Routes {
    /// Rules in the order of their priorities, and the action when none matches.
    ///
    /// # Errors
    ///
    /// Two rules of one priority, or more than 1,000 rules.
    pub fn new(mut rules: Vec<Rule>, default: impl Into<Action>) -> Result<Self, ConfigError> {
        if rules.len() > MAX_RULES {
            return Err(ConfigError::new("Rules", rules.len(), "at most 1000"));
        }
        rules.sort_by_key(|rule| rule.priority);
        if let Some(pair) = rules.windows(2).find(|pair| pair[0].priority == pair[1].priority) {
            let allowed = "a priority that no other rule of the listener has";
            return Err(ConfigError::new("Priority", pair[0].priority, allowed));
        }
        Ok(Self { rules: rules.into(), default: default.into() })
    }

    /// The same, but that an authority's questions go to `challenges` whatever the rules say.
    pub(crate) fn with_challenges(self, challenges: Arc<TargetGroup>) -> Self {
        let path = Condition::path_pattern([format!("{}*", acme::CHALLENGES).as_str()]);
        let path = path.expect("a path with a wildcard behind it");
        let rule = Rule { priority: 0, conditions: [path].into(), action: challenges.into() };
        Self { rules: std::iter::once(rule).chain(self.rules).collect(), default: self.default }
    }

    /// The action for this request of this client, and the priority of the rule it is of: the first that matches. That of
    /// the default one is 0, as in ALB's log.
    pub(crate) fn action<B>(&self, request: &Request<B>, client: IpAddr) -> (u32, &Action) {
        let matches =
            |rule: &&Rule| rule.conditions.iter().all(|condition| condition.matches(request, client));
        self.rules.iter().find(matches).map_or((0, &self.default), |rule| (rule.priority, &rule.action))
    }

    /// The action when no rule matches.
    pub(crate) fn default_action(&self) -> &Action {
        &self.default
    }

    /// The target groups requests can be forwarded to, each as often as an action names it.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<TargetGroup>> {
        let actions = self.rules.iter().map(|rule| &rule.action).chain([&self.default]);
        actions
            .filter_map(|action| match action {
                Action::Forward(forward) => Some(forward.groups()),
                Action::Redirect(_) | Action::FixedResponse(_) => None,
            })
            .flatten()
    }
}

impl<A: Into<Action>> From<A> for Routes {
    fn from(default: A) -> Self {
        Self { rules: [].into(), default: default.into() }
    }
}

#[cfg(test)]
mod tests;
