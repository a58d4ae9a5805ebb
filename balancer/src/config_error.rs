//! The one form of error for configuration: which field, what it was given, what is allowed.

use std::borrow::Cow;
use std::fmt;

/// A setting that is unknown or out of its limits: which field, what it was given and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not {allowed}")]
pub struct ConfigError {
    field: Cow<'static, str>,
    value: String,
    allowed: Cow<'static, str>,
}

impl ConfigError {
    pub(crate) fn new(
        field: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
        allowed: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), value: value.to_string(), allowed: allowed.into() }
    }

    /// The field in AWS's words, for example `HealthCheckIntervalSeconds` or `slow_start.duration_seconds`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What would have been allowed, as the end of a sentence that begins with "is not".
    pub fn allowed(&self) -> &str {
        &self.allowed
    }

    /// The same error of a field that goes by another name.
    #[must_use]
    pub(crate) fn of(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = field.into();
        self
    }

    /// The same error of a field inside of `outer`.
    #[must_use]
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        self.field = format!("{outer}.{}", self.field).into();
        self
    }
}
