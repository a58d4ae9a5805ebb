//! `healthcheck:` — a command in a container, translated to what the balancer asks, or to the container's own check.
//!
//! An image has no shell and no curl to run a check with. What nearly all checks of web services say is "get this path
//! of myself", and that the balancer does itself. A program of the image or another WebAssembly file is run in the
//! container, as a task definition's `healthCheck`.

use std::time::Duration;

use coracle_supervisor::model::health_check::{
    self as container,
    command_line::{self, LocalUrl},
};

use super::{ComposeError, reader::Field, values};

/// What the balancer asks each task, in terms of a target group.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// The path and query to get.
    pub path: String,
    /// The port the file's URL names; it must be the service's container port.
    pub port: Option<u16>,
    /// Between two checks of a task.
    pub interval: Duration,
    /// Until a check counts as failed.
    pub timeout: Duration,
    /// This many failures in a row make a task unhealthy.
    pub retries: u32,
    /// For how long failures of a new task do not count.
    pub start_period: Option<Duration>,
}

const KEYS: [&str; 6] = ["test", "interval", "timeout", "retries", "start_period", "disable"];
const FORMS: &str = "a health check gets a URL of the service itself: [\"CMD\", \"curl\", \"-f\", \"http://localhost:PORT/PATH\"], \
                     the same with wget, or \"curl -f http://localhost:PORT/PATH || exit 1\"; or it runs a program of the image or a \
                     WebAssembly file: [\"CMD\", \"check.wasm\"]; or it is disabled";

/// Who checks a service's tasks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Check {
    /// The file says that nobody does.
    Nobody,
    /// The balancer, or the container itself where the service is not published.
    Http(HealthCheck),
    /// The container itself.
    Container(container::HealthCheck),
}

impl HealthCheck {
    pub(super) fn parse(field: &Field<'_>) -> Result<Check, ComposeError> {
        // Docker's defaults: https://docs.docker.com/reference/dockerfile/#healthcheck
        let mut check = Self {
            path: String::new(),
            port: None,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            retries: 3,
            start_period: None,
        };
        let (mut test, mut disabled, mut timeout_given) = (None, false, false);
        for (key, value) in field.settings()? {
            match key {
                "test" => test = Some(value),
                "interval" => {
                    check.interval = value.parsed(|text| between(text, Duration::from_millis(100), 300))?
                }
                "timeout" => {
                    check.timeout = value.parsed(|text| between(text, Duration::from_millis(10), 120))?;
                    timeout_given = true;
                }
                "retries" => check.retries = value.parsed(retries)?,
                "start_period" => check.start_period = Some(value.parsed(values::duration)?),
                "disable" => disabled = value.boolean()?,
                _ => return Err(value.unsupported(&KEYS)),
            }
        }
        // A load balancer does not begin a check before the last one ended.
        if !timeout_given {
            check.timeout = check.timeout.min(check.interval.mul_f64(0.9));
        } else if check.timeout >= check.interval {
            return Err(field.error("the timeout must be shorter than the interval"));
        }
        let Some(test) = test else {
            return if disabled {
                Ok(Check::Nobody)
            } else {
                Err(field.error("test is missing, and the check is not disabled"))
            };
        };
        let words = words(&test)?;
        if disabled || words == ["NONE"] {
            return Ok(Check::Nobody);
        }
        let program: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        if words.first().is_none_or(|first| first != "CMD") {
            return Err(test.error(FORMS));
        }
        let Some(url) = command_line::url_of(&program) else {
            let check = check.of_container(words);
            // Also what calls curl or wget in another way.
            check.parse().map_err(|message| test.error(format!("{message} {FORMS}")))?;
            return Ok(Check::Container(check));
        };
        let url = LocalUrl::parse(url).map_err(|message| test.error(message))?;
        (check.port, check.path) = (url.port, url.path);
        Ok(Check::Http(check))
    }

    /// The same question, asked by the container's own check: of a service that nothing is published of.
    pub(super) fn unpublished(&self) -> Result<container::HealthCheck, String> {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let url = format!("http://localhost{port}{}", self.path);
        let check = self.of_container(["CMD", "http", &url].map(str::to_owned).to_vec());
        check.parse()?;
        Ok(check)
    }

    fn of_container(&self, command: Vec<String>) -> container::HealthCheck {
        container::HealthCheck {
            command,
            interval: Some(whole_seconds(self.interval)),
            timeout: Some(whole_seconds(self.timeout).max(LEAST_TIMEOUT)),
            retries: Some(self.retries),
            start_period: self.start_period.map(whole_seconds),
        }
    }
}

/// A container's check has at least this many seconds; no check is made wrong by more time.
const LEAST_TIMEOUT: u32 = 2;

fn whole_seconds(duration: Duration) -> u32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// The test as a list that starts with `CMD` or `NONE`. A shell's command line becomes the words it would run.
fn words(test: &Field<'_>) -> Result<Vec<String>, ComposeError> {
    let words = if test.is_list() {
        test.items()?.iter().map(Field::string).collect::<Result<Vec<_>, _>>()?
    } else {
        vec!["CMD-SHELL".to_owned(), test.string()?]
    };
    match words.as_slice() {
        [first, line] if first == "CMD-SHELL" => {
            let words = command_line::words_of(line).ok_or_else(|| test.error(FORMS))?;
            Ok(std::iter::once("CMD".to_owned()).chain(words).collect())
        }
        _ => Ok(words),
    }
}

fn between(text: &str, least: Duration, most_seconds: u64) -> Result<Duration, String> {
    let duration = values::duration(text)?;
    if (least..=Duration::from_secs(most_seconds)).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("from {} ms to {most_seconds} s are possible, not {text:?}", least.as_millis()))
    }
}

fn retries(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count @ 2..=10) => Ok(count),
        _ => Err(format!("a number from 2 to 10 is expected, not {text:?}")),
    }
}
