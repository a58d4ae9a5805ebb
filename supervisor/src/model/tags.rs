//! Tags: key and value, on clusters, services, tasks and task definitions.

use serde::{Deserialize, Serialize};

use crate::error::OperationError;

/// Most tags that a resource may have.
pub const MAX_TAGS: usize = 50;
const MAX_KEY_LENGTH: usize = 128;
const MAX_VALUE_LENGTH: usize = 256;

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tag {
    /// 1 to 128 characters.
    pub key: String,
    /// Up to 256 characters.
    #[serde(default)]
    pub value: String,
}

impl Tag {
    /// A tag of these two.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// Refuses too many, too long, doubled or reserved tags.
pub(crate) fn validate(tags: &[Tag]) -> Result<(), OperationError> {
    if tags.len() > MAX_TAGS {
        return Err(OperationError::invalid(format!(
            "Too many tags: a resource may have {MAX_TAGS}, not {}.",
            tags.len()
        )));
    }
    for (index, tag) in tags.iter().enumerate() {
        let key_length = tag.key.chars().count();
        if !(1..=MAX_KEY_LENGTH).contains(&key_length) {
            return Err(OperationError::invalid(format!(
                "Tag keys must have 1 to {MAX_KEY_LENGTH} characters, not {key_length}."
            )));
        }
        if tag.value.chars().count() > MAX_VALUE_LENGTH {
            return Err(OperationError::invalid(format!(
                "The value of tag {} must have at most {MAX_VALUE_LENGTH} characters.",
                tag.key
            )));
        }
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(OperationError::invalid(format!(
                "Tag key {} begins with the reserved aws:.",
                tag.key
            )));
        }
        if tags[..index].iter().any(|other| other.key == tag.key) {
            return Err(OperationError::invalid(format!("Tag key {} is given twice.", tag.key)));
        }
    }
    Ok(())
}

/// `tags` with `changes` put over them.
pub(crate) fn merged(tags: &[Tag], changes: Vec<Tag>) -> Vec<Tag> {
    let mut merged: Vec<Tag> =
        tags.iter().filter(|tag| changes.iter().all(|change| change.key != tag.key)).cloned().collect();
    merged.extend(changes);
    merged
}
