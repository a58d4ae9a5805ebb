//! Where the values of containers' secrets come from.
//!
//! Those that people put here by operations are in the store, sealed (`vault`); others come from a [`SecretSource`], such as files.
//!
//! A value is read when a task starts and lives in the environment of its containers; no record, description or log has it.

pub mod cipher;
mod files;
pub(crate) mod vault;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use cipher::{SecretKey, SecretKeyError};
pub use files::FileSecrets;
pub(crate) use files::MAX_SECRET;

/// Gives the values of secrets by name.
#[async_trait]
pub trait SecretSource: std::fmt::Debug + Send + Sync + 'static {
    /// The newest value of a secret. Names are those of [`SecretReference`](crate::model::secret::SecretReference).
    async fn secret(&self, name: &str) -> Result<SecretValue, SecretError>;
}

/// A secret's value, which no `Debug` output shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(String);

impl SecretValue {
    /// A value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for those who need it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

/// A secret cannot be had. No variant holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nobody has put it there.
    #[error("{0} does not exist")]
    Missing(String),
    /// It is there, but not to be used as it is.
    #[error("{0}")]
    Unusable(String),
}

/// Has no secrets: the source of a host without a place for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

#[async_trait]
impl SecretSource for NoSecrets {
    async fn secret(&self, name: &str) -> Result<SecretValue, SecretError> {
        Err(SecretError::Missing(format!("secret {name} (this host keeps no secrets)")))
    }
}
