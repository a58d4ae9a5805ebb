//! ELBv2's target group attributes: pairs of text outside, domain types inside.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::algorithm::AlgorithmType;
use super::hold::HoldPolicy;
use super::outliers::OutlierDetection;
use super::retry::RetryPolicy;
use crate::routing::STICKINESS;
use crate::{ConfigError, ProxyProtocol};

/// ELB's `deregistration_delay.timeout_seconds`: 300 s.
pub const DEFAULT_DEREGISTRATION_DELAY: Duration = Duration::from_secs(300);
/// ELB's `stickiness.lb_cookie.duration_seconds`: one day.
const DEFAULT_STICKINESS: Duration = Duration::from_secs(86_400);

const DEREGISTRATION_DELAYS: RangeInclusive<u64> = 0..=3600;
const SLOW_STARTS: RangeInclusive<u64> = 30..=900;
const PERCENTAGES: RangeInclusive<u32> = 1..=100;
/// AWS: names with these prefixes are reserved.
const RESERVED_COOKIES: [&str; 3] = ["AWSALB", "AWSALBAPP", "AWSALBTG"];

const DEREGISTRATION_DELAY: &str = "deregistration_delay.timeout_seconds";
const SLOW_START: &str = "slow_start.duration_seconds";
const ALGORITHM: &str = "load_balancing.algorithm.type";
const STICKINESS_ENABLED: &str = "stickiness.enabled";
const STICKINESS_TYPE: &str = "stickiness.type";
const LB_COOKIE_DURATION: &str = "stickiness.lb_cookie.duration_seconds";
const APP_COOKIE_NAME: &str = "stickiness.app_cookie.cookie_name";
const APP_COOKIE_DURATION: &str = "stickiness.app_cookie.duration_seconds";
const PROXY_PROTOCOL_V2: &str = "proxy_protocol_v2.enabled";
const PROXY_PROTOCOL_V1: &str = "coracle.proxy_protocol_v1.enabled";
const LATENCY_METRICS: &str = "coracle.metrics.latency.enabled";
const MINIMUM_COUNT: &str = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count";
const MINIMUM_PERCENTAGE: &str =
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage";

/// How a target group treats its targets and their clients. The defaults are ELB's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroupAttributes {
    /// `deregistration_delay.timeout_seconds`, 0 to 3600 s: longest time a deregistered target may finish its requests
    /// in. Ends early when nothing is in flight.
    pub deregistration_delay: Duration,
    /// `slow_start.duration_seconds`, 30 to 900 s: time in which the share of a target that became healthy grows to its
    /// full size. `None` (`0`): at once.
    pub slow_start: Option<Duration>,
    /// `load_balancing.algorithm.type`.
    pub algorithm: AlgorithmType,
    /// `stickiness.*`: what binds a client to a target. `None`: nothing.
    pub stickiness: Option<Stickiness>,
    /// `target_group_health.unhealthy_state_routing.*`: with fewer healthy targets than this, requests go to all.
    pub minimum_healthy: MinimumHealthy,
    /// `proxy_protocol_v2.enabled`, `coracle.proxy_protocol_v1.enabled`: connections that are passed on begin with the
    /// client's address. Off by default, and of no meaning for HTTP, which has `X-Forwarded-For`.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `coracle.metrics.latency.enabled`: the time to each answer is measured. Off by default.
    pub latency_metrics: bool,
    /// `coracle.retry.*`: what is sent again after a target failed.
    pub retry: RetryPolicy,
    /// `coracle.hold.*`: what waits while there is no target.
    pub hold: HoldPolicy,
    /// `coracle.outlier_detection.*`: which targets are set aside for failing.
    pub outlier_detection: OutlierDetection,
}

/// What binds a client to the target its first request went to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stickiness {
    /// A cookie of the balancer's own, `AWSALB`, for so long from the last answer on: 1 s to 7 days.
    LbCookie(Duration),
    /// The application's cookie of this name: once a target sets it, `AWSALBAPP-0` goes along with it.
    AppCookie {
        /// A cookie name that does not begin with `AWSALB`.
        name: Arc<str>,
        /// 1 s to 7 days from when the application set its cookie.
        duration: Duration,
    },
}

/// The number of healthy targets below which a group fails open. The larger of the two counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinimumHealthy {
    /// At least this many; 1 by default.
    pub count: u32,
    /// At least this part of the targets, 1 to 100 %. `None` (`off`): the count alone.
    pub percentage: Option<u32>,
}

impl MinimumHealthy {
    /// How many of so many targets have to be healthy.
    pub(super) fn of(self, targets: usize) -> usize {
        let part = self.percentage.map_or(0, |percentage| (targets * percentage as usize).div_ceil(100));
        part.max(self.count as usize)
    }
}

