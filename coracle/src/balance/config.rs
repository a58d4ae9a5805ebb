//! The file: what there is to balance, read and checked as a whole before anything of it is done.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use coracle_balancer::{
    AcmeConfig, Certificate, CertificateNames, ConfigError, HeaderPolicy, HealthCheckConfig, Limits,
    ProtocolVersion, TargetGroupAttributes, TcpTargetConfig, TracingConfig, TransferRates,
};

use super::ConfigFileError;
use super::insight::AccessLogFile;
use super::limits;
use super::rules::{ActionConfig, RuleConfig};
use super::{acme, tracing};
use crate::compose::reader::Field;
use crate::compose::{ComposeError, yaml};

/// A file as it is meant.
#[derive(Debug, Clone)]
pub struct Config {
    pub(super) groups: BTreeMap<String, GroupConfig>,
    pub(super) listeners: BTreeMap<String, ListenerFile>,
    /// Where `GET /metrics` is answered, and the place of that in the file.
    pub(super) metrics: Option<(SocketAddr, ComposeError)>,
    /// Where spans go, by the file or else by OpenTelemetry's environment variables.
    pub(super) tracing: Option<TracingConfig>,
    pub(super) acme: Option<AcmeConfig>,
}

#[derive(Debug, Clone)]
pub(super) struct GroupConfig {
    pub(super) target: TcpTargetConfig,
    pub(super) health_check: HealthCheckConfig,
    pub(super) attributes: TargetGroupAttributes,
    /// Weights by address.
    pub(super) targets: BTreeMap<SocketAddr, u32>,
}

#[derive(Debug, Clone)]
pub(super) struct ListenerFile {
    pub(super) address: SocketAddr,
    pub(super) speaks: Speaks,
    /// Those of files.
    pub(super) certificates: Vec<Certificate>,
    /// The names of the one from an authority.
    pub(super) acme: Option<CertificateNames>,
    pub(super) proxy_protocol: bool,
    pub(super) x_forwarded_for: HeaderPolicy,
    pub(super) forwarded: HeaderPolicy,
    pub(super) limits: Limits,
    pub(super) rates: TransferRates,
    pub(super) access_log: Option<AccessLogFile>,
    pub(super) rules: Vec<RuleConfig>,
    pub(super) default: ActionConfig,
    /// Where the listener stands in the file, for what only shows when it is opened.
    pub(super) place: ComposeError,
}

/// A listener's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http,
    Https,
    Tcp,
    Tls,
}

