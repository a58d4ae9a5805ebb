//! Compose files: read, checked, and applied to a cluster.
//!
//! A Compose project becomes a cluster of the same name, each of its services a task definition
//! (`<project>-<service>`) and a service. What has no meaning here is refused with its path and line rather than
//! ignored: a file that was accepted is a file that is obeyed.
//!
//! In reading order: `yaml` (text to a tree that knows its lines), `interpolate` (`${VARIABLES}`), `reader` (typed
//! values out of the tree), `service` with `values`, `ports` and `health` (a service's keys), `wanted` (what that is in
//! ECS's terms), `apply` (what differs between the file and the cluster, and the calls that make it so).

mod apply;
mod health;
mod interpolate;
mod ports;
pub(crate) mod reader;
mod service;
mod values;
mod wanted;
pub(crate) mod yaml;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

pub use apply::{Applied, ApplyError, Outcome};
pub use health::HealthCheck;
pub use interpolate::Variables;
pub use ports::Port;
pub use service::{Condition, Service, Volume};

use reader::Field;

/// The names under which a file is looked for, in the order of the Compose specification.
pub const FILE_NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// A Compose file as it is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// The cluster's name: `name:`, or that of the file's directory.
    pub name: String,
    /// In the order of their dependencies: each after all that it depends on.
    pub services: Vec<Service>,
}

/// What is wrong with a file, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeError {
    /// From 1; `None` when it is not about a place in the file.
    pub line: Option<usize>,
    /// The key, e.g. `services.web.ports[0]`; empty for the whole file.
    pub path: String,
    /// One sentence.
    pub message: String,
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ComposeError {}

/// The Compose file of a directory, if it has one.
#[must_use]
pub fn find(directory: &Path) -> Option<PathBuf> {
    FILE_NAMES.iter().map(|name| directory.join(name)).find(|path| path.is_file())
}

impl Project {
    /// Understands a file's text. Relative paths in it are relative to `directory`, which must be absolute.
    ///
    /// # Errors
    /// The first thing that is wrong or not supported.
    pub fn parse(text: &str, directory: &Path, variables: Variables<'_>) -> Result<Self, ComposeError> {
        let document = yaml::parse(text).map_err(|malformed| ComposeError {
            line: Some(malformed.line),
            path: String::new(),
            message: format!("not valid YAML: {}", malformed.message),
        })?;
        let document = Field::document(&document, variables);
        let (mut name, mut services) = (None, None);
        for (key, field) in document.settings()? {
            match key {
                "name" => name = Some(field.parsed(values::project_name)?),
                "services" => services = Some(field),
                // Obsolete, and without meaning in the specification itself.
                "version" => {}
                _ => return Err(field.unsupported(&["name", "services"])),
            }
        }
        let name = match name {
            Some(name) => name,
            None => values::project_name_of(directory).map_err(|message| document.error(message))?,
        };
        let services = services.ok_or_else(|| document.error("the file has no services"))?;
        let parsed = services
            .entries()?
            .iter()
            .map(|(name, field)| Service::parse(name, field, directory))
            .collect::<Result<Vec<_>, _>>()?;
        if parsed.is_empty() {
            return Err(services.error("the file has no services"));
        }
        check_published(&parsed, &services)?;
        Ok(Self { name, services: in_dependency_order(parsed, &services)? })
    }
}

/// Two services cannot listen on the same address.
fn check_published(services: &[Service], field: &Field<'_>) -> Result<(), ComposeError> {
    let mut taken = BTreeMap::new();
    for service in services {
        for port in &service.ports {
            if let Some(other) = taken.insert(port.listen, &service.name)
                && port.listen.port() != 0
            {
                let (one, two) = (&service.name, port.listen);
                return Err(field.error(format!("{other} and {one} both publish {two}")));
            }
        }
    }
    Ok(())
}

fn in_dependency_order(services: Vec<Service>, field: &Field<'_>) -> Result<Vec<Service>, ComposeError> {
    for service in &services {
        for (dependency, _) in &service.depends_on {
            if !services.iter().any(|other| other.name == *dependency) {
                let message =
                    format!("{} depends on {dependency}, which the file does not have", service.name);
                return Err(field.error(message));
            }
        }
    }
    let (mut ordered, mut waiting): (Vec<Service>, _) = (Vec::new(), services);
    while !waiting.is_empty() {
        // Of those whose dependencies are all placed, the first: otherwise the file's order is kept.
        let ready = waiting.iter().position(|service| {
            service.depends_on.iter().all(|(name, _)| ordered.iter().any(|placed| placed.name == *name))
        });
        let Some(ready) = ready else {
            let names: Vec<_> = waiting.iter().map(|service| service.name.as_str()).collect();
            return Err(
                field.error(format!("these services depend on each other in a circle: {}", names.join(", ")))
            );
        };
        ordered.push(waiting.remove(ready));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests;
