//! Values of options: text to what is meant, with one clear sentence for what is not.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::ValueEnum;
use coracle::MAX_REPLICAS;
use coracle_runtime::network::egress::{self, Egress};
use coracle_supervisor::clock::Timestamp;
use coracle_supervisor::model::labels::{UNLIMITED_FUEL, fuel_budget};

/// The smallest `cpu` of a task definition, as ECS has it.
pub(crate) const LEAST_TASK_CPU: u32 = 128;

/// Where an API listens, as `http://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `HOST:PORT`, for connecting and for the Host header.
    pub(crate) authority: String,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("http://HOST:PORT is expected, not {text:?}");
        let uri: http::Uri = text.parse().map_err(|_| wanted())?;
        match (uri.scheme_str(), uri.authority(), uri.path()) {
            (Some("https"), ..) => Err("https is not supported yet; use http://HOST:PORT".into()),
            (Some("http"), Some(authority), "" | "/") if !authority.host().is_empty() => {
                // What is left may be user information, a port that there is not, or nothing at all behind its colon.
                let port = match authority.as_str().strip_prefix(authority.host()) {
                    Some("") => Some(80),
                    rest => rest
                        .and_then(|rest| rest.strip_prefix(':')?.parse().ok())
                        .filter(|port| *port > 0_u16),
                };
                let port = port.ok_or_else(wanted)?;
                Ok(Self { authority: format!("{}:{port}", authority.host()) })
            }
            _ => Err(wanted()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// `HOST:GUEST[:ro]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeOption {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
    pub(crate) read_only: bool,
}

impl FromStr for VolumeOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("HOST:GUEST or HOST:GUEST:ro is expected, not {text:?}");
        let (paths, read_only) = match text.strip_suffix(":ro") {
            Some(paths) => (paths, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        let (host, guest) = paths.split_once(':').ok_or_else(wanted)?;
        if host.is_empty() || guest.contains(':') {
            return Err(wanted());
        }
        if !guest.starts_with('/') {
            return Err(format!("the path in the guest must be absolute, not {guest:?}"));
        }
        if !Path::new(host).is_dir() {
            return Err(format!("{host} is not a directory"));
        }
        Ok(Self { host: host.into(), guest: guest.to_owned(), read_only })
    }
}

/// Seconds, up to a day.
pub(crate) fn seconds_of_a_day(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| format!("seconds from 0 to 86400 are expected, not {text:?}"))
}

/// What of the network a task may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkChoice {
    /// The host's addresses
    Host,
    /// Nothing
    None,
}

/// Patterns of what may be reached, as a task definition's `coracle.egress` has them, which refuses in the same words.
pub(super) fn egress(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err(format!("at least one pattern is expected. Allowed are {}", egress::FORMS));
    }
    all_egress(&[text.to_owned()]).map(|_| text.to_owned())
}

/// What all these lists of patterns grant together.
pub(super) fn all_egress(lists: &[String]) -> Result<Egress, String> {
    let parsed = lists.join(",").parse();
    parsed.map_err(|error| format!("{error}. Allowed are, separated by commas, {}", egress::FORMS))
}

/// `NAME=VALUE`
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("NAME=VALUE is expected, not {text:?}")),
    }
}

/// A stage of a deployment and the URL that is asked there.
pub(super) fn hook(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((stage, url)) if !stage.is_empty() && url.starts_with("http://") => {
            Ok((stage.to_owned(), url.to_owned()))
        }
        _ => Err(format!("STAGE=http://HOST:PORT/PATH is expected, not {text:?}")),
    }
}

/// An address, or a port of the loopback address.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let literal = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    literal
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| format!("ADDRESS:PORT is expected, such as 127.0.0.1:8080, not {text:?}"))
}

/// How many tasks a service is to have.
pub(super) fn replicas(text: &str) -> Result<u32, String> {
    whole(text, 0, MAX_REPLICAS)
}

/// How many tasks serve now: at least one.
pub(super) fn some_replicas(text: &str) -> Result<u32, String> {
    whole(text, 1, MAX_REPLICAS)
}

/// A CPU quota in ECS's units: at least what a container may have there. A service's tasks have [`LEAST_TASK_CPU`].
pub(super) fn cpu_quota(text: &str) -> Result<u32, String> {
    whole(text, 2, 196_608)
}

/// A task's memory in MiB, at least what ECS asks for.
pub(super) fn task_memory(text: &str) -> Result<u32, String> {
    whole(text, 6, 1 << 30)
}

/// A number above zero.
pub(super) fn count(text: &str) -> Result<u32, String> {
    whole(text, 1, u32::MAX)
}

/// A budget of fuel.
pub(super) fn fuel(text: &str) -> Result<u64, String> {
    fuel_budget(text)
        .ok_or_else(|| format!("a whole number above 0, or {UNLIMITED_FUEL}, is expected, not {text:?}"))
}

/// Seconds, perhaps with a fraction.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("seconds from 0.001 to 86400 are expected, not {text:?}"))
}

/// A path that a health check asks for.
pub(super) fn url_path(text: &str) -> Result<String, String> {
    let valid = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then(|| text.to_owned()).ok_or_else(|| format!("a path such as /health is expected, not {text:?}"))
}

/// ECS's rule for names.
pub(super) fn name(text: &str) -> Result<String, String> {
    let valid = (1..=255).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    valid.then(|| text.to_owned()).ok_or_else(|| "a name has 1 to 255 letters, digits, - and _".to_owned())
}

fn whole(text: &str, least: u32, most: u32) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("a whole number from {least} to {most} is expected, not {text:?}")),
    }
}

/// A moment by RFC 3339, such as `2026-12-01T00:00:00Z`.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let parsed = text.parse::<jiff::Timestamp>();
    let millis = parsed.ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    millis
        .map(|millis| Timestamp::from_epoch(Duration::from_millis(millis)))
        .ok_or_else(|| format!("a time such as 2026-12-01T00:00:00Z is expected, not {text:?}"))
}
