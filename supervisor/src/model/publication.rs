//! How a service is published behind the balancer, from its tags.
//!
//! ECS says this with load balancers and target groups that exist beforehand ([`super::load_balancing::attachment`]). A service that has none of its own may
//! say it by tags:
//!
//! | tag | value | default |
//! | --- | --- | --- |
//! | `coracle.listen` | `127.0.0.1:8080`: publish the service there; port 0 picks one | no listener |
//! | `coracle.health-check.enabled` | `true` or `false` | `true` |
//! | `coracle.health-check.protocol` | `HTTP` or `TCP` | `HTTP` |
//! | `coracle.health-check.path` | begins with `/` | `/` |
//! | `coracle.health-check.port` | `traffic-port` or a port | `traffic-port` |
//! | `coracle.health-check.interval` | seconds, 0.1 to 300 | 30 |
//! | `coracle.health-check.timeout` | seconds, 0.01 to 120, below the interval | 5, at most half the interval |
//! | `coracle.health-check.healthy-threshold` | 2 to 10 | 5 |
//! | `coracle.health-check.unhealthy-threshold` | 2 to 10 | 2 |
//! | `coracle.health-check.matcher` | `200`, `200,202` or `200-299` | `200` |
//! | `coracle.deregistration-delay` | seconds, 0 to 3600 | 300 |
//! | `coracle.retry.attempts` | how often an idempotent request that a task broke off is sent to another, 0 to 5 | 0 |
//! | `coracle.scale-to-zero` | seconds without a request, 0.1 to 86400, after which the service has no tasks until the next one | never |
//! | `coracle.test-listen` | an address: the test listener of deployments with two target groups | none |
//!
//! Names, ranges and defaults are ELB's, but for the intervals below 5 s, which ELB does not have. Without a listener they are for a service that others find by
//! name ([`super::service_connect`]): its tasks get requests all the same. Such a service's health is not checked unless a tag says how.

use std::net::SocketAddr;
use std::time::Duration;

use coracle_balancer::{DEFAULT_DEREGISTRATION_DELAY, HealthCheckConfig, RetryPolicy, TargetGroupAttributes};
use serde::{Deserialize, Serialize};

use super::deployment::{Pace, pace};
use super::load_balancing::attachment::Attachment;
use super::service::LoadBalancer;
use super::tags::Tag;
use super::task_definition::TaskDefinitionContent;
use crate::error::OperationError;

/// Prefix of the tags that mean something to us.
pub const PREFIX: &str = "coracle.";
/// The tag that publishes a service.
pub const LISTEN: &str = "coracle.listen";
/// The tag that opens a test listener.
pub const TEST_LISTEN: &str = "coracle.test-listen";
/// How long a service is idle before it drops to nothing.
pub const SCALE_TO_ZERO: &str = "coracle.scale-to-zero";
/// How long a task that leaves may finish its requests.
pub const DEREGISTRATION_DELAY: &str = "coracle.deregistration-delay";
/// How often an idempotent request that a task broke off is sent to another task.
pub const RETRY_ATTEMPTS: &str = "coracle.retry.attempts";
/// Prefix of the tags of the health check.
pub const HEALTH_CHECK: &str = "coracle.health-check.";
/// A tag that DescribeServices adds: where a published service can be reached.
pub const ENDPOINT: &str = "coracle.endpoint";

/// A tag that DescribeServices adds while a service has scaled to zero: how many tasks the next request brings back.
pub const ASLEEP: &str = "coracle.asleep";

/// The longest deregistration delay a target group may have: whoever waits for one that may change waits no longer.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// As a target group's attribute of the same name.
const MOST_ATTEMPTS: u32 = 5;

/// A service's place behind the balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    /// Where the listener binds; port 0 picks a port at each start. `None`: only those who find the service by name send it requests.
    pub listen: Option<SocketAddr>,
    /// Where the test listener binds, if there is one. Its requests go where a deployment says; else where all others do.
    pub test_listen: Option<SocketAddr>,
    /// What a task must answer to be sent requests.
    pub health_check: HealthCheckConfig,
    /// Without a request for so long it has no tasks, and gets them with the next request, which waits. Never unless given.
    pub scale_to_zero: Option<Duration>,
    /// Longest wait for requests in flight once a task is taken out, 0 to 3600 s.
    pub deregistration_delay: Duration,
    /// How often an idempotent request that a task broke off is sent to another, 0 to 5. Not at all unless given, as behind an ELB.
    #[serde(default)]
    pub retry_attempts: u32,
    /// Target groups that exist beforehand, with health checks and delays of their own.
    #[serde(default)]
    pub attachment: Option<Box<Attachment>>,
}

