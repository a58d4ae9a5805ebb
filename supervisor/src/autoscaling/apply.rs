//! The change of a desired count, and the activity that tells of it: one transaction.

use rand::Rng;

use crate::error::OperationError;
use crate::model::scaling::{Activity, Change, MAX_ACTIVITIES, ScalableTarget, ScalingState};
use crate::model::service::{ServiceRecord, ServiceStatus};
use crate::records::{Found, ServiceKey, encode, keys};
use crate::store::{Compare, Outcome, Transaction};
use crate::supervisor::Shared;

/// Why a count changes.
#[derive(Clone, Debug)]
pub(crate) struct Reason {
    /// What caused it, in Application Auto Scaling's words.
    pub(crate) cause: String,
    /// The numbers.
    pub(crate) details: String,
}

/// `count` within a target's bounds.
pub(crate) fn clamped(target: &ScalableTarget, count: u32) -> u32 {
    count.clamp(target.min_capacity, target.max_capacity.max(target.min_capacity))
}

/// Sets the desired count of the service that `found` holds, unless somebody changed it since: then nothing happens, and `false` is the answer. What else
/// `transaction` does happens with it.
pub(crate) async fn commit_change(
    shared: &Shared,
    key: &ServiceKey,
    found: Found<ServiceRecord>,
    to: u32,
    reason: Reason,
    transaction: Transaction,
) -> Result<bool, OperationError> {
    let Found { value: mut service, revision } = found;
    let from = service.desired_count;
    if service.status != ServiceStatus::Active || from == to {
        return Ok(matches!(shared.records.commit(transaction).await?, Outcome::Committed(_)));
    }
    let now = shared.now();
    let state_key = keys::scaling_state(key);
    let known = shared.records.get::<ScalingState>(&state_key).await?;
    let unchanged = match &known {
        Some(found) => Compare::Revision(state_key.clone(), found.revision),
        None => Compare::Absent(state_key.clone()),
    };
    let mut state = known.map(|found| found.value).unwrap_or_default();
    let change = Change { at: now, from, to };
    if to > from {
        // "If another scale-out ... during the scale-in cooldown, the scale-in cooldown stops": scaling out is never held back by it.
        state.last_out = Some(change);
    } else {
        state.last_in = Some(change);
    }
    let id = shared.random(|rng| uuid(rng.random()));
    let description = format!("Setting desired count to {to}.");
    state
        .activities
        .insert(0, Activity { id, at: now, description, cause: reason.cause, details: reason.details });
    state.activities.truncate(MAX_ACTIVITIES);
    service.desired_count = to;
    let transaction = transaction
        .when(Compare::Revision(keys::service(key), revision))
        .when(unchanged)
        .put(keys::service(key), encode(&service))
        .put(state_key, encode(&state));
    Ok(matches!(shared.records.commit(transaction).await?, Outcome::Committed(_)))
}

/// A random UUID's usual form.
pub(crate) fn uuid(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
