//! One entry of `services:`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use coracle_supervisor::model::log_configuration::{DEFAULT_LOG_DRIVER, LogConfiguration};

use super::{ComposeError, HealthCheck, Port, health::Check, ports::exposed_port, reader::Field, values};

/// A service of a Compose file as it is meant: paths absolute, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Also its container's name.
    pub name: String,
    /// A file's absolute path, a digest, or an image reference.
    pub image: String,
    /// At most one.
    pub ports: Vec<Port>,
    /// The container's port that other services of the file find, where none is published.
    pub expose: Option<u16>,
    /// In the order of the file.
    pub environment: Vec<(String, String)>,
    /// The guest's arguments; empty for the image's own.
    pub command: Vec<String>,
    /// Directories of the host.
    pub volumes: Vec<Volume>,
    /// What must be there before it is created.
    pub depends_on: Vec<(String, Condition)>,
    /// `None` when the file has none; `Some(None)` when it says there shall be none.
    pub health_check: Option<Option<HealthCheck>>,
    /// The container's own check, where the balancer cannot ask what the file asks.
    pub container_health_check: Option<coracle_supervisor::model::health_check::HealthCheck>,
    /// How many tasks; `None` leaves the number to whoever scales the service, from 1.
    pub replicas: Option<u32>,
    /// In ECS's units, 1024 a core; a hard quota.
    pub cpu: Option<u32>,
    /// MiB; a hard limit.
    pub memory: Option<u32>,
    /// For people, and for us where they start with `coracle.`.
    pub labels: Vec<(String, String)>,
    /// What becomes of its output.
    pub logging: Option<LogConfiguration>,
}

/// A directory of the host inside the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Absolute.
    pub host: PathBuf,
    /// Absolute.
    pub guest: String,
    /// The guest may not write.
    pub read_only: bool,
}

/// What of a dependency is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its service is created.
    Started,
    /// All its tasks run, and its target group calls them healthy.
    Healthy,
}

const KEYS: [&str; 12] = [
    "image",
    "ports",
    "expose",
    "environment",
    "command",
    "volumes",
    "depends_on",
    "healthcheck",
    "deploy",
    "labels",
    "logging",
    "restart",
];

impl Service {
    pub(super) fn parse(name: &str, field: &Field<'_>, directory: &Path) -> Result<Self, ComposeError> {
        let name = values::service_name(name).map_err(|message| field.error(message))?;
        let mut service = Self {
            name,
            image: String::new(),
            ports: Vec::new(),
            expose: None,
            environment: Vec::new(),
            command: Vec::new(),
            volumes: Vec::new(),
            depends_on: Vec::new(),
            health_check: None,
            container_health_check: None,
            replicas: None,
            cpu: None,
            memory: None,
            labels: Vec::new(),
            logging: None,
        };
        let (mut health, mut exposed) = (None, None);
        for (key, value) in field.settings()? {
            match key {
                "image" => service.image = value.parsed(|text| image(text, directory))?,
                "ports" => service.ports = ports(&value)?,
                "expose" => exposed = Some((expose(&value)?, value)),
                "environment" => service.environment = environment(&value)?,
                "command" => service.command = command(&value)?,
                "volumes" => service.volumes = volumes(&value, directory)?,
                "depends_on" => service.depends_on = depends_on(&value)?,
                "healthcheck" => {
                    health = Some((HealthCheck::parse(&value)?, value));
                }
                "deploy" => service.deploy(&value)?,
                "labels" => service.labels = labels(&value)?,
                "logging" => service.logging = logging(&value)?,
                "restart" => value.parsed(restart)?,
                _ => return Err(value.unsupported(&KEYS)),
            }
        }
        if service.image.is_empty() {
            return Err(field.error("image is missing"));
        }
        if let Some((Some(port), field)) = exposed {
            service.expose(port).map_err(|message| field.error(message))?;
        }
        if let Some((check, field)) = health {
            service.check(check).map_err(|message| field.error(message))?;
        }
        Ok(service)
    }

    fn check(&mut self, check: Check) -> Result<(), String> {
        match (check, self.ports.first()) {
            (Check::Nobody, _) => self.health_check = Some(None),
            (Check::Container(check), _) => self.container_health_check = Some(check),
            (Check::Http(check), None) => self.container_health_check = Some(check.unpublished()?),
            (Check::Http(check), Some(port)) => {
                check_port(&check, port)?;
                self.health_check = Some(Some(check));
            }
        }
        Ok(())
    }

