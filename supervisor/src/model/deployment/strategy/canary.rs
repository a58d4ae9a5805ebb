//! CANARY: a little traffic first, and all of it after a bake time.

use std::time::Duration;

use super::{ALL, Shift, minutes, thousandths};
use crate::model::deployment::{CanaryConfiguration, Pace};

/// ECS: "The default value is 5.0".
const CANARY_PERCENT: f64 = 5.0;
/// ECS: "The default value is 10".
const CANARY_BAKE_MINUTES: i64 = 10;

pub(super) fn shifts(configured: Option<CanaryConfiguration>, pace: Pace) -> Vec<Shift> {
    let configured = configured.unwrap_or_default();
    let share = thousandths(configured.canary_percent.unwrap_or(CANARY_PERCENT));
    let bake = minutes(configured.canary_bake_time_in_minutes, CANARY_BAKE_MINUTES);
    let canary = Shift { share, bake: pace.step_bake.unwrap_or(bake) };
    let all = Shift { share: ALL, bake: Duration::ZERO };
    if share < ALL { vec![canary, all] } else { vec![all] }
}
