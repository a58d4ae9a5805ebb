//! Load balancers, listeners, rules and target groups, in ELBv2's words.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `load_balancer` | load balancers with their listeners and rules: one record, so that each change of them is one write |
//! | `target_group` | target groups |
//! | `action`, `condition` | what a rule does, and to which requests; as they come, as they are kept, and as the balancer takes them |
//! | `arn` | the names of all of these |
//! | `attachment` | the target groups that a service is given |
//! | `lenient` | numbers that may come as text: ELBv2's own protocol has nothing else |

pub mod action;
pub mod arn;
pub mod attachment;
pub mod condition;
pub(crate) mod lenient;
pub mod load_balancer;
pub mod target_group;

use serde::{Deserialize, Serialize};

use super::names::quoted;
use super::tags::{self, Tag};
use crate::error::OperationError;

/// ELB: "This name must be unique per region per account, can have a maximum of 32 characters, must contain only alphanumeric characters or hyphens, and
/// must not begin or end with a hyphen".
const MAX_NAME_LENGTH: usize = 32;

/// A tag as ELBv2 writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ResourceTag {
    /// 1 to 128 characters.
    pub key: String,
    /// Up to 256 characters.
    #[serde(default)]
    pub value: String,
}

/// Refuses too many, too long, doubled or reserved tags.
pub(crate) fn check_tags(given: &[ResourceTag]) -> Result<(), OperationError> {
    let given: Vec<Tag> = given.iter().map(|tag| Tag::new(&tag.key, &tag.value)).collect();
    tags::validate(&given).map_err(|error| refused(error.to_string()))
}

/// Refuses what cannot be the name of a load balancer or a target group.
pub(crate) fn check_name(name: &str) -> Result<(), OperationError> {
    let valid = (1..=MAX_NAME_LENGTH).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if valid {
        return Ok(());
    }
    Err(refused(format!(
        "Name must be 1 to {MAX_NAME_LENGTH} letters, digits and hyphens, with no hyphen at either end, not {}",
        quoted(name)
    )))
}

/// `ValidationError`: a parameter is outside of what is allowed.
pub(crate) fn refused(message: impl Into<String>) -> OperationError {
    OperationError::Exception { code: "ValidationError", message: message.into() }
}