    /// A port that is published is found by the others of the file, too.
    fn expose(&mut self, port: u16) -> Result<(), String> {
        match self.ports.first() {
            None => self.expose = Some(port),
            Some(published) if published.container == port => {}
            Some(published) => {
                return Err(format!(
                    "a service is found at one port, and here {} is published: it is found at that one",
                    published.container
                ));
            }
        }
        Ok(())
    }

    /// The container's port that its requests come to.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.ports.first().map(|port| port.container).or(self.expose)
    }

    /// Where the balancer listens for it.
    #[must_use]
    pub fn listen(&self) -> Option<SocketAddr> {
        self.ports.first().map(|port| port.listen)
    }

    fn deploy(&mut self, field: &Field<'_>) -> Result<(), ComposeError> {
        for (key, value) in field.settings()? {
            match key {
                "replicas" => self.replicas = Some(value.parsed(values::replicas)?),
                "resources" => self.resources(&value)?,
                _ => return Err(value.unsupported(&["replicas", "resources"])),
            }
        }
        Ok(())
    }

    fn resources(&mut self, field: &Field<'_>) -> Result<(), ComposeError> {
        for (key, value) in field.settings()? {
            match key {
                "limits" => self.limits(&value)?,
                _ => return Err(value.unsupported(&["limits"])),
            }
        }
        Ok(())
    }

    fn limits(&mut self, field: &Field<'_>) -> Result<(), ComposeError> {
        for (key, value) in field.settings()? {
            match key {
                "cpus" => self.cpu = Some(value.parsed(values::cpus)?),
                "memory" => self.memory = Some(value.parsed(values::memory)?),
                _ => return Err(value.unsupported(&["cpus", "memory"])),
            }
        }
        Ok(())
    }
}

/// A file beside the Compose file, a digest, or a reference that the registry resolves.
fn image(text: &str, directory: &Path) -> Result<String, String> {
    if text.is_empty() {
        return Err("the name of an image is expected".into());
    }
    let is_file = crate::is_file_image(text);
    Ok(if is_file { absolute(text, directory)?.display().to_string() } else { text.to_owned() })
}

fn ports(field: &Field<'_>) -> Result<Vec<Port>, ComposeError> {
    let items = field.items()?;
    // A service has one listener in front of it.
    if let Some(second) = items.get(1) {
        return Err(second.error("a service can publish one port"));
    }
    items.iter().map(Port::parse).collect()
}

/// `["6379"]` or `["6379/tcp"]`
fn expose(field: &Field<'_>) -> Result<Option<u16>, ComposeError> {
    let items = field.items()?;
    if let Some(second) = items.get(1) {
        return Err(second.error("a service is found at one port"));
    }
    items.first().map(|item| item.parsed(exposed_port)).transpose()
}

/// A variable without a value is passed on from our own environment, if it is set there.
fn environment(field: &Field<'_>) -> Result<Vec<(String, String)>, ComposeError> {
    let pairs = field.pairs()?.into_iter();
    Ok(pairs
        .filter_map(|(name, value)| value.or_else(|| field.variable(&name)).map(|value| (name, value)))
        .collect())
}

