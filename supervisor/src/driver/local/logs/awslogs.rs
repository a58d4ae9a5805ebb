//! `awslogs`: the built-in store, read under the names that the definition has for CloudWatch Logs.
//!
//! Nothing is sent to AWS. A definition that was written for it runs unchanged, and whoever reads its log group from this host's API finds it.

use coracle_runtime::LogFormat;

use super::driver::{LogDriver, OpenLog, Options};
use super::file::DEFAULT_ROTATION;

/// CloudWatch Logs: "Log group names can be between 1 and 512 characters long."
const MAX_NAME: usize = 512;

pub(super) struct AwsLogs;

impl LogDriver for AwsLogs {
    fn name(&self) -> &'static str {
        "awslogs"
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "awslogs-group",
            "awslogs-region",
            "awslogs-stream-prefix",
            "awslogs-create-group",
            "awslogs-datetime-format",
            "awslogs-multiline-pattern",
        ]
    }

    fn configure(&self, options: &Options<'_>) -> Result<OpenLog, String> {
        let group = options.text("awslogs-group").map(group).transpose()?;
        let prefix = options.text("awslogs-stream-prefix").map(prefix).transpose()?;
        Ok(Box::new(move |logs, source| {
            logs.name(source, group.as_deref(), prefix.as_deref())?;
            logs.store(source, DEFAULT_ROTATION, LogFormat::Plain)
        }))
    }
}

/// "Log group names consist of the following characters: a-z, A-Z, 0-9, '_' (underscore), '-' (hyphen), '/' (forward slash), '.' (period), and '#'."
fn group(name: &str) -> Result<String, String> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/.#".contains(&byte);
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(valid) {
        return Ok(name.to_owned());
    }
    Err(format!("option awslogs-group must be 1 to {MAX_NAME} letters, digits and _-/.#, not {name:?}"))
}

/// "The ':' (colon) and '*' (asterisk) characters are not allowed."
fn prefix(name: &str) -> Result<String, String> {
    let valid = |character: char| !character.is_control() && !":*".contains(character);
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(valid) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "option awslogs-stream-prefix must be 1 to {MAX_NAME} characters without : and *, not {name:?}"
    ))
}
