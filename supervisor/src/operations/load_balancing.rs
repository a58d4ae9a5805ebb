//! ELBv2's operations on load balancers, listeners, rules, target groups and targets.

pub mod listeners;
pub mod load_balancers;
pub mod rules;
mod shifted;
pub mod target_groups;
pub mod targets;

pub use listeners::*;
pub use load_balancers::*;
pub use rules::*;
pub use target_groups::*;
pub use targets::*;

use rand::Rng;

use crate::driver::PublishError;
use crate::error::OperationError;
use crate::model::load_balancing::arn::{Kind, Named};
use crate::model::load_balancing::load_balancer::LoadBalancerRecord;
use crate::model::load_balancing::refused;
use crate::model::load_balancing::target_group::TargetGroupRecord;
use crate::model::names::quoted;
use crate::records::{Found, encode, keys};
use crate::store::{Compare, Outcome, Transaction};
use crate::supervisor::Supervisor;

fn load_balancer_not_found() -> OperationError {
    exception("LoadBalancerNotFound", "One or more load balancers not found")
}

fn listener_not_found() -> OperationError {
    exception("ListenerNotFound", "One or more listeners not found")
}

fn rule_not_found() -> OperationError {
    exception("RuleNotFound", "One or more rules not found")
}

fn target_group_not_found() -> OperationError {
    exception("TargetGroupNotFound", "One or more target groups not found")
}

fn exception(code: &'static str, message: impl Into<String>) -> OperationError {
    OperationError::Exception { code, message: message.into() }
}

/// What is given and has only one value here.
fn only(field: &str, given: Option<&str>, allowed: &str, why: &str) -> Result<(), OperationError> {
    match given {
        Some(other) if other != allowed => {
            Err(refused(format!("{field} must be {allowed}, not {}{why}", quoted(other))))
        }
        _ => Ok(()),
    }
}

impl Supervisor {
    fn new_resource_id(&self) -> String {
        self.shared().random(|rng| format!("{:016x}", rng.random::<u64>()))
    }

    /// What an ARN names, if it is of this kind; else `missing`.
    fn named<'a>(
        &self,
        arn: &'a str,
        is: fn(Kind<'_>) -> bool,
        missing: fn() -> OperationError,
    ) -> Result<Named<'a>, OperationError> {
        let named = self.identity().parse_load_balancing(arn);
        named.filter(|named| is(named.kind)).ok_or_else(missing)
    }

    /// The load balancer that an ARN names or belongs to; `missing` where there is none.
    async fn load_balancer_of(
        &self,
        named: Named<'_>,
        missing: fn() -> OperationError,
    ) -> Result<Found<LoadBalancerRecord>, OperationError> {
        let found = self.records().get::<LoadBalancerRecord>(&keys::load_balancer(named.name)).await?;
        found.filter(|found| found.value.id == named.id).ok_or_else(missing)
    }

    /// A target group by its ARN.
    pub(super) async fn made_target_group(
        &self,
        arn: &str,
    ) -> Result<Option<Found<TargetGroupRecord>>, OperationError> {
        let named = self.identity().parse_load_balancing(arn);
        let Some(named) = named.filter(|named| named.kind == Kind::TargetGroup) else { return Ok(None) };
        let found = self.records().get::<TargetGroupRecord>(&keys::target_group(named.name)).await?;
        Ok(found.filter(|found| found.value.id == named.id))
    }

    /// Changes a load balancer, one change at a time: its listeners listen as it says when it is written, or nothing is different.
    async fn change_load_balancer<R>(
        &self,
        named: Named<'_>,
        missing: fn() -> OperationError,
        change: impl FnOnce(&mut LoadBalancerRecord) -> Result<R, OperationError>,
    ) -> Result<(LoadBalancerRecord, R), OperationError> {
        let mut changing = self.load_balancing().change().await;
        let found = self.load_balancer_of(named, missing).await?;
        let mut record = found.value.clone();
        let result = change(&mut record)?;
        self.check_target_groups(&record).await?;
        let failed = changing.settle(&record).await;
        let mut refusal =
            failed.into_iter().find(|failed| failed.is_new).map(|failed| not_open(&failed.error));
        if refusal.is_none() {
            let key = keys::load_balancer(&record.name);
            let put = Transaction::new()
                .when(Compare::Revision(key.clone(), found.revision))
                .put(key, encode(&record));
            refusal = match self.records().commit(put).await {
                Ok(Outcome::Committed(_)) => None,
                Ok(Outcome::Conflict(_)) => Some(OperationError::Conflict),
                Err(error) => Some(error.into()),
            };
        }
        match refusal {
            None => Ok((record, result)),
            Some(refusal) => {
                changing.settle(&found.value).await;
                Err(refusal)
            }
        }
    }

    /// Refuses target groups that are not there, or are another load balancer's.
    async fn check_target_groups(&self, record: &LoadBalancerRecord) -> Result<(), OperationError> {
        let wanted = record.target_groups();
        for arn in &wanted {
            if self.made_target_group(arn).await?.is_none() {
                return Err(exception("TargetGroupNotFound", format!("Target group '{arn}' not found")));
            }
        }
        for other in self.load_balancers().await?.iter().filter(|other| other.name != record.name) {
            if let Some(arn) = other.target_groups().intersection(&wanted).next() {
                return Err(exception(
                    "TargetGroupAssociationLimit",
                    format!(
                        "The following target groups cannot be associated with more than one load balancer: {arn}"
                    ),
                ));
            }
        }
        Ok(())
    }

    pub(super) async fn load_balancers(&self) -> Result<Vec<LoadBalancerRecord>, OperationError> {
        Ok(self.records().list(keys::LOAD_BALANCERS).await?)
    }
}

fn not_open(error: &PublishError) -> OperationError {
    refused(error.to_string())
}
