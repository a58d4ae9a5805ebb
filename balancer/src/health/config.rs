//! How the targets of a group are checked: ELB's fields, defaults and limits.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::matcher::{GrpcMatcher, Matcher};
use crate::ConfigError;

/// ELB: `HealthCheckIntervalSeconds`, 30 for HTTP.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
/// ELB: `HealthCheckTimeoutSeconds`, 5 for HTTP.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_HEALTHY_THRESHOLD: u32 = 5;
const DEFAULT_UNHEALTHY_THRESHOLD: u32 = 2;

/// ELB begins at 5 s. A probe of a task in this process costs microseconds, so less is allowed.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);
/// ELB begins at 2 s; shorter for the same reason.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(120);
const THRESHOLDS: RangeInclusive<u32> = 2..=10;
const MAX_PATH: usize = 1024;

/// What a probe speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthCheckProtocol {
    /// `GET` of the path; its status decides.
    #[default]
    Http,
    /// The same over TLS, with a certificate that is not validated. (In process there is no TLS: it is `HTTP` there.)
    Https,
    /// A connection that opens is success. A target in this process has no socket: there, any answer to a `GET` is.
    Tcp,
}

/// Where a probe goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthCheckPort {
    /// `traffic-port`: where the requests go.
    #[default]
    Traffic,
    /// Another port of the same address. Has no meaning for a target in this process.
    Port(NonZeroU16),
}

/// How the targets of a group are checked. The defaults are ELB's: `GET /` each 30 s, 5 s to answer 200 in, healthy after
/// 5 successes (a new target after one), unhealthy after 2 failures.
///
/// Serialised with ELB's field names (`HealthCheckPath`, `HealthCheckIntervalSeconds`, `Matcher: {HttpCode}`); reading
/// refuses unknown fields and values out of range. Seconds may have a fraction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct HealthCheckConfig {
    /// `false`: targets are `unavailable`, which gets traffic, and are never probed.
    pub enabled: bool,
    /// What a probe speaks.
    pub protocol: HealthCheckProtocol,
    /// Path and query of the request, beginning with `/`, at most 1024 characters.
    pub path: String,
    /// Where a probe goes.
    pub port: HealthCheckPort,
    /// From one probe to the next: 0.1 to 300 s (ELB: 5 to 300 s).
    pub interval: Duration,
    /// Time a target has to answer in: 0.01 to 120 s (ELB: 2 to 120 s), and less than the interval.
    pub timeout: Duration,
    /// Successes in a row that make an unhealthy target healthy: 2 to 10.
    pub healthy_threshold: u32,
    /// Failures in a row that make a target unhealthy: 2 to 10.
    pub unhealthy_threshold: u32,
    /// Statuses that are success.
    pub matcher: Matcher,
    /// Of targets that speak gRPC: status codes that are success.
    pub grpc_matcher: GrpcMatcher,
}

impl Default for HealthCheckConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            protocol: HealthCheckProtocol::default(),
            path: "/".to_owned(),
            port: HealthCheckPort::default(),
            interval: DEFAULT_INTERVAL,
            timeout: DEFAULT_TIMEOUT,
            healthy_threshold: DEFAULT_HEALTHY_THRESHOLD,
            unhealthy_threshold: DEFAULT_UNHEALTHY_THRESHOLD,
            matcher: Matcher::default(),
            grpc_matcher: GrpcMatcher::default(),
        }
    }
}

impl HealthCheckConfig {
    /// No health check: every registered target is `unavailable` and gets traffic.
    pub fn disabled() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    /// Reads settings given as text, as tags and labels have them: `enabled`, `protocol`, `path`, `port`, `interval`,
    /// `timeout`, `healthy-threshold`, `unhealthy-threshold`, `matcher`, `grpc-matcher`. What is not given has its default, but a
    /// timeout that is not given is at most half the interval.
    ///
    /// # Errors
    ///
    /// Names the first setting that is unknown or out of its limits.
    pub fn from_settings<'a>(
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let mut wire = Wire::default();
        for (name, value) in settings {
            wire.set(name, value)?;
        }
        wire.try_into()
    }

    /// Checks every field against its limits.
    ///
    /// # Errors
    ///
    /// Names the first field that is out of its limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !valid_path(&self.path) {
            let allowed = "a path that begins with / and has at most 1024 visible ASCII characters";
            return Err(ConfigError::new("HealthCheckPath", &self.path, allowed));
        }
        let within = |field, value: Duration, limits: &RangeInclusive<Duration>, allowed| {
            let wrong = || ConfigError::new(field, value.as_secs_f64(), allowed);
            limits.contains(&value).then_some(()).ok_or_else(wrong)
        };
        within("HealthCheckIntervalSeconds", self.interval, &INTERVALS, "from 0.1 to 300")?;
        within("HealthCheckTimeoutSeconds", self.timeout, &TIMEOUTS, "from 0.01 to 120")?;
        if self.timeout >= self.interval {
            let allowed = "less than HealthCheckIntervalSeconds";
            return Err(ConfigError::new("HealthCheckTimeoutSeconds", self.timeout.as_secs_f64(), allowed));
        }
        let threshold = |field, value: u32| {
            let wrong = || ConfigError::new(field, value, "from 2 to 10");
            THRESHOLDS.contains(&value).then_some(()).ok_or_else(wrong)
        };
        threshold("HealthyThresholdCount", self.healthy_threshold)?;
        threshold("UnhealthyThresholdCount", self.unhealthy_threshold)
    }
}

