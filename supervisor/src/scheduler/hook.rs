//! Life-cycle hooks: calling what a deployment waits for, and noting what it says.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Done;
use crate::error::OperationError;
use crate::hooks::HookAnswer;
use crate::model::deployment::{HookRun, HookStatus, HookTargetType, Slot};
use crate::model::service::ServiceRecord;
use crate::records::ServiceKey;
use crate::supervisor::Shared;

/// Calls of one hook that may fail before the hook has: what answers may be starting just now.
const ATTEMPTS: u32 = 3;
/// Pause after a call that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The hooks of a service's stage that are to be called.
pub(super) fn due(record: &ServiceRecord) -> Vec<HookRun> {
    let progress = record.service_deployment.running().and_then(|current| current.progress.as_ref());
    let hooks = progress.map(|progress| progress.hooks.as_slice()).unwrap_or_default();
    hooks.iter().filter(|run| run.status == HookStatus::InProgress).cloned().collect()
}

/// Calls a hook until it says yes or no, and notes it. After a crash it is called anew: it may be called more than once.
pub(super) async fn run(shared: Arc<Shared>, key: ServiceKey, run: HookRun) -> Done {
    let mut attempts = 0;
    let noted = loop {
        let record = match shared.records.service(&key).await {
            Ok(Some(found)) => found.value,
            Ok(None) => break Ok(()),
            Err(error) => break Err(OperationError::from(error)),
        };
        // Somebody else ended it: a person, its time, or a newer deployment.
        let Some((url, payload)) = call_of(&shared, &key, &record, &run) else { break Ok(()) };
        match shared.config.hooks.call(&url, &payload).await {
            Ok(HookAnswer::Succeeded) => break note(&shared, &key, &run, HookStatus::Succeeded).await,
            Ok(HookAnswer::Failed) => break note(&shared, &key, &run, HookStatus::Failed).await,
            Ok(HookAnswer::InProgress { again_in }) => {
                attempts = 0;
                tokio::time::sleep(again_in).await;
            }
            Err(problem) => {
                attempts += 1;
                tracing::warn!(service = %key.name, hook = %run.id, %problem, "a life-cycle hook cannot be called");
                if attempts >= ATTEMPTS {
                    break note(&shared, &key, &run, HookStatus::Failed).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    if let Err(error) = noted {
        tracing::error!(%error, service = %key.name, "cannot note what a life-cycle hook said");
        tokio::time::sleep(PAUSE).await;
    }
    Done { called: Some(run.id), ..Done::of(key) }
}

async fn note(
    shared: &Shared,
    key: &ServiceKey,
    run: &HookRun,
    status: HookStatus,
) -> Result<(), OperationError> {
    let now = shared.now();
    let end = |record: &mut ServiceRecord| Ok(record.end_hook_named(&run.id, status, now).then_some(()));
    match shared.records.update_service(key, end).await {
        Ok(_) | Err(OperationError::ServiceNotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where a hook is called and with what, unless it is over. The fields are those that ECS gives a Lambda function.
fn call_of(
    shared: &Shared,
    key: &ServiceKey,
    record: &ServiceRecord,
    run: &HookRun,
) -> Option<(String, Value)> {
    let current = record.service_deployment.running()?;
    let progress = current.progress.as_ref()?;
    progress.hooks.iter().find(|known| known.id == run.id && known.status.is_open())?;
    let hook = current.configuration.hooks().get(run.index)?;
    let url = hook.hook_target_arn.clone().filter(|_| hook.kind() == HookTargetType::AwsLambda)?;
    let identity = &shared.config.identity;
    let revision = |id: &str| identity.service_revision(&key.cluster, &key.name, id);
    let weights = |of: &dyn Fn(Slot) -> u32| -> Value {
        let weight = |slot| {
            record
                .deployments
                .iter()
                .find(|known| known.slot == slot)
                .map(|known| (revision(&known.revision), Value::from(of(slot) / 10)))
        };
        [Slot::Blue, Slot::Green].into_iter().filter_map(weight).collect::<serde_json::Map<_, _>>().into()
    };
    let test = |slot| if record.traffic.test() == slot { 1000 } else { 0 };
    let payload = json!({
        "executionId": run.id,
        "lifecycleStage": progress.stage,
        "resourceArn": identity.service_deployment(&key.cluster, &key.name, &current.id),
        "executionDetails": {
            "serviceArn": identity.service(&key.cluster, &key.name),
            "targetServiceRevisionArn": revision(&current.target.id),
            "testTrafficWeights": weights(&test),
            "productionTrafficWeights": weights(&|slot| record.traffic.production(slot)),
        },
        "hookDetails": hook.hook_details,
    });
    Some((url, payload))
}
