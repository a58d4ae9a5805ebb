//! A container's `healthCheck`: the command as ECS writes it, and what is asked of the container for it.
//!
//! An image has no shell and no curl. So a check is one of three things:
//!
//! - an HTTP GET of the container itself: `["CMD", "http", "http://localhost:8080/health"]`, or the calls of curl and wget that say no more than
//!   that, also after `CMD-SHELL`;
//! - a TCP connection to it: `["CMD", "tcp", "localhost:8080"]`;
//! - a command of the image, or another WebAssembly file, run inside the task: `["CMD", "check.wasm", "--quick"]`. Exit code 0 is healthy.

pub mod command_line;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use command_line::LocalUrl;

/// ECS: "between 5 and 300 seconds. The default value is 30 seconds."
const INTERVAL: Range = Range { field: "interval", least: 5, most: 300, default: 30 };
/// ECS: "between 2 and 60 seconds. The default value is 5."
const TIMEOUT: Range = Range { field: "timeout", least: 2, most: 60, default: 5 };
/// ECS: "between 1 and 10 retries. The default value is 3."
const RETRIES: Range = Range { field: "retries", least: 1, most: 10, default: 3 };
/// ECS: "between 0 and 300 seconds. By default, the startPeriod is off."
const START_PERIOD: Range = Range { field: "startPeriod", least: 0, most: 300, default: 0 };

/// A container's health check as ECS writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct HealthCheck {
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<u32>,
}

/// A health check as it is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// What is asked.
    pub probe: Probe,
    /// From the end of one check to the beginning of the next.
    pub interval: Duration,
    /// How long one may take before it has failed.
    pub timeout: Duration,
    /// So many failures in a row make the container unhealthy.
    pub retries: u32,
    /// How long after the container's start failures do not count.
    pub start_period: Duration,
}

/// One question to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Run this in the task's environment; exit code 0 is healthy. The first word may be a WebAssembly file.
    Command(Vec<String>),
    /// Get this; a status from 200 to 399 is healthy, which is what `curl -f` takes for success.
    Http {
        /// None is the container's own first port.
        port: Option<u16>,
        /// With the query.
        path: String,
    },
    /// Connect; an accepted connection is healthy.
    Tcp {
        /// Of the task's own address.
        port: u16,
    },
}

impl HealthCheck {
    /// What is to be done, or `None` for `["NONE"]`. The error names the field.
    pub fn parse(&self) -> Result<Option<HealthPlan>, String> {
        let seconds = |range: Range, value| range.check(value).map(|value| Duration::from_secs(value.into()));
        let (interval, timeout) = (seconds(INTERVAL, self.interval)?, seconds(TIMEOUT, self.timeout)?);
        let (retries, start_period) =
            (RETRIES.check(self.retries)?, seconds(START_PERIOD, self.start_period)?);
        let probe = Probe::parse(&self.command).map_err(|why| format!("'healthCheck.command' {why}"))?;
        Ok(probe.map(|probe| HealthPlan { probe, interval, timeout, retries, start_period }))
    }
}

impl Probe {
    fn parse(command: &[String]) -> Result<Option<Self>, String> {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => Err("must not be empty: begin it with CMD or CMD-SHELL.".to_owned()),
            ["NONE"] => Ok(None),
            ["CMD", program @ ..] => Self::of_program(program).map(Some),
            ["CMD-SHELL", line] => {
                let words = command_line::words_of(line).ok_or_else(no_shell)?;
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let url = command_line::url_of(&words).ok_or_else(no_shell)?;
                LocalUrl::parse(url).map(|url| Some(Self::of_url(url)))
            }
            ["CMD-SHELL", ..] => Err("must have one command line after CMD-SHELL.".to_owned()),
            // Docker's own reading of a list that begins with neither is CMD; ECS refuses it.
            [first, ..] => Err(format!("must begin with CMD or CMD-SHELL, not {first:?}.")),
        }
    }

    fn of_program(program: &[&str]) -> Result<Self, String> {
        match program {
            [] => Err("must name a program after CMD.".to_owned()),
            ["http", url] => LocalUrl::parse(url).map(Self::of_url),
            ["tcp", address] => command_line::local_port(address).map(|port| Self::Tcp { port }),
            ["http" | "tcp", ..] => Err("must have one address after http or tcp.".to_owned()),
            _ => match command_line::url_of(program) {
                Some(url) => LocalUrl::parse(url).map(Self::of_url),
                None if command_line::is_http_client(program[0]) => Err(
                    "calls curl or wget in a way that is not understood: there is none in the image, and only getting one URL of the container \
                     itself is done in its place."
                        .to_owned(),
                ),
                None => Ok(Self::Command(program.iter().map(|word| (*word).to_owned()).collect())),
            },
        }
    }

    fn of_url(url: LocalUrl) -> Self {
        Self::Http { port: url.port, path: url.path }
    }
}

