//! `healthcheck:` — a command in a container, translated to what the balancer asks.
//!
//! An image has no shell and no curl to run a check with. What nearly all checks of web services say is "get this path
//! of myself", and that the balancer does itself: the forms below are understood, all others refused.

use std::time::Duration;

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
            ["CMD", program @ ..] => url_of(program),
            _ => None,
        };
        let target = url.ok_or_else(|| test.error(FORMS))?;
        (check.port, check.path) = target_of(target).map_err(|message| test.error(message))?;
        Ok(Some(check))
    }
}

/// The test as a list that starts with `CMD` or `NONE`. A shell's command line becomes the words it would run.
fn words(test: &Field<'_>) -> Result<Vec<String>, ComposeError> {
    let mut words = if test.is_list() {
        test.items()?.iter().map(Field::string).collect::<Result<Vec<_>, _>>()?
    } else {
        vec!["CMD-SHELL".to_owned(), test.string()?]
    };
    if words.len() == 2 && words[0] == "CMD-SHELL" {
        let line = words[1].trim();
        let line = ["|| exit 1", "|| false", "||exit 1"]
            .iter()
            .find_map(|tail| line.strip_suffix(tail))
            .unwrap_or(line);
        // Anything that only a shell could do is none of the forms.
        let plain = !line.contains(['|', '&', ';', '$', '`', '<', '>', '(', ')', '\n']);
        words = match shlex::split(line) {
            Some(split) if plain => std::iter::once("CMD".to_owned()).chain(split).collect(),
            _ => return Err(test.error(FORMS)),
        };
    }
    Ok(words)
}

/// The URL that a call of curl or wget gets, if getting it and seeing whether that worked is all it does.
fn url_of<'a>(program: &[&'a str]) -> Option<&'a str> {
    let (name, arguments) = program.split_first()?;
    let (flags, valued): (&[&str], &[&str]) = match name.rsplit('/').next()? {
        "curl" => (
            &[
                "-f",
                "--fail",
                "-s",
                "--silent",
                "-S",
                "--show-error",
                "-L",
                "--location",
                "-I",
                "--head",
                "-k",
                "--insecure",
            ],
            &["-o", "--output", "-m", "--max-time", "--connect-timeout", "--retry"],
        ),
        "wget" => (
            &["-q", "--quiet", "-nv", "--no-verbose", "--spider", "-S"],
            &["-O", "--output-document", "-T", "--timeout", "-t", "--tries"],
        ),
        _ => return None,
    };
    let (mut url, mut arguments) = (None, arguments.iter());
    while let Some(&argument) = arguments.next() {
        let long = argument.split_once('=').map_or(argument, |(name, _)| name);
        if valued.contains(&argument) {
            arguments.next()?;
        } else if flags.contains(&argument) || valued.contains(&long) || attached(argument, flags, valued) {
        } else if argument.starts_with('-') || url.replace(argument).is_some() {
            return None;
        }
    }
    url
}

/// Short options written together, such as `-fsS`, `-qO-` or `-T5`.
fn attached(argument: &str, flags: &[&str], valued: &[&str]) -> bool {
    let Some(letters) =
        argument.strip_prefix('-').filter(|letters| !letters.starts_with('-') && !letters.is_empty())
    else {
        return false;
    };
    for (at, letter) in letters.char_indices() {
        let option = format!("-{letter}");
        if valued.contains(&option.as_str()) {
            // The rest of the word is its value.
            return letters.len() > at + letter.len_utf8();
        }
        if !flags.contains(&option.as_str()) {
            return false;
        }
    }
    true
}

fn target_of(url: &str) -> Result<(Option<u16>, String), String> {
    let uri = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: http::Uri = uri.parse().map_err(|_| format!("{url:?} is not a URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(format!("only http is supported, not {url:?}"));
    }
    let host = uri.host().unwrap_or_default();
    if !["localhost", "127.0.0.1", "[::1]", "0.0.0.0"].contains(&host) {
        return Err(format!("a health check asks the service itself, at localhost, not {host:?}"));
    }
    // What follows the host is a port or nothing.
    if uri.port_u16().is_none() && uri.authority().is_some_and(|authority| authority.as_str() != host) {
        return Err(format!("a port from 0 to 65535 is expected in {url:?}"));
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((uri.port_u16(), path.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_curl_or_wget_is_its_url() {
        let table: [(&[&str], Option<&str>); 12] = [
            (&["curl", "-f", "http://localhost/"], Some("http://localhost/")),
            (&["/usr/bin/curl", "-fsS", "-o", "/dev/null", "http://localhost/"], Some("http://localhost/")),
            (&["curl", "--fail", "--max-time=3", "localhost:80"], Some("localhost:80")),
            (&["curl", "-fm3", "localhost:80"], Some("localhost:80")),
            (&["wget", "-q", "--spider", "http://localhost/"], Some("http://localhost/")),
            (&["wget", "-qO-", "http://localhost/"], Some("http://localhost/")),
            (
                &["wget", "--no-verbose", "--tries=1", "--spider", "http://localhost/"],
                Some("http://localhost/"),
            ),
            (&["curl", "-X", "POST", "http://localhost/"], None),
            (&["curl", "http://localhost/", "http://localhost/b"], None),
            (&["curl"], None),
            (&["pg_isready"], None),
            (&[], None),
        ];
        for (program, url) in table {
            assert_eq!(url_of(program), url, "{program:?}");
        }
    }

    #[test]
    fn a_url_is_of_the_service_itself() {
        assert_eq!(target_of("http://localhost:8080/up?a=1"), Ok((Some(8080), "/up?a=1".into())));
        assert_eq!(target_of("127.0.0.1"), Ok((None, "/".into())));
        for url in
            ["https://localhost/", "http://example.com/", "http://localhost:99999/", "http://", "/path"]
        {
            assert!(target_of(url).is_err(), "{url}");
        }
    }
}
