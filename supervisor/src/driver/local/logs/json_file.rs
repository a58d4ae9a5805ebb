//! `json-file`: the same files as `file`'s, in Docker's format, for programs that read it.

use coracle_runtime::LogFormat;

use super::driver::{LogDriver, OpenLog, Options};
use super::file::{ROTATION, rotation};

pub(super) struct JsonFile;

impl LogDriver for JsonFile {
    fn name(&self) -> &'static str {
        "json-file"
    }

    fn options(&self) -> &'static [&'static str] {
        &ROTATION
    }

    fn configure(&self, options: &Options<'_>) -> Result<OpenLog, String> {
        let rotation = rotation(options)?;
        Ok(Box::new(move |logs, source| logs.store(source, rotation, LogFormat::Json)))
    }
}
