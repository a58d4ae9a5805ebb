//! The balancer by itself, in front of servers that run elsewhere: what a file describes, and taking in another file while
//! it serves.
//!
//! In reading order: `config` (the file), `rules` (conditions and actions in it), `limits`, `insight` (access logs and metrics), `tracing` (spans), `acme` (certificates), `running` (from one file to the next).

mod acme;
mod config;
mod insight;
mod limits;
mod rules;
mod running;
mod tracing;

use std::fmt;

pub use config::Config;
pub use running::{Balance, ReopenError};

use crate::compose::ComposeError;

/// What is wrong with a file, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFileError(ComposeError);

impl ConfigFileError {
    /// The key, for example `listeners.web.rules[0].priority`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }
}

impl From<ComposeError> for ConfigFileError {
    fn from(error: ComposeError) -> Self {
        Self(error)
    }
}

impl fmt::Display for ConfigFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ConfigFileError {}

#[cfg(test)]
mod tests;