fn valid_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= MAX_PATH
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && path.parse::<http::uri::PathAndQuery>().is_ok()
}

/// The same in ELB's words, each field as it was given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
struct Wire {
    health_check_enabled: Option<bool>,
    health_check_protocol: Option<HealthCheckProtocol>,
    health_check_path: Option<String>,
    health_check_port: Option<String>,
    health_check_interval_seconds: Option<f64>,
    health_check_timeout_seconds: Option<f64>,
    healthy_threshold_count: Option<u32>,
    unhealthy_threshold_count: Option<u32>,
    matcher: Option<WireMatcher>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
struct WireMatcher {
    #[serde(skip_serializing_if = "Option::is_none")]
    http_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_code: Option<String>,
}

impl Wire {
    fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        fn parse<T: FromStr>(
            field: &'static str,
            value: &str,
            allowed: &'static str,
        ) -> Result<Option<T>, ConfigError> {
            value.trim().parse().map(Some).map_err(|_| ConfigError::new(field, value, allowed))
        }
        match name {
            "enabled" => self.health_check_enabled = parse("HealthCheckEnabled", value, "true or false")?,
            "protocol" => {
                let allowed = "HTTP, HTTPS or TCP";
                let wrong = || ConfigError::new("HealthCheckProtocol", value, allowed);
                self.health_check_protocol = Some(protocol(value).ok_or_else(wrong)?);
            }
            "path" => self.health_check_path = Some(value.to_owned()),
            "port" => self.health_check_port = Some(value.to_owned()),
            "interval" => {
                self.health_check_interval_seconds =
                    parse("HealthCheckIntervalSeconds", value, "seconds from 0.1 to 300")?;
            }
            "timeout" => {
                self.health_check_timeout_seconds =
                    parse("HealthCheckTimeoutSeconds", value, "seconds from 0.01 to 120")?;
            }
            "healthy-threshold" => {
                self.healthy_threshold_count = parse("HealthyThresholdCount", value, "from 2 to 10")?;
            }
            "unhealthy-threshold" => {
                self.unhealthy_threshold_count = parse("UnhealthyThresholdCount", value, "from 2 to 10")?;
            }
            "matcher" => self.matcher.get_or_insert_default().http_code = Some(value.to_owned()),
            "grpc-matcher" => self.matcher.get_or_insert_default().grpc_code = Some(value.to_owned()),
            _ => {
                let allowed = "one of enabled, protocol, path, port, interval, timeout, healthy-threshold, \
                               unhealthy-threshold, matcher, grpc-matcher";
                return Err(ConfigError::new("health check setting", name, allowed));
            }
        }
        Ok(())
    }
}

fn protocol(text: &str) -> Option<HealthCheckProtocol> {
    match text {
        _ if text.eq_ignore_ascii_case("http") => Some(HealthCheckProtocol::Http),
        _ if text.eq_ignore_ascii_case("https") => Some(HealthCheckProtocol::Https),
        _ if text.eq_ignore_ascii_case("tcp") => Some(HealthCheckProtocol::Tcp),
        _ => None,
    }
}

impl FromStr for HealthCheckPort {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if text == "traffic-port" {
            return Ok(Self::Traffic);
        }
        let wrong = |_| ConfigError::new("HealthCheckPort", text, "traffic-port or a port from 1 to 65535");
        text.parse().map(Self::Port).map_err(wrong)
    }
}

impl fmt::Display for HealthCheckPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traffic => f.write_str("traffic-port"),
            Self::Port(port) => write!(f, "{port}"),
        }
    }
}

impl TryFrom<Wire> for HealthCheckConfig {
    type Error = ConfigError;

