//! `none`: what is printed is gone.

use std::sync::Arc;

use coracle_runtime::{LogLine, LogSink};

use super::driver::{LogDriver, OpenLog, Options};

pub(super) struct NoLog;

impl LogDriver for NoLog {
    fn name(&self) -> &'static str {
        "none"
    }

    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    fn configure(&self, _options: &Options<'_>) -> Result<OpenLog, String> {
        Ok(Box::new(|_logs, _source| Ok(Arc::new(Nowhere))))
    }
}

#[derive(Debug)]
struct Nowhere;

impl LogSink for Nowhere {
    fn line(&self, _line: LogLine) {}
}