impl Default for TargetGroupAttributes {
    fn default() -> Self {
        Self {
            deregistration_delay: DEFAULT_DEREGISTRATION_DELAY,
            slow_start: None,
            algorithm: AlgorithmType::default(),
            stickiness: None,
            minimum_healthy: MinimumHealthy { count: 1, percentage: None },
            proxy_protocol: None,
            latency_metrics: false,
            retry: RetryPolicy::default(),
            hold: HoldPolicy::default(),
            outlier_detection: OutlierDetection::default(),
        }
    }
}

impl TargetGroupAttributes {
    /// Reads attributes as ELBv2's `ModifyTargetGroupAttributes` has them; what is not given has its default.
    ///
    /// # Errors
    ///
    /// Names the first key that is unknown, has a value out of its range, or does not go with another.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        let mut text = Text::default();
        for (key, value) in pairs {
            text.set(key, value)?;
        }
        text.parse()
    }

    /// The attributes as ELBv2's `DescribeTargetGroupAttributes` lists them; reading them gives the same again.
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let seconds = |duration: Duration| duration.as_secs().to_string();
        let percentage = self.minimum_healthy.percentage;
        let mut pairs = vec![
            (DEREGISTRATION_DELAY, seconds(self.deregistration_delay)),
            (SLOW_START, seconds(self.slow_start.unwrap_or_default())),
            (ALGORITHM, self.algorithm.as_str().to_owned()),
            (STICKINESS_ENABLED, self.stickiness.is_some().to_string()),
            (MINIMUM_COUNT, self.minimum_healthy.count.to_string()),
            (LATENCY_METRICS, self.latency_metrics.to_string()),
            (PROXY_PROTOCOL_V2, (self.proxy_protocol == Some(ProxyProtocol::V2)).to_string()),
            (PROXY_PROTOCOL_V1, (self.proxy_protocol == Some(ProxyProtocol::V1)).to_string()),
            (MINIMUM_PERCENTAGE, percentage.map_or_else(|| "off".to_owned(), |part| part.to_string())),
        ];
        match &self.stickiness {
            Some(Stickiness::AppCookie { name, duration }) => pairs.extend([
                (STICKINESS_TYPE, "app_cookie".to_owned()),
                (APP_COOKIE_NAME, name.to_string()),
                (APP_COOKIE_DURATION, seconds(*duration)),
            ]),
            Some(Stickiness::LbCookie(duration)) => pairs.extend([
                (STICKINESS_TYPE, "lb_cookie".to_owned()),
                (LB_COOKIE_DURATION, seconds(*duration)),
            ]),
            None => {}
        }
        pairs.extend(self.retry.pairs());
        pairs.extend(self.hold.pairs());
        pairs.extend(self.outlier_detection.pairs());
        pairs
    }
}

/// The attributes one by one, before what depends on several is decided.
struct Text {
    attributes: TargetGroupAttributes,
    sticky: bool,
    app_cookie: bool,
    lb_duration: Duration,
    app_name: Option<Arc<str>>,
    app_duration: Duration,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            attributes: TargetGroupAttributes::default(),
            sticky: false,
            app_cookie: false,
            lb_duration: DEFAULT_STICKINESS,
            app_name: None,
            app_duration: DEFAULT_STICKINESS,
        }
    }
}

