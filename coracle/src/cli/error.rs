//! What a command says when it cannot do what it was asked: one line, and an exit code.

use std::{error::Error, fmt::Display, path::Path, process::ExitCode};

use coracle::HostError;
use coracle_runtime::ImageError;

/// The input is at fault.
const USAGE: u8 = 2;
/// Something else is.
const FAILED: u8 = 1;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// What was asked for cannot be meant; exit code 2.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { message: message.to_string(), code: USAGE }
    }

    /// It was meant, and did not work; exit code 1.
    pub(crate) fn failed(message: impl Display) -> Self {
        Self { message: message.to_string(), code: FAILED }
    }

    /// The system refused something that has no better explanation.
    pub(crate) fn io(error: std::io::Error) -> Self {
        Self::failed(error)
    }

    /// A file that is no image that can run here; exit code 2.
    pub(crate) fn image(path: &Path, error: &ImageError) -> Self {
        match error {
            // It names the file itself.
            ImageError::Read { .. } => Self::usage(chain(error)),
            _ => Self::usage(format!("{}: {}", path.display(), chain(error))),
        }
    }

    /// A host that does not start; exit code 2 where another address or directory would do.
    pub(crate) fn host(error: &HostError) -> Self {
        if error.is_input_error() { Self::usage(chain(error)) } else { Self::failed(chain(error)) }
    }

    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("error: {}", in_one_line(&self.message));
        ExitCode::from(self.code)
    }
}

/// An error with all its causes, as one sentence.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Help and versions go to standard output as they are; what was typed wrong becomes one line.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // To a pipe that was closed, for instance; there is nobody to tell.
        error.print().ok();
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        error.print().ok();
        return ExitCode::from(USAGE);
    }
    Failure::usage(usage_line(error)).report()
}

/// What clap says in paragraphs, as one line: the error, its tips, and where to read more.
pub(crate) fn usage_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let mut paragraphs = text.split("\n\n");
    let mut line = in_one_line(paragraphs.next().unwrap_or_default());
    for tip in paragraphs.flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("tip: ")) {
        line = format!("{line}; {tip}");
    }
    format!("{line}; see --help")
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
