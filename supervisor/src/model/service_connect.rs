//! ECS Service Connect: by which names a service's tasks find others, and by which it is found.
//!
//! A service with it is in a namespace: a name, which begins to exist with its first service and spans clusters. Its tasks reach every service that offers
//! something there. What a service offers is a port of its task definition, under `<discoveryName>.<namespace>` and, if it has an alias, under that.
//! AWS runs a proxy beside each task for it; here names lead to tasks of this process, so that what only concerns the proxy is refused.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::names::quoted;
use super::task_definition::{TaskDefinitionContent, TransportProtocol};
use crate::error::OperationError;

/// The field of a request that all of this is in.
const FIELD: &str = "serviceConnectConfiguration";
/// ECS: discovery names and port names are "up to 64 lowercase letters, numbers, underscores (_), and hyphens (-)".
const MAX_DISCOVERY_NAME: usize = 64;
/// ECS: "The name can be up to 127 characters."
const MAX_DNS_NAME: usize = 127;
/// AWS Cloud Map's of a namespace.
const MAX_NAMESPACE: usize = 253;

/// What CreateService and UpdateService say of it, in ECS's words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct ServiceConnectConfiguration {
    pub enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceConnectService>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_configuration: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log_configuration: Option<Value>,
}

/// A port that a service offers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct ServiceConnectService {
    pub port_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_aliases: Vec<ClientAlias>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_port_override: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Value>,
}

/// A name and a port that a service's clients use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct ClientAlias {
    pub port: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_traffic_rules: Option<Value>,
}

/// A cluster's `serviceConnectDefaults`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceConnectDefaults {
    /// The namespace of new services that have Service Connect and name none. An empty one is none.
    pub namespace: String,
}

/// A service's place in a namespace, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnect {
    /// As it was asked for, with its namespace.
    pub configuration: ServiceConnectConfiguration,
    /// What its tasks find others in: a name in lower case.
    pub namespace: String,
    /// What it offers; nothing if it is only a client.
    #[serde(default, alias = "offer", deserialize_with = "one_or_several")]
    pub offers: Vec<Offer>,
}

/// What a service offers to the tasks of its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// The namespace.
    pub namespace: String,
    /// Its name there: unique, and complete with the namespace behind it.
    pub discovery_name: String,
    /// Other names, each with the port that belongs to it.
    pub aliases: Vec<Alias>,
    /// The port that its container listens on, or means to.
    pub container_port: u16,
    /// Whether this is the port that the service's requests come to anyway: the first of the first essential container that has one.
    #[serde(default = "yes")]
    pub is_traffic_port: bool,
}

/// A name with a port, unique in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// In lower case.
    pub name: String,
    /// What clients connect to.
    pub port: u16,
}

impl Offer {
    /// `orders.shop.local`
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.discovery_name, self.namespace)
    }

    /// The ports that its clients use: those of its aliases, and the container's own.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.aliases.iter().map(|alias| alias.port).collect();
        if !ports.contains(&self.container_port) {
            ports.push(self.container_port);
        }
        ports
    }

    /// What both claim, in words.
    pub(crate) fn conflict(&self, other: &Self) -> Option<String> {
        if self.namespace != other.namespace {
            return None;
        }
        if self.discovery_name == other.discovery_name {
            return Some(format!("discoveryName {}", quoted(&self.discovery_name)));
        }
        let both = self.aliases.iter().find(|alias| other.aliases.contains(alias))?;
        Some(format!("clientAliases {}:{}", both.name, both.port))
    }
}

impl ServiceConnect {
    /// Checks what a request says against the task definition that it is for. `default` is the cluster's namespace. `None`: it is not enabled.
    pub fn parse(
        configuration: &ServiceConnectConfiguration,
        default: Option<&str>,
        content: &TaskDefinitionContent,
    ) -> Result<Option<Self>, OperationError> {
        let proxys = [
            ("logConfiguration", configuration.log_configuration.is_some()),
            ("accessLogConfiguration", configuration.access_log_configuration.is_some()),
        ];
        refuse_proxys(FIELD, &proxys)?;
        if !configuration.enabled {
            return Ok(None);
        }
        let given = configuration.namespace.as_deref().or(default).ok_or_else(|| {
            OperationError::invalid(format!(
                "{FIELD}.namespace must be given: the cluster has none in serviceConnectDefaults."
            ))
        })?;
        let namespace = parse_namespace(&format!("{FIELD}.namespace"), given)?;
        let mut offers: Vec<Offer> = Vec::new();
        for (index, service) in configuration.services.iter().enumerate() {
            let field = format!("{FIELD}.services[{index}]");
            let new = offer(&field, service, &namespace, content)?;
            if let Some(both) = offers.iter().find_map(|earlier| earlier.conflict(&new)) {
                return Err(OperationError::invalid(format!(
                    "{field}: another item of services has {both}, too."
                )));
            }
            offers.push(new);
        }
        let configuration = ServiceConnectConfiguration {
            namespace: Some(configuration.namespace.clone().unwrap_or_else(|| given.to_owned())),
            ..configuration.clone()
        };
        Ok(Some(Self { configuration, namespace, offers }))
    }
}