    fn try_from(wire: Wire) -> Result<Self, ConfigError> {
        let default = Self::default();
        let seconds = |field, value: Option<f64>| {
            let parse = |value| {
                let wrong = |_| ConfigError::new(field, value, "a number of seconds");
                Duration::try_from_secs_f64(value).map_err(wrong)
            };
            value.map(parse).transpose()
        };
        let interval = seconds("HealthCheckIntervalSeconds", wire.health_check_interval_seconds)?
            .unwrap_or(default.interval);
        let timeout = seconds("HealthCheckTimeoutSeconds", wire.health_check_timeout_seconds)?
            .unwrap_or_else(|| default.timeout.min(interval / 2));
        let matcher = wire.matcher.unwrap_or_default();
        let config = Self {
            enabled: wire.health_check_enabled.unwrap_or(default.enabled),
            protocol: wire.health_check_protocol.unwrap_or(default.protocol),
            path: wire.health_check_path.unwrap_or(default.path),
            port: wire.health_check_port.map_or(Ok(default.port), |port| port.parse())?,
            interval,
            timeout,
            healthy_threshold: wire.healthy_threshold_count.unwrap_or(default.healthy_threshold),
            unhealthy_threshold: wire.unhealthy_threshold_count.unwrap_or(default.unhealthy_threshold),
            matcher: matcher.http_code.map_or(Ok(default.matcher), |codes| codes.parse())?,
            grpc_matcher: matcher.grpc_code.map_or(Ok(default.grpc_matcher), |codes| codes.parse())?,
        };
        config.validate()?;
        Ok(config)
    }
}

impl From<HealthCheckConfig> for Wire {
    fn from(config: HealthCheckConfig) -> Self {
        Self {
            health_check_enabled: Some(config.enabled),
            health_check_protocol: Some(config.protocol),
            health_check_path: Some(config.path),
            health_check_port: Some(config.port.to_string()),
            health_check_interval_seconds: Some(config.interval.as_secs_f64()),
            health_check_timeout_seconds: Some(config.timeout.as_secs_f64()),
            healthy_threshold_count: Some(config.healthy_threshold),
            unhealthy_threshold_count: Some(config.unhealthy_threshold),
            matcher: Some(WireMatcher {
                http_code: Some(config.matcher.to_string()),
                grpc_code: Some(config.grpc_matcher.to_string()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_elbs() {
        let config: HealthCheckConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, HealthCheckConfig::default());
        assert_eq!((config.interval.as_secs(), config.timeout.as_secs()), (30, 5));
        assert_eq!((config.healthy_threshold, config.unhealthy_threshold), (5, 2));
        assert_eq!(config.matcher.to_string(), "200");
    }

    #[test]
    fn survives_the_wire() {
        let settings = [
            ("protocol", "tcp"),
            ("path", "/up?deep=1"),
            ("port", "8081"),
            ("interval", "0.5"),
            ("timeout", "0.25"),
            ("healthy-threshold", "3"),
            ("unhealthy-threshold", "4"),
            ("matcher", "200-299"),
        ];
        let config = HealthCheckConfig::from_settings(settings).unwrap();
        let wire = serde_json::to_value(&config).unwrap();
        assert_eq!(wire["HealthCheckIntervalSeconds"], 0.5);
        assert_eq!(wire["Matcher"]["HttpCode"], "200-299");
        assert_eq!(serde_json::from_value::<HealthCheckConfig>(wire).unwrap(), config);
    }

    #[test]
    fn a_timeout_not_given_follows_a_short_interval() {
        let config = HealthCheckConfig::from_settings([("interval", "0.2")]).unwrap();
        assert_eq!(config.timeout, Duration::from_millis(100));
    }

    #[test]
    fn an_error_names_the_field_and_what_is_allowed() {
        for (name, value, field) in [
            ("enabled", "maybe", "HealthCheckEnabled"),
            ("protocol", "gopher", "HealthCheckProtocol"),
            ("path", "up", "HealthCheckPath"),
            ("path", "/a b", "HealthCheckPath"),
            ("port", "0", "HealthCheckPort"),
            ("port", "http", "HealthCheckPort"),
            ("interval", "0.09", "HealthCheckIntervalSeconds"),
            ("interval", "301", "HealthCheckIntervalSeconds"),
            ("interval", "-1", "HealthCheckIntervalSeconds"),
            ("interval", "NaN", "HealthCheckIntervalSeconds"),
            ("timeout", "30", "HealthCheckTimeoutSeconds"),
            ("timeout", "0", "HealthCheckTimeoutSeconds"),
            ("healthy-threshold", "1", "HealthyThresholdCount"),
            ("unhealthy-threshold", "11", "UnhealthyThresholdCount"),
            ("matcher", "ok", "Matcher.HttpCode"),
            ("intervall", "5", "health check setting"),
        ] {
            let error = HealthCheckConfig::from_settings([(name, value)]).unwrap_err();
            assert_eq!(error.field(), field, "{name}={value}: {error}");
        }
        let unknown = serde_json::from_str::<HealthCheckConfig>(r#"{"Path": "/"}"#).unwrap_err();
        assert!(unknown.to_string().contains("Path"), "{unknown}");
    }
}