impl Config {
    /// Understands a file's text, YAML or JSON. Relative paths in it are relative to `directory`. `${NAME}` is replaced from
    /// the environment.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its place.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, ConfigFileError> {
        let document = yaml::parse(text).map_err(|malformed| ComposeError {
            line: Some(malformed.line),
            path: String::new(),
            message: format!("not valid YAML or JSON: {}", malformed.message),
        })?;
        let environment = |name: &str| std::env::var(name).ok();
        let document = Field::document(&document, &environment);
        let (mut groups, mut listeners, mut metrics, mut traced, mut acme) = (None, None, None, None, None);
        for (key, field) in document.settings()? {
            match key {
                "targetGroups" => groups = Some(field),
                "listeners" => listeners = Some(field),
                "metrics" => metrics = Some((metrics_address(&field)?, field.error(String::new()))),
                "acme" => acme = Some(acme::acme(&field, directory)?),
                "tracing" => traced = Some(tracing::tracing(&field)?),
                _ => {
                    let supported = ["targetGroups", "listeners", "metrics", "tracing", "acme"];
                    return Err(field.unsupported(&supported).into());
                }
            }
        }
        let tracing = match traced {
            Some(tracing) => Some(tracing),
            None => TracingConfig::from_env(environment).map_err(|error| ComposeError {
                line: None,
                path: String::new(),
                message: error.to_string(),
            })?,
        };
        let mut config = Self { groups: BTreeMap::new(), listeners: BTreeMap::new(), metrics, tracing, acme };
        if let Some(groups) = groups {
            for (name, field) in groups.entries()? {
                config.groups.insert(name.to_owned(), group(&field)?);
            }
        }
        let listeners = listeners.ok_or_else(|| document.error("the file has no listeners"))?;
        for (name, field) in listeners.entries()? {
            config.listeners.insert(name.to_owned(), listener(&field, directory, &config.groups)?);
        }
        if config.listeners.is_empty() {
            return Err(listeners.error("the file has no listeners").into());
        }
        config.check_addresses(&listeners)?;
        config.check_acme(&listeners)?;
        Ok(config)
    }

    fn check_acme(&self, listeners: &Field<'_>) -> Result<(), ComposeError> {
        let Some((name, _)) = self.listeners.iter().find(|(_, listener)| listener.acme.is_some()) else {
            return Ok(());
        };
        if self.acme.is_none() {
            return Err(
                listeners.error(format!("{name} has acme, and the file has no acme to say from whom"))
            );
        }
        if !self.listeners.values().any(|listener| listener.speaks == Speaks::Http) {
            let why = "the authority asks for its challenges at port 80";
            return Err(listeners
                .error(format!("{name} has acme, which needs a listener of the protocol HTTP: {why}")));
        }
        Ok(())
    }

    fn check_addresses(&self, listeners: &Field<'_>) -> Result<(), ComposeError> {
        let mut taken = BTreeMap::new();
        for (name, listener) in &self.listeners {
            if let Some(other) = taken.insert(listener.address, name)
                && listener.address.port() != 0
            {
                let address = listener.address;
                return Err(listeners.error(format!("{other} and {name} both listen on {address}")));
            }
        }
        Ok(())
    }
}

/// A complaint of the balancer about what stands at `field`.
pub(super) fn refused(field: &Field<'_>, error: &ConfigError) -> ComposeError {
    field.error(error.to_string())
}

/// The value of a key that has to be there.
pub(super) fn required<T>(field: &Field<'_>, key: &str, value: Option<T>) -> Result<T, ComposeError> {
    value.ok_or_else(|| field.error(format!("{key} is missing")))
}

fn metrics_address(field: &Field<'_>) -> Result<SocketAddr, ComposeError> {
    let mut address = None;
    for (key, value) in field.settings()? {
        match key {
            "listen" => address = Some(socket_address(&value)?),
            _ => return Err(value.unsupported(&["listen"])),
        }
    }
    required(field, "listen", address)
}

fn socket_address(field: &Field<'_>) -> Result<SocketAddr, ComposeError> {
    field.parsed(|text| text.parse().map_err(|_| format!("IP:PORT is expected, not {text:?}")))
}

fn group(field: &Field<'_>) -> Result<GroupConfig, ComposeError> {
    let mut group = GroupConfig {
        target: TcpTargetConfig::default(),
        health_check: HealthCheckConfig::default(),
        attributes: TargetGroupAttributes::default(),
        targets: BTreeMap::new(),
    };
    for (key, value) in field.settings()? {
        match key {
            "protocolVersion" => {
                group.target.protocol =
                    value.string()?.parse::<ProtocolVersion>().map_err(|error| refused(&value, &error))?;
            }
            "protocol" => group.target.tls = tls(&value)?,
            "targets" => {
                for item in value.items()? {
                    let (address, weight) = target(&item)?;
                    if group.targets.insert(address, weight).is_some() {
                        return Err(item.error(format!("{address} is given twice")));
                    }
                }
            }
            "healthCheck" => {
                group.health_check = settings(&value, |pairs| HealthCheckConfig::from_settings(pairs))?;
            }
            "attributes" => {
                group.attributes = settings(&value, |pairs| TargetGroupAttributes::from_pairs(pairs))?;
            }
            "timeouts" => timeouts(&value, &mut group.target)?,
            _ => {
                let supported =
                    ["protocol", "protocolVersion", "targets", "healthCheck", "attributes", "timeouts"];
                return Err(value.unsupported(&supported));
            }
        }
    }
    Ok(group)
}

