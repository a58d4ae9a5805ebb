//! Price tables: what an hour of a vCPU and of a GiB costs.

use std::{collections::BTreeMap, path::Path};

use coracle_supervisor::operations::Amounts;
use serde::{Deserialize, Serialize};

use crate::cli::error::Failure;

/// The largest price table that is read.
const MAX_FILE: u64 = 1 << 20;
const SECONDS_PER_HOUR: f64 = 3600.0;

/// A price table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PriceTable {
    /// What the prices are in.
    pub(crate) currency: String,
    /// Where they are from, and of when.
    #[serde(default)]
    pub(crate) source: String,
    /// By capacity provider.
    pub(crate) prices: BTreeMap<String, Price>,
}

/// What an hour costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Price {
    /// Of one vCPU.
    vcpu_hour: f64,
    /// Of one GiB.
    gib_hour: f64,
}

impl PriceTable {
    /// AWS Fargate's for Linux on x86 in us-east-1. Its Spot prices move with supply and demand: these are those that it began with.
    pub(crate) fn fargate() -> Self {
        let price = |vcpu_hour, gib_hour| Price { vcpu_hour, gib_hour };
        Self {
            currency: "USD".to_owned(),
            source: "aws.amazon.com/fargate/pricing, us-east-1, Linux/x86: FARGATE as of 2026-06; FARGATE_SPOT as of 2019-12 (it varies)"
                .to_owned(),
            prices: [
                ("FARGATE".to_owned(), price(0.04048, 0.004_445)),
                ("FARGATE_SPOT".to_owned(), price(0.013_340_53, 0.001_464_89)),
            ]
            .into(),
        }
    }

    /// The table of a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let unusable = |why: String| Failure::usage(format!("the price table {}: {why}", path.display()));
        let length = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?.len();
        if length > MAX_FILE {
            return Err(unusable(format!("is larger than {MAX_FILE} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
        Self::parse(&text).map_err(unusable)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (capacity, price) in &table.prices {
            for (field, value) in [("vcpuHour", price.vcpu_hour), ("gibHour", price.gib_hour)] {
                // JSON has neither infinities nor NaN.
                if value < 0.0 {
                    return Err(format!("prices.{capacity}.{field} must not be negative, but is {value}"));
                }
            }
        }
        Ok(table)
    }

    /// What amounts cost on a kind of capacity; none where the table has no price for it. `minimum`: with at least a minute for each task.
    pub(crate) fn cost(&self, capacity: &str, amounts: &Amounts, minimum: bool) -> Option<f64> {
        let price = self.prices.get(capacity)?;
        let (more_vcpu, more_gib) = match minimum {
            true => (amounts.minimum_vcpu_seconds, amounts.minimum_gib_seconds),
            false => (0.0, 0.0),
        };
        let vcpu_hours = (amounts.vcpu_seconds + more_vcpu) / SECONDS_PER_HOUR;
        let gib_hours = (amounts.gib_seconds + more_gib) / SECONDS_PER_HOUR;
        Some(vcpu_hours * price.vcpu_hour + gib_hours * price.gib_hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_a_quarter_vcpu_and_half_a_gib_costs_what_aws_says() {
        let day = 86_400.0;
        let amounts = Amounts { vcpu_seconds: 0.25 * day, gib_seconds: 0.5 * day, ..Amounts::default() };
        let cost = PriceTable::fargate().cost("FARGATE", &amounts, false).unwrap();
        assert!((cost - 0.29622).abs() < 1e-9, "{cost}");
        assert_eq!(PriceTable::fargate().cost("MINE", &amounts, false), None);
    }

    #[test]
    fn a_minimum_is_added_where_it_is_asked_for() {
        let amounts = Amounts { vcpu_seconds: 10.0, minimum_vcpu_seconds: 50.0, ..Amounts::default() };
        let table = PriceTable::fargate();
        let ratio =
            table.cost("FARGATE", &amounts, true).unwrap() / table.cost("FARGATE", &amounts, false).unwrap();
        assert!((ratio - 6.0).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn what_is_no_price_table_is_refused_by_name() {
        let price = |price: &str| format!(r#"{{"currency": "EUR", "prices": {{"FARGATE": {price}}}}}"#);
        assert!(PriceTable::parse(&price(r#"{"vcpuHour": 1, "gibHour": 0}"#)).is_ok());
        for (text, part) in [
            (price(r#"{"vcpuHour": -1, "gibHour": 0}"#), "prices.FARGATE.vcpuHour must not be negative"),
            (price(r#"{"vcpuHour": 1}"#), "gibHour"),
            (price(r#"{"vcpuHour": 1, "gibHour": 0, "colour": 1}"#), "colour"),
            ("[]".to_owned(), "expected"),
        ] {
            let error = PriceTable::parse(&text).expect_err(part);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