/// A namespace by its name, or by an ARN of which that is the last part.
pub(crate) fn parse_namespace(field: &str, text: &str) -> Result<String, OperationError> {
    let name = match text.strip_prefix("arn:") {
        Some(arn) => arn.rsplit_once(":namespace/").map(|(_, name)| name).unwrap_or_default(),
        None => text,
    };
    let name = name.to_ascii_lowercase();
    let is_name = name.len() <= MAX_NAMESPACE
        && name.split('.').all(|label| (1..=63).contains(&label.len()) && is_label(label));
    if is_name && !is_number(&name) && !is_of_this_host(&name) {
        return Ok(name);
    }
    Err(OperationError::invalid(format!(
        "{field} must be a host name such as shop.local, or an ARN that ends in one, not {}.",
        quoted(text)
    )))
}

/// What was kept when a service offered one port or none.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Offer>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Kept {
        Several(Vec<Offer>),
        One(Box<Offer>),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Kept::Several(offers)) => offers,
        Some(Kept::One(offer)) => vec![*offer],
    })
}

fn yes() -> bool {
    true
}

fn offer(
    field: &str,
    service: &ServiceConnectService,
    namespace: &str,
    content: &TaskDefinitionContent,
) -> Result<Offer, OperationError> {
    let proxys = [
        ("ingressPortOverride", service.ingress_port_override.is_some()),
        ("timeout", service.timeout.is_some()),
        ("tls", service.tls.is_some()),
    ];
    refuse_proxys(field, &proxys)?;
    let container_port = offered_port(field, &service.port_name, content)?;
    let discovery_name = service.discovery_name.as_ref().unwrap_or(&service.port_name);
    check_name(&format!("{field}.discoveryName"), discovery_name)?;
    let own = format!("{discovery_name}.{namespace}");
    if let Some(second) = service.client_aliases.get(1) {
        return Err(OperationError::invalid(format!(
            "{field}.clientAliases may have one item, not {}: {}.",
            service.client_aliases.len(),
            second.port
        )));
    }
    let aliases = service.client_aliases.iter().map(|alias| parse_alias(field, alias, &own));
    Ok(Offer {
        namespace: namespace.to_owned(),
        discovery_name: discovery_name.clone(),
        aliases: aliases.collect::<Result<_, _>>()?,
        container_port,
        is_traffic_port: content.traffic_port() == Some(container_port),
    })
}

fn parse_alias(field: &str, alias: &ClientAlias, own: &str) -> Result<Alias, OperationError> {
    let field = format!("{field}.clientAliases[0]");
    refuse_proxys(&field, &[("testTrafficRules", alias.test_traffic_rules.is_some())])?;
    let port = u16::try_from(alias.port).ok().filter(|port| *port > 0).ok_or_else(|| {
        OperationError::invalid(format!("{field}.port must be 1 to 65535, not {}.", alias.port))
    })?;
    let name = alias.dns_name.as_deref().unwrap_or(own);
    if !is_client_name(name) {
        return Err(OperationError::invalid(format!(
            "{field}.dnsName must be a host name of up to {MAX_DNS_NAME} lowercase letters, digits, _, - and dots, and neither an address nor localhost, not {}.",
            quoted(name)
        )));
    }
    Ok(Alias { name: name.to_owned(), port })
}

/// The container port of a port mapping's name.
fn offered_port(field: &str, name: &str, content: &TaskDefinitionContent) -> Result<u16, OperationError> {
    let mut mappings = content.container_definitions.iter().flat_map(|container| &container.port_mappings);
    let refuse = |why: &str| OperationError::invalid(format!("{field}.portName {}: {why}", quoted(name)));
    let Some(mapping) = mappings.find(|mapping| mapping.name.as_deref() == Some(name)) else {
        return Err(refuse("no port mapping of the task definition has this name."));
    };
    match mapping.container_port {
        _ if mapping.protocol != TransportProtocol::Tcp => {
            Err(refuse("its port mapping must be of the protocol tcp."))
        }
        Some(port) => Ok(port),
        None => Err(refuse("its port mapping must have a containerPort.")),
    }
}

/// Whether clients can use a name: what is an address, or means this host, is never looked up.
pub fn is_client_name(name: &str) -> bool {
    let is_name = (1..=MAX_DNS_NAME).contains(&name.len())
        && name.split('.').all(|label| (1..=63).contains(&label.len()) && is_label(label))
        && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    is_name && !is_number(name) && !is_of_this_host(name)
}

/// Of discovery and port names.
pub(crate) fn is_discovery_name(name: &str) -> bool {
    (1..=MAX_DISCOVERY_NAME).contains(&name.len())
        && is_label(name)
        && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn check_name(field: &str, name: &str) -> Result<(), OperationError> {
    if is_discovery_name(name) && !is_of_this_host(name) {
        return Ok(());
    }
    Err(OperationError::invalid(format!(
        "{field} must have 1 to {MAX_DISCOVERY_NAME} lowercase letters, digits, _ and -, and not begin with -, not {}.",
        quoted(name)
    )))
}

fn refuse_proxys(field: &str, fields: &[(&str, bool)]) -> Result<(), OperationError> {
    match fields.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(OperationError::invalid(format!(
            "{field}.{name} is not supported: names lead to tasks themselves here, and there is no proxy that it could be for."
        ))),
        None => Ok(()),
    }
}

fn is_label(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
}

/// Resolvers take what ends so for an address.
fn is_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x")
}

/// RFC 6761, 6.3.
fn is_of_this_host(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
