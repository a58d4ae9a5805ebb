//! Names by ECS's rules, and the ids we make.

use std::fmt;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::error::OperationError;

/// "Up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens are allowed."
pub const MAX_NAME_LENGTH: usize = 255;

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_LENGTH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text! {
    /// A cluster's name.
    ClusterName
}
text! {
    /// A service's name, unique in its cluster.
    ServiceName
}
text! {
    /// A task definition's family.
    Family
}
text! {
    /// A container's name, unique in its task definition.
    ContainerName
}
text! {
    /// A task's id: 32 hexadecimal digits.
    TaskId
}
text! {
    /// A node's id: 32 hexadecimal digits, the last part of a container instance's ARN.
    NodeId
}

impl ClusterName {
    /// Parses a cluster's name.
    pub fn parse(text: &str) -> Result<Self, OperationError> {
        if is_name(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(OperationError::invalid(format!(
            "Cluster must match ^[a-zA-Z0-9\\-_]{{1,{MAX_NAME_LENGTH}}}$, but was {}",
            quoted(text)
        )))
    }
}

impl Default for ClusterName {
    /// The cluster that a request without one means.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl ServiceName {
    /// Parses a service's name.
    pub fn parse(text: &str) -> Result<Self, OperationError> {
        if is_name(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(OperationError::invalid(format!(
            "serviceName must match ^[a-zA-Z0-9\\-_]{{1,{MAX_NAME_LENGTH}}}$, but was {}",
            quoted(text)
        )))
    }
}

impl Family {
    /// Parses a family's name.
    pub fn parse(text: &str) -> Result<Self, OperationError> {
        if text.is_empty() {
            return Err(OperationError::client("Family should not be null or empty."));
        }
        if is_name(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(OperationError::client(format!(
            "Family contains invalid characters. It must match ^[a-zA-Z0-9\\-_]{{1,{MAX_NAME_LENGTH}}}$, but was {}",
            quoted(text)
        )))
    }
}

impl ContainerName {
    /// Parses a container's name.
    pub fn parse(text: &str) -> Result<Self, OperationError> {
        if text.is_empty() {
            return Err(OperationError::client("Container.name should not be null or empty."));
        }
        if is_name(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(OperationError::client(format!(
            "Container.name contains invalid characters. It must match ^[a-zA-Z0-9\\-_]{{1,{MAX_NAME_LENGTH}}}$, but was {}",
            quoted(text)
        )))
    }
}

impl TaskId {
    /// A new id.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(hex_id(rng))
    }

    /// Parses an id; `None` for what is not one.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| Self(text.to_owned()))
    }
}

impl NodeId {
    /// A new id.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(hex_id(rng))
    }
}

/// Thirty-two random hexadecimal digits, the form of ECS's task and container instance ids.
pub(crate) fn hex_id(rng: &mut impl Rng) -> String {
    format!("{:032x}", rng.random::<u128>())
}

/// `ecs-svc/` and 19 digits: the form of ECS's deployment ids.
pub(crate) fn deployment_id(rng: &mut impl Rng) -> String {
    format!("ecs-svc/{}", rng.random_range(1_000_000_000_000_000_000_u64..9_000_000_000_000_000_000))
}

/// 19 digits: the form of ECS's service revision ids.
pub(crate) fn revision_id(rng: &mut impl Rng) -> String {
    rng.random_range(1_000_000_000_000_000_000_u64..9_000_000_000_000_000_000).to_string()
}

/// 22 letters and digits: the form of ECS's service deployment ids.
pub(crate) fn service_deployment_id(rng: &mut impl Rng) -> String {
    (0..22).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}

/// What was given, cut where a message would drown in it.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
        None => format!("{text:?}"),
    }
}
