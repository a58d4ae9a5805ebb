//! `coracle version`

use std::process::ExitCode;

use serde_json::json;

use super::{args::VersionArgs, error::Failure, output};

pub(crate) fn main(args: VersionArgs) -> Result<ExitCode, Failure> {
    let (coracle, wasmtime) = (env!("CARGO_PKG_VERSION"), coracle::WASMTIME_VERSION);
    output::print(args.output.output, &json!({ "coracle": coracle, "wasmtime": wasmtime }), || {
        format!("coracle {coracle} (wasmtime {wasmtime})\n")
    })?;
    Ok(ExitCode::SUCCESS)
}
