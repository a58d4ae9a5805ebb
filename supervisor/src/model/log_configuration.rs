//! What becomes of a container's output. Which drivers there are, and what their options may be, is the node's to say.
#![expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What writes a container's output where nothing is said.
pub const DEFAULT_LOG_DRIVER: &str = "file";

/// `logConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogConfiguration {
    pub log_driver: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// No driver here has an option that is a secret: stored and given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_options: Option<Value>,
}
