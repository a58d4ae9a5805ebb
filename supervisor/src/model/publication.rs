//! How a service is published behind the balancer, from its tags.
//!
//! ECS says this with load balancers and target groups that exist beforehand. Until they do here, a service's tags say it:
//!
//! | tag | value | default |
//! | --- | --- | --- |
//! | `coracle.listen` | `127.0.0.1:8080`: publish the service there; port 0 picks one | not published |
//! | `coracle.health-check.protocol` | `HTTP` or `TCP` | `HTTP` |
//! | `coracle.health-check.path` | begins with `/` | `/` |
//! | `coracle.health-check.interval` | seconds, 0.1 to 300 | 30 |
//! | `coracle.health-check.timeout` | seconds, 0.1 to 120 | 5, or the interval where that is shorter |
//! | `coracle.health-check.healthy-threshold` | 2 to 10 | 5 |
//! | `coracle.health-check.unhealthy-threshold` | 2 to 10 | 2 |
//! | `coracle.health-check.matcher` | `200`, `200,202` or `200-299` | `200` |
//! | `coracle.deregistration-delay` | seconds, 0 to 3600 | 300 |
//!
//! Names, ranges and defaults are ELB's, but for the intervals below 5 s, which ELB does not have.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tags::Tag;
use crate::error::OperationError;

/// Prefix of the tags that mean something to us.
pub const PREFIX: &str = "coracle.";
/// The tag that publishes a service.
pub const LISTEN: &str = "coracle.listen";
/// A tag that DescribeServices adds: where a published service can be reached.
pub const ENDPOINT: &str = "coracle.endpoint";

/// A service's place behind the balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    /// Where the listener binds; port 0 picks a port at each start.
    pub listen: SocketAddr,
    /// What a task must answer to be sent requests.
    pub health_check: HealthCheck,
    /// Longest wait for requests in flight once a task is taken out, 0 to 3600 s.
    pub deregistration_delay: Duration,
}

/// A target group's health check, by ELB's names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// HTTP asks for `path`, TCP only connects.
    pub protocol: HealthCheckProtocol,
    /// Asked for with GET.
    pub path: String,
    /// Between two checks, 0.1 to 300 s.
    pub interval: Duration,
    /// No answer for so long is a failure, 0.1 to 120 s.
    pub timeout: Duration,
    /// Successes in a row that make an unhealthy target healthy again, 2 to 10.
    pub healthy_threshold: u32,
    /// Failures in a row that make a target unhealthy, 2 to 10.
    pub unhealthy_threshold: u32,
    /// Status codes that count as success: `200`, `200,202` or `200-299`.
    pub matcher: String,
}

/// How a target is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthCheckProtocol {
    /// A GET whose status must match.
    Http,
    /// A connection.
    Tcp,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            protocol: HealthCheckProtocol::Http,
            path: "/".to_owned(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            healthy_threshold: 5,
            unhealthy_threshold: 2,
            matcher: "200".to_owned(),
        }
    }
}

/// ELB: "The amount of time ... to wait before deregistering a target. The range is 0-3600 seconds. The default value is 300 seconds."
pub const DEFAULT_DEREGISTRATION_DELAY: Duration = Duration::from_secs(300);

impl Publication {
    /// Reads a service's tags; `None` when they do not publish it. Errors name the tag.
    pub fn parse(tags: &[Tag]) -> Result<Option<Self>, OperationError> {
        let mut listen = None;
        let mut health_check = HealthCheck::default();
        let mut timeout = None;
        let mut deregistration_delay = DEFAULT_DEREGISTRATION_DELAY;
        let mut needs_listen = None;
        for tag in tags.iter().filter(|tag| tag.key.starts_with(PREFIX)) {
            match &tag.key[PREFIX.len()..] {
                "listen" => listen = Some(address(tag)?),
                "deregistration-delay" => deregistration_delay = seconds(tag, 0.0, 3600.0)?,
                "health-check.protocol" => {
                    health_check.protocol = match tag.value.to_ascii_uppercase().as_str() {
                        "HTTP" => HealthCheckProtocol::Http,
                        "TCP" => HealthCheckProtocol::Tcp,
                        _ => return Err(refuse(tag, "HTTP or TCP")),
                    }
                }
                "health-check.path" => health_check.path = path(tag)?,
                "health-check.interval" => health_check.interval = seconds(tag, 0.1, 300.0)?,
                "health-check.timeout" => timeout = Some(seconds(tag, 0.1, 120.0)?),
                "health-check.healthy-threshold" => health_check.healthy_threshold = threshold(tag)?,
                "health-check.unhealthy-threshold" => health_check.unhealthy_threshold = threshold(tag)?,
                "health-check.matcher" => health_check.matcher = matcher(tag)?,
                _ => {
                    return Err(OperationError::invalid(format!(
                        "Unknown tag {}: known are {LISTEN}, coracle.health-check.path, .protocol, .interval, .timeout, \
                         .healthy-threshold, .unhealthy-threshold, .matcher and coracle.deregistration-delay.",
                        tag.key
                    )));
                }
            }
            needs_listen = Some(&tag.key);
        }
        health_check.timeout = timeout.unwrap_or_else(|| health_check.timeout.min(health_check.interval));
        match (listen, needs_listen) {
            (Some(listen), _) => Ok(Some(Self { listen, health_check, deregistration_delay })),
            (None, None) => Ok(None),
            (None, Some(key)) => {
                Err(OperationError::invalid(format!("Tag {key} means nothing without {LISTEN}: add it.")))
            }
        }
    }
}