fn no_shell() -> String {
    "uses CMD-SHELL, but there is no shell in an image. Understood are \"curl -f http://localhost:PORT/PATH || exit 1\" and the same with wget; \
     else use [\"CMD\", \"http\", URL], [\"CMD\", \"tcp\", \"localhost:PORT\"] or [\"CMD\", a command of the image]."
        .to_owned()
}

struct Range {
    field: &'static str,
    least: u32,
    most: u32,
    default: u32,
}

impl Range {
    fn check(&self, value: Option<u32>) -> Result<u32, String> {
        let value = value.unwrap_or(self.default);
        if (self.least..=self.most).contains(&value) {
            return Ok(value);
        }
        Err(format!("'healthCheck.{}' must be {} to {}, not {value}.", self.field, self.least, self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &[&str]) -> HealthCheck {
        HealthCheck {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            ..HealthCheck::default()
        }
    }

    fn probe(command: &[&str]) -> Result<Option<Probe>, String> {
        check(command).parse().map(|plan| plan.map(|plan| plan.probe))
    }

    fn http(port: Option<u16>, path: &str) -> Result<Option<Probe>, String> {
        Ok(Some(Probe::Http { port, path: path.to_owned() }))
    }

    #[test]
    fn every_form_of_a_check_is_understood() {
        assert_eq!(probe(&["CMD", "http", "http://localhost:8080/up?a=1"]), http(Some(8080), "/up?a=1"));
        assert_eq!(probe(&["CMD", "curl", "-f", "http://localhost/"]), http(None, "/"));
        assert_eq!(probe(&["CMD-SHELL", "curl -f http://localhost:80/ || exit 1"]), http(Some(80), "/"));
        assert_eq!(probe(&["CMD-SHELL", "wget -q --spider http://127.0.0.1:81/a"]), http(Some(81), "/a"));
        assert_eq!(probe(&["CMD", "tcp", "localhost:8080"]), Ok(Some(Probe::Tcp { port: 8080 })));
        let command = Probe::Command(vec!["check.wasm".to_owned(), "--quick".to_owned()]);
        assert_eq!(probe(&["CMD", "check.wasm", "--quick"]), Ok(Some(command)));
        assert_eq!(probe(&["NONE"]), Ok(None));
    }

    #[test]
    fn what_would_need_a_shell_or_another_host_is_refused_with_a_hint() {
        for (command, hint) in [
            (&["CMD-SHELL", "test -f /ready"][..], "no shell"),
            (&["CMD-SHELL", "curl -f http://localhost/ | grep ok"], "no shell"),
            (&["CMD", "curl", "-X", "POST", "http://localhost/"], "curl or wget"),
            (&["CMD", "http", "http://example.com/"], "localhost"),
            (&["CMD", "tcp", "localhost"], "port"),
            (&["CMD", "tcp", "example.com:80"], "localhost"),
            (&["CMD", "http"], "one address"),
            (&["CMD"], "program"),
            (&["curl", "http://localhost"], "CMD or CMD-SHELL"),
            (&[], "must not be empty"),
        ] {
            let error = probe(command).expect_err(hint);
            assert!(error.contains(hint) && error.contains("'healthCheck.command'"), "{command:?}: {error}");
        }
    }

    #[test]
    fn numbers_have_ecss_defaults_and_ranges() {
        let plan = check(&["CMD", "x"]).parse().unwrap().unwrap();
        let seconds = Duration::from_secs;
        assert_eq!((plan.interval, plan.timeout, plan.retries), (seconds(30), seconds(5), 3));
        assert_eq!(plan.start_period, Duration::ZERO);
        let with = |set: fn(&mut HealthCheck)| {
            let mut check = check(&["CMD", "x"]);
            set(&mut check);
            check.parse()
        };
        for (field, result) in [
            ("interval", with(|check| check.interval = Some(4))),
            ("interval", with(|check| check.interval = Some(301))),
            ("timeout", with(|check| check.timeout = Some(1))),
            ("timeout", with(|check| check.timeout = Some(61))),
            ("retries", with(|check| check.retries = Some(0))),
            ("retries", with(|check| check.retries = Some(11))),
            ("startPeriod", with(|check| check.start_period = Some(301))),
        ] {
            assert!(result.expect_err(field).contains(&format!("'healthCheck.{field}'")));
        }
    }
}