impl Text {
    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let wrong = |allowed: &'static str| ConfigError::new(key.to_owned(), value, allowed);
        let cookie_age = || {
            let age = whole(value).map(Duration::from_secs).filter(|age| STICKINESS.contains(age));
            age.ok_or_else(|| wrong("seconds from 1 to 604800"))
        };
        match key {
            DEREGISTRATION_DELAY => {
                let seconds = whole(value).filter(|seconds| DEREGISTRATION_DELAYS.contains(seconds));
                self.attributes.deregistration_delay =
                    Duration::from_secs(seconds.ok_or_else(|| wrong("seconds from 0 to 3600"))?);
            }
            SLOW_START => {
                let seconds = whole(value).filter(|seconds| *seconds == 0 || SLOW_STARTS.contains(seconds));
                let seconds = seconds.ok_or_else(|| wrong("0 (off) or seconds from 30 to 900"))?;
                self.attributes.slow_start = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            ALGORITHM => {
                self.attributes.algorithm = value.parse().map_err(|()| {
                    ConfigError::new(ALGORITHM, value, format!("one of {}", AlgorithmType::names()))
                })?;
            }
            STICKINESS_ENABLED => {
                self.sticky = value.parse().map_err(|_| wrong("true or false"))?;
            }
            STICKINESS_TYPE => {
                self.app_cookie = match value {
                    "lb_cookie" => false,
                    "app_cookie" => true,
                    _ => return Err(wrong("lb_cookie or app_cookie")),
                };
            }
            LB_COOKIE_DURATION => self.lb_duration = cookie_age()?,
            APP_COOKIE_DURATION => self.app_duration = cookie_age()?,
            APP_COOKIE_NAME => {
                let allowed = "a cookie name that does not begin with AWSALB";
                let reserved = RESERVED_COOKIES.iter().any(|prefix| value.starts_with(prefix));
                // The characters of a cookie's name are those of a header's (RFC 6265, 4.1.1).
                let name = !reserved && http::HeaderName::from_str(value).is_ok();
                self.app_name = Some(name.then(|| value.into()).ok_or_else(|| wrong(allowed))?);
            }
            LATENCY_METRICS => {
                self.attributes.latency_metrics = value.parse().map_err(|_| wrong("true or false"))?;
            }
            PROXY_PROTOCOL_V2 | PROXY_PROTOCOL_V1 => {
                let version = if key == PROXY_PROTOCOL_V2 { ProxyProtocol::V2 } else { ProxyProtocol::V1 };
                let current = &mut self.attributes.proxy_protocol;
                match value.parse().map_err(|_| wrong("true or false"))? {
                    true if current.is_some_and(|other| other != version) => {
                        return Err(wrong("false while the other version of the PROXY protocol is enabled"));
                    }
                    true => *current = Some(version),
                    false => *current = current.filter(|other| *other != version),
                }
            }
            MINIMUM_COUNT => {
                let count = value.parse().ok().filter(|count| *count > 0);
                self.attributes.minimum_healthy.count = count.ok_or_else(|| wrong("a number from 1"))?;
            }
            MINIMUM_PERCENTAGE => {
                self.attributes.minimum_healthy.percentage = match value {
                    "off" => None,
                    _ => {
                        let percentage = value.parse().ok().filter(|part| PERCENTAGES.contains(part));
                        Some(percentage.ok_or_else(|| wrong("off or a number from 1 to 100"))?)
                    }
                };
            }
            _ => {
                let attributes = &mut self.attributes;
                if attributes.retry.set(key, value)?
                    || attributes.hold.set(key, value)?
                    || attributes.outlier_detection.set(key, value)?
                {
                    return Ok(());
                }
                let ours =
                    RetryPolicy::KEYS.into_iter().chain(HoldPolicy::KEYS).chain(OutlierDetection::KEYS);
                let allowed = [
                    DEREGISTRATION_DELAY,
                    SLOW_START,
                    ALGORITHM,
                    STICKINESS_ENABLED,
                    STICKINESS_TYPE,
                    LB_COOKIE_DURATION,
                    APP_COOKIE_NAME,
                    APP_COOKIE_DURATION,
                    PROXY_PROTOCOL_V2,
                    PROXY_PROTOCOL_V1,
                    LATENCY_METRICS,
                    MINIMUM_COUNT,
                    MINIMUM_PERCENTAGE,
                ];
                let allowed = allowed.into_iter().chain(ours).collect::<Vec<_>>().join(", ");
                return Err(ConfigError::new("Attributes", key, format!("one of {allowed}")));
            }
        }
        Ok(())
    }

    fn parse(self) -> Result<TargetGroupAttributes, ConfigError> {
        let mut attributes = self.attributes;
        if let Some(duration) = attributes.slow_start
            && !attributes.algorithm.goes_with_slow_start()
        {
            let allowed = format!("0 with {ALGORITHM} {}", attributes.algorithm.as_str());
            return Err(ConfigError::new(SLOW_START, duration.as_secs(), allowed));
        }
        attributes.stickiness = match (self.sticky, self.app_cookie, self.app_name) {
            (false, ..) => None,
            (true, false, _) => Some(Stickiness::LbCookie(self.lb_duration)),
            (true, true, Some(name)) => Some(Stickiness::AppCookie { name, duration: self.app_duration }),
            (true, true, None) => {
                let allowed = "a cookie name, which stickiness.type app_cookie needs";
                return Err(ConfigError::new(APP_COOKIE_NAME, "", allowed));
            }
        };
        Ok(attributes)
    }
}

/// A whole number within limits.
pub(super) fn number(key: &str, value: &str, limits: RangeInclusive<u32>) -> Result<u32, ConfigError> {
    let allowed = || format!("a number from {} to {}", limits.start(), limits.end());
    let number = whole(value).and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|number| limits.contains(number));
    number.ok_or_else(|| ConfigError::new(key.to_owned(), value, allowed()))
}

/// Digits only: `parse` alone would take "+5".
fn whole(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