impl Publication {
    /// Reads the tags and load balancers of a service that is found by name, if `offered`; `None` when nothing sends it requests. Errors name the tag.
    pub fn parse(
        tags: &[Tag],
        load_balancers: &[LoadBalancer],
        offered: bool,
    ) -> Result<Option<Self>, OperationError> {
        match Attachment::parse(load_balancers)? {
            None => Self::by_tags(tags, offered),
            Some(attachment) => Self::attached(tags, attachment).map(Some),
        }
    }

    /// A target group that people made, by itself.
    pub(crate) fn of_kept(health_check: &HealthCheckConfig, deregistration_delay: Duration) -> Self {
        Self {
            listen: None,
            test_listen: None,
            health_check: health_check.clone(),
            scale_to_zero: None,
            deregistration_delay,
            retry_attempts: 0,
            attachment: None,
        }
    }

    /// What its target groups are given that it has for itself.
    pub(crate) fn attributes(&self) -> TargetGroupAttributes {
        TargetGroupAttributes {
            deregistration_delay: self.deregistration_delay,
            retry: RetryPolicy { attempts: self.retry_attempts, ..RetryPolicy::default() },
            ..TargetGroupAttributes::default()
        }
    }

    /// The container that gets the requests: the one that the service says, else the definition's first with a port.
    pub fn answers<'a>(&'a self, content: &'a TaskDefinitionContent) -> Option<&'a str> {
        match &self.attachment {
            Some(attachment) => Some(&attachment.container),
            None => content.traffic_container(),
        }
    }

    /// Whether tasks get requests that nobody finds by name.
    pub(crate) fn has_listener(&self) -> bool {
        self.listen.is_some() || self.attachment.is_some()
    }

    fn attached(tags: &[Tag], attachment: Attachment) -> Result<Self, OperationError> {
        let mut scale_to_zero = None;
        for tag in tags.iter().filter(|tag| tag.key.starts_with(PREFIX) && !Pace::is_its(&tag.key)) {
            match tag.key.as_str() {
                SCALE_TO_ZERO => scale_to_zero = Some(idle_time(tag)?),
                _ => {
                    return Err(OperationError::invalid(format!(
                        "Tag {} means nothing beside loadBalancers: their listeners and target groups say it.",
                        tag.key
                    )));
                }
            }
        }
        Ok(Self {
            scale_to_zero,
            attachment: Some(Box::new(attachment)),
            ..Self::of_kept(&HealthCheckConfig::disabled(), LONGEST_DELAY)
        })
    }

    fn by_tags(tags: &[Tag], offered: bool) -> Result<Option<Self>, OperationError> {
        let mut listen = None;
        let mut deregistration_delay = DEFAULT_DEREGISTRATION_DELAY;
        let mut retry_attempts = 0;
        let mut health_check = Vec::new();
        let ours: Vec<&Tag> =
            tags.iter().filter(|tag| tag.key.starts_with(PREFIX) && !Pace::is_its(&tag.key)).collect();
        let mut test_listen = None;
        let mut scale_to_zero = None;
        for tag in &ours {
            if tag.key == LISTEN {
                listen = Some(address(tag)?);
            } else if tag.key == TEST_LISTEN {
                test_listen = Some(address(tag)?);
            } else if tag.key == SCALE_TO_ZERO {
                scale_to_zero = Some(idle_time(tag)?);
            } else if tag.key == DEREGISTRATION_DELAY {
                deregistration_delay = delay(tag)?;
            } else if tag.key == RETRY_ATTEMPTS {
                retry_attempts = attempts(tag)?;
            } else if let Some(setting) = tag.key.strip_prefix(HEALTH_CHECK) {
                health_check.push((setting, tag.value.as_str()));
            } else {
                return Err(OperationError::invalid(format!(
                    "Unknown tag {}: known are {LISTEN}, {TEST_LISTEN}, {SCALE_TO_ZERO}, {HEALTH_CHECK}*, {DEREGISTRATION_DELAY}, {RETRY_ATTEMPTS}, {}, {} and {}.",
                    tag.key,
                    pace::BAKE_TIME,
                    pace::STEP_BAKE_TIME,
                    pace::PROVING_TIME,
                )));
            }
        }
        let meaningless = |tag: &Tag, with: &str| {
            OperationError::invalid(format!("Tag {} means nothing without {with}: add it.", tag.key))
        };
        if listen.is_none() {
            match ours.iter().find(|tag| !offered || tag.key == TEST_LISTEN) {
                Some(tag) => return Err(meaningless(tag, LISTEN)),
                None if !offered => return Ok(None),
                None => {}
            }
        }
        let health_check = match health_check.as_slice() {
            // ELB's default would ask for `/`, and not everything that is found by name speaks HTTP.
            [] if listen.is_none() => HealthCheckConfig::disabled(),
            settings => parse_health_check(settings)?,
        };
        Ok(Some(Self {
            listen,
            test_listen,
            health_check,
            scale_to_zero,
            deregistration_delay,
            retry_attempts,
            attachment: None,
        }))
    }
}

