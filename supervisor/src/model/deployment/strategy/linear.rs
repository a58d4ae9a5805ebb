//! LINEAR: equal steps, with a bake time between them.

use std::time::Duration;

use super::{ALL, Shift, minutes, thousandths};
use crate::model::deployment::{LinearConfiguration, Pace};

/// ECS: "The default value is 10.0".
const STEP_PERCENT: f64 = 10.0;
/// ECS: "The default value is 6".
const STEP_BAKE_MINUTES: i64 = 6;

pub(super) fn shifts(configured: Option<LinearConfiguration>, pace: Pace) -> Vec<Shift> {
    let configured = configured.unwrap_or_default();
    let step = thousandths(configured.step_percent.unwrap_or(STEP_PERCENT)).max(1);
    let bake = minutes(configured.step_bake_time_in_minutes, STEP_BAKE_MINUTES);
    let bake = pace.step_bake.unwrap_or(bake);
    let mut shifts: Vec<Shift> = (1..ALL.div_ceil(step)).map(|n| Shift { share: n * step, bake }).collect();
    // ECS: "This bake time is not applied after reaching 100 percent traffic."
    shifts.push(Shift { share: ALL, bake: Duration::ZERO });
    shifts
}