fn labels(field: &Field<'_>) -> Result<Vec<(String, String)>, ComposeError> {
    Ok(field.pairs()?.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
}

/// Options without a driver are those of the default one.
fn logging(field: &Field<'_>) -> Result<Option<LogConfiguration>, ComposeError> {
    let (mut driver, mut options) = (None, Vec::new());
    for (key, value) in field.settings()? {
        match key {
            "driver" => driver = Some(value.string()?),
            "options" => options = labels(&value)?,
            _ => return Err(value.unsupported(&["driver", "options"])),
        }
    }
    if driver.is_none() && options.is_empty() {
        return Ok(None);
    }
    Ok(Some(LogConfiguration {
        log_driver: driver.unwrap_or_else(|| DEFAULT_LOG_DRIVER.to_owned()),
        options: options.into_iter().collect(),
        secret_options: None,
    }))
}

fn command(field: &Field<'_>) -> Result<Vec<String>, ComposeError> {
    if field.is_null() {
        Ok(Vec::new())
    } else if field.is_list() {
        field.items()?.iter().map(Field::string).collect()
    } else {
        field.parsed(|text| shlex::split(text).ok_or_else(|| format!("a quote is not closed in {text:?}")))
    }
}

fn volumes(field: &Field<'_>, directory: &Path) -> Result<Vec<Volume>, ComposeError> {
    field.items()?.iter().map(|item| volume(item, directory)).collect()
}

fn volume(field: &Field<'_>, directory: &Path) -> Result<Volume, ComposeError> {
    let volume = if field.is_map() {
        let (mut source, mut target, mut read_only) = (None, None, false);
        for (key, value) in field.settings()? {
            match key {
                "type" => value.parsed(|kind| match kind {
                    "bind" => Ok(()),
                    other => Err(format!("only bind is supported, not {other:?}")),
                })?,
                "source" => source = Some(value.parsed(|text| bind_source(text, directory))?),
                "target" => target = Some(value.string()?),
                "read_only" => read_only = value.boolean()?,
                _ => return Err(value.unsupported(&["type", "source", "target", "read_only"])),
            }
        }
        let (Some(host), Some(guest)) = (source, target) else {
            return Err(field.error("source and target are both needed"));
        };
        Volume { host, guest, read_only }
    } else {
        field.parsed(|text| short_volume(text, directory))?
    };
    if volume.guest.starts_with('/') {
        Ok(volume)
    } else {
        Err(field.error("the path in the guest must be absolute"))
    }
}

/// `HOST:GUEST[:ro]`
fn short_volume(text: &str, directory: &Path) -> Result<Volume, String> {
    let mut parts = text.split(':');
    let (Some(host), Some(guest), mode, None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(format!("HOST:GUEST or HOST:GUEST:ro is expected, not {text:?}"));
    };
    let read_only = match mode {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(other) => return Err(format!("ro or rw is expected after the second colon, not {other:?}")),
    };
    Ok(Volume { host: bind_source(host, directory)?, guest: guest.to_owned(), read_only })
}

fn bind_source(text: &str, directory: &Path) -> Result<PathBuf, String> {
    if !text.starts_with(['.', '/', '~']) {
        return Err(format!(
            "named volumes are not supported; for a directory write a path that starts with ./ or /, not {text:?}"
        ));
    }
    absolute(text, directory)
}

fn absolute(text: &str, directory: &Path) -> Result<PathBuf, String> {
    if text.starts_with('~') {
        return Err(format!("write ${{HOME}} instead of ~ in {text:?}"));
    }
    // Without the `./` parts that would make two spellings of one path differ.
    Ok(directory.join(text).components().collect())
}

fn depends_on(field: &Field<'_>) -> Result<Vec<(String, Condition)>, ComposeError> {
    if field.is_list() {
        return field.items()?.iter().map(|item| Ok((item.string()?, Condition::Started))).collect();
    }
    let dependency = |(name, field): (&str, Field<'_>)| {
        let mut condition = Condition::Started;
        for (key, value) in field.settings()? {
            match key {
                "condition" => condition = value.parsed(self::condition)?,
                _ => return Err(value.unsupported(&["condition"])),
            }
        }
        Ok((name.to_owned(), condition))
    };
    field.entries()?.into_iter().map(dependency).collect()
}

fn condition(text: &str) -> Result<Condition, String> {
    match text {
        "service_started" => Ok(Condition::Started),
        "service_healthy" => Ok(Condition::Healthy),
        "service_completed_successfully" => {
            Err("a service's tasks are replaced when they end, so that it never \
             completes; run a job with `coracle run` or `coracle task run`"
                .into())
        }
        other => Err(format!("service_started or service_healthy is expected, not {other:?}")),
    }
}

/// A service's tasks are always replaced; the values that say otherwise cannot be obeyed.
fn restart(text: &str) -> Result<(), String> {
    match text {
        "always" | "unless-stopped" => Ok(()),
        other => Err(format!(
            "a service's tasks are always replaced when they stop: always or unless-stopped is possible, not {other:?}"
        )),
    }
}

fn check_port(check: &HealthCheck, published: &Port) -> Result<(), String> {
    match check.port {
        Some(asked) if asked != published.container => Err(format!(
            "the check asks port {asked}, but the service's container port is {}; one port is supported",
            published.container
        )),
        _ => Ok(()),
    }
}
