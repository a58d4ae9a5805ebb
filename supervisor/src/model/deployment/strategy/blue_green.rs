//! BLUE_GREEN: all traffic at once.

use std::time::Duration;

use super::{ALL, Shift};

pub(super) fn shifts() -> Vec<Shift> {
    vec![Shift { share: ALL, bake: Duration::ZERO }]
}
