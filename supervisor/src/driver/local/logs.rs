//! What containers print, and what becomes of it: `driver` has the log drivers that a definition may name, each with a file of its own; `store` is
//! the built-in one that most of them write to and that people read.

mod awslogs;
mod driver;
mod file;
mod json_file;
mod none;
mod stdout;
mod store;

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use coracle_runtime::{LogFormat, LogSink, Rotation};

use crate::model::log_configuration::LogConfiguration;
use crate::model::names::TaskId;
use driver::Source;
use stdout::Writer;
pub use store::ContainerLog;
use store::{Names, Store};

/// Checks that a container's log could be opened here. The error says why not.
pub(super) fn check(configuration: Option<&LogConfiguration>) -> Result<(), String> {
    driver::configured(configuration).map(drop)
}

/// The logs of this process's containers.
#[derive(Debug)]
pub(super) struct Logs {
    store: Store,
    /// This process's own standard output, once a container prints there.
    output: OnceLock<Arc<Writer>>,
}

impl Logs {
    /// Keeps logs in `data_dir`, or in a bounded piece of memory without one.
    pub(super) fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        Ok(Self { store: Store::open(data_dir)?, output: OnceLock::new() })
    }

    /// Where a container's lines go by its definition.
    pub(super) fn sink(
        &self,
        task: &TaskId,
        container: &str,
        configuration: Option<&LogConfiguration>,
    ) -> io::Result<Arc<dyn LogSink>> {
        let open = driver::configured(configuration).map_err(io::Error::other)?;
        open(self, &Source { task, container })
    }

    /// What a container has printed, as far as it is kept.
    pub(super) fn read(&self, task: &TaskId, container: &str) -> Option<ContainerLog> {
        self.store.read(task, container)
    }

    /// The log that CloudWatch Logs has under these names: the container's own by its definition, or `/ecs/<cluster>` and `<container>/<task>`, which all
    /// have.
    pub(super) fn read_stream(&self, group: &str, stream: &str) -> Option<ContainerLog> {
        let (rest, task) = stream.rsplit_once('/')?;
        let (prefix, container) = match rest.rsplit_once('/') {
            Some((prefix, container)) => (Some(prefix), container),
            None => (None, rest),
        };
        let task = TaskId::parse(task)?;
        let is_everybody_s = prefix.is_none() && group.starts_with("/ecs/");
        let named = || {
            let names = self.store.names(&task, container)?;
            let has_group =
                names.group.as_deref().map_or_else(|| group.starts_with("/ecs/"), |own| own == group);
            (has_group && names.prefix.as_deref() == prefix).then_some(())
        };
        if !is_everybody_s {
            named()?;
        }
        self.store.read(&task, container)
    }

    /// The containers of a task whose lines are kept.
    pub(super) fn containers(&self, task: &TaskId) -> Vec<String> {
        self.store.containers(task)
    }

    /// Removes what is kept of a task. Blocks on the file system.
    pub(super) fn forget(&self, task: &TaskId) {
        self.store.forget(task);
    }

    fn store(
        &self,
        source: &Source<'_>,
        rotation: Rotation,
        format: LogFormat,
    ) -> io::Result<Arc<dyn LogSink>> {
        self.store.sink(source.task, source.container, rotation, format)
    }

    fn name(&self, source: &Source<'_>, group: Option<&str>, prefix: Option<&str>) -> io::Result<()> {
        let names = Names { group: group.map(str::to_owned), prefix: prefix.map(str::to_owned) };
        self.store.name(source.task, source.container, names)
    }

    fn process_output(&self) -> Arc<Writer> {
        Arc::clone(self.output.get_or_init(Writer::to_process))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use coracle_runtime::{LogLine, Stream};

    use super::*;

    fn configuration(driver: &str, options: &[(&str, &str)]) -> LogConfiguration {
        let options: BTreeMap<String, String> =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogConfiguration { log_driver: driver.to_owned(), options, secret_options: None }
    }

    fn print(logs: &Logs, task: &TaskId, configuration: &LogConfiguration, lines: u32) {
        let sink = logs.sink(task, "app", Some(configuration)).unwrap();
        for number in 0..lines {
            let message = format!("line {number}");
            sink.line(LogLine { time: SystemTime::UNIX_EPOCH, stream: Stream::Stdout, message });
        }
    }

    #[test]
    fn what_is_printed_is_kept_within_the_definition_s_bounds_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::open(Some(directory.path())).unwrap();
        for (number, (driver, options, files)) in [
            ("file", &[("max-size", "1k"), ("max-file", "3")][..], 3),
            ("json-file", &[("max-size", "1k"), ("max-file", "1")], 1),
            ("none", &[], 0),
        ]
        .into_iter()
        .enumerate()
        {
            let task = TaskId::parse(&format!("{number:032x}")).unwrap();
            print(&logs, &task, &configuration(driver, options), 1000);
            let place = directory.path().join("logs").join(task.as_str());
            let sizes: Vec<u64> = std::fs::read_dir(place)
                .map(|files| files.map(|file| file.unwrap().metadata().unwrap().len()).collect())
                .unwrap_or_default();
            assert_eq!(sizes.len(), files, "{driver}");
            assert!(sizes.iter().all(|size| *size <= 1024), "{driver}: {sizes:?}");
            assert_eq!(logs.read(&task, "app").is_some(), files > 0, "{driver}");
        }
    }

    #[test]
    fn awslogs_are_found_under_the_names_of_their_definition_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        for data_dir in [Some(directory.path()), None] {
            let logs = Logs::open(data_dir).unwrap();
            let task = TaskId::parse(&"a".repeat(32)).unwrap();
            let options = [("awslogs-group", "shop"), ("awslogs-stream-prefix", "web/blue")];
            print(&logs, &task, &configuration("awslogs", &options), 1);
            let found =
                |group: &str, prefix: &str| logs.read_stream(group, &format!("{prefix}app/{task}")).is_some();
            assert!(found("shop", "web/blue/"));
            assert!(found("/ecs/default", ""));
            for (group, prefix) in
                [("shop", ""), ("shop", "web/"), ("other", "web/blue/"), ("/ecs/default", "x/")]
            {
                assert!(!found(group, prefix), "{group} {prefix}");
            }
            logs.forget(&task);
            assert!(!found("shop", "web/blue/"));
        }
    }
}
