//! Auto scaling: changes the desired counts of services as their policies and schedules say.
//!
//! | module | what it does |
//! | --- | --- |
//! | `running` | the tasks that there are to measure |
//! | `sample` | what tasks used becomes metrics, one value for each period of 60 s |
//! | `target_tracking`, `step`, `fast` | one kind of policy each: a pure function of a series to a proposal and how it was found |
//! | `alarm` | when an alarm is raised |
//! | `decision` | several proposals become one count |
//! | `apply` | the change of the count, durable together with the activity that tells of it |
//! | `engine` | the loop |
//!
//! Nothing here is on a request's way: the engine reads accounts that runtime and balancer keep anyway.

mod alarm;
mod apply;
mod decision;
mod engine;
mod fast;
mod running;
pub(crate) mod sample;
mod step;
mod target_tracking;

pub(crate) use apply::{Reason, clamped, commit_change, uuid};
pub(crate) use engine::Engine;
pub(crate) use running::Running;
pub use sample::Point;
