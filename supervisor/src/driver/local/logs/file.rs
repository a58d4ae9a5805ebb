//! `file`: lines as they are printed, with time and stream before them, in files that take turns. The default.

use coracle_runtime::{LogFormat, Rotation};

use super::driver::{LogDriver, OpenLog, Options};
use crate::model::log_configuration::DEFAULT_LOG_DRIVER;

/// Largest log file, and how many there are, unless the definition says otherwise: a container's output must have a bound.
const MAX_BYTES: u64 = 10 << 20;
const MAX_FILES: u32 = 2;
/// Most files that can be asked for.
const MOST_FILES: u32 = 100;

pub(super) struct File;

impl LogDriver for File {
    fn name(&self) -> &'static str {
        DEFAULT_LOG_DRIVER
    }

    fn options(&self) -> &'static [&'static str] {
        &ROTATION
    }

    fn configure(&self, options: &Options<'_>) -> Result<OpenLog, String> {
        let rotation = rotation(options)?;
        Ok(Box::new(move |logs, source| logs.store(source, rotation, LogFormat::Plain)))
    }
}

/// Docker's options of rotation.
pub(super) const ROTATION: [&str; 2] = ["max-size", "max-file"];

pub(super) fn rotation(options: &Options<'_>) -> Result<Rotation, String> {
    Ok(Rotation {
        max_bytes: options.size("max-size")?.unwrap_or(MAX_BYTES),
        max_files: options.count("max-file", MOST_FILES)?.unwrap_or(MAX_FILES),
    })
}

/// What is kept where nothing else can be said.
pub(super) const DEFAULT_ROTATION: Rotation = Rotation { max_bytes: MAX_BYTES, max_files: MAX_FILES };