/// Whether targets are talked to over TLS.
fn tls(field: &Field<'_>) -> Result<bool, ComposeError> {
    field.parsed(|text| match text {
        "HTTP" => Ok(false),
        "HTTPS" => Ok(true),
        _ => Err(format!("HTTP or HTTPS is expected, not {text:?}")),
    })
}

fn target(field: &Field<'_>) -> Result<(SocketAddr, u32), ComposeError> {
    if !field.is_map() {
        return Ok((socket_address(field)?, 1));
    }
    let (mut at, mut weight) = (None, 1);
    for (key, value) in field.settings()? {
        match key {
            "address" => at = Some(socket_address(&value)?),
            "weight" => weight = number(&value, 1, 256)?,
            _ => return Err(value.unsupported(&["address", "weight"])),
        }
    }
    Ok((required(field, "address", at)?, weight))
}

/// A mapping of settings that the balancer itself reads. Its complaint is put where the setting stands.
fn settings<T>(
    field: &Field<'_>,
    read: impl Fn(Vec<(&str, &str)>) -> Result<T, ConfigError>,
) -> Result<T, ComposeError> {
    let entries = field.entries()?;
    let values = entries
        .iter()
        .map(|(key, value)| Ok((*key, value.string()?)))
        .collect::<Result<Vec<_>, ComposeError>>()?;
    let pairs = values.iter().map(|(key, value)| (*key, value.as_str()));
    read(pairs.collect()).map_err(|error| {
        let named = entries.iter().find(|(key, _)| *key == error.field());
        refused(named.map_or(field, |(_, place)| place), &error)
    })
}

fn timeouts(field: &Field<'_>, target: &mut TcpTargetConfig) -> Result<(), ComposeError> {
    for (key, value) in field.settings()? {
        match key {
            "connect" => target.connect_timeout = seconds(&value)?,
            "idle" => target.idle_timeout = seconds(&value)?,
            "total" => target.total_timeout = Some(seconds(&value)?),
            "keepAlive" => target.keep_alive = seconds(&value)?,
            _ => return Err(value.unsupported(&["connect", "idle", "total", "keepAlive"])),
        }
    }
    Ok(())
}

pub(super) fn seconds(field: &Field<'_>) -> Result<Duration, ComposeError> {
    field.parsed(|text| {
        let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.001..=86_400.0).contains(seconds));
        let wrong = || format!("seconds from 0.001 to 86400 are expected, not {text:?}");
        seconds.map(Duration::from_secs_f64).ok_or_else(wrong)
    })
}

pub(super) fn number(field: &Field<'_>, least: u32, most: u32) -> Result<u32, ComposeError> {
    field.parsed(|text| {
        let number: Option<u32> = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("a number from {least} to {most} is expected, not {text:?}"))
    })
}

