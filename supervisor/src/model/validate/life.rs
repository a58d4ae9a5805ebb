//! What a container starts with, and how its life is watched.

use std::collections::BTreeSet;

use crate::model::environment_file::{EnvironmentFile, MAX_ENVIRONMENT_FILES};
use crate::model::names::quoted;
use crate::model::secret::SecretReference;
use crate::model::task_definition::{ContainerDefinition, KeyValuePair};

/// Checks everything that ends up in the environment. The error names the field.
pub(super) fn environment(container: &ContainerDefinition) -> Result<(), String> {
    variables(&container.environment)?;
    environment_files(&container.environment_files)?;
    let mut names: BTreeSet<&str> = container.environment.iter().map(|pair| pair.name.as_str()).collect();
    for secret in &container.secrets {
        variable_name("secrets", &secret.name)?;
        SecretReference::parse(&secret.value_from)?;
        if !names.insert(&secret.name) {
            return Err(format!(
                "'secrets': The secret name must be unique and not shared with any new or existing environment variables set on the container, such as '{}'.",
                secret.name
            ));
        }
    }
    Ok(())
}

/// Checks an `environment`, of a definition or an override.
pub(crate) fn variables(environment: &[KeyValuePair]) -> Result<(), String> {
    for pair in environment {
        variable_name("environment", &pair.name)?;
        if pair.value.contains('\0') {
            return Err(format!("'environment' has an invalid name or value: {}.", quoted(&pair.name)));
        }
    }
    Ok(())
}

fn variable_name(field: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("'{field}' has an invalid name or value: {}.", quoted(name)));
    }
    Ok(())
}

/// Checks `environmentFiles`, of a definition or an override.
pub(crate) fn environment_files(files: &[EnvironmentFile]) -> Result<(), String> {
    if files.len() > MAX_ENVIRONMENT_FILES {
        return Err(format!(
            "'environmentFiles' may have at most {MAX_ENVIRONMENT_FILES} files, not {}.",
            files.len()
        ));
    }
    files.iter().try_for_each(|file| file.path().map(drop))
}

/// Checks the rest of a container's life. The error names the field.
pub(super) fn check(container: &ContainerDefinition) -> Result<(), String> {
    if let Some(policy) = &container.restart_policy {
        policy.check()?;
    }
    if let Some(check) = &container.health_check {
        check.parse()?;
    }
    if container.start_timeout == Some(0) {
        return Err("'startTimeout' must be at least 1 second.".to_owned());
    }
    if let Some(directory) = &container.working_directory
        && !directory.starts_with('/')
    {
        return Err(format!("'workingDirectory' must begin with /, but was {}.", quoted(directory)));
    }
    for (field, words) in [("command", &container.command), ("entryPoint", &container.entry_point)] {
        if words.iter().any(|word| word.contains('\0')) {
            return Err(format!("'{field}' must not have a NUL character."));
        }
    }
    Ok(())
}
