//! fsprobe of WASI preview 3: does what its arguments say, one operation each, and prints how each went. The table of operations is fsprobe's
//! own, and so are the words for errors: those of Rust's `io::ErrorKind`.
//!
//! What fsprobe asks of Rust's standard library, this asks of the host's interfaces of 0.3 themselves.

mod files;

use files::Files;
use wasip3::cli::environment::{get_arguments, get_environment, get_initial_cwd};
use wasip3::cli::exit::exit_with_code;
use wasip3::cli::{stdin, stdout};
use wasip3::clocks::{monotonic_clock, system_clock};
use wasip3::filesystem::types::ErrorCode;
use wasip3::random::random::get_random_u64;
use wasip3::wit_stream;

const MILLISECOND: u64 = 1_000_000;
const YEAR_SECONDS: i64 = 365 * 24 * 3600;

struct Probe;

wasip3::cli::command::export!(Probe);

impl wasip3::exports::cli::run::Guest for Probe {
    async fn run() -> Result<(), ()> {
        let mut files = Files::new();
        for argument in get_arguments().into_iter().skip(1) {
            let said = match perform(&argument, &mut files).await {
                Ok(said) if said.is_empty() => "ok".to_owned(),
                Ok(said) => said,
                Err(error) => kind(&error),
            };
            print(format!("{said}\n")).await?;
        }
        Ok(())
    }
}

async fn print(line: String) -> Result<(), ()> {
    let (mut writer, reader) = wit_stream::new();
    let printed = stdout::write_via_stream(reader);
    let left = writer.write_all(line.into_bytes()).await;
    drop(writer);
    if left.is_empty() { printed.await.map_err(drop) } else { Err(()) }
}

async fn perform(argument: &str, files: &mut Files) -> Result<String, ErrorCode> {
    let mut words = argument.split(' ');
    let mut word = || words.next().unwrap_or_default();
    match word() {
        "clocks" => Ok(clocks(number(word())?).await),
        "random" => Ok(get_random_u64().to_string()),
        "input" => {
            let (input, read) = stdin::read_via_stream();
            let input = input.collect().await;
            read.await.map_err(|_| ErrorCode::Io)?;
            Ok(format!("{:?}", String::from_utf8_lossy(&input)))
        }
        "variables" => {
            let variables = get_environment().into_iter();
            let mut variables: Vec<_> = variables.map(|(name, value)| format!("{name}={value}")).collect();
            variables.sort();
            Ok(variables.join(" "))
        }
        "arguments" => Ok(get_arguments().len().to_string()),
        "exit" => {
            exit_with_code(u8::try_from(number(word())?).unwrap_or(1));
            Err(ErrorCode::NotRecoverable)
        }
        "cwd" => {
            let variable = get_environment().into_iter().find(|(name, _)| name == "PWD");
            let (variable, directory) = (variable.map(|(_, value)| value), get_initial_cwd());
            Ok(format!("{} {}", variable.unwrap_or_default(), directory.unwrap_or_default()))
        }
        operation => files.perform(operation, word).await,
    }
}

async fn clocks(milliseconds: u64) -> String {
    let (monotonic, system) = (monotonic_clock::now(), system_clock::now());
    monotonic_clock::wait_for(milliseconds * MILLISECOND).await;
    let later = system_clock::now();
    let seconds = (later.seconds - system.seconds) * 1000;
    let since = seconds + (i64::from(later.nanoseconds) - i64::from(system.nanoseconds)) / 1_000_000;
    let year = 1970 + system.seconds / YEAR_SECONDS;
    format!("{} {since} {year}", (monotonic_clock::now() - monotonic) / MILLISECOND)
}

fn number(word: &str) -> Result<u64, ErrorCode> {
    word.parse().map_err(|_| ErrorCode::Invalid)
}

/// What Rust's standard library calls the error.
fn kind(error: &ErrorCode) -> String {
    let kind = match error {
        ErrorCode::Access | ErrorCode::NotPermitted => "PermissionDenied",
        ErrorCode::CrossDevice => "CrossesDevices",
        ErrorCode::Exist => "AlreadyExists",
        ErrorCode::InsufficientMemory => "OutOfMemory",
        ErrorCode::InsufficientSpace => "StorageFull",
        ErrorCode::Invalid => "InvalidInput",
        ErrorCode::IsDirectory => "IsADirectory",
        ErrorCode::Loop => "FilesystemLoop",
        ErrorCode::NoEntry => "NotFound",
        ErrorCode::NotDirectory => "NotADirectory",
        ErrorCode::NotEmpty => "DirectoryNotEmpty",
        ErrorCode::ReadOnly => "ReadOnlyFilesystem",
        other => return format!("{other:?}"),
    };
    kind.to_owned()
}
