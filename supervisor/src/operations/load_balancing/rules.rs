//! CreateRule, DescribeRules, ModifyRule, DeleteRule and SetRulePriorities.
#![expect(
    missing_docs,
    reason = "requests and responses are AWS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::listeners::listener;
use super::shifted::Shifted;
use super::{exception, listener_not_found, rule_not_found};
use crate::error::OperationError;
use crate::model::load_balancing::action::Action;
use crate::model::load_balancing::arn::{Kind, Named};
use crate::model::load_balancing::condition::RuleCondition;
use crate::model::load_balancing::load_balancer::{
    ListenerRecord, LoadBalancerRecord, MAX_RULES, RuleRecord,
};
use crate::model::load_balancing::{lenient, refused};
use crate::supervisor::Supervisor;

/// ELB's name for the priority of the last rule.
const DEFAULT: &str = "default";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct CreateRuleRequest {
    pub listener_arn: String,
    pub conditions: Vec<RuleCondition>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub priority: Option<u32>,
    pub actions: Vec<Action>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct DescribeRulesRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_arn: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule_arns: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct ModifyRuleRequest {
    pub rule_arn: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<RuleCondition>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct SetRulePrioritiesRequest {
    pub rule_priorities: Vec<RulePriorityPair>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct RulePriorityPair {
    pub rule_arn: String,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub priority: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RulesResponse {
    pub rules: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteRuleRequest {
    pub rule_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeleteRuleResponse {}

/// A rule by its ARN.
#[derive(Clone, Copy, Debug)]
struct NamedRule<'a> {
    named: Named<'a>,
    listener: &'a str,
    id: &'a str,
}

impl Supervisor {
    /// Adds a rule. Requests follow it when this is answered, and no connection is closed.
    pub async fn create_rule(&self, request: CreateRuleRequest) -> Result<RulesResponse, OperationError> {
        let (named, of) = self.named_listener(&request.listener_arn)?;
        let priority = request.priority.ok_or_else(|| refused("Priority is missing: 1 to 50000"))?;
        let action = Action::only("Actions", request.actions)?;
        let id = self.new_resource_id();
        let create = |record: &mut LoadBalancerRecord| {
            if record.rules() >= MAX_RULES {
                let message = format!("A load balancer can have at most {MAX_RULES} rules");
                return Err(exception("TooManyRules", message));
            }
            let listener = listener(record, of)?;
            if listener.rules.iter().any(|rule| rule.priority == priority) {
                return Err(exception("PriorityInUse", format!("Priority '{priority}' is currently in use")));
            }
            let conditions = request.conditions;
            listener.rules.push(RuleRecord { id: id.clone(), priority, conditions, action });
            listener.rules.sort_by_key(|rule| rule.priority);
            Ok(())
        };
        let (record, ()) = self.change_load_balancer(named, listener_not_found, create).await?;
        Ok(RulesResponse { rules: self.rules_of(&record, of, &Shifted::default(), |rule| rule == id) })
    }

    /// The rules of a listener, its default rule last, or those that are named. One whose requests a service shifts is shown as it works now.
    pub async fn describe_rules(
        &self,
        request: DescribeRulesRequest,
    ) -> Result<RulesResponse, OperationError> {
        let shifted = self.shifted().await?;
        let mut rules = Vec::new();
        if let Some(arn) = &request.listener_arn {
            let (named, id) = self.named_listener(arn)?;
            let record = self.load_balancer_of(named, listener_not_found).await?.value;
            rules = self.rules_of(&record, id, &shifted, |_| true);
            if rules.is_empty() {
                return Err(listener_not_found());
            }
        } else if request.rule_arns.is_empty() {
            return Err(refused("ListenerArn or RuleArns must be given"));
        }
        for arn in &request.rule_arns {
            let rule = self.named_rule(arn)?;
            let record = self.load_balancer_of(rule.named, rule_not_found).await?.value;
            let described = self.rules_of(&record, rule.listener, &shifted, |id| id == rule.id);
            rules.push(described.into_iter().next().ok_or_else(rule_not_found)?);
        }
        Ok(RulesResponse { rules })
    }

    /// Changes what a rule is for or what it does.
    pub async fn modify_rule(&self, request: ModifyRuleRequest) -> Result<RulesResponse, OperationError> {
        let rule = self.named_rule(&request.rule_arn)?;
        let action = match request.actions.is_empty() {
            true => None,
            false => Some(Action::only("Actions", request.actions)?),
        };
        let modify = |record: &mut LoadBalancerRecord| {
            let listener = listener(record, rule.listener).map_err(|_| rule_not_found())?;
            if listener.default.id == rule.id {
                return Err(of_default("ModifyListener changes it"));
            }
            let known = listener.rules.iter_mut().find(|known| known.id == rule.id);
            let known = known.ok_or_else(rule_not_found)?;
            if !request.conditions.is_empty() {
                known.conditions = request.conditions;
            }
            if let Some(action) = action {
                known.action = action;
            }
            Ok(())
        };
        let (record, ()) = self.change_load_balancer(rule.named, rule_not_found, modify).await?;
        let shifted = self.shifted().await?;
        Ok(RulesResponse { rules: self.rules_of(&record, rule.listener, &shifted, |id| id == rule.id) })
    }

    /// Deletes a rule. Its requests go where the others say.
    pub async fn delete_rule(
        &self,
        request: DeleteRuleRequest,
    ) -> Result<DeleteRuleResponse, OperationError> {
        let rule = self.named_rule(&request.rule_arn)?;
        if let Some(service) = self.shifted().await?.service(&request.rule_arn) {
            let message =
                format!("Rule is in use by the service '{service}', whose deployments shift its requests");
            return Err(exception("OperationNotPermitted", message));
        }
        let delete = |record: &mut LoadBalancerRecord| {
            let listener = listener(record, rule.listener).map_err(|_| rule_not_found())?;
            if listener.default.id == rule.id {
                return Err(of_default("It cannot be deleted without its listener"));
            }
            let before = listener.rules.len();
            listener.rules.retain(|known| known.id != rule.id);
            if listener.rules.len() == before { Err(rule_not_found()) } else { Ok(()) }
        };
        self.change_load_balancer(rule.named, rule_not_found, delete).await?;
        Ok(DeleteRuleResponse {})
    }

    /// Puts the rules of one load balancer in another order, in one step.
    pub async fn set_rule_priorities(
        &self,
        request: SetRulePrioritiesRequest,
    ) -> Result<RulesResponse, OperationError> {
        let pair = |pair: &RulePriorityPair| {
            let priority = pair.priority.ok_or_else(|| refused("RulePriorities.Priority is missing"))?;
            Ok((pair.rule_arn.clone(), priority))
        };
        let pairs = request.rule_priorities.iter().map(pair).collect::<Result<Vec<_>, OperationError>>()?;
        let Some((first, _)) = pairs.first() else { return Err(refused("RulePriorities must not be empty")) };
        let of = self.named_rule(first)?.named;
        let reorder = |record: &mut LoadBalancerRecord| {
            for (arn, priority) in &pairs {
                let rule = self.named_rule(arn)?;
                if (rule.named.name, rule.named.id) != (of.name, of.id) {
                    return Err(refused("RulePriorities must be of one load balancer"));
                }
                let listener = listener(record, rule.listener).map_err(|_| rule_not_found())?;
                let known = listener.rules.iter_mut().find(|known| known.id == rule.id);
                known.ok_or_else(rule_not_found)?.priority = *priority;
            }
            for listener in &mut record.listeners {
                listener.rules.sort_by_key(|rule| rule.priority);
                if let Some(pair) =
                    listener.rules.windows(2).find(|pair| pair[0].priority == pair[1].priority)
                {
                    let message = format!("Priority '{}' is currently in use", pair[0].priority);
                    return Err(exception("PriorityInUse", message));
                }
            }
            Ok(())
        };
        let (record, ()) = self.change_load_balancer(of, rule_not_found, reorder).await?;
        let shifted = self.shifted().await?;
        let described = |(arn, _): &(String, u32)| {
            let rule = self.named_rule(arn)?;
            Ok(self.rules_of(&record, rule.listener, &shifted, |id| id == rule.id))
        };
        let rules = pairs.iter().map(described).collect::<Result<Vec<_>, OperationError>>()?;
        Ok(RulesResponse { rules: rules.into_iter().flatten().collect() })
    }

    fn named_rule<'a>(&self, arn: &'a str) -> Result<NamedRule<'a>, OperationError> {
        match self.identity().parse_load_balancing(arn) {
            Some(named @ Named { kind: Kind::Rule { listener, id }, .. }) => {
                Ok(NamedRule { named, listener, id })
            }
            _ => Err(rule_not_found()),
        }
    }

    /// Rules of a listener as ELBv2 shows them; `wanted` by their ids.
    fn rules_of(
        &self,
        record: &LoadBalancerRecord,
        listener: &str,
        shifted: &Shifted,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<Value> {
        let Some(listener) = record.listeners.iter().find(|known| known.id == listener) else {
            return Vec::new();
        };
        let described = |id: &str, priority: &str, conditions: &[RuleCondition], action: &Action| {
            let arn = self.identity().rule(record, listener, id);
            let action = shifted.action(&arn).unwrap_or(action);
            json!({
                "RuleArn": arn,
                "Priority": priority,
                "Conditions": conditions,
                "Actions": [action],
                "IsDefault": priority == DEFAULT,
            })
        };
        all(listener)
            .filter(|(id, ..)| wanted(id))
            .map(|(id, priority, conditions, action)| {
                let priority = priority.map_or_else(|| DEFAULT.to_owned(), |priority| priority.to_string());
                described(id, &priority, conditions, action)
            })
            .collect()
    }
}

/// A listener's rules: id, priority, conditions, action.
fn all(listener: &ListenerRecord) -> impl Iterator<Item = (&str, Option<u32>, &[RuleCondition], &Action)> {
    let rules = listener.rules.iter();
    let rules =
        rules.map(|rule| (rule.id.as_str(), Some(rule.priority), rule.conditions.as_slice(), &rule.action));
    let default: &[RuleCondition] = &[];
    rules.chain([(listener.default.id.as_str(), None, default, &listener.default.action)])
}

fn of_default(why: &str) -> OperationError {
    exception("OperationNotPermitted", format!("The rule is the default rule of its listener. {why}"))
}
