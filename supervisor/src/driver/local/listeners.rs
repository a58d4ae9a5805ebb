//! Load balancers' listeners, their rules, and the services that shift rules' requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coracle_balancer::{Action, Listener, ListenerConfig, Routes, Rule};

use super::targets::{Targets, refused, split};
use crate::driver::{ListenerSettings, PublishError, Routing, RuleSettings, TargetGroup};
use crate::model::load_balancing::action;

/// For requests in flight at an address that a listener has left.
const MOVE_DEADLINE: Duration = Duration::from_secs(5);

/// The listeners of this process's load balancers.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By ARN.
    open: HashMap<String, Open>,
    /// Where the requests of rules go that a service shifts, by the rules' ARNs.
    shifted: HashMap<String, Shares>,
}

/// Target groups, and what each gets in thousandths.
type Shares = Vec<(TargetGroup, u32)>;

#[derive(Debug)]
struct Open {
    listener: Listener,
    settings: ListenerSettings,
}

impl Listeners {
    pub(super) async fn open(
        &self,
        targets: &Targets,
        settings: &ListenerSettings,
    ) -> Result<SocketAddr, PublishError> {
        let (address, left) = self.change(targets, settings)?;
        if let Some(left) = left {
            left.close(MOVE_DEADLINE).await;
        }
        Ok(address)
    }

    /// Where it listens now, and the listener it leaves if that was elsewhere.
    fn change(
        &self,
        targets: &Targets,
        settings: &ListenerSettings,
    ) -> Result<(SocketAddr, Option<Listener>), PublishError> {
        let mut state = self.state();
        let routes = state.routes(targets, settings)?;
        if let Some(open) = state.open.get_mut(&settings.arn)
            && open.settings.address == settings.address
        {
            open.listener.set_routes(routes);
            open.settings = settings.clone();
            return Ok((open.listener.local_addr(), None));
        }
        let config = ListenerConfig::new(settings.name.clone(), settings.address);
        let listener = targets.balancer().listen(config, routes);
        let listener = listener.map_err(|error| refused(settings.address, &error))?;
        let address = listener.local_addr();
        let open = Open { listener, settings: settings.clone() };
        let left = state.open.insert(settings.arn.clone(), open);
        Ok((address, left.map(|left| left.listener)))
    }

    pub(super) async fn close(&self, arn: &str, deadline: Duration) {
        let open = self.state().open.remove(arn);
        if let Some(open) = open {
            open.listener.close(deadline).await;
        }
    }

    /// Sends the requests of a service's rules where its deployment has them go.
    pub(super) fn shift(&self, targets: &Targets, published: &TargetGroup, routing: &Routing) {
        let Some(attachment) = &published.publication.attachment else { return };
        let mut state = self.state();
        let test = vec![(routing.test.clone(), 1)];
        for (rule, shares) in
            [(&attachment.production_rule, routing.production.clone()), (&attachment.test_rule, test)]
        {
            if let Some(rule) = rule {
                state.shifted.insert(rule.clone(), shares);
                state.reroute(targets, rule);
            }
        }
    }

    /// Has a service's rules do again what they say.
    pub(super) fn shift_back(&self, targets: &Targets, published: &TargetGroup) {
        let Some(attachment) = &published.publication.attachment else { return };
        let mut state = self.state();
        for rule in [&attachment.production_rule, &attachment.test_rule].into_iter().flatten() {
            if state.shifted.remove(rule).is_some() {
                state.reroute(targets, rule);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Maps whose entries are whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Compiles the rules anew of the listener that has this one.
    fn reroute(&self, targets: &Targets, rule: &str) {
        let has = |open: &&Open| {
            open.settings.default_arn == rule || open.settings.rules.iter().any(|known| known.arn == rule)
        };
        let Some(open) = self.open.values().find(has) else { return };
        match self.routes(targets, &open.settings) {
            Ok(routes) => open.listener.set_routes(routes),
            Err(error) => tracing::error!(%error, listener = open.settings.name, "rules cannot be applied"),
        }
    }

    fn routes(&self, targets: &Targets, settings: &ListenerSettings) -> Result<Routes, PublishError> {
        let wrong = |error: coracle_balancer::ConfigError| PublishError::Rule(error.to_string());
        let rule = |rule: &RuleSettings| {
            let conditions = rule.conditions.iter().map(|condition| condition.compile());
            let conditions = conditions.collect::<Result<_, _>>().map_err(PublishError::Rule)?;
            let action = self.action(targets, &rule.arn, &rule.action)?;
            Rule::new(rule.priority, conditions, action).map_err(wrong)
        };
        let rules = settings.rules.iter().map(rule).collect::<Result<_, _>>()?;
        let default = self.action(targets, &settings.default_arn, &settings.default)?;
        Routes::new(rules, default).map_err(wrong)
    }

    fn action(&self, targets: &Targets, rule: &str, said: &action::Action) -> Result<Action, PublishError> {
        let shares = self.shifted.get(rule).into_iter().flatten();
        let shares = shares.filter_map(|(group, share)| Some((targets.balanced(&group.arn)?, *share)));
        match split(shares) {
            Some(forward) => Ok(Action::Forward(forward)),
            None => said.compile(|arn| targets.balanced(arn)).map_err(PublishError::Rule),
        }
    }
}