fn listener(
    field: &Field<'_>,
    directory: &Path,
    groups: &BTreeMap<String, GroupConfig>,
) -> Result<ListenerFile, ComposeError> {
    let (mut address, mut protocol, mut proxy_protocol) = (None, None, false);
    let (mut certificates, mut acme_at) = (None, None);
    let (mut rules, mut rules_at, mut default) = (Vec::new(), None, None);
    let (mut x_forwarded_for, mut forwarded) = (HeaderPolicy::Append, HeaderPolicy::Preserve);
    let (mut limited, mut rates, mut access_log) = (Limits::default(), TransferRates::default(), None);
    for (key, value) in field.settings()? {
        match key {
            "listen" => address = Some(socket_address(&value)?),
            "protocol" => protocol = Some(value),
            "certificates" => certificates = Some(value),
            "acme" => acme_at = Some(value),
            "proxyProtocol" => proxy_protocol = value.boolean()?,
            "xForwardedFor" => x_forwarded_for = limits::policy(&value)?,
            "forwarded" => forwarded = limits::policy(&value)?,
            "limits" => (limited, rates) = limits::limits(&value)?,
            "accessLog" => access_log = Some(limits::access_log(&value, directory)?),
            "rules" => {
                for item in value.items()? {
                    rules.push(RuleConfig::parse(&item, groups)?);
                }
                rules_at = Some(value);
            }
            "default" => default = Some(ActionConfig::parse(&value, groups)?),
            _ => {
                let supported = [
                    "listen",
                    "protocol",
                    "certificates",
                    "acme",
                    "proxyProtocol",
                    "xForwardedFor",
                    "forwarded",
                    "limits",
                    "accessLog",
                    "rules",
                    "default",
                ];
                return Err(value.unsupported(&supported));
            }
        }
    }
    let speaks = speaks(protocol.as_ref())?;
    let names = acme_at.as_ref().map(acme::names).transpose()?;
    let secured = matches!(speaks, Speaks::Https | Speaks::Tls);
    if let Some(place) = certificates.as_ref().or(acme_at.as_ref()).filter(|_| !secured) {
        return Err(place.error("certificates are for the protocols HTTPS and TLS"));
    }
    if secured && certificates.is_none() && names.is_none() {
        return Err(field.error("certificates is missing"));
    }
    let read = |certificates: &Field<'_>| read_certificates(certificates, directory);
    let certificates = certificates.as_ref().map(read).transpose()?.unwrap_or_default();
    let default = required(field, "default", default)?;
    if matches!(speaks, Speaks::Tcp | Speaks::Tls) {
        if let Some(rules) = &rules_at {
            return Err(rules.error("a TCP or TLS listener passes connections on and has no rules"));
        }
        if !matches!(default, ActionConfig::Forward { .. }) {
            return Err(field.error("the default action of a TCP or TLS listener is forward"));
        }
    }
    let listener = ListenerFile {
        address: required(field, "listen", address)?,
        speaks,
        certificates,
        acme: names,
        proxy_protocol,
        x_forwarded_for,
        forwarded,
        limits: limited,
        rates,
        access_log,
        rules,
        default,
        place: field.error(String::new()),
    };
    // What rules only show together, such as a priority that is given twice.
    listener.check(rules_at.as_ref().unwrap_or(field))?;
    Ok(listener)
}

fn speaks(protocol: Option<&Field<'_>>) -> Result<Speaks, ComposeError> {
    let Some(protocol) = protocol else { return Ok(Speaks::Http) };
    protocol.parsed(|name| match name {
        "HTTP" => Ok(Speaks::Http),
        "HTTPS" => Ok(Speaks::Https),
        "TCP" => Ok(Speaks::Tcp),
        "TLS" => Ok(Speaks::Tls),
        _ => Err(format!("HTTP, HTTPS, TCP or TLS is expected, not {name:?}")),
    })
}

fn read_certificates(field: &Field<'_>, directory: &Path) -> Result<Vec<Certificate>, ComposeError> {
    let items = field.items()?;
    if items.is_empty() {
        return Err(field.error("at least one certificate is expected"));
    }
    items.iter().map(|item| read_certificate(item, directory)).collect()
}

fn read_certificate(field: &Field<'_>, directory: &Path) -> Result<Certificate, ComposeError> {
    let read = |value: &Field<'_>| {
        let path = directory.join(value.string()?);
        std::fs::read(&path).map_err(|error| value.error(format!("{}: {error}", path.display())))
    };
    let (mut chain, mut key) = (None, None);
    for (name, value) in field.settings()? {
        match name {
            "chain" => chain = Some(read(&value)?),
            "key" => key = Some(read(&value)?),
            _ => return Err(value.unsupported(&["chain", "key"])),
        }
    }
    let (chain, key) = (required(field, "chain", chain)?, required(field, "key", key)?);
    Certificate::from_pem(&chain, &key).map_err(|error| field.error(error.to_string()))
}
