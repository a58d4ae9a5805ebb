//! Capacity providers: which kind of capacity a task runs on, and how a strategy spreads tasks over several.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::quoted;
use crate::error::OperationError;

/// ECS: "The valid range is 0 to 100,000" of `base`.
const MAX_BASE: u32 = 100_000;
/// ECS: "The valid range is 0 to 1,000" of `weight`.
const MAX_WEIGHT: u32 = 1_000;
/// ECS: "Up to 20 capacity providers can be specified in a capacity provider strategy."
const MAX_ITEMS: usize = 20;

/// The kinds of capacity that there are. Both are this host; what differs is who may take it back, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CapacityProvider {
    /// Stays until the task ends.
    Fargate,
    /// May be taken back at two minutes' notice.
    FargateSpot,
}

impl CapacityProvider {
    /// As ECS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fargate => "FARGATE",
            Self::FargateSpot => "FARGATE_SPOT",
        }
    }
}

/// One part of a strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Item {
    capacity_provider: String,
    #[serde(default)]
    weight: i64,
    #[serde(default)]
    base: i64,
}

/// A capacity provider strategy, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy(Vec<(CapacityProvider, u32, u32)>);

impl Strategy {
    /// Reads ECS's `capacityProviderStrategy`; none for one without parts. Errors name what is wrong.
    pub fn parse(value: &Value) -> Result<Option<Self>, OperationError> {
        let items: Vec<Item> = serde_json::from_value(value.clone())
            .map_err(|error| OperationError::invalid(format!("capacityProviderStrategy: {error}")))?;
        if items.is_empty() {
            return Ok(None);
        }
        if items.len() > MAX_ITEMS {
            return Err(OperationError::invalid(format!(
                "capacityProviderStrategy can have at most {MAX_ITEMS} items, not {}.",
                items.len()
            )));
        }
        let mut parsed: Vec<(CapacityProvider, u32, u32)> = Vec::with_capacity(items.len());
        for item in items {
            let provider = match item.capacity_provider.as_str() {
                "FARGATE" => CapacityProvider::Fargate,
                "FARGATE_SPOT" => CapacityProvider::FargateSpot,
                other => {
                    return Err(OperationError::invalid(format!(
                        "The specified capacity provider {} was not found. There are FARGATE and FARGATE_SPOT.",
                        quoted(other)
                    )));
                }
            };
            if parsed.iter().any(|(known, ..)| *known == provider) {
                return Err(OperationError::invalid(format!(
                    "capacityProviderStrategy names {} twice.",
                    provider.as_str()
                )));
            }
            parsed.push((
                provider,
                within("weight", item.weight, MAX_WEIGHT)?,
                within("base", item.base, MAX_BASE)?,
            ));
        }
        if parsed.iter().filter(|(_, _, base)| *base > 0).count() > 1 {
            return Err(OperationError::invalid(
                "Only one capacity provider of a capacityProviderStrategy can have a base.",
            ));
        }
        if parsed.iter().all(|(_, weight, _)| *weight == 0) {
            return Err(OperationError::invalid(
                "At least one capacity provider of a capacityProviderStrategy must have a weight above 0.",
            ));
        }
        Ok(Some(Self(parsed)))
    }

    /// Where the next task goes: first the base is filled, then the provider that is furthest behind its weight is next. `has` is how many tasks a
    /// provider has.
    pub fn next(&self, has: impl Fn(CapacityProvider) -> u32) -> CapacityProvider {
        let unfilled = self.0.iter().find(|(provider, _, base)| has(*provider) < *base);
        let behind = || {
            // What is there beyond the base and would be with one more, by weight; the first of equals.
            let load = |(provider, weight, base): &&(CapacityProvider, u32, u32)| {
                f64::from(has(*provider).saturating_sub(*base) + 1) / f64::from(*weight)
            };
            let weighted = self.0.iter().filter(|(_, weight, _)| *weight > 0);
            weighted.min_by(|a, b| load(a).total_cmp(&load(b)))
        };
        unfilled.or_else(behind).map_or(CapacityProvider::Fargate, |(provider, ..)| *provider)
    }
}

fn within(field: &str, given: i64, most: u32) -> Result<u32, OperationError> {
    u32::try_from(given).ok().filter(|number| *number <= most).ok_or_else(|| {
        OperationError::invalid(format!(
            "capacityProviderStrategy: {field} must be 0 to {most}, not {given}."
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spread(strategy: Value, tasks: usize) -> (usize, usize) {
        let strategy = Strategy::parse(&strategy).unwrap().unwrap();
        let mut chosen: Vec<CapacityProvider> = Vec::new();
        for _ in 0..tasks {
            let has = |of| u32::try_from(chosen.iter().filter(|known| **known == of).count()).unwrap();
            let next = strategy.next(has);
            chosen.push(next);
        }
        let spot = chosen.iter().filter(|known| **known == CapacityProvider::FargateSpot).count();
        (tasks - spot, spot)
    }

    #[test]
    fn base_first_then_by_weight() {
        let spot = json!({ "capacityProvider": "FARGATE_SPOT", "weight": 3 });
        assert_eq!(spread(json!([spot]), 5), (0, 5));
        let fargate = json!({ "capacityProvider": "FARGATE", "weight": 1 });
        assert_eq!(spread(json!([fargate, spot]), 8), (2, 6));
        let fargate = json!({ "capacityProvider": "FARGATE", "base": 2, "weight": 1 });
        assert_eq!(spread(json!([fargate, spot]), 2), (2, 0));
        assert_eq!(spread(json!([fargate, spot]), 10), (4, 6));
        let base_only = json!({ "capacityProvider": "FARGATE", "base": 2 });
        assert_eq!(spread(json!([base_only, spot]), 10), (2, 8));
    }

    #[test]
    fn what_is_no_strategy_is_refused_by_name() {
        assert_eq!(Strategy::parse(&json!([])).unwrap(), None);
        for (strategy, part) in [
            (json!([{ "capacityProvider": "mine", "weight": 1 }]), "mine"),
            (json!([{ "capacityProvider": "FARGATE" }]), "weight above 0"),
            (json!([{ "capacityProvider": "FARGATE", "weight": 1001 }]), "weight must be 0 to 1000"),
            (json!([{ "capacityProvider": "FARGATE", "weight": 1, "base": -1 }]), "base must be 0 to 100000"),
            (
                json!([{ "capacityProvider": "FARGATE", "weight": 1 }, { "capacityProvider": "FARGATE", "weight": 1 }]),
                "twice",
            ),
            (
                json!([
                    { "capacityProvider": "FARGATE", "weight": 1, "base": 1 },
                    { "capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 1 }
                ]),
                "Only one",
            ),
            (json!([{ "weight": 1 }]), "capacityProvider"),
        ] {
            let error = Strategy::parse(&strategy).expect_err(part).to_string();
            assert!(error.contains(part), "{strategy}: {error}");
        }
    }
}
