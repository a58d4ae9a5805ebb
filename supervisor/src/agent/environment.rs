//! What the containers of a task find in their environment.
//!
//! In the order in which one stands over the other: what every container gets, environment files, the definition's `environment`, the override's,
//! secrets.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::driver::{Environment, StartFailure, StartFailureKind};
use crate::model::environment_file::{self, EnvironmentFile, MAX_ENVIRONMENT_FILE};
use crate::model::secret::{Secret, SecretReference};
use crate::model::task::TaskOverride;
use crate::model::task_definition::{ContainerDefinition, TaskDefinitionContent};
use crate::secrets::vault::Vault;
use crate::secrets::{SecretError, SecretSource, SecretValue};

/// The environments of a task's containers, by name. `common` is what every container gets.
pub(super) async fn environments(
    common: &[(String, String)],
    content: &TaskDefinitionContent,
    overrides: &TaskOverride,
    vault: &Vault,
    secrets: &dyn SecretSource,
) -> Result<BTreeMap<String, Environment>, StartFailure> {
    let mut environments = BTreeMap::new();
    for definition in &content.container_definitions {
        let container = overrides.container(definition);
        let mut variables: BTreeMap<String, String> = common.iter().cloned().collect();
        variables.extend(from_files(&container).await?);
        let declared = container.environment.iter();
        variables.extend(declared.map(|pair| (pair.name.clone(), pair.value.clone())));
        for secret in &container.secrets {
            let value = value_of(secret, &container.name, vault, secrets).await?;
            variables.insert(secret.name.clone(), value.expose().to_owned());
        }
        environments.insert(container.name, Environment::new(variables));
    }
    Ok(environments)
}

/// ECS: "If multiple environment files are specified that contain the same variable, they're processed in order of entry. This means that the first
/// value of the variable is used and subsequent values of duplicate variables are ignored."
async fn from_files(container: &ContainerDefinition) -> Result<BTreeMap<String, String>, StartFailure> {
    let mut variables = BTreeMap::new();
    for file in &container.environment_files {
        let fail = |why: String| StartFailure {
            kind: StartFailureKind::ResourceInitialization,
            message: format!(
                "failed to download env files: container '{}': {}: {why}",
                container.name, file.value
            ),
        };
        for (name, value) in read(file.clone()).await.map_err(fail)? {
            variables.entry(name).or_insert(value);
        }
    }
    Ok(variables)
}

async fn read(file: EnvironmentFile) -> Result<Vec<(String, String)>, String> {
    let read = tokio::task::spawn_blocking(move || {
        let path = file.path()?;
        let text = read_bounded(path).map_err(|error| format!("cannot be read ({})", error.kind()))?;
        environment_file::parse(&text)
    });
    read.await.unwrap_or_else(|error| Err(error.to_string()))
}

fn read_bounded(path: &str) -> io::Result<String> {
    let file = std::fs::File::open(path)?;
    // A device or a pipe might never end, and never begin.
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut text = String::new();
    file.take(MAX_ENVIRONMENT_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_ENVIRONMENT_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

async fn value_of(
    secret: &Secret,
    container: &str,
    vault: &Vault,
    secrets: &dyn SecretSource,
) -> Result<SecretValue, StartFailure> {
    let fail = |why: String| StartFailure {
        kind: StartFailureKind::ResourceInitialization,
        message: format!(
            "unable to pull secrets or registry auth: execution resource retrieval failed: container '{container}', secret '{}': {why}",
            secret.name
        ),
    };
    let reference = SecretReference::parse(&secret.value_from).map_err(fail)?;
    let refused = |error: SecretError| fail(error.to_string());
    let value = match vault.value(&reference).await.map_err(refused)? {
        Some(value) => value,
        None => secrets.secret(&reference.name).await.map_err(refused)?,
    };
    match &reference.json_key {
        None => Ok(value),
        Some(key) => {
            member(&value, key).ok_or_else(|| fail(format!("it is no JSON object with the key {key:?}")))
        }
    }
}

/// The value of one key: a string as it is, anything else as JSON.
fn member(secret: &SecretValue, key: &str) -> Option<SecretValue> {
    let object: serde_json::Value = serde_json::from_str(secret.expose()).ok()?;
    Some(match object.get(key)? {
        serde_json::Value::String(text) => SecretValue::new(text.as_str()),
        other => SecretValue::new(other.to_string()),
    })
}
