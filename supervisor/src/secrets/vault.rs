//! Secrets and parameters that people put here by operations: kept in the store, sealed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cipher::SecretKey;
use super::files::without_arn_suffix;
use super::{SecretError, SecretValue};
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::secret::{SecretReference, SecretService};
use crate::records::{Found, Records, encode, keys};
use crate::store::{Compare, Outcome, StoreError, Transaction};

/// A secret or a parameter as it is kept. The value in it is sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sealed {
    /// As it was given.
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// A parameter's: `String`, `StringList` or `SecureString`.
    pub(crate) kind: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) changed_at: Timestamp,
    /// Grows with each value.
    pub(crate) version: u64,
    /// Of the present value; a secret's.
    pub(crate) version_id: String,
    pub(crate) sealed: String,
}

/// The secrets of a store, and the key to them.
#[derive(Clone, Debug)]
pub(crate) struct Vault {
    records: Records,
    key: Arc<SecretKey>,
}

impl Vault {
    pub(crate) fn new(records: Records, key: Arc<SecretKey>) -> Self {
        Self { records, key }
    }

    /// What there is under a name, with or without the characters that end the name in an ARN.
    pub(crate) async fn find(
        &self,
        service: SecretService,
        name: &str,
    ) -> Result<Option<Found<Sealed>>, StoreError> {
        if let Some(found) = self.records.get(&keys::sealed(service, name)).await? {
            return Ok(Some(found));
        }
        match without_arn_suffix(name) {
            Some(name) if service == SecretService::SecretsManager => {
                self.records.get(&keys::sealed(service, name)).await
            }
            _ => Ok(None),
        }
    }

    /// All of a service's, by name.
    pub(crate) async fn list(&self, service: SecretService) -> Result<Vec<Sealed>, StoreError> {
        self.records.list(&keys::sealed(service, "")).await
    }

    /// The value of what was found.
    pub(crate) fn open(
        &self,
        service: SecretService,
        sealed: &Sealed,
    ) -> Result<SecretValue, OperationError> {
        let place = place(service, sealed);
        self.key.open_value(&place, &sealed.sealed).map_err(|error| {
            OperationError::invalid(format!("The value of {} is lost: {error}.", sealed.name))
        })
    }

    /// Writes a value, if nobody changed the record since `before`. Whether nobody did.
    pub(crate) async fn put(
        &self,
        service: SecretService,
        before: Option<u64>,
        mut record: Sealed,
        value: &SecretValue,
    ) -> Result<bool, OperationError> {
        record.sealed = self
            .key
            .seal(&place(service, &record), value)
            .map_err(|_| OperationError::invalid("The value cannot be sealed."))?;
        let key = keys::sealed(service, plain(&record.name));
        let unchanged = match before {
            Some(revision) => Compare::Revision(key.clone(), revision),
            None => Compare::Absent(key.clone()),
        };
        let put = Transaction::new().when(unchanged).put(key, encode(&record));
        Ok(matches!(self.records.commit(put).await?, Outcome::Committed(_)))
    }

    /// Removes one.
    pub(crate) async fn delete(&self, service: SecretService, name: &str) -> Result<(), StoreError> {
        self.records.commit(Transaction::new().delete(keys::sealed(service, plain(name)))).await?;
        Ok(())
    }

    /// The value that a task definition names, if it is kept here. A plain name is a parameter's, as in ECS, or else a secret's.
    pub(crate) async fn value(
        &self,
        reference: &SecretReference,
    ) -> Result<Option<SecretValue>, SecretError> {
        let unusable = |error: &dyn std::fmt::Display| SecretError::Unusable(error.to_string());
        let services: &[SecretService] = match reference.service {
            Some(SecretService::ParameterStore) => &[SecretService::ParameterStore],
            Some(SecretService::SecretsManager) => &[SecretService::SecretsManager],
            None => &[SecretService::ParameterStore, SecretService::SecretsManager],
        };
        for service in services {
            let found = self.find(*service, &reference.name).await.map_err(|error| unusable(&error))?;
            if let Some(found) = found {
                return self.open(*service, &found.value).map(Some).map_err(|error| unusable(&error));
            }
        }
        Ok(None)
    }
}

/// What a value is bound to: the record that it is in, and which of its values it is.
fn place(service: SecretService, sealed: &Sealed) -> String {
    format!("{}#{}", keys::sealed(service, plain(&sealed.name)), sealed.version)
}

/// A name as keys and references have it: a parameter's may begin with a slash.
pub(crate) fn plain(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}