fn refuse(tag: &Tag, allowed: &str) -> OperationError {
    OperationError::invalid(format!("Tag {} must be {allowed}, not {:?}.", tag.key, tag.value))
}

fn address(tag: &Tag) -> Result<SocketAddr, OperationError> {
    tag.value.parse().map_err(|_| refuse(tag, "an address and a port, such as 127.0.0.1:8080"))
}

fn seconds(tag: &Tag, least: f64, most: f64) -> Result<Duration, OperationError> {
    let value = tag.value.parse::<f64>().ok().filter(|value| (least..=most).contains(value));
    value.map(Duration::from_secs_f64).ok_or_else(|| refuse(tag, &format!("seconds from {least} to {most}")))
}

fn threshold(tag: &Tag) -> Result<u32, OperationError> {
    tag.value
        .parse()
        .ok()
        .filter(|count| (2..=10).contains(count))
        .ok_or_else(|| refuse(tag, "a number from 2 to 10"))
}

fn path(tag: &Tag) -> Result<String, OperationError> {
    let printable = tag.value.bytes().all(|byte| byte.is_ascii_graphic());
    if tag.value.starts_with('/') && tag.value.len() <= 1024 && printable {
        Ok(tag.value.clone())
    } else {
        Err(refuse(tag, "a path that begins with / and has no spaces"))
    }
}

fn matcher(tag: &Tag) -> Result<String, OperationError> {
    let code = |text: &str| text.parse::<u16>().ok().filter(|code| (200..=499).contains(code));
    let fits = tag.value.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => {
            matches!((code(first), code(last)), (Some(first), Some(last)) if first <= last)
        }
        None => code(part).is_some(),
    });
    if fits {
        Ok(tag.value.clone())
    } else {
        Err(refuse(tag, "status codes from 200 to 499, such as 200, 200,202 or 200-299"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tags: &[(&str, &str)]) -> Result<Option<Publication>, OperationError> {
        Publication::parse(&tags.iter().map(|(key, value)| Tag::new(*key, *value)).collect::<Vec<_>>())
    }

    #[test]
    fn a_service_without_our_tags_is_not_published() {
        assert_eq!(parse(&[("team", "a")]).unwrap(), None);
    }

    #[test]
    fn the_defaults_are_elbs() {
        let publication = parse(&[(LISTEN, "127.0.0.1:8080")]).unwrap().unwrap();
        assert_eq!(publication.health_check, HealthCheck::default());
        assert_eq!(publication.deregistration_delay, Duration::from_secs(300));
    }

    #[test]
    fn a_short_interval_shortens_the_default_timeout() {
        let tags = [(LISTEN, "127.0.0.1:0"), ("coracle.health-check.interval", "0.2")];
        let check = parse(&tags).unwrap().unwrap().health_check;
        assert_eq!((check.interval, check.timeout), (Duration::from_millis(200), Duration::from_millis(200)));
    }

    #[test]
    fn a_bad_value_is_refused_with_the_name_of_its_tag() {
        for (key, value) in [
            ("coracle.listen", "8080"),
            ("coracle.health-check.path", "healthz"),
            ("coracle.health-check.interval", "0"),
            ("coracle.health-check.interval", "NaN"),
            ("coracle.health-check.timeout", "121"),
            ("coracle.health-check.healthy-threshold", "1"),
            ("coracle.health-check.unhealthy-threshold", "11"),
            ("coracle.health-check.matcher", "200-"),
            ("coracle.health-check.matcher", "600"),
            ("coracle.health-check.protocol", "UDP"),
            ("coracle.deregistration-delay", "-1"),
            ("coracle.unknown", "1"),
        ] {
            let error = parse(&[("coracle.listen", "127.0.0.1:1"), (key, value)]).unwrap_err().to_string();
            assert!(error.contains(key), "{key}={value}: {error}");
        }
        let error = parse(&[("coracle.health-check.path", "/")]).unwrap_err().to_string();
        assert!(error.contains(LISTEN), "{error}");
    }
}
