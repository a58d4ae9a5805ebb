//! What a log driver is, and which there are.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use coracle_runtime::LogSink;

use super::Logs;
use super::{awslogs, file, json_file, none, stdout};
use crate::model::log_configuration::LogConfiguration;
use crate::model::names::TaskId;

/// Where containers' lines go when their definition does not say.
const DEFAULT: &dyn LogDriver = &file::File;

/// Another driver is a file beside this one, and a line here. In the order in which people are told of them.
const DRIVERS: [&dyn LogDriver; 5] =
    [&awslogs::AwsLogs, &file::File, &json_file::JsonFile, &none::NoLog, &stdout::Stdout];

/// ECS's options of all drivers, from Docker: whether a container waits for its log. Here none does, nor loses lines by it.
const COMMON_OPTIONS: [&str; 2] = ["mode", "max-buffer-size"];

/// A way to deal with what containers print.
pub(super) trait LogDriver: Sync {
    /// `logDriver`.
    fn name(&self) -> &'static str;

    /// The names that `options` may have.
    fn options(&self) -> &'static [&'static str];

    /// Reads the options, whose names are known to be its own. The error names the option.
    fn configure(&self, options: &Options<'_>) -> Result<OpenLog, String>;
}

/// Opens the log of one container.
pub(super) type OpenLog = Box<dyn Fn(&Logs, &Source<'_>) -> io::Result<Arc<dyn LogSink>> + Send>;

/// Whose lines they are.
pub(super) struct Source<'a> {
    pub(super) task: &'a TaskId,
    pub(super) container: &'a str,
}

/// Settings as the definition has them.
pub(super) struct Options<'a>(&'a BTreeMap<String, String>);

impl Options<'_> {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A size in Docker's notation, such as `10m`: bytes, or kibi-, mebi- or gibibytes with k, m or g.
    pub(super) fn size(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wanted = || format!("option {name} must be a size above 0 such as 10m, not {text:?}");
        let (number, unit) = match text.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G']) {
            Some(number) => (number, text[number.len()..].to_ascii_lowercase()),
            None => (text, String::new()),
        };
        let shift = match unit.as_str() {
            "k" => 10,
            "m" => 20,
            "g" => 30,
            _ => 0,
        };
        let count: u64 = number.parse().map_err(|_| wanted())?;
        let bytes = count.checked_mul(1 << shift).filter(|bytes| *bytes > 0);
        bytes.map(Some).ok_or_else(wanted)
    }

    /// A whole number from 1 up to `most`.
    pub(super) fn count(&self, name: &str, most: u32) -> Result<Option<u32>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let count = text.parse().ok().filter(|count| (1..=most).contains(count));
        count.map(Some).ok_or_else(|| format!("option {name} must be 1 to {most}, not {text:?}"))
    }
}

/// The log that a definition asks for. The error says what is wrong with it.
pub(super) fn configured(configuration: Option<&LogConfiguration>) -> Result<OpenLog, String> {
    let none = BTreeMap::new();
    let Some(configuration) = configuration else { return DEFAULT.configure(&Options(&none)) };
    let name = configuration.log_driver.as_str();
    let Some(driver) = DRIVERS.iter().find(|driver| driver.name() == name) else {
        let known: Vec<&str> = DRIVERS.iter().map(|driver| driver.name()).collect();
        return Err(format!(
            "the log driver {name:?} is not available here; available are {}",
            known.join(", ")
        ));
    };
    let own = driver.options();
    let known = |option: &str| own.contains(&option) || COMMON_OPTIONS.contains(&option);
    let options = &configuration.options;
    // ECS's own words.
    if let Some(unknown) = options.keys().find(|option| !known(option)) {
        let known: Vec<&str> = own.iter().chain(&COMMON_OPTIONS).copied().collect();
        return Err(format!("Log driver {name} disallows options: {unknown}; it has {}", known.join(", ")));
    }
    driver.configure(&Options(options)).map_err(|why| format!("Log driver {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Settings = &'static [(&'static str, &'static str)];

    fn refusal(driver: &str, options: Settings) -> String {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let configuration = LogConfiguration { log_driver: driver.to_owned(), options, secret_options: None };
        configured(Some(&configuration)).err().unwrap_or_default()
    }

    #[test]
    fn every_driver_takes_its_own_options_and_no_others() {
        let good: [(&str, Settings); 8] = [
            ("file", &[]),
            ("file", &[("max-size", "1024"), ("max-file", "100")]),
            ("json-file", &[("max-size", "10m"), ("mode", "non-blocking"), ("max-buffer-size", "4m")]),
            ("json-file", &[("max-size", "1G")]),
            (
                "awslogs",
                &[("awslogs-group", "/ecs/a"), ("awslogs-region", "x"), ("awslogs-create-group", "true")],
            ),
            ("awslogs", &[("awslogs-stream-prefix", "web")]),
            ("none", &[]),
            ("stdout", &[]),
        ];
        for (driver, options) in good {
            assert_eq!(refusal(driver, options), "", "{driver} {options:?}");
        }
        let bad: [(&str, Settings, &str); 9] = [
            ("splunk", &[], "available are awslogs, file, json-file, none, stdout"),
            ("", &[], "is not available"),
            ("json-file", &[("compress", "true")], "disallows options: compress; it has max-size, max-file"),
            ("none", &[("max-size", "1m")], "disallows options: max-size"),
            ("file", &[("max-size", "0")], "max-size must be a size above 0"),
            ("file", &[("max-size", "-1")], "max-size must be a size above 0"),
            ("file", &[("max-size", "99999999999g")], "max-size must be a size above 0"),
            ("file", &[("max-file", "0")], "max-file must be 1 to 100"),
            ("awslogs", &[("awslogs-group", "a b")], "awslogs-group"),
        ];
        for (driver, options, part) in bad {
            let refusal = refusal(driver, options);
            assert!(refusal.contains(part), "{driver} {options:?}: {refusal:?}");
        }
    }
}
