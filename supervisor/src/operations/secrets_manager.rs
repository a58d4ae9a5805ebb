//! Secrets Manager's CreateSecret, GetSecretValue, PutSecretValue, DescribeSecret, ListSecrets and DeleteSecret.
//!
//! One version of each secret is kept: AWSCURRENT. Values are text.
#![expect(
    missing_docs,
    reason = "requests and responses are Secrets Manager's own: its API reference documents their fields"
)]

use std::collections::BTreeMap;

use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::page;
use crate::autoscaling::uuid;
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::arn::fnv1a;
use crate::model::secret::{SecretReference, SecretService};
use crate::records::Found;
use crate::secrets::vault::{Sealed, plain};
use crate::secrets::{MAX_SECRET, SecretValue};
use crate::supervisor::Supervisor;

const SERVICE: SecretService = SecretService::SecretsManager;
/// The one stage there is here.
const CURRENT: &str = "AWSCURRENT";
/// Rounds of compare-and-swap before an operation gives up.
const MAX_ATTEMPTS: usize = 16;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateSecretRequest {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_string: Option<SecretValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_request_token: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutSecretValueRequest {
    pub secret_id: String,
    pub secret_string: SecretValue,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_request_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_stages: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct GetSecretValueRequest {
    pub secret_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_stage: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct DescribeSecretRequest {
    pub secret_id: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct DeleteSecretRequest {
    pub secret_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_delete_without_recovery: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_window_in_days: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct ListSecretsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// Which secret, and which of its values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecretResponse {
    #[serde(rename = "ARN")]
    pub arn: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub version_stages: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetSecretValueResponse {
    #[serde(flatten)]
    pub secret: SecretResponse,
    pub secret_string: SecretValue,
    pub created_date: Timestamp,
}

/// A secret without its value.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecretDescription {
    #[serde(rename = "ARN")]
    pub arn: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub created_date: Timestamp,
    pub last_changed_date: Timestamp,
    /// DescribeSecret has it under this name, ListSecrets under the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_ids_to_stages: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_versions_to_stages: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListSecretsResponse {
    pub secret_list: Vec<SecretDescription>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteSecretResponse {
    #[serde(rename = "ARN")]
    pub arn: String,
    pub name: String,
    pub deletion_date: Timestamp,
}

impl Supervisor {
    /// Creates a secret. A repetition with the same token and value answers the same.
    pub async fn create_secret(
        &self,
        request: CreateSecretRequest,
    ) -> Result<SecretResponse, OperationError> {
        check_name(&request.name)?;
        let value = request
            .secret_string
            .ok_or_else(|| OperationError::invalid("You must provide SecretString: values here are text."))?;
        check_value(&value)?;
        let now = self.now();
        let record = Sealed {
            name: request.name.clone(),
            description: request.description,
            kind: None,
            created_at: now,
            changed_at: now,
            version: 1,
            version_id: self.version_id(request.client_request_token)?,
            sealed: String::new(),
        };
        if self.vault().put(SERVICE, None, record.clone(), &value).await? {
            return Ok(self.secret_response(&record));
        }
        match self.vault().find(SERVICE, plain(&request.name)).await? {
            Some(known)
                if known.value.version_id == record.version_id
                    && self.vault().open(SERVICE, &known.value)? == value =>
            {
                Ok(self.secret_response(&known.value))
            }
            _ => Err(OperationError::Exception {
                code: "ResourceExistsException",
                message: format!("The operation failed because the secret {} already exists.", request.name),
            }),
        }
    }

    /// Gives a secret a new value, which tasks get that are started from now on.
    pub async fn put_secret_value(
        &self,
        request: PutSecretValueRequest,
    ) -> Result<SecretResponse, OperationError> {
        check_value(&request.secret_string)?;
        if request.version_stages.is_some_and(|stages| stages != [CURRENT]) {
            return Err(OperationError::invalid(format!(
                "VersionStages must be [{CURRENT}]: one version is kept."
            )));
        }
        let version_id = self.version_id(request.client_request_token)?;
        for _ in 0..MAX_ATTEMPTS {
            let Found { value: mut record, revision } = self.secret(&request.secret_id).await?;
            if record.version_id == version_id {
                if self.vault().open(SERVICE, &record)? == request.secret_string {
                    return Ok(self.secret_response(&record));
                }
                return Err(OperationError::Exception {
                    code: "ResourceExistsException",
                    message: "A version with this ClientRequestToken and another value exists.".to_owned(),
                });
            }
            record.version += 1;
            record.version_id.clone_from(&version_id);
            record.changed_at = self.now();
            if self.vault().put(SERVICE, Some(revision), record.clone(), &request.secret_string).await? {
                return Ok(self.secret_response(&record));
            }
        }
        Err(OperationError::Conflict)
    }

    /// A secret's value.
    pub async fn get_secret_value(
        &self,
        request: GetSecretValueRequest,
    ) -> Result<GetSecretValueResponse, OperationError> {
        let record = self.secret(&request.secret_id).await?.value;
        let is_present = request.version_stage.is_none_or(|stage| stage == CURRENT)
            && request.version_id.is_none_or(|version| version == record.version_id);
        if !is_present {
            return Err(OperationError::not_found(
                "Secrets Manager can't find the specified secret value: one version is kept.",
            ));
        }
        Ok(GetSecretValueResponse {
            secret_string: self.vault().open(SERVICE, &record)?,
            created_date: record.changed_at,
            secret: self.secret_response(&record),
        })
    }

    /// A secret without its value.
    pub async fn describe_secret(
        &self,
        request: DescribeSecretRequest,
    ) -> Result<SecretDescription, OperationError> {
        let record = self.secret(&request.secret_id).await?.value;
        let mut described = self.secret_description(record);
        described.version_ids_to_stages = described.secret_versions_to_stages.take();
        Ok(described)
    }

    /// The secrets by name, without their values.
    pub async fn list_secrets(
        &self,
        request: ListSecretsRequest,
    ) -> Result<ListSecretsResponse, OperationError> {
        let mut records = self.vault().list(SERVICE).await?;
        let names = records.iter().map(|record| record.name.clone()).collect();
        let page = page(names, request.next_token.as_deref(), request.max_results, 100, false)?;
        records.retain(|record| page.items.contains(&record.name));
        let secret_list = records.into_iter().map(|record| self.secret_description(record)).collect();
        Ok(ListSecretsResponse { secret_list, next_token: page.next_token })
    }

    /// Deletes a secret at once: there is no recovery here, and the caller has to say that it knows.
    pub async fn delete_secret(
        &self,
        request: DeleteSecretRequest,
    ) -> Result<DeleteSecretResponse, OperationError> {
        if request.force_delete_without_recovery != Some(true) || request.recovery_window_in_days.is_some() {
            return Err(OperationError::invalid(
                "A deleted secret cannot be recovered here: give ForceDeleteWithoutRecovery, and no RecoveryWindowInDays.",
            ));
        }
        let record = self.secret(&request.secret_id).await?.value;
        self.vault().delete(SERVICE, &record.name).await?;
        Ok(DeleteSecretResponse {
            arn: self.secret_arn(&record),
            name: record.name,
            deletion_date: self.now(),
        })
    }

    async fn secret(&self, id: &str) -> Result<Found<Sealed>, OperationError> {
        let reference = SecretReference::parse(id).map_err(OperationError::InvalidParameter)?;
        let found = self.vault().find(SERVICE, &reference.name).await?;
        found.ok_or_else(|| OperationError::not_found("Secrets Manager can't find the specified secret."))
    }

    /// Secrets Manager: "If you include ClientRequestToken ... this value becomes the VersionId of the new version".
    fn version_id(&self, token: Option<String>) -> Result<String, OperationError> {
        match token {
            None => Ok(self.shared().random(|rng| uuid(rng.random()))),
            Some(token) if (32..=64).contains(&token.len()) && token.is_ascii() => Ok(token),
            Some(_) => Err(OperationError::invalid("ClientRequestToken must have 32 to 64 characters.")),
        }
    }

    fn secret_response(&self, record: &Sealed) -> SecretResponse {
        SecretResponse {
            arn: self.secret_arn(record),
            name: record.name.clone(),
            version_id: Some(record.version_id.clone()),
            version_stages: vec![CURRENT.to_owned()],
        }
    }

    fn secret_description(&self, record: Sealed) -> SecretDescription {
        let versions = BTreeMap::from([(record.version_id.clone(), vec![CURRENT.to_owned()])]);
        SecretDescription {
            arn: self.secret_arn(&record),
            name: record.name,
            description: record.description,
            created_date: record.created_at,
            last_changed_date: record.changed_at,
            version_ids_to_stages: None,
            secret_versions_to_stages: Some(versions),
        }
    }

    /// "Secrets Manager automatically adds a hyphen and six random characters": here they follow from name and time.
    fn secret_arn(&self, record: &Sealed) -> String {
        let identity = self.identity();
        let digits = fnv1a(format!("{}/{}", record.name, record.created_at.millis()).as_bytes());
        format!(
            "arn:aws:secretsmanager:{}:{}:secret:{}-{:06x}",
            identity.region,
            identity.account,
            record.name,
            digits & 0xff_ffff
        )
    }
}

fn check_name(name: &str) -> Result<(), OperationError> {
    let reference = SecretReference::parse(name).ok().filter(|reference| reference.service.is_none());
    if reference.is_some() {
        return Ok(());
    }
    Err(OperationError::invalid("Name must have 1 to 512 letters, digits and /_+=.@-"))
}

/// What an environment can hold, up to Secrets Manager's own length.
pub(super) fn check_value(value: &SecretValue) -> Result<(), OperationError> {
    let text = value.expose();
    if text.is_empty() || text.len() as u64 > MAX_SECRET || text.contains('\0') {
        return Err(OperationError::invalid(format!(
            "The value must have 1 to {MAX_SECRET} bytes and no NUL character."
        )));
    }
    Ok(())
}
