//! The `coracle` command. All it can do is in the library and in `cli`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