fn parse_health_check(settings: &[(&str, &str)]) -> Result<HealthCheckConfig, OperationError> {
    HealthCheckConfig::from_settings(settings.iter().copied()).map_err(|error| {
        // The error names ELB's field. The tag is the one that is wrong by itself, or, where none is, one that does not fit the others.
        let alone = |(setting, value): &&(&str, &str)| {
            HealthCheckConfig::from_settings([(*setting, *value)]).is_err()
        };
        let culprit = settings.iter().find(alone).or_else(|| settings.last());
        let tag = culprit.map_or("*", |(setting, _)| setting);
        OperationError::invalid(format!("Tag {HEALTH_CHECK}{tag}: {error}."))
    })
}

fn refuse(tag: &Tag, allowed: &str) -> OperationError {
    OperationError::invalid(format!("Tag {} must be {allowed}, not {:?}.", tag.key, tag.value))
}

fn address(tag: &Tag) -> Result<SocketAddr, OperationError> {
    tag.value.parse().map_err(|_| refuse(tag, "an address and a port, such as 127.0.0.1:8080"))
}

fn idle_time(tag: &Tag) -> Result<Duration, OperationError> {
    let value = tag.value.parse::<f64>().ok().filter(|value| (0.1..=86_400.0).contains(value));
    value.map(Duration::from_secs_f64).ok_or_else(|| refuse(tag, "seconds from 0.1 to 86400"))
}

fn delay(tag: &Tag) -> Result<Duration, OperationError> {
    let value = tag.value.parse::<f64>().ok().filter(|value| (0.0..=3600.0).contains(value));
    value.map(Duration::from_secs_f64).ok_or_else(|| refuse(tag, "seconds from 0 to 3600"))
}

fn attempts(tag: &Tag) -> Result<u32, OperationError> {
    let value = tag.value.parse().ok().filter(|value| *value <= MOST_ATTEMPTS);
    value.ok_or_else(|| refuse(tag, &format!("a number from 0 to {MOST_ATTEMPTS}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tags: &[(&str, &str)]) -> Result<Option<Publication>, OperationError> {
        parse_offered(tags, false)
    }

    fn parse_offered(tags: &[(&str, &str)], offered: bool) -> Result<Option<Publication>, OperationError> {
        let tags: Vec<_> = tags.iter().map(|(key, value)| Tag::new(*key, *value)).collect();
        Publication::parse(&tags, &[], offered)
    }

    #[test]
    fn one_that_is_found_by_name_gets_requests_without_a_listener() {
        let plain = parse_offered(&[], true).unwrap().unwrap();
        assert_eq!((plain.listen, plain.health_check.enabled), (None, false));
        let tags = [("coracle.health-check.path", "/health"), (SCALE_TO_ZERO, "60")];
        let checked = parse_offered(&tags, true).unwrap().unwrap();
        assert_eq!(
            (checked.health_check.enabled, checked.scale_to_zero),
            (true, Some(Duration::from_secs(60)))
        );
        let error = parse_offered(&[(TEST_LISTEN, "127.0.0.1:1")], true).unwrap_err().to_string();
        assert!(error.contains(TEST_LISTEN) && error.contains(LISTEN), "{error}");
    }

    #[test]
    fn a_service_without_our_tags_is_not_published() {
        assert_eq!(parse(&[("team", "a")]).unwrap(), None);
    }

    #[test]
    fn the_defaults_are_elbs() {
        let publication = parse(&[(LISTEN, "127.0.0.1:8080")]).unwrap().unwrap();
        assert_eq!(publication.health_check, HealthCheckConfig::default());
        assert_eq!(publication.deregistration_delay, Duration::from_secs(300));
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
            ("coracle.health-check.colour", "red"),
            ("coracle.deregistration-delay", "-1"),
            ("coracle.retry.attempts", "6"),
            ("coracle.scale-to-zero", "0"),
            ("coracle.test-listen", "8081"),
            ("coracle.unknown", "1"),
        ] {
            let error = parse(&[("coracle.listen", "127.0.0.1:1"), (key, value)]).unwrap_err().to_string();
            assert!(error.contains(key), "{key}={value}: {error}");
        }
        let error = parse(&[("coracle.health-check.path", "/")]).unwrap_err().to_string();
        assert!(error.contains(LISTEN), "{error}");
    }

    #[test]
    fn a_publication_survives_being_stored() {
        let tags =
            [(LISTEN, "127.0.0.1:0"), ("coracle.health-check.interval", "0.25"), (RETRY_ATTEMPTS, "2")];
        let publication = parse(&tags).unwrap().unwrap();
        assert_eq!(publication.attributes().retry.attempts, 2);
        let stored = serde_json::to_string(&publication).unwrap();
        assert_eq!(serde_json::from_str::<Publication>(&stored).unwrap(), publication);
    }
}
