//! `healthcheck:` — a command in a container, translated to what the balancer asks.
//!
//! An image has no shell and no curl to run a check with. What nearly all checks of web services say is "get this path
//! of myself", and that the balancer does itself: the forms below are understood, all others refused.

use std::time::Duration;

use coracle_supervisor::model::health_check::command_line::{self, LocalUrl};

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
                     the same with wget, or \"curl -f http://localhost:PORT/PATH || exit 1\"; or it is disabled";

impl HealthCheck {
    /// `None` where the file says there is to be no check.
    pub(super) fn parse(field: &Field<'_>) -> Result<Option<Self>, ComposeError> {
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
                Ok(None)
            } else {
                Err(field.error("test is missing, and the check is not disabled"))
            };
        };
        let words = words(&test)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if disabled || words == ["NONE"] {
            return Ok(None);
        }
        let url = match words.as_slice() {
            ["CMD", program @ ..] => command_line::url_of(program),
            _ => None,
        };
        let target = url.ok_or_else(|| test.error(FORMS))?;
        let url = LocalUrl::parse(target).map_err(|message| test.error(message))?;
        (check.port, check.path) = (url.port, url.path);
        Ok(Some(check))
    }
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
