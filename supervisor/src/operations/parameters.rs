//! The Parameter Store's PutParameter, GetParameter, GetParameters, GetParametersByPath, DescribeParameters and DeleteParameter.
//!
//! Values of every type are sealed at rest. A SecureString is told as it is kept unless its decryption is asked for.
#![expect(
    missing_docs,
    reason = "requests and responses are Systems Manager's own: its API reference documents their fields"
)]

mod by_path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::secrets_manager::check_value;
use super::{bounded, page};
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::secret::{SecretReference, SecretService};
use crate::secrets::SecretValue;
use crate::secrets::vault::{Sealed, plain};
use crate::supervisor::Supervisor;

pub use by_path::*;

const SERVICE: SecretService = SecretService::ParameterStore;
/// The type whose values are not told by accident.
const SECURE: &str = "SecureString";
/// Systems Manager: GetParameters' "Names ... Maximum number of 10 items".
const MAX_NAMES: usize = 10;
/// Rounds of compare-and-swap before an operation gives up.
const MAX_ATTEMPTS: usize = 16;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutParameterRequest {
    pub name: String,
    pub value: SecretValue,
    #[serde(default, rename = "Type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwrite: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_type: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutParameterResponse {
    pub version: u64,
    pub tier: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct GetParameterRequest {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_decryption: Option<bool>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetParameterResponse {
    pub parameter: Parameter,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct GetParametersRequest {
    pub names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_decryption: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetParametersResponse {
    pub parameters: Vec<Parameter>,
    pub invalid_parameters: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Parameter {
    pub name: String,
    #[serde(rename = "Type")]
    pub kind: String,
    pub value: SecretValue,
    pub version: u64,
    pub last_modified_date: Timestamp,
    #[serde(rename = "ARN")]
    pub arn: String,
    pub data_type: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct DeleteParameterRequest {
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct DeleteParameterResponse {}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct DescribeParametersRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeParametersResponse {
    pub parameters: Vec<ParameterMetadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// A parameter without its value.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ParameterMetadata {
    pub name: String,
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(rename = "ARN")]
    pub arn: String,
    pub version: u64,
    pub last_modified_date: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Supervisor {
    /// Creates a parameter, or gives one that exists a new value.
    pub async fn put_parameter(
        &self,
        request: PutParameterRequest,
    ) -> Result<PutParameterResponse, OperationError> {
        let name = plain_name(&request.name)?;
        check_value(&request.value)?;
        if let Some(kind) =
            request.kind.as_deref().filter(|kind| !["String", "StringList", SECURE].contains(kind))
        {
            return Err(OperationError::invalid(format!(
                "Type must be String, StringList or {SECURE}, not {kind:?}."
            )));
        }
        for _ in 0..MAX_ATTEMPTS {
            let now = self.now();
            let known = self.vault().find(SERVICE, &name).await?;
            let (before, record) = match known {
                Some(_) if request.overwrite != Some(true) => {
                    return Err(OperationError::Exception {
                        code: "ParameterAlreadyExists",
                        message: "The parameter already exists. To overwrite this value, set the overwrite option in the request to true."
                            .to_owned(),
                    });
                }
                Some(found) => {
                    let mut record = found.value;
                    record.version += 1;
                    record.changed_at = now;
                    record.kind = request.kind.clone().or(record.kind);
                    record.description = request.description.clone().or(record.description);
                    (Some(found.revision), record)
                }
                None => {
                    let kind = request.kind.clone().ok_or_else(|| {
                        OperationError::invalid("A parameter type is required when you create a parameter.")
                    })?;
                    let record = Sealed {
                        name: request.name.clone(),
                        description: request.description.clone(),
                        kind: Some(kind),
                        created_at: now,
                        changed_at: now,
                        version: 1,
                        version_id: String::new(),
                        sealed: String::new(),
                    };
                    (None, record)
                }
            };
            let version = record.version;
            if self.vault().put(SERVICE, before, record, &request.value).await? {
                return Ok(PutParameterResponse { version, tier: "Standard".to_owned() });
            }
        }
        Err(OperationError::Conflict)
    }

    /// A parameter with its value.
    pub async fn get_parameter(
        &self,
        request: GetParameterRequest,
    ) -> Result<GetParameterResponse, OperationError> {
        let found = self.parameter(&request.name).await?.ok_or_else(|| missing(&request.name))?;
        Ok(GetParameterResponse { parameter: self.told(found, request.with_decryption)? })
    }

    /// Up to ten parameters with their values; those that are not there are told apart.
    pub async fn get_parameters(
        &self,
        request: GetParametersRequest,
    ) -> Result<GetParametersResponse, OperationError> {
        bounded("Names", request.names.len(), MAX_NAMES)?;
        let mut response = GetParametersResponse::default();
        for name in request.names {
            match self.parameter(&name).await? {
                Some(found) => response.parameters.push(self.told(found, request.with_decryption)?),
                None => response.invalid_parameters.push(name),
            }
        }
        Ok(response)
    }

    /// The parameters by name, without their values.
    pub async fn describe_parameters(
        &self,
        request: DescribeParametersRequest,
    ) -> Result<DescribeParametersResponse, OperationError> {
        let mut records = self.vault().list(SERVICE).await?;
        // A slash in front is part of some names and of no order: pages go by what keys have.
        let names = records.iter().map(|record| plain(&record.name).to_owned()).collect();
        let page = page(names, request.next_token.as_deref(), request.max_results, 50, false)?;
        records.retain(|record| page.items.iter().any(|name| name == plain(&record.name)));
        let parameters = records.into_iter().map(|record| ParameterMetadata {
            arn: self.parameter_arn(&record),
            kind: record.kind.unwrap_or_default(),
            version: record.version,
            last_modified_date: record.changed_at,
            description: record.description,
            name: record.name,
        });
        Ok(DescribeParametersResponse { parameters: parameters.collect(), next_token: page.next_token })
    }

    /// Deletes a parameter.
    pub async fn delete_parameter(
        &self,
        request: DeleteParameterRequest,
    ) -> Result<DeleteParameterResponse, OperationError> {
        let found = self.parameter(&request.name).await?.ok_or_else(|| missing(&request.name))?;
        self.vault().delete(SERVICE, &found.name).await?;
        Ok(DeleteParameterResponse {})
    }

    async fn parameter(&self, name: &str) -> Result<Option<Sealed>, OperationError> {
        let name = plain_name(name)?;
        Ok(self.vault().find(SERVICE, &name).await?.map(|found| found.value))
    }

    fn told(&self, record: Sealed, with_decryption: Option<bool>) -> Result<Parameter, OperationError> {
        let is_closed = record.kind.as_deref() == Some(SECURE) && with_decryption != Some(true);
        let value = match is_closed {
            true => SecretValue::new(record.sealed.clone()),
            false => self.vault().open(SERVICE, &record)?,
        };
        Ok(Parameter {
            arn: self.parameter_arn(&record),
            kind: record.kind.unwrap_or_default(),
            value,
            version: record.version,
            last_modified_date: record.changed_at,
            data_type: "text".to_owned(),
            name: record.name,
        })
    }

    fn parameter_arn(&self, record: &Sealed) -> String {
        let identity = self.identity();
        let name = record.name.strip_prefix('/').unwrap_or(&record.name);
        format!("arn:aws:ssm:{}:{}:parameter/{name}", identity.region, identity.account)
    }
}

/// A name or an ARN as keys have it.
fn plain_name(name: &str) -> Result<String, OperationError> {
    let reference = SecretReference::parse(name).ok();
    let reference = reference.filter(|reference| reference.service != Some(SecretService::SecretsManager));
    reference
        .map(|reference| reference.name)
        .ok_or_else(|| OperationError::invalid("Name must have 1 to 512 letters, digits and /_+=.@-"))
}

fn missing(name: &str) -> OperationError {
    let message = format!("Parameter {name} not found.");
    OperationError::Exception { code: "ParameterNotFound", message }
}
